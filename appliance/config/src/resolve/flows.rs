//! `[[flow]]`: endpoints, services, and what a flow may say about itself.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::World;
use super::names::{atoms, unknown_host};
use crate::decode::{At, Either, List, Many, Toggle};
use crate::draft::{Document, FlowDraft};
use crate::faults::{Faults, Span};
use crate::limits::MAX_FLOWS;
use crate::model::{Action, ConnectionLimit, Endpoint, Flow, HostSet, Name, ServiceAtom, VPN, ZoneName};
use crate::space::{Family, Set};
use crate::text::endpoint::{EndpointText, HostText, is_bare};
use crate::text::service::ServiceText;
use crate::text::word::Per;

impl World<'_> {
    /// The flows without fault, and where each stands.
    pub(super) fn flows(&mut self, document: &Document, faults: &mut Faults) -> (Vec<Flow>, Vec<Span>) {
        let drafts = take(document.flow.as_ref(), MAX_FLOWS, "flows", faults);
        let (mut flows, mut spans) = (Vec::new(), Vec::new());
        let (mut ids, mut keys) = (BTreeMap::new(), BTreeMap::new());
        for draft in drafts {
            if let Some(id) = &draft.value.id
                && let Some(other) = ids.insert(id.value.0.as_str(), &id.span)
            {
                faults
                    .error("duplicate-name", &id.span, format!("the id `{}` is used twice", id.value.0))
                    .related(other, "here already");
            }
            if let Some(mut flow) = self.flow(&draft.value, faults) {
                let count = keys.entry(flow.key.clone()).or_insert(0u32);
                *count += 1;
                if *count > 1 {
                    flow.key = format!("{}#{count}", flow.key);
                }
                flows.push(flow);
                spans.push(draft.span.clone());
            }
        }
        self.check_publishes(&flows, &spans, faults);
        (flows, spans)
    }

    fn flow(&mut self, draft: &FlowDraft, faults: &mut Faults) -> Option<Flow> {
        let from = draft.from.as_ref().and_then(|e| self.endpoints(e, faults));
        let to = draft.to.as_ref().and_then(|e| self.endpoints(e, faults));
        let (action, list) = action(draft, faults)?;
        let services = atoms(&list.items, list.whole, &self.services, &mut self.budget, faults);
        check_refusal(draft, action, faults);
        let schedule = draft.schedule.as_ref().and_then(|s| self.schedule(s, faults));
        if let (Some(helper), Some(services)) = (&draft.helper, &services) {
            check_helper(helper, services, faults);
        }
        let (from, to, services) = (from?, to?, services?);
        if from.is_empty() || to.is_empty() {
            return None;
        }
        let sides = (draft.from.as_ref()?, draft.to.as_ref()?);
        self.check_sides(&from, &to, sides, &services, list, faults);
        let publish = match draft.publish.as_ref() {
            Some(p) if action == Action::Allow && !matches!(p.value, Toggle::Bool(false)) => {
                let inner = match &p.value {
                    Toggle::Bool(_) => None,
                    Toggle::More(inner) => Some(inner),
                };
                Some(self.publish(draft, &p.span, inner, &from, &to, &services, faults)?)
            }
            _ => None,
        };
        let line = self.lines.line(draft.span.start);
        let id = draft.id.as_ref().map(|id| id.value.0.clone());
        let text = |p: &Option<At<crate::text::word::Prose>>| p.as_ref().map(|p| p.value.0.clone());
        let service_text: Vec<_> = list.items.iter().map(|e| e.value.text.clone()).collect();
        let key = match &id {
            Some(id) => format!("id:{id}"),
            None => key(&from, &to, &service_text, action, publish.as_ref()),
        };
        Some(Flow {
            key,
            label: id.unwrap_or_else(|| format!("flow at line {line}")),
            line,
            from,
            to,
            services,
            service_text: service_text.join(", "),
            action,
            publish,
            why: text(&draft.why),
            owner: text(&draft.owner),
            expires: draft.expires.as_ref().map(|e| e.value.0),
            schedule,
            log: draft.log.as_ref().is_some_and(|l| l.value),
            rate: draft.rate.as_ref().map(|r| r.value),
            connections: draft.connections.as_ref().and_then(|c| connections(&c.value)),
            helper: draft.helper.as_ref().map(|h| h.value),
        })
    }

    fn schedule(&self, name: &At<crate::text::word::NameText>, faults: &mut Faults) -> Option<Name> {
        let found = self.schedules.get(name.value.0.as_str()).cloned();
        if found.is_none() {
            faults
                .error("unknown-schedule", &name.span, format!("there is no schedule `{}`", name.value.0))
                .suggest(&name.value.0, self.schedules.iter().map(Name::as_str));
        }
        found
    }

    /// Resolves a side. `None` when any part of it has a fault: half a side would match too little. Empty when
    /// it is remote access alone and no group is defined: then nothing can match.
    pub(super) fn endpoints(
        &mut self,
        list: &Many<EndpointText>,
        faults: &mut Faults,
    ) -> Option<Vec<Endpoint>> {
        let (mut found, mut whole) = (Vec::new(), list.whole);
        for at in &list.items {
            if at.value.zone == VPN && self.vpn_groups.is_empty() {
                faults
                    .warning(
                        "no-vpn-group",
                        &at.span,
                        "there is no remote access yet, so this matches nothing",
                    )
                    .hint("define the groups of users: [vpn.group.NAME] with `pool = \"10.77.10.0/24\"`");
                continue;
            }
            let endpoint = self.endpoint(at, faults);
            whole &= endpoint.is_some();
            found.extend(endpoint);
        }
        whole.then_some(found)
    }

    fn endpoint(&mut self, at: &At<EndpointText>, faults: &mut Faults) -> Option<Endpoint> {
        let EndpointText { text, zone, negated, host } = &at.value;
        let zone = match zone.as_str() {
            "any" => None,
            // `fd00:10::5` reads as `10::5` in a zone `fd00`.
            name if !self.zones.contains_key(name) && is_bare(text) => {
                faults
                    .error("unknown-zone", &at.span, format!("`{text}` has no zone"))
                    .hint(format!("write the zone first: `lan:{text}`"));
                return None;
            }
            name => Some(self.zone(name, &at.span, faults)?),
        };
        let remote = zone.as_ref().is_some_and(|z| z.as_str() == VPN);
        let mut hosts = match host {
            HostText::Any => HostSet::any(),
            HostText::Fixed(set) => HostSet { fixed: set.clone(), ..HostSet::default() },
            HostText::Name(name) if remote && self.vpn_groups.contains_key(name.as_str()) => {
                HostSet { vpn_groups: [Name::new(name)].into(), ..HostSet::default() }
            }
            HostText::Name(name) if self.peer_hosts(zone.as_ref(), name).is_some() => {
                let fixed = self.peer_hosts(zone.as_ref(), name).unwrap_or_default();
                HostSet { fixed, ..HostSet::default() }
            }
            HostText::Name(name) => match self.hosts.get(name) {
                Some(known) => {
                    let known = known.as_ref()?;
                    let size = known.fixed.v4.intervals().len() + known.fixed.v6.intervals().len() + 1;
                    self.budget.charge(size, &at.span, faults).then(|| known.clone())?
                }
                None => {
                    let groups = self.vpn_groups.keys().filter(|_| remote).map(Name::as_str);
                    unknown_host(
                        name,
                        &at.span,
                        self.hosts.names().chain(groups).chain(self.peer_names(zone.as_ref())),
                        faults,
                    );
                    return None;
                }
            },
        };
        hosts.negated = *negated;
        Some(Endpoint { zone, hosts, text: text.clone() })
    }

    /// A zone by its name.
    pub(super) fn zone(&self, name: &str, span: &Span, faults: &mut Faults) -> Option<ZoneName> {
        if let Some((zone, _)) = self.zones.get_key_value(name) {
            return Some(zone.clone());
        }
        faults
            .error("unknown-zone", span, format!("there is no zone `{name}`"))
            .suggest(name, self.zones.keys().map(ZoneName::as_str));
        None
    }

    /// Reports what no packet could ever match.
    pub(super) fn check_sides(
        &self,
        from: &[Endpoint],
        to: &[Endpoint],
        spans: (&Many<EndpointText>, &Many<EndpointText>),
        services: &[ServiceAtom],
        list: &Many<ServiceText>,
        faults: &mut Faults,
    ) {
        let firewall = |side: &[Endpoint]| side.iter().position(is_firewall);
        if let (Some(_), Some(at)) = (firewall(from), firewall(to)) {
            let span = spans.1.items.get(at).map_or(&spans.1.span, |e| &e.span);
            faults
                .error("firewall-to-firewall", span, "a flow from the firewall to the firewall")
                .related(&spans.0.span, "the firewall is a source here")
                .hint(
                    "what the box sends to itself is not filtered: give the other zones a flow of their own",
                );
        }
        let sides = |f| self.any_in(from, f) && self.any_in(to, f);
        let with = |f| services.iter().any(|s| !s.axes(f).is_empty());
        if !Family::BOTH.into_iter().any(sides) {
            let name = |side: &[Endpoint]| match self.any_in(side, Family::V4) {
                true => "IPv4",
                false => "IPv6",
            };
            faults
                .error("family-mismatch", &spans.1.span, "no packet can match: the sides share no IP version")
                .label(format!("only {}", name(to)))
                .related(&spans.0.span, format!("only {}", name(from)));
        } else if !Family::BOTH.into_iter().any(|f| sides(f) && with(f)) {
            faults
                .error(
                    "family-mismatch",
                    &list.span,
                    "no packet can match: the services are of the other IP version",
                )
                .hint("`icmp` is IPv4 alone, `icmp6` IPv6 alone; `ping` is both");
        }
    }

    /// Whether any endpoint may hold an address of `family`.
    pub(super) fn any_in(&self, side: &[Endpoint], family: Family) -> bool {
        side.iter().any(|e| {
            let hosts = &e.hosts;
            let pool = |g: &Name| self.vpn_groups.get(g).is_some_and(|g| g.has(family));
            match hosts.negated {
                true => !hosts.is_fixed() || hosts.fixed.complement().has(family),
                false => {
                    hosts.fixed.has(family) || !hosts.names.is_empty() || hosts.vpn_groups.iter().any(pool)
                }
            }
        })
    }
}

pub(super) fn is_firewall(endpoint: &Endpoint) -> bool {
    endpoint.zone.as_ref().is_some_and(ZoneName::is_firewall)
}

/// The entries of a list of tables, up to a bound.
pub(super) fn take<'d, T>(
    list: Option<&'d List<T>>,
    most: usize,
    what: &str,
    faults: &mut Faults,
) -> &'d [At<T>] {
    let items = list.map_or(&[][..], |l| &l.items);
    if let Some(over) = items.get(most) {
        faults.error("too-large", &over.span, format!("more than {most} {what}"));
    }
    &items[..items.len().min(most)]
}

/// The one action and its services.
fn action<'d>(draft: &'d FlowDraft, faults: &mut Faults) -> Option<(Action, &'d Many<ServiceText>)> {
    let all = [
        (Action::Allow, &draft.allow),
        (Action::Deny, &draft.deny),
        (Action::Reject, &draft.reject),
        (Action::Drop, &draft.drop),
    ];
    let mut given = all.into_iter().filter_map(|(action, list)| Some((action, list.as_ref()?)));
    let first = given.next();
    if let (Some((_, first)), Some((_, second))) = (&first, given.next()) {
        faults
            .error("one-action", &second.span, "a flow has one action")
            .label("a second action")
            .related(&first.span, "the first one")
            .hint("write a flow for each; the first that matches decides");
        return None;
    }
    if first.is_none() && !draft.broken {
        faults
            .error("one-action", &draft.span, "the flow does not say what happens")
            .hint("add one of allow, deny, reject, drop with a list of services; `any` is all");
    }
    first
}

/// What only makes sense for traffic that is let through.
fn check_refusal(draft: &FlowDraft, action: Action, faults: &mut Faults) {
    if action == Action::Allow {
        return;
    }
    let published = draft.publish.as_ref().filter(|p| !matches!(p.value, Toggle::Bool(false)));
    let keys = [
        ("rate", draft.rate.as_ref().map(|r| &r.span)),
        ("connections", draft.connections.as_ref().map(|c| &c.span)),
        ("helper", draft.helper.as_ref().map(|h| &h.span)),
        ("publish", published.map(|p| &p.span)),
    ];
    for (key, span) in keys {
        if let Some(span) = span {
            faults
                .error("allow-only", span, format!("`{key}` in a flow that refuses"))
                .hint(format!("`{key}` belongs to flows with `allow`"));
        }
    }
}

fn check_helper(helper: &At<crate::model::Helper>, services: &[ServiceAtom], faults: &mut Faults) {
    let follows = |s: &ServiceAtom| {
        matches!(s, ServiceAtom::Ports { protocol, ports }
            if helper.value.protocols().contains(protocol) && *ports != Set::all())
    };
    if services.iter().all(follows) {
        return;
    }
    let name = helper.value.as_str();
    let wanted = match helper.value {
        crate::model::Helper::Ftp => "TCP",
        crate::model::Helper::Sip => "UDP or TCP",
        crate::model::Helper::Tftp => "UDP",
    };
    faults
        .error(
            "helper-service",
            &helper.span,
            format!("the helper `{name}` cannot follow all of these services"),
        )
        .label(format!("follows {wanted} ports"))
        .hint("give the control connection a flow of its own; what it opens is let through by the helper");
}

fn connections(
    value: &Either<crate::decode::Int<1, 16_777_216>, crate::draft::ConnectionsDraft>,
) -> Option<ConnectionLimit> {
    let (max, per_source) = match value {
        Either::Short(max) => (max.0, false),
        Either::Table(table) => {
            let per = table.per.as_ref().map(|p| p.value);
            (table.max.as_ref()?.value.0, per == Some(Per::Source))
        }
    };
    Some(ConnectionLimit { max: NonZeroU32::new(max)?, per_source })
}

/// What identifies a flow without an id. The order within a list has no meaning, so it does not count.
fn key(
    from: &[Endpoint],
    to: &[Endpoint],
    services: &[String],
    action: Action,
    publish: Option<&crate::model::Publish>,
) -> String {
    let sorted = |mut texts: Vec<&str>| {
        texts.sort_unstable();
        texts.dedup();
        texts.join(",")
    };
    let side = |side: &[Endpoint]| sorted(side.iter().map(|e| e.text.as_str()).collect());
    let action = match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Reject => "reject",
        Action::Drop => "drop",
    };
    let publish = publish.map_or(String::new(), |p| {
        let address = p.address.map_or("interface".into(), |a| a.to_string());
        format!("publish {address} {}", p.port.map_or("same".into(), |port| port.to_string()))
    });
    let services = sorted(services.iter().map(String::as_str).collect());
    format!("{}|{}|{services}|{action}|{publish}", side(from), side(to))
}
