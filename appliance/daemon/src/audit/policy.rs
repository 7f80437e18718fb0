//! What the audit wants to know of the document in force and of the ruleset made from it. Pure.

use std::collections::BTreeSet;

use jiff::civil::Date;
use rempart_config::Model;
use rempart_config::model::{Action, Endpoint, Flow, HostSet, Outbound, ServiceAtom, TCP, UDP, VPN};
use rempart_config::space::Family;
use rempart_plan::Plan;
use rempart_plan::ha::ports;
use rempart_plan::net::Network;
use rempart_plan::nft::{Chain, Ruleset};

use super::facts::{Fact, Facts, Known, Seen};

/// The port of the protocol by which a box is administered (RFC 4253 §4.1).
const SSH: u16 = 22;
/// Where a DHCP client listens (RFC 2131 §4.1).
const DHCP_CLIENT: u16 = 68;

/// What the document says, as far as the audit asks.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// What can be judged without looking at the box.
    pub facts: Facts,
    /// The devices that the document names; `None` before anything was committed.
    pub devices: Option<BTreeSet<String>>,
    /// Where somebody is meant to listen.
    pub admitted: Admitted,
}

/// Where somebody is meant to listen: what flows let reach the box, and what the product itself uses.
#[derive(Clone, Debug, Default)]
pub struct Admitted {
    services: Vec<ServiceAtom>,
    ports: BTreeSet<(u8, u16)>,
}

impl Admitted {
    /// Whether somebody may listen there.
    pub fn has(&self, protocol: u8, port: u16) -> bool {
        let flows = || self.services.iter().any(|s| s.matches(Family::V4, protocol, port));
        self.ports.contains(&(protocol, port)) || flows()
    }
}

/// What is in force.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    /// Its model.
    pub model: &'a Model,
    /// Its plan.
    pub plan: &'a Plan,
    /// The labels of flows that change nothing.
    pub redundant: &'a BTreeSet<String>,
    /// The comment that it was committed with.
    pub comment: &'a str,
    /// Whether the kernel holds it.
    pub held: bool,
    /// Today, where the document is.
    pub today: Date,
}

impl Policy {
    /// Before anything was committed.
    pub fn none() -> Self {
        let mut facts = Facts::default();
        facts.note(Fact::Known(Known::RevisionComment), Seen::Absent);
        Self { facts, devices: None, admitted: Admitted::default() }
    }

    /// Of what is in force.
    pub fn of(it: InForce<'_>) -> Self {
        let mut facts = Facts::default();
        let mut note = |known, seen| facts.note(Fact::Known(known), seen);
        let model = it.model;
        note(Known::RevisionComment, Seen::text(it.comment));
        note(Known::InForce, Seen::yes(it.held));
        note(Known::Final, Seen::text(final_word(&it.plan.ruleset)));
        note(Known::Shadowed, Seen::many(it.redundant.iter().cloned()));
        note(Known::Spoofable, Seen::many(spoofable(model)));
        note(Known::ShownOutside, Seen::many(shown_outside(model)));
        note(Known::SharedAdministration, Seen::many(shared_administration(model)));
        for (known, is) in FLOWS {
            note(*known, Seen::many(model.flows.iter().filter(|f| is(model, f)).map(|f| f.label.clone())));
        }
        let expired = model.flows.iter().filter(|f| f.expires.is_some_and(|last| it.today > last));
        note(Known::Expired, Seen::many(expired.map(|f| f.label.clone())));
        Self { facts, devices: Some(devices(&it.plan.network)), admitted: admitted(it) }
    }
}

/// Questions about single flows.
type AboutFlow = fn(&Model, &Flow) -> bool;
const FLOWS: &[(Known, AboutFlow)] = &[
    (Known::WithoutReason, |_, f| is_blank(f.why.as_deref())),
    (Known::WithoutOwner, |_, f| is_blank(f.owner.as_deref())),
    (Known::AnyToAny, |_, f| allows(f) && f.from.iter().any(is_anywhere) && f.to.iter().any(is_anywhere)),
    (Known::AnyService, |_, f| allows(f) && is_any_service(f) && !is_to(f) && !is_from(f)),
    (Known::OpenToFirewall, |_, f| allows(f) && is_any_service(f) && is_to(f)),
    (Known::OpenFromFirewall, |_, f| allows(f) && is_any_service(f) && is_from(f)),
    (Known::SilentAdministration, |_, f| administers(f) && !f.log),
    (Known::AdministrationFromAnywhere, |model, f| {
        administers(f) && f.from.iter().any(|e| is_outside(model, e) || is_every_host(e))
    }),
    (Known::AnswersOutside, |model, f| {
        f.action == Action::Reject && f.from.iter().any(|e| is_outside(model, e))
    }),
];

fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(|t| t.trim().is_empty())
}

fn allows(flow: &Flow) -> bool {
    flow.action == Action::Allow
}

fn is_any_service(flow: &Flow) -> bool {
    flow.services.contains(&ServiceAtom::Any)
}

fn is_firewall(endpoint: &Endpoint) -> bool {
    endpoint.zone.as_ref().is_some_and(|z| z.is_firewall())
}

fn is_to(flow: &Flow) -> bool {
    flow.to.iter().any(is_firewall)
}

fn is_from(flow: &Flow) -> bool {
    flow.from.iter().any(is_firewall)
}

/// Every host of every zone.
fn is_anywhere(endpoint: &Endpoint) -> bool {
    endpoint.zone.is_none() && is_every_host(endpoint)
}

fn is_every_host(endpoint: &Endpoint) -> bool {
    endpoint.hosts == HostSet::any()
}

/// In a zone outside, or in all zones.
fn is_outside(model: &Model, endpoint: &Endpoint) -> bool {
    let zone = endpoint.zone.as_ref();
    zone.is_none_or(|z| model.zones.get(z).is_some_and(|z| z.external))
}

/// Lets somebody administer the box.
pub(crate) fn administers(flow: &Flow) -> bool {
    allows(flow) && is_to(flow) && flow.services.iter().any(|s| s.matches(Family::V4, TCP, SSH))
}

/// Zones from which the box is administered and which serve something else as well.
fn shared_administration(model: &Model) -> BTreeSet<String> {
    let zones = |ends: &[Endpoint]| -> BTreeSet<String> {
        ends.iter().filter_map(|e| e.zone.as_ref()).map(ToString::to_string).collect()
    };
    let administrators: BTreeSet<String> =
        model.flows.iter().filter(|f| administers(f)).flat_map(|f| zones(&f.from)).collect();
    let others = model.flows.iter().filter(|f| allows(f) && !administers(f) && !is_from(f) && !is_to(f));
    let used: BTreeSet<String> =
        others.flat_map(|f| zones(&f.from).into_iter().chain(zones(&f.to))).collect();
    administrators.intersection(&used).cloned().collect()
}

fn spoofable(model: &Model) -> impl Iterator<Item = String> {
    let inside = model.zones.iter().filter(|(name, zone)| {
        !zone.external && !zone.anti_spoof && !name.is_firewall() && name.as_str() != VPN
    });
    inside.map(|(name, _)| name.to_string())
}

/// Inside zones, where nothing translates what leaves by a zone outside.
fn shown_outside(model: &Model) -> Vec<String> {
    let nothing = model.nat.source.is_empty() && model.nat.one_to_one.is_empty();
    let outside = model.zones.values().any(|z| z.external);
    if model.nat.outbound != Outbound::Manual || !nothing || !outside {
        return Vec::new();
    }
    let inside = model.zones.iter().filter(|(name, zone)| !zone.external && !name.is_firewall());
    inside.map(|(name, _)| name.to_string()).collect()
}

/// What becomes of a packet that no flow is about.
fn final_word(ruleset: &Ruleset) -> &'static str {
    let chain = |name: &str| ruleset.chains.get(name);
    let drops = |hook: &str| {
        chain(hook).and_then(|c| c.base.as_deref()).is_some_and(|base| base.contains("policy drop"))
    };
    let has = |chain: &Chain, text: &str| chain.rules.iter().any(|(rule, _)| rule.contains(text));
    let refuses = |hook: &str| {
        chain(&format!("final.{hook}"))
            .and_then(|c| c.rules.last())
            .is_some_and(|(rule, _)| rule == "goto refuse" || rule == "drop")
    };
    let logs = |hook: &str| chain(&format!("final.{hook}")).is_some_and(|c| has(c, "log group"));
    let hooks = ["input", "forward"];
    match (hooks.iter().all(|h| drops(h) && refuses(h)), hooks.iter().all(|h| logs(h))) {
        (true, true) => "drop, logged",
        (true, false) => "drop",
        (false, _) => "accept",
    }
}

fn devices(network: &Network) -> BTreeSet<String> {
    network.links.keys().map(ToString::to_string).collect()
}

fn admitted(it: InForce<'_>) -> Admitted {
    let to_box = it.model.flows.iter().filter(|f| allows(f) && is_to(f));
    let mut ports = BTreeSet::new();
    if it.plan.world.ha.is_some() {
        ports.extend([ports::HEARTBEAT, ports::JOURNAL, ports::CHANNEL].map(|port| (UDP, port)));
    }
    // A node that waits for its other half listens before there is a pair.
    ports.extend([(TCP, ports::PAIRING), (UDP, ports::PAIRING)]);
    if !it.plan.network.dhcp.is_empty() {
        ports.insert((UDP, DHCP_CLIENT));
    }
    Admitted { services: to_box.flat_map(|f| f.services.iter().cloned()).collect(), ports }
}

#[cfg(test)]
mod tests;
