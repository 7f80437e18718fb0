//! The table by itself: each setting that is broken fails the line that it belongs to, and no other.

use std::collections::{BTreeMap, BTreeSet};

use rempart_bus::audit::{DEVIATIONS, RECOMMENDATIONS};

use super::super::facts::{Facts, Seen};
use super::super::judge::{Verdict, judge, judge_one};
use super::*;

/// Something that is as wanted.
fn good(want: Want) -> Seen {
    match want {
        Want::Absent | Want::AllIfThere(_) | Want::ModeIfThere(_) => Seen::Absent,
        Want::Present | Want::NotEmpty => Seen::text("something"),
        Want::Is(word) => Seen::text(word),
        Want::OneOf(words) => Seen::text(words[0]),
        Want::AtLeast(number) => Seen::text(number.to_string()),
        Want::None => Seen::many([] as [&str; 0]),
        Want::All(words) | Want::Only(words) => Seen::many(words.iter().copied()),
    }
}

/// What is not as wanted, in each way that matters.
fn bad(want: Want) -> Vec<Seen> {
    match want {
        Want::Absent => vec![Seen::yes(true)],
        Want::Present => vec![Seen::Absent],
        Want::NotEmpty => vec![Seen::Absent, Seen::text("")],
        Want::Is(_) | Want::OneOf(_) => vec![Seen::Absent, Seen::text("broken")],
        Want::AtLeast(number) => vec![Seen::text((number - 1).to_string()), Seen::text("broken")],
        Want::None => vec![Seen::many(["broken"])],
        Want::All(words) => words
            .iter()
            .map(|left_out| Seen::many(words.iter().filter(|w| *w != left_out).copied()))
            .collect(),
        Want::AllIfThere(words) => words
            .iter()
            .map(|left_out| Seen::many(words.iter().filter(|w| *w != left_out).copied()))
            .collect(),
        Want::Only(words) => vec![Seen::many(words.iter().copied().chain(["broken"]))],
        Want::ModeIfThere(mode) => {
            let more = (0..12).map(|bit| 1 << bit).find(|bit| mode & bit == 0).expect("a right that is left");
            vec![Seen::text(format!("0 {:o}", mode | more)), Seen::text(format!("1 {mode:o}"))]
        }
    }
}

/// A box on which nothing departs from any guide, SSH being on.
fn perfect() -> Facts {
    let mut facts = Facts::default();
    for rule in RULES {
        for (fact, want) in rule.applies.iter().chain(rule.wants) {
            facts.note(*fact, good(*want));
        }
    }
    facts
}

/// Whether it is excused, or makes other lines be about something that is not there.
fn is_excepted(rule: &Rule, fact: Fact, seen: &Seen) -> bool {
    let excused = rule.excuses.iter().any(|(about, as_is)| *about == fact && as_is.holds(seen));
    let decides =
        RULES.iter().filter_map(|r| r.applies).any(|(about, want)| about == fact && !want.holds(seen));
    excused || decides
}

fn verdicts(facts: &Facts) -> BTreeMap<&'static str, Verdict> {
    RULES.iter().map(|rule| (rule.code, judge_one(rule, facts).0)).collect()
}

/// `facts` with one fact changed: the line of `rule` becomes `wanted`, and all others stay.
fn assert_only(rule: &Rule, fact: Fact, facts: &Facts, wanted: Verdict) {
    let (before, after) = (verdicts(&perfect()), verdicts(facts));
    for (code, verdict) in after {
        let expected = if code == rule.code { wanted } else { before[code] };
        assert_eq!(verdict, expected, "{code}, after {fact} became {:?}", facts.get(fact));
    }
}

#[test]
fn a_perfect_box_passes() {
    // As wanted in every fact; every line passes.
    let (lines, counts) = judge(&perfect());
    assert!(lines.iter().all(|line| line.result == "pass"), "{lines:?}");
    assert_eq!(counts.pass as usize, RULES.len());
    assert!(counts.are_good());
}

#[test]
fn each_setting_that_is_broken_fails_its_own_line() {
    // One fact broken in each of its ways; its own line fails and names it, and no other line changes.
    for rule in RULES {
        let mut tried = 0;
        for (fact, want) in rule.wants {
            for seen in bad(*want).into_iter().filter(|seen| !is_excepted(rule, *fact, seen)) {
                let mut facts = perfect();
                facts.note(*fact, seen);
                assert_only(rule, *fact, &facts, Verdict::Fail);
                let (_, evidence) = judge_one(rule, &facts);
                assert_eq!(evidence.len(), 1);
                assert_eq!(evidence[0].about, fact.to_string());
                tried += 1;
            }
        }
        assert!(tried > 0, "{} cannot fail", rule.code);
    }
}

#[test]
fn each_excuse_is_a_deviation_and_no_more() {
    // One fact as Rempart has it instead; its own line is a deviation, and no other line changes.
    for rule in RULES {
        for (fact, as_is) in rule.excuses {
            assert!(
                rule.wants.iter().any(|(wanted, _)| wanted == fact),
                "{}: {fact} is not wanted",
                rule.code
            );
            let values = match as_is {
                Want::OneOf(words) => words.iter().map(|word| Seen::text(*word)).collect(),
                other => vec![good(*other)],
            };
            for seen in values {
                let mut facts = perfect();
                facts.note(*fact, seen);
                assert_only(rule, *fact, &facts, Verdict::Deviation);
            }
        }
    }
}

#[test]
fn a_broken_setting_is_not_excused_by_another() {
    // A deviation and a fault on one line: it fails, and only the fault is told.
    for rule in RULES.iter().filter(|rule| !rule.excuses.is_empty()) {
        let (excused, as_is) = rule.excuses[0];
        let Some((fact, want)) =
            rule.wants.iter().find(|(fact, _)| rule.excuses.iter().all(|(e, _)| e != fact))
        else {
            continue;
        };
        let mut facts = perfect();
        facts.note(excused, good(as_is));
        facts.note(*fact, bad(*want).remove(0));
        let (verdict, evidence) = judge_one(rule, &facts);
        assert_eq!((verdict, evidence.len()), (Verdict::Fail, 1), "{}", rule.code);
    }
}

#[test]
fn of_a_list_what_should_not_be_there_is_told_alone() {
    // One known service and a stranger: the evidence names the stranger.
    let mut facts = perfect();
    facts.note(known(Known::Services), Seen::many(["rempartd.service", "stranger.service"]));
    let rule = RULES.iter().find(|rule| rule.code == "linux-r62").unwrap();
    let (verdict, evidence) = judge_one(rule, &facts);
    assert_eq!((verdict, evidence[0].seen.as_str()), (Verdict::Fail, "stranger.service"));
}

#[test]
fn what_cannot_be_read_never_passes() {
    // One fact unread; its line says so, and counts against the box.
    for rule in RULES {
        for (fact, _) in rule.wants {
            let mut facts = perfect();
            facts.forget(*fact);
            assert_eq!(verdicts(&facts)[rule.code], Verdict::Unseen, "{}: {fact}", rule.code);
            assert!(!judge(&facts).1.are_good());
        }
    }
}

#[test]
fn what_the_box_does_not_have_is_not_judged() {
    // SSH off and nothing committed; neither is judged, and nothing of them speaks against the box.
    let mut facts = perfect();
    facts.note(Unit("ssh.service", "ActiveState"), Seen::text("inactive"));
    facts.note(known(Known::RevisionComment), Seen::Absent);
    facts.note(known(Known::AnyToAny), Seen::many(["a flow"]));
    for (code, verdict) in verdicts(&facts) {
        let about_neither = code.starts_with("linux-") || code == "firewall-r27";
        let expected = if about_neither { Verdict::Pass } else { Verdict::NotApplicable };
        assert_eq!(verdict, expected, "{code}");
    }
}

#[test]
fn a_fact_belongs_to_one_line() {
    let all: Vec<Fact> = RULES.iter().flat_map(|rule| rule.wants.iter().map(|(fact, _)| *fact)).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
}

#[test]
fn the_table_is_what_the_bus_promises() {
    let codes: Vec<&str> = RULES.iter().map(|rule| rule.code).collect();
    assert_eq!(codes, RECOMMENDATIONS);
    let deviations = RULES.iter().filter(|rule| !rule.excuses.is_empty()).map(|rule| rule.code);
    assert_eq!(deviations.collect::<Vec<_>>(), DEVIATIONS);
    assert!(RULES.iter().all(|rule| !rule.guide().is_empty()));
}

#[test]
fn every_recommendation_of_the_linux_guide_is_in_the_table_or_has_a_reason_not_to_be() {
    // The guide has R1 to R80; each is in one of the two lists, and in no more than one.
    let judged = RULES.iter().filter_map(|rule| rule.code.strip_prefix("linux-r")?.parse::<u16>().ok());
    let mut all: Vec<u16> = judged.chain(LEFT_OUT.iter().map(|(number, _)| *number)).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=80).collect::<Vec<_>>());
    assert!(LEFT_OUT.iter().all(|(_, reason)| !reason.is_empty()));
}
