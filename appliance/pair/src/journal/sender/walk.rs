//! Dumps of the kernel, and what follows from them. There are three reasons for one, and one dump serves all that
//! there are at the time:
//!
//! * *load*: a sender that has just begun learns what its kernel holds; nothing is sent;
//! * *audit*: events were lost, so the table may be wrong; what differs from the table is sent;
//! * *repair*: the receiver's table differs in some buckets; whatever they hold is sent.
//!
//! Events go on meanwhile. A part of a dump may be older than an event that was read before it, so an event always
//! wins: what it put is marked as seen, what it removed is buried until the dump has ended. That is so for events that
//! were read after the dump had begun; what waits from before is no better than the table.

use std::time::{Duration, Instant};

use super::super::queue::{Marker, Waiting};
use super::super::table::{Buckets, KeyMap, Table};
use super::super::{Key, MAX_ENTRY, Notice, Output, Urgency};
use super::Sender;
use super::session::Link;
use super::transmit::Comparison;

/// The first audit after a take-over waits: there is more important work then, and nothing is known to be wrong.
pub(super) const AFTER_TAKEOVER: Duration = Duration::from_secs(2);
/// The least time from the end of one audit to the beginning of the next: a storm that overruns the socket again and
/// again must not be fed with dumps.
const BETWEEN_AUDITS: Duration = Duration::from_millis(100);
/// What is removed while a dump goes on; more, and it must begin again. 4 MB.
const MAX_TOMBSTONES: usize = 200_000;
/// Repairs in a row that are made at once; from then on each waits twice as long as the one before.
const EAGER_REPAIRS: u32 = 3;
/// The longest such wait.
const LAZY_REPAIR: Duration = Duration::from_secs(60);

/// Entries of a dump that may wait to be sent: a third of what may be under way, so that the line never waits for the
/// kernel, and no more, because each takes 300 bytes.
const MAX_DUMPED: usize = 4_096;

/// Dumps that are to be made.
pub(super) struct Wanted {
    load: bool,
    audit: Option<Instant>,
    /// Events were lost, and no audit has begun since.
    lost: bool,
    repair: Option<(Instant, Box<Buckets>)>,
    /// No audit before this moment.
    audits_from: Instant,
}

impl Wanted {
    pub(super) fn load(now: Instant) -> Self {
        Self { load: true, audit: None, lost: false, repair: None, audits_from: now }
    }

    pub(super) fn audit(at: Instant) -> Self {
        Self { load: false, audit: Some(at), lost: false, repair: None, audits_from: at }
    }

    pub(super) fn audit_for_loss(&mut self, now: Instant) {
        let at = now.max(self.audits_from);
        self.audit = Some(self.audit.map_or(at, |earlier| earlier.min(at)));
        self.lost = true;
    }

    pub(super) fn due(&self, walking: bool) -> Option<Instant> {
        let repair = self.repair.as_ref().map(|(at, _)| *at);
        [self.audit, repair].into_iter().flatten().min().filter(|_| !walking)
    }
}

/// A dump that goes on.
pub(super) struct Walk {
    load: bool,
    audit: bool,
    /// The audit is because events were lost.
    lost: bool,
    pub(super) tombstones: KeyMap<()>,
    /// It cannot be relied on and must be made again.
    spoiled: bool,
}

impl Walk {
    /// An event has removed an entry: a part of the dump that still shows it is older.
    pub(super) fn bury(&mut self, key: &Key) {
        if self.tombstones.len() < MAX_TOMBSTONES {
            self.tombstones.insert(*key, ());
        } else {
            self.spoiled = true;
        }
    }
}

/// Buckets that are sent again.
pub(super) struct Repair {
    pub(super) token: u32,
    pub(super) buckets: Box<Buckets>,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The receiver is to be told.
    Opening,
    /// The kernel is being read.
    Dumping,
    /// The receiver is told that this was all, in this datagram.
    Closing { sequence: Option<u64> },
}

impl Sender {
    /// Entries that the queue has room for: a driver that dumps waits while there are fewer than it reads at once.
    pub fn room(&self) -> usize {
        match self.link {
            Link::Apart => usize::MAX,
            // Events come first.
            Link::Joined { .. } => (self.queue.room() / 2).min(MAX_DUMPED.saturating_sub(self.queue.len())),
        }
    }

    /// Whether a dump needs this entry. The others need not be handed in.
    pub fn wants(&self, key: &Key) -> bool {
        self.walk.as_ref().is_some_and(|walk| !walk.spoiled && (walk.load || walk.audit || self.repairs(key)))
    }

    /// An entry that the dump has found. Handing one in twice is harmless.
    pub fn dumped(&mut self, now: Instant, key: &Key, bytes: &[u8]) {
        let Some(walk) = &self.walk else { return };
        if walk.spoiled || walk.tombstones.contains_key(key) {
            return;
        }
        if bytes.len() > MAX_ENTRY {
            self.status.oversized += 1;
            return;
        }
        let audit = walk.audit;
        if self.table.is_seen(key) || self.queue.is_since(key, self.table.mark()) {
            if self.repairs(key) {
                self.queue.hasten(now, key);
            }
            return;
        }
        let fingerprint = Table::cut(self.config.fingerprint.of(bytes));
        if let Some(waiting) = self.queue.get(key) {
            // From before the dump. Whether another event followed and was lost, nobody knows.
            let replace = match waiting {
                Waiting::Remove { .. } => self.table.get(key).is_some(),
                Waiting::Put { replace, .. } => *replace,
            };
            self.enqueue_put(now, key, bytes, fingerprint, replace, Urgency::Soon);
            if self.repairs(key) {
                self.queue.hasten(now, key);
            }
            return;
        }
        let same = self.table.get(key) == Some(fingerprint);
        if self.repairs(key) || (audit && !same) {
            self.status.repaired += 1;
            self.enqueue_put(now, key, bytes, fingerprint, false, Urgency::Now);
        } else if same {
            self.table.touch(key);
        } else {
            self.table.insert(key, fingerprint);
        }
    }

    /// The dump has ended; if it is not `complete`, it is asked for once more.
    pub fn dump_ended(&mut self, now: Instant, complete: bool) {
        let Some(walk) = self.walk.take() else { return };
        if complete && !walk.spoiled {
            self.remove_unseen(now, walk.audit, walk.load);
            if walk.lost
                && let Some(flush) = &mut self.flush
            {
                // What the audit has found is behind the mark.
                self.queue.unmark(Marker::Flush);
                self.queue.mark(Marker::Flush);
                flush.sequence = None;
            }
            self.loaded |= walk.load;
            self.ask_due |= walk.load;
            if let Some(repair) = self.repair.as_mut().filter(|repair| repair.stage == Stage::Dumping) {
                repair.stage = Stage::Closing { sequence: None };
                self.queue.mark(Marker::Close);
            }
        } else {
            self.wanted.load |= walk.load;
            if walk.audit {
                self.wanted.audit.get_or_insert(now + BETWEEN_AUDITS);
                self.wanted.lost |= walk.lost;
            }
            if let Some(repair) = self.repair.take_if(|repair| repair.stage == Stage::Dumping) {
                self.wanted.repair = Some((now + BETWEEN_AUDITS, repair.buckets));
            }
        }
        self.wanted.audits_from = now + BETWEEN_AUDITS;
        self.advance(now);
    }

    fn repairs(&self, key: &Key) -> bool {
        let dumping = self.repair.as_ref().filter(|repair| repair.stage == Stage::Dumping);
        dumping.is_some_and(|repair| repair.buckets.has_key(key))
    }

    /// What the table has and the kernel has not.
    fn remove_unseen(&mut self, now: Instant, audit: bool, load: bool) {
        let mut gone = Vec::new();
        let mark = self.table.mark();
        self.table.unseen(|key| {
            // Of what waits since before the dump, an audit does not know whether it still holds.
            let waits = if audit { self.queue.is_since(key, mark) } else { self.queue.get(key).is_some() };
            if !waits && (audit || load || self.repairs(key)) {
                gone.push(*key);
            }
        });
        if audit {
            self.queue.drop_puts_before(mark, |key| self.table.get(key).is_some());
        }
        for key in gone {
            if self.repairs(&key) || !audit {
                // The receiver removes it by itself, or will be compared.
                self.queue.cancel(&key);
                self.table.remove(&key);
            } else {
                self.status.repaired += 1;
                self.enqueue_remove(now, &key, &[]);
            }
        }
    }

    /// Events were lost, and the audit that finds what they would have told has not ended.
    pub(super) fn has_lost_events(&self) -> bool {
        self.wanted.lost || self.walk.as_ref().is_some_and(|walk| walk.lost)
    }

    pub(super) fn is_repairing(&self) -> bool {
        self.repair.is_some() || self.wanted.repair.is_some()
    }

    pub(super) fn forget_repair(&mut self) {
        self.repair = None;
        self.wanted.repair = None;
        self.queue.unmark(Marker::Open);
        self.queue.unmark(Marker::Close);
    }

    pub(super) fn want_repair(&mut self, now: Instant, buckets: &Buckets) {
        self.futile = self.futile.saturating_add(1);
        let lazy = self.futile.saturating_sub(EAGER_REPAIRS);
        let wait = BETWEEN_AUDITS.saturating_mul(1 << lazy.min(16)).min(LAZY_REPAIR);
        let at = if lazy == 0 { now } else { now + wait };
        self.wanted.repair = Some((at, Box::new(buckets.clone())));
        self.comparison = Comparison::Idle { at: None };
        self.notice(Notice::Differ { buckets: buckets.count() });
    }

    pub(super) fn advance_repair(&mut self, now: Instant) {
        if let Some(Repair { stage: Stage::Closing { sequence: Some(sequence) }, .. }) = self.repair
            && self.flight.first() > sequence
        {
            self.repair = None;
            self.status.repairs += 1;
            self.comparison = Comparison::Due;
        }
        if self.repair.is_none()
            && self.walk.is_none()
            && self.is_calm()
            && let Some((_, buckets)) = self.wanted.repair.take_if(|(at, _)| *at <= now)
        {
            self.tokens = self.tokens.wrapping_add(1);
            self.repair = Some(Repair { token: self.tokens, buckets, stage: Stage::Opening });
            self.queue.mark(Marker::Open);
        }
    }

    pub(super) fn advance_walk(&mut self, now: Instant) {
        let opening = self.repair.as_ref().is_some_and(|repair| repair.stage == Stage::Opening);
        let audit = self.wanted.audit.is_some_and(|at| at <= now) && self.is_calm();
        let due = self.wanted.load || audit;
        if due && self.walk.is_none() && !opening {
            self.begin_walk(now);
        }
    }

    /// From here on what is put into the table counts as seen.
    pub(super) fn begin_walk(&mut self, now: Instant) {
        debug_assert!(self.walk.is_none());
        self.table.begin_walk();
        let load = std::mem::take(&mut self.wanted.load);
        let audit = self.wanted.audit.take_if(|at| *at <= now).is_some();
        let lost = audit && std::mem::take(&mut self.wanted.lost);
        self.walk = Some(Walk { load, audit, lost, tombstones: KeyMap::default(), spoiled: false });
        self.output(Output::Dump);
    }
}
