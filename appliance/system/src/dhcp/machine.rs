//! The client of RFC 2131 as a machine without clock, socket or randomness: time and frames come in, frames,
//! events and the next deadline come out.
//!
//! ```text
//!            ┌────────────────────────── NAK, lease over ───────────────────────┐
//!            ▼                                                                  │
//!  start ─▶ Init ─discover─▶ Selecting ─offer─▶ Requesting ─ack─▶ Bound ─T1─▶ Renewing ─T2─▶ Rebinding
//!                                                                 ▲ │ ▲          │ ack          │ ack
//!  start with an address, link back ─▶ Rebooting ───────ack───────┘ │ └──────────┴──────────────┘
//!                                          ▲──────── link back ─────┘
//! ```

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rempart_plan::Lease;

use super::codec::{Answer, Grant, Kind, Mac, Question, decode, encode};

/// First wait for an answer (RFC 2131 §4.1); it doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(4);
/// Longest wait for an answer.
const MAX_WAIT: Duration = Duration::from_secs(64);
/// How often an offer is requested before the server counts as gone, and a known address is asked about before a
/// new one is.
const MAX_REQUESTS: u32 = 4;
/// After a refusal: a server that refuses everything must not make us spin.
const AFTER_NAK: Duration = Duration::from_secs(2);
/// Shortest wait between two attempts to renew. RFC 2131 §4.4.5 says 60 s, which leaves a lease of two minutes one
/// single attempt.
const MIN_RENEW_WAIT: Duration = Duration::from_secs(10);
/// A shorter lease is taken for this long: a server that grants seconds must not make us spin.
const MIN_LEASE_S: u32 = 30;
/// A longer lease, or one for ever (0xffffffff), is renewed as if it were for a year.
const MAX_LEASE_S: u32 = 365 * 24 * 3600;

/// What became of the lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Granted, or granted again.
    Bound(Lease),
    /// Over: the address must not be used any longer.
    Lost,
}

/// The client of one interface.
#[derive(Debug)]
pub struct Client {
    mac: Mac,
    host_name: Option<String>,
    state: State,
    link: bool,
    began: Instant,
    xid: u32,
    random: u64,
    frames: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// Waits before it asks.
    Init { at: Instant },
    /// Waits for offers.
    Selecting { attempt: u32, at: Instant },
    /// Waits for the server of `offer` to keep its word.
    Requesting { offer: Grant, server: Ipv4Addr, attempt: u32, at: Instant },
    /// Asks whether an address of before may still be used.
    Rebooting { address: Ipv4Addr, held: Option<Held>, attempt: u32, at: Instant },
    /// Has a lease.
    Bound(Held),
    /// Asks the server for more time.
    Renewing { held: Held, at: Instant },
    /// Asks everyone for more time.
    Rebinding { held: Held, at: Instant },
}

/// A lease that is in force.
#[derive(Clone, Debug)]
struct Held {
    address: Ipv4Addr,
    server: Ipv4Addr,
    server_mac: Mac,
    t1: Instant,
    t2: Instant,
    end: Instant,
}

impl Client {
    /// A client for the interface with Ethernet address `mac`. `previous` is the address that it had before the
    /// program was restarted, which is asked for first. `random` should differ from client to client.
    pub fn new(
        now: Instant,
        mac: Mac,
        host_name: Option<String>,
        previous: Option<Ipv4Addr>,
        random: u64,
    ) -> Self {
        let state = match previous {
            Some(address) => State::Rebooting { address, held: None, attempt: 0, at: now },
            None => State::Init { at: now },
        };
        let mut client = Self {
            mac,
            host_name,
            state,
            link: true,
            began: now,
            xid: 0,
            random: random | 1,
            frames: VecDeque::new(),
            events: VecDeque::new(),
        };
        client.xid = client.draw();
        client
    }

    /// The Ethernet address that it asks for.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Whether a lease is in force.
    pub fn has_lease(&self) -> bool {
        self.held().is_some()
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// The next thing that happened to the lease.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Client::handle_timeout`] is to be called. Without link only the end of the lease counts.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let end = self.held().map(|h| h.end);
        if !self.link {
            return end;
        }
        let at = match &self.state {
            State::Init { at }
            | State::Selecting { at, .. }
            | State::Requesting { at, .. }
            | State::Rebooting { at, .. }
            | State::Renewing { at, .. }
            | State::Rebinding { at, .. } => *at,
            State::Bound(held) => held.t1,
        };
        Some(end.map_or(at, |end| at.min(end)))
    }

    /// The link went or came. When it comes back it may lead to another network, so the address is asked about
    /// (RFC 2131 §3.7).
    pub fn handle_link(&mut self, now: Instant, up: bool) {
        if up == self.link {
            return;
        }
        self.link = up;
        if !up {
            return;
        }
        self.state = match (self.held().cloned(), &self.state) {
            (Some(held), _) => {
                State::Rebooting { address: held.address, held: Some(held), attempt: 0, at: now }
            }
            (None, State::Rebooting { address, .. }) => {
                State::Rebooting { address: *address, held: None, attempt: 0, at: now }
            }
            (None, _) => State::Init { at: now },
        };
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.held().is_some_and(|h| h.end <= now) {
            self.lose(now, Duration::ZERO);
        }
        if !self.link || self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let state = std::mem::replace(&mut self.state, State::Init { at: now });
        self.state = match state {
            State::Init { .. } => {
                self.began = now;
                self.xid = self.draw();
                self.discover(now, 0)
            }
            State::Selecting { attempt, .. } => self.discover(now, attempt + 1),
            State::Requesting { offer, server, attempt, .. } if attempt < MAX_REQUESTS => {
                self.request(now, offer, server, attempt)
            }
            // The server that made the offer is gone: ask everyone.
            State::Requesting { .. } => State::Init { at: now },
            State::Rebooting { address, held, attempt, .. } if attempt < MAX_REQUESTS => {
                if attempt == 0 {
                    self.began = now;
                    self.xid = self.draw();
                }
                let requested = Some(address);
                self.send(now, Question { requested, ..self.question(Kind::Request) });
                State::Rebooting { address, held, attempt: attempt + 1, at: now + self.wait(attempt) }
            }
            // Nobody answers. A lease that is still in force stays so (RFC 2131 §3.7), to its end.
            State::Rebooting { held: Some(held), .. } if held.t2 > now => {
                State::Bound(Held { t1: (now + MAX_WAIT).min(held.t2), ..held })
            }
            State::Rebooting { held: Some(held), .. } => self.rebind(now, held),
            State::Rebooting { held: None, .. } => State::Init { at: now },
            State::Bound(held) | State::Renewing { held, .. } if held.t2 > now => self.renew(now, held),
            State::Bound(held) | State::Renewing { held, .. } | State::Rebinding { held, .. } => {
                self.rebind(now, held)
            }
        };
    }

    /// A frame arrived.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        let Some(answer) = decode(frame, self.mac).filter(|a| a.xid == self.xid) else { return };
        match (&self.state, answer.kind) {
            (State::Selecting { .. }, Kind::Offer) => {
                if let (Some(offer), Some(server)) = (answer.grant, answer.server) {
                    self.state = self.request(now, offer, server, 0);
                }
            }
            (State::Requesting { server, .. }, Kind::Ack) if answer.server == Some(*server) => {
                self.bind(now, answer)
            }
            (State::Rebooting { address, .. }, Kind::Ack)
                if answer.grant.as_ref().is_some_and(|g| g.address == *address) =>
            {
                self.bind(now, answer);
            }
            (State::Renewing { .. } | State::Rebinding { .. }, Kind::Ack) => self.bind(now, answer),
            (State::Requesting { server, .. }, Kind::Nak) if answer.server == Some(*server) => {
                self.state = State::Init { at: now + AFTER_NAK };
            }
            (State::Renewing { held, .. }, Kind::Nak) if answer.server == Some(held.server) => {
                self.lose(now, AFTER_NAK);
            }
            (State::Rebooting { .. } | State::Rebinding { .. }, Kind::Nak) => self.lose(now, AFTER_NAK),
            // Late, doubled, of another server, or nothing that was asked for.
            (State::Init { .. } | State::Bound(_), _)
            | (
                State::Selecting { .. },
                Kind::Discover | Kind::Request | Kind::Ack | Kind::Nak | Kind::Other(_),
            )
            | (
                State::Requesting { .. }
                | State::Rebooting { .. }
                | State::Renewing { .. }
                | State::Rebinding { .. },
                Kind::Discover | Kind::Offer | Kind::Request | Kind::Ack | Kind::Nak | Kind::Other(_),
            ) => {}
        }
    }

    fn held(&self) -> Option<&Held> {
        match &self.state {
            State::Bound(held)
            | State::Renewing { held, .. }
            | State::Rebinding { held, .. }
            | State::Rebooting { held: Some(held), .. } => Some(held),
            State::Init { .. }
            | State::Selecting { .. }
            | State::Requesting { .. }
            | State::Rebooting { held: None, .. } => None,
        }
    }

    fn discover(&mut self, now: Instant, attempt: u32) -> State {
        self.send(now, self.question(Kind::Discover));
        State::Selecting { attempt, at: now + self.wait(attempt) }
    }

    fn request(&mut self, now: Instant, offer: Grant, server: Ipv4Addr, attempt: u32) -> State {
        let question =
            Question { requested: Some(offer.address), server: Some(server), ..self.question(Kind::Request) };
        self.send(now, question);
        State::Requesting { offer, server, attempt: attempt + 1, at: now + self.wait(attempt) }
    }

    fn renew(&mut self, now: Instant, held: Held) -> State {
        let unicast = Some((held.server_mac, held.server));
        self.ask_for_more(now, &held, unicast);
        let at = now + half(held.t2 - now).max(MIN_RENEW_WAIT);
        State::Renewing { at: at.min(held.t2), held }
    }

    fn rebind(&mut self, now: Instant, held: Held) -> State {
        self.ask_for_more(now, &held, None);
        let at = now + half(held.end.saturating_duration_since(now)).max(MIN_RENEW_WAIT);
        State::Rebinding { at: at.min(held.end), held }
    }

    fn ask_for_more(&mut self, now: Instant, held: &Held, unicast: Option<(Mac, Ipv4Addr)>) {
        if matches!(self.state, State::Init { .. }) {
            self.began = now;
        }
        self.xid = self.draw();
        self.send(now, Question { holding: held.address, unicast, ..self.question(Kind::Request) });
    }

    fn bind(&mut self, now: Instant, answer: Answer) {
        let Some(grant) = answer.grant else { return };
        let Some(server) = answer.server else { return };
        let lease_s = grant.lease_s.clamp(MIN_LEASE_S, MAX_LEASE_S);
        // RFC 2131 §4.4.5: one half and seven eighths, unless the server says so, and in order.
        let t2_s = grant.t2_s.filter(|t2| *t2 > 1 && *t2 < lease_s).unwrap_or(lease_s / 8 * 7);
        let t1_s = grant.t1_s.filter(|t1| *t1 > 0 && *t1 < t2_s).unwrap_or((lease_s / 2).min(t2_s));
        let after = |seconds: u32| now + Duration::from_secs(seconds.into());
        let held = Held {
            address: grant.address,
            server,
            server_mac: answer.from,
            t1: after(t1_s.max(MIN_LEASE_S / 2)),
            t2: after(t2_s.max(MIN_LEASE_S / 2)),
            end: after(lease_s),
        };
        self.state = State::Bound(held);
        self.events.push_back(Event::Bound(grant.lease));
    }

    fn lose(&mut self, now: Instant, pause: Duration) {
        if self.held().is_some() {
            self.events.push_back(Event::Lost);
        }
        self.state = State::Init { at: now + pause };
    }

    fn question(&self, kind: Kind) -> Question {
        Question {
            kind,
            xid: self.xid,
            elapsed_s: 0,
            mac: self.mac,
            holding: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server: None,
            host_name: self.host_name.clone(),
            unicast: None,
        }
    }

    fn send(&mut self, now: Instant, question: Question) {
        let elapsed_s =
            u16::try_from(now.saturating_duration_since(self.began).as_secs()).unwrap_or(u16::MAX);
        self.frames.push_back(encode(&Question { elapsed_s, ..question }));
    }

    /// Doubles from the first to the longest wait, with up to a second more or less (RFC 2131 §4.1).
    fn wait(&mut self, attempt: u32) -> Duration {
        let base = FIRST_WAIT.saturating_mul(1 << attempt.min(8)).min(MAX_WAIT);
        let jitter = Duration::from_millis((self.draw() % 2000).into());
        base + jitter - Duration::from_secs(1)
    }

    /// xorshift64: spreads clients over time and tells transactions apart, which is not a secret.
    fn draw(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }
}

fn half(duration: Duration) -> Duration {
    duration / 2
}

#[cfg(test)]
mod tests;
