//! Draws the firewall log.

use ratatui_core::text::Line;
use rempart_bus::documents::LogEntry;

use super::{filter_line, toned};
use crate::cli::print::way;
use crate::format::time_of_day;
use crate::tr;
use crate::tui::grid::{Cell, Column, Grid, page};
use crate::tui::model::Model;
use crate::tui::theme::Theme;
use crate::words::{self, Tone};

/// The lines of the screen.
pub fn lines(m: &Model, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let shown = m.log.kept();
    let count = match m.log_lost {
        0 => tr!(lang, "log-shown", shown = shown.len()),
        lost => tr!(lang, "log-shown-lost", shown = shown.len(), lost = lost),
    };
    let spare = width.saturating_sub(80) / 4;
    let columns = vec![
        Column::fixed(tr!(lang, "log-time"), 8),
        Column::fixed(tr!(lang, "head-action"), 10),
        Column::fixed(tr!(lang, "head-zones"), 8 + spare),
        Column::fixed(tr!(lang, "head-source"), 15 + spare),
        Column::fixed(tr!(lang, "head-destination"), 15 + spare),
        Column::fixed(tr!(lang, "head-service"), 9),
        Column::fixed(tr!(lang, "head-flow"), 9 + spare),
    ];
    let grid = Grid::new(columns, &[], width);
    let mut out = vec![filter_line(m, &m.log, count, theme, width), grid.head(theme)];
    let rows = page(shown.len(), m.log.cursor, height.saturating_sub(2));
    out.extend(rows.map(|i| grid.row(&row(m, shown[i]), theme, i == m.log.cursor)));
    if shown.is_empty() {
        out.push(toned(tr!(lang, "log-none"), Tone::Dim, theme));
    }
    out
}

fn row(m: &Model, e: &LogEntry) -> Vec<Cell> {
    let action = words::action(&e.action);
    vec![
        (time_of_day(&m.tz, &e.time), Tone::Plain),
        (format!("{} {}", action.glyph, tr!(m.lang, action.word)), action.tone),
        (way(e.from_zone.as_deref(), e.to_zone.as_deref()), Tone::Plain),
        // The source port says little and is among the details; the addresses need the room.
        (e.source.to_string(), Tone::Plain),
        (e.destination.to_string(), Tone::Plain),
        (service(e), Tone::Plain),
        (words::label(m.lang, &e.reason), Tone::Accent),
    ]
}

/// Protocol with its port or type: `tcp/443`.
fn service(e: &LogEntry) -> String {
    match (e.protocol.as_str(), e.destination_port) {
        ("icmp" | "icmp6", kind) => format!("{}/{kind}", e.protocol),
        (protocol, 0) => protocol.to_owned(),
        (protocol, port) => format!("{protocol}/{port}"),
    }
}
