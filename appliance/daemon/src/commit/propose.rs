//! A commit that a person wants: everything that can be found wrong with it before anything is changed.

use std::time::{Instant, SystemTime};

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::documents::{CommitRequest, Diagnosis, Revision};
use rempart_config::model::TCP;
use rempart_pair::agreement::{Bundle, Record, RevisionId, Wish};
use rempart_plan::eval::{Evaluator, Packet, Verdict};

use super::{Held, MAX_WORDS, Waiting};
use crate::control::{Control, Ready, failed, json};
use crate::log::timestamp;
use crate::numbers;
use crate::service::Reply;
use crate::store::{self, Lineage};

/// Longest confirm countdown, in seconds: a day.
const MAX_CONFIRM_S: u32 = 86_400;

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
                let rolled_back = rollback_of.and_then(|n| self.store.id(n).ok());
                let bundle = bundle(&held, self.store.ancestors_of(held.lineage.parent), rolled_back);
                self.accord.held = Some(held);
                self.accord.waiting = Some(Waiting::Commit { reply, started, warnings, confirm_s });
                self.accord.machine.wish(started, Wish::Commit { bundle, confirm_s });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Everything that can be found wrong with a commit before anything is changed.
    pub(super) async fn propose(
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

    /// Whether a session is to this node: whoever uses a lab over SSH has one to the machine that the lab is on.
    pub(super) async fn is_ours(&self, ready: &Ready, session: &rempart_bus::documents::Session) -> bool {
        match self.engine.links().observe(&ready.plan.network).await {
            Ok(observed) => observed.addresses.iter().any(|(_, net)| net.addr() == session.server),
            Err(_) => true,
        }
    }

    /// Refuses a document under which the session that commits it could not be opened again.
    pub(super) fn check_lock_out(
        &self,
        ready: &Ready,
        session: &rempart_bus::documents::Session,
    ) -> Result<(), Error> {
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
fn bundle(held: &Held, ancestors: Vec<RevisionId>, rollback_of: Option<RevisionId>) -> Bundle {
    let record = store::record(&held.about, &held.lineage, store::digest(&held.document));
    Bundle {
        record: Record { rollback_of, ..record },
        document: held.document.clone(),
        ids: numbers::text(&held.lineage.numbers),
        ancestors,
        grammar: rempart_daemon::GRAMMAR,
    }
}
