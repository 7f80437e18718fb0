//! Owns the keys of what is on top of a screen. What is dangerous has shown its plan before `y` does anything.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rempart_bus::documents::{CommitRequest, ExplainRequest};

use super::model::{CommitForm, Dialog, EXPLAIN_FIELDS, Effect, ExplainForm, Input, Model, Target};
use super::update::{is_yes, move_cursor, open, type_into};
use super::{editor, prompt};
use crate::bus::{Choice, Failure, Refusal, Request};
use crate::cli::confirm_time;
use crate::lab::{Order as LabOrder, Stream};
use crate::words::Tone;
use crate::{id, tr};

/// The time that the form proposes for the confirmation.
const CONFIRM_DEFAULT: &str = "5m";

/// What is asked to show what a commit will change.
pub fn commit_diff(target: Target) -> Request {
    let to = match target {
        Target::Candidate => "candidate".to_owned(),
        Target::Revision(n) => n.to_string(),
    };
    Request::Diff("running".to_owned(), to)
}

/// Shows a text that has to be asked for.
pub fn open_text(m: &mut Model, request: Request) -> Vec<Effect> {
    open(m, Dialog::Text { request: request.clone(), text: None, scroll: 0 });
    vec![Effect::Call(request)]
}

/// The form in front of a commit or roll-back.
pub fn open_commit(m: &mut Model, target: Target) -> Vec<Effect> {
    // The first revision of all has nothing to go back to.
    let first = m.status.as_ref().is_some_and(|s| s.revision.is_none());
    let confirm = if first { "" } else { CONFIRM_DEFAULT };
    let form = CommitForm {
        target,
        diff: None,
        check: None,
        comment: Input::default(),
        confirm: Input { text: confirm.to_owned() },
        focus: 0,
        scroll: 0,
        sending: false,
        failure: None,
        bad_time: false,
    };
    open(m, Dialog::Commit(Box::new(form)));
    let diff = Effect::Call(commit_diff(target));
    match target {
        Target::Candidate => vec![diff, Effect::Call(Request::Check(String::new()))],
        Target::Revision(_) => vec![diff],
    }
}

/// What going back from the commit on trial will change.
pub fn open_revert(m: &mut Model) -> Vec<Effect> {
    let Some(pending) = m.status.as_ref().and_then(|s| s.pending.as_ref()) else { return Vec::new() };
    let (from, to) = (pending.revision, pending.previous);
    let request = match to {
        Some(to) => Request::Diff(from.to_string(), to.to_string()),
        None => Request::Show(from),
    };
    open(m, Dialog::Revert { request: request.clone(), diff: None, scroll: 0, sending: false });
    vec![Effect::Call(request)]
}

/// A key while a dialog is on top.
pub fn on_key(m: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let Some(mut dialog) = m.dialogs.pop() else { return Vec::new() };
    if let Dialog::Editor(it) = dialog {
        let (stays, effects) = editor::on_key(it, key, m.body_height().saturating_sub(2));
        m.dialogs.extend(stays.map(Dialog::Editor));
        return effects;
    }
    let leaves = match &dialog {
        Dialog::Explain(_) | Dialog::Commit(_) | Dialog::Prompt(_) => key.code == KeyCode::Esc,
        // What runs is ended first.
        Dialog::Output(output) if output.runs() => false,
        Dialog::Kill { .. } | Dialog::Revert { .. } | Dialog::Move { .. } | Dialog::Resolve { .. } => {
            matches!(key.code, KeyCode::Esc | KeyCode::Char('n' | 'q'))
        }
        _ => matches!(key.code, KeyCode::Esc | KeyCode::Char('q') | KeyCode::Left),
    };
    if leaves {
        return Vec::new();
    }
    if key.code == KeyCode::Char('L')
        && !matches!(dialog, Dialog::Explain(_) | Dialog::Commit(_) | Dialog::Prompt(_))
    {
        m.lang = m.lang.other();
        m.dialogs.push(dialog);
        return Vec::new();
    }
    let yes = is_yes(m.lang, key);
    let page = m.body_height().saturating_sub(2);
    let lines = super::view::dialogs::lines(m, &dialog).len();
    let scrolled = |at: usize| {
        let most = lines.saturating_sub(super::view::dialogs::text_height(m, &dialog));
        let page = page.saturating_sub(1).max(1);
        match key.code {
            KeyCode::Up => at.min(most).saturating_sub(1),
            KeyCode::Down => at.saturating_add(1).min(most),
            KeyCode::PageUp => at.min(most).saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => at.saturating_add(page).min(most),
            KeyCode::Home => 0,
            KeyCode::End => most,
            _ => at.min(most),
        }
    };
    let scroll = match &dialog {
        Dialog::Help { scroll }
        | Dialog::Text { scroll, .. }
        | Dialog::Kill { scroll, .. }
        | Dialog::Revert { scroll, .. }
        | Dialog::Resolve { scroll, .. }
        | Dialog::Report { scroll, .. }
        | Dialog::Failure { scroll, .. } => scrolled(*scroll),
        Dialog::Explain(form) => scrolled(form.scroll),
        Dialog::Commit(form) => scrolled(form.scroll),
        Dialog::Output(output) if output.follows => scrolled(usize::MAX),
        Dialog::Output(output) => scrolled(output.scroll),
        Dialog::Flows { .. }
        | Dialog::Flow(_)
        | Dialog::Connection(_)
        | Dialog::Entry(_)
        | Dialog::Lab
        | Dialog::Editor(_)
        | Dialog::Prompt(_)
        | Dialog::Move { .. } => 0,
    };
    let mut over = None;
    let effects = match &mut dialog {
        Dialog::Help { scroll: at }
        | Dialog::Text { scroll: at, .. }
        | Dialog::Report { scroll: at, .. }
        | Dialog::Failure { scroll: at, .. } => {
            *at = scroll;
            // There is nothing to choose: Enter has seen it.
            if key.code == KeyCode::Enter {
                return Vec::new();
            }
            Vec::new()
        }
        Dialog::Flows { ids, cursor } => {
            *cursor = move_cursor(*cursor, ids.len(), page, key.code);
            let flow = ids.get(*cursor).and_then(|id| m.flows.iter().find(|f| f.id == *id));
            if let (KeyCode::Enter, Some(flow)) = (key.code, flow) {
                over = Some(Dialog::Flow(Box::new(flow.clone())));
            }
            Vec::new()
        }
        Dialog::Flow(_) => {
            if key.code == KeyCode::Enter {
                return Vec::new();
            }
            Vec::new()
        }
        Dialog::Connection(connection) => match key.code {
            KeyCode::Enter => return Vec::new(),
            KeyCode::Char('k') => {
                let victims = vec![(**connection).clone()];
                over = Some(Dialog::Kill { victims, scroll: 0, sending: false });
                Vec::new()
            }
            _ => Vec::new(),
        },
        Dialog::Entry(_) => {
            if key.code == KeyCode::Enter {
                return Vec::new();
            }
            Vec::new()
        }
        Dialog::Kill { victims, scroll: at, sending } => {
            *at = scroll;
            if yes && !*sending {
                *sending = true;
                vec![Effect::Call(Request::Kill(victims.iter().map(|c| c.id).collect()))]
            } else {
                Vec::new()
            }
        }
        Dialog::Revert { scroll: at, sending, .. } => {
            *at = scroll;
            if yes && !*sending {
                *sending = true;
                vec![Effect::Call(Request::Revert)]
            } else {
                Vec::new()
            }
        }
        Dialog::Move { order, sending } => {
            if yes && !*sending {
                *sending = true;
                vec![Effect::Call(order.clone())]
            } else {
                Vec::new()
            }
        }
        Dialog::Resolve { choice, diff, scroll: at, sending } => {
            *at = scroll;
            let chosen = match key.code {
                KeyCode::Char('m') => Some(Choice::Mine),
                KeyCode::Char('t') => Some(Choice::Theirs),
                _ => None,
            };
            match (chosen, *choice) {
                (Some(_), _) if *sending => Vec::new(),
                (Some(chosen), _) => {
                    (*choice, *diff, *at) = (Some(chosen), None, 0);
                    vec![Effect::Call(chosen.diff())]
                }
                // Not before what will change was shown.
                (None, Some(choice)) if yes && !*sending && diff.is_some() => {
                    *sending = true;
                    vec![Effect::Call(Request::Resolve(choice))]
                }
                (None, _) => Vec::new(),
            }
        }
        Dialog::Lab => {
            let runs = |stream: Option<&Stream>| stream.is_some_and(|s| s.ended.is_none());
            let traffic = m.lab.clone().unwrap_or_default();
            let (order, doing) = match key.code {
                KeyCode::Char('d') => {
                    (LabOrder::Download(!runs(traffic.download.as_ref())), id!("lab-stream"))
                }
                KeyCode::Char('s') => (LabOrder::Ssh(!runs(traffic.ssh.as_ref())), id!("lab-stream")),
                KeyCode::Char('k') => (LabOrder::PowerOff, id!("lab-kills")),
                KeyCode::Char('b') => (LabOrder::PowerOn, id!("lab-starts")),
                _ => {
                    m.dialogs.push(dialog);
                    return Vec::new();
                }
            };
            m.notice = Some((tr!(m.lang, doing), Tone::Warn));
            // What happens shows on the pair's screen.
            return vec![Effect::Lab(order)];
        }
        // Above.
        Dialog::Editor(_) => Vec::new(),
        Dialog::Prompt(line) => match prompt::on_key(line, m.lang, &mut m.typed, key) {
            // What it says takes the place of the line.
            Some((output, effects)) => {
                m.dialogs.extend(output.map(Dialog::Output));
                // The screens have an editor of their own, which starts nothing.
                if matches!(effects.as_slice(), [Effect::Run(order)] if order.words == ["edit"]) {
                    return editor::open(m);
                }
                return effects;
            }
            None => Vec::new(),
        },
        Dialog::Output(output) => {
            output.scroll = scroll;
            output.follows = output.runs() && key.code == KeyCode::End;
            if key.code == KeyCode::Enter && !output.runs() {
                return Vec::new();
            }
            Vec::new()
        }
        Dialog::Explain(form) => on_explain_key(form, key, scroll),
        Dialog::Commit(form) => on_commit_key(form, &m.author, m.session, key, scroll),
    };
    m.dialogs.push(dialog);
    if let Some(dialog) = over {
        return open(m, dialog);
    }
    effects
}

fn on_explain_key(form: &mut ExplainForm, key: KeyEvent, scroll: usize) -> Vec<Effect> {
    match key.code {
        KeyCode::Tab | KeyCode::Down => form.focus = (form.focus + 1) % EXPLAIN_FIELDS,
        KeyCode::BackTab | KeyCode::Up => form.focus = (form.focus + EXPLAIN_FIELDS - 1) % EXPLAIN_FIELDS,
        KeyCode::PageUp | KeyCode::PageDown => form.scroll = scroll,
        KeyCode::Enter if !form.waiting => {
            let [zone, source, destination, service] = &form.fields;
            let missing = [source, destination, service].iter().position(|f| f.text.trim().is_empty());
            if let Some(field) = missing {
                form.focus = field + 1;
                return Vec::new();
            }
            let trimmed = |input: &Input| input.text.trim().to_owned();
            let request = ExplainRequest {
                document: None,
                from: Some(trimmed(zone)).filter(|z| !z.is_empty()),
                source: trimmed(source),
                destination: trimmed(destination),
                service: trimmed(service),
                source_port: None,
            };
            (form.waiting, form.result) = (true, None);
            return vec![Effect::Call(Request::Explain(request))];
        }
        _ => type_into(&mut form.fields[form.focus], key),
    }
    Vec::new()
}

fn on_commit_key(
    form: &mut CommitForm,
    author: &str,
    session: Option<rempart_bus::documents::Session>,
    key: KeyEvent,
    scroll: usize,
) -> Vec<Effect> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let locks_out = matches!(form.failure, Some(Failure::Refused { kind: Refusal::LockOut, .. }));
    let force = control && key.code == KeyCode::Char('f') && locks_out;
    match key.code {
        KeyCode::PageUp | KeyCode::PageDown | KeyCode::Up | KeyCode::Down => form.scroll = scroll,
        KeyCode::Tab | KeyCode::BackTab => form.focus = 1 - form.focus,
        _ if key.code == KeyCode::Enter || force => {
            let time = form.confirm.text.trim();
            let confirm_s = match time {
                "" => None,
                _ => confirm_time(time).ok(),
            };
            form.bad_time = confirm_s.is_none() && !time.is_empty();
            if form.bad_time {
                form.focus = 1;
            }
            if form.bad_time || form.sending || !may_commit(form) {
                return Vec::new();
            }
            (form.sending, form.failure) = (true, None);
            let request = CommitRequest {
                document: None,
                shown: form.check.as_ref().map(|c| c.digest.clone()).filter(|d| !d.is_empty()),
                author: author.to_owned(),
                comment: form.comment.text.trim().to_owned(),
                confirm_s,
                force,
                session,
            };
            return vec![Effect::Call(match form.target {
                Target::Candidate => Request::Commit(request),
                Target::Revision(n) => Request::Rollback(n, request),
            })];
        }
        _ if form.focus == 0 => type_into(&mut form.comment, key),
        _ => {
            form.bad_time = false;
            type_into(&mut form.confirm, key);
        }
    }
    Vec::new()
}

/// Whether what is to be committed has been seen, changes something and is good.
pub fn may_commit(form: &CommitForm) -> bool {
    let seen = form.diff.as_ref().is_some_and(|d| !d.is_empty());
    let good = match form.target {
        Target::Candidate => form.check.as_ref().is_some_and(|c| c.valid),
        Target::Revision(_) => true,
    };
    seen && good
}
