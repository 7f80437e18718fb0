//! People and machines: who they are, how they prove it, and what is remembered about them.
//!
//! Decisions are pure: no clock, socket or file. What asks others, directories and RADIUS servers, blocks, on a thread that
//! the driver gives it.

pub mod asn1;
pub mod authority;
pub mod demand;
pub mod ldap;
pub mod moment;
pub mod names;
pub mod password;
pub mod pem;
pub mod radius;
pub mod secret;
pub mod store;
pub mod totp;
