//! UDP sockets between two nodes, many datagrams with one system call.
//!
//! A socket belongs to one device and to one pair of addresses: the kernel delivers nothing else to it, and what it sends
//! leaves by that device or not at all.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
    sockopt,
};

use crate::flowsync::Events;

/// Datagrams of one system call.
pub const BATCH: usize = 32;
/// Longest datagram that is received, in bytes; longer ones are cut off, and nobody of ours sends such.
pub const MAX_DATAGRAM: usize = 2048;

/// A connected UDP socket on one device. Nothing blocks.
#[derive(Debug)]
pub struct DatagramSocket(OwnedFd);

impl DatagramSocket {
    /// Opens a socket on `device` from `local` to `remote`, with queues of `buffer_bytes` in the kernel for each
    /// direction if this process may have them (`CAP_NET_ADMIN`). Fails while the device has no route to `remote`.
    pub fn open(
        device: &str,
        local: SocketAddr,
        remote: SocketAddr,
        buffer_bytes: usize,
    ) -> io::Result<Self> {
        let family = match local {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
        setsockopt(&fd, sockopt::BindToDevice, &device.into())?;
        // Two programs that follow each other, a killed one and its successor, need not wait.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        for force in [true, false] {
            let done = match force {
                true => setsockopt(&fd, sockopt::RcvBufForce, &buffer_bytes)
                    .and_then(|()| setsockopt(&fd, sockopt::SndBufForce, &buffer_bytes)),
                false => setsockopt(&fd, sockopt::RcvBuf, &buffer_bytes)
                    .and_then(|()| setsockopt(&fd, sockopt::SndBuf, &buffer_bytes)),
            };
            if done != Err(Errno::EPERM) {
                done?;
                break;
            }
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
        connect(fd.as_raw_fd(), &SockaddrStorage::from(remote))?;
        Ok(Self(fd))
    }

    /// Fills `batch` with what has come. That the other program was not there when something was sent to it is no
    /// error.
    pub fn receive(&self, batch: &mut Incoming) -> io::Result<()> {
        batch.count = 0;
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        for (vector, buffer) in vectors.iter_mut().zip(batch.buffers.iter_mut()) {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        }
        let mut headers = headers(&mut vectors, BATCH);
        // SAFETY: each of the BATCH headers points to one vector, each vector to one buffer of the length that it says;
        // all three live across the call. No address, no control data and no timeout are asked for.
        #[allow(unsafe_code)]
        let done = unsafe {
            libc::recvmmsg(
                self.0.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        match Errno::result(done) {
            Ok(count) => {
                batch.count = usize::try_from(count).unwrap_or(0).min(BATCH);
                for (length, header) in batch.lengths.iter_mut().zip(&headers) {
                    *length = (header.msg_len as usize).min(MAX_DATAGRAM);
                }
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Sends the datagrams of `batch` and empties it. What the kernel has no room for is lost, as on any line; the
    /// number of these is returned.
    pub fn send(&self, batch: &mut Outgoing) -> io::Result<usize> {
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        for (vector, datagram) in vectors.iter_mut().zip(batch.datagrams.iter_mut()) {
            *vector = libc::iovec { iov_base: datagram.as_mut_ptr().cast(), iov_len: datagram.len() };
        }
        let count = std::mem::take(&mut batch.count).min(BATCH);
        let mut headers = headers(&mut vectors, count);
        let mut sent = 0;
        let mut refusals = 0;
        while let Some(rest) = headers.get_mut(sent..count).filter(|rest| !rest.is_empty()) {
            // SAFETY: each header points to one vector, each vector to a datagram of the length that it says; all live
            // across the call, and the kernel only reads them.
            #[allow(unsafe_code)]
            let done = unsafe {
                libc::sendmmsg(
                    self.0.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            match Errno::result(done) {
                Ok(done) => sent += usize::try_from(done).unwrap_or(0).max(1),
                Err(Errno::EINTR) => {}
                // It is about an earlier datagram; this one was not sent. Once more is enough.
                Err(Errno::ECONNREFUSED) if refusals < BATCH => refusals += 1,
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ECONNREFUSED) => return Ok(count - sent),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(0)
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What to wait for until `events` has something to read.
pub fn source(events: &Events) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to `events`, which is borrowed for as long as what is returned.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedFd::borrow_raw(events.as_raw_fd())
    }
}

/// Headers that point to `vectors`, one each; the first `count` are set up.
fn headers(vectors: &mut [libc::iovec; BATCH], count: usize) -> [libc::mmsghdr; BATCH] {
    // SAFETY: a `mmsghdr` is numbers and pointers, for which zeros stand for nothing.
    #[allow(unsafe_code)]
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (header, vector) in headers.iter_mut().zip(vectors).take(count) {
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
    }
    headers
}

/// Datagrams that have come. 64 KiB.
#[derive(Debug)]
pub struct Incoming {
    buffers: Box<[[u8; MAX_DATAGRAM]; BATCH]>,
    lengths: [usize; BATCH],
    count: usize,
}

impl Incoming {
    /// An empty batch.
    pub fn new() -> Self {
        Self { buffers: Box::new([[0; MAX_DATAGRAM]; BATCH]), lengths: [0; BATCH], count: 0 }
    }

    /// Whether it is as full as it can be: there may be more in the socket.
    pub fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// The datagrams, to be opened in place.
    pub fn datagrams(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.buffers
            .iter_mut()
            .zip(self.lengths)
            .take(self.count)
            .filter_map(|(buffer, length)| buffer.get_mut(..length))
    }
}

impl Default for Incoming {
    fn default() -> Self {
        Self::new()
    }
}

/// Datagrams that are to be sent.
#[derive(Debug)]
pub struct Outgoing {
    datagrams: Box<[Vec<u8>; BATCH]>,
    count: usize,
}

impl Outgoing {
    /// An empty batch.
    pub fn new() -> Self {
        Self { datagrams: Box::new([const { Vec::new() }; BATCH]), count: 0 }
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A place for a datagram, which `fill` writes; it is kept if `fill` says so. False without room.
    pub fn push(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let Some(place) = self.datagrams.get_mut(self.count) else { return false };
        let kept = fill(place);
        self.count += usize::from(kept);
        kept
    }

    /// Forgets what is to be sent.
    pub fn clear(&mut self) {
        self.count = 0;
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair() -> (DatagramSocket, DatagramSocket) {
        // Two free ports, known only once something has been bound to them.
        let port = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (a, b) = (port(), port());
        let open = |from, to| DatagramSocket::open("lo", from, to, 1 << 20).unwrap();
        (open(a, b), open(b, a))
    }

    fn outgoing(numbers: std::ops::Range<u8>) -> Outgoing {
        let mut batch = Outgoing::new();
        for number in numbers {
            let fill = |place: &mut Vec<u8>| {
                place.clear();
                place.resize(1 + usize::from(number), number);
                true
            };
            assert!(batch.push(fill));
        }
        batch
    }

    #[test]
    fn a_batch_arrives_whole_and_in_order() {
        let (a, b) = pair();
        let mut batch = outgoing(0..BATCH as u8);
        assert!(batch.is_full() && !batch.push(|_| true));
        assert_eq!(a.send(&mut batch).unwrap(), 0);
        assert!(batch.is_empty());
        let mut incoming = Incoming::new();
        b.receive(&mut incoming).unwrap();
        assert!(incoming.is_full());
        let read: Vec<Vec<u8>> = incoming.datagrams().map(|datagram| datagram.to_vec()).collect();
        let sent: Vec<Vec<u8>> = (0..BATCH as u8).map(|n| vec![n; 1 + usize::from(n)]).collect();
        assert_eq!(read, sent);
        b.receive(&mut incoming).unwrap();
        assert_eq!(incoming.datagrams().count(), 0);
    }

    #[test]
    fn nobody_at_the_other_end_is_no_error() {
        let (a, b) = pair();
        drop(b);
        for _ in 0..3 {
            a.send(&mut outgoing(0..4)).unwrap();
            a.receive(&mut Incoming::new()).unwrap();
        }
    }
}
