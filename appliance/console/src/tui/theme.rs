//! Owns how a tone looks: colours of the 16 that a Linux console has, or weight and reversal without colours.

use ratatui_core::style::{Color, Modifier, Style};

use super::model::Model;
use crate::words::Tone;

/// How tones look now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Theme {
    mono: bool,
    stale: bool,
}

impl Theme {
    /// For a model: old data is grey.
    pub fn of(model: &Model) -> Theme {
        Theme { mono: model.mono, stale: model.is_stale() }
    }

    /// The same for what is never old.
    pub fn fresh(self) -> Theme {
        Theme { stale: false, ..self }
    }

    /// The style of a tone.
    pub fn tone(self, tone: Tone) -> Style {
        let style = Style::new();
        match (self.mono, self.stale, tone) {
            (true, true, _) | (true, false, Tone::Plain | Tone::Good | Tone::Dim | Tone::Accent) => style,
            (true, false, Tone::Warn | Tone::Bad) => style.add_modifier(Modifier::BOLD),
            (false, true, _) | (false, false, Tone::Dim) => style.fg(Color::DarkGray),
            (false, false, Tone::Plain) => style,
            (false, false, Tone::Good) => style.fg(Color::Green),
            (false, false, Tone::Warn) => style.fg(Color::Yellow),
            (false, false, Tone::Bad) => style.fg(Color::LightRed),
            (false, false, Tone::Accent) => style.fg(Color::Cyan),
        }
    }

    /// A heading.
    pub fn heading(self) -> Style {
        self.tone(Tone::Dim).add_modifier(Modifier::BOLD)
    }

    /// The line or field that the keys go to.
    pub fn focus(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Header and key line.
    pub fn bar(self) -> Style {
        match self.mono {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new().fg(Color::White).bg(Color::Blue),
        }
    }

    /// A line that must be seen.
    pub fn banner(self, tone: Tone) -> Style {
        match (self.mono, tone) {
            (true, _) => Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD),
            (false, Tone::Bad) => Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD),
            (false, _) => Style::new().fg(Color::Black).bg(Color::Yellow),
        }
    }
}
