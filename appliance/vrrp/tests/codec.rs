//! Codecs: vectors of others, properties, and every fault with its counter.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use vrrp_rs::wire::carp::{self, Authenticator, LinkLocal, Pace, Secret, Unverified};
use vrrp_rs::wire::frame::{self, ArpForm};
use vrrp_rs::wire::{ChecksumForm, DecodeError, peek, v2, v3};
use vrrp_rs::{
    Addresses, Centiseconds, Counter, Dialect, Family, IpHeader, Mac, Priority, Seconds, Standing, TtlRule,
    ValueError, Vrid,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn header(source: &str, destination: &str) -> IpHeader {
    IpHeader { source: ip(source), destination: ip(destination), ttl: 255 }
}

fn v4_header() -> IpHeader {
    header("192.0.2.2", "224.0.0.18")
}

/// In: the checksums in Scapy's tests (RFC 9568 has no vectors). Out: ours.
#[test]
fn vectors_of_scapy() {
    let advert = |addresses: [&str; 2]| v3::Advertisement {
        vrid: Vrid::new(2).unwrap(),
        standing: Standing::from_wire(254),
        interval: Centiseconds::new(1).unwrap(),
        addresses: Addresses::new(&addresses.map(ip)).unwrap(),
    };
    for (source, destination, addresses, checksum) in [
        ("20.0.0.3", "224.0.0.18", ["20.0.1.2", "20.0.1.3"], [0xb2, 0x5e]),
        ("2001:db8::1", "ff02::12", ["2001:db8::2", "2001:db8::3"], [0x48, 0x1b]),
    ] {
        let bytes = advert(addresses).encode(ip(source), ip(destination), ChecksumForm::PseudoHeader);
        assert_eq!(bytes[6..8], checksum, "{source}");
        let read = v3::Advertisement::decode(&header(source, destination), TtlRule::OnLink, &bytes);
        assert_eq!(read, Ok((advert(addresses), ChecksumForm::PseudoHeader)));
    }
}

/// In: an IPv6 advertisement whose checksum leaves the pseudo-header out. Out: refused; only IPv4 has two forms.
#[test]
fn ipv6_has_one_checksum() {
    let here = header("fe80::2", "ff02::12");
    let advert = v3::Advertisement {
        vrid: Vrid::new(2).unwrap(),
        standing: Standing::from_wire(100),
        interval: Centiseconds::DEFAULT,
        addresses: Addresses::new(&[ip("fe80::1")]).unwrap(),
    };
    // To and from the unspecified address, the pseudo-header is the length and the protocol.
    let mut bytes = advert.encode(ip("::"), ip("::"), ChecksumForm::MessageOnly);
    let sum = u16::from_be_bytes([bytes[6], bytes[7]]) + 24 + 112;
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(v3::Advertisement::decode(&here, TtlRule::OnLink, &bytes), Err(DecodeError::Checksum));
}

/// In: one fault each, in the order of RFC 9568 §7.1. Out: the error that names it and the counter of RFC 6527.
#[test]
fn every_fault_has_its_error_and_counter() {
    let good = v3::Advertisement {
        vrid: Vrid::new(2).unwrap(),
        standing: Standing::from_wire(100),
        interval: Centiseconds::DEFAULT,
        addresses: Addresses::new(&[ip("192.0.2.1")]).unwrap(),
    }
    .encode(ip("192.0.2.2"), ip("224.0.0.18"), ChecksumForm::MessageOnly);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        // The checksum is made right again: field 6 holds what makes the rest sum to nothing.
        bytes[6..8].fill(0);
        let mut sum: u32 = bytes.as_chunks::<2>().0.iter().map(|w| u32::from(u16::from_be_bytes(*w))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        bytes[6..8].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
        bytes
    };
    let here = v4_header();
    let routed = IpHeader { ttl: 254, ..here };
    let mixed = IpHeader { destination: ip("ff02::12"), ..here };
    let mut spoilt = good.clone();
    spoilt[7] ^= 1;
    let cases: [(&IpHeader, Vec<u8>, DecodeError, Counter); 12] = [
        (&routed, good.clone(), DecodeError::Ttl { found: 254, least: 255 }, Counter::Ttl),
        (&here, with(0, 0x41), DecodeError::Version(4), Counter::Version),
        (&here, with(0, 0x32), DecodeError::Type(2), Counter::Type),
        (&here, Vec::new(), DecodeError::Length { found: 0, expected: 8 }, Counter::Length),
        (&here, good[..7].to_vec(), DecodeError::Length { found: 7, expected: 8 }, Counter::Length),
        (&here, good[..11].to_vec(), DecodeError::Length { found: 11, expected: 12 }, Counter::Length),
        (&here, with(3, 2), DecodeError::Length { found: 12, expected: 16 }, Counter::Length),
        (&mixed, good.clone(), DecodeError::Family, Counter::AddressList),
        (&here, with(3, 0), DecodeError::NoAddress, Counter::AddressList),
        (&here, spoilt, DecodeError::Checksum, Counter::Checksum),
        (&here, with(1, 0), DecodeError::Vrid, Counter::Vrid),
        (&here, with(5, 0), DecodeError::Interval, Counter::Interval),
    ];
    for (header, bytes, error, counter) in cases {
        let found = v3::Advertisement::decode(header, TtlRule::OnLink, &bytes).unwrap_err();
        assert_eq!((found, Counter::from(&found)), (error, counter), "{bytes:02x?}");
    }
    // RFC 9568 §5.2.6: reserved bits are ignored.
    assert!(v3::Advertisement::decode(&here, TtlRule::OnLink, &with(4, 0xa0)).is_ok());
    // Unicast through a router, where the operator allows it.
    assert!(v3::Advertisement::decode(&routed, TtlRule::AtLeast(254), &good).is_ok());
}

/// In: authentication types of VRRPv2. Out: 0 and 1 are read, the rest is named.
#[test]
fn version_2_authentication_types() {
    let advert = |auth| v2::Advertisement {
        vrid: Vrid::new(2).unwrap(),
        standing: Standing::from_wire(100),
        interval: Seconds::DEFAULT,
        auth,
        addresses: Addresses::new(&[ip("192.0.2.1")]).unwrap(),
    };
    let text = advert(v2::Auth::Text(v2::AuthText::new(b"1111").unwrap()));
    let mut bytes = text.encode();
    assert_eq!(bytes[12..], *b"1111\0\0\0\0");
    assert_eq!(v2::Advertisement::decode(&v4_header(), TtlRule::OnLink, &bytes), Ok(text));
    // Type 2, with the checksum adjusted by the difference.
    bytes[4] = 2;
    let sum = u16::from_be_bytes([bytes[6], bytes[7]]) - 0x100;
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    let error = v2::Advertisement::decode(&v4_header(), TtlRule::OnLink, &bytes).unwrap_err();
    assert_eq!((error, Counter::from(&error)), (DecodeError::AuthType(2), Counter::AuthType));
}

/// In: seven addresses in VRRPv2, and CARP, which both begin 21 xx xx 07. Out: told apart by the length.
#[test]
fn carp_and_version_2_are_told_apart() {
    let addresses: Vec<_> = (1..=7).map(|n| IpAddr::from([192, 0, 2, n])).collect();
    let vrrp = v2::Advertisement {
        vrid: Vrid::new(9).unwrap(),
        standing: Standing::from_wire(100),
        interval: Seconds::DEFAULT,
        auth: v2::Auth::None,
        addresses: Addresses::new(&addresses).unwrap(),
    }
    .encode();
    let carp = authenticator(&[Ipv4Addr::LOCALHOST], &[], LinkLocal::Signed).encode(&content(1));
    assert_eq!((vrrp[0], vrrp[3], carp[0], carp[3]), (0x21, 7, 0x21, 7));
    assert_eq!(peek(&vrrp).unwrap().0, Dialect::Vrrp2);
    assert_eq!(peek(&carp).unwrap().0, Dialect::Carp);
    assert_eq!(peek(&[0x11, 1, 1, 1]), Err(DecodeError::Version(1)));
    assert_eq!(peek(&[0x31, 0, 1, 1]), Err(DecodeError::Vrid));
    assert_eq!(peek(&[0x31, 1]), Err(DecodeError::Length { found: 2, expected: 8 }));
}

fn content(counter: u64) -> carp::Advertisement {
    carp::Advertisement {
        vhid: Vrid::new(42).unwrap(),
        pace: Pace { base: 1, skew: 7 },
        demotion: 0,
        counter,
    }
}

fn authenticator(v4: &[Ipv4Addr], v6: &[Ipv6Addr], link_local: LinkLocal) -> Authenticator {
    let secret = Secret::new(b"secret").unwrap();
    let v4: BTreeSet<_> = v4.iter().copied().collect();
    Authenticator::new(secret, Vrid::new(42).unwrap(), v4, v6.iter().copied(), link_local)
}

/// In: a virtual host of both families, signed with and without its link-local address, with and without a scope in it.
/// Out: either kind of host understands either kind of packet; the order of addresses and the scope do not matter.
#[test]
fn carp_signs_both_families() {
    let v4 = [Ipv4Addr::new(192, 0, 2, 200), Ipv4Addr::new(192, 0, 2, 3)];
    let v6: [Ipv6Addr; 2] = ["fe80::1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let scoped: [Ipv6Addr; 2] = ["2001:db8::1".parse().unwrap(), "fe80:4::1".parse().unwrap()];
    let openbsd = authenticator(&v4, &v6, LinkLocal::Unsigned);
    let freebsd = authenticator(&[v4[1], v4[0]], &scoped, LinkLocal::Signed);
    let here = header("fe80::2", "ff02::12");
    let digests = [&openbsd, &freebsd].map(|sender| {
        let bytes = sender.encode(&content(5));
        for receiver in [&openbsd, &freebsd] {
            let read = Unverified::decode(&here, TtlRule::OnLink, &bytes).unwrap();
            assert_eq!(receiver.verify(read).map(|packet| packet.into_inner()), Some(content(5)));
        }
        bytes[16..].to_vec()
    });
    assert_ne!(digests[0], digests[1]);
    // One address less is another virtual host.
    let poorer = authenticator(&v4, &v6[..1], LinkLocal::Signed);
    let read = Unverified::decode(&here, TtlRule::OnLink, &openbsd.encode(&content(5))).unwrap();
    assert_eq!(poorer.verify(read), None);
}

/// In: values outside their range. Out: never made.
#[test]
fn values_are_checked_once() {
    assert_eq!(Vrid::new(0), Err(ValueError::Vrid));
    assert_eq!(Priority::new(0), Err(ValueError::Priority));
    assert_eq!(Centiseconds::new(0), Err(ValueError::Centiseconds(0)));
    assert_eq!(Centiseconds::new(4096), Err(ValueError::Centiseconds(4096)));
    assert_eq!(Seconds::new(0), Err(ValueError::Seconds));
    assert_eq!(Addresses::new(&[]), Err(ValueError::AddressCount(0)));
    assert_eq!(Addresses::new(&[ip("192.0.2.1"); 256]), Err(ValueError::AddressCount(256)));
    assert_eq!(Addresses::new(&[ip("192.0.2.1"), ip("::1")]), Err(ValueError::MixedFamilies(ip("::1"))));
    assert_eq!(v2::AuthText::new(b"123456789").unwrap_err(), ValueError::AuthTextLength(9));
    assert_eq!(Secret::new(b"").unwrap_err(), ValueError::SecretLength(0));
    assert_eq!(Secret::new(&[b'x'; 21]).unwrap_err(), ValueError::SecretLength(21));
    assert_eq!(format!("{:?}", Secret::new(b"hush").unwrap()), "Secret(…)");
    assert_eq!(format!("{:?}", v2::AuthText::new(b"hush").unwrap()), "AuthText(…)");
}

/// In: protocol, family, number. Out: the addresses of RFC 9568 §7.3; CARP has one for both families.
#[test]
fn virtual_macs() {
    let mac = |dialect, family| Mac::of_virtual_router(dialect, family, Vrid::new(0x2a).unwrap()).to_string();
    assert_eq!(mac(Dialect::Vrrp3, Family::V4), "00:00:5e:00:01:2a");
    assert_eq!(mac(Dialect::Vrrp3, Family::V6), "00:00:5e:00:02:2a");
    assert_eq!(mac(Dialect::Vrrp2, Family::V4), "00:00:5e:00:01:2a");
    assert_eq!(mac(Dialect::Carp, Family::V4), "00:00:5e:00:01:2a");
    assert_eq!(mac(Dialect::Carp, Family::V6), "00:00:5e:00:01:2a");
}

/// In: an address to announce. Out: the frames, byte by byte.
#[test]
fn announcements() {
    let mac = Mac([0, 0, 0x5e, 0, 1, 42]);
    let arp = frame::gratuitous_arp(mac, Ipv4Addr::new(192, 0, 2, 1), ArpForm::Request);
    let expected =
        "ffffffffffff 00005e00012a 0806 0001 0800 06 04 0001 00005e00012a c0000201 00005e00012a c0000201";
    assert_eq!(hex(&arp), expected.replace(' ', ""));
    let reply = frame::gratuitous_arp(mac, Ipv4Addr::new(192, 0, 2, 1), ArpForm::Reply);
    assert_eq!((reply[21], reply.len()), (2, 42));

    let advert = frame::unsolicited_advertisement(mac, "fe80::1".parse().unwrap());
    let expected = "333300000001 00005e00012a 86dd 60000000 0020 3a ff fe800000000000000000000000000001 \
                    ff020000000000000000000000000001 88 00 7a71 a0000000 fe800000000000000000000000000001 0201 \
                    00005e00012a";
    assert_eq!(hex(&advert), expected.replace(' ', ""));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In: what is not ours. Out: left alone.
#[test]
fn other_frames_are_not_parsed() {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let to = frame::group_mac(Family::V4.group()).unwrap();
    let whole = frame::advertisement(mac, to, Dialect::Vrrp3, &v4_header(), &[1, 2, 3]).unwrap();
    assert_eq!(frame::parse(&whole), Some((v4_header(), &[1, 2, 3][..])));
    // A tail after the IP length is padding of the line.
    assert_eq!(frame::parse(&[&whole[..], &[0; 9]].concat()), Some((v4_header(), &[1, 2, 3][..])));
    for (at, byte) in [(12, 0x86), (14, 0x65), (14, 0x41), (17, 0xff), (20, 0x20), (23, 17), (24, 0)] {
        let mut other = whole.clone();
        other[at] = byte;
        assert_eq!(frame::parse(&other), None, "byte {at}");
    }
    assert_eq!(frame::parse(&frame::gratuitous_arp(mac, Ipv4Addr::LOCALHOST, ArpForm::Reply)), None);
    assert_eq!(frame::group_mac(ip("192.0.2.1")), None);
}

fn any_vrid() -> impl Strategy<Value = Vrid> {
    (1..=255u8).prop_map(|vrid| Vrid::new(vrid).unwrap())
}

fn any_header(v6: bool) -> BoxedStrategy<IpHeader> {
    let make = |source, destination| IpHeader { source, destination, ttl: 255 };
    if v6 {
        any::<[Ipv6Addr; 2]>().prop_map(move |[a, b]| make(a.into(), b.into())).boxed()
    } else {
        any::<[Ipv4Addr; 2]>().prop_map(move |[a, b]| make(a.into(), b.into())).boxed()
    }
}

prop_compose! {
    fn any_v3()(v6 in any::<bool>())(
        header in any_header(v6),
        vrid in any_vrid(),
        standing in any::<u8>(),
        interval in 1..=Centiseconds::MAX,
        addresses in if v6 {
            vec(any::<Ipv6Addr>().prop_map(IpAddr::V6), 1..=255).boxed()
        } else {
            vec(any::<Ipv4Addr>().prop_map(IpAddr::V4), 1..=255).boxed()
        },
    ) -> (IpHeader, v3::Advertisement) {
        let advert = v3::Advertisement {
            vrid,
            standing: Standing::from_wire(standing),
            interval: Centiseconds::new(interval).unwrap(),
            addresses: Addresses::new(&addresses).unwrap(),
        };
        (header, advert)
    }
}

prop_compose! {
    fn any_v2()(
        vrid in any_vrid(),
        standing in any::<u8>(),
        interval in 1..=255u8,
        text in vec(any::<u8>(), 0..=8),
        addresses in vec(any::<Ipv4Addr>().prop_map(IpAddr::V4), 1..=255),
    ) -> v2::Advertisement {
        v2::Advertisement {
            vrid,
            standing: Standing::from_wire(standing),
            interval: Seconds::new(interval).unwrap(),
            auth: v2::AuthText::new(&text).map_or(v2::Auth::None, v2::Auth::Text),
            addresses: Addresses::new(&addresses).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In: any advertisement of version 3, in either form. Out: itself, and a flipped bit never passes in that form.
    #[test]
    fn version_3_comes_back((header, advert) in any_v3(), pseudo in any::<bool>(), bit in any::<prop::sample::Index>()) {
        let form = if pseudo { ChecksumForm::PseudoHeader } else { ChecksumForm::MessageOnly };
        let mut bytes = advert.encode(header.source, header.destination, form);
        let (again, found) = v3::Advertisement::decode(&header, TtlRule::OnLink, &bytes).unwrap();
        prop_assert_eq!(again, advert);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A flip can make the other form right, if the pseudo-header happens to sum to a power of two.
        if let Ok((_, other)) = v3::Advertisement::decode(&header, TtlRule::OnLink, &bytes) {
            prop_assert_ne!(other, found);
        }
    }

    /// In: any advertisement of version 2. Out: itself, and a flipped bit is refused.
    #[test]
    fn version_2_comes_back(advert in any_v2(), bit in any::<prop::sample::Index>()) {
        let mut bytes = advert.encode();
        prop_assert_eq!(v2::Advertisement::decode(&v4_header(), TtlRule::OnLink, &bytes).unwrap(), advert);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(v2::Advertisement::decode(&v4_header(), TtlRule::OnLink, &bytes).is_err());
    }

    /// In: any CARP advertisement for any addresses. Out: itself, genuine; not for another password.
    #[test]
    fn carp_comes_back(
        vhid in any_vrid(), base in any::<u8>(), skew in any::<u8>(), demotion in any::<u8>(), counter in any::<u64>(),
        password in vec(any::<u8>(), 1..=20), v4 in btree_set(any::<Ipv4Addr>(), 0..5),
        v6 in btree_set(any::<Ipv6Addr>(), 0..5), signed in any::<bool>(), bit in 0..carp::LEN * 8,
    ) {
        let link_local = if signed { LinkLocal::Signed } else { LinkLocal::Unsigned };
        let make = |password: &[u8]| {
            let secret = Secret::new(password).unwrap();
            Authenticator::new(secret, vhid, v4.clone(), v6.iter().copied(), link_local)
        };
        let ours = make(&password);
        let content = carp::Advertisement { vhid, pace: Pace { base, skew }, demotion, counter };
        let mut bytes = ours.encode(&content);
        let read = Unverified::decode(&v4_header(), TtlRule::OnLink, &bytes).unwrap();
        prop_assert_eq!(ours.verify(read).map(|packet| packet.into_inner()), Some(content));
        let mut other = password.clone();
        other[0] ^= 1;
        prop_assert_eq!(make(&other).verify(read), None);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Unverified::decode(&v4_header(), TtlRule::OnLink, &bytes).is_err());
    }

    /// In: any bytes, also behind a plausible head. Out: an answer from every decoder, no panic.
    #[test]
    fn no_bytes_are_too_strange(mut bytes in vec(any::<u8>(), 0..300), head in any::<Option<[u8; 4]>>(), v6 in any::<bool>()) {
        if let (Some(head), Some(start)) = (head, bytes.first_chunk_mut()) {
            *start = [[0x21, 0x31][usize::from(head[0] & 1)], head[1], head[2], head[3] & 7];
        }
        let header = if v6 { header("fe80::2", "ff02::12") } else { v4_header() };
        let _ = peek(&bytes);
        let _ = v2::Advertisement::decode(&header, TtlRule::OnLink, &bytes);
        let _ = v3::Advertisement::decode(&header, TtlRule::OnLink, &bytes);
        let _ = Unverified::decode(&header, TtlRule::OnLink, &bytes);
        let _ = frame::parse(&bytes);
    }

    /// In: any payload in any header. Out: the frame is read back as it was written.
    #[test]
    fn frames_come_back(v6 in any::<bool>(), octets in any::<[u8; 32]>(), payload in vec(any::<u8>(), 0..200)) {
        let (source, destination): (IpAddr, IpAddr) = if v6 {
            let half = |at: usize| <[u8; 16]>::try_from(&octets[at..at + 16]).unwrap();
            (half(0).into(), half(16).into())
        } else {
            let quarter = |at: usize| <[u8; 4]>::try_from(&octets[at..at + 4]).unwrap();
            (quarter(0).into(), quarter(4).into())
        };
        let header = IpHeader { source, destination, ttl: octets[31] };
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let bytes = frame::advertisement(mac, mac, Dialect::Carp, &header, &payload).unwrap();
        prop_assert_eq!(frame::parse(&bytes), Some((header, &payload[..])));
    }
}
