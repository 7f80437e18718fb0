//! What is wrong with a document, where, and what to do about it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// It can, but it probably does not say what was meant.
    Warning,
}

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable short name of the kind of fault: `unknown-key`.
    pub code: &'static str,
    /// What is wrong, in one sentence without a final full stop.
    pub message: String,
    /// Where, in bytes from the start of the document.
    pub span: Range<usize>,
    /// What stands there; may be empty.
    pub label: String,
    /// What to do.
    pub hint: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<(Range<usize>, String)>,
}

/// Prints diagnostics with the lines they speak of, in the manner of rustc.
pub fn render(diagnostics: &[Diagnostic], file: &str, text: &str, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let lines = Lines::of(text);
    let mut out = String::new();
    for d in diagnostics {
        // Only the lines that it speaks of: the renderer goes through all that it is given, each time.
        let spans = || std::iter::once(&d.span).chain(d.related.iter().map(|(at, _)| at));
        let first = lines.line(spans().map(|s| s.start).min().unwrap_or(0));
        let last = lines.line(spans().map(|s| s.end).max().unwrap_or(0));
        let window = lines.start(first)..lines.start(last + 1).min(text.len());
        let within = |span: &Range<usize>| span.start - window.start..span.end - window.start;
        let level = match d.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let primary = AnnotationKind::Primary.span(within(&d.span)).label(d.label.as_str());
        let related = d.related.iter().map(|(at, why)| AnnotationKind::Context.span(within(at)).label(why));
        let source = Snippet::source(&text[window.clone()]).line_start(first as usize).path(file);
        let snippet = source.annotation(primary).annotations(related);
        let mut report = vec![level.primary_title(d.message.as_str()).id(d.code).element(snippet)];
        if let Some(hint) = &d.hint {
            report.push(Group::with_title(Level::HELP.secondary_title(hint.as_str())));
        }
        out.push_str(&renderer.render(&report));
        out.push_str("\n\n");
    }
    out
}

/// Where lines start, so that a line number is a search and not a scan.
pub(crate) struct Lines {
    newlines: Vec<usize>,
    len: usize,
}

impl Lines {
    pub fn of(text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect();
        Self { newlines, len: text.len() }
    }

    /// The line of a byte offset, from 1.
    pub fn line(&self, offset: usize) -> u32 {
        let before = self.newlines.partition_point(|newline| *newline < offset);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    /// Where a line starts; the end of the text for lines after it.
    fn start(&self, line: u32) -> usize {
        match (line as usize).checked_sub(2) {
            None => 0,
            Some(before) => self.newlines.get(before).map_or(self.len, |newline| newline + 1),
        }
    }
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line as u32, column as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_where_they_are() {
        // Offsets of a text with and without a last newline go in; the same lines as by counting come out.
        for text in ["", "\n", "a", "a\n", "one\ntwo\n\nfour", "é\n\nü\n"] {
            let lines = Lines::of(text);
            for (offset, _) in text.char_indices().chain([(text.len(), ' ')]) {
                assert_eq!(lines.line(offset), position(text, offset).0, "{text:?} at {offset}");
                let start = lines.start(lines.line(offset));
                assert!(start <= offset && !text[start..offset].contains('\n'), "{text:?} at {offset}");
            }
        }
    }

    #[test]
    fn columns_count_characters() {
        // Offsets behind characters of several bytes; the column is what an editor shows.
        assert_eq!(position("é = 1\nü = x", 9), (2, 2));
        assert_eq!(position("abc", 99), (1, 4));
        assert_eq!(position("é", 1), (1, 1), "inside a character is at its start");
    }
}
