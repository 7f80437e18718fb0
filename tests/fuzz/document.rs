//! Any text as a document: read and printed without a panic, with a model exactly when there is no error.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz document`

#![no_main]

use libfuzzer_sys::fuzz_target;
use rempart_config::{Severity, read, render};

fuzz_target!(|text: &str| {
    let reading = read(text);
    let errors = reading.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(reading.model.is_none(), errors);
    // Printing is linear in the diagnostics; the first ones find the same faults faster.
    let first = &reading.diagnostics[..reading.diagnostics.len().min(8)];
    render(first, "document", text, false);
});
