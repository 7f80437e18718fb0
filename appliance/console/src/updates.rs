//! Owns what can be asked of `rempart-update`, and what comes back.

use rempart_bus::update::{DiskRequest, DisksReport, FoundFile, InstallRequest, UpdateStatus};
use rempart_bus::{Error, Update1Proxy};

/// A call to `rempart-update`. Whoever asks for a change is named in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// How it is.
    Status,
    /// The update files on the stick.
    Files,
    /// Verifies a source.
    Check(String, String),
    /// Writes a source into the other slot.
    Install(InstallRequest, String),
    /// Brings both nodes to the version of a source.
    Pair(String, String),
    /// Ends that.
    Stop(String),
    /// Starts the version in the other slot.
    Restart(String),
    /// The version on trial stays.
    Confirm(String),
    /// Starts the version of before.
    Back(String),
    /// The disks that Rempart can be installed on.
    Disks,
    /// Writes the stick that the box was started from onto a disk.
    InstallDisk(DiskRequest, String),
    /// Makes that stick the disk of the box.
    Keep(String),
    /// Starts the box again.
    Leave(String),
}

/// What came back, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To `Status`.
    Status(Box<UpdateStatus>),
    /// To `Files`.
    Files(Vec<FoundFile>),
    /// To `Disks`.
    Disks(Box<DisksReport>),
    /// To `Check`, `Install`, `InstallDisk` and `Pair`: it has begun.
    Begun,
    /// To `Restart`, `Back`, `Keep` and `Leave`.
    Restarting,
    /// To `Stop` and `Confirm`.
    Done,
}

impl Ask {
    /// Asks, and gives the answer as it came; nothing becomes an empty JSON object.
    pub async fn call(&self, p: &Update1Proxy<'_>) -> Result<String, Error> {
        let nothing = |()| "{}".to_owned();
        match self {
            Self::Status => p.status().await,
            Self::Files => p.files().await,
            Self::Check(source, by) => p.check(source, by).await.map(nothing),
            Self::Install(request, by) => {
                let request = serde_json::to_string(request).expect("a request has string keys");
                p.install(&request, by).await.map(nothing)
            }
            Self::Pair(source, by) => p.pair(source, by).await.map(nothing),
            Self::Stop(by) => p.stop(by).await.map(nothing),
            Self::Restart(by) => p.restart(by).await.map(nothing),
            Self::Confirm(by) => p.confirm(by).await.map(nothing),
            Self::Back(by) => p.back(by).await.map(nothing),
            Self::Disks => p.disks().await,
            Self::InstallDisk(request, by) => {
                let request = serde_json::to_string(request).expect("a request has string keys");
                p.install_disk(&request, by).await.map(nothing)
            }
            Self::Keep(by) => p.keep_stick(by).await.map(nothing),
            Self::Leave(by) => p.leave_stick(by).await.map(nothing),
        }
    }

    /// Reads the answer.
    pub fn read(&self, text: &str) -> Result<Answer, String> {
        Ok(match self {
            Self::Status => Answer::Status(serde_json::from_str(text).map_err(|e| e.to_string())?),
            Self::Files => Answer::Files(serde_json::from_str(text).map_err(|e| e.to_string())?),
            Self::Disks => Answer::Disks(serde_json::from_str(text).map_err(|e| e.to_string())?),
            Self::Check(..) | Self::Install(..) | Self::Pair(..) | Self::InstallDisk(..) => Answer::Begun,
            Self::Restart(_) | Self::Back(_) | Self::Keep(_) | Self::Leave(_) => Answer::Restarting,
            Self::Stop(_) | Self::Confirm(_) => Answer::Done,
        })
    }
}
