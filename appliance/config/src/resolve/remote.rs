//! `[vpn]` as a whole: where it listens, whom it asks, and what of it other parts of the document have taken.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::World;
use super::devices::reserve;
use super::groups::{host, seconds, too_many};
use super::publish::outside;
use crate::decode::{At, Many, Toggle};
use crate::draft::{CertificatesDraft, DirectoryDraft, Document, RadiusDraft, VpnDraft};
use crate::faults::{Faults, Span};
use crate::limits::MAX_VPN_LISTEN;
use crate::model::{
    Flow, Fqdn, Interface, InterfaceName, Name, NodeName, TCP, UDP, VPN, VPN_DEVICE, VPN_KERNEL_DEVICE, Vpn,
    VpnCertificates, VpnDirectory, VpnListen, VpnPlace, VpnPort, VpnRadius, VpnStrangers, ZoneName,
};
use crate::text::address::HostElement;
use crate::text::remote::{ListenText, OffloadWord, TlsWord};

/// Names and addresses in a profile: a client goes through all of them before it gives up.
const MAX_REMOTES: usize = 8;
/// Domain controllers, and RADIUS servers: whoever logs in waits for each that is silent.
const MAX_SERVERS: usize = 8;
/// The port of OpenVPN (IANA: openvpn).
const UDP_PORT: u16 = 1194;
/// What no network keeps its users from.
const TCP_PORT: u16 = 443;
/// The port of LDAPS (IANA: ldaps).
const LDAPS_PORT: u16 = 636;
/// The port of RADIUS (RFC 2865 §3).
const RADIUS_PORT: u16 = 1812;
/// What an Ethernet carries, and clients expect.
const MTU: u16 = 1500;
/// RFC 8200 §5.
const IPV6_MINIMUM: u32 = 1280;
/// What a small box has to spare.
const SESSIONS: u32 = 1_000;
/// "Of the order of an hour" (ANSSI's advice for IPsec, R13).
const REKEY_S: u32 = 3_600;
/// Twice what clients are told to wait before they start again.
const IDLE_S: u32 = 120;
/// Longest name of an organisation (X.520, `ub-organization-name`).
const MAX_ORGANISATION: usize = 64;

impl World<'_> {
    /// `[vpn]`; `None` without a group.
    pub(super) fn vpn(
        &mut self,
        document: &Document,
        nodes: &[NodeName],
        order: Vec<Name>,
        flows: (&[Flow], &[Span]),
        faults: &mut Faults,
    ) -> Option<Vpn> {
        let draft = document.vpn.as_ref()?;
        let Some(place) = draft.group.as_ref().and_then(|g| g.iter().next()).map(|(name, _)| &name.span)
        else {
            self.without_groups(draft, faults);
            return None;
        };
        reserve((VPN_DEVICE, "remote access"), document, &self.interfaces, faults);
        let offload = draft.offload.as_ref().is_some_and(|o| o.value == OffloadWord::Kernel);
        if offload {
            reserve((VPN_KERNEL_DEVICE, "remote access in the kernel"), document, &self.interfaces, faults);
        }
        let listen = self.listen(draft, faults);
        let places = self.places(&listen, None);
        let each = (0..nodes.len()).map(|node| self.places(&listen, Some(node)).len());
        let most = each.max().unwrap_or_default();
        self.check_places(draft, place, (nodes.len(), most), &places, faults);
        let taken = Taken { world: self, flows, places: &places };
        let udp = VpnPort {
            port: draft.port.as_ref().map_or(UDP_PORT, |p| port(p.value.0)),
            taken: BTreeSet::new(),
        };
        let udp = taken.settle(udp, UDP, draft.port.as_ref().map(|p| &p.span), place, faults);
        let (tcp, given) = match draft.tcp.as_ref().map(|t| (&t.value, &t.span)) {
            None => (Some(TCP_PORT), None),
            Some((Toggle::Bool(false), _)) => (None, None),
            Some((Toggle::Bool(true), span)) => (Some(TCP_PORT), Some(span)),
            Some((Toggle::More(number), span)) => (Some(port(number.0)), Some(span)),
        };
        let tcp =
            tcp.map(|port| taken.settle(VpnPort { port, taken: BTreeSet::new() }, TCP, given, place, faults));
        let directory = draft.directory.as_ref().and_then(|d| self.directory(d, faults));
        let radius = draft.radius.as_ref().and_then(|r| self.radius(r, faults));
        self.check_strangers(draft, faults);
        Some(Vpn {
            listen,
            udp,
            tcp,
            remotes: remotes(draft, faults),
            mtu: self.tunnel_mtu(draft, faults),
            max_sessions: draft.sessions.as_ref().map_or(SESSIONS, |s| s.value.0),
            rekey_s: draft
                .rekey
                .as_ref()
                .and_then(|l| seconds(l, 60, 86_400, "1min", "24h", faults))
                .unwrap_or(REKEY_S),
            idle_s: draft
                .idle
                .as_ref()
                .and_then(|l| seconds(l, 30, 3_600, "30s", "1h", faults))
                .unwrap_or(IDLE_S),
            tls12: draft.tls.as_ref().is_none_or(|t| t.value == TlsWord::V12),
            offload,
            order,
            strangers: draft.strangers.as_ref().map(|s| s.value),
            directory,
            radius,
            certificates: certificates(draft.certificates.as_ref(), faults),
        })
    }

    /// Settings of something that is not there.
    fn without_groups(&self, draft: &VpnDraft, faults: &mut Faults) {
        let broken = draft.group.as_ref().is_some_and(|g| !g.broken.is_empty());
        if !broken && !draft.broken {
            faults
                .warning("no-effect", &draft.span, "there is no group of remote users, so nobody is let in")
                .hint("define one: [vpn.group.NAME] with `pool = \"10.77.10.0/24\"`");
        }
    }

    /// The interfaces that it listens on.
    fn listen(&self, draft: &VpnDraft, faults: &mut Faults) -> Vec<VpnListen> {
        let whole = |name: &InterfaceName| VpnListen { interface: name.clone(), only: None };
        let Some(list) = &draft.listen else {
            let outside =
                |i: &Interface| i.zone.as_ref().and_then(|z| self.zones.get(z)).is_some_and(|z| z.external);
            return self.interfaces.iter().filter(|(_, i)| outside(i)).map(|(name, _)| whole(name)).collect();
        };
        let mut out = Vec::new();
        for item in &list.items {
            match &item.value {
                ListenText::Name(name) => out.extend(self.named(name, &item.span, faults)),
                ListenText::Address(address) => out.extend(self.addressed(*address, &item.span, faults)),
            }
        }
        // Named twice is listened on once, in the order of the document.
        let mut seen = BTreeSet::new();
        out.retain(|one: &VpnListen| seen.insert(one.clone()));
        out
    }

    /// The interfaces of a zone, or the one of that name.
    fn named(&self, name: &str, span: &Span, faults: &mut Faults) -> Vec<VpnListen> {
        if let Some((zone, _)) =
            self.zones.get_key_value(name).filter(|(z, _)| !z.is_firewall() && z.as_str() != VPN)
        {
            let of_zone = self.interfaces.iter().filter(|(_, i)| i.zone.as_ref() == Some(zone));
            return of_zone.map(|(name, _)| VpnListen { interface: name.clone(), only: None }).collect();
        }
        match self.interfaces.get_key_value(name) {
            Some((name, interface)) if interface.zone.is_some() => {
                return vec![VpnListen { interface: name.clone(), only: None }];
            }
            Some(_) => {
                faults
                    .error("vpn-listen", span, format!("the interface `{name}` is in no zone"))
                    .hint("what is in no zone is in no policy, and nobody connects to it");
            }
            None => {
                let zones = self.zones.keys().map(ZoneName::as_str).filter(|z| *z != VPN && *z != "firewall");
                let known: BTreeSet<&str> =
                    zones.chain(self.interfaces.keys().map(InterfaceName::as_str)).collect();
                faults
                    .error("unknown-zone", span, format!("there is neither a zone nor an interface `{name}`"))
                    .suggest(name, known.into_iter());
            }
        }
        Vec::new()
    }

    /// The interface that has an address.
    fn addressed(&self, address: IpAddr, span: &Span, faults: &mut Faults) -> Option<VpnListen> {
        let listens = |one: &VpnListen| !self.places(std::slice::from_ref(one), None).is_empty();
        let zoned = self.interfaces.iter().filter(|(_, i)| i.zone.is_some()).map(|(name, _)| name);
        let found =
            zoned.map(|name| VpnListen { interface: name.clone(), only: Some(address) }).find(listens);
        if found.is_none() {
            faults
                .error("vpn-listen", span, format!("{address} is no address that can be listened on"))
                .hint(
                    "of an interface with a zone: a virtual address that answers, one of the node's own, or the \
                     interface's or zone's name for whatever it has",
                );
        }
        found
    }

    /// Where that is, on one node or on either.
    fn places(&self, listen: &[VpnListen], node: Option<usize>) -> BTreeSet<VpnPlace> {
        let mut out = BTreeSet::new();
        for one in listen {
            let Some(interface) = self.interfaces.get(&one.interface) else { continue };
            for (at, own) in interface.addresses.iter().enumerate() {
                if node.is_none_or(|node| node == at) {
                    out.extend(one.places(interface, own));
                }
            }
        }
        out
    }

    fn check_places(
        &self,
        draft: &VpnDraft,
        group: &Span,
        (nodes, most): (usize, usize),
        places: &BTreeSet<VpnPlace>,
        faults: &mut Faults,
    ) {
        let span = draft.listen.as_ref().map_or(group, |l| &l.span);
        let whole = draft.listen.as_ref().is_none_or(|l| l.whole);
        if places.is_empty() && whole && !faults.has_errors() {
            faults
                .warning("vpn-listen", span, "remote access listens nowhere, so nobody can connect")
                .hint("say where: `listen = \"…\"` in [vpn], a zone or an interface that has an address");
        }
        if most > MAX_VPN_LISTEN {
            let message = format!("remote access would listen on {most} addresses");
            let fault = match draft.listen {
                Some(_) => faults.error("too-large", span, message),
                None => faults.warning("too-large", span, message),
            };
            fault.hint(format!("it takes {MAX_VPN_LISTEN} at most: name them in `listen` of [vpn]"));
        }
        let own = |interface: &Interface, address: IpAddr| {
            interface.addresses.iter().flatten().any(|net| net.addr() == address)
        };
        let lone = places.iter().find_map(|(name, address)| {
            let address = address.as_ref()?;
            let interface = self.interfaces.get(name)?;
            own(interface, *address).then_some((name, address))
        });
        if let (Some((name, address)), true) = (lone, nodes > 1) {
            faults
                .warning(
                    "vpn-not-shared",
                    span,
                    format!("tunnels to {address} end with the node that has it"),
                )
                .hint(format!(
                    "give [interface.{name}] a `virtual` address: it moves with the role, and tunnels with it"
                ));
        }
    }

    fn tunnel_mtu(&self, draft: &VpnDraft, faults: &mut Faults) -> u16 {
        let Some(mtu) = &draft.mtu else { return MTU };
        if mtu.value.0 < IPV6_MINIMUM && self.vpn_groups.values().any(|g| g.pool6.is_some()) {
            faults
                .error("out-of-range", &mtu.span, format!("an MTU of {} is too small for IPv6", mtu.value.0))
                .hint(format!("at least {IPV6_MINIMUM} where a group has an IPv6 pool"));
        }
        port(mtu.value.0)
    }

    fn directory(&self, draft: &DirectoryDraft, faults: &mut Faults) -> Option<VpnDirectory> {
        let domain = draft.domain.as_ref()?.value.0.clone();
        let list = draft.controllers.as_ref()?;
        too_many(list.items.len(), MAX_SERVERS, "controllers", &list.span, faults);
        let mut controllers = Vec::new();
        for item in &list.items {
            let name = match &item.value {
                HostElement::Fqdn(name) => name.clone(),
                HostElement::Name(name) => format!("{}.{domain}", name.to_lowercase()),
                HostElement::Fixed(_) => {
                    faults
                        .error("vpn-directory", &item.span, "a controller is known by its name")
                        .label("its certificate holds no address")
                        .hint(format!(
                            "give it a name in [host], for example `ad1`, which is `ad1.{domain}` then"
                        ));
                    continue;
                }
            };
            let Some(hosts) = host(item, &self.hosts, faults) else { continue };
            controllers.push((Fqdn::new(name), hosts));
        }
        Some(VpnDirectory {
            domain: Fqdn::new(domain),
            controllers,
            port: draft.port.as_ref().map_or(LDAPS_PORT, |p| port(p.value.0)),
            authority: Name::new(&draft.authority.as_ref()?.value.0),
        })
    }

    fn radius(&self, draft: &RadiusDraft, faults: &mut Faults) -> Option<VpnRadius> {
        let source = draft.source.as_ref().and_then(|source| match source.value.0 {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(address) => {
                faults.error("vpn-radius", &source.span, format!("{address} is not an IPv4 address"));
                None
            }
        });
        let group = draft.group.as_ref().and_then(|group| {
            let known = self.vpn_groups.get_key_value(group.value.0.as_str()).map(|(name, _)| name.clone());
            if known.is_none() {
                faults
                    .error("unknown-group", &group.span, format!("there is no VPN group `{}`", group.value.0))
                    .suggest(&group.value.0, self.vpn_groups.keys().map(Name::as_str));
            }
            known
        });
        let list: &Many<HostElement> = draft.servers.as_ref()?;
        too_many(list.items.len(), MAX_SERVERS, "servers", &list.span, faults);
        Some(VpnRadius {
            servers: list.items.iter().filter_map(|item| host(item, &self.hosts, faults)).collect(),
            port: draft.port.as_ref().map_or(RADIUS_PORT, |p| port(p.value.0)),
            secret: Name::new(&draft.secret.as_ref()?.value.0),
            source,
            group,
        })
    }

    fn check_strangers(&self, draft: &VpnDraft, faults: &mut Faults) {
        let Some(strangers) = &draft.strangers else { return };
        let (there, table) = match strangers.value {
            VpnStrangers::Directory => (draft.directory.is_some(), "directory"),
            VpnStrangers::Radius => (draft.radius.is_some(), "radius"),
        };
        if !there && !draft.broken {
            faults
                .error("missing-key", &strangers.span, format!("there is no [vpn.{table}] to ask"))
                .hint(format!("describe it in [vpn.{table}]"));
        }
    }
}

/// What else of the document may want the same packets.
pub(super) struct Taken<'a, 'w> {
    pub world: &'a World<'w>,
    pub flows: (&'a [Flow], &'a [Span]),
    pub places: &'a BTreeSet<VpnPlace>,
}

impl Taken<'_, '_> {
    /// A port without the places where it is translated. One that the document names must be free everywhere; the
    /// usual one is left alone where it is not.
    fn settle(
        &self,
        mut port: VpnPort,
        protocol: u8,
        given: Option<&Span>,
        group: &Span,
        faults: &mut Faults,
    ) -> VpnPort {
        let (word, key) = if protocol == TCP { ("TCP", "tcp") } else { ("UDP", "port") };
        let mut first: Option<(&VpnPlace, &Flow, &Span)> = None;
        for place in self.places {
            let Some((flow, span)) = self.by(place, protocol, port.port) else { continue };
            port.taken.insert(place.clone());
            first = first.or(Some((place, flow, span)));
        }
        let Some(((name, address), flow, span)) = first else { return port };
        let at = address.map_or_else(|| format!("the address of `{name}`"), |a| a.to_string());
        let (number, flow) = (port.port, &flow.label);
        let fault = match given {
            Some(given) => {
                let message = format!("{word} {number} on {at} is published by {flow} already");
                faults.error("vpn-port-taken", given, message).hint(format!(
                    "another port (`{key} = …`), another address (`listen = …`), or publish that one elsewhere"
                ))
            }
            None => {
                let message =
                    format!("remote access does not listen on {word} {number} of {at}: {flow} publishes it");
                let off = if protocol == TCP { ", or false" } else { "" };
                faults
                    .warning("vpn-port-taken", group, message)
                    .hint(format!("say `{key}` in [vpn]: another port{off}"))
            }
        };
        fault.related(span, "published here");
        port
    }

    /// The flow that publishes that place, and where it stands. One-to-one translations never have an address of the
    /// box, and IPv6 is not published under another address.
    pub fn by(&self, (name, address): &VpnPlace, protocol: u8, port: u16) -> Option<(&Flow, &Span)> {
        if address.is_some_and(|a| a.is_ipv6()) {
            return None;
        }
        let interface = self.world.interfaces.get(name)?;
        let zone = interface.zone.as_ref()?;
        let mut shared =
            interface.virtuals.iter().map(|v| v.address.addr()).filter(IpAddr::is_ipv4).peekable();
        let public = shared.peek().is_none() || shared.any(|a| Some(a) == *address);
        self.flows.0.iter().zip(self.flows.1).find(|(flow, _)| {
            let Some(publish) = &flow.publish else { return false };
            let from = flow.from.iter().any(|e| e.zone.as_ref() == Some(zone));
            let asked = match publish.address {
                Some(asked) => (from || publish.reflect.contains(zone)) && *address == Some(asked),
                None => from && public,
            };
            asked && outside(flow, publish).iter().any(|(p, ports, _)| *p == protocol && ports.contains(port))
        })
    }
}

fn remotes(draft: &VpnDraft, faults: &mut Faults) -> Vec<String> {
    let Some(list) = &draft.remotes else { return Vec::new() };
    too_many(list.items.len(), MAX_REMOTES, "places to connect to", &list.span, faults);
    list.items.iter().map(|r| r.value.0.clone()).collect()
}

fn certificates(draft: Option<&CertificatesDraft>, faults: &mut Faults) -> VpnCertificates {
    let mut out = VpnCertificates { organisation: "Rempart".into(), device_days: 365, warn_days: 30 };
    let Some(draft) = draft else { return out };
    if let Some(At { value, span }) = &draft.organisation {
        if value.0.trim().is_empty() || value.0.chars().count() > MAX_ORGANISATION {
            faults
                .error("bad-value", span, "this cannot be the name of an organisation")
                .hint(format!("1 to {MAX_ORGANISATION} characters"));
        }
        out.organisation.clone_from(&value.0);
    }
    out.device_days = draft.device_days.as_ref().map_or(out.device_days, |d| d.value.0);
    out.warn_days = draft.warn_days.as_ref().map_or(out.warn_days.min(out.device_days / 2), |d| d.value.0);
    if let Some(warn) = &draft.warn_days
        && out.warn_days >= out.device_days
    {
        faults
            .error("out-of-range", &warn.span, format!("a warning {} days before the end", out.warn_days))
            .label(format!("certificates are valid for {} days", out.device_days))
            .hint("it would always be there: make it shorter");
    }
    out
}

/// A number whose bounds are those of a port, or less.
fn port(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
