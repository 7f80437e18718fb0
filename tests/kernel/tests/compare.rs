//! Random policies, random packets: the kernel and the evaluator agree.

use rempart_kernel_tests::document::{self, Draft};
use rempart_kernel_tests::judge::{Report, compare};
use rempart_kernel_tests::node::in_namespace;
use rempart_kernel_tests::policy::{Policy, facts};
use rempart_kernel_tests::random::{Random, seed};
use rempart_plan::Ids;
use rempart_plan::nft::{Content, Ruleset};

/// Packets for each policy.
const PACKETS: usize = 512;
/// Most differences that are printed.
const MAX_SHOWN: usize = 8;

fn full() -> bool {
    std::env::var_os("REMPART_FULL").is_some()
}

fn policy(r: &mut Random) -> Option<Policy> {
    let mut draft: Draft = document::random(r);
    let model = draft.settle()?;
    let facts = facts(r, &model);
    Policy::new(draft.text(), model, facts, Ids::default()).ok()
}

/// Random documents and packets in; every packet has the fate, the mark and the counter that the evaluator says.
#[test]
fn kernel_and_evaluator_agree() {
    let wanted: usize = match std::env::var("REMPART_PACKETS") {
        Ok(n) => n.parse().expect("REMPART_PACKETS is a number"),
        Err(_) => {
            if full() {
                100_000
            } else {
                6_000
            }
        }
    };
    let first = seed(1);
    let mut total = Report::default();
    let (mut policies, mut refused) = (0, 0);
    for seed in first.. {
        if total.packets >= wanted {
            break;
        }
        let mut r = Random::new(seed);
        let Some(policy) = policy(&mut r) else {
            refused += 1;
            assert!(refused < 20 + policies, "the reader refuses most documents");
            continue;
        };
        let run = in_namespace(move || async move {
            let report =
                compare(&policy, &policy.plan.ruleset, &mut r, PACKETS).await.expect("the harness works");
            (report, policy)
        });
        let Some((report, policy)) = run else { return };
        policies += 1;
        if !report.differences.is_empty() {
            let shown: Vec<_> = report.differences.iter().take(MAX_SHOWN).map(String::as_str).collect();
            panic!(
                "{}\nREMPART_SEED={seed}: {} of {} packets differ:\n{}",
                policy.text,
                report.differences.len(),
                report.packets,
                shown.join("\n")
            );
        }
        total.packets += report.packets;
        for (decider, count) in report.deciders {
            *total.deciders.entry(decider).or_default() += count;
        }
    }
    println!("{policies} policies ({refused} not read): {total}");
}

/// The right policies and, in the kernel, rulesets whose port ranges all end one too early; the harness must see it.
/// This is what the comparison is worth: a compiler with this fault would be found out.
#[test]
fn a_planted_fault_is_found() {
    let mut found = 0;
    for seed in 1..=PLANTED {
        let mut r = Random::new(seed);
        let Some(policy) = policy(&mut r) else { continue };
        let mut ruleset = policy.plan.ruleset.clone();
        if plant(&mut ruleset) == 0 {
            continue;
        }
        let run = in_namespace(move || async move {
            compare(&policy, &ruleset, &mut r, PACKETS).await.expect("the harness works").differences
        });
        let Some(differences) = run else { return };
        found += usize::from(!differences.is_empty());
    }
    assert!(found >= 2, "an off-by-one in port ranges was found in {found} of {PLANTED} policies only");
}

/// Policies that the fault is planted in.
const PLANTED: u64 = 4;

/// Shortens the port ranges in the maps of the flows by one port, and returns how many.
fn plant(ruleset: &mut Ruleset) -> usize {
    let mut planted = 0;
    for map in ruleset.maps.values_mut().filter(|m| m.kind.ends_with("inet_service : mark")) {
        let Content::Elements(elements) = &mut map.content else { continue };
        let shortened = std::mem::take(elements).into_iter().map(|(key, value)| {
            let range = key.rsplit_once(" . ").and_then(|(head, ports)| {
                let (lo, hi) = ports.split_once('-')?;
                let (lo, hi): (u16, u16) = (lo.parse().ok()?, hi.parse().ok()?);
                (hi < u16::MAX && lo < hi).then(|| format!("{head} . {lo}-{}", hi - 1))
            });
            planted += usize::from(range.is_some());
            (range.unwrap_or(key), value)
        });
        *elements = shortened.collect();
    }
    planted
}
