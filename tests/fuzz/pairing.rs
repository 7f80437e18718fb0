//! What comes on the connection of a pairing: see `appliance/pair/tests/common/pairing_fuzz.rs`, which the ordinary tests run
//! too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz pairing`

#![no_main]

#[path = "../../appliance/pair/tests/common/pairing_fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::pairing(data));
