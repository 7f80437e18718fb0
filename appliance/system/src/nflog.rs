//! Packets that the ruleset logs (`log group N`), over nfnetlink_log.
//!
//! What a prefix means is known to whoever wrote the rule. What is lost is counted: gaps in the kernel's
//! sequence numbers (its queue was full) and what found our own queue full.
//!
//! Task: one reader per [`Nflog`].

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;
use rempart_config::model::Device;
use rempart_config::space::Family;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::netlink::{
    Message, NFGEN, NLM_F_ACK, NetlinkError, Raw, Socket, attributes, messages, u32_be, u64_be,
};

/// How much of a packet is kept, in bytes: all headers, and enough to tell what it was.
pub const SNAP_LENGTH: u32 = 128;
/// How many packets wait for a slow listener.
const QUEUE: usize = 4096;
/// The kernel's queue, in bytes: some ten thousand packets.
const RECEIVE_BYTES: usize = 4 << 20;
/// How many packets the kernel gathers, and for how long, before it wakes us.
const BATCH: u32 = 32;
const BATCH_HUNDREDTHS_S: u32 = 10;
/// How long and how many names of devices are remembered: they can be renamed.
const NAMES_FOR: Duration = Duration::from_secs(5);
const MAX_NAMES: usize = 1024;

const NFNL_SUBSYS_ULOG: u8 = 4;
const NFULNL_MSG_PACKET: u8 = 0;
const NFULNL_MSG_CONFIG: u8 = 1;
const NFULA_MARK: u16 = 2;
const NFULA_TIMESTAMP: u16 = 3;
const NFULA_IFINDEX_INDEV: u16 = 4;
const NFULA_IFINDEX_OUTDEV: u16 = 5;
const NFULA_PAYLOAD: u16 = 9;
const NFULA_PREFIX: u16 = 10;
const NFULA_SEQ: u16 = 12;
const NFULA_CFG_CMD: u16 = 1;
const NFULA_CFG_MODE: u16 = 2;
const NFULA_CFG_TIMEOUT: u16 = 4;
const NFULA_CFG_QTHRESH: u16 = 5;
const NFULA_CFG_FLAGS: u16 = 6;
const NFULNL_CFG_CMD_BIND: u8 = 1;
const NFULNL_COPY_PACKET: u8 = 2;
const NFULNL_CFG_F_SEQ: u16 = 1;

/// Why a group was not bound.
#[derive(Debug, thiserror::Error)]
pub enum NflogError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}; the daemon needs CAP_NET_ADMIN")]
    Open(#[source] io::Error),
    /// Another program reads this group. The kernel gives the same answer to whoever may not read any.
    #[error("log group {0} is read by another program, or this one lacks CAP_NET_ADMIN: stop the other")]
    Taken(u16),
    /// The kernel refused.
    #[error("cannot read log group {group}: {source}")]
    Refused {
        /// The group.
        group: u16,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A logged packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogPacket {
    /// The prefix of the rule.
    pub prefix: String,
    /// Where it came in, in the hooks that know.
    pub input: Option<Device>,
    /// Where it goes out, in the hooks that know.
    pub output: Option<Device>,
    /// The IP version; `None` for what is not IP.
    pub family: Option<Family>,
    /// The packet's mark.
    pub mark: u32,
    /// The packet from the IP header on, at most [`SNAP_LENGTH`] bytes.
    pub packet: Vec<u8>,
    /// When it was seen.
    pub time: SystemTime,
}

/// A stream of logged packets. Dropping it ends its task and frees the group.
#[derive(Debug)]
pub struct Nflog {
    packets: mpsc::Receiver<LogPacket>,
    lost: Arc<AtomicU64>,
    reader: tokio::task::JoinHandle<()>,
}

impl Nflog {
    /// Reads `group` in the network namespace of this thread from now on.
    pub async fn bind(group: u16) -> Result<Self, NflogError> {
        let mut socket =
            Socket::open(SockProtocol::NetlinkNetFilter, 0, RECEIVE_BYTES).map_err(NflogError::Open)?;
        let mut config = config(group);
        config.attr(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]);
        request(&mut socket, group, config).await?;
        let mut config = self::config(group);
        // struct nfulnl_msg_config_mode { be32 copy_range; u8 copy_mode; u8 pad }
        let mut mode = SNAP_LENGTH.to_be_bytes().to_vec();
        mode.extend([NFULNL_COPY_PACKET, 0]);
        config.attr(NFULA_CFG_MODE, &mode);
        config.attr(NFULA_CFG_TIMEOUT, &BATCH_HUNDREDTHS_S.to_be_bytes());
        config.attr(NFULA_CFG_QTHRESH, &BATCH.to_be_bytes());
        config.attr(NFULA_CFG_FLAGS, &NFULNL_CFG_F_SEQ.to_be_bytes());
        request(&mut socket, group, config).await?;
        let (sender, packets) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let reader = tokio::spawn(read(socket, sender, Arc::clone(&lost)));
        Ok(Self { packets, lost, reader })
    }

    /// The next packet; `None` after the socket has failed, which is logged.
    pub async fn next(&mut self) -> Option<LogPacket> {
        self.packets.recv().await
    }

    /// How many packets were lost since the group was bound.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Nflog {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn config(group: u16) -> Message {
    Message::netfilter(NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG, NLM_F_ACK, libc::AF_UNSPEC as u8, group)
}

async fn request(socket: &mut Socket, group: u16, config: Message) -> Result<(), NflogError> {
    match socket.request(config).await {
        Ok(()) => Ok(()),
        Err(error) if error.is(Errno::EBUSY) || error.is(Errno::EPERM) => Err(NflogError::Taken(group)),
        Err(NetlinkError::Refused(errno)) => Err(NflogError::Refused { group, source: errno.into() }),
        Err(other) => Err(NflogError::Refused { group, source: io::Error::other(other) }),
    }
}

async fn read(mut socket: Socket, sender: mpsc::Sender<LogPacket>, lost: Arc<AtomicU64>) {
    let mut names = Names { known: BTreeMap::new(), since: Instant::now() };
    let mut expected = None;
    loop {
        let bytes = match socket.receive().await {
            Ok(bytes) => bytes,
            // How many were lost is told by the next sequence number.
            Err(NetlinkError::Incomplete) => continue,
            Err(error) => {
                tracing::error!(%error, "reading logged packets has ended");
                return;
            }
        };
        for entry in messages(bytes).filter_map(decode) {
            if let Some(sequence) = entry.sequence {
                let gap = expected.map_or(0, |e| sequence.wrapping_sub(e));
                lost.fetch_add(gap.into(), Ordering::Relaxed);
                expected = Some(sequence.wrapping_add(1));
            }
            let packet = LogPacket {
                input: entry.input.and_then(|index| names.get(index)),
                output: entry.output.and_then(|index| names.get(index)),
                prefix: entry.prefix,
                family: entry.family,
                mark: entry.mark,
                packet: entry.packet,
                time: entry.time.unwrap_or_else(SystemTime::now),
            };
            match sender.try_send(packet) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}

/// Names of devices by their number.
struct Names {
    known: BTreeMap<u32, Option<Device>>,
    since: Instant,
}

impl Names {
    fn get(&mut self, index: u32) -> Option<Device> {
        if self.since.elapsed() > NAMES_FOR || self.known.len() >= MAX_NAMES {
            self.known.clear();
            self.since = Instant::now();
        }
        let ask = || nix::net::if_::if_indextoname(index).ok().map(|n| Device::new(n.to_string_lossy()));
        self.known.entry(index).or_insert_with(ask).clone()
    }
}

#[derive(Debug, Default)]
struct Entry {
    prefix: String,
    input: Option<u32>,
    output: Option<u32>,
    family: Option<Family>,
    mark: u32,
    packet: Vec<u8>,
    time: Option<SystemTime>,
    sequence: Option<u32>,
}

fn decode(raw: Raw<'_>) -> Option<Entry> {
    if raw.kind != u16::from_be_bytes([NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET]) {
        return None;
    }
    let mut entry = Entry {
        family: match i32::from(*raw.payload.first()?) {
            libc::AF_INET => Some(Family::V4),
            libc::AF_INET6 => Some(Family::V6),
            _ => None,
        },
        ..Entry::default()
    };
    for (kind, data) in attributes(raw.payload.get(NFGEN..)?) {
        match kind {
            NFULA_PREFIX => {
                let text = data.split(|b| *b == 0).next().unwrap_or(data);
                entry.prefix = String::from_utf8_lossy(text).into_owned();
            }
            NFULA_IFINDEX_INDEV => entry.input = u32_be(data),
            NFULA_IFINDEX_OUTDEV => entry.output = u32_be(data),
            NFULA_MARK => entry.mark = u32_be(data)?,
            NFULA_PAYLOAD => entry.packet = data.to_vec(),
            NFULA_TIMESTAMP => entry.time = time(data),
            NFULA_SEQ => entry.sequence = u32_be(data),
            _ => {}
        }
    }
    Some(entry)
}

/// struct nfulnl_msg_packet_timestamp { be64 sec; be64 usec }
fn time(data: &[u8]) -> Option<SystemTime> {
    let micros = u64_be(data.get(8..)?)? % 1_000_000;
    let since = Duration::from_secs(u64_be(data)?) + Duration::from_micros(micros);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever bytes arrive, reading them never panics.
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = decode(Raw { kind: 0x0400, flags: 0, sequence: 0, payload: &bytes });
        }
    }
}
