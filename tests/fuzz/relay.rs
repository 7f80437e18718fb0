//! What comes over the relay's socket: see `appliance/daemon/tests/common/vpn_fuzz.rs`, which the ordinary tests run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz relay`

#![no_main]

#[allow(dead_code, reason = "one target of several")]
#[path = "../../appliance/daemon/tests/common/vpn_fuzz.rs"]
mod fuzz;
// The daemon itself brings a hundred packages, which these two files need nothing of.
#[allow(dead_code, reason = "the daemon uses more of it")]
#[path = "../../appliance/daemon/src/vpn/server/grant.rs"]
mod grant;
#[allow(dead_code, reason = "the daemon uses more of it")]
#[path = "../../appliance/daemon/src/relay.rs"]
mod relay;
#[allow(dead_code, reason = "the daemon uses more of it")]
#[path = "../../appliance/daemon/src/vpn/server/value.rs"]
mod value;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::relay(data));
