//! A stage for the elector beside stock peers: a switch, two routers and a neighbour, each a network namespace of its own.
//!
//! ```text
//!   ours ──┐
//!          ├── switch (a bridge that learns) ── client
//!  theirs ─┘
//!    └─ sync cable, for two of ours
//! ```
//!
//! A namespace is that of a sleeping process and goes with it; every process is ended by its own id.

mod machine;
mod peers;
mod plan;
mod stage;

pub use machine::{Machine, Running, until};
pub use peers::{Carp, Keepalived, carp_peer, keepalived};
pub use plan::{plan, router};
pub use stage::Stage;

/// The virtual router id in all tests; each has a stage of its own.
pub const VRID: u8 = 10;
