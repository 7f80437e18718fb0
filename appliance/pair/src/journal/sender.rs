//! The side whose kernel is the truth.
//!
//! | file | owns |
//! | --- | --- |
//! | here | the state, what happened in the kernel, time |
//! | `session` | who is at the other end, and what it reports |
//! | `transmit` | what leaves |
//! | `walk` | dumps of the kernel, and what follows from them |

mod session;
mod transmit;
mod walk;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::flight::Flight;
use super::queue::{MAX_PENDING, Marker, Queue, Waiting};
use super::receiver::Receiver;
use super::table::Table;
use super::wire::Message;
use super::{Fingerprint, Key, MAX_ENTRY, Notice, Output, Phase, Status, Urgency};
use session::{Link, Offer};
use transmit::Comparison;
use walk::{Repair, Walk, Wanted};

/// How often a sender asks for a report while nobody reports by himself.
const ASK: Duration = Duration::from_millis(100);
/// A receiver that was not heard for so long is silent: six reports that it owed.
const SILENT: Duration = Duration::from_secs(1);
/// A receiver that was silent for so long is given up, and what waits for it with it.
const LEAVE: Duration = Duration::from_secs(30);
/// Room for what a driver reads at once.
const RESERVE: usize = 512;
/// Outputs that wait for the driver, which takes them after each call.
const MAX_OUTPUTS: usize = 64;

/// What a sender is made with.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// From the system's random source, new for each sender.
    pub incarnation: u64,
    /// The same on both nodes.
    pub fingerprint: Fingerprint,
}

/// The side whose kernel is the truth.
///
/// ```
/// # use std::time::Instant;
/// # use rempart_pair::journal::{Change, Fingerprint, Output, Receiver, ReceiverConfig, Sender, SenderConfig, Urgency};
/// let fingerprint = Fingerprint::new(|bytes| bytes.iter().fold(7, |sum, b| sum * 31 + u64::from(*b)));
/// let now = Instant::now();
/// let mut sender = Sender::new(now, SenderConfig { incarnation: 1, fingerprint: fingerprint.clone() });
/// let mut receiver = Receiver::new(now, ReceiverConfig { incarnation: 2, fingerprint });
/// // Both kernels are empty.
/// assert_eq!(sender.poll_output(), Some(Output::Dump));
/// sender.dump_ended(now, true);
/// assert_eq!(receiver.poll_output(), Some(Output::Load));
/// receiver.load_ended(now, true);
///
/// let mut there = Vec::new();
/// for round in 0..3 {
///     if round == 2 {
///         sender.put(now, &[1; 16], b"an entry", Urgency::Now);
///     }
///     while let Some(datagram) = sender.poll_transmit(now) {
///         receiver.handle_datagram(now, datagram, &mut |change| {
///             if let Change::Put { bytes, .. } = change {
///                 there.push(bytes.to_vec());
///             }
///         });
///         receiver.handle_written();
///     }
///     while let Some(datagram) = receiver.poll_transmit(now) {
///         sender.handle_datagram(now, datagram);
///     }
/// }
/// assert_eq!(there, [b"an entry"]);
/// ```
pub struct Sender {
    config: SenderConfig,
    table: Table,
    queue: Queue,
    flight: Flight,
    link: Link,
    offer: Option<Offer>,
    /// Streams offered so far.
    streams: u64,
    ask_at: Instant,
    ask_due: bool,
    comparison: Comparison,
    tokens: u32,
    /// Something was written into the table that was not sent.
    doubt: bool,
    /// Both were equal since the stream began.
    joined: bool,
    walk: Option<Walk>,
    wanted: Wanted,
    repair: Option<Repair>,
    /// Repairs in a row that did not make the tables equal.
    futile: u32,
    loaded: bool,
    flush: Option<Flush>,
    outputs: VecDeque<Output>,
    status: Status,
    scratch: Vec<u8>,
}

struct Flush {
    token: u64,
    /// The datagram with the last change, once it was sent.
    sequence: Option<u64>,
}

impl Sender {
    /// A sender that knows nothing of its kernel yet; it asks for a dump.
    pub fn new(now: Instant, config: SenderConfig) -> Self {
        Self::with_table(now, config, Table::new(), Wanted::load(now), false)
    }

    /// The receiver becomes the sender, because its node has become active. What it has received is what the other
    /// node has; its own kernel is compared with that a moment later.
    pub fn from_receiver(now: Instant, config: SenderConfig, receiver: Receiver) -> Self {
        match receiver.into_table() {
            Some(mut table) => {
                table.forget_doomed();
                Self::with_table(now, config, table, Wanted::audit(now + walk::AFTER_TAKEOVER), true)
            }
            None => Self::new(now, config),
        }
    }

    fn with_table(now: Instant, config: SenderConfig, table: Table, wanted: Wanted, loaded: bool) -> Self {
        let mut sender = Self {
            config,
            table,
            queue: Queue::new(),
            flight: Flight::new(),
            link: Link::Apart,
            offer: None,
            streams: 0,
            ask_at: now,
            ask_due: false,
            comparison: Comparison::Idle { at: None },
            tokens: 0,
            doubt: false,
            joined: false,
            walk: None,
            wanted,
            repair: None,
            futile: 0,
            loaded,
            flush: None,
            outputs: VecDeque::new(),
            status: Status::default(),
            scratch: Vec::new(),
        };
        sender.advance(now);
        sender
    }

    pub(super) fn into_table(self) -> Option<Table> {
        self.loaded.then_some(self.table)
    }

    /// An entry of the kernel is new or has changed.
    pub fn put(&mut self, now: Instant, key: &Key, bytes: &[u8], urgency: Urgency) {
        if bytes.len() > MAX_ENTRY {
            self.status.oversized += 1;
            return;
        }
        if let Some(walk) = &mut self.walk {
            walk.tombstones.remove(key);
        }
        let fingerprint = Table::cut(self.config.fingerprint.of(bytes));
        let known = self.table.get(key);
        let replace = match self.queue.get(key) {
            // A removal that was not sent yet and a new entry are one replacement.
            Some(Waiting::Remove { .. }) => known.is_some(),
            Some(Waiting::Put { replace, .. }) => *replace,
            None if known == Some(fingerprint) => {
                self.status.unchanged += 1;
                return;
            }
            None => false,
        };
        self.enqueue_put(now, key, bytes, fingerprint, replace, urgency);
    }

    /// An entry of the kernel is gone; `identity` is by what the other kernel will know it.
    pub fn remove(&mut self, now: Instant, key: &Key, identity: &[u8]) {
        if let Some(walk) = &mut self.walk {
            walk.bury(key);
        }
        if self.table.get(key).is_some() {
            self.enqueue_remove(now, key, identity);
        } else if self.queue.cancel(key).is_some() {
            self.status.ephemeral += 1;
        } else {
            self.status.unchanged += 1;
        }
    }

    /// The event socket has lost events: what the table says of the kernel may be wrong. To be told once the socket
    /// has been read empty.
    pub fn handle_overrun(&mut self, now: Instant) {
        self.status.overruns += 1;
        self.notice(Notice::Overrun);
        self.wanted.audit_for_loss(now);
        self.advance(now);
    }

    /// What came from the other node.
    pub fn handle_datagram(&mut self, now: Instant, bytes: &[u8]) {
        match Message::decode(bytes) {
            Some(Message::Report(report)) => self.handle_report(now, &report),
            // Of a node that thinks that it is the active one, too: the heartbeats settle that.
            Some(Message::Ask { .. } | Message::Offer { .. } | Message::Data(_)) | None => {
                self.status.ignored += 1;
            }
        }
        self.advance(now);
    }

    /// A path has come up or has changed: the other side is asked what has come of what was sent before.
    pub fn handle_path(&mut self, now: Instant) {
        self.ask_due = true;
        self.advance(now);
    }

    /// The other side waits for any sign of us.
    pub fn greet(&mut self) {
        self.ask_due = true;
    }

    /// Time has come ([`Sender::poll_timeout`]).
    pub fn handle_timeout(&mut self, now: Instant) {
        self.queue.ripen(now);
        if self.flight.expires().is_some_and(|at| at <= now) {
            self.flight.expire(now);
            self.ask_due = true;
        }
        if self.ask_at <= now {
            self.ask_at = now + ASK;
            let quiet = match &self.link {
                Link::Apart => true,
                Link::Joined { heard, .. } => now.saturating_duration_since(*heard) >= ASK,
            };
            self.ask_due |= quiet;
        }
        self.check_silence(now);
        self.advance(now);
    }

    /// Everything that is known now is to be in the other kernel: [`Output::Flushed`] with this token tells when.
    pub fn flush(&mut self, now: Instant, token: u64) {
        if let Some(flush) = self.flush.take() {
            self.output(Output::Flushed { token: flush.token, complete: false });
            self.queue.unmark(Marker::Flush);
        }
        match self.link {
            Link::Apart => self.output(Output::Flushed { token, complete: false }),
            Link::Joined { .. } => {
                self.queue.hasten_all();
                self.queue.mark(Marker::Flush);
                self.flush = Some(Flush { token, sequence: None });
            }
        }
        self.advance(now);
    }

    /// What is to be done. To be drained after each call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Sender::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Instant {
        let comparison = match self.comparison {
            Comparison::Idle { at } => at,
            Comparison::Due
            | Comparison::Summed { .. }
            | Comparison::DigestsDue { .. }
            | Comparison::Digested { .. } => None,
        };
        let others = [
            self.queue.due(),
            self.flight.expires(),
            comparison,
            self.wanted.due(self.walk.is_some() || !self.is_calm()),
        ];
        others.into_iter().flatten().fold(self.ask_at, Instant::min)
    }

    /// How it stands.
    pub fn status(&self, now: Instant) -> Status {
        let oldest = self.queue.oldest().into_iter().chain(self.flight.oldest()).min();
        let lag = oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest));
        let phase = match &self.link {
            _ if !self.loaded => Phase::Loading,
            Link::Apart | Link::Joined { silent: true, .. } => Phase::Waiting,
            Link::Joined { .. } if !self.joined => Phase::Bulk,
            Link::Joined { .. } if self.is_repairing() => Phase::Repair,
            Link::Joined { .. } => Phase::Live,
        };
        Status {
            phase,
            entries: self.table.len() as u64,
            backlog: self.queue.len() as u64 + self.flight.changes(),
            lag_us: u64::try_from(lag.as_micros()).unwrap_or(u64::MAX),
            streams: self.streams,
            ..self.status
        }
    }

    /// Whatever has become possible by the last call.
    fn advance(&mut self, now: Instant) {
        self.advance_comparison(now);
        self.advance_repair(now);
        self.advance_walk(now);
        self.advance_flush();
    }

    fn advance_flush(&mut self) {
        let settled = !self.doubt && !self.is_repairing() && !self.has_lost_events();
        let done = |flush: &mut Flush| {
            flush.sequence.is_some_and(|sequence| self.flight.first() > sequence) && settled
        };
        if let Some(flush) = self.flush.take_if(|flush| done(flush)) {
            self.output(Output::Flushed { token: flush.token, complete: true });
        }
    }

    fn enqueue_put(
        &mut self,
        now: Instant,
        key: &Key,
        bytes: &[u8],
        fingerprint: u64,
        replace: bool,
        urgency: Urgency,
    ) {
        if matches!(self.link, Link::Joined { .. }) {
            let change = Waiting::Put { replace, fingerprint, bytes: bytes.into() };
            match self.queue.push(now, key, change, urgency, self.table.mark()) {
                Ok(coalesced) => {
                    self.status.coalesced += u64::from(coalesced);
                    return;
                }
                Err(_) => return self.defer(now),
            }
        }
        // Whoever is compared with this table later will learn of it.
        self.queue.cancel(key);
        self.table.insert(key, fingerprint);
    }

    fn enqueue_remove(&mut self, now: Instant, key: &Key, identity: &[u8]) {
        if matches!(self.link, Link::Joined { .. }) {
            let bytes = if identity.len() <= MAX_ENTRY { identity } else { &[] };
            let change = Waiting::Remove { bytes: bytes.into() };
            match self.queue.push(now, key, change, Urgency::Now, self.table.mark()) {
                Ok(coalesced) => {
                    self.status.coalesced += u64::from(coalesced);
                    return;
                }
                Err(_) => return self.defer(now),
            }
        }
        self.queue.cancel(key);
        self.table.remove(key);
    }

    /// There was no room for a change. The table still says what the receiver has, so an audit finds the change and what
    /// else found no room, and nothing but these is sent.
    fn defer(&mut self, now: Instant) {
        self.status.deferred += 1;
        self.wanted.audit_for_loss(now);
        // For somebody who does not answer nothing is kept that a comparison can find.
        if matches!(self.link, Link::Joined { silent: true, .. }) {
            self.leave(now);
        }
    }

    /// Room to take up a comparison or an audit that a full queue has made necessary.
    fn is_calm(&self) -> bool {
        self.queue.len() <= MAX_PENDING / 4
    }

    /// There is hardly room for more changes, and somebody takes those that wait: events had better stay in the kernel's
    /// queue for the moment, where there is room.
    pub fn is_full(&self) -> bool {
        matches!(self.link, Link::Joined { silent: false, .. }) && self.queue.room() < RESERVE
    }

    fn output(&mut self, output: Output) {
        debug_assert!(self.outputs.len() < MAX_OUTPUTS, "the driver does not drain");
        if self.outputs.len() < MAX_OUTPUTS || !matches!(output, Output::Notice(_)) {
            self.outputs.push_back(output);
        }
    }

    fn notice(&mut self, notice: Notice) {
        // For people: the driver may be slow to look.
        if self.outputs.len() < MAX_OUTPUTS / 2 {
            self.outputs.push_back(Output::Notice(notice));
        }
    }
}
