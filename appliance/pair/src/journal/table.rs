//! What a kernel holds, by key and fingerprint, with its digests.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::slots::{Slot, Slots};
use super::{BUCKETS, Key};

/// The bucket of a key. Other bits than those that place it in the map.
pub(super) fn bucket(key: &Key) -> usize {
    usize::from(u16::from_be_bytes([key[14], key[15]])) % BUCKETS
}

/// A set of buckets.
#[derive(Clone, PartialEq, Eq)]
pub struct Buckets([u64; BUCKETS / 64]);

impl Buckets {
    /// Length on the wire, in bytes.
    pub const BYTES: usize = BUCKETS / 8;
    pub(super) const NONE: Self = Self([0; BUCKETS / 64]);

    /// Adds one; out of range adds nothing.
    pub fn insert(&mut self, bucket: usize) {
        if let Some(word) = self.0.get_mut(bucket / 64) {
            *word |= 1 << (bucket % 64);
        }
    }

    /// Whether it is in the set.
    pub fn contains(&self, bucket: usize) -> bool {
        self.0.get(bucket / 64).is_some_and(|word| word >> (bucket % 64) & 1 == 1)
    }

    pub(super) fn has_key(&self, key: &Key) -> bool {
        self.contains(bucket(key))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// For the wire.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// From the wire.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut words = [0; BUCKETS / 64];
        for (word, place) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*place);
        }
        Self(words)
    }
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Buckets({})", self.count())
    }
}

/// A mark tells by which walk through the kernel an entry was last seen.
pub(super) type Mark = u8;
/// The mark of an entry that is to be removed from the kernel and counts as gone already.
const DOOMED: Mark = 0;
/// Of the doomed no fingerprint is needed any more.
const GONE: u64 = 1;

/// Keys are keyed hashes already, so eight of their bytes are as good as a hash of them.
#[derive(Default)]
pub(super) struct Leading(u64);

impl Hasher for Leading {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length that is hashed before a slice says nothing here.
    fn write_usize(&mut self, _: usize) {}
}

/// A map by key.
pub(super) type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<Leading>>;

/// See the head of the file.
pub(super) struct Table {
    slots: Slots,
    digests: Box<[u64; BUCKETS]>,
    mark: Mark,
    doomed: usize,
}

/// What [`Table::insert`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Nothing,
    Same,
    Other,
    /// It was to be removed: what the kernel holds is another entry with the same key.
    Doomed,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { slots: Slots::new(), digests: Box::new([0; BUCKETS]), mark: 1, doomed: 0 }
    }

    /// Entries, without the doomed.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.doomed
    }

    pub(super) fn has_doomed(&self) -> bool {
        self.doomed > 0
    }

    /// The fingerprint of an entry, cut to what a table keeps.
    pub(super) fn cut(fingerprint: u64) -> u64 {
        fingerprint & (u64::MAX >> 8)
    }

    pub(super) fn get(&self, key: &Key) -> Option<u64> {
        self.slots.get(key).filter(|slot| slot.mark() != DOOMED).map(|slot| slot.fingerprint())
    }

    pub(super) fn is_doomed(&self, key: &Key) -> bool {
        self.doomed > 0 && self.slots.get(key).is_some_and(|slot| slot.mark() == DOOMED)
    }

    /// Seen in the walk that goes on.
    pub(super) fn is_seen(&self, key: &Key) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.mark() == self.mark)
    }

    /// The mark of the walk that goes on, or of the last one.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// Puts an entry, as seen just now.
    pub(super) fn insert(&mut self, key: &Key, fingerprint: u64) -> Found {
        self.insert_marked(key, fingerprint, self.mark)
    }

    /// Puts an entry, as seen when `mark` was the mark.
    pub(super) fn insert_marked(&mut self, key: &Key, fingerprint: u64, mark: Mark) -> Found {
        let fingerprint = Self::cut(fingerprint);
        let old = self.slots.insert(key, Slot::new(fingerprint, mark));
        let (found, gone) = match old {
            None => (Found::Nothing, 0),
            Some(old) if old.mark() == DOOMED => {
                self.doomed -= 1;
                (Found::Doomed, 0)
            }
            Some(old) if old.fingerprint() == fingerprint => return Found::Same,
            Some(old) => (Found::Other, weight(key, old.fingerprint())),
        };
        let digest = self.digest(key);
        *digest = digest.wrapping_add(weight(key, fingerprint)).wrapping_sub(gone);
        found
    }

    /// Marks an entry as seen.
    pub(super) fn touch(&mut self, key: &Key) {
        let mark = self.mark;
        if let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.mark() != DOOMED) {
            *slot = Slot::new(slot.fingerprint(), mark);
        }
    }

    /// Takes an entry away, doomed or not; false when there was none, or only a doomed one.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        match self.slots.remove(key) {
            None => false,
            Some(slot) if slot.mark() == DOOMED => {
                self.doomed -= 1;
                false
            }
            Some(slot) => {
                let digest = self.digest(key);
                *digest = digest.wrapping_sub(weight(key, slot.fingerprint()));
                true
            }
        }
    }

    /// Counts an entry as gone, and remembers that the kernel still has it. False when there was none.
    pub(super) fn doom(&mut self, key: &Key) -> bool {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.mark() != DOOMED) else { return false };
        let fingerprint = slot.fingerprint();
        *slot = Slot::new(GONE, DOOMED);
        self.doomed += 1;
        let digest = self.digest(key);
        *digest = digest.wrapping_sub(weight(key, fingerprint));
        true
    }

    /// Begins a walk: nothing is seen yet.
    pub(super) fn begin_walk(&mut self) {
        self.mark = match self.mark.checked_add(1) {
            Some(mark) => mark,
            None => {
                // An entry that nobody touched for 254 walks must not look as if it had just been seen.
                for slot in self.slots.slots_mut().filter(|slot| slot.mark() != DOOMED) {
                    *slot = Slot::new(slot.fingerprint(), 1);
                }
                2
            }
        };
    }

    /// Hands every entry that the walk has not seen to `visit`.
    pub(super) fn unseen(&self, mut visit: impl FnMut(&Key)) {
        let missing = |slot: Slot| slot.mark() != self.mark && slot.mark() != DOOMED;
        self.slots.iter().filter(|(_, slot)| missing(*slot)).for_each(|(key, _)| visit(key));
    }

    /// Forgets the doomed.
    pub(super) fn forget_doomed(&mut self) {
        if self.doomed > 0 {
            self.slots.retain(|slot| slot.mark() != DOOMED);
            self.doomed = 0;
        }
    }

    pub(super) fn digests(&self) -> &[u64; BUCKETS] {
        &self.digests
    }

    /// One number for all digests.
    pub(super) fn summary(&self) -> u64 {
        self.digests.iter().fold(0, |sum: u64, digest| scatter(sum.rotate_left(1) ^ digest))
    }

    #[allow(clippy::indexing_slicing, reason = "bucket() is below the length of the array")]
    fn digest(&mut self, key: &Key) -> &mut u64 {
        &mut self.digests[bucket(key)]
    }
}

/// What an entry adds to its digest. A sum and not an exclusive or: two equal weights do not vanish.
fn weight(key: &Key, fingerprint: u64) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    scatter(scatter(fingerprint) ^ u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub(super) fn scatter(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
