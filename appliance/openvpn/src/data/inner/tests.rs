use proptest::prelude::*;

use super::*;
use crate::data::segment::checksum::Sum;

/// A SYN with these options, complete.
fn syn(v6: bool, flags: u8, options: &[u8]) -> Vec<u8> {
    let length = 20 + options.len();
    let mut out = if v6 {
        let mut ip = vec![0x60, 0, 0, 0, 0, length as u8, 6, 64];
        ip.extend([0x20; 16].into_iter().chain([0xfd; 16]));
        ip
    } else {
        vec![0x45, 0, 0, 20 + length as u8, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 10, 8, 0, 2]
    };
    let start = out.len();
    out.extend([0, 80, 1, 187, 0, 0, 0, 9, 0, 0, 0, 0, (length / 4 * 16) as u8, flags, 255, 255, 0, 0, 0, 0]);
    out.extend(options);
    let sum = transport_sum(&out, start).complete();
    put(&mut out, start + tcp::CHECKSUM, sum);
    out
}

fn transport_sum(packet: &[u8], start: usize) -> Sum {
    Sum::default().pseudo(address_bytes(packet).unwrap().0, 6, packet.len() - start).bytes(&packet[start..])
}

/// The outer family and the inner one decide; an even and an odd place of the option come to the same.
#[test]
fn a_syn_announces_no_more_than_fits() {
    let v4: SocketAddr = "192.0.2.1:1194".parse().unwrap();
    let v6: SocketAddr = "[2001:db8::1]:1194".parse().unwrap();
    let mapped: SocketAddr = "[::ffff:192.0.2.1]:1194".parse().unwrap();
    assert_eq!([v4, v6, mapped].map(|outer| longest_tcp(&outer)), [1440, 1420, 1440]);
    for (inner6, outer, wanted) in [(false, v4, 1400), (true, v4, 1380), (false, v6, 1380), (true, v6, 1360)]
    {
        for options in [&[2, 4, 5, 0xb4][..], &[1, 2, 4, 5, 0xb4, 0, 0, 0], &[1, 1, 2, 4, 5, 0xb4, 1, 1]] {
            let mut packet = syn(inner6, tcp::SYN, options);
            let start = packet.len() - 20 - options.len();
            clamp_mss(&mut packet, longest_tcp(&outer));
            let at = start + 20 + mss_option(options).unwrap();
            assert_eq!(get16(&packet, at), Some(wanted), "{inner6} {outer} {options:?}");
            assert!(transport_sum(&packet, start).is_sound());
        }
    }
}

#[test]
fn what_needs_no_change_gets_none() {
    for packet in [
        syn(false, tcp::SYN, &[2, 4, 4, 0]),
        syn(false, tcp::ACK, &[2, 4, 5, 0xb4]),
        syn(true, tcp::SYN, &[3, 3, 7, 0]),
        syn(true, tcp::SYN, &[2, 3, 5, 0]),
        syn(true, tcp::SYN, &[0, 2, 4, 5, 0xb4, 0, 0, 0]),
    ] {
        let mut clamped = packet.clone();
        clamp_mss(&mut clamped, 1440);
        assert_eq!(clamped, packet);
    }
}

#[test]
fn a_source_is_the_clients_or_not() {
    let own: Vec<IpNet> =
        ["10.8.0.2/32", "10.99.0.0/24", "fd00::2/128"].map(|net| net.parse().unwrap()).into();
    let mut v4 = vec![0x45; 20];
    for (source, is) in
        [([10, 8, 0, 2], true), ([10, 8, 0, 3], false), ([10, 99, 0, 7], true), ([0; 4], false)]
    {
        put(&mut v4, 12, source);
        assert_eq!(is_own(&v4, &own), is, "{source:?}");
    }
    let mut v6 = vec![0x60; 40];
    let addresses: [std::net::Ipv6Addr; 3] = ["fd00::2", "fd00::3", "fe80::1"].map(|a| a.parse().unwrap());
    for (address, is) in addresses.into_iter().zip([true, false, false]) {
        put(&mut v6, 8, address.octets());
        assert_eq!(is_own(&v6, &own), is, "{address}");
    }
    assert!(!is_own(&v6[..39], &own) && !is_own(&[], &own) && !is_own(&[0; 40], &own));
}

proptest! {
    /// Any bytes: no panic, no other length, and nothing but the option and the checksum changes.
    #[test]
    fn clamping_survives_nonsense(bytes in proptest::collection::vec(any::<u8>(), 0..100), v6: bool, limit: u16) {
        let mut packet = bytes;
        if let Some(first) = packet.first_mut() {
            *first = if v6 { 0x60 } else { 0x45 };
        }
        put(&mut packet, if v6 { 6 } else { 9 }, [6]);
        let before = packet.clone();
        clamp_mss(&mut packet, limit);
        let changed = before.iter().zip(&packet).filter(|(a, b)| a != b).count();
        prop_assert!(changed <= 4);
        let _ = addresses(&packet);
    }
}
