//! Links and their addresses as they are now, kept up to date by rtnetlink, for a thread without a runtime.
//!
//! A carrier that is lost is known here as soon as the driver tells the kernel. What was missed because the socket was
//! full is read anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::netlink::{
    Message, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, READ_BUFFER, Raw, attributes, errno, messages,
};

/// Room for some thousand changes at once, as when a bond with hundreds of VLANs comes up.
const RECEIVE_BYTES: usize = 1 << 20;
/// The kernel answers a dump at once; if it does not, something is very wrong.
const DUMP_TIMEOUT_S: i64 = 2;
const IFINFO: usize = 16;
const IFADDR: usize = 8;

/// A link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Administratively up.
    pub up: bool,
    /// Up, with a carrier (`IFF_LOWER_UP`), and neither dormant nor under test (`IFF_RUNNING`).
    pub running: bool,
    /// Its Ethernet address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// Of a virtual link: the number of the link below.
    pub below: Option<u32>,
    /// The kernel's word for its kind: `macvlan`, `vlan`, …; empty for hardware.
    pub kind: String,
    /// Its addresses. IPv6 ones only once they may be used (not tentative, no duplicate).
    pub addresses: BTreeSet<IpNet>,
}

/// The links of the network namespace.
#[derive(Debug)]
pub struct LinkWatch {
    fd: OwnedFd,
    buffer: Vec<u8>,
    links: BTreeMap<u32, Link>,
}

impl LinkWatch {
    /// Opens the socket in the network namespace of this thread and reads what there is.
    pub fn open() -> io::Result<Self> {
        let fd = open(SockFlag::SOCK_NONBLOCK)?;
        // Beyond the limit for everyone, which CAP_NET_ADMIN allows; else as much as may be.
        if setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BYTES).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BYTES)?;
        }
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
        let mut watch = Self { fd, buffer: vec![0; READ_BUFFER], links: BTreeMap::new() };
        watch.read_all()?;
        Ok(watch)
    }

    /// All links, by their number.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The link of this name.
    pub fn named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// Takes in everything that the kernel has told since the last time. Returns whether anything changed.
    pub fn refresh(&mut self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Ok(len) if len <= READ_BUFFER => {
                    for raw in messages(self.buffer.get(..len).unwrap_or(&[])) {
                        changed |= take(&mut self.links, &raw);
                    }
                }
                Ok(_cut_short) => {
                    changed = true;
                    self.read_all()?;
                }
                Err(Errno::EAGAIN) => return Ok(changed),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => {
                    changed = true;
                    self.read_all()?;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Reads links and addresses anew, by a socket of their own: the answers are told apart from the changes.
    fn read_all(&mut self) -> io::Result<()> {
        let fd = open(SockFlag::empty())?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(DUMP_TIMEOUT_S, 0))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        let mut links = BTreeMap::new();
        let requests =
            [(libc::RTM_GETLINK, [0; IFINFO].as_slice()), (libc::RTM_GETADDR, [0; IFADDR].as_slice())];
        for ((kind, header), sequence) in requests.into_iter().zip(1u32..) {
            let request = Message::with_header(kind, NLM_F_DUMP, header).finish(sequence);
            sendto(fd.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
            let mut open = true;
            while open {
                let len = recv(fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
                for raw in messages(self.buffer.get(..len).unwrap_or(&[])) {
                    match (raw.kind, errno(raw.payload)) {
                        (NLMSG_ERROR, Some(error)) => return Err(error.into()),
                        (NLMSG_ERROR | NLMSG_DONE, _) => open = false,
                        _ => drop(take(&mut links, &raw)),
                    }
                }
            }
        }
        self.links = links;
        Ok(())
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(extra: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Netlink,
        SockType::Raw,
        extra | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?)
}

/// Works one message into `links`; `true` if it changed something.
fn take(links: &mut BTreeMap<u32, Link>, raw: &Raw<'_>) -> bool {
    match raw.kind {
        libc::RTM_NEWLINK => take_link(links, raw.payload).unwrap_or(false),
        libc::RTM_DELLINK => deleted(links, raw.payload).unwrap_or(false),
        libc::RTM_NEWADDR => take_address(links, raw.payload, true).unwrap_or(false),
        libc::RTM_DELADDR => take_address(links, raw.payload, false).unwrap_or(false),
        _ => false,
    }
}

/// `struct ifinfomsg` and its attributes, `linux/if_link.h`.
fn take_link(links: &mut BTreeMap<u32, Link>, payload: &[u8]) -> Option<bool> {
    // Bridges report their ports in a family of their own, without most attributes.
    if *payload.first()? != libc::AF_UNSPEC as u8 {
        return None;
    }
    let index = u32_at(payload, 4)?;
    let flags = u32_at(payload, 8)?;
    let has = |flag: libc::c_int| flags & flag as u32 != 0;
    let mut link = Link {
        index,
        name: String::new(),
        up: has(libc::IFF_UP),
        running: has(libc::IFF_UP) && has(libc::IFF_LOWER_UP) && has(libc::IFF_RUNNING),
        mac: None,
        below: None,
        kind: String::new(),
        addresses: links.get(&index).map(|known| known.addresses.clone()).unwrap_or_default(),
    };
    for (kind, value) in attributes(payload.get(IFINFO..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_ADDRESS => link.mac = value.try_into().ok(),
            libc::IFLA_LINK => link.below = u32_at(value, 0),
            libc::IFLA_LINKINFO => {
                let name = attributes(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                link.kind = name.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    let changed = links.get(&index) != Some(&link);
    links.insert(index, link);
    Some(changed)
}

fn deleted(links: &mut BTreeMap<u32, Link>, payload: &[u8]) -> Option<bool> {
    // A port that leaves a bridge is reported so as well.
    if *payload.first()? != libc::AF_UNSPEC as u8 {
        return None;
    }
    Some(links.remove(&u32_at(payload, 4)?).is_some())
}

/// `struct ifaddrmsg` and its attributes, `linux/if_addr.h`.
fn take_address(links: &mut BTreeMap<u32, Link>, payload: &[u8], present: bool) -> Option<bool> {
    let (family, prefix_len) = (i32::from(*payload.first()?), *payload.get(1)?);
    let link = links.get_mut(&u32_at(payload, 4)?)?;
    let mut flags = u32::from(*payload.get(2)?);
    let (mut local, mut address) = (None, None);
    for (kind, value) in attributes(payload.get(IFADDR..)?) {
        match kind {
            libc::IFA_LOCAL => local = ip(family, value),
            libc::IFA_ADDRESS => address = ip(family, value),
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the other end.
    let net = IpNet::new(local.or(address)?, prefix_len).ok()?;
    let usable = flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) == 0;
    let changed = if present && usable { link.addresses.insert(net) } else { link.addresses.remove(&net) };
    Some(changed)
}

fn ip(family: libc::c_int, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes)).into_owned()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In: any bytes in place of a message. Out: no panic.
        #[test]
        fn any_bytes_can_be_taken(kind in 16u16..24, payload in proptest::collection::vec(any::<u8>(), 0..128)) {
            let mut links = BTreeMap::new();
            take(&mut links, &Raw { kind, flags: 0, sequence: 0, payload: &payload });
        }
    }
}
