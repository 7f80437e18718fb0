//! What a node does that is not active: it follows, asks, elects, or takes over.

use std::time::Instant;

use super::machine::State;
use super::timer::Timer;
use super::types::{FailBack, Failure, Notice, Output, Purpose, Role, Why};
use super::{ELECTION_LIMIT, Node, UNDECIDED_LIMIT};
use crate::NodeIndex;
use crate::heartbeat::{Heartbeat, Intention};

impl Node {
    pub(super) fn hear_as_standby(&mut self, now: Instant) {
        if self.peer_active() {
            if self.state == State::Listening {
                self.become_standby(now, Why::Start);
            }
            self.follow(now);
        } else {
            self.elect(now);
        }
        self.reserve(0);
    }

    /// The active node has spoken.
    pub(super) fn follow(&mut self, now: Instant) {
        let Some(said) = self.living_peer().copied() else { return };
        self.deadlines.stop(Timer::Undecided);
        if self.deferring.take().is_some() {
            self.deadlines.stop(Timer::Limit);
        }
        let offered = match said.intention {
            Intention::Grant { epoch, purpose } if self.takes(purpose, &said) => {
                return self.claim(now, purpose.why_taking(), epoch);
            }
            Intention::Offer { epoch, purpose: _ } if self.is_eligible() => Some(epoch),
            Intention::Grant { .. }
            | Intention::Offer { .. }
            | Intention::None
            | Intention::Ready { .. }
            | Intention::WantFailBack
            | Intention::WantCommand => None,
        };
        if offered != self.offered {
            self.offered = offered;
            self.reserve(offered.unwrap_or(0));
            self.send = true;
        }
        self.wish(now);
    }

    /// Whether a granted role is taken. The active node judged by our last heartbeat; we know better.
    pub(super) fn takes(&self, purpose: Purpose, said: &Heartbeat) -> bool {
        self.is_eligible()
            && match purpose {
                Purpose::Unwell => self.health.is_better_than(&said.health),
                Purpose::Command | Purpose::Maintenance | Purpose::FailBack => {
                    !said.health.is_better_than(&self.health)
                }
                Purpose::Shutdown | Purpose::Election => true,
            }
    }

    /// Asks for the role, or ceases to.
    pub(super) fn wish(&mut self, now: Instant) {
        let Some(said) = self.living_peer().copied() else { return };
        let may_ask = self.is_eligible()
            && said.role == Role::Active
            && !said.going
            && self.health.illness <= said.health.illness;
        if self.want == Some(Purpose::Command) && !may_ask {
            self.not_followed();
        }
        let delay = match self.config.failback {
            FailBack::Preferred { delay } if self.config.index == NodeIndex::First => Some(delay),
            FailBack::Preferred { .. } | FailBack::Stay => None,
        };
        match delay {
            Some(delay) if may_ask && self.synced && self.damping.until(now).is_none() => {
                if self.want.is_none() && self.deadlines.get(Timer::FailBack).is_none() {
                    self.deadlines.set(Timer::FailBack, now + delay);
                }
            }
            Some(_) | None => {
                self.deadlines.stop(Timer::FailBack);
                if self.want == Some(Purpose::FailBack) {
                    self.want = None;
                    self.send = true;
                }
            }
        }
    }

    /// Nobody took what was granted in an election, or nobody gave what was asked for.
    pub(super) fn not_followed(&mut self) {
        self.deadlines.stop(Timer::Limit);
        self.deferring = None;
        if self.want == Some(Purpose::Command) {
            self.want = None;
            self.send = true;
            let (purpose, failure) = (Purpose::Command, Failure::NotTaken);
            self.push(Output::Notice(Notice::HandOverFailed { purpose, failure }));
        }
    }

    /// The two hear each other and nobody is active: the first node decides for both, so that they cannot decide
    /// differently.
    pub(super) fn elect(&mut self, now: Instant) {
        let Some(said) = self.living_peer().copied() else { return };
        self.offered = None;
        self.deadlines.stop(Timer::FailBack);
        if self.want.is_some() {
            self.not_followed();
            self.want = None;
        }
        if self.deadlines.get(Timer::Undecided).is_none() {
            self.deadlines.set(Timer::Undecided, now + UNDECIDED_LIMIT);
        }
        match (self.config.index, said.intention) {
            (NodeIndex::Second, Intention::Grant { epoch, purpose }) => {
                if self.takes(purpose, &said) {
                    self.claim(now, purpose.why_taking(), epoch);
                }
            }
            (
                NodeIndex::Second,
                Intention::None
                | Intention::Offer { .. }
                | Intention::Ready { .. }
                | Intention::WantFailBack
                | Intention::WantCommand,
            ) => {}
            // Whoever does not hear us will claim by himself.
            (NodeIndex::First, _) if said.hears.is_empty() || self.deferring.is_some() => {}
            (NodeIndex::First, _) => match (self.is_eligible(), !said.maintenance) {
                (true, false) => self.claim(now, Why::Elected, 0),
                (true, true) if !self.prefers(&said) => self.claim(now, Why::Elected, 0),
                (false | true, true) => {
                    self.deferring = Some(self.highest.saturating_add(1));
                    self.deadlines.set(Timer::Limit, now + ELECTION_LIMIT);
                    self.send = true;
                }
                (false, false) => {}
            },
        }
    }

    /// Whether the other node should be active rather than this one. Whoever was active last has the connections.
    pub(super) fn prefers(&self, said: &Heartbeat) -> bool {
        said.health.is_better_than(&self.health)
            || !self.health.is_better_than(&said.health) && said.epoch > self.epoch
    }

    pub(super) fn decide_alone(&mut self, now: Instant) {
        if self.peer_alive() && !self.peer_active() && self.is_eligible() {
            self.claim(now, Why::Elected, 0);
        }
    }

    pub(super) fn silence_while_listening(&mut self, now: Instant) {
        (self.offered, self.deferring) = (None, None);
        if now >= self.listen_until {
            if self.is_eligible() {
                self.claim(now, Why::PeerSilent, 0);
            } else {
                self.become_standby(now, Why::Start);
            }
        }
    }

    pub(super) fn silence_as_standby(&mut self, now: Instant) {
        (self.offered, self.want, self.deferring) = (None, None, None);
        self.deadlines.stop(Timer::FailBack);
        self.deadlines.stop(Timer::Undecided);
        self.deadlines.stop(Timer::Limit);
        if self.is_eligible() && now >= self.listen_until && !self.peer_alive() {
            let said_goodbye = self.peer.as_ref().is_some_and(|peer| peer.said.going);
            let why = if said_goodbye { Why::PeerYielded } else { Why::PeerSilent };
            self.claim(now, why, 0);
        }
    }

    /// Claims if there is nobody, after everything that has arrived was read.
    pub(super) fn watch(&mut self, now: Instant) {
        if self.is_eligible() && !self.peer_alive() && now >= self.listen_until {
            self.ask_drain();
        }
    }

    pub(super) fn set_maintenance(&mut self, now: Instant, on: bool) {
        self.maintenance = on;
        self.persist();
        self.offered = None;
        self.send = true;
        match self.state {
            State::Listening | State::Standby => {
                self.wish(now);
                self.watch(now);
            }
            State::Free | State::Active | State::Offering { .. } | State::Granting { .. } | State::Gone => {}
        }
    }
}
