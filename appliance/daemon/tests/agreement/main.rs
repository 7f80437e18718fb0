//! Two control daemons that agree, as processes in two namespaces with a bus each: what a person sees of it.

mod stage;

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use rempart_end_to_end::SOON;
use rempart_lab::{skip_unless_root, wait_until};

use stage::Two;

/// In: a trial that was typed on one node. Out: it is on both, and what is typed on either of them, to keep it or to take
/// it back, holds on both.
#[test]
fn a_trial_ends_where_anybody_says() {
    skip_unless_root!();
    let two = Two::up();
    let first = two.text(0);
    for (port, node, confirm) in [(7301, 0, true), (7302, 0, false), (7303, 1, true), (7304, 1, false)] {
        let (before, other) = (two.text(0), 1 - node);
        let report = two.commit(node, port, &["--confirm", "60s"]);
        assert_eq!(report.peer.map(|p| p.state).as_deref(), Some("same"));
        for n in 0..2 {
            assert!(two.in_force(n, port));
            let pending = two.status(n).pending.unwrap_or_else(|| panic!("{port}: a trial on {n}"));
            assert!((30..=60).contains(&pending.left_s), "{pending:?}");
        }
        // On the node where it was not typed.
        two.verb(other, &[if confirm { "confirm" } else { "revert" }]);
        two.settle();
        for n in 0..2 {
            assert_eq!(two.in_force(n, port), confirm, "{port} on {n}");
            assert!(two.status(n).pending.is_none());
            assert_eq!(two.text(n) == before, !confirm);
        }
    }
    assert_ne!(two.text(0), first);
}

/// In: a trial while both control daemons are killed and started again. Out: it is still a trial on both, and confirmed on
/// both.
#[test]
fn a_trial_survives_both_daemons() {
    skip_unless_root!();
    let mut two = Two::up();
    two.commit(0, 7311, &["--confirm", "120s"]);
    for node in 0..2 {
        two.restart(node);
        assert!(two.in_force(node, 7311) && two.status(node).pending.is_some());
    }
    assert!(wait_until(SOON, || (0..2).all(|n| two.connected(n))));
    two.verb(1, &["confirm"]);
    two.settle();
    assert!((0..2).all(|n| two.in_force(n, 7311) && two.status(n).pending.is_none()));
}

/// In: a trial, and the node where it was typed loses its power. Out: the other one goes back by itself, and both hold the
/// revision of before when it is there again.
#[test]
fn a_trial_ends_with_the_node_that_began_it() {
    skip_unless_root!();
    let mut two = Two::up();
    let before = two.text(0);
    two.commit(0, 7315, &["--confirm", "600s"]);
    two.stage.lab.power_off("rte01").expect("a power cut");
    assert!(two.in_force(1, 7315));
    two.as_if_booted(0);
    two.stage.power_on(0);
    assert!(wait_until(SOON, || !two.in_force(1, 7315)), "the other node has no such trial any more");
    two.settle();
    assert_eq!((two.text(0), two.text(1)), (before.clone(), before));
}

/// In: two nodes that have diverged. Out: both say so, show the difference, and take either side when a person chooses; what
/// gave way stays in the history.
#[test]
fn a_person_chooses_between_two_documents() {
    skip_unless_root!();
    let two = Two::up();
    for (round, choice) in ["mine", "theirs"].iter().enumerate() {
        let ports = [7321 + 10 * round as u16, 7322 + 10 * round as u16];
        two.part();
        for (node, port) in ports.into_iter().enumerate() {
            let report = two.commit(node, port, &[]);
            assert_eq!(report.peer.map(|p| p.state).as_deref(), Some("away"));
        }
        two.stage.lab.heal().expect("healed");
        for node in 0..2 {
            assert!(
                wait_until(SOON, || two.faults(node).contains(&"diverged".to_owned())),
                "{:?}",
                two.faults(node)
            );
        }
        let diff = two.verb(0, &["ha", "diff"]);
        let [ours, theirs] = ports.map(|p| p.to_string());
        assert!(diff.lines().any(|l| l.starts_with('-') && l.contains(&ours)), "{diff}");
        assert!(diff.lines().any(|l| l.starts_with('+') && l.contains(&theirs)), "{diff}");

        let revision = two.resolve(0, choice);
        let [right, wrong] = if *choice == "mine" { ports } else { [ports[1], ports[0]] };
        two.settle();
        for node in 0..2 {
            assert!(two.in_force(node, right) && !two.in_force(node, wrong), "{choice} on {node}");
            assert!(!two.faults(node).contains(&"diverged".to_owned()));
        }
        assert_eq!(two.status(0).revision.map(|r| r.number), Some(revision));
        let loser = usize::from(*choice == "mine");
        let kept = two.history(loser).iter().filter(|r| !r.current).count();
        assert!(kept >= 2 + round, "what gave way is still there: {:?}", two.history(loser));
        // Both go on from there.
        let report = two.commit(loser, 7329 + 10 * round as u16, &[]);
        assert_eq!(report.peer.map(|p| p.state).as_deref(), Some("same"));
    }
}

/// In: commits on both nodes while one of the four daemons after the other is killed at some moment. Out: each commit ends,
/// and when all run again both nodes hold the same revision and the same rules.
#[test]
fn daemons_die_in_the_middle_of_commits() {
    skip_unless_root!();
    let mut two = Two::up();
    let rounds = if rempart_end_to_end::is_full() { 48 } else { 12 };
    for round in 0..rounds {
        let (node, port) = (round % 2, 7400 + round as u16);
        let commit = two.begin_commit(node, port);
        // From before it is read until after it is done.
        thread::sleep(Duration::from_millis(40 * (round as u64 * 7 % 16)));
        let victim = round / 2 % 2;
        match round / 4 % 3 {
            0 => two.restart(victim),
            1 => {
                let lab = &two.stage.lab;
                lab.signal(two.stage.name(victim), "rempart-ha", Some("--worker"), Signal::SIGKILL)
                    .expect("a kill");
            }
            _ => {
                two.stage.lab.kill9(two.stage.name(victim), "rempart-ha").expect("a kill");
                two.stage.nodes[victim].elector().expect("it was started").kill();
                two.stage.nodes[victim].start_elector().expect("a start");
            }
        }
        let done = commit.wait_with_output().expect("it ends");
        two.settle();
        assert_eq!(two.text(0), two.text(1), "round {round}");
        // Who was told that it is committed finds it committed.
        if done.status.success() {
            assert!(two.in_force(0, port) && two.in_force(1, port), "round {round}");
        }
    }
}

/// In: a box with a document of its own joins a pair. Out: it has the other one's document, and its own in the history.
#[test]
fn a_joining_box_takes_the_document() {
    skip_unless_root!();
    let two = Two::apart();
    two.commit(1, 7501, &[]);
    let own = two.text(1);
    assert_ne!(own, two.text(0));
    two.stage.lab.pair(&two.stage.nodes[0], &two.stage.nodes[1]).expect("a pair");
    assert_eq!(two.text(1), two.text(0));
    assert!(!two.in_force(1, 7501));
    let history = two.history(1);
    assert!(history.len() == 2 && history.iter().any(|r| !r.current), "{history:?}");
}

/// In: commits and a roll-back while the other node is without power, and while a box has not joined yet. Out: once it has the
/// revision in force, both list the same ones, and the roll-back as one.
#[test]
fn the_history_is_delivered_too() {
    skip_unless_root!();
    let mut two = Two::apart();
    let first = two.history(0).first().map(|r| r.number).expect("a revision").to_string();
    for port in [7521, 7522] {
        two.commit(0, port, &[]);
    }
    two.stage.lab.pair(&two.stage.nodes[0], &two.stage.nodes[1]).expect("a pair");
    two.same_history(3);
    two.verb(1, &["rollback", &first, "-m", "as it was"]);
    two.same_history(4);
    two.stage.lab.power_off("rte02").expect("a power cut");
    assert!(wait_until(SOON, || !two.connected(0)));
    two.commit(0, 7523, &[]);
    two.verb(0, &["rollback", &first, "-m", "as it was again"]);
    two.commit(0, 7524, &[]);
    two.stage.power_on(1);
    two.settle();
    let history = two.same_history(7);
    let again: Vec<_> = history.iter().filter_map(|r| r.rollback_of).map(|n| n.to_string()).collect();
    assert_eq!(again, [first.clone(), first]);
}

/// In: a node that is unpaired, and paired again later. Out: alone it commits for itself; paired again it has what it lacked.
#[test]
fn unpaired_and_paired_again() {
    skip_unless_root!();
    let two = Two::up();
    for node in 0..2 {
        two.stage.nodes[node].unpair().expect("it forgets");
        assert!(wait_until(SOON, || !two.connected(node)));
    }
    assert_eq!(two.commit(0, 7511, &[]).peer, None);
    assert!(!two.in_force(1, 7511));
    two.stage.lab.pair(&two.stage.nodes[0], &two.stage.nodes[1]).expect("a pair");
    two.settle();
    assert!(two.in_force(1, 7511));
}
