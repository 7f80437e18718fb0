//! Reading an update from wherever it comes, and writing it into the other slot: what takes its time, on a thread of its own.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use rempart_bus::update::Job;
use rempart_system::slots::{self, SlotError};
use rempart_update::manifest::Content;
use rempart_update::{HeadError, Manifest, Part, Version};
use sha2::{Digest as _, Sha256};

use crate::own::Own;
use crate::source;

/// What is read at once.
const CHUNK: usize = 1 << 20;

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The source.
    #[error("the update cannot be read: {0}")]
    Source(#[from] io::Error),
    /// It is no update for this box.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A part is not what was signed.
    #[error("the {} of the update is not what was signed: it is damaged or forged", .0.name())]
    Part(Part),
    /// There is something behind the last part.
    #[error("the update has bytes that nobody signed")]
    Behind,
    /// What runs is newer.
    #[error("version {found} is older than {running}, which runs; `--older` installs it all the same")]
    Older {
        /// Of the update.
        found: Version,
        /// Ours.
        running: Version,
    },
    /// The slot.
    #[error("the update cannot be written, and {running} goes on: {error}")]
    Slot {
        /// Ours.
        running: Version,
        /// Why.
        error: SlotError,
    },
}

/// How far a job is, for those who ask.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Job>>);

impl Progress {
    /// A job that begins.
    pub fn new(what: &str, source: &str) -> Self {
        let job = Job { what: what.into(), source: source.into(), state: "running".into(), ..Job::default() };
        Self(Arc::new(Mutex::new(job)))
    }

    /// As it is now.
    pub fn job(&self) -> Job {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far a phase is.
    pub fn phase(&self, phase: &str, done_bytes: u64, all_bytes: u64) {
        self.change(|job| {
            (job.done_bytes, job.all_bytes) = (done_bytes, all_bytes);
            if job.phase != phase {
                job.phase = phase.to_owned();
            }
        });
    }

    /// It has ended.
    pub fn end<T>(&self, result: &Result<T, impl std::fmt::Display>) {
        self.change(|job| match result {
            Ok(_) => job.state = "done".into(),
            Err(error) => (job.state, job.failure) = ("failed".into(), Some(error.to_string())),
        });
    }

    fn change(&self, change: impl FnOnce(&mut Job)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Counts what is read.
struct Counted<'a> {
    source: &'a mut dyn Read,
    progress: &'a Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(bytes)?;
        self.progress.change(|job| job.done_bytes += count as u64);
        Ok(count)
    }
}

/// Reads the head and verifies it; what was read behind it comes back.
fn begin(own: &Own, source: &mut dyn Read, progress: &Progress) -> Result<(Manifest, Vec<u8>), JobError> {
    let (head, behind) = source::read_head(source)?;
    let manifest = head.verify(&own.keys)?;
    let update = manifest.description();
    let made = i64::try_from(update.made_unix_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    progress.change(|job| {
        job.version = Some(update.version.to_string());
        job.all_bytes = update.bytes();
        job.made = made.map(|made| made.to_string());
    });
    Ok((manifest, behind))
}

/// Verifies every byte of an update.
pub fn check(own: &Own, source: &mut dyn Read, progress: &Progress) -> Result<Manifest, JobError> {
    let (manifest, behind) = begin(own, source, progress)?;
    let mut parts = io::Cursor::new(behind).chain(Counted { source, progress });
    for part in Part::ALL {
        let Content { bytes, sha256 } = manifest.description().part(part);
        if digest(&mut parts, bytes)? != Some(sha256) {
            return Err(JobError::Part(part));
        }
    }
    if parts.read(&mut [0])? == 0 { Ok(manifest) } else { Err(JobError::Behind) }
}

/// Writes an update into the other slot; nothing starts it yet.
pub fn install(
    own: &Own,
    older: bool,
    source: &mut dyn Read,
    progress: &Progress,
) -> Result<Manifest, JobError> {
    let running = &own.running.version;
    let (manifest, behind) = begin(own, source, progress)?;
    let found = &manifest.description().version;
    if !older && found.compare(running) == std::cmp::Ordering::Less {
        return Err(JobError::Older { found: found.clone(), running: running.clone() });
    }
    let mut parts = io::Cursor::new(behind).chain(Counted { source, progress });
    let mut esp = own.esp();
    own.slots()
        .and_then(|mut slots| slots::stage(&mut slots, &mut esp, &own.running, &manifest, &mut parts))
        .map_err(|error| JobError::Slot { running: running.clone(), error })?;
    Ok(manifest)
}

fn digest(source: &mut dyn Read, bytes: u64) -> io::Result<Option<[u8; 32]>> {
    let (mut hash, mut left) = (Sha256::new(), bytes);
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let count = source.read(chunk.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            return Ok(None);
        }
        hash.update(chunk.get(..count).unwrap_or_default());
        left -= count as u64;
    }
    Ok(Some(hash.finalize().into()))
}
