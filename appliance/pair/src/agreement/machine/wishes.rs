//! What a person wants, and what this node has done.

use std::time::{Duration, Instant};

use super::super::PREPARE;
use super::super::lineage::{Relation, compare};
use super::super::message::{Refusal, Request, Response};
use super::{
    Agreement, Bundle, Commit, Done, HOLD, Outcome, Output, PeerState, RETRY, RevisionId, SETTLE, Task,
    Token, WATCH, Wish, held,
};

impl Agreement {
    /// A person wants something. The end of it is an [`Output::Finish`]; one wish at a time.
    pub fn wish(&mut self, now: Instant, wish: Wish) {
        if self.waiting {
            self.out.push_back(Output::Finish(Outcome::Busy));
            return;
        }
        let task = std::mem::replace(&mut self.task, Task::Idle);
        match (task, wish) {
            (Task::Idle, Wish::Commit { bundle, confirm_s }) => self.commit(now, bundle, confirm_s),
            (task @ Task::Fetching(_, false), Wish::Commit { .. }) => {
                self.task = task;
                self.out.push_back(Output::Finish(Outcome::Behind));
            }
            (Task::OwnTrial(commit), Wish::Confirm) => {
                self.waiting = true;
                self.keep_here(commit);
            }
            (Task::OwnTrial(commit), Wish::Revert) => {
                self.waiting = true;
                let state = self.without_answer();
                self.go_back(commit, Outcome::Back(state));
            }
            (Task::PeerTrial(id, confirm_s @ Some(_)), wish @ (Wish::Confirm | Wish::Revert)) => {
                self.waiting = true;
                self.forward(now, id, confirm_s, wish == Wish::Confirm);
            }
            (Task::Idle, Wish::Confirm | Wish::Revert) => {
                self.out.push_back(Output::Finish(Outcome::Nothing))
            }
            (Task::Idle, Wish::Resolve { ours }) => self.resolve(now, ours),
            (
                task @ (Task::Preparing(_)
                | Task::PeerApplying(_)
                | Task::Applying(_)
                | Task::OwnTrial(_)
                | Task::Keeping(_)
                | Task::TellingKeep(_)
                | Task::GoingBack(..)
                | Task::TellingAbort(..)
                | Task::Checking(..)
                | Task::Prepared(..)
                | Task::PeerWantsIt(..)
                | Task::PeerTrial(..)
                | Task::Forwarding(..)
                | Task::Accepting(..)
                | Task::Withdrawing(..)
                | Task::Fetching(..)
                | Task::Adopting(..)
                | Task::Overwriting),
                Wish::Commit { .. } | Wish::Confirm | Wish::Revert | Wish::Resolve { .. },
            ) => {
                self.task = task;
                self.out.push_back(Output::Finish(Outcome::Busy));
            }
        }
    }

    fn commit(&mut self, now: Instant, bundle: Bundle, confirm_s: Option<u32>) {
        let behind = self.peer.as_ref().is_some_and(|p| compare(&self.own, p) == Relation::Fetch);
        if self.linked && behind {
            // A person decides on top of what he has not seen: not unless the other node is out of reach.
            self.out.push_back(Output::Finish(Outcome::Behind));
            return;
        }
        self.waiting = true;
        let commit = Commit { id: bundle.record.id(), confirm_s, there: false };
        if self.linked {
            // What we know of it may be old: where it stands otherwise it says so.
            self.ask(Request::Prepare { bundle, confirm_s });
            self.deadline = Some(now + PREPARE);
            self.task = Task::Preparing(commit);
        } else {
            self.apply_here(commit);
        }
    }

    fn forward(&mut self, now: Instant, id: RevisionId, confirm_s: Option<u32>, confirm: bool) {
        self.task = Task::Forwarding(id, confirm_s, confirm);
        self.deadline = Some(now + SETTLE);
        if !self.linked {
            self.expire(now);
            return;
        }
        self.ask(if confirm { Request::Confirm(id) } else { Request::Revert(id) });
    }

    fn resolve(&mut self, now: Instant, ours: bool) {
        let Some(peer) = self.peer.as_ref().filter(|_| self.linked) else {
            self.out.push_back(Output::Finish(Outcome::Away));
            return;
        };
        let diverged = compare(&self.own, peer) == Relation::Diverged;
        let (Some(own), Some(their), true) = (self.own.head, peer.head, diverged) else {
            self.out.push_back(Output::Finish(Outcome::Nothing));
            return;
        };
        self.waiting = true;
        if ours {
            self.ask(Request::Overwrite { over: their, head: own });
            self.deadline = Some(now + SETTLE);
            self.task = Task::Overwriting;
        } else {
            self.fetch(now, their, true);
        }
    }

    /// Something that this node was asked to do has come to its end.
    pub fn done(&mut self, now: Instant, done: Done) {
        let task = std::mem::replace(&mut self.task, Task::Idle);
        match (task, done) {
            (Task::Applying(commit), Done::Applied(Ok(()))) => match commit.confirm_s {
                Some(seconds) => {
                    let state = if commit.there { PeerState::Same } else { self.without_answer() };
                    self.deadline = Some(now + Duration::from_secs(seconds.into()));
                    self.task = Task::OwnTrial(commit);
                    self.waiting = false;
                    self.out.push_back(Output::Finish(Outcome::OnTrial(state)));
                }
                None => self.keep_here(commit),
            },
            (Task::Applying(commit), Done::Applied(Err(text))) => {
                self.tell_abort(now, commit, Outcome::Own(text));
            }
            (Task::Keeping(commit), Done::Kept(Ok(position))) => {
                self.own = position;
                if !self.linked {
                    self.finish_kept(now);
                    return;
                }
                self.ask(Request::Keep(commit.id));
                self.deadline = Some(now + SETTLE);
                self.task = Task::TellingKeep(commit);
            }
            (Task::Keeping(commit), Done::Kept(Err(text))) => {
                self.tell_abort(now, commit, Outcome::Own(text))
            }
            (Task::GoingBack(commit, outcome), Done::Back) => self.tell_abort(now, commit, outcome),

            (Task::Checking(token, id, confirm_s), Done::Checked(Ok(()))) => {
                self.out.push_back(Output::Answer(token, Response::Prepared));
                self.deadline = Some(now + HOLD);
                self.exchange = now + WATCH;
                self.task = Task::Prepared(id, confirm_s);
            }
            (Task::Checking(token, ..), Done::Checked(Err(refusal))) => {
                self.out.push_back(Output::Answer(token, Response::Refused(refusal)));
                self.rest(now);
            }
            (Task::PeerWantsIt(token, id, confirm_s), Done::Applied(Ok(()))) => {
                self.out.push_back(Output::Answer(token, Response::Applied));
                self.deadline = Some(now + held(confirm_s));
                self.exchange = now + WATCH;
                self.task = Task::PeerTrial(id, confirm_s);
            }
            (Task::PeerWantsIt(token, ..), Done::Applied(Err(text))) => {
                self.out.push_back(Output::Answer(token, Response::Refused(Refusal::Failed(text))));
                self.rest(now);
            }
            (Task::Accepting(token, _), Done::Kept(Ok(position))) => {
                self.own = position;
                self.answer(token, Response::Kept);
                // Asked by the other node, or by a person while it cannot be asked.
                let there = token.is_some() || self.peer.as_ref().is_some_and(|p| p.head == self.own.head);
                if there {
                    self.peer_is_here();
                }
                let state = if there { PeerState::Same } else { self.without_answer() };
                self.end(now, Outcome::Kept(state));
            }
            (Task::Accepting(token, id), Done::Kept(Err(text))) => {
                self.answer(token, Response::Refused(Refusal::Failed(text.clone())));
                self.retry = Some((now + RETRY, id, Refusal::Failed(text.clone())));
                self.end(now, Outcome::Own(text));
            }
            (Task::Withdrawing(token, _, there), Done::Back) => {
                self.answer(token, Response::Aborted);
                let state = if there { PeerState::Same } else { self.without_answer() };
                self.end(now, Outcome::Back(state));
            }
            (Task::Adopting(_, over), Done::Adopted(Ok(position))) => {
                self.own = position;
                self.retry = None;
                self.peer_is_here();
                self.end_fetch(now, over, Outcome::Kept(PeerState::Same));
            }
            (Task::Adopting(id, over), Done::Adopted(Err(refusal))) => {
                self.retry = Some((now + RETRY, id, refusal.clone()));
                let outcome = match refusal {
                    Refusal::Failed(text) => Outcome::Own(text),
                    refusal @ (Refusal::Busy
                    | Refusal::Elsewhere(_)
                    | Refusal::Unknown
                    | Refusal::Invalid(_)
                    | Refusal::Grammar(_)
                    | Refusal::Damaged) => Outcome::Peer(refusal),
                };
                self.end_fetch(now, over, outcome);
            }
            // News that no task waits for: the driver reports each action once, so there is none.
            (
                task @ (Task::Idle
                | Task::Preparing(_)
                | Task::PeerApplying(_)
                | Task::Applying(_)
                | Task::OwnTrial(_)
                | Task::Keeping(_)
                | Task::TellingKeep(_)
                | Task::GoingBack(..)
                | Task::TellingAbort(..)
                | Task::Checking(..)
                | Task::Prepared(..)
                | Task::PeerWantsIt(..)
                | Task::PeerTrial(..)
                | Task::Forwarding(..)
                | Task::Accepting(..)
                | Task::Withdrawing(..)
                | Task::Fetching(..)
                | Task::Adopting(..)
                | Task::Overwriting),
                Done::Checked(_) | Done::Applied(_) | Done::Kept(_) | Done::Back | Done::Adopted(_),
            ) => self.task = task,
        }
    }

    fn answer(&mut self, token: Option<Token>, response: Response) {
        if let Some(token) = token {
            self.out.push_back(Output::Answer(token, response));
        }
    }
}
