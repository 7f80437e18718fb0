//! A peer: its tunnel, where it is, and what waits for a handshake.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::known::Known;
use crate::settings::{Path, PeerSettings};
use crate::tunnel::Tunnel;

/// Packets that wait for a handshake: the beginnings of some connections.
pub(crate) const MAX_WAITING: usize = 32;
/// Least time between two initiations that a peer is answered (WireGuard §5.1 leaves it open; Linux has the same).
const BETWEEN: Duration = Duration::from_millis(20);
/// Least time between two initiations of ours: `Rekey-Timeout` (WireGuard §6.1).
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Responses that are looked at for each initiation of ours: on the way anybody can make them up, and each takes two
/// exponentiations.
const MAX_RESPONSES: u8 = 8;
/// After a take-over an initiation is repeated so soon, earlier than WireGuard §6.4 has it, because the first one may have
/// left before the neighbours knew where the address is now.
const SOON: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(600), Duration::from_millis(2_000)];

pub(crate) struct Peer {
    pub settings: PeerSettings,
    /// Its 24 bits of our indices.
    pub index: u32,
    pub tunnel: Tunnel,
    /// Where it is.
    pub path: Option<Path>,
    /// Packets that wait.
    pub waiting: VecDeque<Box<[u8]>>,
    /// When a handshake was last completed, in time since 1970.
    pub handshake: Duration,
    /// The newest stamp of an initiation.
    pub stamp: Duration,
    /// When something authentic last went or came.
    pub seen: Instant,
    /// Bytes inside the tunnel.
    pub received: u64,
    pub sent: u64,
    /// When it was last answered.
    answered: Option<Instant>,
    /// When our last initiation was sent, and how many responses to it may still be looked at.
    initiated: Option<Instant>,
    responses: u8,
    /// When the take-over was, while it has not answered, and how often it was asked again.
    taken_over: Option<(Instant, usize)>,
}

impl Peer {
    pub fn new(
        now: Instant,
        settings: PeerSettings,
        index: u32,
        tunnel: Tunnel,
        path: Option<Path>,
        known: &Known,
    ) -> Self {
        Self {
            settings,
            index,
            tunnel,
            path,
            waiting: VecDeque::new(),
            handshake: known.handshake,
            stamp: known.stamp,
            seen: now,
            received: 0,
            sent: 0,
            answered: None,
            initiated: None,
            responses: 0,
            taken_over: None,
        }
    }

    /// What the other node must hold of it.
    pub fn known(&self) -> Known {
        Known { path: self.path, handshake: self.handshake, stamp: self.stamp }
    }

    /// Whether an initiation of it may be answered.
    pub fn may_answer(&self, now: Instant) -> bool {
        self.answered.is_none_or(|at| now.saturating_duration_since(at) >= BETWEEN)
    }

    pub fn has_answered(&mut self, now: Instant) {
        self.answered = Some(now);
    }

    /// Whether an initiation may be sent.
    pub fn may_initiate(&self, now: Instant) -> bool {
        self.initiated.is_none_or(|at| now.saturating_duration_since(at) >= REKEY_TIMEOUT)
    }

    /// An initiation has been made.
    pub fn has_initiated(&mut self, now: Instant) {
        self.initiated = Some(now);
        self.responses = MAX_RESPONSES;
        self.stamp = self.stamp.max(self.tunnel.stamp(now));
    }

    /// Takes one of the responses that may be looked at.
    pub fn take_response(&mut self) -> bool {
        let left = self.responses.checked_sub(1);
        self.responses = left.unwrap_or(0);
        left.is_some()
    }

    /// A handshake is complete, from whichever side.
    pub fn is_established(&mut self, wall: Duration) {
        self.handshake = wall;
        self.responses = 0;
    }

    /// Something authentic has come from it.
    pub fn is_heard(&mut self, now: Instant) {
        self.seen = now;
        self.taken_over = None;
    }

    /// This node has just taken over.
    pub fn begin_take_over(&mut self, now: Instant) {
        self.taken_over = Some((now, 0));
    }

    /// Whether it has to be asked again after a take-over.
    pub fn is_awaited(&mut self, now: Instant) -> bool {
        let Some((since, times)) = &mut self.taken_over else { return false };
        match SOON.get(*times) {
            Some(after) if now.saturating_duration_since(*since) >= *after => {
                *times += 1;
                true
            }
            Some(_) => false,
            None => {
                self.taken_over = None;
                false
            }
        }
    }

    /// Whether an empty message is due for the translators on the way.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.settings.keepalive.is_some_and(|most| now.saturating_duration_since(self.seen) >= most)
    }
}
