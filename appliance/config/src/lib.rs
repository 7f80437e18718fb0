//! The Rempart document: text to draft to model, with every fault reported at once.
//!
//! ```text
//! text ──tree──▶ TOML with spans ──decode──▶ draft ──resolve──▶ model
//!                      │                       │        └─ anomaly: flows that never match
//!                      └───────── faults ──────┘
//! ```
//!
//! Pure: knows no clock, file or socket. What files and names contain is not looked at here.

mod anomaly;
mod catalogue;
mod decode;
pub mod diagnostic;
mod draft;
mod faults;
pub mod limits;
pub mod model;
mod resolve;
mod schema;
pub mod space;
mod text;
mod tree;

pub use catalogue::{Service, services};
pub use diagnostic::{Diagnostic, Severity, position, render};
pub use model::Model;
pub use schema::schema;

use decode::Decode;

/// What came of reading a document.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The model; `None` exactly when there is an error among the diagnostics.
    pub model: Option<Model>,
    /// Errors and warnings, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether a document may call something by this name.
pub fn is_name(text: &str) -> bool {
    text::check_name(text).is_ok()
}

/// Reads a document. Never panics, whatever the text; every fault that it finds is among the diagnostics.
pub fn read(text: &str) -> Reading {
    let mut faults = faults::Faults::default();
    let model = tree::parse(text, &mut faults)
        .and_then(|tree| draft::Document::decode(&tree, &mut faults))
        .and_then(|draft| resolve::model(&draft, &diagnostic::Lines::of(text), &mut faults));
    Reading { model, diagnostics: faults.finish() }
}

/// The service that an operator asks about: `tcp/443`, `icmp/echo-request`, or one of the common names.
/// An error says what is wrong and what would be right.
pub fn service(text: &str) -> Result<Vec<model::ServiceAtom>, String> {
    use text::service::Meaning;
    match Meaning::parse(text).map_err(|fault| fault.sentence())? {
        Meaning::Atom(atom) => Ok(vec![atom]),
        Meaning::Name(name) => match catalogue::find(&name) {
            Some(elements) => Ok(elements.iter().filter_map(|e| service(e).ok()).flatten().collect()),
            None => Err(format!(
                "`{name}` is not a common service: write it as tcp/443, udp/53, icmp/8 or proto/47"
            )),
        },
    }
}

/// The addresses of one line of a block list: an address, a network or a range.
/// An error says what is wrong and what would be right.
pub fn addresses(text: &str) -> Result<space::AddressSet, String> {
    text::address::literal(text).map_err(|fault| fault.sentence())
}
