//! The peer channel: QUIC between the two nodes of a pair, over the first way that is up.
//!
//! Owns the connection, who may open it ([`pins`]) and requests with their answers ([`frame`]). Does not know what a
//! request means: those of the other node go to [`Inbound`], ours come by [`Channel::request`].
//!
//! ```text
//!  keys (paired, unpaired) ─┐                  ┌─▶ one endpoint for each way, bound to our address on it
//!  ways (up, down) ─────────┼─▶ `run`, a task ─┼─▶ dials (the first node) or accepts (the second)
//!  new connections ─────────┘                  └─▶ `current`: the connection that requests take
//!  a task for each connection: its requests, four at a time
//!  another one: its one-way streams, which go to the relay of `rempart-vpn`
//! ```
//!
//! One side dials, so there is no tie to break. The way is the first one that is up, the sync cable before all others; when a
//! better one comes up, or the one in use goes down, the dialling side opens a connection there, and the newest one is
//! the current one on both sides. The connection before it is given time to finish what it has begun.
//!
//! A node that is not paired has no endpoint at all: nothing listens. A stranger fails in the handshake, whatever it
//! shows, and sees our public key and nothing else.

mod frame;
mod pins;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, EndpointConfig, RecvStream, TokioRuntime, VarInt};
use rempart_daemon::tasks::until;
use rempart_pair::NodeIndex;
use rempart_plan::ha::ports;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::keystore::{Identity, PairKeys};

pub use frame::{MAX_BODY, MAX_TOPIC};

/// Requests of one side that are under way at once: the control daemon has one at a time, a person another. Each may
/// hold a document in memory.
pub const MAX_REQUESTS: usize = 4;
/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// When a connection without a sign of life is given up. The elector knows of a dead way long before; this is for what it
/// cannot see.
const IDLE: Duration = Duration::from_secs(5);
/// How often an idle connection gives a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// First and longest pause between two attempts to dial.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Attempts in a row after which people are told: ten seconds or so. A node that is off is told by the heartbeats, too.
const TELL_AFTER: u32 = 8;
/// When an address that could not be bound is tried again: it may be about to come.
const BIND_AGAIN: Duration = Duration::from_millis(250);
/// How long a connection that was replaced may finish what it has begun, where its way still is.
const FINISH: Duration = Duration::from_secs(60);
/// How long a request may take to arrive whole once it has begun.
const ARRIVAL: Duration = Duration::from_secs(30);
/// How long the answer to a request may take to be found.
const ANSWER: Duration = Duration::from_secs(150);
/// The topic that is answered here.
const HELLO: &str = "";
/// Connections that wait to be made current. Each has shown the right key; more than one is a way that changes.
const FRESH: usize = 8;
/// Handshakes under way on one way. Only the other node's address gets as far as this.
const HANDSHAKES: usize = 8;

/// A way to the other node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// The interface in the document.
    pub interface: String,
    /// Our address on it.
    pub local: IpAddr,
    /// The other node's.
    pub remote: IpAddr,
    /// Whether the two hear each other by it.
    pub up: bool,
}

/// A request of the other node.
#[derive(Debug)]
pub struct Inbound {
    /// What it is about.
    pub topic: String,
    /// The request.
    pub body: Vec<u8>,
    /// Where the answer goes; dropped where there is none.
    pub reply: oneshot::Sender<Vec<u8>>,
}

/// How the channel stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Whether there are keys of another node.
    pub paired: bool,
    /// The interface of the way in use, if the other node is connected.
    pub by: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// There is no connection.
    #[error("the other node is not connected")]
    Away,
    /// It broke off in the middle.
    #[error("the connection to the other node broke off: {0}")]
    Broken(String),
    /// The answer did not come in time.
    #[error("the other node did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// Its control daemon is away.
    #[error("the control daemon of the other node did not answer")]
    Unanswered,
    /// The request is too long, or too many are under way.
    #[error("the request cannot be sent: {0}")]
    Refused(&'static str),
}

/// The way to ask the other node.
#[derive(Clone, Debug)]
pub struct Channel {
    current: watch::Receiver<Option<Arc<Current>>>,
    link: watch::Receiver<Link>,
    places: Arc<Semaphore>,
}

/// The connection in use.
#[derive(Debug)]
pub struct Current {
    connection: Connection,
    local: IpAddr,
}

impl Current {
    /// Opens a one-way stream; the other node's relay takes it.
    pub async fn open_stream(&self) -> Result<quinn::SendStream, ChannelError> {
        let stream = self.connection.open_uni().await.map_err(|e| ChannelError::Broken(e.to_string()))?;
        // Before the documents of the control daemons, for it is short and somebody waits for it.
        let _ = stream.set_priority(1);
        Ok(stream)
    }
}

impl Channel {
    /// Starts the channel. It ends when `keys` or `ways` do.
    pub fn start(
        identity: Identity,
        keys: watch::Receiver<Option<PairKeys>>,
        ways: watch::Receiver<Vec<Way>>,
        inbound: mpsc::Sender<Inbound>,
        streams: mpsc::Sender<RecvStream>,
    ) -> Self {
        let (current, seen) = watch::channel(None);
        let (link_out, link) = watch::channel(Link::default());
        let (fresh_out, fresh) = mpsc::channel(FRESH);
        let runner = Runner {
            identity,
            keys,
            ways,
            inbound,
            streams,
            current,
            link: link_out,
            fresh_out,
            fresh,
            pair: None,
            endpoints: BTreeMap::new(),
            dialling: None,
            failures: 0,
            pause: PAUSE.0,
            redial: None,
            rebind: None,
        };
        tokio::spawn(runner.run());
        Self { current: seen, link, places: Arc::new(Semaphore::new(MAX_REQUESTS)) }
    }

    /// How the channel stands, now and whenever it changes.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// The connection in use, now and whenever it changes.
    pub fn current(&self) -> watch::Receiver<Option<Arc<Current>>> {
        self.current.clone()
    }

    /// Asks the other node and waits `limit` for the answer.
    pub async fn request(&self, topic: &str, body: &[u8], limit: Duration) -> Result<Vec<u8>, ChannelError> {
        if topic.len() > MAX_TOPIC || body.len() > MAX_BODY {
            return Err(ChannelError::Refused("it is too long"));
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Err(ChannelError::Refused("too many others are under way"));
        };
        let current = self.current.borrow().clone().ok_or(ChannelError::Away)?;
        let exchange = frame::ask(&current.connection, topic, body);
        timeout(limit, exchange).await.map_err(|_| ChannelError::Late(limit))?
    }
}

/// What there is while the node is paired.
struct Pair {
    dials: bool,
    peer: String,
    client: quinn::ClientConfig,
    server: quinn::ServerConfig,
}

struct Bound {
    endpoint: Endpoint,
    /// Accepts; empty on the dialling side.
    _tasks: JoinSet<()>,
}

/// An attempt that is under way, and why it came to nothing.
type Dial = tokio::task::JoinHandle<Result<Connection, String>>;

/// The task that owns it all.
struct Runner {
    identity: Identity,
    keys: watch::Receiver<Option<PairKeys>>,
    ways: watch::Receiver<Vec<Way>>,
    inbound: mpsc::Sender<Inbound>,
    streams: mpsc::Sender<RecvStream>,
    current: watch::Sender<Option<Arc<Current>>>,
    link: watch::Sender<Link>,
    fresh_out: mpsc::Sender<Current>,
    fresh: mpsc::Receiver<Current>,
    pair: Option<Pair>,
    /// By our address.
    endpoints: BTreeMap<IpAddr, Bound>,
    /// The way that is being dialled.
    dialling: Option<(IpAddr, Dial)>,
    /// Attempts in a row that came to nothing.
    failures: u32,
    pause: Duration,
    /// When a dial that failed is tried again.
    redial: Option<Instant>,
    /// When a way that has no endpoint gets another try. Of its own: a way that can never be used must not keep the others
    /// from being dialled.
    rebind: Option<Instant>,
}

impl Runner {
    async fn run(mut self) {
        self.take_keys();
        loop {
            self.adapt();
            let gone = closed(self.current.borrow().clone());
            let dialled = dialled(&mut self.dialling);
            tokio::select! {
                changed = self.keys.changed() => match changed {
                    Ok(()) => self.take_keys(),
                    Err(_) => return,
                },
                changed = self.ways.changed() => match changed {
                    Ok(()) => self.pause = PAUSE.0,
                    Err(_) => return,
                },
                Some(fresh) = self.fresh.recv() => self.use_connection(fresh),
                (local, connection) = dialled => {
                    self.dialling = None;
                    match connection {
                        Ok(connection) => {
                            (self.pause, self.failures) = (PAUSE.0, 0);
                            self.use_connection(Current { connection, local });
                        }
                        Err(why) => {
                            self.failures = self.failures.saturating_add(1);
                            if self.failures == TELL_AFTER {
                                warn!(%local, why, "the other node's control daemon cannot be reached");
                            }
                            self.redial = Some(Instant::now() + self.pause);
                            self.pause = (self.pause * 2).min(PAUSE.1);
                        }
                    }
                }
                why = gone => {
                    info!(why, "the other node is not connected any more");
                    self.current.send_replace(None);
                    self.show();
                }
                () = until(self.redial) => self.redial = None,
                () = until(self.rebind) => self.rebind = None,
            }
        }
    }

    /// Other keys: everything anew. The same keys in another generation are other keys, too.
    fn take_keys(&mut self) {
        let keys = self.keys.borrow_and_update().clone();
        self.drop_all(if keys.is_some() { "the keys have changed" } else { "not paired any more" });
        self.pair = keys.and_then(|keys| {
            let made = pins::configurations(&self.identity, &keys.peer_key, IDLE, KEEP_ALIVE);
            let (client, server) = made
                .inspect_err(|error| warn!(%error, "the keys of the pair cannot be used: pair again"))
                .ok()?;
            Some(Pair { dials: keys.index == NodeIndex::First, peer: keys.peer, client, server })
        });
        self.show();
    }

    fn drop_all(&mut self, why: &str) {
        if let Some((_, task)) = self.dialling.take() {
            task.abort();
        }
        for bound in std::mem::take(&mut self.endpoints).into_values() {
            bound.endpoint.close(VarInt::from_u32(0), why.as_bytes());
        }
        while self.fresh.try_recv().is_ok() {}
        self.current.send_replace(None);
    }

    /// Endpoints for the ways there are, and a connection over the best one.
    fn adapt(&mut self) {
        let Some(pair) = &self.pair else { return };
        let ways = self.ways.borrow_and_update().clone();
        self.endpoints.retain(|local, _| ways.iter().any(|w| w.local == *local));
        for way in &ways {
            if self.endpoints.contains_key(&way.local) {
                continue;
            }
            match bind(pair, way, &self.fresh_out) {
                Ok(bound) => drop(self.endpoints.insert(way.local, bound)),
                Err(error) => {
                    debug!(interface = way.interface, %error, "the peer channel cannot listen here yet");
                    self.rebind = self.rebind.or_else(|| Some(Instant::now() + BIND_AGAIN));
                }
            }
        }
        let dials = pair.dials;
        self.abandon(&ways);
        if dials {
            self.dial(&ways);
        }
        self.show();
    }

    /// Dials by the first way that is up, unless that is the one in use. A way that the elector has not heard by yet is
    /// tried, too, when no other is up: it may be the elector that is late.
    fn dial(&mut self, ways: &[Way]) {
        let in_use = self.current.borrow().as_ref().map(|c| c.local);
        let usable = |w: &&Way| self.endpoints.contains_key(&w.local);
        let best = ways.iter().filter(usable).find(|w| w.up);
        let best = match (best, in_use) {
            (Some(way), _) => way,
            (None, Some(_)) => return,
            (None, None) => match ways.iter().find(usable) {
                Some(way) => way,
                None => return,
            },
        };
        let waiting = self.redial.is_some() && in_use.is_none();
        if in_use == Some(best.local) || self.dialling.is_some() || waiting {
            return;
        }
        let (Some(pair), Some(bound)) = (&self.pair, self.endpoints.get(&best.local)) else { return };
        let remote = SocketAddr::new(best.remote, ports::CHANNEL);
        let connecting = match bound.endpoint.connect_with(pair.client.clone(), remote, pins::NAME) {
            Ok(connecting) => connecting,
            // Its socket has failed: another one.
            Err(error) => {
                debug!(interface = best.interface, %error, "the peer channel cannot dial here");
                self.endpoints.remove(&best.local);
                self.rebind = Some(Instant::now() + BIND_AGAIN);
                return;
            }
        };
        // Our half of the handshake is done before the other side has judged our key: only its answer to a first request
        // says that it takes us.
        let task = tokio::spawn(async move {
            let connected = async {
                let connection = connecting.await.map_err(|e| e.to_string())?;
                frame::ask(&connection, HELLO, b"").await.map_err(|e| e.to_string())?;
                Ok(connection)
            };
            timeout(HANDSHAKE, connected).await.unwrap_or_else(|_| Err("no answer".into()))
        });
        self.dialling = Some((best.local, task));
    }

    /// A way that the document does not know any more is not used any more.
    fn abandon(&mut self, ways: &[Way]) {
        let Some(current) = self.current.borrow().clone() else { return };
        let gone = ways.iter().all(|w| w.local != current.local);
        if gone {
            current.connection.close(VarInt::from_u32(0), b"this way is no more");
        }
    }

    /// Makes a connection the current one.
    fn use_connection(&mut self, fresh: Current) {
        let fresh = Arc::new(fresh);
        let old = self.current.send_replace(Some(Arc::clone(&fresh)));
        self.show();
        let by = self.link.borrow().by.clone();
        info!(by, remote = %fresh.connection.remote_address(), "the other node is connected");
        tokio::spawn(serve(fresh.connection.clone(), self.inbound.clone()));
        tokio::spawn(take_streams(fresh.connection.clone(), self.streams.clone()));
        if let Some(old) = old {
            let up = self.ways.borrow().iter().any(|w| w.local == old.local && w.up);
            tokio::spawn(async move {
                if up {
                    sleep(FINISH).await;
                }
                old.connection.close(VarInt::from_u32(0), b"another way is used");
            });
        }
    }

    /// Says how things stand, if that has changed.
    fn show(&self) {
        let by = self.current.borrow().as_ref().map(|current| {
            let ways = self.ways.borrow();
            let way = ways.iter().find(|w| w.local == current.local);
            way.map_or_else(|| current.local.to_string(), |w| w.interface.clone())
        });
        let link = Link { paired: self.pair.is_some(), by };
        self.link.send_if_modified(|shown| {
            let changed = *shown != link;
            if changed {
                if let Some(pair) = &self.pair {
                    debug!(peer = pair.peer, by = link.by, "peer channel");
                }
                *shown = link;
            }
            changed
        });
    }
}

/// An endpoint on our address of a way. The accepting side takes connections there.
fn bind(pair: &Pair, way: &Way, fresh: &mpsc::Sender<Current>) -> std::io::Result<Bound> {
    let local = SocketAddr::new(way.local, ports::CHANNEL);
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    // A worker that was started again need not wait until the kernel has cleared away the one before.
    socket.set_reuse_address(true)?;
    socket.bind(&local.into())?;
    let socket = UdpSocket::from(socket);
    let server = (!pair.dials).then(|| pair.server.clone());
    let endpoint = Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?;
    let mut tasks = JoinSet::new();
    if !pair.dials {
        tasks.spawn(accept(endpoint.clone(), way.local, way.remote, fresh.clone()));
    }
    Ok(Bound { endpoint, _tasks: tasks })
}

/// Takes connections from the other node's address; each handshake in a task of its own.
async fn accept(endpoint: Endpoint, local: IpAddr, remote: IpAddr, fresh: mpsc::Sender<Current>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    while let Some(incoming) = endpoint.accept().await {
        if incoming.remote_address().ip() != remote {
            incoming.ignore();
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let fresh = fresh.clone();
        tokio::spawn(async move {
            let _place = place;
            match timeout(HANDSHAKE, incoming).await {
                Ok(Ok(connection)) => drop(fresh.send(Current { connection, local }).await),
                Ok(Err(error)) => debug!(%remote, %error, "a connection was refused"),
                Err(_) => debug!(%remote, "a connection was begun and not finished"),
            }
        });
    }
}

async fn closed(current: Option<Arc<Current>>) -> String {
    match current {
        Some(current) => current.connection.closed().await.to_string(),
        None => std::future::pending().await,
    }
}

async fn dialled(dialling: &mut Option<(IpAddr, Dial)>) -> (IpAddr, Result<Connection, String>) {
    match dialling {
        Some((local, task)) => (*local, task.await.unwrap_or_else(|e| Err(e.to_string()))),
        None => std::future::pending().await,
    }
}

/// Answers the requests of one connection until it ends.
async fn serve(connection: Connection, inbound: mpsc::Sender<Inbound>) {
    // The transport lets no more than this many be opened; the places count those that are still being answered.
    let places = Arc::new(Semaphore::new(MAX_REQUESTS));
    while let Ok((send, receive)) = connection.accept_bi().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let inbound = inbound.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = answer(send, receive, inbound).await {
                debug!(%error, "a request of the other node came to nothing");
            }
        });
    }
}

/// Hands over the one-way streams of one connection until it ends.
async fn take_streams(connection: Connection, streams: mpsc::Sender<RecvStream>) {
    while let Ok(stream) = connection.accept_uni().await {
        if streams.send(stream).await.is_err() {
            return;
        }
    }
}

async fn answer(
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    inbound: mpsc::Sender<Inbound>,
) -> Result<(), ChannelError> {
    let (topic, body) =
        timeout(ARRIVAL, frame::read(receive)).await.map_err(|_| ChannelError::Late(ARRIVAL))??;
    if topic == HELLO {
        return frame::answer(send, Some(b"")).await;
    }
    let (reply, found) = oneshot::channel();
    let sent = inbound.send(Inbound { topic, body, reply }).await;
    let found = match sent {
        Ok(()) => timeout(ANSWER, found).await.ok().and_then(Result::ok),
        Err(_) => None,
    };
    frame::answer(send, found.as_deref()).await
}
