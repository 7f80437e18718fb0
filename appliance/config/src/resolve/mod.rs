//! From draft to model: names become what they stand for, and what contradicts itself is reported. Each module
//! takes its part of the document; none stops at a fault, so that all are told at once.

mod boxes;
mod devices;
mod flows;
mod groups;
mod interfaces;
mod names;
mod nat;
mod networks;
mod publish;
mod remote;
mod rest;
mod routes;
mod virtuals;
mod wireguard;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use crate::anomaly;
use crate::diagnostic::Lines;
use crate::draft::Document;
use crate::faults::Faults;
use crate::model::{
    HostSet, Interface, InterfaceName, Model, Name, Route, ServiceAtom, VpnGroup, Wireguard, Zone, ZoneName,
};
use names::{Book, Budget};
use networks::Networks;

/// What flows, translations and assertions refer to. Complete before the first of them is looked at.
struct World<'a> {
    lines: &'a Lines,
    interfaces: BTreeMap<InterfaceName, Interface>,
    zones: BTreeMap<ZoneName, Zone>,
    networks: Networks,
    hosts: Book<HostSet>,
    services: Book<Vec<ServiceAtom>>,
    vpn_groups: BTreeMap<Name, VpnGroup>,
    wireguard: Option<Wireguard>,
    schedules: BTreeSet<Name>,
    routes: Vec<Route>,
    budget: Budget,
}

/// Resolves a document. Nothing comes out when there was an error anywhere.
pub(crate) fn model(document: &Document, lines: &Lines, faults: &mut Faults) -> Option<Model> {
    let nodes = boxes::nodes(document, faults);
    let pair = boxes::pair(document, faults);
    let (interfaces, spans) = interfaces::resolve(document, &nodes, pair.failback, faults);
    let sync = boxes::sync(document, &interfaces, faults);
    boxes::check_paths(document, &nodes, &interfaces, faults);
    boxes::check_leases(document, &nodes, &interfaces, faults);
    let groups::Groups { all: mut vpn_groups, order, pools } = groups::groups(document, faults);
    networks::check(&nodes, &interfaces, &spans, &pools, faults);
    let zones = zones::resolve(document, &interfaces, !vpn_groups.is_empty(), faults);
    let wireguard = wireguard::resolve(document, &interfaces, &zones, &pools, faults);
    let networks = Networks::of(&interfaces);
    let routes = routes::resolve(document, &interfaces, &networks, faults);
    networks::check_routes(document, &pools, faults);
    let schedules = rest::schedules(document, faults);
    let mut budget = Budget::default();
    let hosts = names::hosts(document, &mut budget, faults);
    let services = names::services(document, &mut budget, faults);
    groups::options(document, &mut vpn_groups, &hosts, faults);
    let mut world = World {
        lines,
        interfaces,
        zones,
        networks,
        hosts,
        services,
        vpn_groups,
        wireguard,
        schedules: schedules.keys().cloned().collect(),
        routes,
        budget,
    };
    let (flows, flow_spans) = world.flows(document, faults);
    let nat = world.nat(document, faults);
    let vpn = world.vpn(document, &nodes.names, order, (&flows, &flow_spans), faults);
    world.check_wireguard_port(document, vpn.as_ref(), (&flows, &flow_spans), faults);
    let blocklists = rest::blocklists(document, &world.zones, faults);
    let noise = world.noise(document, faults);
    let checks = world.checks(document, faults);
    let system = boxes::system(document);
    anomaly::check(&flows, &flow_spans, &world.zones, &world.vpn_groups, faults);
    if faults.has_errors() {
        return None;
    }
    Some(Model {
        nodes: nodes.names,
        sync,
        failback: pair.failback,
        heartbeat_ms: pair.heartbeat_ms,
        system,
        zones: world.zones,
        interfaces: world.interfaces,
        routes: world.routes,
        flows,
        nat,
        schedules,
        blocklists,
        vpn,
        vpn_groups: world.vpn_groups,
        wireguard: world.wireguard,
        checks,
        hosts: world.hosts.into_known(),
        noise,
    })
}
