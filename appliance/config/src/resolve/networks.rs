//! The networks that the box is connected to: which interface an address is behind, and what overlaps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::boxes::Nodes;
use super::groups::Pool;
use super::interfaces::Spans;
use crate::draft::Document;
use crate::faults::{Faults, Span};
use crate::model::{Interface, InterfaceName, is_link_local};
use crate::space::{AddressSet, Family};

/// Connected networks, to be searched by address.
pub(super) struct Networks(BTreeMap<(Family, u128), (IpNet, InterfaceName)>);

impl Networks {
    /// From the first node's addresses: the second one's are in the same networks.
    pub fn of(interfaces: &BTreeMap<InterfaceName, Interface>) -> Self {
        let mut out = BTreeMap::new();
        for (name, interface) in interfaces {
            for net in interface.addresses.iter().next().into_iter().flatten() {
                if !is_link_local(net.addr()) {
                    out.insert(first(*net), (net.trunc(), name.clone()));
                }
            }
        }
        Self(out)
    }

    /// The connected network that `address` lies in.
    pub fn find(&self, address: IpAddr) -> Option<(IpNet, &InterfaceName)> {
        let key = (Family::of(address), wide(address));
        let (_, (net, interface)) = self.0.range(..=key).next_back()?;
        net.contains(&address).then_some((*net, interface))
    }
}

/// Whether `address` is a neighbour on the interface, as far as the document can tell.
pub(super) fn reachable(interface: &Interface, own: &[IpNet], address: IpAddr) -> bool {
    let leased = if address.is_ipv4() { interface.dhcp } else { interface.slaac };
    leased || is_link_local(address) || on_networks(own, address)
}

/// Whether `address` lies in one of these networks.
pub(super) fn on_networks(own: &[IpNet], address: IpAddr) -> bool {
    own.iter().any(|n| n.contains(&address))
}

/// Reports networks that overlap and addresses that are there twice.
pub(super) fn check(
    nodes: &Nodes,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    spans: &BTreeMap<InterfaceName, Spans>,
    pools: &[Pool],
    faults: &mut Faults,
) {
    let mut told = BTreeSet::new();
    for node in 0..nodes.names.len() {
        overlaps(node, interfaces, spans, pools, &mut told, faults);
    }
    duplicates(nodes, interfaces, spans, faults);
}

struct Entry<'a> {
    net: IpNet,
    span: &'a Span,
    interface: Option<&'a InterfaceName>,
    what: String,
}

/// Networks either nest or are apart, so that one pass over them in order finds every overlap.
fn overlaps<'a>(
    node: usize,
    interfaces: &'a BTreeMap<InterfaceName, Interface>,
    spans: &'a BTreeMap<InterfaceName, Spans>,
    pools: &'a [Pool],
    told: &mut BTreeSet<(usize, usize)>,
    faults: &mut Faults,
) {
    let mut all = Vec::new();
    for (name, interface) in interfaces {
        let nets = interface.addresses.iter().nth(node).into_iter().flatten();
        let places = spans.get(name).and_then(|s| s.addresses.get(node)).into_iter().flatten();
        for (net, span) in nets.zip(places).filter(|(n, _)| !is_link_local(n.addr())) {
            all.push(Entry {
                net: net.trunc(),
                span,
                interface: Some(name),
                what: format!("interface `{name}`"),
            });
        }
    }
    for Pool { group, net, span } in pools {
        all.push(Entry { net: *net, span, interface: None, what: format!("VPN group `{group}`") });
    }
    all.sort_by_key(|e| (first(e.net), e.net.prefix_len(), e.span.start));
    let mut nested: Vec<&Entry> = Vec::new();
    for entry in &all {
        while nested.last().is_some_and(|around| !around.net.contains(&entry.net)) {
            nested.pop();
        }
        let around = nested.last().copied();
        nested.push(entry);
        let Some(around) = around else { continue };
        // Several addresses in one network on one interface are aliases.
        let alias =
            around.net == entry.net && around.interface.is_some() && around.interface == entry.interface;
        let (early, late) =
            if around.span.start <= entry.span.start { (around, entry) } else { (entry, around) };
        if !alias && told.insert((early.span.start, late.span.start)) {
            let message = format!("{} of {} overlaps {} of {}", late.net, late.what, early.net, early.what);
            faults
                .error("overlapping-networks", late.span, message)
                .related(early.span, "overlaps with this")
                .hint("a network is behind one interface; otherwise the box cannot tell where to send");
        }
    }
}

/// A static route into a pool would take addresses from the tunnel; one around it only says where the rest goes.
pub(super) fn check_routes(document: &Document, pools: &[Pool], faults: &mut Faults) {
    for draft in document.route.iter().flat_map(|r| &r.items) {
        let Some(to) = &draft.value.to else { continue };
        if let Some(pool) = pools.iter().find(|pool| pool.net.contains(&to.value.0)) {
            let message =
                format!("the route to {} leads into {} of VPN group `{}`", to.value.0, pool.net, pool.group);
            faults
                .error("overlapping-networks", &to.span, message)
                .related(&pool.span, "the pool")
                .hint("addresses of remote users are behind the tunnel and nowhere else");
        }
    }
}

/// Each address belongs to one node or to the pair. Link-local addresses count per interface.
fn duplicates(
    nodes: &Nodes,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    spans: &BTreeMap<InterfaceName, Spans>,
    faults: &mut Faults,
) {
    let mut owners: BTreeMap<(Option<&InterfaceName>, IpAddr), (&Span, String)> = BTreeMap::new();
    let mut claim = |name, address: IpAddr, span, owner: String, faults: &mut Faults| {
        let scope = is_link_local(address).then_some(name);
        let Some((other, who)) = owners.insert((scope, address), (span, owner.clone())) else { return };
        if *other == *span {
            faults
                .error("duplicate-address", span, format!("both nodes have the address {address}"))
                .hint("give each node its own: address = { NODE = \"…\", NODE = \"…\" }; what they share is `virtual`");
        } else {
            faults
                .error("duplicate-address", span, format!("{address} is there twice"))
                .label(owner)
                .related(other, who);
        }
    };
    for (name, interface) in interfaces {
        let Some(places) = spans.get(name) else { continue };
        for ((nets, places), node) in interface.addresses.iter().zip(&places.addresses).zip(&nodes.names) {
            for (net, span) in nets.iter().zip(places) {
                claim(name, net.addr(), span, format!("on `{name}` of node `{node}`"), faults);
            }
        }
        for (one, span) in interface.virtuals.iter().zip(&places.virtuals) {
            claim(name, one.address.addr(), span, format!("virtual on `{name}`"), faults);
        }
    }
}

fn first(net: IpNet) -> (Family, u128) {
    (Family::of(net.addr()), wide(net.network()))
}

fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

/// The IPv4 addresses that an interface has by the document, and whether it may have others.
pub(super) fn own_v4(interface: &Interface) -> (AddressSet, bool) {
    let fixed = interface.addresses.iter().flatten().chain(interface.virtuals.iter().map(|v| &v.address));
    let sets: Vec<_> = fixed.filter(|n| n.addr().is_ipv4()).map(|n| AddressSet::one(n.addr())).collect();
    (AddressSet::union_of(&sets), interface.dhcp)
}
