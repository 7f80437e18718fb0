//! `[nat]`: outbound rules and one-to-one translations.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::World;
use super::flows::take;
use super::names::atoms;
use crate::decode::At;
use crate::draft::{Document, OneToOneDraft, SourceNatDraft};
use crate::faults::{Faults, Span};
use crate::model::{Endpoint, InterfaceName, Nat, OneToOne, Outbound, ServiceAtom, SourceAddress, SourceNat};
use crate::space::Family;

/// Rules of each kind: they are walked one after the other.
const MAX_RULES: usize = 4_096;

impl World<'_> {
    pub(super) fn nat(&mut self, document: &Document, faults: &mut Faults) -> Nat {
        let draft = document.nat.as_ref();
        let outbound = draft.and_then(|n| n.outbound.as_ref());
        let source = take(draft.and_then(|n| n.source.as_ref()), MAX_RULES, "outbound rules", faults);
        let one_to_one = draft.and_then(|n| n.one_to_one.as_ref());
        let one_to_one = take(one_to_one, MAX_RULES, "one-to-one translations", faults);
        let mode = outbound.map_or(Outbound::Automatic, |o| o.value);
        if let (Outbound::Automatic, Some(first)) = (mode, source.first()) {
            let fault = faults.error(
                "unused-rules",
                &first.span,
                "outbound rules are there, but `outbound` is automatic",
            );
            let fault = match outbound {
                Some(outbound) => fault.related(&outbound.span, "so the rules would not be used"),
                None => fault,
            };
            fault.hint("write outbound = \"hybrid\" in [nat]: the rules first, then the automatic ones");
        }
        Nat {
            outbound: mode,
            source: source.iter().filter_map(|s| self.source_nat(&s.value, faults)).collect(),
            one_to_one: self.one_to_ones(one_to_one, faults),
        }
    }

    fn source_nat(&mut self, draft: &SourceNatDraft, faults: &mut Faults) -> Option<SourceNat> {
        let from = draft.from.as_ref().and_then(|e| self.endpoints(e, faults));
        let to = draft.to.as_ref().and_then(|e| self.endpoints(e, faults));
        let services = match &draft.service {
            Some(list) => atoms(&list.items, list.whole, &self.services, &mut self.budget, faults),
            None => Some(vec![ServiceAtom::Any]),
        };
        let (from, to, services, address) = (from?, to?, services?, draft.address.as_ref()?);
        if from.is_empty() || to.is_empty() {
            return None;
        }
        let (from_text, to_text) = (draft.from.as_ref()?, draft.to.as_ref()?);
        for endpoint in &to {
            let leaves = endpoint.zone.as_ref().is_some_and(|z| !z.is_firewall() && !z.is_tunnel());
            if !leaves {
                faults
                    .error(
                        "nat-to",
                        &to_text.span,
                        format!("nothing leaves to `{}` by an interface", endpoint.text),
                    )
                    .hint("`to` names zones with interfaces, such as `wan`");
            }
        }
        let list = draft.service.as_ref();
        if let Some(list) = list {
            self.check_sides(&from, &to, (from_text, to_text), &services, list, faults);
        }
        if let SourceAddress::Address(own) = address.value {
            self.check_source_address(own, &address.span, &from, &to, faults);
        }
        let line = self.lines.line(draft.span.start);
        Some(SourceNat {
            label: format!("outbound rule at line {line}"),
            line,
            from,
            to,
            services,
            address: address.value,
            why: draft.why.as_ref().map(|w| w.value.0.clone()),
        })
    }

    fn check_source_address(
        &self,
        own: IpAddr,
        span: &Span,
        from: &[Endpoint],
        to: &[Endpoint],
        faults: &mut Faults,
    ) {
        let family = Family::of(own);
        if !self.any_in(from, family) || !self.any_in(to, family) {
            faults
                .error(
                    "family-mismatch",
                    span,
                    format!("no packet of this rule is of the IP version of {own}"),
                )
                .hint("source, destination and the address in between are of one version");
        }
        let zones: BTreeSet<_> = to.iter().filter_map(|e| e.zone.clone()).collect();
        let interfaces =
            || self.interfaces.values().filter(|i| i.zone.as_ref().is_some_and(|z| zones.contains(z)));
        let known = self.networks.find(own).is_some_and(|(_, name)| {
            self.interfaces.get(name).and_then(|i| i.zone.as_ref()).is_some_and(|z| zones.contains(z))
        });
        let leased = |i: &crate::model::Interface| if own.is_ipv4() { i.dhcp } else { i.slaac };
        let virtuals = interfaces().any(|i| i.virtuals.iter().any(|v| v.address.contains(&own)));
        if !known && !virtuals && !interfaces().any(leased) {
            faults
                .error("foreign-address", span, format!("{own} is not on a network of the zones in `to`"))
                .hint("answers must come back to the box: an address inside the network of the interface");
            return;
        }
        self.check_moves(own, span, faults);
    }

    fn one_to_ones(&self, drafts: &[At<OneToOneDraft>], faults: &mut Faults) -> Vec<OneToOne> {
        let mut out: Vec<(OneToOne, &Span, &Span)> = Vec::new();
        for draft in drafts {
            let (Some(outside), Some(inside)) = (&draft.value.outside, &draft.value.inside) else { continue };
            let (a, b) = (outside.value.0, inside.value.0);
            if a.addr().is_ipv4() != b.addr().is_ipv4() {
                faults
                    .error("family-mismatch", &inside.span, "outside and inside are of different IP versions")
                    .related(&outside.span, "outside");
                continue;
            }
            if a.prefix_len() != b.prefix_len() {
                faults
                    .error("one-to-one", &inside.span, "outside and inside differ in length")
                    .label(format!("/{}", b.prefix_len()))
                    .related(&outside.span, format!("/{}", a.prefix_len()))
                    .hint("the n-th address outside is the n-th inside");
                continue;
            }
            for (other, there, behind) in &out {
                for (mine, span, theirs, place) in
                    [(a, &outside.span, other.outside, there), (b, &inside.span, other.inside, behind)]
                {
                    if mine.contains(&theirs) || theirs.contains(&mine) {
                        faults
                            .error(
                                "contradictory-nat",
                                span,
                                format!("{mine} is translated one to one already"),
                            )
                            .related(place, "here");
                    }
                }
            }
            let Some(interface) = self.outside_interface(draft, outside.value.0, &outside.span, faults)
            else {
                continue;
            };
            let line = self.lines.line(draft.span.start);
            out.push((OneToOne { line, outside: a, inside: b, interface }, &outside.span, &inside.span));
        }
        out.into_iter().map(|(one, ..)| one).collect()
    }

    /// The interface whose address the outside is. Its own addresses stay its own.
    fn outside_interface(
        &self,
        draft: &At<OneToOneDraft>,
        outside: ipnet::IpNet,
        span: &Span,
        faults: &mut Faults,
    ) -> Option<InterfaceName> {
        for (name, interface) in &self.interfaces {
            let own =
                interface.addresses.iter().flatten().chain(interface.virtuals.iter().map(|v| &v.address));
            if let Some(mine) = own.map(|n| n.addr()).find(|a| outside.contains(a)) {
                faults
                    .error("contradictory-nat", span, format!("{mine} is the box's own address on `{name}`"))
                    .hint("translated one to one, the box itself would no longer be reached by it");
                return None;
            }
        }
        if let Some(given) = &draft.value.interface {
            let known = self.interfaces.get_key_value(given.value.0.as_str()).map(|(name, _)| name.clone());
            if known.is_none() {
                faults
                    .error(
                        "unknown-interface",
                        &given.span,
                        format!("there is no interface `{}`", given.value.0),
                    )
                    .suggest(&given.value.0, self.interfaces.keys().map(InterfaceName::as_str));
            }
            return known;
        }
        let found = self.networks.find(outside.addr()).filter(|(net, _)| net.contains(&outside));
        if found.is_none() {
            faults
                .error("one-to-one", span, format!("{outside} is not in the network of an interface"))
                .hint("say which interface it comes in by: interface = \"wan\"");
        }
        if found.is_some() {
            self.check_moves(outside.addr(), span, faults);
        }
        found.map(|(_, name)| name.clone())
    }
}
