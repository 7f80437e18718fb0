//! Draws the tracked connections.

use ratatui_core::text::Line;
use rempart_bus::documents::Connection;

use super::{filter_line, toned};
use crate::cli::print::{endpoint, target};
use crate::filter::Order;
use crate::format::{bytes, short_duration};
use crate::tr;
use crate::tui::grid::{Cell, Column, Grid, page};
use crate::tui::model::Model;
use crate::tui::theme::Theme;
use crate::words::{self, Tone};

/// The lines of the screen.
pub fn lines(m: &Model, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let shown = m.shown_connections();
    let all = m.status.as_ref().map_or(m.connections.items.len() as u64, |s| s.connections.into());
    let count = tr!(m.lang, "connections-shown", shown = shown.len(), all = all);
    let mut out = vec![filter_line(m, &m.connections, count, theme, width)];
    out.extend(table(m, &shown, Some(m.connections.cursor), theme, width, height.saturating_sub(1)));
    if shown.is_empty() {
        out.push(toned(tr!(m.lang, "connections-none"), Tone::Dim, theme));
    }
    out
}

/// Connections as rows.
pub fn table(
    m: &Model,
    list: &[&Connection],
    cursor: Option<usize>,
    theme: Theme,
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let shown = page(list.len(), cursor.unwrap_or(0), height.saturating_sub(1));
    let grid = grid(m, width);
    let mut out = vec![grid.head(theme)];
    out.extend(shown.map(|i| grid.row(&row(m, list[i]), theme, cursor == Some(i))));
    out
}

/// The columns: fixed, and what is left over goes to the addresses, which IPv6 makes long.
fn grid(m: &Model, width: usize) -> Grid {
    let lang = m.lang;
    let sorted = |order: Order, title: String| match m.order == order {
        true => tr!(lang, "head-sorted", title = title),
        false => title,
    };
    let spare = width.saturating_sub(80) / 3;
    let columns = vec![
        Column::fixed(tr!(lang, "head-protocol"), 5),
        Column::fixed(tr!(lang, "head-source"), 20 + spare),
        Column::fixed(tr!(lang, "head-destination"), 19 + spare),
        Column::fixed(tr!(lang, "head-flow"), 11 + spare),
        Column::number(sorted(Order::Age, tr!(lang, "head-age")), 6),
        Column::number(sorted(Order::Timeout, tr!(lang, "head-timeout")), 6),
        Column::number(sorted(Order::Bytes, tr!(lang, "head-bytes")), 7),
    ];
    Grid::new(columns, &[], width)
}

fn row(m: &Model, c: &Connection) -> Vec<Cell> {
    let lang = m.lang;
    let halfway = matches!(c.state.as_str(), "SYN_SENT" | "SYN_RECV" | "UNREPLIED");
    let tone = if halfway { Tone::Warn } else { Tone::Plain };
    vec![
        (c.protocol.clone(), tone),
        (endpoint(&c.source, c.source_port), Tone::Plain),
        (target(&c.protocol, &c.destination, c.destination_port), Tone::Plain),
        (
            if c.flow_label.is_empty() { "-".to_owned() } else { words::label(lang, &c.flow_label) },
            Tone::Accent,
        ),
        (c.age_s.map_or("-".to_owned(), |s| short_duration(lang, s)), Tone::Plain),
        (short_duration(lang, c.timeout_s.into()), Tone::Plain),
        (bytes(lang, c.bytes_in.saturating_add(c.bytes_out)), Tone::Plain),
    ]
}
