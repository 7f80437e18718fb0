//! `[[route]]` and `[gateway.NAME]`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::flows::take;
use super::networks::Networks;
use crate::decode::At;
use crate::draft::Document;
use crate::faults::{Faults, Span};
use crate::model::{Interface, InterfaceName, Route, RouteVia, is_link_local};
use crate::text::word::Via;

/// Static routes; more is a routing protocol's work.
const MAX_ROUTES: usize = 10_000;

pub(super) fn resolve(
    document: &Document,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    networks: &Networks,
    faults: &mut Faults,
) -> Vec<Route> {
    let find = Find { interfaces, networks };
    // `None` is a gateway with a fault, which is reported where it stands.
    let mut gateways: BTreeMap<&str, Option<RouteVia>> = document
        .gateway
        .iter()
        .flat_map(|g| g.iter())
        .map(|(name, draft)| {
            let via = draft.address.as_ref().and_then(|a| find.router(a.value.0, &a.span, faults));
            (name.value.as_str(), via)
        })
        .collect();
    let broken = document.gateway.iter().flat_map(|g| &g.broken);
    gateways.extend(broken.map(|name| (name.as_str(), None)));
    let mut seen: BTreeMap<_, &Span> = BTreeMap::new();
    let mut routes = Vec::new();
    for At { value: draft, .. } in take(document.route.as_ref(), MAX_ROUTES, "routes", faults) {
        let (Some(to), Some(via)) = (&draft.to, &draft.via) else { continue };
        let metric = draft.metric.as_ref().map_or(0, |m| m.value.0);
        if let Some(other) = seen.insert((to.value.0, metric), &to.span) {
            faults
                .error(
                    "duplicate-route",
                    &to.span,
                    format!("a second route to {} with metric {metric}", to.value.0),
                )
                .related(other, "the first one")
                .hint("give the spare route a higher `metric`");
        }
        if let Some((net, name)) = networks.find(to.value.0.addr()).filter(|(n, _)| *n == to.value.0) {
            faults
                .error("bad-route", &to.span, format!("{net} is connected: interface `{name}` is in it"))
                .hint("only networks behind other routers need a route");
        }
        let found = match &via.value {
            Via::Blackhole => Some(RouteVia::Blackhole),
            Via::Address(address) => find.router(*address, &via.span, faults),
            Via::Name(name) => match gateways.get(name.as_str()) {
                Some(known) => known.clone(),
                None => {
                    faults
                        .error("unknown-gateway", &via.span, format!("there is no gateway `{name}`"))
                        .suggest(name, gateways.keys().copied());
                    None
                }
            },
        };
        if let Some(RouteVia::Gateway { address, .. }) = &found
            && address.is_ipv4() != to.value.0.addr().is_ipv4()
        {
            faults
                .error(
                    "family-mismatch",
                    &via.span,
                    format!("{address} is of another IP version than {}", to.value.0),
                )
                .related(&to.span, "the network behind it");
        }
        routes.extend(found.map(|via| Route { to: to.value.0, via, metric }));
    }
    routes
}

struct Find<'a> {
    interfaces: &'a BTreeMap<InterfaceName, Interface>,
    networks: &'a Networks,
}

impl Find<'_> {
    /// A neighbouring router: on a connected network, and not the box itself.
    fn router(&self, address: IpAddr, span: &Span, faults: &mut Faults) -> Option<RouteVia> {
        let own = |i: &Interface| {
            let virtuals = i.virtuals.iter().map(|v| &v.address);
            i.addresses.iter().flatten().chain(virtuals).any(|n| n.addr() == address)
        };
        if let Some((name, _)) = self.interfaces.iter().find(|(_, i)| own(i)) {
            faults.error("bad-gateway", span, format!("{address} is the box's own address on `{name}`"));
            return None;
        }
        if let Some((_, interface)) = self.networks.find(address) {
            return Some(RouteVia::Gateway { address, interface: interface.clone() });
        }
        let fault = faults.error("bad-gateway", span, format!("{address} is not on a connected network"));
        match is_link_local(address) {
            true => {
                fault.hint("a link-local address does not tell the interface: use the router's other address")
            }
            false => fault
                .hint("a router is a neighbour: it lies in the network of an interface with a fixed address"),
        };
        None
    }
}
