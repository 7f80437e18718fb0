//! Packets as bytes: enough of IPv4, IPv6, TCP, UDP and ICMP to send one packet and to know it again, whatever
//! became of it: forwarded, translated, or quoted in an answer.
//!
//! Every packet carries a number. It is the sequence number of a TCP segment and stands in the payload of
//! everything else, so that translation does not hide it and an ICMP error quotes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rempart_config::model::{ICMP, ICMP6, TCP, UDP};
use rempart_plan::eval::Packet;

/// UDP-Lite (RFC 3828), which has the checksum coverage where UDP has the length.
const UDP_LITE: u8 = 136;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What came out of a device, as far as it is of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The number of the packet that it is, or that it answers.
    pub number: u32,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Source port, or 0.
    pub source_port: u16,
    /// Destination port, ICMP type, or 0.
    pub port: u16,
    /// What it is.
    pub kind: Kind,
}

/// What a packet that came out is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The packet itself.
    Original,
    /// A TCP reset.
    Reset,
    /// An answer of the host, to an echo.
    Reply,
    /// An ICMP error: refused by policy.
    Prohibited,
    /// Another ICMP error: type and code.
    Error(u8, u8),
}

/// The bytes of `packet` with this number. For ICMP the identifier is its source port.
pub fn build(packet: &Packet, number: u32) -> Vec<u8> {
    let body = body(packet, number);
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => v4(packet, source, destination, &body),
        (IpAddr::V6(source), IpAddr::V6(destination)) => v6(packet, source, destination, &body),
        // Packets of two families are not made.
        _ => Vec::new(),
    }
}

fn body(packet: &Packet, number: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    let ports = |out: &mut Vec<u8>| {
        out.extend(packet.source_port.to_be_bytes());
        out.extend(packet.port.to_be_bytes());
    };
    let checksum_at = match packet.protocol {
        TCP => {
            ports(&mut out);
            out.extend(number.to_be_bytes());
            out.extend([0, 0, 0, 0, 5 << 4, SYN, 0x40, 0, 0, 0, 0, 0]);
            16
        }
        UDP => {
            ports(&mut out);
            out.extend([0, 12, 0, 0]);
            out.extend(number.to_be_bytes());
            6
        }
        UDP_LITE => {
            // The checksum covers the header alone.
            ports(&mut out);
            out.extend([0, 8, 0, 0]);
            let sum = nonzero(fold(pseudo(packet, 12) + sum(&out)));
            out[6..8].copy_from_slice(&sum.to_be_bytes());
            out.extend(number.to_be_bytes());
            return out;
        }
        ICMP | ICMP6 => {
            out.extend([packet.port as u8, 0, 0, 0]);
            out.extend(packet.source_port.to_be_bytes());
            out.extend([0, 1]);
            out.extend(number.to_be_bytes());
            // Neighbour discovery has an address here; a timestamp two more stamps (RFC 792).
            out.extend([0; 12]);
            2
        }
        _ => {
            // Eight bytes that are a GRE header (version 0, IPv4) to whoever looks for one.
            out.extend([0, 0, 8, 0, 0, 0, 0, 0]);
            out.extend(number.to_be_bytes());
            return out;
        }
    };
    let pseudo = if packet.protocol == ICMP { 0 } else { pseudo(packet, out.len()) };
    let sum = fold(pseudo + sum(&out));
    let sum = if packet.protocol == UDP { nonzero(sum) } else { sum };
    out[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
    out
}

fn v4(packet: &Packet, source: Ipv4Addr, destination: Ipv4Addr, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 0];
    out.extend(((20 + body.len()) as u16).to_be_bytes());
    out.extend([0, 0, 0, 0, 64, packet.protocol, 0, 0]);
    out.extend(source.octets());
    out.extend(destination.octets());
    let sum = fold(sum(&out));
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend(body);
    out
}

fn v6(packet: &Packet, source: Ipv6Addr, destination: Ipv6Addr, body: &[u8]) -> Vec<u8> {
    // Hop limit 255, which neighbour discovery wants (RFC 4861 §7.1).
    let mut out = vec![0x60, 0, 0, 0];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend([packet.protocol, 255]);
    out.extend(source.octets());
    out.extend(destination.octets());
    out.extend(body);
    out
}

fn pseudo(packet: &Packet, length: usize) -> u32 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    sum(&octets(packet.source))
        + sum(&octets(packet.destination))
        + u32::from(packet.protocol)
        + length as u32
}

fn sum(bytes: &[u8]) -> u32 {
    let word = |c: &[u8]| u32::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)]));
    bytes.chunks(2).map(word).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A checksum of zero means that there is none (RFC 768).
fn nonzero(sum: u16) -> u16 {
    if sum == 0 { u16::MAX } else { sum }
}

/// Reads what came out of a device. `None` for what is none of ours: the kernel's own neighbour discovery.
pub fn read(bytes: &[u8]) -> Option<Seen> {
    let (source, destination, protocol, rest) = header(bytes)?;
    let mut seen =
        Seen { number: 0, source, destination, protocol, source_port: 0, port: 0, kind: Kind::Original };
    let at = |offset: usize| rest.get(offset..offset + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    match protocol {
        TCP => {
            (seen.source_port, seen.port) = (at(0)?, at(2)?);
            let flags = *rest.get(13)?;
            if flags & RST != 0 {
                seen.kind = Kind::Reset;
                seen.number = word(rest, 8)?.wrapping_sub(1);
            } else if flags == SYN {
                seen.number = word(rest, 4)?;
            } else {
                debug_assert!(flags & ACK != 0);
                seen.kind = Kind::Reply;
                seen.number = word(rest, 8)?.wrapping_sub(1);
            }
        }
        UDP | UDP_LITE => {
            (seen.source_port, seen.port) = (at(0)?, at(2)?);
            seen.number = word(rest, 8)?;
        }
        ICMP | ICMP6 => {
            let (kind, code) = (*rest.first()?, *rest.get(1)?);
            seen.port = kind.into();
            let error = if protocol == ICMP { matches!(kind, 3 | 5 | 11 | 12) } else { kind < 128 };
            if let Some(inner) = error.then(|| rest.get(8..).and_then(read)).flatten() {
                let prohibited = if protocol == ICMP { (3, 13) } else { (1, 1) };
                seen.kind =
                    if (kind, code) == prohibited { Kind::Prohibited } else { Kind::Error(kind, code) };
                seen.number = inner.number;
            } else {
                seen.source_port = at(4)?;
                seen.number = word(rest, 8)?;
                let replies: [u8; 4] = if protocol == ICMP { [0, 14, 16, 18] } else { [129, 129, 129, 129] };
                if replies.contains(&kind) {
                    seen.kind = Kind::Reply;
                }
            }
        }
        _ => seen.number = word(rest, 8)?,
    }
    Some(seen)
}

/// Where a packet goes.
pub fn destination(bytes: &[u8]) -> Option<IpAddr> {
    header(bytes).map(|(_, destination, ..)| destination)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

fn header(bytes: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match bytes.first()? >> 4 {
        4 => {
            let address = |at: usize| word(bytes, at).map(|w| IpAddr::V4(w.into()));
            let length = usize::from(bytes[0] & 0xf) * 4;
            Some((address(12)?, address(16)?, *bytes.get(9)?, bytes.get(length..)?))
        }
        6 => {
            let address = |at: usize| {
                let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
                Some(IpAddr::V6(octets.into()))
            };
            Some((address(8)?, address(24)?, *bytes.get(6)?, bytes.get(40..)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rempart_plan::eval::Arrival;

    /// A packet of each protocol in both families: what is built reads back as the original, with its number.
    #[test]
    fn what_is_built_reads_back() {
        for (source, destination) in [("192.0.2.1", "192.0.2.2"), ("fd00::1", "fd00::2")] {
            for protocol in [TCP, UDP, UDP_LITE, ICMP, ICMP6, 47, 50] {
                let icmp = protocol == ICMP || protocol == ICMP6;
                let port = if protocol == ICMP6 { 128 } else { 8 };
                let packet = Packet {
                    arrival: Arrival::Local,
                    source: source.parse().expect("address"),
                    destination: destination.parse().expect("address"),
                    protocol,
                    source_port: 4711,
                    port: if icmp { port } else { 443 },
                };
                let seen = read(&build(&packet, 0xdead_beef)).expect("readable");
                assert_eq!((seen.number, seen.kind), (0xdead_beef, Kind::Original), "protocol {protocol}");
                assert_eq!((seen.source, seen.destination), (packet.source, packet.destination));
            }
        }
    }
}
