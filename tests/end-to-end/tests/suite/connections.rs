//! Connections by name, and a network that changes behind the daemon's back.

use std::time::Duration;

use rempart_end_to_end::{SOON, Stage, small};
use rempart_lab::{Transport, skip_unless_root, wait_until};

/// In: a held connection, published and translated. Out: it is listed with its flow, zones and translation; `kill` ends it, once.
#[test]
fn connections_are_listed_and_killed() {
    skip_unless_root!();
    let document = small()
        .replace("server = [\"192.168.20.11\", \"fd00:20::11\"]", "server = \"192.168.20.11\"")
        .flow("pub", "wan", "dmz:server", "allow = [\"tcp/7000\"]\npublish = true")
        .flow("out", "lan", "wan", "allow = [\"tcp/7001\"]");
    let stage = Stage::up(&document);
    let wan = stage.wan();
    let _in = stage.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).expect("an echo");
    let _out = stage.host("inet").echo(Transport::Tcp, "[::]:7001".parse().unwrap()).expect("an echo");
    let hold = |host: &str, to: String| {
        stage.host(host).hold(to.parse().unwrap(), Duration::from_millis(20)).expect("a connection")
    };
    let published = hold("cli-wan", format!("{wan}:7000"));
    let mut leaving = hold("cli-lan", "198.51.100.1:7001".into());

    let [one] = <[_; 1]>::try_from(stage.connections_to(7000)).expect("one connection");
    assert_eq!(
        (one.flow_label.as_str(), one.state.as_str(), one.protocol.as_str()),
        ("pub", "ESTABLISHED", "tcp")
    );
    assert_eq!((one.from_zone.as_deref(), one.to_zone.as_deref()), (Some("wan"), Some("dmz")));
    assert_eq!(one.translated_destination, Some(("192.168.20.11".parse().unwrap(), 7000)));
    assert_eq!(one.translated_source, None);
    let [other] = <[_; 1]>::try_from(stage.connections_to(7001)).expect("one connection");
    assert_eq!((other.flow_label.as_str(), other.from_zone.as_deref()), ("out", Some("lan")));
    assert_eq!(other.translated_source.map(|(a, _)| a), Some(wan));
    assert!(
        wait_until(SOON, || stage.connections_to(7001)[0].bytes_in > other.bytes_in),
        "the bytes are counted"
    );

    stage.node.must(&["kill", &one.id.to_string()]).expect("a kill");
    assert!(stage.connections_to(7000).is_empty());
    std::thread::sleep(Duration::from_millis(500));
    let report = published.stop().expect("a report");
    assert!(report.echoed < report.sent || report.broken.is_some(), "it goes on: {report:?}");
    let again = stage.node.verb(&["kill", &one.id.to_string()]).expect("a verb");
    assert!(String::from_utf8_lossy(&again.stdout).contains('0') || !again.status.success(), "{again:?}");
    assert!(stage.tcp("cli-wan", &format!("{wan}:7000")).passes(), "a new one is allowed");
    // No later policy brings it back.
    stage.commit(&document.and("# the same"));
    assert!(stage.connections_to(7000).iter().all(|c| c.state != "ESTABLISHED"));
    assert!(leaving.is_up(), "the other one was not meant");

    stage.commit(&document.replace("\"tcp/7001\"", "\"tcp/7002\""));
    assert!(stage.connections_to(7001).is_empty(), "a commit ends it for good");
}

/// In: an address deleted, a device taken down, and the table deleted by somebody else. Out: all of it comes back by itself.
#[test]
fn what_somebody_deletes_comes_back() {
    skip_unless_root!();
    let stage = Stage::up(&small().flow("all", "lan", "dmz", "allow = [\"any\"]"));
    stage.wan();
    let _echo =
        stage.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).expect("an echo");
    let passes = || stage.tcp("cli-lan", "192.168.20.11:7000").passes();
    assert!(passes());
    let before = stage.settled();
    let router = stage.node.host();
    let back = || stage.snapshot() == before;
    for lines in
        ["address del 192.168.20.254/24 dev enp3s0\n", "link set enp2s0 down\n", "route del default\n"]
    {
        router.ip(lines).expect("a change");
        assert!(wait_until(SOON, back), "{lines}: {:#?}", before.difference(&stage.snapshot()));
    }
    router.must(&["nft", "delete", "table", "inet", "rempart"]).expect("a change");
    assert!(wait_until(SOON, back), "{:#?}", before.difference(&stage.snapshot()));
    assert!(wait_until(SOON, passes));
    assert!(stage.faults().is_empty(), "{:?}", stage.faults());
}

/// In: a document with a device that is not there, which comes later. Out: the commit succeeds with a fault, and the device is set up when it appears.
#[test]
fn a_missing_device_is_set_up_when_it_comes() {
    skip_unless_root!();
    let guest = "[interface.guest]\ndevice = \"enp9s0\"\nzone = \"guest\"\naddress = \"192.168.90.254/24\"";
    let stage = Stage::bare(&small());
    stage.commit(&small().and(guest).flow("guests", "guest", "dmz", "allow = [\"tcp/7000\"]"));
    assert!(stage.faults().iter().any(|f| f.contains("enp9s0")), "{:?}", stage.faults());
    let find = |stage: &Stage| {
        stage.status().interfaces.into_iter().find(|i| i.name == "guest").expect("an interface")
    };
    assert!(!find(&stage).present);

    stage
        .node
        .host()
        .ip("link add enp9s0 type veth peer name guest0\nlink set guest0 up\n")
        .expect("a device");
    assert!(wait_until(SOON, || stage.snapshot().addresses.contains("192.168.90.254/24")));
    assert!(wait_until(SOON, || stage.faults().is_empty() && find(&stage).present), "{:?}", stage.faults());

    stage.node.host().ip("link del enp9s0\n").expect("no device");
    assert!(wait_until(SOON, || stage.faults().iter().any(|f| f.contains("enp9s0"))));
}
