//! The two ends of a serial line: what is typed, and what has come.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::screen::Screen;

/// Between two tries to reach a socket that QEMU has not made yet.
const RETRY: Duration = Duration::from_millis(50);
/// How long QEMU may take to make its sockets.
const START: Duration = Duration::from_secs(30);

/// A serial line of the machine.
#[derive(Debug)]
pub struct Terminal {
    line: UnixStream,
    shared: Arc<(Mutex<Received>, Condvar)>,
}

#[derive(Debug, Default)]
struct Received {
    /// All that came, for [`Shell`] and for the report of a failure.
    bytes: Vec<u8>,
    screen: Screen,
    ended: bool,
}

impl Terminal {
    /// The line whose socket QEMU makes at `path`.
    pub(crate) fn open(path: &Path) -> Self {
        let line = connect(path);
        let shared = Arc::new((Mutex::new(Received::default()), Condvar::new()));
        let (mut reader, theirs) = (line.try_clone().expect("a second handle"), shared.clone());
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let count = reader.read(&mut chunk).unwrap_or(0);
                let mut received = theirs.0.lock().expect("no reader panics");
                received.bytes.extend_from_slice(&chunk[..count]);
                received.screen.feed(&chunk[..count]);
                received.ended = count == 0;
                theirs.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { line, shared }
    }

    /// Types.
    pub fn send(&self, keys: &str) {
        // A machine that is gone shows in what is waited for next.
        let _ = (&self.line).write_all(keys.as_bytes());
    }

    /// What is on the screen now.
    pub fn text(&self) -> String {
        self.shared.0.lock().expect("no reader panics").screen.text()
    }

    /// Waits until the screen shows `text`; fails with the screen after `limit`.
    #[track_caller]
    pub fn expect(&self, text: &str, limit: Duration) {
        if let Err(why) = self.wait(limit, |r| r.screen.text().contains(text).then_some(())) {
            panic!("{why} while waiting for {text:?}; the screen:\n{}", self.text());
        }
    }

    /// Waits until `text` came over the line, on the screen or not; fails with the screen after `limit`.
    #[track_caller]
    pub fn expect_said(&self, text: &str, limit: Duration) {
        if let Err(why) = self.wait(limit, |r| find(&r.bytes, text.as_bytes(), 0).map(|_| ())) {
            panic!("{why} while waiting for {text:?}; the screen:\n{}", self.text());
        }
    }

    fn wait<T>(&self, limit: Duration, seen: impl Fn(&Received) -> Option<T>) -> Result<T, &'static str> {
        let until = Instant::now() + limit;
        let mut received = self.shared.0.lock().expect("no reader panics");
        loop {
            if let Some(found) = seen(&received) {
                return Ok(found);
            }
            if received.ended {
                return Err("the machine ended");
            }
            let left = until.checked_duration_since(Instant::now()).ok_or("nothing more came")?;
            received = self.shared.1.wait_timeout(received, left).expect("no reader panics").0;
        }
    }
}

/// A shell of root's on a line of its own, which only a directly started kernel has ([`crate::Firmware::Direct`]).
#[derive(Debug)]
pub struct Shell {
    terminal: Terminal,
    count: u32,
}

impl Shell {
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self { terminal, count: 0 }
    }

    /// Waits for the shell to be there.
    #[track_caller]
    pub fn ready(&self, limit: Duration) {
        self.terminal.expect_said("SHELL-READY", limit);
    }

    /// Runs a command: its exit code and what it printed.
    #[track_caller]
    pub fn try_run(&mut self, command: &str, limit: Duration) -> Result<(i32, String), &'static str> {
        self.count += 1;
        let mark = format!("END-{}=", self.count);
        let from = self.terminal.shared.0.lock().expect("no reader panics").bytes.len();
        // The mark is put together by the shell, so that an echo of the command does not look like the answer.
        let (begin, end) = mark.split_at(3);
        self.terminal
            .send(&format!("{{ {command}\n}} 2>&1 </dev/null; printf '{begin}%s%s\\n' '{end}' $?\n"));
        self.terminal.wait(limit, |received| {
            let at = find(&received.bytes, mark.as_bytes(), from)?;
            let line = received.bytes[at + mark.len()..].split(|b| *b == b'\n').next()?;
            // Only a whole line has the whole number.
            received.bytes[at + mark.len()..].contains(&b'\n').then_some(())?;
            let code = String::from_utf8_lossy(line).trim().parse().ok()?;
            let said = String::from_utf8_lossy(&received.bytes[from..at]).replace('\r', "");
            Some((code, said))
        })
    }

    /// Runs a command that must end well, and gives what it printed.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> String {
        match self.try_run(command, crate::SOON) {
            Ok((0, said)) => said,
            Ok((code, said)) => panic!("`{command}` ended with {code}:\n{said}"),
            Err(why) => panic!("`{command}`: {why}; the line:\n{}", self.terminal.text()),
        }
    }

    /// Starts a command and does not wait for it.
    pub fn start(&self, command: &str) {
        self.terminal.send(&format!("{command}\n"));
    }

    /// All that has come over the line.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.terminal.shared.0.lock().expect("no reader panics").bytes)
            .replace('\r', "")
    }

    /// Waits until something came over the line.
    #[track_caller]
    pub fn expect_said(&self, text: &str, limit: Duration) {
        self.terminal.expect_said(text, limit);
    }
}

pub(crate) fn connect(path: &Path) -> UnixStream {
    let until = Instant::now() + START;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(e) => assert!(Instant::now() < until, "{}: {e}: has QEMU started?", path.display()),
        }
        std::thread::sleep(RETRY);
    }
}

fn find(bytes: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.windows(wanted.len()).position(|w| w == wanted).map(|at| at + from)
}
