//! Faults on purpose: each does what it says and nothing else, and goes again.

mod common;

use std::fs;
use std::thread;
use std::time::Duration;

use common::plain_lab;
use nix::sys::signal::Signal;
use rempart_lab::{Host, HostSpec, Lab, Transport, skip_unless_root, wait_until};

const SHORT: Duration = Duration::from_secs(3);

/// Three hosts on one wire, with an echo server on the second and the third.
fn wire() -> Lab {
    let host = |name: &str, n: u8| {
        HostSpec::new(name).leg("eth0", "wire", [format!("10.0.0.{n}/24").parse().unwrap()])
    };
    Lab::builder().host(host("a", 1)).host(host("b", 2)).host(host("c", 3)).up().unwrap()
}

fn reaches(from: &Host, to: &str) -> bool {
    let probe = from.probe(Transport::Udp, to.parse().unwrap());
    probe.timeout(Duration::from_millis(300)).run().unwrap().passes()
}

/// In: a cable cut and mended. Out: the device loses its carrier and has it again.
#[test]
fn a_cable_is_cut_and_mended() {
    skip_unless_root!();
    let lab = wire();
    let carrier = || lab.host("a").must(&["cat", "/sys/class/net/eth0/carrier"]).unwrap().trim() == "1";
    assert!(carrier());
    lab.cut("a", "wire").unwrap();
    assert!(!carrier());
    lab.mend("a", "wire").unwrap();
    assert!(wait_until(SHORT, carrier));
    let unknown = lab.cut("a", "lan").unwrap_err().to_string();
    assert!(unknown.contains("wire"), "{unknown}");
}

/// In: two hosts of a segment split, one deaf to another, packets filtered. Out: exactly that is missing; `heal` ends it.
#[test]
fn a_segment_is_split_and_filtered() {
    skip_unless_root!();
    let lab = wire();
    let [b, c] = ["b", "c"].map(|n| {
        let at = |t, port: u16| lab.host(n).echo(t, format!("0.0.0.0:{port}").parse().unwrap()).unwrap();
        [at(Transport::Udp, 7000), at(Transport::Udp, 7001)]
    });
    let from = |n: &str, to: &str| reaches(lab.host(n), to);
    let all = || from("a", "10.0.0.2:7000") && from("a", "10.0.0.3:7000") && from("c", "10.0.0.2:7000");
    assert!(all());

    lab.split("wire", "a", "b").unwrap();
    assert!(!from("a", "10.0.0.2:7000") && !from("b", "10.0.0.1:7000"));
    assert!(from("a", "10.0.0.3:7000") && from("c", "10.0.0.2:7000"));
    lab.heal().unwrap();
    assert!(all());

    // One way: the questions arrive, the answers do not.
    let flood = lab.host("a").flood(lab.host("b"), "10.0.0.2:9000".parse().unwrap(), 500);
    lab.deafen("wire", "b", "a").unwrap();
    // What the two know of each other's MAC must outlast it.
    for (host, other) in [("a", "10.0.0.2"), ("b", "10.0.0.1")] {
        let address = |n: &str| lab.host(n).must(&["cat", "/sys/class/net/eth0/address"]).unwrap();
        let mac = address(if host == "a" { "b" } else { "a" });
        let line = format!("neigh replace {other} lladdr {} dev eth0 nud permanent\n", mac.trim());
        lab.host(host).ip(&line).unwrap();
    }
    assert!(!from("a", "10.0.0.2:7000"));
    let report = flood.count(200).start().unwrap().finish(SHORT).unwrap();
    assert_eq!((report.sent, report.lost), (200, 0));
    lab.heal().unwrap();

    lab.filter("wire", "udp dport 7001").unwrap();
    assert!(!from("a", "10.0.0.2:7001") && from("a", "10.0.0.2:7000"));
    lab.heal().unwrap();
    assert!(from("a", "10.0.0.2:7001"));
    drop((b, c));
}

/// In: a host that stands still for a while in the middle of a flood that it sends. Out: it keeps its carrier, and goes on afterwards.
#[test]
fn a_host_stands_still() {
    skip_unless_root!();
    let lab = wire();
    let _echo = lab.host("b").echo(Transport::Udp, "0.0.0.0:7000".parse().unwrap()).unwrap();
    let flood = lab.host("a").flood(lab.host("c"), "10.0.0.3:9000".parse().unwrap(), 500).start().unwrap();
    lab.freeze("a").unwrap();
    lab.freeze("b").unwrap();
    assert!(!reaches(lab.host("c"), "10.0.0.2:7000"));
    assert_eq!(lab.host("a").must(&["cat", "/sys/class/net/eth0/carrier"]).unwrap().trim(), "1");
    thread::sleep(Duration::from_millis(400));
    lab.thaw("a").unwrap();
    lab.thaw("b").unwrap();
    assert!(reaches(lab.host("c"), "10.0.0.2:7000"));
    let report = flood.stop().unwrap();
    assert!(report.longest_pause_us > 400_000, "{report:?}");
}

/// In: a router whose power fails and returns. Out: its processes are gone and nothing passes; then it is a bare machine with
/// its files, and can be set up again.
#[test]
fn the_power_of_a_router_fails_and_returns() {
    skip_unless_root!();
    let lab = plain_lab();
    let (router, inside) = (lab.host("rte01"), lab.host("cli-lan"));
    let mut sleep = router.command("sleep");
    sleep.arg("1000");
    let mut process = router.spawn("sleep", sleep).unwrap();
    fs::write(router.run_dir().join("kept"), "kept").unwrap();
    let passes = || inside.http_get("http://198.51.100.1/", Duration::from_secs(1)).is_ok();
    assert!(passes());

    lab.power_off("rte01").unwrap();
    assert!(process.wait(SHORT).is_some());
    assert!(!passes());
    assert_eq!(router.must(&["cat", "/sys/class/net/enp2s0/carrier"]).unwrap().trim(), "0");

    lab.power_on("rte01").unwrap();
    assert_eq!(router.must(&["ip", "-o", "-4", "address"]).unwrap().lines().count(), 1, "the loopback's");
    assert!(router.run_dir().join("kept").exists());
    common::route_plainly(router);
    assert!(wait_until(SHORT, passes));
    assert!(lab.power_on("cli-lan").is_err(), "a host would not set itself up again");
}

/// In: two processes of one program with different words, and another program. Out: the signal reaches who was meant.
#[test]
fn a_program_is_killed_by_its_name() {
    skip_unless_root!();
    let lab = wire();
    let host = lab.host("a");
    let start = |seconds: &str| {
        let mut sleep = host.command("sleep");
        sleep.arg(seconds);
        host.spawn("sleep", sleep).unwrap()
    };
    let (mut first, mut second) = (start("1001"), start("1002"));
    // `ip netns exec` becomes the program when it is there.
    let there = || lab.signal("a", "sleep", None, Signal::SIGCONT).is_ok_and(|n| n == 2);
    assert!(wait_until(SHORT, there));
    assert_eq!(lab.signal("a", "sleep", Some("1001"), Signal::SIGKILL).unwrap(), 1);
    assert!(first.wait(SHORT).is_some() && second.is_running());
    assert_eq!(lab.kill9("a", "sleep").unwrap(), 1);
    assert!(second.wait(SHORT).is_some());
    let none = lab.kill9("a", "rempart-ha").unwrap_err().to_string();
    assert!(none.contains("rempart-ha"), "{none}");
}
