//! Answers of a domain controller: see `appliance/identity/tests/common/identity_fuzz.rs`, which the ordinary tests run
//! too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz ldap`

#![no_main]

#[allow(dead_code, reason = "one target of several")]
#[path = "../../appliance/identity/tests/common/identity_fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::ldap(data));
