//! Owns columns on a screen: measured, shrunk to what there is, cut with `…`.

use ratatui_core::style::Style;
use ratatui_core::text::{Line, Span};

use super::theme::Theme;
use crate::format::{self, left, right};
use crate::words::Tone;

/// A text and its tone.
pub type Cell = (String, Tone);

/// A column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    title: String,
    min: usize,
    max: usize,
    right: bool,
}

impl Column {
    /// As wide as its texts, within limits; the first to shrink is the one farthest above its least width.
    pub fn text(title: String, min: usize, max: usize) -> Column {
        Column { title, min, max, right: false }
    }
    /// Always this wide, so that live data does not make the columns jump.
    pub fn fixed(title: String, width: usize) -> Column {
        Column { title, min: width, max: width, right: false }
    }
    /// The same for numbers.
    pub fn number(title: String, width: usize) -> Column {
        Column { title, min: width, max: width, right: true }
    }
}

/// Columns that fit into `total`, with one space between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grid {
    columns: Vec<Column>,
    widths: Vec<usize>,
}

impl Grid {
    /// Measures the rows.
    pub fn new(columns: Vec<Column>, rows: &[Vec<Cell>], total: usize) -> Grid {
        let measured = |i: usize, c: &Column| {
            let cells = rows.iter().filter_map(|r| r.get(i)).map(|(text, _)| format::width(text));
            cells.chain([format::width(&c.title)]).max().unwrap_or(0).clamp(c.min, c.max)
        };
        let mut widths: Vec<usize> = columns.iter().enumerate().map(|(i, c)| measured(i, c)).collect();
        let gaps = columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > total {
            let room = |i: &usize| widths[*i] - columns[*i].min;
            let Some(widest) = (0..widths.len()).max_by_key(room).filter(|i| room(i) > 0) else { break };
            widths[widest] -= 1;
        }
        Grid { columns, widths }
    }

    /// The headings.
    pub fn head(&self, theme: Theme) -> Line<'static> {
        let cells: Vec<Cell> = self.columns.iter().map(|c| (c.title.clone(), Tone::Plain)).collect();
        let text: Vec<String> = self.texts(&cells);
        Line::styled(text.join(" "), theme.heading())
    }

    /// A row; reversed as a whole where the cursor is.
    pub fn row(&self, cells: &[Cell], theme: Theme, selected: bool) -> Line<'static> {
        let texts = self.texts(cells);
        if selected {
            return Line::styled(texts.join(" "), theme.focus());
        }
        let mut spans = Vec::new();
        for (text, (_, tone)) in texts.into_iter().zip(cells) {
            if !spans.is_empty() {
                spans.push(Span::raw(" "));
            }
            spans.push(Span::styled(text, theme.tone(*tone)));
        }
        Line::from(spans).style(Style::new())
    }

    fn texts(&self, cells: &[Cell]) -> Vec<String> {
        let columns = self.columns.iter().zip(&self.widths);
        let aligned = columns.zip(cells).map(|((column, width), (text, _))| match column.right {
            true => right(text, *width),
            false => left(text, *width),
        });
        aligned.collect()
    }
}

/// The rows of a list that are on the screen: whole pages, so that a cursor move repaints two rows and not all.
pub fn page(len: usize, cursor: usize, height: usize) -> std::ops::Range<usize> {
    let height = height.max(1);
    let start = cursor.min(len.saturating_sub(1)) / height * height;
    start..len.min(start + height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_column_shrinks_first() {
        let rows = vec![vec![("a".repeat(30), Tone::Plain), ("b".repeat(10), Tone::Plain)]];
        let columns = vec![Column::text("x".into(), 4, 40), Column::text("y".into(), 4, 40)];
        let grid = Grid::new(columns, &rows, 25);
        assert_eq!(grid.widths, [14, 10]);
    }

    #[test]
    fn pages_are_whole() {
        assert_eq!(page(25, 0, 10), 0..10);
        assert_eq!(page(25, 9, 10), 0..10);
        assert_eq!(page(25, 10, 10), 10..20);
        assert_eq!(page(25, 99, 10), 20..25);
        assert_eq!(page(0, 0, 10), 0..0);
    }
}
