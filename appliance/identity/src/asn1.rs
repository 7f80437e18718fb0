//! The few rules of ASN.1 that certificates, key files and LDAP need: elements one after another, each
//!
//! ```text
//!   tag (1) | length (1, or 1 + n) | body
//! ```
//!
//! The reader goes forward only and never past what it was given; it copies nothing and allocates nothing. Not read,
//! because nothing here uses them: tags above 30 and indefinite lengths (RFC 4511 §5.1 forbids those in LDAP, DER everywhere).

use thiserror::Error;

/// Tags, with their class and the bit of constructed elements.
pub mod tag {
    #![allow(missing_docs, reason = "the names of X.680")]
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OID: u8 = 0x06;
    pub const ENUMERATED: u8 = 0x0a;
    pub const UTF8_STRING: u8 = 0x0c;
    pub const PRINTABLE_STRING: u8 = 0x13;
    pub const T61_STRING: u8 = 0x14;
    pub const IA5_STRING: u8 = 0x16;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const BMP_STRING: u8 = 0x1e;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;

    /// `[n]`, primitive.
    pub const fn context(number: u8) -> u8 {
        0x80 | number
    }

    /// `[n]`, constructed.
    pub const fn explicit(number: u8) -> u8 {
        0xa0 | number
    }
}

/// Why bytes are no ASN.1 of the kind that was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Malformed {
    /// The bytes end within an element.
    #[error("the data end too early")]
    Short,
    /// An element of another kind stands where this one should.
    #[error("an element of kind {found:#04x} stands where {wanted:#04x} should")]
    Unexpected {
        /// What should stand here.
        wanted: u8,
        /// What does.
        found: u8,
    },
    /// A length that is not allowed: indefinite, longer than four bytes, or not the shortest form where DER asks for it.
    #[error("a length is written in a form that is not allowed")]
    Length,
    /// A tag above 30.
    #[error("a tag takes several bytes, which nothing here uses")]
    Tag,
    /// Something follows the last element.
    #[error("something follows the last element")]
    Trailing,
    /// A value outside its range or form.
    #[error("a value has no valid form")]
    Value,
}

/// Which lengths are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rules {
    /// The shortest form only.
    Der,
    /// Any definite form.
    Ber,
}

/// One element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element<'a> {
    /// Its tag.
    pub tag: u8,
    /// What it holds.
    pub body: &'a [u8],
    /// All of it, tag and length too.
    pub whole: &'a [u8],
}

/// Reads elements one after another.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    rules: Rules,
}

impl<'a> Reader<'a> {
    /// Certificates and keys: each length in its shortest form (X.690 §10.1).
    pub fn der(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, rules: Rules::Der }
    }

    /// LDAP and key stores: Active Directory writes every length in five bytes.
    pub fn ber(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, rules: Rules::Ber }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Fails if something is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    /// The tag of the next element.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element, of any kind.
    pub fn element(&mut self) -> Result<Element<'a>, Malformed> {
        let (&tag, after) = self.rest.split_first().ok_or(Malformed::Short)?;
        if tag & 0x1f == 0x1f {
            return Err(Malformed::Tag);
        }
        let (length, after) = self.length(after)?;
        let (body, rest) = after.split_at_checked(length).ok_or(Malformed::Short)?;
        let size = self.rest.len() - rest.len();
        let (whole, _) = self.rest.split_at_checked(size).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(Element { tag, body, whole })
    }

    fn length(&self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), Malformed> {
        let (&first, after) = bytes.split_first().ok_or(Malformed::Short)?;
        if first < 0x80 {
            return Ok((usize::from(first), after));
        }
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return Err(Malformed::Length);
        }
        let (digits, after) = after.split_at_checked(count).ok_or(Malformed::Short)?;
        let length = digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
        let shortest = digits.first() != Some(&0) && length >= 0x80;
        if self.rules == Rules::Der && !shortest {
            return Err(Malformed::Length);
        }
        Ok((length, after))
    }

    /// The body of the next element, which must be of this kind.
    pub fn take(&mut self, wanted: u8) -> Result<&'a [u8], Malformed> {
        match self.peek() {
            None => Err(Malformed::Short),
            Some(found) if found != wanted => Err(Malformed::Unexpected { wanted, found }),
            Some(_) => Ok(self.element()?.body),
        }
    }

    /// The same, or nothing if the next element is of another kind.
    pub fn optional(&mut self, wanted: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.peek() == Some(wanted) { self.take(wanted).map(Some) } else { Ok(None) }
    }

    /// A reader of what a constructed element holds.
    pub fn inside(&mut self, wanted: u8) -> Result<Reader<'a>, Malformed> {
        let rules = self.rules;
        self.take(wanted).map(|rest| Reader { rest, rules })
    }

    /// A reader of what a sequence holds.
    pub fn sequence(&mut self) -> Result<Reader<'a>, Malformed> {
        self.inside(tag::SEQUENCE)
    }

    /// A number from 0 to 2⁶³ − 1.
    pub fn number(&mut self) -> Result<u64, Malformed> {
        self.take(tag::INTEGER).and_then(number)
    }

    /// An enumeration, read like a number.
    pub fn enumerated(&mut self) -> Result<u64, Malformed> {
        self.take(tag::ENUMERATED).and_then(number)
    }

    /// The bytes of a number without its sign: no zeros in front.
    pub fn magnitude(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.take(tag::INTEGER)?;
        match bytes.split_first() {
            None => Err(Malformed::Value),
            Some((0, rest)) if !rest.is_empty() => Ok(rest),
            Some(_) => Ok(bytes),
        }
    }

    /// A truth value.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.take(tag::BOOLEAN)? {
            [0] => Ok(false),
            [0xff] => Ok(true),
            [_] if self.rules == Rules::Ber => Ok(true),
            _ => Err(Malformed::Value),
        }
    }

    /// A string of whole bytes from a bit string.
    pub fn bits(&mut self) -> Result<&'a [u8], Malformed> {
        match self.take(tag::BIT_STRING)?.split_first() {
            Some((0, bytes)) => Ok(bytes),
            Some(_) | None => Err(Malformed::Value),
        }
    }
}

/// A number that is not negative, from the body of an element.
fn number(bytes: &[u8]) -> Result<u64, Malformed> {
    match bytes {
        [] => Err(Malformed::Value),
        [first, ..] if *first >= 0x80 || bytes.len() > 8 => Err(Malformed::Value),
        _ => Ok(bytes.iter().fold(0, |value, digit| value << 8 | u64::from(*digit))),
    }
}

/// An element around these parts, with the shortest length.
pub fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let digits = length.to_be_bytes();
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        out.push(0x80 | (digits.len() - zeros) as u8);
        out.extend(digits.iter().skip(zeros));
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A sequence of these parts.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    write(tag::SEQUENCE, parts)
}

/// A number, as INTEGER or under another tag.
pub fn write_number(tag: u8, value: u64) -> Vec<u8> {
    let digits = value.to_be_bytes();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count().min(7);
    let short: Vec<u8> = digits.iter().skip(zeros).copied().collect();
    let sign: &[u8] = if short.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    write(tag, &[sign, &short])
}

/// The object identifiers that are used, as the bytes that stand in an element.
pub mod oid {
    #![allow(missing_docs, reason = "the names of the standards")]
    pub const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    pub const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];
    pub const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 14];
    pub const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
    pub const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
    pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
    pub const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
    pub const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];
    pub const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
    pub const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
    pub const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
    pub const UPN: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 20, 2, 3];

    pub const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    pub const MD5_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];
    pub const SHA1_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
    pub const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
    pub const SHA256_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
    pub const SHA384_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
    pub const SHA512_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
    pub const SHA1_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    pub const SHA256_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    pub const SHA384_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    pub const SHA512_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
    pub const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    pub const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    pub const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    pub const P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
    pub const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];

    pub const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
    pub const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
    pub const HMAC_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 7];
    pub const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
    pub const HMAC_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 10];
    pub const HMAC_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 11];
    pub const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 26];
    pub const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    pub const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
    pub const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
    pub const AES128_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 2];
    pub const AES256_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];
    pub const PKCS7_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
    pub const PKCS7_ENCRYPTED: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
    pub const KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 1];
    pub const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
    pub const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
    pub const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
    pub const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 21];
    pub const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];

    /// The usual form, `1.2.840…`, for messages; `?` where the bytes are no identifier.
    pub fn display(bytes: &[u8]) -> String {
        parse(bytes).map_or_else(
            || "?".to_owned(),
            |numbers| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("."),
        )
    }

    /// The numbers of an identifier.
    pub fn parse(bytes: &[u8]) -> Option<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut value = 0_u64;
        for byte in bytes {
            value = value.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
            if byte & 0x80 == 0 {
                if numbers.is_empty() {
                    let first = (value / 40).min(2);
                    numbers.push(first);
                    value -= first * 40;
                }
                numbers.push(value);
                value = 0;
            }
        }
        (bytes.last()? & 0x80 == 0).then_some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_a_length() {
        // In: the same body under each form. Out: BER takes every definite one, DER the shortest only.
        let long = [&[4, 0x82, 0, 0x80][..], &[7; 128]].concat();
        let short = [&[4, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(Reader::ber(&long).take(tag::OCTET_STRING), Ok(&[7; 128][..]));
        assert_eq!(Reader::der(&long).take(tag::OCTET_STRING), Err(Malformed::Length));
        assert_eq!(Reader::der(&short).take(tag::OCTET_STRING), Ok(&[7; 128][..]));
        for (bytes, fault) in [
            (&[4, 0x80, 0, 0][..], Malformed::Length),
            (&[4, 0x85, 0, 0, 0, 0, 1, 7], Malformed::Length),
            (&[4, 2, 7], Malformed::Short),
            (&[4], Malformed::Short),
            (&[0x1f, 1, 1], Malformed::Tag),
            (&[4, 0x84, 0xff, 0xff, 0xff, 0xff], Malformed::Short),
        ] {
            assert_eq!(Reader::ber(bytes).element().unwrap_err(), fault, "{bytes:02x?}");
        }
    }

    #[test]
    fn identifiers_in_words() {
        assert_eq!(oid::display(oid::SHA1_RSA), "1.2.840.113549.1.1.5");
        assert_eq!(oid::display(oid::AES256_CBC), "2.16.840.1.101.3.4.1.42");
        assert_eq!(oid::display(&[0x80]), "?");
    }

    proptest! {
        #[test]
        fn written_is_read(body in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let bytes = write(tag::OCTET_STRING, &[&body]);
            let mut reader = Reader::der(&bytes);
            prop_assert_eq!(reader.take(tag::OCTET_STRING), Ok(&body[..]));
            prop_assert!(reader.end().is_ok());
        }

        #[test]
        fn numbers_are_read(value in 0..=u64::MAX >> 1) {
            prop_assert_eq!(Reader::der(&write_number(tag::INTEGER, value)).number(), Ok(value));
        }

        #[test]
        fn noise_is_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::ber(&bytes);
            while reader.element().is_ok() {}
        }
    }
}
