//! The replication of connections: one thread between the kernel's connection table and the other node.
//!
//! ```text
//!  elector, main ──Command──▶ queue ─┐                       ┌─ Report ──▶ whoever asked for it
//!                                    ▼                       │
//!  active:   Events ───▶ ┌───────────────────────┐ ──▶ Line (UDP, one socket a path, sealed) ══▶ other node
//!            Dump ─────▶ │ one loop, never waits │
//!  standby:  Writer ◀─── └───────────────────────┘ ◀── Line
//! ```
//!
//! What is sent when, and how both sides find out what they lack, is decided by [`rempart_pair::journal`]; here its
//! questions are carried to the kernel and its datagrams to the other node. The thread's priority is above that of
//! ordinary programs, below that of the elector.
//!
//! | file | owns |
//! | --- | --- |
//! | `driver` | the loop, and the change of roles |
//! | `active`, `standby` | one machine each, with its hands |
//! | `line` | sockets, keys, which path |
//! | `walk` | reading the whole table in steps; what is nobody else's business is left out |
//! | `settle` | true timeouts after a take-over |
//! | `pace` | reading many at once while there are many |

mod active;
mod driver;
mod line;
mod pace;
mod settle;
mod standby;
mod walk;

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use rempart_bus::ha::JournalStatus;
use rempart_pair::NodeIndex;
use rempart_pair::journal::{Notice, Phase, Status};
use rempart_pair::keys::PairSecret;
use rempart_system::flowsync::Tally;
use rempart_system::realtime::Waker;

/// Commands on their way. The elector has a role, a flush and the states of sixteen paths to tell at most.
const COMMANDS: usize = 64;
/// Heartbeats on their way to be carried. They have a queue of their own and are lost when it is full: a journal that stood
/// still for a second would otherwise miss its role.
const CARRIED: usize = 16;

/// The kernel's queue of events: at 1 KiB an event, most of a second of 80,000 in a second.
const EVENT_BYTES: usize = 64 << 20;

/// What a journal is made with.
pub struct Config {
    /// What the two nodes share.
    pub secret: PairSecret,
    /// Which of the two this node is.
    pub index: NodeIndex,
    /// The ways to the other node and whose connections stay here.
    pub surroundings: Surroundings,
    /// Called from the journal's thread; it must not wait for anything.
    pub report: Box<dyn Fn(Report) + Send>,
}

/// What the document says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    /// The ways to the other node, in the order in which they are preferred.
    pub paths: Vec<Way>,
    /// The addresses of this node and of the other one that do not move with the role: connections from or to one of
    /// them are not replicated.
    pub own: Vec<IpAddr>,
}

/// A way to the other node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// The kernel's device.
    pub device: String,
    /// Our address on it.
    pub local: IpAddr,
    /// The other node's.
    pub remote: IpAddr,
}

/// What the other threads want of the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// The role of this node.
    Role {
        /// It is the active one.
        active: bool,
    },
    /// Whether a path works both ways. The first that does is used; without any, the one that was used last.
    Path {
        /// Its place in [`Surroundings::paths`].
        path: usize,
        /// Both ways.
        up: bool,
    },
    /// [`Report::Flushed`] is to tell when everything that is known now is in the other kernel.
    Flush(u64),
    /// The document has changed.
    Surroundings(Surroundings),
}

/// What the journal tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// Answers [`Command::Flush`].
    Flushed {
        /// The same number.
        token: u64,
        /// Whether everything is there. If not, there is no receiver.
        complete: bool,
    },
    /// Whether the connections here are those of the active node, and how many changes were sent or taken; when
    /// either has changed, ten times a second at most.
    Synced(bool, u64),
    /// What [`Handle::carry`] of the other node brought; nobody has proved it yet.
    Carried {
        /// The path that it came by.
        path: usize,
        /// The datagram.
        datagram: Box<[u8]>,
    },
    /// For the log.
    Notice(Notice),
    /// Something does not work; it is tried again.
    Trouble(String),
}

/// How the journal stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// What this node does.
    pub direction: Direction,
    /// The machine's numbers.
    pub status: Status,
    /// What the kernel of a standby was asked.
    pub tally: Tally,
    /// When both tables were last found equal.
    pub synced: Option<SystemTime>,
    /// The path in use.
    pub path: usize,
    /// Datagrams refused: forged, replayed, of another version.
    pub refused_datagrams: u64,
    /// Events that could not be understood.
    pub unread_events: u64,
}

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Neither: it has no role yet.
    #[default]
    Neither,
    /// It is the active one.
    Sending,
    /// It is the standby.
    Receiving,
}

/// The journal's thread. Ends with this value.
pub struct Journal {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// How other threads reach the journal. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: SyncSender<Order>,
    carried: SyncSender<Box<[u8]>>,
    waker: Waker,
    snapshot: Arc<Mutex<Snapshot>>,
}

enum Order {
    Command(Command),
    End,
}

struct Inbox {
    orders: Receiver<Order>,
    carried: Receiver<Box<[u8]>>,
    waker: Waker,
    snapshot: Arc<Mutex<Snapshot>>,
}

impl Journal {
    /// Starts the thread, in the network namespace of the caller. It does nothing until it is told a role.
    pub fn start(config: Config) -> io::Result<Self> {
        Self::start_with(config, EVENT_BYTES)
    }

    /// The same with another queue of events in the kernel, in bytes.
    pub fn start_with(config: Config, event_bytes: usize) -> io::Result<Self> {
        let (handle, inbox) = mailbox()?;
        let driver = driver::Driver::new(config, event_bytes, inbox)?;
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || driver.run())?;
        Ok(Self { handle, thread: Some(thread) })
    }

    /// The way to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

fn mailbox() -> io::Result<(Handle, Inbox)> {
    let (commands, orders) = sync_channel(COMMANDS);
    let (carry, carried) = sync_channel(CARRIED);
    let waker = Waker::new()?;
    let snapshot = Arc::new(Mutex::new(Snapshot::default()));
    let inbox = Inbox { orders, carried, waker: waker.clone(), snapshot: Arc::clone(&snapshot) };
    Ok((Handle { commands, carried: carry, waker, snapshot }, inbox))
}

impl Drop for Journal {
    fn drop(&mut self) {
        // The queue may be full for a moment; its reader never waits for us.
        while self.handle.commands.try_send(Order::End).is_err() {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                break;
            }
            std::thread::yield_now();
        }
        self.handle.waker.wake();
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Handle {
    /// Hands over a command without waiting; false when too many wait or the thread has ended.
    pub fn tell(&self, command: Command) -> bool {
        let told = self.commands.try_send(Order::Command(command)).is_ok();
        self.waker.wake();
        told
    }

    /// Hands over a sealed heartbeat, to go by the journal's sockets too, over every path: whatever keeps heartbeats from the
    /// other node, a filter or a fault, need not keep this. It is lost when too many wait.
    pub fn carry(&self, heartbeat: Box<[u8]>) {
        if self.carried.try_send(heartbeat).is_ok() {
            self.waker.wake();
        }
    }

    /// How it stood at most a tenth of a second ago.
    pub fn snapshot(&self) -> Snapshot {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// As it travels over the bus.
    pub fn document(&self) -> JournalStatus {
        let synced = self.synced.and_then(|time| jiff::Timestamp::try_from(time).ok());
        JournalStatus {
            state: match (self.direction, self.status.phase) {
                (Direction::Neither, _) => "off",
                (_, Phase::Loading | Phase::Bulk) => "bulk",
                (_, Phase::Waiting) => "waiting",
                (_, Phase::Repair) => "repair",
                (_, Phase::Live) => "live",
            }
            .to_owned(),
            direction: match self.direction {
                Direction::Neither => "",
                Direction::Sending => "sending",
                Direction::Receiving => "receiving",
            }
            .to_owned(),
            entries: self.status.entries,
            position: self.status.position,
            backlog: self.status.backlog,
            lag_us: self.status.lag_us,
            overruns: self.status.overruns,
            resent: self.status.resent,
            repairs: self.status.repairs,
            refused: self.tally.refused,
            synced: synced.map(|time| format!("{time:.0}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_that_nobody_carries_keep_no_command_away() {
        // A journal that does not read for ten seconds while every heartbeat is to be carried; its role arrives all the same.
        let (handle, inbox) = mailbox().expect("a mailbox");
        (0..1000).for_each(|_| handle.carry(Box::default()));
        assert!(handle.tell(Command::Role { active: true }));
        assert!(matches!(inbox.orders.try_recv(), Ok(Order::Command(Command::Role { active: true }))));
        assert_eq!(inbox.carried.try_iter().count(), CARRIED);
    }
}
