//! One session, as the server knows it.

use std::net::SocketAddr;
use std::time::Instant;

use rempart_openvpn::data::{KeySerial, Path, PeerId};
use rempart_openvpn::message::{Notice, Refusal};
use rempart_openvpn::session::Session;
use rempart_tunnel::STREAM;

use super::grant::Grant;
use super::keys::{Held, Ready};
use super::value::{KeyValue, Value};

/// Names a session in this process; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Handle(pub u64);

/// Why the server ends a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The person may not come in any more, or the certificate is revoked.
    Barred,
    /// The person is in other groups now: the client comes back as a member of these.
    OtherGroups,
    /// An administrator has said so.
    Administrator,
    /// The group's limit of a session is over: the person is asked anew.
    Limit,
    /// The document gives other addresses, or the group is gone: the client comes back.
    Reconfigured,
    /// The same device, or the same person, has come in anew.
    Replaced,
}

impl Ending {
    /// What the client is told.
    pub fn notice(self) -> Notice {
        let session = |text: &str| Notice::Refused(Refusal::Session(text.to_owned()));
        match self {
            Self::Barred => Notice::Refused(Refusal::Failed("Access is no longer allowed.".to_owned())),
            Self::Administrator => Notice::Halt("An administrator has ended the session.".to_owned()),
            Self::Limit => session("The session is over. Log in again."),
            Self::OtherGroups | Self::Reconfigured => {
                Notice::Restart { same_server: true, text: "the server has other settings".to_owned() }
            }
            Self::Replaced => Notice::Halt("The same device has connected elsewhere.".to_owned()),
        }
    }

    /// For the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Barred => "access withdrawn",
            Self::OtherGroups => "groups changed",
            Self::Administrator => "ended by an administrator",
            Self::Limit => "session limit",
            Self::Reconfigured => "configuration changed",
            Self::Replaced => "replaced by a new session",
        }
    }
}

/// Packets and bytes in one direction, as of the last report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Packets, since this process has it.
    pub packets: u64,
    /// Bytes, since this process has it.
    pub bytes: u64,
    /// Bytes before that.
    pub before: u64,
}

impl Traffic {
    /// All bytes.
    pub fn total(&self) -> u64 {
        self.before.saturating_add(self.bytes)
    }
}

/// A session.
pub struct Entry {
    pub session: Session,
    pub path: Path,
    /// Our address there.
    pub local: SocketAddr,
    pub peer: PeerId,
    /// Who it is; none before the login was accepted.
    pub grant: Option<Grant>,
    /// Whom the client says that it is, for the log of refusals.
    pub claimed: String,
    /// The client's program, as it says.
    pub client: String,
    /// The data path has it.
    pub carried: bool,
    /// It has been up.
    pub up: bool,
    /// It has been put where the other node has it.
    pub replicated: bool,
    /// The session in whose place it begins.
    pub before: Option<Handle>,
    /// A session in its place has been put where the other node has it: this one is put no more.
    pub succeeded: bool,
    /// Keys in use, the newest last.
    pub keys: Vec<Held>,
    /// Keys that wait for the other node.
    pub ready: Vec<Ready>,
    /// The key on which the client last sent.
    pub echo: Option<KeySerial>,
    pub received: Traffic,
    pub sent: Traffic,
    pub heard: Instant,
    pub renewed_unix_s: Option<u64>,
    /// It comes from the other node.
    pub carried_on: bool,
    /// When the group's limit of a session is reached.
    pub limit: Option<Instant>,
    /// When its timer goes off.
    pub wake: Option<Instant>,
    /// Why the server has ended it.
    pub ending: Option<Ending>,
    /// Why the login was refused, for the log.
    pub refusal: Option<String>,
    /// The data path was told of its end and has not given its last counters: of what came, and of what was sent.
    pub last_missing: [bool; 2],
    /// When that was, in seconds since 1970.
    pub ended_unix_s: Option<u64>,
}

impl Entry {
    pub fn is_tcp(&self) -> bool {
        self.path.local == STREAM
    }

    /// As the other node gets it; none before there is something to carry on.
    pub fn value(&self) -> Option<Value> {
        let snapshot = self.session.snapshot()?;
        let ready = self.ready.iter().map(|ready| &ready.held);
        let keys: Vec<KeyValue> = self
            .keys
            .iter()
            .chain(ready)
            .filter(|held| snapshot.keys.iter().any(|key| key.keys.key_id == held.id))
            .map(|held| KeyValue { id: held.id, origin: held.origin, highest: held.highest })
            .collect();
        let echo = self.keys.iter().find(|held| Some(held.serial) == self.echo);
        Some(Value {
            snapshot,
            local: self.local,
            grant: self.grant.clone()?,
            renewed_unix_s: self.renewed_unix_s,
            bytes_in: self.received.total(),
            bytes_out: self.sent.total(),
            echo: echo.map(|held| held.id),
            keys,
        })
    }
}
