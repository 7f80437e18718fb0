//! The documents about the box itself, before and beside the one about the network: its name, its ports, who may look after it.

use serde::{Deserialize, Serialize};

/// How far a box has been set up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SetupStatus {
    /// The name of this box in the document; `unnamed` before it has one.
    pub node: String,
    /// Whether a document was ever committed.
    pub committed: bool,
    /// Whether the administrator has a password, which the screens then ask for.
    pub password: bool,
    /// The network ports, by their device.
    pub ports: Vec<PortStatus>,
    /// The stick that a box was started from which has no disk of its own yet: nothing is kept.
    #[serde(default)]
    pub live: Option<String>,
}

/// The name of a box that has none.
pub const UNNAMED: &str = "unnamed";

/// A network port that a cable can be plugged into.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PortStatus {
    /// The kernel's name.
    pub device: String,
    /// Its Ethernet address.
    pub mac: String,
    /// Its driver.
    pub driver: String,
    /// In megabits a second, while there is a link.
    pub speed_mbps: Option<u32>,
    /// Whether its lamp is lit.
    pub link: bool,
}

/// SSH to the console.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SshStatus {
    /// Whether it is switched on.
    pub on: bool,
    /// The keys that may come in.
    pub keys: Vec<SshKey>,
    /// Fingerprint of this box's own key, once it has one: `SHA256:` and base64, as ssh(1) shows it.
    pub host: Option<String>,
    /// The flows of the running document that let somebody reach it.
    pub flows: Vec<String>,
}

/// A key of an administrator.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SshKey {
    /// `SHA256:` and base64, as ssh(1) shows it.
    pub fingerprint: String,
    /// The algorithm: `ssh-ed25519`.
    pub kind: String,
    /// Whose it is, as its maker wrote.
    pub comment: String,
}
