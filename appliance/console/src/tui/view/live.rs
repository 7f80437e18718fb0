//! Draws the first page of a box that was started from a stick.

use ratatui_core::style::Style;
use ratatui_core::text::{Line, Span};
use rempart_bus::update::{DiskView, Job};

use super::dialogs;
use super::gate::wrapped;
use super::toned;
use crate::cli::install::{holds, unfit};
use crate::cli::update::progress;
use crate::format::{bytes, left, width as columns_of};
use crate::tui::live::{Live, Stage};
use crate::tui::model::Model;
use crate::tui::theme::Theme;
use crate::words::Tone;
use crate::{id, tr};

/// The widths of name, size and model; the rest is for what is on the disk.
const COLUMNS: [usize; 3] = [10, 10, 26];

/// The key line.
pub fn keys(live: &Live) -> &'static str {
    match live.stage {
        Stage::Choice => id!("keys-live"),
        Stage::Disks => id!("keys-live-disks"),
        Stage::Confirm(_) => id!("keys-live-confirm"),
        Stage::Copying(_) | Stage::Leaving => id!("keys-live-copying"),
        Stage::Done(_) => id!("keys-live-done"),
        Stage::Keep => id!("keys-live-keep"),
    }
}

/// The page.
pub fn lines(m: &Model, live: &Live, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let stick = live.stick.as_str();
    let (title, about) = match &live.stage {
        Stage::Choice => (tr!(lang, "live-title", stick = stick), tr!(lang, "live-about")),
        Stage::Disks => (tr!(lang, "live-disks"), tr!(lang, "live-about-disks")),
        Stage::Confirm(disk) => (tr!(lang, "live-confirm", disk = disk.name.as_str()), about_disk(m, disk)),
        Stage::Copying(disk) => {
            (tr!(lang, "live-copying", disk = disk.name.as_str()), tr!(lang, "live-about-copying"))
        }
        Stage::Done(disk) => {
            (tr!(lang, "live-done", disk = disk.name.as_str()), tr!(lang, "live-about-done"))
        }
        Stage::Keep => (tr!(lang, "live-keep"), tr!(lang, "live-about-keep", stick = stick)),
        Stage::Leaving => (tr!(lang, "live-title", stick = stick), String::new()),
    };
    let mut out = vec![Line::styled(left(&title, width), theme.heading())];
    out.extend(wrapped(&about, Tone::Plain, theme, width));
    if live.waiting {
        out.push(toned(tr!(lang, "text-sending"), Tone::Warn, theme));
    }
    if let Some(failure) = &live.failure {
        out.extend(dialogs::failed(m, failure, theme, width));
    }
    out.push(Line::default());
    match &live.stage {
        Stage::Choice | Stage::Done(_) | Stage::Keep => {}
        Stage::Disks => out.extend(disks(m, live, theme, width)),
        Stage::Confirm(disk) => out.extend(confirm(m, live, disk, theme, width)),
        Stage::Copying(_) => out.extend(live.job.iter().map(|job| toned(far(m, job), Tone::Accent, theme))),
        Stage::Leaving => out.push(toned(tr!(lang, "live-leaving"), Tone::Good, theme)),
    }
    out
}

fn about_disk(m: &Model, disk: &DiskView) -> String {
    let model = if disk.model.is_empty() { disk.name.as_str() } else { disk.model.as_str() };
    let size = bytes(m.lang, disk.size_bytes);
    tr!(m.lang, "live-about-confirm", model = model, size = size, holds = holds(m.lang, disk))
}

fn confirm(m: &Model, live: &Live, disk: &DiskView, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut out = wrapped(&tr!(m.lang, "live-type", answer = disk.answer.as_str()), Tone::Warn, theme, width);
    let label = tr!(m.lang, "live-field");
    out.push(dialogs::field(&label, columns_of(&label), &live.input, true, theme, width));
    if live.wrong {
        out.push(toned(format!("✗ {}", tr!(m.lang, "live-wrong")), Tone::Bad, theme));
    }
    out
}

/// How far the copy is, with a figure that one can see from afar.
fn far(m: &Model, job: &Job) -> String {
    let percent = job.done_bytes.saturating_mul(100) / job.all_bytes.max(1);
    tr!(m.lang, "live-percent", line = progress(m.lang, job), percent = percent)
}

fn disks(m: &Model, live: &Live, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let lang = m.lang;
    let heads =
        [tr!(lang, "install-head-disk"), tr!(lang, "install-head-size"), tr!(lang, "install-head-model")];
    let head = format!("  {}{}", row(&heads), tr!(lang, "install-head-holds"));
    let mut out = vec![Line::styled(left(&head, width), theme.heading())];
    if live.disks.is_none() {
        out.push(toned(tr!(lang, "live-looking"), Tone::Dim, theme));
    } else if live.shown().is_empty() {
        out.push(toned(tr!(lang, "install-no-disks"), Tone::Bad, theme));
    }
    for (at, disk) in live.shown().iter().enumerate() {
        let cells = row(&[disk.name.clone(), bytes(lang, disk.size_bytes), disk.model.clone()]);
        let style = match (at == live.cursor, &disk.unfit) {
            (true, _) => theme.focus(),
            (false, Some(_)) => theme.tone(Tone::Dim),
            (false, None) => Style::new(),
        };
        let (rest, tone) = match &disk.unfit {
            Some(_) => (format!("✗ {}", unfit(lang, disk)), Tone::Warn),
            None => (holds(lang, disk), Tone::Plain),
        };
        let room = width.saturating_sub(columns_of(&cells) + 2);
        out.push(Line::from(vec![
            Span::styled(format!("  {cells}"), style),
            Span::styled(left(&rest, room), theme.tone(tone)),
        ]));
    }
    // The one under the cursor, in full: columns are short.
    if let Some(disk) = live.shown().get(live.cursor) {
        out.push(Line::default());
        out.extend(wrapped(&about_disk(m, disk), Tone::Dim, theme, width));
        out.extend(wrapped(&unfit(lang, disk), Tone::Warn, theme, width));
    }
    out
}

fn row(cells: &[String; 3]) -> String {
    // A blank between the columns, however long a name is.
    cells.iter().zip(COLUMNS).map(|(cell, columns)| left(cell, columns - 1) + " ").collect()
}
