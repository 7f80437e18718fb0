//! `make flash`: what it refuses, what it asks, what it verifies. The image is a small file that stands for one.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rempart_image_tests::Scratch;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An image of three million bytes, with its checksum, as the build leaves it.
struct Fake {
    scratch: Scratch,
    bytes: Vec<u8>,
}

impl Fake {
    /// None where zstd is missing.
    fn new() -> Option<Self> {
        let scratch = Scratch::new();
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let raw = scratch.at(&format!("rempart-{VERSION}.raw"));
        fs::write(&raw, &bytes).expect("a file of our own");
        let packed = Command::new("zstd").arg("-q").arg(&raw).stderr(Stdio::null()).status();
        if !packed.is_ok_and(|s| s.success()) {
            eprintln!("skipped: zstd is not installed (make setup)");
            return None;
        }
        let sum = format!("sha256sum rempart-{VERSION}.raw.zst > rempart-{VERSION}.sha256");
        let folder = raw.parent().expect("a folder");
        assert!(
            Command::new("sh").args(["-c", &sum]).current_dir(folder).status().is_ok_and(|s| s.success())
        );
        Some(Self { scratch, bytes })
    }

    fn image(&self) -> PathBuf {
        self.scratch.at(&format!("rempart-{VERSION}.raw.zst"))
    }

    fn disk(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.scratch.at(name);
        File::create(&path).and_then(|file| file.set_len(bytes)).expect("a hole");
        path
    }

    /// Flashes to `device`; `typed` is the answer, none for `YES=1`.
    fn flash(&self, device: &Path, typed: Option<&str>) -> Output {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/flash");
        let mut command = Command::new(program);
        command.arg(device).env("IMAGE", self.image()).env("YES", if typed.is_none() { "1" } else { "" });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("image/flash starts");
        let mut keys = child.stdin.take().expect("a pipe");
        // It may have refused before it asked.
        let _ = writeln!(keys, "{}", typed.unwrap_or_default());
        drop(keys);
        child.wait_with_output().expect("it ends")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether anything was written to a disk of zeros.
fn is_untouched(disk: &Path) -> bool {
    fs::read(disk).expect("our file")[..4_000_000].iter().all(|byte| *byte == 0)
}

#[test]
fn a_disk_is_written_once_its_size_was_typed() {
    // A wrong answer, then the right one; nothing written, then the image and nothing behind it.
    let Some(fake) = Fake::new() else { return };
    let disk = fake.disk("disk", 2 << 30);
    let refused = fake.flash(&disk, Some("yes"));
    assert!(
        !refused.status.success() && said(&refused).contains("nothing was written"),
        "{}",
        said(&refused)
    );
    assert!(is_untouched(&disk));
    let done = fake.flash(&disk, Some("2 GB"));
    assert!(done.status.success(), "{}", said(&done));
    let written = fs::read(&disk).expect("our file");
    assert_eq!(written.len(), 2 << 30, "a disk keeps its size");
    assert!(written.starts_with(&fake.bytes) && written[fake.bytes.len()..].iter().all(|b| *b == 0));
}

#[test]
fn a_small_disk_a_folder_and_a_damaged_image_are_refused() {
    let Some(fake) = Fake::new() else { return };
    let small = fake.disk("small", 100 << 20);
    assert!(said(&fake.flash(&small, None)).contains("needs 1536 MiB"));
    assert!(is_untouched(&small));
    assert!(said(&fake.flash(&std::env::temp_dir(), None)).contains("neither a disk nor a file"));
    let disk = fake.disk("disk", 2 << 30);
    let mut image = fs::read(fake.image()).expect("our file");
    image[1000] ^= 1;
    fs::write(fake.image(), image).expect("our file");
    let refused = fake.flash(&disk, None);
    assert!(!refused.status.success() && said(&refused).contains("checksum differs"), "{}", said(&refused));
    assert!(is_untouched(&disk));
}

#[test]
fn a_mounted_disk_is_refused() {
    // A loop device with a mounted file system; refused while it is mounted, written afterwards.
    let Some(fake) = Fake::new() else { return };
    let disk = fake.disk("disk", 2 << 30);
    let attached = Command::new("losetup").args(["--find", "--show"]).arg(&disk).output();
    let Some(device) = attached.ok().filter(|o| o.status.success()) else {
        eprintln!("skipped: this machine gives no loop devices");
        return;
    };
    let device = PathBuf::from(String::from_utf8_lossy(&device.stdout).trim());
    let folder = fake.scratch.at("mounted");
    fs::create_dir(&folder).expect("a folder of our own");
    let run = |program: &str, arguments: &[&Path]| {
        let output = Command::new(program).args(arguments).output();
        output.is_ok_and(|o| o.status.success())
    };
    let mounted = run("mkfs.ext4", &[Path::new("-q"), &device]) && run("mount", &[&device, &folder]);
    let refused = fake.flash(&device, None);
    let unmounted = run("umount", &[&folder]);
    let done = fake.flash(&device, None);
    let detached = run("losetup", &[Path::new("-d"), &device]);
    assert!(mounted && unmounted && detached, "the stage could not be set");
    assert!(!refused.status.success() && said(&refused).contains("is mounted on"), "{}", said(&refused));
    assert!(done.status.success(), "{}", said(&done));
}
