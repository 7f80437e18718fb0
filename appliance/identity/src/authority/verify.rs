//! Who a client is, by its certificate: the verifier for rustls, and what a verified certificate says.

use std::sync::Arc;

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use thiserror::Error;

use super::inspect::{AltName, Facts, Key};
use super::{Authority, Serial};
use crate::asn1::{Malformed, Reader, oid, tag};
use crate::names::{DeviceId, UserName};

/// What a revocation list that has ended means. Our own is renewed by the box; this is about imported ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpiredLists {
    /// Nobody of that authority gets in until a new one is imported (ANSSI, TLS R37).
    Refuse,
    /// It is used as the last word that we have.
    Accept,
}

/// Whether a client must show a certificate at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Else TLS fails.
    Demanded,
    /// What the login demands is seen later; one that is shown must be right.
    Optional,
}

/// Why there is no verifier.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NoVerifier {
    /// No client could ever connect.
    #[error("there is no authority")]
    NoAuthority,
    /// rustls refused a certificate or a list.
    #[error("{0}")]
    Refused(String),
}

/// The verifier of clients' certificates for all these authorities and their lists. It is made anew, with the server's
/// configuration, whenever a list changes.
///
/// A client of an authority that has no list is let in, because an imported authority may not publish one; the check of
/// revocation by device still holds.
pub fn client_verifier<'a>(
    authorities: impl Iterator<Item = &'a Authority>,
    expired: ExpiredLists,
    presence: Presence,
) -> Result<Arc<dyn ClientCertVerifier>, NoVerifier> {
    let mut roots = RootCertStore::empty();
    let mut lists = Vec::new();
    for authority in authorities {
        let certificate = CertificateDer::from(authority.certificate().to_vec());
        roots.add(certificate).map_err(|error| NoVerifier::Refused(error.to_string()))?;
        lists.extend(authority.list().map(|list| CertificateRevocationListDer::from(list.to_vec())));
    }
    if roots.is_empty() {
        return Err(NoVerifier::NoAuthority);
    }
    let all_have_lists = lists.len() == roots.len();
    let provider = Arc::new(default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).with_crls(lists);
    if !all_have_lists {
        builder = builder.allow_unknown_revocation_status();
    }
    if expired == ExpiredLists::Refuse {
        builder = builder.enforce_revocation_expiration();
    }
    if presence == Presence::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| NoVerifier::Refused(error.to_string()))
}

/// What a certificate says about its owner. Only from one that the verifier let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientIdentity {
    /// Its serial number.
    pub serial: Serial,
    /// SHA-256 over all of it.
    pub fingerprint: [u8; 32],
    /// The issuer's name, encoded.
    pub issuer: Vec<u8>,
    /// The device, if we issued it.
    pub device: Option<DeviceId>,
    /// The person: the principal of Active Directory if it names one, else the common name.
    pub user: Option<UserName>,
}

impl ClientIdentity {
    /// From a certificate that the verifier let through.
    pub fn of(certificate: &[u8]) -> Result<Self, Malformed> {
        let facts = Facts::read(certificate)?;
        let device = facts.names.iter().find_map(|name| match name {
            AltName::Uri(uri) => DeviceId::from_urn(uri),
            AltName::Dns(_) | AltName::Mail(_) | AltName::Principal(_) | AltName::Ip(_) => None,
        });
        let principal = facts.names.iter().find_map(|name| match name {
            AltName::Principal(principal) => Some(principal.clone()),
            AltName::Dns(_) | AltName::Mail(_) | AltName::Uri(_) | AltName::Ip(_) => None,
        });
        Ok(Self {
            serial: Serial::new(&facts.serial).ok_or(Malformed::Value)?,
            fingerprint: fingerprint(certificate),
            user: principal.or_else(|| facts.common_name()).and_then(|name| name.parse().ok()),
            issuer: facts.issuer,
            device,
        })
    }
}

/// SHA-256 over a whole certificate.
pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

/// Whether a certificate or a revocation list carries the signature of this issuer. RFC 5280 §4.1 and §5.1 have one outer form.
pub fn signed_by(signed: &[u8], issuer: &Facts) -> bool {
    verify(signed, issuer).unwrap_or(false)
}

fn verify(signed: &[u8], issuer: &Facts) -> Result<bool, Malformed> {
    let mut file = Reader::der(signed);
    let mut outer = file.sequence()?;
    file.end()?;
    let content = outer.element()?.whole;
    let scheme = outer.sequence()?.take(tag::OID)?;
    let value = outer.bits()?;
    let algorithm: &'static dyn VerificationAlgorithm = match (scheme, &issuer.key) {
        (oid::SHA256_RSA, Key::Rsa(_)) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (oid::SHA384_RSA, Key::Rsa(_)) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (oid::SHA512_RSA, Key::Rsa(_)) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (oid::SHA256_ECDSA, Key::P256) => &signature::ECDSA_P256_SHA256_ASN1,
        (oid::SHA384_ECDSA, Key::P256) => &signature::ECDSA_P256_SHA384_ASN1,
        (oid::SHA256_ECDSA, Key::P384) => &signature::ECDSA_P384_SHA256_ASN1,
        (oid::SHA384_ECDSA, Key::P384) => &signature::ECDSA_P384_SHA384_ASN1,
        (oid::ED25519, Key::Ed25519) => &signature::ED25519,
        _ => return Ok(false),
    };
    let mut info = Reader::der(&issuer.public_key).sequence()?;
    info.sequence()?;
    let key = info.bits()?;
    Ok(UnparsedPublicKey::new(algorithm, key).verify(content, value).is_ok())
}
