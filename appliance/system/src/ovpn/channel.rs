//! A netlink socket whose answers are there when `send` returns: generic netlink and rtnetlink handle a request before.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};
use zeroize::Zeroizing;

use crate::netlink::{
    Message, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, READ_BUFFER, cap_acknowledgements, errno, messages,
};

/// No answer was there: the kernel had no memory for it.
pub const UNANSWERED: Errno = Errno::ENOMSG;
/// `SOL_NETLINK`, `NETLINK_ADD_MEMBERSHIP`.
const NETLINK_ADD_MEMBERSHIP: libc::c_int = 1;

#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Channel {
    /// In the network namespace of this thread.
    pub fn open(protocol: SockProtocol) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // A refusal would repeat the request, and there are keys in some.
        cap_acknowledgements(&fd)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; READ_BUFFER].into() })
    }

    /// Hears what is said to a group from now on.
    pub fn join(&self, group: u32) -> io::Result<()> {
        // SAFETY: the option's value is a number of the given size, which lives across the call.
        #[allow(unsafe_code)]
        let done = unsafe {
            let size = size_of_val(&group) as libc::socklen_t;
            let value = (&raw const group).cast();
            libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, value, size)
        };
        Ok(Errno::result(done).map(drop)?)
    }

    /// Has something done.
    pub fn request(&mut self, message: Message) -> Result<(), Errno> {
        self.exchange(message, |_, _| ())
    }

    /// Asks, and visits each answer: the type of the message, and what is behind its header.
    pub fn exchange(&mut self, message: Message, mut visit: impl FnMut(u16, &[u8])) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let (sequence, kernel) = (self.sequence, NetlinkAddr::new(0, 0));
        let bytes = Zeroizing::new(message.finish(sequence));
        let sent = loop {
            match sendto(self.fd.as_raw_fd(), &bytes, &kernel, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        if sent != bytes.len() {
            return Err(UNANSWERED);
        }
        let mut interrupted = false;
        loop {
            let Some(length) = self.receive()? else { return Err(UNANSWERED) };
            let answers = messages(self.buffer.get(..length).unwrap_or_default());
            for raw in answers.filter(|raw| raw.sequence == sequence) {
                interrupted |= raw.flags & NLM_F_DUMP_INTR != 0;
                match raw.kind {
                    NLMSG_ERROR | NLMSG_DONE => match errno(raw.payload) {
                        Some(errno) => return Err(errno),
                        None if interrupted => return Err(Errno::EAGAIN),
                        None => return Ok(()),
                    },
                    kind => visit(kind, raw.payload),
                }
            }
        }
    }

    /// Visits everything that has come.
    pub fn drain(&mut self, mut visit: impl FnMut(u16, &[u8])) -> io::Result<()> {
        while let Some(length) = self.receive()? {
            messages(self.buffer.get(..length).unwrap_or_default())
                .for_each(|raw| visit(raw.kind, raw.payload));
        }
        Ok(())
    }

    /// Reads one datagram; `None` if there is none.
    fn receive(&mut self) -> Result<Option<usize>, Errno> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) if length <= self.buffer.len() => return Ok(Some(length)),
                Ok(_truncated) => return Err(Errno::ENOBUFS),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
