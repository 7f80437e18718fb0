//! What this box is: the version that runs, its slots, its keys.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;

use rempart_system::slots::{self, Esp, Mounted, RootHash, Running, SlotError, Slots};
use rempart_update::{PublicKey, Version};

use crate::Place;

/// More keys than a product ever had.
const KEYS_MAX: usize = 16;
/// A key has 65 bytes.
const KEY_FILE_MAX: u64 = 1024;

/// Why this is no box that can be updated.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// A file.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// It was not started from an image.
    #[error("{0} does not say {1}")]
    Unsaid(PathBuf, &'static str),
    /// The EFI system partition.
    #[error("the EFI system partition: {0}")]
    Esp(#[from] io::Error),
}

/// This box.
#[derive(Clone, Debug)]
pub struct Own {
    /// What runs.
    pub running: Running,
    /// The keys that updates are verified with.
    pub keys: Vec<PublicKey>,
    disk: PathBuf,
    esp: PathBuf,
}

impl Own {
    /// Looks at the box.
    pub fn read(place: &Place) -> Result<Self, OwnError> {
        let file = |path: &PathBuf| {
            fs::read_to_string(path).map_err(|error| OwnError::File { path: path.clone(), error })
        };
        let release = file(&place.os_release)?;
        let version = release.lines().find_map(|line| line.strip_prefix("IMAGE_VERSION="));
        let version = version.and_then(|version| Version::new(version.trim_matches('"')));
        let version = version.ok_or_else(|| OwnError::Unsaid(place.os_release.clone(), "IMAGE_VERSION"))?;
        let root = RootHash::of_cmdline(&file(&place.cmdline)?);
        let root = root.ok_or_else(|| OwnError::Unsaid(place.cmdline.clone(), "roothash"))?;
        let disk = match &place.disk {
            Some(disk) => disk.clone(),
            None => {
                slots::disk_of_root().map_err(|error| OwnError::File { path: "/sys/block".into(), error })?
            }
        };
        Ok(Self { running: Running { version, root }, keys: keys(place)?, disk, esp: place.esp.clone() })
    }

    /// The slots.
    pub fn slots(&self) -> Result<Slots, SlotError> {
        Slots::open(OpenOptions::new().read(true).write(true).open(&self.disk)?)
    }

    /// The EFI system partition.
    pub fn esp(&self) -> Esp<Mounted> {
        Esp::new(Mounted(self.esp.clone()))
    }

    /// Whether the running version still has to prove itself.
    pub fn is_on_trial(&self) -> io::Result<bool> {
        self.esp().is_on_trial(&self.running.version)
    }

    /// What the other slot holds, and in which state.
    pub fn other(&self) -> io::Result<Option<(Version, &'static str)>> {
        let esp = self.esp();
        if let Some(staged) = esp.staged()? {
            return Ok(Some((staged, "ready")));
        }
        let Some(other) = esp.kernels()?.into_iter().find(|kernel| kernel.version != self.running.version)
        else {
            return Ok(None);
        };
        let state = match other.tries {
            _ if esp.has_failed(&other)? => "failed",
            None => "good",
            // While this version proves itself the other one is the way back.
            Some(_) if self.is_on_trial()? => "ready",
            Some(_) => "armed",
        };
        Ok(Some((other.version, state)))
    }
}

fn keys(place: &Place) -> Result<Vec<PublicKey>, OwnError> {
    let with = |path: &PathBuf| {
        let path = path.clone();
        move |error| OwnError::File { path, error }
    };
    let mut paths: Vec<PathBuf> = match fs::read_dir(&place.keys) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        // A box without keys takes no updates, and says so when it is given one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(with(&place.keys)(error)),
    };
    paths.sort();
    let mut keys = Vec::new();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "pub")).take(KEYS_MAX) {
        let text = rempart_daemon::disk::read_private(&path, KEY_FILE_MAX).map_err(with(&path))?;
        let text = text.as_deref().and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        keys.push(
            PublicKey::parse(text).ok_or_else(|| OwnError::Unsaid(path.clone(), "a key of 64 digits"))?,
        );
    }
    Ok(keys)
}
