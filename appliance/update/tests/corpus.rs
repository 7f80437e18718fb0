//! The corpus of the fuzz target, replayed. `REMPART_BLESS=1` writes the first entries again.

#[path = "common/fuzz.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

use rempart_update::Version;
use rempart_update::manifest::{Content, Description, Draft, SigningKey};

/// The private half of [`fuzz::KEY`]: PKCS #8 around the seed of RFC 8032 §7.1, test 1. It signs nothing but the corpus.
const SIGNER: [u8; 48] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20, 0x9d,
    0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
    0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

fn signed() -> Vec<u8> {
    let part = |bytes, fill| Content { bytes, sha256: [fill; 32] };
    let description = Description {
        version: Version::new("0.2.0").expect("a version"),
        made_unix_s: 1_790_000_000,
        grammar: 2,
        root_hash: [7; 32],
        parts: [part(81 << 20, 1), part(700_000, 2), part(20 << 20, 3), part(425, 4)],
    };
    let key = SigningKey::from_pkcs8(&SIGNER).expect("a key");
    Draft(description).sign(&[key]).expect("a head")
}

#[test]
fn the_corpus_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/update");
    let (head, mut cut, mut bent) = (signed(), signed(), signed());
    cut.truncate(300);
    *bent.last_mut().expect("bytes") ^= 1;
    if std::env::var_os("REMPART_BLESS").is_some() {
        for (name, bytes) in [("signed", &head), ("cut", &cut), ("bent", &bent)] {
            fs::write(folder.join(name), bytes).expect("the corpus");
        }
    }
    assert_eq!(fs::read(folder.join("signed")).expect("the corpus"), head, "the format has changed");
    for entry in fs::read_dir(folder).expect("the corpus") {
        fuzz::update(&fs::read(entry.expect("an entry").path()).expect("a file"));
    }
}
