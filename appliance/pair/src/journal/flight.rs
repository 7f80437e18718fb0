//! What is under way: sent, not yet known to be in the other kernel.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::wire::{Report, WINDOW};

/// A datagram counts as lost when this many that were sent after it have come: over one path none overtakes another.
const REORDER: u64 = 3;
/// The least patience. The receiver acknowledges within 2 ms, and reads nothing while it writes what it has read, up to
/// 10 ms. To ask too early costs two small datagrams; nothing is sent again for it.
const PATIENCE_MIN: Duration = Duration::from_millis(5);
/// The first patience, before any answer has come.
const PATIENCE_FIRST: Duration = Duration::from_millis(20);
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
    sent: Instant,
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
    round_trip: RoundTrip,
    /// How often patience has ended since anything was acknowledged.
    silences: u32,
    expires: Option<Instant>,
    /// The last question: its token, and what was the last datagram sent before it.
    asked: Option<(u32, u64)>,
    tokens: u32,
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
            round_trip: RoundTrip::default(),
            silences: 0,
            expires: None,
            asked: None,
            tokens: 0,
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

    #[cfg(test)]
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
            sent: now,
            sent_again: false,
            received: false,
            lost: false,
        });
        self.expires.get_or_insert(now + self.round_trip.patience(self.silences));
        self.datagrams.back().map_or(&[], |datagram| &datagram.bytes)
    }

    /// Takes note of an acknowledgement.
    pub(super) fn acknowledge(&mut self, now: Instant, report: &Report<'_>) {
        let mut news = false;
        // The latest that has come for the first time. Of one sent twice nobody knows which has come.
        let mut freshest = None;
        while self.first <= report.written
            && let Some(datagram) = self.datagrams.pop_front()
        {
            self.first += 1;
            self.changes -= u64::from(datagram.changes);
            self.lost -= usize::from(datagram.lost);
            if !datagram.received && !datagram.sent_again {
                freshest = freshest.max(Some(datagram.sent));
            }
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
                    if !datagram.sent_again {
                        freshest = freshest.max(Some(datagram.sent));
                    }
                }
                if !datagram.sent_again {
                    latest = latest.max(datagram.order);
                }
            }
        }
        let mut gone = latest.saturating_sub(REORDER);
        // On one path nothing overtakes the question.
        if let Some((_, order)) = self.asked.take_if(|(token, _)| *token == report.asked) {
            gone = gone.max(order);
        }
        if gone > 0 {
            for datagram in &mut self.datagrams {
                if !datagram.received && !datagram.lost && datagram.order <= gone {
                    datagram.lost = true;
                    self.lost += 1;
                }
            }
        }
        if let Some(sent) = freshest {
            self.round_trip.note(now.saturating_duration_since(sent));
        }
        if news {
            self.silences = 0;
            self.rest(now);
        }
    }

    /// When patience ends.
    pub(super) fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Patience has ended: the receiver is to be asked ([`Flight::ask`]). What is lost its answer tells; what only waits
    /// in its queue would be sent for nothing.
    pub(super) fn expire(&mut self, now: Instant) {
        self.silences = self.silences.saturating_add(1);
        self.rest(now);
    }

    fn rest(&mut self, now: Instant) {
        let patience = self.round_trip.patience(self.silences);
        self.expires = (!self.datagrams.is_empty()).then(|| now + patience);
    }

    /// A question leaves, with the token that is returned. Not 0.
    pub(super) fn ask(&mut self) -> u32 {
        self.tokens = self.tokens.wrapping_add(1).max(1);
        self.asked = Some((self.tokens, self.order));
        self.tokens
    }

    /// Whether [`Flight::again`] has one.
    pub(super) fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// A datagram to be sent again.
    pub(super) fn again(&mut self) -> Option<&[u8]> {
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

/// How long an acknowledgement takes, smoothed as TCP does it.
#[derive(Default)]
struct RoundTrip(Option<(Duration, Duration)>);

impl RoundTrip {
    // RFC 6298 §2.2, §2.3
    fn note(&mut self, sample: Duration) {
        let (mean, deviation) = match self.0 {
            None => (sample, sample / 2),
            Some((mean, deviation)) => ((mean * 7 + sample) / 8, (deviation * 3 + mean.abs_diff(sample)) / 4),
        };
        self.0 = Some((mean, deviation));
    }

    /// How long to wait after so many silences in a row.
    fn patience(&self, silences: u32) -> Duration {
        let first = match self.0 {
            None => PATIENCE_FIRST,
            Some((mean, deviation)) => (mean + deviation * 4).clamp(PATIENCE_MIN, PATIENCE_MAX),
        };
        // RFC 6298 §5.5: each silence makes the next patience twice as long.
        first.saturating_mul(1 << silences.min(8)).min(PATIENCE_MAX)
    }
}
