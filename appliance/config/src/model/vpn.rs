//! Remote access: what `[vpn]` means. People, their devices and the authority stand in no document.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Fqdn, HostSet, Interface, InterfaceName, Name, is_link_local};
use crate::space::{AddressSet, Family};

/// The TUN device that sessions of remote access arrive in.
pub const VPN_DEVICE: &str = "vpn0";

/// The kernel's device beside it, where the kernel carries sessions.
pub const VPN_KERNEL_DEVICE: &str = "vpn0k";

/// `[vpn]`, where there is a group.
#[derive(Clone, PartialEq, Debug)]
pub struct Vpn {
    /// Where clients connect to.
    pub listen: Vec<VpnListen>,
    /// The UDP port.
    pub udp: VpnPort,
    /// The TCP port, for clients whose network lets nothing else out.
    pub tcp: Option<VpnPort>,
    /// Names and addresses that profiles give the client; empty: the addresses that it listens on.
    pub remotes: Vec<String>,
    /// MTU of the tunnel, in bytes.
    pub mtu: u16,
    /// Most sessions at once.
    pub max_sessions: u32,
    /// The longest that a key is used, in seconds.
    pub rekey_s: u32,
    /// A session of which nothing is heard for so long is over, in seconds.
    pub idle_s: u32,
    /// TLS 1.2 will do.
    pub tls12: bool,
    /// The kernel carries the sessions that it can.
    pub offload: bool,
    /// The groups in the order of the document: who is in several has the addresses of the first.
    pub order: Vec<Name>,
    /// Who is asked about people who are not in the store.
    pub strangers: Option<VpnStrangers>,
    /// Active Directory.
    pub directory: Option<VpnDirectory>,
    /// RADIUS.
    pub radius: Option<VpnRadius>,
    /// What certificates look like.
    pub certificates: VpnCertificates,
}

/// An interface that remote access listens on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct VpnListen {
    /// The interface.
    pub interface: InterfaceName,
    /// This address of it alone.
    pub only: Option<IpAddr>,
}

/// A place on an interface that can be listened on: an address, or `None` for the address of its lease.
pub type VpnPlace = (InterfaceName, Option<IpAddr>);

impl VpnListen {
    /// Where that is on a node whose fixed addresses on the interface are `own`: virtual addresses that answer, or else
    /// its own, or else its lease; in each IP version.
    pub fn places(&self, interface: &Interface, own: &[IpNet]) -> Vec<VpnPlace> {
        let answering = interface.virtuals.iter().filter(|v| {
            interface.routers.get(&v.router()).is_some_and(|r| r.accept) && !is_link_local(v.address.addr())
        });
        let answering: Vec<IpAddr> = answering.map(|v| v.address.addr()).collect();
        let own: Vec<IpAddr> = own.iter().map(IpNet::addr).filter(|a| !is_link_local(*a)).collect();
        let mut out = Vec::new();
        for family in Family::BOTH {
            let of = |list: &[IpAddr]| list.iter().copied().filter(|a| Family::of(*a) == family).collect();
            let (shared, fixed): (Vec<_>, Vec<_>) = (of(&answering), of(&own));
            match self.only {
                Some(only) => out.extend(shared.into_iter().chain(fixed).find(|a| *a == only).map(Some)),
                None if !shared.is_empty() => out.extend(shared.into_iter().map(Some)),
                None if !fixed.is_empty() => out.extend(fixed.into_iter().map(Some)),
                None if family == Family::V4 && interface.dhcp => out.push(None),
                None => {}
            }
        }
        out.into_iter().map(|address| (self.interface.clone(), address)).collect()
    }
}

/// A port that remote access listens on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VpnPort {
    /// Its number.
    pub port: u16,
    /// Where it is not listened on, because the port is translated to somewhere else.
    pub taken: BTreeSet<VpnPlace>,
}

/// Who is asked about people who are not in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VpnStrangers {
    /// Active Directory.
    Directory,
    /// RADIUS.
    Radius,
}

/// `[vpn.directory]`.
#[derive(Clone, PartialEq, Debug)]
pub struct VpnDirectory {
    /// The domain.
    pub domain: Fqdn,
    /// Its controllers, in the order in which they are tried: as their certificates name them, and where they are.
    pub controllers: Vec<(Fqdn, HostSet)>,
    /// The port of LDAPS.
    pub port: u16,
    /// The name of the secret that holds the certificate of their authority.
    pub authority: Name,
}

/// `[vpn.radius]`.
#[derive(Clone, PartialEq, Debug)]
pub struct VpnRadius {
    /// The servers, in the order in which they are tried.
    pub servers: Vec<HostSet>,
    /// Their port.
    pub port: u16,
    /// The name of the shared secret.
    pub secret: Name,
    /// The address that requests come from.
    pub source: Option<std::net::Ipv4Addr>,
    /// The group of people whom the server names none for.
    pub group: Option<Name>,
}

/// `[vpn.certificates]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VpnCertificates {
    /// The organisation in their names.
    pub organisation: String,
    /// How long a device's certificate is valid, in days.
    pub device_days: u32,
    /// How long before its end a warning is given, in days.
    pub warn_days: u32,
}

/// `[vpn.group.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VpnGroup {
    /// The IPv4 addresses that its members are given. At least one of the two pools is there.
    pub pool4: Option<Ipv4Net>,
    /// The IPv6 addresses.
    pub pool6: Option<Ipv6Net>,
    /// What a login demands.
    pub demand: VpnDemand,
    /// What goes into the tunnel.
    pub tunnel: VpnTunnel,
    /// Resolvers.
    pub dns: Vec<IpAddr>,
    /// The domain of the connection.
    pub domain: Option<Fqdn>,
    /// Domains that are searched.
    pub search: Vec<Fqdn>,
    /// Most sessions of the group at once.
    pub max_sessions: Option<u32>,
    /// Most sessions of one person at once.
    pub sessions_each: u32,
    /// A session ends so long after its login, in seconds.
    pub session_limit_s: Option<u32>,
    /// Groups of the directory whose members are in this one.
    pub directory_groups: Vec<String>,
}

/// What a login demands: a certificate or a password at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VpnDemand {
    /// A certificate of a registered device.
    pub certificate: bool,
    /// A password.
    pub password: bool,
    /// A code of an authenticator application.
    pub code: bool,
}

/// What goes into the tunnel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VpnTunnel {
    /// Everything.
    Full,
    /// What is behind the box, for a reason that was written down.
    Split {
        /// The networks.
        routes: Vec<IpNet>,
        /// The reason.
        why: String,
    },
}

/// The shortest prefix that addresses are given from: clients take no wider network of IPv6 for their own.
const WIDEST_V6: u8 = 64;

impl VpnGroup {
    /// The pools as the document has them.
    pub fn pools(&self) -> impl Iterator<Item = IpNet> {
        self.pool4.map(IpNet::V4).into_iter().chain(self.pool6.map(IpNet::V6))
    }

    /// The addresses that a member may have.
    pub fn addresses(&self) -> AddressSet {
        AddressSet::union_of(&self.pools().map(AddressSet::network).collect::<Vec<_>>())
    }

    /// Whether its members have addresses of `family`.
    pub fn has(&self, family: Family) -> bool {
        self.pools().any(|pool| Family::of(pool.addr()) == family)
    }

    /// The network that IPv6 addresses are given from: of a wider pool the first part.
    pub fn network6(&self) -> Option<Ipv6Net> {
        let pool = self.pool6?;
        Ipv6Net::new(pool.network(), pool.prefix_len().max(WIDEST_V6)).ok()
    }

    /// The addresses of the box itself in the tunnel, with their networks: the first host of each pool.
    pub fn gateways(&self) -> impl Iterator<Item = IpNet> {
        gateways(self.pool4, self.network6())
    }
}

/// The gateway of a pool: its first host address.
pub fn gateway4(pool: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(pool.network()).saturating_add(1))
}

/// The gateway of a pool: its first host address.
pub fn gateway6(pool: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(pool.network()).saturating_add(1))
}

/// The gateways of a group's pools, with their networks.
pub fn gateways(pool4: Option<Ipv4Net>, pool6: Option<Ipv6Net>) -> impl Iterator<Item = IpNet> {
    let four = pool4.and_then(|pool| IpNet::new(gateway4(pool).into(), pool.prefix_len()).ok());
    let six = pool6.and_then(|pool| IpNet::new(gateway6(pool).into(), pool.prefix_len()).ok());
    four.into_iter().chain(six)
}
