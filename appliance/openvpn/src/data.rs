//! The data channel: the packets of a tunnel, sealed with keys that the control channel made.
//!
//! Owns which packet ids may be used when ([`epoch`]), the keys and their use ([`keys`], [`sealer`], [`opener`]), what is
//! believed of a packet ([`window`], [`inner`]), and which session a packet belongs to ([`outbound`], [`inbound`]). Refuses
//! to own sockets, devices and threads, and every decision about people: who may have a session, and from where.
//!
//! ```text
//!  kernel ─ super-packet ─▶ segment ─▶ outbound: whose? ─▶ sealer: id, AES-256-GCM ─▶ datagrams
//!  kernel ◀─ super-packet ─ coalesce ◀─ inner: own source? ◀─ opener: seen? authentic? ◀─ inbound: whose? ◀─ datagrams
//! ```
//!
//! A data packet (the draft's "AEAD encrypted data channel packet"; version 2, the only one we speak):
//!
//! ```text
//!   0       1               4                   8                          24
//!  ┌───────┬───────────────┬───────────────────┬──────────────────────────┬──────────────────────
//!  │ 9 │key│ peer id       │ packet id         │ tag                      │ ciphertext
//!  └───────┴───────────────┴───────────────────┴──────────────────────────┴──────────────────────
//!  └── additional data, authenticated as is ───┘
//!                          └── nonce: packet id, implicit IV of the key
//! ```
//!
//! Nothing here allocates for a packet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub mod epoch;
pub mod fresh;
pub mod inbound;
pub mod inner;
pub mod keys;
pub mod opener;
pub mod outbound;
pub mod sealer;
pub mod segment;
mod slots;
pub mod window;

/// The operation code of a data packet, in the upper five bits of its first byte. ("Control Channel OPCODEs")
pub const DATA_V2: u8 = 9;
/// Bytes that are authenticated but not encrypted.
pub const HEADER: usize = 8;
/// Bytes of the tag.
pub const TAG: usize = 16;
/// Bytes that a data packet is longer than what is in it.
pub const OVERHEAD: usize = HEADER + TAG;
/// Keys of a session that can be in use at once: the newest, the one before, one of a renewal that overtakes another, and
/// one of a session that its client has begun anew in place (study §1.6).
pub const MAX_KEYS: usize = 4;
/// How long a key that has a successor goes on opening packets. Clients send on the old key for up to 60 s (study §1.5).
pub const LAME_DUCK: std::time::Duration = std::time::Duration::from_secs(120);

/// A keep-alive packet: sealed like any other, never answered. ("Data channel ping packet")
pub const PING: [u8; 16] =
    [0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48];
/// "I am leaving", from clients that do not say it on the control channel: the mark of an OCC message, and 6.
pub const EXIT: [u8; 17] =
    [0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81, 0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c, 6];

/// Which session a data packet belongs to: 24 bits that the server chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId(u32);

impl PeerId {
    /// Below 2²⁴ - 1, which stands for none; `None` for anything else.
    pub const fn new(id: u32) -> Option<Self> {
        if id < 0x00ff_ffff { Some(Self(id)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Where a client is: which of our sockets it speaks to, and from where.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Path {
    /// The number of our socket. A client takes an answer only from the address that it spoke to.
    pub local: u8,
    /// Its address.
    pub remote: SocketAddr,
}

/// The key on which a client last sent: the receiving half of its session writes it, the sending half sends on it (the echo
/// rule, study §1.5). The halves may be in two threads.
#[derive(Clone, Debug, Default)]
pub struct Echo(Arc<AtomicU64>);

impl Echo {
    /// The key; `None` before any.
    pub fn get(&self) -> Option<KeySerial> {
        // Nothing else is read by what is seen here.
        u32::try_from(self.0.load(Ordering::Relaxed).checked_sub(1)?).ok().map(KeySerial)
    }

    /// The client has sent on this key, or had, before a take-over.
    pub fn set(&self, serial: KeySerial) {
        self.0.store(u64::from(serial.0) + 1, Ordering::Relaxed);
    }
}

/// Tells the keys of a session apart, which [`keys::KeyId`] does not: the control channel counts them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeySerial(pub u32);
