//! What the elector of a node has to know of the document: `rempart-ha` is given a [`HaPlan`] by the control daemon
//! and never reads the document itself.
//!
//! Owned here: which virtual routers there are, under which names their devices go, by which ways the nodes hear
//! each other, and what counts for health. Not owned: who is active, which the document cannot know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use rempart_config::Model;
use rempart_config::model::{Interface, InterfaceName, NodeIndex, RouterId, is_link_local};
use rempart_config::space::Family;
use serde::{Deserialize, Serialize};

use crate::Facts;
use crate::net::{Answered, Carrier, Mac};

pub use rempart_config::model::{ChecksumForm, Failback, VirtualProtocol};

/// What the document asks of the elector of one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HaPlan {
    /// The name of this node.
    pub node: String,
    /// Its place in `pair.nodes`: 0 is the preferred one.
    pub index: u8,
    /// The name of the other node; `None` for a single box beside a foreign router.
    pub peer: Option<String>,
    /// The ways between the nodes: the sync cable first, then by the name of the interface. In the same order on
    /// both nodes.
    pub paths: Vec<PathPlan>,
    /// One for each interface, virtual router id and IP version.
    pub routers: Vec<RouterPlan>,
    /// The interfaces whose state counts for the health of the node.
    pub monitors: Vec<MonitorPlan>,
    /// Whether the preferred node takes the role back by itself.
    pub failback: Failback,
    /// Time between two heartbeats, in milliseconds.
    pub heartbeat_ms: u16,
}

/// A way between the nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PathPlan {
    /// The interface in the document.
    pub interface: String,
    /// The kernel's device on this node.
    pub device: String,
    /// The address of this node.
    pub local: IpAddr,
    /// The address of the other node.
    pub remote: IpAddr,
    /// The dedicated cable.
    pub sync: bool,
}

/// A virtual router.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RouterPlan {
    /// The interface in the document.
    pub interface: String,
    /// The kernel's device that it lies on.
    pub parent: String,
    /// The macvlan with the virtual MAC: at most 15 bytes, unique on the node. The control daemon creates it, down;
    /// the elector alone sets it up and down and gives it addresses.
    pub device: String,
    /// Virtual router id, 1 to 255.
    pub vrid: u8,
    /// The protocol of its adverts.
    pub protocol: VirtualProtocol,
    /// The addresses in its adverts, in their order and of one IP version, as they stand on the device: each by
    /// itself (/32, /128), but for link-local ones, which bring their network (/64) so that neighbours are answered.
    /// In IPv6 the first one is link-local (RFC 9568 §5.2.9).
    pub addresses: Vec<IpNet>,
    /// Addresses that move with the router and are not in its adverts: outside addresses of translations, for which
    /// the active node must answer (keepalived's `virtual_ipaddress_excluded`). On the device and announced like
    /// the others.
    #[serde(default)]
    pub unadvertised: Vec<IpNet>,
    /// The address of this node that adverts come from. `None` in IPv6: the parent's link-local address.
    pub local: Option<IpAddr>,
    /// Time between two adverts, in centiseconds. CARP: `advbase` in the same unit.
    pub interval_cs: u16,
    /// Priority, 1 to 254. Without meaning in CARP.
    pub priority: u8,
    /// Takes the role from a router of lower priority, while it elects freely.
    pub preempt: bool,
    /// How long it waits before that, in seconds.
    pub preempt_delay_s: u32,
    /// Answers what is sent to the virtual addresses, and not only what must be (RFC 9568 §6.1, `Accept_Mode`).
    pub accept: bool,
    /// Where adverts go instead of to the multicast group; also the only ones that are heard. Empty: multicast.
    pub unicast: Vec<IpAddr>,
    /// The checksum of adverts sent by VRRPv3 over IPv4.
    pub checksum: ChecksumForm,
    /// What CARP needs besides.
    pub carp: Option<CarpPlan>,
    /// The name of the secret that is VRRPv2's text password (RFC 2338 type 1): a file `DIR/secrets/NAME`.
    pub auth: Option<String>,
}

/// What CARP needs besides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CarpPlan {
    /// Time between two adverts, in seconds.
    pub advbase: u8,
    /// Added to it, in 1/256 s: less is preferred.
    pub advskew: u8,
    /// The name of the secret that the adverts are authenticated with: a file `DIR/secrets/NAME`.
    pub password: String,
}

/// An interface that counts for the health of the node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MonitorPlan {
    /// The interface in the document.
    pub interface: String,
    /// The kernel's device.
    pub device: String,
    /// The router there, which should answer.
    pub gateway: Option<IpAddr>,
}

/// Most ways between two nodes: a heartbeat goes over each of them every few milliseconds, and more ways than a box has
/// network cards find out nothing more.
pub const MAX_PATHS: usize = 16;

/// The ports between the nodes. None of them is registered with IANA for anything else.
pub mod ports {
    /// Heartbeats, UDP.
    pub const HEARTBEAT: u16 = 47_800;
    /// The journal of connections, UDP.
    pub const JOURNAL: u16 = 47_801;
    /// The peer channel, QUIC.
    pub const CHANNEL: u16 = 47_802;
    /// Pairing: TCP, and UDP to find the other node.
    pub const PAIRING: u16 = 47_803;
}

/// IP protocol number of VRRP (RFC 9568 §5.1.1.4), which CARP uses too.
pub const ADVERT: u8 = 112;
/// Where adverts go over IPv4 (RFC 9568 §5.1.1.2).
pub const ADVERT_GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where adverts go over IPv6 (RFC 9568 §5.1.2.2).
pub const ADVERT_GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

impl HaPlan {
    /// What `model` asks of `node`; `None` without a pair and without a virtual router.
    pub fn of(model: &Model, node: NodeIndex) -> Option<Self> {
        let routers = routers(model, node);
        if model.nodes.len() < 2 && routers.is_empty() {
            return None;
        }
        let other = model.nodes.iter().find(|n| model.node(n.as_str()) != Some(node));
        Some(Self {
            node: model.nodes[node.get()].to_string(),
            // There are two at most.
            index: u8::from(node.get() > 0),
            peer: other.map(ToString::to_string),
            paths: other
                .and_then(|n| model.node(n.as_str()))
                .map_or_else(Vec::new, |o| paths(model, node, o)),
            routers,
            monitors: monitors(model, node),
            failback: model.failback,
            heartbeat_ms: model.heartbeat_ms,
        })
    }
}

impl RouterPlan {
    /// What tells it from the others on its interface.
    pub fn id(&self) -> RouterId {
        let v4 = self.addresses.first().is_none_or(|a| a.addr().is_ipv4());
        RouterId { vrid: self.vrid, family: if v4 { Family::V4 } else { Family::V6 } }
    }

    /// The virtual MAC.
    pub fn mac(&self) -> Mac {
        Mac(self.id().mac(self.protocol))
    }
}

fn paths(model: &Model, node: NodeIndex, other: NodeIndex) -> Vec<PathPlan> {
    let is_sync = |name: &InterfaceName| model.sync.as_ref() == Some(name);
    let mut out: Vec<PathPlan> = Vec::new();
    for (name, interface) in &model.interfaces {
        let (here, there) = (interface.addresses.get(node), interface.addresses.get(other));
        // Seen from the first node, so that both nodes choose the same addresses.
        let (first, second) = if node < other { (here, there) } else { (there, here) };
        let usable = |net: &&IpNet| !is_link_local(net.addr());
        let pairs = first.iter().filter(usable).filter_map(|a| {
            second.iter().filter(usable).find(|b| a.trunc() == b.trunc()).map(|b| (a.addr(), b.addr()))
        });
        // IPv4 where there is both: it is up at once, without duplicate address detection.
        let Some((a, b)) = pairs.min_by_key(|(a, _)| a.is_ipv6()) else { continue };
        let (local, remote) = if node < other { (a, b) } else { (b, a) };
        let device = interface.device.get(node).to_string();
        out.push(PathPlan { interface: name.to_string(), device, local, remote, sync: is_sync(name) });
    }
    out.sort_by_key(|path| !path.sync);
    out.truncate(MAX_PATHS);
    out
}

fn routers(model: &Model, node: NodeIndex) -> Vec<RouterPlan> {
    // Leases play no part: an interface with a virtual router has fixed addresses.
    let answered = Answered::of(model, node, &Facts::default());
    let mut out = Vec::new();
    for (name, interface) in &model.interfaces {
        for (id, router) in &interface.routers {
            let also = answered
                .homes
                .iter()
                .filter(|(home, _, carrier)| home == name && *carrier == Carrier::Router(*id));
            out.push(RouterPlan {
                interface: name.to_string(),
                parent: interface.device.get(node).to_string(),
                device: id.device(name).to_string(),
                vrid: id.vrid,
                protocol: router.protocol,
                addresses: addresses(interface, *id, router.protocol),
                unadvertised: also.map(|(_, address, _)| IpNet::from(*address)).collect(),
                local: local(interface, node, *id),
                interval_cs: router.interval_cs,
                priority: *router.priority.get(node),
                preempt: router.preempt,
                preempt_delay_s: router.preempt_delay_s,
                accept: router.accept,
                unicast: router.unicast.get(node).clone(),
                checksum: router.checksum,
                carp: router.carp.as_ref().map(|carp| CarpPlan {
                    advbase: carp.advbase,
                    advskew: *carp.advskew.get(node),
                    password: carp.password.to_string(),
                }),
                auth: router.password.as_ref().map(ToString::to_string),
            });
        }
    }
    out
}

/// The addresses of a router as they stand on its device, link-local ones first.
fn addresses(interface: &Interface, id: RouterId, protocol: VirtualProtocol) -> Vec<IpNet> {
    let given = interface.virtuals.iter().filter(|v| v.router() == id).map(|v| v.address.addr());
    let mut all: Vec<IpAddr> = given.collect();
    if id.family == Family::V6 && !all.iter().any(|a| is_link_local(*a)) {
        all.push(IpAddr::V6(link_local_of(id.mac(protocol))));
    }
    all.sort_by_key(|a| !is_link_local(*a));
    all.into_iter().map(as_on_device).collect()
}

/// A global address stands by itself, because its network is the parent's; a link-local one needs its network on the
/// device, or answers to neighbours with link-local addresses would have no route.
fn as_on_device(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Ipv6Net::new_assert(v6, 64).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address.into(),
    }
}

/// fe80:: with the modified EUI-64 of a MAC (RFC 4291 §2.5.1 and appendix A).
fn link_local_of(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// The node's own address in the network of the virtual ones.
fn local(interface: &Interface, node: NodeIndex, id: RouterId) -> Option<IpAddr> {
    if id.family == Family::V6 {
        return None;
    }
    let mut virtuals = interface.virtuals.iter().filter(|v| v.router() == id);
    let first = virtuals.next()?.address.addr();
    interface.addresses.get(node).iter().find(|own| own.contains(&first)).map(IpNet::addr)
}

fn monitors(model: &Model, node: NodeIndex) -> Vec<MonitorPlan> {
    let counted = model.interfaces.iter().filter(|(_, i)| i.monitor);
    let plan = |(name, i): (&InterfaceName, &Interface)| MonitorPlan {
        interface: name.to_string(),
        device: i.device.get(node).to_string(),
        gateway: i.gateways.get(node).iter().copied().min_by_key(IpAddr::is_ipv6),
    };
    counted.map(plan).collect()
}

#[cfg(test)]
mod tests;
