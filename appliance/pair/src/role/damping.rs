//! Damping: automatic moves in short order are followed by a pause, and a longer one the next time. In a pause the role does
//! not go back to whom it is preferred at, and an ill node keeps it until it has been the worse one for a while: what comes
//! and goes moves nothing, and what stays broken costs [`STEADY`] and not the whole pause.

use std::time::{Duration, Instant};

/// So many moves ...
const MOVES: usize = 5;
/// ... within this time are flapping. Somebody who tries out cables by hand is slower.
const WINDOW: Duration = Duration::from_secs(10);
/// In a pause: how long the peer must have been the better one, without a break, to be given the role all the same.
pub(super) const STEADY: Duration = Duration::from_secs(1);
/// The first pause. Each further one is twice as long.
const FIRST_HOLD: Duration = Duration::from_secs(5);
/// The longest pause is the first one doubled so often: 320 s.
const MAX_LEVEL: u32 = 6;
/// After so long without a move the next pause is a short one again.
const FORGET: Duration = Duration::from_secs(600);

/// Counts moves of the role for reasons of health or preference. A dead peer is none of them: nothing delays taking
/// over from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Damping {
    moves: [Option<Instant>; MOVES],
    level: u32,
    until: Option<Instant>,
}

/// Whether a move may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Free,
    /// Held back since now.
    Begins {
        until: Instant,
    },
    /// Held back since some time.
    Held,
}

impl Damping {
    /// The role has moved.
    pub(super) fn note(&mut self, now: Instant) {
        if self.moves[MOVES - 1].is_some_and(|last| now.saturating_duration_since(last) > FORGET) {
            self.level = 0;
        }
        self.moves.rotate_left(1);
        self.moves[MOVES - 1] = Some(now);
    }

    /// The role is about to move.
    pub(super) fn ask(&mut self, now: Instant) -> Verdict {
        if self.until(now).is_some() {
            return Verdict::Held;
        }
        match self.moves[0] {
            Some(oldest) if now.saturating_duration_since(oldest) < WINDOW => {
                let until = now + FIRST_HOLD * 2_u32.pow(self.level);
                self.level = (self.level + 1).min(MAX_LEVEL);
                self.moves = [None; MOVES];
                // What was forgotten must not shorten the next pause.
                self.moves[MOVES - 1] = Some(now);
                self.until = Some(until);
                Verdict::Begins { until }
            }
            Some(_) | None => Verdict::Free,
        }
    }

    /// Until when moves are held back, if they are.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}
