//! What is asked of any bytes: by the fuzz targets in `tests/fuzz`, and by the ordinary tests with a few of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use vrrp_rs::elector::{
    Announcing, Carp, ChecksumPolicy, DemotionStyle, MAX_OUTPUTS, Preempt, Protocol, Reach, State, Tie,
    Version, Vrrp,
};
use vrrp_rs::wire::carp::{Authenticator, LinkLocal, Pace, Secret, Unverified};
use vrrp_rs::wire::{ChecksumForm, frame, peek, v2, v3};
use vrrp_rs::{
    Addresses, Centiseconds, Claims, Config, Dialect, Elector, Family, IpHeader, Mac, Output, Priority,
    Replay, Seconds, TtlRule, Vrid,
};

/// The first byte says how the rest came: bit 0 IPv6, bit 1 with the checksum made right, so that the fuzzer gets past it.
fn packet(data: &[u8]) -> Option<(IpHeader, Vec<u8>)> {
    let (flags, payload) = data.split_first()?;
    let header = if flags & 1 == 0 { header_v4() } else { header_v6() };
    let mut payload = payload.to_vec();
    if flags & 2 != 0 {
        mend(&mut payload, &header);
    }
    Some((header, payload))
}

fn header_v4() -> IpHeader {
    IpHeader { source: IpAddr::from([192, 0, 2, 3]), destination: Family::V4.group(), ttl: 255 }
}

fn header_v6() -> IpHeader {
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3).into();
    IpHeader { source, destination: Family::V6.group(), ttl: 255 }
}

/// Puts the checksum into bytes 6 and 7; with the pseudo-header for version 3 over IPv6.
fn mend(payload: &mut [u8], header: &IpHeader) {
    if payload.len() < 8 {
        return;
    }
    payload[6..8].fill(0);
    let words = |bytes: &[u8]| -> u64 {
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u64::from)).sum()
    };
    let mut sum = words(payload);
    if let (IpAddr::V6(source), IpAddr::V6(destination), 3) =
        (header.source, header.destination, payload[0] >> 4)
    {
        sum += words(&source.octets()) + words(&destination.octets()) + 112 + payload.len() as u64;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let field = !u16::try_from(sum).unwrap_or(0);
    payload[6..8].copy_from_slice(&field.to_be_bytes());
}

/// Version 2: what is read is written again and read as the same.
pub fn version_2(data: &[u8]) {
    let Some((header, payload)) = packet(data) else { return };
    if let Ok(advert) = v2::Advertisement::decode(&header, TtlRule::OnLink, &payload) {
        assert_eq!(peek(&payload), Ok((Dialect::Vrrp2, advert.vrid)));
        let again = advert.encode();
        assert_eq!(again.len(), payload.len());
        assert_eq!(v2::Advertisement::decode(&header, TtlRule::OnLink, &again), Ok(advert));
    }
}

/// Version 3: the same.
pub fn version_3(data: &[u8]) {
    let Some((header, payload)) = packet(data) else { return };
    if let Ok((advert, form)) = v3::Advertisement::decode(&header, TtlRule::OnLink, &payload) {
        assert_eq!(peek(&payload), Ok((Dialect::Vrrp3, advert.vrid)));
        let again = advert.encode(header.source, header.destination, form);
        assert_eq!(again.len(), payload.len());
        assert_eq!(v3::Advertisement::decode(&header, TtlRule::OnLink, &again), Ok((advert, form)));
    }
}

/// CARP: whatever is read, it is not genuine without the secret.
pub fn carp(data: &[u8]) {
    let Some((header, payload)) = packet(data) else { return };
    if let Ok(read) = Unverified::decode(&header, TtlRule::OnLink, &payload) {
        assert_eq!(peek(&payload), Ok((Dialect::Carp, read.vhid())));
        let secret = Secret::new(b"not in any corpus").unwrap();
        let v4 = BTreeSet::from([Ipv4Addr::new(192, 0, 2, 1)]);
        let authenticator = Authenticator::new(secret, read.vhid(), v4, [], LinkLocal::Signed);
        assert!(authenticator.verify(read).is_none());
    }
}

/// Frames: what is found in one is found again in one of ours.
pub fn ethernet(data: &[u8]) {
    if let Some((header, payload)) = frame::parse(data) {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let again = frame::advertisement(mac, mac, Dialect::Vrrp3, &header, payload).unwrap();
        assert_eq!(frame::parse(&again), Some((header, payload)));
    }
}

/// The elector: any sequence of packets, times and commands. It never panics, never asks to be woken at once for ever, and
/// has the addresses exactly when it says so.
pub fn elector(data: &[u8]) {
    let Some((first, mut script)) = data.split_first() else { return };
    let Ok(mut elector) = Elector::new(config(*first)) else { return };
    let (mut now, mut announced) = (Instant::now(), State::Initialize);
    elector.startup(now);
    while let Some((command, rest)) = script.split_first() {
        script = rest;
        let argument = script.first().copied().unwrap_or_default();
        match command % 16 {
            0 => elector.startup(now),
            1 => elector.shutdown(now),
            2 => elector.claim(now),
            3 => elector.resign(now),
            4 => elector
                .set_claims(now, [Claims::Free, Claims::NoPreempt, Claims::Held][usize::from(argument % 3)]),
            5 => elector.set_priority(now, Priority::new(argument.max(1)).unwrap()),
            6 => elector.set_demotion(now, argument),
            7 => elector.handle_drained(now),
            8..=10 => now += Duration::from_millis(u64::from(argument) * 4),
            11 => now = elector.poll_timeout().unwrap_or(now).max(now),
            _ => {
                let from = script.get(1..).unwrap_or_default();
                let (data, rest) = from.split_at(usize::from(argument).min(from.len()));
                script = rest;
                if let Some((header, payload)) = packet(data) {
                    let _ = elector.handle_packet(now, &header, &payload);
                }
            }
        }
        elector.handle_timeout(now);
        assert!(elector.poll_timeout().is_none_or(|at| at > now), "wants to be woken in the past");
        let mut outputs = 0;
        while let Some(output) = elector.poll_output() {
            outputs += 1;
            match output {
                Output::Role(change) => {
                    assert_eq!(change.from, announced);
                    announced = change.to;
                }
                Output::Announce(_) => assert_eq!(announced, State::Active),
                Output::Transmit(packet) => assert_eq!(packet.header.ttl, 255),
                Output::Drain => elector.handle_drained(now),
                Output::Overdue => assert_eq!(announced, State::Backup),
            }
        }
        assert!(outputs <= MAX_OUTPUTS);
        assert_eq!((announced, elector.statistics().outputs_dropped), (elector.state(), 0));
    }
}

fn config(kind: u8) -> Config {
    let v6 = kind & 1 != 0;
    let own: IpAddr =
        if v6 { Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2).into() } else { [192, 0, 2, 2].into() };
    let shared: IpAddr =
        if v6 { Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into() } else { [192, 0, 2, 1].into() };
    let vrrp = |version| {
        let addresses = Addresses::new(&[shared]).unwrap();
        Protocol::Vrrp(Vrrp { version, priority: Priority::DEFAULT, source: own, addresses })
    };
    let protocol = match kind >> 1 & 3 {
        0 => vrrp(Version::V2 { interval: Seconds::DEFAULT, auth: v2::Auth::None }),
        1 => {
            let checksum = ChecksumPolicy::Always(ChecksumForm::PseudoHeader);
            vrrp(Version::V3 { interval: Centiseconds::DEFAULT, checksum })
        }
        2 => {
            vrrp(Version::V3 { interval: Centiseconds::new(1).unwrap(), checksum: ChecksumPolicy::LikePeer })
        }
        _ => Protocol::Carp(Carp {
            secret: Secret::new(b"secret").unwrap(),
            pace: Pace { base: 1, skew: 100 },
            demotion: DemotionStyle::Byte,
            replay: Replay::Increasing,
            first_counter: 0,
            tie: Tie::LowerAddress,
            link_local: LinkLocal::Signed,
            source_v4: Some(Ipv4Addr::new(192, 0, 2, 2)),
            source_v6: Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)),
            v4: BTreeSet::from([Ipv4Addr::new(192, 0, 2, 1)]),
            v6: BTreeSet::from([Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)]),
        }),
    };
    let preempt = [Preempt::Always, Preempt::Never, Preempt::After(Duration::from_secs(2))];
    Config {
        vrid: Vrid::new(42).unwrap(),
        protocol,
        preempt: preempt[usize::from(kind >> 3) % 3],
        accept: false,
        reach: Reach::Multicast,
        announce: Announcing::usual(Family::of(own)),
    }
}
