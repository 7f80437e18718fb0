//! Shadowed and redundant flows, against every packet of a small world tried one by one.

use proptest::prelude::*;
use rempart_config::space::Family;
use rempart_config::{Reading, read};

/// One address in each zone and one more, so that hosts differ; enough for every flow generated here.
const WORLD: &str = r#"
version = 1
node = "fw"
[interface.a]
device = "e0"
zone = "a"
address = "10.0.0.1/24"
[interface.b]
device = "e1"
zone = "b"
address = ["10.0.1.1/24", "fd00:1::1/64"]
[vpn]
listen = "a"
tcp = false
[vpn.group.staff]
pool = "10.0.9.0/24"
[host]
named = "host.example.org"
target = "10.0.1.3"
dual = ["10.0.1.3", "fd00:1::3"]
"#;

fn flow(lines: &str) -> String {
    format!("[[flow]]\n{lines}\n")
}

fn codes(reading: &Reading) -> Vec<&'static str> {
    reading.diagnostics.iter().map(|d| d.code).collect()
}

fn judge(flows: &[&str]) -> Vec<&'static str> {
    let text = flows.iter().map(|f| flow(f)).collect::<String>();
    codes(&read(&format!("{WORLD}{text}")))
}

#[test]
fn a_covered_flow_is_told() {
    // Pairs and triples of flows go in; the verdict on the last one comes out.
    let wide = "from='a'\nto='b'\ndeny=['tcp']";
    assert_eq!(judge(&[wide, "from='a:10.0.0.7'\nto='b:target'\nallow=['ssh']"]), ["shadowed-flow"]);
    assert_eq!(judge(&[wide, "from='a'\nto='b'\ndeny=['ssh']"]), ["redundant-flow"]);
    assert_eq!(judge(&[wide, "from='a'\nto='b'\nallow=['ssh', 'udp/1']"]), [""; 0]);
    assert_eq!(
        judge(&["from='any'\nto='any'\ndrop=['any']", "from='a'\nto='b'\nallow=['ssh']"]),
        ["shadowed-flow"]
    );
    // Every zone is not the firewall.
    assert_eq!(
        judge(&["from='any'\nto='any'\ndrop=['any']", "from='a'\nto='firewall'\nallow=['ssh']"]),
        [""; 0]
    );
    // Two halves make a whole.
    let (low, high) =
        ("from='a:10.0.0.0/25'\nto='b'\nallow=['ssh']", "from='a:10.0.0.128/25'\nto='b'\nallow=['ssh']");
    assert_eq!(judge(&[low, high, "from='a:10.0.0.0/24'\nto='b'\nallow=['ssh']"]), ["redundant-flow"]);
    assert_eq!(judge(&[low, high, "from='a:10.0.0.0/24'\nto='b'\nreject=['ssh']"]), ["shadowed-flow"]);
    // ICMP of both versions.
    assert_eq!(judge(&["from='a'\nto='b'\ndeny=['icmp']", "from='a'\nto='b'\nallow=['ping']"]), [""; 0]);
    assert_eq!(
        judge(&["from='a'\nto='b'\ndeny=['icmp', 'icmp6']", "from='a'\nto='b'\nallow=['ping']"]),
        ["shadowed-flow"]
    );
}

#[test]
fn what_may_not_hold_covers_nothing() {
    // An earlier flow that depends on time, load or a name must not cover a later one.
    let later = "from='a'\nto='b'\nallow=['ssh']";
    for condition in ["expires=2030-01-01", "rate='5/second'", "connections=5"] {
        assert_eq!(
            judge(&[&format!("from='a'\nto='b'\nallow=['tcp']\n{condition}"), later]),
            [""; 0],
            "{condition}"
        );
        // The other way round the condition never comes to bear.
        assert_eq!(
            judge(&["from='a'\nto='b'\nallow=['tcp']", &format!("{later}\n{condition}")]),
            ["redundant-flow"]
        );
    }
    assert_eq!(
        judge(&["from='a:named'\nto='b'\ndeny=['any']", "from='a:named'\nto='b'\nallow=['ssh']"]),
        [""; 0]
    );
    assert_eq!(judge(&["from='a:!named'\nto='b'\ndeny=['any']", later]), [""; 0]);
    // But everything covers a name, and the whole of a pool covers a group.
    assert_eq!(
        judge(&["from='a'\nto='b'\ndeny=['any']", "from='a:named'\nto='b'\nallow=['ssh']"]),
        ["shadowed-flow"]
    );
    let pool = "from='vpn:10.0.9.0/24'\nto='b'\ndeny=['any']";
    assert_eq!(judge(&[pool, "from='vpn:staff'\nto='b'\nallow=['ssh']"]), ["shadowed-flow"]);
}

#[test]
fn published_flows_see_translated_packets_alone() {
    // Published and unpublished flows in both orders go in; only the earlier unpublished one covers.
    let published = "from='a'\nto='b:target'\nallow=['https']\npublish=true";
    let plain = "from='a'\nto='b:target'\nallow=['https']";
    assert_eq!(judge(&[published, plain]), [""; 0]);
    assert_eq!(judge(&[published, "from='a'\nto='b'\ndeny=['any']"]), [""; 0]);
    assert_eq!(judge(&[published, "from='a'\nto='b:target'\ndeny=['https']"]), [""; 0]);
    let other = "from='a'\nto='b:target'\nallow=['https']\npublish={ address = '10.0.0.9' }";
    assert_eq!(judge(&[published, other]), [""; 0]);
    // An IPv6 address of the target is reached untranslated, so there the order decides as for any flow.
    let six = "from='a'\nto='b:dual'\nallow=['https']\npublish=true";
    assert_eq!(judge(&[six, "from='a'\nto='b:fd00:1::3'\ndeny=['https']"]), ["shadowed-flow"]);
    assert_eq!(judge(&["from='a'\nto='b'\ndeny=['any']", published]), ["shadowed-flow"]);
    // The permission was given, but the translation still happens.
    assert_eq!(judge(&[plain, published]), [""; 0]);
    assert_eq!(judge(&[published, published]), ["redundant-flow"]);
    let moved = "from='a'\nto='b:target'\nallow=['https']\npublish={ port = 8443 }";
    assert_eq!(judge(&[published, moved]), [""; 0]);
}

#[derive(Clone, Debug)]
struct Rule {
    from: String,
    to: String,
    services: String,
    action: &'static str,
}

fn rule() -> impl Strategy<Value = Rule> {
    let zone = || prop::sample::select(vec!["a", "b", "any", "firewall"]);
    let hosts = || {
        prop::sample::select(vec![
            "",
            ":10.0.0.0/30",
            ":10.0.0.2",
            ":!10.0.0.1",
            ":10.0.0.1-10.0.0.2",
            ":fd00:1::/126",
            ":!fd00:1::2",
        ])
    };
    let services =
        prop::sample::select(vec!["tcp", "any", "tcp/1-2", "tcp/2-3", "udp", "icmp", "icmp6/1", "proto/50"]);
    let side = move || (zone(), hosts()).prop_map(|(z, h)| format!("{z}{h}"));
    let services = prop::collection::vec(services, 1..3).prop_map(|s| format!("{s:?}"));
    let action = prop::sample::select(vec!["allow", "deny", "drop"]);
    (side(), side(), services, action)
        .prop_map(|(from, to, services, action)| Rule { from, to, services, action })
        .prop_filter("the box does not talk to itself", |r| {
            !(r.from.starts_with("firewall") && r.to.starts_with("firewall"))
        })
}

/// Whether the box of tried packets has one that only the last flow matches. Its addresses, protocols and
/// ports hold one of each kind that the flows above can tell apart.
fn reached(flows: &[rempart_config::model::Flow]) -> (bool, bool) {
    let zones = ["a", "b", "vpn", "firewall"];
    let addresses: Vec<std::net::IpAddr> = [
        "10.0.0.0",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.4",
        "fd00:1::",
        "fd00:1::2",
        "fd00:1::4",
        "fd00:1::3",
        "::",
    ]
    .into_iter()
    .map(|a| a.parse().expect("an address"))
    .collect();
    let protocols = [
        (1u8, 0u16),
        (1, 5),
        (6, 0),
        (6, 1),
        (6, 2),
        (6, 3),
        (6, 4),
        (17, 1),
        (50, 0),
        (58, 0),
        (58, 1),
        (99, 0),
    ];
    let side = |e: &rempart_config::model::Endpoint, zone: &str, address| {
        let in_zone = e.zone.as_ref().map_or(zone != "firewall", |z| z.as_str() == zone);
        in_zone && e.hosts.fixed.contains(address) != e.hosts.negated
    };
    let (last, earlier) = flows.split_last().expect("flows");
    let (mut free, mut other) = (false, false);
    for from in zones {
        for to in zones {
            for source in &addresses {
                for target in addresses.iter().filter(|t| t.is_ipv4() == source.is_ipv4()) {
                    for (protocol, port) in protocols {
                        let matches = |f: &rempart_config::model::Flow| {
                            f.from.iter().any(|e| side(e, from, *source))
                                && f.to.iter().any(|e| side(e, to, *target))
                                && f.services.iter().any(|s| s.matches(Family::of(*source), protocol, port))
                        };
                        if matches(last) {
                            match earlier.iter().find(|f| matches(f)) {
                                None => free = true,
                                Some(by) => other |= by.action != last.action,
                            }
                        }
                    }
                }
            }
        }
    }
    (free, other)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Random flows of a small world: the last one is reported exactly when no packet is left for it, and as
    /// an error exactly when some packet meets another action.
    #[test]
    fn the_verdict_is_that_of_trying_every_packet(rules in prop::collection::vec(rule(), 2..6)) {
        let text: String = rules
            .iter()
            .map(|r| flow(&format!("from = '{}'\nto = '{}'\n{} = {}", r.from, r.to, r.action, r.services)))
            .collect();
        let text = format!("{WORLD}{text}");
        // Earlier flows may be covered too, and some can match nothing at all: only the last one is judged.
        let start = text.rfind("[[flow]]").expect("a flow");
        let reading = read(&text);
        let verdict: Vec<_> = reading.diagnostics.iter().filter(|d| d.span.start == start).map(|d| d.code).collect();
        prop_assume!(!reading.diagnostics.iter().any(|d| d.code == "family-mismatch"));
        // A model is needed to try packets; the same flows as checks of their own cannot be shadowed.
        let lone: Vec<_> = rules
            .iter()
            .map(|r| {
                let one = flow(&format!("from = '{}'\nto = '{}'\n{} = {}", r.from, r.to, r.action, r.services));
                let reading = read(&format!("{WORLD}{one}"));
                let problems = codes(&reading);
                reading.model.unwrap_or_else(|| panic!("{one}{problems:?}")).flows.remove(0)
            })
            .collect();
        let (free, other) = reached(&lone);
        let expected: &[&str] = match (free, other) {
            (true, _) => &[],
            (false, true) => &["shadowed-flow"],
            (false, false) => &["redundant-flow"],
        };
        prop_assert_eq!(verdict, expected, "{}", text);
    }
}
