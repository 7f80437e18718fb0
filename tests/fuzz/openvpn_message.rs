//! What a client says through TLS: see `appliance/openvpn/tests/common/fuzz.rs`, which the ordinary tests run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz openvpn_message`

#![no_main]

#[allow(dead_code, reason = "one target of several")]
#[path = "../../appliance/openvpn/tests/common/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::message(data));
