//! What there is to show of the replica.

use rempart_pair::shared::{State, Status};
use serde::{Deserialize, Serialize};

/// How the two nodes stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaState {
    /// There is no other node: a single box.
    Alone,
    /// The other node's program is not heard.
    #[default]
    PeerAway,
    /// The other node is being given the sessions, or gives them back.
    Copying,
    /// Both hold the same.
    InStep,
    /// The other node is there and acknowledges nothing; nobody waits for it.
    PeerSilent,
}

/// The replica at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// How the two nodes stand.
    pub state: ReplicaState,
    /// This node is active, and its epoch is on disk.
    pub active: bool,
    /// The take-over epoch in force, or the highest that is known.
    pub epoch: u64,
    /// `rempart-ha` is connected.
    pub relay: bool,
    /// Why this node, which should be active, is not: the epoch cannot be written to disk.
    pub obstacle: Option<String>,
    /// Entries held.
    pub entries: usize,
    /// Their size, in bytes.
    pub bytes: usize,
    /// Changes that wait to be sent.
    pub waiting: usize,
    /// Bytes that were sent and not acknowledged.
    pub under_way: usize,
    /// Changes that the other node had before they were committed, since the start.
    pub committed: u64,
    /// Changes that were committed while there was no other node.
    pub committed_alone: u64,
    /// Changes that were committed because the other node did not answer in time.
    pub committed_late: u64,
    /// Changes that found no room, here or from the other node.
    pub refused: u64,
    /// Messages that were sent again.
    pub resent: u64,
    /// From a change to its acknowledgement, in microseconds: the middle one of the last 512.
    pub delay_p50_us: u64,
    /// The largest but 1 %.
    pub delay_p99_us: u64,
}

impl ReplicaStatus {
    pub(super) fn take(&mut self, status: Status, alone: bool) {
        self.state = match (alone, status.state) {
            (true, _) => ReplicaState::Alone,
            (false, State::Away) => ReplicaState::PeerAway,
            (false, State::Copying) => ReplicaState::Copying,
            (false, State::InStep) => ReplicaState::InStep,
            (false, State::Silent) => ReplicaState::PeerSilent,
        };
        self.entries = status.entries;
        self.bytes = status.bytes;
        self.waiting = status.waiting;
        self.under_way = status.under_way;
        self.committed = status.committed;
        self.committed_alone = status.alone;
        self.committed_late = status.late;
        self.refused = status.refused;
        self.resent = status.resent;
        self.delay_p50_us = status.delay_p50_us;
        self.delay_p99_us = status.delay_p99_us;
    }
}
