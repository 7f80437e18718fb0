//! The paths between the two nodes.

use crate::random::Random;
use crate::{MS, Micros};

/// What a datagram is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// Heartbeats.
    Heartbeat,
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// To which node, 0 or 1.
    pub to: usize,
    /// Over which path.
    pub path: usize,
    /// For which port.
    pub port: Port,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// One direction of a path.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Way {
    /// Lets datagrams through.
    pub open: bool,
    /// How many of a thousand are lost.
    pub loss: u32,
    /// How many of a thousand come twice.
    pub duplicates: u32,
    /// The least delay.
    pub delay: Micros,
    /// What is added to it, at most. More than the distance of two datagrams reorders them.
    pub jitter: Micros,
}

impl Way {
    /// As a cable is.
    pub const GOOD: Self = Self { open: true, loss: 0, duplicates: 0, delay: 100, jitter: 200 };

    /// Whether every datagram arrives, soon: such a path "works" in the sense of I2.
    pub fn is_good(&self) -> bool {
        self.open && self.loss == 0 && self.delay + self.jitter <= 2 * MS
    }
}

/// A path: two ways, two carriers.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// `ways[n]` leads to node `n`.
    pub ways: [Way; 2],
    /// `carriers[n]`: node `n` sees a carrier.
    pub carriers: [bool; 2],
    /// Since when the way to node `n` has been good without a pause.
    pub good_since: [Option<Micros>; 2],
}

/// The paths, and what was recorded on them.
#[derive(Clone, Debug)]
pub struct Network {
    /// All of them; the first is the sync cable.
    pub paths: Vec<Path>,
    /// What somebody has recorded, to be played back.
    pub tape: Vec<Datagram>,
}

/// The recorder keeps so many datagrams, chosen at random.
const TAPE: usize = 64;

impl Network {
    /// All good.
    pub fn new(paths: usize) -> Self {
        let path = Path { ways: [Way::GOOD; 2], carriers: [true; 2], good_since: [Some(0); 2] };
        Self { paths: vec![path; paths], tape: Vec::new() }
    }

    /// To be called after each change.
    pub fn note(&mut self, now: Micros) {
        for path in &mut self.paths {
            for (to, way) in path.ways.iter().enumerate() {
                let good = way.is_good() && path.carriers == [true; 2];
                path.good_since[to] = good.then(|| path.good_since[to].unwrap_or(now));
            }
        }
    }

    /// Since when some path has been good in both directions.
    pub fn both_ways_since(&self) -> Option<Micros> {
        self.paths.iter().filter_map(|path| Some(path.good_since[0]?.max(path.good_since[1]?))).min()
    }

    /// The times at which a datagram arrives: none, one or two.
    pub fn send(&mut self, now: Micros, random: &mut Random, datagram: &Datagram) -> [Option<Micros>; 2] {
        if random.permille(20) {
            if self.tape.len() < TAPE {
                self.tape.push(datagram.clone());
            } else {
                let slot = random.below(TAPE as u64) as usize;
                self.tape[slot] = datagram.clone();
            }
        }
        let path = &self.paths[datagram.path];
        let way = path.ways[datagram.to];
        if !way.open || path.carriers != [true; 2] || random.permille(way.loss) {
            return [None; 2];
        }
        let mut arrival = || Some(now + way.delay + random.below(way.jitter + 1));
        let first = arrival();
        let second = arrival();
        [first, second.filter(|_| random.permille(way.duplicates))]
    }
}
