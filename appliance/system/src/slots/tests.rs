//! A disk that sfdisk made, in a file: slots are found, written, and never half there.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use super::*;

const RUNNING: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";
const OTHER: &str = "ffeeddccbbaa99887766554433221100fedcba9876543210fedcba9876543210";

/// A disk of 64 MiB with both slots, removed at the end; none without sfdisk.
struct Disk(PathBuf);

impl Disk {
    fn new(name: &str) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("rempart-slots-{name}-{}", std::process::id()));
        File::create(&path).and_then(|f| f.set_len(64 << 20)).expect("a file of our own");
        let table = "label: gpt\n\
            size=1MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=rempart-esp\n\
            size=16MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=00112233-4455-6677-8899-aabbccddeeff, name=rempart_1, attrs=\"GUID:60\"\n\
            size=2MiB, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, uuid=01234567-89ab-cdef-0123-456789abcdef, name=rempart_1_verity\n\
            size=16MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=_empty\n\
            size=2MiB, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, name=_empty\n";
        let disk = Self(path);
        let started = Command::new("/sbin/sfdisk").arg("-q").arg(&disk.0).stdin(Stdio::piped()).spawn();
        let Ok(mut sfdisk) = started else {
            eprintln!("skipped: sfdisk is not installed (make setup)");
            return None;
        };
        sfdisk.stdin.take().expect("a pipe").write_all(table.as_bytes()).expect("sfdisk reads");
        assert!(sfdisk.wait().is_ok_and(|s| s.success()), "sfdisk refuses the table");
        Some(disk)
    }

    fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.0).expect("our file")
    }

    /// What sfdisk says about it; it fails where a checksum is wrong.
    fn listed(&self) -> String {
        let output =
            Command::new("/sbin/sfdisk").args(["--dump"]).arg(&self.0).output().expect("sfdisk runs");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text").to_lowercase()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn content(bytes: &[u8]) -> Content {
    Content { bytes: bytes.len() as u64, sha256: Sha256::digest(bytes).into() }
}

fn hash(text: &str) -> RootHash {
    RootHash::parse(text).expect("a root hash")
}

fn install(disk: &Disk, root: &[u8], said: Content, tree: &[u8]) -> Result<Slot, SlotError> {
    let version = Version::new("2").expect("a version");
    let mut parts = root.chain(tree);
    Slots::open(disk.open())?.install(hash(RUNNING), &version, hash(OTHER), &mut parts, [said, content(tree)])
}

#[test]
fn a_version_goes_into_the_slot_that_does_not_run() {
    // A root and a tree; in slot B, with the halves of the root hash for UUIDs, and sfdisk finds both copies of the table good.
    let Some(disk) = Disk::new("install") else { return };
    let (root, tree) = (vec![7; 3_000_001], vec![9; 4096]);
    assert_eq!(install(&disk, &root, content(&root), &tree).expect("it fits"), Slot::B);
    let listed = disk.listed();
    for wanted in [
        "name=\"rempart_1\"",
        "name=\"rempart_2\"",
        "name=\"rempart_2_verity\"",
        "uuid=00112233-4455-6677-8899-aabbccddeeff",
        "uuid=ffeeddcc-bbaa-9988-7766-554433221100",
        "uuid=fedcba98-7654-3210-fedc-ba9876543210",
        "attrs=\"guid:60\"",
    ] {
        assert!(listed.contains(wanted), "{wanted}: {listed}");
    }
    let slots = Slots::open(disk.open()).expect("a table");
    assert_eq!((slots.find(hash(RUNNING)), slots.find(hash(OTHER))), (Some(Slot::A), Some(Slot::B)));
    let mut file = disk.open();
    let mut read = vec![0; root.len()];
    file.seek(SeekFrom::Start(slots.table.partitions[slots.pairs[1][0]].bytes().0)).expect("a place");
    file.read_exact(&mut read).expect("bytes");
    assert_eq!(read, root);
}

#[test]
fn an_update_that_is_not_what_its_manifest_says_starts_nothing() {
    // One bit wrong, one byte missing, all missing; each time refused, and slot B is nameless.
    let Some(disk) = Disk::new("content") else { return };
    let root = vec![7; 2_000_000];
    install(&disk, &root, content(&root), b"tree").expect("it fits");
    let mut bent = root.clone();
    bent[1_999_999] ^= 1;
    for wrong in [&bent[..], &root[1..], &[]] {
        let refused = install(&disk, wrong, content(&root), b"tree");
        assert!(matches!(refused, Err(SlotError::Content("root file system"))), "{refused:?}");
        let slots = Slots::open(disk.open()).expect("a table");
        assert_eq!((slots.find(hash(RUNNING)), slots.find(hash(OTHER))), (Some(Slot::A), None));
        assert_eq!(disk.listed().matches("name=\"_empty\"").count(), 2);
    }
    let large = Content { bytes: 17 << 20, sha256: [0; 32] };
    assert!(matches!(install(&disk, &root, large, b"tree"), Err(SlotError::Room { .. })));
}

#[test]
fn the_running_version_is_never_written_over() {
    let Some(disk) = Disk::new("running") else { return };
    let version = Version::new("2").expect("a version");
    let nothing = content(b"");
    let mut slots = Slots::open(disk.open()).expect("a table");
    let before = disk.listed();
    let mut install = |running, new| {
        slots.install(hash(running), &version, hash(new), &mut io::empty(), [nothing, nothing])
    };
    assert!(matches!(install(RUNNING, RUNNING), Err(SlotError::Same)));
    assert!(matches!(install(OTHER, RUNNING), Err(SlotError::NotRunning)));
    assert_eq!(disk.listed(), before);
}

#[test]
fn one_whole_copy_of_the_table_is_enough() {
    // The first header gone, as when the power failed while it was written; slots are found, and writing puts both right.
    let Some(disk) = Disk::new("backup") else { return };
    let mut file = disk.open();
    file.seek(SeekFrom::Start(512)).and_then(|_| file.write_all(&[0; 512])).expect("our file");
    let root = vec![1; 100];
    assert_eq!(install(&disk, &root, content(&root), b"tree").expect("the copy at the end"), Slot::B);
    assert!(disk.listed().contains("rempart_2_verity"));
    file.set_len(64 << 20).and_then(|()| file.seek(SeekFrom::Start(0))).expect("our file");
    file.write_all(&vec![0; 64 << 10]).expect("our file");
    file.seek(SeekFrom::End(-(64 << 10))).and_then(|_| file.write_all(&vec![0; 64 << 10])).expect("our file");
    assert!(matches!(Slots::open(disk.open()), Err(SlotError::Table(GptError::Damaged))));
}

#[test]
fn a_root_hash_has_its_digits() {
    // Table: what is a root hash.
    assert_eq!(RootHash::of_cmdline(&format!("quiet roothash={RUNNING} x")), RootHash::parse(RUNNING));
    assert_eq!(RootHash::parse(&RUNNING[1..]), None);
    assert_eq!(RootHash::parse(&RUNNING.replace('a', "g")), None);
    assert_eq!(gpt::crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
}
