//! Faulty documents and what is printed about them: `tests/golden/<case>/{document.toml, diagnostics}`.
//!
//! `REMPART_BLESS=1 cargo test -p rempart-config` rewrites the expectations; the diff is to be read.

use std::fs;
use std::path::Path;

use rempart_config::{Severity, read, render};

fn cases() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("tests/golden exists")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("a plain name"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_faulty_document_is_reported_as_it_was() {
    // Each document must print exactly the diagnostics beside it.
    let bless = std::env::var_os("REMPART_BLESS").is_some();
    let mut changed = Vec::new();
    let names = cases();
    assert!(names.len() >= 25, "only {} cases", names.len());
    for name in names {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(&name);
        let text = fs::read_to_string(dir.join("document.toml")).expect("the case has a document");
        let reading = read(&text);
        assert!(!reading.diagnostics.is_empty(), "{name} has no fault");
        let errors = reading.diagnostics.iter().any(|d| d.severity == Severity::Error);
        assert_eq!(reading.model.is_none(), errors, "{name}: a model exactly when there is no error");
        let printed = render(&reading.diagnostics, "document.toml", &text, false);
        let file = dir.join("diagnostics");
        if bless {
            fs::write(&file, &printed).expect("the expectation can be written");
        } else if fs::read_to_string(&file).unwrap_or_default() != printed {
            changed.push(format!("{name}:\n{printed}"));
        }
    }
    assert!(changed.is_empty(), "{} cases changed:\n{}", changed.len(), changed.join("\n"));
}

#[test]
fn many_faults_are_reported_together() {
    // One document with more than ten different faults: each kind must be told in one reading.
    let text = include_str!("golden/many-at-once/document.toml");
    let kinds: std::collections::BTreeSet<_> = read(text).diagnostics.iter().map(|d| d.code).collect();
    assert!(kinds.len() >= 10, "{kinds:?}");
}

#[test]
fn colour_changes_the_looks_and_not_the_words() {
    // The same diagnostics with and without colour must have the same text.
    let text = include_str!("golden/dangling/document.toml");
    let diagnostics = read(text).diagnostics;
    let coloured = render(&diagnostics, "document.toml", text, true);
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').expect("an escape sequence ends with m").1;
    }
    plain.push_str(rest);
    assert_ne!(coloured, plain);
    assert_eq!(plain, render(&diagnostics, "document.toml", text, false));
}
