//! One stream, at the side that takes it: messages in order, values out of parts, and what the map lacks at the end goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::map::Map;
use super::wire::{Data, Message, Record};
use super::{Fence, Held, Key, Value, WINDOW};

/// Removals that are remembered while a map is not whole. More than there may be entries; beyond it what was removed may
/// come back with a map that is put together, and ends by its own time.
const MAX_GRAVES: usize = 1 << 16;

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// The owner's map takes the place of ours.
    Copy,
    /// We are about to own, and the follower's map is better than ours.
    Restore,
}

/// The map and what is known of it.
pub(super) struct Place<'a> {
    pub map: &'a mut Map,
    pub held: &'a mut Option<Held>,
    pub graves: &'a mut BTreeSet<Key>,
    /// The invitation of the stream that was begun last.
    pub tag: &'a mut u32,
    pub refused: &'a mut u64,
    pub changes: &'a mut Vec<(Key, Option<Value>)>,
}

pub(super) struct Receiver {
    pub invitation: u32,
    purpose: Purpose,
    /// The message that comes next.
    next: u64,
    /// Messages that came before their turn: less than a window of them.
    early: BTreeMap<u64, Zeroizing<Vec<u8>>>,
    begun: Option<Held>,
    from: u64,
    parts: Option<Parts>,
    ended: bool,
    /// An acknowledgement is due; and one that says that something is missing.
    pub ack: Option<bool>,
}

struct Parts {
    key: Key,
    total: usize,
    bytes: Zeroizing<Vec<u8>>,
}

impl Receiver {
    pub fn new(invitation: u32, purpose: Purpose) -> Self {
        Self {
            invitation,
            purpose,
            next: 1,
            early: BTreeMap::new(),
            begun: None,
            from: 0,
            parts: None,
            ended: false,
            ack: None,
        }
    }

    /// The last message that is in the map.
    pub fn number(&self) -> u64 {
        self.next - 1
    }

    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whose stream it is, and of which reign, once anything has come.
    pub fn begun(&self) -> Option<(u64, Fence)> {
        self.begun.map(|held| (self.from, held.fence))
    }

    /// A message of this stream, as it was read and as it came. Gives whether anything of the map may have changed.
    pub fn handle(&mut self, data: &Data<'_>, bytes: &[u8], place: &mut Place<'_>) -> bool {
        if self.begun.is_some() && data.stream.from != self.from {
            return false;
        }
        if data.number != self.next {
            let ahead = data.number.checked_sub(self.next);
            if ahead.is_some_and(|ahead| ahead < WINDOW as u64) {
                self.early.entry(data.number).or_insert_with(|| Zeroizing::new(bytes.to_vec()));
            }
            self.ack = Some(ahead.is_some());
            return false;
        }
        if !self.take(data, place) {
            return false;
        }
        while let Some(early) = self.early.remove(&self.next) {
            // It has been read before, and is of the same stream unless somebody has lied.
            match Message::decode(&early) {
                Some(Message::Data(data)) if data.stream.from == self.from => self.take(&data, place),
                Some(_) | None => break,
            };
        }
        self.ack = Some(!self.early.is_empty());
        true
    }

    fn take(&mut self, data: &Data<'_>, place: &mut Place<'_>) -> bool {
        let mut records = data.records().peekable();
        if self.begun.is_none() {
            let Some(Record::Begin(held)) = records.next() else { return false };
            if !self.begin(held, place) {
                return false;
            }
            self.from = data.stream.from;
        }
        for record in records {
            self.apply(record, place);
        }
        if let (Purpose::Copy, Some(held)) = (self.purpose, place.held.as_mut()) {
            held.position = held.position.max(data.position);
        }
        self.next += 1;
        true
    }

    fn begin(&mut self, held: Held, place: &mut Place<'_>) -> bool {
        match self.purpose {
            Purpose::Copy if place.held.is_some_and(|own| own.fence > held.fence) => return false,
            Purpose::Copy => {
                // Its own reign, should it be the same: what was there is not less than it was.
                *place.held = Some(Held { position: 0, complete: false, ..held });
                place.graves.clear();
                *place.tag = self.invitation;
            }
            Purpose::Restore => {}
        }
        self.begun = Some(held);
        true
    }

    fn apply(&mut self, record: Record<'_>, place: &mut Place<'_>) {
        match record {
            // Once, and first.
            Record::Begin(_) => {}
            Record::Put { old, key, bytes } => {
                self.parts.take_if(|parts| parts.key == key);
                self.put(old, key, Zeroizing::new(bytes.to_vec()), place);
            }
            Record::Remove(key) => self.remove(key, place),
            Record::Part { old, key, total, offset, bytes } => {
                let whole = self.part(key, total, offset, bytes, place);
                if let Some(Parts { key, bytes, .. }) = whole {
                    self.put(old, key, bytes, place);
                }
            }
            Record::End => self.end(place),
        }
    }

    fn put(&mut self, old: bool, key: Key, bytes: Zeroizing<Vec<u8>>, place: &mut Place<'_>) {
        // What an older reign has left only fills gaps.
        if old && (place.map.get(&key).is_some() || place.graves.contains(&key)) {
            return;
        }
        let value: Value = Arc::new(bytes);
        match place.map.put(&key, Value::clone(&value), self.invitation) {
            Ok(changed) => {
                place.graves.remove(&key);
                if changed {
                    place.changes.push((key, Some(value)));
                }
            }
            // Limits are the same on both nodes; this is another version, or a fault.
            Err(_) => *place.refused += 1,
        }
    }

    fn remove(&mut self, key: Key, place: &mut Place<'_>) {
        self.parts.take_if(|parts| parts.key == key);
        if place.map.remove(&key) {
            place.changes.push((key.clone(), None));
        }
        if !self.ended && place.graves.len() < MAX_GRAVES {
            place.graves.insert(key);
        }
    }

    /// The value, once it is whole. Room is made for what has come, not for what was announced.
    fn part(
        &mut self,
        key: Key,
        total: usize,
        offset: usize,
        bytes: &[u8],
        place: &mut Place<'_>,
    ) -> Option<Parts> {
        if offset == 0 {
            if place.map.may_hold(&key, total).is_err() {
                *place.refused += 1;
                self.parts = None;
                return None;
            }
            self.parts = Some(Parts { key: key.clone(), total, bytes: Zeroizing::default() });
        }
        let fits = |p: &Parts| {
            p.key == key && p.total == total && p.bytes.len() == offset && bytes.len() <= total - offset
        };
        let mut parts = self.parts.take_if(|parts| fits(parts))?;
        parts.append(bytes);
        if parts.bytes.len() == total {
            return Some(parts);
        }
        self.parts = Some(parts);
        None
    }

    fn end(&mut self, place: &mut Place<'_>) {
        let Some(begun) = self.begun.filter(|_| !self.ended) else { return };
        self.ended = true;
        match self.purpose {
            Purpose::Copy => {
                self.sweep(place);
                place.graves.clear();
                if let Some(held) = place.held.as_mut() {
                    held.complete = true;
                }
            }
            Purpose::Restore => {
                if begun.complete {
                    self.sweep(place);
                }
                let better =
                    place.held.is_none_or(|own| (own.fence, own.position) < (begun.fence, begun.position));
                if begun.complete || better {
                    *place.held = Some(begun);
                }
            }
        }
    }

    fn sweep(&self, place: &mut Place<'_>) {
        let gone = place.map.sweep(self.invitation);
        place.changes.extend(gone.into_iter().map(|key| (key, None)));
    }
}

impl Parts {
    /// As `extend`, and what grows out of its place is wiped there.
    fn append(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            let room = needed.max(self.bytes.capacity() * 2).min(self.total);
            let mut grown = Zeroizing::new(Vec::with_capacity(room));
            grown.extend_from_slice(&self.bytes);
            self.bytes = grown;
        }
        self.bytes.extend_from_slice(bytes);
    }
}
