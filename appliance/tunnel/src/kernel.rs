//! Sessions that the kernel carries by itself (`rempart_system::ovpn`), above a data path that carries the others.
//!
//! ```text
//!   commands ──▶ Offload ── which key whose? ──┬──▶ below: a shard       TUN ◀▶ first socket of each address
//!   told     ◀──                               └──▶ the kernel's device      ◀▶ second socket, by the first four bytes
//! ```
//!
//! The kernel begins with packet id 1 under each key and cannot be told otherwise (study §1.7). So the rule is: **a key has one
//! owner for its life**, who alone seals with it and alone knows what came under it.
//!
//! * The kernel gets keys that this process made and nobody has used ([`FreshKey`]): the maker's range of packet ids, all of it.
//!   Keys of another process never: not after a take-over, not after a restart.
//! * It does not give back what it may have used. A key whose fate is unknown is lost, and the session is to be renewed.
//! * Its primary key follows the newer one and never comes back.
//! * Which packets are whose is decided by operation, key and peer id, before anything is opened: no window has two keepers.
//!
//! A new client is carried by the kernel from its first key on. A session that has keys below (it was taken over) gives its next
//! fresh key to the kernel; what comes under that is opened there, and what is for the client goes on under the old key until the
//! client has spoken under the new one and [`SWITCH`] is over. A key that follows another waits as long before it is sent
//! under: clients receive under both, and the kernel cannot tell under which they send. Two renewals within that time leave
//! the older key out, as stock clients do.
//!
//! What the kernel has no room or no way for stays below: TCP, networks behind a client, more keys than
//! can be told apart ([`rempart_system::tunnel::MAX_WORDS`]).
//!
//! The kernel sends keep-alive packets itself, follows a client to another address, and tells that ([`Told`]). It does not say
//! what came in a packet that is no IP packet: a client that takes its leave in the data channel is missed by its silence. And it
//! counts what comes before it is opened: whoever names a session in forged packets can make it look alive, and nothing else.
//!
//! | file | owns |
//! | --- | --- |
//! | here | what the program around it sees; commands |
//! | `keys` | whose a key is, and what becomes of it |
//! | `watch` | what the kernel tells, counters, time |
//! | `member` | a session, and the decisions about it: pure |

mod keys;
mod member;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rempart_config::model::Device;
use rempart_openvpn::data::fresh::FreshKey;
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{KeySerial, Path, PeerId};
use rempart_system::ovpn::{Counters, Keepalive, MAX_KEEPALIVE_S, Notices, Ovpn, OvpnError, Slot};
use rempart_system::tunnel::Socket;

use crate::path::DataPath;
use crate::shard::{Event, Gone};
use member::{Carried, Inner, Member};

/// How long a new key waits: stock clients send under the old one for 60 s (study §1.5).
pub const SWITCH: Duration = Duration::from_secs(65);
/// How often the kernel says something to a client that is sent nothing; pushed clients expect it every ten seconds.
const INTERVAL_S: u32 = 10;
/// Sessions that are over and whose last counters have not come: of one that is forgotten the last seconds are not counted.
const MAX_LEAVING: usize = 1024;
/// Silent clients are the server's to judge. The kernel sends nothing without a time of its own, so it gets the longest.
const KEEPALIVE: Keepalive = Keepalive { interval_s: INTERVAL_S, timeout_s: MAX_KEEPALIVE_S };

/// Two sockets of one address: what the kernel owns comes to the second one.
#[derive(Clone, Debug)]
pub struct Twin {
    /// Where they listen.
    pub local: SocketAddr,
    /// The one that is read here.
    pub first: Arc<Socket>,
    /// The one that the kernel reads.
    pub second: Arc<Socket>,
}

impl Twin {
    /// Binds a second socket beside one that was bound as shared.
    pub fn of(local: SocketAddr, first: Arc<Socket>) -> io::Result<Self> {
        // Before there is a second one, so that none is drawn by lot.
        first.steer_data(&BTreeSet::new())?;
        let second = Arc::new(Socket::bind_for_kernel(local)?);
        Ok(Self { local, first, second })
    }
}

/// What the kernel's half tells.
#[derive(Debug)]
pub enum Told {
    /// The same as a shard tells.
    Event(Event),
    /// What is for these networks goes to the kernel's device from now on, or again to the one below.
    Lead {
        /// Which.
        networks: Vec<IpNet>,
        /// To the kernel's.
        kernel: bool,
    },
    /// Something went wrong that a person should see; sessions are carried below or come back by themselves.
    Trouble(OvpnError),
}

/// The kernel's device, before there are sessions.
#[derive(Debug)]
pub struct KernelDevice {
    ovpn: Ovpn,
    notices: Notices,
    device: u32,
}

/// Why the kernel carries nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// It cannot.
    #[error("this kernel has no driver for OpenVPN (`ovpn`, Linux 6.16 and later)")]
    NoDriver,
    /// It does not speak.
    #[error("the kernel's OpenVPN cannot be spoken to: {0}")]
    Silent(#[from] io::Error),
    /// It will not.
    #[error(transparent)]
    Refused(#[from] OvpnError),
}

impl KernelDevice {
    /// Makes the device, down and without addresses, in the network namespace of this thread.
    pub fn make(device: &Device) -> Result<Self, Unavailable> {
        let mut ovpn = Ovpn::open()?.ok_or(Unavailable::NoDriver)?;
        let notices = ovpn.notices()?;
        let device = ovpn.create(device)?;
        Ok(Self { ovpn, notices, device })
    }
}

/// Has the kernel carry what it can. `P` carries the rest.
#[derive(Debug)]
pub struct Offload<P> {
    below: P,
    ovpn: Ovpn,
    notices: Notices,
    device: u32,
    switch: Duration,
    twins: Vec<Option<Twin>>,
    members: BTreeMap<PeerId, Member>,
    /// What sessions have counted that are over, until the data path below has said its last, in both halves.
    leaving: BTreeMap<PeerId, (Counters, u8)>,
    told: VecDeque<Told>,
}

impl<P: DataPath> Offload<P> {
    /// With the kernel's device, which goes with it. `switch` is [`SWITCH`] but in tests.
    pub fn new(kernel: KernelDevice, below: P, switch: Duration) -> Self {
        let KernelDevice { ovpn, notices, device } = kernel;
        let (twins, members, leaving) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { below, ovpn, notices, device, switch, twins, members, leaving, told: VecDeque::new() }
    }

    /// The data path below.
    pub fn below(&self) -> &P {
        &self.below
    }

    /// The same, to be changed.
    pub fn below_mut(&mut self) -> &mut P {
        &mut self.below
    }

    /// Whether the kernel carries a session in both directions.
    pub fn carries(&self, peer: PeerId) -> bool {
        let carried = self.members.get(&peer).and_then(|member| member.carried.as_ref());
        carried.is_some_and(|carried| carried.led)
    }

    /// What it has to tell, after a command and after [`Self::tick`]: in this order.
    pub fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// The sockets, in the order of [`Path::local`]; none where the kernel has none. Peers of those that are not there any more
    /// are gone with them.
    pub fn set_twins(&mut self, twins: Vec<Option<Twin>>) {
        self.twins = twins;
        self.steer();
    }

    fn carried(&mut self, peer: PeerId) -> Option<&mut Carried> {
        self.members.get_mut(&peer)?.carried.as_mut()
    }

    fn trouble(&mut self, error: OvpnError) {
        self.told.push_back(Told::Trouble(error));
    }

    fn tell(&mut self, event: Event) {
        self.told.push_back(Told::Event(event));
    }

    fn lead(&mut self, inner: Option<Inner>, kernel: bool) {
        let Some(Inner { v4, v6 }) = inner else { return };
        let networks = v4.map(|ip| IpNet::from(IpAddr::V4(ip))).into_iter();
        let networks = networks.chain(v6.map(|ip| IpNet::from(IpAddr::V6(ip)))).collect();
        self.told.push_back(Told::Lead { networks, kernel });
    }
}

impl<P: DataPath> DataPath for Offload<P> {
    fn add(
        &mut self,
        peer: PeerId,
        path: Path,
        own: Vec<IpNet>,
        echo: Option<KeySerial>,
    ) -> Result<(), Gone> {
        self.leave(peer);
        self.members.insert(peer, Member::new(path, &own));
        self.below.add(peer, path, own, echo)
    }

    fn remove(&mut self, peer: PeerId) -> Result<(), Gone> {
        self.leave(peer);
        if let Some(member) = self.members.remove(&peer) {
            if self.leaving.len() >= MAX_LEAVING {
                self.leaving.pop_first();
            }
            self.leaving.insert(peer, (member.gone, 2));
        }
        self.below.remove(peer)
    }

    fn fresh_key(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Result<(), Gone> {
        let Some(key) = self.place(peer, serial, key) else { return Ok(()) };
        if let Some(member) = self.members.get_mut(&peer) {
            member.below.push((serial, key.key_id().get()));
        }
        self.below.fresh_key(peer, serial, key)
    }

    fn kept_key(
        &mut self,
        peer: PeerId,
        serial: KeySerial,
        opener: Opener,
        sealer: Option<Sealer>,
    ) -> Result<(), Gone> {
        let id = opener.key_id().get();
        if self.carried(peer).is_some_and(|carried| carried.keys().any(|key| key.id == id)) {
            // The client has begun anew in place, with keys that stay here: their packets are not to go to the kernel.
            self.leave(peer);
        }
        if let Some(member) = self.members.get_mut(&peer) {
            member.below.push((serial, id));
        }
        self.below.kept_key(peer, serial, opener, sealer)
    }

    fn remove_key(&mut self, peer: PeerId, serial: KeySerial) -> Result<(), Gone> {
        if let Some(member) = self.members.get_mut(&peer) {
            member.below.retain(|(below, _)| *below != serial);
        }
        let Some(carried) = self.carried(peer) else { return self.below.remove_key(peer, serial) };
        if carried.primary.serial == serial {
            match carried.waits {
                true => self.switch(peer),
                // There is no newer one here: whoever has it sends.
                false => self.leave(peer),
            }
        }
        if self.carried(peer).and_then(|carried| carried.secondary).is_some_and(|key| key.serial == serial) {
            if let Err(error) = self.ovpn.delete_key(self.device, peer.get(), Slot::Secondary) {
                self.trouble(error);
            }
            if let Some(carried) = self.carried(peer) {
                (carried.secondary, carried.waits, carried.mixed) = (None, false, None);
            }
            self.steer();
        }
        self.below.remove_key(peer, serial)
    }

    fn move_to(&mut self, peer: PeerId, path: Path) -> Result<(), Gone> {
        let local =
            self.twins.get(usize::from(path.local)).and_then(Option::as_ref).map(|twin| twin.local.ip());
        if let Some(member) = self.members.get_mut(&peer) {
            member.path = path;
        }
        if let (Some(_), Some(local)) = (self.carried(peer), local)
            && let Err(error) = self.ovpn.move_peer(self.device, peer.get(), path.remote, local)
        {
            self.trouble(error);
        }
        self.below.move_to(peer, path)
    }

    fn ping(&mut self, peer: PeerId) -> Result<(), Gone> {
        // The kernel does that by itself.
        if self.carried(peer).is_some_and(|carried| carried.led) { Ok(()) } else { self.below.ping(peer) }
    }

    fn report(&mut self) -> Result<(), Gone> {
        if self.members.values().any(|member| member.carried.is_some()) {
            self.take_stock();
        }
        self.below.report()
    }
}

impl<P> AsFd for Offload<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

impl<P> Drop for Offload<P> {
    fn drop(&mut self) {
        // With its peers and their keys. If it cannot be removed, the end of the sockets ends the peers.
        let _ = self.ovpn.remove(self.device);
    }
}
