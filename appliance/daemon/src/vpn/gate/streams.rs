//! Clients that come by TCP, because their network lets nothing else out: the same packets, each with its length before it
//! (draft "TCP and UDP transport modes").
//!
//! ```text
//!  connection ─▶ reader: frames ─┬─ data ────▶ shard (waits for room, and the client with it)
//!                                └─ control ─▶ server (dropped when there is none; sent again)
//!  connection ◀─ writer ◀─ queue of bytes, bounded ◀─ shard and server (dropped when it is full, as by any line)
//! ```
//!
//! One thread. A connection that has not shown a key of ours is one of few and lives for seconds; one that does not read what
//! is sent to it is closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rempart_openvpn::data::Path;
use rempart_openvpn::data::inbound::Inbound;
use rempart_openvpn::packet::MAX_PACKET;
use rempart_system::realtime::Waker;
use rempart_tunnel::{Fed, Feeder, Framed, Incoming, Outlets, STREAM};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::handle::{Handle, Input};

/// Connections at once: as many as there can be sessions in a large installation, and beginnings.
const MAX_CONNECTIONS: usize = 4096;
/// Connections that have not shown a key of ours.
const MAX_STRANGERS: usize = 256;
/// Of these from one address: a company behind one translator.
const MAX_STRANGERS_EACH: usize = 64;
/// How long a stranger has for the three packets of a beginning.
const STRANGER: Duration = Duration::from_secs(10);
/// Bytes that wait to be written to one connection: a second of 2 Mbit/s. More is not worth the delay.
const MAX_QUEUED: usize = 256 << 10;
/// A connection that takes nothing for so long is closed.
const STALLED: Duration = Duration::from_secs(30);
/// Bytes of one read: what an idle connection costs.
const READ: usize = 16 << 10;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;
/// After an error of a listener: the process may have no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
enum Command {
    Listen(Vec<SocketAddr>, Feeder),
    Trust(SocketAddr),
    HangUp(SocketAddr),
    HangUpAll,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Streams {
    commands: Sender<Command>,
    waker: Waker,
}

impl Streams {
    /// Starts the thread, in the network namespace of this one. `framed` is what the data path sends, and `waker` is called
    /// for it.
    pub fn start(
        framed: Receiver<Framed>,
        waker: Waker,
        outlets: Outlets,
        server: Handle,
    ) -> io::Result<Self> {
        let (commands, inbox) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let own = waker.clone();
        let work = move || {
            let tasks = LocalSet::new();
            let worker = Worker::new(outlets, server);
            let done = tasks.block_on(&runtime, worker.run(framed, inbox, own));
            if let Err(error) = done {
                tracing::error!(%error, "the VPN is not served by TCP any more");
            }
        };
        std::thread::Builder::new().name("vpn-streams".to_owned()).spawn(work)?;
        Ok(Self { commands, waker })
    }

    pub fn listen(&self, at: Vec<SocketAddr>, feeder: Feeder) {
        self.send(Command::Listen(at, feeder));
    }

    pub fn trust(&self, remote: SocketAddr) {
        self.send(Command::Trust(remote));
    }

    pub fn hang_up(&self, remote: SocketAddr) {
        self.send(Command::HangUp(remote));
    }

    pub fn hang_up_all(&self) {
        self.send(Command::HangUpAll);
    }

    fn send(&self, command: Command) {
        // The thread ends with us.
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}

/// A connection, as the thread knows it.
struct Connection {
    queue: mpsc::UnboundedSender<Vec<u8>>,
    queued: Rc<Cell<usize>>,
    trusted: bool,
    reader: JoinHandle<()>,
}

/// What the tasks share.
struct Shared {
    connections: RefCell<BTreeMap<SocketAddr, Connection>>,
    outlets: Outlets,
    server: Handle,
}

struct Worker {
    shared: Rc<Shared>,
    listeners: BTreeMap<SocketAddr, JoinHandle<()>>,
}

impl Worker {
    fn new(outlets: Outlets, server: Handle) -> Self {
        let shared = Shared { connections: RefCell::default(), outlets, server };
        Self { shared: Rc::new(shared), listeners: BTreeMap::new() }
    }

    async fn run(
        mut self,
        framed: Receiver<Framed>,
        inbox: Receiver<Command>,
        waker: Waker,
    ) -> io::Result<()> {
        let woken = waker.call()?;
        loop {
            woken.come().await?;
            // What was sent before a connection is to be ended goes out before.
            while let Ok(Framed { to, bytes }) = framed.try_recv() {
                self.shared.write(to, bytes);
            }
            loop {
                match inbox.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return Ok(()),
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Listen(at, feeder) => self.listen(&at, &feeder),
            Command::Trust(remote) => {
                if let Some(connection) = self.shared.connections.borrow_mut().get_mut(&remote) {
                    connection.trusted = true;
                }
            }
            Command::HangUp(remote) => self.shared.hang_up(remote),
            Command::HangUpAll => {
                let all: Vec<SocketAddr> = self.shared.connections.borrow().keys().copied().collect();
                all.into_iter().for_each(|remote| self.shared.hang_up(remote));
            }
        }
    }

    fn listen(&mut self, at: &[SocketAddr], feeder: &Feeder) {
        self.listeners.retain(|local, task| {
            let stays = at.contains(local);
            if !stays {
                task.abort();
            }
            stays
        });
        for local in at {
            if self.listeners.contains_key(local) {
                continue;
            }
            match listener(*local) {
                Ok(listener) => {
                    let task = spawn_local(accept(listener, self.shared.clone(), feeder.clone()));
                    self.listeners.insert(*local, task);
                }
                Err(error) => {
                    tracing::error!(%local, %error, "cannot listen there by TCP: does another program?")
                }
            }
        }
    }
}

/// Bound also while no interface has that address, as the UDP sockets are.
fn listener(local: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    match local {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.bind(&local.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, shared: Rc<Shared>, feeder: Feeder) {
    loop {
        match listener.accept().await {
            // What is not wanted is closed at once.
            Ok((stream, remote)) => {
                if shared.has_room(remote.ip()) {
                    shared.begin(stream, remote, feeder.clone());
                }
            }
            Err(error) => {
                tracing::debug!(%error, "no connection was accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

impl Shared {
    fn has_room(&self, ip: IpAddr) -> bool {
        let connections = self.connections.borrow();
        let strangers = connections.iter().filter(|(_, connection)| !connection.trusted);
        let here = strangers.clone().filter(|(remote, _)| remote.ip() == ip).count();
        connections.len() < MAX_CONNECTIONS && strangers.count() < MAX_STRANGERS && here < MAX_STRANGERS_EACH
    }

    fn begin(self: &Rc<Self>, stream: TcpStream, remote: SocketAddr, feeder: Feeder) {
        // It speaks to another address of ours already.
        if self.connections.borrow().contains_key(&remote) {
            return;
        }
        // A packet of the tunnel waits for no other.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let (queue, rows) = mpsc::unbounded_channel();
        let queued = Rc::new(Cell::new(0));
        let reader = spawn_local(read_all(read, remote, self.clone(), feeder));
        let connection = Connection { queue, queued: queued.clone(), trusted: false, reader };
        self.connections.borrow_mut().insert(remote, connection);
        spawn_local(write_all(write, rows, queued, self.clone(), remote));
        spawn_local(end_stranger(self.clone(), remote));
    }

    /// Frames for a connection. What does not fit is lost, as on any line.
    fn write(&self, to: SocketAddr, bytes: Vec<u8>) {
        let connections = self.connections.borrow();
        let Some(connection) = connections.get(&to) else { return };
        let queued = connection.queued.get() + bytes.len();
        if queued <= MAX_QUEUED && connection.queue.send(bytes).is_ok() {
            connection.queued.set(queued);
        }
    }

    /// What is queued still goes out; nothing is read any more.
    fn hang_up(&self, remote: SocketAddr) {
        let Some(connection) = self.connections.borrow_mut().remove(&remote) else { return };
        connection.reader.abort();
        self.server.tell(Input::HungUp(remote));
    }
}

async fn end_stranger(shared: Rc<Shared>, remote: SocketAddr) {
    sleep(STRANGER).await;
    let stranger = shared.connections.borrow().get(&remote).is_some_and(|connection| !connection.trusted);
    if stranger {
        shared.hang_up(remote);
    }
}

async fn write_all(
    mut stream: OwnedWriteHalf,
    mut rows: mpsc::UnboundedReceiver<Vec<u8>>,
    queued: Rc<Cell<usize>>,
    shared: Rc<Shared>,
    remote: SocketAddr,
) {
    while let Some(row) = rows.recv().await {
        match timeout(STALLED, stream.write_all(&row)).await {
            Ok(Ok(())) => queued.set(queued.get().saturating_sub(row.len())),
            Ok(Err(_)) | Err(_) => return shared.hang_up(remote),
        }
    }
    // Who does not take the end does not matter.
    let _ = stream.shutdown().await;
}

async fn read_all(mut stream: OwnedReadHalf, remote: SocketAddr, shared: Rc<Shared>, feeder: Feeder) {
    let mut frames = Frames::default();
    while let Ok(1..) = stream.read_buf(frames.room()).await {
        let path = Path { local: STREAM, remote };
        let Ok(fed) = frames.cut(remote, |packet| {
            // The other side sends it again if there was no room.
            shared.outlets.hand_over(Incoming { path, packet: packet.into() });
        }) else {
            break;
        };
        // Untrusted connections have no session, and what they send there is dropped by its peer id.
        if !fed.packets.is_empty() && feeder.feed(fed).is_err() {
            break;
        }
    }
    // Not by `hang_up`: that would end this task before it has said so.
    let gone = shared.connections.borrow_mut().remove(&remote);
    if gone.is_some() {
        shared.server.tell(Input::HungUp(remote));
    }
}

/// Bytes of a stream, and the packets in them.
#[derive(Debug, Default)]
struct Frames(Vec<u8>);

/// A length that no packet of ours has: the stream cannot be read any further.
#[derive(Debug)]
struct Nonsense;

impl Frames {
    /// Where the next read goes.
    fn room(&mut self) -> &mut Vec<u8> {
        self.0.reserve(READ);
        &mut self.0
    }

    /// Takes the packets that are whole: those of the data channel together, the others one by one.
    fn cut(&mut self, from: SocketAddr, mut control: impl FnMut(&[u8])) -> Result<Fed, Nonsense> {
        let (mut at, mut packets) = (0, Vec::new());
        while let Some(length) = self.0.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
            let length = usize::from(u16::from_be_bytes(*length));
            if length == 0 || length > MAX_PACKET {
                return Err(Nonsense);
            }
            let place = at + 2..at + 2 + length;
            let Some(packet) = self.0.get(place.clone()) else { break };
            if Inbound::is_data(packet) {
                packets.push(place.clone());
            } else {
                control(packet);
            }
            at = place.end;
        }
        let rest = self.0.split_off(at.min(self.0.len()));
        Ok(Fed { from, arena: std::mem::replace(&mut self.0, rest), packets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames in pieces of every size come out as the packets that went in.
    #[test]
    fn a_stream_in_any_pieces_gives_its_packets() {
        let packets = [vec![9 << 3; 30], vec![4 << 3; 2000], vec![9 << 3 | 1], vec![5 << 3; 7]];
        let stream: Vec<u8> =
            packets.iter().flat_map(|p| [&(p.len() as u16).to_be_bytes()[..], p].concat()).collect();
        for size in [1, 2, 3, 7, 100, 3000] {
            let (mut frames, mut data, mut control) = (Frames::default(), Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                frames.room().extend_from_slice(piece);
                let fed =
                    frames.cut(SocketAddr::from(([192, 0, 2, 1], 1)), |p| control.push(p.to_vec())).unwrap();
                data.extend(fed.packets.iter().map(|place| fed.arena[place.clone()].to_vec()));
            }
            assert_eq!(data, [packets[0].clone(), packets[2].clone()], "in pieces of {size}");
            assert_eq!(control, [packets[1].clone(), packets[3].clone()], "in pieces of {size}");
        }
    }

    /// A length of nothing, and one that no packet has, end the stream.
    #[test]
    fn nonsense_ends_a_stream() {
        for length in [0, MAX_PACKET as u16 + 1, u16::MAX] {
            let mut frames = Frames(length.to_be_bytes().to_vec());
            assert!(frames.cut(SocketAddr::from(([192, 0, 2, 1], 1)), |_| ()).is_err());
        }
    }
}
