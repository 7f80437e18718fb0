//! Replication of connections against the real kernel: each test in network namespaces of its own.

#[path = "../common/mod.rs"]
mod common;

mod conflicts;
mod corpus;
mod events;
mod figures;
mod fuzz;
mod helpers;
mod pair;
mod round_trip;
mod samples;
mod takeover;
