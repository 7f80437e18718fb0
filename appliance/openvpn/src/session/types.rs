//! What the driver gives to a session and gets from it.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use zeroize::Zeroizing;

use super::Login;
use crate::key_exchange::{DataKeys, says_exit};
use crate::packet::{KeyId, Malformed};
use crate::token::{LoginId, TokenKey};
use crate::wrap::OpenError;

/// Times. The defaults are what stock servers do, where nothing speaks against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// From the first packet of a key to its being decided. Stock: 60 s.
    pub hand_window: Duration,
    /// From one key to the next, at the latest; up to a tenth earlier. Stock clients have 3600 s themselves, and then
    /// whoever comes first wins.
    pub rekey: Duration,
    /// A key that could not be replaced ends its session this long after it should have been.
    pub rekey_grace: Duration,
    /// How long an old key still opens packets. Not below 120 s (study §1.5).
    pub old_key: Duration,
    /// Without any packet for so long a session ends.
    pub idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            hand_window: Duration::from_secs(60),
            rekey: Duration::from_secs(3500),
            rekey_grace: Duration::from_secs(600),
            old_key: Duration::from_secs(180),
            idle: Duration::from_secs(120),
        }
    }
}

/// What is the same for all sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From [`super::tls_config`].
    pub tls: Arc<ServerConfig>,
    /// Tokens are made and verified with it. Both nodes have the same.
    pub token_key: TokenKey,
    /// Times.
    pub timing: Timing,
    /// Clients that know it get a wrapping key of their own for renegotiations.
    pub dynamic_wrapping: bool,
    /// Clients that know it get keys exported from TLS. Off, all are served like those of 2.5.
    pub exporter: bool,
}

/// Where a session stands among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Names its data packets: 24 bits.
    pub peer_id: u32,
    /// It came by TCP.
    pub tcp: bool,
    /// The node's epoch, which goes with each key that is made.
    pub epoch: u64,
}

/// What the session wants from its driver.
#[derive(Debug)]
pub enum Output {
    /// Who is this? Answer with [`super::Session::accept`], [`super::Session::reject`] or [`super::Session::pending`].
    Authenticate(Box<Login>),
    /// The answer to the question of [`super::Session::pending`].
    Answer {
        /// For which key.
        key_id: KeyId,
        /// What the person has typed.
        text: Zeroizing<String>,
    },
    /// Replicate [`super::Session::snapshot`] now, and say [`super::Session::committed`] when the other node has it, or when there is
    /// none. Until then the client hears nothing of it.
    Commit {
        /// To be given back.
        ticket: u64,
    },
    /// The snapshot has changed; nobody waits for it.
    Changed,
    /// A key of the data channel: it opens packets from now on, and seals them once the client has used it.
    Install(DataKeys),
    /// The key with this id is over.
    Retire(KeyId),
    /// No packet passes any more, in either direction. `Closed` follows.
    Cut,
    /// The session is over; everything of it can go.
    Closed(Closed),
}

/// Why a session is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The client said so.
    Left,
    /// The login was refused.
    Refused,
    /// The client cannot be served.
    Incompatible(String),
    /// It did not come to an end in time.
    HandshakeTimeout,
    /// TLS failed: wrong certificate, unknown version.
    Tls(String),
    /// The client broke the protocol.
    Protocol(&'static str),
    /// Nothing was heard for too long.
    Idle,
    /// The key is too old, and the client would not take another.
    KeyTooOld,
    /// The driver has ended it.
    Ended,
}

/// Why a packet was dropped: for counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Dropped {
    /// It does not belong to this session.
    #[error("the packet is of another session")]
    Other,
    /// It did not open.
    #[error(transparent)]
    Wrapping(#[from] OpenError),
    /// What was wrapped has no form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There is no such key, and there shall be none.
    #[error("the packet is for a key that is not there")]
    NoKey,
    /// The session is over.
    #[error("the session is over")]
    Over,
}

/// Who the client is, once it was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// SHA-256 of its certificate. A renewal comes with the same one.
    pub certificate: Option<[u8; 32]>,
    /// Its user name, or empty.
    pub user: String,
    /// The login that its tokens speak of.
    pub login: LoginId,
    /// When that was, in seconds since 1970.
    pub issued_unix_s: u64,
    /// IV_PROTO.
    pub protocol_bits: u32,
    /// What the driver wants to find again after a take-over: groups, addresses, profile.
    pub attached: Vec<u8>,
}

impl Identity {
    /// Whether the client takes its leave on the control channel: what it says in the data channel is heard only by who opens
    /// that.
    pub fn says_exit(&self) -> bool {
        says_exit(self.protocol_bits)
    }
}
