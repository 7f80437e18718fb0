//! `org.rempart.Update1`: updates, and the documents that they hand out and take.
//!
//! Fields of the documents are only ever added. Units are last in the name; times are RFC 3339 in UTC. Who changes something
//! says who it is (`by`): it stands in the log.

use serde::{Deserialize, Serialize};

use crate::{ByteBuf, Error};

/// The bus name that `rempart-update` owns.
pub const UPDATE_NAME: &str = "org.rempart.Update1";
/// The object that carries the interface.
pub const UPDATE_PATH: &str = "/org/rempart/Update1";

/// What the requests of the two nodes about updates are called on the peer channel.
pub const PEER_TOPIC: &str = "update";
/// The longest piece of a version that one node gives the other at once.
pub const PIECE_BYTES_MAX: usize = 512 << 10;

/// Updates as the console sees them. Texts are JSON of the types in this module. A source is the path of a file on a stick,
/// a URL that begins with `https://`, or `partner`.
#[zbus::proxy(
    interface = "org.rempart.Update1",
    default_service = "org.rempart.Update1",
    default_path = "/org/rempart/Update1"
)]
pub trait Update1 {
    /// An [`UpdateStatus`].
    fn status(&self) -> Result<String, Error>;
    /// A list of [`FoundFile`]: the update files on the stick.
    fn files(&self) -> Result<String, Error>;
    /// Begins to read a source and to verify every byte of it; the status tells how far it is.
    fn check(&self, source: &str, by: &str) -> Result<(), Error>;
    /// Begins to write a source into the other slot: takes an [`InstallRequest`]. The status tells how far it is.
    fn install(&self, request: &str, by: &str) -> Result<(), Error>;
    /// Begins to bring both nodes of the pair to the version of a source, one after the other.
    fn pair(&self, source: &str, by: &str) -> Result<(), Error>;
    /// Ends that. A node that is restarting goes on with it.
    fn stop(&self, by: &str) -> Result<(), Error>;
    /// Starts the version in the other slot, which then has to prove itself.
    fn restart(&self, by: &str) -> Result<(), Error>;
    /// The version on trial stays, whatever it has proved.
    fn confirm(&self, by: &str) -> Result<(), Error>;
    /// Starts the version of before again.
    fn back(&self, by: &str) -> Result<(), Error>;
    /// A [`DisksReport`]: where Rempart can be installed on a live start.
    fn disks(&self) -> Result<String, Error>;
    /// Begins to install on a disk: takes a [`DiskRequest`]. The status tells how far it is.
    fn install_disk(&self, request: &str, by: &str) -> Result<(), Error>;
    /// Makes the stick of a live start the box's disk, and starts again.
    fn keep_stick(&self, by: &str) -> Result<(), Error>;
    /// Ends a live start: the box starts again.
    fn leave_stick(&self, by: &str) -> Result<(), Error>;
    /// A request of the other node, brought by `rempart-ha`. Only root may call it.
    fn peer_request(&self, body: &[u8]) -> Result<ByteBuf, Error>;
}

/// What is to be installed, and how.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InstallRequest {
    /// From where.
    pub source: String,
    /// Even if it is older than what runs.
    #[serde(default)]
    pub older: bool,
    /// Start it at once.
    #[serde(default)]
    pub restart: bool,
}

/// What `rempart update status` tells at a glance.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Of this document: 1.
    pub version: u32,
    /// The version that runs.
    pub running: String,
    /// It still has to prove itself.
    pub on_trial: bool,
    /// What it lacks for that, in English.
    pub lacking: Vec<String>,
    /// What is in the other slot.
    pub other: Option<OtherSlot>,
    /// What is being done, or was done last.
    pub job: Option<Job>,
    /// The version that was tried last.
    pub last: Option<Trial>,
    /// The update of the pair, or the last one.
    pub pair: Option<PairUpdate>,
}

/// The other slot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OtherSlot {
    /// Its version.
    pub version: String,
    /// `ready` (starts on command), `armed` (starts next), `good` (has proved itself), `failed` (is started only by command).
    pub state: String,
}

/// Something that takes its time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    /// `check`, `install` or `disk`.
    pub what: String,
    /// From where; onto which disk, for `disk`.
    pub source: String,
    /// Of what, once it is known and verified.
    pub version: Option<String>,
    /// `running`, `done` or `failed`.
    pub state: String,
    /// Of `disk`: `write` or `compare`.
    #[serde(default)]
    pub phase: String,
    /// Bytes read; of `disk`, of this phase.
    pub done_bytes: u64,
    /// Of so many.
    pub all_bytes: u64,
    /// When it was made, once that is known.
    pub made: Option<String>,
    /// Why it failed, for a person.
    pub failure: Option<String>,
}

/// A version that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Trial {
    /// Which.
    pub version: String,
    /// `good`, `failed` (it lacked something), `not-started` (it never came so far), `kept` (it failed, and there was no other).
    pub outcome: String,
    /// What it lacked, in English.
    pub lacking: Vec<String>,
    /// When it was decided.
    pub time: String,
}

/// An update of a pair.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PairUpdate {
    /// To which version.
    pub version: String,
    /// `going`, `done` or `stopped`.
    pub state: String,
    /// The node that it is at: `here` or `there`.
    pub node: String,
    /// What is being done with it: `fetch`, `hand-over`, `restart` or `settle`.
    pub phase: String,
    /// Why it stopped, for a person.
    pub why: Option<String>,
}

/// An update file on a stick.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FoundFile {
    /// Where.
    pub path: String,
    /// Its version, if one of our keys has signed its head.
    pub version: Option<String>,
    /// Why not, for a person.
    pub failure: Option<String>,
}

/// The disks of a box that was started from a stick.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DisksReport {
    /// Of this document: 1.
    pub version: u32,
    /// The stick; none where this is no live start, and nothing can be installed.
    pub stick: Option<String>,
    /// All disks but the stick.
    pub disks: Vec<DiskView>,
}

/// A disk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DiskView {
    /// The kernel's name.
    pub name: String,
    /// As its maker calls it; empty where nobody says.
    pub model: String,
    /// Its serial number; empty where nobody says.
    pub serial: String,
    /// Its size.
    pub size_bytes: u64,
    /// What is on it, a few words for each part.
    pub holds: Vec<String>,
    /// What a person types to have it written over: the model, or the size where there is none.
    pub answer: String,
    /// Whether it is a stick that brings documents, which `only` never means.
    #[serde(default)]
    pub brings: bool,
    /// Why it cannot be taken.
    pub unfit: Option<UnfitDisk>,
}

/// Why a disk cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UnfitDisk {
    /// `in-use`, `read-only` or `small`.
    pub code: String,
    /// What of it is in use, or how much it must have: for a person, in English.
    pub detail: String,
}

/// Where to install.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DiskRequest {
    /// The disk: the kernel's name, its serial number, its model, or `only`, the one that is no stick of ours.
    pub disk: String,
    /// [`DiskView::answer`], as a person typed it. Without it nobody was asked, and a disk that carries Rempart is left alone.
    pub answer: Option<String>,
}
