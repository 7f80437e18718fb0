//! The sending thread: from the device to the clients.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rempart_openvpn::data::outbound::{Filled, Outbound};
use rempart_openvpn::data::segment::cut::Cutter;
use rempart_openvpn::data::segment::row::Row;
use rempart_openvpn::data::segment::virtio;
use rempart_openvpn::data::{OVERHEAD, PING, Path};
use rempart_system::realtime::{Waker, wait};

use crate::STREAM;
use crate::shard::{Event, Half, OutCommand, Shared, Stats, TICK};

/// Reads between two looks at the commands.
const BURST: usize = 64;
/// Longest read: the largest packet and its header.
const MAX_READ: usize = virtio::LEN + (1 << 16);
/// How long a full socket is waited for. The device's queue holds what comes meanwhile; after that, packets are dropped.
const PATIENCE: Duration = Duration::from_millis(5);

pub(crate) struct Worker {
    shared: Shared,
    commands: Receiver<OutCommand>,
    waker: Waker,
    sessions: Outbound,
    buffer: Box<[u8]>,
    arena: Box<[u8]>,
    row: Row<Path>,
}

impl Worker {
    pub fn new(shared: Shared, commands: Receiver<OutCommand>, waker: Waker, capacity: usize) -> Self {
        let sessions = Outbound::new(capacity);
        let (buffer, arena) = (vec![0; MAX_READ].into(), vec![0; 1 << 16].into());
        Self { shared, commands, waker, sessions, buffer, arena, row: Row::default() }
    }

    /// Until it is told to stop or the device is gone.
    pub fn run(mut self) {
        let mut ready = Vec::new();
        let mut expired = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            while let Ok(command) = self.commands.try_recv() {
                self.obey(now, command);
            }
            if now.saturating_duration_since(expired) >= TICK {
                expired = now;
                self.sessions.sessions().for_each(|(_, session)| session.expire(now));
            }
            match self.burst() {
                Ok(true) => {}
                Ok(false) => {
                    let sources = [self.shared.queue.as_fd(), self.waker.as_fd()];
                    if wait(sources, Some(TICK), &mut ready).is_err() {
                        return;
                    }
                    if ready.get(1) == Some(&true) {
                        self.waker.rest();
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Handles what the device has; whether there may be more.
    fn burst(&mut self) -> io::Result<bool> {
        let more = self.read();
        // Nothing waits for what has not come yet.
        flush(&self.shared, &mut self.row, &self.arena);
        more
    }

    fn read(&mut self) -> io::Result<bool> {
        for _ in 0..BURST {
            match self.shared.queue.read(&mut self.buffer) {
                Ok(Some(length)) => self.packet(length),
                Ok(None) => return Ok(false),
                // The device is down: it says so for as long as it is.
                Err(e) if e.raw_os_error() == Some(nix::libc::EIO) => {
                    std::thread::sleep(PATIENCE);
                    return Ok(true);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn packet(&mut self, length: usize) {
        let stats = &self.shared.stats;
        let Some((header, packet)) = self.buffer.get(..length).and_then(virtio::Header::split) else {
            return;
        };
        let Some((peer, session)) = self.sessions.owner(packet) else {
            return Stats::count(&stats.unroutable);
        };
        let Ok(mut cutter) = Cutter::new(&header, packet) else {
            return Stats::count(&stats.malformed);
        };
        while session.fill(&mut cutter, &mut self.arena, &mut self.row) == Filled::Full {
            flush(&self.shared, &mut self.row, &self.arena);
        }
        if let Some(serial) = session.take_due()
            && !self.shared.tell(Event::Due { peer, serial })
        {
            session.repeat_due();
        }
    }

    fn obey(&mut self, now: Instant, command: OutCommand) {
        match command {
            OutCommand::Add { peer, path, own, echo } => {
                if self.sessions.add(peer, path, &own, echo).is_err() {
                    Stats::count(&self.shared.stats.refused);
                }
            }
            OutCommand::Remove(peer) => {
                let sent = self.sessions.session(peer).map(|session| session.sent());
                self.sessions.remove(peer);
                sent.iter().for_each(|sent| {
                    self.shared.tell(Event::Last(Half::Out(vec![(peer, *sent)])));
                });
            }
            OutCommand::Key { peer, serial, sealer } => {
                if let Some(session) = self.sessions.session(peer) {
                    session.add_key(now, serial, *sealer);
                }
            }
            OutCommand::RemoveKey { peer, serial } => {
                if let Some(session) = self.sessions.session(peer) {
                    session.remove_key(serial);
                }
            }
            OutCommand::Move { peer, path } => {
                if let Some(session) = self.sessions.session(peer) {
                    session.move_to(path);
                }
            }
            OutCommand::Ping(peer) => {
                let mut ping = [0; OVERHEAD + PING.len()];
                if let Some(to) = self.sessions.session(peer).and_then(|session| session.ping(&mut ping)) {
                    send(&self.shared, to, &ping, ping.len());
                }
            }
            OutCommand::Sockets(sockets) => self.shared.sockets = sockets,
            OutCommand::Report => {
                let sent = self.sessions.sessions().map(|(peer, session)| (peer, session.sent())).collect();
                self.shared.tell(Event::Report(Half::Out(sent)));
            }
        }
    }
}

/// Sends a row and empties it.
fn flush(shared: &Shared, row: &mut Row<Path>, arena: &[u8]) {
    if let Some((to, bytes, segment)) = std::mem::take(row).content() {
        send(shared, to, arena.get(..bytes).unwrap_or_default(), segment);
    }
}

fn send(shared: &Shared, to: Path, bytes: &[u8], segment: usize) {
    if to.local == STREAM {
        if !shared.stream(to.remote, bytes, segment) {
            Stats::count(&shared.stats.unsent);
        }
        return;
    }
    let Some(socket) = shared.sockets.get(usize::from(to.local)) else {
        return Stats::count(&shared.stats.unsent);
    };
    let mut done = socket.send(to.remote, bytes, segment);
    if done.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
        let mut fd = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        // Whatever it says, the next try tells.
        let _ = poll(&mut fd, PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO));
        done = socket.send(to.remote, bytes, segment);
    }
    if done.is_err() {
        Stats::count(&shared.stats.unsent);
    }
}
