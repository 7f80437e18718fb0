//! A planned move: before the role goes, the other node has everything and is prepared to go on with it.
//!
//! ```text
//!   owner                                                     follower, whose copy is whole
//!   hand_over ──▶ in each Hello: moving n ───────────────────▶ Prepare n
//!   Ready    ◀── everything acknowledged, and prepared n ◀──── prepared n
//! ```
//!
//! Both words stand in every introduction until something else is true, so none is lost with a message. Nobody who could
//! prepare himself is no reason to stay: then the owner is ready at once.

use super::{Duty, Output, Role, Shared};

/// The last move that the owner was told of.
pub(super) struct Moving {
    /// Counts this start's moves, from 1.
    number: u64,
    /// As given to [`Shared::hand_over`], until it is answered.
    token: Option<u64>,
    /// The last change before it.
    position: u64,
}

/// What the follower was asked to prepare for last.
pub(super) struct Asked {
    /// The start of the owner's program.
    from: u64,
    number: u64,
    done: bool,
}

impl Moving {
    /// Nobody waits for an answer any more.
    pub(super) fn forget(&mut self) {
        self.token = None;
    }
}

impl Shared {
    /// The role is about to be given to the other node, in order. [`Output::Ready`] follows: when the other node has all
    /// that was put until now and is prepared, or at once when there is nobody to prepare himself. How long that is waited
    /// for is the caller's to say.
    pub fn hand_over(&mut self, token: u64) {
        if !matches!(self.duty, Duty::Owner(_)) {
            return self.outputs.push_back(Output::Ready { token, prepared: false });
        }
        let number = self.moving.as_ref().map_or(0, |moving| moving.number) + 1;
        self.moving = Some(Moving { number, token: Some(token), position: self.position });
        self.hello_due |= self.linked;
        self.settle_move();
    }

    /// What [`Output::Prepare`] asked for is done.
    pub fn prepared(&mut self, number: u64) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.number == number) {
            asked.done = true;
            self.hello_due |= self.linked;
        }
    }

    /// Whether the move may go on.
    pub(super) fn settle_move(&mut self) {
        let Some(Moving { number, token: Some(token), position }) = self.moving else { return };
        let shared = self.linked && !self.silent && self.is_shared();
        let prepared = match (&self.sender, &self.peer) {
            (Some(sender), Some(peer)) if shared => {
                let has_all = sender.is_copied() && sender.there() >= position;
                #[cfg(test)]
                let has_all = has_all || self.bug == super::super::tests::Bug::ReadyBeforeAll;
                if !has_all || peer.hello.prepared != number {
                    return;
                }
                true
            }
            _ => false,
        };
        if let Some(moving) = &mut self.moving {
            moving.token = None;
        }
        self.outputs.push_back(Output::Ready { token, prepared });
    }

    /// Whether this follower is to prepare itself, with a copy that is whole.
    pub(super) fn heed_move(&mut self) {
        let Some(peer) = self.peer.as_ref().filter(|peer| peer.hello.role == Role::Owner) else { return };
        let (from, number) = (peer.hello.from, peer.hello.moving);
        let whole = self.receiver.as_ref().is_some_and(|receiver| receiver.ended());
        let news = self.asked.as_ref().is_none_or(|asked| (asked.from, asked.number) != (from, number));
        if number != 0 && news && whole && matches!(self.duty, Duty::Follower) {
            self.asked = Some(Asked { from, number, done: false });
            self.outputs.push_back(Output::Prepare { number });
        }
    }

    /// For the introduction: which move is under way here, and which one this node is prepared for.
    pub(super) fn moves(&self) -> (u64, u64) {
        let known = self.peer.as_ref().map_or(0, |peer| peer.hello.from);
        let prepared = |asked: &Asked| if asked.done && asked.from == known { asked.number } else { 0 };
        match self.duty {
            Duty::Owner(_) => (self.moving.as_ref().map_or(0, |moving| moving.number), 0),
            Duty::Follower => (0, self.asked.as_ref().map_or(0, prepared)),
            Duty::Taking(_) => (0, 0),
        }
    }
}
