//! One netlink socket without Tokio, and reading single entries.
//!
//! The kernel handles a request to ctnetlink before `send` returns: whatever it has to answer is in the socket's queue by
//! then. So nothing here waits, and no request asks for an acknowledgement: an empty queue after `send` means that all
//! went well.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recv, sendto,
    setsockopt, socket, sockopt,
};

use super::message;
use super::record::{Flow, Identity};
use crate::netlink::{NLMSG_ERROR, cap_acknowledgements, errno, messages};
use crate::sysctl;

/// Room for one message of a batch. The longest event, IPv6 with everything, has less than 1 KiB.
const SLOT_BYTES: usize = 2048;
/// Messages read at once: enough to make the system call cheap (below a tenth of the work per message).
const SLOTS: usize = 64;

/// A netfilter netlink socket that never blocks.
#[derive(Debug)]
pub(super) struct Channel {
    fd: OwnedFd,
    port: u32,
    sequence: u32,
}

impl Channel {
    /// Opens a socket in the network namespace of this thread and joins `groups` (a bit each).
    pub(super) fn open(groups: u32, receive_bytes: usize) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        // Beyond the limit for everyone (net.core.rmem_max), which CAP_NET_ADMIN allows; else as much as may be.
        if setsockopt(&fd, sockopt::RcvBufForce, &receive_bytes).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &receive_bytes)?;
        }
        cap_acknowledgements(&fd)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        let port = getsockname::<NetlinkAddr>(fd.as_raw_fd())?.pid();
        Ok(Self { fd, port, sequence: 0 })
    }

    /// The netlink port that the kernel gave.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// A number for the next request.
    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends messages; when it returns the kernel has handled all of them.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        loop {
            match sendto(self.fd.as_raw_fd(), bytes, &kernel, MsgFlags::empty()) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Reads one datagram and returns its length; `None` when there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
                Ok(len) if len <= buffer.len() => return Ok(Some(len)),
                Ok(_truncated) => return Err(Errno::ENOBUFS.into()),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Asks for one connection with the message that `build` makes.
    pub(super) fn lookup(
        &mut self,
        buffer: &mut [u8],
        build: impl FnOnce(Vec<u8>, u32) -> Vec<u8>,
    ) -> io::Result<Option<Flow>> {
        let sequence = self.next_sequence();
        self.send(&build(Vec::with_capacity(256), sequence))?;
        let mut found = None;
        while let Some(len) = self.receive(buffer)? {
            for raw in messages(buffer.get(..len).unwrap_or(&[])).filter(|raw| raw.sequence == sequence) {
                match (raw.kind, errno(raw.payload)) {
                    (NLMSG_ERROR, Some(Errno::ENOENT) | None) => {}
                    (NLMSG_ERROR, Some(e)) => return Err(e.into()),
                    _ => found = message::flow(raw.payload).map(|(flow, _)| flow),
                }
            }
        }
        Ok(found)
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

/// Room for a batch of messages. The default has none.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Box<[u8]>,
    lengths: Vec<usize>,
    filled: usize,
}

impl Batch {
    pub(super) const MAX: usize = SLOTS;

    pub(super) fn new() -> Self {
        Self { bytes: vec![0; SLOTS * SLOT_BYTES].into(), lengths: vec![0; SLOTS], filled: 0 }
    }

    /// Reads as many datagrams as there are, at most [`Batch::MAX`], and returns how many.
    pub(super) fn fill(&mut self, channel: &Channel) -> io::Result<usize> {
        self.filled = 0;
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; SLOTS];
        let mut headers = vectors.each_mut().map(|vector| libc::mmsghdr {
            msg_hdr: libc::msghdr {
                msg_name: std::ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: &raw mut *vector,
                msg_iovlen: 1,
                msg_control: std::ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
            msg_len: 0,
        });
        for (header, slot) in headers.iter_mut().zip(self.bytes.chunks_exact_mut(SLOT_BYTES)) {
            let vector = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            // SAFETY: the pointer was made from `vectors`, which lives on and is not otherwise used.
            #[allow(unsafe_code)]
            unsafe {
                header.msg_hdr.msg_iov.write(vector);
            }
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        let read = loop {
            // SAFETY: there are `SLOTS` headers, each with one vector over a slot of its own; headers, vectors and slots
            // outlive the call, and the kernel writes no more into a slot than its length.
            #[allow(unsafe_code)]
            let read = unsafe {
                libc::recvmmsg(
                    channel.fd.as_raw_fd(),
                    headers.as_mut_ptr(),
                    SLOTS as libc::c_uint,
                    flags as _,
                    std::ptr::null_mut(),
                )
            };
            match Errno::result(read) {
                Ok(read) => break read,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break 0,
                Err(e) => return Err(e.into()),
            }
        };
        self.filled = usize::try_from(read).unwrap_or(0);
        for (length, header) in self.lengths.iter_mut().zip(&headers) {
            *length = header.msg_len as usize;
        }
        Ok(self.filled)
    }

    /// The datagrams that were read; `None` for one that was longer than its slot.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let slots = self.bytes.chunks_exact(SLOT_BYTES).zip(&self.lengths);
        slots.take(self.filled).map(|(slot, length)| slot.get(..*length))
    }
}

/// Makes the kernel keep, for each new connection of this network namespace, what it needs to tell of its changes.
///
/// As the kernel comes (2, "auto"), a connection that was made while nobody listened gives no event ever, not even when
/// it ends: on a node that was standby that would be all of them.
pub(super) fn keep_event_state() -> io::Result<()> {
    const KEY: &str = "net/netfilter/nf_conntrack_events";
    const ALWAYS: &str = "1";
    match sysctl::read(KEY).map_err(io::Error::other)? {
        Some(value) if value == ALWAYS => Ok(()),
        Some(_) | None => sysctl::write(KEY, ALWAYS).map_err(io::Error::other),
    }
}

/// The hand that reads single entries.
#[derive(Debug)]
pub struct Query {
    channel: Channel,
    buffer: Box<[u8]>,
}

impl Query {
    /// Opens a socket in the network namespace of this thread.
    pub fn open() -> io::Result<Self> {
        /// One answer at a time.
        const RECEIVE_BYTES: usize = 64 << 10;
        Ok(Self { channel: Channel::open(0, RECEIVE_BYTES)?, buffer: vec![0; SLOT_BYTES].into() })
    }

    /// The connection with this identity, if the kernel has it; `None` also for an expectation.
    pub fn flow(&mut self, identity: &Identity) -> io::Result<Option<Flow>> {
        match identity {
            Identity::Expectation { .. } => Ok(None),
            Identity::Flow { .. } => self
                .channel
                .lookup(&mut self.buffer, |bytes, sequence| message::get(bytes, identity, sequence)),
        }
    }
}
