//! Agreement on the configuration: both nodes hold the same revision, or say that they do not (DESIGN §9, I5).
//!
//! Owns the lineage of revisions ([`Record`], [`Position`], [`compare`]), what the two control daemons ask of each other
//! ([`Request`], [`Response`]) and the machine that decides ([`Agreement`]). Refuses to own documents' meaning, disks,
//! the kernel and the way to the other node: it asks for [`Action`]s and is told what became of them.
//!
//! ```text
//!   the node where the commit was typed                    the other node
//!        validates
//!        Prepare { document, numbers } ─────────────────▶  validates, plans
//!                                      ◀─────────────────  Prepared
//!        Apply                         ─────────────────▶  brings into force, on trial
//!                                      ◀─────────────────  Applied
//!        brings into force
//!        ┈┈ with --confirm: both wait, either console confirms ┈┈
//!        moves its head   ◀── the decision: from here on it is committed, before it is not
//!        Keep                          ─────────────────▶  moves its head
//!                                      ◀─────────────────  Kept
//! ```
//!
//! The other node moves its head only when told that the first one has; left alone on trial it goes back. So whatever
//! dies or is cut off at any point, the heads are either equal, or one is the other's ancestor and its node fetches what
//! it lacks as soon as it can, or two people have decided differently while the nodes could not talk: then both keep
//! theirs until a person chooses.
//!
//! A node that cannot be reached holds nobody up: the commit is taken, and fetched later.

mod lineage;
mod machine;
mod message;
#[cfg(test)]
mod tests;

pub use lineage::{Bundle, Position, Record, Relation, RevisionId, compare};
pub use machine::{Action, Agreement, Done, Outcome, Output, PeerState, Resume, State, Token, Trial, Wish};
pub use message::{Refusal, Request, Response};

use std::time::Duration;

/// How long the other node may take to validate and plan: a policy of 40,000 flows on a slow box.
pub const PREPARE: Duration = Duration::from_secs(20);
/// How long the other node may take to bring a revision into force.
pub const APPLY: Duration = Duration::from_secs(60);
/// How long the other node may take to move its head, or to go back.
pub const SETTLE: Duration = Duration::from_secs(20);
/// How long a revision may take to be fetched.
pub const FETCH: Duration = Duration::from_secs(60);
/// How long a node that does not answer is waited for: a path may be changing.
pub const GRACE: Duration = Duration::from_secs(3);
/// When a request that was lost is sent again.
pub const AGAIN: Duration = Duration::from_millis(500);
/// How often two nodes that agree tell each other where they stand. A net under the news that are sent at once.
pub const EXCHANGE: Duration = Duration::from_secs(10);
/// How often a node on trial for the other asks where that one stands.
pub const WATCH: Duration = Duration::from_secs(2);
/// How long a node keeps what it has prepared, and stays on trial beyond the time it was told: longer than the first node
/// may take for its own part.
pub const HOLD: Duration = Duration::from_secs(120);
/// When fetching is tried again after it failed.
pub const RETRY: Duration = Duration::from_secs(30);
/// Ancestors that a position names: the whole history that a node keeps. Two nodes farther apart count as diverged.
pub const MAX_ANCESTORS: usize = 512;
