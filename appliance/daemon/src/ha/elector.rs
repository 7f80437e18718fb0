//! The elector: the one thread that decides and acts on the role, before everything else on the machine.
//!
//! ```text
//!  heartbeats ─▶ ways ──────┐                              ┌─▶ ways: heartbeats
//!  adverts ────▶ segments ──┤                              ├─▶ segments: adverts, announcements
//!  rtnetlink ──▶ link watch ┼─▶ Node, one machine a router ┼─▶ virtual links up and down, in one request
//!  commands ───▶ queue ─────┤                              ├─▶ recorder (disk), journal: never waited for
//!  deadlines ───────────────┘                              ├─▶ news, for the main thread to log and show
//!                                                          └─▶ the role, for `rempart-vpn`
//! ```
//!
//! It waits in one place, for all of these at once. Whatever may take its time (disk, bus, log) is another thread's, reached
//! by bounded queues that are never waited for. Heartbeats are read before anything else, so that work never makes the
//! other node look dead.

mod driver;
pub mod gateway;
mod hands;
pub mod news;
mod paths;
mod router;
mod segment;

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use rempart_pair::role::{CommandRefused, Failure, Record};
use rempart_plan::ha::HaPlan;
use rempart_system::realtime::{self, Waker};
use tokio::sync::oneshot;

use crate::journal;
use crate::keystore::PairKeys;
use crate::secrets::Secrets;
use driver::Driver;
use news::{News, Snapshot};

/// Commands on their way. A person makes one at a time; the journal and the recorder have one each under way.
const COMMANDS: usize = 64;
/// Real-time priority: above interrupt-like helpers of daemons, below the kernel's own threads (watchdogs have 99).
pub const PRIORITY: u8 = 50;

/// What the other threads want of the elector.
pub enum Command {
    /// The document asks for this now; `None`: for nothing.
    Configure(Option<Box<HaPlan>>, Secrets),
    /// The node was paired, or is no more.
    Keys(Option<Box<PairKeys>>),
    /// Hand the role to the other node. Answered when it is there.
    Switch(oneshot::Sender<Result<(), Refusal>>),
    /// Out of service, or back in.
    Maintenance(bool, oneshot::Sender<Result<(), Refusal>>),
    /// Hand over and come to an end.
    Shutdown,
    /// What there is to show.
    Observe(oneshot::Sender<Snapshot>),
    /// The record is on disk.
    Persisted(Record),
    /// There is a journal of connections now, another one, or none any more. It is told roles, paths and when to flush.
    Journal(Option<journal::Handle>),
    /// The journal has nothing left that the other node has not acknowledged.
    Flushed(u64),
    /// Remote access is ready for the role to go, or is not there.
    Ready(u64),
    /// Whether the connections here are those of the active node, and how far the journal is.
    Synced(bool, u64),
    /// A datagram that says that it is a heartbeat, and came by the journal's sockets.
    Carried {
        /// The path that it came by.
        path: usize,
        /// The datagram.
        datagram: Box<[u8]>,
    },
    /// Which revision is in force, and the first bytes of its lineage's digest.
    Revision(u32, [u8; 8]),
    /// Whether a daemon runs.
    Daemon(rempart_pair::role::Daemon, bool),
}

/// Why a command came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It was not begun.
    #[error(transparent)]
    Refused(CommandRefused),
    /// It was begun, and the role stayed where it was.
    #[error(transparent)]
    Failed(Failure),
}

/// How the other threads reach the elector.
#[derive(Clone)]
pub struct Handle {
    commands: SyncSender<Command>,
    waker: Waker,
}

/// Why a command was not delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Undelivered {
    /// Too many wait.
    #[error("the elector is too busy")]
    Full,
    /// The elector has ended.
    #[error("the elector has ended")]
    Ended,
}

impl Handle {
    /// Hands over a command, without waiting.
    pub fn send(&self, command: Command) -> Result<(), Undelivered> {
        let sent = self.commands.try_send(command).map_err(|e| match e {
            TrySendError::Full(_) => Undelivered::Full,
            TrySendError::Disconnected(_) => Undelivered::Ended,
        });
        self.waker.wake();
        sent
    }
}

/// What the elector needs from those around it.
pub struct Surroundings {
    /// What is on disk of the role.
    pub record: Record,
    /// Whether and with whom the node is paired.
    pub keys: Option<PairKeys>,
    /// What the document asked for last.
    pub plan: Option<(HaPlan, Secrets)>,
    /// Where news go: logged and shown by the main thread.
    pub news: tokio::sync::mpsc::Sender<News>,
    /// Writes the record.
    pub recorder: Recorder,
    /// Where `rempart-vpn` sees the role.
    pub role: RoleCell,
}

/// The role as `rempart-vpn` is to see it. To set it is a store and a byte that is sent to ourselves: it waits for nobody, and
/// the last word is never lost.
#[derive(Clone)]
pub struct RoleCell {
    word: RoleWord,
    bell: Arc<UnixDatagram>,
}

/// The other end of a [`RoleCell`], for whoever passes the role on.
pub struct RoleWatch {
    /// What was set last.
    pub word: RoleWord,
    /// Can be read whenever the role was set.
    pub bell: UnixDatagram,
}

/// The role in one number, and the last hand-over of it in another.
#[derive(Clone)]
pub struct RoleWord(Arc<[AtomicU64; 2]>);

/// Nothing is known yet. No epoch is as high.
const UNKNOWN: u64 = u64::MAX;

/// The two ends; nothing is known yet.
pub fn role() -> io::Result<(RoleCell, RoleWatch)> {
    let (bell, heard) = UnixDatagram::pair()?;
    bell.set_nonblocking(true)?;
    heard.set_nonblocking(true)?;
    let word = RoleWord(Arc::new([AtomicU64::new(UNKNOWN), AtomicU64::new(0)]));
    Ok((RoleCell { word: word.clone(), bell: Arc::new(bell) }, RoleWatch { word, bell: heard }))
}

impl RoleCell {
    /// Active under this epoch of the role, or not.
    fn set(&self, active: Option<u64>) {
        let word = active.map_or(0, |epoch| epoch.min(UNKNOWN >> 2) << 1 | 1);
        let [role, _] = self.word.0.each_ref();
        self.store(role, word);
    }

    /// The role is about to be given away; [`Command::Ready`] is the answer.
    fn hand_over(&self, token: u64) {
        let [_, last] = self.word.0.each_ref();
        self.store(last, token);
    }

    fn store(&self, cell: &AtomicU64, word: u64) {
        cell.store(word, Ordering::Release);
        // Where there is no room, it rings already.
        let _ = self.bell.send(&[1]);
    }
}

impl RoleWord {
    /// What was set last; `None`: nothing yet.
    pub fn get(&self) -> Option<Option<u64>> {
        let [role, _] = self.0.each_ref();
        match role.load(Ordering::Acquire) {
            UNKNOWN => None,
            word => Some((word & 1 == 1).then_some(word >> 1)),
        }
    }

    /// The last hand-over; 0: none yet.
    pub fn hand_over(&self) -> u64 {
        let [_, token] = self.0.each_ref();
        token.load(Ordering::Acquire)
    }
}

/// Commands as the elector takes them.
pub struct Inbox {
    commands: Receiver<Command>,
    waker: Waker,
}

/// The two ends of the queue of commands.
pub fn channel() -> io::Result<(Handle, Inbox)> {
    let waker = Waker::new()?;
    let (sender, commands) = mpsc::sync_channel(COMMANDS);
    Ok((Handle { commands: sender, waker: waker.clone() }, Inbox { commands, waker }))
}

/// Starts the elector in a thread of its own. When it has come to an end after [`Command::Shutdown`], or failed, `ended` is
/// told.
pub fn start(
    inbox: Inbox,
    surroundings: Surroundings,
    ended: oneshot::Sender<io::Result<()>>,
) -> io::Result<thread::JoinHandle<()>> {
    let run = move || {
        let first = realtime::run_first(PRIORITY);
        let done = Driver::new(inbox, surroundings, first.err()).and_then(Driver::run);
        // Nobody may be listening any more.
        let _ = ended.send(done);
    };
    thread::Builder::new().name("elector".into()).spawn(run)
}

/// Writes records to disk in a thread of its own. While one is being written only the latest of the others is kept.
#[derive(Clone)]
pub struct Recorder(Arc<(Mutex<Option<Record>>, Condvar)>);

impl Recorder {
    /// Starts the thread. `write` blocks until the record is on disk.
    pub fn start(
        elector: Handle,
        write: impl Fn(&Record) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let slot = Arc::new((Mutex::new(None), Condvar::new()));
        let recorder = Self(Arc::clone(&slot));
        let run = move || {
            // It waits for the disk, and nobody for it.
            if let Err(error) = realtime::run_in_turn() {
                tracing::warn!(%error, "the recorder keeps its real-time priority");
            }
            loop {
                let (wanted, called) = &*slot;
                let mut guard = wanted.lock().unwrap_or_else(PoisonError::into_inner);
                let record: Record = loop {
                    match guard.take() {
                        Some(record) => break record,
                        None => guard = called.wait(guard).unwrap_or_else(PoisonError::into_inner),
                    }
                };
                drop(guard);
                match write(&record) {
                    // The queue has room for far more than the one record that can be under way.
                    Ok(()) => drop(elector.send(Command::Persisted(record))),
                    Err(error) => tracing::error!(%error, "the epoch of the role cannot be written to disk"),
                }
            }
        };
        thread::Builder::new().name("recorder".into()).spawn(run)?;
        Ok(recorder)
    }

    /// Has `record` written, soon. Never waits for the disk.
    pub fn record(&self, record: Record) {
        let (wanted, called) = &*self.0;
        *wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
        called.notify_one();
    }
}
