//! The keys of a session that are in use at the same time.

use std::time::Instant;

use super::{KeySerial, LAME_DUCK, MAX_KEYS};

#[derive(Debug)]
struct Slot<T> {
    serial: KeySerial,
    value: T,
    /// When a newer key came.
    superseded: Option<Instant>,
}

/// At most [`MAX_KEYS`] keys; one more takes the place of the oldest.
#[derive(Debug)]
pub(super) struct Slots<T>([Option<Slot<T>>; MAX_KEYS]);

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self([const { None }; MAX_KEYS])
    }

    /// Adds a key; the others have a successor from now on.
    pub(super) fn insert(&mut self, now: Instant, serial: KeySerial, value: T) {
        self.0.iter_mut().flatten().for_each(|slot| {
            slot.superseded.get_or_insert(now);
        });
        let age = |slot: &Option<Slot<T>>| slot.as_ref().map(|slot| slot.serial);
        // An empty place comes before all serials.
        if let Some(place) = self.0.iter_mut().min_by_key(|slot| age(slot)) {
            *place = Some(Slot { serial, value, superseded: None });
        }
    }

    /// Drops the keys that have had a successor for long enough, but not `keep`.
    pub(super) fn expire(&mut self, now: Instant, keep: Option<KeySerial>) {
        self.retain(|slot| {
            Some(slot.serial) == keep
                || slot.superseded.is_none_or(|since| now.saturating_duration_since(since) < LAME_DUCK)
        });
    }

    pub(super) fn remove(&mut self, serial: KeySerial) {
        self.retain(|slot| slot.serial != serial);
    }

    fn retain(&mut self, stays: impl Fn(&Slot<T>) -> bool) {
        for place in &mut self.0 {
            if place.as_ref().is_some_and(|slot| !stays(slot)) {
                *place = None;
            }
        }
    }

    pub(super) fn get_mut(&mut self, serial: KeySerial) -> Option<&mut T> {
        self.0.iter_mut().flatten().find(|slot| slot.serial == serial).map(|slot| &mut slot.value)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (KeySerial, &mut T)> {
        self.0.iter_mut().flatten().map(|slot| (slot.serial, &mut slot.value))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (KeySerial, &T)> {
        self.0.iter().flatten().map(|slot| (slot.serial, &slot.value))
    }
}
