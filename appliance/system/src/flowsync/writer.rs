//! Writing entries of one kernel into another.
//!
//! Requests go out in batches without acknowledgement; only refusals come back, matched by sequence number. What a
//! refusal means depends on what was asked:
//!
//! | asked | refusal | then |
//! | --- | --- | --- |
//! | create | `EEXIST` | compare with what is there: bring it up to date, or replace it |
//! | create | `ENOENT` | the master is missing: again at the end of the flush, then without it |
//! | create | `EOPNOTSUPP` | this kernel lacks the helper: without it |
//! | update | `ENOENT` | create |
//! | update | `EBUSY`, `EPERM` | an update cannot clear status bits nor move a fixed timeout: compare, replace |
//! | update | `ENOSPC` | no rule of this kernel sets labels; all else was done |
//! | remove, timeout | `ENOENT` | it is gone already |
//! | timeout | `EPERM` | it is fixed on purpose (GRE, see `message`) |
//!
//! Everything else is counted, kept for the report, and does not stop what follows.

use std::collections::VecDeque;
use std::io;

use nix::errno::Errno;

use super::message::{self, Parts, Scope};
use super::record::{Expectation, Flow, Identity, Record};
use super::socket::{Channel, keep_event_state};
use crate::conntrack::Status;
use crate::netlink::{NLMSG_ERROR, errno, messages};

/// Requests of one `send`. More make it hardly cheaper, and the event socket of the same thread waits meanwhile.
const BATCH: usize = 64;
/// Entries that wait for their master at once. More are made without it.
const MAX_WAITING: usize = 256;
/// Refusals that are kept for the report.
const MAX_REFUSALS: usize = 64;
/// How often an entry is tried that something else in the kernel takes and gives back.
const MAX_ATTEMPTS: u32 = 3;
/// The kernel's queue for refusals: a batch of them takes about 64 KiB.
const RECEIVE_BYTES: usize = 1 << 20;
/// Room for an answer: an entry, or a refusal.
const ANSWER_BYTES: usize = 2048;

/// Which timeout an entry is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeoutRule {
    /// That of the record.
    AsTold,
    /// That of the record, but at least so many seconds: a standby must never forget what the active still has.
    AtLeast(u32),
    /// So many seconds.
    Exactly(u32),
}

impl TimeoutRule {
    fn apply(self, told: u32) -> u32 {
        match self {
            Self::AsTold => told,
            Self::AtLeast(least) => told.max(least),
            Self::Exactly(seconds) => seconds,
        }
    }
}

/// What the caller thinks of an entry. To be wrong costs a round trip, never a wrong entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// The kernel does not have it, or nobody knows.
    New,
    /// It was put before.
    Known,
}

/// What was asked of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Verb {
    PutFlow,
    PutExpectation,
    Remove,
    SetTimeout,
}

/// Something that the kernel would not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What.
    pub verb: Verb,
    /// Why.
    pub errno: Errno,
    /// To which entry.
    pub identity: Identity,
}

/// What came of everything that was asked since the writer was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Entries made.
    pub created: u64,
    /// Entries that were there and were brought up to date.
    pub updated: u64,
    /// Entries that stood in the way, with one of the tuples but another content, and were removed.
    pub replaced: u64,
    /// Entries removed because that was asked.
    pub removed: u64,
    /// Entries to remove or change that were gone already.
    pub absent: u64,
    /// Connections made without their helper, which this kernel lacks.
    pub without_helper: u64,
    /// Connections made without their master, which this kernel does not have.
    pub without_master: u64,
    /// Connections whose labels this kernel has no room for.
    pub without_labels: u64,
    /// Refusals; the last of them are in [`Writer::take_refusals`].
    pub refused: u64,
}

/// A request, kept until the kernel has not refused it.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "a fixed array of them, filled and emptied without a heap")]
enum Request {
    Create { flow: Flow, timeout_s: u32 },
    Update { flow: Flow, timeout_s: u32 },
    Expectation { expectation: Expectation, timeout_s: u32 },
    Remove(Identity),
    SetTimeout { identity: Identity, seconds: u32 },
}

impl Request {
    fn identity(&self) -> Identity {
        match self {
            Self::Create { flow, .. } | Self::Update { flow, .. } => flow.identity(),
            Self::Expectation { expectation, .. } => expectation.identity(),
            Self::Remove(identity) | Self::SetTimeout { identity, .. } => *identity,
        }
    }

    /// Whether it says by itself what becomes of the entry, whatever was asked before.
    fn decides(&self) -> bool {
        match self {
            Self::Create { .. } | Self::Update { .. } | Self::Expectation { .. } | Self::Remove(_) => true,
            Self::SetTimeout { .. } => false,
        }
    }
}

fn is_superseded(request: &Request, later: &[Request]) -> bool {
    let identity = request.identity();
    later.iter().any(|other| other.decides() && other.identity() == identity)
}

/// The hand that writes, in the network namespace in which it was opened. Requests are queued and sent in batches;
/// requests for one entry are done in order.
#[derive(Debug)]
pub struct Writer {
    channel: Channel,
    /// The messages of `requests`, the first with the sequence number `first`.
    bytes: Vec<u8>,
    requests: Vec<Request>,
    first: u32,
    /// What the last `send` was refused: place in the batch, and why.
    errors: Vec<(usize, Errno)>,
    waiting: Vec<Request>,
    answer: Box<[u8]>,
    tally: Tally,
    refusals: VecDeque<Refusal>,
    /// Labels were written, so an entry may have some that are to be cleared.
    labels: bool,
}

impl Writer {
    /// Opens a socket, and sets `nf_conntrack_events` to 1: what is written while nobody listens (a standby does not)
    /// would otherwise never give an event, also not after the node became active.
    pub fn open() -> io::Result<Self> {
        keep_event_state()?;
        Ok(Self {
            channel: Channel::open(0, RECEIVE_BYTES)?,
            bytes: Vec::with_capacity(BATCH * 512),
            requests: Vec::with_capacity(BATCH),
            first: 0,
            errors: Vec::with_capacity(BATCH),
            waiting: Vec::with_capacity(BATCH),
            answer: vec![0; ANSWER_BYTES].into(),
            tally: Tally::default(),
            refusals: VecDeque::with_capacity(MAX_REFUSALS),
            labels: false,
        })
    }

    /// The netlink port by which the kernel marks the events that this writer causes ([`super::Events::ignore`]).
    pub fn port(&self) -> u32 {
        self.channel.port()
    }

    /// Makes an entry, or brings it up to date. Sent when a batch is full, at the latest by [`Writer::flush`].
    pub fn put(&mut self, record: &Record, timeout: TimeoutRule, expect: Expect) -> io::Result<()> {
        let timeout_s = timeout.apply(record.timeout_s());
        self.queue(match (record, expect) {
            (Record::Flow(flow), Expect::New) => Request::Create { flow: *flow, timeout_s },
            (Record::Flow(flow), Expect::Known) => Request::Update { flow: *flow, timeout_s },
            (Record::Expectation(expectation), Expect::New | Expect::Known) => {
                Request::Expectation { expectation: *expectation, timeout_s }
            }
        })
    }

    /// Removes an entry.
    pub fn remove(&mut self, identity: &Identity) -> io::Result<()> {
        self.queue(Request::Remove(*identity))
    }

    /// Changes when the kernel forgets a connection.
    pub fn set_timeout(&mut self, identity: &Identity, seconds: u32) -> io::Result<()> {
        self.queue(Request::SetTimeout { identity: *identity, seconds })
    }

    /// How many requests wait to be sent.
    pub fn queued(&self) -> usize {
        self.requests.len() + self.waiting.len()
    }

    /// Sends what is queued. When it returns, the kernel has done or refused everything. An error is one of the socket,
    /// after which nobody knows what was done; the requests of that batch are forgotten.
    pub fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut done = Ok(());
        for request in waiting.drain(..) {
            done = done.and_then(|()| self.make_orphan(&request));
        }
        self.waiting = waiting;
        done
    }

    /// What came of it.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The refusals since the last call, at most 64, the latest.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        self.refusals.drain(..).collect()
    }

    fn queue(&mut self, request: Request) -> io::Result<()> {
        if !self.waiting.is_empty() && request.decides() {
            let identity = request.identity();
            self.waiting.retain(|waiting| waiting.identity() != identity);
        }
        let sequence = self.channel.next_sequence();
        if self.requests.is_empty() {
            self.first = sequence;
        }
        self.write(&request, sequence);
        self.requests.push(request);
        if self.requests.len() == BATCH { self.send() } else { Ok(()) }
    }

    /// Appends the message of a request to the batch.
    fn write(&mut self, request: &Request, sequence: u32) {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = match request {
            Request::Create { flow, timeout_s } => {
                self.labels |= flow.labels != [0; 16];
                message::create(bytes, flow, *timeout_s, Parts::ALL, sequence)
            }
            Request::Update { flow, timeout_s } => {
                let scope = Scope { expected: flow.master.is_some(), labels: self.labels };
                message::update(bytes, flow, *timeout_s, scope, sequence)
            }
            Request::Expectation { expectation, timeout_s } => {
                // The first makes it, the second gives it its timeout. Both have the same number: when the first is refused,
                // so is the second, and for the same reason.
                let bytes = message::create_expectation(bytes, expectation, *timeout_s, sequence);
                message::update_expectation(bytes, expectation, *timeout_s, sequence)
            }
            Request::Remove(identity) => message::delete(bytes, identity, sequence),
            Request::SetTimeout { identity, seconds } => {
                message::set_timeout(bytes, identity, *seconds, sequence)
            }
        };
    }

    /// Sends the batch and deals with what was refused.
    fn send(&mut self) -> io::Result<()> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let mut requests = std::mem::take(&mut self.requests);
        let mut bytes = std::mem::take(&mut self.bytes);
        let sent = self.exchange(&bytes, self.first, requests.len());
        bytes.clear();
        let done = sent.and_then(|()| self.settle(&requests));
        requests.clear();
        (self.requests, self.bytes) = (requests, bytes);
        done
    }

    /// Sends messages whose sequence numbers begin with `first` and collects what is refused of them, in order, once
    /// each.
    fn exchange(&mut self, bytes: &[u8], first: u32, requests: usize) -> io::Result<()> {
        self.errors.clear();
        self.channel.send(bytes)?;
        while let Some(len) = self.channel.receive(&mut self.answer)? {
            for raw in messages(self.answer.get(..len).unwrap_or(&[])) {
                let place = raw.sequence.wrapping_sub(first) as usize;
                if let (NLMSG_ERROR, Some(errno)) = (raw.kind, errno(raw.payload))
                    && place < requests
                    && self.errors.last().is_none_or(|(last, _)| *last != place)
                {
                    self.errors.push((place, errno));
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, requests: &[Request]) -> io::Result<()> {
        let errors = std::mem::take(&mut self.errors);
        let mut refused = errors.iter().copied().peekable();
        let mut done = Ok(());
        for (place, request) in requests.iter().enumerate() {
            match refused.next_if(|(at, _)| *at == place) {
                None => self.count(request),
                // What comes later in the batch has been done already: a repair now would undo it.
                Some(_) if is_superseded(request, requests.get(place + 1..).unwrap_or(&[])) => {}
                Some((_, errno)) => done = done.and_then(|()| self.repair(request, errno)),
            }
        }
        self.errors = errors;
        done
    }

    fn count(&mut self, request: &Request) {
        match request {
            Request::Create { .. } => self.tally.created += 1,
            Request::Update { .. } => self.tally.updated += 1,
            Request::Expectation { .. } => self.tally.created += 1,
            Request::Remove(_) => self.tally.removed += 1,
            Request::SetTimeout { .. } => self.tally.updated += 1,
        }
    }

    fn repair(&mut self, request: &Request, errno: Errno) -> io::Result<()> {
        match (request, errno) {
            (Request::Create { flow, timeout_s }, Errno::EEXIST) => self.make_way(flow, *timeout_s),
            (Request::Create { flow, .. }, Errno::ENOENT) if flow.master.is_some() => self.wait(request),
            (Request::Create { flow, timeout_s }, Errno::EOPNOTSUPP) if flow.helper.is_some() => {
                self.make(flow, *timeout_s, Parts::ALL.given_up(flow, errno).unwrap_or(Parts::ALL))
            }
            (Request::Update { flow, timeout_s }, Errno::ENOENT) => self.make(flow, *timeout_s, Parts::ALL),
            (Request::Update { flow, timeout_s }, Errno::EBUSY | Errno::EPERM) => {
                self.make_way(flow, *timeout_s)
            }
            (Request::Update { .. }, Errno::ENOSPC) => {
                self.tally.without_labels += 1;
                self.tally.updated += 1;
                Ok(())
            }
            (Request::Expectation { .. }, Errno::ENOENT) => self.wait(request),
            (Request::Remove(_) | Request::SetTimeout { .. }, Errno::ENOENT) => {
                self.tally.absent += 1;
                Ok(())
            }
            (Request::SetTimeout { .. }, Errno::EPERM) => Ok(()),
            (request, errno) => {
                self.refuse(request, errno);
                Ok(())
            }
        }
    }

    /// Lets a request wait for its master, which may stand later in the queue.
    fn wait(&mut self, request: &Request) -> io::Result<()> {
        if self.waiting.len() == MAX_WAITING {
            return self.make_orphan(request);
        }
        self.waiting.push(*request);
        Ok(())
    }

    /// Tries again what waited for its master; a connection is made without it if need be, an expectation is refused.
    fn make_orphan(&mut self, request: &Request) -> io::Result<()> {
        match request {
            Request::Create { flow, timeout_s } => self.make(flow, *timeout_s, Parts::ALL),
            Request::Expectation { expectation, timeout_s } => {
                let sequence = self.channel.next_sequence();
                let bytes = message::create_expectation(Vec::new(), expectation, *timeout_s, sequence);
                let bytes = message::update_expectation(bytes, expectation, *timeout_s, sequence);
                match self.ask(&bytes, sequence)? {
                    None => self.count(request),
                    Some(errno) => self.refuse(request, errno),
                }
                Ok(())
            }
            Request::Update { .. } | Request::Remove(_) | Request::SetTimeout { .. } => Ok(()),
        }
    }

    /// Makes a connection, one request at a time: whatever stands in the way is dealt with.
    fn make(&mut self, flow: &Flow, timeout_s: u32, mut parts: Parts) -> io::Result<()> {
        let request = Request::Create { flow: *flow, timeout_s };
        let mut last = Errno::EEXIST;
        for _ in 0..MAX_ATTEMPTS {
            match self.try_create(flow, timeout_s, parts)? {
                None => {
                    self.made(flow, parts);
                    return Ok(());
                }
                Some(Errno::EEXIST) => return self.make_way(flow, timeout_s),
                Some(errno) => match parts.given_up(flow, errno) {
                    Some(fewer) => parts = fewer,
                    None => {
                        last = errno;
                        break;
                    }
                },
            }
        }
        self.refuse(&request, last);
        Ok(())
    }

    /// Makes a connection, one of whose tuples is taken: by the same connection, which is brought up to date if the
    /// kernel allows, or by another, which the node that has this one cannot have any more.
    fn make_way(&mut self, flow: &Flow, timeout_s: u32) -> io::Result<()> {
        let mut last = Errno::EEXIST;
        let mut parts = Parts::ALL;
        for _ in 0..MAX_ATTEMPTS {
            let identity = flow.identity();
            let same = self.channel.lookup(&mut self.answer, |b, s| message::get(b, &identity, s))?;
            if let Some(there) = &same
                && is_reachable(there, flow)
            {
                let scope = Scope { expected: there.status.has(Status::EXPECTED), labels: self.labels };
                let sequence = self.channel.next_sequence();
                let bytes = message::update(Vec::new(), flow, timeout_s, scope, sequence);
                match self.ask(&bytes, sequence)? {
                    None => {
                        self.tally.updated += 1;
                        return Ok(());
                    }
                    Some(Errno::ENOSPC) => {
                        self.tally.updated += 1;
                        self.tally.without_labels += 1;
                        return Ok(());
                    }
                    Some(_) => {}
                }
            }
            let in_the_way = match same {
                Some(there) => Some(there),
                None => self.channel.lookup(&mut self.answer, |b, s| message::get_by_reply(b, flow, s))?,
            };
            if let Some(there) = in_the_way {
                let sequence = self.channel.next_sequence();
                let bytes = message::delete(Vec::new(), &there.identity(), sequence);
                match self.ask(&bytes, sequence)? {
                    None => self.tally.replaced += 1,
                    Some(Errno::ENOENT) => {}
                    Some(errno) => {
                        last = errno;
                        break;
                    }
                }
            }
            match self.try_create(flow, timeout_s, parts)? {
                None => {
                    self.made(flow, parts);
                    return Ok(());
                }
                Some(errno) => match parts.given_up(flow, errno) {
                    Some(fewer) => parts = fewer,
                    None => last = errno,
                },
            }
        }
        self.refuse(&Request::Create { flow: *flow, timeout_s }, last);
        Ok(())
    }

    fn made(&mut self, flow: &Flow, parts: Parts) {
        self.tally.created += 1;
        self.tally.without_helper += u64::from(flow.helper.is_some() && !parts.helper);
        self.tally.without_master += u64::from(flow.master.is_some() && !parts.master);
    }

    fn try_create(&mut self, flow: &Flow, timeout_s: u32, parts: Parts) -> io::Result<Option<Errno>> {
        let sequence = self.channel.next_sequence();
        let bytes = message::create(Vec::new(), flow, timeout_s, parts, sequence);
        self.ask(&bytes, sequence)
    }

    /// Sends one request; says why it was refused, if it was.
    fn ask(&mut self, bytes: &[u8], sequence: u32) -> io::Result<Option<Errno>> {
        let errors = std::mem::take(&mut self.errors);
        let done = self.exchange(bytes, sequence, 1);
        let refused = self.errors.first().map(|(_, errno)| *errno);
        self.errors = errors;
        done.map(|()| refused)
    }

    fn refuse(&mut self, request: &Request, errno: Errno) {
        let identity = request.identity();
        let verb = match request {
            Request::Create { .. } | Request::Update { .. } => Verb::PutFlow,
            Request::Expectation { .. } => Verb::PutExpectation,
            Request::Remove(_) => Verb::Remove,
            Request::SetTimeout { .. } => Verb::SetTimeout,
        };
        self.tally.refused += 1;
        if self.refusals.len() == MAX_REFUSALS {
            self.refusals.pop_front();
        }
        self.refusals.push_back(Refusal { verb, errno, identity });
    }
}

/// Whether an update can make `wanted` out of `there`: translation, helper and master are for ever, and bits of the
/// status can only be added.
fn is_reachable(there: &Flow, wanted: &Flow) -> bool {
    let lost = there.status.0 & !wanted.status.0 & (Status::SEEN_REPLY | Status::ASSURED);
    there.original == wanted.original
        && there.reply == wanted.reply
        && there.helper == wanted.helper
        && there.master == wanted.master
        && lost == 0
}
