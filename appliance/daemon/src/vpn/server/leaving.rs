//! Sessions that are over: the line in the log about one has its bytes, and those come from the data path, in two halves, some
//! microseconds after it was told.

use std::time::Duration;

use rempart_openvpn::session::Closed;
use rempart_tunnel::Half;

use super::*;

/// How long counters are waited for: a data path that has no room for its events drops them.
const PATIENCE: Duration = Duration::from_secs(1);

/// A session that is over.
pub(super) struct Leaving {
    entry: Entry,
    why: Closed,
    /// Halves that have not come.
    missing: [bool; 2],
    pub until: Instant,
}

impl Machine {
    /// Writes the last line about a session, once its counters are there.
    pub(super) fn take_leave(&mut self, now: Now, entry: Entry, why: &Closed) {
        let missing = entry.last_missing;
        let leaving = Leaving { why: why.clone(), missing, until: now.instant + PATIENCE, entry };
        match missing {
            [false, false] => leaving.say(now),
            _ => {
                let peer = leaving.entry.peer;
                let other = self.leaving.insert(peer, leaving);
                other.iter().for_each(|other| other.say(now));
            }
        }
    }

    /// Last counters: of a session that is closing, or that is over already.
    pub(super) fn count_last(&mut self, now: Now, half: Half) {
        let (peer, side, packets, bytes) = match &half {
            Half::Out(counted) => match counted.first() {
                Some((peer, sent)) => (*peer, 1, sent.packets, sent.bytes),
                None => return,
            },
            Half::In(counted, _) => match counted.first() {
                Some((peer, received, _)) => (*peer, 0, received.packets, received.bytes),
                None => return,
            },
        };
        let note = |entry: &mut Entry| {
            let traffic = if side == 0 { &mut entry.received } else { &mut entry.sent };
            (traffic.packets, traffic.bytes) = (packets, bytes);
        };
        if let Some(leaving) = self.leaving.get_mut(&peer) {
            note(&mut leaving.entry);
            leaving.missing.iter_mut().skip(side).take(1).for_each(|missing| *missing = false);
            if leaving.missing == [false, false]
                && let Some(leaving) = self.leaving.remove(&peer)
            {
                leaving.say(now);
            }
            return;
        }
        let closing =
            self.entries.values_mut().find(|entry| entry.peer == peer && entry.last_missing != [false; 2]);
        if let Some(entry) = closing {
            note(entry);
            entry.last_missing.iter_mut().skip(side).take(1).for_each(|missing| *missing = false);
        }
    }

    pub(super) fn give_up_leaving(&mut self, now: Now) {
        let late = self.leaving.extract_if(.., |_, leaving| leaving.until <= now.instant);
        late.for_each(|(_, leaving)| leaving.say(now));
    }
}

impl Leaving {
    fn say(&self, now: Now) {
        if let Some(grant) = &self.entry.grant {
            record::ended(now, &self.entry, grant, &self.why);
        }
    }
}
