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
//!
//! Where the document wants the kernel to carry sessions there is one shard as well, below [`Offload`], and each address has a
//! second socket. A kernel without the driver changes nothing but what is shown.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rempart_config::model::Device;
use rempart_openvpn::data::{DATA_V2, Path, PeerId};
use rempart_system::tunnel::{Queue, Socket, Steering};
use rempart_tunnel::kernel::{KernelDevice, Offload, Told, Twin};
use rempart_tunnel::{DataPath, Event, Feeder, Gone, MAX_SOCKETS, Outlets, STREAM, Setup, Shard};

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

/// Sockets of one address.
#[derive(Clone)]
struct Bound {
    /// One for each shard, in the order in which they were bound.
    own: Vec<Arc<Socket>>,
    /// With the one that the kernel reads.
    twin: Option<Twin>,
}

/// What the line is made of.
#[derive(Clone, PartialEq, Eq)]
pub struct Devices {
    /// The TUN device.
    pub tun: Device,
    /// The kernel's, where the kernel is to carry sessions.
    pub kernel: Option<Device>,
}

/// Who carries sessions.
enum Carrier {
    /// Several share them.
    Shards(Vec<Shard>),
    /// The kernel, and the one below.
    Kernel(Box<Offload<Shard>>),
}

impl Carrier {
    fn shards(&self) -> &[Shard] {
        match self {
            Self::Shards(shards) => shards,
            Self::Kernel(offload) => slice::from_ref(offload.below()),
        }
    }

    fn shards_mut(&mut self) -> &mut [Shard] {
        match self {
            Self::Shards(shards) => shards,
            Self::Kernel(offload) => slice::from_mut(offload.below_mut()),
        }
    }

    fn kernel(&self) -> Option<&Offload<Shard>> {
        match self {
            Self::Shards(_) => None,
            Self::Kernel(offload) => Some(offload),
        }
    }

    fn kernel_mut(&mut self) -> Option<&mut Offload<Shard>> {
        match self {
            Self::Shards(_) => None,
            Self::Kernel(offload) => Some(offload),
        }
    }

    /// What carries the sessions of a shard.
    fn path(&mut self, number: usize) -> &mut dyn DataPath {
        match self {
            Self::Shards(shards) => {
                // Numbers are made by division.
                let number = number.min(shards.len().saturating_sub(1));
                shards.get_mut(number).unwrap_or_else(|| unreachable!("a line has a shard"))
            }
            Self::Kernel(offload) => offload.as_mut(),
        }
    }
}

/// The data path at work.
pub struct Line {
    carrier: Carrier,
    steering: Option<Steering>,
    /// The devices, whose names cannot change.
    pub devices: Devices,
    /// Why the kernel carries nothing, although it was wanted.
    fault: Option<String>,
    bound: Vec<(SocketAddr, Bound)>,
    /// Of each session its shard and its networks, and whose each network is: of several the last one's.
    sessions: BTreeMap<PeerId, (usize, Vec<IpNet>)>,
    owners: BTreeMap<IpNet, Vec<PeerId>>,
}

impl Line {
    /// Makes the devices, and so many shards as may be. A key waits `switch` in the kernel before it is sent under.
    pub fn open(
        devices: Devices,
        wanted: usize,
        switch: Duration,
        outlets: &Outlets,
    ) -> Result<Self, Broken> {
        let (kernel, fault) = match devices.kernel.as_ref().map(KernelDevice::make) {
            None => (None, None),
            Some(Ok(kernel)) => (Some(kernel), None),
            Some(Err(error)) => {
                tracing::warn!(%error, "the kernel carries no sessions of the VPN: the program carries them all");
                (None, Some(error.to_string()))
            }
        };
        let wanted = if kernel.is_some() { 1 } else { wanted };
        let (mut shards, steering) = start(&devices.tun, wanted, outlets)?;
        let carrier = match (kernel, shards.pop()) {
            (Some(kernel), Some(shard)) => Carrier::Kernel(Box::new(Offload::new(kernel, shard, switch))),
            (_, last) => {
                shards.extend(last);
                Carrier::Shards(shards)
            }
        };
        let in_kernel = carrier.kernel().is_some();
        tracing::debug!(shards = carrier.shards().len(), in_kernel, "the data path is there");
        let (sessions, owners) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { carrier, steering, devices, fault, bound: Vec::new(), sessions, owners })
    }

    /// Where packets that came by streams go.
    pub fn feeder(&self) -> Feeder {
        self.first().feeder()
    }

    /// There is one at least.
    fn first(&self) -> &Shard {
        self.carrier.shards().first().unwrap_or_else(|| unreachable!("a line has a shard"))
    }

    /// Listens at these addresses from now on; those where it can.
    pub fn listen(&mut self, wanted: &[SocketAddr]) -> Result<Vec<SocketAddr>, Gone> {
        let mut known: BTreeMap<SocketAddr, Bound> = std::mem::take(&mut self.bound).into_iter().collect();
        let (count, kernel) = (self.carrier.shards().len(), self.carrier.kernel().is_some());
        let bind =
            |local: &SocketAddr| Some((*local, known.remove(local).or_else(|| bind(*local, count, kernel))?));
        self.bound = wanted.iter().filter_map(bind).take(MAX_SOCKETS).collect();
        for (number, shard) in self.carrier.shards_mut().iter_mut().enumerate() {
            let own = |bound: &Bound| bound.own.get(number).cloned();
            shard.set_sockets(self.bound.iter().filter_map(|(_, bound)| own(bound)).collect())?;
        }
        if let Some(offload) = self.carrier.kernel_mut() {
            offload.set_twins(self.bound.iter().map(|(_, bound)| bound.twin.clone()).collect());
        }
        Ok(self.bound.iter().map(|(local, _)| *local).collect())
    }

    /// Whether all threads run.
    pub fn is_alive(&self) -> bool {
        self.carrier.shards().iter().all(Shard::is_alive)
    }

    /// The kernel's device, where it carries sessions.
    pub fn kernel_device(&self) -> Option<&Device> {
        self.devices.kernel.as_ref().filter(|_| self.carrier.kernel().is_some())
    }

    /// Why the kernel carries nothing, although it was wanted.
    pub fn offload_fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Whether the kernel carries a session, in both directions.
    pub fn in_kernel(&self, peer: PeerId) -> bool {
        self.carrier.kernel().is_some_and(|offload| offload.carries(peer))
    }

    /// Can be read when the kernel has something to tell: [`Self::tick`].
    pub fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.carrier.kernel().map(Offload::as_fd)
    }

    /// Hears what the kernel has to tell, and does what time brings.
    pub fn tick(&mut self, now: Instant) {
        if let Some(offload) = self.carrier.kernel_mut() {
            offload.tick(now);
        }
    }

    /// What the kernel's half has to tell.
    pub fn poll_told(&mut self) -> Option<Told> {
        self.carrier.kernel_mut()?.poll_told()
    }

    /// Adds what the kernel has counted to what a shard tells.
    pub fn amend(&mut self, event: &mut Event) {
        if let Some(offload) = self.carrier.kernel_mut() {
            offload.amend(event);
        }
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
            Data::FreshKey { peer, serial, key } => self.of(peer).fresh_key(peer, serial, *key),
            Data::KeptKey { peer, serial, opener, sealer } => {
                self.of(peer).kept_key(peer, serial, *opener, sealer.map(|sealer| *sealer))
            }
            Data::RemoveKey(peer, serial) => self.of(peer).remove_key(peer, serial),
            Data::Move(peer, path) => self.of(peer).move_to(peer, path),
            Data::Ping(peer) => self.of(peer).ping(peer),
            Data::Report => {
                (0..self.carrier.shards().len()).try_for_each(|number| self.carrier.path(number).report())
            }
        }
    }

    /// The shard of a session that begins.
    fn place(&self, peer: PeerId, path: Path) -> usize {
        let stream = path.local == STREAM;
        if stream { 0 } else { usize::try_from(peer.get()).unwrap_or(0) % self.carrier.shards().len().max(1) }
    }

    /// What carries a session.
    fn of(&mut self, peer: PeerId) -> &mut dyn DataPath {
        let number = self.sessions.get(&peer).map_or(0, |(number, _)| *number);
        self.carrier.path(number)
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

/// A shard for each queue of the device, and the map that leads to them if there are several.
fn start(
    device: &Device,
    wanted: usize,
    outlets: &Outlets,
) -> Result<(Vec<Shard>, Option<Steering>), Broken> {
    const ONE: &str = "the kernel lets us steer no packets: one shard for all sessions";
    let mut steering = (wanted > 1).then(|| Steering::new(NETWORKS)).transpose().unwrap_or_else(|error| {
        tracing::info!(%error, "{ONE}");
        None
    });
    let mut count = if steering.is_some() { wanted.min(MAX_SHARDS) } else { 1 };
    let mut shards = Vec::new();
    while shards.len() < count {
        let queue = Queue::open(device)?;
        if let (0, Some(map)) = (shards.len(), &steering)
            && let Err(error) = map.attach(&queue)
        {
            tracing::info!(%error, "{ONE}");
            (steering, count) = (None, 1);
        }
        let setup = Setup { number: shards.len(), queue, sockets: Vec::new(), capacity: CAPACITY };
        shards.push(Shard::start(setup, outlets.clone()).map_err(super::io("starting the data path"))?);
    }
    Ok((shards, steering))
}

/// A socket for each shard, or with `kernel` one for the only shard and one for the kernel.
fn bind(local: SocketAddr, shards: usize, kernel: bool) -> Option<Bound> {
    let bind = || -> io::Result<Bound> {
        let own = (0..shards).map(|_| Socket::bind(local, shards > 1 || kernel).map(Arc::new));
        let own = own.collect::<io::Result<Vec<_>>>()?;
        if let (Some(first), true) = (own.first(), shards > 1) {
            first.spread(DATA_V2, u8::try_from(shards).unwrap_or(1))?;
        }
        let twin = own.first().filter(|_| kernel).map(|first| Twin::of(local, first.clone())).transpose();
        let twin = twin.unwrap_or_else(|error| {
            tracing::warn!(%local, %error, "the kernel carries no sessions of this address");
            None
        });
        Ok(Bound { own, twin })
    };
    let bound = bind().inspect_err(|error| {
        tracing::error!(%local, %error, "cannot listen there by UDP: does another program?");
    });
    bound.ok()
}

const _: () = assert!(MAX_SHARDS <= u8::MAX as usize);
