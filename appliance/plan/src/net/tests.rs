use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;

// --- a kernel in miniature -------------------------------------------------------------------------------------

/// Does one step to `state` as the kernel would; an error where the kernel would refuse.
fn apply(state: &mut Observed, step: &Step) -> Result<(), String> {
    let link = |state: &Observed, d: &Device| state.links.get(d).cloned().ok_or(format!("no device {d}"));
    match step {
        Step::CreateLink { device, kind, mtu } => {
            if state.links.contains_key(device) {
                return Err(format!("{device} exists"));
            }
            if let Some(parent) = kind.parent() {
                link(state, parent)?;
            }
            let made = ObservedLink {
                kind: kind.clone(),
                mtu: mtu.unwrap_or(1500),
                up: false,
                master: None,
                ours: true,
            };
            state.links.insert(device.clone(), made);
        }
        Step::DeleteLink { device, .. } => {
            let gone = link(state, device)?;
            if gone.kind.is_virtual_router() {
                // The elector's addresses go with it, and it may be up.
                state.addresses.retain(|(d, _)| d != device);
                state.links.remove(device);
                return Ok(());
            }
            let on_top =
                |l: &ObservedLink| l.kind.parent() == Some(device) || l.master.as_ref() == Some(device);
            let in_use = state.links.values().any(on_top)
                || state.addresses.iter().any(|(d, n)| d == device && !link_local(n))
                || state.routes.values().any(|h| h.device() == Some(device));
            if !gone.ours || in_use || gone.up {
                return Err(format!("{device} is in use"));
            }
            state.links.remove(device);
        }
        Step::SetMaster { device, from, to } => {
            let mut l = link(state, device)?;
            if l.master != *from {
                return Err(format!("{device} is elsewhere: {:?}", l.master));
            }
            for master in [from, to].into_iter().flatten() {
                let bond = matches!(link(state, master)?.kind, LinkKind::Bond { .. });
                if bond && l.up {
                    return Err(format!("{device} is up"));
                }
            }
            l.master = to.clone();
            state.links.insert(device.clone(), l);
        }
        Step::SetMtu { device, from, to } => {
            let mut l = link(state, device)?;
            if l.mtu != *from {
                return Err(format!("{device} has MTU {}", l.mtu));
            }
            l.mtu = *to;
            state.links.insert(device.clone(), l);
        }
        Step::SetUp { device, up } => {
            let mut l = link(state, device)?;
            if l.kind.is_virtual_router() {
                return Err(format!("{device} is the elector's"));
            }
            if l.up == *up {
                return Err(format!("{device} is so already"));
            }
            if let (true, LinkKind::Vlan { parent, .. }) = (*up, &l.kind)
                && !link(state, parent)?.up
            {
                return Err(format!("{parent} is down"));
            }
            l.up = *up;
            state.links.insert(device.clone(), l);
            if !up {
                state.routes.retain(|_, h| h.device() != Some(device));
                state.addresses.retain(|(d, n)| d != device || n.addr().is_ipv4());
            }
        }
        Step::AddAddress(a) => {
            if link(state, &a.device)?.kind.is_virtual_router() {
                return Err(format!("the addresses of {} are the elector's", a.device));
            }
            let clash = |(d, n): &(Device, IpNet)| {
                *d == a.device
                    && n.addr() == a.net.addr()
                    && (n.prefix_len() == a.net.prefix_len() || n.addr().is_ipv6())
            };
            if state.addresses.iter().any(clash) {
                return Err(format!("{} is there", a.net));
            }
            state.addresses.insert((a.device.clone(), a.net));
        }
        Step::RemoveAddress(a) => {
            if link(state, &a.device)?.kind.is_virtual_router() {
                return Err(format!("the addresses of {} are the elector's", a.device));
            }
            if !state.addresses.remove(&(a.device.clone(), a.net)) {
                return Err(format!("{} is not there", a.net));
            }
            // With the last IPv4 address go the routes (`fib_disable_ip`).
            if !state.addresses.iter().any(|(d, n)| *d == a.device && n.addr().is_ipv4())
                && a.net.addr().is_ipv4()
            {
                state.routes.retain(|k, h| h.device() != Some(&a.device) || k.to.addr().is_ipv6());
            }
        }
        Step::AddRoute { key, hop } => {
            if hop.device().is_some_and(|d| state.links.get(d).is_none_or(|l| !l.up)) {
                return Err("network is down".into());
            }
            if state.routes.insert(*key, hop.clone()).is_some() {
                return Err(format!("{key} is there"));
            }
        }
        Step::ReplaceRoute { key, from, to } => {
            if state.routes.insert(*key, to.clone()).as_ref() != Some(from) {
                return Err(format!("{key} was not {from}"));
            }
        }
        Step::DeleteRoute { key, hop } => {
            if state.routes.remove(key).as_ref() != Some(hop) {
                return Err(format!("{key} is not there"));
            }
        }
        Step::SetSysctl { key, from, to } => {
            let now = state.sysctls.insert(key.clone(), to.clone());
            if from.is_some() && now != *from {
                return Err(format!("{key} was {now:?}"));
            }
        }
    }
    Ok(())
}

fn link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(n) if n.addr().is_unicast_link_local())
}

fn apply_all(state: &mut Observed, steps: &[Step]) -> Result<(), String> {
    for step in steps {
        apply(state, step).map_err(|e| {
            let all: Vec<String> = steps.iter().map(|s| format!("  {s}")).collect();
            format!("{step}: {e}\nin\n{}", all.join("\n"))
        })?;
    }
    Ok(())
}

// --- plans and nodes at random ---------------------------------------------------------------------------------

fn device(name: &str) -> Device {
    Device::new(name)
}

const PHYSICAL: [&str; 5] = ["eth0", "eth1", "eth2", "eth3", "eth4"];
const MADE: [&str; 6] = ["bond0", "br0", "eth0.10", "bond0.20", "vr1-lan", "vr2-wan"];
const ELECTED: [&str; 2] = ["vr1-lan", "vr2-wan"];

fn kind_of(name: &str, flavour: bool) -> LinkKind {
    match name {
        "bond0" if flavour => LinkKind::Bond { mode: BondMode::Lacp },
        "bond0" => LinkKind::Bond { mode: BondMode::ActiveBackup },
        "br0" => LinkKind::Bridge { stp: flavour },
        "eth0.10" => LinkKind::Vlan { parent: device("eth0"), id: 10 + u16::from(flavour) },
        "bond0.20" => LinkKind::Vlan { parent: device("bond0"), id: 20 + u16::from(flavour) },
        "vr1-lan" => {
            let mac = Mac([0, 0, 0x5e, 0, 1 + u8::from(flavour), 1]);
            LinkKind::MacVlan { parent: device("eth0"), mac }
        }
        "vr2-wan" => {
            let parent = device(if flavour { "bond0" } else { "bond0.20" });
            LinkKind::MacVlan { parent, mac: Mac([0, 0, 0x5e, 0, 1, 2]) }
        }
        _ => LinkKind::Physical,
    }
}

fn addresses() -> impl Strategy<Value = Vec<IpNet>> {
    let all = [
        "10.0.0.1/24",
        "10.0.0.1/16",
        "10.0.0.2/24",
        "10.9.0.1/32",
        "fd00::1/64",
        "fd00::1/80",
        "fd00::2/64",
    ];
    subsequence(all.map(|a| a.parse::<IpNet>().expect("a network")).to_vec(), 0..=all.len())
}

/// Devices with what makes them up: name, flavour, master, MTU, addresses.
type Made = (Vec<(&'static str, bool)>, Vec<(&'static str, u8)>, Vec<Option<u32>>, Vec<Vec<IpNet>>);

fn made() -> impl Strategy<Value = Made> {
    let names: Vec<&str> = PHYSICAL.into_iter().chain(MADE).collect();
    subsequence(names, 1..=11).prop_flat_map(|names| {
        let count = names.len();
        (
            proptest::collection::vec(any::<bool>(), count)
                .prop_map(move |f| names.iter().copied().zip(f).collect()),
            subsequence(vec!["eth1", "eth2", "eth3", "eth4"], 0..=4).prop_flat_map(|m| {
                let count = m.len();
                proptest::collection::vec(0u8..2, count)
                    .prop_map(move |to| m.iter().copied().zip(to).collect())
            }),
            proptest::collection::vec(proptest::option::of(prop_oneof![Just(1400u32), Just(9000)]), count),
            proptest::collection::vec(addresses(), count),
        )
    })
}

/// One IPv6 address only once per device, as the kernel has it.
fn sane(nets: &[IpNet]) -> Vec<IpNet> {
    let mut seen = BTreeSet::new();
    nets.iter().copied().filter(|n| n.addr().is_ipv4() || seen.insert(n.addr())).collect()
}

fn routes(devices: Vec<Device>) -> impl Strategy<Value = BTreeMap<RouteKey, NextHop>> {
    let to = prop_oneof![Just("0.0.0.0/0"), Just("172.16.0.0/12"), Just("::/0"), Just("fd01::/16")];
    let one = (to, 0u32..2, proptest::option::of((0..devices.len().max(1), 1u8..4)));
    proptest::collection::vec(one, 0..6).prop_map(move |all| {
        let route = |(to, metric, hop): (&str, u32, Option<(usize, u8)>)| {
            let to: IpNet = to.parse().expect("a network");
            let hop = match hop.and_then(|(d, n)| Some((devices.get(d)?, n))) {
                Some((device, n)) => {
                    let address: IpAddr = match to {
                        IpNet::V4(_) => [10, 0, 0, n + 100].into(),
                        IpNet::V6(_) => [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n) + 100].into(),
                    };
                    NextHop::Gateway { address, device: device.clone(), onlink: false }
                }
                None => NextHop::Blackhole,
            };
            (RouteKey::new(to, metric), hop)
        };
        all.into_iter().map(route).collect()
    })
}

fn network() -> impl Strategy<Value = Network> {
    made().prop_flat_map(|(names, members, mtus, nets)| {
        let mut network = Network::default();
        for (((name, flavour), mtu), nets) in names.iter().zip(mtus).zip(nets) {
            let link = Link { kind: kind_of(name, *flavour), mtu, master: None };
            network.links.insert(device(name), link);
            let address = |net| Address { device: device(name), net, shared: *flavour };
            if ELECTED.contains(name) {
                continue;
            }
            network.addresses.extend(sane(&nets).into_iter().map(address));
        }
        for (member, to) in members {
            let master = device(if to == 0 { "bond0" } else { "br0" });
            if network.links.contains_key(&master)
                && let Some(link) = network.links.get_mut(&device(member))
            {
                link.master = Some(master);
            }
        }
        let sysctl = |value: &str, d: Option<&Device>| Sysctl {
            value: value.into(),
            need: Need::IfPresent,
            device: d.cloned(),
        };
        network.sysctls.insert("net/ipv4/ip_forward".into(), sysctl("1", None));
        for d in network.links.keys() {
            network.sysctls.insert(format!("net/ipv4/conf/{d}/rp_filter"), sysctl("1", Some(d)));
        }
        // A gateway needs an address of its family on the device.
        let devices: Vec<Device> = network.links.keys().cloned().collect();
        routes(devices).prop_map(move |routes| {
            let mut network = network.clone();
            network.routes = routes;
            network.routes.retain(|k, h| {
                let family = |a: &&Address| a.net.addr().is_ipv4() == k.to.addr().is_ipv4();
                h.device().is_none_or(|d| network.addresses.iter().filter(family).any(|a| a.device == *d))
            });
            network
        })
    })
}

/// A node that some plan was done on, and that something then happened to.
fn observed() -> impl Strategy<Value = Observed> {
    let switched_off = proptest::collection::vec(any::<bool>(), PHYSICAL.len());
    let cards = subsequence(PHYSICAL.to_vec(), 2..=5);
    (network(), cards, switched_off, any::<bool>(), any::<bool>()).prop_map(
        |(network, cards, down, foreign, active)| {
            let mut state = Observed::default();
            for card in &cards {
                let link = ObservedLink {
                    kind: LinkKind::Physical,
                    mtu: 1500,
                    up: false,
                    master: None,
                    ours: false,
                };
                state.links.insert(device(card), link);
            }
            if foreign {
                let kind = LinkKind::Bridge { stp: false };
                let link = ObservedLink { kind, mtu: 1500, up: true, master: None, ours: false };
                state.links.insert(device("br7"), link);
                state.addresses.insert((device("br7"), "10.77.0.1/24".parse().expect("a network")));
            }
            state.sysctls.insert("net/ipv4/ip_forward".into(), "0".into());
            for card in &cards {
                state.sysctls.insert(format!("net/ipv4/conf/{card}/rp_filter"), "0".into());
                state.addresses.insert((device(card), "fe80::1/64".parse().expect("a network")));
            }
            let steps = diff(&network, &state);
            apply_all(&mut state, &steps).expect("a plan from nothing");
            for (card, down) in PHYSICAL.into_iter().zip(down) {
                let step = Step::SetUp { device: device(card), up: false };
                let plain = state.links.get(&device(card)).is_some_and(|l| l.up && l.master.is_none());
                if down && plain && !state.links.contains_key(&device("eth0.10")) {
                    apply(&mut state, &step).expect("switched off");
                }
            }
            for name in ELECTED.into_iter().filter(|_| active) {
                if let Some(link) = state.links.get_mut(&device(name)) {
                    link.up = true;
                    state.addresses.insert((device(name), "10.0.0.9/32".parse().expect("a network")));
                }
            }
            state
        },
    )
}

/// The parts of a node that undoing restores: settings of devices that are made anew are the kernel's.
fn restored(state: &Observed, steps: &[Step]) -> Observed {
    let mut state = state.clone();
    for step in steps {
        if let Step::CreateLink { device, .. } | Step::DeleteLink { device, .. } = step {
            state.sysctls.remove(&format!("net/ipv4/conf/{device}/rp_filter"));
        }
    }
    for name in ELECTED.map(device) {
        if steps.iter().any(|s| matches!(s, Step::DeleteLink { device, .. } if *device == name)) {
            state.links.entry(name.clone()).and_modify(|l| l.up = false);
            state.addresses.retain(|(d, _)| *d != name);
        }
    }
    state.addresses.retain(|(_, net)| !link_local(net));
    state
}

/// The links of virtual routers that stay, and what the elector has done to them.
fn elected(state: &Observed, steps: &[Step]) -> Vec<(Device, bool, Vec<IpNet>)> {
    let stays =
        |d: &&Device| !steps.iter().any(|s| matches!(s, Step::DeleteLink { device, .. } if device == *d));
    let made =
        |d: &&Device| !steps.iter().any(|s| matches!(s, Step::CreateLink { device, .. } if device == *d));
    let here = state.links.iter().filter(|(_, l)| l.kind.is_virtual_router()).map(|(d, _)| d);
    let one = |d: &Device| {
        let nets = state.addresses.iter().filter(|(on, _)| on == d).map(|(_, n)| *n).collect();
        (d.clone(), state.links[d].up, nets)
    };
    here.filter(stays).filter(made).map(one).collect()
}

proptest! {
    /// Any node and any plan: every step is one that the kernel takes, and after them nothing is left to do.
    #[test]
    fn the_steps_lead_to_the_plan(network in network(), before in observed()) {
        let steps = diff(&network, &before);
        let mut after = before.clone();
        apply_all(&mut after, &steps).map_err(TestCaseError::fail)?;
        let rest: Vec<String> = diff(&network, &after).iter().map(ToString::to_string).collect();
        prop_assert!(rest.is_empty(), "left to do: {rest:?}");
        prop_assert_eq!(missing(&network, &before), missing(&network, &after));
        let foreign = |s: &Observed| (s.links.get(&device("br7")).cloned(), s.addresses.iter().any(|(d, _)| *d == device("br7")));
        prop_assert_eq!(foreign(&before), foreign(&after));
        prop_assert_eq!(elected(&before, &steps), elected(&after, &steps));
    }

    /// Steps undone backwards lead back to where the node was.
    #[test]
    fn undoing_leads_back(network in network(), before in observed()) {
        let steps = diff(&network, &before);
        let mut state = before.clone();
        apply_all(&mut state, &steps).map_err(TestCaseError::fail)?;
        let undo: Vec<Step> = steps.iter().rev().filter_map(Step::undo).collect();
        apply_all(&mut state, &undo).map_err(TestCaseError::fail)?;
        prop_assert_eq!(restored(&state, &steps), restored(&before, &steps));
        for step in &steps {
            if let Some(undo) = step.undo() {
                prop_assert_eq!(undo.undo(), Some(step.clone()));
            }
            prop_assert!(!step.reason().is_empty() && !step.to_string().is_empty());
        }
    }
}

// --- from the document -----------------------------------------------------------------------------------------

const DOCUMENT: &str = r#"
version = 1

[pair]
nodes = ["rte01", "rte02"]
sync = "sync"

[system]
max_connections = 300000

[interface.wan]
device = "eth0"
zone = "wan"
address = "dhcp"
mtu = 1492

[interface.wan2]
device = "eth3"
zone = "wan"
address = { rte01 = "198.51.100.11/24", rte02 = "198.51.100.12/24" }
virtual = { address = "198.51.100.10/24", vrid = 5 }
gateway = "198.51.100.1"

[interface.trunk]
device = "bond0"
bond = { members = ["eth1", "eth2"], mode = "802.3ad" }
mtu = 9000

[interface.lan]
zone = "lan"
vlan = { parent = "trunk", id = 10 }
address = { rte01 = "192.168.10.1/24", rte02 = "192.168.10.2/24" }
virtual = { address = "192.168.10.254/24", vrid = 10 }

[interface.sync]
device = "eth4"
address = { rte01 = "169.254.77.1/30", rte02 = "169.254.77.2/30" }

[host]
web = "192.168.10.80"

[[flow]]
from = "wan"
to = "lan:web"
allow = ["https"]
publish = { address = "198.51.100.20" }

[[nat.one_to_one]]
outside = "198.51.100.32/30"
inside = "192.168.10.32/30"
interface = "wan2"
"#;

fn model() -> Model {
    let reading = rempart_config::read(DOCUMENT);
    let report = rempart_config::render(&reading.diagnostics, "document.toml", DOCUMENT, false);
    reading.model.unwrap_or_else(|| panic!("{report}"))
}

fn planned(node: &str) -> Network {
    let model = model();
    let mut facts = Facts::default();
    let lease = crate::Lease {
        address: "203.0.113.7/32".parse().expect("a network"),
        gateway: Some([203, 0, 113, 1].into()),
        dns: Vec::new(),
    };
    facts.leases.insert(InterfaceName::new("wan"), lease);
    Network::of(&model, model.node(node).expect("the node"), &facts)
}

fn lines(network: &Network) -> Vec<String> {
    let address = |a: &Address| format!("{} {}{}", a.device, a.net, if a.shared { " shared" } else { "" });
    network.addresses.iter().map(address).collect()
}

/// Each node has its own addresses alone, whatever its role. The virtual ones, and those that translation answers for
/// where there is a virtual router, are the elector's.
#[test]
fn each_node_has_its_own_addresses() {
    assert_eq!(
        lines(&planned("rte01")),
        ["bond0.10 192.168.10.1/24", "eth0 203.0.113.7/32", "eth3 198.51.100.11/24", "eth4 169.254.77.1/30"]
    );
    assert_eq!(
        lines(&planned("rte02")),
        ["bond0.10 192.168.10.2/24", "eth0 203.0.113.7/32", "eth3 198.51.100.12/24", "eth4 169.254.77.2/30"]
    );
    assert_eq!(planned("rte01").unanswered, BTreeSet::new());
}

/// A virtual router is a link on its interface's device with the virtual MAC, the interface's MTU, and settings that
/// keep it silent; one of IPv4 has no IPv6.
#[test]
fn virtual_routers_have_links() {
    let network = planned("rte01");
    let link = &network.links[&device("vr10-lan")];
    let mac = Mac([0, 0, 0x5e, 0, 1, 10]);
    assert_eq!(link.kind, LinkKind::MacVlan { parent: device("bond0.10"), mac });
    assert_eq!(link.kind.to_string(), "virtual router's link 00:00:5e:00:01:0a on bond0.10");
    let value = |key: &str| network.sysctls.get(key).map(|s| s.value.as_str());
    assert_eq!(value("net/ipv4/conf/vr10-lan/rp_filter"), Some("0"), "the way back is by the device below");
    assert_eq!(value("net/ipv4/conf/bond0.10/rp_filter"), Some("1"));
    assert_eq!(value("net/ipv4/conf/vr10-lan/arp_ignore"), Some("1"));
    assert_eq!(value("net/ipv6/conf/vr10-lan/disable_ipv6"), Some("1"));
    assert_eq!(value("net/ipv6/conf/vr10-lan/addr_gen_mode"), Some("1"));
}

/// A single box answers itself for what translation uses; where it has a virtual router, that one does.
#[test]
fn outside_addresses_are_answered_for() {
    let single = DOCUMENT
        .replace("[pair]\nnodes = [\"rte01\", \"rte02\"]\nsync = \"sync\"", "")
        .replace("version = 1", "version = 1\nnode = \"rte01\"");
    let single = single
        .replace("{ rte01 = \"198.51.100.11/24\", rte02 = \"198.51.100.12/24\" }", "\"198.51.100.11/24\"")
        .replace("{ rte01 = \"192.168.10.1/24\", rte02 = \"192.168.10.2/24\" }", "\"192.168.10.1/24\"")
        .replace("{ rte01 = \"169.254.77.1/30\", rte02 = \"169.254.77.2/30\" }", "\"169.254.77.1/30\"");
    let shared = |document: &str| {
        let model = rempart_config::read(document).model.expect("a valid document");
        let node = model.node("rte01").expect("the node");
        let network = Network::of(&model, node, &Facts::default());
        let ha = crate::ha::HaPlan::of(&model, node).expect("virtual routers");
        let wan2 = ha.routers.iter().find(|r| r.interface == "wan2").map(|r| r.unadvertised.clone());
        let shared = network.addresses.iter().filter(|a| a.shared).map(|a| a.net).collect::<Vec<_>>();
        (shared, wan2)
    };
    let outside: Vec<IpNet> =
        [20, 32, 33, 34, 35].map(|n| IpNet::from(IpAddr::from([198, 51, 100, n]))).to_vec();
    assert_eq!(shared(&single), (Vec::new(), Some(outside.clone())));
    let without = single.replace("virtual = { address = \"198.51.100.10/24\", vrid = 5 }\n", "");
    assert_eq!(shared(&without), (outside, None));
    let pair = DOCUMENT.replace("virtual = { address = \"198.51.100.10/24\", vrid = 5 }\n", "");
    assert_eq!(shared(&pair), (Vec::new(), None), "two boxes must not both answer");
}

#[test]
fn links_and_routes_are_those_of_the_document() {
    let network = planned("rte01");
    let link = |name: &str| network.links[&device(name)].clone();
    assert_eq!(link("eth0").mtu, Some(1492));
    assert_eq!(
        link("eth1"),
        Link { kind: LinkKind::Physical, mtu: Some(9000), master: Some(device("bond0")) }
    );
    assert_eq!(link("bond0").kind, LinkKind::Bond { mode: BondMode::Lacp });
    assert_eq!(link("bond0.10").kind, LinkKind::Vlan { parent: device("bond0"), id: 10 });
    let routes: Vec<String> = network.routes.iter().map(|(k, h)| format!("{k} {h}")).collect();
    let [first, second] = routes.as_slice() else { panic!("{routes:?}") };
    assert!(
        first.starts_with("0.0.0.0/0 metric 10") && first.ends_with("via 198.51.100.1 on eth3"),
        "{first}"
    );
    assert!(
        second.starts_with("0.0.0.0/0 metric 20") && second.ends_with("via 203.0.113.1 on eth0"),
        "{second}"
    );
    // The lease is of one address: its gateway is reached all the same.
    assert!(network.routes.values().any(|h| matches!(h, NextHop::Gateway { onlink: true, .. })));
    assert_eq!(network.dhcp.len(), 1);
    let value = |key: &str| network.sysctls.get(key).map(|s| s.value.as_str());
    assert_eq!(value("net/netfilter/nf_conntrack_max"), Some("300000"));
    assert_eq!(value("net/netfilter/nf_conntrack_buckets"), Some("300032"));
    assert_eq!(value("net/ipv6/conf/bond0.10/accept_ra"), Some("0"));
}

/// A one-to-one network of more than the limit is not put on the interface address by address.
#[test]
fn large_networks_are_left_to_routing() {
    let mut model = model();
    let one = model.nat.one_to_one[0].clone();
    let outside: IpNet = "198.51.0.0/16".parse().expect("a network");
    model.nat.one_to_one = vec![rempart_config::model::OneToOne { outside, ..one }];
    let network = Network::of(&model, model.node("rte01").expect("the node"), &Facts::default());
    assert_eq!(network.unanswered, BTreeSet::from([outside]));
    let ha = crate::ha::HaPlan::of(&model, model.node("rte01").expect("the node")).expect("a pair");
    assert!(!format!("{ha:?}").contains("198.51.100.32"));
}
