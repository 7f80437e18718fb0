//! The network of one node: which links, addresses, routes and kernel settings it should have, and the steps
//! that lead there from what was observed.
//!
//! Owned here: everything that the document says about devices, and nothing else. Left alone: devices that the
//! document does not name, routes of other programs (ours carry protocol number [`ROUTE_PROTOCOL`]), addresses
//! that the kernel made by itself (IPv6 link-local, router advertisement), and virtual MAC addresses, which
//! belong to the elector.
//!
//! ```text
//! Model, node, role, Facts ──of──▶ Network ──┐
//!                                            ├─diff──▶ [Step]     each knows its undo and its reason
//!                  rempart-system ─▶ Observed┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use rempart_config::model::{
    BondMode, Device, Interface, InterfaceKind, InterfaceName, Model, NodeIndex, RouteVia, SourceAddress,
};
use serde::{Deserialize, Serialize};

use crate::{Facts, Role};

mod diff;
#[cfg(test)]
mod tests;

pub use diff::{Missing, Step, diff, missing};

/// The protocol number that our routes carry in the kernel (`rtm_protocol`, `linux/rtnetlink.h`; 82 is
/// unassigned), so that we only ever remove our own.
pub const ROUTE_PROTOCOL: u8 = 82;
/// The alias (`IFLA_IFALIAS`) that marks a device as created by us.
pub const ALIAS: &str = "rempart";
/// Most addresses of one outside network that are put on an interface one by one. A larger one-to-one network
/// is routed to the box by the provider, not answered for by ARP.
pub const MAX_ANSWERED_HOSTS: u128 = 256;
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
    /// The devices that the document names, all of them up.
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
}

/// An address on a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Address {
    /// The device.
    pub device: Device,
    /// The address and its network.
    pub net: IpNet,
    /// It moves between the nodes: no duplicate address detection, and never chosen as a source (IPv6).
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
    /// What it is made of; everything that is neither VLAN, bond nor bridge counts as physical.
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
    /// The network that `model` asks of `node` in `role`.
    pub fn of(model: &Model, node: NodeIndex, role: Role, facts: &Facts) -> Self {
        let mut network = Self::default();
        for interface in model.interfaces.values() {
            network.add_link(model, node, interface);
        }
        for (name, interface) in &model.interfaces {
            network.add_addresses(node, role, interface, facts.leases.get(name).filter(|_| interface.dhcp));
        }
        if role == Role::Active {
            network.add_answered(model, node, facts);
        }
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

    fn add_addresses(
        &mut self,
        node: NodeIndex,
        role: Role,
        interface: &Interface,
        lease: Option<&crate::Lease>,
    ) {
        let device = interface.device.get(node);
        let own: Vec<IpNet> = own_networks(node, interface, lease).collect();
        self.addresses.extend(own.iter().map(|net| Address {
            device: device.clone(),
            net: *net,
            shared: false,
        }));
        if role == Role::Active {
            for net in interface.virtuals.iter().map(|v| v.address) {
                // Inside a network of the interface the virtual address comes without a network of its own, so
                // that the kernel never takes it for the primary address (and so for the source) of the link.
                let inside = own.iter().any(|o| o.contains(&net.addr()));
                let net = if inside { host(net.addr()) } else { net };
                self.add_shared(device, net);
            }
        }
    }

    /// Adds an address that moves, unless the device has it already.
    fn add_shared(&mut self, device: &Device, net: IpNet) {
        let known = self.addresses.iter().any(|a| a.device == *device && a.net.addr() == net.addr());
        if !known {
            self.addresses.insert(Address { device: device.clone(), net, shared: true });
        }
    }

    /// Outside addresses that address translation uses and that lie in the network of an interface: without
    /// being on the interface, nobody would answer ARP for them.
    fn add_answered(&mut self, model: &Model, node: NodeIndex, facts: &Facts) {
        let mut wanted: BTreeSet<IpAddr> = BTreeSet::new();
        for one in &model.nat.one_to_one {
            let outside = one.outside.trunc();
            let host_bits = outside.max_prefix_len() - outside.prefix_len();
            if 1u128.checked_shl(host_bits.into()).is_none_or(|hosts| hosts > MAX_ANSWERED_HOSTS) {
                self.unanswered.insert(outside);
                continue;
            }
            wanted.extend(addresses_of(&outside));
        }
        wanted.extend(model.flows.iter().filter_map(|f| f.publish.as_ref()?.address));
        wanted.extend(model.nat.source.iter().filter_map(|s| match s.address {
            SourceAddress::Address(address) => Some(address),
            SourceAddress::Keep | SourceAddress::Interface => None,
        }));
        let taken: BTreeSet<IpAddr> = self.addresses.iter().map(|a| a.net.addr()).collect();
        for address in wanted.difference(&taken) {
            let home = model.interfaces.iter().find(|(name, i)| {
                let lease = facts.leases.get(*name).filter(|_| i.dhcp);
                own_networks(node, i, lease)
                    .chain(i.virtuals.iter().map(|v| v.address))
                    .any(|net| is_host_of(&net, *address))
            });
            if let Some((_, interface)) = home {
                self.add_shared(interface.device.get(node), host(*address));
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
    ("net/core/bpf_jit_harden", "2", Need::IfPresent),
    // Bytes and packets of each connection, and since when: what the console shows of it.
    ("net/netfilter/nf_conntrack_acct", "1", Need::IfPresent),
    ("net/netfilter/nf_conntrack_timestamp", "1", Need::IfPresent),
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

/// Every address of a network, which the caller has found to be small.
fn addresses_of(net: &IpNet) -> Vec<IpAddr> {
    net.subnets(net.max_prefix_len()).map(|all| all.map(|one| one.addr()).collect()).unwrap_or_default()
}

/// Whether `address` can be a host in `net`: inside, and neither the network's nor the broadcast address.
fn is_host_of(net: &IpNet, address: IpAddr) -> bool {
    let reserved = address.is_ipv4()
        && net.prefix_len() < net.max_prefix_len() - 1
        && (address == net.network() || address == net.broadcast());
    net.contains(&address) && !reserved
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
        }
    }
}
