//! Owns the screens.
//!
//! ```text
//!   keys, size, clock, answers ─▶ update(model, message) ─▶ effects ─▶ driver ─▶ bus, terminal
//!                                       │
//!                                     model ─▶ view(model, frame)
//! ```
//!
//! [`update`] and [`view`] are pure; [`driver`] is dull and owns the tasks, [`terminal`] the terminal's state.

pub mod answers;
pub mod dialogs;
pub mod driver;
pub mod editor;
pub mod gate;
pub mod grid;
pub mod live;
pub mod model;
pub mod prompt;
pub mod runner;
pub mod setup;
pub mod terminal;
pub mod theme;
pub mod update;
pub mod view;

pub use driver::open;

#[cfg(test)]
mod tests;
