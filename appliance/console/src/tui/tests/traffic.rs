//! How many bytes a frame takes: a serial line of 115,200 baud carries about 11 in a millisecond.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use jiff::SignedDuration;
use ratatui_core::layout::Rect;
use ratatui_core::terminal::{Terminal, TerminalOptions, Viewport};
use ratatui_crossterm::CrosstermBackend;

use super::*;
use crate::tui::view::view;

/// Counts what is written.
#[derive(Clone, Default)]
struct Line(Rc<RefCell<usize>>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0.borrow_mut() += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of each of these frames, one after the other on one line.
fn bytes(frames: &[Model]) -> Vec<usize> {
    let line = Line::default();
    // A fixed area, since there is no terminal to ask for its size.
    let area = Rect::new(0, 0, 80, 24);
    let options = TerminalOptions { viewport: Viewport::Fixed(area) };
    let mut terminal =
        Terminal::with_options(CrosstermBackend::new(line.clone()), options).expect("a terminal");
    let mut count = |m: &Model| {
        terminal.draw(|frame| view(m, frame)).expect("it is drawn");
        line.0.replace(0)
    };
    frames.iter().map(&mut count).collect()
}

fn after(m: &Model, seconds: i64) -> Model {
    update(m.clone(), Message::Tick(now() + SignedDuration::from_secs(seconds))).0
}

#[test]
fn frames_are_small() {
    for lang in [Lang::Fr, Lang::En] {
        for keys in ["1", "2", "3", "4", "5", "?", "3__>"] {
            let m = press(filled(lang, false), keys);
            let counts = bytes(&[m.clone(), after(&m, 1), after(&m, 1)]);
            assert!(counts[0] < 4000, "{keys}: a full frame has {} bytes", counts[0]);
            assert!(counts[1] < 200, "{keys}: a tick has {} bytes", counts[1]);
            assert!(counts[2] < 32, "{keys}: what does not change has {} bytes", counts[2]);
        }
    }
}

#[test]
fn a_countdown_and_a_cursor_are_small() {
    let m = filled(Lang::Fr, false);
    let m = give(m, Request::Status, Reply::Status(Box::new(fixtures::status_pending())));
    let counts = bytes(&[m.clone(), after(&m, 1)]);
    assert!(counts[1] < 200, "a countdown has {} bytes", counts[1]);
    let m = press(m, "3");
    let counts = bytes(&[m.clone(), press(m, "_")]);
    assert!(counts[1] < 600, "a cursor move has {} bytes", counts[1]);
}
