//! Reads documents, prints what is wrong with them and how long it took.
//!
//! `cargo run --release -p rempart-config --example read FILE…`

use std::time::Instant;

fn main() -> std::io::Result<()> {
    for file in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&file)?;
        let start = Instant::now();
        let reading = rempart_config::read(&text);
        let took = start.elapsed();
        print!("{}", rempart_config::render(&reading.diagnostics, &file, &text, false));
        let verdict = if reading.model.is_some() { "valid" } else { "refused" };
        println!("{file}: {verdict}, {} diagnostics, {took:?}", reading.diagnostics.len());
    }
    Ok(())
}
