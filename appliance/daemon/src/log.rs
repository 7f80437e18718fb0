//! The firewall log: packets that the ruleset logs, in the policy's terms, the newest ten thousand of them.
//!
//! Task: one reader, which ends with the daemon.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rempart_bus::documents::{LogEntry, LogPage};
use rempart_config::model::{Device, ICMP, ICMP6, ZoneName};
use rempart_plan::compile::LOG_GROUP;
use rempart_plan::eval::has_ports;
use rempart_plan::explain::protocol_name;
use rempart_plan::world::World;
use rempart_system::nflog::{LogPacket, Nflog};
use tracing::warn;

/// How many entries are kept.
pub const MAX_ENTRIES: usize = 10_000;
/// How many entries one page holds.
pub const MAX_PAGE: usize = 1_000;
/// The pause after the socket has failed.
const RETRY: Duration = Duration::from_secs(1);
/// Most IPv6 extension headers that are looked past.
const MAX_EXTENSIONS: usize = 8;

/// What names a log entry needs.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Device to interface and zone.
    pub devices: BTreeMap<Device, (String, Option<ZoneName>)>,
    /// Flow number to what a person calls it.
    pub flows: BTreeMap<u32, String>,
}

impl Directory {
    /// The names of a network and of numbered flows.
    pub fn new(world: &World, flows: BTreeMap<u32, String>) -> Self {
        let devices = world.legs.iter().flat_map(|leg| {
            leg.devices().map(|device| (device.clone(), (leg.interface.to_string(), leg.zone.clone())))
        });
        Self { devices: devices.collect(), flows }
    }
}

#[derive(Debug, Default)]
struct Book {
    directory: Directory,
    entries: VecDeque<LogEntry>,
    next: u64,
    lost: u64,
}

/// The log, shared between its reader and the control loop.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Book>>);

impl Log {
    /// Names for entries from now on.
    pub fn set_directory(&self, directory: Directory) {
        self.book().directory = directory;
    }

    /// What came after entry number `after`, oldest first, at most [`MAX_PAGE`].
    pub fn page(&self, after: u64) -> LogPage {
        let book = self.book();
        let fresh = book.entries.iter().filter(|e| e.sequence > after);
        let skip = fresh.clone().count().saturating_sub(MAX_PAGE);
        let entries: Vec<LogEntry> = fresh.skip(skip).cloned().collect();
        let next = entries.last().map_or(after.min(book.next), |e| e.sequence);
        LogPage { next, lost: book.lost, entries }
    }

    /// Reads the kernel's log until the daemon ends.
    pub async fn follow(self) {
        loop {
            match Nflog::bind(LOG_GROUP).await {
                Ok(mut source) => {
                    while let Some(packet) = source.next().await {
                        self.append(&packet, source.lost());
                    }
                    warn!("the kernel's log ended; opening it again");
                }
                Err(error) => warn!(%error, "the firewall log cannot be read"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn append(&self, packet: &LogPacket, lost: u64) {
        let mut book = self.book();
        book.lost = lost;
        let Some(mut entry) = entry(packet, &book.directory) else { return };
        book.next += 1;
        entry.sequence = book.next;
        if book.entries.len() == MAX_ENTRIES {
            book.entries.pop_front();
        }
        book.entries.push_back(entry);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A reader that panicked half-way leaves at worst one entry out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(packet: &LogPacket, directory: &Directory) -> Option<LogEntry> {
    let header = Header::parse(&packet.packet)?;
    // `flow 42 allow`, `default deny`, `block NAME drop`: see rempart_plan::compile.
    let (reason, action) = packet.prefix.trim().rsplit_once(' ')?;
    let (flow, reason) = match reason.strip_prefix("flow ").map(str::parse) {
        Some(Ok(id)) => (id, directory.flows.get(&id).cloned().unwrap_or_else(|| format!("flow {id}"))),
        Some(Err(_)) | None => (0, reason.to_owned()),
    };
    let side = |device: &Option<Device>| {
        let known = device.as_ref().and_then(|d| directory.devices.get(d));
        let name = known.map(|(i, _)| i.clone()).or_else(|| device.as_ref().map(ToString::to_string));
        (name, known.and_then(|(_, z)| z.as_ref().map(ToString::to_string)))
    };
    let ((in_interface, from_zone), (out_interface, to_zone)) = (side(&packet.input), side(&packet.output));
    let firewall = || Some("firewall".to_owned());
    Some(LogEntry {
        sequence: 0,
        time: timestamp(packet.time),
        action: action.to_owned(),
        flow,
        reason,
        from_zone: if packet.input.is_none() { firewall() } else { from_zone },
        to_zone: if packet.output.is_none() { firewall() } else { to_zone },
        in_interface,
        out_interface,
        protocol: protocol_name(header.protocol).to_string(),
        source: header.source,
        source_port: header.source_port,
        destination: header.destination,
        destination_port: header.port,
        length_bytes: header.length,
    })
}

/// A time as RFC 3339 in UTC, to the millisecond.
pub fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |t| format!("{t:.3}"))
}

struct Header {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: u16,
    port: u16,
    length: u32,
}

impl Header {
    /// Reads the addresses and ports of an IP packet (RFC 791 §3.1, RFC 8200 §3), however short it is cut.
    fn parse(packet: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
        let (source, destination, protocol, payload, length) = match packet.first()? >> 4 {
            4 => {
                let address = |at: usize| {
                    let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                    Some(IpAddr::V4(Ipv4Addr::from(bytes)))
                };
                let header = usize::from(packet[0] & 0x0f) * 4;
                (address(12)?, address(16)?, *packet.get(9)?, header, u32::from(word(2)?))
            }
            6 => {
                let address = |at: usize| {
                    let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                    Some(IpAddr::V6(Ipv6Addr::from(bytes)))
                };
                let (protocol, payload) = upper_layer(packet, *packet.get(6)?, 40);
                (address(8)?, address(24)?, protocol, payload, u32::from(word(4)?) + 40)
            }
            _ => return None,
        };
        let (source_port, port) = if has_ports(protocol) {
            (word(payload).unwrap_or(0), word(payload + 2).unwrap_or(0))
        } else if protocol == ICMP || protocol == ICMP6 {
            (0, packet.get(payload).map_or(0, |t| u16::from(*t)))
        } else {
            (0, 0)
        };
        Some(Self { source, destination, protocol, source_port, port, length })
    }
}

/// Looks past hop-by-hop (0), routing (43), fragment (44) and destination options (60) headers.
fn upper_layer(packet: &[u8], mut protocol: u8, mut at: usize) -> (u8, usize) {
    for _ in 0..MAX_EXTENSIONS {
        let (Some(next), Some(length)) = (packet.get(at), packet.get(at + 1)) else { break };
        match protocol {
            0 | 43 | 60 => at += (usize::from(*length) + 1) * 8,
            44 => at += 8,
            _ => break,
        }
        protocol = *next;
    }
    (protocol, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any prefix of a packet, and any bytes, parse or are refused; a whole one gives its ports.
    #[test]
    fn headers_of_any_length_are_read() {
        let mut v4 = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, 7, 203, 0, 113, 2];
        v4.extend([0xd4, 0x31, 0x01, 0xbb, 0, 0, 0, 0]);
        let header = Header::parse(&v4).expect("header");
        assert_eq!((header.protocol, header.source_port, header.port, header.length), (6, 54321, 443, 60));
        let mut v6 = vec![0x60, 0, 0, 0, 0, 16, 0, 64];
        v6.extend([0u8; 32]);
        v6.extend([17, 0, 0, 0, 0, 0, 0, 0, 0x14, 0xeb, 0x14, 0xeb, 0, 8, 0, 0]);
        let header = Header::parse(&v6).expect("header");
        assert_eq!((header.protocol, header.source_port, header.port), (17, 5355, 5355));
        for packet in [&v4, &v6] {
            for end in 0..packet.len() {
                let _ = Header::parse(&packet[..end]);
            }
        }
        assert!(Header::parse(&[0xff; 64]).is_none());
    }
}
