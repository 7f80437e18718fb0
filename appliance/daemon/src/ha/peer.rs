//! The other node, as the main thread knows it: the channel to it, the pairing with it, and the two control daemons that
//! talk through us.
//!
//! ```text
//!   our rempartd ──Ha1.Request──▶ Peer ──┬─ channel (QUIC) ────┬─▶ Peer there ──Control1.PeerRequest──▶ rempartd there
//!                                        └─ pairing connection ┘
//!                ◀─Ha1.LinkChanged── whether either of them is there
//!   our rempart-vpn ──socket── relay ── channel: a stream each way ── relay ──socket── rempart-vpn there
//! ```
//!
//! A box that has just joined has no document, so no addresses and no channel: until it has, its requests take the
//! connection over which it was paired.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rempart_bus::ha::ConfigurationStatus;
use rempart_bus::update::PEER_TOPIC as UPDATE;
use rempart_bus::{Control1Proxy, Error, Update1Proxy};
use rempart_plan::ha::HaPlan;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::channel::{Channel, ChannelError, Inbound, Link, Way};
use crate::keystore::Keystore;
use crate::pairing::{Pairing, Transfer};
use crate::relay;

/// How long the other node may take to answer: it may have a large policy to bring into force.
const ANSWER: Duration = Duration::from_secs(100);
/// How long our control daemon may take to answer the other node.
const CONTROL: Duration = Duration::from_secs(95);
/// How long it may take to say which revisions the nodes have, for a person who waits for the status.
const REFRESH: Duration = Duration::from_millis(250);
/// What the two control daemons may ask each other.
const AGREEMENT: &str = "agreement";
/// One-way streams of the other node that wait for the relay.
const STREAMS: usize = 4;
/// Requests of the other node that wait for our control daemon.
const INBOUND: usize = 4;

/// The other node.
pub struct Peer {
    channel: Channel,
    ways: watch::Sender<Vec<Way>>,
    /// Ways that the elector says are down, by interface; the last word about each.
    down: Mutex<Vec<String>>,
    /// The pairing that is under way, or the last one.
    pub pairing: Pairing,
    /// The connection over which this box was joined, while it is of use.
    transfer: watch::Sender<Option<Transfer>>,
    /// What the control daemon knows of the revisions of both nodes.
    configuration: Mutex<ConfigurationStatus>,
    /// The bus, while there is one.
    bus: watch::Sender<Option<zbus::Connection>>,
}

impl Peer {
    /// Starts the tasks; to be called within the runtime. `plan` is what the document asks for, now and later.
    pub fn start(
        node: &str,
        keystore: &Keystore,
        plan: watch::Receiver<Option<HaPlan>>,
        relay: relay::Config,
    ) -> Self {
        let (inbound, requests) = mpsc::channel(INBOUND);
        let ways = watch::Sender::new(ways(plan.borrow().as_ref(), &[]));
        let (streams, incoming) = mpsc::channel(STREAMS);
        let identity = keystore.identity().clone();
        let channel = Channel::start(identity, keystore.subscribe(), ways.subscribe(), inbound, streams);
        tokio::spawn(relay::run(relay, channel.current(), incoming));
        let bus = watch::Sender::new(None);
        tokio::spawn(answer_requests(requests, bus.subscribe()));
        Self {
            channel,
            ways,
            down: Mutex::default(),
            pairing: Pairing::new(node),
            transfer: watch::Sender::new(None),
            configuration: Mutex::default(),
            bus,
        }
    }

    /// The document asks for something else.
    pub fn replan(&self, plan: Option<&HaPlan>) {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.show(ways(plan, &down));
    }

    /// The elector says that a way is up, or is not.
    pub fn way(&self, interface: &str, up: bool, plan: Option<&HaPlan>) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.retain(|name| name != interface);
        if !up {
            down.push(interface.to_owned());
        }
        self.show(ways(plan, &down));
    }

    fn show(&self, ways: Vec<Way>) {
        self.ways.send_if_modified(|shown| {
            let changed = *shown != ways;
            *shown = ways;
            changed
        });
    }

    /// There is a bus, or none any more.
    pub fn set_bus(&self, bus: Option<zbus::Connection>) {
        self.bus.send_replace(bus);
    }

    /// The bus, now and later.
    pub fn bus(&self) -> watch::Receiver<Option<zbus::Connection>> {
        self.bus.subscribe()
    }

    /// Asks the other node's control daemon.
    pub async fn request(&self, topic: &str, body: &[u8]) -> Result<Vec<u8>, Error> {
        let transfer = self.transfer.borrow().clone();
        let answer = match transfer {
            Some(transfer) if self.link().by.is_none() => transfer.request(topic, body, ANSWER).await,
            Some(_) | None => self.channel.request(topic, body, ANSWER).await,
        };
        answer.map_err(|error: ChannelError| Error::Failed(error.to_string()))
    }

    /// How the channel stands.
    pub fn link(&self) -> Link {
        self.channel.link().borrow().clone()
    }

    /// Whether the node is paired and the other one can be asked.
    pub fn reach(&self) -> (bool, bool) {
        let link = self.link();
        (link.paired, link.paired && (link.by.is_some() || self.transfer.borrow().is_some()))
    }

    /// Calls `told` whenever that changes; never returns.
    pub async fn follow<F: Future<Output = ()>>(&self, told: impl Fn(bool, bool) -> F) {
        let (mut link, mut transfer) = (self.channel.link(), self.transfer.subscribe());
        let mut last = None;
        loop {
            let now = self.reach();
            if last != Some(now) {
                last = Some(now);
                told(now.0, now.1).await;
            }
            tokio::select! {
                changed = link.changed() => if changed.is_err() { return },
                changed = transfer.changed() => if changed.is_err() { return },
            }
            // Once the channel is there, the connection of the pairing has done its work.
            if link.borrow().by.is_some() {
                self.transfer.send_if_modified(|t| t.take().is_some());
            }
        }
    }

    /// This box has joined: until there is a channel its requests take this connection. Ends with it.
    pub async fn carry(&self, transfer: Transfer) {
        let over = transfer.clone();
        self.transfer.send_replace(Some(transfer));
        let bus = self.bus.borrow().clone();
        if let Some(control) = control(&bus).await {
            // A person has joined this box to the other: what it has of its own gives way.
            if let Err(error) = control.peer_request("joined", b"").await {
                warn!(%error, "rempartd does not know that this box was joined");
            }
        }
        over.closed().await;
        debug!("the connection of the pairing has ended");
        self.transfer.send_if_modified(|t| t.take().is_some());
    }

    /// Asks the control daemon, which tells by itself, but a moment later than the end of a commit. While it is busy what it
    /// has told last must do.
    pub async fn refresh(&self) {
        let bus = self.bus.borrow().clone();
        let asked = async { control(&bus).await?.agreement().await.ok() };
        let Ok(Some(text)) = timeout(REFRESH, asked).await else { return };
        if let Ok(status) = serde_json::from_str(&text) {
            self.set_configuration(status);
        }
    }

    /// What the control daemon knows of the revisions of both nodes.
    pub fn configuration(&self) -> ConfigurationStatus {
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The control daemon has said it.
    pub fn set_configuration(&self, status: ConfigurationStatus) {
        *self.configuration.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

fn ways(plan: Option<&HaPlan>, down: &[String]) -> Vec<Way> {
    let Some(plan) = plan.filter(|plan| plan.peer.is_some()) else { return Vec::new() };
    let way = |path: &rempart_plan::ha::PathPlan| Way {
        interface: path.interface.clone(),
        local: path.local,
        remote: path.remote,
        up: !down.contains(&path.interface),
    };
    plan.paths.iter().map(way).collect()
}

/// Hands the other node's requests to our control daemon.
async fn answer_requests(
    mut requests: mpsc::Receiver<Inbound>,
    bus: watch::Receiver<Option<zbus::Connection>>,
) {
    while let Some(Inbound { topic, body, reply }) = requests.recv().await {
        let bus = bus.borrow().clone();
        tokio::spawn(async move {
            if let Some(answer) = ask_control(&bus, &topic, &body).await {
                let _ = reply.send(answer);
            }
        });
    }
}

/// Asks our control daemon, or `rempart-update`, in the other node's name; `None` where it does not answer, or where this is
/// nothing that the other node may ask.
pub async fn ask_control(bus: &Option<zbus::Connection>, topic: &str, body: &[u8]) -> Option<Vec<u8>> {
    let answer = match topic {
        AGREEMENT => {
            let control = control(bus).await?;
            timeout(CONTROL, control.peer_request(topic, body)).await
        }
        UPDATE => {
            let builder = Update1Proxy::builder(bus.as_ref()?);
            let update = builder.cache_properties(zbus::proxy::CacheProperties::No).build().await.ok()?;
            timeout(CONTROL, update.peer_request(body)).await
        }
        _ => {
            debug!(topic, "the other node asks for what it may not");
            return None;
        }
    };
    match answer {
        Ok(Ok(answer)) => Some(answer.into_vec()),
        Ok(Err(error)) => {
            debug!(%error, topic, "the other node is not answered");
            None
        }
        Err(_) => None,
    }
}

async fn control(bus: &Option<zbus::Connection>) -> Option<Control1Proxy<'static>> {
    let builder = Control1Proxy::builder(bus.as_ref()?).cache_properties(zbus::proxy::CacheProperties::No);
    builder.build().await.ok()
}
