//! Passwords of local users: argon2id, kept as PHC strings.
//!
//! 64 MiB, 3 passes, 1 lane: RFC 9106 §4's second choice with one lane fewer per pass, above OWASP's least (46 MiB with one pass).
//! ANSSI asks for a memory-hard function and a random salt of 128 bits. One check takes about a tenth of a second and a core:
//! the driver runs it off the packet threads and bounds how many run at once.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, Salt};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::secret::Secret;

const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// What a stored hash may ask for, so that a document from elsewhere cannot exhaust the box.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 8;
/// Bytes of a password: what OpenVPN 2.x clients can send (their field holds 128 with the final zero).
pub const MAX_PASSWORD: usize = 127;
/// Characters of a new one. ANSSI (guide on authentication, R22 to R24): 12 without a second factor for ordinary access.
pub const MIN_PASSWORD: usize = 12;

/// Why a new password is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Weak {
    /// Too short.
    #[error("the password has fewer than {MIN_PASSWORD} characters")]
    Short,
    /// Clients could not send it.
    #[error("the password is longer than {MAX_PASSWORD} bytes, which OpenVPN clients cannot send")]
    Long,
    /// Holds the user's name, or hardly any different characters.
    #[error("the password is easy to guess: it holds the name of the user, or few different characters")]
    Guessable,
    /// Cannot be typed.
    #[error("the password holds a control character")]
    Control,
    /// Random bytes are not to be had.
    #[error("the machine gives no random bytes")]
    NoRandomness,
}

/// A password's hash, as a PHC string `$argon2id$v=19$m=…`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(String);

/// A text is no hash of a kind that is used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a PHC string of argon2id within the limits (256 MiB, 10 passes, 8 lanes)")]
pub struct BadHash;

impl TryFrom<String> for Hash {
    type Error = BadHash;

    fn try_from(text: String) -> Result<Self, BadHash> {
        let parsed = PasswordHash::new(&text).map_err(|_| BadHash)?;
        let params = Params::try_from(&parsed).map_err(|_| BadHash)?;
        let within = params.m_cost() <= MAX_MEMORY_KIB
            && params.t_cost() <= MAX_PASSES
            && params.p_cost() <= MAX_LANES;
        let complete = parsed.hash.is_some_and(|hash| hash.len() >= 16) && parsed.salt.is_some();
        if parsed.algorithm == argon2::ARGON2ID_IDENT && within && complete {
            Ok(Self(text))
        } else {
            Err(BadHash)
        }
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0
    }
}

/// Without the salt and the digest, which are worth a search.
impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash(argon2id…)")
    }
}

/// The function with today's parameters.
fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl Hash {
    /// Hashes a new password of this user, if it is good enough.
    pub fn new(password: &Secret, user: &str, randomness: &dyn SecureRandom) -> Result<Self, Weak> {
        judge(password, user)?;
        let mut salt = [0; 16];
        randomness.fill(&mut salt).map_err(|_| Weak::NoRandomness)?;
        Ok(Self::with_salt(password, &salt))
    }

    fn with_salt(password: &Secret, salt: &[u8; 16]) -> Self {
        // 22 letters of base64 are within what a PHC string takes, so neither step can fail.
        let letters = argon2::password_hash::SaltString::encode_b64(salt);
        let hashed = letters.ok().and_then(|letters| {
            argon2().hash_password(password.expose(), Salt::from(&letters)).map(|hash| hash.to_string()).ok()
        });
        Self(hashed.unwrap_or_default())
    }

    /// Whether this is the password. Takes as long whatever the answer.
    pub fn verify(&self, password: &Secret) -> bool {
        // What a client cannot have sent honestly is not worth the work; its length is the sender's own knowledge.
        if password.expose().len() > MAX_PASSWORD {
            return false;
        }
        // The parameters in the string are used, so hashes from before a change of ours still work.
        PasswordHash::new(&self.0)
            .is_ok_and(|hash| argon2().verify_password(password.expose(), &hash).is_ok())
    }

    /// Whether it was made with weaker parameters than today's, and should be made anew at the next success.
    pub fn is_dated(&self) -> bool {
        let params = PasswordHash::new(&self.0).ok().and_then(|hash| Params::try_from(&hash).ok());
        params.is_none_or(|params| params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES)
    }
}

/// Does the work of a check for a user who does not exist, so that the time tells nothing. Always false.
pub fn verify_nobody(password: &Secret) -> bool {
    if password.expose().len() <= MAX_PASSWORD {
        let hash = Hash::with_salt(password, b"nobody's salt 16");
        std::hint::black_box(&hash);
    }
    false
}

fn judge(password: &Secret, user: &str) -> Result<(), Weak> {
    let Some(text) = password.expose_str() else { return Err(Weak::Control) };
    if text.len() > MAX_PASSWORD {
        return Err(Weak::Long);
    }
    if text.chars().any(char::is_control) {
        return Err(Weak::Control);
    }
    if text.chars().count() < MIN_PASSWORD {
        return Err(Weak::Short);
    }
    let different: std::collections::BTreeSet<char> = text.chars().collect();
    let lowered = zeroize::Zeroizing::new(text.to_lowercase());
    if different.len() < 5 || user.len() >= 3 && lowered.contains(&user.to_lowercase()) {
        return Err(Weak::Guessable);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text)
    }

    #[test]
    fn the_reference_implementation_agrees() {
        // In: a hash that the reference command line made, `echo -n "password" | argon2 somesalt -id -t 2 -m 16 -p 1` (the
        // test vector of its own suite). Out: verified with the parameters in the string.
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = Hash::try_from(text.to_owned()).unwrap();
        assert!(hash.verify(&secret("password")));
        assert!(!hash.verify(&secret("passwore")));
        assert!(hash.is_dated(), "two passes are fewer than today's three");
    }

    #[test]
    fn ours_are_verified_and_never_shown() {
        let password = secret("correct horse battery");
        let hash = Hash::new(&password, "alice", &SystemRandom::new()).unwrap();
        assert!(hash.verify(&password));
        assert!(!hash.verify(&secret("correct horse batterz")) && !hash.verify(&secret("")));
        assert!(!hash.is_dated());
        let text = String::from(hash.clone());
        assert!(text.starts_with("$argon2id$v=19$m=65536,t=3,p=1$"), "{text}");
        assert_eq!(format!("{hash:?}"), "Hash(argon2id…)");
        let again = Hash::new(&password, "alice", &SystemRandom::new()).unwrap();
        assert_ne!(again, hash, "each has its own salt");
    }

    #[test]
    fn weak_ones_and_foreign_hashes_are_refused() {
        for (text, fault) in [
            ("short one 1", Weak::Short),
            ("aaaaabbbbbcccc", Weak::Guessable),
            ("my name is ALICE", Weak::Guessable),
            ("tab\tin the middle", Weak::Control),
        ] {
            assert_eq!(Hash::new(&secret(text), "alice", &SystemRandom::new()), Err(fault), "{text}");
        }
        let long = secret(&"0123456789".repeat(13));
        assert_eq!(Hash::new(&long, "alice", &SystemRandom::new()), Err(Weak::Long));
        for text in [
            "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=1048576,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
            "$1$abc$def",
            "",
        ] {
            assert_eq!(Hash::try_from(text.to_owned()), Err(BadHash), "{text}");
        }
    }

    #[test]
    fn nobody_costs_the_same_work() {
        // In: a wrong password for somebody and one for nobody. Out: both fill 64 MiB three times; the times stay within a
        // factor of three of one another even on a busy machine.
        let hash = Hash::new(&secret("correct horse battery"), "alice", &SystemRandom::new()).unwrap();
        let wrong = secret("incorrect horse battery");
        let time = |check: &dyn Fn() -> bool| {
            let times = (0..3).map(|_| {
                let start = std::time::Instant::now();
                assert!(!check());
                start.elapsed()
            });
            times.min().unwrap()
        };
        let (somebody, nobody) = (time(&|| hash.verify(&wrong)), time(&|| verify_nobody(&wrong)));
        assert!(nobody < somebody * 3 && somebody < nobody * 3, "{somebody:?} {nobody:?}");
    }
}
