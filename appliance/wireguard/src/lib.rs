//! WireGuard: the protocol of one interface with many peers, as an engine without sockets, clocks or threads.
//!
//! ```text
//!            inside ── seal ──▶ ┌─ Engine ─────────────────────────┐ ──▶ datagram
//!                               │ routes   whose address is it     │
//!            inside ◀── packet ─│ gate     floods of handshakes    │ ◀── handle_datagram ── outside
//!                               │ peers    a tunnel each (boringtun)│ ──▶ poll_transmit: handshakes, keepalives
//!     handle_timeout ─────────▶ └──────────────────────────────────┘ ──▶ poll_known: what the other node must hold
//! ```
//!
//! The Noise handshake, the keys and the sealing are boringtun's. What it leaves to its caller, or out, is here: whose
//! addresses are whose, one gate for the handshakes of all peers with cookies that are bound to address and port, padding,
//! the limits on messages of one key, packets that wait for a handshake, roaming, persistent keepalive, indices that cannot
//! be guessed. Not owned: sockets, the device, who is active.
//!
//! ChaCha20-Poly1305 and Curve25519 are all that this protocol speaks: it lies outside a policy of AES-256.
//!
//! Sections cited as "WireGuard §" are those of "WireGuard: Next Generation Kernel Network Tunnel", Donenfeld, the
//! revision of 2020.
//!
//! Two things are not pure, because boringtun has no way in: it takes the randomness of its handshakes, and once for each
//! tunnel the time of day, from the system.

mod backend;
mod engine;
mod gate;
mod known;
mod peer;
mod routes;
mod settings;
mod tunnel;

#[cfg(test)]
mod tests;

pub use backend::{Backend, BackendError};
pub use engine::{Drops, Engine, Random, Sealed};
pub use known::{Known, Malformed};
pub use settings::{MAX_PEERS, Path, PeerSettings, PeerStatus, PublicKey, Secret, Settings, SettingsError};

/// What a data message adds to a packet: its header, and the tag (WireGuard §5.4.6).
pub const OVERHEAD: usize = 32;
/// The first byte of an initiation (WireGuard §5.4.2): what anybody can send.
pub const INITIATION: u8 = 1;
/// Packets are padded to multiples of this (WireGuard §5.4.6).
pub const PADDING: usize = 16;
/// Longest packet in the tunnel: with padding and overhead it is the longest UDP datagram.
pub const MAX_PACKET: usize = 65_440;
