//! A pair is brought to a new version: one node after the other, the standby first.
//!
//! ```text
//!   for each node:   Fetch ──▶ HandOver ──▶ Restart ──▶ Settle ──▶ the next one, or done
//!                    it has    it is not    it runs     it has all
//!                    the file  active       it for good connections
//! ```
//!
//! The node on which the command was given owns the plan. It lies on disk there, because that node restarts in the middle of
//! it. Every step is left when it is seen to be done, not when it was ordered; so a plan that was interrupted anywhere goes on
//! from what it finds. Where a step does not come about the plan stops and says where: a node that was not restarted yet
//! stays as it is.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Version;

/// A node of the pair, from where the command was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// This one.
    Here,
    /// The other one.
    There,
}

impl Who {
    /// Both, beginning with this one.
    pub fn first(self) -> [Self; 2] {
        match self {
            Self::Here => [Self::Here, Self::There],
            Self::There => [Self::There, Self::Here],
        }
    }
}

/// What is being done with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It takes the update into its other slot.
    Fetch,
    /// It gives the role away.
    HandOver,
    /// It starts the new version, and that proves itself.
    Restart,
    /// It gets what the other node knows.
    Settle,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Fetch, Self::HandOver, Self::Restart, Self::Settle];

    /// How long it may take, in seconds: half a gigabyte over a slow cable and onto a slow disk; a hand-over of 2.5 s and
    /// what may be held back before it; three starts with a whole probation each; a million connections.
    pub const fn limit_s(self) -> u64 {
        match self {
            Self::Fetch => 1800,
            Self::HandOver => 120,
            Self::Restart => 1800,
            Self::Settle => 900,
        }
    }
}

/// After so many seconds an order that has had no effect is given again.
const AGAIN_S: u64 = 30;

/// A node as it is seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct View {
    /// What it runs.
    pub running: Version,
    /// That is still on trial.
    pub on_trial: bool,
    /// What its other slot holds, ready to start.
    pub staged: Option<Version>,
    /// What was tried last and did not stay.
    pub returned_from: Option<Version>,
    /// It has the role.
    pub active: bool,
    /// It hears the other node and both have the same connections and the same revision.
    pub synced: bool,
    /// Why the last attempt to take an update failed.
    pub failure: Option<String>,
}

/// What is to be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// This node is to take the update.
    Fetch(Who),
    /// This node is to give the role away.
    HandOver(Who),
    /// This node is to start the new version.
    Restart(Who),
}

/// Why a plan has stopped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "code", content = "about", rename_all = "kebab-case")]
pub enum Why {
    /// It took too long.
    Late,
    /// The node says that it cannot.
    Refused(String),
    /// The new version did not prove itself: the node has gone back.
    Returned,
    /// A person has stopped it.
    Stopped,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("it took too long"),
            Self::Refused(why) => f.write_str(why),
            Self::Returned => f.write_str("the new version did not prove itself, and the one before is back"),
            Self::Stopped => f.write_str("a person has stopped it"),
        }
    }
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Both nodes run the version for good.
    Done,
    /// It stopped with this node, in this phase. The fields of the plan say which.
    Stopped(Why),
}

/// The plan. It is all that has to be kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    version: Version,
    order: [Who; 2],
    /// Nodes that are done.
    done: usize,
    phase: Phase,
    /// Since when, in seconds since 1970.
    since_s: u64,
    asked_s: Option<u64>,
    end: Option<End>,
}

impl Plan {
    /// A plan that begins with `first`, the standby. This node has the update in its other slot already.
    pub fn new(version: Version, first: Who, now_s: u64) -> Self {
        let (phase, end) = (Phase::Fetch, None);
        Self { version, order: first.first(), done: 0, phase, since_s: now_s, asked_s: None, end }
    }

    /// What both nodes are brought to.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The node that it is about now, and what is being done with it.
    pub fn at(&self) -> (Who, Phase) {
        let [first, second] = self.order;
        (if self.done == 0 { first } else { second }, self.phase)
    }

    /// How it ended, once it has.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// A person wants no more of it. A node that is restarting goes on with that.
    pub fn stop(&mut self) {
        self.end.get_or_insert(End::Stopped(Why::Stopped));
    }

    /// An order was refused; while there is time it is given again.
    pub fn handle_refusal(&mut self, now_s: u64, why: String) {
        if self.elapsed(now_s) >= self.phase.limit_s() {
            self.end.get_or_insert(End::Stopped(Why::Refused(why)));
        }
    }

    /// Looks at both nodes (`there` is missing while the other one cannot be asked) and gives what is to be done now.
    pub fn advance(&mut self, now_s: u64, here: &View, there: Option<&View>) -> Option<Order> {
        // Each turn ends a phase, and there are four for each of two nodes.
        for _ in 0..=2 * Phase::ALL.len() {
            if self.end.is_some() {
                return None;
            }
            let (who, phase) = self.at();
            let (own, other) = match who {
                Who::Here => (Some(here), there),
                Who::There => (there, Some(here)),
            };
            match self.step(who, phase, own, other) {
                Step::Wait => return self.wait(now_s),
                Step::Order(order) => {
                    let is_due =
                        self.asked_s.is_none_or(|at| now_s.saturating_sub(at) >= AGAIN_S || now_s < at);
                    if self.wait(now_s).is_none() && self.end.is_none() && is_due {
                        self.asked_s = Some(now_s);
                        return Some(order);
                    }
                    return None;
                }
                Step::Go(phase) => self.enter(phase, now_s),
                Step::NodeDone => {
                    self.done += 1;
                    self.enter(Phase::Fetch, now_s);
                    if self.done == self.order.len() {
                        self.end = Some(End::Done);
                    }
                }
                Step::Stop(why) => self.end = Some(End::Stopped(why)),
            }
        }
        None
    }

    fn step(&self, who: Who, phase: Phase, own: Option<&View>, other: Option<&View>) -> Step {
        // A node that cannot be asked is waited for, whatever the phase: it may be starting.
        let Some(own) = own else { return Step::Wait };
        let runs_it = own.running == self.version;
        let ready = own.staged.as_ref() == Some(&self.version);
        let returned = own.returned_from.as_ref() == Some(&self.version);
        match phase {
            Phase::Fetch if runs_it => Step::Go(Phase::Restart),
            Phase::Fetch if ready => Step::Go(Phase::HandOver),
            Phase::Fetch => match (&own.failure, self.asked_s) {
                (Some(why), Some(_)) => Step::Stop(Why::Refused(why.clone())),
                (Some(_) | None, _) => Step::Order(Order::Fetch(who)),
            },
            Phase::HandOver if !own.active => Step::Go(Phase::Restart),
            // The other node has to be fit for it: it is asked again until it is.
            Phase::HandOver => match other {
                Some(other) if other.synced => Step::Order(Order::HandOver(who)),
                Some(_) | None => Step::Wait,
            },
            Phase::Restart if runs_it && own.on_trial => Step::Wait,
            Phase::Restart if runs_it => Step::Go(Phase::Settle),
            Phase::Restart if returned => Step::Stop(Why::Returned),
            // It has become active meanwhile: nothing that carries calls is restarted.
            Phase::Restart if own.active => Step::Go(Phase::HandOver),
            // Nor is anything while the other node is away, still proving itself, or without the role: somebody has to carry them.
            Phase::Restart => match other {
                Some(other) if other.active && !other.on_trial => Step::Order(Order::Restart(who)),
                Some(_) | None => Step::Wait,
            },
            Phase::Settle if !runs_it => Step::Stop(Why::Returned),
            Phase::Settle => match other {
                Some(other) if own.synced && other.synced => Step::NodeDone,
                Some(_) | None => Step::Wait,
            },
        }
    }

    fn wait(&mut self, now_s: u64) -> Option<Order> {
        // A clock that was set back begins the time anew.
        self.since_s = self.since_s.min(now_s);
        if self.elapsed(now_s) >= self.phase.limit_s() {
            self.end = Some(End::Stopped(Why::Late));
        }
        None
    }

    fn elapsed(&self, now_s: u64) -> u64 {
        now_s.saturating_sub(self.since_s)
    }

    fn enter(&mut self, phase: Phase, now_s: u64) {
        (self.phase, self.since_s, self.asked_s) = (phase, now_s, None);
    }
}

enum Step {
    Wait,
    Order(Order),
    Go(Phase),
    NodeDone,
    Stop(Why),
}
