//! Taking over what an administration already has: its authority, with or without the key, its revocation lists, and the
//! certificates of its clients.

use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::PrivatePkcs8KeyDer;
use thiserror::Error;

use super::check::{Findings, Purpose, check};
use super::files::Contents;
use super::inspect::Facts;
use super::verify::{ClientIdentity, signed_by};
use super::{Authority, NotIssued, Serial};
use crate::asn1::{Malformed, Reader, tag};
use crate::moment::Moment;
use crate::secret::Secret;

/// Entries of an imported revocation list, by its size: 40 bytes each.
const MAX_LIST: usize = 4 << 20;

/// Why something was not taken over.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NotImported {
    /// The file has no certificate of the right kind.
    #[error("the file holds no certificate")]
    NoCertificate,
    /// It does not read.
    #[error("a certificate in the file does not read: {0}")]
    Malformed(#[from] Malformed),
    /// It reads, and cannot be used.
    #[error("the certificate cannot be used: {}", faults(.0))]
    Faults(Findings),
    /// The key is of a kind that ring does not take, or damaged.
    #[error("the private key cannot be used: {0}")]
    Key(String),
    /// The key is another certificate's.
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    /// The authority cannot sign what it should.
    #[error("{0}")]
    NotIssued(#[from] NotIssued),
    /// Signed by somebody else.
    #[error("it is not signed by any authority that is known here; import the authority first")]
    UnknownIssuer,
    /// The list is larger than any that we keep.
    #[error("the revocation list is larger than 4 MB")]
    LargeList,
    /// We sign this authority's list ourselves.
    #[error("this authority's key is here, so the box signs its revocation list itself")]
    OwnList,
    /// An older list than the one that is here.
    #[error("the revocation list dates from {theirs}, the one that is here from {ours}")]
    OldList {
        /// When the imported one was made.
        theirs: Moment,
        /// When ours was made.
        ours: Moment,
    },
}

fn faults(findings: &Findings) -> String {
    findings.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Authority {
    /// Takes over an authority from a file that was read: the first certificate in it that may sign others, and the key if there
    /// is one. Without the key it vouches for clients and issues nothing.
    pub fn import(contents: &Contents, now: Moment) -> Result<(Self, Findings), NotImported> {
        let mut all = Vec::new();
        for der in &contents.certificates {
            all.push((Facts::read(der)?, der));
        }
        let authority = all.iter().find(|(facts, _)| facts.ca == Some(true)).or(all.first());
        let (facts, der) = authority.ok_or(NotImported::NoCertificate)?;
        let findings = check(facts, Purpose::Authority, now);
        if !findings.usable() {
            return Err(NotImported::Faults(findings));
        }
        if let Some(key) = &contents.key {
            belongs(key, facts)?;
        }
        let mut authority = Self::with_key(der.to_vec(), contents.key.clone(), now);
        if authority.issues() {
            // A number above any list that the authority published elsewhere, unless those counted in seconds too.
            authority.list_number = u64::try_from(now.seconds()).unwrap_or(0);
            authority.sign_list(now)?;
        }
        Ok((authority, findings))
    }

    /// Takes over a revocation list that this authority published elsewhere, in PEM or DER.
    pub fn import_list(&mut self, file: &[u8]) -> Result<(), NotImported> {
        if self.issues() {
            return Err(NotImported::OwnList);
        }
        if file.len() > MAX_LIST {
            return Err(NotImported::LargeList);
        }
        let der = if file.first() == Some(&tag::SEQUENCE) {
            file.to_vec()
        } else {
            let sections = crate::pem::read(file).map_err(|_| Malformed::Value)?;
            let list = sections.iter().find(|section| section.label == "X509 CRL");
            list.ok_or(NotImported::NoCertificate)?.body.expose().to_vec()
        };
        if !signed_by(&der, &self.facts()?) {
            return Err(NotImported::UnknownIssuer);
        }
        let (made, until) = dates(&der)?;
        if let Some(ours) = self.list() {
            let (ours, _) = dates(ours)?;
            if made < ours {
                return Err(NotImported::OldList { theirs: made, ours });
            }
        }
        self.list = Some(Secret::new(der));
        self.list_until = until;
        Ok(())
    }
}

/// thisUpdate and nextUpdate (RFC 5280 §5.1.2.4 and §5.1.2.5).
fn dates(list: &[u8]) -> Result<(Moment, Moment), Malformed> {
    let mut tbs = Reader::der(list).sequence()?.sequence()?;
    tbs.optional(tag::INTEGER)?;
    tbs.sequence()?;
    tbs.sequence()?;
    let made = super::inspect::moment(&mut tbs)?;
    let until = match tbs.peek() {
        Some(tag::UTC_TIME | tag::GENERALIZED_TIME) => super::inspect::moment(&mut tbs)?,
        _ => return Err(Malformed::Value),
    };
    Ok((made, until))
}

fn belongs(key: &Secret, facts: &Facts) -> Result<(), NotImported> {
    let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key.expose()))
        .map_err(|error| NotImported::Key(error.to_string()))?;
    if pair.subject_public_key_info() == facts.public_key { Ok(()) } else { Err(NotImported::OtherKey) }
}

/// A client's certificate that one of our authorities vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportedClient {
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    /// Its key, if the file had it, as PKCS #8.
    pub key: Option<Secret>,
    /// What it says about its owner.
    pub identity: ClientIdentity,
    /// Until when it is valid.
    pub until: Moment,
    /// What to say about it.
    pub findings: Findings,
}

/// Takes a client's certificate over from a file that was read. The last link of a chain is meant: the certificate that may not
/// sign others.
pub fn import_client<'a>(
    contents: &Contents,
    authorities: impl Iterator<Item = &'a Authority>,
    now: Moment,
) -> Result<ImportedClient, NotImported> {
    let mut all = Vec::new();
    for der in &contents.certificates {
        all.push((Facts::read(der)?, der));
    }
    let client = all.iter().find(|(facts, _)| facts.ca != Some(true)).or(all.first());
    let (facts, der) = client.ok_or(NotImported::NoCertificate)?;
    let findings = check(facts, Purpose::Client, now);
    if !findings.usable() {
        return Err(NotImported::Faults(findings));
    }
    if let Some(key) = &contents.key {
        belongs(key, facts)?;
    }
    let mut known = Vec::new();
    for authority in authorities {
        known.push(authority.facts()?);
    }
    // Serial numbers longer than a list can hold are refused with the rest that does not read.
    Serial::new(&facts.serial).ok_or(Malformed::Value)?;
    if !known.iter().any(|issuer| issuer.subject == facts.issuer && signed_by(der, issuer)) {
        return Err(NotImported::UnknownIssuer);
    }
    Ok(ImportedClient {
        certificate: der.to_vec(),
        key: contents.key.clone(),
        identity: ClientIdentity::of(der)?,
        until: facts.not_after,
        findings,
    })
}
