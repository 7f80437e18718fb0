//! Judges facts by the table. Pure.

use rempart_bus::audit::{AuditLine, Counts, Evidence};

use super::facts::{Fact, Facts, Seen};
use super::rules::{RULES, Rule, Want};

/// How a recommendation fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As recommended.
    Pass,
    /// Not as recommended, and nobody has said why.
    Fail,
    /// Not as recommended, for a reason that is written down.
    Deviation,
    /// About something that this box does not have.
    NotApplicable,
    /// What had to be looked at could not be read.
    Unseen,
}

impl Verdict {
    /// As it travels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Deviation => "deviation",
            Self::NotApplicable => "not-applicable",
            Self::Unseen => "unseen",
        }
    }
}

/// Judges the whole table.
pub fn judge(facts: &Facts) -> (Vec<AuditLine>, Counts) {
    let mut counts = Counts::default();
    let mut lines = Vec::new();
    for rule in RULES {
        let (verdict, evidence) = judge_one(rule, facts);
        *match verdict {
            Verdict::Pass => &mut counts.pass,
            Verdict::Fail => &mut counts.fail,
            Verdict::Deviation => &mut counts.deviation,
            Verdict::NotApplicable => &mut counts.not_applicable,
            Verdict::Unseen => &mut counts.unseen,
        } += 1;
        lines.push(AuditLine {
            code: rule.code.into(),
            guide: rule.guide().into(),
            number: rule.number(),
            level: rule.level.name().into(),
            result: verdict.name().into(),
            evidence,
            ..AuditLine::default()
        });
    }
    (lines, counts)
}

/// Judges one recommendation. What speaks against it without excuse is told alone; excused evidence only where there is
/// no other.
pub fn judge_one(rule: &Rule, facts: &Facts) -> (Verdict, Vec<Evidence>) {
    if let Some((fact, want)) = rule.applies {
        match facts.get(fact) {
            None => return (Verdict::Unseen, vec![evidence(fact, None, want)]),
            Some(seen) if !want.holds(seen) => return (Verdict::NotApplicable, Vec::new()),
            Some(_) => {}
        }
    }
    let (mut broken, mut unseen, mut excused) = (Vec::new(), Vec::new(), Vec::new());
    for (fact, want) in rule.wants {
        match facts.get(*fact) {
            None => unseen.push(evidence(*fact, None, *want)),
            Some(seen) if want.holds(seen) => {}
            Some(seen) => {
                let found = evidence(*fact, Some(seen), *want);
                let excuse = |(about, as_is): &(Fact, Want)| about == fact && as_is.holds(seen);
                if rule.excuses.iter().any(excuse) { excused.push(found) } else { broken.push(found) }
            }
        }
    }
    match (broken.is_empty(), unseen.is_empty(), excused.is_empty()) {
        (false, ..) => (Verdict::Fail, broken),
        (true, false, _) => (Verdict::Unseen, unseen),
        (true, true, false) => (Verdict::Deviation, excused),
        (true, true, true) => (Verdict::Pass, Vec::new()),
    }
}

fn evidence(fact: Fact, seen: Option<&Seen>, want: Want) -> Evidence {
    Evidence {
        about: fact.to_string(),
        seen: seen.map(|seen| want.against(seen).to_string()).unwrap_or_default(),
        wanted: want.to_string(),
    }
}

impl Want {
    /// The part of what was seen that speaks against it.
    fn against(self, seen: &Seen) -> Seen {
        match (self, seen) {
            (Self::Only(wanted), Seen::Many(words)) => {
                Seen::many(words.iter().filter(|w| !wanted.contains(&w.as_str())).map(String::as_str))
            }
            _ => seen.clone(),
        }
    }

    /// Whether what was seen is what is wanted.
    pub fn holds(self, seen: &Seen) -> bool {
        match (self, seen) {
            (Self::Absent, Seen::Absent) => true,
            (Self::Present, Seen::Text(_) | Seen::Many(_)) => true,
            (Self::Is(wanted), Seen::Text(text)) => text == wanted,
            (Self::OneOf(wanted), Seen::Text(text)) => wanted.contains(&text.as_str()),
            (Self::AtLeast(wanted), Seen::Text(text)) => text.parse::<u64>().is_ok_and(|n| n >= wanted),
            (Self::NotEmpty, Seen::Text(text)) => !text.is_empty(),
            (Self::NotEmpty, Seen::Many(words)) => !words.is_empty(),
            (Self::None, Seen::Many(words)) => words.is_empty(),
            (Self::All(wanted), Seen::Many(words)) => wanted.iter().all(|w| words.contains(*w)),
            (Self::Only(wanted), Seen::Many(words)) => words.iter().all(|w| wanted.contains(&w.as_str())),
            // What is not mounted, or not there, does no harm.
            (Self::AllIfThere(_) | Self::ModeIfThere(_), Seen::Absent) => true,
            (Self::AllIfThere(wanted), Seen::Many(words)) => wanted.iter().all(|w| words.contains(*w)),
            (Self::ModeIfThere(most), Seen::Text(text)) => is_mode_within(text, most),
            (
                Self::Absent
                | Self::Present
                | Self::Is(_)
                | Self::OneOf(_)
                | Self::AtLeast(_)
                | Self::NotEmpty
                | Self::None
                | Self::All(_)
                | Self::Only(_)
                | Self::AllIfThere(_)
                | Self::ModeIfThere(_),
                Seen::Absent | Seen::Text(_) | Seen::Many(_),
            ) => false,
        }
    }
}

/// Whether `0 640` is root's and gives nobody more than `most`.
fn is_mode_within(text: &str, most: u32) -> bool {
    let Some(("0", mode)) = text.split_once(' ') else { return false };
    u32::from_str_radix(mode, 8).is_ok_and(|mode| mode & !most == 0)
}
