//! The other node's program: introductions, invitations, and what comes of a stream each way.

use std::time::{Duration, Instant};

use super::super::receiver::{Place, Purpose, Receiver};
use super::super::sender::Sender;
use super::super::wire::{Ack, Data, Hello, Message, Stream};
use super::super::{ASK, Held};
use super::{Duty, How, Output, Peer, Role, Shared};

/// A hello that answers another one is no more frequent than this.
const ANSWER_SPACING: Duration = Duration::from_millis(10);
/// Earlier starts of the other program that are remembered. No message is as old as so many of them.
const RETIRED: usize = 16;

impl Shared {
    /// There is a way to the other node's program, or none.
    pub fn handle_link(&mut self, now: Instant, up: bool) {
        let news = self.linked != up;
        (self.linked, self.told) = (up, true);
        if !news {
            return self.consider(now);
        }
        if up {
            self.hello_due = true;
            self.hello_at = now + self.pace();
            if let Some(sender) = &mut self.sender {
                sender.send_again();
            }
            if let Duty::Taking(taking) = &mut self.duty {
                taking.until = now + ASK;
            }
        } else {
            self.peer = None;
            self.silent = false;
            self.release(How::Alone);
        }
        self.consider(now);
        self.settle_move();
    }

    /// A message of the other node's program, which its own elector has authenticated.
    pub fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        if !self.linked {
            return;
        }
        match Message::decode(bytes) {
            Some(Message::Hello(hello)) => self.handle_hello(now, hello),
            Some(Message::Data(data)) => self.handle_data(now, &data, bytes),
            Some(Message::Ack(ack)) => self.handle_ack(now, ack),
            None => self.status.malformed += 1,
        }
    }

    fn handle_hello(&mut self, now: Instant, hello: Hello) {
        // Its last words may come after the first ones of the program that has taken its place.
        if self.retired.contains(&hello.from) {
            return;
        }
        let old = |peer: &Peer| peer.hello.from == hello.from && peer.hello.serial >= hello.serial;
        if hello.from == self.incarnation || hello.from == 0 || self.peer.as_ref().is_some_and(old) {
            return;
        }
        if self.latest != hello.from {
            self.retire(hello.from);
        }
        self.highest = self.highest.max(hello.highest);
        if self.peer_store != Some(hello.store) {
            self.peer_store = Some(hello.store);
            self.outputs.push_back(Output::PeerStore(hello.store));
        }
        let knows = hello.knows == self.incarnation;
        let new = self.peer.as_ref().is_none_or(|peer| peer.hello.from != hello.from);
        // What comes next is another stream: of another start of the program, or of another reign.
        let other = self.receiver.as_ref().and_then(Receiver::begun).is_some_and(|(from, fence)| {
            let reign = hello.held.filter(|_| hello.role == Role::Owner).map(|held| held.fence);
            from != hello.from || reign.is_some_and(|reign| reign != fence)
        });
        // Who gives its map back and then does not, has dropped it half way.
        let other = other || matches!(self.duty, Duty::Taking(_)) && hello.role != Role::Follower;
        let spaced = self.answered.is_none_or(|at| now.saturating_duration_since(at) >= ANSWER_SPACING);
        if new || !knows && spaced {
            self.hello_due = true;
            self.answered = Some(now);
        }
        let gone = self.sender.as_ref().is_some_and(|sender| sender.stream().to != hello.from);
        let taken = matches!(self.duty, Duty::Follower) && hello.role != Role::Taking;
        if gone || taken {
            self.end_sender();
        }
        self.peer = Some(Peer { hello, knows });
        if other || self.receiver.is_none() {
            match self.duty {
                Duty::Follower => self.invite(Purpose::Copy),
                Duty::Taking(_) => self.receiver = None,
                Duty::Owner(_) => {}
            }
        }
        self.follow_up();
        self.consider(now);
        self.heed_move();
        self.settle_move();
    }

    /// The other node's program was started anew: what an earlier start has said or asked for is over.
    fn retire(&mut self, latest: u64) {
        if self.retired.len() >= RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(std::mem::replace(&mut self.latest, latest));
    }

    /// Answers an invitation, unless that is done.
    pub(super) fn follow_up(&mut self) {
        let Some(peer) = self.peer.as_ref().filter(|peer| peer.knows && peer.hello.invitation != 0) else {
            return;
        };
        let stream =
            Stream { from: self.incarnation, to: peer.hello.from, invitation: peer.hello.invitation };
        // An invitation is good for one stream.
        if self.answered_invitation == Some(stream) {
            return;
        }
        let theirs = peer.hello.held;
        match (&self.duty, peer.hello.role) {
            (Duty::Owner(fence), Role::Follower) => {
                if theirs.is_some_and(|held| held.fence > *fence) {
                    let fence = *fence;
                    self.rise(fence);
                }
                self.begin(stream, false);
            }
            (Duty::Follower, Role::Taking) => self.begin(stream, true),
            (Duty::Owner(_), Role::Taking | Role::Owner)
            | (Duty::Follower, Role::Follower | Role::Owner)
            | (Duty::Taking(_), _) => {}
        }
    }

    fn begin(&mut self, stream: Stream, back: bool) {
        let Some(held) = self.held().or(back.then(Held::default)) else { return };
        self.end_sender();
        self.answered_invitation = Some(stream);
        let graves = self.graves.iter().filter(|_| back && !held.complete).cloned();
        self.sender = Some(Sender::new(stream, held, graves));
        self.silent = false;
    }

    pub(super) fn end_sender(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.status.resent += sender.resent;
            // Whoever has not acknowledged until now begins anew.
            self.release(How::Alone);
        }
    }

    pub(super) fn drop_streams(&mut self) {
        self.end_sender();
        self.receiver = None;
    }

    pub(super) fn invite(&mut self, purpose: Purpose) {
        self.invitations = self.invitations.wrapping_add(1).max(1);
        self.receiver = Some(Receiver::new(self.invitations, purpose));
        self.hello_due = true;
    }

    fn handle_data(&mut self, now: Instant, data: &Data<'_>, bytes: &[u8]) {
        let Some(receiver) = &mut self.receiver else { return };
        #[cfg(not(test))]
        let ours = data.stream.invitation == receiver.invitation;
        #[cfg(test)]
        let ours = data.stream.invitation == receiver.invitation
            || self.bug == super::super::tests::Bug::AnyInvitation;
        let known = self.peer.as_ref().is_some_and(|peer| peer.hello.from == data.stream.from);
        if data.stream.to != self.incarnation || !ours || !known {
            return;
        }
        self.highest = self.highest.max(data.highest);
        let mut place = Place {
            map: &mut self.map,
            held: &mut self.held,
            graves: &mut self.graves,
            tag: &mut self.tag,
            refused: &mut self.status.refused,
            changes: &mut self.changes,
        };
        if receiver.handle(data, bytes, &mut place) {
            self.got = now;
            self.version += 1;
            self.sure = receiver.ended();
        } else if receiver.begun().is_none() {
            // Its fence is too low, which it has to be told; or the beginning was lost.
            self.hello_due |= data.number == 1;
        }
        self.outputs.extend(self.changes.drain(..).map(|(key, value)| Output::Changed(key, value)));
        self.consider(now);
        self.heed_move();
    }

    fn handle_ack(&mut self, now: Instant, ack: Ack) {
        let Some(sender) = &mut self.sender else { return };
        let stream = *sender.stream();
        let turned = Stream { from: ack.stream.to, to: ack.stream.from, ..ack.stream };
        if turned != stream {
            return;
        }
        if let Some(level) = sender.handle_ack(now, ack.number, ack.gap) {
            self.silent = false;
            self.commit_level(now, level);
            self.settle_move();
        }
    }
}
