//! What the two nodes ask of each other.

use serde::{Deserialize, Serialize};

use super::lineage::{Bundle, Position, RevisionId};

/// A request. Each may be sent again when its answer was lost: the second time changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// This is where I stand; where do you?
    Position(Position),
    /// Get ready for this revision.
    Prepare {
        /// The revision.
        bundle: Bundle,
        /// Seconds that the trial will last, if there is one.
        confirm_s: Option<u32>,
    },
    /// Bring what you have prepared into force, on trial.
    Apply(RevisionId),
    /// I have committed it: so do you.
    Keep(RevisionId),
    /// It will not be committed: go back.
    Abort(RevisionId),
    /// Give me this revision.
    Fetch(RevisionId),
    /// A person has confirmed, here, what is on trial.
    Confirm(RevisionId),
    /// A person has taken back, here, what is on trial.
    Revert(RevisionId),
    /// A person has chosen: `head` takes the place of your `over`.
    Overwrite {
        /// The revision that must be your head, or else nothing is done.
        over: RevisionId,
        /// The revision to fetch from me.
        head: RevisionId,
    },
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// This is where I stand.
    Position(Position),
    /// Ready.
    Prepared,
    /// In force, on trial.
    Applied,
    /// It is my head.
    Kept,
    /// It is not in force here (any more).
    Aborted,
    /// The revision.
    Bundle(Bundle),
    /// I go and fetch it.
    Accepted,
    /// No.
    Refused(Refusal),
}

/// Why not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Something else has to end first.
    Busy,
    /// I stand elsewhere than the revision follows.
    Elsewhere(Position),
    /// I know nothing of that revision, or not any more.
    Unknown,
    /// The document is not valid for me; nothing was changed.
    Invalid(String),
    /// It is written in a newer grammar than I know; mine is this.
    Grammar(u32),
    /// My kernel or disk failed; what was in force is.
    Failed(String),
    /// What came is not what its record says.
    Damaged,
}
