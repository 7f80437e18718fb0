//! The messages of LDAP that are used (RFC 4511 §4), and bounds for what comes back.
//!
//! ```text
//!   SEQUENCE { messageID INTEGER, protocolOp [APPLICATION n] …, controls [0] OPTIONAL }
//! ```

use zeroize::Zeroizing;

use crate::asn1::{self, Malformed, Reader, tag};
use crate::secret::Secret;

/// Bytes of one message. The SIDs of a login are the longest: a login has 1,024 groups at most in Active Directory, 30 bytes each.
pub(super) const MAX_MESSAGE: usize = 128 * 1024;
/// Attributes of one entry, and values of one attribute.
const MAX_VALUES: usize = 4096;

const BIND: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;

/// StartTLS (RFC 4511 §4.14.1).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// A filter, as the tree that it is (RFC 4511 §4.5.1.7).
pub(super) enum Filter<'a> {
    And(Vec<Filter<'a>>),
    Or(Vec<Filter<'a>>),
    Equal(&'a str, &'a [u8]),
    Present(&'a str),
}

impl Filter<'_> {
    fn write(&self) -> Vec<u8> {
        let all = |filters: &[Filter<'_>]| filters.iter().flat_map(Filter::write).collect::<Vec<u8>>();
        match self {
            Self::And(filters) => asn1::write(0xa0, &[&all(filters)]),
            Self::Or(filters) => asn1::write(0xa1, &[&all(filters)]),
            Self::Equal(attribute, value) => asn1::write(0xa3, &[&text(attribute), &octets(value)]),
            Self::Present(attribute) => asn1::write(0x87, &[attribute.as_bytes()]),
        }
    }
}

/// How deep a search goes.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    Base,
    Subtree,
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    asn1::write(tag::OCTET_STRING, &[bytes])
}

fn text(text: &str) -> Vec<u8> {
    octets(text.as_bytes())
}

fn message(id: u64, operation: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(asn1::sequence(&[&asn1::write_number(tag::INTEGER, id), operation]))
}

/// StartTLS.
pub(super) fn start_tls(id: u64) -> Zeroizing<Vec<u8>> {
    message(id, &asn1::write(EXTENDED, &[&asn1::write(tag::context(0), &[START_TLS])]))
}

/// A simple bind (RFC 4511 §4.2).
pub(super) fn bind(id: u64, name: &str, password: &Secret) -> Zeroizing<Vec<u8>> {
    let password = Zeroizing::new(asn1::write(tag::context(0), &[password.expose()]));
    let version = asn1::write_number(tag::INTEGER, 3);
    message(id, &Zeroizing::new(asn1::write(BIND, &[&version, &text(name), &password])))
}

/// The end (RFC 4511 §4.3).
pub(super) fn unbind(id: u64) -> Zeroizing<Vec<u8>> {
    message(id, &asn1::write(UNBIND, &[]))
}

/// A search (RFC 4511 §4.5.1) for so many entries at most.
pub(super) fn search(
    id: u64,
    base: &str,
    scope: Scope,
    limit: u64,
    filter: &Filter<'_>,
    attributes: &[&str],
) -> Zeroizing<Vec<u8>> {
    let depth = match scope {
        Scope::Base => 0,
        Scope::Subtree => 2,
    };
    let wanted: Vec<u8> = attributes.iter().flat_map(|attribute| text(attribute)).collect();
    let operation = asn1::write(
        SEARCH,
        &[
            &text(base),
            &asn1::write_number(tag::ENUMERATED, depth),
            &asn1::write_number(tag::ENUMERATED, 0),
            &asn1::write_number(tag::INTEGER, limit),
            // Seconds; our own patience is shorter or ends it anyway.
            &asn1::write_number(tag::INTEGER, 30),
            &asn1::write(tag::BOOLEAN, &[&[0]]),
            &filter.write(),
            &asn1::sequence(&[&wanted]),
        ],
    );
    message(id, &operation)
}

/// The end of an operation (RFC 4511 §4.1.9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outcome {
    pub code: u64,
    pub diagnostic: String,
}

/// An entry that was found: each attribute, in lower case, and its values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub name: String,
    pub attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// The values of an attribute.
    pub(super) fn values(&self, attribute: &str) -> &[Vec<u8>] {
        let found = self.attributes.iter().find(|(name, _)| name == attribute);
        found.map_or(&[], |(_, values)| values)
    }
}

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Response {
    Bound(Outcome),
    Found(Entry),
    /// Elsewhere; never followed, for the bind there would show the password to whoever is named.
    Reference,
    Searched(Outcome),
    Extended(Outcome),
}

/// The length of the first message in these bytes, once its head is there. Longer ones than any real one are refused at
/// their head.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((head, rest)) = bytes.split_first() else { return Ok(None) };
    if *head != tag::SEQUENCE {
        return Err(Malformed::Unexpected { wanted: tag::SEQUENCE, found: *head });
    }
    let Some((first, rest)) = rest.split_first() else { return Ok(None) };
    let count = usize::from(first & 0x7f);
    if *first < 0x80 {
        return Ok(Some(2 + usize::from(*first)));
    }
    if count == 0 || count > 4 {
        return Err(Malformed::Length);
    }
    let Some((digits, _)) = rest.split_at_checked(count) else { return Ok(None) };
    let length = digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
    if length > MAX_MESSAGE { Err(Malformed::Length) } else { Ok(Some(2 + count + length)) }
}

/// One whole message: its number and what it says.
pub(super) fn read(bytes: &[u8]) -> Result<(u64, Response), Malformed> {
    let mut file = Reader::ber(bytes);
    let mut fields = file.sequence()?;
    file.end()?;
    let id = fields.number()?;
    let operation = fields.element()?;
    let mut body = Reader::ber(operation.body);
    let response = match operation.tag {
        BIND_RESPONSE => Response::Bound(outcome(&mut body)?),
        SEARCH_DONE => Response::Searched(outcome(&mut body)?),
        EXTENDED_RESPONSE => Response::Extended(outcome(&mut body)?),
        REFERENCE => Response::Reference,
        ENTRY => Response::Found(entry(&mut body)?),
        found => return Err(Malformed::Unexpected { wanted: SEARCH_DONE, found }),
    };
    Ok((id, response))
}

fn outcome(body: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    let code = body.enumerated()?;
    body.take(tag::OCTET_STRING)?;
    let diagnostic = body.take(tag::OCTET_STRING)?;
    // Active Directory ends it with a zero; it goes into logs.
    let diagnostic = String::from_utf8_lossy(diagnostic);
    let diagnostic = diagnostic.chars().filter(|letter| !letter.is_control()).take(200).collect();
    Ok(Outcome { code, diagnostic })
}

fn entry(body: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let name = String::from_utf8(body.take(tag::OCTET_STRING)?.to_vec()).map_err(|_| Malformed::Value)?;
    let mut list = body.sequence()?;
    let mut attributes = Vec::new();
    let mut count = 0;
    while !list.is_empty() {
        let mut pair = list.sequence()?;
        let attribute = String::from_utf8_lossy(pair.take(tag::OCTET_STRING)?).to_lowercase();
        let mut set = pair.inside(tag::SET)?;
        let mut values = Vec::new();
        while !set.is_empty() {
            count += 1;
            if count > MAX_VALUES {
                return Err(Malformed::Length);
            }
            values.push(set.take(tag::OCTET_STRING)?.to_vec());
        }
        if attributes.len() >= MAX_VALUES {
            return Err(Malformed::Length);
        }
        attributes.push((attribute, values));
    }
    Ok(Entry { name, attributes })
}
