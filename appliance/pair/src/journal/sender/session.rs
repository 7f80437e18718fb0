//! Who is at the other end, and what it reports.

use std::time::Instant;

use super::super::flight::Flight;
use super::super::queue::{Marker, Waiting};
use super::super::wire::{Report, Verdict};
use super::super::{Notice, Output};
use super::transmit::Comparison;
use super::{ASK, LEAVE, SILENT, Sender};

/// The other end.
pub(super) enum Link {
    /// Nobody has taken up a stream of ours.
    Apart,
    /// Somebody takes this stream.
    Joined {
        stream: u64,
        heard: Instant,
        /// Not heard for [`SILENT`].
        silent: bool,
        /// Datagrams that it takes.
        window: u16,
    },
}

/// A stream that was offered and is not taken up yet.
pub(super) struct Offer {
    pub(super) stream: u64,
    pub(super) incarnation: u64,
    pub(super) invitation: u32,
    at: Instant,
    pub(super) due: bool,
}

impl Sender {
    pub(super) fn stream(&self) -> u64 {
        match self.link {
            Link::Apart => 0,
            Link::Joined { stream, .. } => stream,
        }
    }

    pub(super) fn handle_report(&mut self, now: Instant, report: &Report<'_>) {
        if let Link::Joined { stream, heard, silent, window } = &mut self.link
            && *stream == report.stream
        {
            (*heard, *silent, *window) = (now, false, report.window);
            self.flight.acknowledge(now, report);
            self.doubt |= report.doubtful;
            self.handle_verdict(now, &report.verdict);
        } else if self.offer.as_ref().is_some_and(|offer| offer.stream == report.stream) {
            self.join(now, report);
        } else if report.ready && self.loaded {
            self.make_offer(now, report);
        }
    }

    /// Somebody is there and does not take our stream: it was started anew, or we were. Its word is not enough to give
    /// up a stream that goes on; that it names the stream offered to it is.
    fn make_offer(&mut self, now: Instant, report: &Report<'_>) {
        let target = (report.incarnation, report.invitation);
        if let Some(offer) = &mut self.offer
            && (offer.incarnation, offer.invitation) == target
        {
            // Lost, or the report crossed it. Not more often than a lost datagram is sent again.
            if now.saturating_duration_since(offer.at) >= ASK / 5 {
                (offer.at, offer.due) = (now, true);
            }
            return;
        }
        self.streams += 1;
        let stream = self.config.incarnation.wrapping_add(self.streams).max(1);
        let (incarnation, invitation) = target;
        self.offer = Some(Offer { stream, incarnation, invitation, at: now, due: true });
    }

    fn join(&mut self, now: Instant, report: &Report<'_>) {
        self.offer = None;
        self.link = Link::Joined { stream: report.stream, heard: now, silent: false, window: report.window };
        // What was under way is in the table; what waits goes on waiting.
        self.flight = Flight::new();
        self.forget_repair();
        self.joined = false;
        self.futile = 0;
        self.comparison = Comparison::Due;
        if let Some(flush) = &mut self.flush {
            self.queue.unmark(Marker::Flush);
            self.queue.mark(Marker::Flush);
            flush.sequence = None;
        }
        self.notice(Notice::Joined);
    }

    pub(super) fn check_silence(&mut self, now: Instant) {
        let Link::Joined { heard, silent, .. } = &mut self.link else { return };
        let silence = now.saturating_duration_since(*heard);
        if silence >= LEAVE {
            self.leave(now);
        } else if silence >= SILENT && !*silent {
            *silent = true;
            self.notice(Notice::Silent);
        }
    }

    /// Gives the other end up. What waits for it goes into the table, as if it had been sent.
    pub(super) fn leave(&mut self, now: Instant) {
        self.link = Link::Apart;
        self.flight = Flight::new();
        self.comparison = Comparison::Idle { at: None };
        self.doubt = false;
        self.forget_repair();
        self.ask_at = now + ASK;
        for (key, change) in self.queue.drain() {
            match change {
                Waiting::Put { fingerprint, .. } => {
                    self.table.insert(&key, fingerprint);
                }
                Waiting::Remove { .. } => {
                    self.table.remove(&key);
                }
            }
        }
        if let Some(flush) = self.flush.take() {
            self.output(Output::Flushed { token: flush.token, complete: false });
        }
        self.notice(Notice::Left);
    }

    fn handle_verdict(&mut self, now: Instant, verdict: &Verdict) {
        match (verdict, &self.comparison) {
            (
                Verdict::Equal { token },
                Comparison::Summed { token: asked } | Comparison::Digested { token: asked },
            ) if token == asked => self.settle_equal(now),
            (Verdict::Differ { token, .. }, Comparison::Summed { token: asked }) if token == asked => {
                self.comparison = Comparison::DigestsDue { token: *token, next: 0 };
            }
            (Verdict::Differ { token, buckets }, Comparison::Digested { token: asked }) if token == asked => {
                self.want_repair(now, buckets);
            }
            // An answer to an earlier question, or to none.
            (Verdict::None | Verdict::Equal { .. } | Verdict::Differ { .. }, _) => {}
        }
    }
}
