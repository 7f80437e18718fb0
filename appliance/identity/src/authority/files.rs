//! Certificates and keys that others wrote: PEM with plain or encrypted keys, PKCS #12, single certificates in DER.

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use super::envelope::{self, Fresh, Integrity, Sealed};
use crate::asn1::{self, Malformed, Reader, oid, tag};
use crate::pem::{self, NotPem};
use crate::secret::Secret;

/// Certificates in one file.
const MAX_CERTIFICATES: usize = 32;
/// Parts of one PKCS #12 file, and bags in a part.
const MAX_PARTS: usize = 64;
/// Rounds of the integrity check that we write, as OpenSSL does: what protects the key is its own encryption.
const CHECK_ROUNDS: u64 = 2048;

/// Why a file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Unreadable {
    /// No PEM.
    #[error("{0}")]
    Pem(#[from] NotPem),
    /// Does not open.
    #[error("{0}")]
    Sealed(#[from] Sealed),
    /// Not ASN.1 of the right kind.
    #[error("the file is damaged or of another kind: {0}")]
    Malformed(#[from] Malformed),
    /// More than we take.
    #[error("the file is larger than 256 kB, or holds more than {MAX_CERTIFICATES} certificates")]
    Large,
    /// A chain and two keys: which is meant?
    #[error("the file holds several private keys; leave the one that belongs to the certificate")]
    SeveralKeys,
    /// A PKCS #12 file without its check.
    #[error("the file has no integrity check under the password (MacData), so anyone may have changed it")]
    NoCheck,
    /// Random bytes are not to be had.
    #[error("the machine gives no random bytes")]
    NoRandomness,
}

/// What a file held.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Certificates in DER, in the order of the file.
    pub certificates: Vec<Vec<u8>>,
    /// A private key, as PKCS #8 in DER.
    pub key: Option<Secret>,
}

impl Contents {
    fn add_certificate(&mut self, der: &[u8]) -> Result<(), Unreadable> {
        if self.certificates.len() == MAX_CERTIFICATES {
            return Err(Unreadable::Large);
        }
        self.certificates.push(der.to_vec());
        Ok(())
    }

    fn add_key(&mut self, key: Secret) -> Result<(), Unreadable> {
        match self.key.replace(key) {
            None => Ok(()),
            Some(_) => Err(Unreadable::SeveralKeys),
        }
    }
}

/// Reads a file of any of these kinds; the password opens what is encrypted in it.
pub fn read(file: &[u8], password: Option<&Secret>) -> Result<Contents, Unreadable> {
    if file.len() > pem::MAX_FILE {
        return Err(Unreadable::Large);
    }
    let mut contents = Contents::default();
    if file.first() != Some(&tag::SEQUENCE) {
        for section in pem::read(file)? {
            section_of_pem(&section, password, &mut contents)?;
        }
        return Ok(contents);
    }
    // A PKCS #12 file begins with its version, a certificate with a sequence.
    let inner = Reader::ber(file).sequence()?;
    if inner.peek() == Some(tag::INTEGER) {
        pkcs12(inner, password, &mut contents)?;
    } else {
        contents.add_certificate(file)?;
    }
    Ok(contents)
}

fn section_of_pem(
    section: &pem::Section,
    password: Option<&Secret>,
    contents: &mut Contents,
) -> Result<(), Unreadable> {
    let body = section.body.expose();
    match section.label.as_str() {
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => contents.add_certificate(body),
        "PRIVATE KEY" => contents.add_key(section.body.clone()),
        "ENCRYPTED PRIVATE KEY" => contents.add_key(encrypted_key(body, password)?),
        "RSA PRIVATE KEY" => {
            let algorithm =
                asn1::sequence(&[&asn1::write(tag::OID, &[oid::RSA]), &asn1::write(tag::NULL, &[])]);
            contents.add_key(pkcs8(&algorithm, body))
        }
        "EC PRIVATE KEY" => {
            let curve = curve(body)?;
            let algorithm =
                asn1::sequence(&[&asn1::write(tag::OID, &[oid::EC]), &asn1::write(tag::OID, &[curve])]);
            contents.add_key(pkcs8(&algorithm, body))
        }
        // Parameters, requests, revocation lists: nothing that is asked for here.
        _ => Ok(()),
    }
}

/// A key in an older frame, put into the PKCS #8 one (RFC 5208 §5).
fn pkcs8(algorithm: &[u8], key: &[u8]) -> Secret {
    let key = Secret::new(asn1::write(tag::OCTET_STRING, &[key]));
    Secret::new(asn1::sequence(&[&asn1::write_number(tag::INTEGER, 0), algorithm, key.expose()]))
}

/// The curve that an EC key names (RFC 5915 §3).
fn curve(key: &[u8]) -> Result<&[u8], Malformed> {
    let mut fields = Reader::ber(key).sequence()?;
    fields.number()?;
    fields.take(tag::OCTET_STRING)?;
    fields.inside(tag::explicit(0))?.take(tag::OID)
}

/// EncryptedPrivateKeyInfo (RFC 5208 §6).
fn encrypted_key(der: &[u8], password: Option<&Secret>) -> Result<Secret, Sealed> {
    let mut fields = Reader::ber(der).sequence()?;
    let algorithm = fields.sequence()?;
    let sealed = fields.take(tag::OCTET_STRING)?;
    let key = envelope::open(algorithm, sealed, password)?;
    // One wrong password in a few hundred leaves a valid padding.
    match Reader::ber(key.expose()).sequence().map(|mut inner| inner.number()) {
        Ok(Ok(0 | 1)) => Ok(key),
        Ok(_) | Err(_) => Err(Sealed::Password),
    }
}

/// PFX (RFC 7292 §4).
fn pkcs12(
    mut fields: Reader<'_>,
    password: Option<&Secret>,
    contents: &mut Contents,
) -> Result<(), Unreadable> {
    if fields.number()? != 3 {
        return Err(Malformed::Value.into());
    }
    let mut safe = fields.sequence()?;
    if safe.take(tag::OID)? != oid::PKCS7_DATA {
        return Err(Sealed::Scheme("a public key (signedData)".to_owned()).into());
    }
    let authenticated = safe.inside(tag::explicit(0))?.take(tag::OCTET_STRING)?;
    if fields.is_empty() {
        return Err(Unreadable::NoCheck);
    }
    check(fields.sequence()?, authenticated, password)?;
    let mut parts = Reader::ber(authenticated).sequence()?;
    for _ in 0..MAX_PARTS {
        if parts.is_empty() {
            return Ok(());
        }
        let mut part = parts.sequence()?;
        let kind = part.take(tag::OID)?;
        let mut body = part.inside(tag::explicit(0))?;
        match kind {
            oid::PKCS7_DATA => bags(body.take(tag::OCTET_STRING)?, password, contents)?,
            oid::PKCS7_ENCRYPTED => {
                let plain = encrypted_part(&mut body, password)?;
                bags(plain.expose(), password, contents)?;
            }
            other => return Err(Sealed::Scheme(oid::display(other)).into()),
        }
    }
    Err(Unreadable::Large)
}

/// MacData (RFC 7292 §4).
fn check(mut mac: Reader<'_>, content: &[u8], password: Option<&Secret>) -> Result<(), Sealed> {
    let password = password.ok_or(Sealed::NoPassword)?;
    let mut digest_info = mac.sequence()?;
    let integrity = Integrity::new(digest_info.sequence()?.take(tag::OID)?)?;
    let expected = digest_info.take(tag::OCTET_STRING)?;
    let salt = mac.take(tag::OCTET_STRING)?;
    let rounds = if mac.is_empty() { 1 } else { mac.number()? };
    let key = integrity.key(password, salt, rounds)?;
    hmac::verify(&key, content, expected).map_err(|_| Sealed::Password)
}

/// EncryptedData (RFC 5652 §8).
fn encrypted_part(body: &mut Reader<'_>, password: Option<&Secret>) -> Result<Secret, Sealed> {
    let mut fields = body.sequence()?;
    fields.number()?;
    let mut info = fields.sequence()?;
    info.take(tag::OID)?;
    let algorithm = info.sequence()?;
    envelope::open(algorithm, info.take(tag::context(0))?, password)
}

/// SafeContents (RFC 7292 §4.2).
fn bags(bytes: &[u8], password: Option<&Secret>, contents: &mut Contents) -> Result<(), Unreadable> {
    let mut list = Reader::ber(bytes).sequence()?;
    for _ in 0..MAX_PARTS {
        if list.is_empty() {
            return Ok(());
        }
        let mut bag = list.sequence()?;
        let kind = bag.take(tag::OID)?;
        let value = bag.take(tag::explicit(0))?;
        match kind {
            oid::KEY_BAG => contents.add_key(Secret::new(value.to_vec()))?,
            oid::SHROUDED_KEY_BAG => contents.add_key(encrypted_key(value, password)?)?,
            oid::CERT_BAG => {
                let mut fields = Reader::ber(value).sequence()?;
                if fields.take(tag::OID)? == oid::X509_CERTIFICATE {
                    contents.add_certificate(fields.inside(tag::explicit(0))?.take(tag::OCTET_STRING)?)?;
                }
            }
            // Nested bags, lists, secrets: nothing that is asked for here.
            _ => {}
        }
    }
    Err(Unreadable::Large)
}

/// A key and its certificates as a PKCS #12 file, as phones and Windows take it: AES-256, SHA-256.
pub fn write_pkcs12(
    name: &str,
    key: &Secret,
    certificates: &[&[u8]],
    password: &Secret,
) -> Result<Vec<u8>, Unreadable> {
    let fresh = || -> Result<Fresh, Unreadable> { Ok(Fresh { salt: random()?, iv: random()? }) };
    // The same identifier on the key and on its certificate tells which belongs to which.
    let own = asn1::write(tag::OCTET_STRING, &[&[1]]);
    let friendly: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let attributes = asn1::write(
        tag::SET,
        &[
            &attribute(oid::FRIENDLY_NAME, &asn1::write(tag::BMP_STRING, &[&friendly])),
            &attribute(oid::LOCAL_KEY_ID, &own),
        ],
    );
    let certificates: Vec<Vec<u8>> = certificates
        .iter()
        .enumerate()
        .map(|(place, der)| {
            let value = asn1::sequence(&[
                &asn1::write(tag::OID, &[oid::X509_CERTIFICATE]),
                &asn1::write(tag::explicit(0), &[&asn1::write(tag::OCTET_STRING, &[der])]),
            ]);
            bag(oid::CERT_BAG, &value, if place == 0 { &attributes } else { &[] })
        })
        .collect();
    let certificates: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let (algorithm, sealed) = envelope::seal(&asn1::sequence(&certificates), password, &fresh()?);
    let info = asn1::sequence(&[
        &asn1::write(tag::OID, &[oid::PKCS7_DATA]),
        &algorithm,
        &asn1::write(tag::context(0), &[&sealed]),
    ]);
    let encrypted = asn1::sequence(&[&asn1::write_number(tag::INTEGER, 0), &info]);
    let first = content(oid::PKCS7_ENCRYPTED, &encrypted);

    let (algorithm, sealed) = envelope::seal(key.expose(), password, &fresh()?);
    let shrouded = asn1::sequence(&[&algorithm, &asn1::write(tag::OCTET_STRING, &[&sealed])]);
    let keys = asn1::sequence(&[&bag(oid::SHROUDED_KEY_BAG, &shrouded, &attributes)]);
    let second = content(oid::PKCS7_DATA, &asn1::write(tag::OCTET_STRING, &[&keys]));

    let authenticated = asn1::sequence(&[&first, &second]);
    let salt: [u8; 16] = random()?;
    let key = Integrity::new(oid::SHA256)?.key(password, &salt, CHECK_ROUNDS)?;
    let digest = hmac::sign(&key, &authenticated);
    let algorithm = asn1::sequence(&[&asn1::write(tag::OID, &[oid::SHA256]), &asn1::write(tag::NULL, &[])]);
    let mac = asn1::sequence(&[
        &asn1::sequence(&[&algorithm, &asn1::write(tag::OCTET_STRING, &[digest.as_ref()])]),
        &asn1::write(tag::OCTET_STRING, &[&salt]),
        &asn1::write_number(tag::INTEGER, CHECK_ROUNDS),
    ]);
    let safe = content(oid::PKCS7_DATA, &asn1::write(tag::OCTET_STRING, &[&authenticated]));
    Ok(asn1::sequence(&[&asn1::write_number(tag::INTEGER, 3), &safe, &mac]))
}

fn content(kind: &[u8], body: &[u8]) -> Vec<u8> {
    asn1::sequence(&[&asn1::write(tag::OID, &[kind]), &asn1::write(tag::explicit(0), &[body])])
}

fn bag(kind: &[u8], value: &[u8], attributes: &[u8]) -> Vec<u8> {
    asn1::sequence(&[&asn1::write(tag::OID, &[kind]), &asn1::write(tag::explicit(0), &[value]), attributes])
}

fn attribute(kind: &[u8], value: &[u8]) -> Vec<u8> {
    asn1::sequence(&[&asn1::write(tag::OID, &[kind]), &asn1::write(tag::SET, &[value])])
}

fn random<const N: usize>() -> Result<[u8; N], Unreadable> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Unreadable::NoRandomness)?;
    Ok(bytes)
}
