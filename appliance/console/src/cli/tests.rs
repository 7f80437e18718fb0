//! What the verbs print, in both languages, from documents as a daemon would send them.

use jiff::tz::TimeZone;
use rempart_bus::codes::RefusalCode;
use rempart_bus::ha::{HaStatus, PairingOffer, PairingStatus};

use super::run::{Console, failure_text};
use super::table::Paint;
use super::*;
use crate::bus::{Choice, Daemon, Failure, Refusal, Reply, Request};
use crate::fixtures;
use crate::golden::assert_golden;
use crate::offline::Service;

fn console(lang: Lang, colour: bool) -> Console {
    Console { lang, tz: TimeZone::UTC, paint: Paint { colour }, json: false }
}

/// Every answer that has a form of its own.
fn answers() -> Vec<(&'static str, Request, Reply)> {
    let commit = rempart_bus::documents::CommitRequest::default;
    let diff = || Request::Diff("running".into(), "candidate".into());
    vec![
        ("status", Request::Status, Reply::Status(Box::new(fixtures::status()))),
        ("status-pending", Request::Status, Reply::Status(Box::new(fixtures::status_pending()))),
        ("flows", Request::Flows, Reply::Flows(fixtures::flows())),
        ("connections", Request::Connections(9), Reply::Connections(fixtures::connections())),
        ("log", Request::Log(0), Reply::Log(fixtures::log())),
        ("check-valid", Request::Check(String::new()), Reply::Check(fixtures::check_valid())),
        ("check-invalid", Request::Check(String::new()), Reply::Check(fixtures::check_invalid())),
        ("check-assertion", Request::Check(String::new()), Reply::Check(fixtures::check_assertion())),
        ("explain", Request::Explain(Default::default()), Reply::Explain(fixtures::explanation())),
        ("commit", Request::Commit(commit()), Reply::Commit(fixtures::commit())),
        ("history", Request::History, Reply::History(fixtures::history())),
        ("diff", diff(), Reply::Text(fixtures::DIFF.into())),
        ("diff-empty", diff(), Reply::Text(String::new())),
        ("confirm", Request::Confirm, Reply::Number(13)),
        ("revert", Request::Revert, Reply::Number(12)),
        ("kill", Request::Kill(vec![1]), Reply::Number(1)),
        ("ha-status", Request::HaStatus, Reply::HaStatus(Box::new(fixtures::ha_status()))),
        ("ha-status-unpaired", Request::HaStatus, Reply::HaStatus(Box::new(unpaired()))),
        ("ha-status-diverged", Request::HaStatus, Reply::HaStatus(Box::new(fixtures::diverged()))),
        ("resolve", Request::Resolve(Choice::Mine), Reply::Number(14)),
        ("switch", Request::Switch, Reply::Done),
        ("maintenance-on", Request::Maintenance(true), Reply::Done),
        ("maintenance-off", Request::Maintenance(false), Reply::Done),
        ("pair-offer", Request::PairOffer, Reply::PairingOffer(offer())),
        ("pair-done", Request::Pairing, Reply::Pairing(paired())),
    ]
}

fn unpaired() -> HaStatus {
    HaStatus { paired: false, other: None, ailments: Vec::new(), ..fixtures::ha_status() }
}

fn offer() -> PairingOffer {
    PairingOffer { code: "7KQ4-M2XP".into(), expires_s: 300, peer: "rte02".into() }
}

fn paired() -> PairingStatus {
    let (peer, fingerprint) = (Some("rte02".into()), Some("3f:a1:07".into()));
    PairingStatus { state: "paired".into(), peer, fingerprint, ..PairingStatus::default() }
}

#[test]
fn answers_look_like_this() {
    for lang in [Lang::Fr, Lang::En] {
        let suffix = format!("{lang:?}").to_lowercase();
        for (name, request, reply) in answers() {
            let text = console(lang, false).reply(&request, &reply);
            assert!(!text.contains('\x1b'), "{name} has no colours");
            assert_golden(&format!("cli/{name}.{suffix}"), &text);
        }
        let matrix = console(lang, false).matrix(&fixtures::status(), &fixtures::flows());
        assert_golden(&format!("cli/matrix.{suffix}"), &matrix);
    }
}

#[test]
fn colours_do_not_move_columns() {
    // The same text with colours and without them, once the colours are taken out.
    for (name, request, reply) in answers() {
        let coloured = console(Lang::Fr, true).reply(&request, &reply);
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\x1b') {
            plain.push_str(before);
            rest = after.split_once('m').expect("SGR ends with m").1;
        }
        plain.push_str(rest);
        assert_eq!(plain, console(Lang::Fr, false).reply(&request, &reply), "{name}");
    }
}

#[test]
fn failures_say_what_to_do() {
    let failures = [
        Failure::Unreachable(Daemon::Control, "no such name".into()),
        Failure::Unreachable(Daemon::Ha, "no such name".into()),
        Failure::Denied("policy".into()),
        Failure::TimedOut(10),
        Failure::Garbled("expected value at line 1".into()),
    ];
    let kinds = [
        Refusal::Invalid,
        Refusal::Assertion,
        Refusal::LockOut,
        Refusal::Busy,
        Refusal::NotFound,
        Refusal::Refused,
        Refusal::Apply,
        Refusal::Failed,
    ];
    let refused =
        kinds.map(|kind| Failure::Refused { kind, text: "the daemon's words.".into(), report: None });
    // Whatever has a code has words of ours.
    let coded = RefusalCode::ALL.iter().map(|code| {
        let text = format!("{code}: the daemon's words");
        Failure::Refused { kind: Refusal::Refused, text, report: None }
    });
    let all: Vec<_> = failures.into_iter().chain(refused).chain(coded).collect();
    for lang in [Lang::Fr, Lang::En] {
        let text: Vec<String> = all.iter().map(|f| failure_text(lang, f)).collect();
        assert_golden(&format!("cli/failures.{lang:?}").to_lowercase(), &(text.join("\n") + "\n"));
    }
}

#[test]
fn services_are_listed_with_their_ports() {
    let dns = Service { name: "dns".into(), elements: "udp/53 tcp/53".into(), about: "names".into() };
    let text = console(Lang::En, false).services(&[dns]);
    assert_eq!(text, "SERVICE  PORTS          WHAT\ndns      udp/53 tcp/53  names\n");
}

#[test]
fn the_command_line_is_well_formed_in_both_languages() {
    for lang in [Lang::Fr, Lang::En] {
        command(lang).debug_assert();
        assert_golden(
            &format!("cli/help.{lang:?}").to_lowercase(),
            &command(lang).render_long_help().to_string(),
        );
    }
}

#[test]
fn verbs_are_read() {
    let read = |words: &[&str]| {
        let words = ["rempart"].iter().chain(words);
        command(Lang::En).try_get_matches_from(words).map(|m| Cli::from_arg_matches(&m).unwrap().verb)
    };
    assert!(matches!(read(&[]), Ok(None)));
    let diff = read(&["diff"]).unwrap();
    assert!(matches!(diff, Some(Verb::Diff { from, to }) if from == "running" && to == "candidate"));
    let commit = read(&["commit", "-m", "why", "--confirm", "5m", "--force", "f.toml"]).unwrap();
    let Some(Verb::Commit { file, how }) = commit else { panic!() };
    assert_eq!((file.as_deref(), how.message.as_str()), (Some("f.toml"), "why"));
    assert_eq!((how.confirm, how.force), (Some(300), true));
    assert!(matches!(read(&["kill", "7", "8"]), Ok(Some(Verb::Kill(k))) if k.ids == [7, 8]));
    assert!(
        matches!(read(&["kill", "--flow", "web"]), Ok(Some(Verb::Kill(k))) if k.flow.as_deref() == Some("web"))
    );
    for wrong in
        [&["kill"][..], &["kill", "7", "--flow", "x"], &["commit", "--confirm", "5s"], &["explain", "tcp/1"]]
    {
        assert_eq!(read(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
}
