//! Numbered UDP packets at a steady rate, and an exact account of what became of each.
//!
//! ```text
//!  0        4        12            size
//!  ┌────────┬────────┬──────────────┐
//!  │ "RLF1" │ number │ zeroes …     │   number: big-endian, from 0
//!  └────────┴────────┴──────────────┘
//! ```

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::echo::plain;
use super::{Gauge, stop_flag};
use crate::Host;

const MAGIC: &[u8; 4] = b"RLF1";
const HEADER_LEN: usize = 12;
/// Most packets of a flood: a bit for each is 2 MiB.
pub const MAX_PACKETS: u64 = 1 << 24;
/// Most gaps that a report lists; further ones are counted in `lost` alone.
const MAX_GAPS: usize = 10_000;
/// Most source addresses that a report lists.
const MAX_SOURCES: usize = 64;
/// The receiver's buffer, in bytes: a tenth of a second at 50,000 packets a second.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How long the last packets may be under way.
const SETTLE: Duration = Duration::from_millis(300);

/// A flood under way.
#[derive(Debug)]
pub struct Flood {
    sender: Gauge,
    receiver: Gauge,
}

/// Packets that did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// The number of the first one.
    pub first: u64,
    /// How many in a row.
    pub length: u64,
}

/// The account of a flood.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FloodReport {
    /// Packets sent.
    pub sent: u64,
    /// Of these, packets that the sender's own kernel refused.
    pub refused: u64,
    /// Different packets that arrived.
    pub received: u64,
    /// Packets that did not arrive.
    pub lost: u64,
    /// Packets that arrived again.
    pub duplicates: u64,
    /// Packets that arrived after a later one.
    pub reordered: u64,
    /// Which did not arrive.
    pub gaps: Vec<Gap>,
    /// The longest time between two arrivals, in microseconds.
    pub longest_pause_us: u64,
    /// Packets that reached the receiver and were lost there, for want of buffer: they count as lost, and with any
    /// of them the figures say nothing about the network.
    pub overrun: u64,
    /// The sources that the receiver saw, 64 at most.
    pub sources: BTreeSet<SocketAddr>,
}

impl FloodReport {
    /// The most packets lost in a row.
    pub fn longest_gap(&self) -> u64 {
        self.gaps.iter().map(|g| g.length).max().unwrap_or(0)
    }
}

/// What the sender says at its end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Sent {
    pub sent: u64,
    pub refused: u64,
}

impl Flood {
    /// Stops sending, waits for what is under way, and accounts for every packet.
    pub fn stop(self) -> Result<FloodReport> {
        let sent: Sent = self.sender.stop().context("the sender")?;
        settle(sent, self.receiver)
    }

    /// Waits until all packets are sent, then does as [`stop`](Self::stop). For a flood with a
    /// [`count`](FloodRequest::count).
    pub fn finish(self, timeout: Duration) -> Result<FloodReport> {
        let sent: Sent = self.sender.finish(timeout).context("the sender")?;
        settle(sent, self.receiver)
    }
}

/// A flood to be.
#[derive(Clone, Debug)]
pub struct FloodRequest<'a> {
    from: &'a Host,
    receiver: &'a Host,
    to: SocketAddr,
    rate: u32,
    port: u16,
    count: u64,
    urgent: bool,
}

pub(crate) fn request<'a>(from: &'a Host, receiver: &'a Host, to: SocketAddr, rate: u32) -> FloodRequest<'a> {
    FloodRequest { from, receiver, to, rate, port: to.port(), count: MAX_PACKETS, urgent: false }
}

impl FloodRequest<'_> {
    /// The receiver listens on this port: the firewall changes it on the way.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Ends by itself after so many packets.
    pub fn count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// At real-time priority, so that a busy machine does not show as a pause: for a low rate.
    pub fn urgent(mut self) -> Self {
        self.urgent = true;
        self
    }

    /// Starts the receiver, then the sender.
    pub fn start(self) -> Result<Flood> {
        let tool = |host: &Host| if self.urgent { host.urgent_tool() } else { host.tool() };
        let mut sink = tool(self.receiver)?;
        sink.args(["sink", &format!("[::]:{}", self.port)]);
        let receiver = Gauge::start(self.receiver.spawn_piped("sink", sink)?).context("the receiver")?;
        let mut flood = tool(self.from)?;
        flood.args(["flood", &self.to.to_string(), "--rate", &self.rate.to_string()]);
        flood.args(["--count", &self.count.to_string()]);
        let sender = Gauge::start(self.from.spawn_piped("flood", flood)?).context("the sender")?;
        Ok(Flood { sender, receiver })
    }
}

pub(super) fn settle(sent: Sent, receiver: Gauge) -> Result<FloodReport> {
    thread::sleep(SETTLE);
    let mut report: FloodReport = receiver.stop().context("the receiver")?;
    report.account_for(sent);
    Ok(report)
}

/// Sends `count` packets of `size` bytes, `rate` a second, or fewer if the standard input ends.
pub fn send(to: SocketAddr, rate: u32, count: u64, size: usize) -> Result<()> {
    let stop = stop_flag();
    // Not connected: a connected socket would report ICMP errors in place of sending.
    let any: SocketAddr = if to.is_ipv6() { "[::]:0".parse()? } else { "0.0.0.0:0".parse()? };
    let socket = UdpSocket::bind(any)?;
    println!("ready");
    let done = send_from(&socket, to, rate, count, size, &stop);
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

pub(super) fn send_from(
    socket: &UdpSocket,
    to: SocketAddr,
    rate: u32,
    count: u64,
    size: usize,
    stop: &AtomicBool,
) -> Sent {
    let mut packet = vec![0; size.max(HEADER_LEN)];
    packet[..4].copy_from_slice(MAGIC);
    let start = Instant::now();
    let mut done = Sent::default();
    while done.sent < count.min(MAX_PACKETS) && !stop.load(Ordering::Relaxed) {
        // The time of each packet follows from the start, so that a late one does not delay the rest.
        let due = start + Duration::from_nanos(done.sent * 1_000_000_000 / u64::from(rate.max(1)));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        packet[4..HEADER_LEN].copy_from_slice(&done.sent.to_be_bytes());
        if socket.send_to(&packet, to).is_err() {
            done.refused += 1;
        }
        done.sent += 1;
    }
    done
}

/// Receives until the standard input ends, then writes a report. It knows nothing of packets after the last
/// that arrived: the caller adds these.
pub fn receive(address: SocketAddr) -> Result<()> {
    let stop = stop_flag();
    let socket = roomy(UdpSocket::bind(address)?)?;
    println!("ready");
    receive_on(&socket, Tally::default(), &stop)
}

/// With a large receive buffer, and looking up from time to time.
pub(super) fn roomy(socket: UdpSocket) -> Result<UdpSocket> {
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).context("the receive buffer")?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    Ok(socket)
}

pub(super) fn receive_on(socket: &UdpSocket, mut tally: Tally, stop: &AtomicBool) -> Result<()> {
    let mut packet = [0; 65_536];
    loop {
        match socket.recv_from(&mut packet) {
            Ok((len, peer)) => tally.take(&packet[..len], peer, Instant::now()),
            // The buffer is empty by now.
            Err(_) if stop.load(Ordering::Relaxed) => break,
            Err(_) => {}
        }
    }
    let mut report = tally.report();
    report.overrun = overrun(socket.local_addr()?.port());
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// What has arrived so far.
#[derive(Default)]
pub(super) struct Tally {
    /// A bit for each number.
    seen: Vec<u64>,
    highest: Option<u64>,
    received: u64,
    duplicates: u64,
    reordered: u64,
    last: Option<Instant>,
    longest_pause: Duration,
    sources: BTreeSet<SocketAddr>,
}

impl Tally {
    pub fn take(&mut self, packet: &[u8], peer: SocketAddr, now: Instant) {
        let Some(number) = number_of(packet) else { return };
        if let Some(last) = self.last.replace(now) {
            self.longest_pause = self.longest_pause.max(now - last);
        }
        if self.sources.len() < MAX_SOURCES {
            self.sources.insert(plain(peer));
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicates += 1;
            return;
        }
        self.seen[word] |= bit;
        self.received += 1;
        self.reordered += u64::from(self.highest > Some(number));
        self.highest = self.highest.max(Some(number));
    }

    fn has(&self, number: u64) -> bool {
        self.seen.get((number / 64) as usize).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn report(&self) -> FloodReport {
        let end = self.highest.map_or(0, |h| h + 1);
        let mut gaps = Vec::new();
        let mut open: Option<Gap> = None;
        for number in 0..end {
            match (self.has(number), &mut open) {
                (false, Some(gap)) => gap.length += 1,
                (false, None) => open = Some(Gap { first: number, length: 1 }),
                (true, gap) => gaps.extend(gap.take()),
            }
        }
        gaps.truncate(MAX_GAPS);
        FloodReport {
            sent: end,
            refused: 0,
            received: self.received,
            lost: end - self.received,
            duplicates: self.duplicates,
            reordered: self.reordered,
            gaps,
            longest_pause_us: u64::try_from(self.longest_pause.as_micros()).unwrap_or(u64::MAX),
            overrun: 0,
            sources: self.sources.clone(),
        }
    }
}

impl FloodReport {
    /// Adds what only the sender knows: how many there were in all.
    fn account_for(&mut self, sent: Sent) {
        let tail = sent.sent.saturating_sub(self.sent);
        if tail > 0 {
            self.gaps.push(Gap { first: self.sent, length: tail });
        }
        self.refused = sent.refused;
        self.sent = sent.sent;
        self.lost = self.sent.saturating_sub(self.received);
    }
}

fn number_of(packet: &[u8]) -> Option<u64> {
    let number = packet.strip_prefix(MAGIC)?.first_chunk::<8>().map(|n| u64::from_be_bytes(*n))?;
    (number < MAX_PACKETS).then_some(number)
}

/// Datagrams that the kernel threw away because the socket's buffer was full: the last column of
/// /proc/net/udp and udp6.
fn overrun(port: u16) -> u64 {
    let suffix = format!(":{port:04X}");
    let tables =
        ["/proc/self/net/udp", "/proc/self/net/udp6"].map(|t| fs::read_to_string(t).unwrap_or_default());
    let ours = tables
        .iter()
        .flat_map(|t| t.lines().skip(1))
        .filter(|line| line.split_ascii_whitespace().nth(1).is_some_and(|local| local.ends_with(&suffix)));
    ours.filter_map(|line| line.split_ascii_whitespace().next_back()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u64) -> Vec<u8> {
        [MAGIC.as_slice(), &number.to_be_bytes()].concat()
    }

    /// In: packets 1, 2, 2, 5, 4 of eight. Out: 0, 3 and 6 to 7 lost, one duplicate, one out of order.
    #[test]
    fn every_packet_is_accounted_for() {
        let peer = "[::ffff:192.0.2.1]:9".parse().unwrap();
        let mut tally = Tally::default();
        for number in [1, 2, 2, 5, 4] {
            tally.take(&packet(number), peer, Instant::now());
        }
        tally.take(b"noise", peer, Instant::now());
        tally.take(&packet(u64::MAX), peer, Instant::now());
        let mut report = tally.report();
        report.account_for(Sent { sent: 8, refused: 0 });
        assert_eq!((report.sent, report.received, report.lost), (8, 4, 4));
        assert_eq!((report.duplicates, report.reordered), (1, 1));
        let gaps: Vec<_> = report.gaps.iter().map(|g| (g.first, g.length)).collect();
        assert_eq!(gaps, [(0, 1), (3, 1), (6, 2)]);
        assert_eq!(report.longest_gap(), 2);
        assert_eq!(report.sources, BTreeSet::from(["192.0.2.1:9".parse().unwrap()]));
    }

    /// In: nothing arrived. Out: one gap of everything.
    #[test]
    fn nothing_arrived() {
        let mut report = Tally::default().report();
        report.account_for(Sent { sent: 5, refused: 0 });
        assert_eq!((report.lost, report.gaps), (5, vec![Gap { first: 0, length: 5 }]));
    }
}
