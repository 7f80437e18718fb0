//! Whole Ethernet frames, for a driver that keeps a packet socket on the parent interface: what advertises, announces
//! and receives without depending on where the virtual addresses are.
//!
//! Owns Ethernet without tags, IPv4, IPv6 without extension headers, gratuitous ARP and unsolicited neighbour
//! advertisements. Fragments and everything else are not ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{PROTOCOL, checksum};
use crate::types::{Dialect, IpHeader, Mac};

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_ARP: u16 = 0x0806;
const TYPE_IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
/// Class selector 6, network control: what keepalived sends with.
const TRAFFIC_CLASS_VRRP: u8 = 0xc0;
/// "Low delay": what the BSDs and ucarp send with.
const TRAFFIC_CLASS_CARP: u8 = 0x10;
const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;
/// What a sender must put there (RFC 9568 §5.1.1.3, §5.1.2.3; RFC 4861 §7.1.2).
pub const TTL: u8 = 255;

/// The part of a received frame that is for this crate: header facts and the bytes after the IP header.
///
/// `None`: another protocol, a fragment, cut short, or with a wrong IPv4 header checksum.
pub fn parse(frame: &[u8]) -> Option<(IpHeader, &[u8])> {
    let kind = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    let packet = frame.get(ETHERNET_LEN..)?;
    match kind {
        TYPE_IPV4 => parse_ipv4(packet),
        TYPE_IPV6 => parse_ipv6(packet),
        _ => None,
    }
}

fn parse_ipv4(packet: &[u8]) -> Option<(IpHeader, &[u8])> {
    let head: &[u8; IPV4_LEN] = packet.first_chunk()?;
    let header_len = usize::from(head[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let fragment = u16::from_be_bytes([head[6], head[7]]) & FRAGMENT;
    if head[0] >> 4 != 4 || header_len < IPV4_LEN || fragment != 0 || head[9] != PROTOCOL {
        return None;
    }
    if checksum::message_only(packet.get(..header_len)?) != 0 {
        return None;
    }
    let [.., a, b, c, d, e, f, g, h] = *head;
    let header = IpHeader {
        source: Ipv4Addr::new(a, b, c, d).into(),
        destination: Ipv4Addr::new(e, f, g, h).into(),
        ttl: head[8],
    };
    Some((header, packet.get(header_len..total)?))
}

fn parse_ipv6(packet: &[u8]) -> Option<(IpHeader, &[u8])> {
    let head: &[u8; IPV6_LEN] = packet.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    if head[0] >> 4 != 6 || head[6] != PROTOCOL {
        return None;
    }
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&head[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let header = IpHeader { source: address(8), destination: address(24), ttl: head[7] };
    Some((header, packet.get(IPV6_LEN..)?.get(..length)?))
}

/// An advertisement as a frame from the virtual router's address `from` (RFC 9568 §7.2) to `to`.
///
/// `None` when source and destination are of different families.
pub fn advertisement(
    from: Mac,
    to: Mac,
    dialect: Dialect,
    header: &IpHeader,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let (class, fragment) = match dialect {
        Dialect::Vrrp2 | Dialect::Vrrp3 => (TRAFFIC_CLASS_VRRP, 0),
        Dialect::Carp => (TRAFFIC_CLASS_CARP, DONT_FRAGMENT),
    };
    match (header.source, header.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut frame = ethernet(to, from, TYPE_IPV4);
            let total = u16::try_from(IPV4_LEN + payload.len()).ok()?;
            frame.extend([0x45, class]);
            frame.extend(total.to_be_bytes());
            frame.extend([0, 0]);
            frame.extend(u16::to_be_bytes(fragment));
            frame.extend([header.ttl, PROTOCOL, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
            let sum = checksum::message_only(&frame[ETHERNET_LEN..]);
            frame[ETHERNET_LEN + 10..ETHERNET_LEN + 12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(payload);
            Some(frame)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut frame = ethernet(to, from, TYPE_IPV6);
            ipv6(&mut frame, class, payload.len(), PROTOCOL, header.ttl, source, destination)?;
            frame.extend(payload);
            Some(frame)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// The Ethernet address of a multicast group (RFC 1112 §6.4, RFC 2464 §7); `None` for a unicast address.
pub fn group_mac(group: IpAddr) -> Option<Mac> {
    match group {
        IpAddr::V4(group) if group.is_multicast() => {
            let [_, b, c, d] = group.octets();
            Some(Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(group) if group.is_multicast() => {
            let [.., a, b, c, d] = group.octets();
            Some(Mac([0x33, 0x33, a, b, c, d]))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// The two ways of announcing an IPv4 address (RFC 5227 §3); some neighbours hear only one of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ArpForm {
    /// Operation 1, what RFC 9568 §6.4.2 and most neighbours expect.
    Request,
    /// Operation 2.
    Reply,
}

/// A gratuitous ARP: `address` is at `mac` (RFC 9568 §6.4.2, erratum 7949).
pub fn gratuitous_arp(mac: Mac, address: Ipv4Addr, form: ArpForm) -> Vec<u8> {
    const ETHERNET: [u8; 2] = [0, 1];
    let mut frame = ethernet(Mac([0xff; 6]), mac, TYPE_ARP);
    frame.extend(ETHERNET);
    frame.extend(TYPE_IPV4.to_be_bytes());
    frame.extend([6, 4, 0, if form == ArpForm::Request { 1 } else { 2 }]);
    frame.extend(mac.0);
    frame.extend(address.octets());
    // RFC 5227 leaves the target's hardware address open in a request; erratum 7949 of RFC 9568 wants it to be ours.
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame
}

/// An unsolicited neighbour advertisement: `address` is at `mac`; router and override set, solicited clear
/// (RFC 9568 §6.4.2, RFC 4861 §7.2.6).
pub fn unsolicited_advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ROUTER_OVERRIDE: u8 = 0xa0;
    const TARGET_LINK_LAYER: [u8; 2] = [2, 1];
    let mut message = vec![136, 0, 0, 0, ROUTER_OVERRIDE, 0, 0, 0];
    message.extend(address.octets());
    message.extend(TARGET_LINK_LAYER);
    message.extend(mac.0);
    let sum = checksum::with_pseudo_header(address.into(), ALL_NODES.into(), ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet(Mac([0x33, 0x33, 0, 0, 0, 1]), mac, TYPE_IPV6);
    // A message of 32 bytes fits any length field.
    let _ = ipv6(&mut frame, 0, message.len(), ICMPV6, TTL, address, ALL_NODES);
    frame.extend(message);
    frame
}

fn ethernet(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_LEN + IPV6_LEN + 64);
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(kind.to_be_bytes());
    frame
}

fn ipv6(
    frame: &mut Vec<u8>,
    class: u8,
    length: usize,
    next: u8,
    hop_limit: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> Option<()> {
    let length = u16::try_from(length).ok()?;
    frame.extend([0x60 | class >> 4, class << 4, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([next, hop_limit]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    Some(())
}
