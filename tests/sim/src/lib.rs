//! Both nodes' pure machines in virtual time.
//!
//! A *schedule* is everything that happens to the pair in a few seconds: how the network is, what breaks when, when
//! which process sleeps or dies, what operators do. It is made from one number, its seed. A run has nothing but
//! virtual time, so a seed that finds something finds it again: `REMPART_SEED=<seed> cargo test -p rempart-sim`.
//! `REMPART_FULL=1` runs many more, `REMPART_FIRST=<seed>` others.
//!
//! ```text
//!   schedule ──▶ world: one queue of events in order of time ──▶ site (node, endpoint, disk, kernel) ×2
//!                  │  ▲                                              │
//!                  │  └── network: paths with loss, delay, … ◀───────┘ sealed datagrams
//!                  └──▶ checks after each event: I2, liveness, epochs, flapping
//! ```
//!
//! The datagrams are sealed and opened as in the product, so sessions, replay and restarts are simulated too. What else
//! travels between the nodes (the journal) gets a [`network::Port`] of its own and a field in [`site::Site`].

pub mod check;
pub mod network;
pub mod random;
pub mod schedule;
pub mod site;
pub mod world;

pub use check::Violation;
pub use schedule::{Kind, Schedule};
pub use world::{Outcome, World};

/// Virtual time in microseconds since the schedule began.
pub type Micros = u64;

/// A millisecond of virtual time.
pub const MS: Micros = 1000;

/// What is planted into the product for the checks to find. The product itself has no such switch: the driver of the
/// simulation does what a driver (or a machine) with that fault would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Bug {
    /// None.
    #[default]
    None,
    /// The driver tells the machine the time at which a timer was due instead of the time at which it was run: the
    /// machine never learns that it slept, and time asleep counts against the peer.
    NoStallGuard,
    /// The record never reaches the disk, though the driver says so.
    NoDisk,
    /// The driver does not send while the node is active.
    MuteActive,
}
