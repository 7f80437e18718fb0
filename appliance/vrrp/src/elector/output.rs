//! What an elector tells the world.

use std::net::IpAddr;

use crate::stats::Counter;
use crate::types::IpHeader;
use crate::wire::DecodeError;

/// States of RFC 9568 §6.4. CARP calls them INIT, BACKUP and MASTER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// Waits for startup.
    Initialize,
    /// Watches the active router.
    Backup,
    /// Has the addresses.
    Active,
}

/// Why the state changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// Initialize → Backup: the operator started it.
    Startup,
    /// Initialize → Active: started as the owner of the addresses.
    Owner,
    /// Backup → Active: nothing was heard for the active router's dead time.
    PeerSilent,
    /// Backup → Active: the active router said that it stops.
    PeerResigned,
    /// Backup → Active: the active router has a lower rank.
    Preempted,
    /// By [`super::Elector::claim`] or [`super::Elector::resign`].
    Commanded,
    /// Active → Backup: another active router has the higher rank.
    Outranked,
    /// To Initialize: the operator stopped it.
    Shutdown,
}

/// The state has changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RoleChange {
    /// Before.
    pub from: State,
    /// Since now.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// Whether packets to the virtual addresses are to be accepted: active, and owner or `Accept_Mode`. Neighbour
    /// discovery must work regardless of it (RFC 9568 §6.1).
    pub accept: bool,
}

/// A packet to send as IP protocol 112 from the virtual router's MAC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Source, destination and time to live.
    pub header: IpHeader,
    /// What follows the IP header.
    pub payload: Vec<u8>,
}

/// Which announcement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Announcement {
    /// At take-over, or after a rival was heard.
    First,
    /// A repeat soon after.
    Repeat,
    /// The regular reminder.
    Refresh,
}

/// What the driver is to do, in the order given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Bring the addresses up or down.
    Role(RoleChange),
    /// Send gratuitous ARPs (both forms) and unsolicited neighbour advertisements for every virtual address.
    Announce(Announcement),
    /// Read the receive queue until it is empty, then call [`super::Elector::handle_drained`]. Before anybody is
    /// declared dead, what he has already sent is read.
    Drain,
    /// The active router is silent, but claiming is [`super::Claims::Held`]. The machine waits for the permission.
    Overdue,
}

/// Why a packet changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The bytes are at fault.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// For another virtual router.
    #[error("for virtual router {0}")]
    Vrid(u8),
    /// Our own packet has come back.
    #[error("our own packet from {0}")]
    Echo(IpAddr),
    /// Nobody can have that address.
    #[error("impossible source {0}")]
    Source(IpAddr),
    /// Sent to something that is neither the group nor us.
    #[error("destination {0} is not ours")]
    Destination(IpAddr),
    /// Not in the list of unicast peers.
    #[error("{0} is not a listed peer")]
    Stranger(IpAddr),
    /// VRRPv2 routers must have the same interval (RFC 3768 §7.1).
    #[error("interval {found} s, ours is {ours} s")]
    Interval {
        /// As received.
        found: u8,
        /// As configured.
        ours: u8,
    },
    /// VRRPv2 routers must have the same authentication type.
    #[error("authentication type {found}, ours is {ours}")]
    AuthMismatch {
        /// As received.
        found: u8,
        /// As configured.
        ours: u8,
    },
    /// Wrong password, or (CARP) other addresses, or a forgery.
    #[error("authentication failed: another password, other virtual addresses, or forged")]
    AuthFailed,
    /// A CARP packet that was there before.
    #[error("replayed, counter {0:#018x}")]
    Replayed(u64),
}

impl Refusal {
    /// Where it is counted.
    pub fn counter(&self) -> Counter {
        match self {
            Self::Decode(error) => Counter::from(error),
            Self::Vrid(_) => Counter::Vrid,
            Self::Echo(_) | Self::Source(_) | Self::Destination(_) | Self::Stranger(_) => Counter::Stranger,
            Self::Interval { .. } => Counter::Interval,
            Self::AuthMismatch { .. } => Counter::AuthMismatch,
            Self::AuthFailed => Counter::AuthFailed,
            Self::Replayed(_) => Counter::Replay,
        }
    }
}
