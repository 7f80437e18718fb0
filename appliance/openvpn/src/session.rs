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
//! | `types`, `random` | what the driver gives and gets; what the session chooses |
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
mod random;
mod renewal;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;
mod types;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

pub use login::{Accept, AcceptError, Credential, Login, PendingError};
pub use random::Seed;
pub use snapshot::{MAX_ATTACHED, MAX_KEYS, MAX_SNAPSHOT, Snapshot, SnapshotError, SnapshotKey};
pub use tls::{TlsPolicy, tls_config, tls13_config};
pub use types::{Closed, Dropped, Identity, Output, Place, Settings, Timing};

use crate::Now;
use crate::cookie::Admission;
use crate::key_exchange::DataKeys;
use crate::message::Notice;
use crate::packet::{Acks, Body, Header, KeyId, Malformed, Opcode, SessionId};
use crate::reliable::Message;
use crate::wrap::{Received, Sending, Wrap, Wrapping, split_wkc};
use key_state::{KeyState, Stage};
use random::Random;

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
            random: Random::new(seed),
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
        match self.phase {
            // The alert tells the person at the client what is wrong.
            Phase::Starting => {
                if let Some(state) = self.state_mut(key_id) {
                    state.flush();
                }
                self.close_after_linger(now, Closed::Tls(error));
            }
            // A renewal that fails leaves the session as it is: no alert, which OpenVPN 3 would start over for (study
            // §1.6). The age of the key ends it.
            Phase::Up => self.renewal_failed(now, key_id),
            Phase::Closing | Phase::Closed => {}
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
            match self.phase {
                Phase::Starting => return self.close(Closed::HandshakeTimeout),
                Phase::Up => self.renewal_failed(now, key_id),
                Phase::Closing | Phase::Closed => {}
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
