//! A box that was started from a stick: the choice, the disks, the name that has to be typed, the copy.

use rempart_bus::setup::SetupStatus;
use rempart_bus::update::{DiskRequest, Job, UpdateStatus};

use super::*;
use crate::bus::Daemon;
use crate::tui::live::{Live, Stage};
use crate::tui::model::{Gate, Poll};
use crate::tui::setup::Step;
use crate::updates;

/// The first page, after these keys and with the disks looked at.
pub fn begun(lang: Lang, mono: bool, keys: &str) -> Model {
    let status = SetupStatus { live: Some("sda".into()), ..fixtures::setup_status() };
    let m = give(super::setup::shut(lang, mono), Request::Setup, Reply::Setup(Box::new(status)));
    match keys.split_at_checked(1) {
        Some((first, rest)) => press(looked(press(m, first)), rest),
        None => m,
    }
}

fn update_of(asked: updates::Ask) -> Request {
    Request::Update(Box::new(asked))
}

fn looked(m: Model) -> Model {
    let disks = updates::Answer::Disks(Box::new(fixtures::disks()));
    give(m, update_of(updates::Ask::Disks), Reply::Update(Box::new(disks)))
}

fn asked() -> Request {
    let answer = Some("INTEL SSDPEKKW256G7".to_owned());
    update_of(updates::Ask::InstallDisk(DiskRequest { disk: "nvme0n1".into(), answer }, "alice".into()))
}

/// The copy has begun, and is so far.
pub fn copying(lang: Lang, mono: bool, phase: &str, state: &str) -> Model {
    let m = begun(lang, mono, "i>INTEL SSDPEKKW256G7>");
    let m = give(m, asked(), Reply::Update(Box::new(updates::Answer::Begun)));
    let job = Job {
        what: "disk".into(),
        source: "nvme0n1".into(),
        state: state.into(),
        phase: phase.into(),
        done_bytes: 312_000_000,
        all_bytes: 823_132_160,
        failure: (state == "failed").then(|| "what was read back is not what was written".into()),
        ..Job::default()
    };
    let status = UpdateStatus { job: Some(job), ..UpdateStatus::default() };
    let status = updates::Answer::Status(Box::new(status));
    give(m, update_of(updates::Ask::Status), Reply::Update(Box::new(status)))
}

fn live(m: &Model) -> &Live {
    match &m.gate {
        Gate::Live(live) => live,
        other => panic!("another page: {other:?}"),
    }
}

#[test]
fn a_disk_is_written_over_once_its_maker_s_name_was_typed_and_not_before() {
    let m = begun(Lang::En, true, "");
    assert_eq!((&live(&m).stage, live(&m).stick.as_str()), (&Stage::Choice, "sda"));
    let (m, effects) = typed(m, "i");
    assert!(calls(effects).contains(&update_of(updates::Ask::Disks)) && m.waiting.contains(&Poll::Live));
    // Before they are there, and what cannot be taken.
    assert_eq!(live(&press(m.clone(), ">")).stage, Stage::Disks);
    for keys in ["_>", "__>"] {
        assert_eq!(live(&press(looked(m.clone()), keys)).stage, Stage::Disks, "{keys}");
    }
    let (m, effects) = typed(looked(m), ">intel ssdpekkw256g7>");
    assert!(calls(effects).is_empty() && live(&m).wrong);
    let m = press(m, "<>");
    assert!(live(&m).input.text.is_empty() && !live(&m).wrong);
    let (m, effects) = typed(m, "INTEL SSDPEKKW256G7>");
    assert_eq!(calls(effects), [asked()]);
    // Nothing is asked for twice, and nothing goes away meanwhile.
    let (m, effects) = typed(m, "><");
    assert!(calls(effects).is_empty() && live(&m).waiting);
    // Another disk has come under its name since.
    let refused = refuse(m, asked(), Refusal::Refused);
    assert!(matches!(live(&refused).stage, Stage::Confirm(_)) && live(&refused).failure.is_some());
}

#[test]
fn a_copy_is_watched_to_its_end_and_the_box_is_started_again() {
    let m = copying(Lang::En, true, "write", "running");
    assert!(live(&m).job.as_ref().is_some_and(|job| job.phase == "write"));
    let (m, effects) = update(m, Message::Tick(now()));
    assert!(calls(effects).contains(&update_of(updates::Ask::Status)));
    assert!(matches!(live(&press(m, "<>q")).stage, Stage::Copying(_)));
    // A daemon that is away for a second is no end.
    let gone = Failure::Unreachable(Daemon::Update, "gone".into());
    let m = copying(Lang::En, true, "compare", "running");
    let m = update(m, Message::Answer(update_of(updates::Ask::Status), Err(gone))).0;
    assert!(matches!(live(&m).stage, Stage::Copying(_)));
    let failed = copying(Lang::En, true, "compare", "failed");
    assert!(live(&failed).stage == Stage::Disks && live(&failed).failure.is_some());
    let (m, effects) = typed(copying(Lang::En, true, "compare", "done"), ">");
    let leave = update_of(updates::Ask::Leave("alice".into()));
    assert_eq!(calls(effects), std::slice::from_ref(&leave));
    let m = give(m, leave, Reply::Update(Box::new(updates::Answer::Restarting)));
    assert_eq!(live(&m).stage, Stage::Leaving);
}

#[test]
fn a_stick_is_kept_only_with_a_yes() {
    for (lang, yes) in [(Lang::En, "ky"), (Lang::Fr, "ko")] {
        let (_, effects) = typed(begun(lang, true, "k"), &yes[1..]);
        assert_eq!(calls(effects), [update_of(updates::Ask::Keep("alice".into()))]);
    }
    let (m, effects) = typed(begun(Lang::En, true, "k"), "n<");
    assert!(calls(effects).is_empty() && live(&m).stage == Stage::Choice);
}

#[test]
fn who_tries_it_live_is_told_on_every_screen_that_nothing_is_kept() {
    let m = begun(Lang::En, true, "t");
    assert!(matches!(&m.gate, Gate::Setup(setup) if setup.step == Step::Welcome));
    // And back.
    assert_eq!(live(&press(m.clone(), "<")).stage, Stage::Choice);
    for keys in ["s", "s2", "s:"] {
        let all: String =
            screens::drawn(&press(m.clone(), keys)).content.iter().map(|c| c.symbol()).collect();
        assert!(all.contains("nothing is kept"), "{keys}");
    }
    // A document that was on the stick leads to the screens; without a stick there is no such page.
    let status = SetupStatus { live: Some("sda".into()), committed: true, ..fixtures::setup_status() };
    let m = give(begun(Lang::En, true, ""), Request::Setup, Reply::Setup(Box::new(status)));
    assert_eq!(m.gate, Gate::Open);
    assert!(matches!(super::setup::begun(Lang::En, true, "").gate, Gate::Setup(_)));
}
