//! Two nodes that are one firewall: what a fault costs, beside keepalived and conntrackd in the same run.
//!
//! | name | what is measured |
//! | --- | --- |
//! | `pair.powercut.lost` | packets of a 1 ms stream lost when the active loses power; the worse of up and replies |
//! | `pair.powercut.lost.250k` | the same with 250,000 connections |
//! | `pair.cable.lost` | the same when the active's cable to the LAN is pulled |
//! | `pair.kill.lost` | the same when the active's elector is killed |
//! | `pair.planned.lost.100k` | the same when the role is handed over and back with 100,000 connections, and echoes of the virtual address |
//! | `pair.tcp.survived` | TCP connections of 42 that survive the power cut: 22 through source translation, 20 published |
//! | `pair.tcp.gap` | the longest silence on any of them, in milliseconds |
//! | `pair.false_takeovers` | changes of role while four busy loops have the processors |
//!
//! Each also as `….worst`: the worst of all runs.

mod outage;
pub mod peers;
pub mod side;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rempart_kernel_tests::node::Failure;
use rempart_lab::traffic::Outage;
use rempart_lab::{Lab, Process};

use crate::report::{Better, Report, bar};
use outage::measure;
use peers::Setting;
use side::{Fault, Pair, Product};

const PEER: &str = "keepalived 100 ms, conntrackd FTFW";
pub const DEFAULT_PEER: Product =
    Product::Peer(Setting { advert_ms: 100, external_cache: true, preempt: false });
/// Busy loops of the search for false take-overs.
const HOGS: usize = 4;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    runs: usize,
    hogs: Duration,
}

/// A fault, with what it is called and how many connections there are.
struct Case {
    name: &'static str,
    fault: Fault,
    connections: u32,
    /// How long after the fault is watched.
    after: Duration,
}

const CASES: [Case; 5] = [
    Case {
        name: "pair.powercut.lost",
        fault: Fault::PowerCut,
        connections: 0,
        after: Duration::from_millis(2000),
    },
    Case { name: "pair.cable.lost", fault: Fault::Cable, connections: 0, after: Duration::from_millis(1500) },
    Case { name: "pair.kill.lost", fault: Fault::Kill, connections: 0, after: Duration::from_millis(1000) },
    Case {
        name: "pair.planned.lost.100k",
        fault: Fault::Planned,
        connections: 100_000,
        after: Duration::from_millis(2000),
    },
    Case {
        name: "pair.powercut.lost.250k",
        fault: Fault::PowerCut,
        connections: 250_000,
        after: Duration::from_millis(6000),
    },
];

/// Measures everything whose name is wanted.
pub fn run(
    report: &mut Report,
    quick: bool,
    folder: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Failure> {
    let effort = match quick {
        true => Effort { runs: 3, hogs: Duration::from_secs(30) },
        false => Effort { runs: 10, hogs: Duration::from_secs(600) },
    };
    for case in &CASES {
        let tcp = case.name == "pair.powercut.lost" && wanted("pair.tcp");
        if wanted(case.name) || tcp {
            outages(report, case, effort.runs, folder)?;
        }
    }
    if wanted("pair.false_takeovers") {
        false_take_overs(report, effort.hogs, folder)?;
    }
    Ok(())
}

/// Both products in turn, on laboratories of their own.
fn outages(report: &mut Report, case: &Case, runs: usize, folder: &Path) -> Result<(), Failure> {
    eprintln!("{} …", case.name);
    let mut sides = [(Product::Ours, Vec::new()), (DEFAULT_PEER, Vec::new())];
    for (product, outages) in &mut sides {
        if only_peer() && *product == Product::Ours {
            continue;
        }
        let mut pair = Pair::up(*product, folder)?;
        if case.connections > 0 {
            pair.load(case.connections)?;
        }
        for run in 0..runs {
            let outage = measure(&mut pair, case.fault, case.after)?;
            eprintln!("  {product:?} {run}: {outage:?}");
            outages.push(outage);
        }
    }
    let [(_, ours), (_, peer)] = sides;
    let mut add = |name: &str, figure: &dyn Fn(&Outage) -> f64, unit, better| {
        let of = |outages: &[Outage]| outages.iter().map(figure).collect::<Vec<_>>();
        let (ours, peer) = (of(&ours), of(&peer));
        report.add(name, median(&ours), Some((median(&peer), PEER)), unit, better);
        let worst = |figures: &[f64]| match better {
            Better::Lower => figures.iter().copied().fold(f64::NAN, f64::max),
            Better::Higher => figures.iter().copied().fold(f64::NAN, f64::min),
        };
        report.add(&format!("{name}.worst"), worst(&ours), Some((worst(&peer), PEER)), unit, better);
    };
    match case.fault {
        Fault::Planned => {
            add(case.name, &|o| o.lost().max(o.echo) as f64, "ms lost", Better::Lower);
        }
        Fault::PowerCut | Fault::Cable | Fault::Kill => {
            add(case.name, &|o| o.lost() as f64, "ms lost", Better::Lower);
        }
    }
    if case.name == "pair.powercut.lost" {
        add("pair.tcp.survived", &|o| o.survived() as f64, "of 42", Better::Higher);
        add("pair.tcp.gap", &|o| o.longest_pause_ms() as f64, "ms", Better::Lower);
    }
    Ok(())
}

/// Roles that change for no reason.
fn false_take_overs(report: &mut Report, duration: Duration, folder: &Path) -> Result<(), Failure> {
    eprintln!("pair.false_takeovers …");
    let count = |product: Product| -> Result<f64, Failure> {
        let pair = Pair::up(product, folder)?;
        let before = pair.take_overs()?;
        let hogs = (0..HOGS).map(|_| hog(&pair.lab)).collect::<Result<Vec<_>, Failure>>()?;
        let end = Instant::now() + duration;
        while Instant::now() < end {
            thread::sleep(Duration::from_secs(1));
        }
        drop(hogs);
        Ok((pair.take_overs()? - before) as f64)
    };
    let ours = if only_peer() { f64::NAN } else { count(Product::Ours)? };
    // At the interval that our heartbeats have, and as it comes: without real-time priority.
    let peer = count(Product::Peer(Setting { advert_ms: 10, external_cache: true, preempt: true }))?;
    let name = "pair.false_takeovers";
    report.add(name, ours, Some((peer, "keepalived 10 ms")), "take-overs", Better::Lower);
    Ok(())
}

fn hog(lab: &Lab) -> Result<Process, Failure> {
    let host = lab.host("cli-lan");
    let mut command = host.command("sh");
    command.args(["-c", "while :; do :; done"]);
    Ok(host.spawn("hog", command)?)
}

/// What the issue asks for, of what was measured.
pub fn bars(report: &Report) {
    let both = [
        ("pair.powercut.lost", 28.5, 45.5),
        ("pair.powercut.lost.250k", 28.5, 45.5),
        ("pair.cable.lost", 3.5, 3.5),
        ("pair.kill.lost", 3.5, 3.5),
        ("pair.planned.lost.100k", 0.5, 0.5),
    ];
    let check = |name: &str, relation, wanted, unit| {
        if let Some(ours) = report.ours(name) {
            bar(name, ours, relation, wanted, unit);
        }
    };
    for (name, median, worst) in both {
        check(name, "<", median, " ms");
        check(&format!("{name}.worst"), "<", worst, " ms");
    }
    check("pair.tcp.survived.worst", ">=", 42.0, "");
    check("pair.tcp.gap", "<", 260.5, " ms");
    check("pair.false_takeovers", "<", 0.5, "");
}

fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `REMPART_BENCH_ONLY=peer` leaves ours out, to look at the peer alone.
fn only_peer() -> bool {
    std::env::var_os("REMPART_BENCH_ONLY").is_some_and(|v| v == "peer")
}
