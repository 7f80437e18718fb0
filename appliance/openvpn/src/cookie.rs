//! The start of a session: three packets, and no state before the third has proved that its sender gets our answers and
//! holds the key (I7).
//!
//! ```text
//!  client                                       server
//!    HARD_RESET_CLIENT_V2/V3 [WKc]  ─────────▶  nothing is stored
//!                                   ◀─────────  HARD_RESET_SERVER_V2, session id = HMAC(slot, address, client's id)
//!    CONTROL_V1, CONTROL_WKC_V1 or ACK ──────▶  the id comes back: make a session
//! ```
//!
//! The exception: a client before 2.6 with tls-crypt-v2 sends its wrapped key once, in the first packet. Such keys, and only
//! after the packet has authenticated under them, are kept for a while, in a table of [`MAX_KEPT`].

mod limit;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Now;
use crate::packet::{Acks, Body, Header, Opcode, SessionId};
use crate::wrap::{
    ClientKey, Metadata, Mode, OpenError, Opened, PacketId, ServerKey, StaticKey, Wrapping, split_wkc,
};
use limit::Limit;

/// How long a slot of time is: half the hand-window of stock clients.
const SLOT_S: u64 = 30;
/// Keys of clients that do not repeat theirs; each is 256 bytes, and they are rare.
pub const MAX_KEPT: usize = 256;
/// How long such a key is kept: the hand-window of stock clients.
const KEPT: Duration = Duration::from_secs(60);
/// The upper byte of the counter of a client that can repeat its wrapped key (draft "CONTROL_HARD_RESET_CLIENT_V3").
const EARLY_NEGOTIATION: u8 = 0x0f;
/// Type 1, length 2, bit 0: repeat your wrapped key in the third packet (draft "Connection with cookie support").
const RESEND_WKC: [u8; 6] = [0, 1, 0, 2, 0, 1];

/// The key of the cookies. Both nodes have the same, so that either takes up what the other began.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CookieKey([u8; 32]);

impl CookieKey {
    /// From random bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// Our session id for a client, in a slot of time.
    fn cookie(&self, slot: u64, client: SocketAddr, session: SessionId) -> SessionId {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("an HMAC takes any key"));
        mac.update(&slot.to_be_bytes());
        match client.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        mac.update(&session.0);
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let [a, b, c, d, e, f, g, h, ..] = tag;
        SessionId([a, b, c, d, e, f, g, h])
    }

    /// The other node's clock may be in the next slot already; older than two slots is too late.
    fn check(&self, unix_s: u64, client: SocketAddr, session: SessionId, found: SessionId) -> bool {
        let slot = unix_s / SLOT_S;
        let slots = [slot.saturating_add(1), slot, slot.saturating_sub(1), slot.saturating_sub(2)];
        slots
            .into_iter()
            .fold(Choice::from(0), |equal, slot| equal | self.cookie(slot, client, session).0.ct_eq(&found.0))
            .into()
    }
}

/// Which wrappings the server takes. tls-crypt-v2 goes beside one of the others.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// tls-crypt, or tls-auth of old profiles: the same key for everybody.
    pub shared: Option<Wrapping>,
    /// tls-crypt-v2: a key for each client.
    pub each: Option<ServerKey>,
}

/// What a packet without a session comes to.
#[derive(Debug)]
pub enum Outcome {
    /// It is dropped.
    Nothing(Dropped),
    /// This goes back to where it came from.
    Reply(Vec<u8>),
    /// Make a session and hand it this same packet.
    Admit(Box<Admission>),
}

/// Why a packet was dropped: for counters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dropped {
    /// Not the form of a packet.
    Malformed,
    /// Made without a key of ours.
    Forged,
    /// Authentic, but it belongs to a session that is not there.
    Stray,
    /// Its session id is not one that we gave to this sender, or too old.
    Cookie,
    /// Too many beginnings from there, or altogether.
    Limited,
}

/// A client has shown that it gets our packets and holds a key.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Where it is.
    pub client: SocketAddr,
    /// Its session id.
    pub client_session: SessionId,
    /// Ours.
    pub server_session: SessionId,
    /// How its packets are wrapped.
    pub wrapping: Wrapping,
    /// What was written into its wrapped key. To be asked for revocation before TLS begins.
    pub metadata: Option<Metadata>,
}

/// Answers packets that belong to no session.
#[derive(Debug)]
pub struct Start {
    cookie: CookieKey,
    keys: Keys,
    limit: Limit,
    kept: BTreeMap<(SocketAddr, SessionId), Kept>,
}

#[derive(Debug)]
struct Kept {
    until: Instant,
    key: ClientKey,
}

impl Start {
    /// `hash_seed` is random: it keeps strangers from choosing whom they share a rate limit with.
    pub fn new(now: Now, cookie: CookieKey, keys: Keys, hash_seed: [u8; 16]) -> Self {
        Self { cookie, keys, limit: Limit::new(now.instant, hash_seed), kept: BTreeMap::new() }
    }

    /// A control packet whose (address, session id) no session has.
    pub fn handle(&mut self, now: Now, client: SocketAddr, packet: &[u8]) -> Outcome {
        match self.judge(now, client, packet) {
            Ok(outcome) => outcome,
            Err(dropped) => Outcome::Nothing(dropped),
        }
    }

    /// How many wrapped keys of older clients are kept: for the figures.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    fn judge(&mut self, now: Now, client: SocketAddr, packet: &[u8]) -> Result<Outcome, Dropped> {
        let (header, _) = Header::parse(packet).map_err(|_| Dropped::Malformed)?;
        match header.opcode {
            Opcode::HardResetClientV2 => {
                let wrapping = self.keys.shared.clone().ok_or(Dropped::Forged)?;
                let opened = open(&wrapping, packet)?;
                self.answer(now, client, &wrapping, &opened, &[])
            }
            Opcode::HardResetClientV3 => {
                let (inner, key) = self.unwrap(packet)?;
                let wrapping = crypt(&key.key);
                let opened = open(&wrapping, inner)?;
                // 2.5 counts from 1 and cannot repeat its key.
                if opened.id.counter.to_be_bytes().first() == Some(&EARLY_NEGOTIATION) {
                    return self.answer(now, client, &wrapping, &opened, &RESEND_WKC);
                }
                let outcome = self.answer(now, client, &wrapping, &opened, &[])?;
                self.keep(now.instant, (client, header.session), key)?;
                Ok(outcome)
            }
            Opcode::ControlWkc => {
                let (inner, key) = self.unwrap(packet)?;
                let wrapping = crypt(&key.key);
                let opened = open(&wrapping, inner)?;
                self.admit(now, client, wrapping, Some(key.metadata), &opened)
            }
            Opcode::Control | Opcode::Ack => {
                let place = (client, header.session);
                match self.kept.get(&place).filter(|kept| kept.until > now.instant) {
                    Some(kept) => {
                        let (wrapping, metadata) = (crypt(&kept.key.key), kept.key.metadata.clone());
                        let opened = open(&wrapping, packet)?;
                        let outcome = self.admit(now, client, wrapping, Some(metadata), &opened)?;
                        self.kept.remove(&place);
                        Ok(outcome)
                    }
                    None => {
                        let wrapping = self.keys.shared.clone().ok_or(Dropped::Forged)?;
                        let opened = open(&wrapping, packet)?;
                        self.admit(now, client, wrapping, None, &opened)
                    }
                }
            }
            Opcode::SoftReset | Opcode::HardResetServerV2 => Err(Dropped::Stray),
        }
    }

    fn unwrap<'a>(&self, packet: &'a [u8]) -> Result<(&'a [u8], ClientKey), Dropped> {
        let server = self.keys.each.as_ref().ok_or(Dropped::Forged)?;
        let (inner, wkc) = split_wkc(packet).ok_or(Dropped::Malformed)?;
        Ok((inner, server.unwrap(wkc).map_err(|_| Dropped::Forged)?))
    }

    /// The second packet. A client that did not get it asks again and gets the same.
    fn answer(
        &mut self,
        now: Now,
        client: SocketAddr,
        wrapping: &Wrapping,
        opened: &Opened,
        payload: &[u8],
    ) -> Result<Outcome, Dropped> {
        let body = Body::parse(opened.header.opcode, &opened.body).map_err(|_| Dropped::Malformed)?;
        // A first packet is message 0 of key 0, and acknowledges nothing.
        if body.message != Some(0) || opened.header.key_id.get() != 0 || body.peer.is_some() {
            return Err(Dropped::Malformed);
        }
        if !self.limit.allow(now.instant, client.ip()) {
            return Err(Dropped::Limited);
        }
        let session = self.cookie.cookie(now.unix_s / SLOT_S, client, opened.header.session);
        let header = Header { opcode: Opcode::HardResetServerV2, session, ..opened.header };
        let body = Body {
            acks: std::iter::once(0).collect::<Acks>(),
            peer: Some(opened.header.session),
            message: Some(0),
            payload,
        };
        let time = u32::try_from(now.unix_s).unwrap_or(u32::MAX);
        Ok(Outcome::Reply(wrapping.seal(PacketId { time, counter: 1 }, header, &body.encode())))
    }

    fn admit(
        &self,
        now: Now,
        client: SocketAddr,
        wrapping: Wrapping,
        metadata: Option<Metadata>,
        opened: &Opened,
    ) -> Result<Outcome, Dropped> {
        let body = Body::parse(opened.header.opcode, &opened.body).map_err(|_| Dropped::Malformed)?;
        let client_session = opened.header.session;
        let server_session = body.peer.ok_or(Dropped::Cookie)?;
        if !self.cookie.check(now.unix_s, client, client_session, server_session) {
            return Err(Dropped::Cookie);
        }
        // It acknowledges our message 0 and goes on with its own message 1; anything later belongs to a session that is
        // gone, and its client finds that out by itself.
        let begins =
            body.acks.as_slice() == [0] && opened.header.key_id.get() == 0 && body.message.unwrap_or(1) <= 1;
        if !begins {
            return Err(Dropped::Stray);
        }
        Ok(Outcome::Admit(Box::new(Admission { client, client_session, server_session, wrapping, metadata })))
    }

    fn keep(&mut self, now: Instant, place: (SocketAddr, SessionId), key: ClientKey) -> Result<(), Dropped> {
        if self.kept.len() >= MAX_KEPT && !self.kept.contains_key(&place) {
            self.kept.retain(|_, kept| kept.until > now);
            if self.kept.len() >= MAX_KEPT {
                return Err(Dropped::Limited);
            }
        }
        self.kept.insert(place, Kept { until: now + KEPT, key });
        Ok(())
    }
}

fn crypt(key: &StaticKey) -> Wrapping {
    Wrapping { mode: Mode::Crypt, key: key.clone() }
}

fn open(wrapping: &Wrapping, packet: &[u8]) -> Result<Opened, Dropped> {
    wrapping.open(packet).map_err(|error| match error {
        OpenError::Malformed(_) => Dropped::Malformed,
        OpenError::Forged | OpenError::Replayed => Dropped::Forged,
    })
}

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieKey(..)")
    }
}
