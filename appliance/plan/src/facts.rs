//! What the plan depends on besides the document: leases, resolved names, the contents of lists, and which
//! flows the calendar has switched off. The daemon gathers facts and plans again whenever one changes; the
//! ruleset therefore holds plain addresses and never asks the time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Zoned;
use rempart_config::model::{Fqdn, HostSet, InterfaceName, Model, Name, Schedule, VpnGroup};
use rempart_config::space::AddressSet;
use serde::{Deserialize, Serialize};

/// Everything that changes while the document stays the same.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Facts {
    /// Flows, by key, that are expired or outside their schedule.
    pub inactive: BTreeSet<String>,
    /// What the DHCP servers gave.
    pub leases: BTreeMap<InterfaceName, Lease>,
    /// What the names in `[host]` resolve to: the last good answer.
    pub names: BTreeMap<Fqdn, AddressSet>,
    /// What the files of the block lists contain. Shared: they can hold half a million networks.
    pub blocklists: BTreeMap<Name, Arc<AddressSet>>,
    /// Who is connected by remote access, where that is asked; `None`: whoever may be. The ruleset does not depend on
    /// it: the kernel looks into sets that `rempart-vpn` fills.
    pub live: Option<AddressSet>,
}

/// A DHCP lease (RFC 2131), as far as the plan needs it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// The address and its network.
    pub address: IpNet,
    /// The default gateway (option 3).
    pub gateway: Option<IpAddr>,
    /// The name servers (option 6).
    pub dns: Vec<IpAddr>,
}

impl Facts {
    /// The addresses of `hosts` now. A name that was never resolved has none.
    pub fn resolve(&self, model: &Model, hosts: &HostSet) -> AddressSet {
        let set = if hosts.is_fixed() {
            hosts.fixed.clone()
        } else {
            let pools = hosts.vpn_groups.iter().filter_map(|g| model.vpn_groups.get(g));
            let pools: Vec<_> = pools.map(VpnGroup::addresses).collect();
            let named = hosts.names.iter().filter_map(|n| self.names.get(n));
            AddressSet::union_of([&hosts.fixed].into_iter().chain(named).chain(&pools))
        };
        if hosts.negated { set.complement() } else { set }
    }

    /// Whether `address` is one of `hosts` now.
    pub fn contains(&self, model: &Model, hosts: &HostSet, address: IpAddr) -> bool {
        let mut pools = hosts.vpn_groups.iter().filter_map(|g| model.vpn_groups.get(g));
        let mut named = hosts.names.iter().filter_map(|n| self.names.get(n));
        let listed = hosts.fixed.contains(address)
            || pools.any(|g| g.pools().any(|pool| pool.contains(&address)))
            || named.any(|s| s.contains(address));
        listed != hosts.negated
    }
}

/// The keys of the flows that are not in force at `now`, which must be in the document's time zone.
pub fn inactive_flows(model: &Model, now: &Zoned) -> BTreeSet<String> {
    let expired = |f: &rempart_config::model::Flow| f.expires.is_some_and(|last| now.date() > last);
    let off = |f: &rempart_config::model::Flow| {
        f.schedule.as_ref().and_then(|s| model.schedules.get(s)).is_some_and(|s| !in_force(s, now))
    };
    model.flows.iter().filter(|f| expired(f) || off(f)).map(|f| f.key.clone()).collect()
}

/// Whether a schedule is in force at `now`. Wall-clock times are compared, so that 08:00 is 08:00 on both
/// sides of a change to summer time; an hour that occurs twice is in force twice.
pub fn in_force(schedule: &Schedule, now: &Zoned) -> bool {
    let today = now.weekday().to_monday_zero_offset() as u8;
    let yesterday = (today + 6) % 7;
    let time = now.time();
    schedule.windows.iter().any(|w| {
        if w.start < w.end {
            w.days.contains(&today) && w.start <= time && time < w.end
        } else {
            (w.days.contains(&today) && w.start <= time) || (w.days.contains(&yesterday) && time < w.end)
        }
    })
}
