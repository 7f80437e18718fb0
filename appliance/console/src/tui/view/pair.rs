//! Draws the pair: both nodes, the ways between them, the virtual routers, what happened last.

use ratatui_core::text::{Line, Span};
use rempart_bus::ha::HaStatus;

use super::toned;
use crate::format::{date_time, integer, wrap};
use crate::pair::{facts, holder, microseconds};
use crate::tr;
use crate::tui::grid::{Cell, Column, Grid};
use crate::tui::model::Model;
use crate::tui::theme::Theme;
use crate::words::{self, Sign, Tone};

/// Events that are shown, the newest first.
const EVENTS: usize = 8;

/// All lines; the frame shows as many as it has room for.
pub fn lines(m: &Model) -> Vec<Line<'static>> {
    let theme = Theme::of(m);
    let width = usize::from(m.width);
    let status = match &m.pair {
        Some(Ok(status)) => status,
        Some(Err(failure)) => {
            let text = crate::cli::run::failure_text(m.lang, failure);
            return wrap(&text, width).into_iter().map(|l| toned(l, Tone::Bad, theme)).collect();
        }
        None => return vec![toned(tr!(m.lang, "pair-asking"), Tone::Dim, theme)],
    };
    let mut out = Vec::new();
    for (tone, text) in facts(m.lang, &m.tz, status) {
        out.extend(wrap(&text, width).into_iter().map(|l| toned(l, tone, theme)));
    }
    for part in [paths(m, status, theme, width), routers(m, status, theme, width), events(m, status, theme)] {
        if !part.is_empty() {
            out.push(Line::default());
            out.extend(part);
        }
    }
    out
}

fn said(m: &Model, sign: Sign) -> Cell {
    (format!("{} {}", sign.glyph, tr!(m.lang, sign.word)), sign.tone)
}

fn paths(m: &Model, s: &HaStatus, theme: Theme, width: usize) -> Vec<Line<'static>> {
    if s.paths.is_empty() {
        return Vec::new();
    }
    let lang = m.lang;
    let row = |p: &rempart_bus::ha::PathStatus| -> Vec<Cell> {
        let round_trip = p.rtt_us.map_or("-".to_owned(), |us| microseconds(lang, us.into()));
        vec![
            (p.interface.clone(), Tone::Accent),
            (p.device.clone(), Tone::Plain),
            said(m, words::path(&p.state)),
            (round_trip, Tone::Plain),
            (integer(lang, p.lost), Tone::Plain),
            (date_time(&m.tz, &p.since), Tone::Dim),
        ]
    };
    let rows: Vec<Vec<Cell>> = s.paths.iter().map(row).collect();
    let columns = vec![
        Column::text(tr!(lang, "head-path"), 6, 12),
        Column::text(tr!(lang, "head-device"), 6, 15),
        Column::text(tr!(lang, "head-state"), 12, 16),
        Column::number(tr!(lang, "head-round-trip"), 12),
        Column::number(tr!(lang, "head-lost"), 7),
        Column::text(tr!(lang, "head-since"), 19, 19),
    ];
    grid(columns, &rows, theme, width)
}

fn routers(m: &Model, s: &HaStatus, theme: Theme, width: usize) -> Vec<Line<'static>> {
    if s.routers.is_empty() {
        return Vec::new();
    }
    let lang = m.lang;
    let row = |r: &rempart_bus::ha::RouterStatus| -> Vec<Cell> {
        vec![
            (r.interface.clone(), Tone::Accent),
            (r.vrid.to_string(), Tone::Plain),
            (r.protocol.clone(), Tone::Plain),
            said(m, words::router(&r.state)),
            (holder(s, r).unwrap_or("-").to_owned(), Tone::Plain),
            (r.addresses.join(" "), Tone::Plain),
        ]
    };
    let rows: Vec<Vec<Cell>> = s.routers.iter().map(row).collect();
    let columns = vec![
        Column::text(tr!(lang, "head-interface"), 6, 12),
        Column::number(tr!(lang, "head-vrid"), 4),
        Column::text(tr!(lang, "head-protocol"), 5, 6),
        Column::text(tr!(lang, "head-state"), 12, 14),
        Column::text(tr!(lang, "head-holder"), 8, 15),
        Column::text(tr!(lang, "head-addresses"), 15, 80),
    ];
    grid(columns, &rows, theme, width)
}

fn grid(columns: Vec<Column>, rows: &[Vec<Cell>], theme: Theme, width: usize) -> Vec<Line<'static>> {
    let grid = Grid::new(columns, rows, width);
    let mut out = vec![grid.head(theme)];
    out.extend(rows.iter().map(|r| grid.row(r, theme, false)));
    out
}

fn events(m: &Model, s: &HaStatus, theme: Theme) -> Vec<Line<'static>> {
    if s.events.is_empty() {
        return Vec::new();
    }
    let mut out = vec![Line::from(Span::styled(tr!(m.lang, "pair-events"), theme.heading()))];
    for event in s.events.iter().rev().take(EVENTS) {
        let what = tr!(m.lang, words::event(&event.code));
        let about = words::about(m.lang, &event.code, &event.about);
        let time = date_time(&m.tz, &event.time);
        let text = tr!(m.lang, "pair-event", time = time, what = what, about = about);
        out.push(toned(text.trim_end().to_owned(), Tone::Plain, theme));
    }
    out
}
