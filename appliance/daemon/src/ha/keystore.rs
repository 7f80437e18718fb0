//! The keys of this node, on disk and in memory.
//!
//! ```text
//! STATE/ha/            0700
//! STATE/ha/identity    0600   the key of this node's peer channel, PKCS#8: made at the first start, stays for ever
//! STATE/ha/pair        0600   the other node's public key, the secret of the pair, our place in it; one file, so that a
//!                             power cut leaves all of it or what was before
//! ```
//!
//! Whoever needs the keys of the pair subscribes ([`Keystore::subscribe`]) and learns of a pairing as it happens.
//! Memory that held a secret is overwritten when it is given back.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rempart_pair::NodeIndex;
use rempart_pair::keys::PairSecret;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// The folder in the node's state.
const FOLDER: &str = "ha";
/// What the file of a pair begins with.
const TITLE: &str = "rempart pair 1";
/// Longest file here: a key of P-384 in hexadecimal and a few words.
const MAX_FILE: u64 = 4_096;

/// What pairing has left. Secrets are zeroised when dropped and never shown.
#[derive(Clone)]
pub struct PairKeys {
    /// The secret of the pair.
    pub secret: PairSecret,
    /// The place of this node among the two, as it was when they were paired.
    pub index: NodeIndex,
    /// The name of the other node.
    pub peer: String,
    /// Its public key, `SubjectPublicKeyInfo` in DER.
    pub peer_key: Vec<u8>,
}

impl fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairKeys")
            .field("peer", &self.peer)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// The key that this node shows in the peer channel.
#[derive(Clone)]
pub struct Identity {
    /// Signs.
    pub signer: Arc<dyn SigningKey>,
    /// The public half, `SubjectPublicKeyInfo` in DER.
    pub public: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// The keys.
#[derive(Debug)]
pub struct Keystore {
    folder: PathBuf,
    identity: Identity,
    keys: watch::Sender<Option<PairKeys>>,
}

impl Keystore {
    /// Opens the keys in the state folder `state`; makes the folder and this node's key where there is none.
    pub fn open(state: &Path) -> io::Result<Self> {
        let folder = state.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        let identity = match read(&folder.join("identity"))? {
            Some(pkcs8) => identity(&pkcs8)?,
            None => {
                let document =
                    EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &SystemRandom::new());
                let pkcs8 = document.map_err(|_| io::Error::other("the system gives no random bytes"))?;
                write(&folder, "identity", pkcs8.as_ref())?;
                identity(pkcs8.as_ref())?
            }
        };
        let keys = load(state).unwrap_or_else(|error| {
            // Without its keys the node stands alone, and says so; it must not stand still.
            tracing::error!(%error, file = %folder.join("pair").display(), "the keys of the pair cannot be read: pair again");
            None
        });
        Ok(Self { folder, identity, keys: watch::Sender::new(keys) })
    }

    /// The key of this node.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The keys of the pair, now and whenever they change.
    pub fn subscribe(&self) -> watch::Receiver<Option<PairKeys>> {
        self.keys.subscribe()
    }

    /// The keys of the pair.
    pub fn keys(&self) -> Option<PairKeys> {
        self.keys.borrow().clone()
    }

    /// Keeps the keys of a pair, with fsync, then tells everybody.
    pub fn pair(&self, keys: PairKeys) -> io::Result<()> {
        write(&self.folder, "pair", to_text(&keys).as_bytes())?;
        self.keys.send_replace(Some(keys));
        Ok(())
    }

    /// Forgets the other node.
    pub fn unpair(&self) -> io::Result<()> {
        match fs::remove_file(self.folder.join("pair")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        File::open(&self.folder)?.sync_all()?;
        self.keys.send_replace(None);
        Ok(())
    }
}

/// The keys of the pair in the state folder `state`; `None` when the node is not paired.
pub fn load(state: &Path) -> io::Result<Option<PairKeys>> {
    let Some(bytes) = read(&state.join(FOLDER).join("pair"))? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
    from_text(text).map(Some).ok_or_else(damaged)
}

/// SHA-256 of a public key, in hexadecimal by pairs of bytes, as people compare them.
pub fn fingerprint(public: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, public);
    let pairs = hash.as_ref().chunks(2).map(hex);
    pairs.collect::<Vec<_>>().join(":")
}

fn identity(pkcs8: &[u8]) -> io::Result<Identity> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
    let signer = any_ecdsa_type(&key).map_err(io::Error::other)?;
    let public = signer.public_key().map(|p| p.as_ref().to_vec()).ok_or_else(damaged)?;
    Ok(Identity { signer, public })
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

fn to_text(keys: &PairKeys) -> Zeroizing<String> {
    let PairKeys { secret, index, peer, peer_key } = keys;
    // Room for all of it: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
    let secret = Zeroizing::new(hex(secret.bytes()));
    for part in [TITLE, "\npeer ", peer, "\nplace ", if *index == NodeIndex::First { "0" } else { "1" }] {
        text.push_str(part);
    }
    for part in ["\nkey ", &hex(peer_key), "\nsecret ", &secret, "\n"] {
        text.push_str(part);
    }
    text
}

fn from_text(text: &str) -> Option<PairKeys> {
    let mut lines = text.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name);
    field(TITLE).filter(|rest| rest.is_empty())?;
    let peer = field("peer ")?.to_owned();
    let index = NodeIndex::new(field("place ")?.parse().ok()?)?;
    let peer_key = unhex(field("key ")?)?.to_vec();
    let secret = unhex(field("secret ")?)?;
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(secret.as_slice()).ok()?);
    Some(PairKeys { secret: PairSecret::new(bytes), index, peer, peer_key })
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    out
}

fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks(2) {
        let digit = |c: u8| char::from(c).to_digit(16);
        out.push((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
    }
    Some(out)
}

/// Reads a whole file; `None` when there is none.
fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE { Err(damaged()) } else { Ok(Some(bytes)) }
}

/// Replaces a file of this folder: after a power cut it is the old one or the new one, and nobody else can ever read it.
fn write(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = folder.join(format!("{name}.new"));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rempart-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn keys() -> PairKeys {
        let secret = PairSecret::new(Zeroizing::new([0xa5; 32]));
        PairKeys { secret, index: NodeIndex::Second, peer: "rte01".into(), peer_key: vec![1, 2, 0xff] }
    }

    /// Keys go in, the same come out after a restart, unreadable to others; the identity stays; subscribers hear of it.
    #[test]
    fn keys_survive_a_restart() {
        let state = scratch("keystore");
        let store = Keystore::open(&state).expect("opens");
        let heard = store.subscribe();
        assert!(heard.borrow().is_none());
        store.pair(keys()).expect("is kept");
        assert_eq!(heard.borrow().as_ref().map(|k| k.peer.clone()).as_deref(), Some("rte01"));
        let again = Keystore::open(&state).expect("opens");
        let loaded = again.keys().expect("paired");
        assert_eq!((loaded.secret.bytes(), loaded.index), (keys().secret.bytes(), NodeIndex::Second));
        assert_eq!((loaded.peer_key, &again.identity.public), (keys().peer_key, &store.identity.public));
        let mode = |p: &str| fs::metadata(state.join(p)).expect("is there").permissions().mode() & 0o777;
        assert_eq!((mode("ha"), mode("ha/identity"), mode("ha/pair")), (0o700, 0o600, 0o600));
        again.unpair().expect("is forgotten");
        assert!(load(&state).expect("reads").is_none());
        assert!(!format!("{:?}", keys()).contains("165"));
        fs::remove_dir_all(state).expect("clean");
    }

    /// Torn and foreign files are refused, never half believed.
    #[test]
    fn a_damaged_file_is_refused() {
        let text = to_text(&keys());
        assert!(from_text(&text).is_some());
        for length in 0..text.len() - 1 {
            assert!(from_text(&text[..length]).is_none(), "{length} bytes");
        }
        assert!(from_text(&text.replace("place 1", "place 2")).is_none());
        assert!(from_text(&text.replace("pair 1", "pair 2")).is_none());
    }

    /// Fingerprints are thirty-two bytes by pairs.
    #[test]
    fn fingerprints_are_readable() {
        let print = fingerprint(b"key");
        assert_eq!((print.len(), print.split(':').count()), (16 * 4 + 15, 16));
    }
}
