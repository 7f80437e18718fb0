//! What the daemon keeps on disk: revisions, the candidate, a commit on trial, the undo journal.
//!
//! ```text
//! STATE/current              the number of the committed revision
//! STATE/revisions/N/         document.toml, about.json, lineage.json; `committed` once it was the committed one
//! STATE/candidate.toml       loaded and not committed yet
//! STATE/pending.json         a commit that waits for confirmation; `current` is still the one before
//! STATE/journal.json         an apply in progress: steps done so far, to be undone after a crash
//! STATE/ids.json             the flow numbers
//! STATE/facts.json           last leases and resolved names
//! STATE/nft.lock             locked while a ruleset is written (see rempart_system::nft)
//! ```
//!
//! `current` moves last: whatever happens before, the machine comes back with the revision before. A file that a
//! failing disk tore is set aside at the start ([`Store::repair`]): none of them keeps a policy from coming into force.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::{fs, time::SystemTime};

use rempart_bus::documents::Revision;
use rempart_config::model::{Fqdn, InterfaceName};
use rempart_daemon::GRAMMAR;
use rempart_pair::agreement::{self, HOLD, MAX_ANCESTORS, RevisionId};
use rempart_plan::net::Step;
use rempart_plan::{Ids, Lease};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::disk;
use crate::numbers::{self, Numbers};

/// How many revisions are kept; older ones go.
pub const MAX_REVISIONS: u32 = 500;

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk.
    #[error("{path}: {source}; what was in force stays in force")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No such revision.
    #[error("there is no revision {0}: `rempart history` lists those that are kept")]
    NoRevision(u32),
}

/// A commit on trial.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// The revision on trial.
    pub revision: u32,
    /// When it goes back, in seconds since 1970.
    pub deadline_unix_s: u64,
    /// The boot that it was made in: no trial survives a restart of the machine.
    pub boot_id: String,
    /// Who committed it.
    pub author: String,
    /// The commit was typed on the other node, which decides about it.
    #[serde(default)]
    pub of_peer: bool,
    /// Whether a person is to confirm it. One that was typed on the other node may be on trial only until that one has it, too.
    #[serde(default = "yes")]
    pub confirm: bool,
}

fn yes() -> bool {
    true
}

impl Pending {
    /// For how many seconds the note holds beyond the time that a person was told.
    pub fn held_s(&self) -> u64 {
        if self.of_peer { HOLD.as_secs() } else { 0 }
    }
}

/// Where a revision comes from, and the numbers of its flows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// The revision that it follows; `None` for the first, and for those of before there was a lineage.
    pub parent: Option<RevisionId>,
    /// The numbers of its flows; empty for those of before.
    pub numbers: Numbers,
    /// What it follows, the nearest first, where the revisions in between were never here.
    #[serde(default)]
    pub ancestors: Vec<RevisionId>,
}

/// An apply in progress.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    /// The steps that were begun, in order.
    pub steps: Vec<Step>,
}

/// Facts that are worth having before the first answer after a restart.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// Leases.
    pub leases: BTreeMap<InterfaceName, Lease>,
    /// Resolved names.
    pub names: BTreeMap<Fqdn, Vec<std::net::IpAddr>>,
}

/// The state folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in `root`, which is made if it is not there.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.to_owned() };
        fs::create_dir_all(store.at("revisions")).map_err(|e| store.error("revisions", e))?;
        Ok(store)
    }

    /// The number of the committed revision.
    pub fn current(&self) -> Result<Option<u32>, StoreError> {
        let text = disk::read(&self.at("current")).map_err(|e| self.error("current", e))?;
        Ok(text.and_then(|t| t.trim().parse().ok()))
    }

    /// Makes `revision` the committed one.
    pub fn set_current(&self, revision: u32) -> Result<(), StoreError> {
        let text = format!("{revision}\n");
        disk::write(&self.at("current"), text.as_bytes()).map_err(|e| self.error("current", e))?;
        // Only of use should `current` itself be lost, so it is no reason to fail.
        if let Err(error) = disk::write(&self.at(&format!("revisions/{revision}/committed")), b"") {
            warn!(revision, %error, "the revision cannot be marked as committed");
        }
        Ok(())
    }

    /// Sets aside what cannot be read, and finds the last good revision where the committed one is lost. Returns
    /// what a person should know, by file.
    pub fn repair(&self) -> Vec<(String, String)> {
        let mut told = Vec::new();
        self.set_aside("ids.json", self.ids().is_ok(), "the flows are counted from zero again", &mut told);
        self.set_aside("candidate.toml", self.candidate().is_ok(), "load the candidate again", &mut told);
        let trial = self.pending();
        let whole = trial.as_ref().is_ok_and(|p| p.as_ref().is_none_or(|p| self.is_whole(p.revision)));
        self.set_aside("pending.json", whole, "the commit on trial is taken back", &mut told);
        let lost = "steps of an interrupted commit may be left in the network until the next one";
        self.set_aside("journal.json", self.journal().is_ok(), lost, &mut told);
        self.repair_current(&mut told);
        told
    }

    /// The revision that this version can bring into force: the committed one, or, where a newer version has committed that,
    /// the last one before it that `reads`. `current` stays where it is: the newer version finds it again.
    pub fn readable(&self, reads: impl Fn(&str) -> bool) -> Result<Option<u32>, StoreError> {
        let Some(current) = self.current()? else { return Ok(None) };
        let good = |n: &u32| self.document(*n).is_ok_and(|document| reads(&document));
        if good(&current) {
            return Ok(Some(current));
        }
        let committed = |n: &u32| self.at(&format!("revisions/{n}/committed")).exists() && self.is_whole(*n);
        let before = self.numbers()?.into_iter().rev().filter(|n| *n < current);
        // Where there is none, the one that cannot be read says what is wrong with it.
        Ok(before.filter(committed).find(good).or(Some(current)))
    }

    fn set_aside(&self, name: &str, readable: bool, consequence: &str, told: &mut Vec<(String, String)>) {
        if readable {
            return;
        }
        let (from, to) = (self.at(name), self.at(&format!("{name}.damaged")));
        let done = match fs::rename(&from, &to) {
            Ok(()) => format!("it was set aside as {}", to.display()),
            Err(error) => format!("it cannot be set aside either: {error}"),
        };
        told.push((name.into(), format!("{} is damaged; {done}; {consequence}", from.display())));
    }

    fn repair_current(&self, told: &mut Vec<(String, String)>) {
        let claimed = match self.current() {
            Ok(Some(revision)) if self.is_whole(revision) => return,
            // Nothing was ever committed.
            Ok(None) if !self.at("current").exists() => return,
            Ok(claimed) => claimed,
            Err(_) => None,
        };
        let claimed =
            claimed.map_or_else(|| "which one it is cannot be read".into(), |n| format!("revision {n}"));
        let committed = |n: &u32| self.at(&format!("revisions/{n}/committed")).exists() && self.is_whole(*n);
        let last_good = self.numbers().unwrap_or_default().into_iter().rev().find(committed);
        let (path, done) = (
            self.at("current"),
            match last_good {
                Some(revision) => match self.set_current(revision) {
                    Ok(()) => format!("revision {revision}, the last whole one, is in force instead"),
                    Err(error) => {
                        format!("revision {revision} is whole, but cannot be put in its place: {error}")
                    }
                },
                None => "no other was ever committed: commit a document".into(),
            },
        );
        told.push((
            "current".into(),
            format!("{}: the committed revision ({claimed}) is damaged; {done}", path.display()),
        ));
    }

    /// Whether a revision is as it was written.
    fn is_whole(&self, revision: u32) -> bool {
        match (self.about(revision), self.document(revision)) {
            (Ok(about), Ok(document)) => about.digest == digest(&document),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// Keeps a document as a new revision, which is not committed by that. It gets the number in `about` if that is
    /// free, or else the next one.
    pub fn add(&self, document: &str, about: &Revision, lineage: &Lineage) -> Result<u32, StoreError> {
        let next = self.last()? + 1;
        let number = if about.number == 0 || self.at(&format!("revisions/{}", about.number)).exists() {
            next
        } else {
            about.number
        };
        let folder = format!("revisions/{number}");
        let id = record(about, lineage, digest(document)).id().to_string();
        let about = Revision { number, current: false, digest: digest(document), id, ..about.clone() };
        let path = self.at(&folder).join("document.toml");
        disk::write(&path, document.as_bytes()).map_err(|e| self.error(&folder, e))?;
        let path = self.at(&folder).join("lineage.json");
        disk::write_json(&path, lineage).map_err(|e| self.error(&folder, e))?;
        disk::write_json(&self.at(&folder).join("about.json"), &about).map_err(|e| self.error(&folder, e))?;
        Ok(number)
    }

    /// The highest number that was given.
    pub fn last(&self) -> Result<u32, StoreError> {
        Ok(self.numbers()?.last().copied().unwrap_or(0).max(self.current()?.unwrap_or(0)))
    }

    /// Where a revision comes from.
    pub fn lineage(&self, revision: u32) -> Result<Lineage, StoreError> {
        let folder = format!("revisions/{revision}");
        let path = self.at(&folder).join("lineage.json");
        Ok(disk::read_json(&path).map_err(|e| self.error(&folder, e))?.unwrap_or_default())
    }

    /// Whether a revision knows where it comes from: those of before there was a lineage do not.
    pub fn has_lineage(&self, revision: u32) -> bool {
        self.at(&format!("revisions/{revision}/lineage.json")).exists()
    }

    /// Gives a revision of before a lineage of its own, with the numbers that its flows have.
    pub fn begin_lineage(&self, revision: u32, numbers: Numbers) -> Result<(), StoreError> {
        let folder = format!("revisions/{revision}");
        let lineage = Lineage { numbers, ..Lineage::default() };
        let about = self.about(revision)?;
        let id = record(&about, &lineage, about.digest.clone()).id().to_string();
        let written = disk::write_json(&self.at(&folder).join("lineage.json"), &lineage)
            .and_then(|()| disk::write_json(&self.at(&folder).join("about.json"), &Revision { id, ..about }));
        written.map_err(|e| self.error(&folder, e))
    }

    /// The kept revision with this id.
    pub fn find(&self, id: RevisionId) -> Result<Option<u32>, StoreError> {
        let id = id.to_string();
        let numbers = self.numbers()?;
        Ok(numbers.into_iter().rev().find(|n| self.about(*n).is_ok_and(|about| about.id == id)))
    }

    /// What names a revision on both nodes.
    pub fn id(&self, revision: u32) -> Result<RevisionId, StoreError> {
        let about = self.about(revision)?;
        Ok(record(&about, &self.lineage(revision)?, about.digest.clone()).id())
    }

    /// What a revision follows, the nearest first.
    pub fn ancestors(&self, revision: u32) -> Result<Vec<RevisionId>, StoreError> {
        let mut by_id = BTreeMap::new();
        for number in self.numbers()? {
            if let Ok(about) = self.about(number) {
                by_id.insert(about.id, number);
            }
        }
        let mut ancestors = Vec::new();
        let mut lineage = self.lineage(revision)?;
        while let Some(parent) = lineage.parent.filter(|_| ancestors.len() < MAX_ANCESTORS) {
            ancestors.push(parent);
            match by_id.get(&parent.to_string()) {
                Some(number) => lineage = self.lineage(*number)?,
                // It was never here: its own past came with its child.
                None => {
                    ancestors.extend(lineage.ancestors.into_iter().skip(1));
                    break;
                }
            }
        }
        ancestors.truncate(MAX_ANCESTORS);
        Ok(ancestors)
    }

    /// What a revision that follows `parent` will follow.
    pub fn ancestors_of(&self, parent: Option<RevisionId>) -> Vec<RevisionId> {
        let Some(parent) = parent else { return Vec::new() };
        let before =
            self.find(parent).ok().flatten().and_then(|n| self.ancestors(n).ok()).unwrap_or_default();
        std::iter::once(parent).chain(before).take(MAX_ANCESTORS).collect()
    }

    /// A revision for the other node.
    pub fn bundle(&self, revision: u32) -> Result<agreement::Bundle, StoreError> {
        let (about, lineage) = (self.about(revision)?, self.lineage(revision)?);
        let rollback_of = about.rollback_of.and_then(|of| self.id(of).ok());
        let record = agreement::Record { rollback_of, ..record(&about, &lineage, about.digest.clone()) };
        Ok(agreement::Bundle {
            document: self.document(revision)?,
            ids: numbers::text(&lineage.numbers),
            ancestors: self.ancestors(revision)?,
            grammar: GRAMMAR,
            record,
        })
    }

    /// Where this node stands.
    pub fn position(&self) -> Result<agreement::Position, StoreError> {
        let current = self.current()?;
        let (head, ancestors) = match current {
            Some(current) => (Some(self.id(current)?), self.ancestors(current)?),
            None => (None, Vec::new()),
        };
        Ok(agreement::Position {
            head,
            number: current.unwrap_or(0),
            last: self.last()?,
            ancestors,
            proposing: None,
            grammar: GRAMMAR,
            product: env!("CARGO_PKG_VERSION").into(),
        })
    }

    /// What the committed revision follows and is not kept here, the oldest first: as far as there is room, the nearest
    /// before others.
    pub fn missing(&self) -> Result<Vec<RevisionId>, StoreError> {
        let Some(current) = self.current()? else { return Ok(Vec::new()) };
        let numbers = self.numbers()?;
        let room = (MAX_REVISIONS as usize).saturating_sub(numbers.len());
        let kept: BTreeSet<String> =
            numbers.iter().filter_map(|n| self.about(*n).ok()).map(|about| about.id).collect();
        let lacking = self.ancestors(current)?.into_iter().filter(|id| !kept.contains(&id.to_string()));
        let mut lacking: Vec<_> = lacking.take(room).collect();
        lacking.reverse();
        Ok(lacking)
    }

    /// Forgets a revision that was not committed in the end.
    pub fn discard(&self, revision: u32) -> Result<(), StoreError> {
        let folder = format!("revisions/{revision}");
        match fs::remove_dir_all(self.at(&folder)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.error(&folder, e)),
            _ => Ok(()),
        }
    }

    /// The document of a revision.
    pub fn document(&self, revision: u32) -> Result<String, StoreError> {
        let folder = format!("revisions/{revision}");
        let text = disk::read(&self.at(&folder).join("document.toml")).map_err(|e| self.error(&folder, e))?;
        text.ok_or(StoreError::NoRevision(revision))
    }

    /// What is known about a revision.
    pub fn about(&self, revision: u32) -> Result<Revision, StoreError> {
        let folder = format!("revisions/{revision}");
        let about =
            disk::read_json(&self.at(&folder).join("about.json")).map_err(|e| self.error(&folder, e))?;
        about.ok_or(StoreError::NoRevision(revision))
    }

    /// All revisions, the newest first.
    pub fn history(&self) -> Result<Vec<Revision>, StoreError> {
        let current = self.current()?;
        let numbers = self.numbers()?;
        let about = numbers.iter().rev().filter_map(|n| match self.about(*n) {
            Ok(about) => Some(Revision { current: Some(about.number) == current, ..about }),
            Err(error) => {
                warn!(revision = n, %error, "a revision cannot be read and is left out");
                None
            }
        });
        Ok(about.collect())
    }

    /// Removes the oldest revisions beyond [`MAX_REVISIONS`].
    pub fn prune(&self) -> Result<(), StoreError> {
        let numbers = self.numbers()?;
        let current = self.current()?;
        let surplus = numbers.len().saturating_sub(MAX_REVISIONS as usize);
        for number in numbers.into_iter().take(surplus).filter(|n| Some(*n) != current) {
            self.discard(number)?;
        }
        Ok(())
    }

    fn numbers(&self) -> Result<Vec<u32>, StoreError> {
        let entries = fs::read_dir(self.at("revisions")).map_err(|e| self.error("revisions", e))?;
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()?.parse().ok());
        // A crash between the two files leaves a folder without `about.json`: not a revision.
        let whole = |n: &u32| self.at(&format!("revisions/{n}/about.json")).exists();
        let mut numbers: Vec<u32> = names.filter(whole).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The candidate, if one was loaded.
    pub fn candidate(&self) -> Result<Option<String>, StoreError> {
        disk::read(&self.at("candidate.toml")).map_err(|e| self.error("candidate.toml", e))
    }

    /// Replaces or drops the candidate.
    pub fn set_candidate(&self, document: Option<&str>) -> Result<(), StoreError> {
        let path = self.at("candidate.toml");
        let done = match document {
            Some(text) => disk::write(&path, text.as_bytes()),
            None => disk::remove(&path),
        };
        done.map_err(|e| self.error("candidate.toml", e))
    }

    /// The commit on trial.
    pub fn pending(&self) -> Result<Option<Pending>, StoreError> {
        disk::read_json(&self.at("pending.json")).map_err(|e| self.error("pending.json", e))
    }

    /// Notes or forgets a commit on trial.
    pub fn set_pending(&self, pending: Option<&Pending>) -> Result<(), StoreError> {
        let path = self.at("pending.json");
        let done = match pending {
            Some(pending) => disk::write_json(&path, pending),
            None => disk::remove(&path),
        };
        done.map_err(|e| self.error("pending.json", e))
    }

    /// The apply that was in progress when the daemon ended.
    pub fn journal(&self) -> Result<Option<Journal>, StoreError> {
        disk::read_json(&self.at("journal.json")).map_err(|e| self.error("journal.json", e))
    }

    /// Notes or forgets an apply in progress.
    pub fn set_journal(&self, journal: Option<&Journal>) -> Result<(), StoreError> {
        let path = self.at("journal.json");
        let done = match journal {
            Some(journal) => disk::write_json(&path, journal),
            None => disk::remove(&path),
        };
        done.map_err(|e| self.error("journal.json", e))
    }

    /// The flow numbers.
    pub fn ids(&self) -> Result<Ids, StoreError> {
        let ids = disk::read_json(&self.at("ids.json")).map_err(|e| self.error("ids.json", e))?;
        Ok(ids.unwrap_or_default())
    }

    /// Keeps the flow numbers.
    pub fn set_ids(&self, ids: &Ids) -> Result<(), StoreError> {
        disk::write_json(&self.at("ids.json"), ids).map_err(|e| self.error("ids.json", e))
    }

    /// The facts of before the restart. They are a help, not a need: unreadable ones count as none.
    pub fn remembered(&self) -> Remembered {
        disk::read_json(&self.at("facts.json")).ok().flatten().unwrap_or_default()
    }

    /// Keeps facts for after a restart.
    pub fn remember(&self, facts: &Remembered) -> Result<(), StoreError> {
        disk::write_json(&self.at("facts.json"), facts).map_err(|e| self.error("facts.json", e))
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn error(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Io { path: self.at(name), source }
    }
}

/// What a revision's id is made of.
pub fn record(about: &Revision, lineage: &Lineage, document_digest: String) -> agreement::Record {
    agreement::Record {
        parent: lineage.parent,
        number: about.number,
        digest: document_digest,
        numbers: digest(&numbers::text(&lineage.numbers)),
        author: about.author.clone(),
        time: about.time.clone(),
        comment: about.comment.clone(),
        // Told with the bundle, where the other revision is at hand.
        rollback_of: None,
    }
}

/// SHA-256 of a document, in hex.
pub fn digest(document: &str) -> String {
    Sha256::digest(document.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// What the kernel calls this boot.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Revisions are numbered on, come back as they were written, and a torn one does not count.
    #[test]
    fn revisions_are_kept_whole() {
        let root = std::env::temp_dir().join(format!("rempart-store-{}", std::process::id()));
        let store = Store::open(&root).expect("store");
        let about = Revision { author: "ann".into(), comment: "first".into(), ..Revision::default() };
        let none = Lineage::default();
        assert_eq!(store.add("version = 1\n", &about, &none).expect("add"), 1);
        store.set_current(1).expect("current");
        fs::create_dir_all(root.join("revisions/2")).expect("torn");
        let first = store.id(1).expect("id");
        let second = Lineage { parent: Some(first), ..none };
        assert_eq!(store.add("version = 1\n# two\n", &about, &second).expect("add"), 2);
        assert_eq!(store.ancestors(2).expect("ancestors"), [first]);
        assert_eq!(store.find(first).expect("reads"), Some(1));
        assert!(store.bundle(2).expect("bundle").verified().is_some());
        // Of a past that was never here the ids are known, and asked for from the oldest on.
        let [old, older] = [7, 8].map(|byte| RevisionId::new([byte; 32]));
        let third = Lineage { parent: Some(old), ancestors: vec![old, older], ..Lineage::default() };
        assert_eq!(store.add("version = 1\n# three\n", &about, &third).expect("add"), 3);
        assert_eq!(store.missing().expect("reads"), []);
        store.set_current(3).expect("current");
        assert_eq!(store.missing().expect("reads"), [older, old]);
        // A version that does not understand the third revision has the last one that it does; the third stays the committed one.
        let older = |document: &str| !document.contains("three");
        assert_eq!(store.readable(|_| true).expect("reads"), Some(3));
        assert_eq!(store.readable(older).expect("reads"), Some(1), "the second was never committed");
        assert_eq!(store.readable(|_| false).expect("reads"), Some(3));
        assert_eq!(store.current().expect("current"), Some(3));
        store.set_current(1).expect("current");
        store.discard(3).expect("discard");
        let history = store.history().expect("history");
        assert_eq!(
            history.iter().map(|r| (r.number, r.current)).collect::<Vec<_>>(),
            [(2, false), (1, true)]
        );
        assert_eq!(store.document(2).expect("document"), "version = 1\n# two\n");
        store.set_current(2).expect("current");
        fs::write(root.join("revisions/2/document.toml"), "ver").expect("torn");
        fs::write(root.join("ids.json"), "{").expect("torn");
        let told: Vec<_> = store.repair().into_iter().map(|(name, _)| name).collect();
        assert_eq!(told, ["ids.json", "current"]);
        assert_eq!(store.current().expect("current"), Some(1));
        assert!(store.repair().is_empty());
        store.discard(2).expect("discard");
        assert!(matches!(store.document(2), Err(StoreError::NoRevision(2))));
        fs::remove_dir_all(root).expect("clean");
    }
}
