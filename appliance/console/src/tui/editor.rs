//! Owns the editor of the candidate: a box has no other program that could change a document.
//!
//! Pure. What is written is checked by `rempartd` before it takes the candidate's place, and until then it is nowhere but here.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rempart_bus::documents::{CheckReport, Diagnosis};

use super::model::{Dialog, Effect, Model};
use crate::bus::Request;
use crate::tr;
use crate::words::Tone;

/// Longest document that is edited here, in bytes: a policy of some thousand flows. Larger ones come by `load`.
pub const TEXT_MAX: usize = 1 << 20;
/// Columns that a tab key is worth.
const TAB: usize = 4;

/// See the head of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Editor {
    /// The text by its lines; none until it is here.
    pub lines: Vec<String>,
    /// The line of the cursor.
    pub row: usize,
    /// The character of the cursor in it.
    pub column: usize,
    /// The first line in sight.
    pub top: usize,
    /// Whether it differs from the candidate.
    pub changed: bool,
    /// Whether somebody wants to leave it so.
    pub leaving: bool,
    /// Whether the daemon is at it.
    pub sending: bool,
    /// What is wrong with it, the first of it.
    pub fault: Option<Diagnosis>,
}

impl Editor {
    /// The text has come.
    pub fn take(&mut self, text: &str) {
        self.lines = text.lines().map(str::to_owned).collect();
        if self.lines.is_empty() {
            self.lines.push(String::new());
        }
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    fn line(&mut self) -> &mut String {
        if self.row >= self.lines.len() {
            self.lines.resize(self.row + 1, String::new());
        }
        &mut self.lines[self.row]
    }

    fn width(&self, row: usize) -> usize {
        self.lines.get(row).map_or(0, |line| line.chars().count())
    }

    /// The byte of the cursor in its line.
    fn byte(&self) -> usize {
        let line = self.lines.get(self.row).map_or("", String::as_str);
        line.char_indices().nth(self.column).map_or(line.len(), |(at, _)| at)
    }

    fn insert(&mut self, text: &str) {
        let at = self.byte();
        self.line().insert_str(at, text);
        self.column += text.chars().count();
        self.changed = true;
    }

    fn split(&mut self) {
        let at = self.byte();
        let rest = self.line().split_off(at);
        (self.row, self.column) = (self.row + 1, 0);
        self.lines.insert(self.row, rest);
        self.changed = true;
    }

    /// Takes away what stands before the cursor.
    fn backspace(&mut self) {
        if self.column > 0 {
            self.column -= 1;
            let at = self.byte();
            self.line().remove(at);
        } else if self.row > 0 {
            let rest = self.lines.remove(self.row);
            self.row -= 1;
            self.column = self.width(self.row);
            self.line().push_str(&rest);
        } else {
            return;
        }
        self.changed = true;
    }

    /// Takes away what stands under the cursor.
    fn delete(&mut self) {
        let last = self.row + 1 >= self.lines.len();
        if self.column >= self.width(self.row) && last {
            return;
        }
        self.step(true);
        self.backspace();
    }

    fn step(&mut self, forward: bool) {
        let (row, column, width) = (self.row, self.column, self.width(self.row));
        (self.row, self.column) = match forward {
            true if column < width => (row, column + 1),
            true if row + 1 < self.lines.len() => (row + 1, 0),
            false if column > 0 => (row, column - 1),
            false if row > 0 => (row - 1, self.width(row - 1)),
            true | false => (row, column),
        };
    }

    fn cut_line(&mut self) {
        self.lines.remove(self.row.min(self.lines.len().saturating_sub(1)));
        if self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.changed = true;
    }

    fn go(&mut self, row: usize, column: usize, page: usize) {
        self.row = row.min(self.lines.len().saturating_sub(1));
        self.column = column.min(self.width(self.row));
        // The cursor stays in sight.
        self.top = self.top.clamp((self.row + 1).saturating_sub(page.max(1)), self.row);
    }
}

/// Opens the candidate.
pub fn open(m: &mut Model) -> Vec<Effect> {
    super::update::open(m, Dialog::Editor(Box::default()));
    vec![Effect::Call(Request::Candidate)]
}

/// A key. `None` when it is left.
pub fn on_key(mut it: Box<Editor>, key: KeyEvent, page: usize) -> (Option<Box<Editor>>, Vec<Effect>) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let leaves = key.code == KeyCode::Esc || (control && key.code == KeyCode::Char('c'));
    if leaves {
        // What would be lost is lost by the second key only.
        if it.leaving || !it.changed {
            return (None, Vec::new());
        }
        it.leaving = true;
        return (Some(it), Vec::new());
    }
    it.leaving = false;
    if it.sending || it.lines.is_empty() {
        return (Some(it), Vec::new());
    }
    if control && matches!(key.code, KeyCode::Char('s' | 'o')) {
        (it.sending, it.fault) = (true, None);
        let effect = Effect::Call(Request::Check(it.text()));
        return (Some(it), vec![effect]);
    }
    let room = it.lines.iter().map(|line| line.len() + 1).sum::<usize>() < TEXT_MAX;
    match key.code {
        KeyCode::Char('k') if control => it.cut_line(),
        KeyCode::Char('h') if control => it.backspace(),
        KeyCode::Char(c) if !control && !c.is_control() && room => it.insert(c.encode_utf8(&mut [0; 4])),
        KeyCode::Tab if room => it.insert(&" ".repeat(TAB)),
        KeyCode::Enter if room => it.split(),
        KeyCode::Backspace => it.backspace(),
        KeyCode::Delete => it.delete(),
        KeyCode::Left => it.step(false),
        KeyCode::Right => it.step(true),
        KeyCode::Up => it.row = it.row.saturating_sub(1),
        KeyCode::Down => it.row += 1,
        KeyCode::PageUp => it.row = it.row.saturating_sub(page),
        KeyCode::PageDown => it.row += page,
        KeyCode::Home if control => (it.row, it.column) = (0, 0),
        KeyCode::End if control => it.row = it.lines.len(),
        KeyCode::Home => it.column = 0,
        KeyCode::End => it.column = usize::MAX,
        _ => {}
    }
    let (row, column) = (it.row, it.column);
    it.go(row, column, page);
    (Some(it), Vec::new())
}

fn of(m: &mut Model) -> Option<&mut Editor> {
    m.dialogs.iter_mut().rev().find_map(|dialog| match dialog {
        Dialog::Editor(editor) => Some(&mut **editor),
        _ => None,
    })
}

/// Whether this is what was written, to be checked.
pub fn asks(m: &mut Model, document: &str) -> bool {
    of(m).is_some_and(|editor| editor.sending && editor.text() == document)
}

/// What was written has been checked. Assertions are about the whole: the commit will say them, and the text may be kept.
pub fn checked(m: &mut Model, document: &str, report: &CheckReport) -> Vec<Effect> {
    let page = m.body_height().saturating_sub(2);
    let Some(editor) = of(m) else { return Vec::new() };
    let Some(fault) = report.diagnostics.iter().find(|d| d.severity == "error") else {
        return vec![Effect::Call(Request::Load(document.to_owned()))];
    };
    editor.sending = false;
    let before = |n: u32| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    editor.go(before(fault.line), before(fault.column), page);
    editor.fault = Some(fault.clone());
    Vec::new()
}

/// It is the candidate now.
pub fn loaded(m: &mut Model) {
    if of(m).is_some_and(|editor| editor.sending) {
        m.dialogs.retain(|dialog| !matches!(dialog, Dialog::Editor(_)));
        m.notice = Some((tr!(m.lang, "editor-loaded"), Tone::Good));
    }
}

/// The daemon has not done what was asked; the text stays. Whether it was asked.
pub fn refused(m: &mut Model) -> bool {
    of(m).is_some_and(|editor| std::mem::take(&mut editor.sending))
}

/// The text of the candidate, where it was asked for.
pub fn take(m: &mut Model, text: &str) {
    if let Some(editor) = of(m).filter(|editor| editor.lines.is_empty()) {
        editor.take(text);
    }
}
