//! What happens in a run, made from its seed.

use std::time::Duration;

use rempart_pair::role::FailBack;

use crate::network::Way;
use crate::random::Random;
use crate::{MS, Micros};

/// Which kind of run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Faults of all kinds, several at a time; then they stop.
    Chaos,
    /// A stable pair, then one fault: at most one move, and service goes on.
    OneFault,
    /// A stable pair, and an operator.
    Planned,
    /// A stable pair on a network that loses and delays a little: nothing happens.
    Stable,
    /// All paths are cut and healed, again and again.
    Splits,
    /// Sleeping processes and machines.
    Freezes,
    /// Programs and machines that die and come back.
    Restarts,
}

/// Something that happens at one moment.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Action {
    /// The way of a path to a node becomes so.
    Way {
        /// Path.
        path: usize,
        /// Node.
        to: usize,
        /// How.
        way: Way,
    },
    /// A carrier of a path comes or goes at one end.
    Carrier {
        /// Path.
        path: usize,
        /// Node.
        node: usize,
        /// Comes.
        up: bool,
    },
    /// The carrier of an interface that counts for health comes or goes. The interface with the number of a path, less
    /// one, is that path's.
    Monitor {
        /// Node.
        node: usize,
        /// Interface.
        monitor: usize,
        /// Comes.
        up: bool,
    },
    /// A gateway answers or not.
    Gateway {
        /// Node.
        node: usize,
        /// Interface.
        monitor: usize,
        /// Answers.
        answers: bool,
    },
    /// A process, or a whole machine, sleeps.
    Freeze {
        /// Node.
        node: usize,
        /// The whole machine.
        machine: bool,
    },
    /// It wakes.
    Thaw {
        /// Node.
        node: usize,
    },
    /// A program dies, or a machine.
    Kill {
        /// Node.
        node: usize,
        /// The whole machine.
        machine: bool,
    },
    /// A program is started.
    Start {
        /// Node.
        node: usize,
    },
    /// `rempart ha switch`.
    Switch {
        /// Node.
        node: usize,
    },
    /// `rempart ha maintenance`.
    Maintenance {
        /// Node.
        node: usize,
        /// On.
        on: bool,
    },
    /// The program is asked to end.
    Shutdown {
        /// Node.
        node: usize,
    },
    /// The connections of a node are those of the other.
    Synced {
        /// Node.
        node: usize,
        /// Are.
        synced: bool,
    },
    /// Somebody plays back a recorded datagram.
    Replay,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Where it comes from.
    pub seed: u64,
    /// Its kind.
    pub kind: Kind,
    /// Paths between the nodes.
    pub paths: usize,
    /// Interfaces that count for health.
    pub monitors: usize,
    /// Fail-back of the document.
    pub failback: FailBack,
    /// What happens when, in order.
    pub actions: Vec<(Micros, Action)>,
    /// When the last of it has happened.
    pub quiet: Micros,
    /// When the run ends.
    pub end: Micros,
    /// fsync takes so long at most.
    pub fsync: Micros,
    /// Flushing the journal takes so long at most; `None`: it never ends.
    pub flush: Option<Micros>,
    /// Programs are woken late by so much at most.
    pub lateness: Micros,
    /// Drivers look at their timers before their sockets.
    pub timers_first: bool,
    /// What was not written when a machine died may have reached the disk.
    pub lucky_disk: bool,
}

/// Time for a pair to settle after everything has stopped: listening, an election, a retry.
const SETTLE: Micros = 2_500 * MS;
/// When the first fault comes in runs that begin with a stable pair.
pub const STABLE: Micros = 900 * MS;

impl Schedule {
    /// The run of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let kind = match random.below(100) {
            0..45 => Kind::Chaos,
            45..60 => Kind::OneFault,
            60..68 => Kind::Planned,
            68..74 => Kind::Stable,
            74..82 => Kind::Splits,
            82..92 => Kind::Freezes,
            _ => Kind::Restarts,
        };
        Self::of_kind(seed, kind)
    }

    /// A run of this kind.
    pub fn of_kind(seed: u64, kind: Kind) -> Self {
        let mut random = Random::new(seed ^ 0xa5a5);
        let paths = random.between(1, 4) as usize;
        let mut schedule = Self {
            seed,
            kind,
            paths,
            // The other paths' interfaces, and one that is no path.
            monitors: paths,
            failback: match random.below(3) {
                0 => FailBack::Preferred { delay: Duration::from_millis(random.between(0, 400)) },
                _ => FailBack::Stay,
            },
            actions: Vec::new(),
            quiet: 0,
            end: 0,
            fsync: random.pick(&[MS, 5 * MS, 50 * MS, 3_000 * MS]),
            flush: random.pick(&[Some(MS), Some(30 * MS), Some(300 * MS), None]),
            lateness: random.pick(&[0, 200, 2 * MS, 5 * MS]),
            timers_first: random.coin(),
            lucky_disk: random.coin(),
        };
        schedule.switch_on(&mut random);
        match kind {
            Kind::Chaos => {
                for _ in 0..random.between(3, 25) {
                    let at = random.between(0, 2_000) * MS;
                    schedule.fault(&mut random, at);
                }
            }
            Kind::OneFault => {
                schedule.lateness = schedule.lateness.min(200);
                schedule.failback = FailBack::Stay;
                schedule.one_fault(&mut random);
            }
            Kind::Planned => {
                schedule.lateness = schedule.lateness.min(200);
                schedule.flush = Some(30 * MS);
                schedule.fsync = 50 * MS;
                for _ in 0..random.between(1, 3) {
                    let at = STABLE + random.between(0, 1_500) * MS;
                    schedule.operate(&mut random, at);
                }
            }
            Kind::Stable => schedule.murmur(&mut random),
            Kind::Splits => {
                for round in 0..random.between(1, 4) {
                    let at = STABLE + round * 500 * MS + random.below(100 * MS);
                    schedule.split(at, random.between(1, 300) * MS);
                }
            }
            Kind::Freezes => {
                for _ in 0..random.between(1, 8) {
                    let at = STABLE + random.below(2_000 * MS);
                    schedule.freeze(&mut random, at);
                }
            }
            Kind::Restarts => {
                for _ in 0..random.between(1, 6) {
                    let at = random.between(300, 2_500) * MS;
                    schedule.restart(&mut random, at);
                }
            }
        }
        schedule.finish(&mut random);
        schedule
    }

    fn at(&mut self, at: Micros, action: Action) {
        self.actions.push((at, action));
    }

    fn switch_on(&mut self, random: &mut Random) {
        let together = random.below(3) == 0;
        for node in 0..2 {
            let at = if together { random.below(5 * MS) } else { random.below(450 * MS) };
            self.at(at, Action::Start { node });
            let synced = at + random.between(50, 400) * MS;
            self.at(synced, Action::Synced { node, synced: true });
        }
    }

    fn fault(&mut self, random: &mut Random, at: Micros) {
        let node = random.below(2) as usize;
        let path = random.below(self.paths as u64) as usize;
        let length = random.pick(&[1, 5, 15, 30, 60, 150, 400]) * MS + random.below(10 * MS);
        match random.below(14) {
            0 => {
                let way = Way { open: false, ..Way::GOOD };
                self.for_a_while(at, length, path, node, way);
                if random.coin() {
                    self.for_a_while(at, length, path, 1 - node, way);
                }
            }
            1 => {
                let way = Way { loss: random.between(1, 700) as u32, ..Way::GOOD };
                self.for_a_while(at, length, path, node, way);
            }
            2 => {
                let (delay, jitter) = (random.below(30 * MS), random.below(30 * MS));
                self.for_a_while(at, length, path, node, Way { delay, jitter, ..Way::GOOD });
            }
            3 => {
                let way = Way { duplicates: 500, jitter: 15 * MS, ..Way::GOOD };
                self.for_a_while(at, length, path, node, way);
            }
            4 | 5 => self.unplug(at, length, path, node),
            6 => self.split(at, length),
            7 => self.freeze(random, at),
            8 | 9 => self.restart(random, at),
            10 => self.operate(random, at),
            11 => {
                let monitor = random.below(self.monitors as u64) as usize;
                self.at(at, Action::Gateway { node, monitor, answers: false });
                self.at(at + length, Action::Gateway { node, monitor, answers: true });
            }
            12 => {
                for path in 0..self.paths {
                    self.unplug(at, length, path, node);
                }
                self.monitor(at, length, self.monitors - 1, node);
            }
            _ => {
                for step in 0..random.between(1, 20) {
                    self.at(at + step * MS, Action::Replay);
                }
            }
        }
    }

    fn for_a_while(&mut self, at: Micros, length: Micros, path: usize, to: usize, way: Way) {
        self.at(at, Action::Way { path, to, way });
        self.at(at + length, Action::Way { path, to, way: Way::GOOD });
    }

    fn split(&mut self, at: Micros, length: Micros) {
        for path in 0..self.paths {
            for to in 0..2 {
                self.for_a_while(at, length, path, to, Way { open: false, ..Way::GOOD });
            }
        }
    }

    fn unplug(&mut self, at: Micros, length: Micros, path: usize, node: usize) {
        self.at(at, Action::Carrier { path, node, up: false });
        self.at(at + length, Action::Carrier { path, node, up: true });
        // The sync cable, path 0, does not count for health.
        if let Some(monitor) = path.checked_sub(1) {
            self.monitor(at, length, monitor, node);
        }
    }

    fn monitor(&mut self, at: Micros, length: Micros, monitor: usize, node: usize) {
        self.at(at, Action::Monitor { node, monitor, up: false });
        self.at(at + length, Action::Monitor { node, monitor, up: true });
    }

    fn freeze(&mut self, random: &mut Random, at: Micros) {
        let node = random.below(2) as usize;
        let machine = random.coin();
        let length = match random.below(6) {
            0 => random.between(200, 800) * MS,
            _ => random.between(1, 200 * MS),
        };
        self.at(at, Action::Freeze { node, machine });
        self.at(at + length, Action::Thaw { node });
    }

    fn restart(&mut self, random: &mut Random, at: Micros) {
        let node = random.below(2) as usize;
        let machine = random.coin();
        let length = match (machine, random.below(4)) {
            (true, _) => random.between(100, 900) * MS,
            (false, 0) => random.between(20, 600) * MS,
            (false, _) => random.between(1, 12) * MS,
        };
        self.at(at, Action::Kill { node, machine });
        self.at(at + length, Action::Start { node });
        self.at(at + length, Action::Synced { node, synced: false });
        self.at(at + length + random.between(10, 200) * MS, Action::Synced { node, synced: true });
    }

    fn operate(&mut self, random: &mut Random, at: Micros) {
        let node = random.below(2) as usize;
        match random.below(4) {
            0 | 1 => self.at(at, Action::Switch { node }),
            2 => {
                self.at(at, Action::Maintenance { node, on: true });
                self.at(at + random.between(1, 500) * MS, Action::Maintenance { node, on: false });
            }
            _ => {
                self.at(at, Action::Shutdown { node });
                self.at(at + random.between(1, 800) * MS, Action::Kill { node, machine: true });
                self.at(at + 900 * MS, Action::Start { node });
                self.at(at + 1_000 * MS, Action::Synced { node, synced: true });
            }
        }
    }

    /// One fault, for good.
    fn one_fault(&mut self, random: &mut Random) {
        let at = STABLE + random.below(400 * MS);
        let node = random.below(2) as usize;
        let path = random.below(self.paths as u64) as usize;
        let for_good = 60_000 * MS;
        match random.below(7) {
            0 => self.at(at, Action::Kill { node, machine: true }),
            1 => self.unplug(at, for_good, path, node),
            2 => self.monitor(at, for_good, self.monitors - 1, node),
            3 => {
                let monitor = random.below(self.monitors as u64) as usize;
                self.at(at, Action::Gateway { node, monitor, answers: false });
            }
            4 => {
                self.at(at, Action::Kill { node, machine: false });
                self.at(at + random.between(1, 8) * MS, Action::Start { node });
            }
            5 if self.paths > 1 => {
                let way = Way { open: false, ..Way::GOOD };
                self.at(at, Action::Way { path, to: node, way });
                if random.coin() {
                    self.at(at, Action::Way { path, to: 1 - node, way });
                }
            }
            _ => {
                self.at(at, Action::Freeze { node, machine: random.coin() });
                self.at(at + random.between(1, 8) * MS, Action::Thaw { node });
            }
        }
    }

    /// A network that is not quite perfect.
    fn murmur(&mut self, random: &mut Random) {
        self.lateness = self.lateness.min(2 * MS);
        self.failback = FailBack::Stay;
        for path in 0..self.paths {
            for to in 0..2 {
                let way = Way {
                    loss: random.below(6) as u32,
                    duplicates: 5,
                    delay: random.below(2 * MS),
                    jitter: random.below(2 * MS),
                    open: true,
                };
                self.at(STABLE, Action::Way { path, to, way });
            }
        }
        for _ in 0..20 {
            let at = STABLE + random.below(1_500 * MS);
            self.at(at, Action::Replay);
        }
        if self.paths > 1 {
            // The sync cable alone changes nothing.
            let at = STABLE + 500 * MS;
            self.at(at, Action::Carrier { path: 0, node: random.below(2) as usize, up: false });
        }
    }

    /// Everything is mended, unless it was broken for good.
    fn finish(&mut self, random: &mut Random) {
        let horizon = 30_000 * MS;
        self.actions.retain(|(at, _)| *at < horizon);
        let last = self.actions.iter().map(|(at, _)| *at).max().unwrap_or(0);
        match self.kind {
            Kind::OneFault | Kind::Stable => {}
            Kind::Chaos | Kind::Planned | Kind::Splits | Kind::Freezes | Kind::Restarts => {
                let at = last + MS;
                for path in 0..self.paths {
                    for node in 0..2 {
                        self.at(at, Action::Way { path, to: node, way: Way::GOOD });
                        self.at(at, Action::Carrier { path, node, up: true });
                    }
                }
                for node in 0..2 {
                    for monitor in 0..self.monitors {
                        self.at(at, Action::Monitor { node, monitor, up: true });
                        self.at(at, Action::Gateway { node, monitor, answers: true });
                    }
                    self.at(at, Action::Thaw { node });
                    self.at(at + MS, Action::Start { node });
                    self.at(at + 2 * MS, Action::Maintenance { node, on: false });
                    self.at(at + 60 * MS, Action::Synced { node, synced: true });
                }
                // Some stay broken: whoever is left serves.
                if random.below(3) == 0 {
                    let node = random.below(2) as usize;
                    let path = random.below(self.paths as u64) as usize;
                    match random.below(3) {
                        0 => self.at(at + 4 * MS, Action::Kill { node, machine: true }),
                        1 => {
                            let monitor = random.below(self.monitors as u64) as usize;
                            self.at(at + 4 * MS, Action::Monitor { node, monitor, up: false });
                        }
                        _ if self.paths > 1 => {
                            self.at(at + 4 * MS, Action::Carrier { path, node, up: false });
                        }
                        _ => {}
                    }
                }
            }
        }
        self.actions.sort_by_key(|(at, _)| *at);
        self.quiet = self.actions.last().map_or(0, |(at, _)| *at);
        self.end = self.quiet + SETTLE;
    }
}
