//! Updates, as far as they are decisions: what a file must hold to be one ([`manifest`]), which version is the newer one
//! ([`version`]), what a new version has to prove before it stays ([`probation`]), and how a pair is brought to it
//! ([`pair`]).
//!
//! Refuses to know disks, files, clocks and the bus. Who writes slots is `rempart_system::slots`; who does all of it is the
//! program `rempart-update`.

pub mod manifest;
pub mod pair;
pub mod probation;
pub mod version;

pub use manifest::{Head, HeadError, Manifest, Part, PublicKey};
pub use version::Version;
