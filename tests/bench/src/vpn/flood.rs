//! A flood of first packets from addresses that are nobody's, while one client works: half of them noise, half of them a true one
//! that somebody has recorded, each time from elsewhere.
//!
//! They come as routed packets, so no socket of ours bounds how fast they are made.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rempart_config::model::Device;
use rempart_kernel_tests::node::Failure;
use rempart_system::tunnel::Queue;

use super::client::{Client, Credentials};
use super::common::Namespace;
use super::{Bench, CASES, packet};
use crate::median;
use crate::report::{Better, Report};

/// Packets a second: 170 Mbit/s of them. A line of a gigabit full of them would leave nothing of it to measure.
const RATE: u64 = 50_000;
/// Of them in a turn.
const TURN: u64 = 50;
/// What the server's memory may grow by: queues that are full, and nothing for each packet.
pub const MOST_MIB: f64 = 4.0;

/// Measures what is wanted.
pub fn run(
    report: &mut Report,
    quick: bool,
    folder: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Failure> {
    if !wanted("vpn.flood.tcp") && !wanted("vpn.flood.memory") {
        return Ok(());
    }
    let (rounds, seconds) = if quick { (3, 4) } else { (5, 8) };
    eprintln!("vpn.flood …");
    let bench = Bench::up(folder)?;
    let ground = &bench.ground;
    let credentials = ground.credentials[0].last().ok_or("credentials")?;
    let (mut calm, mut flooded, mut grown) = (Vec::new(), Vec::new(), Vec::new());
    let ways = bench.ways();
    let (way, case) = (ways.first().ok_or("a way")?, &CASES[0]);
    for _ in 0..rounds {
        calm.push(way.measure(case, seconds)?.0);
        let before = ground.ours.weighed().rss_mib()?;
        let flood = Flood::start(&ground.other, credentials)?;
        let come = come(&ground.server)?;
        flooded.push(way.measure(case, seconds)?.0);
        grown.push(ground.ours.weighed().rss_mib()? - before);
        let (sent, took) = flood.stop();
        let sent = sent as f64 / took;
        eprintln!("  {calm:.0?} {flooded:.0?} Mbit/s, {grown:.2?} MiB; {sent:.0}/s forged, {come}/s come");
        if come < RATE / 2 {
            return Err("the flood does not reach the server".into());
        }
    }
    let peer = Some((median(calm), "without the flood"));
    report.add("vpn.flood.tcp", median(flooded), peer, "Mbit/s", Better::Higher);
    report.add("vpn.flood.memory", grown.iter().sum(), None, "MiB", Better::Lower);
    Ok(())
}

/// How many datagrams the server's sockets are given in a second.
fn come(server: &Namespace) -> Result<u64, Failure> {
    // "Udp:" and names, then "Udp:" and figures, of which the first one counts what came.
    let figures = "awk '/^Udp: [0-9]/ { print $2 }' /proc/net/snmp";
    let before: u64 = server.shell(figures).trim().parse()?;
    std::thread::sleep(Duration::from_secs(1));
    Ok(server.shell(figures).trim().parse::<u64>()? - before)
}

/// A flood under way.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    began: Instant,
    thread: JoinHandle<()>,
}

impl Flood {
    /// From a device in `namespace`, which routes what comes by it.
    fn start(namespace: &Namespace, credentials: &Arc<Credentials>) -> Result<Self, Failure> {
        let began = Instant::now();
        let first = Client::new(credentials, began, *b"recorded")?.poll_transmit(began)?;
        let kinds = [first.ok_or("a first packet")?, vec![0x50; 400]];
        let queue = namespace.run(|| Queue::open(&Device::new("forged")))?;
        namespace.shell("ip link set forged up; echo 1 > /proc/sys/net/ipv4/ip_forward");
        namespace.shell("echo 0 > /proc/sys/net/ipv4/conf/forged/rp_filter");
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..TURN {
                    number += 1;
                    let payload = &kinds[number as usize % 2];
                    // A device that is full is a line that is full.
                    let _ = queue.write(
                        &[0; 10],
                        &forged(number, payload),
                        std::slice::from_ref(&(0..28 + payload.len())),
                    );
                }
                count.store(number, Ordering::Relaxed);
                let due = began + Duration::from_micros(number * 1_000_000 / RATE);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        Ok(Self { stop, sent, began, thread })
    }

    /// How many packets in how many seconds.
    fn stop(self) -> (u64, f64) {
        self.stop.store(true, Ordering::Relaxed);
        let took = self.began.elapsed().as_secs_f64();
        let _ = self.thread.join();
        (self.sent.load(Ordering::Relaxed), took)
    }
}

/// A datagram to our server, from an address and a port that follow from the number.
fn forged(number: u64, payload: &[u8]) -> Vec<u8> {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [a, b, c, d, e, ..] = scattered.to_be_bytes();
    // From anywhere between 11.0.0.0 and 126.255.255.255.
    let from = Ipv4Addr::new(11 + a % 116, b, c, d);
    let port = u16::from_be_bytes([4 + (e & 0x7f), e]);
    packet::udp(SocketAddrV4::new(from, port), SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1194), payload)
}
