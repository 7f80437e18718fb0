//! The console on a terminal of its own, as a person has it before them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rempart_image_tests::Screen;
use rempart_lab::Node;

use crate::SOON;

/// What the screens are made for.
const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// A console that somebody sits at. It ends with this value.
#[derive(Debug)]
pub struct Console {
    child: Child,
    keys: File,
    bytes: Receiver<Vec<u8>>,
    screen: Screen,
}

impl Console {
    /// Starts it.
    pub fn open(node: &Node) -> Self {
        let mut rempart = node.rempart().expect("the console is built");
        rempart.args(["--lang", "en"]);
        Self::of(&rempart)
    }

    /// Starts what leads to it.
    pub fn of(program: &Command) -> Self {
        let pty = openpty(Some(&SIZE), None).expect("a terminal");
        let side = || Stdio::from(pty.slave.try_clone().expect("the terminal"));
        // A session of its own, so that Ctrl-C on the terminal is for the console.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "vt220").env("LANG", "C.UTF-8").env_remove("SSH_CONNECTION");
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("a console");
        let keys = File::from(pty.master);
        let mut eyes = keys.try_clone().expect("the terminal");
        let (sender, bytes) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The other side has gone: EIO.
            while let Ok(count @ 1..) = eyes.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, bytes, screen: Screen::default() }
    }

    /// Types. `\r` is Enter, `\t` Tab, `\x1b` Esc.
    pub fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// What is on the screen, as far as it has come.
    pub fn text(&mut self) -> String {
        while let Ok(bytes) = self.bytes.try_recv() {
            self.screen.feed(&bytes);
        }
        self.screen.text()
    }

    /// Waits until this is on the screen, and returns all of it.
    pub fn sees(&mut self, what: &str) -> String {
        let end = Instant::now() + SOON;
        loop {
            let text = self.text();
            if text.contains(what) {
                return text;
            }
            match self.bytes.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.screen.feed(&bytes),
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(_) => panic!("no “{what}” on the screen:\n{}", self.text()),
            }
        }
    }

    /// Waits until this is no longer on the screen.
    pub fn loses(&mut self, what: &str) {
        let end = Instant::now() + SOON;
        while self.text().contains(what) {
            assert!(Instant::now() < end, "still “{what}” on the screen:\n{}", self.text());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether the terminal is as any program wants it: a line at a time, with Ctrl-C.
    pub fn is_cooked(&self) -> bool {
        let settings = nix::sys::termios::tcgetattr(&self.keys).expect("the terminal");
        settings.local_flags.contains(nix::sys::termios::LocalFlags::ICANON)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The terminal is hung up with its last end; `setsid` waits for the console.
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let _ = (self.child.kill(), self.child.wait());
    }
}
