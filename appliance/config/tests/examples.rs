//! The documents that people start from, and the ones that once caused trouble.

use std::fs;
use std::path::{Path, PathBuf};

use rempart_config::{Model, read, render};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn valid(path: &str) -> Model {
    let text = fs::read_to_string(root(path)).expect("the example exists");
    let reading = read(&text);
    let printed = render(&reading.diagnostics, path, &text, false);
    assert!(reading.diagnostics.is_empty(), "{path} has faults:\n{printed}");
    reading.model.expect("no fault, so a model")
}

#[test]
fn the_examples_have_neither_errors_nor_warnings() {
    // Both examples go in; a model of the expected shape comes out, without a word.
    let datatel = valid("examples/datatel.toml");
    assert_eq!(datatel.nodes.len(), 2);
    assert_eq!(datatel.interfaces.len(), 4);
    assert!(datatel.zones.contains_key("vpn"));
    let billu = valid("examples/billu.toml");
    assert_eq!(billu.nodes.len(), 2);
    assert_eq!(billu.nat.one_to_one.len(), 2);
    for model in [&datatel, &billu] {
        let silent = model.flows.iter().find(|f| f.why.is_none() || f.owner.is_none());
        assert_eq!(silent.map(|f| &f.label), None, "every flow of an example says why and whose it is");
        assert!(model.flows.iter().any(|f| f.schedule.is_some()));
        assert!(model.flows.iter().any(|f| f.expires.is_some()));
        assert!(model.flows.iter().any(|f| f.helper.is_some()));
        assert!(model.flows.iter().any(|f| f.publish.is_some()));
        assert!(model.checks.len() >= 3);
    }
}

#[test]
fn the_document_of_the_design_is_accepted_word_for_word() {
    // The example of the design goes in; the only remarks are that its VPN group is not defined there, and that the two
    // boxes do not share one lease yet.
    let text = include_str!("documents/design.toml");
    let reading = read(text);
    let codes: Vec<_> = reading.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["pair-leased", "no-vpn-group"]);
    // Of its three flows the one from the VPN matches nothing.
    assert_eq!(reading.model.expect("a warning is no error").flows.len(), 2);
    // With the group it is all there; that the box's own TCP 443 is eBrigade's is told.
    let whole = read(&format!("{text}\n[vpn.group.agents]\npool = \"10.77.10.0/24\"\n"));
    let codes: Vec<_> = whole.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["pair-leased", "vpn-port-taken"]);
    assert_eq!(whole.model.expect("valid").flows.len(), 3);
}

#[test]
fn the_documentation_shows_nothing_that_is_refused() {
    // Every key shown in docs/document.md must be known: its blocks read without an unknown key or bad value.
    let text = fs::read_to_string(root("docs/document.md")).expect("the grammar exists");
    let mut blocks = 0;
    for block in text.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        let reading = read(block);
        let wrong: Vec<_> = reading
            .diagnostics
            .iter()
            .filter(|d| {
                matches!(d.code, "unknown-key" | "bad-value" | "wrong-type" | "syntax" | "out-of-range")
            })
            .collect();
        assert!(wrong.is_empty(), "{block}\n{wrong:?}");
        blocks += 1;
    }
    assert!(blocks >= 6);
}

#[test]
fn the_corpus_of_the_fuzzer_is_replayed() {
    // Every input that the fuzzer starts from or once failed on must be read and printed without a panic.
    let mut count = 0;
    for dir in ["tests/fuzz/corpus/document", "tests/fuzz/regressions/document"] {
        for entry in fs::read_dir(root(dir)).into_iter().flatten() {
            let bytes = fs::read(entry.expect("readable").path()).expect("readable");
            let text = String::from_utf8_lossy(&bytes);
            let reading = read(&text);
            render(&reading.diagnostics, "document", &text, false);
            count += 1;
        }
    }
    assert!(count >= 10, "the corpus has {count} files");
}
