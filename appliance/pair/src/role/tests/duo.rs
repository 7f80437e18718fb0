//! Two nodes joined by two perfect paths: what needs both of them.

use std::time::{Duration, Instant};

use super::solo::{MS, config, endpoint};
use crate::NodeIndex;
use crate::heartbeat;
use crate::keys::Endpoint;
use crate::role::{Config, FailBack, Link, Node, Notice, Output, Purpose, Role, Start, Why};

const FLIGHT: Duration = Duration::from_micros(100);

struct Side {
    node: Node,
    endpoint: Endpoint,
    /// With the time in microseconds since the beginning.
    log: Vec<(u64, Output)>,
    /// Tokens of journals to flush, records to write: answered when the scene says so.
    flush: Option<u64>,
    flushes: bool,
    alive: bool,
}

struct Duo {
    began: Instant,
    now: Instant,
    sides: [Side; 2],
    /// When, to whom, over which path.
    flying: Vec<(Instant, usize, usize, Vec<u8>)>,
    cut: [bool; 2],
}

impl Duo {
    fn new(adjust: impl Fn(&mut Config)) -> Self {
        let now = Instant::now();
        let side = |index: NodeIndex| {
            let mut config = config(index);
            adjust(&mut config);
            let start = Start { paired: true, ..Start::default() };
            Side {
                node: Node::new(now, config, start),
                endpoint: endpoint(index, index.get() + 1),
                log: Vec::new(),
                flush: None,
                flushes: true,
                alive: true,
            }
        };
        let sides = [side(NodeIndex::First), side(NodeIndex::Second)];
        Self { began: now, now, sides, flying: Vec::new(), cut: [false; 2] }
    }

    /// Both run; the first one is active, both are synced.
    fn settled(adjust: impl Fn(&mut Config)) -> Self {
        let mut duo = Self::new(adjust);
        duo.pass(400 * MS);
        for side in &mut duo.sides {
            side.node.set_synced(duo.now, true);
        }
        assert_eq!(duo.roles(), [Role::Active, Role::Standby]);
        for side in &mut duo.sides {
            side.log.clear();
        }
        duo
    }

    fn roles(&self) -> [Role; 2] {
        [0, 1].map(|index: usize| self.sides[index].node.role().unwrap_or(Role::Starting))
    }

    fn us(&self) -> u64 {
        u64::try_from((self.now - self.began).as_micros()).unwrap()
    }

    fn settle(&mut self, index: usize) {
        let at = self.us();
        let side = &mut self.sides[index];
        while let Some(output) = side.node.poll_output() {
            match output {
                Output::Send { path, heartbeat } => {
                    let mut bytes = Vec::new();
                    side.endpoint.seal(&heartbeat.encode(), &mut bytes).unwrap();
                    if !self.cut[path] {
                        self.flying.push((self.now + FLIGHT, 1 - index, path, bytes));
                    }
                    continue;
                }
                Output::Drain => side.node.handle_drained(self.now),
                Output::Persist(record) => side.node.handle_persisted(self.now, record.epoch),
                Output::FlushJournal { token } if side.flushes => side.node.handle_flushed(self.now, token),
                Output::FlushJournal { token } => side.flush = Some(token),
                Output::HoldElectors { .. }
                | Output::BecomeActive { .. }
                | Output::BecomeStandby { .. }
                | Output::Announce
                | Output::Notice(_)
                | Output::Finished => {}
            }
            side.log.push((at, output));
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle(0);
        self.settle(1);
        loop {
            let timers =
                self.sides.iter().filter(|side| side.alive).filter_map(|side| side.node.poll_timeout());
            let next = timers.chain(self.flying.iter().map(|datagram| datagram.0)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if let Some(place) = self.flying.iter().position(|datagram| datagram.0 <= self.now) {
                let (_, to, path, mut bytes) = self.flying.remove(place);
                let side = &mut self.sides[to];
                if side.alive {
                    match heartbeat::receive(&mut side.endpoint, self.now, &mut bytes) {
                        Ok(heard) => side.node.handle_heartbeat(self.now, path, &heard),
                        Err(refusal) => side.node.handle_refused(self.now, path, &refusal),
                    }
                    self.settle(to);
                }
                continue;
            }
            for index in 0..2 {
                if self.sides[index].alive {
                    self.sides[index].node.handle_timeout(self.now);
                    self.settle(index);
                }
            }
        }
        self.now = end;
    }

    fn link(&mut self, index: usize, place: usize, up: bool) {
        self.sides[index].node.handle_link(self.now, Link::Path(place), up);
        self.sides[index].node.handle_link(self.now, Link::Monitor(place), up);
        self.cut[place] = !up;
        self.settle(index);
    }

    /// When the node did that for the first time since the log was emptied.
    fn at(&self, index: usize, what: impl Fn(&Output) -> bool) -> Option<u64> {
        self.sides[index].log.iter().find(|(_, output)| what(output)).map(|(at, _)| *at)
    }

    fn becomes_active(&self, index: usize, wanted: Why) -> Option<u64> {
        self.at(index, |output| matches!(output, Output::BecomeActive { why, .. } if *why == wanted))
    }

    fn becomes_standby(&self, index: usize, wanted: Why) -> Option<u64> {
        self.at(index, |output| matches!(output, Output::BecomeStandby { why } if *why == wanted))
    }

    fn moves(&self) -> usize {
        let is_move =
            |output: &Output| matches!(output, Output::BecomeActive { .. } | Output::BecomeStandby { .. });
        self.sides.iter().flat_map(|side| &side.log).filter(|(_, output)| is_move(output)).count()
    }
}

/// In: both nodes start in the same instant. Out: the first one is active at once, not after 300 ms, and alone.
#[test]
fn both_start_at_once() {
    let mut duo = Duo::new(|_| ());
    duo.pass(400 * MS);
    assert_eq!(duo.roles(), [Role::Active, Role::Standby]);
    assert!(duo.becomes_active(0, Why::Elected).is_some_and(|us| us < 25_000));
    assert_eq!(duo.at(1, |output| matches!(output, Output::BecomeActive { .. })), None);
}

/// In: the active node of a stable pair loses its power. Out: the other one is active 15 to 26 ms later, under the
/// next epoch, which has long been on disk.
#[test]
fn power_cut() {
    for offset in 0..10 {
        let mut duo = Duo::settled(|_| ());
        duo.pass(offset * MS);
        let cut = duo.us();
        duo.sides[0].alive = false;
        duo.flying.clear();
        duo.pass(50 * MS);
        let at = duo.becomes_active(1, Why::PeerSilent).unwrap();
        assert!((15_000..26_000).contains(&(at - cut)), "{} µs", at - cut);
        assert_eq!(duo.at(1, |output| matches!(output, Output::Persist(_))), None);
        assert_eq!(duo.sides[1].node.epoch(), 2);
    }
}

/// In: the active node loses one LAN cable. Out: the other one is active one flight later, told over the other path;
/// the first one keeps the role until it has heard so.
#[test]
fn one_cable() {
    let mut duo = Duo::settled(|_| ());
    duo.link(0, 1, false);
    let cut = duo.us();
    duo.pass(5 * MS);
    assert_eq!(duo.becomes_active(1, Why::PeerUnwell), Some(cut + 100));
    assert_eq!(duo.becomes_standby(0, Why::Unwell), Some(cut + 200));
    duo.pass(1_000 * MS);
    assert_eq!(duo.moves(), 2);
}

/// In: both lose the same LAN, the active one a millisecond earlier or later. Out: one move at most, then equal
/// ailments keep the role where it is.
#[test]
fn equal_ailments_move_nothing() {
    for active_first in [true, false] {
        let mut duo = Duo::settled(|_| ());
        let order = if active_first { [0, 1] } else { [1, 0] };
        duo.link(order[0], 1, false);
        duo.pass(MS);
        duo.link(order[1], 1, false);
        duo.pass(1_000 * MS);
        assert_eq!(duo.moves(), if active_first { 2 } else { 0 });
        assert_eq!(duo.roles().iter().filter(|role| **role == Role::Active).count(), 1);
    }
}

/// In: the sync cable is cut at one end, and put back. Out: the path says so; nothing moves.
#[test]
fn sync_cable_alone() {
    let mut duo = Duo::settled(|_| ());
    duo.sides[0].node.handle_link(duo.now, Link::Path(0), false);
    duo.sides[1].node.handle_link(duo.now, Link::Path(0), false);
    duo.cut[0] = true;
    duo.pass(500 * MS);
    let status = duo.sides[1].node.status(duo.now);
    assert_eq!(status.paths[0].state.name(), "no-carrier");
    assert_eq!(status.paths[1].state.name(), "up");
    assert_eq!(status.paths[1].rtt, Some(2 * FLIGHT));
    assert_eq!(duo.moves(), 0);
}

/// In: `switch`, with a journal that takes 20 ms. Out: offer, flush, grant, take-over, stand-down, in this order;
/// never nobody, never two for more than a flight.
#[test]
fn planned_switch() {
    let mut duo = Duo::settled(|_| ());
    duo.sides[0].flushes = false;
    duo.sides[0].node.switch(duo.now).unwrap();
    duo.pass(20 * MS);
    assert_eq!(duo.roles(), [Role::Active, Role::Standby]);
    assert_eq!(duo.moves(), 0);
    let token = duo.sides[0].flush.take().unwrap();
    let flushed = duo.us();
    duo.sides[0].node.handle_flushed(duo.now, token);
    duo.pass(5 * MS);
    assert_eq!(duo.becomes_active(1, Why::Command), Some(flushed + 100));
    assert_eq!(duo.becomes_standby(0, Why::Command), Some(flushed + 200));
    let done = Notice::HandOverDone { purpose: Purpose::Command };
    assert!(duo.at(0, |output| *output == Output::Notice(done)).is_some());
    assert_eq!(duo.sides[1].node.epoch(), 2);

    // And back, asked for at the node that is to take it.
    duo.sides[0].flushes = true;
    duo.sides[0].node.switch(duo.now).unwrap();
    duo.pass(5 * MS);
    assert_eq!(duo.roles(), [Role::Active, Role::Standby]);
    assert_eq!(duo.sides[0].node.epoch(), 3);
}

/// In: `maintenance on` at the active node, then off; then the other one fails. Out: the role moves and stays; a node
/// out of service does not take over; back in service it does.
#[test]
fn maintenance() {
    let mut duo = Duo::settled(|_| ());
    duo.sides[0].node.maintenance(duo.now, true).unwrap();
    duo.pass(50 * MS);
    assert_eq!(duo.roles(), [Role::Standby, Role::Active]);
    assert!(duo.sides[0].node.is_in_maintenance());
    assert!(duo.sides[1].node.switch(duo.now).is_err());
    duo.sides[1].alive = false;
    duo.pass(500 * MS);
    assert_eq!(duo.roles()[0], Role::Standby);
    duo.sides[0].node.maintenance(duo.now, false).unwrap();
    duo.pass(5 * MS);
    assert_eq!(duo.roles()[0], Role::Active);
}

/// In: the active node is shut down; then the other one, which is alone. Out: a hand-over, then the end; then the end
/// at once.
#[test]
fn shutdown() {
    let mut duo = Duo::settled(|_| ());
    duo.sides[0].node.shutdown(duo.now);
    duo.pass(5 * MS);
    let taken = duo.becomes_active(1, Why::PeerYielded).unwrap();
    let given = duo.becomes_standby(0, Why::Shutdown).unwrap();
    let finished = duo.at(0, |output| *output == Output::Finished).unwrap();
    assert!(taken < given && given <= finished);
    assert_eq!(duo.sides[0].log.last().unwrap().1, Output::Finished);
    duo.sides[0].alive = false;
    duo.pass(100 * MS);
    duo.sides[1].node.shutdown(duo.now);
    duo.settle(1);
    assert_eq!(duo.sides[1].log.last().unwrap().1, Output::Finished);
}

/// In: a standby that is shut down. Out: the active node knows at once, and nothing moves.
#[test]
fn shutdown_of_the_standby() {
    let mut duo = Duo::settled(|_| ());
    duo.sides[1].node.shutdown(duo.now);
    let at = duo.us();
    duo.pass(MS);
    assert_eq!(duo.at(0, |output| *output == Output::Notice(Notice::PeerLost)), Some(at + 100));
    assert_eq!(duo.moves(), 0);
}

/// In: a pair with fail-back after 200 ms; the first node was away and returns, not synced yet. Out: it takes its role
/// back 200 ms after it is synced, in order.
#[test]
fn fail_back() {
    let mut duo = Duo::settled(|config| config.failback = FailBack::Preferred { delay: 200 * MS });
    duo.link(0, 1, false);
    duo.pass(50 * MS);
    duo.link(0, 1, true);
    duo.sides[0].node.set_synced(duo.now, false);
    duo.pass(500 * MS);
    assert_eq!(duo.roles(), [Role::Standby, Role::Active]);
    duo.sides[0].node.set_synced(duo.now, true);
    let synced = duo.us();
    duo.pass(150 * MS);
    assert!(duo.sides[0].node.status(duo.now).failback_at.is_some());
    duo.pass(150 * MS);
    assert_eq!(duo.roles(), [Role::Active, Role::Standby]);
    let at = duo.becomes_active(0, Why::FailBack).unwrap();
    assert!((200_000..215_000).contains(&(at - synced)), "{}", at - synced);
    assert!(duo.at(1, |output| matches!(output, Output::FlushJournal { .. })).is_some());
}

/// In: all paths are cut for 300 ms, then heal. Out: two active nodes meanwhile; after the healing the one with the
/// lower epoch steps down within a heartbeat, and the other tells the neighbours again.
#[test]
fn split_and_heal() {
    let mut duo = Duo::settled(|_| ());
    duo.cut = [true; 2];
    duo.pass(300 * MS);
    assert_eq!(duo.roles(), [Role::Active, Role::Active]);
    duo.cut = [false; 2];
    let healed = duo.us();
    duo.pass(50 * MS);
    assert_eq!(duo.roles(), [Role::Standby, Role::Active]);
    let outranked = duo.becomes_standby(0, Why::Outranked).unwrap();
    assert!(outranked - healed <= 10_000 + 1_000 + 5 * 100, "{}", outranked - healed);
    assert!(duo.at(1, |output| *output == Output::Announce).is_some_and(|at| at >= healed));
    let alarm = |stays| Output::Notice(Notice::TwoActives { stays });
    assert!(duo.at(0, |output| *output == alarm(false)).is_some());
    assert!(duo.at(1, |output| *output == alarm(true)).is_some());
}

/// In: the programs of both nodes die while they are cut off and both active under the same epoch. Out: the second
/// one steps down.
#[test]
fn equal_epochs() {
    let mut duo = Duo::new(|_| ());
    duo.cut = [true; 2];
    duo.pass(400 * MS);
    assert_eq!(duo.roles(), [Role::Active, Role::Active]);
    assert_eq!(duo.sides[0].node.epoch(), duo.sides[1].node.epoch());
    duo.cut = [false; 2];
    duo.pass(50 * MS);
    assert_eq!(duo.roles(), [Role::Active, Role::Standby]);
}

/// In: the worker of the active node dies and is back 5 ms later, the kernel having kept the role. Out: nothing moves;
/// the peer learns that it was started anew.
#[test]
fn worker_restart() {
    let mut duo = Duo::settled(|_| ());
    duo.sides[0].alive = false;
    duo.pass(5 * MS);
    let epoch = duo.sides[0].node.epoch();
    let start =
        Start { record: crate::role::Record { epoch, maintenance: false }, paired: true, active: true };
    duo.sides[0].node = Node::new(duo.now, config(NodeIndex::First), start);
    duo.sides[0].endpoint = endpoint(NodeIndex::First, 9);
    duo.sides[0].alive = true;
    duo.pass(500 * MS);
    assert_eq!(duo.roles(), [Role::Active, Role::Standby]);
    assert!(duo.becomes_active(0, Why::Resumed).is_some());
    assert_eq!(duo.moves(), 1);
    assert_eq!(duo.sides[0].node.epoch(), epoch);
    assert!(duo.at(1, |output| *output == Output::Notice(Notice::PeerRestarted)).is_some());
    assert_eq!(duo.at(1, |output| *output == Output::Notice(Notice::PeerLost)), None);
}

/// In: a cable that comes and goes at alternating nodes every second. Out: after five moves they are held back, and said
/// to be; the next time for twice as long.
#[test]
fn flapping_is_damped() {
    let mut duo = Duo::settled(|_| ());
    let mut holds = Vec::new();
    for _ in 0..120 {
        let active = usize::from(duo.roles()[1] == Role::Active);
        duo.link(active, 1, false);
        duo.pass(500 * MS);
        duo.link(active, 1, true);
        duo.pass(500 * MS);
    }
    for side in &duo.sides {
        for (at, output) in &side.log {
            if let Output::Notice(Notice::Damped { until }) = output {
                holds.push((u64::try_from((*until - duo.began).as_micros()).unwrap() - at) / 1_000_000);
            }
        }
    }
    assert!(holds.contains(&5) && holds.contains(&10), "{holds:?}");
    let moves = duo.moves() / 2;
    assert!((10..40).contains(&moves), "{moves} moves in two minutes");
}

/// In: flapping until moves are held back, then a cable of the active node that stays dead. Out: the role moves after a second, not
/// at the end of the pause.
#[test]
fn what_stays_broken_is_not_held_back_for_long() {
    let mut duo = Duo::settled(|_| ());
    let active = |duo: &Duo| usize::from(duo.roles()[1] == Role::Active);
    let held = |duo: &Duo| {
        duo.sides.iter().any(|side| {
            side.log.iter().any(|(_, output)| matches!(output, Output::Notice(Notice::Damped { .. })))
        })
    };
    while !held(&duo) {
        let node = active(&duo);
        duo.link(node, 1, false);
        duo.pass(200 * MS);
        duo.link(node, 1, true);
        duo.pass(200 * MS);
    }
    let node = active(&duo);
    duo.link(node, 1, false);
    duo.pass(900 * MS);
    assert_eq!(active(&duo), node, "it may come back");
    duo.pass(200 * MS);
    assert_eq!(active(&duo), 1 - node);
}
