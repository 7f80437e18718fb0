//! Packet sockets: Ethernet frames of one device, chosen by a filter in the kernel, past the ruleset and past the
//! routing table.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, bind, recv, send, socket,
};

use crate::fd::Ready;

/// A packet socket of one device.
#[derive(Debug)]
pub(crate) struct PacketSocket(Ready);

impl PacketSocket {
    /// Opens a socket for IPv4 frames of the device with number `index` that pass `filter` (classic BPF).
    pub(crate) fn open(index: u32, filter: &[libc::sock_filter]) -> io::Result<Self> {
        Ok(Self(Ready::new(open(index, libc::ETH_P_IP, filter)?)?))
    }

    /// Waits for a frame and returns its length.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|fd| recv(fd.as_raw_fd(), buffer, MsgFlags::empty())).await
    }

    /// Sends a frame.
    pub(crate) async fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.write_with(|fd| send(fd.as_raw_fd(), frame, MsgFlags::empty())).await.map(drop)
    }
}

/// A non-blocking socket for frames of the device with number `index` and the type `kind` (`linux/if_ether.h`) that pass
/// `filter` (classic BPF).
pub(crate) fn open(index: u32, kind: libc::c_int, filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    // Protocol 0: nothing is received before the filter is in place and the device is chosen.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the option's value is a `sock_fprog` of the given size whose pointer and length are those of
    // `filter`; the kernel copies both during the call and writes to neither.
    #[allow(unsafe_code)]
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    bind(fd.as_raw_fd(), &address(index, kind)?)?;
    Ok(fd)
}

/// The frames of the type `kind` of the device with number `index`.
fn address(index: u32, kind: libc::c_int) -> io::Result<LinkAddr> {
    let raw = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: u16::try_from(kind).map_err(|_| io::ErrorKind::InvalidInput)?.to_be(),
        sll_ifindex: i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer is to a whole `sockaddr_ll` of the family AF_PACKET, of the length that is given; nix
    // copies it and offers no other way to make one.
    #[allow(unsafe_code)]
    let address = unsafe {
        LinkAddr::from_raw((&raw const raw).cast(), Some(size_of::<libc::sockaddr_ll>() as libc::socklen_t))
    };
    address.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
