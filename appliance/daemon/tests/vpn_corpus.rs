//! What the fuzzers of a replicated session and of the relay start from and what they once failed on, replayed; and a few random
//! inputs of their kind.

#[path = "common/vpn_fuzz.rs"]
mod fuzz;

use std::path::Path;

use rempart_daemon::relay;
use rempart_daemon::vpn::server::value;

/// In: every file of the corpora, whole, cut short, with something after it, and with each byte another one. Out: nothing that
/// the targets forbid.
#[test]
fn the_corpora_are_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
    for (name, target) in [("vpn_value", fuzz::value as fn(&[u8])), ("relay", fuzz::relay)] {
        let mut count = 0;
        for folder in ["corpus", "regressions"] {
            let Ok(files) = std::fs::read_dir(root.join(folder).join(name)) else { continue };
            for file in files {
                let bytes = std::fs::read(file.unwrap().path()).unwrap();
                target(&bytes);
                target(&bytes[..bytes.len() / 2]);
                target(&[&bytes[..], &[0; 3]].concat());
                for at in 0..bytes.len() {
                    let mut other = bytes.clone();
                    other[at] ^= 0x81;
                    target(&other);
                }
                count += 1;
            }
        }
        assert!(count > 0, "{name} has a corpus");
    }
}
