//! What makes a node unfit, and by how much.

use super::types::{Daemon, MAX_MONITORS};

/// An interface without carrier: whoever is behind it is cut off.
const LINK: u16 = 10;
/// A daemon is dead: one service is.
const DAEMON: u16 = 8;
/// A gateway does not answer: it may be the gateway's own fault.
const GATEWAY: u16 = 6;
/// When both nodes are ill, the role moves only if the other is better by this much: a role that follows every
/// difference between two ill nodes helps nobody.
const CLEARLY: u16 = 8;

/// How a node is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Health {
    /// The sum of all ailments; 0: well.
    pub illness: u16,
    /// Monitored interfaces without carrier, by their place in the plan.
    pub links_down: u32,
    /// Monitored interfaces whose gateway does not answer.
    pub gateways_silent: u32,
    /// Daemons that do not run, by their place in [`Daemon::ALL`].
    pub daemons_down: u16,
}

impl Health {
    /// Whether there is no ailment.
    pub fn is_well(&self) -> bool {
        self.illness == 0
    }

    /// Whether a role is better moved from `other` to this node: `other` is ill and this one is well, or both are ill
    /// and this one is clearly less so. Never true both ways.
    pub fn is_better_than(&self, other: &Self) -> bool {
        !other.is_well() && (self.is_well() || other.illness >= self.illness.saturating_add(CLEARLY))
    }

    pub(super) fn set_link(&mut self, monitor: usize, up: bool) -> bool {
        let before = *self;
        if monitor < MAX_MONITORS {
            set(&mut self.links_down, monitor, !up);
        }
        self.weigh();
        *self != before
    }

    pub(super) fn set_gateway(&mut self, monitor: usize, answers: bool) -> bool {
        let before = *self;
        if monitor < MAX_MONITORS {
            set(&mut self.gateways_silent, monitor, !answers);
        }
        self.weigh();
        *self != before
    }

    pub(super) fn set_daemon(&mut self, daemon: Daemon, runs: bool) -> bool {
        let before = *self;
        let bit = 1 << daemon as u16;
        if runs {
            self.daemons_down &= !bit
        } else {
            self.daemons_down |= bit
        }
        self.weigh();
        *self != before
    }

    /// Forgets what is beyond the first `monitors` interfaces.
    pub(super) fn keep_monitors(&mut self, monitors: usize) {
        let mask = u32::try_from((1_u64 << monitors.min(MAX_MONITORS)) - 1).unwrap_or(u32::MAX);
        self.links_down &= mask;
        self.gateways_silent &= mask;
        self.weigh();
    }

    fn weigh(&mut self) {
        // At most 32 × 10 + 32 × 6 + 16 × 8. A gateway behind a dead link is not counted twice.
        let count = |bits: u32| u16::try_from(bits.count_ones()).unwrap_or(u16::MAX);
        self.illness = count(self.links_down) * LINK
            + count(self.gateways_silent & !self.links_down) * GATEWAY
            + count(self.daemons_down.into()) * DAEMON;
    }
}

fn set(bits: &mut u32, at: usize, value: bool) {
    if value { *bits |= 1 << at } else { *bits &= !(1 << at) }
}
