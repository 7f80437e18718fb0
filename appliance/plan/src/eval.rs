//! The reference evaluator: what becomes of the first packet of a connection, worked out from the model
//! alone, flow by flow in the order of the document. It shares nothing with the compiler but the network it
//! stands in ([`World`]), so that comparing the two means something.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rempart_config::Model;
use rempart_config::model::{
    Action, Endpoint, Flow, ICMP, ICMP6, Name, Outbound, PORT_PROTOCOLS, ServiceAtom, SourceAddress, TCP,
    UDP, ZoneName, is_link_local,
};
use rempart_config::space::{AddressSet, Family};

use crate::compile::{automatic, counterpart, impossible_sources};
use crate::ha::{ADVERT, ADVERT_GROUP_V4, ADVERT_GROUP_V6, PathPlan, RouterPlan, ports};
use crate::wireguard::{OUTSIDE, switched_on};
use crate::world::{Hop, World};
use crate::{Facts, nft::Origin};

/// What decides about heartbeats, the journal and the peer channel ([`Decider::System`]).
pub const BETWEEN_NODES: &str = "what the nodes of a pair tell each other";

/// Where a packet comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// By a leg, by its index in [`World::legs`].
    Leg(usize),
    /// From the node itself.
    Local,
}

/// The first packet of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Where it comes from.
    pub arrival: Arrival,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, as the sender writes it.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port; 0 where there is none.
    pub source_port: u16,
    /// Destination port, or ICMP type; 0 where there is neither.
    pub port: u16,
}

/// What happens to a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// It goes through.
    Allow,
    /// It is refused with an answer.
    Reject,
    /// It is refused in silence.
    Drop,
}

/// What decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decider {
    /// A flow, by its index.
    Flow(usize),
    /// No flow: the final refusal.
    Default,
    /// No flow, and not worth a log entry.
    Noise,
    /// The source is not routed back the way it came.
    AntiSpoof,
    /// The source is private or a bogon.
    Impossible,
    /// A block list.
    Blocklist(Name),
    /// There is no route to the destination, or a blackhole.
    NoRoute,
    /// Nothing begins with such a packet: an ICMP answer or error without a connection that it belongs to.
    Invalid,
    /// Nobody is connected who has its source, or its destination: it came by the tunnel of remote access, or would
    /// go into it.
    NoSession,
    /// It is for remote access, which listens there; or remote access speaks first.
    RemoteAccess,
    /// What every host must let through: neighbour discovery, its own DHCP, the loopback.
    System(&'static str),
}

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What happens.
    pub verdict: Verdict,
    /// What decides it.
    pub decider: Decider,
    /// The zone that it comes from; `None` when the interface is in no zone.
    pub from: Option<ZoneName>,
    /// The zone that it goes to, as far as it got.
    pub to: Option<ZoneName>,
    /// Address and port after destination NAT, and what translated them.
    pub translated: Option<(IpAddr, u16, Origin)>,
    /// Where it is routed, as far as it got.
    pub hop: Option<Hop>,
    /// The source address that it leaves with, when that is not its own, and what changed it.
    pub source: Option<(IpAddr, Origin)>,
}

/// Judges packets.
#[derive(Clone, Debug)]
pub struct Evaluator<'a> {
    /// The policy.
    pub model: &'a Model,
    /// The network.
    pub world: &'a World,
    /// What else counts.
    pub facts: &'a Facts,
    /// The flows in force that name both zones, by their index and in order: a table of a quarter of a
    /// million connections is judged after each commit.
    by_pair: BTreeMap<(&'a ZoneName, &'a ZoneName), Vec<usize>>,
    impossible: BTreeMap<&'a ZoneName, AddressSet>,
    automatic: Vec<(ZoneName, ZoneName, AddressSet)>,
}

impl<'a> Evaluator<'a> {
    /// An evaluator of `model` in `world`.
    pub fn new(model: &'a Model, world: &'a World, facts: &'a Facts) -> Self {
        let mut by_pair: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let named = |ends: &'a [Endpoint], reflect: Option<&'a BTreeSet<ZoneName>>| {
            let every = ends.iter().any(|e| e.zone.is_none());
            let every = model.zones.keys().filter(move |z| every && !z.is_firewall());
            let zones = ends.iter().filter_map(|e| e.zone.as_ref()).chain(every);
            zones.chain(reflect.into_iter().flatten()).collect::<BTreeSet<_>>()
        };
        let in_force = model.flows.iter().enumerate().filter(|(_, f)| !facts.inactive.contains(&f.key));
        for (index, flow) in in_force {
            let to = named(&flow.to, None);
            for from in named(&flow.from, flow.publish.as_ref().map(|p| &p.reflect)) {
                to.iter().for_each(|to| by_pair.entry((from, *to)).or_default().push(index));
            }
        }
        let guarded =
            model.zones.iter().filter(|(n, z)| !n.is_firewall() && (z.block_private || z.block_bogons));
        let impossible = guarded.map(|(name, zone)| {
            let own: Vec<_> = world.legs_in(name).flat_map(|(_, l)| l.addresses.iter().copied()).collect();
            (name, impossible_sources(zone, &own))
        });
        let impossible = impossible.collect();
        Self { model, world, facts, by_pair, impossible, automatic: automatic(model, world) }
    }

    /// What becomes of `packet`.
    pub fn judge(&self, packet: &Packet) -> Outcome {
        let from = match packet.arrival {
            Arrival::Leg(leg) => self.world.legs[leg].zone.clone(),
            Arrival::Local => Some(firewall()),
        };
        let mut out = Outcome {
            verdict: Verdict::Drop,
            decider: Decider::Default,
            from,
            to: None,
            translated: None,
            hop: None,
            source: None,
        };
        if matches!(packet.arrival, Arrival::Leg(leg) if self.is_gone(leg, packet.source)) {
            out.decider = Decider::NoSession;
            return out;
        }
        if self.is_spoofed(packet) {
            out.decider = Decider::AntiSpoof;
            return out;
        }
        let between = self.between_nodes(packet);
        let tracking = if between.is_some() { Tracking::Untracked } else { tracking(packet) };
        // What is not tracked is not translated either.
        out.translated = if tracking == Tracking::New { self.translate(packet) } else { None };
        let (destination, port) =
            out.translated.map_or((packet.destination, packet.port), |(a, p, _)| (a, p));
        let inner = Packet { destination, port, ..*packet };
        let broadcast = matches!(destination, IpAddr::V4(a) if self.world.is_broadcast(a));
        let group = destination.is_multicast() || broadcast;
        out.hop = if group && packet.arrival != Arrival::Local {
            Some(Hop::Local)
        } else {
            self.world.route(destination)
        };
        let leg = match out.hop {
            None | Some(Hop::Blackhole) => {
                out.decider = Decider::NoRoute;
                out.verdict = if out.hop.is_none() { Verdict::Reject } else { Verdict::Drop };
                return out;
            }
            Some(Hop::Local) if packet.arrival == Arrival::Local => {
                out.to = Some(firewall());
                (out.verdict, out.decider) = (Verdict::Allow, Decider::System("loopback"));
                return out;
            }
            Some(Hop::Local) => {
                out.to = Some(firewall());
                None
            }
            Some(Hop::Leg(leg, _)) => {
                out.to = self.world.legs[leg].zone.clone();
                Some(leg)
            }
        };
        if leg.is_some_and(|leg| self.is_gone(leg, destination)) {
            out.decider = Decider::NoSession;
            return out;
        }
        if tracking == Tracking::Invalid {
            out.decider = Decider::Invalid;
            return out;
        }
        if let Some((verdict, what)) = between {
            (out.verdict, out.decider) = (verdict, Decider::System(what));
            return out;
        }
        if let Some(what) = self.is_essential(&inner, leg) {
            (out.verdict, out.decider) = (Verdict::Allow, Decider::System(what));
            return out;
        }
        if leg.is_none() && packet.arrival != Arrival::Local && self.is_silent(inner.destination) {
            out.decider = Decider::System("a virtual address with accept = false");
            return out;
        }
        if let Some(decider) = self.shield(&inner, out.from.as_ref(), out.to.as_ref()) {
            out.decider = decider;
            return out;
        }
        self.decide(&inner, leg, tracking, group, &mut out);
        if let (Verdict::Allow, Some(leg)) = (out.verdict, leg) {
            let via = match out.hop {
                Some(Hop::Leg(_, Some(router))) => router,
                _ => inner.destination,
            };
            out.source = self.leave_as(&inner, out.from.as_ref(), (leg, via), out.translated.is_some());
        }
        out
    }

    /// What becomes of a packet that nothing protects from: remote access, flows, and all else.
    fn decide(&self, inner: &Packet, leg: Option<usize>, tracking: Tracking, group: bool, out: &mut Outcome) {
        if self.is_remote_access(inner, leg) {
            (out.verdict, out.decider) = (Verdict::Allow, Decider::RemoteAccess);
            return;
        }
        let wireguard = self.is_wireguard(inner, leg);
        // A flow decides about connections, and these are none.
        let decision = match tracking {
            Tracking::New | Tracking::Invalid if wireguard => None,
            Tracking::Untracked => None,
            Tracking::New | Tracking::Invalid => {
                self.flow(inner, out.from.as_ref(), out.to.as_ref(), out.translated.is_some())
            }
        };
        out.decider = match decision {
            Some(index) => Decider::Flow(index),
            None if wireguard => Decider::System(OUTSIDE),
            None if group || self.model.noise.iter().any(|s| self.service_matches(s, inner)) => {
                Decider::Noise
            }
            None => Decider::Default,
        };
        let otherwise = if wireguard { Action::Allow } else { Action::Deny };
        let action = decision.map_or(otherwise, |index| self.model.flows[index].action);
        out.verdict = match self.verdict(action, out.from.as_ref()) {
            // Nobody is answered who speaks to everybody (RFC 1122 §3.2.2).
            Verdict::Reject if group => Verdict::Drop,
            verdict => verdict,
        };
    }

    /// Whether `leg` is the tunnel of remote access and nobody is connected who has `address`.
    fn is_gone(&self, leg: usize, address: IpAddr) -> bool {
        self.world.is_tunnel(leg) && self.facts.live.as_ref().is_some_and(|live| !live.contains(address))
    }

    /// Whether it goes to a place that remote access listens on, or comes from one: after a take-over it speaks first.
    fn is_remote_access(&self, packet: &Packet, leg: Option<usize>) -> bool {
        let Some(vpn) = &self.world.vpn else { return false };
        let zone = |leg: usize| self.world.legs[leg].zone.as_ref();
        let listens = |leg: usize| zone(leg).is_some_and(|z| vpn.listening.zones.contains(z));
        match (packet.arrival, leg) {
            (Arrival::Leg(by), None) => {
                let list = match packet.protocol {
                    UDP => &vpn.listening.udp,
                    TCP => &vpn.listening.tcp,
                    _ => return false,
                };
                listens(by) && list.contains(&(packet.destination, packet.port).into())
            }
            (Arrival::Local, Some(leg)) => {
                let from = (packet.source, packet.source_port).into();
                packet.protocol == UDP && listens(leg) && vpn.listening.udp.contains(&from)
            }
            (Arrival::Leg(_), Some(_)) | (Arrival::Local, None) => false,
        }
    }

    /// How an action looks to the sender.
    fn verdict(&self, action: Action, from: Option<&ZoneName>) -> Verdict {
        let outside = from.and_then(|z| self.model.zones.get(z)).is_some_and(|z| z.external);
        match action {
            Action::Allow => Verdict::Allow,
            Action::Drop => Verdict::Drop,
            Action::Deny if outside => Verdict::Drop,
            Action::Deny | Action::Reject => Verdict::Reject,
        }
    }

    fn is_spoofed(&self, packet: &Packet) -> bool {
        let Arrival::Leg(leg) = packet.arrival else { return false };
        let zone = self.world.legs[leg].zone.as_ref().and_then(|z| self.model.zones.get(z));
        let unspecified = packet.source.is_unspecified();
        let asks = unspecified && (packet.protocol == ICMP6 || (packet.protocol == UDP && packet.port == 67));
        let dhcp = self.model.interfaces.get(&self.world.legs[leg].interface).is_some_and(|i| i.dhcp);
        let answered = dhcp && packet.protocol == UDP && (packet.source_port, packet.port) == (67, 68);
        let link_local = matches!(packet.source, IpAddr::V6(a) if a.is_unicast_link_local());
        zone.is_some_and(|z| z.anti_spoof)
            && !asks
            && !answered
            && !link_local
            && self.world.leg_towards(packet.source) != Some(leg)
    }

    /// Destination NAT: published services first, then one-to-one.
    fn translate(&self, packet: &Packet) -> Option<(IpAddr, u16, Origin)> {
        let Arrival::Leg(leg) = packet.arrival else { return None };
        let zone = self.world.legs[leg].zone.as_ref()?;
        for (index, flow) in self.model.flows.iter().enumerate() {
            if let Some((address, port)) = self.published(flow, packet, zone) {
                return Some((address, port, Origin::Flow(index)));
            }
        }
        self.model.nat.one_to_one.iter().enumerate().find_map(|(index, o)| {
            let inside = counterpart(packet.destination, o.outside, o.inside)?;
            Some((inside, packet.port, Origin::OneToOne(index)))
        })
    }

    fn published(&self, flow: &Flow, packet: &Packet, zone: &ZoneName) -> Option<(IpAddr, u16)> {
        let publish = flow.publish.as_ref()?;
        if self.facts.inactive.contains(&flow.key) || !publish.target.is_ipv4() {
            return None;
        }
        let meant = self.side(&flow.from, zone, packet.source) == Side::Matches;
        if !meant && !publish.reflect.contains(zone) {
            return None;
        }
        let asked_for = match publish.address {
            Some(address) => address == packet.destination,
            None => {
                let every = flow.from.iter().any(|e| e.zone.is_none());
                let mut zones: Vec<&ZoneName> = flow.from.iter().filter_map(|e| e.zone.as_ref()).collect();
                if every {
                    zones.extend(self.world.legs.iter().filter_map(|l| l.zone.as_ref()));
                }
                let public = self.world.public_addresses(zones);
                matches!(packet.destination, IpAddr::V4(a) if public.contains(&a))
            }
        };
        if !asked_for {
            return None;
        }
        let ports_of_protocol = flow.services.iter().filter_map(|s| match s {
            ServiceAtom::Ports { protocol, ports } if *protocol == packet.protocol => Some(ports),
            _ => None,
        });
        // With a port of its own the service is one range; it is moved as a whole.
        for ports in ports_of_protocol {
            let inside = match (publish.port, ports.intervals().first()) {
                (Some(outside), Some(range)) => {
                    packet.port.checked_sub(outside).and_then(|offset| range.lo.checked_add(offset))
                }
                _ => Some(packet.port),
            };
            if let Some(port) = inside.filter(|p| ports.contains(*p)) {
                return Some((publish.target, port));
            }
        }
        None
    }

    /// What passes between nodes without being tracked: what those of a pair tell each other, and the adverts of
    /// virtual routers.
    fn between_nodes(&self, packet: &Packet) -> Option<(Verdict, &'static str)> {
        let ha = self.world.ha.as_ref()?;
        let leg = |device: &str| self.world.leg_of(device);
        let datagram = packet.protocol == UDP && (ports::HEARTBEAT..=ports::CHANNEL).contains(&packet.port);
        let path = |p: &PathPlan| match packet.arrival {
            Arrival::Leg(by) => {
                leg(&p.device) == Some(by) && (packet.source, packet.destination) == (p.remote, p.local)
            }
            Arrival::Local => (packet.source, packet.destination) == (p.local, p.remote),
        };
        if datagram && ha.paths.iter().any(path) {
            return Some((Verdict::Allow, BETWEEN_NODES));
        }
        let Arrival::Leg(by) = packet.arrival else { return None };
        if packet.protocol != ADVERT {
            return None;
        }
        let here = || ha.routers.iter().filter(|r| leg(&r.parent) == Some(by));
        let group = |r: &RouterPlan| {
            let near = match r.local {
                Some(local) => {
                    let nets = self.world.legs[by].addresses.iter();
                    packet.destination == ADVERT_GROUP_V4
                        && nets.filter(|n| n.addr() == local).any(|n| n.contains(&packet.source))
                }
                None => packet.destination == ADVERT_GROUP_V6 && is_link_local(packet.source),
            };
            r.unicast.is_empty() && near
        };
        let alone = |r: &RouterPlan| {
            let to_us = match r.local {
                Some(local) => packet.destination == local,
                None => self.world.route(packet.destination) == Some(Hop::Local),
            };
            to_us && r.unicast.contains(&packet.source)
        };
        if here().any(group) {
            return Some((Verdict::Allow, "adverts of virtual routers"));
        }
        here().any(alone).then_some((Verdict::Drop, "adverts of virtual routers, which the elector has read"))
    }

    /// Whether `address` is a virtual one that serves as a next hop alone.
    fn is_silent(&self, address: IpAddr) -> bool {
        let mut routers = self.world.ha.iter().flat_map(|ha| &ha.routers).filter(|r| !r.accept);
        routers.any(|r| r.addresses.iter().any(|net| net.addr() == address))
    }

    /// What the frame of the policy lets through without a flow.
    fn is_essential(&self, packet: &Packet, leg: Option<usize>) -> Option<&'static str> {
        let dhcp =
            |leg: usize| self.model.interfaces.get(&self.world.legs[leg].interface).is_some_and(|i| i.dhcp);
        let slaac =
            |leg: usize| self.model.interfaces.get(&self.world.legs[leg].interface).is_some_and(|i| i.slaac);
        let v6 = packet.source.is_ipv6() && packet.protocol == ICMP6;
        let udp = packet.source.is_ipv4() && packet.protocol == UDP;
        match (packet.arrival, leg) {
            (Arrival::Leg(_), None) if v6 && matches!(packet.port, 135 | 136) => Some("neighbour discovery"),
            (Arrival::Leg(_), None) if v6 && packet.port == 130 && is_link_local(packet.source) => {
                Some("multicast membership")
            }
            (Arrival::Leg(by), None) if v6 && packet.port == 134 && slaac(by) => Some("router advertisement"),
            (Arrival::Leg(by), None) if udp && (packet.source_port, packet.port) == (67, 68) && dhcp(by) => {
                Some("DHCP")
            }
            (Arrival::Local, Some(_)) if v6 && matches!(packet.port, 131 | 133 | 135 | 136 | 143) => {
                Some("neighbour discovery")
            }
            (Arrival::Local, Some(by))
                if udp && (packet.source_port, packet.port) == (68, 67) && dhcp(by) =>
            {
                Some("DHCP")
            }
            _ => None,
        }
    }

    /// Whether it is a datagram of WireGuard, from outside to the node or from it.
    fn is_wireguard(&self, packet: &Packet, leg: Option<usize>) -> bool {
        let Some(wireguard) = switched_on(self.model) else { return false };
        let outside = |leg: usize| {
            let zone = self.world.legs.get(leg).and_then(|l| l.zone.as_ref());
            packet.protocol == UDP && zone.is_some_and(|zone| wireguard.zones.contains(zone))
        };
        match (packet.arrival, leg) {
            (Arrival::Leg(by), None) => outside(by) && packet.port == wireguard.port,
            (Arrival::Local, Some(by)) => outside(by) && packet.source_port == wireguard.port,
            (Arrival::Leg(_), Some(_)) | (Arrival::Local, None) => false,
        }
    }

    /// Impossible sources and block lists, for new connections.
    fn shield(&self, packet: &Packet, from: Option<&ZoneName>, to: Option<&ZoneName>) -> Option<Decider> {
        if from.and_then(|z| self.impossible.get(z)).is_some_and(|s| s.contains(packet.source)) {
            return Some(Decider::Impossible);
        }
        let listed =
            |name: &Name, address| self.facts.blocklists.get(name).is_some_and(|s| s.contains(address));
        let applies =
            |zones: &BTreeSet<ZoneName>, zone: Option<&ZoneName>| zone.is_some_and(|z| zones.contains(z));
        let hit = |address, zone| {
            let lists = self.model.blocklists.iter();
            lists.filter(|(_, l)| applies(&l.zones, zone)).find(|(n, _)| listed(n, address)).map(|(n, _)| n)
        };
        hit(packet.source, from).or_else(|| hit(packet.destination, to)).cloned().map(Decider::Blocklist)
    }

    /// The first flow in force that matches, by its index.
    fn flow(
        &self,
        packet: &Packet,
        from: Option<&ZoneName>,
        to: Option<&ZoneName>,
        translated: bool,
    ) -> Option<usize> {
        let (from, to) = (from?, to?);
        let candidates = self.by_pair.get(&(from, to))?;
        let matches = |index: &&usize| {
            self.mismatches(&self.model.flows[**index], packet, from, to, translated).is_empty()
        };
        candidates.iter().find(matches).copied()
    }

    /// What about `packet` does not match `flow`; empty when it matches.
    pub fn mismatches(
        &self,
        flow: &Flow,
        packet: &Packet,
        from: &ZoneName,
        to: &ZoneName,
        translated: bool,
    ) -> Vec<Mismatch> {
        let mut out = Vec::new();
        let v4 = packet.destination.is_ipv4();
        let reflected = flow.publish.as_ref().is_some_and(|p| v4 && p.reflect.contains(from));
        match self.side(&flow.from, from, packet.source) {
            Side::Matches => {}
            _ if reflected => {}
            Side::OtherZone => out.push(Mismatch::FromZone),
            Side::OtherHost => out.push(Mismatch::Source),
        }
        match (&flow.publish, self.side(&flow.to, to, packet.destination)) {
            (_, Side::OtherZone) => out.push(Mismatch::ToZone),
            (Some(publish), _) if v4 => {
                if publish.target != packet.destination {
                    out.push(Mismatch::Destination);
                } else if !translated {
                    out.push(Mismatch::Untranslated);
                }
            }
            (_, Side::OtherHost) => out.push(Mismatch::Destination),
            (_, Side::Matches) => {}
        }
        if !flow.services.iter().any(|s| self.service_matches(s, packet)) {
            out.push(Mismatch::Service);
        }
        out
    }

    fn service_matches(&self, service: &ServiceAtom, packet: &Packet) -> bool {
        service.matches(Family::of(packet.destination), packet.protocol, packet.port)
    }

    fn side(&self, ends: &[Endpoint], zone: &ZoneName, address: IpAddr) -> Side {
        let mut best = Side::OtherZone;
        for end in ends {
            let in_zone = end.zone.as_ref().map_or(!zone.is_firewall(), |z| z == zone);
            if in_zone {
                if self.facts.contains(self.model, &end.hosts, address) {
                    return Side::Matches;
                }
                best = Side::OtherHost;
            }
        }
        best
    }

    /// Source NAT: reflection, one-to-one, the operator's rules, the automatic ones.
    fn leave_as(
        &self,
        packet: &Packet,
        from: Option<&ZoneName>,
        (leg, via): (usize, IpAddr),
        translated: bool,
    ) -> Option<(IpAddr, Origin)> {
        let family = Family::of(packet.source);
        let to = self.world.legs[leg].zone.as_ref();
        let interface = |origin| self.world.source_address(leg, via).map(|a| (a, origin));
        if translated && from.is_some() && from == to {
            return interface(Origin::Frame);
        }
        let out_by = &self.world.legs[leg].interface;
        for (index, o) in self.model.nat.one_to_one.iter().enumerate() {
            if o.interface == *out_by
                && let Some(outside) = counterpart(packet.source, o.inside, o.outside)
            {
                return Some((outside, Origin::OneToOne(index)));
            }
        }
        let (from, to) = (from?, to?);
        if self.model.nat.outbound != Outbound::Automatic {
            for (index, rule) in self.model.nat.source.iter().enumerate() {
                let fits = match rule.address {
                    SourceAddress::Address(a) => Family::of(a) == family,
                    SourceAddress::Interface => family == Family::V4,
                    SourceAddress::Keep => true,
                };
                if fits
                    && self.side(&rule.from, from, packet.source) == Side::Matches
                    && self.side(&rule.to, to, packet.destination) == Side::Matches
                    && rule.services.iter().any(|s| self.service_matches(s, packet))
                {
                    let origin = Origin::SourceNat(index);
                    return match rule.address {
                        SourceAddress::Keep => None,
                        SourceAddress::Interface => interface(origin),
                        SourceAddress::Address(a) => Some((a, origin)),
                    };
                }
            }
        }
        let automatic = self.model.nat.outbound != Outbound::Manual
            && self
                .automatic
                .iter()
                .any(|(f, t, sources)| f == from && t == to && sources.contains(packet.source));
        if automatic { interface(Origin::Frame) } else { None }
    }
}

/// One thing that keeps a packet from matching a flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mismatch {
    /// It comes from another zone.
    FromZone,
    /// It goes to another zone.
    ToZone,
    /// Another source address.
    Source,
    /// Another destination address.
    Destination,
    /// Another protocol or port.
    Service,
    /// The flow publishes its target, and the packet asks for it by its inside address.
    Untranslated,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Matches,
    OtherHost,
    OtherZone,
}

/// What connection tracking makes of a packet without a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tracking {
    New,
    /// Neighbour discovery, multicast membership and multicast routers, which never leave the link
    /// (net/netfilter/nf_conntrack_proto_icmpv6.c, `noct_valid_new`).
    Untracked,
    Invalid,
}

fn tracking(packet: &Packet) -> Tracking {
    match (packet.source, packet.protocol, packet.port) {
        // Requests alone begin something (nf_conntrack_proto_icmp.c and …_icmpv6.c, `valid_new`).
        (IpAddr::V4(_), ICMP, 8 | 13 | 15 | 17) | (IpAddr::V6(_), ICMP6, 128 | 139) => Tracking::New,
        (IpAddr::V6(_), ICMP6, 130..=136 | 143 | 151 | 152) => Tracking::Untracked,
        (_, ICMP | ICMP6, _) => Tracking::Invalid,
        _ => Tracking::New,
    }
}

fn firewall() -> ZoneName {
    ZoneName::new(rempart_config::model::FIREWALL)
}

/// Whether `protocol` has ports.
pub fn has_ports(protocol: u8) -> bool {
    PORT_PROTOCOLS.contains(&protocol)
}
