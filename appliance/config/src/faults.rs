//! The collector of faults. It owns the bound on their number and the "did you mean" of unknown names.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Severity};
use crate::limits::{MAX_DIAGNOSTICS, MAX_SUGGESTED_FROM};

pub(crate) type Span = Range<usize>;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Faults {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    more_errors: usize,
    more_warnings: usize,
}

impl Faults {
    pub fn error(&mut self, code: &'static str, span: &Span, message: impl Into<String>) -> Fault<'_> {
        self.push(Severity::Error, code, span, message.into())
    }

    pub fn warning(&mut self, code: &'static str, span: &Span, message: impl Into<String>) -> Fault<'_> {
        self.push(Severity::Warning, code, span, message.into())
    }

    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Everything found, in the order of the document.
    pub fn finish(self) -> Vec<Diagnostic> {
        let mut all = self.errors;
        all.extend(self.warnings);
        all.sort_by_key(|d| (d.span.start, d.severity));
        for (severity, more) in [(Severity::Error, self.more_errors), (Severity::Warning, self.more_warnings)]
        {
            if more > 0 {
                let kind = if severity == Severity::Error { "errors" } else { "warnings" };
                all.push(Diagnostic {
                    severity,
                    code: "too-many-faults",
                    message: format!("{more} more {kind} are not shown"),
                    span: 0..0,
                    label: String::new(),
                    hint: Some("mend the ones above first".into()),
                    related: Vec::new(),
                });
            }
        }
        all
    }

    fn push(&mut self, severity: Severity, code: &'static str, span: &Span, message: String) -> Fault<'_> {
        let (list, more) = match severity {
            Severity::Error => (&mut self.errors, &mut self.more_errors),
            Severity::Warning => (&mut self.warnings, &mut self.more_warnings),
        };
        if list.len() >= MAX_DIAGNOSTICS {
            *more += 1;
            return Fault(None);
        }
        let (span, label, hint, related) = (span.clone(), String::new(), None, Vec::new());
        list.push(Diagnostic { severity, code, message, span, label, hint, related });
        Fault(list.last_mut())
    }
}

/// The fault just reported, to be described further; nothing when it is over the bound.
pub(crate) struct Fault<'a>(Option<&'a mut Diagnostic>);

impl Fault<'_> {
    pub fn label(mut self, label: impl Into<String>) -> Self {
        if let Some(d) = &mut self.0 {
            d.label = label.into();
        }
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(d) = &mut self.0 {
            d.hint = Some(hint.into());
        }
        self
    }

    pub fn related(mut self, span: &Span, why: impl Into<String>) -> Self {
        if let Some(d) = &mut self.0 {
            d.related.push((span.clone(), why.into()));
        }
        self
    }

    /// Suggests the nearest of `known`, or lists them where they are few.
    pub fn suggest<'k>(self, wrong: &str, known: impl Iterator<Item = &'k str>) -> Self {
        if self.0.is_none() {
            return self;
        }
        let known: Vec<&str> = known.take(MAX_SUGGESTED_FROM).collect();
        match (nearest(wrong, &known), known.len()) {
            (Some(near), _) => self.hint(format!("did you mean `{near}`?")),
            (None, 0) => self.hint("the document defines none"),
            (None, 1..=24) => self.hint(format!("known here: {}", known.join(", "))),
            (None, _) => self,
        }
    }
}

/// Text of the document as it stands in a message: cut when long, without control characters.
pub(crate) fn shown(text: &str) -> String {
    const MAX_SHOWN: usize = 60;
    let mut out: String =
        text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        out.push('…');
    }
    out
}

/// The known word nearest to `wrong`, when it is near enough to be a slip of the finger.
fn nearest<'k>(wrong: &str, known: &[&'k str]) -> Option<&'k str> {
    let most = match wrong.chars().take(65).count() {
        0..=2 => 1,
        3..=7 => 2,
        8..=64 => 3,
        _ => return None,
    };
    let near = known.iter().filter_map(|k| {
        // Three letters of three all wrong is another word, not a slip.
        let most = most.min(k.len().saturating_sub(1));
        distance(wrong, k, most).map(|d| (d, *k))
    });
    near.min().map(|(_, k)| k)
}

/// Edit distance with swaps (optimal string alignment), or `None` when over `most`.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let swap = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + swap);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|d| *d <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_nothing_else() {
        // A wrong word and the known ones go in; the nearest slip comes out, or nothing.
        let known = ["device", "zone", "address", "virtual", "mtu"];
        assert_eq!(nearest("devcie", &known), Some("device"));
        assert_eq!(nearest("adress", &known), Some("address"));
        assert_eq!(nearest("Zone", &known), Some("zone"));
        assert_eq!(nearest("mut", &known), Some("mtu"));
        assert_eq!(nearest("xyz", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest(&"z".repeat(1 << 20), &known), None);
    }

    #[test]
    fn faults_over_the_bound_are_counted() {
        // More errors than are kept go in; the bound and one line that counts the rest come out.
        let mut faults = Faults::default();
        for _ in 0..MAX_DIAGNOSTICS + 7 {
            faults.error("x", &(0..0), "x").label("x");
        }
        let all = faults.finish();
        assert_eq!(all.len(), MAX_DIAGNOSTICS + 1);
        assert_eq!(all.last().map(|d| d.message.as_str()), Some("7 more errors are not shown"));
    }
}
