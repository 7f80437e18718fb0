//! Random policies, random packets: the kernel and the evaluator agree.

use rempart_config::model::{ICMP, ICMP6};
use rempart_kernel_tests::document::{self, Draft};
use rempart_kernel_tests::judge::{Report, compare};
use rempart_kernel_tests::node::in_namespace;
use rempart_kernel_tests::policy::{Policy, facts};
use rempart_kernel_tests::random::{Random, seed};
use rempart_kernel_tests::traffic::Traffic;
use rempart_plan::eval::{Arrival, Packet};
use rempart_plan::nft::{Content, Ruleset};
use rempart_plan::{Facts, Ids};

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

fn traffic(policy: &Policy, r: &mut Random) -> Vec<Packet> {
    let mut traffic = Traffic::new(policy);
    (0..PACKETS).map(|_| traffic.next(r)).collect()
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
            let packets = traffic(&policy, &mut r);
            let report = compare(&policy, &policy.plan.ruleset, &packets).await.expect("the harness works");
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

/// A policy that lets everything through and one packet of each ICMP type in, both families; the evaluator knows which
/// types the kernel tracks, leaves alone and takes for invalid. The type 153 was wrong once (random seed 33).
#[test]
fn every_icmp_type_is_tracked_as_the_evaluator_says() {
    let text = "version = 1\nnode = \"fw\"\n\
        [interface.a]\ndevice = \"a0\"\nzone = \"a\"\naddress = [\"192.168.1.1/24\", \"fd00:1::1/64\"]\n\
        [interface.b]\ndevice = \"b0\"\nzone = \"b\"\naddress = [\"192.168.2.1/24\", \"fd00:2::1/64\"]\n\
        [zone.a]\n[zone.b]\n[[flow]]\nfrom = \"a\"\nto = \"b\"\nallow = [\"any\"]\n";
    let model = rempart_config::read(text).model.expect("a model");
    let policy = Policy::new(text.into(), model, Facts::default(), Ids::default()).expect("a plan");
    let arrival =
        policy.plan.world.leg_towards("192.168.1.9".parse().unwrap()).map(Arrival::Leg).expect("a leg");
    let both = [("192.168.1.9", "192.168.2.9", ICMP), ("fd00:1::9", "fd00:2::9", ICMP6)];
    let packets: Vec<Packet> = both
        .into_iter()
        .flat_map(|(source, destination, protocol)| {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            // The identifier of an echo, so that no two packets are one connection.
            (0..=u16::from(u8::MAX)).map(move |port| Packet {
                arrival,
                source,
                destination,
                protocol,
                source_port: 1000 + port,
                port,
            })
        })
        .collect();
    let run = in_namespace(move || async move {
        compare(&policy, &policy.plan.ruleset, &packets).await.expect("the harness works")
    });
    let Some(report) = run else { return };
    assert_eq!(report.differences, Vec::<String>::new());
    assert_eq!(report.packets, 512);
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
            let packets = traffic(&policy, &mut r);
            compare(&policy, &ruleset, &packets).await.expect("the harness works").differences
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
    for map in ruleset.maps.values_mut() {
        let Some(kind) = map.kind.strip_suffix(" : mark") else { continue };
        let Some(place) = kind.split(" . ").position(|field| field == "inet_service") else { continue };
        let Content::Elements(elements) = &mut map.content else { continue };
        let shortened = std::mem::take(elements).into_iter().map(|(key, value)| {
            let mut fields: Vec<String> = key.split(" . ").map(str::to_owned).collect();
            if let Some(shorter) = fields.get(place).and_then(|ports| one_less(ports)) {
                fields[place] = shorter;
                planted += 1;
            }
            (fields.join(" . "), value)
        });
        *elements = shortened.collect();
    }
    planted
}

/// A range of ports without its last one, unless it is all of them or one.
fn one_less(ports: &str) -> Option<String> {
    let (lo, hi) = ports.split_once('-')?;
    let (lo, hi): (u16, u16) = (lo.parse().ok()?, hi.parse().ok()?);
    (hi < u16::MAX && lo < hi).then(|| format!("{lo}-{}", hi - 1))
}
