//! The worker: starts the threads, and its own, the main one, does everything that may take its time: the bus, the log.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use rempart_bus::{CONTROL_NAME, HA_NAME, HA_PATH};
use rempart_pair::role::{Daemon, Notice};
use rempart_system::realtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use crate::elector::news::{Happening, News};
use crate::elector::{self, Command, Handle, Recorder, Surroundings};
use crate::files::Files;
use crate::keystore::Keystore;
use crate::secrets::Secrets;
use crate::service::Service;
use crate::status::History;

/// News that wait to be logged. The elector makes a few dozen at a take-over.
const NEWS: usize = 1024;
/// Between two attempts to reach the bus.
const BUS_RETRY: Duration = Duration::from_secs(1);
/// A control daemon that is away for longer is not just being restarted.
const CONTROL_ABSENT: Duration = Duration::from_secs(10);

/// What the tasks of the main thread share.
pub struct Shared {
    /// The name of this node.
    pub node: String,
    /// What is on disk.
    pub files: Files,
    /// The way to the elector.
    pub elector: Handle,
    /// The keys of this node and of the pair.
    pub keystore: Keystore,
    /// What has happened.
    pub history: Mutex<History>,
}

/// Runs until SIGTERM, or the end of the supervisor `parent`, then hands over.
pub fn run(node: &str, state: &Path, parent: u32) -> anyhow::Result<()> {
    realtime::end_with(parent).context("the supervisor is gone")?;
    if let Err(error) = realtime::lock_memory() {
        warn!(%error, "memory cannot be locked: take-overs may come late on a busy machine");
    }
    let files = Files::open(state).with_context(|| format!("cannot use {}", state.display()))?;
    let keystore = Keystore::open(state).context("cannot keep keys")?;
    let (elector, inbox) = elector::channel()?;
    let (news, mut tidings) = mpsc::channel(NEWS);
    let (ended, mut over) = oneshot::channel();
    let writer = files.clone();
    let recorder = Recorder::start(elector.clone(), move |record| writer.keep_record(record))?;
    let surroundings = Surroundings {
        record: files.record().unwrap_or_else(|error| {
            error!(%error, "the epoch of the role cannot be read; the other node's will be taken over");
            Default::default()
        }),
        keys: keystore.keys(),
        plan: stored_plan(&files),
        news,
        journal: None,
        recorder,
    };
    elector::start(inbox, surroundings, ended)?;
    // From the supervisor this thread has a priority that is for the elector alone.
    if let Err(error) = realtime::run_in_turn() {
        warn!(%error, "the main thread keeps its real-time priority");
    }
    let shared = Arc::new(Shared { node: node.to_owned(), files, elector, keystore, history: Mutex::default() });

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let bus = tokio::spawn(serve(Arc::clone(&shared)));
        let mut keys = shared.keystore.subscribe();
        info!(node, "rempart-ha is ready");
        loop {
            tokio::select! {
                Some(news) = tidings.recv() => note(&shared, &news),
                Ok(()) = keys.changed() => {
                    let keys = keys.borrow_and_update().clone();
                    order(&shared, || Command::Keys(keys.clone().map(Box::new))).await;
                }
                _ = terminate.recv() => order(&shared, || Command::Shutdown).await,
                _ = interrupt.recv() => order(&shared, || Command::Shutdown).await,
                done = &mut over => {
                    while let Ok(news) = tidings.try_recv() {
                        note(&shared, &news);
                    }
                    bus.abort();
                    info!("rempart-ha ends");
                    return done.context("the elector's thread has ended")?.context("the elector has failed");
                }
            }
        }
    })
}

/// Hands a command over that must not be lost.
async fn order(shared: &Shared, command: impl Fn() -> Command) {
    // The queue is full only while the elector is very busy.
    while shared.elector.send(command()).is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn stored_plan(files: &Files) -> Option<(rempart_plan::ha::HaPlan, Secrets)> {
    match files.plan() {
        Ok(stored) => {
            let plan = stored?.plan?;
            let secrets = Secrets::load(&files.secrets(), &plan);
            Some((plan, secrets))
        }
        Err(error) => {
            error!(%error, "the stored plan cannot be read; waiting for rempartd");
            None
        }
    }
}

/// Logs, and keeps for the list of events.
fn note(shared: &Shared, news: &News) {
    match &news.what {
        Happening::Active { why, epoch, took } => {
            info!(why = why.name(), epoch, took_us = took.as_micros(), "active");
        }
        Happening::Standby { why } => info!(why = why.name(), "standby"),
        Happening::Kernel { what } => error!(what, "the kernel refused"),
        Happening::NoPriority { what } => warn!(what, "no real-time priority"),
        Happening::Obstacle { interface, vrid, why: Some(why) } => {
            warn!(interface, vrid, why, "a virtual router does not take part");
        }
        Happening::Obstacle { interface, vrid, why: None } => info!(interface, vrid, "a virtual router takes part"),
        Happening::Router { interface, vrid, state, cause } => {
            info!(interface, vrid, ?state, ?cause, "virtual router");
        }
        Happening::Gateway { interface, answers } => warn!(interface, answers, "gateway"),
        Happening::Node(notice, path) => match notice {
            Notice::TwoActives { .. } | Notice::HandOverFailed { .. } | Notice::Damped { .. } => warn!(?notice),
            Notice::Path { state, .. } => info!(path, state = state.name(), "path"),
            Notice::PeerLost
            | Notice::PeerBack
            | Notice::PeerRestarted
            | Notice::HandOverBegun { .. }
            | Notice::HandOverDone { .. }
            | Notice::Stalled { .. } => info!(?notice),
        },
    }
    if let Ok(mut history) = shared.history.lock() {
        history.note(news);
    }
}

/// Serves the bus for as long as there is one, and looks for it again when it is gone.
async fn serve(shared: Arc<Shared>) {
    loop {
        if let Err(error) = serve_once(&shared).await {
            debug!(%error, "no bus");
        }
        tokio::time::sleep(BUS_RETRY).await;
    }
}

async fn serve_once(shared: &Arc<Shared>) -> zbus::Result<()> {
    let connection = zbus::connection::Builder::system()
        .serve_at(HA_PATH, Service::new(Arc::clone(shared)))
        .name(HA_NAME)
        .build()
        .await?;
    let bus = zbus::fdo::DBusProxy::new(&connection).await?;
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, CONTROL_NAME)]).await?;
    let mut present = bus.name_has_owner(CONTROL_NAME.try_into()?).await?;
    info!("on the bus");
    loop {
        let change = if present {
            owners.next().await
        } else {
            match tokio::time::timeout(CONTROL_ABSENT, owners.next()).await {
                Ok(change) => change,
                Err(_) => {
                    tell_presence(shared, false);
                    owners.next().await
                }
            }
        };
        // The end of the stream is that of the connection.
        let Some(change) = change else { return Ok(()) };
        present = change.args()?.new_owner().is_some();
        if present {
            tell_presence(shared, true);
        }
    }
}

fn tell_presence(shared: &Shared, runs: bool) {
    if shared.elector.send(Command::Daemon(Daemon::Control, runs)).is_err() {
        warn!("the elector's queue is full");
    }
}
