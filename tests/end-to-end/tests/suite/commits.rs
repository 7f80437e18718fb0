//! Revisions: commit, trial, confirmation, going back, history.

use std::fs;
use std::thread;
use std::time::Duration;

use rempart_end_to_end::{Document, SOON, Stage, small};
use rempart_lab::{skip_unless_root, wait_until};

fn variant(port: u16) -> Document {
    small().flow("web", "lan", "dmz:server", &format!("allow = [\"tcp/{port}\"]"))
}

/// In: three commits, by two people. Out: history, show, diff and rollback know them; a rolled-back document is a new revision.
#[test]
fn revisions_are_kept_with_who_when_and_why() {
    skip_unless_root!();
    let stage = Stage::up(&variant(80));
    let file = stage.file("second.toml", variant(81).text());
    let mut commit = stage.node.rempart().expect("the console");
    commit.args(["commit", "-m", "the second, for \"reasons\""]).arg(file).env("SUDO_USER", "alice");
    let output = rempart_lab::output_within(commit, SOON).expect("a commit");
    assert!(output.status.success(), "{output:?}");
    stage.commit_with(&variant(82), &["-m", "the third"]);

    let history = stage.history();
    assert_eq!(
        history.iter().map(|r| (r.number, r.current)).collect::<Vec<_>>(),
        [(3, true), (2, false), (1, false)]
    );
    assert_eq!(
        (history[1].author.as_str(), history[1].comment.as_str()),
        ("alice", "the second, for \"reasons\"")
    );
    assert!(history[1].time.ends_with('Z') && history[1].digest.len() == 64, "{:?}", history[1]);
    assert_eq!(stage.node.must(&["show", "2"]).expect("a document"), variant(81).text());
    let diff = stage.node.must(&["diff", "1", "3"]).expect("a diff");
    assert!(diff.contains("-allow = [\"tcp/80\"]") && diff.contains("+allow = [\"tcp/82\"]"), "{diff}");

    stage.node.must(&["rollback", "1", "-m", "back"]).expect("a rollback");
    let newest = stage.history().remove(0);
    assert_eq!((newest.number, newest.rollback_of, newest.current), (4, Some(1), true));
    assert_eq!(stage.node.must(&["show", "4"]).expect("a document"), variant(80).text());
    let unknown = stage.node.verb(&["rollback", "99"]).expect("a verb");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("99"), "{unknown:?}");
}

/// In: a candidate, loaded, checked, compared and committed. Out: nothing is in force before the commit, no candidate is left after it.
#[test]
fn a_candidate_is_loaded_and_committed() {
    skip_unless_root!();
    let stage = Stage::up(&variant(80));
    let before = stage.settled();
    let file = stage.file("candidate.toml", variant(81).text());
    stage.node.must(&["load", file.to_str().expect("a path")]).expect("loaded");
    assert!(stage.status().candidate);
    stage.assert_unchanged(&before, "unchanged");
    assert_eq!(stage.node.must(&["candidate"]).expect("a candidate"), variant(81).text());
    assert!(stage.node.must(&["diff"]).expect("a diff").contains("+allow = [\"tcp/81\"]"));
    stage.node.must(&["check"]).expect("it is good");
    assert!(stage.node.must(&["plan"]).expect("a plan").contains("81"));
    stage.node.must(&["commit", "-m", "the candidate"]).expect("committed");
    assert!(!stage.status().candidate && !stage.state("candidate.toml").exists());
    assert_eq!(stage.node.must(&["show", "2"]).expect("a document"), variant(81).text());

    // Somebody's work is not lost by somebody else's commit.
    stage.node.must(&["load", file.to_str().expect("a path")]).expect("loaded");
    stage.commit(&variant(83));
    assert!(stage.status().candidate);
}

/// In: a commit on trial that nobody confirms; one that is confirmed; one that is taken back; one during another. Out: each as its name says.
#[test]
fn a_trial_goes_back_unless_confirmed() {
    skip_unless_root!();
    let stage = Stage::up(&variant(80));
    let before = stage.settled();
    let report = stage.commit_with(&variant(81), &["--confirm", "10s"]);
    assert_eq!(report.confirm_s, Some(10));
    let status = stage.status();
    let pending = status.pending.expect("a trial");
    assert_eq!(
        (pending.revision, pending.previous, status.revision.expect("a revision").current),
        (2, Some(1), false)
    );
    assert_ne!(stage.snapshot(), before);

    let busy = stage.refused(&variant(82), &[]);
    assert!(busy.contains("revision 2") && busy.contains("confirm"), "{busy}");
    let busy = stage.node.verb(&["rollback", "1"]).expect("a verb");
    assert_eq!(busy.status.code(), Some(1));

    assert!(wait_until(Duration::from_secs(14), || stage.status().pending.is_none()), "it goes back");
    assert_eq!((stage.revision(), stage.snapshot() == before), (1, true));
    assert!(stage.status().candidate, "what was tried stays at hand");
    assert!(!stage.state("pending.json").exists());
    let none = stage.node.verb(&["confirm"]).expect("a verb");
    assert_eq!(none.status.code(), Some(1));

    stage.commit_with(&variant(83), &["--confirm", "60s"]);
    stage.node.must(&["revert"]).expect("taken back");
    assert_eq!((stage.revision(), stage.snapshot() == before), (1, true));

    stage.commit_with(&variant(84), &["--confirm", "10s"]);
    stage.node.must(&["confirm"]).expect("kept");
    thread::sleep(Duration::from_secs(11));
    let status = stage.status();
    assert!(status.pending.is_none() && status.revision.is_some_and(|r| r.current), "{:?}", status.faults);
    assert_eq!(
        stage.node.must(&["show", &stage.revision().to_string()]).expect("a document"),
        variant(84).text()
    );
}

/// In: a trial, and the daemon restarted; then the machine restarted, as the boot id tells; then a countdown that ran out meanwhile.
/// Out: the trial goes on in the first case; in the others the committed revision is back.
#[test]
fn a_trial_survives_the_daemon_but_not_the_machine() {
    skip_unless_root!();
    let mut stage = Stage::up(&variant(80));
    let before = stage.settled();
    stage.commit_with(&variant(81), &["--confirm", "100s"]);
    stage.node.daemon().expect("a daemon").kill();
    stage.start();
    let pending = stage.status().pending.expect("it goes on");
    assert!(pending.revision == 2 && (60..=100).contains(&pending.left_s), "{pending:?}");

    stage.node.daemon().expect("a daemon").kill();
    let path = stage.state("pending.json");
    let mut value: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("a trial")).expect("JSON");
    value["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
    fs::write(&path, value.to_string()).expect("written");
    stage.start();
    assert!(stage.status().pending.is_none() && !path.exists());
    assert_eq!((stage.revision(), stage.snapshot() == before), (1, true));

    stage.commit_with(&variant(82), &["--confirm", "10s"]);
    stage.node.daemon().expect("a daemon").kill();
    thread::sleep(Duration::from_secs(11));
    assert_ne!(stage.snapshot(), before, "without a daemon nothing goes back");
    stage.start();
    assert_eq!((stage.revision(), stage.snapshot() == before), (1, true));
}
