//! Draws the editor: the lines in sight, the cursor, and what is wrong.

use ratatui_core::text::{Line, Span};

use super::toned;
use crate::format::{left, wrap};
use crate::tr;
use crate::tui::editor::Editor;
use crate::tui::model::Model;
use crate::tui::theme::Theme;
use crate::words::Tone;

/// Below the title, and above the lines: how it is.
pub fn state(m: &Model, it: &Editor, theme: Theme, width: usize) -> Line<'static> {
    let (text, tone) = match it {
        Editor { leaving: true, .. } => (tr!(m.lang, "editor-leaving"), Tone::Warn),
        Editor { sending: true, .. } => (tr!(m.lang, "text-sending"), Tone::Warn),
        Editor { fault: Some(fault), .. } => {
            let line = fault.line.to_string();
            (tr!(m.lang, "editor-fault", line = line, message = fault.message.as_str()), Tone::Bad)
        }
        Editor { lines, .. } if lines.is_empty() => (tr!(m.lang, "text-waiting"), Tone::Dim),
        Editor { changed, row, lines, .. } => {
            let (row, lines) = ((row + 1).to_string(), lines.len().to_string());
            match changed {
                true => (tr!(m.lang, "editor-changed", row = row, lines = lines), Tone::Plain),
                false => (tr!(m.lang, "editor-same", row = row, lines = lines), Tone::Dim),
            }
        }
    };
    toned(left(wrap(&text, width).first().map_or("", String::as_str), width), tone, theme)
}

/// The lines.
pub fn lines(it: &Editor, theme: Theme, width: usize, room: usize) -> Vec<Line<'static>> {
    let rows = it.lines.iter().enumerate().skip(it.top).take(room);
    rows.map(|(row, text)| if row == it.row { cursor(it, text, theme, width) } else { plain(text, width) })
        .collect()
}

fn plain(text: &str, width: usize) -> Line<'static> {
    Line::from(shown(text.chars().take(width)))
}

/// What the terminal would not show as one column is a blank.
fn shown(chars: impl Iterator<Item = char>) -> String {
    chars.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The line of the cursor moves to the left where it is long.
fn cursor(it: &Editor, text: &str, theme: Theme, width: usize) -> Line<'static> {
    let first = (it.column + 1).saturating_sub(width);
    let chars = || text.chars();
    let before = shown(chars().skip(first).take(it.column - first));
    let under = shown(chars().skip(it.column).take(1).chain(chars().nth(it.column).is_none().then_some(' ')));
    let after = shown(chars().skip(it.column + 1).take((width + first).saturating_sub(it.column + 1)));
    Line::from(vec![Span::raw(before), Span::styled(under, theme.focus()), Span::raw(after)])
}
