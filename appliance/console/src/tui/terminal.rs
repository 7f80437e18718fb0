//! Owns the terminal's state: raw mode, the alternate screen, the size of a serial line, and putting all back.
//!
//! On a serial line the kernel knows no size: it says 0×0, and nothing would be drawn. The terminal itself knows
//! where its last corner is, if it answers; 80×24 otherwise.

use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute};
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::CrosstermBackend;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// How long a terminal may take to say where its cursor is: 300 ms are 3,000 characters at 115,200 baud.
const PROBE_LIMIT: Duration = Duration::from_millis(300);
/// The longest answer read: keys may have been typed before it.
const PROBE_BYTES_MAX: usize = 256;
/// What a terminal that says nothing is taken for.
const FALLBACK: (u16, u16) = (80, 24);

/// Whether there is something to put back. The panic hook has no other way to know.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// The screen that is drawn on.
pub type Screen = Terminal<CrosstermBackend<io::BufWriter<Stdout>>>;

/// A terminal in raw mode; put back when dropped.
#[derive(Debug)]
pub struct Guard {
    /// As it was.
    before: Termios,
}

/// A Linux console has one screen only, and other programs' text is not kept.
fn has_alternate_screen() -> bool {
    std::env::var("TERM").is_ok_and(|term| term != "linux")
}

/// Whether this is a serial line: the kernel does not know its size, or only what it was told once, perhaps
/// about another terminal.
pub fn is_serial() -> bool {
    let sizeless = tcgetwinsize(io::stdout()).is_ok_and(|size| size.ws_col == 0 || size.ws_row == 0);
    let name = std::fs::read_link("/proc/self/fd/1").unwrap_or_default();
    let name = name.to_string_lossy();
    sizeless || ["/ttyS", "/ttyUSB", "/ttyAMA", "/hvc"].iter().any(|kind| name.contains(kind))
}

impl Guard {
    /// Takes the terminal over.
    pub fn new() -> io::Result<Guard> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
        let guard = Guard { before: tcgetattr(io::stdin())? };
        guard.take()?;
        Ok(guard)
    }

    fn take(&self) -> io::Result<()> {
        terminal::enable_raw_mode()?;
        CHANGED.store(true, Ordering::SeqCst);
        let mut out = io::stdout();
        if has_alternate_screen() {
            execute!(out, EnterAlternateScreen)?;
        }
        execute!(out, cursor::Hide)?;
        Ok(())
    }

    /// Gives the terminal to another program, as it was.
    pub fn lend(&self) {
        restore();
    }

    /// Takes it back, whatever that program has done to it.
    pub fn reclaim(&self) -> io::Result<()> {
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.before)?;
        self.take()
    }

    /// The screen; the first frame clears it.
    pub fn screen(&self) -> io::Result<Screen> {
        let backend = CrosstermBackend::new(io::BufWriter::with_capacity(1 << 14, io::stdout()));
        let mut screen = Terminal::new(backend)?;
        let size = screen.size()?;
        screen.resize(size.into())?;
        Ok(screen)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back, once. What fails cannot be helped: this is on the way out.
fn restore() {
    if !CHANGED.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout();
    if has_alternate_screen() {
        let _ = execute!(out, LeaveAlternateScreen);
    } else {
        let _ = execute!(out, terminal::Clear(terminal::ClearType::All), cursor::MoveTo(0, 0));
    }
    let _ = execute!(out, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

/// Asks the terminal for its size and tells the kernel. Only where nobody else reads the terminal.
pub fn probe_size() -> io::Result<()> {
    let mut out = io::stdout();
    // Save the cursor, go as far as one can, ask where that is, come back (ECMA-48 CUP, DSR 6; DEC DECSC, DECRC).
    out.write_all(b"\x1b7\x1b[999;999H\x1b[6n\x1b8")?;
    out.flush()?;
    let (columns, rows) = read_answer().unwrap_or(FALLBACK);
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(io::stdout(), size)?;
    Ok(())
}

fn read_answer() -> Option<(u16, u16)> {
    let stdin = io::stdin();
    let until = Instant::now() + PROBE_LIMIT;
    let mut got = Vec::new();
    while got.len() < PROBE_BYTES_MAX {
        let left = until.checked_duration_since(Instant::now())?;
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        if poll(&mut fds, Some(&timeout)).ok()? == 0 {
            return None;
        }
        let mut byte = [0];
        if rustix::io::read(&stdin, &mut byte).ok()? == 0 {
            return None;
        }
        got.push(byte[0]);
        if byte[0] == b'R'
            && let Some(size) = parse_position(&got)
        {
            return Some(size);
        }
    }
    None
}

/// Columns and rows of a cursor position report at the end of `bytes`: `CSI row ; column R`.
fn parse_position(bytes: &[u8]) -> Option<(u16, u16)> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('R')?;
    let (rows, columns) = text.rsplit_once("\x1b[")?.1.split_once(';')?;
    let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
    (rows > 1 && columns > 1).then_some((columns, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_report_is_found_behind_typed_keys() {
        assert_eq!(parse_position(b"\x1b[24;80R"), Some((80, 24)));
        assert_eq!(parse_position(b"qq\x1b[A\x1b[50;132R"), Some((132, 50)));
        assert_eq!(parse_position(b"R"), None);
        assert_eq!(parse_position(b"\x1b[1;1R"), None);
    }
}
