//! Whatever the text: an answer, in time, and never a panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use rempart_config::{limits, read, render};

const EXAMPLES: [&str; 3] = [
    include_str!("../../../examples/datatel.toml"),
    include_str!("../../../examples/billu.toml"),
    include_str!("documents/design.toml"),
];

/// Reads and prints; a model exactly when there is no error. Spans must lie in the text.
fn survives(text: &str) -> Vec<&'static str> {
    let reading = read(text);
    let errors = reading.diagnostics.iter().any(|d| d.severity == rempart_config::Severity::Error);
    assert_eq!(reading.model.is_none(), errors);
    for d in &reading.diagnostics {
        for span in std::iter::once(&d.span).chain(d.related.iter().map(|(span, _)| span)) {
            assert!(text.get(span.clone()).is_some(), "{span:?} of {d:?}");
        }
    }
    let few = &reading.diagnostics[..reading.diagnostics.len().min(20)];
    render(few, "document", text, true);
    reading.diagnostics.iter().map(|d| d.code).collect()
}

/// A slice of an example that ends between two characters.
fn cut(text: &str, from: Index, to: Index) -> (usize, usize) {
    let (a, b) =
        (text.floor_char_boundary(from.index(text.len())), text.floor_char_boundary(to.index(text.len())));
    (a.min(b), a.max(b))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Any characters at all.
    #[test]
    fn arbitrary_text_is_survived(text in ".{0,200}") {
        survives(&text);
    }

    /// Words of the grammar in any order.
    #[test]
    fn shuffled_words_are_survived(words in prop::collection::vec(prop::sample::select(vec![
        "[[flow]]", "[interface.lan]", "[host]", "\n", "=", "from", "to", "'lan'", "\"any\"", "allow", "[", "]",
        "{", "}", ",", "publish", "true", "1", "-1", "1e9", "2027-03-31", "zone", "address", "'10.0.0.1/8'", "virtual",
        "vrid", "nan", "[nat]", "[[nat.source]]", "node", "pair", "nodes", ".", "#", "'''", "\"\\u0000\"", "é", "\r",
    ]), 0..80)) {
        survives(&words.join(" "));
    }

    /// An example with a piece taken out, doubled, or replaced.
    #[test]
    fn damaged_examples_are_survived(
        which in 0..3usize,
        from in any::<Index>(),
        to in any::<Index>(),
        with in prop_oneof![Just(String::new()), ".{0,8}", "[\\[\\]{}\"'=.,#\n0-9]{1,6}"],
        twice in any::<bool>(),
    ) {
        let text = EXAMPLES[which];
        let (a, b) = cut(text, from, to);
        survives(&format!("{}{with}{}", &text[..a], &text[b..]));
        if twice {
            survives(&format!("{}{with}{}", &text[..b], &text[a..]));
        }
    }

    /// An example with two of its lines exchanged: still TOML mostly, with another meaning.
    #[test]
    fn exchanged_lines_are_survived(which in 0..3usize, pairs in prop::collection::vec(any::<(Index, Index)>(), 1..6)) {
        let mut lines: Vec<_> = EXAMPLES[which].lines().collect();
        for (a, b) in pairs {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        survives(&lines.join("\n"));
    }
}

#[test]
fn every_truncation_of_an_example_is_survived() {
    // The example cut off after each character, as a full disk leaves it.
    let text = EXAMPLES[2];
    for (end, _) in text.char_indices() {
        survives(&text[..end]);
    }
}

#[test]
fn hostile_sizes_are_refused_in_time() {
    // Documents of a megabyte and more that nest, repeat or grow: an error each, and none takes long.
    let deep_key = format!("{}a = 1", "a.".repeat(1 << 19));
    let deep_table = format!("[{}a]", "a.".repeat(1 << 19));
    let deep_array = format!("a = {}{}", "[".repeat(1 << 19), "]".repeat(1 << 19));
    let deep_inline = format!("a = {}1{}", "{a=".repeat(1 << 18), "}".repeat(1 << 18));
    let long_key = format!("{} = 1", "k".repeat(1 << 20));
    let long_zone = format!("version = 1\nnode = 'fw'\n[[flow]]\nfrom = '{}'\n", "z".repeat(1 << 20));
    let many_keys: String = (0..80_000).map(|n| format!("key{n} = 1\n")).collect();
    let same_key = "key = 1\n".repeat(80_000);
    let garbage = "]\n".repeat(1 << 19);
    let quotes = "\"".repeat(1 << 20);
    let unknown_hosts: String = std::iter::once("version = 1\nnode = 'fw'\n[host]\n".to_owned())
        .chain((0..40_000).map(|n| format!("host{n} = 'hots{n}'\n")))
        .collect();
    let chain: String = std::iter::once("version = 1\nnode = 'fw'\n[host]\n".to_owned())
        .chain((0..40_000).map(|n| format!("h{n} = 'h{}'\n", n + 1)))
        .collect();
    let doubling: String = std::iter::once("version = 1\nnode = 'fw'\n[host]\nh0 = '10.0.0.1'\n".to_owned())
        .chain((1..31).map(|n| format!("h{n} = {:?}\n", vec![format!("h{}", n - 1); 1000])))
        .collect();
    // A thousand times the same name on each level is one address in the end: valid, and as quick.
    let start = Instant::now();
    assert!(survives(&(doubling + "[interface.lan]\ndevice = 'e0'\n")).is_empty());
    assert!(start.elapsed() < Duration::from_secs(20));
    let big: Vec<String> =
        (0..60_000u32).map(|n| std::net::Ipv4Addr::from(n * 2 + (10 << 24)).to_string()).collect();
    let copies: String = (0..2_000).map(|n| format!("copy{n} = 'big'\n")).collect();
    let copies = format!("version = 1\nnode = 'fw'\n[host]\nbig = {big:?}\n{copies}");
    let huge = "#".repeat(limits::MAX_DOCUMENT_BYTES + 1);
    let cases = [
        ("deep key", deep_key),
        ("deep table", deep_table),
        ("deep array", deep_array),
        ("deep inline table", deep_inline),
        ("long key", long_key),
        ("long zone", long_zone),
        ("many keys", many_keys),
        ("same key", same_key),
        ("garbage", garbage),
        ("quotes", quotes),
        ("unknown hosts", unknown_hosts),
        ("chain", chain),
        ("copies", copies),
        ("huge", huge),
    ];
    for (name, text) in cases {
        let start = Instant::now();
        let reading = read(&text);
        let took = start.elapsed();
        assert!(reading.model.is_none(), "{name} is valid");
        assert!(reading.diagnostics.len() <= 2 * limits::MAX_DIAGNOSTICS + 2, "{name}");
        // Some hundredths of a second when optimised; the bound has room for a debug build on a busy machine.
        assert!(took < Duration::from_secs(20), "{name} took {took:?}");
        println!("{name}: {took:?}, {}", reading.diagnostics[0].message);
        render(&reading.diagnostics[..1], "document", &text, false);
    }
}
