//! What will expire, in time to do something about it.

use super::{Authority, CLIENT_LIFE, DAY, Owner, Serial};
use crate::moment::Moment;

/// How urgent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Plan for it.
    Notice,
    /// Within 30 days (an authority: within half a year).
    Soon,
    /// Within a week (an authority: within 30 days).
    Urgent,
    /// It has ended.
    Expired,
}

/// What ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The authority itself: then everything that it signed.
    Authority,
    /// Its revocation list.
    List,
    /// A certificate that it issued.
    Certificate(Serial, Owner),
}

/// A warning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expiring {
    /// What.
    pub subject: Subject,
    /// When.
    pub until: Moment,
    /// How urgent.
    pub stage: Stage,
}

/// All that ends soon, the most urgent first, then by time. Revoked certificates are left out, and so are those in whose
/// place a newer one of the same owner stands.
pub fn expiring(authority: &Authority, now: Moment) -> Vec<Expiring> {
    let mut found = Vec::new();
    if let Ok(facts) = authority.facts() {
        let until = facts.not_after;
        // Notice as soon as new certificates are cut short by the authority's own end.
        let steps = [CLIENT_LIFE + 90 * DAY, 183 * DAY, 30 * DAY];
        found.extend(stage(until, now, steps).map(|stage| Expiring {
            subject: Subject::Authority,
            until,
            stage,
        }));
    }
    if authority.list().is_some() {
        let until = authority.list_until();
        let steps = [7 * DAY, 3 * DAY, DAY];
        found.extend(stage(until, now, steps).map(|stage| Expiring { subject: Subject::List, until, stage }));
    }
    for (serial, issued) in authority.issued() {
        let newer = |other: &super::Issued| {
            other.owner == issued.owner && other.revoked.is_none() && other.until > issued.until
        };
        if issued.revoked.is_some() {
            continue;
        }
        let Some(stage) = stage(issued.until, now, [60 * DAY, 30 * DAY, 7 * DAY]) else { continue };
        if !authority.issued().values().any(newer) {
            let subject = Subject::Certificate(serial.clone(), issued.owner.clone());
            found.push(Expiring { subject, until: issued.until, stage });
        }
    }
    found.sort_by_key(|warning| (std::cmp::Reverse(warning.stage), warning.until));
    found
}

fn stage(until: Moment, now: Moment, [notice, soon, urgent]: [std::time::Duration; 3]) -> Option<Stage> {
    let left = until.since(now);
    if now >= until {
        Some(Stage::Expired)
    } else if left < urgent {
        Some(Stage::Urgent)
    } else if left < soon {
        Some(Stage::Soon)
    } else {
        (left < notice).then_some(Stage::Notice)
    }
}
