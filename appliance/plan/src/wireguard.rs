//! What the WireGuard of a node has to know of the document: `rempart-vpn` is given a [`WireguardPlan`] by the control daemon.
//!
//! Owned here: where it listens, the addresses and routes of its device, its peers. Not owned: keys, which are secrets by
//! name; who is active.

use std::net::SocketAddr;

use ipnet::IpNet;
use rempart_config::Model;
use rempart_config::model::{
    Device, InterfaceName, WIREGUARD, WIREGUARD_DEVICE, Wireguard, ZoneName, is_link_local,
};
use serde::{Deserialize, Serialize};

use crate::World;
use crate::world::Leg;

/// What lets its datagrams in and out ([`crate::eval::Decider::System`]).
pub const OUTSIDE: &str = "WireGuard";
/// Most places where it listens: virtual addresses of both families on some interfaces.
pub const MAX_LISTEN: usize = 8;

/// What the document asks of WireGuard on one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WireguardPlan {
    /// The TUN device, which `rempart-vpn` makes.
    pub device: String,
    /// Where it listens. Virtual addresses where the interface has one, which are bound before they are there; the node's
    /// own, or its lease, where it has none. [`MAX_LISTEN`] at most.
    pub listen: Vec<SocketAddr>,
    /// The addresses of the device, the same on both nodes.
    pub addresses: Vec<IpNet>,
    /// What else lies behind it.
    pub routes: Vec<IpNet>,
    /// MTU of the tunnel, in bytes.
    pub mtu: u16,
    /// The name of the private key: a file `DIR/secrets/NAME`, in base64.
    pub private_key: String,
    /// The peers.
    pub peers: Vec<WireguardPeerPlan>,
}

/// A peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WireguardPeerPlan {
    /// What the document calls it.
    pub name: String,
    /// Its public key.
    pub public_key: [u8; 32],
    /// The name of a key that both have beside that: a file `DIR/secrets/NAME`, in base64.
    pub preshared_key: Option<String>,
    /// Its addresses and the networks behind it.
    pub allowed: Vec<IpNet>,
    /// Where it is until it was heard.
    pub endpoint: Option<SocketAddr>,
    /// After so many seconds of silence an empty message is sent.
    pub keepalive_s: Option<u16>,
}

impl WireguardPlan {
    /// What `model` asks of the node that sees `world`; `None` where WireGuard is switched off.
    pub fn of(model: &Model, world: &World) -> Option<Self> {
        let wireguard = switched_on(model)?;
        let private_key = wireguard.private_key.as_ref()?.as_str().to_owned();
        let public = wireguard.zones.iter().flat_map(|zone| world.legs_in(zone)).flat_map(|(_, l)| &l.public);
        let mut listen: Vec<SocketAddr> = public
            .filter(|address| !is_link_local(**address))
            .map(|address| SocketAddr::new(*address, wireguard.port))
            .collect();
        listen.truncate(MAX_LISTEN);
        let peers = wireguard.peers.iter().map(|(name, peer)| WireguardPeerPlan {
            name: name.as_str().to_owned(),
            public_key: peer.public_key,
            preshared_key: peer.preshared_key.as_ref().map(|key| key.as_str().to_owned()),
            allowed: peer.addresses.clone(),
            endpoint: peer.endpoint,
            keepalive_s: peer.keepalive_s,
        });
        Some(Self {
            device: WIREGUARD_DEVICE.to_owned(),
            listen,
            addresses: wireguard.addresses.clone(),
            routes: routes(wireguard),
            mtu: wireguard.mtu,
            private_key,
            peers: peers.collect(),
        })
    }
}

/// What lies behind the device and is not in the networks of its addresses.
fn routes(wireguard: &Wireguard) -> Vec<IpNet> {
    let near = |net: &IpNet| wireguard.addresses.iter().any(|own| own.contains(net));
    let nets = wireguard.peers.values().flat_map(|peer| &peer.addresses);
    let mut out: Vec<IpNet> = nets.filter(|net| !near(net)).map(IpNet::trunc).collect();
    out.sort();
    out.dedup();
    out
}

pub(crate) fn switched_on(model: &Model) -> Option<&Wireguard> {
    model.wireguard.as_ref().filter(|wireguard| wireguard.enabled)
}

/// The leg of the tunnel, and the networks that are routed through it besides its own.
pub(crate) fn leg(model: &Model) -> Option<(Leg, Vec<IpNet>)> {
    let wireguard = switched_on(model)?;
    let leg = Leg {
        interface: InterfaceName::new(WIREGUARD),
        device: Device::new(WIREGUARD_DEVICE),
        virtual_devices: Vec::new(),
        beside: None,
        zone: Some(ZoneName::new(WIREGUARD)),
        addresses: wireguard.addresses.clone(),
        public: Vec::new(),
        virtuals: Vec::new(),
    };
    Some((leg, routes(wireguard)))
}
