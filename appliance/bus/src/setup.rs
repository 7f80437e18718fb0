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
