//! The command line against a daemon that answers with fixtures, on a bus of its own.

mod support;

use std::process::Output;

use support::{PrivateBus, fixture, rempart};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn json_is_printed_as_it_came() {
    // `--json` in, the fixture's very bytes out.
    let bus = PrivateBus::start("json");
    bus.serve();
    for (verb, file) in [
        (&["status"][..], "status.json"),
        (&["flows"], "flows.json"),
        (&["matrix"], "flows.json"),
        (&["connections"], "connections.json"),
        (&["log"], "log.json"),
        (&["check"], "check-valid.json"),
        (&["explain", "--src", "10.0.0.1", "--dst", "10.0.0.2", "tcp/443"], "explanation.json"),
        (&["history"], "history.json"),
    ] {
        let output = bus.rempart(&[verb, &["--json"]].concat());
        assert_eq!((code(&output), out(&output)), (Some(0), fixture(file)), "{verb:?}: {}", err(&output));
    }
    let text = out(&bus.rempart(&["diff", "--json"]));
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["text"], fixture("candidate.diff"));
    assert_eq!(out(&bus.rempart(&["kill", "1", "2", "--json"])).trim(), r#"{"killed":2}"#);
}

#[test]
fn what_a_person_types_reaches_the_daemon() {
    let bus = PrivateBus::start("calls");
    let calls = bus.serve();
    assert_eq!(code(&bus.rempart(&["kill", "--flow", "published-web"])), Some(0));
    assert_eq!(calls.lock().unwrap().killed, [7001]);
    let output = rempart(&bus.address, &["load", "-"], Some("version = 1\n"));
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    assert_eq!(calls.lock().unwrap().documents, ["version = 1\n"]);
    let output = bus.rempart(&["commit", "-m", "phones", "--confirm", "5m"]);
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    assert!(out(&output).contains("rempart confirm"), "{}", out(&output));
    let commits = std::mem::take(&mut calls.lock().unwrap().commits);
    let [commit] = &commits[..] else { panic!("one commit") };
    assert_eq!((commit.author.as_str(), commit.comment.as_str()), ("alice", "phones"));
    assert_eq!((commit.confirm_s, commit.force, &commit.document), (Some(300), false, &None));
    assert_eq!(commit.session.map(|s| s.client_port), Some(50022));
    assert!(out(&bus.rempart(&["confirm"])).contains("Revision 13 is kept"));
    let output = bus.rempart(&["connections", "--zone", "lan", "--sort", "bytes", "--limit", "1"]);
    assert!(out(&output).contains("7002") && !out(&output).contains("7003"), "{}", out(&output));
}

#[test]
fn refusals_are_printed_with_their_reports_and_end_with_1() {
    let bus = PrivateBus::start("refusals");
    bus.serve();
    for (comment, words) in [
        ("invalid", &["there is no host `mial`", "Nothing was changed"][..]),
        ("assertion", &["✗ fails: nothing from outside reaches the LAN (line 101)", "203.0.113.7:1024"]),
        ("lockout", &["cut your own session", "192.168.10.21"]),
        ("busy", &["revision 13 waits"]),
        ("apply", &["The last committed revision is in force again", "too many elements"]),
        ("failed", &["the disk is full"]),
    ] {
        let output = bus.rempart(&["commit", "-m", comment]);
        assert_eq!(code(&output), Some(1), "{comment}");
        for word in words {
            assert!(err(&output).contains(word), "{comment}: {word} in {}", err(&output));
        }
    }
    let output = bus.rempart(&["commit", "-m", "invalid", "--json"]);
    assert!(out(&output).contains(r#""code":"unknown-name""#), "{}", out(&output));
    assert_eq!(code(&bus.rempart(&["commit", "-m", "lockout", "--force"])), Some(0));
    for missing in [&["kill", "999"][..], &["show", "77"], &["rollback", "77"]] {
        let output = bus.rempart(missing);
        assert_eq!(code(&output), Some(1), "{missing:?}");
        assert!(err(&output).contains("Not found"), "{}", err(&output));
    }
    let output = rempart(&bus.address, &["check", "-"], Some("to = \"mial\"\n"));
    assert_eq!(code(&output), Some(1));
    assert!(out(&output).contains("may not be committed"), "{}", out(&output));
}

#[test]
fn without_a_daemon_the_person_is_told_what_to_do() {
    // A bus without the daemon, and no bus at all.
    let bus = PrivateBus::start("absent");
    for address in [bus.address.as_str(), "unix:path=/nonexistent/bus"] {
        for verb in [&["status"][..], &["edit"], &["commit", "-m", "x"], &["log", "--follow"], &["check"]] {
            let output = rempart(address, verb, None);
            assert_eq!(code(&output), Some(3), "{verb:?}: {}", err(&output));
            assert!(err(&output).contains("systemctl start rempartd"), "{}", err(&output));
        }
        let output = rempart(address, &["status", "--lang", "fr"], None);
        assert!(err(&output).contains("rempartd ne répond pas"), "{}", err(&output));
    }
}

#[test]
fn a_document_is_checked_without_a_daemon() {
    let address = "unix:path=/nonexistent/bus";
    let output = rempart(address, &["check", "-"], Some("version = 1\nnonsense = true\n"));
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    assert!(err(&output).contains("checked without what only it knows"), "{}", err(&output));
    assert!(out(&output).contains("nonsense"), "{}", out(&output));
    let output = rempart(address, &["check", "/nonexistent.toml"], None);
    assert_eq!(code(&output), Some(2));
    let output = rempart(address, &["schema"], None);
    let schema: serde_json::Value = serde_json::from_str(&out(&output)).expect("JSON");
    assert!(schema.get("$schema").is_some());
    assert!(out(&rempart(address, &["services"], None)).contains("udp/53"));
}

#[test]
fn an_edited_candidate_is_checked_loaded_or_kept() {
    let bus = PrivateBus::start("edit");
    let calls = bus.serve();
    let edit = |editor: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rempart"));
        command.arg("edit").env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address).env("LANG", "C.UTF-8");
        command.env("EDITOR", editor).env_remove("VISUAL").env_remove("LC_ALL");
        command.stdin(std::process::Stdio::null()).output().expect("the console")
    };
    assert!(out(&edit("true")).contains("unchanged"));
    let output = edit("sed -i s/1/2/");
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    assert_eq!(calls.lock().unwrap().documents.last().map(String::as_str), Some("version = 2\n"));
    let output = edit("sed -i s/1/mial/");
    assert_eq!(code(&output), Some(1));
    let text = err(&output);
    let kept = text.lines().find_map(|l| l.split_once("kept in ")).expect("the file is named").1;
    assert_eq!(std::fs::read_to_string(kept).expect("the text is kept"), "version = mial\n");
    std::fs::remove_file(kept).expect("the kept file goes");
    assert_eq!(code(&edit("false")), Some(2));
}

#[test]
fn screens_without_a_terminal_point_to_the_verbs() {
    let output = rempart("unix:path=/nonexistent/bus", &[], None);
    assert_eq!(code(&output), Some(2));
    assert!(err(&output).contains("rempart --help"), "{}", err(&output));
}
