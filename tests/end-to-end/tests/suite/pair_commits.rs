//! One document on two nodes: committed on both, delivered later, or shown as two.

use rempart_end_to_end::{Document, PairStage, SOON, pair};
use rempart_lab::{skip_unless_root, wait_until};

/// The pair's document with one more flow, to a port that tells which.
fn variant(port: u16) -> Document {
    pair().flow("more", "lan", "dmz:server", &format!("allow = [\"tcp/{port}\"]"))
}

/// The ports of the variant's flow in what the kernel of a node holds.
fn in_force(stage: &PairStage, node: usize, port: u16) -> bool {
    let rules = stage.host(stage.name(node)).must(&["nft", "list", "ruleset"]).expect("a listing");
    rules.contains(&port.to_string())
}

/// In: a commit on the active, then one on the standby. Out: each is in force on both when it is done, as the same revision.
#[test]
fn a_commit_is_on_both_nodes() {
    skip_unless_root!();
    let stage = PairStage::up(&pair());
    for (node, port) in [(0, 7201), (1, 7202)] {
        stage.commit(node, &variant(port));
        for n in 0..2 {
            assert_eq!(stage.running(n), variant(port).text(), "on {}", stage.name(n));
            assert!(in_force(&stage, n, port) && stage.status(n).configuration.state == "same");
        }
        assert!(!in_force(&stage, 1 - node, port - 1));
    }
    // The same flow has the same number on both, for it is in the marks of replicated connections.
    let ids = |n: usize| {
        let rules = stage.host(stage.name(n)).must(&["nft", "-s", "list", "counters"]).expect("a listing");
        let mut names: Vec<_> =
            rules.lines().filter(|l| l.contains("counter f")).map(|l| l.trim().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(ids(0), ids(1));
}

/// In: a commit while the other node cannot store it. Out: refused with the reason, and both hold what they held.
#[test]
fn a_commit_that_one_node_cannot_take_is_taken_by_none() {
    skip_unless_root!();
    let mut stage = PairStage::up(&pair());
    let state = stage.nodes[1].state_dir().join("revisions");
    let path = state.to_str().expect("a path");
    // The folder over itself and read-only, as that daemon alone sees it: it goes with the daemon.
    let daemon = stage.nodes[1].daemon().expect("a daemon").pid().to_string();
    for words in [["--bind", path, path].as_slice(), &["-o", "remount,bind,ro", path]] {
        let mut mount = std::process::Command::new("nsenter");
        mount.args(["-t", &daemon, "-m", "mount"]).args(words);
        let output = mount.output().expect("nsenter runs");
        assert!(output.status.success(), "{output:?}");
    }
    let output = stage.try_commit(0, &variant(7203), &[]);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("rte02"), "{said}");
    for n in 0..2 {
        assert_eq!(stage.running(n), pair().text(), "on {}", stage.name(n));
        assert!(!in_force(&stage, n, 7203));
    }
}

/// In: a commit on trial that nobody confirms. Out: both go back.
#[test]
fn a_trial_ends_on_both_nodes() {
    skip_unless_root!();
    let stage = PairStage::up(&pair());
    let output = stage.try_commit(0, &variant(7204), &["--confirm", "10s"]);
    assert!(output.status.success(), "{output:?}");
    assert!(in_force(&stage, 0, 7204) && in_force(&stage, 1, 7204));
    assert!(wait_until(SOON * 2, || !in_force(&stage, 0, 7204) && !in_force(&stage, 1, 7204)));
    assert!((0..2).all(|n| stage.running(n) == pair().text()));
}

/// In: a commit while the other node is without power. Out: it is taken, and said to wait; the other has it when it is back.
#[test]
fn a_commit_is_delivered_on_return() {
    skip_unless_root!();
    let mut stage = PairStage::up(&pair());
    stage.lab.power_off("rte02").expect("a power cut");
    assert!(wait_until(SOON, || stage.status(0).other.is_none_or(|o| !o.alive)));
    stage.commit(0, &variant(7205));
    assert_eq!(stage.running(0), variant(7205).text());
    assert_eq!(stage.status(0).configuration.state, "ahead");
    stage.power_on(1);
    assert_eq!(stage.running(1), variant(7205).text());
    assert!(in_force(&stage, 1, 7205));
}

/// In: two different commits on two nodes that cannot hear each other. Out: when they can again, both say that they differ, and neither
/// document is overwritten.
#[test]
fn diverged_documents_are_reported() {
    skip_unless_root!();
    let stage = PairStage::up(&pair());
    for segment in ["sync", "wan", "lan", "dmz"] {
        stage.lab.split(segment, "rte01", "rte02").expect("a split");
    }
    let alone = || stage.nodes.iter().all(|n| n.ha_status().is_ok_and(|s| s.other.is_none_or(|o| !o.alive)));
    assert!(wait_until(SOON, alone));
    for (node, port) in [(0, 7206), (1, 7207)] {
        stage.commit(node, &variant(port));
    }
    stage.lab.heal().expect("healed");
    for node in 0..2 {
        let diverged =
            stage.nodes[node].wait_for_ha("diverged", SOON, |s| s.configuration.state == "diverged");
        diverged.expect("both say so");
    }
    assert_eq!(
        (stage.running(0), stage.running(1)),
        (variant(7206).text().into(), variant(7207).text().into())
    );
}
