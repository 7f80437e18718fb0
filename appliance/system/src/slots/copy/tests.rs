//! A stick as sfdisk makes it and a larger disk, both in files: the copy, and an end of the power at every write of it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;

const TABLE: &str = "label: gpt\n\
    size=1MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=rempart-esp\n\
    size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=rempart-bios\n\
    size=2MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=rempart_1, attrs=\"GUID:60\"\n\
    size=1MiB, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, name=rempart_1_verity\n";
const STICK_BYTES: u64 = 7 << 20;
const DISK_BYTES: u64 = 24 << 20;

struct Files(PathBuf);

impl Files {
    /// None without sfdisk.
    fn new(name: &str, table: &str) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("rempart-copy-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder of our own");
        let files = Self(folder);
        let bytes: Vec<u8> =
            (0..STICK_BYTES as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(files.0.join("stick"), bytes).expect("our file");
        let sfdisk = Command::new("/sbin/sfdisk")
            .args(["-q", "--wipe=never"])
            .arg(files.0.join("stick"))
            .stdin(Stdio::piped())
            .spawn();
        let Ok(mut sfdisk) = sfdisk else {
            eprintln!("skipped: sfdisk is not installed (make setup)");
            return None;
        };
        sfdisk.stdin.take().expect("a pipe").write_all(table.as_bytes()).expect("sfdisk reads");
        assert!(sfdisk.wait().is_ok_and(|s| s.success()), "sfdisk refuses the table");
        fs::write(files.0.join("disk"), vec![0xa5; DISK_BYTES as usize]).expect("our file");
        Some(files)
    }

    fn open(&self, name: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.0.join(name)).expect("our file")
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).expect("our file")
    }

    fn listed(&self, name: &str) -> String {
        let output =
            Command::new("/sbin/sfdisk").arg("--dump").arg(self.0.join(name)).output().expect("sfdisk");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A disk whose power fails after so many writes, or that changes a byte.
struct Frail {
    file: File,
    writes: usize,
    bends: Option<u64>,
}

impl Read for Frail {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let at = self.file.stream_position()?;
        let count = self.file.read(bytes)?;
        if let Some(bent) = self.bends.and_then(|bent| bytes[..count].get_mut(bent.checked_sub(at)? as usize))
        {
            *bent ^= 1;
        }
        Ok(count)
    }
}

impl Write for Frail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes = self.writes.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Frail {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Disk for Frail {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn forget(&mut self, _: u64, _: u64) {}
}

#[test]
fn a_disk_gets_the_partitions_of_the_stick_and_a_table_of_its_own_length() {
    // What the image has, compared byte by byte; both copies of the table, by sfdisk's word; the stick as it was.
    let Some(files) = Files::new("whole", TABLE) else { return };
    let before = files.bytes("stick");
    let mut phases = Vec::new();
    let mut told = |phase, done, all| {
        assert!(done <= all);
        if phases.last().is_none_or(|(last, _, _)| *last != phase) {
            phases.push((phase, done, all));
        }
    };
    copy(&mut files.open("stick"), &mut files.open("disk"), &mut told).expect("it is copied");
    assert_eq!(phases.iter().map(|p| p.0).collect::<Vec<_>>(), [Phase::Write, Phase::Compare]);
    assert_eq!(files.bytes("stick"), before);
    let (stick, disk) = (files.bytes("stick"), files.bytes("disk"));
    let held = 1 << 20..6 << 20;
    assert!(
        disk[held.clone()] == stick[held] && disk[..446] == stick[..446] && disk[446..458] == stick[446..458]
    );
    let listed = files.listed("disk");
    for wanted in ["rempart-esp", "rempart-bios-kept", "rempart_1_verity", "last-lba: 49118", "GUID:60"] {
        assert!(listed.contains(wanted), "{wanted}: {listed}");
    }
    // Nothing of before is left where a table could be.
    assert!(
        disk[(DISK_BYTES - WIPED_BYTES) as usize..(DISK_BYTES - (1 << 20)) as usize].iter().all(|b| *b == 0)
    );
    // The copy at the end alone is enough.
    let mut file = files.open("disk");
    write_at(&mut file, 512, &[0; 512]).expect("our file");
    assert_eq!(Table::read(&mut file).expect("the copy at the end").partitions.len(), 4);
}

#[test]
fn a_copy_that_is_interrupted_leaves_a_disk_that_nothing_starts_from() {
    // The power fails before each write in turn, on a disk that held an older installation: no table, or all of it whole.
    let Some(files) = Files::new("cut", TABLE) else { return };
    let stick = files.bytes("stick");
    let mut whole = 0;
    for writes in 0.. {
        // An older installation, with another content.
        let mut older = vec![0; DISK_BYTES as usize];
        older[..6 << 20].copy_from_slice(&stick[..6 << 20]);
        older[2 << 20..6 << 20].fill(0x11);
        fs::write(files.0.join("disk"), &older).expect("our file");
        let mut frail = Frail { file: files.open("disk"), writes, bends: None };
        let done = copy(&mut files.open("stick"), &mut frail, &mut |_, _, _| {});
        let disk = files.bytes("disk");
        if disk == older {
            assert!(writes == 0 && done.is_err());
            continue;
        }
        let table = Table::read(&mut files.open("disk"));
        let is_whole = disk[1 << 20..6 << 20] == stick[1 << 20..6 << 20];
        assert!(is_whole || table.is_err(), "after {writes} writes there is a table and half an image");
        if done.is_ok() {
            assert!(is_whole && table.is_ok() && writes > 8);
            break;
        }
        whole += usize::from(table.is_ok());
        assert!(matches!(done, Err(CopyError::Disk(_))), "{done:?}");
    }
    assert!(whole > 0, "the table and the boot sector come last, one after the other");
}

#[test]
fn a_disk_that_keeps_something_else_is_told_and_has_no_table() {
    let Some(files) = Files::new("faulty", TABLE) else { return };
    let mut frail = Frail { file: files.open("disk"), writes: usize::MAX, bends: Some(3 << 20) };
    let done = copy(&mut files.open("stick"), &mut frail, &mut |_, _, _| {});
    assert!(matches!(done, Err(CopyError::Faulty)), "{done:?}");
    assert!(Table::read(&mut files.open("disk")).is_err());
}

#[test]
fn what_is_no_image_or_has_no_room_is_refused_before_anything_is_written() {
    let Some(files) = Files::new("refused", TABLE) else { return };
    let before = files.bytes("disk");
    files.open("disk").set_len(9 << 20).expect("our file");
    let small = copy(&mut files.open("stick"), &mut files.open("disk"), &mut |_, _, _| {});
    assert!(matches!(small, Err(CopyError::Room { .. })), "{small:?}");
    assert!(files.bytes("disk")[..] == before[..9 << 20]);
    let foreign = TABLE.replace("rempart-esp", "EFI");
    let Some(files) = Files::new("foreign", &foreign) else { return };
    let done = copy(&mut files.open("stick"), &mut files.open("disk"), &mut |_, _, _| {});
    assert!(matches!(done, Err(CopyError::NoImage)), "{done:?}");
    assert!(files.bytes("disk").iter().all(|b| *b == 0xa5));
}

#[test]
fn a_stick_that_is_kept_says_so_in_both_copies_and_in_nothing_else() {
    let Some(files) = Files::new("keep", TABLE) else { return };
    let before = files.listed("stick");
    keep(&mut files.open("stick")).expect("it is marked");
    assert_eq!(files.listed("stick"), before.replace("\"rempart-bios\"", "\"rempart-bios-kept\""));
    // Twice is once too often, and changes nothing.
    assert!(keep(&mut files.open("stick")).is_err());
}
