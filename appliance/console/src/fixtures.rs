//! Documents as a daemon would send them, for the tests. The fake daemon of `tests/` sends the same files.

use rempart_bus::documents::{
    CheckReport, CommitReport, Connection, Explanation, FlowStatus, LogPage, Revision, Status,
};
use rempart_bus::ha::HaStatus;

macro_rules! fixture {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $file:literal;)+) => {
        $($(#[$doc])* pub fn $name() -> $type {
            serde_json::from_str(include_str!(concat!("../tests/fixtures/", $file))).expect($file)
        })+
    };
}

fixture! {
    /// An active node with a fault.
    status: Status = "status.json";
    /// The same with a commit on trial.
    status_pending: Status = "status-pending.json";
    /// Eight flows.
    flows: Vec<FlowStatus> = "flows.json";
    /// Six connections.
    connections: Vec<Connection> = "connections.json";
    /// Six log entries.
    log: LogPage = "log.json";
    /// Four revisions.
    history: Vec<Revision> = "history.json";
    /// A good document with a warning.
    check_valid: CheckReport = "check-valid.json";
    /// A document with an error.
    check_invalid: CheckReport = "check-invalid.json";
    /// A document whose assertion fails.
    check_assertion: CheckReport = "check-assertion.json";
    /// A packet that is let through.
    explanation: Explanation = "explanation.json";
    /// A pair that is not wholly well.
    ha_status: HaStatus = "ha-status.json";
    /// A commit on trial.
    commit: CommitReport = "commit.json";
}

/// A unified diff.
pub const DIFF: &str = include_str!("../tests/fixtures/candidate.diff");

/// A pair whose documents have diverged.
pub fn diverged() -> HaStatus {
    let mut status = ha_status();
    status.configuration.state = "diverged".into();
    status
}
