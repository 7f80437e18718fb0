//! The messages of pairing, strict both ways: what does not decode to the last byte is [`Malformed`].
//!
//! ```text
//!   0         1        2           4
//!   ┌─────────┬────────┬───────────┬──────────────────┐
//!   │ version │ kind   │ length BE │ body             │     kind: 1 Hello, 2 Confirm, 3 Sealed, 4 Refuse
//!   └─────────┴────────┴───────────┴──────────────────┘
//!   inside Sealed:  kind (1 Introduction, 2 Stored, 3 Refuse) ‖ fields, texts and keys each after their length in one byte
//! ```

use zeroize::Zeroizing;

use super::VERSION;

/// Bytes before the body.
pub const HEADER: usize = 4;
/// Longest body: an introduction with its tag is the longest, and takes a third of this.
pub const MAX_BODY: usize = 1_024;
/// Longest name of a node, in bytes: a host name (RFC 1123 §2.1) has labels of 63.
pub const MAX_NAME: usize = 64;
/// Longest name of a product version.
const MAX_PRODUCT: usize = 32;
/// Longest public key: a `SubjectPublicKeyInfo` of P-384 takes 120 bytes.
const MAX_KEY: usize = 200;
/// SPAKE2's element with the byte that names its side.
pub(super) const ELEMENT: usize = 33;

/// What came is no message of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Of another version of these messages.
    #[error("version {0} of the pairing messages, and this product knows only {VERSION}")]
    Version(u8),
    /// Longer than any message is.
    #[error("{0} bytes, more than any message has")]
    TooLong(usize),
    /// Too short, of an unknown kind, or with something left over.
    #[error("it cannot be read")]
    Shape,
}

/// Why one side ends an exchange, as it tells the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The code was wrong.
    WrongCode = 1,
    /// The offer has ended: too old, too many tries, or cancelled.
    Over = 2,
    /// Of another version.
    Version = 3,
    /// The joining box does not have the name that the document gives to the other node.
    Name = 4,
    /// A message that cannot be read.
    Malformed = 5,
    /// The keys could not be stored.
    Storage = 6,
}

impl Reason {
    const ALL: [Self; 6] =
        [Self::WrongCode, Self::Over, Self::Version, Self::Name, Self::Malformed, Self::Storage];

    fn read(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as u8 == byte)
    }
}

/// A message on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message {
    Hello([u8; ELEMENT]),
    Confirm([u8; 32]),
    Sealed(Vec<u8>),
    Refuse(Reason),
}

/// What one side tells of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Introduction {
    pub protocol: u16,
    pub product: String,
    pub node: String,
    pub key: Vec<u8>,
    /// From the offering side only.
    pub grant: Option<Grant>,
}

/// What the offering side gives.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// The name that its document has for the other node.
    pub expected: String,
    /// The place of the joining node among the two: 0 or 1. It stays, whatever becomes of the document.
    pub place: u8,
    pub secret: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// A message inside a sealed one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Inner {
    Introduction(Introduction),
    Stored,
    Refuse(Reason),
}

/// How many bytes follow a header.
pub fn body_length(header: [u8; HEADER]) -> Result<usize, Malformed> {
    let [version, _kind, high, low] = header;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_BODY { Err(Malformed::TooLong(length)) } else { Ok(length) }
}

/// Decodes and encodes again; for the fuzzer. Whatever decodes must come out as it went in.
pub fn check(bytes: &[u8]) -> Result<bool, Malformed> {
    Message::decode(bytes).map(|m| m.encode() == bytes)
}

/// The same for what is inside a sealed message.
pub fn check_inner(bytes: &[u8]) -> Result<bool, Malformed> {
    Inner::decode(bytes).map(|i| i.encode()[..] == *bytes)
}

impl Message {
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body): (u8, &[u8]) = match self {
            Self::Hello(element) => (1, element),
            Self::Confirm(tag) => (2, tag),
            Self::Sealed(record) => (3, record),
            Self::Refuse(reason) => (4, &[*reason as u8]),
        };
        debug_assert!(body.len() <= MAX_BODY, "what we send is bounded by the lengths of its fields");
        let mut out = vec![VERSION, kind];
        out.extend_from_slice(&(body.len() as u16).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (header, body) = bytes.split_first_chunk::<HEADER>().ok_or(Malformed::Shape)?;
        if body_length(*header)? != body.len() {
            return Err(Malformed::Shape);
        }
        let message = match header[1] {
            1 => Self::Hello(body.try_into().map_err(|_| Malformed::Shape)?),
            2 => Self::Confirm(body.try_into().map_err(|_| Malformed::Shape)?),
            3 => Self::Sealed(body.to_vec()),
            4 => match body {
                [reason] => Self::Refuse(Reason::read(*reason).ok_or(Malformed::Shape)?),
                _ => return Err(Malformed::Shape),
            },
            _ => return Err(Malformed::Shape),
        };
        Ok(message)
    }
}

impl Inner {
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it at once: a vector that grows leaves copies of the secret behind.
        let mut out = Zeroizing::new(Vec::with_capacity(MAX_BODY));
        match self {
            Self::Introduction(introduction) => {
                out.push(1);
                out.extend_from_slice(&introduction.protocol.to_be_bytes());
                let Introduction { product, node, key, .. } = introduction;
                for field in [product.as_bytes(), node.as_bytes(), key] {
                    put(&mut out, field);
                }
                if let Some(Grant { expected, place, secret }) = &introduction.grant {
                    put(&mut out, expected.as_bytes());
                    out.push(*place);
                    out.extend_from_slice(&secret[..]);
                }
            }
            Self::Stored => out.push(2),
            Self::Refuse(reason) => out.extend_from_slice(&[3, *reason as u8]),
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Cursor(bytes);
        let inner = match rest.byte()? {
            1 => {
                let protocol = u16::from_be_bytes([rest.byte()?, rest.byte()?]);
                let product = rest.text(MAX_PRODUCT)?;
                let node = rest.text(MAX_NAME)?;
                let key = rest.field(MAX_KEY)?.to_vec();
                let grant = match rest.0 {
                    [] => None,
                    _ => {
                        let expected = rest.text(MAX_NAME)?;
                        let place = rest.byte()?;
                        if place > 1 {
                            return Err(Malformed::Shape);
                        }
                        let (secret, left) = rest.0.split_first_chunk::<32>().ok_or(Malformed::Shape)?;
                        rest.0 = left;
                        Some(Grant { expected, place, secret: Zeroizing::new(*secret) })
                    }
                };
                Self::Introduction(Introduction { protocol, product, node, key, grant })
            }
            2 => Self::Stored,
            3 => Self::Refuse(Reason::read(rest.byte()?).ok_or(Malformed::Shape)?),
            _ => return Err(Malformed::Shape),
        };
        if rest.0.is_empty() { Ok(inner) } else { Err(Malformed::Shape) }
    }
}

fn put(out: &mut Vec<u8>, field: &[u8]) {
    // Cut to what the other side takes: our own names are shorter, or the document would not be valid.
    let field = &field[..field.len().min(usize::from(u8::MAX))];
    out.push(field.len() as u8);
    out.extend_from_slice(field);
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.0.split_first().ok_or(Malformed::Shape)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// A field of one byte at least and `max` at most.
    fn field(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::from(self.byte()?);
        if length == 0 || length > max {
            return Err(Malformed::Shape);
        }
        let (field, rest) = self.0.split_at_checked(length).ok_or(Malformed::Shape)?;
        self.0 = rest;
        Ok(field)
    }

    /// Names are shown to a person: printable ASCII only, so that nobody can draw on his screen.
    fn text(&mut self, max: usize) -> Result<String, Malformed> {
        let field = self.field(max)?;
        if !field.iter().all(u8::is_ascii_graphic) {
            return Err(Malformed::Shape);
        }
        String::from_utf8(field.to_vec()).map_err(|_| Malformed::Shape)
    }
}
