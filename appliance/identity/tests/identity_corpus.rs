//! The corpora of the fuzz targets, and a few bytes of every kind, through what the targets ask.

#[path = "common/identity_fuzz.rs"]
mod fuzz;

use std::path::Path;

fn replay(target: &str, ask: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut count = 0;
    for file in std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display())) {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        ask(&bytes);
        // Cut short, and with something after it.
        ask(&bytes[..bytes.len() / 2]);
        ask(&[bytes, vec![0; 3]].concat());
        count += 1;
    }
    assert!(count > 0, "{target} has a corpus");
    for bytes in [&[][..], &[0], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], b"{}", &[0xff; 64]] {
        ask(bytes);
    }
}

#[test]
fn answers_of_a_directory() {
    replay("ldap", fuzz::ldap);
}

#[test]
fn answers_of_a_radius_server() {
    replay("radius", fuzz::radius);
}

#[test]
fn stores() {
    replay("store", fuzz::store);
}

#[test]
fn certificates_and_keys() {
    replay("certificate", fuzz::certificate);
}
