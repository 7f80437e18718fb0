//! The internet checksum (RFC 1071) and the two forms that VRRPv3 over IPv4 has in the wild.

use std::net::IpAddr;

use super::PROTOCOL;

/// What a VRRPv3 checksum covers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChecksumForm {
    /// The message alone: RFC 9568 §5.2.8 for IPv4.
    MessageOnly,
    /// Message and pseudo-header: always in IPv6; in IPv4 how keepalived and FRR read RFC 5798.
    PseudoHeader,
}

/// Sum in one's complement, not yet inverted. An odd last byte counts as the high half of a word.
fn sum(start: u32, bytes: &[u8]) -> u32 {
    let mut words = bytes.chunks_exact(2);
    let mut total = start;
    for word in &mut words {
        total += u32::from(u16::from_be_bytes([word[0], word[1]]));
        total = (total & 0xffff) + (total >> 16);
    }
    if let [last] = words.remainder() {
        total += u32::from(*last) << 8;
    }
    (total & 0xffff) + (total >> 16)
}

fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u32 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => sum(sum(0, &source.octets()), &destination.octets()),
        (IpAddr::V6(source), IpAddr::V6(destination)) => sum(sum(0, &source.octets()), &destination.octets()),
        // Decoders refuse a header of two families, and electors hold their own to one.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    };
    // The largest message is 8 + 255 × 16 bytes, so the length fits its low 16 bits in both families.
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    sum(sum(addresses, &[0, protocol]), &length)
}

fn finish(total: u32) -> u16 {
    !u16::try_from((total & 0xffff) + (total >> 16)).unwrap_or(0)
}

/// The checksum of `message`, whose own checksum field is still zero.
pub(super) fn message_only(message: &[u8]) -> u16 {
    finish(sum(0, message))
}

/// The same with the pseudo-header of RFC 8200 §8.1, or of RFC 793 for IPv4.
pub(super) fn with_pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, message: &[u8]) -> u16 {
    finish(sum(pseudo_header(source, destination, protocol, message.len()), message))
}

/// The form in which the checksum inside `message` is right, if any.
///
/// Where the pseudo-header happens to sum to nothing both are right, and the RFC's is named.
pub(super) fn form_of(source: IpAddr, destination: IpAddr, message: &[u8]) -> Option<ChecksumForm> {
    let plain = message_only(message) == 0;
    let pseudo = with_pseudo_header(source, destination, PROTOCOL, message) == 0;
    match (source, plain, pseudo) {
        (IpAddr::V4(_), true, _) => Some(ChecksumForm::MessageOnly),
        (IpAddr::V4(_) | IpAddr::V6(_), _, true) => Some(ChecksumForm::PseudoHeader),
        (IpAddr::V4(_), false, false) | (IpAddr::V6(_), _, false) => None,
    }
}
