//! Draws what is on top of a screen: a title, fields if it has any, and lines that scroll.

use ratatui_core::style::Style;
use ratatui_core::text::{Line, Span};
use rempart_bus::documents::{CheckReport, CommitReport, Explanation, FlowStatus};

use super::{connections, details, editor, matrix, prompt, toned};
use crate::bus::{Failure, PEER, Request};
use crate::cli::run::failure_text;
use crate::format::{duration, fit, left, width as columns_of, wrap};
use crate::tr;
use crate::tui::dialogs::may_commit;
use crate::tui::model::{CommitForm, Dialog, ExplainForm, Input, Model, Target};
use crate::tui::theme::Theme;
use crate::words::{self, Tone};

/// The whole dialog.
pub fn draw(m: &Model, dialog: &Dialog, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut out = fixed(m, dialog, theme, width);
    let room = height.saturating_sub(out.len());
    if let Dialog::Flows { ids, cursor } = dialog {
        let flows: Vec<&FlowStatus> =
            ids.iter().filter_map(|i| m.flows.iter().find(|f| f.id == *i)).collect();
        out.extend(matrix::flow_table(m, &flows, Some(*cursor), theme, width, room));
        return out;
    }
    if let Dialog::Editor(it) = dialog {
        out.extend(editor::lines(it, theme, width, room));
        return out;
    }
    let scroll = match dialog {
        Dialog::Help { scroll }
        | Dialog::Text { scroll, .. }
        | Dialog::Kill { scroll, .. }
        | Dialog::Revert { scroll, .. }
        | Dialog::Resolve { scroll, .. }
        | Dialog::Report { scroll, .. }
        | Dialog::Failure { scroll, .. } => *scroll,
        Dialog::Output(output) if output.follows => usize::MAX,
        Dialog::Output(output) => output.scroll,
        Dialog::Explain(form) => form.scroll,
        Dialog::Commit(form) => form.scroll,
        Dialog::Flows { .. }
        | Dialog::Flow(_)
        | Dialog::Connection(_)
        | Dialog::Entry(_)
        | Dialog::Lab
        | Dialog::Editor(_)
        | Dialog::Prompt(_)
        | Dialog::Move { .. } => 0,
    };
    let lines = lines(m, dialog);
    let scroll = scroll.min(lines.len().saturating_sub(room));
    let below = lines.len().saturating_sub(scroll + room);
    let mut shown: Vec<Line<'static>> = lines.into_iter().skip(scroll).take(room).collect();
    if below > 0
        && let Some(last) = shown.last_mut()
    {
        *last = toned(tr!(m.lang, "text-more", count = below + 1), Tone::Dim, theme);
    }
    out.extend(shown);
    out
}

/// Rows that scrolling lines have.
pub fn text_height(m: &Model, dialog: &Dialog) -> usize {
    let fixed = fixed(m, dialog, Theme::of(m), m.width.into()).len();
    m.body_height().saturating_sub(fixed).max(1)
}

/// The lines that scroll.
pub fn lines(m: &Model, dialog: &Dialog) -> Vec<Line<'static>> {
    let theme = Theme::of(m).fresh();
    let width = usize::from(m.width);
    let plain = |text: &str, tone| -> Vec<Line<'static>> {
        wrap(text, width).into_iter().map(|l| toned(l, tone, theme)).collect()
    };
    match dialog {
        Dialog::Help { .. } => plain(&tr!(m.lang, "help-text"), Tone::Plain),
        Dialog::Flows { .. } | Dialog::Editor(_) => Vec::new(),
        Dialog::Flow(f) => details::flow(m, f, theme),
        Dialog::Connection(c) => details::connection(m, c, theme),
        Dialog::Entry(e) => details::entry(m, e, theme),
        Dialog::Text { request, text, .. } => asked(m, request, text.as_deref(), theme, width),
        Dialog::Revert { request, diff, .. } => asked(m, request, diff.as_deref(), theme, width),
        Dialog::Resolve { choice: None, .. } => plain(&tr!(m.lang, "choose-help"), Tone::Plain),
        Dialog::Resolve { choice: Some(choice), diff, .. } => {
            asked(m, &choice.diff(), diff.as_deref(), theme, width)
        }
        Dialog::Kill { victims, .. } => {
            let list: Vec<_> = victims.iter().collect();
            connections::table(m, &list, None, theme, width, list.len() + 1)
        }
        Dialog::Commit(form) => {
            let mut out = Vec::new();
            if let Some(failure) = &form.failure {
                out.extend(failed(m, failure, theme, width));
                out.push(Line::default());
            }
            if let Some(report) = form.check.as_ref().filter(|_| form.failure.is_none()) {
                out.extend(check(m, report, theme, width));
            }
            let request = crate::tui::dialogs::commit_diff(form.target);
            out.extend(asked(m, &request, form.diff.as_deref(), theme, width));
            out
        }
        Dialog::Move { order, .. } => {
            let text = match order {
                Request::Maintenance(true) => tr!(m.lang, "move-maintenance-on"),
                Request::Maintenance(false) => tr!(m.lang, "move-maintenance-off"),
                _ => tr!(m.lang, "move-switch"),
            };
            plain(&text, Tone::Plain)
        }
        Dialog::Prompt(line) => prompt::candidates(m, line, theme, width),
        Dialog::Output(output) => prompt::output(m, output, theme, width),
        Dialog::Lab => plain(&tr!(m.lang, "lab-help"), Tone::Plain),
        Dialog::Report { report, .. } => report_lines(m, report, theme, width),
        Dialog::Explain(form) => match &form.result {
            None if form.waiting => plain(&tr!(m.lang, "text-waiting"), Tone::Dim),
            None => plain(&tr!(m.lang, "explain-hint"), Tone::Dim),
            Some(Err(failure)) => failed(m, failure, theme, width),
            Some(Ok(explanation)) => explanation_lines(m, explanation, theme, width),
        },
        Dialog::Failure { failure, .. } => failed(m, failure, theme, width),
    }
}

/// Title and fields.
fn fixed(m: &Model, dialog: &Dialog, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let title = match dialog {
        Dialog::Help { .. } => tr!(lang, "title-help"),
        Dialog::Flows { ids, .. } => tr!(lang, "title-flows", count = ids.len()),
        Dialog::Flow(_) => tr!(lang, "title-flow"),
        Dialog::Connection(_) => tr!(lang, "title-connection"),
        Dialog::Entry(_) => tr!(lang, "title-entry"),
        Dialog::Text { request, .. } => text_title(m, request),
        Dialog::Kill { victims, .. } => tr!(lang, "title-kill", count = victims.len()),
        Dialog::Commit(form) => match form.target {
            Target::Candidate => tr!(lang, "title-commit"),
            Target::Revision(n) => tr!(lang, "title-rollback", revision = n.to_string()),
        },
        Dialog::Revert { .. } => tr!(lang, "title-revert"),
        Dialog::Resolve { .. } => tr!(lang, "title-choose"),
        Dialog::Move { .. } => tr!(lang, "title-move"),
        Dialog::Lab => tr!(lang, "title-lab"),
        Dialog::Prompt(_) => tr!(lang, "title-prompt"),
        Dialog::Editor(_) => tr!(lang, "title-editor"),
        Dialog::Output(output) => output.line.clone(),
        Dialog::Report { .. } => tr!(lang, "title-report"),
        Dialog::Explain(_) => tr!(lang, "title-explain"),
        Dialog::Failure { .. } => tr!(lang, "title-failure"),
    };
    let mut out = vec![Line::styled(left(&title, width), theme.heading())];
    match dialog {
        Dialog::Editor(it) => out.push(editor::state(m, it, theme, width)),
        Dialog::Prompt(line) => out.extend([field(":", 1, &line.input, true, theme, width), Line::default()]),
        Dialog::Output(output) => {
            let (text, tone) = prompt::state(m, output);
            out.push(toned(left(&text, width), tone, theme));
        }
        Dialog::Explain(form) => out.extend(explain_fields(m, form, theme, width)),
        Dialog::Commit(form) => out.extend(commit_fields(m, form, theme, width)),
        Dialog::Revert { sending, .. } => {
            let (text, tone) = match sending {
                true => (tr!(lang, "text-sending"), Tone::Warn),
                false => (tr!(lang, "revert-question"), Tone::Warn),
            };
            out.extend(wrap(&text, width).into_iter().map(|l| toned(l, tone, theme)));
        }
        Dialog::Resolve { choice, sending, .. } => {
            let status = m.pair.as_ref().and_then(|p| p.as_ref().ok());
            if let (Some(status), Some(choice)) = (status, choice) {
                let text = crate::pair::changes(lang, status, *choice);
                out.extend(wrap(&text, width).into_iter().map(|l| toned(l, Tone::Plain, theme)));
            }
            let text = match (sending, choice) {
                (true, _) => tr!(lang, "text-sending"),
                (false, Some(_)) => tr!(lang, "choose-sure"),
                (false, None) => tr!(lang, "choose-question"),
            };
            out.push(toned(text, Tone::Warn, theme));
        }
        Dialog::Move { sending, .. } => {
            let text = if *sending { tr!(lang, "text-sending") } else { tr!(lang, "move-question") };
            out.push(toned(text, Tone::Warn, theme));
        }
        Dialog::Kill { sending, .. } => {
            let text = if *sending { tr!(lang, "text-sending") } else { tr!(lang, "kill-question") };
            out.push(toned(text, Tone::Warn, theme));
        }
        Dialog::Help { .. }
        | Dialog::Flows { .. }
        | Dialog::Flow(_)
        | Dialog::Connection(_)
        | Dialog::Entry(_)
        | Dialog::Text { .. }
        | Dialog::Lab
        | Dialog::Report { .. }
        | Dialog::Failure { .. } => {}
    }
    out
}

fn text_title(m: &Model, request: &Request) -> String {
    match request {
        Request::Show(n) => tr!(m.lang, "title-show", revision = n.to_string()),
        Request::Diff(from, to) if from == "running" && to == "candidate" => tr!(m.lang, "title-candidate"),
        Request::Diff(_, to) if to == PEER => tr!(m.lang, "title-nodes"),
        Request::Diff(from, to) => tr!(m.lang, "title-diff", from = from.as_str(), to = to.as_str()),
        _ => tr!(m.lang, "title-plan"),
    }
}

/// A label and what is typed; the cursor is a block behind the text.
pub fn field(
    label: &str,
    names: usize,
    input: &Input,
    focus: bool,
    theme: Theme,
    width: usize,
) -> Line<'static> {
    let room = width.saturating_sub(names + 3);
    // The end of a long text is what is being typed.
    let mut text = input.text.as_str();
    while columns_of(text) > room {
        let mut chars = text.chars();
        chars.next();
        text = chars.as_str();
    }
    let style = if focus { theme.focus() } else { Style::new() };
    let mut spans = vec![
        Span::styled(left(label, names + 1), theme.tone(Tone::Dim)),
        Span::styled(text.to_owned(), style),
    ];
    if focus {
        spans.push(Span::styled(" ", theme.focus()));
    }
    Line::from(spans)
}

fn explain_fields(m: &Model, form: &ExplainForm, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let labels = [
        tr!(m.lang, "explain-from"),
        tr!(m.lang, "explain-source"),
        tr!(m.lang, "explain-destination"),
        tr!(m.lang, "explain-service"),
    ];
    let names = labels.iter().map(|l| columns_of(l)).max().unwrap_or(0);
    let fields = labels.iter().zip(&form.fields).enumerate();
    let mut out: Vec<_> =
        fields.map(|(i, (label, input))| field(label, names, input, form.focus == i, theme, width)).collect();
    out.push(Line::default());
    out
}

fn commit_fields(m: &Model, form: &CommitForm, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let labels = [tr!(lang, "commit-comment"), tr!(lang, "commit-time")];
    let names = labels.iter().map(|l| columns_of(l)).max().unwrap_or(0);
    let mut out = vec![
        field(&labels[0], names, &form.comment, form.focus == 0, theme, width),
        field(&labels[1], names, &form.confirm, form.focus == 1, theme, width),
    ];
    let empty = form.diff.as_ref().is_some_and(String::is_empty);
    let (text, tone) = match form {
        CommitForm { bad_time: true, .. } => (tr!(lang, "commit-bad-time"), Tone::Bad),
        CommitForm { sending: true, .. } => (tr!(lang, "text-sending"), Tone::Warn),
        CommitForm { failure: Some(Failure::Refused { kind, .. }), .. }
            if *kind == crate::bus::Refusal::LockOut =>
        {
            (tr!(lang, "commit-force"), Tone::Bad)
        }
        CommitForm { failure: Some(_), .. } => (tr!(lang, "commit-refused"), Tone::Bad),
        CommitForm { diff: None, .. } => (tr!(lang, "text-waiting"), Tone::Dim),
        CommitForm { check: None, target: Target::Candidate, .. } => (tr!(lang, "text-waiting"), Tone::Dim),
        _ if empty => (tr!(lang, "commit-nothing"), Tone::Warn),
        form if !may_commit(form) => (tr!(lang, "check-invalid"), Tone::Bad),
        CommitForm { confirm, .. } if confirm.text.trim().is_empty() => {
            (tr!(lang, "commit-for-good"), Tone::Warn)
        }
        _ => (tr!(lang, "commit-ready"), Tone::Good),
    };
    out.push(toned(fit(&text, width), tone, theme));
    out
}

fn asked(m: &Model, request: &Request, text: Option<&str>, theme: Theme, width: usize) -> Vec<Line<'static>> {
    match (request, text) {
        (_, None) => vec![toned(tr!(m.lang, "text-waiting"), Tone::Dim, theme)],
        (Request::Diff(..), Some("")) => vec![toned(tr!(m.lang, "diff-empty"), Tone::Dim, theme)],
        (request, Some(text)) => {
            let diff = matches!(request, Request::Diff(..));
            let tone = |line: &str| match line.as_bytes() {
                [b'+', ..] if diff => Tone::Good,
                [b'-', ..] if diff => Tone::Bad,
                [b'@', ..] if diff => Tone::Accent,
                _ => Tone::Plain,
            };
            let wrapped = text.lines().map(|line| (wrap(line, width), tone(line)));
            wrapped.flat_map(|(parts, t)| parts.into_iter().map(move |p| toned(p, t, theme))).collect()
        }
    }
}

/// Why something was not done.
pub fn failed(m: &Model, failure: &Failure, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let text = failure_text(m.lang, failure);
    let mut out: Vec<_> = wrap(&text, width).into_iter().map(|l| toned(l, Tone::Bad, theme)).collect();
    if let Failure::Refused { report: Some(report), .. } = failure {
        out.push(Line::default());
        out.extend(check(m, report, theme, width));
    }
    out
}

/// What a check found: the diagnostics as they are printed, then the assertions.
pub fn check(m: &Model, report: &CheckReport, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut out = Vec::new();
    for line in report.rendered.trim_end().lines() {
        let tone = match line {
            _ if line.starts_with("error") => Tone::Bad,
            _ if line.starts_with("warning") => Tone::Warn,
            _ => Tone::Plain,
        };
        out.extend(wrap(line, width).into_iter().map(|l| toned(l, tone, theme)));
    }
    for a in &report.assertions {
        let sign = words::assertion(a.holds);
        let word = format!("{} {}", sign.glyph, tr!(m.lang, sign.word));
        let line = a.line.to_string();
        let text = tr!(m.lang, "assertion-line", sign = word, name = a.name.as_str(), line = line);
        out.extend(wrap(&text, width).into_iter().map(|l| toned(l, sign.tone, theme)));
        if let Some(why) = &a.counterexample {
            let text = tr!(m.lang, "assertion-why", why = why.as_str());
            out.extend(wrap(&text, width).into_iter().map(|l| toned(l, Tone::Plain, theme)));
        }
    }
    if !out.is_empty() {
        out.push(Line::default());
    }
    out
}

fn report_lines(m: &Model, r: &CommitReport, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let mut out = Vec::new();
    let mut say = |text: String, tone| {
        out.extend(wrap(&text, width).into_iter().map(|l| toned(l, tone, theme)));
    };
    say(
        tr!(
            lang,
            "commit-done",
            revision = r.revision.to_string(),
            steps = r.steps.len(),
            cut = r.connections_cut,
            ms = r.duration_ms
        ),
        Tone::Good,
    );
    if let Some(peer) = &r.peer {
        let (tone, text) = words::peer(lang, peer);
        say(text, tone);
    }
    if let Some(seconds) = r.confirm_s {
        let left = duration(lang, seconds.into());
        say(tr!(lang, "report-trial", left = left), Tone::Warn);
    }
    for w in &r.warnings {
        let (line, code) = (w.line.to_string(), w.code.as_str());
        say(tr!(lang, "commit-warning", line = line, code = code, message = w.message.as_str()), Tone::Warn);
    }
    say(String::new(), Tone::Plain);
    for step in &r.steps {
        say(tr!(lang, "report-step", step = step.as_str()), Tone::Plain);
    }
    out
}

fn explanation_lines(m: &Model, e: &Explanation, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let verdict = words::action(&e.verdict);
    let word = format!("{} {}", verdict.glyph, tr!(lang, verdict.word));
    let mut out = Vec::new();
    let mut say = |text: String, tone| {
        out.extend(wrap(&text, width).into_iter().map(|l| toned(l, tone, theme)));
    };
    say(tr!(lang, "explain-verdict", verdict = word, summary = e.summary.as_str()), verdict.tone);
    let by = e.decided_by.as_str();
    say(
        match e.line {
            Some(line) => tr!(lang, "explain-decided-line", by = by, line = line.to_string()),
            None => tr!(lang, "explain-decided", by = by),
        },
        Tone::Accent,
    );
    say(String::new(), Tone::Plain);
    let stages: Vec<(String, &str)> =
        e.stages.iter().map(|s| (tr!(lang, words::stage(&s.stage)), s.text.as_str())).collect();
    let names = stages.iter().map(|(name, _)| columns_of(name)).max().unwrap_or(0);
    for (name, text) in &stages {
        let mut name = name.as_str();
        for part in wrap(text, width.saturating_sub(names + 2)) {
            let label = Span::styled(left(name, names + 2), theme.tone(Tone::Dim));
            out.push(Line::from(vec![label, Span::raw(part)]));
            name = "";
        }
    }
    if !e.near_misses.is_empty() {
        out.push(Line::default());
        out.push(Line::styled(tr!(lang, "explain-near"), theme.heading()));
        for n in &e.near_misses {
            let (label, line) = (n.label.as_str(), n.line.to_string());
            let text = tr!(lang, "explain-near-line", label = label, line = line, why = n.why.as_str());
            out.extend(wrap(&text, width).into_iter().map(|l| toned(l, Tone::Plain, theme)));
        }
    }
    out
}
