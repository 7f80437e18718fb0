//! Stages for the tests, which are labs with one node or with a pair that runs the product, and the words that the tests are
//! written in.
//!
//! Owns nothing of the lab or the product: documents, how a verb is called, what is compared before and after.

mod console;
mod document;
mod pair;
mod stage;

pub use console::Console;
pub use document::{Document, datatel, example, pair, small};
pub use pair::{PairStage, VIRTUAL_LAN, VIRTUAL_WAN};
pub use stage::{Snapshot, Stage};

use std::time::Duration;

/// How long something that happens by itself may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(15);

/// Whether the long suites are asked for: `REMPART_FULL=1`.
pub fn is_full() -> bool {
    std::env::var_os("REMPART_FULL").is_some_and(|v| v == "1")
}
