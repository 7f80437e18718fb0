//! Who may come in: logins judged on threads of their own, people managed, profiles made, sessions cut.
//!
//! ```text
//!   server ── begin, answer ──▶ thinking ▶ desk ▶ asking ──▶ directory, RADIUS       desk: pure, judges
//!          ◀──── Verdict ───────────┴────────┴─── kept on both nodes                 office: the state and its changes
//!   bus ── add, export, revoke ──▶ office ── store ──▶ disk, replica                 upkeep: one thread, what is due
//!          ◀──── Cut, Material ──────┘ ▲
//!   replica ── Put, Active ──▶ upkeep ─┘
//! ```
//!
//! | threads | what for | so many |
//! | --- | --- | --- |
//! | thinking | hashes, a tenth of a second of one core each | as many as cores, 4 at most |
//! | asking | directory and RADIUS, which block for seconds when they are away | 16 |
//! | upkeep | what is due, what the other node has sent | 1 |
//!
//! Owned here: people, devices, the authority, the server's keys, all of it the same on both nodes. Not owned: sessions and
//! sockets (`server`), how the other node gets it (`replica`). The active node alone changes anything.

mod admin;
mod authorities;
mod back;
mod cuts;
mod desk;
mod devices;
mod files;
mod judging;
mod material;
mod office;
mod policy;
mod pool;
mod profile;
mod seats;
mod test_login;
mod upkeep;
mod views;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rempart_bus::vpn::{DisconnectRequest, SessionView};
use rempart_identity::demand::Language;
use rempart_openvpn::session::Login;
use rempart_openvpn::wrap::Metadata;
use rempart_plan::vpn::VpnPlan;
use zeroize::Zeroizing;

use super::seam::{FromPeople, FromReplica, LoginTicket, People, Replica, Tell};
pub use files::NotOpened;
use judging::Job;
pub use office::Office;

/// The server's sessions, as people who manage them see them. Calls come from the bus and may take their time.
pub trait ServerView: Send + Sync {
    /// All sessions of this node.
    fn sessions(&self) -> Vec<SessionView>;
    /// Ends sessions: how many.
    fn disconnect(&self, whom: &DisconnectRequest) -> u32;
    /// The document asks for this, or for no VPN any more.
    fn configure(&self, plan: Option<VpnPlan>);
    /// The kernel is to carry sessions, and this is why it does not.
    fn offload_fault(&self) -> Option<String> {
        None
    }
}

/// Where people are kept and how they are spoken to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The state folder of the node.
    pub state: PathBuf,
    /// The name of this node.
    pub node: String,
    /// What people at clients are told is in this language.
    pub language: Language,
}

impl Settings {
    /// The language as `setlocale(3)` reads it for messages.
    pub fn language_of(env: impl Fn(&str) -> Option<String>) -> Language {
        let named = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(env).find(|v| !v.is_empty());
        match named {
            Some(name) if name.starts_with("fr") => Language::French,
            Some(_) | None => Language::English,
        }
    }
}

/// People, with the threads that judge them. Dropped, the threads end when they have done what they are at.
pub struct Registry {
    office: Arc<Office>,
}

impl Registry {
    /// Reads what is kept and starts the threads. This node is on standby until the replica says otherwise. `tell` must not
    /// call back: a channel's end.
    pub fn open(
        settings: Settings,
        replica: Arc<dyn Replica>,
        tell: Tell<FromPeople>,
    ) -> Result<Self, NotOpened> {
        let state = settings.state.clone();
        let office = Arc::new(Office::open(settings, replica, tell)?);
        judging::start(&office)
            .and_then(|()| upkeep::start(&office))
            .map_err(|error| NotOpened::Io { path: state, error })?;
        Ok(Self { office })
    }

    /// What the replica says; of interest here is what it is about people. Does not wait.
    pub fn handle(&self, news: &FromReplica) {
        self.office.hear(news);
    }

    /// Where sessions are found.
    pub fn attach(&self, server: Arc<dyn ServerView>) {
        self.office.attach(server);
    }

    /// For the bus.
    pub fn office(&self) -> Arc<Office> {
        self.office.clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.office.close();
    }
}

impl People for Registry {
    /// A profile that was made elsewhere names no device of ours, and is judged by its login.
    fn may_begin(&self, metadata: Option<&Metadata>) -> bool {
        let device = metadata.and_then(profile::device_of);
        device.is_none_or(|device| self.office.knows(device))
    }

    fn begin(&self, ticket: LoginTicket, from: SocketAddr, login: Box<Login>) {
        self.office.submit(Job::Begin(ticket, from, login));
    }

    fn answer(&self, ticket: LoginTicket, text: Zeroizing<String>) {
        self.office.submit(Job::Answer(ticket, text));
    }

    fn forget(&self, ticket: LoginTicket) {
        self.office.submit(Job::Forget(ticket));
    }
}
