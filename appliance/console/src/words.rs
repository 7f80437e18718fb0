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
        "none" => sign("•", id!("role-none"), Tone::Dim),
        _ => sign("?", id!("role-unknown"), Tone::Warn),
    }
}

/// A way between the nodes.
pub fn path(state: &str) -> Sign {
    match state {
        "up" => sign("●", id!("path-up"), Tone::Good),
        "one-way" => sign("!", id!("path-one-way"), Tone::Bad),
        "silent" => sign("✗", id!("path-silent"), Tone::Bad),
        "no-carrier" => sign("▼", id!("path-no-carrier"), Tone::Bad),
        _ => sign("?", id!("unknown"), Tone::Warn),
    }
}

/// The state of a virtual router.
pub fn router(state: &str) -> Sign {
    match state {
        "active" => sign("▲", id!("router-active"), Tone::Good),
        "backup" => sign("•", id!("router-backup"), Tone::Accent),
        "initialize" => sign("▼", id!("router-initialize"), Tone::Warn),
        _ => sign("?", id!("unknown"), Tone::Warn),
    }
}

/// How the replication of connections stands.
pub fn journal(state: &str) -> Sign {
    match state {
        "live" => sign("●", id!("journal-live"), Tone::Good),
        "bulk" => sign("→", id!("journal-bulk"), Tone::Warn),
        "repair" => sign("!", id!("journal-repair"), Tone::Warn),
        "waiting" => sign("✗", id!("journal-waiting"), Tone::Bad),
        "off" => sign("•", id!("journal-off"), Tone::Warn),
        _ => sign("?", id!("unknown"), Tone::Warn),
    }
}

/// Whether both nodes have one configuration.
pub fn configuration(state: &str) -> Sign {
    match state {
        "same" => sign("●", id!("configuration-same"), Tone::Good),
        "delivering" => sign("→", id!("configuration-delivering"), Tone::Warn),
        "behind" => sign("!", id!("configuration-behind"), Tone::Warn),
        "ahead" => sign("!", id!("configuration-ahead"), Tone::Warn),
        "diverged" => sign("✗", id!("configuration-diverged"), Tone::Bad),
        _ => sign("?", id!("configuration-unknown"), Tone::Warn),
    }
}

/// The message for why a node has its role.
pub fn why(why: &str) -> &'static str {
    match why {
        "start" => id!("why-start"),
        "peer-silent" => id!("why-peer-silent"),
        "peer-yielded" => id!("why-peer-yielded"),
        "peer-unwell" => id!("why-peer-unwell"),
        "command" => id!("why-command"),
        "outranked" => id!("why-outranked"),
        "fail-back" => id!("why-fail-back"),
        "maintenance" => id!("why-maintenance"),
        _ => id!("unknown"),
    }
}

/// The message for what makes a node unfit for the role.
pub fn ailment(code: &str) -> &'static str {
    match code {
        "link-down" => id!("ailment-link-down"),
        "gateway-silent" => id!("ailment-gateway-silent"),
        "daemon-down" => id!("ailment-daemon-down"),
        "maintenance" => id!("ailment-maintenance"),
        "not-synced" => id!("ailment-not-synced"),
        "starting" => id!("ailment-starting"),
        _ => id!("unknown"),
    }
}

/// The message for something that happened to the pair.
pub fn event(code: &str) -> &'static str {
    match code {
        "role-active" => id!("event-role-active"),
        "role-standby" => id!("event-role-standby"),
        "path-down" => id!("event-path-down"),
        "path-up" => id!("event-path-up"),
        "peer-lost" => id!("event-peer-lost"),
        "peer-back" => id!("event-peer-back"),
        "two-actives" => id!("event-two-actives"),
        "damped" => id!("event-damped"),
        "paired" => id!("event-paired"),
        "unpaired" => id!("event-unpaired"),
        "journal-repaired" => id!("event-journal-repaired"),
        "stalled" => id!("event-stalled"),
        _ => id!("unknown"),
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
