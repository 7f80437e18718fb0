//! What an active node does: it settles with a rival, sees whether the role should move, and hands it over.

use std::time::{Duration, Instant};

use super::damping::{STEADY, Verdict};
use super::machine::State;
use super::timer::Timer;
use super::types::{Failure, Notice, Output, Purpose, Role, Why};
use super::{GRANT_LIMIT, Node, OFFER_LIMIT, PARTIAL};
use crate::NodeIndex;
use crate::heartbeat::{Heartbeat, Intention};

/// A hand-over that was not followed is tried again after this time, then after twice as long, and so on.
const RETRY: Duration = Duration::from_secs(5);
/// The longest wait is the first one doubled so often.
const MAX_DOUBLINGS: u32 = 6;

impl Node {
    /// Two active nodes: gives whether this one stays. Also where a hand-over ends.
    pub(super) fn settle_rivalry(&mut self, now: Instant) -> bool {
        let Some(said) = self.living_peer().copied() else { return true };
        if said.role != Role::Active {
            let resumed = self.deadlines.take(Timer::Resume).is_some();
            // The neighbours have heard the other one last, or nobody for a while.
            if std::mem::take(&mut self.rival) || resumed {
                self.push(Output::Announce);
            }
            return true;
        }
        let outranked = match (self.is_whole(now), said.synced) {
            // Being late is no reason to lose every connection to one who had only begun to copy them.
            (true, false) => false,
            (false, true) => true,
            (true, true) | (false, false) => {
                said.epoch > self.epoch || said.epoch == self.epoch && self.config.index == NodeIndex::Second
            }
        };
        if !outranked {
            if said.epoch > self.epoch {
                self.rise(now);
            }
            // Who hands over stays active until he has heard that we are; that is no rivalry.
            let handing_over = matches!(said.intention, Intention::Grant { .. });
            if !handing_over && !std::mem::replace(&mut self.rival, true) {
                self.deadlines.stop(Timer::Resume);
                self.push(Output::Notice(Notice::TwoActives { stays: true }));
                self.push(Output::Announce);
            }
            return true;
        }
        match self.state {
            State::Granting { purpose, epoch } if said.epoch >= epoch => self.hand_over(now, purpose),
            State::Offering { purpose: Purpose::Shutdown, .. }
            | State::Granting { purpose: Purpose::Shutdown, .. } => self.leave(now),
            State::Active | State::Offering { .. } | State::Granting { .. } => {
                self.push(Output::Notice(Notice::TwoActives { stays: false }));
                self.become_standby(now, Why::Outranked);
            }
            State::Free | State::Listening | State::Standby | State::Gone => {}
        }
        false
    }

    /// Whether this active node had all connections when it claimed. What it has got since counts for as much after a while.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        !self.partial || now.saturating_duration_since(self.since) >= PARTIAL
    }

    /// Stays active under an epoch above the rival's: the highest epoch is always that of the node that was active last.
    fn rise(&mut self, now: Instant) {
        let epoch = self.highest.saturating_add(1).max(self.reserved);
        (self.epoch, self.highest) = (epoch, epoch);
        if self.reserved < epoch {
            self.reserved = epoch;
            self.persist();
        }
        self.answer(now);
    }

    /// The peer has what was granted.
    pub(super) fn hand_over(&mut self, now: Instant, purpose: Purpose) {
        self.push(Output::Notice(Notice::HandOverDone { purpose }));
        match purpose {
            Purpose::Shutdown => self.leave(now),
            Purpose::Maintenance => {
                self.become_standby(now, purpose.why_giving());
                self.set_maintenance(now, true);
            }
            Purpose::Command | Purpose::FailBack | Purpose::Unwell | Purpose::Election => {
                self.become_standby(now, purpose.why_giving());
            }
        }
    }

    /// Whether the role should move.
    pub(super) fn consider(&mut self, now: Instant) {
        let Some(said) = self.fit_peer().copied() else { return };
        if said.health.is_better_than(&self.health) {
            let steady = *self.outdone.get_or_insert(now) + STEADY;
            if self.may_move(now) || now >= steady {
                self.push(Output::Notice(Notice::HandOverBegun { purpose: Purpose::Unwell }));
                self.grant(now, Purpose::Unwell, self.highest.saturating_add(1));
            } else {
                self.deadlines.set(Timer::Again, steady);
            }
            return;
        }
        self.outdone = None;
        if self.maintenance {
            return self.offer(now, Purpose::Maintenance);
        }
        let retry = self.retry.is_none_or(|retry| retry <= now);
        match said.intention {
            Intention::WantCommand if retry => self.offer(now, Purpose::Command),
            Intention::WantFailBack
                if retry
                    && said.synced
                    && said.health.illness <= self.health.illness
                    && self.may_move(now) =>
            {
                self.offer(now, Purpose::FailBack);
            }
            Intention::WantCommand
            | Intention::WantFailBack
            | Intention::None
            | Intention::Offer { .. }
            | Intention::Ready { .. }
            | Intention::Grant { .. } => {}
        }
    }

    pub(super) fn may_move(&mut self, now: Instant) -> bool {
        match self.damping.ask(now) {
            Verdict::Free => true,
            Verdict::Begins { until } => {
                self.push(Output::Notice(Notice::Damped { until }));
                self.deadlines.set(Timer::Again, until);
                false
            }
            Verdict::Held => false,
        }
    }

    pub(super) fn offer(&mut self, now: Instant, purpose: Purpose) {
        self.tokens += 1;
        let token = self.tokens;
        let epoch = self.highest.saturating_add(1);
        self.state = State::Offering { purpose, epoch, token, flushed: false };
        self.push(Output::Notice(Notice::HandOverBegun { purpose }));
        self.push(Output::FlushJournal { token });
        self.deadlines.set(Timer::Limit, now + OFFER_LIMIT);
        self.send = true;
    }

    /// An offer goes on as far as it can.
    pub(super) fn further(&mut self, now: Instant) {
        let State::Offering { purpose, epoch, token: _, flushed } = self.state else { return };
        let Some(said) = self.fit_peer().filter(|said| self.still_wants(purpose, said)) else {
            return self.fail(now, Failure::PeerUnfit);
        };
        // Each moment costs packets now; the journal has had its chance.
        let urgent = said.health.is_better_than(&self.health);
        if urgent || flushed && said.intention == (Intention::Ready { epoch }) {
            self.grant(now, purpose, epoch);
        }
    }

    pub(super) fn grant(&mut self, now: Instant, purpose: Purpose, epoch: u64) {
        self.state = State::Granting { purpose, epoch };
        match purpose {
            // For as long as the peer is the better one: the grant costs nothing, and there is nothing better to do.
            Purpose::Unwell => self.deadlines.stop(Timer::Limit),
            Purpose::Command
            | Purpose::Maintenance
            | Purpose::Shutdown
            | Purpose::FailBack
            | Purpose::Election => self.deadlines.set(Timer::Limit, now + GRANT_LIMIT),
        }
        self.send = true;
    }

    pub(super) fn still_granting(&mut self, now: Instant) {
        let State::Granting { purpose, .. } = self.state else { return };
        let useful = self.fit_peer().is_some_and(|said| self.still_wants(purpose, said));
        if !useful {
            self.fail(now, Failure::PeerUnfit);
        }
    }

    /// Whether a hand-over still makes sense; either side may have fallen ill since it began.
    pub(super) fn still_wants(&self, purpose: Purpose, said: &Heartbeat) -> bool {
        match purpose {
            Purpose::Unwell => said.health.is_better_than(&self.health),
            Purpose::Command | Purpose::Maintenance | Purpose::FailBack => {
                !self.health.is_better_than(&said.health)
            }
            Purpose::Shutdown | Purpose::Election => true,
        }
    }

    /// A hand-over ends where it began.
    pub(super) fn fail(&mut self, now: Instant, failure: Failure) {
        let (State::Offering { purpose, .. } | State::Granting { purpose, .. }) = self.state else { return };
        self.push(Output::Notice(Notice::HandOverFailed { purpose, failure }));
        self.deadlines.stop(Timer::Limit);
        self.state = State::Active;
        self.send = true;
        match purpose {
            Purpose::Shutdown => self.leave(now),
            // Not for ourselves to repeat.
            Purpose::Maintenance | Purpose::Unwell | Purpose::Election => {}
            Purpose::Command | Purpose::FailBack => {
                let retry = now + RETRY * 2_u32.pow(self.failures.min(MAX_DOUBLINGS));
                self.failures += 1;
                self.retry = Some(retry);
                self.deadlines.set(Timer::Again, retry);
            }
        }
    }
}
