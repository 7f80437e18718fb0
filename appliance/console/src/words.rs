//! Owns what a status looks like: a word, a glyph and a tone for each, the same in every verb and screen.
//!
//! The glyphs are those of the console font; the tone is never the only sign.

use rempart_bus::documents::{FlowStatus, InterfaceStatus};

use crate::lang::Lang;
use crate::{id, tr};

/// What a colour would say. How it looks is decided by whoever paints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Look at it.
    Warn,
    /// Not as it should be.
    Bad,
    /// Of less interest.
    Dim,
    /// A name, a heading.
    Accent,
}

/// A status as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sign {
    /// One column wide.
    pub glyph: &'static str,
    /// The message with the word.
    pub word: &'static str,
    /// The tone of both.
    pub tone: Tone,
}

const fn sign(glyph: &'static str, word: &'static str, tone: Tone) -> Sign {
    Sign { glyph, word, tone }
}

/// A node's role.
pub fn role(role: &str) -> Sign {
    match role {
        "active" => sign("▲", id!("role-active"), Tone::Good),
        "standby" => sign("•", id!("role-standby"), Tone::Accent),
        _ => sign("?", id!("role-unknown"), Tone::Warn),
    }
}

/// An interface.
pub fn interface(i: &InterfaceStatus) -> Sign {
    match (i.present, i.carrier) {
        (false, _) => sign("✗", id!("interface-missing"), Tone::Bad),
        (true, false) => sign("▼", id!("interface-no-link"), Tone::Bad),
        (true, true) if i.addresses.is_empty() && i.dhcp => sign("!", id!("interface-no-lease"), Tone::Warn),
        (true, true) => sign("●", id!("interface-up"), Tone::Good),
    }
}

/// What becomes of a packet: `allow`, `deny`, `reject`, `drop`.
pub fn action(action: &str) -> Sign {
    match action {
        "allow" => sign("→", id!("action-allow"), Tone::Good),
        "deny" => sign("✗", id!("action-deny"), Tone::Bad),
        "reject" => sign("←", id!("action-reject"), Tone::Bad),
        "drop" => sign("✗", id!("action-drop"), Tone::Bad),
        _ => sign("?", id!("action-unknown"), Tone::Warn),
    }
}

/// Whether a flow is in force and used.
pub fn flow(f: &FlowStatus) -> Sign {
    match (f.active, f.hits) {
        (false, _) => sign("•", id!("flow-inactive"), Tone::Warn),
        (true, 0) => sign("·", id!("flow-unused"), Tone::Dim),
        (true, _) => sign("●", id!("flow-active"), Tone::Good),
    }
}

/// How an assertion fared.
pub fn assertion(holds: bool) -> Sign {
    if holds {
        sign("●", id!("assertion-holds"), Tone::Good)
    } else {
        sign("✗", id!("assertion-fails"), Tone::Bad)
    }
}

/// What a person calls a flow, short enough for a column: one without an `id` is named by its line.
pub fn label(lang: Lang, label: &str) -> String {
    match label.strip_prefix("flow at line ") {
        Some(line) => tr!(lang, "flow-at-line", line = line),
        None => label.to_owned(),
    }
}

/// The message for a stage of a packet's way.
pub fn stage(stage: &str) -> &'static str {
    match stage {
        "arrival" => id!("stage-arrival"),
        "protection" => id!("stage-protection"),
        "destination-nat" => id!("stage-destination-nat"),
        "route" => id!("stage-route"),
        "policy" => id!("stage-policy"),
        "source-nat" => id!("stage-source-nat"),
        _ => id!("stage-other"),
    }
}
