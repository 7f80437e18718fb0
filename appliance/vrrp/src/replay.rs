//! Which CARP counters are believed. The protocol leaves it open and its implementations differ, so the operator says
//! what the peer is.
//!
//! The HMAC does not cover the sender's address, so nothing here is kept per sender: a recorded packet sent on from
//! another address must not pass either.

use std::collections::{BTreeSet, VecDeque};

/// What is known of the peers' counters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Replay {
    /// All peers are of this crate, and counters only rise: each sender goes on from the highest it has heard. A recorded
    /// packet does not pass, with one exception: a router that has just started and heard nobody believes the first it
    /// hears.
    Increasing,
    /// ucarp: counters differ from packet to packet but jump about until ucarp has heard somebody. A recorded packet
    /// does not pass while it is among the last [`Replay::MEMORY`] that came; what was lost, or came before this router
    /// was started, is not remembered.
    Distinct,
    /// OpenBSD, FreeBSD: one random counter per boot. Only our own packets coming back are told apart; a recorded
    /// advertisement keeps a dead peer alive. That is CARP, and no receiver can help it.
    Constant,
}

impl Replay {
    /// Counters remembered by [`Replay::Distinct`]; over an hour at one a second, in a few hundred kilobytes at most.
    pub const MEMORY: usize = 4096;
}

/// From one counter of ours to the next under [`Replay::Distinct`]: odd, so that all of them come round, and far, because
/// ucarp goes on by one from what it hears and must not meet our next.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The guard itself, for one virtual host.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    Increasing(Rising),
    Distinct(Memory),
    Constant(u64),
}

impl Guard {
    /// `salt` differs between the routers: their addresses.
    pub(crate) fn new(rule: Replay, first: u64, salt: u64) -> Self {
        match rule {
            Replay::Increasing => Self::Increasing(Rising::new(first, salt)),
            Replay::Distinct => Self::Distinct(Memory::new(first)),
            Replay::Constant => Self::Constant(first),
        }
    }

    /// The counter for a packet of ours.
    pub(crate) fn take(&mut self) -> u64 {
        match self {
            Self::Increasing(rising) => rising.take(),
            Self::Distinct(memory) => memory.take(),
            // As the BSDs do, so that our own packets are known by one number however old they are.
            Self::Constant(own) => *own,
        }
    }

    /// Whether a verified packet is new; from then on it is not.
    pub(crate) fn admit(&mut self, counter: u64) -> bool {
        match self {
            Self::Increasing(rising) => rising.admit(counter),
            Self::Distinct(memory) => memory.remember(counter),
            Self::Constant(own) => counter != *own,
        }
    }
}

/// A logical clock that all routers share, and in its low bits a tag that tells the senders apart.
///
/// ```text
/// | 48 bits: clock, above everything sent or heard | 16 bits: tag |
/// ```
///
/// Two routers that become active at the same moment send the same clock, and go on doing so. Each must believe the
/// other nevertheless, so a clock a little behind our own is fresh if nothing as high has been *heard*; and each must
/// know its own packets, hence the tag.
#[derive(Clone, Debug)]
pub(crate) struct Rising {
    next: u64,
    heard: u64,
    tag: u64,
}

impl Rising {
    const TAG_BITS: u32 = 16;
    const TAG_MASK: u64 = (1 << Self::TAG_BITS) - 1;
    const CLOCK_MAX: u64 = u64::MAX >> Self::TAG_BITS;
    /// How far behind our own clock a packet may be that has crossed ours on the way.
    const CROSSING: u64 = 1;

    fn new(first: u64, salt: u64) -> Self {
        Self { next: first >> Self::TAG_BITS, heard: 0, tag: mix(first ^ mix(salt)) & Self::TAG_MASK }
    }

    /// The clock stops at its end, which only whoever knows the secret could make it reach.
    fn take(&mut self) -> u64 {
        let clock = self.next;
        self.next = (clock + 1).min(Self::CLOCK_MAX);
        self.heard = self.heard.max(clock.saturating_sub(Self::CROSSING) << Self::TAG_BITS);
        clock << Self::TAG_BITS | self.tag
    }

    fn admit(&mut self, counter: u64) -> bool {
        let (clock, tag) = (counter >> Self::TAG_BITS, counter & Self::TAG_MASK);
        if tag == self.tag {
            // Ours, unless it is ahead of us: then somebody has the same tag, and we take another.
            if clock >= self.next {
                self.tag = mix(counter) & Self::TAG_MASK;
            }
            return false;
        }
        let fresh = counter > self.heard;
        if fresh {
            self.heard = counter;
            self.next = self.next.max(clock + 1).min(Self::CLOCK_MAX);
        }
        fresh
    }
}

/// Spreads a number over all bits (the finish of SplitMix64). Not cryptography: tags are no secret.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(STRIDE);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The last counters that were sent or received.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    next: u64,
    seen: BTreeSet<u64>,
    order: VecDeque<u64>,
}

impl Memory {
    fn new(first: u64) -> Self {
        Self { next: first, seen: BTreeSet::new(), order: VecDeque::new() }
    }

    fn take(&mut self) -> u64 {
        let counter = self.next;
        self.next = counter.wrapping_add(STRIDE);
        self.remember(counter);
        counter
    }

    /// `false` if it was known.
    fn remember(&mut self, counter: u64) -> bool {
        if !self.seen.insert(counter) {
            return false;
        }
        self.order.push_back(counter);
        if self.order.len() > Replay::MEMORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: two senders that start at the same moment and send in step. Out: each believes the other, every time, once.
    #[test]
    fn senders_in_step_hear_each_other() {
        let (mut a, mut b) = (Rising::new(0, 1), Rising::new(0, 2));
        for _ in 0..100 {
            let (from_a, from_b) = (a.take(), b.take());
            assert!(a.admit(from_b) && b.admit(from_a));
            assert!(!a.admit(from_b) && !b.admit(from_a));
            assert!(!a.admit(from_a) && !b.admit(from_b), "their own");
        }
    }

    /// In: an hour's tape of both senders, played to either. Out: nothing passes.
    #[test]
    fn a_tape_does_not_pass() {
        let (mut a, mut b) = (Rising::new(5 << 40, 1), Rising::new(0, 2));
        let mut tape = Vec::new();
        for turn in 0..3600 {
            if turn % 7 < 4 {
                tape.push(a.take());
                b.admit(tape[tape.len() - 1]);
            } else {
                tape.push(b.take());
                a.admit(tape[tape.len() - 1]);
            }
        }
        assert!(tape.is_sorted(), "one clock for both");
        assert!(tape.iter().all(|counter| !a.admit(*counter) && !b.admit(*counter)));
    }

    /// In: two senders with the same tag. Out: one takes another, and both are heard again.
    #[test]
    fn equal_tags_part() {
        let (mut a, mut b) = (Rising::new(0, 1), Rising::new(0, 1));
        assert_eq!(a.tag, b.tag);
        a.take();
        let from_a = a.take();
        assert!(!b.admit(from_a));
        assert_ne!(a.tag, b.tag);
        assert!(b.admit(from_a) && a.admit(b.take()));
    }

    /// In: more packets than the memory holds. Out: bounded, the latest known, the oldest forgotten.
    #[test]
    fn the_memory_is_bounded() {
        let mut memory = Memory::new(7);
        let sent: Vec<u64> = (0..Replay::MEMORY + 1).map(|_| memory.take()).collect();
        assert_eq!((memory.seen.len(), memory.order.len()), (Replay::MEMORY, Replay::MEMORY));
        assert!(!memory.remember(sent[Replay::MEMORY]) && !memory.remember(sent[1]));
        assert!(memory.remember(sent[0]));
    }
}
