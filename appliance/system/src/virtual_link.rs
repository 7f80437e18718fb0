//! Virtual links: the macvlans that carry the virtual addresses. They are made by [`crate::links`], down and without
//! addresses; here they are brought up and down, with their addresses, by messages that were built beforehand.
//!
//! ```text
//! take-over: one sendmsg  [IPv4 address]…[link up][route to us][IPv6 address]… [IPv4 address]…   then the acknowledgements are read
//! release:   one sendmsg  [link down]…[address away]…
//! ```
//!
//! rtnetlink works through a request while `sendmsg` runs, so when that returns everything is done. IPv6 addresses come
//! without duplicate address detection: the other node has given them up, and a second would be lost by asking. Even so the
//! kernel makes them its own only when a worker of it gets the lock of all links (`addrconf_dad_work` in `net/ipv6/addrconf.c`),
//! and would until then forward what is for them, if it belongs to an established connection, to where they are not any more:
//! tens of milliseconds on a busy box. So the route that says that they are ours is made here.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

use crate::netlink::{
    Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLMSG_ERROR, READ_BUFFER, errno, messages,
};

/// Bytes of one request. The kernel's default send buffer holds more than twice as much; this is room for some thousand
/// addresses.
const MAX_BATCH_BYTES: usize = 96 * 1024;

/// A virtual link and what it carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualLink {
    /// The kernel's number of the macvlan.
    pub index: u32,
    /// Its addresses, with the network that the kernel is to make a route for.
    pub addresses: Vec<IpNet>,
}

/// One thing of a [`Batch`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// The link with this number is set up.
    Up(u32),
    /// It is set down.
    Down(u32),
    /// It is given an address.
    Add(u32, IpNet),
    /// An address is taken from it.
    Remove(u32, IpNet),
    /// What arrives for this IPv6 address is for us, from now on until the link goes down.
    Accept(u32, Ipv6Addr),
}

/// Requests ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    acts: Vec<Act>,
}

/// There are more addresses than one request holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many virtual addresses for one request: {0}")]
pub struct TooMany(usize);

impl Batch {
    /// Each of `links` up, with its addresses. Those that a link can have while it is down come before: what arrives between the two
    /// would be for nobody here.
    pub fn up(links: &[VirtualLink]) -> Result<Self, TooMany> {
        let one = |link: &VirtualLink| {
            let index = link.index;
            let (before, after): (Vec<&IpNet>, Vec<&IpNet>) =
                link.addresses.iter().partition(|net| net.addr().is_ipv4());
            let accept = after.iter().filter_map(|net| match net.addr() {
                IpAddr::V6(address) => Some(Act::Accept(index, address)),
                IpAddr::V4(_) => None,
            });
            let add = |nets: &[&IpNet]| nets.iter().map(|net| Act::Add(index, **net)).collect::<Vec<_>>();
            let acts = add(&before).into_iter().chain([Act::Up(index)]).chain(accept).chain(add(&after));
            acts.collect::<Vec<_>>()
        };
        Self::of(links.iter().flat_map(one).collect())
    }

    /// All of `links` down, so that nothing leaves or enters any more; then their addresses are removed, because IPv4
    /// ones outlast the link and the machine would go on taking them for its own.
    pub fn down(links: &[VirtualLink]) -> Result<Self, TooMany> {
        let down = links.iter().map(|link| Act::Down(link.index));
        let remove =
            links.iter().flat_map(|link| link.addresses.iter().map(move |net| Act::Remove(link.index, *net)));
        Self::of(down.chain(remove).collect())
    }

    /// Takes addresses from a link, and leaves it as it is otherwise.
    pub fn strip(index: u32, addresses: &[IpNet]) -> Result<Self, TooMany> {
        Self::of(addresses.iter().map(|net| Act::Remove(index, *net)).collect())
    }

    /// Whether a link of it goes down.
    pub fn takes_down(&self) -> bool {
        self.acts.iter().any(|act| matches!(act, Act::Down(_)))
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.acts.is_empty()
    }

    fn of(acts: Vec<Act>) -> Result<Self, TooMany> {
        let numbered = acts.iter().zip(1u32..);
        let bytes: Vec<u8> = numbered.flat_map(|(act, sequence)| message(act).finish(sequence)).collect();
        if bytes.len() > MAX_BATCH_BYTES { Err(TooMany(acts.len())) } else { Ok(Self { bytes, acts }) }
    }
}

/// The socket by which batches are done. Blocking calls are none; what takes time is the kernel's work itself.
#[derive(Debug)]
pub struct VirtualLinks {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl VirtualLinks {
    /// Opens the socket in the network namespace of this thread.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { fd, buffer: vec![0; READ_BUFFER] })
    }

    /// Does `batch` and tells what the kernel refused. Finding things as they should be already is no refusal: an address
    /// that is there, one that is gone, a link that was removed before it was set down.
    pub fn perform(&mut self, batch: &Batch, mut refused: impl FnMut(Act, Errno)) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        // Answers to an earlier batch that was not read to its end.
        while self.answers(|_, _| ())? {}
        let kernel = NetlinkAddr::new(0, 0);
        let sent = sendto(self.fd.as_raw_fd(), &batch.bytes, &kernel, MsgFlags::empty())?;
        if sent != batch.bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut open = batch.acts.len();
        while open > 0 {
            let more = self.answers(|sequence, error| {
                open = open.saturating_sub(1);
                let place = (sequence as usize).checked_sub(1);
                let act = place.and_then(|place| batch.acts.get(place));
                if let (Some(act), Some(error)) = (act, error)
                    && !as_it_should_be(act, error)
                {
                    refused(*act, error);
                }
            })?;
            if !more {
                return Err(io::Error::other("rtnetlink has not answered every request"));
            }
        }
        Ok(())
    }

    /// Reads what is there; `false` if nothing is.
    fn answers(&mut self, mut visit: impl FnMut(u32, Option<Errno>)) -> io::Result<bool> {
        let len = match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
            Ok(len) => len,
            Err(Errno::EAGAIN) => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        for raw in messages(self.buffer.get(..len).unwrap_or(&[])) {
            if raw.kind == NLMSG_ERROR {
                visit(raw.sequence, errno(raw.payload));
            }
        }
        Ok(true)
    }
}

fn as_it_should_be(act: &Act, error: Errno) -> bool {
    match act {
        Act::Up(_) => false,
        Act::Add(..) | Act::Accept(..) => error == Errno::EEXIST,
        Act::Down(_) => error == Errno::ENODEV,
        Act::Remove(..) => matches!(error, Errno::ENODEV | Errno::EADDRNOTAVAIL),
    }
}

fn message(act: &Act) -> Message {
    const IFF_UP: u32 = libc::IFF_UP as u32;
    match act {
        Act::Up(index) => link(*index, IFF_UP),
        Act::Down(index) => link(*index, 0),
        Act::Add(index, net) => address(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, *index, net),
        Act::Remove(index, net) => address(libc::RTM_DELADDR, 0, *index, net),
        Act::Accept(index, address) => local_route(*index, *address),
    }
}

/// `struct rtmsg`, `linux/rtnetlink.h`: what `ip -6 route add local ADDRESS dev LINK table local` sends.
fn local_route(index: u32, address: Ipv6Addr) -> Message {
    let (family, bits) = (libc::AF_INET6 as u8, Ipv6Addr::BITS as u8);
    let (table, scope) = (libc::RT_TABLE_LOCAL, libc::RT_SCOPE_UNIVERSE);
    let header = [family, bits, 0, 0, table, libc::RTPROT_STATIC, scope, libc::RTN_LOCAL, 0, 0, 0, 0];
    let mut message =
        Message::with_header(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &header);
    message.attr(libc::RTA_DST, &address.octets()).attr(libc::RTA_OIF, &index.to_ne_bytes());
    message
}

/// `struct ifinfomsg`, `linux/rtnetlink.h`: only the flag for up is changed.
fn link(index: u32, flags: u32) -> Message {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
    Message::with_header(libc::RTM_NEWLINK, NLM_F_ACK, &header)
}

/// `struct ifaddrmsg`, `linux/if_addr.h`.
fn address(kind: u16, flags: u16, index: u32, net: &IpNet) -> Message {
    let family = match net {
        IpNet::V4(_) => libc::AF_INET,
        IpNet::V6(_) => libc::AF_INET6,
    };
    let [a, b, c, d] = index.to_ne_bytes();
    let header = [family as u8, net.prefix_len(), 0, libc::RT_SCOPE_UNIVERSE, a, b, c, d];
    let mut message = Message::with_header(kind, flags | NLM_F_ACK, &header);
    match net.addr() {
        IpAddr::V4(address) => {
            message.attr(libc::IFA_LOCAL, &address.octets()).attr(libc::IFA_ADDRESS, &address.octets());
        }
        IpAddr::V6(address) => {
            message.attr(libc::IFA_LOCAL, &address.octets());
            message.attr(libc::IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes());
        }
    }
    message
}
