//! Many clients at once, from many addresses, on one thread.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use rempart_kernel_tests::node::Failure;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{DATA_V2, OVERHEAD};

use super::client::{Client, Credentials};
use super::packet;

/// A client that is not up after so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the socket of a client that has left is kept: what comes late is not answered with "port closed".
const LINGER: Duration = Duration::from_secs(1);
/// The longest wait, in milliseconds.
const LONGEST_MS: u16 = 20;
/// Clients in each network of 256 addresses: strangers are counted by such networks.
const EACH: usize = 50;

/// Where client `number` of a crowd is, in 198.18.0.0/16, which is the benchmarks' own (RFC 2544 §C.2.2).
pub fn scattered(number: usize) -> SocketAddr {
    let [net, host] = [number / EACH % 250, 1 + number % EACH].map(|part| part as u8);
    SocketAddr::from((Ipv4Addr::new(198, 18, net, host), 0))
}

/// Who the clients are and where.
pub struct Crowd {
    /// Theirs, in turn.
    pub credentials: Vec<Arc<Credentials>>,
    /// Where client `n` speaks from; port 0.
    pub from: fn(usize) -> SocketAddr,
    /// The server.
    pub to: SocketAddr,
    /// So many begin at once.
    pub at_once: usize,
}

/// A client and its socket.
pub struct Seat {
    /// Not blocking, connected.
    socket: UdpSocket,
    client: Client,
    began: Instant,
}

/// What a crowd has done.
#[derive(Debug, Default)]
pub struct Done {
    /// So many came up.
    pub up: usize,
    /// So many did not.
    pub failed: usize,
    /// Why the last of them did not.
    pub why: Option<String>,
    /// From the first packet to the end.
    pub seconds: f64,
}

impl Crowd {
    /// Clients come up one after the other and leave at once, for so long. In the network namespace of this thread.
    pub fn come_and_go(&self, time: Duration) -> Result<Done, Failure> {
        Ok(self.run(|_, begun| begun < time, false)?.1)
    }

    /// So many clients come up and stay.
    pub fn come(&self, count: usize) -> Result<Vec<Seat>, Failure> {
        let (held, done) = self.run(|begun, _| begun < count, true)?;
        match held.len() {
            got if got == count => Ok(held),
            got => Err(format!("{got} of {count} clients are up: {done:?}").into()),
        }
    }

    /// `more` says, from how many have begun and for how long, whether another one does.
    fn run(&self, more: impl Fn(usize, Duration) -> bool, stay: bool) -> Result<(Vec<Seat>, Done), Failure> {
        let began = Instant::now();
        let (mut number, mut done) = (0, Done::default());
        let (mut seats, mut held): (Vec<Seat>, Vec<Seat>) = (Vec::new(), Vec::new());
        let mut gone: VecDeque<(Instant, Seat)> = VecDeque::new();
        loop {
            while seats.len() < self.at_once && more(number, began.elapsed()) {
                seats.push(self.begin(number)?);
                number += 1;
            }
            if seats.is_empty() {
                done.seconds = began.elapsed().as_secs_f64();
                return Ok((held, done));
            }
            wait(&seats)?;
            let now = Instant::now();
            while gone.front().is_some_and(|(at, _)| *at + LINGER < now) {
                gone.pop_front();
            }
            for at in (0..seats.len()).rev() {
                let stepped = seats[at].step(now);
                let up = seats[at].client.up().is_some();
                if stepped.is_ok() && !up && seats[at].began + PATIENCE > now {
                    continue;
                }
                let mut seat = seats.swap_remove(at);
                match stepped {
                    Ok(()) if up && stay => held.push(seat),
                    Ok(()) if up => {
                        seat.client.leave()?;
                        seat.step(now)?;
                        gone.push_back((now, seat));
                    }
                    Ok(()) => {
                        let stage = seat.client.stage();
                        (done.failed, done.why) = (done.failed + 1, Some(format!("too late: {stage}")));
                    }
                    Err(error) => (done.failed, done.why) = (done.failed + 1, Some(error.to_string())),
                }
                done.up += usize::from(up);
            }
        }
    }

    fn begin(&self, number: usize) -> Result<Seat, Failure> {
        let socket = UdpSocket::bind((self.from)(number))?;
        socket.set_nonblocking(true)?;
        socket.connect(self.to)?;
        let credentials = &self.credentials[number % self.credentials.len()];
        let began = Instant::now();
        let session = (number as u64).to_be_bytes().map(|byte| byte ^ 0xa5);
        Ok(Seat { socket, client: Client::new(credentials, began, session)?, began })
    }
}

impl Seat {
    /// Everything that has come, and everything that is due.
    pub fn step(&mut self, now: Instant) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.client.handle(now, &buffer[..length])?,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // The server was not there for a moment; TLS is patient.
                Err(_) => {}
            }
        }
        while let Some(packet) = self.client.poll_transmit(now)? {
            let _ = self.socket.send(&packet);
        }
        Ok(())
    }

    /// What it sends through its tunnel.
    pub fn inside(self) -> Result<Inside, Failure> {
        let up = self.client.up().ok_or("no tunnel")?;
        Ok(Inside { socket: self.socket, sealer: up.sealer()?, address: up.address, sequence: 0 })
    }
}

/// A client that is up and has nothing more to say but echo requests.
pub struct Inside {
    socket: UdpSocket,
    sealer: Sealer,
    address: Ipv4Addr,
    sequence: u16,
}

impl Inside {
    /// Asks `to` for an echo.
    pub fn ask(&mut self, to: Ipv4Addr) -> Result<(), Failure> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut datagram = vec![0; OVERHEAD];
        datagram.extend(packet::echo(self.address, to, 1, self.sequence));
        self.sealer.seal(&mut datagram)?;
        // A router that is gone is not there to answer.
        let _ = self.socket.send(&datagram);
        Ok(())
    }

    /// Takes what has come; whether there was an echo among it.
    pub fn is_answered(&self) -> bool {
        let (mut buffer, mut answered) = ([0; 4096], false);
        while let Ok(length) = self.socket.recv(&mut buffer) {
            // Signs of life have another length; nobody else knows the address.
            answered |= length == OVERHEAD + packet::ECHO && buffer[0] >> 3 == DATA_V2;
        }
        answered
    }
}

/// Until one of them has something, or one's time may have come.
fn wait(seats: &[Seat]) -> Result<(), Failure> {
    let mut sources: Vec<PollFd<'_>> =
        seats.iter().map(|seat| PollFd::new(seat.socket.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut sources, LONGEST_MS)?;
    Ok(())
}
