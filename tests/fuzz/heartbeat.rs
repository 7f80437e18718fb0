//! A datagram for the heartbeat port: see `appliance/pair/tests/common/heartbeat_fuzz.rs`, which the ordinary tests run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz heartbeat`

#![no_main]

#[path = "../../appliance/pair/tests/common/heartbeat_fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::heartbeat(data));
