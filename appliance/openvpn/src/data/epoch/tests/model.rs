//! Two nodes, a wire that loses, delays and repeats, disks that survive or are replaced, and an observer who writes down
//! every (key, packet id) that anybody sends.
//!
//! The nodes decide with the types of the product; around them stands a driver as small as a driver can be. A planted
//! [`Bug`] is a driver, or a rule, that is wrong in one point.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::data::keys::{BLOCK, End, KeyId};

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Nothing: the product.
    None,
    /// Not epochs: each take-over counts a generation of the key up by one, as it was replicated.
    GenerationPlusOne,
    /// The driver says that the epoch is stored, and it is not.
    NotStored,
    /// All stores have the same identity, so a replaced disk is not noticed.
    NoStoreIdentity,
    /// A node draws the next number, whoever's it is.
    NoParity,
    /// A key that comes back from the peer during a reign gets its range again.
    RangeOnImport,
    /// A preparation that came to nothing is begun again with the same epoch.
    PreparedAgain,
}

pub const BUGS: [Bug; 6] = [
    Bug::GenerationPlusOne,
    Bug::NotStored,
    Bug::NoStoreIdentity,
    Bug::NoParity,
    Bug::RangeOnImport,
    Bug::PreparedAgain,
];

/// What can happen. The first number is the node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Draws an epoch, stores it, and takes over.
    TakeOver(usize),
    /// Dies between the write and the first use.
    DieAfterWrite(usize),
    /// The write is reported as failed; it may have reached the disk all the same.
    WriteFails(usize, bool),
    /// A move of the role to this node is announced: draws an epoch, stores it, and imports what it holds; or, prepared,
    /// imports what has come since.
    Prepare(usize),
    /// Nothing comes of it.
    GiveUp(usize),
    /// Lets the role go; keys stay.
    StepDown(usize),
    /// Ends a key exchange.
    Make(usize),
    /// Sends the peer what it knows, with the record of this key.
    Tell(usize, usize),
    /// The message of this number arrives, once more.
    Deliver(usize),
    /// Sends a data packet under this key.
    Send(usize, usize),
    /// Retires a key.
    Forget(usize, usize),
    /// Dies.
    Crash(usize),
    /// Is started again.
    Restart(usize),
    /// Gets another disk while it is down.
    ReplaceDisk(usize),
}

/// A key at a node.
#[derive(Debug)]
pub struct Held {
    origin: Origin,
    range: Option<PacketIdRange>,
    generation: u32,
}

/// A node that runs.
#[derive(Debug)]
pub struct Running {
    book: EpochBook,
    reign: Option<Reign>,
    prepared: Option<Preparation>,
    peer: Option<StoreId>,
    keys: BTreeMap<usize, Held>,
}

impl Running {
    /// Each key that is held and has no range gets one, if it may. How many.
    fn import(&mut self, prepared: &mut Preparation) -> usize {
        let mut held: Vec<_> = self.keys.iter_mut().filter(|(_, held)| held.range.is_none()).collect();
        let list: Vec<_> = held.iter().map(|(key, held)| Imported::new(held.origin, &keys(**key))).collect();
        let mut given = 0;
        for ((_, held), range) in held.iter_mut().zip(prepared.import(&list)) {
            held.range = range.ok();
            given += usize::from(held.range.is_some());
        }
        given
    }
}

#[derive(Debug)]
pub struct Node {
    disk: Record,
    running: Option<Running>,
}

/// What one node tells the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Message {
    to: usize,
    highest: Epoch,
    store: StoreId,
    key: Option<(usize, Origin, u32)>,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    pub bug: Bug,
    pub nodes: [Node; 2],
    /// Keys that were made, so far.
    pub made: usize,
    /// Disks that were ever used.
    disks: u8,
    pub wire: Vec<Message>,
    sent: BTreeSet<(usize, u32)>,
    /// How many take-overs gave how many ranges, to see that the tests test something.
    pub ranges: usize,
}

/// A nonce that was used twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repeated {
    pub key: usize,
    pub id: u32,
}

fn parity(node: usize) -> Parity {
    if node == 0 { Parity::Even } else { Parity::Odd }
}

fn keys(number: usize) -> DataKeys {
    DataKeys::derived(KeyId::of(number as u8), &[number as u8; BLOCK], End::Server)
}

impl World {
    pub fn new(bug: Bug) -> Self {
        let node = |n: u8| {
            let disk = Record { store: StoreId([n; 16]), highest: Epoch(0) };
            Node { disk, running: None }
        };
        let mut nodes = [node(1), node(2)];
        if bug == Bug::NoStoreIdentity {
            nodes.iter_mut().for_each(|n| n.disk.store = StoreId([0; 16]));
        }
        let mut world =
            Self { bug, nodes, made: 0, disks: 2, wire: Vec::new(), sent: BTreeSet::new(), ranges: 0 };
        world.start(0);
        world.start(1);
        world
    }

    fn start(&mut self, n: usize) {
        let book = EpochBook::new(parity(n), self.nodes[n].disk);
        self.nodes[n].running =
            Some(Running { book, reign: None, prepared: None, peer: None, keys: BTreeMap::new() });
    }

    /// What can happen now, with at most `keys` keys ever and at most `wire` different messages.
    pub fn actions(&self, keys: usize, wire: usize) -> Vec<Action> {
        let mut out = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let Some(running) = &node.running else {
                out.extend([Action::Restart(n), Action::ReplaceDisk(n)]);
                continue;
            };
            out.extend([Action::TakeOver(n), Action::DieAfterWrite(n), Action::Crash(n)]);
            out.extend([Action::WriteFails(n, false), Action::WriteFails(n, true)]);
            if running.prepared.is_some() {
                out.push(Action::GiveUp(n));
            }
            if running.reign.is_none() {
                out.push(Action::Prepare(n));
            }
            if running.reign.is_some() {
                out.push(Action::StepDown(n));
                if self.made < keys {
                    out.push(Action::Make(n));
                }
            }
            for (&key, held) in &running.keys {
                out.push(Action::Forget(n, key));
                if self.wire.len() < wire {
                    out.push(Action::Tell(n, key));
                }
                if held.range.is_some() {
                    out.push(Action::Send(n, key));
                }
            }
            // Without any key it introduces itself; the number of no key says so.
            if self.wire.len() < wire {
                out.push(Action::Tell(n, usize::MAX));
            }
        }
        let hears = |m: &Message| self.nodes[m.to].running.is_some();
        out.extend((0..self.wire.len()).filter(|m| hears(&self.wire[*m])).map(Action::Deliver));
        out
    }

    pub fn act(&mut self, action: Action) -> Result<(), Repeated> {
        match action {
            Action::TakeOver(n) => self.take_over(n),
            Action::DieAfterWrite(n) => {
                self.draw(n);
                self.nodes[n].running = None;
            }
            Action::WriteFails(n, reached) => self.fail(n, reached),
            Action::Prepare(n) => self.prepare(n),
            Action::GiveUp(n) => {
                if let Some(running) = &mut self.nodes[n].running {
                    match &mut running.prepared {
                        Some(prepared) if self.bug == Bug::PreparedAgain => prepared.known.clear(),
                        _ => running.prepared = None,
                    }
                    running.keys.values_mut().for_each(|held| held.range = None);
                }
            }
            Action::StepDown(n) => {
                if let Some(running) = &mut self.nodes[n].running {
                    running.reign = None;
                    running.keys.values_mut().for_each(|held| held.range = None);
                }
            }
            Action::Make(n) => self.make(n),
            Action::Tell(n, key) => self.tell(n, key),
            Action::Deliver(m) => self.deliver(m),
            Action::Send(n, key) => return self.send(n, key),
            Action::Forget(n, key) => {
                if let Some(running) = &mut self.nodes[n].running {
                    running.keys.remove(&key);
                }
            }
            Action::Crash(n) => self.nodes[n].running = None,
            Action::Restart(n) => self.start(n),
            Action::ReplaceDisk(n) => self.replace(n),
        }
        Ok(())
    }

    fn draw(&mut self, n: usize) -> Option<Persisted<TakeOverEpoch>> {
        let bug = self.bug;
        let Node { disk, running } = &mut self.nodes[n];
        let book = &mut running.as_mut()?.book;
        let claim = match bug {
            Bug::NoParity => {
                book.highest = Epoch(book.highest.0 + 1);
                let record = Record { store: book.store, highest: book.highest };
                Claim { parity: book.parity, record }
            }
            Bug::None
            | Bug::GenerationPlusOne
            | Bug::NotStored
            | Bug::NoStoreIdentity
            | Bug::RangeOnImport
            | Bug::PreparedAgain => book.claim().ok()?,
        };
        let write = |record: &Record| {
            if bug != Bug::NotStored {
                *disk = *record;
            }
            Ok::<_, ()>(())
        };
        claim.persist(write).ok()
    }

    fn fail(&mut self, n: usize, reached: bool) {
        let Node { disk, running } = &mut self.nodes[n];
        let Some(claim) = running.as_mut().and_then(|r| r.book.claim().ok()) else { return };
        let write = |record: &Record| {
            if reached {
                *disk = *record;
            }
            Err(())
        };
        claim.persist(write).expect_err("it was not confirmed");
    }

    /// As the driver does: an epoch that was prepared is good as long as nothing higher was heard of.
    fn take_over(&mut self, n: usize) {
        let Some(running) = &mut self.nodes[n].running else { return };
        let highest = running.book.highest();
        if let Some(mut prepared) = running.prepared.take_if(|prepared| prepared.epoch() >= highest) {
            self.ranges += running.import(&mut prepared);
            running.reign = Some(prepared.begin());
            return;
        }
        running.prepared = None;
        let Some(epoch) = self.draw(n) else { return };
        let Some(running) = &mut self.nodes[n].running else { return };
        let imported: Vec<Imported> =
            running.keys.iter().map(|(key, held)| Imported::new(held.origin, &keys(*key))).collect();
        let (reign, ranges) = epoch.take_over(&imported);
        running.reign = Some(reign);
        for ((key, held), range) in running.keys.iter_mut().zip(ranges) {
            held.range = range.ok();
            if self.bug == Bug::GenerationPlusOne {
                held.generation += 1;
                held.range = Some(PacketIdRange::new(keys(*key).print(), held.generation.min(15)));
            }
            self.ranges += usize::from(held.range.is_some());
        }
    }

    fn prepare(&mut self, n: usize) {
        let Some(running) = &mut self.nodes[n].running else { return };
        let prepared = match running.prepared.take() {
            Some(prepared) => Some(prepared),
            None => self.draw(n).map(Persisted::prepare),
        };
        let Some((mut prepared, running)) = prepared.zip(self.nodes[n].running.as_mut()) else { return };
        self.ranges += running.import(&mut prepared);
        running.prepared = Some(prepared);
    }

    fn make(&mut self, n: usize) {
        let Some(running) = &mut self.nodes[n].running else { return };
        let Some(reign) = &running.reign else { return };
        let (origin, range) = reign.make(&mut keys(self.made), running.peer).expect("it is fresh");
        running.keys.insert(self.made, Held { origin, range: Some(range), generation: 0 });
        self.made += 1;
    }

    fn tell(&mut self, n: usize, key: usize) {
        let Some(running) = &self.nodes[n].running else { return };
        let key = running.keys.get(&key).map(|held| (key, held.origin, held.generation));
        let (highest, store) = (running.book.highest(), running.book.store());
        let message = Message { to: 1 - n, highest, store, key };
        if !self.wire.contains(&message) {
            self.wire.push(message);
        }
    }

    fn deliver(&mut self, m: usize) {
        let Some(&Message { to, highest, store, key }) = self.wire.get(m) else { return };
        let Some(running) = &mut self.nodes[to].running else { return };
        running.book.hear(highest);
        running.peer = Some(store);
        let Some((key, origin, generation)) = key else { return };
        running.book.hear(origin.made);
        let again = match &running.reign {
            Some(reign) if self.bug == Bug::RangeOnImport => {
                reign.range(&Imported::new(origin, &keys(key))).ok()
            }
            Some(_) | None => None,
        };
        // What is held already stays as it is.
        running.keys.entry(key).or_insert(Held { origin, range: again, generation });
    }

    fn send(&mut self, n: usize, key: usize) -> Result<(), Repeated> {
        let held = self.nodes[n].running.as_mut().and_then(|r| r.keys.get_mut(&key));
        let Some(Ok(id)) = held.and_then(|h| h.range.as_mut()).map(PacketIdRange::take) else {
            return Ok(());
        };
        if self.sent.insert((key, id)) { Ok(()) } else { Err(Repeated { key, id }) }
    }

    fn replace(&mut self, n: usize) {
        self.disks += 1;
        let store = if self.bug == Bug::NoStoreIdentity { 0 } else { self.disks };
        self.nodes[n].disk = Record { store: StoreId([store; 16]), highest: Epoch(0) };
    }

    /// Everything that decides what can still happen, to tell states apart.
    pub fn state(&self) -> Vec<u64> {
        let mut out = vec![self.made as u64, u64::from(self.disks)];
        let store = |id: Option<StoreId>| id.map_or(u64::MAX, |id| u64::from(id.0[0]));
        let origin = |o: Origin| [o.made.0, store(o.stores[0]), store(o.stores[1])];
        for node in &self.nodes {
            out.extend([node.disk.highest.0, store(Some(node.disk.store))]);
            let Some(running) = &node.running else { continue };
            let reign = running.reign.as_ref().map_or(0, |r| r.epoch.0);
            let prepared = running.prepared.as_ref();
            out.extend([prepared.map_or(0, |p| p.epoch().0), prepared.map_or(0, |p| p.known.len() as u64)]);
            out.extend([running.book.highest.0, reign, store(running.peer), running.keys.len() as u64]);
            for (key, held) in &running.keys {
                let next = held.range.as_ref().map_or(0, |r| u64::from(r.next));
                out.extend([*key as u64, next, u64::from(held.generation)]);
                out.extend(origin(held.origin));
            }
        }
        let mut wire = self.wire.clone();
        wire.sort_unstable();
        for Message { to, highest, store: from, key } in wire {
            out.extend([to as u64, highest.0, store(Some(from))]);
            let Some((key, came, generation)) = key else { continue };
            out.extend([key as u64, u64::from(generation)]);
            out.extend(origin(came));
        }
        out.extend(self.sent.iter().flat_map(|(key, id)| [*key as u64, u64::from(*id)]));
        out
    }

    /// A copy. The product's types cannot be copied, on purpose; the world can, to go two ways from one point.
    pub fn fork(&self) -> Self {
        let range = |r: &PacketIdRange| PacketIdRange { print: r.print, next: r.next, left: r.left };
        let reign = |r: &Reign| Reign { parity: r.parity, store: r.store, epoch: r.epoch };
        let running = |r: &Running| Running {
            book: EpochBook { parity: r.book.parity, store: r.book.store, highest: r.book.highest },
            reign: r.reign.as_ref().map(reign),
            prepared: r
                .prepared
                .as_ref()
                .map(|p| Preparation { reign: reign(&p.reign), known: p.known.clone() }),
            peer: r.peer,
            keys: r
                .keys
                .iter()
                .map(|(&key, h)| {
                    let range = h.range.as_ref().map(range);
                    (key, Held { origin: h.origin, range, generation: h.generation })
                })
                .collect(),
        };
        let node = |n: &Node| Node { disk: n.disk, running: n.running.as_ref().map(running) };
        let [a, b] = &self.nodes;
        Self {
            bug: self.bug,
            nodes: [node(a), node(b)],
            made: self.made,
            disks: self.disks,
            wire: self.wire.clone(),
            sent: self.sent.clone(),
            ranges: self.ranges,
        }
    }
}
