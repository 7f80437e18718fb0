//! `virtual` of an interface: the virtual routers and their addresses. What is said here belongs to one interface;
//! how the nodes of a pair hear each other is in `boxes`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::World;
use super::boxes::Nodes;
use super::interfaces::{Addresses, Spans, check_host_part};
use super::networks::on_networks;
use crate::decode::{At, ByNode, Either, Int};
use crate::draft::{InterfaceDraft, VirtualDraft};
use crate::faults::{Faults, Span};
use crate::limits::{MAX_ROUTER_ADDRESSES, MAX_UNICAST_PEERS};
use crate::model::{
    Carp, ChecksumForm, Failback, Interface, InterfaceName, Name, PerNode, RouterId, VirtualAddress,
    VirtualProtocol, VirtualRouter, is_link_local,
};
use crate::space::Family;
use crate::text::time::Lapse;

/// What became of `virtual`.
pub(super) type Routers = (Vec<VirtualAddress>, BTreeMap<RouterId, VirtualRouter>);

/// Advert intervals, in centiseconds: between the nodes of a pair, and beside a router of somebody else's
/// (RFC 9568 §6.1, `Advertisement_Interval`).
const PAIR_INTERVAL_CS: u16 = 10;
const USUAL_INTERVAL_CS: u16 = 100;
/// Priorities of the first and the second node, and of a single box (RFC 9568 §5.2.4).
const PAIR_PRIORITIES: [u8; 2] = [200, 100];
const USUAL_PRIORITY: u8 = 100;
/// Skews of the first and the second node, as pfSense sets them.
const PAIR_SKEWS: [u8; 2] = [0, 100];

/// The virtual routers of one interface.
pub(super) fn resolve(
    draft: &InterfaceDraft,
    nodes: &Nodes,
    failback: Failback,
    addresses: &Addresses,
    places: &mut Spans,
    faults: &mut Faults,
) -> Routers {
    let drafts: Vec<&At<VirtualDraft>> = match &draft.r#virtual {
        None => Vec::new(),
        Some(Either::Short(list)) => list.items.iter().collect(),
        Some(Either::Table(one)) => vec![one],
    };
    let mut routers = BTreeMap::new();
    let mut virtuals = Vec::new();
    let mut ids = Ids::default();
    for one in drafts {
        let found = check_addresses(&one.value, addresses, faults);
        let (Some(vrid), Some((family, _))) = (&one.value.vrid, found.first()) else { continue };
        // The decoder has bounded it to 1..=255.
        let id = RouterId { vrid: u8::try_from(vrid.value.0).unwrap_or(u8::MAX), family: *family };
        let router = Reader { draft: &one.value, id, nodes, failback, addresses }.read(faults);
        ids.check(id, router.protocol, &vrid.span, faults);
        routers.insert(id, router);
        for (_, address) in found.iter().filter(|(f, _)| f == family) {
            places.virtuals.push(address.span.clone());
            virtuals.push(VirtualAddress { address: address.value, vrid: id.vrid });
        }
    }
    (virtuals, routers)
}

/// The addresses of one router that may be virtual, with their IP version.
fn check_addresses(
    draft: &VirtualDraft,
    addresses: &Addresses,
    faults: &mut Faults,
) -> Vec<(Family, At<IpNet>)> {
    let Some(list) = &draft.address else { return Vec::new() };
    let mut out: Vec<(Family, At<IpNet>)> = Vec::new();
    for item in &list.items {
        let net = item.value.0;
        check_host_part(net, &item.span, faults);
        check_network(net, &item.span, addresses, faults);
        out.push((Family::of(net.addr()), At { value: net, span: item.span.clone() }));
    }
    if let Some((first, other)) =
        out.first().and_then(|a| Some((a, out.iter().find(|(family, _)| *family != a.0)?)))
    {
        faults
            .error("family-mismatch", &other.1.span, "a virtual router has addresses of one IP version")
            .related(&first.1.span, "the other version")
            .hint("write a second table; IPv4 and IPv6 may share the vrid");
    }
    if let Some((_, over)) = out.get(MAX_ROUTER_ADDRESSES) {
        faults
            .error("too-large", &over.span, format!("more than {MAX_ROUTER_ADDRESSES} virtual addresses"))
            .hint("an advert names all addresses of its router and is one packet: write a second router");
    }
    out
}

/// A virtual address lies in the network of the nodes' own addresses: the neighbours could not answer it otherwise.
fn check_network(net: IpNet, span: &Span, addresses: &Addresses, faults: &mut Faults) {
    let address = net.addr();
    let full = net.max_prefix_len();
    if is_link_local(address) {
        // RFC 4291 §2.5.6.
        if ![64, full].contains(&net.prefix_len()) {
            faults
                .error(
                    "virtual-outside",
                    span,
                    format!("a link-local network is a /64, not a /{}", net.prefix_len()),
                )
                .hint(format!("write `{address}/64`"));
        }
        return;
    }
    let (leased, how) =
        if address.is_ipv4() { (addresses.dhcp, "DHCP") } else { (addresses.slaac, "router advertisement") };
    for fixed in &addresses.fixed {
        let mut hint = "a virtual address lies in the network of the nodes' own, fixed addresses";
        let home = fixed.iter().find(|own| own.contains(&address));
        let alone = !fixed.iter().any(|own| own.addr().is_ipv4() == address.is_ipv4());
        match home {
            Some(own) if net.prefix_len() == own.prefix_len() || net.prefix_len() == full => continue,
            Some(own) => {
                let message = format!("the prefix length of {net} differs from its network {}", own.trunc());
                faults.error("virtual-outside", span, message)
            }
            None if leased && alone => {
                hint = "a lease belongs to one node: give each node a fixed address in the network of the virtual one";
                let message = format!("{address} is virtual, but the interface has its own address by {how}");
                faults.error("virtual-leased", span, message)
            }
            None => {
                let message = format!("{address} is outside the networks of this interface");
                faults.error("virtual-outside", span, message)
            }
        }
        .hint(hint);
        return;
    }
}

/// Which virtual routers an interface has. What must not be there twice is the virtual MAC.
#[derive(Default)]
struct Ids<'d>(BTreeMap<(u8, u8), (RouterId, &'d Span)>);

impl<'d> Ids<'d> {
    fn check(&mut self, id: RouterId, protocol: VirtualProtocol, span: &'d Span, faults: &mut Faults) {
        let mac = id.mac(protocol);
        let Some((other, place)) = self.0.insert((mac[4], mac[5]), (id, span)) else { return };
        let vrid = id.vrid;
        if other == id {
            faults
                .error("duplicate-vrid", span, format!("virtual router id {vrid} is used twice on this interface"))
                .related(place, "here too")
                .hint("each virtual router has an id of its own; it may have several addresses: address = [\"…\", \"…\"]");
        } else {
            faults
                .error(
                    "duplicate-vrid",
                    span,
                    format!("two virtual routers with id {vrid} have the same MAC"),
                )
                .related(place, "here too")
                .hint("CARP uses one virtual MAC for IPv4 and IPv6: give one of them another vrid");
        }
    }
}

impl World<'_> {
    /// Reports an outside address of a translation that does not move with the role. `address` lies in a network of
    /// the box or is one of its own.
    pub(super) fn check_moves(&self, address: IpAddr, span: &Span, faults: &mut Faults) {
        let homes = |(_, i): &(&InterfaceName, &Interface)| {
            let own = i.addresses.iter().flatten().chain(i.virtuals.iter().map(|v| &v.address));
            own.into_iter().any(|n| n.contains(&address))
        };
        let Some((name, interface)) = self.interfaces.iter().find(homes) else { return };
        let is = |n: &IpNet| n.addr() == address;
        if interface.addresses.iter().count() < 2 || interface.virtuals.iter().any(|v| is(&v.address)) {
            return;
        }
        let family = Family::of(address);
        if interface.addresses.iter().flatten().any(is) {
            faults
                .warning(
                    "one-node",
                    span,
                    format!("{address} belongs to one node, and stays there when the role moves"),
                )
                .hint("use a virtual address, or one that neither node has");
        } else if !interface.routers.keys().any(|r| r.family == family) {
            faults
                .warning("unanswered", span, format!("neither node answers for {address} on `{name}`"))
                .hint(format!(
                    "give [interface.{name}] a `virtual` address: whoever is active answers for this one too"
                ));
        }
    }
}

/// Reads the settings of one router.
struct Reader<'a> {
    draft: &'a VirtualDraft,
    id: RouterId,
    nodes: &'a Nodes,
    failback: Failback,
    addresses: &'a Addresses,
}

impl Reader<'_> {
    fn read(&self, faults: &mut Faults) -> VirtualRouter {
        let protocol = self.draft.protocol.as_ref().map_or(VirtualProtocol::default(), |p| p.value);
        self.check_protocol(protocol, faults);
        let carp = self.carp(protocol, faults);
        let interval_cs = match &carp {
            Some(carp) => u16::from(carp.advbase) * 100,
            None => self.interval(protocol, faults),
        };
        let (preempt, delay) = match (self.nodes.names.len(), self.failback) {
            (0 | 1, _) => (true, 0),
            (_, Failback::Stay) => (false, 0),
            (_, Failback::Preferred { delay_s }) => (true, delay_s),
        };
        let password = self.draft.password.as_ref().map(|p| Name::new(&p.value.0));
        VirtualRouter {
            protocol,
            interval_cs,
            priority: self.per_node(
                &self.draft.priority,
                "`priority`",
                PAIR_PRIORITIES,
                USUAL_PRIORITY,
                faults,
            ),
            preempt: self.draft.preempt.as_ref().map_or(preempt, |p| p.value),
            preempt_delay_s: self
                .draft
                .preempt_delay
                .as_ref()
                .map_or(delay, |d| whole_seconds(d, "`preempt_delay`", faults)),
            accept: self.draft.accept.as_ref().is_none_or(|a| a.value),
            unicast: self.unicast(faults),
            checksum: self.draft.checksum.as_ref().map_or(ChecksumForm::default(), |c| c.value),
            password: password.filter(|_| carp.is_none()),
            carp,
        }
    }

    /// Reports settings that the protocol does not know.
    fn check_protocol(&self, protocol: VirtualProtocol, faults: &mut Faults) {
        use VirtualProtocol::{Carp, Vrrp2, Vrrp3};
        let d = self.draft;
        if let (Vrrp2, Family::V6, Some(place)) = (protocol, self.id.family, &d.protocol) {
            faults
                .error("wrong-protocol", &place.span, "VRRP version 2 carries no IPv6 addresses")
                .hint("protocol = \"vrrp3\" (RFC 9568) carries both");
        }
        let v4 = self.id.family == Family::V4;
        let rows: [(&str, Option<Span>, bool, &str); 7] = [
            (
                "interval",
                d.interval.as_ref().map(|i| i.span.clone()),
                protocol != Carp,
                "CARP's interval is `advbase` in seconds and `advskew` in 1/256 s",
            ),
            (
                "priority",
                d.priority.as_ref().map(span_of),
                protocol != Carp,
                "in CARP the router with less `advskew` is preferred",
            ),
            (
                "accept",
                d.accept.as_ref().map(|a| a.span.clone()),
                protocol != Carp,
                "CARP always answers for its addresses; [[flow]] says who may speak to the box",
            ),
            (
                "checksum",
                d.checksum.as_ref().map(|c| c.span.clone()),
                protocol == Vrrp3 && v4,
                "only adverts of vrrp3 over IPv4 have more than one form",
            ),
            (
                "advbase",
                d.advbase.as_ref().map(|a| a.span.clone()),
                protocol == Carp,
                "VRRP has `interval`; or write protocol = \"carp\"",
            ),
            (
                "advskew",
                d.advskew.as_ref().map(span_of),
                protocol == Carp,
                "VRRP has `priority`; or write protocol = \"carp\"",
            ),
            (
                "password",
                d.password.as_ref().map(|p| p.span.clone()),
                matches!(protocol, Carp | Vrrp2),
                "vrrp3 has no authentication (RFC 9568 §9); the two boxes of a pair authenticate each other by themselves",
            ),
        ];
        for (key, span, fits, hint) in rows {
            if let (Some(span), false) = (span, fits) {
                let message = format!("`{key}` has no meaning in {}", spelled(protocol, self.id.family));
                faults.error("wrong-protocol", &span, message).hint(hint);
            }
        }
    }

    fn carp(&self, protocol: VirtualProtocol, faults: &mut Faults) -> Option<Carp> {
        if protocol != VirtualProtocol::Carp {
            return None;
        }
        let d = self.draft;
        if d.password.is_none() && !d.broken {
            faults
                .error("missing-key", &d.span, "a virtual address in CARP needs `password`")
                .label("`password` is missing")
                .hint("the name of a secret, such as password = \"carp-lan\": the file `carp-lan` in the directory of secrets");
        }
        Some(Carp {
            advbase: d.advbase.as_ref().map_or(1, |a| u8::try_from(a.value.0).unwrap_or(1)),
            advskew: self.per_node(&d.advskew, "`advskew`", PAIR_SKEWS, PAIR_SKEWS[0], faults),
            password: d.password.as_ref().map_or_else(|| Name::new(""), |p| Name::new(&p.value.0)),
        })
    }

    fn interval(&self, protocol: VirtualProtocol, faults: &mut Faults) -> u16 {
        // RFC 9568 §5.2.7 (12 bits of centiseconds), RFC 3768 §5.3.7 (8 bits of seconds).
        let (step, most, default, hint) = match protocol {
            VirtualProtocol::Vrrp3 => {
                let default = if self.nodes.names.len() > 1 { PAIR_INTERVAL_CS } else { USUAL_INTERVAL_CS };
                (10, 40_950, default, "vrrp3: 10ms to 40950ms, in steps of 10ms")
            }
            VirtualProtocol::Vrrp2 => {
                (1_000, 255_000, USUAL_INTERVAL_CS, "vrrp2: 1s to 255s, in whole seconds")
            }
            VirtualProtocol::Carp => return USUAL_INTERVAL_CS,
        };
        let Some(At { value: Lapse { milliseconds }, span }) = &self.draft.interval else { return default };
        if *milliseconds < step || *milliseconds > most || !milliseconds.is_multiple_of(step) {
            let message = format!("adverts cannot be {} apart", Lapse { milliseconds: *milliseconds });
            faults.error("out-of-range", span, message).hint(hint);
            return default;
        }
        u16::try_from(milliseconds / 10).unwrap_or(default)
    }

    /// A small number for each node.
    fn per_node<const LO: u32, const HI: u32>(
        &self,
        value: &Option<ByNode<At<Int<LO, HI>>>>,
        what: &str,
        pair: [u8; 2],
        alone: u8,
        faults: &mut Faults,
    ) -> PerNode<u8> {
        let defaults = if self.nodes.names.len() == 2 { pair.to_vec() } else { vec![alone] };
        let given = value.as_ref().and_then(|v| self.nodes.each(v, what, faults));
        // The decoder has bounded them to a byte.
        let given =
            given.map(|each| each.iter().map(|n| u8::try_from(n.value.0).unwrap_or(u8::MAX)).collect());
        PerNode::new(given.unwrap_or(defaults))
    }

    /// The other routers, for each node: itself left out.
    fn unicast(&self, faults: &mut Faults) -> PerNode<Vec<IpAddr>> {
        let none = || self.nodes.all(Vec::new());
        let Some(value) = &self.draft.unicast else { return none() };
        let Some(lists) = self.nodes.each(value, "`unicast`", faults) else { return none() };
        let mut out = Vec::new();
        for (at, (list, own)) in lists.iter().zip(&self.addresses.fixed).enumerate() {
            let fresh = at == 0 || !std::ptr::eq(*list, lists[0]);
            for item in list.items.iter().filter(|_| fresh) {
                let peer = item.value.0;
                if Family::of(peer) != self.id.family {
                    faults
                        .error(
                            "family-mismatch",
                            &item.span,
                            format!("{peer} is of another IP version than the virtual address"),
                        )
                        .hint("adverts are of the version that they speak of");
                } else if !is_link_local(peer) && !on_networks(own, peer) {
                    faults
                        .error("bad-unicast", &item.span, format!("{peer} is not on a network of this interface"))
                        .hint("virtual routers of one id are neighbours: they have addresses in the same network");
                }
            }
            let others: Vec<IpAddr> = list
                .items
                .iter()
                .map(|i| i.value.0)
                .filter(|a| !own.iter().any(|o| o.addr() == *a))
                .collect();
            if others.is_empty() {
                faults.error("bad-unicast", &list.span, "`unicast` names this node alone").hint(
                    "name the other routers, or leave it out: adverts then go to everybody who listens",
                );
            }
            if others.len() > MAX_UNICAST_PEERS {
                let message = format!("more than {MAX_UNICAST_PEERS} routers in `unicast`");
                faults.error("too-large", &list.span, message);
            }
            out.push(others);
        }
        PerNode::new(out)
    }
}

/// A length of time that the protocol knows in seconds.
pub(super) fn whole_seconds(lapse: &At<Lapse>, what: &str, faults: &mut Faults) -> u32 {
    let milliseconds = lapse.value.milliseconds;
    if !milliseconds.is_multiple_of(1_000) {
        let message = format!("{what} is in whole seconds, not {}", lapse.value);
        faults.error("out-of-range", &lapse.span, message);
    }
    milliseconds / 1_000
}

fn span_of<T>(value: &ByNode<At<T>>) -> Span {
    match value {
        ByNode::Same(one) => one.span.clone(),
        ByNode::Each(_, span) => span.clone(),
    }
}

fn spelled(protocol: VirtualProtocol, family: Family) -> &'static str {
    match (protocol, family) {
        (VirtualProtocol::Vrrp3, Family::V4) => "vrrp3",
        (VirtualProtocol::Vrrp3, Family::V6) => "vrrp3 over IPv6",
        (VirtualProtocol::Vrrp2, _) => "vrrp2",
        (VirtualProtocol::Carp, _) => "CARP",
    }
}
