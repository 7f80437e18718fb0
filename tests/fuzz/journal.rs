//! A datagram of the journal: see `appliance/pair/tests/common/journal_fuzz.rs`, which the ordinary tests run too.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz journal`

#![no_main]

#[path = "../../appliance/pair/tests/common/journal_fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::journal(data));
