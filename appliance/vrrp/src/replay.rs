//! Which CARP counters are believed. The protocol leaves it open and its implementations differ, so the operator says
//! what the peer is.
//!
//! The HMAC does not cover the sender's address, so nothing here is kept per sender: a recorded packet sent on from
//! another address must not pass either.

use std::collections::{BTreeSet, VecDeque};

/// What is known of the peers' counters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Replay {
    /// All peers are of this crate: every counter is above all that were sent or received before (each sender
    /// continues from the highest one it has heard). A recorded packet never passes.
    Increasing,
    /// ucarp: counters differ from packet to packet but jump about until ucarp has heard somebody. A recorded packet
    /// does not pass while it is among the last [`Replay::MEMORY`].
    Distinct,
    /// OpenBSD, FreeBSD: one random counter per boot. Only our own packets coming back are told apart; a recorded
    /// advertisement keeps a dead peer alive. That is CARP, and no receiver can help it.
    Constant,
}

impl Replay {
    /// Counters remembered by [`Replay::Distinct`]; over an hour at one a second, in a few hundred kilobytes at most.
    pub const MEMORY: usize = 4096;
}

/// The guard itself, for one virtual host.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    rule: Replay,
    /// The one we send next.
    next: u64,
    highest: Option<u64>,
    seen: BTreeSet<u64>,
    order: VecDeque<u64>,
}

impl Guard {
    pub(crate) fn new(rule: Replay, first: u64) -> Self {
        Self { rule, next: first, highest: None, seen: BTreeSet::new(), order: VecDeque::new() }
    }

    /// The counter for a packet of ours. `u64::MAX` is never passed: at one packet a millisecond a counter that starts
    /// at the time of day in nanoseconds gets there after five hundred years.
    pub(crate) fn take(&mut self) -> u64 {
        let counter = self.next;
        match self.rule {
            // As the BSDs do, so that our own packets are known by one number however old they are.
            Replay::Constant => {}
            Replay::Increasing => {
                self.highest = Some(counter);
                self.next = counter.saturating_add(1);
            }
            Replay::Distinct => {
                self.remember(counter);
                self.next = counter.wrapping_add(1);
            }
        }
        counter
    }

    /// Whether a verified packet is new; from then on it is not.
    pub(crate) fn admit(&mut self, counter: u64) -> bool {
        match self.rule {
            Replay::Constant => counter != self.next,
            Replay::Increasing => {
                let fresh = self.highest.is_none_or(|highest| counter > highest);
                if fresh {
                    self.highest = Some(counter);
                    self.next = self.next.max(counter.saturating_add(1));
                }
                fresh
            }
            Replay::Distinct => {
                let fresh = !self.seen.contains(&counter);
                if fresh {
                    self.remember(counter);
                    // ucarp goes on from what it hears; so do we, and stay distinct from it.
                    self.next = counter.wrapping_add(1);
                }
                fresh
            }
        }
    }

    fn remember(&mut self, counter: u64) {
        if self.seen.insert(counter) {
            self.order.push_back(counter);
        }
        if self.order.len() > Replay::MEMORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}
