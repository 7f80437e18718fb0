//! The deadlines of one elector.

use std::time::Instant;

/// What can fall due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// `Active_Down_Timer` of RFC 9568 §6.2; `Master_Down_Timer` of RFC 3768.
    ActiveDown,
    /// `Adver_Timer` of RFC 9568 §6.2.
    Adver,
    /// The next announcement of the addresses.
    Announce,
    /// The end of [`super::Preempt::After`].
    PreemptDelay,
}

impl Timer {
    const ALL: [Self; 4] = [Self::ActiveDown, Self::Adver, Self::Announce, Self::PreemptDelay];
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
