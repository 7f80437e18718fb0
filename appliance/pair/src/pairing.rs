//! Pairing: two boxes that have never met learn each other's keys by a short code, shown on one console and typed
//! on the other. No files, no certificates to carry.
//!
//! Owns the code, the messages, the password-authenticated key exchange and both machines ([`Offer`], [`Join`]).
//! Refuses to own sockets, the clock, randomness and disks: times, seeds and the fresh pair secret are arguments,
//! and what must be stored is an output whose success is told back.
//!
//! ```text
//!        joining box                                       offering box (shows the code)
//!   Hello   { SPAKE2 element A }          ───────▶
//!                                         ◀───────   Hello   { SPAKE2 element B }
//!   Confirm { HMAC over the transcript }  ───────▶   wrong: one of three tries is gone
//!                                         ◀───────   Confirm { HMAC over the transcript }
//!   ══ from here on sealed by AES-256-GCM under the agreed key, one key for each direction ══
//!   Introduction { versions, name, key }  ───────▶
//!                                         ◀───────   Introduction { the same, name expected, pair secret }
//!   Stored (after fsync)                  ───────▶
//!                                         ◀───────   Stored (after fsync)
//! ```
//!
//! The joining box confirms first: whoever guesses must show his guess before he is told anything, so each guess
//! costs a try. Forty bits and three tries leave an attacker on the cable one chance in 3.6 × 10¹¹ for each offer; the
//! exchange itself gives him nothing to search later.
//!
//! The exchange is SPAKE2 over Ed25519 by the crate `spake2` 0.4 of RustCrypto: of the exchanges to be had it is the one
//! whose authors go on maintaining it (`cpace` has rested since its first version, 0.5 of `spake2` is a preview), and
//! writing one ourselves on a bare curve is what a house rule forbids. It has had no audit of its own; what it must give
//! here is small: one key, once, that nobody without the code has while the offer lasts. The crate does no key
//! confirmation, so that is ours. Nor does it overwrite its copy of the code, which is worth nothing once the offer is over.

mod code;
mod exchange;
mod join;
mod machine;
mod message;
mod offer;
#[cfg(test)]
mod tests;

pub use code::{Code, InvalidCode};
pub use exchange::{MAX_RECORD, OpenError, Sealed, Seed};
pub use join::Join;
pub use machine::{Agreed, Failure, Output, Person};
pub use message::{HEADER, MAX_BODY, MAX_NAME, Malformed, Reason, body_length, check, check_inner};
pub use offer::Offer;

/// Version of the messages here; another one is refused with [`Reason::Version`].
pub const VERSION: u8 = 1;
/// Wrong codes after which an offer ends. A person mistypes once, perhaps twice.
pub const MAX_TRIES: u8 = 3;
/// Connections that one offer takes, right or wrong: who only opens and closes them ends the offer, and it shows.
pub const MAX_CONNECTIONS: u16 = 64;
/// How long an offer lasts: long enough to walk to the other rack.
pub const OFFER: std::time::Duration = std::time::Duration::from_secs(300);
/// How long one exchange may take, from its connection to the last message. It is a few messages on a cable; a disk may
/// be slow to sync.
pub const EXCHANGE: std::time::Duration = std::time::Duration::from_secs(20);
