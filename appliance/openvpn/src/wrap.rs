//! The wrapping of control packets: nobody without the key is heard, and nobody sees who talks.
//!
//! ```text
//!  tls-crypt  opcode, key id, session id 9 │ counter 4 │ time 4 │ tag 32 │ AES-256-CTR(body)
//!             tag = HMAC-SHA256(first 17 bytes ‖ body), and its first half is the IV     draft "tls-crypt"
//!  tls-auth   opcode, key id, session id 9 │ HMAC │ counter 4 │ time 4 │ body            draft "HMAC authentication"
//! ```
//!
//! | file | owns |
//! | --- | --- |
//! | here | a packet under a key, in one direction each |
//! | `siv` | tag and cipher, for packets and for wrapped keys alike |
//! | `key` | static keys and their files |
//! | `client_key` | tls-crypt-v2: a key for each client, carried by the client |
//! | `replay` | counter and time |

mod client_key;
mod key;
mod replay;
mod siv;
#[cfg(test)]
mod tests;

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

pub use client_key::{
    ClientKey, MAX_METADATA, MAX_WKC, Metadata, ServerKey, UnwrapError, WrapError, split_wkc,
};
pub use key::{InvalidKey, STATIC_KEY, StaticKey};
pub use replay::{PacketId, Received, Sending};

use crate::packet::{HEADER, Header, Malformed};
use siv::TAG;

/// Counter and time, in bytes.
const PACKET_ID: usize = 8;
/// What tls-crypt adds to a body, header included.
pub const OVERHEAD: usize = HEADER + PACKET_ID + TAG;

/// Why a packet is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// It has not the form of a packet.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It was made without the key, or changed on its way.
    #[error("the packet does not authenticate")]
    Forged,
    /// It was taken before, or is older than what was.
    #[error("the packet was seen before")]
    Replayed,
}

/// The digest of tls-auth, as `--auth` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Digest {
    /// `SHA1`, where a profile says nothing.
    Sha1,
    /// `SHA256`.
    Sha256,
    /// `SHA512`.
    Sha512,
}

impl Digest {
    const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// How packets are wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Encrypted and authenticated: tls-crypt and tls-crypt-v2.
    Crypt,
    /// Only authenticated, `key-direction 0` here and 1 at the client: old profiles.
    Auth(Digest),
}

/// A key and what it is used for. Without state: see [`Wrap`] for a session's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrapping {
    /// How.
    pub mode: Mode,
    /// With what.
    pub key: StaticKey,
}

impl Wrapping {
    /// Wraps what this side sends.
    pub fn seal(&self, id: PacketId, header: Header, body: &[u8]) -> Vec<u8> {
        self.seal_as(Side::Server, id, header, body)
    }

    /// Unwraps what the other side sent. Whether it is a replay is not asked here.
    pub fn open(&self, packet: &[u8]) -> Result<Opened, OpenError> {
        self.open_as(Side::Server, packet)
    }

    fn seal_as(&self, side: Side, id: PacketId, header: Header, body: &[u8]) -> Vec<u8> {
        let (header, id) = (header.encode(), id.encode());
        match self.mode {
            Mode::Crypt => {
                let key = self.key.siv(side.sends());
                let (tag, cipher) = key.seal(&[&header, &id], body);
                [&header[..], &id, &tag, &cipher].concat()
            }
            Mode::Auth(digest) => {
                let key = self.key.hmac(side.sends());
                let tag = authenticate(digest, key, &id, &header, body);
                [&header[..], &tag, &id, body].concat()
            }
        }
    }

    fn open_as(&self, side: Side, packet: &[u8]) -> Result<Opened, OpenError> {
        let (header, rest) = Header::parse(packet)?;
        match self.mode {
            Mode::Crypt => {
                let (id, rest) = rest.split_first_chunk::<PACKET_ID>().ok_or(Malformed::Short)?;
                let (tag, cipher) = rest.split_first_chunk::<TAG>().ok_or(Malformed::Short)?;
                let key = self.key.siv(side.receives());
                let body = key.open(&[&header.encode(), id], tag, cipher).ok_or(OpenError::Forged)?;
                Ok(Opened { header, id: PacketId::decode(*id), body })
            }
            Mode::Auth(digest) => {
                let (tag, rest) = rest.split_at_checked(digest.len()).ok_or(Malformed::Short)?;
                let (id, body) = rest.split_first_chunk::<PACKET_ID>().ok_or(Malformed::Short)?;
                let key = self.key.hmac(side.receives());
                if !verify(digest, key, id, &header.encode(), body, tag) {
                    return Err(OpenError::Forged);
                }
                Ok(Opened { header, id: PacketId::decode(*id), body: body.to_vec() })
            }
        }
    }
}

/// Which half of a key is whose: the server sends with the first (draft "tls-crypt": key direction 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Server,
    #[cfg(test)]
    Client,
}

impl Side {
    fn sends(self) -> key::Half {
        match self {
            Self::Server => key::Half::First,
            #[cfg(test)]
            Self::Client => key::Half::Second,
        }
    }

    fn receives(self) -> key::Half {
        match self {
            Self::Server => key::Half::Second,
            #[cfg(test)]
            Self::Client => key::Half::First,
        }
    }
}

/// A packet that was made with the key. It may have been taken before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// What stood before the wrapping.
    pub header: Header,
    /// Counter and time.
    pub id: PacketId,
    /// What was wrapped.
    pub body: Vec<u8>,
}

/// A session's wrapping: the key, what was sent and what was received.
#[derive(Debug)]
pub struct Wrap {
    wrapping: Wrapping,
    sending: Sending,
    received: Received,
}

impl Wrap {
    /// Of a new session, or of one that is taken over: then `received` says what the other node had taken.
    pub fn new(wrapping: Wrapping, sending: Sending, received: Received) -> Self {
        Self { wrapping, sending, received }
    }

    /// Wraps a packet. `None` once 2³² packets were sent, which takes longer than a session lasts.
    pub fn seal(&mut self, header: Header, body: &[u8]) -> Option<Vec<u8>> {
        let id = self.sending.next_id()?;
        Some(self.wrapping.seal(id, header, body))
    }

    /// Unwraps a packet and takes it once.
    pub fn open(&mut self, packet: &[u8]) -> Result<(Header, Vec<u8>), OpenError> {
        let opened = self.wrapping.open(packet)?;
        if !self.received.take(opened.id) {
            return Err(OpenError::Replayed);
        }
        Ok((opened.header, opened.body))
    }

    /// Key and mode.
    pub fn wrapping(&self) -> &Wrapping {
        &self.wrapping
    }

    /// The time that its packets carry.
    pub fn time(&self) -> u32 {
        self.sending.time()
    }

    /// The newest packet that was taken.
    pub fn newest(&self) -> PacketId {
        self.received.newest()
    }
}

fn authenticate(digest: Digest, key: &[u8], id: &[u8], header: &[u8], body: &[u8]) -> Vec<u8> {
    match digest {
        Digest::Sha1 => tag::<Hmac<Sha1>>(key, id, header, body).finalize().into_bytes().to_vec(),
        Digest::Sha256 => tag::<Hmac<Sha256>>(key, id, header, body).finalize().into_bytes().to_vec(),
        Digest::Sha512 => tag::<Hmac<Sha512>>(key, id, header, body).finalize().into_bytes().to_vec(),
    }
}

fn verify(digest: Digest, key: &[u8], id: &[u8], header: &[u8], body: &[u8], found: &[u8]) -> bool {
    match digest {
        Digest::Sha1 => tag::<Hmac<Sha1>>(key, id, header, body).verify_slice(found).is_ok(),
        Digest::Sha256 => tag::<Hmac<Sha256>>(key, id, header, body).verify_slice(found).is_ok(),
        Digest::Sha512 => tag::<Hmac<Sha512>>(key, id, header, body).verify_slice(found).is_ok(),
    }
}

/// The key of tls-auth is as long as its tag; counter and time come first in what it covers (draft "HMAC authentication").
fn tag<M: Mac + hmac::digest::KeyInit>(key: &[u8], id: &[u8], header: &[u8], body: &[u8]) -> M {
    let key = key.get(..M::output_size()).unwrap_or(key);
    // An HMAC takes a key of any length.
    let mut mac = <M as Mac>::new_from_slice(key).unwrap_or_else(|_| unreachable!("an HMAC takes any key"));
    mac.update(id);
    mac.update(header);
    mac.update(body);
    mac
}
