//! Draws what may be typed next, and what a verb has said.

use ratatui_core::text::{Line, Span};

use super::toned;
use crate::cli::line;
use crate::format::{left, width as columns_of, wrap};
use crate::tr;
use crate::tui::model::Model;
use crate::tui::prompt::{End, Output, Prompt};
use crate::tui::theme::Theme;
use crate::words::Tone;

/// What the last word may become, each with what it does.
pub fn candidates(m: &Model, prompt: &Prompt, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let found = line::candidates(m.lang, &prompt.input.text);
    let names = found.iter().map(|c| columns_of(&c.word)).max().unwrap_or(0) + 2;
    let row = |c: line::Candidate| {
        let about = left(&c.about, width.saturating_sub(names + 2));
        let word = left(&c.word, names);
        Line::from(vec![
            Span::styled(format!("  {word}"), theme.tone(Tone::Accent)),
            Span::styled(about, theme.tone(Tone::Dim)),
        ])
    };
    found.into_iter().map(row).collect()
}

/// What was said.
pub fn output(m: &Model, output: &Output, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let forgotten = (output.forgotten > 0)
        .then(|| toned(tr!(m.lang, "prompt-forgotten", count = output.forgotten), Tone::Dim, theme));
    let said = output.lines.iter().flat_map(|line| wrap(line, width));
    forgotten.into_iter().chain(said.map(|line| toned(line, Tone::Plain, theme))).collect()
}

/// Whether it runs, or how it has ended.
pub fn state(m: &Model, output: &Output) -> (String, Tone) {
    match output.end {
        None => (tr!(m.lang, "prompt-runs"), Tone::Warn),
        Some(End::Misread) => (tr!(m.lang, "prompt-misread"), Tone::Warn),
        Some(End::Code(0)) => (tr!(m.lang, "prompt-done"), Tone::Good),
        Some(End::Code(code)) => (tr!(m.lang, "prompt-failed", code = code), Tone::Bad),
        Some(End::Interrupted) => (tr!(m.lang, "prompt-interrupted"), Tone::Warn),
    }
}
