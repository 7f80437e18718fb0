//! Draws one flow, connection or log entry in full.

use ratatui_core::text::{Line, Span};
use rempart_bus::documents::{Connection, FlowStatus, LogEntry};

use crate::cli::print::{endpoint, target, way};
use crate::format::{bytes, date_time, duration, integer, left, width, wrap};
use crate::matrix::{Oddity, oddities};
use crate::tr;
use crate::tui::model::Model;
use crate::tui::theme::Theme;
use crate::words::{self, Sign, Tone};

/// Names and values.
struct Sheet {
    rows: Vec<(String, String, Tone)>,
}

impl Sheet {
    fn add(&mut self, name: String, value: impl Into<String>) {
        self.toned(name, value, Tone::Plain);
    }
    fn some(&mut self, name: String, value: Option<&str>) {
        self.add(name, value.unwrap_or("-"));
    }
    fn toned(&mut self, name: String, value: impl Into<String>, tone: Tone) {
        self.rows.push((name, value.into(), tone));
    }

    /// Names in a column, values beside it, broken where they are long.
    fn lines(self, theme: Theme, columns: usize) -> Vec<Line<'static>> {
        let names = self.rows.iter().map(|(name, ..)| width(name)).max().unwrap_or(0);
        let room = columns.saturating_sub(names + 2);
        let mut out = Vec::new();
        for (name, value, tone) in self.rows {
            let mut shown = name.as_str();
            for part in wrap(&value, room) {
                let name = Span::styled(left(shown, names + 2), theme.tone(Tone::Dim));
                out.push(Line::from(vec![name, Span::styled(part, theme.tone(tone))]));
                shown = "";
            }
        }
        out
    }
}

fn word(m: &Model, sign: Sign) -> String {
    format!("{} {}", sign.glyph, tr!(m.lang, sign.word))
}

/// A flow.
pub fn flow(m: &Model, f: &FlowStatus, theme: Theme) -> Vec<Line<'static>> {
    let lang = m.lang;
    let mut s = Sheet { rows: Vec::new() };
    let (action, state) = (words::action(&f.action), words::flow(f));
    let (number, line) = (f.id.to_string(), f.line.to_string());
    s.toned(tr!(lang, "detail-flow"), f.label.as_str(), Tone::Accent);
    s.add(tr!(lang, "detail-number"), tr!(lang, "detail-number-line", number = number, line = line));
    s.toned(tr!(lang, "detail-action"), word(m, action), action.tone);
    s.toned(tr!(lang, "detail-state"), word(m, state), state.tone);
    s.add(tr!(lang, "detail-from"), f.from.as_str());
    s.add(tr!(lang, "detail-from-zones"), f.from_zones.join(", "));
    s.add(tr!(lang, "detail-to"), f.to.as_str());
    s.add(tr!(lang, "detail-to-zones"), f.to_zones.join(", "));
    s.add(tr!(lang, "detail-services"), f.services.as_str());
    let yes = |value| if value { tr!(lang, "yes") } else { tr!(lang, "no") };
    s.add(tr!(lang, "detail-publish"), yes(f.publish));
    s.add(tr!(lang, "detail-log"), yes(f.log));
    s.some(tr!(lang, "detail-why"), f.why.as_deref());
    s.some(tr!(lang, "detail-owner"), f.owner.as_deref());
    s.some(tr!(lang, "detail-expires"), f.expires.as_deref());
    s.some(tr!(lang, "detail-schedule"), f.schedule.as_deref());
    let hits = tr!(lang, "detail-hits-bytes", hits = f.hits, bytes = bytes(lang, f.bytes));
    s.add(tr!(lang, "detail-hits"), hits);
    let index = m.flows.iter().position(|other| other.id == f.id);
    for oddity in index.map(|i| oddities(&m.flows, i, &m.warnings)).unwrap_or_default() {
        let text = match oddity {
            Oddity::Inactive => tr!(lang, "detail-odd-inactive"),
            Oddity::Warning(w) => match w.hint {
                Some(hint) => tr!(lang, "detail-odd-hint", message = w.message, hint = hint),
                None => w.message,
            },
        };
        s.toned(tr!(lang, "detail-odd"), text, Tone::Warn);
    }
    s.lines(theme, m.width.into())
}

/// A connection.
pub fn connection(m: &Model, c: &Connection, theme: Theme) -> Vec<Line<'static>> {
    let lang = m.lang;
    let mut s = Sheet { rows: Vec::new() };
    s.add(tr!(lang, "detail-connection"), c.id.to_string());
    s.add(tr!(lang, "detail-protocol"), c.protocol.as_str());
    s.add(tr!(lang, "detail-source"), endpoint(&c.source, c.source_port));
    s.add(tr!(lang, "detail-destination"), target(&c.protocol, &c.destination, c.destination_port));
    if matches!(c.protocol.as_str(), "icmp" | "icmp6") {
        s.add(tr!(lang, "detail-icmp-type"), c.destination_port.to_string());
    }
    if let Some((address, port)) = &c.translated_destination {
        s.toned(tr!(lang, "detail-translated-destination"), endpoint(address, *port), Tone::Accent);
    }
    if let Some((address, port)) = &c.translated_source {
        s.toned(tr!(lang, "detail-translated-source"), endpoint(address, *port), Tone::Accent);
    }
    s.add(tr!(lang, "detail-zones"), way(c.from_zone.as_deref(), c.to_zone.as_deref()));
    s.toned(tr!(lang, "detail-flow"), decided(m, c.flow, &c.flow_label), Tone::Accent);
    s.add(tr!(lang, "detail-state"), c.state.as_str());
    s.add(tr!(lang, "detail-age"), c.age_s.map_or("-".to_owned(), |age| duration(lang, age)));
    s.add(tr!(lang, "detail-timeout"), duration(lang, c.timeout_s.into()));
    let sent = bytes(lang, c.bytes_out);
    s.add(tr!(lang, "detail-sent"), tr!(lang, "detail-traffic", bytes = sent, packets = c.packets_out));
    let received = bytes(lang, c.bytes_in);
    s.add(
        tr!(lang, "detail-received"),
        tr!(lang, "detail-traffic", bytes = received, packets = c.packets_in),
    );
    s.lines(theme, m.width.into())
}

/// A log entry.
pub fn entry(m: &Model, e: &LogEntry, theme: Theme) -> Vec<Line<'static>> {
    let lang = m.lang;
    let mut s = Sheet { rows: Vec::new() };
    let action = words::action(&e.action);
    s.add(tr!(lang, "detail-entry"), integer(lang, e.sequence));
    s.add(tr!(lang, "detail-time"), date_time(&m.tz, &e.time));
    s.toned(tr!(lang, "detail-action"), word(m, action), action.tone);
    s.toned(tr!(lang, "detail-decided"), decided(m, e.flow, &e.reason), Tone::Accent);
    s.some(tr!(lang, "detail-in-interface"), e.in_interface.as_deref());
    s.some(tr!(lang, "detail-out-interface"), e.out_interface.as_deref());
    s.add(tr!(lang, "detail-zones"), way(e.from_zone.as_deref(), e.to_zone.as_deref()));
    s.add(tr!(lang, "detail-protocol"), e.protocol.as_str());
    s.add(tr!(lang, "detail-source"), endpoint(&e.source, e.source_port));
    s.add(tr!(lang, "detail-destination"), target(&e.protocol, &e.destination, e.destination_port));
    if matches!(e.protocol.as_str(), "icmp" | "icmp6") {
        s.add(tr!(lang, "detail-icmp-type"), e.destination_port.to_string());
    }
    s.add(tr!(lang, "detail-length"), bytes(lang, e.length_bytes.into()));
    s.lines(theme, m.width.into())
}

/// The flow or protection that decided, by name and number.
fn decided(m: &Model, flow: u32, label: &str) -> String {
    match (flow, label) {
        (0, "") => tr!(m.lang, "detail-no-flow"),
        (0, label) => label.to_owned(),
        (number, label) => tr!(m.lang, "detail-flow-number", label = label, number = number.to_string()),
    }
}
