//! Owns what stands before the screens: the administrator's password, and the set-up of a box that has no document.
//!
//! ```text
//!   Asking ──▶ Locked ──password──▶ Setup ──committed, or left──▶ Open        from a stick: Live before Setup
//!      │  no password ────────────────▲                            │
//!      └──────── a document, no password ─────────────────────────▶│   idle ──▶ Locked
//! ```
//!
//! While it is not open no key reaches a screen. Until `rempartd` has said whether there is a password there is one.

use std::ops::ControlFlow;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rempart_bus::setup::SetupStatus;

use super::answers;
use super::live::{self, Live};
use super::model::{Effect, Input, Model};
use super::prompt;
use super::setup::{self, Setup};
use super::update::type_into;
use crate::bus::{Failure, Reply, Request, Secret};
use crate::tr;
use crate::words::Tone;

/// Without a key for so long the screens are shut: a console is in a room where others pass.
pub const IDLE_S: u32 = 600;

/// What stands before the screens.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Gate {
    /// Nothing.
    #[default]
    Open,
    /// It is not known yet what: `rempartd` is asked, and why it does not answer.
    Asking(Option<Failure>),
    /// The password is wanted.
    Locked(Login),
    /// The box was started from a stick, and it is not said yet what that is for.
    Live(Box<Live>),
    /// The box is being set up.
    Setup(Box<Setup>),
}

/// A password that is being typed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Login {
    /// What is typed.
    pub input: Input,
    /// Whether the daemon is asked.
    pub waiting: bool,
    /// What it said.
    pub failure: Option<Failure>,
}

/// What is typed, taken out of its field.
pub fn secret(input: &mut Input) -> Secret {
    Secret::new(std::mem::take(&mut input.text))
}

/// A key, unless it is for the screens.
pub fn on_key(m: &mut Model, key: KeyEvent) -> Option<Vec<Effect>> {
    m.idle_s = 0;
    let interrupts = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    match &mut m.gate {
        Gate::Open => None,
        Gate::Asking(_) if interrupts => Some(vec![Effect::Quit]),
        Gate::Asking(_) => Some(Vec::new()),
        Gate::Locked(_) if interrupts => Some(vec![Effect::Quit]),
        Gate::Locked(login) => Some(on_login_key(login, key)),
        Gate::Live(_) => Some(live::on_key(m, key)),
        Gate::Setup(_) => Some(setup::on_key(m, key)),
    }
}

fn on_login_key(login: &mut Login, key: KeyEvent) -> Vec<Effect> {
    match key.code {
        KeyCode::Enter if login.waiting || login.input.text.is_empty() => Vec::new(),
        KeyCode::Enter => {
            (login.waiting, login.failure) = (true, None);
            vec![Effect::Call(Request::Login(secret(&mut login.input)))]
        }
        KeyCode::Esc => {
            drop(secret(&mut login.input));
            Vec::new()
        }
        _ => {
            type_into(&mut login.input, key);
            Vec::new()
        }
    }
}

/// A second has passed. Gives what is to be done before the polls.
pub fn tick(m: &mut Model) -> Vec<Effect> {
    m.idle_s = m.idle_s.saturating_add(1);
    let mut effects = Vec::new();
    if m.gate == Gate::Open && m.password && m.idle_s >= IDLE_S {
        effects.extend(lock(m));
    }
    effects
}

/// Shuts the screens. What was open on them is there again behind the password; a verb that runs is ended.
fn lock(m: &mut Model) -> Vec<Effect> {
    let runs = prompt::is_running(m);
    m.notice = None;
    m.gate = Gate::Locked(Login::default());
    if runs { vec![Effect::Interrupt] } else { Vec::new() }
}

/// Whether the box itself is to be asked for: its ports, whether it has a document.
pub fn wants_setup(m: &Model) -> bool {
    matches!(m.gate, Gate::Asking(_) | Gate::Live(_) | Gate::Setup(_))
}

/// How far the box has been set up.
pub fn take_setup(m: &mut Model, answer: Result<Box<SetupStatus>, Failure>) -> Vec<Effect> {
    if let Ok(status) = &answer {
        m.live.clone_from(&status.live);
    }
    match (answer, &mut m.gate) {
        (Ok(status), Gate::Asking(_)) if status.password => {
            (m.password, m.committed) = (true, status.committed);
            m.gate = Gate::Locked(Login::default());
        }
        (Ok(status), Gate::Asking(_)) => {
            (m.password, m.committed) = (false, status.committed);
            return enter(m, Some(&status));
        }
        (Ok(status), Gate::Setup(setup)) => {
            m.password |= status.password;
            setup.heard(&status, m.ticks);
            // The other box has sent its document, or a stick had one.
            if status.committed && !setup.waiting {
                m.committed = true;
                return open(m);
            }
        }
        // A document that came with the stick.
        (Ok(status), Gate::Live(_)) if status.committed => {
            (m.password, m.committed) = (status.password, true);
            return open(m);
        }
        (Ok(status), Gate::Live(_)) => m.password = status.password,
        (Err(failure), Gate::Asking(why)) => *why = Some(failure),
        // The next second asks again; what is typed stays.
        (Err(_), Gate::Live(_) | Gate::Setup(_)) | (_, Gate::Open | Gate::Locked(_)) => {}
    }
    Vec::new()
}

/// In: to the set-up where there is no document (first to the stick's own page), else to the screens.
fn enter(m: &mut Model, status: Option<&SetupStatus>) -> Vec<Effect> {
    if m.committed {
        if !m.password {
            m.notice = Some((tr!(m.lang, "gate-no-password"), Tone::Warn));
        }
        return open(m);
    }
    match &m.live {
        Some(stick) => m.gate = Gate::Live(Box::new(Live::new(stick))),
        None => set_up(m, status),
    }
    Vec::new()
}

/// To the set-up.
pub fn set_up(m: &mut Model, status: Option<&SetupStatus>) {
    let mut setup = Setup::new(m.password);
    if let Some(status) = status {
        setup.heard(status, m.ticks);
    }
    m.gate = Gate::Setup(Box::new(setup));
}

/// Back to the page of the stick, where there is one.
pub fn to_stick(m: &mut Model) {
    if let Some(stick) = &m.live {
        m.gate = Gate::Live(Box::new(Live::new(stick)));
    }
}

/// The screens.
pub fn open(m: &mut Model) -> Vec<Effect> {
    m.gate = Gate::Open;
    answers::polls(m, true)
}

/// An answer that is for the gate. Others are given back.
pub fn take(
    m: &mut Model,
    request: &Request,
    answer: Result<Reply, Failure>,
) -> ControlFlow<Vec<Effect>, Result<Reply, Failure>> {
    match (&mut m.gate, request) {
        (Gate::Locked(login), Request::Login(_)) => {
            login.waiting = false;
            match answer {
                Ok(_) => {
                    m.idle_s = 0;
                    ControlFlow::Break(enter(m, None))
                }
                Err(failure) => {
                    login.failure = Some(failure);
                    ControlFlow::Break(Vec::new())
                }
            }
        }
        (Gate::Live(_), _) => live::take(m, request, answer),
        (Gate::Setup(_), _) => setup::take(m, request, answer),
        (Gate::Open | Gate::Asking(_) | Gate::Locked(_), _) => ControlFlow::Continue(answer),
    }
}
