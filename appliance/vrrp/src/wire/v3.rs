//! VRRP version 3 (RFC 9568 §5).
//!
//! ```text
//!  0                   1                   2                   3
//! +-------+-------+---------------+---------------+---------------+
//! |   3   |   1   |     VRID      |   Priority    | Address count |
//! +-------+-------+---------------+---------------+---------------+
//! |reserve|  interval, 12 bit, cs |           Checksum            |
//! +-------+-----------------------+-------------------------------+
//! |            addresses, 4 or 16 bytes each                      |
//! +---------------------------------------------------------------+
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{self, ChecksumForm};
use super::{ADVERTISEMENT, DecodeError, PROTOCOL, check_head};
use crate::types::{Addresses, Centiseconds, Family, IpHeader, Standing, TtlRule, Vrid};

/// Bytes before the addresses.
pub const HEADER_LEN: usize = 8;
const VERSION: u8 = 3;

/// An advertisement of VRRPv3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// Which virtual router.
    pub vrid: Vrid,
    /// How the sender stands.
    pub standing: Standing,
    /// How often the sender advertises.
    pub interval: Centiseconds,
    /// The virtual addresses.
    pub addresses: Addresses,
}

impl Advertisement {
    /// Checks and reads; also tells what the checksum covered.
    ///
    /// In the order of RFC 9568 §7.1. Whether the virtual router is ours is for the elector.
    pub fn decode(
        header: &IpHeader,
        ttl: TtlRule,
        bytes: &[u8],
    ) -> Result<(Self, ChecksumForm), DecodeError> {
        check_head(header, ttl, bytes, VERSION, HEADER_LEN)?;
        if Family::of(header.source) != Family::of(header.destination) {
            return Err(DecodeError::Family);
        }
        let width = width(Family::of(header.source));
        // RFC 9568 §5.2.5, erratum 8299.
        if bytes[3] == 0 {
            return Err(DecodeError::NoAddress);
        }
        // RFC 9568 §7.1 asks for a complete packet. More than that is refused as well, as keepalived does: what follows
        // the list is covered by no rule.
        let expected = HEADER_LEN + usize::from(bytes[3]) * width;
        if bytes.len() != expected {
            return Err(DecodeError::Length { found: bytes.len(), expected });
        }
        // RFC 9568 §5.2.8. Both forms are accepted in IPv4, because both are sent.
        let form =
            checksum::form_of(header.source, header.destination, bytes).ok_or(DecodeError::Checksum)?;
        let vrid = Vrid::new(bytes[1]).map_err(|_| DecodeError::Vrid)?;
        // RFC 9568 §5.2.6: the reserved bits are ignored. §7.1, erratum 8301: an interval of 0 is refused.
        let interval = Centiseconds::new(u16::from_be_bytes([bytes[4], bytes[5]]) & Centiseconds::MAX)
            .map_err(|_| DecodeError::Interval)?;
        let addresses: Vec<IpAddr> = match Family::of(header.source) {
            Family::V4 => {
                bytes[HEADER_LEN..].as_chunks::<4>().0.iter().map(|a| Ipv4Addr::from(*a).into()).collect()
            }
            Family::V6 => {
                bytes[HEADER_LEN..].as_chunks::<16>().0.iter().map(|a| Ipv6Addr::from(*a).into()).collect()
            }
        };
        let addresses = Addresses::new(&addresses).map_err(|_| DecodeError::NoAddress)?;
        Ok((Self { vrid, standing: Standing::from_wire(bytes[2]), interval, addresses }, form))
    }

    /// Writes it for a packet from `source` to `destination`, both of the addresses' family.
    ///
    /// `form` counts in IPv4 only; IPv6 always has the pseudo-header.
    pub fn encode(&self, source: IpAddr, destination: IpAddr, form: ChecksumForm) -> Vec<u8> {
        let family = self.addresses.family();
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.addresses.len() * width(family));
        let count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        bytes.extend([VERSION << 4 | ADVERTISEMENT, self.vrid.get(), self.standing.to_wire(), count]);
        bytes.extend(self.interval.get().to_be_bytes());
        bytes.extend([0, 0]);
        for address in self.addresses.iter() {
            match address {
                IpAddr::V4(address) => bytes.extend(address.octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            }
        }
        let sum = match (family, form) {
            (Family::V4, ChecksumForm::MessageOnly) => checksum::message_only(&bytes),
            (Family::V4, ChecksumForm::PseudoHeader)
            | (Family::V6, ChecksumForm::MessageOnly | ChecksumForm::PseudoHeader) => {
                checksum::with_pseudo_header(source, destination, PROTOCOL, &bytes)
            }
        };
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

const fn width(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}
