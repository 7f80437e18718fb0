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
//! Nothing here allocates for a packet.

pub mod epoch;
pub mod keys;
