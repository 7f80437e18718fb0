//! `[wireguard]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnet::IpNet;

use super::{Name, ZoneName};

/// The zone that WireGuard's peers arrive in, and the interface of that name.
pub const WIREGUARD: &str = "wireguard";
/// Its device.
pub const WIREGUARD_DEVICE: &str = "wg0";

/// `[wireguard]`: ChaCha20-Poly1305, outside a policy of AES-256.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wireguard {
    /// Whether it is switched on. The zone and its hosts are there all the same, so that flows may name them.
    pub enabled: bool,
    /// The zones in whose interfaces' addresses it listens.
    pub zones: BTreeSet<ZoneName>,
    /// UDP port.
    pub port: u16,
    /// The box's addresses in the tunnel, with their networks.
    pub addresses: Vec<IpNet>,
    /// The name of the secret that is the private key; only what is switched off has none.
    pub private_key: Option<Name>,
    /// MTU of the tunnel, in bytes.
    pub mtu: u16,
    /// Why it is there.
    pub why: Option<String>,
    /// The peers. No two have the same key or the same network.
    pub peers: BTreeMap<Name, WireguardPeer>,
}

/// `[wireguard.peer.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WireguardPeer {
    /// Its public key.
    pub public_key: [u8; 32],
    /// The name of the secret that is a key which both have beside that.
    pub preshared_key: Option<Name>,
    /// Its addresses and the networks behind it.
    pub addresses: Vec<IpNet>,
    /// Where it is until it was heard.
    pub endpoint: Option<SocketAddr>,
    /// After so many seconds of silence an empty message is sent.
    pub keepalive_s: Option<u16>,
    /// What the operator wrote about it.
    pub description: Option<String>,
}
