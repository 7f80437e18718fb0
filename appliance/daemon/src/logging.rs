//! What a daemon says about itself: on the standard error, which systemd keeps.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// To be called once, at the start. `REMPART_LOG` says how much, in the words of `tracing`; else `info`, without boringtun,
/// which calls every idle tunnel an error.
pub fn start() {
    let filter =
        EnvFilter::try_from_env("REMPART_LOG").unwrap_or_else(|_| EnvFilter::new("info,boringtun=off"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
}
