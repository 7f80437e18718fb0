//! What the other node's program says about the shared map: see `appliance/pair/tests/common/shared_fuzz.rs`, which the ordinary tests run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz shared`

#![no_main]

#[path = "../../appliance/pair/tests/common/shared_fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::shared(data));
