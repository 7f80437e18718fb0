//! The replay window: which packet ids have come.

const WORD: u32 = 64;
const WORDS: usize = 64;

/// A ring of bits over the newest packet ids (the scheme of RFC 6479: whole words are cleared as the window moves).
///
/// 4032 ids behind the highest one can be told apart, because one word of the 64 is always being overwritten. Stock
/// clients use 64; several processors and several queues on the way reorder more than that.
#[derive(Clone, Debug)]
pub struct Window {
    bits: [u64; WORDS],
    highest: u32,
}

impl Window {
    /// Ids behind the highest that are remembered.
    pub const SIZE: u32 = WORD * (WORDS as u32 - 1);

    /// Nothing has come.
    pub fn new() -> Self {
        Self::above(0)
    }

    /// Of a key that another process used: everything up to `highest` has come, as far as anybody knows.
    pub fn above(highest: u32) -> Self {
        Self { bits: [u64::MAX; WORDS], highest }.cleared()
    }

    /// The part of the highest word that lies ahead is not seen yet.
    fn cleared(mut self) -> Self {
        let ahead = u64::MAX.checked_shl(self.highest % WORD + 1).unwrap_or(0);
        *self.word(self.highest) &= !ahead;
        self
    }

    /// The highest id that has come; 0 before any.
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// Whether `id` has not come yet and is not too old to tell. 0 is no packet id.
    pub fn allows(&self, id: u32) -> bool {
        if id > self.highest {
            return true;
        }
        let word = self.bits.get(Self::place(id)).copied().unwrap_or(u64::MAX);
        self.highest - id < Self::SIZE && id != 0 && word & Self::bit(id) == 0
    }

    /// Notes that `id` has come. Only after it was authenticated.
    pub fn note(&mut self, id: u32) {
        if id > self.highest {
            let moved = (id / WORD - self.highest / WORD).min(WORDS as u32);
            for step in 1..=moved {
                *self.word(self.highest.wrapping_add(step * WORD)) = 0;
            }
            self.highest = id;
        }
        *self.word(id) |= Self::bit(id);
    }

    fn place(id: u32) -> usize {
        (id / WORD) as usize % WORDS
    }

    fn bit(id: u32) -> u64 {
        1 << (id % WORD)
    }

    fn word(&mut self, id: u32) -> &mut u64 {
        // In range by the remainder in `place`.
        &mut self.bits[Self::place(id)]
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What a window means: a set of everything that came.
    struct Naive {
        seen: BTreeSet<u32>,
        highest: u32,
        /// Everything up to here counts as seen.
        floor: u32,
    }

    impl Naive {
        fn allows(&self, id: u32) -> bool {
            let old = id <= self.highest && self.highest - id >= Window::SIZE;
            id != 0 && id > self.floor && !old && !self.seen.contains(&id)
        }

        fn note(&mut self, id: u32) {
            self.seen.insert(id);
            self.highest = self.highest.max(id);
        }
    }

    /// Steps from the highest: mostly near, sometimes far, so that every branch is taken.
    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let step =
            prop_oneof![6 => -80i64..80, 2 => -4200i64..4200, 1 => 0i64..400_000, 1 => 0i64..(1 << 31)];
        proptest::collection::vec(step, 1..300)
    }

    proptest! {
        /// Any sequence of ids, from an empty window and from an imported one: the same answers as the naive set.
        #[test]
        fn the_window_answers_as_a_set_would(
            floor in prop_oneof![Just(0u32), 1u32..10_000, any::<u32>()], steps in steps(),
        ) {
            let mut window = Window::above(floor);
            let mut naive = Naive { seen: BTreeSet::new(), highest: floor, floor };
            for step in steps {
                let Ok(id) = u32::try_from(i64::from(window.highest()) + step) else { continue };
                prop_assert_eq!(window.allows(id), naive.allows(id), "id {}", id);
                if naive.allows(id) {
                    window.note(id);
                    naive.note(id);
                }
                prop_assert_eq!(window.highest(), naive.highest);
                prop_assert!(!window.allows(id));
            }
        }
    }

    #[test]
    fn an_empty_window_takes_the_first_id_and_none_twice() {
        let mut window = Window::new();
        assert!(!window.allows(0) && window.allows(1) && window.allows(u32::MAX));
        window.note(1);
        assert!(!window.allows(1) && window.allows(2));
        window.note(u32::MAX);
        assert!(window.allows(u32::MAX - 1) && !window.allows(u32::MAX) && !window.allows(2));
    }
}
