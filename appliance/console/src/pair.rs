//! Owns what is said of the pair, line by line; the command line and the screens say the same.

use jiff::tz::TimeZone;
use rempart_bus::ha::{Ailment, HaStatus, RouterStatus};

use crate::bus::Choice;
use crate::format::{date_time, duration};
use crate::lang::Lang;
use crate::tr;
use crate::words::{self, Sign, Tone};

/// The state of two documents between which a person must choose.
pub const DIVERGED: &str = "diverged";

/// A line and its tone.
pub type Fact = (Tone, String);

/// How the pair is: both nodes, what is amiss, the configuration, the replication of connections.
pub fn facts(lang: Lang, tz: &TimeZone, s: &HaStatus) -> Vec<Fact> {
    let mut out = vec![own(lang, tz, s)];
    out.extend(other(lang, tz, s));
    if s.peer.is_some() && !s.paired {
        out.push((Tone::Warn, tr!(lang, "ha-unpaired")));
    }
    let other = s.other.as_ref().filter(|o| o.alive);
    let theirs = other.map(|o| (o.node.as_str(), o.maintenance));
    for (node, out_of_service) in [(s.node.as_str(), s.maintenance)].into_iter().chain(theirs) {
        if out_of_service {
            out.push((Tone::Warn, tr!(lang, "ha-maintenance", node = node)));
        }
    }
    let theirs = other.iter().flat_map(|o| o.ailments.iter().map(|a| (o.node.as_str(), a)));
    let ailments = s.ailments.iter().map(|a| (s.node.as_str(), a)).chain(theirs);
    // Maintenance has its own line.
    let ailments = ailments.filter(|(_, a)| a.code != "maintenance");
    out.extend(ailments.map(|(node, a)| (Tone::Bad, ailment(lang, tz, node, a))));
    if let Some(until) = &s.damped_until {
        out.push((Tone::Warn, tr!(lang, "ha-damped", until = date_time(tz, until))));
    }
    if let Some(at) = &s.failback_at {
        out.push((Tone::Plain, tr!(lang, "ha-failback", at = date_time(tz, at))));
    }
    if s.peer.is_some() {
        out.push(configuration(lang, s));
        if s.configuration.state == DIVERGED {
            out.push((Tone::Bad, tr!(lang, "ha-diverged")));
        }
        if let Some(obstacle) = &s.configuration.obstacle {
            out.push((Tone::Bad, tr!(lang, "ha-obstacle", why = obstacle.as_str())));
        }
        out.extend(journal(lang, s));
    }
    out
}

/// What a choice between two documents will change, and where; the diff follows.
pub fn changes(lang: Lang, s: &HaStatus, choice: Choice) -> String {
    let (own, other) = (s.node.as_str(), s.peer.as_deref().unwrap_or("?"));
    match choice {
        Choice::Mine => tr!(lang, "resolve-changes", winner = own, loser = other),
        Choice::Theirs => tr!(lang, "resolve-changes", winner = other, loser = own),
    }
}

/// Who holds the addresses of a virtual router at this moment, as far as this node knows.
pub fn holder<'a>(s: &'a HaStatus, r: &'a RouterStatus) -> Option<&'a str> {
    let other = s.other.as_ref().filter(|o| o.alive && o.role == "active");
    match (r.state.as_str(), other) {
        ("active", _) => Some(&s.node),
        (_, Some(other)) => Some(&other.node),
        // A neighbour that is no Rempart is known by the address of its adverts.
        (_, None) => r.active_router.as_deref(),
    }
}

/// Glyph and word.
fn said(lang: Lang, sign: Sign) -> String {
    format!("{} {}", sign.glyph, tr!(lang, sign.word))
}

fn own(lang: Lang, tz: &TimeZone, s: &HaStatus) -> Fact {
    let role = words::role(&s.role);
    let text = tr!(
        lang,
        "ha-own",
        node = s.node.as_str(),
        role = said(lang, role),
        since = date_time(tz, &s.since),
        why = tr!(lang, words::why(&s.why)),
        epoch = s.epoch
    );
    (role.tone, text)
}

fn other(lang: Lang, tz: &TimeZone, s: &HaStatus) -> Option<Fact> {
    match (&s.other, &s.peer) {
        (Some(o), _) if o.alive => {
            let role = words::role(&o.role);
            let (node, role, tone) = (o.node.as_str(), said(lang, role), role.tone);
            Some((tone, tr!(lang, "ha-other", node = node, role = role, epoch = o.epoch)))
        }
        (Some(o), _) => {
            let heard = date_time(tz, &o.heard);
            Some((Tone::Bad, tr!(lang, "ha-other-lost", node = o.node.as_str(), heard = heard)))
        }
        (None, Some(peer)) => Some((Tone::Bad, tr!(lang, "ha-other-never", node = peer.as_str()))),
        (None, None) => None,
    }
}

fn ailment(lang: Lang, tz: &TimeZone, node: &str, a: &Ailment) -> String {
    let (what, about) = (tr!(lang, words::ailment(&a.code)), words::part(lang, &a.about));
    // A heartbeat says what is amiss with the other node, not since when.
    if a.since.is_empty() {
        return tr!(lang, "ha-ailment-undated", node = node, what = what, about = about);
    }
    tr!(lang, "ha-ailment", node = node, what = what, about = about, since = date_time(tz, &a.since))
}

fn configuration(lang: Lang, s: &HaStatus) -> Fact {
    let c = &s.configuration;
    let sign = words::configuration(&c.state);
    let state = said(lang, sign);
    let text = match (c.own, c.other) {
        (Some(own), Some(other)) => {
            let (own, other) = (own.to_string(), other.to_string());
            tr!(lang, "ha-configuration-both", state = state, own = own, other = other)
        }
        (Some(_) | None, _) => tr!(lang, "ha-configuration", state = state),
    };
    (sign.tone, text)
}

fn journal(lang: Lang, s: &HaStatus) -> Vec<Fact> {
    let j = &s.journal;
    let sign = words::journal(&j.state);
    let text = tr!(
        lang,
        "ha-journal",
        state = said(lang, sign),
        entries = j.entries,
        backlog = j.backlog,
        lag = microseconds(lang, j.lag_us)
    );
    let mut out = vec![(sign.tone, text)];
    if j.overruns + j.repairs + j.resent + j.refused > 0 {
        let text = tr!(
            lang,
            "ha-journal-troubles",
            overruns = j.overruns,
            repairs = j.repairs,
            resent = j.resent,
            refused = j.refused
        );
        out.push((Tone::Dim, text));
    }
    out
}

/// A short time: `80 µs`, `1.2 ms`, `3 s`.
pub fn microseconds(lang: Lang, us: u64) -> String {
    match us {
        0..1_000 => tr!(lang, "duration-microseconds", n = us),
        1_000..1_000_000 => {
            let (whole, tenths) = (us / 1_000, us % 1_000 / 100);
            let mark = match lang {
                Lang::Fr => ',',
                Lang::En => '.',
            };
            tr!(lang, "duration-milliseconds", n = format!("{whole}{mark}{tenths}"))
        }
        _ => duration(lang, us / 1_000_000),
    }
}
