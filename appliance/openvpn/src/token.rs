//! Tokens: what a client shows at a renegotiation instead of a password, so that no person is asked, and what either node
//! can verify without a table.
//!
//! ```text
//!  SESS_ID_AT_ base64( session 12 │ issued 8 │ renewed 8 │ HMAC-SHA256(all before ‖ user) 32 )
//! ```
//!
//! The form is the one that stock clients know to be a token. Whether one is too old is for the driver to say, and whether
//! its user may still come in.

#[cfg(test)]
mod tests;

use std::fmt;

use base64ct::{Base64, Encoding};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::message::TOKEN_PREFIX;

const CLEAR: usize = 28;
const TOKEN: usize = CLEAR + 32;

/// Names a login over all its renegotiations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginId(pub [u8; 12]);

impl fmt::Debug for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims {
    /// Of which login.
    pub login: LoginId,
    /// When the person logged in, in seconds since 1970.
    pub issued_unix_s: u64,
    /// When this token was made, in seconds since 1970.
    pub renewed_unix_s: u64,
}

/// A token of ours was shown, for this user. Made only by [`TokenKey::verify`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    claims: Claims,
    user: String,
}

impl Verified {
    /// What it says.
    pub fn claims(&self) -> Claims {
        self.claims
    }

    /// Whose it is.
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// The key of the tokens. Both nodes have the same.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// From random bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// A token for a user.
    pub fn make(&self, claims: Claims, user: &str) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; TOKEN]);
        let (clear, tag) = bytes.split_at_mut(CLEAR);
        clear.copy_from_slice(&encode(claims));
        tag.copy_from_slice(&self.tag(clear, user).finalize().into_bytes());
        let mut text = Zeroizing::new(TOKEN_PREFIX.to_owned());
        text.push_str(&Base64::encode_string(&bytes[..]));
        text
    }

    /// Whether it is a token that was made for this user. OpenVPN 3 may leave its user name empty beside a token (study
    /// §2.5): then the caller passes the one that it has on record for the session.
    pub fn verify(&self, token: &str, user: &str) -> Option<Verified> {
        let text = token.strip_prefix(TOKEN_PREFIX)?;
        let mut bytes = Zeroizing::new([0; TOKEN]);
        if Base64::decode(text, &mut bytes[..]).ok()?.len() != TOKEN {
            return None;
        }
        let (clear, tag) = bytes.split_at(CLEAR);
        self.tag(clear, user).verify_slice(tag).ok()?;
        Some(Verified { claims: decode(clear.first_chunk()?), user: user.to_owned() })
    }

    fn tag(&self, clear: &[u8], user: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("an HMAC takes any key"));
        mac.update(clear);
        mac.update(user.as_bytes());
        mac
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

fn encode(claims: Claims) -> [u8; CLEAR] {
    let mut bytes = [0; CLEAR];
    bytes[..12].copy_from_slice(&claims.login.0);
    bytes[12..20].copy_from_slice(&claims.issued_unix_s.to_be_bytes());
    bytes[20..].copy_from_slice(&claims.renewed_unix_s.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; CLEAR]) -> Claims {
    let (mut login, mut issued, mut renewed) = ([0; 12], [0; 8], [0; 8]);
    login.copy_from_slice(&bytes[..12]);
    issued.copy_from_slice(&bytes[12..20]);
    renewed.copy_from_slice(&bytes[20..]);
    Claims {
        login: LoginId(login),
        issued_unix_s: u64::from_be_bytes(issued),
        renewed_unix_s: u64::from_be_bytes(renewed),
    }
}
