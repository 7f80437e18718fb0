//! A document with everything that follows from it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rempart_config::Model;
use rempart_config::space::{AddressSet, Family, Interval};
use rempart_plan::compile::CompileError;
use rempart_plan::nft::{Script, TABLE};
use rempart_plan::vpn::{LIVE4, LIVE6};
use rempart_plan::{Facts, Ids, Plan, Role};

use crate::random::Random;

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The document.
    pub text: String,
    /// What it means.
    pub model: Model,
    /// What else counts.
    pub facts: Facts,
    /// The numbers of the flows.
    pub ids: Ids,
    /// What the kernel should hold.
    pub plan: Plan,
}

impl Policy {
    /// Plans `model` for its first node in the active role.
    pub fn new(text: String, model: Model, facts: Facts, ids: Ids) -> Result<Self, CompileError> {
        let ids = ids.assign(&model);
        let plan = match model.nodes.first().and_then(|n| model.node(n.as_str())) {
            Some(node) => Plan::of(&model, node, Role::Active, &facts, &ids)?,
            None => unreachable!("a model has a node"),
        };
        Ok(Self { text, model, facts, ids, plan })
    }

    /// Puts those who are connected into the live sets, as `rempart-vpn` does.
    pub fn connect(&self) -> Option<Script> {
        let live = self.facts.live.as_ref().filter(|_| self.plan.world.vpn.is_some())?;
        let mut text = String::new();
        for (set, family) in [(LIVE4, Family::V4), (LIVE6, Family::V6)] {
            for Interval { lo, hi } in live.wide(family) {
                let range = match family {
                    Family::V4 => format!("{}-{}", Ipv4Addr::from(lo as u32), Ipv4Addr::from(hi as u32)),
                    Family::V6 => format!("{}-{}", Ipv6Addr::from(lo), Ipv6Addr::from(hi)),
                };
                text.push_str(&format!("add element inet {TABLE} {set} {{ {range} }}\n"));
            }
        }
        Some(Script { text, origins: Vec::new() })
    }
}

/// Who may be connected: single addresses, a network, and one behind a device that no document speaks of.
const CONNECTED: &[&str] = &[
    "10.77.1.5/32",
    "10.77.1.32/27",
    "10.77.2.2/31",
    "fd00:77:1::5/128",
    "fd00:77:1::40/122",
    "fd00:77:2::2/128",
    "192.168.99.0/24",
];

/// Facts for a random document: some flows are switched off, and the block lists have something in them.
pub fn facts(r: &mut Random, model: &Model) -> Facts {
    let mut facts = Facts::default();
    for flow in &model.flows {
        if r.chance(8) {
            facts.inactive.insert(flow.key.clone());
        }
    }
    for name in model.blocklists.keys() {
        let mut set = AddressSet::default();
        for net in
            ["192.0.2.32/27", "198.51.100.7/32", "192.168.10.11/32", "2001:db8:99:6::/64", "10.20.5.0/24"]
        {
            if r.chance(40)
                && let Ok(net) = net.parse()
            {
                set = set.union(&AddressSet::network(net));
            }
        }
        if r.chance(90) {
            facts.blocklists.insert(name.clone(), Arc::new(set));
        }
    }
    if model.vpn.is_some() {
        let live = CONNECTED.iter().filter(|_| r.chance(70)).filter_map(|net| net.parse().ok());
        facts.live = Some(AddressSet::union_of(&live.map(AddressSet::network).collect::<Vec<_>>()));
    }
    facts
}
