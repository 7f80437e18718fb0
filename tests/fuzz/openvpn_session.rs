//! What a client with a key says to a session: see `appliance/openvpn/tests/common/session_fuzz.rs`, which the ordinary tests run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz openvpn_session`

#![no_main]

#[path = "../../appliance/openvpn/tests/common/session_fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::session(data));
