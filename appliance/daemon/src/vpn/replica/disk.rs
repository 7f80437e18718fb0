//! What outlives the program: the record of take-over epochs, which outlives the machine, and the sessions, which must not.
//!
//! `DIR/vpn/epoch` holds no secret. `RUN/sessions` holds keys: it is on tmpfs, readable for this program alone, and gone with
//! the power.
//!
//! ```text
//!   sessions   magic and version 8 │ highest epoch 8 │ role 8 │ term 8 │ owner 8 │ position 8 │
//!              kind 1 │ name: length 1, bytes │ value: length 4, bytes │ … │ SHA-256 of all before, 32
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rempart_openvpn::data::epoch::{Record, StoreId};
use rempart_pair::shared::{Entries, Fence, Held, Key, Shared};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use tracing::warn;
use zeroize::Zeroizing;

use crate::disk;

const MAGIC: [u8; 8] = *b"RmptSes\x01";
const HEADER: usize = 8 + 8 + 32;
const SUM: usize = 32;
/// More than all that may be in it. A longer file is not ours.
const MAX_FILE: u64 = 256 << 20;

/// Why the replica cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record of epochs is in use.
    #[error("another rempart-vpn uses {}: two must not draw take-over epochs from one record", .0.display())]
    InUse(PathBuf),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The thread or its runtime cannot be started.
    #[error("the replica's thread cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// The record of epochs, held for this program alone.
pub struct Epochs {
    file: PathBuf,
    _lock: Flock<File>,
}

impl Epochs {
    /// Opens the record in `folder`; where there is none that can be read, a new store is begun, which is not written before
    /// the first epoch is.
    pub fn open(folder: &Path) -> Result<(Self, Record), StartError> {
        let wrong = |source| StartError::Folder { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
        let lock = folder.join("epoch.lock");
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(wrong)?;
        let lock =
            Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|_| StartError::InUse(lock))?;
        let file = folder.join("epoch");
        let record = match fs::read(&file) {
            Ok(bytes) => Record::decode(&bytes)
                .inspect_err(|error| warn!(%error, file = %file.display(), "take-over epochs"))
                .ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!(%error, file = %file.display(), "the record of take-over epochs cannot be read; a new one is begun");
                None
            }
        };
        let record = match record {
            Some(record) => record,
            None => Record { store: StoreId::new(random()?), highest: Default::default() },
        };
        Ok((Self { file, _lock: lock }, record))
    }

    /// Returns once the record is where a power cut cannot take it.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        disk::write(&self.file, &record.encode())
    }
}

/// From the system's random source.
pub fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(bytes)
}

/// What was in the file of sessions.
pub struct Kept {
    /// The highest take-over epoch that was known.
    pub highest: u64,
    /// How far the map was.
    pub held: Held,
    /// What was in it.
    pub entries: Entries,
}

/// The file of sessions.
#[derive(Clone)]
pub struct Sessions(PathBuf);

impl Sessions {
    /// In `folder`, which is made for this program alone.
    pub fn open(folder: &Path) -> Result<Self, StartError> {
        let wrong = |source| StartError::Folder { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
        Ok(Self(folder.join("sessions")))
    }

    /// What an earlier start of the program has left.
    pub fn read(&self) -> Option<Kept> {
        let read = disk::read_private(&self.0, MAX_FILE);
        let read = read.inspect_err(|error| warn!(%error, "the copy of the sessions cannot be read"));
        let kept = decode(&read.ok()??);
        if kept.is_none() {
            warn!(file = %self.0.display(), "the copy of the sessions is damaged and left alone");
        }
        kept
    }

    /// Takes the place of what was there. After a kill at any instant the one or the other is there; nothing is synced, for
    /// it must not outlive the power.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let draft = self.0.with_extension("new");
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        drop(file);
        fs::rename(&draft, &self.0)
    }
}

/// What is to be kept of a map: the kinds that `keeps` says.
pub fn encode(machine: &Shared, keeps: impl Fn(u8) -> bool) -> Option<Zeroizing<Vec<u8>>> {
    let held = machine.held()?;
    let kept = || machine.entries().filter(|(key, _)| keeps(key.kind));
    let length: usize = kept().map(|(key, value)| 6 + key.name.len() + value.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(HEADER + length + SUM));
    out.extend_from_slice(&MAGIC);
    let Held { fence: Fence { role, term, owner }, position, .. } = held;
    for number in [machine.highest(), role, term, owner, position] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    for (key, value) in kept() {
        // Neither is longer than the map takes.
        out.extend_from_slice(&[key.kind, key.name.len() as u8]);
        out.extend_from_slice(&key.name);
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(value);
    }
    let sum = digest(&SHA256, &out);
    out.extend_from_slice(sum.as_ref());
    Some(out)
}

fn decode(bytes: &[u8]) -> Option<Kept> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
    if digest(&SHA256, body).as_ref() != sum {
        return None;
    }
    let (magic, rest) = body.split_first_chunk::<8>()?;
    let (numbers, mut rest) = rest.split_at_checked(HEADER - 8)?;
    let mut numbers = numbers.chunks_exact(8).filter_map(|n| n.try_into().ok().map(u64::from_be_bytes));
    let mut number = || numbers.next();
    let highest = number()?;
    let fence = Fence { role: number()?, term: number()?, owner: number()? };
    let held = Held { fence, position: number()?, complete: false };
    let mut entries = Vec::new();
    while let Some(([kind, length], more)) = rest.split_first_chunk::<2>() {
        let (name, more) = more.split_at_checked(usize::from(*length))?;
        let (length, more) = more.split_first_chunk::<4>()?;
        let (value, more) = more.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        entries.push((Key { kind: *kind, name: name.to_vec() }, Zeroizing::new(value.to_vec())));
        rest = more;
    }
    (*magic == MAGIC && rest.is_empty()).then_some(Kept { highest, held, entries })
}
