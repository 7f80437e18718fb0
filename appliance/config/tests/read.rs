//! What a valid document means: the model that comes out of it.

use rempart_config::model::*;
use rempart_config::{Model, read, render};

const WORLD: &str = r#"
version = 1

[pair]
nodes = ["a", "b"]
sync = "sync"

[interface.sync]
device = "e9"
address = { b = "169.254.77.2/30", a = "169.254.77.1/30" }

[interface.wan]
device = { a = "e0", b = "eno1" }
zone = "wan"
address = { a = "203.0.113.2/28", b = "203.0.113.3/28" }
virtual = { address = "203.0.113.4/28", vrid = 1 }
gateway = "203.0.113.1"

[interface.lan]
device = "e1"
zone = "lan"
address = { a = ["192.168.10.1/24", "fd00:10::1/64"], b = ["192.168.10.2/24", "fd00:10::2/64"] }

[interface.dmz]
device = "e2"
zone = "dmz"
address = { a = "192.168.20.1/24", b = "192.168.20.2/24" }

[interface.voice]
vlan = { parent = "lan", id = 40 }
zone = "voice"
address = { a = "192.168.40.1/24", b = "192.168.40.2/24" }

[host]
web = ["192.168.20.11", "fd00:20::11"]
two = ["web", "lookup"]
lookup = ["GW.Partner.Example.", "10.0.0.0/8"]

[service]
site = ["http", "tcp/443", "tcp/81-82"]
dns = "udp/53"
"#;

fn model(more: &str) -> Model {
    let text = format!("{WORLD}{more}");
    let reading = read(&text);
    let printed = render(&reading.diagnostics, "document", &text, false);
    assert!(reading.diagnostics.is_empty(), "{printed}");
    reading.model.expect("no fault")
}

fn flow(lines: &str) -> Flow {
    model(&format!("[[flow]]\n{lines}\n")).flows.remove(0)
}

fn names<'a>(zones: impl IntoIterator<Item = &'a ZoneName>) -> Vec<&'a str> {
    zones.into_iter().map(ZoneName::as_str).collect()
}

fn codes(more: &str) -> Vec<&'static str> {
    read(&format!("{WORLD}{more}")).diagnostics.iter().map(|d| d.code).collect()
}

#[test]
fn nodes_have_their_own_values_in_their_order() {
    // Values given per node, in the other order: each node must get its own.
    let model = model("");
    let (a, b) = (model.node("a").expect("known"), model.node("b").expect("known"));
    let wan = &model.interfaces["wan"];
    assert_eq!((wan.device.get(a).as_str(), wan.device.get(b).as_str()), ("e0", "eno1"));
    let sync = &model.interfaces["sync"];
    assert_eq!(sync.addresses.get(a)[0].to_string(), "169.254.77.1/30");
    assert_eq!(sync.addresses.get(b)[0].to_string(), "169.254.77.2/30");
    assert_eq!(model.sync.as_ref().map(InterfaceName::as_str), Some("sync"));
    assert_eq!(wan.gateways.get(b).len(), 1);
    assert_eq!(wan.virtuals[0].vrid, 1);
}

#[test]
fn a_vlan_is_named_after_its_parent() {
    // A VLAN without a device; the name is the parent's with the id.
    let model = model("");
    let voice = &model.interfaces["voice"];
    assert!(voice.device.iter().all(|d| d.as_str() == "e1.40"));
    assert_eq!(voice.kind, InterfaceKind::Vlan { parent: InterfaceName::new("lan"), id: 40 });
}

#[test]
fn zones_default_by_their_name() {
    // `wan` is outside, the others are inside; the firewall is always there, the VPN only with a group.
    let plain = model("");
    assert_eq!(names(plain.zones.keys()), ["dmz", "firewall", "lan", "voice", "wan"]);
    let (wan, lan) = (&plain.zones["wan"], &plain.zones["lan"]);
    assert!(wan.external && wan.block_private && wan.block_bogons && wan.anti_spoof);
    assert_eq!(wan.syn_limit.map(|r| r.to_string()), Some("500/second".into()));
    assert!(
        !lan.external && !lan.block_private && !lan.block_bogons && lan.anti_spoof && lan.syn_limit.is_none()
    );
    let set = model(
        "[zone.dmz]\nexternal = true\nblock_private = false\nsyn_limit = \"off\"\n[vpn]\nlisten = \"wan\"\n[vpn.group.g]\npool = \"10.9.0.0/24\"\n",
    );
    let dmz = &set.zones["dmz"];
    assert!(dmz.external && !dmz.block_private && dmz.block_bogons && dmz.syn_limit.is_none());
    assert!(set.zones.contains_key("vpn"));
}

#[test]
fn names_become_what_they_stand_for() {
    // Nested hosts and services; DNS names are kept, in lower case and without the final dot.
    let model = model("");
    let two = &model.hosts["two"];
    assert_eq!(two.names.iter().map(Fqdn::as_str).collect::<Vec<_>>(), ["gw.partner.example"]);
    assert!(two.fixed.contains("10.9.9.9".parse().expect("an address")));
    assert!(two.fixed.contains("fd00:20::11".parse().expect("an address")));
    let site = flow("from='lan'\nto='dmz'\nallow=['site']");
    let [ServiceAtom::Ports { protocol: TCP, ports }] = site.services.as_slice() else {
        panic!("{:?}", site.services)
    };
    assert_eq!(ports.intervals().len(), 2, "80-82 and 443");
    // The document's own `dns` counts, not the built-in one.
    let dns = flow("from='lan'\nto='dmz'\nallow=['dns']").services;
    assert!(matches!(dns.as_slice(), [ServiceAtom::Ports { protocol: UDP, .. }]));
}

#[test]
fn endpoints_keep_what_they_were_written_as() {
    // Endpoints of each form; zone, hosts and text come out.
    let model = model(
        "[vpn.group.agents]\npool = '10.9.0.0/24'\n[[flow]]\nfrom = ['any', 'vpn:agents', 'lan:!web']\nto = 'firewall:203.0.113.4'\nallow = ['any']\n",
    );
    let [any, group, other] = model.flows[0].from.as_slice() else { panic!("three endpoints") };
    assert_eq!((any.zone.as_ref(), any.hosts.clone()), (None, HostSet::any()));
    assert_eq!(group.hosts.vpn_groups.iter().map(Name::as_str).collect::<Vec<_>>(), ["agents"]);
    assert!(group.hosts.fixed.is_empty() && !group.hosts.is_fixed());
    assert!(other.hosts.negated && other.text == "lan:!web");
    assert_eq!(model.flows[0].to[0].zone.as_ref().map(ZoneName::is_firewall), Some(true));
    assert_eq!(model.flows[0].services, [ServiceAtom::Any]);
}

#[test]
fn a_key_outlives_edits_that_do_not_matter() {
    // Flows with the same ends and services keep their key, whatever their order, reason and place.
    let key = |lines: &str| flow(lines).key;
    let first = key("from=['lan', 'dmz']\nto='wan'\nallow=['ssh', 'http']");
    assert_eq!(first, "dmz,lan|wan|http,ssh|allow|");
    assert_eq!(first, key("from=['dmz', 'lan']\nto='wan'\nallow=['http', 'ssh']\nwhy='x'\nlog=true"));
    assert_ne!(first, key("from=['lan', 'dmz']\nto='wan'\ndeny=['ssh', 'http']"));
    assert_eq!(key("id='site'\nfrom='lan'\nto='wan'\nallow=['ssh']"), "id:site");
    let published = "from='wan'\nto='dmz:web'\nallow=['http']\npublish=";
    assert_ne!(key(&format!("{published}true")), key(&format!("{published}{{ port = 81 }}")));
    // The same flow twice is told, and still has two keys.
    let same = "[[flow]]\nfrom='lan'\nto='wan'\nallow=['ssh']\nrate='5/second'\n";
    let twice = model(&format!("{same}{same}")).flows;
    assert_eq!(
        (twice[0].key.as_str(), twice[1].key.as_str()),
        ("lan|wan|ssh|allow|", "lan|wan|ssh|allow|#2")
    );
    assert_eq!(twice[0].line + 5, twice[1].line);
    assert_eq!(twice[0].label, format!("flow at line {}", twice[0].line));
}

#[test]
fn a_flow_says_all_about_itself() {
    // Every optional key of a flow; each must arrive.
    let flow = model(
        "[schedule.office]\ndays='mon-fri'\nhours=['08:00-12:00', '22:00-06:00']\n[[flow]]\nid='x'\nfrom='lan'\nto='wan'\nallow=['ftp']\n\
         why='because'\nowner='me'\nexpires=2027-03-31\nschedule='office'\nlog=true\nrate='10/minute burst 3'\n\
         connections={ max = 5, per = 'source' }\nhelper='ftp'\n",
    )
    .flows
    .remove(0);
    assert_eq!((flow.why.as_deref(), flow.owner.as_deref()), (Some("because"), Some("me")));
    assert_eq!(flow.expires, Some(jiff::civil::date(2027, 3, 31)));
    assert_eq!(flow.schedule, Some(Name::new("office")));
    assert_eq!(flow.rate.map(|r| (r.count.get(), r.unit, r.burst.get())), Some((10, RateUnit::Minute, 3)));
    assert_eq!(flow.connections.map(|c| (c.max.get(), c.per_source)), Some((5, true)));
    assert_eq!((flow.helper, flow.log, flow.label.as_str()), (Some(Helper::Ftp), true, "x"));
}

#[test]
fn publishing_reaches_one_target_and_reflects_to_the_inside() {
    // Published flows with every form of `publish`; target, port and reflection come out.
    let publish = |from: &str, form: &str| {
        flow(&format!("from='{from}'\nto='dmz:web'\nallow=['https']\npublish={form}"))
            .publish
            .expect("published")
    };
    let plain = publish("wan", "true");
    assert_eq!(plain.target, "192.168.20.11".parse::<std::net::IpAddr>().expect("an address"));
    assert_eq!((plain.address, plain.port), (None, None));
    assert_eq!(names(&plain.reflect), ["dmz", "lan", "voice"]);
    // For chosen hosts outside there is no reflection unless asked for.
    assert!(publish("wan:198.51.100.1", "true").reflect.is_empty());
    assert_eq!(names(&publish("wan:198.51.100.1", "{ reflect = true }").reflect), ["dmz", "lan", "voice"]);
    assert_eq!(names(&publish("wan", "{ reflect = ['lan'] }").reflect), ["lan"]);
    assert!(publish("wan", "{ reflect = false }").reflect.is_empty());
    let moved = publish("wan", "{ port = 8443, address = '203.0.113.9' }");
    assert_eq!((moved.port, moved.address.map(|a| a.to_string())), (Some(8443), Some("203.0.113.9".into())));
    assert_eq!(publish("wan", "{ port = 443 }").port, None, "the same number is no shift");
    assert_eq!(flow("from='wan'\nto='dmz:web'\nallow=['https']\npublish=false").publish, None);
}

#[test]
fn different_sources_may_lead_to_different_targets() {
    // Two flows on one outside port: a contradiction unless they differ in source, port or address.
    let one = |from: &str, to: &str, form: &str| {
        format!("[[flow]]\nfrom='{from}'\nto='dmz:192.168.20.{to}'\nallow=['https']\npublish={form}\n")
    };
    let verdict = |a: String, b: String| codes(&format!("{a}{b}"));
    assert_eq!(verdict(one("wan", "11", "true"), one("wan", "12", "true")), ["contradictory-nat"]);
    assert_eq!(
        verdict(one("wan:198.51.100.1", "11", "true"), one("wan:198.51.100.2", "12", "true")),
        [""; 0]
    );
    assert_eq!(verdict(one("wan", "11", "true"), one("wan", "12", "{ port = 444 }")), [""; 0]);
    assert_eq!(verdict(one("wan", "11", "true"), one("wan", "12", "{ address = '203.0.113.9' }")), [""; 0]);
    // The virtual address is one of the interface's.
    assert_eq!(
        verdict(one("wan", "11", "true"), one("wan", "12", "{ address = '203.0.113.4' }")),
        ["contradictory-nat"]
    );
    // Reflected to the same clients inside, the sources outside do not help.
    let reflected = "{ reflect = ['lan'] }";
    assert_eq!(
        verdict(one("wan:198.51.100.1", "11", reflected), one("wan:198.51.100.2", "12", reflected)),
        ["contradictory-nat"]
    );
}

#[test]
fn a_published_target_is_where_the_flow_says() {
    // Targets on connected, routed and unknown networks; the zone must be the one that leads there.
    let route = "[[route]]\nto = '10.20.0.0/16'\nvia = '192.168.10.253'\n";
    let to = |zone: &str, host: &str| {
        codes(&format!("{route}[[flow]]\nfrom='wan'\nto='{zone}:{host}'\nallow=['https']\npublish=true\n"))
    };
    assert_eq!(to("lan", "10.20.0.5"), [""; 0]);
    assert_eq!(to("dmz", "10.20.0.5"), ["publish-target"]);
    assert_eq!(to("dmz", "192.168.10.5"), ["publish-target"]);
    assert_eq!(to("lan", "192.168.10.5"), [""; 0]);
}

#[test]
fn schedules_wrap_round_the_night() {
    // Hours over midnight and no days; the window starts on every day.
    let model = model("[schedule.night]\nhours='22:00-06:00'\n[schedule.weekend]\ndays='sat-sun'\n");
    let night = &model.schedules["night"].windows;
    assert_eq!((night.len(), night[0].days.len()), (1, 7));
    assert!(night[0].end < night[0].start);
    let weekend = &model.schedules["weekend"].windows[0];
    assert_eq!(weekend.days.iter().copied().collect::<Vec<_>>(), [5, 6]);
    assert_eq!((weekend.start, weekend.end), (jiff::civil::Time::midnight(), jiff::civil::Time::midnight()));
}

#[test]
fn routes_find_their_interface() {
    // A named router, an address and a black hole; the interface is the one with the router's network.
    let model = model(
        "[gateway.r]\naddress='192.168.20.253'\n[[route]]\nto='10.1.0.0/16'\nvia='r'\n[[route]]\nto='fd00:99::/64'\nvia='fd00:10::99'\nmetric=5\n[[route]]\nto='10.2.0.0/16'\nvia='blackhole'\n",
    );
    let via = |n: usize| match &model.routes[n].via {
        RouteVia::Gateway { address, interface } => format!("{address} {interface}"),
        RouteVia::Blackhole => "blackhole".into(),
    };
    assert_eq!([via(0), via(1), via(2)], ["192.168.20.253 dmz", "fd00:10::99 lan", "blackhole"]);
    assert_eq!(model.routes[1].metric, 5);
}

#[test]
fn translations_know_their_interface() {
    // Outbound rules and one-to-one pairs; addresses, interfaces and defaults come out.
    let model = model(
        "[nat]\noutbound='manual'\n[[nat.source]]\nfrom='lan:web'\nto='wan'\naddress='203.0.113.5'\n[[nat.source]]\nfrom='firewall'\nto='wan:two'\nservice='dns'\naddress='none'\n\
         [[nat.one_to_one]]\noutside='203.0.113.8/30'\ninside='192.168.20.40/30'\n[[nat.one_to_one]]\noutside='198.51.100.9'\ninside='192.168.20.99'\ninterface='wan'\n",
    );
    assert_eq!(model.nat.outbound, Outbound::Manual);
    assert_eq!(model.nat.source[0].services, [ServiceAtom::Any]);
    assert!(matches!(model.nat.source[0].address, SourceAddress::Address(_)));
    assert_eq!(model.nat.source[1].address, SourceAddress::Keep);
    assert!(model.nat.one_to_one.iter().all(|o| o.interface.as_str() == "wan"));
    assert_eq!(model.nat.one_to_one[1].outside.to_string(), "198.51.100.9/32");
}

#[test]
fn what_is_left_out_has_its_default() {
    // A document with no more than it must have.
    let small = read("version = 1\nnode = 'fw'\n").model.expect("valid");
    assert_eq!(small.system, System { timezone: "UTC".into(), max_connections: None });
    assert_eq!((small.nat.outbound, small.nodes.len()), (Outbound::Automatic, 1));
    assert_eq!(small.noise.len(), 2, "netbios, ssdp and mdns are of two protocols");
    assert_eq!(names(small.zones.keys()), ["firewall"]);
    assert!(model("[policy]\nnoise = []\n").noise.is_empty());
    let lists = model("[blocklist.x]\nfile='/x'\n[blocklist.y]\nfile='/y'\nzones=['lan', 'vpn']\nlog=true\n[vpn.group.g]\npool='10.9.0.0/24'\n").blocklists;
    assert_eq!(names(&lists["x"].zones), ["wan"]);
    assert_eq!(names(&lists["y"].zones), ["lan", "vpn"]);
}

#[test]
fn nesting_has_a_bound() {
    // Chains of names as deep as allowed and one deeper, in both orders of definition.
    let chain = |depth: usize, backwards: bool| {
        let mut lines: Vec<_> = (1..depth).map(|n| format!("h{n} = 'h{}'", n - 1)).collect();
        lines.insert(0, "h0 = '10.0.0.1'".into());
        if backwards {
            lines.reverse();
        }
        let text = format!("version = 1\nnode = 'fw'\n[host]\n{}\n", lines.join("\n"));
        read(&text).diagnostics.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    for backwards in [false, true] {
        assert_eq!(chain(rempart_config::limits::MAX_NESTING, backwards), [""; 0]);
        assert_eq!(chain(rempart_config::limits::MAX_NESTING + 1, backwards), ["too-deep"], "{backwards}");
    }
}

#[test]
fn link_local_addresses_may_repeat() {
    // The same link-local address on two interfaces is no overlap; twice on one link it is a fault.
    let (c, d) = ("'fe80::1/64'", "'fe80::2/64'");
    let interface = |name: &str, a: &str, b: &str| {
        format!("[interface.{name}]\ndevice='{name}'\naddress={{ a = {a}, b = {b} }}\n")
    };
    assert_eq!(codes(&format!("{}{}", interface("x", c, d), interface("y", c, d))), [""; 0]);
    assert_eq!(codes(&interface("x", c, c)), ["duplicate-address"]);
}
