//! The driver of pairing: brings [`rempart_pair::pairing`] to a cable.
//!
//! Works on boxes that have nothing yet: no document, no address. Everything goes over IPv6 link-local addresses, which
//! the kernel gives to each link that is up. The joining box asks "who offers?" by multicast; only a node with an offer
//! answers, and only then does anything listen here at all. Then one TCP connection carries the exchange and, sealed, what
//! the joining box needs afterwards ([`Transfer`]).
//!
//! ```text
//!  joining box                                                            offering box
//!   UDP  ff02::1 port 47803  "Rp?" ‖ 16 random bytes  ──── each device ──▶
//!                                                     ◀─── to the asker ──  "Rp!" ‖ the same 16 bytes
//!   TCP  fe80::… port 47803  the messages of pairing, then sealed records
//! ```

mod join;
mod offer;
mod stream;
mod transfer;

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::ha::{PairingOffer, PairingStatus};
use rempart_pair::NodeIndex;
use rempart_pair::keys::PairSecret;
use rempart_pair::pairing::{Agreed, Code, OFFER, Person};
use ring::rand::{SecureRandom as _, SystemRandom};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::keystore::{Identity, Keystore, PairKeys, fingerprint};
use crate::worker::Shared;

pub use transfer::Transfer;

/// All nodes on the link (RFC 4291 §2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// A question and an answer begin with these; both end with the asker's random bytes.
const QUESTION: &[u8; 3] = b"Rp?";
const ANSWER: &[u8; 3] = b"Rp!";
/// Length of both.
const DATAGRAM: usize = 3 + 16;

/// The pairing that is under way, or the last one.
pub struct Pairing {
    node: String,
    state: Arc<Mutex<Shown>>,
    /// Ends the offer under way when it is dropped or says so.
    cancel: Mutex<Option<watch::Sender<bool>>>,
}

#[derive(Clone, Default)]
struct Shown {
    state: State,
    failure: Option<String>,
    expires: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Rest,
    Offering,
    Joining,
    Failed,
}

impl Pairing {
    /// Nothing under way.
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), state: Arc::default(), cancel: Mutex::default() }
    }

    /// How it stands.
    pub fn status(&self, keys: Option<&PairKeys>) -> PairingStatus {
        let shown = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = match (shown.state, keys) {
            (State::Offering, _) => "offering",
            (State::Joining, _) => "joining",
            (State::Failed, _) => "failed",
            (State::Rest, Some(_)) => "paired",
            (State::Rest, None) => "unpaired",
        };
        PairingStatus {
            state: state.into(),
            failure: shown.failure,
            peer: keys.map(|k| k.peer.clone()),
            fingerprint: keys.map(|k| fingerprint(&k.peer_key)),
            expires_s: shown.expires.map(|at| at.saturating_duration_since(Instant::now()).as_secs() as u32),
        }
    }

    fn show(&self, state: State, failure: Option<String>, expires: Option<Instant>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Shown { state, failure, expires };
    }

    /// Ends the offer under way.
    pub fn cancel(&self) {
        let cancel = self.cancel.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(cancel) = cancel
            && cancel.send(true).is_ok()
        {
            self.show(State::Rest, None, None);
        }
    }
}

/// Shows a code and waits, in a task of its own, for the other node.
pub async fn offer(shared: &Arc<Shared>) -> Result<PairingOffer, Error> {
    let plan = shared.plan.borrow().clone();
    let named = plan.and_then(|plan| Some((plan.peer.clone()?, plan.index)));
    let Some((peer, index)) = named else {
        return Err(RefusalCode::NoSecondNode
            .error("the document in force names no second node: commit one with [pair] nodes = [..] first"));
    };
    let code = Code::new(random()?);
    let shown = code.show();
    let secret = Zeroizing::new(random::<32>()?);
    let pairing = &shared.peer.pairing;
    pairing.cancel();
    let sockets = offer::Sockets::open().await.map_err(|error| {
        Error::Failed(format!("pairing cannot listen on port {}: {error}", rempart_plan::ha::ports::PAIRING))
    })?;
    let (cancel, cancelled) = watch::channel(false);
    *pairing.cancel.lock().unwrap_or_else(PoisonError::into_inner) = Some(cancel);
    let now = Instant::now();
    pairing.show(State::Offering, None, Some(now + OFFER));
    let own = person(&pairing.node, shared.keystore.identity());
    let machine = rempart_pair::pairing::Offer::new(now, code, own, peer.clone(), index, secret);
    tokio::spawn(offer::run(Arc::clone(shared), sockets, machine, cancelled));
    Ok(PairingOffer { code: (*shown).clone(), expires_s: OFFER.as_secs() as u32, peer })
}

/// Joins the node that shows the code; returns when the keys are exchanged, or why they are not.
pub async fn join(shared: &Arc<Shared>, code: &str, device: &str) -> Result<PairingStatus, Error> {
    let code = Code::parse(code).map_err(|error| Error::Refused(error.to_string()))?;
    let pairing = &shared.peer.pairing;
    pairing.cancel();
    pairing.show(State::Joining, None, None);
    match join::run(shared, &code, device).await {
        Ok(transfer) => {
            pairing.show(State::Rest, None, None);
            let shared = Arc::clone(shared);
            tokio::spawn(async move { shared.peer.carry(transfer).await });
        }
        Err(why) => pairing.show(State::Failed, Some(why), None),
    }
    Ok(pairing.status(shared.keystore.keys().as_ref()))
}

fn person(node: &str, identity: &Identity) -> Person {
    Person { node: node.to_owned(), product: env!("CARGO_PKG_VERSION").into(), key: identity.public.clone() }
}

/// Stores what was agreed on.
fn store(keystore: &Keystore, agreed: &Agreed) -> bool {
    let Some(index) = NodeIndex::new(agreed.place) else { return false };
    let secret = PairSecret::new(agreed.secret.clone());
    let keys = PairKeys { secret, index, peer: agreed.peer.node.clone(), peer_key: agreed.peer.key.clone() };
    match keystore.pair(keys) {
        Ok(()) => {
            tracing::info!(peer = agreed.peer.node, key = fingerprint(&agreed.peer.key), "paired");
            true
        }
        Err(error) => {
            tracing::error!(%error, "the keys of the pair cannot be stored");
            false
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::Failed("the system gives no random bytes".into())).map(|()| bytes)
}

/// The socket for questions and answers, on every link.
fn discovery() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_hops_v6(1)?;
    socket.set_multicast_loop_v6(false)?;
    // Both ends use the port: the policy of a node lets these datagrams through by it.
    let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, rempart_plan::ha::ports::PAIRING, 0, 0);
    socket.bind(&any.into())?;
    UdpSocket::from_std(socket.into())
}

/// How long closing may take: what was sent is to arrive.
const CLOSE: Duration = Duration::from_secs(1);
