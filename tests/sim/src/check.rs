//! What must be true after each event.

use rempart_pair::role::{COPYING, Role, Why};

use crate::network::Network;
use crate::schedule::{Action, Kind, STABLE, Schedule};
use crate::site::{Life, Site};
use crate::{MS, Micros};

/// A node is audible if it has been sending over a good path for so long: the detection time, with room for a
/// session that had to prove itself first.
const AUDIBLE: Micros = 60 * MS;
/// Two nodes that hear each other are both active for so long at most: two heartbeats each way, with the lateness of
/// both schedulers. Longer than one heartbeat only where a program was restarted during the split, so that its session
/// has to prove itself.
const OVERLAP: Micros = 45 * MS;
/// Whoever has been running and plugged in for so long has listened long enough.
const LISTENED: Micros = 400 * MS;
/// A healthy node replaces one that has died within the detection time; what the dead one had sent may arrive late.
const REPLACED: Micros = 110 * MS;
/// A dead active node is replaced within the detection time (25 ms), the drivers' lateness and the network's delay.
const OUTAGE: Micros = 30 * MS;

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The run that shows it.
    pub seed: u64,
    /// When.
    pub at: Micros,
    /// What.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (ms, us) = (self.at / MS, self.at % MS);
        write!(formatter, "REMPART_SEED={} at {ms}.{us:03} ms: {}", self.seed, self.what)
    }
}

/// Remembers what the checks need.
#[derive(Debug, Default)]
pub struct Checks {
    /// Epochs told to be on disk, by node; and what that was when the program was last started.
    acknowledged: [u64; 2],
    floor: [u64; 2],
    /// Epochs claimed since then.
    claimed: [u64; 2],
    /// Since when the program of each has not been running.
    stopped: [Option<Micros>; 2],
    /// When a carrier or the maintenance of each last changed.
    pub touched: [Micros; 2],
    /// Since when nobody has been active.
    nobody_since: Option<Micros>,
    /// The longest time without an active node after the pair was stable.
    pub outage: Micros,
    /// Times a node became active after the pair was stable.
    pub moves: u32,
    /// The last move that no operator asked for.
    pub last_move: Micros,
    /// Times both were active and heard each other.
    pub rivalries: u32,
    rivals: bool,
}

impl Checks {
    /// A program starts.
    pub fn started(&mut self, node: usize) {
        self.floor[node] = self.acknowledged[node];
        self.claimed[node] = 0;
    }

    /// A program was told that this is on disk.
    pub fn persisted(&mut self, node: usize, epoch: u64) {
        self.acknowledged[node] = self.acknowledged[node].max(epoch);
    }

    /// A node has become active.
    pub fn claim(
        &mut self,
        at: Micros,
        sites: &[Site; 2],
        network: &Network,
        node: usize,
        why: Why,
        epoch: u64,
    ) -> Result<(), String> {
        if why == Why::Resumed {
            return Ok(());
        }
        match why {
            // An operator may wait for a slow disk or journal for some seconds.
            Why::Command | Why::Maintenance => {}
            Why::Start
            | Why::Resumed
            | Why::Elected
            | Why::PeerSilent
            | Why::PeerYielded
            | Why::PeerUnwell
            | Why::Unwell
            | Why::Outranked
            | Why::FailBack
            | Why::Shutdown
            | Why::Isolated => self.last_move = at,
        }
        if at >= STABLE {
            self.moves += 1;
        }
        // Epochs never go back, whatever dies.
        if epoch <= self.floor[node] || epoch <= self.claimed[node] {
            return Err(format!(
                "node {node} claims epoch {epoch}, having claimed {} and written {}",
                self.claimed[node], self.floor[node]
            ));
        }
        self.claimed[node] = epoch;
        match why {
            // Given by the other one, which may be active until it hears of it.
            Why::Command | Why::Maintenance | Why::FailBack | Why::PeerUnwell | Why::PeerYielded => Ok(()),
            Why::PeerSilent | Why::Elected => {
                let other = &sites[1 - node];
                let since = at.saturating_sub(AUDIBLE);
                let heard = network.both_ways_since().is_some_and(|good| good <= since);
                if heard && other.kernel_active && other.active_since <= since && other.ran_since(since) {
                    // I2: our own sleep is no excuse.
                    return Err(format!("node {node} claims ({why:?}) beside a living active node"));
                }
                Ok(())
            }
            Why::Start | Why::Resumed | Why::Outranked | Why::Unwell | Why::Shutdown | Why::Isolated => {
                Err(format!("node {node} becomes active because of {why:?}"))
            }
        }
    }

    /// After each event.
    pub fn after(&mut self, at: Micros, sites: &[Site; 2], network: &Network) -> Result<(), String> {
        let [first, second] = sites;
        let both = first.kernel_active && second.kernel_active;
        let run = first.life == Life::Running && second.life == Life::Running;
        if let (true, true, Some(good)) = (both, run, network.both_ways_since()) {
            let began = [first, second]
                .into_iter()
                .map(|site| site.active_since.max(site.running_since))
                .fold(good, Micros::max);
            self.rivalries += u32::from(!std::mem::replace(&mut self.rivals, true));
            if at - began > OVERLAP {
                return Err(format!("two active nodes since {} ms", (at - began) / MS));
            }
        } else {
            self.rivals = false;
        }
        for (site, other) in [(first, second), (second, first)] {
            let dead = other.life != Life::Running || other.finished;
            let slot = &mut self.stopped[other.index];
            let Some(stopped) = dead.then(|| *slot.get_or_insert(at)) else {
                *slot = None;
                continue;
            };
            let ready = site.running_since.max(self.touched[site.index]);
            // Whoever had not got everything when it last heard the other one waits longer.
            let copying = COPYING.as_micros() as Micros;
            let complete = site.synced_since.is_some_and(|since| since + copying < stopped);
            let patience = if complete { REPLACED } else { REPLACED + copying };
            let due = (stopped + patience).max(ready + LISTENED);
            if site.life == Life::Running
                && at > due
                && !site.kernel_active
                && site.may_serve(&carriers(network, site))
            {
                // I2: while a healthy node exists there is an active one.
                return Err(format!(
                    "node {} lets a dead one be active for {} ms",
                    site.index,
                    (at - stopped) / MS
                ));
            }
        }
        if first.kernel_active || second.kernel_active {
            if let Some(since) = self.nobody_since.take().filter(|_| at > STABLE) {
                self.outage = self.outage.max(at - since.max(STABLE));
            }
        } else {
            self.nobody_since.get_or_insert(at);
        }
        Ok(())
    }

    /// When the run is over.
    pub fn end(
        &mut self,
        at: Micros,
        schedule: &Schedule,
        sites: &[Site; 2],
        network: &Network,
    ) -> Result<(), String> {
        let healthy: Vec<&Site> = sites
            .iter()
            .filter(|site| {
                site.life == Life::Running && !site.finished && site.has_link(&carriers(network, site))
            })
            .collect();
        let active = healthy.iter().filter(|site| site.kernel_active).count();
        let meet = network.both_ways_since().is_some();
        match (healthy.len(), active) {
            (0, _) | (_, 1) => {}
            // No way between them.
            (2, 2) if !meet => {}
            (_, count) => return Err(format!("{count} active nodes in the end")),
        }
        for site in sites {
            let role = site.node.as_ref().and_then(|node| node.role());
            if site.life == Life::Running && (role == Some(Role::Active)) != site.kernel_active {
                return Err(format!(
                    "node {} is {role:?}, its links are up: {}",
                    site.index, site.kernel_active
                ));
            }
        }
        if let (true, [one, other]) = (meet, healthy.as_slice()) {
            let health = |site: &Site| site.node.as_ref().map(|node| node.health());
            let (worse, better) = if one.kernel_active { (one, other) } else { (other, one) };
            if let (Some(worse), Some(better)) = (health(worse), health(better))
                && better.is_better_than(&worse)
                && schedule.kind == Kind::OneFault
            {
                return Err("the ill node is active".into());
            }
        }
        let nobody = self.nobody_since.map_or(0, |since| at - since.max(STABLE));
        self.outage = self.outage.max(nobody);
        self.by_kind(at, schedule, !healthy.is_empty())
    }

    fn by_kind(&self, at: Micros, schedule: &Schedule, anybody: bool) -> Result<(), String> {
        let dies = schedule.actions.iter().any(|(at, action)| {
            *at >= STABLE && matches!(action, Action::Shutdown { .. } | Action::Kill { .. })
        });
        match schedule.kind {
            Kind::Stable if self.moves > 0 => Err(format!("{} moves in a stable network", self.moves)),
            Kind::OneFault if self.moves > 1 => Err(format!("{} moves after one fault", self.moves)),
            Kind::OneFault if anybody && self.outage > OUTAGE + schedule.lateness => {
                Err(format!("nobody active for {} ms after one fault", self.outage / MS))
            }
            Kind::Planned if !dies && self.outage > 0 => {
                Err(format!("nobody active for {} µs in a planned move", self.outage))
            }
            Kind::Chaos
            | Kind::OneFault
            | Kind::Planned
            | Kind::Stable
            | Kind::Splits
            | Kind::Freezes
            | Kind::Restarts => {
                // Whatever has happened: once all is quiet, the role rests.
                let rest = 1_000 * MS;
                if at - self.last_move < rest && schedule.failback == rempart_pair::role::FailBack::Stay {
                    return Err("the role does not come to rest".into());
                }
                Ok(())
            }
        }
    }
}

fn carriers(network: &Network, site: &Site) -> Vec<bool> {
    network.paths.iter().map(|path| path.carriers[site.index]).collect()
}
