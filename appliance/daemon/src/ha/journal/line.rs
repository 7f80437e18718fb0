//! The line to the other node: a socket for each path, one set of keys.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rempart_pair::keys::{Endpoint, Kind, Refused};
use rempart_plan::ha::ports;
use rempart_system::datagram::{DatagramSocket, Incoming, Outgoing};

use super::Way;

/// The kernel's queues of a socket. A full window of datagrams takes 2.5 MB of it while the thread writes.
const SOCKET_BYTES: usize = 8 << 20;
/// A path that cannot be opened (no address, no carrier) is tried again so often.
const REOPEN: Duration = Duration::from_millis(500);
/// Batches that are read from one path before anything else has its turn.
const BATCHES: usize = 4;
/// The least time between two answers to sessions that have not proved themselves, so that nobody who plays recordings
/// to us makes us talk.
const GREET: Duration = Duration::from_millis(1);
/// The least time between two heartbeats that are handed on: a flood of forgeries must not fill the elector's queue.
const CARRIED: Duration = Duration::from_millis(1);

struct Path {
    way: Way,
    socket: Option<DatagramSocket>,
    up: bool,
}

/// See the head of the file.
pub(super) struct Line {
    endpoint: Endpoint,
    paths: Vec<Path>,
    chosen: usize,
    reopen_at: Instant,
    greeted: Option<Instant>,
    carried: Option<Instant>,
    incoming: Incoming,
    outgoing: Outgoing,
}

/// What [`Line::receive`] found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Received {
    /// Authentic datagrams.
    pub(super) count: u32,
    /// Somebody waits for a sign of us.
    pub(super) greet: bool,
}

impl Line {
    pub(super) fn new(now: Instant, endpoint: Endpoint, ways: &[Way]) -> Self {
        let mut line = Self {
            endpoint,
            paths: Vec::new(),
            chosen: 0,
            reopen_at: now,
            greeted: None,
            carried: None,
            incoming: Incoming::new(),
            outgoing: Outgoing::new(),
        };
        line.set_ways(now, ways);
        line
    }

    /// The document names other paths: those that stay are kept.
    pub(super) fn set_ways(&mut self, now: Instant, ways: &[Way]) {
        let mut old = std::mem::take(&mut self.paths);
        for way in ways {
            let kept = old.iter().position(|path| path.way == *way).map(|place| old.swap_remove(place));
            self.paths.push(kept.unwrap_or_else(|| Path { way: way.clone(), socket: None, up: false }));
        }
        self.reopen_at = now;
        self.choose();
    }

    /// True if another path is used from now on.
    pub(super) fn set_up(&mut self, path: usize, up: bool) -> bool {
        if let Some(path) = self.paths.get_mut(path) {
            path.up = up;
        }
        self.choose()
    }

    fn choose(&mut self) -> bool {
        let first = self.paths.iter().position(|path| path.up);
        let kept = self.chosen.min(self.paths.len().saturating_sub(1));
        std::mem::replace(&mut self.chosen, first.unwrap_or(kept)) != self.chosen
    }

    pub(super) fn chosen(&self) -> usize {
        self.chosen
    }

    pub(super) fn refused(&self) -> u64 {
        let counters = self.endpoint.counters();
        counters.malformed + counters.reflected + counters.crowded + counters.forged + counters.replayed
    }

    /// Opens what is not open, and says what is in the way of the path in use. True if something was opened.
    pub(super) fn maintain(&mut self, now: Instant) -> (bool, Option<io::Error>) {
        if now < self.reopen_at {
            return (false, None);
        }
        self.reopen_at = now + REOPEN;
        let (mut opened, mut obstacle) = (false, None);
        for (place, path) in self.paths.iter_mut().enumerate().filter(|(_, path)| path.socket.is_none()) {
            let (local, remote) = (path.way.local, path.way.remote);
            let [local, remote] = [local, remote].map(|address| SocketAddr::new(address, ports::JOURNAL));
            match DatagramSocket::open(&path.way.device, local, remote, SOCKET_BYTES) {
                Ok(socket) => {
                    path.socket = Some(socket);
                    opened = true;
                }
                Err(error) if place == self.chosen => obstacle = Some(error),
                Err(_) => {}
            }
        }
        (opened, obstacle)
    }

    /// When [`Line::maintain`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.paths.iter().any(|path| path.socket.is_none()).then_some(self.reopen_at)
    }

    /// What to wait for.
    pub(super) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.paths.iter().filter_map(|path| path.socket.as_ref()).map(AsFd::as_fd)
    }

    /// Hands what has come and is authentic to `take`, and the other node's heartbeats, as they are and with their path, to
    /// `carry`.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        take: &mut dyn FnMut(&[u8]),
        carry: &mut dyn FnMut(usize, &[u8]),
    ) -> Received {
        let mut received = Received::default();
        for (place, path) in self.paths.iter_mut().enumerate() {
            let Some(socket) = &path.socket else { continue };
            for _ in 0..BATCHES {
                if socket.receive(&mut self.incoming).is_err() {
                    // The device or the address is gone.
                    path.socket = None;
                    self.reopen_at = now + REOPEN;
                    break;
                }
                for datagram in self.incoming.datagrams() {
                    if Kind::of(datagram) == Some(Kind::Heartbeat) {
                        if self.carried.is_none_or(|at| now.saturating_duration_since(at) >= CARRIED) {
                            self.carried = Some(now);
                            carry(place, datagram);
                        }
                        continue;
                    }
                    match self.endpoint.open(now, datagram) {
                        Ok(plaintext) => {
                            received.count += 1;
                            take(plaintext.get());
                        }
                        Err(Refused::Unproven) => received.greet = true,
                        // Counted by the endpoint.
                        Err(
                            Refused::Short { .. }
                            | Refused::Magic
                            | Refused::Version { .. }
                            | Refused::Kind { .. }
                            | Refused::Reflected
                            | Refused::Crowded
                            | Refused::Forged
                            | Refused::Replayed { .. },
                        ) => {}
                    }
                }
                if !self.incoming.is_full() {
                    break;
                }
            }
        }
        if received.greet {
            let recently = |at: Instant| now.saturating_duration_since(at) < GREET;
            received.greet = !self.greeted.is_some_and(recently);
            if received.greet {
                self.greeted = Some(now);
            }
        }
        received
    }

    /// Sends a sealed heartbeat over every path, after what waits for its own.
    pub(super) fn carry(&mut self, heartbeat: &[u8]) {
        self.send();
        for socket in self.paths.iter().filter_map(|path| path.socket.as_ref()) {
            self.outgoing.push(|place| {
                heartbeat.clone_into(place);
                true
            });
            // A socket that fails is found out by what the journal itself sends.
            let _ = socket.send(&mut self.outgoing);
            self.outgoing.clear();
        }
    }

    /// Seals a datagram and puts it with those that are to be sent.
    pub(super) fn push(&mut self, plaintext: &[u8]) {
        if self.outgoing.is_full() {
            self.send();
        }
        let endpoint = &mut self.endpoint;
        // A session whose counter is used up can say nothing more; a million datagrams in a second take 600,000 years.
        self.outgoing.push(|place| endpoint.seal(plaintext, place).is_ok());
    }

    /// Sends what was pushed. What cannot be sent is lost, and is sent again when nobody acknowledges it.
    pub(super) fn send(&mut self) {
        if self.outgoing.is_empty() {
            return;
        }
        if let Some(path) = self.paths.get_mut(self.chosen)
            && let Some(socket) = &path.socket
            && socket.send(&mut self.outgoing).is_err()
        {
            path.socket = None;
        }
        self.outgoing.clear();
    }
}
