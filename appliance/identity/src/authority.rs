//! The certificate authority: makes the certificates of servers and of clients' devices, revokes them, and takes over an
//! authority that an administration already has.
//!
//! ```text
//!   authority, P-384, 10 years ──signs──┬─▶ server, 2 years, serverAuth, its names
//!         │                             └─▶ device, 1 year, clientAuth, CN = user, URI = device
//!         └──signs──▶ revocation list, 30 days, numbered, renewed with each revocation
//! ```
//!
//! The profile is ANSSI's (guide on TLS, R24 to R33): SHA-2, at most three years, key usage critical, one purpose, an
//! alternative name, serial numbers that cannot be guessed, identifiers of both keys. Keys are ECDSA P-384: ring makes no RSA
//! keys, so RSA (2048 bits and more) comes by import only.
//!
//! Pure but for the randomness inside ring's key generation and ECDSA signatures, which it does not let anyone pass in.
//! The record is a value; the driver keeps it, secret, and replicates it.

mod check;
mod envelope;
mod expiry;
mod files;
mod import;
mod inspect;
mod issue;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use check::{Advice, Fault, Findings, Purpose, RSA_ADVISED, RSA_MINIMUM, check};
pub use envelope::Sealed;
pub use expiry::{Expiring, Stage, Subject, expiring};
pub use files::{Contents, Unreadable, read, write_pkcs12};
pub use import::{ImportedClient, NotImported, import_client};
pub use inspect::{AltName, Facts, Key, MAX_CERTIFICATE, Signature, hex};
pub use issue::{Credential, NotIssued, Owner};
pub(crate) use verify::fingerprint;
pub use verify::{ClientIdentity, ExpiredLists, NoVerifier, Presence, client_verifier, signed_by};

use crate::moment::Moment;
use crate::secret::Secret;

/// A day.
pub const DAY: Duration = Duration::from_secs(86_400);
/// An authority's life: clients keep its certificate in their profiles, and each change means new profiles.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(3652 * 86_400);
/// A server's certificate: renewed by the box itself.
pub const SERVER_LIFE: Duration = Duration::from_secs(730 * 86_400);
/// A device's certificate.
pub const CLIENT_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// The most for a server or a client (ANSSI, TLS R27: three years).
pub const MAX_END_ENTITY: Duration = Duration::from_secs(1095 * 86_400);
/// A revocation list's life. The box renews it at half of that.
pub const LIST_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// Valid a little earlier than made, for clients whose clocks are late.
pub(crate) const SKEW: Duration = Duration::from_secs(300);
/// Certificates that an authority remembers: a few for each of 2,000 people.
pub const MAX_ISSUED: usize = 10_000;

/// A serial number, without its sign.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(Vec<u8>);

impl Serial {
    /// From its bytes; RFC 5280 §4.1.2.2 allows 20. Zeros in front are dropped.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len().saturating_sub(1));
        let short: Vec<u8> = bytes.iter().skip(zeros).copied().collect();
        (1..=20).contains(&short.len()).then_some(Self(short))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// 158 random bits in 20 bytes: ANSSI and the CA/Browser Forum ask for 64.
    pub(crate) fn random(randomness: &dyn SecureRandom) -> Result<Self, NotIssued> {
        let mut bytes = [0; 20];
        randomness.fill(&mut bytes).map_err(|_| NotIssued::NoRandomness)?;
        let [first, rest @ ..] = bytes;
        // Positive, and 20 bytes long.
        let first = first & 0x7f | 0x40;
        Ok(Self([&[first], &rest[..]].concat()))
    }
}

/// A text is no serial number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a serial number is 1 to 20 bytes in hexadecimal")]
pub struct BadSerial;

impl TryFrom<String> for Serial {
    type Error = BadSerial;

    fn try_from(text: String) -> Result<Self, BadSerial> {
        if !text.is_ascii() || !text.len().is_multiple_of(2) {
            return Err(BadSerial);
        }
        let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).unwrap_or(""));
        let bytes: Result<Vec<u8>, _> = pairs.map(|pair| u8::from_str_radix(pair, 16)).collect();
        Self::new(&bytes.map_err(|_| BadSerial)?).ok_or(BadSerial)
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        hex(&serial.0)
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Why a certificate was revoked (RFC 5280 §5.3.1). Holds and removals from a list are left out: a device that came back gets
/// a new certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The key may be in other hands: lost, stolen.
    KeyCompromise,
    /// The person moved elsewhere.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// The device is no longer used.
    CessationOfOperation,
    /// The person may no longer.
    PrivilegeWithdrawn,
    /// Nobody said.
    Unspecified,
}

/// What was issued.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// For whom.
    pub owner: Owner,
    /// Until when.
    pub until: Moment,
    /// When and why it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

/// When and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// When.
    pub at: Moment,
    /// Why.
    pub reason: Reason,
}

/// An authority: its certificate, its key if we hold it, and what it has issued.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Its certificate in DER; the type is for base64, it is no secret.
    certificate: Secret,
    /// Its key as PKCS #8. Without one it only vouches for the clients that others certified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Secret>,
    issued: BTreeMap<Serial, Issued>,
    /// The current revocation list in DER, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list: Option<Secret>,
    list_number: u64,
    list_until: Moment,
}

impl Authority {
    /// Its certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        self.certificate.expose()
    }

    /// Its certificate as it stands in a profile.
    pub fn certificate_pem(&self) -> String {
        crate::pem::write("CERTIFICATE", self.certificate())
    }

    /// Whether it can issue.
    pub fn issues(&self) -> bool {
        self.key.is_some()
    }

    /// The current revocation list in DER.
    pub fn list(&self) -> Option<&[u8]> {
        self.list.as_ref().map(Secret::expose)
    }

    /// The number of the current list.
    pub fn list_number(&self) -> u64 {
        self.list_number
    }

    /// Until when the current list is good.
    pub fn list_until(&self) -> Moment {
        self.list_until
    }

    /// What it has issued, by serial number.
    pub fn issued(&self) -> &BTreeMap<Serial, Issued> {
        &self.issued
    }

    /// What its certificate says.
    pub fn facts(&self) -> Result<Facts, crate::asn1::Malformed> {
        Facts::read(self.certificate())
    }
}
