//! Answering: the control loop's state as the documents of the bus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use ipnet::IpNet;
use rempart_bus::Error;
use rempart_bus::documents::{
    CheckReport, Connection, ExplainRequest, Explanation, Fault, FlowStatus, InterfaceStatus, NearMiss,
    Revision, Stage, Status, ZoneStatus,
};
use rempart_bus::review;
use rempart_config::Model;
use rempart_config::model::{Action, Device, Flow, NodeIndex};
use rempart_config::space::Family;
use rempart_plan::eval::{Evaluator, Packet, Verdict};
use rempart_plan::explain::{protocol_name, question_service};
use rempart_plan::net::LinkKind;
use rempart_plan::nft::TABLE;
use rempart_plan::{Plan, Role, World, facts, print};
use rempart_system::conntrack::{self, Layer4, Status as TrackStatus, TcpState};
use rempart_system::links::{LinkStatistics, Links};
use tracing::warn;

use crate::audit::policy::{InForce, Policy};
use crate::control::{Control, failed, json, local_time};
use crate::engine::{Subject, is_killed};
use crate::judge::Judge;
use crate::log::timestamp;
use crate::service::{Command, Reply};
use crate::store;

/// Most connections that one answer lists.
const MAX_CONNECTIONS: u32 = 100_000;

/// The side of a diff that is on the other node.
const PEER: &str = "peer";

/// Traffic of the devices, and how fast it grows.
#[derive(Debug, Default)]
pub struct Rates {
    last: Option<(Instant, BTreeMap<Device, LinkStatistics>)>,
    bits_per_s: BTreeMap<Device, (u64, u64)>,
}

impl Rates {
    /// Reads the counters; the rates are those since the last time.
    pub async fn sample(&mut self, links: &Links) {
        let Ok(now) = links.statistics().await else { return };
        let at = Instant::now();
        if let Some((then, before)) = &self.last {
            let seconds = at.duration_since(*then).as_secs_f64().max(0.001);
            let rate = |new: u64, old: u64| (new.saturating_sub(old) as f64 * 8.0 / seconds) as u64;
            let grown = now.iter().filter_map(|(device, new)| {
                let old = before.get(device)?;
                Some((device.clone(), (rate(new.rx_bytes, old.rx_bytes), rate(new.tx_bytes, old.tx_bytes))))
            });
            self.bits_per_s = grown.collect();
        }
        self.last = Some((at, now));
    }
}

impl Control {
    /// Answers a call. A caller that has gone away is not an error.
    pub(crate) async fn answer(&mut self, command: Command) {
        match command {
            Command::Status(reply) => drop(reply.send(self.status().await.and_then(|s| json(&s)))),
            Command::Flows(reply) => drop(reply.send(self.flows().await.and_then(|f| json(&f)))),
            Command::Connections(limit, reply) => drop(reply.send(self.connections(limit).await)),
            Command::Kill(ids, reply) => {
                let ids: BTreeSet<u32> = ids.into_iter().collect();
                drop(reply.send(self.engine.kill(&ids).await.map_err(failed)));
            }
            Command::Log(after, reply) => drop(reply.send(json(&self.log.page(after)))),
            Command::Check(document, reply) => {
                let report = self.document_or_candidate(document).map(|d| self.examine(&d).0);
                drop(reply.send(report.and_then(|r| json(&r))));
            }
            Command::Plan(document, reply) => drop(reply.send(self.plan(document))),
            Command::Explain(request, reply) => {
                drop(reply.send(self.explain(&request).and_then(|e| json(&e))));
            }
            Command::Candidate(reply) => drop(reply.send(self.candidate().map_err(failed))),
            Command::Load(document, reply) => {
                let document = Some(document.as_str()).filter(|d| !d.is_empty());
                drop(reply.send(self.store.set_candidate(document).map_err(failed)));
            }
            Command::Commit(request, reply) => self.commit(request, None, reply).await,
            Command::Confirm(reply) => self.confirm(reply),
            Command::Revert(reply) => self.revert(reply),
            Command::Rollback(revision, request, reply) => match self.store.document(revision) {
                Ok(document) => {
                    let request =
                        rempart_bus::documents::CommitRequest { document: Some(document), ..request };
                    self.commit(request, Some(revision), reply).await;
                }
                Err(error) => drop(reply.send(Err(not_found(error)))),
            },
            Command::History(reply) => {
                drop(reply.send(self.store.history().map_err(failed).and_then(|h| json(&h))));
            }
            Command::Show(revision, reply) => {
                drop(reply.send(self.store.document(revision).map_err(not_found)));
            }
            Command::Diff(from, to, reply) => self.answer_diff(&from, &to, reply),
            Command::Agreement(reply) => drop(reply.send(json(&self.agreement()))),
            Command::Audit(reply) => drop(reply.send(self.audited().await)),
            Command::Resolve(choice, reply) => self.resolve(&choice, reply),
            Command::Administration(reply) => drop(reply.send(Ok(self.administration()))),
            Command::Setup(reply) => drop(reply.send(self.setup().and_then(|s| json(&s)))),
            Command::Name(name, reply) => drop(reply.send(self.rename(&name))),
            Command::PeerRequest(topic, body, reply) => self.peer_request(&topic, &body, reply),
        }
    }

    fn document_or_candidate(&self, document: String) -> Result<String, Error> {
        if document.is_empty() { self.candidate().map_err(failed) } else { Ok(document) }
    }

    /// The name of this node, and what the audit wants to know of the document.
    async fn audited(&self) -> Result<(String, Policy), Error> {
        let Some(running) = &self.running else { return Ok((self.node.clone(), Policy::none())) };
        let diagnostics = rempart_config::read(&running.document).diagnostics;
        let redundant = diagnostics.iter().filter(|d| d.code == "redundant-flow").map(|d| {
            let (line, _) = rempart_config::position(&running.document, d.span.start);
            let flow = running.model.flows.iter().rev().find(|f| f.line <= line);
            flow.map_or_else(|| format!("line {line}"), |f| f.label.clone())
        });
        let about = self.store.about(running.revision).map_err(failed)?;
        let policy = Policy::of(InForce {
            model: &running.model,
            plan: &running.plan,
            redundant: &redundant.collect(),
            comment: &about.comment,
            held: self.engine.holds_policy().await,
            today: local_time(&running.model).date(),
        });
        Ok((self.node.clone(), policy))
    }

    async fn status(&mut self) -> Result<Status, Error> {
        let usage = self.engine.conntrack().usage().await.unwrap_or_default();
        let running = self.running.as_ref();
        let revision = match running {
            Some(r) => {
                let about = self.store.about(r.revision).map_err(failed)?;
                Some(Revision { current: self.pending.is_none(), ..about })
            }
            None => None,
        };
        let pending = match self.pending.as_ref().filter(|p| p.confirm) {
            Some(p) => Some(rempart_bus::documents::Pending {
                revision: p.revision,
                previous: self.store.current().map_err(failed)?,
                left_s: p.deadline_unix_s.saturating_sub(store::unix_now() + p.held_s()),
                author: p.author.clone(),
            }),
            None => None,
        };
        let role = self.role();
        let active = role == "active";
        let candidate = self.store.candidate().map_err(failed)?;
        let candidate = candidate.is_some_and(|c| running.is_none_or(|r| r.document != c));
        let mut faults: Vec<Fault> = self.complaints.values().cloned().collect();
        faults.extend(self.disagreement());
        faults.extend(self.missing.iter().map(|m| Fault { code: "missing".into(), message: m.to_string() }));
        Ok(Status {
            version: 1,
            node: self.node.clone(),
            role: role.into(),
            product_version: env!("CARGO_PKG_VERSION").into(),
            time: timestamp(SystemTime::now()),
            uptime_s: uptime_s(),
            revision,
            pending,
            candidate,
            zones: running.map(|r| zones(&r.model)).unwrap_or_default(),
            interfaces: running
                .map(|r| self.interfaces(&r.model, r.node, &r.plan, active))
                .unwrap_or_default(),
            connections: usage.count,
            connections_max: usage.max,
            flows: running.map_or(0, |r| r.model.flows.len() as u32),
            flows_inactive: self.facts.inactive.len() as u32,
            faults,
        })
    }

    /// Who holds the virtual addresses is told by the kernel: the elector sets their links up and down.
    fn role(&self) -> &'static str {
        let Some(running) = &self.running else { return "none" };
        let links = running.plan.network.links.iter();
        let mut own = links.filter(|(_, link)| matches!(link.kind, LinkKind::MacVlan { .. })).map(|(d, _)| d);
        let statistics = self.rates.last.as_ref().map(|(_, s)| s);
        let is_up = |device| statistics.and_then(|s| s.get(device)).is_some_and(|s| s.carrier);
        match running.model.interfaces.values().all(|i| i.virtuals.is_empty()) || own.any(is_up) {
            true => "active",
            false => "standby",
        }
    }

    /// The interfaces, with the virtual addresses where `active`.
    fn interfaces(&self, model: &Model, node: NodeIndex, plan: &Plan, active: bool) -> Vec<InterfaceStatus> {
        let statistics = self.rates.last.as_ref().map(|(_, s)| s);
        let mut out = Vec::new();
        for (name, interface) in &model.interfaces {
            let device = interface.device.get(node);
            let found = statistics.and_then(|s| s.get(device)).cloned();
            let (rx, tx) = self.rates.bits_per_s.get(device).copied().unwrap_or_default();
            let leg = plan.world.leg_of(device.as_str()).map(|leg| &plan.world.legs[leg]);
            let addresses: BTreeSet<_> = leg.into_iter().flat_map(|leg| &leg.addresses).collect();
            // Whoever does not hold the virtual ones does not have them.
            let has = |a: &&IpNet| active || !leg.is_some_and(|leg| leg.virtuals.contains(&a.addr()));
            let addresses: BTreeSet<_> = addresses.into_iter().filter(has).collect();
            let addresses = addresses.into_iter().map(ToString::to_string).collect();
            let present = found.is_some();
            let s = found.unwrap_or_default();
            out.push(InterfaceStatus {
                name: name.to_string(),
                device: device.to_string(),
                zone: interface.zone.as_ref().map(ToString::to_string),
                present,
                carrier: s.carrier,
                addresses,
                dhcp: interface.dhcp,
                rx_bytes: s.rx_bytes,
                tx_bytes: s.tx_bytes,
                rx_packets: s.rx_packets,
                tx_packets: s.tx_packets,
                rx_bits_per_s: rx,
                tx_bits_per_s: tx,
            });
        }
        out
    }

    async fn flows(&mut self) -> Result<Vec<FlowStatus>, Error> {
        let Some(running) = &self.running else { return Ok(Vec::new()) };
        let counters = self.engine.nft().counters(TABLE).await.unwrap_or_else(|error| {
            warn!(%error, "the counters cannot be read");
            BTreeMap::new()
        });
        let mut out = Vec::new();
        for flow in &running.model.flows {
            let id = self.ids.of(&flow.key);
            let hits = counters.get(&format!("f{id}")).copied().unwrap_or_default();
            let active = !self.facts.inactive.contains(&flow.key);
            out.push(FlowStatus {
                hits: hits.packets,
                bytes: hits.bytes,
                active,
                id,
                ..flow_status(&running.model, flow)
            });
        }
        Ok(out)
    }

    async fn connections(&mut self, limit: u32) -> Result<String, Error> {
        let mut list = self.engine.conntrack().list().await.map_err(failed)?;
        let Some(running) = &self.running else { return json(&Vec::<Connection>::new()) };
        list.retain(|c| !is_killed(c));
        // The kernel lists in no order of use; those that began last come first, where it tells.
        list.sort_by_key(|c| std::cmp::Reverse((c.started_ns, c.timeout_s)));
        list.truncate(limit.min(MAX_CONNECTIONS) as usize);
        let subject =
            Subject { plan: &running.plan, model: &running.model, facts: &self.facts, ids: &self.ids };
        let judge = Judge::new(subject);
        let now_ns =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let shown: Vec<Connection> =
            list.iter().map(|c| connection(c, &judge, &running.model, now_ns)).collect();
        json(&shown)
    }

    /// Everything that `check` says about a document, and its model when it has no error.
    pub(crate) fn examine(&self, document: &str) -> (CheckReport, Option<Model>) {
        let (report, model) = review::check(document, "rempart.toml", &self.facts, false);
        (CheckReport { digest: store::digest(document), ..report }, model)
    }

    /// A document's model, this node in it, and the network it makes; errors as the bus says them.
    fn read(&self, document: &str) -> Result<(Model, NodeIndex), Error> {
        let (report, model) = self.examine(document);
        let Some(model) = model else { return Err(Error::Invalid(json(&report)?)) };
        let node = model.node(&self.node).or_else(|| model.node(model.nodes.first()?.as_str()));
        let node = node.ok_or_else(|| Error::Refused("the document names no node".into()))?;
        Ok((model, node))
    }

    fn plan(&self, document: String) -> Result<String, Error> {
        let document = self.document_or_candidate(document)?;
        let (model, node) = self.read(&document)?;
        let mut facts = self.facts.clone();
        facts.inactive = facts::inactive_flows(&model, &local_time(&model));
        let ids = self.ids.clone().assign(&model);
        let plan = Plan::of(&model, node, Role::Active, &facts, &ids).map_err(failed)?;
        Ok(print::plan(&plan, &model, &model.nodes[node.get()], &facts, &ids))
    }

    fn explain(&self, request: &ExplainRequest) -> Result<Explanation, Error> {
        let other = match &request.document {
            Some(document) => Some(self.read(document)?),
            None => None,
        };
        let (model, node) = match (&other, &self.running) {
            (Some((model, node)), _) => (model, *node),
            (None, Some(running)) => (&running.model, running.node),
            (None, None) => return Err(Error::NotFound("nothing was committed yet: name a document".into())),
        };
        let mut facts = self.facts.clone();
        facts.inactive = facts::inactive_flows(model, &local_time(model));
        let world = World::new(model, node, Role::Active, &facts);
        let ids = self.ids.clone().assign(model);
        let evaluator = Evaluator::new(model, &world, &facts);
        let packet = question(request, &evaluator)?;
        let explanation = evaluator.explain(&packet).map_err(failed)?;
        Ok(explained(explanation, model, &ids))
    }

    fn answer_diff(&self, from: &str, to: &str, reply: Reply<String>) {
        let sides = [from, to].map(|name| match name {
            PEER => Ok((self.other_node(), None)),
            name => self.side(name).map(|document| (name.to_owned(), Some(document))),
        });
        match sides {
            [Ok((_, Some(old))), Ok((_, Some(new)))] => {
                let diff = similar::TextDiff::from_lines(old.as_str(), new.as_str());
                drop(reply.send(Ok(diff.unified_diff().context_radius(3).header(from, to).to_string())));
            }
            [Ok(old), Ok(new)] => self.peer_diff([old, new], reply),
            [Err(error), _] | [_, Err(error)] => drop(reply.send(Err(error))),
        }
    }

    /// A side of a diff that is here.
    fn side(&self, name: &str) -> Result<String, Error> {
        match name {
            "running" => Ok(self.running.as_ref().map(|r| r.document.clone()).unwrap_or_default()),
            "candidate" => self.candidate().map_err(failed),
            number => {
                let revision = number.parse().map_err(|_| {
                    Error::NotFound(format!(
                        "`{number}` is neither a revision number, `running`, `candidate` nor `{PEER}`"
                    ))
                })?;
                self.store.document(revision).map_err(not_found)
            }
        }
    }
}

fn not_found(error: store::StoreError) -> Error {
    match error {
        store::StoreError::NoRevision(_) => Error::NotFound(error.to_string()),
        store::StoreError::Io { .. } => failed(error),
    }
}

/// The packet that a question is about.
fn question(request: &ExplainRequest, evaluator: &Evaluator<'_>) -> Result<Packet, Error> {
    let address = |text: &str| {
        text.parse().map_err(|_| Error::Refused(format!("`{text}` is not an IPv4 or IPv6 address")))
    };
    let (source, destination) = (address(&request.source)?, address(&request.destination)?);
    let services = rempart_config::service(&request.service).map_err(Error::Refused)?;
    let (protocol, port) = question_service(&services, Family::of(destination))
        .ok_or_else(|| Error::Refused(format!("{} is not a service of this IP version", request.service)))?;
    let arrival = evaluator.arrival(request.from.as_deref(), source).map_err(failed)?;
    // Where it does not matter, any port that no server uses.
    let source_port = request.source_port.unwrap_or(50_000);
    Ok(Packet { arrival, source, destination, protocol, source_port, port })
}

fn explained(e: rempart_plan::explain::Explanation, model: &Model, ids: &rempart_plan::Ids) -> Explanation {
    let flow = match e.outcome.decider {
        rempart_plan::eval::Decider::Flow(index) => Some(&model.flows[index]),
        _ => None,
    };
    let near = e.near_misses.into_iter().map(|(index, why)| {
        let flow = &model.flows[index];
        NearMiss { label: flow.label.clone(), line: flow.line, why }
    });
    Explanation {
        verdict: match e.outcome.verdict {
            Verdict::Allow => "allow".into(),
            Verdict::Reject => "reject".into(),
            Verdict::Drop => "drop".into(),
        },
        summary: e.summary,
        flow: flow.map_or(0, |f| ids.of(&f.key)),
        decided_by: e.decided_by,
        line: flow.map(|f| f.line),
        stages: e.stages.into_iter().map(|(stage, text)| Stage { stage: stage.into(), text }).collect(),
        near_misses: near.collect(),
    }
}

fn zones(model: &Model) -> Vec<ZoneStatus> {
    let zones = model.zones.iter().map(|(name, zone)| ZoneStatus {
        name: name.to_string(),
        external: zone.external,
        interfaces: model.interfaces_of(name).map(|(i, _)| i.to_string()).collect(),
    });
    zones.collect()
}

/// What the document says of a flow.
fn flow_status(model: &Model, flow: &Flow) -> FlowStatus {
    let zones = |ends: &[rempart_config::model::Endpoint]| {
        let every = ends.iter().any(|e| e.zone.is_none());
        let all = model.zones.keys().filter(|z| every && !z.is_firewall());
        let named = ends.iter().filter_map(|e| e.zone.as_ref());
        named.chain(all).map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let text = |ends: &[rempart_config::model::Endpoint]| {
        ends.iter().map(|e| e.text.as_str()).collect::<Vec<_>>().join(", ")
    };
    FlowStatus {
        label: flow.label.clone(),
        line: flow.line,
        from_zones: zones(&flow.from),
        to_zones: zones(&flow.to),
        from: text(&flow.from),
        to: text(&flow.to),
        services: flow.service_text.clone(),
        action: match flow.action {
            Action::Allow => "allow".into(),
            Action::Deny => "deny".into(),
            Action::Reject => "reject".into(),
            Action::Drop => "drop".into(),
        },
        publish: flow.publish.is_some(),
        why: flow.why.clone(),
        owner: flow.owner.clone(),
        expires: flow.expires.map(|d| d.to_string()),
        schedule: flow.schedule.as_ref().map(ToString::to_string),
        log: flow.log,
        ..FlowStatus::default()
    }
}

fn connection(c: &conntrack::Connection, judge: &Judge<'_>, model: &Model, now_ns: u64) -> Connection {
    let port = |l: &Layer4, at_source: bool| match l {
        Layer4::Ports { source, destination } => {
            if at_source {
                *source
            } else {
                *destination
            }
        }
        Layer4::Icmp { kind, .. } => {
            if at_source {
                0
            } else {
                u16::from(*kind)
            }
        }
        Layer4::Other => 0,
    };
    let (original, reply) = (&c.original, &c.reply);
    let flow = judge.flow_of(c.mark).map(|index| &model.flows[index]);
    let real = (reply.source, port(&reply.layer4, true));
    let asked = (original.destination, port(&original.layer4, false));
    let icmp = matches!(original.layer4, Layer4::Icmp { .. });
    let left_as = (reply.destination, port(&reply.layer4, false));
    let own = (original.source, port(&original.layer4, true));
    let sent = c.sent.unwrap_or_default();
    let received = c.received.unwrap_or_default();
    Connection {
        id: c.id,
        protocol: protocol_name(c.protocol).to_string(),
        source: own.0,
        source_port: own.1,
        destination: asked.0,
        destination_port: asked.1,
        translated_destination: Some(real).filter(|r| r.0 != asked.0 || (!icmp && r.1 != asked.1)),
        translated_source: Some(left_as).filter(|l| l.0 != own.0 || (!icmp && l.1 != own.1)),
        from_zone: judge.zone(own.0),
        to_zone: judge.zone(real.0),
        flow: flow.map_or(0, |_| c.mark & rempart_plan::compile::MARK_ID),
        flow_label: flow.map(|f| f.label.clone()).unwrap_or_default(),
        state: match &c.tcp {
            Some(tcp) => tcp_state(tcp.state).into(),
            None if c.status.has(TrackStatus::ASSURED) => "ASSURED".into(),
            None if c.status.has(TrackStatus::SEEN_REPLY) => "SEEN_REPLY".into(),
            None => "UNREPLIED".into(),
        },
        timeout_s: c.timeout_s,
        age_s: c.started_ns.map(|then| now_ns.saturating_sub(then) / 1_000_000_000),
        bytes_out: sent.bytes,
        bytes_in: received.bytes,
        packets_out: sent.packets,
        packets_in: received.packets,
    }
}

/// The kernel's names (`enum tcp_conntrack`), as conntrack prints them.
fn tcp_state(state: TcpState) -> &'static str {
    match state {
        TcpState::None => "NONE",
        TcpState::SynSent => "SYN_SENT",
        TcpState::SynReceived => "SYN_RECV",
        TcpState::Established => "ESTABLISHED",
        TcpState::FinWait => "FIN_WAIT",
        TcpState::CloseWait => "CLOSE_WAIT",
        TcpState::LastAck => "LAST_ACK",
        TcpState::TimeWait => "TIME_WAIT",
        TcpState::Close => "CLOSE",
        TcpState::SynSent2 => "SYN_SENT2",
        TcpState::Other(_) => "OTHER",
    }
}

fn uptime_s() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|s| s.parse().ok()).unwrap_or(0)
}
