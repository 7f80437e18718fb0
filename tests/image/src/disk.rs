//! What the machine boots from: the image as it was built, copies of it to write on, sticks with a document.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Scratch;

/// The disk of a small box: both slots, and room for the state.
const DISK_BYTES: u64 = 2 << 30;
/// A sector, and the place of the partition table (UEFI 2.10 §5.3).
const SECTOR: u64 = 512;

/// The image as `image/build` made it.
#[derive(Clone, Debug)]
pub struct Image {
    folder: PathBuf,
    stem: String,
}

impl Image {
    /// The image in `$REMPART_IMAGE`, or the one that was built last for tests or for people; none if none was built.
    pub fn find() -> Option<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
        let named = std::env::var_os("REMPART_IMAGE").map(PathBuf::from);
        let built = ["out-test", "out"].map(|folder| target.join("image").join(folder));
        let folder = named.into_iter().chain(built).find(|folder| folder.join(Self::raw_name()).is_file())?;
        Some(Self { folder, stem: format!("rempart-{}", env!("CARGO_PKG_VERSION")) })
    }

    fn raw_name() -> String {
        format!("rempart-{}.raw", env!("CARGO_PKG_VERSION"))
    }

    /// Another version, built beside this one; none if it was not.
    pub fn version(&self, version: &str) -> Option<Self> {
        let other = Self { folder: self.folder.clone(), stem: format!("rempart-{version}") };
        other.file("raw").is_file().then_some(other)
    }

    /// A file of the build by its ending: `raw`, `vmlinuz`, `initrd`, `cmdline`, `update`.
    pub fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.stem))
    }
}

/// A disk that a machine writes on.
#[derive(Debug)]
pub struct Disk {
    /// Where it lies.
    pub path: PathBuf,
}

impl Disk {
    /// A copy of the image, as flashed to a disk that is larger.
    pub fn flashed(image: &Image, scratch: &Scratch) -> Self {
        Self::named(image, scratch, "disk.raw")
    }

    /// The same, of several machines in one test.
    pub fn named(image: &Image, scratch: &Scratch, name: &str) -> Self {
        let path = scratch.at(name);
        copy(&image.file("raw"), &path);
        let file = OpenOptions::new().write(true).open(&path).expect("the copy");
        file.set_len(DISK_BYTES).expect("a hole costs nothing");
        Self { path }
    }

    /// A disk of the same size that nothing was ever written to.
    pub fn blank(scratch: &Scratch, name: &str) -> Self {
        let path = scratch.at(name);
        File::create(&path).and_then(|file| file.set_len(DISK_BYTES)).expect("a hole costs nothing");
        Self { path }
    }

    /// Whether it holds the same bytes as another one.
    pub fn equals(&self, other: &Self) -> bool {
        let compared = Command::new("cmp").arg("--silent").args([&self.path, &other.path]).status();
        compared.expect("cmp is there").success()
    }

    /// A copy of it as it is now.
    pub fn copied(&self, scratch: &Scratch, name: &str) -> Self {
        let path = scratch.at(name);
        copy(&self.path, &path);
        Self { path }
    }

    /// The first byte and the length of a partition.
    pub fn partition(&self, label: &str) -> (u64, u64) {
        let mut file = File::open(&self.path).expect("the disk");
        let mut read = |at: u64, bytes: &mut [u8]| {
            file.seek(SeekFrom::Start(at))
                .and_then(|_| file.read_exact(bytes))
                .expect("the table of partitions");
        };
        let number =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let mut header = [0; 92];
        read(SECTOR, &mut header);
        let (first, count) =
            (number(&header, 72), u32::from_le_bytes(header[80..84].try_into().expect("four bytes")));
        for entry in 0..u64::from(count) {
            let mut bytes = [0; 128];
            read(first * SECTOR + entry * 128, &mut bytes);
            let name: Vec<u16> = bytes[56..].chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
            if String::from_utf16_lossy(&name).trim_end_matches('\0') == label {
                let (begin, end) = (number(&bytes, 32), number(&bytes, 40));
                return (begin * SECTOR, (end - begin + 1) * SECTOR);
            }
        }
        panic!("{} has no partition {label}", self.path.display());
    }

    /// The bytes of a partition, which has room in memory.
    pub fn read(&self, label: &str) -> Vec<u8> {
        let (begin, length) = self.partition(label);
        let mut bytes = vec![0; usize::try_from(length).expect("a small partition")];
        let mut file = File::open(&self.path).expect("the disk");
        file.seek(SeekFrom::Start(begin)).and_then(|_| file.read_exact(&mut bytes)).expect("the partition");
        bytes
    }

    /// Changes bytes in place.
    pub fn change(&self, at: u64, length: usize, change: impl FnOnce(&mut [u8])) {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.path).expect("the disk");
        let mut bytes = vec![0; length];
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut bytes))
            .expect("a place on the disk");
        change(&mut bytes);
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&bytes)).expect("a place on the disk");
    }
}

/// A stick with the label REMPART: the folder that QEMU shows as a FAT disk.
#[derive(Debug)]
pub struct Stick {
    /// The folder.
    pub folder: PathBuf,
}

impl Stick {
    /// A stick with a document and the name of the node.
    pub fn new(scratch: &Scratch, node: &str, document: &str) -> Self {
        let stick = Self::bare(scratch, node);
        fs::write(stick.folder.join("rempart.toml"), document).expect("a file of our own");
        stick
    }

    /// A stick with the name of the node alone.
    pub fn bare(scratch: &Scratch, node: &str) -> Self {
        let folder = scratch.at(&format!("stick-{node}"));
        fs::create_dir_all(&folder).expect("a folder of our own");
        fs::write(folder.join("node"), format!("{node}\n")).expect("a file of our own");
        Self { folder }
    }
}

/// Copies a file with its holes.
pub(crate) fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").args(["--sparse=always", "--reflink=auto"]).args([from, to]).status();
    assert!(done.is_ok_and(|s| s.success()), "cannot copy {} to {}", from.display(), to.display());
}
