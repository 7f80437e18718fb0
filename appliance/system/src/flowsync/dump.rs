//! What the kernel holds, in small steps.

use std::io;

use super::message::{self, Said};
use super::record::Record;
use super::socket::Channel;
use crate::netlink::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, READ_BUFFER, errno, messages};

/// How often an interrupted dump is begun again.
const MAX_RESTARTS: u32 = 5;
/// The kernel's queue: a dump waits for its reader and holds one read.
const RECEIVE_BYTES: usize = 256 << 10;

/// What is dumped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// Connections of both families.
    Flows,
    /// Expectations of both families.
    Expectations,
}

/// How far a dump is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Call again.
    More,
    /// The table changed its shape under the dump, which has begun again: forget what was visited.
    Restarted,
    /// Everything was visited.
    Done,
}

/// A walk through a table of the network namespace in which it was started. What is there from the beginning to the
/// end is visited; what comes or goes meanwhile may be.
#[derive(Debug)]
pub struct Dump {
    table: Table,
    channel: Channel,
    sequence: u32,
    buffer: Box<[u8]>,
    /// The part of `buffer` that was read and not visited yet.
    unread: std::ops::Range<usize>,
    done: bool,
    interrupted: bool,
    restarts: u32,
}

impl Dump {
    /// Begins to read `table`.
    pub fn start(table: Table) -> io::Result<Self> {
        let mut dump = Self {
            table,
            channel: Channel::open(0, RECEIVE_BYTES)?,
            sequence: 0,
            buffer: vec![0; READ_BUFFER].into(),
            unread: 0..0,
            done: false,
            interrupted: false,
            restarts: 0,
        };
        dump.ask()?;
        Ok(dump)
    }

    fn ask(&mut self) -> io::Result<()> {
        self.sequence = self.channel.next_sequence();
        self.unread = 0..0;
        self.interrupted = false;
        self.channel.send(&message::dump(self.table == Table::Expectations, self.sequence))
    }

    /// Hands at most `max` records to `visit` and never blocks. A pause of any length between two steps is allowed.
    /// Fails with [`io::ErrorKind::Interrupted`] when the table changed its shape five times.
    pub fn step(&mut self, max: usize, visit: &mut dyn FnMut(&Record)) -> io::Result<Progress> {
        let mut visited = 0;
        while visited < max && !self.done {
            if self.unread.is_empty() {
                match self.channel.receive(&mut self.buffer)? {
                    Some(len) => self.unread = 0..len,
                    // The kernel fills the queue while it is read: an empty one means that somebody else's turn came.
                    None => return Ok(Progress::More),
                }
            }
            let bytes = self.buffer.get(self.unread.clone()).unwrap_or(&[]);
            let mut taken = 0;
            for raw in messages(bytes) {
                if visited == max {
                    break;
                }
                taken += raw.space();
                if raw.sequence != self.sequence {
                    continue;
                }
                self.interrupted |= raw.flags & NLM_F_DUMP_INTR != 0;
                match raw.kind {
                    NLMSG_DONE | NLMSG_ERROR => match errno(raw.payload) {
                        None => self.done = true,
                        Some(e) => return Err(e.into()),
                    },
                    NLMSG_OVERRUN => self.interrupted = true,
                    _ => {
                        if let Some(Said::Put { record, .. }) = message::read(&raw) {
                            visited += 1;
                            visit(&record);
                        }
                    }
                }
            }
            // A broken length ends the iteration: the rest is not readable.
            self.unread.start = if taken == 0 { self.unread.end } else { self.unread.start + taken };
        }
        if self.done && self.interrupted {
            return self.restart();
        }
        Ok(if self.done { Progress::Done } else { Progress::More })
    }

    fn restart(&mut self) -> io::Result<Progress> {
        if self.restarts == MAX_RESTARTS {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.restarts += 1;
        self.done = false;
        self.ask()?;
        Ok(Progress::Restarted)
    }
}
