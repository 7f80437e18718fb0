//! The standard network around the routers of a document.
//!
//! | host | where | what |
//! | --- | --- | --- |
//! | `inet` | wan .1 and, beyond, 198.51.100.1 | the provider: DHCP .100 to .150, DNS, a web server |
//! | `cli-wan` | wan .50 and, beyond, 198.51.100.7 | a client on the internet |
//! | `srv-ad1` | lan .11 | DNS |
//! | `srv-voip` | lan .13 | nothing yet: a place for echo servers |
//! | `cli-lan` | lan .21 | a client inside |
//! | `srv-ebrigade` | dmz .11 | web, FTP and SSH |
//!
//! The networks are the document's own; a wan without a fixed address is 203.0.113.0/24. In IPv6 the last part
//! reads the same: .11 is `::11`. In a network too small for its number a host has the last address. Hosts of a segment that the document has not are left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use ipnet::IpNet;

use crate::document::{Layout, Segment};
use crate::spec::{DhcpService, DnsService, HostSpec, Server};

/// The provider's network where the document leaves it to DHCP (RFC 5737).
const PROVIDER_V4: &str = "203.0.113.0/24";
/// The same in IPv6 (RFC 3849).
const PROVIDER_V6: &str = "2001:db8:113::/64";
/// Beyond the provider: a server and the client's other address.
const BEYOND_SERVER: [&str; 2] = ["198.51.100.1", "2001:db8:198::1"];
const BEYOND_CLIENT: [&str; 2] = ["198.51.100.7", "2001:db8:198::7"];
/// Names on the internet, and who has them.
const INTERNET_NAMES: [(&str, [&str; 2]); 3] = [
    ("www.example", BEYOND_SERVER),
    ("sip.operator.example", BEYOND_SERVER),
    ("gw.partner.example", BEYOND_CLIENT),
];
/// The domain inside.
const INSIDE_DOMAIN: &str = "datatel.example";
/// The name of a host's only leg.
const LEG: &str = "eth0";
/// Seconds; long enough for a test not to see a renewal that it did not ask for.
const LEASE_SECS: u32 = 600;

/// The hosts of a lab.
#[derive(Clone, PartialEq, Debug)]
pub struct Topology {
    /// The document that the routers are to run.
    pub document: Option<PathBuf>,
    /// The hosts, routers among them.
    pub hosts: Vec<HostSpec>,
}

impl Topology {
    /// The standard network around all routers of a document, whose legs are the document's devices.
    pub fn of_document(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let layout = Layout::of_document(path)?;
        Ok(Self { document: Some(std::path::absolute(path)?), hosts: hosts(&layout) })
    }

    /// The standard network around `rte01` with the legs `enp1s0` (wan), `enp2s0` (lan), `enp3s0` (dmz) and
    /// `enp4s0` (sync), for tests without a document.
    pub fn standard() -> Self {
        Self { document: None, hosts: hosts(&Layout::standard()) }
    }

    /// The names of the routers, the preferred one first.
    pub fn routers(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().filter(|h| h.router).map(|h| h.name.as_str())
    }

    /// Without the routers but this one.
    pub fn only_router(mut self, name: &str) -> Self {
        self.hosts.retain(|h| !h.router || h.name == name);
        self
    }
}

fn hosts(layout: &Layout) -> Vec<HostSpec> {
    let provider = layout.segments.iter().find(|(name, s)| s.external && name.as_str() == "wan");
    let provider = provider.or_else(|| layout.segments.iter().find(|(_, s)| s.external));
    let resolver = provider.map(|(_, wan)| provider_address(wan, provider_networks(wan).0));
    let mut hosts: Vec<_> = layout.routers.iter().map(|(name, legs)| router(name, legs, resolver)).collect();
    if let Some((name, segment)) = provider {
        hosts.extend(internet(name, segment, layout));
    }
    if let Some(lan) = layout.segments.get("lan") {
        let resolver = lan.networks.iter().find(|(n, _)| n.addr().is_ipv4()).map(|(n, _)| nth(*n, 11));
        let at = |name, n| inside(name, "lan", lan, n, resolver);
        hosts.push(at("srv-ad1", 11).server(Server::Dns(inside_names(layout, provider.map(|(_, s)| s)))));
        hosts.push(at("srv-voip", 13));
        hosts.push(at("cli-lan", 21));
    }
    if let Some(dmz) = layout.segments.get("dmz") {
        let lan = layout.segments.get("lan").into_iter().flat_map(|s| &s.networks);
        let resolver = lan.map(|(n, _)| *n).find(|n| n.addr().is_ipv4()).map(|n| nth(n, 11));
        let host = inside("srv-ebrigade", "dmz", dmz, 11, resolver);
        hosts.push(host.server(Server::Web).server(Server::Ftp).server(Server::Ssh));
    }
    hosts
}

/// A router has its own `/etc/resolv.conf` for a second reason: what it writes there stays in the lab.
fn router(name: &str, legs: &[(String, String)], resolver: Option<IpAddr>) -> HostSpec {
    let mut host = HostSpec::router(name);
    host.nameserver = resolver;
    legs.iter().fold(host, |host, (device, segment)| host.leg(device, segment, []))
}

/// A host on a segment of the document, its address ending in `n`.
fn inside(name: &str, on: &str, segment: &Segment, n: u8, resolver: Option<IpAddr>) -> HostSpec {
    let addresses = segment.networks.iter().map(|(net, _)| at(*net, n));
    let mut host = HostSpec::new(name).leg(LEG, on, addresses);
    host.nameserver = resolver;
    let mut families = Vec::new();
    for (_, gateway) in &segment.networks {
        if !families.contains(&gateway.is_ipv6()) {
            families.push(gateway.is_ipv6());
            host = host.gateway(*gateway);
        }
    }
    host
}

/// The provider and the client outside.
fn internet(name: &str, wan: &Segment, layout: &Layout) -> [HostSpec; 2] {
    let (v4, v6) = provider_networks(wan);
    let gateway = |net: IpNet| provider_address(wan, net);
    let with_prefix =
        |ip: IpAddr, net: IpNet| IpNet::new(ip, net.prefix_len()).expect("a length of its family");
    let (gw4, gw6) = (gateway(v4), gateway(v6));

    let mut dns = internet_names();
    dns.zones = vec!["example".into()];
    if let (IpAddr::V4(router), IpAddr::V4(first), IpAddr::V4(last)) = (gw4, nth(v4, 100), nth(v4, 150))
        && first < last
    {
        dns.dhcp = Some(DhcpService { first, last, router, nameserver: router, lease_secs: LEASE_SECS });
    }
    dns.advertise = wan.slaac.then_some(v6);
    let mut inet = HostSpec::new("inet")
        .forwarding()
        .leg(LEG, name, [with_prefix(gw4, v4), with_prefix(gw6, v6)])
        .nameserver(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .server(Server::Dns(dns))
        .server(Server::Web);
    let mut client = HostSpec::new("cli-wan").leg(LEG, name, [at(v4, 50), at(v6, 50)]).nameserver(gw4);
    for (server, other) in BEYOND_SERVER.iter().zip(BEYOND_CLIENT) {
        let other = address(other);
        let (net, via) = if other.is_ipv6() { (v6, gw6) } else { (v4, gw4) };
        inet = inet.loopback(address(server)).route(other.into(), nth(net, 50));
        client = client.loopback(other).gateway(via);
    }
    // What is behind the router by its own address: all of IPv6, which is not translated, and whatever the document
    // publishes outside the provider's network.
    for (net, router) in &wan.networks {
        let same_family = |n: &&IpNet| n.addr().is_ipv6() == net.addr().is_ipv6();
        let inner =
            layout.segments.values().filter(|s| !s.external).flat_map(|s| &s.networks).map(|(n, _)| n);
        let inner = inner.filter(|n| n.addr().is_ipv6());
        let public = layout.public.iter().filter(|n| !net.contains(*n));
        for behind in inner.chain(public).filter(same_family) {
            inet = inet.route(*behind, *router);
        }
    }
    [inet, client]
}

fn provider_networks(wan: &Segment) -> (IpNet, IpNet) {
    let own = |v6: bool| wan.networks.iter().map(|(net, _)| *net).find(|n| n.addr().is_ipv6() == v6);
    let parse = |text: &str| text.parse().expect("a network");
    (own(false).unwrap_or_else(|| parse(PROVIDER_V4)), own(true).unwrap_or_else(|| parse(PROVIDER_V6)))
}

/// The provider's address in a network: where the document sends its default route, else the first.
fn provider_address(wan: &Segment, net: IpNet) -> IpAddr {
    wan.gateways.iter().copied().find(|g| net.contains(g)).unwrap_or_else(|| nth(net, 1))
}

fn internet_names() -> DnsService {
    let records = INTERNET_NAMES
        .iter()
        .flat_map(|(name, addresses)| addresses.iter().map(|a| ((*name).to_owned(), address(a))));
    DnsService { records: records.collect(), ..DnsService::default() }
}

/// The names inside; everything else is asked of the provider, through the router.
fn inside_names(layout: &Layout, wan: Option<&Segment>) -> DnsService {
    let servers = [
        ("lan", "srv-ad1", 11),
        ("lan", "srv-voip", 13),
        ("lan", "cli-lan", 21),
        ("dmz", "srv-ebrigade", 11),
    ];
    let mut records = Vec::new();
    for (segment, name, n) in servers {
        for (net, _) in layout.segments.get(segment).into_iter().flat_map(|s| &s.networks) {
            records.push((format!("{name}.{INSIDE_DOMAIN}"), nth(*net, n)));
        }
    }
    let upstream = wan.map(|w| provider_address(w, provider_networks(w).0));
    DnsService { records, zones: vec![INSIDE_DOMAIN.into()], upstream, ..DnsService::default() }
}

/// The address of a network that ends in `n`, with the network's length.
fn at(net: IpNet, n: u8) -> IpNet {
    IpNet::new(nth(net, n), net.prefix_len()).expect("a length of its family")
}

/// The address of a network that ends in `n`: `.21`, or `::21`, read in decimal and hexadecimal. The last one
/// where the network is too small.
fn nth(net: IpNet, n: u8) -> IpAddr {
    match net {
        IpNet::V4(net) => {
            let last = u32::from(net.broadcast()).saturating_sub(1);
            Ipv4Addr::from((u32::from(net.network()) + u32::from(n)).min(last)).into()
        }
        IpNet::V6(net) => {
            let digits =
                u128::from_str_radix(&n.to_string(), 16).expect("decimal digits are hexadecimal ones");
            Ipv6Addr::from((u128::from(net.network()) + digits).min(u128::from(net.broadcast()))).into()
        }
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("is an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: the standard network. Out: the addresses that the table above promises.
    #[test]
    fn the_standard_addresses() {
        let topology = Topology::standard();
        let host = |name: &str| topology.hosts.iter().find(|h| h.name == name).unwrap();
        let addresses =
            |name: &str| host(name).legs[0].addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addresses("cli-lan"), ["192.168.10.21/24", "fd00:10::21/64"]);
        assert_eq!(addresses("srv-ebrigade"), ["192.168.20.11/24", "fd00:20::11/64"]);
        assert_eq!(addresses("inet"), ["203.0.113.1/24", "2001:db8:113::1/64"]);
        assert_eq!(addresses("cli-wan"), ["203.0.113.50/24", "2001:db8:113::50/64"]);
        assert_eq!(topology.routers().collect::<Vec<_>>(), ["rte01"]);
        let gateways: Vec<_> = host("srv-voip").routes.iter().map(|(_, via)| via.to_string()).collect();
        assert_eq!(gateways, ["192.168.10.254", "fd00:10::fe"]);
    }

    fn example(name: &str) -> Topology {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        Topology::of_document(folder.join(name)).unwrap()
    }

    /// In: the example of two boxes. Out: both routers, with the document's devices, and the hosts of the standard
    /// network.
    #[test]
    fn the_example_of_two_boxes() {
        let topology = example("datatel.toml");
        assert_eq!(topology.routers().collect::<Vec<_>>(), ["rte01", "rte02"]);
        let standard = Topology::standard();
        let mut legs = topology.hosts[1].legs.clone();
        legs.sort_by(|a, b| a.device.cmp(&b.device));
        assert_eq!(legs, standard.hosts[0].legs);
        let mut hosts: Vec<_> = topology.only_router("rte01").hosts.split_off(1);
        let mut expected = standard.hosts[1..].to_vec();
        // The document has no IPv6 on the wan, so the provider knows no way back.
        for host in hosts.iter_mut().chain(&mut expected) {
            host.routes.retain(|(to, _)| !to.to_string().starts_with("fd00"));
        }
        assert_eq!(hosts, expected);
    }

    /// In: the example of one box in a small public network with another routed to it. Out: the client has the last
    /// address, the provider gives none and knows the way to the routed network; the VLAN needs no cable.
    #[test]
    fn the_example_of_one_box() {
        let topology = example("billu.toml");
        let host = |name: &str| topology.hosts.iter().find(|h| h.name == name).unwrap();
        assert_eq!(host("cli-wan").legs[0].addresses[0].to_string(), "203.0.113.14/28");
        let routes: Vec<_> = host("inet").routes.iter().map(|(to, via)| format!("{to} {via}")).collect();
        assert!(routes.contains(&"203.0.113.16/28 203.0.113.2".to_owned()), "{routes:?}");
        assert!(!routes.iter().any(|r| r.starts_with("203.0.113.4")), "{routes:?}");
        let gives = |s: &Server| matches!(s, Server::Dns(d) if d.dhcp.is_some());
        assert!(!host("inet").servers.iter().any(gives));
        let devices: Vec<_> = host("fw").legs.iter().map(|l| l.device.as_str()).collect();
        assert!(devices.contains(&"enp2s0") && devices.iter().all(|d| !d.contains('.')), "{devices:?}");
    }

    /// In: a document with a fault. Out: where and what, not a lab.
    #[test]
    fn a_faulty_document_is_refused() {
        let file = std::env::temp_dir().join(format!("rempart-lab-faulty-{}.toml", std::process::id()));
        std::fs::write(&file, "version = 1\nnode = \"fw\"\nnonsense = 1\n").unwrap();
        let error = Topology::of_document(&file).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(error.contains("nonsense") && error.contains(":3:1"), "{error}");
    }
}
