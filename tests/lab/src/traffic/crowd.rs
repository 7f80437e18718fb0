//! Many TCP connections at once, each held as [`hold`](super::hold) does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::hold::{self, HeldReport};
use super::{Gauge, stop_flag};
use crate::Host;

/// Most connections: each is two threads.
pub const MAX_CONNECTIONS: usize = 1000;

/// Connections that are being held.
#[derive(Debug)]
pub struct Crowd(Gauge);

/// What became of held connections.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrowdReport {
    /// One for each.
    pub connections: Vec<HeldReport>,
}

impl CrowdReport {
    /// How many got an answer to every line.
    pub fn survived(&self) -> usize {
        self.connections.iter().filter(|c| c.broken.is_none() && c.sent > 0 && c.echoed == c.sent).count()
    }

    /// The longest pause of any, in milliseconds.
    pub fn longest_pause_ms(&self) -> u64 {
        self.connections.iter().map(|c| c.longest_pause_ms).max().unwrap_or(0)
    }
}

impl Crowd {
    /// Ends all of them and says how it went.
    pub fn stop(self) -> Result<CrowdReport> {
        self.0.stop()
    }
}

pub(crate) fn start(host: &Host, to: SocketAddr, count: usize, every: Duration) -> Result<Crowd> {
    let mut tool = host.urgent_tool()?;
    tool.args(["crowd", &to.to_string(), "--count", &count.to_string()]);
    tool.args(["--every-ms", &every.as_millis().to_string()]);
    Ok(Crowd(Gauge::start(host.spawn_piped("crowd", tool)?)?))
}

/// Holds connections from here until the standard input ends.
pub fn send(to: SocketAddr, count: usize, every: Duration) -> Result<()> {
    if count > MAX_CONNECTIONS {
        bail!("at most {MAX_CONNECTIONS} connections");
    }
    let stop = stop_flag();
    let streams = (0..count).map(|_| hold::connect(to)).collect::<Result<Vec<_>>>()?;
    println!("ready");
    let threads: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || hold::hold(&stream, every, &stop))
        })
        .collect();
    let reports = threads.into_iter().map(|t| t.join().expect("holding does not panic"));
    let report = CrowdReport { connections: reports.collect::<Result<_>>()? };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
