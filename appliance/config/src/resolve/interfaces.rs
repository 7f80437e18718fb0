//! `[interface.NAME]`: addresses, gateways, zone and MTU. What the device is made of is in `devices`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::boxes::Nodes;
use super::{devices, networks, virtuals};
use crate::decode::{Many, Named};
use crate::draft::{Document, InterfaceDraft};
use crate::faults::{Faults, Span};
use crate::limits::{MAX_INTERFACES, MAX_ROUTERS};
use crate::model::{
    Device, FIREWALL, Failback, Interface, InterfaceKind, InterfaceName, PerNode, VPN, WIREGUARD, ZoneName,
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
    failback: Failback,
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
        let (interface, places) = one(draft, kind, device, nodes, failback, faults);
        let key = InterfaceName::new(&name.value);
        spans.insert(key.clone(), places);
        interfaces.insert(key, interface);
    }
    check_carried_mtu(drafts, &interfaces, faults);
    check_router_devices(&interfaces, &spans, nodes, faults);
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

/// The devices of virtual routers are named after their interface: nothing else may have such a name.
fn check_router_devices(
    interfaces: &BTreeMap<InterfaceName, Interface>,
    spans: &BTreeMap<InterfaceName, Spans>,
    nodes: &Nodes,
    faults: &mut Faults,
) {
    let count = interfaces.values().map(|i| i.routers.len()).sum::<usize>();
    let mut made = BTreeMap::new();
    for (name, interface) in interfaces {
        let place = spans.get(name).and_then(|s| s.virtuals.first()).cloned().unwrap_or(0..0);
        if count > MAX_ROUTERS {
            faults
                .error("too-large", &place, format!("{count} virtual routers"))
                .hint(format!("at most {MAX_ROUTERS} in all; one router may have several addresses"));
            return;
        }
        for id in interface.routers.keys() {
            let device = id.device(name);
            let named = |i: &Interface, node: usize| {
                let members = match &i.kind {
                    InterfaceKind::Physical | InterfaceKind::Vlan { .. } => None,
                    InterfaceKind::Bond { members, .. } | InterfaceKind::Bridge { members, .. } => {
                        members.iter().nth(node)
                    }
                };
                i.device.iter().nth(node) == Some(&device) || members.is_some_and(|m| m.contains(&device))
            };
            let taken = interfaces.values().any(|i| (0..nodes.names.len()).any(|node| named(i, node)));
            if taken || made.insert(device.clone(), (name, id)).is_some() {
                faults
                    .error(
                        "duplicate-device",
                        &place,
                        format!("the virtual router's device would be called `{device}`"),
                    )
                    .hint("something else has that name: rename the interface");
            }
        }
    }
}

fn one(
    draft: &InterfaceDraft,
    kind: InterfaceKind,
    device: PerNode<Device>,
    nodes: &Nodes,
    failback: Failback,
    faults: &mut Faults,
) -> (Interface, Spans) {
    let mut places = Spans { addresses: Vec::new(), virtuals: Vec::new() };
    let addresses = addresses(draft, nodes, &mut places, faults);
    let (virtuals, routers) = virtuals::resolve(draft, nodes, failback, &addresses, &mut places, faults);
    let zone = zone(draft, faults);
    let monitor = monitor(draft, zone.is_some(), faults);
    let mut interface = Interface {
        device,
        kind,
        zone,
        addresses: PerNode::new(addresses.fixed),
        dhcp: addresses.dhcp,
        slaac: addresses.slaac,
        virtuals,
        routers,
        monitor,
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
        WIREGUARD => "it is remote access by WireGuard; peers stand in [wireguard.peer.NAME]",
        "any" => "it means every zone",
        name => return Some(ZoneName::new(name)),
    };
    let message = format!("the zone `{}` cannot be given to an interface", zone.value.0);
    faults.error("reserved-name", &zone.span, message).hint(why);
    None
}

/// `monitor`: an interface without a zone carries nobody's traffic, and the sync cable has its own meaning for health.
fn monitor(draft: &InterfaceDraft, zoned: bool, faults: &mut Faults) -> bool {
    match &draft.monitor {
        None => zoned,
        Some(monitor) if monitor.value && draft.zone.is_none() => {
            faults
                .warning("no-effect", &monitor.span, "an interface without a zone does not count for health")
                .hint(
                    "a node is as healthy as the interfaces that forward; the sync cable alone moves nothing",
                );
            false
        }
        Some(monitor) => monitor.value && zoned,
    }
}

/// The addresses of an interface.
pub(super) struct Addresses {
    /// The fixed ones, per node.
    pub fixed: Vec<Vec<IpNet>>,
    pub dhcp: bool,
    pub slaac: bool,
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
pub(super) fn check_host_part(net: IpNet, span: &Span, faults: &mut Faults) {
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
