//! What the VPN of a node has to know of the document: `rempart-vpn` is given a [`VpnPlan`] by the control daemon and never
//! reads the document itself.
//!
//! Owned here: where it listens, what a profile says, which groups there are and what each gives and demands. Not owned:
//! people, their devices and the authority, which no document holds; who is active.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

mod of;

pub use of::Listening;

/// The set of our table that holds the IPv4 addresses of those who are connected, and the networks behind them. The
/// ruleset makes it, empty; `rempart-vpn` alone puts addresses in and takes them out.
pub const LIVE4: &str = "vpn_live4";
/// The same in IPv6.
pub const LIVE6: &str = "vpn_live6";

/// What the document asks of remote access on one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VpnPlan {
    /// The name of this node.
    pub node: String,
    /// Its place in `pair.nodes`: the first one draws even take-over epochs.
    pub index: u8,
    /// The other node; `None` for a single box, which is always active.
    pub peer: Option<String>,
    /// The TUN device, which `rempart-vpn` makes.
    pub device: String,
    /// The kernel's device beside it, where the kernel is to carry the sessions that it can.
    pub kernel_device: Option<String>,
    /// Where it listens, by UDP. Virtual addresses where the interface has one, which are bound before they are there;
    /// the node's own, or its lease, where it has none. At most 8 (a shard's sockets).
    pub udp: Vec<SocketAddr>,
    /// Where it listens, by TCP: for clients whose network lets nothing else out.
    pub tcp: Vec<SocketAddr>,
    /// What a profile gives the client to connect to, in order.
    pub remotes: Vec<Remote>,
    /// MTU of the tunnel, in bytes.
    pub mtu: u16,
    /// Most sessions at once.
    pub max_sessions: u32,
    /// The longest that a key is used, in seconds.
    pub rekey_s: u32,
    /// A session of which nothing is heard for so long is over, in seconds.
    pub idle_s: u32,
    /// The lowest version of TLS: 1.2 lets clients of 2.5 on old systems in.
    pub tls12: bool,
    /// The groups, in the document's order. A member of several has the addresses and options of the first; the demands
    /// of all add up.
    pub groups: Vec<GroupPlan>,
    /// Who is asked about people who are not in the store.
    pub strangers: Option<Strangers>,
    /// Active Directory.
    pub directory: Option<DirectoryPlan>,
    /// RADIUS.
    pub radius: Option<RadiusPlan>,
    /// What the authority puts into the certificates that it makes.
    pub certificates: CertificatePlan,
}

/// A place to connect to, in a profile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remote {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// By TCP.
    pub tcp: bool,
}

/// `[vpn.group.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupPlan {
    /// Its name.
    pub name: String,
    /// Addresses of its members; the first host address is the gateway's. At least one of the two pools is there.
    pub pool4: Option<Ipv4Net>,
    /// The same in IPv6.
    pub pool6: Option<Ipv6Net>,
    /// A certificate of a registered device is demanded.
    pub certificate: bool,
    /// A password is demanded.
    pub password: bool,
    /// A code of an authenticator application is demanded.
    pub code: bool,
    /// Everything goes into the tunnel; else only `routes`.
    pub full_tunnel: bool,
    /// What is behind the tunnel for a client with a split one.
    pub routes: Vec<IpNet>,
    /// Resolvers.
    pub dns: Vec<IpAddr>,
    /// The domain of the connection.
    pub domain: Option<String>,
    /// Domains that are searched.
    pub search: Vec<String>,
    /// Most sessions of the group at once.
    pub max_sessions: Option<u32>,
    /// Most sessions of one person at once.
    pub sessions_each: u32,
    /// A session ends so long after its login, in seconds; the client asks its person anew.
    pub session_limit_s: Option<u32>,
    /// Groups of the directory whose members are in this one: names (`CN`, or a distinguished name).
    pub directory_groups: Vec<String>,
}

/// Who is asked about people who are not in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strangers {
    /// Active Directory.
    Directory,
    /// RADIUS.
    Radius,
}

/// `[vpn.directory]`: Active Directory by LDAPS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DirectoryPlan {
    /// The domain (`datatel.example`), which makes the names that people bind as.
    pub domain: String,
    /// Controllers, in the order in which they are tried: as their certificates name them.
    pub controllers: Vec<Controller>,
    /// A file `DIR/secrets/NAME` with the certificate of the authority that certified the controllers, PEM.
    pub authority: String,
}

/// A domain controller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Controller {
    /// Its name, as in its certificate.
    pub name: String,
    /// Its addresses: of the host that the document names, or as resolved.
    pub addresses: Vec<IpAddr>,
    /// 636.
    pub port: u16,
}

/// `[vpn.radius]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RadiusPlan {
    /// Servers, in the order in which they are tried.
    pub servers: Vec<SocketAddr>,
    /// The name of the shared secret: a file `DIR/secrets/NAME`.
    pub secret: String,
    /// The address that requests come from, where it is not the kernel's choice.
    pub source: Option<Ipv4Addr>,
    /// The group of people whom the server names none for.
    pub group: Option<String>,
}

/// `[vpn.certificates]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificatePlan {
    /// The organisation in the names of the authority and of its certificates.
    pub organisation: String,
    /// How long a device's certificate is valid, in days.
    pub device_days: u32,
    /// How long before its end a warning is given, in days.
    pub warn_days: u32,
}
