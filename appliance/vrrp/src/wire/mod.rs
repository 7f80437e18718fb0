//! Bytes to values and back. Owns the layouts, lengths and checksums; decides nothing about them.
//!
//! Every decoder takes the bytes after the IP header and the facts of that header, never panics, reads nothing beyond
//! the slice and allocates for 255 addresses at most, after the length has been found to agree.

mod checksum;

pub mod carp;
pub mod frame;
pub mod v2;
pub mod v3;

pub use checksum::ChecksumForm;

use crate::types::{Dialect, IpHeader, TtlRule, Vrid};

/// IP protocol number of VRRP, and of CARP, which took it over.
pub const PROTOCOL: u8 = 112;

/// The only packet type (RFC 9568 §5.2.2).
const ADVERTISEMENT: u8 = 1;

/// Why bytes are no advertisement. The peer (or the line) is wrong, not the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The packet has come through a router.
    #[error("time to live {found}, at least {least} is needed")]
    Ttl {
        /// As received.
        found: u8,
        /// The smallest that passes.
        least: u8,
    },
    /// Another version than the one this router speaks.
    #[error("version {0} is not spoken here")]
    Version(u8),
    /// Not an advertisement.
    #[error("packet type {0} is unknown")]
    Type(u8),
    /// The length does not agree with the fields.
    #[error("{found} bytes, {expected} expected")]
    Length {
        /// As received.
        found: usize,
        /// What the fields call for, or the smallest there is.
        expected: usize,
    },
    /// The checksum does not fit the bytes.
    #[error("wrong checksum")]
    Checksum,
    /// Virtual router 0 does not exist.
    #[error("virtual router 0")]
    Vrid,
    /// No address at all (RFC 9568 §5.2.5, erratum 8299).
    #[error("no address")]
    NoAddress,
    /// An interval of 0 (RFC 9568 §7.1, erratum 8301).
    #[error("interval 0")]
    Interval,
    /// The IP header's source and destination are of different families, or of one the protocol does not know.
    #[error("addresses of the wrong family")]
    Family,
    /// A VRRPv2 authentication that nobody defines, or the IP authentication header of RFC 2338.
    #[error("authentication type {0} is not supported")]
    AuthType(u8),
    /// The CARP authentication has another length than seven words.
    #[error("authentication of {0} words, 7 expected")]
    AuthLength(u8),
}

/// Which protocol bytes speak and for which virtual router, without checking anything else.
///
/// For choosing the elector. CARP and VRRPv2 begin alike (0x21): CARP is 36 bytes with 7 in the fourth one, while
/// VRRPv2 with 7 addresses is 44 bytes.
pub fn peek(bytes: &[u8]) -> Result<(Dialect, Vrid), DecodeError> {
    let &[head, vrid, _, fourth, ..] = bytes else {
        return Err(DecodeError::Length { found: bytes.len(), expected: v3::HEADER_LEN });
    };
    let dialect = match head >> 4 {
        3 => Dialect::Vrrp3,
        2 if bytes.len() == carp::LEN && fourth == carp::AUTH_WORDS => Dialect::Carp,
        2 => Dialect::Vrrp2,
        other => return Err(DecodeError::Version(other)),
    };
    Ok((dialect, Vrid::new(vrid).map_err(|_| DecodeError::Vrid)?))
}

/// The checks of RFC 9568 §7.1 that come before the length: time to live, version, type.
fn check_head(
    header: &IpHeader,
    ttl: TtlRule,
    bytes: &[u8],
    version: u8,
    least: usize,
) -> Result<(), DecodeError> {
    if header.ttl < ttl.least() {
        return Err(DecodeError::Ttl { found: header.ttl, least: ttl.least() });
    }
    let Some(&head) = bytes.first() else {
        return Err(DecodeError::Length { found: 0, expected: least });
    };
    if head >> 4 != version {
        return Err(DecodeError::Version(head >> 4));
    }
    if head & 0x0f != ADVERTISEMENT {
        return Err(DecodeError::Type(head & 0x0f));
    }
    if bytes.len() < least {
        return Err(DecodeError::Length { found: bytes.len(), expected: least });
    }
    Ok(())
}
