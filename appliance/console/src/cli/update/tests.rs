//! What the verbs about updates print, in both languages, from documents as the daemon would send them.

use clap::FromArgMatches as _;
use jiff::tz::TimeZone;
use rempart_bus::update::OtherSlot;

use super::*;
use crate::cli::table::Paint;
use crate::cli::{Cli, Verb, command};

fn console(lang: Lang) -> Console {
    Console { lang, tz: TimeZone::UTC, paint: Paint { colour: false }, json: false }
}

fn status() -> UpdateStatus {
    UpdateStatus { version: 1, running: "0.1.0".into(), ..UpdateStatus::default() }
}

#[test]
fn the_status_says_what_runs_and_what_to_do() {
    let mut s = status();
    assert_eq!(
        console(Lang::En).update_status(&s),
        "Rempart 0.1.0 runs, and has proved itself.\nThe other slot is empty.\n"
    );
    s.other = Some(OtherSlot { version: "0.2.0".into(), state: "ready".into() });
    s.job = Some(Job {
        what: "install".into(),
        source: "r.update".into(),
        version: Some("0.2.0".into()),
        state: "done".into(),
        ..Job::default()
    });
    assert_eq!(
        console(Lang::Fr).update_status(&s),
        "Rempart 0.1.0 fonctionne et a fait ses preuves.\n\
         L’autre emplacement contient 0.2.0, prête : « rempart update restart » la démarre.\n\
         r.update est installé : Rempart 0.2.0.\n"
    );
}

#[test]
fn a_failure_is_told_with_its_reasons() {
    let mut s = status();
    s.other = Some(OtherSlot { version: "0.2.0".into(), state: "failed".into() });
    s.last = Some(Trial {
        version: "0.2.0".into(),
        outcome: "failed".into(),
        lacking: vec!["lan has no link".into()],
        time: "2026-11-22T14:00:00Z".into(),
    });
    s.pair = Some(PairUpdate {
        version: "0.2.0".into(),
        state: "stopped".into(),
        node: "there".into(),
        phase: "restart".into(),
        why: Some("it took too long".into()),
    });
    let text = console(Lang::En).update_status(&s);
    for wanted in [
        "0.2.0 did not prove itself, 2026-11-22 14:00: the version before is back.",
        "It lacked: lan has no link",
        "has stopped: the other node starts the new version. it took too long",
        "“rempart update back” tries it again",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}

#[test]
fn the_verbs_are_read() {
    let verb = |words: &[&str]| {
        let words = [&["rempart", "update"][..], words].concat();
        let matches = command(Lang::En).try_get_matches_from(words)?;
        Ok::<_, clap::Error>(Cli::from_arg_matches(&matches)?.verb)
    };
    let Ok(Some(Verb::Update { verb: Some(found) })) = verb(&["install", "r.update", "--restart"]) else {
        panic!("a verb");
    };
    assert_eq!(found, UpdateVerb::Install { source: "r.update".into(), older: false, restart: true });
    assert!(matches!(verb(&[]), Ok(Some(Verb::Update { verb: None }))));
    assert!(verb(&["check"]).is_err());
}
