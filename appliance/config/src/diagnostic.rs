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
    let mut out = String::new();
    for d in diagnostics {
        let level = match d.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let primary = AnnotationKind::Primary.span(d.span.clone()).label(d.label.as_str());
        let related = d.related.iter().map(|(at, why)| AnnotationKind::Context.span(at.clone()).label(why));
        let snippet = Snippet::source(text).path(file).annotation(primary).annotations(related);
        let mut report = vec![level.primary_title(d.message.as_str()).id(d.code).element(snippet)];
        if let Some(hint) = &d.hint {
            report.push(Group::with_title(Level::HELP.secondary_title(hint.as_str())));
        }
        out.push_str(&renderer.render(&report));
        out.push_str("\n\n");
    }
    out
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line as u32, column as u32)
}
