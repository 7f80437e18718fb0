//! What both nodes hold: the driver around `rempart_pair::shared`, and who has the right to packet ids.
//!
//! Owns the thread of the machine, the line to `rempart-ha` (who is active, whether the other node's program is there, messages to
//! and from it), the record of take-over epochs on disk and the copy of the sessions on tmpfs. Does not know what a value
//! means, and draws no conclusion from it.
//!
//! ```text
//!   server, people ── put, remove ─▶ inbox ─┐                            ┌─▶ tell: Committed, Active, Standby, Put …
//!   rempart-ha ── role, link, messages ─────┼─▶ machine (one thread) ────┼─▶ rempart-ha: messages
//!   deadlines ──────────────────────────────┘                            ├─▶ DIR/epoch, synced, before Active
//!                                                                        └─▶ RUN/sessions, lazily
//! ```
//!
//! **Epochs.** Becoming active, and each start of an active program, draws a new one from the record on disk and from all
//! that was heard: every message of the other node carries the highest it knows, before any key that was made under it. So a
//! program that was killed has another epoch than the one whose sessions it reads back, and other ranges of packet ids under
//! their keys: to `openvpn::data::epoch` it is a taker like any other. A record that is lost or damaged begins a new store,
//! for which old keys give no range. Two programs on one record would draw the same epoch: a lock keeps the second one out.
//!
//! **Planned moves.** `rempart-ha` says that the role is about to go; the machine sees to it that the other node has everything
//! and draws its epoch, and everybody there makes ready, before `rempart-ha` is told that it may. What was made ready in vain
//! is given up after a while, and with it the epoch: a key has ranges for fifteen of them.
//!
//! **Committed.** For small values, sessions among them, the word stands for all small ones up to its ticket; for a value of
//! more than [`SMALL`] bytes for everything up to its ticket. One who waits only for a large value waits for its own
//! ticket.
//!
//! **Alone.** A single box (no relay) is always active. While `rempart-ha` is away the role stays what it was, and the other node
//! counts as away.

mod disk;
mod driver;
mod line;
mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rempart_openvpn::data::epoch::Parity;
use rempart_pair::shared::Key;
use tokio::sync::Notify;
use tracing::error;
use zeroize::Zeroizing;

use super::seam::{FromReplica, Kind, Replica, ReplicaTicket};

pub use disk::StartError;
pub use rempart_pair::shared::SMALL;
pub use status::{ReplicaState, ReplicaStatus};

/// Changes that wait for the thread, which takes them all at once: all sessions twice over.
const MAX_WAITING: usize = 32 << 10;

/// What the replica is made with.
pub struct Config {
    /// `DIR/vpn`: the record of take-over epochs.
    pub folder: PathBuf,
    /// On tmpfs, for this program alone: the copy of the sessions.
    pub run: PathBuf,
    /// Where `rempart-ha` listens; `None` for a single box.
    pub relay: Option<PathBuf>,
    /// The node that the document names first draws even epochs.
    pub parity: Parity,
    /// Is told what there is to tell, on the replica's thread: to pass it on, without waiting.
    pub tell: Arc<dyn Fn(FromReplica) + Send + Sync>,
}

/// The replica, for everybody else. It ends when the last of these goes.
pub struct Handle {
    inbox: Arc<Inbox>,
}

/// What the others want of the thread.
struct Inbox {
    wanted: Mutex<Wanted>,
    called: Notify,
    status: Mutex<ReplicaStatus>,
}

#[derive(Default)]
struct Wanted {
    tickets: u64,
    changes: VecDeque<Change>,
    /// A move for which everything is ready.
    prepared: Option<u64>,
    /// Another relay, or none.
    relay: Option<Option<PathBuf>>,
    /// Changes that found no room.
    refused: u64,
    over: bool,
}

enum Change {
    Put(Key, Zeroizing<Vec<u8>>, u64),
    Remove(Key),
    /// Found no room: committed in its turn, and nowhere kept.
    Refused(u64),
}

/// Starts the replica in a thread of its own. It is a follower until the elector, or the lack of one, says otherwise.
pub fn start(config: Config) -> Result<Arc<Handle>, StartError> {
    let inbox = Arc::new(Inbox { wanted: Mutex::default(), called: Notify::new(), status: Mutex::default() });
    let driver = driver::Driver::new(config, Arc::clone(&inbox))?;
    let run = move || {
        if let Err(error) = driver.run() {
            error!(%error, "the replica has ended: sessions are not replicated, and no take-over is possible");
        }
    };
    std::thread::Builder::new().name("replica".into()).spawn(run).map_err(StartError::Thread)?;
    Ok(Arc::new(Handle { inbox }))
}

impl Handle {
    /// There is a pair now, or none any more.
    pub fn set_relay(&self, relay: Option<PathBuf>) {
        self.inbox.change(|wanted| wanted.relay = Some(relay));
    }

    /// What there is to show.
    pub fn status(&self) -> ReplicaStatus {
        self.inbox.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Replica for Handle {
    fn put(&self, kind: Kind, key: &[u8], value: Zeroizing<Vec<u8>>) -> ReplicaTicket {
        let key = Key { kind: code(kind), name: key.to_vec() };
        self.inbox.change(|wanted| {
            wanted.tickets += 1;
            let ticket = wanted.tickets;
            wanted.push(Change::Put(key, value, ticket), Some(ticket));
            ReplicaTicket(ticket)
        })
    }

    fn remove(&self, kind: Kind, key: &[u8]) {
        let key = Key { kind: code(kind), name: key.to_vec() };
        self.inbox.change(|wanted| wanted.push(Change::Remove(key), None));
    }

    fn prepared(&self, number: u64) {
        self.inbox.change(|wanted| wanted.prepared = Some(number));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inbox.change(|wanted| wanted.over = true);
    }
}

impl Inbox {
    fn change<T>(&self, change: impl FnOnce(&mut Wanted) -> T) -> T {
        let done = change(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        self.called.notify_one();
        done
    }
}

impl Wanted {
    fn push(&mut self, change: Change, ticket: Option<u64>) {
        if self.changes.len() < MAX_WAITING {
            return self.changes.push_back(change);
        }
        // The thread stands still; whoever waits for a ticket is not to wait for ever once it goes on.
        self.refused += 1;
        match (ticket, self.changes.back_mut()) {
            (Some(ticket), Some(Change::Refused(last))) => *last = ticket,
            (Some(ticket), _) => self.changes.push_back(Change::Refused(ticket)),
            (None, _) => {}
        }
    }
}

/// As kinds are numbered on the wire.
fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Session => 0,
        Kind::Store => 1,
        Kind::UsedCode => 2,
        Kind::Secret => 3,
        Kind::Admission => 4,
        Kind::Wireguard => 5,
        Kind::WireguardKey => 6,
    }
}

fn kind(code: u8) -> Option<Kind> {
    const KINDS: [Kind; 7] = [
        Kind::Session,
        Kind::Store,
        Kind::UsedCode,
        Kind::Secret,
        Kind::Admission,
        Kind::Wireguard,
        Kind::WireguardKey,
    ];
    KINDS.get(usize::from(code)).copied()
}
