//! What a document says that the lab must build around: which devices each router has, and which networks are
//! behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use rempart_config::model::{Interface, InterfaceKind, NodeIndex, SourceAddress};
use rempart_config::{Model, Reading};

/// The wiring that a document asks for.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Layout {
    /// The routers with their legs: device and segment. A segment is called as the interface on it.
    pub routers: Vec<(String, Vec<(String, String)>)>,
    /// The segments.
    pub segments: BTreeMap<String, Segment>,
    /// Addresses that the document publishes or translates to: the provider routes them to the router.
    pub public: BTreeSet<IpNet>,
}

/// What hosts on a segment need to know.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Segment {
    /// Outside: the provider's.
    pub external: bool,
    /// Its networks, each with the address of the router that hosts use: the virtual one if there is one.
    pub networks: Vec<(IpNet, IpAddr)>,
    /// Where the document sends its own default routes.
    pub gateways: Vec<IpAddr>,
    /// Whether the router wants its IPv6 address by advertisement.
    pub slaac: bool,
}

impl Layout {
    /// Reads a document. An invalid one is refused with everything that is wrong with it.
    pub fn of_document(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let Reading { model, diagnostics } = rempart_config::read(&text);
        match model {
            Some(model) => Ok(Self::of_model(&model)),
            None => {
                let file = path.display().to_string();
                bail!("{file} is not valid\n{}", rempart_config::render(&diagnostics, &file, &text, false))
            }
        }
    }

    /// The wiring of the standard network, for labs without a document.
    pub fn standard() -> Self {
        let net = |text: &str| text.parse::<IpNet>().expect("is a network");
        let ip = |text: &str| text.parse::<IpAddr>().expect("is an address");
        let legs = [("enp1s0", "wan"), ("enp2s0", "lan"), ("enp3s0", "dmz"), ("enp4s0", "sync")];
        let segments = [
            (
                "wan",
                Segment {
                    external: true,
                    networks: vec![(net("2001:db8:113::/64"), ip("2001:db8:113::10"))],
                    ..Segment::default()
                },
            ),
            ("lan", inside(&[("192.168.10.0/24", "192.168.10.254"), ("fd00:10::/64", "fd00:10::fe")])),
            ("dmz", inside(&[("192.168.20.0/24", "192.168.20.254"), ("fd00:20::/64", "fd00:20::fe")])),
            ("sync", Segment::default()),
        ];
        Self {
            routers: vec![("rte01".into(), legs.map(|(d, s)| (d.into(), s.into())).to_vec())],
            segments: segments.map(|(name, segment)| (name.into(), segment)).into(),
            public: BTreeSet::new(),
        }
    }

    fn of_model(model: &Model) -> Self {
        let mut layout = Self::default();
        for name in &model.nodes {
            let node = model.node(name.as_str()).expect("is one of the model's nodes");
            let legs = model.interfaces.iter().flat_map(|(segment, interface)| {
                let devices = cabled(interface, node);
                devices.into_iter().map(|device| (device, segment.to_string()))
            });
            layout.routers.push((name.to_string(), legs.collect()));
        }
        let nodes: Vec<_> = model.nodes.iter().filter_map(|n| model.node(n.as_str())).collect();
        for (name, interface) in &model.interfaces {
            let zone = interface.zone.as_ref().and_then(|z| model.zones.get(z));
            let segment = Segment {
                external: zone.is_some_and(|z| z.external),
                networks: networks(interface, &nodes),
                gateways: nodes.first().map(|n| interface.gateways.get(*n).clone()).unwrap_or_default(),
                slaac: interface.slaac,
            };
            layout.segments.insert(name.to_string(), segment);
        }
        layout.public = public(model);
        layout
    }
}

/// The devices of an interface that have a cable. A VLAN is inside its parent's.
fn cabled(interface: &Interface, node: NodeIndex) -> Vec<String> {
    match &interface.kind {
        InterfaceKind::Physical => vec![interface.device.get(node).to_string()],
        InterfaceKind::Vlan { .. } => Vec::new(),
        InterfaceKind::Bond { members, .. } | InterfaceKind::Bridge { members, .. } => {
            members.get(node).iter().map(ToString::to_string).collect()
        }
    }
}

/// The networks of an interface with the address that hosts send to: a virtual one, else the first node's.
fn networks(interface: &Interface, nodes: &[NodeIndex]) -> Vec<(IpNet, IpAddr)> {
    let virtuals = interface.virtuals.iter().map(|v| v.address);
    let own = nodes.iter().flat_map(|n| interface.addresses.get(*n)).copied();
    let mut networks: Vec<(IpNet, IpAddr)> = Vec::new();
    for address in virtuals.chain(own) {
        let network = address.trunc();
        // A single address, as a virtual one may be written, is no network to put hosts on.
        let hosts = address.prefix_len() < address.max_prefix_len();
        if hosts && networks.iter().all(|(known, _)| *known != network) {
            networks.push((network, address.addr()));
        }
    }
    networks
}

fn public(model: &Model) -> BTreeSet<IpNet> {
    let published = model.flows.iter().filter_map(|f| f.publish.as_ref()?.address.map(IpNet::from));
    let one_to_one = model.nat.one_to_one.iter().map(|n| n.outside.trunc());
    let source = model.nat.source.iter().filter_map(|n| match n.address {
        SourceAddress::Address(address) => Some(address.into()),
        SourceAddress::Keep | SourceAddress::Interface => None,
    });
    published.chain(one_to_one).chain(source).collect()
}

fn inside(networks: &[(&str, &str)]) -> Segment {
    let parsed =
        |(net, ip): &(&str, &str)| (net.parse().expect("a network"), ip.parse().expect("an address"));
    Segment { networks: networks.iter().map(parsed).collect(), ..Segment::default() }
}
