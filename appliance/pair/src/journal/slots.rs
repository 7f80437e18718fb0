//! Where a table keeps its entries: key and slot side by side, and nothing else for an entry.
//!
//! Open addressing with linear probing, in shards. A shard grows by a quarter, so that four fifths to two thirds of the room
//! are in use; and it grows alone, so that neither memory for two tables is ever needed nor a pause that could be noticed.
//! What is removed leaves no trace: those behind it move up.

use super::Key;
use super::table::scatter;

/// A power of two. A shard of a table of 260,000 has 100 KB, which are moved in 50 µs.
const SHARDS: usize = 64;
/// The least room of a shard that has any.
const LEAST: usize = 16;

/// A fingerprint of 56 bits, and a mark.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u64);

impl Slot {
    /// No entry. No other slot is zero: see [`Slot::new`].
    const NONE: Self = Self(0);

    /// `mark` must not be 0, or the fingerprint must not.
    pub(super) fn new(fingerprint: u64, mark: u8) -> Self {
        debug_assert!(mark != 0 || fingerprint << 8 != 0);
        Self(fingerprint << 8 | u64::from(mark))
    }

    pub(super) fn fingerprint(self) -> u64 {
        self.0 >> 8
    }

    pub(super) fn mark(self) -> u8 {
        self.0.to_le_bytes()[0]
    }
}

#[derive(Clone, Copy)]
struct Place {
    key: Key,
    slot: Slot,
}

const FREE: Place = Place { key: [0; 16], slot: Slot::NONE };

/// See the head of the file.
pub(super) struct Slots {
    shards: Box<[Shard; SHARDS]>,
    len: usize,
}

#[derive(Default)]
struct Shard {
    places: Box<[Place]>,
    used: usize,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { shards: Box::new(std::array::from_fn(|_| Shard::default())), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &Key) -> Option<Slot> {
        let shard = self.shards.get(shard_of(key))?;
        let place = shard.find(key).ok()?;
        shard.places.get(place).map(|place| place.slot)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Slot> {
        let shard = self.shards.get_mut(shard_of(key))?;
        let place = shard.find(key).ok()?;
        shard.places.get_mut(place).map(|place| &mut place.slot)
    }

    /// Puts a slot, and gives back the one that was there.
    pub(super) fn insert(&mut self, key: &Key, slot: Slot) -> Option<Slot> {
        let shard = self.shards.get_mut(shard_of(key))?;
        if let Ok(place) = shard.find(key) {
            return shard.places.get_mut(place).map(|place| std::mem::replace(&mut place.slot, slot));
        }
        shard.add(Place { key: *key, slot });
        self.len += 1;
        None
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Slot> {
        let slot = self.shards.get_mut(shard_of(key))?.remove(key)?;
        self.len -= 1;
        Some(slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, Slot)> {
        let places = self.shards.iter().flat_map(|shard| shard.places.iter());
        places.filter(|place| place.slot != Slot::NONE).map(|place| (&place.key, place.slot))
    }

    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        let places = self.shards.iter_mut().flat_map(|shard| shard.places.iter_mut());
        places.map(|place| &mut place.slot).filter(|slot| **slot != Slot::NONE)
    }

    /// Keeps only what `keep` says.
    pub(super) fn retain(&mut self, keep: impl Fn(Slot) -> bool) {
        for shard in self.shards.iter_mut() {
            let room = shard.places.len();
            shard.move_to(room, &keep);
        }
        self.len = self.shards.iter().map(|shard| shard.used).sum();
    }
}

/// Other bits than those that make the bucket.
fn shard_of(key: &Key) -> usize {
    usize::from(key[13]) % SHARDS
}

#[allow(
    clippy::indexing_slicing,
    reason = "every place is below the length: by the multiplication, or by the remainder"
)]
impl Shard {
    /// Where a key belongs.
    fn home(&self, key: &Key) -> usize {
        let [a, b, c, d, e, f, g, h, ..] = *key;
        let spread = u128::from(scatter(u64::from_le_bytes([a, b, c, d, e, f, g, h])));
        ((spread * self.places.len() as u128) >> 64) as usize
    }

    /// The place of a key, or the free place where it would be put.
    fn find(&self, key: &Key) -> Result<usize, usize> {
        if self.places.is_empty() {
            return Err(0);
        }
        let mut at = self.home(key);
        // There is always a free place.
        loop {
            let place = &self.places[at];
            if place.slot == Slot::NONE {
                return Err(at);
            }
            if place.key == *key {
                return Ok(at);
            }
            at = self.after(at);
        }
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.places.len() { 0 } else { at + 1 }
    }

    /// From one place on to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.places.len() - from }
    }

    /// Puts what is not there.
    fn add(&mut self, new: Place) {
        if (self.used + 1) * 5 > self.places.len() * 4 {
            let room = (self.places.len() + self.places.len() / 4).max(LEAST);
            self.move_to(room, &|_| true);
        }
        self.put(new);
    }

    fn put(&mut self, new: Place) {
        if let Err(free) = self.find(&new.key) {
            self.places[free] = new;
            self.used += 1;
        }
    }

    fn move_to(&mut self, room: usize, keep: &dyn Fn(Slot) -> bool) {
        let old = std::mem::replace(&mut self.places, vec![FREE; room].into());
        self.used = 0;
        for place in old {
            if place.slot != Slot::NONE && keep(place.slot) {
                self.put(place);
            }
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Slot> {
        let mut hole = self.find(key).ok()?;
        let slot = self.places[hole].slot;
        let mut at = hole;
        loop {
            at = self.after(at);
            let place = self.places[at];
            if place.slot == Slot::NONE {
                break;
            }
            // It may move up to the hole unless it would stand before its home.
            if self.distance(self.home(&place.key), at) >= self.distance(hole, at) {
                self.places[hole] = place;
                hole = at;
            }
        }
        self.places[hole] = FREE;
        self.used -= 1;
        if self.places.len() > 4 * LEAST && self.used * 3 < self.places.len() {
            self.move_to(self.places.len() / 2, &|_| true);
        }
        Some(slot)
    }
}
