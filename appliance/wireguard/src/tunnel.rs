//! One peer's keys: all that is known here of boringtun.
//!
//! Its clock is the thread's, and set by whoever uses it (its feature `mock-instant`): before each call it gets the time of
//! the tunnel, which begins at zero with it and never goes back. So the engine has no clock, its tests wait for nothing, and
//! the stamps of initiations, which boringtun counts on from the time of day at the tunnel's beginning, can be made to lead.
//!
//! boringtun panics where a buffer is too short or a clock goes back: neither can happen behind these calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519;
use mock_instant::MockClock;

use crate::{OVERHEAD, PublicKey, Secret};

/// Longest message of a handshake (WireGuard §5.4.2).
pub(crate) const HANDSHAKE: usize = 148;
/// The type of a data message (WireGuard §5.4.6).
pub(crate) const DATA: u8 = 4;
/// Messages that boringtun may have kept, and more.
const MAX_QUEUED: usize = 300;

pub(crate) fn public_of(secret: &Secret) -> PublicKey {
    PublicKey(*x25519::PublicKey::from(&x25519::StaticSecret::from(*secret.bytes())).as_bytes())
}

/// What a datagram is. Its length is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Initiation,
    /// And what follows carry the index of one of our tunnels.
    Response(u32),
    Cookie(u32),
    Data {
        index: u32,
        counter: u64,
    },
}

/// What a datagram is; `None` if it is none of ours.
pub(crate) fn kind(datagram: &[u8]) -> Option<Kind> {
    // boringtun keeps the counter to itself.
    let counter = || Some(u64::from_le_bytes(*datagram.get(8..)?.first_chunk()?));
    match Tunn::parse_incoming_packet(datagram).ok()? {
        Packet::HandshakeInit(_) => Some(Kind::Initiation),
        Packet::HandshakeResponse(p) => Some(Kind::Response(p.receiver_idx)),
        Packet::PacketCookieReply(p) => Some(Kind::Cookie(p.receiver_idx)),
        Packet::PacketData(p) => Some(Kind::Data { index: p.receiver_idx, counter: counter()? }),
    }
}

/// The counter of a data message of ours.
pub(crate) fn counter_of(message: &[u8]) -> Option<u64> {
    match message.first() {
        Some(&DATA) => Some(u64::from_le_bytes(*message.get(8..)?.first_chunk()?)),
        Some(_) | None => None,
    }
}

/// What all tunnels of an interface share.
#[derive(Clone)]
pub(crate) struct Identity {
    secret: Secret,
    /// Lets everything pass: the gate is before it.
    open: Arc<RateLimiter>,
}

impl Identity {
    pub fn new(secret: Secret) -> Self {
        let public = x25519::PublicKey::from(public_of(&secret).0);
        Self { open: Arc::new(RateLimiter::new(&public, u64::MAX)), secret }
    }

    pub fn public(&self) -> PublicKey {
        public_of(&self.secret)
    }

    /// Who an initiation says that it comes from. Whether that is so shows when the tunnel takes it.
    pub fn claimed(&self, datagram: &[u8]) -> Option<PublicKey> {
        let Ok(Packet::HandshakeInit(initiation)) = Tunn::parse_incoming_packet(datagram) else {
            return None;
        };
        let secret = x25519::StaticSecret::from(*self.secret.bytes());
        let public = x25519::PublicKey::from(&secret);
        let half = parse_handshake_anon(&secret, &public, &initiation).ok()?;
        Some(PublicKey(half.peer_static_public))
    }
}

/// What came of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opened {
    /// It was not authentic, or came twice.
    Refused,
    /// It was, and there is nothing more to it.
    Nothing,
    /// A packet of so many bytes, at the beginning of the buffer.
    Packet(usize),
    /// An answer of so many bytes, at the beginning of the buffer.
    Answer(usize),
}

/// What a tunnel wants by its timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Nothing,
    /// Nobody answers any more: what waits is to be dropped.
    GivenUp,
    /// A message of so many bytes is to be sent.
    Message(usize),
}

pub(crate) struct Tunnel {
    tunn: Tunn,
    /// When it began.
    origin: Instant,
    /// The time of day then.
    wall: Duration,
    /// The time of its clock.
    time: Duration,
    /// How far it is ahead.
    lead: Duration,
}

impl Tunnel {
    /// A tunnel without keys yet. Only 24 bits of `index` count. The stamps of its initiations are `lead` ahead of the
    /// time of day, which is `wall` now.
    pub fn new(
        now: Instant,
        wall: Duration,
        lead: Duration,
        identity: &Identity,
        peer: &PublicKey,
        preshared: Option<&Secret>,
        index: u32,
    ) -> Self {
        MockClock::set_time(Duration::ZERO);
        let tunn = Tunn::new(
            x25519::StaticSecret::from(*identity.secret.bytes()),
            x25519::PublicKey::from(peer.0),
            preshared.map(|key| *key.bytes()),
            None,
            index & 0x00ff_ffff,
            Some(Arc::clone(&identity.open)),
        );
        let mut tunnel = Self { tunn, origin: now, wall, time: Duration::ZERO, lead };
        // It counts from its last look at the clock.
        let _ = tunnel.due(now, &mut [0; HANDSHAKE]);
        tunnel
    }

    fn set_clock(&mut self, now: Instant) {
        self.time = self.time.max(self.lead + now.saturating_duration_since(self.origin));
        MockClock::set_time(self.time);
    }

    /// The stamp that an initiation would have now, to a second.
    pub fn stamp(&mut self, now: Instant) -> Duration {
        self.set_clock(now);
        self.wall + self.time
    }

    /// How long ago the keys were agreed on that packets can be sealed with now, if there are any.
    pub fn age(&mut self, now: Instant) -> Option<Duration> {
        self.set_clock(now);
        self.tunn.time_since_last_handshake()
    }

    /// Seals a packet, or an empty message. There must be keys ([`Self::age`]), or nothing comes of it.
    pub fn seal(&mut self, now: Instant, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        if out.len() < (packet.len() + OVERHEAD).max(HANDSHAKE) || self.age(now).is_none() {
            return None;
        }
        match self.tunn.encapsulate(packet, out) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }

    /// Begins a handshake, unless one has begun that is not over; `anew` in any case.
    pub fn initiate(&mut self, now: Instant, anew: bool, out: &mut [u8]) -> Option<usize> {
        self.set_clock(now);
        match self.tunn.format_handshake_initiation(out, anew) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }

    /// Opens a datagram for this tunnel.
    pub fn open(&mut self, now: Instant, datagram: &[u8], out: &mut [u8]) -> Opened {
        // An empty one would be a question for what waits.
        if datagram.is_empty() || out.len() < datagram.len().max(HANDSHAKE) {
            return Opened::Refused;
        }
        self.set_clock(now);
        match self.tunn.decapsulate(None, datagram, out) {
            TunnResult::Done => Opened::Nothing,
            TunnResult::Err(_) => Opened::Refused,
            TunnResult::WriteToNetwork(message) => Opened::Answer(message.len()),
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Opened::Packet(packet.len())
            }
        }
    }

    /// Forgets messages that waited for keys: our packets do not wait here, and its empty ones are late.
    pub fn empty_queue(&mut self, now: Instant) {
        self.set_clock(now);
        let mut out = [0; HANDSHAKE];
        for _ in 0..MAX_QUEUED {
            if matches!(self.tunn.decapsulate(None, &[], &mut out), TunnResult::Done) {
                return;
            }
        }
    }

    /// What is due. To be asked several times a second; one thing each time.
    pub fn due(&mut self, now: Instant, out: &mut [u8]) -> Due {
        if out.len() < HANDSHAKE {
            return Due::Nothing;
        }
        self.set_clock(now);
        match self.tunn.update_timers(out) {
            TunnResult::WriteToNetwork(message) => Due::Message(message.len()),
            TunnResult::Err(WireGuardError::ConnectionExpired) => Due::GivenUp,
            _ => Due::Nothing,
        }
    }
}
