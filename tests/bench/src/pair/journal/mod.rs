//! The replication of connections: how late, at what cost, and whether anything is missing; beside conntrackd from
//! Debian, which puts what it hears into the standby's kernel too (FTFW, no external cache), in the same run.
//!
//! ```text
//!  namespace a                                  namespace b
//!  generator ─▶ kernel ─▶ journal ══ cable ══▶ journal ─▶ kernel
//!                          or conntrackd        or conntrackd
//! ```
//!
//! | name | what is measured |
//! | --- | --- |
//! | `pair.journal.delay.p50`, `.p99` | from the creation of a connection in one kernel to its creation in the other, by the kernels' own time stamps, at 2,000 new in a second |
//! | `pair.journal.cpu.active`, `.standby` | processor seconds for 100,000 connections at 20,000 in a second |
//! | `pair.journal.kernel.alone`, `.heard` | seconds in which the kernel alone takes 100,000 connections: see below |
//! | `pair.journal.burst.missing` | of 240,000 connections at 80,000 in a second, missing one second after the last |
//! | `pair.journal.burst.rate` | how many in a second the generator really made then |
//! | `pair.journal.burst.overruns` | how often the kernel could not deliver events then (`ENOBUFS`) |
//! | `pair.bulk.100k`, `.260k` | from the start of an empty standby to so many connections in its kernel |
//! | `pair.outage.5s` | from the end of a cut of five seconds, in which 10,000 connections came, to a standby that has them |
//! | `pair.memory.260k` | peak of memory of the larger process, with 260,000 connections |
//! | `pair.large.bulk` | the bulk copy with 1,000,000 connections; only when asked for by name (`make bench-large`) |
//! | `pair.large.memory.active`, `.standby` | memory of each process after that, and its peak (`.peak`) |
//!
//! Connections are established TCP connections through source translation, made through ctnetlink. The generator has a
//! processor's time too, and there are two processors: what is said about 80,000 in a second is about a full machine.

mod node;
mod stage;
mod traffic;

use std::time::Duration;

use rempart_kernel_tests::node::Failure;

use crate::report::{Better, Report, bar};
use stage::{KernelRoom, Product, Stage};
use traffic::Traffic;

const PEER: &str = "conntrackd FTFW";

/// Ours and the peer; `REMPART_BENCH_ALONE=1` leaves the peer out.
fn products() -> impl Iterator<Item = Product> {
    let alone = std::env::var_os("REMPART_BENCH_ALONE").is_some();
    [Product::Ours, Product::Peer].into_iter().filter(move |product| *product == Product::Ours || !alone)
}

/// Measures everything whose name is wanted. In a process that was started as a node it is a node until that is over.
pub fn run(report: &mut Report, quick: bool, wanted: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
    if let Some(index) = node::index() {
        node::serve(index)?;
        std::process::exit(0);
    }
    let runs = if quick { 1 } else { 5 };
    if wanted("pair.journal.delay") {
        delay(report, runs, if quick { 2 } else { 10 })?;
    }
    if wanted("pair.journal.cpu") {
        cpu(report, runs)?;
    }
    if wanted("pair.journal.kernel") || wanted("pair.journal.cpu") {
        kernel(report, runs)?;
    }
    if wanted("pair.journal.burst") {
        burst(report, runs)?;
    }
    if wanted("pair.outage.5s") {
        outage(report, runs)?;
    }
    for (name, count) in [("pair.bulk.100k", 100_000), ("pair.bulk.260k", 260_000)] {
        if wanted(name) || count == 260_000 && wanted("pair.memory.260k") {
            bulk(report, name, count, runs)?;
        }
    }
    bars(report);
    Ok(())
}

/// A million connections: what `make bench-large` runs. It takes minutes, and room in the kernel for two million.
pub fn large(report: &mut Report) -> Result<(), Failure> {
    const COUNT: u32 = 1_000_000;
    let _room = KernelRoom::make(2 * COUNT + COUNT / 4)?;
    let copy = Stage::bulk(Product::Ours, COUNT, Duration::from_secs(120))?;
    eprintln!("pair.large: {copy}");
    if copy.there != COUNT {
        return Err(format!("only {} of {COUNT} connections are at the standby", copy.there).into());
    }
    report.add("pair.large.bulk", copy.took.as_secs_f64(), None, "s", Better::Lower);
    for (side, memory) in ["active", "standby"].into_iter().zip(copy.memory) {
        report.add(&format!("pair.large.memory.{side}"), memory.now_mib, None, "MiB", Better::Lower);
        report.add(&format!("pair.large.memory.{side}.peak"), memory.peak_mib, None, "MiB", Better::Lower);
    }
    Ok(())
}

/// What the issue asks for, of what was measured.
fn bars(report: &Report) {
    for (name, wanted, unit) in [
        ("pair.journal.delay.p50", 0.12, " ms"),
        ("pair.journal.delay.p99", 2.0, " ms"),
        ("pair.journal.cpu.active", 0.6, " s"),
        ("pair.journal.cpu.standby", 0.8, " s"),
        ("pair.journal.burst.missing", 0.5, ""),
        ("pair.outage.5s", 0.3, " s"),
        ("pair.bulk.260k", 1.2, " s"),
        // 40 MB.
        ("pair.memory.260k", 38.1, " MiB"),
    ] {
        if let Some(ours) = report.ours(name) {
            bar(name, ours, "<", wanted, unit);
        }
    }
}

/// Figures of one kind, ours and the peer's.
#[derive(Default)]
struct Figures([Vec<f64>; 2]);

impl Figures {
    fn add(&mut self, product: Product, value: f64) {
        self.0[product as usize].push(value);
    }

    fn report(&self, report: &mut Report, name: &str, unit: &'static str, better: Better) {
        let [ours, peer] = self.0.each_ref().map(|values| median(values));
        report.add(name, ours, (!peer.is_nan()).then_some((peer, PEER)), unit, better);
    }
}

fn delay(report: &mut Report, runs: usize, seconds: u32) -> Result<(), Failure> {
    let (mut p50, mut p99) = (Figures::default(), Figures::default());
    for run in 0..runs {
        for product in products() {
            let stage = Stage::new(product)?;
            stage.keep_time()?;
            let count = 2_000 * seconds;
            stage.generate(Traffic { first: 0, count, rate: 2_000 })?;
            stage.wait_for(count, Duration::from_secs(5));
            let delays = stage.delays()?;
            let (middle, late) = (quantile(&delays, 0.5), quantile(&delays, 0.99));
            let (most, missing) = (quantile(&delays, 1.0), count as usize - delays.len());
            eprintln!(
                "pair.journal.delay {run} {product:?}: p50 {middle:.3} p99 {late:.3} worst {most:.3} ms, {missing} missing"
            );
            p50.add(product, middle);
            p99.add(product, late);
        }
    }
    p50.report(report, "pair.journal.delay.p50", "ms", Better::Lower);
    p99.report(report, "pair.journal.delay.p99", "ms", Better::Lower);
    Ok(())
}

fn cpu(report: &mut Report, runs: usize) -> Result<(), Failure> {
    let (mut active, mut standby) = (Figures::default(), Figures::default());
    for run in 0..runs {
        for product in products() {
            let stage = Stage::new(product)?;
            let before = stage.processor_seconds()?;
            stage.generate(Traffic { first: 0, count: 100_000, rate: 20_000 })?;
            let there = stage.wait_for(100_000, Duration::from_secs(5));
            let after = stage.processor_seconds()?;
            let [a, b] = [after[0] - before[0], after[1] - before[1]];
            eprintln!("pair.journal.cpu {run} {product:?}: active {a:.3} standby {b:.3} s, {there} there");
            active.add(product, a);
            standby.add(product, b);
        }
    }
    active.report(report, "pair.journal.cpu.active", "s/100k", Better::Lower);
    standby.report(report, "pair.journal.cpu.standby", "s/100k", Better::Lower);
    Ok(())
}

fn kernel(report: &mut Report, runs: usize) -> Result<(), Failure> {
    let mut figures = [Vec::new(), Vec::new()];
    for run in 0..runs {
        let [alone, heard] = Stage::written(100_000)?;
        eprintln!("pair.journal.kernel {run}: alone {alone:.3} heard {heard:.3} s");
        figures[0].push(alone);
        figures[1].push(heard);
    }
    for (name, values) in ["alone", "heard"].into_iter().zip(&figures) {
        report.add(&format!("pair.journal.kernel.{name}"), median(values), None, "s/100k", Better::Lower);
    }
    Ok(())
}

fn burst(report: &mut Report, runs: usize) -> Result<(), Failure> {
    const COUNT: u32 = 240_000;
    let (mut missing, mut rate, mut overruns) = <(Figures, Figures, Figures)>::default();
    for run in 0..runs {
        for product in products() {
            let stage = Stage::new(product)?;
            let took = stage.generate(Traffic { first: 0, count: COUNT, rate: 80_000 })?;
            let there = stage.wait_for(COUNT, Duration::from_secs(1));
            let reached = f64::from(COUNT) / took.as_secs_f64();
            eprintln!(
                "pair.journal.burst {run} {product:?}: {} missing after 1 s, made at {reached:.0}/s; {}",
                COUNT - there,
                stage.words()
            );
            missing.add(product, f64::from(COUNT - there));
            rate.add(product, reached);
            if let Some(count) = stage.overruns()? {
                overruns.add(product, count);
            }
        }
    }
    missing.report(report, "pair.journal.burst.missing", "of 240,000", Better::Lower);
    rate.report(report, "pair.journal.burst.rate", "new/s", Better::Higher);
    overruns.report(report, "pair.journal.burst.overruns", "times", Better::Lower);
    Ok(())
}

fn outage(report: &mut Report, runs: usize) -> Result<(), Failure> {
    let mut figures = Figures::default();
    for run in 0..runs {
        for product in products() {
            let stage = Stage::new(product)?;
            stage.generate(Traffic { first: 0, count: 100_000, rate: 50_000 })?;
            stage.wait_for(100_000, Duration::from_secs(10));
            stage.cut(true)?;
            stage.generate(Traffic { first: 100_000, count: 10_000, rate: 2_000 })?;
            stage.cut(false)?;
            let begin = std::time::Instant::now();
            let there = stage.wait_for(110_000, Duration::from_secs(10));
            let took = begin.elapsed().as_secs_f64();
            eprintln!(
                "pair.outage.5s {run} {product:?}: {took:.3} s, {there} of 110000 there; {}",
                stage.words()
            );
            figures.add(product, took);
        }
    }
    figures.report(report, "pair.outage.5s", "s", Better::Lower);
    Ok(())
}

fn bulk(report: &mut Report, name: &str, count: u32, runs: usize) -> Result<(), Failure> {
    let (mut time, mut memory) = (Figures::default(), Figures::default());
    for run in 0..runs {
        for product in products() {
            let copy = Stage::bulk(product, count, Duration::from_secs(20))?;
            eprintln!("{name} {run} {product:?}: {copy}");
            time.add(product, copy.took.as_secs_f64());
            let [a, b] = copy.memory;
            memory.add(product, a.peak_mib.max(b.peak_mib));
        }
    }
    time.report(report, name, "s", Better::Lower);
    if count == 260_000 {
        memory.report(report, "pair.memory.260k", "MiB", Better::Lower);
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * part) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
