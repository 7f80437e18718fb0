//! What the fuzzer of pairing starts from and what it once failed on, replayed; and a few random inputs of its kind.

#[path = "common/pairing_fuzz.rs"]
mod fuzz;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

/// In: every file of the corpus. Out: nothing that the target forbids.
#[test]
fn the_corpus_is_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
    let mut count = 0;
    for folder in ["corpus", "regressions"] {
        let Ok(files) = std::fs::read_dir(root.join(folder).join("pairing")) else { continue };
        for file in files {
            fuzz::pairing(&std::fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "the corpus is in the repository");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("REMPART_FULL").is_some() { 20_000 } else { 300 }))]

    /// In: any bytes. Out: no panic, and no pair with a stranger.
    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..300)) {
        fuzz::pairing(&bytes);
    }

    /// In: somebody in the middle who lets most messages through. Out: nobody is paired wrongly.
    #[test]
    fn somebody_in_the_middle(acts in vec((prop_oneof![4 => Just(0_u8), 1 => any::<u8>()], any::<u8>()), 0..40)) {
        let script: Vec<u8> = std::iter::once(3).chain(acts.into_iter().flat_map(|(a, b)| [a, b])).collect();
        fuzz::pairing(&script);
    }
}
