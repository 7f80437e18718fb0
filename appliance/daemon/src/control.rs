//! The control loop: the one owner of the document, the facts and the plan.
//!
//! Each turn takes one message and brings the kernel up to date if anything changed. A commit is a turn; so is
//! a lease, a schedule's boundary, or the end of a confirm countdown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use rempart_bus::Error;
use rempart_bus::documents::{CommitReport, CommitRequest, Fault, Revision};
use rempart_config::Model;
use rempart_config::model::{NodeIndex, TCP};
use rempart_config::space::AddressSet;
use rempart_plan::eval::{Evaluator, Packet, Verdict};
use rempart_plan::net::Missing;
use rempart_plan::{Facts, Ids, Plan, Role, facts};
use rempart_system::links::{Monitor, monitor};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use crate::engine::{Applied, Engine, Journalling, Subject};
use crate::gather::{Gatherer, News};
use crate::log::{Directory, Log, timestamp};
use crate::report::Rates;
use crate::service::Command;
use crate::store::{self, Pending, Remembered, Store, StoreError};

/// The second hand: countdowns, schedules, rates.
const TICK: Duration = Duration::from_secs(1);
/// How long changes are gathered before the kernel is looked at again.
const SETTLE: Duration = Duration::from_millis(200);
/// How soon an apply that failed by itself is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How often killed connections are looked at. TCP sends again at longer and longer intervals, at most two minutes
/// (RFC 6298 §2.5 asks for a limit of at least one).
const BURY_EVERY: Duration = Duration::from_secs(150);
/// Longest confirm countdown, in seconds: a day.
const MAX_CONFIRM_S: u32 = 86_400;
/// What complaints about files of the state begin with: they stay until the daemon is started again.
const STATE: &str = "state ";
/// Longest comment and author that a revision keeps, in characters.
const MAX_WORDS: usize = 1_000;

/// What is in force.
#[derive(Debug)]
pub struct Running {
    /// The revision.
    pub revision: u32,
    /// Its document.
    pub document: String,
    /// Its model.
    pub model: Model,
    /// This node in it.
    pub node: NodeIndex,
    /// The plan that the kernel was last brought to.
    pub plan: Plan,
}

/// A document that may be committed.
struct Ready {
    model: Model,
    node: NodeIndex,
    plan: Plan,
    facts: Facts,
    ids: Ids,
}

/// The control loop and all it owns.
#[derive(Debug)]
pub struct Control {
    pub(crate) node: String,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) log: Log,
    pub(crate) running: Option<Running>,
    pub(crate) pending: Option<Pending>,
    pub(crate) facts: Facts,
    pub(crate) ids: Ids,
    pub(crate) rates: Rates,
    pub(crate) missing: Vec<Missing>,
    /// What is amiss, by what it is about.
    pub(crate) complaints: BTreeMap<String, Fault>,
    gatherer: Gatherer,
    news: mpsc::Receiver<News>,
    monitor: Monitor,
    /// When the kernel is to be looked at again, if it is.
    due: Option<Instant>,
    /// When killed connections were last looked at.
    buried: Instant,
}

impl Control {
    /// Takes over whatever the last process left: undoes a half-done apply and brings the committed revision,
    /// or the one on trial, into force.
    pub async fn start(node: String, store: Store, engine: Engine) -> anyhow::Result<Self> {
        let (gatherer, news) = Gatherer::new();
        let damaged = store.repair();
        let remembered = store.remembered();
        let mut facts = Facts { leases: remembered.leases, ..Facts::default() };
        for (name, addresses) in remembered.names {
            facts.names.insert(name, set_of(&addresses));
        }
        let log = Log::default();
        tokio::spawn(log.clone().follow());
        let mut control = Self {
            ids: store.ids()?,
            node,
            store,
            engine,
            log,
            running: None,
            pending: None,
            facts,
            rates: Rates::default(),
            missing: Vec::new(),
            complaints: BTreeMap::new(),
            gatherer,
            news,
            monitor: monitor()?,
            due: None,
            buried: Instant::now(),
        };
        for (name, message) in damaged {
            warn!(message, "the state is damaged");
            control.complain(&format!("{STATE}{name}"), "state-damaged", message);
        }
        control.engine.recover(&control.store).await?;
        control.resume().await?;
        Ok(control)
    }

    /// Brings the revision that should be in force into force.
    async fn resume(&mut self) -> Result<(), StoreError> {
        let trial = self.store.pending()?;
        let now = store::unix_now();
        self.pending = trial.filter(|p| p.boot_id == store::boot_id() && p.deadline_unix_s > now);
        if self.pending.is_none() {
            self.store.set_pending(None)?;
        }
        let revision = match &self.pending {
            Some(pending) => Some(pending.revision),
            None => self.store.current()?,
        };
        let Some(revision) = revision else {
            info!("nothing was committed yet: the network is left alone");
            return Ok(());
        };
        if let Err(error) = self.enforce(revision).await {
            warn!(revision, %error, "the committed revision cannot be brought into force; trying again");
            self.complain("apply", "apply-failed", format!("revision {revision} is not in force: {error}"));
            self.due = Some(Instant::now() + RETRY);
        }
        Ok(())
    }

    /// Brings a kept revision into force, without making it the committed one.
    async fn enforce(&mut self, revision: u32) -> Result<Applied, Error> {
        let document = self.store.document(revision).map_err(failed)?;
        let reading = rempart_config::read(&document);
        let model = reading.model.ok_or_else(|| {
            Error::Failed(format!("the document of revision {revision} cannot be read by this version"))
        })?;
        let ready = self.prepare(model).await?;
        self.put_in_force(revision, document, ready, Journalling::IfPossible).await
    }

    /// Turns until the callers are gone.
    pub async fn run(mut self, mut calls: mpsc::Receiver<Command>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let due = self.due;
            let wake = async move {
                match due {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.answer(call).await,
                    None => return,
                },
                Some(news) = self.news.recv() => self.absorb(news),
                Some(_) = self.monitor.next() => self.soon(),
                _ = tick.tick() => self.second().await,
                () = wake => self.refresh().await,
            }
        }
    }

    async fn second(&mut self) {
        self.rates.sample(self.engine.links()).await;
        if self.buried.elapsed() >= BURY_EVERY {
            self.buried = Instant::now();
            self.engine.bury().await;
        }
        if self.pending.as_ref().is_some_and(|p| p.deadline_unix_s <= store::unix_now()) {
            info!("nobody confirmed: going back");
            if let Err(error) = self.go_back().await {
                warn!(%error, "cannot go back");
            }
        }
        if self.running.is_some() && self.engine.notices_loss().await {
            warn!("somebody has removed the table of the policy: putting it back");
            self.due = Some(Instant::now());
        }
        if let Some(running) = &self.running
            && facts::inactive_flows(&running.model, &local_time(&running.model)) != self.facts.inactive
        {
            info!("a schedule or an expiry date switches flows");
            self.soon();
        }
    }

    fn soon(&mut self) {
        let at = Instant::now() + SETTLE;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Takes in a fact.
    fn absorb(&mut self, news: News) {
        match news {
            News::Lease(interface, lease) => {
                info!(%interface, bound = lease.is_some(), "DHCP");
                match lease {
                    Some(lease) => self.facts.leases.insert(interface, lease),
                    None => self.facts.leases.remove(&interface),
                };
            }
            News::Name(name, Ok(addresses)) => {
                self.complaints.remove(&format!("name {name}"));
                self.facts.names.insert(name, set_of(&addresses));
            }
            News::Name(name, Err(problem)) => {
                let kept = if self.facts.names.contains_key(&name) {
                    "the last good answer stays in force"
                } else {
                    "flows with it match nothing until it is found"
                };
                self.complain(
                    &format!("name {name}"),
                    "name-unresolved",
                    format!("{name} cannot be looked up: {problem}; {kept}"),
                );
                return;
            }
            News::List(name, Ok(list)) => {
                let about = format!("list {name}");
                self.complaints.remove(&about);
                if let Some(complaint) = list.complaint {
                    self.complain(&about, "block-list", format!("block list {name}: {complaint}"));
                }
                self.facts.blocklists.insert(name, list.addresses);
            }
            News::List(name, Err(problem)) => {
                let kept = if self.facts.blocklists.contains_key(&name) {
                    "its last content stays in force"
                } else {
                    "it blocks nothing until it can be"
                };
                let message = format!("block list {name} cannot be read: {problem}; {kept}");
                self.complain(&format!("list {name}"), "block-list", message);
                return;
            }
        }
        self.remember();
        self.soon();
    }

    fn remember(&self) {
        let names = self.facts.names.iter().map(|(name, set)| {
            let single = |f| set.wide(f).into_iter().map(move |i| (f, i.lo));
            let all = rempart_config::space::Family::BOTH.into_iter().flat_map(single);
            (name.clone(), all.map(|(f, n)| address(f, n)).collect())
        });
        let remembered = Remembered { leases: self.facts.leases.clone(), names: names.collect() };
        if let Err(error) = self.store.remember(&remembered) {
            warn!(%error, "facts cannot be kept for after a restart");
        }
    }

    pub(crate) fn complain(&mut self, about: &str, code: &str, message: String) {
        self.complaints.insert(about.into(), Fault { code: code.into(), message });
    }

    /// Plans again with the facts of now and brings the kernel there.
    async fn refresh(&mut self) {
        self.due = None;
        let Some(running) = &self.running else {
            let _ = self.resume().await;
            return;
        };
        self.facts.inactive = facts::inactive_flows(&running.model, &local_time(&running.model));
        let planned = Plan::of(&running.model, running.node, Role::Active, &self.facts, &self.ids);
        let result = match planned {
            Ok(plan) => {
                let subject =
                    Subject { plan: &plan, model: &running.model, facts: &self.facts, ids: &self.ids };
                let done = self.engine.apply(subject, &self.store, Journalling::IfPossible).await;
                done.map(|applied| (plan, applied)).map_err(|e| e.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok((plan, applied)) => {
                for step in &applied.steps {
                    info!(step, "brought up to date");
                }
                self.missing = applied.missing;
                self.complaints.remove("apply");
                if let Some(running) = &mut self.running {
                    running.plan = plan;
                }
                self.publish();
            }
            Err(error) => {
                warn!(error, "the kernel cannot be brought up to date; trying again");
                self.complain("apply", "apply-failed", error);
                self.due = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Plans a model for this node with the facts of now.
    async fn prepare(&self, model: Model) -> Result<Ready, Error> {
        let known = || model.nodes.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        let node = model.node(&self.node).ok_or_else(|| {
            Error::Failed(format!("this node is {}, the document is for {}", self.node, known()))
        })?;
        let mut facts = self.facts.clone();
        facts.inactive = facts::inactive_flows(&model, &local_time(&model));
        facts.blocklists.retain(|name, _| model.blocklists.contains_key(name));
        for (name, list) in &model.blocklists {
            // Read now, so that the first packet under the new policy meets the list.
            if let Ok(list) = crate::gather::read_list(list.file.clone().into()).await {
                facts.blocklists.insert(name.clone(), list.addresses);
            }
        }
        let ids = self.ids.clone().assign(&model);
        let plan = Plan::of(&model, node, Role::Active, &facts, &ids).map_err(failed)?;
        Ok(Ready { model, node, plan, facts, ids })
    }

    /// Brings a prepared document into force as `revision`.
    async fn put_in_force(
        &mut self,
        revision: u32,
        document: String,
        ready: Ready,
        journalling: Journalling,
    ) -> Result<Applied, Error> {
        let Ready { model, node, plan, facts, ids } = ready;
        // On disk before any packet carries them: a number is never given twice. A full disk must not keep an
        // older revision, whose flows all have theirs, from coming back.
        if ids != self.ids {
            self.store.set_ids(&ids).map_err(failed)?;
        }
        let subject = Subject { plan: &plan, model: &model, facts: &facts, ids: &ids };
        let applied = self.engine.apply(subject, &self.store, journalling).await;
        let applied = applied.map_err(|e| Error::Apply(e.to_string()))?;
        self.gatherer.follow(&model, &plan.network.dhcp, &facts.leases, &self.node);
        self.missing.clone_from(&applied.missing);
        let names = crate::gather::names_in(&model);
        self.complaints.retain(|about, _| match about.split_once(' ') {
            Some(("list", list)) => model.blocklists.contains_key(list),
            Some(("name", name)) => names.iter().any(|n| n.as_str() == name),
            _ => about.starts_with(STATE),
        });
        (self.facts, self.ids) = (facts, ids);
        self.running = Some(Running { revision, document, model, node, plan });
        self.publish();
        Ok(applied)
    }

    /// Gives the log the names of now.
    fn publish(&self) {
        if let Some(running) = &self.running {
            let flows = running.model.flows.iter().map(|f| (self.ids.of(&f.key), f.label.clone()));
            self.log.set_directory(Directory::new(&running.plan.world, flows.collect()));
        }
    }

    /// Commits a document.
    pub(crate) async fn commit(
        &mut self,
        request: CommitRequest,
        rollback_of: Option<u32>,
    ) -> Result<CommitReport, Error> {
        let started = Instant::now();
        if let Some(pending) = &self.pending {
            let message = format!(
                "revision {} by {} waits for confirmation: `rempart confirm` keeps it, `rempart revert` takes it back",
                pending.revision, pending.author
            );
            return Err(Error::Busy(message));
        }
        if request.confirm_s.is_some_and(|s| s == 0 || s > MAX_CONFIRM_S) {
            return Err(Error::Failed(format!("the countdown must be 1 to {MAX_CONFIRM_S} seconds")));
        }
        if request.confirm_s.is_some() && self.store.current().map_err(failed)?.is_none() {
            let message =
                "this is the first revision, so there is nothing to go back to: commit it without --confirm";
            return Err(Error::Failed(message.into()));
        }
        let document = match &request.document {
            Some(document) => document.clone(),
            None => self.candidate().map_err(failed)?,
        };
        let (report, model) = self.examine(&document);
        if request.shown.as_ref().is_some_and(|shown| *shown != report.digest) {
            let message =
                "the candidate has changed since it was shown: look at it again. Nothing was changed";
            return Err(Error::Busy(message.into()));
        }
        let Some(model) = model else { return Err(Error::Invalid(json(&report)?)) };
        if !report.valid {
            return Err(Error::Assertion(json(&report)?));
        }
        let ready = self.prepare(model).await?;
        if let (Some(session), false) = (&request.session, request.force)
            && self.is_ours(&ready, session).await
        {
            self.check_lock_out(&ready, session)?;
        }

        let about = Revision {
            time: timestamp(std::time::SystemTime::now()),
            author: request.author.chars().take(MAX_WORDS).collect(),
            comment: request.comment.chars().take(MAX_WORDS).collect(),
            rollback_of,
            ..Revision::default()
        };
        let revision = self.store.add(&document, &about).map_err(failed)?;
        let pending = request.confirm_s.map(|seconds| Pending {
            revision,
            deadline_unix_s: store::unix_now() + u64::from(seconds),
            boot_id: store::boot_id(),
            author: about.author.clone(),
        });
        // The trial is noted before the kernel changes: a crash in between ends it by its deadline.
        if let Err(error) = self.store.set_pending(pending.as_ref()) {
            let _ = self.store.discard(revision);
            return Err(failed(error));
        }
        let applied = match self.put_in_force(revision, document, ready, Journalling::Required).await {
            Ok(applied) => applied,
            Err(error) => {
                let forgotten = self.store.set_pending(None).and_then(|()| self.store.discard(revision));
                if let Err(error) = forgotten {
                    warn!(revision, %error, "a revision that was not committed cannot be removed");
                }
                return Err(error);
            }
        };
        self.pending = pending;
        if self.pending.is_none()
            && let Err(error) = self.keep(revision)
        {
            return Err(self.back_out(revision, error).await);
        }
        info!(revision, author = about.author, comment = about.comment, cut = applied.cut, "committed");
        Ok(CommitReport {
            revision,
            steps: applied.steps,
            connections_cut: applied.cut,
            duration_ms: started.elapsed().as_millis() as u64,
            warnings: report.diagnostics,
            confirm_s: request.confirm_s,
        })
    }

    /// Takes back a policy that is in force but cannot be noted as the committed one.
    async fn back_out(&mut self, revision: u32, error: Error) -> Error {
        let back = match self.store.current() {
            Ok(Some(current)) => self.enforce(current).await.map(drop),
            // The first revision: there is nothing to go back to, and a policy is better than none.
            Ok(None) => Ok(()),
            Err(error) => Err(failed(error)),
        };
        if let Err(back) = back {
            warn!(revision, error = %back, "cannot go back");
            self.complain(
                "apply",
                "apply-failed",
                format!("revision {revision} is not committed, and in force: {back}"),
            );
            self.due = Some(Instant::now() + RETRY);
        }
        if let Err(error) = self.store.discard(revision) {
            warn!(revision, %error, "a revision that was not committed cannot be removed");
        }
        error
    }

    /// Makes the revision in force the committed one.
    fn keep(&mut self, revision: u32) -> Result<(), Error> {
        self.store.set_current(revision).map_err(failed)?;
        self.pending = None;
        // It is committed. What is left is tidying, which the next commit can do as well.
        if let Err(error) = self.tidy() {
            warn!(revision, %error, "committed, but the state folder cannot be tidied");
        }
        Ok(())
    }

    fn tidy(&self) -> Result<(), StoreError> {
        self.store.set_pending(None)?;
        // A candidate that is in force now is no candidate any more; another one is somebody's work.
        let candidate = self.store.candidate()?;
        if self.running.as_ref().is_some_and(|r| candidate.as_ref() == Some(&r.document)) {
            self.store.set_candidate(None)?;
        }
        self.store.prune()
    }

    /// Whether a session is to this node: whoever uses a lab over SSH has one to the machine that the lab is on.
    async fn is_ours(&self, ready: &Ready, session: &rempart_bus::documents::Session) -> bool {
        match self.engine.links().observe(&ready.plan.network).await {
            Ok(observed) => observed.addresses.iter().any(|(_, net)| net.addr() == session.server),
            Err(_) => true,
        }
    }

    /// Refuses a document under which the session that commits it could not be opened again.
    fn check_lock_out(&self, ready: &Ready, session: &rempart_bus::documents::Session) -> Result<(), Error> {
        let evaluator = Evaluator::new(&ready.model, &ready.plan.world, &ready.facts);
        let refuse = |why: String| {
            Err(Error::LockOut(format!(
                "this would cut your own session from {} to {} port {}: {why}. Nothing was changed; \
                 --force commits it all the same",
                session.client, session.server, session.server_port
            )))
        };
        let arrival = match evaluator.arrival(None, session.client) {
            Ok(arrival) => arrival,
            Err(error) => return refuse(error.to_string()),
        };
        let packet = Packet {
            arrival,
            source: session.client,
            destination: session.server,
            protocol: TCP,
            source_port: session.client_port,
            port: session.server_port,
        };
        let outcome = evaluator.judge(&packet);
        let reaches = outcome.hop == Some(rempart_plan::world::Hop::Local);
        if outcome.verdict == Verdict::Allow && reaches {
            return Ok(());
        }
        match evaluator.explain(&packet) {
            Ok(explanation) if reaches => refuse(explanation.summary),
            _ => refuse(format!("{} would not be an address of the firewall any more", session.server)),
        }
    }

    /// Keeps the commit on trial.
    pub(crate) fn confirm(&mut self) -> Result<u32, Error> {
        let Some(pending) = &self.pending else { return Err(nothing_pending()) };
        let revision = pending.revision;
        self.keep(revision)?;
        info!(revision, "confirmed");
        Ok(revision)
    }

    /// Takes the commit on trial back.
    pub(crate) async fn revert(&mut self) -> Result<u32, Error> {
        if self.pending.is_none() {
            return Err(nothing_pending());
        }
        self.go_back().await
    }

    async fn go_back(&mut self) -> Result<u32, Error> {
        let trial = self.running.as_ref().map(|r| r.document.clone());
        let current = self.store.current().map_err(failed)?.ok_or_else(nothing_pending)?;
        self.enforce(current).await?;
        self.pending = None;
        info!(revision = current, "went back");
        if let Err(error) = self.forget_trial(trial.as_deref()) {
            // The note has a deadline: after a restart it counts for nothing.
            warn!(%error, "went back, but the state folder cannot be tidied");
        }
        Ok(current)
    }

    fn forget_trial(&self, document: Option<&str>) -> Result<(), StoreError> {
        self.store.set_pending(None)?;
        // What was tried stays at hand as the candidate, unless somebody has put other work there.
        if self.store.candidate()?.is_none() {
            self.store.set_candidate(document)?;
        }
        Ok(())
    }

    /// The candidate, or else the running document.
    pub(crate) fn candidate(&self) -> Result<String, StoreError> {
        let running = || self.running.as_ref().map(|r| r.document.clone()).unwrap_or_default();
        Ok(self.store.candidate()?.unwrap_or_else(running))
    }
}

fn nothing_pending() -> Error {
    Error::NotFound("no commit waits for confirmation".into())
}

/// A failure of the machine, as the bus says it.
pub fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(error.to_string())
}

/// A document for the bus.
pub fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(failed)
}

/// The time of now where the model's schedules are read. Without a time zone database it is UTC.
pub fn local_time(model: &Model) -> Zoned {
    let zone = TimeZone::get(&model.system.timezone).unwrap_or(TimeZone::UTC);
    Timestamp::now().to_zoned(zone)
}

fn set_of(addresses: &[std::net::IpAddr]) -> AddressSet {
    let single: Vec<_> = addresses.iter().map(|a| AddressSet::one(*a)).collect();
    AddressSet::union_of(&single)
}

fn address(family: rempart_config::space::Family, number: u128) -> std::net::IpAddr {
    match family {
        rempart_config::space::Family::V4 => std::net::Ipv4Addr::from(number as u32).into(),
        rempart_config::space::Family::V6 => std::net::Ipv6Addr::from(number).into(),
    }
}
