//! Cutting the kernel's super-packets into inner packets, and joining inner packets into super-packets.
//!
//! The kernel hands a TUN device with offloads up to 64 KiB in one read, and takes as much in one write: one TCP segment
//! with a header ([`virtio`]) that says how it is to be cut. Thus the way through its stack is paid once for forty packets.
//! [`cut`] writes the packets to where they are sealed; [`join`] names the pieces that one write gathers. A payload is
//! moved once at most.
//!
//! Sizes, offsets and checksums come from the kernel on one side and from an authenticated client on the other; neither
//! is believed.

pub mod checksum;
pub mod cut;
pub mod join;
pub mod row;
pub mod virtio;

#[cfg(test)]
mod tests;

/// Places in an IPv4 header.
pub(crate) mod ip4 {
    pub const HEADER: usize = 20;
    pub const LENGTH: usize = 2;
    pub const ID: usize = 4;
    pub const FRAGMENT: usize = 6;
    pub const PROTOCOL: usize = 9;
    pub const CHECKSUM: usize = 10;
    pub const SOURCE: usize = 12;
}

/// Places in an IPv6 header.
pub(crate) mod ip6 {
    pub const HEADER: usize = 40;
    pub const LENGTH: usize = 4;
    pub const NEXT: usize = 6;
    pub const SOURCE: usize = 8;
}

/// Places and flags in a TCP header.
pub(crate) mod tcp {
    pub const PROTOCOL: u8 = 6;
    pub const HEADER: usize = 20;
    pub const SEQUENCE: usize = 4;
    pub const OFFSET: usize = 12;
    pub const FLAGS: usize = 13;
    pub const CHECKSUM: usize = 16;
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const CWR: u8 = 0x80;
}

/// Places in a UDP header.
pub(crate) mod udp {
    pub const PROTOCOL: u8 = 17;
    pub const HEADER: usize = 8;
    pub const LENGTH: usize = 4;
    pub const CHECKSUM: usize = 6;
}

/// The two bytes at `at`.
pub(crate) fn get16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The four bytes at `at`.
pub(crate) fn get32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Writes `value` at `at`, if it is within `bytes`.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}

/// The addresses of an IP packet's header as bytes, source then destination, and the number of its version.
pub(crate) fn address_bytes(packet: &[u8]) -> Option<(&[u8], u8)> {
    match packet.first()? >> 4 {
        4 => Some((packet.get(ip4::SOURCE..ip4::HEADER)?, 4)),
        6 => Some((packet.get(ip6::SOURCE..ip6::HEADER)?, 6)),
        _ => None,
    }
}
