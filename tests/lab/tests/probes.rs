//! The probes for a pair, through a plain router that translates: each figure is what was done to it.

mod common;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use common::plain_lab;
use rempart_lab::traffic::{Direction, States};
use rempart_lab::{Lab, Transport, skip_unless_root, wait_until};

const SHORT: Duration = Duration::from_secs(3);
const SERVER: &str = "198.51.100.1";
const TRANSLATE: &str = "table ip nat { chain post { type nat hook postrouting priority srcnat; \
                         oifname enp1s0 snat to 203.0.113.10; }\n}";

fn translating_lab() -> Lab {
    let lab = plain_lab();
    lab.host("rte01").nft(TRANSLATE).unwrap();
    lab
}

fn server(port: u16) -> SocketAddr {
    format!("{SERVER}:{port}").parse().unwrap()
}

/// In: all streams through a router that drops everything for 300 ms. Out: each lost that much, and no more; the connections survive.
#[test]
fn the_streams_tell_an_outage() {
    skip_unless_root!();
    let lab = translating_lab();
    let (inside, inet) = (lab.host("cli-lan"), lab.host("inet"));
    let _echo = inet.echo(Transport::Tcp, "[::]:9004".parse().unwrap()).unwrap();
    // The router's link-local addresses are on probation at first (RFC 4862 §5.4).
    assert!(wait_until(SHORT, || inside.http_get("http://[2001:db8:198::1]/", SHORT).is_ok()));
    let up = inside.flood(inet, server(9000), 1000).urgent().start().unwrap();
    let replies = inside.replies(inet, server(9001), 1000).unwrap();
    let pings = ["198.51.100.1", "2001:db8:198::1"]
        .map(|target| inside.ping(target.parse().unwrap(), Duration::from_millis(2)).unwrap());
    let streams = [Direction::Up, Direction::Down]
        .map(|d| inside.stream(inet, server(9002 + u16::from(d == Direction::Down)), d).unwrap());
    let crowd = inside.crowd(server(9004), 20, Duration::from_millis(20)).unwrap();
    thread::sleep(Duration::from_millis(300));
    let stop = "table inet stop { chain f { type filter hook forward priority 0; policy drop; }\n}";
    lab.host("rte01").nft(stop).unwrap();
    thread::sleep(Duration::from_millis(300));
    lab.host("rte01").nft("delete table inet stop").unwrap();
    thread::sleep(Duration::from_millis(1500));

    // Starting a program to switch it off and on takes a while, too.
    let outage = 280..600;
    let up = up.stop().unwrap();
    assert!(outage.contains(&up.lost) && up.longest_gap() == up.lost, "{up:?}");
    let replies = replies.stop().unwrap();
    assert!(outage.contains(&replies.lost) && replies.longest_gap() == replies.lost, "{replies:?}");
    for ping in pings {
        let ping = ping.stop().unwrap();
        assert!(outage.contains(&(ping.lost() * 2)) && ping.longest_gap == ping.lost(), "{ping:?}");
        assert!(ping.sent > 500 && ping.duplicates == 0, "{ping:?}");
    }
    for stream in streams {
        let report = stream.stop().unwrap();
        assert!(report.is_whole() && report.sent > 1500, "{report:?}");
        assert!((280..1500).contains(&report.longest_pause_ms), "{report:?}");
    }
    let crowd = crowd.stop().unwrap();
    assert_eq!((crowd.survived(), crowd.connections.len()), (20, 20), "{crowd:?}");
    assert!((280..1500).contains(&crowd.longest_pause_ms()), "{crowd:?}");
}

/// In: a stream of replies whose connection is deleted, with what is unknown dropped. Out: nothing brings it back, for the client is silent.
#[test]
fn a_stream_of_replies_needs_its_connection() {
    skip_unless_root!();
    let lab = translating_lab();
    let drop = "table ip filter { chain in { type filter hook input priority 0; iifname enp1s0 drop; }\n}";
    lab.host("rte01").nft(drop).unwrap();
    let replies = lab.host("cli-lan").replies(lab.host("inet"), server(9001), 1000).unwrap();
    thread::sleep(Duration::from_millis(300));
    lab.host("rte01").must(&["conntrack", "-D", "-p", "udp", "--orig-port-dst", "9001"]).unwrap();
    thread::sleep(Duration::from_millis(500));
    let report = replies.stop().unwrap();
    assert!(report.lost >= 400 && report.received >= 200, "{report:?}");
    assert_eq!(report.gaps.last().map(|g| g.first + g.length), Some(report.sent), "{report:?}");
}

/// In: an end that is reset in the middle. Out: the reports say that it broke.
#[test]
fn a_broken_connection_is_no_survivor() {
    skip_unless_root!();
    let lab = translating_lab();
    let (inside, inet) = (lab.host("cli-lan"), lab.host("inet"));
    let echo = inet.echo(Transport::Tcp, "[::]:9004".parse().unwrap()).unwrap();
    let crowd = inside.crowd(server(9004), 5, Duration::from_millis(20)).unwrap();
    let stream = inside.stream(inet, server(9002), Direction::Up).unwrap();
    thread::sleep(Duration::from_millis(200));
    std::mem::drop(echo);
    let reset = "table inet t { chain f { type filter hook forward priority 0; tcp dport 9002 reject with tcp reset; }\n}";
    lab.host("rte01").nft(reset).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(crowd.stop().unwrap().survived(), 0);
    assert!(!stream.stop().unwrap().is_whole());
}

/// In: 10,000 connections, then as many more. Out: the table has them, established and translated.
#[test]
fn connections_are_written() {
    skip_unless_root!();
    let lab = translating_lab();
    let router = lab.host("rte01");
    let mut states = States {
        count: 10_000,
        skip: 0,
        client: "192.168.10.200".parse().unwrap(),
        translated: "203.0.113.10".parse().unwrap(),
        mark: 7,
    };
    router.add_states(&states).unwrap();
    assert!(wait_until(SHORT, || router.tracked().unwrap() >= 10_000));
    states.skip = 10_000;
    router.add_states(&states).unwrap();
    assert!((20_000..20_100).contains(&router.tracked().unwrap()));
    let one =
        router.must(&["conntrack", "-L", "-p", "tcp", "--orig-port-src", "10007", "--mark", "7"]).unwrap();
    assert!(one.contains("ESTABLISHED src=192.168.10.200 dst=198.18.0.1 sport=10007 dport=443"), "{one}");
    assert!(one.contains("src=198.18.0.1 dst=203.0.113.10 sport=443 dport=10007 [ASSURED] mark=7"), "{one}");
    assert!(router.add_states(&states).is_err(), "they are there already");
}
