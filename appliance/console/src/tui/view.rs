//! Owns the frame around every screen: header, tabs, banners, key line. The screens are in the modules below.
//!
//! Pure: `view(&model, frame)`. A frame is drawn in full each time, and the terminal gets what differs.

pub mod configuration;
pub mod connections;
pub mod dashboard;
pub mod details;
pub mod dialogs;
pub mod editor;
pub mod gate;
pub mod live;
pub mod log;
pub mod matrix;
pub mod pair;
pub mod prompt;
pub mod vpn;

use ratatui_core::layout::Rect;
use ratatui_core::style::Style;
use ratatui_core::terminal::Frame;
use ratatui_core::text::{Line, Span};

use super::model::{Dialog, Gate, Link, Model, Screen};
use super::theme::Theme;
use crate::format::{self, countdown, left};
use crate::lab::{Stream, Traffic};
use crate::words::{self, Tone};
use crate::{id, tr};

/// The smallest terminal that the screens make sense on.
pub const MIN_SIZE: (u16, u16) = (60, 16);

/// Draws the model.
pub fn view(m: &Model, frame: &mut Frame) {
    let area = frame.area();
    let theme = Theme::of(m);
    if area.width < MIN_SIZE.0 || area.height < MIN_SIZE.1 {
        let (width, height) = (area.width.to_string(), area.height.to_string());
        let text = tr!(m.lang, "too-small", width = width, height = height);
        let lines = format::wrap(&text, area.width.into());
        draw(frame, area, lines.into_iter().map(Line::from).collect());
        return;
    }
    let width = usize::from(area.width);
    let shut = m.gate != Gate::Open;
    let second = if shut { Line::default() } else { tabs(m, theme) };
    let mut rows = vec![header(m, theme, width), second];
    if !shut {
        rows.extend(banners(m, theme, width));
    }
    let top = rows.len() as u16;
    draw(frame, area, rows);
    let body = Rect { y: area.y + top, height: area.height.saturating_sub(top + 1), ..area };
    let lines = match m.dialogs.last() {
        _ if shut => gate::lines(m, theme, width, body.height.into()),
        Some(dialog) => dialogs::draw(m, dialog, theme, width, body.height.into()),
        None => match m.screen {
            Screen::Dashboard => {
                let lines = dashboard::lines(m);
                lines.into_iter().skip(m.dashboard_scroll).collect()
            }
            Screen::Matrix => matrix::lines(m, theme, width, body.height.into()),
            Screen::Connections => connections::lines(m, theme, width, body.height.into()),
            Screen::Log => log::lines(m, theme, width, body.height.into()),
            Screen::Configuration => configuration::lines(m, theme, width, body.height.into()),
            Screen::Pair => pair::lines(m).into_iter().skip(m.pair_scroll).collect(),
            Screen::Vpn => vpn::lines(m, theme, width, body.height.into()),
        },
    };
    draw(frame, body, lines);
    let keys = Rect { y: area.y + area.height - 1, height: 1, ..area };
    draw(frame, keys, vec![key_line(m, theme, width)]);
}

/// Lines from the top of an area; what does not fit is left out.
fn draw(frame: &mut Frame, area: Rect, lines: Vec<Line<'_>>) {
    let buffer = frame.buffer_mut();
    for (line, y) in lines.iter().zip(area.top()..area.bottom()) {
        buffer.set_line(area.x, y, line, area.width);
    }
}

fn header(m: &Model, theme: Theme, width: usize) -> Line<'static> {
    let clock = format::time_of_day(&m.tz, &m.now.to_string());
    let text = match &m.status {
        None => tr!(m.lang, "header-unknown"),
        Some(s) => {
            let role = words::role(&s.role);
            let revision = s.revision.as_ref().map_or("-".to_owned(), |r| r.number.to_string());
            tr!(
                m.lang,
                "header",
                node = s.node.as_str(),
                glyph = role.glyph,
                role = tr!(m.lang, role.word),
                revision = revision
            )
        }
    };
    let text = left(&text, width.saturating_sub(clock.len() + 2));
    Line::styled(format!(" {text}{clock} "), theme.bar())
}

fn tabs(m: &Model, theme: Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for screen in Screen::ALL {
        let name = match screen {
            Screen::Dashboard => id!("tab-dashboard"),
            Screen::Matrix => id!("tab-matrix"),
            Screen::Connections => id!("tab-connections"),
            Screen::Log => id!("tab-log"),
            Screen::Configuration => id!("tab-configuration"),
            Screen::Pair => id!("tab-pair"),
            Screen::Vpn => id!("tab-vpn"),
        };
        let style = if screen == m.screen { theme.focus() } else { theme.fresh().tone(Tone::Accent) };
        spans.push(Span::styled(tr!(m.lang, name), style));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

fn banners(m: &Model, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if m.live.is_some() {
        lines.push(Line::styled(left(&tr!(m.lang, "live-banner"), width), theme.banner(Tone::Warn)));
    }
    if let (Some(status), Some(left_s)) = (&m.status, m.confirm_left_s()) {
        let revision = status.pending.as_ref().map_or(0, |p| p.revision).to_string();
        let text = tr!(m.lang, "banner-pending", revision = revision, left = countdown(left_s));
        lines.push(Line::styled(left(&text, width), theme.banner(Tone::Warn)));
    }
    if let Link::Down { since, failure } = &m.link {
        let since = format::time_of_day(&m.tz, &since.to_string());
        let text = match failure {
            crate::bus::Failure::Denied(_) => tr!(m.lang, "banner-denied"),
            _ if m.status.is_none() => tr!(m.lang, "banner-absent", since = since),
            _ => tr!(m.lang, "banner-stale", since = since),
        };
        lines.push(Line::styled(left(&text, width), theme.banner(Tone::Bad)));
    }
    if let Some(traffic) = &m.lab {
        let (text, tone) = lab(m, traffic);
        lines.push(Line::styled(left(&text, width), theme.banner(tone)));
    }
    lines
}

/// How the streams of the lab fare, on every screen.
fn lab(m: &Model, traffic: &Traffic) -> (String, Tone) {
    let lang = m.lang;
    let pause = |s: &Stream| tr!(lang, "duration-milliseconds", n = s.longest_pause_ms);
    let download = traffic.download.as_ref().map(|s| match s.ended {
        Some(_) => tr!(lang, "lab-download-ended"),
        None => tr!(lang, "lab-download", rate = format::bit_rate(lang, s.bytes_per_s * 8), pause = pause(s)),
    });
    let ssh = traffic.ssh.as_ref().map(|s| match s.ended {
        Some(_) => tr!(lang, "lab-ssh-ended"),
        None => tr!(lang, "lab-ssh", pause = pause(s)),
    });
    let ended = [&traffic.download, &traffic.ssh].into_iter().flatten().any(|s| s.ended.is_some());
    let tone = if ended { Tone::Bad } else { Tone::Good };
    match (download, ssh) {
        (None, None) => (tr!(lang, "lab-nothing"), Tone::Accent),
        (Some(one), None) | (None, Some(one)) => (tr!(lang, "lab-one", stream = one), tone),
        (Some(download), Some(ssh)) => (tr!(lang, "lab-both", download = download, ssh = ssh), tone),
    }
}

fn key_line(m: &Model, theme: Theme, width: usize) -> Line<'static> {
    if let Some((text, tone)) = &m.notice {
        return Line::styled(left(text, width), theme.banner(*tone));
    }
    let keys = match m.dialogs.last() {
        _ if m.gate != Gate::Open => gate::keys(m),
        Some(Dialog::Help { .. } | Dialog::Text { .. } | Dialog::Report { .. } | Dialog::Failure { .. }) => {
            id!("keys-text")
        }
        Some(Dialog::Flows { .. }) => id!("keys-flows"),
        Some(Dialog::Flow(_) | Dialog::Entry(_)) => id!("keys-details"),
        Some(Dialog::Connection(_)) => id!("keys-connection"),
        Some(Dialog::Kill { .. }) => id!("keys-kill"),
        Some(Dialog::Revert { .. }) => id!("keys-revert"),
        Some(Dialog::Move { .. }) => id!("keys-move"),
        Some(Dialog::Resolve { .. }) => id!("keys-choose"),
        Some(Dialog::Lab) => id!("keys-lab"),
        Some(Dialog::Editor(_)) => id!("keys-editor"),
        Some(Dialog::Prompt(_)) => id!("keys-prompt"),
        Some(Dialog::Output(output)) if output.runs() => id!("keys-output"),
        Some(Dialog::Output(_)) => id!("keys-text"),
        Some(Dialog::Commit(_)) => id!("keys-commit"),
        Some(Dialog::Explain(_)) => id!("keys-explain"),
        None if m.connections.editing && m.screen == Screen::Connections => id!("keys-filter"),
        None if m.log.editing && m.screen == Screen::Log => id!("keys-filter"),
        None => match m.screen {
            Screen::Dashboard => id!("keys-dashboard"),
            Screen::Matrix => id!("keys-matrix"),
            Screen::Connections => id!("keys-connections"),
            Screen::Log => id!("keys-log"),
            Screen::Configuration => id!("keys-configuration"),
            Screen::Pair => id!("keys-pair"),
            Screen::Vpn => id!("keys-vpn"),
        },
    };
    Line::styled(left(&tr!(m.lang, keys), width), theme.bar())
}

/// A line of words in one tone.
pub fn toned(text: impl Into<String>, tone: Tone, theme: Theme) -> Line<'static> {
    Line::styled(text.into(), theme.tone(tone))
}

/// A filter line with what it means.
pub fn filter_line<T: crate::filter::Subject>(
    m: &Model,
    live: &super::model::Live<T>,
    count: String,
    theme: Theme,
    width: usize,
) -> Line<'static> {
    let frozen = if live.frozen { tr!(m.lang, "live-frozen") } else { tr!(m.lang, "live-running") };
    let tone = if live.frozen { Tone::Warn } else { Tone::Good };
    let tail = format!(" {count} ");
    let room = width.saturating_sub(format::width(&tail) + format::width(&frozen));
    let head = match (&live.bad, live.editing, live.input.text.is_empty()) {
        (Some(word), _, _) => {
            tr!(m.lang, "filter-bad", text = live.input.text.as_str(), word = word.as_str())
        }
        (None, true, _) => tr!(m.lang, "filter-editing", text = live.input.text.as_str()),
        (None, false, true) => tr!(m.lang, "filter-none"),
        (None, false, false) => tr!(m.lang, "filter-set", text = live.input.text.as_str()),
    };
    let style = match (live.editing, live.bad.is_some()) {
        (_, true) => theme.tone(Tone::Bad),
        (true, false) => theme.focus(),
        (false, false) => Style::new(),
    };
    Line::from(vec![
        Span::styled(left(&head, room), style),
        Span::styled(tail, theme.tone(Tone::Dim)),
        Span::styled(frozen, theme.tone(tone)),
    ])
}
