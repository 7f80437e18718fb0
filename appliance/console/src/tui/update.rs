//! Owns what a message does to the screens: `update(model, message)` changes the model and says what is to be done.
//!
//! Pure. Keys that belong to a dialog are in [`super::dialogs`], answers and polls in [`super::answers`].

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rempart_bus::codes::RefusalCode;
use rempart_bus::documents::Connection;

use super::model::{
    DIALOGS_MAX, Dialog, Effect, ExplainForm, Gate, INPUT_MAX, Input, Live, Message, Model, Pivot, Screen,
};
use super::prompt::Prompt;
use super::{answers, dialogs, editor, gate, prompt};
use crate::bus::{Choice, Request};
use crate::filter::{Filter, Order, Subject};
use crate::lab::Order as LabOrder;
use crate::lang::Lang;
use crate::matrix::{Matrix, ServiceMatrix};
use crate::pair::DIVERGED;
use crate::tr;
use crate::words::{self, Tone};

/// Takes a message in.
pub fn update(mut model: Model, message: Message) -> (Model, Vec<Effect>) {
    let effects = match message {
        Message::Key(key) if key.kind == KeyEventKind::Release => Vec::new(),
        Message::Key(key) => {
            model.notice = None;
            on_key(&mut model, key)
        }
        Message::Resize(width, height) => {
            (model.width, model.height) = (width, height);
            Vec::new()
        }
        Message::Tick(now) => answers::tick(&mut model, now),
        Message::Answer(request, answer) => answers::take(&mut model, &request, answer),
        Message::Traffic(traffic) => {
            model.lab = Some(traffic);
            Vec::new()
        }
        Message::LabDone(order, done) => {
            let said = match (order, &done) {
                (_, Err(why)) => (tr!(model.lang, "lab-failed", why = why.as_str()), Tone::Bad),
                (LabOrder::PowerOff, Ok(())) => (tr!(model.lang, "lab-is-off"), Tone::Warn),
                (LabOrder::PowerOn, Ok(())) => (tr!(model.lang, "lab-is-on"), Tone::Good),
                // Their figures are on every screen.
                (LabOrder::Download(_) | LabOrder::Ssh(_), Ok(())) => return (model, Vec::new()),
            };
            model.notice = Some(said);
            Vec::new()
        }
        Message::Said(line) => {
            prompt::said(&mut model, line);
            Vec::new()
        }
        Message::Ended(code) => prompt::ended(&mut model, code),
        Message::Terminate => vec![Effect::Quit],
    };
    (model, effects)
}

fn on_key(m: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        // It ends the verb, where one runs, and not the console.
        // Nor what is written.
        KeyCode::Char('c') if control && matches!(m.dialogs.last(), Some(Dialog::Editor(_))) => {}
        KeyCode::Char('c') if control && m.gate == Gate::Open && prompt::is_open(m) => {
            return prompt::on_interrupt(m);
        }
        KeyCode::Char('c') if control && m.gate == Gate::Open => return vec![Effect::Quit],
        KeyCode::Char('l') if control => return vec![Effect::Repaint],
        KeyCode::F(2) => {
            m.lang = m.lang.other();
            return Vec::new();
        }
        _ => {}
    }
    if let Some(effects) = gate::on_key(m, key) {
        return effects;
    }
    if !m.dialogs.is_empty() {
        return dialogs::on_key(m, key);
    }
    if let Some(effects) = on_filter_key(m, key) {
        return effects;
    }
    if control {
        return Vec::new();
    }
    match key.code {
        KeyCode::Char('q') => vec![Effect::Quit],
        KeyCode::Char(':') => open(m, Dialog::Prompt(Prompt::default())),
        KeyCode::Char('?') | KeyCode::F(1) => open(m, Dialog::Help { scroll: 0 }),
        KeyCode::Char('L') => {
            m.lang = m.lang.other();
            Vec::new()
        }
        KeyCode::Char(digit @ '1'..='7') => {
            let index = digit as usize - '1' as usize;
            go(m, Screen::ALL[index])
        }
        KeyCode::Tab => go(m, neighbour(m.screen, 1)),
        KeyCode::BackTab => go(m, neighbour(m.screen, Screen::ALL.len() - 1)),
        KeyCode::Char('e') => {
            let form = explain_form(m);
            open(m, Dialog::Explain(Box::new(form)))
        }
        KeyCode::Char('X') if m.lab.is_some() => {
            m.screen = Screen::Pair;
            open(m, Dialog::Lab)
        }
        KeyCode::Char('y') if m.confirm_left_s().is_some() => vec![Effect::Call(Request::Confirm)],
        KeyCode::Char('r') if m.confirm_left_s().is_some() => dialogs::open_revert(m),
        _ => match m.screen {
            Screen::Dashboard => on_dashboard_key(m, key.code),
            Screen::Matrix => on_matrix_key(m, key.code),
            Screen::Connections => on_connections_key(m, key.code),
            Screen::Log => on_log_key(m, key.code),
            Screen::Configuration => on_configuration_key(m, key.code),
            Screen::Pair => on_pair_key(m, key.code),
            Screen::Vpn => on_vpn_key(m, key.code),
        },
    }
}

/// Puts a dialog on top.
pub fn open(m: &mut Model, dialog: Dialog) -> Vec<Effect> {
    if m.dialogs.len() < DIALOGS_MAX {
        m.dialogs.push(dialog);
    }
    Vec::new()
}

fn neighbour(screen: Screen, steps: usize) -> Screen {
    let at = Screen::ALL.iter().position(|s| *s == screen).unwrap_or(0);
    Screen::ALL[(at + steps) % Screen::ALL.len()]
}

fn go(m: &mut Model, screen: Screen) -> Vec<Effect> {
    m.screen = screen;
    answers::polls(m, true)
}

fn on_dashboard_key(m: &mut Model, code: KeyCode) -> Vec<Effect> {
    match code {
        KeyCode::Down => m.dashboard_scroll += 1,
        KeyCode::Up => m.dashboard_scroll = m.dashboard_scroll.saturating_sub(1),
        KeyCode::Home => m.dashboard_scroll = 0,
        _ => {}
    }
    let most = super::view::dashboard::lines(m).len().saturating_sub(m.body_height());
    m.dashboard_scroll = m.dashboard_scroll.min(most);
    Vec::new()
}

fn on_vpn_key(m: &mut Model, code: KeyCode) -> Vec<Effect> {
    let count = m.vpn.as_ref().and_then(|sessions| sessions.as_ref().ok()).map_or(0, Vec::len);
    m.vpn_cursor = match code {
        KeyCode::Down => m.vpn_cursor + 1,
        KeyCode::Up => m.vpn_cursor.saturating_sub(1),
        KeyCode::PageDown => m.vpn_cursor + m.body_height(),
        KeyCode::PageUp => m.vpn_cursor.saturating_sub(m.body_height()),
        KeyCode::Home => 0,
        KeyCode::End => count,
        _ => m.vpn_cursor,
    }
    .min(count.saturating_sub(1));
    Vec::new()
}

fn on_pair_key(m: &mut Model, code: KeyCode) -> Vec<Effect> {
    let known = m.pair.as_ref().and_then(|p| p.as_ref().ok());
    let diverged = known.is_some_and(|s| s.configuration.state == DIVERGED);
    let orders = known.map(|s| s.maintenance);
    match (code, orders) {
        (KeyCode::Char('d'), Some(_)) => return dialogs::open_text(m, Choice::Theirs.diff()),
        (KeyCode::Char('c'), Some(_)) if diverged => {
            return open(m, Dialog::Resolve { choice: None, diff: None, scroll: 0, sending: false });
        }
        (KeyCode::Char('c'), Some(_)) => {
            let text = tr!(m.lang, words::refusal(RefusalCode::NotDiverged));
            m.notice = Some((tr!(m.lang, "error-refused", text = text), Tone::Plain));
            return Vec::new();
        }
        (KeyCode::Char('s'), Some(_)) => {
            return open(m, Dialog::Move { order: Request::Switch, sending: false });
        }
        (KeyCode::Char('m'), Some(on)) => {
            return open(m, Dialog::Move { order: Request::Maintenance(!on), sending: false });
        }
        (KeyCode::Down, _) => m.pair_scroll += 1,
        (KeyCode::Up, _) => m.pair_scroll = m.pair_scroll.saturating_sub(1),
        (KeyCode::Home, _) => m.pair_scroll = 0,
        _ => {}
    }
    let most = super::view::pair::lines(m).len().saturating_sub(m.body_height());
    m.pair_scroll = m.pair_scroll.min(most);
    Vec::new()
}

/// Rows, columns and the flows under the cursor, whichever way the matrix is turned.
pub fn matrix_shape(m: &Model) -> (usize, usize, Vec<u32>) {
    let ids = |positions: &[usize]| positions.iter().map(|i| m.flows[*i].id).collect();
    match m.matrix.pivot {
        Pivot::Zones => {
            let matrix = Matrix::new(&m.status.clone().unwrap_or_default(), &m.flows, &m.warnings);
            let n = matrix.zones.len();
            let inside = m.matrix.row < n && m.matrix.column < n;
            let flows =
                if inside { ids(&matrix.cell(m.matrix.row, m.matrix.column).flows) } else { Vec::new() };
            (n, n, flows)
        }
        Pivot::Services => {
            let matrix = ServiceMatrix::new(&m.flows, &m.warnings);
            let (rows, columns) = (matrix.services.len(), matrix.pairs.len());
            let inside = m.matrix.row < rows && m.matrix.column < columns;
            let flows =
                if inside { ids(&matrix.cell(m.matrix.row, m.matrix.column).flows) } else { Vec::new() };
            (rows, columns, flows)
        }
    }
}

fn on_matrix_key(m: &mut Model, code: KeyCode) -> Vec<Effect> {
    let (rows, columns, flows) = matrix_shape(m);
    match code {
        KeyCode::Up => m.matrix.row = m.matrix.row.saturating_sub(1),
        KeyCode::Down => m.matrix.row += 1,
        KeyCode::Left => m.matrix.column = m.matrix.column.saturating_sub(1),
        KeyCode::Right => m.matrix.column += 1,
        KeyCode::Home => m.matrix.column = 0,
        KeyCode::End => m.matrix.column = columns,
        KeyCode::Char('t') => {
            let pivot = match m.matrix.pivot {
                Pivot::Zones => Pivot::Services,
                Pivot::Services => Pivot::Zones,
            };
            m.matrix = super::model::MatrixScreen { pivot, row: 0, column: 0 };
            return Vec::new();
        }
        KeyCode::Enter if !flows.is_empty() => return open(m, Dialog::Flows { ids: flows, cursor: 0 }),
        _ => {}
    }
    m.matrix.row = m.matrix.row.min(rows.saturating_sub(1));
    m.matrix.column = m.matrix.column.min(columns.saturating_sub(1));
    Vec::new()
}

/// A French hand types o for oui; an English one might mean something else.
pub fn is_yes(lang: Lang, key: KeyEvent) -> bool {
    key.code == KeyCode::Char('y') || (key.code == KeyCode::Char('o') && lang == Lang::Fr)
}

/// Moves a cursor in a list.
pub fn move_cursor(cursor: usize, len: usize, page: usize, code: KeyCode) -> usize {
    let moved = match code {
        KeyCode::Up => cursor.saturating_sub(1),
        KeyCode::Down => cursor + 1,
        KeyCode::PageUp => cursor.saturating_sub(page.max(1)),
        KeyCode::PageDown => cursor + page.max(1),
        KeyCode::Home => 0,
        KeyCode::End => len,
        _ => cursor,
    };
    moved.min(len.saturating_sub(1))
}

/// Rows of a live list: without filter line, headings and count.
pub fn live_height(m: &Model) -> usize {
    m.body_height().saturating_sub(2)
}

fn on_connections_key(m: &mut Model, code: KeyCode) -> Vec<Effect> {
    let selected: Option<Connection> =
        m.shown_connections().get(m.connections.cursor).map(|c| Connection::clone(c));
    match code {
        KeyCode::Char('/') => m.connections.editing = true,
        KeyCode::Char('f') => m.connections.frozen = !m.connections.frozen,
        KeyCode::Char('b') => reorder(m, Order::Bytes),
        KeyCode::Char('a') => reorder(m, Order::Age),
        KeyCode::Char('t') => reorder(m, Order::Timeout),
        KeyCode::Char('n') => reorder(m, Order::Newest),
        KeyCode::Char('s') => reorder(m, m.order.next()),
        KeyCode::Enter => {
            if let Some(connection) = selected {
                return open(m, Dialog::Connection(Box::new(connection)));
            }
        }
        KeyCode::Char('k') | KeyCode::Delete => {
            if let Some(connection) = selected {
                let victims = vec![connection];
                return open(m, Dialog::Kill { victims, scroll: 0, sending: false });
            }
        }
        KeyCode::Char('K') => {
            let victims: Vec<Connection> = m.shown_connections().into_iter().cloned().collect();
            if !victims.is_empty() {
                return open(m, Dialog::Kill { victims, scroll: 0, sending: false });
            }
        }
        _ => {
            let (len, page) = (m.shown_connections().len(), live_height(m));
            m.connections.cursor = move_cursor(m.connections.cursor, len, page, code);
        }
    }
    Vec::new()
}

fn reorder(m: &mut Model, order: Order) {
    m.order = order;
    m.connections.cursor = 0;
}

fn on_log_key(m: &mut Model, code: KeyCode) -> Vec<Effect> {
    match code {
        KeyCode::Char('/') => m.log.editing = true,
        KeyCode::Char('f') => m.log.frozen = !m.log.frozen,
        KeyCode::Enter => {
            let entry = m.log.kept().get(m.log.cursor).map(|e| Box::new((*e).clone()));
            if let Some(entry) = entry {
                return open(m, Dialog::Entry(entry));
            }
        }
        _ => {
            let (len, page) = (m.log.kept().len(), live_height(m));
            m.log.cursor = move_cursor(m.log.cursor, len, page, code);
            m.log_follow = m.log.cursor + 1 >= len;
        }
    }
    Vec::new()
}

fn on_configuration_key(m: &mut Model, code: KeyCode) -> Vec<Effect> {
    let selected = m.revisions.get(m.revision_cursor).map(|r| r.number);
    match (code, selected) {
        (KeyCode::Char('d'), _) => {
            dialogs::open_text(m, Request::Diff("running".to_owned(), "candidate".to_owned()))
        }
        (KeyCode::Char('E'), _) => editor::open(m),
        (KeyCode::Char('p'), _) => dialogs::open_text(m, Request::Plan(String::new())),
        (KeyCode::Char('c'), _) => dialogs::open_commit(m, super::model::Target::Candidate),
        (KeyCode::Char('b'), Some(n)) => dialogs::open_commit(m, super::model::Target::Revision(n)),
        (KeyCode::Char('v'), Some(n)) => dialogs::open_text(m, Request::Show(n)),
        (KeyCode::Enter, Some(n)) => {
            // What this revision changed; the first one has nothing before it.
            let before = m.revisions.get(m.revision_cursor + 1).map(|r| r.number);
            match before {
                Some(b) => dialogs::open_text(m, Request::Diff(b.to_string(), n.to_string())),
                None => dialogs::open_text(m, Request::Show(n)),
            }
        }
        (code, _) => {
            let page = m.body_height().saturating_sub(2);
            m.revision_cursor = move_cursor(m.revision_cursor, m.revisions.len(), page, code);
            Vec::new()
        }
    }
}

/// The form with what is under the cursor.
fn explain_form(m: &Model) -> ExplainForm {
    let service = |protocol: &str, port: u16| match protocol {
        "tcp" | "udp" | "sctp" | "dccp" => format!("{protocol}/{port}"),
        "icmp" | "icmp6" => format!("{protocol}/{port}"),
        // `gre` is a service by its name, and `proto/89` is one as it is.
        other => other.to_owned(),
    };
    let known = match m.screen {
        Screen::Connections => m.shown_connections().get(m.connections.cursor).map(|c| {
            let to = c.destination.to_string();
            (c.from_zone.clone(), c.source.to_string(), to, service(&c.protocol, c.destination_port))
        }),
        Screen::Log => m.log.kept().get(m.log.cursor).map(|e| {
            let to = e.destination.to_string();
            (e.from_zone.clone(), e.source.to_string(), to, service(&e.protocol, e.destination_port))
        }),
        Screen::Matrix if m.matrix.pivot == Pivot::Zones => {
            let matrix = Matrix::new(&m.status.clone().unwrap_or_default(), &m.flows, &[]);
            let zone = matrix.zones.get(m.matrix.row).cloned();
            Some((zone, String::new(), String::new(), String::new()))
        }
        Screen::Dashboard | Screen::Matrix | Screen::Configuration | Screen::Pair | Screen::Vpn => None,
    };
    let (zone, source, destination, service) = known.unwrap_or_default();
    let fields = [zone.unwrap_or_default(), source, destination, service].map(|text| Input { text });
    let focus = fields.iter().skip(1).position(|f| f.text.is_empty()).map_or(0, |i| i + 1);
    ExplainForm { fields, focus, ..ExplainForm::default() }
}

/// Keys while a filter is being typed.
fn on_filter_key(m: &mut Model, key: KeyEvent) -> Option<Vec<Effect>> {
    match m.screen {
        Screen::Connections if m.connections.editing => edit_filter(&mut m.connections, key),
        Screen::Log if m.log.editing => {
            edit_filter(&mut m.log, key);
            let len = m.log.kept().len();
            m.log.cursor = len.saturating_sub(1);
            m.log_follow = true;
        }
        Screen::Dashboard
        | Screen::Matrix
        | Screen::Connections
        | Screen::Log
        | Screen::Configuration
        | Screen::Pair
        | Screen::Vpn => {
            return None;
        }
    }
    Some(Vec::new())
}

fn edit_filter<T: Subject>(live: &mut Live<T>, key: KeyEvent) {
    match key.code {
        KeyCode::Enter => live.editing = false,
        KeyCode::Esc => {
            live.editing = false;
            live.input.text.clear();
        }
        _ => type_into(&mut live.input, key),
    }
    live.cursor = 0;
    (live.filter, live.bad) = Filter::parse(&live.input.text);
}

/// A key in an input field.
pub fn type_into(input: &mut Input, key: KeyEvent) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('u') if control => input.text.clear(),
        KeyCode::Char('h') if control => _ = input.text.pop(),
        KeyCode::Backspace => _ = input.text.pop(),
        KeyCode::Char(c) if !control && !c.is_control() && input.text.chars().count() < INPUT_MAX => {
            input.text.push(c);
        }
        _ => {}
    }
}
