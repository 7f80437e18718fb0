//! The active side: events and dumps of the kernel go to the sender.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rempart_pair::journal::{Output, Sender, Urgency};
use rempart_system::datagram;
use rempart_system::flowsync::{Event, Events, HashKey, Hint, Read, Record};

use super::pace::Pace;
use super::settle::{Settle, is_given};
use super::walk::{Filter, Walk};

/// Batches of 64 events that are read before anything else has its turn.
const BATCHES: usize = 4;
/// Entries of one step of a dump: about one read from the kernel.
const STEP: usize = 128;
/// What could not be opened is tried again so often.
const RETRY: Duration = Duration::from_secs(1);

/// See the head of the file.
pub(super) struct Active {
    pub(super) sender: Sender,
    hash: HashKey,
    event_bytes: usize,
    events: Option<Events>,
    retry_at: Instant,
    overrun: bool,
    /// To be flushed once the events that had come by then are read.
    flush: Option<u64>,
    /// Cannot be flushed, because events are not heard.
    unheard: Option<u64>,
    /// The socket was not read empty the last time.
    more: bool,
    pace: Pace,
    walk: Option<Walk>,
    settle: Option<Settle>,
    /// The kernel holds, or may hold, timeouts that a standby has written.
    given: bool,
    scratch: Vec<u8>,
    pub(super) unread: u64,
}

impl Active {
    /// `given`: this node was the standby until now.
    pub(super) fn new(now: Instant, sender: Sender, hash: HashKey, event_bytes: usize, given: bool) -> Self {
        Self {
            sender,
            hash,
            event_bytes,
            events: None,
            retry_at: now,
            overrun: false,
            flush: None,
            unheard: None,
            more: false,
            pace: Pace::default(),
            walk: None,
            settle: None,
            given,
            scratch: Vec::with_capacity(512),
            unread: 0,
        }
    }

    /// Opens what is not open. Events come first: a dump begins after they are heard.
    pub(super) fn open(&mut self, now: Instant) -> io::Result<()> {
        if self.events.is_some() && self.settle.is_some() || now < self.retry_at {
            return Ok(());
        }
        self.retry_at = now + RETRY;
        if self.events.is_none() {
            self.events = Some(Events::open(self.event_bytes)?);
        }
        let settle = Settle::start(now, self.given)?;
        if let Some(events) = &mut self.events {
            // It changes timeouts, which is nobody's business.
            events.ignore(settle.port());
        }
        self.settle = Some(settle);
        Ok(())
    }

    /// The event socket, if it is to be waited for now.
    pub(super) fn source(&self, now: Instant) -> Option<BorrowedFd<'_>> {
        let waits = self.pace.hold(now).is_some() || self.sender.is_full();
        self.events.as_ref().filter(|_| !waits).map(datagram::source)
    }

    /// Everything that has happened in the kernel until now is to be in the other one.
    pub(super) fn flush(&mut self, token: u64) {
        if let Some(earlier) = self.flush.replace(token) {
            self.unheard = Some(earlier);
        }
    }

    /// Reads events; `send` is called after each batch so that none waits for the next.
    pub(super) fn read_events(
        &mut self,
        now: Instant,
        filter: &Filter,
        send: &mut dyn FnMut(&mut Sender),
    ) -> io::Result<()> {
        // While the other node is slower than this one, events wait in the kernel.
        if self.pace.hold(now).is_some() && self.flush.is_none() || self.sender.is_full() {
            return Ok(());
        }
        let mut count = 0;
        self.more = false;
        for _ in 0..BATCHES {
            let Some(events) = &mut self.events else {
                self.unheard = self.flush.take().or(self.unheard);
                return Ok(());
            };
            let (sender, hash, scratch) = (&mut self.sender, &self.hash, &mut self.scratch);
            let overrun = &mut self.overrun;
            let read = events.read_batch(&mut |event| {
                count += 1;
                note(now, sender, hash, filter, scratch, overrun, event);
            });
            match read {
                Ok(Read::Drained) => {
                    // What the kernel could not tell is sought only now: before, it would have been silent still.
                    if std::mem::take(&mut self.overrun) {
                        self.sender.handle_overrun(now);
                    }
                    self.more = false;
                    if let Some(token) = self.flush.take() {
                        self.sender.flush(now, token);
                    }
                }
                Ok(Read::More) => self.more = true,
                Err(error) => {
                    self.events = None;
                    self.settle = None;
                    self.retry_at = now + RETRY;
                    // Nobody knows what is missed until it is opened again.
                    self.overrun = true;
                    self.unheard = self.flush.take().or(self.unheard);
                    return Err(error);
                }
            }
            self.unread = self.events.as_ref().map_or(self.unread, |events| events.counts().unread);
            send(&mut self.sender);
            if !self.more {
                break;
            }
        }
        self.pace.note(now, count);
        Ok(())
    }

    /// Timers, dumps, and what the machine wants.
    pub(super) fn work(
        &mut self,
        now: Instant,
        filter: &Filter,
        tell: &mut dyn FnMut(Output),
    ) -> io::Result<()> {
        if let Some(token) = self.unheard.take() {
            tell(Output::Flushed { token, complete: false });
        }
        if let Some(events) = self.events.as_mut().filter(|events| events.due().is_some_and(|due| due <= now))
        {
            let (sender, hash, scratch) = (&mut self.sender, &self.hash, &mut self.scratch);
            let overrun = &mut self.overrun;
            events.look_again(&mut |event| note(now, sender, hash, filter, scratch, overrun, event))?;
        }
        if self.sender.poll_timeout() <= now {
            self.sender.handle_timeout(now);
        }
        self.step_walk(now, filter);
        while let Some(output) = self.sender.poll_output() {
            match output {
                Output::Dump => self.begin_walk(now),
                other => tell(other),
            }
        }
        match &mut self.settle {
            Some(settle) => settle.handle_timeout(now),
            None => Ok(()),
        }
    }

    fn begin_walk(&mut self, now: Instant) {
        // Without events a dump would be old at once.
        match self.events.as_ref().map(|_| Walk::start()) {
            Some(Ok(walk)) => self.walk = Some(walk),
            Some(Err(_)) | None => self.sender.dump_ended(now, false),
        }
    }

    fn step_walk(&mut self, now: Instant, filter: &Filter) {
        if self.sender.room() < 2 * STEP {
            return;
        }
        let Some(walk) = &mut self.walk else { return };
        let (sender, hash, scratch) = (&mut self.sender, &self.hash, &mut self.scratch);
        let mut given = false;
        let step = walk.step(STEP, &Filter::everything(), &mut |record| {
            given |= is_given(record);
            if !filter.passes(record) {
                return;
            }
            let key = record.key(hash);
            if sender.wants(&key) {
                scratch.clear();
                record.encode(scratch);
                sender.dumped(now, &key, scratch);
            }
        });
        if given
            && !std::mem::replace(&mut self.given, true)
            && let Some(settle) = &mut self.settle
        {
            settle.hasten(now);
        }
        match step {
            Ok(false) => {}
            Ok(true) => {
                self.walk = None;
                self.sender.dump_ended(now, true);
            }
            Err(_) => {
                self.walk = None;
                self.sender.dump_ended(now, false);
            }
        }
    }

    /// There is work that waits for nothing.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        let walks = self.walk.is_some() && self.sender.room() >= 2 * STEP;
        walks || self.more && self.pace.hold(now).is_none() && !self.sender.is_full()
    }

    pub(super) fn due(&self, now: Instant) -> Instant {
        let retry = (self.events.is_none() || self.settle.is_none()).then_some(self.retry_at);
        let second = self.events.as_ref().and_then(Events::due);
        let settle = self.settle.as_ref().map(Settle::due);
        [retry, second, settle, self.pace.hold(now)]
            .into_iter()
            .flatten()
            .fold(self.sender.poll_timeout(), Instant::min)
    }
}

fn note(
    now: Instant,
    sender: &mut Sender,
    hash: &HashKey,
    filter: &Filter,
    scratch: &mut Vec<u8>,
    overrun: &mut bool,
    event: Event<'_>,
) {
    scratch.clear();
    match event {
        Event::Put(record, hint) => {
            if filter.passes(record) {
                record.encode(scratch);
                sender.put(now, &record.key(hash), scratch, urgency(record, hint));
            }
        }
        // The sender knows whether it was anybody's business.
        Event::Gone(identity) => {
            identity.encode(scratch);
            sender.remove(now, &identity.key(hash), scratch);
        }
        Event::Overrun => *overrun = true,
    }
}

/// How soon the other node must know.
fn urgency(record: &Record, hint: Hint) -> Urgency {
    use rempart_system::flowsync::ProtocolState;
    match record {
        // The connection that it announces may come with the next packet.
        Record::Expectation(_) => Urgency::Now,
        Record::Flow(_) if hint.closing => Urgency::Soon,
        Record::Flow(_) if hint.assured => Urgency::Now,
        Record::Flow(flow) => match flow.state {
            // A handshake that is cut in two is begun again by its client.
            ProtocolState::Tcp(_) | ProtocolState::Sctp(_) => Urgency::Hold,
            ProtocolState::None if hint.reply => Urgency::Now,
            ProtocolState::None => Urgency::Hold,
        },
    }
}
