//! Owns the first page of a box that was started from a stick: install on a disk, try it live, or keep the stick.
//!
//! ```text
//!   Choice ─i─▶ Disks ─▶ Confirm ─its maker's name─▶ Copying ─▶ Done ─▶ Leaving
//!          ─t─▶ the set-up, and nothing is kept         │ why not ─▶ Disks
//!          ─k─▶ Keep ──────────────────────────────────────────────▶ Leaving
//! ```
//!
//! Pure. `rempart-update` looks at the disks, judges and writes; it takes a disk only with the name that was typed here.

use std::ops::ControlFlow;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rempart_bus::update::{DiskRequest, DiskView, DisksReport, Job};

use super::gate;
use super::model::{Effect, Gate, Input, Model, Poll};
use super::update::{is_yes, move_cursor, type_into};
use crate::bus::{Failure, Refusal, Reply, Request};
use crate::updates::{Answer, Ask};

/// A page.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// What is to be done.
    Choice,
    /// On which disk.
    Disks,
    /// This one, if its name is typed.
    Confirm(Box<DiskView>),
    /// It is being written.
    Copying(Box<DiskView>),
    /// It was.
    Done(Box<DiskView>),
    /// Whether the stick is to be kept.
    Keep,
    /// The box starts again.
    Leaving,
}

/// See the head of the file.
#[derive(Clone, PartialEq, Debug)]
pub struct Live {
    /// The stick.
    pub stick: String,
    /// The page.
    pub stage: Stage,
    /// The disks, once they were looked at.
    pub disks: Option<DisksReport>,
    /// The one under the cursor.
    pub cursor: usize,
    /// What was typed.
    pub input: Input,
    /// It was something else.
    pub wrong: bool,
    /// Whether a daemon is at it.
    pub waiting: bool,
    /// How far it is.
    pub job: Option<Job>,
    /// What a daemon said.
    pub failure: Option<Failure>,
}

impl Live {
    /// At its first page.
    pub fn new(stick: &str) -> Self {
        Self {
            stick: stick.to_owned(),
            stage: Stage::Choice,
            disks: None,
            cursor: 0,
            input: Input::default(),
            wrong: false,
            waiting: false,
            job: None,
            failure: None,
        }
    }

    fn go(&mut self, stage: Stage) {
        (self.stage, self.input, self.wrong, self.failure) = (stage, Input::default(), false, None);
    }

    /// The disks that are shown.
    pub fn shown(&self) -> &[DiskView] {
        self.disks.as_ref().map_or(&[], |report| &report.disks)
    }
}

/// A key.
pub fn on_key(m: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let (lang, author) = (m.lang, m.author.clone());
    let Gate::Live(live) = &mut m.gate else { return Vec::new() };
    let interrupts = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let back = key.code == KeyCode::Esc || interrupts;
    // What a daemon is at is not taken away from under it.
    if live.waiting {
        return Vec::new();
    }
    match (&live.stage, back) {
        (Stage::Choice, _) => return on_choice_key(m, key, interrupts),
        (Stage::Disks | Stage::Keep, true) => live.go(Stage::Choice),
        (Stage::Confirm(_), true) => live.go(Stage::Disks),
        (Stage::Disks, false) => on_disk_key(live, key),
        (Stage::Confirm(disk), false) => {
            let disk = disk.clone();
            return on_confirm_key(live, &disk, key, author);
        }
        (Stage::Keep, false) if is_yes(lang, key) => return call(live, Ask::Keep(author)),
        (Stage::Done(_), false) if key.code == KeyCode::Enter => return call(live, Ask::Leave(author)),
        (Stage::Keep | Stage::Done(_) | Stage::Copying(_) | Stage::Leaving, _) => {}
    }
    Vec::new()
}

fn call(live: &mut Live, asked: Ask) -> Vec<Effect> {
    (live.waiting, live.failure) = (true, None);
    vec![Effect::Call(Request::Update(Box::new(asked)))]
}

fn on_choice_key(m: &mut Model, key: KeyEvent, interrupts: bool) -> Vec<Effect> {
    let Gate::Live(live) = &mut m.gate else { return Vec::new() };
    if interrupts {
        return vec![Effect::Quit];
    }
    match key.code {
        KeyCode::Char('q') => return vec![Effect::Quit],
        KeyCode::Char('L') => m.lang = m.lang.other(),
        KeyCode::Char('i') => {
            live.go(Stage::Disks);
            return super::answers::polls(m, true);
        }
        KeyCode::Char('t') => gate::set_up(m, None),
        KeyCode::Char('k') => live.go(Stage::Keep),
        _ => {}
    }
    Vec::new()
}

fn on_disk_key(live: &mut Live, key: KeyEvent) {
    let shown = live.shown().len();
    match key.code {
        KeyCode::Enter => {
            let disk = live.shown().get(live.cursor).filter(|disk| disk.unfit.is_none());
            if let Some(disk) = disk.cloned() {
                live.go(Stage::Confirm(Box::new(disk)));
            }
        }
        code => live.cursor = move_cursor(live.cursor, shown, shown, code),
    }
}

fn on_confirm_key(live: &mut Live, disk: &DiskView, key: KeyEvent, author: String) -> Vec<Effect> {
    if key.code != KeyCode::Enter {
        live.wrong = false;
        type_into(&mut live.input, key);
        return Vec::new();
    }
    let typed = live.input.text.trim().to_owned();
    live.wrong = typed != disk.answer;
    if live.wrong {
        return Vec::new();
    }
    let request = DiskRequest { disk: disk.name.clone(), answer: Some(typed) };
    call(live, Ask::InstallDisk(request, author))
}

/// What is to be asked for each second, or (`all`) each few.
pub fn poll(m: &Model, all: bool) -> Option<(Poll, Request)> {
    let Gate::Live(live) = &m.gate else { return None };
    let asked = match live.stage {
        Stage::Disks if all => Ask::Disks,
        Stage::Copying(_) => Ask::Status,
        Stage::Choice | Stage::Disks | Stage::Confirm(_) | Stage::Done(_) | Stage::Keep | Stage::Leaving => {
            return None;
        }
    };
    Some((Poll::Live, Request::Update(Box::new(asked))))
}

/// An answer, if it is for this page.
pub fn take(
    m: &mut Model,
    request: &Request,
    answer: Result<Reply, Failure>,
) -> ControlFlow<Vec<Effect>, Result<Reply, Failure>> {
    let Gate::Live(live) = &mut m.gate else { return ControlFlow::Continue(answer) };
    let Request::Update(asked) = request else { return ControlFlow::Continue(answer) };
    let told = match answer {
        Ok(Reply::Update(told)) => Ok(*told),
        Ok(other) => return ControlFlow::Continue(Ok(other)),
        Err(failure) => Err(failure),
    };
    match (asked.as_ref(), told) {
        (Ask::Disks, Ok(Answer::Disks(report))) => {
            live.cursor = live.cursor.min(report.disks.len().saturating_sub(1));
            live.disks = Some(*report);
            // What a copy has left behind stays to be read.
            if matches!(live.failure, Some(Failure::Unreachable(..) | Failure::TimedOut(_))) {
                live.failure = None;
            }
        }
        (Ask::Status, Ok(Answer::Status(status))) => watch(live, status.job),
        (Ask::InstallDisk(..), Ok(_)) => {
            live.waiting = false;
            if let Stage::Confirm(disk) = live.stage.clone() {
                live.job = None;
                live.go(Stage::Copying(disk));
            }
        }
        (Ask::Keep(_) | Ask::Leave(_), Ok(_)) => {
            live.waiting = false;
            live.go(Stage::Leaving);
        }
        (Ask::InstallDisk(..) | Ask::Keep(_) | Ask::Leave(_), Err(failure)) => {
            (live.waiting, live.failure) = (false, Some(failure));
        }
        (Ask::Disks, Err(failure)) if live.stage == Stage::Disks => live.failure = Some(failure),
        // The next second asks again.
        (_, Ok(_) | Err(_)) => {}
    }
    ControlFlow::Break(Vec::new())
}

/// How far the copy is.
fn watch(live: &mut Live, job: Option<Job>) {
    let Stage::Copying(disk) = live.stage.clone() else { return };
    let Some(job) = job.filter(|job| job.what == "disk") else { return };
    match job.state.as_str() {
        "done" => live.go(Stage::Done(disk)),
        "failed" => {
            let text = job.failure.clone().unwrap_or_default();
            live.go(Stage::Disks);
            live.failure = Some(Failure::Refused { kind: Refusal::Failed, text, report: None });
        }
        _ => live.job = Some(job),
    }
}
