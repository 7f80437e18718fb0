//! Reading many at once while there are many.
//!
//! A change that comes alone is sent within microseconds. When thousands come in a second, to wake up for each costs
//! more than the work itself: then what comes within a fraction of a millisecond is left to gather.

use std::time::{Duration, Instant};

/// From so many in a second on it gathers for so long, the longest first: two datagrams full, or one of six.
const GATHER: [(u32, Duration); 2] =
    [(15_000, Duration::from_millis(1)), (6_000, Duration::from_micros(300))];
/// Over which time the rate is measured.
const WINDOW: Duration = Duration::from_millis(4);

/// See the head of the file.
#[derive(Default)]
pub(super) struct Pace {
    since: Option<Instant>,
    count: u32,
    gather: Option<Duration>,
    hold: Option<Instant>,
}

impl Pace {
    /// So many were read now.
    pub(super) fn note(&mut self, now: Instant, count: u32) {
        self.count = self.count.saturating_add(count);
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= WINDOW {
            // A window that took long because nothing came was a quiet one.
            let elapsed = now.saturating_duration_since(since).as_micros().max(1);
            let rate = u128::from(self.count) * 1_000_000 / elapsed;
            let fast = GATHER.iter().find(|(least, _)| rate >= u128::from(*least));
            self.gather = fast.map(|(_, gather)| *gather);
            (self.since, self.count) = (Some(now), 0);
        }
        self.hold = self.gather.map(|gather| now + gather);
    }

    /// Until when nothing is to be read.
    pub(super) fn hold(&self, now: Instant) -> Option<Instant> {
        self.hold.filter(|until| *until > now)
    }
}
