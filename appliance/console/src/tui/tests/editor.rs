//! The editor of the candidate.

use rempart_bus::documents::{CheckReport, Diagnosis};

use super::*;
use crate::tui::editor::Editor;
use crate::tui::model::Dialog;

const TEXT: &str = "version = 1\nnode = \"fw\"\n\n# été\n";

/// The candidate has come, and this was typed at its beginning.
pub fn opened(m: Model, keys: &str) -> Model {
    press(give(m, Request::Candidate, Reply::Text(TEXT.into())), keys)
}

/// It was checked, and something is wrong in its second line.
pub fn faulty(m: Model) -> Model {
    let (m, effects) = update(opened(m, "x"), control('s'));
    let [request] = calls(effects).try_into().expect("one call");
    let fault = Diagnosis {
        severity: "error".into(),
        code: "bad-value".into(),
        message: "`fw` is no name".into(),
        line: 2,
        column: 8,
        hint: None,
    };
    give(
        m,
        request,
        Reply::Check(CheckReport { valid: false, diagnostics: vec![fault], ..fixtures::check_valid() }),
    )
}

fn editor(m: &Model) -> &Editor {
    match m.dialogs.last() {
        Some(Dialog::Editor(editor)) => editor,
        other => panic!("no editor: {other:?}"),
    }
}

fn keyed(mut m: Model, codes: &[KeyCode]) -> Model {
    for code in codes {
        m = update(m, key(*code)).0;
    }
    m
}

#[test]
fn the_candidate_is_written_checked_and_kept() {
    for keys in ["5E", ":edit>"] {
        let (m, effects) = typed(filled(Lang::En, true), keys);
        assert_eq!(calls(effects), [Request::Candidate], "{keys}");
        // Nothing is typed into what is not there yet.
        let m = opened(press(m, "abc"), "");
        assert_eq!((editor(&m).text().as_str(), editor(&m).changed), (TEXT, false));
    }
    let m = faulty(press(filled(Lang::En, true), "5E"));
    let it = editor(&m);
    assert_eq!((it.row, it.column, it.sending, it.fault.is_some()), (1, 7, false, true));
    let (m, effects) = update(m, control('s'));
    let text = format!("x{TEXT}");
    assert_eq!(calls(effects), [Request::Check(text.clone())]);
    // Until the daemon has said so, it is not changed any more.
    let m = press(m, "y");
    let m = give(m, Request::Check("another".into()), Reply::Check(fixtures::check_invalid()));
    let answer = Message::Answer(Request::Check(text.clone()), Ok(Reply::Check(fixtures::check_valid())));
    let (m, effects) = update(m, answer);
    assert_eq!(calls(effects), [Request::Load(text.clone())]);
    let lost = Failure::Unreachable(crate::bus::Daemon::Control, "gone".into());
    let (back, _) = update(m.clone(), Message::Answer(Request::Load(text.clone()), Err(lost)));
    assert_eq!(editor(&press(back, ">")).text(), text);
    let m = give(m, Request::Load(text), Reply::Done);
    assert!(m.dialogs.is_empty() && m.notice.is_some());
}

#[test]
fn what_was_written_is_lost_by_the_second_key_only() {
    let open = |keys: &str| opened(press(filled(Lang::En, true), "5E"), keys);
    assert!(press(open(""), "<").dialogs.is_empty());
    let (m, effects) = update(open("x"), control('c'));
    assert!(effects.is_empty() && editor(&m).leaving);
    assert!(!editor(&press(m.clone(), "y")).leaving);
    assert!(press(m, "<").dialogs.is_empty());
}

#[test]
fn lines_are_split_joined_and_cut() {
    use KeyCode::{Backspace, Delete, Down, End, Enter, Home, Left, PageDown, Right, Up};
    let open = || opened(press(filled(Lang::En, true), "5E"), "");
    let text = |m: &Model| editor(m).text();
    let m = keyed(open(), &[Down, End, Enter, Up, Home, Delete]);
    assert_eq!(text(&m), "version = 1\node = \"fw\"\n\n\n# été\n");
    let m = keyed(open(), &[Down, Backspace, Right, Left]);
    assert_eq!(text(&m), "version = 1node = \"fw\"\n\n# été\n");
    let m = keyed(open(), &[PageDown, End, Backspace, Backspace]);
    assert_eq!(text(&m), TEXT.replace("été", "é"));
    let m = keyed(open(), &[Down, Down, Down, Left, Delete]);
    assert_eq!(text(&m), TEXT.replace("\n\n#", "\n#"));
    // At both ends there is nothing to take away.
    assert_eq!(text(&keyed(open(), &[Backspace])), TEXT);
    assert_eq!(text(&keyed(open(), &[PageDown, End, Delete])), TEXT);
    let mut m = open();
    for _ in 0..9 {
        m = update(m, control('k')).0;
    }
    assert_eq!(text(&m), "\n");
    // A long document keeps its cursor in sight.
    let m = give(press(filled(Lang::En, true), "5E"), Request::Candidate, Reply::Text("a\n".repeat(500)));
    let m = keyed(m, &[PageDown; 9]);
    let it = editor(&m);
    assert!(it.row > 100 && it.row - it.top < m.body_height());
}
