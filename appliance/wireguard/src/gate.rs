//! The gate that all handshakes pass, of all peers: who does not know our public key gets no answer, and under load only
//! who has shown that he is where he says gets to the expensive part (WireGuard §5.3, §5.4.4, §5.4.7).
//!
//! ```text
//! initiation ─▶ mac1? ─▶ under load? ─no───────────────────▶ pass
//!                no│        yes│─▶ mac2? ─no─▶ cookie         ▲
//!                  ▼           └─▶ too often from there? ─no──┘
//!               nothing
//! ```
//!
//! Our own and not boringtun's, whose cookies leave the port out and which bounds nobody who has one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::PublicKey;
use crate::engine::Random;

/// Initiations in a second beyond which cookies are asked for. An answer takes a quarter of a millisecond: 5 % of a core.
pub(crate) const LOAD: u32 = 200;
/// How long load lasts after it was last seen.
const CALM: Duration = Duration::from_secs(1);
/// Initiations in a second beyond which none is looked at: a quarter of a core, so that tunnels go on.
pub(crate) const MOST: u32 = 1_000;
/// Cookies in a second: a tenth of a core, most of it the kernel's for sending them. Whoever gets none asks again.
pub(crate) const COOKIES: u32 = 10_000;
/// Under load: handshakes in a second from one place, and at once.
const RATE: u64 = 20;
const BURST: u64 = 5;
/// Places that are counted at a time. When there are more, further ones wait until one is forgotten.
pub(crate) const MAX_PLACES: usize = 4_096;
/// The secret that cookies are made from lasts so long (WireGuard §5.4.7).
const SECRET_LIFE: Duration = Duration::from_secs(120);

/// A cookie reply (WireGuard §5.4.7).
pub(crate) const REPLY_LEN: usize = 64;
/// Both macs, at the end of each message of a handshake.
const MACS: usize = 32;

/// What becomes of an initiation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It may be looked at.
    Pass,
    /// Its sender does not know our key, or it was damaged.
    Refused,
    /// It has to come again with the cookie in this reply.
    Cookie([u8; REPLY_LEN]),
    /// There are too many.
    TooMany,
}

pub(crate) struct Gate {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    secret: Zeroizing<[u8; 32]>,
    secret_since: Instant,
    /// The second that is being counted, and what came in it.
    second: Instant,
    came: u32,
    passed: u32,
    cookies: u32,
    loaded: Option<Instant>,
    places: HashMap<IpAddr, Bucket>,
}

/// What a place may still send, in millionths of a handshake.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u64,
    since: Instant,
}

impl Gate {
    pub fn new(now: Instant, ours: &PublicKey, random: &mut Random) -> Self {
        let mut gate = Self {
            mac1_key: hash(b"mac1----", &ours.0),
            cookie_key: hash(b"cookie--", &ours.0),
            secret: Zeroizing::default(),
            secret_since: now,
            second: now,
            came: 0,
            passed: 0,
            cookies: 0,
            loaded: None,
            places: HashMap::new(),
        };
        random(gate.secret.as_mut());
        gate
    }

    /// Judges an initiation. Its length has been looked at.
    pub fn judge(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        random: &mut Random,
    ) -> Admission {
        let Some((body, macs)) = message.split_last_chunk::<MACS>() else { return Admission::Refused };
        let (mac1, mac2) = macs.split_at(MACS / 2);
        if !bool::from(mac(&self.mac1_key, &[body]).ct_eq(mac1)) {
            return Admission::Refused;
        }
        self.count(now);
        if self.loaded.is_some() {
            self.renew_secret(now, random);
            let cookie = self.cookie(from);
            if !bool::from(mac(&cookie, &[body, mac1]).ct_eq(mac2)) {
                if self.cookies >= COOKIES {
                    return Admission::TooMany;
                }
                self.cookies += 1;
                return match self.reply(message, mac1, cookie, random) {
                    Some(reply) => Admission::Cookie(reply),
                    None => Admission::Refused,
                };
            }
            if !self.take(now, from.ip()) {
                return Admission::TooMany;
            }
        }
        if self.passed >= MOST {
            return Admission::TooMany;
        }
        self.passed += 1;
        Admission::Pass
    }

    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Counts an initiation that knows our key.
    fn count(&mut self, now: Instant) {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.came, self.passed, self.cookies) = (now, 0, 0, 0);
        }
        self.came = self.came.saturating_add(1);
        if self.came > LOAD {
            self.loaded = Some(now);
        } else if self.loaded.is_some_and(|since| now.saturating_duration_since(since) > CALM) {
            self.loaded = None;
            self.places = HashMap::new();
        }
    }

    fn renew_secret(&mut self, now: Instant, random: &mut Random) {
        if now.saturating_duration_since(self.secret_since) >= SECRET_LIFE {
            random(self.secret.as_mut());
            self.secret_since = now;
        }
    }

    /// The cookie of who sends from there.
    fn cookie(&self, from: SocketAddr) -> [u8; 16] {
        let port = from.port().to_be_bytes();
        match from.ip() {
            IpAddr::V4(address) => mac(self.secret.as_ref(), &[&address.octets(), &port]),
            IpAddr::V6(address) => mac(self.secret.as_ref(), &[&address.octets(), &port]),
        }
    }

    fn reply(
        &self,
        message: &[u8],
        mac1: &[u8],
        mut cookie: [u8; 16],
        random: &mut Random,
    ) -> Option<[u8; REPLY_LEN]> {
        let sender: [u8; 4] = *message.get(4..)?.first_chunk()?;
        let mut nonce = [0; 24];
        random(&mut nonce);
        let cipher = XChaCha20Poly1305::new(&self.cookie_key.into());
        let tag = cipher.encrypt_in_place_detached(XNonce::from_slice(&nonce), mac1, &mut cookie).ok()?;
        let mut reply = [0; REPLY_LEN];
        let parts = [&[3, 0, 0, 0][..], &sender, &nonce, &cookie, &tag];
        reply.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        Some(reply)
    }

    /// Takes one of the handshakes of a place: an address, or in IPv6 the network of a site, where one has 2⁶⁴.
    fn take(&mut self, now: Instant, from: IpAddr) -> bool {
        const ONE: u64 = 1_000_000;
        let place = match from {
            IpAddr::V4(_) => from,
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        };
        if self.places.len() >= MAX_PLACES && !self.places.contains_key(&place) {
            let full = Duration::from_micros(BURST * ONE / RATE);
            self.places.retain(|_, bucket| now.saturating_duration_since(bucket.since) < full);
            if self.places.len() >= MAX_PLACES {
                return false;
            }
        }
        let bucket = self.places.entry(place).or_insert(Bucket { left: BURST * ONE, since: now });
        let micros = now.saturating_duration_since(bucket.since).as_micros().min(1_000_000) as u64;
        bucket.left = (bucket.left + micros * RATE).min(BURST * ONE);
        bucket.since = now;
        let enough = bucket.left >= ONE;
        if enough {
            bucket.left -= ONE;
        }
        enough
    }
}

fn hash(label: &[u8], key: &[u8]) -> [u8; 32] {
    Blake2s256::new().chain_update(label).chain_update(key).finalize().into()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    // A key of 16 or 32 bytes is one that it takes.
    let Ok(mut mac) = <Blake2sMac<U16> as KeyInit>::new_from_slice(key) else { return [0; 16] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize_fixed().into()
}
