//! A UDP socket that sends and receives many datagrams with one system call.

use std::collections::BTreeSet;
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Type};

use super::words;

/// Reads of one system call.
const BATCH: usize = 16;
/// Longest read: as many datagrams as the kernel joins.
const MAX_READ: usize = 1 << 16;
/// Queues in the kernel for each direction: 4 MiB are 20 ms of 1.6 Gbit/s, longer than a thread waits for its turn.
const QUEUE_BYTES: usize = 4 << 20;
/// Routers may cut datagrams, and the kernel does not learn a smaller MTU from strangers (`linux/in.h`, `linux/in6.h`).
const PMTUDISC_DONT: libc::c_int = 0;

/// A UDP socket bound to one address, which need not be this node's yet.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens a socket in the network namespace of this thread and binds it to `local`, also while no interface has that
    /// address: a standby listens before it takes over, so that nobody is told that the port is closed. With `shared`
    /// several sockets may be bound to it, one for each shard.
    pub fn bind(local: SocketAddr, shared: bool) -> io::Result<Self> {
        let socket = Self::open(local, shared)?;
        setsockopt(&socket.0, sockopt::UdpGroSegment, &true)?;
        socket.bound(local)
    }

    /// The same for a socket that the kernel reads itself ([`crate::ovpn`]): nothing is joined on its way there. It shares
    /// `local` with the one that was bound before.
    pub fn bind_for_kernel(local: SocketAddr) -> io::Result<Self> {
        Self::open(local, true)?.bound(local)
    }

    fn bound(self, local: SocketAddr) -> io::Result<Self> {
        nix::sys::socket::bind(self.0.as_raw_fd(), &nix::sys::socket::SockaddrStorage::from(local))?;
        Ok(self)
    }

    fn open(local: SocketAddr, shared: bool) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_port(shared)?;
        let (level, name) = match local {
            SocketAddr::V4(_) => {
                socket.set_freebind_v4(true)?;
                (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
            }
            SocketAddr::V6(_) => {
                socket.set_only_v6(true)?;
                socket.set_freebind_v6(true)?;
                (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
            }
        };
        let value = PMTUDISC_DONT;
        // SAFETY: the option's value is an int of the given size, which lives across the call.
        #[allow(unsafe_code)]
        let done = unsafe {
            let size = size_of_val(&value) as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size)
        };
        Errno::result(done)?;
        let fd = OwnedFd::from(socket);
        // Beyond the limit for everybody if this process may.
        if setsockopt(&fd, sockopt::RcvBufForce, &QUEUE_BYTES).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &QUEUE_BYTES)?;
        }
        if setsockopt(&fd, sockopt::SndBufForce, &QUEUE_BYTES).is_err() {
            setsockopt(&fd, sockopt::SndBuf, &QUEUE_BYTES)?;
        }
        Ok(Self(fd))
    }

    /// Of the sockets that share this one's address, in the order in which they were bound: datagrams whose first byte is
    /// `first` go to the second one from now on, and all others to the first. A flood of the one kind fills the queue of
    /// the one socket.
    pub fn steer(&self, first: u8) -> io::Result<()> {
        // linux/bpf_common.h: load the byte at 0, which is the first behind the UDP header; compare; return.
        self.attach(&mut [
            instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, first.into()),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 1),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ])
    }

    /// The same by the first four bytes: datagrams that begin with one of `words` go to the second socket, all others to the
    /// first. At most [`super::MAX_WORDS`]; in force when this returns.
    pub fn steer_data(&self, words: &BTreeSet<u32>) -> io::Result<()> {
        self.attach(&mut words::program(words))
    }

    /// Of the `count` sockets that share this one's address, in the order in which they were bound: datagrams whose first byte has
    /// `kind` in its upper five bits go to the one that the three bytes behind it name, modulo `count`; all others to the first.
    pub fn spread(&self, kind: u8, count: u8) -> io::Result<()> {
        self.attach(&mut [
            instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
            instruction(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, 0, 3),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, kind.into()),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
            // A load beyond the end returns 0.
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, 0x00ff_ffff),
            instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, count.max(1).into()),
            instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
        ])
    }

    fn attach(&self, program: &mut [libc::sock_filter]) -> io::Result<()> {
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the kernel reads one `sock_fprog` and as many instructions as it says, all of which live across the call.
        #[allow(unsafe_code)]
        let done = unsafe {
            let size = size_of_val(&filter) as libc::socklen_t;
            let (level, name) = (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF);
            libc::setsockopt(self.0.as_raw_fd(), level, name, (&raw const filter).cast(), size)
        };
        Ok(Errno::result(done).map(drop)?)
    }

    /// Sends `datagrams` to `to`: they lie side by side, each `segment` bytes long but the last, which may be shorter. At
    /// most 64 of them and 65,000 bytes. An error of the kind `WouldBlock` means that the queue is full.
    pub fn send(&self, to: SocketAddr, datagrams: &[u8], segment: usize) -> io::Result<()> {
        if datagrams.len() <= segment {
            return self.send_once(to, datagrams, None);
        }
        let size = u16::try_from(segment).map_err(|_| io::ErrorKind::InvalidInput)?;
        match self.send_once(to, datagrams, Some(size)) {
            // A datagram longer than the path's MTU, or a device without checksums: one by one then, this time.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO)) => {
                datagrams.chunks(segment).try_for_each(|one| self.send_once(to, one, None))
            }
            other => other,
        }
    }

    fn send_once(&self, to: SocketAddr, bytes: &[u8], segment: Option<u16>) -> io::Result<()> {
        /// A control message with one number, laid out as `CMSG_DATA` and `CMSG_SPACE` say (RFC 3542 §20.2).
        #[repr(C, align(8))]
        struct Control {
            header: libc::cmsghdr,
            segment: u16,
        }
        let to = SockAddr::from(to);
        let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = Control {
            header: libc::cmsghdr {
                cmsg_len: size_of::<libc::cmsghdr>() + size_of::<u16>(),
                cmsg_level: libc::SOL_UDP,
                cmsg_type: libc::UDP_SEGMENT,
            },
            segment: segment.unwrap_or_default(),
        };
        // SAFETY: a `msghdr` is numbers and pointers, for which zeros stand for nothing.
        #[allow(unsafe_code)]
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        if segment.is_some() {
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = size_of::<Control>();
        }
        loop {
            // SAFETY: name, vector and control message are what their lengths say and live across the call; the kernel
            // only reads them.
            #[allow(unsafe_code)]
            let done = unsafe {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                libc::sendmsg(self.0.as_raw_fd(), &raw const message, flags)
            };
            match Errno::result(done) {
                // Refused: the receiver of an earlier datagram was not there. This one may be lost, as on any line.
                Ok(_) | Err(Errno::ECONNREFUSED) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Fills `batch` with what has come.
    pub fn receive(&self, batch: &mut Incoming) -> io::Result<()> {
        let Incoming { buffers, reads, count } = batch;
        *count = 0;
        // SAFETY: numbers and pointers, for which zeros stand for nothing.
        #[allow(unsafe_code)]
        let (mut headers, mut names): ([libc::mmsghdr; BATCH], [libc::sockaddr_storage; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        let mut controls = [ReadControl([0; CONTROL]); BATCH];
        let places = headers.iter_mut().zip(&mut names).zip(&mut vectors).zip(&mut controls);
        for ((((header, name), vector), control), buffer) in places.zip(buffers.chunks_mut(MAX_READ)) {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL;
        }
        // SAFETY: each header points to a name, a vector with a buffer, and room for control messages, all of the lengths
        // that it says and living across the call.
        #[allow(unsafe_code)]
        let done = unsafe {
            let fd = self.0.as_raw_fd();
            libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as _, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        let received = match Errno::result(done) {
            Ok(received) => usize::try_from(received).unwrap_or(0),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        for ((header, name), read) in headers.iter().zip(&names).zip(reads).take(received) {
            let bytes = (header.msg_len as usize).min(MAX_READ);
            let segment = joined(&header.msg_hdr).filter(|size| *size > 0).unwrap_or(bytes.max(1));
            *read = Read { from: address(name, header.msg_hdr.msg_namelen), bytes, segment };
            *count += 1;
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Room for one control message with an int, and some.
const CONTROL: usize = 64;

#[derive(Clone, Copy)]
#[repr(align(8))]
struct ReadControl([u8; CONTROL]);

/// The length of the datagrams that the kernel has joined into one read.
fn joined(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: the header is one that the kernel has just filled in; its control messages lie within `msg_controllen`
    // bytes of `msg_control`, which is what these macros go by, and `UDP_GRO` carries an int.
    #[allow(unsafe_code)]
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = next.as_ref() {
            if (header.cmsg_level, header.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
                return usize::try_from(libc::CMSG_DATA(next).cast::<libc::c_int>().read_unaligned()).ok();
            }
            next = libc::CMSG_NXTHDR(message, next);
        }
    }
    None
}

fn address(name: &libc::sockaddr_storage, length: libc::socklen_t) -> SocketAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: both are the same C structure, filled in by the kernel to `length`, which it never makes longer than that.
    #[allow(unsafe_code)]
    let address = unsafe {
        *storage.view_as::<libc::sockaddr_storage>() = *name;
        SockAddr::new(storage, length)
    };
    address.as_socket().unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))
}

#[derive(Clone, Copy, Debug)]
struct Read {
    from: SocketAddr,
    bytes: usize,
    segment: usize,
}

/// Datagrams that have come. 1 MiB.
#[derive(Debug)]
pub struct Incoming {
    buffers: Box<[u8]>,
    reads: [Read; BATCH],
    count: usize,
}

impl Incoming {
    /// An empty batch.
    pub fn new() -> Self {
        let none = Read { from: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), bytes: 0, segment: 1 };
        Self { buffers: vec![0; BATCH * MAX_READ].into(), reads: [none; BATCH], count: 0 }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Everything that came, as places in [`Self::arena`].
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, std::ops::Range<usize>)> + use<> {
        let (reads, count) = (self.reads, self.count);
        (0..count).zip(reads).flat_map(|(n, Read { from, bytes, segment })| {
            let (begin, end) = (n * MAX_READ, n * MAX_READ + bytes);
            (begin..end).step_by(segment).map(move |at| (from, at..(at + segment).min(end)))
        })
    }

    /// Where they lie, to be opened in place.
    pub fn arena(&mut self) -> &mut [u8] {
        &mut self.buffers
    }
}

impl Default for Incoming {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn received(socket: &Socket, batch: &mut Incoming) -> Vec<Vec<u8>> {
        socket.receive(batch).unwrap();
        let places: Vec<_> = batch.datagrams().collect();
        places.into_iter().map(|(_, place)| batch.arena()[place].to_vec()).collect()
    }

    fn bound(address: &str) -> (Socket, SocketAddr) {
        let free = UdpSocket::bind(address).unwrap().local_addr().unwrap();
        (Socket::bind(free, false).unwrap(), free)
    }

    /// 40 datagrams of 1400 bytes and a short one, in one call: they arrive as they were, over both families.
    #[test]
    fn many_datagrams_go_and_come_in_one_call() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let ((a, from), (b, to)) = (bound(address), bound(address));
            let bytes: Vec<u8> = (0..40 * 1400 + 7).map(|i| (i / 1400) as u8).collect();
            a.send(to, &bytes, 1400).unwrap();
            let mut batch = Incoming::new();
            let got = received(&b, &mut batch);
            assert_eq!(got.concat(), bytes);
            assert!(got[..40].iter().all(|one| one.len() == 1400) && got[40].len() == 7);
            assert!(batch.datagrams().all(|(sender, _)| sender == from));
            assert!(received(&b, &mut batch).is_empty() && batch.is_empty());
        }
    }

    /// Datagrams longer than the MTU cannot be cut by the kernel: they are sent one by one, in fragments.
    #[test]
    fn datagrams_longer_than_the_mtu_are_sent_all_the_same() {
        let ((a, _), (b, to)) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
        a.send(to, &[7; 60_000], 30_000).unwrap();
        a.send(to, &[], 1).unwrap();
        let got = received(&b, &mut Incoming::new());
        assert_eq!(got.iter().map(Vec::len).sum::<usize>(), 60_000);
    }

    #[test]
    fn an_address_that_nobody_has_yet_can_be_bound() {
        Socket::bind("192.0.2.77:51194".parse().unwrap(), false).unwrap();
        Socket::bind("[2001:db8::77]:51194".parse().unwrap(), false).unwrap();
        let shared: SocketAddr = "127.0.0.1:51199".parse().unwrap();
        let _one = Socket::bind(shared, true).unwrap();
        let _two = Socket::bind(shared, true).unwrap();
        assert!(Socket::bind(shared, false).is_err());
    }

    /// Two sockets share an address: what begins with a 1 comes to the second one, also from the same sender.
    #[test]
    fn datagrams_are_steered_by_their_first_byte() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let free = UdpSocket::bind(address).unwrap().local_addr().unwrap();
            let [one, two] = [(); 2].map(|()| Socket::bind(free, true).unwrap());
            one.steer(1).unwrap();
            let (sender, _) = bound(address);
            for first in [4, 1, 0, 1, 2] {
                sender.send(free, &[first; 148], 148).unwrap();
            }
            let firsts = |socket| -> Vec<u8> {
                received(socket, &mut Incoming::new()).iter().map(|bytes| bytes[0]).collect()
            };
            assert_eq!((firsts(&one), firsts(&two)), (vec![4, 0, 2], vec![1, 1]));
        }
    }

    /// The same by the first four bytes, with as many words as there can be, and others later.
    #[test]
    fn datagrams_are_steered_by_their_first_word() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let free = UdpSocket::bind(address).unwrap().local_addr().unwrap();
            let one = Socket::bind(free, true).unwrap();
            one.steer_data(&BTreeSet::new()).unwrap();
            let two = Socket::bind_for_kernel(free).unwrap();
            let (sender, _) = bound(address);
            let words: BTreeSet<u32> =
                (0..crate::tunnel::MAX_WORDS as u32).map(|n| 0x4800_0000 + 3 * n).collect();
            let arrive = |word: u32| {
                sender.send(free, &[&word.to_be_bytes()[..], &[7; 60]].concat(), 64).unwrap();
                sender.send(free, &[0x48, 0], 2).unwrap();
                let count = |socket| received(socket, &mut Incoming::new()).len();
                (count(&one), count(&two))
            };
            assert_eq!(arrive(0x4800_0003), (2, 0));
            one.steer_data(&words).unwrap();
            assert_eq!((arrive(0x4800_0003), arrive(0x4800_0004)), ((1, 1), (2, 0)));
            one.steer_data(&BTreeSet::from([0x4800_0004])).unwrap();
            assert_eq!((arrive(0x4800_0003), arrive(0x4800_0004)), ((2, 0), (1, 1)));
        }
    }

    /// Three sockets share an address: data goes by the three bytes that name its session, and all else, short ones too, to the first.
    #[test]
    fn datagrams_are_spread_by_the_session_that_they_name() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let free = UdpSocket::bind(address).unwrap().local_addr().unwrap();
            let sockets = [(); 3].map(|()| Socket::bind(free, true).unwrap());
            sockets[0].spread(9, 3).unwrap();
            let (sender, _) = bound(address);
            for packet in [
                &[0x48, 0, 0, 4, 1][..],
                &[0x4f, 1, 0, 1, 2],
                &[0x48, 0, 0, 3, 3],
                &[0x20, 0, 0, 4, 4],
                &[0x48, 0, 0],
            ] {
                sender.send(free, packet, 9).unwrap();
            }
            let came = sockets.each_ref().map(|socket| {
                let all = received(socket, &mut Incoming::new());
                all.iter().map(|packet| *packet.last().unwrap()).collect::<Vec<_>>()
            });
            // 4 mod 3 = 1; 65,537 mod 3 = 2.
            assert_eq!(came, [vec![3, 4, 0], vec![1], vec![2]]);
        }
    }

    #[test]
    fn nobody_at_the_other_end_is_no_error() {
        let (a, _) = bound("127.0.0.1:0");
        let (b, to) = bound("127.0.0.1:0");
        drop(b);
        let mut batch = Incoming::new();
        for _ in 0..3 {
            a.send(to, &[1; 100], 50).unwrap();
            a.receive(&mut batch).unwrap();
        }
    }
}
