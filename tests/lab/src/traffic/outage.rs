//! What a fault of a router costs those who talk through it: streams of one packet a millisecond, so that a packet lost
//! is a millisecond of outage, and established TCP connections.
//!
//! | stream | from | to |
//! | --- | --- | --- |
//! | up | `cli-lan` | `inet`, translated |
//! | replies | `inet` | `cli-lan`, which is silent: only the connection in the router's table brings them back |
//! | echo | `cli-lan` | the router's address in the LAN |
//! | TCP | `cli-lan` ⇄ `inet`, translated | |
//! | TCP | `cli-wan` → `srv-ebrigade`, published | |

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Crowd, CrowdReport, Direction, Flood, Gap, Ping, Replies, Stream, StreamReport};
use crate::process::Process;
use crate::{Lab, Transport};

/// The server beyond the provider.
const SERVER: [u8; 4] = [198, 51, 100, 1];
/// Ports at the server, UDP and TCP: 9000 to 9004. A document that lets the LAN out through these is enough.
const UP: u16 = 9000;
const REPLIES: u16 = 9001;
const STREAM_UP: u16 = 9002;
const STREAM_DOWN: u16 = 9003;
const ECHO: u16 = 9004;
/// The TCP port at `srv-ebrigade` that the document publishes.
pub const PUBLISHED: u16 = 7000;
/// Packets a second of each stream.
pub const RATE: u32 = 1000;
/// Connections of each crowd.
pub const CONNECTIONS: usize = 20;
/// All connections: of both crowds, and the two streams.
pub const ALL: usize = 2 * CONNECTIONS + 2;
const LINE_EVERY: Duration = Duration::from_millis(20);

/// The streams at work.
#[derive(Debug)]
pub struct Streams {
    up: Flood,
    replies: Replies,
    echo: Ping,
    tcp: [Stream; 2],
    crowds: [Crowd; 2],
    _servers: [Process; 2],
}

/// What a fault cost. Its `Debug` is a line for a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Outage {
    /// Packets of 1 ms lost upwards.
    pub up: u64,
    /// Replies lost.
    pub replies: u64,
    /// Echoes of the router's own address that did not come.
    pub echo: u64,
    /// Packets that arrived twice, of both streams: two routers at work.
    pub duplicates: u64,
    /// The longest gap of both streams, as the number of its first packet and its length.
    pub gaps: [Option<Gap>; 2],
    /// The streams by TCP, upwards and downwards.
    pub tcp: [StreamReport; 2],
    /// The translated and the published connections.
    pub crowds: [CrowdReport; 2],
}

impl Streams {
    /// Starts all of them through the routers whose addresses these are. Returns when everything flows.
    pub fn start(lab: &Lab, inside_address: IpAddr, outside_address: IpAddr) -> Result<Self> {
        let (inside, server) = (lab.host("cli-lan"), lab.host("inet"));
        let (outside, desk) = (lab.host("cli-wan"), lab.host("srv-ebrigade"));
        let at = |port: u16| SocketAddr::from((SERVER, port));
        let any = |port: u16| SocketAddr::from(([0u16; 8], port));
        Ok(Self {
            _servers: [server.echo(Transport::Tcp, any(ECHO))?, desk.echo(Transport::Tcp, any(PUBLISHED))?],
            up: inside.flood(server, at(UP), RATE).urgent().start()?,
            replies: inside.replies(server, at(REPLIES), RATE)?,
            echo: inside.ping(inside_address, Duration::from_millis(1))?,
            tcp: [
                inside.stream(server, at(STREAM_UP), Direction::Up)?,
                inside.stream(server, at(STREAM_DOWN), Direction::Down)?,
            ],
            crowds: [
                inside.crowd(at(ECHO), CONNECTIONS, LINE_EVERY)?,
                outside.crowd(SocketAddr::new(outside_address, PUBLISHED), CONNECTIONS, LINE_EVERY)?,
            ],
        })
    }

    /// Stops all of them and accounts for every packet.
    pub fn stop(self) -> Result<Outage> {
        let up = self.up.stop().context("the stream up")?;
        let replies = self.replies.stop().context("the stream of replies")?;
        let echo = self.echo.stop().context("the echoes")?;
        let [tcp_up, tcp_down] = self.tcp;
        let [inside, outside] = self.crowds;
        if up.overrun + replies.overrun > 0 {
            bail!("the receivers were too slow: these figures say nothing");
        }
        Ok(Outage {
            up: up.lost,
            replies: replies.lost,
            echo: echo.lost(),
            duplicates: up.duplicates + replies.duplicates,
            gaps: [&up, &replies].map(|r| r.gaps.iter().copied().max_by_key(|g| g.length)),
            tcp: [tcp_up.stop().context("TCP up")?, tcp_down.stop().context("TCP down")?],
            crowds: [
                inside.stop().context("the translated connections")?,
                outside.stop().context("the published connections")?,
            ],
        })
    }
}

impl fmt::Debug for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = |g: &Option<Gap>| {
            g.map_or(String::new(), |g| format!(" (longest: {} from {})", g.length, g.first))
        };
        write!(
            f,
            "lost up {}{}, replies {}{}",
            self.up,
            gap(&self.gaps[0]),
            self.replies,
            gap(&self.gaps[1])
        )?;
        write!(
            f,
            ", echo {}, {} twice; TCP survived {} of {}",
            self.echo,
            self.duplicates,
            self.survived(),
            ALL
        )?;
        write!(f, ", longest pause {} ms", self.longest_pause_ms())?;
        let crowds = self.crowds.iter().flat_map(|c| &c.connections).map(|c| (c.sent, c.echoed, &c.broken));
        let streams = self.tcp.iter().map(|t| (t.sent, t.received, &t.broken));
        for (sent, back, broken) in
            streams.chain(crowds).filter(|(sent, back, b)| sent != back || b.is_some())
        {
            write!(f, "; {back} of {sent} came: {}", broken.as_deref().unwrap_or("it hangs"))?;
        }
        Ok(())
    }
}

impl Outage {
    /// The worse of the two streams of UDP.
    pub fn lost(&self) -> u64 {
        self.up.max(self.replies)
    }

    /// Connections that survived, of [`ALL`].
    pub fn survived(&self) -> usize {
        let streams = self.tcp.iter().filter(|t| t.is_whole()).count();
        streams + self.crowds.iter().map(CrowdReport::survived).sum::<usize>()
    }

    /// Whether every connection survived.
    pub fn all_survived(&self) -> bool {
        self.survived() == ALL
    }

    /// The longest silence on any TCP connection, in milliseconds.
    pub fn longest_pause_ms(&self) -> u64 {
        let streams = self.tcp.iter().map(|t| t.longest_pause_ms);
        streams.chain(self.crowds.iter().map(CrowdReport::longest_pause_ms)).max().unwrap_or(0)
    }
}
