//! The network as the node sees it: its legs, its addresses and where packets are routed. Both the compiler
//! and the evaluator ask here which device a zone means and which way an address lies.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rempart_config::model::{
    Device, InterfaceName, Model, NodeIndex, VPN, VpnGroup, ZoneName, is_link_local,
};
use rempart_config::space::Family;

use crate::ha::HaPlan;
use crate::net::{Network, NextHop};
use crate::vpn::Listening;
use crate::{Facts, Role};

pub use rempart_config::model::{VPN_DEVICE, VPN_KERNEL_DEVICE};

/// One attachment of the node to a network.
#[derive(Clone, Debug)]
pub struct Leg {
    /// The document's name.
    pub interface: InterfaceName,
    /// The kernel's device.
    pub device: Device,
    /// The devices of its virtual routers: what is sent to a virtual MAC arrives there. It leaves by `device`, which
    /// has the network.
    pub virtual_devices: Vec<Device>,
    /// Another device of the same network, by which packets arrive and leave as by the first: the kernel's half of remote
    /// access. Routes to single hosts lead to the one or the other, and change.
    pub beside: Option<Device>,
    /// Its zone.
    pub zone: Option<ZoneName>,
    /// Its own addresses with their networks.
    pub addresses: Vec<IpNet>,
    /// The addresses that clients outside know it by: the virtual ones where there are any.
    pub public: Vec<IpAddr>,
    /// The virtual addresses, in force or not.
    pub virtuals: Vec<IpAddr>,
}

impl Leg {
    /// Every device by which packets arrive from its network.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.ways_out().chain(&self.virtual_devices)
    }

    /// Every device by which packets leave to its network.
    pub fn ways_out(&self) -> impl Iterator<Item = &Device> {
        std::iter::once(&self.device).chain(&self.beside)
    }

    /// The virtual address of `family` that what leaves "under the interface's address" gets.
    pub fn virtual_source(&self, family: Family) -> Option<IpAddr> {
        self.virtuals.iter().copied().find(|a| Family::of(*a) == family && !is_link_local(*a))
    }
}

/// Where a route leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hop {
    /// Out by a leg, by its index, to a next router or to the host itself.
    Leg(usize, Option<IpAddr>),
    /// To the node itself.
    Local,
    /// Discarded by a blackhole route.
    Blackhole,
}

/// Remote access, as far as the policy sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteAccess {
    /// The leg that sessions arrive by, by its index.
    pub leg: usize,
    /// Where it listens.
    pub listening: Listening,
}

/// The legs and routes of a node.
#[derive(Clone, Debug)]
pub struct World {
    /// The attachments, by interface name; those of tunnels last.
    pub legs: Vec<Leg>,
    /// What the node and others of its kind tell each other; `None` where it has none beside it.
    pub ha: Option<HaPlan>,
    /// Remote access, where the document has a group.
    pub vpn: Option<RemoteAccess>,
    local: BTreeSet<IpAddr>,
    /// The last addresses of our IPv4 networks.
    broadcasts: BTreeSet<Ipv4Addr>,
    /// Longest prefix first, then lowest metric.
    routes: Vec<(IpNet, u32, Hop)>,
}

impl World {
    /// What `node` sees in `role`, once its kernel holds what [`Network::of`] asks for and, when it is active, the
    /// elector has taken the virtual addresses.
    pub fn new(model: &Model, node: NodeIndex, role: Role, facts: &Facts) -> Self {
        let network = Network::of(model, node, facts);
        let ha = HaPlan::of(model, node);
        let mut legs: Vec<Leg> = Vec::new();
        let mut routes = Vec::new();
        for (name, interface) in &model.interfaces {
            let device = interface.device.get(node);
            let lease = facts.leases.get(name).filter(|_| interface.dhcp);
            let own = interface.addresses.get(node).iter().copied().chain(lease.map(|l| l.address));
            let own: Vec<IpAddr> = own.map(|n| n.addr()).collect();
            let virtuals: Vec<IpAddr> = interface.virtuals.iter().map(|v| v.address.addr()).collect();
            let mut public = virtuals.clone();
            for family in Family::BOTH {
                if !public.iter().any(|a| Family::of(*a) == family) {
                    public.extend(own.iter().filter(|a| Family::of(**a) == family));
                }
            }
            let held = network.addresses.iter().filter(|a| a.device == *device);
            let mut addresses: Vec<IpNet> = held.map(|a| a.net).collect();
            let routers = || ha.iter().flat_map(|ha| &ha.routers).filter(|r| r.interface == name.as_str());
            if role == Role::Active {
                // The derived link-local ones are left out, like every link-local address that the document does not
                // give: the policy treats them all alike.
                let moving = virtuals.iter().map(|a| IpNet::from(*a));
                addresses.extend(moving.chain(routers().flat_map(|r| r.unadvertised.iter().copied())));
            }
            if interface.slaac {
                routes.push((IpNet::V6(Default::default()), u32::MAX, Hop::Leg(legs.len(), None)));
            }
            legs.push(Leg {
                interface: name.clone(),
                device: device.clone(),
                virtual_devices: routers().map(|r| Device::new(&r.device)).collect(),
                beside: None,
                zone: interface.zone.clone(),
                addresses,
                public,
                virtuals,
            });
        }
        let vpn =
            Listening::of(model, node, facts).map(|listening| RemoteAccess { leg: legs.len(), listening });
        if let (Some(_), Some(wanted)) = (&vpn, &model.vpn) {
            // `rempart-vpn` makes the devices, and the networks of their addresses are the routes.
            legs.push(Leg {
                interface: InterfaceName::new(VPN),
                device: Device::new(VPN_DEVICE),
                virtual_devices: Vec::new(),
                beside: wanted.offload.then(|| Device::new(VPN_KERNEL_DEVICE)),
                zone: Some(ZoneName::new(VPN)),
                addresses: model.vpn_groups.values().flat_map(VpnGroup::gateways).collect(),
                public: Vec::new(),
                virtuals: Vec::new(),
            });
        }
        if let Some((leg, behind)) = crate::wireguard::leg(model) {
            routes.extend(behind.into_iter().map(|net| (net, 0, Hop::Leg(legs.len(), None))));
            legs.push(leg);
        }
        for (index, leg) in legs.iter().enumerate() {
            routes.extend(leg.addresses.iter().map(|a| (a.trunc(), 0, Hop::Leg(index, None))));
        }
        for (key, hop) in &network.routes {
            let hop = match hop {
                NextHop::Blackhole => Some(Hop::Blackhole),
                NextHop::Gateway { address, device, .. } => {
                    legs.iter().position(|l| l.device == *device).map(|leg| Hop::Leg(leg, Some(*address)))
                }
            };
            routes.extend(hop.map(|hop| (key.to, key.metric, hop)));
        }
        routes.sort_by_key(|(to, metric, _)| (std::cmp::Reverse(to.prefix_len()), *metric));
        let networks = || legs.iter().flat_map(|l| &l.addresses);
        // A router answers by the first address of its IPv6 networks too (RFC 4291 §2.6.1), the links between
        // two routers excepted (RFC 6164).
        let anycast =
            networks().filter(|n| matches!(n, IpNet::V6(_)) && n.prefix_len() < 127).map(IpNet::network);
        let local = networks().map(IpNet::addr).chain(anycast).collect();
        let with_broadcast = networks().filter_map(|net| match net {
            IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast()),
            IpNet::V4(_) | IpNet::V6(_) => None,
        });
        let broadcasts = with_broadcast.chain([Ipv4Addr::BROADCAST]).collect();
        Self { legs, ha, vpn, local, broadcasts, routes }
    }

    /// Whether `address` is everybody in one of our networks, or on any: the node takes what is sent there for
    /// itself and forwards none of it (RFC 2644).
    pub fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        self.broadcasts.contains(&address)
    }

    /// Where a packet for `address` goes; `None` when there is no route.
    pub fn route(&self, address: IpAddr) -> Option<Hop> {
        if self.local.contains(&address) || address.is_loopback() {
            return Some(Hop::Local);
        }
        self.routes.iter().find(|(to, ..)| to.contains(&address)).map(|(.., hop)| *hop)
    }

    /// The leg that `address` lies behind, if it lies behind one.
    pub fn leg_towards(&self, address: IpAddr) -> Option<usize> {
        match self.route(address) {
            Some(Hop::Leg(leg, _)) => Some(leg),
            Some(Hop::Local | Hop::Blackhole) | None => None,
        }
    }

    /// Whether `leg` is the one that sessions of remote access arrive by.
    pub fn is_tunnel(&self, leg: usize) -> bool {
        self.vpn.as_ref().is_some_and(|vpn| vpn.leg == leg)
    }

    /// The leg that `device` is one of.
    pub fn leg_of(&self, device: &str) -> Option<usize> {
        self.legs.iter().position(|l| l.devices().any(|d| d.as_str() == device))
    }

    /// The legs in `zone`.
    pub fn legs_in<'a>(&'a self, zone: &'a ZoneName) -> impl Iterator<Item = (usize, &'a Leg)> {
        self.legs.iter().enumerate().filter(move |(_, l)| l.zone.as_ref() == Some(zone))
    }

    /// The networks behind `zone`: its own and those routed through it, without the default routes.
    pub fn networks_behind(&self, zone: &ZoneName) -> Vec<IpNet> {
        let in_zone = |leg: usize| self.legs[leg].zone.as_ref() == Some(zone);
        let behind = self.routes.iter().filter_map(|(to, _, hop)| match hop {
            Hop::Leg(leg, _) if in_zone(*leg) && to.prefix_len() > 0 => Some(*to),
            Hop::Leg(..) | Hop::Local | Hop::Blackhole => None,
        });
        behind.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The IPv4 addresses by which outside clients know the interfaces of `zones`.
    pub fn public_addresses<'a>(&self, zones: impl IntoIterator<Item = &'a ZoneName>) -> BTreeSet<Ipv4Addr> {
        let zones: BTreeSet<&ZoneName> = zones.into_iter().collect();
        let legs = self.legs.iter().filter(|l| l.zone.as_ref().is_some_and(|z| zones.contains(z)));
        legs.flat_map(|l| &l.public)
            .filter_map(|a| match a {
                IpAddr::V4(a) => Some(*a),
                IpAddr::V6(_) => None,
            })
            .collect()
    }

    /// The address that a leg gives to what leaves under "the interface's address" towards `next`, the router or
    /// the host itself: the virtual one where there is one, so that connections survive the node, or else the one
    /// in the network of `next`, which is what the kernel takes (`inet_select_addr`).
    pub fn source_address(&self, leg: usize, next: IpAddr) -> Option<IpAddr> {
        let family = Family::of(next);
        let leg = &self.legs[leg];
        let own = || leg.addresses.iter().filter(|n| Family::of(n.addr()) == family);
        let near = || own().find(|n| n.contains(&next)).or_else(|| own().next()).map(IpNet::addr);
        leg.virtual_source(family).or_else(near)
    }
}
