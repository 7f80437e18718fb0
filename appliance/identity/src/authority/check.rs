//! What is refused of certificates that others made, and why, before a client is refused by them.
//!
//! Two sources of rules: what rustls-webpki refuses at each connection (version 1, SHA-1, RSA below 2048 bits, a wrong purpose,
//! unknown critical extensions), and ANSSI's profile, which is stricter and is advice for what an administration has
//! already issued. The first are [`Fault`]s, the second [`Advice`].

use std::fmt;
use std::time::Duration;

use super::inspect::{CRL_SIGN, DIGITAL_SIGNATURE, Facts, KEY_CERT_SIGN, Key, Signature};
use super::{DAY, MAX_END_ENTITY};
use crate::asn1::oid;
use crate::moment::Moment;

/// RSA keys below this are refused: rustls-webpki takes none, and ANSSI none since 2020.
pub const RSA_MINIMUM: usize = 2048;
/// RSA keys below this are advised against: ANSSI's guide on mechanisms asks for 3072 bits from 2031.
pub const RSA_ADVISED: usize = 3072;

/// What a certificate is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To sign others.
    Authority,
    /// To prove who a server is.
    Server,
    /// To prove who a client is.
    Client,
}

/// Why a certificate cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Without extensions there is nothing that tells an authority from a client.
    Version(u8),
    /// MD5 or SHA-1.
    Signature(&'static str),
    /// Some algorithm that is not known here.
    UnknownSignature(String),
    /// Too short to resist.
    ShortKey(usize),
    /// A kind of key that is not known here.
    UnknownKey(String),
    /// Not valid yet.
    NotYet(Moment),
    /// No longer valid.
    Expired(Moment),
    /// Names other purposes than the one it is wanted for.
    WrongPurpose(Purpose),
    /// Should sign certificates, and may not.
    NoAuthority,
    /// May sign certificates, and should be a client's or server's.
    IsAuthority,
    /// Its key may not be used so.
    KeyUsage(&'static str),
    /// An extension that must be understood and is not.
    UnknownCritical(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "it is an X.509 certificate of version {version}; version 3 is needed, whose extensions tell an authority \
                 from a client. Issue it again with extensions"
            ),
            Self::Signature(digest) => write!(
                f,
                "it is signed with {digest}, which can be forged. Issue it again with SHA-256 or better"
            ),
            Self::UnknownSignature(oid) => {
                write!(f, "its signature algorithm ({oid}) is not supported. Use ECDSA or RSA with SHA-256 or better")
            }
            Self::ShortKey(bits) => write!(
                f,
                "its RSA key has {bits} bits; {RSA_MINIMUM} is the least, {RSA_ADVISED} what ANSSI asks for. Make a new key"
            ),
            Self::UnknownKey(kind) => {
                write!(f, "its kind of key ({kind}) is not supported. Use ECDSA P-384 or P-256, or RSA {RSA_ADVISED}")
            }
            Self::NotYet(from) => write!(f, "it is valid only from {from}. Wait, or check the clocks"),
            Self::Expired(until) => write!(f, "it expired on {until}. Issue it again"),
            Self::WrongPurpose(Purpose::Client) => {
                f.write_str("its extended key usage does not name clientAuth. Issue it again as a client's certificate")
            }
            Self::WrongPurpose(Purpose::Server | Purpose::Authority) => {
                f.write_str("its extended key usage does not name serverAuth. Issue it again as a server's certificate")
            }
            Self::NoAuthority => f.write_str(
                "it is not an authority's (basicConstraints says CA:FALSE or is missing). Import the authority's own \
                 certificate",
            ),
            Self::IsAuthority => {
                f.write_str("it is an authority's, not a client's or server's. Import the certificate that it issued")
            }
            Self::KeyUsage(missing) => write!(f, "its key usage does not allow {missing}. Issue it again"),
            Self::UnknownCritical(oid) => write!(f, "it has the critical extension {oid}, which is not understood"),
        }
    }
}

/// Works, and falls short of ANSSI's profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Will be too short.
    ShortKey(usize),
    /// Longer than three years.
    LongLife(Duration),
    /// Names no purpose, so it has all.
    NoPurpose,
    /// Has no other name than the one in its subject.
    NoAltName,
    /// Fewer than 8 bytes.
    ShortSerial(usize),
    /// Soon to end.
    EndsSoon(Moment),
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortKey(bits) => write!(f, "RSA {bits}: ANSSI asks for {RSA_ADVISED} bits from 2031"),
            Self::LongLife(life) => {
                write!(f, "valid for {} days: ANSSI advises 3 years at most", life.as_secs() / DAY.as_secs())
            }
            Self::NoPurpose => f.write_str("names no purpose (extended key usage), so it has all of them"),
            Self::NoAltName => f.write_str("has no subject alternative name"),
            Self::ShortSerial(bytes) => write!(f, "a serial number of {bytes} bytes can be guessed"),
            Self::EndsSoon(until) => write!(f, "expires on {until}"),
        }
    }
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// Any of these, and it is refused.
    pub faults: Vec<Fault>,
    /// Worth saying.
    pub advice: Vec<Advice>,
}

impl Findings {
    /// Whether it may be used.
    pub fn usable(&self) -> bool {
        self.faults.is_empty()
    }
}

/// All that is wrong with a certificate for a purpose, at once.
pub fn check(facts: &Facts, purpose: Purpose, now: Moment) -> Findings {
    let mut found = Findings::default();
    strength(facts, &mut found);
    validity(facts, purpose, now, &mut found);
    if facts.version != 3 {
        found.faults.push(Fault::Version(facts.version));
        // What follows stands in extensions, which this one cannot have.
        return found;
    }
    match purpose {
        Purpose::Authority => authority(facts, &mut found),
        Purpose::Server => end_entity(facts, purpose, oid::SERVER_AUTH, &mut found),
        Purpose::Client => end_entity(facts, purpose, oid::CLIENT_AUTH, &mut found),
    }
    found.faults.extend(facts.unknown_critical.iter().cloned().map(Fault::UnknownCritical));
    found
}

fn strength(facts: &Facts, found: &mut Findings) {
    match &facts.signature {
        Signature::Rsa | Signature::Ecdsa | Signature::Ed25519 => {}
        // The signature of a root over itself proves nothing, and nobody checks it.
        Signature::Broken(_) | Signature::Other(_) if facts.self_issued() && facts.ca == Some(true) => {}
        Signature::Broken(digest) => found.faults.push(Fault::Signature(digest)),
        Signature::Other(oid) => found.faults.push(Fault::UnknownSignature(oid.clone())),
    }
    match &facts.key {
        Key::Rsa(bits) if *bits < RSA_MINIMUM => found.faults.push(Fault::ShortKey(*bits)),
        Key::Rsa(bits) if *bits < RSA_ADVISED => found.advice.push(Advice::ShortKey(*bits)),
        Key::Rsa(_) | Key::P256 | Key::P384 | Key::Ed25519 => {}
        // ring, which checks the signatures, has no P-521.
        Key::P521 | Key::Other(_) => found.faults.push(Fault::UnknownKey(facts.key.to_string())),
    }
    if facts.serial.len() < 8 && !facts.self_issued() {
        found.advice.push(Advice::ShortSerial(facts.serial.len()));
    }
}

fn validity(facts: &Facts, purpose: Purpose, now: Moment, found: &mut Findings) {
    if now < facts.not_before {
        found.faults.push(Fault::NotYet(facts.not_before));
    }
    if now > facts.not_after {
        found.faults.push(Fault::Expired(facts.not_after));
    } else if facts.not_after.since(now) < 30 * DAY {
        found.advice.push(Advice::EndsSoon(facts.not_after));
    }
    let life = facts.not_after.since(facts.not_before);
    if purpose != Purpose::Authority && life > MAX_END_ENTITY + DAY {
        found.advice.push(Advice::LongLife(life));
    }
}

fn authority(facts: &Facts, found: &mut Findings) {
    if facts.ca != Some(true) {
        found.faults.push(Fault::NoAuthority);
    }
    if facts.key_usage.is_some_and(|usage| usage & KEY_CERT_SIGN == 0) {
        found.faults.push(Fault::KeyUsage("signing certificates (keyCertSign)"));
    }
    if facts.key_usage.is_some_and(|usage| usage & CRL_SIGN == 0) {
        found.faults.push(Fault::KeyUsage("signing revocation lists (cRLSign)"));
    }
}

fn end_entity(facts: &Facts, purpose: Purpose, wanted: &[u8], found: &mut Findings) {
    if facts.ca == Some(true) {
        found.faults.push(Fault::IsAuthority);
    }
    if !facts.allows(wanted) {
        found.faults.push(Fault::WrongPurpose(purpose));
    }
    if facts.purposes.is_none() {
        found.advice.push(Advice::NoPurpose);
    }
    if facts.key_usage.is_some_and(|usage| usage & DIGITAL_SIGNATURE == 0) {
        found.faults.push(Fault::KeyUsage("signing (digitalSignature), which TLS needs"));
    }
    if facts.names.is_empty() {
        found.advice.push(Advice::NoAltName);
    }
}
