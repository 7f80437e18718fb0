//! Who owns the map: the elector's word, what a reign begins with, and whose map is the better one.

use std::time::Instant;

use super::super::receiver::Purpose;
use super::super::{ASK, Fence, Held, RESTORE, STALL};
use super::{Output, Shared};

/// What a node says that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Takes the owner's map.
    Follower,
    /// About to own: has the map sent back, or its epoch is being written.
    Taking,
    /// Its map is the truth.
    Owner,
}

impl Role {
    pub(in super::super) const fn code(self) -> u8 {
        match self {
            Self::Follower => 0,
            Self::Taking => 1,
            Self::Owner => 2,
        }
    }

    pub(in super::super) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Follower),
            1 => Some(Self::Taking),
            2 => Some(Self::Owner),
            3.. => None,
        }
    }
}

pub(super) enum Duty {
    Follower,
    Taking(Taking),
    Owner(Fence),
}

pub(super) struct Taking {
    pub role: u64,
    /// The other node is waited for until then, at most.
    pub until: Instant,
    /// What there is, is taken as it is from here on.
    pub claimed: bool,
}

impl Shared {
    /// This node is active, under this epoch of the role, or is not.
    pub fn handle_role(&mut self, now: Instant, active: Option<u64>) {
        match (&mut self.duty, active) {
            (Duty::Follower, None) => {}
            (Duty::Follower, Some(role)) => {
                let until = now + ASK;
                self.duty = Duty::Taking(Taking { role, until, claimed: false });
                self.drop_streams();
                (self.hello_due, self.hello_at) = (true, now + self.pace());
                self.consider(now);
            }
            (Duty::Taking(taking), Some(role)) => taking.role = role,
            (Duty::Owner(fence), Some(role)) if role > fence.role => {
                let above = Fence { role, ..*fence };
                self.rise(above);
                self.follow_up();
            }
            (Duty::Owner(_), Some(_)) => {}
            (Duty::Taking(_) | Duty::Owner(_), None) => self.step_down(),
        }
    }

    pub(super) fn step_down(&mut self) {
        self.held = self.held();
        self.duty = Duty::Follower;
        // Nobody is told: what waited here has not left, and will not.
        self.small.clear();
        self.large.clear();
        if let Some(moving) = &mut self.moving {
            moving.forget();
        }
        self.drop_streams();
        self.silent = false;
        self.invite(Purpose::Copy);
        self.hello_due = true;
    }

    /// The take-over epoch `epoch` is on disk: this node owns the map.
    pub fn own(&mut self, epoch: u64) {
        let Duty::Taking(Taking { role, .. }) = self.duty else { return };
        self.highest = self.highest.max(epoch);
        self.drop_streams();
        self.rise(Fence { role, term: 0, owner: self.incarnation });
        self.follow_up();
    }

    /// A fence above everything that was heard of, and at least `least`.
    pub(super) fn rise(&mut self, least: Fence) {
        let heard = self.peer.as_ref().and_then(|peer| peer.hello.held).map(|held| held.fence);
        let known = [self.held.map(|held| held.fence), heard];
        let role = known.iter().flatten().map(|fence| fence.role).fold(least.role, u64::max);
        let term = known.iter().flatten().map(|fence| fence.term).fold(least.term, u64::max);
        let fence = Fence { role, term: term.saturating_add(1), owner: self.incarnation };
        self.position = self.position.max(self.held.map_or(0, |held| held.position));
        self.held = Some(Held { fence, position: self.position, complete: true });
        self.duty = Duty::Owner(fence);
        self.graves.clear();
        self.sure = true;
        self.version += 1;
        self.drop_streams();
        self.hello_due = true;
    }

    /// Whether what there is will do, or the other node has something better.
    pub(super) fn consider(&mut self, now: Instant) {
        let Duty::Taking(taking) = &mut self.duty else { return };
        if taking.claimed {
            return;
        }
        let ready = match (&self.receiver, &self.peer) {
            (Some(receiver), _) if receiver.ended() => true,
            (_, None) => self.told && !self.linked || self.sure || now >= taking.until,
            (Some(_), Some(_)) => now >= taking.until || now.saturating_duration_since(self.got) >= STALL,
            // It has not let go yet, and has what is missing here.
            (None, Some(peer)) if peer.hello.role == Role::Owner && !self.sure => now >= taking.until,
            (None, Some(peer)) => {
                let theirs = peer.hello.held.filter(|_| peer.hello.role == Role::Follower);
                #[cfg(test)]
                let theirs = theirs.filter(|_| self.bug != super::super::tests::Bug::NeverAsks);
                if theirs.is_some_and(|theirs| theirs.beats(self.held.as_ref(), self.sure)) {
                    taking.until = now + RESTORE;
                    self.got = now;
                    self.invite(Purpose::Restore);
                    return;
                }
                true
            }
        };
        if ready {
            taking.claimed = true;
            self.receiver = None;
            self.outputs.push_back(Output::Claim);
        }
    }
}
