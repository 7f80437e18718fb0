//! What a policy says of connections that exist already: the judgement that decides which ones a commit cuts.

use std::net::IpAddr;

use rempart_config::model::Action;
use rempart_plan::compile::{MARK_ALLOW, MARK_ID, mark};
use rempart_plan::eval::{Arrival, Decider, Evaluator, Packet, Verdict};
use rempart_plan::world::Hop;
use rempart_system::conntrack::{Connection, Layer4, Status};

use crate::engine::Subject;

/// What a policy says of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// It would be admitted, with this mark.
    Admitted(u32),
    /// It would not.
    Forbidden,
    /// It is none of the policy's business: the firewall talking to itself.
    Untouched,
}

/// Judges connections under one policy.
#[derive(Debug)]
pub struct Judge<'a> {
    subject: Subject<'a>,
    evaluator: Evaluator<'a>,
}

impl<'a> Judge<'a> {
    /// A judge under the policy of `subject`.
    pub fn new(subject: Subject<'a>) -> Self {
        let evaluator = Evaluator::new(subject.model, &subject.plan.world, subject.facts);
        Self { subject, evaluator }
    }

    /// Judges a connection as if its first packet came now.
    pub fn judge(&self, connection: &Connection) -> Judgement {
        if connection.status.has(Status::EXPECTED) {
            // It came by the grace of another: it stands as long as the flow of that one admits anything.
            let owner = self.flow_of(connection.mark);
            let admits = owner.is_some_and(|index| {
                let flow = &self.subject.model.flows[index];
                flow.action == Action::Allow && !self.subject.facts.inactive.contains(&flow.key)
            });
            return if admits { Judgement::Admitted(connection.mark) } else { Judgement::Forbidden };
        }
        let Some(packet) = self.first_packet(connection) else { return Judgement::Forbidden };
        let outcome = self.evaluator.judge(&packet);
        if packet.arrival == Arrival::Local && outcome.hop == Some(Hop::Local) {
            return Judgement::Untouched;
        }
        // Where it really goes is written in the answers; a policy that translates it elsewhere now does not
        // admit it as it is.
        let really = connection.reply.source;
        let expected = outcome.translated.map_or(packet.destination, |(address, ..)| address);
        if really != expected {
            return Judgement::Forbidden;
        }
        match (outcome.verdict, outcome.decider) {
            (Verdict::Allow, Decider::Flow(index)) => {
                Judgement::Admitted(mark(&self.subject.model.flows[index], self.subject.ids))
            }
            (Verdict::Allow, _) => Judgement::Admitted(0),
            (Verdict::Reject | Verdict::Drop, _) => Judgement::Forbidden,
        }
    }

    /// The zone that an address lies in.
    pub fn zone(&self, address: IpAddr) -> Option<String> {
        let world = &self.subject.plan.world;
        match world.route(address)? {
            Hop::Local => Some(rempart_config::model::FIREWALL.to_owned()),
            Hop::Leg(leg, _) => world.legs[leg].zone.as_ref().map(ToString::to_string),
            Hop::Blackhole => None,
        }
    }

    /// The flow whose number a mark carries, by its index.
    pub fn flow_of(&self, mark: u32) -> Option<usize> {
        let id = mark & MARK_ID;
        if id == 0 || mark & MARK_ALLOW == 0 {
            return None;
        }
        self.subject.model.flows.iter().position(|f| self.subject.ids.of(&f.key) == id)
    }

    fn first_packet(&self, connection: &Connection) -> Option<Packet> {
        let world = &self.subject.plan.world;
        let source = connection.original.source;
        let arrival = match world.route(source)? {
            Hop::Local => Arrival::Local,
            Hop::Leg(leg, _) => Arrival::Leg(leg),
            Hop::Blackhole => return None,
        };
        let (port, source_port) = match connection.original.layer4 {
            Layer4::Ports { source, destination } => (destination, source),
            Layer4::Icmp { kind, .. } => (u16::from(kind), 0),
            Layer4::Other => (0, 0),
        };
        let destination = connection.original.destination;
        Some(Packet { arrival, source, destination, protocol: connection.protocol, source_port, port })
    }
}
