//! The control loop: the one owner of the document, the facts and the plan.
//!
//! Each turn takes one message and brings the kernel up to date if anything changed. A commit is a turn; so is
//! a lease, a schedule's boundary, or the end of a confirm countdown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use rempart_bus::Error;
use rempart_bus::documents::Fault;
use rempart_config::Model;
use rempart_config::model::NodeIndex;
use rempart_config::space::AddressSet;
use rempart_daemon::notify;
use rempart_daemon::tasks::until;
use rempart_pair::agreement::Position;
use rempart_plan::net::Missing;
use rempart_plan::{Facts, Ids, Plan, Role, facts};
use rempart_system::links::{Monitor, monitor};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::commit::Accord;
use crate::engine::{Applied, Engine, Journalling, Subject};
use crate::gather::{Gatherer, News};
use crate::log::{Directory, Log};
use crate::numbers;
use crate::remote::Remote;
use crate::report::Rates;
use crate::service::Command;
use crate::store::{self, Pending, Remembered, Store, StoreError};
use crate::tune;

/// The second hand: countdowns, schedules, rates.
const TICK: Duration = Duration::from_secs(1);
/// How long changes are gathered before the kernel is looked at again.
const SETTLE: Duration = Duration::from_millis(200);
/// How soon an apply that failed by itself is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(10);
/// How often killed connections are looked at. TCP sends again at longer and longer intervals, at most two minutes
/// (RFC 6298 §2.5 asks for a limit of at least one).
const BURY_EVERY: Duration = Duration::from_secs(150);
/// What complaints about files of the state begin with: they stay until the daemon is started again.
const STATE: &str = "state ";
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
#[derive(Debug)]
pub(crate) struct Ready {
    pub model: Model,
    pub node: NodeIndex,
    pub plan: Plan,
    pub facts: Facts,
    pub ids: Ids,
    /// The facts of when it was planned.
    generation: u64,
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
    /// The agreement with the other node.
    pub(crate) accord: Accord,
    /// The way to `rempart-vpn`.
    pub(crate) remote: Remote,
    /// Counts the changes of the facts.
    generation: u64,
    gatherer: Gatherer,
    news: mpsc::Receiver<News>,
    monitor: Monitor,
    /// When the kernel is to be looked at again, if it is.
    pub(crate) due: Option<Instant>,
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
            accord: Accord::new(Position::default(), None),
            remote: Remote::default(),
            generation: 0,
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
        control.begin_lineage();
        let pending = match &control.pending {
            Some(pending) => Some((control.store.id(pending.revision)?, pending.clone())),
            None => None,
        };
        control.accord = Accord::new(control.store.position()?, pending.as_ref());
        control.replan();
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
            None => self.readable()?,
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

    /// The revision that is to be in force: the committed one, unless a newer version of the product has committed it and it
    /// cannot be read here. Then the last one that can be: an older policy is better than none.
    fn readable(&mut self) -> Result<Option<u32>, StoreError> {
        let reads = |document: &str| rempart_config::read(document).model.is_some();
        let (current, readable) = (self.store.current()?, self.store.readable(reads)?);
        if let (Some(current), Some(readable)) = (current, readable)
            && current != readable
        {
            warn!(current, readable, "the committed revision was made by a newer version and cannot be read");
            let message = format!(
                "revision {current} was made by a newer version of Rempart; revision {readable} is in force instead. \
                 Go forward to that version, or commit a document"
            );
            self.complain(&format!("{STATE}newer"), "state-newer", message);
        }
        Ok(readable)
    }

    /// A revision of a product that knew no lineage gets one, so that another node can be given it.
    fn begin_lineage(&self) {
        let current = self.store.current().ok().flatten().filter(|c| !self.store.has_lineage(*c));
        let (Some(current), Some(running)) = (current, &self.running) else { return };
        if current == running.revision
            && let Err(error) = self.store.begin_lineage(current, numbers::of(&running.model, &self.ids))
        {
            warn!(revision = current, %error, "the revision cannot be given a lineage");
        }
    }

    /// Brings a kept revision into force, without making it the committed one.
    pub(crate) async fn enforce(&mut self, revision: u32) -> Result<Applied, Error> {
        let document = self.store.document(revision).map_err(failed)?;
        let reading = rempart_config::read(&document);
        let model = reading.model.ok_or_else(|| {
            Error::Failed(format!("the document of revision {revision} cannot be read by this version"))
        })?;
        let ids = numbers::adopt(&self.ids, &self.store.lineage(revision).map_err(failed)?.numbers);
        let ready = self.prepare(model, ids).await?;
        self.put_in_force(revision, document, ready, Journalling::IfPossible).await
    }

    /// Turns until the callers are gone.
    pub async fn run(mut self, mut calls: mpsc::Receiver<Command>, bus: zbus::Connection) {
        self.remote.connect(bus.clone());
        self.accord.connect(bus);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            self.agree().await;
            let (wake, agree) = (until(self.due), until(self.accord.wake()));
            tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.answer(call).await,
                    None => return,
                },
                Some(news) = self.news.recv() => self.absorb(news),
                Some(_) = self.monitor.next() => self.soon(),
                _ = tick.tick() => self.second().await,
                Some(news) = self.accord.news.recv() => self.hear(news),
                () = wake => self.refresh().await,
                () = agree => {}
            }
        }
    }

    async fn second(&mut self) {
        notify::alive();
        self.rates.sample(self.engine.links()).await;
        if self.buried.elapsed() >= BURY_EVERY {
            self.buried = Instant::now();
            self.engine.bury().await;
        }
        self.retreat().await;
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
        self.generation += 1;
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
    pub(crate) async fn prepare(&self, model: Model, ids: Ids) -> Result<Ready, Error> {
        let known = || model.nodes.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        let node = model.node(&self.node).ok_or_else(|| {
            Error::Refused(format!("this node is {}, the document is for {}", self.node, known()))
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
        let ids = ids.assign(&model);
        let plan = Plan::of(&model, node, Role::Active, &facts, &ids).map_err(failed)?;
        Ok(Ready { model, node, plan, facts, ids, generation: self.generation })
    }

    /// The same with the facts of now, where they have changed while the other node was waited for.
    pub(crate) async fn fresh(&self, ready: Ready) -> Result<Ready, Error> {
        if ready.generation == self.generation {
            return Ok(ready);
        }
        self.prepare(ready.model, ready.ids).await
    }

    /// Brings a prepared document into force as `revision`.
    pub(crate) async fn put_in_force(
        &mut self,
        revision: u32,
        document: String,
        ready: Ready,
        journalling: Journalling,
    ) -> Result<Applied, Error> {
        let Ready { model, node, plan, facts, ids, generation: _ } = ready;
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
        tune::tune(&model, &plan.network);
        self.running = Some(Running { revision, document, model, node, plan });
        self.publish();
        Ok(applied)
    }

    /// Gives the log the names of now.
    fn publish(&mut self) {
        self.replan();
        if let Some(running) = &self.running {
            let flows = running.model.flows.iter().map(|f| (self.ids.of(&f.key), f.label.clone()));
            self.log.set_directory(Directory::new(&running.plan.world, flows.collect()));
        }
    }

    /// The candidate, or else the running document.
    pub(crate) fn candidate(&self) -> Result<String, StoreError> {
        let running = || self.running.as_ref().map(|r| r.document.clone()).unwrap_or_default();
        Ok(self.store.candidate()?.unwrap_or_else(running))
    }
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
