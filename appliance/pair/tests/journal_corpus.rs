//! What the fuzzer of journals starts from and what it once failed on, replayed; and a few random inputs of its kind.

#[path = "common/journal_fuzz.rs"]
mod fuzz;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

/// In: every file of the corpus, where the repository has one. Out: no panic.
#[test]
fn the_corpus_is_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
    for folder in ["corpus", "regressions"] {
        let Ok(files) = std::fs::read_dir(root.join(folder).join("journal")) else { continue };
        for file in files {
            fuzz::journal(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// In: any bytes. Out: no panic.
    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..1000)) {
        fuzz::journal(&bytes);
    }
}
