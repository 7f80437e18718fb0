//! The packet socket of the election: whole frames on the parent interface.
//!
//! Adverts go out with the virtual router's MAC as source, whatever the interface's own is, and come in whoever sent them:
//! an active router's frames have the same source as our own macvlan, which the kernel would keep from the parent in some
//! of its modes. So the socket listens to everything (`ETH_P_ALL`, ahead of macvlans and bridges) and a filter in the kernel
//! lets pass what the election is about:
//!
//! ```text
//! frame ─▶ our own, going out? no ─▶ VLAN tag? no ─┬─▶ IPv4 or IPv6, protocol 112 (VRRP, CARP) ─┐
//!                                                  └─▶ ARP reply, neighbour advertisement ──────┴─▶ socket
//! ```

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};

use socket2::{Domain, Protocol, Socket, Type};

use crate::packet;

/// IP protocol number of VRRP and CARP.
const PROTOCOL: u32 = 112;
/// The groups of the two families, 224.0.0.18 and ff02::12, as Ethernet addresses (RFC 1112 §6.4, RFC 2464 §7).
const GROUPS: [[u8; 6]; 2] = [[0x01, 0x00, 0x5e, 0, 0, 0x12], [0x33, 0x33, 0, 0, 0, 0x12]];
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// `TC_PRIO_CONTROL`, `linux/pkt_sched.h`: in front of everything else in the queue of the device.
const PRIORITY: libc::c_int = 7;

/// RFC 9568 §5.1.1.3, §5.1.2.3.
const HOPS: u32 = 255;
/// Class selector 6, network control.
const NETWORK_CONTROL: u32 = 0xc0;

/// Adverts of one parent interface, of both families.
#[derive(Debug)]
pub struct AdvertSocket {
    fd: OwnedFd,
    /// Holds the membership of the IPv6 group, by which the kernel tells switches (MLD) that we listen. IPv4 needs none:
    /// switches send 224.0.0.0/24 everywhere (RFC 4541 §2.1.2).
    _listener: Option<UdpSocket>,
}

impl AdvertSocket {
    /// Opens a socket on the device with number `index`. A device without IPv6 is no error. Needs `CAP_NET_RAW`.
    pub fn open(index: u32) -> io::Result<Self> {
        let fd = packet::open(index, libc::ETH_P_ALL, &filter())?;
        ignore_outgoing(&fd)?;
        for group in GROUPS {
            join(&fd, index, group)?;
        }
        setsockopt(&fd, sockopt::Priority, &PRIORITY)?;
        let listener = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
            .and_then(|socket| socket.join_multicast_v6(&GROUP_V6, index).map(|()| socket));
        Ok(Self { fd, _listener: listener.ok() })
    }

    /// The next frame, and its length; `None` when no more are there. An error that passes, such as the device having
    /// been down, is reported once.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(len) => Ok(Some(len)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Sends a whole frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.fd.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }
}

/// Sends adverts to single routers, by the kernel's own way to them: with the interface's Ethernet address, which it has
/// found out, and time to live 255. Receives nothing; [`AdvertSocket`] does.
#[derive(Debug)]
pub struct UnicastSocket {
    socket: Socket,
    /// Of the interface, for link-local addresses.
    scope: u32,
}

impl UnicastSocket {
    /// Opens a socket that sends from `source` out of `device`, whose number is `index`. Needs `CAP_NET_RAW`.
    pub fn open(device: &str, index: u32, source: IpAddr) -> io::Result<Self> {
        let domain = match source {
            IpAddr::V4(_) => Domain::IPV4,
            IpAddr::V6(_) => Domain::IPV6,
        };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(PROTOCOL as i32)))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(device.as_bytes()))?;
        match source {
            IpAddr::V4(_) => {
                socket.set_ttl_v4(HOPS)?;
                socket.set_tos_v4(NETWORK_CONTROL)?;
            }
            IpAddr::V6(_) => {
                socket.set_unicast_hops_v6(HOPS)?;
                socket.set_tclass_v6(NETWORK_CONTROL)?;
            }
        }
        // Copies of what others send would pile up here until the smallest buffer is full.
        socket.set_recv_buffer_size(0)?;
        let socket = Self { socket, scope: index };
        socket.socket.bind(&socket.address(source).into())?;
        Ok(socket)
    }

    /// Sends what follows the IP header.
    pub fn send(&self, to: IpAddr, payload: &[u8]) -> io::Result<()> {
        self.socket.send_to(payload, &self.address(to).into()).map(drop)
    }

    fn address(&self, address: IpAddr) -> SocketAddr {
        match address {
            IpAddr::V4(address) => SocketAddrV4::new(address, 0).into(),
            IpAddr::V6(address) => {
                let scope = if address.is_unicast_link_local() { self.scope } else { 0 };
                SocketAddrV6::new(address, 0, 0, scope).into()
            }
        }
    }
}

impl AsFd for AdvertSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `linux/filter.h`. A load beyond the frame ends the program with "drop".
fn filter() -> [libc::sock_filter; 17] {
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // Frames of a VLAN on top of the device are seen here too, their tag set aside.
    const TAGGED: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;
    const ICMPV6: u32 = 58;
    const NEIGHBOUR_ADVERTISEMENT: u32 = 136;
    const ARP_REPLY: u32 = 2;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    [
        step(LOAD_WORD, TAGGED, 0, 0),
        step(EQUAL, 0, 0, 14),
        step(LOAD_HALF, 12, 0, 0),
        step(EQUAL, libc::ETH_P_IP as u32, 2, 0),
        step(EQUAL, libc::ETH_P_IPV6 as u32, 3, 0),
        step(EQUAL, libc::ETH_P_ARP as u32, 7, 10),
        // 6: IPv4
        step(LOAD_BYTE, 14 + 9, 0, 0),
        step(EQUAL, PROTOCOL, 7, 8),
        // 8: IPv6
        step(LOAD_BYTE, 14 + 6, 0, 0),
        step(EQUAL, PROTOCOL, 5, 0),
        step(EQUAL, ICMPV6, 0, 5),
        step(LOAD_BYTE, 14 + 40, 0, 0),
        step(EQUAL, NEIGHBOUR_ADVERTISEMENT, 2, 3),
        // 13: ARP
        step(LOAD_HALF, 14 + 6, 0, 0),
        step(EQUAL, ARP_REPLY, 0, 1),
        step(RETURN, u32::MAX, 0, 0),
        step(RETURN, 0, 0, 0),
    ]
}

fn ignore_outgoing(fd: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is one `int` of the given size, which lives across the call.
    #[allow(unsafe_code)]
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

/// Has the device take frames for the Ethernet address `group`.
fn join(fd: &OwnedFd, index: u32, group: [u8; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = group;
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?,
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: [a, b, c, d, e, f, 0, 0],
    };
    // SAFETY: the option's value is one `packet_mreq` of the given size, which lives across the call.
    #[allow(unsafe_code)]
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}
