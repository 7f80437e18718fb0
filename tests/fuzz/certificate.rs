//! A file with certificates and keys: see `appliance/identity/tests/common/identity_fuzz.rs`, which the ordinary tests run
//! too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz certificate`

#![no_main]

#[allow(dead_code, reason = "one target of several")]
#[path = "../../appliance/identity/tests/common/identity_fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::certificate(data));
