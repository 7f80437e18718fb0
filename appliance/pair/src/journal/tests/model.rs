//! Two kernels as maps, two drivers, and a line between them that loses, delays, doubles and reorders.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::{
    Change, Fingerprint, Key, Notice, Output, Receiver, ReceiverConfig, Sender, SenderConfig, Status, Urgency,
};

/// Entries that a step of a dump reads.
const STEP: usize = 64;
/// The same where dumps are to be slow beside what happens meanwhile.
pub const SMALL_STEP: usize = 16;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub fn key(number: u64) -> Key {
    let (mut high, mut low) = (Random(number), Random(number ^ 0x5555));
    let mut key = [0; 16];
    key[..8].copy_from_slice(&high.next().to_be_bytes());
    key[8..].copy_from_slice(&low.next().to_be_bytes());
    key
}

pub fn fingerprint() -> Fingerprint {
    Fingerprint::new(|bytes| {
        bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, b| (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
    })
}

pub type Kernel = BTreeMap<Key, Vec<u8>>;

enum Event {
    Put(Key, Vec<u8>, Urgency),
    Gone(Key),
}

/// A dump under way. The kernel fills one part ahead of what was read, so what is read may be stale.
struct Walk {
    after: Option<Key>,
    ahead: Vec<(Key, Vec<u8>)>,
    ended: bool,
    step: usize,
}

impl Walk {
    fn new(kernel: &Kernel, step: usize) -> Self {
        let mut walk = Self { after: None, ahead: Vec::new(), ended: false, step };
        walk.fill(kernel);
        walk
    }

    fn fill(&mut self, kernel: &Kernel) {
        let rest = kernel.iter().filter(|(key, _)| self.after.is_none_or(|after| **key > after));
        self.ahead = rest.take(self.step).map(|(key, bytes)| (*key, bytes.clone())).collect();
        match self.ahead.last() {
            Some((key, _)) => self.after = Some(*key),
            None => self.ended = true,
        }
    }

    /// The part that was made the last time.
    fn step(&mut self, kernel: &Kernel) -> Option<Vec<(Key, Vec<u8>)>> {
        if self.ended {
            return None;
        }
        let part = std::mem::take(&mut self.ahead);
        self.fill(kernel);
        Some(part)
    }
}

/// What the line does to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    pub loss_percent: u64,
    pub double_percent: u64,
    pub delay_max_us: u64,
    pub cut: bool,
}

pub struct Pair {
    pub now: Instant,
    pub random: Random,
    pub line: Line,
    pub sender: Sender,
    pub receiver: Receiver,
    pub active: Kernel,
    pub standby: Kernel,
    /// The events between the active kernel and the sender, at most so many.
    pub socket: usize,
    /// Entries that a step of a dump reads.
    pub step: usize,
    events: VecDeque<Event>,
    overrun: bool,
    dump: Option<Walk>,
    load: Option<Walk>,
    sweep: Option<Walk>,
    to_receiver: BTreeMap<(Instant, u64), Vec<u8>>,
    to_sender: BTreeMap<(Instant, u64), Vec<u8>>,
    order: u64,
    pub paused: bool,
    pub deaf: bool,
    pub notices: Vec<Notice>,
    pub flushed: Vec<(u64, bool)>,
    /// Everything that was sent to the receiver, if it is to be kept.
    pub record: Option<Vec<Vec<u8>>>,
}

impl Pair {
    pub fn new(seed: u64, active: Kernel, standby: Kernel) -> Self {
        let now = Instant::now();
        let mut random = Random(seed);
        let sender =
            Sender::new(now, SenderConfig { incarnation: random.next(), fingerprint: fingerprint() });
        let config = ReceiverConfig { incarnation: random.next(), fingerprint: fingerprint() };
        Self {
            now,
            random,
            line: Line::default(),
            sender,
            receiver: Receiver::new(now, config),
            active,
            standby,
            socket: 10_000,
            step: STEP,
            events: VecDeque::new(),
            overrun: false,
            dump: None,
            load: None,
            sweep: None,
            to_receiver: BTreeMap::new(),
            to_sender: BTreeMap::new(),
            order: 0,
            paused: false,
            deaf: false,
            notices: Vec::new(),
            flushed: Vec::new(),
            record: None,
        }
    }

    pub fn put(&mut self, number: u64, bytes: &[u8], urgency: Urgency) {
        self.active.insert(key(number), bytes.to_vec());
        self.happen(Event::Put(key(number), bytes.to_vec(), urgency));
    }

    pub fn remove(&mut self, number: u64) {
        if self.active.remove(&key(number)).is_some() {
            self.happen(Event::Gone(key(number)));
        }
    }

    fn happen(&mut self, event: Event) {
        if self.events.len() < self.socket {
            self.events.push_back(event);
        } else {
            self.overrun = true;
        }
    }

    pub fn restart_sender(&mut self) {
        let config = SenderConfig { incarnation: self.random.next(), fingerprint: fingerprint() };
        self.sender = Sender::new(self.now, config);
        self.events.clear();
        self.overrun = false;
        self.dump = None;
    }

    pub fn restart_receiver(&mut self) {
        let config = ReceiverConfig { incarnation: self.random.next(), fingerprint: fingerprint() };
        self.receiver = Receiver::new(self.now, config);
        (self.load, self.sweep) = (None, None);
        // What had reached the socket of the one that died.
        self.to_receiver.clear();
    }

    /// The standby becomes active and the active standby, as they are.
    pub fn switch(&mut self) {
        let (one, two) = (self.random.next(), self.random.next());
        let spare = |n| Sender::new(self.now, SenderConfig { incarnation: n, fingerprint: fingerprint() });
        let sender = std::mem::replace(&mut self.sender, spare(0));
        let config = ReceiverConfig { incarnation: one, fingerprint: fingerprint() };
        let receiver = std::mem::replace(&mut self.receiver, Receiver::from_sender(self.now, config, sender));
        let config = SenderConfig { incarnation: two, fingerprint: fingerprint() };
        self.sender = Sender::from_receiver(self.now, config, receiver);
        std::mem::swap(&mut self.active, &mut self.standby);
        self.events.clear();
        self.overrun = false;
        (self.dump, self.load, self.sweep) = (None, None, None);
        self.to_receiver.clear();
        self.to_sender.clear();
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(Duration::from_micros(500));
        }
    }

    /// One round of both drivers.
    pub fn step(&mut self, time: Duration) {
        self.now += time;
        if !self.deaf {
            self.drive_sender();
        }
        self.deliver();
        if !self.paused {
            self.drive_receiver();
        }
        self.deliver();
    }

    fn drive_sender(&mut self) {
        for _ in 0..64 {
            match self.events.pop_front() {
                Some(Event::Put(key, bytes, urgency)) => self.sender.put(self.now, &key, &bytes, urgency),
                Some(Event::Gone(key)) => self.sender.remove(self.now, &key, b"identity"),
                None => break,
            }
        }
        if self.events.is_empty() && std::mem::take(&mut self.overrun) {
            self.sender.handle_overrun(self.now);
        }
        if self.sender.room() >= self.step
            && let Some(walk) = &mut self.dump
        {
            match walk.step(&self.active) {
                Some(part) => {
                    for (key, bytes) in &part {
                        if self.sender.wants(key) {
                            self.sender.dumped(self.now, key, bytes);
                        }
                    }
                }
                None => {
                    self.dump = None;
                    self.sender.dump_ended(self.now, true);
                }
            }
        }
        if self.sender.poll_timeout() <= self.now {
            self.sender.handle_timeout(self.now);
        }
        while let Some(output) = self.sender.poll_output() {
            match output {
                Output::Dump => {
                    assert!(self.dump.is_none(), "a dump was asked for while another goes on");
                    self.dump = Some(Walk::new(&self.active, self.step));
                }
                Output::Flushed { token, complete } => self.flushed.push((token, complete)),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Load | Output::Sweep => panic!("not for a sender: {output:?}"),
            }
        }
        while let Some(datagram) = self.sender.poll_transmit(self.now) {
            assert!(datagram.len() <= super::super::MAX_PLAINTEXT);
            let datagram = datagram.to_vec();
            if let Some(record) = &mut self.record {
                record.push(datagram.clone());
            }
            send(&mut self.to_receiver, &mut self.random, self.line, self.now, &mut self.order, datagram);
        }
    }

    fn drive_receiver(&mut self) {
        for (walk, sweeping) in [(&mut self.load, false), (&mut self.sweep, true)] {
            let Some(going) = walk else { continue };
            match going.step(&self.standby) {
                Some(part) if sweeping => {
                    for (key, _) in part {
                        if self.receiver.is_doomed(&key) {
                            self.standby.remove(&key);
                        }
                    }
                }
                Some(part) => part.iter().for_each(|(key, bytes)| self.receiver.loaded(key, bytes)),
                None if sweeping => {
                    *walk = None;
                    self.receiver.sweep_ended(true);
                }
                None => {
                    *walk = None;
                    self.receiver.load_ended(self.now, true);
                }
            }
        }
        if self.receiver.poll_timeout() <= self.now {
            self.receiver.handle_timeout(self.now);
        }
        while let Some(output) = self.receiver.poll_output() {
            match output {
                Output::Load => self.load = Some(Walk::new(&self.standby, self.step)),
                Output::Sweep => self.sweep = Some(Walk::new(&self.standby, self.step)),
                Output::Notice(_) => {}
                Output::Dump | Output::Flushed { .. } => panic!("not for a receiver: {output:?}"),
            }
        }
        while let Some(datagram) = self.receiver.poll_transmit(self.now) {
            let datagram = datagram.to_vec();
            send(&mut self.to_sender, &mut self.random, self.line, self.now, &mut self.order, datagram);
        }
    }

    /// Gives the receiver a datagram that was sent before.
    pub fn replay(&mut self, datagram: &[u8]) {
        let standby = &mut self.standby;
        self.receiver.handle_datagram(self.now, datagram, &mut |change| match change {
            Change::Put { key, bytes, .. } => {
                standby.insert(*key, bytes.to_vec());
            }
            Change::Remove { key, identity } => {
                assert_eq!(identity, b"identity");
                standby.remove(key);
            }
        });
        self.receiver.handle_written();
    }

    fn deliver(&mut self) {
        while !self.paused
            && let Some(first) = self.to_receiver.first_entry().filter(|first| first.key().0 <= self.now)
        {
            let datagram = first.remove();
            self.replay(&datagram);
        }
        while !self.deaf
            && let Some(first) = self.to_sender.first_entry().filter(|first| first.key().0 <= self.now)
        {
            let datagram = first.remove();
            self.sender.handle_datagram(self.now, &datagram);
        }
    }

    pub fn statuses(&self) -> (Status, Status) {
        (self.sender.status(self.now), self.receiver.status(self.now))
    }

    /// Runs until both kernels are equal and nothing is under way; gives up after `limit`.
    pub fn settle(&mut self, limit: Duration) -> Result<Duration, String> {
        let begin = self.now;
        for round in 0u32.. {
            if self.now.duration_since(begin) >= limit {
                break;
            }
            self.step(Duration::from_micros(500));
            // To compare large kernels takes longer than a step.
            if !round.is_multiple_of(1 + self.active.len() as u32 / 1_000) {
                continue;
            }
            let quiet = self.events.is_empty() && !self.overrun && self.sender.status(self.now).backlog == 0;
            if quiet && self.active == self.standby {
                return Ok(self.now.duration_since(begin));
            }
        }
        let missing = self.active.keys().filter(|key| !self.standby.contains_key(*key)).count();
        let extra = self.standby.keys().filter(|key| !self.active.contains_key(*key)).count();
        let other = self
            .active
            .iter()
            .filter(|(key, bytes)| self.standby.get(*key).is_some_and(|there| there != *bytes))
            .count();
        Err(format!("missing {missing}, extra {extra}, other {other}: {:#?}", self.statuses()))
    }
}

fn send(
    line: &mut BTreeMap<(Instant, u64), Vec<u8>>,
    random: &mut Random,
    faults: Line,
    now: Instant,
    order: &mut u64,
    datagram: Vec<u8>,
) {
    if faults.cut {
        return;
    }
    for _ in 0..1 + u64::from(random.percent(faults.double_percent)) {
        if !random.percent(faults.loss_percent) {
            *order += 1;
            let delay = Duration::from_micros(random.below(faults.delay_max_us + 1));
            line.insert((now + delay, *order), datagram.clone());
        }
    }
}
