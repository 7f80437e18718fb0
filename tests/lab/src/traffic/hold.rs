//! A TCP connection that is kept: numbered lines to an echo server at a steady pace, and how long the longest
//! silence was.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Gauge, stop_flag};
use crate::Host;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long the last answers may take after the last line was sent.
const SETTLE: Duration = Duration::from_secs(5);

/// A connection that is being held.
#[derive(Debug)]
pub struct Held(Gauge);

/// What became of a held connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldReport {
    /// Lines sent.
    pub sent: u64,
    /// Lines that came back, in order.
    pub echoed: u64,
    /// The longest time between two answers, in milliseconds.
    pub longest_pause_ms: u64,
    /// Why the connection broke, if it did.
    pub broken: Option<String>,
}

impl Held {
    /// Whether the connection still stands.
    pub fn is_up(&mut self) -> bool {
        self.0.process().is_running()
    }

    /// Ends it and says how it went.
    pub fn stop(self) -> Result<HeldReport> {
        self.0.stop()
    }
}

pub(crate) fn start(host: &Host, to: SocketAddr, every: Duration) -> Result<Held> {
    let mut tool = host.tool()?;
    tool.args(["hold", &to.to_string(), "--every-ms", &every.as_millis().to_string()]);
    Ok(Held(Gauge::start(host.spawn_piped("hold", tool)?)?))
}

/// Holds a connection from here until the standard input ends or the connection breaks.
pub fn send(to: SocketAddr, every: Duration) -> Result<()> {
    let stop = stop_flag();
    let stream = connect(to)?;
    println!("ready");
    println!("{}", serde_json::to_string(&hold(&stream, every, &stop)?)?);
    Ok(())
}

pub(super) fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    // One that hangs takes no more once its buffers are full.
    stream.set_write_timeout(Some(SETTLE))?;
    Ok(stream)
}

pub(super) fn hold(stream: &TcpStream, every: Duration, stop: &AtomicBool) -> Result<HeldReport> {
    let answers = answers_of(stream.try_clone()?);
    let mut report = HeldReport { sent: 0, echoed: 0, longest_pause_ms: 0, broken: None };
    let mut last_answer = Instant::now();
    let mut next_line = last_answer;
    let mut stopped_at = None;
    while report.broken.is_none() {
        if stopped_at.is_none() && stop.load(Ordering::Relaxed) {
            stopped_at = Some(Instant::now());
        }
        let settled = stopped_at.is_some_and(|at| report.echoed == report.sent || at.elapsed() > SETTLE);
        if settled {
            break;
        }
        if stopped_at.is_none() && Instant::now() >= next_line {
            // In one piece, so that it is one packet.
            match (&mut &*stream).write_all(format!("{}\n", report.sent).as_bytes()) {
                Ok(()) => report.sent += 1,
                Err(error) => report.broken = Some(error.to_string()),
            }
            next_line += every;
        }
        // With nothing more to send there is only the answer to wait for.
        let wait = match stopped_at {
            None => next_line.saturating_duration_since(Instant::now()).min(LOOK_UP),
            Some(_) => LOOK_UP,
        };
        match answers.recv_timeout(wait) {
            Ok(Ok(line)) if line.ends_with(&format!("\t{}", report.echoed)) => {
                report.longest_pause_ms = report.longest_pause_ms.max(millis(last_answer));
                last_answer = Instant::now();
                report.echoed += 1;
            }
            Ok(Ok(line)) => report.broken = Some(format!("out of order: {line:?}")),
            Ok(Err(error)) => report.broken = Some(error),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => report.broken = Some("closed by the other end".into()),
        }
    }
    if report.echoed < report.sent {
        report.longest_pause_ms = report.longest_pause_ms.max(millis(last_answer));
    }
    Ok(report)
}

fn answers_of(stream: TcpStream) -> mpsc::Receiver<Result<String, String>> {
    let (to, from) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if to.send(line.map_err(|e| e.to_string())).is_err() {
                break;
            }
        }
    });
    from
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
