//! `rempart audit anssi` by the console, the bus and the daemon: what it says of a document follows the document.

use std::time::Duration;

use rempart_bus::audit::{AuditReport, RECOMMENDATIONS};
use rempart_end_to_end::{Document, Stage, small};
use rempart_lab::{output_within, skip_unless_root};

/// How long looking at every file of the machine may take.
const LONGEST: Duration = Duration::from_secs(120);

/// The report, and the exit code that it comes with.
fn audit(stage: &Stage) -> (AuditReport, Option<i32>) {
    let mut command = stage.node.rempart().expect("the console is built");
    command.args(["audit", "anssi", "--json", "--lang", "en"]);
    let output = output_within(command, LONGEST).expect("an audit ends");
    (serde_json::from_slice(&output.stdout).expect("a report"), output.status.code())
}

fn result(report: &AuditReport, code: &str) -> String {
    report.lines.iter().find(|l| l.code == code).expect("a line").result.clone()
}

fn careful() -> Document {
    small().flow("web", "lan", "wan", "allow = [\"https\"]\nwhy = \"the web\"\nowner = \"it\"")
}

#[test]
fn the_audit_follows_the_document() {
    // No document, a careful one, and one with a careless flow, on a machine that is no box; each line about the document
    // passes but for the one that the careless flow breaks, and the exit code says that the machine does not.
    skip_unless_root!();
    let stage = Stage::bare(&small());
    let (before, _) = audit(&stage);
    assert_eq!(before.lines.iter().map(|l| l.code.as_str()).collect::<Vec<_>>(), RECOMMENDATIONS);
    assert_eq!(result(&before, "filtering-needs"), "not-applicable");

    stage.commit_with(&careful(), &["-m", "first"]);
    let (report, code) = audit(&stage);
    for line in ["filtering-needs", "filtering-any-any", "firewall-r11", "firewall-r29", "firewall-r30"] {
        assert_eq!(result(&report, line), "pass", "{line}");
    }
    // The kernel's settings are the plan's; nobody runs systemd here, so nothing is known of units.
    assert_eq!(result(&report, "linux-r64"), "unseen");
    assert_eq!(code, Some(1));
    assert!(report.lines.iter().all(|l| !l.title.is_empty()));
    let c = report.counts;
    let sum = c.pass + c.fail + c.deviation + c.not_applicable + c.unseen;
    assert_eq!(sum as usize, RECOMMENDATIONS.len());

    stage.commit(&careful().flow("bad", "any", "any", "allow = [\"dns\"]\nwhy = \"w\"\nowner = \"o\""));
    let (after, _) = audit(&stage);
    assert_eq!(result(&after, "filtering-any-any"), "fail");
    let line = after.lines.iter().find(|l| l.code == "filtering-any-any").expect("the line");
    assert_eq!(line.evidence[0].seen, "bad");
    // That commit had no comment.
    assert_eq!(result(&after, "firewall-r29"), "fail");
}
