//! The replay window: which counters have come.

const WORD: u64 = 64;
const WORDS: usize = 16;

/// A ring of bits over the newest counters (the scheme of RFC 6479: whole words are cleared as the window moves).
///
/// Counters start at 1. At most 960 counters behind the highest one can be told apart, because one word of the 16 is
/// always being overwritten.
#[derive(Clone, Debug)]
pub struct Window {
    bits: [u64; WORDS],
    highest: u64,
    size: u64,
}

impl Window {
    /// The largest size.
    pub const MAX: u64 = WORD * (WORDS as u64 - 1);

    /// Nothing has come; `size` counters behind the highest are remembered, [`Self::MAX`] at most.
    pub fn new(size: u64) -> Self {
        Self { bits: [0; WORDS], highest: 0, size: size.min(Self::MAX) }
    }

    /// The highest counter that has come; 0 before any.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `counter` has not come yet and is not too old to tell.
    pub fn allows(&self, counter: u64) -> bool {
        if counter > self.highest {
            return true;
        }
        // Counter 0 is not used, and falls out here: the highest of an empty window is 0.
        self.highest - counter < self.size
            && counter != 0
            && self.bits[Self::word(counter)] & Self::bit(counter) == 0
    }

    /// Notes that `counter` has come. Only after it was authenticated.
    pub fn note(&mut self, counter: u64) {
        if counter > self.highest {
            let moved = (counter / WORD - self.highest / WORD).min(WORDS as u64);
            for step in 1..=moved {
                self.bits[Self::word(self.highest + step * WORD)] = 0;
            }
            self.highest = counter;
        }
        self.bits[Self::word(counter)] |= Self::bit(counter);
    }

    fn word(counter: u64) -> usize {
        (counter / WORD) as usize % WORDS
    }

    fn bit(counter: u64) -> u64 {
        1 << (counter % WORD)
    }
}
