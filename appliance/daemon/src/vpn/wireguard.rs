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
//! | `userspace` | the backend that works everywhere: its thread as seen from outside |
//! | `worker` | what that thread does |
//!
//! No session is replicated. A node that takes over asks every peer whose whereabouts are known for a handshake, one round
//! trip; a node on standby has no keys at all and sends nothing.

mod keys;
mod owner;
mod userspace;
mod worker;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rempart_plan::wireguard::WireguardPlan;
use rempart_wireguard::{Known, PeerStatus, PublicKey};

use super::seam::{FromReplica, Kind, Replica};
use owner::Owner;

/// What waits for the owner: the other node's values of all peers at once, and some.
const INBOX: usize = 4_096;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the owner is told.
enum Input {
    Configure(Option<Box<WireguardPlan>>),
    Active,
    Standby,
    Put(Vec<u8>, Vec<u8>),
    Removed(Vec<u8>),
    Known(PublicKey, Known),
    Status(SyncSender<Vec<PeerStatus>>),
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
            FromReplica::Put(
                Kind::Session | Kind::Store | Kind::UsedCode | Kind::Secret | Kind::Admission,
                ..,
            )
            | FromReplica::Removed(
                Kind::Session | Kind::Store | Kind::UsedCode | Kind::Secret | Kind::Admission,
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
        let (answer, status) = sync_channel(1);
        self.tell(Input::Status(answer));
        status.recv_timeout(PATIENCE).unwrap_or_default()
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
