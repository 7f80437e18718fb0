//! Owns `rempart audit`: the report with its titles and reasons, for a person and for a program.

use rempart_bus::audit::{AuditLine, AuditReport, DEVIATIONS, Evidence, RECOMMENDATIONS};

use super::run::{Console, Stop, ask, connect};
use crate::bus::{Failure, Reply, Request};
use crate::format::{date_minute, left, width, wrap};
use crate::lang::Lang;
use crate::words::{Sign, Tone};
use crate::{id, tr, words};

/// Columns that reasons are broken at: those of the console.
const COLUMNS: usize = 80;
/// How far reasons and evidence stand in.
const INDENT: usize = 6;

/// Asks, prints, and refuses when anything speaks against the box.
pub async fn anssi(console: &Console) -> Result<(), Stop> {
    let answer = ask(&connect().await?, &Request::Audit).await?;
    let mut report = match Reply::parse(&Request::Audit, answer)? {
        Reply::Audit(report) => *report,
        other => return Err(Failure::Garbled(format!("{other:?}")).into()),
    };
    if console.json {
        explain(console.lang, &mut report);
        console.line(&serde_json::to_string(&report).map_err(|e| Failure::Garbled(e.to_string()))?);
    } else {
        console.line(&console.audit(&report));
    }
    if report.counts.are_good() { Ok(()) } else { Err(Stop::Refused) }
}

/// Fills in what is for people: a report is filed as it is, and its reader does not have our texts.
fn explain(lang: Lang, report: &mut AuditReport) {
    for line in &mut report.lines {
        line.title = title(lang, line);
        line.reason = reason(lang, line).unwrap_or_default();
    }
}

/// What a recommendation is about. A daemon of another version may know some that we have no words for.
fn title(lang: Lang, line: &AuditLine) -> String {
    match RECOMMENDATIONS.contains(&line.code.as_str()) {
        true => tr!(lang, &format!("audit-{}", line.code)),
        false => line.code.clone(),
    }
}

/// Why a deviation is one.
fn reason(lang: Lang, line: &AuditLine) -> Option<String> {
    let has = line.result == "deviation" && DEVIATIONS.contains(&line.code.as_str());
    has.then(|| tr!(lang, &format!("audit-why-{}", line.code)))
}

fn guide(lang: Lang, line: &AuditLine) -> String {
    match line.code.split('-').next() {
        Some("linux") => tr!(lang, "audit-guide-linux"),
        Some("firewall") => tr!(lang, "audit-guide-firewall"),
        Some("ssh") => tr!(lang, "audit-guide-ssh"),
        Some("filtering") => tr!(lang, "audit-guide-filtering"),
        Some("interconnection") => tr!(lang, "audit-guide-interconnection"),
        Some(_) | None => line.guide.clone(),
    }
}

/// How a result looks.
fn result(result: &str) -> Sign {
    match result {
        "pass" => Sign { glyph: "●", word: id!("audit-pass"), tone: Tone::Good },
        "fail" => Sign { glyph: "✗", word: id!("audit-fail"), tone: Tone::Bad },
        "deviation" => Sign { glyph: "!", word: id!("audit-deviation"), tone: Tone::Warn },
        "not-applicable" => Sign { glyph: "·", word: id!("audit-not-applicable"), tone: Tone::Dim },
        "unseen" => Sign { glyph: "?", word: id!("audit-unseen"), tone: Tone::Bad },
        _ => words::action(result),
    }
}

const RESULTS: [&str; 5] = ["pass", "fail", "deviation", "not-applicable", "unseen"];

impl Console {
    /// The report for a person.
    pub fn audit(&self, report: &AuditReport) -> String {
        let lang = self.lang;
        let time = date_minute(&self.tz, &report.time);
        let (node, version) = (report.node.as_str(), report.product_version.as_str());
        let mut out = tr!(lang, "audit-head", node = node, time = time, version = version) + "\n";
        let mut last = String::new();
        for line in &report.lines {
            let guide = guide(lang, line);
            if guide != last {
                out.push_str(&format!("\n{}\n", self.paint.tone(Tone::Accent, &guide)));
                last = guide;
            }
            self.audit_line(&mut out, line);
        }
        let c = &report.counts;
        out.push('\n');
        out.push_str(&tr!(
            lang,
            "audit-counts",
            pass = c.pass,
            fail = c.fail,
            deviation = c.deviation,
            absent = c.not_applicable,
            unseen = c.unseen
        ));
        out.push('\n');
        out
    }

    fn audit_line(&self, out: &mut String, line: &AuditLine) {
        let lang = self.lang;
        let columns = RESULTS.iter().map(|r| width(&self.sign(result(r)).0)).max().unwrap_or(0);
        let (text, tone) = self.sign(result(&line.result));
        let sign = self.paint.tone(tone, &left(&text, columns));
        let number = if line.number.is_empty() { String::new() } else { left(&line.number, 3) };
        let (number, title) = (number.as_str(), title(lang, line));
        // A guide without numbers leaves no hole.
        let whole = match number {
            "" => format!("{sign}  {title}"),
            _ => tr!(lang, "audit-line", sign = sign, number = number, title = title),
        };
        out.push_str(&whole);
        out.push('\n');
        for text in reason(lang, line).iter().flat_map(|r| wrap(r, COLUMNS - INDENT)) {
            out.push_str(&format!("{}{}\n", " ".repeat(INDENT), text.trim_end()));
        }
        for found in &line.evidence {
            out.push_str(&format!(
                "{}{}\n",
                " ".repeat(INDENT),
                self.paint.tone(Tone::Dim, &evidence(lang, found))
            ));
        }
    }
}

fn evidence(lang: Lang, e: &Evidence) -> String {
    let (about, seen, wanted) = (e.about.as_str(), e.seen.as_str(), e.wanted.as_str());
    if seen.is_empty() {
        return tr!(lang, "audit-evidence-unseen", about = about, wanted = wanted);
    }
    tr!(lang, "audit-evidence", about = about, seen = seen, wanted = wanted)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use rempart_bus::audit::Counts;

    use super::*;
    use crate::cli::table::Paint;
    use crate::golden::assert_golden;

    /// One line of each kind of result, every title and every reason.
    fn report() -> AuditReport {
        let evidence = |about: &str, seen: &str, wanted: &str| Evidence {
            about: about.into(),
            seen: seen.into(),
            wanted: wanted.into(),
        };
        let line = |code: &&str| {
            let number = code.split_once("-r").filter(|(_, n)| n.parse::<u8>().is_ok());
            let (result, evidence) = match *code {
                "linux-r9" => ("fail", vec![evidence("sysctl kernel/kptr_restrict", "0", "2")]),
                "linux-r45" => ("unseen", vec![evidence("enforced-profiles", "", "rempartd")]),
                "filtering-needs" => ("fail", vec![evidence("flows-without-why", "web, mail", "-")]),
                code if code.starts_with("ssh") => ("not-applicable", vec![]),
                "linux-r12" => ("deviation", vec![evidence("sysctl net/ipv4/ip_forward", "1", "0")]),
                code if DEVIATIONS.contains(&code) => ("deviation", vec![]),
                _ => ("pass", vec![]),
            };
            AuditLine {
                code: (*code).into(),
                number: number.map_or_else(String::new, |(_, n)| format!("R{n}")),
                result: result.into(),
                evidence,
                ..AuditLine::default()
            }
        };
        AuditReport {
            version: 1,
            node: "rte01".into(),
            product_version: "0.1.0".into(),
            time: "2026-11-22T11:00:00Z".into(),
            counts: Counts { pass: 51, fail: 2, deviation: 17, not_applicable: 3, unseen: 1 },
            lines: RECOMMENDATIONS.iter().map(line).collect(),
        }
    }

    #[test]
    fn the_report_looks_like_this() {
        for lang in [Lang::Fr, Lang::En] {
            let console = Console { lang, tz: TimeZone::UTC, paint: Paint { colour: false }, json: false };
            assert_golden(&format!("cli/audit.{lang:?}").to_lowercase(), &console.audit(&report()));
        }
    }

    #[test]
    fn a_filed_report_explains_itself() {
        // A report as it came in; each line with its title, each deviation with its reason out.
        let mut filed = report();
        explain(Lang::En, &mut filed);
        assert!(filed.lines.iter().all(|l| !l.title.is_empty()));
        assert!(filed.lines.iter().all(|l| (l.result == "deviation") != l.reason.is_empty()));
        let text = serde_json::to_string(&filed).unwrap();
        assert_eq!(serde_json::from_str::<AuditReport>(&text).unwrap(), filed);
    }

    #[test]
    fn a_newer_daemon_is_understood() {
        let line = AuditLine { code: "linux-r99".into(), result: "pass".into(), ..AuditLine::default() };
        assert_eq!(title(Lang::Fr, &line), "linux-r99");
    }

    #[test]
    fn only_what_speaks_against_the_box_refuses() {
        assert!(Counts { deviation: 3, not_applicable: 1, pass: 9, ..Counts::default() }.are_good());
        assert!(!Counts { fail: 1, ..Counts::default() }.are_good());
        assert!(!Counts { unseen: 1, ..Counts::default() }.are_good());
    }
}
