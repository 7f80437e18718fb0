//! `[wireguard]`: where it listens, its peers and their addresses, and whether the policy lets it be.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::World;
use super::devices::reserve;
use super::groups::Pool;
use super::interfaces::check_host_part;
use super::remote::Taken;
use super::virtuals::whole_seconds;
use crate::decode::At;
use crate::draft::{Document, WireguardDraft, WireguardPeerDraft};
use crate::faults::{Faults, Span};
use crate::limits::MAX_WIREGUARD_PEERS;
use crate::model::{
    Flow, Interface, InterfaceName, Name, UDP, Vpn, VpnListen, WIREGUARD_DEVICE, Wireguard, WireguardPeer,
    Zone, ZoneName, is_link_local,
};
use crate::space::AddressSet;
use crate::text::word::NameText;

/// The port that WireGuard's own tools use.
const PORT: u16 = 51_820;
/// Ethernet's 1500 less IPv6, UDP and the overhead of the tunnel.
const MTU: u16 = 1_420;
/// RFC 8200 §5.
const IPV6_MINIMUM: u16 = 1_280;

/// What the document says of WireGuard, switched on or off; `None` without its table.
pub(super) fn resolve(
    document: &Document,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    zones: &BTreeMap<ZoneName, Zone>,
    pools: &[Pool],
    faults: &mut Faults,
) -> Option<Wireguard> {
    let draft = document.wireguard.as_ref()?;
    let enabled = draft.enabled.as_ref().is_some_and(|e| e.value);
    let addresses = addresses(draft, faults);
    let peers = peers(draft, &addresses, faults);
    let mut networks: Vec<(IpNet, &Span, String)> = Vec::new();
    networks.extend(addresses.iter().map(|(net, span)| (net.trunc(), *span, "the tunnel".to_owned())));
    for (name, peer) in draft.peer.iter().flat_map(|p| p.iter()) {
        let items = peer.address.iter().flat_map(|a| &a.items);
        networks.extend(items.map(|n| (n.value.0, &n.span, format!("peer `{}`", name.value))));
    }
    check_overlaps(&networks, interfaces, faults);
    check_pools(&networks, pools, faults);
    check_routes(document, &networks, faults);
    reserve((WIREGUARD_DEVICE, "WireGuard"), document, interfaces, faults);
    let mtu = mtu(draft, &networks, faults);
    let wireguard = Wireguard {
        enabled,
        zones: listening(draft, zones, faults),
        port: draft.port.as_ref().map_or(PORT, |p| u16::try_from(p.value.0).unwrap_or(PORT)),
        addresses: addresses.iter().map(|(net, _)| *net).collect(),
        private_key: draft.private_key.as_ref().map(name),
        mtu,
        why: draft.why.as_ref().map(|w| w.value.0.clone()),
        peers,
    };
    if enabled {
        check_switch(document, draft, &wireguard, faults);
    }
    Some(wireguard)
}

fn name(text: &At<NameText>) -> Name {
    Name::new(&text.value.0)
}

/// What being switched on needs, and what the policy says to it.
fn check_switch(document: &Document, draft: &WireguardDraft, wireguard: &Wireguard, faults: &mut Faults) {
    let place = draft.enabled.as_ref().map_or(&draft.span, |e| &e.span);
    let only = document.policy.as_ref().and_then(|p| p.aes_256_only.as_ref()).filter(|only| only.value);
    match only {
        Some(only) => {
            faults
                .error(
                    "aes-256-only",
                    place,
                    "WireGuard is ChaCha20-Poly1305, and the policy allows AES-256 only",
                )
                .related(&only.span, "the policy")
                .hint("use [vpn], which is AES-256-GCM, or take `aes_256_only` away");
        }
        None => {
            faults
                .warning(
                    "outside-aes-256",
                    place,
                    "WireGuard is ChaCha20-Poly1305, outside the AES-256 policy",
                )
                .hint("what must be AES-256 goes by [vpn]; `aes_256_only = true` in [policy] forbids this");
        }
    }
    if draft.broken {
        return;
    }
    for (missing, key) in [
        (wireguard.private_key.is_none(), "private_key"),
        (draft.address.is_none(), "address"),
        (wireguard.zones.is_empty() && draft.zones.is_none(), "zones"),
    ] {
        if missing {
            faults
                .error("missing-key", place, format!("[wireguard] is switched on and has no `{key}`"))
                .hint(match key {
                    "private_key" => "the name of a secret with the private key, as `wg genkey` makes it",
                    "address" => "the box's address in the tunnel: `10.99.0.1/24`",
                    _ => "there is no external zone: say where peers come from, `zones = [\"wan\"]`",
                });
        }
    }
}

fn addresses<'d>(draft: &'d WireguardDraft, faults: &mut Faults) -> Vec<(IpNet, &'d Span)> {
    let items = draft.address.iter().flat_map(|a| &a.items);
    let read = items.map(|item| {
        check_host_part(item.value.0, &item.span, faults);
        (item.value.0, &item.span)
    });
    read.collect()
}

/// The zones where it listens: those given, or the external ones.
fn listening(
    draft: &WireguardDraft,
    zones: &BTreeMap<ZoneName, Zone>,
    faults: &mut Faults,
) -> BTreeSet<ZoneName> {
    let Some(list) = &draft.zones else {
        return zones.iter().filter(|(_, zone)| zone.external).map(|(name, _)| name.clone()).collect();
    };
    let mut out = BTreeSet::new();
    for item in &list.items {
        match zones.get_key_value(item.value.0.as_str()) {
            Some((known, _)) if !known.is_firewall() && !known.is_tunnel() => drop(out.insert(known.clone())),
            Some(_) => {
                faults
                    .error("reserved-name", &item.span, "WireGuard cannot listen there")
                    .hint("name zones with interfaces");
            }
            None => {
                faults
                    .error("unknown-zone", &item.span, format!("there is no zone `{}`", item.value.0))
                    .suggest(&item.value.0, zones.keys().map(ZoneName::as_str));
            }
        }
    }
    out
}

fn peers(
    draft: &WireguardDraft,
    addresses: &[(IpNet, &Span)],
    faults: &mut Faults,
) -> BTreeMap<Name, WireguardPeer> {
    let (mut out, mut keys, mut networks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let all = draft.peer.as_ref().map_or(&[][..], |peers| &peers.entries);
    if let Some((over, _)) = all.get(MAX_WIREGUARD_PEERS) {
        faults.error("too-large", &over.span, format!("more than {MAX_WIREGUARD_PEERS} WireGuard peers"));
    }
    for (label, peer) in all.iter().take(MAX_WIREGUARD_PEERS) {
        let WireguardPeerDraft { public_key, address, .. } = peer;
        if let Some(key) = public_key
            && let Some(other) = keys.insert(key.value.0, &key.span)
        {
            faults
                .error("duplicate-peer", &key.span, "two peers have the same public key")
                .related(other, "the first one")
                .hint("a peer is known by its key: give each device one of its own");
        }
        for item in address.iter().flat_map(|a| &a.items) {
            check_network(item.value.0, &item.span, addresses, faults);
            if let Some(other) = networks.insert(item.value.0, &item.span) {
                faults
                    .error("overlapping-networks", &item.span, format!("{} is another peer's", item.value.0))
                    .related(other, "here already")
                    .hint("an address is behind one peer; of nested networks the smaller one decides");
            }
        }
        let (Some(key), Some(address)) = (public_key, address) else { continue };
        let keepalive = peer.keepalive.as_ref();
        let made = WireguardPeer {
            public_key: key.value.0,
            preshared_key: peer.preshared_key.as_ref().map(name),
            addresses: address.items.iter().map(|n| n.value.0).collect(),
            endpoint: peer.endpoint.as_ref().map(|e| e.value.0),
            keepalive_s: keepalive.and_then(|k| self::keepalive(k, faults)),
            description: peer.description.as_ref().map(|d| d.value.0.clone()),
        };
        out.insert(Name::new(&label.value), made);
    }
    out
}

/// 0 switches it off.
fn keepalive(lapse: &At<crate::text::time::Lapse>, faults: &mut Faults) -> Option<u16> {
    let seconds = whole_seconds(lapse, "`keepalive`", faults);
    match u16::try_from(seconds) {
        Ok(0) => None,
        Ok(seconds) => Some(seconds),
        Err(_) => {
            faults.error("out-of-range", &lapse.span, "a keepalive of more than 65535s");
            None
        }
    }
}

fn check_network(net: IpNet, span: &Span, addresses: &[(IpNet, &Span)], faults: &mut Faults) {
    if net.prefix_len() == 0 {
        faults
            .error("bad-address", span, format!("{net} is everything, and a peer is behind the box"))
            .hint("name the addresses of the device and the networks behind it");
    } else if net.addr().is_multicast() || net.addr().is_loopback() || is_link_local(net.addr()) {
        faults.error("bad-address", span, format!("{net} cannot be a peer's"));
    } else if let Some((own, other)) = addresses.iter().find(|(own, _)| net.contains(&own.addr())) {
        faults
            .error("overlapping-networks", span, format!("{net} contains {}, the box itself", own.addr()))
            .related(other, "the box's address in the tunnel")
            .hint("a device has an address of its own: `10.99.0.10`");
    }
}

/// A network is behind one interface.
fn check_overlaps(
    networks: &[(IpNet, &Span, String)],
    interfaces: &BTreeMap<InterfaceName, Interface>,
    faults: &mut Faults,
) {
    for (net, span, whose) in networks {
        let meets = |other: &IpNet| net.contains(other) || other.contains(net);
        let connected = |interface: &Interface| {
            let own = interface.addresses.iter().flatten().map(IpNet::trunc);
            let mut own = own.filter(|n| !is_link_local(n.addr()));
            own.find(meets)
        };
        if let Some((name, other)) = interfaces.iter().find_map(|(name, i)| Some((name, connected(i)?))) {
            faults
                .error(
                    "overlapping-networks",
                    span,
                    format!("{net} of {whose} overlaps {other} of interface `{name}`"),
                )
                .hint("a network is behind one interface; otherwise the box cannot tell where to send");
        }
    }
}

/// Nor is it in both tunnels.
fn check_pools(networks: &[(IpNet, &Span, String)], pools: &[Pool], faults: &mut Faults) {
    for (net, span, whose) in networks {
        let meets = |pool: &&Pool| net.contains(&pool.net) || pool.net.contains(net);
        if let Some(Pool { group, net: pool, span: place }) = pools.iter().find(meets) {
            let message = format!("{net} of {whose} overlaps {pool} of VPN group `{group}`");
            faults
                .error("overlapping-networks", span, message)
                .related(place, "the pool")
                .hint("each tunnel has networks of its own: flows and the box tell its people by them");
        }
    }
}

/// A static route into the tunnel would take addresses from it; one around it only says where the rest goes.
fn check_routes(document: &Document, networks: &[(IpNet, &Span, String)], faults: &mut Faults) {
    for draft in document.route.iter().flat_map(|r| &r.items) {
        let Some(to) = &draft.value.to else { continue };
        if let Some((net, span, whose)) = networks.iter().find(|(net, ..)| net.contains(&to.value.0)) {
            let message = format!("the route to {} leads into {net} of {whose}", to.value.0);
            faults.error("overlapping-networks", &to.span, message).related(span, "behind WireGuard").hint(
                "what is behind the tunnel is there and nowhere else; its routes are made by themselves",
            );
        }
    }
}

fn mtu(draft: &WireguardDraft, networks: &[(IpNet, &Span, String)], faults: &mut Faults) -> u16 {
    let Some(given) = &draft.mtu else { return MTU };
    let mtu = u16::try_from(given.value.0).unwrap_or(MTU);
    if mtu < IPV6_MINIMUM && networks.iter().any(|(net, ..)| net.addr().is_ipv6()) {
        faults
            .error("out-of-range", &given.span, format!("an MTU of {mtu} is too small for IPv6"))
            .hint(format!("at least {IPV6_MINIMUM} where the tunnel has an IPv6 address"));
    }
    mtu
}

impl World<'_> {
    /// A port of an address has one owner: WireGuard, remote access, or a service that is published.
    pub(super) fn check_wireguard_port(
        &self,
        document: &Document,
        vpn: Option<&Vpn>,
        (flows, spans): (&[Flow], &[Span]),
        faults: &mut Faults,
    ) {
        let Some((draft, wireguard)) = document.wireguard.as_ref().zip(self.wireguard.as_ref()) else {
            return;
        };
        let given = draft.port.as_ref().map(|p| &p.span).or(draft.enabled.as_ref().map(|e| &e.span));
        let Some(span) = given.filter(|_| wireguard.enabled) else { return };
        let number = wireguard.port;
        let hint = "another port for one of the two: `port = …` in [wireguard]";
        let listens = |interface: &Interface| {
            interface.zone.as_ref().is_some_and(|zone| wireguard.zones.contains(zone))
        };
        let both = vpn.filter(|vpn| vpn.udp.port == number).and_then(|vpn| {
            let names = vpn.listen.iter().map(|one| &one.interface);
            names.into_iter().find(|name| self.interfaces.get(*name).is_some_and(listens))
        });
        if let Some(name) = both {
            let message =
                format!("WireGuard and remote access would both listen on UDP {number} of `{name}`");
            let other = document.vpn.as_ref().map(|v| v.port.as_ref().map_or(&v.span, |p| &p.span));
            let fault = faults.error("wireguard-port-taken", span, message).hint(hint);
            if let Some(other) = other {
                fault.related(other, "remote access");
            }
        }
        let mut places = BTreeSet::new();
        for (name, interface) in self.interfaces.iter().filter(|(_, interface)| listens(interface)) {
            let whole = VpnListen { interface: name.clone(), only: None };
            places.extend(interface.addresses.iter().flat_map(|own| whole.places(interface, own)));
        }
        let taken = Taken { world: self, flows: (flows, spans), places: &places };
        if let Some((flow, published)) = places.iter().find_map(|place| taken.by(place, UDP, number)) {
            let message =
                format!("UDP {number} is published by {} already, so nobody reaches WireGuard", flow.label);
            faults
                .error("wireguard-port-taken", span, message)
                .related(published, "published here")
                .hint("another port (`port = …` in [wireguard]), or publish that one elsewhere");
        }
    }

    /// The addresses of the peer that an endpoint of a flow names: `wireguard:alice`.
    pub(super) fn peer_hosts(&self, zone: Option<&ZoneName>, name: &str) -> Option<AddressSet> {
        zone.filter(|zone| zone.is_wireguard())?;
        let peer = self.wireguard.as_ref()?.peers.get(name)?;
        let nets: Vec<_> = peer.addresses.iter().map(|n| AddressSet::network(*n)).collect();
        Some(AddressSet::union_of(&nets))
    }

    /// The names of the peers, where an endpoint is in their zone.
    pub(super) fn peer_names(&self, zone: Option<&ZoneName>) -> impl Iterator<Item = &str> {
        let here = zone.is_some_and(ZoneName::is_wireguard);
        self.wireguard.iter().filter(move |_| here).flat_map(|w| w.peers.keys().map(Name::as_str))
    }
}
