//! What is known of the other node.

use std::time::{Duration, Instant};

use super::types::Config;
use crate::heartbeat::Heartbeat;
use crate::keys::SessionId;

/// The other node, by its last word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) session: SessionId,
    /// Not silent for longer than the detection time, and not gone.
    pub(super) alive: bool,
    /// When its newest round came.
    pub(super) heard: Instant,
    /// When it will have been silent for the detection time; later if we were late ourselves.
    pub(super) dead_at: Instant,
    /// The number of the newest round that came, believed or not.
    pub(super) newest: u64,
    /// Once it is dead: our last round before that.
    pub(super) lost: u64,
    /// The newest round that was believed.
    pub(super) said: Heartbeat,
}

impl Peer {
    /// Silence of this many half intervals is death: with one heartbeat lost the next one still comes in time, and
    /// half an interval is left for the network and for the peer's own scheduling.
    const HALF_INTERVALS_TO_DEATH: u32 = 5;
    /// After one and a half intervals something is missing: it is asked.
    const HALF_INTERVALS_TO_PROBE: u32 = 3;
    /// Questions come this many times as densely as heartbeats.
    const PROBES_PER_INTERVAL: u32 = 4;

    /// Time between two of its heartbeats, as it says.
    pub(super) fn interval(said: &Heartbeat) -> Duration {
        Duration::from_millis(said.interval_ms.into())
            .clamp(*Config::INTERVALS.start(), *Config::INTERVALS.end())
    }

    pub(super) fn detection(interval: Duration) -> Duration {
        interval * Self::HALF_INTERVALS_TO_DEATH / 2
    }

    pub(super) fn probe_after(interval: Duration) -> Duration {
        interval * Self::HALF_INTERVALS_TO_PROBE / 2
    }

    pub(super) fn probe_again(interval: Duration) -> Duration {
        interval / Self::PROBES_PER_INTERVAL
    }
}
