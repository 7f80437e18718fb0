//! The other side: what the build does.

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::{CONTEXT, Description, Head, HeadError, MAGIC, PROCESSOR, Part, PublicKey, SIGNATURES_MAX};
use crate::version::VERSION_BYTES_MAX;

/// Why a key cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this is no private key for Ed25519 (PKCS #8, as `openssl genpkey -algorithm ed25519 -outform DER` makes it)"
)]
pub struct KeyError;

/// A key that updates are signed with. It is never printed.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// From PKCS #8 in DER, with the public key (RFC 5958) or without (RFC 8410).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self).map_err(|_| KeyError)
    }

    /// A new one, as PKCS #8 in DER, of the randomness that the caller brings.
    pub fn generate(randomness: &SystemRandom) -> Result<Vec<u8>, KeyError> {
        let key = Ed25519KeyPair::generate_pkcs8(randomness).map_err(|_| KeyError)?;
        Ok(key.as_ref().to_vec())
    }

    /// What boxes verify with.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(bytes)
    }
}

/// An update that is about to be signed.
#[derive(Debug)]
pub struct Draft(pub Description);

impl Draft {
    /// The signed head. It is read back: what no box would take is refused here.
    pub fn sign(&self, keys: &[SigningKey]) -> Result<Vec<u8>, HeadError> {
        let Description { version, made_unix_s, grammar, root_hash, parts } = &self.0;
        let mut head = MAGIC.to_vec();
        let mut name = version.as_str().as_bytes().to_vec();
        // A version is not longer than its field.
        head.push(name.len() as u8);
        name.resize(VERSION_BYTES_MAX, 0);
        head.extend(&name);
        head.extend(PROCESSOR);
        head.extend(made_unix_s.to_be_bytes());
        head.extend(grammar.to_be_bytes());
        head.extend(root_hash);
        head.push(Part::ALL.len() as u8);
        for part in parts {
            head.extend(part.bytes.to_be_bytes());
            head.extend(part.sha256);
        }
        let message = [CONTEXT, &head].concat();
        let keys = keys.get(..keys.len().min(SIGNATURES_MAX)).unwrap_or_default();
        head.push(keys.len() as u8);
        for key in keys {
            head.extend(key.public().name());
            head.extend(key.0.sign(&message).as_ref());
        }
        let own: Vec<_> = keys.iter().map(SigningKey::public).collect();
        Head::read(&head)?.ok_or(HeadError::Malformed("length"))?.verify(&own)?;
        Ok(head)
    }
}
