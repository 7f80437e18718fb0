//! Files with keys: `DIR/secrets/NAME`, a key in base64 as `wg genkey` and `wg genpsk` print it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rempart_plan::wireguard::WireguardPlan;
use rempart_wireguard::{PeerSettings, PublicKey, Secret, Settings};
use zeroize::Zeroizing;

use crate::disk;

/// 44 characters, and the end of the line.
const MAX_BYTES: u64 = 64;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    /// The file cannot be read.
    #[error("the secret `{name}` of WireGuard cannot be read: {source}")]
    Read {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It holds something else.
    #[error("the secret `{0}` is no key of WireGuard: 44 characters of base64, as `wg genkey` makes them")]
    Malformed(String),
}

/// What the plan says, with the keys that it names. A peer whose own key cannot be read is left out: the others are not to
/// suffer for it.
pub fn settings(plan: &WireguardPlan, folder: &Path) -> Result<(Settings, Vec<NoKey>), NoKey> {
    let (mut peers, mut missing) = (Vec::with_capacity(plan.peers.len()), Vec::new());
    for peer in &plan.peers {
        let preshared = match peer.preshared_key.as_ref().map(|name| read(folder, name)).transpose() {
            Ok(preshared) => preshared,
            Err(error) => {
                missing.push(error);
                continue;
            }
        };
        peers.push(PeerSettings {
            name: peer.name.clone(),
            public_key: PublicKey(peer.public_key),
            preshared,
            allowed: peer.allowed.clone(),
            endpoint: peer.endpoint,
            keepalive: peer.keepalive_s.map(|s| std::time::Duration::from_secs(s.into())),
        });
    }
    let private_key = read(folder, &plan.private_key)?;
    Ok((Settings { private_key, sockets: plan.listen.clone(), mtu: plan.mtu, peers }, missing))
}

/// The names of all keys of a plan.
pub fn names(plan: &WireguardPlan) -> impl Iterator<Item = &str> {
    let shared = plan.peers.iter().filter_map(|peer| peer.preshared_key.as_deref());
    std::iter::once(plan.private_key.as_str()).chain(shared)
}

/// Keeps a key under a name.
pub fn write(folder: &Path, name: &str, key: &Secret) -> io::Result<()> {
    if !is_plain(name) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = key.to_base64();
    text.push('\n');
    disk::write_private(&folder.join(name), text.as_bytes())
}

/// A name that stays in the folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}

/// Reads a key.
pub fn read(folder: &Path, name: &str) -> Result<Secret, NoKey> {
    let failed = |source| NoKey::Read { name: name.to_owned(), source };
    if !is_plain(name) {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize));
    let file = File::open(folder.join(name)).map_err(failed)?;
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(failed)?;
    Secret::from_base64(text.trim_ascii()).ok_or_else(|| NoKey::Malformed(name.to_owned()))
}
