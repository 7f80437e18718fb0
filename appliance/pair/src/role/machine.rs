//! The transitions of a node: one table, every pair of state and event written out.

use std::time::Instant;

use super::timer::Timer;
use super::types::{CommandRefused, Failure, Purpose, Role, Why};
use super::{Node, WANT_LIMIT};
use crate::heartbeat::Heartbeat;

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not paired.
    Free,
    /// Just started.
    Listening,
    /// Watches the active node.
    Standby,
    /// Has the role.
    Active,
    /// Has the role, and makes ready to give it away.
    Offering { purpose: Purpose, epoch: u64, token: u64, flushed: bool },
    /// Has the role until the peer says that it has it.
    Granting { purpose: Purpose, epoch: u64 },
    /// Shut down.
    Gone,
}

impl State {
    /// What heartbeats say.
    pub(super) fn role(self) -> Role {
        match self {
            Self::Listening => Role::Starting,
            Self::Free | Self::Standby | Self::Gone => Role::Standby,
            Self::Active | Self::Offering { .. } | Self::Granting { .. } => Role::Active,
        }
    }
}

/// What happens to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// The peer has said something new.
    Heard,
    /// The peer is silent, and all that has arrived was read; or it said that it goes.
    Silent,
    /// Our own health, links or settings have changed, or what was held back may be tried again.
    Changed,
    /// Listened long enough.
    Listened,
    /// The peer should have followed.
    Limit,
    /// Nobody has become active although both are there.
    Undecided,
    /// The preferred node has waited long enough.
    FailBackDue,
    /// The journal is flushed.
    Flushed { token: u64 },
    /// Something is on disk.
    Persisted,
    /// The operator wants the role on the other node.
    Switch,
    /// The operator wants the node out of service, or back.
    Maintain { on: bool },
    /// The program is to end.
    Shutdown,
    /// There are keys, maybe new ones. `active`: the virtual links are up.
    Pair { active: bool },
    /// There are none any more.
    Unpair,
}

impl Node {
    pub(super) fn step(&mut self, now: Instant, event: Event) {
        match (self.state, event) {
            (State::Free, Event::Pair { active }) => self.start(now, active),
            (State::Free, Event::Shutdown) => self.leave(now),
            (
                State::Free,
                Event::Heard
                | Event::Silent
                | Event::Changed
                | Event::Listened
                | Event::Limit
                | Event::Undecided
                | Event::FailBackDue
                | Event::Flushed { .. }
                | Event::Persisted
                | Event::Switch
                | Event::Maintain { .. }
                | Event::Unpair,
            ) => {}

            (State::Listening, Event::Heard) => self.hear_as_standby(now),
            (State::Listening, Event::Silent) => self.silence_while_listening(now),
            (State::Listening, Event::Listened) if self.peer_alive() => self.become_standby(now, Why::Start),
            (State::Listening, Event::Listened | Event::Changed) => self.watch(now),
            (State::Listening, Event::Limit) => self.deferring = None,
            (State::Listening, Event::Undecided) => self.decide_alone(now),
            (State::Listening, Event::Maintain { on }) => self.set_maintenance(now, on),
            (State::Listening, Event::Shutdown) => self.leave(now),
            (State::Listening, Event::Pair { .. }) => self.meet_another(now),
            (State::Listening, Event::Unpair) => self.become_free(),
            // Nothing was offered, asked for or flushed yet.
            (
                State::Listening,
                Event::FailBackDue | Event::Flushed { .. } | Event::Persisted | Event::Switch,
            ) => {}

            (State::Standby, Event::Heard) => self.hear_as_standby(now),
            (State::Standby, Event::Silent) => self.silence_as_standby(now),
            (State::Standby, Event::Changed) => {
                self.wish(now);
                self.watch(now);
            }
            (State::Standby, Event::Listened) => self.watch(now),
            (State::Standby, Event::Limit) => self.not_followed(),
            (State::Standby, Event::Undecided) => self.decide_alone(now),
            (State::Standby, Event::FailBackDue) => {
                self.want = Some(Purpose::FailBack);
                self.send = true;
            }
            // Ready may be said now.
            (State::Standby, Event::Persisted) => self.send |= self.offered.is_some(),
            (State::Standby, Event::Switch) => {
                self.want = Some(Purpose::Command);
                self.deadlines.set(Timer::Limit, now + WANT_LIMIT);
                self.send = true;
            }
            (State::Standby, Event::Maintain { on }) => self.set_maintenance(now, on),
            (State::Standby, Event::Shutdown) => self.leave(now),
            (State::Standby, Event::Pair { .. }) => self.meet_another(now),
            (State::Standby, Event::Unpair) => self.become_free(),
            (State::Standby, Event::Flushed { .. }) => {}

            (State::Active, Event::Heard) => {
                if self.settle_rivalry(now) {
                    self.consider(now);
                }
            }
            (State::Active, Event::Changed) if self.is_isolated() => {
                self.become_standby(now, Why::Isolated);
            }
            (State::Active, Event::Changed) => self.consider(now),
            (State::Active, Event::Switch) => self.offer(now, Purpose::Command),
            (State::Active, Event::Maintain { on: true }) => self.offer(now, Purpose::Maintenance),
            (State::Active, Event::Maintain { on: false }) => self.set_maintenance(now, false),
            (State::Active, Event::Shutdown) if self.fit_peer().is_some() => {
                self.offer(now, Purpose::Shutdown);
            }
            (State::Active, Event::Shutdown) => self.leave(now),
            (State::Active, Event::Pair { .. }) => self.meet_another(now),
            (State::Active, Event::Unpair) => self.become_free(),
            // A silent peer is no reason to do anything, and nobody waits for the rest.
            (
                State::Active,
                Event::Silent
                | Event::Listened
                | Event::Limit
                | Event::Undecided
                | Event::FailBackDue
                | Event::Flushed { .. }
                | Event::Persisted,
            ) => {}

            (State::Offering { .. }, Event::Heard) => {
                if self.settle_rivalry(now) {
                    self.further(now);
                }
            }
            (State::Offering { .. }, Event::Silent) => self.fail(now, Failure::PeerLost),
            (State::Offering { purpose, .. } | State::Granting { purpose, .. }, Event::Changed)
                if self.is_isolated() =>
            {
                match purpose {
                    Purpose::Shutdown => self.leave(now),
                    Purpose::Command
                    | Purpose::Maintenance
                    | Purpose::FailBack
                    | Purpose::Unwell
                    | Purpose::Election => self.become_standby(now, Why::Isolated),
                }
            }
            (State::Offering { .. }, Event::Changed) => self.further(now),
            (State::Offering { purpose: Purpose::Shutdown, epoch, .. }, Event::Limit)
                if self.fit_peer().is_some() =>
            {
                // It stops anyway: better with a few connections missing there than with nobody.
                self.grant(now, Purpose::Shutdown, epoch);
            }
            (State::Offering { flushed, .. }, Event::Limit) => {
                self.fail(now, if flushed { Failure::NotReady } else { Failure::Flush });
            }
            (State::Offering { purpose, epoch, token, .. }, Event::Flushed { token: flushed })
                if token == flushed =>
            {
                self.state = State::Offering { purpose, epoch, token, flushed: true };
                self.further(now);
            }
            // Of an offer before.
            (State::Offering { .. }, Event::Flushed { .. }) => {}
            (State::Offering { epoch, token, flushed, .. }, Event::Shutdown) => {
                self.state = State::Offering { purpose: Purpose::Shutdown, epoch, token, flushed };
                self.send = true;
            }
            (
                State::Offering { purpose: Purpose::Maintenance, .. }
                | State::Granting { purpose: Purpose::Maintenance, .. },
                Event::Maintain { on: false },
            ) => self.fail(now, Failure::Cancelled),
            (State::Offering { .. }, Event::Pair { .. }) => self.meet_another(now),
            (State::Offering { .. }, Event::Unpair) => self.become_free(),
            // Refused as long as a hand-over runs, or nobody waits for it.
            (
                State::Offering { .. },
                Event::Listened
                | Event::Undecided
                | Event::FailBackDue
                | Event::Persisted
                | Event::Switch
                | Event::Maintain { .. },
            ) => {}

            (State::Granting { .. }, Event::Heard) => {
                if self.settle_rivalry(now) {
                    self.still_granting(now);
                }
            }
            (State::Granting { .. }, Event::Silent) => self.fail(now, Failure::PeerLost),
            (State::Granting { .. }, Event::Changed) => self.still_granting(now),
            (State::Granting { .. }, Event::Limit) => self.fail(now, Failure::NotTaken),
            (State::Granting { epoch, .. }, Event::Shutdown) => self.grant(now, Purpose::Shutdown, epoch),
            (State::Granting { .. }, Event::Pair { .. }) => self.meet_another(now),
            (State::Granting { .. }, Event::Unpair) => self.become_free(),
            (
                State::Granting { .. },
                Event::Listened
                | Event::Undecided
                | Event::FailBackDue
                | Event::Flushed { .. }
                | Event::Persisted
                | Event::Switch
                | Event::Maintain { .. },
            ) => {}

            // Asked again: say again that it is done.
            (State::Gone, Event::Shutdown) => self.finished = true,
            (
                State::Gone,
                Event::Heard
                | Event::Silent
                | Event::Changed
                | Event::Listened
                | Event::Limit
                | Event::Undecided
                | Event::FailBackDue
                | Event::Flushed { .. }
                | Event::Persisted
                | Event::Switch
                | Event::Maintain { .. }
                | Event::Pair { .. }
                | Event::Unpair,
            ) => {}
        }
    }

    // ---- what is asked of the state

    pub(super) fn may_switch(&self) -> Result<(), CommandRefused> {
        match self.state {
            State::Free => Err(CommandRefused::NotPaired),
            State::Listening => Err(CommandRefused::Starting),
            State::Gone => Err(CommandRefused::Leaving),
            State::Offering { .. } | State::Granting { .. } => Err(CommandRefused::Busy),
            State::Active => self.may_give(),
            State::Standby => match self.living_peer() {
                Some(said) if said.role == Role::Active => {
                    let unfit = said.health.is_better_than(&self.health).then_some(());
                    let unfit = unfit.or((!self.is_eligible()).then_some(()));
                    // An ill node may ask, unless it is the worse one.
                    if unfit.is_some() || self.health.illness > said.health.illness {
                        Err(CommandRefused::Unfit)
                    } else {
                        Ok(())
                    }
                }
                Some(_) | None => Err(CommandRefused::PeerAbsent),
            },
        }
    }

    pub(super) fn may_maintain(&self, on: bool) -> Result<(), CommandRefused> {
        match self.state {
            State::Free => Err(CommandRefused::NotPaired),
            State::Gone => Err(CommandRefused::Leaving),
            State::Listening | State::Standby => Ok(()),
            State::Active if on => self.may_give(),
            State::Active => Ok(()),
            State::Offering { purpose: Purpose::Maintenance, .. }
            | State::Granting { purpose: Purpose::Maintenance, .. } => Ok(()),
            State::Offering { .. } | State::Granting { .. } => Err(CommandRefused::Busy),
        }
    }

    pub(super) fn may_give(&self) -> Result<(), CommandRefused> {
        match (self.living_peer(), self.fit_peer()) {
            (None, _) => Err(CommandRefused::PeerAbsent),
            (Some(_), Some(said)) if said.health.illness <= self.health.illness => Ok(()),
            (Some(_), Some(_) | None) => Err(CommandRefused::PeerUnfit),
        }
    }

    pub(super) fn is_going(&self) -> bool {
        match self.state {
            State::Gone
            | State::Offering { purpose: Purpose::Shutdown, .. }
            | State::Granting { purpose: Purpose::Shutdown, .. } => true,
            State::Free
            | State::Listening
            | State::Standby
            | State::Active
            | State::Offering { .. }
            | State::Granting { .. } => false,
        }
    }

    /// What the peer said last, while it is alive.
    pub(super) fn living_peer(&self) -> Option<&Heartbeat> {
        self.peer.as_ref().filter(|peer| peer.alive).map(|peer| &peer.said)
    }

    /// The peer, if it could take the role.
    pub(super) fn fit_peer(&self) -> Option<&Heartbeat> {
        self.living_peer().filter(|said| said.role == Role::Standby && !said.maintenance && !said.going)
    }

    pub(super) fn peer_alive(&self) -> bool {
        self.living_peer().is_some()
    }

    /// Whether the peer, alive, says that it is active.
    pub(super) fn peer_active(&self) -> bool {
        self.living_peer().is_some_and(|said| said.role == Role::Active)
    }

    /// Whether this node may take the role at all.
    pub(super) fn is_eligible(&self) -> bool {
        !self.maintenance && !self.is_isolated()
    }

    /// Whether no cable has a carrier: nothing could be served, and nobody be heard.
    pub(super) fn is_isolated(&self) -> bool {
        !self.paths.is_empty()
            && self.paths.iter().all(|path| !path.carrier)
            && self.health.links_down.count_ones() as usize == self.config.monitors
    }
}
