//! The ways to the other node: one UDP socket for each, tied to its device, so that what comes in by it has come by that
//! cable and what goes out takes it.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rempart_plan::ha::PathPlan;
use rempart_plan::ha::ports;
use rempart_system::linkwatch::LinkWatch;
use socket2::{Domain, Socket, Type};

/// Class selector 6, network control.
const NETWORK_CONTROL: u32 = 0xc0;
/// `TC_PRIO_CONTROL`, `linux/pkt_sched.h`: in front of everything else in the queue of the device.
const PRIORITY: u32 = 7;

/// A way to the other node.
#[derive(Debug)]
pub struct Way {
    /// What the document says.
    pub plan: PathPlan,
    open: Option<Open>,
    /// Whether the device has a carrier.
    pub carrier: bool,
    /// Datagrams that could not be sent.
    pub failures: u64,
}

#[derive(Debug)]
struct Open {
    socket: UdpSocket,
    index: u32,
    remote: SocketAddr,
}

impl Way {
    /// Closed until [`Self::adapt`] finds the device.
    pub fn new(plan: PathPlan) -> Self {
        Self { plan, open: None, carrier: false, failures: 0 }
    }

    /// Opens, closes or opens anew, as the device has come or gone, and notes its carrier.
    pub fn adapt(&mut self, watch: &LinkWatch) {
        let link = watch.named(&self.plan.device);
        self.carrier = link.is_some_and(|link| link.running);
        let index = link.map(|link| link.index);
        if self.open.as_ref().map(|open| open.index) != index {
            self.open = index.and_then(|index| open(&self.plan, index).ok());
        }
    }

    /// The next datagram from the other node's address, and its length; `None` when there are no more.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        let open = self.open.as_ref()?;
        loop {
            match open.socket.recv_from(buffer) {
                Ok((len, from)) if from.ip() == self.plan.remote => return Some(len),
                // Somebody else's.
                Ok(_) => {}
                // That the other node has refused an earlier one (ICMP): the next read tells more.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends a datagram to the other node.
    pub fn send(&mut self, datagram: &[u8]) {
        if let Some(open) = &self.open {
            self.failures += u64::from(open.socket.send_to(datagram, open.remote).is_err());
        }
    }

    /// What there is to wait for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(|open| open.socket.as_fd())
    }
}

fn open(plan: &PathPlan, index: u32) -> io::Result<Open> {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, ports::HEARTBEAT)),
        IpAddr::V6(ip) => {
            let scope = if ip.is_unicast_link_local() { index } else { 0 };
            SocketAddr::V6(SocketAddrV6::new(ip, ports::HEARTBEAT, 0, scope))
        }
    };
    let local = address(plan.local);
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(plan.device.as_bytes()))?;
    socket.set_priority(PRIORITY)?;
    // A worker that has just died may not have been cleared away yet; of two sockets the newer one is served.
    socket.set_reuse_address(true)?;
    // The address may come later than the program.
    match local {
        SocketAddr::V4(_) => {
            socket.set_freebind_v4(true)?;
            socket.set_tos_v4(NETWORK_CONTROL)?;
        }
        SocketAddr::V6(_) => {
            socket.set_freebind_v6(true)?;
            socket.set_tclass_v6(NETWORK_CONTROL)?;
        }
    }
    socket.bind(&local.into())?;
    Ok(Open { socket: socket.into(), index, remote: address(plan.remote) })
}
