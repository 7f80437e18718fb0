//! What the policy says of single packets and of its own assertions, on small documents.

use std::net::IpAddr;

use rempart_config::Model;
use rempart_plan::assert::{Finding, examine_all};
use rempart_plan::eval::{Arrival, Decider, Evaluator, Mismatch, Packet, Verdict};
use rempart_plan::nft::{Base, Ruleset};
use rempart_plan::{Facts, Ids, Plan, Role, World};

const HEAD: &str = r#"
version = 1
node = "fw"
[interface.wan]
device  = "eth0"
zone    = "wan"
address = "203.0.113.2/24"
gateway = "203.0.113.1"
[interface.lan]
device  = "eth1"
zone    = "lan"
address = ["192.168.10.254/24", "fd00:10::254/64"]
[interface.dmz]
device  = "eth2"
zone    = "dmz"
address = ["192.168.20.254/24", "fd00:20::254/64"]
[host]
ad  = ["192.168.10.11", "192.168.10.12"]
web = "192.168.20.11"
"#;

fn model(rest: &str) -> Model {
    let text = format!("{HEAD}{rest}");
    let reading = rempart_config::read(&text);
    let report = rempart_config::render(&reading.diagnostics, "document", &text, false);
    reading.model.unwrap_or_else(|| panic!("{report}"))
}

fn world(model: &Model) -> World {
    World::new(model, model.node("fw").expect("node"), Role::Active, &Facts::default())
}

fn packet(world: &World, from: &str, source: &str, destination: &str, protocol: u8, port: u16) -> Packet {
    let arrival = match from {
        "firewall" => Arrival::Local,
        zone => Arrival::Leg(world.legs.iter().position(|l| l.interface.as_str() == zone).expect("leg")),
    };
    let address = |a: &str| a.parse::<IpAddr>().expect("address");
    Packet {
        arrival,
        source: address(source),
        destination: address(destination),
        protocol,
        source_port: 50_000,
        port,
    }
}

/// A policy with one of each in; for each packet the verdict, what decides, and both translations.
#[test]
fn packets_meet_their_fate() {
    let model = model(
        r#"
[[flow]]
id      = "site"
from    = "wan"
to      = "dmz:web"
allow   = ["tcp/443"]
publish = { port = 8443 }
[[flow]]
id    = "no-ssh"
from  = "lan:!ad"
to    = "any"
drop  = ["ssh"]
[[flow]]
id    = "out"
from  = "lan"
to    = "wan"
allow = ["any"]
[[flow]]
id    = "admin"
from  = "lan:ad"
to    = "firewall"
allow = ["ssh"]
"#,
    );
    let world = world(&model);
    let facts = Facts::default();
    let evaluator = Evaluator::new(&model, &world, &facts);
    let flow = |id: &str| {
        Decider::Flow(
            model.flows.iter().position(|f| f.label == id).unwrap_or_else(|| panic!("no flow {id}")),
        )
    };
    use Verdict::{Allow, Drop, Reject};
    #[rustfmt::skip]
    let table = [
        // from, source, destination, protocol, port → verdict, decider, really goes to, leaves as
        ("wan", "198.51.100.7", "203.0.113.2", 6, 8443, Allow, flow("site"), Some(("192.168.20.11", 443)), None),
        ("wan", "198.51.100.7", "203.0.113.2", 6, 443, Drop, Decider::Default, None, None),
        ("wan", "198.51.100.7", "192.168.20.11", 6, 443, Drop, Decider::Default, None, None),
        ("lan", "192.168.10.21", "203.0.113.2", 6, 8443, Allow, flow("site"), Some(("192.168.20.11", 443)), None),
        ("dmz", "192.168.20.12", "203.0.113.2", 6, 8443, Allow, flow("site"), Some(("192.168.20.11", 443)), Some("192.168.20.254")),
        ("lan", "192.168.10.21", "198.51.100.1", 6, 22, Drop, flow("no-ssh"), None, None),
        ("lan", "192.168.10.11", "198.51.100.1", 6, 22, Allow, flow("out"), None, Some("203.0.113.2")),
        ("lan", "192.168.10.11", "192.168.10.254", 6, 22, Allow, flow("admin"), None, None),
        ("lan", "192.168.10.21", "192.168.20.11", 6, 80, Reject, Decider::Default, None, None),
        ("lan", "192.168.10.21", "192.168.20.11", 17, 1900, Reject, Decider::Noise, None, None),
        ("wan", "192.168.10.21", "192.168.20.11", 6, 443, Drop, Decider::AntiSpoof, None, None),
        ("wan", "10.1.2.3", "203.0.113.2", 6, 8443, Drop, Decider::Impossible, Some(("192.168.20.11", 443)), None),
        ("firewall", "203.0.113.2", "198.51.100.1", 17, 53, Reject, Decider::Default, None, None),
    ];
    for (from, source, destination, protocol, port, verdict, decider, really, leaves) in table {
        let outcome = evaluator.judge(&packet(&world, from, source, destination, protocol, port));
        let case = format!("{from} {source} → {destination} {protocol}/{port}");
        assert_eq!((outcome.verdict, &outcome.decider), (verdict, &decider), "{case}");
        let went = outcome.translated.map(|(a, p, _)| (a.to_string(), p));
        assert_eq!(went, really.map(|(a, p): (&str, u16)| (a.to_owned(), p)), "{case}");
        assert_eq!(outcome.source.map(|(a, _)| a.to_string()), leaves.map(str::to_owned), "{case}");
    }
}

/// A packet that one flow nearly matches; the explanation names that flow and the one thing amiss.
#[test]
fn near_misses_say_what_is_amiss() {
    let model = model("[[flow]]\nid = \"site\"\nfrom = \"lan\"\nto = \"dmz:web\"\nallow = [\"https\"]\n");
    let (world, facts) = (world(&model), Facts::default());
    let evaluator = Evaluator::new(&model, &world, &facts);
    let asked = packet(&world, "lan", "192.168.10.21", "192.168.20.11", 6, 80);
    let explanation = evaluator.explain(&asked).expect("explained");
    assert_eq!(explanation.near_misses, [(0, "tcp/80 is not in https".to_owned())]);
    assert!(explanation.summary.contains("no flow from lan to dmz allows it"), "{}", explanation.summary);
    let flow = &model.flows[0];
    let (lan, dmz) = (flow.from[0].zone.clone().expect("zone"), flow.to[0].zone.clone().expect("zone"));
    assert_eq!(evaluator.mismatches(flow, &asked, &lan, &dmz, false), [Mismatch::Service]);
}

/// Assertions that hold and that do not; what does not hold comes with a packet and the flow that decides.
#[test]
fn assertions_are_proved_or_refuted() {
    let model = model(
        r#"
[[flow]]
id    = "names"
from  = "dmz"
to    = "lan:ad"
allow = ["dns"]
[[flow]]
id    = "leak"
from  = "dmz:web"
to    = "lan:192.168.10.12"
allow = ["tcp/389-390"]
[[flow]]
id    = "desk"
from  = "lan"
to    = "dmz:web"
allow = ["https"]
[[check]]
name  = "dmz never reaches ad except dns"
from  = "dmz"
to    = "lan:ad"
never = "any"
except = ["dns"]
[[check]]
name   = "the first controller only answers names"
from   = "dmz"
to     = "lan:192.168.10.11"
never  = "any"
except = ["dns"]
[[check]]
name   = "desks always reach the site"
from   = "lan"
to     = "dmz:web"
always = ["https"]
[[check]]
name   = "desks always reach the site in clear"
from   = "lan"
to     = "dmz:web"
always = ["http"]
"#,
    );
    let findings = examine_all(&model, &Facts::default());
    let flow_of = |f: &Finding| match f {
        Finding::Fails(c) => Some(c.flow.map(|i| model.flows[i].label.clone())),
        Finding::Holds | Finding::Undecided(_) => None,
    };
    let found: Vec<_> = findings.iter().map(|(_, f)| flow_of(f)).collect();
    assert_eq!(found, [Some(Some("leak".to_owned())), None, None, Some(None)]);
    let Finding::Fails(counterexample) = &findings[0].1 else { panic!("refuted") };
    assert_eq!(counterexample.source.to_string(), "192.168.20.11");
    assert_eq!(counterexample.port, 389);
}

fn ruleset(model: &Model) -> Ruleset {
    let ids = Ids::default().assign(model);
    Plan::of(model, model.node("fw").expect("node"), Role::Active, &Facts::default(), &ids)
        .expect("plan")
        .ruleset
}

/// From a ruleset to itself no element travels; with one host more, the map that holds it is made anew beside the
/// old one, and of the signposts only the new counter's travels.
#[test]
fn only_the_difference_travels() {
    let flows = |last: u8| {
        let flow = |n: u8| {
            format!(
                "[[flow]]\nid = \"f{n}\"\nfrom = \"lan:192.168.10.{n}\"\nto = \"dmz:web\"\nallow = [\"https\"]\n"
            )
        };
        let other = "[[flow]]\nid = \"out\"\nfrom = \"lan\"\nto = \"wan\"\nallow = [\"tcp/1-99\"]\n";
        model(&[other.to_owned()].into_iter().chain((1..=last).map(flow)).collect::<String>())
    };
    let elements =
        |text: &str, what: &str| text.lines().filter(|l| l.starts_with(' ') && l.contains(what)).count();
    let (old, new) = (ruleset(&flows(100)), ruleset(&flows(101)));
    assert_eq!(old.stamp(), ruleset(&flows(100)).stamp());
    let same = old.scripts(Base::Ruleset(&old));
    assert_eq!((same.list.len(), same.change), (1, 0));
    assert!(!same.list[0].text.contains("element"), "{}", same.list[0].text);

    let scripts = new.scripts(Base::Ruleset(&old));
    let [prepare, change, clear_up] = scripts.list.as_slice() else { panic!("three: {scripts:#?}") };
    assert_eq!(scripts.change, 1);
    assert_eq!(elements(&prepare.text, " 192.168.20.11 . "), 101, "the one map that is another, whole");
    assert_eq!(elements(&prepare.text, "1-99"), 0, "not the others");
    assert_eq!(elements(&change.text, "\"f"), 1, "one counter reference: {}", change.text);
    assert_eq!(clear_up.text.lines().filter(|l| l.starts_with("delete map")).count(), 1, "{}", clear_up.text);
    let names = old.names();
    assert_eq!(new.scripts(Base::Names(&names)).list[0].text, prepare.text, "names alone tell what is there");
}

const PAIR: &str = r#"
version = 1
[pair]
nodes = ["fw", "fw2"]
sync  = "sync"
[interface.sync]
device  = "eth3"
address = { fw = "169.254.77.1/30", fw2 = "169.254.77.2/30" }
[interface.lan]
device  = "eth1"
zone    = "lan"
address = { fw = ["192.168.10.1/24", "fd00:10::1/64"], fw2 = ["192.168.10.2/24", "fd00:10::2/64"] }
virtual = [{ address = "192.168.10.254/24", vrid = 10 }, { address = "fd00:10::254/64", vrid = 10 }]
[interface.dmz]
device  = "eth2"
zone    = "dmz"
address = { fw = "192.168.20.1/24", fw2 = "192.168.20.2/24" }
virtual = { address = "192.168.20.254/24", vrid = 20, unicast = ["192.168.20.1", "192.168.20.2"], accept = false }
[[flow]]
from  = ["lan", "dmz"]
to    = "firewall"
allow = ["ping"]
"#;

/// A pair and packets that nodes and virtual routers send each other, or that look like it; out comes that the real
/// ones pass without a flow, and that everything else is refused.
#[test]
fn nodes_hear_each_other_and_nobody_else() {
    let reading = rempart_config::read(PAIR);
    let report = rempart_config::render(&reading.diagnostics, "document", PAIR, false);
    let model = reading.model.unwrap_or_else(|| panic!("{report}"));
    let (world, facts) = (world(&model), Facts::default());
    let evaluator = Evaluator::new(&model, &world, &facts);
    let verdict = |from, source, destination, protocol, port| {
        let outcome = evaluator.judge(&packet(&world, from, source, destination, protocol, port));
        (outcome.verdict, matches!(outcome.decider, Decider::System(_)))
    };
    const UDP: u8 = 17;
    let passes = (Verdict::Allow, true);
    for (from, peer, own) in
        [("sync", "169.254.77.2", "169.254.77.1"), ("lan", "192.168.10.2", "192.168.10.1")]
    {
        for port in [47_800, 47_801, 47_802] {
            assert_eq!(verdict(from, peer, own, UDP, port), passes, "{from} {port}");
            assert_eq!(verdict("firewall", own, peer, UDP, port), passes, "{from} {port}");
        }
        for port in [47_799, 47_803] {
            assert_ne!(verdict(from, peer, own, UDP, port), passes, "{from} {port}");
        }
        assert_ne!(verdict(from, peer, own, 6, 47_802), passes, "TCP");
    }
    // Another host, another interface, another address of ours.
    assert_ne!(verdict("lan", "192.168.10.3", "192.168.10.1", UDP, 47_800), passes);
    assert_ne!(verdict("dmz", "192.168.10.2", "192.168.10.1", UDP, 47_800), passes);
    assert_ne!(verdict("lan", "192.168.10.2", "192.168.10.254", UDP, 47_800), passes);
    // Adverts: to the group from the link, or where peers are listed from those alone, and then for the elector only.
    assert_eq!(verdict("lan", "192.168.10.9", "224.0.0.18", 112, 0), passes);
    assert_eq!(verdict("lan", "fe80::9", "ff02::12", 112, 0), passes);
    assert_ne!(verdict("lan", "fd00:10::9", "ff02::12", 112, 0), passes);
    assert_ne!(verdict("dmz", "192.168.20.2", "224.0.0.18", 112, 0), passes);
    assert_ne!(verdict("sync", "169.254.77.2", "224.0.0.18", 112, 0), passes);
    assert_eq!(verdict("dmz", "192.168.20.2", "192.168.20.1", 112, 0), (Verdict::Drop, true));
    assert_eq!(verdict("dmz", "192.168.20.9", "192.168.20.1", 112, 0), (Verdict::Reject, false));
    // A virtual address is the node's own; one that accepts nothing is a next hop alone.
    assert_eq!(verdict("lan", "192.168.10.9", "192.168.10.254", 1, 8), (Verdict::Allow, false));
    assert_eq!(verdict("dmz", "192.168.20.9", "192.168.20.254", 1, 8), (Verdict::Drop, true));
    assert_eq!(verdict("dmz", "192.168.20.9", "192.168.20.1", 1, 8), (Verdict::Allow, false));
}

/// Both nodes of a pair are given one policy, but for their own names and addresses: in the active and the standby role the
/// kernel is given the same.
#[test]
fn the_role_changes_nothing_in_the_kernel() {
    let model = rempart_config::read(PAIR).model.expect("valid");
    let ids = Ids::default().assign(&model);
    let node = model.node("fw").expect("node");
    let plan = |role| Plan::of(&model, node, role, &Facts::default(), &ids).expect("compiles");
    let (active, standby) = (plan(Role::Active), plan(Role::Standby));
    assert_eq!(active.network, standby.network);
    assert_eq!(active.ruleset.script().text, standby.ruleset.script().text);
}
