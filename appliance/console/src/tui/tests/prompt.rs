//! The prompt: what is typed, what is run and where, how it ends.

use super::*;
use crate::cli::line::Order;
use crate::tui::model::Dialog;
use crate::tui::prompt::{End, LINES_MAX, Output};
use crate::tui::view::dialogs::text_height;

/// A verb has said these lines and is done.
pub fn said(mut m: Model, text: &str) -> Model {
    for line in text.lines() {
        m = update(m, Message::Said(line.to_owned())).0;
    }
    update(m, Message::Ended(Some(0))).0
}

fn output(m: &Model) -> &Output {
    match m.dialogs.last() {
        Some(Dialog::Output(output)) => output,
        other => panic!("no output: {other:?}"),
    }
}

fn line(m: &Model) -> &str {
    match m.dialogs.last() {
        Some(Dialog::Prompt(prompt)) => &prompt.input.text,
        other => panic!("no prompt: {other:?}"),
    }
}

#[test]
fn a_verb_is_typed_completed_and_run_in_a_pane() {
    let (m, effects) = typed(filled(Lang::En, true), ":vpn li|>");
    let order = Order { words: vec!["vpn".into(), "list".into()], asks: false };
    assert_eq!(effects, [Effect::Run(order)]);
    assert!(output(&m).runs());
    // While it runs nothing leaves, and Ctrl-C is for it.
    let m = press(m, "<q>");
    let (m, effects) = update(m, control('c'));
    assert_eq!(effects, [Effect::Interrupt]);
    let (m, effects) = update(m, Message::Ended(None));
    assert_eq!(output(&m).end, Some(End::Interrupted));
    assert_eq!(calls(effects), [Request::Status]);
    assert!(press(m, "<").dialogs.is_empty());
}

#[test]
fn what_asks_for_something_gets_the_terminal() {
    let (m, effects) = typed(filled(Lang::En, true), ":vpn password alice>");
    let words = ["vpn", "password", "alice"].map(str::to_owned).to_vec();
    assert_eq!(effects, [Effect::Run(Order { words, asks: true })]);
    assert!(m.dialogs.is_empty());
    let (m, _) = update(m, Message::Ended(Some(1)));
    assert!(m.notice.is_some());
    let (m, _) = update(press(m, "<"), Message::Ended(Some(0)));
    assert_eq!(m.notice, None);
}

#[test]
fn what_is_no_verb_is_not_run() {
    for wrong in [":frobnicate>", ":status; id>", ":!sh>", ":vpn --help>", ":commit -m 'open>"] {
        let (m, effects) = typed(filled(Lang::Fr, true), wrong);
        assert_eq!(effects, [], "{wrong}");
        assert_eq!(output(&m).end, Some(End::Misread), "{wrong}");
        assert!(!output(&m).lines.is_empty(), "{wrong}");
    }
    let (m, effects) = typed(filled(Lang::Fr, true), ":  >");
    assert_eq!((m.dialogs.len(), effects), (0, Vec::new()));
}

#[test]
fn earlier_lines_come_back() {
    let m = press(filled(Lang::En, true), ":frob>");
    let m = press(m, "<:frob><:bleh><:");
    assert_eq!(m.typed, ["frob", "bleh"]);
    let m = press(m, "^");
    assert_eq!(line(&m), "bleh");
    let m = press(m, "^^^");
    assert_eq!(line(&m), "frob");
    let m = press(m, "__");
    assert_eq!(line(&m), "");
    let m = update(press(m, "x"), key(KeyCode::Backspace)).0;
    assert_eq!(line(&m), "");
    assert!(update(m, key(KeyCode::Backspace)).0.dialogs.is_empty());
    let m = update(press(filled(Lang::En, true), ":half"), control('c'));
    assert_eq!((m.0.dialogs.len(), m.1), (0, Vec::new()));
}

#[test]
fn a_long_answer_is_followed_while_it_comes_and_read_from_its_beginning() {
    let mut m = press(filled(Lang::En, true), ":log -f>");
    for i in 0..LINES_MAX + 30 {
        m = update(m, Message::Said(format!("line {i}"))).0;
    }
    let room = text_height(&m, m.dialogs.last().unwrap());
    assert_eq!((output(&m).lines.len(), output(&m).forgotten), (LINES_MAX, 30));
    let shows = |m: &Model, text: &str| {
        let all: String = screens::drawn(m).content.iter().map(|cell| cell.symbol()).collect();
        all.contains(text)
    };
    assert!(shows(&m, "line 2029"));
    // Somebody looks back: what comes does not move it. One line says how many are forgotten.
    let m = press(m, "^");
    let m = update(m, Message::Said("more".into())).0;
    assert_eq!((output(&m).follows, output(&m).scroll), (false, LINES_MAX - room));
    let m = update(m, key(KeyCode::End)).0;
    assert!(shows(&m, "more") && output(&m).follows);
    let (m, _) = update(m, Message::Ended(Some(0)));
    assert!(shows(&m, "more"));
    let m = said(press(filled(Lang::En, true), ":status>"), &"x\n".repeat(90));
    assert_eq!((output(&m).follows, output(&m).scroll), (false, 0));
}
