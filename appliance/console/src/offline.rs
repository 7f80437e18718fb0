//! Owns what can be said about a document without the daemon: whether it reads and makes sense.
//!
//! What takes the state of the node (leases, resolved names, the lock-out check) is left to the daemon.

use rempart_bus::documents::{AssertionResult, CheckReport, Diagnosis};
use rempart_config::{Diagnostic, Model, Severity};

/// Checks a document as the daemon would, as far as that is possible without it.
pub fn check(text: &str, name: &str, colour: bool) -> CheckReport {
    let reading = rempart_config::read(text);
    CheckReport {
        valid: reading.model.is_some(),
        diagnostics: reading.diagnostics.iter().map(|d| diagnosis(d, text)).collect(),
        rendered: rempart_config::render(&reading.diagnostics, name, text, colour),
        assertions: reading.model.as_ref().map(assertions).unwrap_or_default(),
    }
}

fn diagnosis(d: &Diagnostic, text: &str) -> Diagnosis {
    let (line, column) = rempart_config::position(text, d.span.start);
    let severity = match d.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    Diagnosis {
        severity: severity.to_owned(),
        code: d.code.to_owned(),
        message: d.message.clone(),
        line,
        column,
        hint: d.hint.clone(),
    }
}

/// The document's assertions, evaluated with no facts but the document's own.
fn assertions(_model: &Model) -> Vec<AssertionResult> {
    // The evaluator of `rempart_plan` is called here once it can be; until then only the daemon answers.
    Vec::new()
}

/// A service that every document knows by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its ports, as `[service]` would write them.
    pub elements: String,
    /// What it is.
    pub about: String,
}

/// The JSON Schema of the document.
pub fn schema() -> String {
    format!("{:#}", rempart_config::schema())
}

/// Every service that needs no definition, by name.
pub fn services() -> Vec<Service> {
    let all = rempart_config::services().map(|s| Service {
        name: s.name.to_owned(),
        elements: s.elements.join(" "),
        about: s.description.to_owned(),
    });
    all.collect()
}
