//! Messages in order over datagrams: numbers from 0 for each key and direction, an acknowledgement for each of them
//! (draft "Message Packet IDs", "Acknowledgements").
//!
//! Owns what is under way in both directions. What a message holds, how it is wrapped and when a peer is given up are
//! `session`'s.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::packet::{Acks, MAX_ACKS, MAX_ACKS_WITH_MESSAGE, Opcode};

/// Messages under way: 2.x takes six ahead of order, and 4 leaves it room.
pub const SEND_WINDOW: usize = 4;
/// Messages taken ahead of order: what 2.x keeps.
pub const RECEIVE_WINDOW: u32 = 12;
/// The first time that a message waits for its acknowledgement; doubled each time.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest: a client behind a bad line must get a few tries within its hand-window of 60 s.
const MAX_TIMEOUT: Duration = Duration::from_secs(16);
/// A message is sent again at once when this many later ones were acknowledged.
const LATER_ACKS: u8 = 3;

/// One message and its kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Which kind.
    pub opcode: Opcode,
    /// TLS bytes.
    pub payload: Vec<u8>,
}

/// A packet to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Which kind: the message's, or ACK.
    pub opcode: Opcode,
    /// What was received.
    pub acks: Acks,
    /// The message's number; none in an ACK.
    pub message: Option<u32>,
    /// TLS bytes.
    pub payload: Vec<u8>,
}

#[derive(Debug)]
struct Sent {
    id: u32,
    message: Message,
    due: Option<Instant>,
    timeout: Duration,
    later_acks: u8,
}

/// Both directions of one key's control channel.
#[derive(Debug)]
pub struct Reliable {
    next: u32,
    under_way: VecDeque<Sent>,
    expected: u32,
    ahead: BTreeMap<u32, Message>,
    /// Not acknowledged yet. Bounded by the receive window and what is repeated.
    owed: VecDeque<u32>,
    /// Acknowledged lately; they go along again, in case that packet was lost.
    recent: VecDeque<u32>,
}

impl Reliable {
    /// With the first number in each direction: 0, or 1 where message 0 was answered without state.
    pub fn new(first: u32) -> Self {
        Self {
            next: first,
            under_way: VecDeque::new(),
            expected: first,
            ahead: BTreeMap::new(),
            owed: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    /// There is room for another message.
    pub fn can_send(&self) -> bool {
        self.under_way.len() < SEND_WINDOW
    }

    /// Everything sent was acknowledged.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Takes a message to send; gives it back when there is no room.
    pub fn send(&mut self, message: Message) -> Result<(), Message> {
        if !self.can_send() {
            return Err(message);
        }
        let id = self.next;
        // 2³² messages do not happen (draft "Message Packet IDs"); then nothing more is sent, and the key ends.
        let Some(next) = id.checked_add(1) else { return Err(message) };
        self.next = next;
        self.under_way.push_back(Sent { id, message, due: None, timeout: FIRST_TIMEOUT, later_acks: 0 });
        Ok(())
    }

    /// The peer has received these.
    pub fn handle_acks(&mut self, now: Instant, acks: &Acks) {
        for id in acks.as_slice() {
            // What was not sent yet cannot have been received.
            let known = |sent: &Sent| sent.id == *id && sent.due.is_some();
            let Some(place) = self.under_way.iter().position(known) else { continue };
            self.under_way.remove(place);
            for earlier in self.under_way.iter_mut().take(place) {
                earlier.later_acks = earlier.later_acks.saturating_add(1);
                if earlier.later_acks == LATER_ACKS {
                    earlier.due = Some(now);
                }
            }
        }
    }

    /// A message has come. What was taken before is acknowledged again, what is too far ahead is not taken.
    pub fn handle_message(&mut self, id: u32, message: Message) {
        let Some(distance) = id.checked_sub(self.expected) else {
            self.owe(id);
            return;
        };
        if distance >= RECEIVE_WINDOW {
            return;
        }
        self.owe(id);
        self.ahead.entry(id).or_insert(message);
    }

    /// The next message in order.
    pub fn receive(&mut self) -> Option<Message> {
        let message = self.ahead.remove(&self.expected)?;
        self.expected = self.expected.saturating_add(1);
        Some(message)
    }

    /// The next packet that is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        let due = self.under_way.iter_mut().find(|sent| sent.due.is_none_or(|due| due <= now));
        let Some(sent) = due else {
            if self.owed.is_empty() {
                return None;
            }
            let acks = self.take_acks(MAX_ACKS);
            return Some(Outgoing { opcode: Opcode::Ack, acks, message: None, payload: Vec::new() });
        };
        if sent.due.is_some() && sent.later_acks < LATER_ACKS {
            sent.timeout = (sent.timeout * 2).min(MAX_TIMEOUT);
        }
        sent.later_acks = 0;
        sent.due = Some(now + sent.timeout);
        let (id, Message { opcode, payload }) = (sent.id, sent.message.clone());
        let acks = self.take_acks(MAX_ACKS_WITH_MESSAGE);
        Some(Outgoing { opcode, acks, message: Some(id), payload })
    }

    /// When [`Self::poll_transmit`] has something again.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let messages = self.under_way.iter().map(|sent| sent.due.unwrap_or(now));
        messages.chain((!self.owed.is_empty()).then_some(now)).min()
    }

    fn owe(&mut self, id: u32) {
        if !self.owed.contains(&id) && self.owed.len() < RECEIVE_WINDOW as usize + MAX_ACKS {
            self.owed.push_back(id);
        }
    }

    /// First what is owed, then what was acknowledged lately.
    fn take_acks(&mut self, most: usize) -> Acks {
        let owed = most.min(self.owed.len());
        let fresh: Vec<u32> = self.owed.drain(..owed).collect();
        let repeated = self.recent.iter().copied().filter(|id| !fresh.contains(id)).take(most - fresh.len());
        let acks = fresh.iter().copied().chain(repeated).collect();
        for id in fresh {
            self.recent.retain(|recent| *recent != id);
            self.recent.push_front(id);
        }
        self.recent.truncate(MAX_ACKS);
        acks
    }
}
