//! What is refused before any flow is asked.

use std::fs;
use std::time::Duration;

use rempart_end_to_end::{SOON, Stage, small};
use rempart_lab::traffic::Reach;
use rempart_lab::{Transport, skip_unless_root, wait_until};

/// In: a host of the LAN that sends from an address of the DMZ and from one of the internet. Out: nothing of it arrives; the log says why.
#[test]
fn foreign_sources_are_refused() {
    skip_unless_root!();
    let stage = Stage::up(&small().flow("all", "lan", "dmz", "allow = [\"udp/7000\"]"));
    let _echo =
        stage.host("srv-ebrigade").echo(Transport::Udp, "[::]:7000".parse().unwrap()).expect("an echo");
    assert!(stage.udp("cli-lan", "192.168.20.11:7000").passes());
    let foreign = ["192.168.20.99", "198.51.100.99"];
    for source in foreign {
        stage.host("cli-lan").ip(&format!("address add {source}/32 dev lo\n")).expect("an address");
        let probe = stage.host("cli-lan").probe(Transport::Udp, "192.168.20.11:7000".parse().unwrap());
        assert_eq!(probe.from(source.parse().unwrap()).run().expect("a probe"), Reach::Silent, "{source}");
        let entry = stage.logged("a foreign source", |e| e.source.to_string() == source);
        assert_eq!((entry.reason.as_str(), entry.action.as_str()), ("anti-spoof", "drop"));
    }
    assert_eq!(stage.explain(Some("lan"), foreign[0], "192.168.20.11", "udp/7000").verdict, "drop");
}

/// In: packets from the wan with sources that nobody can have. Out: they are dropped as such, though a flow allows all of the wan.
#[test]
fn bogons_are_refused() {
    skip_unless_root!();
    let document = small()
        .replace("block_private = false", "block_private = true")
        .flow("pub", "wan", "dmz:server", "allow = [\"tcp/7000\"]\npublish = true")
        .replace("server = [\"192.168.20.11\", \"fd00:20::11\"]", "server = \"192.168.20.11\"");
    let stage = Stage::up(&document);
    let wan = stage.wan();
    let _echo =
        stage.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).expect("an echo");
    let client = stage.host("cli-wan");
    let to = format!("{wan}:7000").parse().unwrap();
    assert!(client.probe(Transport::Tcp, to).run().expect("a probe").passes());
    for source in ["10.1.2.3", "192.0.0.7", "198.18.0.1"] {
        client.ip(&format!("address add {source}/32 dev lo\n")).expect("an address");
        let reach = client.probe(Transport::Tcp, to).from(source.parse().unwrap()).run().expect("a probe");
        assert_eq!(reach, Reach::Silent, "{source}");
        let entry = stage.logged("a bogon", |e| e.source.to_string() == source);
        assert_eq!((entry.reason.as_str(), entry.action.as_str()), ("bogon", "drop"));
    }
}

/// In: ten connections at once from one source where three a second are allowed, from outside. Out: some get through, some do not.
#[test]
fn floods_of_new_connections_are_slowed() {
    skip_unless_root!();
    let document = small()
        .replace("block_private = false", "block_private = false\nsyn_limit = \"3/minute burst 3\"")
        .replace("server = [\"192.168.20.11\", \"fd00:20::11\"]", "server = \"192.168.20.11\"")
        .flow("pub", "wan", "dmz:server", "allow = [\"tcp/7000\"]\npublish = true");
    let stage = Stage::up(&document);
    let wan = stage.wan();
    let _echo =
        stage.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).expect("an echo");
    let to = format!("{wan}:7000").parse().unwrap();
    let client = stage.host("cli-wan");
    let probe = || client.probe(Transport::Tcp, to).timeout(Duration::from_millis(300));
    let passed = (0..6).filter(|_| probe().run().expect("a probe").passes()).count();
    assert!((2..=4).contains(&passed), "{passed} of 6 passed");
    let entry = stage.logged("the flood", |e| e.reason == "syn-flood");
    assert_eq!(entry.source.to_string(), "203.0.113.50");
    let other = probe().from("198.51.100.7".parse().unwrap()).run().expect("a probe");
    assert!(other.passes(), "another source is not slowed: {other:?}");
}

/// In: a block list with a client's address, then an edit of the file, then rubbish in it. Out: the client is shut out, let in again
/// without a commit, and the rubbish is a fault that stops nothing.
#[test]
fn a_block_list_is_followed() {
    skip_unless_root!();
    let bare = small().flow("all", "lan", "dmz", "allow = [\"tcp/7000\"]");
    let stage = Stage::bare(&bare);
    let list = stage.file("list.txt", "# scanners\n192.168.10.0/28\n192.168.10.21 ; the client\n");
    let words = format!("[blocklist.scanners]\nfile = \"{}\"\nzones = [\"lan\"]\nlog = true", list.display());
    stage.commit(&bare.and(&words));
    let _echo =
        stage.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).expect("an echo");
    assert_eq!(stage.tcp("cli-lan", "192.168.20.11:7000"), Reach::Silent, "listed, from the first packet");
    assert!(stage.logged("the list", |e| e.destination_port == 7000).reason.contains("scanners"));
    let explained = stage.explain(None, "192.168.10.21", "192.168.20.11", "tcp/7000");
    assert_eq!(explained.verdict, "drop", "{explained:?}");

    fs::write(&list, "192.168.10.0/28\nnonsense\n").expect("a list");
    let passes = || stage.tcp("cli-lan", "192.168.20.11:7000").passes();
    assert!(wait_until(SOON, passes), "the edit is picked up");
    assert!(wait_until(SOON, || stage
        .faults()
        .iter()
        .any(|f| f.contains("scanners") && f.contains("line 2"))));
    fs::remove_file(&list).expect("no list");
    assert!(wait_until(SOON, || stage
        .faults()
        .iter()
        .any(|f| f.contains("scanners") && f.contains("stays in force"))));
    assert!(passes());
}
