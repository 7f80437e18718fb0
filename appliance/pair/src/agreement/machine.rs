//! The machine of agreement: one on each node, alike.
//!
//! At any moment it is at one [`Task`]. A task either waits for the other node (then it has a deadline, and what was
//! asked is asked again when the answer is lost), or for an action of its own node, or for a person. Three kinds of
//! method change it: news from the other node (`handle_request`, `handle_answer`, `handle_lost`, `handle_link`), news from
//! this node (`done`, `given`, `handle_timeout`), and a person's [`Wish`].

mod answers;
mod requests;
mod wishes;

use std::collections::VecDeque;
use std::time::Instant;

use super::lineage::{Bundle, Position, Relation, RevisionId, compare};
use super::message::{Refusal, Request, Response};
use super::{AGAIN, EXCHANGE, FETCH, GRACE, HOLD, RETRY, SETTLE, WATCH};

/// Names a request until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Token(pub u64);

/// How long a trial lasts, and whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trial {
    /// Seconds until it goes back unless a person confirms; `None` for a commit that no person needs to confirm.
    pub confirm_s: Option<u32>,
    /// The commit was typed on the other node.
    pub of_peer: bool,
}

/// What this node is to do. Each but [`Give`](Self::Give) is answered by [`Agreement::done`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Validate and plan, without touching anything, and hold it ready: [`Done::Checked`].
    Check(Bundle),
    /// Bring the commit that a person typed here, or what was checked, into force: [`Done::Applied`]. On an error what was
    /// in force still is.
    Apply {
        /// Which one.
        id: RevisionId,
        /// Its trial.
        trial: Trial,
    },
    /// What is in force becomes the head: [`Done::Kept`]. On an error the head's revision is in force again.
    Keep(RevisionId),
    /// Go back to the head: [`Done::Back`].
    Back,
    /// Bring into force and make it the head: [`Done::Adopted`]. On an error nothing has changed.
    Adopt {
        /// The revision.
        bundle: Bundle,
        /// It takes the place of a head that it does not follow, which is set aside.
        over: bool,
    },
    /// Hand over a revision: [`Agreement::given`].
    Give(Token, RevisionId),
    /// Forget what was checked.
    Forget,
}

/// What became of an [`Action`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// Of [`Action::Check`].
    Checked(Result<(), Refusal>),
    /// Of [`Action::Apply`].
    Applied(Result<(), String>),
    /// Of [`Action::Keep`]; where the node stands now.
    Kept(Result<Position, String>),
    /// Of [`Action::Back`].
    Back,
    /// Of [`Action::Adopt`]; where the node stands now.
    Adopted(Result<Position, Refusal>),
}

/// What a person wants.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of them at a time")]
pub enum Wish {
    /// Commit this, which is valid here.
    Commit {
        /// The revision; its parent is the head.
        bundle: Bundle,
        /// Seconds of trial.
        confirm_s: Option<u32>,
    },
    /// Keep what is on trial.
    Confirm,
    /// Take back what is on trial.
    Revert,
    /// The two have diverged: this node's head is right, or the other's.
    Resolve {
        /// This node's.
        ours: bool,
    },
}

/// What became of a [`Wish`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is in force and waits for confirmation.
    OnTrial(PeerState),
    /// It is committed.
    Kept(PeerState),
    /// What was on trial is not in force any more.
    Back(PeerState),
    /// The other node fetches what was chosen.
    Chosen,
    /// Nothing was changed: there is a commit under way or on trial, here or there.
    Busy,
    /// Nothing was changed: the other node commits at this very moment and comes first.
    Overtaken,
    /// Nothing was changed: the other node has a newer revision, which is to be fetched first.
    Behind,
    /// There is nothing on trial, or the two have not diverged.
    Nothing,
    /// Nothing was changed: the other node must be there for this.
    Away,
    /// Nothing was changed on either node: the other one cannot.
    Peer(Refusal),
    /// Nothing was changed on either node: this one cannot.
    Own(String),
}

/// What is known of the other node once a wish is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerState {
    /// There is none.
    Alone,
    /// It has done the same.
    Same,
    /// It cannot be reached: it fetches the revision when it is back.
    Away,
    /// It can be reached and has not done the same; it fetches the revision.
    Behind,
}

/// What the driver is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Ask the other node; the answer goes to [`Agreement::handle_answer`] or, if there is none, to
    /// [`Agreement::handle_lost`].
    Ask(Token, Request),
    /// Answer the other node.
    Answer(Token, Response),
    /// Do this.
    Act(Action),
    /// A person's wish has come to its end.
    Finish(Outcome),
}

/// How the two stand, for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// There is no pair.
    Alone,
    /// The other node has not been heard, or cannot be asked and had the same revision when it could.
    Unknown,
    /// The same revision.
    Same,
    /// The other node lacks ours.
    Ahead,
    /// It can be reached and is getting it, or a commit is under way.
    Delivering,
    /// We lack theirs; why the last attempt to take it failed.
    Behind(Option<Refusal>),
    /// Neither follows the other.
    Diverged,
}

/// What a control daemon that starts finds on its disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// What is on trial.
    pub id: RevisionId,
    /// Its trial; `confirm_s` is what is left.
    pub trial: Trial,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Commit {
    id: RevisionId,
    confirm_s: Option<u32>,
    /// The other node has brought it into force too.
    there: bool,
}

/// What this node is at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Task {
    /// Nothing, or an exchange of positions.
    Idle,

    // A commit that was typed here.
    /// The other node validates.
    Preparing(Commit),
    /// The other node brings it into force.
    PeerApplying(Commit),
    /// This node does.
    Applying(Commit),
    /// In force, until a person confirms. The deadline is the trial's.
    OwnTrial(Commit),
    /// Our head moves.
    Keeping(Commit),
    /// Ours has moved; the other node's is to.
    TellingKeep(Commit),
    /// This node goes back; then the other one is told.
    GoingBack(Commit, Outcome),
    /// The other node goes back.
    TellingAbort(Commit, Outcome),

    // A commit that was typed there.
    /// We validate.
    Checking(Token, RevisionId, Option<u32>),
    /// Ready.
    Prepared(RevisionId, Option<u32>),
    /// We bring it into force.
    PeerWantsIt(Token, RevisionId, Option<u32>),
    /// In force; the other node decides. The deadline is when we go back without it.
    PeerTrial(RevisionId, Option<u32>),
    /// A person has decided here; the other node is asked to do it. `true`: to confirm.
    Forwarding(RevisionId, Option<u32>, bool),
    /// Our head moves; the other node's is there already.
    Accepting(Option<Token>, RevisionId),
    /// We go back. `true`: the other node has gone back.
    Withdrawing(Option<Token>, RevisionId, bool),

    // Catching up.
    /// The other node is asked for a revision. `true`: a person has chosen it over our head.
    Fetching(RevisionId, bool),
    /// It is brought into force.
    Adopting(RevisionId, bool),
    /// The other node is asked to take our head in place of its own.
    Overwriting,
}

/// A request on its way.
#[derive(Debug)]
struct Asking {
    token: Token,
    request: Request,
    /// The answer was lost: when to ask again.
    again: Option<Instant>,
}

/// The machine.
#[derive(Debug)]
pub struct Agreement {
    /// The first node of the document: it comes first when both commit at one moment.
    first: bool,
    paired: bool,
    linked: bool,
    own: Position,
    /// Where the other node stood when last heard.
    peer: Option<Position>,
    task: Task,
    deadline: Option<Instant>,
    asking: Option<Asking>,
    next_token: u64,
    /// A person waits for an [`Outcome`].
    waiting: bool,
    /// When positions are exchanged again.
    exchange: Instant,
    /// Not before then is a revision fetched again that could not be taken, and why.
    retry: Option<(Instant, RevisionId, Refusal)>,
    out: VecDeque<Output>,
}

impl Agreement {
    /// A node that stands at `own`, perhaps with something on trial.
    pub fn new(now: Instant, first: bool, own: Position, resume: Option<Resume>) -> Self {
        let (task, deadline) = match resume {
            None => (Task::Idle, None),
            Some(Resume { id, trial: Trial { confirm_s, of_peer: true } }) => {
                (Task::PeerTrial(id, confirm_s), Some(now + held(confirm_s)))
            }
            Some(Resume { id, trial: Trial { confirm_s, of_peer: false } }) => {
                let left = std::time::Duration::from_secs(confirm_s.unwrap_or(0).into());
                (Task::OwnTrial(Commit { id, confirm_s, there: true }), Some(now + left))
            }
        };
        Self {
            first,
            paired: false,
            linked: false,
            own,
            peer: None,
            task,
            deadline,
            asking: None,
            next_token: 0,
            waiting: false,
            exchange: now,
            retry: None,
            out: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let again = self.asking.as_ref().and_then(|a| a.again).filter(|_| self.linked);
        let exchange = self.may_exchange().then_some(self.exchange);
        [self.deadline, again, exchange].into_iter().flatten().min()
    }

    /// How the two stand.
    pub fn state(&self) -> State {
        if !self.paired {
            return State::Alone;
        }
        let Some(peer) = &self.peer else { return State::Unknown };
        match compare(&self.own, peer) {
            // In the middle of a commit one may have in force what the other has not.
            Relation::Same if self.linked && self.under_way() => State::Delivering,
            Relation::Same if self.linked => State::Same,
            // It was the same when last heard, and may not be any more.
            Relation::Same => State::Unknown,
            Relation::Deliver if self.linked => State::Delivering,
            Relation::Deliver => State::Ahead,
            Relation::Fetch => State::Behind(self.retry.as_ref().map(|(_, _, why)| why.clone())),
            Relation::Diverged => State::Diverged,
        }
    }

    /// Whether a commit is between its first step and its last. A trial that waits for a person is not: it is on both.
    fn under_way(&self) -> bool {
        match &self.task {
            Task::Idle | Task::OwnTrial(_) | Task::PeerTrial(_, Some(_)) | Task::Forwarding(..) => false,
            Task::Preparing(_)
            | Task::PeerApplying(_)
            | Task::Applying(_)
            | Task::Keeping(_)
            | Task::TellingKeep(_)
            | Task::GoingBack(..)
            | Task::TellingAbort(..)
            | Task::Checking(..)
            | Task::Prepared(..)
            | Task::PeerWantsIt(..)
            | Task::PeerTrial(_, None)
            | Task::Accepting(..)
            | Task::Withdrawing(..)
            | Task::Fetching(..)
            | Task::Adopting(..)
            | Task::Overwriting => true,
        }
    }

    /// Where this node stands, as it tells the other.
    pub fn position(&self) -> Position {
        Position { proposing: self.proposing(), ..self.own.clone() }
    }

    /// Where the other node stood when last heard.
    pub fn peer(&self) -> Option<&Position> {
        self.peer.as_ref()
    }

    /// Whether the other node can be reached.
    pub fn linked(&self) -> bool {
        self.linked
    }

    /// Whether the node is at nothing: no commit, trial or fetch.
    pub fn idle(&self) -> bool {
        self.task == Task::Idle
    }

    /// The place of this node in the document may change with a revision.
    pub fn set_first(&mut self, first: bool) {
        self.first = first;
    }

    /// Whether there is another node, and whether it can be reached.
    pub fn handle_link(&mut self, now: Instant, paired: bool, up: bool) {
        let was = self.linked;
        (self.paired, self.linked) = (paired, paired && up);
        if !paired {
            self.peer = None;
        }
        if self.linked && !was {
            self.exchange = now;
            if let Some(asking) = &mut self.asking {
                asking.again = Some(now);
            }
            self.handle_timeout(now);
        } else if !self.linked && was {
            self.shorten(now);
        }
    }

    /// The moment of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|d| now >= d) {
            self.expire(now);
        }
        if self.linked
            && let Some(asking) = &mut self.asking
            && asking.again.is_some_and(|at| now >= at)
        {
            asking.again = None;
            self.out.push_back(Output::Ask(asking.token, asking.request.clone()));
        }
        if self.may_exchange() && now >= self.exchange {
            self.exchange = now + if self.idle() { EXCHANGE } else { WATCH };
            let position = self.position();
            self.ask(Request::Position(position));
        }
    }

    #[cfg(test)]
    pub(super) fn task_name(&self) -> String {
        let whole = format!("{:?}", self.task);
        whole.split('(').next().unwrap_or_default().to_owned()
    }

    #[cfg(test)]
    pub(super) fn out_is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// A revision was handed over, or is not to be had.
    pub fn given(&mut self, token: Token, bundle: Option<Bundle>) {
        let response = bundle.map_or(Response::Refused(Refusal::Unknown), Response::Bundle);
        self.out.push_back(Output::Answer(token, response));
    }

    /// Positions are exchanged when nothing else is asked, and by a node that holds something for the other,
    /// which wants to know how that ends.
    fn may_exchange(&self) -> bool {
        self.linked
            && self.asking.is_none()
            && matches!(self.task, Task::Idle | Task::Prepared(..) | Task::PeerTrial(..))
    }

    /// The time of the task is over.
    fn expire(&mut self, now: Instant) {
        self.deadline = None;
        match std::mem::replace(&mut self.task, Task::Idle) {
            // It does not answer: on without it. What it may have prepared or applied it drops by itself.
            Task::Preparing(commit) | Task::PeerApplying(commit) => self.apply_here(commit),
            Task::OwnTrial(commit) => self.go_back(commit, Outcome::Back(PeerState::Alone)),
            Task::TellingKeep(_) => self.finish_kept(now),
            Task::TellingAbort(_, outcome) => self.end(now, outcome),
            Task::Prepared(..) => self.forget(now),
            Task::PeerTrial(id, _) => self.withdraw(None, id, false),
            // Here a person has decided, and nobody is there to disagree.
            Task::Forwarding(id, _, true) => self.accept(None, id),
            Task::Forwarding(id, _, false) => self.withdraw(None, id, false),
            Task::Fetching(id, over) => {
                self.retry = Some((now + RETRY, id, Refusal::Unknown));
                self.end_fetch(now, over, Outcome::Away);
            }
            Task::Overwriting => self.end(now, Outcome::Away),
            // These wait for this node itself and have no deadline.
            task @ (Task::Idle
            | Task::Applying(_)
            | Task::Keeping(_)
            | Task::GoingBack(..)
            | Task::Checking(..)
            | Task::PeerWantsIt(..)
            | Task::Accepting(..)
            | Task::Withdrawing(..)
            | Task::Adopting(..)) => self.task = task,
        }
    }

    /// The other node is not there: what waits for it waits only a little longer, should a path be changing.
    fn shorten(&mut self, now: Instant) {
        match &self.task {
            Task::Preparing(_)
            | Task::PeerApplying(_)
            | Task::TellingKeep(_)
            | Task::TellingAbort(..)
            | Task::Forwarding(..)
            | Task::Fetching(..)
            | Task::Overwriting => {
                let soon = now + GRACE;
                self.deadline = Some(self.deadline.map_or(soon, |d| d.min(soon)));
            }
            Task::Idle
            | Task::Applying(_)
            | Task::OwnTrial(_)
            | Task::Keeping(_)
            | Task::GoingBack(..)
            | Task::Checking(..)
            | Task::Prepared(..)
            | Task::PeerWantsIt(..)
            | Task::PeerTrial(..)
            | Task::Accepting(..)
            | Task::Withdrawing(..)
            | Task::Adopting(..) => {}
        }
    }

    /// What is proposed to the other node by this one: no more once it is being taken back.
    fn proposing(&self) -> Option<RevisionId> {
        let taken_back = matches!(self.task, Task::GoingBack(..) | Task::TellingAbort(..));
        self.task.own().filter(|_| !taken_back).map(|commit| commit.id)
    }

    // ------------------------------------------------------------------------------------------- what tasks are made of

    /// One request at a time: a new one takes the place of what was asked before, whose answer does not matter any more.
    fn ask(&mut self, request: Request) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.out.push_back(Output::Ask(token, request.clone()));
        self.asking = Some(Asking { token, request, again: None });
    }

    fn apply_here(&mut self, commit: Commit) {
        self.asking = None;
        self.deadline = None;
        let trial = Trial { confirm_s: commit.confirm_s, of_peer: false };
        self.out.push_back(Output::Act(Action::Apply { id: commit.id, trial }));
        self.task = Task::Applying(commit);
    }

    fn go_back(&mut self, commit: Commit, outcome: Outcome) {
        self.asking = None;
        self.deadline = None;
        self.out.push_back(Output::Act(Action::Back));
        self.task = Task::GoingBack(commit, outcome);
    }

    fn keep_here(&mut self, commit: Commit) {
        self.deadline = None;
        self.out.push_back(Output::Act(Action::Keep(commit.id)));
        self.task = Task::Keeping(commit);
    }

    /// Out of the way of what the other node proposes.
    fn forget(&mut self, now: Instant) {
        self.out.push_back(Output::Act(Action::Forget));
        self.rest(now);
    }

    fn accept(&mut self, token: Option<Token>, id: RevisionId) {
        self.asking = None;
        self.deadline = None;
        self.out.push_back(Output::Act(Action::Keep(id)));
        self.task = Task::Accepting(token, id);
    }

    fn withdraw(&mut self, token: Option<Token>, id: RevisionId, there: bool) {
        self.asking = None;
        self.deadline = None;
        self.out.push_back(Output::Act(Action::Back));
        self.task = Task::Withdrawing(token, id, there);
    }

    fn tell_abort(&mut self, now: Instant, commit: Commit, outcome: Outcome) {
        if !self.linked {
            self.end(now, outcome);
            return;
        }
        self.ask(Request::Abort(commit.id));
        self.deadline = Some(now + SETTLE);
        self.task = Task::TellingAbort(commit, outcome);
    }

    /// Committed here, and the other node has not said that it is there.
    fn finish_kept(&mut self, now: Instant) {
        let state = self.without_answer();
        self.end(now, Outcome::Kept(state));
    }

    fn without_answer(&self) -> PeerState {
        match (self.paired, self.linked) {
            (false, _) => PeerState::Alone,
            (true, false) => PeerState::Away,
            (true, true) => PeerState::Behind,
        }
    }

    /// Ends a task that a person may be waiting for.
    fn end(&mut self, now: Instant, outcome: Outcome) {
        if std::mem::take(&mut self.waiting) {
            self.out.push_back(Output::Finish(outcome));
        }
        self.rest(now);
    }

    fn end_fetch(&mut self, now: Instant, over: bool, outcome: Outcome) {
        if over { self.end(now, outcome) } else { self.rest(now) }
    }

    /// Nothing left to do but to see that both stand where they should.
    fn rest(&mut self, now: Instant) {
        (self.task, self.deadline, self.asking) = (Task::Idle, None, None);
        self.exchange = now;
        self.catch_up(now);
    }

    /// Fetches what the other node has and this one lacks.
    fn catch_up(&mut self, now: Instant) {
        if !self.idle() || !self.linked || self.asking.is_some() {
            return;
        }
        let Some(peer) = &self.peer else { return };
        let Some(head) = peer.head.filter(|_| compare(&self.own, peer) == Relation::Fetch) else { return };
        if self.retry.as_ref().is_some_and(|(at, id, _)| *id == head && now < *at) {
            return;
        }
        self.fetch(now, head, false);
    }

    fn fetch(&mut self, now: Instant, id: RevisionId, over: bool) {
        self.ask(Request::Fetch(id));
        self.deadline = Some(now + FETCH);
        self.task = Task::Fetching(id, over);
    }

    /// The other node has just told that it stands where we do.
    fn peer_is_here(&mut self) {
        self.peer = Some(Position { proposing: None, ..self.own.clone() });
    }
}

/// How long a trial for the other node is held.
fn held(confirm_s: Option<u32>) -> std::time::Duration {
    std::time::Duration::from_secs(confirm_s.unwrap_or(0).into()) + HOLD
}

impl Task {
    /// The commit that was typed here, if the task is about one.
    fn own(&self) -> Option<&Commit> {
        match self {
            Self::Preparing(commit)
            | Self::PeerApplying(commit)
            | Self::Applying(commit)
            | Self::OwnTrial(commit)
            | Self::Keeping(commit)
            | Self::TellingKeep(commit)
            | Self::GoingBack(commit, _)
            | Self::TellingAbort(commit, _) => Some(commit),
            Self::Idle
            | Self::Checking(..)
            | Self::Prepared(..)
            | Self::PeerWantsIt(..)
            | Self::PeerTrial(..)
            | Self::Forwarding(..)
            | Self::Accepting(..)
            | Self::Withdrawing(..)
            | Self::Fetching(..)
            | Self::Adopting(..)
            | Self::Overwriting => None,
        }
    }
}

impl Asking {
    fn lose(&mut self, now: Instant) {
        self.again = Some(now + AGAIN);
    }
}
