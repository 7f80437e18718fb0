//! CARP version 2: layout, checksum and HMAC, as OpenBSD, FreeBSD and ucarp have them. No RFC exists.
//!
//! ```text
//! +-------+-------+---------------+---------------+---------------+
//! |   2   |   1   |     VHID      |    advskew    |  authlen = 7  |
//! +-------+-------+---------------+---------------+---------------+
//! |    demotion   |    advbase    |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! |                       counter, 8 bytes                        |
//! +---------------------------------------------------------------+
//! |                      HMAC-SHA1, 20 bytes                      |
//! +---------------------------------------------------------------+
//! ```
//!
//! The HMAC covers version, type and VHID (a byte each), the virtual addresses in ascending order, IPv4 before IPv6,
//! and the counter. It does **not** cover advskew, advbase, demotion or the sender's address: whoever can hold back a
//! packet can send it on with these changed. That is the protocol; only the counter (see [`crate::Replay`]) limits it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::checksum;
use super::{ADVERTISEMENT, DecodeError, check_head};
use crate::types::{IpHeader, TtlRule, ValueError, Vrid, is_link_local_v6};

/// Bytes of an advertisement.
pub const LEN: usize = 36;
/// Words of counter and HMAC.
pub(super) const AUTH_WORDS: u8 = 7;
const VERSION: u8 = 2;
const SECRET_LEN: usize = 20;
const DIGEST_LEN: usize = 20;

/// The shared password, wiped when dropped and never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; SECRET_LEN]>);

impl Secret {
    /// Takes the password's bytes as they are, padded with zero: 1 to 20 of them (ucarp takes 19).
    pub fn new(password: &[u8]) -> Result<Self, ValueError> {
        if password.is_empty() || password.len() > SECRET_LEN {
            return Err(ValueError::SecretLength(password.len()));
        }
        let mut bytes = Zeroizing::new([0; SECRET_LEN]);
        bytes[..password.len()].copy_from_slice(password);
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How often an advertisement is sent: `base` seconds and `skew` 256ths of a second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pace {
    /// Seconds. 0 is OpenBSD's way below one second.
    pub base: u8,
    /// 256ths of a second; also the rank: the smaller is preferred.
    pub skew: u8,
}

impl Pace {
    /// OpenBSD's farewell: so slow that every listener takes the sender for gone.
    pub const BOW_OUT: Self = Self { base: 255, skew: 255 };

    /// From one advertisement to the next.
    pub fn interval(self) -> Duration {
        match self {
            // OpenBSD: never a timer of nothing.
            Self { base: 0, skew: 0 } => ticks(1),
            Self { base, skew } => Duration::from_secs(base.into()) + ticks(skew.into()),
        }
    }

    /// How long silence may last for a listener that has this pace itself.
    pub fn dead(self) -> Duration {
        match self {
            Self { base: 0, skew: 0 } => ticks(3),
            Self { base: 0, skew } => ticks(3 * u32::from(skew)),
            Self { base, skew } => Duration::from_secs(3 * u64::from(base)) + ticks(skew.into()),
        }
    }

    /// As the comparison of two senders has it: 256ths of a second.
    pub fn rank(self) -> u32 {
        u32::from(self.base) * 256 + u32::from(self.skew)
    }
}

fn ticks(n: u32) -> Duration {
    Duration::from_secs(1) * n / 256
}

/// What an advertisement says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// Which virtual host.
    pub vhid: Vrid,
    /// How often the sender advertises.
    pub pace: Pace,
    /// OpenBSD's demotion counter; FreeBSD and ucarp leave it 0.
    pub demotion: u8,
    /// Distinguishes one packet from the next, as far as the sender does.
    pub counter: u64,
}

/// An advertisement that has been read but that anybody may have written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unverified {
    content: Advertisement,
    digest: [u8; DIGEST_LEN],
}

/// Something whose HMAC was right. Only [`Authenticator::verify`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authenticated<T>(T);

impl<T> Authenticated<T> {
    /// The content.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> std::ops::Deref for Authenticated<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Unverified {
    /// Checks everything that needs no secret.
    pub fn decode(header: &IpHeader, ttl: TtlRule, bytes: &[u8]) -> Result<Self, DecodeError> {
        check_head(header, ttl, bytes, VERSION, LEN)?;
        let bytes: &[u8; LEN] =
            bytes.try_into().map_err(|_| DecodeError::Length { found: bytes.len(), expected: LEN })?;
        if bytes[3] != AUTH_WORDS {
            return Err(DecodeError::AuthLength(bytes[3]));
        }
        // The message alone, in IPv6 too.
        if checksum::message_only(bytes) != 0 {
            return Err(DecodeError::Checksum);
        }
        let vhid = Vrid::new(bytes[1]).map_err(|_| DecodeError::Vrid)?;
        let mut counter = [0; 8];
        counter.copy_from_slice(&bytes[8..16]);
        let mut digest = [0; DIGEST_LEN];
        digest.copy_from_slice(&bytes[16..]);
        let content = Advertisement {
            vhid,
            pace: Pace { base: bytes[5], skew: bytes[2] },
            demotion: bytes[4],
            counter: u64::from_be_bytes(counter),
        };
        Ok(Self { content, digest })
    }

    /// Which virtual host it claims to be for.
    pub fn vhid(&self) -> Vrid {
        self.content.vhid
    }
}

/// Whether link-local IPv6 addresses are part of what is signed. Both are accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LinkLocal {
    /// FreeBSD and pfSense.
    Signed,
    /// OpenBSD.
    Unsigned,
}

/// Signs and verifies for one virtual host: its secret and all its addresses, of both families.
#[derive(Clone, Debug)]
pub struct Authenticator {
    secret: Secret,
    vhid: Vrid,
    v4: BTreeSet<Ipv4Addr>,
    v6: BTreeSet<Ipv6Addr>,
    link_local: LinkLocal,
}

impl Authenticator {
    /// For a virtual host with these addresses; their order does not matter.
    pub fn new(
        secret: Secret,
        vhid: Vrid,
        v4: BTreeSet<Ipv4Addr>,
        v6: impl IntoIterator<Item = Ipv6Addr>,
        link_local: LinkLocal,
    ) -> Self {
        Self { secret, vhid, v4, v6: v6.into_iter().map(without_scope).collect(), link_local }
    }

    /// Writes and signs.
    pub fn encode(&self, content: &Advertisement) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = VERSION << 4 | ADVERTISEMENT;
        bytes[1] = self.vhid.get();
        bytes[2] = content.pace.skew;
        bytes[3] = AUTH_WORDS;
        bytes[4] = content.demotion;
        bytes[5] = content.pace.base;
        bytes[8..16].copy_from_slice(&content.counter.to_be_bytes());
        let digest = self.mac(content.counter, self.link_local).finalize().into_bytes();
        bytes[16..].copy_from_slice(&digest);
        let sum = checksum::message_only(&bytes);
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// Compares the HMAC in constant time, with and without link-local addresses. `None`: forged, another password,
    /// or other addresses.
    pub fn verify(&self, packet: Unverified) -> Option<Authenticated<Advertisement>> {
        if packet.content.vhid != self.vhid {
            return None;
        }
        [LinkLocal::Signed, LinkLocal::Unsigned]
            .into_iter()
            .any(|form| self.mac(packet.content.counter, form).verify_slice(&packet.digest).is_ok())
            .then_some(Authenticated(packet.content))
    }

    /// The state of the HMAC lives for one call; digest 0.10 has no way to wipe it.
    fn mac(&self, counter: u64, link_local: LinkLocal) -> Hmac<Sha1> {
        let mut mac =
            Hmac::<Sha1>::new_from_slice(&self.secret.0[..]).expect("HMAC takes keys of any length");
        // Two bytes, not the packed one of the wire.
        mac.update(&[VERSION, ADVERTISEMENT, self.vhid.get()]);
        for address in &self.v4 {
            mac.update(&address.octets());
        }
        for address in &self.v6 {
            match (link_local, is_link_local_v6(*address)) {
                (LinkLocal::Unsigned, true) => {}
                (LinkLocal::Signed, _) | (LinkLocal::Unsigned, false) => mac.update(&address.octets()),
            }
        }
        mac.update(&counter.to_be_bytes());
        mac
    }
}

/// The BSDs keep the interface's index in the second word of a link-local address, and clear it before hashing.
fn without_scope(address: Ipv6Addr) -> Ipv6Addr {
    let mut segments = address.segments();
    if is_link_local_v6(address) {
        segments[1] = 0;
    }
    segments.into()
}
