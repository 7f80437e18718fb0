//! How WireGuard is, as the bus tells it.

use std::time::Duration;

use jiff::Timestamp;
use rempart_bus::vpn::{WireguardPeerView, WireguardStatus};
use rempart_plan::wireguard::WireguardPlan;
use rempart_wireguard::{PeerStatus, PublicKey};

/// What the owner tells of itself.
pub struct Report {
    /// What the document asks for, whether it is in force or not.
    pub plan: Option<Box<WireguardPlan>>,
    /// Whether this node carries the tunnels.
    pub active: bool,
    /// What carries them, where something does.
    pub backend: Option<&'static str>,
    /// The gateway's public key, where it has a key.
    pub public_key: Option<PublicKey>,
    /// Why it is not as the document asks.
    pub trouble: Option<String>,
    /// The peers, by what is known on this node.
    pub peers: Vec<PeerStatus>,
}

impl Report {
    /// As the bus has it.
    pub fn document(self, node: &str) -> WireguardStatus {
        let out = WireguardStatus {
            version: 1,
            node: node.to_owned(),
            active: self.active,
            trouble: self.trouble,
            ..WireguardStatus::default()
        };
        let Some(plan) = &self.plan else { return out };
        let now = Timestamp::now();
        let peers = plan.peers.iter().map(|peer| {
            let status = self.peers.iter().find(|status| status.public_key.0 == peer.public_key);
            WireguardPeerView {
                name: peer.name.clone(),
                public_key: PublicKey(peer.public_key).to_string(),
                allowed: peer.allowed.iter().map(ToString::to_string).collect(),
                endpoint: status.and_then(|s| s.endpoint).or(peer.endpoint).map(|e| e.to_string()),
                handshake: status.and_then(|s| s.handshake).and_then(|age| before(now, age)),
                bytes_in: status.map_or(0, |s| s.received),
                bytes_out: status.map_or(0, |s| s.sent),
            }
        });
        WireguardStatus {
            enabled: true,
            backend: self.backend.unwrap_or_default().to_owned(),
            device: plan.device.clone(),
            listen: plan.listen.iter().map(ToString::to_string).collect(),
            addresses: plan.addresses.iter().map(ToString::to_string).collect(),
            public_key: self.public_key.map(|key| key.to_string()),
            peers: peers.collect(),
            ..out
        }
    }
}

/// To the second: more than that nobody reads.
fn before(now: Timestamp, age: Duration) -> Option<String> {
    let age = i64::try_from(age.as_secs()).ok()?;
    Timestamp::from_second(now.as_second().checked_sub(age)?).ok().map(|time| time.to_string())
}
