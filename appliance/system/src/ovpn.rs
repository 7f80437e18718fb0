//! The kernel's own data channel of OpenVPN (`drivers/net/ovpn`, Linux 6.16 and later): a device that seals and opens packets
//! for peers that a program has told it of, over that program's UDP sockets.
//!
//! ```text
//!   program ── Ovpn: peers, keys ──▶ generic netlink, family "ovpn" ──▶ ┌ device ──────────────────────────┐
//!           ◀── Notices ──────────── group "peers" ◀─────────────────── │ peer: socket, remote, inner addresses,
//!                                                                       │   primary key (seals and opens),
//!                                                                       │   secondary key (opens)
//!                                                                       └────▲──────────────────▲──────────┘
//!                                                   UDP sockets that peers were made with       routes
//! ```
//!
//! What a user of it has to know (`udp.c`, `io.c`, `pktid.c` of the driver):
//!
//! * The kernel begins with packet id 1 under each key that it is given, and no message says otherwise. A key that
//!   somebody has sealed with, or whose first range of packet ids is somebody else's, must never be given.
//! * Data packets that reach a socket of a peer never come out of it: those of unknown peers and unknown keys are dropped. So
//!   peers of the kernel and sessions of a program need sockets of their own ([`crate::tunnel::Socket::steer_data`]).
//! * A peer sends under its primary key. Nobody is told which key its packets came under.
//!
//! | file | owns |
//! | --- | --- |
//! | here | what a caller says and hears; one request at a time |
//! | `codec` | messages to bytes and back, pure |
//! | `channel` | a netlink socket whose answers are there when `send` returns |

mod channel;
mod codec;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;
use rempart_config::model::Device;

use crate::netlink::Message;
use channel::Channel;
pub use codec::{family_of, notice_of, peer_of};

/// Bytes of a key of AES-256.
pub const KEY: usize = 32;
/// Bytes of the part of a nonce that belongs to the key; the packet id stands before it.
pub const NONCE_TAIL: usize = 8;
/// The largest number of a peer: 24 bits stand in each packet.
pub const MAX_PEER: u32 = 0x00ff_ffff;
/// The longest time of a [`Keepalive`], in seconds, that the kernel takes.
pub const MAX_KEEPALIVE_S: u32 = 86_400;

/// Where a key of a peer lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// Seals and opens.
    Primary,
    /// Opens.
    Secondary,
}

/// One direction of a key. Shown by nothing.
#[derive(Clone, Copy)]
pub struct Direction<'a> {
    /// The key.
    pub key: &'a [u8; KEY],
    /// The rest of each nonce.
    pub nonce_tail: &'a [u8; NONCE_TAIL],
}

/// A key of AES-256-GCM, the only cipher that is spoken.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// Its number in each packet, from 0 to 7.
    pub id: u8,
    /// For what is sent, with packet ids from 1 on.
    pub encrypt: Direction<'a>,
    /// For what comes.
    pub decrypt: Direction<'a>,
}

/// What the kernel does about silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// After so many seconds without a packet to the peer, one is sent that says nothing. 0: never.
    pub interval_s: u32,
    /// After so many seconds without a packet from it, it is deleted. 0: never.
    pub timeout_s: u32,
}

/// A peer to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPeer {
    /// Its number in each packet.
    pub id: u32,
    /// Where it is.
    pub remote: SocketAddr,
    /// The address that it is answered from.
    pub local: IpAddr,
    /// Its address in the tunnel; one of both is needed.
    pub inner4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub inner6: Option<Ipv6Addr>,
    /// About silence.
    pub keepalive: Keepalive,
}

/// Packets and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// How many packets.
    pub packets: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// From the peer.
    pub received: Traffic,
    /// To the peer.
    pub sent: Traffic,
}

/// A peer as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peer {
    /// Its number.
    pub id: u32,
    /// Where it is.
    pub remote: Option<SocketAddr>,
    /// The address that it is answered from.
    pub local: Option<IpAddr>,
    /// Its address in the tunnel.
    pub inner4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub inner6: Option<Ipv6Addr>,
    /// What went through the tunnel. A super-packet to the peer counts as one.
    pub inner: Counters,
    /// What was on the line. Everything that names the peer counts as received, authentic or not; sent is what was
    /// sealed, each with a packet id of its own.
    pub outer: Counters,
}

/// What the kernel tells by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The number of the device.
    pub device: u32,
    /// The number of the peer.
    pub peer: u32,
    /// What happened to it.
    pub what: Happened,
}

/// What happened to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happened {
    /// It is gone.
    Deleted(Reason),
    /// Its primary key has no packet ids left; nothing is sent under it any more.
    WornOut {
        /// The number of the key.
        key: u8,
    },
    /// An authentic packet came from elsewhere, and it is answered there.
    Moved(SocketAddr),
}

/// Why a peer is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The device goes, or another peer has come in its place.
    Teardown,
    /// A program has said so.
    Asked,
    /// It was silent too long.
    Expired,
    /// Its TCP connection failed.
    Transport,
    /// Its socket was closed.
    Disconnected,
    /// One of a later kernel.
    Other(u32),
}

/// Why the kernel has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum OvpnError {
    /// It said so: nothing has changed.
    #[error("the kernel's OpenVPN refuses to {what}: {errno}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        errno: Errno,
    },
    /// It may have done it.
    #[error("the kernel's OpenVPN was asked to {what}, and the answer is lost: {source}")]
    Lost {
        /// What was asked for.
        what: &'static str,
        /// What happened.
        source: io::Error,
    },
}

impl OvpnError {
    /// Whether it is certain that nothing was done.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether there is no such peer, or device.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Refused { errno: Errno::ENOENT | Errno::ENODEV, .. })
    }
}

/// Speaks to the driver. Nothing waits: the kernel has done what it was asked for when a call returns.
#[derive(Debug)]
pub struct Ovpn {
    channel: Channel,
    links: Channel,
    family: codec::Family,
}

impl Ovpn {
    /// In the network namespace of this thread. `None` where the kernel has no such driver.
    pub fn open() -> io::Result<Option<Self>> {
        let mut channel = Channel::open(SockProtocol::NetlinkGeneric)?;
        let Some(family) = family(&mut channel)? else { return Ok(None) };
        let links = Channel::open(SockProtocol::NetlinkRoute)?;
        Ok(Some(Self { channel, links, family }))
    }

    /// A socket for what the kernel tells by itself.
    pub fn notices(&self) -> io::Result<Notices> {
        let channel = Channel::open(SockProtocol::NetlinkGeneric)?;
        channel.join(self.family.group)?;
        Ok(Notices { channel, family: self.family.id })
    }

    /// Makes a device for many peers, down, and returns its number. One that an earlier program has left behind is made
    /// anew, without the peers of that.
    pub fn create(&mut self, device: &Device) -> Result<u32, OvpnError> {
        const WHAT: &str = "make a device";
        match self.links.request(codec::create(device.as_str())) {
            Err(Errno::EEXIST) => {
                let index = self.index(device, WHAT)?;
                // Of another kind: somebody else's.
                self.peers(index)?;
                self.remove(index)?;
                self.links.request(codec::create(device.as_str())).map_err(|e| failed(WHAT, e))?;
            }
            other => other.map_err(|errno| failed(WHAT, errno))?,
        }
        self.index(device, WHAT)
    }

    /// Removes a device with its peers.
    pub fn remove(&mut self, device: u32) -> Result<(), OvpnError> {
        self.links.request(codec::remove(device)).map_err(|errno| failed("remove a device", errno))
    }

    fn index(&self, device: &Device, what: &'static str) -> Result<u32, OvpnError> {
        if_nametoindex(device.as_str()).map_err(|errno| OvpnError::Refused { what, errno })
    }

    /// Adds a peer that speaks over `socket`, which from now on gives no data packets to its reader any more. Without a key
    /// nothing passes.
    pub fn add_peer(&mut self, device: u32, peer: &NewPeer, socket: BorrowedFd<'_>) -> Result<(), OvpnError> {
        // The kernel looks the number up in this process's table. A descriptor is not negative.
        let socket = u32::try_from(socket.as_raw_fd()).unwrap_or(u32::MAX);
        self.ask("add a peer", codec::add_peer(self.family.id, device, peer, socket))
    }

    /// Tells where a peer is, and where it is answered from.
    pub fn move_peer(
        &mut self,
        device: u32,
        peer: u32,
        remote: SocketAddr,
        local: IpAddr,
    ) -> Result<(), OvpnError> {
        self.ask("move a peer", codec::move_peer(self.family.id, device, peer, remote, local))
    }

    /// Deletes a peer with its keys.
    pub fn delete_peer(&mut self, device: u32, peer: u32) -> Result<(), OvpnError> {
        self.ask("delete a peer", codec::delete_peer(self.family.id, device, peer))
    }

    /// A peer as it is.
    pub fn peer(&mut self, device: u32, peer: u32) -> Result<Peer, OvpnError> {
        let message = codec::get_peer(self.family.id, device, peer);
        let found = self.read("show a peer", message)?.into_iter().find(|found| found.id == peer);
        found.ok_or(OvpnError::Refused { what: "show a peer", errno: Errno::ENOENT })
    }

    /// All peers of a device.
    pub fn peers(&mut self, device: u32) -> Result<Vec<Peer>, OvpnError> {
        self.read("list peers", codec::list_peers(self.family.id, device))
    }

    /// Gives a peer a key, in place of the one that lies there. If this is refused, the key was not used; after any other
    /// error it may be in use.
    pub fn put_key(&mut self, device: u32, peer: u32, slot: Slot, key: &Key<'_>) -> Result<(), OvpnError> {
        self.ask("put a key", codec::put_key(self.family.id, device, peer, slot, key))
    }

    /// The primary key becomes the secondary one, and the other way round.
    pub fn swap_keys(&mut self, device: u32, peer: u32) -> Result<(), OvpnError> {
        self.ask("swap keys", codec::swap_keys(self.family.id, device, peer))
    }

    /// Takes a key away.
    pub fn delete_key(&mut self, device: u32, peer: u32, slot: Slot) -> Result<(), OvpnError> {
        self.ask("delete a key", codec::delete_key(self.family.id, device, peer, slot))
    }

    /// Which key lies there, if any.
    pub fn key(&mut self, device: u32, peer: u32, slot: Slot) -> Result<Option<u8>, OvpnError> {
        let mut found = None;
        let message = codec::get_key(self.family.id, device, peer, slot);
        match self.channel.exchange(message, |_, payload| found = codec::key_of(payload)) {
            Ok(()) => Ok(found),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(failed("show a key", errno)),
        }
    }

    fn ask(&mut self, what: &'static str, message: Message) -> Result<(), OvpnError> {
        self.channel.request(message).map_err(|errno| failed(what, errno))
    }

    fn read(&mut self, what: &'static str, message: Message) -> Result<Vec<Peer>, OvpnError> {
        let mut found = Vec::new();
        let family = self.family.id;
        let visit = |kind, payload: &[u8]| {
            if kind == family {
                found.extend(peer_of(payload));
            }
        };
        self.channel.exchange(message, visit).map_err(|errno| failed(what, errno))?;
        Ok(found)
    }
}

/// What is known of the family; `None` where the kernel has none of the name.
fn family(channel: &mut Channel) -> io::Result<Option<codec::Family>> {
    let mut found = None;
    match channel.exchange(codec::ask_for_family(), |_, payload| found = family_of(payload)) {
        Ok(()) => Ok(found),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Errors of the socket itself, after which nobody knows, and errors that the kernel answers with.
fn failed(what: &'static str, errno: Errno) -> OvpnError {
    match errno {
        channel::UNANSWERED | Errno::ENOBUFS => OvpnError::Lost { what, source: errno.into() },
        errno => OvpnError::Refused { what, errno },
    }
}

/// What the kernel tells by itself, of all devices of the namespace.
#[derive(Debug)]
pub struct Notices {
    channel: Channel,
    family: u16,
}

impl Notices {
    /// What has come. An error of the kind that `ENOBUFS` is means that some were lost: the peers have to be listed.
    pub fn read(&mut self, mut visit: impl FnMut(Notice)) -> io::Result<()> {
        let family = self.family;
        self.channel.drain(|kind, payload| {
            if kind == family
                && let Some(notice) = notice_of(payload)
            {
                visit(notice);
            }
        })
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
