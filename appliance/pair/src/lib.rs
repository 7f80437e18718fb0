//! What two nodes tell each other. Pure: no clock, socket, file, thread or randomness of its own.

pub mod agreement;
pub mod heartbeat;
pub mod journal;
pub mod keys;
pub mod pairing;
pub mod role;
pub mod shared;

/// The place of a node in the document's `pair.nodes`. The first one is preferred wherever all else is equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NodeIndex {
    /// The node named first.
    First,
    /// The node named second.
    Second,
}

impl NodeIndex {
    /// From 0 or 1; `None` for anything else.
    pub const fn new(index: u8) -> Option<Self> {
        match index {
            0 => Some(Self::First),
            1 => Some(Self::Second),
            2..=u8::MAX => None,
        }
    }

    /// 0 or 1.
    pub const fn get(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    /// The other node.
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}
