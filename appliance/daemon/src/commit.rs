//! Commits, over both nodes where there are two: the hands of [`rempart_pair::agreement`].
//!
//! The control loop turns what a person wants into a wish, does the actions that the machine asks for, and answers the
//! person when the machine says how it ended. While the other node is waited for the loop goes on turning.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::documents::{CommitReport, CommitRequest, Diagnosis, Fault, PeerReport, Revision};
use rempart_bus::ha::ConfigurationStatus;
use rempart_config::model::TCP;
use rempart_pair::agreement::{
    Action, Agreement, Bundle, Done, HOLD, Outcome, Output, PeerState, Position, Refusal, Relation, Request,
    Response, Resume, RevisionId, State, Token, Trial, Wish, compare,
};
use rempart_plan::eval::{Evaluator, Packet, Verdict};
use rempart_plan::ha::HaPlan;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::control::{Control, RETRY, Ready, failed, json};
use crate::engine::{Applied, Journalling};
use crate::log::timestamp;
use crate::numbers;
use crate::peer::{self, Peer, PeerNews, Told};
use crate::service::Reply;
use crate::store::{self, Lineage, Pending, StoreError};

/// Longest confirm countdown, in seconds: a day.
const MAX_CONFIRM_S: u32 = 86_400;
/// Longest comment and author that a revision keeps, in characters.
const MAX_WORDS: usize = 1_000;
/// Requests of the other node that wait for an answer: it has one under way, and may have sent it again.
const MAX_ANSWERS: usize = 16;
/// How long the other node may take to hand over a document for a diff.
const DIFF: std::time::Duration = std::time::Duration::from_secs(30);
/// Longest text about a fault that travels to the other node, in characters.
const MAX_REASON: usize = 4_000;

/// A revision that may be brought into force.
#[derive(Debug)]
struct Held {
    id: RevisionId,
    document: String,
    about: Revision,
    lineage: Lineage,
    ready: Ready,
}

/// A person who waits for the end of a wish.
#[derive(Debug)]
enum Waiting {
    Commit { reply: Reply<String>, started: Instant, warnings: Vec<Diagnosis>, confirm_s: Option<u32> },
    Confirm(Reply<u32>),
    Revert(Reply<u32>),
    Resolve(Reply<u32>),
}

/// What the control loop holds for the agreement of the two nodes.
#[derive(Debug)]
pub struct Accord {
    machine: Agreement,
    peer: Peer,
    /// News of `rempart-ha` and the other node.
    pub(crate) news: mpsc::Receiver<PeerNews>,
    held: Option<Held>,
    waiting: Option<Waiting>,
    answers: BTreeMap<Token, Reply<Vec<u8>>>,
    next: u64,
    /// What the last apply did, for the report.
    applied: Applied,
    /// Why the last action failed, for the person.
    failure: Option<Error>,
    /// Going back has failed and is tried again.
    retreating: bool,
    /// The plan of the elector, as it was last told, with its revision.
    plan: (String, u32),
    /// The number that the other node's head has here, which takes reading the history to find.
    known: std::cell::Cell<Option<(RevisionId, RevisionId, Option<u32>)>>,
    /// Joined by a person on this node: what is committed here gives way to what the other node has.
    joined: bool,
}

impl Accord {
    /// What goes on from `position`, perhaps with a commit on trial.
    pub fn new(position: Position, pending: Option<&(RevisionId, Pending)>) -> Self {
        let resume = pending.map(|(id, pending)| {
            let left = pending.deadline_unix_s.saturating_sub(store::unix_now() + pending.held_s());
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let confirm_s = pending.confirm.then_some(left);
            Resume { id: *id, trial: Trial { confirm_s, of_peer: pending.of_peer } }
        });
        let (peer, news) = Peer::new();
        Self {
            machine: Agreement::new(Instant::now(), true, position, resume),
            peer,
            news,
            held: None,
            waiting: None,
            answers: BTreeMap::new(),
            next: 0,
            applied: Applied::default(),
            failure: None,
            retreating: false,
            plan: (String::new(), 0),
            known: std::cell::Cell::new(None),
            joined: false,
        }
    }

    /// Follows `rempart-ha` on this bus.
    pub fn connect(&mut self, connection: zbus::Connection) {
        self.peer.connect(connection);
    }

    /// When [`Control::agree`] is to be called at the latest.
    pub fn wake(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }
}

impl Control {
    /// Commits a document; `reply` hears of it when it is decided.
    pub(crate) async fn commit(
        &mut self,
        request: CommitRequest,
        rollback_of: Option<u32>,
        reply: Reply<String>,
    ) {
        let started = Instant::now();
        let confirm_s = request.confirm_s;
        match self.propose(&request, rollback_of).await {
            Ok((held, warnings)) => {
                let bundle = bundle(&held, self.store.ancestors_of(held.lineage.parent));
                self.accord.held = Some(held);
                self.accord.waiting = Some(Waiting::Commit { reply, started, warnings, confirm_s });
                self.accord.machine.wish(started, Wish::Commit { bundle, confirm_s });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Everything that can be found wrong with a commit before anything is changed.
    async fn propose(
        &mut self,
        request: &CommitRequest,
        rollback_of: Option<u32>,
    ) -> Result<(Held, Vec<Diagnosis>), Error> {
        if let Some(pending) = self.pending.as_ref().filter(|p| p.confirm) {
            let message = format!(
                "revision {} by {} waits for confirmation: `rempart confirm` keeps it, `rempart revert` takes it back",
                pending.revision, pending.author
            );
            return Err(Error::Busy(message));
        }
        if self.accord.waiting.is_some() || !self.accord.machine.idle() {
            return Err(self.busy());
        }
        if request.confirm_s.is_some_and(|s| s == 0 || s > MAX_CONFIRM_S) {
            return Err(Error::Refused(format!("the countdown must be 1 to {MAX_CONFIRM_S} seconds")));
        }
        let current = self.store.current().map_err(failed)?;
        if request.confirm_s.is_some() && current.is_none() {
            let message =
                "this is the first revision, so there is nothing to go back to: commit it without --confirm";
            return Err(RefusalCode::FirstRevision.error(message));
        }
        let document = match &request.document {
            Some(document) => document.clone(),
            None => self.candidate().map_err(failed)?,
        };
        let (report, model) = self.examine(&document);
        if request.shown.as_ref().is_some_and(|shown| *shown != report.digest) {
            let message =
                "the candidate has changed since it was shown: look at it again. Nothing was changed";
            return Err(Error::Busy(message.into()));
        }
        let Some(model) = model else { return Err(Error::Invalid(json(&report)?)) };
        if !report.valid {
            return Err(Error::Assertion(json(&report)?));
        }
        let ready = self.prepare(model, self.ids.clone()).await?;
        if let (Some(session), false) = (&request.session, request.force)
            && self.is_ours(&ready, session).await
        {
            self.check_lock_out(&ready, session)?;
        }
        let parent = current.map(|c| self.store.id(c)).transpose().map_err(failed)?;
        let there = self.accord.machine.peer().map_or(0, |p| p.last);
        let about = Revision {
            number: self.store.last().map_err(failed)?.max(there) + 1,
            time: timestamp(SystemTime::now()),
            author: request.author.chars().take(MAX_WORDS).collect(),
            comment: request.comment.chars().take(MAX_WORDS).collect(),
            rollback_of,
            ..Revision::default()
        };
        let numbers = numbers::of(&ready.model, &ready.ids);
        let lineage = Lineage { parent, numbers, ancestors: Vec::new() };
        let id = store::record(&about, &lineage, report.digest.clone()).id();
        Ok((Held { id, document, about, lineage, ready }, report.diagnostics))
    }

    /// Keeps the commit on trial.
    pub(crate) fn confirm(&mut self, reply: Reply<u32>) {
        self.wish(Wish::Confirm, Waiting::Confirm(reply));
    }

    /// Takes the commit on trial back.
    pub(crate) fn revert(&mut self, reply: Reply<u32>) {
        self.wish(Wish::Revert, Waiting::Revert(reply));
    }

    /// The two have diverged, and a person has chosen.
    pub(crate) fn resolve(&mut self, choice: &str, reply: Reply<u32>) {
        let ours = match choice {
            "ours" => true,
            "theirs" => false,
            other => {
                let message = format!("`{other}` is neither `ours` nor `theirs`");
                return drop(reply.send(Err(Error::Refused(message))));
            }
        };
        self.wish(Wish::Resolve { ours }, Waiting::Resolve(reply));
    }

    fn wish(&mut self, wish: Wish, waiting: Waiting) {
        if self.accord.waiting.is_some() || self.accord.retreating {
            let error = self.busy();
            return answer(waiting, Err(error));
        }
        self.accord.waiting = Some(waiting);
        self.accord.machine.wish(Instant::now(), wish);
    }

    fn busy(&self) -> Error {
        let other = self.other_node();
        Error::Busy(format!("a commit or a change of {other} is under way; try again in a moment"))
    }

    /// The other node's name, for a person.
    pub(crate) fn other_node(&self) -> String {
        let other =
            self.running.as_ref().and_then(|r| r.model.nodes.iter().find(|n| n.as_str() != self.node));
        other.map_or_else(|| "the other node".into(), ToString::to_string)
    }

    /// News of the other node.
    pub(crate) fn hear(&mut self, news: PeerNews) {
        let now = Instant::now();
        match news {
            PeerNews::Link { paired, connected } => {
                if connected != self.accord.machine.linked() {
                    info!(connected, "the other node");
                }
                self.accord.machine.handle_link(now, paired, connected);
            }
            PeerNews::Answer(token, Some(response)) => {
                self.accord.machine.handle_answer(now, token, *response)
            }
            PeerNews::Answer(token, None) => self.accord.machine.handle_lost(now, token),
        }
    }

    /// A request of the other node, or a word of our own `rempart-ha`.
    pub(crate) fn peer_request(&mut self, topic: &str, body: &[u8], reply: Reply<Vec<u8>>) {
        if topic == "joined" {
            self.accord.joined = true;
            return drop(reply.send(Ok(Vec::new())));
        }
        if topic != peer::TOPIC {
            return drop(reply.send(Err(Error::Failed(format!("nothing is known about `{topic}`")))));
        }
        let request = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("the request of the other node cannot be read: {error}");
                return drop(reply.send(Err(Error::Failed(message))));
            }
        };
        if self.accord.answers.len() >= MAX_ANSWERS {
            return drop(reply.send(Err(Error::Busy("too many requests of the other node".into()))));
        }
        let token = Token(self.accord.next);
        self.accord.next += 1;
        self.accord.answers.insert(token, reply);
        self.accord.machine.handle_request(Instant::now(), token, request);
    }

    /// Does what the machine asks for, until it asks for nothing more.
    pub(crate) async fn agree(&mut self) {
        let now = Instant::now();
        if self.accord.machine.poll_timeout().is_some_and(|at| now >= at) {
            self.accord.machine.handle_timeout(now);
        }
        while let Some(output) = self.accord.machine.poll_output() {
            match output {
                Output::Ask(token, request) => self.accord.peer.ask(token, &request),
                Output::Answer(token, response) => {
                    if let Some(reply) = self.accord.answers.remove(&token) {
                        let answer = serde_json::to_vec(&response).map_err(failed);
                        let _ = reply.send(answer);
                    }
                }
                Output::Act(action) => {
                    if let Some(done) = self.act(action).await {
                        self.accord.machine.done(Instant::now(), done);
                    }
                }
                Output::Finish(outcome) => self.finish(outcome),
            }
        }
        // The other side asks again what we have forgotten.
        self.accord.answers.retain(|_, reply| !reply.is_closed());
        if self.accord.machine.idle() {
            self.join_in();
        }
        self.tell();
    }

    /// A box that was joined by a person takes what the other one has, although its own revisions have another origin.
    fn join_in(&mut self) {
        if !self.accord.joined || self.accord.waiting.is_some() {
            return;
        }
        let own = self.accord.machine.position();
        let Some(peer) = self.accord.machine.peer().filter(|_| self.accord.machine.linked()) else { return };
        self.accord.joined = false;
        let related = own.ancestors.iter().chain(&own.head).any(|id| peer.ancestors.contains(id))
            || peer.head.is_some_and(|head| own.ancestors.contains(&head));
        if compare(&own, peer) == Relation::Diverged && !related {
            info!("joining: the other node's revision takes the place of ours, which stays in the history");
            self.accord.machine.wish(Instant::now(), Wish::Resolve { ours: false });
        }
    }

    async fn act(&mut self, action: Action) -> Option<Done> {
        self.accord.failure = None;
        let done = match action {
            Action::Check(bundle) => {
                let held = self.hold(bundle).await;
                Done::Checked(held.map(|held| self.accord.held = Some(held)))
            }
            Action::Apply { id, trial } => {
                Done::Applied(self.apply(id, trial).await.map_err(|e| self.note(e)))
            }
            Action::Keep(id) => Done::Kept(self.keep(id).await.map_err(|e| self.note(e))),
            Action::Back => {
                if let Err(error) = self.go_back().await {
                    warn!(%error, "cannot go back; trying again");
                    self.accord.retreating = true;
                    if let Some(waiting) = self.accord.waiting.take() {
                        answer(waiting, Err(error));
                    }
                    return None;
                }
                Done::Back
            }
            Action::Adopt { bundle, over } => Done::Adopted(self.adopt(bundle, over).await),
            Action::Give(token, id) => {
                let revision = self.store.find(id).ok().flatten();
                let bundle = revision.and_then(|r| self.store.bundle(r).ok());
                self.accord.machine.given(token, bundle);
                return None;
            }
            Action::Forget => {
                self.accord.held = None;
                return None;
            }
        };
        Some(done)
    }

    /// Tries again to go back, where that has failed.
    pub(crate) async fn retreat(&mut self) {
        if self.accord.retreating && self.go_back().await.is_ok() {
            self.accord.retreating = false;
            self.accord.machine.done(Instant::now(), Done::Back);
        }
    }

    fn note(&mut self, error: Error) -> String {
        let text = plain(&error);
        self.accord.failure = Some(error);
        text
    }

    /// Reads and plans a revision of the other node.
    async fn hold(&mut self, bundle: Bundle) -> Result<Held, Refusal> {
        let id = bundle.verified().ok_or(Refusal::Damaged)?;
        let reading = rempart_config::read(&bundle.document);
        let Some(model) = reading.model else {
            let text = rempart_config::render(&reading.diagnostics, "rempart.toml", &bundle.document, false);
            return Err(Refusal::Invalid(text.chars().take(MAX_REASON).collect()));
        };
        let words = |text: &str| text.chars().count() <= MAX_WORDS;
        if !words(&bundle.record.author) || !words(&bundle.record.comment) || !words(&bundle.record.time) {
            return Err(Refusal::Damaged);
        }
        let numbers = numbers::parse(&bundle.ids).ok_or(Refusal::Damaged)?;
        let ids = numbers::adopt(&self.ids, &numbers);
        let ready = self.prepare(model, ids).await.map_err(|e| Refusal::Invalid(plain(&e)))?;
        let record = bundle.record;
        let about = Revision {
            number: record.number,
            time: record.time,
            author: record.author,
            comment: record.comment,
            ..Revision::default()
        };
        // What lies between, where it was never here, is known by its ids alone.
        let known = record.parent.is_none_or(|p| self.store.find(p).ok().flatten().is_some());
        let ancestors = if known { Vec::new() } else { bundle.ancestors };
        let lineage = Lineage { parent: record.parent, numbers, ancestors };
        Ok(Held { id, document: bundle.document, about, lineage, ready })
    }

    /// Brings what is held into force, on trial or about to be kept.
    async fn apply(&mut self, id: RevisionId, trial: Trial) -> Result<(), Error> {
        let held = self.accord.held.take().filter(|held| held.id == id);
        let Some(Held { document, about, lineage, ready, .. }) = held else {
            return Err(Error::Failed("the revision was not made ready".into()));
        };
        let ready = self.fresh(ready).await?;
        let revision = self.store.add(&document, &about, &lineage).map_err(failed)?;
        let seconds = trial.confirm_s.map_or(0, u64::from) + if trial.of_peer { HOLD.as_secs() } else { 0 };
        let pending = (trial.of_peer || trial.confirm_s.is_some()).then(|| Pending {
            revision,
            deadline_unix_s: store::unix_now() + seconds,
            boot_id: store::boot_id(),
            author: about.author.clone(),
            of_peer: trial.of_peer,
            confirm: trial.confirm_s.is_some(),
        });
        // The trial is noted before the kernel changes: a crash in between ends it by its deadline.
        if let Err(error) = self.store.set_pending(pending.as_ref()) {
            let _ = self.store.discard(revision);
            return Err(failed(error));
        }
        match self.put_in_force(revision, document, ready, Journalling::Required).await {
            Ok(applied) => {
                self.accord.applied = applied;
                self.pending = pending;
                Ok(())
            }
            Err(error) => {
                let forgotten = self.store.set_pending(None).and_then(|()| self.store.discard(revision));
                if let Err(error) = forgotten {
                    warn!(revision, %error, "a revision that was not committed cannot be removed");
                }
                Err(error)
            }
        }
    }

    /// Makes the revision in force the committed one.
    async fn keep(&mut self, id: RevisionId) -> Result<Position, Error> {
        let Some(revision) = self.running.as_ref().map(|r| r.revision) else {
            return Err(Error::Failed("nothing is in force".into()));
        };
        if let Err(error) = self.store.set_current(revision) {
            return Err(self.back_out(revision, failed(error)).await);
        }
        self.pending = None;
        // It is committed. What is left is tidying, which the next commit can do as well.
        if let Err(error) = self.tidy() {
            warn!(revision, %error, "committed, but the state folder cannot be tidied");
        }
        match self.store.about(revision) {
            Ok(about) => info!(revision, author = about.author, comment = about.comment, "committed"),
            Err(error) => warn!(revision, %error, "committed, but cannot be read back"),
        }
        // What the disk says of the lineage; were it to fail now, the commit stands all the same.
        let position = self.store.position().unwrap_or_else(|error| {
            warn!(%error, "the lineage cannot be read");
            Position { head: Some(id), number: revision, last: revision, ..self.accord.machine.position() }
        });
        Ok(position)
    }

    /// Takes a revision of the other node in place of the committed one.
    async fn adopt(&mut self, bundle: Bundle, over: bool) -> Result<Position, Refusal> {
        let held = self.hold(bundle).await?;
        let (id, Held { document, about, lineage, ready, .. }) = (held.id, held);
        // One that was here before a person chose the other is taken up again as it is.
        let known = self.store.find(id).ok().flatten();
        let revision = match known {
            Some(revision) => revision,
            None => {
                self.store.add(&document, &about, &lineage).map_err(|e| Refusal::Failed(e.to_string()))?
            }
        };
        info!(revision, author = about.author, over, "taking the other node's revision");
        if let Err(error) = self.put_in_force(revision, document, ready, Journalling::Required).await {
            if known.is_none()
                && let Err(error) = self.store.discard(revision)
            {
                warn!(revision, %error, "a revision that was not committed cannot be removed");
            }
            return Err(Refusal::Failed(plain(&error)));
        }
        self.keep(id).await.map_err(|e| Refusal::Failed(plain(&e)))
    }

    /// Takes back a policy that is in force but cannot be noted as the committed one.
    async fn back_out(&mut self, revision: u32, error: Error) -> Error {
        self.pending = None;
        let back = match self.store.current() {
            Ok(Some(current)) => self.enforce(current).await.map(drop),
            // The first revision: there is nothing to go back to, and a policy is better than none.
            Ok(None) => Ok(()),
            Err(error) => Err(failed(error)),
        };
        if let Err(back) = back {
            warn!(revision, error = %back, "cannot go back");
            let message = format!("revision {revision} is not committed, and in force: {back}");
            self.complain("apply", "apply-failed", message);
            self.due = Some(Instant::now() + RETRY);
        }
        let forgotten = self.store.set_pending(None).and_then(|()| self.store.discard(revision));
        if let Err(error) = forgotten {
            warn!(revision, %error, "a revision that was not committed cannot be removed");
        }
        error
    }

    fn tidy(&self) -> Result<(), StoreError> {
        self.store.set_pending(None)?;
        // A candidate that is in force now is no candidate any more; another one is somebody's work.
        let candidate = self.store.candidate()?;
        if self.running.as_ref().is_some_and(|r| candidate.as_ref() == Some(&r.document)) {
            self.store.set_candidate(None)?;
        }
        self.store.prune()
    }

    async fn go_back(&mut self) -> Result<(), Error> {
        let own = self.pending.as_ref().is_none_or(|p| !p.of_peer);
        let trial = self.running.as_ref().map(|r| (r.revision, r.document.clone()));
        let current = self.store.current().map_err(failed)?.ok_or_else(nothing_pending)?;
        self.enforce(current).await?;
        self.pending = None;
        info!(revision = current, "went back");
        let document = trial.as_ref().filter(|_| own).map(|(_, document)| document.as_str());
        if let Err(error) = self.forget_trial(document) {
            // The note has a deadline: after a restart it counts for nothing.
            warn!(%error, "went back, but the state folder cannot be tidied");
        }
        if let Some((revision, _)) = trial.filter(|(revision, _)| !own && *revision != current)
            && let Err(error) = self.store.discard(revision)
        {
            warn!(revision, %error, "a revision of the other node that was not committed cannot be removed");
        }
        Ok(())
    }

    fn forget_trial(&self, document: Option<&str>) -> Result<(), StoreError> {
        self.store.set_pending(None)?;
        // What was tried stays at hand as the candidate where it was typed, unless somebody has put other work there.
        if document.is_some() && self.store.candidate()?.is_none() {
            self.store.set_candidate(document)?;
        }
        Ok(())
    }

    /// A wish has come to its end: the person who had it hears of it.
    fn finish(&mut self, outcome: Outcome) {
        let Some(waiting) = self.accord.waiting.take() else { return };
        let other = self.other_node();
        let current = self.store.current().ok().flatten();
        let in_force = self.running.as_ref().map_or(0, |r| r.revision);
        let error = match outcome {
            Outcome::OnTrial(state) | Outcome::Kept(state) | Outcome::Back(state) => {
                let went_back = matches!(outcome, Outcome::Back(_));
                return match (waiting, went_back) {
                    (Waiting::Commit { reply, started, warnings, confirm_s }, false) => {
                        let Applied { steps, cut, missing: _ } = std::mem::take(&mut self.accord.applied);
                        let report = CommitReport {
                            revision: in_force,
                            steps,
                            connections_cut: cut,
                            duration_ms: started.elapsed().as_millis() as u64,
                            warnings,
                            confirm_s,
                            peer: peer_report(state, other),
                        };
                        drop(reply.send(json(&report)));
                    }
                    (Waiting::Confirm(reply) | Waiting::Resolve(reply), false)
                    | (Waiting::Revert(reply), true) => {
                        drop(reply.send(current.ok_or_else(nothing_pending)));
                    }
                    (
                        waiting @ (Waiting::Confirm(_) | Waiting::Resolve(_) | Waiting::Commit { .. }),
                        true,
                    ) => {
                        answer(waiting, Err(Error::NotFound(format!("{other} has taken it back already"))));
                    }
                    (waiting @ Waiting::Revert(_), false) => {
                        answer(waiting, Err(Error::NotFound(format!("it was confirmed on {other} already"))));
                    }
                };
            }
            Outcome::Chosen => {
                let Waiting::Resolve(reply) = waiting else { return };
                return drop(reply.send(current.ok_or_else(nothing_pending)));
            }
            Outcome::Busy => Error::Busy(format!(
                "a commit is under way or on trial on {other}; nothing was changed, try again when it is decided"
            )),
            Outcome::Overtaken => Error::Busy(format!(
                "{other} commits at the same moment and comes first; nothing was changed here, look at its revision"
            )),
            Outcome::Behind => Error::Busy(format!(
                "{other} has a newer revision, which this node is about to take; look at it first. Nothing was changed"
            )),
            Outcome::Nothing => match &waiting {
                Waiting::Resolve(_) => RefusalCode::NotDiverged.error("the two nodes have not diverged"),
                Waiting::Commit { .. } | Waiting::Confirm(_) | Waiting::Revert(_) => nothing_pending(),
            },
            Outcome::Away => {
                RefusalCode::PeerAway.error(format!("{other} cannot be reached; nothing was changed"))
            }
            Outcome::Peer(refusal) => {
                let why = reason(&refusal, &other);
                Error::Refused(format!("{why}. Nothing was changed on either node"))
            }
            Outcome::Own(text) => self.accord.failure.take().unwrap_or(Error::Failed(text)),
        };
        answer(waiting, Err(error));
    }

    /// How the two stand.
    pub(crate) fn agreement(&self) -> ConfigurationStatus {
        let machine = &self.accord.machine;
        let own = machine.position();
        let state = machine.state();
        let other = machine.peer();
        let known =
            own.head.zip(other.and_then(|p| p.head)).and_then(|(own, theirs)| self.known_as(own, theirs));
        let other_number = known.or_else(|| other.map(|p| p.number).filter(|n| *n > 0));
        let obstacle = match &state {
            State::Behind(Some(refusal)) => Some(reason(refusal, &self.other_node())),
            State::Behind(None)
            | State::Alone
            | State::Unknown
            | State::Same
            | State::Ahead
            | State::Delivering
            | State::Diverged => None,
        };
        ConfigurationStatus {
            own: Some(own.number).filter(|n| *n > 0),
            other: other_number,
            state: state_name(&state).into(),
            id: own.head.map(|id| id.to_string()),
            other_id: other.and_then(|p| p.head).map(|id| id.to_string()),
            obstacle,
        }
    }

    /// The number that a revision of the other node has here, where it is kept here. It changes only with a head.
    fn known_as(&self, own: RevisionId, theirs: RevisionId) -> Option<u32> {
        match self.accord.known.get() {
            Some((of, about, number)) if (of, about) == (own, theirs) => number,
            Some(_) | None => {
                let number = self.store.find(theirs).ok().flatten();
                self.accord.known.set(Some((own, theirs, number)));
                number
            }
        }
    }

    /// What is amiss between the two, for the status.
    pub(crate) fn disagreement(&self) -> Option<Fault> {
        let other = self.other_node();
        let own = self.accord.machine.position().number;
        let (code, message) = match self.accord.machine.state() {
            State::Diverged => (
                "diverged",
                format!(
                    "this node and {other} have different revisions and neither follows the other: each keeps its own. \
                     `rempart ha diff` shows how they differ, `rempart ha resolve mine` or `rempart ha resolve theirs` \
                     chooses for both"
                ),
            ),
            State::Ahead => (
                "peer-behind",
                format!("{other} cannot be reached and lacks revision {own}; it gets it when it is back"),
            ),
            State::Behind(Some(Refusal::Grammar(known))) => (
                "peer-newer",
                format!(
                    "{other} has a revision of a newer product, whose grammar this one does not know (it knows {known}): \
                     revision {own} stays in force here; update this node"
                ),
            ),
            State::Behind(Some(refusal)) => (
                "peer-refused",
                format!(
                    "{}; revision {own} stays in force here, and it is tried again",
                    reason(&refusal, &other)
                ),
            ),
            State::Behind(None) | State::Alone | State::Unknown | State::Same | State::Delivering => {
                return None;
            }
        };
        Some(Fault { code: code.into(), message })
    }

    /// The plan of the elector, as JSON; the empty text where the document asks for none.
    pub(crate) fn ha_plan(&self) -> Result<String, Error> {
        let plan = self.running.as_ref().and_then(|r| HaPlan::of(&r.model, r.node));
        plan.map_or_else(|| Ok(String::new()), |plan| json(&plan))
    }

    /// Another plan is in force: the elector hears of it at the end of the turn.
    pub(crate) fn replan(&mut self) {
        if let Some(running) = &self.running {
            self.accord.machine.set_first(running.node.get() == 0);
            self.accord.plan = (self.ha_plan().unwrap_or_default(), running.revision);
        }
    }

    fn tell(&mut self) {
        if self.running.is_none() {
            return;
        }
        let (plan, revision) = self.accord.plan.clone();
        let agreement = serde_json::to_string(&self.agreement()).unwrap_or_default();
        self.accord.peer.tell(Told { plan, revision, agreement });
    }

    /// A unified diff of which one side, or both, is what is committed on the other node. That one is asked in a task of
    /// its own. A side of this node is given by its name and its document.
    pub(crate) fn peer_diff(&self, sides: [(String, Option<String>); 2], reply: Reply<String>) {
        let other = self.other_node();
        let head = self.accord.machine.peer().and_then(|p| p.head);
        let (Some(head), Some(connection)) = (head, self.accord.peer.connection()) else {
            return drop(
                reply.send(Err(
                    RefusalCode::PeerAway.error(format!("nothing is known of {other}'s revision"))
                )),
            );
        };
        tokio::spawn(async move {
            let body = serde_json::to_vec(&Request::Fetch(head)).unwrap_or_default();
            let answer = tokio::time::timeout(DIFF, peer::exchange(&connection, &body)).await.ok().flatten();
            let diff = match answer {
                Some(Response::Bundle(bundle)) => {
                    let [(from, old), (to, new)] = &sides;
                    let old = old.as_ref().unwrap_or(&bundle.document);
                    let new = new.as_ref().unwrap_or(&bundle.document);
                    let diff = similar::TextDiff::from_lines(old.as_str(), new.as_str());
                    Ok(diff.unified_diff().context_radius(3).header(from, to).to_string())
                }
                Some(_) | None => Err(RefusalCode::PeerAway.error(format!("{other} does not answer"))),
            };
            let _ = reply.send(diff);
        });
    }

    /// Whether a session is to this node: whoever uses a lab over SSH has one to the machine that the lab is on.
    async fn is_ours(&self, ready: &Ready, session: &rempart_bus::documents::Session) -> bool {
        match self.engine.links().observe(&ready.plan.network).await {
            Ok(observed) => observed.addresses.iter().any(|(_, net)| net.addr() == session.server),
            Err(_) => true,
        }
    }

    /// Refuses a document under which the session that commits it could not be opened again.
    fn check_lock_out(&self, ready: &Ready, session: &rempart_bus::documents::Session) -> Result<(), Error> {
        let evaluator = Evaluator::new(&ready.model, &ready.plan.world, &ready.facts);
        let refuse = |why: String| {
            Err(Error::LockOut(format!(
                "this would cut your own session from {} to {} port {}: {why}. Nothing was changed; \
                 --force commits it all the same",
                session.client, session.server, session.server_port
            )))
        };
        let arrival = match evaluator.arrival(None, session.client) {
            Ok(arrival) => arrival,
            Err(error) => return refuse(error.to_string()),
        };
        let packet = Packet {
            arrival,
            source: session.client,
            destination: session.server,
            protocol: TCP,
            source_port: session.client_port,
            port: session.server_port,
        };
        let outcome = evaluator.judge(&packet);
        let reaches = outcome.hop == Some(rempart_plan::world::Hop::Local);
        if outcome.verdict == Verdict::Allow && reaches {
            return Ok(());
        }
        match evaluator.explain(&packet) {
            Ok(explanation) if reaches => refuse(explanation.summary),
            _ => refuse(format!("{} would not be an address of the firewall any more", session.server)),
        }
    }
}

/// A revision for the other node.
fn bundle(held: &Held, ancestors: Vec<RevisionId>) -> Bundle {
    Bundle {
        record: store::record(&held.about, &held.lineage, store::digest(&held.document)),
        document: held.document.clone(),
        ids: numbers::text(&held.lineage.numbers),
        ancestors,
        grammar: store::GRAMMAR,
    }
}

fn peer_report(state: PeerState, node: String) -> Option<PeerReport> {
    let state = match state {
        PeerState::Alone => return None,
        PeerState::Same => "same",
        PeerState::Away => "away",
        PeerState::Behind => "behind",
    };
    Some(PeerReport { node, state: state.into() })
}

fn state_name(state: &State) -> &'static str {
    match state {
        State::Alone | State::Unknown => "unknown",
        State::Same => "same",
        State::Ahead => "ahead",
        State::Delivering => "delivering",
        State::Behind(_) => "behind",
        State::Diverged => "diverged",
    }
}

/// Why a node refuses a revision, for a person.
fn reason(refusal: &Refusal, other: &str) -> String {
    match refusal {
        Refusal::Busy => format!("{other} is busy with another commit"),
        Refusal::Elsewhere(_) => format!("{other} stands elsewhere"),
        Refusal::Unknown => format!("{other} does not hand its revision over"),
        Refusal::Invalid(why) => format!("the document of {other} or for it is not valid there:\n{why}"),
        Refusal::Grammar(known) => {
            format!(
                "the document is written in a newer grammar than one of the nodes knows ({known}): update that node"
            )
        }
        Refusal::Failed(why) => format!("the other node could not bring it into force: {why}"),
        Refusal::Damaged => format!("what {other} sent is not what it says it is"),
    }
}

/// The text of an error without its name on the bus.
fn plain(error: &Error) -> String {
    let text = match error {
        Error::ZBus(error) => error.to_string(),
        Error::Invalid(text)
        | Error::Assertion(text)
        | Error::LockOut(text)
        | Error::Busy(text)
        | Error::NotFound(text)
        | Error::Refused(text)
        | Error::Apply(text)
        | Error::Failed(text) => text.clone(),
    };
    text.chars().take(MAX_REASON).collect()
}

fn answer(waiting: Waiting, result: Result<u32, Error>) {
    match waiting {
        // A caller that has gone away is not an error.
        Waiting::Commit { reply, .. } => drop(reply.send(result.and_then(|r| json(&r)))),
        Waiting::Confirm(reply) | Waiting::Revert(reply) | Waiting::Resolve(reply) => {
            drop(reply.send(result))
        }
    }
}

fn nothing_pending() -> Error {
    Error::NotFound("no commit waits for confirmation".into())
}
