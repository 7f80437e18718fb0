//! The elector beside stock peers. One stage for each test; without root all of them are skipped, and say so.

mod carp;
mod vrrp2;
mod vrrp3;
