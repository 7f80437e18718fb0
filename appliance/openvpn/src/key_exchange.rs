//! What both sides tell each other first through TLS, and the keys of the data channel that follow from it.
//!
//! ```text
//!  0 0 0 0 │ 2 │ client only: pre-master 48 │ random 32 │ random 32 │ options │ user │ password │ peer info
//!  a string: length 2, with its NUL │ bytes │ NUL                          draft "Key exchange message"
//! ```
//!
//! | file | owns |
//! | --- | --- |
//! | here | the message, keys by exported keying material |
//! | `peer_info` | what a client can do, and whether that is enough |
//! | `prf` | keys for clients of 2.5 |

mod peer_info;
mod prf;
#[cfg(test)]
mod tests;

use std::fmt;

use rustls::ServerConnection;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub(crate) use peer_info::says_exit;
pub use peer_info::{Features, Incompatible, MAX_VARIABLES, PeerInfo};

use crate::packet::{KeyId, SessionId};

/// The longest message that is taken, in bytes: stock clients have a buffer of 2048, OpenVPN 3 tells more about itself.
pub const MAX_CLIENT_MESSAGE: usize = 8192;
/// The longest user name, in bytes.
pub const MAX_USER: usize = 256;
/// The longest password, in bytes: a token, or password and code in base64.
pub const MAX_PASSWORD: usize = 1024;
const MAX_OPTIONS: usize = 2048;
const MAX_PEER_INFO: usize = 4096;
const METHOD: u8 = 2;

/// Why a client's message is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// Not the beginning of such a message.
    #[error("the client's first message is no key exchange of method 2")]
    Method,
    /// A string without an end, or too long, or no text.
    #[error("the client's {0} cannot be read")]
    Text(&'static str),
}

/// What both sides add to the keys of 2.5. Exported keying material needs none of it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Randoms {
    first: [u8; 32],
    second: [u8; 32],
}

impl Randoms {
    /// From 64 random bytes.
    pub fn new(bytes: &[u8; 64]) -> Self {
        let (mut first, mut second) = ([0; 32], [0; 32]);
        first.copy_from_slice(&bytes[..32]);
        second.copy_from_slice(&bytes[32..]);
        Self { first, second }
    }
}

/// What the client tells.
pub struct ClientMessage {
    pre_master: Zeroizing<[u8; 48]>,
    randoms: Randoms,
    /// Its options in the old form; only shown.
    pub options: String,
    /// Empty where it has none.
    pub user: String,
    /// A password, a token, or empty.
    pub password: Zeroizing<String>,
    /// What it can do.
    pub peer_info: PeerInfo,
}

impl ClientMessage {
    /// Reads the message at the beginning of `bytes`, and says how long it is. `None`: it is not whole yet.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Invalid> {
        let mut rest = bytes;
        let Some(head) = take::<5>(&mut rest) else { return Ok(None) };
        if head != [0, 0, 0, 0, METHOD] {
            return Err(Invalid::Method);
        }
        let Some(pre_master) = take::<48>(&mut rest).map(Zeroizing::new) else { return Ok(None) };
        let Some(randoms) = take::<64>(&mut rest).map(Zeroizing::new) else { return Ok(None) };
        let Some(options) = take_text(&mut rest, "options", MAX_OPTIONS)? else { return Ok(None) };
        let Some(user) = take_text(&mut rest, "user name", MAX_USER)? else { return Ok(None) };
        let Some(password) = take_text(&mut rest, "password", MAX_PASSWORD)? else { return Ok(None) };
        let Some(peer_info) = take_text(&mut rest, "peer information", MAX_PEER_INFO)? else {
            return Ok(None);
        };
        let message = Self {
            pre_master,
            randoms: Randoms::new(&randoms),
            options: options.to_owned(),
            user: user.to_owned(),
            password: Zeroizing::new(password.to_owned()),
            peer_info: PeerInfo::parse(peer_info),
        };
        Ok(Some((message, bytes.len() - rest.len())))
    }
}

impl fmt::Debug for ClientMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMessage")
            .field("user", &self.user)
            .field("peer_info", &self.peer_info)
            .finish_non_exhaustive()
    }
}

/// What the server answers. The options are cosmetic: 2.5 warns when they differ from its own.
pub fn server_message(randoms: &Randoms, tcp: bool) -> Zeroizing<Vec<u8>> {
    let proto = if tcp { "TCPv4_SERVER" } else { "UDPv4" };
    let options = format!(
        "V4,dev-type tun,link-mtu 1549,tun-mtu 1500,proto {proto},cipher AES-256-GCM,auth [null-digest],keysize 256,key-method 2,tls-server"
    );
    let mut message = Zeroizing::new(Vec::with_capacity(5 + 64 + 2 + options.len() + 1 + 6));
    message.extend_from_slice(&[0, 0, 0, 0, METHOD]);
    message.extend_from_slice(&randoms.first);
    message.extend_from_slice(&randoms.second);
    // The text above has not 2¹⁶ characters.
    message.extend_from_slice(&u16::try_from(options.len() + 1).unwrap_or(0).to_be_bytes());
    message.extend_from_slice(options.as_bytes());
    message.push(0);
    // User, password and peer information: empty, without even a NUL.
    message.extend_from_slice(&[0; 6]);
    message
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

/// A string with its length and its NUL; a length of 0 is an empty string.
fn take_text<'a>(rest: &mut &'a [u8], name: &'static str, most: usize) -> Result<Option<&'a str>, Invalid> {
    let Some(length) = take::<2>(rest).map(u16::from_be_bytes).map(usize::from) else { return Ok(None) };
    if length > most + 1 {
        return Err(Invalid::Text(name));
    }
    let Some((bytes, after)) = rest.split_at_checked(length) else { return Ok(None) };
    *rest = after;
    let text = match bytes.split_last() {
        None => &[],
        Some((0, text)) => text,
        Some(_) => return Err(Invalid::Text(name)),
    };
    if text.contains(&0) {
        return Err(Invalid::Text(name));
    }
    std::str::from_utf8(text).map(Some).map_err(|_| Invalid::Text(name))
}

/// How the keys of the data channel are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Derivation {
    /// Exported from TLS (RFC 5705, RFC 8446 §7.5): 2.6 and OpenVPN 3.
    Exporter,
    /// From both randoms by the function of TLS 1.0: 2.5.
    Prf,
}

/// The key of one direction.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DirectionKey {
    /// For AES-256-GCM.
    pub key: [u8; 32],
    /// The second part of the nonce, after the packet id.
    pub implicit_iv: [u8; 8],
}

impl fmt::Debug for DirectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectionKey(..)")
    }
}

/// The keys of the data channel under one key id, from the server's side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataKeys {
    /// Which.
    pub key_id: KeyId,
    /// The epoch of the node that made them: what decides which packet ids a node may send under them (study §1.4).
    pub made_in: u64,
    /// For what the server sends.
    pub seal: DirectionKey,
    /// For what it receives.
    pub open: DirectionKey,
}

/// Why there are no keys.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no keys could be exported from TLS: {0}")]
pub struct NoKeys(rustls::Error);

/// What the keys are made from.
pub struct Material<'a> {
    /// What the client has told.
    pub client: &'a ClientMessage,
    /// What we tell.
    pub server: &'a Randoms,
    /// The client's session id.
    pub client_session: SessionId,
    /// Ours.
    pub server_session: SessionId,
}

/// Makes the keys of the data channel.
pub fn derive(
    derivation: Derivation,
    tls: &ServerConnection,
    material: &Material<'_>,
    key_id: KeyId,
    made_in: u64,
) -> Result<DataKeys, NoKeys> {
    let block = match derivation {
        Derivation::Exporter => export(tls, b"EXPORTER-OpenVPN-datakeys")?,
        Derivation::Prf => prf::key_block(material),
    };
    Ok(split(&block, key_id, made_in))
}

/// What dynamic tls-crypt mixes into the wrapping key.
pub fn export_wrapping(tls: &ServerConnection) -> Result<Zeroizing<[u8; 256]>, NoKeys> {
    export(tls, b"EXPORTER-OpenVPN-dynamic-tls-crypt")
}

/// Without a context, which TLS 1.2 tells from an empty one (RFC 5705 §4).
fn export(tls: &ServerConnection, label: &[u8]) -> Result<Zeroizing<[u8; 256]>, NoKeys> {
    let mut block = Zeroizing::new([0; 256]);
    tls.export_keying_material(&mut block[..], label, None).map_err(NoKeys)?;
    Ok(block)
}

/// The block: a half for each direction, of each the cipher's 64 bytes and then the HMAC's 64, which with GCM give the
/// implicit IV. The server sends with the second half (draft "OpenVPN Key").
fn split(block: &[u8; 256], key_id: KeyId, made_in: u64) -> DataKeys {
    let half = |at: usize| {
        let (mut key, mut implicit_iv) = ([0; 32], [0; 8]);
        key.copy_from_slice(&block[at..at + 32]);
        implicit_iv.copy_from_slice(&block[at + 64..at + 72]);
        DirectionKey { key, implicit_iv }
    };
    DataKeys { key_id, made_in, open: half(0), seal: half(128) }
}
