//! The paths to the peer: what was heard over each, and how it is.

use std::time::{Duration, Instant};

use super::types::PathState;
use crate::heartbeat::{Echo, Paths};

/// So many intervals without a heartbeat make a path silent. Twice the detection time, so that a path shown as silent
/// has been so; nothing is decided by it.
pub(super) const SILENT_INTERVALS: u32 = 5;
/// A larger gap is not counted as lost heartbeats but as a path that was away.
const LARGEST_GAP: u64 = 1000;

/// One path as seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathStatus {
    /// How it is.
    pub state: PathState,
    /// Since when.
    pub since: Instant,
    /// The round trip of the last heartbeat.
    pub rtt: Option<Duration>,
    /// Heartbeats heard.
    pub heard: u64,
    /// Heartbeats that were sent and never came.
    pub lost: u64,
    /// Datagrams refused: forged, replayed, of another version.
    pub refused: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) carrier: bool,
    pub(super) status: PathStatus,
    /// The newest round that came over this path, and when.
    last: Option<(u64, Instant)>,
    /// Since when it has been heard without a pause.
    heard_since: Option<Instant>,
    /// When the peer last said that it hears us here.
    acknowledged: Option<Instant>,
}

impl Path {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            carrier: true,
            status: PathStatus {
                state: PathState::Silent,
                since: now,
                rtt: None,
                heard: 0,
                lost: 0,
                refused: 0,
            },
            last: None,
            heard_since: None,
            acknowledged: None,
        }
    }

    /// A round has come. Gives false for one that is not newer than the last one here.
    pub(super) fn hear(&mut self, now: Instant, beat: u64) -> bool {
        if let Some((last, _)) = self.last {
            if beat <= last {
                return false;
            }
            let gap = beat - last - 1;
            if gap <= LARGEST_GAP {
                self.status.lost = self.status.lost.saturating_add(gap);
            }
        }
        self.last = Some((beat, now));
        self.status.heard += 1;
        self.heard_since.get_or_insert(now);
        true
    }

    /// The peer says where it hears us.
    pub(super) fn acknowledge(&mut self, now: Instant) {
        self.acknowledged = Some(now);
    }

    /// The peer was started anew: its rounds begin again.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }

    /// What the next heartbeat over this path echoes.
    pub(super) fn echo(&self, now: Instant) -> Option<Echo> {
        let (beat, at) = self.last?;
        let held = now.saturating_duration_since(at).as_micros();
        Some(Echo { beat, held_us: u32::try_from(held).ok()? })
    }

    pub(super) fn is_heard(&self, now: Instant, interval: Duration) -> bool {
        self.carrier && recent(self.last.map(|(_, at)| at), now, interval)
    }

    /// Looks how the path is now; gives the new state if it has changed.
    pub(super) fn sweep(&mut self, now: Instant, interval: Duration) -> Option<PathState> {
        let heard = self.is_heard(now, interval);
        if !heard {
            self.heard_since = None;
        }
        let state = if !self.carrier {
            PathState::NoCarrier
        } else if !heard {
            PathState::Silent
        } else if recent(self.acknowledged, now, interval) {
            PathState::Up
        } else if recent(self.heard_since, now, interval) {
            // Heard since a moment: the peer's answer is still under way.
            self.status.state
        } else {
            PathState::OneWay
        };
        if state == self.status.state {
            return None;
        }
        self.status.state = state;
        self.status.since = now;
        Some(state)
    }
}

fn recent(at: Option<Instant>, now: Instant, interval: Duration) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) <= interval * SILENT_INTERVALS)
}

/// When the last rounds were sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent([Option<(u64, Instant)>; Self::KEPT]);

impl Sent {
    /// More than a second at the usual interval, and an eighth of it if every question is answered: a longer round
    /// trip is none.
    const KEPT: usize = 128;

    pub(super) const fn new() -> Self {
        Self([None; Self::KEPT])
    }

    pub(super) fn note(&mut self, beat: u64, now: Instant) {
        self.0[beat as usize % Self::KEPT] = Some((beat, now));
    }

    /// When a round was sent, if that was not long ago.
    pub(super) fn at(&self, beat: u64) -> Option<Instant> {
        let (found, at) = self.0[beat as usize % Self::KEPT]?;
        (found == beat).then_some(at)
    }

    pub(super) fn round_trip(&self, now: Instant, echo: Echo) -> Option<Duration> {
        let held = Duration::from_micros(echo.held_us.into());
        Some(now.saturating_duration_since(self.at(echo.beat)?).saturating_sub(held))
    }
}

/// The set of paths over which the peer is heard.
pub(super) fn heard(paths: &[Path], now: Instant, interval: Duration) -> Paths {
    paths
        .iter()
        .enumerate()
        .filter(|(_, path)| path.is_heard(now, interval))
        .fold(Paths::EMPTY, |set, (index, _)| set.with(index))
}
