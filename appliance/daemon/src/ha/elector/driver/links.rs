//! What follows from links, carriers and addresses, and from gateways.

use std::collections::BTreeSet;
use std::time::Instant;

use rempart_pair::role::{Daemon, Link};
use rempart_system::linkwatch::LinkWatch;
use rempart_system::virtual_link::{Batch, VirtualLink};
use vrrp_rs::elector::State;

use super::{Driver, LINKS_GRACE, RETRY, is_paired};
use crate::elector::gateway::Borrowed;
use crate::elector::news::Happening;
use crate::elector::router::{Adapted, Obstacle, Router, Standing};
use crate::elector::segment::Segment;

impl Driver {
    /// Follows what has changed about links and addresses.
    pub(super) fn adapt(&mut self, now: Instant) {
        for place in 0..self.ways.len() {
            self.ways[place].adapt(&self.watch);
            self.node.handle_link(now, Link::Path(place), self.ways[place].carrier);
        }
        for place in 0..self.monitors.list.len() {
            let device = &self.monitors.list[place].plan.device;
            let running = self.watch.named(device).is_some_and(|link| link.running);
            self.node.handle_link(now, Link::Monitor(place), running);
        }
        // The role first: what a lost cable means for the node is more urgent than what it means for one router, and after a
        // start the other node is to hear of us before anything else, for some of it waits for locks of the kernel.
        self.settle();
        self.adapt_segments();
        self.adapt_routers(now);
        self.settle();
        self.agree();
    }

    pub(super) fn adapt_segments(&mut self) {
        let routers = self.routers.iter().map(|router| &router.plan.parent);
        let gateways = self.monitors.list.iter().filter(|monitor| monitor.plan.gateway.is_some());
        let devices: BTreeSet<_> =
            routers.chain(gateways.map(|monitor| &monitor.plan.device)).cloned().collect();
        let there = |device: &str, watch: &LinkWatch| watch.named(device).map(|link| link.index);
        let watch = &self.watch;
        self.segments.retain(|segment| {
            devices.contains(&segment.device) && there(&segment.device, watch) == Some(segment.index)
        });
        let mut failures = Vec::new();
        for device in devices {
            let open = self.segments.iter().any(|segment| segment.device == device);
            if let (false, Some(index)) = (open, there(&device, &self.watch)) {
                match Segment::open(&device, index) {
                    Ok(segment) => self.segments.push(segment),
                    Err(error) => failures.push(format!("no packet socket on {device}: {error}")),
                }
            }
        }
        for failure in failures {
            self.kernel(failure);
        }
    }

    pub(super) fn adapt_routers(&mut self, now: Instant) {
        let standing = match (self.held, self.active) {
            (false, _) => Standing::Free,
            (true, true) => Standing::Active,
            (true, false) => Standing::Standby,
        };
        let paired = is_paired(self.plan.as_ref(), self.keys.as_ref());
        let mut news = Vec::new();
        for router in &mut self.routers {
            if self.leaving {
                break;
            }
            match router.adapt(now, &self.watch, &self.secrets, standing, paired) {
                Adapted::Same => {}
                Adapted::Started | Adapted::Stopped => news.push(Happening::Obstacle {
                    interface: router.plan.interface.clone(),
                    vrid: router.plan.vrid,
                    why: router.obstacle.as_ref().map(Obstacle::to_string),
                }),
            }
        }
        news.into_iter().for_each(|happening| self.tell(happening));
        let links: Vec<VirtualLink> = self.routers.iter().filter_map(Router::link).cloned().collect();
        for (made, slot) in [(Batch::up(&links), &mut self.all_up), (Batch::down(&links), &mut self.all_down)]
        {
            // Too many for one request: the routers bring up their own, one after the other.
            *slot = made.unwrap_or_default();
        }
        self.judge_links(now);
    }

    /// Virtual links that should be there and are not make the node unfit, after a moment of patience.
    pub(super) fn judge_links(&mut self, now: Instant) {
        let obstacles = || self.routers.iter().filter_map(|router| router.obstacle.as_ref());
        let missing = obstacles().any(|obstacle| match obstacle {
            Obstacle::NoLink | Obstacle::OtherLink | Obstacle::NoSource | Obstacle::Plan(_) => true,
            // The health of the interface itself tells.
            Obstacle::NoParent | Obstacle::ParentDown => false,
        });
        self.retry = missing.then_some(now + RETRY);
        self.links_missing = missing.then(|| self.links_missing.unwrap_or(now));
        let unfit =
            self.links_missing.is_some_and(|since| now.saturating_duration_since(since) >= LINKS_GRACE);
        self.node.handle_daemon(now, Daemon::Links, !unfit);
    }

    pub(super) fn links_missing_at(&self) -> Option<Instant> {
        let now = Instant::now();
        self.links_missing.map(|since| since + LINKS_GRACE).filter(|at| *at > now)
    }

    /// Puts right what somebody else did to a virtual link.
    pub(super) fn agree(&mut self) {
        // What is being done, or is done and not yet taken notice of, must not surprise us. When it is, we are called again.
        if self.taking.is_some() || self.hands.is_busy() {
            return;
        }
        match self.watch.refresh() {
            Ok(changed) => self.unseen |= changed,
            Err(_) => return,
        }
        for place in 0..self.routers.len() {
            let Some(machine) = &self.routers[place].machine else { continue };
            let link = self.watch.links().find(|link| link.index == machine.link.index);
            let Some(link) = link else { continue };
            let complete = link.up && machine.link.addresses.iter().all(|net| link.addresses.contains(net));
            let clean = !link.up && link.addresses.is_empty();
            match (machine.is_up, complete, clean) {
                (true, true, _) | (false, _, true) => {}
                (true, false, _) => self.raise(place),
                (false, _, false) => drop(self.hands.order(machine.down.clone())),
            }
        }
    }

    pub(super) fn ask_gateways(&mut self, now: Instant) {
        let active =
            self.routers.iter().filter(|router| router.state() == State::Active && !self.is_silent());
        let borrowed: Vec<Borrowed<'_>> = active
            .filter_map(|router| {
                let address = router.plan.addresses.first()?.addr();
                Some(Borrowed { device: &router.plan.parent, mac: router.mac().0, address })
            })
            .collect();
        let mut changed = Vec::new();
        let questions =
            self.monitors.ask(now, &self.watch, &borrowed, |place, answers| changed.push((place, answers)));
        for question in questions {
            let on_device = |segment: &&mut Segment| segment.device == question.device;
            if let Some(segment) = self.segments.iter_mut().find(on_device) {
                segment.send(std::slice::from_ref(&question.frame));
            }
        }
        for (place, answers) in changed {
            self.gateway_changed(now, place, answers);
        }
    }

    pub(super) fn gateway_changed(&mut self, now: Instant, place: usize, answers: bool) {
        let interface = self.monitors.list.get(place).map(|monitor| monitor.plan.interface.clone());
        self.node.handle_gateway(now, place, answers);
        self.tell(Happening::Gateway { interface: interface.unwrap_or_default(), answers });
    }
}
