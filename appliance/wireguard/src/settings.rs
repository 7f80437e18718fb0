//! What an engine is told: its key, its peers, and where it listens.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use ipnet::IpNet;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Most peers of one interface: each has two kilobytes, and every tick looks at all.
pub const MAX_PEERS: usize = 2_000;

/// A private or preshared key. Never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// Takes the bytes of a key.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A key in base64 as `wg genkey` prints it; `None` if it is none.
    pub fn from_base64(text: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        let length = Base64::decode(text, key.as_mut_slice()).ok()?.len();
        (length == key.len()).then_some(Self(key))
    }

    /// A private key out of 32 bytes that nobody can guess, with the bits that every X25519 key has (RFC 7748 §5).
    pub fn private(mut random: Zeroizing<[u8; 32]>) -> Self {
        random[0] &= 248;
        random[31] &= 127;
        random[31] |= 64;
        Self(random)
    }

    /// As `wg genkey` prints it.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64::encode_string(self.0.as_slice()))
    }

    /// Its bytes, to be kept or handed to the other node.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        crate::tunnel::public_of(self)
    }
}

/// In constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A peer's public key, which is its name on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PublicKey(pub [u8; 32]);

/// As `wg` prints it.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 44];
        f.write_str(Base64::encode(&self.0, &mut text).unwrap_or_default())
    }
}

/// A way to a peer: the socket by which it is reached, and where it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Path {
    /// The socket, by its number in [`Settings::sockets`].
    pub local: u8,
    /// Where the peer is.
    pub remote: SocketAddr,
}

/// A peer as the document has it.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// What people call it.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
    /// A key that both have beside that (WireGuard §5.2), which must be broken too.
    pub preshared: Option<Secret>,
    /// What may come from it and goes to it. Of two peers the one with the longer prefix has an address.
    pub allowed: Vec<IpNet>,
    /// Where it is until it was heard.
    pub endpoint: Option<SocketAddr>,
    /// An empty message when nothing else went to and fro for so long, so that translators on the way do not forget.
    pub keepalive: Option<Duration>,
}

/// An interface as the document has it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The private key.
    pub private_key: Secret,
    /// The local addresses of the sockets, by number.
    pub sockets: Vec<SocketAddr>,
    /// Packets are not padded beyond this, in bytes.
    pub mtu: u16,
    /// The peers.
    pub peers: Vec<PeerSettings>,
}

impl Settings {
    /// The way to a configured endpoint: by the first socket of its IP version.
    pub(crate) fn path_to(&self, remote: SocketAddr) -> Option<Path> {
        let local = self.sockets.iter().position(|s| s.is_ipv4() == remote.is_ipv4())?;
        Some(Path { local: u8::try_from(local).ok()?, remote })
    }

    /// Whether they make sense.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.peers.len() > MAX_PEERS {
            return Err(SettingsError::TooManyPeers(self.peers.len()));
        }
        let mut seen = std::collections::BTreeSet::from([self.private_key.public()]);
        match self.peers.iter().find(|peer| !seen.insert(peer.public_key)) {
            Some(peer) => Err(SettingsError::KeyTwice(peer.name.clone())),
            None => Ok(()),
        }
    }
}

/// Settings that make no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// More than [`MAX_PEERS`].
    #[error("{0} WireGuard peers; {MAX_PEERS} at most")]
    TooManyPeers(usize),
    /// A key names one peer, and is not our own.
    #[error("the key of the WireGuard peer `{0}` is another peer's, or the box's own")]
    KeyTwice(String),
}

/// How a peer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// What people call it.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// How long ago the last handshake was.
    pub handshake: Option<Duration>,
    /// Bytes inside the tunnel that came from it.
    pub received: u64,
    /// And went to it.
    pub sent: u64,
}
