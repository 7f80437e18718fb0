//! The server side of the OpenVPN protocol: without clock, socket, thread or async. Written from the wire-protocol draft
//! (draft-openvpntech-openvpn-wire-protocol-01, "draft" below) and from what stock clients of 2.5, 2.6, 2.7 and OpenVPN 3 do.
//!
//! ```text
//!            datagram
//!                │  opcode is data ──────────────────────────────▶ data: keys, replay window, epochs
//!                │
//!                ├─ (address, session id) is known ──▶ session ──▶ poll_transmit, poll_output
//!                │                                        │ wrap · reliable · TLS · key_exchange · message · token
//!                └─ unknown ──▶ cookie::Start ──▶ nothing │ a reply without state │ an admission: make a session
//! ```
//!
//! What the driver does: it owns the sockets, the clock, the map of sessions by (address, client's session id) and by
//! peer-id, who may log in, and the replication to the other node. What it must never do is decide by a packet's content.

pub mod cookie;
pub mod data;
pub mod key_exchange;
pub mod message;
pub mod packet;
pub mod reliable;
pub mod session;
pub mod token;
pub mod wrap;

use std::time::Instant;

/// The driver's clocks, read together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For intervals.
    pub instant: Instant,
    /// For what other machines see: seconds since 1970.
    pub unix_s: u64,
}
