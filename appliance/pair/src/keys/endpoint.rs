//! One kind of datagram at one node: sealing what leaves, opening what comes.

use std::time::{Duration, Instant};

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use super::window::Window;
use super::{
    Authenticated, ECHO, ECHOES, Exhausted, HEADER, Kind, MAGIC, OVERHEAD, PairSecret, Refused, SessionId,
    TAG, VERSION,
};
use crate::NodeIndex;

/// Datagrams of unknown sessions that are tried in a millisecond: 8 µs of work, less than a hundredth of a core.
pub const UNKNOWN_PER_MS: u32 = 4;
/// How many may be saved up: the first round of a restarted peer on all its paths, and as many recordings.
pub const UNKNOWN_BURST: u32 = 32;
/// Sessions that may be on trial at once. One is enough for a restarted peer; more, so that recordings of older
/// sessions do not push it out.
pub const CANDIDATES: usize = 4;
/// A session on trial that is silent for this long is forgotten.
const TRIAL: Duration = Duration::from_secs(1);

/// What came to an endpoint, by outcome.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Authentic, in a live session, for the first time.
    pub accepted: u64,
    /// Not of our format, version or kind.
    pub malformed: u64,
    /// Our own, played back.
    pub reflected: u64,
    /// Of an unknown session, not looked at.
    pub crowded: u64,
    /// Not sealed by the peer.
    pub forged: u64,
    /// Came before.
    pub replayed: u64,
    /// Of a session that has not proved itself.
    pub unproven: u64,
    /// Sessions of the peer adopted.
    pub sessions: u64,
}

impl Counters {
    fn refuse(&mut self, refused: Refused) {
        let counter = match refused {
            Refused::Short { .. } | Refused::Magic | Refused::Version { .. } | Refused::Kind { .. } => {
                &mut self.malformed
            }
            Refused::Reflected => &mut self.reflected,
            Refused::Crowded => &mut self.crowded,
            Refused::Forged => &mut self.forged,
            Refused::Replayed { .. } => &mut self.replayed,
            Refused::Unproven => &mut self.unproven,
        };
        *counter += 1;
    }
}

/// A session of the peer.
struct Incoming {
    session: SessionId,
    key: LessSafeKey,
    window: Window,
    heard: Instant,
}

/// Seals and opens the datagrams of one kind, on all paths. Not for more than one thread: each kind has its own.
///
/// ```
/// # use std::time::Instant;
/// # use rempart_pair::NodeIndex;
/// # use rempart_pair::keys::{Endpoint, Kind, PairSecret, Refused, SessionId};
/// # let now = Instant::now();
/// # let secret = || PairSecret::new([7; 32].into());
/// # let session = |byte| SessionId::new([byte; 16]).ok_or("random");
/// let mut first = Endpoint::new(secret(), Kind::Journal, NodeIndex::First, session(1)?);
/// let mut second = Endpoint::new(secret(), Kind::Journal, NodeIndex::Second, session(2)?);
/// let mut datagram = Vec::new();
///
/// // Nobody believes a session before it has echoed his own.
/// first.seal(b"one", &mut datagram)?;
/// assert_eq!(second.open(now, &mut datagram), Err(Refused::Unproven));
/// second.seal(b"two", &mut datagram)?;
/// assert_eq!(first.open(now, &mut datagram)?.get(), &b"two");
/// first.seal(b"three", &mut datagram)?;
/// assert_eq!(second.open(now, &mut datagram)?.get(), &b"three");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Endpoint {
    secret: PairSecret,
    kind: Kind,
    own: NodeIndex,
    session: SessionId,
    key: Option<LessSafeKey>,
    /// The last counter used.
    sent: u64,
    /// An echo proves a session only if it names a counter above this one: the last used when the session in force
    /// was adopted.
    floor: u64,
    current: Option<Incoming>,
    candidates: [Option<Incoming>; CANDIDATES],
    tokens: u32,
    refilled: Option<Instant>,
    counters: Counters,
}

impl Endpoint {
    /// `own` is this node; `session` is new at each start of the program, from the system's random source.
    pub fn new(secret: PairSecret, kind: Kind, own: NodeIndex, session: SessionId) -> Self {
        Self {
            key: secret.key(kind, own, session),
            secret,
            kind,
            own,
            session,
            sent: 0,
            floor: 0,
            current: None,
            candidates: [const { None }; CANDIDATES],
            tokens: UNKNOWN_BURST,
            refilled: None,
            counters: Counters::default(),
        }
    }

    /// What came, by outcome.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Our own session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The session of the peer that is in force.
    pub fn peer_session(&self) -> Option<SessionId> {
        self.current.as_ref().map(|current| current.session)
    }

    /// Puts the datagram that carries `plaintext` into `out`, which is emptied first. It will be
    /// `plaintext.len() + OVERHEAD` bytes long; nothing is allocated if `out` has room for that.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Exhausted> {
        let counter = self.sent.checked_add(1).ok_or(Exhausted)?;
        let [believed, on_trial] = self.echoes(counter).map(echo);
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.push(self.kind.code());
        out.extend_from_slice(&self.session.get());
        out.extend_from_slice(&counter.to_be_bytes());
        out.extend_from_slice(&believed);
        out.extend_from_slice(&on_trial);
        out.extend_from_slice(plaintext);
        let (header, sealed) = out.split_at_mut(HEADER);
        let key = self.key.as_ref().ok_or(Exhausted)?;
        // The error of sealing is a length beyond 64 GB.
        let tag = key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(&*header), sealed)
            .map_err(|_| Exhausted)?;
        out.extend_from_slice(tag.as_ref());
        self.sent = counter;
        Ok(())
    }

    /// Checks and opens `datagram` in place.
    pub fn open<'a>(
        &mut self,
        now: Instant,
        datagram: &'a mut [u8],
    ) -> Result<Authenticated<&'a [u8]>, Refused> {
        let opened = self.try_open(now, datagram);
        match &opened {
            Ok(_) => self.counters.accepted += 1,
            Err(refused) => self.counters.refuse(*refused),
        }
        opened
    }

    fn try_open<'a>(
        &mut self,
        now: Instant,
        datagram: &'a mut [u8],
    ) -> Result<Authenticated<&'a [u8]>, Refused> {
        let length_bytes = datagram.len();
        if length_bytes < OVERHEAD {
            return Err(Refused::Short { length_bytes });
        }
        let (header, sealed) = datagram.split_at_mut(HEADER);
        let (session, counter) = self.read_header(header)?;
        if let Some(current) = self.current.as_mut().filter(|current| current.session == session) {
            if !current.window.allows(counter) {
                return Err(Refused::Replayed { counter });
            }
            let inner = unseal(&current.key, header, counter, sealed)?;
            current.window.note(counter);
            current.heard = now;
            return Ok(Authenticated { value: &inner[ECHOES..], session, counter, first: false });
        }

        let slot = self.candidate(now, session)?;
        let candidate = self.candidates[slot].as_mut().ok_or(Refused::Forged)?;
        let inner = match unseal(&candidate.key, header, counter, sealed) {
            Ok(inner) => inner,
            Err(refused) => {
                // Whoever is not authentic gets no place to be remembered in.
                if candidate.window.highest() == 0 {
                    self.candidates[slot] = None;
                }
                return Err(refused);
            }
        };
        candidate.window.note(counter);
        candidate.heard = now;
        let (echoes, value) = inner.split_at(ECHOES);
        if !echoes.chunks_exact(ECHO).any(|echo| self.proves(echo)) {
            return Err(Refused::Unproven);
        }
        self.current = self.candidates[slot].take();
        self.candidates = [const { None }; CANDIDATES];
        self.floor = self.sent;
        self.counters.sessions += 1;
        Ok(Authenticated { value, session, counter, first: true })
    }

    #[cfg(test)]
    pub(super) fn on_trial(&self) -> usize {
        self.candidates.iter().flatten().count()
    }

    fn read_header(&self, header: &[u8]) -> Result<(SessionId, u64), Refused> {
        let (magic, rest) = header.split_first_chunk::<2>().ok_or(Refused::Magic)?;
        let (&[version, kind], rest) = rest.split_first_chunk::<2>().ok_or(Refused::Magic)?;
        let (session, rest) = rest.split_first_chunk::<16>().ok_or(Refused::Magic)?;
        let counter = u64::from_be_bytes(*rest.first_chunk::<8>().ok_or(Refused::Magic)?);
        if *magic != MAGIC {
            return Err(Refused::Magic);
        }
        if version != VERSION {
            return Err(Refused::Version { found: version });
        }
        if kind != self.kind.code() {
            return Err(Refused::Kind { found: kind });
        }
        let session = SessionId::new(*session).ok_or(Refused::Magic)?;
        if session == self.session {
            return Err(Refused::Reflected);
        }
        Ok((session, counter))
    }

    /// The place of a session on trial; a new one costs a token.
    fn candidate(&mut self, now: Instant, session: SessionId) -> Result<usize, Refused> {
        let of_session =
            |slot: &Option<Incoming>| slot.as_ref().is_some_and(|known| known.session == session);
        if let Some(slot) = self.candidates.iter().position(of_session) {
            return Ok(slot);
        }
        self.refill(now);
        self.tokens = self.tokens.checked_sub(1).ok_or(Refused::Crowded)?;
        let key = self.secret.key(self.kind, self.own.other(), session).ok_or(Refused::Forged)?;
        // A free place, or that of the session that was heard the longest ago.
        let oldest = |slot: &usize| self.candidates[*slot].as_ref().map(|candidate| candidate.heard);
        let slot = (0..CANDIDATES).min_by_key(oldest).unwrap_or(0);
        self.candidates[slot] =
            Some(Incoming { session, key, window: Window::new(self.kind.window()), heard: now });
        Ok(slot)
    }

    fn refill(&mut self, now: Instant) {
        let last = *self.refilled.get_or_insert(now);
        let elapsed = now.saturating_duration_since(last).as_millis();
        if elapsed > 0 {
            let gained = u32::try_from(elapsed).unwrap_or(u32::MAX).saturating_mul(UNKNOWN_PER_MS);
            self.tokens = self.tokens.saturating_add(gained).min(UNKNOWN_BURST);
            self.refilled = Some(now);
            for slot in &mut self.candidates {
                if slot.as_ref().is_some_and(|old| now.saturating_duration_since(old.heard) > TRIAL) {
                    *slot = None;
                }
            }
        }
    }

    /// Whether an echo shows that its sender has heard us since the session in force was adopted.
    fn proves(&self, echo: &[u8]) -> bool {
        let Some((session, counter)) = echo.split_first_chunk::<16>() else { return false };
        let Some(counter) = counter.first_chunk::<8>() else { return false };
        let counter = u64::from_be_bytes(*counter);
        *session == self.session.get() && counter > self.floor && counter <= self.sent
    }

    /// Which sessions to echo: the one in force, because the peer may not have believed us yet; and of those on trial
    /// mostly the one heard last, because what is sent now often answers it. Sometimes another one: recordings of older
    /// sessions can be played to us, and must not keep a fresh one waiting. That choice is scattered, so that it does
    /// not keep step with the number of paths.
    fn echoes(&self, counter: u64) -> [Option<&Incoming>; 2] {
        let scattered = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let on_trial = || self.candidates.iter().flatten();
        let newest = on_trial().max_by_key(|candidate| candidate.heard);
        let chosen = match scattered % 4 {
            0 => on_trial().nth((scattered / 4) as usize % on_trial().count().max(1)),
            _ => newest,
        };
        [self.current.as_ref(), chosen]
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("kind", &self.kind)
            .field("session", &self.session)
            .field("sent", &self.sent)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn echo(of: Option<&Incoming>) -> [u8; ECHO] {
    let mut echo = [0; ECHO];
    if let Some(incoming) = of {
        echo[..16].copy_from_slice(&incoming.session.get());
        echo[16..].copy_from_slice(&incoming.window.highest().to_be_bytes());
    }
    echo
}

/// Opens in place. At least the echoes are there: the length was checked.
fn unseal<'a>(
    key: &LessSafeKey,
    header: &[u8],
    counter: u64,
    sealed: &'a mut [u8],
) -> Result<&'a [u8], Refused> {
    debug_assert!(sealed.len() >= ECHOES + TAG);
    key.open_in_place(nonce(counter), Aad::from(header), sealed)
        .map(|plain| &*plain)
        .map_err(|_| Refused::Forged)
}
