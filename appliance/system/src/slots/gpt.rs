//! The table of partitions (UEFI 2.10 §5.3): read, changed in names and UUIDs, written back in both of its places.
//!
//! ```text
//!  sector 1   header ── CRC-32 of itself, CRC-32 of the entries
//!  sector 2   entries: type, UUID, first and last sector, attributes, 36 characters of UTF-16
//!  the end    the entries again, and behind them, in the last sector, the header again
//! ```

use std::io::{self, SeekFrom};

use super::Disk;

/// Sectors of 512 bytes: the image is made for them.
const SECTOR: u64 = 512;
const HEADER_BYTES: usize = 92;
const ENTRY_BYTES: usize = 128;
/// Most entries that are read; the image has 128, and some tools write more.
const ENTRIES_MAX: u32 = 1024;

/// Why a table was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Neither copy is one.
    #[error("neither of its two copies is whole")]
    Damaged,
}

/// A UUID as it lies on the disk: the first three fields are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guid([u8; 16]);

impl Guid {
    /// The type of an x86-64 root file system: 4f68bce3-e8cd-4db1-96e7-fbcaf984b709.
    pub const ROOT: Self =
        Self::from_text_order(0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709_u128.to_be_bytes());
    /// The type of its tree of hashes: 2c7357ed-ebd2-46d9-aec1-23d437ec2bf5.
    pub const VERITY: Self =
        Self::from_text_order(0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5_u128.to_be_bytes());

    /// From the bytes in the order in which a UUID is written down.
    pub const fn from_text_order([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [u8; 16]) -> Self {
        Self([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }

    /// A UUID for a partition without content, different from place to place.
    pub(super) fn of_place(place: usize) -> Self {
        Self((0x7265_6d70_6172_7420_656d_7074_7900_0000_u128 | place as u128 & 0xff).to_be_bytes())
    }
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// What for.
    pub kind: Guid,
    /// Its own UUID.
    pub id: Guid,
    /// Its name.
    pub label: String,
    first: u64,
    last: u64,
    attributes: u64,
}

impl Partition {
    /// Where it begins and how long it is.
    pub fn bytes(&self) -> (u64, u64) {
        (self.first * SECTOR, (self.last + 1 - self.first) * SECTOR)
    }
}

/// The table.
#[derive(Clone, Debug)]
pub struct Table {
    /// The partitions, in the order of their entries; entries that are not used are left out.
    pub partitions: Vec<Partition>,
    /// The number of the entry of each.
    places: Vec<usize>,
    header: Header,
    entries: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    bytes: [u8; HEADER_BYTES],
    /// In sectors.
    backup: u64,
    last_usable: u64,
}

impl Table {
    /// Reads the table at the beginning of the disk, or, where that is damaged, the one at its end.
    pub fn read(disk: &mut impl Disk) -> Result<Self, GptError> {
        let end = disk.seek(SeekFrom::End(0))?;
        let last = (end / SECTOR).checked_sub(1).ok_or(GptError::Damaged)?;
        for (sector, is_backup) in [(1, false), (last, true)] {
            if let Some(table) = Self::read_at(disk, sector, is_backup, last)? {
                return Ok(table);
            }
        }
        Err(GptError::Damaged)
    }

    fn read_at(disk: &mut impl Disk, sector: u64, is_backup: bool, end: u64) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER_BYTES];
        disk.seek(SeekFrom::Start(sector * SECTOR))?;
        disk.read_exact(&mut bytes)?;
        let mut bare = bytes;
        put(&mut bare, 16, &[0; 4]);
        let (count, size) = (u32_at(&bytes, 80), u32_at(&bytes, 84));
        let is_one = bytes.starts_with(b"EFI PART")
            && u32_at(&bytes, 12) == HEADER_BYTES as u32
            && u32_at(&bytes, 16) == crc32(&bare)
            && u64_at(&bytes, 24) == sector
            && size == ENTRY_BYTES as u32
            && (1..=ENTRIES_MAX).contains(&count);
        if !is_one {
            return Ok(None);
        }
        let mut entries = vec![0; count as usize * ENTRY_BYTES];
        let Some(from) = u64_at(&bytes, 72).checked_mul(SECTOR) else { return Ok(None) };
        disk.seek(SeekFrom::Start(from))?;
        if disk.read_exact(&mut entries).is_err() || u32_at(&bytes, 88) != crc32(&entries) {
            return Ok(None);
        }
        let backup = if is_backup { sector } else { u64_at(&bytes, 32) };
        let header = Header { bytes, backup, last_usable: u64_at(&bytes, 48) };
        let mut table = Self { partitions: Vec::new(), places: Vec::new(), header, entries };
        for (place, entry) in table.entries.chunks_exact(ENTRY_BYTES).enumerate() {
            let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
            if entry.starts_with(&[0; 16]) {
                continue;
            }
            if first > last || last > end {
                return Ok(None);
            }
            let units: Vec<u16> =
                entry[56..].chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
            let label = String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned();
            let guid = |at: usize| Guid(std::array::from_fn(|n| entry[at + n]));
            let attributes = u64_at(entry, 48);
            table.partitions.push(Partition { kind: guid(0), id: guid(16), label, first, last, attributes });
            table.places.push(place);
        }
        Ok(Some(table))
    }

    /// The same table for a disk of so many bytes: its copy goes to that disk's own end, and what ends behind `end` is left out.
    pub fn moved(mut self, disk_bytes: u64, end: u64) -> Result<Self, GptError> {
        let last = (disk_bytes / SECTOR).checked_sub(1).ok_or(GptError::Damaged)?;
        let (kept, gone): (Vec<_>, Vec<_>) =
            self.places.into_iter().zip(self.partitions).partition(|(_, p)| (p.last + 1) * SECTOR <= end);
        for (place, _) in gone {
            self.entries[place * ENTRY_BYTES..(place + 1) * ENTRY_BYTES].fill(0);
        }
        (self.places, self.partitions) = kept.into_iter().unzip();
        let behind = (self.entries.len() as u64).div_ceil(SECTOR) + 1;
        let last_usable = last.checked_sub(behind).filter(|usable| (usable + 1) * SECTOR >= end);
        self.header.last_usable = last_usable.ok_or(GptError::Damaged)?;
        self.header.backup = last;
        put(&mut self.header.bytes, 48, &self.header.last_usable.to_le_bytes());
        Ok(self)
    }

    /// Writes both copies, first the one at the end: at every instant one of them is whole.
    pub fn write(&mut self, disk: &mut impl Disk) -> Result<(), GptError> {
        for (partition, place) in self.partitions.iter().zip(&self.places) {
            let entry = &mut self.entries[place * ENTRY_BYTES..(place + 1) * ENTRY_BYTES];
            put(entry, 16, &partition.id.0);
            put(entry, 48, &partition.attributes.to_le_bytes());
            entry[56..].fill(0);
            for (at, unit) in partition.label.encode_utf16().take(36).enumerate() {
                put(entry, 56 + 2 * at, &unit.to_le_bytes());
            }
        }
        let Header { backup, last_usable, .. } = self.header;
        for (own, other, entries) in [(backup, 1, last_usable + 1), (1, backup, 2)] {
            let mut header = self.header.bytes;
            put(&mut header, 24, &own.to_le_bytes());
            put(&mut header, 32, &other.to_le_bytes());
            put(&mut header, 72, &entries.to_le_bytes());
            put(&mut header, 88, &crc32(&self.entries).to_le_bytes());
            put(&mut header, 16, &[0; 4]);
            let sum = crc32(&header);
            put(&mut header, 16, &sum.to_le_bytes());
            disk.seek(SeekFrom::Start(entries * SECTOR))?;
            disk.write_all(&self.entries)?;
            disk.seek(SeekFrom::Start(own * SECTOR))?;
            disk.write_all(&header)?;
            disk.sync()?;
        }
        Ok(())
    }
}

/// Makes a table of two sectors: kind, UUID, first and last sector of each partition.
#[cfg(test)]
pub(super) fn format(
    disk: &mut impl Disk,
    places: impl IntoIterator<Item = (Guid, Guid, u64, u64)>,
) -> Result<(), GptError> {
    let last = disk.seek(SeekFrom::End(0))? / SECTOR - 1;
    let mut entries = vec![0; 8 * ENTRY_BYTES];
    let mut partitions = Vec::new();
    for (entry, (kind, id, first, last)) in entries.chunks_exact_mut(ENTRY_BYTES).zip(places) {
        put(entry, 0, &kind.0);
        put(entry, 32, &first.to_le_bytes());
        put(entry, 40, &last.to_le_bytes());
        partitions.push(Partition { kind, id, label: String::new(), first, last, attributes: 0 });
    }
    let mut bytes = [0; HEADER_BYTES];
    put(&mut bytes, 0, b"EFI PART\0\0\x01\0");
    put(&mut bytes, 12, &(HEADER_BYTES as u32).to_le_bytes());
    put(&mut bytes, 48, &(last - 33).to_le_bytes());
    put(&mut bytes, 80, &8u32.to_le_bytes());
    put(&mut bytes, 84, &(ENTRY_BYTES as u32).to_le_bytes());
    let header = Header { bytes, backup: last, last_usable: last - 33 };
    let places = (0..partitions.len()).collect();
    Table { partitions, places, header, entries }.write(disk)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

/// The CRC of IEEE 802.3, bit by bit: the table has sixteen kilobytes.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}
