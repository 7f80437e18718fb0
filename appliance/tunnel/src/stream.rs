//! Clients that come by TCP: the same packets with a length before each (draft "TCP and UDP transport modes"). The streams are
//! somebody else's; here is what passes between them and a shard.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::{SyncSender, TrySendError};

use rempart_openvpn::packet::frame_length;
use rempart_system::realtime::Waker;

use crate::shard::Gone;

/// Frames for one stream, ready to be written.
#[derive(Debug)]
pub struct Framed {
    /// Whose stream.
    pub to: SocketAddr,
    /// Lengths and packets.
    pub bytes: Vec<u8>,
}

/// What came by one stream: packets of the data channel, whole.
#[derive(Debug)]
pub struct Fed {
    /// Whose stream.
    pub from: SocketAddr,
    /// Where the packets lie, to be opened in place.
    pub arena: Vec<u8>,
    /// The packets.
    pub packets: Vec<Range<usize>>,
}

/// The way to the streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    rows: SyncSender<Framed>,
    waker: Waker,
}

impl Streams {
    pub fn new(rows: SyncSender<Framed>, waker: Waker) -> Self {
        Self { rows, waker }
    }

    /// Whether there was room.
    pub fn send(&self, to: SocketAddr, datagrams: &[u8], segment: usize) -> bool {
        let mut bytes = Vec::with_capacity(datagrams.len() + 2 * datagrams.len().div_ceil(segment.max(1)));
        for packet in datagrams.chunks(segment.max(1)) {
            let Some(length) = frame_length(packet) else { return false };
            bytes.extend_from_slice(&length);
            bytes.extend_from_slice(packet);
        }
        let sent = match self.rows.try_send(Framed { to, bytes }) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        self.waker.wake();
        sent
    }
}

/// The way from the streams to a shard.
#[derive(Clone, Debug)]
pub struct Feeder {
    pub(crate) batches: SyncSender<Fed>,
    pub(crate) waker: Waker,
}

impl Feeder {
    /// Hands packets over and waits until there is room for them.
    pub fn feed(&self, fed: Fed) -> Result<(), Gone> {
        let done = match self.batches.try_send(fed) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Gone),
            Err(TrySendError::Full(fed)) => {
                self.waker.wake();
                self.batches.send(fed).map_err(|_| Gone)
            }
        };
        self.waker.wake();
        done
    }
}
