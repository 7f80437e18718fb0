//! The standby side: what the receiver takes goes into the kernel.

use std::io;
use std::time::{Duration, Instant};

use rempart_pair::journal::{Change, Output, Receiver};
use rempart_system::flowsync::{Expect, HashKey, Identity, Record, Tally, TimeoutRule, Verb, Writer};

use super::settle::LONG_S;
use super::walk::{Filter, Walk};

/// Entries of one step of a dump: about one read from the kernel.
const STEP: usize = 128;
/// What could not be opened is tried again so often.
const RETRY: Duration = Duration::from_secs(1);

/// See the head of the file.
pub(super) struct Standby {
    pub(super) receiver: Receiver,
    hash: HashKey,
    writer: Option<Writer>,
    retry_at: Instant,
    load: Option<Walk>,
    sweep: Option<Walk>,
    /// Something was put or removed since the last flush.
    written: bool,
    taken: bool,
    /// Entries that could not even be read.
    unreadable: u64,
}

impl Standby {
    pub(super) fn new(now: Instant, receiver: Receiver, hash: HashKey) -> Self {
        Self {
            receiver,
            hash,
            writer: None,
            retry_at: now,
            load: None,
            sweep: None,
            written: false,
            taken: false,
            unreadable: 0,
        }
    }

    /// Opens what is not open.
    pub(super) fn open(&mut self, now: Instant) -> io::Result<()> {
        if self.writer.is_none() && now >= self.retry_at {
            self.retry_at = now + RETRY;
            self.writer = Some(Writer::open()?);
        }
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    /// What came from the other node. [`Standby::flush`] is to follow.
    pub(super) fn handle_datagram(&mut self, now: Instant, bytes: &[u8]) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let (hash, unreadable, written) = (&self.hash, &mut self.unreadable, &mut self.written);
        let (mut bad, mut failure) = (Vec::new(), Ok(()));
        self.receiver.handle_datagram(now, bytes, &mut |change| {
            *written = true;
            let done = match change {
                Change::Put { key, bytes, known, replace } => match Record::decode(bytes) {
                    // Under another key than its own it could never be removed.
                    Some(record) if record.key(hash) == *key => put(writer, &record, known, replace),
                    Some(_) | None => {
                        *unreadable += 1;
                        bad.push(*key);
                        Ok(())
                    }
                },
                Change::Remove { key, identity } => match Identity::decode(identity) {
                    Some(identity) if identity.key(hash) == *key => writer.remove(&identity),
                    Some(_) | None => {
                        *unreadable += 1;
                        Ok(())
                    }
                },
            };
            if let Err(error) = done {
                failure = Err(error);
            }
        });
        self.taken = true;
        bad.iter().for_each(|key| self.receiver.handle_refused(key));
        failure
    }

    /// Everything that was taken is in the kernel when this returns.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.taken) {
            return Ok(());
        }
        if std::mem::take(&mut self.written)
            && let Some(writer) = &mut self.writer
        {
            writer.flush()?;
            for refusal in writer.take_refusals() {
                if matches!(refusal.verb, Verb::PutFlow | Verb::PutExpectation) {
                    self.receiver.handle_refused(&refusal.identity.key(&self.hash));
                }
            }
        }
        self.receiver.handle_written();
        Ok(())
    }

    /// The kernel did not do what it was asked, for a reason of its own: nobody knows what it holds now.
    pub(super) fn start_over(&mut self, now: Instant, receiver: Receiver) {
        let unreadable = self.unreadable;
        *self = Self::new(now, receiver, self.hash);
        self.unreadable = unreadable;
        self.retry_at = now + RETRY;
    }

    /// Timers, dumps, and what the machine wants.
    pub(super) fn work(
        &mut self,
        now: Instant,
        filter: &Filter,
        tell: &mut dyn FnMut(Output),
    ) -> io::Result<()> {
        if self.receiver.poll_timeout() <= now {
            self.receiver.handle_timeout(now);
        }
        self.step_load(now, filter)?;
        self.step_sweep(filter)?;
        while let Some(output) = self.receiver.poll_output() {
            match output {
                Output::Load => self.load = Some(Walk::start()?),
                Output::Sweep => self.sweep = Some(Walk::start()?),
                other => tell(other),
            }
        }
        Ok(())
    }

    /// What the kernel holds; and what has not much time left gets more.
    fn step_load(&mut self, now: Instant, filter: &Filter) -> io::Result<()> {
        let (Some(walk), Some(writer)) = (&mut self.load, &mut self.writer) else { return Ok(()) };
        let (receiver, hash) = (&mut self.receiver, &self.hash);
        let mut scratch = Vec::with_capacity(512);
        let mut failure = Ok(());
        let step = walk.step(STEP, filter, &mut |record| {
            scratch.clear();
            record.encode(&mut scratch);
            receiver.loaded(&record.key(hash), &scratch);
            if let Record::Flow(flow) = record
                && flow.timeout_s < LONG_S / 2
            {
                failure = writer.set_timeout(&flow.identity(), LONG_S);
            }
        });
        writer.flush().and(failure)?;
        if !matches!(step, Ok(false)) {
            self.load = None;
            self.receiver.load_ended(now, step.is_ok());
        }
        Ok(())
    }

    fn step_sweep(&mut self, filter: &Filter) -> io::Result<()> {
        let (Some(walk), Some(writer)) = (&mut self.sweep, &mut self.writer) else { return Ok(()) };
        let (receiver, hash) = (&mut self.receiver, &self.hash);
        let mut failure = Ok(());
        let step = walk.step(STEP, filter, &mut |record| {
            if receiver.is_doomed(&record.key(hash)) {
                failure = writer.remove(&record.identity());
            }
        });
        writer.flush().and(failure)?;
        if !matches!(step, Ok(false)) {
            self.sweep = None;
            self.receiver.sweep_ended(step.is_ok());
        }
        Ok(())
    }

    /// There is work that waits for nothing.
    pub(super) fn is_busy(&self) -> bool {
        self.writer.is_some() && (self.load.is_some() || self.sweep.is_some())
    }

    pub(super) fn due(&self) -> Instant {
        let retry = self.writer.is_none().then_some(self.retry_at);
        retry.into_iter().fold(self.receiver.poll_timeout(), Instant::min)
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.writer.as_ref().map(Writer::tally).unwrap_or_default();
        tally.refused += self.unreadable;
        tally
    }
}

fn put(writer: &mut Writer, record: &Record, known: bool, replace: bool) -> io::Result<()> {
    if replace {
        writer.remove(&record.identity())?;
    }
    let timeout = match record {
        Record::Flow(_) => TimeoutRule::AtLeast(LONG_S),
        // Nothing refreshes it on the active node either.
        Record::Expectation(_) => TimeoutRule::AsTold,
    };
    let expect = if known && !replace { Expect::Known } else { Expect::New };
    writer.put(record, timeout, expect)
}
