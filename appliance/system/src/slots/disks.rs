//! Which disks this machine has, and which of them may be written over.
//!
//! [`observe`] looks, at sysfs and at what udev has found out; [`Seen::unfit`] and [`choose`] decide and are pure. The last word has the
//! kernel: whoever writes opens the disk for himself alone (`O_EXCL`).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The least that a box needs: both slots, the boot partitions, and a state of 192 MiB. As image/flash.
pub const DISK_BYTES_MIN: u64 = 1536 << 20;
/// The partition that every installed disk has.
const ESP: &str = "rempart-esp";
/// The label of a stick that brings documents.
const DOCUMENTS: &str = "REMPART";
/// Disks that are looked at: more than a chassis has.
const DISKS_MAX: usize = 64;
/// Parts of a disk that are named.
const PARTS_MAX: usize = 8;
/// The longest name that is shown; a table of partitions has 36 characters for one.
const WORD_CHARS_MAX: usize = 40;
/// In sysfs, whatever the disk says of itself (Documentation/ABI/stable/sysfs-block).
const SECTOR: u64 = 512;

/// Where the kernel and udev say what there is.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/run/udev/data`.
    pub udev: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), udev: "/run/udev/data".into() }
    }
}

/// A disk, as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// The kernel's name.
    pub name: String,
    /// As its maker calls it; empty where nobody says.
    pub model: String,
    /// Its serial number; empty where nobody says.
    pub serial: String,
    /// Its size.
    pub bytes: u64,
    /// It cannot be written.
    pub read_only: bool,
    /// What of it is in use.
    pub used: Option<String>,
    /// What is on it.
    pub holds: Vec<String>,
    /// Whether that is Rempart.
    pub carries: bool,
    /// Whether it is a stick that brings documents.
    pub brings: bool,
}

/// Why a disk cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// Somebody uses it.
    #[error("{0}")]
    InUse(String),
    /// It is write-protected.
    #[error("it is write-protected")]
    ReadOnly,
    /// It is too small.
    #[error("it has {} MB, and a box needs {} MB", .0 / 1_000_000, DISK_BYTES_MIN / 1_000_000)]
    Small(u64),
}

impl Seen {
    /// Why it cannot be taken, if so.
    pub fn unfit(&self) -> Option<Unfit> {
        match (&self.used, self.read_only, self.bytes < DISK_BYTES_MIN) {
            (Some(what), _, _) => Some(Unfit::InUse(what.clone())),
            (None, true, _) => Some(Unfit::ReadOnly),
            (None, false, true) => Some(Unfit::Small(self.bytes)),
            (None, false, false) => None,
        }
    }

    /// What a person types to have it written over: its maker's name for it, or its size, as image/flash asks.
    pub fn answer(&self) -> String {
        if self.model.is_empty() { format!("{} GB", self.bytes / 1_000_000_000) } else { self.model.clone() }
    }

    fn is_called(&self, name: &str) -> bool {
        [&self.name, &self.serial, &self.model].into_iter().any(|own| own == name)
    }
}

/// Why nothing is written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Choice {
    /// No disk is called so.
    #[error("no disk has the name, serial number or model `{0}`")]
    None(String),
    /// There is nothing but the stick.
    #[error("this machine has no disk but the stick")]
    NoDisk,
    /// It is not clear which one is meant.
    #[error("`{wanted}` may be any of {}", .names.join(", "))]
    Several {
        /// What was asked for.
        wanted: String,
        /// What it may be.
        names: Vec<String>,
    },
    /// The box runs from it.
    #[error("{0} is the stick that the box runs from")]
    Stick(String),
    /// It cannot be taken.
    #[error("{0}: {1}")]
    Unfit(String, Unfit),
    /// A person meant another disk than this one is.
    #[error("{name} is “{answer}”, which was not typed")]
    Answer {
        /// The disk.
        name: String,
        /// What should have been typed.
        answer: String,
    },
    /// Nobody was asked.
    #[error(
        "{0} carries Rempart already, and nobody was asked: take the stick out to start it, or install on the console"
    )]
    Carries(String),
}

/// The disk that is meant by a name: the kernel's, its serial number, its model, or `only` for the one that is no stick of ours. `answer`
/// is what a person has typed to confirm it; without it nobody was asked, and an installed box is left alone: with the stick
/// forgotten in its port it would lose everything each time that it starts.
pub fn choose<'a>(
    disks: &'a [Seen],
    stick: &str,
    wanted: &str,
    answer: Option<&str>,
) -> Result<&'a Seen, Choice> {
    let others = || disks.iter().filter(|disk| disk.name != stick);
    let found: Vec<&Seen> = match wanted {
        // An empty serial number is nobody's name.
        "" => Vec::new(),
        "only" => others().filter(|disk| !disk.brings).collect(),
        _ => disks.iter().filter(|disk| disk.is_called(wanted)).collect(),
    };
    let disk = match found.as_slice() {
        [disk] => *disk,
        [] if wanted == "only" => return Err(Choice::NoDisk),
        [] => return Err(Choice::None(wanted.to_owned())),
        several => {
            let names = several.iter().map(|disk| disk.name.clone()).collect();
            return Err(Choice::Several { wanted: wanted.to_owned(), names });
        }
    };
    if disk.name == stick {
        return Err(Choice::Stick(disk.name.clone()));
    }
    if let Some(why) = disk.unfit() {
        return Err(Choice::Unfit(disk.name.clone(), why));
    }
    match answer {
        Some(typed) if typed != disk.answer() => {
            Err(Choice::Answer { name: disk.name.clone(), answer: disk.answer() })
        }
        None if disk.carries => Err(Choice::Carries(disk.name.clone())),
        Some(_) | None => Ok(disk),
    }
}

/// Looks at the disks of the machine, in the order of their names.
pub fn observe(places: &Places) -> io::Result<Vec<Seen>> {
    let users = Users::read(places);
    let mut names: Vec<String> = fs::read_dir(places.sys.join("block"))?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let seen = names.into_iter().filter_map(|name| look(places, &users, &name));
    Ok(seen.take(DISKS_MAX).collect())
}

/// Who uses what, by the numbers of devices.
struct Users {
    mounted: Vec<(String, String)>,
    swaps: BTreeSet<String>,
}

impl Users {
    fn read(places: &Places) -> Self {
        let text = |path: &str| fs::read_to_string(places.proc.join(path)).unwrap_or_default();
        // proc(5): the third word is the device, the fifth the folder.
        let mount = |line: &str| {
            let mut words = line.split(' ').skip(2);
            Some((words.next()?.to_owned(), words.nth(1)?.to_owned()))
        };
        let swap = |line: &str| Some(line.split_whitespace().next()?.strip_prefix("/dev/")?.to_owned());
        Self {
            mounted: text("self/mountinfo").lines().filter_map(mount).collect(),
            swaps: text("swaps").lines().filter_map(swap).collect(),
        }
    }

    /// What uses a disk or a part of it.
    fn of(&self, device: &Path, name: &str) -> Option<String> {
        let number = line(&device.join("dev"));
        if let Some((_, folder)) = self.mounted.iter().find(|(mounted, _)| *mounted == number) {
            return Some(format!("{name} is mounted on {folder}"));
        }
        if self.swaps.contains(name) {
            return Some(format!("{name} is swap space"));
        }
        let holder = fs::read_dir(device.join("holders")).ok()?.next()?.ok()?;
        let label = word(&line(&holder.path().join("dm/name")));
        let holder = word(&holder.file_name().to_string_lossy());
        Some(format!("{} is made of {name}", if label.is_empty() { holder } else { label }))
    }
}

fn look(places: &Places, users: &Users, name: &str) -> Option<Seen> {
    let device = places.sys.join("block").join(name);
    let is_hidden = line(&device.join("hidden")) == "1";
    // What is made of disks, or of memory, has no device; discs and floppies hold no box; eMMC has parts for boot loaders.
    let is_part = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    if !device.join("device").exists()
        || is_hidden
        || is_part
        || name.starts_with("sr")
        || name.starts_with("fd")
    {
        return None;
    }
    let bytes = line(&device.join("size")).parse::<u64>().ok()?.checked_mul(SECTOR)?;
    // A reader without a card.
    if bytes == 0 {
        return None;
    }
    let found = Udev::read(places, &device);
    let first = |texts: [String; 3]| texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    let own = |file: &str| word(&line(&device.join(file)));
    let mut parts: Vec<String> = fs::read_dir(&device)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|part| device.join(part).join("partition").exists())
        .collect();
    // 10 comes behind 9.
    parts.sort_by_key(|part| (part.len(), part.clone()));
    let read: Vec<Udev> = parts.iter().map(|part| Udev::read(places, &device.join(part))).collect();
    let within = || parts.iter().zip(&read);
    let used = std::iter::once(users.of(&device, name));
    let used = used.chain(parts.iter().map(|part| users.of(&device.join(part), part))).flatten().next();
    let holds = found.holds(name, false).into_iter();
    let holds = holds.chain(within().filter_map(|(part, read)| read.holds(part, true)));
    Some(Seen {
        name: name.to_owned(),
        model: first([own("device/model"), own("device/name"), String::new()]),
        serial: first([found.serial.clone(), own("device/serial"), own("serial")]),
        bytes,
        read_only: line(&device.join("ro")) == "1",
        used,
        holds: holds.take(PARTS_MAX).collect(),
        carries: within().any(|(part, read)| read.part == ESP || is_named_esp(&device.join(part))),
        brings: std::iter::once(&found).chain(&read).any(|read| read.label == DOCUMENTS),
    })
}

/// By the kernel's word, where udev has said nothing.
fn is_named_esp(part: &Path) -> bool {
    let own = fs::read_to_string(part.join("uevent")).unwrap_or_default();
    own.lines().any(|line| line.strip_prefix("PARTNAME=") == Some(ESP))
}

/// What udev has read from a disk or a part of it.
#[derive(Default)]
struct Udev {
    serial: String,
    part: String,
    kind: String,
    label: String,
}

impl Udev {
    fn read(places: &Places, device: &Path) -> Self {
        let mut found = Self::default();
        let file = places.udev.join(format!("b{}", line(&device.join("dev"))));
        let text = fs::read_to_string(file).unwrap_or_default();
        for (name, value) in text.lines().filter_map(|line| line.strip_prefix("E:")?.split_once('=')) {
            match name {
                "ID_SERIAL_SHORT" => found.serial = word(value),
                "ID_PART_ENTRY_NAME" => found.part = word(value),
                "ID_FS_TYPE" => found.kind = word(value),
                "ID_FS_LABEL" => found.label = word(value),
                _ => {}
            }
        }
        found
    }

    /// In a few words; a disk of which nothing is known holds nothing, a part of it is at least there.
    fn holds(&self, name: &str, is_part: bool) -> Option<String> {
        let label = if self.label == self.part { "" } else { &self.label };
        let mut words = vec![name];
        words.extend([self.part.as_str(), &self.kind, label].into_iter().filter(|word| !word.is_empty()));
        (is_part || words.len() > 1).then(|| words.join(" "))
    }
}

fn line(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A word of the world outside, for a terminal.
fn word(text: &str) -> String {
    let plain = text.trim().chars().map(|c| if c.is_control() { '?' } else { c });
    plain.take(WORD_CHARS_MAX).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests;
