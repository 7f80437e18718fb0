//! Keys between the nodes of a pair, and the datagrams that they protect.
//!
//! Owns the secret of the pair, the keys of each session, the order in which datagrams may come, and the proof that a
//! session of the peer is alive *now*. Refuses to own sockets, the clock and randomness, and what the datagrams mean.
//!
//! ```text
//!  0        2        3      4                20                28                                     end-16
//!  ├────────┼────────┼──────┼────────────────┼─────────────────┼──────────────────────────────────────┼─────┤
//!  │ 'R''p' │ version│ kind │ sender session │ counter, BE     │ AES-256-GCM(echoes 48 ‖ plaintext)   │ tag │
//!  └────────┴────────┴──────┴────────────────┴─────────────────┴──────────────────────────────────────┴─────┘
//!   key   = HKDF-SHA256(salt = sender session, ikm = secret of the pair, info = "rempart/1 " ‖ kind ‖ sender index)
//!   nonce = 0 0 0 0 ‖ counter      additional data = the first 28 bytes
//!   echo  = a session of the receiver that the sender has heard 16 ‖ the highest counter heard in it 8; zeros: none.
//!           Two of them: the session that the sender believes, and one that has yet to prove itself
//! ```
//!
//! **No nonce repeats, whatever dies when** (I4): a session is 16 random bytes made at each start of a program, so each
//! start, kind and sender has a key of its own, and the counter of a session never goes back.
//!
//! **A recorded datagram changes nothing.** Within a session the replay window sees to it. Between sessions: a session
//! of the peer counts only after a datagram of it echoed *our* session with a counter that we used after the session
//! before it had been adopted. A recording of an older session, or of a time before our own start, cannot contain that.
//! Until then its datagrams are [`Refused::Unproven`], and all they do is that we echo the session, so that it can
//! prove itself. Answered at once, a fresh session is adopted by both sides after three datagrams.
//!
//! **Every kind proves itself**: heartbeats and journal each have an [`Endpoint`] of their own, with nothing between
//! them, so each may live in its own thread. One endpoint serves all paths of its kind.
//!
//! **Strangers cost little.** A datagram of an unknown session costs a key derivation (about 2 µs), and
//! [`UNKNOWN_PER_MS`] of them are tried, no more; a flood of them delays the adoption of a fresh session and nothing
//! else, because the session in force does not count against it.

mod endpoint;
mod window;

#[cfg(test)]
mod tests;

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

pub use endpoint::{CANDIDATES, Counters, Endpoint, UNKNOWN_BURST, UNKNOWN_PER_MS};
pub use window::Window;

use crate::NodeIndex;

/// The first two bytes of each datagram.
pub const MAGIC: [u8; 2] = *b"Rp";
/// The version of the envelope.
pub const VERSION: u8 = 1;
/// What precedes the sealed part, in bytes.
pub const HEADER: usize = 28;
/// An echo, in bytes.
pub const ECHO: usize = 24;
/// Both echoes, in bytes.
pub const ECHOES: usize = 2 * ECHO;
/// The tag of AES-GCM, in bytes.
pub const TAG: usize = 16;
/// What sealing adds to a plaintext, in bytes.
pub const OVERHEAD: usize = HEADER + ECHOES + TAG;

/// What the two nodes share since they were paired. Overwritten in memory when dropped; never shown.
#[derive(Clone)]
pub struct PairSecret(Zeroizing<[u8; 32]>);

impl PairSecret {
    /// The 32 bytes that the pairing left.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The bytes, for the store and for nobody else.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn key(&self, kind: Kind, sender: NodeIndex, session: SessionId) -> Option<LessSafeKey> {
        let index = [sender.get()];
        let info: [&[u8]; 3] = [b"rempart/1 ", kind.name().as_bytes(), &index];
        let prk = Salt::new(HKDF_SHA256, &session.0).extract(self.0.as_slice());
        // The only error of expand is too long an output; the key goes from it into the cipher without a copy of ours.
        let key = prk.expand(&info, &AES_256_GCM).ok().map(UnboundKey::from)?;
        Some(LessSafeKey::new(key))
    }
}

impl std::fmt::Debug for PairSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PairSecret")
    }
}

/// One run of one program: 16 bytes, random at its start. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// From bytes of the system's random source. `None` for zeros, which mean "no session" on the wire.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The bytes.
    pub fn get(self) -> [u8; 16] {
        self.0
    }
}

/// What a datagram is for. Each kind has keys of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Role, health and what the other side needs to know at once.
    Heartbeat,
    /// Changes of connections, and their acknowledgements.
    Journal,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Heartbeat => 1,
            Self::Journal => 2,
        }
    }

    /// What a datagram says that it is; `None` for what is no datagram of ours. Proves nothing.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        let [first, second, VERSION, code] = *datagram.first_chunk::<4>()? else { return None };
        let known = [Self::Heartbeat, Self::Journal].into_iter().find(|kind| kind.code() == code);
        known.filter(|_| [first, second] == MAGIC)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Journal => "journal",
        }
    }

    /// How many counters behind the highest one a datagram may still come (the replay window).
    ///
    /// Heartbeats: 64 is four rounds on all sixteen paths. The journal sends thousands in a second over one path and
    /// may change to another in between; what falls out of its window is sent again.
    const fn window(self) -> u64 {
        match self {
            Self::Heartbeat => 64,
            Self::Journal => 960,
        }
    }
}

/// Something that came from the peer, in a live session, for the first time. Only [`Endpoint::open`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authenticated<T> {
    value: T,
    session: SessionId,
    counter: u64,
    first: bool,
}

impl<T> Authenticated<T> {
    /// What came.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// What came, by value.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The session of the peer that it came in.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Its number in that session, from 1; shared by all paths of the kind.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// It is the one that proved its session: the peer was started anew, or is heard for the first time.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// Decodes what came; it stays authenticated.
    pub fn try_map<U, E>(self, decode: impl FnOnce(T) -> Result<U, E>) -> Result<Authenticated<U>, E> {
        let Self { value, session, counter, first } = self;
        Ok(Authenticated { value: decode(value)?, session, counter, first })
    }
}

/// Why a datagram was refused. None of them changes a role or data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Not even a header, an echo and a tag.
    #[error("too short: {length_bytes} bytes")]
    Short {
        /// Bytes that came.
        length_bytes: usize,
    },
    /// Something else was sent to this port.
    #[error("not a datagram of ours")]
    Magic,
    /// The peer speaks another version of the envelope.
    #[error("version {found} of the envelope, this program speaks {VERSION}")]
    Version {
        /// The peer's.
        found: u8,
    },
    /// A datagram for another port of ours.
    #[error("kind {found} at the wrong port")]
    Kind {
        /// The number found.
        found: u8,
    },
    /// One of our own came back: a loop, or somebody plays it back.
    #[error("our own datagram came back")]
    Reflected,
    /// Too many datagrams of unknown sessions; this one was not looked at.
    #[error("unknown session, and too many of them lately")]
    Crowded,
    /// Not sealed by the peer: another secret, another index, or changed on the way.
    #[error("not sealed by the peer")]
    Forged,
    /// It came before, or too late to tell.
    #[error("counter {counter} was seen before or is too old")]
    Replayed {
        /// Its counter.
        counter: u64,
    },
    /// Sealed by the peer at some time, but the session has not yet shown that it is alive now. Send something soon:
    /// it carries the echo that the session needs.
    #[error("the session has not proved itself yet")]
    Unproven,
}

/// The counter would repeat. Never reached: at a million datagrams in a second it takes half a million years.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the counter of this session is used up")]
pub struct Exhausted;
