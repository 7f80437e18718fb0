//! What an elector lets in: peers, groups, time to live, authentication, replays, foreign families; and what it counts.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use vrrp_rs::elector::{
    Announcing, Carp, ChecksumPolicy, ConfigError, DemotionStyle, Preempt, Protocol, Reach, Refusal, State,
    Tie, Timer, Transmit, Version, Vrrp,
};
use vrrp_rs::wire::carp::{LinkLocal, Pace, Secret};
use vrrp_rs::wire::{ChecksumForm, DecodeError, peek, v2};
use vrrp_rs::{
    Addresses, Centiseconds, Config, Dialect, Elector, Family, GlobalStatistics, IpHeader, Output, Priority,
    ProtocolError, Replay, Seconds, TtlRule, Vrid,
};

const SECOND: Duration = Duration::from_secs(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v3(source: &str, priority: u8) -> Config {
    let virtual_address = if ip(source).is_ipv4() { "192.0.2.1" } else { "fe80::1" };
    Config {
        vrid: Vrid::new(42).unwrap(),
        protocol: Protocol::Vrrp(Vrrp {
            version: Version::V3 {
                interval: Centiseconds::DEFAULT,
                checksum: ChecksumPolicy::Always(ChecksumForm::MessageOnly),
            },
            priority: Priority::new(priority).unwrap(),
            source: ip(source),
            addresses: Addresses::new(&[ip(virtual_address)]).unwrap(),
        }),
        preempt: Preempt::Always,
        accept: true,
        reach: Reach::Multicast,
        announce: Announcing::usual(Family::of(ip(source))),
    }
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|address| ip(address)).collect()
}

fn unicast(config: Config, peers: &[&str], ttl: TtlRule) -> Config {
    Config { reach: Reach::Unicast { peers: set(peers), ttl }, ..config }
}

/// Active, with its first packets.
fn active(config: Config, now: Instant) -> (Elector, Vec<Transmit>) {
    let mut elector = Elector::new(config).unwrap();
    elector.startup(now);
    elector.claim(now);
    let packets = transmissions(&mut elector);
    (elector, packets)
}

fn backup(config: Config, now: Instant) -> Elector {
    let mut elector = Elector::new(config).unwrap();
    elector.startup(now);
    transmissions(&mut elector);
    elector
}

fn transmissions(elector: &mut Elector) -> Vec<Transmit> {
    let packet = |output| match output {
        Output::Transmit(packet) => Some(packet),
        Output::Role(_) | Output::Announce(_) | Output::Drain | Output::Overdue => None,
    };
    std::iter::from_fn(|| elector.poll_output()).filter_map(packet).collect()
}

/// In: one good advertisement with one thing wrong around it. Out: refused, counted, and nothing else changed.
#[test]
fn strangers_change_nothing() {
    let start = Instant::now();
    let (_, sent) = active(v3("192.0.2.3", 200), start);
    let Transmit { header, payload } = &sent[0];
    let mut elector = backup(v3("192.0.2.2", 100), start);
    let deadline = elector.poll_timeout();
    let cases = [
        (IpHeader { ttl: 254, ..*header }, Refusal::Decode(DecodeError::Ttl { found: 254, least: 255 })),
        (IpHeader { source: ip("192.0.2.2"), ..*header }, Refusal::Echo(ip("192.0.2.2"))),
        (IpHeader { source: ip("0.0.0.0"), ..*header }, Refusal::Source(ip("0.0.0.0"))),
        (IpHeader { source: ip("224.0.0.18"), ..*header }, Refusal::Source(ip("224.0.0.18"))),
        (IpHeader { destination: ip("192.0.2.2"), ..*header }, Refusal::Destination(ip("192.0.2.2"))),
        (IpHeader { destination: ip("224.0.0.5"), ..*header }, Refusal::Destination(ip("224.0.0.5"))),
        (
            IpHeader { source: ip("fe80::3"), destination: ip("ff02::12"), ttl: 255 },
            DecodeError::Family.into(),
        ),
    ];
    for (header, refusal) in cases {
        assert_eq!(elector.handle_packet(start + SECOND, &header, payload), Err(refusal));
        assert_eq!((elector.state(), elector.poll_timeout()), (State::Backup, deadline));
    }
    let statistics = elector.statistics();
    assert_eq!((statistics.ttl_errors, statistics.strangers, statistics.address_list_errors), (1, 5, 1));
    assert_eq!((statistics.received, statistics.protocol_error), (0, ProtocolError::IpTtl));

    elector.handle_packet(start + SECOND, header, payload).unwrap();
    assert_eq!(elector.statistics().received, 1);
    assert_eq!(elector.active_router(), Some(ip("192.0.2.3")));
}

/// In: a packet for another virtual router, and one that nobody here can place. Out: counted as RFC 6527 has it.
#[test]
fn foreign_routers_are_counted() {
    let start = Instant::now();
    let (_, sent) = active(Config { vrid: Vrid::new(43).unwrap(), ..v3("192.0.2.3", 200) }, start);
    let mut elector = backup(v3("192.0.2.2", 100), start);
    let refused = elector.handle_packet(start, &sent[0].header, &sent[0].payload);
    assert_eq!(refused, Err(Refusal::Vrid(43)));
    let mut global = GlobalStatistics::default();
    global.unknown_router();
    global.unreadable(&peek(&[0x51, 1, 1, 1]).unwrap_err());
    let all = global.with(elector.statistics());
    assert_eq!((all.vrid_errors, all.version_errors, all.checksum_errors), (2, 1, 0));
}

/// In: the same number in IPv4 and IPv6. Out: two routers, deaf to each other.
#[test]
fn families_are_separate_routers() {
    let start = Instant::now();
    let (_, sent_v4) = active(v3("192.0.2.3", 200), start);
    let (_, sent_v6) = active(v3("fe80::3", 200), start);
    let mut v4 = backup(v3("192.0.2.2", 100), start);
    let mut v6 = backup(v3("fe80::2", 100), start);
    let deliver =
        |to: &mut Elector, packet: &Transmit| to.handle_packet(start, &packet.header, &packet.payload);
    assert_eq!(deliver(&mut v4, &sent_v6[0]), Err(DecodeError::Family.into()));
    assert_eq!(deliver(&mut v6, &sent_v4[0]), Err(DecodeError::Family.into()));
    assert_eq!(deliver(&mut v4, &sent_v4[0]), Ok(()));
    assert_eq!(deliver(&mut v6, &sent_v6[0]), Ok(()));
    assert_ne!(v4.virtual_mac(Family::V4), v6.virtual_mac(Family::V6));
}

/// In: unicast peers. Out: one packet for each; only listed ones are heard, and at the TTL that the operator allows.
#[test]
fn unicast_peers() {
    let start = Instant::now();
    let peers = ["192.0.2.2", "198.51.100.2"];
    let (_, sent) = active(unicast(v3("192.0.2.3", 200), &peers, TtlRule::OnLink), start);
    let destinations: Vec<_> = sent.iter().map(|packet| packet.header.destination).collect();
    assert_eq!(destinations, peers.map(ip));

    let routed = IpHeader { ttl: 250, ..sent[0].header };
    let listed = ["192.0.2.3"];
    for (config, refused) in [
        (unicast(v3("192.0.2.2", 100), &listed, TtlRule::AtLeast(250)), None),
        (
            unicast(v3("192.0.2.2", 100), &listed, TtlRule::AtLeast(251)),
            Some(DecodeError::Ttl { found: 250, least: 251 }.into()),
        ),
        (
            unicast(v3("192.0.2.2", 100), &listed, TtlRule::OnLink),
            Some(DecodeError::Ttl { found: 250, least: 255 }.into()),
        ),
        (
            unicast(v3("192.0.2.2", 100), &["192.0.2.9"], TtlRule::AtLeast(1)),
            Some(Refusal::Stranger(ip("192.0.2.3"))),
        ),
        (v3("192.0.2.2", 100), Some(Refusal::Destination(ip("192.0.2.2")))),
    ] {
        let mut elector = backup(config, start);
        assert_eq!(elector.handle_packet(start, &routed, &sent[0].payload).err(), refused);
    }
    // The group is not for unicast routers.
    let mut elector = backup(unicast(v3("192.0.2.2", 100), &listed, TtlRule::OnLink), start);
    let (_, sent) = active(v3("192.0.2.3", 200), start);
    let refused = elector.handle_packet(start, &sent[0].header, &sent[0].payload);
    assert_eq!(refused, Err(Refusal::Destination(ip("224.0.0.18"))));
}

/// In: the checksum policies, and a peer of either kind. Out: sent as the policy says.
#[test]
fn the_checksum_is_sent_by_setting() {
    let start = Instant::now();
    let with = |source: &str, policy| {
        let mut config = v3(source, 100);
        let Protocol::Vrrp(vrrp) = &mut config.protocol else { unreachable!() };
        vrrp.version = Version::V3 { interval: Centiseconds::DEFAULT, checksum: policy };
        config
    };
    let form = |packet: &Transmit| {
        vrrp_rs::wire::v3::Advertisement::decode(&packet.header, TtlRule::OnLink, &packet.payload).unwrap().1
    };
    for peer in [ChecksumForm::MessageOnly, ChecksumForm::PseudoHeader] {
        let (_, heard) = active(with("192.0.2.3", ChecksumPolicy::Always(peer)), start);
        assert_eq!(form(&heard[0]), peer);
        for (policy, expected) in [
            (ChecksumPolicy::LikePeer, peer),
            (ChecksumPolicy::Always(ChecksumForm::MessageOnly), ChecksumForm::MessageOnly),
            (ChecksumPolicy::Always(ChecksumForm::PseudoHeader), ChecksumForm::PseudoHeader),
        ] {
            let mut elector = backup(with("192.0.2.2", policy), start);
            elector.handle_packet(start, &heard[0].header, &heard[0].payload).unwrap();
            elector.claim(start);
            assert_eq!(form(&transmissions(&mut elector)[0]), expected);
        }
    }
    let (_, first) = active(with("192.0.2.2", ChecksumPolicy::LikePeer), start);
    assert_eq!(form(&first[0]), ChecksumForm::MessageOnly);
}

/// In: VRRPv2 with text authentication. Out: right, wrong and missing passwords are told apart.
#[test]
fn version_2_authentication() {
    let start = Instant::now();
    let with = |source: &str, text: Option<&[u8]>| {
        let auth = text.map_or(v2::Auth::None, |text| v2::Auth::Text(v2::AuthText::new(text).unwrap()));
        let mut config = v3(source, 100);
        let Protocol::Vrrp(vrrp) = &mut config.protocol else { unreachable!() };
        vrrp.version = Version::V2 { interval: Seconds::DEFAULT, auth };
        config
    };
    let (_, sent) = active(with("192.0.2.3", Some(b"1111")), start);
    for (ours, expected) in [
        (Some(&b"1111"[..]), Ok(())),
        (Some(b"2222"), Err(Refusal::AuthFailed)),
        (None, Err(Refusal::AuthMismatch { found: 1, ours: 0 })),
    ] {
        let mut elector = backup(with("192.0.2.2", ours), start);
        assert_eq!(elector.handle_packet(start, &sent[0].header, &sent[0].payload), expected);
        let statistics = elector.statistics();
        assert_eq!(statistics.auth_failures, u64::from(ours == Some(b"2222")));
        assert_eq!(statistics.auth_mismatches, u64::from(ours.is_none()));
    }
    // Version 3 is not version 2.
    let (_, sent) = active(v3("192.0.2.3", 200), start);
    let mut elector = backup(with("192.0.2.2", None), start);
    let refused = elector.handle_packet(start, &sent[0].header, &sent[0].payload);
    assert_eq!(refused, Err(DecodeError::Version(3).into()));
}

/// In: RFC 3768 §6.4.3, an active router hears a lower priority. Out: version 2 says nothing, version 3 answers.
#[test]
fn only_version_3_answers_a_lower_priority() {
    let start = Instant::now();
    for (version, answers) in [
        (Version::V2 { interval: Seconds::DEFAULT, auth: v2::Auth::None }, 0),
        (Version::V3 { interval: Centiseconds::DEFAULT, checksum: ChecksumPolicy::LikePeer }, 1),
    ] {
        let with = |source: &str, priority| {
            let mut config = v3(source, priority);
            let Protocol::Vrrp(vrrp) = &mut config.protocol else { unreachable!() };
            vrrp.version = version.clone();
            config
        };
        let (mut ours, _) = active(with("192.0.2.2", 200), start);
        let (_, theirs) = active(with("192.0.2.3", 100), start);
        ours.handle_packet(start + SECOND / 2, &theirs[0].header, &theirs[0].payload).unwrap();
        assert_eq!(transmissions(&mut ours).len(), answers);
        assert_eq!(ours.state(), State::Active);
    }
}

/// In: two active routers of the same priority. Out: the lower address yields (RFC 9568 §6.4.3), owners included.
#[test]
fn equal_priorities_are_settled_by_address() {
    let start = Instant::now();
    for (low, high) in [("192.0.2.9", "192.0.2.10"), ("fe80::7f", "fe80::80")] {
        for priority in [100, 255] {
            let (mut lower, from_lower) = active(v3(low, priority), start);
            let (mut higher, from_higher) = active(v3(high, priority), start);
            lower.handle_packet(start, &from_higher[0].header, &from_higher[0].payload).unwrap();
            higher.handle_packet(start, &from_lower[0].header, &from_lower[0].payload).unwrap();
            assert_eq!((lower.state(), higher.state()), (State::Backup, State::Active));
            assert_eq!(higher.statistics().owner_conflicts, u64::from(priority == 255));
        }
    }
}

/// In: a packet whose list is not ours. Out: taken, and counted.
#[test]
fn another_address_list_is_counted() {
    let start = Instant::now();
    let mut other = v3("192.0.2.3", 200);
    let Protocol::Vrrp(vrrp) = &mut other.protocol else { unreachable!() };
    vrrp.addresses = Addresses::new(&[ip("192.0.2.77")]).unwrap();
    let (_, sent) = active(other, start);
    let mut elector = backup(v3("192.0.2.2", 100), start);
    elector.handle_packet(start, &sent[0].header, &sent[0].payload).unwrap();
    assert_eq!((elector.statistics().received, elector.statistics().address_list_errors), (1, 1));
}

fn carp(last: u8, skew: u8) -> Carp {
    Carp {
        secret: Secret::new(b"secret").unwrap(),
        pace: Pace { base: 1, skew },
        demotion: DemotionStyle::Byte,
        replay: Replay::Increasing,
        first_counter: 1000 * u64::from(last),
        tie: Tie::LowerAddress,
        link_local: LinkLocal::Signed,
        source_v4: Some(Ipv4Addr::new(192, 0, 2, last)),
        source_v6: Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into())),
        v4: BTreeSet::from([Ipv4Addr::new(192, 0, 2, 1)]),
        v6: BTreeSet::from([Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)]),
    }
}

fn with_carp(carp: Carp) -> Config {
    Config { protocol: Protocol::Carp(carp), ..v3("192.0.2.2", 1) }
}

/// In: a virtual host of both families. Out: one packet in each, and one of them is enough to keep a backup quiet.
#[test]
fn carp_speaks_both_families() {
    let start = Instant::now();
    let (_, sent) = active(with_carp(carp(3, 0)), start);
    let destinations: Vec<_> = sent.iter().map(|packet| packet.header.destination).collect();
    assert_eq!(destinations, [ip("224.0.0.18"), ip("ff02::12")]);
    assert!(sent.iter().all(|packet| packet.header.ttl == 255 && packet.payload.len() == 36));
    let mut listener = backup(with_carp(carp(2, 100)), start);
    for packet in &sent {
        listener.handle_packet(start, &packet.header, &packet.payload).unwrap();
        let mut elector = backup(with_carp(carp(2, 100)), start);
        elector.handle_packet(start + SECOND, &packet.header, &packet.payload).unwrap();
        assert_eq!(elector.poll_timeout(), Some(start + 4 * SECOND + SECOND * 100 / 256));
    }
}

/// In: replays of the peer's and of our own packets, with changed advskew, from any address. Out: nothing changes.
#[test]
fn replayed_and_forged_carp_changes_nothing() {
    let start = Instant::now();
    let (mut peer, first) = active(with_carp(Carp { v6: BTreeSet::new(), ..carp(3, 50) }), start);
    let mut second = Vec::new();
    for _ in 0..2 {
        peer.handle_timeout(start + 2 * SECOND);
        peer.handle_drained(start + 2 * SECOND);
        second = [second, transmissions(&mut peer)].concat();
    }
    let mut ours = backup(with_carp(Carp { v6: BTreeSet::new(), ..carp(2, 100) }), start);
    let deliver =
        |to: &mut Elector, now, packet: &Transmit| to.handle_packet(now, &packet.header, &packet.payload);
    deliver(&mut ours, start + SECOND, &first[0]).unwrap();
    deliver(&mut ours, start + 2 * SECOND, &second[0]).unwrap();
    ours.claim(start + 3 * SECOND);
    let own = transmissions(&mut ours);

    let now = start + 3 * SECOND;
    let seen = |elector: &Elector| {
        (
            elector.state(),
            elector.deadline(Timer::Adver),
            elector.active_router(),
            elector.statistics().received,
        )
    };
    let before = seen(&ours);
    for packet in first.iter().chain(&second).chain(&own) {
        for (source, skew) in
            [("192.0.2.3", None), ("192.0.2.66", None), ("192.0.2.66", Some(0)), ("192.0.2.66", Some(255))]
        {
            let mut forged = packet.clone();
            forged.header.source = ip(source);
            if let Some(skew) = skew {
                forged.payload[2] = skew;
                mend_checksum(&mut forged.payload);
            }
            let refused = deliver(&mut ours, now, &forged);
            assert!(matches!(refused, Err(Refusal::Replayed(_))), "{refused:?}");
            // A counter of the forger's own choice needs the secret.
            forged.payload[8] ^= 0x40;
            mend_checksum(&mut forged.payload);
            assert_eq!(deliver(&mut ours, now, &forged), Err(Refusal::AuthFailed));
            assert_eq!(seen(&ours), before);
        }
    }
    assert!(transmissions(&mut ours).is_empty());
}

/// The checksum is no secret.
fn mend_checksum(payload: &mut [u8]) {
    payload[6..8].fill(0);
    let mut sum: u32 =
        payload.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    payload[6..8].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
}

/// In: BSD peers, whose counter stays. Out: heard each time; our own packet coming back is not.
#[test]
fn constant_counters_of_the_bsds() {
    let start = Instant::now();
    let bsd = |last, skew| with_carp(Carp { replay: Replay::Constant, ..carp(last, skew) });
    let (_, sent) = active(bsd(3, 0), start);
    let mut ours = backup(bsd(2, 100), start);
    for _ in 0..3 {
        assert_eq!(ours.handle_packet(start, &sent[0].header, &sent[0].payload), Ok(()));
    }
    ours.claim(start);
    let own = transmissions(&mut ours);
    let looped = IpHeader { source: ip("192.0.2.66"), ..own[0].header };
    let refused = ours.handle_packet(start, &looped, &own[0].payload);
    assert!(matches!(refused, Err(Refusal::Replayed(_))));
}

/// In: the pace and demotion of two CARP routers, both active. Out: who stays.
#[test]
fn carp_comparisons() {
    use DemotionStyle::{Byte, Skew};
    use State::{Active, Backup};
    let start = Instant::now();
    // (skew, demotion) of 192.0.2.2 and of 192.0.2.3.
    for (style, tie, ours, theirs, expected) in [
        (Byte, Tie::LowerAddress, (0, 0), (100, 0), (Active, Backup)),
        (Byte, Tie::LowerAddress, (100, 0), (0, 0), (Backup, Active)),
        (Byte, Tie::LowerAddress, (50, 0), (50, 0), (Active, Backup)),
        (Byte, Tie::StepDown, (50, 0), (50, 0), (Backup, Backup)),
        // Demotion counts before the pace.
        (Byte, Tie::LowerAddress, (0, 1), (100, 0), (Backup, Active)),
        (Byte, Tie::LowerAddress, (0, 1), (100, 2), (Active, Backup)),
        // FreeBSD adds it to advskew, up to 240.
        (Skew, Tie::LowerAddress, (0, 50), (100, 0), (Active, Backup)),
        (Skew, Tie::LowerAddress, (0, 150), (100, 0), (Backup, Active)),
        (Skew, Tie::LowerAddress, (0, 255), (100, 255), (Active, Backup)),
        (Skew, Tie::LowerAddress, (250, 1), (249, 1), (Backup, Active)),
    ] {
        let make = |last, (skew, demotion)| {
            let config = Carp { demotion: style, tie, v6: BTreeSet::new(), ..carp(last, skew) };
            let mut elector = Elector::new(with_carp(Carp { replay: Replay::Constant, ..config })).unwrap();
            elector.set_demotion(start, demotion);
            elector.startup(start);
            elector.claim(start);
            let sent = transmissions(&mut elector);
            (elector, sent)
        };
        let (mut a, from_a) = make(2, ours);
        let (mut b, from_b) = make(3, theirs);
        a.handle_packet(start, &from_b[0].header, &from_b[0].payload).unwrap();
        b.handle_packet(start, &from_a[0].header, &from_a[0].payload).unwrap();
        assert_eq!((a.state(), b.state()), expected, "{style:?} {tie:?} {ours:?} {theirs:?}");
    }
}

/// In: what a waiting CARP router hears. Out: taken over at once or obeyed.
#[test]
fn carp_take_overs() {
    let start = Instant::now();
    // Our skew and demotion, preempt; their pace and demotion; whether we take over without waiting.
    for (ours, preempt, theirs, takes_over) in [
        ((0, 0), Preempt::Always, (Pace { base: 1, skew: 100 }, 0), true),
        ((0, 0), Preempt::Never, (Pace { base: 1, skew: 100 }, 0), false),
        ((100, 0), Preempt::Always, (Pace { base: 1, skew: 100 }, 0), false),
        ((200, 0), Preempt::Always, (Pace { base: 1, skew: 100 }, 0), false),
        // More demoted than we are: relieved without preemption, whatever the pace.
        ((200, 0), Preempt::Never, (Pace { base: 1, skew: 0 }, 1), true),
        ((0, 2), Preempt::Always, (Pace { base: 1, skew: 100 }, 1), false),
        // Bound to time out, or OpenBSD's farewell.
        ((0, 0), Preempt::Never, (Pace { base: 4, skew: 0 }, 0), true),
        ((0, 0), Preempt::Never, (Pace { base: 3, skew: 0 }, 0), false),
        ((0, 0), Preempt::Never, (Pace::BOW_OUT, 0), true),
    ] {
        let config = Config { preempt, ..with_carp(carp(2, ours.0)) };
        let mut elector = backup(config, start);
        elector.set_demotion(start, ours.1);
        let peer = carp(3, 0);
        let signer = vrrp_rs::wire::carp::Authenticator::new(
            peer.secret,
            Vrid::new(42).unwrap(),
            peer.v4,
            peer.v6,
            LinkLocal::Signed,
        );
        let content = vrrp_rs::wire::carp::Advertisement {
            vhid: Vrid::new(42).unwrap(),
            pace: theirs.0,
            demotion: theirs.1,
            counter: 9000,
        };
        let header = IpHeader { source: ip("192.0.2.3"), destination: ip("224.0.0.18"), ttl: 255 };
        elector.handle_packet(start, &header, &signer.encode(&content)).unwrap();
        elector.handle_timeout(start);
        elector.handle_drained(start);
        let expected = if takes_over { State::Active } else { State::Backup };
        assert_eq!(elector.state(), expected, "{ours:?} {preempt:?} {theirs:?}");
    }
}

/// In: shutdown of an active CARP router. Out: OpenBSD's farewell, on which the other takes over at once.
#[test]
fn carp_bows_out() {
    let start = Instant::now();
    let (mut peer, _) = active(with_carp(carp(3, 0)), start);
    peer.shutdown(start);
    let farewell = transmissions(&mut peer);
    assert_eq!((farewell[0].payload[2], farewell[0].payload[5]), (255, 255));
    let mut ours = backup(with_carp(carp(2, 100)), start);
    ours.handle_packet(start, &farewell[0].header, &farewell[0].payload).unwrap();
    ours.handle_timeout(start);
    ours.handle_drained(start);
    assert_eq!(ours.state(), State::Active);
    assert_eq!(ours.statistics().received_resigning, 1);
}

/// In: configurations that cannot work. Out: refused with the reason.
#[test]
fn impossible_configurations() {
    let v6_without_link_local = {
        let mut config = v3("fe80::2", 100);
        let Protocol::Vrrp(vrrp) = &mut config.protocol else { unreachable!() };
        vrrp.addresses = Addresses::new(&[ip("2001:db8::1"), ip("fe80::1")]).unwrap();
        config
    };
    let v2_over_v6 = {
        let mut config = v3("fe80::2", 100);
        let Protocol::Vrrp(vrrp) = &mut config.protocol else { unreachable!() };
        vrrp.version = Version::V2 { interval: Seconds::DEFAULT, auth: v2::Auth::None };
        config
    };
    let mixed = {
        let mut config = v3("192.0.2.2", 100);
        let Protocol::Vrrp(vrrp) = &mut config.protocol else { unreachable!() };
        vrrp.source = ip("fe80::2");
        config
    };
    let shout = Announcing { repeats: vec![SECOND; 9], refresh: None };
    let hasty = Announcing { repeats: Vec::new(), refresh: Some(Duration::from_millis(1)) };
    let many: Vec<String> = (1..=17).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let base = || v3("192.0.2.200", 100);
    let on_link = TtlRule::OnLink;
    for (config, error) in [
        (v6_without_link_local, ConfigError::FirstNotLinkLocal(ip("2001:db8::1"))),
        (v2_over_v6, ConfigError::V2NeedsIpv4),
        (mixed, ConfigError::Family(ip("fe80::2"))),
        (v3("2001:db8::2", 100), ConfigError::SourceNotLinkLocal(ip("2001:db8::2"))),
        (v3("0.0.0.0", 100), ConfigError::NotUnicast(ip("0.0.0.0"))),
        (unicast(base(), &[], on_link), ConfigError::PeerCount(0)),
        (unicast(base(), &many, on_link), ConfigError::PeerCount(17)),
        (unicast(base(), &["192.0.2.200"], on_link), ConfigError::PeerIsSelf(ip("192.0.2.200"))),
        (unicast(base(), &["fe80::9"], on_link), ConfigError::Family(ip("fe80::9"))),
        (unicast(base(), &["224.0.0.1"], on_link), ConfigError::NotUnicast(ip("224.0.0.1"))),
        (Config { announce: shout, ..base() }, ConfigError::Announcing),
        (Config { announce: hasty, ..base() }, ConfigError::Announcing),
        (with_carp(Carp { pace: Pace::BOW_OUT, ..carp(2, 0) }), ConfigError::PaceIsFarewell),
        (with_carp(Carp { source_v4: None, ..carp(2, 0) }), ConfigError::NoSource(Family::V4)),
        (with_carp(Carp { source_v6: None, ..carp(2, 0) }), ConfigError::NoSource(Family::V6)),
        (with_carp(Carp { v4: BTreeSet::new(), v6: BTreeSet::new(), ..carp(2, 0) }), ConfigError::NoAddress),
    ] {
        assert_eq!(Elector::new(config).map(|elector| elector.state()), Err(error));
    }
    assert_eq!(with_carp(carp(2, 0)).dialect(), Dialect::Carp);
}
