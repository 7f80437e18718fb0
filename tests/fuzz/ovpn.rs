//! Messages of the kernel's OpenVPN: see `appliance/system/tests/ovpn/fuzz.rs`, which the ordinary tests run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz ovpn`

#![no_main]

#[path = "../../appliance/system/tests/ovpn/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::ovpn(data);
});
