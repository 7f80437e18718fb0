//! What there is to show of a machine.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::sender::Sender;
use super::{Duty, Shared};

/// Delays of which the middle one is shown.
pub(super) const DELAYS: usize = 512;

/// How the two stand, for a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum State {
    /// Nobody to share with is heard.
    #[default]
    Away,
    /// The copy is under way, or the map on its way back.
    Copying,
    /// Both hold the same, but for what is under way.
    InStep,
    /// The other node is there and acknowledges nothing.
    Silent,
}

/// What there is to show.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// How the two stand.
    pub state: State,
    /// In the map.
    pub entries: usize,
    /// Of names and values, in bytes.
    pub bytes: usize,
    /// Changes that wait to be sent.
    pub waiting: usize,
    /// Bytes that were sent and not acknowledged.
    pub under_way: usize,
    /// Changes that the other node had before they were committed, since the start.
    pub committed: u64,
    /// Changes that were committed while there was no other node.
    pub alone: u64,
    /// Changes that were committed because the other node did not answer in time.
    pub late: u64,
    /// Messages that were sent again.
    pub resent: u64,
    /// Entries that were refused: too long, too many.
    pub refused: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// From the change to the acknowledgement, in microseconds: the middle one of the last 512.
    pub delay_p50_us: u64,
    /// The largest but 1 %.
    pub delay_p99_us: u64,
}

impl Shared {
    /// What there is to show.
    pub fn status(&self) -> Status {
        let (waiting, under_way) = self.sender.as_ref().map_or((0, 0), Sender::backlog);
        let resent = self.status.resent + self.sender.as_ref().map_or(0, |sender| sender.resent);
        let mut delays: Vec<u64> = self.delays.iter().map(|us| u64::from(*us)).collect();
        delays.sort_unstable();
        let place =
            |percent: usize| delays.get(delays.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0);
        Status {
            state: self.state(),
            entries: self.map.len(),
            bytes: self.map.bytes(),
            waiting,
            under_way,
            resent,
            delay_p50_us: place(50),
            delay_p99_us: place(99),
            ..self.status.clone()
        }
    }

    fn state(&self) -> State {
        if !self.linked || self.peer.is_none() {
            return State::Away;
        }
        if self.silent {
            return State::Silent;
        }
        let in_step = match (&self.duty, &self.sender, &self.receiver) {
            (Duty::Owner(_), Some(sender), _) => sender.is_copied(),
            (Duty::Follower, _, Some(receiver)) => receiver.ended(),
            (Duty::Owner(_), None, _) => return State::Away,
            (Duty::Follower, _, None) | (Duty::Taking(_), ..) => false,
        };
        if in_step { State::InStep } else { State::Copying }
    }
}

pub(super) fn note_delay(delays: &mut VecDeque<u32>, delay: Duration) {
    if delays.len() >= DELAYS {
        delays.pop_front();
    }
    delays.push_back(u32::try_from(delay.as_micros()).unwrap_or(u32::MAX));
}
