//! What the daemons serve on the system bus and the console calls.
//!
//! Large answers travel as one JSON text each, whose types are in [`documents`]: the same text is what
//! `--json` prints, so a script sees what the console sees. Types, and the one document that both sides can make
//! ([`review`]); nothing here acts.

pub mod audit;
pub mod codes;
pub mod control;
pub mod documents;
pub mod ha;
pub mod review;
pub mod setup;
pub mod update;
pub mod vpn;

/// Bytes that the bus carries as they are.
pub use serde_bytes::ByteBuf;

pub use control::{CONTROL_NAME, CONTROL_PATH, Control1Proxy, Error};
pub use ha::{HA_NAME, HA_PATH, Ha1Proxy};
pub use update::{UPDATE_NAME, UPDATE_PATH, Update1Proxy};
pub use vpn::{VPN_NAME, VPN_PATH, Vpn1Proxy};
