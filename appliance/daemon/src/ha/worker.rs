//! The worker: starts the threads, and its own, the main one, does everything that may take its time: the bus, the log.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, kill};
use nix::unistd::Pid;
use rempart_bus::{CONTROL_NAME, HA_NAME, HA_PATH};
use rempart_daemon::notify;
use rempart_daemon::tasks::Task;
use rempart_pair::role::{Daemon, Notice, PathState};
use rempart_plan::ha::HaPlan;
use rempart_system::realtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, trace, warn};

use crate::elector::news::{Happening, News};
use crate::elector::{self, Command, Handle, Recorder, Surroundings, Undelivered};
use crate::files::Files;
use crate::journal::{self, Journal};
use crate::keystore::{Keystore, PairKeys};
use crate::peer::Peer;
use crate::relay;
use crate::secrets::Secrets;
use crate::service::Service;
use crate::status::History;
use crate::supervisor::LIFE;

/// Above every other file that we open: the journal has a few sockets a path, the peer channel fewer.
const LIFELINE: i32 = 1000;
/// The main thread is to be run soon, though after the elector: when the process dies, all threads have to be run once
/// more before it is gone.
const NICE: i32 = -10;
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
    /// The channel to the other node, and pairing.
    pub peer: Peer,
    /// What the document asks for now.
    pub plan: watch::Sender<Option<HaPlan>>,
    /// The replication of connections, while there is a pair.
    pub journal: Mutex<Option<Journal>>,
    /// `rempartd` has been away for longer than a restart takes. People are told; the role does not move for it, because
    /// without it everything goes on.
    pub control_absent: AtomicBool,
    /// What has happened.
    pub history: Mutex<History>,
}

/// Runs until SIGTERM, or the end of the supervisor `parent`, then hands over.
pub fn run(node: &str, state: &Path, relay: &Path, parent: u32) -> anyhow::Result<()> {
    // The supervisor reads its signals from a descriptor and keeps them blocked; a child inherits that.
    SigSet::empty().thread_set_mask()?;
    realtime::end_with(parent).context("the supervisor is gone")?;
    // The supervisor's lifeline, to be the first of our files that is closed when we die. Never used again.
    let _ = fcntl(std::io::stdin(), FcntlArg::F_DUPFD_CLOEXEC(LIFELINE));
    if let Err(error) = realtime::lock_memory() {
        warn!(%error, "memory cannot be locked: take-overs may come late on a busy machine");
    }
    let files = Files::open(state).with_context(|| format!("cannot use {}", state.display()))?;
    let keystore = Keystore::open(state).context("cannot keep keys")?;
    let (elector, inbox) = elector::channel()?;
    let (news, mut tidings) = mpsc::channel(NEWS);
    let (ended, mut over) = oneshot::channel();
    let writer = files.clone();
    let plan = stored_plan(&files);
    let wanted = plan.as_ref().map(|(plan, _)| plan.clone());
    let recorder = Recorder::start(elector.clone(), move |record| writer.keep_record(record))?;
    let (role, watched) = elector::role()?;
    let surroundings = Surroundings {
        record: files.record().unwrap_or_else(|error| {
            error!(%error, "the epoch of the role cannot be read; the other node's will be taken over");
            Default::default()
        }),
        keys: keystore.keys(),
        plan,
        news,
        recorder,
        role,
    };
    elector::start(inbox, surroundings, ended)?;
    // From the supervisor this thread has a priority that is for the elector alone.
    if let Err(error) = realtime::run_in_turn() {
        warn!(%error, "the main thread keeps its real-time priority");
    }
    if let Err(error) = realtime::set_nice(NICE) {
        warn!(%error, "the main thread has the priority of any program");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wanted = watch::Sender::new(wanted);
    let peer = {
        let _inside = runtime.enter();
        Peer::start(
            node,
            &keystore,
            wanted.subscribe(),
            relay::Config { socket: relay.to_owned(), role: watched, elector: elector.clone() },
        )
    };
    let shared = Arc::new(Shared {
        node: node.to_owned(),
        files,
        elector,
        keystore,
        peer,
        plan: wanted,
        journal: Mutex::default(),
        control_absent: AtomicBool::new(false),
        history: Mutex::default(),
    });

    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let bus = tokio::spawn(serve(Arc::clone(&shared)));
        let replication = tokio::spawn(replicate(Arc::clone(&shared)));
        let _life = notify::is_asked().then(|| Task::spawn(prove_life(Arc::clone(&shared), parent)));
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
                    replication.abort();
                    info!("rempart-ha ends");
                    return done.context("the elector's thread has ended")?.context("the elector has failed");
                }
            }
        }
    })
}

/// Tells the supervisor that this thread and the elector's turn, for as long as they do.
async fn prove_life(shared: Arc<Shared>, supervisor: u32) {
    let Ok(supervisor) = i32::try_from(supervisor) else { return };
    let mut ticks = tokio::time::interval(notify::PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (reply, answer) = oneshot::channel();
        if shared.elector.send(Command::Observe(reply)).is_ok() && answer.await.is_ok() {
            // One that is gone takes us along.
            let _ = kill(Pid::from_raw(supervisor), LIFE);
        }
    }
}

/// Hands a command over that must not be lost.
async fn order(shared: &Shared, command: impl Fn() -> Command) {
    // The queue is full only while the elector is very busy.
    while shared.elector.send(command()) == Err(Undelivered::Full) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Keeps a journal for as long as there is a pair, and tells it what the document says.
async fn replicate(shared: Arc<Shared>) {
    let (mut keys, mut plan) = (shared.keystore.subscribe(), shared.plan.subscribe());
    keys.mark_changed();
    loop {
        let anew = tokio::select! {
            Ok(()) = keys.changed() => true,
            Ok(()) = plan.changed() => false,
            else => return,
        };
        let (keys, plan) = (keys.borrow_and_update().clone(), plan.borrow_and_update().clone());
        let wanted = keys.zip(plan.filter(|plan| plan.peer.is_some() && !plan.paths.is_empty()));
        let known = shared.journal.lock().unwrap_or_else(PoisonError::into_inner).take();
        let journal = match (known, wanted) {
            (Some(journal), Some((_, plan))) if !anew => {
                // Said again after the next change, should the queue be full.
                journal.handle().tell(journal::Command::Surroundings(surroundings(&plan)));
                *shared.journal.lock().unwrap_or_else(PoisonError::into_inner) = Some(journal);
                continue;
            }
            (known, Some((keys, plan))) => {
                end(known).await;
                start_journal(&shared, keys, &plan)
            }
            (known, None) => {
                end(known).await;
                None
            }
        };
        let handle = journal.as_ref().map(Journal::handle);
        *shared.journal.lock().unwrap_or_else(PoisonError::into_inner) = journal;
        order(&shared, || Command::Journal(handle.clone())).await;
    }
}

/// Its thread is waited for elsewhere: it may be in the middle of a long answer of the kernel.
async fn end(journal: Option<Journal>) {
    if let Some(journal) = journal {
        let _ = tokio::task::spawn_blocking(move || drop(journal)).await;
    }
}

fn start_journal(shared: &Shared, keys: PairKeys, plan: &HaPlan) -> Option<Journal> {
    let elector = shared.elector.clone();
    let report = move |report: journal::Report| {
        let command = match report {
            journal::Report::Flushed { token, complete: true } => Command::Flushed(token),
            // The machine of the node gives up waiting by itself.
            journal::Report::Flushed { complete: false, .. } => return,
            journal::Report::Synced(synced, position) => Command::Synced(synced, position),
            // When the queue is full there is more to do than to hear a second opinion.
            journal::Report::Carried { path, datagram } => {
                let _ = elector.send(Command::Carried { path, datagram });
                return;
            }
            journal::Report::Notice(notice) => return info!(?notice, "journal"),
            journal::Report::Trouble(trouble) => return warn!(trouble, "journal"),
        };
        // An elector that has ended needs no news.
        if elector.send(command) == Err(Undelivered::Full) {
            warn!("the elector is too busy for news of the journal");
        }
    };
    let config = journal::Config {
        secret: keys.secret,
        index: keys.index,
        surroundings: surroundings(plan),
        report: Box::new(report),
    };
    let journal = Journal::start(config);
    if let Err(error) = &journal {
        error!(%error, "connections are not replicated");
    }
    // Without its connections a node is unfit to take over.
    let known = shared.elector.send(Command::Daemon(Daemon::Journal, journal.is_ok()));
    if let Err(error) = known {
        warn!(%error, "the state of the journal is not told");
    }
    journal.ok()
}

fn surroundings(plan: &HaPlan) -> journal::Surroundings {
    let way = |path: &rempart_plan::ha::PathPlan| journal::Way {
        device: path.device.clone(),
        local: path.local,
        remote: path.remote,
    };
    let ends = plan.paths.iter().flat_map(|path| [path.local, path.remote]);
    let own = ends.chain(plan.routers.iter().filter_map(|router| router.local)).collect();
    journal::Surroundings { paths: plan.paths.iter().map(way).collect(), own }
}

fn stored_plan(files: &Files) -> Option<(HaPlan, Secrets)> {
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
        Happening::Obstacle { interface, vrid, why: None } => {
            info!(interface, vrid, "a virtual router takes part")
        }
        Happening::Router { interface, vrid, state, cause } => {
            info!(interface, vrid, ?state, ?cause, "virtual router");
        }
        Happening::Gateway { interface, answers } => warn!(interface, answers, "gateway"),
        Happening::Node(notice, path) => match notice {
            Notice::TwoActives { .. } | Notice::HandOverFailed { .. } | Notice::Damped { .. } => {
                warn!(?notice)
            }
            Notice::Path { state, .. } => {
                info!(path, state = state.name(), "path");
                if let Some(path) = path {
                    shared.peer.way(path, *state == PathState::Up, shared.plan.borrow().as_ref());
                }
            }
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
    let mut missed = false;
    loop {
        let served = serve_once(&shared).await;
        shared.peer.set_bus(None);
        match served {
            Err(error) if !missed => {
                info!(%error, "no bus yet; everything else goes on without it");
                missed = true;
            }
            Err(error) => trace!(%error, "no bus"),
            Ok(()) => missed = false,
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
    shared.peer.set_bus(Some(connection.clone()));
    let _signals = Task::spawn(crate::service::signal_link(Arc::clone(shared), connection.clone()));
    loop {
        let change = if present {
            owners.next().await
        } else {
            match tokio::time::timeout(CONTROL_ABSENT, owners.next()).await {
                Ok(change) => change,
                Err(_) => {
                    warn!("rempartd is away");
                    shared.control_absent.store(true, Ordering::Relaxed);
                    owners.next().await
                }
            }
        };
        // The end of the stream is that of the connection.
        let Some(change) = change else { return Ok(()) };
        present = change.args()?.new_owner().is_some();
        if present {
            shared.control_absent.store(false, Ordering::Relaxed);
        }
    }
}
