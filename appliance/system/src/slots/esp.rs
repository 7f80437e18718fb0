//! The EFI system partition: the kernels, which of them is started, and how often it may try.
//!
//! ```text
//!  EFI/Linux/rempart_0.1.0.efi        has proved itself           systemd-boot starts the newest one that has tries left,
//!  EFI/Linux/rempart_0.2.0+3.efi      three tries, on trial       and counts down in the name: +2-1, +1-2, +0-3
//!  EFI/Linux/rempart_0.1.0+0.efi      is not started while any other one can be
//!  EFI/Linux/rempart_0.2.0.kernel     staged: nobody starts it
//!  EFI/rempart/rempart_0.2.0.head     written last: all of the version is there. Signed, for the other node
//!  grub/rempart_0.2.0.cfg             how GRUB starts that kernel
//!  grub/grubenv                       for GRUB: good=0.1.0, and on trial next=0.2.0, tries=3
//! ```
//!
//! Both ways to start are kept in step, whichever of them the box uses. FAT has no journal: whatever is started must be whole
//! on the disk before its name says that it may be, and `grubenv` is changed in place, within its first sector, because that
//! is what a disk writes at once. What has proved itself is renamed last.

use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use rempart_update::Version;
use rempart_update::manifest::HEAD_BYTES_MAX;

use super::{Content, Disk as _, digest};

/// How often a new version may try to start before the one before takes over again.
const TRIES: u32 = 3;
const KERNELS: &str = "EFI/Linux";
const STORE: &str = "EFI/rempart";
const GRUB: &str = "grub";
const GRUB_ENVIRONMENT: &str = "grub/grubenv";
/// As GRUB wants it.
const GRUB_ENVIRONMENT_BYTES: usize = 1024;
/// What is changed of it: a sector.
const GRUB_ENVIRONMENT_TEXT: usize = 512;
/// What must stay free beside an update: the folders grow, and GRUB writes its environment.
const SPARE_BYTES: u64 = 1 << 20;

/// Why the EFI system partition was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// The partition.
    #[error("the EFI system partition: {0}")]
    Io(#[from] io::Error),
    /// The running version would not start again: somebody has changed the partition.
    #[error("the kernel of the running version is not on the EFI system partition: nothing was changed")]
    NoKernel,
    /// There is no room.
    #[error("the EFI system partition has {free} bytes free, and the update needs {needed}")]
    Room {
        /// What there is.
        free: u64,
        /// What there must be.
        needed: u64,
    },
    /// The update is not what its manifest says.
    #[error("the {0} of the update is not what its manifest says: nothing will start from it")]
    Content(&'static str),
    /// What was read back is not what was written.
    #[error("the disk did not keep the {0}: it is failing")]
    Faulty(&'static str),
    /// There is nothing to start.
    #[error("version {0} is not there to be started")]
    NotThere(Version),
    /// GRUB's environment is not one.
    #[error("grub/grubenv is damaged: a box that starts by BIOS keeps the version it has")]
    Grub,
}

/// The files of the partition. Paths are relative to it.
pub trait Folders {
    /// The names in a folder; none where there is no such folder.
    fn names(&self, folder: &str) -> io::Result<Vec<String>>;
    /// A file from `at` on, as much as fits; none where there is no such file.
    fn read(&self, path: &str, at: u64, bytes: &mut [u8]) -> io::Result<Option<usize>>;
    /// An empty file, and its folder.
    fn create(&mut self, path: &str) -> io::Result<()>;
    /// Adds to a file.
    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Replaces the beginning of a file where it lies.
    fn overwrite(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// The file's content is kept from here on, and what is read next comes from the disk.
    fn sync(&mut self, path: &str) -> io::Result<()>;
    /// Gives a file another name; there is none of that name.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, path: &str) -> io::Result<()>;
    /// The names in a folder are kept from here on.
    fn sync_folder(&mut self, folder: &str) -> io::Result<()>;
    /// How much room there is.
    fn free(&self) -> io::Result<u64>;
}

/// A kernel that can be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Its version.
    pub version: Version,
    /// The tries that it has left; none once it has proved itself.
    pub tries: Option<u32>,
    name: String,
}

impl Kernel {
    /// Reads a name; none for whatever is no kernel of ours.
    fn of_name(name: &str) -> Option<Self> {
        let stem = name.strip_prefix("rempart_")?.strip_suffix(".efi")?;
        let (version, counter) = match stem.split_once('+') {
            Some((version, counter)) => (version, Some(counter)),
            None => (stem, None),
        };
        let tries = match counter {
            // LEFT or LEFT-DONE (systemd, "Automatic Boot Assessment").
            Some(counter) => Some(counter.split('-').next()?.parse().ok()?),
            None => None,
        };
        Some(Self { version: Version::new(version)?, tries, name: name.to_owned() })
    }

    fn path(&self) -> String {
        format!("{KERNELS}/{}", self.name)
    }
}

/// What GRUB goes by.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct GrubEnvironment {
    good: Option<Version>,
    next: Option<Version>,
    tries: Option<String>,
}

impl GrubEnvironment {
    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "good" => found.good = Version::new(value),
                "next" => found.next = Version::new(value),
                "tries" => found.tries = Some(value.to_owned()),
                _ => {}
            }
        }
        found
    }

    fn text(&self) -> Vec<u8> {
        let mut text = "# GRUB Environment Block\n".to_owned();
        let values = [
            ("good", self.good.as_ref().map(Version::as_str)),
            ("next", self.next.as_ref().map(Version::as_str)),
            ("tries", self.tries.as_deref()),
        ];
        for (name, value) in values.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            text.push_str(&format!("{name}={value}\n"));
        }
        let mut bytes = text.into_bytes();
        bytes.resize(GRUB_ENVIRONMENT_BYTES, b'#');
        bytes
    }
}

/// The partition, and what is done to it.
#[derive(Debug)]
pub struct Esp<F: Folders>(F);

impl<F: Folders> Esp<F> {
    /// The partition with these files.
    pub fn new(folders: F) -> Self {
        Self(folders)
    }

    /// The kernels.
    pub fn kernels(&self) -> io::Result<Vec<Kernel>> {
        Ok(self.0.names(KERNELS)?.iter().filter_map(|name| Kernel::of_name(name)).collect())
    }

    /// The kernel of a version.
    pub fn kernel(&self, version: &Version) -> io::Result<Option<Kernel>> {
        Ok(self.kernels()?.into_iter().find(|kernel| kernel.version == *version))
    }

    /// The version that is staged and not yet started by anybody.
    pub fn staged(&self) -> io::Result<Option<Version>> {
        let names = self.0.names(KERNELS)?;
        let kernels = names.iter().filter_map(|name| name.strip_prefix("rempart_")?.strip_suffix(".kernel"));
        for version in kernels.filter_map(Version::new) {
            // An interrupted change of its name may have left the old one, too.
            if self.kernel(&version)?.is_none() && self.head(&version)?.is_some() {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// Whether the running version still has to prove itself.
    pub fn is_on_trial(&self, running: &Version) -> io::Result<bool> {
        let counted = self.kernel(running)?.is_some_and(|kernel| kernel.tries.is_some());
        let grub = self.grub_environment()?.is_some_and(|grub| grub.next.as_ref() == Some(running));
        Ok(counted || grub)
    }

    /// What would be started if `running` were no more: a version that has tries left, or needs none.
    pub fn other(&self, running: &Version) -> io::Result<Option<Kernel>> {
        for kernel in self.kernels()?.into_iter().filter(|kernel| kernel.version != *running) {
            if !self.has_failed(&kernel)? {
                return Ok(Some(kernel));
            }
        }
        Ok(None)
    }

    /// Whether a version has no tries left: counted in its name, or by GRUB.
    pub fn has_failed(&self, kernel: &Kernel) -> io::Result<bool> {
        let tried = |grub: GrubEnvironment| {
            grub.next.as_ref() == Some(&kernel.version) && grub.tries.as_deref() == Some("0")
        };
        Ok(kernel.tries == Some(0) || self.grub_environment()?.is_some_and(tried))
    }

    /// The signed head of a version.
    pub fn head(&self, version: &Version) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; HEAD_BYTES_MAX + 1];
        let Some(count) = self.0.read(&head_path(version), 0, &mut bytes)? else { return Ok(None) };
        bytes.truncate(count);
        Ok(Some(bytes))
    }

    /// Reads from a version's kernel (`entry`: from its entry for GRUB), wherever it lies.
    pub fn read(&self, version: &Version, entry: bool, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let path = match self.kernel(version)? {
            _ if entry => entry_path(version),
            Some(kernel) => kernel.path(),
            None => staged_path(version),
        };
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read(&path, at + filled as u64, rest)? {
                None => return Err(io::ErrorKind::NotFound.into()),
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(count) => filled += count,
            }
        }
        Ok(())
    }

    /// Everything that does not belong to the running version goes, before its slot is written over: what can be started must
    /// have a root file system. GRUB's environment first, because it names what goes.
    pub fn clear(&mut self, running: &Version) -> Result<(), EspError> {
        let kernels = self.kernels()?;
        if !kernels.iter().any(|kernel| kernel.version == *running) {
            return Err(EspError::NoKernel);
        }
        self.set_grub(running, None)?;
        for kernel in kernels.iter().filter(|kernel| kernel.version != *running) {
            self.0.remove(&kernel.path())?;
        }
        self.0.sync_folder(KERNELS)?;
        for (folder, ending) in [(STORE, "head"), (KERNELS, "kernel"), (GRUB, "cfg")] {
            let names = self.0.names(folder)?;
            for name in names.iter().filter(|name| is_foreign(name, ending, running)) {
                self.0.remove(&format!("{folder}/{name}"))?;
            }
            self.0.sync_folder(folder)?;
        }
        Ok(())
    }

    /// Whether there is room for an update once [`Esp::clear`] has made some: that of the other version's kernel is not counted.
    pub fn has_room(&self, kernel: Content, entry: Content, running: &Version) -> Result<(), EspError> {
        let needed = kernel.bytes + entry.bytes + SPARE_BYTES;
        let free = self.0.free()?;
        let will_be_freed =
            self.kernels()?.iter().any(|kernel| kernel.version != *running) || self.staged()?.is_some();
        if free >= needed || will_be_freed { Ok(()) } else { Err(EspError::Room { free, needed }) }
    }

    /// Puts a version's kernel there, with what belongs to it; nobody starts it yet. The kernel and GRUB's entry follow each
    /// other in `parts`.
    pub fn stage(
        &mut self,
        version: &Version,
        head: &[u8],
        parts: &mut dyn Read,
        [kernel, entry]: [Content; 2],
    ) -> Result<(), EspError> {
        self.put(&staged_path(version), "kernel image", parts, kernel)?;
        self.0.sync_folder(KERNELS)?;
        self.put(&entry_path(version), "entry for GRUB", parts, entry)?;
        self.0.sync_folder(GRUB)?;
        let path = head_path(version);
        self.0.create(&path)?;
        self.0.append(&path, head)?;
        self.0.sync(&path)?;
        Ok(self.0.sync_folder(STORE)?)
    }

    fn put(
        &mut self,
        path: &str,
        what: &'static str,
        source: &mut dyn Read,
        content: Content,
    ) -> Result<(), EspError> {
        self.0.create(path)?;
        let written = digest(source, content.bytes, |chunk| self.0.append(path, chunk))?;
        if written != Some(content.sha256) {
            return Err(EspError::Content(what));
        }
        self.0.sync(path)?;
        let mut kept = Reader { folders: &self.0, path, at: 0 };
        if digest(&mut kept, content.bytes, |_| Ok(()))? == Some(content.sha256) {
            Ok(())
        } else {
            Err(EspError::Faulty(what))
        }
    }

    /// The version that is not running is started next, and has to prove itself. What was begun of it is gone on with.
    pub fn arm(&mut self, running: &Version) -> Result<Version, EspError> {
        if let Some(version) = self.staged()? {
            let armed = format!("{KERNELS}/rempart_{version}+{TRIES}.efi");
            self.0.rename(&staged_path(&version), &armed)?;
            self.0.sync_folder(KERNELS)?;
        }
        let own = self.kernel(running)?.ok_or(EspError::NoKernel)?;
        let other = self.kernels()?.into_iter().find(|kernel| kernel.version != *running);
        let other = other.ok_or(EspError::NoKernel)?;
        self.rename(&other, Some(TRIES))?;
        // Of those that may be started systemd-boot takes the newest.
        if running.compare(&other.version) != Ordering::Less {
            self.rename(&own, Some(0))?;
        }
        self.set_grub(running, Some(&other.version))?;
        Ok(other.version)
    }

    /// The running version has proved itself.
    pub fn bless(&mut self, running: &Version) -> Result<(), EspError> {
        let own = self.kernel(running)?.ok_or(EspError::NoKernel)?;
        self.set_grub(running, None)?;
        self.rename(&own, None)
    }

    /// The running version has failed: the other one is started next, and this one only when there is no other.
    pub fn give_up(&mut self, running: &Version) -> Result<Version, EspError> {
        let own = self.kernel(running)?.ok_or(EspError::NoKernel)?;
        let other = self.other(running)?.ok_or_else(|| EspError::NotThere(running.clone()))?;
        self.set_grub(&other.version, None)?;
        self.rename(&own, Some(0))?;
        Ok(other.version)
    }

    fn rename(&mut self, kernel: &Kernel, tries: Option<u32>) -> Result<(), EspError> {
        let version = &kernel.version;
        let name = match tries {
            Some(tries) => format!("rempart_{version}+{tries}.efi"),
            None => format!("rempart_{version}.efi"),
        };
        if name != kernel.name {
            self.0.rename(&kernel.path(), &format!("{KERNELS}/{name}"))?;
            self.0.sync_folder(KERNELS)?;
        }
        Ok(())
    }

    fn grub_environment(&self) -> io::Result<Option<GrubEnvironment>> {
        let mut bytes = [0; GRUB_ENVIRONMENT_BYTES];
        let count = self.0.read(GRUB_ENVIRONMENT, 0, &mut bytes)?;
        Ok((count == Some(GRUB_ENVIRONMENT_BYTES))
            .then(|| GrubEnvironment::parse(&String::from_utf8_lossy(&bytes))))
    }

    fn set_grub(&mut self, good: &Version, next: Option<&Version>) -> Result<(), EspError> {
        // GRUB knows where its environment lies on the disk, and would not find a new one that lies elsewhere on its own.
        let old = self.grub_environment()?.ok_or(EspError::Grub)?;
        let tries = next.map(|_| TRIES.to_string());
        let new = GrubEnvironment { good: Some(good.clone()), next: next.cloned(), tries };
        if old == new {
            return Ok(());
        }
        let text = new.text();
        self.0.overwrite(GRUB_ENVIRONMENT, text.get(..GRUB_ENVIRONMENT_TEXT).unwrap_or_default())?;
        Ok(self.0.sync(GRUB_ENVIRONMENT)?)
    }

    /// The files, for those who look at them.
    #[cfg(test)]
    pub(super) fn into_folders(self) -> F {
        self.0
    }
}

fn head_path(version: &Version) -> String {
    format!("{STORE}/rempart_{version}.head")
}

fn staged_path(version: &Version) -> String {
    format!("{KERNELS}/rempart_{version}.kernel")
}

fn entry_path(version: &Version) -> String {
    format!("{GRUB}/rempart_{version}.cfg")
}

/// Whether a file is ours and of another version.
fn is_foreign(name: &str, ending: &str, running: &Version) -> bool {
    let ours = name.strip_prefix("rempart_").and_then(|rest| rest.strip_suffix(ending)?.strip_suffix('.'));
    ours.is_some_and(|version| version != running.as_str())
}

struct Reader<'a, F> {
    folders: &'a F,
    path: &'a str,
    at: u64,
}

impl<F: Folders> Read for Reader<'_, F> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.folders.read(self.path, self.at, bytes)?.unwrap_or(0);
        self.at += count as u64;
        Ok(count)
    }
}

/// The partition where it is mounted.
#[derive(Debug)]
pub struct Mounted(pub PathBuf);

impl Mounted {
    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

impl Folders for Mounted {
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        match fs::read_dir(self.at(folder)) {
            Ok(entries) => {
                entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &str, at: u64, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        let mut file = match File::open(self.at(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(at))?;
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(Some(filled))
    }

    fn create(&mut self, path: &str) -> io::Result<()> {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
        File::create(path).map(drop)
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().append(true).open(self.at(path))?.write_all(bytes)
    }

    fn overwrite(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.at(path))?.write_all(bytes)
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        let mut file = File::open(self.at(path))?;
        file.sync_all()?;
        // All of it.
        file.forget(0, 0);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let to = self.at(to);
        fs::create_dir_all(to.parent().unwrap_or(&self.0))?;
        fs::rename(self.at(from), to)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        match File::open(self.at(folder)) {
            Ok(folder) => folder.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn free(&self) -> io::Result<u64> {
        let of = nix::sys::statvfs::statvfs(&self.0)?;
        Ok(of.blocks_available().saturating_mul(of.fragment_size()))
    }
}
