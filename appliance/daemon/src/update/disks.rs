//! A live start: from a stick that holds the image and nothing else. Which disks Rempart can be installed on, and the doing of it.
//!
//! ```text
//!  /run/rempart/live ──▶ the stick's name; without it nothing here does anything
//!  disks     sysfs, udev ──▶ slots::observe ──▶ what a person sees
//!  install   slots::choose ──▶ the disk, for us alone (O_EXCL) ──▶ slots::copy on a thread of its own
//!  keep      slots::keep ──▶ the next start makes the state on the stick
//! ```
//!
//! Slot A of such a stick is what runs, and nothing has been written to it: so its bytes are those of the image.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::update::{DiskRequest, DiskView, DisksReport, UnfitDisk};
use rempart_system::slots::{self, CopyError, Phase, Places, Seen, SlotError, Unfit};

use crate::job::Progress;
use crate::service::failed;

/// The longest name of a disk.
const NAME_BYTES_MAX: usize = 32;

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The stick.
    #[error("the stick cannot be opened: {0}")]
    Stick(io::Error),
    /// Somebody else has the disk.
    #[error("the disk is in use: nothing was written")]
    InUse,
    /// The disk.
    #[error("the disk cannot be opened, and nothing was written: {0}")]
    Open(io::Error),
    /// The copy.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

/// A box that was started from a stick, and keeps nothing.
#[derive(Clone, Debug)]
pub struct Live {
    stick: String,
}

impl Live {
    /// Reads what the start of the box has said; none where it runs from a disk of its own.
    pub fn read(said: &Path) -> Result<Option<Self>, Error> {
        let text = match fs::read_to_string(said) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(format!("{}: {error}", said.display()))),
        };
        let stick = text.trim();
        let is_name =
            (1..=NAME_BYTES_MAX).contains(&stick.len()) && stick.bytes().all(|b| b.is_ascii_alphanumeric());
        if is_name {
            Ok(Some(Self { stick: stick.to_owned() }))
        } else {
            Err(failed(format!("{} names no disk", said.display())))
        }
    }

    /// The same, for what makes sense on a live start only.
    pub fn required(said: &Path) -> Result<Self, Error> {
        let no = || RefusalCode::NotLive.error("this box was not started from a stick that keeps nothing");
        Self::read(said)?.ok_or_else(no)
    }

    fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.stick)
    }

    /// The disk that a request means.
    pub fn choose(&self, request: &DiskRequest) -> Result<Seen, Error> {
        let disks = slots::observe(&Places::default()).map_err(failed)?;
        let chosen = slots::choose(&disks, &self.stick, request.disk.trim(), request.answer.as_deref());
        chosen.cloned().map_err(|why| RefusalCode::BadDisk.error(why))
    }

    /// Writes the stick onto a disk, and compares.
    pub fn install(&self, disk: &Seen, progress: &Progress) -> Result<(), InstallError> {
        let mut stick = fs::File::open(self.path()).map_err(InstallError::Stick)?;
        let mut open = OpenOptions::new();
        open.read(true).write(true).custom_flags(OFlag::O_EXCL.bits());
        let mut disk = open.open(Path::new("/dev").join(&disk.name)).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => InstallError::InUse,
            _ => InstallError::Open(error),
        })?;
        Ok(slots::copy(&mut stick, &mut disk, &mut |phase, done, all| {
            progress.phase(name(phase), done, all);
        })?)
    }

    /// The next start makes the state on the stick.
    pub fn keep(&self) -> Result<(), SlotError> {
        slots::keep(&mut OpenOptions::new().read(true).write(true).open(self.path())?)
    }
}

/// Where Rempart can be installed.
pub fn report(live: Option<&Live>) -> Result<DisksReport, Error> {
    let stick = live.map(|live| live.stick.clone());
    let mut disks = slots::observe(&Places::default()).map_err(failed)?;
    disks.retain(|disk| Some(&disk.name) != stick.as_ref());
    Ok(DisksReport { version: 1, stick, disks: disks.iter().map(view).collect() })
}

fn view(disk: &Seen) -> DiskView {
    let unfit = disk.unfit().map(|why| {
        let code = match why {
            Unfit::InUse(_) => "in-use",
            Unfit::ReadOnly => "read-only",
            Unfit::Small(_) => "small",
        };
        UnfitDisk { code: code.into(), detail: why.to_string() }
    });
    DiskView {
        name: disk.name.clone(),
        model: disk.model.clone(),
        serial: disk.serial.clone(),
        size_bytes: disk.bytes,
        holds: disk.holds.clone(),
        answer: disk.answer(),
        brings: disk.brings,
        unfit,
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Write => "write",
        Phase::Compare => "compare",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_a_disk_makes_a_live_start() {
        // No file, a name with its newline, and what leads out of /dev.
        let file = std::env::temp_dir().join(format!("rempart-live-{}", std::process::id()));
        assert!(Live::read(&file).is_ok_and(|live| live.is_none()));
        assert!(matches!(Live::required(&file), Err(Error::Refused(text)) if text.starts_with("not-live: ")));
        for (text, wanted) in
            [("sda\n", Some("sda")), ("mmcblk0\n", Some("mmcblk0")), ("", None), ("../mem", None)]
        {
            fs::write(&file, text).expect("our file");
            let live = Live::read(&file).ok().flatten();
            assert_eq!(live.map(|live| live.stick), wanted.map(str::to_owned), "{text}");
        }
        fs::remove_file(&file).expect("our file");
    }
}
