//! The daemon may die at any instant: the old policy holds or the new one, never neither.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use rempart_end_to_end::{Document, Stage, is_full, small};
use rempart_lab::skip_unless_root;

const SERVER: &str = "192.168.20.11";
const RATE: u32 = 1_000;
/// The whole of a commit takes about a third of a second with debug programs; the kills are spread over it.
const LONGEST_WAIT_MS: u64 = 400;

/// UDP to 9000 is always allowed, to 9100 never; addresses, routes and flows differ with `n`. Every fourth is large, so
/// that nft is at work for a good part of the commit.
fn variant(n: u32) -> Document {
    let document = small().flow("always", "lan", "dmz:server", "allow = [\"udp/9000\"]");
    let flows = (0..20 * (n % 4)).fold(document, |document, i| {
        document.flow(&format!("f{n}-{i}"), "lan", "dmz:server", &format!("allow = [\"tcp/{}\"]", 11_000 + i))
    });
    let flows = if n % 4 == 3 { large(&flows) } else { flows };
    if n.is_multiple_of(2) {
        return flows;
    }
    let addresses = "\"192.168.20.254/24\", \"192.168.30.1/24\", \"fd00:20::fe/64\"";
    flows
        .replace("\"192.168.20.254/24\", \"fd00:20::fe/64\"", addresses)
        .and("[[route]]\nto = \"10.99.0.0/16\"\nvia = \"blackhole\"")
}

/// With a flow of six thousand combinations of host and service.
fn large(document: &Document) -> Document {
    let list = |items: Vec<String>| {
        format!("[{}]", items.iter().map(|i| format!("\"{i}\"")).collect::<Vec<_>>().join(", "))
    };
    let hosts = list((1..=100).map(|n| format!("192.168.20.{}", 2 * n)).collect());
    let ports = list((0..60).map(|n| format!("tcp/{}", 20_000 + 2 * n)).collect());
    document.replace("[host]", &format!("[host]\nmany = {hosts}")).flow(
        "large",
        "lan",
        "dmz:many",
        &format!("allow = {ports}"),
    )
}

/// A number that looks random and is the same in every run: the kills are printed and can be repeated.
fn spread(n: u32) -> u64 {
    u64::from(n).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33
}

/// In: commits, with and without a countdown, during which the daemon alone is killed at spread instants, under an
/// allowed and a denied flood. Out: none leaked and none lost; each time it comes back into the last committed revision
/// or the trial, without a journal.
#[test]
fn a_kill_during_a_commit_leaves_one_policy_or_the_other() {
    skip_unless_root!();
    let mut stage = Stage::up(&variant(0));
    let flood = |from: &str, port: u16| {
        let to = format!("{SERVER}:{port}").parse().unwrap();
        stage.host(from).flood(stage.host("srv-ebrigade"), to, RATE).start().expect("a flood")
    };
    let (allowed, denied) = (flood("cli-lan", 9000), flood("srv-voip", 9100));
    let kills: u32 = if is_full() { 40 } else { 10 };
    for n in 1..=kills {
        let before = stage.revision();
        let wait = Duration::from_millis(spread(n) % LONGEST_WAIT_MS);
        let on_trial = n % 3 == 0;
        let file = stage.file("next.toml", variant(n).text());
        let mut commit = stage.node.rempart().expect("the console");
        commit.arg("commit").arg(file);
        if on_trial {
            commit.args(["--confirm", "60s"]);
        }
        let mut commit = stage.node.host().spawn("commit", commit).expect("a commit");
        thread::sleep(wait);
        stage.node.daemon().expect("a daemon").signal(Signal::SIGKILL).expect("it runs");
        assert!(stage.node.daemon().expect("a daemon").wait(Duration::from_secs(5)).is_some());
        let done = commit.wait(Duration::from_secs(30)).is_some_and(|s| s.success());
        let current = std::fs::read_to_string(stage.state("current")).expect("a revision");
        stage.start();

        let what = format!("kill {n} after {wait:?}, on trial: {on_trial}, commit done: {done}");
        let status = stage.status();
        let revision = status.revision.as_ref().expect("a revision").number;
        match &status.pending {
            Some(pending) => {
                assert!(
                    on_trial && pending.revision == revision && pending.previous == Some(before),
                    "{what}: {status:?}"
                );
                assert_eq!(
                    stage.node.must(&["revert"]).map(|_| stage.revision()).expect("it goes back"),
                    before
                );
            }
            None => assert_eq!(current.trim(), revision.to_string(), "{what}"),
        }
        assert!(
            revision == before || done || status.pending.is_some() || current.trim() != before.to_string(),
            "{what}"
        );
        assert!(
            !done || status.pending.is_some() || revision > before || on_trial,
            "{what}: {revision} after {before}"
        );
        assert!(!stage.state("journal.json").exists(), "{what}");
        assert!(stage.faults().is_empty(), "{what}: {:?}", stage.faults());
        // What the kernel holds is what the revision says.
        let running = stage.node.must(&["show", &stage.revision().to_string()]).expect("a document");
        let snapshot = stage.snapshot();
        assert_eq!(
            running.contains("192.168.30.1/24"),
            snapshot.addresses.contains("192.168.30.1/24"),
            "{what}"
        );
        assert_eq!(running.contains("10.99.0.0/16"), snapshot.routes.contains("10.99.0.0/16"), "{what}");
        // Each flow has its counter among the hits.
        let shown = snapshot.ruleset.lines().filter(|l| l.trim_start().starts_with("counter f")).count();
        assert_eq!(shown, running.matches("[[flow]]").count(), "{what}");
    }
    let allowed = allowed.stop().expect("a report");
    assert!(allowed.sent > 0 && allowed.overrun == 0, "{allowed:?}");
    assert_eq!(allowed.lost, 0, "{allowed:?}");
    let denied = denied.stop().expect("a report");
    assert_eq!(denied.received, 0, "{denied:?}");
}

/// In: a restart of the daemon under load. Out: the kernel holds the same to the letter, and no packet is lost.
#[test]
fn a_restart_of_the_daemon_changes_nothing() {
    skip_unless_root!();
    let mut stage = Stage::up(&variant(3));
    let to = format!("{SERVER}:9000").parse().unwrap();
    let flood = stage.host("cli-lan").flood(stage.host("srv-ebrigade"), to, RATE).start().expect("a flood");
    let before = stage.settled();
    for round in 0..3 {
        match round {
            0 => stage.stop(),
            _ => stage.node.daemon().expect("a daemon").kill(),
        }
        stage.assert_unchanged(&before, "while it is away");
        stage.start();
        thread::sleep(Duration::from_millis(500));
        stage.assert_unchanged(&before, "after it is back");
        assert!(stage.faults().is_empty(), "{:?}", stage.faults());
    }
    let report = flood.stop().expect("a report");
    assert_eq!((report.lost, report.overrun), (0, 0), "{report:?}");
}
