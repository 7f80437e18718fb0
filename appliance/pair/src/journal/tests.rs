//! Whole machines against each other, in virtual time.

mod model;
mod properties;
mod scenarios;
mod units;
