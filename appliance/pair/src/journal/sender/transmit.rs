//! What leaves: requests, what was lost, comparisons, changes; in this order.

use std::time::{Duration, Instant};

use super::super::queue::{Marker, Next, Peek, Waiting};
use super::super::wire::{CHANGE_HEADER, DATA_HEADER, DIGESTS_PER_RECORD, Data, Message, Record};
use super::super::{BUCKETS, MAX_PLAINTEXT, Notice};
use super::Sender;
use super::session::Link;
use super::walk::Stage;

/// How often both tables are compared while nothing hints at a difference. It costs one datagram and 10 µs.
const COMPARE: Duration = Duration::from_secs(60);
/// Datagrams that all digests take.
const DIGEST_DATAGRAMS: usize = BUCKETS.div_ceil(DIGESTS_PER_RECORD);
/// Where a Data message says that it is urgent.
const URGENT: usize = DATA_HEADER - 1;

/// Where a comparison of both tables stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Comparison {
    /// The next one begins then.
    Idle { at: Option<Instant> },
    /// The summary is to be sent.
    Due,
    /// It was sent.
    Summed { token: u32 },
    /// The summaries differ: the digests from `next` on are to be sent, with nothing between them.
    DigestsDue { token: u32, next: usize },
    /// They were sent.
    Digested { token: u32 },
}

impl Sender {
    /// The next datagram, if there is one: to be sealed and sent.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<&[u8]> {
        if let Some(offer) = self.offer.as_mut().filter(|offer| offer.due) {
            offer.due = false;
            let (stream, incarnation, invitation) = (offer.stream, offer.incarnation, offer.invitation);
            return Some(self.encode(&Message::Offer { stream, incarnation, invitation }));
        }
        if std::mem::take(&mut self.ask_due) {
            let (stream, token) = (self.stream(), self.flight.ask());
            return Some(self.encode(&Message::Ask { stream, token }));
        }
        let Link::Joined { stream, window, .. } = self.link else { return None };
        if self.flight.has_lost() {
            self.status.resent += 1;
            self.status.datagrams += 1;
            return self.flight.again();
        }
        match self.flight.room(window) {
            0 => None,
            room => self.pack(now, stream, room),
        }
    }

    fn encode(&mut self, message: &Message<'_>) -> &[u8] {
        self.scratch.clear();
        message.encode(&mut self.scratch);
        &self.scratch
    }

    fn pack(&mut self, now: Instant, stream: u64, room: usize) -> Option<&[u8]> {
        self.queue.ripen(now);
        let mut out = self.flight.buffer();
        Message::Data(Data::header(stream, self.flight.next(), false)).encode(&mut out);
        let mut packed = Packed { out, changes: 0, oldest: now };
        match self.comparison {
            Comparison::DigestsDue { token, next } => {
                if next == 0 && room < DIGEST_DATAGRAMS {
                    self.flight.give_back(packed.out);
                    return None;
                }
                self.pack_digests(token, next, &mut packed);
            }
            Comparison::Due => {
                self.pack_summary(&mut packed);
                self.pack_changes(now, &mut packed);
            }
            Comparison::Idle { .. } | Comparison::Summed { .. } | Comparison::Digested { .. } => {
                self.pack_changes(now, &mut packed);
            }
        }
        if packed.out.len() == DATA_HEADER && packed.out.get(URGENT) == Some(&0) {
            self.flight.give_back(packed.out);
            return None;
        }
        self.status.datagrams += 1;
        self.status.bytes += packed.out.len() as u64;
        self.status.position += u64::from(packed.changes);
        Some(self.flight.push(now, packed.out, packed.changes, packed.oldest))
    }

    fn pack_summary(&mut self, packed: &mut Packed) {
        self.tokens = self.tokens.wrapping_add(1);
        let token = self.tokens;
        let (summary, entries) = (self.table.summary(), self.table.len() as u64);
        Record::Summary { token, summary, entries }.encode(&mut packed.out);
        packed.urge();
        self.status.comparisons += 1;
        self.comparison = Comparison::Summed { token };
    }

    fn pack_digests(&mut self, token: u32, first: usize, packed: &mut Packed) {
        let next = (first + DIGESTS_PER_RECORD).min(BUCKETS);
        let digests: Vec<[u8; 8]> =
            self.table.digests().iter().take(next).skip(first).map(|digest| digest.to_be_bytes()).collect();
        Record::Digests { token, first: first as u16, digests: &digests }.encode(&mut packed.out);
        self.comparison = if next == BUCKETS {
            packed.urge();
            Comparison::Digested { token }
        } else {
            Comparison::DigestsDue { token, next }
        };
    }

    fn pack_changes(&mut self, now: Instant, packed: &mut Packed) {
        let sequence = self.flight.next();
        while let Some(peek) = self.queue.peek() {
            let length = match peek {
                Peek::Marker(Marker::Open) => Record::OPEN_LENGTH,
                Peek::Marker(Marker::Close) => Record::CLOSE_LENGTH,
                Peek::Marker(Marker::Flush) => 0,
                Peek::Change(length) => CHANGE_HEADER + length,
            };
            if packed.out.len() + length > MAX_PLAINTEXT {
                break;
            }
            match self.queue.pop() {
                None => break,
                Some(Next::Marker(Marker::Open)) => self.pack_open(now, packed),
                Some(Next::Marker(Marker::Close)) => {
                    if let Some(repair) = &mut self.repair {
                        repair.stage = Stage::Closing { sequence: Some(sequence) };
                        Record::Close { token: repair.token }.encode(&mut packed.out);
                        packed.urge();
                    }
                }
                Some(Next::Marker(Marker::Flush)) => {
                    if let Some(flush) = &mut self.flush {
                        flush.sequence = Some(sequence);
                        packed.urge();
                    }
                }
                Some(Next::Change(key, change, since, mark)) => {
                    packed.changes += 1;
                    packed.oldest = packed.oldest.min(since);
                    match change {
                        Waiting::Put { replace, fingerprint, bytes } => {
                            self.table.insert_marked(&key, fingerprint, mark);
                            Record::Put { key: &key, replace, bytes: &bytes }.encode(&mut packed.out);
                        }
                        Waiting::Remove { bytes } => {
                            self.table.remove(&key);
                            Record::Remove { key: &key, bytes: &bytes }.encode(&mut packed.out);
                        }
                    }
                }
            }
        }
    }

    /// The receiver now takes everything as belonging to the repair, so the kernel must be read from now on.
    fn pack_open(&mut self, now: Instant, packed: &mut Packed) {
        let Some(repair) = &mut self.repair else { return };
        repair.stage = Stage::Dumping;
        let (token, buckets) = (repair.token, repair.buckets.to_bytes());
        Record::Open { token, buckets: &buckets }.encode(&mut packed.out);
        self.begin_walk(now);
    }

    pub(super) fn advance_comparison(&mut self, now: Instant) {
        let Comparison::Idle { at } = self.comparison else { return };
        let reason = at.is_some_and(|at| at <= now) || (self.doubt && self.is_calm());
        if reason && matches!(self.link, Link::Joined { .. }) && !self.is_repairing() {
            self.doubt = false;
            self.comparison = Comparison::Due;
        }
    }

    pub(super) fn settle_equal(&mut self, now: Instant) {
        self.comparison = Comparison::Idle { at: Some(now + COMPARE) };
        self.joined = true;
        self.futile = 0;
        self.notice(Notice::Equal);
    }
}

/// A datagram in the making.
struct Packed {
    out: Vec<u8>,
    changes: u32,
    oldest: Instant,
}

impl Packed {
    fn urge(&mut self) {
        if let Some(urgent) = self.out.get_mut(URGENT) {
            *urgent = 1;
        }
    }
}
