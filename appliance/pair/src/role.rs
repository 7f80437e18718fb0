//! The role of a node: who of the two has the virtual addresses.
//!
//! Owns the role, its epoch, what is known of the peer and of the paths, and every decision about them. Refuses to own
//! the clock, sockets, the disk, and how a role is put into force: time, heartbeats and health go in, and what is to
//! be done comes out of [`Node::poll_output`].
//!
//! ```text
//!                 Free  ◀── unpair ── any              shutdown ──▶ Gone
//!                  │ pair
//!                  ▼
//!              Listening ── peer active, or it decides ──▶ Standby ◀────────────────────────────┐
//!                  │                                         │  ▲                               │
//!                  │ 300 ms of silence,                      │  │ outranked, isolated           │
//!                  │ or elected                              │  │                               │ the peer is active
//!                  │               silence on all paths,     ▼  │                               │
//!                  └─────────────▶ granted, elected ──────▶ Active ── unwell, peer better ──▶ Granting
//!                                                            │  ▲                               ▲  │
//!                                                   command, │  │ not followed                  │  │
//!                                                  fail-back ▼  │                  flushed and  │  │ not followed
//!                                                          Offering ─────────────────────ready──┘  └──▶ Active
//! ```
//!
//! Who decides what, so that two nodes never decide the same thing differently:
//!
//! - **While one is active, it alone moves the role**: it knows its own health at once and the peer's from the last
//!   heartbeat. It keeps the role until the peer says that it is active.
//! - **When the active node is silent on all paths**, the standby claims. Silence is judged only after everything that
//!   has arrived was read ([`Output::Drain`]), and time in which this program was not run does not count.
//! - **When nobody is active and the two hear each other**, the first node decides for both: it claims or grants.
//! - **When two are active** (a healed split), the lower epoch steps down, ties by index.
//!
//! Epochs: a claim takes one more than any epoch heard of. The standby has the epoch of its next claim on disk before
//! it needs it, so that a take-over waits for no disk and no epoch is claimed twice, whenever the machine dies.

mod active;
mod damping;
mod health;
mod machine;
mod moves;
mod path;
mod peer;
mod standby;
mod status;
mod timer;
mod types;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use health::Health;
pub use path::PathStatus;
pub use status::{PeerStatus, Status};
pub use types::{
    CommandRefused, Config, Daemon, FailBack, Failure, Link, MAX_MONITORS, Notice, Output, PathState,
    Purpose, Record, Role, Start, Why,
};

use crate::heartbeat::{Heartbeat, Intention, Refusal};
use crate::keys::{Authenticated, Refused};
use damping::Damping;
use machine::{Event, State};
use path::{Path, Sent};
use peer::Peer;
use timer::{Deadlines, Timer};

/// How long a node listens before it claims, after its start or after all its cables were dead.
pub const LISTEN: Duration = Duration::from_millis(300);
/// How many intervals of ours a node that goes on after a restart says nothing to the neighbours: by then a peer that took the
/// role meanwhile has answered. Its own announcements would lead the neighbours back to a node that is about to give way.
const RESUME_INTERVALS: u32 = 3;
/// How much longer than usual a standby waits that does not have all connections of the active node yet. To take the role
/// from a node that was only late would cost every connection that is still missing.
pub const COPYING: Duration = Duration::from_millis(250);
/// So long what a node has that claimed with an incomplete copy counts for less than what the other active one has.
pub const PARTIAL: Duration = Duration::from_secs(10);
/// While cables come up one after the other at the start of a machine, listening goes on; so long at most.
pub const LISTEN_MAX: Duration = Duration::from_secs(5);
/// Time for a planned hand-over until the grant: mostly the journal's.
pub const OFFER_LIMIT: Duration = Duration::from_secs(2);
/// Time for the peer to take what was granted. It needs a millisecond or two.
pub const GRANT_LIMIT: Duration = Duration::from_millis(500);
/// Time for the first node's grant in an election; then it thinks again.
pub const ELECTION_LIMIT: Duration = Duration::from_millis(200);
/// After so long without an active node although both are there, the second one stops waiting for the first.
pub const UNDECIDED_LIMIT: Duration = Duration::from_secs(1);
/// Time for the active node to do what the standby's operator asks for.
pub const WANT_LIMIT: Duration = Duration::from_secs(5);
/// Answers to questions are no closer than this: questions cannot be made to cost more than regular heartbeats do.
pub const ANSWER_SPACING: Duration = Duration::from_millis(1);
/// A peer that was silent is back once it echoes a round of ours that is at most so many intervals old: far more than
/// any cable between the two needs.
const FRESH_INTERVALS: u32 = 10;
/// Our own sleep is told no more often than this: a machine without real-time priority would speak of nothing else.
const STALL_SPACING: Duration = Duration::from_secs(10);
/// Waking late by less than this is not worth a correction.
const PUNCTUAL: Duration = Duration::from_millis(1);
/// How often in a row our own lateness excuses the peer's silence. A machine that is always late must still take over
/// from a dead one in the end: after 16 × 35 ms at the worst.
const MAX_EXCUSES: u8 = 16;
/// Outputs that wait for the driver, heartbeats apart. One call makes about [`crate::heartbeat::MAX_PATHS`] + 12; a driver that drains
/// after each never gets near.
pub const MAX_OUTPUTS: usize = 128;

/// The machine of one node.
///
/// After each call drain [`Self::poll_output`], then sleep until [`Self::poll_timeout`] or the next thing to hand over.
#[derive(Debug)]
pub struct Node {
    config: Config,
    state: State,
    since: Instant,
    why: Why,
    /// Of the role while active, else of the last time; 0: not active since the start.
    epoch: u64,
    /// The highest epoch heard of or claimed.
    highest: u64,
    /// The highest epoch that is to be on disk, and that is.
    reserved: u64,
    durable: u64,
    maintenance: bool,
    synced: bool,
    /// Claimed while the copy of the connections was not complete.
    partial: bool,
    /// While active: since when the peer has been the better one.
    outdone: Option<Instant>,
    revision: u32,
    lineage: [u8; 8],
    position: u64,
    health: Health,
    paths: Vec<Path>,
    peer: Option<Peer>,
    /// The peer is silent only from this moment on; before it, the node has not listened long enough.
    listen_until: Instant,
    started: Instant,
    /// Standby: the offered epoch that we declared ourselves ready for, once it is on disk.
    offered: Option<u64>,
    /// Standby: what we ask the active node for.
    want: Option<Purpose>,
    /// Standby, first node: the epoch that the second one was granted in an election.
    deferring: Option<u64>,
    /// Active: the peer was seen active, too.
    rival: bool,
    /// Not before this moment is a failed hand-over tried again; how often it has failed.
    retry: Option<Instant>,
    failures: u32,
    damping: Damping,
    deadlines: Deadlines,
    /// The driver is reading its sockets.
    draining: bool,
    /// We have slept: nothing is said or decided before it has.
    waking: bool,
    /// Something was heard meanwhile.
    unheeded: bool,
    excuses: u8,
    stall_told: Option<Instant>,
    /// Up to here our lateness has been accounted for.
    accounted: Instant,
    tokens: u64,
    outputs: VecDeque<Output>,
    beat: u64,
    sent: Sent,
    last_sent: Option<Instant>,
    send: bool,
    probing: bool,
    sending: Option<(usize, Heartbeat)>,
    finished: bool,
    now: Instant,
}

impl Node {
    /// A node that has just been started. Tell it the state of its links before the first [`Self::handle_timeout`].
    pub fn new(now: Instant, config: Config, start: Start) -> Self {
        let config = config.bounded();
        let mut node = Self {
            paths: vec![Path::new(now); config.paths],
            config,
            state: State::Free,
            since: now,
            why: Why::Start,
            epoch: 0,
            highest: start.record.epoch,
            reserved: start.record.epoch,
            durable: start.record.epoch,
            maintenance: start.record.maintenance,
            synced: false,
            partial: false,
            outdone: None,
            revision: 0,
            lineage: [0; 8],
            position: 0,
            health: Health::default(),
            peer: None,
            listen_until: now,
            started: now,
            offered: None,
            want: None,
            deferring: None,
            rival: false,
            retry: None,
            failures: 0,
            damping: Damping::default(),
            deadlines: Deadlines::default(),
            draining: false,
            waking: false,
            unheeded: false,
            excuses: 0,
            stall_told: None,
            accounted: now,
            tokens: 0,
            outputs: VecDeque::with_capacity(MAX_OUTPUTS),
            beat: 0,
            sent: Sent::new(),
            last_sent: None,
            send: false,
            probing: false,
            sending: None,
            finished: false,
            now,
        };
        if start.paired {
            node.step(now, Event::Pair { active: start.active });
        } else {
            node.push(Output::HoldElectors { held: false });
        }
        node
    }

    // ---- world → machine

    /// A heartbeat has come over `path`.
    pub fn handle_heartbeat(&mut self, now: Instant, path: usize, heard: &Authenticated<Heartbeat>) {
        self.enter(now);
        if self.takes_part() && heard.get().index != self.config.index {
            self.hear(now, path, heard);
        }
    }

    /// A datagram to the heartbeat port was refused. It changes nothing, but one that only has to prove its session is
    /// answered soon, so that it can.
    pub fn handle_refused(&mut self, now: Instant, path: usize, refusal: &Refusal) {
        self.enter(now);
        if *refusal == Refusal::Envelope(Refused::Unproven) {
            self.answer(now);
        } else if let Some(path) = self.paths.get_mut(path) {
            path.status.refused += 1;
        }
    }

    /// A carrier came or went.
    pub fn handle_link(&mut self, now: Instant, link: Link, up: bool) {
        self.enter(now);
        let was_isolated = self.is_isolated();
        let changed = match link {
            Link::Path(index) => match self.paths.get_mut(index) {
                Some(path) => std::mem::replace(&mut path.carrier, up) != up,
                None => false,
            },
            Link::Monitor(index) => index < self.config.monitors && self.health.set_link(index, up),
        };
        if !changed || !self.takes_part() {
            return;
        }
        if up && (was_isolated || self.state == State::Listening) {
            self.listen_on(now, was_isolated);
        }
        self.sweep(now);
        self.step(now, Event::Changed);
        self.send = true;
    }

    /// The gateway behind a monitored interface answers, or does so no more.
    pub fn handle_gateway(&mut self, now: Instant, monitor: usize, answers: bool) {
        self.enter(now);
        if monitor < self.config.monitors && self.health.set_gateway(monitor, answers) {
            self.step(now, Event::Changed);
            self.send |= self.takes_part();
        }
    }

    /// A daemon runs, or has been away for longer than a restart takes.
    pub fn handle_daemon(&mut self, now: Instant, daemon: Daemon, runs: bool) {
        self.enter(now);
        if self.health.set_daemon(daemon, runs) {
            self.step(now, Event::Changed);
            self.send |= self.takes_part();
        }
    }

    /// The time of [`Self::poll_timeout`] has come. Early and repeated calls do no harm. After a call that came much
    /// too late the time stays in the past until [`Output::Drain`] is done.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.enter(now);
        while !self.waking
            && let Some((timer, at)) = self.deadlines.expire(now)
        {
            self.expire(now, timer, at);
        }
    }

    /// All heartbeat sockets were read until they were empty, after [`Output::Drain`].
    pub fn handle_drained(&mut self, now: Instant) {
        self.enter(now);
        if std::mem::take(&mut self.draining) {
            if std::mem::take(&mut self.waking) {
                self.send |= self.takes_part();
            }
            if std::mem::take(&mut self.unheeded) {
                self.heed(now);
            }
            self.judge_silence(now);
        }
    }

    /// Everything in the journal is acknowledged, after [`Output::FlushJournal`].
    pub fn handle_flushed(&mut self, now: Instant, token: u64) {
        self.enter(now);
        self.step(now, Event::Flushed { token });
    }

    /// The record with this epoch is on disk, after [`Output::Persist`].
    pub fn handle_persisted(&mut self, now: Instant, epoch: u64) {
        self.enter(now);
        self.durable = self.durable.max(epoch);
        self.step(now, Event::Persisted);
    }

    // ---- operator and neighbours in the program → machine

    /// Hands the role to the peer, or takes it from the peer, in order. How it ends is told by
    /// [`Notice::HandOverDone`], [`Notice::HandOverFailed`] or, here, [`Output::BecomeActive`].
    pub fn switch(&mut self, now: Instant) -> Result<(), CommandRefused> {
        self.enter(now);
        self.may_switch()?;
        self.step(now, Event::Switch);
        Ok(())
    }

    /// Takes the node out of service or back in. An active node hands over first and is out of service when the peer
    /// has the role; if that fails, it stays in service.
    pub fn maintenance(&mut self, now: Instant, on: bool) -> Result<(), CommandRefused> {
        self.enter(now);
        self.may_maintain(on)?;
        self.step(now, Event::Maintain { on });
        Ok(())
    }

    /// Hands over if there is something to hand over and somebody to take it, then gives [`Output::Finished`].
    pub fn shutdown(&mut self, now: Instant) {
        self.enter(now);
        self.step(now, Event::Shutdown);
    }

    /// Keys were exchanged with a peer. `active`: the virtual links are up.
    pub fn pair(&mut self, now: Instant, active: bool) {
        self.enter(now);
        self.step(now, Event::Pair { active });
    }

    /// The peer is forgotten; the electors are free again and keep the role that they have.
    pub fn unpair(&mut self, now: Instant) {
        self.enter(now);
        self.step(now, Event::Unpair);
    }

    /// Whether the connections here are those of the active node. Fail-back waits for it; nothing else does.
    pub fn set_synced(&mut self, now: Instant, synced: bool) {
        self.enter(now);
        if std::mem::replace(&mut self.synced, synced) != synced {
            self.step(now, Event::Changed);
            self.send |= self.takes_part();
        }
    }

    /// How far the journal is; told with the next heartbeat.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// The revision in force and the first bytes of the digest of its history; told with the next heartbeat.
    pub fn set_configuration(&mut self, revision: u32, lineage: [u8; 8]) {
        self.revision = revision;
        self.lineage = lineage;
    }

    /// The document has changed. The role stays; paths and interfaces are told apart by their places, so whatever
    /// follows one that was removed is told anew by [`Self::handle_link`] and [`Self::handle_gateway`].
    pub fn reconfigure(&mut self, now: Instant, config: Config) {
        self.enter(now);
        let config = config.bounded();
        self.paths.resize(config.paths, Path::new(now));
        self.health.keep_monitors(config.monitors);
        self.config = config;
        if self.takes_part() {
            self.deadlines.set(Timer::Beat, now + self.config.interval);
            self.step(now, Event::Changed);
            self.send = true;
        }
    }

    // ---- machine → world

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next thing to do. Heartbeats come last, and say what the node is by then.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if !self.waking && std::mem::take(&mut self.send) {
            self.sending = Some((0, self.next_heartbeat()));
        }
        if let Some((path, mut heartbeat)) = self.sending {
            self.sending = (path + 1 < self.paths.len()).then_some((path + 1, heartbeat));
            if let Some(known) = self.paths.get(path) {
                heartbeat.echo = known.echo(self.now);
                return Some(Output::Send { path, heartbeat });
            }
        }
        std::mem::take(&mut self.finished).then_some(Output::Finished)
    }

    // ---- inside

    /// Whether heartbeats are sent and heard.
    fn takes_part(&self) -> bool {
        match self.state {
            State::Free | State::Gone => false,
            State::Listening
            | State::Standby
            | State::Active
            | State::Offering { .. }
            | State::Granting { .. } => true,
        }
    }

    fn push(&mut self, output: Output) {
        debug_assert!(self.outputs.len() < MAX_OUTPUTS, "the driver does not drain");
        if self.outputs.len() >= MAX_OUTPUTS {
            self.outputs.pop_front();
        }
        self.outputs.push_back(output);
    }

    fn next_heartbeat(&mut self) -> Heartbeat {
        let now = self.now;
        self.beat += 1;
        self.sent.note(self.beat, now);
        self.last_sent = Some(now);
        Heartbeat {
            index: self.config.index,
            role: self.state.role(),
            intention: self.intention(),
            going: self.is_going(),
            maintenance: self.maintenance,
            synced: if self.state.role() == Role::Active { self.is_whole(now) } else { self.synced },
            probe: self.probing,
            interval_ms: u16::try_from(self.config.interval.as_millis()).unwrap_or(u16::MAX),
            beat: self.beat,
            echo: None,
            heard: self.peer.as_ref().map_or(0, |peer| peer.newest),
            hears: self.hears(now),
            health: self.health,
            epoch: self.epoch,
            highest: self.highest,
            revision: self.revision,
            lineage: self.lineage,
            position: self.position,
            seconds_in_role: u32::try_from(now.saturating_duration_since(self.since).as_secs())
                .unwrap_or(u32::MAX),
            product: self.config.product,
        }
    }

    fn intention(&self) -> Intention {
        match self.state {
            State::Free | State::Listening | State::Active | State::Gone => match self.deferring {
                Some(epoch) if self.state == State::Listening => {
                    Intention::Grant { epoch, purpose: Purpose::Election }
                }
                Some(_) | None => Intention::None,
            },
            State::Standby => match (self.deferring, self.offered, self.want) {
                (Some(epoch), _, _) => Intention::Grant { epoch, purpose: Purpose::Election },
                (None, Some(epoch), _) if self.durable >= epoch => Intention::Ready { epoch },
                (None, Some(_) | None, Some(Purpose::FailBack)) => Intention::WantFailBack,
                (None, Some(_) | None, Some(Purpose::Command)) => Intention::WantCommand,
                (None, Some(_) | None, _) => Intention::None,
            },
            State::Offering { purpose, epoch, .. } => Intention::Offer { epoch, purpose },
            State::Granting { purpose, epoch } => Intention::Grant { epoch, purpose },
        }
    }
}
