//! `[interface.NAME]`: addresses, gateways, zone and MTU. What the device is made of is in `devices`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::boxes::Nodes;
use super::{devices, networks};
use crate::decode::{At, Either, Many, Named};
use crate::draft::{Document, InterfaceDraft, VirtualDraft};
use crate::faults::{Faults, Span};
use crate::limits::MAX_INTERFACES;
use crate::model::{
    FIREWALL, Interface, InterfaceKind, InterfaceName, PerNode, VPN, VirtualAddress, ZoneName,
};
use crate::space::Family;
use crate::text::address::InterfaceAddress;

/// Where the parts of an interface stand.
pub(super) struct Spans {
    /// Each fixed address, per node.
    pub addresses: Vec<Vec<Span>>,
    pub virtuals: Vec<Span>,
}

/// The interfaces and where they stand. An interface with faults is there all the same: its zone exists.
pub(super) fn resolve(
    document: &Document,
    nodes: &Nodes,
    faults: &mut Faults,
) -> (BTreeMap<InterfaceName, Interface>, BTreeMap<InterfaceName, Spans>) {
    let (mut interfaces, mut spans) = (BTreeMap::new(), BTreeMap::new());
    let Some(drafts) = &document.interface else { return (interfaces, spans) };
    if drafts.entries.len() > MAX_INTERFACES {
        let span = drafts.entries.get(MAX_INTERFACES).map_or(0..0, |(name, _)| name.span.clone());
        faults.error("too-large", &span, format!("more than {MAX_INTERFACES} interfaces"));
        return (interfaces, spans);
    }
    let made_of = devices::resolve(drafts, nodes, faults);
    for ((name, draft), (kind, device)) in drafts.iter().zip(made_of) {
        let (interface, places) = one(draft, kind, device, nodes, faults);
        let key = InterfaceName::new(&name.value);
        spans.insert(key.clone(), places);
        interfaces.insert(key, interface);
    }
    check_carried_mtu(drafts, &interfaces, faults);
    (interfaces, spans)
}

/// A VLAN's frames go through its parent: the kernel refuses a larger MTU above (`vlan_dev_change_mtu`).
fn check_carried_mtu(
    drafts: &Named<InterfaceDraft>,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    faults: &mut Faults,
) {
    const ETHERNET: u32 = 1500;
    for (name, draft) in drafts.iter() {
        let kind = interfaces.get(name.value.as_str()).map(|i| &i.kind);
        let (Some(InterfaceKind::Vlan { parent, .. }), Some(mtu)) = (kind, &draft.mtu) else { continue };
        let below = interfaces.get(parent).and_then(|p| p.mtu).unwrap_or(ETHERNET);
        if mtu.value.0 > below {
            faults
                .error("out-of-range", &mtu.span, format!("an MTU of {} on a VLAN", mtu.value.0))
                .label(format!("`{parent}` below carries {below}"))
                .hint(format!("set `mtu` of [interface.{parent}] to as much"));
        }
    }
}

fn one(
    draft: &InterfaceDraft,
    kind: InterfaceKind,
    device: PerNode<crate::model::Device>,
    nodes: &Nodes,
    faults: &mut Faults,
) -> (Interface, Spans) {
    let mut places = Spans { addresses: Vec::new(), virtuals: Vec::new() };
    let addresses = addresses(draft, nodes, &mut places, faults);
    let virtuals = virtuals(draft, nodes, &addresses, &mut places, faults);
    let mut interface = Interface {
        device,
        kind,
        zone: zone(draft, faults),
        addresses: PerNode::new(addresses.fixed),
        dhcp: addresses.dhcp,
        slaac: addresses.slaac,
        virtuals,
        gateways: nodes.all(Vec::new()),
        mtu: draft.mtu.as_ref().map(|m| m.value.0),
        description: draft.description.as_ref().map(|d| d.value.0.clone()),
    };
    interface.gateways = gateways(draft, &interface, nodes, faults);
    check_mtu(draft, &interface, faults);
    (interface, places)
}

fn zone(draft: &InterfaceDraft, faults: &mut Faults) -> Option<ZoneName> {
    let zone = draft.zone.as_ref()?;
    let why = match zone.value.0.as_str() {
        FIREWALL => "it is the box itself",
        VPN => "it is remote access; groups stand in [vpn.group.NAME]",
        "any" => "it means every zone",
        name => return Some(ZoneName::new(name)),
    };
    let message = format!("the zone `{}` cannot be given to an interface", zone.value.0);
    faults.error("reserved-name", &zone.span, message).hint(why);
    None
}

struct Addresses {
    fixed: Vec<Vec<IpNet>>,
    dhcp: bool,
    slaac: bool,
}

fn addresses(draft: &InterfaceDraft, nodes: &Nodes, places: &mut Spans, faults: &mut Faults) -> Addresses {
    let count = nodes.names.len();
    let nothing = || Addresses { fixed: vec![Vec::new(); count], dhcp: false, slaac: false };
    places.addresses = vec![Vec::new(); count];
    let Some(value) = &draft.address else { return nothing() };
    let Some(lists) = nodes.each(value, "`address`", faults) else { return nothing() };
    let mut out = nothing();
    let mut automatic = Vec::new();
    for (at, list) in lists.iter().enumerate() {
        let mut found = (false, false);
        for item in &list.items {
            match item.value {
                InterfaceAddress::Dhcp => found.0 = true,
                InterfaceAddress::Slaac => found.1 = true,
                InterfaceAddress::Static(net) => {
                    // `address` given once for both nodes is looked at once.
                    if at == 0 || !std::ptr::eq(*list, lists[0]) {
                        check_host_part(net, &item.span, faults);
                    }
                    out.fixed[at].push(net);
                    places.addresses[at].push(item.span.clone());
                }
            }
        }
        automatic.push(found);
    }
    if automatic.windows(2).any(|pair| pair[0] != pair[1]) {
        let span = lists.first().map_or(0..0, |l| l.span.clone());
        faults
            .error("address-differs", &span, "one node has an automatic address and the other has not")
            .hint("`dhcp` and `slaac` hold for both nodes or for none");
    }
    (out.dhcp, out.slaac) = automatic.first().copied().unwrap_or_default();
    if lists.iter().all(|l| l.whole) {
        same_networks(&lists, &out.fixed, faults);
    }
    out
}

/// Both nodes must be on the same networks: otherwise they cannot stand in for each other.
fn same_networks(lists: &[&Many<InterfaceAddress>], fixed: &[Vec<IpNet>], faults: &mut Faults) {
    let networks =
        |list: &Vec<IpNet>| list.iter().map(IpNet::trunc).collect::<std::collections::BTreeSet<_>>();
    let [a, b] = fixed else { return };
    let (first, second) = (networks(a), networks(b));
    if let Some(lone) = second.symmetric_difference(&first).next() {
        faults
            .error("different-networks", &lists[1].span, format!("only one of the nodes is on {lone}"))
            .related(&lists[0].span, "the other node's")
            .hint("both nodes have an address in the same networks");
    }
}

/// Refuses what no machine can have as its address.
fn check_host_part(net: IpNet, span: &Span, faults: &mut Faults) {
    let address = net.addr();
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let room = net.prefix_len() + 1 < bits;
    let why = if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        "is not an address that an interface can have"
    } else if room && address == net.network() && address.is_ipv4() {
        "is the address of the network itself"
    } else if room && address == net.network() {
        // RFC 4291 §2.6.1: all routers answer to it.
        "is the subnet-router anycast address"
    } else if room && address.is_ipv4() && address == net.broadcast() {
        "is the broadcast address of its network"
    } else {
        return;
    };
    faults
        .error("bad-address", span, format!("{address} {why}"))
        .hint(format!("choose an address inside {}", net.trunc()));
}

fn virtuals(
    draft: &InterfaceDraft,
    nodes: &Nodes,
    addresses: &Addresses,
    places: &mut Spans,
    faults: &mut Faults,
) -> Vec<VirtualAddress> {
    let drafts: Vec<&At<VirtualDraft>> = match &draft.r#virtual {
        None => Vec::new(),
        Some(Either::Short(list)) => list.items.iter().collect(),
        Some(Either::Table(one)) => vec![one],
    };
    if let (Some(first), 1) = (drafts.first(), nodes.names.len())
        && !draft.broken
    {
        faults
            .warning("virtual-alone", &first.span, "a single box has no use for a virtual address")
            .hint("write it under `address`");
    }
    // An IPv4 and an IPv6 virtual router may share an id: they are two (RFC 9568 §1.1).
    let mut ids: BTreeMap<(bool, u32), &Span> = BTreeMap::new();
    let mut out = Vec::new();
    for one in drafts {
        if let Some(address) = &one.value.address {
            check_host_part(address.value.0, &address.span, faults);
            check_virtual_network(address.value.0, &address.span, addresses, faults);
        }
        let (Some(address), Some(vrid)) = (&one.value.address, &one.value.vrid) else { continue };
        let net = address.value.0;
        if let Some(other) = ids.insert((net.addr().is_ipv4(), vrid.value.0), &vrid.span) {
            let message = format!("virtual router id {} is used twice on this interface", vrid.value.0);
            faults
                .error("duplicate-vrid", &vrid.span, message)
                .related(other, "here too")
                .hint("each virtual address of an interface has its own id, 1 to 255");
        }
        places.virtuals.push(address.span.clone());
        // The decoder has bounded it to 1..=255.
        out.push(VirtualAddress { address: net, vrid: u8::try_from(vrid.value.0).unwrap_or(u8::MAX) });
    }
    out
}

fn check_virtual_network(net: IpNet, span: &Span, addresses: &Addresses, faults: &mut Faults) {
    let full = if net.addr().is_ipv4() { 32 } else { 128 };
    let leased = if net.addr().is_ipv4() { addresses.dhcp } else { addresses.slaac };
    for fixed in &addresses.fixed {
        let home = fixed.iter().find(|own| own.contains(&net.addr()));
        let message = match home {
            Some(own) if net.prefix_len() == own.prefix_len() || net.prefix_len() == full => continue,
            Some(own) => format!("the prefix length of {net} differs from its network {}", own.trunc()),
            None if leased => continue,
            None => format!("{} is outside the networks of this interface", net.addr()),
        };
        faults
            .error("virtual-outside", span, message)
            .hint("a virtual address lies in the network of the nodes' own addresses");
        return;
    }
}

fn gateways(
    draft: &InterfaceDraft,
    interface: &Interface,
    nodes: &Nodes,
    faults: &mut Faults,
) -> PerNode<Vec<IpAddr>> {
    let none = || nodes.all(Vec::new());
    let Some(value) = &draft.gateway else { return none() };
    let Some(lists) = nodes.each(value, "`gateway`", faults) else { return none() };
    let mut out = Vec::new();
    for (at, (list, own)) in lists.iter().zip(interface.addresses.iter()).enumerate() {
        let fresh = at == 0 || !std::ptr::eq(*list, lists[0]);
        let mut seen: BTreeMap<Family, &Span> = BTreeMap::new();
        for item in &list.items {
            let address = item.value.0;
            if let (Some(other), true) = (seen.insert(Family::of(address), &item.span), fresh) {
                faults
                    .error("duplicate-gateway", &item.span, "a second gateway of the same IP version")
                    .related(other, "the first one")
                    .hint("one default route for IPv4 and one for IPv6; other routes stand in [[route]]");
            }
            let virtuals = interface.virtuals.iter().map(|v| &v.address);
            let mine = own.iter().chain(virtuals).any(|n| n.addr() == address);
            if mine {
                faults.error("bad-gateway", &item.span, format!("{address} is the box's own address"));
            } else if fresh && !networks::reachable(interface, own, address) {
                faults
                    .error(
                        "bad-gateway",
                        &item.span,
                        format!("{address} is not on a network of this interface"),
                    )
                    .hint("a gateway is a neighbour: it lies in the network of the interface's own address");
            }
        }
        out.push(list.items.iter().map(|item| item.value.0).collect());
    }
    PerNode::new(out)
}

fn check_mtu(draft: &InterfaceDraft, interface: &Interface, faults: &mut Faults) {
    // RFC 8200 §5.
    const IPV6_MINIMUM: u32 = 1280;
    let Some(mtu) = &draft.mtu else { return };
    let v6 = |n: &IpNet| n.addr().is_ipv6();
    let uses_v6 = interface.slaac
        || interface.addresses.iter().flatten().any(v6)
        || interface.virtuals.iter().any(|v| v6(&v.address));
    if uses_v6 && mtu.value.0 < IPV6_MINIMUM {
        faults
            .error("out-of-range", &mtu.span, format!("an MTU of {} is too small for IPv6", mtu.value.0))
            .hint(format!("at least {IPV6_MINIMUM} where the interface has an IPv6 address"));
    }
}
