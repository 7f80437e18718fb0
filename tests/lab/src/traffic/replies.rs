//! A stream that only the table of connections can bring back: the server sends numbered UDP packets in answer to one
//! packet, and the client is silent, so nothing that it sends could open the way again.
//!
//! The packets are those of [`flood`](super::flood).

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::flood::{self, FloodReport, Sent, Tally};
use super::{Gauge, stop_flag};
use crate::Host;

/// How often the client asks until the first answer comes, and for how long.
const ASK_EVERY: Duration = Duration::from_millis(50);
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of UDP payload.
const SIZE: usize = 64;

/// A stream of answers under way.
#[derive(Debug)]
pub struct Replies {
    server: Gauge,
    client: Gauge,
}

impl Replies {
    /// Stops the server, waits for what is under way, and accounts for every packet.
    pub fn stop(self) -> Result<FloodReport> {
        let sent: Sent = self.server.stop().context("the server")?;
        flood::settle(sent, self.client)
    }
}

pub(crate) fn start(client: &Host, server: &Host, to: SocketAddr, rate: u32) -> Result<Replies> {
    let mut push = server.urgent_tool()?;
    // At the very address that is asked: of a host with several, the kernel would answer from another.
    push.args(["push", &to.to_string(), "--rate", &rate.to_string()]);
    let server = Gauge::start(server.spawn_piped("push", push)?).context("the server")?;
    let mut pull = client.urgent_tool()?;
    pull.args(["pull", &to.to_string()]);
    let client = Gauge::start(client.spawn_piped("pull", pull)?).context("the client")?;
    Ok(Replies { server, client })
}

/// Waits for a packet, then sends to where it came from until the standard input ends.
pub fn serve(address: SocketAddr, rate: u32) -> Result<()> {
    let stop = stop_flag();
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(ASK_EVERY))?;
    println!("ready");
    let mut question = [0; 64];
    let mut sent = Sent::default();
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, client)) = socket.recv_from(&mut question) {
            sent = flood::send_from(&socket, client, rate, flood::MAX_PACKETS, SIZE, &stop);
        }
    }
    println!("{}", serde_json::to_string(&sent)?);
    Ok(())
}

/// Asks until the first answer, then receives in silence until the standard input ends.
pub fn receive(from: SocketAddr) -> Result<()> {
    let stop = stop_flag();
    let any: SocketAddr = if from.is_ipv6() { "[::]:0".parse()? } else { "0.0.0.0:0".parse()? };
    let socket = flood::roomy(UdpSocket::bind(any)?)?;
    let mut tally = Tally::default();
    let mut packet = [0; 2048];
    let begin = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        if asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            // Not connected, so that an ICMP error does not end it.
            let _ = socket.send_to(b"go\n", from);
            asked = Some(Instant::now());
        }
        if let Ok((len, peer)) = socket.recv_from(&mut packet) {
            tally.take(&packet[..len], peer, Instant::now());
            break;
        }
        if begin.elapsed() > ASK_TIMEOUT {
            bail!("{from} answered nothing for {ASK_TIMEOUT:?}");
        }
    }
    println!("ready");
    flood::receive_on(&socket, tally, &stop)
}
