//! Address translation, in both directions.

use rempart_end_to_end::{Document, SOON, Stage, small};
use rempart_lab::traffic::Reach;
use rempart_lab::{Process, Transport, skip_unless_root, wait_until};

/// A small document whose wan has fixed addresses, so that a test knows them.
fn fixed() -> Document {
    small()
        .replace("address = \"dhcp\"", "address = \"203.0.113.2/24\"\ngateway = \"203.0.113.1\"")
        .replace("[\"192.168.20.11\", \"fd00:20::11\"]", "\"192.168.20.11\"")
}

fn echo(stage: &Stage, host: &str, address: &str) -> Process {
    stage.host(host).echo(Transport::Tcp, address.parse().unwrap()).expect("an echo")
}

/// The address under which a client is seen; panics with what came instead.
fn seen(reach: &Reach) -> String {
    reach.seen().unwrap_or_else(|| panic!("not answered: {reach:?}")).ip().to_string()
}

/// In: a service published under another port. Out: it answers there and not on its own port, in and out of the LAN.
#[test]
fn a_service_is_published_on_another_port() {
    skip_unless_root!();
    let publish = "allow = [\"tcp/7000\"]\npublish = { port = 8443 }";
    let stage = Stage::up(&fixed().flow("pub", "wan", "dmz:server", publish));
    let _echo = echo(&stage, "srv-ebrigade", "[::]:7000");
    assert_eq!(seen(&stage.tcp("cli-wan", "203.0.113.2:8443")), "203.0.113.50");
    assert_eq!(stage.tcp("cli-wan", "203.0.113.2:7000"), Reach::Silent);
    assert_eq!(seen(&stage.tcp("cli-lan", "203.0.113.2:8443")), "192.168.10.21", "reflected");
    assert!(!stage.tcp("cli-lan", "192.168.20.11:7000").passes(), "reflection opens nothing else");
}

/// In: a published server in the LAN, asked by a client of the LAN at the outside address. Out: it answers, and sees the firewall.
#[test]
fn reflection_within_a_zone_is_masqueraded() {
    skip_unless_root!();
    let stage = Stage::up(&fixed().flow("pub", "wan", "lan:voip", "allow = [\"tcp/7000\"]\npublish = true"));
    let _echo = echo(&stage, "srv-voip", "[::]:7000");
    assert_eq!(seen(&stage.tcp("cli-wan", "203.0.113.2:7000")), "203.0.113.50");
    assert_eq!(seen(&stage.tcp("cli-lan", "203.0.113.2:7000")), "192.168.10.254");
}

/// In: a host and a network translated one to one. Out: both are reached under their outside addresses and leave under them.
#[test]
fn one_to_one_works_both_ways() {
    skip_unless_root!();
    let nat = "[[nat.one_to_one]]\noutside = \"203.0.113.77\"\ninside = \"192.168.20.11\"\n\n\
               [[nat.one_to_one]]\noutside = \"198.51.101.0/24\"\ninside = \"192.168.10.0/24\"\ninterface = \"wan\"";
    let document = fixed()
        .flow("in", "wan", "dmz:server", "allow = [\"tcp/7000\"]")
        .flow("in-lan", "wan", "lan:voip", "allow = [\"tcp/7000\"]")
        .flow("out", "dmz", "wan", "allow = [\"tcp/7000\"]")
        .flow("out-lan", "lan", "wan", "allow = [\"tcp/7000\"]")
        .and(nat);
    let stage = Stage::up(&document);
    let hosts = ["srv-ebrigade", "srv-voip", "inet"];
    let _echoes = hosts.map(|h| echo(&stage, h, "[::]:7000"));
    stage.host("cli-wan").ip("route add 198.51.101.0/24 via 203.0.113.2\n").expect("a route");
    stage.host("inet").ip("route replace 198.51.101.0/24 via 203.0.113.2\n").expect("a route");
    assert_eq!(seen(&stage.tcp("cli-wan", "203.0.113.77:7000")), "203.0.113.50", "to the host");
    assert_eq!(seen(&stage.tcp("cli-wan", "198.51.101.13:7000")), "203.0.113.50", "to one of the network");
    assert_eq!(seen(&stage.tcp("srv-ebrigade", "198.51.100.1:7000")), "203.0.113.77", "from the host");
    assert_eq!(seen(&stage.tcp("cli-lan", "198.51.100.1:7000")), "198.51.101.21", "from the network");
}

/// In: outbound translation automatic, hybrid with an address and an exception, and manual. Out: the internet sees what each says.
#[test]
fn outbound_translation_as_the_document_says() {
    skip_unless_root!();
    let document = fixed().flow("out", "lan", "wan", "allow = [\"tcp/7000\", \"tcp/7001\"]");
    let stage = Stage::up(&document);
    let _echoes = ["[::]:7000", "[::]:7001"].map(|a| echo(&stage, "inet", a));
    // So that an untranslated answer finds its way.
    stage.host("inet").ip("route add 192.168.10.0/24 via 203.0.113.2\n").expect("a route");
    let both = || ["198.51.100.1:7000", "198.51.100.1:7001"].map(|to| seen(&stage.tcp("cli-lan", to)));
    assert_eq!(both(), ["203.0.113.2", "203.0.113.2"], "automatic");

    let rules = "[nat]\noutbound = \"hybrid\"\n\n\
                 [[nat.source]]\nfrom = \"lan:desk\"\nto = \"wan\"\nservice = [\"tcp/7001\"]\naddress = \"none\"\n\n\
                 [[nat.source]]\nfrom = \"lan:desk\"\nto = \"wan\"\naddress = \"203.0.113.9\"";
    let hybrid = document
        .replace("desk   = [\"192.168.10.21\", \"fd00:10::21\"]", "desk = \"192.168.10.21\"")
        .and(rules);
    stage.commit(&hybrid);
    assert_eq!(both(), ["203.0.113.9", "192.168.10.21"], "hybrid");
    assert_eq!(seen(&stage.tcp("srv-voip", "198.51.100.1:7000")), "203.0.113.2", "hybrid, not named");

    stage.commit(&hybrid.replace("hybrid", "manual"));
    assert_eq!(seen(&stage.tcp("cli-lan", "198.51.100.1:7000")), "203.0.113.9", "manual");
    assert_eq!(seen(&stage.tcp("srv-voip", "198.51.100.1:7000")), "192.168.10.13", "manual, not named");
}

/// In: a static route through a second router behind the LAN. Out: what is behind it is reached, and translated on its way out.
#[test]
fn a_static_route_leads_through_a_second_router() {
    skip_unless_root!();
    let document = fixed()
        .flow("in", "dmz", "lan", "allow = [\"tcp/7000\"]")
        .flow("out", "lan", "wan", "allow = [\"tcp/7000\"]")
        .and("[gateway.second]\naddress = \"192.168.10.13\"\n\n[[route]]\nto = \"10.20.0.0/16\"\nvia = \"second\"");
    let stage = Stage::up(&document);
    // The second router and the host behind it are one: the address stands on its loopback.
    stage.host("srv-voip").ip("address add 10.20.1.1/32 dev lo\n").expect("an address");
    let _behind = echo(&stage, "srv-voip", "10.20.1.1:7000");
    let _inet = echo(&stage, "inet", "[::]:7000");
    assert_eq!(seen(&stage.tcp("srv-ebrigade", "10.20.1.1:7000")), "192.168.20.11");
    let probe = stage.host("srv-voip").probe(Transport::Tcp, "198.51.100.1:7000".parse().unwrap());
    assert_eq!(seen(&probe.from("10.20.1.1".parse().unwrap()).run().expect("a probe")), "203.0.113.2");

    stage.commit(&fixed().flow("in", "dmz", "lan", "allow = [\"tcp/7000\"]"));
    assert!(
        wait_until(SOON, || !stage.snapshot().routes.contains("10.20.0.0/16")),
        "the route goes with its line"
    );
    assert!(!stage.tcp("srv-ebrigade", "10.20.1.1:7000").passes());
}
