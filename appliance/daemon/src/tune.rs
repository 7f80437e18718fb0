//! Sets the machine for its traffic, after a document has come into force: what is decided stands in `rempart_plan::tuning`.
//!
//! Nothing here decides about packets, so nothing that fails is more than a warning.

use std::collections::BTreeSet;

use rempart_config::Model;
use rempart_plan::net::{LinkKind, Network};
use rempart_plan::tuning::tuning;
use rempart_system::{cards, sysctl};
use tracing::{info, warn};

/// Sets what is not so already.
pub fn tune(model: &Model, network: &Network) {
    let physical = network.links.iter().filter(|(_, link)| link.kind == LinkKind::Physical);
    let devices: BTreeSet<String> = physical.map(|(device, _)| device.to_string()).collect();
    let machine = match cards::machine(&devices) {
        Ok(machine) => machine,
        Err(error) => {
            warn!(%error, "the machine cannot be looked at: it keeps its settings for traffic");
            return;
        }
    };
    let tuning = tuning(&machine);
    if model.system.max_connections.is_none() {
        // As many places as connections keeps the chains at one entry; the order matters, see docs/throughput.md.
        set("net/netfilter/nf_conntrack_buckets", tuning.connections.get());
        set("net/netfilter/nf_conntrack_max", tuning.connections.get());
    }
    set("net/core/netdev_max_backlog", tuning.backlog);
    for card in &tuning.cards {
        match cards::set(card) {
            Ok(done) => done.iter().for_each(|what| info!(what, "set for traffic")),
            Err(error) => {
                warn!(device = card.device, %error, "a network card cannot be set; it works as it is")
            }
        }
    }
}

/// Only the first network namespace may write these; a lab has another.
fn set(key: &str, value: u32) {
    let (key, value) = (key.to_owned(), value.to_string());
    let now = sysctl::observe([&key]).unwrap_or_default();
    if now.get(&key).is_none_or(|now| *now == value) {
        return;
    }
    match sysctl::write(&key, &value) {
        Ok(()) => info!(key, value, "set for traffic"),
        Err(error) => warn!(%error, "the machine keeps a setting for traffic as it is"),
    }
}
