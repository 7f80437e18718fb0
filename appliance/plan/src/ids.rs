//! Flow numbers: what connection marks, counters and the log know a flow by.
//!
//! A number stays with its flow for as long as the flow is known, also through a roll-back, and is not given
//! to another one: a connection that outlives ten edits still names the flow that admitted it.

use std::collections::{BTreeMap, BTreeSet};

use rempart_config::Model;
use serde::{Deserialize, Serialize};

/// Largest flow number: 24 bits of the connection mark.
pub const MAX_ID: u32 = 0x00ff_ffff;

/// How many flows of the past are remembered beside the present ones, so that a roll-back finds its numbers.
pub const MAX_REMEMBERED: usize = 100_000;

/// The numbers given so far. Belongs to the state of the node and is written with each revision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ids {
    next: u32,
    by_key: BTreeMap<String, u32>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { next: 1, by_key: BTreeMap::new() }
    }
}

impl Ids {
    /// These numbers and, for the flows of `model` that have none yet, new ones.
    pub fn assign(mut self, model: &Model) -> Self {
        let present: BTreeSet<&str> = model.flows.iter().map(|f| f.key.as_str()).collect();
        if self.by_key.len() > present.len() + MAX_REMEMBERED {
            self.by_key.retain(|key, _| present.contains(key.as_str()));
        }
        for flow in &model.flows {
            if !self.by_key.contains_key(&flow.key) {
                let id = self.take();
                self.by_key.insert(flow.key.clone(), id);
            }
        }
        self
    }

    /// The number of the flow with this key; 0 when it has none.
    pub fn of(&self, key: &str) -> u32 {
        self.by_key.get(key).copied().unwrap_or(0)
    }

    fn take(&mut self) -> u32 {
        let used: BTreeSet<u32> =
            if self.next > MAX_ID { self.by_key.values().copied().collect() } else { BTreeSet::new() };
        if self.next > MAX_ID {
            // After sixteen million flows the numbers start again, around those in use.
            self.next = (1..=MAX_ID).find(|n| !used.contains(n)).unwrap_or(MAX_ID);
        }
        let id = self.next;
        self.next += 1;
        while used.contains(&self.next) {
            self.next += 1;
        }
        id
    }
}
