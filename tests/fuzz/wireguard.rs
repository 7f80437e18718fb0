//! A conversation of WireGuard with strangers in it: see `appliance/wireguard/tests/common/fuzz.rs`, which the ordinary tests
//! run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz wireguard`

#![no_main]

#[allow(dead_code, reason = "one target of several")]
#[path = "../../appliance/wireguard/tests/common/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::conversation(data));
