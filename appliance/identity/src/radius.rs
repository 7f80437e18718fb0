//! RADIUS with a password (RFC 2865, PAP), for administrations that have it.
//!
//! ```text
//!   code (1) | identifier (1) | length (2) | authenticator (16) | attributes: type (1), length (1), value …
//! ```
//!
//! RADIUS protects with MD5 and a shared secret, in the clear but for the password: it belongs on the inside, next to the
//! server. Since CVE-2024-3596 (BlastRADIUS) forged answers are kept out by Message-Authenticator (RFC 3579 §3.2) alone: it stands
//! first in every request, and an answer without a right one is no answer.
//!
//! [`Exchange`] is pure; [`Radius`] is the thin layer with a socket. It blocks, for the sum of its retries at most: the driver
//! gives it a thread.

mod packet;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

pub use packet::{Exchange, MAX_PACKET, NotAnAnswer, Question, Reply};

use crate::demand::RadiusAnswer;
use crate::names::GroupName;
use crate::secret::Secret;

/// Servers of one administration.
const MAX_SERVERS: usize = 4;
/// Tries at one server. UDP loses a packet now and then.
const TRIES: u32 = 3;
/// Datagrams that are no answer, between a question and its answer: what a forger may cost us.
const MAX_STRAYS: usize = 64;
/// Bytes of a shared secret at least: RFC 2865 §3 prefers 16, and it is searched for offline.
pub const MIN_SECRET: usize = 16;

/// A server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RadiusServer {
    /// Where it is, by habit port 1812.
    pub address: SocketAddr,
    /// The shared secret.
    pub secret: Secret,
}

/// The servers and what their answers mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RadiusConfig {
    /// Asked in this order; the one that answered last is asked first.
    pub servers: Vec<RadiusServer>,
    /// NAS-Identifier: who asks.
    pub identifier: String,
    /// What a Class or Filter-Id attribute must hold for a group of the VPN.
    pub groups: BTreeMap<String, GroupName>,
    /// Where requests come from, if that is not the kernel's choice: servers know their clients by it.
    pub source: Option<Ipv4Addr>,
    /// How long to wait for an answer to one try.
    pub patience: Duration,
}

/// Why servers cannot be asked at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadRadius {
    /// None, or too many.
    #[error("there are 1 to {MAX_SERVERS} RADIUS servers")]
    Count,
    /// Found in a night.
    #[error("the shared secret of a RADIUS server has fewer than {MIN_SECRET} bytes")]
    ShortSecret,
    /// Does not fit an attribute.
    #[error("the identifier has 1 to 253 bytes")]
    Identifier,
}

/// Servers that can be asked.
pub struct Radius {
    config: RadiusConfig,
    first: AtomicUsize,
}

impl Radius {
    /// From its configuration.
    pub fn new(config: RadiusConfig) -> Result<Self, BadRadius> {
        if config.servers.is_empty() || config.servers.len() > MAX_SERVERS {
            return Err(BadRadius::Count);
        }
        if config.servers.iter().any(|server| server.secret.expose().len() < MIN_SECRET) {
            return Err(BadRadius::ShortSecret);
        }
        if !(1..=253).contains(&config.identifier.len()) {
            return Err(BadRadius::Identifier);
        }
        Ok(Self { config, first: AtomicUsize::new(0) })
    }

    /// Asks one server after the other until one answers. The state of a challenge goes to the server that gave it first, for
    /// that one answered last. Blocks.
    pub fn ask(&self, question: &Question<'_>) -> RadiusAnswer {
        let count = self.config.servers.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut silent = Vec::new();
        for place in (0..count).map(|step| (first + step) % count) {
            let Some(server) = self.config.servers.get(place) else { continue };
            match self.ask_one(server, question) {
                Ok(reply) => {
                    self.first.store(place, Ordering::Relaxed);
                    return self.meaning(reply);
                }
                Err(why) => silent.push(format!("{}: {why}", server.address)),
            }
        }
        RadiusAnswer::Unavailable(silent.join("; "))
    }

    fn ask_one(&self, server: &RadiusServer, question: &Question<'_>) -> Result<Reply, String> {
        let mut random = [0; 17];
        SystemRandom::new().fill(&mut random).map_err(|_| "no random bytes".to_owned())?;
        let [id, authenticator @ ..] = random;
        let exchange = Exchange::new(id, authenticator, &server.secret, &self.config.identifier, question)
            .map_err(|error| error.to_string())?;
        let any: IpAddr = match server.address {
            SocketAddr::V4(_) => self.config.source.unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // A port of its own for each question; the kernel drops what comes from elsewhere.
        let socket = UdpSocket::bind((any, 0)).map_err(|error| error.to_string())?;
        socket.connect(server.address).map_err(|error| error.to_string())?;
        let mut strays = None;
        for _ in 0..TRIES {
            // The same packet again, so that a server that answers late answers the right one (RFC 2865 §2.5).
            if let Err(error) = socket.send(exchange.request()) {
                return Err(error.to_string());
            }
            match self.wait(&socket, &exchange) {
                Ok(reply) => return Ok(reply),
                Err(Waited::Closed(error)) => return Err(error),
                Err(Waited::Timeout(stray)) => strays = strays.or(stray),
            }
        }
        let wrong = strays.map(|why| format!(", and what came was no answer: {why}")).unwrap_or_default();
        Err(format!("no answer to {TRIES} tries{wrong}"))
    }

    fn wait(&self, socket: &UdpSocket, exchange: &Exchange) -> Result<Reply, Waited> {
        let end = Instant::now() + self.config.patience;
        let mut buffer = [0; MAX_PACKET + 1];
        let mut stray = None;
        for _ in 0..MAX_STRAYS {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left)).map_err(|error| Waited::Closed(error.to_string()))?;
            match socket.recv(&mut buffer) {
                Ok(count) => match exchange.read(buffer.get(..count).unwrap_or(&[])) {
                    Ok(reply) => return Ok(reply),
                    // Forged or damaged: the right one may still come.
                    Err(why) => stray = Some(why),
                },
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => return Err(Waited::Closed(error.to_string())),
            }
        }
        Err(Waited::Timeout(stray))
    }

    fn meaning(&self, reply: Reply) -> RadiusAnswer {
        match reply {
            Reply::Accept { marks } => {
                let groups: BTreeSet<GroupName> =
                    marks.iter().filter_map(|mark| self.config.groups.get(mark)).cloned().collect();
                RadiusAnswer::Accept(groups)
            }
            Reply::Reject { text } if text.is_empty() => RadiusAnswer::Reject("RADIUS says so".to_owned()),
            Reply::Reject { text } => RadiusAnswer::Reject(format!("RADIUS says: {text}")),
            Reply::Challenge { text, state } => RadiusAnswer::Challenge { text, state },
        }
    }
}

/// Why there was no answer to one try.
enum Waited {
    Timeout(Option<NotAnAnswer>),
    Closed(String),
}
