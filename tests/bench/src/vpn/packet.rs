//! Packets that no socket makes: RFC 791 §3.1, RFC 768 and RFC 792.

use std::net::{Ipv4Addr, SocketAddrV4};

const HEADER: usize = 20;
const ICMP: u8 = 1;
const UDP: u8 = 17;
/// The length of an echo, and of what asks for it.
pub const ECHO: usize = HEADER + 8;

/// A datagram without a checksum, which UDP over IPv4 may be.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    let head = [from.port(), to.port(), length, 0].map(u16::to_be_bytes);
    ipv4(UDP, *from.ip(), *to.ip(), &[head.as_flattened(), data].concat())
}

/// An echo request with nothing in it.
pub fn echo(from: Ipv4Addr, to: Ipv4Addr, identifier: u16, sequence: u16) -> Vec<u8> {
    let words = [0x0800, 0, identifier, sequence];
    let sum = checksum(words.map(u16::to_be_bytes).as_flattened());
    ipv4(ICMP, from, to, [0x0800, sum, identifier, sequence].map(u16::to_be_bytes).as_flattened())
}

fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    out[2..4].copy_from_slice(&((HEADER + payload.len()) as u16).to_be_bytes());
    out.extend(from.octets());
    out.extend(to.octets());
    let sum = checksum(&out);
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// RFC 1071 §1, of an even number of bytes, fewer than 128 KiB.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
