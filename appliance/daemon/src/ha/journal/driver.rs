//! The loop, and the change of roles.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::PoisonError;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::prctl;
use rempart_pair::journal::{
    Fingerprint, Notice, Output, Phase, Receiver, ReceiverConfig, Sender, SenderConfig,
};
use rempart_pair::keys::{Endpoint, Kind, PairSecret, SessionId};
use rempart_system::flowsync::{HashKey, fingerprint};
use rempart_system::realtime;
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use super::active::Active;
use super::line::Line;
use super::standby::Standby;
use super::walk::Filter;
use super::{Command, Config, Direction, Inbox, Order, Report, Snapshot};

/// Above ordinary programs: while the other node waits for a connection, a compiler can wait.
const NICE: i32 = -10;
/// How exactly a wait ends, in nanoseconds; the ordinary 50 µs are half of what a change may take altogether.
const TIMER_SLACK_NS: u64 = 1_000;
/// How often the numbers are shown and told.
const SHOW: Duration = Duration::from_millis(100);
/// The same trouble is told so often.
const TROUBLE: Duration = Duration::from_secs(10);
/// Datagrams that leave before anything is read again.
const BURST: usize = 128;

enum Role {
    None,
    Active(Box<Active>),
    Standby(Box<Standby>),
}

/// See the head of the file.
pub(super) struct Driver {
    inbox: Inbox,
    report: Box<dyn Fn(Report) + Send>,
    random: SystemRandom,
    hash: HashKey,
    event_bytes: usize,
    line: Line,
    filter: Filter,
    role: Role,
    show_at: Instant,
    told: Option<(bool, u64)>,
    trouble_at: Instant,
    synced: Option<SystemTime>,
    ready: Vec<bool>,
}

impl Driver {
    pub(super) fn new(config: Config, event_bytes: usize, inbox: Inbox) -> io::Result<Self> {
        let Config { secret, index, surroundings, report } = config;
        let now = Instant::now();
        let random = SystemRandom::new();
        let hash = hash_key(&secret)?;
        // Zeros mean no session; the odds of drawing them are those of drawing the other node's key.
        let session = SessionId::new(draw(&random)?).ok_or(io::ErrorKind::Other)?;
        let endpoint = Endpoint::new(secret, Kind::Journal, index, session);
        Ok(Self {
            inbox,
            report,
            random,
            hash,
            event_bytes,
            line: Line::new(now, endpoint, &surroundings.paths),
            filter: Filter::new(&surroundings.own),
            role: Role::None,
            show_at: now,
            told: None,
            trouble_at: now,
            synced: None,
            ready: Vec::new(),
        })
    }

    pub(super) fn run(mut self) {
        // The thread that started us may have another priority: the elector's, or none.
        for done in [
            realtime::run_in_turn(),
            realtime::set_nice(NICE),
            prctl::set_timerslack(TIMER_SLACK_NS).map_err(Into::into),
        ] {
            if let Err(error) = done {
                (self.report)(Report::Trouble(format!("the journal runs like any other program: {error}")));
            }
        }
        loop {
            if !self.take_orders() {
                return;
            }
            if let Err(error) = self.turn() {
                self.trouble(&error);
            }
        }
    }

    /// Everything that can be done now, then a wait for more.
    fn turn(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let (opened, obstacle) = self.line.maintain(now);
        if let Some(error) = obstacle {
            self.trouble(&error);
        }
        if opened {
            self.greet(now);
        }
        let done = self.receive(now).and_then(|()| self.work(now));
        self.transmit(now);
        self.show(now);
        done?;
        self.wait()
    }

    fn receive(&mut self, now: Instant) -> io::Result<()> {
        let (role, report) = (&mut self.role, &self.report);
        let mut failure = Ok(());
        let mut take = |plaintext: &[u8]| match role {
            Role::None => {}
            Role::Active(active) => active.sender.handle_datagram(now, plaintext),
            Role::Standby(standby) => {
                if let Err(error) = standby.handle_datagram(now, plaintext) {
                    failure = Err(error);
                }
            }
        };
        let mut carry = |path, datagram: &[u8]| report(Report::Carried { path, datagram: datagram.into() });
        let received = self.line.receive(now, &mut take, &mut carry);
        if received.greet {
            match &mut self.role {
                Role::None => {}
                Role::Active(active) => active.sender.greet(),
                Role::Standby(standby) => standby.receiver.greet(),
            }
        }
        if let Role::Standby(standby) = &mut self.role {
            failure = failure.and_then(|()| standby.flush());
        }
        failure.or_else(|error| self.start_over(now, error))
    }

    /// The kernel failed in the middle of writing: the table must be read anew before anything is acknowledged.
    fn start_over(&mut self, now: Instant, error: io::Error) -> io::Result<()> {
        let receiver = self.receiver(now)?;
        if let Role::Standby(standby) = &mut self.role {
            standby.start_over(now, receiver);
        }
        Err(error)
    }

    fn work(&mut self, now: Instant) -> io::Result<()> {
        let (report, synced, line) = (&self.report, &mut self.synced, &mut self.line);
        let mut tell = |output: Output| match output {
            Output::Flushed { token, complete } => report(Report::Flushed { token, complete }),
            Output::Notice(notice) => {
                if notice == Notice::Equal {
                    *synced = Some(SystemTime::now());
                }
                report(Report::Notice(notice));
            }
            // The machine of the role has taken them.
            Output::Dump | Output::Load | Output::Sweep => {}
        };
        match &mut self.role {
            Role::None => Ok(()),
            Role::Active(active) => {
                let opened = active.open(now);
                let read = active.read_events(now, &self.filter, &mut |sender| {
                    for _ in 0..BURST {
                        match sender.poll_transmit(now) {
                            Some(datagram) => line.push(datagram),
                            None => break,
                        }
                    }
                    line.send();
                });
                opened.and(read).and(active.work(now, &self.filter, &mut tell))
            }
            Role::Standby(standby) => {
                let opened = standby.open(now);
                let worked = match standby.is_open() {
                    true => standby.work(now, &self.filter, &mut tell),
                    false => Ok(()),
                };
                opened.and(worked)
            }
        }
        .or_else(|error| match self.role {
            Role::Standby(_) => self.start_over(now, error),
            Role::None | Role::Active(_) => Err(error),
        })
    }

    fn transmit(&mut self, now: Instant) {
        for _ in 0..BURST {
            let datagram = match &mut self.role {
                Role::None => None,
                Role::Active(active) => active.sender.poll_transmit(now),
                Role::Standby(standby) => standby.receiver.poll_transmit(now),
            };
            match datagram {
                Some(datagram) => self.line.push(datagram),
                None => break,
            }
        }
        self.line.send();
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let (busy, due, events) = match &self.role {
            Role::None => (false, self.show_at, None),
            Role::Active(active) => (active.is_busy(now), active.due(now), active.source(now)),
            Role::Standby(standby) => (standby.is_busy(), standby.due(), None),
        };
        let due = self.line.due().into_iter().fold(due.min(self.show_at), Instant::min);
        let timeout = if busy { Duration::ZERO } else { due.saturating_duration_since(now) };
        let waker: BorrowedFd<'_> = self.inbox.waker.as_fd();
        let sources = std::iter::once(waker).chain(self.line.sources()).chain(events);
        realtime::wait(sources, Some(timeout), &mut self.ready)
    }

    /// False when it is time to end.
    fn take_orders(&mut self) -> bool {
        // The first source. Before the first wait nobody knows.
        if self.ready.first() != Some(&false) {
            self.inbox.waker.rest();
        }
        loop {
            match self.inbox.orders.try_recv() {
                Ok(Order::Command(command)) => {
                    if let Err(error) = self.obey(command) {
                        self.trouble(&error);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Ok(Order::End) | Err(TryRecvError::Disconnected) => return false,
            }
        }
        while let Ok(heartbeat) = self.inbox.carried.try_recv() {
            self.line.carry(&heartbeat);
        }
        true
    }

    fn obey(&mut self, command: Command) -> io::Result<()> {
        let now = Instant::now();
        match command {
            Command::Role { active } => self.change_role(now, active)?,
            Command::Path { path, up } => {
                if self.line.set_up(path, up) || up {
                    self.greet(now);
                }
            }
            Command::Flush(token) => match &mut self.role {
                Role::Active(active) => active.flush(token),
                Role::None | Role::Standby(_) => (self.report)(Report::Flushed { token, complete: false }),
            },
            Command::Surroundings(surroundings) => {
                self.line.set_ways(now, &surroundings.paths);
                self.filter = Filter::new(&surroundings.own);
            }
        }
        Ok(())
    }

    fn change_role(&mut self, now: Instant, active: bool) -> io::Result<()> {
        self.role = match (std::mem::replace(&mut self.role, Role::None), active) {
            (same @ Role::Active(_), true) | (same @ Role::Standby(_), false) => same,
            (Role::None, true) => {
                let sender = Sender::new(now, self.sender_config()?);
                Role::Active(Box::new(Active::new(now, sender, self.hash, self.event_bytes, false)))
            }
            (Role::None, false) => Role::Standby(Box::new(Standby::new(now, self.receiver(now)?, self.hash))),
            (Role::Standby(standby), true) => {
                let sender = Sender::from_receiver(now, self.sender_config()?, standby.receiver);
                Role::Active(Box::new(Active::new(now, sender, self.hash, self.event_bytes, true)))
            }
            (Role::Active(active), false) => {
                let receiver = Receiver::from_sender(now, self.receiver_config()?, active.sender);
                Role::Standby(Box::new(Standby::new(now, receiver, self.hash)))
            }
        };
        self.told = None;
        self.show_at = now;
        Ok(())
    }

    fn greet(&mut self, now: Instant) {
        match &mut self.role {
            Role::None => {}
            Role::Active(active) => active.sender.handle_path(now),
            Role::Standby(standby) => standby.receiver.handle_path(),
        }
    }

    fn show(&mut self, now: Instant) {
        if now < self.show_at {
            return;
        }
        self.show_at = now + SHOW;
        let (direction, status, tally, unread_events) = match &self.role {
            Role::None => Default::default(),
            Role::Active(active) => {
                (Direction::Sending, active.sender.status(now), Default::default(), active.unread)
            }
            Role::Standby(standby) => {
                (Direction::Receiving, standby.receiver.status(now), standby.tally(), 0)
            }
        };
        let snapshot = Snapshot {
            direction,
            status,
            tally,
            synced: self.synced,
            path: self.line.chosen(),
            refused_datagrams: self.line.refused(),
            unread_events,
        };
        *self.inbox.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
        let synced = match (direction, status.phase) {
            (Direction::Neither, _) => return,
            (Direction::Sending, _) => true,
            (Direction::Receiving, Phase::Live | Phase::Repair) => true,
            (Direction::Receiving, Phase::Loading | Phase::Waiting | Phase::Bulk) => false,
        };
        let news = (synced, status.position);
        if self.told.replace(news) != Some(news) {
            (self.report)(Report::Synced(synced, status.position));
        }
    }

    fn trouble(&mut self, error: &io::Error) {
        let now = Instant::now();
        if now >= self.trouble_at {
            self.trouble_at = now + TROUBLE;
            (self.report)(Report::Trouble(error.to_string()));
        }
    }

    fn sender_config(&self) -> io::Result<SenderConfig> {
        let incarnation = u64::from_be_bytes(draw(&self.random)?);
        Ok(SenderConfig { incarnation, fingerprint: self.fingerprint() })
    }

    fn receiver_config(&self) -> io::Result<ReceiverConfig> {
        let incarnation = u64::from_be_bytes(draw(&self.random)?);
        Ok(ReceiverConfig { incarnation, fingerprint: self.fingerprint() })
    }

    fn receiver(&self, now: Instant) -> io::Result<Receiver> {
        Ok(Receiver::new(now, self.receiver_config()?))
    }

    fn fingerprint(&self) -> Fingerprint {
        let hash = self.hash;
        Fingerprint::new(move |bytes| fingerprint(bytes, &hash))
    }
}

fn draw<const N: usize>(random: &SystemRandom) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(bytes)
}

/// The key of the hashes by which both nodes know entries: theirs alone, so that nobody can choose connections whose
/// hashes collide.
fn hash_key(secret: &PairSecret) -> io::Result<HashKey> {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            16
        }
    }
    let mut key = [0; 16];
    Salt::new(HKDF_SHA256, &[])
        .extract(secret.bytes())
        .expand(&[b"rempart/1 journal entries"], Length)
        .and_then(|okm| okm.fill(&mut key))
        .map_err(|_| io::Error::other("no hash key"))?;
    Ok(HashKey(key))
}
