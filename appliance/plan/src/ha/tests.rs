use super::*;

const DOCUMENT: &str = r#"
version = 1

[pair]
nodes = ["rte01", "rte02"]
sync = "sync"
failback = "preferred"
failback_delay = "2min"
heartbeat = "20ms"

[interface.sync]
device = { rte01 = "enp4s0", rte02 = "eno4" }
address = { rte01 = "169.254.77.1/30", rte02 = "169.254.77.2/30" }

[interface.wan]
device = "enp1s0"
zone = "wan"
address = { rte01 = "203.0.113.101/24", rte02 = "203.0.113.102/24" }
virtual = { address = "203.0.113.100/24", vrid = 1, protocol = "vrrp2", password = "wan", priority = { rte01 = 90, rte02 = 80 } }
gateway = "203.0.113.1"

[interface.lan]
device = { rte01 = "enp2s0", rte02 = "eno2" }
zone = "lan"
address = { rte01 = ["fd00:10::1/64", "192.168.10.1/24"], rte02 = ["192.168.10.2/24", "fd00:10::2/64"] }
virtual = [
    { address = ["192.168.10.254/24", "192.168.10.253/24"], vrid = 10, interval = "50ms", unicast = ["192.168.10.1", "192.168.10.2"] },
    { address = ["fd00:10::fe/64"], vrid = 10 },
    { address = ["fd00:10::fd/64", "fe80::1/64"], vrid = 11, preempt = false, accept = false },
    { address = "192.168.10.252/24", vrid = 12, protocol = "carp", password = "carp-lan", advskew = 7 },
]

[interface.guests]
device = "enp5s0"
zone = "guests"
address = ["dhcp", "slaac"]
monitor = false
"#;

fn plan(document: &str, node: &str) -> Option<HaPlan> {
    let reading = rempart_config::read(document);
    let report = rempart_config::render(&reading.diagnostics, "document.toml", document, false);
    let model = reading.model.unwrap_or_else(|| panic!("{report}"));
    HaPlan::of(&model, model.node(node).expect("the node"))
}

fn nets(router: &RouterPlan) -> Vec<String> {
    router.addresses.iter().map(ToString::to_string).collect()
}

/// Both nodes list the same ways in the same order, the cable first, each seen from its own side.
#[test]
fn both_nodes_see_the_same_paths() {
    let (a, b) = (plan(DOCUMENT, "rte01").expect("a pair"), plan(DOCUMENT, "rte02").expect("a pair"));
    let seen = |p: &HaPlan| -> Vec<String> {
        p.paths
            .iter()
            .map(|p| format!("{} {} {} {} {}", p.interface, p.device, p.local, p.remote, p.sync))
            .collect()
    };
    assert_eq!(
        seen(&a),
        [
            "sync enp4s0 169.254.77.1 169.254.77.2 true",
            "lan enp2s0 192.168.10.1 192.168.10.2 false",
            "wan enp1s0 203.0.113.101 203.0.113.102 false",
        ]
    );
    assert_eq!(
        seen(&b),
        [
            "sync eno4 169.254.77.2 169.254.77.1 true",
            "lan eno2 192.168.10.2 192.168.10.1 false",
            "wan enp1s0 203.0.113.102 203.0.113.101 false",
        ]
    );
    assert_eq!(
        (a.index, a.peer.as_deref(), b.index, b.peer.as_deref()),
        (0, Some("rte02"), 1, Some("rte01"))
    );
    assert_eq!((a.failback, a.heartbeat_ms), (Failback::Preferred { delay_s: 120 }, 20));
}

/// One router for each interface, id and IP version, with the document's settings or the defaults of a pair.
#[test]
fn routers_are_those_of_the_document() {
    let (a, b) = (plan(DOCUMENT, "rte01").expect("a pair"), plan(DOCUMENT, "rte02").expect("a pair"));
    let names: Vec<&str> = a.routers.iter().map(|r| r.device.as_str()).collect();
    assert_eq!(names, ["vr10-lan", "vr10v6-lan", "vr11v6-lan", "vr12-lan", "vr1-wan"]);
    let [first, second, third, carp, wan] = a.routers.as_slice() else { panic!("five") };
    assert_eq!(nets(first), ["192.168.10.254/32", "192.168.10.253/32"]);
    assert_eq!(first.local, Some([192, 168, 10, 1].into()));
    assert_eq!((first.interval_cs, first.priority, b.routers[0].priority), (5, 200, 100));
    assert_eq!((first.preempt, first.preempt_delay_s), (true, 120), "as the pair falls back");
    assert_eq!(first.unicast, [IpAddr::from([192, 168, 10, 2])], "the other one");
    assert_eq!(b.routers[0].unicast, [IpAddr::from([192, 168, 10, 1])]);
    assert_eq!(first.mac().to_string(), "00:00:5e:00:01:0a");
    assert_eq!(
        nets(second),
        ["fe80::200:5eff:fe00:20a/64", "fd00:10::fe/128"],
        "a link-local one is derived"
    );
    assert_eq!((second.local, second.interval_cs, second.accept), (None, 10, true));
    assert_eq!(second.mac().to_string(), "00:00:5e:00:02:0a");
    assert_eq!(nets(third), ["fe80::1/64", "fd00:10::fd/128"], "the given one comes first");
    assert_eq!((third.preempt, third.accept), (false, false));
    let skew = |skew| Some(CarpPlan { advbase: 1, advskew: skew, password: "carp-lan".into() });
    assert_eq!((&carp.carp, carp.interval_cs, &carp.auth), (&skew(7), 100, &None));
    assert_eq!(
        (wan.interval_cs, wan.priority, b.routers[4].priority),
        (100, 90, 80),
        "whole seconds in version 2"
    );
    assert_eq!((wan.auth.as_deref(), wan.protocol), (Some("wan"), VirtualProtocol::Vrrp2));
}

/// Interfaces with a zone count for health unless the document says no; their gateway should answer.
#[test]
fn zones_are_monitored() {
    let plan = plan(DOCUMENT, "rte02").expect("a pair");
    let seen: Vec<_> =
        plan.monitors.iter().map(|m| (m.interface.as_str(), m.device.as_str(), m.gateway)).collect();
    assert_eq!(seen, [("lan", "eno2", None), ("wan", "enp1s0", Some([203, 0, 113, 1].into()))]);
}

/// A single box without virtual routers has no plan; with one it elects with strangers, at their pace.
#[test]
fn a_single_box_may_stand_beside_a_stranger() {
    let document = r#"
        version = 1
        node = "fw"
        [interface.lan]
        device = "eth0"
        zone = "lan"
        address = "192.168.10.1/24"
    "#;
    assert_eq!(plan(document, "fw"), None);
    let beside = format!("{document}virtual = {{ address = \"192.168.10.254/24\", vrid = 10 }}");
    let plan = plan(&beside, "fw").expect("a virtual router");
    assert_eq!((plan.peer, plan.paths.len(), plan.monitors.len()), (None, 0, 1));
    let [router] = plan.routers.as_slice() else { panic!("one") };
    assert_eq!(
        (router.interval_cs, router.priority, router.preempt, router.preempt_delay_s),
        (100, 100, true, 0)
    );
}

/// Names of devices fit into the kernel's 15 bytes and stay apart, however long the names of interfaces are.
#[test]
fn device_names_are_short_and_unique() {
    let mut seen = std::collections::BTreeSet::new();
    let names = ["lan", "servers", "servers-of-the-crisis-centre-1", "servers-of-the-crisis-centre-2"];
    for name in names.map(InterfaceName::new) {
        for vrid in [1, 10, 255] {
            for family in Family::BOTH {
                let device = RouterId { vrid, family }.device(&name);
                assert!(device.as_str().len() <= 15, "{device}");
                assert!(seen.insert(device.clone()), "{device}");
            }
        }
    }
    assert_eq!(
        RouterId { vrid: 255, family: Family::V6 }.device(&InterfaceName::new("servers")).as_str(),
        "vr255v6-servers"
    );
}

/// The plan travels as JSON between the daemons.
#[test]
fn a_plan_survives_the_way_to_the_elector() {
    let plan = plan(DOCUMENT, "rte01").expect("a pair");
    let text = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(serde_json::from_str::<HaPlan>(&text).expect("a plan"), plan);
}
