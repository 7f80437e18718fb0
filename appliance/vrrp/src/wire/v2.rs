//! VRRP version 2 (RFC 3768 §5; authentication as in RFC 2338 §5.3.6). IPv4 only.
//!
//! ```text
//! +-------+-------+---------------+---------------+---------------+
//! |   2   |   1   |     VRID      |   Priority    | Address count |
//! +-------+-------+---------------+---------------+---------------+
//! |   Auth type   |  interval, s  |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! |            addresses, 4 bytes each                            |
//! +---------------------------------------------------------------+
//! |            authentication data, 8 bytes                       |
//! +---------------------------------------------------------------+
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::checksum;
use super::{ADVERTISEMENT, DecodeError, check_head};
use crate::types::{Addresses, Family, IpHeader, Seconds, Standing, TtlRule, ValueError, Vrid};

/// Bytes before the addresses.
pub const HEADER_LEN: usize = 8;
/// Bytes after the addresses.
pub const AUTH_LEN: usize = 8;
const VERSION: u8 = 2;
const AUTH_NONE: u8 = 0;
const AUTH_TEXT: u8 = 1;

/// A clear-text password of RFC 2338: readable by everybody on the link, so a guard against mistakes and no more.
#[derive(Clone)]
pub struct AuthText(Zeroizing<[u8; AUTH_LEN]>);

impl AuthText {
    /// Takes 1 to 8 bytes and pads with zero.
    pub fn new(text: &[u8]) -> Result<Self, ValueError> {
        if text.is_empty() || text.len() > AUTH_LEN {
            return Err(ValueError::AuthTextLength(text.len()));
        }
        let mut bytes = Zeroizing::new([0; AUTH_LEN]);
        bytes[..text.len()].copy_from_slice(text);
        Ok(Self(bytes))
    }
}

impl PartialEq for AuthText {
    fn eq(&self, other: &Self) -> bool {
        self.0[..].ct_eq(&other.0[..]).into()
    }
}

impl Eq for AuthText {}

impl fmt::Debug for AuthText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthText(…)")
    }
}

/// How a VRRPv2 advertisement is authenticated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Auth {
    /// Type 0, the only one that RFC 3768 keeps.
    None,
    /// Type 1 of RFC 2338.
    Text(AuthText),
}

impl Auth {
    /// The number of the type.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::None => AUTH_NONE,
            Self::Text(_) => AUTH_TEXT,
        }
    }
}

/// An advertisement of VRRPv2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// Which virtual router.
    pub vrid: Vrid,
    /// How the sender stands.
    pub standing: Standing,
    /// How often the sender advertises.
    pub interval: Seconds,
    /// How it is authenticated.
    pub auth: Auth,
    /// The virtual addresses, IPv4.
    pub addresses: Addresses,
}

impl Advertisement {
    /// Checks and reads, in the order of RFC 3768 §7.1. Interval and authentication are compared by the elector.
    pub fn decode(header: &IpHeader, ttl: TtlRule, bytes: &[u8]) -> Result<Self, DecodeError> {
        check_head(header, ttl, bytes, VERSION, HEADER_LEN + AUTH_LEN)?;
        if Family::of(header.source) != Family::V4 || Family::of(header.destination) != Family::V4 {
            return Err(DecodeError::Family);
        }
        if bytes[3] == 0 {
            return Err(DecodeError::NoAddress);
        }
        // RFC 3768 §7.1 asks for "greater than or equal to the VRRP header"; only the exact length is taken, see v3.
        let end = HEADER_LEN + usize::from(bytes[3]) * 4;
        if bytes.len() != end + AUTH_LEN {
            return Err(DecodeError::Length { found: bytes.len(), expected: end + AUTH_LEN });
        }
        if checksum::message_only(bytes) != 0 {
            return Err(DecodeError::Checksum);
        }
        let vrid = Vrid::new(bytes[1]).map_err(|_| DecodeError::Vrid)?;
        let auth = match bytes[4] {
            // RFC 3768 §5.3.10: the data of type 0 is ignored.
            AUTH_NONE => Auth::None,
            AUTH_TEXT => {
                let text = bytes.last_chunk().ok_or(DecodeError::AuthType(AUTH_TEXT))?;
                Auth::Text(AuthText(Zeroizing::new(*text)))
            }
            other => return Err(DecodeError::AuthType(other)),
        };
        let interval = Seconds::new(bytes[5]).map_err(|_| DecodeError::Interval)?;
        let addresses: Vec<IpAddr> =
            bytes[HEADER_LEN..end].as_chunks::<4>().0.iter().map(|a| Ipv4Addr::from(*a).into()).collect();
        let addresses = Addresses::new(&addresses).map_err(|_| DecodeError::NoAddress)?;
        Ok(Self { vrid, standing: Standing::from_wire(bytes[2]), interval, auth, addresses })
    }

    /// Writes it. IPv6 addresses, which the version does not know, are left out.
    pub fn encode(&self) -> Vec<u8> {
        let v4 = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.addresses.len() * 4 + AUTH_LEN);
        bytes.extend([VERSION << 4 | ADVERTISEMENT, self.vrid.get(), self.standing.to_wire(), 0]);
        bytes.extend([self.auth.kind(), self.interval.get(), 0, 0]);
        bytes.extend(v4.flat_map(|address| address.octets()));
        bytes[3] = u8::try_from((bytes.len() - HEADER_LEN) / 4).unwrap_or(u8::MAX);
        match &self.auth {
            Auth::None => bytes.extend([0; AUTH_LEN]),
            Auth::Text(text) => bytes.extend(text.0.iter()),
        }
        let sum = checksum::message_only(&bytes);
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}
