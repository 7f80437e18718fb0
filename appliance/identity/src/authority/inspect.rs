//! What a certificate says, as far as a decision or a screen needs it. Reading is not trusting: signatures and chains are
//! checked by rustls-webpki at each connection.

use std::fmt;

use crate::asn1::{Malformed, Reader, oid, tag};
use crate::moment::Moment;

/// Extensions in one certificate: real ones have about ten.
const MAX_EXTENSIONS: usize = 64;
/// Names in one certificate.
const MAX_NAMES: usize = 256;
/// Bytes of one certificate: those with many names have a few thousand.
pub const MAX_CERTIFICATE: usize = 32 * 1024;

/// How a certificate was signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signature {
    /// RSA, PKCS #1 version 1.5 or PSS, over SHA-2.
    Rsa,
    /// ECDSA over SHA-256 or SHA-384.
    Ecdsa,
    /// Ed25519.
    Ed25519,
    /// MD5 or SHA-1.
    Broken(&'static str),
    /// Anything else, by its identifier.
    Other(String),
}

/// What kind of public key, and how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// RSA with so many bits.
    Rsa(usize),
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// Anything else, by its identifier.
    Other(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::P384 => f.write_str("ECDSA P-384"),
            Self::P521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other(oid) => write!(f, "a key of kind {oid}"),
        }
    }
}

/// Another name of the owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AltName {
    /// A host.
    Dns(String),
    /// A mail address.
    Mail(String),
    /// A URI.
    Uri(String),
    /// An Active Directory principal, `user@domain`.
    Principal(String),
    /// An address, 4 or 16 bytes.
    Ip(Vec<u8>),
}

/// One attribute of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    /// Its identifier, encoded.
    pub oid: Vec<u8>,
    /// The tag of its string.
    pub tag: u8,
    /// Its string.
    pub value: Vec<u8>,
}

impl Attribute {
    /// The string, where it is one of the kinds in use.
    pub fn text(&self) -> Option<String> {
        match self.tag {
            tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => {
                String::from_utf8(self.value.clone()).ok()
            }
            tag::T61_STRING => Some(self.value.iter().map(|byte| char::from(*byte)).collect()),
            tag::BMP_STRING => {
                let units = self
                    .value
                    .chunks(2)
                    .map(|pair| pair.iter().fold(0_u16, |unit, byte| unit << 8 | u16::from(*byte)));
                char::decode_utf16(units).collect::<Result<_, _>>().ok()
            }
            _ => None,
        }
    }
}

/// What a certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// 1 or 3.
    pub version: u8,
    /// The serial number without its sign.
    pub serial: Vec<u8>,
    /// How it was signed.
    pub signature: Signature,
    /// The issuer's name, encoded.
    pub issuer: Vec<u8>,
    /// The owner's name, encoded.
    pub subject: Vec<u8>,
    /// The attributes of the owner's name; one with several values shows as several.
    pub attributes: Vec<Attribute>,
    /// Valid from.
    pub not_before: Moment,
    /// Valid until.
    pub not_after: Moment,
    /// What kind of key.
    pub key: Key,
    /// The whole SubjectPublicKeyInfo, encoded.
    pub public_key: Vec<u8>,
    /// Whether it may sign certificates, if it says.
    pub ca: Option<bool>,
    /// The KeyUsage bits, if any: bit 0 of the standard is the highest of the first byte.
    pub key_usage: Option<u16>,
    /// The purposes, encoded, if any.
    pub purposes: Option<Vec<Vec<u8>>>,
    /// Other names.
    pub names: Vec<AltName>,
    /// The identifier of its own key.
    pub key_id: Option<Vec<u8>>,
    /// The identifier of the issuer's key.
    pub issuer_key_id: Option<Vec<u8>>,
    /// Extensions that must be understood, and are not, by their identifiers.
    pub unknown_critical: Vec<String>,
}

/// KeyUsage: digitalSignature.
pub const DIGITAL_SIGNATURE: u16 = 0x8000;
/// KeyUsage: keyCertSign.
pub const KEY_CERT_SIGN: u16 = 0x0400;
/// KeyUsage: cRLSign.
pub const CRL_SIGN: u16 = 0x0200;

impl Facts {
    /// Reads one certificate in DER. RFC 5280 §4.1.
    pub fn read(der: &[u8]) -> Result<Self, Malformed> {
        if der.len() > MAX_CERTIFICATE {
            return Err(Malformed::Length);
        }
        let mut file = Reader::der(der);
        let mut outer = file.sequence()?;
        file.end()?;
        let mut tbs = outer.sequence()?;
        let version = match tbs.optional(tag::explicit(0))? {
            None => 1,
            Some(body) => {
                u8::try_from(Reader::der(body).number()?).map_err(|_| Malformed::Value)?.saturating_add(1)
            }
        };
        let serial = tbs.magnitude()?.to_vec();
        let signature = signature(&mut tbs.sequence()?)?;
        let issuer = name(&mut tbs)?.to_vec();
        let mut validity = tbs.sequence()?;
        let not_before = moment(&mut validity)?;
        let not_after = moment(&mut validity)?;
        let subject = name(&mut tbs)?.to_vec();
        let attributes = attributes(&subject)?;
        let public_key = tbs.element()?;
        let key = key(public_key.body)?;
        let mut facts = Self {
            version,
            serial,
            signature,
            issuer,
            subject,
            attributes,
            not_before,
            not_after,
            key,
            public_key: public_key.whole.to_vec(),
            ca: None,
            key_usage: None,
            purposes: None,
            names: Vec::new(),
            key_id: None,
            issuer_key_id: None,
            unknown_critical: Vec::new(),
        };
        // issuerUniqueID and subjectUniqueID, which nobody uses.
        for number in [1, 2] {
            tbs.optional(tag::context(number))?;
        }
        if let Some(body) = tbs.optional(tag::explicit(3))? {
            facts.extensions(body)?;
        }
        tbs.end()?;
        Ok(facts)
    }

    fn extensions(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let mut list = Reader::der(body).sequence()?;
        for _ in 0..MAX_EXTENSIONS {
            if list.is_empty() {
                return Ok(());
            }
            let mut extension = list.sequence()?;
            let oid = extension.take(tag::OID)?;
            let critical = extension.peek() == Some(tag::BOOLEAN) && extension.boolean()?;
            let value = extension.take(tag::OCTET_STRING)?;
            extension.end()?;
            self.extension(oid, critical, value)?;
        }
        Err(Malformed::Length)
    }

    fn extension(&mut self, oid: &[u8], critical: bool, value: &[u8]) -> Result<(), Malformed> {
        let mut value = Reader::der(value);
        match oid {
            oid::BASIC_CONSTRAINTS => {
                let mut fields = value.sequence()?;
                self.ca = Some(fields.peek() == Some(tag::BOOLEAN) && fields.boolean()?);
            }
            oid::KEY_USAGE => {
                let bits = value.take(tag::BIT_STRING)?;
                let byte = |at: usize| u16::from(bits.get(at).copied().unwrap_or(0));
                self.key_usage = Some(byte(1) << 8 | byte(2));
            }
            oid::EXTENDED_KEY_USAGE => {
                let mut list = value.sequence()?;
                let mut purposes = Vec::new();
                while !list.is_empty() && purposes.len() < MAX_NAMES {
                    purposes.push(list.take(tag::OID)?.to_vec());
                }
                self.purposes = Some(purposes);
            }
            oid::SUBJECT_ALT_NAME => {
                let mut list = value.sequence()?;
                while !list.is_empty() && self.names.len() < MAX_NAMES {
                    let element = list.element()?;
                    self.names.extend(alt_name(element.tag, element.body));
                }
            }
            oid::SUBJECT_KEY_ID => self.key_id = Some(value.take(tag::OCTET_STRING)?.to_vec()),
            oid::AUTHORITY_KEY_ID => {
                self.issuer_key_id = value.sequence()?.optional(tag::context(0))?.map(<[u8]>::to_vec);
            }
            oid::NAME_CONSTRAINTS => {}
            _ if critical => self.unknown_critical.push(oid::display(oid)),
            _ => {}
        }
        Ok(())
    }

    /// The first common name.
    pub fn common_name(&self) -> Option<String> {
        self.attribute(oid::COMMON_NAME)
    }

    /// The first attribute of this kind.
    pub fn attribute(&self, oid: &[u8]) -> Option<String> {
        self.attributes.iter().find(|attribute| attribute.oid == oid)?.text()
    }

    /// Whether owner and issuer have the same name.
    pub fn self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Whether it names this purpose. One that names none has all (RFC 5280 §4.2.1.12).
    pub fn allows(&self, purpose: &[u8]) -> bool {
        self.purposes.as_ref().is_none_or(|purposes| purposes.iter().any(|known| known == purpose))
    }

    /// The serial number as people read it.
    pub fn serial_text(&self) -> String {
        hex(&self.serial)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The encoded name that comes next.
fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let element = reader.element()?;
    if element.tag != tag::SEQUENCE {
        return Err(Malformed::Unexpected { wanted: tag::SEQUENCE, found: element.tag });
    }
    Ok(element.whole)
}

fn attributes(name: &[u8]) -> Result<Vec<Attribute>, Malformed> {
    let mut sets = Reader::der(name).sequence()?;
    let mut attributes = Vec::new();
    while !sets.is_empty() {
        let mut set = sets.inside(tag::SET)?;
        while !set.is_empty() {
            let mut pair = set.sequence()?;
            let oid = pair.take(tag::OID)?.to_vec();
            let value = pair.element()?;
            if attributes.len() == MAX_NAMES {
                return Err(Malformed::Length);
            }
            attributes.push(Attribute { oid, tag: value.tag, value: value.body.to_vec() });
        }
    }
    Ok(attributes)
}

fn signature(algorithm: &mut Reader<'_>) -> Result<Signature, Malformed> {
    let oid = algorithm.take(tag::OID)?;
    Ok(match oid {
        oid::SHA256_RSA | oid::SHA384_RSA | oid::SHA512_RSA => Signature::Rsa,
        oid::RSA_PSS => pss(algorithm)?,
        oid::SHA256_ECDSA | oid::SHA384_ECDSA => Signature::Ecdsa,
        // ring has no curve that it would check with this digest.
        oid::SHA512_ECDSA => Signature::Other("ECDSA with SHA-512".to_owned()),
        oid::ED25519 => Signature::Ed25519,
        oid::SHA1_RSA | oid::SHA1_ECDSA => Signature::Broken("SHA-1"),
        oid::MD5_RSA => Signature::Broken("MD5"),
        other => Signature::Other(oid::display(other)),
    })
}

/// RSASSA-PSS-params (RFC 4055 §3.1): the digest, SHA-1 where none is named.
fn pss(algorithm: &mut Reader<'_>) -> Result<Signature, Malformed> {
    let mut parameters = algorithm.sequence()?;
    let digest = match parameters.optional(tag::explicit(0))? {
        None => oid::SHA1,
        Some(body) => Reader::der(body).sequence()?.take(tag::OID)?,
    };
    Ok(match digest {
        oid::SHA256 | oid::SHA384 | oid::SHA512 => Signature::Rsa,
        oid::SHA1 => Signature::Broken("SHA-1"),
        other => Signature::Other(oid::display(other)),
    })
}

fn key(info: &[u8]) -> Result<Key, Malformed> {
    let mut info = Reader::der(info);
    let mut algorithm = info.sequence()?;
    let kind = algorithm.take(tag::OID)?;
    Ok(match kind {
        oid::RSA => {
            let modulus = Reader::der(info.bits()?).sequence()?.magnitude()?;
            let zeros = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
            Key::Rsa(modulus.len() * 8 - zeros)
        }
        oid::EC if algorithm.peek() == Some(tag::OID) => match algorithm.take(tag::OID)? {
            oid::P256 => Key::P256,
            oid::P384 => Key::P384,
            oid::P521 => Key::P521,
            other => Key::Other(oid::display(other)),
        },
        oid::ED25519 => Key::Ed25519,
        other => Key::Other(oid::display(other)),
    })
}

/// UTCTime or GeneralizedTime, in the one form that certificates may use (RFC 5280 §4.1.2.5).
pub(super) fn moment(reader: &mut Reader<'_>) -> Result<Moment, Malformed> {
    let element = reader.element()?;
    let (year_digits, rest) = match element.tag {
        tag::UTC_TIME => element.body.split_at_checked(2),
        tag::GENERALIZED_TIME => element.body.split_at_checked(4),
        _ => None,
    }
    .ok_or(Malformed::Value)?;
    let mut year = digits(year_digits)?;
    if element.tag == tag::UTC_TIME {
        year += if year >= 50 { 1900 } else { 2000 };
    }
    let rest = rest.strip_suffix(b"Z").ok_or(Malformed::Value)?;
    let mut parts = [0_u16; 5];
    if rest.len() != 10 {
        return Err(Malformed::Value);
    }
    for (part, pair) in parts.iter_mut().zip(rest.chunks(2)) {
        *part = digits(pair)?;
    }
    let [month, day, hour, minute, second] = parts;
    let small = |value: u16| u8::try_from(value).map_err(|_| Malformed::Value);
    Moment::from_calendar([year, month, day], [small(hour)?, small(minute)?, small(second)?])
        .ok_or(Malformed::Value)
}

fn digits(bytes: &[u8]) -> Result<u16, Malformed> {
    bytes.iter().try_fold(0, |value, byte| {
        if byte.is_ascii_digit() { Ok(value * 10 + u16::from(byte - b'0')) } else { Err(Malformed::Value) }
    })
}

/// RFC 5280 §4.2.1.6.
fn alt_name(kind: u8, body: &[u8]) -> Option<AltName> {
    let text = || String::from_utf8(body.to_vec()).ok();
    if kind == tag::context(1) {
        return text().map(AltName::Mail);
    }
    if kind == tag::context(2) {
        return text().map(AltName::Dns);
    }
    if kind == tag::context(6) {
        return text().map(AltName::Uri);
    }
    if kind == tag::context(7) {
        return matches!(body.len(), 4 | 16).then(|| AltName::Ip(body.to_vec()));
    }
    if kind == tag::explicit(0) {
        let mut other = Reader::der(body);
        if other.take(tag::OID).ok()? != oid::UPN {
            return None;
        }
        let value = other.inside(tag::explicit(0)).ok()?.take(tag::UTF8_STRING).ok()?;
        return String::from_utf8(value.to_vec()).ok().map(AltName::Principal);
    }
    None
}
