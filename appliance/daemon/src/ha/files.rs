//! What the elector keeps on disk, in `DIR/ha`, so that a restart needs nobody:
//!
//! | file | content |
//! | --- | --- |
//! | `plan.json` | what the document asked for last, and its revision |
//! | `role.json` | the epoch of the role, and whether the node is out of service |
//! | `identity`, `pair` | keys ([`crate::keystore`]) |

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rempart_pair::role::Record;
use rempart_plan::ha::HaPlan;
use serde::{Deserialize, Serialize};

use crate::disk;

/// The folder of the elector.
#[derive(Clone, Debug)]
pub struct Files {
    state: PathBuf,
    folder: PathBuf,
}

/// What the document asked for, as it is on disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredPlan {
    /// Of the document.
    #[serde(default)]
    pub revision: u32,
    /// What it asks for; `None`: nothing.
    pub plan: Option<HaPlan>,
}

#[derive(Serialize, Deserialize)]
struct StoredRecord {
    epoch: u64,
    #[serde(default)]
    maintenance: bool,
}

impl Files {
    /// The folder `ha` below `state`, made if it is not there, readable for us alone.
    pub fn open(state: &Path) -> io::Result<Self> {
        let folder = state.join("ha");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { state: state.to_owned(), folder })
    }

    /// Where the secrets are that the plan names.
    pub fn secrets(&self) -> PathBuf {
        self.state.join("secrets")
    }

    /// What the document asked for last; `None` before the first time.
    pub fn plan(&self) -> io::Result<Option<StoredPlan>> {
        disk::read_json(&self.folder.join("plan.json"))
    }

    /// Keeps what the document asks for.
    pub fn keep_plan(&self, plan: &StoredPlan) -> io::Result<()> {
        disk::write_json(&self.folder.join("plan.json"), plan)
    }

    /// The epoch of the role.
    pub fn record(&self) -> io::Result<Record> {
        let stored: Option<StoredRecord> = disk::read_json(&self.folder.join("role.json"))?;
        Ok(stored.map_or_else(Record::default, |s| Record { epoch: s.epoch, maintenance: s.maintenance }))
    }

    /// Keeps the epoch of the role; returns once it is on disk.
    pub fn keep_record(&self, record: &Record) -> io::Result<()> {
        let Record { epoch, maintenance } = *record;
        disk::write_json(&self.folder.join("role.json"), &StoredRecord { epoch, maintenance })
    }
}
