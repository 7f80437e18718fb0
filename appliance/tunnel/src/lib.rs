//! The threads that carry the packets of the VPN: two for each shard, and no decision in either.
//!
//! ```text
//!             ┌──────────────── Shard ────────────────┐
//!   TUN ─────▶│ out: read, cut, seal, send            │─────▶ UDP sockets
//!   queue ◀───│ in:  receive, open, judge, join, write│◀───── of the shard
//!             └──▲────────────────────┬──────────┬────┘
//!      commands: │      events: moved,│          │ packets of the control channel
//!      sessions, │      key in use,   ▼          ▼
//!      keys, addresses  key is due, counters    (bounded; what does not fit is dropped and counted)
//! ```
//!
//! A client belongs to one shard, so its packet ids come from one thread and its windows to one thread. A shard owns a
//! queue of the device and a socket for each virtual address. Its threads share nothing but the key that a client last
//! sent on.
//!
//! A crate of its own: it knows the protocol's data channel (`rempart-openvpn`, pure) and the kernel's devices
//! (`rempart-system`), which know nothing of each other; the program around it has the policy. The measurements and the
//! tests run it without that program.
//!
//! Clients whose connection is a TCP stream belong to a shard like any other: their path has the number [`STREAM`] in place
//! of a socket's. What is for them goes in frames to whoever owns the streams ([`Outlets::with_streams`]), and what comes
//! from them is fed ([`Shard::feeder`]). Neither waits in the sending half; the feeder waits, as a stream can.
//!
//! [`DataPath`] is what a session asks of whatever carries it: a [`Shard`], or [`kernel::Offload`], which has the kernel carry
//! those sessions for which that is safe and leaves the others to a shard below it.
//!
//! Bounds: commands wait until there is room, [`COMMANDS`] at a time; events [`EVENTS`] and control packets
//! [`CONTROL_PACKETS`] are dropped when there is none. Of what was dropped, a move and a key that is due are said again.

mod inward;
pub mod kernel;
mod outward;
mod path;
mod shard;
mod stream;

pub use path::DataPath;
pub use shard::{Event, Gone, Half, Highest, Incoming, Outlets, Setup, Shard, Stats};
pub use stream::{Fed, Feeder, Framed};

/// Commands that wait for a thread: a take-over has a few for each of its sessions, and waits for room.
pub const COMMANDS: usize = 1024;
/// Events that wait to be heard: one for each session of a shard and some.
pub const EVENTS: usize = 4096;
/// Packets of the control channel that wait: 200 clients that begin at once, 2 each; 600 KiB.
pub const CONTROL_PACKETS: usize = 512;
/// Longest packet of the control channel, in bytes. Ours announce 1250.
pub const MAX_CONTROL: usize = 2048;
/// Sockets of a shard: virtual addresses of both families.
pub const MAX_SOCKETS: usize = 8;
/// Stands in [`rempart_openvpn::data::Path::local`] for a TCP stream.
pub const STREAM: u8 = u8::MAX;
/// Rows of frames that wait for the owner of the streams, 64 KiB each: what is more is dropped, as a full socket's is.
pub const STREAM_ROWS: usize = 256;
/// Batches that wait to be opened, 64 KiB each; who feeds waits for room.
pub const STREAM_BATCHES: usize = 64;
