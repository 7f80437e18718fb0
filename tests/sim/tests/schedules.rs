//! Many schedules; each prints its seed when it finds something.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rempart_sim::{Bug, Outcome, Schedule, Violation, World};

/// Schedules of an ordinary run, and of the full suite.
const SHARE: u64 = 2_000;
const FULL: u64 = 120_000;

fn run(seed: u64, bug: Bug, trace: bool) -> Result<Outcome, Violation> {
    World::new(Schedule::new(seed), bug, trace).run()
}

/// A seed from outside, to be run alone and with a trace.
fn given_seed() -> Option<u64> {
    std::env::var("REMPART_SEED").ok()?.parse().ok()
}

/// Where to begin, so that several machines, or one on several days, can look at different ones.
fn first_seed() -> u64 {
    std::env::var("REMPART_FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(0)
}

fn is_full() -> bool {
    std::env::var_os("REMPART_FULL").is_some()
}

/// All seeds from `first` on, on all cores; the first violation ends it.
fn search(first: u64, count: u64, bug: Bug) -> (Result<(), Violation>, [u64; 4]) {
    let next = AtomicU64::new(first);
    let totals: [AtomicU64; 4] = Default::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return None;
                }
                match run(seed, bug, false) {
                    Ok(outcome) => {
                        totals[0].fetch_add(1, Ordering::Relaxed);
                        totals[1].fetch_add(outcome.events, Ordering::Relaxed);
                        totals[2].fetch_add(outcome.moves.into(), Ordering::Relaxed);
                        totals[3].fetch_add(outcome.rivalries.into(), Ordering::Relaxed);
                    }
                    Err(violation) => {
                        next.store(first + count, Ordering::Relaxed);
                        return Some(violation);
                    }
                }
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().filter_map(|handle| handle.join().expect("a run does not panic")).next()
    });
    (found.map_or(Ok(()), Err), totals.map(AtomicU64::into_inner))
}

/// In: schedules from their seeds, or the one of `REMPART_SEED` with a trace. Out: no violation.
#[test]
fn whatever_happens_there_is_one_active_node() {
    if let Some(seed) = given_seed() {
        let schedule = Schedule::new(seed);
        println!("{:?}, {} paths, {:?}", schedule.kind, schedule.paths, schedule.failback);
        println!("{:?}", run(seed, Bug::None, true).unwrap_or_else(|violation| panic!("{violation}")));
        return;
    }
    let (first, count) = (first_seed(), if is_full() { FULL } else { SHARE });
    let began = Instant::now();
    let (found, [runs, events, moves, rivalries]) = search(first, count, Bug::None);
    println!(
        "{runs} schedules, {events} events, {moves} moves, {rivalries} times two active nodes that heard each other, {:.1} s",
        began.elapsed().as_secs_f32()
    );
    if let Err(violation) = found {
        panic!("{violation}");
    }
    assert_eq!(runs, count);
}

/// In: the product, but the driver hides from it that it slept. Out: a schedule in which a standby that was asleep
/// claims beside a living active node.
#[test]
fn a_missing_stall_guard_is_found() {
    let (found, [runs, ..]) = search(0, 20_000, Bug::NoStallGuard);
    let violation = found.expect_err("found");
    println!("after {runs} schedules: {violation}");
    assert!(violation.what.contains("beside a living active node"), "{violation}");
}

/// In: the product, but the active node sends nothing. Out: found.
#[test]
fn an_active_node_that_does_not_say_so_is_found() {
    let (found, [runs, ..]) = search(0, 20_000, Bug::MuteActive);
    println!("after {runs} schedules: {}", found.expect_err("found"));
}

/// In: the product, but its record never reaches the disk. Out: a schedule in which an epoch is claimed twice.
#[test]
fn a_forgotten_epoch_is_found() {
    let (found, [runs, ..]) = search(0, 20_000, Bug::NoDisk);
    let violation = found.expect_err("found");
    println!("after {runs} schedules: {violation}");
    assert!(violation.what.contains("claims epoch"), "{violation}");
}
