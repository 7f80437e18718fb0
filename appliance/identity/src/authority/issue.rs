//! Making certificates and revocation lists.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::string::{Ia5String, PrintableString, TeletexString};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevocationReason, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm,
};
use ring::rand::SecureRandom;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::inspect::{Attribute, Facts, Key};
use super::{
    AUTHORITY_LIFE, Authority, CLIENT_LIFE, DAY, Issued, LIST_LIFE, MAX_END_ENTITY, MAX_ISSUED, Reason,
    Revoked, SERVER_LIFE, SKEW, Serial,
};
use crate::asn1::{Malformed, Reader, oid, tag};
use crate::moment::Moment;
use crate::names::{DeviceId, MAX_NAME, UserName};
use crate::secret::Secret;

/// Names in a server's certificate.
const MAX_SERVER_NAMES: usize = 32;

/// Whom a certificate is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Owner {
    /// The gateway, under these host names and addresses.
    Server(Vec<String>),
    /// A person's device.
    Client {
        /// The person.
        user: UserName,
        /// The device.
        device: DeviceId,
    },
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    /// Its key as PKCS #8 in DER.
    pub key: Secret,
    /// Its serial number.
    pub serial: Serial,
    /// Until when it is valid.
    pub until: Moment,
}

impl Credential {
    /// The certificate as it stands in a profile.
    pub fn certificate_pem(&self) -> String {
        crate::pem::write("CERTIFICATE", &self.certificate)
    }

    /// The key as it stands in a profile.
    pub fn key_pem(&self) -> zeroize::Zeroizing<String> {
        zeroize::Zeroizing::new(crate::pem::write("PRIVATE KEY", self.key.expose()))
    }
}

/// Why nothing was issued.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NotIssued {
    /// We hold no key of this authority.
    #[error(
        "this authority was imported without its key: it vouches for certificates that others issue, and issues none"
    )]
    NoKey,
    /// The authority is at its end.
    #[error("the authority itself expires on {0}: renew it first")]
    AuthorityEnds(Moment),
    /// More than is remembered.
    #[error("the authority has issued {MAX_ISSUED} certificates that are still valid, which is the most")]
    Full,
    /// No name, or too many, or one that a certificate cannot hold.
    #[error("`{0}` cannot stand in a certificate")]
    Name(String),
    /// The authority's own name has a form that cannot be written again.
    #[error(
        "the authority's name has a form that cannot be repeated exactly in what it signs (an attribute that occurs twice, \
         such as DC=, or a rare kind of string). Import its certificate without the key: its clients are then accepted, and \
         the built-in authority issues the new ones"
    )]
    AuthorityName,
    /// Nothing is known under this serial number.
    #[error("this authority has issued no certificate {0}")]
    Unknown(Serial),
    /// It is revoked already.
    #[error("the certificate {0} is revoked already")]
    Revoked(Serial),
    /// Longer than the profile allows.
    #[error("{0} days is longer than the three years that the profile allows")]
    Long(u64),
    /// A stored certificate or key does not read.
    #[error("a certificate of the authority does not read: {0}")]
    Malformed(#[from] Malformed),
    /// ring or rcgen refused.
    #[error("signing failed: {0}")]
    Signing(String),
    /// Random bytes are not to be had.
    #[error("the machine gives no random bytes")]
    NoRandomness,
}

impl From<rcgen::Error> for NotIssued {
    fn from(error: rcgen::Error) -> Self {
        Self::Signing(error.to_string())
    }
}

impl Authority {
    /// A new authority, with an empty revocation list.
    pub fn create(name: &str, now: Moment, randomness: &dyn SecureRandom) -> Result<Self, NotIssued> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
        Self::sign_own(name_of_authority(name)?, &key, now, randomness)
    }

    /// The same authority with the same key and a new certificate: profiles that hold the old one go on working until that
    /// one ends.
    pub fn renewed(&self, now: Moment, randomness: &dyn SecureRandom) -> Result<Self, NotIssued> {
        let key = self.signing_key()?;
        let renewed = Self::sign_own(distinguished_name(&self.facts()?.attributes)?, &key, now, randomness)?;
        let mut renewed = Self { issued: self.issued.clone(), list_number: self.list_number, ..renewed };
        renewed.sign_list(now)?;
        Ok(renewed)
    }

    /// A new authority of another name with a new key, to take the place of this one. Both stand side by side until the last
    /// profile was exported anew.
    pub fn successor(
        &self,
        name: &str,
        now: Moment,
        randomness: &dyn SecureRandom,
    ) -> Result<Self, NotIssued> {
        // Two authorities of one name would make two lists of one issuer, and a client could find the wrong one.
        if self.facts()?.common_name().as_deref() == Some(name) {
            return Err(NotIssued::Name(name.to_owned()));
        }
        Self::create(name, now, randomness)
    }

    fn sign_own(
        name: DistinguishedName,
        key: &KeyPair,
        now: Moment,
        randomness: &dyn SecureRandom,
    ) -> Result<Self, NotIssued> {
        let mut params = base(&Serial::random(randomness)?, now, now.plus(AUTHORITY_LIFE));
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(key)?;
        let mut authority =
            Self::with_key(certificate.der().to_vec(), Some(Secret::new(key.serialize_der())), now);
        authority.sign_list(now)?;
        Ok(authority)
    }

    pub(super) fn with_key(certificate: Vec<u8>, key: Option<Secret>, now: Moment) -> Self {
        Self {
            certificate: Secret::new(certificate),
            key,
            issued: Default::default(),
            list: None,
            list_number: 0,
            list_until: now,
        }
    }

    /// A certificate for the gateway under these host names and addresses.
    pub fn issue_server(
        &mut self,
        names: &[&str],
        now: Moment,
        randomness: &dyn SecureRandom,
    ) -> Result<Credential, NotIssued> {
        let owner = Owner::Server(names.iter().map(|name| (*name).to_owned()).collect());
        self.issue_with_new_key(owner, SERVER_LIFE, now, randomness)
    }

    /// A certificate for a device, valid this long, [`CLIENT_LIFE`] by habit.
    pub fn issue_client(
        &mut self,
        user: &UserName,
        device: DeviceId,
        life: Duration,
        now: Moment,
        randomness: &dyn SecureRandom,
    ) -> Result<Credential, NotIssued> {
        self.issue_with_new_key(Owner::Client { user: user.clone(), device }, life, now, randomness)
    }

    fn issue_with_new_key(
        &mut self,
        owner: Owner,
        life: Duration,
        now: Moment,
        randomness: &dyn SecureRandom,
    ) -> Result<Credential, NotIssued> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
        let (certificate, serial, until) = self.sign(&key, owner, life, now, randomness)?;
        Ok(Credential { certificate, key: Secret::new(key.serialize_der()), serial, until })
    }

    /// A new certificate for the key of one that this authority issued; the old one stays valid until it ends or is revoked.
    pub fn renew(
        &mut self,
        certificate: &[u8],
        now: Moment,
        randomness: &dyn SecureRandom,
    ) -> Result<(Vec<u8>, Serial, Moment), NotIssued> {
        let facts = Facts::read(certificate)?;
        let serial = Serial::new(&facts.serial).ok_or(Malformed::Value)?;
        let issued = self.issued.get(&serial).ok_or_else(|| NotIssued::Unknown(serial.clone()))?;
        if issued.revoked.is_some() || !super::signed_by(certificate, &self.facts()?) {
            return Err(NotIssued::Revoked(serial));
        }
        let key = PublicKey::of(&facts)?;
        let life = match issued.owner {
            Owner::Server(_) => SERVER_LIFE,
            Owner::Client { .. } => CLIENT_LIFE,
        };
        self.sign(&key, issued.owner.clone(), life, now, randomness)
    }

    fn sign(
        &mut self,
        key: &impl PublicKeyData,
        owner: Owner,
        life: Duration,
        now: Moment,
        randomness: &dyn SecureRandom,
    ) -> Result<(Vec<u8>, Serial, Moment), NotIssued> {
        if life > MAX_END_ENTITY {
            return Err(NotIssued::Long(life.as_secs() / DAY.as_secs()));
        }
        self.forget_expired(now);
        if self.issued.len() >= MAX_ISSUED {
            return Err(NotIssued::Full);
        }
        let own = self.facts()?;
        // Nothing outlives what signed it.
        let until = now.plus(life).min(own.not_after);
        if until.since(now) < DAY {
            return Err(NotIssued::AuthorityEnds(own.not_after));
        }
        let serial = Serial::random(randomness)?;
        let mut params = base(&serial, now, until);
        // RFC 5280 §4.2.1.9: critical where the key may sign certificates; here it says that it may not.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        describe(&mut params, &owner)?;
        let certificate = params.signed_by(key, &self.issuer(&own)?)?.der().to_vec();
        if Facts::read(&certificate)?.issuer != own.subject {
            return Err(NotIssued::AuthorityName);
        }
        self.issued.insert(serial.clone(), Issued { owner, until, revoked: None });
        Ok((certificate, serial, until))
    }

    /// Revokes what this authority issued, and signs a new list.
    pub fn revoke(&mut self, serial: &Serial, reason: Reason, now: Moment) -> Result<(), NotIssued> {
        let issued = self.issued.get_mut(serial).ok_or_else(|| NotIssued::Unknown(serial.clone()))?;
        if issued.revoked.is_some() {
            return Err(NotIssued::Revoked(serial.clone()));
        }
        issued.revoked = Some(Revoked { at: now, reason });
        self.sign_list(now)
    }

    /// Whether the list is past half of its life, and we can sign a new one.
    pub fn list_is_due(&self, now: Moment) -> bool {
        self.issues() && self.list_until.since(now) < LIST_LIFE / 2
    }

    /// Signs a new list with the next number.
    pub fn sign_list(&mut self, now: Moment) -> Result<(), NotIssued> {
        self.forget_expired(now);
        let own = self.facts()?;
        let until = now.plus(LIST_LIFE);
        let number = self.list_number + 1;
        let params = CertificateRevocationListParams {
            this_update: now.minus(SKEW).calendar(),
            next_update: until.calendar(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: self.issued.iter().filter_map(revoked_entry).collect(),
            key_identifier_method: key_id(&own),
        };
        let list = params.signed_by(&self.issuer(&own)?)?.der().to_vec();
        if list_issuer(&list)? != own.subject {
            return Err(NotIssued::AuthorityName);
        }
        self.list = Some(Secret::new(list));
        self.list_number = number;
        self.list_until = until;
        Ok(())
    }

    /// Drops what has ended so long ago that a list that named it was published after its end (RFC 5280 §3.3).
    fn forget_expired(&mut self, now: Moment) {
        self.issued.retain(|_, issued| issued.until.plus(LIST_LIFE) > now);
    }

    fn signing_key(&self) -> Result<KeyPair, NotIssued> {
        let key = self.key.as_ref().ok_or(NotIssued::NoKey)?;
        Ok(KeyPair::try_from(&PrivatePkcs8KeyDer::from(key.expose()))?)
    }

    fn issuer(&self, own: &Facts) -> Result<Issuer<'static, KeyPair>, NotIssued> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(&own.attributes)?;
        params.key_identifier_method = key_id(own);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Issuer::new(params, self.signing_key()?))
    }
}

fn base(serial: &Serial, now: Moment, until: Moment) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial.bytes()));
    params.not_before = now.minus(SKEW).calendar();
    params.not_after = until.calendar();
    params.use_authority_key_identifier_extension = true;
    params
}

fn describe(params: &mut CertificateParams, owner: &Owner) -> Result<(), NotIssued> {
    let mut name = DistinguishedName::new();
    match owner {
        Owner::Server(names) => {
            let first = names.first().filter(|_| names.len() <= MAX_SERVER_NAMES);
            let first = first.ok_or_else(|| NotIssued::Name(String::new()))?;
            name.push(DnType::CommonName, common_name(first)?);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = names.iter().map(|name| alt_name(name)).collect::<Result<_, _>>()?;
        }
        Owner::Client { user, device } => {
            name.push(DnType::CommonName, common_name(user.as_str())?);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let urn = Ia5String::try_from(device.urn()).map_err(|_| NotIssued::Name(device.urn()))?;
            params.subject_alt_names = vec![SanType::URI(urn)];
        }
    }
    params.distinguished_name = name;
    Ok(())
}

/// RFC 5280, appendix A.1: ub-common-name is 64 characters.
fn common_name(text: &str) -> Result<String, NotIssued> {
    let plain = !text.is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control);
    if plain { Ok(text.to_owned()) } else { Err(NotIssued::Name(text.to_owned())) }
}

fn name_of_authority(text: &str) -> Result<DistinguishedName, NotIssued> {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name(text)?);
    Ok(name)
}

fn alt_name(name: &str) -> Result<SanType, NotIssued> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    rustls::pki_types::DnsName::try_from(name).map_err(|_| NotIssued::Name(name.to_owned()))?;
    Ia5String::try_from(name).map(SanType::DnsName).map_err(|_| NotIssued::Name(name.to_owned()))
}

/// The name of an authority as rcgen writes it; that the bytes are the same is checked on what was signed.
fn distinguished_name(attributes: &[Attribute]) -> Result<DistinguishedName, NotIssued> {
    let mut name = DistinguishedName::new();
    for attribute in attributes {
        let numbers = oid::parse(&attribute.oid).ok_or(NotIssued::AuthorityName)?;
        let text = String::from_utf8(attribute.value.clone()).map_err(|_| NotIssued::AuthorityName)?;
        let value = match attribute.tag {
            tag::UTF8_STRING => Ok(DnValue::Utf8String(text)),
            tag::PRINTABLE_STRING => PrintableString::try_from(text).map(DnValue::PrintableString),
            tag::IA5_STRING => Ia5String::try_from(text).map(DnValue::Ia5String),
            tag::T61_STRING => TeletexString::try_from(text).map(DnValue::TeletexString),
            _ => return Err(NotIssued::AuthorityName),
        };
        name.push(DnType::CustomDnType(numbers), value.map_err(|_| NotIssued::AuthorityName)?);
    }
    Ok(name)
}

fn key_id(own: &Facts) -> KeyIdMethod {
    own.key_id.clone().map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified)
}

fn revoked_entry((serial, issued): (&Serial, &Issued)) -> Option<RevokedCertParams> {
    let revoked = issued.revoked?;
    // RFC 5280 §5.3.1: no reason is left out rather than written as "unspecified".
    let reason_code = match revoked.reason {
        Reason::KeyCompromise => Some(RevocationReason::KeyCompromise),
        Reason::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
        Reason::Superseded => Some(RevocationReason::Superseded),
        Reason::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
        Reason::PrivilegeWithdrawn => Some(RevocationReason::PrivilegeWithdrawn),
        Reason::Unspecified => None,
    };
    Some(RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial.bytes()),
        revocation_time: revoked.at.calendar(),
        reason_code,
        invalidity_date: None,
    })
}

/// The issuer of a revocation list (RFC 5280 §5.1).
fn list_issuer(list: &[u8]) -> Result<&[u8], Malformed> {
    let mut tbs = Reader::der(list).sequence()?.sequence()?;
    tbs.optional(tag::INTEGER)?;
    tbs.sequence()?;
    Ok(tbs.element()?.whole)
}

/// The key of a certificate, to be certified again.
struct PublicKey {
    bytes: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl PublicKey {
    fn of(facts: &Facts) -> Result<Self, NotIssued> {
        let algorithm = match facts.key {
            Key::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Key::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Key::Ed25519 => &rcgen::PKCS_ED25519,
            Key::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
            Key::P521 | Key::Other(_) => return Err(NotIssued::Signing(facts.key.to_string())),
        };
        let mut info = Reader::der(&facts.public_key).sequence()?;
        info.sequence()?;
        Ok(Self { bytes: info.bits()?.to_vec(), algorithm })
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}
