//! What `check` says of a document: the same words from the daemon, which knows the facts, and from the console
//! when it is asked about a file without one.

use rempart_config::{Diagnostic, Model, Severity};
use rempart_plan::Facts;
use rempart_plan::assert::{Counterexample, Finding, examine_all};
use rempart_plan::explain::service;

use crate::documents::{AssertionResult, CheckReport, Diagnosis};

/// Checks a document: its faults, printed as lines of `file`, and its assertions. The model is there when the
/// document has no error.
pub fn check(document: &str, file: &str, facts: &Facts, colour: bool) -> (CheckReport, Option<Model>) {
    let reading = rempart_config::read(document);
    let assertions = reading.model.as_ref().map(|model| assertions(model, facts)).unwrap_or_default();
    let report = CheckReport {
        valid: reading.model.is_some() && assertions.iter().all(|a| a.holds),
        digest: String::new(),
        diagnostics: reading.diagnostics.iter().map(|d| diagnosis(d, document)).collect(),
        rendered: rempart_config::render(&reading.diagnostics, file, document, colour),
        assertions,
    };
    (report, reading.model)
}

fn diagnosis(d: &Diagnostic, document: &str) -> Diagnosis {
    let (line, column) = rempart_config::position(document, d.span.start);
    let severity = match d.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    Diagnosis {
        severity: severity.into(),
        code: d.code.into(),
        message: d.message.clone(),
        line,
        column,
        hint: d.hint.clone(),
    }
}

fn assertions(model: &Model, facts: &Facts) -> Vec<AssertionResult> {
    let results = examine_all(model, facts).into_iter().map(|(check, finding)| {
        let counterexample = match finding {
            Finding::Holds => None,
            Finding::Undecided(why) => Some(why.to_string()),
            Finding::Fails(packet) => Some(sentence(model, &packet)),
        };
        let holds = counterexample.is_none();
        AssertionResult { name: check.name.clone(), line: check.line, holds, counterexample }
    });
    results.collect()
}

fn sentence(model: &Model, packet: &Counterexample) -> String {
    let decider = match packet.flow {
        Some(index) => {
            let flow = &model.flows[index];
            format!("{} (line {})", flow.label, flow.line)
        }
        None => "no flow: refused by default".into(),
    };
    let Counterexample { from, to, source, destination, protocol, port, .. } = packet;
    format!("{source} in {from} to {destination} in {to} {}: {decider}", service(*protocol, *port))
}
