//! What is looked at in the packets inside the tunnel: whose they are, and how long a TCP segment may be.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::OVERHEAD;
use super::segment::{address_bytes, checksum, get16, ip4, ip6, put, tcp};

/// Longest datagram with a TCP segment in it, IP header included: 1500 of Ethernet less 8 of PPPoE.
const LONGEST: u16 = 1492;
const UDP_HEADER: u16 = 8;
/// Kind of the option with the maximum segment size (RFC 9293 §3.2), and its length.
const MSS_KIND: u8 = 2;
const MSS_LEN: u8 = 4;

/// Source and destination; `None` if it is no IP packet.
pub fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (bytes, version) = address_bytes(packet)?;
    match version {
        4 => {
            let (from, to) = bytes.split_first_chunk::<4>()?;
            Some((IpAddr::from(*from), IpAddr::from(*to.first_chunk::<4>()?)))
        }
        _ => {
            let (from, to) = bytes.split_first_chunk::<16>()?;
            Some((IpAddr::from(*from), IpAddr::from(*to.first_chunk::<16>()?)))
        }
    }
}

/// Whether a packet from a client has a source that is the client's: its own addresses and the networks behind it.
pub fn is_own(packet: &[u8], own: &[IpNet]) -> bool {
    addresses(packet).is_some_and(|(from, _)| own.iter().any(|net| net.contains(&from)))
}

/// The longest inner packet with a TCP segment in it that leaves no datagram longer than 1492 bytes on the way to `outer`.
pub fn longest_tcp(outer: &SocketAddr) -> u16 {
    let ip = match outer {
        SocketAddr::V4(_) => ip4::HEADER,
        SocketAddr::V6(to) if to.ip().to_ipv4_mapped().is_some() => ip4::HEADER,
        SocketAddr::V6(_) => ip6::HEADER,
    };
    LONGEST - UDP_HEADER - (ip + OVERHEAD) as u16
}

/// Lowers the maximum segment size that a SYN announces, so that no packet is longer than `longest`.
pub fn clamp_mss(packet: &mut [u8], longest: u16) {
    let Some(start) = syn_at(packet) else { return };
    let Some(end) = packet.get(start + tcp::OFFSET).map(|b| start + usize::from(b >> 4) * 4) else { return };
    let Some(options) = packet.get(start + tcp::HEADER..end) else { return };
    let Some(at) = mss_option(options).map(|at| start + tcp::HEADER + at) else { return };
    let header = if packet.first().is_some_and(|first| first >> 4 == 4) { ip4::HEADER } else { ip6::HEADER };
    let most = longest.saturating_sub((header + tcp::HEADER) as u16);
    let Some(announced) = get16(packet, at).filter(|announced| *announced > most) else { return };
    put(packet, at, most.to_be_bytes());
    // The option may begin anywhere; at an odd place its two bytes belong to two different words of the sum, which
    // comes to the same as the bytes in the other order.
    let order = |bytes: [u8; 2]| match (at - start) % 2 {
        0 => bytes,
        _ => [bytes[1], bytes[0]],
    };
    let Some(sum) = get16(packet, start + tcp::CHECKSUM) else { return };
    let (old, new) = (order(announced.to_be_bytes()), order(most.to_be_bytes()));
    put(packet, start + tcp::CHECKSUM, checksum::updated(sum.to_be_bytes(), old, new));
}

/// Where TCP begins in the first fragment of a SYN.
fn syn_at(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let start = match first >> 4 {
        4 if packet.get(ip4::PROTOCOL) == Some(&tcp::PROTOCOL)
            && get16(packet, ip4::FRAGMENT)? & 0x1fff == 0 =>
        {
            usize::from(first & 15) * 4
        }
        6 if packet.get(ip6::NEXT) == Some(&tcp::PROTOCOL) => ip6::HEADER,
        _ => return None,
    };
    (packet.get(start + tcp::FLAGS)? & tcp::SYN != 0).then_some(start)
}

/// Where the value of the option stands.
fn mss_option(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    // At most 40 bytes, and every step is one at least.
    loop {
        match (*options.get(at)?, options.get(at + 1)) {
            (0, _) => return None,
            (1, _) => at += 1,
            (MSS_KIND, Some(&MSS_LEN)) if at + 4 <= options.len() => return Some(at + 2),
            (_, Some(&length @ 2..)) => at += usize::from(length),
            (_, Some(_) | None) => return None,
        }
    }
}

#[cfg(test)]
mod tests;
