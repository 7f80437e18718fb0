//! Owns the prompt: a line that is typed, the lines typed before it, and what the verb on it says.
//!
//! Pure. What a line means is in [`crate::cli::line`]; who runs it is [`super::runner`].

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent};

use super::answers;
use super::model::{Dialog, Effect, Input, Model};
use super::update::type_into;
use crate::cli::line;
use crate::lang::Lang;
use crate::tr;
use crate::words::Tone;

/// Lines typed before that are kept: what a person remembers having typed.
pub const TYPED_MAX: usize = 100;
/// Lines that a verb has said and that are kept; older ones are forgotten first. A document of a few hundred flows.
pub const LINES_MAX: usize = 2000;

/// A line that is being typed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prompt {
    /// What stands there.
    pub input: Input,
    /// Which of the lines typed before it was taken from, counted from the newest.
    pub back: Option<usize>,
}

/// What a verb says.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// The verb, as it was typed.
    pub line: String,
    /// What it has said.
    pub lines: VecDeque<String>,
    /// Lines that were forgotten.
    pub forgotten: usize,
    /// How it has ended, if it has.
    pub end: Option<End>,
    /// Lines scrolled off the top, unless the end is followed.
    pub scroll: usize,
    /// Whether the last line stays in sight.
    pub follows: bool,
}

/// How a verb has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It is no verb.
    Misread,
    /// With this exit code.
    Code(i32),
    /// It was ended.
    Interrupted,
}

impl Output {
    fn new(line: &str) -> Self {
        Self {
            line: line.trim().to_owned(),
            lines: VecDeque::new(),
            forgotten: 0,
            end: None,
            scroll: 0,
            follows: true,
        }
    }

    /// Whether its verb runs.
    pub fn runs(&self) -> bool {
        self.end.is_none()
    }

    fn take(&mut self, text: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.forgotten += 1;
        }
        self.lines.push_back(text);
    }
}

/// A key while a line is typed. `None` while it goes on; else what takes its place, and what is to be done.
pub fn on_key(
    prompt: &mut Prompt,
    lang: Lang,
    typed: &mut Vec<String>,
    key: KeyEvent,
) -> Option<(Option<Output>, Vec<Effect>)> {
    match key.code {
        KeyCode::Tab => prompt.input.text = line::complete(lang, &prompt.input.text),
        KeyCode::Up => step(prompt, typed, true),
        KeyCode::Down => step(prompt, typed, false),
        KeyCode::Enter => return Some(enter(&prompt.input.text, lang, typed)),
        // As in vi: nothing is left to take away.
        KeyCode::Backspace if prompt.input.text.is_empty() => return Some((None, Vec::new())),
        _ => type_into(&mut prompt.input, key),
    }
    None
}

/// To the line before this one, or to the one after it.
fn step(prompt: &mut Prompt, typed: &[String], older: bool) {
    let back = match (prompt.back, older) {
        (None, true) => Some(0),
        (Some(back), true) => Some((back + 1).min(typed.len().saturating_sub(1))),
        (Some(0) | None, false) => None,
        (Some(back), false) => Some(back - 1),
    };
    let found = back.and_then(|back| typed.iter().rev().nth(back));
    prompt.back = back.filter(|_| found.is_some());
    prompt.input.text = found.cloned().unwrap_or_default();
}

fn enter(text: &str, lang: Lang, typed: &mut Vec<String>) -> (Option<Output>, Vec<Effect>) {
    let text = text.trim();
    if !text.is_empty() && typed.last().is_none_or(|last| last != text) {
        typed.push(text.to_owned());
        let surplus = typed.len().saturating_sub(TYPED_MAX);
        typed.drain(..surplus);
    }
    let mut output = Output::new(text);
    match line::parse(lang, text) {
        Ok(None) => (None, Vec::new()),
        // It has the terminal for itself, and a person who presses Enter when they have read it.
        Ok(Some(order)) if order.asks => (None, vec![Effect::Run(order)]),
        Ok(Some(order)) => (Some(output), vec![Effect::Run(order)]),
        Err(said) => {
            said.lines().for_each(|line| output.take(line.to_owned()));
            (output.end, output.follows) = (Some(End::Misread), false);
            (Some(output), Vec::new())
        }
    }
}

/// Whether a verb runs beside the screens.
pub fn is_running(m: &Model) -> bool {
    m.dialogs.iter().any(|dialog| matches!(dialog, Dialog::Output(output) if output.runs()))
}

/// Whether Ctrl-C is for the prompt or its verb.
pub fn is_open(m: &Model) -> bool {
    matches!(m.dialogs.last(), Some(Dialog::Prompt(_) | Dialog::Output(_)))
}

/// Ctrl-C: the verb ends; without one, the line goes.
pub fn on_interrupt(m: &mut Model) -> Vec<Effect> {
    match m.dialogs.last() {
        Some(Dialog::Output(output)) if output.runs() => vec![Effect::Interrupt],
        _ => {
            m.dialogs.pop();
            Vec::new()
        }
    }
}

/// The verb has said a line.
pub fn said(m: &mut Model, text: String) {
    // A key line that is an eighth of a line long in one place is eight in another.
    let text = text.replace('\t', "    ");
    if let Some(output) = running(m) {
        output.take(text);
    }
}

/// The verb has ended. It may have changed anything: all is asked for anew.
pub fn ended(m: &mut Model, code: Option<i32>) -> Vec<Effect> {
    if let Some(output) = running(m) {
        output.end = Some(code.map_or(End::Interrupted, End::Code));
        // What has been said is read from its beginning; what was ended is read where it was.
        output.follows &= code.is_none();
    } else if let Some(code) = code.filter(|code| *code != 0) {
        m.notice = Some((tr!(m.lang, "prompt-failed", code = code), Tone::Warn));
    }
    answers::polls(m, true)
}

fn running(m: &mut Model) -> Option<&mut Output> {
    m.dialogs.iter_mut().rev().find_map(|dialog| match dialog {
        Dialog::Output(output) if output.runs() => Some(output),
        _ => None,
    })
}
