//! Ethernet cables into the machine, and the smallest host at their other end: ARP and UDP over IPv4, both of which a
//! firewall must judge. A frame is a datagram of a Unix socket, so no network of the testing machine is touched.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Scratch;

/// The longest frame.
const FRAME_MAX: usize = 1600;
/// How often whoever reads a cable looks whether it was taken away.
const LOOK: Duration = Duration::from_millis(100);
/// How long a host waits for a machine that takes nothing, before it throws the frame away.
const FULL: Duration = Duration::from_secs(1);
/// Frames that a host keeps until it is asked for them; the oldest go.
const KEPT_MAX: usize = 4096;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const UDP: u8 = 17;

/// The two sockets of a cable.
#[derive(Clone, Debug)]
pub struct Cable {
    /// QEMU's end.
    pub machine: PathBuf,
    /// Our end, or another machine's.
    pub other: PathBuf,
}

impl Cable {
    /// A cable with this name.
    pub fn new(scratch: &Scratch, name: &str) -> Self {
        Self { machine: scratch.at(&format!("{name}.vm")), other: scratch.at(&format!("{name}.us")) }
    }

    /// The same cable seen from its other end.
    pub fn turned(&self) -> Self {
        Self { machine: self.other.clone(), other: self.machine.clone() }
    }
}

/// A switch without a memory: what comes in on one cable goes out on all others. It works until it is dropped.
#[derive(Debug)]
pub struct Segment {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Segment {
    /// Plugs in the other ends of these cables.
    pub fn join(cables: &[Cable]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ports: Arc<Vec<(UnixDatagram, PathBuf)>> = Arc::new(cables.iter().map(port).collect());
        let forward = |own: usize| {
            let (stop, ports, sender) = (stop.clone(), ports.clone(), sender());
            std::thread::spawn(move || {
                let mut frame = [0; FRAME_MAX];
                while !stop.load(Ordering::Relaxed) {
                    let Ok(length) = ports[own].0.recv(&mut frame) else { continue };
                    for (_, machine) in
                        ports.iter().enumerate().filter(|(n, _)| *n != own).map(|(_, port)| port)
                    {
                        // A machine that is off, or does not keep up, loses frames as on any cable. Nobody waits for it.
                        let _ = sender.send_to(&frame[..length], machine);
                    }
                }
            })
        };
        let threads = (0..cables.len()).map(forward).collect();
        Self { stop, threads }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The near end of a cable, and the machine's.
fn port(cable: &Cable) -> (UnixDatagram, PathBuf) {
    let _ = std::fs::remove_file(&cable.other);
    let socket = UnixDatagram::bind(&cable.other).expect("a socket in a folder of our own");
    socket.set_read_timeout(Some(LOOK)).expect("a timeout above zero");
    socket.set_write_timeout(Some(FULL)).expect("a timeout above zero");
    (socket, cable.machine.clone())
}

/// A socket that sends at once or not at all.
fn sender() -> UnixDatagram {
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.set_nonblocking(true).expect("a socket can be told not to wait");
    socket
}

/// A host at the end of a cable. It reads all the time: a queue that nobody empties would hold up the machine, as a switch
/// that does not answer to flow control would not.
#[derive(Debug)]
pub struct Host {
    card: Arc<Card>,
    reader: Option<JoinHandle<()>>,
}

/// What a host and its reader share.
#[derive(Debug)]
struct Card {
    socket: UnixDatagram,
    machine: PathBuf,
    mac: [u8; 6],
    address: Ipv4Addr,
    kept: Mutex<VecDeque<Vec<u8>>>,
    arrived: Condvar,
    stop: AtomicBool,
}

/// A datagram that arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// From where.
    pub source: (Ipv4Addr, u16),
    /// To where.
    pub destination: (Ipv4Addr, u16),
    /// What.
    pub payload: Vec<u8>,
}

impl Host {
    /// Puts a host with this address at our end of the cable.
    pub fn attach(cable: &Cable, address: Ipv4Addr) -> Self {
        let (socket, machine) = port(cable);
        let [_, b, c, d] = address.octets();
        let card = Arc::new(Card {
            socket,
            machine,
            mac: [0x02, 0, 0x5e, b, c, d],
            address,
            kept: Mutex::default(),
            arrived: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let theirs = card.clone();
        let reader = std::thread::spawn(move || theirs.read());
        Self { card, reader: Some(reader) }
    }

    /// Sends a UDP datagram by way of `gateway`, whose MAC is asked for; whether the gateway answered at all.
    pub fn send(
        &self,
        gateway: Ipv4Addr,
        to: (Ipv4Addr, u16),
        from_port: u16,
        payload: &[u8],
        limit: Duration,
    ) -> bool {
        let Some(mac) = self.resolve(gateway, limit) else { return false };
        self.card.transmit(mac, ETHERTYPE_IPV4, &self.udp(to, from_port, payload));
        true
    }

    /// Sends one datagram to each of these ports of these machines, from each of those ports; as fast as the gateway takes them.
    pub fn send_all(
        &self,
        gateway: Ipv4Addr,
        to: &[(Ipv4Addr, u16)],
        from_ports: Range<u16>,
        limit: Duration,
    ) -> bool {
        let Some(mac) = self.resolve(gateway, limit) else { return false };
        for to in to {
            for port in from_ports.clone() {
                self.card.transmit(mac, ETHERTYPE_IPV4, &self.udp(*to, port, b"one"));
            }
        }
        true
    }

    /// An IPv4 packet with a UDP datagram in it.
    fn udp(&self, to: (Ipv4Addr, u16), from_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut udp = Vec::new();
        for field in [from_port, to.1, u16::try_from(8 + payload.len()).expect("short"), 0] {
            udp.extend(field.to_be_bytes());
        }
        udp.extend(payload);
        let mut packet = vec![0x45, 0];
        packet.extend(u16::try_from(20 + udp.len()).expect("short").to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
        packet.extend(self.card.address.octets());
        packet.extend(to.0.octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(udp);
        packet
    }

    /// Waits for a UDP datagram with this payload; ARP is answered meanwhile.
    pub fn receive(&self, payload: &[u8], limit: Duration) -> Option<Datagram> {
        let until = Instant::now() + limit;
        while let Some(frame) = self.card.frame(until) {
            if let Some(datagram) = parse_udp(&frame)
                && datagram.payload == payload
            {
                return Some(datagram);
            }
        }
        None
    }

    fn resolve(&self, address: Ipv4Addr, limit: Duration) -> Option<[u8; 6]> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            self.card.transmit([0xff; 6], ETHERTYPE_ARP, &self.card.arp(1, [0; 6], address));
            let next = until.min(Instant::now() + Duration::from_millis(500));
            while let Some(frame) = self.card.frame(next) {
                // Operation 2 is a reply (RFC 826).
                if frame.get(12..14) == Some(&ETHERTYPE_ARP.to_be_bytes())
                    && frame.get(20..22) == Some(&[0, 2])
                    && frame.get(28..32) == Some(&address.octets())
                {
                    return frame.get(22..28)?.try_into().ok();
                }
            }
        }
        None
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.card.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Card {
    /// Answers ARP requests for its own address, and keeps everything else.
    fn read(&self) {
        let mut frame = [0; FRAME_MAX];
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(length) = self.socket.recv(&mut frame) else { continue };
            let frame = &frame[..length];
            let asked = frame.get(12..14) == Some(&ETHERTYPE_ARP.to_be_bytes())
                && frame.get(20..22) == Some(&[0, 1])
                && frame.get(38..42) == Some(&self.address.octets());
            if asked {
                let asker: [u8; 6] = frame[22..28].try_into().expect("six bytes");
                let address: [u8; 4] = frame[28..32].try_into().expect("four bytes");
                self.transmit(asker, ETHERTYPE_ARP, &self.arp(2, asker, address.into()));
                continue;
            }
            let mut kept = self.kept.lock().expect("nobody panics with it");
            if kept.len() == KEPT_MAX {
                kept.pop_front();
            }
            kept.push_back(frame.to_vec());
            self.arrived.notify_all();
        }
    }

    /// The next frame.
    fn frame(&self, until: Instant) -> Option<Vec<u8>> {
        let mut kept = self.kept.lock().expect("nobody panics with it");
        loop {
            if let Some(frame) = kept.pop_front() {
                return Some(frame);
            }
            let left = until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())?;
            kept = self.arrived.wait_timeout(kept, left).expect("nobody panics with it").0;
        }
    }

    fn arp(&self, operation: u16, to: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
        let mut message = vec![0, 1, 8, 0, 6, 4];
        message.extend(operation.to_be_bytes());
        message.extend(self.mac);
        message.extend(self.address.octets());
        message.extend(to);
        message.extend(address.octets());
        message
    }

    fn transmit(&self, to: [u8; 6], ethertype: u16, payload: &[u8]) {
        let mut frame = Vec::with_capacity(60);
        frame.extend(to);
        frame.extend(self.mac);
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame.resize(frame.len().max(60), 0);
        // A machine that is not there yet, or no more, loses frames as a cable does.
        let _ = self.socket.send_to(&frame, &self.machine);
    }
}

fn parse_udp(frame: &[u8]) -> Option<Datagram> {
    let packet = frame.get(14..)?;
    (frame.get(12..14)? == ETHERTYPE_IPV4.to_be_bytes() && *packet.get(9)? == UDP).then_some(())?;
    let udp = packet.get(usize::from(packet[0] & 0x0f) * 4..)?;
    let port = |at: usize| udp.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let address = |at: usize| packet.get(at..at + 4).map(|b| Ipv4Addr::new(b[0], b[1], b[2], b[3]));
    Some(Datagram {
        source: (address(12)?, port(0)?),
        destination: (address(16)?, port(2)?),
        payload: udp.get(8..usize::from(port(4)?))?.to_vec(),
    })
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}
