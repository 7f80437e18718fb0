//! What the fuzzer starts from and what it once failed on, replayed; and a few random inputs of its kind.

#[path = "common/fuzz.rs"]
mod fuzz;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

/// In: every file of the corpus, where the repository has one. Out: no panic.
#[test]
fn the_corpus_is_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
    for folder in ["corpus", "regressions"] {
        let Ok(files) = std::fs::read_dir(root.join(folder).join("wireguard")) else { continue };
        for file in files {
            fuzz::conversation(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// In: any bytes. Out: no panic, nothing that nobody sent.
    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..600)) {
        fuzz::conversation(&bytes);
    }
}
