//! True timeouts after a take-over.
//!
//! A standby keeps every connection for [`LONG_S`], because it sees none of their packets. Once active, the kernel gives
//! each connection that has a packet its true timeout by itself; those that stay silent get it here, at leisure. A walk
//! that had something to do is followed soon by another one, because a connection may have closed between being read and
//! being given the timeout of an open one; and there is one from time to time anyway, so that no entry keeps such a
//! timeout on an active node, whatever wrote it. All entries are visited, not only those that are the pair's business now:
//! they may have been when they were written.

use std::io;
use std::time::{Duration, Instant};

use rempart_system::flowsync::{Flow, Record, Timeouts, Writer};

use super::walk::{Filter, Walk};

/// How long a standby keeps an entry, in seconds: 20 days. The kernel counts to 24 where its clock ticks 1,000 times in a
/// second, and gives no connection more than 5 by itself.
pub(super) const LONG_S: u32 = 20 * 86_400;
/// A timeout above this was given by a standby.
const GIVEN_S: u32 = LONG_S / 2;
/// A closing connection with more than this got it in error.
const CLOSING_S: u32 = 3_600;
/// When it begins after a take-over.
const AFTER: Duration = Duration::from_secs(3);
/// Between a walk that had something to do, or failed, and the next.
const BETWEEN: Duration = Duration::from_secs(10);
/// Between others.
const AGAIN: Duration = Duration::from_secs(600);
/// Entries of one step, and the time between two: 20,000 in a second, about 4 % of a core.
const STEP: usize = 64;
const PAUSE: Duration = Duration::from_micros(3_200);

/// See the head of the file.
pub(super) struct Settle {
    writer: Writer,
    timeouts: Timeouts,
    walk: Option<Walk>,
    everything: Filter,
    found: u64,
    next: Instant,
}

impl Settle {
    /// `needed`: this node was a standby, or may have been.
    pub(super) fn start(now: Instant, needed: bool) -> io::Result<Self> {
        let timeouts = Timeouts::read().map_err(io::Error::other)?;
        let next = now + if needed { AFTER } else { AGAIN };
        Ok(Self {
            writer: Writer::open()?,
            timeouts,
            walk: None,
            everything: Filter::everything(),
            found: 0,
            next,
        })
    }

    /// An entry was seen that a standby has written.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.next = self.next.min(now + AFTER);
    }

    /// The netlink port of what it writes.
    pub(super) fn port(&self) -> u32 {
        self.writer.port()
    }

    pub(super) fn due(&self) -> Instant {
        self.next
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> io::Result<()> {
        if self.next > now {
            return Ok(());
        }
        // If anything fails, later.
        self.next = now + BETWEEN;
        let walk = match &mut self.walk {
            Some(walk) => walk,
            None => self.walk.insert(Walk::start()?),
        };
        let (writer, timeouts, found) = (&mut self.writer, &self.timeouts, &mut self.found);
        let mut failure = Ok(());
        let done = walk.step(STEP, &self.everything, &mut |record| {
            if let Record::Flow(flow) = record
                && let Some(seconds) = true_timeout(timeouts, flow)
            {
                *found += 1;
                let set = writer.set_timeout(&flow.identity(), seconds);
                failure = std::mem::replace(&mut failure, Ok(())).and(set);
            }
        });
        self.writer.flush().and(failure)?;
        match done {
            Ok(false) => self.next = now + PAUSE,
            Ok(true) => {
                self.walk = None;
                let found = std::mem::take(&mut self.found);
                self.next = now + if found > 0 { BETWEEN } else { AGAIN };
            }
            Err(_) => self.walk = None,
        }
        Ok(())
    }
}

/// Whether a standby has written it, and nothing has happened to it since.
pub(super) fn is_given(record: &Record) -> bool {
    matches!(record, Record::Flow(flow) if flow.timeout_s > GIVEN_S)
}

/// What to set, if what it has is not its own.
fn true_timeout(timeouts: &Timeouts, flow: &Flow) -> Option<u32> {
    let given = flow.timeout_s > GIVEN_S || (flow.is_closing() && flow.timeout_s > CLOSING_S);
    given.then(|| timeouts.of(flow)).filter(|seconds| *seconds < flow.timeout_s)
}
