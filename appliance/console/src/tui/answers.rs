//! Owns what the clock asks of the daemon and what its answers change.
//!
//! The status is asked for each second, everything else only for the screen that shows it. While the daemon is
//! away only the status is asked for: its return is seen there.

use std::ops::ControlFlow;

use jiff::Timestamp;
use rempart_bus::documents::{Connection, LogPage, Status};

use super::model::{
    CONNECTIONS_MAX, Dialog, Effect, Gate, LOG_MAX, Link, Model, Poll, RATE_PERIOD_S, RATES_MAX, Rates,
    Screen,
};
use super::{editor, gate, live, setup};
use crate::bus::{Failure, Reply, Request};
use crate::vpn::{Answer, Ask};
use crate::words::Tone;
use crate::{tr, updates};

/// Seconds between two looks at the flows and the history, which change slowly.
const SLOW_PERIOD_S: u64 = 3;

/// A second has passed.
pub fn tick(m: &mut Model, now: Timestamp) -> Vec<Effect> {
    m.now = now;
    m.ticks += 1;
    let mut effects = gate::tick(m);
    effects.extend(setup::tick(m));
    effects.extend(polls(m, m.ticks.is_multiple_of(SLOW_PERIOD_S)));
    effects
}

/// What to ask for now; `all` includes what changes slowly.
pub fn polls(m: &mut Model, all: bool) -> Vec<Effect> {
    let mut effects = Vec::new();
    ask(m, Poll::Status, Request::Status, &mut effects);
    if gate::wants_setup(m) {
        ask(m, Poll::Setup, Request::Setup, &mut effects);
    }
    if let Some((poll, request)) = live::poll(m, all) {
        ask(m, poll, request, &mut effects);
    }
    if !m.is_stale() && m.gate == Gate::Open {
        screen_polls(m, all, &mut effects);
    }
    effects
}

fn screen_polls(m: &mut Model, all: bool, effects: &mut Vec<Effect>) {
    match m.screen {
        Screen::Dashboard => {}
        Screen::Matrix if all => {
            ask(m, Poll::Flows, Request::Flows, effects);
            let running = m.status.as_ref().and_then(|s| s.revision.as_ref()).map(|r| r.number);
            if let Some(number) = running.filter(|n| m.warnings_of != Some(*n)) {
                m.warnings_of = Some(number);
                effects.push(Effect::Call(Request::Show(number)));
            }
        }
        Screen::Matrix => {}
        Screen::Connections => {
            if !m.connections.frozen {
                ask(m, Poll::Connections, Request::Connections(CONNECTIONS_MAX), effects);
            }
        }
        Screen::Log => {
            if !m.log.frozen {
                ask(m, Poll::Log, Request::Log(m.log_next), effects);
            }
        }
        Screen::Configuration if all => ask(m, Poll::History, Request::History, effects),
        Screen::Configuration => {}
        Screen::Pair => ask(m, Poll::Pair, Request::HaStatus, effects),
        Screen::Vpn => {
            ask(m, Poll::Vpn, Request::Vpn(Box::new(Ask::Sessions)), effects);
            ask(m, Poll::Wireguard, Request::Vpn(Box::new(Ask::Wireguard)), effects);
        }
    }
}

fn ask(m: &mut Model, poll: Poll, request: Request, effects: &mut Vec<Effect>) {
    if m.waiting.insert(poll) {
        effects.push(Effect::Call(request));
    }
}

/// The daemon has answered, or has not.
pub fn take(m: &mut Model, request: &Request, answer: Result<Reply, Failure>) -> Vec<Effect> {
    let poll = poll_of(request);
    if let Some(poll) = poll {
        m.waiting.remove(&poll);
    }
    let answer = match gate::take(m, request, answer) {
        ControlFlow::Break(effects) => return effects,
        ControlFlow::Continue(answer) => answer,
    };
    match (answer, poll) {
        (Ok(Reply::Setup(status)), _) => gate::take_setup(m, Ok(status)),
        (Err(failure), Some(Poll::Setup)) => gate::take_setup(m, Err(failure)),
        (Ok(reply), _) => good(m, request, reply),
        (Err(failure), Some(Poll::Status)) => {
            // However often it fails, it has been away since the first time.
            let since = match &m.link {
                Link::Down { since, .. } => *since,
                Link::Connecting | Link::Up => m.now,
            };
            m.link = Link::Down { since, failure };
            Vec::new()
        }
        // The status will say so if the daemon is gone, and the next poll asks again.
        (Err(_), Some(Poll::Flows | Poll::Connections | Poll::Log | Poll::History)) => Vec::new(),
        // Its page was left.
        (Err(_), Some(Poll::Live)) => Vec::new(),
        (Err(failure), Some(Poll::Vpn)) => {
            m.vpn = Some(Err(failure));
            Vec::new()
        }
        // Above it stands that rempart-vpn is away.
        (Err(_), Some(Poll::Wireguard)) => {
            m.wireguard = None;
            Vec::new()
        }
        (Err(failure), Some(Poll::Pair)) => {
            m.pair = Some(Err(failure));
            Vec::new()
        }
        (Err(failure), None) => bad(m, request, failure),
    }
}

fn poll_of(request: &Request) -> Option<Poll> {
    match request {
        Request::Status => Some(Poll::Status),
        Request::Flows => Some(Poll::Flows),
        Request::Connections(_) => Some(Poll::Connections),
        Request::Log(_) => Some(Poll::Log),
        Request::History => Some(Poll::History),
        Request::HaStatus => Some(Poll::Pair),
        Request::Setup => Some(Poll::Setup),
        Request::Vpn(ask) if **ask == Ask::Sessions => Some(Poll::Vpn),
        Request::Vpn(ask) if **ask == Ask::Wireguard => Some(Poll::Wireguard),
        Request::Update(ask) if matches!(**ask, updates::Ask::Disks | updates::Ask::Status) => {
            Some(Poll::Live)
        }
        Request::Kill(_)
        | Request::Check(_)
        | Request::Plan(_)
        | Request::Explain(_)
        | Request::Candidate
        | Request::Load(_)
        | Request::Commit(_)
        | Request::Confirm
        | Request::Revert
        | Request::Rollback(..)
        | Request::Show(_)
        | Request::Diff(..)
        | Request::Resolve(_)
        | Request::Switch
        | Request::Maintenance(_)
        | Request::PairOffer
        | Request::PairJoin(..)
        | Request::Pairing
        | Request::PairCancel
        | Request::Unpair
        | Request::Audit
        | Request::Name(_)
        | Request::Login(_)
        | Request::SetPassword(..)
        | Request::Ssh
        | Request::SshSwitch(_)
        | Request::SshAdd(_)
        | Request::SshRemove(_)
        | Request::Vpn(_)
        | Request::Update(_) => None,
    }
}

fn good(m: &mut Model, request: &Request, reply: Reply) -> Vec<Effect> {
    let lang = m.lang;
    match reply {
        Reply::Status(status) => {
            let returned = m.is_stale() || m.link == Link::Connecting;
            m.link = Link::Up;
            measure(m, &status);
            m.status_at = m.now;
            m.status = Some(*status);
            let mut effects = Vec::new();
            if returned && m.gate == Gate::Open {
                screen_polls(m, true, &mut effects);
            }
            return effects;
        }
        Reply::Flows(flows) => m.flows = flows,
        Reply::Connections(list) => {
            if !m.connections.frozen {
                let selected = m.shown_connections().get(m.connections.cursor).map(|c| c.id);
                m.connections.items = list;
                keep_cursor(m, selected);
            }
        }
        Reply::Log(page) => append(m, page),
        Reply::History(revisions) => {
            let selected = m.revisions.get(m.revision_cursor).map(|r| r.number);
            m.revisions = revisions;
            let again = m.revisions.iter().position(|r| Some(r.number) == selected);
            m.revision_cursor = again.unwrap_or(0);
        }
        Reply::Check(report) => match request {
            Request::Check(document) if editor::asks(m, document) => {
                return editor::checked(m, document, &report);
            }
            Request::Check(document) if document.is_empty() => {
                for dialog in &mut m.dialogs {
                    if let Dialog::Commit(form) = dialog {
                        form.check = Some(report.clone());
                    }
                }
            }
            _ => m.warnings = report.diagnostics,
        },
        Reply::Text(text) => return take_text(m, request, text),
        Reply::Explain(explanation) => {
            for dialog in &mut m.dialogs {
                if let Dialog::Explain(form) = dialog {
                    (form.waiting, form.scroll) = (false, 0);
                    form.result = Some(Ok(explanation.clone()));
                }
            }
        }
        Reply::Commit(report) => {
            m.dialogs.retain(|d| !matches!(d, Dialog::Commit(_)));
            m.dialogs.push(Dialog::Report { report: Box::new(report), scroll: 0 });
            return polls(m, true);
        }
        Reply::Number(n) => {
            let text = match request {
                Request::Confirm => tr!(lang, "confirm-done", revision = n.to_string()),
                Request::Revert => tr!(lang, "revert-done", revision = n.to_string()),
                Request::Resolve(_) => tr!(lang, "resolve-done", revision = n.to_string()),
                _ => tr!(lang, "kill-done", count = n),
            };
            m.notice = Some((text, Tone::Good));
            m.dialogs.retain(|d| {
                !matches!(d, Dialog::Kill { .. } | Dialog::Revert { .. } | Dialog::Resolve { .. })
            });
            return polls(m, true);
        }
        Reply::HaStatus(status) => m.pair = Some(Ok(status)),
        Reply::Done => {
            let text = match request {
                Request::Switch => tr!(lang, "switch-done"),
                Request::Maintenance(true) => tr!(lang, "maintenance-on"),
                Request::Maintenance(false) => tr!(lang, "maintenance-off"),
                Request::Load(_) => {
                    editor::loaded(m);
                    return polls(m, true);
                }
                _ => return Vec::new(),
            };
            m.notice = Some((text, Tone::Good));
            m.dialogs.retain(|d| !matches!(d, Dialog::Move { .. }));
            return polls(m, true);
        }
        // The screens do not pair.
        Reply::Vpn(answer) => {
            match *answer {
                Answer::Sessions(sessions) => {
                    m.vpn_cursor = m.vpn_cursor.min(sessions.len().saturating_sub(1));
                    m.vpn = Some(Ok(sessions));
                }
                Answer::Wireguard(status) => m.wireguard = Some(Box::new(status)),
                // The screens ask for nothing else.
                _ => {}
            }
        }
        // The gate has taken it.
        Reply::Setup(_) => {}
        // A verb's.
        Reply::Ssh(_) => {}
        Reply::PairingOffer(_) | Reply::Pairing(_) | Reply::Audit(_) | Reply::Update(_) => {}
    }
    Vec::new()
}

/// A text that was asked for: by a dialog, or to be checked for the matrix.
fn take_text(m: &mut Model, asked: &Request, text: String) -> Vec<Effect> {
    if *asked == Request::Candidate {
        editor::take(m, &text);
        return Vec::new();
    }
    let mut taken = false;
    for dialog in &mut m.dialogs {
        match dialog {
            Dialog::Text { request, text: slot, .. } | Dialog::Revert { request, diff: slot, .. }
                if request == asked =>
            {
                *slot = Some(text.clone());
                taken = true;
            }
            Dialog::Resolve { choice: Some(choice), diff, .. } if choice.diff() == *asked => {
                *diff = Some(text.clone());
                taken = true;
            }
            Dialog::Commit(form) if super::dialogs::commit_diff(form.target) == *asked => {
                form.diff = Some(text.clone());
                taken = true;
            }
            _ => {}
        }
    }
    match asked {
        // The empty text would be the candidate.
        Request::Show(n) if m.warnings_of == Some(*n) && !taken && !text.is_empty() => {
            vec![Effect::Call(Request::Check(text))]
        }
        _ => Vec::new(),
    }
}

fn bad(m: &mut Model, request: &Request, failure: Failure) -> Vec<Effect> {
    let edited = matches!(request, Request::Check(_) | Request::Load(_)) && editor::refused(m);
    match request {
        // Only a mark in the matrix is missing.
        Request::Check(document) if !document.is_empty() && !edited => return Vec::new(),
        Request::Show(n) if m.warnings_of == Some(*n) && m.dialogs.is_empty() => {
            m.warnings_of = None;
            return Vec::new();
        }
        Request::Explain(_) => {
            for dialog in &mut m.dialogs {
                if let Dialog::Explain(form) = dialog {
                    form.waiting = false;
                    form.result = Some(Err(failure.clone()));
                }
            }
            return Vec::new();
        }
        _ => {}
    }
    for dialog in &mut m.dialogs {
        if let Dialog::Commit(form) = dialog {
            form.sending = false;
            form.failure = Some(failure);
            return Vec::new();
        }
    }
    // What it was asked for cannot be shown or done: say so instead.
    let acts = |d: &Dialog| {
        matches!(
            d,
            Dialog::Kill { .. } | Dialog::Revert { .. } | Dialog::Move { .. } | Dialog::Resolve { .. }
        )
    };
    m.dialogs.retain(|d| !acts(d) && !is_asking(d, request));
    m.dialogs.push(Dialog::Failure { failure, scroll: 0 });
    Vec::new()
}

fn is_asking(dialog: &Dialog, asked: &Request) -> bool {
    matches!(dialog, Dialog::Text { request, text: None, .. } if request == asked)
}

/// Keeps the cursor on the connection that it was on, or where it was if that has ended.
fn keep_cursor(m: &mut Model, selected: Option<u32>) {
    let shown: Vec<&Connection> = m.shown_connections();
    let again = selected.and_then(|id| shown.iter().position(|c| c.id == id));
    let last = shown.len().saturating_sub(1);
    m.connections.cursor = again.unwrap_or(m.connections.cursor).min(last);
}

fn append(m: &mut Model, page: LogPage) {
    // A daemon that was started again counts from the beginning; its entries are new all the same.
    m.log_next = page.next;
    m.log_lost = page.lost;
    if m.log.frozen {
        // They are asked for again when the list moves on.
        m.log_next = m.log_next.saturating_sub(page.entries.len() as u64);
        return;
    }
    m.log.items.extend(page.entries);
    let surplus = m.log.items.len().saturating_sub(LOG_MAX);
    let gone = m.log.items.drain(..surplus).filter(|e| m.log.filter.matches(e)).count();
    m.log.cursor = m.log.cursor.saturating_sub(gone);
    if m.log_follow {
        m.log.cursor = m.log.kept().len().saturating_sub(1);
    }
}

/// Takes the rates of a status into the history of each interface.
fn measure(m: &mut Model, status: &Status) {
    m.rates.retain(|name, _| status.interfaces.iter().any(|i| i.name == *name));
    for i in &status.interfaces {
        let Rates { samples, sum, count } = m.rates.entry(i.name.clone()).or_default();
        *sum = sum.saturating_add(i.rx_bits_per_s).saturating_add(i.tx_bits_per_s);
        *count += 1;
        if *count == RATE_PERIOD_S {
            samples.push_back(*sum / u64::from(RATE_PERIOD_S));
            if samples.len() > RATES_MAX {
                samples.pop_front();
            }
            (*sum, *count) = (0, 0);
        }
    }
}
