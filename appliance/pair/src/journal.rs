//! The journal: what one node's kernel holds, kept equal in the other's, entry by entry as it changes.
//!
//! Owns what was sent, what was acknowledged, and how the two sides find out what differs. Refuses to own the clock,
//! sockets, keys, and what an entry means: an entry is a [`Key`] and at most [`MAX_ENTRY`] bytes.
//!
//! ```text
//!   active                                                                        standby
//!   kernel ─events─▶ put, remove ┐                                     ┌ Change ─▶ kernel
//!   kernel ─dump───▶ dumped ─────┤  Sender ══ Data 1, 2, 3 … ═══════▶ Receiver
//!                                ┘         ◀═ Report (acknowledged) ══ ┘ ◀── what the kernel holds at the start
//! ```
//!
//! **The kernels are the store.** Of an entry each side keeps the key and a 64-bit fingerprint. Bytes exist only while
//! they wait or are under way; what must be sent once more is read from the kernel again ([`Dump`]).
//!
//! **Nothing is silently skipped.** Datagrams are numbered, acknowledged one by one once they are *in the other kernel*,
//! and sent again. Whatever cannot be settled that way is settled by comparison: the table of each side is summed up in
//! [`BUCKETS`] digests, and an entry that is in one table and not in the other makes a digest differ. Where does a
//! difference come from? A peer that was away for long, a program that was killed: in each case the sender just writes
//! into its table what it would have sent, and the comparison that follows finds it. Only the
//! buckets that differ are sent again; the receiver then removes from these what was not sent. A bulk copy is the same
//! with an empty receiver.
//!
//! An overrun of the event socket, or a queue that was full, is another matter: the sender's table does not say what its
//! kernel holds, but still what the receiver has. The whole kernel is dumped, and what differs from the table is sent.
//!
//! **Order.** The datagrams of a stream are taken in their order. An entry that changes again before it was sent goes
//! out once, as it is then; a removal replaces what waits for the same key and is never dropped for room.
//!
//! **Beginnings.** A receiver has an incarnation, random at its start, and an invitation that counts up with each stream
//! that it takes up; a sender offers a stream to exactly that invitation, and sends only after the receiver has named
//! the stream. So whoever of the two is started anew is noticed, and a recorded datagram opens nothing.

mod flight;
mod queue;
mod receiver;
mod sender;
mod slots;
mod table;
pub mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use receiver::{Change, Receiver, ReceiverConfig};
pub use sender::{Sender, SenderConfig};

/// By what both nodes know an entry. It must be a keyed hash, evenly spread: tables and buckets are made from its
/// bits, and whoever could choose them could make both slow.
pub type Key = [u8; 16];

/// Longest entry, in bytes.
pub const MAX_ENTRY: usize = 512;
/// Into how many parts a table is divided for comparison: 32 KiB of digests, and 64 entries in a bucket of a table of
/// 260,000, so that one difference costs about 10 KB.
pub const BUCKETS: usize = 4096;
/// Longest datagram before it is sealed, in bytes: sealed it has 1,400, and passes through any tunnel or Ethernet.
pub const MAX_PLAINTEXT: usize = 1_400 - crate::keys::OVERHEAD;

/// Sums up the bytes of an entry without what differs by nature between two kernels. Both nodes must use the same.
#[derive(Clone)]
pub struct Fingerprint(Arc<Hash>);

type Hash = dyn Fn(&[u8]) -> u64 + Send + Sync;

impl Fingerprint {
    /// From a function.
    pub fn new(of: impl Fn(&[u8]) -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(of))
    }

    fn of(&self, bytes: &[u8]) -> u64 {
        (self.0)(bytes)
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Fingerprint")
    }
}

/// How soon a change must be at the other node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Urgency {
    /// At once: somebody relies on it.
    Now,
    /// Within [`SOON`](crate::journal::SOON): it will probably change again (TCP that is closing).
    Soon,
    /// After [`HOLD`](crate::journal::HOLD), if it is still there by then: new and unanswered, as scans are.
    Hold,
}

/// How long a change of [`Urgency::Soon`] may wait.
pub const SOON: std::time::Duration = std::time::Duration::from_millis(50);
/// How long an entry of [`Urgency::Hold`] waits. Most answers come within it, and replace it.
pub const HOLD: std::time::Duration = std::time::Duration::from_millis(100);

/// What the machines want from their driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Sender: dump the kernel and hand in each entry that [`Sender::wants`] to [`Sender::dumped`], then call
    /// [`Sender::dump_ended`]. Comes again only after that.
    Dump,
    /// Receiver: dump the kernel and hand in each entry to [`Receiver::loaded`], then call [`Receiver::load_ended`].
    Load,
    /// Receiver: dump the kernel, remove each entry that [`Receiver::is_doomed`], then call [`Receiver::sweep_ended`].
    Sweep,
    /// Sender: everything that was known when `token` was given is in the other kernel. Not `complete`: there is no
    /// receiver.
    Flushed {
        /// As given to [`Sender::flush`].
        token: u64,
        /// Whether it is really there.
        complete: bool,
    },
    /// For people.
    Notice(Notice),
}

/// What people may want to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The other side is there, and a stream has begun.
    Joined,
    /// Nothing was heard of the other side for a second.
    Silent,
    /// The other side is given up: it will be compared when it comes back.
    Left,
    /// The tables were compared and were equal.
    Equal,
    /// The tables were compared; so many buckets differ and are sent again.
    Differ {
        /// Buckets.
        buckets: u32,
    },
    /// The event socket has lost events.
    Overrun,
}

/// How it stands, in numbers. Those that count things that happened only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// What the machine is at.
    pub phase: Phase,
    /// Entries in the table.
    pub entries: u64,
    /// Changes sent or taken.
    pub position: u64,
    /// Changes that wait to be sent or acknowledged.
    pub backlog: u64,
    /// Age of the oldest of those that need not wait any longer, in microseconds.
    pub lag_us: u64,
    /// Bytes sent or taken, before sealing.
    pub bytes: u64,
    /// Datagrams sent or taken.
    pub datagrams: u64,
    /// Datagrams sent again, or that came twice.
    pub resent: u64,
    /// Overruns of the event socket.
    pub overruns: u64,
    /// Comparisons of both tables.
    pub comparisons: u64,
    /// Times that a difference was sent again.
    pub repairs: u64,
    /// Entries sent again for that, or for an overrun.
    pub repaired: u64,
    /// Changes that were overtaken by another of the same entry before they were sent.
    pub coalesced: u64,
    /// Changes that told nothing new.
    pub unchanged: u64,
    /// Entries that came and went before they were sent.
    pub ephemeral: u64,
    /// Changes that found the queue full and were left to the next audit.
    pub deferred: u64,
    /// Entries longer than [`MAX_ENTRY`]: not replicated.
    pub oversized: u64,
    /// Datagrams that could not be read or did not fit; nothing came of them.
    pub ignored: u64,
    /// Streams begun.
    pub streams: u64,
}

/// What a machine is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// It reads what its own kernel holds.
    #[default]
    Loading,
    /// Nobody is at the other end.
    Waiting,
    /// The tables are being compared for the first time, or all that differs is on its way.
    Bulk,
    /// A later difference is being sent again.
    Repair,
    /// Both are equal but for what is under way.
    Live,
}
