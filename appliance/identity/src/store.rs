//! The local store: people, their devices, and the authorities, as one document.
//!
//! ```text
//!   bytes ──read──▶ Store ──apply(command)──▶ Store' + Event ──write──▶ bytes
//! ```
//!
//! A change is a [`Command`] that gives a new document and an [`Event`] for the log, or a refusal and no change. The driver
//! keeps the bytes (the document holds every secret there is, so they are secret), replicates them, and logs the event.
//! Groups themselves, with their addresses and demands, stand in the configuration; here stands who is in which.

mod command;
mod document;

#[cfg(test)]
mod tests;

pub use command::{Account, Command, Event, Refusal};
pub use document::{Device, Fingerprint, NotRead, Source, Store, Totp, User};

/// People. The largest brigades have a few thousand members; ten times the sessions of one gateway.
pub const MAX_USERS: usize = 5_000;
/// Devices of one person.
pub const MAX_DEVICES_EACH: usize = 16;
/// Groups of one person.
pub const MAX_GROUPS_EACH: usize = 32;
/// Authorities: the one in use, the one before, and two that were imported.
pub const MAX_AUTHORITIES: usize = 4;
/// Networks behind one person's client.
pub const MAX_NETWORKS_EACH: usize = 16;
/// Characters of a label.
pub const MAX_LABEL: usize = 64;
/// Bytes of a document: 5,000 people with two devices each take about 6 MB, their certificates' records 3 MB.
pub const MAX_DOCUMENT: usize = 32 << 20;
