//! The comparison: one policy, many packets, the kernel's answer beside the evaluator's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use rempart_config::model::{ICMP, ICMP6, TCP};
use rempart_config::space::Family;
use rempart_plan::compile::mark;
use rempart_plan::eval::{Arrival, BETWEEN_NODES, Decider, Evaluator, Outcome, Packet, Verdict, has_ports};
use rempart_plan::nft::Ruleset;
use rempart_plan::world::Hop;
use rempart_system::conntrack::{Connection, Layer4};

use crate::node::{BATCH, Failure, Node};
use crate::packet::{self, Kind, Seen};
use crate::policy::Policy;
use crate::traffic::PORTLESS;

/// Most packets that are sent again, one by one, to find out which of them a counter missed.
const MAX_SEARCHED: usize = 600;
/// Most differences that are found so.
const MAX_FOUND: usize = 4;

/// What became of a policy's packets.
#[derive(Debug, Default)]
pub struct Report {
    /// How many were sent.
    pub packets: usize,
    /// What differed, in words.
    pub differences: Vec<String>,
    /// How many packets each kind of decider decided.
    pub deciders: BTreeMap<&'static str, usize>,
}

/// Sends packets through `ruleset`, which should be the policy's, in this thread's namespace.
pub async fn compare(policy: &Policy, ruleset: &Ruleset, packets: &[Packet]) -> Result<Report, Failure> {
    let mut node = Node::new(&policy.plan.world, &policy.plan.network).await?;
    let script = ruleset.script();
    if let Err(error) = node.apply(&script).await {
        let line = |n: u32| script.text.lines().nth(n as usize - 1).unwrap_or("").to_owned();
        let lines = match &error {
            rempart_system::nft::NftError::Refused { faults, .. } => {
                faults.iter().take(5).filter_map(|f| f.line.map(line)).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        };
        let differences = vec![format!("the kernel refuses the ruleset: {error}\n{}", lines.join("\n"))];
        return Ok(Report { differences, ..Report::default() });
    }
    if let Some(connect) = policy.connect() {
        node.apply(&connect).await?;
    }
    let mut session = Session::new(policy, &mut node).await?;
    for batch in batches(packets) {
        session.exchange(batch).await?;
    }
    let mut report = session.finish().await?;
    if !report.differences.is_empty() {
        // Which packet was it that a counter missed, and does it differ by itself? One at a time tells.
        let mut found = 0;
        for packet in packets.iter().take(MAX_SEARCHED) {
            let mut session = Session::new(policy, &mut node).await?;
            session.exchange(std::slice::from_ref(packet)).await?;
            let single = session.finish().await?;
            report.differences.extend(single.differences.iter().map(|d| format!("alone: {packet:?}: {d}")));
            found += single.differences.len();
            if found > MAX_FOUND {
                break;
            }
        }
    }
    Ok(report)
}

/// Packets that may be under way together. What is tracked by its addresses alone could be taken for the answer to
/// another such packet, before or after translation, so there is one of each protocol.
fn batches(packets: &[Packet]) -> Vec<&[Packet]> {
    let mut out = Vec::new();
    let mut rest = packets;
    while !rest.is_empty() {
        let mut seen = BTreeSet::new();
        let again = |p: &Packet| PORTLESS.contains(&p.protocol) && !seen.insert(p.protocol);
        let end = rest.iter().take(BATCH).position(again).unwrap_or(rest.len().min(BATCH));
        let (batch, later) = rest.split_at(end);
        out.push(batch);
        rest = later;
    }
    out
}

struct Session<'a> {
    policy: &'a Policy,
    evaluator: Evaluator<'a>,
    node: &'a mut Node,
    before: BTreeMap<String, u64>,
    predicted: BTreeMap<String, u64>,
    /// What is not tracked and gets an error as its answer: that belongs to no connection either, and is counted
    /// as invalid on its way out, unless a limit of the kernel's own suppressed it.
    untracked: u64,
    /// What comes, spoofed, from an address of the tunnel that nobody is connected with: an answer is counted on its
    /// way there.
    lost: u64,
    next: u32,
    report: Report,
}

impl<'a> Session<'a> {
    async fn new(policy: &'a Policy, node: &'a mut Node) -> Result<Self, Failure> {
        let before = values(node).await?;
        let evaluator = Evaluator::new(&policy.model, &policy.plan.world, &policy.facts);
        Ok(Self {
            policy,
            evaluator,
            node,
            before,
            predicted: BTreeMap::new(),
            untracked: 0,
            lost: 0,
            next: 1,
            report: Report::default(),
        })
    }

    async fn exchange(&mut self, batch: &[Packet]) -> Result<(), Failure> {
        let first = self.next;
        self.next += batch.len() as u32;
        let bytes: Vec<Vec<u8>> = (first..).zip(batch).map(|(n, p)| packet::build(p, n)).collect();
        let sent = batch.iter().zip(&bytes).map(|(p, b)| (p.arrival, p.destination, b.as_slice()));
        let came = self.node.exchange(sent).await?;
        let mut seen: BTreeMap<u32, Vec<(usize, Seen)>> = BTreeMap::new();
        for (leg, bytes) in &came {
            if let Some(one) = packet::read(bytes) {
                seen.entry(one.number).or_default().push((*leg, one));
            }
        }
        let connections = self.node.take_connections().await?;
        let connections: BTreeMap<_, _> = connections.iter().filter_map(|c| Some((key_of(c)?, c))).collect();
        for (number, packet) in (first..).zip(batch) {
            let outcome = self.evaluator.judge(packet);
            if let Some(counter) = self.counter(&outcome) {
                *self.predicted.entry(counter).or_default() += 1;
            }
            // Nobody listens here to what the nodes of a pair tell each other: the port is unreachable.
            let answered = match &outcome.decider {
                Decider::System(what) => *what == BETWEEN_NODES,
                _ => outcome.verdict == Verdict::Reject && !is_tracked(packet),
            };
            if answered {
                self.untracked += 1;
            }
            if self.is_lost(packet.source) {
                self.lost += 1;
            }
            *self.report.deciders.entry(name(&outcome.decider)).or_default() += 1;
            let none = Vec::new();
            let seen = seen.get(&number).unwrap_or(&none);
            let connection = connections.get(&key(packet)).copied();
            if let Some(problem) = self.problem(packet, &outcome, seen, connection) {
                self.report.differences.push(format!("{problem}\n  {packet:?}\n  {outcome:?}\n  {seen:?}"));
            }
        }
        self.report.packets += batch.len();
        Ok(())
    }

    async fn finish(mut self) -> Result<Report, Failure> {
        let after = values(self.node).await?;
        for (counter, value) in &after {
            let before = self.before.get(counter).copied().unwrap_or(0);
            let wanted = self.predicted.remove(counter).unwrap_or(0);
            let counted = value - before;
            let spare = match counter.as_str() {
                "p.invalid" => self.untracked,
                "p.session" => self.lost,
                _ => 0,
            };
            if counted < wanted || counted > wanted + spare {
                self.report.differences.push(format!("counter {counter}: {counted} instead of {wanted}"));
            }
        }
        for (counter, wanted) in self.predicted {
            self.report.differences.push(format!("counter {counter} is not there: {wanted} expected"));
        }
        Ok(self.report)
    }

    fn counter(&self, outcome: &Outcome) -> Option<String> {
        Some(match &outcome.decider {
            Decider::Flow(index) => format!("f{}", self.policy.ids.of(&self.policy.model.flows[*index].key)),
            Decider::Default => "p.default".into(),
            Decider::Noise => "p.noise".into(),
            Decider::AntiSpoof => "p.spoof".into(),
            Decider::Impossible => "p.bogon".into(),
            Decider::Blocklist(name) => format!("b.{name}"),
            Decider::Invalid => "p.invalid".into(),
            Decider::NoSession => "p.session".into(),
            Decider::RemoteAccess => "p.vpn".into(),
            Decider::NoRoute | Decider::System(_) => return None,
        })
    }

    /// What is wrong, if anything is.
    fn problem(
        &self,
        packet: &Packet,
        outcome: &Outcome,
        seen: &[(usize, Seen)],
        connection: Option<&Connection>,
    ) -> Option<String> {
        let out: Vec<_> = seen.iter().filter(|(_, s)| s.kind == Kind::Original).collect();
        let answers: Vec<_> = seen.iter().filter(|(_, s)| s.kind != Kind::Original).collect();
        if let Some((leg, _)) = answers.iter().find(|(leg, s)| !self.is_answered_by(packet, *leg, s)) {
            return Some(format!("an answer by leg {leg} or to somebody else"));
        }
        let refused = answers.iter().any(|(_, s)| matches!(s.kind, Kind::Prohibited | Kind::Reset));
        if let (Verdict::Allow, Decider::Flow(index)) = (outcome.verdict, &outcome.decider) {
            let wanted = mark(&self.policy.model.flows[*index], &self.policy.ids);
            match connection {
                Some(c) if c.mark != wanted => {
                    return Some(format!("connection mark {:#010x} instead of {wanted:#010x}", c.mark));
                }
                Some(_) => {}
                // The node itself resets, and a connection of which nothing was but a reset is forgotten.
                None if packet.protocol == TCP && outcome.hop == Some(Hop::Local) => {}
                None => return Some("no connection is tracked".into()),
            }
        }
        if outcome.verdict != Verdict::Allow && connection.is_some() {
            return Some("a connection is tracked of what is refused".into());
        }
        match (outcome.verdict, outcome.hop) {
            (Verdict::Allow, Some(Hop::Leg(leg, _))) => match out.as_slice() {
                [(by, seen)] => self.problem_on_the_way(packet, outcome, leg, *by, seen),
                [] => Some("not forwarded".into()),
                _ => Some("forwarded more than once".into()),
            },
            _ if !out.is_empty() => Some("forwarded".into()),
            (Verdict::Allow, _) => {
                let prohibited = answers.iter().any(|(_, s)| s.kind == Kind::Prohibited);
                prohibited.then(|| "refused instead of taken in".into())
            }
            (Verdict::Reject, _) if outcome.decider == Decider::NoRoute => None,
            (Verdict::Reject, _) => (!refused && self.is_answerable(packet)).then(|| "not answered".into()),
            (Verdict::Drop, _) => (!answers.is_empty()).then(|| "answered instead of dropped".into()),
        }
    }

    fn problem_on_the_way(
        &self,
        packet: &Packet,
        outcome: &Outcome,
        leg: usize,
        by: usize,
        seen: &Seen,
    ) -> Option<String> {
        let (destination, port) =
            outcome.translated.map_or((packet.destination, packet.port), |(a, p, _)| (a, p));
        let source = outcome.source.map_or(packet.source, |(a, _)| a);
        let ports = has_ports(packet.protocol);
        let typed = packet.protocol == ICMP || packet.protocol == ICMP6;
        if by != leg {
            Some(format!("leaves by leg {by} instead of {leg}"))
        } else if seen.destination != destination {
            Some(format!("goes to {} instead of {destination}", seen.destination))
        } else if (ports || typed) && seen.port != port {
            Some(format!("goes to port {} instead of {port}", seen.port))
        } else if seen.source != source {
            Some(format!("leaves as {} instead of {source}", seen.source))
        } else if ports && outcome.source.is_none() && seen.source_port != packet.source_port {
            Some(format!("leaves with port {} instead of {}", seen.source_port, packet.source_port))
        } else {
            None
        }
    }

    /// Whether an answer goes back to where the packet came from.
    fn is_answered_by(&self, packet: &Packet, leg: usize, seen: &Seen) -> bool {
        let reset = seen.kind != Kind::Reset || seen.source == packet.destination;
        seen.destination == packet.source
            && self.policy.plan.world.leg_towards(packet.source) == Some(leg)
            && reset
    }

    /// Whether an answer can come out of a device. What the node itself sends is answered inside.
    fn is_answerable(&self, packet: &Packet) -> bool {
        // Of protocols that it does not know the kernel wants a checksum over all (`nf_reject_verify_csum`).
        let known = has_ports(packet.protocol) || matches!(packet.protocol, ICMP | ICMP6 | 47 | 50);
        known
            && packet.arrival != Arrival::Local
            && is_tracked(packet)
            && self.policy.plan.world.leg_towards(packet.source).is_some()
            && !self.is_lost(packet.source)
    }

    /// Whether an answer to `address` would go into the tunnel, to nobody.
    fn is_lost(&self, address: IpAddr) -> bool {
        let world = &self.policy.plan.world;
        let tunnel = world.leg_towards(address).is_some_and(|leg| world.is_tunnel(leg));
        tunnel && self.policy.facts.live.as_ref().is_some_and(|live| !live.contains(address))
    }
}

async fn values(node: &Node) -> Result<BTreeMap<String, u64>, Failure> {
    Ok(node.counters().await?.into_iter().map(|(name, counter)| (name, counter.packets)).collect())
}

/// Whether the kernel would make a connection of it.
fn is_tracked(packet: &Packet) -> bool {
    match packet.protocol {
        ICMP => packet.source.is_ipv4() && matches!(packet.port, 8 | 13 | 15 | 17),
        ICMP6 => packet.source.is_ipv6() && matches!(packet.port, 128 | 139),
        _ => true,
    }
}

type Key = (IpAddr, IpAddr, u8, u16, u16);

fn key(packet: &Packet) -> Key {
    let (source_port, port) = match packet.protocol {
        ICMP | ICMP6 => (packet.source_port, packet.port),
        p if has_ports(p) => (packet.source_port, packet.port),
        _ => (0, 0),
    };
    (packet.source, packet.destination, packet.protocol, source_port, port)
}

fn key_of(connection: &Connection) -> Option<Key> {
    let tuple = connection.original;
    let (source_port, port) = match tuple.layer4 {
        Layer4::Ports { source, destination } if has_ports(connection.protocol) => (source, destination),
        Layer4::Icmp { kind, id, .. } => (id, kind.into()),
        Layer4::Ports { .. } | Layer4::Other => (0, 0),
    };
    (Family::of(tuple.source) == connection.family).then_some((
        tuple.source,
        tuple.destination,
        connection.protocol,
        source_port,
        port,
    ))
}

fn name(decider: &Decider) -> &'static str {
    match decider {
        Decider::Flow(_) => "flow",
        Decider::Default => "default",
        Decider::Noise => "noise",
        Decider::AntiSpoof => "anti-spoof",
        Decider::Impossible => "impossible",
        Decider::Blocklist(_) => "block list",
        Decider::NoRoute => "no route",
        Decider::Invalid => "invalid",
        Decider::NoSession => "no session",
        Decider::RemoteAccess => "remote access",
        Decider::System(_) => "system",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets, {} different; decided by", self.packets, self.differences.len())?;
        for (decider, count) in &self.deciders {
            write!(f, " {decider} {count}")?;
        }
        Ok(())
    }
}
