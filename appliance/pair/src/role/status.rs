//! The node as people see it.

use std::time::Instant;

use super::path::PathStatus;
use super::types::{Role, Why};
use super::{Health, Node, State};
use crate::heartbeat::Heartbeat;

/// A node at a glance. Moments are on the clock of the driver.
#[derive(Clone, PartialEq, Debug)]
pub struct Status {
    /// `None` when not paired: the electors have roles of their own then.
    pub role: Option<Role>,
    /// Since when.
    pub since: Instant,
    /// Why.
    pub why: Why,
    /// Of the role, or of the last time that the node was active.
    pub epoch: u64,
    /// The highest epoch heard of.
    pub highest: u64,
    /// Out of service by the operator.
    pub maintenance: bool,
    /// What makes it unfit.
    pub health: Health,
    /// No cable has a carrier.
    pub isolated: bool,
    /// Until when automatic moves are held back, if they are.
    pub damped_until: Option<Instant>,
    /// When the preferred node will ask for the role, if it will.
    pub failback_at: Option<Instant>,
    /// The other node, once it was heard.
    pub peer: Option<PeerStatus>,
    /// The paths, in the order of the plan.
    pub paths: Vec<PathStatus>,
}

/// The other node at a glance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PeerStatus {
    /// Heard within the detection time.
    pub alive: bool,
    /// When it was last heard.
    pub heard: Instant,
    /// What it said last.
    pub said: Heartbeat,
}

impl Node {
    /// The role now; `None` when not paired or after [`Self::shutdown`].
    pub fn role(&self) -> Option<Role> {
        match self.state {
            State::Free | State::Gone => None,
            State::Listening
            | State::Standby
            | State::Active
            | State::Offering { .. }
            | State::Granting { .. } => Some(self.state.role()),
        }
    }

    /// The epoch of the role, or of the last time that the node was active.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the operator has taken the node out of service.
    pub fn is_in_maintenance(&self) -> bool {
        self.maintenance
    }

    /// What makes the node unfit.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Everything for people. Allocates; not for the hot path.
    pub fn status(&self, now: Instant) -> Status {
        Status {
            role: self.role(),
            since: self.since,
            why: self.why,
            epoch: self.epoch,
            highest: self.highest,
            maintenance: self.maintenance,
            health: self.health,
            isolated: self.is_isolated(),
            damped_until: self.damping.until(now),
            failback_at: self.deadlines.get(super::Timer::FailBack),
            peer: self.peer.as_ref().map(|peer| PeerStatus {
                alive: peer.alive,
                heard: peer.heard,
                said: peer.said,
            }),
            paths: self.paths.iter().map(|path| path.status).collect(),
        }
    }
}
