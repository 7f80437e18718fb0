//! Flows as boxes: which part of the packet space of which zone pair a flow is about.

use std::collections::BTreeMap;

use rempart_config::Model;
use rempart_config::model::{Endpoint, Flow, ServiceAtom, ZoneName};
use rempart_config::space::{AddressSet, Cell, Family, Interval, Set};

use crate::Facts;
use crate::classify::Lane;

/// The boxes of one flow in one zone pair and one family. They are disjoint.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The zone that the packets come from.
    pub from: ZoneName,
    /// The zone that they go to.
    pub to: ZoneName,
    /// The IP version.
    pub family: Family,
    /// Which connections.
    pub lane: Lane,
    /// The boxes.
    pub cells: Vec<Cell>,
}

/// What `flow` is about, whether it is in force or not.
pub fn slices(model: &Model, facts: &Facts, flow: &Flow) -> Vec<Slice> {
    let from = by_zone(model, facts, &flow.from);
    let to = by_zone(model, facts, &flow.to);
    let mut out = Vec::new();
    match &flow.publish {
        None => cross(&from, &to, &flow.services, Lane::Any, &Family::BOTH, &mut out),
        Some(publish) => {
            let mut reached_from = from.clone();
            for zone in &publish.reflect {
                reached_from.insert(zone, AddressSet::all());
            }
            let target = AddressSet::one(publish.target);
            let hosts: BTreeMap<_, _> = to.keys().map(|z| (*z, target.clone())).collect();
            cross(&reached_from, &hosts, &flow.services, Lane::Translated, &[Family::V4], &mut out);
            // An IPv6 host is published under its own address: to those asked for, without translation.
            cross(&from, &to, &flow.services, Lane::Any, &[Family::V6], &mut out);
        }
    }
    out
}

/// The boxes of `from` × `to` × `services`, per zone pair, in both families.
pub fn product(
    model: &Model,
    facts: &Facts,
    from: &[Endpoint],
    to: &[Endpoint],
    services: &[ServiceAtom],
) -> Vec<Slice> {
    let mut out = Vec::new();
    let (from, to) = (by_zone(model, facts, from), by_zone(model, facts, to));
    cross(&from, &to, services, Lane::Any, &Family::BOTH, &mut out);
    out
}

fn cross(
    from: &BTreeMap<&ZoneName, AddressSet>,
    to: &BTreeMap<&ZoneName, AddressSet>,
    services: &[ServiceAtom],
    lane: Lane,
    families: &[Family],
    out: &mut Vec<Slice>,
) {
    for family in families.iter().copied() {
        let axes = service_axes(services, family);
        for (from_zone, sources) in from {
            let sources = sources.wide(family);
            for (to_zone, destinations) in to {
                let destinations = destinations.wide(family);
                let mut cells = Vec::with_capacity(sources.len() * destinations.len() * axes.len());
                for source in &sources {
                    for destination in &destinations {
                        cells.extend(axes.iter().map(|(protocol, port)| Cell {
                            source: *source,
                            destination: *destination,
                            protocol: *protocol,
                            port: *port,
                        }));
                    }
                }
                if !cells.is_empty() {
                    let (from, to) = ((*from_zone).clone(), (*to_zone).clone());
                    out.push(Slice { from, to, family, lane, cells });
                }
            }
        }
    }
}

/// The hosts of a list of endpoints, zone by zone.
pub(crate) fn by_zone<'a>(
    model: &'a Model,
    facts: &Facts,
    ends: &'a [Endpoint],
) -> BTreeMap<&'a ZoneName, AddressSet> {
    let mut out: BTreeMap<&ZoneName, AddressSet> = BTreeMap::new();
    for end in ends {
        let hosts = facts.resolve(model, &end.hosts);
        let mut add = |zone: &'a ZoneName| match out.get_mut(zone) {
            Some(known) => *known = known.union(&hosts),
            None => {
                out.insert(zone, hosts.clone());
            }
        };
        match &end.zone {
            Some(zone) => add(zone),
            None => model.zones.keys().filter(|z| !z.is_firewall()).for_each(add),
        }
    }
    out
}

/// The protocol and port axes of a list of services, disjoint.
pub fn service_axes(services: &[ServiceAtom], family: Family) -> Vec<(Interval<u8>, Interval<u16>)> {
    let mut by_protocol: BTreeMap<u8, Vec<Interval<u16>>> = BTreeMap::new();
    for (protocol, port) in services.iter().flat_map(|s| s.axes(family)) {
        if protocol == Interval::ALL {
            return vec![(Interval::ALL, Interval::ALL)];
        }
        by_protocol.entry(protocol.lo).or_default().push(port);
    }
    let mut out = Vec::new();
    for (protocol, ports) in by_protocol {
        let ports: Set<u16> = ports.into_iter().collect();
        out.extend(ports.intervals().iter().map(|port| (Interval::one(protocol), *port)));
    }
    out
}
