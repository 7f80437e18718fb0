//! The stick that a box was started from goes onto a disk: what a flashed image holds, byte by byte, and a table of partitions
//! that fits the disk.
//!
//! ```text
//!  stick    boot sector │ table │ ESP │ BIOS │ slot A: root, tree │ nothing yet
//!  disk   1 wiped: both ends ─▶ 2 the partitions, synchronised ─▶ 3 read back and compared
//!         ─▶ 4 the table, at the end and at the beginning ─▶ 5 the boot sector
//! ```
//!
//! Whatever interrupts it: before 4 the disk has no partitions, so no firmware and no kernel finds anything on it; from there on all
//! that could be started is whole. The disk's own first start then makes slot B and the state, as on any flashed one.

use std::io::{self, SeekFrom};

use sha2::{Digest as _, Sha256};

use super::{CHUNK, Disk, GptError, Guid, SlotError, Table, digest};

/// What is wiped at either end: tables of partitions and their copies, and the signatures of volumes and file systems.
const WIPED_BYTES: u64 = 4 << 20;
/// How much may wait in memory to be written.
const SYNC_BYTES: u64 = 32 << 20;
/// The code that a legacy BIOS starts, and the table for those who know no GPT (UEFI 2.10 §5.2.3).
const BOOT_SECTOR_BYTES: usize = 512;
/// The partition whose name says that the disk keeps its state, be it a stick or not.
const MARKED: &str = "rempart-bios";
/// That name; `usr/lib/rempart/state` looks for it.
const KEPT: &str = "rempart-bios-kept";

/// Why a disk was not written. From the wiping on nothing starts from it.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The stick.
    #[error("the stick cannot be read: {0}")]
    Stick(io::Error),
    /// Its table.
    #[error("the stick's table of partitions: {0}")]
    Table(GptError),
    /// There is no image on it.
    #[error("the stick does not hold what the image has: nothing was written")]
    NoImage,
    /// The disk.
    #[error("the disk cannot be written, and nothing starts from it now: {0}")]
    Disk(io::Error),
    /// The disk has no room.
    #[error("the disk has {bytes} bytes, and {needed} are copied: nothing was written")]
    Room {
        /// The disk.
        bytes: u64,
        /// The end of what is copied, and room for the table behind it.
        needed: u64,
    },
    /// What was read back is not what was written.
    #[error("what was read back is not what was written: the disk is faulty, and nothing starts from it")]
    Faulty,
}

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Written.
    Write,
    /// Read back and compared.
    Compare,
}

/// Which bytes go over: from the first partition to the end of slot A. What lies before is the table, which is written anew.
struct Plan {
    table: Table,
    begin: u64,
    end: u64,
}

impl Plan {
    fn of(stick: &mut impl Disk) -> Result<Self, CopyError> {
        let table = Table::read(stick).map_err(CopyError::Table)?;
        let first_of = |kind| table.partitions.iter().find(move |p| p.kind == kind);
        let (Some(root), Some(tree)) = (first_of(Guid::ROOT), first_of(Guid::VERITY)) else {
            return Err(CopyError::NoImage);
        };
        let end_of = |(from, length): (u64, u64)| from + length;
        let end = end_of(root.bytes()).max(end_of(tree.bytes()));
        let held = table.partitions.iter().filter(|p| end_of(p.bytes()) <= end);
        let begin = held.clone().map(|p| p.bytes().0).min().ok_or(CopyError::NoImage)?;
        let is_whole = held.filter(|p| p.label == "rempart-esp" || p.label == MARKED).count() == 2;
        if is_whole { Ok(Self { table, begin, end }) } else { Err(CopyError::NoImage) }
    }
}

/// Copies a stick that nothing has written to onto a disk. `told` hears how many bytes of how many are done in which phase.
pub fn copy(
    stick: &mut impl Disk,
    disk: &mut impl Disk,
    told: &mut dyn FnMut(Phase, u64, u64),
) -> Result<(), CopyError> {
    let Plan { table, begin, end } = Plan::of(stick)?;
    let bytes = disk.seek(SeekFrom::End(0)).map_err(CopyError::Disk)?;
    let needed = end + WIPED_BYTES;
    let mut table = match table.moved(bytes, end) {
        Ok(table) if bytes >= needed => table,
        Ok(_) | Err(_) => return Err(CopyError::Room { bytes, needed }),
    };
    mark(&mut table);
    let mut boot_sector = read_at(stick, 0, BOOT_SECTOR_BYTES).map_err(CopyError::Stick)?;
    protect(&mut boot_sector, bytes);
    let zeros = vec![0; WIPED_BYTES as usize];
    for from in [0, bytes - WIPED_BYTES] {
        write_at(disk, from, &zeros).map_err(CopyError::Disk)?;
    }
    disk.sync().map_err(CopyError::Disk)?;

    let length = end - begin;
    let written = write(stick, disk, begin, length, told)?;
    disk.forget(begin, length);
    disk.seek(SeekFrom::Start(begin)).map_err(CopyError::Disk)?;
    let mut done = 0;
    let kept = digest(disk, length, |chunk| {
        done += chunk.len() as u64;
        told(Phase::Compare, done, length);
        Ok(())
    });
    if kept.map_err(CopyError::Disk)? != Some(written) {
        return Err(CopyError::Faulty);
    }
    table.write(disk).map_err(|error| match error {
        GptError::Io(error) => CopyError::Disk(error),
        GptError::Damaged => CopyError::Faulty,
    })?;
    write_at(disk, 0, &boot_sector).and_then(|()| disk.sync()).map_err(CopyError::Disk)?;
    disk.forget(0, begin);
    disk.forget(bytes - WIPED_BYTES, WIPED_BYTES);
    let is_there = read_at(disk, 0, BOOT_SECTOR_BYTES).map_err(CopyError::Disk)? == boot_sector
        && Table::read(disk).is_ok_and(|read| read.partitions == table.partitions);
    if is_there { Ok(()) } else { Err(CopyError::Faulty) }
}

/// A stick becomes the disk of its box: its next start makes the state on it.
pub fn keep(stick: &mut impl Disk) -> Result<(), SlotError> {
    let mut table = Table::read(stick)?;
    if mark(&mut table) { Ok(table.write(stick)?) } else { Err(SlotError::NoSlots) }
}

/// The one partition of the old table covers the whole disk (UEFI 2.10 §5.2.3, table 5.4).
fn protect(boot_sector: &mut [u8], disk_bytes: u64) {
    const TYPE: usize = 446 + 4;
    const SECTORS: usize = 446 + 12;
    let behind_the_first = disk_bytes / BOOT_SECTOR_BYTES as u64 - 1;
    let sectors = u32::try_from(behind_the_first).unwrap_or(u32::MAX).to_le_bytes();
    if let (Some(0xee), Some(place)) =
        (boot_sector.get(TYPE).copied(), boot_sector.get_mut(SECTORS..SECTORS + 4))
    {
        place.copy_from_slice(&sectors);
    }
}

/// Whether there was something to mark.
fn mark(table: &mut Table) -> bool {
    let marked = table.partitions.iter_mut().find(|p| p.label == MARKED);
    marked.map(|partition| partition.label = KEPT.to_owned()).is_some()
}

fn write(
    stick: &mut impl Disk,
    disk: &mut impl Disk,
    begin: u64,
    length: u64,
    told: &mut dyn FnMut(Phase, u64, u64),
) -> Result<[u8; 32], CopyError> {
    stick.seek(SeekFrom::Start(begin)).map_err(CopyError::Stick)?;
    disk.seek(SeekFrom::Start(begin)).map_err(CopyError::Disk)?;
    let (mut chunk, mut hash, mut done) = (vec![0; CHUNK], Sha256::new(), 0);
    while done < length {
        let most = usize::try_from(length - done).unwrap_or(CHUNK).min(CHUNK);
        stick.read_exact(&mut chunk[..most]).map_err(CopyError::Stick)?;
        hash.update(&chunk[..most]);
        disk.write_all(&chunk[..most]).map_err(CopyError::Disk)?;
        done += most as u64;
        // Else all of it would wait in memory, and the figures would be those of the memory.
        if done.is_multiple_of(SYNC_BYTES) {
            disk.sync().map_err(CopyError::Disk)?;
        }
        told(Phase::Write, done, length);
    }
    disk.sync().map_err(CopyError::Disk)?;
    Ok(hash.finalize().into())
}

fn read_at(disk: &mut impl Disk, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut read = vec![0; bytes];
    disk.seek(SeekFrom::Start(at))?;
    disk.read_exact(&mut read)?;
    Ok(read)
}

fn write_at(disk: &mut impl Disk, at: u64, bytes: &[u8]) -> io::Result<()> {
    disk.seek(SeekFrom::Start(at))?;
    disk.write_all(bytes)
}

#[cfg(test)]
mod tests;
