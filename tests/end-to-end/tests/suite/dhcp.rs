//! An address from outside that comes, changes and goes.

use std::net::IpAddr;
use std::process::Command;

use rempart_end_to_end::{SOON, Stage, small};
use rempart_lab::{Process, Transport, skip_unless_root, wait_until};

/// The provider's server with another range: it knows nothing of the leases of the one before.
fn serve(stage: &Stage, first: &str, last: &str) -> Process {
    let inet = stage.host("inet");
    let leases = stage.file("leases", "");
    let mut command: Command = inet.command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--group=root",
        "--pid-file=",
    ]);
    command.args([
        "--dhcp-authoritative",
        "--no-ping",
        "--log-dhcp",
        "--log-facility=-",
        "--dhcp-option=option:router,203.0.113.1",
    ]);
    command.arg(format!("--dhcp-range={first},{last},120"));
    command.arg(format!("--dhcp-leasefile={}", leases.display()));
    inet.spawn("dnsmasq-again", command).expect("a server")
}

/// In: a published server behind a leased address, whose provider then gives another; the cable pulled and put back. Out: the service answers at the new
/// address, `explain` follows, outbound translation too, and nothing is left of the old one.
#[test]
fn what_is_published_follows_the_lease() {
    skip_unless_root!();
    let document = small()
        .replace("server = [\"192.168.20.11\", \"fd00:20::11\"]", "server = \"192.168.20.11\"")
        .flow("pub", "wan", "dmz:server", "allow = [\"tcp/7000\"]\npublish = true")
        .flow("out", "lan", "wan", "allow = [\"tcp/7001\"]");
    let stage = Stage::up(&document);
    let first = stage.wan();
    let _in = stage.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).expect("an echo");
    let _out = stage.host("inet").echo(Transport::Tcp, "[::]:7001".parse().unwrap()).expect("an echo");
    let works_at = |address: IpAddr| {
        let verdict = stage.explain(Some("wan"), "203.0.113.50", &address.to_string(), "tcp/7000").verdict;
        let seen = stage.tcp("cli-lan", "198.51.100.1:7001").seen().map(|s| s.ip());
        verdict == "allow"
            && stage.tcp("cli-wan", &format!("{address}:7000")).passes()
            && seen == Some(address)
    };
    assert!(wait_until(SOON, || works_at(first)));

    // The cable goes and comes back to the same provider: the same address.
    stage.lab.unplug("fw", "enp1s0").expect("no cable");
    assert!(wait_until(SOON, || !stage.status().interfaces.iter().any(|i| i.name == "wan" && i.carrier)));
    stage.lab.plug("fw", "enp1s0").expect("a cable");
    assert!(wait_until(SOON, || works_at(first)), "{:?}", stage.faults());

    // Another provider: the old address is refused, another is given.
    stage.lab.unplug("fw", "enp1s0").expect("no cable");
    end_server(&stage);
    let _other = serve(&stage, "203.0.113.200", "203.0.113.210");
    stage.lab.plug("fw", "enp1s0").expect("a cable");
    let second: IpAddr = {
        assert!(wait_until(SOON, || stage.wan() != first), "still {first}");
        stage.wan()
    };
    assert!(wait_until(SOON, || works_at(second)), "{second}: {:?}", stage.faults());
    assert!(!stage.tcp("cli-wan", &format!("{first}:7000")).passes(), "the old address is nobody's");
    assert!(!stage.snapshot().addresses.contains(&format!("{first}/")), "{}", stage.snapshot().addresses);
    assert!(!stage.snapshot().ruleset.contains(&first.to_string()));
}

/// Ends the provider's first DHCP server, by its own number: the one that listens on port 67 in the provider's namespace.
fn end_server(stage: &Stage) {
    let inet = stage.host("inet");
    let sockets = inet.must(&["ss", "-Hulnp", "sport = :67"]).expect("sockets");
    let pid = sockets.split("pid=").nth(1).and_then(|t| t.split(',').next()).expect("a server").to_owned();
    inet.must(&["kill", &pid]).expect("ended");
    assert!(wait_until(SOON, || inet
        .must(&["ss", "-Huln", "sport = :67"])
        .is_ok_and(|s| s.trim().is_empty())));
}

/// In: a restart of the daemon, and a kill. Out: the leased address never leaves the interface, and is asked for again.
#[test]
fn a_lease_survives_the_daemon() {
    skip_unless_root!();
    let mut stage = Stage::up(&small());
    let address = stage.wan();
    let held = |stage: &Stage| stage.snapshot().addresses.contains(&format!("{address}/"));
    assert!(wait_until(SOON, || held(&stage)));
    stage.stop();
    assert!(held(&stage));
    stage.start();
    assert!(held(&stage), "at once");
    assert_eq!(stage.wan(), address);
    stage.node.daemon().expect("a daemon").kill();
    assert!(held(&stage));
    stage.start();
    assert!(held(&stage) && stage.wan() == address);
}
