//! `explain`: the outcome of the evaluator as sentences, stage by stage, with the flows that came nearest.

use std::fmt;
use std::net::IpAddr;

use rempart_config::model::{Action, Flow, ICMP, ICMP6, ServiceAtom, TCP, UDP, ZoneName};
use rempart_config::space::Family;

use crate::eval::{Arrival, Decider, Evaluator, Mismatch, Outcome, Packet, Verdict, has_ports};
use crate::nft::Origin;
use crate::world::Hop;

/// Most near misses that are named.
const MAX_NEAR_MISSES: usize = 8;

/// What becomes of a packet, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// What happens.
    pub outcome: Outcome,
    /// One sentence.
    pub summary: String,
    /// What decides, as a person calls it.
    pub decided_by: String,
    /// The stages: name and sentence.
    pub stages: Vec<(&'static str, String)>,
    /// The nearest flows that did not match: index and why.
    pub near_misses: Vec<(usize, String)>,
}

/// A packet that makes no sense to ask about.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuestionError {
    /// No such zone or interface.
    #[error("`{0}` is neither a zone with an interface nor an interface of this document")]
    UnknownOrigin(String),
    /// The source has no route, so nothing tells where the packet comes from.
    #[error("there is no route to {0}, so it cannot be told where the packet comes from: add --from ZONE")]
    UnroutedSource(IpAddr),
    /// The two addresses are of different families.
    #[error("{0} and {1} are not of the same IP version")]
    MixedFamilies(IpAddr, IpAddr),
}

impl Evaluator<'_> {
    /// Where a packet from `source` arrives when the operator says `from`: a zone, an interface, or nothing.
    pub fn arrival(&self, from: Option<&str>, source: IpAddr) -> Result<Arrival, QuestionError> {
        let towards = self.world.leg_towards(source);
        let Some(from) = from else {
            return match self.world.route(source) {
                Some(Hop::Local) => Ok(Arrival::Local),
                _ => towards.map(Arrival::Leg).ok_or(QuestionError::UnroutedSource(source)),
            };
        };
        let zone = ZoneName::new(from);
        if zone.is_firewall() {
            return Ok(Arrival::Local);
        }
        if let Some(leg) =
            self.world.legs.iter().position(|l| l.interface.as_str() == from && l.zone.is_some())
        {
            let zoned = self.world.legs_in(&zone).map(|(n, _)| n);
            // A zone and an interface often share their name: then the one that the source lies behind.
            return Ok(Arrival::Leg(zoned.into_iter().find(|n| Some(*n) == towards).unwrap_or(leg)));
        }
        let mut legs = self.world.legs_in(&zone).map(|(n, _)| n).peekable();
        let first = legs.peek().copied().ok_or_else(|| QuestionError::UnknownOrigin(from.into()))?;
        Ok(Arrival::Leg(legs.find(|n| Some(*n) == towards).unwrap_or(first)))
    }

    /// Explains what becomes of `packet`.
    pub fn explain(&self, packet: &Packet) -> Result<Explanation, QuestionError> {
        if Family::of(packet.source) != Family::of(packet.destination) {
            return Err(QuestionError::MixedFamilies(packet.source, packet.destination));
        }
        let outcome = self.judge(packet);
        let decided_by = self.decided_by(&outcome);
        let mut stages = vec![("arrival", self.arrival_text(packet))];
        let by_tunnel = matches!(packet.arrival, Arrival::Leg(leg) if self.world.is_tunnel(leg));
        if by_tunnel {
            stages.push(("session", self.session_text(packet.source)));
        }
        // Before it was looked where it goes.
        let early = outcome.hop.is_none() && outcome.decider == Decider::NoSession;
        if outcome.decider == Decider::AntiSpoof {
            stages.push(("protection", self.spoof_text(packet)));
        }
        if let Some((address, port, origin)) = outcome.translated {
            let what = self.origin_text(origin);
            let target = endpoint(packet.protocol, address, port);
            stages.push(("destination-nat", format!("becomes {target}, by {what}")));
        } else if outcome.decider != Decider::AntiSpoof && !early {
            stages.push(("destination-nat", "none".into()));
        }
        if let Some(text) = self.route_text(&outcome).filter(|_| !early) {
            stages.push(("route", text));
        }
        if matches!(outcome.hop, Some(Hop::Leg(leg, _)) if self.world.is_tunnel(leg)) {
            let to = outcome.translated.map_or(packet.destination, |(address, ..)| address);
            stages.push(("session", self.session_text(to)));
        }
        if outcome.decider != Decider::AntiSpoof {
            stages.push(("policy", self.policy_text(&outcome)));
        }
        if outcome.verdict == Verdict::Allow && matches!(outcome.hop, Some(Hop::Leg(..))) {
            let text = match outcome.source {
                Some((address, origin)) => format!("leaves as {address}, by {}", self.origin_text(origin)),
                None => format!("leaves as {}, untranslated", packet.source),
            };
            stages.push(("source-nat", text));
        }
        let near_misses = self.near_misses(packet, &outcome);
        let summary = self.summary(packet, &outcome, &decided_by);
        Ok(Explanation { outcome, summary, decided_by, stages, near_misses })
    }

    /// What a person calls the decider.
    pub fn decided_by(&self, outcome: &Outcome) -> String {
        match &outcome.decider {
            Decider::Flow(index) => self.model.flows[*index].label.clone(),
            Decider::Default => "default".into(),
            Decider::Noise => "noise".into(),
            Decider::AntiSpoof => "anti-spoof".into(),
            Decider::Impossible => "bogon".into(),
            Decider::Blocklist(name) => format!("block list {name}"),
            Decider::NoRoute => "no route".into(),
            Decider::Invalid => "invalid".into(),
            Decider::NoSession => "no session".into(),
            Decider::RemoteAccess => "vpn".into(),
            Decider::System(what) => (*what).into(),
        }
    }

    fn summary(&self, packet: &Packet, outcome: &Outcome, decided_by: &str) -> String {
        let verdict = match outcome.verdict {
            Verdict::Allow => "is let through",
            Verdict::Reject => "is refused with an answer",
            Verdict::Drop => "is dropped in silence",
        };
        let zone = |z: &Option<ZoneName>| z.as_ref().map_or_else(|| "no zone".into(), ToString::to_string);
        let from = zone(&outcome.from);
        let to = endpoint(packet.protocol, packet.destination, packet.port);
        let why = match &outcome.decider {
            Decider::Flow(index) => {
                let flow = &self.model.flows[*index];
                format!(
                    "{decided_by}, line {} ({} → {})",
                    flow.line,
                    flow_side(&flow.from),
                    flow_side(&flow.to)
                )
            }
            Decider::Default => format!("no flow from {from} to {} allows it", zone(&outcome.to)),
            Decider::Noise => format!("no flow allows it, and it is noise ({from} → {})", zone(&outcome.to)),
            Decider::AntiSpoof => "its source does not lie behind the interface that it came by".into(),
            Decider::Impossible => format!("nobody outside can have the source {}", packet.source),
            Decider::Blocklist(name) => format!("block list {name} has one of its addresses"),
            Decider::NoRoute => "there is no route to its destination".into(),
            Decider::Invalid => "it answers or reports something, and no connection asked for it".into(),
            Decider::NoSession => "nobody is connected by remote access with that address".into(),
            Decider::RemoteAccess if packet.arrival == Arrival::Local => {
                "remote access speaks first there".into()
            }
            Decider::RemoteAccess => "remote access listens there".into(),
            Decider::System(what) if outcome.verdict == Verdict::Allow => {
                format!("{what} is always let through")
            }
            Decider::System(what) => (*what).into(),
        };
        format!(
            "{} from {} in {from} to {to} {verdict}: {why}",
            protocol_name(packet.protocol),
            packet.source
        )
    }

    fn arrival_text(&self, packet: &Packet) -> String {
        match packet.arrival {
            Arrival::Local => "made by the firewall itself".into(),
            Arrival::Leg(leg) => {
                let leg = &self.world.legs[leg];
                let zone = leg.zone.as_ref().map_or("none", ZoneName::as_str);
                format!("by interface {} ({}), zone {zone}", leg.interface, leg.device)
            }
        }
    }

    /// What a session has to do with a packet of the tunnel.
    fn session_text(&self, address: IpAddr) -> String {
        match &self.facts.live {
            None => format!("counts only while somebody is connected with {address}"),
            Some(live) if live.contains(address) => format!("{address} is connected"),
            Some(_) => format!("dropped: nobody is connected with {address}"),
        }
    }

    fn spoof_text(&self, packet: &Packet) -> String {
        let expected = match self.world.route(packet.source) {
            Some(Hop::Leg(leg, _)) => format!("is routed through {}", self.world.legs[leg].interface),
            Some(Hop::Local) => "is the firewall's own".into(),
            Some(Hop::Blackhole) => "is routed nowhere".into(),
            None => "has no route".into(),
        };
        format!("dropped: its source {} {expected}", packet.source)
    }

    fn route_text(&self, outcome: &Outcome) -> Option<String> {
        if outcome.decider == Decider::AntiSpoof {
            return None;
        }
        Some(match outcome.hop {
            Some(Hop::Local) => "to the firewall itself".into(),
            Some(Hop::Blackhole) => "a blackhole: discarded".into(),
            None => "none: the firewall answers that the network is unreachable".into(),
            Some(Hop::Leg(leg, via)) => {
                let leg = &self.world.legs[leg];
                let zone = leg.zone.as_ref().map_or("none", ZoneName::as_str);
                let via = via.map_or_else(|| "directly".into(), |v| format!("via {v}"));
                format!("out by {} ({}), zone {zone}, {via}", leg.interface, leg.device)
            }
        })
    }

    fn policy_text(&self, outcome: &Outcome) -> String {
        match &outcome.decider {
            Decider::Flow(index) => flow_text(&self.model.flows[*index]),
            Decider::Default => "no flow matches: final refusal, logged".into(),
            Decider::Noise => "no flow matches: refused as noise, not logged".into(),
            Decider::AntiSpoof => "not asked: the source is spoofed".into(),
            Decider::Impossible => "not asked: the source is private or a bogon".into(),
            Decider::Blocklist(name) => format!("not asked: block list {name}"),
            Decider::NoRoute => "not asked: no route".into(),
            Decider::Invalid => "not asked: it belongs to no connection and begins none".into(),
            Decider::NoSession => "not asked: nobody is connected with that address".into(),
            Decider::RemoteAccess => {
                "not asked: remote access ([vpn]) is let through where it listens".into()
            }
            Decider::System(what) => format!("not asked: {what}"),
        }
    }

    fn origin_text(&self, origin: Origin) -> String {
        match origin {
            Origin::Flow(index) => {
                let flow = &self.model.flows[index];
                format!("{} (line {})", flow.label, flow.line)
            }
            Origin::SourceNat(index) => {
                let rule = &self.model.nat.source[index];
                format!("{} (line {})", rule.label, rule.line)
            }
            Origin::OneToOne(index) => {
                format!("the one-to-one translation at line {}", self.model.nat.one_to_one[index].line)
            }
            Origin::Frame => "the automatic translation".into(),
        }
    }

    fn near_misses(&self, packet: &Packet, outcome: &Outcome) -> Vec<(usize, String)> {
        let (Some(from), Some(to)) = (&outcome.from, &outcome.to) else { return Vec::new() };
        let (destination, port) =
            outcome.translated.map_or((packet.destination, packet.port), |(a, p, _)| (a, p));
        let inner = Packet { destination, port, ..*packet };
        let before = match outcome.decider {
            Decider::Flow(index) => index,
            _ => self.model.flows.len(),
        };
        let mut near: Vec<(usize, usize, String)> = Vec::new();
        for (index, flow) in self.model.flows.iter().enumerate().take(before) {
            let misses = self.mismatches(flow, &inner, from, to, outcome.translated.is_some());
            let off = self.facts.inactive.contains(&flow.key);
            let distance = misses.len() + usize::from(off);
            // Two flows of other zones say nothing; one thing amiss does.
            if distance == 1 || (distance == 2 && !misses.iter().any(|m| is_zone(*m))) {
                let mut why: Vec<String> =
                    misses.iter().map(|m| self.miss_text(*m, flow, &inner, from, to)).collect();
                if off {
                    why.push("it is not in force now".into());
                }
                near.push((distance, index, why.join("; ")));
            }
        }
        near.sort_by_key(|(distance, index, _)| (*distance, *index));
        near.truncate(MAX_NEAR_MISSES);
        near.into_iter().map(|(_, index, why)| (index, why)).collect()
    }

    fn miss_text(
        &self,
        miss: Mismatch,
        flow: &Flow,
        packet: &Packet,
        from: &ZoneName,
        to: &ZoneName,
    ) -> String {
        match miss {
            Mismatch::FromZone => format!("it comes from {}, not from {from}", flow_side(&flow.from)),
            Mismatch::ToZone => format!("it goes to {}, not to {to}", flow_side(&flow.to)),
            Mismatch::Source => format!("{} is not in {}", packet.source, flow_side(&flow.from)),
            Mismatch::Destination => format!("{} is not in {}", packet.destination, flow_side(&flow.to)),
            Mismatch::Service => {
                let asked = service(packet.protocol, packet.port);
                format!("{asked} is not in {}", flow.service_text)
            }
            Mismatch::Untranslated => "it publishes the host under an outside address only".into(),
        }
    }
}

fn is_zone(miss: Mismatch) -> bool {
    matches!(miss, Mismatch::FromZone | Mismatch::ToZone)
}

fn flow_side(ends: &[rempart_config::model::Endpoint]) -> String {
    ends.iter().map(|e| e.text.as_str()).collect::<Vec<_>>().join(", ")
}

/// A flow in one sentence.
pub fn flow_text(flow: &Flow) -> String {
    let verb = match flow.action {
        Action::Allow => "allows",
        Action::Deny => "denies",
        Action::Reject => "rejects",
        Action::Drop => "drops",
    };
    let why = flow.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default();
    format!(
        "{} (line {}) {verb} {} from {} to {}{why}",
        flow.label,
        flow.line,
        flow.service_text,
        flow_side(&flow.from),
        flow_side(&flow.to)
    )
}

/// `203.0.113.2 tcp/443`
fn endpoint(protocol: u8, address: IpAddr, port: u16) -> String {
    format!("{address} {}", service(protocol, port))
}

/// `tcp/443`, `icmp/8`, `proto/47`
pub fn service(protocol: u8, port: u16) -> String {
    if has_ports(protocol) || protocol == ICMP || protocol == ICMP6 {
        format!("{}/{port}", protocol_name(protocol))
    } else {
        protocol_name(protocol).to_string()
    }
}

/// The name of a protocol: `tcp`, or `proto/89` where it has none here.
pub fn protocol_name(protocol: u8) -> ProtocolName {
    ProtocolName(protocol)
}

/// Prints a protocol by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProtocolName(u8);

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ICMP => f.pad("icmp"),
            TCP => f.pad("tcp"),
            UDP => f.pad("udp"),
            33 => f.pad("dccp"),
            47 => f.pad("gre"),
            50 => f.pad("esp"),
            51 => f.pad("ah"),
            ICMP6 => f.pad("icmp6"),
            112 => f.pad("vrrp"),
            132 => f.pad("sctp"),
            136 => f.pad("udplite"),
            other => f.pad(&format!("proto/{other}")),
        }
    }
}

/// The protocol and port that a service stands for in a question: the first of each.
pub fn question_service(services: &[ServiceAtom], family: Family) -> Option<(u8, u16)> {
    services.iter().flat_map(|s| s.axes(family)).map(|(protocol, port)| (protocol.lo, port.lo)).next()
}
