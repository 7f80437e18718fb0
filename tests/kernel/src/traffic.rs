//! Which packets to send: inside and just outside of what the policy speaks of.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rempart_config::model::{Endpoint, Flow, ICMP, ICMP6, ServiceAtom, TCP, UDP};
use rempart_config::space::{AddressSet, Family, Scalar, Set};
use rempart_plan::eval::{Arrival, Packet, has_ports};
use rempart_plan::ha::ports;
use rempart_plan::world::Hop;

use crate::policy::Policy;
use crate::random::Random;

/// Protocols that the kernel tracks by their addresses alone, so that two packets between the same hosts are one
/// connection.
pub const PORTLESS: [u8; 4] = [47, 50, 89, 99];

/// The groups that every host joins, IPv4 and IPv6.
const GROUPS: [&str; 2] = ["224.0.0.1", "ff02::1"];
const UDP_LITE: u8 = 136;

/// Makes packets for one policy.
#[derive(Debug)]
pub struct Traffic<'a> {
    policy: &'a Policy,
    addresses: [Vec<IpAddr>; 2],
    services: Vec<(u8, u16)>,
    next_port: u16,
}

impl<'a> Traffic<'a> {
    /// For `policy`.
    pub fn new(policy: &'a Policy) -> Self {
        let mut set = BTreeSet::new();
        let model = &policy.model;
        for flow in &model.flows {
            for end in flow.from.iter().chain(&flow.to) {
                edges(&end.hosts.fixed, &mut set);
            }
            set.extend(flow.publish.iter().filter_map(|p| p.address));
        }
        for rule in &model.nat.source {
            rule.from.iter().chain(&rule.to).for_each(|end| edges(&end.hosts.fixed, &mut set));
        }
        for one in &model.nat.one_to_one {
            edges(&AddressSet::network(one.outside), &mut set);
            edges(&AddressSet::network(one.inside), &mut set);
        }
        for leg in &policy.plan.world.legs {
            for net in &leg.addresses {
                set.insert(net.addr());
                edges(&AddressSet::network(net.trunc()), &mut set);
            }
            set.extend(&leg.public);
        }
        policy.facts.blocklists.values().for_each(|list| edges(list, &mut set));
        policy.facts.live.iter().for_each(|live| edges(live, &mut set));
        model.vpn_groups.values().for_each(|group| edges(&group.addresses(), &mut set));
        model.routes.iter().for_each(|route| edges(&AddressSet::network(route.to), &mut set));
        for fixed in
            ["8.8.4.4", "169.254.9.9", "100.64.1.1", "10.99.99.99", "2001:db8:ffff::1", "100::7", "fd99::1"]
        {
            set.extend(fixed.parse::<IpAddr>().ok());
        }
        let of = |family| set.iter().copied().filter(|a| Family::of(*a) == family).collect();
        let services = model.flows.iter().flat_map(|f| &f.services);
        let services = services.chain(model.nat.source.iter().flat_map(|s| &s.services)).chain(&model.noise);
        let mut services: BTreeSet<(u8, u16)> = services.flat_map(service_edges).collect();
        for flow in &model.flows {
            if let Some(port) = flow.publish.as_ref().and_then(|p| p.port) {
                services.extend([(TCP, port), (TCP, port + 1), (UDP, port), (TCP, port - 1)]);
            }
        }
        services.extend([(TCP, 7), (UDP, 7), (ICMP, 8), (ICMP6, 128), (47, 0)]);
        services.extend((ports::HEARTBEAT - 1..=ports::PAIRING).map(|port| (UDP, port)));
        if let Some(vpn) = &model.vpn {
            let tcp = vpn.tcp.iter().map(|tcp| (TCP, tcp.port));
            services.extend([(UDP, vpn.udp.port), (TCP, vpn.udp.port)].into_iter().chain(tcp));
        }
        Self {
            policy,
            addresses: [of(Family::V4), of(Family::V6)],
            services: services.into_iter().collect(),
            next_port: 20_000,
        }
    }

    /// A packet of a new connection.
    pub fn next(&mut self, r: &mut Random) -> Packet {
        loop {
            let packet = self.attempt(r);
            if !self.is_meant(&packet) {
                continue;
            }
            return packet;
        }
    }

    fn attempt(&mut self, r: &mut Random) -> Packet {
        let packet = self.outside_of_wireguard(r);
        if r.chance(4)
            && let Some(packet) = self.to_remote_access(r, packet)
        {
            return packet;
        }
        // Now and then what the nodes of a pair tell each other, or nearly.
        let paths = self.policy.plan.world.ha.as_ref().map_or(&[][..], |ha| &ha.paths);
        if paths.is_empty() || !r.chance(4) {
            return packet;
        }
        let (path, other) = (r.pick(paths), r.pick(paths));
        let (source, destination) =
            if r.chance(80) { (path.remote, path.local) } else { (path.remote, other.local) };
        let by = if r.chance(80) { path } else { other };
        let port = ports::HEARTBEAT - 1 + r.below(5) as u16;
        match (self.policy.plan.world.leg_of(&by.device), r.chance(25)) {
            (_, true) => Packet {
                arrival: Arrival::Local,
                source: destination,
                destination: source,
                protocol: UDP,
                port,
                ..packet
            },
            (Some(leg), false) => {
                Packet { arrival: Arrival::Leg(leg), source, destination, protocol: UDP, port, ..packet }
            }
            (None, false) => packet,
        }
    }

    /// To a place that remote access listens on, or from it.
    fn to_remote_access(&self, r: &mut Random, packet: Packet) -> Option<Packet> {
        let listening = &self.policy.plan.world.vpn.as_ref()?.listening;
        let protocol = if r.chance(60) { UDP } else { TCP };
        let list = if protocol == UDP { &listening.udp } else { &listening.tcp };
        let places: Vec<_> = list.iter().filter(|p| p.is_ipv4() == packet.source.is_ipv4()).collect();
        let place = if places.is_empty() { return None } else { *r.pick(&places) };
        let inward = Packet { destination: place.ip(), port: place.port(), protocol, ..packet };
        if packet.arrival != Arrival::Local && r.chance(75) {
            return Some(Packet { source_port: self.next_port, ..inward });
        }
        // Each to another port, so that no two are one connection.
        let destination = if packet.arrival == Arrival::Local { packet.destination } else { packet.source };
        Some(Packet {
            arrival: Arrival::Local,
            source: place.ip(),
            destination,
            protocol,
            source_port: place.port(),
            port: self.next_port,
        })
    }

    /// Now and then a datagram of WireGuard, or nearly.
    fn outside_of_wireguard(&mut self, r: &mut Random) -> Packet {
        let packet = self.anything(r);
        let port = self.policy.model.wireguard.as_ref().map(|wireguard| wireguard.port);
        match port.filter(|_| r.chance(6)) {
            Some(port) if r.chance(50) => Packet { protocol: UDP, port: port + r.below(2) as u16, ..packet },
            // Several to one host and port would be one connection.
            Some(port) => Packet { protocol: UDP, source_port: port, port: packet.source_port, ..packet },
            None => packet,
        }
    }

    fn anything(&mut self, r: &mut Random) -> Packet {
        let flows = &self.policy.model.flows;
        let flow = if flows.is_empty() || r.chance(20) { None } else { Some(r.pick(flows)) };
        let family = if r.chance(65) { Family::V4 } else { Family::V6 };
        let world = &self.policy.plan.world;
        let mut source = flow.and_then(|f| self.in_side(r, &f.from, family));
        let mut destination = flow.and_then(|f| self.in_side(r, &f.to, family));
        let mut service = flow.and_then(|f| in_services(r, f, family));
        if let Some((flow, publish)) = flow.and_then(|f| Some((f, f.publish.as_ref()?)))
            && family == Family::V4
            && r.chance(75)
        {
            destination = publish.address.or_else(|| {
                let public = world.public_addresses(flow.from.iter().filter_map(|e| e.zone.as_ref()));
                let public: Vec<_> = public.into_iter().collect();
                if public.is_empty() { None } else { Some(IpAddr::V4(*r.pick(&public))) }
            });
            if let (Some(outside), Some((protocol, port)), true) = (publish.port, service, r.chance(80)) {
                let first =
                    flow.services.iter().flat_map(|s| s.axes(family)).map(|a| a.1.lo).min().unwrap_or(port);
                service = Some((protocol, outside.wrapping_add(port.wrapping_sub(first))));
            }
        }
        let all = &self.addresses[usize::from(family == Family::V6)];
        if source.is_none() || r.chance(7) {
            source = Some(*r.pick(all));
        }
        if destination.is_none() || r.chance(7) {
            destination = Some(*r.pick(all));
        }
        if service.is_none() || r.chance(7) {
            service = Some(*r.pick(&self.services));
        }
        let (Some(source), Some(mut destination), Some((protocol, port))) = (source, destination, service)
        else {
            unreachable!("each was set")
        };
        if r.chance(1) {
            let group = GROUPS[usize::from(family == Family::V6)];
            destination = group.parse().unwrap_or(destination);
        }
        let arrival = match world.route(source) {
            Some(Hop::Local) if r.chance(80) => Arrival::Local,
            Some(Hop::Leg(leg, _)) if r.chance(92) => Arrival::Leg(leg),
            _ => Arrival::Leg(r.below(world.legs.len())),
        };
        self.next_port = if self.next_port >= 60_000 { 20_000 } else { self.next_port + 1 };
        let source_port = if PORTLESS.contains(&protocol) { 0 } else { self.next_port };
        Packet { arrival, source, destination, protocol, source_port, port }
    }

    /// Whether the evaluator speaks about it at all.
    fn is_meant(&self, packet: &Packet) -> bool {
        let zone = |leg: usize| {
            let zone = self.policy.plan.world.legs[leg].zone.as_ref();
            zone.and_then(|z| self.policy.model.zones.get(z))
        };
        let own = self.policy.plan.world.route(packet.source) == Some(Hop::Local);
        let source = match (packet.source, packet.arrival) {
            (_, Arrival::Local) => own,
            // The kernel takes an IPv4 source of its own for a martian, if the policy does not before, and a
            // broadcast address always.
            (IpAddr::V4(a), Arrival::Leg(leg)) => {
                let guarded = zone(leg).is_some_and(|z| z.anti_spoof);
                let broadcast = self.policy.plan.world.is_broadcast(a);
                a.octets()[0] != 0
                    && a.octets()[0] != 127
                    && a.octets()[0] < 224
                    && !broadcast
                    && (guarded || !own)
            }
            (IpAddr::V6(a), Arrival::Leg(_)) => {
                !a.is_unspecified()
                    && !a.is_loopback()
                    && !a.is_multicast()
                    && !a.is_unicast_link_local()
                    && a.to_ipv4_mapped().is_none()
                    && a.segments()[..6] != [0; 6]
                    && !self.is_base(packet.source)
            }
        };
        // What is sent to groups that nobody joined never gets as far as the policy.
        let joined = GROUPS.iter().any(|g| g.parse() == Ok(packet.destination));
        let destination = match packet.destination {
            IpAddr::V4(a) => {
                let first = a.octets()[0];
                first != 0 && first != 127 && (first < 224 || joined || a.is_broadcast())
            }
            IpAddr::V6(a) => {
                let unicast = !a.is_loopback() && !a.is_unicast_link_local() && !a.is_multicast();
                (unicast && a.segments()[..6] != [0; 6]) || joined
            }
        };
        let loopback = packet.arrival == Arrival::Local
            && self.policy.plan.world.route(packet.destination) == Some(Hop::Local);
        let group = packet.arrival == Arrival::Local
            && (packet.destination.is_multicast()
                || matches!(packet.destination, IpAddr::V4(a) if self.policy.plan.world.is_broadcast(a)));
        // Linux checks UDP-Lite against the pseudo-header of UDP (`udplite_error` in
        // net/netfilter/nf_conntrack_proto_udp.c) and takes right packets for broken ones.
        let broken = packet.protocol == UDP_LITE;
        // The node sends none itself.
        let redirect = packet.arrival == Arrival::Local && (packet.protocol, packet.port) == (ICMP6, 137);
        // An echo to a group or to a router's anycast address is answered under another address, which tracking
        // does not recognise.
        let networks = self.policy.plan.world.legs.iter().flat_map(|l| &l.addresses);
        let anycast = packet.protocol == ICMP6
            && packet.port == 128
            && (joined || networks.filter(|n| n.addr().is_ipv6()).any(|n| n.network() == packet.destination));
        source && destination && !anycast && !redirect && !loopback && !group && !broken
    }

    /// The first address of a network behind a tunnel: the kernel takes it for the anycast address of routers there
    /// (`ipv6_anycast_destination` in include/net/ip6_route.h) and does not answer it, so a refusal cannot be told from a drop.
    fn is_base(&self, address: IpAddr) -> bool {
        let world = &self.policy.plan.world;
        let zones = world.legs.iter().filter_map(|leg| leg.zone.as_ref());
        let mut behind = zones.flat_map(|zone| world.networks_behind(zone));
        matches!(world.route(address), Some(Hop::Leg(_, None)))
            && behind.any(|net| net.prefix_len() < 127 && net.network() == address)
    }

    fn in_side(&self, r: &mut Random, ends: &[Endpoint], family: Family) -> Option<IpAddr> {
        let end = r.pick(ends);
        let hosts = self.policy.facts.resolve(&self.policy.model, &end.hosts);
        let whole = hosts == AddressSet::all();
        let near: Vec<IpAddr> = self.addresses[usize::from(family == Family::V6)]
            .iter()
            .copied()
            .filter(|a| hosts.contains(*a))
            .filter(|a| {
                let world = &self.policy.plan.world;
                let zone = match world.route(*a) {
                    Some(Hop::Leg(leg, _)) => world.legs[leg].zone.as_ref(),
                    Some(Hop::Local) => return end.zone.as_ref().is_some_and(|z| z.is_firewall()),
                    _ => None,
                };
                !whole || end.zone.is_none() || end.zone.as_ref() == zone
            })
            .collect();
        if near.is_empty() { None } else { Some(*r.pick(&near)) }
    }
}

fn in_services(r: &mut Random, flow: &Flow, family: Family) -> Option<(u8, u16)> {
    let mut axes: Vec<(u8, u16)> = Vec::new();
    for (protocol, ports) in flow.services.iter().flat_map(|s| s.axes(family)) {
        if protocol.lo != protocol.hi {
            axes.extend([
                (TCP, 81),
                (UDP, 4000),
                (if family == Family::V4 { ICMP } else { ICMP6 }, 128),
                (99, 0),
            ]);
            continue;
        }
        if has_ports(protocol.lo) || protocol.lo == ICMP || protocol.lo == ICMP6 {
            let middle = ports.lo + r.below(usize::from(ports.hi - ports.lo) + 1) as u16;
            axes.extend([ports.lo, ports.hi, middle].map(|port| (protocol.lo, port)));
        } else {
            axes.push((protocol.lo, 0));
        }
    }
    if axes.is_empty() {
        return None;
    }
    let (protocol, port) = *r.pick(&axes);
    let port = if protocol == ICMP || protocol == ICMP6 { port & 0xff } else { port };
    Some((protocol, port))
}

/// Both ends of each interval, and what lies just outside of them.
fn edges(set: &AddressSet, out: &mut BTreeSet<IpAddr>) {
    for address in around(&set.v4) {
        out.insert(IpAddr::V4(address.into()));
    }
    for address in around(&set.v6) {
        out.insert(IpAddr::V6(address.into()));
    }
}

fn around<T: Scalar>(set: &Set<T>) -> impl Iterator<Item = T> {
    let ends = |i: &rempart_config::space::Interval<T>| [Some(i.lo), Some(i.hi), i.lo.prev(), i.hi.next()];
    set.intervals().iter().flat_map(ends).flatten()
}

fn service_edges(service: &ServiceAtom) -> Vec<(u8, u16)> {
    match service {
        ServiceAtom::Any => vec![(99, 0), (89, 0)],
        ServiceAtom::Ports { protocol, ports } if matches!(*protocol, TCP | UDP | 136) => {
            around(ports).map(|port| (*protocol, port)).collect()
        }
        ServiceAtom::Ports { .. } => Vec::new(),
        ServiceAtom::Icmp(types) => around(types).map(|t| (ICMP, t.into())).collect(),
        ServiceAtom::Icmp6(types) => around(types).map(|t| (ICMP6, t.into())).collect(),
        ServiceAtom::Protocol(p) if PORTLESS.contains(p) => vec![(*p, 0)],
        ServiceAtom::Protocol(_) => Vec::new(),
    }
}
