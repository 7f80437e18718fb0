//! One connection or datagram to an address: what comes of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use super::Transport;
use crate::Host;
use crate::process::{output_within, succeeded};

/// How long a probe waits unless told otherwise. Nothing in a lab is further than a few milliseconds.
const TIMEOUT: Duration = Duration::from_secs(1);
const QUESTION: &[u8] = b"rempart-lab probe\n";

/// What came of a probe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Reach {
    /// An echo server answered.
    Answered {
        /// The client's address as the server saw it.
        seen: SocketAddr,
        /// The client's own address.
        local: SocketAddr,
        /// From the first packet to the answer, in microseconds.
        rtt_us: u64,
    },
    /// A TCP connection was made; what is behind it is no echo server.
    Connected {
        /// The client's own address.
        local: SocketAddr,
    },
    /// It was refused with an answer: RST, or ICMP unreachable.
    Rejected {
        /// The kernel's word for it, such as `ConnectionRefused` or `HostUnreachable`.
        reason: String,
    },
    /// Nothing came back.
    Silent,
}

impl Reach {
    /// Whether the packets got there and back.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Answered { .. } | Self::Connected { .. })
    }

    /// The client's address as the server saw it, where one answered.
    pub fn seen(&self) -> Option<SocketAddr> {
        match self {
            Self::Answered { seen, .. } => Some(*seen),
            Self::Connected { .. } | Self::Rejected { .. } | Self::Silent => None,
        }
    }
}

/// A probe to be.
#[derive(Clone, Debug)]
pub struct ProbeRequest<'a> {
    host: &'a Host,
    transport: Transport,
    to: SocketAddr,
    from: Option<IpAddr>,
    timeout: Duration,
}

pub(crate) fn request(host: &Host, transport: Transport, to: SocketAddr) -> ProbeRequest<'_> {
    ProbeRequest { host, transport, to, from: None, timeout: TIMEOUT }
}

impl ProbeRequest<'_> {
    /// From this address of the host.
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// Waits so long instead of one second.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends it.
    pub fn run(self) -> Result<Reach> {
        let mut tool = self.host.tool()?;
        tool.args(["probe", self.transport.as_str(), &self.to.to_string()]);
        tool.args(["--timeout-ms", &self.timeout.as_millis().to_string()]);
        if let Some(from) = self.from {
            tool.args(["--from", &from.to_string()]);
        }
        // Twice the timeout at most: once to connect, once to answer.
        let output = output_within(tool, self.timeout * 2 + Duration::from_secs(10))?;
        let output =
            succeeded(output, &format!("probe {} {} on {}", self.transport, self.to, self.host.name()))?;
        serde_json::from_slice(&output.stdout).context("the probe's answer")
    }
}

/// Sends one probe from here.
pub fn send(transport: Transport, to: SocketAddr, from: Option<IpAddr>, timeout: Duration) -> Result<Reach> {
    let kind = match transport {
        Transport::Tcp => Type::STREAM,
        Transport::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(to), kind, None)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into()).with_context(|| format!("{from} is not ours"))?;
    }
    let start = Instant::now();
    let exchanged = match transport {
        Transport::Tcp => match socket.connect_timeout(&to.into(), timeout) {
            Ok(()) => ask_stream(&socket.into(), timeout),
            Err(error) => return Ok(refusal(&error)),
        },
        Transport::Udp => socket.connect(&to.into()).and_then(|()| ask_datagram(&socket.into(), timeout)),
    };
    Ok(match exchanged {
        Ok((answer, local)) => match seen_in(&answer) {
            Some(seen) => {
                let rtt_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                Reach::Answered { seen, local, rtt_us }
            }
            None => Reach::Connected { local },
        },
        Err(error) => refusal(&error),
    })
}

/// An established connection without an answer is an empty answer: the other end may wait for its client to say
/// something that it understands.
fn ask_stream(stream: &TcpStream, timeout: Duration) -> std::io::Result<(Vec<u8>, SocketAddr)> {
    let local = stream.local_addr()?;
    stream.set_read_timeout(Some(timeout))?;
    (&mut &*stream).write_all(QUESTION)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 512];
    while !answer.ends_with(b"\n") {
        match (&mut &*stream).read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&chunk[..len]),
            Err(e) if is_timeout(&e) => break,
            Err(e) => return Err(e),
        }
    }
    Ok((answer, local))
}

fn ask_datagram(socket: &UdpSocket, timeout: Duration) -> std::io::Result<(Vec<u8>, SocketAddr)> {
    socket.set_read_timeout(Some(timeout))?;
    socket.send(QUESTION)?;
    let mut answer = [0; 2048];
    let len = socket.recv(&mut answer)?;
    Ok((answer[..len].to_vec(), socket.local_addr()?))
}

fn seen_in(answer: &[u8]) -> Option<SocketAddr> {
    let (seen, echoed) = std::str::from_utf8(answer).ok()?.split_once('\t')?;
    (echoed.as_bytes() == QUESTION).then(|| seen.parse().ok()).flatten()
}

fn refusal(error: &std::io::Error) -> Reach {
    if is_timeout(error) { Reach::Silent } else { Reach::Rejected { reason: format!("{:?}", error.kind()) } }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
