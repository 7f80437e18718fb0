//! A program in the foreground: on our terminal, to its end or to ours.

use std::io::{IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::SetArg;
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The signals that ask us to end. They are noted, so that they do not end us before the lab is removed.
pub(super) struct Signals {
    /// SIGINT. From a keyboard it reaches the program in the foreground by itself, which may well live on.
    interrupt: Arc<AtomicBool>,
    /// SIGTERM or SIGHUP.
    end: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn take() -> Result<Self> {
        let signals = Self { interrupt: Arc::default(), end: Arc::default() };
        signal_hook::flag::register(SIGINT, Arc::clone(&signals.interrupt))?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&signals.end))?;
        signal_hook::flag::register(SIGHUP, Arc::clone(&signals.end))?;
        Ok(signals)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.interrupt.load(Ordering::Relaxed) || self.end.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    fn end_foreground(&self) -> bool {
        let from_keyboard = std::io::stdin().is_terminal();
        self.end.load(Ordering::Relaxed) || (self.interrupt.load(Ordering::Relaxed) && !from_keyboard)
    }
}

/// Runs a command on our terminal to its end, or to ours: then it is asked to end, and after two seconds made to.
pub(super) fn in_foreground(mut command: Command, signals: &Signals) -> Result<ExitStatus> {
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match asked {
            None if signals.end_foreground() => {
                kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
                asked = Some(Instant::now());
            }
            Some(at) if at.elapsed() > Duration::from_secs(2) => child.kill()?,
            _ => {}
        }
        thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn code_of(status: ExitStatus) -> ExitCode {
    // 128 + signal, as shells say it.
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// What the terminal was set to, to have it so again after a console that could not.
pub(super) struct Terminal(Option<nix::sys::termios::Termios>);

impl Terminal {
    pub(super) fn remember() -> Self {
        Self(nix::sys::termios::tcgetattr(std::io::stdin()).ok())
    }

    pub(super) fn restore(&self) {
        let Some(settings) = &self.0 else { return };
        let _ = nix::sys::termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, settings);
        if std::io::stdout().is_terminal() {
            // Back from the alternate screen, the cursor shown, no attributes, no reports of the mouse (xterm, ctlseqs).
            let mut out = std::io::stdout();
            let _ = write!(out, "\x1b[?1049l\x1b[?25h\x1b[0m\x1b[?1000l").and_then(|()| out.flush());
        }
    }
}
