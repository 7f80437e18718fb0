//! What the fuzzer of the shared map starts from and what it once failed on, replayed; and a few random inputs of its kind.

#[path = "common/shared_fuzz.rs"]
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
        let Ok(files) = std::fs::read_dir(root.join(folder).join("shared")) else { continue };
        for file in files {
            fuzz::shared(&std::fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "the corpus is in the repository");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("REMPART_FULL").is_some() { 20_000 } else { 300 }))]

    /// In: any bytes. Out: no panic, and no map beyond its bounds.
    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..600)) {
        fuzz::shared(&bytes);
    }

    /// In: steps with what they need. Out: the same.
    #[test]
    fn scripts(steps in vec((any::<u8>(), vec(any::<u8>(), 0..40)), 0..24)) {
        let script: Vec<u8> = steps
            .into_iter()
            .flat_map(|(what, bytes)| [vec![what, 0, bytes.len() as u8], bytes].concat())
            .collect();
        fuzz::shared(&script);
    }
}
