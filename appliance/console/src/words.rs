//! Owns what a status looks like: a word, a glyph and a tone for each, the same in every verb and screen.
//!
//! The glyphs are those of the console font; the tone is never the only sign.

use jiff::tz::TimeZone;
use rempart_bus::codes::{AilmentCode, EventCode, PartCode, RefusalCode, VpnWarning, WhyCode};
use rempart_bus::documents::{FlowStatus, InterfaceStatus, PeerReport, Revision};

use crate::format::date_minute;
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
    let Some(why) = WhyCode::named(why) else { return id!("unknown") };
    match why {
        WhyCode::Start => id!("why-start"),
        WhyCode::Resumed => id!("why-resumed"),
        WhyCode::Elected => id!("why-elected"),
        WhyCode::PeerSilent => id!("why-peer-silent"),
        WhyCode::PeerYielded => id!("why-peer-yielded"),
        WhyCode::PeerUnwell => id!("why-peer-unwell"),
        WhyCode::Unwell => id!("why-unwell"),
        WhyCode::Command => id!("why-command"),
        WhyCode::Outranked => id!("why-outranked"),
        WhyCode::FailBack => id!("why-fail-back"),
        WhyCode::Maintenance => id!("why-maintenance"),
        WhyCode::Shutdown => id!("why-shutdown"),
        WhyCode::Isolated => id!("why-isolated"),
    }
}

/// The message for what makes a node unfit for the role.
pub fn ailment(code: &str) -> &'static str {
    let Some(code) = AilmentCode::named(code) else { return id!("unknown") };
    match code {
        AilmentCode::LinkDown => id!("ailment-link-down"),
        AilmentCode::GatewaySilent => id!("ailment-gateway-silent"),
        AilmentCode::DaemonDown => id!("ailment-daemon-down"),
        AilmentCode::Maintenance => id!("ailment-maintenance"),
        AilmentCode::NoSource => id!("ailment-no-source"),
        AilmentCode::NoVirtualLink => id!("ailment-no-virtual-link"),
        AilmentCode::NotPossible => id!("ailment-not-possible"),
    }
}

/// What an ailment is about: an interface, by its name, or a part of the product.
pub fn part(lang: Lang, about: &str) -> String {
    match PartCode::named(about) {
        Some(PartCode::Control) => "rempartd".to_owned(),
        Some(PartCode::Vpn) => "rempart-vpn".to_owned(),
        Some(PartCode::Journal) => tr!(lang, "part-journal"),
        Some(PartCode::Links) => tr!(lang, "part-links"),
        None => about.to_owned(),
    }
}

/// The message for something that happened to the pair.
pub fn event(code: &str) -> &'static str {
    let Some(code) = EventCode::named(code) else { return id!("unknown") };
    match code {
        EventCode::RoleActive => id!("event-role-active"),
        EventCode::RoleStandby => id!("event-role-standby"),
        EventCode::PathDown => id!("event-path-down"),
        EventCode::PathUp => id!("event-path-up"),
        EventCode::PeerLost => id!("event-peer-lost"),
        EventCode::PeerBack => id!("event-peer-back"),
        EventCode::PeerRestarted => id!("event-peer-restarted"),
        EventCode::TwoActives => id!("event-two-actives"),
        EventCode::Damped => id!("event-damped"),
        EventCode::HandedOver => id!("event-handed-over"),
        EventCode::HandOverFailed => id!("event-hand-over-failed"),
        EventCode::Stalled => id!("event-stalled"),
        EventCode::RouterActive => id!("event-router-active"),
        EventCode::RouterBackup => id!("event-router-backup"),
        EventCode::RouterHindered => id!("event-router-hindered"),
        EventCode::GatewaySilent => id!("event-gateway-silent"),
        EventCode::GatewayBack => id!("event-gateway-back"),
        EventCode::KernelRefused => id!("event-kernel-refused"),
        EventCode::NoPriority => id!("event-no-priority"),
    }
}

/// The message for why something was not done, and what to do about it.
pub fn refusal(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NotPaired => id!("refusal-not-paired"),
        RefusalCode::Starting => id!("refusal-starting"),
        RefusalCode::Leaving => id!("refusal-leaving"),
        RefusalCode::PeerAbsent => id!("refusal-peer-absent"),
        RefusalCode::PeerUnfit => id!("refusal-peer-unfit"),
        RefusalCode::Unfit => id!("refusal-unfit"),
        RefusalCode::HandingOver => id!("refusal-handing-over"),
        RefusalCode::NotFlushed => id!("refusal-not-flushed"),
        RefusalCode::NotReady => id!("refusal-not-ready"),
        RefusalCode::NotTaken => id!("refusal-not-taken"),
        RefusalCode::PeerLost => id!("refusal-peer-lost"),
        RefusalCode::Cancelled => id!("refusal-cancelled"),
        RefusalCode::NoSecondNode => id!("refusal-no-second-node"),
        RefusalCode::NotDiverged => id!("refusal-not-diverged"),
        RefusalCode::PeerAway => id!("refusal-peer-away"),
        RefusalCode::FirstRevision => id!("refusal-first-revision"),
        RefusalCode::RootOnly => id!("refusal-root-only"),
        RefusalCode::VpnStandby => id!("refusal-vpn-standby"),
        RefusalCode::VpnOff => id!("refusal-vpn-off"),
        RefusalCode::NoAuthority => id!("refusal-no-authority"),
        RefusalCode::Taken => id!("refusal-taken"),
        RefusalCode::Full => id!("refusal-full"),
        RefusalCode::BadField => id!("refusal-bad-field"),
        RefusalCode::WeakPassword => id!("refusal-weak-password"),
        RefusalCode::NotLocal => id!("refusal-not-local"),
        RefusalCode::WrongPassword => id!("refusal-wrong-password"),
        RefusalCode::TooManyTries => id!("refusal-too-many-tries"),
        RefusalCode::Named => id!("refusal-named"),
        RefusalCode::WrongCode => id!("refusal-wrong-code"),
        RefusalCode::Revoked => id!("refusal-revoked"),
        RefusalCode::NotImported => id!("refusal-not-imported"),
        RefusalCode::OnTrial => id!("refusal-on-trial"),
        RefusalCode::NotOnTrial => id!("refusal-not-on-trial"),
        RefusalCode::UpdateBusy => id!("refusal-update-busy"),
        RefusalCode::NoOtherVersion => id!("refusal-no-other-version"),
        RefusalCode::BadSource => id!("refusal-bad-source"),
        RefusalCode::NotLive => id!("refusal-not-live"),
        RefusalCode::BadDisk => id!("refusal-bad-disk"),
        RefusalCode::WireguardOff => id!("refusal-wireguard-off"),
        RefusalCode::NoWireguardKey => id!("refusal-no-wireguard-key"),
    }
}

/// Whether the daemon's sentence says something that our words cannot: which one, and what is wrong with it.
pub fn needs_detail(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::Taken
            | RefusalCode::Full
            | RefusalCode::BadField
            | RefusalCode::WeakPassword
            | RefusalCode::TooManyTries
            | RefusalCode::NotImported
            | RefusalCode::BadSource
            | RefusalCode::BadDisk
    )
}

/// The message for what is amiss with remote access.
pub fn vpn_warning(code: &str) -> &'static str {
    match VpnWarning::named(code) {
        Some(VpnWarning::NoAuthority) => id!("vpn-warning-no-authority"),
        Some(VpnWarning::NoServerCertificate) => id!("vpn-warning-no-server-certificate"),
        Some(VpnWarning::AuthorityEnds) => id!("vpn-warning-authority-ends"),
        Some(VpnWarning::ListEnds) => id!("vpn-warning-list-ends"),
        Some(VpnWarning::ServerEnds) => id!("vpn-warning-server-ends"),
        Some(VpnWarning::DeviceEnds) => id!("vpn-warning-device-ends"),
        Some(VpnWarning::DirectoryUnusable) => id!("vpn-warning-directory-unusable"),
        Some(VpnWarning::RadiusUnusable) => id!("vpn-warning-radius-unusable"),
        Some(VpnWarning::NotKept) => id!("vpn-warning-not-kept"),
        Some(VpnWarning::GroupUnusable) => id!("vpn-warning-group-unusable"),
        Some(VpnWarning::NoOffload) => id!("vpn-warning-no-offload"),
        None => id!("unknown"),
    }
}

/// Whether a device may come in: `valid`, `expiring`, `expired`, `revoked`.
pub fn device(state: &str) -> Sign {
    match state {
        "valid" => sign("●", id!("device-valid"), Tone::Good),
        "expiring" => sign("!", id!("device-expiring"), Tone::Warn),
        "expired" => sign("✗", id!("device-expired"), Tone::Bad),
        "revoked" => sign("✗", id!("device-revoked"), Tone::Bad),
        _ => sign("?", id!("unknown"), Tone::Warn),
    }
}

/// Whether a person may come in.
pub fn user(disabled: bool, expired: bool, in_group: bool) -> Sign {
    match (disabled, expired, in_group) {
        (true, _, _) => sign("✗", id!("user-disabled"), Tone::Bad),
        (false, true, _) => sign("✗", id!("user-expired"), Tone::Bad),
        (false, false, false) => sign("!", id!("user-no-group"), Tone::Warn),
        (false, false, true) => sign("●", id!("user-good"), Tone::Good),
    }
}

/// The same in a few words, for the list of what happened.
fn failure(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NotFlushed => id!("failure-not-flushed"),
        RefusalCode::NotReady => id!("failure-not-ready"),
        RefusalCode::NotTaken => id!("failure-not-taken"),
        RefusalCode::PeerLost => id!("failure-peer-lost"),
        RefusalCode::PeerUnfit => id!("failure-peer-unfit"),
        RefusalCode::Cancelled => id!("failure-cancelled"),
        RefusalCode::NotPaired
        | RefusalCode::Starting
        | RefusalCode::Leaving
        | RefusalCode::PeerAbsent
        | RefusalCode::Unfit
        | RefusalCode::HandingOver
        | RefusalCode::NoSecondNode
        | RefusalCode::NotDiverged
        | RefusalCode::PeerAway
        | RefusalCode::FirstRevision
        | RefusalCode::RootOnly
        | RefusalCode::VpnStandby
        | RefusalCode::VpnOff
        | RefusalCode::NoAuthority
        | RefusalCode::Taken
        | RefusalCode::Full
        | RefusalCode::BadField
        | RefusalCode::WeakPassword
        | RefusalCode::NotLocal
        | RefusalCode::WrongPassword
        | RefusalCode::TooManyTries
        | RefusalCode::Named
        | RefusalCode::WrongCode
        | RefusalCode::Revoked
        | RefusalCode::NotImported
        | RefusalCode::OnTrial
        | RefusalCode::NotOnTrial
        | RefusalCode::UpdateBusy
        | RefusalCode::NoOtherVersion
        | RefusalCode::NotLive
        | RefusalCode::BadDisk
        | RefusalCode::BadSource
        | RefusalCode::WireguardOff
        | RefusalCode::NoWireguardKey => id!("unknown"),
    }
}

/// What an event is about, where that is a word of ours: a path's state, a reason. Anything else is a name and stays.
pub fn about(lang: Lang, code: &str, about: &str) -> String {
    match (code, about.rsplit_once(' ')) {
        ("role-active" | "role-standby", _) => tr!(lang, why(about)),
        // Back is back.
        ("path-up", Some((path, _))) => path.to_owned(),
        ("path-down", Some((path, state))) => {
            tr!(lang, "event-path-state", path = path, state = tr!(lang, self::path(state).word))
        }
        ("two-actives", _) if about == "stays" => tr!(lang, "event-stays"),
        ("two-actives", _) if about == "steps-down" => tr!(lang, "event-steps-down"),
        ("hand-over-failed", _) => match RefusalCode::named(about) {
            Some(code) => tr!(lang, failure(code)),
            None => about.to_owned(),
        },
        // What was wanted stands at the change of role beside it.
        ("handed-over", _) => String::new(),
        (_, _) => about.to_owned(),
    }
}

/// A revision's comment, and what it repeats.
pub fn comment(lang: Lang, r: &Revision) -> String {
    match r.rollback_of {
        Some(n) => {
            let text = tr!(lang, "history-rollback", of = n.to_string(), comment = r.comment.as_str());
            text.trim_end().to_owned()
        }
        None => r.comment.clone(),
    }
}

/// The revision in force, in a line.
pub fn in_force(lang: Lang, tz: &TimeZone, r: &Revision) -> String {
    let (revision, author, time) = (r.number.to_string(), r.author.as_str(), date_minute(tz, &r.time));
    let comment = comment(lang, r);
    if comment.is_empty() {
        return tr!(lang, "status-revision-bare", revision = revision, author = author, time = time);
    }
    tr!(lang, "status-revision", revision = revision, author = author, time = time, comment = comment)
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

/// What became of a commit on the other node.
pub fn peer(lang: Lang, p: &PeerReport) -> (Tone, String) {
    let node = p.node.as_str();
    match p.state.as_str() {
        "same" => (Tone::Good, tr!(lang, "commit-peer-same", node = node)),
        "away" => (Tone::Warn, tr!(lang, "commit-peer-away", node = node)),
        _ => (Tone::Warn, tr!(lang, "commit-peer-behind", node = node)),
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
        "session" => id!("stage-session"),
        "destination-nat" => id!("stage-destination-nat"),
        "route" => id!("stage-route"),
        "policy" => id!("stage-policy"),
        "source-nat" => id!("stage-source-nat"),
        _ => id!("stage-other"),
    }
}
