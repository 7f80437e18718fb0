//! Draws what stands before the screens: the question for the password, and the pages of the set-up.

use ratatui_core::style::Style;
use ratatui_core::text::{Line, Span};
use rempart_bus::setup::PortStatus;

use super::toned;
use super::{dialogs, live};
use crate::cli::run::failure_text;
use crate::format::{integer, left, width as columns_of, wrap};
use crate::tui::gate::Login;
use crate::tui::model::{Gate, Input, Model};
use crate::tui::setup::{Field, Role, Setup, Step, Way};
use crate::tui::theme::Theme;
use crate::words::Tone;
use crate::{id, tr};

/// How long a lamp that has changed is pointed at, in seconds.
const MOVED_S: u64 = 6;

/// The page.
pub fn lines(m: &Model, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let theme = theme.fresh();
    match &m.gate {
        Gate::Open => Vec::new(),
        Gate::Asking(None) => vec![toned(tr!(m.lang, "gate-asking"), Tone::Dim, theme)],
        Gate::Asking(Some(failure)) => wrapped(&failure_text(m.lang, failure), Tone::Bad, theme, width),
        Gate::Locked(login) => locked(m, login, theme, width),
        Gate::Live(live) => live::lines(m, live, theme, width),
        Gate::Setup(setup) => page(m, setup, theme, width, height),
    }
}

/// The key line.
pub fn keys(m: &Model) -> &'static str {
    match &m.gate {
        Gate::Open | Gate::Asking(_) => id!("keys-gate"),
        Gate::Locked(_) => id!("keys-locked"),
        Gate::Live(live) => live::keys(live),
        Gate::Setup(setup) => match setup.step {
            Step::Welcome => id!("keys-setup-welcome"),
            Step::Ports if setup.way == Way::Join => id!("keys-setup-cable"),
            Step::Ports => id!("keys-setup-ports"),
            Step::Review => id!("keys-setup-review"),
            Step::Joining => id!("keys-setup-joining"),
            Step::Password | Step::Names | Step::Addresses | Step::Code => id!("keys-setup-fields"),
        },
    }
}

/// How far the document can be scrolled.
pub fn review_scroll(m: &Model) -> usize {
    let Gate::Setup(setup) = &m.gate else { return 0 };
    let (theme, width) = (Theme::of(m).fresh(), usize::from(m.width));
    let fixed = head(m, setup, theme, width).len();
    review(m, setup, theme, width).len().saturating_sub(m.body_height().saturating_sub(fixed))
}

/// A text in lines.
pub fn wrapped(text: &str, tone: Tone, theme: Theme, width: usize) -> Vec<Line<'static>> {
    wrap(text, width).into_iter().map(|line| toned(line, tone, theme)).collect()
}

fn locked(m: &Model, login: &Login, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut out =
        vec![Line::styled(left(&tr!(m.lang, "title-locked"), width), theme.heading()), Line::default()];
    let label = tr!(m.lang, "setup-field-password");
    out.push(dialogs::field(&label, columns_of(&label), &dots(&login.input), true, theme, width));
    out.push(Line::default());
    if login.waiting {
        out.push(toned(tr!(m.lang, "text-sending"), Tone::Warn, theme));
    }
    if let Some(failure) = &login.failure {
        out.extend(wrapped(&failure_text(m.lang, failure), Tone::Bad, theme, width));
    }
    out
}

/// What is typed and not shown.
fn dots(input: &Input) -> Input {
    Input { text: "*".repeat(input.text.chars().count()) }
}

fn page(m: &Model, setup: &Setup, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut out = head(m, setup, theme, width);
    match setup.step {
        Step::Welcome => {}
        Step::Ports => out.extend(ports(m, setup, theme, width)),
        Step::Review => {
            let room = height.saturating_sub(out.len());
            out.extend(review(m, setup, theme, width).into_iter().skip(setup.scroll).take(room));
        }
        Step::Joining => {
            let peer = setup.peer.clone().unwrap_or_default();
            out.push(toned(tr!(m.lang, "setup-joined", peer = peer), Tone::Good, theme));
        }
        Step::Password | Step::Names | Step::Addresses | Step::Code => {
            out.extend(fields(m, setup, theme, width));
        }
    }
    out
}

/// Title, what the page is about, and what a daemon said.
fn head(m: &Model, setup: &Setup, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let steps = setup.steps();
    let at = steps.iter().position(|step| *step == setup.step).unwrap_or(0);
    let (name, about) = match setup.step {
        Step::Welcome => (id!("setup-welcome"), id!("setup-about-welcome")),
        Step::Password => (id!("setup-password"), id!("setup-about-password")),
        Step::Names if setup.way == Way::Join => (id!("setup-names"), id!("setup-about-name")),
        Step::Names => (id!("setup-names"), id!("setup-about-names")),
        Step::Ports if setup.way == Way::Join => (id!("setup-cable"), id!("setup-about-cable")),
        Step::Ports => (id!("setup-ports"), id!("setup-about-ports")),
        Step::Addresses if setup.is_pair() => (id!("setup-addresses"), id!("setup-about-addresses-pair")),
        Step::Addresses => (id!("setup-addresses"), id!("setup-about-addresses")),
        Step::Review => (id!("setup-review"), id!("setup-about-review")),
        Step::Code => (id!("setup-code"), id!("setup-about-code")),
        Step::Joining => (id!("setup-joining"), id!("setup-about-joining")),
    };
    let title = match at {
        0 => tr!(lang, name),
        _ => tr!(lang, "setup-title", name = tr!(lang, name), step = at, steps = steps.len() - 1),
    };
    let mut out = vec![Line::styled(left(&title, width), theme.heading())];
    out.extend(wrapped(&tr!(lang, about), Tone::Plain, theme, width));
    if setup.waiting {
        out.push(toned(tr!(lang, "text-sending"), Tone::Warn, theme));
    }
    if let Some(failure) = &setup.failure {
        out.extend(dialogs::failed(m, failure, theme, width));
    }
    out.push(Line::default());
    out
}

fn label(m: &Model, field: Field) -> String {
    let lang = m.lang;
    match field {
        Field::Password => tr!(lang, "setup-field-password"),
        Field::Again => tr!(lang, "setup-field-again"),
        Field::Name => tr!(lang, "setup-field-name"),
        Field::Other => tr!(lang, "setup-field-other"),
        Field::Place => tr!(lang, "setup-field-place"),
        Field::Ports => String::new(),
        Field::Wan => tr!(lang, "setup-field-wan"),
        Field::WanOther => tr!(lang, "setup-field-wan-other"),
        Field::WanShared => tr!(lang, "setup-field-wan-shared"),
        Field::Gateway => tr!(lang, "setup-field-gateway"),
        Field::Lan => tr!(lang, "setup-field-lan"),
        Field::LanOther => tr!(lang, "setup-field-lan-other"),
        Field::LanShared => tr!(lang, "setup-field-lan-shared"),
        Field::Dmz => tr!(lang, "setup-field-dmz"),
        Field::DmzOther => tr!(lang, "setup-field-dmz-other"),
        Field::DmzShared => tr!(lang, "setup-field-dmz-shared"),
        Field::Code => tr!(lang, "setup-field-code"),
    }
}

fn fields(m: &Model, setup: &Setup, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let all = setup.fields();
    let names = all.iter().map(|field| columns_of(&label(m, *field))).max().unwrap_or(0);
    let mut out = Vec::new();
    for (at, field) in all.iter().enumerate() {
        let input = setup.inputs.get(field).cloned().unwrap_or_default();
        let hidden = matches!(field, Field::Password | Field::Again);
        let shown = if hidden { dots(&input) } else { input };
        let label = label(m, *field);
        out.push(dialogs::field(&label, names, &shown, at == setup.focus, theme, width));
        if let Some(fault) = setup.faults.get(field) {
            let text = format!("{}✗ {}", " ".repeat(names + 1), fault.text(m.lang));
            out.extend(wrapped(&text, Tone::Bad, theme, width));
        }
    }
    out
}

fn role(m: &Model, role: Option<Role>) -> (String, Tone) {
    match role {
        Some(Role::Wan) => (tr!(m.lang, "setup-role-wan"), Tone::Warn),
        Some(Role::Lan) => (tr!(m.lang, "setup-role-lan"), Tone::Good),
        Some(Role::Dmz) => (tr!(m.lang, "setup-role-dmz"), Tone::Accent),
        Some(Role::Sync) => (tr!(m.lang, "setup-role-sync"), Tone::Plain),
        None => ("-".to_owned(), Tone::Dim),
    }
}

fn ports(m: &Model, setup: &Setup, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let heads = [
        tr!(lang, "setup-head-port"),
        tr!(lang, "setup-head-lamp"),
        tr!(lang, "setup-head-speed"),
        tr!(lang, "setup-head-driver"),
        tr!(lang, "setup-head-mac"),
        tr!(lang, "setup-head-role"),
    ];
    let columns = [14, 10, 14, 10, 18];
    let mut out = vec![Line::styled(
        left(&format!("  {}{}", cut(&heads[..5], &columns), heads[5]), width),
        theme.heading(),
    )];
    if setup.ports.is_empty() {
        out.push(toned(tr!(lang, "setup-no-ports"), Tone::Bad, theme));
    }
    for (at, port) in setup.ports.iter().enumerate() {
        let (used, tone) = role(m, setup.roles.get(&port.device).copied());
        let cells =
            [port.device.clone(), lamp(m, port), speed(m, port), port.driver.clone(), port.mac.clone()];
        let moved = setup.moved.get(&port.device).is_some_and(|then| m.ticks.saturating_sub(*then) < MOVED_S);
        let mark = if moved { tr!(lang, "setup-moved") } else { String::new() };
        let style = if at == setup.cursor { theme.focus() } else { Style::new() };
        let lit = if port.link { Tone::Good } else { Tone::Dim };
        let lamp_style = if at == setup.cursor { style } else { theme.tone(lit) };
        out.push(Line::from(vec![
            Span::styled(format!("  {}", left(&cells[0], columns[0])), style),
            Span::styled(left(&cells[1], columns[1]), lamp_style),
            Span::styled(cut(&cells[2..], &columns[2..]), style),
            Span::styled(used, theme.tone(tone)),
            Span::styled(mark, theme.tone(Tone::Warn)),
        ]));
    }
    if let Some(fault) = setup.faults.get(&Field::Ports) {
        out.push(Line::default());
        out.extend(wrapped(&format!("✗ {}", fault.text(lang)), Tone::Bad, theme, width));
    }
    out
}

fn cut(cells: &[String], columns: &[usize]) -> String {
    cells.iter().zip(columns).map(|(cell, columns)| left(cell, *columns)).collect()
}

fn lamp(m: &Model, port: &PortStatus) -> String {
    if port.link { tr!(m.lang, "setup-lamp-lit") } else { tr!(m.lang, "setup-lamp-dark") }
}

fn speed(m: &Model, port: &PortStatus) -> String {
    port.speed_mbps.map_or("-".to_owned(), |mbps| format!("{} Mbit/s", integer(m.lang, mbps.into())))
}

/// The document, and above it what was found about it.
fn review(m: &Model, setup: &Setup, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let Some((text, report)) = &setup.review else { return Vec::new() };
    let (said, tone) = match report.valid {
        true => (tr!(m.lang, "setup-valid"), Tone::Good),
        false => (tr!(m.lang, "check-invalid"), Tone::Bad),
    };
    let mut out = wrapped(&said, tone, theme, width);
    out.extend(dialogs::check(m, report, theme, width));
    out.push(Line::default());
    let tone = |line: &str| if line.starts_with('#') { Tone::Dim } else { Tone::Plain };
    out.extend(text.lines().flat_map(|line| wrapped(line, tone(line), theme, width)));
    out
}
