//! Two to four routers in virtual time: loss, delay, reordering, duplicates, cuts, crashes, stalls and frozen machines, all
//! from a seed that is printed when a check fails.
//!
//! `VRRP_SEEDS=5000` runs more of them, `VRRP_SEED=17` one.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use vrrp_rs::elector::{
    Announcing, Carp, Cause, ChecksumPolicy, DemotionStyle, Preempt, Protocol, Reach, Refusal, State, Tie,
    Transmit, Version, Vrrp,
};
use vrrp_rs::wire::carp::{LinkLocal, Pace, Secret};
use vrrp_rs::wire::{ChecksumForm, v2};
use vrrp_rs::{
    Addresses, Centiseconds, Claims, Config, Elector, Family, Output, Priority, Replay, Seconds, Vrid,
};

const US: Duration = Duration::from_micros(1);
const MS: Duration = Duration::from_millis(1);
/// Receive queue of a socket, in packets.
const QUEUE: usize = 64;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()].clone()
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        US * u32::try_from(self.below(u64::try_from(most.as_micros()).unwrap() + 1)).unwrap()
    }
}

struct Node {
    config: Config,
    /// `None` while crashed.
    elector: Option<Elector>,
    queue: VecDeque<Transmit>,
    /// The program does not run before.
    stalled: Instant,
    /// The machine does not even receive before.
    frozen: Instant,
    /// When the driver will next look.
    wake: Option<Instant>,
    changes: Vec<Cause>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    number: u64,
    to: usize,
    packet: usize,
}

struct World {
    random: Random,
    now: Instant,
    start: Instant,
    nodes: Vec<Node>,
    flights: BinaryHeap<Reverse<Flight>>,
    /// Everything ever sent; an eavesdropper's tape.
    sent: Vec<Transmit>,
    number: u64,
    loss: u64,
    duplicates: u64,
    delay: Duration,
    /// `cut[a][b]`: nothing goes from a to b.
    cut: [[bool; 4]; 4],
    /// The driver's own lateness.
    latency: Duration,
    /// How much was on the tape when the faults ended.
    healed: usize,
}

impl World {
    fn new(seed: u64, configs: Vec<Config>) -> Self {
        let start = Instant::now();
        let node = |config| Node {
            config,
            elector: None,
            queue: VecDeque::new(),
            stalled: start,
            frozen: start,
            wake: None,
            changes: Vec::new(),
        };
        Self {
            random: Random(seed),
            now: start,
            start,
            nodes: configs.into_iter().map(node).collect(),
            flights: BinaryHeap::new(),
            sent: Vec::new(),
            number: 0,
            loss: 0,
            duplicates: 0,
            delay: MS,
            cut: [[false; 4]; 4],
            latency: MS,
            healed: 0,
        }
    }

    fn boot(&mut self, n: usize) {
        let mut config = self.nodes[n].config.clone();
        if let Protocol::Carp(carp) = &mut config.protocol {
            let since = u64::try_from((self.now - self.start).as_nanos()).unwrap();
            carp.first_counter = match carp.replay {
                Replay::Increasing => since + n as u64,
                Replay::Distinct | Replay::Constant => self.random.next(),
            };
        }
        let mut elector = Elector::new(config).unwrap();
        elector.startup(self.now);
        self.nodes[n].queue.clear();
        self.nodes[n].elector = Some(elector);
        self.act(n);
    }

    fn crash(&mut self, n: usize) {
        self.nodes[n].elector = None;
        self.nodes[n].queue.clear();
        self.nodes[n].wake = None;
    }

    /// Runs until `end`.
    fn run_until(&mut self, end: Instant) {
        loop {
            let flight = self.flights.peek().map(|Reverse(flight)| flight.at);
            let wake = (0..self.nodes.len()).filter_map(|n| Some((self.nodes[n].wake?, n))).min();
            match (flight, wake) {
                (Some(at), Some((wake, n))) if wake < at && wake <= end => self.drive(wake, n),
                (None, Some((wake, n))) if wake <= end => self.drive(wake, n),
                (Some(at), _) if at <= end => self.land(at),
                _ => break,
            }
        }
        self.now = end;
    }

    fn land(&mut self, at: Instant) {
        self.now = at;
        let Some(Reverse(flight)) = self.flights.pop() else { return };
        let packet = self.sent[flight.packet].clone();
        self.receive(flight.to, packet);
    }

    fn receive(&mut self, n: usize, packet: Transmit) {
        let lateness = self.random.up_to(self.latency);
        let node = &mut self.nodes[n];
        if node.elector.is_none() || node.frozen > self.now || node.queue.len() >= QUEUE {
            return;
        }
        node.queue.push_back(packet);
        let at = (self.now + lateness).max(node.stalled);
        node.wake = Some(node.wake.map_or(at, |wake| wake.min(at)));
    }

    /// The driver looks: sometimes at its timers first, as a real one may.
    fn drive(&mut self, at: Instant, n: usize) {
        self.now = self.now.max(at);
        if self.nodes[n].stalled > self.now {
            self.nodes[n].wake = Some(self.nodes[n].stalled);
            return;
        }
        if self.random.chance(50) {
            self.read_queue(n);
        }
        if let Some(elector) = &mut self.nodes[n].elector {
            elector.handle_timeout(self.now);
        }
        self.act(n);
        self.read_queue(n);
        self.act(n);
    }

    fn read_queue(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some(elector) = &mut node.elector else { return };
        for packet in node.queue.drain(..) {
            match elector.handle_packet(self.now, &packet.header, &packet.payload) {
                Ok(()) | Err(Refusal::Replayed(_)) => {}
                Err(refusal) => panic!("{refusal}"),
            }
        }
    }

    /// Does what the elector wants, then sets the alarm.
    fn act(&mut self, n: usize) {
        while let Some(output) = self.nodes[n].elector.as_mut().and_then(Elector::poll_output) {
            match output {
                Output::Transmit(packet) => self.send(n, packet),
                Output::Role(change) => self.nodes[n].changes.push(change.cause),
                Output::Announce(_) => {
                    assert_eq!(self.state(n), Some(State::Active), "announced without having it")
                }
                Output::Drain => {
                    self.read_queue(n);
                    if let Some(elector) = &mut self.nodes[n].elector {
                        elector.handle_drained(self.now);
                    }
                }
                Output::Overdue => {}
            }
        }
        let lateness = self.random.up_to(self.latency);
        let node = &mut self.nodes[n];
        let timeout = node.elector.as_ref().and_then(Elector::poll_timeout);
        node.wake = timeout.map(|at| (at + lateness).max(node.stalled).max(self.now));
    }

    fn send(&mut self, from: usize, packet: Transmit) {
        self.sent.push(packet);
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if self.cut[from][to] || self.random.chance(self.loss) {
                continue;
            }
            let copies = 1 + u64::from(self.random.chance(self.duplicates));
            for _ in 0..copies {
                let at = self.now + self.random.up_to(self.delay);
                self.number += 1;
                self.flights.push(Reverse(Flight {
                    at,
                    number: self.number,
                    to,
                    packet: self.sent.len() - 1,
                }));
            }
        }
    }

    fn state(&self, n: usize) -> Option<State> {
        self.nodes[n].elector.as_ref().map(Elector::state)
    }

    fn active(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| self.state(*n) == Some(State::Active)).collect()
    }

    fn changes(&self) -> usize {
        self.nodes.iter().map(|node| node.changes.len()).sum()
    }

    fn heal(&mut self) {
        self.healed = self.sent.len();
        (self.loss, self.duplicates, self.cut) = (0, 0, [[false; 4]; 4]);
        for node in &mut self.nodes {
            (node.stalled, node.frozen) = (self.now, self.now);
            if let Some(elector) = &mut node.elector {
                elector.set_claims(self.now, Claims::Free);
            }
        }
        for n in 0..self.nodes.len() {
            if self.nodes[n].elector.is_none() && self.random.chance(70) {
                self.boot(n);
            }
            self.act(n);
        }
        if self.nodes.iter().all(|node| node.elector.is_none()) {
            self.boot(0);
        }
    }

    /// One thing goes wrong, or right again.
    fn disturb(&mut self, interval: Duration) {
        let count = self.nodes.len() as u64;
        let n = usize::try_from(self.random.below(count)).unwrap();
        let other = usize::try_from(self.random.below(count)).unwrap();
        match self.random.below(10) {
            0 => self.loss = self.random.below(60),
            1 => self.duplicates = self.random.below(50),
            2 => self.cut[n][other] = !self.cut[n][other],
            3 => self.cut = [[false; 4]; 4],
            4 => self.crash(n),
            5 if self.nodes[n].elector.is_none() => self.boot(n),
            6 => self.nodes[n].stalled = self.now + self.random.up_to(interval * 8),
            7 => {
                let until = self.now + self.random.up_to(interval * 8);
                (self.nodes[n].stalled, self.nodes[n].frozen) = (until, until);
            }
            8 => {
                let claims = self.random.pick(&[Claims::Free, Claims::NoPreempt, Claims::Held]);
                if let Some(elector) = &mut self.nodes[n].elector {
                    elector.set_claims(self.now, claims);
                }
                self.act(n);
            }
            9 => {
                if let Some(elector) = &mut self.nodes[n].elector {
                    elector.shutdown(self.now);
                    elector.startup(self.now);
                }
                self.act(n);
            }
            _ => {}
        }
    }
}

fn base(protocol: Protocol, preempt: Preempt) -> Config {
    Config {
        vrid: Vrid::new(42).unwrap(),
        protocol,
        preempt,
        accept: true,
        reach: Reach::Multicast,
        announce: Announcing::usual(Family::V4),
    }
}

fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 10 + u8::try_from(n).unwrap())
}

fn vrrp(n: usize, version: Version, priority: u8, preempt: Preempt) -> Config {
    let protocol = Protocol::Vrrp(Vrrp {
        version,
        priority: Priority::new(priority).unwrap(),
        source: address(n).into(),
        addresses: Addresses::new(&[IpAddr::from([192, 0, 2, 1])]).unwrap(),
    });
    base(protocol, preempt)
}

fn v3(n: usize, centiseconds: u16, priority: u8, preempt: Preempt) -> Config {
    let checksum = if n.is_multiple_of(2) {
        ChecksumPolicy::LikePeer
    } else {
        ChecksumPolicy::Always(ChecksumForm::PseudoHeader)
    };
    vrrp(n, Version::V3 { interval: Centiseconds::new(centiseconds).unwrap(), checksum }, priority, preempt)
}

fn v2(n: usize, priority: u8, preempt: Preempt) -> Config {
    vrrp(n, Version::V2 { interval: Seconds::DEFAULT, auth: v2::Auth::None }, priority, preempt)
}

fn carp(n: usize, pace: Pace, replay: Replay, preempt: Preempt) -> Config {
    let protocol = Protocol::Carp(Carp {
        secret: Secret::new(b"secret").unwrap(),
        pace,
        demotion: DemotionStyle::Byte,
        replay,
        first_counter: 0,
        tie: Tie::LowerAddress,
        link_local: LinkLocal::Signed,
        source_v4: Some(address(n)),
        source_v6: None,
        v4: BTreeSet::from([Ipv4Addr::new(192, 0, 2, 1)]),
        v6: BTreeSet::new(),
    });
    base(protocol, preempt)
}

/// The longest interval of a configuration, and the rank: higher is preferred.
fn facts(config: &Config) -> (Duration, u32) {
    match &config.protocol {
        Protocol::Vrrp(vrrp) => {
            let interval = match &vrrp.version {
                Version::V2 { interval, .. } => interval.duration(),
                Version::V3 { interval, .. } => interval.duration(),
            };
            (interval, vrrp.priority.get().into())
        }
        Protocol::Carp(carp) => (carp.pace.interval(), u32::MAX - carp.pace.rank()),
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("VRRP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VRRP_SEEDS").unwrap_or(100),
    }
}

/// Prints the seed when a check fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with VRRP_SEED={}", self.0);
        }
    }
}

/// Disturbs for a while, heals, waits, then checks: exactly one active, the best one with preemption, and no change any more.
/// Gives the world back for further questions.
fn trial(seed: u64, configs: Vec<Config>) -> World {
    let interval = configs.iter().map(|config| facts(config).0).max().unwrap();
    let preempting = configs.iter().all(|config| config.preempt == Preempt::Always);
    let mut world = World::new(seed, configs);
    world.latency = world.random.pick(&[US, MS, 3 * MS]);
    world.delay = world.random.pick(&[US * 100, MS, 4 * MS]);
    for n in 0..world.nodes.len() {
        world.boot(n);
    }
    for _ in 0..20 {
        let pause = world.random.up_to(interval * 3);
        world.run_until(world.now + pause);
        world.disturb(interval);
    }
    world.heal();
    // The longest way: three intervals and a skew, once after the graces, once more for preemption, twice for a rival.
    world.run_until(world.now + interval * 20 + 100 * MS);

    let active = world.active();
    assert_eq!(active.len(), 1, "active: {active:?}");
    if preempting {
        let rank = |n: usize| facts(&world.nodes[n].config).1;
        let alive = (0..world.nodes.len()).filter(|n| world.nodes[*n].elector.is_some());
        assert_eq!(rank(active[0]), alive.map(rank).max().unwrap());
    }
    let before = world.changes();
    world.run_until(world.now + interval * 10);
    assert_eq!((world.changes(), world.active()), (before, active), "flapping");
    world
}

/// In: VRRPv3, different intervals, any preemption, sometimes an owner. Out: see [`trial`].
#[test]
fn version_3_elects_one() {
    for seed in seeds() {
        let _seed = Seed(seed);
        let mut random = Random(!seed);
        let count = 2 + usize::try_from(random.below(3)).unwrap();
        let preempt = random.pick(&[Preempt::Always, Preempt::Never, Preempt::After(50 * MS)]);
        let owner = random.chance(20);
        let configs = (0..count)
            .map(|n| {
                let interval = random.pick(&[2, 5, 10, 30, 100]);
                let priority = u8::try_from(1 + random.below(254)).unwrap();
                v3(n, interval, if owner && n == 0 { 255 } else { priority }, preempt)
            })
            .collect();
        let world = trial(seed, configs);
        if owner && world.nodes[0].elector.is_some() {
            assert_eq!(world.active(), [0], "the owner always preempts");
        }
    }
}

/// In: VRRPv2, also with equal priorities. Out: see [`trial`].
#[test]
fn version_2_elects_one() {
    for seed in seeds() {
        let _seed = Seed(seed);
        let mut random = Random(!seed);
        let count = 2 + usize::try_from(random.below(3)).unwrap();
        let preempt = random.pick(&[Preempt::Always, Preempt::Never]);
        trial(seed, (0..count).map(|n| v2(n, random.pick(&[50, 100, 200]), preempt)).collect());
    }
}

/// In: CARP with each replay rule, also with equal paces; then an eavesdropper replays all it has heard, from any address.
/// Out: see [`trial`]; where the rule keeps replays out, not a single change of state and no packet in answer.
#[test]
fn carp_elects_one_and_ignores_replays() {
    for seed in seeds() {
        let _seed = Seed(seed);
        let mut random = Random(!seed);
        let count = 2 + usize::try_from(random.below(3)).unwrap();
        let preempt = random.pick(&[Preempt::Always, Preempt::Never]);
        let replay = random.pick(&[Replay::Increasing, Replay::Distinct, Replay::Constant]);
        let configs = (0..count)
            .map(|n| carp(n, Pace { base: 1, skew: random.pick(&[0, 50, 100, 200]) }, replay, preempt))
            .collect();
        let mut world = trial(seed, configs);
        if replay == Replay::Constant {
            continue;
        }
        // What a listener never received, or forgot in a crash, only increasing counters keep out.
        let known = if replay == Replay::Increasing { 0 } else { world.healed };
        let (changes, active, tape) = (world.changes(), world.active(), world.sent[known..].to_vec());
        let end = world.now + 20 * MS * 50;
        while world.now < end {
            world.run_until(world.now + 20 * MS);
            let mut packet = world.random.pick(&tape);
            packet.header.source = IpAddr::from([192, 0, 2, 100]);
            let to = usize::try_from(world.random.below(count as u64)).unwrap();
            world.receive(to, packet);
        }
        assert_eq!((world.changes(), world.active()), (changes, active), "a replay had an effect");
    }
}

/// In: a pair with 10 ms adverts and a perfect line; the standby's program stalls up to 200 ms, at any time, a hundred
/// times, its socket keeping what it can. Out: no take-over.
#[test]
fn a_stalled_standby_does_not_take_over() {
    for seed in seeds().take(20) {
        let _seed = Seed(seed);
        let mut world =
            World::new(seed, vec![v3(0, 1, 200, Preempt::Always), v3(1, 1, 100, Preempt::Always)]);
        (0..2).for_each(|n| world.boot(n));
        world.run_until(world.now + 200 * MS);
        let (changes, active) = (world.changes(), world.active());
        assert_eq!(active, [0]);
        for _ in 0..100 {
            let stall = world.random.up_to(200 * MS);
            world.nodes[1].stalled = world.now + stall;
            let pause = world.random.up_to(100 * MS);
            world.run_until(world.now + stall + pause);
        }
        assert_eq!((world.changes(), world.active()), (changes, active));
    }
}

/// In: the same, but the machine is frozen and its packets are lost. Out: no take-over either, thanks to the grace; and
/// when the active router then dies, the standby takes over in its down interval.
#[test]
fn a_frozen_standby_does_not_take_over() {
    let mut excused = 0;
    for seed in seeds().take(20) {
        let _seed = Seed(seed);
        let mut world =
            World::new(seed, vec![v3(0, 2, 200, Preempt::Always), v3(1, 2, 100, Preempt::Always)]);
        (world.latency, world.delay) = (US * 100, US * 100);
        (0..2).for_each(|n| world.boot(n));
        world.run_until(world.now + 500 * MS);
        let (changes, active) = (world.changes(), world.active());
        for _ in 0..50 {
            // Long enough that the timer is served an interval late; shorter freezes are the next check's.
            let until = world.now + 100 * MS + world.random.up_to(200 * MS);
            (world.nodes[1].stalled, world.nodes[1].frozen) = (until, until);
            let pause = world.random.up_to(100 * MS);
            world.run_until(until + 50 * MS + pause);
        }
        assert_eq!((world.changes(), world.active()), (changes, active));
        excused += world.nodes[1].elector.as_ref().unwrap().statistics().own_stalls;

        world.crash(0);
        // Active_Down_Interval of priority 100 at 2 cs: 72.2 ms.
        world.run_until(world.now + 73 * MS);
        assert_eq!(world.active(), [1]);
    }
    assert!(seeds().count() < 20 || excused > 0, "the simulation froze nobody");
}

/// In: planned stop of the active router, no loss. Out: the standby follows in its skew, not in its dead time, and never are
/// there two.
#[test]
fn a_planned_stop_is_quick() {
    for seed in seeds().take(20) {
        let _seed = Seed(seed);
        let mut world =
            World::new(seed, vec![v3(0, 100, 200, Preempt::Always), v3(1, 100, 100, Preempt::Always)]);
        (0..2).for_each(|n| world.boot(n));
        world.run_until(world.now + 10_000 * MS);
        assert_eq!(world.active(), [0]);
        let now = world.now;
        world.nodes[0].elector.as_mut().unwrap().shutdown(now);
        world.act(0);
        assert!(world.active().is_empty());
        // 156/256 s, a packet's and a wake-up's delay.
        world.run_until(world.now + 609 * MS);
        assert!(world.active().is_empty());
        world.run_until(world.now + 3 * MS);
        assert_eq!(world.active(), [1]);
        assert_eq!(world.nodes[1].changes, [Cause::Startup, Cause::PeerResigned]);
    }
}
