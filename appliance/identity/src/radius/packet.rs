//! The packets (RFC 2865 §3 and §5) and what makes them right.

use std::net::IpAddr;

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Bytes of a packet (RFC 2865 §3).
pub const MAX_PACKET: usize = 4096;
const HEAD: usize = 20;
/// Characters of a text that is shown to a user: a control message of OpenVPN holds about a thousand bytes.
const MAX_TEXT: usize = 200;
/// Class and Filter-Id attributes of one answer that are looked at.
const MAX_MARKS: usize = 64;

const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCESS_REJECT: u8 = 3;
const ACCESS_CHALLENGE: u8 = 11;

const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const SERVICE_TYPE: u8 = 6;
const FILTER_ID: u8 = 11;
const REPLY_MESSAGE: u8 = 18;
const STATE: u8 = 24;
const CLASS: u8 = 25;
const CALLING_STATION_ID: u8 = 31;
const NAS_IDENTIFIER: u8 = 32;
const NAS_PORT_TYPE: u8 = 61;
const MESSAGE_AUTHENTICATOR: u8 = 80;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The name as typed.
    pub name: &'a str,
    /// The password, or the answer to a challenge.
    pub password: &'a Secret,
    /// What came with that challenge.
    pub state: Option<&'a [u8]>,
    /// Where the client is, for the server's log.
    pub client: Option<IpAddr>,
}

/// Why a question cannot be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum NotAsked {
    /// 1 to 253 bytes fit an attribute.
    #[error("the name or the state does not fit a RADIUS attribute")]
    Attribute,
    /// RFC 2865 §5.2.
    #[error("the password has no or more than 128 bytes")]
    Password,
}

/// Why a datagram is no answer to the question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum NotAnAnswer {
    /// Lengths that do not fit.
    #[error("it is damaged")]
    Malformed,
    /// Another number.
    #[error("it answers another question")]
    OtherQuestion,
    /// Another kind of packet.
    #[error("it has the code {0}, which answers no login")]
    Code(u8),
    /// Response Authenticator.
    #[error("it was not made with our shared secret")]
    Authenticator,
    /// Without one, an answer may be forged.
    #[error(
        "it has no right Message-Authenticator; let the server send it (FreeRADIUS: 3.2.5 or later, or \
         Message-Authenticator := 0x00 in the reply; Windows NPS: an update from July 2024 or later), and check the shared secret"
    )]
    MessageAuthenticator,
}

/// An answer that is the server's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Yes.
    Accept {
        /// What stood in Class and Filter-Id attributes.
        marks: Vec<String>,
    },
    /// No.
    Reject {
        /// In the server's words.
        text: String,
    },
    /// Not yet.
    Challenge {
        /// What to ask.
        text: String,
        /// To be sent back.
        state: Vec<u8>,
    },
}

/// A question, ready to be sent, and the check of its answer.
pub struct Exchange {
    id: u8,
    authenticator: [u8; 16],
    secret: Secret,
    request: Zeroizing<Vec<u8>>,
}

impl Exchange {
    /// With a random number and authenticator.
    pub fn new(
        id: u8,
        authenticator: [u8; 16],
        secret: &Secret,
        identifier: &str,
        question: &Question<'_>,
    ) -> Result<Self, NotAsked> {
        let mut attributes = Zeroizing::new(Vec::new());
        // First, so that nothing that an attacker chooses stands before it.
        put(&mut attributes, MESSAGE_AUTHENTICATOR, &[0; 16])?;
        put(&mut attributes, USER_NAME, question.name.as_bytes())?;
        let hidden = hide(question.password, secret, &authenticator)?;
        put(&mut attributes, USER_PASSWORD, &hidden)?;
        put(&mut attributes, NAS_IDENTIFIER, identifier.as_bytes())?;
        // Framed, over a virtual port (RFC 2865 §5.6 and §5.41).
        put(&mut attributes, SERVICE_TYPE, &2_u32.to_be_bytes())?;
        put(&mut attributes, NAS_PORT_TYPE, &5_u32.to_be_bytes())?;
        if let Some(client) = question.client {
            put(&mut attributes, CALLING_STATION_ID, client.to_string().as_bytes())?;
        }
        if let Some(state) = question.state {
            put(&mut attributes, STATE, state)?;
        }
        // Eight attributes of 255 bytes are half of what a packet holds.
        let length = u16::try_from(HEAD + attributes.len()).map_err(|_| NotAsked::Attribute)?;
        let mut request = Zeroizing::new(Vec::with_capacity(usize::from(length)));
        request.extend([ACCESS_REQUEST, id]);
        request.extend(length.to_be_bytes());
        request.extend(authenticator);
        request.extend_from_slice(&attributes);
        let tag = message_authenticator(secret, &request);
        let place = request.iter_mut().skip(HEAD + 2).take(16);
        place.zip(tag).for_each(|(to, from)| *to = from);
        Ok(Self { id, authenticator, secret: secret.clone(), request })
    }

    /// The packet.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Reads what came, if it is the server's answer to this question.
    pub fn read(&self, bytes: &[u8]) -> Result<Reply, NotAnAnswer> {
        let (head, _) = bytes.split_first_chunk::<HEAD>().ok_or(NotAnAnswer::Malformed)?;
        let [code, id, high, low, authenticator @ ..] = *head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        // RFC 2865 §3: what follows the length is padding.
        let packet = bytes.get(..length).filter(|packet| packet.len() >= HEAD && length <= MAX_PACKET);
        let packet = packet.ok_or(NotAnAnswer::Malformed)?;
        if id != self.id {
            return Err(NotAnAnswer::OtherQuestion);
        }
        let attributes = packet.get(HEAD..).ok_or(NotAnAnswer::Malformed)?;
        let expected = self.response_authenticator(packet, attributes);
        if !bool::from(expected.ct_eq(&authenticator)) {
            return Err(NotAnAnswer::Authenticator);
        }
        self.check_message_authenticator(packet)?;
        match code {
            ACCESS_ACCEPT => {
                let both = Attributes(attributes).filter(|(kind, _)| matches!(*kind, CLASS | FILTER_ID));
                let marks =
                    both.take(MAX_MARKS).filter_map(|(_, value)| String::from_utf8(value.to_vec()).ok());
                Ok(Reply::Accept { marks: marks.collect() })
            }
            ACCESS_REJECT => Ok(Reply::Reject { text: text(attributes) }),
            ACCESS_CHALLENGE => {
                let state = Attributes(attributes).find(|(kind, _)| *kind == STATE);
                let state = state.map(|(_, value)| value.to_vec()).unwrap_or_default();
                // RFC 2865 §5.24: a state without a byte is none.
                if state.is_empty() {
                    return Err(NotAnAnswer::Malformed);
                }
                Ok(Reply::Challenge { text: text(attributes), state })
            }
            other => Err(NotAnAnswer::Code(other)),
        }
    }

    /// MD5(code + id + length + request authenticator + attributes + secret), RFC 2865 §3.
    fn response_authenticator(&self, packet: &[u8], attributes: &[u8]) -> [u8; 16] {
        let mut digest = Md5::new();
        digest.update(packet.get(..4).unwrap_or(&[]));
        digest.update(self.authenticator);
        digest.update(attributes);
        digest.update(self.secret.expose());
        digest.finalize().into()
    }

    /// RFC 3579 §3.2: over the packet with the request's authenticator, and zeros in the attribute.
    fn check_message_authenticator(&self, packet: &[u8]) -> Result<(), NotAnAnswer> {
        let mut copy = packet.to_vec();
        copy.iter_mut().skip(4).zip(self.authenticator).for_each(|(to, from)| *to = from);
        let attributes = packet.get(HEAD..).unwrap_or(&[]);
        let mut list = Attributes(attributes);
        let mut found = None;
        loop {
            let place = packet.len() - list.0.len();
            match list.next() {
                Some((MESSAGE_AUTHENTICATOR, value)) => {
                    let value: [u8; 16] = value.try_into().map_err(|_| NotAnAnswer::MessageAuthenticator)?;
                    // Two of them: which one is meant?
                    if found.replace(value).is_some() {
                        return Err(NotAnAnswer::MessageAuthenticator);
                    }
                    copy.iter_mut().skip(place + 2).take(16).for_each(|byte| *byte = 0);
                }
                Some(_) => {}
                None if list.0.is_empty() => break,
                None => return Err(NotAnAnswer::Malformed),
            }
        }
        let found = found.ok_or(NotAnAnswer::MessageAuthenticator)?;
        let right: bool = message_authenticator(&self.secret, &copy).ct_eq(&found).into();
        if right { Ok(()) } else { Err(NotAnAnswer::MessageAuthenticator) }
    }
}

/// The attributes one after another; stops before one that is damaged, and leaves it.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[kind, length], _) = self.0.split_first_chunk::<2>()?;
        let value = self.0.get(2..usize::from(length))?;
        self.0 = self.0.get(usize::from(length)..)?;
        Some((kind, value))
    }
}

fn put(attributes: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), NotAsked> {
    let length = u8::try_from(value.len() + 2).map_err(|_| NotAsked::Attribute)?;
    if value.is_empty() {
        return Err(NotAsked::Attribute);
    }
    attributes.extend([kind, length]);
    attributes.extend_from_slice(value);
    Ok(())
}

/// RFC 2865 §5.2: each block is covered by the digest of the secret and the block before.
fn hide(
    password: &Secret,
    secret: &Secret,
    authenticator: &[u8; 16],
) -> Result<Zeroizing<Vec<u8>>, NotAsked> {
    let plain = password.expose();
    if plain.is_empty() || plain.len() > 128 {
        return Err(NotAsked::Password);
    }
    let mut hidden = Zeroizing::new(Vec::with_capacity(128));
    let mut before = *authenticator;
    for block in plain.chunks(16) {
        let cover = Md5::new().chain_update(secret.expose()).chain_update(before).finalize();
        let padded = block.iter().copied().chain(std::iter::repeat(0));
        for ((to, plain), cover) in before.iter_mut().zip(padded).zip(cover) {
            *to = plain ^ cover;
        }
        hidden.extend(before);
    }
    Ok(hidden)
}

fn message_authenticator(secret: &Secret, packet: &[u8]) -> [u8; 16] {
    // HMAC takes a key of any length.
    match Hmac::<Md5>::new_from_slice(secret.expose()) {
        Ok(mac) => mac.chain_update(packet).finalize().into_bytes().into(),
        Err(_) => [0; 16],
    }
}

/// Reply-Message attributes as one line for a person.
fn text(attributes: &[u8]) -> String {
    let all = Attributes(attributes).filter(|(kind, _)| *kind == REPLY_MESSAGE);
    let all: Vec<String> = all.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
    all.join(" ").chars().filter(|letter| !letter.is_control()).take(MAX_TEXT).collect()
}
