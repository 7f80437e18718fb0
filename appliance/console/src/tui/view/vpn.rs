//! Draws who is on: whose sessions, on which device, since when, from where, how many bytes; and WireGuard's peers below.

use jiff::Timestamp;
use ratatui_core::text::Line;
use rempart_bus::vpn::{SessionView, WireguardPeerView};

use super::toned;
use crate::format::{bytes, short_duration, wrap};
use crate::tr;
use crate::tui::grid::{Cell, Column, Grid, page};
use crate::tui::model::Model;
use crate::tui::theme::Theme;
use crate::words::Tone;

/// The lines of the screen.
pub fn lines(m: &Model, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let below = wireguard(m, theme, width, height / 2);
    let mut out = sessions(m, theme, width, height.saturating_sub(below.len()));
    out.extend(below);
    out
}

/// WireGuard's peers, where it is switched on: those that were heard last come first.
fn wireguard(m: &Model, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let Some(status) = m.wireguard.as_ref().filter(|status| status.enabled) else { return Vec::new() };
    let spare = width.saturating_sub(80) / 3;
    let columns = vec![
        Column::fixed(tr!(m.lang, "head-peer"), 11 + spare),
        Column::fixed(tr!(m.lang, "head-address"), 16 + spare),
        Column::fixed(tr!(m.lang, "head-endpoint"), 21 + spare),
        Column::number(tr!(m.lang, "head-handshake"), 10),
        Column::number(tr!(m.lang, "head-received"), 8),
        Column::number(tr!(m.lang, "head-sent"), 7),
    ];
    let grid = Grid::new(columns, &[], width);
    let title = match &status.public_key {
        Some(_) => toned(tr!(m.lang, "wireguard-on"), Tone::Plain, theme),
        None => toned(tr!(m.lang, "wireguard-no-key"), Tone::Warn, theme),
    };
    let mut peers: Vec<&WireguardPeerView> = status.peers.iter().collect();
    peers.sort_by(|a, b| b.handshake.cmp(&a.handshake));
    let mut out = vec![toned(String::new(), Tone::Plain, theme), title, grid.head(theme)];
    let shown = peers.into_iter().take(height.saturating_sub(out.len()));
    out.extend(shown.map(|peer| grid.row(&peer_row(m, peer), theme, false)));
    out
}

fn peer_row(m: &Model, p: &WireguardPeerView) -> Vec<Cell> {
    vec![
        (p.name.clone(), Tone::Accent),
        (p.allowed.first().cloned().unwrap_or_default(), Tone::Plain),
        (p.endpoint.clone().unwrap_or_else(|| "-".to_owned()), Tone::Plain),
        (p.handshake.as_ref().map_or("-".to_owned(), |time| age(m, time)), Tone::Plain),
        (bytes(m.lang, p.bytes_in), Tone::Plain),
        (bytes(m.lang, p.bytes_out), Tone::Plain),
    ]
}

/// How long ago that was.
fn age(m: &Model, time: &str) -> String {
    let since = time.parse::<Timestamp>().ok();
    let age_s = since.map(|since| m.now.as_second().saturating_sub(since.as_second()).max(0).unsigned_abs());
    age_s.map_or("-".to_owned(), |s| short_duration(m.lang, s))
}

fn sessions(m: &Model, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let sessions = match &m.vpn {
        Some(Ok(sessions)) => sessions,
        Some(Err(failure)) => {
            let text = crate::cli::run::failure_text(m.lang, failure);
            return wrap(&text, width).into_iter().map(|l| toned(l, Tone::Bad, theme)).collect();
        }
        None => return vec![toned(tr!(m.lang, "vpn-asking"), Tone::Dim, theme)],
    };
    if sessions.is_empty() {
        return vec![toned(tr!(m.lang, "vpn-nobody"), Tone::Dim, theme)];
    }
    let grid = grid(m, width);
    let mut out =
        vec![toned(tr!(m.lang, "vpn-on", count = sessions.len()), Tone::Plain, theme), grid.head(theme)];
    let shown = page(sessions.len(), m.vpn_cursor, height.saturating_sub(2));
    out.extend(shown.map(|i| grid.row(&row(m, &sessions[i]), theme, i == m.vpn_cursor)));
    out
}

/// The columns: fixed, and what is left over goes to names and addresses.
fn grid(m: &Model, width: usize) -> Grid {
    let spare = width.saturating_sub(80) / 3;
    let columns = vec![
        Column::fixed(tr!(m.lang, "head-user"), 11 + spare),
        Column::fixed(tr!(m.lang, "head-label"), 9 + spare),
        Column::number(tr!(m.lang, "head-since"), 6),
        Column::fixed(tr!(m.lang, "head-source"), 21 + spare),
        Column::fixed(tr!(m.lang, "head-address"), 12),
        Column::number(tr!(m.lang, "head-received"), 8),
        Column::number(tr!(m.lang, "head-sent"), 7),
    ];
    Grid::new(columns, &[], width)
}

fn row(m: &Model, s: &SessionView) -> Vec<Cell> {
    let label = s.label.as_deref().or(s.device.as_deref()).unwrap_or("-");
    vec![
        (s.user.clone(), Tone::Accent),
        (label.to_owned(), Tone::Plain),
        (age(m, &s.since), Tone::Plain),
        (s.from.clone(), Tone::Plain),
        (s.addresses.first().cloned().unwrap_or_default(), Tone::Plain),
        (bytes(m.lang, s.bytes_in), Tone::Plain),
        (bytes(m.lang, s.bytes_out), Tone::Plain),
    ]
}
