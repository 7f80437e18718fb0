//! The corpus of the fuzz target `ovpn`, replayed.

use std::fs;
use std::path::PathBuf;

use crate::fuzz;

fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz").join(kind).join("ovpn")
}

/// Messages of the kernel, as it sends them: attribute by attribute.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let attr = |kind: u16, value: &[u8]| {
        let length = (value.len() + 4) as u16;
        let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    let message = |command: u8, parts: &[Vec<u8>]| [vec![command, 1, 0, 0], parts.concat()].concat();
    let id = || attr(1, &3u32.to_ne_bytes());
    let device = || attr(1, &9u32.to_ne_bytes());
    let remote4 = || [attr(2, &[192, 0, 2, 2]), attr(5, &[0x9c, 0x40])].concat();
    let remote6 = [attr(3, &[0xfe; 16]), attr(4, &4u32.to_ne_bytes()), attr(5, &[4, 170])].concat();
    let counters: Vec<u8> =
        (16..24).flat_map(|kind| attr(kind, &(u64::from(kind) << 33).to_ne_bytes())).collect();
    let inner = [attr(8, &[10, 8, 0, 2]), attr(9, &[0xfd; 16])].concat();
    let peer = |parts: &[Vec<u8>]| attr(0x8002, &[id(), parts.concat()].concat());
    let group = [attr(1, b"peers\0"), attr(2, &8u32.to_ne_bytes())].concat();
    let groups = attr(0x8007, &attr(1, &group));
    vec![
        ("peer", message(3, &[peer(&[remote4(), attr(10, &[192, 0, 2, 1]), inner, counters])])),
        ("peer6", message(3, &[peer(&[remote6.clone(), attr(11, &[1; 16])])])),
        ("deleted", message(5, &[device(), peer(&[attr(15, &2u32.to_ne_bytes())])])),
        ("moved", message(11, &[device(), peer(&[remote4()])])),
        ("moved6", message(11, &[device(), peer(&[remote6])])),
        ("worn-out", message(9, &[device(), attr(0x8003, &[id(), attr(3, &5u16.to_ne_bytes())].concat())])),
        ("family", message(1, &[attr(2, b"ovpn\0"), attr(1, &30u16.to_ne_bytes()), groups])),
    ]
}

/// In: every file of the corpus. Out: no panic, and the seeds are there and are read. With `REMPART_BLESS` the seeds are
/// written.
#[test]
fn the_corpus_is_replayed() {
    for (name, seed) in seeds() {
        let path = folder("corpus").join(name);
        if std::env::var_os("REMPART_BLESS").is_some() {
            fs::create_dir_all(folder("corpus")).expect("a folder");
            fs::write(&path, &seed).expect("a file");
        }
        let file = fs::read(&path).expect("a seed: REMPART_BLESS=1 writes them");
        assert_eq!(file, seed, "{}", path.display());
        assert!(fuzz::ovpn(&file), "{}", path.display());
    }
    for kind in ["corpus", "regressions"] {
        for entry in fs::read_dir(folder(kind)).into_iter().flatten() {
            fuzz::ovpn(&fs::read(entry.expect("an entry").path()).expect("a file"));
        }
    }
}
