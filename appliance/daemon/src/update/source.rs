//! Where updates come from.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::update::FoundFile;
use rempart_update::manifest::HEAD_BYTES_MAX;
use rempart_update::{Head, PublicKey};

use crate::https::Url;

/// How many files of a stick are looked at.
const FILES_MAX: usize = 256;
/// How many are shown.
const SHOWN_MAX: usize = 16;

/// A source that a person has named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A file on a stick.
    File(PathBuf),
    /// A server.
    Https(Url),
    /// The version that the other node runs.
    Partner,
}

impl Source {
    /// Reads what was typed. A file must lie on the stick: nobody has this program read others.
    pub fn parse(text: &str, stick: &Path) -> Result<Self, Error> {
        if text == "partner" {
            return Ok(Self::Partner);
        }
        if text.starts_with("https://") {
            let url = Url::parse(text).map_err(|why| RefusalCode::BadSource.error(why))?;
            return Ok(Self::Https(url));
        }
        let path = stick.join(text);
        let outside =
            || RefusalCode::BadSource.error(format!("{text} is not on the stick in {}", stick.display()));
        let real = fs::canonicalize(&path)
            .map_err(|e| RefusalCode::BadSource.error(format!("{}: {e}", path.display())))?;
        let stick = fs::canonicalize(stick).map_err(|_| outside())?;
        if real.starts_with(stick) { Ok(Self::File(real)) } else { Err(outside()) }
    }
}

/// Opens a plain file, and waits for nobody.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no plain file")) }
}

/// Reads the head at the beginning of a source. What was read behind it comes back as well.
pub fn read_head(source: &mut dyn Read) -> io::Result<(Head, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES_MAX);
    loop {
        if let Some(head) = Head::read(&bytes).map_err(io::Error::other)? {
            let behind = bytes.split_off(head.length());
            return Ok((head, behind));
        }
        let mut piece = [0; HEAD_BYTES_MAX];
        let room = HEAD_BYTES_MAX - bytes.len();
        let count = source.read(piece.get_mut(..room).unwrap_or_default())?;
        if count == 0 {
            return Err(io::Error::other("the update is cut short"));
        }
        bytes.extend(piece.iter().take(count));
    }
}

/// The update files of a stick.
pub fn files(stick: &Path, keys: &[PublicKey]) -> Vec<FoundFile> {
    // An empty port is no fault: it has no files.
    let Ok(entries) = fs::read_dir(stick) else { return Vec::new() };
    let is_one = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "update");
    let mut paths: Vec<_> =
        entries.take(FILES_MAX).filter_map(|entry| Some(entry.ok()?.path())).filter(is_one).collect();
    paths.sort();
    let look = |path: PathBuf| {
        let head = open_file(&path).and_then(|mut file| read_head(&mut file));
        let verified = head.and_then(|(head, _)| head.verify(keys).map_err(io::Error::other));
        let (version, failure) = match verified {
            Ok(manifest) => (Some(manifest.description().version.to_string()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        FoundFile { path: path.to_string_lossy().into_owned(), version, failure }
    };
    paths.into_iter().take(SHOWN_MAX).map(look).collect()
}
