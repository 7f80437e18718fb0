//! What the other threads want: the document, the keys, the operator.

use std::time::Instant;

use rempart_pair::role::{CommandRefused, Failure, PathState, Record, Role};
use rempart_plan::ha::{HaPlan, RouterPlan};
use tokio::sync::oneshot;
use vrrp_rs::elector::State;

use super::{Driver, config, endpoint, is_paired, was_active};
use crate::elector::gateway::Monitors;
use crate::elector::news::{RouterPicture, Snapshot};
use crate::elector::paths::Way;
use crate::elector::router::{Obstacle, Router};
use crate::elector::{Command, Refusal};
use crate::journal;
use crate::keystore::PairKeys;
use crate::secrets::Secrets;

impl Driver {
    pub(super) fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Configure(plan, secrets) => self.take_plan(now, plan.map(|plan| *plan), secrets),
            Command::Keys(keys) => self.take_keys(now, keys.map(|keys| *keys)),
            Command::Switch(reply) => {
                let asked = self.node.switch(now);
                self.answer_later(asked, reply);
            }
            Command::Maintenance(on, reply) => {
                let hands_over = on && self.active;
                let asked = self.node.maintenance(now, on);
                match (&asked, hands_over) {
                    (Ok(()), true) | (Err(_), _) => self.answer_later(asked, reply),
                    (Ok(()), false) => drop(reply.send(Ok(()))),
                }
            }
            Command::Shutdown => {
                self.leaving = true;
                self.node.shutdown(now);
            }
            Command::Observe(reply) => drop(reply.send(self.snapshot(now))),
            Command::Journal(journal) => self.take_journal(now, journal),
            Command::Persisted(Record { epoch, .. }) => self.node.handle_persisted(now, epoch),
            Command::Flushed(token) => self.ready(|waiting| waiting.journal &= waiting.token != token),
            Command::Ready(token) => {
                self.ready(|waiting| waiting.vpn = waiting.vpn.filter(|_| waiting.token != token));
            }
            Command::Synced(synced, position) => {
                self.node.set_position(position);
                self.node.set_synced(now, synced);
            }
            Command::Carried { path, datagram } => self.hear_carried(path, datagram),
            Command::Revision(revision, lineage) => self.node.set_configuration(revision, lineage),
            Command::Daemon(daemon, runs) => self.node.handle_daemon(now, daemon, runs),
        }
    }

    pub(super) fn answer_later(
        &mut self,
        asked: Result<(), CommandRefused>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    ) {
        match asked {
            Ok(()) => self.switching = Some(reply),
            Err(refused) => drop(reply.send(Err(Refusal::Refused(refused)))),
        }
    }

    pub(super) fn answer_switch(&mut self, result: Result<(), Failure>) {
        if let Some(reply) = self.switching.take() {
            // Whoever asked may not wait any more.
            let _ = reply.send(result.map_err(Refusal::Failed));
        }
    }

    pub(super) fn take_keys(&mut self, now: Instant, keys: Option<PairKeys>) {
        let was = is_paired(self.plan.as_ref(), self.keys.as_ref());
        self.keys = keys;
        match endpoint(self.keys.as_ref()) {
            Ok(endpoint) => self.endpoint = endpoint,
            Err(error) => self.kernel(format!("no random bytes for a session: {error}")),
        }
        self.pair(now, was, true);
        self.adapt(now);
    }

    /// Tells the node whether it has a partner. `anew`: with other keys.
    pub(super) fn pair(&mut self, now: Instant, was: bool, anew: bool) {
        match (was, is_paired(self.plan.as_ref(), self.keys.as_ref())) {
            (false, true) => {
                let active = self.routers.iter().any(|router| router.state() == State::Active)
                    || was_active(self.plan.as_ref(), &self.watch);
                self.node.pair(now, active);
            }
            (true, true) if anew => self.node.pair(now, self.active),
            (true, true) | (false, false) => {}
            (true, false) => self.node.unpair(now),
        }
        self.settle();
    }

    /// The document asks for something else. What is as before is not touched.
    pub(super) fn take_plan(&mut self, now: Instant, plan: Option<HaPlan>, secrets: Secrets) {
        let was = is_paired(self.plan.as_ref(), self.keys.as_ref()) && self.plan.is_some();
        let started = self.plan.is_none() && self.held;
        let changed_secrets = secrets != self.secrets;
        self.secrets = secrets;
        let mut old_routers = std::mem::take(&mut self.routers);
        let mut old_ways = std::mem::take(&mut self.ways);
        if let Some(plan) = &plan {
            for wanted in &plan.paths {
                let known = old_ways.iter().position(|way| way.plan == *wanted);
                let way = known.map(|place| old_ways.swap_remove(place));
                self.ways.push(way.unwrap_or_else(|| Way::new(wanted.clone())));
            }
            for wanted in &plan.routers {
                let known = old_routers.iter().position(|router| router.plan.device == wanted.device);
                let old = known.map(|place| old_routers.swap_remove(place));
                match old {
                    Some(old) if old.plan == *wanted && !(changed_secrets && old.needs_secret()) => {
                        self.routers.push(old);
                    }
                    old => self.replace_router(now, wanted, old),
                }
            }
        }
        self.dismiss(now, old_routers);
        let monitors = plan.as_ref().map(|plan| plan.monitors.clone()).unwrap_or_default();
        let same = monitors.iter().eq(self.monitors.list.iter().map(|monitor| &monitor.plan));
        if !same {
            self.monitors = Monitors::new(now, monitors);
        }
        self.plan = plan;
        self.node.reconfigure(now, config(self.plan.as_ref()));
        for place in 0..self.monitors.list.len() {
            self.node.handle_gateway(now, place, self.monitors.list[place].answers);
        }
        if !started {
            self.pair(now, was, false);
        }
        self.adapt(now);
    }

    pub(super) fn replace_router(&mut self, now: Instant, wanted: &RouterPlan, old: Option<Router>) {
        match Router::new(wanted.clone()) {
            Ok(router) => {
                if let Some(batch) = old.as_ref().and_then(|old| router.given_up(old)) {
                    self.hands.order(batch);
                }
                self.routers.push(router);
            }
            Err(obstacle) => {
                self.kernel(format!("virtual router {} on {}: {obstacle}", wanted.vrid, wanted.interface));
                self.dismiss(now, old.into_iter().collect());
            }
        }
    }

    /// Routers that the document asks for no more say farewell, and their links go down.
    pub(super) fn dismiss(&mut self, now: Instant, routers: Vec<Router>) {
        let kept = std::mem::replace(&mut self.routers, routers);
        for router in &mut self.routers {
            if let Some(machine) = &mut router.machine {
                machine.elector.shutdown(now);
            }
        }
        self.settle_routers();
        self.routers = kept;
    }

    /// A new journal is told what the one before has heard.
    pub(super) fn take_journal(&mut self, now: Instant, journal: Option<journal::Handle>) {
        self.journal = journal;
        for (path, status) in self.node.status(now).paths.iter().enumerate() {
            self.tell_journal(journal::Command::Path { path, up: status.state == PathState::Up });
        }
        match self.node.role() {
            Some(Role::Active) => self.tell_journal(journal::Command::Role { active: true }),
            Some(Role::Standby) => self.tell_journal(journal::Command::Role { active: false }),
            Some(Role::Starting) | None => false,
        };
    }

    pub(super) fn snapshot(&self, at: Instant) -> Snapshot {
        Snapshot {
            plan: self.plan.clone(),
            paired: is_paired(self.plan.as_ref(), self.keys.as_ref()),
            node: self.node.status(at),
            routers: self.routers.iter().map(picture).collect(),
        }
    }
}

fn picture(router: &Router) -> RouterPicture {
    let machine = router.machine.as_ref();
    RouterPicture {
        interface: router.plan.interface.clone(),
        vrid: router.plan.vrid,
        dialect: router.dialect(),
        addresses: router.plan.addresses.iter().map(|net| net.addr().to_string()).collect(),
        state: router.state(),
        active_router: machine.and_then(|machine| machine.elector.active_router()),
        statistics: machine.map(|machine| *machine.elector.statistics()).unwrap_or_default(),
        obstacle: router.obstacle.as_ref().map(Obstacle::code),
    }
}
