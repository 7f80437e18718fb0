//! What the program around it sees of a shard: commands in, events out, beginning and end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use rempart_openvpn::data::fresh::FreshKey;
use rempart_openvpn::data::inbound::{Drops, Received};
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::outbound::Sent;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{Echo, KeySerial, Path, PeerId};
use rempart_system::realtime::Waker;
use rempart_system::tunnel::{Queue, Socket};

use crate::path::DataPath;
use crate::stream::{Feeder, Framed, Streams};
use crate::{COMMANDS, CONTROL_PACKETS, EVENTS, MAX_SOCKETS, STREAM, STREAM_BATCHES, inward, outward};

/// How often keys whose time is over are looked for, and how long a thread waits at most.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// What a shard is made of.
#[derive(Debug)]
pub struct Setup {
    /// For the names of the threads.
    pub number: usize,
    /// Its queue of the device.
    pub queue: Queue,
    /// Its sockets. [`Path::local`] counts them from 0.
    pub sockets: Vec<Socket>,
    /// The most sessions.
    pub capacity: usize,
}

/// What a shard tells. Several shards may share a channel: peer ids are of all.
#[derive(Debug)]
pub enum Event {
    /// An authentic packet of a session came from elsewhere. It goes on being answered where it was until it is moved.
    Moved {
        /// The session.
        peer: PeerId,
        /// Where it is now.
        path: Path,
    },
    /// The client sends on another key than before, and so do we.
    Switched {
        /// The session.
        peer: PeerId,
        /// The key.
        serial: KeySerial,
    },
    /// Three quarters of a key's packet ids are used.
    Due {
        /// The session.
        peer: PeerId,
        /// The key.
        serial: KeySerial,
    },
    /// The client says that it leaves.
    Left {
        /// The session.
        peer: PeerId,
    },
    /// The answer to [`DataPath::report`]: one from each half.
    Report(Half),
    /// The same of a session that was removed: its last counters, one from each half.
    Last(Half),
}

/// What half of a shard has counted.
#[derive(Debug)]
pub enum Half {
    /// The sending half.
    Out(Vec<(PeerId, Sent)>),
    /// The receiving half; with the highest packet id of each key.
    In(Vec<(PeerId, Received, Highest)>, Drops),
}

/// The highest packet id that came under each key of a session.
pub type Highest = Vec<(KeySerial, u32)>;

/// A packet of the control channel.
#[derive(Debug)]
pub struct Incoming {
    /// Where it came from.
    pub path: Path,
    /// The packet.
    pub packet: Box<[u8]>,
}

/// What happened to packets and events that belong to no session.
#[derive(Debug, Default)]
pub struct Stats {
    /// Packets from the device for nobody.
    pub unroutable: AtomicU64,
    /// Packets from the device that make no sense.
    pub malformed: AtomicU64,
    /// Datagrams for which a socket had no room, or no way.
    pub unsent: AtomicU64,
    /// Packets that the device did not take.
    pub unwritten: AtomicU64,
    /// Sessions for which there was no room: whoever adds them has to keep count.
    pub refused: AtomicU64,
    /// Events that nobody heard.
    pub unheard: AtomicU64,
    /// Packets of the control channel that were dropped.
    pub control_dropped: AtomicU64,
}

impl Stats {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where a shard puts what it tells.
#[derive(Clone, Debug)]
pub struct Outlets {
    events: SyncSender<Event>,
    control: SyncSender<Incoming>,
    streams: Option<Streams>,
    waker: Option<Waker>,
}

impl Outlets {
    /// The channels of all shards: [`EVENTS`] events and [`CONTROL_PACKETS`] packets wait at most.
    pub fn new() -> (Self, Receiver<Event>, Receiver<Incoming>) {
        let ((events, heard), (control, packets)) = (sync_channel(EVENTS), sync_channel(CONTROL_PACKETS));
        (Self { events, control, streams: None, waker: None }, heard, packets)
    }

    /// Wakes whoever hears, with each event and each packet.
    pub fn waking(self, waker: Waker) -> Self {
        Self { waker: Some(waker), ..self }
    }

    /// With streams: their owner is woken for each row. [`crate::STREAM_ROWS`] is a good length for the channel.
    pub fn with_streams(self, rows: SyncSender<Framed>, waker: Waker) -> Self {
        Self { streams: Some(Streams::new(rows, waker)), ..self }
    }

    /// A packet of the control channel that came by a stream; whether there was room.
    pub fn hand_over(&self, incoming: Incoming) -> bool {
        let heard = self.control.try_send(incoming).is_ok();
        self.wake();
        heard
    }

    fn wake(&self) {
        self.waker.iter().for_each(Waker::wake);
    }
}

/// What both threads have.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub queue: Arc<Queue>,
    pub sockets: Arc<[Arc<Socket>]>,
    pub stats: Arc<Stats>,
    pub outlets: Outlets,
    pub stop: Arc<AtomicBool>,
}

impl Shared {
    /// Whether it was heard.
    pub fn tell(&self, event: Event) -> bool {
        let heard = self.outlets.events.try_send(event).is_ok();
        if !heard {
            Stats::count(&self.stats.unheard);
        }
        self.outlets.wake();
        heard
    }

    pub fn hand_over(&self, incoming: Incoming) {
        if !self.outlets.hand_over(incoming) {
            Stats::count(&self.stats.control_dropped);
        }
    }

    /// Whether there was room in the stream.
    pub fn stream(&self, to: SocketAddr, bytes: &[u8], segment: usize) -> bool {
        self.outlets.streams.as_ref().is_some_and(|streams| streams.send(to, bytes, segment))
    }
}

/// What the sending half is told.
#[derive(Debug)]
pub(crate) enum OutCommand {
    Add { peer: PeerId, path: Path, own: Vec<IpNet>, echo: Echo },
    Remove(PeerId),
    Key { peer: PeerId, serial: KeySerial, sealer: Box<Sealer> },
    RemoveKey { peer: PeerId, serial: KeySerial },
    Move { peer: PeerId, path: Path },
    Ping(PeerId),
    Sockets(Arc<[Arc<Socket>]>),
    Report,
}

/// What the receiving half is told.
#[derive(Debug)]
pub(crate) enum InCommand {
    Add { peer: PeerId, path: Path, own: Vec<IpNet>, echo: Echo },
    Remove(PeerId),
    Key { peer: PeerId, serial: KeySerial, opener: Box<Opener> },
    RemoveKey { peer: PeerId, serial: KeySerial },
    Move { peer: PeerId, path: Path },
    Sockets(Arc<[Arc<Socket>]>),
    Report,
}

/// A thread of the shard has ended, which it does only when it is told to or the device is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the data path of the VPN has ended; the program has to be started again")]
pub struct Gone;

/// A half as seen from outside.
#[derive(Debug)]
struct Lead<C> {
    commands: SyncSender<C>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl<C> Lead<C> {
    fn send(&self, command: C) -> Result<(), Gone> {
        let done = match self.commands.try_send(command) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Gone),
            Err(TrySendError::Full(command)) => {
                // It takes them all when it is awake, and was woken before.
                self.waker.wake();
                self.commands.send(command).map_err(|_| Gone)
            }
        };
        self.waker.wake();
        done
    }
}

/// A shard at work, driven as a [`DataPath`]. Dropping it ends its threads.
#[derive(Debug)]
pub struct Shard {
    out: Lead<OutCommand>,
    inward: Lead<InCommand>,
    feeder: Feeder,
    shared: Shared,
}

impl Shard {
    /// Starts the threads.
    pub fn start(setup: Setup, outlets: Outlets) -> io::Result<Self> {
        let Setup { number, queue, sockets, capacity } = setup;
        if sockets.len() > MAX_SOCKETS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let shared = Shared {
            queue: Arc::new(queue),
            sockets: sockets.into_iter().map(Arc::new).collect(),
            stats: Arc::default(),
            outlets,
            stop: Arc::default(),
        };
        let ((commands, inbox), waker) = (sync_channel(COMMANDS), Waker::new()?);
        let worker = outward::Worker::new(shared.clone(), inbox, waker.clone(), capacity);
        let thread = Some(spawn(format!("vpn-out-{number}"), move || worker.run())?);
        let out = Lead { commands, waker, thread };
        let ((commands, inbox), waker) = (sync_channel(COMMANDS), Waker::new()?);
        let (batches, fed) = sync_channel(STREAM_BATCHES);
        let feeder = Feeder { batches, waker: waker.clone() };
        let worker = inward::Worker::new(shared.clone(), (inbox, fed), waker.clone(), capacity);
        let thread = Some(spawn(format!("vpn-in-{number}"), move || worker.run())?);
        Ok(Self { out, inward: Lead { commands, waker, thread }, feeder, shared })
    }

    /// Its sockets.
    pub fn sockets(&self) -> &[Arc<Socket>] {
        &self.shared.sockets
    }

    /// Other sockets from now on, of which some may be the same as before. Sessions whose socket has another number are to be
    /// moved next.
    pub fn set_sockets(&mut self, sockets: Vec<Arc<Socket>>) -> Result<(), Gone> {
        let sockets: Arc<[Arc<Socket>]> = sockets.into_iter().take(MAX_SOCKETS).collect();
        self.shared.sockets = sockets.clone();
        self.inward.send(InCommand::Sockets(sockets.clone()))?;
        self.out.send(OutCommand::Sockets(sockets))
    }

    /// The way in for packets that came by streams.
    pub fn feeder(&self) -> Feeder {
        self.feeder.clone()
    }

    /// Opens with a key from now on.
    pub fn open_with(&self, peer: PeerId, serial: KeySerial, opener: Opener) -> Result<(), Gone> {
        self.inward.send(InCommand::Key { peer, serial, opener: Box::new(opener) })
    }

    /// May seal with a key from now on. It does once the client has sent on it, or at once if there is no other.
    pub fn seal_with(&self, peer: PeerId, serial: KeySerial, sealer: Sealer) -> Result<(), Gone> {
        self.out.send(OutCommand::Key { peer, serial, sealer: Box::new(sealer) })
    }

    /// Sends a packet of the control channel, from the calling thread.
    pub fn send_control(&self, to: Path, packet: &[u8]) -> io::Result<()> {
        if to.local == STREAM {
            let sent = self.shared.stream(to.remote, packet, packet.len());
            return if sent { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let socket = self.shared.sockets.get(usize::from(to.local)).ok_or(io::ErrorKind::InvalidInput)?;
        socket.send(to.remote, packet, packet.len())
    }

    /// What belongs to no session.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Whether both threads run.
    pub fn is_alive(&self) -> bool {
        let runs = |thread: &Option<JoinHandle<()>>| thread.as_ref().is_some_and(|t| !t.is_finished());
        runs(&self.out.thread) && runs(&self.inward.thread)
    }
}

/// Each command has taken effect some microseconds after it returns; commands keep their order.
impl DataPath for Shard {
    fn add(
        &mut self,
        peer: PeerId,
        path: Path,
        own: Vec<IpNet>,
        echo: Option<KeySerial>,
    ) -> Result<(), Gone> {
        let shared = Echo::default();
        echo.iter().for_each(|serial| shared.set(*serial));
        self.inward.send(InCommand::Add { peer, path, own: own.clone(), echo: shared.clone() })?;
        self.out.send(OutCommand::Add { peer, path, own, echo: shared })
    }

    fn remove(&mut self, peer: PeerId) -> Result<(), Gone> {
        self.out.send(OutCommand::Remove(peer))?;
        self.inward.send(InCommand::Remove(peer))
    }

    fn fresh_key(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Result<(), Gone> {
        match key.keep() {
            Ok((opener, sealer)) => self.kept_key(peer, serial, opener, Some(sealer)),
            // A fresh key has a range of its own by its making; without one it is of no use.
            Err(_) => Ok(()),
        }
    }

    fn kept_key(
        &mut self,
        peer: PeerId,
        serial: KeySerial,
        opener: Opener,
        sealer: Option<Sealer>,
    ) -> Result<(), Gone> {
        self.open_with(peer, serial, opener)?;
        sealer.map_or(Ok(()), |sealer| self.seal_with(peer, serial, sealer))
    }

    fn remove_key(&mut self, peer: PeerId, serial: KeySerial) -> Result<(), Gone> {
        self.out.send(OutCommand::RemoveKey { peer, serial })?;
        self.inward.send(InCommand::RemoveKey { peer, serial })
    }

    fn move_to(&mut self, peer: PeerId, path: Path) -> Result<(), Gone> {
        self.inward.send(InCommand::Move { peer, path })?;
        self.out.send(OutCommand::Move { peer, path })
    }

    fn ping(&mut self, peer: PeerId) -> Result<(), Gone> {
        self.out.send(OutCommand::Ping(peer))
    }

    fn report(&mut self) -> Result<(), Gone> {
        self.out.send(OutCommand::Report)?;
        self.inward.send(InCommand::Report)
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.out.waker.wake();
        self.inward.waker.wake();
        let threads = [self.out.thread.take(), self.inward.thread.take()];
        // One that has panicked has said so.
        threads.into_iter().flatten().for_each(|thread| drop(thread.join()));
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(work)
}

/// A path's address, for a socket of this number.
pub(crate) fn path(local: usize, remote: SocketAddr) -> Path {
    // There are no more than `MAX_SOCKETS`.
    Path { local: local as u8, remote }
}
