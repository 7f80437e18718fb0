//! What stock keepalived 2.2.7 and ucarp 1.5.2 sent, decoded, written again and fed to electors.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::{Captured, capture};
use vrrp_rs::elector::{
    Announcing, Carp, ChecksumPolicy, DemotionStyle, Preempt, Protocol, Reach, Refusal, State, Tie, Timer,
    Version, Vrrp,
};
use vrrp_rs::wire::carp::{Authenticator, LinkLocal, Pace, Secret, Unverified};
use vrrp_rs::wire::{ChecksumForm, peek, v2, v3};
use vrrp_rs::{
    Addresses, Centiseconds, Config, Dialect, Elector, Family, Output, Priority, Replay, Seconds, Standing,
    TtlRule, Vrid,
};

const V3: [&str; 2] = ["vrrp3-pseudo-1.pcap", "vrrp3-pseudo-2.pcap"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn virtual_addresses() -> Addresses {
    Addresses::new(&[ip("192.0.2.1"), ip("192.0.2.9")]).unwrap()
}

/// In: keepalived, version 2. Out: three adverts of 150 and a farewell; written again, the same bytes.
#[test]
fn keepalived_version_2() {
    let packets = capture("vrrp2-plain.pcap");
    let adverts: Vec<_> = packets
        .iter()
        .map(|packet| v2::Advertisement::decode(&packet.header, TtlRule::OnLink, &packet.payload).unwrap())
        .collect();
    let standings: Vec<_> = adverts.iter().map(|advert| advert.standing.to_wire()).collect();
    assert_eq!(standings, [150, 150, 150, 0]);
    for (packet, advert) in packets.iter().zip(adverts) {
        assert_eq!(peek(&packet.payload), Ok((Dialect::Vrrp2, Vrid::new(42).unwrap())));
        assert_eq!(packet.header.source, ip("192.0.2.2"));
        assert_eq!((advert.interval, &advert.auth), (Seconds::DEFAULT, &v2::Auth::None));
        assert_eq!(advert.addresses, virtual_addresses());
        assert_eq!(advert.encode(), packet.payload);
    }
}

/// In: keepalived, version 3 over IPv4. Out: nine adverts and a farewell, the checksum with the pseudo-header.
#[test]
fn keepalived_version_3() {
    for name in V3 {
        let packets = capture(name);
        assert_eq!(packets.len(), 10);
        for (n, packet) in packets.iter().enumerate() {
            assert_eq!(peek(&packet.payload), Ok((Dialect::Vrrp3, Vrid::new(42).unwrap())));
            let (advert, form) =
                v3::Advertisement::decode(&packet.header, TtlRule::OnLink, &packet.payload).unwrap();
            assert_eq!(form, ChecksumForm::PseudoHeader);
            assert_eq!(advert.standing, Standing::from_wire(if n == 9 { 0 } else { 150 }));
            assert_eq!(advert.interval.duration(), Duration::from_millis(500));
            assert_eq!(advert.addresses, virtual_addresses());
            assert_eq!(advert.encode(packet.header.source, packet.header.destination, form), packet.payload);
            // As the RFC would have it, it is another checksum and no less welcome.
            let plain =
                advert.encode(packet.header.source, packet.header.destination, ChecksumForm::MessageOnly);
            assert_ne!(plain, packet.payload);
            let again = v3::Advertisement::decode(&packet.header, TtlRule::OnLink, &plain).unwrap();
            assert_eq!(again, (advert, ChecksumForm::MessageOnly));
        }
    }
}

fn authenticator(password: &[u8], addresses: &[[u8; 4]]) -> Authenticator {
    let secret = Secret::new(password).unwrap();
    let addresses = addresses.iter().copied().map(Ipv4Addr::from).collect();
    Authenticator::new(secret, Vrid::new(42).unwrap(), addresses, [], LinkLocal::Unsigned)
}

/// In: ucarp with password "secret" for 192.0.2.1. Out: genuine, and signed again the same bytes; with another password or
/// another address a forgery.
#[test]
fn ucarp() {
    let packets = capture("carp-ucarp.pcap");
    assert_eq!(packets.len(), 6);
    let ours = authenticator(b"secret", &[[192, 0, 2, 1]]);
    for packet in &packets {
        assert_eq!(peek(&packet.payload), Ok((Dialect::Carp, Vrid::new(42).unwrap())));
        let unverified = Unverified::decode(&packet.header, TtlRule::OnLink, &packet.payload).unwrap();
        let advert = ours.verify(unverified).unwrap().into_inner();
        assert_eq!((advert.pace, advert.demotion), (Pace { base: 1, skew: 10 }, 0));
        assert_eq!(ours.encode(&advert)[..], packet.payload);
        assert_eq!(authenticator(b"Secret", &[[192, 0, 2, 1]]).verify(unverified), None);
        assert_eq!(authenticator(b"secret", &[[192, 0, 2, 2]]).verify(unverified), None);
        assert_eq!(authenticator(b"secret", &[[192, 0, 2, 1], [192, 0, 2, 2]]).verify(unverified), None);
    }
}

/// In: each captured packet with each single bit flipped. Out: refused, all of them.
#[test]
fn a_flipped_bit_is_refused() {
    let ours = authenticator(b"secret", &[[192, 0, 2, 1]]);
    for name in ["vrrp2-plain.pcap", V3[0], V3[1], "carp-ucarp.pcap"] {
        for Captured { header, payload, .. } in capture(name) {
            for bit in 0..payload.len() * 8 {
                let mut flipped = payload.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(v2::Advertisement::decode(&header, TtlRule::OnLink, &flipped).is_err());
                assert!(v3::Advertisement::decode(&header, TtlRule::OnLink, &flipped).is_err());
                let genuine = Unverified::decode(&header, TtlRule::OnLink, &flipped)
                    .ok()
                    .and_then(|read| ours.verify(read));
                assert_eq!(genuine, None);
            }
        }
    }
}

fn vrrp(version: Version, priority: u8) -> Config {
    Config {
        vrid: Vrid::new(42).unwrap(),
        protocol: Protocol::Vrrp(Vrrp {
            version,
            priority: Priority::new(priority).unwrap(),
            source: ip("192.0.2.3"),
            addresses: virtual_addresses(),
        }),
        preempt: Preempt::Always,
        accept: false,
        reach: Reach::Multicast,
        announce: Announcing::usual(Family::V4),
    }
}

/// Plays a capture to an elector at the times it was taken, then goes on until it is active; when, and what it sent first.
fn play(elector: &mut Elector, packets: &[Captured]) -> (Duration, Vec<u8>) {
    let start = Instant::now();
    elector.startup(start);
    for packet in packets {
        run_until(elector, start + packet.at);
        elector.handle_packet(start + packet.at, &packet.header, &packet.payload).unwrap();
        assert_eq!(elector.state(), State::Backup);
    }
    while elector.state() != State::Active {
        let now = elector.poll_timeout().unwrap();
        run_until(elector, now);
        elector.handle_drained(now);
        if elector.state() == State::Active {
            let sent = std::iter::from_fn(|| elector.poll_output()).find_map(|output| match output {
                Output::Transmit(packet) => Some(packet.payload),
                _ => None,
            });
            return (now - start, sent.unwrap());
        }
    }
    unreachable!("the loop ends in Active")
}

fn run_until(elector: &mut Elector, now: Instant) {
    while elector.poll_timeout().is_some_and(|at| at <= now) {
        elector.handle_timeout(elector.poll_timeout().unwrap());
    }
}

/// In: a backup of 100 with an interval of 2 s watches keepalived's 0.5 s. Out: it adopts 0.5 s, and after the farewell takes
/// over in the skew of 0.5 s, with keepalived's kind of checksum.
#[test]
fn a_backup_of_keepalived() {
    for name in V3 {
        let packets = capture(name);
        let interval = Centiseconds::new(200).unwrap();
        let version = Version::V3 { interval, checksum: ChecksumPolicy::LikePeer };
        let mut elector = Elector::new(vrrp(version, 100)).unwrap();
        let (at, sent) = play(&mut elector, &packets);
        // 156/256 of 500 ms.
        assert_eq!(at - packets.last().unwrap().at, Duration::from_nanos(304_687_500));
        assert_eq!(elector.active_down_interval(), Duration::from_nanos(1_804_687_500));
        assert_eq!(sent[..6], [0x31, 42, 100, 2, 0, 200]);
        let header = &packets[0].header;
        let ours = vrrp_rs::IpHeader { source: ip("192.0.2.3"), ..*header };
        let (_, form) = v3::Advertisement::decode(&ours, TtlRule::OnLink, &sent).unwrap();
        assert_eq!(form, ChecksumForm::PseudoHeader);
        assert_eq!(elector.statistics().received, 10);
        assert_eq!(elector.statistics().received_resigning, 1);
        assert_eq!(elector.statistics().address_list_errors, 0);
    }
}

/// In: the same with version 2. Out: the skew is 156/256 s. With another interval: every packet refused (RFC 3768 §7.1).
#[test]
fn a_backup_of_keepalived_version_2() {
    let packets = capture("vrrp2-plain.pcap");
    let version = Version::V2 { interval: Seconds::DEFAULT, auth: v2::Auth::None };
    let mut elector = Elector::new(vrrp(version, 100)).unwrap();
    let (at, _) = play(&mut elector, &packets);
    assert_eq!(at - packets.last().unwrap().at, Duration::from_nanos(609_375_000));

    let version = Version::V2 { interval: Seconds::new(2).unwrap(), auth: v2::Auth::None };
    let mut elector = Elector::new(vrrp(version, 100)).unwrap();
    let now = Instant::now();
    elector.startup(now);
    for packet in &packets {
        let refused = elector.handle_packet(now, &packet.header, &packet.payload);
        assert_eq!(refused, Err(Refusal::Interval { found: 1, ours: 2 }));
    }
    assert_eq!(elector.statistics().interval_errors, 4);
}

fn carp(replay: Replay, pace: Pace) -> Config {
    Config {
        protocol: Protocol::Carp(Carp {
            secret: Secret::new(b"secret").unwrap(),
            pace,
            demotion: DemotionStyle::Skew,
            replay,
            first_counter: 1,
            tie: Tie::LowerAddress,
            link_local: LinkLocal::Unsigned,
            source_v4: Some(Ipv4Addr::new(192, 0, 2, 3)),
            source_v6: None,
            v4: BTreeSet::from([Ipv4Addr::new(192, 0, 2, 1)]),
            v6: BTreeSet::new(),
        }),
        ..vrrp(Version::V2 { interval: Seconds::DEFAULT, auth: v2::Auth::None }, 1)
    }
}

/// In: ucarp's packets, then silence, then the same packets again, also from another address. Out: obeyed, taken over after
/// 3 s and the own advskew, and no replay moves anything.
#[test]
fn a_backup_of_ucarp_is_not_fooled_by_replays() {
    let packets = capture("carp-ucarp.pcap");
    let mut elector = Elector::new(carp(Replay::Distinct, Pace { base: 1, skew: 100 })).unwrap();
    let (at, _) = play(&mut elector, &packets);
    assert_eq!(at - packets.last().unwrap().at, Duration::from_secs(3) + Duration::from_secs(1) * 100 / 256);

    let now = Instant::now() + Duration::from_secs(3600);
    let before = (elector.state(), elector.deadline(Timer::Adver), elector.active_router());
    for packet in &packets {
        for source in ["192.0.2.2", "192.0.2.77"] {
            let header = vrrp_rs::IpHeader { source: ip(source), ..packet.header };
            let refused = elector.handle_packet(now, &header, &packet.payload);
            assert!(matches!(refused, Err(Refusal::Replayed(_))), "{refused:?}");
        }
    }
    assert_eq!((elector.state(), elector.deadline(Timer::Adver), elector.active_router()), before);
    assert_eq!(elector.statistics().replays, 12);
}

/// In: a faster CARP router hears ucarp. Out: it takes over at its first packet, once the queue is empty.
#[test]
fn a_faster_carp_router_preempts() {
    let packets = capture("carp-ucarp.pcap");
    let mut elector = Elector::new(carp(Replay::Distinct, Pace { base: 1, skew: 0 })).unwrap();
    let (at, sent) = play(&mut elector, &packets[..1]);
    assert_eq!(at, packets[0].at);
    assert_eq!(sent[..6], [0x21, 42, 0, 7, 0, 1]);
}
