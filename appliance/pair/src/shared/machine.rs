//! The machine of one node: the map, its role, the other node, and the stream between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::map::{Limits, Map, Refused};
use super::receiver::{Place, Purpose, Receiver};
use super::sender::{Level, Sender, Source};
use super::wire::{Ack, Data, Hello, Message, Stream};
use super::{ASK, Entries, Fence, HELLO, Held, Key, LATE, RESTORE, STALL, Value};

/// Delays of which the middle one is shown.
const DELAYS: usize = 512;
/// A hello that answers another one is no more frequent than this.
const ANSWER_SPACING: Duration = Duration::from_millis(10);

/// Earlier starts of the other program that are remembered. No message is as old as so many of them.
const RETIRED: usize = 16;

/// What a node says that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Takes the owner's map.
    Follower,
    /// About to own: has the map sent back, or its epoch is being written.
    Taking,
    /// Its map is the truth.
    Owner,
}

impl Role {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Follower => 0,
            Self::Taking => 1,
            Self::Owner => 2,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Follower),
            1 => Some(Self::Taking),
            2 => Some(Self::Owner),
            3.. => None,
        }
    }
}

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
}

/// How the two stand, for a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum State {
    /// Nobody to share with is heard.
    #[default]
    Away,
    /// The copy is under way, or the map on its way back.
    Copying,
    /// Both hold the same, but for what is under way.
    InStep,
    /// The other node is there and acknowledges nothing.
    Silent,
}

/// What there is to show.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// How the two stand.
    pub state: State,
    /// In the map.
    pub entries: usize,
    /// Of names and values, in bytes.
    pub bytes: usize,
    /// Changes that wait to be sent.
    pub waiting: usize,
    /// Bytes that were sent and not acknowledged.
    pub under_way: usize,
    /// Changes that the other node had before they were committed, since the start.
    pub committed: u64,
    /// Changes that were committed while there was no other node.
    pub alone: u64,
    /// Changes that were committed because the other node did not answer in time.
    pub late: u64,
    /// Messages that were sent again.
    pub resent: u64,
    /// Entries that were refused: too long, too many.
    pub refused: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// From the change to the acknowledgement, in microseconds: the middle one of the last 512.
    pub delay_p50_us: u64,
    /// The largest but 1 %.
    pub delay_p99_us: u64,
}

enum Duty {
    Follower,
    Taking(Taking),
    Owner(Fence),
}

struct Taking {
    role: u64,
    /// The other node is waited for until then, at most.
    until: Instant,
    /// What there is, is taken as it is from here on.
    claimed: bool,
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

    /// What there is to show.
    pub fn status(&self) -> Status {
        let (waiting, under_way) = self.sender.as_ref().map_or((0, 0), Sender::backlog);
        let resent = self.status.resent + self.sender.as_ref().map_or(0, |sender| sender.resent);
        let mut delays: Vec<u64> = self.delays.iter().map(|us| u64::from(*us)).collect();
        delays.sort_unstable();
        let place =
            |percent: usize| delays.get(delays.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0);
        Status {
            state: self.state(),
            entries: self.map.len(),
            bytes: self.map.bytes(),
            waiting,
            under_way,
            resent,
            delay_p50_us: place(50),
            delay_p99_us: place(99),
            ..self.status.clone()
        }
    }

    fn state(&self) -> State {
        if !self.linked || self.peer.is_none() {
            return State::Away;
        }
        if self.silent {
            return State::Silent;
        }
        let in_step = match (&self.duty, &self.sender, &self.receiver) {
            (Duty::Owner(_), Some(sender), _) => sender.is_copied(),
            (Duty::Follower, _, Some(receiver)) => receiver.ended(),
            (Duty::Owner(_), None, _) => return State::Away,
            (Duty::Follower, _, None) | (Duty::Taking(_), ..) => false,
        };
        if in_step { State::InStep } else { State::Copying }
    }

    // ---- the elector

    /// This node is active, under this epoch of the role, or is not.
    pub fn handle_role(&mut self, now: Instant, active: Option<u64>) {
        match (&mut self.duty, active) {
            (Duty::Follower, None) => {}
            (Duty::Follower, Some(role)) => {
                let until = now + ASK;
                self.duty = Duty::Taking(Taking { role, until, claimed: false });
                self.drop_streams();
                (self.hello_due, self.hello_at) = (true, now + ASK / 10);
                self.consider(now);
            }
            (Duty::Taking(taking), Some(role)) => taking.role = role,
            (Duty::Owner(fence), Some(role)) if role > fence.role => {
                let above = Fence { role, ..*fence };
                self.rise(above);
                self.follow_up();
            }
            (Duty::Owner(_), Some(_)) => {}
            (Duty::Taking(_) | Duty::Owner(_), None) => self.step_down(),
        }
    }

    fn step_down(&mut self) {
        self.held = self.held();
        self.duty = Duty::Follower;
        // Nobody is told: what waited here has not left, and will not.
        self.small.clear();
        self.large.clear();
        self.drop_streams();
        self.silent = false;
        self.invite(Purpose::Copy);
        self.hello_due = true;
    }

    /// The take-over epoch `epoch` is on disk: this node owns the map.
    pub fn own(&mut self, epoch: u64) {
        let Duty::Taking(Taking { role, .. }) = self.duty else { return };
        self.highest = self.highest.max(epoch);
        self.drop_streams();
        self.rise(Fence { role, term: 0, owner: self.incarnation });
        self.follow_up();
    }

    /// A fence above everything that was heard of, and at least `least`.
    fn rise(&mut self, least: Fence) {
        let heard = self.peer.as_ref().and_then(|peer| peer.hello.held).map(|held| held.fence);
        let known = [self.held.map(|held| held.fence), heard];
        let role = known.iter().flatten().map(|fence| fence.role).fold(least.role, u64::max);
        let term = known.iter().flatten().map(|fence| fence.term).fold(least.term, u64::max);
        let fence = Fence { role, term: term.saturating_add(1), owner: self.incarnation };
        self.position = self.position.max(self.held.map_or(0, |held| held.position));
        self.held = Some(Held { fence, position: self.position, complete: true });
        self.duty = Duty::Owner(fence);
        self.graves.clear();
        self.sure = true;
        self.version += 1;
        self.drop_streams();
        self.hello_due = true;
    }

    // ---- the owner's program

    /// Keeps a value. Only an owner's word counts: elsewhere it is dropped, and never committed. `ticket` rises from call to call.
    pub fn put(
        &mut self,
        now: Instant,
        key: &Key,
        value: Zeroizing<Vec<u8>>,
        ticket: u64,
    ) -> Result<(), Refused> {
        if !matches!(self.duty, Duty::Owner(_)) {
            return Ok(());
        }
        let len = value.len();
        let taken = self.map.put(key, Arc::new(value), 0);
        let change = match taken {
            Ok(_) => self.touch(key, len),
            // In its turn, so that it does not say that those before it are there.
            Err(_) => {
                self.status.refused += 1;
                self.position
            }
        };
        let waiting = Waiting { ticket, since: now };
        match (self.is_shared() && !self.silent, taken.is_ok() && len > super::SMALL) {
            #[cfg(test)]
            (true, _) if self.bug == super::tests::Bug::CommitsOnSending => self.commit(ticket, How::Both),
            (true, false) => drop(self.small.insert(change, waiting)),
            (true, true) => drop(self.large.insert(change, waiting)),
            (false, _) => self.commit(ticket, How::Alone),
        }
        taken.map(|_| ())
    }

    /// Whether there is somebody who takes what is changed.
    fn is_shared(&self) -> bool {
        let peer = self.peer.as_ref().map(|peer| peer.hello.from);
        peer.is_some() && self.sender.as_ref().map(|sender| sender.stream().to) == peer
    }

    /// Takes an entry away.
    pub fn remove(&mut self, key: &Key) {
        if matches!(self.duty, Duty::Owner(_)) && self.map.remove(key) {
            self.touch(key, 0);
        }
    }

    fn touch(&mut self, key: &Key, len: usize) -> u64 {
        self.position += 1;
        self.version += 1;
        if let Some(sender) = &mut self.sender {
            sender.touch(key, self.position, len);
        }
        self.position
    }

    fn commit(&mut self, ticket: u64, how: How) {
        match how {
            How::Both => self.status.committed += 1,
            How::Alone => self.status.alone += 1,
            How::Late => self.status.late += 1,
        }
        self.outputs.push_back(Output::Committed { ticket, how });
    }

    /// What the other node has now.
    fn commit_level(&mut self, now: Instant, level: Level) {
        let small = split_up_to(&mut self.small, level.small);
        for waiting in small.values() {
            self.status.committed += 1;
            note_delay(&mut self.delays, now.saturating_duration_since(waiting.since));
        }
        if let Some((_, last)) = small.last_key_value() {
            self.outputs.push_back(Output::Committed { ticket: last.ticket, how: How::Both });
        }
        for (_, waiting) in split_up_to(&mut self.large, level.all) {
            self.commit(waiting.ticket, How::Both);
        }
    }

    /// Nobody answers: what waits has waited long enough.
    fn release(&mut self, how: How) {
        let mut all = std::mem::take(&mut self.small);
        all.append(&mut std::mem::take(&mut self.large));
        for (_, waiting) in all {
            self.commit(waiting.ticket, how);
        }
    }

    // ---- the other node

    /// There is a way to the other node's program, or none.
    pub fn handle_link(&mut self, now: Instant, up: bool) {
        let news = self.linked != up;
        (self.linked, self.told) = (up, true);
        if !news {
            return self.consider(now);
        }
        if up {
            self.hello_due = true;
            self.hello_at = now + HELLO;
            if let Some(sender) = &mut self.sender {
                sender.send_again();
            }
            if let Duty::Taking(taking) = &mut self.duty {
                taking.until = now + ASK;
            }
        } else {
            self.peer = None;
            self.silent = false;
            self.release(How::Alone);
        }
        self.consider(now);
    }

    /// A message of the other node's program, which its own elector has authenticated.
    pub fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        if !self.linked {
            return;
        }
        match Message::decode(bytes) {
            Some(Message::Hello(hello)) => self.handle_hello(now, hello),
            Some(Message::Data(data)) => self.handle_data(now, &data, bytes),
            Some(Message::Ack(ack)) => self.handle_ack(now, ack),
            None => self.status.malformed += 1,
        }
    }

    fn handle_hello(&mut self, now: Instant, hello: Hello) {
        // Its last words may come after the first ones of the program that has taken its place.
        if self.retired.contains(&hello.from) {
            return;
        }
        let old = |peer: &Peer| peer.hello.from == hello.from && peer.hello.serial >= hello.serial;
        if hello.from == self.incarnation || hello.from == 0 || self.peer.as_ref().is_some_and(old) {
            return;
        }
        if self.latest != hello.from {
            self.retire(hello.from);
        }
        self.highest = self.highest.max(hello.highest);
        if self.peer_store != Some(hello.store) {
            self.peer_store = Some(hello.store);
            self.outputs.push_back(Output::PeerStore(hello.store));
        }
        let knows = hello.knows == self.incarnation;
        let new = self.peer.as_ref().is_none_or(|peer| peer.hello.from != hello.from);
        // What comes next is another stream: of another start of the program, or of another reign.
        let other = self.receiver.as_ref().and_then(Receiver::begun).is_some_and(|(from, fence)| {
            let reign = hello.held.filter(|_| hello.role == Role::Owner).map(|held| held.fence);
            from != hello.from || reign.is_some_and(|reign| reign != fence)
        });
        // Who gives its map back and then does not, has dropped it half way.
        let other = other || matches!(self.duty, Duty::Taking(_)) && hello.role != Role::Follower;
        let spaced = self.answered.is_none_or(|at| now.saturating_duration_since(at) >= ANSWER_SPACING);
        if new || !knows && spaced {
            self.hello_due = true;
            self.answered = Some(now);
        }
        let gone = self.sender.as_ref().is_some_and(|sender| sender.stream().to != hello.from);
        let taken = matches!(self.duty, Duty::Follower) && hello.role != Role::Taking;
        if gone || taken {
            self.end_sender();
        }
        self.peer = Some(Peer { hello, knows });
        if other || self.receiver.is_none() {
            match self.duty {
                Duty::Follower => self.invite(Purpose::Copy),
                Duty::Taking(_) => self.receiver = None,
                Duty::Owner(_) => {}
            }
        }
        self.follow_up();
        self.consider(now);
    }

    /// The other node's program was started anew: what an earlier start has said or asked for is over.
    fn retire(&mut self, latest: u64) {
        if self.retired.len() >= RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(std::mem::replace(&mut self.latest, latest));
    }

    /// Answers an invitation, unless that is done.
    fn follow_up(&mut self) {
        let Some(peer) = self.peer.as_ref().filter(|peer| peer.knows && peer.hello.invitation != 0) else {
            return;
        };
        let stream =
            Stream { from: self.incarnation, to: peer.hello.from, invitation: peer.hello.invitation };
        // An invitation is good for one stream.
        if self.answered_invitation == Some(stream) {
            return;
        }
        let theirs = peer.hello.held;
        match (&self.duty, peer.hello.role) {
            (Duty::Owner(fence), Role::Follower) => {
                if theirs.is_some_and(|held| held.fence > *fence) {
                    let fence = *fence;
                    self.rise(fence);
                }
                self.begin(stream, false);
            }
            (Duty::Follower, Role::Taking) => self.begin(stream, true),
            (Duty::Owner(_), Role::Taking | Role::Owner)
            | (Duty::Follower, Role::Follower | Role::Owner)
            | (Duty::Taking(_), _) => {}
        }
    }

    fn begin(&mut self, stream: Stream, back: bool) {
        let Some(held) = self.held().or(back.then(Held::default)) else { return };
        self.end_sender();
        self.answered_invitation = Some(stream);
        let graves = self.graves.iter().filter(|_| back && !held.complete).cloned();
        self.sender = Some(Sender::new(stream, held, graves));
        self.silent = false;
    }

    fn end_sender(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.status.resent += sender.resent;
            // Whoever has not acknowledged until now begins anew.
            self.release(How::Alone);
        }
    }

    fn drop_streams(&mut self) {
        self.end_sender();
        self.receiver = None;
    }

    fn invite(&mut self, purpose: Purpose) {
        self.invitations = self.invitations.wrapping_add(1).max(1);
        self.receiver = Some(Receiver::new(self.invitations, purpose));
        self.hello_due = true;
    }

    fn handle_data(&mut self, now: Instant, data: &Data<'_>, bytes: &[u8]) {
        let Some(receiver) = &mut self.receiver else { return };
        #[cfg(not(test))]
        let ours = data.stream.invitation == receiver.invitation;
        #[cfg(test)]
        let ours =
            data.stream.invitation == receiver.invitation || self.bug == super::tests::Bug::AnyInvitation;
        let known = self.peer.as_ref().is_some_and(|peer| peer.hello.from == data.stream.from);
        if data.stream.to != self.incarnation || !ours || !known {
            return;
        }
        self.highest = self.highest.max(data.highest);
        let mut place = Place {
            map: &mut self.map,
            held: &mut self.held,
            graves: &mut self.graves,
            tag: &mut self.tag,
            refused: &mut self.status.refused,
            changes: &mut self.changes,
        };
        if receiver.handle(data, bytes, &mut place) {
            self.got = now;
            self.version += 1;
            self.sure = receiver.ended();
        } else if receiver.begun().is_none() {
            // Its fence is too low, which it has to be told; or the beginning was lost.
            self.hello_due |= data.number == 1;
        }
        self.outputs.extend(self.changes.drain(..).map(|(key, value)| Output::Changed(key, value)));
        self.consider(now);
    }

    fn handle_ack(&mut self, now: Instant, ack: Ack) {
        let Some(sender) = &mut self.sender else { return };
        let stream = *sender.stream();
        let turned = Stream { from: ack.stream.to, to: ack.stream.from, ..ack.stream };
        if turned != stream {
            return;
        }
        if let Some(level) = sender.handle_ack(now, ack.number, ack.gap) {
            self.silent = false;
            self.commit_level(now, level);
        }
    }

    // ---- taking over

    /// Whether what there is will do, or the other node has something better.
    fn consider(&mut self, now: Instant) {
        let Duty::Taking(taking) = &mut self.duty else { return };
        if taking.claimed {
            return;
        }
        let ready = match (&self.receiver, &self.peer) {
            (Some(receiver), _) if receiver.ended() => true,
            (_, None) => self.told && !self.linked || self.sure || now >= taking.until,
            (Some(_), Some(_)) => now >= taking.until || now.saturating_duration_since(self.got) >= STALL,
            // It has not let go yet, and has what is missing here.
            (None, Some(peer)) if peer.hello.role == Role::Owner && !self.sure => now >= taking.until,
            (None, Some(peer)) => {
                let theirs = peer.hello.held.filter(|_| peer.hello.role == Role::Follower);
                #[cfg(test)]
                let theirs = theirs.filter(|_| self.bug != super::tests::Bug::NeverAsks);
                if theirs.is_some_and(|theirs| theirs.beats(self.held.as_ref(), self.sure)) {
                    taking.until = now + RESTORE;
                    self.got = now;
                    self.invite(Purpose::Restore);
                    return;
                }
                true
            }
        };
        if ready {
            taking.claimed = true;
            self.receiver = None;
            self.outputs.push_back(Output::Claim);
        }
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
            let taking = matches!(self.duty, Duty::Taking(_));
            self.hello_at = now + if taking { ASK / 10 } else { HELLO };
            self.hello_due |= self.linked;
        }
        self.consider(now);
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

    fn late_at(&self) -> Option<Instant> {
        let small = self.small.first_key_value().map(|(_, waiting)| waiting.since + LATE);
        let quiet = self.sender.as_ref().and_then(Sender::quiet_since).map(|at| at + LATE);
        let quiet = quiet.filter(|_| !self.silent && self.linked && matches!(self.duty, Duty::Owner(_)));
        [small, quiet].into_iter().flatten().min()
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
        Hello {
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

/// Takes out what has waited for changes up to this one.
fn split_up_to(waiting: &mut BTreeMap<u64, Waiting>, change: u64) -> BTreeMap<u64, Waiting> {
    let later = waiting.split_off(&change.saturating_add(1));
    std::mem::replace(waiting, later)
}

fn note_delay(delays: &mut VecDeque<u32>, delay: Duration) {
    if delays.len() >= DELAYS {
        delays.pop_front();
    }
    delays.push_back(u32::try_from(delay.as_micros()).unwrap_or(u32::MAX));
}
