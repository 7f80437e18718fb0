//! What both nodes hold in memory: VPN sessions, people, keys of the server. The active node owns it, the other has a copy.
//!
//! Owns the map on both sides, the way of a change to the other node and the moment at which it is there (*output commit*:
//! what depends on a change may leave this node only then), who has the newer map after a restart, and the news of
//! take-over epochs that every introduction carries. Refuses to own who is active (the elector says so), what the values
//! mean, how an epoch is drawn and stored, and the wire: messages may be lost, late, repeated and out of order.
//!
//! ```text
//!   owner                                                            follower
//!   put ─▶ map ─▶ fast lane ──┐                                  ┌─▶ map ─▶ Changed
//!          large values ──────┼─▶ Data 1, 2, 3, … ──▶ in order ──┤
//!          the whole map ─────┘     64 at most                   └─▶ Ack: everything up to here is in the map
//!   Committed ◀────────────────────────────────────────── Ack
//! ```
//!
//! **Streams.** A follower invites; the owner answers an invitation with a stream that begins with its *fence*, carries the
//! whole map in the slow lane and each change in the fast one, which comes first in every message. What a stream did not
//! confirm by its end is not in the owner's map and goes. A message belongs to the two starts of the programs and to the
//! invitation, so nothing that an old active node has said counts after a take-over: an owner invites nobody, and a
//! follower's next invitation is another one. The link is made of QUIC streams, which lose and overtake only when one replaces
//! another; what is missing then is said to be missing and sent again.
//!
//! **Fence**: role epoch, term, start of the program. Rises with each reign. A follower takes no map with a lower fence than
//! its own, except that the elector's word counts for more: the owner whom a *follower* shows a higher fence rises above it.
//!
//! **Taking over.** Who becomes active with a complete copy owns it at once. Who has none (the program was killed, a copy was
//! in the middle) and sees a follower with something newer has it sent back first, within [`RESTORE`]; what comes from
//! a file counts as possibly old.
//!
//! **Without the other node** a change is committed at once, and so is what waits for more than [`LATE`] or for a peer that
//! has acknowledged nothing for so long: an emergency call must not wait for the copy of itself. It is counted, and the copy
//! follows.

mod machine;
mod map;
mod receiver;
mod sender;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

pub use machine::{How, Output, Role, Shared, Start, State, Status};
pub use map::{Limits, Refused};
pub use wire::MESSAGE;

/// The longest name of an entry, in bytes: a user name is at most this.
pub const MAX_NAME: usize = 255;
/// Values up to this go in one piece and come first; longer ones go in parts and keep nobody waiting. A session with all its
/// keys is a third of it.
pub const SMALL: usize = 16 << 10;
/// Messages under way: 2 MiB, more than a cable of 1 Gbit/s holds in 10 ms there and back.
pub const WINDOW: usize = 64;
/// When what was not acknowledged is sent again. The link loses only when it breaks, and then says so itself.
pub const RESEND: Duration = Duration::from_millis(200);
/// How long anything waits for the other node's acknowledgement.
pub const LATE: Duration = Duration::from_secs(1);
/// How often a node introduces itself anew: an introduction that was lost is made up for.
pub const HELLO: Duration = Duration::from_secs(1);
/// How long a node that needs a map waits to be told whether there is a link, and, where there is one, for the other node to
/// introduce itself: then its program is there, and answers within milliseconds.
pub const ASK: Duration = Duration::from_secs(1);
/// A map on its way back that does not get on for so long is given up.
pub const STALL: Duration = Duration::from_secs(1);
/// The longest that a map may take to come back: 32 MiB over a cable of 100 Mbit/s take three seconds.
pub const RESTORE: Duration = Duration::from_secs(5);

/// A value: shared between the map and whoever is told, wiped with the last of them.
pub type Value = Arc<Zeroizing<Vec<u8>>>;

/// What a map held, as it comes from a file.
pub type Entries = Vec<(Key, Zeroizing<Vec<u8>>)>;

/// What an entry is known by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// The kind, a place in [`Limits::kinds`].
    pub kind: u8,
    /// The name within its kind, [`MAX_NAME`] at most.
    pub name: Vec<u8>,
}

/// Whose word counts: the higher fence's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Fence {
    /// The elector's epoch.
    pub role: u64,
    /// Counts reigns: one more than any that was heard of.
    pub term: u64,
    /// The start of the owner's program, so that no two reigns have one fence.
    pub owner: u64,
}

/// How far a map is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Held {
    /// Whose map it is.
    pub fence: Fence,
    /// Every change of the owner up to this one is in it.
    pub position: u64,
    /// It is the whole map.
    pub complete: bool,
}

impl Held {
    /// Whether this, at a follower, is to be preferred to what a node has that is about to own. `sure`: that is complete
    /// and was in memory all the time, so what it lacks of its own fence was never committed.
    fn beats(&self, own: Option<&Self>, sure: bool) -> bool {
        match own {
            None => true,
            Some(own) if sure => self.complete && self.fence > own.fence,
            Some(own) => (self.fence, self.position) >= (own.fence, own.position),
        }
    }
}
