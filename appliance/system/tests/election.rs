//! The hands of the elector against the real kernel: virtual links, the packet socket, the link watch.

mod common;

use std::fs::File;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::{Neighbour, in_namespace, sh};
use nix::sched::{CloneFlags, setns};
use rempart_system::advert::AdvertSocket;
use rempart_system::linkwatch::LinkWatch;
use rempart_system::neighbour;
use rempart_system::virtual_link::{Batch, VirtualLink, VirtualLinks};

const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 10];

/// A cable to a neighbour, and on our end of it the virtual link as the control daemon makes it.
fn cable() -> Neighbour {
    let other = Neighbour::new();
    sh(&format!("ip link add eth0 type veth peer name eth0 netns {}", other.pid()));
    sh("ip link set eth0 up; ip address add 192.0.2.2/24 dev eth0; ip address add fe80::2/64 dev eth0 nodad");
    other.sh(
        "ip link set eth0 up; ip address add 192.0.2.3/24 dev eth0; ip address add fe80::3/64 dev eth0 nodad",
    );
    sh("ip link add vr10 link eth0 address 00:00:5e:00:01:0a type macvlan mode bridge");
    sh("ip link set vr10 addrgenmode none");
    // arp_announce: or our own questions would tell the neighbour that the virtual address is at eth0's MAC.
    sh("sysctl -qw net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2");
    sh("sysctl -qw net.ipv4.conf.vr10.arp_ignore=1 net.ipv4.conf.vr10.rp_filter=0");
    sh("sysctl -qw net.ipv6.conf.vr10.accept_ra=0 net.ipv6.conf.vr10.router_solicitations=0");
    other
}

/// Runs `f` in the neighbour's namespace. What it opens stays there.
fn inside<T: Send>(other: &Neighbour, f: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{}/ns/net", other.pid())).expect("a namespace");
    let run = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("entered");
        f()
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("no panic"))
}

fn virtual_link(watch: &LinkWatch) -> VirtualLink {
    let addresses = ["192.0.2.1/32", "198.51.100.1/32", "fe80::1/64", "2001:db8::1/128"];
    VirtualLink {
        index: watch.named("vr10").expect("vr10").index,
        addresses: addresses.map(|net| net.parse().expect("an address")).into(),
    }
}

fn perform(links: &mut VirtualLinks, batch: &Batch) -> Vec<String> {
    let mut refused = Vec::new();
    links.perform(batch, |act, error| refused.push(format!("{act:?}: {error}"))).expect("an answer");
    refused
}

/// Waits until the watch sees what it should.
fn see(watch: &mut LinkWatch, what: impl Fn(&LinkWatch) -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !what(watch) {
        assert!(Instant::now() < end, "never seen; last: {:?}", watch.links().collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(1));
        watch.refresh().expect("news");
    }
}

/// In: up, up again, down, down again. Out: the addresses answer while up and only then; nothing is refused. For
/// what the kernel takes its time with there is a route of ours, that long.
#[test]
fn a_virtual_link_goes_up_and_down() {
    in_namespace(|| async {
        let other = cable();
        let mut watch = LinkWatch::open().expect("a watch");
        let mut links = VirtualLinks::open().expect("a socket");
        let link = [virtual_link(&watch)];
        let (up, down) = (Batch::up(&link).expect("fits"), Batch::down(&link).expect("fits"));
        for round in 0..3 {
            assert_eq!(perform(&mut links, &up), Vec::<String>::new(), "round {round}");
            let ours = sh("ip -6 route show table local dev vr10 proto static");
            assert!(ours.contains("local fe80::1 ") && ours.contains("local 2001:db8::1 "), "{ours}");
            assert_eq!(perform(&mut links, &up), Vec::<String>::new(), "again, round {round}");
            see(&mut watch, |watch| {
                watch.named("vr10").is_some_and(|vr| vr.running && vr.addresses.len() == 4)
            });
            other.sh(
                "ip neigh flush all; ping -c1 -W2 192.0.2.1 >/dev/null; ping -c1 -W2 fe80::1%eth0 >/dev/null",
            );
            let learnt = other.sh("ip neigh show 192.0.2.1");
            assert!(learnt.contains("00:00:5e:00:01:0a"), "{learnt}");
            assert_eq!(perform(&mut links, &down), Vec::<String>::new(), "round {round}");
            assert_eq!(perform(&mut links, &down), Vec::<String>::new(), "again, round {round}");
            see(&mut watch, |watch| watch.named("vr10").is_some_and(|vr| !vr.up && vr.addresses.is_empty()));
            assert_eq!(sh("ip -o address show dev vr10").trim(), "");
            assert_eq!(sh("ip -6 route show table all dev vr10").trim(), "");
            other.sh("ip neigh flush all; ! ping -c1 -W1 192.0.2.1 >/dev/null");
        }
    });
}

/// In: a batch for a link that does not exist. Out: what was refused is told, and nothing hangs.
#[test]
fn a_missing_link_is_told() {
    in_namespace(|| async {
        let mut links = VirtualLinks::open().expect("a socket");
        let link = [VirtualLink { index: 999, addresses: vec!["192.0.2.1/32".parse().expect("an address")] }];
        assert_eq!(perform(&mut links, &Batch::up(&link).expect("fits")).len(), 2);
        assert_eq!(perform(&mut links, &Batch::down(&link).expect("fits")), Vec::<String>::new());
    });
}

/// An IPv4 frame of protocol 112 with one byte of payload.
fn advert(source: [u8; 6], payload: u8) -> Vec<u8> {
    let mut frame = vec![0x01, 0x00, 0x5e, 0, 0, 0x12];
    frame.extend(source);
    frame.extend([8, 0, 0x45, 0xc0, 0, 21, 0, 0, 0, 0, 255, 112, 0, 0, 192, 0, 2, 3, 224, 0, 0, 18, payload]);
    frame
}

/// In: adverts from the neighbour with the virtual MAC and with its own, while our link with the same MAC is down, up, and
/// down again; our own adverts; pings. Out: the neighbour's adverts and nothing else.
#[test]
fn adverts_arrive_whatever_their_source() {
    in_namespace(|| async {
        let other = cable();
        let mut links = VirtualLinks::open().expect("a socket");
        let watch = LinkWatch::open().expect("a watch");
        let link = [virtual_link(&watch)];
        let here = AdvertSocket::open(watch.named("eth0").expect("eth0").index).expect("a socket");
        let there = inside(&other, || {
            let watch = LinkWatch::open().expect("a watch");
            AdvertSocket::open(watch.named("eth0").expect("eth0").index).expect("a socket")
        });
        for (round, up) in [(1, false), (2, true), (3, false)] {
            let batch = if up { Batch::up(&link) } else { Batch::down(&link) }.expect("fits");
            assert_eq!(perform(&mut links, &batch), Vec::<String>::new());
            sh("ping -c1 -W1 192.0.2.3 >/dev/null");
            for source in [VIRTUAL_MAC, [2, 0, 0, 0, 0, 3]] {
                here.send(&advert(source, 99)).expect("sent");
                there.send(&advert(source, round)).expect("sent");
                assert_eq!(adverts(&here), [advert(source, round)], "round {round}");
                assert_eq!(adverts(&there), [advert(source, 99)], "round {round}");
            }
        }
        // A tagged frame belongs to a VLAN on top.
        let mut tagged = advert(VIRTUAL_MAC, 7);
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        there.send(&tagged).expect("sent");
        assert_eq!(adverts(&here), Vec::<Vec<u8>>::new());
    });
}

/// The adverts that have come. The socket hears ARP replies as well.
fn adverts(socket: &AdvertSocket) -> Vec<Vec<u8>> {
    let mut buffer = [0; 256];
    let frames = std::iter::from_fn(|| {
        socket.receive(&mut buffer).expect("no error").map(|len| buffer[..len].to_vec())
    });
    frames.filter(|frame| frame[12..14] == [8, 0]).collect()
}

/// In: questions to a neighbour that is there and to one that is not, in both families. Out: the one's answers.
#[test]
fn a_neighbour_answers() {
    in_namespace(|| async {
        let _other = cable();
        let watch = LinkWatch::open().expect("a watch");
        let eth0 = watch.named("eth0").expect("eth0");
        let socket = AdvertSocket::open(eth0.index).expect("a socket");
        let mac = eth0.mac.expect("an address");
        for (us, there, nobody) in
            [("192.0.2.2", "192.0.2.3", "192.0.2.99"), ("fe80::2", "fe80::3", "fe80::99")]
        {
            let [us, there, nobody]: [IpAddr; 3] =
                [us, there, nobody].map(|a| a.parse().expect("an address"));
            for target in [nobody, there] {
                socket.send(&neighbour::question(mac, us, target).expect("one family")).expect("sent");
            }
            let (mut buffer, end) = ([0; 256], Instant::now() + Duration::from_secs(2));
            let answered = loop {
                match socket.receive(&mut buffer).expect("no error") {
                    Some(len) => break neighbour::answer(&buffer[..len]),
                    None if Instant::now() > end => break None,
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            };
            assert_eq!(answered, Some(there));
        }
    });
}

/// In: the cable is pulled at the other end, and put back. Out: the carrier is lost and found.
#[test]
fn a_lost_carrier_is_seen() {
    in_namespace(|| async {
        let other = cable();
        let mut watch = LinkWatch::open().expect("a watch");
        let running = |watch: &LinkWatch| watch.named("eth0").is_some_and(|link| link.running);
        see(&mut watch, running);
        other.sh("ip link set eth0 down");
        see(&mut watch, |watch| !running(watch));
        other.sh("ip link set eth0 up");
        see(&mut watch, running);
        let below = watch.named("eth0").expect("eth0").index;
        let vr10 = watch.named("vr10").expect("vr10");
        assert_eq!((vr10.below, vr10.kind.as_str(), vr10.mac), (Some(below), "macvlan", Some(VIRTUAL_MAC)));
        sh("ip link del vr10");
        see(&mut watch, |watch| watch.named("vr10").is_none());
    });
}
