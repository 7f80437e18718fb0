//! Draws the flow matrix, either way round, with the flows of the cell under the cursor below it.

use ratatui_core::style::Style;
use ratatui_core::text::{Line, Span};
use rempart_bus::documents::FlowStatus;

use super::toned;
use crate::format::{integer, left, width as columns_of};
use crate::matrix::{Cell, Matrix, ServiceMatrix};
use crate::tr;
use crate::tui::grid::{self, Column, Grid, page};
use crate::tui::model::{Model, Pivot};
use crate::tui::theme::Theme;
use crate::tui::update::matrix_shape;
use crate::words::{self, Tone};

/// Rows for the flows of the cell, with their heading, where there is room.
const PREVIEW: usize = 6;

/// A matrix of whichever kind, ready to be drawn.
struct Sheet<'a> {
    corner: String,
    rows: Vec<String>,
    columns: Vec<String>,
    cell: Box<dyn Fn(usize, usize) -> &'a Cell + 'a>,
}

/// The lines of the screen.
pub fn lines(m: &Model, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    if m.flows.is_empty() {
        return vec![toned(tr!(m.lang, "matrix-empty"), Tone::Dim, theme)];
    }
    let status = m.status.clone().unwrap_or_default();
    let (zones, services);
    let sheet = match m.matrix.pivot {
        Pivot::Zones => {
            zones = Matrix::new(&status, &m.flows, &m.warnings);
            Sheet {
                corner: tr!(m.lang, "matrix-corner"),
                rows: zones.zones.clone(),
                columns: zones.zones.clone(),
                cell: Box::new(|row, column| zones.cell(row, column)),
            }
        }
        Pivot::Services => {
            services = ServiceMatrix::new(&m.flows, &m.warnings);
            Sheet {
                corner: tr!(m.lang, "matrix-corner-services"),
                rows: services.services.clone(),
                columns: services.pairs.iter().map(|(from, to)| format!("{from}→{to}")).collect(),
                cell: Box::new(|row, column| services.cell(row, column)),
            }
        }
    };
    let table_height = height.saturating_sub(PREVIEW + 1).max(3);
    let mut out = table(m, &sheet, theme, width, table_height);
    out.push(toned(tr!(m.lang, "matrix-key"), Tone::Dim, theme));
    let (_, _, ids) = matrix_shape(m);
    let flows: Vec<&FlowStatus> = m.flows.iter().filter(|f| ids.contains(&f.id)).collect();
    if flows.is_empty() {
        out.push(toned(tr!(m.lang, "matrix-no-flows"), Tone::Plain, theme));
        return out;
    }
    let room = height.saturating_sub(out.len());
    out.extend(flow_table(m, &flows, None, theme, width, room));
    out
}

fn table(m: &Model, sheet: &Sheet<'_>, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let longest = |names: &[String]| names.iter().map(|n| columns_of(n)).max().unwrap_or(0);
    let first = longest(&sheet.rows).max(columns_of(&sheet.corner)).min(16);
    let each = longest(&sheet.columns).clamp(6, 14);
    let fitting = (width.saturating_sub(first) / (each + 1)).max(1);
    let columns = page(sheet.columns.len(), m.matrix.column, fitting);
    let rows = page(sheet.rows.len(), m.matrix.row, height.saturating_sub(1));
    let more = |left: bool| match left {
        true if columns.start > 0 => "←",
        false if columns.end < sheet.columns.len() => "→",
        _ => "",
    };
    let mut head = left(&sheet.corner, first);
    for c in columns.clone() {
        head.push(' ');
        head.push_str(&left(&sheet.columns[c], each));
    }
    head.push_str(more(true));
    head.push_str(more(false));
    let mut out = vec![Line::styled(head, theme.heading())];
    for r in rows {
        let mut spans = vec![Span::styled(left(&sheet.rows[r], first), theme.tone(Tone::Accent))];
        for c in columns.clone() {
            let cell = (sheet.cell)(r, c);
            let here = (r, c) == (m.matrix.row, m.matrix.column);
            let style: Style = if here { theme.focus() } else { theme.tone(cell.tone()) };
            spans.push(Span::raw(" "));
            spans.push(Span::styled(left(&cell.text(), each), style));
        }
        out.push(Line::from(spans));
    }
    out
}

/// Flows as rows; with a cursor in the list of a cell.
pub fn flow_table(
    m: &Model,
    flows: &[&FlowStatus],
    cursor: Option<usize>,
    theme: Theme,
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let lang = m.lang;
    let rows: Vec<Vec<grid::Cell>> = flows.iter().map(|f| flow_row(m, f)).collect();
    let columns = vec![
        Column::text(tr!(lang, "head-flow"), 10, 24),
        Column::text(tr!(lang, "head-action"), 8, 12),
        Column::text(tr!(lang, "head-from"), 6, 22),
        Column::text(tr!(lang, "head-to"), 6, 22),
        Column::text(tr!(lang, "head-services"), 8, 30),
        Column::text(tr!(lang, "head-state"), 8, 12),
        Column::number(tr!(lang, "head-hits"), 9),
    ];
    let grid = Grid::new(columns, &rows, width);
    let mut out = vec![grid.head(theme)];
    let shown = page(rows.len(), cursor.unwrap_or(0), height.saturating_sub(1));
    out.extend(shown.map(|i| grid.row(&rows[i], theme, cursor == Some(i))));
    out
}

fn flow_row(m: &Model, f: &FlowStatus) -> Vec<grid::Cell> {
    let (action, state) = (words::action(&f.action), words::flow(f));
    vec![
        (words::label(m.lang, &f.label), Tone::Accent),
        (format!("{} {}", action.glyph, tr!(m.lang, action.word)), action.tone),
        (f.from.clone(), Tone::Plain),
        (f.to.clone(), Tone::Plain),
        (f.services.clone(), Tone::Plain),
        (format!("{} {}", state.glyph, tr!(m.lang, state.word)), state.tone),
        (integer(m.lang, f.hits), Tone::Plain),
    ]
}
