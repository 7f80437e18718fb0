//! What a lab is made of, before it stands.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// A host to be.
#[derive(Clone, PartialEq, Debug)]
pub struct HostSpec {
    /// Its name: letters, digits and `-`, not `switch`.
    pub name: String,
    /// Whether it runs the product. A router's legs are left alone: down, without addresses, with the kernel's
    /// own defaults.
    pub router: bool,
    /// Whether it forwards packets. Says nothing about a router, which decides that itself.
    pub forwards: bool,
    /// Its legs.
    pub legs: Vec<LegSpec>,
    /// Addresses on the loopback, for a host that stands for more than one network.
    pub loopback: Vec<IpAddr>,
    /// Routes: where to, through what.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// The resolver.
    pub nameserver: Option<IpAddr>,
    /// What runs on it.
    pub servers: Vec<Server>,
}

/// A leg of a host: a device with a cable to a segment.
#[derive(Clone, PartialEq, Debug)]
pub struct LegSpec {
    /// The device.
    pub device: String,
    /// The segment.
    pub segment: String,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
}

/// A small real server.
#[derive(Clone, PartialEq, Debug)]
pub enum Server {
    /// nginx on ports 80 and 443, with a certificate of its own. `/` names the host, `/client` the client as the
    /// server sees it, and `/big.bin` is [`BIG_FILE_BYTES`](crate::Server::BIG_FILE_BYTES) of zeroes.
    Web,
    /// vsftpd on port 21, anonymous, passive ports 30000 to 30100. `hello.txt` names the host; `big.bin` as above.
    Ftp,
    /// sshd on port 22. Whoever has the file [`SSH_KEY`](crate::Server::SSH_KEY) of the host's run folder is root.
    Ssh,
    /// dnsmasq: DNS and, where asked, DHCP and router advertisements.
    Dns(DnsService),
}

impl Server {
    /// The size of `/big.bin`, in bytes.
    pub const BIG_FILE_BYTES: u64 = 16 << 20;
    /// The key for [`Server::Ssh`], in the run folder of the host.
    pub const SSH_KEY: &str = "sshd/client";
}

/// What a DNS server answers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DnsService {
    /// Names with their addresses.
    pub records: Vec<(String, IpAddr)>,
    /// Domains that it alone answers for: what is not among the records does not exist.
    pub zones: Vec<String>,
    /// Whom it asks about everything else; without one, everything else is refused.
    pub upstream: Option<IpAddr>,
    /// Addresses that it gives.
    pub dhcp: Option<DhcpService>,
    /// Announces the default route and this network for SLAAC (RFC 4861, RFC 4862).
    pub advertise: Option<IpNet>,
}

/// What a DHCP server gives.
#[derive(Clone, PartialEq, Debug)]
pub struct DhcpService {
    /// The first address.
    pub first: Ipv4Addr,
    /// The last address.
    pub last: Ipv4Addr,
    /// The default route.
    pub router: Ipv4Addr,
    /// The resolver.
    pub nameserver: Ipv4Addr,
    /// How long an address is leased, in seconds; dnsmasq's least is 120.
    pub lease_secs: u32,
}

impl HostSpec {
    /// A host without legs.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            router: false,
            forwards: false,
            legs: Vec::new(),
            loopback: Vec::new(),
            routes: Vec::new(),
            nameserver: None,
            servers: Vec::new(),
        }
    }

    /// A router, for the product to set up.
    pub fn router(name: impl Into<String>) -> Self {
        Self { router: true, ..Self::new(name) }
    }

    /// Forwarding packets.
    pub fn forwarding(mut self) -> Self {
        self.forwards = true;
        self
    }

    /// With one more leg.
    pub fn leg(mut self, device: &str, segment: &str, addresses: impl IntoIterator<Item = IpNet>) -> Self {
        let addresses = addresses.into_iter().collect();
        self.legs.push(LegSpec { device: device.into(), segment: segment.into(), addresses });
        self
    }

    /// With one more route.
    pub fn route(mut self, to: IpNet, via: IpAddr) -> Self {
        self.routes.push((to, via));
        self
    }

    /// With a default route.
    pub fn gateway(self, via: IpAddr) -> Self {
        let to = match via {
            IpAddr::V4(_) => IpNet::V4(Default::default()),
            IpAddr::V6(_) => IpNet::V6(Default::default()),
        };
        self.route(to, via)
    }

    /// With one more address on the loopback.
    pub fn loopback(mut self, address: IpAddr) -> Self {
        self.loopback.push(address);
        self
    }

    /// With a resolver.
    pub fn nameserver(mut self, address: IpAddr) -> Self {
        self.nameserver = Some(address);
        self
    }

    /// With one more server.
    pub fn server(mut self, server: Server) -> Self {
        self.servers.push(server);
        self
    }
}
