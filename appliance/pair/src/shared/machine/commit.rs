//! What the owner's program puts and takes away, and when it is told that a change is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::super::map::Refused;
use super::super::sender::{Level, Sender};
use super::super::{Key, LATE, SMALL};
use super::status::note_delay;
use super::{Duty, How, Output, Shared, Waiting};

impl Shared {
    /// Keeps a value. Only an owner's word counts: elsewhere it is dropped, and never committed. `ticket` rises from call to call.
    pub fn put(
        &mut self,
        now: Instant,
        key: &Key,
        value: Zeroizing<Vec<u8>>,
        ticket: u64,
    ) -> Result<(), Refused> {
        if !matches!(self.duty, Duty::Owner(_)) {
            return Ok(());
        }
        let len = value.len();
        let taken = self.map.put(key, Arc::new(value), 0);
        let change = match taken {
            Ok(_) => self.touch(key, len),
            // In its turn, so that it does not say that those before it are there.
            Err(_) => {
                self.status.refused += 1;
                self.position
            }
        };
        let waiting = Waiting { ticket, since: now };
        match (self.is_shared() && !self.silent, taken.is_ok() && len > SMALL) {
            #[cfg(test)]
            (true, _) if self.bug == super::super::tests::Bug::CommitsOnSending => {
                self.commit(ticket, How::Both)
            }
            (true, false) => drop(self.small.insert(change, waiting)),
            (true, true) => drop(self.large.insert(change, waiting)),
            (false, _) => self.commit(ticket, How::Alone),
        }
        taken.map(|_| ())
    }

    /// Whether there is somebody who takes what is changed.
    pub(super) fn is_shared(&self) -> bool {
        let peer = self.peer.as_ref().map(|peer| peer.hello.from);
        peer.is_some() && self.sender.as_ref().map(|sender| sender.stream().to) == peer
    }

    /// Takes an entry away.
    pub fn remove(&mut self, key: &Key) {
        if matches!(self.duty, Duty::Owner(_)) && self.map.remove(key) {
            self.touch(key, 0);
        }
    }

    fn touch(&mut self, key: &Key, len: usize) -> u64 {
        self.position += 1;
        self.version += 1;
        if let Some(sender) = &mut self.sender {
            sender.touch(key, self.position, len);
        }
        self.position
    }

    fn commit(&mut self, ticket: u64, how: How) {
        match how {
            How::Both => self.status.committed += 1,
            How::Alone => self.status.alone += 1,
            How::Late => self.status.late += 1,
        }
        self.outputs.push_back(Output::Committed { ticket, how });
    }

    /// What the other node has now.
    pub(super) fn commit_level(&mut self, now: Instant, level: Level) {
        let small = split_up_to(&mut self.small, level.small);
        for waiting in small.values() {
            self.status.committed += 1;
            note_delay(&mut self.delays, now.saturating_duration_since(waiting.since));
        }
        if let Some((_, last)) = small.last_key_value() {
            self.outputs.push_back(Output::Committed { ticket: last.ticket, how: How::Both });
        }
        for (_, waiting) in split_up_to(&mut self.large, level.all) {
            self.commit(waiting.ticket, How::Both);
        }
    }

    /// Nobody answers: what waits has waited long enough.
    pub(super) fn release(&mut self, how: How) {
        let mut all = std::mem::take(&mut self.small);
        all.append(&mut std::mem::take(&mut self.large));
        for (_, waiting) in all {
            self.commit(waiting.ticket, how);
        }
    }

    /// When something has waited for long enough.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let small = self.small.first_key_value().map(|(_, waiting)| waiting.since + LATE);
        let quiet = self.sender.as_ref().and_then(Sender::quiet_since).map(|at| at + LATE);
        let quiet = quiet.filter(|_| !self.silent && self.linked && matches!(self.duty, Duty::Owner(_)));
        [small, quiet].into_iter().flatten().min()
    }
}

/// Takes out what has waited for changes up to this one.
fn split_up_to(waiting: &mut BTreeMap<u64, Waiting>, change: u64) -> BTreeMap<u64, Waiting> {
    let later = waiting.split_off(&change.saturating_add(1));
    std::mem::replace(waiting, later)
}
