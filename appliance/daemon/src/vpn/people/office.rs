//! The state, and the one way to change it.
//!
//! ```text
//!   command ──▶ Edit: a new document ──▶ disk ──▶ in force: desk, sessions cut, material ──▶ replica
//! ```
//!
//! Two locks. `changes` is held through a whole change, the disk included, by one thread at a time; `state` only for what takes
//! no time, so that logins never wait for a disk. Nobody outside is called while `state` is held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rempart_bus::codes::VpnWarning;
use rempart_bus::vpn::LoginCounts;
use rempart_identity::demand::Policy;
use rempart_identity::moment::Moment;
use rempart_identity::names::{DeviceId, UserName};
use rempart_identity::store::{Command, Event, Refusal, Store};
use rempart_identity::totp::Step;
use rempart_plan::vpn::VpnPlan;
use ring::rand::{SecureRandom, SystemRandom};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::back::BackEnds;
use super::cuts::{self, Standing};
use super::desk::{Desk, Limits, Turn};
use super::files::{Codes, Files, Keys, NotOpened};
use super::judging::{self, Asking, Job};
use super::policy::{self, Complaint};
use super::pool::Pool;
use super::upkeep::Inbox;
use super::{ServerView, Settings, material};
use crate::vpn::seam::{CutOff, FromPeople, Kind, Replica, ReplicaTicket, Tell};

/// How long a change waits for the other node to have it, before it goes on without. The replica knows within a second when
/// the other node is gone.
const COMMIT_PATIENCE: Duration = Duration::from_secs(2);

/// The key of the store, of which there is one.
pub const STORE_KEY: &[u8] = b"store";

/// What is known and changes.
pub struct State {
    /// Judges logins, and has the store in force.
    pub desk: Desk,
    /// What the document asks for.
    pub plan: Option<Arc<VpnPlan>>,
    /// Its revision.
    pub revision: u32,
    /// Whether this node serves clients.
    pub active: bool,
    /// The server's secrets.
    pub keys: Keys,
    /// Codes that were used.
    pub codes: Codes,
    /// Who is asked.
    pub back: Arc<BackEnds>,
    /// What does not work as the document has it.
    pub complaints: Vec<Complaint>,
    /// What could not be done here, until it was.
    pub troubles: BTreeMap<VpnWarning, String>,
    /// Logins so far.
    pub counts: LoginCounts,
    /// What the server was last given.
    material: Option<[u8; 32]>,
    /// Until when the dates in the store have been looked at.
    looked_at: Moment,
}

/// See the head of the file.
pub struct Office {
    pub(super) settings: Settings,
    pub(super) files: Files,
    pub(super) thinking: Pool<Job>,
    pub(super) asking: Pool<Asking>,
    pub(super) inbox: Inbox,
    pub(super) replica: Arc<dyn Replica>,
    tell: Tell<FromPeople>,
    state: Mutex<State>,
    changes: Mutex<()>,
    committed: Mutex<u64>,
    more_committed: Condvar,
    server: Mutex<Option<Arc<dyn ServerView>>>,
    closed: AtomicBool,
}

/// That `changes` is held.
pub struct Turned<'a>(#[expect(dead_code, reason = "held, not read")] MutexGuard<'a, ()>);

/// A change that is being made: the document as it will be.
pub struct Edit<'a> {
    /// The document.
    pub store: Store,
    /// When.
    pub now: Moment,
    by: &'a str,
    events: Vec<Event>,
}

impl Edit<'_> {
    /// One more command.
    pub fn apply(&mut self, command: Command) -> Result<(), Refusal> {
        let (store, event) = self.store.apply(self.now, self.by, command)?;
        self.store = store;
        self.events.push(event);
        Ok(())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The date.
pub fn today() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The clocks, and something that nobody can guess.
pub fn turn() -> Turn {
    let mut chance = [0; 16];
    if SystemRandom::new().fill(&mut chance).is_err() {
        // A question without it could be answered by anybody who knows the account; with the same bytes twice, only late.
        error!("the machine gives no random bytes");
    }
    Turn { instant: Instant::now(), moment: today(), chance }
}

impl Office {
    /// Reads what is kept.
    pub(super) fn open(
        settings: Settings,
        replica: Arc<dyn Replica>,
        tell: Tell<FromPeople>,
    ) -> Result<Self, NotOpened> {
        let files = Files::new(&settings.state);
        let (store, keys, codes) = (files.store()?, files.keys()?, files.codes());
        let mut desk = Desk::new(store, settings.language);
        overlay(&mut desk.store, &codes);
        let state = State {
            desk,
            plan: None,
            revision: 0,
            active: false,
            keys,
            codes,
            back: Arc::new(BackEnds::none()),
            complaints: Vec::new(),
            troubles: BTreeMap::new(),
            counts: LoginCounts::default(),
            material: None,
            looked_at: today(),
        };
        Ok(Self {
            settings,
            files,
            thinking: Pool::new(judging::MAX_THINKING),
            asking: Pool::new(judging::MAX_ASKING),
            inbox: Inbox::default(),
            replica,
            tell,
            state: Mutex::new(state),
            changes: Mutex::new(()),
            committed: Mutex::new(0),
            more_committed: Condvar::new(),
            server: Mutex::new(None),
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn say(&self, what: FromPeople) {
        (self.tell)(what);
    }

    pub(super) fn attach(&self, server: Arc<dyn ServerView>) {
        *lock(&self.server) = Some(server);
    }

    /// Where sessions are found, once that was said.
    pub fn server(&self) -> Option<Arc<dyn ServerView>> {
        lock(&self.server).clone()
    }

    pub(super) fn knows(&self, device: DeviceId) -> bool {
        let now = today();
        let known = |device: &rempart_identity::store::Device| device.revoked.is_none() && device.until > now;
        self.state().desk.store.devices().get(&device).is_some_and(known)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.thinking.close();
        self.asking.close();
        self.inbox.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn take_turn(&self) -> Turned<'_> {
        Turned(lock(&self.changes))
    }

    /// The other node has everything up to this ticket.
    pub(super) fn committed(&self, ReplicaTicket(ticket): ReplicaTicket) {
        let mut committed = lock(&self.committed);
        *committed = ticket.max(*committed);
        self.more_committed.notify_all();
    }

    /// Waits until the other node has it; whether it has.
    pub(super) fn wait_for(&self, ReplicaTicket(ticket): ReplicaTicket) -> bool {
        let end = Instant::now() + COMMIT_PATIENCE;
        let mut committed = lock(&self.committed);
        while *committed < ticket {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let (again, _) =
                self.more_committed.wait_timeout(committed, left).unwrap_or_else(PoisonError::into_inner);
            committed = again;
        }
        true
    }

    /// An edit of the store as it is.
    pub(super) fn edit<'a>(&self, _: &Turned<'_>, by: &'a str) -> Edit<'a> {
        Edit { store: self.state().desk.store.clone(), now: today(), by, events: Vec::new() }
    }

    /// Brings an edit into force: on the disk, here, and on the other node.
    pub(super) fn commit(&self, turned: &Turned<'_>, edit: Edit<'_>) -> std::io::Result<()> {
        if edit.events.is_empty() {
            return Ok(());
        }
        let Edit { store, events, .. } = edit;
        self.put_in_force(turned, store)?;
        for Event { by, what, subject, revision, .. } in &events {
            info!(by, what, subject, revision, "people changed");
        }
        let ticket = self.put_store();
        if !self.wait_for(ticket) {
            warn!("the other node does not have the change yet; it gets it as soon as it is back");
        }
        Ok(())
    }

    /// Hands the store to the replica.
    pub(super) fn put_store(&self) -> ReplicaTicket {
        let bytes = self.state().desk.store.write();
        self.replica.put(Kind::Store, STORE_KEY, bytes)
    }

    /// A store comes into force here: kept first, then every session that it forbids is cut, then what TLS believes follows.
    pub(super) fn put_in_force(&self, _: &Turned<'_>, mut store: Store) -> std::io::Result<()> {
        self.keep("people", self.files.keep_store(&store))?;
        let mut state = self.state();
        overlay(&mut store, &state.codes);
        let cuts = state.swap(store, today());
        drop(state);
        self.cut(cuts);
        self.publish();
        Ok(())
    }

    /// Notes whether something could be written.
    pub(super) fn keep(&self, what: &str, done: std::io::Result<()>) -> std::io::Result<()> {
        let mut state = self.state();
        match &done {
            Ok(()) => drop(state.troubles.remove(&VpnWarning::NotKept)),
            Err(error) => {
                error!(%error, what, "cannot be written; what was there before stays in force");
                state.troubles.insert(VpnWarning::NotKept, format!("{what}: {error}"));
            }
        }
        done
    }

    /// Looks at the dates: whose time is over since the last look.
    pub(super) fn look_at_dates(&self) {
        let now = today();
        let mut state = self.state();
        let desk = &state.desk;
        let before = Standing { store: &desk.store, policy: &desk.policy, now: state.looked_at };
        let found = cuts::cuts(before, Standing { now, ..before });
        state.count_anew(&found, now);
        drop(state);
        self.cut(found);
    }

    /// Ends sessions.
    pub(super) fn cut(&self, cuts: Vec<CutOff>) {
        let people = people(&cuts);
        if !people.is_empty() {
            let forgotten = self.state().desk.forget_people(&people);
            forgotten.iter().for_each(|key| self.replica.remove(Kind::Admission, key));
        }
        for cut in cuts {
            info!(?cut, "sessions are cut");
            self.say(FromPeople::Cut(cut));
        }
    }

    /// Gives the server what TLS is made of, if that is other than before.
    pub(super) fn publish(&self) {
        let mut state = self.state();
        let Some(plan) = state.plan.clone() else { return };
        let optional = policy::certificate_is_optional(&plan);
        let digest = material::digest(&state.desk.store, &state.keys, optional);
        if state.material == Some(digest) {
            return;
        }
        match material::build(&state.desk.store, &state.keys, optional) {
            Ok(Some(made)) => {
                state.material = Some(digest);
                drop(state);
                self.say(FromPeople::Material(Box::new(made)));
            }
            Ok(None) => {}
            Err(error) => error!(%error, "an authority cannot be used: clients are judged as before"),
        }
    }

    /// The document asks for this.
    pub fn configure(&self, plan: Option<VpnPlan>, revision: u32) {
        let turned = self.take_turn();
        let (policy, mut complaints) = plan.as_ref().map(policy::policy).unwrap_or_default();
        let (back, more) = match &plan {
            Some(plan) => BackEnds::of(plan, &self.files),
            None => (BackEnds::none(), Vec::new()),
        };
        complaints.extend(more);
        for (code, about) in &complaints {
            warn!(%code, about, "part of the VPN cannot work as the document has it");
        }
        let mut state = self.state();
        // The first document after a start changes nothing: what sessions have was admitted under it, here or there.
        let cuts = match &state.plan {
            Some(_) => state.follow(policy, today()),
            None => {
                state.desk.policy = policy;
                Vec::new()
            }
        };
        state.desk.limits = plan.as_ref().map(limits).unwrap_or_default();
        (state.complaints, state.back) = (complaints, Arc::new(back));
        (state.plan, state.revision) = (plan.clone().map(Arc::new), revision);
        drop(state);
        self.cut(cuts);
        self.provide(&turned);
        drop(turned);
        self.publish();
        if let Some(server) = self.server() {
            server.configure(plan);
        }
    }

    /// A used code: remembered, kept, and handed to the other node.
    pub(super) fn keep_code(&self, name: &UserName, step: Step) -> bool {
        let turned = lock(&self.inbox.codes);
        let mut state = self.state();
        state.codes.insert(name.clone(), step);
        let codes = state.codes.clone();
        drop(state);
        let kept = self.keep("used codes", self.files.keep_codes(&codes)).is_ok();
        drop(turned);
        let value = Zeroizing::new(step.number().to_be_bytes().to_vec());
        let ticket = self.replica.put(Kind::UsedCode, name.as_str().as_bytes(), value);
        kept && self.wait_for(ticket)
    }
}

impl State {
    /// Another store; whose sessions end.
    fn swap(&mut self, store: Store, now: Moment) -> Vec<CutOff> {
        let old = std::mem::replace(&mut self.desk.store, store);
        let before = Standing { store: &old, policy: &self.desk.policy, now: self.looked_at };
        let found = cuts::cuts(before, Standing { store: &self.desk.store, now, ..before });
        self.count_anew(&found, now);
        found
    }

    /// Another policy; whose sessions end.
    fn follow(&mut self, policy: Policy, now: Moment) -> Vec<CutOff> {
        let old = std::mem::replace(&mut self.desk.policy, policy);
        let desk = &self.desk;
        let before = Standing { store: &desk.store, policy: &old, now: self.looked_at };
        let mut found = cuts::cuts(before, Standing { policy: &desk.policy, now, ..before });
        let vouched = desk.vouched().values().map(|known| (&known.vouched.account, &known.vouched.groups));
        found.extend(cuts::of_vouched(vouched, &old, &desk.policy));
        let other_demands = self.asked_for_more(&old);
        self.desk.ask_again(other_demands.into_iter(), now);
        self.count_anew(&found, now);
        found
    }

    /// Tokens of whoever is cut count no more, from the same instant on.
    fn count_anew(&mut self, cuts: &[CutOff], now: Moment) {
        self.desk.ask_again(people(cuts).into_iter(), now);
        self.looked_at = now;
    }

    /// People of whom something else is demanded than before. Their sessions stay; their tokens do not.
    fn asked_for_more(&self, old: &Policy) -> Vec<UserName> {
        let desk = &self.desk;
        let demand = |policy: &Policy, groups| policy.demand(groups).map(|(demand, _)| demand);
        let stored = desk.store.users().iter().map(|(name, user)| (name, &user.groups));
        let vouched = desk.vouched().values().map(|known| (&known.vouched.account, &known.vouched.groups));
        let changed =
            stored.chain(vouched).filter(|(_, groups)| demand(old, groups) != demand(&desk.policy, groups));
        changed.map(|(name, _)| name.clone()).collect()
    }
}

fn people(cuts: &[CutOff]) -> BTreeSet<UserName> {
    let named = cuts.iter().filter_map(|cut| match cut {
        CutOff::User(user) | CutOff::Groups(user, _) => Some(user.clone()),
        CutOff::Certificate(_) => None,
    });
    named.collect()
}

fn overlay(store: &mut Store, codes: &Codes) {
    for (name, step) in codes {
        // Somebody who is gone, or a step that stands there already.
        let _ = store.use_code(name, *step);
    }
}

fn limits(plan: &VpnPlan) -> Limits {
    let of_group = |group: &rempart_plan::vpn::GroupPlan| {
        let limit = group.session_limit_s?;
        Some((group.name.parse().ok()?, Duration::from_secs(limit.into())))
    };
    Limits {
        rekey: Duration::from_secs(plan.rekey_s.into()),
        sessions: plan.groups.iter().filter_map(of_group).collect(),
    }
}
