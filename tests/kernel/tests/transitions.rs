//! From one policy to the next: whichever way the transaction is found, the kernel ends up with the same table,
//! and what is counted goes on being counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use rempart_kernel_tests::document;
use rempart_kernel_tests::listing::{listing, names};
use rempart_kernel_tests::node::{Failure, in_namespace};
use rempart_kernel_tests::policy::{Policy, facts};
use rempart_kernel_tests::random::{Random, seed};
use rempart_plan::Ids;
use rempart_plan::nft::{Base, Names, Ruleset, TABLE};
use rempart_system::nft::{Counter, Nft};

/// Changes that one random document goes through before there is another one.
const CHANGES: usize = 8;

/// Random steps A → B in; the listing of B is the same by the difference to A, by A's names alone, and from
/// nothing, and the counters of A that B has too keep their values.
#[test]
fn every_way_leads_to_the_same_table() {
    let wanted = if std::env::var_os("REMPART_FULL").is_some() { 400 } else { 32 };
    let first = seed(1);
    let ran = in_namespace(move || async move {
        let nft = Nft::new("nft", Duration::from_secs(60));
        let mut steps = 0;
        for seed in first.. {
            let mut r = Random::new(seed);
            let mut draft = document::random(&mut r);
            let Some(model) = draft.settle() else { continue };
            let facts_now = facts(&mut r, &model);
            let mut now = Policy::new(draft.text(), model, facts_now, Ids::default()).expect("compiles");
            for change in 0..CHANGES {
                // Mostly one flow, now and then everything.
                if change == CHANGES / 2 {
                    draft = document::random(&mut r);
                } else {
                    draft.change(&mut r);
                }
                let Some(model) = draft.settle() else { break };
                let facts_next = if r.chance(30) { facts(&mut r, &model) } else { now.facts.clone() };
                let next = Policy::new(draft.text(), model, facts_next, now.ids.clone()).expect("compiles");
                if let Err(problem) = step(&nft, &now.plan.ruleset, &next.plan.ruleset).await {
                    panic!(
                        "REMPART_SEED={seed}, change {change}: {problem}\n--- from\n{}\n--- to\n{}",
                        now.text, next.text
                    );
                }
                now = next;
                steps += 1;
                if steps >= wanted {
                    return steps;
                }
            }
        }
        steps
    });
    if let Some(steps) = ran {
        println!("{steps} steps, each by the difference and by names: 0 different");
    }
}

async fn step(nft: &Nft, from: &Ruleset, to: &Ruleset) -> Result<(), Failure> {
    let _ = nft.apply(&format!("delete table inet {TABLE}")).await;
    nft.apply(&to.script().text).await?;
    let wanted = listing().await?;
    for by_difference in [true, false] {
        let before = begin(nft, from).await?;
        let names = names(nft.objects(TABLE).await?.ok_or("no table")?);
        if names != from.names() {
            return Err(format!("the kernel has other names: {:?}", difference(&names, &from.names())).into());
        }
        let base = if by_difference { Base::Ruleset(from) } else { Base::Names(&names) };
        let scripts = to.scripts(base).list;
        let way = if by_difference { "by the difference" } else { "by the names" };
        for (n, script) in scripts.iter().enumerate() {
            let failed = |e| format!("{way}, transaction {} of {}: {e}", n + 1, scripts.len());
            nft.apply(&script.text).await.map_err(failed)?;
        }
        let how = format!("{way}, in {} transactions", scripts.len());
        let got = listing().await?;
        if got != wanted {
            let mut text = format!("another table {how}:");
            let (a, b): (BTreeSet<_>, BTreeSet<_>) = (got.iter().collect(), wanted.iter().collect());
            a.difference(&b).take(5).try_for_each(|line| write!(text, "\n  has    {line}"))?;
            b.difference(&a).take(5).try_for_each(|line| write!(text, "\n  wanted {line}"))?;
            return Err(text.into());
        }
        for (name, counter) in nft.counters(TABLE).await? {
            let kept = before.get(&name).copied().unwrap_or_default();
            if counter != kept {
                return Err(format!("{how}: counter {name} is {counter:?} instead of {kept:?}").into());
            }
        }
    }
    Ok(())
}

/// Puts `ruleset` into the kernel with a different value in each counter.
async fn begin(nft: &Nft, ruleset: &Ruleset) -> Result<BTreeMap<String, Counter>, Failure> {
    nft.apply(&format!("delete table inet {TABLE}")).await?;
    let values: BTreeMap<String, Counter> = (1..)
        .zip(&ruleset.counters)
        .map(|(n, name)| (name.clone(), Counter { packets: n, bytes: n * 100 }))
        .collect();
    let mut text = format!("table inet {TABLE} {{\n");
    for (name, Counter { packets, bytes }) in &values {
        writeln!(text, " counter {name} {{ packets {packets} bytes {bytes} }}")?;
    }
    text.push_str("}\n");
    nft.apply(&text).await?;
    let counters = Names { counters: ruleset.counters.clone(), ..Names::default() };
    for script in ruleset.scripts(Base::Names(&counters)).list {
        nft.apply(&script.text).await?;
    }
    Ok(values)
}

fn difference(a: &Names, b: &Names) -> Vec<String> {
    let pairs = [
        (&a.chains, &b.chains),
        (&a.maps, &b.maps),
        (&a.sets, &b.sets),
        (&a.counters, &b.counters),
        (&a.helpers, &b.helpers),
    ];
    pairs.iter().flat_map(|(a, b)| a.symmetric_difference(b).cloned()).collect()
}
