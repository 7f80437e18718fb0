//! What the machines want: the role put into force, adverts and announcements sent.

use std::time::Instant;

use rempart_pair::heartbeat::{Heartbeat, Intention};
use rempart_pair::role::{Notice, Output, PathState, Purpose, Why};
use vrrp_rs::elector::State;

use super::{CARRYING, DRAIN, Driver, HOLD_BACK, HandingOver, READY, Taking};
use crate::elector::news::Happening;
use crate::elector::router::{Router, Standing};
use crate::journal;

impl Driver {
    /// Does what the machines want until none wants anything.
    pub(super) fn settle(&mut self) {
        loop {
            let busy = self.settle_node();
            if !self.settle_routers() && !busy {
                return;
            }
        }
    }

    /// Does what the node wants; `false` if it wanted nothing.
    pub(super) fn settle_node(&mut self) -> bool {
        let mut busy = false;
        while let Some(output) = self.node.poll_output() {
            busy = true;
            self.act(output);
        }
        busy
    }

    pub(super) fn act(&mut self, output: Output) {
        match output {
            Output::HoldElectors { held } => self.hold(held),
            Output::BecomeActive { why, epoch } => self.take_over(why, epoch),
            Output::BecomeStandby { why } => self.stand_down(why),
            Output::Announce => self.announce_all(),
            Output::Drain => {
                for place in 0..self.ways.len() {
                    self.hear_way(place, DRAIN);
                }
                self.node.handle_drained(Instant::now());
            }
            Output::FlushJournal { token } => {
                // Where nobody keeps a journal, there is nothing to wait for.
                let journal = self.tell_journal(journal::Command::Flush(token));
                self.handing_over = Some(HandingOver { token, journal, vpn: Some(Instant::now() + READY) });
                self.role.hand_over(token);
            }
            Output::Persist(record) => self.recorder.record(record),
            Output::Send { path, heartbeat } => self.send(path, &heartbeat),
            Output::Notice(notice) => self.notice(notice),
            Output::Finished => self.finished = self.leaving,
        }
    }

    /// One of those that a hand-over waits for is ready.
    pub(super) fn ready(&mut self, done: impl FnOnce(&mut HandingOver)) {
        let Some(waiting) = &mut self.handing_over else { return };
        done(waiting);
        if let HandingOver { token, journal: false, vpn: None } = *waiting {
            self.handing_over = None;
            self.node.handle_flushed(Instant::now(), token);
        }
    }

    pub(super) fn hold(&mut self, held: bool) {
        let now = Instant::now();
        self.held = held;
        if !held {
            // Without a peer there is nobody else whose clients they could be.
            self.role.set(Some(0));
            self.active = false;
            (self.granting, self.resuming) = (false, false);
            self.taking = None;
        }
        for router in &mut self.routers {
            router.set_standing(now, if held { Standing::Standby } else { Standing::Free });
        }
    }

    /// One request to the kernel for all links and addresses; adverts and announcements only when that is done.
    pub(super) fn take_over(&mut self, why: Why, epoch: u64) {
        let decided = Instant::now();
        let ticket = self.hands.order(self.all_up.clone());
        self.taking = Some(Taking { ticket, why, epoch, decided });
        // What the VPN has to do for it, it may do while the links come up.
        self.role.set(Some(epoch));
        (self.active, self.granting, self.resuming) = (true, false, why == Why::Resumed);
        self.took_over = Some(decided);
    }

    /// Goes on with what has waited for links.
    pub(super) fn handle_done(&mut self) {
        if let Some(taking) = self.taking.take_if(|taking| self.hands.is_done(taking.ticket)) {
            self.took_over(&taking);
        }
        let hands = &self.hands;
        for (_, device) in
            self.raising.extract_if(.., |(ticket, _)| hands.is_done(*ticket)).collect::<Vec<_>>()
        {
            let place = self.routers.iter().position(|router| router.plan.device == device);
            if let Some(place) = place.filter(|place| self.routers[*place].state() == State::Active) {
                self.announce(place);
            }
        }
        self.agree();
    }

    fn took_over(&mut self, taking: &Taking) {
        let Taking { why, epoch, decided, .. } = *taking;
        let took = decided.elapsed();
        // Without a common request each router brings up its own.
        let is_up = !self.all_up.is_empty();
        for router in &mut self.routers {
            if let Some(machine) = router.machine.as_mut().filter(|m| m.elector.state() == State::Backup) {
                machine.is_up = is_up;
                machine.elector.claim(decided);
            }
        }
        self.settle_routers();
        for (path, heartbeat) in std::mem::take(&mut self.held_back) {
            self.send(path, &heartbeat);
        }
        self.tell_journal(journal::Command::Role { active: true });
        self.answer_switch(Ok(()));
        self.tell(Happening::Active { why, epoch, took });
    }

    /// Nothing more is sent in the virtual routers' name: the other node has it, and a farewell from their Ethernet address
    /// would lead the switches back here.
    pub(super) fn stand_down(&mut self, why: Why) {
        let now = Instant::now();
        self.role.set(None);
        (self.active, self.granting, self.resuming) = (false, false, false);
        self.held_back.clear();
        if self.taking.take().is_some() || self.routers.iter().any(Router::is_up) {
            self.hands.order(self.all_down.clone());
        }
        for router in &mut self.routers {
            if let Some(machine) = &mut router.machine {
                machine.is_up = false;
                machine.elector.resign(now);
            }
        }
        if self.peer_alive {
            self.hush_routers();
        }
        self.settle_routers();
        self.tell_journal(journal::Command::Role { active: false });
        self.tell(Happening::Standby { why });
    }

    pub(super) fn send(&mut self, path: usize, heartbeat: &Heartbeat) {
        self.granting = self.active && matches!(heartbeat.intention, Intention::Grant { .. });
        if self.taking.as_ref().is_some_and(|taking| taking.decided.elapsed() < HOLD_BACK) {
            self.held_back.retain(|(other, _)| *other != path);
            self.held_back.push((path, *heartbeat));
            return;
        }
        let (Some(endpoint), Some(way)) = (&mut self.endpoint, self.ways.get_mut(path)) else { return };
        // A session's counter is never used up; a heartbeat that could not be sealed is one not sent.
        if endpoint.seal(&heartbeat.encode(), &mut self.datagram).is_ok() {
            way.send(&self.datagram);
        }
        // One of a round is enough: the journal sends it over every path.
        let asked = self.carried.is_some_and(|at| at.elapsed() < CARRYING);
        if path == 0
            && (heartbeat.probe || asked)
            && let Some(journal) = &self.journal
            && endpoint.seal(&heartbeat.encode(), &mut self.datagram).is_ok()
        {
            journal.carry(self.datagram.as_slice().into());
        }
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        let mut name = None;
        match notice {
            Notice::Path { path, state } => {
                name = self.ways.get(path).map(|way| way.plan.interface.clone());
                self.tell_journal(journal::Command::Path { path, up: state == PathState::Up });
            }
            Notice::PeerLost => self.peer_alive = false,
            Notice::PeerBack => self.peer_alive = true,
            Notice::HandOverDone { purpose } => match purpose {
                Purpose::Command | Purpose::Maintenance => self.answer_switch(Ok(())),
                Purpose::Shutdown | Purpose::FailBack | Purpose::Unwell | Purpose::Election => {}
            },
            Notice::HandOverFailed { purpose, failure } => match purpose {
                Purpose::Command | Purpose::Maintenance => self.answer_switch(Err(failure)),
                Purpose::Shutdown | Purpose::FailBack | Purpose::Unwell | Purpose::Election => {}
            },
            Notice::PeerRestarted
            | Notice::TwoActives { .. }
            | Notice::Damped { .. }
            | Notice::HandOverBegun { .. }
            | Notice::Stalled { .. } => {}
        }
        self.tell(Happening::Node(notice, name));
    }

    /// Does what the virtual routers want; `false` if none wanted anything.
    pub(super) fn settle_routers(&mut self) -> bool {
        let mut busy = false;
        for place in 0..self.routers.len() {
            while let Some(output) = self.routers[place].poll_output() {
                busy = true;
                self.act_for(place, output);
            }
        }
        busy
    }

    pub(super) fn act_for(&mut self, place: usize, output: vrrp_rs::Output) {
        let (now, silent) = (Instant::now(), self.is_silent());
        let router = &mut self.routers[place];
        match output {
            vrrp_rs::Output::Transmit(packet) => {
                let (mac, dialect) = (router.mac(), router.dialect());
                let parent = &router.plan.parent;
                if let (Some(segment), false) =
                    (self.segments.iter_mut().find(|segment| segment.device == *parent), silent)
                {
                    segment.advertise(mac, dialect, &packet);
                }
            }
            vrrp_rs::Output::Announce(_) => self.announce(place),
            vrrp_rs::Output::Role(change) => {
                let happening = Happening::Router {
                    interface: router.plan.interface.clone(),
                    vrid: router.plan.vrid,
                    state: change.to,
                    cause: change.cause,
                };
                self.put_into_force(place);
                self.tell(happening);
            }
            vrrp_rs::Output::Drain => {
                let parent = router.plan.parent.clone();
                if let Some(segment) = self.segments.iter().position(|segment| segment.device == parent) {
                    self.hear_segment(segment, DRAIN);
                }
                if let Some(machine) = &mut self.routers[place].machine {
                    machine.elector.handle_drained(now);
                }
            }
            // Some other router had this address, and is silent now.
            vrrp_rs::Output::Overdue => {
                if let (Some(machine), true) = (&mut router.machine, self.held && self.active) {
                    machine.elector.claim(now);
                }
            }
        }
    }

    /// Brings the virtual link of one router to where its state wants it: the state now, for one that goes on after a
    /// restart has been a backup for no time at all.
    pub(super) fn put_into_force(&mut self, place: usize) {
        let Some(machine) = &mut self.routers[place].machine else { return };
        let wanted = match machine.elector.state() {
            State::Active => true,
            State::Initialize | State::Backup => false,
        };
        if machine.is_up == wanted {
            return;
        }
        machine.is_up = wanted;
        if wanted {
            self.raise(place);
        } else {
            self.hands.order(machine.down.clone());
        }
    }

    /// Has the virtual link of one router brought up, and the neighbours told when it is.
    pub(super) fn raise(&mut self, place: usize) {
        let router = &self.routers[place];
        if let Some(machine) = &router.machine {
            self.raising.push((self.hands.order(machine.up.clone()), router.plan.device.clone()));
        }
    }

    /// Whether nothing may be said in the name of the virtual routers, active or not.
    pub(super) fn is_silent(&self) -> bool {
        self.held && (self.granting || self.resuming)
    }

    /// Drops what the virtual routers would still say.
    pub(super) fn hush_routers(&mut self) {
        for place in 0..self.routers.len() {
            while let Some(output) = self.routers[place].poll_output() {
                match output {
                    vrrp_rs::Output::Transmit(_) => {}
                    vrrp_rs::Output::Role(_)
                    | vrrp_rs::Output::Announce(_)
                    | vrrp_rs::Output::Drain
                    | vrrp_rs::Output::Overdue => self.act_for(place, output),
                }
            }
        }
    }

    /// Of all routers; those that a rival had while the other node was out of hearing are taken back.
    pub(super) fn announce_all(&mut self) {
        let now = Instant::now();
        self.resuming = false;
        for place in 0..self.routers.len() {
            match (self.routers[place].state(), &mut self.routers[place].machine) {
                (State::Active, _) => self.announce(place),
                (State::Backup, Some(machine)) if self.held && self.active => machine.elector.claim(now),
                (State::Backup | State::Initialize, _) => {}
            }
        }
    }

    pub(super) fn announce(&mut self, place: usize) {
        let router = &self.routers[place];
        let is_coming = self.raising.iter().any(|(_, device)| *device == router.plan.device);
        if self.is_silent() || is_coming {
            return;
        }
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.device == router.plan.parent) {
            segment.send(&router.announcement);
        }
    }
}
