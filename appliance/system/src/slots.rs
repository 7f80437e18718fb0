//! The two slots of the disk, and how a version gets into the one that is not running.
//!
//! ```text
//!  running    rempart_0.1.0  + rempart_0.1.0_verity     UUIDs = halves of the root hash: a kernel finds its own root only
//!  other      _empty         + _empty                   ──clear──▶ write ──▶ read back ──▶ name it ──▶ arm its kernel
//!  ESP        EFI/Linux/rempart_0.2.0+3.efi             three tries, counted down in the name by systemd-boot ([`esp`])
//! ```
//!
//! Whatever interrupts an installation, the running version is untouched, and the other slot is either nameless or whole: it gets
//! its UUIDs when all of it was read back from the disk, and its kernel last of all. `power` tries every instant of it.
//!
//! Refuses to know who signed what: it is given the digests that a verified signature covers.

mod copy;
mod disks;
mod esp;
mod gpt;
mod install;
#[cfg(test)]
mod power;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Not;
use std::path::PathBuf;

pub use rempart_update::Version;
pub use rempart_update::manifest::Content;
use sha2::{Digest as _, Sha256};

pub use copy::{CopyError, Phase, copy, keep};
pub use disks::{Choice, Places, Seen, Unfit, choose, observe};
pub use esp::{Esp, EspError, Folders, Kernel, Mounted};
pub use gpt::{GptError, Guid, Partition, Table};
pub use install::{Running, stage};

/// What is copied at once.
const CHUNK: usize = 1 << 20;
/// The label of a slot that nothing starts from.
const EMPTY: &str = "_empty";

/// What a table of partitions and two slots lie on.
pub trait Disk: Read + Write + Seek {
    /// Everything that was written is kept when the power fails from here on.
    fn sync(&mut self) -> io::Result<()>;
    /// What is read next in this place comes from the disk, not from memory.
    fn forget(&mut self, from: u64, bytes: u64);
}

impl Disk for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    fn forget(&mut self, from: u64, bytes: u64) {
        let [from, bytes] = [from, bytes].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        // A file system that keeps it all the same only weakens the test.
        let _ = nix::fcntl::posix_fadvise(&*self, from, bytes, advice);
    }
}

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// The first on the disk.
    A,
    /// The second.
    B,
}

impl Not for Slot {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The hash of a whole root file system. Its halves are the UUIDs of the two partitions (discoverable partitions
/// specification).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootHash([u8; 32]);

impl RootHash {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        (text.len() == 64 && text.is_ascii()).then_some(())?;
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The one that a kernel was started with.
    pub fn of_cmdline(cmdline: &str) -> Option<Self> {
        cmdline.split_whitespace().find_map(|word| Self::parse(word.strip_prefix("roothash=")?))
    }

    /// As an update names it.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As an update names it.
    pub const fn bytes(self) -> [u8; 32] {
        self.0
    }

    fn guids(self) -> [Guid; 2] {
        let half = |from: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&self.0[from..from + 16]);
            Guid::from_text_order(bytes)
        };
        [half(0), half(16)]
    }
}

/// Why a slot was not written. The running version is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The disk.
    #[error("the disk: {0}")]
    Io(#[from] io::Error),
    /// The table of partitions.
    #[error("the table of partitions: {0}")]
    Table(#[from] GptError),
    /// The EFI system partition.
    #[error(transparent)]
    Esp(#[from] EspError),
    /// There are no two slots.
    #[error("the disk has no second slot: was it flashed with the image?")]
    NoSlots,
    /// Nobody knows which slot runs.
    #[error("the running version lies in neither slot of this disk: nothing was written")]
    NotRunning,
    /// It would take the place of the running one, whose UUIDs it has.
    #[error("this very version is running")]
    Same,
    /// The update is not what its manifest says.
    #[error("the {0} of the update is not what its manifest says: nothing will start from that slot")]
    Content(&'static str),
    /// The slot is too small.
    #[error("the {what} of the update has {bytes} bytes, and its partition {room}")]
    Room {
        /// What does not fit.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// The partition's.
        room: u64,
    },
    /// What was read back is not what was written.
    #[error("the disk did not keep the {0}: it is failing")]
    Faulty(&'static str),
}

/// A disk with two slots.
#[derive(Debug)]
pub struct Slots<D: Disk = File> {
    disk: D,
    table: Table,
    /// Root and tree of each slot, as places in the table.
    pairs: [[usize; 2]; 2],
}

impl<D: Disk> Slots<D> {
    /// Reads the table of a disk that was opened for reading and writing.
    pub fn open(mut disk: D) -> Result<Self, SlotError> {
        let table = Table::read(&mut disk)?;
        let of_kind =
            |kind| table.partitions.iter().enumerate().filter(move |(_, p)| p.kind == kind).map(|(n, _)| n);
        let mut both = of_kind(Guid::ROOT).zip(of_kind(Guid::VERITY));
        let (Some(a), Some(b)) = (both.next(), both.next()) else { return Err(SlotError::NoSlots) };
        Ok(Self { disk, table, pairs: [[a.0, a.1], [b.0, b.1]] })
    }

    /// Whether the slot that `running` does not lie in is large enough, so that nothing is begun that cannot end well.
    pub fn has_room(&self, running: RootHash, root: Content, tree: Content) -> Result<(), SlotError> {
        let slot = !self.find(running).ok_or(SlotError::NotRunning)?;
        let parts = [(ROOT, root), (TREE, tree)];
        for (place, (what, content)) in self.pair(slot).into_iter().zip(parts) {
            self.room(place, what, content)?;
        }
        Ok(())
    }

    /// Reads from the root file system (`tree`: from its tree) of a slot; what lies behind its partition is refused.
    pub fn read(&mut self, slot: Slot, tree: bool, at: u64, bytes: &mut [u8]) -> Result<(), SlotError> {
        let [root_place, tree_place] = self.pair(slot);
        let (begin, room) = self.table.partitions[if tree { tree_place } else { root_place }].bytes();
        let end = at.checked_add(bytes.len() as u64).filter(|end| *end <= room);
        end.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.disk.seek(SeekFrom::Start(begin + at))?;
        Ok(self.disk.read_exact(bytes)?)
    }

    /// The slot that the root with this hash lies in.
    pub fn find(&self, root: RootHash) -> Option<Slot> {
        let holds = |slot: Slot| self.pair(slot).map(|n| self.table.partitions[n].id) == root.guids();
        [Slot::A, Slot::B].into_iter().find(|slot| holds(*slot))
    }

    /// Writes a version into the slot that `running` does not lie in: the root file system and its tree, which follow each
    /// other in `parts`. Nothing starts from it yet.
    pub fn install(
        &mut self,
        running: RootHash,
        version: &Version,
        hash: RootHash,
        parts: &mut dyn Read,
        [root, tree]: [Content; 2],
    ) -> Result<Slot, SlotError> {
        let slot = !self.find(running).ok_or(SlotError::NotRunning)?;
        if hash == running {
            return Err(SlotError::Same);
        }
        self.name(slot, [EMPTY.to_owned(), EMPTY.to_owned()], [None, None])?;
        let [root_place, tree_place] = self.pair(slot);
        self.copy(root_place, ROOT, parts, root)?;
        self.copy(tree_place, TREE, parts, tree)?;
        let labels = [format!("rempart_{version}"), format!("rempart_{version}_verity")];
        self.name(slot, labels, hash.guids().map(Some))?;
        Ok(slot)
    }

    fn pair(&self, slot: Slot) -> [usize; 2] {
        match slot {
            Slot::A => self.pairs[0],
            Slot::B => self.pairs[1],
        }
    }

    /// Gives both partitions their names; without a UUID they get one that no kernel looks for.
    fn name(&mut self, slot: Slot, labels: [String; 2], ids: [Option<Guid>; 2]) -> Result<(), SlotError> {
        for ((place, label), id) in self.pair(slot).into_iter().zip(labels).zip(ids) {
            let partition = &mut self.table.partitions[place];
            partition.label = label;
            partition.id = id.unwrap_or_else(|| Guid::of_place(place));
        }
        Ok(self.table.write(&mut self.disk)?)
    }

    fn room(&self, place: usize, what: &'static str, content: Content) -> Result<u64, SlotError> {
        let (begin, room) = self.table.partitions[place].bytes();
        if content.bytes > room {
            Err(SlotError::Room { what, bytes: content.bytes, room })
        } else {
            Ok(begin)
        }
    }

    fn copy(
        &mut self,
        place: usize,
        what: &'static str,
        source: &mut dyn Read,
        content: Content,
    ) -> Result<(), SlotError> {
        let begin = self.room(place, what, content)?;
        self.disk.seek(SeekFrom::Start(begin))?;
        let written = digest(source, content.bytes, |chunk| self.disk.write_all(chunk))?;
        if written != Some(content.sha256) {
            return Err(SlotError::Content(what));
        }
        self.disk.sync()?;
        self.disk.forget(begin, content.bytes);
        self.disk.seek(SeekFrom::Start(begin))?;
        let kept = digest(&mut self.disk, content.bytes, |_| Ok(()))?;
        if kept == Some(content.sha256) { Ok(()) } else { Err(SlotError::Faulty(what)) }
    }
}

/// The disk that the running root file system lies on: `/dev/sda` under `/dev/mapper/root` on `/dev/sda3`.
pub fn disk_of_root() -> io::Result<PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the root file system does not lie in a slot");
    for entry in fs::read_dir("/sys/block")? {
        let device = entry?.path();
        if fs::read_to_string(device.join("dm/name")).is_ok_and(|name| name.trim() == "root") {
            let part = fs::read_dir(device.join("slaves"))?.next().ok_or_else(missing)??.path();
            let disk = fs::canonicalize(part)?;
            let name = disk.parent().and_then(|disk| disk.file_name()).ok_or_else(missing)?;
            return Ok(PathBuf::from("/dev").join(name));
        }
    }
    Err(missing())
}

const ROOT: &str = "root file system";
const TREE: &str = "tree of hashes";

/// Reads exactly so many bytes and gives their SHA-256; none if there are fewer.
fn digest(
    source: &mut dyn Read,
    bytes: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Option<[u8; 32]>> {
    let mut chunk = vec![0; CHUNK];
    let mut hash = Sha256::new();
    let mut left = bytes;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let count = source.read(&mut chunk[..most])?;
        if count == 0 {
            return Ok(None);
        }
        hash.update(&chunk[..count]);
        each(&chunk[..count])?;
        left -= count as u64;
    }
    Ok(Some(hash.finalize().into()))
}
