//! `org.rempart.Update1`: what a person or the other node may ask, and the one thing at a time that is done for them.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rempart_bus::codes::RefusalCode;
use rempart_bus::ha::HaStatus;
use rempart_bus::update::{DiskRequest, InstallRequest, OtherSlot, PairUpdate, UpdateStatus};
use rempart_bus::{ByteBuf, Error};
use rempart_daemon::systemd;
use rempart_update::pair::{End, Phase, Plan, View, Who};
use rempart_update::probation::lacks;
use rempart_update::{Manifest, Version};
use tokio::runtime::Handle;
use tracing::{info, warn};
use zbus::Connection;
use zbus::message::Header;

use crate::caller::only_root;
use crate::disks::{self, Live};
use crate::job::{self, JobError, Progress};
use crate::own::{Own, OwnError};
use crate::partner::{self, ASK_BYTES_MAX, Ask, Remote};
use crate::records::{Begun, Records};
use crate::source::{self, Source};
use crate::{Place, https, look};

/// What all of this program's tasks share.
#[derive(Debug)]
pub struct Shared {
    place: Place,
    own: Own,
    records: Records,
    job: Mutex<Option<Progress>>,
    plan: Mutex<Option<Plan>>,
    bus: OnceLock<Connection>,
}

/// A handle of it.
#[derive(Clone, Debug)]
pub struct Office(Arc<Shared>);

impl Office {
    /// Looks at the box, and whether the last trial has ended.
    pub fn open(place: Place) -> Result<Self, OwnError> {
        let own = Own::read(&place)?;
        let records = Records(place.state.clone());
        records.settle(&own);
        let plan = Mutex::new(records.pair());
        let (job, bus) = (Mutex::default(), OnceLock::new());
        Ok(Self(Arc::new(Shared { place, own, records, job, plan, bus })))
    }

    /// There is a bus.
    pub fn connect(&self, bus: &Connection) {
        // Said once.
        let _ = self.0.bus.set(bus.clone());
    }

    /// This box.
    pub fn own(&self) -> &Own {
        &self.0.own
    }

    /// The bus.
    pub fn bus(&self) -> Result<Connection, Error> {
        self.0.bus.get().cloned().ok_or_else(|| Error::Failed("the bus is not there yet".into()))
    }

    /// The update of the pair.
    pub fn plan(&self) -> MutexGuard<'_, Option<Plan>> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it, over a restart too.
    pub fn keep(&self, plan: Plan) {
        if let Err(error) = self.0.records.set_pair(&plan) {
            warn!(%error, "the update of the pair would not outlive a restart");
        }
        *self.plan() = Some(plan);
    }

    fn job(&self) -> MutexGuard<'_, Option<Progress>> {
        self.0.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_busy(&self) -> bool {
        self.job().as_ref().is_some_and(|job| job.job().state == "running")
    }

    fn free(&self) -> Result<(), Error> {
        let going = self.plan().as_ref().is_some_and(|plan| plan.end().is_none());
        if self.is_busy() || going {
            return Err(RefusalCode::UpdateBusy.error("something about updates is under way"));
        }
        Ok(())
    }

    fn proved(&self) -> Result<(), Error> {
        match self.own().is_on_trial().map_err(failed)? {
            true => Err(RefusalCode::OnTrial.error("the running version still has to prove itself")),
            false => Ok(()),
        }
    }

    /// This node, for the update of the pair.
    pub async fn view(&self) -> Result<View, Error> {
        let bus = self.bus()?;
        let (own, ha) = (self.own(), look::ha(&bus).await.unwrap_or_default());
        let other = own.other().map_err(failed)?;
        let staged =
            other.filter(|(_, state)| matches!(*state, "ready" | "armed")).map(|(version, _)| version);
        let last = self.0.records.last().filter(|last| last.outcome != "good");
        let job = self.job().as_ref().map(Progress::job).filter(|job| job.what == "install");
        Ok(View {
            running: own.running.version.clone(),
            on_trial: own.is_on_trial().map_err(failed)?,
            staged,
            returned_from: last.and_then(|last| Version::new(&last.version)),
            active: ha.role == "active",
            synced: is_synced(&ha),
            failure: job.and_then(|job| job.failure),
        })
    }

    /// Begins a job.
    fn begin(&self, request: Request) -> Result<(), Error> {
        let bus = self.bus()?;
        let progress = self.progress(request.work.name(), &request.text)?;
        tokio::spawn(carry_out(self.clone(), request, bus, progress));
        Ok(())
    }

    /// The place of the one job that there is.
    fn progress(&self, what: &str, source: &str) -> Result<Progress, Error> {
        let mut job = self.job();
        if job.as_ref().is_some_and(|job| job.job().state == "running") {
            return Err(RefusalCode::UpdateBusy.error("something about updates is under way"));
        }
        let progress = Progress::new(what, source);
        *job = Some(progress.clone());
        Ok(progress)
    }

    /// Begins to write the stick onto a disk.
    fn install_disk(&self, request: &DiskRequest, by: &str) -> Result<(), Error> {
        let live = Live::required(&self.0.place.live)?;
        self.free()?;
        let disk = live.choose(request)?;
        let progress = self.progress("disk", &disk.name)?;
        info!(
            by,
            disk = disk.name,
            model = disk.model,
            serial = disk.serial,
            "Rempart is installed on a disk"
        );
        tokio::task::spawn_blocking(move || {
            let done = live.install(&disk, &progress);
            match &done {
                Ok(()) => info!(disk = disk.name, "installed, read back and compared"),
                Err(error) => warn!(disk = disk.name, %error, "not installed"),
            }
            progress.end(&done);
        });
        Ok(())
    }

    /// Starts the version in the other slot, which then has to prove itself.
    pub async fn restart(&self) -> Result<(), Error> {
        self.proved()?;
        let (own, bus) = (self.own(), self.bus()?);
        let none = || RefusalCode::NoOtherVersion.error("the other slot holds nothing that can be started");
        let (version, _) = own.other().map_err(failed)?.ok_or_else(none)?;
        let before = look::snapshot(&bus).await;
        self.0.records.begin(&Begun { version: version.clone(), before }).map_err(failed)?;
        let armed = own.esp().arm(&own.running.version).map_err(failed)?;
        info!(version = %armed, "the box starts again, with this version");
        reboot(&bus).await
    }

    async fn back(&self) -> Result<(), Error> {
        let own = self.own();
        if !own.is_on_trial().map_err(failed)? {
            return self.restart().await;
        }
        let version = &own.running.version;
        let other = own.esp().give_up(version).map_err(failed)?;
        self.0.records.decide(version, "failed", vec!["a person has gone back".into()]);
        info!(version = %other, "the box starts again, with the version of before");
        reboot(&self.bus()?).await
    }

    async fn status(&self) -> Result<UpdateStatus, Error> {
        let own = self.own();
        let on_trial = own.is_on_trial().map_err(failed)?;
        let mut lacking = Vec::new();
        if on_trial {
            let begun = self.0.records.begun().filter(|begun| begun.version == own.running.version);
            let before = begun.map(|begun| begun.before).unwrap_or_default();
            let now = look::snapshot(&self.bus()?).await;
            lacking = lacks(&before, &now).iter().map(ToString::to_string).collect();
        }
        let other = own.other().map_err(failed)?;
        Ok(UpdateStatus {
            version: 1,
            running: own.running.version.to_string(),
            on_trial,
            lacking,
            other: other
                .map(|(version, state)| OtherSlot { version: version.to_string(), state: state.into() }),
            job: self.job().as_ref().map(Progress::job),
            last: self.0.records.last(),
            pair: self.plan().as_ref().map(pair_status),
        })
    }

    /// What the other node asks.
    async fn serve(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        if body.len() > ASK_BYTES_MAX {
            return Err("the request is too long".into());
        }
        let asked: Ask = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let said = |error: Error| error.to_string();
        match asked {
            Ask::View => serde_json::to_vec(&self.view().await.map_err(said)?).map_err(|e| e.to_string()),
            Ask::Fetch { version } => {
                info!(%version, "the other node has a version for us");
                self.proved().map_err(said)?;
                let work = Work::Install { older: false };
                let (source, text) = (Source::Partner, "partner".to_owned());
                self.begin(Request { source, text, version: Some(version), work }).map_err(said)?;
                Ok(Vec::new())
            }
            Ask::HandOver => {
                crate::pair::hand_over(&self.bus().map_err(said)?).await?;
                Ok(Vec::new())
            }
            Ask::Restart => {
                // The order is about a version that came for this. Nothing else is started for the other node.
                let ready = self.own().other().map_err(|e| e.to_string())?;
                if !ready.is_some_and(|(_, state)| matches!(state, "ready" | "armed")) {
                    return Err("there is no version that was not tried yet".into());
                }
                self.restart().await.map_err(said)?;
                Ok(Vec::new())
            }
            Ask::Piece { version, at } => {
                let own = self.own().clone();
                let read = tokio::task::spawn_blocking(move || partner::piece(&own, &version, at)).await;
                read.map_err(|e| e.to_string())?
            }
        }
    }
}

/// What is done with a source, and then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    /// Every byte is verified.
    Check,
    /// It goes into the other slot.
    Install { older: bool },
    /// That, and it is started.
    Start { older: bool },
    /// It goes into the other slot, and then to both nodes.
    Pair,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Install { .. } | Self::Start { .. } | Self::Pair => "install",
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
struct Request {
    source: Source,
    /// As it was typed.
    text: String,
    /// Which version the other node is to give, where that is known.
    version: Option<Version>,
    work: Work,
}

async fn carry_out(office: Office, request: Request, bus: Connection, progress: Progress) {
    let Request { source, version, work, .. } = request;
    let version = match (&source, version) {
        (Source::Partner, None) => partner::view(&bus).await.map(|view| Some(view.running)),
        (Source::Partner | Source::File(_) | Source::Https(_), version) => Ok(version),
    };
    let (own, ca) = (office.own().clone(), office.0.place.ca.clone());
    let (runtime, told) = (Handle::current(), progress.clone());
    let done = tokio::task::spawn_blocking(move || -> Result<Manifest, JobError> {
        let mut opened = open(&source, &ca, bus, runtime, version.map_err(std::io::Error::other)?)?;
        match work {
            Work::Check => job::check(&own, &mut opened, &told),
            Work::Install { older } | Work::Start { older } => job::install(&own, older, &mut opened, &told),
            Work::Pair => job::install(&own, false, &mut opened, &told),
        }
    });
    let result = done.await.unwrap_or_else(|error| Err(JobError::Source(std::io::Error::other(error))));
    progress.end(&result);
    let manifest = match result {
        Ok(manifest) => manifest,
        Err(error) => return warn!(%error, ?work, "failed"),
    };
    let version = &manifest.description().version;
    info!(%version, ?work, "done");
    match work {
        Work::Check | Work::Install { .. } => {}
        Work::Start { .. } => {
            if let Err(error) = office.restart().await {
                warn!(%error, "the new version is not started");
            }
        }
        Work::Pair => crate::pair::begin(&office, version.clone()).await,
    }
}

fn open(
    source: &Source,
    ca: &std::path::Path,
    bus: Connection,
    runtime: Handle,
    version: Option<Version>,
) -> std::io::Result<Box<dyn Read>> {
    Ok(match (source, version) {
        (Source::File(path), _) => Box::new(source::open_file(path)?),
        (Source::Https(url), _) => https::open(url, ca)?,
        (Source::Partner, Some(version)) => Box::new(Remote::new(bus, runtime, version)),
        (Source::Partner, None) => return Err(std::io::ErrorKind::NotConnected.into()),
    })
}

/// The two know each other's connections and revisions.
fn is_synced(ha: &HaStatus) -> bool {
    ha.other.as_ref().is_some_and(|other| other.alive)
        && ha.journal.state == "live"
        && ha.configuration.state == "same"
}

fn pair_status(plan: &Plan) -> PairUpdate {
    let (who, phase) = plan.at();
    let (state, why) = match plan.end() {
        None => ("going", None),
        Some(End::Done) => ("done", None),
        Some(End::Stopped(why)) => ("stopped", Some(why.to_string())),
    };
    let node = match who {
        Who::Here => "here",
        Who::There => "there",
    };
    let phase = match phase {
        Phase::Fetch => "fetch",
        Phase::HandOver => "hand-over",
        Phase::Restart => "restart",
        Phase::Settle => "settle",
    };
    PairUpdate {
        version: plan.version().to_string(),
        state: state.into(),
        node: node.into(),
        phase: phase.into(),
        why,
    }
}

/// Has systemd start the machine again, in order: `rempart-ha` hands over by itself.
async fn reboot(bus: &Connection) -> Result<(), Error> {
    systemd::order(bus, "StartUnit", "reboot.target", "replace-irreversibly").await?;
    Ok(())
}

/// Something did not work, for whoever asked.
pub fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(error.to_string())
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The object on the bus.
#[derive(Debug)]
pub struct Service {
    office: Office,
}

impl Service {
    /// An object that speaks for the office.
    pub fn new(office: Office) -> Self {
        Self { office }
    }

    fn request(&self, text: &str, work: Work) -> Result<Request, Error> {
        let source = Source::parse(text, &self.office.0.place.stick)?;
        Ok(Request { source, text: text.to_owned(), version: None, work })
    }
}

#[zbus::interface(name = "org.rempart.Update1")]
impl Service {
    async fn status(&self) -> Result<String, Error> {
        json(&self.office.status().await?)
    }

    async fn files(&self) -> Result<String, Error> {
        let (stick, keys): (PathBuf, _) = (self.office.0.place.stick.clone(), self.office.own().keys.clone());
        // A stick takes its time to be mounted.
        let found = tokio::task::spawn_blocking(move || source::files(&stick, &keys)).await;
        json(&found.map_err(failed)?)
    }

    async fn check(&self, source: &str, by: &str) -> Result<(), Error> {
        self.office.free()?;
        info!(source, by, "an update is verified");
        self.office.begin(self.request(source, Work::Check)?)
    }

    async fn install(&self, request: &str, by: &str) -> Result<(), Error> {
        let InstallRequest { source, older, restart } = serde_json::from_str(request).map_err(failed)?;
        self.office.free()?;
        self.office.proved()?;
        info!(source, by, older, restart, "an update is installed");
        let work = if restart { Work::Start { older } } else { Work::Install { older } };
        self.office.begin(self.request(&source, work)?)
    }

    async fn pair(&self, source: &str, by: &str) -> Result<(), Error> {
        self.office.free()?;
        self.office.proved()?;
        let request = self.request(source, Work::Pair)?;
        crate::pair::possible(&self.office).await?;
        info!(source, by, "the pair is updated");
        self.office.begin(request)
    }

    async fn stop(&self, by: &str) -> Result<(), Error> {
        let plan = self.office.plan().clone();
        let Some(mut plan) = plan.filter(|plan| plan.end().is_none()) else {
            return Err(Error::NotFound("no update of the pair is under way".into()));
        };
        info!(by, "the update of the pair is stopped");
        plan.stop();
        self.office.keep(plan);
        Ok(())
    }

    async fn restart(&self, by: &str) -> Result<(), Error> {
        self.office.free()?;
        info!(by, "the version in the other slot is started");
        self.office.restart().await
    }

    async fn confirm(&self, by: &str) -> Result<(), Error> {
        let own = self.office.own();
        if !own.is_on_trial().map_err(failed)? {
            return Err(RefusalCode::NotOnTrial.error("the running version has proved itself already"));
        }
        info!(by, version = %own.running.version, "the version stays, because a person says so");
        own.esp().bless(&own.running.version).map_err(failed)?;
        self.office.0.records.decide(&own.running.version, "good", Vec::new());
        Ok(())
    }

    async fn back(&self, by: &str) -> Result<(), Error> {
        if self.office.is_busy() {
            return Err(RefusalCode::UpdateBusy.error("something about updates is under way"));
        }
        info!(by, "back to the version of before");
        self.office.back().await
    }

    async fn disks(&self) -> Result<String, Error> {
        json(&disks::report(Live::read(&self.office.0.place.live)?.as_ref())?)
    }

    async fn install_disk(&self, request: &str, by: &str) -> Result<(), Error> {
        self.office.install_disk(&serde_json::from_str(request).map_err(failed)?, by)
    }

    async fn keep_stick(&self, by: &str) -> Result<(), Error> {
        let live = Live::required(&self.office.0.place.live)?;
        self.office.free()?;
        info!(by, "the stick becomes the disk of this box");
        live.keep().map_err(failed)?;
        reboot(&self.office.bus()?).await
    }

    async fn leave_stick(&self, by: &str) -> Result<(), Error> {
        Live::required(&self.office.0.place.live)?;
        self.office.free()?;
        info!(by, "the live start ends");
        reboot(&self.office.bus()?).await
    }

    async fn peer_request(
        &self,
        body: &[u8],
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<ByteBuf, Error> {
        // The other node speaks with the voice of `rempart-ha`.
        only_root(&header, connection).await?;
        Ok(partner::answer(self.office.serve(body).await).into())
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(failed)
}
