//! The two ends of a tunnel's data path: a queue of a TUN device ([`Queue`]) and a UDP socket ([`Socket`]), both moving
//! many packets with one system call.
//!
//! ```text
//!   kernel ── one read, up to 64 KiB, to be cut ──▶ Queue          Socket ── one send, up to 64 datagrams ──▶ line
//!   kernel ◀── one write, gathered from pieces ──── Queue          Socket ◀── joined by the kernel, in batches ── line
//! ```
//!
//! Nothing blocks, nothing allocates. What the packets mean is not known here.
//!
//! Our own, because neither library at hand fits: `quinn-udp` sets "don't fragment" on its socket, where a tunnel lets
//! routers cut datagrams, and switches segmentation off for good once a single datagram was longer than the path's MTU,
//! which in a tunnel the largest inner packets are; `tun-rs` copies each cut packet to a buffer of its own, where ours are
//! cut to where they are sealed.

mod queue;
mod socket;
mod steering;
mod words;

pub use queue::{MAX_PARTS, Offloads, Queue};
pub use socket::{Incoming, Socket};
pub use steering::Steering;
pub use words::MAX_WORDS;
