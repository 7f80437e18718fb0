//! `publish`: destination NAT that belongs to a flow, and what contradicts it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::World;
use super::flows::is_firewall;
use super::networks::own_v4;
use crate::decode::{At, Toggle};
use crate::draft::{FlowDraft, PublishDraft};
use crate::faults::{Faults, Span};
use crate::limits::MAX_SHIFTED_PORTS;
use crate::model::{Endpoint, Flow, Publish, RouteVia, ServiceAtom, ZoneName};
use crate::space::{AddressSet, Family, Interval};

/// Most published flows: each pair of them is compared.
const MAX_PUBLISHED: usize = 4_096;

impl World<'_> {
    #[allow(clippy::too_many_arguments)] // the parts of one flow, already resolved
    pub(super) fn publish(
        &self,
        draft: &FlowDraft,
        span: &Span,
        table: Option<&PublishDraft>,
        from: &[Endpoint],
        to: &[Endpoint],
        services: &[ServiceAtom],
        faults: &mut Faults,
    ) -> Option<Publish> {
        let from_span = draft.from.as_ref().map_or(span, |f| &f.span);
        let to_span = draft.to.as_ref().map_or(span, |t| &t.span);
        let zones = self.outside_zones(from, from_span, faults);
        let target = self.target(to, to_span, faults);
        let ports = check_services(services, draft.allow.as_ref().map_or(span, |a| &a.span), faults);
        let address = table.and_then(|t| t.address.as_ref());
        if let (Some(address), Some(zones)) = (address, &zones) {
            self.check_outside(address.value.0, &address.span, zones, faults);
        }
        let port = table.and_then(|t| t.port.as_ref());
        if let (Some(port), true) = (port, ports) {
            check_port(port.value.0, &port.span, services, faults);
        }
        let reflect = self.reflect(table.and_then(|t| t.reflect.as_ref()), from, faults);
        let port = port.and_then(|p| u16::try_from(p.value.0).ok());
        zones?;
        Some(Publish {
            address: address.map(|a| a.value.0),
            // The same number outside as inside is no shift.
            port: port.filter(|p| first_port(services) != Some(*p)),
            reflect: reflect?,
            target: target.filter(|_| ports)?,
        })
    }

    /// The zones that it is published to: those have interfaces, whose addresses are translated from.
    fn outside_zones(
        &self,
        from: &[Endpoint],
        span: &Span,
        faults: &mut Faults,
    ) -> Option<BTreeSet<ZoneName>> {
        let mut zones = BTreeSet::new();
        for endpoint in from {
            let zone = endpoint.zone.as_ref().filter(|z| !z.is_firewall() && !z.is_tunnel());
            let Some(zone) = zone else {
                faults
                    .error("publish-from", span, format!("nothing can be published to `{}`", endpoint.text))
                    .hint("`from` names the zones that reach the service by the box's address there, such as `wan`");
                return None;
            };
            zones.insert(zone.clone());
        }
        if !self.any_in(from, Family::V4) {
            faults
                .error("publish-from", span, "nothing is translated: `from` has only IPv6 addresses")
                .hint("IPv6 is reached under its own address: leave `publish` out");
            return None;
        }
        Some(zones)
    }

    /// The one IPv4 host that answers, in the zone that the flow names.
    fn target(&self, to: &[Endpoint], span: &Span, faults: &mut Faults) -> Option<IpAddr> {
        let mut fail = |message: &str| {
            faults
                .error("publish-target", span, message)
                .hint("for example to = \"dmz:web\", where `web` is one address");
            None
        };
        let [endpoint] = to else { return fail("a published flow has one target") };
        let zone = match &endpoint.zone {
            Some(zone) if !is_firewall(endpoint) && !zone.is_tunnel() => zone,
            _ => return fail("the target of a published flow is a host behind the box"),
        };
        if endpoint.hosts.negated || !endpoint.hosts.is_fixed() {
            return fail("the target of a published flow must have a fixed address");
        }
        let Some(target) = endpoint.hosts.fixed.single(Family::V4) else {
            return match endpoint.hosts.fixed.has(Family::V4) {
                true => fail("the target of a published flow is one IPv4 host, not several"),
                false => {
                    fail("the target has no IPv4 address; IPv6 needs no translation: leave `publish` out")
                }
            };
        };
        if let Some(other) = self.zone_of(target)
            && other.as_ref() != Some(zone)
        {
            let place = other.map_or("outside every zone".into(), |z| format!("in zone `{z}`"));
            faults
                .error("publish-target", span, format!("{target} is not in zone `{zone}`"))
                .label(format!("the box finds it {place}"))
                .hint("name the zone that the target's network or route is in");
            return None;
        }
        Some(target)
    }

    /// The zone that an address is reached in: `None` where the document cannot tell, `Some(None)` where its
    /// interface has no zone.
    fn zone_of(&self, address: IpAddr) -> Option<Option<ZoneName>> {
        let zone = |name| self.interfaces.get(name).and_then(|i| i.zone.clone());
        let connected = self.networks.find(address).map(|(net, interface)| (net.prefix_len(), interface));
        let routes = self.routes.iter().filter(|r| r.to.contains(&address)).filter_map(|r| match &r.via {
            RouteVia::Gateway { interface, .. } => Some((r.to.prefix_len(), interface)),
            RouteVia::Blackhole => None,
        });
        connected.into_iter().chain(routes).max_by_key(|(length, _)| *length).map(|(_, name)| zone(name))
    }

    /// Packets to an outside address must come to the box: it is one of its own, or in a network it is in.
    pub(super) fn check_outside(
        &self,
        address: IpAddr,
        span: &Span,
        zones: &BTreeSet<ZoneName>,
        faults: &mut Faults,
    ) {
        if address.is_ipv6() {
            faults
                .error("publish-address", span, format!("{address} is an IPv6 address"))
                .hint("IPv6 is published under its own address, without translation");
            return;
        }
        if let Some((net, _)) = self.networks.find(address) {
            let room = net.prefix_len() < 31;
            if room && (address == net.network() || address == net.broadcast()) {
                faults.error("publish-address", span, format!("{address} is no host's address in {net}"));
            }
            self.check_moves(address, span, faults);
            return;
        }
        let interfaces = || {
            zones.iter().flat_map(|z| self.interfaces.iter().filter(move |(_, i)| i.zone.as_ref() == Some(z)))
        };
        let own = interfaces().any(|(_, i)| i.virtuals.iter().any(|v| v.address.contains(&address)));
        if !own && !interfaces().any(|(_, i)| i.dhcp) {
            faults
                .error("publish-address", span, format!("{address} is not on any network of the box"))
                .hint("an address of an interface, a virtual one, or one inside an interface's network");
        }
    }

    fn reflect(
        &self,
        given: Option<&At<Toggle<crate::decode::Many<crate::text::word::NameText>>>>,
        from: &[Endpoint],
        faults: &mut Faults,
    ) -> Option<BTreeSet<ZoneName>> {
        let is_from = |zone: &ZoneName| from.iter().any(|e| e.zone.as_ref() == Some(zone));
        let inside = || {
            let zones = self.zones.iter().filter(|(name, zone)| {
                !zone.external && !name.is_firewall() && !name.is_tunnel() && !is_from(name)
            });
            zones.map(|(name, _)| name.clone()).collect()
        };
        match given.map(|g| &g.value) {
            // A service for chosen hosts outside is not meant for everybody inside.
            None if from.iter().all(|e| e.hosts == crate::model::HostSet::any()) => Some(inside()),
            None | Some(Toggle::Bool(false)) => Some(BTreeSet::new()),
            Some(Toggle::Bool(true)) => Some(inside()),
            Some(Toggle::More(list)) => {
                let mut zones = Some(BTreeSet::new());
                for name in &list.items {
                    let zone = self.zone(&name.value.0, &name.span, faults).filter(|z| {
                        if z.is_firewall() {
                            faults
                                .error("publish-reflect", &name.span, "the firewall itself is not reflected")
                                .hint("name zones with clients");
                        }
                        !z.is_firewall()
                    });
                    match (zone, &mut zones) {
                        (Some(zone), Some(all)) if !is_from(&zone) => drop(all.insert(zone)),
                        (Some(_), _) => {}
                        (None, _) => zones = None,
                    }
                }
                zones
            }
        }
    }

    /// Reports published flows that want the same packets for different targets.
    pub(super) fn check_publishes(&self, flows: &[Flow], spans: &[Span], faults: &mut Faults) {
        let all: Vec<_> =
            flows.iter().zip(spans).filter_map(|(f, s)| Some((f, f.publish.as_ref()?, s))).collect();
        if let Some((_, _, span)) = all.get(MAX_PUBLISHED) {
            faults.error("too-large", span, format!("more than {MAX_PUBLISHED} published flows"));
            return;
        }
        for (at, (flow, publish, span)) in all.iter().enumerate() {
            let clash = all[..at].iter().find(|(other, theirs, _)| {
                mapping_differs(flow, publish, other, theirs)
                    && self.same_outside(flow, publish, other, theirs)
            });
            if let Some((other, theirs, place)) = clash {
                let message = format!(
                    "the same outside address and port goes to {} here, and to {} by {}",
                    goal(flow, publish),
                    goal(other, theirs),
                    other.label,
                );
                faults
                    .error("contradictory-nat", span, message)
                    .related(place, "published here")
                    .hint("publish one of them on another port or another address");
            }
        }
    }

    /// Whether a packet from one place to one outside address may be meant by both.
    fn same_outside(&self, a: &Flow, pa: &Publish, b: &Flow, pb: &Publish) -> bool {
        let own = |flow: &Flow, address: IpAddr| {
            let mut interfaces = self.interfaces.values();
            interfaces.any(|i| {
                let of_flow = flow.from.iter().any(|e| e.zone.is_some() && e.zone == i.zone);
                of_flow && own_v4(i).0.contains(address)
            })
        };
        let address = match (pa.address, pb.address) {
            (Some(x), Some(y)) => x == y,
            (None, None) => a.from.iter().any(|e| b.from.iter().any(|f| e.zone == f.zone)),
            (Some(x), None) => own(b, x),
            (None, Some(y)) => own(a, y),
        };
        if !address {
            return false;
        }
        let sources = |e: &Endpoint, f: &Endpoint| e.zone == f.zone && sources_overlap(e, f);
        let reflected =
            |publish: &Publish, e: &Endpoint| e.zone.as_ref().is_some_and(|z| publish.reflect.contains(z));
        a.from.iter().any(|e| b.from.iter().any(|f| sources(e, f)))
            || a.from.iter().any(|e| reflected(pb, e))
            || b.from.iter().any(|e| reflected(pa, e))
            || !pa.reflect.is_disjoint(&pb.reflect)
    }
}

/// Whether two sources share an address as far as the document can tell: different names are different hosts.
fn sources_overlap(a: &Endpoint, b: &Endpoint) -> bool {
    if !a.hosts.is_fixed() || !b.hosts.is_fixed() {
        return a.hosts == b.hosts;
    }
    let set = |e: &Endpoint| -> AddressSet {
        if e.hosts.negated { e.hosts.fixed.complement() } else { e.hosts.fixed.clone() }
    };
    set(a).v4.overlaps(&set(b).v4)
}

/// The outside ports of a published flow with, for each, the distance to the inside port.
pub(super) fn outside(flow: &Flow, publish: &Publish) -> Vec<(u8, Interval<u16>, i32)> {
    let mut out = Vec::new();
    for atom in &flow.services {
        let ServiceAtom::Ports { protocol, ports } = atom else { continue };
        for inside in ports.intervals() {
            let lo = publish.port.unwrap_or(inside.lo);
            let hi = lo.saturating_add(inside.hi - inside.lo);
            out.push((*protocol, Interval { lo, hi }, i32::from(inside.lo) - i32::from(lo)));
        }
    }
    out
}

/// Where a published flow leads, for a message.
fn goal(flow: &Flow, publish: &Publish) -> String {
    match first_port(&flow.services) {
        Some(port) if publish.port.is_some() => format!("{} port {port}", publish.target),
        Some(_) | None => publish.target.to_string(),
    }
}

fn mapping_differs(a: &Flow, pa: &Publish, b: &Flow, pb: &Publish) -> bool {
    let theirs = outside(b, pb);
    outside(a, pa).iter().any(|(protocol, ports, shift)| {
        theirs.iter().any(|(p, other, s)| {
            p == protocol && ports.overlaps(other) && (pa.target != pb.target || s != shift)
        })
    })
}

/// Only what has ports can be told apart on one address.
fn check_services(services: &[ServiceAtom], span: &Span, faults: &mut Faults) -> bool {
    let ports = services.iter().all(|s| matches!(s, ServiceAtom::Ports { .. }));
    if !ports {
        faults
            .error("publish-service", span, "only services with ports can be published")
            .hint("name them, such as `https` or `tcp/8443`; whole addresses stand in [[nat.one_to_one]]");
    }
    ports
}

fn first_port(services: &[ServiceAtom]) -> Option<u16> {
    match services.first()? {
        ServiceAtom::Ports { ports, .. } => ports.intervals().first().map(|i| i.lo),
        ServiceAtom::Any | ServiceAtom::Icmp(_) | ServiceAtom::Icmp6(_) | ServiceAtom::Protocol(_) => None,
    }
}

/// `port` moves one contiguous range, the same for each protocol.
fn check_port(port: u32, span: &Span, services: &[ServiceAtom], faults: &mut Faults) {
    let mut ranges = BTreeSet::new();
    for service in services {
        if let ServiceAtom::Ports { ports, .. } = service {
            ranges.extend(ports.intervals().iter().copied());
        }
    }
    let mut ranges = ranges.into_iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        faults
            .error("publish-port", span, "`port` with several ports that do not follow each other")
            .hint("write a flow for each");
        return;
    };
    let length = u32::from(range.hi - range.lo) + 1;
    if u32::from(range.lo) == port {
        return;
    }
    if length > MAX_SHIFTED_PORTS {
        faults
            .error("publish-port", span, format!("{length} ports cannot be moved"))
            .hint(format!("at most {MAX_SHIFTED_PORTS}; under their own numbers there is no bound"));
    } else if port + length - 1 > u32::from(u16::MAX) {
        faults
            .error("publish-port", span, format!("{length} ports from {port} on end after 65535"))
            .hint(format!("at most {}", u32::from(u16::MAX) + 1 - length));
    }
}
