//! Both languages say the same things, the code asks for nothing else, and the console can show all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fluent_syntax::ast;

use super::*;
use crate::cli;

/// What `Lat15-Terminus16` has beyond ASCII and is used here, from the Unicode table of Debian's font file.
/// The font lacks half and eighth blocks, ▓, braille, ↔, ✓ and ○.
pub const FONT: &str = concat!(
    "\u{a0}¡¢£¤¥¦§¨©ª«¬®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞß",
    "àáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿŒœŠšŸŽž\u{202f}–—‘’“”†‡•…‰‹›€™",
    "←↑→↓−∞≈≠≤≥─│┌┐└┘├┤┬┴┼═║╔╗╚╝╠╣╦╩╬█░▒■▲▶▼◀●✗",
);

/// Whether the console can show a character.
pub fn is_in_font(c: char) -> bool {
    (' '..='~').contains(&c) || FONT.contains(c)
}

/// The messages of a language, each with the names of its arguments.
fn messages(lang: Lang) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for source in sources(lang) {
        let resource = fluent_syntax::parser::parse(source).expect("a message file parses");
        for entry in resource.body {
            let ast::Entry::Message(message) = entry else { continue };
            let mut arguments = BTreeSet::new();
            variables(message.value.as_ref().expect("a message has a value"), &mut arguments);
            let old = found.insert(message.id.name.to_owned(), arguments);
            assert_eq!(old, None, "{} is defined twice", message.id.name);
        }
    }
    found
}

fn variables(pattern: &ast::Pattern<&str>, found: &mut BTreeSet<String>) {
    for element in &pattern.elements {
        if let ast::PatternElement::Placeable { expression } = element {
            match expression {
                ast::Expression::Inline(inline) => inline_variables(inline, found),
                ast::Expression::Select { selector, variants } => {
                    inline_variables(selector, found);
                    variants.iter().for_each(|v| variables(&v.value, found));
                }
            }
        }
    }
}

fn inline_variables(inline: &ast::InlineExpression<&str>, found: &mut BTreeSet<String>) {
    match inline {
        ast::InlineExpression::VariableReference { id } => _ = found.insert(id.name.to_owned()),
        ast::InlineExpression::StringLiteral { .. } | ast::InlineExpression::NumberLiteral { .. } => {}
        other => panic!("no message needs {other:?}"),
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// Every use of a message in the code: its id and the names of its arguments; `None` where the id is only named.
fn uses() -> Vec<(String, Option<BTreeSet<String>>)> {
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
    let mut found = Vec::new();
    for path in paths.iter().filter(|p| !p.ends_with("lang/tests.rs") && !p.ends_with("lang.rs")) {
        let code = std::fs::read_to_string(path).expect("a source");
        for call in calls(&code, "tr!(") {
            let parts = split(call);
            let Some(id) = literal(&parts[1]) else { continue };
            let names = parts[2..].iter().filter(|p| !p.trim().is_empty());
            let names = names.map(|p| p.split('=').next().unwrap_or("").trim().to_owned());
            found.push((id, Some(names.collect())));
        }
        for call in calls(&code, "id!(").into_iter().chain(calls(&code, "heads!(")) {
            let ids = call.split('"').skip(1).step_by(2);
            found.extend(ids.map(|id| (id.to_owned(), None)));
        }
    }
    found
}

fn literal(text: &str) -> Option<String> {
    text.trim().strip_prefix('"')?.strip_suffix('"').map(str::to_owned)
}

/// What stands between the parentheses of each call.
fn calls<'a>(code: &'a str, name: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    // `include_str!(` ends in the same letters.
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    for (at, _) in code.match_indices(name).filter(|(at, _)| begins(*at)) {
        let rest = &code[at + name.len()..];
        let (mut depth, mut quoted, mut escaped) = (1, false, false);
        for (i, c) in rest.char_indices() {
            match (quoted, c) {
                (true, _) if escaped => escaped = false,
                (true, '\\') => escaped = true,
                (_, '"') => quoted = !quoted,
                (false, '(') => depth += 1,
                (false, ')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                found.push(&rest[..i]);
                break;
            }
        }
    }
    found
}

/// The arguments of a call.
fn split(call: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quoted) = (0, false);
    for c in call.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("never empty").push(c);
    }
    parts
}

/// The messages that describe the command line, which are found by the names of verbs and options.
fn help_ids() -> BTreeSet<String> {
    let root = cli::command(Lang::En);
    let mut ids = BTreeSet::from(["help-rempart".to_owned()]);
    ids.extend(root.get_arguments().map(|a| cli::help_id("rempart", a.get_id().as_str())));
    root.get_subcommands().for_each(|verb| help_ids_of(verb, verb.get_name(), &mut ids));
    ids
}

/// The titles of the recommendations and the reasons of deviations, which are found by their names.
fn audit_ids() -> impl Iterator<Item = String> {
    use rempart_bus::audit::{DEVIATIONS, RECOMMENDATIONS};
    let titles = RECOMMENDATIONS.iter().map(|code| format!("audit-{code}"));
    titles.chain(DEVIATIONS.iter().map(|code| format!("audit-why-{code}")))
}

fn help_ids_of(verb: &clap::Command, name: &str, ids: &mut BTreeSet<String>) {
    ids.insert(format!("help-{name}"));
    ids.extend(verb.get_arguments().map(|a| cli::help_id(name, a.get_id().as_str())));
    verb.get_subcommands().for_each(|inner| help_ids_of(inner, &format!("{name}-{}", inner.get_name()), ids));
}

#[test]
fn both_languages_have_the_same_messages_with_the_same_arguments() {
    assert_eq!(messages(Lang::Fr), messages(Lang::En));
}

#[test]
fn every_message_that_the_code_asks_for_exists_with_those_arguments() {
    let defined = messages(Lang::En);
    for (id, arguments) in uses() {
        let wanted = defined.get(&id).unwrap_or_else(|| panic!("there is no message {id}"));
        if let Some(arguments) = arguments {
            assert_eq!(&arguments, wanted, "arguments of {id}");
        }
    }
    for id in help_ids().into_iter().chain(audit_ids()) {
        assert!(defined.contains_key(&id), "there is no message {id}");
    }
}

#[test]
fn every_message_is_used() {
    let mut used: BTreeSet<String> = uses().into_iter().map(|(id, _)| id).collect();
    used.extend(help_ids());
    used.extend(audit_ids());
    let unused: Vec<_> = messages(Lang::En).into_keys().filter(|id| !used.contains(id)).collect();
    assert_eq!(unused, [] as [String; 0]);
}

#[test]
fn the_console_font_has_every_character() {
    for lang in [Lang::Fr, Lang::En] {
        for source in sources(lang) {
            let strange: BTreeSet<char> = source.chars().filter(|c| *c != '\n' && !is_in_font(*c)).collect();
            assert_eq!(strange, BTreeSet::new(), "in {lang:?}");
        }
    }
}

#[test]
fn french_marks_stand_behind_a_no_break_space() {
    for source in sources(Lang::Fr) {
        for line in source.lines().filter(|l| !l.starts_with('#')) {
            let text = line.split_once(" = ").map_or(line, |(_, text)| text);
            for (at, mark) in text.char_indices().filter(|(_, c)| matches!(c, ':' | ';' | '!' | '?' | '»')) {
                let before = text[..at].chars().next_back();
                let after = text[at + mark.len_utf8()..].chars().next();
                // A sign, a key or a filter is no punctuation: `! À CONFIRMER`, `? aide`, `port:443`, `!proto`.
                let ends = after.is_none_or(|c| c == ' ' || c == '\u{a0}' || c == ')' || c == '[');
                let is_sign = matches!(before, None | Some(' '));
                assert!(!ends || is_sign || before == Some('\u{a0}'), "{line}");
            }
            assert!(!text.contains("« ") && !text.contains(" »"), "{line}");
        }
    }
}

#[test]
fn key_lines_have_80_columns() {
    for lang in [Lang::Fr, Lang::En] {
        for id in messages(lang).into_keys().filter(|id| id.starts_with("keys-")) {
            let text = lang.text(&id, &[]);
            assert!(crate::format::width(&text) <= 80, "{lang:?} {id}: {}", crate::format::width(&text));
        }
    }
}

#[test]
fn plurals_follow_the_language() {
    // CLDR: zero is singular in French and plural in English.
    assert_eq!(crate::tr!(Lang::Fr, "kill-done", count = 0), "0 connexion coupée.");
    assert_eq!(crate::tr!(Lang::En, "kill-done", count = 0), "0 connections ended.");
    assert_eq!(crate::tr!(Lang::Fr, "kill-done", count = 1200), "1\u{202f}200 connexions coupées.");
}

#[test]
fn the_language_comes_from_the_option_then_the_environment() {
    let env = |name: &str| match name {
        "LC_ALL" => Some(String::new()),
        "LANG" => Some("fr_FR.UTF-8".to_owned()),
        _ => None,
    };
    assert_eq!(Lang::choose(None, env), Lang::Fr);
    assert_eq!(Lang::choose(Some(Lang::En), env), Lang::En);
    assert_eq!(Lang::choose(None, |_| None), Lang::En);
    assert_eq!(Lang::choose(None, |n| (n == "LC_ALL").then(|| "C.UTF-8".to_owned())), Lang::En);
}
