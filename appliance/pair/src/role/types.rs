//! What goes into the machine of a node and what comes out.

use std::time::{Duration, Instant};

use crate::NodeIndex;
use crate::heartbeat::{Heartbeat, MAX_PATHS, ProductVersion};

/// Interfaces that count for health. Heartbeats carry them as bits.
pub const MAX_MONITORS: usize = 32;

/// What a node is to the neighbours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Just started: listens, has no virtual address.
    Starting,
    /// Ready to take over.
    Standby,
    /// Has the virtual addresses.
    Active,
}

impl Role {
    /// The stable short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Active => "active",
        }
    }
}

/// Why a node has its role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Why {
    /// It was just started.
    Start,
    /// The program was restarted and the kernel still had this role.
    Resumed,
    /// Neither node was active, and this one is the better or the preferred one.
    Elected,
    /// Nothing was heard from the peer on any path.
    PeerSilent,
    /// The peer is being shut down, or stood down for a reason of its own.
    PeerYielded,
    /// The peer, active until now, could not serve as well as this node.
    PeerUnwell,
    /// This node, active until now, could not serve as well as the peer.
    Unwell,
    /// An operator asked for it.
    Command,
    /// Two were active; the other one's epoch is higher.
    Outranked,
    /// The preferred node took its role back.
    FailBack,
    /// The node was taken out of service.
    Maintenance,
    /// It is being shut down.
    Shutdown,
    /// No cable of it has a carrier.
    Isolated,
}

impl Why {
    /// The stable short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Resumed => "resumed",
            Self::Elected => "elected",
            Self::PeerSilent => "peer-silent",
            Self::PeerYielded => "peer-yielded",
            Self::PeerUnwell => "peer-unwell",
            Self::Unwell => "unwell",
            Self::Command => "command",
            Self::Outranked => "outranked",
            Self::FailBack => "fail-back",
            Self::Maintenance => "maintenance",
            Self::Shutdown => "shutdown",
            Self::Isolated => "isolated",
        }
    }
}

/// Why a role is handed over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Purpose {
    /// An operator said so.
    Command,
    /// The active node goes out of service.
    Maintenance,
    /// The active node's program or machine stops.
    Shutdown,
    /// To the preferred node.
    FailBack,
    /// The active node cannot serve as well as the other. Nothing is waited for.
    Unwell,
    /// Nobody is active, and the first node finds the second one better.
    Election,
}

impl Purpose {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Command => 1,
            Self::Maintenance => 2,
            Self::Shutdown => 3,
            Self::FailBack => 4,
            Self::Unwell => 5,
            Self::Election => 6,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Command),
            2 => Some(Self::Maintenance),
            3 => Some(Self::Shutdown),
            4 => Some(Self::FailBack),
            5 => Some(Self::Unwell),
            6 => Some(Self::Election),
            0 | 7.. => None,
        }
    }

    /// What the node that gives the role away says.
    pub(super) const fn why_giving(self) -> Why {
        match self {
            Self::Command => Why::Command,
            Self::Maintenance => Why::Maintenance,
            Self::Shutdown => Why::Shutdown,
            Self::FailBack => Why::FailBack,
            Self::Unwell => Why::Unwell,
            Self::Election => Why::Elected,
        }
    }

    /// What the node that takes the role says.
    pub(super) const fn why_taking(self) -> Why {
        match self {
            Self::Command => Why::Command,
            Self::Maintenance => Why::Maintenance,
            Self::Shutdown => Why::PeerYielded,
            Self::FailBack => Why::FailBack,
            Self::Unwell => Why::PeerUnwell,
            Self::Election => Why::Elected,
        }
    }
}

/// Whether the preferred (first) node takes its role back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum FailBack {
    /// Whoever is active stays so.
    #[default]
    Stay,
    /// The first node asks for it once it has been well and synced for this long.
    Preferred {
        /// How long.
        delay: Duration,
    },
}

/// What the document says about this node. May change while it runs: [`super::Node::reconfigure`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub index: NodeIndex,
    /// Time between two heartbeats; 10 ms unless the document says otherwise.
    pub interval: Duration,
    /// Paths to the peer, [`MAX_PATHS`] at most, the sync cable first.
    pub paths: usize,
    /// Interfaces that count for health, [`MAX_MONITORS`] at most.
    pub monitors: usize,
    /// Whether the preferred node takes its role back.
    pub failback: FailBack,
    /// This release.
    pub product: ProductVersion,
}

impl Config {
    /// Shorter intervals cannot be kept, longer ones are no detection.
    pub const INTERVALS: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(2)..=Duration::from_secs(10);

    pub(super) fn bounded(mut self) -> Self {
        self.paths = self.paths.min(MAX_PATHS);
        self.monitors = self.monitors.min(MAX_MONITORS);
        self.interval = self.interval.clamp(*Self::INTERVALS.start(), *Self::INTERVALS.end());
        self
    }
}

/// What is known when the program starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Start {
    /// What is on disk.
    pub record: Record,
    /// Whether the two nodes have exchanged keys.
    pub paired: bool,
    /// The kernel still has this node active (its virtual links are up): the program was restarted, the machine was not.
    pub active: bool,
}

/// What outlives the program and the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// No epoch up to this one may be claimed again after a restart. While the node is active: its epoch.
    pub epoch: u64,
    /// Out of service by the operator.
    pub maintenance: bool,
}

/// A link that has or has not a carrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// That of a path, by its place in the plan.
    Path(usize),
    /// That of an interface that counts for health, by its place in the plan.
    Monitor(usize),
}

/// A program whose death makes a node unfit. Whether a short absence counts is the driver's business: a daemon that is
/// just being restarted changes no role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Daemon {
    /// `rempartd`.
    Control,
    /// `rempart-vpn`.
    Vpn,
    /// The journal of this program.
    Journal,
    /// The virtual links could not be brought up.
    Links,
}

impl Daemon {
    /// All of them, in the order of their bits in [`super::Health::daemons_down`].
    pub const ALL: [Self; 4] = [Self::Control, Self::Vpn, Self::Journal, Self::Links];

    /// The stable short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Vpn => "vpn",
            Self::Journal => "journal",
            Self::Links => "links",
        }
    }
}

/// What the driver is to do, in the order given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Electors: `set_claims(Held)` when `held`, else `set_claims(Free)`: without a peer the plain protocol decides.
    HoldElectors {
        /// Whether the electors wait for [`Self::BecomeActive`] and [`Self::BecomeStandby`].
        held: bool,
    },
    /// Virtual links up with their addresses, neighbours told, electors claim. What is so already stays. After a restart
    /// ([`Why::Resumed`]) the virtual routers stay silent until [`Self::Announce`]: another node may have the role by now.
    BecomeActive {
        /// Why.
        why: Why,
        /// Of the role: it fences whatever else must not be done by two nodes.
        epoch: u64,
    },
    /// Electors resign, virtual links down. What is so already stays.
    BecomeStandby {
        /// Why.
        why: Why,
    },
    /// Tell the neighbours again: another node may have told them something else.
    Announce,
    /// Read all heartbeat sockets until they are empty, then call [`super::Node::handle_drained`].
    Drain,
    /// Have everything in the journal acknowledged, then call [`super::Node::handle_flushed`].
    FlushJournal {
        /// To be given back.
        token: u64,
    },
    /// Write this to disk (fsync), in another thread, then call [`super::Node::handle_persisted`].
    Persist(Record),
    /// Encode, seal and send this. The same round goes over each path by itself, with what concerns that path.
    Send {
        /// The path.
        path: usize,
        /// What to send.
        heartbeat: Heartbeat,
    },
    /// Something to tell people.
    Notice(Notice),
    /// After [`super::Node::shutdown`]: the role is with the peer, or nobody takes it. The program may end.
    Finished,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A path changed.
    Path {
        /// Which.
        path: usize,
        /// How it is now.
        state: PathState,
    },
    /// The peer is silent on all paths.
    PeerLost,
    /// The peer is heard, for the first time or again.
    PeerBack,
    /// The peer's program was started anew.
    PeerRestarted,
    /// The other node is active too; the one with the lower epoch steps down.
    TwoActives {
        /// Whether this one stays.
        stays: bool,
    },
    /// There were too many moves in short order: none for reasons of health or preference until then.
    Damped {
        /// Until when.
        until: Instant,
    },
    /// A hand-over was begun.
    HandOverBegun {
        /// Why.
        purpose: Purpose,
    },
    /// A hand-over is done: the peer is active.
    HandOverDone {
        /// Why.
        purpose: Purpose,
    },
    /// A hand-over failed; the role stays where it was.
    HandOverFailed {
        /// Why it had been begun.
        purpose: Purpose,
        /// What went wrong.
        failure: Failure,
    },
    /// This program was not run for so long. It does not count against the peer. Told once in ten seconds at most.
    Stalled {
        /// Time by which it woke late.
        late: Duration,
    },
}

/// Why a hand-over failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Failure {
    /// The journal was not flushed in time.
    #[error("the other node has not acknowledged all connections in time")]
    Flush,
    /// The peer did not declare itself ready in time.
    #[error("the other node did not get ready in time")]
    NotReady,
    /// The peer was granted the role and did not take it.
    #[error("the other node did not take the role")]
    NotTaken,
    /// The peer fell silent.
    #[error("the other node fell silent")]
    PeerLost,
    /// The peer became unfit.
    #[error("the other node has become unfit for the role")]
    PeerUnfit,
    /// The operator changed his mind.
    #[error("taken back by the operator")]
    Cancelled,
}

/// Why a command was refused. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum CommandRefused {
    /// There is no peer.
    #[error("this node is not paired")]
    NotPaired,
    /// It has just been started.
    #[error("this node is still starting")]
    Starting,
    /// It is being shut down.
    #[error("this node is being shut down")]
    Leaving,
    /// The peer is silent.
    #[error("the other node is not heard")]
    PeerAbsent,
    /// The peer is out of service, or worse off than this node.
    #[error("the other node is unfit for the role")]
    PeerUnfit,
    /// This node is out of service, or has no link.
    #[error("this node is unfit for the role")]
    Unfit,
    /// A hand-over is under way.
    #[error("a hand-over is under way")]
    Busy,
}

/// How a path is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PathState {
    /// Both hear each other.
    Up,
    /// We hear the peer, the peer does not hear us.
    OneWay,
    /// We hear nothing.
    Silent,
    /// Our own cable has no carrier.
    NoCarrier,
}

impl PathState {
    /// The stable short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::OneWay => "one-way",
            Self::Silent => "silent",
            Self::NoCarrier => "no-carrier",
        }
    }
}
