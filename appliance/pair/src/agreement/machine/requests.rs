//! What the other node asks.

use std::time::Instant;

use super::super::lineage::{Bundle, RevisionId};
use super::super::message::{Refusal, Request, Response};
use super::{Action, Agreement, Outcome, Output, PeerState, Task, Token, Trial};

impl Agreement {
    /// The other node asks. The answer is an [`Output::Answer`] with this token, at once or once something was done.
    pub fn handle_request(&mut self, now: Instant, token: Token, request: Request) {
        match request {
            Request::Position(position) => {
                self.answer_now(token, Response::Position(self.position()));
                // It may be older than what came after it: only answers end what we hold for the other node.
                self.peer = Some(position);
                self.catch_up(now);
            }
            Request::Prepare { bundle, confirm_s } => self.asked_prepare(token, bundle, confirm_s),
            Request::Apply(id) => self.asked_apply(token, id),
            Request::Keep(id) => self.asked_keep(now, token, id),
            Request::Abort(id) => self.asked_abort(now, token, id),
            Request::Fetch(id) => self.out.push_back(Output::Act(Action::Give(token, id))),
            Request::Confirm(id) => self.asked_confirm(token, id),
            Request::Revert(id) => self.asked_revert(token, id),
            Request::Overwrite { over, head } => self.asked_overwrite(now, token, over, head),
        }
    }

    fn answer_now(&mut self, token: Token, response: Response) {
        self.out.push_back(Output::Answer(token, response));
    }

    /// What to say of a revision that no task is about: it is the head here, or else `otherwise`.
    fn kept_or(&self, id: RevisionId, otherwise: Response) -> Response {
        match self.own.head {
            Some(head) if head == id => Response::Kept,
            Some(_) | None => otherwise,
        }
    }

    fn refuse(&mut self, token: Token, refusal: Refusal) {
        self.answer_now(token, Response::Refused(refusal));
    }

    fn asked_prepare(&mut self, token: Token, bundle: Bundle, confirm_s: Option<u32>) {
        if bundle.grammar > self.own.grammar {
            self.refuse(token, Refusal::Grammar(self.own.grammar));
            return;
        }
        let Some(id) = bundle.verified() else {
            self.refuse(token, Refusal::Damaged);
            return;
        };
        match std::mem::replace(&mut self.task, Task::Idle) {
            Task::Idle => self.check(token, id, bundle, confirm_s),
            // Both at one moment: the first node of the document comes first.
            Task::Preparing(commit) if self.first => {
                self.task = Task::Preparing(commit);
                self.refuse(token, Refusal::Busy);
            }
            task @ Task::Preparing(_) if bundle.record.parent != self.own.head => {
                self.task = task;
                let position = self.position();
                self.refuse(token, Refusal::Elsewhere(position));
            }
            Task::Preparing(_) => {
                self.waiting = false;
                self.out.push_back(Output::Finish(Outcome::Overtaken));
                self.check(token, id, bundle, confirm_s);
            }
            // Its first answer was lost.
            Task::Checking(_, same, _) if same == id => self.task = Task::Checking(token, id, confirm_s),
            task @ (Task::Prepared(same, _) | Task::PeerWantsIt(_, same, _) | Task::PeerTrial(same, _))
                if same == id =>
            {
                self.task = task;
                self.answer_now(token, Response::Prepared);
            }
            // It has given the other one up; unless this is an old one that comes late.
            task @ (Task::Checking(..) | Task::Prepared(..)) if bundle.record.parent != self.own.head => {
                self.task = task;
                let position = self.position();
                self.refuse(token, Refusal::Elsewhere(position));
            }
            Task::Checking(..) | Task::Prepared(..) => self.check(token, id, bundle, confirm_s),
            // What it has and we lack comes first; it goes on without us.
            task @ (Task::Fetching(..) | Task::Adopting(..)) => {
                self.task = task;
                let position = self.position();
                self.refuse(token, Refusal::Elsewhere(position));
            }
            task @ (Task::PeerApplying(_)
            | Task::Applying(_)
            | Task::OwnTrial(_)
            | Task::Keeping(_)
            | Task::TellingKeep(_)
            | Task::GoingBack(..)
            | Task::TellingAbort(..)
            | Task::PeerWantsIt(..)
            | Task::PeerTrial(..)
            | Task::Forwarding(..)
            | Task::Accepting(..)
            | Task::Withdrawing(..)
            | Task::Overwriting) => {
                self.task = task;
                self.refuse(token, Refusal::Busy);
            }
        }
    }

    fn check(&mut self, token: Token, id: RevisionId, bundle: Bundle, confirm_s: Option<u32>) {
        // An exchange of positions that is under way would tell of a time before this.
        (self.asking, self.deadline) = (None, None);
        if bundle.record.parent != self.own.head {
            let position = self.position();
            self.refuse(token, Refusal::Elsewhere(position));
            return;
        }
        self.out.push_back(Output::Act(Action::Check(bundle)));
        self.task = Task::Checking(token, id, confirm_s);
    }

    fn asked_apply(&mut self, token: Token, id: RevisionId) {
        match &mut self.task {
            Task::Prepared(same, confirm_s) if *same == id => {
                let confirm_s = *confirm_s;
                (self.asking, self.deadline) = (None, None);
                let trial = Trial { confirm_s, of_peer: true };
                self.out.push_back(Output::Act(Action::Apply { id, trial }));
                self.task = Task::PeerWantsIt(token, id, confirm_s);
            }
            Task::PeerWantsIt(waiting, same, _) if *same == id => *waiting = token,
            Task::PeerTrial(same, _) | Task::Accepting(_, same) | Task::Forwarding(same, ..)
                if *same == id =>
            {
                self.answer_now(token, Response::Applied);
            }
            Task::Idle
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
            | Task::Overwriting => self.refuse(token, Refusal::Unknown),
        }
    }

    fn asked_keep(&mut self, now: Instant, token: Token, id: RevisionId) {
        match &mut self.task {
            Task::PeerTrial(same, _) | Task::Forwarding(same, ..) if *same == id => {
                self.accept(Some(token), id)
            }
            Task::Accepting(waiting, same) if *same == id => *waiting = Some(token),
            // It went on without us: what is ready here is fetched the ordinary way.
            Task::Prepared(same, _) if *same == id => {
                self.refuse(token, Refusal::Unknown);
                self.forget(now);
            }
            Task::Idle
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
            | Task::Overwriting => {
                let response = self.kept_or(id, Response::Refused(Refusal::Unknown));
                self.answer_now(token, response);
            }
        }
    }

    fn asked_abort(&mut self, now: Instant, token: Token, id: RevisionId) {
        match &mut self.task {
            Task::Checking(_, same, _) | Task::Prepared(same, _) if *same == id => {
                self.answer_now(token, Response::Aborted);
                self.forget(now);
            }
            Task::PeerTrial(same, _) | Task::Forwarding(same, ..) if *same == id => {
                self.withdraw(Some(token), id, true);
            }
            Task::Withdrawing(waiting, same, _) if *same == id => *waiting = Some(token),
            // In the middle of it. Once it is in force we ask, and hear that it is not proposed any more.
            Task::PeerWantsIt(_, same, _) | Task::Accepting(_, same) if *same == id => {
                self.refuse(token, Refusal::Busy);
            }
            Task::Idle
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
            | Task::Overwriting => {
                let response = self.kept_or(id, Response::Aborted);
                self.answer_now(token, response);
            }
        }
    }

    /// A person has confirmed on the other node what was typed here.
    fn asked_confirm(&mut self, token: Token, id: RevisionId) {
        let response = match std::mem::replace(&mut self.task, Task::Idle) {
            Task::OwnTrial(commit) if commit.id == id => {
                self.keep_here(commit);
                Response::Accepted
            }
            task @ (Task::Keeping(_) | Task::TellingKeep(_)) if proposes(&task, id) => {
                self.task = task;
                Response::Accepted
            }
            task if proposes(&task, id) => {
                self.task = task;
                Response::Refused(Refusal::Busy)
            }
            task => {
                self.task = task;
                self.kept_or(id, Response::Refused(Refusal::Unknown))
            }
        };
        self.answer_now(token, response);
    }

    /// A person has taken back on the other node what was typed here.
    fn asked_revert(&mut self, token: Token, id: RevisionId) {
        let response = match std::mem::replace(&mut self.task, Task::Idle) {
            Task::OwnTrial(commit) if commit.id == id => {
                self.go_back(commit, Outcome::Back(PeerState::Same));
                Response::Accepted
            }
            task @ (Task::GoingBack(..)
            | Task::TellingAbort(..)
            | Task::Keeping(_)
            | Task::TellingKeep(_))
                if proposes(&task, id) =>
            {
                self.task = task;
                Response::Accepted
            }
            task if proposes(&task, id) => {
                self.task = task;
                Response::Refused(Refusal::Busy)
            }
            task => {
                self.task = task;
                self.kept_or(id, Response::Aborted)
            }
        };
        self.answer_now(token, response);
    }

    fn asked_overwrite(&mut self, now: Instant, token: Token, over: RevisionId, head: RevisionId) {
        let same = match self.task {
            Task::Fetching(id, true) | Task::Adopting(id, true) => id == head,
            _ => false,
        };
        if same || self.own.head == Some(head) {
            self.answer_now(token, Response::Accepted);
        } else if !self.idle() {
            self.refuse(token, Refusal::Busy);
        } else if self.own.head == Some(over) {
            self.answer_now(token, Response::Accepted);
            self.fetch(now, head, true);
        } else {
            let position = self.position();
            self.refuse(token, Refusal::Elsewhere(position));
        }
    }
}

/// Whether the task is about a commit that was typed here and has this id.
fn proposes(task: &Task, id: RevisionId) -> bool {
    task.own().is_some_and(|commit| commit.id == id)
}
