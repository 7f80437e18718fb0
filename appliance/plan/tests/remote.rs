//! Remote access in the policy: what it listens on, who is connected, and what transactions leave alone.

use std::net::IpAddr;

use rempart_config::Model;
use rempart_config::model::Device;
use rempart_config::space::AddressSet;
use rempart_plan::eval::{Arrival, Decider, Evaluator, Packet, Verdict};
use rempart_plan::net::{LinkKind, Network, Observed, ObservedLink, RouteKey, diff};
use rempart_plan::nft::{Base, Content, Ruleset};
use rempart_plan::vpn::{LIVE4, LIVE6};
use rempart_plan::world::{VPN_DEVICE, VPN_KERNEL_DEVICE};
use rempart_plan::{Facts, Ids, Plan, Role, World};

const BOX: &str = r#"
version = 1
node = "fw"
[interface.wan]
device  = "eth0"
zone    = "wan"
address = ["203.0.113.2/24", "2001:db8::2/64"]
gateway = ["203.0.113.1", "2001:db8::1"]
[interface.lan]
device  = "eth1"
zone    = "lan"
address = ["192.168.10.254/24", "fd00:10::fe/64"]
[vpn.group.agents]
pool = ["10.77.10.0/24", "fd00:77::/64"]
[vpn.group.others]
pool = "10.77.11.0/24"
[[flow]]
id    = "agents"
from  = "vpn:agents"
to    = ["lan", "wan"]
allow = ["any"]
[[flow]]
id    = "gateway"
from  = "vpn"
to    = "firewall"
allow = ["ping"]
[[flow]]
id    = "back"
from  = "lan"
to    = "vpn:agents"
allow = ["udp/5060"]
"#;

fn model(more: &str) -> Model {
    let text = format!("{BOX}{more}");
    let reading = rempart_config::read(&text);
    let report = rempart_config::render(&reading.diagnostics, "document", &text, false);
    reading.model.unwrap_or_else(|| panic!("{report}"))
}

fn plan(model: &Model) -> Plan {
    let ids = Ids::default().assign(model);
    Plan::of(model, model.node("fw").expect("node"), Role::Active, &Facts::default(), &ids).expect("plan")
}

/// Those who are connected: one agent, and the network behind another device.
fn connected() -> Facts {
    let sets = ["10.77.10.5/32", "fd00:77::5/128", "192.168.77.0/24"]
        .map(|net| AddressSet::network(net.parse().expect("a network")));
    Facts { live: Some(AddressSet::union_of(&sets)), ..Facts::default() }
}

type Ends<'a> = (&'a str, u16);

fn packet(world: &World, from: &str, source: Ends<'_>, destination: Ends<'_>, protocol: u8) -> Packet {
    let address = |a: &str| a.parse::<IpAddr>().expect("an address");
    let leg = || world.legs.iter().position(|l| l.interface.as_str() == from).expect("a leg");
    let arrival = if from == "firewall" { Arrival::Local } else { Arrival::Leg(leg()) };
    Packet {
        arrival,
        source: address(source.0),
        destination: address(destination.0),
        protocol,
        source_port: source.1,
        port: destination.1,
    }
}

/// Packets by the tunnel, into it, and to where it listens; for each the verdict, what decides, and the address that it
/// leaves with.
#[test]
fn only_the_connected_pass_and_only_what_listens_is_reached() {
    let model = model("[zone.lan]\nanti_spoof = false\n");
    let plan = plan(&model);
    let (world, facts) = (&plan.world, connected());
    let evaluator = Evaluator::new(&model, world, &facts);
    let flow = |id: &str| Decider::Flow(model.flows.iter().position(|f| f.label == id).expect("a flow"));
    use Decider::{AntiSpoof, Default, NoSession, RemoteAccess};
    use Verdict::{Allow, Drop, Reject};
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const PING: (u8, u16) = (1, 8);
    #[rustfmt::skip]
    let table = [
        // By the tunnel: connected, not connected, spoofed by somebody who is connected to another's network.
        ("vpn", ("10.77.10.5", 9), ("192.168.10.9", 80), TCP, Allow, flow("agents"), None),
        ("vpn", ("fd00:77::5", 9), ("fd00:10::9", 80), TCP, Allow, flow("agents"), None),
        ("vpn", ("10.77.10.6", 9), ("192.168.10.9", 80), TCP, Drop, NoSession, None),
        ("vpn", ("fd00:77::6", 9), ("fd00:10::9", 80), TCP, Drop, NoSession, None),
        ("vpn", ("192.168.10.9", 9), ("192.168.10.8", 80), TCP, Drop, NoSession, None),
        ("vpn", ("192.168.77.9", 9), ("192.168.10.8", 80), TCP, Drop, AntiSpoof, None),
        ("vpn", ("10.77.10.6", 9), ("10.1.2.3", 80), TCP, Drop, NoSession, None),
        // A full tunnel leaves under the address of the box, like the networks inside.
        ("vpn", ("10.77.10.5", 9), ("198.51.100.1", 443), TCP, Allow, flow("agents"), Some("203.0.113.2")),
        // The box in the tunnel; its addresses in the tunnel are its own from everywhere.
        ("vpn", ("10.77.10.5", 0), ("10.77.10.1", PING.1), PING.0, Allow, flow("gateway"), None),
        ("vpn", ("10.77.10.5", 9), ("10.77.10.1", 22), TCP, Reject, Default, None),
        ("lan", ("192.168.10.9", 9), ("10.77.10.1", 22), TCP, Reject, Default, None),
        // Into the tunnel.
        ("lan", ("192.168.10.9", 9), ("10.77.10.5", 5060), UDP, Allow, flow("back"), None),
        ("lan", ("192.168.10.9", 9), ("10.77.10.6", 5060), UDP, Drop, NoSession, None),
        ("lan", ("192.168.10.9", 9), ("10.77.10.6", 80), TCP, Drop, NoSession, None),
        ("firewall", ("10.77.10.1", 9), ("10.77.10.6", 80), TCP, Drop, NoSession, None),
        ("firewall", ("10.77.10.1", 9), ("10.77.10.5", 80), TCP, Reject, Default, None),
        // One client to another.
        ("vpn", ("10.77.10.5", 9), ("10.77.11.9", 80), TCP, Drop, NoSession, None),
        // Where it listens: from outside alone, at its addresses and ports alone.
        ("wan", ("198.51.100.7", 9), ("203.0.113.2", 1194), UDP, Allow, RemoteAccess, None),
        ("wan", ("198.51.100.7", 9), ("203.0.113.2", 443), TCP, Allow, RemoteAccess, None),
        ("wan", ("2001:db8:9::7", 9), ("2001:db8::2", 1194), UDP, Allow, RemoteAccess, None),
        ("wan", ("2001:db8:9::7", 9), ("2001:db8::2", 443), TCP, Allow, RemoteAccess, None),
        ("wan", ("198.51.100.7", 9), ("203.0.113.2", 443), UDP, Drop, Default, None),
        ("wan", ("198.51.100.7", 9), ("203.0.113.2", 1194), TCP, Drop, Default, None),
        ("wan", ("198.51.100.7", 9), ("192.168.10.254", 1194), UDP, Drop, Default, None),
        ("wan", ("198.51.100.7", 9), ("10.77.10.1", 1194), UDP, Drop, Default, None),
        ("lan", ("192.168.10.9", 9), ("203.0.113.2", 1194), UDP, Reject, Default, None),
        ("wan", ("10.9.9.9", 9), ("203.0.113.2", 1194), UDP, Drop, Decider::Impossible, None),
        // After a take-over it speaks first, by UDP and from its port alone.
        ("firewall", ("203.0.113.2", 1194), ("198.51.100.7", 4711), UDP, Allow, RemoteAccess, None),
        ("firewall", ("203.0.113.2", 1195), ("198.51.100.7", 4711), UDP, Reject, Default, None),
        ("firewall", ("203.0.113.2", 443), ("198.51.100.7", 4711), TCP, Reject, Default, None),
        ("firewall", ("192.168.10.254", 1194), ("192.168.10.7", 4711), UDP, Reject, Default, None),
    ];
    for (from, source, destination, protocol, verdict, decider, leaves) in table {
        let outcome = evaluator.judge(&packet(world, from, source, destination, protocol));
        let case = format!("{from} {source:?} → {destination:?} {protocol}");
        assert_eq!((outcome.verdict, &outcome.decider), (verdict, &decider), "{case}");
        assert_eq!(outcome.source.map(|(a, _)| a.to_string()), leaves.map(str::to_owned), "{case}");
    }
    // Where nobody asks who is connected, whoever may be is.
    let anybody = Facts::default();
    let evaluator = Evaluator::new(&model, world, &anybody);
    let outcome = evaluator.judge(&packet(world, "vpn", ("10.77.10.6", 9), ("192.168.10.9", 80), TCP));
    assert_eq!(outcome.decider, flow("agents"));
}

/// The same questions in words.
#[test]
fn the_explanation_speaks_of_sessions() {
    let model = model("");
    let plan = plan(&model);
    let asked = packet(&plan.world, "vpn", ("10.77.10.6", 9), ("192.168.10.9", 80), 6);
    let explain = |facts: &Facts, asked: &Packet| {
        Evaluator::new(&model, &plan.world, facts).explain(asked).expect("explained")
    };
    let stages = |e: &rempart_plan::explain::Explanation| -> Vec<String> {
        e.stages.iter().map(|(stage, text)| format!("{stage}: {text}")).collect()
    };
    let policy = explain(&Facts::default(), &asked);
    assert_eq!(stages(&policy)[1], "session: counts only while somebody is connected with 10.77.10.6");
    assert_eq!(policy.outcome.verdict, Verdict::Allow);
    let now = explain(&connected(), &asked);
    assert_eq!(now.decided_by, "no session");
    assert_eq!(
        stages(&now)[1..],
        [
            "session: dropped: nobody is connected with 10.77.10.6",
            "policy: not asked: nobody is connected with that address"
        ]
    );
    let into = packet(&plan.world, "lan", ("192.168.10.9", 9), ("10.77.10.5", 5060), 17);
    assert!(stages(&explain(&connected(), &into)).contains(&"session: 10.77.10.5 is connected".to_owned()));
    let listening = packet(&plan.world, "wan", ("198.51.100.7", 9), ("203.0.113.2", 1194), 17);
    let listening = explain(&Facts::default(), &listening);
    assert_eq!(
        listening.summary,
        "udp from 198.51.100.7 in wan to 203.0.113.2 udp/1194 is let through: remote access listens there"
    );
    assert_eq!(listening.decided_by, "vpn");
}

fn named(ruleset: &Ruleset, name: &str) -> bool {
    matches!(ruleset.maps.get(name).map(|m| &m.content), Some(Content::Dynamic))
}

/// From nothing, from another policy by the difference and by names, and away from remote access: the live sets are made
/// empty once, and no transaction speaks of their elements.
#[test]
fn no_transaction_touches_the_live_sets() {
    let (old, new) = (
        plan(&model("")).ruleset,
        plan(&model("[[flow]]\nid = \"x\"\nfrom = \"lan\"\nto = \"wan\"\nallow = [\"ssh\"]\n")).ruleset,
    );
    assert!(named(&old, LIVE4) && named(&old, LIVE6));
    let whole = old.script().text;
    for (set, kind) in [(LIVE4, "ipv4_addr"), (LIVE6, "ipv6_addr")] {
        assert!(whole.contains(&format!(" set {set} {{ type {kind}; flags interval; }}")), "{whole}");
    }
    let names = old.names();
    for base in [Base::Nothing, Base::Ruleset(&old), Base::Names(&names)] {
        for script in new.scripts(base).list {
            let touches = |line: &&str| {
                line.contains("vpn_live")
                    && (line.contains("element") || line.contains("flush") || line.contains("delete"))
            };
            assert_eq!(script.text.lines().find(touches), None, "{base:?}");
        }
    }
    let without = BOX.split("[vpn.group").next().expect("the interfaces");
    let gone = plan(&rempart_config::read(without).model.expect("a document without remote access")).ruleset;
    assert!(gone.maps.keys().all(|name| !name.starts_with("vpn")));
    let away = gone.scripts(Base::Ruleset(&old));
    let last = &away.list.last().expect("a transaction").text;
    assert!(last.contains(&format!("delete set inet rempart {LIVE4}")), "{last}");
}

/// The check stands before established connections are let through, in every hook that sees such packets.
#[test]
fn a_disconnect_cuts_established_connections() {
    let ruleset = plan(&model("")).ruleset;
    for hook in ["forward", "output"] {
        let rules: Vec<&str> = ruleset.chains[hook].rules.iter().map(|(text, _)| text.as_str()).collect();
        let place = |what: &str| {
            rules.iter().position(|r| r.contains(what)).unwrap_or_else(|| panic!("{what} in {hook}"))
        };
        assert!(place("jump vpn.out") < place("ct state established"), "{hook}: {rules:#?}");
    }
    assert_eq!(ruleset.chains["arrival"].rules[0].0, format!("iifname \"{VPN_DEVICE}\" jump vpn.in"));
}

/// The tunnel's device with its addresses and routes, as `rempart-vpn` makes it, beside what the document asks for; the
/// difference leaves it alone.
#[test]
fn the_tunnel_is_left_alone() {
    let model = model("");
    let network = Network::of(&model, model.node("fw").expect("node"), &Facts::default());
    assert!(
        network
            .links
            .keys()
            .chain(network.addresses.iter().map(|a| &a.device))
            .all(|d| d.as_str() != VPN_DEVICE)
    );
    assert!(network.sysctls.keys().all(|key| !key.contains(VPN_DEVICE)));
    let physical = |up| ObservedLink { kind: LinkKind::Physical, mtu: 1500, up, master: None, ours: false };
    let mut observed = Observed::default();
    for device in network.links.keys() {
        observed.links.insert(device.clone(), physical(true));
    }
    observed.addresses = network.addresses.iter().map(|a| (a.device.clone(), a.net)).collect();
    observed.routes = network.routes.clone();
    observed.sysctls = network.sysctls.iter().map(|(key, s)| (key.clone(), s.value.clone())).collect();
    assert_eq!(diff(&network, &observed), []);
    let tunnel = Device::new(VPN_DEVICE);
    observed.links.insert(tunnel.clone(), physical(true));
    for net in ["10.77.10.1/24", "fd00:77::1/64", "fe80::1/64"] {
        observed.addresses.insert((tunnel.clone(), net.parse().expect("a network")));
    }
    assert_eq!(diff(&network, &observed), []);
    // Only routes with our own protocol number are ever observed; one that leads into the tunnel would be foreign.
    let key = RouteKey::new("192.168.77.0/24".parse().expect("a network"), 0);
    assert!(
        !network.routes.contains_key(&key)
            && !network.routes.values().any(|hop| hop.device() == Some(&tunnel))
    );
}

/// Where the kernel carries sessions, its device is part of the tunnel's leg in every rule that speaks of it: a packet may come by
/// either while the way back is by the other. Without it nothing of that is there.
#[test]
fn the_kernels_device_is_of_the_same_leg() {
    let without = plan(&model("")).ruleset;
    assert!(!without.script().text.contains(VPN_KERNEL_DEVICE));
    let model = model("[vpn]\noffload = \"kernel\"\n");
    let plan = plan(&model);
    let both = format!("{{ \"{VPN_DEVICE}\", \"{VPN_KERNEL_DEVICE}\" }}");
    let rules = |chain: &str| -> Vec<String> {
        plan.ruleset.chains[chain].rules.iter().map(|(text, _)| text.clone()).collect()
    };
    let arrival = rules("arrival");
    assert_eq!(arrival[0], format!("iifname {both} jump vpn.in"));
    assert!(
        arrival.contains(&format!("iifname {both} fib saddr oifname != {both} goto spoofed")),
        "{arrival:#?}"
    );
    let strict = arrival.iter().find(|rule| rule.contains("fib saddr . iif")).expect("the other devices");
    assert!(!strict.contains(VPN_DEVICE), "{strict}");
    for hook in ["forward", "output"] {
        assert!(rules(hook).contains(&format!("oifname {both} jump vpn.out")), "{hook}");
    }
    // The program clamps what it seals by itself.
    let clamped: Vec<String> = rules("vpn.out").into_iter().filter(|rule| rule.contains("maxseg")).collect();
    assert!(
        clamped.len() == 2 && clamped.iter().all(|rule| rule.starts_with("oifname \"vpn0k\" ")),
        "{clamped:?}"
    );
    let Content::Index(pairs) = &plan.ruleset.maps["pairs.forward"].content else { panic!("a map") };
    for device in [VPN_DEVICE, VPN_KERNEL_DEVICE] {
        assert!(pairs.contains_key(&format!("\"{device}\" . \"eth1\"")), "{device}");
        assert!(pairs.contains_key(&format!("\"eth1\" . \"{device}\"")), "{device}");
        assert_eq!(plan.world.leg_of(device), plan.world.leg_of(VPN_DEVICE));
    }
    let told = rempart_plan::vpn::VpnPlan::of(&model, model.node("fw").expect("node"), &Facts::default());
    assert_eq!(told.expect("a plan").kernel_device.as_deref(), Some(VPN_KERNEL_DEVICE));
}
