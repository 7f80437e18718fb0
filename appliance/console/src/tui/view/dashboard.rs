//! Draws how the node is.

use ratatui_core::text::{Line, Span};
use rempart_bus::documents::{InterfaceStatus, Status};

use super::toned;
use crate::format::{bit_rate, duration, wrap};
use crate::tr;
use crate::tui::grid::{Cell, Column, Grid};
use crate::tui::model::{Link, Model, RATES_MAX, Rates};
use crate::tui::theme::Theme;
use crate::words::{self, Tone};

/// The levels of a rate that the console font can show.
const LEVELS: [char; 4] = [' ', '░', '▒', '█'];

/// All lines; the frame shows as many as it has room for.
pub fn lines(m: &Model) -> Vec<Line<'static>> {
    let theme = Theme::of(m);
    let width = usize::from(m.width);
    let Some(status) = &m.status else {
        let text = match &m.link {
            Link::Connecting | Link::Up => tr!(m.lang, "dashboard-connecting"),
            Link::Down { failure, .. } => crate::cli::run::failure_text(m.lang, failure),
        };
        return wrap(&text, width).into_iter().map(|l| toned(l, Tone::Plain, theme)).collect();
    };
    let mut out = facts(m, status, theme, width);
    out.push(Line::default());
    out.extend(interfaces(m, &status.interfaces, theme, width));
    out.push(Line::default());
    out.extend(faults(m, status, theme, width));
    out
}

fn facts(m: &Model, s: &Status, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let revision = match &s.revision {
        None => tr!(lang, "status-no-revision"),
        Some(r) => words::in_force(lang, &m.tz, r),
    };
    let mut texts = vec![
        tr!(lang, "dashboard-up", uptime = duration(lang, s.uptime_s), version = s.product_version.as_str()),
        revision,
    ];
    if s.candidate {
        texts.push(tr!(lang, "dashboard-candidate"));
    }
    texts.push(zones(m, s));
    texts.push(tr!(lang, "status-flows", count = s.flows, inactive = s.flows_inactive));
    let wrapped = texts.iter().flat_map(|t| wrap(t, width));
    let mut out: Vec<Line<'static>> = wrapped.map(|l| toned(l, Tone::Plain, theme)).collect();
    let share = u64::from(s.connections) * 100 / u64::from(s.connections_max.max(1));
    let tone = match share {
        0..75 => Tone::Plain,
        75..90 => Tone::Warn,
        _ => Tone::Bad,
    };
    let text =
        tr!(lang, "dashboard-connections", count = s.connections, max = s.connections_max, share = share);
    out.push(toned(text, tone, theme));
    out
}

fn zones(m: &Model, s: &Status) -> String {
    let names = s.zones.iter().map(|z| match z.external {
        true => tr!(m.lang, "dashboard-zone-external", name = z.name.as_str()),
        false => z.name.clone(),
    });
    tr!(m.lang, "dashboard-zones", names = names.collect::<Vec<_>>().join(", "))
}

fn interfaces(m: &Model, list: &[InterfaceStatus], theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let rows: Vec<Vec<Cell>> = list.iter().flat_map(|i| interface(m, i)).collect();
    let columns = vec![
        Column::text(tr!(lang, "head-interface"), 6, 12),
        Column::text(tr!(lang, "head-zone"), 4, 10),
        Column::text(tr!(lang, "head-state"), 9, 12),
        Column::number(tr!(lang, "head-in"), 8),
        Column::number(tr!(lang, "head-out"), 8),
        Column::fixed(tr!(lang, "dashboard-minute"), RATES_MAX),
        Column::text(tr!(lang, "head-addresses"), 10, 60),
    ];
    let grid = Grid::new(columns, &rows, width);
    let mut out = vec![grid.head(theme)];
    out.extend(rows.iter().map(|r| grid.row(r, theme, false)));
    out
}

/// A row for the interface, and one for each address after the first.
fn interface(m: &Model, i: &InterfaceStatus) -> Vec<Vec<Cell>> {
    let sign = words::interface(i);
    let address = match (i.addresses.first(), i.dhcp) {
        (None, _) => "-".to_owned(),
        (Some(address), false) => address.clone(),
        (Some(address), true) => tr!(m.lang, "interface-dhcp", addresses = address.as_str()),
    };
    let rates = m.rates.get(&i.name).map(bars).unwrap_or_default();
    let first = vec![
        (i.name.clone(), Tone::Accent),
        (i.zone.clone().unwrap_or_else(|| "-".to_owned()), Tone::Plain),
        (format!("{} {}", sign.glyph, tr!(m.lang, sign.word)), sign.tone),
        (bit_rate(m.lang, i.rx_bits_per_s), Tone::Plain),
        (bit_rate(m.lang, i.tx_bits_per_s), Tone::Plain),
        (rates, Tone::Accent),
        (address, Tone::Plain),
    ];
    let blank = |address: &String| {
        let mut row = vec![Cell::default(); first.len() - 1];
        row.push((address.clone(), Tone::Plain));
        row
    };
    let more: Vec<_> = i.addresses.iter().skip(1).map(blank).collect();
    std::iter::once(first).chain(more).collect()
}

/// A minute of rates against the largest of them; whatever is not nothing shows.
fn bars(rates: &Rates) -> String {
    let most = rates.samples.iter().copied().max().unwrap_or(0).max(1);
    let full = LEVELS.len() as u64 - 1;
    let level = |sample: &u64| LEVELS[(sample.saturating_mul(full).div_ceil(most).min(full)) as usize];
    rates.samples.iter().map(level).collect()
}

fn faults(m: &Model, s: &Status, theme: Theme, width: usize) -> Vec<Line<'static>> {
    if s.faults.is_empty() {
        return vec![toned(tr!(m.lang, "status-no-faults"), Tone::Good, theme)];
    }
    let heading = tr!(m.lang, "dashboard-faults", count = s.faults.len());
    let mut out = vec![Line::from(Span::styled(heading, theme.heading()))];
    for fault in &s.faults {
        let text = tr!(m.lang, "status-fault", code = fault.code.as_str(), message = fault.message.as_str());
        out.extend(wrap(&text, width).into_iter().map(|l| toned(l, Tone::Bad, theme)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_use_the_four_levels_of_the_font() {
        let rates = Rates { samples: [0, 1, 40, 60, 100].into_iter().collect(), sum: 0, count: 0 };
        assert_eq!(bars(&rates), " ░▒▒█");
        assert_eq!(bars(&Rates::default()), "");
    }
}
