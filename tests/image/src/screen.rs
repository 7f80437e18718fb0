//! What a person sees at the end of the serial line: enough of a terminal (ECMA-48) for the console's screens.

/// Columns of the terminal, the console's fallback.
const COLUMNS: usize = 80;
/// Rows of the terminal.
const ROWS: usize = 24;
/// The longest escape sequence that is waited for; a longer one is none.
const SEQUENCE_MAX: usize = 64;

/// A terminal's face.
#[derive(Clone, Debug)]
pub struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// Bytes that do not make a character or a sequence yet.
    rest: Vec<u8>,
}

impl Default for Screen {
    fn default() -> Self {
        Self { cells: vec![vec![' '; COLUMNS]; ROWS], row: 0, column: 0, rest: Vec::new() }
    }
}

impl Screen {
    /// Takes in what came over the line.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.rest);
        let mut left = all.as_slice();
        while let Some(used) = self.step(left) {
            left = &left[used..];
        }
        self.rest = left.to_vec();
    }

    /// The lines, without the blanks at their ends. Blanks that do not break are blanks.
    pub fn text(&self) -> String {
        let line =
            |cells: &Vec<char>| cells.iter().collect::<String>().replace('\u{a0}', " ").trim_end().to_owned();
        self.cells.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Takes one character or sequence; `None` while it is not whole.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        match *bytes.first()? {
            0x1b => self.escape(bytes),
            b'\r' => self.moved(1, self.row, 0),
            b'\n' => {
                self.new_line();
                Some(1)
            }
            0x08 => self.moved(1, self.row, self.column.saturating_sub(1)),
            0..0x20 | 0x7f => Some(1),
            _ => self.character(bytes),
        }
    }

    fn character(&mut self, bytes: &[u8]) -> Option<usize> {
        let length = match bytes[0] {
            0..0x80 => 1,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0.. => 4,
            // A byte that begins nothing.
            0x80..0xc0 => return Some(1),
        };
        let text = std::str::from_utf8(bytes.get(..length)?).unwrap_or("\u{fffd}");
        if self.column >= COLUMNS {
            self.column = 0;
            self.new_line();
        }
        self.cells[self.row][self.column] = text.chars().next().unwrap_or(' ');
        self.column += 1;
        Some(length)
    }

    fn escape(&mut self, bytes: &[u8]) -> Option<usize> {
        match *bytes.get(1)? {
            b'[' => {
                let Some(end) = bytes.iter().skip(2).position(|b| (0x40..0x7f).contains(b)) else {
                    return (bytes.len() > SEQUENCE_MAX).then_some(1);
                };
                let body = String::from_utf8_lossy(&bytes[2..2 + end]).into_owned();
                self.control(&body, bytes[2 + end]);
                Some(end + 3)
            }
            b'c' => {
                *self = Self::default();
                Some(2)
            }
            // Designations of character sets have one more.
            b'(' | b')' | b'%' => bytes.get(2).map(|_| 3),
            _ => Some(2),
        }
    }

    fn control(&mut self, body: &str, last: u8) {
        let number = |n: usize, or: usize| body.split(';').nth(n).and_then(|t| t.parse().ok()).unwrap_or(or);
        match last {
            b'H' | b'f' => _ = self.moved(0, number(0, 1).max(1) - 1, number(1, 1).max(1) - 1),
            b'A' => _ = self.moved(0, self.row.saturating_sub(number(0, 1)), self.column),
            b'B' => _ = self.moved(0, self.row + number(0, 1), self.column),
            b'C' => _ = self.moved(0, self.row, self.column + number(0, 1)),
            b'D' => _ = self.moved(0, self.row, self.column.saturating_sub(number(0, 1))),
            b'J' if number(0, 0) >= 2 => self.cells.iter_mut().for_each(|line| line.fill(' ')),
            b'J' => {
                self.cells[self.row][self.column.min(COLUMNS - 1)..].fill(' ');
                self.cells[self.row + 1..].iter_mut().for_each(|line| line.fill(' '));
            }
            b'K' => self.cells[self.row][self.column.min(COLUMNS - 1)..].fill(' '),
            // Colours, modes and questions change no text.
            _ => {}
        }
    }

    fn moved(&mut self, used: usize, row: usize, column: usize) -> Option<usize> {
        (self.row, self.column) = (row.min(ROWS - 1), column.min(COLUMNS - 1));
        Some(used)
    }

    fn new_line(&mut self) {
        if self.row + 1 < ROWS {
            self.row += 1;
        } else {
            self.cells.remove(0);
            self.cells.push(vec![' '; COLUMNS]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_painted_in_pieces_reads_as_a_whole() {
        // The console's frames as they come, cut at every place; the same text.
        let frame = "\x1b[?1049h\x1b[2J\x1b[1;1H\x1b[38;5;15;48;5;4munnamed\x1b[1;11H•\x1b[4;1HNothing\x1b[4;9Hwas\u{a0}ever\r\nnext\n";
        let expected = {
            let mut screen = Screen::default();
            screen.feed(frame.as_bytes());
            screen.text()
        };
        assert!(expected.starts_with("unnamed   •\n\n\nNothing was ever\nnext\n"), "{expected}");
        for cut in 0..frame.len() {
            let mut screen = Screen::default();
            screen.feed(&frame.as_bytes()[..cut]);
            screen.feed(&frame.as_bytes()[cut..]);
            assert_eq!(screen.text(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_full_screen_scrolls() {
        // Thirty lines in, the last twenty-three and an empty one out.
        let mut screen = Screen::default();
        (1..=30).for_each(|n| screen.feed(format!("line {n}\r\n").as_bytes()));
        assert!(screen.text().starts_with("line 8\n"), "{}", screen.text());
    }
}
