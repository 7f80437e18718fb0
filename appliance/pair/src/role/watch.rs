//! Hearing: what the peer says, when it is silent, and when it was us who slept.

use std::time::{Duration, Instant};

use super::machine::{Event, State};
use super::path;
use super::timer::Timer;
use super::types::{Notice, Output, Role};
use super::{
    ANSWER_SPACING, COPYING, FRESH_INTERVALS, LISTEN, LISTEN_MAX, MAX_EXCUSES, Node, PUNCTUAL, Peer,
    STALL_SPACING, UNDECIDED_LIMIT,
};
use crate::heartbeat::Heartbeat;
use crate::keys::Authenticated;

impl Node {
    /// Every call begins here. A deadline that has long passed means that this program was not run. Heartbeats may have
    /// come and gone meanwhile (a frozen machine receives nothing), so that time is no silence of the peer's. Others
    /// may be waiting in the sockets, the oldest first: nothing is said or decided before the newest was read.
    pub(super) fn enter(&mut self, now: Instant) {
        self.now = now.max(self.now);
        if !self.takes_part() {
            return;
        }
        let Some(due) = self.deadlines.next() else { return };
        let late = now.saturating_duration_since(due.max(self.accounted));
        if late <= PUNCTUAL {
            return;
        }
        self.accounted = now;
        let asleep = late > self.config.interval;
        if asleep {
            if self.stall_told.is_none_or(|told| now.saturating_duration_since(told) >= STALL_SPACING) {
                self.stall_told = Some(now);
                self.push(Output::Notice(Notice::Stalled { late }));
            }
            self.waking = true;
            self.ask_drain();
        }
        self.excuse(now, late, asleep);
    }

    /// Time by which we were late does not count as silence. After a long sleep the peer gets the whole detection time
    /// anew.
    fn excuse(&mut self, now: Instant, late: Duration, asleep: bool) {
        if self.excuses >= MAX_EXCUSES {
            return;
        }
        self.excuses += 1;
        if asleep && self.deadlines.get(Timer::Undecided).is_some() {
            self.deadlines.set(Timer::Undecided, now + UNDECIDED_LIMIT);
        }
        let anew = now + Peer::detection(self.peer_interval());
        if asleep && self.state.role() != Role::Active {
            // Also a peer that was silent before may be back.
            self.listen_until = self.listen_until.max(anew);
            self.deadlines.set(Timer::Listen, self.listen_until);
        }
        if let Some(peer) = self.peer.as_mut().filter(|peer| peer.alive) {
            peer.dead_at = if asleep { anew.max(peer.dead_at) } else { (peer.dead_at + late).min(anew) };
            self.deadlines.set(Timer::Dead, peer.dead_at);
        }
    }

    pub(super) fn hear(&mut self, now: Instant, path: usize, heard: &Authenticated<Heartbeat>) {
        let (session, said) = (heard.session(), *heard.get());
        let known = self.peer.filter(|peer| peer.session == session);
        if known.is_none() {
            for path in &mut self.paths {
                path.restart();
            }
            if self.peer.is_some() {
                self.push(Output::Notice(Notice::PeerRestarted));
            }
        }
        let Some(over) = self.paths.get_mut(path) else { return };
        if !over.hear(now, said.beat) {
            return;
        }
        if let Some(round_trip) = said.echo.and_then(|echo| self.sent.round_trip(now, echo)) {
            over.status.rtt = Some(round_trip);
        }
        // The same round comes over each path; an overtaken one says what was true before.
        if known.is_some_and(|peer| peer.newest >= said.beat) {
            return;
        }
        // After a silence, what comes may have been held back on the way, by a network or by somebody, while the peer
        // died. It counts if it shows that the peer has heard something that we sent since, and not long ago.
        if let Some(peer) = &mut self.peer
            && known.is_some_and(|known| !known.alive)
        {
            peer.newest = said.beat;
            let fresh = self.sent.at(said.heard).is_some_and(|at| {
                now.saturating_duration_since(at) <= self.config.interval * FRESH_INTERVALS
            });
            if said.heard <= peer.lost || !fresh {
                self.answer(now);
                return;
            }
        }
        for path in said.hears.iter() {
            if let Some(path) = self.paths.get_mut(path) {
                path.acknowledge(now);
            }
        }
        self.highest = self.highest.max(said.highest).max(said.epoch);
        let was_alive = self.peer.is_some_and(|peer| peer.alive);
        let gone = said.going && said.role != Role::Active;
        let interval = Peer::interval(&said);
        let dead_at = now + Peer::detection(interval);
        let (newest, lost) = (said.beat, self.beat);
        self.peer = Some(Peer { session, alive: !gone, heard: now, dead_at, newest, lost, said });
        (self.excuses, self.probing) = (0, false);
        if gone {
            self.deadlines.stop(Timer::Dead);
            self.deadlines.stop(Timer::Probe);
        } else {
            self.deadlines.set(Timer::Dead, dead_at);
            self.deadlines.set(Timer::Probe, now + Peer::probe_after(interval));
        }
        match (was_alive, gone) {
            (true, true) => self.push(Output::Notice(Notice::PeerLost)),
            (false, false) => self.push(Output::Notice(Notice::PeerBack)),
            (true, false) | (false, true) => {}
        }
        if self.waking {
            self.unheeded = true;
        } else {
            self.heed(now);
        }
        // Whoever asks, and whoever was started anew or was silent and waits for something to prove himself with.
        if said.probe || heard.is_first() || !was_alive {
            self.answer(now);
        }
    }

    /// Acts on what the peer said last.
    pub(super) fn heed(&mut self, now: Instant) {
        let event = if self.peer_alive() { Event::Heard } else { Event::Silent };
        self.step(now, event);
    }

    pub(super) fn expire(&mut self, now: Instant, timer: Timer, at: Instant) {
        match timer {
            Timer::Beat => {
                let next = at + self.config.interval;
                let next = if next > now { next } else { now + self.config.interval };
                self.deadlines.set(Timer::Beat, next);
                self.sweep(now);
                self.send = true;
            }
            Timer::Probe => self.probe(now),
            Timer::Dead => match self.peer.filter(|peer| peer.alive) {
                Some(peer) if now < peer.dead_at => self.deadlines.set(Timer::Dead, peer.dead_at),
                Some(_) => self.ask_drain(),
                None => {}
            },
            Timer::Listen if now < self.listen_until => self.deadlines.set(Timer::Listen, self.listen_until),
            Timer::Listen => self.step(now, Event::Listened),
            Timer::Limit => self.step(now, Event::Limit),
            Timer::Undecided => self.step(now, Event::Undecided),
            Timer::FailBack => self.step(now, Event::FailBackDue),
            Timer::Answer => self.send = true,
            Timer::Again => self.step(now, Event::Changed),
            Timer::Resume if self.state.role() == Role::Active => self.push(Output::Announce),
            Timer::Resume => {}
        }
    }

    /// The active node's heartbeat is missing: asks for one, densely, until it comes or the peer is dead. One lost
    /// heartbeat more or less decides nothing then.
    fn probe(&mut self, now: Instant) {
        match self.state {
            State::Listening | State::Standby if self.peer_active() => {
                self.probing = true;
                self.send = true;
                self.deadlines.set(Timer::Probe, now + Peer::probe_again(self.peer_interval()));
            }
            State::Free
            | State::Listening
            | State::Standby
            | State::Active
            | State::Offering { .. }
            | State::Granting { .. }
            | State::Gone => {}
        }
    }

    /// Sends something at once, or as soon as the spacing allows.
    pub(super) fn answer(&mut self, now: Instant) {
        if !self.takes_part() {
            return;
        }
        match self.last_sent.map(|last| last + ANSWER_SPACING).filter(|soonest| *soonest > now) {
            Some(soonest) => self.deadlines.set(Timer::Answer, soonest),
            None => self.send = true,
        }
    }

    pub(super) fn ask_drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.push(Output::Drain);
        }
    }

    /// Everything that has arrived was read.
    pub(super) fn judge_silence(&mut self, now: Instant) {
        match &mut self.peer {
            Some(peer) if peer.alive && now < peer.dead_at => {
                self.deadlines.set(Timer::Dead, peer.dead_at);
            }
            Some(peer) if peer.alive => {
                peer.alive = false;
                peer.lost = self.beat;
                self.probing = false;
                self.deadlines.stop(Timer::Probe);
                let was_active = peer.said.role == Role::Active;
                self.push(Output::Notice(Notice::PeerLost));
                if was_active && !self.synced && self.state == State::Standby {
                    self.listen_until = self.listen_until.max(now + COPYING);
                    self.deadlines.set(Timer::Listen, self.listen_until);
                }
                self.step(now, Event::Silent);
            }
            Some(_) | None => self.step(now, Event::Silent),
        }
    }

    /// A cable has come back: what was silent because of ourselves gets time to be heard.
    pub(super) fn listen_on(&mut self, now: Instant, was_isolated: bool) {
        match self.state {
            // Cables come up one after the other at the start of a machine.
            State::Listening => {
                let until = (now + LISTEN).min(self.started + LISTEN_MAX);
                self.listen_until = self.listen_until.max(until);
                self.deadlines.set(Timer::Listen, self.listen_until);
            }
            State::Standby if was_isolated => {
                self.listen_until = now + LISTEN;
                self.deadlines.set(Timer::Listen, self.listen_until);
            }
            State::Free
            | State::Standby
            | State::Active
            | State::Offering { .. }
            | State::Granting { .. }
            | State::Gone => {}
        }
    }

    pub(super) fn sweep(&mut self, now: Instant) {
        let interval = self.peer_interval();
        for index in 0..self.paths.len() {
            if let Some(state) = self.paths[index].sweep(now, interval) {
                self.push(Output::Notice(Notice::Path { path: index, state }));
            }
        }
    }

    pub(super) fn hears(&self, now: Instant) -> crate::heartbeat::Paths {
        path::heard(&self.paths, now, self.peer_interval())
    }
}
