//! Outside addresses of translations that lie in the network of an interface: without being on a device, nobody would
//! answer ARP for them. In a pair they belong to whoever is active, so they go with a virtual router.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use rempart_config::model::{Interface, InterfaceName, Model, NodeIndex, RouterId, SourceAddress};
use rempart_config::space::Family;

use super::own_networks;
use crate::Facts;

/// Most addresses of one outside network that are put on an interface one by one. A larger one-to-one network
/// is routed to the box by the provider, not answered for by ARP.
pub const MAX_ANSWERED_HOSTS: u128 = 256;

/// Who answers for an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carrier {
    /// The interface of the node, always.
    Node,
    /// The virtual router, while it is active.
    Router(RouterId),
    /// Nobody: both nodes of a pair would, and there is no virtual router to tell them apart. The reader warns of it.
    Nobody,
}

/// What is answered for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Answered {
    /// The interface of each address, and who answers.
    pub homes: Vec<(InterfaceName, IpAddr, Carrier)>,
    /// One-to-one networks that are too large for that.
    pub unanswered: BTreeSet<IpNet>,
}

impl Answered {
    /// The outside addresses that `model` uses and that no interface has anyway.
    pub fn of(model: &Model, node: NodeIndex, facts: &Facts) -> Self {
        let mut wanted: BTreeSet<IpAddr> = BTreeSet::new();
        let mut unanswered = BTreeSet::new();
        for one in &model.nat.one_to_one {
            let outside = one.outside.trunc();
            let host_bits = outside.max_prefix_len() - outside.prefix_len();
            if 1u128.checked_shl(host_bits.into()).is_none_or(|hosts| hosts > MAX_ANSWERED_HOSTS) {
                unanswered.insert(outside);
                continue;
            }
            wanted.extend(addresses_of(&outside));
        }
        wanted.extend(model.flows.iter().filter_map(|f| f.publish.as_ref()?.address));
        wanted.extend(model.nat.source.iter().filter_map(|s| match s.address {
            SourceAddress::Address(address) => Some(address),
            SourceAddress::Keep | SourceAddress::Interface => None,
        }));
        let networks: BTreeMap<&InterfaceName, Vec<IpNet>> = model
            .interfaces
            .iter()
            .map(|(name, i)| {
                let lease = facts.leases.get(name).filter(|_| i.dhcp);
                let virtuals = i.virtuals.iter().map(|v| v.address);
                (name, own_networks(node, i, lease).chain(virtuals).collect())
            })
            .collect();
        let taken: BTreeSet<IpAddr> = networks.values().flatten().map(IpNet::addr).collect();
        let homes = wanted.difference(&taken).filter_map(|address| {
            let (name, _) = networks.iter().find(|(_, nets)| nets.iter().any(|n| is_host_of(n, *address)))?;
            let interface = model.interfaces.get(*name)?;
            Some(((*name).clone(), *address, carrier(model, interface, *address)))
        });
        Self { homes: homes.collect(), unanswered }
    }
}

fn carrier(model: &Model, interface: &Interface, address: IpAddr) -> Carrier {
    let family = Family::of(address);
    match interface.routers.keys().find(|id| id.family == family) {
        Some(id) => Carrier::Router(*id),
        None if model.nodes.len() > 1 => Carrier::Nobody,
        None => Carrier::Node,
    }
}

/// Every address of a network, which the caller has found to be small.
fn addresses_of(net: &IpNet) -> Vec<IpAddr> {
    net.subnets(net.max_prefix_len()).map(|all| all.map(|one| one.addr()).collect()).unwrap_or_default()
}

/// Whether `address` can be a host in `net`: inside, and neither the network's nor the broadcast address.
fn is_host_of(net: &IpNet, address: IpAddr) -> bool {
    let reserved = address.is_ipv4()
        && net.prefix_len() < net.max_prefix_len() - 1
        && (address == net.network() || address == net.broadcast());
    net.contains(&address) && !reserved
}
