//! The loop of the elector's thread: waits for one thing, hands it to a machine, does what the machines want.

mod commands;
mod links;
mod role;

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rempart_pair::NodeIndex;
use rempart_pair::heartbeat::{self, Heartbeat, LENGTH, MAX_LENGTH, ProductVersion};
use rempart_pair::keys::{Endpoint, Kind, OVERHEAD, Refused as Unsealed, SessionId};
use rempart_pair::role::{Config, FailBack, Node, Role, Start, Why};
use rempart_plan::ha::{Failback, HaPlan};
use rempart_system::linkwatch::LinkWatch;
use rempart_system::realtime;
use rempart_system::virtual_link::Batch;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::oneshot;
use vrrp_rs::elector::State;
use vrrp_rs::wire::{self, frame};

use super::gateway::Monitors;
use super::hands::{Hands, Refused, Ticket};
use super::news::{Happening, News};
use super::paths::Way;
use super::router::Router;
use super::segment::{MAX_FRAME, Segment};
use super::{Inbox, Recorder, Refusal, RoleCell, Surroundings};
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
/// Who hands over lets go when we say that we are active; so long it is not said while the links are on their way up.
/// Half a heartbeat: the other node does not miss it.
const HOLD_BACK: Duration = Duration::from_millis(5);
/// Heartbeats go by the journal's sockets too for so long after one has come by them: the other node asks there when
/// nothing of ours reaches it. A hundred of them.
const CARRYING: Duration = Duration::from_secs(1);
/// How long a hand-over waits for remote access to be ready on the other node: a thousand sessions take a tenth of it. After
/// that it goes on without; sessions are carried on all the same, with a gap.
const READY: Duration = Duration::from_secs(1);
/// How often a router is tried again that the kernel's news do not wake: a secret may have come.
const RETRY: Duration = Duration::from_secs(2);

/// Everything that the elector's thread owns.
pub struct Driver {
    inbox: Inbox,
    news: tokio::sync::mpsc::Sender<News>,
    journal: Option<journal::Handle>,
    recorder: Recorder,
    role: RoleCell,
    watch: LinkWatch,
    hands: Hands,
    /// The role is taken over, and the links are on their way up.
    taking: Option<Taking>,
    /// Links of single routers on their way up, by their devices' names.
    raising: Vec<(Ticket, String)>,
    /// Heartbeats that say that this node is active, until it can serve.
    held_back: Vec<(usize, Heartbeat)>,
    /// When a heartbeat last came by the journal's sockets.
    carried: Option<Instant>,
    /// The link watch knows of a change that nothing followed from yet.
    unseen: bool,
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
    /// Went on after a restart: the same, until it is clear that the other node has not taken the role meanwhile.
    resuming: bool,
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
    handing_over: Option<HandingOver>,
    switching: Option<oneshot::Sender<Result<(), Refusal>>>,
    leaving: bool,
    finished: bool,
    frame: Vec<u8>,
    datagram: Vec<u8>,
    ready: Vec<bool>,
}

/// A hand-over that waits for the journal, and for remote access until then.
struct HandingOver {
    token: u64,
    journal: bool,
    vpn: Option<Instant>,
}

/// A take-over that waits for the links.
struct Taking {
    ticket: Ticket,
    why: Why,
    epoch: u64,
    decided: Instant,
}

impl Driver {
    /// Opens everything in the network namespace of this thread. `unfit` is why it has no real-time priority, if so.
    pub fn new(inbox: Inbox, surroundings: Surroundings, unfit: Option<io::Error>) -> io::Result<Self> {
        let Surroundings { record, keys, plan, news, recorder, role } = surroundings;
        let now = Instant::now();
        let watch = LinkWatch::open()?;
        let (plan, secrets) =
            plan.map_or((None, Secrets::default()), |(plan, secrets)| (Some(plan), secrets));
        let paired = is_paired(plan.as_ref(), keys.as_ref());
        let start = Start { record, paired, active: was_active(plan.as_ref(), &watch) };
        let mut driver = Self {
            hands: Hands::start(inbox.waker.clone(), teller(&news))?,
            taking: None,
            raising: Vec::new(),
            held_back: Vec::new(),
            carried: None,
            unseen: false,
            inbox,
            news,
            journal: None,
            recorder,
            role,
            watch,
            endpoint: endpoint(keys.as_ref())?,
            keys,
            node: Node::new(now, config(plan.as_ref()), start),
            plan: None,
            secrets: Secrets::default(),
            held: paired,
            active: false,
            granting: false,
            resuming: false,
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
            handing_over: None,
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
            let timeout = match self.unseen {
                true => Some(Duration::ZERO),
                false => self.deadline().map(|at| at.saturating_duration_since(Instant::now())),
            };
            self.wait(timeout)?;
            self.look()?;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let machines =
            self.routers.iter().filter_map(|router| router.machine.as_ref()?.elector.poll_timeout());
        let ready = self.handing_over.as_ref().and_then(|waiting| waiting.vpn);
        let own =
            [self.node.poll_timeout(), self.monitors.deadline(), self.links_missing_at(), self.retry, ready];
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
        if ready.get(1) == Some(&true) {
            self.unseen |= self.watch.refresh()?;
        }
        if std::mem::take(&mut self.unseen) {
            self.adapt(Instant::now());
        }
        if ready.first() == Some(&true) {
            self.inbox.waker.rest();
            self.handle_done();
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
        if self.handing_over.as_ref().and_then(|waiting| waiting.vpn).is_some_and(|at| at <= now) {
            self.ready(|waiting| waiting.vpn = None);
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

    fn hear_way(&mut self, place: usize, turns: usize) {
        let mut datagram = [0; MAX_LENGTH + OVERHEAD];
        for _ in 0..turns {
            let Some(len) = self.ways[place].receive(&mut datagram) else { return };
            let now = Instant::now();
            let Some(bytes) = datagram.get_mut(..len) else { continue };
            if let Some(Err(refusal)) = self.take_heartbeat(now, place, bytes) {
                self.node.handle_refused(now, place, &refusal);
            }
            self.settle_node();
        }
    }

    /// What says that it is a heartbeat; `None` while there are no keys to tell by.
    fn take_heartbeat(
        &mut self,
        now: Instant,
        place: usize,
        datagram: &mut [u8],
    ) -> Option<Result<(), heartbeat::Refusal>> {
        let heard = match heartbeat::receive(self.endpoint.as_mut()?, now, datagram) {
            Ok(heard) => heard,
            Err(refusal) => return Some(Err(refusal)),
        };
        self.peer_active = heard.get().role == Role::Active;
        self.node.handle_heartbeat(now, place, &heard);
        Some(Ok(()))
    }

    /// A heartbeat that the journal has brought: a second opinion, by another door, on a peer from whom no heartbeat comes.
    fn hear_carried(&mut self, path: usize, mut datagram: Box<[u8]>) {
        if path >= self.ways.len() {
            return;
        }
        let now = Instant::now();
        match self.take_heartbeat(now, path, &mut datagram) {
            None => {}
            Some(Ok(())) => self.carried = Some(now),
            // It came over another path before.
            Some(Err(heartbeat::Refusal::Envelope(Unsealed::Replayed { .. }))) => {}
            Some(Err(refusal)) => self.node.handle_refused(now, path, &refusal),
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
        self.hands.finish();
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
}

/// Tells what the kernel has refused.
fn teller(news: &tokio::sync::mpsc::Sender<News>) -> Refused {
    let news = news.clone();
    Box::new(move |what| {
        let _ = news.try_send(News { at: Instant::now(), what: Happening::Kernel { what } });
    })
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
