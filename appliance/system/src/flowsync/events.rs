//! Events of the connection table, as they happen.
//!
//! An event about a change says only what has changed: one that is about the mark has no TCP state, one of a
//! connection that belongs to another does not name it. Whoever keeps the latest event of a connection would so lose
//! what an earlier one said. Here such an entry is read anew from the kernel, so that every [`Event::Put`] is whole.
//! That the kernel has labels or data of a SYN proxy cannot be seen from an event that leaves them out; once either
//! was seen anywhere, events without them are completed too.
//!
//! Of one thing the kernel does not tell at all: that a helper changed the length of a line, by which every later
//! sequence number of the connection is shifted (`nf_ct_seqadj_set`). Helpers do that when they announce a connection;
//! so each new expectation of a translated connection makes us read its master: at once, and once more a little later,
//! because the line may be rewritten after the announcement.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::message::{self, LeftOut, Said};
use super::record::{Identity, Record};
use super::socket::{Batch, Channel, Query, keep_event_state};
use crate::conntrack::Status;
use crate::netlink::{messages, port_of};

/// `NFNLGRP_CONNTRACK_{NEW, UPDATE, DESTROY, EXP_NEW, EXP_UPDATE, EXP_DESTROY}`, 1 to 6.
const GROUPS: u32 = 0x3f;

/// Masters that are to be read again. More announcements within [`SECOND_LOOK`] are not followed; the next dump is.
const MAX_FOLLOWED: usize = 1024;
/// When a packet that was being rewritten certainly has been.
const SECOND_LOOK: Duration = Duration::from_millis(5);

/// Something that happened in the kernel.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// An entry is new or has changed; the record is whole.
    Put(&'a Record, Hint),
    /// An entry is gone.
    Gone(Identity),
    /// The kernel had more to tell than the socket could hold, and nobody knows what is missing. Only a
    /// [`super::Dump`] that begins after [`Read::Drained`] repairs it: until it is drained, the kernel tells nothing.
    Overrun,
}

/// What matters for how urgent a [`Event::Put`] is. All false for an expectation, but `new`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hint {
    /// The entry has just been made.
    pub new: bool,
    /// A packet has come back.
    pub reply: bool,
    /// The kernel takes it for established.
    pub assured: bool,
    /// FIN, RST or SHUTDOWN was seen.
    pub closing: bool,
}

/// Whether there is more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// The socket is empty: poll it.
    Drained,
    /// There may be more: call again.
    More,
}

/// The hand that hears events of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Events {
    channel: Channel,
    batch: Batch,
    query: Query,
    /// The netlink port whose doings are left out; 0 is the kernel's own and nobody's.
    ignored: u32,
    labels: bool,
    synproxy: bool,
    /// Masters to read, the earliest first.
    followed: VecDeque<(Instant, Identity)>,
    counts: Counts,
}

/// What befell an event socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Events read.
    pub events: u64,
    /// Events that had to be completed by reading the entry.
    pub completed: u64,
    /// Events that could not be understood.
    pub unread: u64,
    /// How often events were lost.
    pub overruns: u64,
}

impl Events {
    /// Opens a socket that hears of connections and expectations, with a kernel queue of `receive_bytes`, of which an
    /// event takes about 1 KiB. From the call on every event is in the queue.
    ///
    /// Sets `nf_conntrack_events` to 1: see there. Connections that were made before anybody set it or listened stay
    /// silent; only a [`super::Dump`] shows what becomes of them.
    pub fn open(receive_bytes: usize) -> io::Result<Self> {
        keep_event_state()?;
        Ok(Self {
            channel: Channel::open(GROUPS, receive_bytes)?,
            batch: Batch::new(),
            query: Query::open()?,
            ignored: 0,
            labels: false,
            synproxy: false,
            followed: VecDeque::with_capacity(MAX_FOLLOWED),
            counts: Counts::default(),
        })
    }

    /// Leaves out what the socket with netlink port `port` causes ([`super::Writer::port`]): no echo.
    pub fn ignore(&mut self, port: u32) {
        self.ignored = port;
    }

    /// What befell this socket.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When [`Events::look_again`] has something to do, if nothing happens before.
    pub fn due(&self) -> Option<Instant> {
        self.followed.front().map(|(due, _)| *due)
    }

    /// Reads again what was read too early to be sure, and hands it to `visit`.
    pub fn look_again(&mut self, visit: &mut dyn FnMut(Event<'_>)) -> io::Result<()> {
        let now = Instant::now();
        while let Some((_, master)) = self.followed.pop_front_if(|(due, _)| *due <= now) {
            self.tell_adjustments(&master, visit)?;
        }
        Ok(())
    }

    /// Hands at most one batch of events (64) to `visit`, in the kernel's order; never blocks.
    pub fn read_batch(&mut self, visit: &mut dyn FnMut(Event<'_>)) -> io::Result<Read> {
        if !self.followed.is_empty() {
            self.look_again(visit)?;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let read = self.read_into(&mut batch, visit);
        self.batch = batch;
        read
    }

    fn read_into(&mut self, batch: &mut Batch, visit: &mut dyn FnMut(Event<'_>)) -> io::Result<Read> {
        let read = match batch.fill(&self.channel) {
            Ok(read) => read,
            Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                self.counts.overruns += 1;
                visit(Event::Overrun);
                return Ok(Read::More);
            }
            Err(e) => return Err(e),
        };
        for datagram in batch.datagrams() {
            match datagram {
                Some(bytes) if self.ignored != 0 && port_of(bytes) == self.ignored => {}
                Some(bytes) => self.tell(bytes, visit)?,
                None => {
                    self.counts.overruns += 1;
                    visit(Event::Overrun);
                }
            }
        }
        Ok(if read == Batch::MAX { Read::More } else { Read::Drained })
    }

    fn tell(&mut self, datagram: &[u8], visit: &mut dyn FnMut(Event<'_>)) -> io::Result<()> {
        for raw in messages(datagram) {
            self.counts.events += 1;
            match message::read(&raw) {
                None => self.counts.unread += 1,
                Some(Said::Gone(identity)) => visit(Event::Gone(identity)),
                Some(Said::Put { mut record, new, left_out }) => {
                    if self.complete(&mut record, new, left_out)? {
                        visit(Event::Put(&record, hint(&record, new)));
                    }
                    if let (Record::Expectation(expectation), true) = (&record, new) {
                        let (protocol, original) = expectation.master;
                        let master = Identity::Flow { protocol, original, zone: expectation.zone };
                        self.follow(master, visit)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes a record whole; false when the kernel does not have the entry any more, which another event says.
    fn complete(&mut self, record: &mut Record, new: bool, left_out: LeftOut) -> io::Result<bool> {
        let Record::Flow(flow) = record else { return Ok(true) };
        self.labels |= flow.labels != [0; 16];
        self.synproxy |= flow.synproxy.is_some();
        // A new entry says all that it has.
        let wanted =
            left_out.needed || !new && (self.labels && left_out.labels || self.synproxy && left_out.synproxy);
        if !wanted {
            return Ok(true);
        }
        self.counts.completed += 1;
        match self.query.flow(&flow.identity())? {
            Some(whole) if whole.reply == flow.reply => {
                *flow = whole;
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    fn follow(&mut self, master: Identity, visit: &mut dyn FnMut(Event<'_>)) -> io::Result<()> {
        let is_translated = self.tell_adjustments(&master, visit)?;
        if is_translated && self.followed.len() < MAX_FOLLOWED {
            self.followed.push_back((Instant::now() + SECOND_LOOK, master));
        }
        Ok(())
    }

    /// Tells of a connection if its sequence numbers are adjusted. Whether they might be: it is translated.
    fn tell_adjustments(&mut self, master: &Identity, visit: &mut dyn FnMut(Event<'_>)) -> io::Result<bool> {
        let Some(flow) = self.query.flow(master)? else { return Ok(false) };
        let is_translated = flow.status.has(Status::SOURCE_NAT | Status::DESTINATION_NAT);
        if is_translated && flow.adjustments.is_some() {
            self.counts.completed += 1;
            let record = Record::Flow(flow);
            visit(Event::Put(&record, hint(&record, false)));
        }
        Ok(is_translated)
    }
}

fn hint(record: &Record, new: bool) -> Hint {
    match record {
        Record::Expectation(_) => Hint { new, ..Hint::default() },
        Record::Flow(flow) => {
            Hint { new, reply: flow.has_reply(), assured: flow.is_assured(), closing: flow.is_closing() }
        }
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.channel.as_raw_fd()
    }
}
