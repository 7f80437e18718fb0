//! Soft resets: a new key for a living session, begun by either side. Nothing of the key before is needed for it, which is
//! what makes a take-over possible (study §1.1).

use super::*;

impl Session {
    /// Begins a soft reset, unless one is under way. After a take-over the driver calls this, paced, for each session whose
    /// client was heard. A rekey that the node before had begun is waited for (study §1.6: never disturb it).
    pub fn rekey(&mut self, now: Now) {
        if self.phase != Phase::Up || self.negotiating().is_some() {
            return;
        }
        if let Some((key_id, until)) = self.in_flight {
            if until > now.instant {
                self.rekey_at = Some(until);
                return;
            }
            // The client has used that id up, and given up.
            self.in_flight = None;
            self.next_key = key_id.next();
        }
        let key_id = self.next_key;
        if self.begin(now, key_id) {
            return;
        }
        self.rekey_at = Some(now.instant + RETRY);
    }

    /// The client begins one. Its id counts: it may have used up one that we know nothing of (study §1.6).
    pub(super) fn client_resets(&mut self, now: Now, key_id: KeyId) -> Result<(), Dropped> {
        let live = self.held.iter().any(|held| held.keys.key_id == key_id);
        if self.phase != Phase::Up || live || key_id == KeyId::FIRST {
            return Err(Dropped::NoKey);
        }
        // One that is under way under another id came to nothing: the client is further.
        if let Some(other) = self.negotiating() {
            self.states.retain(|state| state.id != other);
        }
        self.in_flight = None;
        if self.begin(now, key_id) { Ok(()) } else { Err(Dropped::NoKey) }
    }

    fn begin(&mut self, now: Now, key_id: KeyId) -> bool {
        let deadline = now.instant + self.settings.timing.hand_window;
        let Ok(mut state) = KeyState::new(key_id, 0, &self.settings.tls, deadline) else { return false };
        let reset = Message { opcode: Opcode::SoftReset, payload: Vec::new() };
        // The window of a new key is empty.
        let sent = state.reliable.send(reset).is_ok();
        self.states.retain(|state| state.id != key_id);
        self.states.push(state);
        self.rekey_at = None;
        sent
    }

    /// The client has sent something for a key. Only now is the id used up: a soft reset that it never got is sent again
    /// under the same id later.
    pub(super) fn note_answered(&mut self, now: Now, key_id: KeyId) {
        let deadline = now.instant + IN_FLIGHT;
        let Some(state) = self.state_mut(key_id) else { return };
        if std::mem::replace(&mut state.answered, true) || !matches!(state.stage, Stage::Negotiating) {
            return;
        }
        self.next_key = key_id.next();
        if self.phase == Phase::Up {
            self.in_flight = Some((key_id, deadline));
            self.outputs.push_back(Output::Changed);
        }
    }

    /// A renewal came to nothing. The key before goes on.
    pub(super) fn renewal_failed(&mut self, now: Now, key_id: KeyId) {
        // A key that was accepted, but never known to the client, is of no use.
        let accepted = self.state(key_id).is_some_and(|state| matches!(state.stage, Stage::Replicating(..)));
        if accepted {
            self.held.retain(|held| held.keys.key_id != key_id);
        }
        self.states.retain(|state| state.id != key_id);
        self.in_flight = None;
        self.rekey_at = Some(now.instant + RETRY);
        self.outputs.push_back(Output::Changed);
    }

    /// The newest key is in use: the others get old.
    pub(super) fn key_is_new(&mut self, now: Now) {
        let timing = self.settings.timing;
        let count = self.held.len();
        for (place, held) in self.held.iter_mut().enumerate() {
            let newest = place + 1 == count;
            if !newest && held.retire_at.is_none() {
                held.retire_at = Some(now.instant + timing.old_key);
            }
            // The oldest go at once when there are too many.
            if place + 1 + MAX_OLD_KEYS < count {
                held.retire_at = Some(now.instant);
            }
        }
        self.in_flight = None;
        self.rekey_at = Some(now.instant + timing.rekey - self.random.part_of(timing.rekey));
        self.retire(now);
    }

    /// Takes away what is too old, with its TLS session.
    pub(super) fn retire(&mut self, now: Now) {
        let over = |held: &Held| held.retire_at.is_some_and(|at| at <= now.instant);
        let gone: Vec<KeyId> =
            self.held.iter().filter(|held| over(held)).map(|held| held.keys.key_id).collect();
        if gone.is_empty() {
            return;
        }
        self.held.retain(|held| !over(held));
        self.states.retain(|state| !gone.contains(&state.id));
        self.outputs.extend(gone.into_iter().map(Output::Retire));
        self.outputs.push_back(Output::Changed);
    }

    fn negotiating(&self) -> Option<KeyId> {
        self.states.iter().find(|state| state.deadline().is_some()).map(|state| state.id)
    }
}
