//! What the parts of `rempart-vpn` say to each other.
//!
//! ```text
//!   people ◀── begin, answer ── server ── put, remove ──▶ replica ──▶ the other node
//!          ── Verdict, Cut ──▶        ◀── Committed, Role ──
//! ```
//!
//! The server owns sockets, sessions and addresses; it blocks on nothing. `people` knows who may come in, on threads of its
//! own, because hashes are slow and directories far. `replica` keeps what both nodes must hold.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use rempart_identity::demand::Admission;
use rempart_identity::names::{DeviceId, UserName};
use rempart_identity::store::Fingerprint;
use rempart_openvpn::data::epoch::{Persisted, TakeOverEpoch};
use rempart_openvpn::message::Refusal;
use rempart_openvpn::session::Login;
use rempart_openvpn::token::Claims;
use rempart_openvpn::wrap::Metadata;
use rempart_plan::vpn::VpnPlan;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::server::status::Status;

/// Names a login that is being judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LoginTicket(pub u64);

/// Who may come in. None of the calls waits for anything.
pub trait People: Send + Sync {
    /// Whether TLS may begin with what stands in a client's wrapped key: not for a device that is revoked or unknown. What is
    /// allowed here is judged again by its certificate.
    fn may_begin(&self, metadata: Option<&Metadata>) -> bool {
        let _ = metadata;
        true
    }
    /// Judges a login; the verdict comes to the server as [`FromPeople::Verdict`].
    fn begin(&self, ticket: LoginTicket, from: SocketAddr, login: Box<Login>);
    /// What the person typed after [`Verdict::Question`].
    fn answer(&self, ticket: LoginTicket, text: Zeroizing<String>);
    /// Nobody waits for this login any more. A question that became a refusal is not forgotten: its answer comes with
    /// another login, under another ticket.
    fn forget(&self, ticket: LoginTicket);
}

/// What `people` tells the server.
#[derive(Debug)]
pub enum FromPeople {
    /// What came out of a login.
    Verdict(LoginTicket, Verdict),
    /// Sessions that may no longer be: all of those that match.
    Cut(CutOff),
    /// What TLS and the wrapping of packets are made of has changed: a new certificate, another list of revoked ones.
    Material(Box<Material>),
}

/// What came out of a login.
#[derive(Debug)]
pub enum Verdict {
    /// Comes in.
    Accepted {
        /// As whom.
        admission: Box<Admission>,
        /// The beginning of a login that is carried on with a token.
        carried_on: Option<Claims>,
    },
    /// A question for the person (a code): asked while connecting where the client can, else by a refusal that makes
    /// the client ask.
    Question {
        /// Shown to the person.
        text: String,
        /// For a client that cannot be asked while it connects.
        refusal: Box<Refusal>,
    },
    /// Stays out.
    Refused(Box<Refusal>),
}

/// Whose sessions end at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CutOff {
    /// All of a person.
    User(UserName),
    /// Those with this certificate.
    Certificate(Fingerprint),
    /// Those of a person whose groups are no longer those that were admitted.
    Groups(UserName, BTreeSet<String>),
}

/// What TLS and the wrapping of packets are made of.
#[derive(Debug)]
pub struct Material {
    /// The server's certificate and those between it and the authority, DER.
    pub chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// Its key.
    pub key: rustls::pki_types::PrivateKeyDer<'static>,
    /// Judges clients' certificates: authorities, revoked ones, purposes.
    pub clients: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    /// The key that opens the wrapped client keys of tls-crypt-v2, 128 bytes.
    pub wrapping: Zeroizing<Vec<u8>>,
    /// A key shared by all clients (tls-crypt v1), where an imported set-up has one: 256 bytes.
    pub shared: Option<Zeroizing<Vec<u8>>>,
    /// Makes and verifies auth-tokens: 32 bytes, the same on both nodes.
    pub token: Zeroizing<Vec<u8>>,
}

/// What is replicated, by kind. A key is unique within its kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A session: key = peer id, 4 bytes; value = snapshot, origins of its keys, times, counters.
    Session,
    /// The store of people: one value.
    Store,
    /// A code that was used: key = user name; value = step. Not a change of the whole store for each login.
    UsedCode,
    /// Keys of the server: wrapping, tokens.
    Secret,
    /// Groups that a directory or RADIUS gave at a login, for its renewals by token: key = 32 bytes that name person and
    /// certificate.
    Admission,
    /// A WireGuard peer: key = its public key; value = where it is, its last handshake, the stamp of our last initiation.
    Wireguard,
    /// A key of WireGuard: key = the name of the secret; value = 32 bytes. Private ones, and those shared with a peer.
    WireguardKey,
}

/// What both nodes hold. None of the calls waits for anything.
pub trait Replica: Send + Sync {
    /// Keeps a value, here and there. [`FromReplica::Committed`] with the same ticket follows when the other node has it, or
    /// at once where there is none to have it.
    fn put(&self, kind: Kind, key: &[u8], value: Zeroizing<Vec<u8>>) -> ReplicaTicket;
    /// Takes it away, here and there.
    fn remove(&self, kind: Kind, key: &[u8]);
    /// What [`FromReplica::MakeReady`] asked for is in force.
    fn prepared(&self, number: u64) {
        let _ = number;
    }
}

/// Names a change that waits to be there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReplicaTicket(pub u64);

/// Sessions as they are held: by their keys.
pub type Sessions = Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>;

/// What the replica tells the server and `people`.
#[derive(Debug)]
pub enum FromReplica {
    /// The other node has everything up to this ticket, or there is no other node.
    Committed(ReplicaTicket),
    /// This node is active from now on; the epoch is on disk. What is held comes with it: sessions are to be carried on.
    Active {
        /// The epoch, before it has ranges of packet ids: the server turns it into the right to make keys together with the
        /// keys of `sessions`, which get their ranges then or never.
        reign: Box<Persisted<TakeOverEpoch>>,
        /// The store that the other node last introduced itself with.
        peer: Option<rempart_openvpn::data::epoch::StoreId>,
        /// Every session that is held.
        sessions: Sessions,
    },
    /// The other node is about to give the role away, in order: everything that can be done before is to be done now, and to
    /// be said to be done ([`Replica::prepared`]). Nothing is served yet.
    MakeReady {
        /// To be given back.
        number: u64,
        /// The epoch in which this node will be active; it is on disk.
        reign: Box<Persisted<TakeOverEpoch>>,
        /// Every session that is held now.
        sessions: Sessions,
    },
    /// This node is active from now on, in the epoch of the last [`Self::MakeReady`].
    TakeUp {
        /// As with [`Self::Active`].
        peer: Option<rempart_openvpn::data::epoch::StoreId>,
        /// Every session that is held: most are as they were.
        sessions: Sessions,
    },
    /// Nothing comes of the last [`Self::MakeReady`].
    GiveUp,
    /// The other node's store is now known, or another one.
    Peer(Option<rempart_openvpn::data::epoch::StoreId>),
    /// This node is on standby from now on: everything of the sessions is dropped, as soon as what is under way is out.
    Standby,
    /// The other node has put a value (never a session: those come with `Active`).
    Put(Kind, Vec<u8>, Zeroizing<Vec<u8>>),
    /// The other node has taken a value away.
    Removed(Kind, Vec<u8>),
}

/// What the server does for the bus. None of the calls waits; answers come when the server's thread is there.
pub trait Server: Send + Sync {
    /// Who is on, and the counters.
    fn status(&self) -> oneshot::Receiver<Status>;
    /// Ends sessions; how many there were. The clients are told, and come back only by themselves.
    fn disconnect(&self, whom: Whom) -> oneshot::Receiver<usize>;
    /// What the document asks for from now on; `None`: no remote access. Only what changes is touched, but whoever is
    /// connected is put into the live sets again, each time.
    fn configure(&self, plan: Option<Box<VpnPlan>>);
}

/// Whose sessions an administrator ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whom {
    /// One, by [`super::server::status::SessionStatus::id`].
    Session(u32),
    /// All of a person.
    User(UserName),
    /// Those of a device.
    Device(DeviceId),
    /// All.
    Everybody,
}

/// How the other parts speak to the server: from any thread, without waiting.
pub type Tell<T> = Arc<dyn Fn(T) + Send + Sync>;
