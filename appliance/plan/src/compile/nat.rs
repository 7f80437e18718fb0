//! Address translation: published services, one-to-one, reflection, outbound.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use rempart_config::Model;
use rempart_config::model::{Flow, Outbound, PORT_PROTOCOLS, ServiceAtom, SourceAddress, ZoneName};
use rempart_config::space::{AddressSet, Cell, Family, Interval};

use super::key::Key;
use super::tables::{self, Class, Line, Use};
use super::{any_device, quoted_devices};
use crate::classify::{Lane, group};
use crate::expand::{by_zone, product, service_axes};
use crate::nft::{Chain, Content, Map, Origin, Ruleset};
use crate::{Facts, World};

/// The networks whose hosts leave an external zone under the interface's address when outbound NAT is
/// automatic: those that the Internet does not route (RFC 1918, RFC 6598, RFC 3927). Public networks inside
/// leave under their own addresses.
const TRANSLATED: &[&str] =
    &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"];

pub fn write(rs: &mut Ruleset, model: &Model, world: &World, facts: &Facts) {
    write_in(rs, model, world, facts);
    write_out(rs, model, world, facts);
}

/// Where a published service goes: the host, and the port there when it differs from the one asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Target {
    host: Ipv4Addr,
    port: Option<u16>,
}

impl Target {
    /// nft's spelling, as the value of a map.
    fn value(self) -> String {
        match self.port {
            Some(port) => format!("{} . {port}", self.host),
            None => self.host.to_string(),
        }
    }
}

/// What is translated in one zone: who asks (`source`) for what, and where it goes.
type Inward = BTreeMap<ZoneName, Vec<(Cell, Target, Origin)>>;

/// Adds what a published flow translates. Nothing while its outside address is not known (no lease yet).
fn publish(out: &mut Inward, model: &Model, world: &World, facts: &Facts, flow: &Flow, origin: Origin) {
    let Some(publish) = &flow.publish else { return };
    let IpAddr::V4(host) = publish.target else { return };
    let mut clients = by_zone(model, facts, &flow.from);
    let addresses = match publish.address {
        Some(IpAddr::V4(address)) => BTreeSet::from([address]),
        Some(IpAddr::V6(_)) => BTreeSet::new(),
        None => world.public_addresses(clients.keys().copied()),
    };
    for zone in &publish.reflect {
        clients.insert(zone, AddressSet::all());
    }
    let ports = flow.services.iter().filter(|s| matches!(s, ServiceAtom::Ports { .. }));
    let ports: Vec<ServiceAtom> = ports.cloned().collect();
    let mut asked = Vec::new();
    for (protocol, inside) in service_axes(&ports, Family::V4) {
        match publish.port.filter(|p| *p != inside.lo) {
            None => asked.push((protocol, inside, Target { host, port: None })),
            Some(first) => {
                asked.extend((first..=u16::MAX).zip(inside.lo..=inside.hi).map(|(outside, port)| {
                    (protocol, Interval::one(outside), Target { host, port: Some(port) })
                }))
            }
        }
    }
    for (zone, sources) in clients {
        let list = out.entry(zone.clone()).or_default();
        for source in sources.wide(Family::V4) {
            for address in &addresses {
                let destination = Interval::one(u128::from(u32::from(*address)));
                let cell =
                    |(protocol, port, target)| (Cell { source, destination, protocol, port }, target, origin);
                list.extend(asked.iter().copied().map(cell));
            }
        }
    }
}

fn write_in(rs: &mut Ruleset, model: &Model, world: &World, facts: &Facts) {
    let mut inward = Inward::new();
    for (index, flow) in model.flows.iter().enumerate().filter(|(_, f)| !facts.inactive.contains(&f.key)) {
        publish(&mut inward, model, world, facts, flow, Origin::Flow(index));
    }
    let mut chain = Chain::hooked("type nat hook prerouting priority -100; policy accept;");
    let mut zones = BTreeMap::new();
    for (zone, list) in inward.iter().filter(|(_, list)| !list.is_empty()) {
        let name = format!("nat.in.{zone}");
        write_published(rs, &name, list);
        for device in world.legs_in(zone).flat_map(|(_, leg)| quoted_devices(leg)) {
            zones.insert(device, (format!("jump {name}"), Origin::Frame));
        }
    }
    if !zones.is_empty() {
        add_index(rs, "nat.zones", "ifname : verdict", zones);
        chain.rule("iifname vmap @nat.zones");
    }
    for (family, word, kind) in FAMILIES {
        let pairs = model.nat.one_to_one.iter().enumerate();
        let elements: BTreeMap<_, _> = pairs
            .filter(|(_, o)| Family::of(o.outside.addr()) == family)
            .map(|(n, o)| {
                (o.outside.trunc().to_string(), (o.inside.trunc().to_string(), Origin::OneToOne(n)))
            })
            .collect();
        if !elements.is_empty() {
            let name = format!("one.in.{word}");
            add_map(rs, &name, format!("{kind} : interval {kind}"), elements);
            chain.rule(format!("dnat {word} prefix to {word} daddr map @{name}"));
        }
    }
    rs.chains.insert("nat.in".into(), chain);
}

/// The chain of one zone. Two flows may publish one address and port to different hosts for different clients,
/// and the first that matches decides: the grouping law holds here too.
fn write_published(rs: &mut Ruleset, name: &str, list: &[(Cell, Target, Origin)]) {
    let mut chain = Chain::default();
    let lines = list.iter().map(|(cell, target, origin)| (target.port.is_some(), *cell, (*target, *origin)));
    for (n, group) in group(lines).into_iter().enumerate() {
        let map = format!("{name}.{n}");
        let value = if group.lane { "ipv4_addr . inet_service" } else { "ipv4_addr" };
        let cells = group.cells.iter().map(|(cell, _)| cell);
        let key = Key::of_intervals(Family::V4, Class::Ports.fields(), cells);
        let element = |(cell, (target, origin)): (Cell, (Target, Origin))| {
            (key.element(&cell), (target.value(), origin))
        };
        let elements = group.cells.into_iter().map(element).collect();
        add_map(rs, &map, format!("{} : {value}", key.kind()), elements);
        // nft wants to be told that what it moves to another port has ports.
        let protocols = PORT_PROTOCOLS.map(|p| p.to_string()).join(", ");
        let with_ports = if group.lane { format!("meta l4proto {{ {protocols} }} ") } else { String::new() };
        chain.rule(format!("{with_ports}dnat ip to {} map @{map}", key.expressions()));
    }
    rs.chains.insert(name.to_owned(), chain);
}

const FAMILIES: [(Family, &str, &str); 2] =
    [(Family::V4, "ip", "ipv4_addr"), (Family::V6, "ip6", "ipv6_addr")];

type Elements = BTreeMap<String, (String, Origin)>;

/// Adds an interval map of the policy.
fn add_map(rs: &mut Ruleset, name: &str, kind: String, elements: Elements) {
    let content = Content::Elements(elements);
    rs.maps.insert(name.into(), Map { kind, options: "flags interval;".into(), content });
}

/// Adds a map that leads from devices to chains.
fn add_index(rs: &mut Ruleset, name: &str, kind: &str, elements: Elements) {
    let content = Content::Index(elements);
    rs.maps.insert(name.into(), Map { kind: kind.into(), options: String::new(), content });
}

fn write_out(rs: &mut Ruleset, model: &Model, world: &World, facts: &Facts) {
    let mut chain = Chain::hooked("type nat hook postrouting priority 100; policy accept;");
    write_reflection(&mut chain, world);
    for (interface, leg) in world.legs.iter().map(|l| (&l.interface, l)) {
        for (family, word, kind) in FAMILIES {
            let pairs = model.nat.one_to_one.iter().enumerate();
            let elements: BTreeMap<_, _> = pairs
                .filter(|(_, o)| o.interface == *interface && Family::of(o.outside.addr()) == family)
                .map(|(n, o)| {
                    (o.inside.trunc().to_string(), (o.outside.trunc().to_string(), Origin::OneToOne(n)))
                })
                .collect();
            if !elements.is_empty() {
                let name = format!("one.out.{interface}.{word}");
                add_map(rs, &name, format!("{kind} : interval {kind}"), elements);
                let devices = any_device(leg);
                chain.rule(format!("oifname {devices} snat {word} prefix to {word} saddr map @{name}"));
            }
        }
    }
    write_outbound(rs, &mut chain, model, world, facts);
    rs.chains.insert("nat.out".into(), chain);
}

/// A client that reaches a published server of its own zone by the outside address must have its answers
/// come back this way, so it is seen under the firewall's address.
fn write_reflection(chain: &mut Chain, world: &World) {
    let mut pairs = Vec::new();
    for a in world.legs.iter().filter(|l| l.zone.is_some()) {
        for b in world.legs.iter().filter(|b| b.zone == a.zone) {
            for a in quoted_devices(a) {
                pairs.extend(quoted_devices(b).map(|b| format!("{a} . {b}")));
            }
        }
    }
    if !pairs.is_empty() {
        let pairs = pairs.join(", ");
        chain.rule(format!("ct status dnat iifname . oifname {{ {pairs} }} goto nat.interface"));
    }
}

fn write_outbound(rs: &mut Ruleset, chain: &mut Chain, model: &Model, world: &World, facts: &Facts) {
    let mut lines: BTreeMap<(ZoneName, ZoneName), BTreeMap<Family, Vec<Line>>> = BTreeMap::new();
    if model.nat.outbound != Outbound::Automatic {
        for (index, rule) in model.nat.source.iter().enumerate() {
            let origin = Origin::SourceNat(index);
            let verdict = match rule.address {
                SourceAddress::Keep => "accept".to_owned(),
                SourceAddress::Interface => "goto nat.interface".to_owned(),
                SourceAddress::Address(address) => {
                    let name = format!("nat.to.{index}");
                    let word = if address.is_ipv4() { "ip" } else { "ip6" };
                    let to = rs.chains.entry(name.clone()).or_default();
                    to.rule_of(origin, format!("snat {word} to {address}"));
                    format!("goto {name}")
                }
            };
            for slice in product(model, facts, &rule.from, &rule.to, &rule.services) {
                let family_fits = match rule.address {
                    SourceAddress::Address(a) => Family::of(a) == slice.family,
                    SourceAddress::Interface => slice.family == Family::V4,
                    SourceAddress::Keep => true,
                };
                if family_fits {
                    let list =
                        lines.entry((slice.from, slice.to)).or_default().entry(slice.family).or_default();
                    let cells = slice.cells.into_iter();
                    list.extend(cells.map(|c| (Lane::Any, c, (verdict.clone(), origin))));
                }
            }
        }
    }
    if model.nat.outbound != Outbound::Manual {
        for (from, to, sources) in automatic(model, world) {
            let list = lines.entry((from, to)).or_default().entry(Family::V4).or_default();
            for source in sources.wide(Family::V4) {
                let cell = Cell { source, destination: ALL_V4, protocol: Interval::ALL, port: Interval::ALL };
                list.push((Lane::Any, cell, ("goto nat.interface".to_owned(), Origin::Frame)));
            }
        }
    }
    write_interface(rs, world);
    write_outbound_dispatch(rs, chain, world, &lines);
    for ((from, to), lines) in &lines {
        tables::write(rs, &format!("nat.pair.{from}.{to}"), lines, Use::Verdict, "accept");
    }
}

const ALL_V4: Interval<u128> = Interval { lo: 0, hi: u32::MAX as u128 };

/// The automatic outbound rules: which sources are translated from which inside zone to which external one.
pub fn automatic(model: &Model, world: &World) -> Vec<(ZoneName, ZoneName, AddressSet)> {
    let translated: Vec<_> =
        TRANSLATED.iter().filter_map(|n| n.parse().ok()).map(AddressSet::network).collect();
    let translated = AddressSet::union_of(&translated);
    let external = |z: &ZoneName| model.zones.get(z).is_some_and(|z| z.external);
    let mut out = Vec::new();
    for from in model.zones.keys().filter(|z| !z.is_firewall() && !external(z)) {
        let behind: Vec<_> = world.networks_behind(from).into_iter().map(AddressSet::network).collect();
        let sources = AddressSet::union_of(&behind).intersect(&translated);
        if sources.is_empty() {
            continue;
        }
        for to in model.zones.keys().filter(|z| external(z)) {
            out.push((from.clone(), to.clone(), sources.clone()));
        }
    }
    out
}

/// "Under the interface's address": the virtual one where there is one, or else whichever the device has.
fn write_interface(rs: &mut Ruleset, world: &World) {
    let mut chain = Chain::default();
    for leg in &world.legs {
        for (family, word, _) in FAMILIES {
            if let Some(address) = leg.virtual_source(family) {
                let nfproto = if family == Family::V4 { "ipv4" } else { "ipv6" };
                let devices = any_device(leg);
                chain.rule(format!("oifname {devices} meta nfproto {nfproto} snat {word} to {address}"));
            }
        }
    }
    chain.rule("masquerade");
    rs.chains.insert("nat.interface".into(), chain);
}

fn write_outbound_dispatch(
    rs: &mut Ruleset,
    chain: &mut Chain,
    world: &World,
    lines: &BTreeMap<(ZoneName, ZoneName), BTreeMap<Family, Vec<Line>>>,
) {
    let mut forwarded = BTreeMap::new();
    let mut local = BTreeMap::new();
    for (from, to) in lines.keys() {
        let verdict = (format!("goto nat.pair.{from}.{to}"), Origin::Frame);
        for b in world.legs_in(to).flat_map(|(_, leg)| quoted_devices(leg)) {
            if from.is_firewall() {
                local.insert(b.clone(), verdict.clone());
            }
            for a in world.legs_in(from).flat_map(|(_, leg)| quoted_devices(leg)) {
                forwarded.insert(format!("{a} . {b}"), verdict.clone());
            }
        }
    }
    if !forwarded.is_empty() {
        add_index(rs, "nat.pairs", "ifname . ifname : verdict", forwarded);
        chain.rule("iifname . oifname vmap @nat.pairs");
    }
    if !local.is_empty() {
        add_index(rs, "nat.local", "ifname : verdict", local);
        chain.rule("fib saddr type local oifname vmap @nat.local");
    }
}

/// The network of a one-to-one translation that `address` is in, and its counterpart.
pub fn counterpart(address: IpAddr, from: IpNet, to: IpNet) -> Option<IpAddr> {
    if !from.contains(&address) {
        return None;
    }
    match (address, from, to) {
        (IpAddr::V4(a), IpNet::V4(from), IpNet::V4(to)) => {
            Some(IpAddr::V4(Ipv4Addr::from(u32::from(to.network()) | (u32::from(a) & host_bits(from)))))
        }
        (IpAddr::V6(a), IpNet::V6(from), IpNet::V6(to)) => {
            let mask = u128::from(from.hostmask());
            Some(IpAddr::V6((u128::from(to.network()) | (u128::from(a) & mask)).into()))
        }
        _ => None,
    }
}

fn host_bits(net: Ipv4Net) -> u32 {
    u32::from(net.hostmask())
}
