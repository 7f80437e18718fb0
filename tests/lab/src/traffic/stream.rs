//! One TCP connection with a numbered block every millisecond in one direction, and the longest silence that the
//! receiving end saw.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Gauge, stop_flag};
use crate::Host;

/// Bytes of a block: its number, and zeroes.
const BLOCK: usize = 64;
const EVERY: Duration = Duration::from_millis(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the receiving end waits for what comes after the sending end was told to stop, and for anything at all.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a connection may take nothing more until it counts as broken: two retransmissions more than the worst take-over
/// that anybody should see.
const HANGS: Duration = Duration::from_secs(8);
const LOOK_UP: Duration = Duration::from_millis(50);

/// Which end sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The client.
    Up,
    /// The server.
    Down,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// A stream under way.
#[derive(Debug)]
pub struct Stream {
    sender: Gauge,
    receiver: Gauge,
}

/// What became of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamReport {
    /// Blocks that the sending end wrote.
    pub sent: u64,
    /// Blocks that arrived.
    pub received: u64,
    /// The longest time between two arrivals, in milliseconds.
    pub longest_pause_ms: u64,
    /// Why the connection broke, if it did.
    pub broken: Option<String>,
}

impl StreamReport {
    /// Whether everything arrived.
    pub fn is_whole(&self) -> bool {
        self.broken.is_none() && self.sent > 0 && self.received == self.sent
    }
}

/// What the sending end says.
#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    sent: u64,
    broken: Option<String>,
}

impl Stream {
    /// Stops sending, waits for the rest to arrive, and says how it went.
    pub fn stop(self) -> Result<StreamReport> {
        let sent: Sent = self.sender.stop().context("the sending end")?;
        let mut report: StreamReport = self.receiver.stop().context("the receiving end")?;
        report.sent = sent.sent;
        report.broken = report.broken.or(sent.broken);
        Ok(report)
    }
}

pub(crate) fn start(client: &Host, server: &Host, to: SocketAddr, direction: Direction) -> Result<Stream> {
    let end = |host: &Host, verb: &str, address: String, sends: bool| {
        let mut tool = host.urgent_tool()?;
        tool.args([verb, &address]);
        tool.args(sends.then_some("--send"));
        Gauge::start(host.spawn_piped(&format!("{verb}-{direction}"), tool)?)
    };
    let up = direction == Direction::Up;
    let server = end(server, "stream-server", format!("[::]:{}", to.port()), !up).context("the server")?;
    let client = end(client, "stream-client", to.to_string(), up).context("the client")?;
    let (sender, receiver) = if up { (client, server) } else { (server, client) };
    Ok(Stream { sender, receiver })
}

/// The server's end: takes one connection.
pub fn serve(address: SocketAddr, sends: bool) -> Result<()> {
    let stop = stop_flag();
    let listener = TcpListener::bind(address)?;
    // Ready as soon as it listens, for the client is started after it.
    println!("ready");
    listener.set_nonblocking(true)?;
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(e) if e.kind() == ErrorKind::WouldBlock && !stop.load(Ordering::Relaxed) => {
                thread::sleep(EVERY)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => bail!("nobody came"),
            Err(e) => return Err(e.into()),
        }
    };
    stream.set_nonblocking(false)?;
    run(&stream, sends, &stop)
}

/// The client's end.
pub fn connect(to: SocketAddr, sends: bool) -> Result<()> {
    let stop = stop_flag();
    let stream = TcpStream::connect_timeout(&to, CONNECT_TIMEOUT)?;
    println!("ready");
    run(&stream, sends, &stop)
}

fn run(stream: &TcpStream, sends: bool, stop: &AtomicBool) -> Result<()> {
    stream.set_nodelay(true)?;
    let report = match sends {
        true => serde_json::to_string(&send(stream, stop))?,
        false => serde_json::to_string(&receive(stream, stop)?)?,
    };
    println!("{report}");
    Ok(())
}

fn send(mut stream: &TcpStream, stop: &AtomicBool) -> Sent {
    // One that hangs takes no more once its buffers are full.
    let _ = stream.set_write_timeout(Some(HANGS));
    let start = Instant::now();
    let mut sent = Sent { sent: 0, broken: None };
    let mut block = [0; BLOCK];
    while !stop.load(Ordering::Relaxed) {
        thread::sleep((start + EVERY * sent.sent as u32).saturating_duration_since(Instant::now()));
        block[..8].copy_from_slice(&sent.sent.to_be_bytes());
        if let Err(error) = stream.write_all(&block) {
            sent.broken = Some(error.to_string());
            return sent;
        }
        sent.sent += 1;
    }
    if let Err(error) = stream.shutdown(Shutdown::Write) {
        sent.broken = Some(error.to_string());
    }
    sent
}

fn receive(mut stream: &TcpStream, stop: &AtomicBool) -> Result<StreamReport> {
    stream.set_read_timeout(Some(LOOK_UP))?;
    let mut report = StreamReport { sent: 0, received: 0, longest_pause_ms: 0, broken: None };
    let mut last = Instant::now();
    let mut stopped: Option<Instant> = None;
    let mut pending = Vec::with_capacity(1 << 16);
    let mut chunk = [0; 1 << 14];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => {
                let pause = last.elapsed();
                report.longest_pause_ms = report.longest_pause_ms.max(pause.as_millis() as u64);
                last = Instant::now();
                pending.extend_from_slice(&chunk[..len]);
                let whole = pending.len() / BLOCK * BLOCK;
                for block in pending[..whole].chunks_exact(BLOCK) {
                    if block[..8] != report.received.to_be_bytes() {
                        report.broken = Some(format!("block {} is another", report.received));
                        return Ok(report);
                    }
                    report.received += 1;
                }
                pending.drain(..whole);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if stop.load(Ordering::Relaxed) && stopped.get_or_insert_with(Instant::now).elapsed() > SETTLE
                {
                    report.longest_pause_ms = report.longest_pause_ms.max(last.elapsed().as_millis() as u64);
                    report.broken = Some("the end never came".into());
                    break;
                }
            }
            Err(e) => {
                report.broken = Some(e.to_string());
                break;
            }
        }
    }
    Ok(report)
}
