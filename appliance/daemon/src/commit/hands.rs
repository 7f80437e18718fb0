//! What the agreement asks to be done: to read and plan a revision, to bring it into force, to keep it, to go back.

use std::time::Instant;

use rempart_bus::Error;
use rempart_bus::documents::Revision;
use rempart_pair::agreement::{Action, Bundle, Done, HOLD, Position, Refusal, RevisionId, Trial};
use tracing::{info, warn};

use super::outcome::{answer, nothing_pending, plain};
use super::{Held, MAX_REASON, MAX_WORDS};
use crate::control::{Control, RETRY, failed};
use crate::engine::Journalling;
use crate::numbers;
use crate::store::{self, Lineage, Pending, StoreError};

impl Control {
    pub(super) async fn act(&mut self, action: Action) -> Option<Done> {
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

    pub(super) fn note(&mut self, error: Error) -> String {
        let text = plain(&error);
        self.accord.failure = Some(error);
        text
    }

    /// Reads and plans a revision of the other node.
    pub(super) async fn hold(&mut self, bundle: Bundle) -> Result<Held, Refusal> {
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
            rollback_of: record.rollback_of.and_then(|id| self.store.find(id).ok().flatten()),
            ..Revision::default()
        };
        // What lies between, where it was never here, is known by its ids alone.
        let known = record.parent.is_none_or(|p| self.store.find(p).ok().flatten().is_some());
        let ancestors = if known { Vec::new() } else { bundle.ancestors };
        let lineage = Lineage { parent: record.parent, numbers, ancestors };
        Ok(Held { id, document: bundle.document, about, lineage, ready })
    }

    /// Brings what is held into force, on trial or about to be kept.
    pub(super) async fn apply(&mut self, id: RevisionId, trial: Trial) -> Result<(), Error> {
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
    pub(super) async fn keep(&mut self, id: RevisionId) -> Result<Position, Error> {
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
    pub(super) async fn adopt(&mut self, bundle: Bundle, over: bool) -> Result<Position, Refusal> {
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
    pub(super) async fn back_out(&mut self, revision: u32, error: Error) -> Error {
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

    pub(super) fn tidy(&self) -> Result<(), StoreError> {
        self.store.set_pending(None)?;
        // A candidate that is in force now is no candidate any more; another one is somebody's work.
        let candidate = self.store.candidate()?;
        if self.running.as_ref().is_some_and(|r| candidate.as_ref() == Some(&r.document)) {
            self.store.set_candidate(None)?;
        }
        self.store.prune()
    }

    pub(super) async fn go_back(&mut self) -> Result<(), Error> {
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

    pub(super) fn forget_trial(&self, document: Option<&str>) -> Result<(), StoreError> {
        self.store.set_pending(None)?;
        // What was tried stays at hand as the candidate where it was typed, unless somebody has put other work there.
        if document.is_some() && self.store.candidate()?.is_none() {
            self.store.set_candidate(document)?;
        }
        Ok(())
    }
}
