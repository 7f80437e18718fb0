//! What the fuzz target for update files does with an input; the ordinary tests do it with the corpus.

use rempart_update::manifest::{HEAD_BYTES_MAX, Part};
use rempart_update::{Head, PublicKey};

/// The key of RFC 8032 §7.1, test 1: whoever signs the corpus has it, and the fuzzer has not.
pub const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// Reads a head, whole and in pieces, and verifies it.
pub fn update(data: &[u8]) {
    let whole = Head::read(data);
    let mut begun = 0;
    // What a reader that waits for more sees on the way contradicts the whole nowhere.
    while begun < data.len().min(HEAD_BYTES_MAX) {
        match (Head::read(&data[..begun]), &whole) {
            (Ok(None), _) => {}
            (early, whole) => {
                assert_eq!(&early, whole);
                break;
            }
        }
        begun += 1;
    }
    let Ok(Some(head)) = whole else { return };
    assert!(head.length() <= HEAD_BYTES_MAX);
    for part in Part::ALL {
        assert!((1..=part.bytes_max()).contains(&head.claims().part(part).bytes));
    }
    assert!(head.clone().verify(&[]).is_err());
    let key = PublicKey::parse(KEY).expect("a key");
    if let Ok(manifest) = head.clone().verify(&[key]) {
        assert_eq!(manifest.head(), &data[..head.length()]);
    }
}
