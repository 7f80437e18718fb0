//! What the other node answers, or does not.

use std::time::Instant;

use super::super::APPLY;
use super::super::lineage::{Position, Relation, compare};
use super::super::message::{Refusal, Request, Response};
use super::{
    Action, Agreement, Commit, Outcome, Output, PeerState, RETRY, RevisionId, Task, Token, WATCH, held,
};

impl Agreement {
    /// The other node has answered. An answer that nobody waits for any more changes nothing.
    pub fn handle_answer(&mut self, now: Instant, token: Token, response: Response) {
        if self.asking.as_ref().is_none_or(|a| a.token != token) {
            return;
        }
        self.asking = None;
        match std::mem::replace(&mut self.task, Task::Idle) {
            Task::Idle => {
                if let Response::Position(position) = response {
                    self.peer = Some(position);
                }
                self.catch_up(now);
            }
            Task::PeerTrial(id, confirm_s) => {
                self.task = Task::PeerTrial(id, confirm_s);
                if let Response::Position(position) = response {
                    self.watched(id, position);
                }
            }
            Task::Prepared(id, confirm_s) => {
                self.task = Task::Prepared(id, confirm_s);
                if let Response::Position(position) = response {
                    let gone = position.proposing != Some(id);
                    self.peer = Some(position);
                    if gone {
                        self.forget(now);
                    }
                }
            }
            Task::Preparing(commit) => self.prepared(now, commit, response),
            Task::PeerApplying(commit) => self.applied(now, commit, response),
            Task::TellingKeep(_) => {
                if response == Response::Kept {
                    self.peer_is_here();
                    self.end(now, Outcome::Kept(PeerState::Same));
                } else {
                    self.finish_kept(now);
                }
            }
            Task::TellingAbort(_, outcome) => {
                let outcome = match (outcome, &response) {
                    (Outcome::Back(_), Response::Aborted) => Outcome::Back(PeerState::Same),
                    (outcome, _) => outcome,
                };
                self.end(now, outcome);
            }
            Task::Forwarding(id, confirm_s, confirm) => self.forwarded(now, id, confirm_s, confirm, response),
            Task::Fetching(id, over) => self.fetched(now, id, over, response),
            Task::Overwriting => {
                let outcome = match response {
                    Response::Accepted => Outcome::Chosen,
                    Response::Refused(Refusal::Busy) => Outcome::Busy,
                    Response::Refused(Refusal::Elsewhere(position)) => {
                        self.peer = Some(position);
                        Outcome::Nothing
                    }
                    Response::Refused(refusal) => Outcome::Peer(refusal),
                    Response::Position(_)
                    | Response::Prepared
                    | Response::Applied
                    | Response::Kept
                    | Response::Aborted
                    | Response::Bundle(_) => Outcome::Peer(Refusal::Damaged),
                };
                self.end(now, outcome);
            }
            // These ask nothing: what was asked before them was forgotten when they began.
            task @ (Task::Applying(_)
            | Task::OwnTrial(_)
            | Task::Keeping(_)
            | Task::GoingBack(..)
            | Task::Checking(..)
            | Task::PeerWantsIt(..)
            | Task::Accepting(..)
            | Task::Withdrawing(..)
            | Task::Adopting(..)) => self.task = task,
        }
    }

    /// There is no answer: the way to the other node is broken, or its control daemon is away. The request is sent
    /// again, which changes nothing if it had arrived.
    pub fn handle_lost(&mut self, now: Instant, token: Token) {
        let Some(asking) = self.asking.as_mut().filter(|a| a.token == token) else { return };
        if matches!(asking.request, Request::Position(_)) {
            self.asking = None;
            self.exchange = now + WATCH;
            return;
        }
        asking.lose(now);
        self.shorten(now);
    }

    /// The other node has told, while we are on trial for it, where it stands.
    fn watched(&mut self, id: RevisionId, position: Position) {
        let (head, proposing) = (position.head, position.proposing);
        self.peer = Some(position);
        if head == Some(id) {
            self.accept(None, id);
        } else if proposing != Some(id) {
            // It has started anew, or we were not told that it went back.
            self.withdraw(None, id, true);
        }
    }

    fn prepared(&mut self, now: Instant, commit: Commit, response: Response) {
        match response {
            Response::Prepared => {
                self.ask(Request::Apply(commit.id));
                self.deadline = Some(now + APPLY);
                self.task = Task::PeerApplying(commit);
            }
            Response::Refused(Refusal::Elsewhere(position)) => {
                let relation = compare(&self.own, &position);
                self.peer = Some(position);
                match relation {
                    Relation::Fetch => self.end(now, Outcome::Behind),
                    // It lacks what ours follows, or follows something else: alone, and said so.
                    Relation::Same | Relation::Deliver | Relation::Diverged => self.apply_here(commit),
                }
            }
            Response::Refused(Refusal::Busy) => self.end(now, Outcome::Busy),
            Response::Refused(refusal) => self.end(now, Outcome::Peer(refusal)),
            Response::Position(_)
            | Response::Applied
            | Response::Kept
            | Response::Aborted
            | Response::Bundle(_)
            | Response::Accepted => self.end(now, Outcome::Peer(Refusal::Damaged)),
        }
    }

    fn applied(&mut self, now: Instant, mut commit: Commit, response: Response) {
        match response {
            Response::Applied => {
                commit.there = true;
                self.apply_here(commit);
            }
            // Its control daemon was started anew in between: on without it, it fetches.
            Response::Refused(Refusal::Unknown) => self.apply_here(commit),
            Response::Refused(refusal) => self.end(now, Outcome::Peer(refusal)),
            Response::Position(_)
            | Response::Prepared
            | Response::Kept
            | Response::Aborted
            | Response::Bundle(_)
            | Response::Accepted => self.tell_abort(now, commit, Outcome::Peer(Refusal::Damaged)),
        }
    }

    fn forwarded(
        &mut self,
        now: Instant,
        id: RevisionId,
        confirm_s: Option<u32>,
        confirm: bool,
        response: Response,
    ) {
        match response {
            // It sees to it, and tells us by Keep or Abort.
            Response::Accepted => self.task = Task::Forwarding(id, confirm_s, confirm),
            Response::Kept => {
                if let Some(peer) = &mut self.peer {
                    peer.head = Some(id);
                }
                self.accept(None, id);
            }
            Response::Aborted | Response::Refused(Refusal::Unknown) => self.withdraw(None, id, true),
            Response::Refused(_)
            | Response::Position(_)
            | Response::Prepared
            | Response::Applied
            | Response::Bundle(_) => {
                self.waiting = false;
                self.out.push_back(Output::Finish(Outcome::Busy));
                self.deadline = Some(now + held(confirm_s));
                self.task = Task::PeerTrial(id, confirm_s);
            }
        }
    }

    fn fetched(&mut self, now: Instant, id: RevisionId, over: bool, response: Response) {
        let refusal = match response {
            Response::Bundle(bundle) if bundle.grammar > self.own.grammar => {
                Refusal::Grammar(self.own.grammar)
            }
            Response::Bundle(bundle) if bundle.verified() == Some(id) => {
                self.deadline = None;
                self.out.push_back(Output::Act(Action::Adopt { bundle, over }));
                self.task = Task::Adopting(id, over);
                return;
            }
            Response::Bundle(_) => Refusal::Damaged,
            Response::Refused(refusal) => refusal,
            Response::Position(_)
            | Response::Prepared
            | Response::Applied
            | Response::Kept
            | Response::Aborted
            | Response::Accepted => Refusal::Damaged,
        };
        self.retry = Some((now + RETRY, id, refusal.clone()));
        self.end_fetch(now, over, Outcome::Peer(refusal));
    }
}
