//! Everything that can happen to two nodes within some steps, and random schedules of many more.
//!
//! `REMPART_SEED=<seed>` plays one random schedule again; `REMPART_FULL=1` goes deeper and longer.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::model::{Action, BUGS, Bug, World};

/// What came of a search.
#[derive(Debug)]
struct Found {
    /// The steps to a repeated nonce.
    trace: Option<Vec<Action>>,
    states: usize,
    ranges: usize,
}

/// A pair at work: one node active, a key made, and the other knows it. Everything interesting begins here.
const RUNNING: [Action; 6] = [
    Action::Tell(1, usize::MAX),
    Action::Deliver(0),
    Action::TakeOver(0),
    Action::Make(0),
    Action::Tell(0, 0),
    Action::Deliver(1),
];

fn full() -> bool {
    std::env::var_os("REMPART_FULL").is_some()
}

/// Breadth first from the state after `begin`, `depth` steps deep.
fn explore(bug: Bug, begin: &[Action], depth: usize, keys: usize, wire: usize) -> Found {
    let mut first = World::new(bug);
    for action in begin {
        first.act(*action).expect("the beginning is sound");
    }
    let mut seen: HashSet<u64> = HashSet::new();
    let mut ranges = 0;
    let mut layer = vec![(first, Vec::new())];
    for _ in 0..depth {
        let mut next = Vec::new();
        for (world, trace) in layer {
            for action in world.actions(keys, wire) {
                let mut fork = world.fork();
                let outcome = fork.act(action);
                let trace: Vec<Action> = trace.iter().copied().chain([action]).collect();
                if outcome.is_err() {
                    return Found { trace: Some(trace), states: seen.len(), ranges };
                }
                // 64 bits are enough to tell a million states apart but for one chance in ten million.
                let mut hasher = DefaultHasher::new();
                fork.state().hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    ranges = ranges.max(fork.ranges);
                    next.push((fork, trace));
                }
            }
        }
        layer = next;
    }
    Found { trace: None, states: seen.len(), ranges }
}

/// All that can happen to a running pair in so many steps: no nonce repeats.
#[test]
fn no_nonce_repeats_whatever_happens_to_a_running_pair() {
    let found = explore(Bug::None, &RUNNING, if full() { 9 } else { 6 }, 2, 4);
    assert_eq!(found.trace, None);
    assert!(found.states > 100_000 && found.ranges > 1, "{} states, {} ranges", found.states, found.ranges);
    eprintln!("{} states", found.states);
}

/// The same from two nodes that have just been unpacked.
#[test]
fn no_nonce_repeats_from_the_very_beginning() {
    let found = explore(Bug::None, &[], if full() { 10 } else { 7 }, 2, 3);
    assert_eq!(found.trace, None);
    assert!(found.states > 100_000, "{} states", found.states);
    eprintln!("{} states", found.states);
}

/// The same search finds every planted bug.
#[test]
fn the_search_finds_what_is_planted() {
    for bug in BUGS {
        // One step deeper than the shortest way to it.
        let found = (4..=8).map(|depth| explore(bug, &RUNNING, depth, 1, 2)).find_map(|f| f.trace);
        let trace = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        eprintln!("{bug:?}: {trace:?}");
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound.max(1) as u64) as usize
    }
}

/// Whether a schedule of `steps` steps repeats a nonce, and how many ranges were given out in it.
fn schedule(bug: Bug, seed: u64, steps: usize) -> (bool, usize) {
    let mut random = Random(seed);
    let mut world = World::new(bug);
    for _ in 0..steps {
        let actions = world.actions(6, 12);
        // Nodes that run, talk and send are the rule; those that draw epochs or die are not.
        let weight = |action: &Action| match action {
            Action::Send(..) | Action::Tell(..) | Action::Deliver(_) | Action::Make(_) => 6,
            Action::TakeOver(_) | Action::Restart(_) => 4,
            Action::StepDown(_) | Action::Prepare(_) | Action::Crash(_) | Action::Forget(..) => 2,
            Action::GiveUp(_)
            | Action::DieAfterWrite(_)
            | Action::WriteFails(..)
            | Action::ReplaceDisk(_) => 1,
        };
        let mut at = random.below(actions.iter().map(weight).sum());
        let chosen = actions.iter().find(|action| {
            let here = at < weight(action);
            at = at.saturating_sub(weight(action));
            here
        });
        if let Some(&action) = chosen
            && world.act(action).is_err()
        {
            return (true, world.ranges);
        }
        // What is old enough is lost at last, so that news gets through.
        if world.wire.len() >= 12 {
            let lost = random.below(world.wire.len());
            world.wire.remove(lost);
        }
    }
    (false, world.ranges)
}

fn seeds() -> Vec<u64> {
    match std::env::var("REMPART_SEED") {
        Ok(seed) => vec![seed.parse().expect("REMPART_SEED is a number")],
        Err(_) => (0..if full() { 1_000_000 } else { 20_000 }).collect(),
    }
}

#[test]
fn no_nonce_repeats_in_long_random_schedules() {
    let mut ranges = 0;
    for seed in seeds() {
        let (repeated, given) = schedule(Bug::None, seed, 120);
        assert!(!repeated, "a nonce was used twice: REMPART_SEED={seed}");
        ranges += given;
    }
    eprintln!("{ranges} ranges of imported keys");
    assert!(ranges > 10 || std::env::var_os("REMPART_SEED").is_some());
}

#[test]
fn random_schedules_find_what_is_planted() {
    for bug in BUGS {
        let found = (0..20_000).find(|seed| schedule(bug, *seed, 120).0);
        assert!(found.is_some(), "{bug:?} was not found");
        eprintln!("{bug:?}: seed {found:?}");
    }
}
