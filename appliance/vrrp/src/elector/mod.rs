//! The elector: the state machine of one virtual router.
//!
//! Owns state, timers and counters. Refuses to own the clock, sockets, addresses and randomness: `now` is given, packets
//! are given, and what is to be done comes out of [`Elector::poll_output`].
//!
//! ```text
//!               startup                 silence, resignation, preemption, claim
//!  ┌────────────┐ ─────────▶ ┌────────┐ ─────────────────────────────▶ ┌────────┐
//!  │ Initialize │            │ Backup │                                │ Active │
//!  └────────────┘ ◀───────── └────────┘ ◀───────────────────────────── └────────┘
//!         ▲        shutdown                   outranked, resign             │
//!         └─────────────────────────────── shutdown ───────────────────────┘
//! ```
//!
//! **Our own stall is not the peer's silence.** A program that was not run for a while finds its timer expired and the
//! peer's advertisements unread in the socket. So an expired `Active_Down_Timer` only yields [`Output::Drain`]: the
//! driver reads what has come, then calls [`Elector::handle_drained`], and only if nothing obliging was among it does
//! the router take over. If the timer was moreover served later than the active router's own interval, packets may
//! have been lost before the socket (a frozen machine does not receive), and the active router gets time for one more
//! advertisement, at most [`MAX_GRACES`] times in a row. An active router that wakes as late listens likewise before
//! it speaks, because somebody may have taken over meanwhile.

mod config;
mod output;
mod rules;
mod timer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use config::{
    Announcing, Carp, ChecksumPolicy, Config, ConfigError, DemotionStyle, MAX_PEERS, MAX_REPEATS,
    MIN_REFRESH, Preempt, Protocol, Reach, Tie, Version, Vrrp,
};
pub use output::{Announcement, Cause, Output, Refusal, RoleChange, State, Transmit};
pub use timer::Timer;

use crate::stats::Statistics;
use crate::types::{Dialect, Family, IpHeader, Mac, Priority, Vrid};
use rules::{Heard, Listener, Message, Rules, Verdict};
use timer::Deadlines;

/// Outputs that wait for the driver. One call makes 35 at most; a driver that drains after each never gets near.
pub const MAX_OUTPUTS: usize = 128;
/// How often in a row our own lateness excuses the active router's silence. A machine that is always late must still
/// take over from a dead one in the end.
pub const MAX_GRACES: u8 = 3;
/// An immediate answer is left out when an advertisement went out less than this part of the interval ago: two routers
/// that both think they rank higher would otherwise answer each other at the speed of the line.
const ANSWER_SPACING: u32 = 8;

/// Whether the router may become active. How a second opinion, a running synchronisation or maintenance comes in.
///
/// On the wire a router that holds back is one with a longer `Active_Down_Interval`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Claims {
    /// As the RFC says.
    #[default]
    Free,
    /// Only when there is no active router: as with `Preempt_Mode` False.
    NoPreempt,
    /// Not at all; [`Output::Overdue`] tells when it would have.
    Held,
}

/// What happens to an elector. Every pair with a state has its arm in [`Elector::step`].
#[derive(Clone, Copy, Debug)]
enum Event {
    Startup,
    Shutdown,
    Claim,
    Resign,
    Released,
    Heard(Heard),
    Expired { timer: Timer, late: Duration },
    Drained,
}

/// What goes on once the receive queue is empty.
#[derive(Clone, Copy, Debug)]
enum Awaiting {
    Claim { late: Duration },
    Advertise,
}

/// The state machine of one virtual router.
///
/// After each call drain [`Self::poll_output`], then sleep until [`Self::poll_timeout`] or the next packet.
#[derive(Debug)]
pub struct Elector {
    vrid: Vrid,
    dialect: Dialect,
    preempt: Preempt,
    accept: bool,
    announcing: Announcing,
    rules: Rules,
    state: State,
    claims: Claims,
    deadlines: Deadlines,
    outputs: VecDeque<Output>,
    statistics: Statistics,
    /// What an expiry of `Active_Down_Timer` will mean.
    expected: Cause,
    awaiting: Option<Awaiting>,
    overdue: bool,
    preempt_ready: bool,
    graces: u8,
    last_sent: Option<Instant>,
    announcing_since: Option<Instant>,
    next_announcement: Announcement,
    active_router: Option<IpAddr>,
}

impl Elector {
    /// In Initialize; nothing happens before [`Self::startup`].
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            vrid: config.vrid,
            dialect: config.dialect(),
            rules: Rules::new(&config),
            preempt: config.preempt,
            accept: config.accept,
            announcing: config.announce,
            state: State::Initialize,
            claims: Claims::Free,
            deadlines: Deadlines::default(),
            outputs: VecDeque::new(),
            statistics: Statistics::default(),
            expected: Cause::PeerSilent,
            awaiting: None,
            overdue: false,
            preempt_ready: false,
            graces: 0,
            last_sent: None,
            announcing_since: None,
            next_announcement: Announcement::First,
            active_router: None,
        })
    }

    // ---- getters

    /// Which virtual router.
    pub fn vrid(&self) -> Vrid {
        self.vrid
    }

    /// Which protocol it speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether packets to the virtual addresses are to be accepted now; see [`RoleChange::accept`].
    pub fn accepts(&self) -> bool {
        match self.state {
            State::Initialize | State::Backup => false,
            State::Active => self.accept || self.rules.is_owner(),
        }
    }

    /// The counters.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// `vrrpv3OperationsMasterIpAddr`: who is active as far as is known; `None` before anybody was.
    pub fn active_router(&self) -> Option<IpAddr> {
        self.active_router
    }

    /// The Ethernet address of the virtual router.
    pub fn virtual_mac(&self, family: Family) -> Mac {
        Mac::of_virtual_router(self.dialect, family, self.vrid)
    }

    /// `Active_Down_Interval` as it stands.
    pub fn active_down_interval(&self) -> Duration {
        self.rules.down_interval()
    }

    /// When `timer` will fire, if it runs.
    pub fn deadline(&self, timer: Timer) -> Option<Instant> {
        self.deadlines.get(timer)
    }

    // ---- world → machine

    /// A packet of IP protocol 112 from the interface of this virtual router. Refused ones are counted and change
    /// nothing else.
    pub fn handle_packet(&mut self, now: Instant, header: &IpHeader, payload: &[u8]) -> Result<(), Refusal> {
        let listener = match self.state {
            State::Initialize | State::Backup => Listener::Waiting,
            State::Active => Listener::Defending,
        };
        match self.rules.receive(listener, header, payload, &mut self.statistics) {
            Ok(heard) => {
                self.statistics.received += 1;
                match heard.verdict {
                    Verdict::Resigned => self.statistics.received_resigning += 1,
                    Verdict::Superior | Verdict::Inferior | Verdict::Unwell => {}
                }
                self.step(now, Event::Heard(heard));
                Ok(())
            }
            Err(refusal) => {
                self.statistics.refuse(&refusal);
                Err(refusal)
            }
        }
    }

    /// The time of [`Self::poll_timeout`] has come. Early and repeated calls do no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((timer, at)) = self.deadlines.expire(now) {
            self.step(now, Event::Expired { timer, late: now.saturating_duration_since(at) });
        }
    }

    /// The receive queue has been read until it was empty, after [`Output::Drain`].
    pub fn handle_drained(&mut self, now: Instant) {
        self.step(now, Event::Drained);
    }

    // ---- operator → machine

    /// The interface is up and has its addresses: take part.
    pub fn startup(&mut self, now: Instant) {
        self.step(now, Event::Startup);
    }

    /// Stop taking part; an active router says so (priority 0; CARP bow-out).
    pub fn shutdown(&mut self, now: Instant) {
        self.step(now, Event::Shutdown);
    }

    /// Backup: become active at once, whatever [`Claims`] say. On the wire as after a resignation.
    pub fn claim(&mut self, now: Instant) {
        self.step(now, Event::Claim);
    }

    /// Active: say so and become backup. Lower the rank or restrict [`Claims`] first, or preemption brings the role back.
    pub fn resign(&mut self, now: Instant) {
        self.step(now, Event::Resign);
    }

    /// Restricts or frees taking over.
    pub fn set_claims(&mut self, now: Instant, claims: Claims) {
        self.claims = claims;
        match claims {
            Claims::Held => {}
            Claims::Free | Claims::NoPreempt => self.step(now, Event::Released),
        }
    }

    /// Changes the rank of a VRRP router; an active one tells at once. CARP routers have none.
    pub fn set_priority(&mut self, now: Instant, priority: Priority) {
        self.rules.set_priority(priority);
        self.tell_change(now);
    }

    /// Changes how unwell a CARP router is, 0 for well; an active one tells at once. VRRP routers ignore it.
    pub fn set_demotion(&mut self, now: Instant, demotion: u8) {
        self.rules.set_demotion(demotion);
        self.tell_change(now);
    }

    // ---- machine → world

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    // ---- the machine

    fn step(&mut self, now: Instant, event: Event) {
        match (self.state, event) {
            // RFC 9568 §6.4.1: the owner does not wait.
            (State::Initialize, Event::Startup) if self.rules.is_owner() => {
                self.become_active(now, Cause::Owner);
            }
            // RFC 9568 §6.4.1: Active_Adver_Interval is ours, Active_Down_Timer runs.
            (State::Initialize, Event::Startup) => {
                self.rules.forget();
                self.become_backup(now, Cause::Startup);
            }
            // RFC 9568 §6.4.1: nothing else counts before startup.
            (
                State::Initialize,
                Event::Shutdown
                | Event::Claim
                | Event::Resign
                | Event::Released
                | Event::Drained
                | Event::Heard(_),
            ) => {}
            // No timer runs.
            (
                State::Initialize,
                Event::Expired {
                    timer: Timer::ActiveDown | Timer::Adver | Timer::Announce | Timer::PreemptDelay,
                    ..
                },
            ) => {}

            (State::Backup, Event::Startup | Event::Resign) => {}
            // RFC 9568 §6.4.2: cancel the timer, Initialize.
            (State::Backup, Event::Shutdown) => self.become_initialize(),
            (State::Backup, Event::Claim) => self.become_active(now, Cause::Commanded),
            (State::Backup, Event::Released) => self.claim_overdue(),
            (State::Backup, Event::Heard(heard)) => self.hear_as_backup(now, &heard),
            // RFC 9568 §6.4.2: Active_Down_Timer fires. What has come meanwhile is read first; see the module's text.
            (State::Backup, Event::Expired { timer: Timer::ActiveDown, late }) => {
                self.await_drain(Awaiting::Claim { late });
            }
            (State::Backup, Event::Expired { timer: Timer::PreemptDelay, late: _ }) => {
                self.preempt_ready = true
            }
            // These run while active only.
            (State::Backup, Event::Expired { timer: Timer::Adver | Timer::Announce, late: _ }) => {}
            (State::Backup, Event::Drained) => self.drained_as_backup(now),

            (State::Active, Event::Startup | Event::Claim | Event::Released) => {}
            // RFC 9568 §6.4.3: cancel Adver_Timer, send priority 0, Initialize.
            (State::Active, Event::Shutdown) => {
                self.send(now, Message::Resignation);
                self.become_initialize();
            }
            (State::Active, Event::Resign) => {
                self.send(now, Message::Resignation);
                self.rules.forget();
                self.become_backup(now, Cause::Commanded);
            }
            (State::Active, Event::Heard(heard)) => self.hear_as_active(now, &heard),
            // RFC 9568 §6.4.3: Adver_Timer fires.
            (State::Active, Event::Expired { timer: Timer::Adver, late }) => {
                if late > self.rules.interval() {
                    self.await_drain(Awaiting::Advertise);
                } else {
                    self.advertise(now, late);
                }
            }
            (State::Active, Event::Expired { timer: Timer::Announce, late: _ }) => self.announce_next(now),
            // These run while backup only.
            (State::Active, Event::Expired { timer: Timer::ActiveDown | Timer::PreemptDelay, late: _ }) => {}
            (State::Active, Event::Drained) => match self.awaiting.take() {
                Some(Awaiting::Advertise) => self.advertise(now, Duration::ZERO),
                Some(Awaiting::Claim { .. }) | None => {}
            },
        }
    }

    fn hear_as_backup(&mut self, now: Instant, heard: &Heard) {
        match heard.verdict {
            // RFC 9568 §6.4.2 (425), (430): Active_Down_Timer to Skew_Time. Never to later than it was, which the RFC
            // does not say: whoever repeats priority 0 could otherwise keep everybody from taking over.
            Verdict::Resigned => {
                self.expected = Cause::PeerResigned;
                let at = now + self.rules.resignation_delay();
                if let Some(running) = self.deadlines.get(Timer::ActiveDown) {
                    self.deadlines.set(Timer::ActiveDown, running.min(at));
                }
            }
            Verdict::Superior => {
                self.deadlines.stop(Timer::PreemptDelay);
                self.preempt_ready = false;
                self.obey(now, heard);
            }
            // RFC 9568 §6.4.2 (465), (470): discarded, the running timer decides. CARP takes over at once.
            Verdict::Inferior if self.may_preempt() => {
                self.expected = Cause::Preempted;
                if self.rules.preempts_at_once() {
                    self.deadlines.set(Timer::ActiveDown, now);
                }
            }
            // RFC 9568 §6.4.2 (445): Preempt_Mode is False, or not yet True.
            Verdict::Inferior => {
                self.start_preempt_delay(now);
                self.obey(now, heard);
            }
            // OpenBSD relieves a demoted router whatever the preemption; a restriction of claims still counts.
            Verdict::Unwell => match self.claims {
                Claims::Free => {
                    self.expected = Cause::Preempted;
                    self.deadlines.set(Timer::ActiveDown, now);
                }
                Claims::NoPreempt | Claims::Held => self.obey(now, heard),
            },
        }
    }

    /// RFC 9568 §6.4.2 (450), (455), (460). RFC 3768 §6.4.2 only resets the timer; its interval is the same for all.
    fn obey(&mut self, now: Instant, heard: &Heard) {
        self.rules.adopt(heard);
        self.watch(now);
        self.active_router = Some(heard.source);
    }

    /// Starts to wait for the active router's next advertisement.
    fn watch(&mut self, now: Instant) {
        self.expected = Cause::PeerSilent;
        self.awaiting = None;
        self.overdue = false;
        self.graces = 0;
        self.deadlines.set(Timer::ActiveDown, now + self.rules.down_interval());
    }

    fn may_preempt(&self) -> bool {
        match (self.claims, self.preempt) {
            (Claims::Free, Preempt::Always) => true,
            (Claims::Free, Preempt::After(_)) => self.preempt_ready || self.rules.is_owner(),
            // RFC 9568 §6.1: the owner always preempts, independent of Preempt_Mode.
            (Claims::Free, Preempt::Never) => self.rules.is_owner(),
            (Claims::NoPreempt | Claims::Held, _) => false,
        }
    }

    fn start_preempt_delay(&mut self, now: Instant) {
        match self.preempt {
            Preempt::After(delay)
                if !self.preempt_ready && self.deadlines.get(Timer::PreemptDelay).is_none() =>
            {
                // A delay beyond the end of time never ends.
                if let Some(at) = now.checked_add(delay) {
                    self.deadlines.set(Timer::PreemptDelay, at);
                }
            }
            Preempt::After(_) | Preempt::Always | Preempt::Never => {}
        }
    }

    fn drained_as_backup(&mut self, now: Instant) {
        let late = match self.awaiting.take() {
            Some(Awaiting::Claim { late }) => late,
            Some(Awaiting::Advertise) | None => return,
        };
        let silent = self.expected == Cause::PeerSilent;
        if silent && late > self.rules.active_interval() && self.graces < MAX_GRACES {
            self.graces += 1;
            self.statistics.own_stalls += 1;
            self.deadlines.set(Timer::ActiveDown, now + self.rules.grace());
            return;
        }
        match (self.claims, self.expected) {
            // Permission to preempt was withdrawn while the timer ran: there is an active router, so watch it.
            (Claims::NoPreempt | Claims::Held, Cause::Preempted) => self.watch(now),
            (Claims::Held, _) => {
                self.overdue = true;
                self.push(Output::Overdue);
            }
            (Claims::Free | Claims::NoPreempt, cause) => self.become_active(now, cause),
        }
    }

    fn claim_overdue(&mut self) {
        if self.overdue {
            self.overdue = false;
            self.await_drain(Awaiting::Claim { late: Duration::ZERO });
        }
    }

    fn hear_as_active(&mut self, now: Instant, heard: &Heard) {
        match heard.verdict {
            // RFC 9568 §6.4.3: send an ADVERTISEMENT and reset Adver_Timer.
            Verdict::Resigned => {
                if self.answer(now) {
                    self.deadlines.set(Timer::Adver, now + self.rules.interval());
                }
            }
            // RFC 9568 §6.4.3: the other one ranks higher.
            Verdict::Superior => {
                self.rules.forget();
                self.rules.adopt(heard);
                self.become_backup(now, Cause::Outranked);
                self.active_router = Some(heard.source);
            }
            // RFC 9568 §6.4.3: discard, and assert ourselves to the sender and to learning bridges. Not in RFC 3768.
            Verdict::Inferior | Verdict::Unwell => {
                if self.rules.answers_inferior() {
                    self.answer(now);
                }
                self.announce_again(now);
            }
        }
    }

    fn become_initialize(&mut self) {
        self.deadlines.stop_all();
        self.settle();
        self.enter(State::Initialize, Cause::Shutdown);
        self.active_router = None;
    }

    fn become_backup(&mut self, now: Instant, cause: Cause) {
        self.deadlines.stop_all();
        self.settle();
        self.watch(now);
        self.enter(State::Backup, cause);
    }

    /// RFC 9568 §6.4.2: advertise, announce, set Adver_Timer, Active. The addresses come up between the first two.
    fn become_active(&mut self, now: Instant, cause: Cause) {
        self.deadlines.stop_all();
        self.settle();
        self.statistics.master_transitions += 1;
        self.statistics.new_master_reason = cause.into();
        self.send(now, Message::Regular);
        self.deadlines.set(Timer::Adver, now + self.rules.interval());
        self.enter(State::Active, cause);
        self.active_router = self.rules.first_source();
        self.announce_first(now);
    }

    /// Clears what belongs to the state that is left. An announcement that is still to be fetched would lead the
    /// neighbours astray.
    fn settle(&mut self) {
        self.outputs.retain(|output| !matches!(output, Output::Announce(_)));
        self.awaiting = None;
        self.overdue = false;
        self.preempt_ready = false;
        self.graces = 0;
        self.announcing_since = None;
    }

    fn enter(&mut self, to: State, cause: Cause) {
        let from = std::mem::replace(&mut self.state, to);
        let accept = self.accepts();
        self.push(Output::Role(RoleChange { from, to, cause, accept }));
    }

    fn await_drain(&mut self, awaiting: Awaiting) {
        self.awaiting = Some(awaiting);
        self.push(Output::Drain);
    }

    // ---- advertisements

    fn advertise(&mut self, now: Instant, late: Duration) {
        self.send(now, Message::Regular);
        // From deadline to deadline, so that small delays do not add up.
        let interval = self.rules.interval();
        let next = interval.checked_sub(late).filter(|left| !left.is_zero()).unwrap_or(interval);
        self.deadlines.set(Timer::Adver, now + next);
    }

    /// An advertisement out of turn; `false` if one has just been sent.
    fn answer(&mut self, now: Instant) -> bool {
        let spacing = self.rules.interval() / ANSWER_SPACING;
        if self.last_sent.is_some_and(|at| now.saturating_duration_since(at) < spacing) {
            self.statistics.answers_withheld += 1;
            return false;
        }
        self.send(now, Message::Regular);
        true
    }

    fn tell_change(&mut self, now: Instant) {
        match self.state {
            State::Initialize | State::Backup => {}
            State::Active => self.advertise(now, Duration::ZERO),
        }
    }

    fn send(&mut self, now: Instant, message: Message) {
        for packet in self.rules.transmissions(message) {
            self.statistics.sent += 1;
            match message {
                Message::Regular => {}
                Message::Resignation => self.statistics.sent_resigning += 1,
            }
            self.push(Output::Transmit(packet));
        }
        self.last_sent = Some(now);
    }

    // ---- announcements

    fn announce_first(&mut self, now: Instant) {
        self.announcing_since = Some(now);
        self.push(Output::Announce(Announcement::First));
        self.schedule_announcement(now, now);
    }

    fn announce_next(&mut self, now: Instant) {
        let Some(since) = self.announcing_since else { return };
        self.push(Output::Announce(self.next_announcement));
        self.schedule_announcement(now, since);
    }

    /// After a rival was heard the neighbours may have learnt the wrong one. Once the running series is over.
    fn announce_again(&mut self, now: Instant) {
        let running = |since: Instant| {
            let series =
                self.announcing.repeats.last().copied().unwrap_or_default().max(self.rules.interval());
            now.saturating_duration_since(since) < series
        };
        if !self.announcing_since.is_some_and(running) {
            self.announce_first(now);
        }
    }

    /// Repeats count from the first announcement, refreshes from the last one. Missed ones are not made up for.
    fn schedule_announcement(&mut self, now: Instant, since: Instant) {
        let elapsed = now.saturating_duration_since(since);
        let repeat = self.announcing.repeats.iter().find(|after| **after > elapsed);
        let (kind, at) = match (repeat, self.announcing.refresh) {
            (Some(after), _) => (Announcement::Repeat, since.checked_add(*after)),
            (None, Some(every)) => (Announcement::Refresh, now.checked_add(every)),
            (None, None) => (Announcement::Refresh, None),
        };
        self.next_announcement = kind;
        match at {
            Some(at) => self.deadlines.set(Timer::Announce, at),
            None => self.deadlines.stop(Timer::Announce),
        }
    }

    /// A driver that does not fetch loses the oldest packets first, role changes last.
    fn push(&mut self, output: Output) {
        if self.outputs.len() >= MAX_OUTPUTS {
            let expendable = |output: &Output| matches!(output, Output::Transmit(_) | Output::Announce(_));
            let victim = self.outputs.iter().position(expendable).unwrap_or(0);
            self.outputs.remove(victim);
            self.statistics.outputs_dropped += 1;
        }
        self.outputs.push_back(output);
    }
}
