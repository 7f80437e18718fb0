//! The model: what a valid document means. A value of [`Model`] exists only when every check has passed, so
//! whoever holds one need not ask again whether names resolve or networks overlap.
//!
//! What changes while the document stays the same (leases, resolved names, the time) is not here: it is
//! `rempart_plan::Facts`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::space::{AddressSet, Family, Interval, Set};

mod vpn;

pub use vpn::{
    VPN_DEVICE, VPN_KERNEL_DEVICE, Vpn, VpnCertificates, VpnDemand, VpnDirectory, VpnGroup, VpnListen,
    VpnPlace, VpnPort, VpnRadius, VpnStrangers, VpnTunnel, gateway4, gateway6, gateways,
};

macro_rules! name {
    ($(#[$doc:meta])* $t:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $t(String);

        impl $t {
            /// Takes a name that the reader has already found to be well-formed.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl std::borrow::Borrow<str> for $t {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}
name!(/// One of the boxes.
    NodeName);
name!(/// A zone: a group of interfaces that the policy treats alike.
    ZoneName);
name!(/// An interface as the document calls it (`wan`), not the kernel's device.
    InterfaceName);
name!(/// A name in `[host]`, `[service]`, `[schedule]`, `[blocklist]` or `[gateway]`.
    Name);
name!(/// A host name to be looked up in the DNS, in lower case, without the final dot.
    Fqdn);
name!(/// A kernel network device, at most 15 bytes (`IFNAMSIZ` in `linux/if.h`).
    Device);

/// The zone that stands for the firewall itself.
pub const FIREWALL: &str = "firewall";
/// The zone that remote-access sessions arrive in.
pub const VPN: &str = "vpn";

mod wireguard;

pub use wireguard::{WIREGUARD, WIREGUARD_DEVICE, Wireguard, WireguardPeer};

impl ZoneName {
    /// Whether this is the firewall itself.
    pub fn is_firewall(&self) -> bool {
        self.as_str() == FIREWALL
    }

    /// Whether WireGuard's peers arrive here.
    pub fn is_wireguard(&self) -> bool {
        self.as_str() == WIREGUARD
    }

    /// Whether this is inside a tunnel of the box's own.
    pub fn is_tunnel(&self) -> bool {
        self.as_str() == VPN || self.is_wireguard()
    }
}

/// A whole, valid document.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// The boxes, the preferred one first: one or two.
    pub nodes: Vec<NodeName>,
    /// The interface with the dedicated cable between two nodes.
    pub sync: Option<InterfaceName>,
    /// Whether the preferred node of two takes the role back by itself.
    pub failback: Failback,
    /// Time between two heartbeats of a pair, in milliseconds.
    pub heartbeat_ms: u16,
    /// Settings of the box as a whole.
    pub system: System,
    /// Every zone that has an interface, plus `firewall` and, where there are groups, `vpn`.
    pub zones: BTreeMap<ZoneName, Zone>,
    /// The interfaces.
    pub interfaces: BTreeMap<InterfaceName, Interface>,
    /// Static routes.
    pub routes: Vec<Route>,
    /// The flow matrix, in the order of the document: the first flow that matches decides.
    pub flows: Vec<Flow>,
    /// Address translation that is not `publish`.
    pub nat: Nat,
    /// Named schedules.
    pub schedules: BTreeMap<Name, Schedule>,
    /// Block lists read from files.
    pub blocklists: BTreeMap<Name, Blocklist>,
    /// Remote access; `None` without a group.
    pub vpn: Option<Vpn>,
    /// Remote-access groups.
    pub vpn_groups: BTreeMap<Name, VpnGroup>,
    /// WireGuard, switched on or off.
    pub wireguard: Option<Wireguard>,
    /// Policy assertions.
    pub checks: Vec<Check>,
    /// Names in `[host]`, for showing an address by its name.
    pub hosts: BTreeMap<Name, HostSet>,
    /// Traffic that is dropped without being logged.
    pub noise: Vec<ServiceAtom>,
}

/// `[system]`.
#[derive(Clone, PartialEq, Debug)]
pub struct System {
    /// The IANA time zone that schedules and expiry dates are read in.
    pub timezone: String,
    /// Largest number of tracked connections, where the document sets it.
    pub max_connections: Option<NonZeroU32>,
}

/// `[zone.NAME]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Zone {
    /// Outside: refused traffic is dropped in silence, and the protections below default to on.
    pub external: bool,
    /// Drop what arrives from RFC 1918 and ULA sources outside the interface's own networks.
    pub block_private: bool,
    /// Drop what arrives from addresses that nobody can have (RFC 6890), the interface's own networks excepted.
    pub block_bogons: bool,
    /// Drop what arrives from a source that is not routed back through the same interface.
    pub anti_spoof: bool,
    /// Most new TCP connections per source address that are let in from this zone.
    pub syn_limit: Option<Rate>,
}

/// `[interface.NAME]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Interface {
    /// The kernel's device, per node.
    pub device: PerNode<Device>,
    /// What the device is made of.
    pub kind: InterfaceKind,
    /// The zone; an interface without one (the sync cable) is in no policy and forwards nothing.
    pub zone: Option<ZoneName>,
    /// Addresses with their network.
    pub addresses: PerNode<Vec<IpNet>>,
    /// IPv4 address and default route by DHCP.
    pub dhcp: bool,
    /// IPv6 addresses and default route by router advertisement (RFC 4862).
    pub slaac: bool,
    /// Addresses that belong to whichever node is active.
    pub virtuals: Vec<VirtualAddress>,
    /// The virtual routers that hold them.
    pub routers: BTreeMap<RouterId, VirtualRouter>,
    /// Whether its state counts for the health of the node. Never without a zone.
    pub monitor: bool,
    /// Default gateways, at most one of each family.
    pub gateways: PerNode<Vec<IpAddr>>,
    /// MTU in bytes, where set.
    pub mtu: Option<u32>,
    /// What the operator wrote about it.
    pub description: Option<String>,
}

/// A value for each node, in the order of [`Model::nodes`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PerNode<T>(Vec<T>);

impl<T> PerNode<T> {
    /// One value for each node.
    pub fn new(values: Vec<T>) -> Self {
        Self(values)
    }
    /// The value of the node at `index` in [`Model::nodes`].
    pub fn get(&self, index: NodeIndex) -> &T {
        &self.0[index.0]
    }
    /// All values, in the order of the nodes.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

/// The position of a node in [`Model::nodes`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeIndex(usize);

impl NodeIndex {
    /// The position itself.
    pub fn get(self) -> usize {
        self.0
    }
}

/// What an interface is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InterfaceKind {
    /// A device that the kernel finds by itself.
    Physical,
    /// IEEE 802.1Q on top of another interface.
    Vlan {
        /// The interface below.
        parent: InterfaceName,
        /// VLAN id, 1 to 4094.
        id: u16,
    },
    /// Several devices used as one.
    Bond {
        /// The devices, per node.
        members: PerNode<Vec<Device>>,
        /// How they share the traffic.
        mode: BondMode,
    },
    /// An Ethernet bridge.
    Bridge {
        /// The devices, per node.
        members: PerNode<Vec<Device>>,
        /// Spanning tree (IEEE 802.1D) on or off.
        stp: bool,
    },
}

/// Bonding modes (Documentation/networking/bonding.rst).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// One carries, the others wait.
    ActiveBackup,
    /// LACP.
    #[serde(rename = "802.3ad")]
    Lacp,
    /// Round robin.
    BalanceRr,
    /// By hash of the flow.
    BalanceXor,
}

/// A virtual address, in the order of the document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualAddress {
    /// The address and its network.
    pub address: IpNet,
    /// Virtual router id, 1 to 255 (RFC 9568 §5.2.3).
    pub vrid: u8,
}

impl VirtualAddress {
    /// The virtual router that holds it.
    pub fn router(&self) -> RouterId {
        RouterId { vrid: self.vrid, family: Family::of(self.address.addr()) }
    }
}

/// What tells the virtual routers of one interface apart: the same id may stand for two, one of each IP version
/// (RFC 9568 §1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouterId {
    /// Virtual router id, 1 to 255.
    pub vrid: u8,
    /// The IP version of its addresses.
    pub family: Family,
}

impl RouterId {
    /// The virtual MAC: 00-00-5E-00-01-VRID, and in IPv6 00-00-5E-00-02-VRID (RFC 9568 §7.3). CARP knows the first
    /// alone.
    pub fn mac(self, protocol: VirtualProtocol) -> [u8; 6] {
        let block = match (protocol, self.family) {
            (VirtualProtocol::Vrrp3 | VirtualProtocol::Vrrp2, Family::V6) => 2,
            (VirtualProtocol::Vrrp3 | VirtualProtocol::Vrrp2, Family::V4) | (VirtualProtocol::Carp, _) => 1,
        };
        [0, 0, 0x5e, 0, block, self.vrid]
    }

    /// The kernel's device of this router on `interface`: a macvlan called `vr10-lan`, or `vr10v6-lan`. The name
    /// depends on nothing else in the document, so that no device is made anew because of another one.
    pub fn device(self, interface: &InterfaceName) -> Device {
        let version = match self.family {
            Family::V4 => "",
            Family::V6 => "v6",
        };
        let start = format!("vr{}{version}-", self.vrid);
        let room = MAX_DEVICE_BYTES - start.len();
        let name = interface.as_str();
        if name.len() <= room {
            return Device::new(start + name);
        }
        // Names have ASCII letters, digits, `-` and `_` only, so that they can be cut anywhere.
        let sum = name.bytes().fold(FNV_OFFSET, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(FNV_PRIME));
        Device::new(format!("{start}{}{:04x}", &name[..room - 4], sum >> 16 ^ sum & 0xffff))
    }
}

/// `IFNAMSIZ` in `linux/if.h`, without the final zero.
pub const MAX_DEVICE_BYTES: usize = 15;
/// FNV-1a, for telling long names apart that begin alike.
const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// How a virtual router speaks with the others of its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualRouter {
    /// The protocol of its adverts.
    pub protocol: VirtualProtocol,
    /// Time between two adverts, in centiseconds. CARP: `advbase` in the same unit.
    pub interval_cs: u16,
    /// Priority, 1 to 254. Without meaning in CARP.
    pub priority: PerNode<u8>,
    /// Takes the role from a router of lower priority.
    pub preempt: bool,
    /// How long it waits before that, in seconds.
    pub preempt_delay_s: u32,
    /// Answers whatever is sent to its addresses (RFC 9568 §6.1, `Accept_Mode`).
    pub accept: bool,
    /// The other routers, where adverts go to them alone instead of to the multicast group.
    pub unicast: PerNode<Vec<IpAddr>>,
    /// The checksum of its adverts.
    pub checksum: ChecksumForm,
    /// What CARP needs besides.
    pub carp: Option<Carp>,
    /// The name of the secret that VRRPv2 writes into its adverts.
    pub password: Option<Name>,
}

/// What CARP needs besides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carp {
    /// Time between two adverts, in seconds.
    pub advbase: u8,
    /// Added to it, in 1/256 s: less is preferred.
    pub advskew: PerNode<u8>,
    /// The name of the secret that the adverts are authenticated with.
    pub password: Name,
}

/// The protocol in which virtual routers speak to each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtualProtocol {
    /// VRRP version 3 (RFC 9568).
    #[default]
    Vrrp3,
    /// VRRP version 2 (RFC 3768): IPv4 alone, whole seconds.
    Vrrp2,
    /// CARP version 2, as in OpenBSD, FreeBSD, pfSense and OPNsense.
    Carp,
}

/// What the checksum of an advert of VRRPv3 over IPv4 covers: RFC 5798 was read both ways. Both are understood.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChecksumForm {
    /// The advert alone (RFC 9568 §5.2.8).
    Rfc9568,
    /// The advert and a pseudo-header, as keepalived sends by default.
    PseudoHeader,
    /// As the other router does; the advert alone until it was heard.
    #[default]
    LikePeer,
}

/// Whether the preferred node takes the role back by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "policy")]
pub enum Failback {
    /// The role stays where it is until there is a reason to move it.
    #[default]
    Stay,
    /// The preferred node takes it once both nodes hold the same connections.
    Preferred {
        /// And after so many seconds of good health.
        delay_s: u32,
    },
}

/// A static route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// Through what.
    pub via: RouteVia,
    /// Lower is preferred; as the kernel's `RTA_PRIORITY`.
    pub metric: u32,
}

/// The next hop of a static route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteVia {
    /// A router on the network of `interface`.
    Gateway {
        /// Its address.
        address: IpAddr,
        /// The interface whose network it is on.
        interface: InterfaceName,
    },
    /// Nowhere: packets are discarded.
    Blackhole,
}

/// One line of the flow matrix.
#[derive(Clone, PartialEq, Debug)]
pub struct Flow {
    /// What stays the same while the flow is edited: its `id`, or else its from, to and services.
    /// Counters and connection marks follow it.
    pub key: String,
    /// What a person calls it: its `id`, or `flow at line 61`.
    pub label: String,
    /// Its line in the document, from 1.
    pub line: u32,
    /// Where the packet comes from: any of these.
    pub from: Vec<Endpoint>,
    /// Where it goes to: any of these.
    pub to: Vec<Endpoint>,
    /// With what: any of these.
    pub services: Vec<ServiceAtom>,
    /// The services as written.
    pub service_text: String,
    /// What happens.
    pub action: Action,
    /// Destination NAT that belongs to the flow.
    pub publish: Option<Publish>,
    /// Why it exists.
    pub why: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The last day on which it is in force.
    pub expires: Option<jiff::civil::Date>,
    /// Only in force while the schedule is.
    pub schedule: Option<Name>,
    /// Each new connection is logged.
    pub log: bool,
    /// Most new connections; what is over is refused.
    pub rate: Option<Rate>,
    /// Most connections at once; what is over is refused.
    pub connections: Option<ConnectionLimit>,
    /// The connection-tracking helper that follows it.
    pub helper: Option<Helper>,
}

impl Flow {
    /// Whether it is in force whatever the time: nothing switches it on and off or bounds it.
    pub fn is_unconditional(&self) -> bool {
        self.expires.is_none() && self.schedule.is_none() && self.rate.is_none() && self.connections.is_none()
    }
}

/// One side of a flow: a zone and, in it, hosts.
#[derive(Clone, PartialEq, Debug)]
pub struct Endpoint {
    /// The zone; `None` is every zone but the firewall.
    pub zone: Option<ZoneName>,
    /// The hosts.
    pub hosts: HostSet,
    /// As written: `dmz:ebrigade`.
    pub text: String,
}

/// A set of hosts: fixed addresses, and names whose addresses are facts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostSet {
    /// The addresses that the document gives.
    pub fixed: AddressSet,
    /// Names to look up.
    pub names: BTreeSet<Fqdn>,
    /// Remote-access groups, whose members come and go.
    pub vpn_groups: BTreeSet<Name>,
    /// All but these.
    pub negated: bool,
}

impl HostSet {
    /// Every host.
    pub fn any() -> Self {
        Self { fixed: AddressSet::all(), ..Self::default() }
    }
    /// Whether its content cannot change while the document stays the same.
    pub fn is_fixed(&self) -> bool {
        self.names.is_empty() && self.vpn_groups.is_empty()
    }
}

/// One protocol with its ports or types.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ServiceAtom {
    /// Everything.
    Any,
    /// A protocol with ports: TCP 6, UDP 17, DCCP 33, SCTP 132, UDP-Lite 136.
    Ports {
        /// IANA protocol number.
        protocol: u8,
        /// Destination ports.
        ports: Set<u16>,
    },
    /// ICMP by message type.
    Icmp(Set<u8>),
    /// ICMPv6 by message type.
    Icmp6(Set<u8>),
    /// Any other IP protocol by its number.
    Protocol(u8),
}

/// The protocols whose first four bytes are source and destination port.
pub const PORT_PROTOCOLS: [u8; 5] = [6, 17, 33, 132, 136];
/// IANA number of ICMP.
pub const ICMP: u8 = 1;
/// IANA number of TCP.
pub const TCP: u8 = 6;
/// IANA number of UDP.
pub const UDP: u8 = 17;
/// IANA number of ICMPv6.
pub const ICMP6: u8 = 58;

impl ServiceAtom {
    /// Whether a packet of `family` with this protocol and this destination port (or ICMP type) matches.
    pub fn matches(&self, family: Family, protocol: u8, port: u16) -> bool {
        let of_type = |types: &Set<u8>| u8::try_from(port).is_ok_and(|t| types.contains(t));
        match self {
            Self::Any => true,
            Self::Ports { protocol: p, ports } => *p == protocol && ports.contains(port),
            Self::Icmp(types) => family == Family::V4 && protocol == ICMP && of_type(types),
            Self::Icmp6(types) => family == Family::V6 && protocol == ICMP6 && of_type(types),
            Self::Protocol(p) => *p == protocol,
        }
    }

    /// The protocol and port axes of the boxes it covers in `family`.
    pub fn axes(&self, family: Family) -> Vec<(Interval<u8>, Interval<u16>)> {
        let typed = |protocol, types: &Set<u8>| {
            let widen = |i: &Interval<u8>| Interval { lo: i.lo.into(), hi: i.hi.into() };
            types.intervals().iter().map(|i| (Interval::one(protocol), widen(i))).collect()
        };
        match self {
            Self::Any => vec![(Interval::ALL, Interval::ALL)],
            Self::Ports { protocol, ports } => {
                ports.intervals().iter().map(|i| (Interval::one(*protocol), *i)).collect()
            }
            Self::Icmp(types) if family == Family::V4 => typed(ICMP, types),
            Self::Icmp6(types) if family == Family::V6 => typed(ICMP6, types),
            Self::Icmp(_) | Self::Icmp6(_) => Vec::new(),
            Self::Protocol(p) => vec![(Interval::one(*p), Interval::ALL)],
        }
    }
}

/// What a flow does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Lets it through.
    Allow,
    /// Refuses: with an answer inside, in silence outside.
    Deny,
    /// Refuses with an answer.
    Reject,
    /// Refuses in silence.
    Drop,
}

/// Destination NAT of a flow. IPv6 is published under its own address, without translation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publish {
    /// The address seen from outside; `None` is every IPv4 address of the interfaces of the `from` zones.
    pub address: Option<IpAddr>,
    /// The first port seen from outside, where it differs from the service's.
    pub port: Option<u16>,
    /// The inside zones whose clients reach it by the outside address too.
    pub reflect: BTreeSet<ZoneName>,
    /// The one host that answers.
    pub target: IpAddr,
}

/// So many per time unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// Per what.
    pub unit: RateUnit,
    /// How many at once before the rate counts.
    pub burst: NonZeroU32,
}

/// Time unit of a rate, as nft spells it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RateUnit {
    /// Per second.
    Second,
    /// Per minute.
    Minute,
    /// Per hour.
    Hour,
    /// Per day.
    Day,
}

impl RateUnit {
    /// nft's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.as_str())
    }
}

/// Most connections of a flow at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionLimit {
    /// How many.
    pub max: NonZeroU32,
    /// Counted per source address instead of in all.
    pub per_source: bool,
}

/// The connection-tracking helpers (net/netfilter/nf_conntrack_{ftp,sip,tftp}.c).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Helper {
    /// FTP: follows PORT, PASV, EPRT and EPSV. TCP.
    Ftp,
    /// SIP: follows SDP. UDP and TCP.
    Sip,
    /// TFTP: follows the answering port. UDP.
    Tftp,
}

impl Helper {
    /// The kernel's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Sip => "sip",
            Self::Tftp => "tftp",
        }
    }
    /// The protocols that it can follow.
    pub fn protocols(self) -> &'static [u8] {
        match self {
            Self::Ftp => &[TCP],
            Self::Sip => &[UDP, TCP],
            Self::Tftp => &[UDP],
        }
    }
}

/// `[nat]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Nat {
    /// Where outbound rules come from.
    pub outbound: Outbound,
    /// The operator's rules, in order; the first that matches decides.
    pub source: Vec<SourceNat>,
    /// One-to-one translations.
    pub one_to_one: Vec<OneToOne>,
}

/// Outbound NAT modes, as pfSense names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outbound {
    /// Inside networks leave external zones under the interface's address.
    Automatic,
    /// The operator's rules first, then the automatic ones.
    Hybrid,
    /// The operator's rules alone.
    Manual,
}

/// An outbound rule.
#[derive(Clone, PartialEq, Debug)]
pub struct SourceNat {
    /// What a person calls it: `outbound rule at line 80`.
    pub label: String,
    /// Its line in the document, from 1.
    pub line: u32,
    /// Where the packet comes from: any of these.
    pub from: Vec<Endpoint>,
    /// Where it goes to: any of these.
    pub to: Vec<Endpoint>,
    /// With what.
    pub services: Vec<ServiceAtom>,
    /// Under which address it leaves.
    pub address: SourceAddress,
    /// Why it exists.
    pub why: Option<String>,
}

/// The source address that a packet leaves with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceAddress {
    /// Its own: no translation.
    Keep,
    /// The address of the interface that it leaves by.
    Interface,
    /// This one.
    Address(IpAddr),
}

/// A one-to-one translation: the n-th address outside is the n-th inside, both ways.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OneToOne {
    /// Its line in the document, from 1.
    pub line: u32,
    /// Seen from outside.
    pub outside: IpNet,
    /// The real addresses, a network of the same length.
    pub inside: IpNet,
    /// The interface whose address the outside is.
    pub interface: InterfaceName,
}

/// A weekly schedule in the system's time zone. It follows the wall clock through daylight saving time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// When it is in force.
    pub windows: Vec<Window>,
}

/// One window of a schedule, on each of its days. A window whose end is not after its start ends on the day after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// The days on which it starts, Monday 0 to Sunday 6.
    pub days: BTreeSet<u8>,
    /// Start, inclusive.
    pub start: jiff::civil::Time,
    /// End, exclusive.
    pub end: jiff::civil::Time,
}

/// A list of addresses read from a file: one address, network or range a line, `#` and `;` start comments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocklist {
    /// The file, on the box.
    pub file: String,
    /// The zones where it applies.
    pub zones: BTreeSet<ZoneName>,
    /// Whether what is dropped is logged.
    pub log: bool,
}

/// A policy assertion.
#[derive(Clone, PartialEq, Debug)]
pub struct Check {
    /// Its sentence.
    pub name: String,
    /// Its line in the document, from 1.
    pub line: u32,
    /// Where the packets come from.
    pub from: Vec<Endpoint>,
    /// Where they go to.
    pub to: Vec<Endpoint>,
    /// With what.
    pub services: Vec<ServiceAtom>,
    /// But not these.
    pub except: Vec<ServiceAtom>,
    /// What is asserted.
    pub expect: Expect,
}

/// What an assertion says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// No such packet is let through.
    Never,
    /// Every such packet is let through.
    Always,
}

/// An IPv6 address that counts on one link only (RFC 4291 §2.5.6).
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

impl Model {
    /// The position of `node`, if the document knows it.
    pub fn node(&self, node: &str) -> Option<NodeIndex> {
        self.nodes.iter().position(|n| n.as_str() == node).map(NodeIndex)
    }

    /// The interfaces of a zone.
    pub fn interfaces_of<'a>(
        &'a self,
        zone: &'a ZoneName,
    ) -> impl Iterator<Item = (&'a InterfaceName, &'a Interface)> {
        self.interfaces.iter().filter(move |(_, i)| i.zone.as_ref() == Some(zone))
    }
}
