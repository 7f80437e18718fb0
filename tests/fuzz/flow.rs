//! A replicated connection, as a peer sends it: see `appliance/system/tests/flowsync/fuzz.rs`, which the ordinary tests run
//! too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz flow`

#![no_main]

#[path = "../../appliance/system/tests/flowsync/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::flow(data);
});
