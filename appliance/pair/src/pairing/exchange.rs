//! The key exchange and what is sealed under its key.

use std::fmt;

use rand_core::{CryptoRng, RngCore};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::{digest, hmac};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroizing;

use super::code::Code;
use super::message::ELEMENT;

/// Longest plain text of one sealed record.
pub const MAX_RECORD: usize = 64 << 10;

/// The names of the sides in the exchange: what one side says cannot be sent back to it.
const JOINING: &[u8] = b"rempart/1 pairing joining";
const OFFERING: &[u8] = b"rempart/1 pairing offering";

/// Fresh randomness for one exchange.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// From 32 random bytes, used for one exchange only.
    pub fn new(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// Which side of the exchange this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Joining,
    Offering,
}

/// An exchange that has sent its element and waits for the other one.
pub(super) struct Exchange {
    side: Side,
    state: Spake2<Ed25519Group>,
    pub element: [u8; ELEMENT],
}

impl Exchange {
    pub fn start(side: Side, code: &Code, seed: &Seed) -> Self {
        let password = Password::new(code.password());
        let (joining, offering) = (Identity::new(JOINING), Identity::new(OFFERING));
        let random = Expanded { seed, block: 0 };
        let (state, message) = match side {
            Side::Joining => Spake2::start_a_with_rng(&password, &joining, &offering, random),
            Side::Offering => Spake2::start_b_with_rng(&password, &joining, &offering, random),
        };
        let mut element = [0; ELEMENT];
        for (to, from) in element.iter_mut().zip(message) {
            *to = from;
        }
        Self { side, state, element }
    }

    /// The keys, if `theirs` is an element of the group. Whether they are the same on both sides is for
    /// [`Keys::proves`] to say.
    pub fn finish(self, theirs: &[u8; ELEMENT]) -> Option<Keys> {
        let key = Zeroizing::new(self.state.finish(theirs).ok()?);
        let (joining, offering) = match self.side {
            Side::Joining => (&self.element, theirs),
            Side::Offering => (theirs, &self.element),
        };
        let transcript = [&joining[..], &offering[..]].concat();
        let extracted = Salt::new(HKDF_SHA256, &transcript).extract(&key);
        let derive = |purpose: &[u8], side: Side| {
            let name = match side {
                Side::Joining => JOINING,
                Side::Offering => OFFERING,
            };
            let info = [purpose, name];
            let mut out = Zeroizing::new([0; 32]);
            let filled = extracted.expand(&info, Bytes32).and_then(|okm| okm.fill(&mut out[..]));
            filled.ok().map(|()| out)
        };
        let other = match self.side {
            Side::Joining => Side::Offering,
            Side::Offering => Side::Joining,
        };
        let mac = |side| derive(b"confirm ", side).map(|k| hmac::Key::new(hmac::HMAC_SHA256, &k[..]));
        let aead = |side| {
            derive(b"seal ", side)
                .and_then(|k| UnboundKey::new(&AES_256_GCM, &k[..]).ok())
                .map(LessSafeKey::new)
        };
        Some(Keys {
            transcript,
            prove: mac(self.side)?,
            check: mac(other)?,
            sealed: Sealed { seal: aead(self.side)?, open: aead(other)?, sent: 0, received: 0 },
        })
    }
}

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

/// The keys of an exchange that is not confirmed yet.
pub(super) struct Keys {
    transcript: Vec<u8>,
    prove: hmac::Key,
    check: hmac::Key,
    sealed: Sealed,
}

impl Keys {
    /// What shows the other side that we have the key.
    pub fn proof(&self) -> [u8; 32] {
        let tag = hmac::sign(&self.prove, &self.transcript);
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        out
    }

    /// The sealed channel, if `proof` shows that the other side has the key. Compares in constant time.
    pub fn proves(self, proof: &[u8; 32]) -> Option<Sealed> {
        hmac::verify(&self.check, &self.transcript, proof).ok().map(|()| self.sealed)
    }
}

/// A record that does not open: changed, replayed, out of order, or longer than [`MAX_RECORD`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a sealed record does not open")]
pub struct OpenError;

/// Both directions of a confirmed exchange. Records are numbered in order, so none can be left out, doubled or swapped,
/// and no nonce comes twice: the keys are of this exchange alone.
pub struct Sealed {
    seal: LessSafeKey,
    open: LessSafeKey,
    sent: u64,
    received: u64,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("sent", &self.sent)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl Sealed {
    /// Seals the next record: `plain` and a tag of 16 bytes. [`MAX_RECORD`] bytes at most.
    pub fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, OpenError> {
        if plain.len() > MAX_RECORD {
            return Err(OpenError);
        }
        let mut record = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        record.extend_from_slice(plain);
        let number = nonce(&mut self.sent)?;
        self.seal.seal_in_place_append_tag(number, Aad::empty(), &mut record).map_err(|_| OpenError)?;
        Ok(record)
    }

    /// Opens the next record.
    pub fn open(&mut self, mut record: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if record.len() > MAX_RECORD + AES_256_GCM.tag_len() {
            return Err(OpenError);
        }
        let number = nonce(&mut self.received)?;
        let length = self.open.open_in_place(number, Aad::empty(), &mut record).map_err(|_| OpenError)?.len();
        record.truncate(length);
        Ok(Zeroizing::new(record))
    }
}

fn nonce(counter: &mut u64) -> Result<Nonce, OpenError> {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    *counter = counter.checked_add(1).ok_or(OpenError)?;
    Ok(Nonce::assume_unique_for_key(bytes))
}

/// As many random bytes as the exchange asks for, from one seed: SHA-512(seed ‖ block number).
struct Expanded<'a> {
    seed: &'a Seed,
    block: u64,
}

impl RngCore for Expanded<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(digest::SHA512_OUTPUT_LEN) {
            let mut context = digest::Context::new(&digest::SHA512);
            context.update(&self.seed.0[..]);
            context.update(&self.block.to_be_bytes());
            self.block = self.block.wrapping_add(1);
            let block = context.finish();
            for (to, from) in chunk.iter_mut().zip(block.as_ref()) {
                *to = *from;
            }
        }
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl CryptoRng for Expanded<'_> {}
