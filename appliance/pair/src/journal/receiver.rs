//! The side whose kernel follows.
//!
//! The table of a receiver says what its own kernel holds. It is read from the kernel at the start, and again from time
//! to time, because somebody may have changed the kernel behind our back; then it says so, and the sender compares.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::sender::Sender;
use super::table::{Buckets, Found, Table};
use super::wire::{Data, Message, Record, Report, Verdict, WINDOW};
use super::{BUCKETS, Fingerprint, Key, Notice, Output, Phase, Status};

/// How long an acknowledgement may wait for others. A fraction of the sender's patience; at 20,000 changes in a second
/// one acknowledgement stands for eight datagrams.
const ACKNOWLEDGE: Duration = Duration::from_millis(2);
/// Datagrams after which it does not wait: a sixteenth of the window.
const ACKNOWLEDGE_AFTER: usize = WINDOW / 16;
/// How often a receiver reports that has nothing to acknowledge. Six of them in the sender's second of silence.
const REPORT: Duration = Duration::from_millis(150);
/// A sender that was not heard for so long is silent.
const SILENT: Duration = Duration::from_secs(1);
/// How often the kernel is read again to see whether it still holds what the table says: 0.3 s of work for 260,000.
const VERIFY: Duration = Duration::from_secs(600);
/// After a dump that could not be completed.
const LOAD_AGAIN: Duration = Duration::from_millis(200);
/// Notices that wait for the driver.
const MAX_OUTPUTS: usize = 32;

/// What a receiver is made with.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// From the system's random source, new for each receiver.
    pub incarnation: u64,
    /// The same on both nodes.
    pub fingerprint: Fingerprint,
}

/// What is to be done to the kernel, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// An entry is new or has changed.
    Put {
        /// Which.
        key: &'a Key,
        /// The entry.
        bytes: &'a [u8],
        /// The kernel should have it, in an older state.
        known: bool,
        /// What the kernel has under this key is another entry, to be removed first.
        replace: bool,
    },
    /// An entry is gone.
    Remove {
        /// Which.
        key: &'a Key,
        /// As given to [`Sender::remove`].
        identity: &'a [u8],
    },
}

/// The side whose kernel follows. See [`Sender`] for an example.
pub struct Receiver {
    config: ReceiverConfig,
    invitation: u32,
    table: Table,
    stream: Option<Stream>,
    loading: Loading,
    /// The table turned out to be wrong.
    doubtful: bool,
    sweep: Sweep,
    verdict: Verdict,
    report_at: Instant,
    report_due: bool,
    outputs: VecDeque<Output>,
    status: Status,
    scratch: Vec<u8>,
}

/// A stream that was taken up.
struct Stream {
    id: u64,
    /// Everything up to here is handed to the driver.
    taken: u64,
    /// Everything up to here is in the kernel.
    written: u64,
    /// What has come too early.
    early: BTreeMap<u64, Vec<u8>>,
    unacknowledged: usize,
    /// The token of the last question.
    asked: u32,
    heard: Instant,
    /// Both were equal since it began.
    joined: bool,
    repair: Option<(u32, Box<Buckets>)>,
    comparing: Option<Comparing>,
}

/// Digests that are coming in.
struct Comparing {
    token: u32,
    next: usize,
    differ: Box<Buckets>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loading {
    /// The table says nothing about the kernel.
    First,
    /// It is being checked.
    Again {
        /// Something has made the check useless.
        spoiled: bool,
        /// Differences found.
        wrong: u64,
    },
    /// It says what the kernel holds; to be checked then.
    Done { next: Instant },
}

/// The removal of entries of which only the key is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sweep {
    Idle,
    /// The kernel is being read; `more` were added since that began.
    Running {
        more: bool,
    },
}

impl Receiver {
    /// A receiver that knows nothing of its kernel yet; it asks for a dump, and takes up a stream after that.
    pub fn new(now: Instant, config: ReceiverConfig) -> Self {
        Self::with_table(now, config, Table::new(), Loading::First)
    }

    /// The sender becomes the receiver, because its node has become standby. What it sent is what its kernel holds, as
    /// far as it knows; that is checked while the stream of the other node goes on.
    pub fn from_sender(now: Instant, config: ReceiverConfig, sender: Sender) -> Self {
        match sender.into_table() {
            Some(mut table) => {
                table.begin_walk();
                Self::with_table(now, config, table, Loading::Again { spoiled: false, wrong: 0 })
            }
            None => Self::new(now, config),
        }
    }

    fn with_table(now: Instant, config: ReceiverConfig, table: Table, loading: Loading) -> Self {
        Self {
            config,
            invitation: 1,
            table,
            stream: None,
            loading,
            doubtful: false,
            sweep: Sweep::Idle,
            verdict: Verdict::None,
            report_at: now,
            report_due: false,
            outputs: VecDeque::from([Output::Load]),
            status: Status::default(),
            scratch: Vec::new(),
        }
    }

    pub(super) fn into_table(self) -> Option<Table> {
        self.is_ready().then_some(self.table)
    }

    fn is_ready(&self) -> bool {
        self.loading != Loading::First
    }

    /// What came from the other node. Everything that `sink` is given is to be done to the kernel; then
    /// [`Receiver::handle_written`] is to be called.
    pub fn handle_datagram(&mut self, now: Instant, bytes: &[u8], sink: &mut dyn FnMut(Change<'_>)) {
        match Message::decode(bytes) {
            Some(Message::Ask { stream: id, token }) => {
                if let Some(stream) = self.stream.as_mut().filter(|stream| stream.id == id) {
                    stream.heard = now;
                    stream.asked = token;
                }
                self.report_due = true;
            }
            Some(Message::Offer { stream, incarnation, invitation }) => {
                self.handle_offer(now, stream, incarnation, invitation);
            }
            Some(Message::Data(data)) => self.handle_data(now, &data, bytes, sink),
            // Of a node that thinks that it is the standby, too.
            Some(Message::Report(_)) | None => self.status.ignored += 1,
        }
    }

    fn handle_offer(&mut self, now: Instant, id: u64, incarnation: u64, invitation: u32) {
        let ours = (incarnation, invitation) == (self.config.incarnation, self.invitation) && id != 0;
        if ours && self.is_ready() {
            self.invitation = self.invitation.wrapping_add(1);
            self.stream = Some(Stream {
                id,
                taken: 0,
                written: 0,
                early: BTreeMap::new(),
                unacknowledged: 0,
                asked: 0,
                heard: now,
                joined: false,
                repair: None,
                comparing: None,
            });
            self.verdict = Verdict::None;
            self.status.streams += 1;
            self.notice(Notice::Joined);
        }
        self.report_due = true;
    }

    fn handle_data(&mut self, now: Instant, data: &Data<'_>, bytes: &[u8], sink: &mut dyn FnMut(Change<'_>)) {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.id == data.stream) else {
            self.status.ignored += 1;
            self.report_due = true;
            return;
        };
        stream.heard = now;
        stream.unacknowledged += 1;
        if stream.unacknowledged == 1 {
            self.report_at = self.report_at.min(now + ACKNOWLEDGE);
        }
        self.report_due |= data.urgent || stream.unacknowledged >= ACKNOWLEDGE_AFTER;
        if data.sequence != stream.taken + 1 {
            // Twice, or after a gap: the sender should know.
            self.report_due = true;
            let fits = data.sequence > stream.taken && data.sequence - stream.written <= WINDOW as u64;
            if fits && !stream.early.contains_key(&data.sequence) {
                stream.early.insert(data.sequence, bytes.to_vec());
            } else {
                self.status.resent += 1;
            }
            return;
        }
        self.take(data, bytes.len(), sink);
        while let Some(stream) = &mut self.stream
            && let Some(bytes) = stream.early.remove(&(stream.taken + 1))
        {
            if let Some(Message::Data(data)) = Message::decode(&bytes) {
                self.take(&data, bytes.len(), sink);
            }
        }
    }

    fn take(&mut self, data: &Data<'_>, length: usize, sink: &mut dyn FnMut(Change<'_>)) {
        if let Some(stream) = &mut self.stream {
            stream.taken = data.sequence;
        }
        self.status.datagrams += 1;
        self.status.bytes += length as u64;
        for record in data.records() {
            match record {
                Record::Put { key, replace, bytes } => self.put(key, replace, bytes, sink),
                Record::Remove { key, bytes } => self.remove(key, bytes, sink),
                Record::Summary { token, summary, entries } => self.compare(token, summary, entries),
                Record::Digests { token, first, digests } => {
                    self.compare_digests(token, usize::from(first), digests);
                }
                Record::Open { token, buckets } => self.open(token, buckets),
                Record::Close { token } => self.close(token),
            }
        }
    }

    fn put(&mut self, key: &Key, replace: bool, bytes: &[u8], sink: &mut dyn FnMut(Change<'_>)) {
        self.status.position += 1;
        let (known, replace) = match self.table.insert(key, self.config.fingerprint.of(bytes)) {
            // A part of a bucket that was the same on both sides.
            Found::Same if !replace => {
                self.status.unchanged += 1;
                return;
            }
            Found::Nothing => (false, replace),
            Found::Same | Found::Other => (true, replace),
            Found::Doomed => (true, true),
        };
        sink(Change::Put { key, bytes, known, replace });
    }

    fn remove(&mut self, key: &Key, identity: &[u8], sink: &mut dyn FnMut(Change<'_>)) {
        self.status.position += 1;
        if identity.is_empty() {
            self.table.doom(key);
        } else if self.table.is_doomed(key) || self.table.get(key).is_some() {
            self.table.remove(key);
            sink(Change::Remove { key, identity });
        }
        self.advance_sweep();
    }

    fn compare(&mut self, token: u32, summary: u64, entries: u64) {
        self.status.comparisons += 1;
        self.doubtful = false;
        if (summary, entries) == (self.table.summary(), self.table.len() as u64) {
            self.settle_equal(token);
        } else {
            self.verdict = Verdict::Differ { token, buckets: Box::new(Buckets::NONE) };
        }
        self.report_due = true;
    }

    fn compare_digests(&mut self, token: u32, first: usize, digests: &[[u8; 8]]) {
        let Some(stream) = &mut self.stream else { return };
        if first == 0 {
            stream.comparing = Some(Comparing { token, next: 0, differ: Box::new(Buckets::NONE) });
        }
        let in_order = |comparing: &&mut Comparing| comparing.token == token && comparing.next == first;
        let Some(comparing) = stream.comparing.as_mut().filter(in_order) else { return };
        for (theirs, (bucket, ours)) in
            digests.iter().zip(self.table.digests().iter().enumerate().skip(first))
        {
            if u64::from_be_bytes(*theirs) != *ours {
                comparing.differ.insert(bucket);
            }
        }
        comparing.next = first + digests.len();
        if comparing.next < BUCKETS {
            return;
        }
        self.report_due = true;
        if let Some(Comparing { differ, .. }) = stream.comparing.take() {
            if differ.is_empty() {
                self.settle_equal(token);
            } else {
                self.notice(Notice::Differ { buckets: differ.count() });
                self.verdict = Verdict::Differ { token, buckets: differ };
            }
        }
    }

    fn settle_equal(&mut self, token: u32) {
        self.verdict = Verdict::Equal { token };
        if let Some(stream) = &mut self.stream {
            stream.joined = true;
        }
        self.notice(Notice::Equal);
    }

    fn open(&mut self, token: u32, buckets: &[u8; Buckets::BYTES]) {
        self.verdict = Verdict::None;
        // Both use the marks of the table.
        if let Loading::Again { spoiled, .. } = &mut self.loading {
            *spoiled = true;
        }
        self.table.begin_walk();
        if let Some(stream) = &mut self.stream {
            stream.repair = Some((token, Box::new(Buckets::from_bytes(buckets))));
        }
    }

    fn close(&mut self, token: u32) {
        let Some(stream) = &mut self.stream else { return };
        let Some((_, buckets)) = stream.repair.take_if(|(opened, _)| *opened == token) else { return };
        let mut gone = Vec::new();
        self.table.unseen(|key| {
            if buckets.has_key(key) {
                gone.push(*key);
            }
        });
        for key in &gone {
            self.table.doom(key);
        }
        self.status.repairs += 1;
        self.status.repaired += gone.len() as u64;
        self.advance_sweep();
    }

    /// Everything that was handed to the sink is in the kernel, or was refused by it.
    pub fn handle_written(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.written = stream.taken;
        }
    }

    /// The kernel has refused an entry. It counts as missing, and is tried again after the next comparison.
    pub fn handle_refused(&mut self, key: &Key) {
        self.table.remove(key);
    }

    /// A path has come up or has changed.
    pub fn handle_path(&mut self) {
        self.report_due = true;
    }

    /// The other side waits for any sign of us.
    pub fn greet(&mut self) {
        self.report_due = true;
    }

    /// Time has come ([`Receiver::poll_timeout`]).
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.report_at <= now {
            self.report_due = true;
            self.report_at = now + REPORT;
        }
        if let Loading::Done { next } = self.loading
            && next <= now
        {
            let repairing = self.stream.as_ref().is_some_and(|stream| stream.repair.is_some());
            if repairing {
                self.loading = Loading::Done { next: now + LOAD_AGAIN };
            } else {
                self.table.begin_walk();
                self.loading = Loading::Again { spoiled: false, wrong: 0 };
                self.output(Output::Load);
            }
        }
    }

    /// When [`Receiver::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Instant {
        match self.loading {
            Loading::Done { next } => next.min(self.report_at),
            Loading::First | Loading::Again { .. } => self.report_at,
        }
    }

    /// The next datagram, if there is one: to be sealed and sent.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<&[u8]> {
        if !std::mem::take(&mut self.report_due) {
            return None;
        }
        self.report_at = now + REPORT;
        let mut received = [0; WINDOW / 8];
        let mut length = 0;
        let (mut id, mut written, mut asked) = (0, 0, 0);
        if let Some(stream) = &mut self.stream {
            stream.unacknowledged = 0;
            (id, written, asked) = (stream.id, stream.written, stream.asked);
            for sequence in (stream.written + 1..=stream.taken).chain(stream.early.keys().copied()) {
                let ahead = usize::try_from(sequence - stream.written - 1).unwrap_or(usize::MAX);
                if let Some(byte) = received.get_mut(ahead / 8) {
                    *byte |= 1 << (ahead % 8);
                    length = ahead / 8 + 1;
                }
            }
        }
        let report = Report {
            incarnation: self.config.incarnation,
            invitation: self.invitation,
            stream: id,
            written,
            entries: self.table.len() as u64,
            window: WINDOW as u16,
            ready: self.is_ready(),
            doubtful: self.doubtful,
            verdict: self.verdict.clone(),
            asked,
            received: received.get(..length).unwrap_or(&[]),
        };
        self.scratch.clear();
        Message::Report(report).encode(&mut self.scratch);
        Some(&self.scratch)
    }

    /// What is to be done. To be drained after each call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// An entry that [`Output::Load`] has found in the kernel.
    pub fn loaded(&mut self, key: &Key, bytes: &[u8]) {
        if matches!(self.loading, Loading::Again { spoiled: true, .. })
            || self.table.is_seen(key)
            || self.table.is_doomed(key)
        {
            return;
        }
        let fingerprint = self.config.fingerprint.of(bytes);
        let found = self.table.insert(key, fingerprint);
        if let Loading::Again { wrong, .. } = &mut self.loading {
            *wrong += u64::from(found != Found::Same);
        }
    }

    /// The dump that [`Output::Load`] asked for has ended; if it is not `complete`, it is asked for again.
    pub fn load_ended(&mut self, now: Instant, complete: bool) {
        let (spoiled, wrong) = match self.loading {
            Loading::Done { .. } => return,
            Loading::First => (false, 0),
            Loading::Again { spoiled, wrong } => (spoiled, wrong),
        };
        if !complete && self.loading == Loading::First {
            // Without it nothing can begin.
            self.outputs.push_back(Output::Load);
            return;
        }
        if spoiled || !complete {
            self.loading = Loading::Done { next: now + LOAD_AGAIN };
            return;
        }
        let mut gone = Vec::new();
        if matches!(self.loading, Loading::Again { .. }) {
            self.table.unseen(|key| gone.push(*key));
        }
        for key in &gone {
            self.table.remove(key);
        }
        let wrong = wrong + gone.len() as u64;
        self.doubtful |= wrong > 0;
        self.report_due = true;
        self.loading = Loading::Done { next: now + VERIFY };
    }

    /// Whether the sweep is to remove this entry from the kernel. It is asked once.
    pub fn is_doomed(&mut self, key: &Key) -> bool {
        let doomed = self.table.is_doomed(key);
        if doomed {
            self.table.remove(key);
        }
        doomed
    }

    /// The dump that [`Output::Sweep`] asked for has ended.
    pub fn sweep_ended(&mut self, complete: bool) {
        let again = self.sweep == Sweep::Running { more: true } || !complete;
        self.sweep = Sweep::Idle;
        if !again {
            // The kernel has forgotten them by itself.
            self.table.forget_doomed();
        }
        self.advance_sweep();
    }

    fn advance_sweep(&mut self) {
        if !self.table.has_doomed() {
            return;
        }
        match &mut self.sweep {
            Sweep::Idle => {
                self.sweep = Sweep::Running { more: false };
                self.output(Output::Sweep);
            }
            Sweep::Running { more } => *more = true,
        }
    }

    /// How it stands.
    pub fn status(&self, now: Instant) -> Status {
        let phase = match &self.stream {
            _ if !self.is_ready() => Phase::Loading,
            None => Phase::Waiting,
            Some(stream) if now.saturating_duration_since(stream.heard) >= SILENT => Phase::Waiting,
            Some(stream) if !stream.joined => Phase::Bulk,
            Some(stream) if stream.repair.is_some() => Phase::Repair,
            Some(_) => Phase::Live,
        };
        let waiting = self.stream.as_ref().map_or(0, |stream| stream.early.len() as u64);
        Status { phase, entries: self.table.len() as u64, backlog: waiting, ..self.status }
    }

    fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn notice(&mut self, notice: Notice) {
        // For people: the driver may be slow to look.
        if self.outputs.len() < MAX_OUTPUTS {
            self.outputs.push_back(Output::Notice(notice));
        }
    }
}
