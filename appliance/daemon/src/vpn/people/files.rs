//! What is kept on the disk.
//!
//! ```text
//! STATE/vpn/store     people, devices, authorities: one document        0600, replaced whole
//! STATE/vpn/keys      the server's secrets                              0600, replaced whole
//! STATE/vpn/codes     codes that were used in the last minutes          0600, replaced whole
//! ```
//!
//! A file that does not read is left as it is, and nothing starts: an empty store in its place would shut everybody out, and
//! empty keys would make every profile worthless, for good at the next write.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rempart_identity::moment::Moment;
use rempart_identity::names::UserName;
use rempart_identity::secret::Secret;
use rempart_identity::store::{Fingerprint, MAX_DOCUMENT, NotRead, Store};
use rempart_identity::totp::Step;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::disk;

/// Bytes of the keys: a few certificates and keys in base64.
const MAX_KEYS: u64 = 64 * 1024;
/// Bytes of the used codes: a name and a number for each of 5,000 people.
const MAX_CODES: u64 = 1 << 20;
/// Bytes of a file of somebody else: an authority's certificate, a RADIUS secret.
const MAX_SECRET: u64 = 256 * 1024;
/// A used code is remembered so long. It could be used for a minute and a half; clocks that jump back are given the rest.
const CODE_MEMORY: Duration = Duration::from_secs(900);

/// Why people cannot be read.
#[derive(Debug, Error)]
pub enum NotOpened {
    /// The disk.
    #[error("{path} cannot be read: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The store is damaged, or of a newer version.
    #[error(
        "{path}: {error}. Nobody can log in on this node. The file is left as it is: put a good copy in its place, or move it \
         away; then the other node's copy is taken, or an empty store is begun"
    )]
    Store {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: NotRead,
    },
    /// Another file is damaged.
    #[error(
        "{path} does not read: {error}. The file is left as it is: put a good copy in its place, or move it away; then the \
         other node's copy is taken, or new keys are made, which makes every profile worthless"
    )]
    Keys {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: serde_json::Error,
    },
}

/// The certificate of the server, with its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerCredential {
    /// The authority that signed it.
    pub authority: Fingerprint,
    /// The names in it, the one that profiles check first.
    pub names: Vec<String>,
    /// Until when it is valid.
    pub until: Moment,
    /// DER; no secret, the type is for base64.
    pub certificate: Secret,
    /// PKCS #8 in DER.
    pub key: Secret,
}

/// The server's secrets, the same on both nodes. Made at first need by the active one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Opens the wrapped client keys of tls-crypt-v2: 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapping: Option<Secret>,
    /// Makes and verifies auth-tokens: 32 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// tls-crypt v1 of an imported set-up: 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Secret>,
    /// The certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerCredential>,
}

/// Codes that were used, by person.
pub type Codes = BTreeMap<UserName, Step>;

/// The files.
#[derive(Debug)]
pub struct Files {
    own: PathBuf,
    secrets: PathBuf,
}

impl Files {
    /// In the state folder of the node.
    pub fn new(state: &Path) -> Self {
        Self { own: state.join("vpn"), secrets: state.join("secrets") }
    }

    /// People; an empty store where there never was one.
    pub fn store(&self) -> Result<Store, NotOpened> {
        let path = self.own.join("store");
        let bytes = read(&path, MAX_DOCUMENT as u64)?;
        let store = bytes.map(|bytes| Store::read(&bytes)).transpose();
        store.map(Option::unwrap_or_default).map_err(|error| NotOpened::Store { path, error })
    }

    /// The server's secrets; none where there never were any.
    pub fn keys(&self) -> Result<Keys, NotOpened> {
        let path = self.own.join("keys");
        let bytes = read(&path, MAX_KEYS)?;
        let keys = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        keys.map(Option::unwrap_or_default).map_err(|error| NotOpened::Keys { path, error })
    }

    /// Used codes. What does not read is worth less than a node that starts.
    pub fn codes(&self) -> Codes {
        let bytes = disk::read_private(&self.own.join("codes"), MAX_CODES).ok().flatten();
        let codes: Option<BTreeMap<UserName, u64>> =
            bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        codes.unwrap_or_default().into_iter().map(|(name, step)| (name, Step::new(step))).collect()
    }

    /// Keeps people.
    pub fn keep_store(&self, store: &Store) -> io::Result<()> {
        disk::write_private(&self.own.join("store"), &store.write())
    }

    /// Keeps the server's secrets.
    pub fn keep_keys(&self, keys: &Keys) -> io::Result<()> {
        let bytes = Zeroizing::new(serde_json::to_vec(keys)?);
        disk::write_private(&self.own.join("keys"), &bytes)
    }

    /// Keeps used codes.
    pub fn keep_codes(&self, codes: &Codes) -> io::Result<()> {
        let codes: BTreeMap<&UserName, u64> =
            codes.iter().map(|(name, step)| (name, step.number())).collect();
        disk::write_private(&self.own.join("codes"), &serde_json::to_vec(&codes)?)
    }

    /// A secret that the document names, `STATE/secrets/NAME`, without the newline that editors leave at the end.
    pub fn secret(&self, name: &str) -> io::Result<Secret> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a secret is named by a plain word"));
        }
        let bytes = disk::read_private(&self.secrets.join(name), MAX_SECRET)?;
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let end = bytes.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
        Ok(Secret::new(bytes.get(..end).unwrap_or(&[]).to_vec()))
    }
}

/// Drops the codes that could not be used any more in any case.
pub fn forget_old(codes: &mut Codes, now: Moment) {
    let oldest = Step::at(now.minus(CODE_MEMORY));
    codes.retain(|_, step| *step >= oldest);
}

fn read(path: &Path, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>, NotOpened> {
    disk::read_private(path, limit).map_err(|error| NotOpened::Io { path: path.to_owned(), error })
}
