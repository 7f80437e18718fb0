//! The history of a node that was away, or is new: the other node delivers the revision in force, and what that one follows is
//! asked for afterwards, so that both list the same. Nothing of it is brought into force.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rempart_bus::documents::Revision;
use rempart_pair::agreement::{Bundle, RevisionId, State};
use tracing::{info, warn};

use super::MAX_WORDS;
use crate::control::Control;
use crate::numbers;
use crate::store::Lineage;

/// When it is tried again after the other node did not answer, or there was something else to do.
const AGAIN: Duration = Duration::from_secs(15);

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The head whose past is all here, as far as it is to be had.
    whole: Option<RevisionId>,
    /// It is being asked for.
    asking: bool,
    /// When it may be tried again.
    again: Option<Instant>,
    /// What the other node does not keep either.
    lost: BTreeSet<RevisionId>,
}

impl Control {
    /// Asks for what this node lacks of the past, once for each head, while both stand at the same.
    pub(super) fn ask_past(&mut self) {
        let past = &self.accord.past;
        let head = self.accord.machine.position().head;
        let waits = past.asking || past.again.is_some_and(|at| Instant::now() < at);
        if waits || head.is_none() || past.whole == head || self.accord.machine.state() != State::Same {
            return;
        }
        let missing = match self.store.missing() {
            Ok(missing) => missing,
            Err(error) => {
                warn!(%error, "the history cannot be read");
                self.accord.past.again = Some(Instant::now() + AGAIN);
                return;
            }
        };
        let missing: Vec<_> = missing.into_iter().filter(|id| !self.accord.past.lost.contains(id)).collect();
        if missing.is_empty() {
            self.accord.past.whole = head;
            return;
        }
        info!(revisions = missing.len(), "asking the other node for what came before");
        self.accord.past.asking = self.accord.peer.ask_past(missing);
    }

    /// Keeps a revision of the past.
    pub(super) fn take_past(&mut self, id: RevisionId, bundle: Option<Bundle>) {
        let Some(bundle) = bundle else {
            self.accord.past.lost.insert(id);
            return;
        };
        // A number must not be given to it that a commit under way is about to take: it is asked for again.
        if !self.accord.machine.idle() || self.store.find(id).ok().flatten().is_some() {
            return;
        }
        let words = |text: &str| text.chars().count() <= MAX_WORDS;
        let record = &bundle.record;
        let fits = words(&record.author) && words(&record.comment) && words(&record.time);
        let numbers = numbers::parse(&bundle.ids).filter(|_| fits && bundle.verified() == Some(id));
        let Some(numbers) = numbers else {
            warn!(%id, "a revision of the past is not what it says it is");
            self.accord.past.lost.insert(id);
            return;
        };
        let known = |id| self.store.find(id).ok().flatten();
        let about = Revision {
            number: record.number,
            time: record.time.clone(),
            author: record.author.clone(),
            comment: record.comment.clone(),
            rollback_of: record.rollback_of.and_then(known),
            ..Revision::default()
        };
        let ancestors = match record.parent.map(known) {
            None | Some(Some(_)) => Vec::new(),
            Some(None) => bundle.ancestors.clone(),
        };
        let lineage = Lineage { parent: record.parent, numbers, ancestors };
        if let Err(error) = self.store.add(&bundle.document, &about, &lineage) {
            warn!(%error, "a revision of the past cannot be kept");
            self.accord.past.lost.insert(id);
        }
    }

    /// There is no more of it, or no answer. What was left out is asked for again.
    pub(super) fn end_past(&mut self, whole: bool) {
        self.accord.past.asking = false;
        self.accord.past.again = (!whole).then(|| Instant::now() + AGAIN);
    }
}
