//! One client's control session: its keys, one after the other, and who may have them.
//!
//! ```text
//!   Admission ─▶ new ─▶ TLS ─▶ key exchange ─▶ Authenticate ─▶ accept ─▶ Commit ─▶ committed ─▶ Install, PUSH_REPLY
//!                        ▲                        │  ▲            │
//!   soft reset ──────────┘               pending ─┘  └─ Answer    └─ reject ─▶ AUTH_FAILED, Closed
//! ```
//!
//! | file | owns |
//! | --- | --- |
//! | here | what the driver sees; packets in and out; time |
//! | `key_state` | TLS over reliable messages, for one key |
//! | `login` | the key exchange, the driver's verdict, what is pushed |
//! | `renewal` | soft resets of either side |
//! | `snapshot` | what the other node needs to carry the session on |
//! | `tls` | the policy for TLS |
//!
//! Refuses to own: the data channel (it gives and takes away keys), who may log in, addresses and sockets.
//!
//! What a driver must know:
//! - Packets are for the session of their (address, session id). A packet with another session id from the same address goes to
//!   `cookie::Start`; if it admits, that is the same client starting over *in place* (study §1.6): the new session gets the
//!   **same peer-id and tunnel addresses**, the old one stays until the new one is accepted, and a data packet is tried
//!   with the keys of both, since both have a key 0.
//! - Which key to send on is the data channel's choice: the one on which the client last sent (study §1.5).
//! - After each call: drain [`Session::poll_output`] and [`Session::poll_transmit`], then set one timer.

mod key_state;
mod login;
mod renewal;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use login::{Accept, AcceptError, Credential, Login, PendingError};
pub use snapshot::{MAX_ATTACHED, MAX_KEYS, MAX_SNAPSHOT, Snapshot, SnapshotError, SnapshotKey};
pub use tls::{TlsPolicy, tls_config};

use crate::Now;
use crate::cookie::Admission;
use crate::key_exchange::{DataKeys, Features, Randoms};
use crate::message::Notice;
use crate::packet::{Acks, Body, Header, KeyId, Malformed, Opcode, SessionId};
use crate::reliable::Message;
use crate::token::{Claims, LoginId, TokenKey};
use crate::wrap::{OpenError, Received, Sending, Wrap, Wrapping, split_wkc};
use key_state::{KeyState, Stage};

/// Old keys that are kept beside the newest: a client sends on the one before for a minute, and a second soft reset may
/// fall into that minute (study §1.5).
const MAX_OLD_KEYS: usize = 2;
/// Acknowledgements for messages whose TLS session was lost; a client sends no more than this at once.
const MAX_LOST_ACKS: usize = 16;
/// How long a session stays to get its last message across.
const LINGER: Duration = Duration::from_secs(5);
/// How long after a soft reset that came to nothing the next one is tried.
const RETRY: Duration = Duration::from_secs(60);
/// How long a rekey of the node before may go on at the client: its hand-window, and half as long again.
const IN_FLIGHT: Duration = Duration::from_secs(90);

/// Times. The defaults are what stock servers do, where nothing speaks against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// From the first packet of a key to its being decided. Stock: 60 s.
    pub hand_window: Duration,
    /// From one key to the next, at the latest; up to a tenth earlier. Stock clients have 3600 s themselves, and then
    /// whoever comes first wins.
    pub rekey: Duration,
    /// A key that could not be replaced ends its session this long after it should have been.
    pub rekey_grace: Duration,
    /// How long an old key still opens packets. Not below 120 s (study §1.5).
    pub old_key: Duration,
    /// Without any packet for so long a session ends.
    pub idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            hand_window: Duration::from_secs(60),
            rekey: Duration::from_secs(3500),
            rekey_grace: Duration::from_secs(600),
            old_key: Duration::from_secs(180),
            idle: Duration::from_secs(120),
        }
    }
}

/// What is the same for all sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From [`tls_config`].
    pub tls: Arc<ServerConfig>,
    /// Tokens are made and verified with it. Both nodes have the same.
    pub token_key: TokenKey,
    /// Times.
    pub timing: Timing,
    /// Clients that know it get a wrapping key of their own for renegotiations.
    pub dynamic_wrapping: bool,
    /// Clients that know it get keys exported from TLS. Off, all are served like those of 2.5.
    pub exporter: bool,
}

/// Where a session stands among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Names its data packets: 24 bits.
    pub peer_id: u32,
    /// It came by TCP.
    pub tcp: bool,
    /// The node's epoch, which goes with each key that is made.
    pub epoch: u64,
}

/// Random bytes for what a session has to choose: 32 of them from the system's source, new for each session and each import.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// From the system's random source.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }
}

/// What the session wants from its driver.
#[derive(Debug)]
pub enum Output {
    /// Who is this? Answer with [`Session::accept`], [`Session::reject`] or [`Session::pending`].
    Authenticate(Box<Login>),
    /// The answer to the question of [`Session::pending`].
    Answer {
        /// For which key.
        key_id: KeyId,
        /// What the person has typed.
        text: Zeroizing<String>,
    },
    /// Replicate [`Session::snapshot`] now, and say [`Session::committed`] when the other node has it, or when there is
    /// none. Until then the client hears nothing of it.
    Commit {
        /// To be given back.
        ticket: u64,
    },
    /// The snapshot has changed; nobody waits for it.
    Changed,
    /// A key of the data channel: it opens packets from now on, and seals them once the client has used it.
    Install(DataKeys),
    /// The key with this id is over.
    Retire(KeyId),
    /// No packet passes any more, in either direction. `Closed` follows.
    Cut,
    /// The session is over; everything of it can go.
    Closed(Closed),
}

/// Why a session is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The client said so.
    Left,
    /// The login was refused.
    Refused,
    /// The client cannot be served.
    Incompatible(String),
    /// It did not come to an end in time.
    HandshakeTimeout,
    /// TLS failed: wrong certificate, unknown version.
    Tls(String),
    /// The client broke the protocol.
    Protocol(&'static str),
    /// Nothing was heard for too long.
    Idle,
    /// The key is too old, and the client would not take another.
    KeyTooOld,
    /// The driver has ended it.
    Ended,
}

/// Why a packet was dropped: for counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Dropped {
    /// It does not belong to this session.
    #[error("the packet is of another session")]
    Other,
    /// It did not open.
    #[error(transparent)]
    Wrapping(#[from] OpenError),
    /// What was wrapped has no form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There is no such key, and there shall be none.
    #[error("the packet is for a key that is not there")]
    NoKey,
    /// The session is over.
    #[error("the session is over")]
    Over,
}

/// Who the client is, once it was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// SHA-256 of its certificate. A renewal comes with the same one.
    pub certificate: Option<[u8; 32]>,
    /// Its user name, or empty.
    pub user: String,
    /// The login that its tokens speak of.
    pub login: LoginId,
    /// When that was, in seconds since 1970.
    pub issued_unix_s: u64,
    /// IV_PROTO.
    pub protocol_bits: u32,
    /// What the driver wants to find again after a take-over: groups, addresses, profile.
    pub attached: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Starting,
    Up,
    Closing,
    Closed,
}

/// A key of the data channel that is in use.
#[derive(Debug)]
struct Held {
    keys: DataKeys,
    since: Instant,
    since_unix_s: u64,
    retire_at: Option<Instant>,
}

/// One client's control session.
pub struct Session {
    settings: Arc<Settings>,
    random: Random,
    place: Place,
    client: SocketAddr,
    client_session: SessionId,
    server_session: SessionId,
    base: Wrap,
    /// For key ids above 0, where the client knows it.
    dynamic: Option<Wrap>,
    states: Vec<KeyState>,
    held: Vec<Held>,
    next_key: KeyId,
    /// A rekey that the node before has begun, and until when it may go on at the client.
    in_flight: Option<(KeyId, Instant)>,
    identity: Option<Identity>,
    push: Vec<Zeroizing<Vec<u8>>>,
    pushed_at: Option<Instant>,
    phase: Phase,
    why: Option<Closed>,
    linger_until: Option<Instant>,
    heard: Instant,
    rekey_at: Option<Instant>,
    tickets: u64,
    lost_acks: VecDeque<(KeyId, u32)>,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A client was admitted. The packet that led to it is handed to [`Self::handle_datagram`] next.
    pub fn new(
        now: Now,
        settings: Arc<Settings>,
        admission: &Admission,
        place: Place,
        seed: Seed,
    ) -> Result<Self, rustls::Error> {
        let wrap = Wrap::new(admission.wrapping.clone(), Sending::new(now.unix_s), Received::default());
        let (client, sessions) = (admission.client, [admission.client_session, admission.server_session]);
        let mut session = Self::empty(now, settings, place, client, sessions, wrap, seed);
        let deadline = now.instant + session.settings.timing.hand_window;
        // Message 0 of both sides went without state.
        session.states.push(KeyState::new(KeyId::FIRST, 1, &session.settings.tls, deadline)?);
        session.next_key = KeyId::FIRST.next();
        Ok(session)
    }

    fn empty(
        now: Now,
        settings: Arc<Settings>,
        place: Place,
        client: SocketAddr,
        [client_session, server_session]: [SessionId; 2],
        base: Wrap,
        seed: Seed,
    ) -> Self {
        Self {
            settings,
            random: Random { seed, counter: 0 },
            place,
            client,
            client_session,
            server_session,
            base,
            dynamic: None,
            states: Vec::new(),
            held: Vec::new(),
            next_key: KeyId::FIRST,
            in_flight: None,
            identity: None,
            push: Vec::new(),
            pushed_at: None,
            phase: Phase::Starting,
            why: None,
            linger_until: None,
            heard: now.instant,
            rekey_at: None,
            tickets: 0,
            lost_acks: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Where the client is.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// The client's session id: with its address the name of the session.
    pub fn client_session(&self) -> SessionId {
        self.client_session
    }

    /// Names its data packets.
    pub fn peer_id(&self) -> u32 {
        self.place.peer_id
    }

    /// Who it is; none before the login was accepted.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The login was accepted and the client may use the tunnel.
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// A control packet.
    pub fn handle_datagram(&mut self, now: Now, packet: &[u8]) -> Result<(), Dropped> {
        if self.phase == Phase::Closed {
            return Err(Dropped::Over);
        }
        let (header, _) = Header::parse(packet)?;
        if header.session != self.client_session {
            return Err(Dropped::Other);
        }
        let packet = match header.opcode.brings_key() {
            true => split_wkc(packet).ok_or(Malformed::Short)?.0,
            false => packet,
        };
        let (header, body) = self.wrap(header.key_id).open(packet)?;
        let body = Body::parse(header.opcode, &body)?;
        if body.peer.is_some_and(|peer| peer != self.server_session) {
            return Err(Dropped::Other);
        }
        self.heard = now.instant;
        self.handle_body(now, header, &body)
    }

    fn handle_body(&mut self, now: Now, header: Header, body: &Body<'_>) -> Result<(), Dropped> {
        let key_id = header.key_id;
        match header.opcode {
            // Clients never send it.
            Opcode::HardResetServerV2 => return Err(Dropped::NoKey),
            Opcode::SoftReset if self.state(key_id).is_none() => self.client_resets(now, key_id)?,
            // A hard reset of this session is message 0 again, whose answer was lost.
            Opcode::SoftReset
            | Opcode::Control
            | Opcode::Ack
            | Opcode::ControlWkc
            | Opcode::HardResetClientV2
            | Opcode::HardResetClientV3 => {}
        }
        let Some(state) = self.states.iter_mut().find(|state| state.id == key_id) else {
            return self.acknowledge_lost(key_id, body.message);
        };
        state.reliable.handle_acks(now.instant, &body.acks);
        if let Some(id) = body.message {
            state
                .reliable
                .handle_message(id, Message { opcode: header.opcode, payload: body.payload.to_vec() });
        }
        self.note_answered(now, key_id);
        self.advance(now, key_id);
        Ok(())
    }

    /// The TLS session of this key went with the node before. The client shall not send its message again and again, and
    /// nobody can read it (study §1.1).
    fn acknowledge_lost(&mut self, key_id: KeyId, message: Option<u32>) -> Result<(), Dropped> {
        if !self.held.iter().any(|held| held.keys.key_id == key_id) {
            return Err(Dropped::NoKey);
        }
        if let Some(message) = message.filter(|_| self.lost_acks.len() < MAX_LOST_ACKS) {
            self.lost_acks.push_back((key_id, message));
        }
        Ok(())
    }

    /// Everything that follows from what has arrived for a key.
    fn advance(&mut self, now: Now, key_id: KeyId) {
        // What a session still says when it ends, it says to nobody who could change that.
        if self.phase != Phase::Closing {
            let Some(state) = self.state_mut(key_id) else { return };
            if let Err(error) = state.pump() {
                return self.tls_failed(now, key_id, error.to_string());
            }
            self.read_messages(now, key_id);
        }
        if let Some(state) = self.state_mut(key_id) {
            state.flush();
        }
        self.finish_closing();
    }

    fn tls_failed(&mut self, now: Now, key_id: KeyId, error: String) {
        match self.identity {
            // The alert tells the person at the client what is wrong.
            None => {
                if let Some(state) = self.state_mut(key_id) {
                    state.flush();
                }
                self.close_after_linger(now, Closed::Tls(error));
            }
            // A renewal that fails leaves the session as it is: no alert, which OpenVPN 3 would start over for (study
            // §1.6). The age of the key ends it.
            Some(_) => self.renewal_failed(now, key_id),
        }
    }

    /// The next packet to send to the client.
    pub fn poll_transmit(&mut self, now: Now) -> Option<Vec<u8>> {
        if self.phase == Phase::Closed {
            return None;
        }
        if let Some((key_id, id)) = self.lost_acks.pop_front() {
            let body = self.body(std::iter::once(id).collect(), None, &[]);
            return self.seal(Opcode::Ack, key_id, &body);
        }
        let (key_id, outgoing) = self.states.iter_mut().find_map(|state| {
            state.flush();
            Some((state.id, state.reliable.poll_transmit(now.instant)?))
        })?;
        let body = self.body(outgoing.acks, outgoing.message, &outgoing.payload);
        self.seal(outgoing.opcode, key_id, &body)
    }

    fn body(&self, acks: Acks, message: Option<u32>, payload: &[u8]) -> Vec<u8> {
        Body { acks, peer: Some(self.client_session), message, payload }.encode()
    }

    fn seal(&mut self, opcode: Opcode, key_id: KeyId, body: &[u8]) -> Option<Vec<u8>> {
        let header = Header { opcode, key_id, session: self.server_session };
        self.wrap(key_id).seal(header, body)
    }

    /// What the driver has to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`] and then [`Self::poll_transmit`].
    pub fn poll_timeout(&self, now: Now) -> Option<Instant> {
        if self.phase == Phase::Closed {
            return None;
        }
        let timing = &self.settings.timing;
        let states = self.states.iter();
        let messages = states.clone().filter_map(|state| state.reliable.poll_timeout(now.instant));
        let deadlines = states.filter_map(KeyState::deadline);
        let keys = self.held.iter().filter_map(|held| held.retire_at);
        let too_old = self.held.last().map(|held| held.since + timing.rekey + timing.rekey_grace);
        let idle = (self.phase == Phase::Up).then_some(self.heard + timing.idle);
        let singles = [
            self.rekey_at,
            self.linger_until,
            too_old,
            idle,
            (!self.lost_acks.is_empty()).then_some(now.instant),
        ];
        messages.chain(deadlines).chain(keys).chain(singles.into_iter().flatten()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.phase == Phase::Closed {
            return;
        }
        if self.linger_until.is_some_and(|until| until <= now.instant) {
            self.close(self.why.clone().unwrap_or(Closed::Ended));
            return;
        }
        if self.phase == Phase::Closing {
            return;
        }
        let expired =
            self.states.iter().find(|state| state.deadline().is_some_and(|deadline| deadline <= now.instant));
        if let Some(key_id) = expired.map(|state| state.id) {
            match self.identity {
                None => return self.close(Closed::HandshakeTimeout),
                Some(_) => self.renewal_failed(now, key_id),
            }
        }
        let timing = self.settings.timing;
        let too_old = self
            .held
            .last()
            .is_some_and(|held| held.since + timing.rekey + timing.rekey_grace <= now.instant);
        if too_old {
            let notice = Notice::Restart { same_server: true, text: "the key is too old".to_owned() };
            return self.end(now, &notice, Closed::KeyTooOld);
        }
        if self.phase == Phase::Up && self.heard + timing.idle <= now.instant {
            return self.close(Closed::Idle);
        }
        self.retire(now);
        if self.rekey_at.is_some_and(|at| at <= now.instant) {
            self.rekey_at = None;
            self.rekey(now);
        }
    }

    /// A data packet of the client has authenticated.
    pub fn heard(&mut self, now: Now) {
        self.heard = self.heard.max(now.instant);
    }

    /// A data packet of the client has authenticated, from another address (study §1.3). Whether that address may have it is
    /// for the driver to say before.
    pub fn floated(&mut self, client: SocketAddr) {
        if self.client != client {
            self.client = client;
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Another certificate authority, revocation list or timing: for what begins from now on.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// The node has another epoch: keys that are made from now on carry it.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.place.epoch = epoch;
    }

    /// The client said in the data channel that it goes, or its TCP connection has ended.
    pub fn left(&mut self) {
        if self.phase != Phase::Closed {
            self.close(Closed::Left);
        }
    }

    /// The driver ends the session; the client is told by [`Notice::Halt`] or [`Notice::Restart`].
    pub fn disconnect(&mut self, now: Now, notice: &Notice) {
        if !matches!(self.phase, Phase::Closing | Phase::Closed) {
            self.end(now, notice, Closed::Ended);
        }
    }

    fn end(&mut self, now: Now, notice: &Notice, why: Closed) {
        let speaks = self.states.iter_mut().rev().find(|state| matches!(state.stage, Stage::Active));
        if let Some(state) = speaks {
            state.say(notice.encode());
            state.flush();
            self.close_after_linger(now, why);
        } else {
            // Nobody is there who could say it: the client starts over by itself.
            self.close(why);
        }
    }

    fn close_after_linger(&mut self, now: Now, why: Closed) {
        self.phase = Phase::Closing;
        self.why = Some(why);
        self.linger_until = Some(now.instant + LINGER);
        self.rekey_at = None;
        self.held.clear();
        self.outputs.push_back(Output::Cut);
    }

    /// The last message was acknowledged: no reason to stay.
    fn finish_closing(&mut self) {
        if self.phase == Phase::Closing && self.states.iter().all(KeyState::is_settled) {
            self.close(self.why.clone().unwrap_or(Closed::Ended));
        }
    }

    fn close(&mut self, why: Closed) {
        if self.phase != Phase::Closing {
            self.outputs.push_back(Output::Cut);
        }
        self.phase = Phase::Closed;
        self.states.clear();
        self.held.clear();
        self.push.clear();
        self.linger_until = None;
        self.outputs.push_back(Output::Closed(why));
    }

    fn state(&self, key_id: KeyId) -> Option<&KeyState> {
        self.states.iter().find(|state| state.id == key_id)
    }

    fn state_mut(&mut self, key_id: KeyId) -> Option<&mut KeyState> {
        self.states.iter_mut().find(|state| state.id == key_id)
    }

    /// Dynamic tls-crypt is for all keys but the first (study §1.2).
    fn wrap(&mut self, key_id: KeyId) -> &mut Wrap {
        match (key_id, &mut self.dynamic) {
            (KeyId::FIRST, _) | (_, None) => &mut self.base,
            (_, Some(dynamic)) => dynamic,
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("client", &self.client)
            .field("client_session", &self.client_session)
            .field("peer_id", &self.place.peer_id)
            .field("phase", &self.phase)
            .field("keys", &self.held.iter().map(|held| held.keys.key_id).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// HMAC-SHA256 of a counter, under the seed.
struct Random {
    seed: Seed,
    counter: u64,
}

impl Random {
    fn block(&mut self) -> Zeroizing<[u8; 32]> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.seed.0)
            .unwrap_or_else(|_| unreachable!("an HMAC takes any key"));
        mac.update(&self.counter.to_be_bytes());
        self.counter += 1;
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    fn randoms(&mut self) -> Randoms {
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(&self.block()[..]);
        bytes[32..].copy_from_slice(&self.block()[..]);
        Randoms::new(&bytes)
    }

    fn login(&mut self) -> LoginId {
        let mut login = [0; 12];
        login.copy_from_slice(&self.block()[..12]);
        LoginId(login)
    }

    /// Up to a tenth of a time.
    fn part_of(&mut self, time: Duration) -> Duration {
        let [first, ..] = *self.block();
        time / 10 * u32::from(first) / 256
    }
}
