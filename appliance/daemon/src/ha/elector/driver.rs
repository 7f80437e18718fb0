//! The loop of the elector's thread: waits for one thing, hands it to a machine, does what the machines want.

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rempart_pair::NodeIndex;
use rempart_pair::heartbeat::{self, Heartbeat, Intention, LENGTH, MAX_LENGTH, ProductVersion};
use rempart_pair::keys::{Endpoint, Kind, OVERHEAD, SessionId};
use rempart_pair::role::{
    CommandRefused, Config, Daemon, FailBack, Failure, Link, Node, Notice, Output, PathState, Purpose,
    Record, Role, Start, Why,
};
use rempart_plan::ha::{Failback, HaPlan};
use rempart_system::linkwatch::LinkWatch;
use rempart_system::realtime;
use rempart_system::virtual_link::{Batch, VirtualLink, VirtualLinks};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::oneshot;
use vrrp_rs::elector::State;
use vrrp_rs::wire::{self, frame};

use super::gateway::{Borrowed, Monitors};
use super::news::{Happening, News, RouterPicture, Snapshot};
use super::paths::Way;
use super::release::{self, Refused, Releaser};
use super::router::{Adapted, Obstacle, Router, Standing};
use super::segment::{MAX_FRAME, Segment};
use super::{Command, Inbox, Recorder, Refusal, Surroundings};
use crate::journal;
use crate::keystore::PairKeys;
use crate::secrets::Secrets;

/// Frames or datagrams read from one socket before the others have their turn. A round of heartbeats is one.
const TURN: usize = 64;
/// The same when a machine wants the queue empty before it judges: more than any receive buffer of ours holds, so that
/// a flood cannot hold the elector.
const DRAIN: usize = 4096;
/// After taking over, the other node's last adverts may still be under way; it has gone by then or heartbeats tell more.
const SETTLING: Duration = Duration::from_secs(1);
/// Virtual links that are missing this long are an ailment. The control daemon makes them anew within less when the
/// document changes them.
const LINKS_GRACE: Duration = Duration::from_secs(2);
/// How often a router is tried again that the kernel's news do not wake: a secret may have come.
const RETRY: Duration = Duration::from_secs(2);

/// Everything that the elector's thread owns.
pub struct Driver {
    inbox: Inbox,
    news: tokio::sync::mpsc::Sender<News>,
    journal: Option<journal::Handle>,
    recorder: Recorder,
    watch: LinkWatch,
    hands: VirtualLinks,
    releaser: Releaser,
    plan: Option<HaPlan>,
    secrets: Secrets,
    keys: Option<PairKeys>,
    endpoint: Option<Endpoint>,
    node: Node,
    /// The electors wait for the node.
    held: bool,
    active: bool,
    /// The other node has been granted the role: nothing is said any more in the name of the virtual routers.
    granting: bool,
    took_over: Option<Instant>,
    peer_alive: bool,
    peer_active: bool,
    ways: Vec<Way>,
    segments: Vec<Segment>,
    routers: Vec<Router>,
    monitors: Monitors,
    /// All routers that take part, at once.
    all_up: Batch,
    all_down: Batch,
    links_missing: Option<Instant>,
    retry: Option<Instant>,
    switching: Option<oneshot::Sender<Result<(), Refusal>>>,
    leaving: bool,
    finished: bool,
    frame: Vec<u8>,
    datagram: Vec<u8>,
    ready: Vec<bool>,
}

impl Driver {
    /// Opens everything in the network namespace of this thread. `unfit` is why it has no real-time priority, if so.
    pub fn new(inbox: Inbox, surroundings: Surroundings, unfit: Option<io::Error>) -> io::Result<Self> {
        let Surroundings { record, keys, plan, news, recorder } = surroundings;
        let now = Instant::now();
        let watch = LinkWatch::open()?;
        let (plan, secrets) =
            plan.map_or((None, Secrets::default()), |(plan, secrets)| (Some(plan), secrets));
        let paired = is_paired(plan.as_ref(), keys.as_ref());
        let start = Start { record, paired, active: was_active(plan.as_ref(), &watch) };
        let mut driver = Self {
            inbox,
            releaser: Releaser::start(teller(&news))?,
            news,
            journal: None,
            recorder,
            hands: VirtualLinks::open()?,
            watch,
            endpoint: endpoint(keys.as_ref())?,
            keys,
            node: Node::new(now, config(plan.as_ref()), start),
            plan: None,
            secrets: Secrets::default(),
            held: paired,
            active: false,
            granting: false,
            took_over: None,
            peer_alive: false,
            peer_active: false,
            ways: Vec::new(),
            segments: Vec::new(),
            routers: Vec::new(),
            monitors: Monitors::new(now, Vec::new()),
            all_up: Batch::default(),
            all_down: Batch::default(),
            links_missing: None,
            retry: None,
            switching: None,
            leaving: false,
            finished: false,
            frame: vec![0; MAX_FRAME],
            datagram: Vec::with_capacity(LENGTH + OVERHEAD),
            ready: Vec::new(),
        };
        if let Some(error) = unfit {
            driver.tell(Happening::NoPriority { what: error.to_string() });
        }
        driver.take_plan(now, plan, secrets);
        Ok(driver)
    }

    /// Runs until it has handed over after [`Command::Shutdown`].
    pub fn run(mut self) -> io::Result<()> {
        loop {
            self.settle();
            if self.finished {
                self.close();
                return Ok(());
            }
            let timeout = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            self.wait(timeout)?;
            self.look()?;
        }
    }

    // ---- waiting

    fn deadline(&self) -> Option<Instant> {
        let machines =
            self.routers.iter().filter_map(|router| router.machine.as_ref()?.elector.poll_timeout());
        let own = [self.node.poll_timeout(), self.monitors.deadline(), self.links_missing_at(), self.retry];
        machines.chain(own.into_iter().flatten()).min()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let first = [self.inbox.waker.as_fd(), self.watch.as_fd()];
        let ways = self.ways.iter().filter_map(Way::fd);
        let segments = self.segments.iter().map(|segment| segment.as_fd());
        realtime::wait(first.into_iter().chain(ways).chain(segments), timeout, &mut self.ready)
    }

    /// Everything that has come, heartbeats first: no work of ours must make the other node look dead.
    fn look(&mut self) -> io::Result<()> {
        let ready = std::mem::take(&mut self.ready);
        let mut rest = ready.iter().copied().skip(2);
        let mut segments = 0;
        for place in 0..self.ways.len() {
            if self.ways[place].fd().is_some() && rest.next() == Some(true) {
                self.hear_way(place, TURN);
            }
        }
        for (place, ready) in rest.enumerate() {
            segments = place + 1;
            if ready {
                self.hear_segment(place, TURN);
            }
        }
        debug_assert_eq!(segments, self.segments.len());
        if ready.get(1) == Some(&true) && self.watch.refresh()? {
            self.adapt(Instant::now());
        }
        if ready.first() == Some(&true) {
            self.inbox.waker.rest();
            while let Ok(command) = self.inbox.commands.try_recv() {
                self.obey(command);
                self.settle();
            }
        }
        self.ready = ready;
        self.tick();
        Ok(())
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.node.poll_timeout().is_some_and(|at| at <= now) {
            self.node.handle_timeout(now);
            self.settle();
        }
        for place in 0..self.routers.len() {
            if let Some(machine) = &mut self.routers[place].machine
                && machine.elector.poll_timeout().is_some_and(|at| at <= now)
            {
                machine.elector.handle_timeout(now);
            }
        }
        if self.monitors.deadline().is_some_and(|at| at <= now) {
            self.ask_gateways(now);
        }
        if self.links_missing_at().is_some_and(|at| at <= now) || self.retry.is_some_and(|at| at <= now) {
            self.adapt(now);
        }
    }

    // ---- hearing

    fn hear_way(&mut self, place: usize, turns: usize) {
        let mut datagram = [0; MAX_LENGTH + OVERHEAD];
        for _ in 0..turns {
            let Some(len) = self.ways[place].receive(&mut datagram) else { return };
            let now = Instant::now();
            let (Some(endpoint), Some(bytes)) = (&mut self.endpoint, datagram.get_mut(..len)) else {
                continue;
            };
            match heartbeat::receive(endpoint, now, bytes) {
                Ok(heard) => {
                    self.peer_active = heard.get().role == Role::Active;
                    self.node.handle_heartbeat(now, place, &heard);
                }
                Err(refusal) => self.node.handle_refused(now, place, &refusal),
            }
            self.settle_node();
        }
    }

    fn hear_segment(&mut self, place: usize, turns: usize) {
        let mut buffer = std::mem::take(&mut self.frame);
        for _ in 0..turns {
            let Some(len) = self.segments[place].receive(&mut buffer) else { break };
            if let Some(bytes) = buffer.get(..len) {
                self.hear_frame(place, bytes);
            }
        }
        self.frame = buffer;
    }

    fn hear_frame(&mut self, place: usize, bytes: &[u8]) {
        let now = Instant::now();
        let Some(device) = self.segments.get(place).map(|segment| segment.device.clone()) else { return };
        let Some((header, payload)) = frame::parse(bytes) else {
            let mut back = Vec::new();
            self.monitors.hear(&device, bytes, |place| back.push(place));
            for place in back {
                self.gateway_changed(now, place, true);
            }
            return;
        };
        let Ok((_, vrid)) = wire::peek(payload) else { return };
        let family = vrrp_rs::Family::of(header.source);
        let (held, rival) = (self.held, self.is_settling(now) || self.peer_alive && self.peer_active);
        let addressed = |router: &&mut Router| router.is_addressed(&device, family, vrid);
        let Some(router) = self.routers.iter_mut().find(addressed) else { return };
        let ignored = held && rival && router.state() == State::Active;
        if let (Some(machine), false) = (&mut router.machine, ignored) {
            // What was wrong with it is counted by the machine.
            let _ = machine.elector.handle_packet(now, &header, payload);
        }
    }

    /// Between two nodes of ours it is for the nodes to decide who stays, by epochs and not by priorities. Only a rival
    /// that stays although no heartbeat comes from it is treated as the protocol says.
    fn is_settling(&self, now: Instant) -> bool {
        self.took_over.is_some_and(|at| now.saturating_duration_since(at) < SETTLING)
    }

    // ---- commands

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Configure(plan, secrets) => self.take_plan(now, plan.map(|plan| *plan), secrets),
            Command::Keys(keys) => self.take_keys(now, keys.map(|keys| *keys)),
            Command::Switch(reply) => {
                let asked = self.node.switch(now);
                self.answer_later(asked, reply);
            }
            Command::Maintenance(on, reply) => {
                let hands_over = on && self.active;
                let asked = self.node.maintenance(now, on);
                match (&asked, hands_over) {
                    (Ok(()), true) | (Err(_), _) => self.answer_later(asked, reply),
                    (Ok(()), false) => drop(reply.send(Ok(()))),
                }
            }
            Command::Shutdown => {
                self.leaving = true;
                self.node.shutdown(now);
            }
            Command::Observe(reply) => drop(reply.send(self.snapshot(now))),
            Command::Journal(journal) => self.take_journal(now, journal),
            Command::Persisted(Record { epoch, .. }) => self.node.handle_persisted(now, epoch),
            Command::Flushed(token) => self.node.handle_flushed(now, token),
            Command::Synced(synced, position) => {
                self.node.set_position(position);
                self.node.set_synced(now, synced);
            }
            Command::Revision(revision, lineage) => self.node.set_configuration(revision, lineage),
            Command::Daemon(daemon, runs) => self.node.handle_daemon(now, daemon, runs),
        }
    }

    fn answer_later(
        &mut self,
        asked: Result<(), CommandRefused>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    ) {
        match asked {
            Ok(()) => self.switching = Some(reply),
            Err(refused) => drop(reply.send(Err(Refusal::Refused(refused)))),
        }
    }

    fn answer_switch(&mut self, result: Result<(), Failure>) {
        if let Some(reply) = self.switching.take() {
            // Whoever asked may not wait any more.
            let _ = reply.send(result.map_err(Refusal::Failed));
        }
    }

    fn take_keys(&mut self, now: Instant, keys: Option<PairKeys>) {
        let was = is_paired(self.plan.as_ref(), self.keys.as_ref());
        self.keys = keys;
        match endpoint(self.keys.as_ref()) {
            Ok(endpoint) => self.endpoint = endpoint,
            Err(error) => self.kernel(format!("no random bytes for a session: {error}")),
        }
        self.pair(now, was, true);
        self.adapt(now);
    }

    /// Tells the node whether it has a partner. `anew`: with other keys.
    fn pair(&mut self, now: Instant, was: bool, anew: bool) {
        match (was, is_paired(self.plan.as_ref(), self.keys.as_ref())) {
            (false, true) => {
                let active = self.routers.iter().any(|router| router.state() == State::Active)
                    || was_active(self.plan.as_ref(), &self.watch);
                self.node.pair(now, active);
            }
            (true, true) if anew => self.node.pair(now, self.active),
            (true, true) | (false, false) => {}
            (true, false) => self.node.unpair(now),
        }
        self.settle();
    }

    /// The document asks for something else. What is as before is not touched.
    fn take_plan(&mut self, now: Instant, plan: Option<HaPlan>, secrets: Secrets) {
        let was = is_paired(self.plan.as_ref(), self.keys.as_ref()) && self.plan.is_some();
        let started = self.plan.is_none() && self.held;
        let changed_secrets = secrets != self.secrets;
        self.secrets = secrets;
        let mut old_routers = std::mem::take(&mut self.routers);
        let mut old_ways = std::mem::take(&mut self.ways);
        if let Some(plan) = &plan {
            for wanted in &plan.paths {
                let known = old_ways.iter().position(|way| way.plan == *wanted);
                let way = known.map(|place| old_ways.swap_remove(place));
                self.ways.push(way.unwrap_or_else(|| Way::new(wanted.clone())));
            }
            for wanted in &plan.routers {
                let known = old_routers.iter().position(|router| router.plan.device == wanted.device);
                let old = known.map(|place| old_routers.swap_remove(place));
                match old {
                    Some(old) if old.plan == *wanted && !(changed_secrets && old.needs_secret()) => {
                        self.routers.push(old);
                    }
                    old => self.replace_router(now, wanted, old),
                }
            }
        }
        self.dismiss(now, old_routers);
        let monitors = plan.as_ref().map(|plan| plan.monitors.clone()).unwrap_or_default();
        let same = monitors.iter().eq(self.monitors.list.iter().map(|monitor| &monitor.plan));
        if !same {
            self.monitors = Monitors::new(now, monitors);
        }
        self.plan = plan;
        self.node.reconfigure(now, config(self.plan.as_ref()));
        for place in 0..self.monitors.list.len() {
            self.node.handle_gateway(now, place, self.monitors.list[place].answers);
        }
        if !started {
            self.pair(now, was, false);
        }
        self.adapt(now);
    }

    fn replace_router(&mut self, now: Instant, wanted: &rempart_plan::ha::RouterPlan, old: Option<Router>) {
        match Router::new(wanted.clone()) {
            Ok(router) => {
                if let Some(batch) = old.as_ref().and_then(|old| router.given_up(old)) {
                    self.perform(&batch);
                }
                self.routers.push(router);
            }
            Err(obstacle) => {
                self.kernel(format!("virtual router {} on {}: {obstacle}", wanted.vrid, wanted.interface));
                self.dismiss(now, old.into_iter().collect());
            }
        }
    }

    /// Routers that the document asks for no more say farewell, and their links go down.
    fn dismiss(&mut self, now: Instant, routers: Vec<Router>) {
        let kept = std::mem::replace(&mut self.routers, routers);
        for router in &mut self.routers {
            if let Some(machine) = &mut router.machine {
                machine.elector.shutdown(now);
            }
        }
        self.settle_routers();
        self.routers = kept;
    }

    // ---- the machines

    /// Does what the machines want until none wants anything.
    fn settle(&mut self) {
        loop {
            let busy = self.settle_node();
            if !self.settle_routers() && !busy {
                return;
            }
        }
    }

    /// Does what the node wants; `false` if it wanted nothing.
    fn settle_node(&mut self) -> bool {
        let mut busy = false;
        while let Some(output) = self.node.poll_output() {
            busy = true;
            self.act(output);
        }
        busy
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::HoldElectors { held } => self.hold(held),
            Output::BecomeActive { why, epoch } => self.take_over(why, epoch),
            Output::BecomeStandby { why } => self.stand_down(why),
            Output::Announce => self.announce_all(),
            Output::Drain => {
                for place in 0..self.ways.len() {
                    self.hear_way(place, DRAIN);
                }
                self.node.handle_drained(Instant::now());
            }
            Output::FlushJournal { token } => {
                if !self.tell_journal(journal::Command::Flush(token)) {
                    // Nobody keeps a journal: there is nothing to wait for.
                    self.node.handle_flushed(Instant::now(), token);
                }
            }
            Output::Persist(record) => self.recorder.record(record),
            Output::Send { path, heartbeat } => self.send(path, &heartbeat),
            Output::Notice(notice) => self.notice(notice),
            Output::Finished => self.finished = self.leaving,
        }
    }

    fn hold(&mut self, held: bool) {
        let now = Instant::now();
        self.held = held;
        if !held {
            self.active = false;
            self.granting = false;
        }
        for router in &mut self.routers {
            router.set_standing(now, if held { Standing::Standby } else { Standing::Free });
        }
    }

    /// One request to the kernel for all links and addresses; adverts and announcements only when that is done.
    fn take_over(&mut self, why: Why, epoch: u64) {
        let decided = Instant::now();
        let batch = std::mem::take(&mut self.all_up);
        self.perform(&batch);
        self.all_up = batch;
        let took = decided.elapsed();
        (self.active, self.granting) = (true, false);
        self.took_over = Some(decided);
        for router in &mut self.routers {
            if let Some(machine) = router.machine.as_mut().filter(|m| m.elector.state() == State::Backup) {
                machine.is_up = true;
                machine.elector.claim(decided);
            }
        }
        self.settle_routers();
        self.tell_journal(journal::Command::Role { active: true });
        self.answer_switch(Ok(()));
        self.tell(Happening::Active { why, epoch, took });
    }

    /// Nothing more is sent in the virtual routers' name: the other node has it, and a farewell from their Ethernet address
    /// would lead the switches back here.
    fn stand_down(&mut self, why: Why) {
        let now = Instant::now();
        (self.active, self.granting) = (false, false);
        if self.routers.iter().any(Router::is_up) {
            self.releaser.release(self.all_down.clone());
        }
        for router in &mut self.routers {
            if let Some(machine) = &mut router.machine {
                machine.is_up = false;
                machine.elector.resign(now);
            }
        }
        if self.peer_alive {
            self.hush_routers();
        }
        self.settle_routers();
        self.tell_journal(journal::Command::Role { active: false });
        self.tell(Happening::Standby { why });
    }

    fn send(&mut self, path: usize, heartbeat: &Heartbeat) {
        self.granting = self.active && matches!(heartbeat.intention, Intention::Grant { .. });
        let (Some(endpoint), Some(way)) = (&mut self.endpoint, self.ways.get_mut(path)) else { return };
        // A session's counter is never used up; a heartbeat that could not be sealed is one not sent.
        if endpoint.seal(&heartbeat.encode(), &mut self.datagram).is_ok() {
            way.send(&self.datagram);
        }
    }

    fn notice(&mut self, notice: Notice) {
        let mut name = None;
        match notice {
            Notice::Path { path, state } => {
                name = self.ways.get(path).map(|way| format!("{} {}", way.plan.interface, state.name()));
                self.tell_journal(journal::Command::Path { path, up: state == PathState::Up });
            }
            Notice::PeerLost => self.peer_alive = false,
            Notice::PeerBack => self.peer_alive = true,
            Notice::HandOverDone { purpose } => match purpose {
                Purpose::Command | Purpose::Maintenance => self.answer_switch(Ok(())),
                Purpose::Shutdown | Purpose::FailBack | Purpose::Unwell | Purpose::Election => {}
            },
            Notice::HandOverFailed { purpose, failure } => match purpose {
                Purpose::Command | Purpose::Maintenance => self.answer_switch(Err(failure)),
                Purpose::Shutdown | Purpose::FailBack | Purpose::Unwell | Purpose::Election => {}
            },
            Notice::PeerRestarted
            | Notice::TwoActives { .. }
            | Notice::Damped { .. }
            | Notice::HandOverBegun { .. }
            | Notice::Stalled { .. } => {}
        }
        self.tell(Happening::Node(notice, name));
    }

    /// Does what the virtual routers want; `false` if none wanted anything.
    fn settle_routers(&mut self) -> bool {
        let mut busy = false;
        for place in 0..self.routers.len() {
            while let Some(output) = self.routers[place].poll_output() {
                busy = true;
                self.act_for(place, output);
            }
        }
        busy
    }

    fn act_for(&mut self, place: usize, output: vrrp_rs::Output) {
        let now = Instant::now();
        let router = &mut self.routers[place];
        match output {
            vrrp_rs::Output::Transmit(packet) => {
                let (mac, dialect) = (router.mac(), router.dialect());
                let silent = self.held && self.granting;
                let parent = &router.plan.parent;
                if let (Some(segment), false) =
                    (self.segments.iter_mut().find(|segment| segment.device == *parent), silent)
                {
                    segment.advertise(mac, dialect, &packet);
                }
            }
            vrrp_rs::Output::Announce(_) => self.announce(place),
            vrrp_rs::Output::Role(change) => {
                let happening = Happening::Router {
                    interface: router.plan.interface.clone(),
                    vrid: router.plan.vrid,
                    state: change.to,
                    cause: change.cause,
                };
                self.put_into_force(place);
                self.tell(happening);
            }
            vrrp_rs::Output::Drain => {
                let parent = router.plan.parent.clone();
                if let Some(segment) = self.segments.iter().position(|segment| segment.device == parent) {
                    self.hear_segment(segment, DRAIN);
                }
                if let Some(machine) = &mut self.routers[place].machine {
                    machine.elector.handle_drained(now);
                }
            }
            // Some other router had this address, and is silent now.
            vrrp_rs::Output::Overdue => {
                if let (Some(machine), true) = (&mut router.machine, self.held && self.active) {
                    machine.elector.claim(now);
                }
            }
        }
    }

    /// Brings the virtual link of one router to where its state wants it: the state now, for one that goes on after a
    /// restart has been a backup for no time at all.
    fn put_into_force(&mut self, place: usize) {
        let Some(machine) = &mut self.routers[place].machine else { return };
        let wanted = match machine.elector.state() {
            State::Active => true,
            State::Initialize | State::Backup => false,
        };
        if machine.is_up == wanted {
            return;
        }
        machine.is_up = wanted;
        if wanted {
            let batch = machine.up.clone();
            self.perform(&batch);
        } else {
            self.releaser.release(machine.down.clone());
        }
    }

    /// Drops what the virtual routers would still say.
    fn hush_routers(&mut self) {
        for place in 0..self.routers.len() {
            while let Some(output) = self.routers[place].poll_output() {
                match output {
                    vrrp_rs::Output::Transmit(_) => {}
                    vrrp_rs::Output::Role(_)
                    | vrrp_rs::Output::Announce(_)
                    | vrrp_rs::Output::Drain
                    | vrrp_rs::Output::Overdue => self.act_for(place, output),
                }
            }
        }
    }

    /// Of all routers; those that a rival had while the other node was out of hearing are taken back.
    fn announce_all(&mut self) {
        let now = Instant::now();
        for place in 0..self.routers.len() {
            match (self.routers[place].state(), &mut self.routers[place].machine) {
                (State::Active, _) => self.announce(place),
                (State::Backup, Some(machine)) if self.held && self.active => machine.elector.claim(now),
                (State::Backup | State::Initialize, _) => {}
            }
        }
    }

    fn announce(&mut self, place: usize) {
        let router = &self.routers[place];
        if self.held && self.granting {
            return;
        }
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.device == router.plan.parent) {
            segment.send(&router.announcement);
        }
    }

    // ---- links

    /// Follows what has changed about links and addresses.
    fn adapt(&mut self, now: Instant) {
        for place in 0..self.ways.len() {
            self.ways[place].adapt(&self.watch);
            self.node.handle_link(now, Link::Path(place), self.ways[place].carrier);
        }
        for place in 0..self.monitors.list.len() {
            let device = &self.monitors.list[place].plan.device;
            let running = self.watch.named(device).is_some_and(|link| link.running);
            self.node.handle_link(now, Link::Monitor(place), running);
        }
        // The role first: what a lost cable means for the node is more urgent than what it means for one router, and after a
        // start the other node is to hear of us before anything else, for some of it waits for locks of the kernel.
        self.settle();
        self.adapt_segments();
        self.adapt_routers(now);
        self.settle();
        self.agree();
    }

    fn adapt_segments(&mut self) {
        let routers = self.routers.iter().map(|router| &router.plan.parent);
        let gateways = self.monitors.list.iter().filter(|monitor| monitor.plan.gateway.is_some());
        let devices: std::collections::BTreeSet<_> =
            routers.chain(gateways.map(|monitor| &monitor.plan.device)).cloned().collect();
        let there = |device: &str, watch: &LinkWatch| watch.named(device).map(|link| link.index);
        let watch = &self.watch;
        self.segments.retain(|segment| {
            devices.contains(&segment.device) && there(&segment.device, watch) == Some(segment.index)
        });
        let mut failures = Vec::new();
        for device in devices {
            let open = self.segments.iter().any(|segment| segment.device == device);
            if let (false, Some(index)) = (open, there(&device, &self.watch)) {
                match Segment::open(&device, index) {
                    Ok(segment) => self.segments.push(segment),
                    Err(error) => failures.push(format!("no packet socket on {device}: {error}")),
                }
            }
        }
        for failure in failures {
            self.kernel(failure);
        }
    }

    fn adapt_routers(&mut self, now: Instant) {
        let standing = match (self.held, self.active) {
            (false, _) => Standing::Free,
            (true, true) => Standing::Active,
            (true, false) => Standing::Standby,
        };
        let paired = is_paired(self.plan.as_ref(), self.keys.as_ref());
        let mut news = Vec::new();
        for router in &mut self.routers {
            if self.leaving {
                break;
            }
            match router.adapt(now, &self.watch, &self.secrets, standing, paired) {
                Adapted::Same => {}
                Adapted::Started | Adapted::Stopped => news.push(Happening::Obstacle {
                    interface: router.plan.interface.clone(),
                    vrid: router.plan.vrid,
                    why: router.obstacle.as_ref().map(|(obstacle, _)| obstacle.to_string()),
                }),
            }
        }
        news.into_iter().for_each(|happening| self.tell(happening));
        let links: Vec<VirtualLink> = self.routers.iter().filter_map(Router::link).cloned().collect();
        for (made, slot) in [(Batch::up(&links), &mut self.all_up), (Batch::down(&links), &mut self.all_down)]
        {
            // Too many for one request: the routers bring up their own, one after the other.
            *slot = made.unwrap_or_default();
        }
        self.judge_links(now);
    }

    /// Virtual links that should be there and are not make the node unfit, after a moment of patience.
    fn judge_links(&mut self, now: Instant) {
        let obstacles = || self.routers.iter().filter_map(|router| router.obstacle.as_ref()).map(|(o, _)| o);
        let missing = obstacles().any(|obstacle| match obstacle {
            Obstacle::NoLink | Obstacle::OtherLink | Obstacle::NoSource | Obstacle::Plan(_) => true,
            // The health of the interface itself tells.
            Obstacle::NoParent | Obstacle::ParentDown => false,
        });
        self.retry = missing.then_some(now + RETRY);
        self.links_missing = missing.then(|| self.links_missing.unwrap_or(now));
        let unfit =
            self.links_missing.is_some_and(|since| now.saturating_duration_since(since) >= LINKS_GRACE);
        self.node.handle_daemon(now, Daemon::Links, !unfit);
    }

    fn links_missing_at(&self) -> Option<Instant> {
        let now = Instant::now();
        self.links_missing.map(|since| since + LINKS_GRACE).filter(|at| *at > now)
    }

    /// Puts right what somebody else did to a virtual link.
    fn agree(&mut self) {
        // What we have done ourselves must not surprise us, nor what is being done.
        if self.releaser.is_busy() || self.watch.refresh().is_err() {
            return;
        }
        for place in 0..self.routers.len() {
            let Some(machine) = &self.routers[place].machine else { continue };
            let link = self.watch.links().find(|link| link.index == machine.link.index);
            let Some(link) = link else { continue };
            let complete = link.up && machine.link.addresses.iter().all(|net| link.addresses.contains(net));
            let clean = !link.up && link.addresses.is_empty();
            match (machine.is_up, complete, clean) {
                (true, true, _) | (false, _, true) => {}
                (true, false, _) => {
                    let batch = machine.up.clone();
                    self.perform(&batch);
                    self.announce(place);
                }
                (false, _, false) => self.releaser.release(machine.down.clone()),
            }
        }
    }

    /// Brings up, at once.
    fn perform(&mut self, batch: &Batch) {
        if !batch.is_empty() {
            self.releaser.finish();
            let tell = teller(&self.news);
            release::perform(&mut self.hands, batch, &tell);
        }
    }

    // ---- gateways

    fn ask_gateways(&mut self, now: Instant) {
        let active = self.routers.iter().filter(|router| router.state() == State::Active && !self.granting);
        let borrowed: Vec<Borrowed<'_>> = active
            .filter_map(|router| {
                let address = router.plan.addresses.first()?.addr();
                Some(Borrowed { device: &router.plan.parent, mac: router.mac().0, address })
            })
            .collect();
        let mut changed = Vec::new();
        let questions =
            self.monitors.ask(now, &self.watch, &borrowed, |place, answers| changed.push((place, answers)));
        for question in questions {
            let on_device = |segment: &&mut Segment| segment.device == question.device;
            if let Some(segment) = self.segments.iter_mut().find(on_device) {
                segment.send(std::slice::from_ref(&question.frame));
            }
        }
        for (place, answers) in changed {
            self.gateway_changed(now, place, answers);
        }
    }

    fn gateway_changed(&mut self, now: Instant, place: usize, answers: bool) {
        let interface = self.monitors.list.get(place).map(|monitor| monitor.plan.interface.clone());
        self.node.handle_gateway(now, place, answers);
        self.tell(Happening::Gateway { interface: interface.unwrap_or_default(), answers });
    }

    // ---- the end, and telling

    /// Everything down, whoever is active now.
    fn close(&mut self) {
        let now = Instant::now();
        for router in &mut self.routers {
            if let Some(machine) = &mut router.machine {
                machine.elector.shutdown(now);
            }
        }
        if self.held && self.peer_alive {
            self.hush_routers();
        }
        self.settle_routers();
        self.releaser.finish();
        self.tell_journal(journal::Command::Role { active: false });
    }

    fn tell(&self, what: Happening) {
        // Nobody is waited for; what is lost here is a line of the log.
        let _ = self.news.try_send(News { at: Instant::now(), what });
    }

    fn kernel(&self, what: String) {
        self.tell(Happening::Kernel { what });
    }

    /// `false` when there is no journal.
    fn tell_journal(&self, command: journal::Command) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.tell(command))
    }

    /// A new journal is told what the one before has heard.
    fn take_journal(&mut self, now: Instant, journal: Option<journal::Handle>) {
        self.journal = journal;
        for (path, status) in self.node.status(now).paths.iter().enumerate() {
            self.tell_journal(journal::Command::Path { path, up: status.state == PathState::Up });
        }
        match self.node.role() {
            Some(Role::Active) => self.tell_journal(journal::Command::Role { active: true }),
            Some(Role::Standby) => self.tell_journal(journal::Command::Role { active: false }),
            Some(Role::Starting) | None => false,
        };
    }

    fn snapshot(&self, at: Instant) -> Snapshot {
        Snapshot {
            plan: self.plan.clone(),
            paired: is_paired(self.plan.as_ref(), self.keys.as_ref()),
            node: self.node.status(at),
            routers: self.routers.iter().map(picture).collect(),
        }
    }
}

/// Tells what the kernel has refused.
fn teller(news: &tokio::sync::mpsc::Sender<News>) -> Refused {
    let news = news.clone();
    Box::new(move |what| {
        let _ = news.try_send(News { at: Instant::now(), what: Happening::Kernel { what } });
    })
}

fn picture(router: &Router) -> RouterPicture {
    let machine = router.machine.as_ref();
    RouterPicture {
        interface: router.plan.interface.clone(),
        vrid: router.plan.vrid,
        dialect: router.dialect(),
        addresses: router.plan.addresses.iter().map(|net| net.addr().to_string()).collect(),
        state: router.state(),
        active_router: machine.and_then(|machine| machine.elector.active_router()),
        statistics: machine.map(|machine| *machine.elector.statistics()).unwrap_or_default(),
        obstacle: router.obstacle.as_ref().map(|(why, since)| (why.code(), why.to_string(), *since)),
    }
}

/// Two nodes need keys, a document that names both, and a way between them.
fn is_paired(plan: Option<&HaPlan>, keys: Option<&PairKeys>) -> bool {
    keys.is_some() && plan.is_some_and(|plan| plan.peer.is_some() && !plan.paths.is_empty())
}

/// Whether a virtual link is up: the program was active when it ended, and the kernel has gone on since.
fn was_active(plan: Option<&HaPlan>, watch: &LinkWatch) -> bool {
    let up = |device: &String| watch.named(device).is_some_and(|link| link.up);
    plan.is_some_and(|plan| plan.routers.iter().any(|router| up(&router.device)))
}

fn endpoint(keys: Option<&PairKeys>) -> io::Result<Option<Endpoint>> {
    let Some(keys) = keys else { return Ok(None) };
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives none"))?;
    let session = SessionId::new(bytes).ok_or_else(|| io::Error::other("sixteen zeros"))?;
    Ok(Some(Endpoint::new(keys.secret.clone(), Kind::Heartbeat, keys.index, session)))
}

fn config(plan: Option<&HaPlan>) -> Config {
    let number = |text: &str| text.parse().unwrap_or(0);
    let product = ProductVersion {
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
        patch: number(env!("CARGO_PKG_VERSION_PATCH")),
    };
    match plan {
        None => Config {
            index: NodeIndex::First,
            interval: Duration::from_millis(10),
            paths: 0,
            monitors: 0,
            failback: FailBack::Stay,
            product,
        },
        Some(plan) => Config {
            index: NodeIndex::new(plan.index).unwrap_or(NodeIndex::First),
            interval: Duration::from_millis(plan.heartbeat_ms.into()),
            paths: plan.paths.len(),
            monitors: plan.monitors.len(),
            failback: match plan.failback {
                Failback::Stay => FailBack::Stay,
                Failback::Preferred { delay_s } => {
                    FailBack::Preferred { delay: Duration::from_secs(delay_s.into()) }
                }
            },
            product,
        },
    }
}
