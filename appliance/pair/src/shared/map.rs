//! The entries, and how many there may be.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Key, MAX_NAME, Value};

/// What a map may hold. The same on both nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// By kind: the longest value in bytes, and the most entries.
    pub kinds: &'static [(usize, usize)],
    /// All names and values together, in bytes.
    pub bytes: usize,
}

/// Why an entry is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such kind, or its name is too long.
    #[error("no entry can have this name")]
    Name,
    /// The value is too long.
    #[error("the value is longer than entries of its kind may be")]
    Long,
    /// There are too many.
    #[error("there is no room for more entries")]
    Full,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub value: Value,
    /// The invitation whose stream has confirmed it; 0: put here.
    pub tag: u32,
}

pub(super) struct Map {
    limits: Limits,
    entries: BTreeMap<Key, Entry>,
    counts: Vec<usize>,
    bytes: usize,
}

impl Map {
    pub fn new(limits: Limits) -> Self {
        Self { limits, entries: BTreeMap::new(), counts: vec![0; limits.kinds.len()], bytes: 0 }
    }

    /// Whether a value of this length may come, for whoever receives it in parts.
    pub fn may_hold(&self, key: &Key, len: usize) -> Result<(), Refused> {
        let (longest, most) = *self
            .limits
            .kinds
            .get(usize::from(key.kind))
            .filter(|_| key.name.len() <= MAX_NAME)
            .ok_or(Refused::Name)?;
        if len > longest {
            return Err(Refused::Long);
        }
        let known = self.entries.get(key).map(|entry| key.name.len() + entry.value.len());
        let count = self.counts.get(usize::from(key.kind)).copied().unwrap_or(0);
        let bytes = self.bytes - known.unwrap_or(0) + key.name.len() + len;
        if known.is_none() && count >= most || bytes > self.limits.bytes {
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// Gives whether that changed anything but the tag.
    pub fn put(&mut self, key: &Key, value: Value, tag: u32) -> Result<bool, Refused> {
        self.may_hold(key, value.len())?;
        let entry = Entry { value, tag };
        self.bytes += key.name.len() + entry.value.len();
        let same = |old: &Entry, new: &[u8]| old.value.as_slice() == new;
        let Some(known) = self.entries.get_mut(key) else {
            if let Some(count) = self.counts.get_mut(usize::from(key.kind)) {
                *count += 1;
            }
            self.entries.insert(key.clone(), entry);
            return Ok(true);
        };
        let changed = !same(known, &entry.value);
        self.bytes -= key.name.len() + known.value.len();
        *known = entry;
        Ok(changed)
    }

    pub fn remove(&mut self, key: &Key) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        self.bytes -= key.name.len() + entry.value.len();
        if let Some(count) = self.counts.get_mut(usize::from(key.kind)) {
            *count -= 1;
        }
        true
    }

    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The first entry after `key`, or the first of all.
    pub fn after(&self, key: Option<&Key>) -> Option<(&Key, &Entry)> {
        match key {
            Some(key) => self.entries.range((Bound::Excluded(key), Bound::Unbounded)).next(),
            None => self.entries.first_key_value(),
        }
    }

    /// Takes out what this stream has not confirmed.
    pub fn sweep(&mut self, tag: u32) -> Vec<Key> {
        let stale: Vec<Key> =
            self.entries.iter().filter(|(_, entry)| entry.tag != tag).map(|(key, _)| key.clone()).collect();
        for key in &stale {
            self.remove(key);
        }
        stale
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
