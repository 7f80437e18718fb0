//! `rempart`: the console of the firewall, as screens and as verbs of a command line.
//!
//! Speaks with `rempartd` over D-Bus and owns nothing of the firewall itself. [`cli`] has the verbs, [`tui`] the
//! screens; both share the connection ([`bus`]), the words ([`words`], [`lang`]) and the columns ([`format`]).

mod bus;
mod cli;
mod filter;
#[cfg(test)]
mod fixtures;
mod format;
#[cfg(test)]
mod golden;
mod lab;
mod lang;
mod matrix;
mod offline;
mod pair;
mod tui;
mod updates;
mod vpn;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run::main(cli::parse())
}
