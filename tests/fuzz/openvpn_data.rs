//! The data channel and what passes between it and the device: see `appliance/openvpn/tests/common/data_fuzz.rs`, which the ordinary tests run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz openvpn_data`

#![no_main]

#[path = "../../appliance/openvpn/tests/common/data_fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::data(data));
