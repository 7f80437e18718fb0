//! What is under way: sent, not yet known to be in the other kernel.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::wire::{Report, WINDOW};

/// A datagram counts as lost when this many that were sent after it have come: over one path none overtakes another.
const REORDER: u64 = 3;
/// The first patience. The receiver acknowledges within 2 ms, but its thread may be writing a full window into the
/// kernel (40 ms) before it reads the next datagram.
const PATIENCE_MIN: Duration = Duration::from_millis(20);
/// The last: how soon a path that has come back is noticed.
const PATIENCE_MAX: Duration = Duration::from_millis(160);
/// Buffers kept for reuse.
const POOL: usize = 64;

struct Datagram {
    bytes: Vec<u8>,
    changes: u32,
    /// Since when the first of its changes waits.
    oldest: Instant,
    /// Position among everything sent, repetitions included.
    order: u64,
    sent_again: bool,
    received: bool,
    lost: bool,
}

/// See the head of the file.
pub(super) struct Flight {
    /// Sequence number of the first datagram in `datagrams`.
    first: u64,
    datagrams: VecDeque<Datagram>,
    changes: u64,
    /// How many are lost and not yet sent again.
    lost: usize,
    order: u64,
    patience: Duration,
    expires: Option<Instant>,
    /// Nothing was acknowledged in time: one datagram asks, and the others wait for its answer.
    probing: bool,
    pool: Vec<Vec<u8>>,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self {
            first: 1,
            datagrams: VecDeque::new(),
            changes: 0,
            lost: 0,
            order: 0,
            patience: PATIENCE_MIN,
            expires: None,
            probing: false,
            pool: Vec::new(),
        }
    }

    /// The sequence number of the next datagram.
    pub(super) fn next(&self) -> u64 {
        self.first + self.datagrams.len() as u64
    }

    /// Everything before this one is in the other kernel.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.datagrams.front().map(|datagram| datagram.oldest)
    }

    /// Datagrams for which there is room, if the receiver takes `window`.
    pub(super) fn room(&self, window: u16) -> usize {
        usize::from(window).min(WINDOW).saturating_sub(self.datagrams.len())
    }

    /// An empty buffer.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_else(|| Vec::with_capacity(super::MAX_PLAINTEXT))
    }

    /// A buffer that is not needed after all.
    pub(super) fn give_back(&mut self, mut bytes: Vec<u8>) {
        if self.pool.len() < POOL {
            bytes.clear();
            self.pool.push(bytes);
        }
    }

    /// A datagram leaves.
    pub(super) fn push(&mut self, now: Instant, bytes: Vec<u8>, changes: u32, oldest: Instant) -> &[u8] {
        self.order += 1;
        let order = self.order;
        self.changes += u64::from(changes);
        self.datagrams.push_back(Datagram {
            bytes,
            changes,
            oldest,
            order,
            sent_again: false,
            received: false,
            lost: false,
        });
        self.expires.get_or_insert(now + self.patience);
        self.datagrams.back().map_or(&[], |datagram| &datagram.bytes)
    }

    /// Takes note of an acknowledgement; true if it told anything new.
    pub(super) fn acknowledge(&mut self, now: Instant, report: &Report<'_>) -> bool {
        let mut news = false;
        while self.first <= report.written
            && let Some(datagram) = self.datagrams.pop_front()
        {
            self.first += 1;
            self.changes -= u64::from(datagram.changes);
            self.lost -= usize::from(datagram.lost);
            news = true;
            self.give_back(datagram.bytes);
        }
        // How late anything was sent of what has come: what was sent well before that and has not come is lost.
        let mut latest = 0;
        let span = report.highest().saturating_sub(report.written).min(WINDOW as u64);
        for (sequence, datagram) in (self.first..).zip(&mut self.datagrams).take(span as usize) {
            if report.has(sequence) {
                if !datagram.received {
                    news = true;
                    self.lost -= usize::from(std::mem::take(&mut datagram.lost));
                    datagram.received = true;
                }
                // Of one sent twice nobody knows which has come.
                if !datagram.sent_again {
                    latest = latest.max(datagram.order);
                }
            }
        }
        for datagram in self.datagrams.iter_mut().take(span as usize) {
            if !datagram.received && !datagram.lost && datagram.order + REORDER <= latest {
                datagram.lost = true;
                self.lost += 1;
            }
        }
        if news {
            self.patience = PATIENCE_MIN;
            self.expires = (!self.datagrams.is_empty()).then(|| now + self.patience);
        }
        self.probing = false;
        news
    }

    /// When patience ends.
    pub(super) fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Patience has ended: what has not come is lost, and the first of it is sent to ask. True if there is nothing to
    /// send, because everything has come and only waits to be written.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.lost = 0;
        for datagram in &mut self.datagrams {
            datagram.lost = !datagram.received;
            self.lost += usize::from(datagram.lost);
        }
        self.probing = false;
        self.patience = (self.patience * 2).min(PATIENCE_MAX);
        self.expires = (!self.datagrams.is_empty()).then(|| now + self.patience);
        self.lost == 0
    }

    /// Whether [`Flight::again`] has one.
    pub(super) fn has_lost(&self) -> bool {
        self.lost > 0 && !self.probing
    }

    /// A datagram to be sent again.
    pub(super) fn again(&mut self) -> Option<&[u8]> {
        // After patience has ended, one datagram asks whether anybody is there.
        self.probing = self.patience > PATIENCE_MIN;
        self.order += 1;
        let order = self.order;
        let datagram = self.datagrams.iter_mut().find(|datagram| datagram.lost)?;
        datagram.lost = false;
        datagram.sent_again = true;
        datagram.order = order;
        self.lost -= 1;
        Some(&datagram.bytes)
    }
}
