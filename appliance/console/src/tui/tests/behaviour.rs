//! What keys, the clock and answers do.

use super::*;
use crate::filter::Order as ListOrder;
use crate::lab::{Order, Stream, Traffic};
use crate::tui::model::{Dialog, LOG_MAX, Link, Poll, Screen};
use crate::words::Tone;

fn diff() -> Request {
    Request::Diff("running".into(), "candidate".into())
}

#[test]
fn only_the_visible_screen_is_asked_for_and_once_at_a_time() {
    let (m, effects) = update(fresh(Lang::En, true), Message::Tick(now()));
    assert_eq!(calls(effects), [Request::Status]);
    // The answer has not come: nothing is asked twice.
    let (m, effects) = update(m, Message::Tick(now()));
    assert_eq!(calls(effects), []);
    let m = give(m, Request::Status, Reply::Status(Box::new(fixtures::status())));
    let (m, effects) = typed(m, "3");
    assert_eq!(calls(effects), [Request::Status, Request::Connections(CONNECTIONS_MAX)]);
    let (m, effects) = typed(m, "4");
    assert_eq!(calls(effects), [Request::Log(0)]);
    let (_, effects) = typed(m, "5");
    assert_eq!(calls(effects), [Request::History]);
}

#[test]
fn the_matrix_asks_for_warnings_about_the_running_document_once() {
    let mut m = fresh(Lang::En, true);
    m = give(m, Request::Status, Reply::Status(Box::new(fixtures::status())));
    let (m, effects) = typed(m, "2");
    assert_eq!(calls(effects), [Request::Status, Request::Flows, Request::Show(12)]);
    let (m, effects) = update(m, Message::Answer(Request::Show(12), Ok(Reply::Text("doc".into()))));
    assert_eq!(calls(effects), [Request::Check("doc".into())]);
    let (_, effects) = typed(m, "12");
    assert!(!calls(effects).contains(&Request::Show(12)));
}

#[test]
fn a_daemon_that_goes_away_leaves_the_data_and_its_return_is_seen() {
    let m = press(filled(Lang::En, true), "3");
    let gone = || {
        Message::Answer(
            Request::Status,
            Err(Failure::Unreachable(crate::bus::Daemon::Control, "gone".into())),
        )
    };
    let (m, _) = update(m, gone());
    let later = now() + jiff::SignedDuration::from_secs(5);
    let (m, effects) = update(m, Message::Tick(later));
    assert_eq!(calls(effects), [Request::Status]);
    let (m, _) = update(m, gone());
    // However often it fails, it has been away since the first time.
    assert_eq!(
        m.link,
        Link::Down {
            since: now(),
            failure: Failure::Unreachable(crate::bus::Daemon::Control, "gone".into())
        }
    );
    assert_eq!(m.connections.items.len(), 6);
    let back = Message::Answer(Request::Status, Ok(Reply::Status(Box::new(fixtures::status()))));
    let m = {
        let mut m = m;
        m.waiting.clear();
        m
    };
    let (m, effects) = update(m, back);
    assert_eq!(m.link, Link::Up);
    assert!(calls(effects).contains(&Request::Connections(CONNECTIONS_MAX)));
}

#[test]
fn a_filter_works_while_it_is_typed_and_keys_do_not_leak() {
    let m = press(filled(Lang::En, true), "3/proto:tcp q1");
    assert_eq!((m.screen, m.connections.editing), (Screen::Connections, true));
    assert_eq!(m.shown_connections().len(), 0);
    let m = press(m, "<");
    assert_eq!((m.shown_connections().len(), m.connections.editing), (6, false));
    let m = press(m, "/zone:dmz>");
    assert_eq!((m.shown_connections().len(), m.connections.editing), (2, false));
    let m = press(m, "/ port:x");
    assert_eq!(m.connections.bad.as_deref(), Some("port:x"));
    assert_eq!(m.shown_connections().len(), 2, "what was understood stays in force");
}

#[test]
fn the_cursor_stays_on_its_connection_when_the_table_moves() {
    let m = press(filled(Lang::En, true), "3__");
    let id = m.shown_connections()[m.connections.cursor].id;
    let mut list = fixtures::connections();
    list.reverse();
    let m = give(m, Request::Connections(CONNECTIONS_MAX), Reply::Connections(list));
    assert_eq!(m.shown_connections()[m.connections.cursor].id, id);
}

#[test]
fn a_frozen_table_does_not_move_and_is_not_asked_for() {
    let m = press(filled(Lang::En, true), "3");
    let m = {
        let mut m = m;
        m.waiting.clear();
        m
    };
    let m = press(m, "f");
    let m = give(m, Request::Connections(CONNECTIONS_MAX), Reply::Connections(Vec::new()));
    assert_eq!(m.connections.items.len(), 6);
    let (_, effects) = update(m, Message::Tick(now()));
    assert_eq!(calls(effects), [Request::Status]);
}

#[test]
fn orders_by_letter() {
    for (letter, order) in
        [('b', ListOrder::Bytes), ('a', ListOrder::Age), ('t', ListOrder::Timeout), ('n', ListOrder::Newest)]
    {
        assert_eq!(press(filled(Lang::En, true), &format!("3{letter}")).order, order);
    }
    assert_eq!(press(filled(Lang::En, true), "3ssss").order, ListOrder::Newest);
}

#[test]
fn connections_end_only_after_they_were_shown() {
    let (m, effects) = typed(filled(Lang::En, true), "3bk");
    assert_eq!(calls(effects), []);
    let Some(Dialog::Kill { victims, .. }) = m.dialogs.last() else { panic!("a question") };
    assert_eq!(victims.iter().map(|c| c.id).collect::<Vec<_>>(), [7002]);
    assert_eq!(typed(m.clone(), "n").0.dialogs, []);
    let (m, effects) = typed(m, "y");
    assert_eq!(calls(effects), [Request::Kill(vec![7002])]);
    // The second y does not end it twice.
    let (m, effects) = typed(m, "y");
    assert_eq!(calls(effects), []);
    let m = give(m, Request::Kill(vec![7002]), Reply::Number(1));
    assert_eq!((m.dialogs.len(), m.notice.is_some()), (0, true));
}

#[test]
fn all_that_the_filter_lets_through_can_be_ended() {
    let m = press(filled(Lang::En, true), "3/zone:dmz>K");
    let Some(Dialog::Kill { victims, .. }) = m.dialogs.last() else { panic!("a question") };
    assert_eq!(victims.iter().map(|c| c.id).collect::<Vec<_>>(), [7001, 7002]);
}

#[test]
fn the_log_follows_until_the_cursor_leaves_the_end() {
    let more = |m: Model, first: u64| {
        let mut page = fixtures::log();
        page.entries.iter_mut().for_each(|e| e.sequence += first);
        page.next = first + 6;
        let after = m.log_next;
        give(m, Request::Log(after), Reply::Log(page))
    };
    let m = press(filled(Lang::En, true), "4");
    assert_eq!(m.log.cursor, 5);
    let m = more(m, 6);
    assert_eq!((m.log.cursor, m.log_next), (11, 12));
    let m = more(press(m, "^"), 12);
    assert_eq!(m.log.cursor, 10);
    let mut m = m;
    for i in 0..2000 {
        m = more(m, i * 6);
    }
    assert_eq!(m.log.items.len(), LOG_MAX);
}

#[test]
fn a_commit_shows_what_changes_and_waits_for_a_good_check() {
    let (m, effects) = typed(filled(Lang::En, true), "5c");
    assert_eq!(calls(effects), [diff(), Request::Check(String::new())]);
    let (m, effects) = typed(m, "phones>");
    assert_eq!(calls(effects), [], "nothing was seen yet");
    let m = give(m, diff(), Reply::Text(fixtures::DIFF.into()));
    let bad = give(m.clone(), Request::Check(String::new()), Reply::Check(fixtures::check_invalid()));
    assert_eq!(calls(typed(bad, ">").1), [], "it is not good");
    let m = give(m, Request::Check(String::new()), Reply::Check(fixtures::check_valid()));
    let (m, effects) = typed(m, ">");
    let [Request::Commit(request)] = &calls(effects)[..] else { panic!("a commit") };
    assert_eq!((request.comment.as_str(), request.confirm_s, request.force), ("phones", Some(300), false));
    assert_eq!((request.author.as_str(), &request.document), ("alice", &None));
    let m = give(m, Request::Commit(request.clone()), Reply::Commit(fixtures::commit()));
    assert!(matches!(m.dialogs[..], [Dialog::Report { .. }]));
}

#[test]
fn a_commit_that_would_lock_out_needs_another_key() {
    let ready = |m: Model| {
        let m = give(press(m, "5c"), diff(), Reply::Text(fixtures::DIFF.into()));
        give(m, Request::Check(String::new()), Reply::Check(fixtures::check_valid()))
    };
    let m = ready(filled(Lang::En, true));
    let (m, effects) = update(m, control('f'));
    assert_eq!(calls(effects), [], "not before it was refused");
    let (m, effects) = typed(m, ">");
    let request = calls(effects).remove(0);
    let m = refuse(m, request, Refusal::LockOut);
    let (_, effects) = update(m, control('f'));
    assert!(matches!(&calls(effects)[..], [Request::Commit(r)] if r.force));
}

#[test]
fn a_time_that_cannot_be_read_commits_nothing() {
    let m = give(press(filled(Lang::En, true), "5c"), diff(), Reply::Text(fixtures::DIFF.into()));
    let m = give(m, Request::Check(String::new()), Reply::Check(fixtures::check_valid()));
    let (m, effects) = typed(m, "|x>");
    assert_eq!(calls(effects), []);
    let Some(Dialog::Commit(form)) = m.dialogs.last() else { panic!("the form") };
    assert!(form.bad_time);
    let (m, _) = update(m, control('u'));
    let (_, effects) = typed(m, ">");
    assert!(matches!(&calls(effects)[..], [Request::Commit(r)] if r.confirm_s.is_none()));
}

#[test]
fn the_first_commit_has_nothing_to_go_back_to() {
    let status = rempart_bus::documents::Status { revision: None, ..fixtures::status() };
    let m = give(filled(Lang::En, true), Request::Status, Reply::Status(Box::new(status)));
    let m = press(m, "5c");
    assert!(matches!(m.dialogs.last(), Some(Dialog::Commit(form)) if form.confirm.text.is_empty()));
}

#[test]
fn a_roll_back_shows_its_diff_first() {
    let (m, effects) = typed(filled(Lang::En, true), "5_b");
    let shown = Request::Diff("running".into(), "11".into());
    assert_eq!(calls(effects), std::slice::from_ref(&shown));
    let m = give(m, shown, Reply::Text(fixtures::DIFF.into()));
    let (_, effects) = typed(m, ">");
    assert!(matches!(&calls(effects)[..], [Request::Rollback(11, _)]));
}

#[test]
fn a_commit_on_trial_is_kept_or_left_from_any_screen() {
    let pending = |keys: &str| {
        let m = press(filled(Lang::En, true), keys);
        give(m, Request::Status, Reply::Status(Box::new(fixtures::status_pending())))
    };
    for screen in ["1", "2", "3", "4", "5"] {
        assert_eq!(calls(typed(pending(screen), "y").1), [Request::Confirm]);
        let (m, effects) = typed(pending(screen), "r");
        assert_eq!(calls(effects), [Request::Diff("13".into(), "12".into())]);
        assert_eq!(calls(typed(m, "y").1), [Request::Revert]);
    }
    // Without a commit on trial the keys mean nothing.
    assert_eq!(calls(typed(filled(Lang::En, true), "y").1), []);
}

#[test]
fn the_countdown_goes_on_while_the_daemon_is_silent() {
    let m =
        give(filled(Lang::En, true), Request::Status, Reply::Status(Box::new(fixtures::status_pending())));
    assert_eq!(m.confirm_left_s(), Some(247));
    let (m, _) = update(m, Message::Tick(now() + jiff::SignedDuration::from_secs(7)));
    assert_eq!(m.confirm_left_s(), Some(240));
    let (m, _) = update(m, Message::Tick(now() + jiff::SignedDuration::from_secs(999)));
    assert_eq!(m.confirm_left_s(), Some(0));
}

#[test]
fn explain_is_filled_in_from_the_cursor() {
    let m = press(filled(Lang::En, true), "3__e");
    let Some(Dialog::Explain(form)) = m.dialogs.last() else { panic!("the form") };
    let fields: Vec<&str> = form.fields.iter().map(|f| f.text.as_str()).collect();
    assert_eq!(fields, ["wan", "203.0.113.50", "198.51.100.10", "tcp/443"]);
    let (m, effects) = typed(m, ">");
    let [Request::Explain(request)] = &calls(effects)[..] else { panic!("a question") };
    assert_eq!((request.from.as_deref(), request.service.as_str()), (Some("wan"), "tcp/443"));
    let m = refuse(m, Request::Explain(request.clone()), Refusal::NotFound);
    let Some(Dialog::Explain(form)) = m.dialogs.last() else { panic!("the form stays") };
    assert!(matches!(form.result, Some(Err(_))) && !form.waiting);
}

#[test]
fn explain_asks_for_what_is_missing() {
    let (m, effects) = typed(filled(Lang::En, true), "ee>");
    assert_eq!(calls(effects), []);
    let Some(Dialog::Explain(form)) = m.dialogs.last() else { panic!("the form") };
    assert_eq!(form.fields[1].text, "e", "letters go into the field, not to the screen");
    assert_eq!(form.focus, 2, "the destination is missing");
}

#[test]
fn the_matrix_leads_to_flows_and_to_one_flow() {
    // From lan to wan: row 1, column 0.
    let m = press(filled(Lang::En, true), "2_>");
    let Some(Dialog::Flows { ids, .. }) = m.dialogs.last() else { panic!("the cell") };
    assert_eq!(ids, &[1, 2]);
    let m = press(m, "_>");
    assert!(matches!(m.dialogs.last(), Some(Dialog::Flow(f)) if f.label == "lan-out"));
    let m = press(m, "<<");
    assert_eq!(m.dialogs, []);
    // The cursor does not leave the matrix, and turning it goes back to its corner.
    let m = press(m, "_________");
    assert_eq!(m.matrix.row, 4);
    assert_eq!(press(m, "t").matrix.row, 0);
}

#[test]
fn the_language_switches_by_key() {
    let (m, _) = update(filled(Lang::En, true), key(KeyCode::F(2)));
    assert_eq!(m.lang, Lang::Fr);
    assert_eq!(press(m.clone(), "L").lang, Lang::En);
    // In a field L is a letter.
    assert_eq!(press(m, "eL").lang, Lang::Fr);
}

#[test]
fn leaving() {
    assert_eq!(typed(filled(Lang::En, true), "q").1, [Effect::Quit]);
    assert_eq!(update(filled(Lang::En, true), control('c')).1, [Effect::Quit]);
    assert_eq!(update(filled(Lang::En, true), Message::Terminate).1, [Effect::Quit]);
    assert_eq!(typed(filled(Lang::En, true), "?q").1, [], "q leaves the help, not the program");
    assert_eq!(update(filled(Lang::En, true), control('l')).1, [Effect::Repaint]);
}

#[test]
fn a_refusal_is_shown_in_full_and_nothing_hangs() {
    let m = press(filled(Lang::En, true), "5d");
    let m = refuse(m, diff(), Refusal::NotFound);
    assert!(matches!(m.dialogs[..], [Dialog::Failure { .. }]));
    let m = press(m, "<");
    assert_eq!(m.dialogs, []);
    // A poll that fails is only asked again.
    let m = {
        let mut m = m;
        m.waiting = [Poll::Flows].into();
        m
    };
    let m = refuse(m, Request::Flows, Refusal::Failed);
    assert_eq!((m.dialogs.len(), m.waiting.len()), (0, 0));
}

#[test]
fn rates_are_means_over_six_seconds() {
    let mut m = fresh(Lang::En, true);
    for _ in 0..70 {
        m = give(m, Request::Status, Reply::Status(Box::new(fixtures::status())));
    }
    let rates = &m.rates["wan"];
    assert_eq!(rates.samples.len(), crate::tui::model::RATES_MAX);
    assert_eq!(rates.samples[0], 51_300_000);
}

#[test]
fn the_role_moves_only_after_a_yes() {
    // s on the pair's screen shows what would happen; y does it once; n leaves it.
    let m = press(filled(Lang::En, true), "6s");
    assert!(matches!(m.dialogs.last(), Some(Dialog::Move { order: Request::Switch, sending: false })));
    let (left, effects) = typed(m.clone(), "n");
    assert_eq!((calls(effects), left.dialogs.len()), (vec![], 0));
    let (m, effects) = typed(m, "y");
    assert_eq!(calls(effects), [Request::Switch]);
    let (m, effects) = typed(m, "y");
    assert_eq!(calls(effects), [], "it is under way");
    let m = give(m, Request::Switch, Reply::Done);
    assert!(m.dialogs.is_empty() && m.notice.is_some());
}

#[test]
fn maintenance_is_what_it_is_not() {
    // The node of the fixture is in service: m takes it out.
    let (_, effects) = typed(filled(Lang::En, true), "6my");
    assert_eq!(calls(effects), [Request::Maintenance(true)]);
}

#[test]
fn the_pair_is_asked_for_on_its_screen_and_its_absence_is_shown() {
    let (m, effects) = typed(fresh(Lang::En, true), "6");
    assert!(calls(effects).contains(&Request::HaStatus));
    let gone = Failure::Unreachable(crate::bus::Daemon::Ha, "gone".into());
    let (m, _) = update(m, Message::Answer(Request::HaStatus, Err(gone)));
    // Nothing is known, so nothing can be moved.
    assert!(press(m, "s").dialogs.is_empty());
}

#[test]
fn a_document_is_chosen_only_after_its_diff() {
    // c on the pair's screen offers both; m or t shows what it changes; y does it once.
    let m = press(filled(Lang::En, true), "6c");
    assert!(m.dialogs.is_empty() && m.notice.is_some(), "nothing has diverged");
    let m = give(m, Request::HaStatus, Reply::HaStatus(Box::new(fixtures::diverged())));
    let (m, effects) = typed(m, "cy");
    assert_eq!(calls(effects), [], "nothing is chosen yet");
    let (m, effects) = typed(m, "t");
    assert_eq!(calls(effects), [Choice::Theirs.diff()]);
    let (m, effects) = typed(m, "m");
    assert_eq!(calls(effects), [Choice::Mine.diff()]);
    // The answer about the other choice comes late, and is not what is asked about now.
    let m = give(m, Choice::Theirs.diff(), Reply::Text(fixtures::DIFF.into()));
    let (m, effects) = typed(m, "y");
    assert_eq!(calls(effects), [], "its diff was not seen");
    let m = give(m, Choice::Mine.diff(), Reply::Text(fixtures::DIFF.into()));
    assert_eq!(typed(m.clone(), "n").0.dialogs, []);
    let (m, effects) = typed(m, "y");
    assert_eq!(calls(effects), [Request::Resolve(Choice::Mine)]);
    let (m, effects) = typed(m, "yt");
    assert_eq!(calls(effects), [], "it is under way");
    let m = give(m, Request::Resolve(Choice::Mine), Reply::Number(14));
    assert!(m.dialogs.is_empty() && m.notice.is_some());
}

#[test]
fn the_lab_has_keys_of_its_own() {
    // Outside of a lab X does nothing; in it X opens its keys, and each gives its order once.
    assert!(press(filled(Lang::En, true), "X").dialogs.is_empty());
    let ssh = Stream { longest_pause_ms: 104, ..Stream::default() };
    let traffic = Traffic { download: None, ssh: Some(ssh) };
    let lab = update(filled(Lang::En, true), Message::Traffic(traffic)).0;
    for (key, order) in [
        ("d", Order::Download(true)),
        ("s", Order::Ssh(false)),
        ("k", Order::PowerOff),
        ("b", Order::PowerOn),
    ] {
        let (m, effects) = typed(lab.clone(), &format!("3X{key}"));
        assert_eq!(effects, [Effect::Lab(order)]);
        // What comes of it shows on the pair's screen.
        assert_eq!((m.dialogs.len(), m.screen, m.notice.is_some()), (0, Screen::Pair, true));
        let (m, _) = update(m, Message::LabDone(order, Err("no router is active".into())));
        assert!(m.notice.is_some_and(|(text, tone)| text.contains("no router") && tone == Tone::Bad));
    }
    assert_eq!(typed(lab, "Xz").1, []);
}
