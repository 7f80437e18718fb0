//! The heartbeat: what each node says to the other a hundred times in a second on every path.
//!
//! Owns the type and its codec. Refuses to own the envelope ([`crate::keys`]) and what follows from a heartbeat
//! ([`crate::role`]). The layout, big-endian, [`LENGTH`] bytes:
//!
//! ```text
//!   0 layout 1 │  1 minor 1  │  2 index 1  │  3 role 1  │  4 intention 1 │  5 purpose 1 │  6 flags 1 │  7 zero
//!   8 beat 8                 │ 16 echoed beat 8         │ 24 held_us 4   │ 28 hears 2   │ 30 illness 2
//!  32 epoch 8                │ 40 highest epoch 8       │ 48 epoch of the intention 8
//!  56 links down 4           │ 60 gateways silent 4     │ 64 daemons down 2 │ 66 interval_ms 2 │ 68 revision 4
//!  72 lineage 8              │ 80 journal position 8    │ 88 seconds in role 4 │ 92 version 3 × 2 │ 98 heard 8
//! ```
//!
//! A node of the next release may send more: a minor number above ours and bytes after ours, which are ignored, as are
//! flags that we do not know. With our own minor number the length is exact and unknown flags are refused. Anything
//! that an older node could not ignore needs another layout number.

#[cfg(test)]
mod tests;

use std::time::Instant;

use crate::NodeIndex;
use crate::keys::{Authenticated, Endpoint, Refused};
use crate::role::{Health, Purpose, Role};

/// The layout that this program speaks.
pub const LAYOUT: u8 = 1;
/// Additions to the layout that this program knows.
pub const MINOR: u8 = 0;
/// A heartbeat in bytes.
pub const LENGTH: usize = 106;
/// The longest heartbeat of a later minor version that is looked at, in bytes: with the envelope and the headers of
/// IPv6 it still fits the smallest IPv6 packet (1280).
pub const MAX_LENGTH: usize = 1024;
/// Paths between two nodes: more than the sixteenth cable tells nothing new.
pub const MAX_PATHS: usize = 16;

const GOING: u8 = 1;
const MAINTENANCE: u8 = 2;
const SYNCED: u8 = 4;
const PROBE: u8 = 8;
const FLAGS: u8 = GOING | MAINTENANCE | SYNCED | PROBE;

/// What a node says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Who speaks.
    pub index: NodeIndex,
    /// Its role now.
    pub role: Role,
    /// What it is about to do, or asks for.
    pub intention: Intention,
    /// It is being shut down: when it falls silent, nobody needs to wait.
    pub going: bool,
    /// Out of service by the operator: it takes no role.
    pub maintenance: bool,
    /// Its connections are those of the active node, as far as it knows. Of an active node: it has not just claimed with an
    /// incomplete copy.
    pub synced: bool,
    /// It hears nothing and asks for an answer at once.
    pub probe: bool,
    /// Time between two of its heartbeats, in milliseconds.
    pub interval_ms: u16,
    /// Number of this round of heartbeats in its session, from 1, the same on all paths.
    pub beat: u64,
    /// The newest round of the receiver that came over this path.
    pub echo: Option<Echo>,
    /// The newest round of the receiver that came over any path; 0: none yet.
    pub heard: u64,
    /// Over which paths it hears the receiver.
    pub hears: Paths,
    /// What makes it unfit.
    pub health: Health,
    /// While active the epoch of its role, else the one it had when it was active last; 0: never since its start.
    pub epoch: u64,
    /// The highest epoch that it has heard of or may have used.
    pub highest: u64,
    /// The revision of the configuration in force there, by its own numbering; 0: none.
    pub revision: u32,
    /// The first bytes of the digest that stands for the history of that revision.
    pub lineage: [u8; 8],
    /// How far its journal is.
    pub position: u64,
    /// How long it has had its role, in seconds.
    pub seconds_in_role: u32,
    /// Its release.
    pub product: ProductVersion,
}

/// A round that was heard, and how long ago.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo {
    /// The number of the round; not 0.
    pub beat: u64,
    /// Time from its arrival to the sending of this echo, in microseconds.
    pub held_us: u32,
}

/// What a node is about to do, or asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intention {
    /// Nothing.
    None,
    /// Active: the role will be handed over under this epoch as soon as the journal is flushed.
    Offer {
        /// The epoch to claim.
        epoch: u64,
        /// Why.
        purpose: Purpose,
    },
    /// Standby: ready to take an offered role; the epoch is on disk.
    Ready {
        /// The epoch offered.
        epoch: u64,
    },
    /// The receiver is to take the role now, under this epoch or a higher one. From the active node; between two
    /// nodes of which none is active, from the first one.
    Grant {
        /// The epoch to claim.
        epoch: u64,
        /// Why.
        purpose: Purpose,
    },
    /// Standby: asks for the role because it is the preferred node.
    WantFailBack,
    /// Standby: asks for the role because its operator said so.
    WantCommand,
}

/// A release of the product.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProductVersion {
    /// Major number.
    pub major: u16,
    /// Minor number.
    pub minor: u16,
    /// Patch level.
    pub patch: u16,
}

impl std::fmt::Display for ProductVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A set of paths, by their place in the plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Paths(u16);

impl Paths {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// The first `count` paths.
    pub fn first(count: usize) -> Self {
        (0..count.min(MAX_PATHS)).fold(Self::EMPTY, Self::with)
    }

    /// With one more. A path beyond [`MAX_PATHS`] is left out.
    pub fn with(self, path: usize) -> Self {
        if path < MAX_PATHS { Self(self.0 | 1 << path) } else { self }
    }

    /// Whether `path` is in the set.
    pub fn contains(self, path: usize) -> bool {
        path < MAX_PATHS && self.0 >> path & 1 == 1
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// From the sync cable on.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_PATHS).filter(move |path| self.contains(*path))
    }
}

/// Why bytes are no heartbeat. The peer made them: they were authentic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Cut off, or longer than its minor number allows.
    #[error("a heartbeat of {length_bytes} bytes")]
    Length {
        /// Bytes that came.
        length_bytes: usize,
    },
    /// The peer's release is too far from ours.
    #[error("layout {found} of the heartbeat, this program speaks {LAYOUT}")]
    Layout {
        /// The peer's.
        found: u8,
    },
    /// A number that stands for nothing.
    #[error("{field} is {found}, which means nothing")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it holds.
        found: u64,
    },
}

impl Heartbeat {
    /// The bytes, for [`crate::keys::Endpoint::seal`].
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let (intention, intended, purpose) = match self.intention {
            Intention::None => (0, 0, 0),
            Intention::Offer { epoch, purpose } => (1, epoch, purpose.code()),
            Intention::Ready { epoch } => (2, epoch, 0),
            Intention::Grant { epoch, purpose } => (3, epoch, purpose.code()),
            Intention::WantFailBack => (4, 0, 0),
            Intention::WantCommand => (5, 0, 0),
        };
        let role = match self.role {
            Role::Starting => 0,
            Role::Standby => 1,
            Role::Active => 2,
        };
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.going, GOING)
            | flag(self.maintenance, MAINTENANCE)
            | flag(self.synced, SYNCED)
            | flag(self.probe, PROBE);
        let echo = self.echo.unwrap_or(Echo { beat: 0, held_us: 0 });
        let mut writer = Writer { bytes: &mut bytes, at: 0 };
        writer.put([LAYOUT, MINOR, self.index.get(), role, intention, purpose, flags, 0]);
        writer.put(self.beat.to_be_bytes());
        writer.put(echo.beat.to_be_bytes());
        writer.put(echo.held_us.to_be_bytes());
        writer.put(self.hears.0.to_be_bytes());
        writer.put(self.health.illness.to_be_bytes());
        writer.put(self.epoch.to_be_bytes());
        writer.put(self.highest.to_be_bytes());
        writer.put(intended.to_be_bytes());
        writer.put(self.health.links_down.to_be_bytes());
        writer.put(self.health.gateways_silent.to_be_bytes());
        writer.put(self.health.daemons_down.to_be_bytes());
        writer.put(self.interval_ms.to_be_bytes());
        writer.put(self.revision.to_be_bytes());
        writer.put(self.lineage);
        writer.put(self.position.to_be_bytes());
        writer.put(self.seconds_in_role.to_be_bytes());
        writer.put(self.product.major.to_be_bytes());
        writer.put(self.product.minor.to_be_bytes());
        writer.put(self.product.patch.to_be_bytes());
        writer.put(self.heard.to_be_bytes());
        bytes
    }

    /// Reads what [`crate::keys::Endpoint::open`] gave.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let length = DecodeError::Length { length_bytes: bytes.len() };
        if bytes.len() > MAX_LENGTH {
            return Err(length);
        }
        let mut reader = Reader { rest: bytes, length };
        let [layout, minor, index, role, intention, purpose, flags, zero] = reader.take()?;
        if layout != LAYOUT {
            return Err(DecodeError::Layout { found: layout });
        }
        if minor == MINOR && bytes.len() != LENGTH {
            return Err(length);
        }
        if minor == MINOR && flags & !FLAGS != 0 {
            return Err(DecodeError::Value { field: "flags", found: flags.into() });
        }
        if minor == MINOR && zero != 0 {
            return Err(DecodeError::Value { field: "byte 7", found: zero.into() });
        }
        let index =
            NodeIndex::new(index).ok_or(DecodeError::Value { field: "node index", found: index.into() })?;
        let role = match role {
            0 => Role::Starting,
            1 => Role::Standby,
            2 => Role::Active,
            3.. => return Err(DecodeError::Value { field: "role", found: role.into() }),
        };
        let beat = u64::from_be_bytes(reader.take()?);
        if beat == 0 {
            return Err(DecodeError::Value { field: "beat", found: 0 });
        }
        let echo = match (u64::from_be_bytes(reader.take()?), u32::from_be_bytes(reader.take()?)) {
            (0, 0) => None,
            (0, held_us) => {
                return Err(DecodeError::Value { field: "time of no echo", found: held_us.into() });
            }
            (beat, held_us) => Some(Echo { beat, held_us }),
        };
        let hears = Paths(u16::from_be_bytes(reader.take()?));
        let illness = u16::from_be_bytes(reader.take()?);
        let epoch = u64::from_be_bytes(reader.take()?);
        let highest = u64::from_be_bytes(reader.take()?);
        let intention = decode_intention(intention, purpose, u64::from_be_bytes(reader.take()?))?;
        let health = Health {
            illness,
            links_down: u32::from_be_bytes(reader.take()?),
            gateways_silent: u32::from_be_bytes(reader.take()?),
            daemons_down: u16::from_be_bytes(reader.take()?),
        };
        let interval_ms = u16::from_be_bytes(reader.take()?);
        if interval_ms == 0 {
            return Err(DecodeError::Value { field: "interval", found: 0 });
        }
        Ok(Self {
            index,
            role,
            intention,
            going: flags & GOING != 0,
            maintenance: flags & MAINTENANCE != 0,
            synced: flags & SYNCED != 0,
            probe: flags & PROBE != 0,
            interval_ms,
            beat,
            echo,
            hears,
            health,
            epoch,
            highest,
            revision: u32::from_be_bytes(reader.take()?),
            lineage: reader.take()?,
            position: u64::from_be_bytes(reader.take()?),
            seconds_in_role: u32::from_be_bytes(reader.take()?),
            product: ProductVersion {
                major: u16::from_be_bytes(reader.take()?),
                minor: u16::from_be_bytes(reader.take()?),
                patch: u16::from_be_bytes(reader.take()?),
            },
            heard: u64::from_be_bytes(reader.take()?),
        })
    }
}

/// What carries no epoch or purpose has zeros there, so that there is one way to write each heartbeat.
fn decode_intention(code: u8, purpose: u8, epoch: u64) -> Result<Intention, DecodeError> {
    let found = DecodeError::Value { field: "purpose", found: purpose.into() };
    match (code, purpose, epoch) {
        (0, 0, 0) => Ok(Intention::None),
        (1, _, _) => Ok(Intention::Offer { epoch, purpose: Purpose::from_code(purpose).ok_or(found)? }),
        (2, 0, _) => Ok(Intention::Ready { epoch }),
        (3, _, _) => Ok(Intention::Grant { epoch, purpose: Purpose::from_code(purpose).ok_or(found)? }),
        (4, 0, 0) => Ok(Intention::WantFailBack),
        (5, 0, 0) => Ok(Intention::WantCommand),
        (0 | 2 | 4 | 5, _, _) => Err(found),
        (6.., _, _) => Err(DecodeError::Value { field: "intention", found: code.into() }),
    }
}

/// Opens and reads a datagram that came to the heartbeat port.
pub fn receive(
    endpoint: &mut Endpoint,
    now: Instant,
    datagram: &mut [u8],
) -> Result<Authenticated<Heartbeat>, Refusal> {
    Ok(endpoint.open(now, datagram)?.try_map(Heartbeat::decode)?)
}

/// Why a datagram was no heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Its envelope.
    #[error(transparent)]
    Envelope(#[from] Refused),
    /// What was in it: the peer is at fault.
    #[error(transparent)]
    Content(#[from] DecodeError),
}

struct Writer<'a> {
    bytes: &'a mut [u8; LENGTH],
    at: usize,
}

impl Writer<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(&field);
        self.at += N;
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    length: DecodeError,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(self.length)?;
        self.rest = rest;
        Ok(*field)
    }
}
