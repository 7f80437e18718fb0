//! An advertisement of VRRPv2: see `appliance/vrrp/tests/common/fuzz.rs`, which the ordinary tests run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz vrrp2`

#![no_main]

#[allow(dead_code, reason = "one target of several")]
#[path = "../../appliance/vrrp/tests/common/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::version_2(data));
