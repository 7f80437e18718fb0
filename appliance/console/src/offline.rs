//! Owns what can be said without the daemon: whether a document reads and makes sense, and what is known by name.
//!
//! What takes the state of the node (leases, resolved names, the calendar, the lock-out check) is left to the
//! daemon.

use rempart_bus::documents::CheckReport;
use rempart_bus::review;
use rempart_plan::Facts;

/// Checks a document as the daemon would, with no facts but the document's own: names that are looked up have no
/// addresses and every flow is in force.
pub fn check(text: &str, name: &str, colour: bool) -> CheckReport {
    review::check(text, name, &Facts::default(), colour).0
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

/// The same list as [`services`], as JSON.
pub fn services_json() -> String {
    let all = rempart_config::services();
    let all =
        all.map(|s| serde_json::json!({ "name": s.name, "elements": s.elements, "about": s.description }));
    serde_json::Value::from_iter(all).to_string()
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
