//! Connection entries as they are replicated between the nodes of a pair: what happens to them in one kernel
//! (events), what is there (dump), and writing them into another kernel so that the packets of an established
//! connection go on there as if nothing had happened.
//!
//! ```text
//!  active kernel                                                       standby kernel
//!  Events ── Put(Record) / Gone(Identity) ──▶ journal ──bytes──▶ journal ── Writer
//!  Dump ──── Record, in small steps ────────▶                              Dump (what is there already)
//! ```
//!
//! Unlike [`crate::conntrack`], which serves people and is asynchronous, everything here is for one thread with a
//! latency to keep: no call blocks, nothing is allocated per entry, and each call does a bounded amount of work.
//! Which entries travel is not decided here; [`Flow::addresses`] is what a filter needs.
//!
//! | file | owns |
//! | --- | --- |
//! | [`record`] | the types and the keyed hash by which the two nodes know an entry |
//! | `encoding` | the bytes in which an entry travels between nodes |
//! | `message` | ctnetlink messages: bytes of the kernel to records and back |
//! | `socket` | one netlink socket without Tokio, and reading single entries |
//! | `events`, `dump`, `writer` | the three hands |
//! | `timeouts` | how long the kernel keeps an entry by itself |
//!
//! What ctnetlink gets wrong, or easily gets wrong, is said where it is dealt with: partial events in `events`,
//! translation in `message`, conflicts and what an update may not change in `writer`.

mod dump;
mod encoding;
mod events;
mod message;
pub mod record;
mod socket;
#[cfg(test)]
mod tests;
mod timeouts;
mod writer;

pub use dump::{Dump, Progress, Table};
pub use encoding::{MAX_ENCODED, fingerprint};
pub use events::{Counts, Event, Events, Hint, Read};
pub use record::{
    Expectation, Flow, HashKey, Identity, Key, Name, ProtocolState, Record, Sctp, SequenceAdjustment,
    Synproxy, Zone, ZoneScope,
};
pub use socket::Query;
pub use timeouts::Timeouts;
pub use writer::{Expect, Refusal, Tally, TimeoutRule, Verb, Writer};
