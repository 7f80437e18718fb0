//! Files with keys: `DIR/secrets/NAME`, a key in base64 as `wg genkey` and `wg genpsk` print it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rempart_plan::wireguard::WireguardPlan;
use rempart_wireguard::{PeerSettings, PublicKey, Secret, Settings};
use zeroize::Zeroizing;

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

/// What the plan says, with the keys that it names.
pub fn settings(plan: &WireguardPlan, folder: &Path) -> Result<Settings, NoKey> {
    let mut peers = Vec::with_capacity(plan.peers.len());
    for peer in &plan.peers {
        let preshared = peer.preshared_key.as_ref().map(|name| read(folder, name)).transpose()?;
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
    Ok(Settings { private_key, sockets: plan.listen.clone(), mtu: plan.mtu, peers })
}

fn read(folder: &Path, name: &str) -> Result<Secret, NoKey> {
    let failed = |source| NoKey::Read { name: name.to_owned(), source };
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize));
    let file = File::open(folder.join(name)).map_err(failed)?;
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(failed)?;
    Secret::from_base64(text.trim_ascii()).ok_or_else(|| NoKey::Malformed(name.to_owned()))
}
