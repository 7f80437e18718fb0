//! The screens without a terminal: what keys and answers do ([`behaviour`], [`prompt`], [`editor`],
//! [`setup`], [`live`]), what it looks like ([`screens`]),
//! how many bytes that takes ([`traffic`]).

mod behaviour;
mod editor;
mod live;
mod prompt;
mod screens;
mod setup;
mod traffic;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::model::{CONNECTIONS_MAX, Effect, Message, Model};
use super::update::update;
use crate::bus::{Choice, Failure, Refusal, Reply, Request};
use crate::fixtures;
use crate::lang::Lang;
use crate::vpn::{Answer, Ask};

/// When the fixtures' status was made.
fn now() -> Timestamp {
    "2026-11-22T01:49:08Z".parse().expect("a time")
}

/// A console just opened.
fn fresh(lang: Lang, mono: bool) -> Model {
    let mut model = Model::new(lang, mono, TimeZone::UTC, now());
    model.author = "alice".to_owned();
    model
}

fn give(model: Model, request: Request, reply: Reply) -> Model {
    update(model, Message::Answer(request, Ok(reply))).0
}

fn refuse(model: Model, request: Request, kind: Refusal) -> Model {
    let report = (kind == Refusal::Invalid).then(|| Box::new(fixtures::check_invalid()));
    let failure = Failure::Refused { kind, text: "ssh from 192.168.10.21 would be refused.".into(), report };
    update(model, Message::Answer(request, Err(failure))).0
}

/// A console to which the daemon has said everything once.
fn filled(lang: Lang, mono: bool) -> Model {
    let mut m = fresh(lang, mono);
    m = give(m, Request::Status, Reply::Status(Box::new(fixtures::status())));
    m = give(m, Request::Flows, Reply::Flows(fixtures::flows()));
    m = give(m, Request::Check("x".into()), Reply::Check(fixtures::check_valid()));
    m = give(m, Request::Connections(CONNECTIONS_MAX), Reply::Connections(fixtures::connections()));
    m = give(m, Request::Log(0), Reply::Log(fixtures::log()));
    m = give(m, Request::HaStatus, Reply::HaStatus(Box::new(fixtures::ha_status())));
    m = give(
        m,
        Request::Vpn(Box::new(Ask::Sessions)),
        Reply::Vpn(Box::new(Answer::Sessions(fixtures::sessions()))),
    );
    m = give(m, Request::History, Reply::History(fixtures::history()));
    m.warnings_of = Some(12);
    m
}

fn key(code: KeyCode) -> Message {
    Message::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn control(letter: char) -> Message {
    Message::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL))
}

/// Types a text; `<` is Esc, `>` Enter, `^` Up, `_` Down, `|` Tab. Gives the effects of the last key.
fn typed(mut model: Model, keys: &str) -> (Model, Vec<Effect>) {
    let mut effects = Vec::new();
    for c in keys.chars() {
        let code = match c {
            '<' => KeyCode::Esc,
            '>' => KeyCode::Enter,
            '^' => KeyCode::Up,
            '_' => KeyCode::Down,
            '|' => KeyCode::Tab,
            c => KeyCode::Char(c),
        };
        (model, effects) = update(model, key(code));
    }
    (model, effects)
}

fn press(model: Model, keys: &str) -> Model {
    typed(model, keys).0
}

fn calls(effects: Vec<Effect>) -> Vec<Request> {
    let call = |e| match e {
        Effect::Call(request) => Some(request),
        Effect::Lab(_) | Effect::Run(_) | Effect::Interrupt | Effect::Repaint | Effect::Quit => None,
    };
    effects.into_iter().filter_map(call).collect()
}
