//! Beginning, end, and the moves between the two roles.

use std::time::{Duration, Instant};

use super::machine::State;
use super::timer::Timer;
use super::types::{Failure, Output, Record, Role, Why};
use super::{LISTEN, Node, Peer, RESUME_INTERVALS};

impl Node {
    pub(super) fn start(&mut self, now: Instant, active: bool) {
        self.push(Output::HoldElectors { held: true });
        self.peer = None;
        self.started = now;
        self.deadlines.set(Timer::Beat, now);
        if !active {
            self.state = State::Listening;
            (self.since, self.why) = (now, Why::Start);
            self.push(Output::BecomeStandby { why: Why::Start });
            self.listen_until = now + LISTEN;
            self.deadlines.set(Timer::Listen, self.listen_until);
            self.reserve(0);
        } else if self.durable == 0 {
            // Active until now without a peer, thus without an epoch.
            self.claim(now, Why::Resumed, 0);
        } else {
            self.state = State::Active;
            (self.since, self.why) = (now, Why::Resumed);
            self.epoch = self.durable;
            self.push(Output::BecomeActive { why: Why::Resumed, epoch: self.epoch });
        }
        if active {
            self.deadlines.set(Timer::Resume, now + self.config.interval * RESUME_INTERVALS);
        }
        self.send = true;
    }

    /// New keys: what was known of the peer is of another box.
    pub(super) fn meet_another(&mut self, now: Instant) {
        match self.state {
            State::Offering { .. } | State::Granting { .. } => self.fail(now, Failure::PeerLost),
            State::Free | State::Listening | State::Standby | State::Active | State::Gone => {}
        }
        self.peer = None;
        for path in &mut self.paths {
            path.restart();
        }
        self.deadlines.stop(Timer::Dead);
        self.deadlines.stop(Timer::Probe);
        (self.offered, self.want, self.deferring, self.rival) = (None, None, None, false);
        match self.state {
            State::Listening | State::Standby => {
                self.listen_until = now + LISTEN;
                self.deadlines.set(Timer::Listen, self.listen_until);
            }
            State::Free | State::Active | State::Offering { .. } | State::Granting { .. } | State::Gone => {}
        }
    }

    pub(super) fn become_free(&mut self) {
        self.state = State::Free;
        self.peer = None;
        self.deadlines.stop_all();
        (self.offered, self.want, self.deferring, self.rival) = (None, None, None, false);
        self.quieten();
        (self.send, self.sending) = (false, None);
        if std::mem::take(&mut self.maintenance) {
            self.persist();
        }
        self.push(Output::HoldElectors { held: false });
    }

    pub(super) fn leave(&mut self, now: Instant) {
        // Free electors have roles of their own, and resign when they are stopped.
        let tell = self.state != State::Free;
        if self.state.role() == Role::Active {
            self.push(Output::BecomeStandby { why: Why::Shutdown });
        }
        self.state = State::Gone;
        (self.since, self.why) = (now, Why::Shutdown);
        self.deadlines.stop_all();
        self.quieten();
        self.send = tell;
        self.finished = true;
    }

    pub(super) fn quieten(&mut self) {
        (self.draining, self.waking, self.unheeded, self.probing) = (false, false, false, false);
    }

    pub(super) fn claim(&mut self, now: Instant, why: Why, granted: u64) {
        let epoch = self.highest.saturating_add(1).max(granted).max(self.reserved);
        let silent = self.peer.as_ref().is_some_and(|peer| !peer.alive && peer.said.role == Role::Active);
        self.outdone = None;
        self.partial = why == Why::PeerSilent && silent && !self.synced;
        self.state = State::Active;
        (self.since, self.why) = (now, why);
        (self.epoch, self.highest) = (epoch, epoch);
        self.settle_in(now, why);
        self.push(Output::BecomeActive { why, epoch });
        // Usually it has long been there. If not, the role cannot wait for a disk.
        if self.reserved < epoch {
            self.reserved = epoch;
            self.persist();
        }
    }

    pub(super) fn become_standby(&mut self, now: Instant, why: Why) {
        self.state = State::Standby;
        (self.since, self.why) = (now, why);
        self.settle_in(now, why);
        self.push(Output::BecomeStandby { why });
        self.reserve(0);
    }

    /// What both moves have in common.
    pub(super) fn settle_in(&mut self, now: Instant, why: Why) {
        // Whoever has a role, or has heard who has it, has listened long enough.
        self.listen_until = now;
        for timer in [Timer::Limit, Timer::FailBack, Timer::Again, Timer::Listen, Timer::Resume] {
            self.deadlines.stop(timer);
        }
        if self.state == State::Active {
            self.deadlines.stop(Timer::Undecided);
        }
        (self.offered, self.want, self.deferring, self.rival) = (None, None, None, false);
        (self.retry, self.failures) = (None, 0);
        match why {
            Why::Unwell | Why::PeerUnwell | Why::FailBack => self.damping.note(now),
            Why::Start
            | Why::Resumed
            | Why::Elected
            | Why::PeerSilent
            | Why::PeerYielded
            | Why::Command
            | Why::Outranked
            | Why::Maintenance
            | Why::Shutdown
            | Why::Isolated => {}
        }
        self.send = true;
    }

    /// Has the epoch of the next claim, and `least`, written down before it is needed.
    pub(super) fn reserve(&mut self, least: u64) {
        match self.state {
            State::Listening | State::Standby => {
                let next = self.highest.saturating_add(1).max(least);
                if self.reserved < next {
                    self.reserved = next;
                    self.persist();
                }
            }
            State::Free | State::Active | State::Offering { .. } | State::Granting { .. } | State::Gone => {}
        }
    }

    pub(super) fn persist(&mut self) {
        self.push(Output::Persist(Record { epoch: self.reserved, maintenance: self.maintenance }));
    }

    pub(super) fn peer_interval(&self) -> Duration {
        self.peer.as_ref().map_or(self.config.interval, |peer| Peer::interval(&peer.said))
    }
}
