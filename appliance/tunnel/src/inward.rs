//! The receiving thread: from the clients to the device.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rempart_openvpn::data::Path;
use rempart_openvpn::data::inbound::{Arrived, Content, Inbound};
use rempart_openvpn::data::segment::join::Joiner;
use rempart_system::realtime::{Waker, wait};
use rempart_system::tunnel::{self, Offloads};

use crate::shard::{Event, Half, InCommand, Incoming, Shared, Stats, TICK, path};
use crate::stream::Fed;
use crate::{MAX_CONTROL, MAX_SOCKETS, STREAM};

/// Batches of one socket between two looks at the others and at the commands.
const BURST: usize = 8;

pub(crate) struct Worker {
    shared: Shared,
    commands: Receiver<InCommand>,
    fed: Receiver<Fed>,
    waker: Waker,
    batch: tunnel::Incoming,
    judge: Judge,
}

/// What decides where a packet goes, beside the packets themselves.
struct Judge {
    shared: Shared,
    sessions: Inbound,
    joiner: Joiner,
}

impl Worker {
    pub fn new(
        shared: Shared,
        (commands, fed): (Receiver<InCommand>, Receiver<Fed>),
        waker: Waker,
        capacity: usize,
    ) -> Self {
        let (sessions, batch) = (Inbound::new(capacity), tunnel::Incoming::new());
        let joiner = Joiner::new(shared.queue.offloads() == Offloads::TcpAndUdp);
        let judge = Judge { shared: shared.clone(), sessions, joiner };
        Self { shared, commands, fed, waker, batch, judge }
    }

    /// Until it is told to stop or a socket is gone.
    pub fn run(mut self) {
        let mut ready = Vec::with_capacity(MAX_SOCKETS + 1);
        let mut expired = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            while let Ok(command) = self.commands.try_recv() {
                match command {
                    InCommand::Sockets(sockets) => self.shared.sockets = sockets,
                    other => self.judge.obey(now, other),
                }
            }
            if now.saturating_duration_since(expired) >= TICK {
                expired = now;
                self.judge.sessions.sessions().for_each(|(_, session)| session.expire(now));
            }
            let mut more = self.feed();
            for local in 0..self.shared.sockets.len() {
                match self.burst(local) {
                    Ok(full) => more |= full,
                    Err(_) => return,
                }
            }
            if more {
                continue;
            }
            let sources = std::iter::once(self.waker.as_fd());
            let sources = sources.chain(self.shared.sockets.iter().map(|socket| socket.as_fd()));
            if wait(sources, Some(TICK), &mut ready).is_err() {
                return;
            }
            if ready.first() == Some(&true) {
                self.waker.rest();
            }
        }
    }

    /// Handles what a socket has; whether there may be more.
    fn burst(&mut self, local: usize) -> std::io::Result<bool> {
        for _ in 0..BURST {
            let Some(socket) = self.shared.sockets.get(local) else { return Ok(false) };
            socket.receive(&mut self.batch)?;
            if self.batch.is_empty() {
                return Ok(false);
            }
            for (remote, place) in self.batch.datagrams() {
                self.judge.datagram(self.batch.arena(), path(local, remote), place);
            }
            self.judge.flush(self.batch.arena());
        }
        Ok(true)
    }

    /// Handles what came by streams; whether there may be more.
    fn feed(&mut self) -> bool {
        for _ in 0..BURST {
            let Ok(Fed { from, mut arena, packets }) = self.fed.try_recv() else { return false };
            for place in packets {
                self.judge.datagram(&mut arena, Path { local: STREAM, remote: from }, place);
            }
            self.judge.flush(&arena);
        }
        true
    }
}

impl Judge {
    /// Nothing waits for what has not come yet.
    fn flush(&mut self, arena: &[u8]) {
        let (queue, stats) = (&self.shared.queue, &self.shared.stats);
        self.joiner.flush(&mut |head, parts| {
            if queue.write(head, arena, parts).is_err() {
                Stats::count(&stats.unwritten);
            }
        });
    }

    fn datagram(&mut self, arena: &mut [u8], from: Path, place: Range<usize>) {
        let Some(datagram) = arena.get_mut(place.clone()) else { return };
        if !Inbound::is_data(datagram) {
            match datagram.len() {
                0..=MAX_CONTROL => {
                    self.shared.hand_over(Incoming { path: from, packet: (&*datagram).into() });
                }
                _ => Stats::count(&self.shared.stats.control_dropped),
            }
            return;
        }
        // What is refused is counted where it is.
        let Ok(Arrived { peer, content, floated, switched }) = self.sessions.datagram(&from, datagram) else {
            return;
        };
        match content {
            Content::Packet(inner) => {
                let (queue, stats) = (&self.shared.queue, &self.shared.stats);
                let place = place.start + inner.start..place.start + inner.end;
                self.joiner.offer(arena, place, &mut |head, parts| {
                    if queue.write(head, arena, parts).is_err() {
                        Stats::count(&stats.unwritten);
                    }
                });
            }
            Content::Exit => drop(self.shared.tell(Event::Left { peer })),
            Content::Ping | Content::Spoofed => {}
        }
        if floated
            && !self.shared.tell(Event::Moved { peer, path: from })
            && let Some(session) = self.sessions.session(peer)
        {
            session.repeat_float();
        }
        if let Some(serial) = switched {
            // The other half has it already; this is for the other node, and is told again with the counters.
            self.shared.tell(Event::Switched { peer, serial });
        }
    }

    fn obey(&mut self, now: Instant, command: InCommand) {
        match command {
            InCommand::Add { peer, path, own, echo } => {
                if self.sessions.add(peer, path, own, echo).is_err() {
                    Stats::count(&self.shared.stats.refused);
                }
            }
            InCommand::Remove(peer) => {
                let received = self.sessions.session(peer).map(|session| session.received());
                self.sessions.remove(peer);
                let drops = self.sessions.drops();
                received.iter().for_each(|received| {
                    let counted = vec![(peer, *received, Vec::new())];
                    self.shared.tell(Event::Last(Half::In(counted, drops)));
                });
            }
            InCommand::Key { peer, serial, opener } => {
                if let Some(session) = self.sessions.session(peer) {
                    session.add_key(now, serial, *opener);
                }
            }
            InCommand::RemoveKey { peer, serial } => {
                if let Some(session) = self.sessions.session(peer) {
                    session.remove_key(serial);
                }
            }
            InCommand::Move { peer, path } => {
                if let Some(session) = self.sessions.session(peer) {
                    session.move_to(path);
                }
            }
            // The worker's own.
            InCommand::Sockets(_) => {}
            InCommand::Report => {
                let received = self
                    .sessions
                    .sessions()
                    .map(|(peer, session)| (peer, session.received(), session.highest().collect()))
                    .collect();
                self.shared.tell(Event::Report(Half::In(received, self.sessions.drops())));
            }
        }
    }
}
