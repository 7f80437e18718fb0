//! The benchmarks: what the policy costs in the kernel and to plan, beside a plain linear chain of the same lines.
//!
//! `cargo run --release -p rempart-bench` prints a table and writes `target/bench/report.json`;
//! `REMPART_BENCH_QUICK=1` makes fewer and shorter runs. Needs root: everything happens in network namespaces that
//! the bench makes. A part of a name as an argument runs only what has it. Ours and the peer run in turn in the same run; figures are medians.
//!
//! | name | what is measured |
//! | --- | --- |
//! | `policy.forward.N` | packets a second of UDP connections of ten packets each, spread over a policy of N lines |
//! | `policy.connect.N` | new connections a second, spread over a policy of N lines |
//! | `policy.plan.N` | reading the text of a document of N lines and planning it |
//! | `policy.apply.N` | from an empty table to the policy in force |
//! | `policy.change.N` | from the text of the next document, one line changed, to the policy in force |
//! | `policy.blocklist.100k` | the same with a block list of 100,000 prefixes, from an empty table |
//! | `….memory.N` | peak of memory of the process: ours for the plan, `nft` for the others |
//!
//! The protection against spoofed sources is off, because the linear chain has none.

mod child;
#[path = "pair/journal/mod.rs"]
mod journal;
mod pair;
mod policy;
mod report;
mod side;
mod vpn;

use std::fs;
use std::path::PathBuf;

use rempart_kernel_tests::node::Failure;
use rempart_plan::{Facts, Ids};

use child::{Cost, Task, measure};
use report::{Better, Report};
use side::{Order, Side};

const SIZES: [usize; 3] = [10, 1_000, 10_000];
const LARGE: usize = 10_000;
const PREFIXES: usize = 100_000;
const LINEAR: &str = "linear nft chain";

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    runs: usize,
    /// Connections of one run of ours, and of the peer at the largest size, where each takes a hundred times as long.
    connections: usize,
    slow: usize,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, task, files @ ..] = arguments.as_slice()
        && flag == "--measure"
    {
        return child::serve(task, files);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("the bench needs root, for network namespaces and nftables in them".into());
    }
    let quick = std::env::var_os("REMPART_BENCH_QUICK").is_some();
    let effort = match quick {
        true => Effort { runs: 3, connections: 5_000, slow: 500 },
        false => Effort { runs: 7, connections: 20_000, slow: 2_000 },
    };
    let mut report = Report::default();
    let wanted = |name: &str| arguments.first().is_none_or(|part| name.contains(part.as_str()));
    traffic(&mut report, effort, &wanted)?;
    let folder =
        PathBuf::from(std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into())).join("bench");
    fs::create_dir_all(&folder)?;
    costs(&mut report, &folder, effort.runs.max(5), &wanted)?;
    pair::run(&mut report, quick, &folder, &wanted)?;
    journal::run(&mut report, quick, &wanted)?;
    if arguments.first().is_some_and(|name| name == "pair.large") {
        journal::large(&mut report)?;
    }
    vpn::run(&mut report, quick, &folder, &wanted)?;
    report.print();
    bars(&report);
    pair::bars(&report);
    vpn::bars(&report);
    let path = folder.join("report.json");
    fs::write(&path, report.json()?)?;
    println!("\nwritten to {}", path.display());
    Ok(())
}

/// The two sides of one size of the policy, and what they have reached.
struct Match {
    size: usize,
    /// Ours, then the peer.
    sides: [Side; 2],
    figures: [Vec<f64>; 2],
}

impl Match {
    fn new(size: usize) -> Result<Self, Failure> {
        eprintln!("a policy of {size} lines …");
        let lines = policy::lines(size);
        let plan = policy::plan(policy::document(&lines, false), Facts::default(), Ids::default())?;
        let script = plan.plan.ruleset.script().text;
        let ours = Side::new("ours", plan.clone(), lines.clone(), script)?;
        let peer = Side::new("peer", plan, lines.clone(), policy::linear(&lines))?;
        Ok(Self { size, sides: [ours, peer], figures: Default::default() })
    }
}

/// Packets and connections a second. The sizes take turns, because they are compared with each other too.
fn traffic(report: &mut Report, effort: Effort, wanted: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
    for (name, unit, order) in [
        ("forward", "packets/s", Order::Forward as fn(usize) -> Order),
        ("connect", "connections/s", Order::Connect as fn(usize) -> Order),
    ] {
        let full_name = |size: usize| format!("policy.{name}.{size}");
        let sizes = SIZES.into_iter().filter(|size| wanted(&full_name(*size)));
        let mut matches = sizes.map(Match::new).collect::<Result<Vec<_>, _>>()?;
        let count = |n: usize| order(if name == "forward" { n / 4 } else { n });
        for side in matches.iter().flat_map(|m| &m.sides) {
            side.run(order(100))?;
        }
        for _ in 0..effort.runs {
            for Match { size, sides, figures } in &mut matches {
                let slow = if *size == LARGE { effort.slow } else { effort.connections };
                for ((side, connections), out) in sides.iter().zip([effort.connections, slow]).zip(figures) {
                    out.push(side.run(count(connections))?);
                }
            }
        }
        for Match { size, figures: [ours, peer], .. } in matches {
            let peer = Some((median(peer), LINEAR));
            report.add(&full_name(size), median(ours), peer, unit, Better::Higher);
        }
    }
    Ok(())
}

/// Time and memory to plan and to apply.
fn costs(
    report: &mut Report,
    folder: &std::path::Path,
    runs: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Failure> {
    let file = |name: &str, text: String| -> Result<String, Failure> {
        let path = folder.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let lines = policy::lines(LARGE);
    let mut changed = lines.clone();
    // The last line that lets something through becomes another one.
    changed[LARGE - 1] = policy::lines(LARGE + 4)[LARGE + 3];
    let document = file("document.toml", policy::document(&lines, false))?;
    let next = file("changed.toml", policy::document(&changed, false))?;
    let small = file("small.toml", policy::document(&lines[..10], true))?;
    let linear = file("linear.nft", policy::linear(&lines))?;
    let rule = file("rule.nft", policy::linear_rule(&changed[LARGE - 1]))?;
    let set = file("set.nft", policy::linear_set(PREFIXES))?;

    type Both = (Task, Vec<String>);
    let pairs: [(&str, &str, Both, Both, &str); 4] = [
        (
            "policy.plan.10000",
            "policy.plan.memory.10000",
            (Task::Plan, vec![document.clone()]),
            (Task::NftCheck, vec![linear.clone()]),
            "nft -c, linear chain",
        ),
        (
            "policy.apply.10000",
            "policy.apply.memory.10000",
            (Task::Apply, vec![document.clone()]),
            (Task::Nft, vec![linear.clone()]),
            "nft -f, linear chain",
        ),
        (
            "policy.change.10000",
            "",
            (Task::Change, vec![document, next]),
            (Task::NftReplace, vec![linear, rule]),
            "nft replace rule, linear chain",
        ),
        (
            "policy.blocklist.100k",
            "policy.blocklist.memory.100k",
            (Task::Blocklist(PREFIXES), vec![small]),
            (Task::Nft, vec![set]),
            "nft -f, plain set",
        ),
    ];
    for (time, memory, ours, peer, peer_name) in pairs {
        if !wanted(time) && !wanted(memory) {
            continue;
        }
        eprintln!("{time} …");
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            for ((task, files), out) in [(&ours, &mut a), (&peer, &mut b)] {
                out.push(measure(*task, &files.iter().map(String::as_str).collect::<Vec<_>>())?);
            }
        }
        let seconds = |c: &[Cost]| median(c.iter().map(|c| c.seconds).collect());
        report.add(time, seconds(&a), Some((seconds(&b), peer_name)), "s", Better::Lower);
        if !memory.is_empty() {
            let own = ours.0 == Task::Plan;
            let mib = |c: &[Cost], own: bool| {
                median(c.iter().map(|c| if own { c.own_mib } else { c.nft_mib }).collect())
            };
            report.add(memory, mib(&a, own), Some((mib(&b, false), peer_name)), "MiB", Better::Lower);
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the design asks for, as far as it was measured.
fn bars(report: &Report) {
    println!();
    for name in ["forward", "connect"] {
        let [small, large] = [SIZES[0], LARGE].map(|size| report.ours(&format!("policy.{name}.{size}")));
        if let (Some(small), Some(large)) = (small, large) {
            report::bar(&format!("policy.{name}: 10,000 lines as fast as 10"), large / small, ">=", 0.8, "");
        }
    }
    for (name, seconds) in [("policy.plan.10000", 0.5), ("policy.apply.10000", 2.0)] {
        if let Some(took) = report.ours(name) {
            report::bar(name, took, "<", seconds, " s");
        }
    }
}
