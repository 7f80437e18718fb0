//! The Rempart document: text to draft to model, with every fault reported at once.
//!
//! Pure: knows no clock, file or socket. What files and names contain is not looked at here.

pub mod diagnostic;
pub mod model;
pub mod space;

pub use diagnostic::{Diagnostic, Severity, position, render};
pub use model::Model;

/// What came of reading a document.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The model; `None` exactly when there is an error among the diagnostics.
    pub model: Option<Model>,
    /// Errors and warnings, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}
