//! One stream, at the side that sends it: what goes first, what is under way, what is there.
//!
//! Two lanes. Changes of small values go in the order in which they were made, at the head of every message. Large values and
//! the copy of the whole map have what is left of it, a quarter at the least, so that neither waits for the other. A key
//! that changes while it waits keeps its place and goes with its newest value, so what waits is bounded by the map.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::map::Map;
use super::wire::{AROUND, MESSAGE, Stream, Writer};
use super::{Held, Key, RESEND, SMALL, Value, WINDOW};

/// What the fast lane leaves of a message, while something is in the slow one.
const SLOW_ROOM: usize = MESSAGE / 4;
/// Less of a value in one message is not worth its header.
const LEAST_PART: usize = 1 << 10;
/// A gap is reported with each message behind it; it is repaired once in this time.
const REPAIR: Duration = Duration::from_millis(10);

/// Up to which change everything is there: with and without large values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Level {
    pub small: u64,
    pub all: u64,
}

/// What the sender looks at to write a message.
pub(super) struct Source<'a> {
    pub map: &'a Map,
    /// The last change.
    pub position: u64,
    pub highest: u64,
    /// Entries with another tag are of an older reign, in a map that is not whole.
    pub tag: Option<u32>,
}

pub(super) struct Sender {
    stream: Stream,
    /// What the stream begins with.
    begin: Option<Held>,
    next: u64,
    flight: VecDeque<Flight>,
    /// From this place on, what is under way is to be sent once more.
    again: usize,
    /// The first of what is under way is missing there.
    missing: bool,
    resend_at: Option<Instant>,
    repaired: Option<Instant>,
    /// Since when nothing was acknowledged of what is under way.
    quiet_since: Option<Instant>,
    fast: Lane,
    slow: Lane,
    /// Changes that wait in the slow lane and began as small ones: whoever waits for those waits for what took their place.
    owed: BTreeSet<u64>,
    transfer: Option<Transfer>,
    /// To be said to be gone, before the copy.
    graves: VecDeque<Key>,
    copy: Copying,
    /// The end of the copy was acknowledged.
    copied: Option<u64>,
    /// Every change up to this one was acknowledged.
    there: u64,
    pub resent: u64,
}

struct Flight {
    number: u64,
    bytes: Zeroizing<Vec<u8>>,
    level: Level,
}

enum Copying {
    /// Everything up to this key was sent.
    Behind(Option<Key>),
    Ended,
}

/// A value that goes in parts.
struct Transfer {
    key: Key,
    value: Value,
    offset: usize,
    old: bool,
    /// Its change, if it is not of the copy.
    change: Option<u64>,
}

/// Keys that wait, by the first change that they wait with.
#[derive(Default)]
struct Lane {
    order: BTreeMap<u64, Key>,
    keys: BTreeMap<Key, u64>,
}

impl Lane {
    fn insert(&mut self, change: u64, key: Key) {
        self.order.insert(change, key.clone());
        self.keys.insert(key, change);
    }

    fn take(&mut self, key: &Key) -> Option<u64> {
        let change = self.keys.remove(key)?;
        self.order.remove(&change);
        Some(change)
    }

    fn first(&self) -> Option<(u64, &Key)> {
        self.order.first_key_value().map(|(change, key)| (*change, key))
    }

    fn len(&self) -> usize {
        self.order.len()
    }
}

impl Sender {
    /// A stream that begins with `held` and the whole map.
    pub fn new(stream: Stream, held: Held, graves: impl Iterator<Item = Key>) -> Self {
        Self {
            stream,
            begin: Some(held),
            next: 1,
            flight: VecDeque::new(),
            again: 0,
            missing: false,
            resend_at: None,
            repaired: None,
            quiet_since: None,
            fast: Lane::default(),
            slow: Lane::default(),
            owed: BTreeSet::new(),
            transfer: None,
            graves: graves.collect(),
            copy: Copying::Behind(None),
            copied: None,
            there: 0,
            resent: 0,
        }
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// An entry has changed, or is gone (which is small).
    pub fn touch(&mut self, key: &Key, change: u64, len: usize) {
        let fast = self.fast.take(key);
        let slow = self.slow.take(key);
        let broken = self.transfer.take_if(|transfer| transfer.key == *key).and_then(|t| t.change);
        let owed =
            [slow, broken].into_iter().flatten().fold(false, |owed, old| owed | self.owed.remove(&old));
        let change = [fast, slow, broken].into_iter().flatten().fold(change, u64::min);
        if len <= SMALL {
            self.fast.insert(change, key.clone());
        } else {
            self.slow.insert(change, key.clone());
            if owed || fast.is_some() {
                self.owed.insert(change);
            }
        }
    }

    /// The next message, if there is one to send.
    pub fn poll(&mut self, now: Instant, source: &Source<'_>) -> Option<Zeroizing<Vec<u8>>> {
        if std::mem::take(&mut self.missing)
            && let Some(flight) = self.flight.front()
        {
            self.resent += 1;
            return Some(flight.bytes.clone());
        }
        if let Some(flight) = self.flight.get(self.again) {
            self.again += 1;
            self.resent += 1;
            self.resend_at = Some(now + RESEND);
            return Some(flight.bytes.clone());
        }
        if self.flight.len() >= WINDOW {
            return None;
        }
        let bytes = self.compose(source)?;
        let level = self.level(source.position);
        self.flight.push_back(Flight { number: self.next, bytes: bytes.clone(), level });
        self.next += 1;
        self.again = self.flight.len();
        self.resend_at = Some(now + RESEND);
        self.quiet_since.get_or_insert(now);
        Some(bytes)
    }

    /// What everything that was written up to now amounts to.
    fn level(&self, position: u64) -> Level {
        let below = |change: Option<u64>| change.map_or(position, |change| change.saturating_sub(1));
        let fast = self.fast.first().map(|(change, _)| change);
        let small = below([fast, self.owed.first().copied()].into_iter().flatten().min());
        let slow = self.slow.first().map(|(change, _)| change);
        let transfer = self.transfer.as_ref().and_then(|t| t.change);
        let large = below([slow, transfer].into_iter().flatten().min());
        Level { small, all: small.min(large) }
    }

    fn compose(&mut self, source: &Source<'_>) -> Option<Zeroizing<Vec<u8>>> {
        let mut writer = Writer::new(&self.stream, self.next, source.highest);
        if let Some(held) = self.begin.take() {
            writer.begin(&held);
        }
        self.compose_fast(&mut writer, source);
        self.compose_slow(&mut writer, source);
        (!writer.is_empty()).then(|| writer.finish(self.level(source.position).all))
    }

    fn compose_fast(&mut self, writer: &mut Writer, source: &Source<'_>) {
        while let Some((change, key)) = self.fast.first() {
            let reserve = if self.is_slow_idle() { 0 } else { SLOW_ROOM };
            let value = source.map.get(key).map(|entry| &entry.value);
            let len = value.map_or(0, |value| value.len());
            if len <= SMALL && writer.room() < AROUND + len + reserve {
                return;
            }
            let key = key.clone();
            self.fast.take(&key);
            match value {
                Some(value) if len <= SMALL => writer.put(false, &key, value),
                Some(_) => {
                    self.slow.insert(change, key);
                    self.owed.insert(change);
                }
                None => writer.remove(&key),
            }
        }
    }

    fn is_slow_idle(&self) -> bool {
        let copied = matches!(self.copy, Copying::Ended);
        copied && self.transfer.is_none() && self.slow.len() == 0
    }

    fn compose_slow(&mut self, writer: &mut Writer, source: &Source<'_>) {
        while writer.room() >= AROUND + LEAST_PART {
            if let Some(transfer) = &mut self.transfer {
                if transfer.compose(writer) {
                    let done = self.transfer.take().and_then(|transfer| transfer.change);
                    if let Some(change) = done {
                        self.owed.remove(&change);
                    }
                }
            } else if let Some(grave) = self.graves.pop_front() {
                writer.remove(&grave);
            } else if let Some((change, key)) = self.slow.first().map(|(change, key)| (change, key.clone())) {
                self.slow.take(&key);
                match source.map.get(&key).map(|entry| entry.value.clone()) {
                    Some(value) => self.begin_transfer(key, value, false, Some(change)),
                    None => {
                        writer.remove(&key);
                        self.owed.remove(&change);
                    }
                }
            } else if let Copying::Behind(last) = &self.copy {
                let Some((key, entry)) = source.map.after(last.as_ref()) else {
                    // What waits in the fast lane is part of the map.
                    if self.fast.len() == 0 {
                        writer.end();
                        self.copy = Copying::Ended;
                        self.copied = Some(self.next);
                    }
                    return;
                };
                let old = source.tag.is_some_and(|tag| entry.tag != tag);
                self.copy = Copying::Behind(Some(key.clone()));
                if entry.value.len() <= SMALL && writer.room() >= AROUND + entry.value.len() {
                    writer.put(old, key, &entry.value);
                } else {
                    self.begin_transfer(key.clone(), entry.value.clone(), old, None);
                }
            } else {
                return;
            }
        }
    }

    fn begin_transfer(&mut self, key: Key, value: Value, old: bool, change: Option<u64>) {
        self.transfer = Some(Transfer { key, value, offset: 0, old, change });
    }

    /// The other side has everything up to this message. Gives what that amounts to, if it is news.
    pub fn handle_ack(&mut self, now: Instant, number: u64, gap: bool) -> Option<Level> {
        if number >= self.next {
            return None;
        }
        let mut level = None;
        while let Some(flight) = self.flight.pop_front_if(|flight| flight.number <= number) {
            self.again = self.again.saturating_sub(1);
            level = Some(flight.level);
            self.there = flight.level.all;
        }
        if level.is_some() {
            self.quiet_since = (!self.flight.is_empty()).then_some(now);
            self.resend_at = (!self.flight.is_empty()).then_some(now + RESEND);
        }
        let due = self.repaired.is_none_or(|at| now.saturating_duration_since(at) >= REPAIR);
        if gap && due && !self.flight.is_empty() {
            (self.missing, self.repaired) = (true, Some(now));
        }
        level
    }

    /// Everything that is under way may be lost.
    pub fn send_again(&mut self) {
        self.again = 0;
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.resend_at.is_some_and(|at| at <= now) && !self.flight.is_empty() {
            self.again = 0;
            self.resend_at = Some(now + RESEND);
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.resend_at.filter(|_| !self.flight.is_empty())
    }

    /// Since when something is under way and nothing was acknowledged.
    pub fn quiet_since(&self) -> Option<Instant> {
        self.quiet_since
    }

    /// Whether the other side has the whole map.
    pub fn is_copied(&self) -> bool {
        self.copied.is_some_and(|number| self.flight.front().map_or(self.next, |f| f.number) > number)
    }

    /// The other side has every change up to this one.
    pub fn there(&self) -> u64 {
        self.there
    }

    /// Changes that wait, and bytes that are under way.
    pub fn backlog(&self) -> (usize, usize) {
        let waiting = self.fast.len() + self.slow.len() + usize::from(self.transfer.is_some());
        (waiting, self.flight.iter().map(|flight| flight.bytes.len()).sum())
    }
}

impl Transfer {
    /// Gives whether that was the last part.
    fn compose(&mut self, writer: &mut Writer) -> bool {
        let rest = self.value.get(self.offset..).unwrap_or_default();
        let len = rest.len().min(writer.room().saturating_sub(AROUND));
        let (part, rest) = rest.split_at(len);
        writer.part(self.old, &self.key, self.value.len(), self.offset, part);
        self.offset += len;
        rest.is_empty()
    }
}
