//! The way to the other node's control daemon: `rempart-ha` on the bus, which has the keys and the cable.
//!
//! One task follows `rempart-ha`: whether it is there, whether the other node is connected, and hands it what it must know
//! (the plan of the elector, the agreement on the revision) whenever that changes or `rempart-ha` is started anew. Each
//! request to the other node is a task of its own with a time limit. Without `rempart-ha` all of it rests.

use std::time::Duration;

use futures_util::StreamExt as _;
use rempart_bus::{HA_NAME, Ha1Proxy};
use rempart_daemon::tasks::until;
use rempart_pair::agreement::{APPLY, Bundle, Request, Response, RevisionId, Token};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

/// What requests between control daemons are about.
pub const TOPIC: &str = "agreement";
/// News that wait for the control loop: a handful at a time.
const NEWS: usize = 64;
/// How long an answer of the other node may take. Whoever waits for it has a shorter limit; this ends what was forgotten.
const ANSWER: Duration = Duration::from_secs(APPLY.as_secs() + 30);
/// How long `rempart-ha` may take to take what it is told.
const TELL: Duration = Duration::from_secs(5);
/// When it is told again if it did not.
const AGAIN: Duration = Duration::from_secs(1);

/// What the control loop hears.
#[derive(Debug)]
pub enum PeerNews {
    /// Whether the node is paired and the other one connected.
    Link {
        /// There are keys.
        paired: bool,
        /// The other node is connected.
        connected: bool,
    },
    /// The answer to a request; `None`: there is none.
    Answer(Token, Option<Box<Response>>),
    /// A revision of the past that was asked for; `None`: the other node does not keep it either.
    Past(RevisionId, Option<Box<Bundle>>),
    /// That was all of it; or else the other node does not answer.
    PastEnd(bool),
}

/// What `rempart-ha` must know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// A `HaPlan` as JSON, or the empty text.
    pub plan: String,
    /// Its revision.
    pub revision: u32,
    /// A `ConfigurationStatus` as JSON.
    pub agreement: String,
}

/// The way there.
#[derive(Debug)]
pub struct Peer {
    connection: Option<zbus::Connection>,
    news: mpsc::Sender<PeerNews>,
    wanted: watch::Sender<Option<Told>>,
}

impl Peer {
    /// A way that leads nowhere yet.
    pub fn new() -> (Self, mpsc::Receiver<PeerNews>) {
        let (news, heard) = mpsc::channel(NEWS);
        (Self { connection: None, news, wanted: watch::Sender::new(None) }, heard)
    }

    /// Follows `rempart-ha` on this bus.
    pub fn connect(&mut self, connection: zbus::Connection) {
        self.connection = Some(connection.clone());
        let (news, wanted) = (self.news.clone(), self.wanted.subscribe());
        tokio::spawn(async move {
            if let Err(error) = follow(connection, news, wanted).await {
                warn!(%error, "rempart-ha cannot be followed on the bus: this node stands alone");
            }
        });
    }

    /// Has `rempart-ha` told, now and whenever it is started anew.
    pub fn tell(&self, told: Told) {
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.as_ref() != Some(&told);
            *wanted = Some(told);
            changed
        });
    }

    /// Asks the other node. The answer comes as news.
    pub fn ask(&self, token: Token, request: &Request) {
        let news = self.news.clone();
        let body = serde_json::to_vec(request).unwrap_or_default();
        let connection = self.connection.clone();
        tokio::spawn(async move {
            let answer = match connection {
                Some(connection) => timeout(ANSWER, exchange(&connection, &body)).await.ok().flatten(),
                None => None,
            };
            let _ = news.send(PeerNews::Answer(token, answer.map(Box::new))).await;
        });
    }

    /// Asks the other node for revisions of the past, one after the other. They come as news. Gives whether there is a way.
    pub fn ask_past(&self, ids: Vec<RevisionId>) -> bool {
        let Some(connection) = self.connection.clone() else { return false };
        let news = self.news.clone();
        tokio::spawn(async move {
            for id in ids {
                let body = serde_json::to_vec(&Request::Fetch(id)).unwrap_or_default();
                let answer = timeout(ANSWER, exchange(&connection, &body)).await.ok().flatten();
                let past = match answer {
                    Some(Response::Bundle(bundle)) => Some(Box::new(bundle)),
                    Some(_) => None,
                    None => return drop(news.send(PeerNews::PastEnd(false)).await),
                };
                if news.send(PeerNews::Past(id, past)).await.is_err() {
                    return;
                }
            }
            let _ = news.send(PeerNews::PastEnd(true)).await;
        });
        true
    }

    /// The bus, where there is one yet.
    pub fn connection(&self) -> Option<zbus::Connection> {
        self.connection.clone()
    }
}

/// Asks the other node once.
pub async fn exchange(connection: &zbus::Connection, body: &[u8]) -> Option<Response> {
    let answer = match proxy(connection).await.ok()?.request(TOPIC, body).await {
        Ok(answer) => answer,
        Err(error) => {
            debug!(%error, "the other node does not answer");
            return None;
        }
    };
    serde_json::from_slice(&answer)
        .inspect_err(|error| warn!(%error, "the other node's answer cannot be read"))
        .ok()
}

async fn proxy(connection: &zbus::Connection) -> zbus::Result<Ha1Proxy<'static>> {
    Ha1Proxy::builder(connection).cache_properties(zbus::proxy::CacheProperties::No).build().await
}

async fn follow(
    connection: zbus::Connection,
    news: mpsc::Sender<PeerNews>,
    mut wanted: watch::Receiver<Option<Told>>,
) -> zbus::Result<()> {
    let bus = zbus::fdo::DBusProxy::new(&connection).await?;
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, HA_NAME)]).await?;
    let ha = proxy(&connection).await?;
    let mut links = ha.receive_link_changed().await?;
    let mut here = bus.name_has_owner(HA_NAME.try_into()?).await?;
    let mut told = Told::default();
    let mut again = None;
    if here {
        look(&ha, &news).await;
    }
    loop {
        let now = wanted.borrow_and_update().clone();
        if let Some(now) = now.filter(|now| here && again.is_none() && *now != told) {
            match timeout(TELL, tell(&ha, &now, &told)).await {
                Ok(Ok(())) => told = now,
                Ok(Err(error)) => {
                    debug!(%error, "rempart-ha does not take what it is told");
                    again = Some(Instant::now() + AGAIN);
                }
                Err(_) => again = Some(Instant::now() + AGAIN),
            }
        }
        tokio::select! {
            Some(change) = owners.next() => {
                here = change.args()?.new_owner().is_some();
                (told, again) = (Told::default(), None);
                if here {
                    look(&ha, &news).await;
                } else {
                    let _ = news.send(PeerNews::Link { paired: false, connected: false }).await;
                }
            }
            Some(change) = links.next() => {
                let change = change.args()?;
                let (paired, connected) = (*change.paired(), *change.connected());
                let _ = news.send(PeerNews::Link { paired, connected }).await;
            }
            Ok(()) = wanted.changed() => {}
            () = until(again) => again = None,
            else => return Ok(()),
        }
    }
}

async fn look(ha: &Ha1Proxy<'_>, news: &mpsc::Sender<PeerNews>) {
    let (paired, connected) = match timeout(TELL, ha.link()).await {
        Ok(Ok(link)) => link,
        Ok(Err(error)) => {
            debug!(%error, "rempart-ha does not say whether the other node is connected");
            (false, false)
        }
        Err(_) => (false, false),
    };
    let _ = news.send(PeerNews::Link { paired, connected }).await;
}

async fn tell(ha: &Ha1Proxy<'_>, now: &Told, before: &Told) -> Result<(), rempart_bus::Error> {
    if (&now.plan, now.revision) != (&before.plan, before.revision) || before.agreement.is_empty() {
        ha.configure(&now.plan, now.revision).await?;
    }
    if now.agreement != before.agreement {
        ha.agreement(&now.agreement).await?;
    }
    Ok(())
}
