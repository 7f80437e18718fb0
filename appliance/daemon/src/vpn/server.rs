//! The server of remote access: every session, its addresses and keys, and what follows from what happens to them. Without
//! clock, socket or thread; what it calls of others ([`People`], [`Replica`]) waits for nothing.
//!
//! ```text
//!             control packets, events of the data path, time
//!                               │
//!   people ── verdicts, cuts ─▶ │ ──▶ Action: control packets, sessions and keys of the data path,
//!   replica ─ committed, role ▶ Machine        what is reachable, TCP connections to end
//!   bus ───── plan, disconnect ▶│ ──▶ People::begin, Replica::put, …
//! ```
//!
//! | file | owns |
//! | --- | --- |
//! | here | what the driver sees; the map of sessions; time |
//! | `entry`, `grant` | one session, as the server knows it |
//! | `control` | packets of the control channel; the beginning and the end of a session |
//! | `login` | who comes in, with which addresses; limits |
//! | `path` | keys, moves and counters of the data path |
//! | `takeover`, `lay` | active, standby, planned moves, and the renewal of keys after it |
//! | `admin` | the plan, certificates, cut-offs, what is shown |
//! | `addresses`, `options`, `keys`, `value` | addresses, PUSH_REPLY, data keys, what is replicated |
//! | `record`, `leaving` | the log of sessions; its last line waits for the last counters |
//!
//! Refuses to own: who may come in, what is on the other node, sockets and devices.
//!
//! A session has a [`Handle`] in this process and a peer id for its client and the other node. A client that starts over in
//! place has two sessions for a while, with one peer id: the one before is dropped when the new one has its first key.

mod addresses;
mod admin;
mod control;
mod entry;
mod grant;
mod keys;
mod lay;
mod leaving;
mod login;
mod options;
mod path;
mod record;
pub mod status;
mod takeover;
#[cfg(test)]
mod tests;
pub mod value;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rempart_config::model::gateways as gateways_of;
use rempart_openvpn::Now;
use rempart_openvpn::cookie::Start;
use rempart_openvpn::data::epoch::{Reign, StoreId, TakeOverEpoch};
use rempart_openvpn::data::fresh::FreshKey;
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{KeySerial, Path, PeerId};
use rempart_openvpn::packet::{KeyId, SessionId};
use rempart_openvpn::session::Settings;
use rempart_plan::vpn::VpnPlan;
use rempart_tunnel::Event;

use super::seam::{FromPeople, FromReplica, LoginTicket, Material, People, Replica, ReplicaTicket};
use entry::{Entry, Handle};
pub use grant::Grant;
use status::Counters;

/// Sessions that are beginning: some 50 KiB each while TLS runs. A whole company comes back at once after an outage.
pub const MAX_STARTING: usize = 512;
/// Of these from one address: a company behind one translator.
pub const MAX_STARTING_EACH: usize = 256;
/// How often counters are read, and clients that heard nothing since are pinged.
const REPORT: Duration = Duration::from_secs(5);
/// How long changes that nobody waits for are gathered.
const GATHER: Duration = Duration::from_millis(100);
/// The soonest that a session is looked at again when nothing happens: a tick that no client notices.
const SOONEST: Duration = Duration::from_millis(2);
/// A session of which nothing was heard for so long gives way to a new one of the same person: two pings and a half.
const STALE: Duration = Duration::from_secs(25);

/// What the server is made with.
pub struct Surroundings {
    /// Who may come in.
    pub people: Arc<dyn People>,
    /// What both nodes hold.
    pub replica: Arc<dyn Replica>,
    /// Random bytes from the system's source.
    pub random: Box<dyn FnMut() -> [u8; 32] + Send>,
}

/// What the driver does, in this order.
#[derive(Debug)]
pub enum Action {
    /// Sends a packet of the control channel.
    Send(Path, Vec<u8>),
    /// Tells the data path something.
    Data(Data),
    /// These networks, of a single address or behind a client, are reachable from now on.
    Reachable(Vec<IpNet>),
    /// They are not any more. `forget`: what is under way to and from them ends at once.
    Unreachable {
        /// Which.
        networks: Vec<IpNet>,
        /// Whether their connections end.
        forget: bool,
    },
    /// A TCP connection has shown that it holds a key of ours: from now on its session has the deadlines.
    Trust(SocketAddr),
    /// A TCP connection is over, once everything that was sent is out.
    HangUp(SocketAddr),
    /// All TCP connections are.
    HangUpAll,
    /// Says when all that came before it is in force: [`Machine::handle_settled`].
    Settle(u64),
}

/// What the data path is told.
#[derive(Debug)]
pub enum Data {
    /// A session, or another one under the same peer id.
    Add {
        /// Its name.
        peer: PeerId,
        /// Where it is.
        path: Path,
        /// Its inner addresses and networks.
        own: Vec<IpNet>,
        /// The key on which the client last sent.
        echo: Option<KeySerial>,
    },
    /// The end of one.
    Remove(PeerId),
    /// A key of which nothing was used yet: whoever carries the session has it from now on, alone.
    FreshKey {
        /// Whose.
        peer: PeerId,
        /// Its number.
        serial: KeySerial,
        /// The key.
        key: Box<FreshKey>,
    },
    /// A key that stays with this program.
    KeptKey {
        /// Whose.
        peer: PeerId,
        /// Its number.
        serial: KeySerial,
        /// For what comes.
        opener: Box<Opener>,
        /// For what goes.
        sealer: Option<Box<Sealer>>,
    },
    /// The end of a key.
    RemoveKey(PeerId, KeySerial),
    /// The client is elsewhere.
    Move(PeerId, Path),
    /// A keep-alive packet.
    Ping(PeerId),
    /// The counters of all sessions.
    Report,
}

/// The server.
pub struct Machine {
    people: Arc<dyn People>,
    replica: Arc<dyn Replica>,
    random: Box<dyn FnMut() -> [u8; 32] + Send>,

    plan: Option<Arc<VpnPlan>>,
    material: Option<Box<Material>>,
    settings: Option<Arc<Settings>>,
    start: Option<Start>,
    reign: Option<Reign>,
    /// What `Active` brought, until the server can serve.
    claimed: Option<takeover::Claimed>,
    /// The role is about to come.
    prepared: Option<takeover::Claimed>,
    /// It is gone.
    lingering: Option<takeover::Lingering>,
    other: Option<StoreId>,

    entries: BTreeMap<Handle, Entry>,
    names: BTreeMap<(Path, SessionId), Handle>,
    /// Whose session the data path has under a peer id.
    carried: BTreeMap<PeerId, Handle>,
    /// How many sessions have a peer id: two while one starts over in place.
    peers: BTreeMap<PeerId, usize>,
    next_peer: u32,
    next_handle: u64,
    next_login: u64,
    serials: keys::Serials,
    addresses: addresses::Addresses,
    logins: BTreeMap<LoginTicket, (Handle, KeyId)>,
    /// When they are told to wait, if there is no verdict by then; in the order of time.
    slow: VecDeque<(Instant, LoginTicket)>,
    waiting: VecDeque<(ReplicaTicket, Handle, u64)>,
    starting: usize,

    timers: BTreeSet<(Instant, Handle)>,
    /// Sessions that are over and whose last counters have not come.
    leaving: BTreeMap<PeerId, leaving::Leaving>,
    changed: BTreeSet<Handle>,
    put_at: Option<Instant>,
    report_at: Option<Instant>,
    renewals: takeover::Renewals,

    actions: VecDeque<Action>,
    counters: Counters,
}

impl Machine {
    /// Without a plan, a certificate or a role: it serves nobody until it has all three.
    pub fn new(surroundings: Surroundings) -> Self {
        let Surroundings { people, replica, mut random } = surroundings;
        let [a, b, c, ..] = random();
        Self {
            people,
            replica,
            random,
            plan: None,
            material: None,
            settings: None,
            start: None,
            reign: None,
            claimed: None,
            prepared: None,
            lingering: None,
            other: None,
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            carried: BTreeMap::new(),
            peers: BTreeMap::new(),
            next_peer: u32::from_be_bytes([0, a, b, c]),
            next_handle: 0,
            next_login: 0,
            serials: keys::Serials::default(),
            addresses: addresses::Addresses::default(),
            logins: BTreeMap::new(),
            slow: VecDeque::new(),
            waiting: VecDeque::new(),
            starting: 0,
            timers: BTreeSet::new(),
            leaving: BTreeMap::new(),
            changed: BTreeSet::new(),
            put_at: None,
            report_at: None,
            renewals: takeover::Renewals::default(),
            actions: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.timers.first().map(|(at, _)| *at);
        let leaving = self.leaving.values().map(|leaving| leaving.until).min();
        let lingering = self.lingering.as_ref().map(|lingering| lingering.until);
        let slow = self.slow.front().map(|(at, _)| *at);
        let all = [first, slow, self.put_at, self.report_at, self.renewals.next(), leaving, lingering];
        all.into_iter().flatten().min()
    }

    /// What `people` says.
    pub fn handle_people(&mut self, now: Now, news: FromPeople) {
        match news {
            FromPeople::Verdict(ticket, verdict) => self.judge(now, ticket, verdict),
            FromPeople::Cut(cut) => self.cut(now, &cut),
            FromPeople::Material(material) => self.renew_material(now, material),
        }
    }

    /// What `replica` says.
    pub fn handle_replica(&mut self, now: Now, news: FromReplica) {
        match news {
            FromReplica::Committed(ticket) => self.committed(now, ticket),
            FromReplica::Active { reign, peer, sessions } => {
                // What is heard of the other node before this one can serve counts, too.
                self.other = peer;
                self.claim(now, *reign, sessions);
            }
            FromReplica::MakeReady { number, reign, sessions } => self.make_ready(number, *reign, sessions),
            FromReplica::TakeUp { peer, sessions } => {
                self.other = peer;
                self.take_up(now, sessions);
            }
            FromReplica::GiveUp => self.give_up(),
            FromReplica::Peer(store) => self.meet(now, store),
            FromReplica::Standby => self.stand_by(now),
            // What people and certificates are made of is not the server's.
            FromReplica::Put(..) | FromReplica::Removed(..) => {}
        }
    }

    /// What the data path says.
    pub fn handle_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Moved { peer, path } => self.moved(now, peer, path),
            Event::Switched { peer, serial } => self.switched(now, peer, serial),
            Event::Due { peer, serial: _ } => self.due(now, peer),
            Event::Left { peer } => self.left(now, peer),
            Event::Report(half) => self.count(now, half),
            Event::Last(half) => self.count_last(now, half),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((at, handle)) = self.timers.first().copied()
            && at <= now.instant
        {
            self.timers.remove(&(at, handle));
            self.wake(now, handle);
        }
        if self.report_at.is_some_and(|at| at <= now.instant) {
            self.report_at = Some(now.instant + REPORT);
            self.actions.push_back(Action::Data(Data::Report));
        }
        self.announce_slow(now);
        self.renew_next(now);
        self.give_up_leaving(now);
        if self.lingering.as_ref().is_some_and(|lingering| lingering.until <= now.instant) {
            self.end_lingering();
        }
        if self.put_at.is_some_and(|at| at <= now.instant) {
            self.put_changed();
        }
    }

    /// The time of a session has come.
    fn wake(&mut self, now: Now, handle: Handle) {
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        entry.wake = None;
        if entry.limit.is_some_and(|limit| limit <= now.instant) {
            entry.limit = None;
            self.end(now, handle, entry::Ending::Limit);
            return;
        }
        entry.session.handle_timeout(now);
        self.drain(now, handle);
    }

    /// Serves: all that is needed is there.
    pub fn serves(&self) -> bool {
        self.reign.is_some() && self.start.is_some()
    }

    fn seed(&mut self) -> [u8; 32] {
        (self.random)()
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("serves", &self.serves())
            .field("sessions", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// Our addresses in the tunnel: the first host of each pool.
pub fn gateways(plan: &VpnPlan) -> Vec<IpNet> {
    plan.groups.iter().flat_map(|group| gateways_of(group.pool4, group.pool6)).collect()
}
