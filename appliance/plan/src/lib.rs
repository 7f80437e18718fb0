//! The plan: what the kernel of one node should hold, decided from the model alone.
//!
//! Pure: knows no clock, socket, file or thread. `rempart-system` acts on what is decided here.

pub mod facts;

pub use facts::{Facts, Lease};

/// Which of the two a node is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Carries the virtual addresses and forwards.
    Active,
    /// Waits.
    Standby,
}
