//! What stands before the screens: the password, and the set-up from its first page to its document.

use rempart_bus::ha::PairingStatus;
use rempart_bus::setup::SetupStatus;

use super::*;
use crate::bus::{Daemon, Secret};
use crate::tui::gate::{IDLE_S, Login};
use crate::tui::model::{Dialog, Gate, Poll};
use crate::tui::setup::check::Fault;
use crate::tui::setup::{Field, Setup, Step, Way};

/// A console just started: it is not known who may see it.
pub fn shut(lang: Lang, mono: bool) -> Model {
    Model { gate: Gate::Asking(None), ..fresh(lang, mono) }
}

fn hear(m: Model, status: SetupStatus) -> Model {
    give(m, Request::Setup, Reply::Setup(Box::new(status)))
}

/// There is a password, and a wrong one was typed.
pub fn locked(lang: Lang, mono: bool) -> Model {
    let status = SetupStatus { password: true, committed: true, ..fixtures::setup_status() };
    let m = press(hear(shut(lang, mono), status), "guess>");
    fail(press(m, "ano"), Request::Login(Secret::default()), "wrong-password: no")
}

fn fail(m: Model, request: Request, text: &str) -> Model {
    let failure = Failure::Refused { kind: Refusal::Refused, text: text.into(), report: None };
    update(m, Message::Answer(request, Err(failure))).0
}

/// The set-up, after these keys.
pub fn begun(lang: Lang, mono: bool, keys: &str) -> Model {
    press(hear(shut(lang, mono), fixtures::setup_status()), keys)
}

fn passed(lang: Lang, mono: bool, way: char) -> Model {
    let m = begun(lang, mono, &format!("{way}correct horse battery>correct horse battery>"));
    give(m, Request::SetPassword(Secret::default(), Secret::default()), Reply::Done)
}

/// A new firewall with a password, after these keys.
pub fn named(lang: Lang, mono: bool, keys: &str) -> Model {
    press(passed(lang, mono, 'n'), keys)
}

/// The second box of a pair with a password, after these keys.
pub fn joining(lang: Lang, mono: bool, keys: &str) -> Model {
    press(passed(lang, mono, 'j'), keys)
}

/// The third port gets a cable.
pub fn plugged(m: Model) -> Model {
    let mut status = fixtures::setup_status();
    (status.ports[2].link, status.ports[2].speed_mbps) = (true, Some(1000));
    hear(m, status)
}

/// The other box did not like the code.
pub fn refused(m: Model) -> Model {
    let m = give(m, Request::Name("rte02".into()), Reply::Done);
    let failure = Some("the code is wrong".to_owned());
    let status = PairingStatus {
        state: "failed".into(),
        peer: None,
        fingerprint: None,
        failure,
        ..PairingStatus::default()
    };
    give(m, join(), Reply::Pairing(status))
}

/// It did.
pub fn joined(lang: Lang, mono: bool) -> Model {
    let m = joining(lang, mono, "rte02>__s>7KQ4>");
    let m = give(m, Request::Name("rte02".into()), Reply::Done);
    let peer = Some("rte01".to_owned());
    let status = PairingStatus {
        state: "paired".into(),
        peer,
        fingerprint: None,
        failure: None,
        ..PairingStatus::default()
    };
    give(m, join(), Reply::Pairing(status))
}

fn join() -> Request {
    Request::PairJoin("7KQ4".into(), "enp3s0".into())
}

fn setup(m: &Model) -> &Setup {
    match &m.gate {
        Gate::Setup(setup) => setup,
        other => panic!("no set-up: {other:?}"),
    }
}

#[test]
fn nothing_is_shown_and_no_key_counts_before_it_is_known_who_may() {
    let (m, effects) = update(shut(Lang::En, true), Message::Tick(now()));
    assert_eq!(calls(effects), [Request::Status, Request::Setup]);
    let (m, effects) = typed(m, "3:e?q");
    assert_eq!((m.dialogs.len(), effects), (0, Vec::new()));
    // A daemon that does not answer opens nothing.
    let gone = Failure::Unreachable(Daemon::Control, "gone".into());
    let (m, _) = update(m, Message::Answer(Request::Setup, Err(gone)));
    assert!(matches!(m.gate, Gate::Asking(Some(_))));
    let m = hear(m, SetupStatus { committed: true, ..fixtures::setup_status() });
    assert!(m.gate == Gate::Open && m.notice.is_some());
}

#[test]
fn the_password_opens_the_screens_and_ten_minutes_without_a_key_shut_them() {
    let m = locked(Lang::En, true);
    let Gate::Locked(login) = &m.gate else { panic!("open") };
    assert!(login.failure.is_some() && login.input.text == "ano");
    let (m, effects) = typed(m, "ther>");
    assert_eq!(calls(effects), [Request::Login(Secret::new("another".into()))]);
    // It is not typed twice.
    assert_eq!(typed(m.clone(), "more>").1, []);
    let m = give(m, Request::Login(Secret::default()), Reply::Done);
    assert_eq!(m.gate, Gate::Open);
    let mut m = press(m, ":log -f>");
    for _ in 0..IDLE_S - 1 {
        m = update(m, Message::Tick(now())).0;
    }
    assert_eq!(m.gate, Gate::Open);
    let (m, effects) = update(m, Message::Tick(now()));
    assert_eq!(m.gate, Gate::Locked(Login::default()));
    assert!(effects.contains(&Effect::Interrupt));
    let all: String = screens::drawn(&m).content.iter().map(|cell| cell.symbol()).collect();
    assert!(!all.contains("log -f") && !all.contains("Dashboard"));
    // Without a password there is nothing to open them with.
    let mut m = hear(shut(Lang::En, true), SetupStatus { committed: true, ..fixtures::setup_status() });
    for _ in 0..=IDLE_S {
        m = update(m, Message::Tick(now())).0;
    }
    assert_eq!(m.gate, Gate::Open);
}

#[test]
fn a_password_is_nowhere_to_be_seen() {
    let m = begun(Lang::En, true, "ncorrect horse battery>correct horse battery");
    let all: String = screens::drawn(&m).content.iter().map(|cell| cell.symbol()).collect();
    assert!(!all.contains("horse"));
    let (m, effects) = typed(m, ">");
    assert!(!format!("{effects:?} {:?}", m.gate).contains("horse"));
}

#[test]
fn what_is_wrong_is_said_at_its_field_and_nothing_is_lost() {
    let faults = |m: &Model| setup(m).faults.clone().into_iter().collect::<Vec<_>>();
    let m = begun(Lang::En, true, "none>two>");
    assert_eq!(faults(&m), [(Field::Again, Fault::Differs)]);
    let m = begun(Lang::En, true, "n>");
    assert_eq!(faults(&m), [(Field::Password, Fault::Empty)]);
    let m = begun(Lang::En, true, "nshort>short>");
    let m = fail(m, Request::SetPassword(Secret::default(), Secret::default()), "weak-password: short");
    assert!(setup(&m).failure.is_some() && setup(&m).step == Step::Password);
    for (keys, wrong, fault) in [
        (">", Field::Name, Fault::NotName),
        ("Rte 1>", Field::Name, Fault::NotName),
        ("rte01>rte01>>", Field::Other, Fault::SameName),
        ("rte01>>3>", Field::Place, Fault::NotPlace),
        ("rte01>>>>", Field::Ports, Fault::NoWan),
        ("rte01>>>w>", Field::Ports, Fault::NoLan),
        ("rte01>>>w_l_s>", Field::Ports, Fault::IdleSync),
        ("rte01>rte02>>w_l>", Field::Ports, Fault::NoSync),
        ("rte01>>>w_l>x>", Field::Wan, Fault::NotAddress),
        ("rte01>>>w_l>|0>", Field::Lan, Fault::NotAddress),
        ("rte01>>>w_l_d>||x>", Field::Dmz, Fault::NotAddress),
    ] {
        let m = named(Lang::En, true, keys);
        assert!(faults(&m).contains(&(wrong, fault)), "{keys}: {:?}", faults(&m));
    }
    // Back and forth, all of it is still there.
    let m = named(Lang::En, true, "rte01>rte02>>w_l_s>>>>><<<<");
    assert_eq!(setup(&m).step, Step::Welcome);
    let m = press(m, "n>>>>>>>>");
    assert_eq!((setup(&m).step, setup(&m).text(Field::Other)), (Step::Review, "rte02"));
}

#[test]
fn addresses_are_compared_with_each_other() {
    let with = |fields: &[(Field, &str)]| {
        let mut m = named(Lang::En, true, "rte01>rte02>>w_l_s_d>");
        let Gate::Setup(setup) = &mut m.gate else { panic!("no set-up") };
        for (field, text) in fields {
            setup.inputs.entry(*field).or_default().text = (*text).to_owned();
        }
        let wrong = |field| Some((field, crate::tui::setup::check::field(setup, field)?));
        setup.fields().into_iter().filter_map(wrong).collect::<Vec<_>>()
    };
    use Field::*;
    let good = [(Wan, "203.0.113.2/24"), (WanOther, "203.0.113.3/24"), (WanShared, "203.0.113.4/24")];
    let all = |more: &[(Field, &'static str)]| {
        let mut all = good.to_vec();
        all.push((Gateway, "203.0.113.1"));
        all.extend(more);
        with(&all)
    };
    assert_eq!(with(&[]), []);
    assert_eq!(all(&[]), []);
    assert_eq!(all(&[(Gateway, "203.0.114.1")]), [(Gateway, Fault::OtherNetwork)]);
    assert_eq!(all(&[(Gateway, "203.0.113.4")]), [(Gateway, Fault::Twice)]);
    assert_eq!(all(&[(Gateway, "203.0.113.1/24")]), [(Gateway, Fault::NotGateway)]);
    assert_eq!(all(&[(WanOther, "203.0.112.3/24")]), [(WanOther, Fault::OtherNetwork)]);
    assert_eq!(all(&[(LanShared, "192.168.10.1/24")]), [(LanShared, Fault::Twice), (Lan, Fault::Twice)]);
    assert_eq!(all(&[(LanOther, "192.168.10.0/24")]), [(LanOther, Fault::NotHost)]);
    assert_eq!(all(&[(LanOther, "192.168.10.255/24")]), [(LanOther, Fault::NotHost)]);
    assert!(all(&[(Dmz, "192.168.10.9/25")]).contains(&(Dmz, Fault::Overlaps)));
    assert_eq!(all(&[(Lan, "192.168.10.1")]), [(Lan, Fault::NotAddress)]);
}

#[test]
fn the_document_of_every_way_is_valid() {
    let dmz = ["", "_d"];
    for lang in [Lang::Fr, Lang::En] {
        for third in dmz {
            let alone = format!("rte01>>>w_l{third}>>>>");
            let first = format!("rte01>rte02>>w_l_s{third}>>>>>>>>");
            for keys in [alone, first] {
                let m = named(lang, true, &keys);
                let Some((text, report)) = &setup(&m).review else { panic!("{keys}: no document") };
                assert!(report.valid, "{keys}\n{text}\n{}", report.rendered);
            }
        }
    }
    // With addresses of one's own, and as the second box.
    let mut m = named(Lang::En, true, "rte02>rte01>");
    let Gate::Setup(it) = &mut m.gate else { panic!("no set-up") };
    it.inputs.entry(Field::Place).or_default().text = "2".into();
    it.inputs.entry(Field::Wan).or_default().text = "203.0.113.3/24".into();
    it.inputs.entry(Field::WanOther).or_default().text = "203.0.113.2/24".into();
    it.inputs.entry(Field::WanShared).or_default().text = "203.0.113.100/24".into();
    it.inputs.entry(Field::Gateway).or_default().text = "203.0.113.1".into();
    let m = press(m, ">w_l_s>>>>>>>>");
    let Some((text, report)) = &setup(&m).review else { panic!("no document") };
    assert!(report.valid && text.contains("nodes = [\"rte01\", \"rte02\"]"), "{text}\n{}", report.rendered);
    crate::golden::assert_golden("setup/pair.toml", text);
}

#[test]
fn the_document_is_committed_after_the_box_has_its_name() {
    let m = named(Lang::En, true, "rte01>>>w_l>>>");
    assert_eq!(setup(&m).step, Step::Review);
    assert_eq!(typed(m.clone(), "n>").1, []);
    let (m, effects) = typed(m, "y");
    assert_eq!(calls(effects), [Request::Name("rte01".into())]);
    assert_eq!(typed(m.clone(), "y<").1, []);
    let (m, effects) = update(m, Message::Answer(Request::Name("rte01".into()), Ok(Reply::Done)));
    let calls = calls(effects);
    let [Request::Commit(request)] = calls.as_slice() else { panic!("{calls:?}") };
    assert!(
        request.document.as_deref().is_some_and(|d| d.contains("node = \"rte01\""))
            && request.confirm_s.is_none()
    );
    // Refused: it says why, and all is still there.
    let no = refuse(m.clone(), calls[0].clone(), Refusal::Apply);
    assert!(setup(&no).failure.is_some() && !setup(&no).waiting && setup(&no).review.is_some());
    let m = give(m, calls[0].clone(), Reply::Commit(fixtures::commit()));
    assert!(m.gate == Gate::Open && matches!(m.dialogs.last(), Some(Dialog::Report { .. })));
}

#[test]
fn a_pair_is_joined_by_its_code_once_the_elector_has_its_name() {
    let m = joining(Lang::En, true, "rte02>>");
    assert_eq!(setup(&m).faults.get(&Field::Ports), Some(&Fault::NoSync));
    let (m, effects) = typed(m, "__s>7KQ4>");
    assert_eq!(calls(effects), [Request::Name("rte02".into())]);
    let (m, effects) = update(m, Message::Answer(Request::Name("rte02".into()), Ok(Reply::Done)));
    assert_eq!(calls(effects), [join()]);
    let away = || Message::Answer(join(), Err(Failure::Unreachable(Daemon::Ha, "starting".into())));
    let (m, effects) = update(m, away());
    assert_eq!(calls(effects), []);
    let (m, effects) = update(m, Message::Tick(now()));
    assert!(calls(effects).contains(&join()));
    let (m, effects) = update(m, Message::Tick(now()));
    assert!(!calls(effects).contains(&join()));
    let wrong = refused(m.clone());
    assert_eq!(setup(&wrong).faults.get(&Field::Code), Some(&Fault::Said("the code is wrong".into())));
    assert_eq!((setup(&wrong).text(Field::Code), setup(&wrong).waiting), ("7KQ4", false));
    let m = joined(Lang::En, true);
    assert_eq!((setup(&m).step, setup(&m).way), (Step::Joining, Way::Join));
    let m = hear(m, SetupStatus { committed: true, password: true, ..fixtures::setup_status() });
    assert_eq!(m.gate, Gate::Open);
    // For ever is too long.
    let mut m = joining(Lang::En, true, "rte02>__s>7KQ4>");
    m = give(m, Request::Name("rte02".into()), Reply::Done);
    for _ in 0..30 {
        m = update(update(m, away()).0, Message::Tick(now())).0;
    }
    assert!(setup(&m).failure.is_some() && !setup(&m).waiting);
}

#[test]
fn the_ports_are_asked_for_each_second_and_a_port_that_goes_takes_its_role_with_it() {
    let m = named(Lang::En, true, "rte01>>>w_l_");
    let (m, effects) = update(m, Message::Tick(now()));
    assert!(calls(effects).contains(&Request::Setup) && m.waiting.contains(&Poll::Setup));
    let m = plugged(m);
    assert!(setup(&m).moved.contains_key("enp3s0"));
    let mut status = fixtures::setup_status();
    status.ports.remove(1);
    let m = hear(m, status);
    assert_eq!(setup(&m).roles.keys().collect::<Vec<_>>(), ["enp1s0"]);
    // `w` elsewhere moves it there.
    let m = press(m, "w");
    assert_eq!(setup(&m).roles.len(), 1);
}

#[test]
fn a_password_whose_answer_came_too_late_is_set_all_the_same() {
    let m = begun(Lang::En, true, "ncorrect horse battery>correct horse battery>");
    let status = SetupStatus { password: true, ..fixtures::setup_status() };
    // Not before the answer, which may still come.
    let m = hear(m, status.clone());
    assert_eq!(setup(&m).step, Step::Password);
    let late = Message::Answer(
        Request::SetPassword(Secret::default(), Secret::default()),
        Err(Failure::TimedOut(120)),
    );
    let m = update(m, late).0;
    assert!(setup(&m).failure.is_some() && !setup(&m).waiting);
    let m = hear(m, status);
    assert_eq!(setup(&m).step, Step::Names);
}
