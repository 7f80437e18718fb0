//! What waits to be sent: one change for each entry, the latest.
//!
//! Three lanes by urgency. A lane holds keys in the order in which they become due; a key that moved to another lane or
//! was taken back leaves a stale place behind, which its ticket tells.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use super::{HOLD, Key, SOON, Urgency};
use crate::journal::table::{KeyMap, Mark};

/// Entries that may wait: half a second of 80,000 changes in a second, about 10 MB. What comes beyond is left to the
/// next audit.
pub(super) const MAX_PENDING: usize = 40_000;
/// What their bytes may take together. An ordinary entry has 60 to 130.
pub(super) const MAX_PENDING_BYTES: usize = 8 << 20;
/// A lane with more stale places than this is swept.
const MAX_STALE: usize = MAX_PENDING;

/// A change that waits.
struct Pending {
    change: Waiting,
    ticket: u32,
    urgency: Urgency,
    /// The mark of the table when it came.
    mark: Mark,
}

pub(super) enum Waiting {
    Put {
        /// The receiver must forget the entry that it has under this key.
        replace: bool,
        fingerprint: u64,
        bytes: Box<[u8]>,
    },
    Remove {
        /// The identity, or nothing.
        bytes: Box<[u8]>,
    },
}

/// What keeps its place among the changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Marker {
    Open,
    Close,
    Flush,
}

enum Place {
    Change { key: Key, ticket: u32, since: Instant },
    Marker(Marker),
}

/// What comes next.
pub(super) enum Next {
    /// With the moment from which it need not have waited any longer, and the mark of the table when it came.
    Change(Key, Waiting, Instant, Mark),
    Marker(Marker),
}

/// See the head of the file.
pub(super) struct Queue {
    pending: KeyMap<Pending>,
    bytes: usize,
    tickets: u32,
    now: VecDeque<Place>,
    soon: VecDeque<(Key, u32, Instant)>,
    held: VecDeque<(Key, u32, Instant)>,
}

/// There is no room.
#[derive(Debug)]
pub(super) struct Full;

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            pending: KeyMap::default(),
            bytes: 0,
            tickets: 0,
            now: VecDeque::new(),
            soon: VecDeque::new(),
            held: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Places in all lanes, stale ones too.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.now.len() + self.soon.len() + self.held.len()
    }

    /// Entries for which there is room.
    pub(super) fn room(&self) -> usize {
        let by_bytes = MAX_PENDING_BYTES.saturating_sub(self.bytes) / super::MAX_ENTRY;
        MAX_PENDING.saturating_sub(self.pending.len()).min(by_bytes)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Waiting> {
        self.pending.get(key).map(|pending| &pending.change)
    }

    /// Puts a change in the place of the one that waits for the same key, if any; true if there was one.
    /// Without room nothing changes.
    pub(super) fn push(
        &mut self,
        now: Instant,
        key: &Key,
        change: Waiting,
        urgency: Urgency,
        mark: Mark,
    ) -> Result<bool, Full> {
        let length = change.length();
        let full = self.pending.len() >= MAX_PENDING || self.bytes + length > MAX_PENDING_BYTES;
        let coalesced = match self.pending.entry(*key) {
            Entry::Occupied(mut place) => {
                let pending = place.get_mut();
                self.bytes = self.bytes + length - pending.change.length();
                pending.change = change;
                pending.mark = mark;
                if pending.urgency <= urgency {
                    return Ok(true);
                }
                pending.urgency = urgency;
                true
            }
            Entry::Vacant(_) if full => return Err(Full),
            Entry::Vacant(place) => {
                self.bytes += length;
                place.insert(Pending { change, ticket: 0, urgency, mark });
                false
            }
        };
        self.line_up(now, key, urgency);
        Ok(coalesced)
    }

    /// Moves an entry that waits to the end of those that are sent at once.
    pub(super) fn hasten(&mut self, now: Instant, key: &Key) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        pending.urgency = Urgency::Now;
        self.line_up(now, key, Urgency::Now);
    }

    /// Everything that waits is due.
    pub(super) fn hasten_all(&mut self) {
        for lane in [&mut self.soon, &mut self.held] {
            for (key, ticket, since) in lane.drain(..) {
                if let Some(pending) = self.pending.get_mut(&key).filter(|pending| pending.ticket == ticket) {
                    pending.urgency = Urgency::Now;
                    self.now.push_back(Place::Change { key, ticket, since });
                }
            }
        }
    }

    fn line_up(&mut self, now: Instant, key: &Key, urgency: Urgency) {
        self.tickets = self.tickets.wrapping_add(1);
        let (key, ticket) = (*key, self.tickets);
        if let Some(pending) = self.pending.get_mut(&key) {
            pending.ticket = ticket;
        }
        match urgency {
            Urgency::Now => self.now.push_back(Place::Change { key, ticket, since: now }),
            Urgency::Soon => self.soon.push_back((key, ticket, now)),
            Urgency::Hold => self.held.push_back((key, ticket, now)),
        }
        self.sweep();
    }

    pub(super) fn mark(&mut self, marker: Marker) {
        self.now.push_back(Place::Marker(marker));
    }

    pub(super) fn unmark(&mut self, marker: Marker) {
        self.now.retain(|place| !matches!(place, Place::Marker(m) if *m == marker));
    }

    /// Whether something waits for this key that came since `mark` was made.
    pub(super) fn is_since(&self, key: &Key, mark: Mark) -> bool {
        self.pending.get(key).is_some_and(|pending| pending.mark == mark)
    }

    /// Takes back what is new since before `mark` was made, unless `known` says that it was sent before.
    pub(super) fn drop_puts_before(&mut self, mark: Mark, known: impl Fn(&Key) -> bool) {
        let bytes = &mut self.bytes;
        self.pending.retain(|key, pending| {
            let is_put = matches!(pending.change, Waiting::Put { .. });
            let keep = pending.mark == mark || !is_put || known(key);
            if !keep {
                *bytes -= pending.change.length();
            }
            keep
        });
    }

    /// Takes a change back.
    pub(super) fn cancel(&mut self, key: &Key) -> Option<Waiting> {
        let pending = self.pending.remove(key)?;
        self.bytes -= pending.change.length();
        Some(pending.change)
    }

    /// Moves what has become due to those that are sent at once.
    pub(super) fn ripen(&mut self, now: Instant) {
        for (lane, delay) in [(&mut self.soon, SOON), (&mut self.held, HOLD)] {
            while let Some((key, ticket, since)) = lane.front().copied() {
                let stale = self.pending.get(&key).is_none_or(|pending| pending.ticket != ticket);
                if !stale && now.saturating_duration_since(since) < delay {
                    break;
                }
                lane.pop_front();
                if let Some(pending) = self.pending.get_mut(&key).filter(|_| !stale) {
                    pending.urgency = Urgency::Now;
                    self.now.push_back(Place::Change { key, ticket, since: since + delay });
                }
            }
        }
    }

    /// When [`Queue::ripen`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = |lane: &VecDeque<(Key, u32, Instant)>, delay: Duration| {
            lane.front().map(|(_, _, since)| *since + delay)
        };
        [first(&self.soon, SOON), first(&self.held, HOLD)].into_iter().flatten().min()
    }

    /// What is sent at once, the first of it. Drops stale places.
    pub(super) fn peek(&mut self) -> Option<Peek> {
        while let Some(place) = self.now.front() {
            match place {
                Place::Marker(_) => break,
                Place::Change { key, ticket, .. } => {
                    if self.pending.get(key).is_some_and(|pending| pending.ticket == *ticket) {
                        break;
                    }
                }
            }
            self.now.pop_front();
        }
        match self.now.front()? {
            Place::Marker(marker) => Some(Peek::Marker(*marker)),
            Place::Change { key, .. } => {
                self.pending.get(key).map(|pending| Peek::Change(pending.change.length()))
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Next> {
        self.peek()?;
        match self.now.pop_front()? {
            Place::Marker(marker) => Some(Next::Marker(marker)),
            Place::Change { key, since, .. } => {
                let pending = self.pending.remove(&key)?;
                self.bytes -= pending.change.length();
                Some(Next::Change(key, pending.change, since, pending.mark))
            }
        }
    }

    /// Since when the first of those that are due has waited.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.now.iter().find_map(|place| match place {
            Place::Marker(_) => None,
            Place::Change { since, .. } => Some(*since),
        })
    }

    /// Hands out everything and is empty after.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Key, Waiting)> {
        self.now = VecDeque::new();
        self.soon = VecDeque::new();
        self.held = VecDeque::new();
        self.bytes = 0;
        std::mem::take(&mut self.pending).into_iter().map(|(key, pending)| (key, pending.change))
    }

    /// Keeps the lanes bounded: each has at most one true place for each entry that waits.
    fn sweep(&mut self) {
        let true_places = self.pending.len();
        let pending = &self.pending;
        let is_true = |key: &Key, ticket: u32| pending.get(key).is_some_and(|p| p.ticket == ticket);
        if self.now.len() > true_places + MAX_STALE {
            self.now.retain(|place| match place {
                Place::Marker(_) => true,
                Place::Change { key, ticket, .. } => is_true(key, *ticket),
            });
        }
        for lane in [&mut self.soon, &mut self.held] {
            if lane.len() > true_places + MAX_STALE {
                lane.retain(|(key, ticket, _)| is_true(key, *ticket));
            }
        }
    }
}

/// What [`Queue::pop`] would give.
pub(super) enum Peek {
    Marker(Marker),
    /// A change with so many bytes.
    Change(usize),
}

impl Waiting {
    fn length(&self) -> usize {
        match self {
            Self::Put { bytes, .. } | Self::Remove { bytes } => bytes.len(),
        }
    }
}
