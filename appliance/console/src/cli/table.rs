//! Owns columns: aligned by the width that a terminal gives the text, coloured if asked.

use crate::format;
use crate::words::Tone;

/// Whether and how tones become colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paint {
    /// Off for `--mono`, `NO_COLOR` and what is not a terminal.
    pub colour: bool,
}

impl Paint {
    /// A text in its tone (ECMA-48 SGR).
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31;1",
            Tone::Dim => "2",
            Tone::Accent => "36",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// On which side a column is padded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under headings. Nothing is cut: what is long makes its column wide.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// With these headings.
    pub fn new(columns: impl IntoIterator<Item = (String, Align)>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are headings.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        let cells: Vec<_> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The lines, each ended.
    pub fn print(&self, paint: Paint) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let cells = self.rows.iter().map(|r| format::width(&r[i].0));
                cells.chain([format::width(&self.columns[i].0)]).max().unwrap_or(0)
            })
            .collect();
        let headings = self.columns.iter().map(|(text, _)| (text.clone(), Tone::Dim)).collect();
        let mut out = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            let mut pending = 0;
            for (i, (text, tone)) in row.iter().enumerate() {
                let gap = widths[i] - format::width(text);
                let (before, after) = match self.columns[i].1 {
                    Align::Left => (0, gap),
                    Align::Right => (gap, 0),
                };
                if !text.is_empty() {
                    line.extend(std::iter::repeat_n(' ', pending + before));
                    line.push_str(&paint.tone(*tone, text));
                    pending = after + 2;
                } else {
                    pending += gap + 2;
                }
            }
            out.push_str(&line);
            out.push('\n');
        }
        out
    }
}
