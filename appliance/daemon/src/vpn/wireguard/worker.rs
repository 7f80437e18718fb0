//! The thread that carries the packets of WireGuard: device, engine, sockets, and no decision.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rempart_openvpn::data::segment::cut::Cutter;
use rempart_openvpn::data::segment::join::Joiner;
use rempart_openvpn::data::segment::row::{MAX_BATCH, Row};
use rempart_openvpn::data::segment::virtio;
use rempart_system::realtime::{Waker, wait};
use rempart_system::tunnel::{Incoming, Offloads, Queue, Socket};
use rempart_wireguard::{
    Engine, Known, MAX_PACKET, OVERHEAD, PADDING, Path, PeerStatus, PublicKey, Settings,
};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::Input;

/// Reads of the device, and batches of each socket, between two looks at everything else: some milliseconds of work.
const READS: usize = 16;
const BATCHES: usize = 2;
/// Initiations of each socket between two looks at everything else: a millisecond where they are a flood.
const INITIATIONS: usize = 256;
/// Longest read: the largest packet and its header.
const MAX_READ: usize = virtio::LEN + (1 << 16);
/// Room for opened packets: a batch of what usually comes, and the longest datagram.
const OPENED: usize = 1 << 20;
/// Longest datagram, and what the engine wants for its answers.
const MAX_DATAGRAM: usize = 1 << 16;
/// The longest wait, also when nothing is due.
const LONGEST: Duration = Duration::from_secs(1);
/// How long a full socket is waited for, in all. The device's queue holds what comes meanwhile.
const FULL: (u32, Duration) = (10, Duration::from_micros(300));

/// An address that is listened on: two sockets, one for initiations and one for all else.
pub(super) struct Door {
    pub all: Socket,
    pub initiations: Socket,
}

/// What the thread is told.
pub(super) enum Command {
    Configure(Box<Settings>, Vec<Arc<Door>>),
    Carry(Vec<(PublicKey, Known)>),
    Rest,
    Status(SyncSender<Vec<PeerStatus>>),
    Stop,
}

pub(super) struct Worker {
    queue: Queue,
    commands: Receiver<Command>,
    waker: Waker,
    news: SyncSender<Input>,
    /// What did not go into a full channel.
    unheard: Option<Input>,
    doors: Vec<Arc<Door>>,
    settings: Option<Settings>,
    /// While this node carries the tunnels; without settings there is nothing to carry.
    carries: Option<HashMap<PublicKey, Known>>,
    engine: Option<Engine>,
    buffer: Box<[u8]>,
    inner: Box<[u8]>,
    arena: Box<[u8]>,
    row: Row<Path>,
    batch: Incoming,
    opened: Box<[u8]>,
    joiner: Joiner,
    /// Datagrams that no socket took, packets that the device did not take.
    lost: (u64, u64),
}

impl Worker {
    pub fn new(queue: Queue, commands: Receiver<Command>, waker: Waker, news: SyncSender<Input>) -> Self {
        let joiner = Joiner::new(queue.offloads() == Offloads::TcpAndUdp);
        Self {
            queue,
            commands,
            waker,
            news,
            unheard: None,
            doors: Vec::new(),
            settings: None,
            carries: None,
            engine: None,
            buffer: vec![0; MAX_READ].into(),
            inner: vec![0; 1 << 16].into(),
            arena: vec![0; MAX_BATCH + MAX_DATAGRAM].into(),
            row: Row::default(),
            batch: Incoming::new(),
            opened: vec![0; OPENED + MAX_DATAGRAM].into(),
            joiner,
            lost: (0, 0),
        }
    }

    /// Until it is told to stop or the device is gone.
    pub fn run(mut self) {
        let mut ready = Vec::new();
        while self.obey() {
            let more = match self.turn() {
                Ok(more) => more,
                Err(error) => {
                    tracing::error!(%error, "the device of WireGuard is gone");
                    return;
                }
            };
            let time = if more { Duration::ZERO } else { self.rest_until() };
            let waker = std::iter::once(self.waker.as_fd());
            let device = self.engine.iter().map(|_| self.queue.as_fd());
            let doors = self.doors.iter().filter(|_| self.engine.is_some());
            let sockets = doors.flat_map(|door| [door.all.as_fd(), door.initiations.as_fd()]);
            if wait(waker.chain(device).chain(sockets), Some(time), &mut ready).is_err() {
                return;
            }
            if ready.first() == Some(&true) {
                self.waker.rest();
            }
        }
    }

    fn rest_until(&self) -> Duration {
        let due = self.engine.as_ref().map(|engine| engine.poll_timeout());
        due.map_or(LONGEST, |due| due.saturating_duration_since(Instant::now()).min(LONGEST))
    }

    /// Does what it is told; false when that is to stop.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Configure(settings, doors)) => self.configure(*settings, doors),
                Ok(Command::Carry(known)) => {
                    if self.carries.is_none() {
                        self.forget_old_packets();
                    }
                    self.carries = Some(known.into_iter().collect());
                    self.start();
                }
                Ok(Command::Rest) => {
                    // With it go all keys, and what waited to be sent.
                    (self.carries, self.engine, self.unheard) = (None, None, None);
                }
                Ok(Command::Status(answer)) => {
                    let now = Instant::now();
                    let status = self.engine.as_mut().map(|engine| engine.status(now));
                    // Who asked may have gone.
                    let _ = answer.try_send(status.unwrap_or_default());
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn configure(&mut self, settings: Settings, doors: Vec<Arc<Door>>) {
        self.doors = doors;
        if let (Some(engine), Some(known)) = (&mut self.engine, &self.carries)
            && let Err(error) = engine.configure(Instant::now(), settings.clone(), known)
        {
            tracing::error!(%error, "WireGuard goes on with its old peers");
            return;
        }
        self.settings = Some(settings);
        self.start();
    }

    /// Begins to carry, if it is to and knows what.
    fn start(&mut self) {
        let (None, Some(settings), Some(known)) = (&self.engine, &self.settings, &self.carries) else {
            return;
        };
        let source = SystemRandom::new();
        let random = Box::new(move |bytes: &mut [u8]| {
            // The kernel's, which does not fail once the machine has booted; a cookie or an index of zeros is no secret
            // that is lost.
            if source.fill(bytes).is_err() {
                tracing::error!("the kernel gives no random numbers");
            }
        });
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match Engine::new(Instant::now(), wall, settings.clone(), known, random) {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => tracing::error!(%error, "WireGuard does not begin"),
        }
    }

    /// What waited in the device and the sockets while this node was on standby was never for it.
    fn forget_old_packets(&mut self) {
        const MOST: usize = 10_000;
        for _ in 0..MOST {
            if !matches!(self.queue.read(&mut self.buffer), Ok(Some(_))) {
                break;
            }
        }
        for socket in self.doors.iter().flat_map(|door| [&door.all, &door.initiations]) {
            for _ in 0..MOST {
                if socket.receive(&mut self.batch).is_err() || self.batch.is_empty() {
                    break;
                }
            }
        }
    }

    /// Does what there is to do; whether there may be more.
    fn turn(&mut self) -> io::Result<bool> {
        let Some(mut engine) = self.engine.take() else { return Ok(false) };
        let mut more = self.read(&mut engine)?;
        for local in 0..self.doors.len() {
            more |= self.receive(&mut engine, local)?;
            self.receive_initiations(&mut engine, local)?;
        }
        let now = Instant::now();
        if engine.poll_timeout() <= now {
            engine.handle_timeout(now);
        }
        while let Some((to, message)) = engine.poll_transmit() {
            self.send(to, &message, message.len());
        }
        self.report(&mut engine);
        self.engine = Some(engine);
        Ok(more)
    }

    /// Handles what the device has.
    fn read(&mut self, engine: &mut Engine) -> io::Result<bool> {
        let mut more = true;
        for _ in 0..READS {
            match self.queue.read(&mut self.buffer) {
                Ok(Some(length)) => self.packet(engine, length),
                Ok(None) => {
                    more = false;
                    break;
                }
                // The device is down.
                Err(e) if e.raw_os_error() == Some(nix::libc::EIO) => {
                    std::thread::sleep(FULL.1);
                    more = false;
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        self.flush();
        Ok(more)
    }

    fn packet(&mut self, engine: &mut Engine, length: usize) {
        let now = Instant::now();
        let buffer = std::mem::take(&mut self.buffer);
        let read = buffer.get(..length).and_then(virtio::Header::split);
        if let Some((header, packet)) = read
            && let Ok(mut cutter) = Cutter::new(&header, packet)
        {
            while let Some(inner) = cutter.next_len().filter(|length| *length <= MAX_PACKET) {
                self.seal(engine, now, &mut cutter, inner);
            }
        }
        self.buffer = buffer;
    }

    fn seal(&mut self, engine: &mut Engine, now: Instant, cutter: &mut Cutter<'_>, length: usize) {
        let Some(inner) = self.inner.get_mut(..length) else { return };
        cutter.write(inner);
        if self.row.bytes() + length + PADDING + OVERHEAD > MAX_BATCH {
            self.flush();
        }
        let (Some(inner), Some(out)) = (self.inner.get(..length), self.arena.get_mut(self.row.bytes()..))
        else {
            return;
        };
        let Some(sealed) = engine.seal(now, inner, out) else { return };
        let at = self.row.bytes();
        if !self.row.takes(sealed.to, sealed.length, self.arena.len()) {
            self.flush();
            self.arena.copy_within(at..at + sealed.length, 0);
        }
        self.row.add(sealed.to, sealed.length);
    }

    /// Sends the row and empties it.
    fn flush(&mut self) {
        if let Some((to, bytes, segment)) = std::mem::take(&mut self.row).content() {
            let arena = std::mem::take(&mut self.arena);
            self.send(to, arena.get(..bytes).unwrap_or_default(), segment);
            self.arena = arena;
        }
    }

    fn send(&mut self, to: Path, bytes: &[u8], segment: usize) {
        let Some(door) = self.doors.get(usize::from(to.local)) else {
            self.lost.0 += 1;
            return;
        };
        let socket = &door.all;
        let mut done = socket.send(to.remote, bytes, segment);
        for _ in 0..FULL.0 {
            if done.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
                std::thread::sleep(FULL.1);
                done = socket.send(to.remote, bytes, segment);
            }
        }
        if let Err(error) = done {
            self.lost.0 += 1;
            tracing::trace!(to = %to.remote, %error, "a datagram was not sent");
        }
    }

    /// Handles some of the initiations of a door, and forgets those that came with them: in a flood there are more. What is
    /// left shows when it is waited for the next time.
    fn receive_initiations(&mut self, engine: &mut Engine, local: usize) -> io::Result<()> {
        let Some(door) = self.doors.get(local) else { return Ok(()) };
        door.initiations.receive(&mut self.batch)?;
        let now = Instant::now();
        for (remote, place) in self.batch.datagrams().take(INITIATIONS) {
            let Some(datagram) = self.batch.arena().get(place) else { continue };
            // None of them holds a packet.
            let from = Path { local: local as u8, remote };
            engine.handle_datagram(now, from, datagram, &mut self.opened);
        }
        Ok(())
    }

    /// Handles what a socket has.
    fn receive(&mut self, engine: &mut Engine, local: usize) -> io::Result<bool> {
        for _ in 0..BATCHES {
            let Some(door) = self.doors.get(local) else { return Ok(false) };
            door.all.receive(&mut self.batch)?;
            if self.batch.is_empty() {
                return Ok(false);
            }
            let now = Instant::now();
            let mut at = 0;
            for (remote, place) in self.batch.datagrams() {
                let Some(datagram) = self.batch.arena().get(place) else { continue };
                let Some(out) = self.opened.get_mut(at..) else { break };
                // There are no more sockets than fit.
                let from = Path { local: local as u8, remote };
                let Some(length) = engine.handle_datagram(now, from, datagram, out) else { continue };
                let (queue, opened, lost) = (&self.queue, &self.opened, &mut self.lost.1);
                self.joiner.offer(opened, at..at + length, &mut |head, parts| {
                    *lost += u64::from(queue.write(head, opened, parts).is_err());
                });
                at += length;
                if at >= OPENED {
                    self.join();
                    at = 0;
                }
            }
            self.join();
        }
        Ok(true)
    }

    /// Nothing waits for what has not come yet.
    fn join(&mut self) {
        let (queue, opened, lost) = (&self.queue, &self.opened, &mut self.lost.1);
        self.joiner.flush(&mut |head, parts| {
            *lost += u64::from(queue.write(head, opened, parts).is_err());
        });
    }

    /// Tells what the other node has to hold. Never waits: the owner may be waiting for this thread.
    fn report(&mut self, engine: &mut Engine) {
        loop {
            let next = self.unheard.take().or_else(|| {
                let (key, known) = engine.poll_known()?;
                Some(Input::Known(key, known))
            });
            let Some(next) = next else { return };
            match self.news.try_send(next) {
                Ok(()) => {}
                Err(TrySendError::Full(next)) => {
                    self.unheard = Some(next);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}
