use super::*;
use crate::Lease;
use rempart_config::model::{Fqdn, InterfaceName};
use rempart_config::space::AddressSet;

/// A pair: virtual addresses on `wan`, one of them a next hop alone, and a second line whose addresses are leased.
const PAIR: &str = r#"
version = 1
[pair]
nodes = ["rte01", "rte02"]
sync = "sync"
[interface.sync]
device = "enp4s0"
address = { rte01 = "169.254.77.1/30", rte02 = "169.254.77.2/30" }
[interface.wan]
device = "enp1s0"
zone = "wan"
address = { rte01 = ["203.0.113.101/24", "2001:db8::101/64"], rte02 = ["203.0.113.102/24", "2001:db8::102/64"] }
virtual = [
    { address = ["203.0.113.100/24", "203.0.113.99/24"], vrid = 1 },
    { address = "203.0.113.98/24", vrid = 2, accept = false },
    { address = "2001:db8::100/64", vrid = 3 },
]
gateway = "203.0.113.1"
[interface.lan]
device = "enp2s0"
zone = "lan"
address = { rte01 = ["192.168.10.1/24", "fe80::5/64"], rte02 = ["192.168.10.2/24", "fe80::6/64"] }
[interface.fibre]
device = "enp3s0"
zone = "fibre"
address = "dhcp"
[zone.fibre]
external = true
[host]
ad1 = ["192.168.10.11", "fd00:10::11"]
dc2 = "dc2.datatel.example"
"#;

const GROUP: &str = "[vpn.group.g]\npool = '10.77.0.0/24'\n";

fn model(text: &str) -> Model {
    let reading = rempart_config::read(text);
    let report = rempart_config::render(&reading.diagnostics, "document", text, false);
    reading.model.unwrap_or_else(|| panic!("{report}"))
}

fn plan(text: &str, node: &str, facts: &Facts) -> Option<VpnPlan> {
    let model = model(text);
    VpnPlan::of(&model, model.node(node).expect("the node"), facts)
}

fn places(list: &[SocketAddr]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn leased() -> Facts {
    let mut facts = Facts::default();
    let lease =
        Lease { address: "100.64.0.9/24".parse().expect("a network"), gateway: None, dns: Vec::new() };
    facts.leases.insert(InterfaceName::new("fibre"), lease);
    facts
}

/// Without a group there is no plan.
#[test]
fn nothing_is_planned_without_a_group() {
    assert_eq!(plan(PAIR, "rte01", &Facts::default()), None);
}

/// Interfaces with virtual addresses, with addresses of the node, and with a lease; what is listened on, on each node.
#[test]
fn it_listens_where_clients_find_the_active_node() {
    let text = format!("{PAIR}[vpn]\nlisten = ['wan', 'lan', 'fibre']\n{GROUP}");
    let shared = ["203.0.113.100:1194", "203.0.113.99:1194", "[2001:db8::100]:1194"];
    for (node, own) in [("rte01", "192.168.10.1:1194"), ("rte02", "192.168.10.2:1194")] {
        let before = plan(&text, node, &Facts::default()).expect("a plan");
        let wanted: Vec<&str> = shared.into_iter().chain([own]).collect();
        assert_eq!(places(&before.udp), wanted, "{node}, before there is a lease");
        let after = plan(&text, node, &leased()).expect("a plan");
        let wanted: Vec<&str> = wanted.into_iter().chain(["100.64.0.9:1194"]).collect();
        assert_eq!(places(&after.udp), wanted, "{node}");
        assert_eq!((after.node.as_str(), after.index), (node, u8::from(node == "rte02")));
        let peer = if node == "rte01" { "rte02" } else { "rte01" };
        assert_eq!(after.peer.as_deref(), Some(peer));
    }
    // By default the external zones.
    let plan = plan(&format!("{PAIR}{GROUP}"), "rte01", &leased()).expect("a plan");
    assert_eq!(places(&plan.tcp)[0], "100.64.0.9:443");
    assert_eq!(plan.tcp.len(), 4);
}

/// A pair without a virtual router, and a single box; neither has anybody to carry its sessions on.
#[test]
fn sessions_are_carried_on_where_addresses_move() {
    let start = PAIR.find("virtual = [").expect("virtual");
    let end = PAIR.find("gateway = ").expect("gateway");
    let alone = format!("{}{}", &PAIR[..start], &PAIR[end..]);
    let pair = plan(&format!("{alone}{GROUP}"), "rte02", &Facts::default()).expect("a plan");
    assert_eq!((pair.peer, pair.index), (None, 1));
    assert_eq!(places(&pair.udp), ["203.0.113.102:1194", "[2001:db8::102]:1194"]);
    let single = "version = 1\nnode = 'fw'\n[interface.wan]\ndevice = 'e0'\nzone = 'wan'\naddress = '203.0.113.2/24'\n";
    let single = plan(&format!("{single}{GROUP}"), "fw", &Facts::default()).expect("a plan");
    assert_eq!((single.peer, single.index, single.device.as_str()), (None, 0, "vpn0"));
}

/// A published TCP 443: it is listened on everywhere else.
#[test]
fn a_published_port_is_not_listened_on() {
    let flow = "[[flow]]\nfrom = 'wan'\nto = 'lan:192.168.10.9'\nallow = ['https']\npublish = { address = '203.0.113.99' }\n";
    let plan = plan(&format!("{PAIR}{GROUP}{flow}"), "rte01", &leased()).expect("a plan");
    assert_eq!(places(&plan.tcp), ["100.64.0.9:443", "203.0.113.100:443", "[2001:db8::100]:443"]);
    assert_eq!(plan.udp.len(), 4);
}

/// Profiles name what the document says, or the addresses; by UDP first, and never what is not listened on.
#[test]
fn profiles_say_where_to_connect_to() {
    let remotes = |settings: &str| {
        let text = format!("{PAIR}[vpn]\nlisten = '203.0.113.100'\n{settings}\n{GROUP}");
        let plan = plan(&text, "rte01", &Facts::default()).expect("a plan");
        let one = |r: &Remote| format!("{} {} {}", r.host, r.port, if r.tcp { "tcp" } else { "udp" });
        plan.remotes.iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(remotes(""), ["203.0.113.100 1194 udp", "203.0.113.100 443 tcp"]);
    assert_eq!(remotes("tcp = false\nport = 1195"), ["203.0.113.100 1195 udp"]);
    assert_eq!(
        remotes("remotes = ['vpn.example.org', '198.51.100.9']\ntcp = 8443"),
        [
            "vpn.example.org 1194 udp",
            "198.51.100.9 1194 udp",
            "vpn.example.org 8443 tcp",
            "198.51.100.9 8443 tcp"
        ]
    );
    // A line without a lease is nowhere to connect to.
    let text = format!("{PAIR}[vpn]\nlisten = 'fibre'\nremotes = 'vpn.example.org'\n{GROUP}");
    assert!(plan(&text, "rte01", &Facts::default()).expect("a plan").remotes.is_empty());
}

/// Everything that the document says reaches the plan, and the plan survives the way to `rempart-vpn`.
#[test]
fn the_plan_says_what_the_document_says() {
    let text = format!(
        "{PAIR}[vpn]\nmtu = 1400\nsessions = 50\nrekey = '2h'\nidle = '90s'\ntls = '1.3'\nstrangers = 'directory'\n\
         [vpn.group.zeta]\npool = ['10.77.0.0/24', 'fd00:77::/64']\ndns = 'ad1'\ndomain = 'datatel.example'\n\
         search = ['a.example']\nsessions = 4\nsessions_each = 1\nlimit = '8h'\ndirectory_groups = ['VPN agents']\n\
         [vpn.group.alpha]\npool = 'fd00:78::/48'\ndemand = ['password']\ntunnel = 'split'\nwhy = 'w'\nroutes = ['ad1']\n\
         [vpn.directory]\ndomain = 'datatel.example'\ncontrollers = ['ad1', 'dc2']\nauthority = 'ca'\n\
         [vpn.radius]\nservers = ['ad1', 'dc2']\nsecret = 's'\nsource = '192.168.10.1'\ngroup = 'alpha'\n\
         [vpn.certificates]\norganisation = 'DataTel'\ndevice_days = 90\nwarn_days = 7\n"
    );
    let mut facts = Facts::default();
    let found = AddressSet::one("192.168.10.12".parse().expect("an address"));
    facts.names.insert(Fqdn::new("dc2.datatel.example"), found);
    let plan = plan(&text, "rte01", &facts).expect("a plan");
    assert_eq!(
        (plan.mtu, plan.max_sessions, plan.rekey_s, plan.idle_s, plan.tls12),
        (1400, 50, 7200, 90, false)
    );
    assert_eq!(plan.strangers, Some(Strangers::Directory));
    let [zeta, alpha] = plan.groups.as_slice() else { panic!("two groups") };
    assert_eq!((zeta.name.as_str(), alpha.name.as_str()), ("zeta", "alpha"), "in the order of the document");
    assert_eq!((zeta.pool4, zeta.pool6), ("10.77.0.0/24".parse().ok(), "fd00:77::/64".parse().ok()));
    assert!(zeta.certificate && zeta.password && zeta.code && zeta.full_tunnel && zeta.routes.is_empty());
    assert_eq!(zeta.dns, ["192.168.10.11".parse::<IpAddr>().unwrap(), "fd00:10::11".parse().unwrap()]);
    assert_eq!(
        (zeta.domain.as_deref(), zeta.search.join(" ")),
        (Some("datatel.example"), "a.example".into())
    );
    assert_eq!((zeta.max_sessions, zeta.sessions_each, zeta.session_limit_s), (Some(4), 1, Some(28_800)));
    assert_eq!(zeta.directory_groups, ["VPN agents"]);
    assert_eq!(
        (alpha.pool4, alpha.pool6),
        (None, "fd00:78::/64".parse().ok()),
        "the first part of a wide pool"
    );
    assert!(!alpha.certificate && alpha.password && !alpha.code && !alpha.full_tunnel);
    assert_eq!(alpha.routes.len(), 2);
    let directory = plan.directory.as_ref().expect("a directory");
    let controllers: Vec<_> =
        directory.controllers.iter().map(|c| (c.name.as_str(), c.addresses.len(), c.port)).collect();
    assert_eq!(controllers, [("ad1.datatel.example", 2, 636), ("dc2.datatel.example", 1, 636)]);
    let radius = plan.radius.as_ref().expect("RADIUS");
    assert_eq!(places(&radius.servers), ["192.168.10.11:1812", "[fd00:10::11]:1812", "192.168.10.12:1812"]);
    assert_eq!((radius.secret.as_str(), radius.group.as_deref()), ("s", Some("alpha")));
    assert_eq!((plan.certificates.organisation.as_str(), plan.certificates.device_days), ("DataTel", 90));
    let json = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(serde_json::from_str::<VpnPlan>(&json).expect("a plan"), plan);
}
