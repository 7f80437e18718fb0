//! Two routers between the hosts of the laboratory, ours or the peer's, and what is done to them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::Signal;
use rempart_kernel_tests::node::Failure;
use rempart_lab::traffic::States;
use rempart_lab::{Lab, Node, Topology, wait_until};

use super::peers::{Peer, Setting};

/// The routers, the preferred one first.
pub const ROUTERS: [&str; 2] = ["rte01", "rte02"];
/// The virtual addresses.
pub const WAN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
pub const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 254);
/// A client that connections are written for.
const BUSY_CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 200);
/// How long roles, and the replication of some hundred thousand connections, may take.
const ROLES: Duration = Duration::from_secs(30);
const REPLICATION: Duration = Duration::from_secs(120);

/// Whose pair it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Product {
    /// Ours.
    Ours,
    /// keepalived and conntrackd.
    Peer(Setting),
}

enum Programs {
    Ours(Box<[Node; 2]>),
    Peers(Box<[Peer; 2]>),
}

/// A pair at work.
pub struct Pair {
    // Ends before the laboratory does.
    programs: Programs,
    /// The laboratory.
    pub lab: Lab,
    /// Connections written so far.
    written: u32,
}

impl Pair {
    /// Brings one up; returns when one node is active and the other its standby.
    pub fn up(product: Product, folder: &Path) -> Result<Self, Failure> {
        Self::with(product, folder, "")
    }

    /// The same, where our document goes on with `more`.
    pub fn with(product: Product, folder: &Path, more: &str) -> Result<Self, Failure> {
        let file = folder.join("pair.toml");
        fs::write(&file, document() + more)?;
        let lab = Lab::builder().topology(Topology::of_document(&file)?).up()?;
        let programs = match product {
            Product::Ours => {
                let nodes = [lab.start_node(ROUTERS[0])?, lab.start_node(ROUTERS[1])?];
                nodes[0].commit(&file, "bench")?;
                nodes[0].wait_for_role()?;
                lab.pair(&nodes[0], &nodes[1])?;
                Programs::Ours(Box::new(nodes))
            }
            Product::Peer(setting) => {
                let peers = [Peer::start(&lab, 0, setting)?, Peer::start(&lab, 1, setting)?];
                Programs::Peers(Box::new(peers))
            }
        };
        let pair = Self { programs, lab, written: 0 };
        pair.wait_for_roles()?;
        Ok(pair)
    }

    /// A node of ours.
    pub fn node(&self, number: usize) -> Result<&Node, Failure> {
        match &self.programs {
            Programs::Ours(nodes) => Ok(&nodes[number]),
            Programs::Peers(_) => Err("the peer has no programs of ours".into()),
        }
    }

    /// Which node is active: its place among [`ROUTERS`]. Two or none is an error.
    pub fn active(&self) -> Result<usize, Failure> {
        match self.actives().as_slice() {
            [one] => Ok(*one),
            [] => Err("no node is active".into()),
            _ => Err("both nodes are active".into()),
        }
    }

    fn actives(&self) -> Vec<usize> {
        let is_active = |i: usize| match &self.programs {
            Programs::Ours(nodes) => nodes[i].ha_status().is_ok_and(|s| s.role == "active"),
            Programs::Peers(peers) => peers[i].is_active(),
        };
        (0..2).filter(|i| is_active(*i)).collect()
    }

    /// Writes connections into the active's table until there are `count`, and waits until the standby has them.
    pub fn load(&mut self, count: u32) -> Result<(), Failure> {
        let active = self.active()?;
        let states = States {
            count: count.saturating_sub(self.written),
            skip: self.written,
            client: BUSY_CLIENT,
            translated: WAN,
            mark: 0,
        };
        self.lab.host(ROUTERS[active]).add_states(&states)?;
        self.written = self.written.max(count);
        self.wait_for_standby(1 - active)
    }

    /// Waits until a node holds all connections that were written.
    fn wait_for_standby(&self, standby: usize) -> Result<(), Failure> {
        let wanted = u64::from(self.written);
        let tracked = |node: usize| self.lab.host(ROUTERS[node]).tracked();
        let held = || match &self.programs {
            Programs::Ours(_) => Ok(tracked(standby)?),
            Programs::Peers(peers) => peers[standby].holds(),
        };
        let end = Instant::now() + REPLICATION;
        loop {
            let there = held()?;
            if there >= wanted {
                return Ok(());
            }
            if Instant::now() > end {
                let active = tracked(1 - standby)?;
                let text =
                    format!("{there} connections at the standby and {active} at the active, of {wanted}");
                return Err(text.into());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The power of a node fails.
    pub fn power_off(&self, node: usize) -> Result<(), Failure> {
        Ok(self.lab.power_off(ROUTERS[node])?)
    }

    /// Kills the elector on a node: with ours the process that works, which is started again by the one beside it.
    pub fn kill_elector(&self, node: usize) -> Result<(), Failure> {
        match &self.programs {
            Programs::Ours(_) => {
                self.lab.signal(ROUTERS[node], "rempart-ha", Some("--worker"), Signal::SIGKILL)?
            }
            Programs::Peers(_) => self.lab.kill9(ROUTERS[node], "keepalived")?,
        };
        Ok(())
    }

    /// The role moves to the other node in order. Returns when it has.
    pub fn hand_over(&mut self) -> Result<(), Failure> {
        let active = self.active()?;
        match &mut self.programs {
            Programs::Ours(nodes) => nodes[active].switch()?,
            Programs::Peers(peers) => peers[active].hand_over()?,
        }
        if !wait_until(ROLES, || self.active().is_ok_and(|a| a != active)) {
            return Err("the role did not move".into());
        }
        Ok(())
    }

    /// Everything as it was before the fault but for who is active: powers on, mends cables, starts what was killed, and
    /// waits until the standby has all connections again.
    pub fn recover(&mut self, node: usize, fault: Fault) -> Result<(), Failure> {
        let name = ROUTERS[node];
        match fault {
            Fault::PowerCut => {
                self.lab.power_on(name)?;
                match &mut self.programs {
                    Programs::Ours(nodes) => nodes[node].boot()?,
                    Programs::Peers(peers) => peers[node].boot()?,
                }
            }
            Fault::Cable => self.lab.mend(name, "lan")?,
            Fault::Kill => {
                if let Programs::Peers(peers) = &mut self.programs {
                    // A killed keepalived leaves its addresses, which only a person or the next start takes away.
                    peers[node].start_keepalived()?;
                }
            }
            Fault::Planned => {
                if let Programs::Peers(peers) = &mut self.programs {
                    peers[node].start_keepalived()?;
                }
            }
        }
        self.wait_for_roles()?;
        match &self.programs {
            Programs::Ours(nodes) => self.lab.wait_for_sync(&nodes[0], &nodes[1])?,
            // conntrackd asks for what it has not only after keepalived has told it that it is the standby.
            Programs::Peers(_) => thread::sleep(Duration::from_millis(1500)),
        }
        self.wait_for_standby(1 - self.active()?)
    }

    fn wait_for_roles(&self) -> Result<(), Failure> {
        // Both look like standbys at first, and two actives may be about to settle it.
        let mut since: Option<(usize, Instant)> = None;
        let settled = wait_until(ROLES, || {
            since = match (self.active(), since) {
                (Ok(now), Some((before, at))) if now == before => Some((now, at)),
                (Ok(now), _) => Some((now, Instant::now())),
                (Err(_), _) => None,
            };
            since.is_some_and(|(_, at)| at.elapsed() > Duration::from_millis(500))
        });
        if settled { Ok(()) } else { Err(format!("active: {:?}", self.actives()).into()) }
    }

    /// How many times a node became active so far.
    pub fn take_overs(&self) -> Result<u64, Failure> {
        Ok(match &self.programs {
            Programs::Ours(nodes) => {
                let epochs =
                    nodes.iter().map(|n| Ok(n.ha_status()?.epoch)).collect::<Result<Vec<_>, Failure>>()?;
                epochs.into_iter().max().unwrap_or(0)
            }
            Programs::Peers(peers) => peers.iter().map(|p| p.take_overs() as u64).sum(),
        })
    }
}

/// What happens to the active node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Everything of it goes at once.
    PowerCut,
    /// Its cable to the LAN is pulled.
    Cable,
    /// Its elector is killed.
    Kill,
    /// Its role is handed over.
    Planned,
}

/// Our document: the same addresses, filter and translation as the peer's.
fn document() -> String {
    let mut text = String::from("version = 1\n\n[pair]\nnodes = [\"rte01\", \"rte02\"]\nsync = \"sync\"\n\n");
    let legs = [
        ("wan", "enp1s0", "203.0.113.", 2, Some((WAN.to_string(), 1))),
        ("lan", "enp2s0", "192.168.10.", 1, Some((LAN.to_string(), 10))),
        ("dmz", "enp3s0", "192.168.20.", 1, Some(("192.168.20.254".into(), 20))),
        ("sync", "enp4s0", "169.254.77.", 1, None),
    ];
    for (name, device, net, first, virtual_router) in legs {
        let len = if name == "sync" { 30 } else { 24 };
        let second = first + 1;
        let _ = writeln!(
            text,
            "[interface.{name}]\ndevice = \"{device}\"\n\
             address = {{ rte01 = \"{net}{first}/{len}\", rte02 = \"{net}{second}/{len}\" }}"
        );
        if let Some((address, vrid)) = virtual_router {
            let _ = writeln!(
                text,
                "zone = \"{name}\"\nvirtual = {{ address = \"{address}/24\", vrid = {vrid} }}"
            );
        }
        if name == "wan" {
            text += "gateway = \"203.0.113.1\"\n";
        }
        text.push('\n');
    }
    text + "[zone.wan]\nblock_private = false\n\n\
            [[flow]]\nfrom = \"lan\"\nto = \"wan\"\nallow = [\"any\"]\n\n\
            [[flow]]\nfrom = \"lan\"\nto = \"firewall\"\nallow = [\"ping\"]\n\n\
            [[flow]]\nfrom = \"wan\"\nto = \"dmz:192.168.20.11\"\nallow = [\"tcp/7000\"]\npublish = true\n"
}

#[cfg(test)]
mod tests {
    /// In: our document, and the same with remote access. Out: they are valid, without a warning.
    #[test]
    fn the_document_is_valid() {
        for more in ["", crate::vpn::failover::DOCUMENT] {
            let reading = rempart_config::read(&(super::document() + more));
            assert!(reading.model.is_some() && reading.diagnostics.is_empty(), "{:?}", reading.diagnostics);
        }
    }
}
