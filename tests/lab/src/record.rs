//! What is written down about a standing lab: one file per lab in `/run/rempart-lab`, so that another process
//! can enter it, and remove it when its owner was killed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::namespace;

const FOLDER: &str = "/run/rempart-lab";
/// Tries at a prefix that no other lab has; one in a million is taken per standing lab.
const PREFIX_TRIES: u32 = 100;

/// A standing lab, as its file tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What a person calls it.
    pub name: String,
    /// What its namespaces' names begin with, without the hyphen.
    pub prefix: String,
    /// The process that removes it at its end; `None` for a lab that was left standing on purpose.
    pub owner: Option<Owner>,
    /// Whether the name was chosen by us: a test's lab, which anybody may remove once its owner is gone.
    pub anonymous: bool,
    /// The document that its routers run.
    pub document: Option<PathBuf>,
    /// Its hosts, in the order of the topology.
    pub hosts: Vec<HostRecord>,
    /// Its cables.
    pub cables: Vec<Cable>,
}

/// A process that cannot be taken for a later one with the same id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot: field 22 of proc_pid_stat(5).
    pub started: u64,
}

/// A host of a standing lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its name.
    pub name: String,
    /// Whether it runs the product.
    pub router: bool,
}

/// A cable from a host's leg to a port of the switch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cable {
    /// The host.
    pub host: String,
    /// The host's device.
    pub device: String,
    /// The segment.
    pub segment: String,
    /// The port's device in the `switch` namespace.
    pub port: String,
}

/// While labs come and go the kernel's lock on network configuration (RTNL) is held for tens of milliseconds at a time, by which
/// every measurement on the machine would be off. Who builds or removes a lab holds this lock with others of the kind; who measures
/// holds it alone.
#[derive(Debug)]
pub struct Quiet {
    // Closing the file ends the lock.
    _file: File,
}

impl Quiet {
    /// Waits until nobody builds, removes or measures, and keeps everybody from it for as long as this value lives.
    pub fn begin() -> Result<Self> {
        let file = Self::open()?;
        file.lock()?;
        Ok(Self { _file: file })
    }

    /// Waits until nobody measures.
    pub(crate) fn disturb() -> Result<Self> {
        let file = Self::open()?;
        file.lock_shared()?;
        Ok(Self { _file: file })
    }

    fn open() -> Result<File> {
        fs::create_dir_all(FOLDER).with_context(|| format!("cannot make {FOLDER}"))?;
        Ok(File::options().create(true).append(true).open(Path::new(FOLDER).join("quiet.lock"))?)
    }
}

impl Owner {
    /// The running process.
    pub fn me() -> Self {
        let pid = std::process::id();
        Self { pid, started: start_time(pid).unwrap_or_default() }
    }

    /// Whether the process still runs.
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

impl Record {
    /// Takes a name and a prefix that no standing lab has, and makes the run folder.
    pub(crate) fn claim(name: Option<&str>) -> Result<Self> {
        fs::create_dir_all(FOLDER).with_context(|| format!("cannot make {FOLDER}"))?;
        if let Some(name) = name {
            check_name(name)?;
        }
        let prefix = claim_prefix()?;
        let record = Self {
            name: name.unwrap_or(&prefix).into(),
            prefix,
            owner: Some(Owner::me()),
            anonymous: name.is_none(),
            document: None,
            hosts: Vec::new(),
            cables: Vec::new(),
        };
        if let Err(error) = record.write_new() {
            let _ = fs::remove_dir(record.run_dir());
            return Err(error);
        }
        Ok(record)
    }

    /// The record of a standing lab.
    pub fn find(name: &str) -> Result<Self> {
        check_name(name)?;
        let path = file_of(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; `lab down --name {name}`", path.display())),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                bail!("there is no lab {name:?}; `lab status` lists them")
            }
            Err(e) => Err(e).with_context(|| path.display().to_string()),
        }
    }

    /// Every standing lab, by name.
    pub fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir(FOLDER) else { return Vec::new() };
        let files =
            entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json"));
        let mut records: Vec<Self> =
            files.filter_map(|p| serde_json::from_slice(&fs::read(p).ok()?).ok()).collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records
    }

    /// The folder with its sockets, configurations and logs.
    pub fn run_dir(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.prefix)
    }

    /// The namespace of a host, or of `switch`.
    pub fn namespace_of(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// Whether it was abandoned: its owner went without removing it.
    pub fn is_abandoned(&self) -> bool {
        self.owner.is_some_and(|o| !o.is_alive())
    }

    /// Writes it anew; a reader sees the old one or the new one.
    pub(crate) fn write(&self) -> Result<()> {
        let new = self.run_dir().join("record.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        Ok(fs::rename(new, file_of(&self.name))?)
    }

    /// Removes the lab: its processes, its namespaces, its run folder, its record. Parts that are gone already
    /// are no error. On an error the record stays, so that it can be tried again.
    pub fn remove(&self) -> Result<()> {
        let _disturbing = Quiet::disturb()?;
        namespace::remove(&namespace::with_prefix(&format!("{}-", self.prefix)))?;
        absent_is_fine(fs::remove_dir_all(self.run_dir()))?;
        absent_is_fine(fs::remove_file(file_of(&self.name)))?;
        Ok(())
    }

    fn write_new(&self) -> Result<()> {
        let path = file_of(&self.name);
        // The content goes in by a link, so that no reader sees half a file.
        let new = self.run_dir().join("record.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        let linked = fs::hard_link(&new, &path);
        fs::remove_file(&new)?;
        match linked {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let state = match Self::find(&self.name) {
                    Ok(r) if r.is_abandoned() => "was left by a process that is gone",
                    _ => "is already up",
                };
                bail!("the lab {0:?} {state}: `lab down --name {0}` removes it", self.name)
            }
            Err(e) => Err(e).with_context(|| path.display().to_string()),
        }
    }
}

/// Removes the labs of tests that were killed before they could do it themselves.
pub fn remove_abandoned() {
    for record in Record::all().iter().filter(|r| r.anonymous && r.is_abandoned()) {
        if let Err(error) = record.remove() {
            eprintln!("the abandoned lab {}: {error:#}", record.name);
        }
    }
}

/// Removes what there is of a lab by name, even where its record cannot be read.
pub(crate) fn remove_by_name(name: &str) -> Result<()> {
    match Record::find(name) {
        Ok(record) => record.remove(),
        Err(error) if file_of(name).exists() => {
            eprintln!("{error:#}: only the record is removed; its namespaces are in `ip netns list`");
            Ok(fs::remove_file(file_of(name))?)
        }
        Err(error) => Err(error),
    }
}

/// A prefix is `rl` and four of 36 characters: with `-srv-ebrigade` still short, and as a folder made by whoever
/// takes it, taken by one.
fn claim_prefix() -> Result<String> {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let mut seed = nanos as u64 ^ (u64::from(std::process::id()) << 32);
    for _ in 0..PREFIX_TRIES {
        // SplitMix64: neighbouring seeds give unlike prefixes.
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let text: String = (0..4)
            .map(|i| char::from_digit(((z >> (i * 12)) % 36) as u32, 36).expect("is below 36"))
            .collect();
        let prefix = format!("rl{text}");
        match fs::create_dir(Path::new(FOLDER).join(&prefix)) {
            Ok(()) => return Ok(prefix),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| FOLDER.to_owned()),
        }
    }
    bail!("no free prefix in {FOLDER} after {PREFIX_TRIES} tries: is it full of abandoned labs?")
}

fn check_name(name: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 32 || !name.chars().all(fine) {
        bail!("{name:?} is no name for a lab: letters, digits, - and _, at most 32");
    }
    Ok(())
}

fn file_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.json"))
}

fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Field 22 of /proc/PID/stat; the second field is in brackets and may hold spaces.
fn start_time(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = &text[text.rfind(')')? + 2..];
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}
