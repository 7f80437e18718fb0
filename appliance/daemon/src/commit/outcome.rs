//! The end of a wish, as the person who had it hears of it.

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::documents::{CommitReport, PeerReport};
use rempart_pair::agreement::{Outcome, PeerState, Refusal};

use super::{MAX_REASON, Waiting};
use crate::control::{Control, json};
use crate::engine::Applied;

impl Control {
    /// A wish has come to its end: the person who had it hears of it.
    pub(super) fn finish(&mut self, outcome: Outcome) {
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
}

pub(super) fn peer_report(state: PeerState, node: String) -> Option<PeerReport> {
    let state = match state {
        PeerState::Alone => return None,
        PeerState::Same => "same",
        PeerState::Away => "away",
        PeerState::Behind => "behind",
    };
    Some(PeerReport { node, state: state.into() })
}

/// Why a node refuses a revision, for a person.
pub(super) fn reason(refusal: &Refusal, other: &str) -> String {
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
pub(super) fn plain(error: &Error) -> String {
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

pub(super) fn answer(waiting: Waiting, result: Result<u32, Error>) {
    match waiting {
        // A caller that has gone away is not an error.
        Waiting::Commit { reply, .. } => drop(reply.send(result.and_then(|r| json(&r)))),
        Waiting::Confirm(reply) | Waiting::Revert(reply) | Waiting::Resolve(reply) => {
            drop(reply.send(result))
        }
    }
}

pub(super) fn nothing_pending() -> Error {
    Error::NotFound("no commit waits for confirmation".into())
}
