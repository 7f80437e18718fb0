//! tls-crypt-v2: each client has a wrapping key of its own and carries it, wrapped under the server's, in the packets that
//! begin a session (draft "Client-specific encryption keys"). The server keeps nothing.
//!
//! ```text
//!  WKc  tag 32 │ AES-256-CTR(client's key 256 │ metadata) │ length 2, of all of it
//!  metadata  type 1 │ what the type says
//! ```

use std::fmt;

use base64ct::{Base64, Encoding};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::key::{InvalidKey, STATIC_KEY, StaticKey, head};
use super::siv::{Siv, TAG};

/// The longest wrapped key, in bytes (draft "Client-specific encryption keys").
pub const MAX_WKC: usize = 1024;
/// What of it can be free text.
pub const MAX_METADATA: usize = MAX_WKC - TAG - STATIC_KEY - 1 - LENGTH;
const LENGTH: usize = 2;
const SERVER_KEY: usize = 128;
const SERVER: [&str; 2] =
    ["-----BEGIN OpenVPN tls-crypt-v2 server key-----", "-----END OpenVPN tls-crypt-v2 server key-----"];
const CLIENT: [&str; 2] =
    ["-----BEGIN OpenVPN tls-crypt-v2 client key-----", "-----END OpenVPN tls-crypt-v2 client key-----"];
/// The longest key file that is read, in bytes: 1280 bytes of key in base64, and comments.
const MAX_FILE: usize = 16 * 1024;
const LINE: usize = 64;

/// What the maker of a client's key wrote into it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Metadata {
    /// Free bytes: here the name of the device, which a list of revoked ones is asked for.
    User(Vec<u8>),
    /// When the key was made, in seconds since 1970.
    Made(u64),
    /// A type that we do not know.
    Other(u8),
}

impl Metadata {
    fn encode(&self) -> Result<Vec<u8>, WrapError> {
        match self {
            Self::User(bytes) if bytes.len() > MAX_METADATA => Err(WrapError::Metadata),
            Self::User(bytes) => Ok([&[0], &bytes[..]].concat()),
            Self::Made(unix_s) => Ok([&[1], &unix_s.to_be_bytes()[..]].concat()),
            Self::Other(kind) => Ok(vec![*kind]),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            None => Some(Self::User(Vec::new())),
            Some((0, user)) => Some(Self::User(user.to_vec())),
            Some((1, made)) => Some(Self::Made(u64::from_be_bytes(made.try_into().ok()?))),
            Some((kind, _)) => Some(Self::Other(*kind)),
        }
    }
}

/// Why a client's key cannot be wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WrapError {
    /// The metadata is too long.
    #[error("metadata of a client's key is {MAX_METADATA} bytes at most")]
    Metadata,
}

/// Why a wrapped key is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnwrapError {
    /// Its length is impossible.
    #[error("the wrapped key has an impossible length")]
    Length,
    /// It was wrapped under another server's key.
    #[error("the wrapped key is not of this server")]
    Forged,
    /// Its metadata cannot be read.
    #[error("the metadata of the wrapped key cannot be read")]
    Metadata,
}

/// What a client's packet brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientKey {
    /// The wrapping key of this client.
    pub key: StaticKey,
    /// What its maker wrote into it.
    pub metadata: Metadata,
}

/// The key that all clients' keys are wrapped under. Both nodes have the same.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ServerKey(Box<[u8; SERVER_KEY]>);

impl ServerKey {
    /// From random bytes, or from where they were kept.
    pub fn new(bytes: &[u8; SERVER_KEY]) -> Self {
        Self(Box::new(*bytes))
    }

    /// From a key file.
    pub fn parse(file: &str) -> Result<Self, InvalidKey> {
        let bytes = from_pem(file, SERVER)?;
        let found = bytes.len();
        let key: &[u8; SERVER_KEY] =
            bytes.as_slice().try_into().map_err(|_| InvalidKey::Length { found, wanted: SERVER_KEY })?;
        Ok(Self::new(key))
    }

    /// A key file, as stock servers read it.
    pub fn to_file(&self) -> Zeroizing<String> {
        to_pem(&*self.0, SERVER)
    }

    /// Wraps a client's key.
    pub fn wrap(&self, client: &ClientKey) -> Result<Vec<u8>, WrapError> {
        let plain = Zeroizing::new([&client.key.expose()[..], &client.metadata.encode()?].concat());
        let length =
            u16::try_from(TAG + plain.len() + LENGTH).map_err(|_| WrapError::Metadata)?.to_be_bytes();
        let (tag, cipher) = self.siv().seal(&[&length], &plain);
        Ok([&tag[..], &cipher, &length].concat())
    }

    /// Unwraps what [`split_wkc`] has found.
    pub fn unwrap(&self, wkc: &[u8]) -> Result<ClientKey, UnwrapError> {
        let (rest, length) = wkc.split_last_chunk::<LENGTH>().ok_or(UnwrapError::Length)?;
        if wkc.len() > MAX_WKC || usize::from(u16::from_be_bytes(*length)) != wkc.len() {
            return Err(UnwrapError::Length);
        }
        let (tag, cipher) = rest.split_first_chunk::<TAG>().ok_or(UnwrapError::Length)?;
        if cipher.len() < STATIC_KEY {
            return Err(UnwrapError::Length);
        }
        let plain = Zeroizing::new(self.siv().open(&[length], tag, cipher).ok_or(UnwrapError::Forged)?);
        let (key, metadata) = plain.split_first_chunk::<STATIC_KEY>().ok_or(UnwrapError::Length)?;
        let metadata = Metadata::decode(metadata).ok_or(UnwrapError::Metadata)?;
        Ok(ClientKey { key: StaticKey::new(key), metadata })
    }

    /// A client's key file, for its profile.
    pub fn client_file(&self, client: &ClientKey) -> Result<Zeroizing<String>, WrapError> {
        let bytes = Zeroizing::new([&client.key.expose()[..], &self.wrap(client)?].concat());
        Ok(to_pem(&bytes, CLIENT))
    }

    /// The halves are one cipher key and one HMAC key (draft "Client-specific encryption keys").
    fn siv(&self) -> Siv<'_> {
        let (cipher, hmac) =
            self.0.split_first_chunk::<64>().unwrap_or_else(|| unreachable!("128 bytes have 64"));
        let hmac = hmac.first_chunk::<64>().unwrap_or_else(|| unreachable!("128 bytes have twice 64"));
        Siv { cipher: head(cipher), hmac: head(hmac) }
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(..)")
    }
}

/// Parts a packet that brings a key: the packet, and the wrapped key at its end.
pub fn split_wkc(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, length) = packet.split_last_chunk::<LENGTH>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if !(TAG + STATIC_KEY + LENGTH..=MAX_WKC).contains(&length) {
        return None;
    }
    packet.split_at_checked(packet.len().checked_sub(length)?)
}

fn from_pem(file: &str, [begin, end]: [&'static str; 2]) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
    if file.len() > MAX_FILE {
        return Err(InvalidKey::TooLong);
    }
    let (_, rest) = file.split_once(begin).ok_or(InvalidKey::Missing(begin))?;
    let (text, _) = rest.split_once(end).ok_or(InvalidKey::Missing(end))?;
    let text: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    Base64::decode_vec(&text).map(Zeroizing::new).map_err(|_| InvalidKey::Character)
}

fn to_pem(bytes: &[u8], [begin, end]: [&str; 2]) -> Zeroizing<String> {
    let text = Zeroizing::new(Base64::encode_string(bytes));
    let mut file = Zeroizing::new(String::with_capacity(text.len() + text.len() / LINE + 128));
    file.push_str(begin);
    for (place, character) in text.chars().enumerate() {
        if place % LINE == 0 {
            file.push('\n');
        }
        file.push(character);
    }
    file.push('\n');
    file.push_str(end);
    file.push('\n');
    file
}
