//! Draws the revisions and whether a candidate waits.

use ratatui_core::text::Line;
use rempart_bus::documents::Revision;

use super::toned;
use crate::format::date_minute;
use crate::tr;
use crate::tui::grid::{Cell, Column, Grid, page};
use crate::tui::model::Model;
use crate::tui::theme::Theme;
use crate::words::{self, Tone};

/// The lines of the screen.
pub fn lines(m: &Model, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let waiting = m.status.as_ref().is_some_and(|s| s.candidate);
    let first = match waiting {
        true => toned(tr!(lang, "configuration-candidate"), Tone::Warn, theme),
        false => toned(tr!(lang, "configuration-no-candidate"), Tone::Dim, theme),
    };
    let rows: Vec<Vec<Cell>> = m.revisions.iter().map(|r| row(m, r)).collect();
    let columns = vec![
        Column::number(tr!(lang, "head-revision"), 4),
        Column::text(tr!(lang, "head-state"), 10, 14),
        Column::text(tr!(lang, "head-time"), 16, 16),
        Column::text(tr!(lang, "head-author"), 8, 14),
        Column::text(tr!(lang, "head-comment"), 12, 200),
    ];
    let grid = Grid::new(columns, &rows, width);
    let mut out = vec![first, grid.head(theme)];
    let shown = page(rows.len(), m.revision_cursor, height.saturating_sub(2));
    out.extend(shown.map(|i| grid.row(&rows[i], theme, i == m.revision_cursor)));
    if rows.is_empty() {
        out.push(toned(tr!(lang, "configuration-none"), Tone::Dim, theme));
    }
    out
}

fn row(m: &Model, r: &Revision) -> Vec<Cell> {
    let lang = m.lang;
    let pending = m.status.as_ref().and_then(|s| s.pending.as_ref()).map(|p| p.revision);
    let (state, tone) = match (r.current, pending == Some(r.number)) {
        (_, true) => (tr!(lang, "revision-pending"), Tone::Warn),
        (true, false) => (tr!(lang, "revision-current"), Tone::Good),
        (false, false) => (String::new(), Tone::Plain),
    };
    vec![
        (r.number.to_string(), Tone::Accent),
        (state, tone),
        (date_minute(&m.tz, &r.time), Tone::Plain),
        (r.author.clone(), Tone::Plain),
        (words::comment(lang, r), Tone::Plain),
    ]
}
