//! Which of two sockets with one address a datagram comes to, by its first four bytes: a program of the classic packet filter,
//! which takes no rights to attach and needs no memory of its own in the kernel.
//!
//! ```text
//!   word := first four bytes          shorter: socket 0
//!   word ≥ w₄ ? ── yes ─▶ word ≥ w₆ ? ─▶ …         a search by halves over the sorted words
//!         └── no ─▶ word ≥ w₂ ? ─▶ word = w₂ ? ── yes ─▶ socket 1
//!                                             └── no ──▶ socket 0
//! ```
//!
//! The first four bytes of a data packet are its operation, its key and its peer (the draft's "AEAD encrypted data channel
//! packet"), so a word is one key of one peer.

use std::collections::BTreeSet;

use nix::libc::{self, sock_filter};

/// The most words: with five instructions for each they nearly fill the 4096 that the kernel takes.
pub const MAX_WORDS: usize = 800;

/// The program. Words beyond [`MAX_WORDS`] are left out, the largest ones.
pub(super) fn program(words: &BTreeSet<u32>) -> Vec<sock_filter> {
    let sorted: Vec<u32> = words.iter().copied().take(MAX_WORDS).collect();
    // linux/bpf_common.h: a load beyond the datagram's end ends the program with 0.
    let mut out = vec![plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    search(&sorted, &mut out);
    out
}

/// No deeper than ten calls.
fn search(words: &[u32], out: &mut Vec<sock_filter>) {
    match words {
        [] => out.push(end(0)),
        [word] => {
            out.push(jump(libc::BPF_JEQ, *word, 0, 1));
            out.push(end(1));
            out.push(end(0));
        }
        _ => {
            let (low, high) = words.split_at(words.len() / 2);
            out.push(jump(libc::BPF_JGE, high.first().copied().unwrap_or(u32::MAX), 0, 1));
            // The steps of a comparison are counted in one byte; this one's are not.
            let hop = out.len();
            out.push(plain(libc::BPF_JMP | libc::BPF_JA, 0));
            search(low, out);
            let over = out.len() - hop - 1;
            if let Some(hop) = out.get_mut(hop) {
                // There are at most 4096 instructions.
                hop.k = over as u32;
            }
            search(high, out);
        }
    }
}

fn plain(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(how: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | how | libc::BPF_K) as u16, jt, jf, k }
}

fn end(socket: u32) -> sock_filter {
    plain(libc::BPF_RET | libc::BPF_K, socket)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel would do (Documentation/networking/filter.rst).
    fn run(program: &[sock_filter], word: u32) -> u32 {
        let mut at = 0;
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let skip = |yes: bool| usize::from(if yes { jt } else { jf });
            match u32::from(code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {}
                code if code == libc::BPF_JMP | libc::BPF_JA => at += k as usize,
                code if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => at += skip(word >= k),
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => at += skip(word == k),
                code if code == libc::BPF_RET | libc::BPF_K => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_most_words_fit_the_kernels_limit() {
        let words: BTreeSet<u32> = (0..5000).map(|n| n * 77).collect();
        let program = program(&words);
        assert!(program.len() <= 4096, "{}", program.len());
        assert_eq!((run(&program, 799 * 77), run(&program, 800 * 77), run(&program, 78)), (1, 0, 0));
    }

    proptest! {
        /// In: any words. Out: they and no others come to socket 1.
        #[test]
        fn words_are_found_and_nothing_else_is(
            words in proptest::collection::btree_set(any::<u32>(), 0..200), other in any::<u32>(),
        ) {
            let program = program(&words);
            for word in &words {
                prop_assert_eq!(run(&program, *word), 1);
                for near in [word.wrapping_sub(1), word.wrapping_add(1)] {
                    prop_assert_eq!(run(&program, near), u32::from(words.contains(&near)));
                }
            }
            prop_assert_eq!(run(&program, other), u32::from(words.contains(&other)));
        }
    }
}
