//! How the two nodes stand to each other, for people, for `rempart-ha` and for a diff.

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::documents::Fault;
use rempart_bus::ha::ConfigurationStatus;
use rempart_pair::agreement::{Refusal, Request, Response, RevisionId, State};
use rempart_plan::ha::HaPlan;

use super::outcome::reason;
use crate::control::{Control, json};
use crate::peer::{self, Told};
use crate::remote;
use crate::service::Reply;

/// How long the other node may take to hand over a document for a diff.
const DIFF: std::time::Duration = std::time::Duration::from_secs(30);

impl Control {
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
    pub(super) fn known_as(&self, own: RevisionId, theirs: RevisionId) -> Option<u32> {
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
    fn ha_plan(&self) -> Result<String, Error> {
        let plan = self.running.as_ref().and_then(|r| HaPlan::of(&r.model, r.node));
        plan.map_or_else(|| Ok(String::new()), |plan| json(&plan))
    }

    /// Another plan is in force: the elector hears of it at the end of the turn, and remote access now.
    pub(crate) fn replan(&mut self) {
        if let Some(running) = &self.running {
            self.accord.machine.set_first(running.node.get() == 0);
            self.accord.plan = (self.ha_plan().unwrap_or_default(), running.revision);
            let plan =
                running.plan.remote.as_ref().map_or_else(String::new, |plan| json(plan).unwrap_or_default());
            let (revision, tables) = (running.revision, self.engine.tables());
            self.remote.tell(remote::Told { plan, revision, tables });
        }
    }

    pub(super) fn tell(&mut self) {
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
}

pub(super) fn state_name(state: &State) -> &'static str {
    match state {
        State::Alone | State::Unknown => "unknown",
        State::Same => "same",
        State::Ahead => "ahead",
        State::Delivering => "delivering",
        State::Behind(_) => "behind",
        State::Diverged => "diverged",
    }
}
