//! Traffic with figures: echo servers, probes, floods of numbered packets and of answers, held connections and
//! crowds of them, streams, pings, DHCP questions; and connections written into a router's table.
//!
//! Each module has two halves. One runs inside a host, as a hidden subcommand of the program `lab`, and speaks
//! JSON on its standard output; its functions are named `serve`, `send`, `receive`. The other starts it from
//! [`Host`](crate::Host) and reads the figures.

pub mod crowd;
pub mod dhcp;
pub mod echo;
pub mod flood;
pub mod hold;
pub mod outage;
pub mod ping;
pub mod probe;
pub mod replies;
pub mod states;
pub mod stream;

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::process::Process;

pub use crowd::{Crowd, CrowdReport};
pub use dhcp::Offer;
pub use flood::{Flood, FloodReport, FloodRequest, Gap};
pub use hold::{Held, HeldReport};
pub use outage::{Outage, Streams};
pub use ping::{Ping, PingReport};
pub use probe::{ProbeRequest, Reach};
pub use replies::Replies;
pub use states::States;
pub use stream::{Direction, Stream, StreamReport};

/// TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Its name in lower case, as the kernel's tables have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(format!("{text:?} is neither tcp nor udp")),
        }
    }
}

/// Becomes true when the standard input ends, which is how a measuring process is told to stop and report.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        set.store(true, Ordering::Relaxed);
    });
    flag
}

/// A measuring process: says `ready`, works until its input ends, then writes one line of JSON.
#[derive(Debug)]
pub(crate) struct Gauge {
    process: Process,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Gauge {
    /// How long it may take to get ready or to report.
    const TIMEOUT: Duration = Duration::from_secs(15);

    pub fn start(mut process: Process) -> Result<Self> {
        let stdin = process.take_stdin();
        let stdout = process.take_stdout().context("its output is not a pipe")?;
        let mut gauge = Self { process, stdin, lines: lines_of(stdout) };
        gauge.next_line()?;
        Ok(gauge)
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn stop<T: DeserializeOwned>(mut self) -> Result<T> {
        drop(self.stdin.take());
        let line = self.next_line()?;
        serde_json::from_str(&line).with_context(|| format!("not a report: {line:?}"))
    }

    /// Waits for it to finish by itself.
    pub fn finish<T: DeserializeOwned>(self, timeout: Duration) -> Result<T> {
        let line = self.lines.recv_timeout(timeout).context("it did not report in time")?;
        serde_json::from_str(&line).with_context(|| format!("not a report: {line:?}"))
    }

    fn next_line(&mut self) -> Result<String> {
        self.lines.recv_timeout(Self::TIMEOUT).map_err(|_| match self.process.check_running() {
            Err(ended) => ended,
            Ok(()) => anyhow::anyhow!("it said nothing for {:?}", Self::TIMEOUT),
        })
    }
}

fn lines_of(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (to, from) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    from
}
