//! Echo requests (ICMP, ICMPv6) at a steady pace, and which of them were answered.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::flood::MAX_PACKETS;
use super::{Gauge, stop_flag};
use crate::Host;

const MAGIC: &[u8; 4] = b"RLP1";
/// RFC 792 and RFC 4443: type of the question and of the answer.
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);
/// Type, code, checksum, identifier, sequence number.
const HEADER_LEN: usize = 8;
/// How long the last answers may take.
const SETTLE: Duration = Duration::from_millis(300);

/// Echo requests under way.
#[derive(Debug)]
pub struct Ping(Gauge);

/// What became of echo requests.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PingReport {
    /// Requests sent.
    pub sent: u64,
    /// Of these, requests that the own kernel refused.
    pub refused: u64,
    /// Different requests that were answered.
    pub answered: u64,
    /// Answers that came again.
    pub duplicates: u64,
    /// The most requests in a row without an answer.
    pub longest_gap: u64,
}

impl PingReport {
    /// Requests without an answer.
    pub fn lost(&self) -> u64 {
        self.sent - self.answered
    }
}

impl Ping {
    /// Stops and accounts for every request.
    pub fn stop(self) -> Result<PingReport> {
        self.0.stop()
    }
}

pub(crate) fn start(host: &Host, target: IpAddr, every: Duration) -> Result<Ping> {
    let mut tool = host.urgent_tool()?;
    tool.args(["ping", &target.to_string(), "--every-us", &every.as_micros().to_string()]);
    Ok(Ping(Gauge::start(host.spawn_piped("ping", tool)?)?))
}

/// Sends until the standard input ends.
pub fn send(target: IpAddr, every: Duration) -> Result<()> {
    let stop = stop_flag();
    let ((question, answer), domain, protocol) = match target {
        IpAddr::V4(_) => (ECHO_V4, Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (ECHO_V6, Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol)).context("a raw socket")?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    socket.set_recv_buffer_size(1 << 20)?;
    let identifier = std::process::id() as u16;
    let over = Arc::new(AtomicBool::new(false));
    let receiver = {
        let (socket, over) = (socket.try_clone()?, Arc::clone(&over));
        thread::spawn(move || receive(socket, target, answer, identifier, &over))
    };
    println!("ready");
    let to = SocketAddr::new(target, 0).into();
    let start = Instant::now();
    let (mut sent, mut refused) = (0, 0);
    while sent < MAX_PACKETS && !stop.load(Ordering::Relaxed) {
        let due = start + Duration::from_nanos(sent * every.as_nanos() as u64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        refused += u64::from(socket.send_to(&request(question, identifier, sent), &to).is_err());
        sent += 1;
    }
    thread::sleep(SETTLE);
    over.store(true, Ordering::Relaxed);
    let (seen, duplicates) = receiver.join().expect("the receiver does not panic");
    let mut report = PingReport { sent, refused, answered: 0, duplicates, longest_gap: 0 };
    let mut gap = 0;
    for number in 0..sent as usize {
        if seen.get(number).is_some_and(|s| *s) {
            (gap, report.answered) = (0, report.answered + 1);
        } else {
            gap += 1;
            report.longest_gap = report.longest_gap.max(gap);
        }
    }
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn request(kind: u8, identifier: u16, number: u64) -> [u8; 20] {
    let mut message = [0; 20];
    message[0] = kind;
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&(number as u16).to_be_bytes());
    message[8..12].copy_from_slice(MAGIC);
    message[12..].copy_from_slice(&number.to_be_bytes());
    // In IPv6 the kernel writes the checksum itself (RFC 3542 §3.1).
    if kind == ECHO_V4.0 {
        let sum = message.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

/// Which numbers were answered, and how many answers came again.
fn receive(
    mut socket: Socket,
    from: IpAddr,
    kind: u8,
    identifier: u16,
    over: &AtomicBool,
) -> (Vec<bool>, u64) {
    let mut seen = Vec::new();
    let mut duplicates = 0;
    let mut packet = [0; 2048];
    loop {
        match socket.read(&mut packet) {
            Ok(len) => {
                let Some(number) = answer_in(&packet[..len], from, kind, identifier) else { continue };
                if number >= seen.len() {
                    seen.resize(number + 1, false);
                }
                duplicates += u64::from(std::mem::replace(&mut seen[number], true));
            }
            Err(_) if over.load(Ordering::Relaxed) => return (seen, duplicates),
            Err(_) => {}
        }
    }
}

/// A raw socket for IPv4 gets the IP header with it, one for IPv6 does not (raw(7)).
fn answer_in(packet: &[u8], from: IpAddr, kind: u8, identifier: u16) -> Option<usize> {
    let message = match from {
        IpAddr::V4(from) => {
            let header = usize::from(packet.first()? & 15) * 4;
            packet.get(12..16).filter(|source| *source == from.octets())?;
            packet.get(header..)?
        }
        IpAddr::V6(_) => packet,
    };
    let ours = message.first() == Some(&kind) && message.get(4..6)? == identifier.to_be_bytes();
    let number =
        message.get(HEADER_LEN..)?.strip_prefix(MAGIC)?.first_chunk().map(|n| u64::from_be_bytes(*n))?;
    (ours && number < MAX_PACKETS).then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: the answer to a request, as the kernel of the other end makes it. Out: its number; of a cut or foreign one, nothing.
    #[test]
    fn an_answer_is_read() {
        let from: IpAddr = "192.0.2.1".parse().unwrap();
        let mut packet = vec![0x45; 20];
        packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
        packet.extend(request(ECHO_V4.0, 7, 70_000));
        assert_eq!(answer_in(&packet, from, ECHO_V4.1, 7), None, "a request");
        packet[20] = ECHO_V4.1;
        assert_eq!(answer_in(&packet, from, ECHO_V4.1, 7), Some(70_000));
        assert_eq!(answer_in(&packet, from, ECHO_V4.1, 8), None);
        assert_eq!(answer_in(&packet, "192.0.2.2".parse().unwrap(), ECHO_V4.1, 7), None);
        assert!((0..packet.len()).all(|len| answer_in(&packet[..len], from, ECHO_V4.1, 7).is_none()));
    }

    /// In: a request. Out: its checksum is right: the sum of all words is all ones (RFC 1071).
    #[test]
    fn the_checksum_is_right() {
        let words = request(ECHO_V4.0, 0xbeef, 123_456_789);
        let sum = words.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
        let folded = (sum & 0xffff) + (sum >> 16);
        assert_eq!((folded & 0xffff) + (folded >> 16), 0xffff);
    }
}
