//! WireGuard beside the OpenVPN server: outside the AES-256 policy, and there only where the document switches it on.
//!
//! ```text
//!   document ── plan ──▶ ┌ Owner, a thread ────────┐ ──▶ Links     addresses and routes of the device
//!   replica  ── news ──▶ │ role, what is held      │ ──▶ Backend   userspace: a thread, device ◀▶ engine ◀▶ UDP
//!   replica  ◀── put ─── └─────────────────────────┘ ◀── where a peer is, when its last handshake was
//! ```
//!
//! | file | owns |
//! | --- | --- |
//! | here | how the program speaks to it |
//! | `owner` | the role, what both nodes hold of each peer, settings out of the plan and of files with keys |
//! | `keys` | the files with keys |
//! | `client` | what a client is given, and what the document has to say of it |
//! | `report` | how it is, as the bus tells it |
//! | `userspace` | the backend that works everywhere: its thread as seen from outside |
//! | `worker` | what that thread does |
//!
//! No session is replicated. A node that takes over asks every peer whose whereabouts are known for a handshake, one round
//! trip; a node on standby has no session at all and sends nothing.
//!
//! The gateway's private key and those shared with peers are files on both nodes: what is made on the active one, or laid into
//! its folder, goes to the other one, whose own it replaces.

mod client;
mod keys;
mod owner;
mod report;
mod userspace;
mod worker;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rempart_bus::Error;
use rempart_bus::vpn::{WireguardClient, WireguardClientRequest, WireguardKey, WireguardStatus};
use rempart_plan::wireguard::WireguardPlan;
use rempart_wireguard::{Known, PeerStatus, PublicKey};
use zeroize::Zeroizing;

use super::seam::{FromReplica, Kind, Replica};
use owner::Owner;
use report::Report;

/// What waits for the owner: the other node's values of all peers at once, and some.
const INBOX: usize = 4_096;
/// How long an answer is waited for: a slow disk has written a key by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the owner is told.
enum Input {
    Configure(Option<Box<WireguardPlan>>),
    Active,
    Standby,
    Put(Vec<u8>, Vec<u8>),
    Removed(Vec<u8>),
    Key(Vec<u8>, Zeroizing<Vec<u8>>),
    Known(PublicKey, Known),
    Report(SyncSender<Report>),
    MakeKey(bool, SyncSender<Result<WireguardKey, Error>>),
    Client(Box<WireguardClientRequest>, SyncSender<Result<WireguardClient, Error>>),
    Stop,
}

/// WireGuard of this node. Dropping it ends its threads, and the device goes.
pub struct Wireguard {
    inbox: SyncSender<Input>,
    thread: Option<JoinHandle<()>>,
}

impl Wireguard {
    /// Starts with what the document asks for, on standby, in the network namespace of this thread. Keys are files in
    /// `secrets`.
    pub fn start(plan: Option<WireguardPlan>, secrets: &Path, replica: Arc<dyn Replica>) -> io::Result<Self> {
        let (inbox, inputs) = sync_channel(INBOX);
        let owner = Owner::new(secrets.to_owned(), replica, inbox.clone());
        let thread = std::thread::Builder::new().name("wireguard".to_owned());
        let thread = Some(thread.spawn(move || owner.run(inputs))?);
        let wireguard = Self { inbox, thread };
        wireguard.configure(plan);
        Ok(wireguard)
    }

    /// What the document asks for from now on; `None` switches it off. Peers that stay keep their keys.
    pub fn configure(&self, plan: Option<WireguardPlan>) {
        self.tell(Input::Configure(plan.map(Box::new)));
    }

    /// What the replica tells: all of it may be passed on. Values of peers that are held already must come before
    /// [`FromReplica::Active`].
    pub fn hear(&self, news: &FromReplica) {
        match news {
            FromReplica::Active { .. } | FromReplica::TakeUp { .. } => self.set_active(true),
            FromReplica::Standby => self.set_active(false),
            FromReplica::Put(Kind::Wireguard, key, value) => {
                self.tell(Input::Put(key.clone(), value.to_vec()));
            }
            FromReplica::Removed(Kind::Wireguard, key) => self.tell(Input::Removed(key.clone())),
            FromReplica::Put(Kind::WireguardKey, name, value) => {
                self.tell(Input::Key(name.clone(), value.clone()));
            }
            FromReplica::Put(
                Kind::Session | Kind::Store | Kind::UsedCode | Kind::Secret | Kind::Admission,
                ..,
            )
            | FromReplica::Removed(
                Kind::Session
                | Kind::Store
                | Kind::UsedCode
                | Kind::Secret
                | Kind::Admission
                // Nobody takes a key away: what no document names is harmless, and may be named again.
                | Kind::WireguardKey,
                _,
            )
            | FromReplica::Committed(_)
            | FromReplica::Peer(_)
            | FromReplica::MakeReady { .. }
            | FromReplica::GiveUp => {}
        }
    }

    /// Whether this node carries the tunnels; [`Self::hear`] says it too.
    pub fn set_active(&self, active: bool) {
        self.tell(if active { Input::Active } else { Input::Standby });
    }

    /// How the peers are. Waits for the thread, some microseconds.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.ask(Input::Report).map(|report| report.peers).unwrap_or_default()
    }

    /// How it is, for whoever asks over the bus. Waits for the thread.
    pub fn report(&self, node: &str) -> Result<WireguardStatus, Error> {
        Ok(self.ask(Input::Report)?.document(node))
    }

    /// The gateway's key, made where there is none, or anew. Waits for the disk.
    pub fn make_key(&self, anew: bool) -> Result<WireguardKey, Error> {
        self.ask(|answer| Input::MakeKey(anew, answer))?
    }

    /// A key and a configuration for a client. Waits for the disk.
    pub fn client(&self, request: WireguardClientRequest) -> Result<WireguardClient, Error> {
        self.ask(|answer| Input::Client(Box::new(request), answer))?
    }

    fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Input) -> Result<T, Error> {
        let (answer, said) = sync_channel(1);
        self.tell(question(answer));
        let late = |_| Error::Failed("WireGuard does not answer in time".to_owned());
        said.recv_timeout(PATIENCE).map_err(late)
    }

    /// It takes them all, and ends only when it is told to.
    fn tell(&self, input: Input) {
        if self.inbox.send(input).is_err() {
            tracing::error!("the thread of WireGuard has ended; the program has to be started again");
        }
    }
}

impl Drop for Wireguard {
    fn drop(&mut self) {
        let _ = self.inbox.send(Input::Stop);
        // One that has panicked has said so.
        self.thread.take().map(JoinHandle::join);
    }
}
