//! The thread: waits for one thing, hands it to the machine, does what the machine wants.
//!
//! The disk is waited for in one place only, where nothing may happen before it: the record of the epoch, before the server
//! is told that this node is active. The copy of the sessions is written by a helper, one at a time.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rempart_config::limits::MAX_WIREGUARD_PEERS;
use rempart_identity::store::{MAX_DOCUMENT, MAX_USERS};
use rempart_openvpn::data::epoch::{Epoch, EpochBook, Persisted, StoreId, TakeOverEpoch};
use rempart_pair::shared::{How, Limits, Output, Role, Shared, Start};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

use super::disk::{self, Epochs, Sessions, StartError};
use super::line::Line;
use super::{Change, Config, Inbox, ReplicaStatus, code, kind};
use crate::relay::Frame;
use crate::vpn::seam::{FromReplica, Kind, ReplicaTicket, Sessions as Held};

/// By kind, as they are numbered: the longest value and the most entries. A session with all its keys has 6 KB.
const LIMITS: Limits = Limits {
    kinds: &[
        (64 << 10, 16 << 10),
        (MAX_DOCUMENT, 1),
        (64, MAX_USERS),
        (64 << 10, 64),
        (64 << 10, MAX_USERS),
        (64, MAX_WIREGUARD_PEERS),
        // One for each peer, the gateway's own, and those that were there before.
        (32, 2 * MAX_WIREGUARD_PEERS),
    ],
    bytes: 192 << 20,
};
/// How long a change may be missing in the copy of the sessions.
const LAZY: Duration = Duration::from_millis(100);
/// What was taken away is not to come back: it is missing in the copy sooner.
const SOON: Duration = Duration::from_millis(5);
/// Between two attempts to reach `rempart-ha`.
const CONNECT_AGAIN: Duration = Duration::from_millis(200);
/// Between two attempts to write the epoch.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);
/// How often what is shown is brought up to date.
const SHOW: Duration = Duration::from_millis(200);
/// Changes that are taken before the line has its turn.
const TURN: usize = 256;
/// How long what was made ready for a planned move is kept: the elector gives up well before.
const READY: Duration = Duration::from_secs(5);

/// What the thread owns.
pub(super) struct Driver {
    config: Config,
    inbox: Arc<Inbox>,
    epochs: Epochs,
    book: EpochBook,
    sessions: Sessions,
    machine: Shared,
    line: Option<Line>,
    connect_at: Instant,
    /// The epoch is to be written, or to be tried again then.
    claim_at: Option<Instant>,
    active: bool,
    epoch: u64,
    /// A planned move is under way: the epoch that everything was made ready for.
    ready: Option<Ready>,
    obstacle: Option<String>,
    /// The version of the map that was written last, and when the next one is to be.
    written: u64,
    write_at: Option<Instant>,
    writing: Option<JoinHandle<()>>,
    show_at: Instant,
    /// Changes that found no room in the inbox.
    overflow: u64,
    unheard: bool,
    late: bool,
}

/// What was made ready, and until when it is kept.
struct Ready {
    epoch: u64,
    until: Instant,
}

impl Driver {
    pub fn new(config: Config, inbox: Arc<Inbox>) -> Result<Self, StartError> {
        let (epochs, record) = Epochs::open(&config.folder)?;
        let sessions = Sessions::open(&config.run)?;
        let kept = sessions.read();
        let mut book = EpochBook::new(config.parity, record);
        if let Some(kept) = &kept {
            info!(entries = kept.entries.len(), "sessions of an earlier start of the program");
            book.hear(Epoch::new(kept.highest));
        }
        let now = Instant::now();
        let start = Start {
            incarnation: u64::from_be_bytes(disk::random()?).max(1),
            store: book.store().get(),
            highest: book.highest().get(),
            limits: LIMITS,
            file: kept.map(|kept| (kept.held, kept.entries)),
        };
        Ok(Self {
            config,
            inbox,
            epochs,
            book,
            sessions,
            machine: Shared::new(now, start),
            line: None,
            connect_at: now,
            claim_at: None,
            active: false,
            epoch: 0,
            ready: None,
            obstacle: None,
            written: 0,
            write_at: None,
            writing: None,
            show_at: now,
            overflow: 0,
            unheard: false,
            late: false,
        })
    }

    /// Runs until the last handle is gone.
    pub fn run(mut self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            if self.config.relay.is_none() {
                self.machine.handle_link(Instant::now(), false);
                self.machine.handle_role(Instant::now(), Some(0));
            }
            while self.turn().await {}
        });
        Ok(())
    }

    /// Waits for one thing and does what follows; `false`: that was all.
    async fn turn(&mut self) -> bool {
        self.settle();
        let inbox = Arc::clone(&self.inbox);
        let deadline = self.deadline();
        tokio::select! {
            () = inbox.called.notified() => return self.take_changes(),
            ready = ready(&self.line) => {
                let read = ready.and_then(|()| self.hear());
                if let Err(error) = read {
                    self.hang_up(&error);
                }
            }
            () = sleep_until(deadline.into()) => self.tick().await,
        }
        true
    }

    fn deadline(&self) -> Instant {
        let connect = (self.line.is_none() && self.config.relay.is_some()).then_some(self.connect_at);
        let write = self.write_at.filter(|_| self.writing.is_none());
        // The helper tells nobody when it is done.
        let written = self.writing.as_ref().map(|_| Instant::now() + SOON);
        let ready = self.ready.as_ref().map(|ready| ready.until);
        let all = [self.machine.poll_timeout(), connect, self.claim_at, write, written, ready];
        all.into_iter().flatten().min().map_or(self.show_at, |at| at.min(self.show_at))
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
        if self.claim_at.is_some_and(|at| at <= now) {
            self.claim(now);
        }
        if self.ready.as_ref().is_some_and(|ready| ready.until <= now) {
            self.give_up();
        }
        if self.line.is_none() && self.connect_at <= now {
            self.connect(now).await;
        }
        self.writing.take_if(|task| task.is_finished());
        if self.writing.is_none() && self.write_at.is_some_and(|at| at <= now) {
            self.write_sessions();
        }
        if self.show_at <= now {
            self.show_at = now + SHOW;
            self.show();
        }
    }

    // ---- the line

    async fn connect(&mut self, now: Instant) {
        self.connect_at = now + CONNECT_AGAIN;
        let Some(relay) = &self.config.relay else { return };
        match Line::connect(relay).await {
            Ok(line) => {
                info!("connected to rempart-ha");
                (self.line, self.unheard) = (Some(line), false);
            }
            Err(error) if !self.unheard => {
                warn!(%error, socket = %relay.display(), "rempart-ha is away: the role stays what it was");
                self.unheard = true;
            }
            Err(error) => debug!(%error, "rempart-ha is away"),
        }
    }

    fn hang_up(&mut self, error: &std::io::Error) {
        warn!(%error, "rempart-ha is gone: the role stays what it was");
        self.line = None;
        self.unheard = true;
        let now = Instant::now();
        self.connect_at = now;
        self.machine.handle_link(now, false);
    }

    fn hear(&mut self) -> std::io::Result<()> {
        let Self { line: Some(line), machine, .. } = self else { return Ok(()) };
        let mut left = false;
        let heard = line.read(|frame| {
            let now = Instant::now();
            match frame {
                Frame::Role(active) => {
                    left |= active.is_none() && machine.role() != Role::Follower;
                    machine.handle_role(now, active);
                }
                Frame::Link(up) => machine.handle_link(now, up),
                Frame::Message(bytes) => machine.handle_message(now, bytes),
                Frame::HandOver(token) => machine.hand_over(token),
                // Ours to say.
                Frame::Ready(_) => {}
            }
        });
        if left {
            self.stand_by();
        }
        heard
    }

    fn stand_by(&mut self) {
        self.claim_at = None;
        self.obstacle = None;
        if std::mem::take(&mut self.active) {
            info!("standby");
            (self.config.tell)(FromReplica::Standby);
        }
    }

    // ---- what the others want

    fn take_changes(&mut self) -> bool {
        let mut wanted = self.inbox.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let count = wanted.changes.len().min(TURN);
        let changes: Vec<Change> = wanted.changes.drain(..count).collect();
        if !wanted.changes.is_empty() {
            self.inbox.called.notify_one();
        }
        let (relay, over) = (wanted.relay.take(), wanted.over);
        let prepared = wanted.prepared.take();
        self.overflow = wanted.refused;
        drop(wanted);
        let now = Instant::now();
        for change in changes {
            match change {
                Change::Put(key, value, ticket) => {
                    if let Err(error) = self.machine.put(now, &key, value, ticket) {
                        error!(%error, kind = key.kind, "the other node does not get this");
                    }
                }
                Change::Remove(key) => {
                    self.machine.remove(&key);
                    let soon = now + SOON;
                    self.write_at = Some(self.write_at.map_or(soon, |at| at.min(soon)));
                }
                Change::Refused(ticket) => {
                    error!("the replica is far behind: the other node does not get all changes");
                    (self.config.tell)(FromReplica::Committed(ReplicaTicket(ticket)));
                }
            }
        }
        if let Some(number) = prepared {
            self.machine.prepared(number);
        }
        if let Some(relay) = relay.filter(|relay| *relay != self.config.relay) {
            self.set_relay(now, relay);
        }
        !over
    }

    fn set_relay(&mut self, now: Instant, relay: Option<PathBuf>) {
        self.line = None;
        self.connect_at = now;
        self.machine.handle_link(now, false);
        if relay.is_none() {
            self.machine.handle_role(now, Some(0));
        }
        self.config.relay = relay;
    }

    // ---- what the machine wants

    fn settle(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Committed { ticket, how } => {
                    self.note(how);
                    (self.config.tell)(FromReplica::Committed(ReplicaTicket(ticket)));
                }
                Output::Changed(key, value) => {
                    let Some(kind) = kind(key.kind).filter(|kind| *kind != Kind::Session) else { continue };
                    (self.config.tell)(match value {
                        Some(value) => FromReplica::Put(kind, key.name, Zeroizing::new(value.to_vec())),
                        None => FromReplica::Removed(kind, key.name),
                    });
                }
                Output::Claim => self.claim(Instant::now()),
                Output::PeerStore(store) => (self.config.tell)(FromReplica::Peer(Some(StoreId::new(store)))),
                Output::Prepare { number } => self.make_ready(Instant::now(), number),
                Output::Ready { token, prepared } => {
                    debug!(prepared, "the role may go");
                    if let Some(line) = &mut self.line {
                        line.say(Frame::Ready(token));
                    }
                }
            }
        }
        self.transmit();
        if self.machine.version() != self.written {
            let lazily = Instant::now() + LAZY;
            self.write_at.get_or_insert(lazily);
        }
    }

    /// Says once that the other node does not answer.
    fn note(&mut self, how: How) {
        let was = self.late;
        self.late = match how {
            How::Both => false,
            How::Alone => was,
            How::Late => true,
        };
        if self.late && !was {
            warn!(
                "the other node does not acknowledge sessions in time: they go on without it, and the copy follows"
            );
        }
    }

    fn transmit(&mut self) {
        let Self { line: Some(line), machine, .. } = self else { return };
        loop {
            while line.has_room()
                && let Some(message) = machine.poll_transmit(Instant::now())
            {
                line.send(&message);
            }
            let full = !line.has_room();
            if let Err(error) = line.flush() {
                return self.hang_up(&error);
            }
            // Room again: there may be more to send.
            if !full || !line.has_room() {
                return;
            }
        }
    }

    /// The role is about to come: an epoch is drawn and written now, and everybody makes ready for it.
    fn make_ready(&mut self, now: Instant, number: u64) {
        self.give_up();
        match self.draw() {
            Ok(reign) => {
                self.ready = Some(Ready { epoch: reign.epoch().get(), until: now + READY });
                let sessions = self.sessions_held();
                (self.config.tell)(FromReplica::MakeReady { number, reign: Box::new(reign), sessions });
            }
            // The role comes all the same, and then it is tried again.
            Err(error) => {
                error!(%error, "no take-over epoch in advance: this move will be noticed");
                self.machine.prepared(number);
            }
        }
    }

    fn give_up(&mut self) {
        if self.ready.take().is_some() {
            (self.config.tell)(FromReplica::GiveUp);
        }
    }

    /// Draws an epoch, has it written, and owns the map: only then is anybody told. What was made ready is as good, unless a
    /// higher epoch was heard of since.
    fn claim(&mut self, now: Instant) {
        self.claim_at = None;
        if self.machine.role() != Role::Taking {
            return;
        }
        let highest = self.machine.highest();
        if let Some(ready) = self.ready.take_if(|ready| ready.epoch > highest) {
            self.own(ready.epoch);
            let peer = self.machine.peer_store().map(StoreId::new);
            return (self.config.tell)(FromReplica::TakeUp { peer, sessions: self.sessions_held() });
        }
        self.give_up();
        match self.draw() {
            Ok(reign) => {
                self.own(reign.epoch().get());
                let peer = self.machine.peer_store().map(StoreId::new);
                let (reign, sessions) = (Box::new(reign), self.sessions_held());
                (self.config.tell)(FromReplica::Active { reign, peer, sessions });
            }
            Err(error) => {
                error!(%error, "no take-over epoch: this node should be active and cannot serve; tried again");
                self.obstacle = Some(error.to_string());
                self.claim_at = Some(now + CLAIM_AGAIN);
            }
        }
    }

    /// Where WireGuard's peers are: all of them, because those of the copy on tmpfs nobody was told of.
    fn tell_peers(&self) {
        let peers = self.machine.entries().filter(|(key, _)| key.kind == code(Kind::Wireguard));
        for (key, value) in peers {
            let value = Zeroizing::new(value.to_vec());
            (self.config.tell)(FromReplica::Put(Kind::Wireguard, key.name.clone(), value));
        }
    }

    fn own(&mut self, epoch: u64) {
        (self.active, self.epoch, self.obstacle) = (true, epoch, None);
        self.machine.own(epoch);
        info!(epoch, "active");
        self.tell_peers();
    }

    fn sessions_held(&self) -> Held {
        let sessions = self.machine.entries().filter(|(key, _)| key.kind == code(Kind::Session));
        sessions.map(|(key, value)| (key.name.clone(), Zeroizing::new(value.to_vec()))).collect()
    }

    fn draw(&mut self) -> std::io::Result<Persisted<TakeOverEpoch>> {
        self.book.hear(Epoch::new(self.machine.highest()));
        let claim = self.book.claim().map_err(std::io::Error::other)?;
        claim.persist(|record| self.epochs.write(record))
    }

    // ---- the copy of the sessions, and what is shown

    fn write_sessions(&mut self) {
        self.write_at = None;
        self.written = self.machine.version();
        // People and secrets have files of their own.
        let keeps = |number| match kind(number) {
            Some(Kind::Session | Kind::UsedCode | Kind::Admission | Kind::Wireguard) => true,
            Some(Kind::Store | Kind::Secret | Kind::WireguardKey) | None => false,
        };
        let Some(bytes) = disk::encode(&self.machine, keeps) else { return };
        let sessions = self.sessions.clone();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = sessions.write(&bytes) {
                warn!(%error, "the copy of the sessions cannot be written: killed now, this node would lose them");
            }
        }));
    }

    fn show(&self) {
        let mut status = ReplicaStatus {
            active: self.active,
            epoch: if self.active { self.epoch } else { self.machine.highest() },
            relay: self.line.is_some(),
            obstacle: self.obstacle.clone(),
            ..ReplicaStatus::default()
        };
        status.take(self.machine.status(), self.config.relay.is_none());
        status.refused += self.overflow;
        *self.inbox.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// Waits for the line; for ever without one.
async fn ready(line: &Option<Line>) -> std::io::Result<()> {
    match line {
        Some(line) => line.ready().await,
        None => std::future::pending().await,
    }
}
