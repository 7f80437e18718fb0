//! Owns how a password is read: from the terminal without showing it, or as one line of the standard input.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cli::run::Stop;
use crate::lang::Lang;
use crate::tr;

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 1024;

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Asks once.
pub fn ask(lang: Lang, prompt: &str) -> Result<String, Stop> {
    let fault = |error: io::Error| Stop::file(lang, "-", &error);
    if !io::stdin().is_terminal() {
        return line().map_err(fault);
    }
    // Before anybody is asked: whoever types fast is not shown, and nothing that they typed is thrown away.
    let hidden = Hidden::begin().map_err(fault)?;
    eprint!("{prompt} ");
    let text = line().map_err(fault);
    drop(hidden);
    text
}

/// Asks twice where a person types; what comes from a program is right the first time.
pub fn new(lang: Lang, prompt: &str) -> Result<String, Stop> {
    let text = ask(lang, prompt)?;
    if text.is_empty() {
        return Err(Stop::Usage(tr!(lang, "vpn-password-empty")));
    }
    if io::stdin().is_terminal() && ask(lang, &tr!(lang, "vpn-ask-again"))? != text {
        return Err(Stop::Usage(tr!(lang, "vpn-password-differs")));
    }
    Ok(text)
}

fn line() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(MAX_LINE).read_line(&mut text)?;
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
    Ok(text)
}
