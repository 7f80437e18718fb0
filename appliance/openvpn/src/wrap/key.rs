//! Static keys: 2048 bits that both sides have, and the file that they come in.
//!
//! ```text
//!  first half   cipher 64 │ HMAC 64       of each 64 bytes tls-crypt uses the first 32
//!  second half  cipher 64 │ HMAC 64
//! ```

use std::fmt;
use std::fmt::Write as _;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::siv::Siv;

/// The length of a static key, in bytes.
pub const STATIC_KEY: usize = 256;
const BEGIN: &str = "-----BEGIN OpenVPN Static key V1-----";
const END: &str = "-----END OpenVPN Static key V1-----";
/// The longest key file that is read, in bytes: a key in hexadecimal is 530, and people write comments.
const MAX_FILE: usize = 16 * 1024;

/// Why a key file is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidKey {
    /// Neither the beginning nor the end of such a key is in it.
    #[error("there is no \"{0}\" in the file")]
    Missing(&'static str),
    /// A character that does not belong there.
    #[error("the key has a character that does not belong there")]
    Character,
    /// Too short or too long.
    #[error("the key has {found} bytes instead of {wanted}")]
    Length {
        /// Bytes in the file.
        found: usize,
        /// Bytes in a key.
        wanted: usize,
    },
    /// More than a key file can be.
    #[error("the file is too long for a key")]
    TooLong,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    First,
    Second,
}

/// A key of 2048 bits that both sides have.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StaticKey(Box<[u8; STATIC_KEY]>);

impl StaticKey {
    /// From random bytes, or from where they were kept.
    pub fn new(bytes: &[u8; STATIC_KEY]) -> Self {
        Self(Box::new(*bytes))
    }

    /// From a key file. What stands outside the two marks is not read (draft "OpenVPN Static key file format").
    pub fn parse(file: &str) -> Result<Self, InvalidKey> {
        if file.len() > MAX_FILE {
            return Err(InvalidKey::TooLong);
        }
        let (_, rest) = file.split_once(BEGIN).ok_or(InvalidKey::Missing(BEGIN))?;
        let (text, _) = rest.split_once(END).ok_or(InvalidKey::Missing(END))?;
        let mut nibbles = Zeroizing::new(Vec::with_capacity(2 * STATIC_KEY));
        for character in text.chars().filter(|c| !c.is_ascii_whitespace()) {
            let digit = character.to_digit(16).ok_or(InvalidKey::Character)?;
            nibbles.push(u8::try_from(digit).map_err(|_| InvalidKey::Character)?);
        }
        if nibbles.len() != 2 * STATIC_KEY {
            return Err(InvalidKey::Length { found: nibbles.len() / 2, wanted: STATIC_KEY });
        }
        let mut key = Box::new([0; STATIC_KEY]);
        for (byte, pair) in key.iter_mut().zip(nibbles.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, nibble| byte << 4 | nibble);
        }
        Ok(Self(key))
    }

    /// A key file, as every client reads it.
    pub fn to_file(&self) -> Zeroizing<String> {
        let mut file = Zeroizing::new(String::with_capacity(2 * STATIC_KEY + 128));
        file.push_str(BEGIN);
        for (place, byte) in self.0.iter().enumerate() {
            if place % 16 == 0 {
                file.push('\n');
            }
            // Writing to a string does not fail.
            let _ = write!(file, "{byte:02x}");
        }
        file.push('\n');
        file.push_str(END);
        file.push('\n');
        file
    }

    /// The key itself, for replication and for profiles.
    pub fn expose(&self) -> &[u8; STATIC_KEY] {
        &self.0
    }

    /// Dynamic tls-crypt: the key of all renegotiations, from the first TLS session's exported material (study: "derived
    /// once from key 0's TLS session and used for all renegotiations").
    pub fn mixed_with(&self, exported: &[u8; STATIC_KEY]) -> Self {
        let mut mixed = self.clone();
        for (byte, other) in mixed.0.iter_mut().zip(exported) {
            *byte ^= other;
        }
        mixed
    }

    pub(super) fn siv(&self, half: Half) -> Siv<'_> {
        Siv { cipher: head(self.quarter(half, 0)), hmac: head(self.quarter(half, 1)) }
    }

    pub(super) fn hmac(&self, half: Half) -> &[u8; 64] {
        self.quarter(half, 1)
    }

    fn quarter(&self, half: Half, second: usize) -> &[u8; 64] {
        let place = match half {
            Half::First => second,
            Half::Second => 2 + second,
        };
        let (quarters, _) = self.0.as_chunks::<64>();
        quarters.get(place).unwrap_or_else(|| unreachable!("a static key has four quarters"))
    }
}

pub(super) fn head(quarter: &[u8; 64]) -> &[u8; 32] {
    quarter.first_chunk::<32>().unwrap_or_else(|| unreachable!("64 bytes have 32"))
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKey(..)")
    }
}

impl PartialEq for StaticKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for StaticKey {}
