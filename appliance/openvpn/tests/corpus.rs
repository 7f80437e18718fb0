//! What the fuzzer starts from and what it once failed on, replayed; and a few random inputs of its kind.

#[path = "common/data_fuzz.rs"]
mod data_fuzz;
#[path = "common/fuzz.rs"]
mod fuzz;
#[path = "common/session_fuzz.rs"]
mod session_fuzz;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 6] = [
    ("openvpn_packet", fuzz::packet),
    ("openvpn_wrap", fuzz::wrap),
    ("openvpn_message", fuzz::message),
    ("openvpn_snapshot", fuzz::snapshot),
    ("openvpn_data", data_fuzz::data),
    ("openvpn_session", session_fuzz::session),
];

/// In: every file of the corpus, where the repository has one. Out: no panic.
#[test]
fn the_corpus_is_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
    for (name, target) in TARGETS {
        for folder in ["corpus", "regressions"] {
            let Ok(files) = std::fs::read_dir(root.join(folder).join(name)) else { continue };
            for file in files {
                target(&std::fs::read(file.unwrap().path()).unwrap());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// In: any bytes. Out: no panic from any target.
    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..1500)) {
        for (_, target) in TARGETS {
            target(&bytes);
        }
    }
}
