//! The deadlines of a node.

use std::time::Instant;

/// What can fall due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Timer {
    /// The next heartbeat.
    Beat,
    /// The next question whether the peer is still there.
    Probe,
    /// The peer has been silent for the detection time.
    Dead,
    /// The node has listened long enough after its start or after being cut off.
    Listen,
    /// The peer should have followed.
    Limit,
    /// Nobody is active and nobody decides.
    Undecided,
    /// The preferred node has waited long enough.
    FailBack,
    /// An answer that would have come too soon after the last heartbeat.
    Answer,
    /// Moves are allowed again; or a failed hand-over may be tried again.
    Again,
    /// A node that goes on after a restart has listened long enough for another one that has taken the role meanwhile.
    Resume,
}

impl Timer {
    const ALL: [Self; 10] = [
        Self::Beat,
        Self::Probe,
        Self::Dead,
        Self::Listen,
        Self::Limit,
        Self::Undecided,
        Self::FailBack,
        Self::Answer,
        Self::Again,
        Self::Resume,
    ];
}

/// One optional deadline for each timer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadlines([Option<Instant>; Timer::ALL.len()]);

impl Deadlines {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Stops it; gives when it would have been due.
    pub(super) fn take(&mut self, timer: Timer) -> Option<Instant> {
        self.0[timer as usize].take()
    }

    pub(super) fn stop_all(&mut self) {
        *self = Self::default();
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Instant> {
        self.0[timer as usize]
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes out the timer that has been due the longest.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(Timer, Instant)> {
        let due = |timer: &Timer| self.get(*timer).filter(|at| *at <= now).map(|at| (at, *timer));
        let (at, timer) = Timer::ALL.iter().filter_map(due).min()?;
        self.stop(timer);
        Some((timer, at))
    }
}
