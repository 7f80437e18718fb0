//! What is kept of trials, over restarts.
//!
//! ```text
//! STATE/trial.json     the version that is about to prove itself, and how the box was before
//! STATE/last.json      what became of the last one
//! STATE/pair.json      the update of the pair
//! ```

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use rempart_bus::update::Trial;
use rempart_update::probation::Snapshot;
use rempart_update::{Version, pair};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::disk;
use crate::own::Own;

/// A version that is about to prove itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Begun {
    /// Which.
    pub version: Version,
    /// How the box was.
    pub before: Snapshot,
}

/// The files.
#[derive(Clone, Debug)]
pub struct Records(pub PathBuf);

impl Records {
    /// The trial that was begun.
    pub fn begun(&self) -> Option<Begun> {
        self.read("trial.json")
    }

    /// A trial is about to begin.
    pub fn begin(&self, begun: &Begun) -> io::Result<()> {
        disk::write_json(&self.0.join("trial.json"), begun)
    }

    /// What became of the last one.
    pub fn last(&self) -> Option<Trial> {
        self.read("last.json")
    }

    /// It was decided.
    pub fn decide(&self, version: &Version, outcome: &str, lacking: Vec<String>) {
        let trial = Trial {
            version: version.to_string(),
            outcome: outcome.into(),
            lacking,
            time: Timestamp::now().to_string(),
        };
        let done = disk::write_json(&self.0.join("last.json"), &trial)
            .and_then(|()| disk::remove(&self.0.join("trial.json")));
        if let Err(error) = done {
            warn!(%error, "what became of the version is not kept");
        }
    }

    /// The update of the pair.
    pub fn pair(&self) -> Option<pair::Plan> {
        self.read("pair.json")
    }

    /// Keeps it.
    pub fn set_pair(&self, plan: &pair::Plan) -> io::Result<()> {
        disk::write_json(&self.0.join("pair.json"), plan)
    }

    /// Looks, at a start, whether a trial has ended without anybody's having seen it: its version does not run, and has no
    /// tries left.
    pub fn settle(&self, own: &Own) {
        let Some(begun) = self.begun().filter(|begun| begun.version != own.running.version) else { return };
        let esp = own.esp();
        let failed = esp.kernel(&begun.version).and_then(|kernel| match kernel {
            Some(kernel) => esp.has_failed(&kernel),
            None => Ok(true),
        });
        match failed {
            Ok(true) => {
                info!(version = %begun.version, "the new version did not start, and the one before is back");
                self.decide(&begun.version, "not-started", Vec::new());
            }
            // It is armed and was not tried yet.
            Ok(false) => {}
            Err(error) => warn!(%error, "the EFI system partition cannot be read"),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        disk::read_json(&self.0.join(name)).unwrap_or_else(|error| {
            warn!(name, %error, "a record of updates cannot be read, and counts as none");
            None
        })
    }
}
