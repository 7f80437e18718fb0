//! The data path: one shard, or several between which the sessions are shared out.
//!
//! ```text
//!   UDP ─ data, by peer id ──▶ shard n ──▶ queue n of the device ──▶ kernel
//!       ─ all else ──────────▶ shard 0
//!   kernel ─ by destination (`Steering`) ──▶ queue n ──▶ shard n ──▶ UDP, from the same address and port
//! ```
//!
//! A session belongs to shard *peer id modulo their number*, so its packet ids come from one thread and its windows to another, and
//! nothing of it overtakes itself. Clients by TCP all belong to shard 0, where the streams are fed. The kernel finds the
//! shard by the same number on the way in, and by a map on the way out, which has a session's networks before the session has a
//! key. Where the map cannot be made there is one shard.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rempart_config::model::Device;
use rempart_openvpn::data::{DATA_V2, Path, PeerId};
use rempart_system::tunnel::{Queue, Socket, Steering};
use rempart_tunnel::{Feeder, Gone, MAX_SOCKETS, Outlets, STREAM, Setup, Shard};

use super::super::server::Data;
use super::{Broken, CAPACITY};

/// The most shards: each has two threads, and what they move is more than the cards of such a box.
pub const MAX_SHARDS: usize = 8;
/// Networks that the map has room for: of each session two addresses, and those behind some.
const NETWORKS: u32 = 4 * CAPACITY as u32;

/// How many shards pay on this machine: each keeps two processors busy.
pub fn fitting() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).clamp(1, MAX_SHARDS)
}

/// Sockets of one address, one for each shard, in the order in which they were bound.
type Bound = Vec<Arc<Socket>>;

/// The data path at work.
pub struct Line {
    shards: Vec<Shard>,
    steering: Option<Steering>,
    /// The device, whose name cannot change.
    pub device: Device,
    bound: Vec<(SocketAddr, Bound)>,
    /// Of each session its shard and its networks, and whose each network is: of several the last one's.
    sessions: BTreeMap<PeerId, (usize, Vec<IpNet>)>,
    owners: BTreeMap<IpNet, Vec<PeerId>>,
}

impl Line {
    /// Makes the device, and so many shards as may be.
    pub fn open(device: Device, wanted: usize, outlets: &Outlets) -> Result<Self, Broken> {
        let steering = (wanted > 1).then(|| Steering::new(NETWORKS)).transpose().unwrap_or_else(|error| {
            tracing::info!(%error, "the kernel lets us steer no packets: one shard for all sessions");
            None
        });
        let mut line = Self {
            shards: Vec::new(),
            steering,
            device,
            bound: Vec::new(),
            sessions: BTreeMap::new(),
            owners: BTreeMap::new(),
        };
        let mut count = if line.steering.is_some() { wanted.min(MAX_SHARDS) } else { 1 };
        while line.shards.len() < count {
            let queue = Queue::open(&line.device)?;
            if let (0, Some(steering)) = (line.shards.len(), &line.steering)
                && let Err(error) = steering.attach(&queue)
            {
                tracing::info!(%error, "the kernel lets us steer no packets: one shard for all sessions");
                (line.steering, count) = (None, 1);
            }
            let number = line.shards.len();
            let setup = Setup { number, queue, sockets: Vec::new(), capacity: CAPACITY };
            let shard = Shard::start(setup, outlets.clone()).map_err(super::io("starting the data path"))?;
            line.shards.push(shard);
        }
        tracing::debug!(shards = count, "the data path is there");
        Ok(line)
    }

    /// Where packets that came by streams go.
    pub fn feeder(&self) -> Feeder {
        self.first().feeder()
    }

    /// There is one at least.
    fn first(&self) -> &Shard {
        self.shards.first().unwrap_or_else(|| unreachable!("a line has a shard"))
    }

    /// Listens at these addresses from now on; those where it can.
    pub fn listen(&mut self, wanted: &[SocketAddr]) -> Result<Vec<SocketAddr>, Gone> {
        let mut known: BTreeMap<SocketAddr, Bound> = std::mem::take(&mut self.bound).into_iter().collect();
        let count = self.shards.len();
        let bind = |local: &SocketAddr| Some((*local, known.remove(local).or_else(|| bind(*local, count))?));
        self.bound = wanted.iter().filter_map(bind).take(MAX_SOCKETS).collect();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let own = |bound: &Bound| bound.get(number).cloned();
            shard.set_sockets(self.bound.iter().filter_map(|(_, bound)| own(bound)).collect())?;
        }
        Ok(self.bound.iter().map(|(local, _)| *local).collect())
    }

    /// Whether all threads run.
    pub fn is_alive(&self) -> bool {
        self.shards.iter().all(Shard::is_alive)
    }

    /// Sends a packet of the control channel. Sockets of one address are alike to whoever gets it.
    pub fn send_control(&self, path: Path, packet: &[u8]) -> io::Result<()> {
        self.first().send_control(path, packet)
    }

    /// Does what the machine wants of the data path.
    pub fn tell(&mut self, data: Data) -> Result<(), Gone> {
        match data {
            Data::Add { peer, path, own, echo } => {
                let number = self.place(peer, path);
                if self.sessions.get(&peer).is_some_and(|(before, _)| *before != number) {
                    self.of(peer).remove(peer)?;
                }
                self.forget(peer);
                self.remember(peer, number, &own);
                self.of(peer).add(peer, path, own, echo)
            }
            Data::Remove(peer) => {
                let done = self.of(peer).remove(peer);
                self.forget(peer);
                done
            }
            Data::Key { peer, serial, opener, sealer } => {
                self.of(peer).open_with(peer, serial, *opener)?;
                sealer.map_or(Ok(()), |sealer| self.of(peer).seal_with(peer, serial, *sealer))
            }
            Data::RemoveKey(peer, serial) => self.of(peer).remove_key(peer, serial),
            Data::Move(peer, path) => self.of(peer).move_to(peer, path),
            Data::Ping(peer) => self.of(peer).ping(peer),
            Data::Report => self.shards.iter().try_for_each(Shard::report),
        }
    }

    /// The shard of a session that begins.
    fn place(&self, peer: PeerId, path: Path) -> usize {
        let stream = path.local == STREAM;
        if stream { 0 } else { usize::try_from(peer.get()).unwrap_or(0) % self.shards.len().max(1) }
    }

    /// The shard of a session.
    fn of(&self, peer: PeerId) -> &Shard {
        let number = self.sessions.get(&peer).map_or(0, |(number, _)| *number);
        self.shards.get(number).unwrap_or_else(|| self.first())
    }

    fn remember(&mut self, peer: PeerId, number: usize, own: &[IpNet]) {
        let own: Vec<IpNet> = own.iter().map(IpNet::trunc).collect();
        for net in &own {
            // An address that another session has changes hands.
            self.owners.entry(*net).or_default().push(peer);
            self.steer(*net, Some(number));
        }
        self.sessions.insert(peer, (number, own));
    }

    fn forget(&mut self, peer: PeerId) {
        let Some((_, own)) = self.sessions.remove(&peer) else { return };
        for net in own {
            let Some(owners) = self.owners.get_mut(&net) else { continue };
            owners.retain(|owner| *owner != peer);
            let next = owners.last().copied();
            if next.is_none() {
                self.owners.remove(&net);
            }
            let number = next.and_then(|next| self.sessions.get(&next)).map(|(number, _)| *number);
            self.steer(net, number);
        }
    }

    /// What goes to `net` comes to this shard from now on, or to none in particular.
    fn steer(&self, net: IpNet, number: Option<usize>) {
        let Some(steering) = &self.steering else { return };
        let done = match number {
            Some(number) => steering.insert(net, u32::try_from(number).unwrap_or(0)),
            None => steering.remove(net),
        };
        // It comes to shard 0 then, which does not know it.
        if let Err(error) = done {
            tracing::warn!(%net, %error, "the kernel is not told which shard a client belongs to");
        }
    }
}

/// A socket for each shard.
fn bind(local: SocketAddr, shards: usize) -> Option<Bound> {
    let bind = || -> io::Result<Bound> {
        let bound = (0..shards).map(|_| Socket::bind(local, shards > 1).map(Arc::new));
        let bound = bound.collect::<io::Result<Bound>>()?;
        if let (Some(first), true) = (bound.first(), shards > 1) {
            first.spread(DATA_V2, u8::try_from(shards).unwrap_or(1))?;
        }
        Ok(bound)
    };
    let bound = bind().inspect_err(|error| {
        tracing::error!(%local, %error, "cannot listen there by UDP: does another program?");
    });
    bound.ok()
}

const _: () = assert!(MAX_SHARDS <= u8::MAX as usize);
