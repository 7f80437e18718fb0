//! A document with everything that follows from it.

use std::sync::Arc;

use rempart_config::Model;
use rempart_config::space::AddressSet;
use rempart_plan::compile::CompileError;
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
}

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
    facts
}
