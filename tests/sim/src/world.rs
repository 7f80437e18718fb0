//! One run: the queue of events, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use rempart_pair::role::{Link, Output, Record};

use crate::check::{Checks, Violation};
use crate::network::{Datagram, Network};
use crate::random::Random;
use crate::schedule::{Action, Schedule};
use crate::site::{Life, Site, Wish, instant};
use crate::{Bug, MS, Micros};

/// Events of a run, at most: a run has some ten thousand. More is a storm of messages.
const MAX_EVENTS: u64 = 400_000;

#[derive(Debug)]
enum Event {
    Act(Action),
    Arrive(Datagram),
    Wake { node: usize },
    Persisted { node: usize, boot: u64, record: Record },
    Flushed { node: usize, boot: u64, token: u64 },
}

struct Queued {
    at: Micros,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What a run without violation was like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Events handled.
    pub events: u64,
    /// Times a node became active after the start.
    pub moves: u32,
    /// The longest time without an active node after the start.
    pub outage: Micros,
    /// Times both were active and heard each other.
    pub rivalries: u32,
}

/// Two sites and the network between them.
pub struct World {
    base: Instant,
    at: Micros,
    random: Random,
    schedule: Schedule,
    bug: Bug,
    sites: [Site; 2],
    /// When each is to be woken; events of other times are stale.
    wake: [Option<Micros>; 2],
    /// When the disk of each will have written everything.
    written: [Micros; 2],
    network: Network,
    queue: BinaryHeap<Reverse<Queued>>,
    number: u64,
    checks: Checks,
    wishes: Vec<Wish>,
    /// Prints what happens.
    trace: bool,
}

impl World {
    /// Ready to run.
    pub fn new(schedule: Schedule, bug: Bug, trace: bool) -> Self {
        let sites = [Site::new(0, &schedule), Site::new(1, &schedule)];
        let mut world = Self {
            base: Instant::now(),
            at: 0,
            random: Random::new(schedule.seed.rotate_left(32)),
            network: Network::new(schedule.paths),
            bug,
            sites,
            wake: [None; 2],
            written: [0; 2],
            queue: BinaryHeap::new(),
            number: 0,
            checks: Checks::default(),
            wishes: Vec::new(),
            schedule,
            trace,
        };
        for index in 0..world.schedule.actions.len() {
            let (at, action) = world.schedule.actions[index];
            world.push(at, Event::Act(action));
        }
        world
    }

    /// Runs to the end, or to the first violation.
    pub fn run(mut self) -> Result<Outcome, Violation> {
        let mut events = 0;
        while let Some(Reverse(Queued { at, event, .. })) = self.queue.pop() {
            if at > self.schedule.end {
                break;
            }
            self.at = at;
            events += 1;
            let done = if events > MAX_EVENTS { Err("a storm of events".into()) } else { self.handle(event) };
            done.and_then(|()| self.checks.after(at, &self.sites, &self.network))
                .map_err(|what| self.violation(what))?;
        }
        self.at = self.schedule.end;
        self.checks
            .end(self.at, &self.schedule, &self.sites, &self.network)
            .map_err(|what| self.violation(what))?;
        let Checks { moves, outage, rivalries, .. } = self.checks;
        Ok(Outcome { events, moves, outage, rivalries })
    }

    fn violation(&self, what: String) -> Violation {
        Violation { seed: self.schedule.seed, at: self.at, what }
    }

    fn push(&mut self, at: Micros, event: Event) {
        self.number += 1;
        self.queue.push(Reverse(Queued { at, number: self.number, event }));
    }

    fn now(&self) -> Instant {
        instant(self.base, self.at)
    }

    fn carriers(&self, node: usize) -> Vec<bool> {
        self.network.paths.iter().map(|path| path.carriers[node]).collect()
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        let now = self.now();
        match event {
            Event::Act(action) => self.act(action),
            Event::Arrive(datagram) => {
                let to = datagram.to;
                if self.sites[to].receive(now, datagram) { self.settle(to) } else { Ok(()) }
            }
            Event::Wake { node } => {
                if self.wake[node] != Some(self.at) || self.sites[node].life != Life::Running {
                    return Ok(());
                }
                self.wake[node] = None;
                self.run_timers(node)?;
                self.settle(node)
            }
            Event::Persisted { node, boot, record } => {
                if self.sites[node].boot != boot || self.sites[node].life == Life::Dead {
                    // The power went before it was written; it may have been.
                    if self.schedule.lucky_disk && record.epoch > self.sites[node].disk.epoch {
                        self.sites[node].disk = record;
                    }
                    return Ok(());
                }
                if self.bug != Bug::NoDisk {
                    self.sites[node].disk = record;
                }
                self.checks.persisted(node, record.epoch);
                if let Some(machine) = &mut self.sites[node].node {
                    machine.handle_persisted(now, record.epoch);
                }
                self.settle(node)
            }
            Event::Flushed { node, boot, token } => {
                if self.sites[node].boot != boot || self.sites[node].life == Life::Dead {
                    return Ok(());
                }
                if let Some(machine) = &mut self.sites[node].node {
                    machine.handle_flushed(now, token);
                }
                self.settle(node)
            }
        }
    }

    fn run_timers(&mut self, node: usize) -> Result<(), String> {
        let now = self.now();
        if self.bug != Bug::NoStallGuard {
            if let Some(machine) = &mut self.sites[node].node {
                machine.handle_timeout(now);
            }
            return Ok(());
        }
        // As if each timer had been run when it was due.
        while let Some(machine) = &mut self.sites[node].node {
            let Some(due) = machine.poll_timeout().filter(|due| *due <= now) else { break };
            machine.handle_timeout(due);
            self.perform(node, due)?;
        }
        Ok(())
    }

    /// Does what the node wants, then sees when it is to be woken.
    fn settle(&mut self, node: usize) -> Result<(), String> {
        if self.sites[node].life != Life::Running {
            return Ok(());
        }
        self.perform(node, self.now())?;
        let Some(due) = self.sites[node].node.as_ref().and_then(|machine| machine.poll_timeout()) else {
            return Ok(());
        };
        let due = u64::try_from(due.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX);
        let due = due.max(self.at + 1);
        if self.wake[node].is_none_or(|wake| wake < self.at || due < wake) {
            let lateness = self.random.below(self.schedule.lateness + 1);
            // Usually on time.
            let lateness = if self.random.permille(100) { lateness } else { lateness.min(50) };
            self.wake[node] = Some(due + lateness);
            self.push(due + lateness, Event::Wake { node });
        }
        Ok(())
    }

    fn perform(&mut self, node: usize, now: Instant) -> Result<(), String> {
        let mut wishes = std::mem::take(&mut self.wishes);
        self.sites[node].drain(now, self.at, self.bug, &mut wishes);
        let mut done = Ok(());
        for wish in wishes.drain(..) {
            done = done.and(self.grant(node, wish));
        }
        self.wishes = wishes;
        done
    }

    fn grant(&mut self, node: usize, wish: Wish) -> Result<(), String> {
        let boot = self.sites[node].boot;
        match wish {
            Wish::Send(datagram) => {
                let arrivals = self.network.send(self.at, &mut self.random, &datagram);
                for at in arrivals.into_iter().flatten() {
                    self.push(at, Event::Arrive(datagram.clone()));
                }
                Ok(())
            }
            Wish::Persist(record) => {
                let after = self.random.between(self.schedule.fsync / 5, self.schedule.fsync);
                // One writer, in order.
                let at = self.written[node].max(self.at + after);
                self.written[node] = at;
                self.push(at, Event::Persisted { node, boot, record });
                Ok(())
            }
            Wish::Flush(token) => {
                if let Some(longest) = self.schedule.flush {
                    let after = self.random.below(longest + 1);
                    self.push(self.at + after, Event::Flushed { node, boot, token });
                }
                Ok(())
            }
            Wish::Role(output) => {
                if self.trace {
                    println!("{:>9.3} node {node}: {output:?}", self.at as f64 / MS as f64);
                }
                match output {
                    Output::BecomeActive { why, epoch } => {
                        self.checks.claim(self.at, &self.sites, &self.network, node, why, epoch)
                    }
                    Output::BecomeStandby { .. }
                    | Output::HoldElectors { .. }
                    | Output::Announce
                    | Output::Drain
                    | Output::FlushJournal { .. }
                    | Output::Persist(_)
                    | Output::Send { .. }
                    | Output::Notice(_)
                    | Output::Finished => Ok(()),
                }
            }
        }
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        let now = self.now();
        if self.trace && action != Action::Replay {
            println!("{:>9.3} {action:?}", self.at as f64 / MS as f64);
        }
        if let Action::Carrier { node, .. }
        | Action::Monitor { node, .. }
        | Action::Maintenance { node, .. } = action
        {
            self.checks.touched[node] = self.at;
        }
        match action {
            Action::Way { path, to, way } => {
                self.network.paths[path].ways[to] = way;
                self.network.note(self.at);
                Ok(())
            }
            Action::Carrier { path, node, up } => {
                self.network.paths[path].carriers[node] = up;
                self.network.note(self.at);
                self.command(node, |machine| machine.handle_link(now, Link::Path(path), up))
            }
            Action::Monitor { node, monitor, up } => {
                self.sites[node].monitors[monitor] = up;
                self.command(node, |machine| machine.handle_link(now, Link::Monitor(monitor), up))
            }
            Action::Gateway { node, monitor, answers } => {
                self.command(node, |machine| machine.handle_gateway(now, monitor, answers))
            }
            Action::Freeze { node, machine } => {
                if self.sites[node].life == Life::Running {
                    self.sites[node].life = Life::Frozen { machine };
                }
                Ok(())
            }
            Action::Thaw { node } => self.thaw(node),
            Action::Kill { node, machine } => {
                self.sites[node].kill(machine);
                self.wake[node] = None;
                Ok(())
            }
            Action::Start { node } => {
                // Also what has ended by itself is started again.
                if self.sites[node].finished {
                    self.sites[node].kill(false);
                }
                if self.sites[node].life != Life::Dead {
                    return Ok(());
                }
                let carriers = self.carriers(node);
                self.sites[node].start(now, self.at, &mut self.random, &self.schedule, &carriers);
                self.checks.started(node);
                self.wake[node] = None;
                self.settle(node)
            }
            Action::Switch { node } => self.command(node, |machine| _ = machine.switch(now)),
            Action::Maintenance { node, on } => {
                self.command(node, |machine| _ = machine.maintenance(now, on))
            }
            Action::Shutdown { node } => self.command(node, |machine| machine.shutdown(now)),
            Action::Synced { node, synced } => {
                if self.sites[node].life == Life::Running {
                    self.sites[node].synced_since = synced.then_some(self.at);
                }
                self.command(node, |machine| machine.set_synced(now, synced))
            }
            Action::Replay => {
                let tape = &self.network.tape;
                if tape.is_empty() {
                    return Ok(());
                }
                let mut datagram = tape[self.random.below(tape.len() as u64) as usize].clone();
                datagram.path = self.random.below(self.schedule.paths as u64) as usize;
                if self.random.coin() {
                    datagram.to = 1 - datagram.to;
                }
                self.push(self.at, Event::Arrive(datagram));
                Ok(())
            }
        }
    }

    /// Hands something to a program. While it sleeps, it learns nothing; what lasts it sees when it wakes.
    fn command(
        &mut self,
        node: usize,
        tell: impl FnOnce(&mut rempart_pair::role::Node),
    ) -> Result<(), String> {
        if self.sites[node].life != Life::Running {
            return Ok(());
        }
        if let Some(machine) = &mut self.sites[node].node {
            tell(machine);
        }
        self.settle(node)
    }

    fn thaw(&mut self, node: usize) -> Result<(), String> {
        let Life::Frozen { .. } = self.sites[node].life else { return Ok(()) };
        let now = self.now();
        let carriers = self.carriers(node);
        let site = &mut self.sites[node];
        site.life = Life::Running;
        site.running_since = self.at;
        if self.schedule.timers_first {
            self.run_timers(node)?;
            self.perform(node, now)?;
            self.sites[node].read_inbox(now);
        } else {
            self.sites[node].read_inbox(now);
            self.run_timers(node)?;
        }
        let site = &mut self.sites[node];
        if let Some(machine) = &mut site.node {
            for (path, up) in carriers.iter().enumerate() {
                machine.handle_link(now, Link::Path(path), *up);
            }
            for (monitor, up) in site.monitors.iter().enumerate() {
                machine.handle_link(now, Link::Monitor(monitor), *up);
            }
        }
        self.wake[node] = None;
        self.settle(node)
    }
}
