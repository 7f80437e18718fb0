//! The machine of one node: the map, its role, the other node, and the stream between them.

mod commit;
mod moving;
mod peer;
mod role;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::map::{Limits, Map};
use super::receiver::Receiver;
use super::sender::{Sender, Source};
use super::wire::{Ack, Hello, Stream};
use super::{ASK, Entries, HELLO, Held, Key, STALL, Value};
use moving::{Asked, Moving};
use role::Duty;
pub use role::Role;
use status::DELAYS;
pub use status::{State, Status};

/// What a machine is made with.
#[derive(Debug)]
pub struct Start {
    /// From the system's random source, new for each start of the program; not 0.
    pub incarnation: u64,
    /// What this node's take-over epochs are stored on.
    pub store: [u8; 16],
    /// The highest take-over epoch that is known.
    pub highest: u64,
    /// How much there may be.
    pub limits: Limits,
    /// What an earlier start of the program has left in a file.
    pub file: Option<(Held, Entries)>,
}

/// How a change was committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum How {
    /// The other node has it.
    Both,
    /// There was no other node to have it; the copy follows.
    Alone,
    /// The other node was there and did not answer in time; the copy follows.
    Late,
}

/// What the driver is to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Of a small value: so are all small ones with lower tickets. Of a large one: this one alone.
    Committed {
        /// As given to [`Shared::put`].
        ticket: u64,
        /// How.
        how: How,
    },
    /// The other node has changed an entry here; `None`: taken it away.
    Changed(Key, Option<Value>),
    /// The map is what it can be: have a take-over epoch above [`Shared::highest`] written to disk, then call
    /// [`Shared::own`].
    Claim,
    /// The store that the other node last introduced itself with is another one than before.
    PeerStore([u8; 16]),
    /// The other node is about to give the role away, in order: make ready whatever can be made ready with what is held now,
    /// then call [`Shared::prepared`].
    Prepare {
        /// To be given back.
        number: u64,
    },
    /// The role may go.
    Ready {
        /// As given to [`Shared::hand_over`].
        token: u64,
        /// The other node has everything and is prepared; else there was nobody to prepare himself.
        prepared: bool,
    },
}

struct Peer {
    hello: Hello,
    /// Knows this start of our program.
    knows: bool,
}

struct Waiting {
    ticket: u64,
    since: Instant,
}

/// The machine. After each call drain [`poll_output`](Self::poll_output) and [`poll_transmit`](Self::poll_transmit).
pub struct Shared {
    incarnation: u64,
    store: [u8; 16],
    highest: u64,
    map: Map,
    held: Option<Held>,
    /// What is held was in memory, whole, since it was taken.
    sure: bool,
    position: u64,
    graves: BTreeSet<Key>,
    tag: u32,
    duty: Duty,
    linked: bool,
    /// Whether that was ever said.
    told: bool,
    peer: Option<Peer>,
    /// The start of the other program that was heard last, and those before it.
    latest: u64,
    retired: VecDeque<u64>,
    peer_store: Option<[u8; 16]>,
    sender: Option<Sender>,
    answered_invitation: Option<Stream>,
    receiver: Option<Receiver>,
    invitations: u32,
    /// When the stream that is taken got on last.
    got: Instant,
    small: BTreeMap<u64, Waiting>,
    large: BTreeMap<u64, Waiting>,
    silent: bool,
    moving: Option<Moving>,
    asked: Option<Asked>,
    hellos: u64,
    hello_due: bool,
    hello_at: Instant,
    answered: Option<Instant>,
    outputs: VecDeque<Output>,
    changes: Vec<(Key, Option<Value>)>,
    delays: VecDeque<u32>,
    status: Status,
    /// Counts whatever is to be seen in a copy on disk.
    version: u64,
    #[cfg(test)]
    pub(super) bug: super::tests::Bug,
}

impl Shared {
    /// A follower, until it is told otherwise.
    pub fn new(now: Instant, start: Start) -> Self {
        let mut map = Map::new(start.limits);
        let held = start.file.map(|(held, entries)| {
            for (key, value) in entries {
                // What has become too much since is left out.
                let _ = map.put(&key, Arc::new(value), 0);
            }
            Held { complete: false, ..held }
        });
        Self {
            incarnation: start.incarnation,
            store: start.store,
            highest: start.highest,
            map,
            held,
            sure: false,
            position: held.map_or(0, |held| held.position),
            graves: BTreeSet::new(),
            tag: 0,
            duty: Duty::Follower,
            linked: false,
            told: false,
            peer: None,
            latest: 0,
            retired: VecDeque::new(),
            peer_store: None,
            sender: None,
            answered_invitation: None,
            receiver: None,
            invitations: 0,
            got: now,
            small: BTreeMap::new(),
            large: BTreeMap::new(),
            silent: false,
            moving: None,
            asked: None,
            hellos: 0,
            hello_due: false,
            hello_at: now,
            answered: None,
            outputs: VecDeque::new(),
            changes: Vec::new(),
            delays: VecDeque::with_capacity(DELAYS),
            status: Status::default(),
            version: 0,
            #[cfg(test)]
            bug: super::tests::Bug::None,
        }
    }

    // ---- what is known

    /// The highest take-over epoch that this node has had or heard of.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// What is held.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.map.iter()
    }

    /// One value.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.map.get(key).map(|entry| &entry.value)
    }

    /// How far the map is; `None` before there was any.
    pub fn held(&self) -> Option<Held> {
        self.held.map(|held| match self.duty {
            Duty::Owner(_) => Held { position: self.position, ..held },
            Duty::Follower | Duty::Taking(_) => held,
        })
    }

    /// What this node is.
    pub fn role(&self) -> Role {
        match self.duty {
            Duty::Follower => Role::Follower,
            Duty::Taking(_) => Role::Taking,
            Duty::Owner(_) => Role::Owner,
        }
    }

    /// Another number whenever the entries are others than before.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The store that the other node last introduced itself with.
    pub fn peer_store(&self) -> Option<[u8; 16]> {
        self.peer_store
    }

    // ---- time

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(sender) = &mut self.sender {
            sender.handle_timeout(now);
        }
        if self.late_at().is_some_and(|at| at <= now) {
            self.silent = true;
            self.release(How::Late);
        }
        if self.hello_at <= now {
            self.hello_at = now + self.pace();
            self.hello_due |= self.linked;
        }
        self.consider(now);
        self.settle_move();
    }

    /// How often this node introduces itself: whoever waits for a map cannot wait for a lost introduction, too.
    fn pace(&self) -> Duration {
        match self.duty {
            Duty::Taking(_) => ASK / 10,
            Duty::Follower | Duty::Owner(_) => HELLO,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let resend = self.sender.as_ref().filter(|_| self.linked).and_then(Sender::poll_timeout);
        let hello = self.linked.then_some(self.hello_at);
        let taking = match &self.duty {
            Duty::Taking(taking) if !taking.claimed => {
                let stalled = self.receiver.as_ref().map(|_| self.got + STALL);
                Some(stalled.map_or(taking.until, |at| at.min(taking.until)))
            }
            Duty::Taking(_) | Duty::Follower | Duty::Owner(_) => None,
        };
        [resend, hello, self.late_at(), taking].into_iter().flatten().min()
    }

    // ---- machine → world

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What is to be sent to the other node's program. Only to be asked for what can be sent at once.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Zeroizing<Vec<u8>>> {
        if !self.linked {
            return None;
        }
        if std::mem::take(&mut self.hello_due) {
            self.hellos += 1;
            return Some(self.hello().encode());
        }
        let from = self.incarnation;
        if let (Some(receiver), Some(peer)) = (&mut self.receiver, &self.peer)
            && let Some(gap) = receiver.ack.take()
        {
            let stream = Stream { from, to: peer.hello.from, invitation: receiver.invitation };
            return Some(Ack { stream, number: receiver.number(), gap }.encode());
        }
        let peer = self.peer.as_ref()?;
        let sender = self.sender.as_mut().filter(|sender| sender.stream().to == peer.hello.from)?;
        let tag = match (&self.duty, self.held) {
            (Duty::Follower, Some(held)) if !held.complete => Some(self.tag),
            (Duty::Follower | Duty::Taking(_) | Duty::Owner(_), _) => None,
        };
        let source = Source { map: &self.map, position: self.position, highest: self.highest, tag };
        sender.poll(now, &source)
    }

    fn hello(&self) -> Hello {
        let (moving, prepared) = self.moves();
        Hello {
            moving,
            prepared,
            from: self.incarnation,
            serial: self.hellos,
            knows: self.peer.as_ref().map_or(0, |peer| peer.hello.from),
            store: self.store,
            highest: self.highest,
            role: self.role(),
            invitation: self.receiver.as_ref().map_or(0, |receiver| receiver.invitation),
            held: self.held(),
        }
    }
}
