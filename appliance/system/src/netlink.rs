//! Netlink without a library: building and reading messages and attributes, and one socket. What rtnetlink does
//! is left to the crate of that name; this is for nfnetlink, where hundreds of thousands of messages are read.
//!
//! ```text
//! nlmsghdr  len:u32 type:u16 flags:u16 seq:u32 pid:u32        native order, aligned to 4
//! nfgenmsg  family:u8 version:u8 res_id:be16
//! nlattr    len:u16 type:u16 payload ...                      nested: NLA_F_NESTED in type
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt,
    socket, sockopt,
};
use std::os::fd::AsRawFd;

use crate::fd::Ready;

pub(crate) const NLM_F_REQUEST: u16 = 0x01;
pub(crate) const NLM_F_ACK: u16 = 0x04;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;

pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLMSG_OVERRUN: u16 = 4;
/// First type that belongs to the protocol above.
const NLMSG_MIN_TYPE: u16 = 16;
const HEADER: usize = 16;
/// Length of `nfgenmsg`.
pub(crate) const NFGEN: usize = 4;
const NLA_HEADER: usize = 4;
const NLA_F_NESTED: u16 = 0x8000;
/// Without the flags for nesting and byte order.
const NLA_TYPE_MASK: u16 = 0x3fff;
/// The kernel fills at most 32 KiB per read of a dump (`netlink_dump`); messages of events are smaller.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

/// A message being built, at the end of a buffer that may hold others before it.
#[derive(Clone, Debug)]
pub(crate) struct Message(Vec<u8>, usize);

/// Where a nested attribute began.
pub(crate) struct Nest(usize);

impl Message {
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        Self::after(Vec::with_capacity(256), kind, flags)
    }

    /// A message behind those in `bytes`: many for one send, in one allocation.
    pub(crate) fn after(mut bytes: Vec<u8>, kind: u16, flags: u16) -> Self {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self(bytes, start)
    }

    /// A message of netfilter: `subsystem` and `kind` make the type.
    pub(crate) fn netfilter(subsystem: u8, kind: u8, flags: u16, family: u8, resource: u16) -> Self {
        Self::netfilter_after(Vec::with_capacity(256), subsystem, kind, flags, family, resource)
    }

    /// The same behind the messages in `bytes`.
    pub(crate) fn netfilter_after(
        bytes: Vec<u8>,
        subsystem: u8,
        kind: u8,
        flags: u16,
        family: u8,
        resource: u16,
    ) -> Self {
        let mut message = Self::after(bytes, u16::from_be_bytes([subsystem, kind]), flags);
        message.0.extend_from_slice(&[family, 0]);
        message.0.extend_from_slice(&resource.to_be_bytes());
        message
    }

    /// A message whose family header, such as `ifinfomsg`, is `header`; a multiple of four bytes.
    pub(crate) fn with_header(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut message = Self::new(kind, flags);
        message.0.extend_from_slice(header);
        message
    }

    pub(crate) fn attr(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        let len = u16::try_from(NLA_HEADER + payload.len()).unwrap_or(u16::MAX);
        debug_assert!(payload.len() < usize::from(u16::MAX) - NLA_HEADER);
        let ([l0, l1], [k0, k1]) = (len.to_ne_bytes(), kind.to_ne_bytes());
        match *payload {
            // Most have one to four bytes.
            [a] => self.0.extend_from_slice(&[l0, l1, k0, k1, a, 0, 0, 0]),
            [a, b] => self.0.extend_from_slice(&[l0, l1, k0, k1, a, b, 0, 0]),
            [a, b, c, d] => self.0.extend_from_slice(&[l0, l1, k0, k1, a, b, c, d]),
            _ => {
                self.0.extend_from_slice(&[l0, l1, k0, k1]);
                self.0.extend_from_slice(payload);
                self.0.resize(self.0.len().next_multiple_of(4), 0);
            }
        }
        self
    }

    pub(crate) fn open(&mut self, kind: u16) -> Nest {
        let start = self.0.len();
        self.attr(kind | NLA_F_NESTED, &[]);
        Nest(start)
    }

    pub(crate) fn close(&mut self, nest: Nest) -> &mut Self {
        let len = u16::try_from(self.0.len() - nest.0).unwrap_or(u16::MAX).to_ne_bytes();
        if let Some(place) = self.0.get_mut(nest.0..nest.0 + 2) {
            place.copy_from_slice(&len);
        }
        self
    }

    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let message = &mut self.0[self.1..];
        let len = u32::try_from(message.len()).unwrap_or(u32::MAX).to_ne_bytes();
        message[..4].copy_from_slice(&len);
        message[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A message that was read: everything after the header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

impl Raw<'_> {
    /// How many bytes it takes among others, with its header.
    pub(crate) fn space(&self) -> usize {
        (HEADER + self.payload.len()).next_multiple_of(4)
    }
}

/// The messages in `bytes`; a broken length ends the iteration.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.get(..HEADER)?;
        let len = usize::try_from(u32_ne(header)?).ok()?;
        let payload = rest.get(HEADER..len)?;
        let raw = Raw {
            kind: u16_ne(header.get(4..)?)?,
            flags: u16_ne(header.get(6..)?)?,
            sequence: u32_ne(header.get(8..)?)?,
            payload,
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(raw)
    })
}

/// The attributes in `bytes` by type, without the flags; a broken length ends the iteration.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::from(u16_ne(rest)?);
        let kind = u16_ne(rest.get(2..)?)? & NLA_TYPE_MASK;
        let payload = rest.get(NLA_HEADER..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, payload))
    })
}

pub(crate) fn u16_ne(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|b| u16::from_ne_bytes(*b))
}
/// The netlink port of whoever asked for, or caused, the first message in `bytes`; 0 when it was the kernel itself.
pub(crate) fn port_of(bytes: &[u8]) -> u32 {
    bytes.get(12..).and_then(u32_ne).unwrap_or(0)
}

pub(crate) fn u32_ne(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_ne_bytes(*b))
}
pub(crate) fn u16_be(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|b| u16::from_be_bytes(*b))
}
pub(crate) fn u32_be(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_be_bytes(*b))
}
pub(crate) fn u64_be(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|b| u64::from_be_bytes(*b))
}

/// What the kernel answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// An error number.
    #[error("{0}")]
    Refused(Errno),
    /// The socket itself failed.
    #[error("the netlink socket failed: {0}")]
    Io(#[from] io::Error),
    /// Messages were lost, or the table changed under a dump.
    #[error("the answer is incomplete")]
    Incomplete,
}

impl NetlinkError {
    pub(crate) fn is(&self, errno: Errno) -> bool {
        matches!(self, Self::Refused(e) if *e == errno)
    }
}

/// A netlink socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: Ready,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the namespace of this thread and joins `groups` (a bit each).
    pub(crate) fn open(protocol: SockProtocol, groups: u32, receive_bytes: usize) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // Beyond the limit for everyone (net.core.rmem_max), which CAP_NET_ADMIN allows; else as much as may be.
        if setsockopt(&fd, sockopt::RcvBufForce, &receive_bytes).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &receive_bytes)?;
        }
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd: Ready::new(fd)?, sequence: 0, buffer: vec![0; READ_BUFFER] })
    }

    /// Sends `message` and waits for the acknowledgement.
    pub(crate) async fn request(&mut self, message: Message) -> Result<(), NetlinkError> {
        let sequence = self.send(message).await?;
        self.acknowledged(sequence).await
    }

    /// Sends many messages and waits for the acknowledgement of each. `on_error` is told the position and the
    /// error of those that were refused.
    pub(crate) async fn request_all(
        &mut self,
        messages: impl IntoIterator<Item = Message>,
        mut on_error: impl FnMut(usize, Errno),
    ) -> Result<(), NetlinkError> {
        /// How many requests are under way at once: their answers must fit the receive buffer.
        const WINDOW: usize = 64;
        let mut messages = messages.into_iter().enumerate().peekable();
        while messages.peek().is_some() {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            let mut positions = Vec::with_capacity(WINDOW);
            for (position, message) in messages.by_ref().take(WINDOW) {
                self.sequence = self.sequence.wrapping_add(1);
                bytes.extend_from_slice(&message.finish(self.sequence));
                positions.push(position);
            }
            self.write(&bytes).await?;
            let mut open = positions.len();
            while open > 0 {
                let len = self.fill().await?;
                for raw in messages_of(&self.buffer, len) {
                    let offset = raw.sequence.wrapping_sub(first) as usize;
                    if let (NLMSG_ERROR, Some(position)) = (raw.kind, positions.get(offset)) {
                        open = open.saturating_sub(1);
                        if let Some(e) = errno(raw.payload) {
                            on_error(*position, e);
                        }
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Sends `message`, a dump or a single question, and hands each answer to `visit`.
    pub(crate) async fn dump(
        &mut self,
        message: Message,
        mut visit: impl FnMut(Raw<'_>),
    ) -> Result<(), NetlinkError> {
        /// How many reads between two turns of the other tasks: some milliseconds.
        const TURN: u32 = 8;
        let sequence = self.send(message).await?;
        let mut interrupted = false;
        for turn in 1u32.. {
            let len = self.fill().await?;
            for raw in messages_of(&self.buffer, len).filter(|raw| raw.sequence == sequence) {
                interrupted |= raw.flags & NLM_F_DUMP_INTR != 0;
                match raw.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match errno(raw.payload) {
                            None if interrupted => Err(NetlinkError::Incomplete),
                            None => Ok(()),
                            Some(e) => Err(NetlinkError::Refused(e)),
                        };
                    }
                    NLMSG_OVERRUN => return Err(NetlinkError::Incomplete),
                    kind if kind >= NLMSG_MIN_TYPE => visit(raw),
                    _ => {}
                }
            }
            if turn % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Waits for messages that nobody asked for. [`NetlinkError::Incomplete`] means that some were lost.
    pub(crate) async fn receive(&mut self) -> Result<&[u8], NetlinkError> {
        let len = self.fill().await?;
        Ok(self.buffer.get(..len).unwrap_or(&[]))
    }

    async fn acknowledged(&mut self, sequence: u32) -> Result<(), NetlinkError> {
        loop {
            let len = self.fill().await?;
            for raw in messages_of(&self.buffer, len).filter(|raw| raw.sequence == sequence) {
                if raw.kind == NLMSG_ERROR {
                    return match errno(raw.payload) {
                        None => Ok(()),
                        Some(e) => Err(NetlinkError::Refused(e)),
                    };
                }
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<u32, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.finish(self.sequence);
        self.write(&bytes).await?;
        Ok(self.sequence)
    }

    async fn write(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let kernel = NetlinkAddr::new(0, 0);
        let send =
            |fd: std::os::fd::BorrowedFd<'_>| sendto(fd.as_raw_fd(), bytes, &kernel, MsgFlags::empty());
        let sent = self.fd.write_with(send).await?;
        if sent == bytes.len() { Ok(()) } else { Err(NetlinkError::Io(io::ErrorKind::WriteZero.into())) }
    }

    async fn fill(&mut self) -> Result<usize, NetlinkError> {
        let buffer = &mut self.buffer;
        let read = |fd: std::os::fd::BorrowedFd<'_>| recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC);
        match self.fd.read_with(read).await {
            Ok(len) if len <= READ_BUFFER => Ok(len),
            Ok(_truncated) => Err(NetlinkError::Incomplete),
            Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => Err(NetlinkError::Incomplete),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn messages_of(buffer: &[u8], len: usize) -> impl Iterator<Item = Raw<'_>> {
    messages(buffer.get(..len).unwrap_or(&[]))
}

/// The error in the payload of `NLMSG_ERROR` or `NLMSG_DONE`; `None` for zero or nothing.
pub(crate) fn errno(payload: &[u8]) -> Option<Errno> {
    let code = payload.first_chunk().map(|b| i32::from_ne_bytes(*b))?;
    (code < 0).then(|| Errno::from_raw(code.saturating_neg()))
}

/// Refusals that come by this socket do not repeat the request (`NETLINK_CAP_ACK`).
pub(crate) fn cap_acknowledgements(fd: &OwnedFd) -> io::Result<()> {
    const NETLINK_CAP_ACK: libc::c_int = 10;
    let on: libc::c_int = 1;
    // SAFETY: the option's value is one `int`, of which the length is given; the kernel only reads it.
    #[allow(unsafe_code)]
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            NETLINK_CAP_ACK,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_that_were_built_are_read_back() {
        let mut message = Message::netfilter(1, 2, NLM_F_ACK, 2, 7);
        message.attr(1, b"abc");
        let nest = message.open(2);
        message.attr(3, &5u32.to_be_bytes());
        message.close(nest);
        let bytes = message.finish(9);
        let raw = messages(&bytes).next().expect("one message");
        assert_eq!((raw.kind, raw.sequence, raw.flags), (0x0102, 9, NLM_F_ACK | NLM_F_REQUEST));
        let attrs: Vec<_> = attributes(&raw.payload[NFGEN..]).collect();
        assert_eq!(attrs[0], (1, &b"abc"[..]));
        let inner: Vec<_> = attributes(attrs[1].1).collect();
        assert_eq!((attrs[1].0, inner.as_slice()), (2, &[(3, &5u32.to_be_bytes()[..])][..]));
    }

    proptest! {
        /// Whatever bytes arrive, reading them ends and never panics.
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
