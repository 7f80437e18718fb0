//! The network of one node: which links, addresses, routes and kernel settings it should have, and the steps
//! that lead there from what was observed.
//!
//! Owned here: everything that the document says about devices, and nothing else. Left alone: devices that the
//! document does not name, routes of other programs (ours carry protocol number [`ROUTE_PROTOCOL`]), and addresses
//! that the kernel made by itself (IPv6 link-local, router advertisement).
//!
//! Shared with the elector: the devices of virtual routers, macvlans with the virtual MAC. They are made and deleted
//! here, down and without addresses; whether they are up, and their addresses, is the elector's alone, because they
//! follow the role and not the document. The network is therefore the same on the active and the standby node.
//!
//! ```text
//! Model, node, Facts ──of──▶ Network ──┐
//!                                      ├─diff──▶ [Step]     each knows its undo and its reason
//!            rempart-system ─▶ Observed┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use rempart_config::model::{
    BondMode, Device, Interface, InterfaceKind, InterfaceName, Model, NodeIndex, RouteVia,
};
use rempart_config::space::Family;
use serde::{Deserialize, Serialize};

use crate::Facts;

mod answered;
mod diff;
#[cfg(test)]
mod tests;

pub use answered::MAX_ANSWERED_HOSTS;
pub(crate) use answered::{Answered, Carrier};
pub use diff::{Missing, Step, diff, missing};

/// The protocol number that our routes carry in the kernel (`rtm_protocol`, `linux/rtnetlink.h`; 82 is
/// unassigned), so that we only ever remove our own.
pub const ROUTE_PROTOCOL: u8 = 82;
/// The alias (`IFLA_IFALIAS`) that marks a device as created by us.
pub const ALIAS: &str = "rempart";
/// Metric of the first default gateway that the document gives; each further interface counts one more, in the
/// order of their names.
pub const GATEWAY_METRIC: u32 = 100;
/// The same for gateways learned by DHCP: those that the document gives are preferred.
pub const DHCP_METRIC: u32 = 200;
/// The metric that the kernel gives an IPv6 route without one (`IP6_RT_PRIO_USER`, `net/ip6_route.h`).
const IPV6_DEFAULT_METRIC: u32 = 1024;
/// Most buckets of the connection table: 32 MiB of pointers.
const MAX_CONNTRACK_BUCKETS: u32 = 1 << 22;
/// The kernel rounds the number of buckets up to a page of pointers (`nf_ct_alloc_hashtable`).
const CONNTRACK_BUCKET_STEP: u32 = 512;

/// What the network of one node should be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Network {
    /// The devices that the document names, all of them up but for those of virtual routers.
    pub links: BTreeMap<Device, Link>,
    /// Their addresses.
    pub addresses: BTreeSet<Address>,
    /// Routes of our own.
    pub routes: BTreeMap<RouteKey, NextHop>,
    /// Kernel settings, by path below `/proc/sys`.
    pub sysctls: BTreeMap<String, Sysctl>,
    /// Where an IPv4 address comes by DHCP.
    pub dhcp: BTreeMap<InterfaceName, Device>,
    /// Where IPv6 addresses come by router advertisement.
    pub slaac: BTreeSet<Device>,
    /// One-to-one networks that are too large to be answered for address by address.
    pub unanswered: BTreeSet<IpNet>,
}

/// A device as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// What it is made of.
    pub kind: LinkKind,
    /// MTU in bytes; `None` leaves it as it is.
    pub mtu: Option<u32>,
    /// The bond or bridge that it belongs to.
    pub master: Option<Device>,
}

/// What a device is made of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// Found by the kernel: whatever it is, it is not ours to create.
    Physical,
    /// IEEE 802.1Q.
    Vlan {
        /// The device below.
        parent: Device,
        /// VLAN id, 1 to 4094.
        id: u16,
    },
    /// Several devices used as one.
    Bond {
        /// How they share the traffic.
        mode: BondMode,
    },
    /// An Ethernet bridge.
    Bridge {
        /// Spanning tree on or off.
        stp: bool,
    },
    /// A second MAC address on another device: the link of a virtual router. In mode `bridge`, because in the other
    /// modes a frame from the virtual MAC never reaches the device below, where the elector listens
    /// (`macvlan_handle_frame` in drivers/net/macvlan.c).
    MacVlan {
        /// The device below.
        parent: Device,
        /// The virtual MAC.
        mac: Mac,
    },
}

impl LinkKind {
    /// The device that it lies on, which must exist first and takes it along when it goes.
    pub fn parent(&self) -> Option<&Device> {
        match self {
            Self::Vlan { parent, .. } | Self::MacVlan { parent, .. } => Some(parent),
            Self::Physical | Self::Bond { .. } | Self::Bridge { .. } => None,
        }
    }

    /// Whether it is the link of a virtual router: up or down, and with which addresses, says the elector.
    pub fn is_virtual_router(&self) -> bool {
        match self {
            Self::MacVlan { .. } => true,
            Self::Physical | Self::Vlan { .. } | Self::Bond { .. } | Self::Bridge { .. } => false,
        }
    }
}

/// A MAC address (EUI-48).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it is one of those set aside for virtual routers (RFC 9568 §7.3).
    pub fn is_virtual_router(self) -> bool {
        matches!(self.0, [0, 0, 0x5e, 0, 1 | 2, _])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address on a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Address {
    /// The device.
    pub device: Device,
    /// The address and its network.
    pub net: IpNet,
    /// Used by address translation alone: no duplicate address detection, and never chosen as a source (IPv6).
    pub shared: bool,
}

/// What makes a route unique in the kernel's table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct RouteKey {
    /// Where to.
    pub to: IpNet,
    /// Lower is preferred.
    pub metric: u32,
}

impl RouteKey {
    /// The key of a route to `to`, with the metric as the kernel will show it.
    pub fn new(to: IpNet, metric: u32) -> Self {
        let metric = if metric == 0 && to.addr().is_ipv6() { IPV6_DEFAULT_METRIC } else { metric };
        Self { to: to.trunc(), metric }
    }
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHop {
    /// A router.
    Gateway {
        /// Its address.
        address: IpAddr,
        /// The device that it is reached by.
        device: Device,
        /// In no network of the device, and yet on the link (as some providers hand out /32 leases).
        onlink: bool,
    },
    /// Nowhere: packets are discarded.
    Blackhole,
}

impl NextHop {
    /// The device that it needs.
    pub fn device(&self) -> Option<&Device> {
        match self {
            Self::Gateway { device, .. } => Some(device),
            Self::Blackhole => None,
        }
    }
}

/// A kernel setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sysctl {
    /// The value.
    pub value: String,
    /// Whether a kernel without it will do.
    pub need: Need,
    /// The device that it belongs to: it exists only while the device does.
    pub device: Option<Device>,
}

/// Whether a kernel setting must exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Its absence is reported.
    Required,
    /// Some kernels lack it, and some namespaces may not write it: then it is passed over.
    IfPresent,
}

/// What was found on the node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// Every device of the namespace.
    pub links: BTreeMap<Device, ObservedLink>,
    /// Permanent addresses, those for the host itself excepted.
    pub addresses: BTreeSet<(Device, IpNet)>,
    /// Routes with our protocol number in the main table.
    pub routes: BTreeMap<RouteKey, NextHop>,
    /// The settings that the plan asks for, as far as they exist and can be written.
    pub sysctls: BTreeMap<String, String>,
}

/// A device as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObservedLink {
    /// What it is made of; everything that is neither VLAN, bond nor bridge counts as physical, and so does a
    /// macvlan without a virtual router's MAC.
    pub kind: LinkKind,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The bond or bridge that it belongs to.
    pub master: Option<Device>,
    /// Carries our alias.
    pub ours: bool,
}

impl Network {
    /// The network that `model` asks of `node`, whatever its role.
    pub fn of(model: &Model, node: NodeIndex, facts: &Facts) -> Self {
        let mut network = Self::default();
        for interface in model.interfaces.values() {
            network.add_link(model, node, interface);
        }
        for (name, interface) in &model.interfaces {
            network.add_virtual_routers(node, name, interface);
            network.add_addresses(node, interface, facts.leases.get(name).filter(|_| interface.dhcp));
        }
        network.add_answered(model, node, facts);
        network.add_gateways(model, node, facts);
        network.add_static_routes(model, node, facts);
        for (name, interface) in &model.interfaces {
            let device = interface.device.get(node);
            if interface.dhcp {
                network.dhcp.insert(name.clone(), device.clone());
            }
            if interface.slaac {
                network.slaac.insert(device.clone());
            }
        }
        network.add_sysctls(model, node);
        network
    }

    fn add_link(&mut self, model: &Model, node: NodeIndex, interface: &Interface) {
        let device = interface.device.get(node);
        let none = Vec::new();
        let (kind, members) = match &interface.kind {
            InterfaceKind::Physical => (LinkKind::Physical, &none),
            InterfaceKind::Vlan { parent, id } => match model.interfaces.get(parent) {
                Some(below) => (LinkKind::Vlan { parent: below.device.get(node).clone(), id: *id }, &none),
                None => (LinkKind::Physical, &none),
            },
            InterfaceKind::Bond { members, mode } => (LinkKind::Bond { mode: *mode }, members.get(node)),
            InterfaceKind::Bridge { members, stp } => (LinkKind::Bridge { stp: *stp }, members.get(node)),
        };
        let is_bond = matches!(kind, LinkKind::Bond { .. });
        let link = self.link(device);
        link.kind = kind;
        link.mtu = interface.mtu.or(link.mtu);
        for member in members {
            let link = self.link(member);
            link.master = Some(device.clone());
            // A bond hands its MTU down to its members; a bridge takes the smallest of theirs.
            link.mtu = link.mtu.or(interface.mtu.filter(|_| is_bond));
        }
    }

    fn link(&mut self, device: &Device) -> &mut Link {
        let physical = Link { kind: LinkKind::Physical, mtu: None, master: None };
        self.links.entry(device.clone()).or_insert(physical)
    }

    /// The links of the virtual routers on `interface`.
    fn add_virtual_routers(&mut self, node: NodeIndex, name: &InterfaceName, interface: &Interface) {
        let parent = interface.device.get(node);
        for (id, router) in &interface.routers {
            let mac = Mac(id.mac(router.protocol));
            let kind = LinkKind::MacVlan { parent: parent.clone(), mac };
            self.links.insert(id.device(name), Link { kind, mtu: interface.mtu, master: None });
        }
    }

    fn add_addresses(&mut self, node: NodeIndex, interface: &Interface, lease: Option<&crate::Lease>) {
        let device = interface.device.get(node);
        let own = own_networks(node, interface, lease);
        self.addresses.extend(own.map(|net| Address { device: device.clone(), net, shared: false }));
    }

    /// Puts the outside addresses of translations on their interfaces, where they stay on this node.
    fn add_answered(&mut self, model: &Model, node: NodeIndex, facts: &Facts) {
        let Answered { homes, unanswered } = Answered::of(model, node, facts);
        self.unanswered = unanswered;
        for (name, address, carrier) in homes {
            let Some(interface) = model.interfaces.get(&name) else { continue };
            match carrier {
                Carrier::Node => {
                    let (device, net) = (interface.device.get(node).clone(), host(address));
                    self.addresses.insert(Address { device, net, shared: true });
                }
                Carrier::Router(_) | Carrier::Nobody => {}
            }
        }
    }

    fn add_gateways(&mut self, model: &Model, node: NodeIndex, facts: &Facts) {
        for (position, (name, interface)) in (0..).zip(&model.interfaces) {
            let lease = facts.leases.get(name).filter(|_| interface.dhcp);
            let given = interface.gateways.get(node).iter().map(|g| (*g, GATEWAY_METRIC + position));
            let learned = lease.and_then(|l| l.gateway).map(|g| (g, DHCP_METRIC + position));
            for (gateway, metric) in given.chain(learned) {
                let everywhere = match gateway {
                    IpAddr::V4(_) => IpNet::V4(Default::default()),
                    IpAddr::V6(_) => IpNet::V6(Default::default()),
                };
                if let Some(hop) = gateway_of(node, interface, lease, gateway) {
                    self.routes.entry(RouteKey::new(everywhere, metric)).or_insert(hop);
                }
            }
        }
    }

    fn add_static_routes(&mut self, model: &Model, node: NodeIndex, facts: &Facts) {
        for route in &model.routes {
            let hop = match &route.via {
                RouteVia::Blackhole => Some(NextHop::Blackhole),
                RouteVia::Gateway { address, interface: name } => model.interfaces.get(name).and_then(|i| {
                    let lease = facts.leases.get(name).filter(|_| i.dhcp);
                    gateway_of(node, i, lease, *address)
                }),
            };
            if let Some(hop) = hop {
                self.routes.entry(RouteKey::new(route.to, route.metric)).or_insert(hop);
            }
        }
    }

    fn add_sysctls(&mut self, model: &Model, node: NodeIndex) {
        for (key, value, need) in NODE_SYSCTLS {
            self.sysctl(key, value, *need, None);
        }
        if let Some(max) = model.system.max_connections {
            // As many buckets as connections keeps the chains at one entry.
            let buckets = max.get().min(MAX_CONNTRACK_BUCKETS).next_multiple_of(CONNTRACK_BUCKET_STEP);
            self.sysctl("net/netfilter/nf_conntrack_buckets", &buckets.to_string(), Need::IfPresent, None);
            self.sysctl("net/netfilter/nf_conntrack_max", &max.to_string(), Need::IfPresent, None);
        }
        for scope in ["all", "default"] {
            for (key, value) in LINK_SYSCTLS {
                self.sysctl(&key.replace("DEV", scope), value, Need::IfPresent, None);
            }
        }
        for (key, value) in STRICT_DEFAULTS {
            self.sysctl(key, value, Need::IfPresent, None);
        }
        let devices: Vec<Device> = self.links.keys().cloned().collect();
        for device in devices {
            for (key, value) in LINK_SYSCTLS {
                self.sysctl(&key.replace("DEV", device.as_str()), value, Need::IfPresent, Some(&device));
            }
            let of_device = |i: &&Interface| i.device.get(node) == &device;
            let interface = model.interfaces.values().find(of_device);
            let spoof =
                interface.and_then(|i| model.zones.get(i.zone.as_ref()?)).is_some_and(|z| z.anti_spoof);
            let slaac = interface.is_some_and(|i| i.slaac);
            let conf = |family, key| format!("net/{family}/conf/{device}/{key}");
            // The policy refuses spoofed sources first, counted and logged, in both families; this is the second
            // belt of IPv4 (the kernel has no such check for IPv6). Elsewhere the policy alone decides, so that
            // nothing is dropped that `explain` does not know about.
            let rp_filter = if spoof { "1" } else { "0" };
            self.sysctl(&conf("ipv4", "rp_filter"), rp_filter, Need::IfPresent, Some(&device));
            // A router ignores advertisements unless told 2 (Documentation/networking/ip-sysctl.rst, accept_ra).
            let (accept_ra, autoconf) = if slaac { ("2", "1") } else { ("0", "0") };
            self.sysctl(&conf("ipv6", "accept_ra"), accept_ra, Need::IfPresent, Some(&device));
            self.sysctl(&conf("ipv6", "autoconf"), autoconf, Need::IfPresent, Some(&device));
        }
        for (name, interface) in &model.interfaces {
            for id in interface.routers.keys() {
                let device = id.device(name);
                for (key, value) in VIRTUAL_SYSCTLS {
                    self.sysctl(&key.replace("DEV", device.as_str()), value, Need::IfPresent, Some(&device));
                }
                let off = if id.family == Family::V4 { "1" } else { "0" };
                let key = format!("net/ipv6/conf/{device}/disable_ipv6");
                self.sysctl(&key, off, Need::IfPresent, Some(&device));
            }
        }
    }

    fn sysctl(&mut self, key: &str, value: &str, need: Need, device: Option<&Device>) {
        let sysctl = Sysctl { value: value.to_owned(), need, device: device.cloned() };
        self.sysctls.insert(key.to_owned(), sysctl);
    }
}

/// Settings of the node as a whole. After ANSSI BP-028 R12 and R13, with the deviations of a router: it
/// forwards, and `arp_ignore` is 1 instead of 2, which would refuse to answer for virtual addresses.
///
/// Left at the kernel's default on purpose: `nf_conntrack_tcp_loose` (1), because a node that takes over
/// without a full journal may only then adopt the connections that the policy still allows; `log_martians` (0),
/// because anyone outside could fill the log.
const NODE_SYSCTLS: &[(&str, &str, Need)] = &[
    ("net/ipv4/ip_forward", "1", Need::Required),
    ("net/ipv6/conf/all/forwarding", "1", Need::IfPresent),
    ("net/ipv4/tcp_syncookies", "1", Need::Required),
    ("net/ipv4/tcp_rfc1337", "1", Need::IfPresent),
    ("net/ipv4/icmp_ignore_bogus_error_responses", "1", Need::IfPresent),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1", Need::IfPresent),
    // Only an address of the incoming link is answered for, and always announced from that link: with virtual
    // addresses on two boxes anything else poisons the neighbours.
    ("net/ipv4/conf/all/arp_ignore", "1", Need::Required),
    ("net/ipv4/conf/all/arp_announce", "2", Need::Required),
    // When the primary address goes, the others of its network stay.
    ("net/ipv4/conf/all/promote_secondaries", "1", Need::Required),
    ("net/ipv4/conf/default/promote_secondaries", "1", Need::Required),
    // Bytes and packets of each connection, and since when: what the console shows of it.
    ("net/netfilter/nf_conntrack_acct", "1", Need::IfPresent),
    ("net/netfilter/nf_conntrack_timestamp", "1", Need::IfPresent),
    // The connections that were there before rempart-ha listened give events too.
    ("net/netfilter/nf_conntrack_events", "1", Need::IfPresent),
];

/// Settings of every device of ours, and of `all` and `default`.
const LINK_SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/conf/DEV/accept_redirects", "0"),
    ("net/ipv4/conf/DEV/secure_redirects", "0"),
    ("net/ipv4/conf/DEV/send_redirects", "0"),
    ("net/ipv4/conf/DEV/shared_media", "0"),
    ("net/ipv4/conf/DEV/accept_source_route", "0"),
    ("net/ipv4/conf/DEV/accept_local", "0"),
    ("net/ipv4/conf/DEV/route_localnet", "0"),
    ("net/ipv6/conf/DEV/accept_redirects", "0"),
    ("net/ipv6/conf/DEV/accept_source_route", "0"),
];

/// Settings of the links of virtual routers, besides those of every device. What they say on the link is said by the
/// elector alone: no address of their own making, no search for other holders of an address that was just taken over,
/// no router solicitation. One for IPv4 has no IPv6 at all.
const VIRTUAL_SYSCTLS: &[(&str, &str)] = &[
    // The device below answers for the node's own addresses.
    ("net/ipv4/conf/DEV/arp_ignore", "1"),
    ("net/ipv4/conf/DEV/arp_filter", "0"),
    ("net/ipv4/conf/DEV/arp_notify", "0"),
    // 1 is IN6_ADDR_GEN_MODE_NONE (`linux/if_link.h`).
    ("net/ipv6/conf/DEV/addr_gen_mode", "1"),
    ("net/ipv6/conf/DEV/accept_dad", "0"),
    ("net/ipv6/conf/DEV/dad_transmits", "0"),
    ("net/ipv6/conf/DEV/router_solicitations", "0"),
    ("net/ipv6/conf/DEV/ndisc_notify", "0"),
];

/// What single devices differ from. The kernel takes the larger of `all` and the device's `rp_filter`. The
/// default of `rp_filter` is left alone: writing it changes every device that was never written to
/// (`devinet_copy_dflt_conf`), behind the back of the plan.
const STRICT_DEFAULTS: &[(&str, &str)] = &[
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/autoconf", "0"),
    ("net/ipv6/conf/default/autoconf", "0"),
];

/// The networks that an interface has without any role.
fn own_networks<'a>(
    node: NodeIndex,
    interface: &'a Interface,
    lease: Option<&'a crate::Lease>,
) -> impl Iterator<Item = IpNet> + 'a {
    interface.addresses.get(node).iter().copied().chain(lease.map(|l| l.address))
}

/// The next hop through a router on the link of `interface`; `None` while the interface has no lease that would
/// say how the router is reached.
fn gateway_of(
    node: NodeIndex,
    interface: &Interface,
    lease: Option<&crate::Lease>,
    address: IpAddr,
) -> Option<NextHop> {
    let known = own_networks(node, interface, lease)
        .chain(interface.virtuals.iter().map(|v| v.address))
        .any(|net| net.contains(&address));
    let link_local = matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
    if address.is_ipv4() && interface.dhcp && lease.is_none() && !known {
        return None;
    }
    let device = interface.device.get(node).clone();
    Some(NextHop::Gateway { address, device, onlink: !known && !link_local })
}

/// The network of one address.
fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} metric {}", self.to, self.metric)
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway { address, device, .. } => write!(f, "via {address} on {device}"),
            Self::Blackhole => f.write_str("blackhole"),
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Physical => f.write_str("physical"),
            Self::Vlan { parent, id } => write!(f, "VLAN {id} on {parent}"),
            Self::Bond { mode } => write!(f, "bond ({mode:?})"),
            Self::Bridge { stp } => write!(f, "bridge (spanning tree {})", if *stp { "on" } else { "off" }),
            Self::MacVlan { parent, mac } => write!(f, "virtual router's link {mac} on {parent}"),
        }
    }
}
