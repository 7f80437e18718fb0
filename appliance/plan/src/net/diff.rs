//! From what was observed to what is wanted: the steps, in an order in which the kernel accepts them and in which
//! as little as possible is interrupted.
//!
//! ```text
//! routes that go · addresses that must go first · leave bonds and bridges · devices that go
//! settings of the node · MTU · new devices · settings of devices · join bonds and bridges · up
//! new addresses · old addresses · new routes · forwarding
//! ```
//! An address is added before the one that it replaces is removed: with the last IPv4 address of a device the
//! kernel drops every route through it (`fib_disable_ip`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use rempart_config::model::Device;
use serde::{Deserialize, Serialize};

use super::{Address, LinkKind, Need, Network, NextHop, Observed, RouteKey, Sysctl};

/// Switched on last, so that nothing is forwarded on the way there.
const FORWARDING: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// One change of the node's network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Creates a device, down, with our alias.
    CreateLink {
        /// Its name.
        device: Device,
        /// What it is made of; never physical.
        kind: LinkKind,
        /// Its MTU in bytes, where not the kernel's choice.
        mtu: Option<u32>,
    },
    /// Deletes a device of our own.
    DeleteLink {
        /// Its name.
        device: Device,
        /// What it is made of.
        kind: LinkKind,
        /// Its MTU in bytes.
        mtu: Option<u32>,
    },
    /// Puts a device into a bond or bridge, or takes it out.
    SetMaster {
        /// The device.
        device: Device,
        /// Where it was.
        from: Option<Device>,
        /// Where it goes.
        to: Option<Device>,
    },
    /// Changes the MTU, in bytes.
    SetMtu {
        /// The device.
        device: Device,
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// Switches a device on or off.
    SetUp {
        /// The device.
        device: Device,
        /// On.
        up: bool,
    },
    /// Adds an address.
    AddAddress(Address),
    /// Removes an address.
    RemoveAddress(Address),
    /// Adds a route.
    AddRoute {
        /// Which.
        key: RouteKey,
        /// Where it leads.
        hop: NextHop,
    },
    /// Changes where a route leads, without a moment in which there is none.
    ReplaceRoute {
        /// Which.
        key: RouteKey,
        /// Before.
        from: NextHop,
        /// After.
        to: NextHop,
    },
    /// Removes a route.
    DeleteRoute {
        /// Which.
        key: RouteKey,
        /// Where it led.
        hop: NextHop,
    },
    /// Changes a kernel setting.
    SetSysctl {
        /// The path below `/proc/sys`.
        key: String,
        /// Before; `None` for a device that is created by the same steps, where the setting may also turn out
        /// not to exist.
        from: Option<String>,
        /// After.
        to: String,
    },
}

impl Step {
    /// What takes it back; `None` where taking back the creation of the device does.
    pub fn undo(&self) -> Option<Step> {
        self.facets().0
    }

    /// Why it is done, in a few words.
    pub fn reason(&self) -> &'static str {
        self.facets().1
    }

    fn facets(&self) -> (Option<Step>, &'static str) {
        match self.clone() {
            Self::CreateLink { device, kind, mtu } => {
                (Some(Self::DeleteLink { device, kind, mtu }), "the document describes it")
            }
            Self::DeleteLink { device, kind, mtu } => (
                Some(Self::CreateLink { device, kind, mtu }),
                "ours, and no longer as the document describes it",
            ),
            Self::SetMaster { device, from, to } => {
                let reason = match to {
                    Some(_) => "the document makes it a member",
                    None => "it is no longer a member there",
                };
                (Some(Self::SetMaster { device, from: to, to: from }), reason)
            }
            Self::SetMtu { device, from, to } => {
                (Some(Self::SetMtu { device, from: to, to: from }), "the document sets the MTU")
            }
            Self::SetUp { device, up } => {
                let reason = match up {
                    true => "the document uses it",
                    false => "it must be down to change hands or to go",
                };
                (Some(Self::SetUp { device, up: !up }), reason)
            }
            Self::AddAddress(address) => {
                let reason = match address.shared {
                    true => "address translation answers for it",
                    false => "the document or a lease gives it to this node",
                };
                (Some(Self::RemoveAddress(address)), reason)
            }
            Self::RemoveAddress(address) => (
                Some(Self::AddAddress(address)),
                "neither the document nor a lease gives it to this node now",
            ),
            Self::AddRoute { key, hop } => {
                (Some(Self::DeleteRoute { key, hop }), "the document or a lease gives it")
            }
            Self::ReplaceRoute { key, from, to } => {
                (Some(Self::ReplaceRoute { key, from: to, to: from }), "it leads elsewhere now")
            }
            Self::DeleteRoute { key, hop } => {
                (Some(Self::AddRoute { key, hop }), "ours, and no longer given, or its device changes")
            }
            Self::SetSysctl { key, from, to } => {
                let undo = from.map(|from| Self::SetSysctl { key, from: Some(to), to: from });
                (undo, "the kernel should behave as a firewall")
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateLink { device, kind, mtu: Some(mtu) } => {
                write!(f, "create {device}: {kind}, MTU {mtu}")
            }
            Self::CreateLink { device, kind, mtu: None } => write!(f, "create {device}: {kind}"),
            Self::DeleteLink { device, kind, .. } => write!(f, "delete {device} ({kind})"),
            Self::SetMaster { device, to: Some(master), .. } => write!(f, "put {device} into {master}"),
            Self::SetMaster { device, from: Some(master), to: None } => {
                write!(f, "take {device} out of {master}")
            }
            Self::SetMaster { device, from: None, to: None } => write!(f, "leave {device} by itself"),
            Self::SetMtu { device, from, to } => write!(f, "set the MTU of {device} from {from} to {to}"),
            Self::SetUp { device, up: true } => write!(f, "switch {device} on"),
            Self::SetUp { device, up: false } => write!(f, "switch {device} off"),
            Self::AddAddress(a) => write!(f, "add {} to {}", a.net, a.device),
            Self::RemoveAddress(a) => write!(f, "remove {} from {}", a.net, a.device),
            Self::AddRoute { key, hop } => write!(f, "add route {key} {hop}"),
            Self::ReplaceRoute { key, from, to } => write!(f, "change route {key} from {from} to {to}"),
            Self::DeleteRoute { key, hop } => write!(f, "delete route {key} {hop}"),
            Self::SetSysctl { key, from: Some(from), to } => write!(f, "set {key} from {from} to {to}"),
            Self::SetSysctl { key, from: None, to } => write!(f, "set {key} to {to}"),
        }
    }
}

/// What the plan asks for and the node cannot give. The rest of the plan goes on without it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "missing")]
pub enum Missing {
    /// No such device.
    #[error("device {device} does not exist: plug it in, or correct the document")]
    Device {
        /// Its name.
        device: Device,
    },
    /// The device below is not there, so this one cannot be created.
    #[error("device {device} cannot be created while {parent} below it is missing")]
    Below {
        /// Its name.
        device: Device,
        /// The device below.
        parent: Device,
    },
    /// Something else has the name, and it is not ours to delete.
    #[error("device {device} exists and is something else: rename or remove it")]
    Taken {
        /// Its name.
        device: Device,
    },
    /// The kernel lacks a setting that a firewall needs.
    #[error("the kernel has no setting {key}, or it cannot be written")]
    Sysctl {
        /// The path below `/proc/sys`.
        key: String,
    },
}

/// What the node cannot give.
pub fn missing(network: &Network, observed: &Observed) -> Vec<Missing> {
    let ground = Ground::new(network, observed);
    let mut out = Vec::new();
    for (device, link) in network.links.iter().filter(|(d, _)| !ground.usable.contains(*d)) {
        let device = device.clone();
        out.push(match &link.kind {
            _ if ground.present(&device) && link.kind != LinkKind::Physical => Missing::Taken { device },
            LinkKind::Vlan { parent, .. } | LinkKind::MacVlan { parent, .. } => {
                Missing::Below { device, parent: parent.clone() }
            }
            LinkKind::Physical | LinkKind::Bond { .. } | LinkKind::Bridge { .. } => {
                Missing::Device { device }
            }
        });
    }
    let absent = |(key, sysctl): &(&String, &Sysctl)| {
        sysctl.need == Need::Required && sysctl.device.is_none() && !observed.sysctls.contains_key(*key)
    };
    out.extend(network.sysctls.iter().filter(absent).map(|(key, _)| Missing::Sysctl { key: key.clone() }));
    out
}

/// The steps from `observed` to `network`, in the order in which they are to be done. Undoing them backwards
/// leads back, except for settings of devices that were deleted.
pub fn diff(network: &Network, observed: &Observed) -> Vec<Step> {
    let ground = Ground::new(network, observed);
    let early = ground.early_removals();
    let flushed = ground.flushed(&early);
    let mut steps = Vec::new();
    let mut late_routes = Vec::new();
    ground.routes(&flushed, &mut steps, &mut late_routes);
    steps.extend(early.iter().map(|(device, net)| ground.remove(device, *net)));
    ground.leave_masters(&mut steps);
    ground.delete_links(&mut steps);
    ground.node_sysctls(&mut steps, |key| !FORWARDING.contains(&key));
    ground.mtus(&mut steps);
    ground.create_links(&mut steps);
    ground.device_sysctls(&mut steps);
    ground.join_masters(&mut steps);
    ground.switch_on(&mut steps);
    ground.addresses(&early, &mut steps);
    steps.append(&mut late_routes);
    ground.node_sysctls(&mut steps, |key| FORWARDING.contains(&key));
    steps
}

/// What every part of the difference needs to know.
struct Ground<'a> {
    network: &'a Network,
    observed: &'a Observed,
    /// Devices of ours that are deleted, perhaps to be created anew.
    doomed: BTreeSet<&'a Device>,
    /// Devices of the plan that exist or will.
    usable: BTreeSet<&'a Device>,
    /// Height above the physical devices, for devices of the plan.
    height: BTreeMap<&'a Device, usize>,
    /// Devices that change their master: from where.
    leaving: BTreeMap<&'a Device, &'a Device>,
    /// Devices that change their master: to where.
    joining: BTreeMap<&'a Device, &'a Device>,
    /// Devices that are up and must go down for that.
    downed: BTreeSet<&'a Device>,
}

type Place = (Device, IpNet);

impl<'a> Ground<'a> {
    fn new(network: &'a Network, observed: &'a Observed) -> Self {
        let doomed = doomed(network, observed);
        let mut ground = Self {
            network,
            observed,
            usable: usable(network, observed, &doomed),
            doomed,
            height: height(network),
            leaving: BTreeMap::new(),
            joining: BTreeMap::new(),
            downed: BTreeSet::new(),
        };
        ground.find_moves();
        ground
    }

    fn present(&self, device: &Device) -> bool {
        self.observed.links.contains_key(device) && !self.doomed.contains(device)
    }

    /// Whether the device is made by these steps.
    fn created(&self, device: &Device) -> bool {
        self.usable.contains(device) && !self.present(device)
    }

    fn find_moves(&mut self) {
        for (device, link) in &self.observed.links {
            let planned = self.network.links.get(device).filter(|_| self.usable.contains(device));
            let wanted = planned.and_then(|l| l.master.as_ref()).filter(|m| self.usable.contains(m));
            let doomed = self.doomed.contains(device);
            if let Some(master) = &link.master {
                let ours = self.usable.contains(master) || self.doomed.contains(master) || planned.is_some();
                let stays = wanted == Some(master) && !self.doomed.contains(master) && !doomed;
                if ours && !stays {
                    self.leaving.insert(device, master);
                }
            }
        }
        for (device, link) in self.network.links.iter().filter(|(d, _)| self.usable.contains(d)) {
            let Some(master) = link.master.as_ref().filter(|m| self.usable.contains(m)) else { continue };
            let now = self
                .observed
                .links
                .get(device)
                .filter(|_| self.present(device))
                .and_then(|l| l.master.as_ref());
            if now != Some(master) || self.leaving.contains_key(device) {
                self.joining.insert(device, master);
            }
        }
        let is_bond_now =
            |m: &Device| matches!(self.observed.links.get(m).map(|l| &l.kind), Some(LinkKind::Bond { .. }));
        let is_bond_then =
            |m: &Device| matches!(self.network.links.get(m).map(|l| &l.kind), Some(LinkKind::Bond { .. }));
        for (device, link) in self.observed.links.iter().filter(|(d, l)| l.up && !self.doomed.contains(d)) {
            debug_assert!(link.up);
            if self.leaving.get(device).is_some_and(|m| is_bond_now(m))
                || self.joining.get(device).is_some_and(|m| is_bond_then(m))
            {
                self.downed.insert(device);
            }
        }
    }

    /// Whether the addresses on a device are the elector's.
    fn is_elected(&self, device: &Device) -> bool {
        let is = |kind: Option<&LinkKind>| kind.is_some_and(LinkKind::is_virtual_router);
        is(self.observed.links.get(device).map(|l| &l.kind))
    }

    /// The addresses on the node that are ours to keep or remove.
    fn addresses_now(&self) -> impl Iterator<Item = &'a Place> {
        self.observed.addresses.iter().filter(|(device, _)| !self.is_elected(device))
    }

    /// Addresses that must be gone before anything else happens: their device goes, goes down or joins another,
    /// or the same address is wanted elsewhere.
    fn early_removals(&self) -> BTreeSet<Place> {
        let wanted: BTreeSet<Place> = self.wanted_addresses().map(|a| (a.device.clone(), a.net)).collect();
        let goes_early = |place: &&Place| {
            let (device, net) = place;
            let stays = wanted.contains(*place);
            if is_kernels_own(net) && !stays {
                return false;
            }
            // With the device down the kernel drops its IPv6 addresses.
            if self.doomed.contains(device) || (self.downed.contains(device) && net.addr().is_ipv6()) {
                return true;
            }
            if stays || !self.usable.contains(device) {
                return false;
            }
            if self.downed.contains(device) || self.joining.contains_key(device) {
                return true;
            }
            let elsewhere = |a: &Address| {
                a.net.addr() == net.addr()
                    && (a.device != *device || a.net != *net)
                    && !self.observed.addresses.contains(&(a.device.clone(), a.net))
            };
            self.wanted_addresses().any(elsewhere)
        };
        self.addresses_now().filter(goes_early).cloned().collect()
    }

    fn wanted_addresses(&self) -> impl Iterator<Item = &'a Address> {
        self.network.addresses.iter().filter(|a| self.usable.contains(&a.device))
    }

    fn wanted(&self, place: &Place) -> Option<&'a Address> {
        self.wanted_addresses().find(|a| a.device == place.0 && a.net == place.1)
    }

    fn remove(&self, device: &Device, net: IpNet) -> Step {
        let shared = self.wanted(&(device.clone(), net)).is_some_and(|a| a.shared);
        Step::RemoveAddress(Address { device: device.clone(), net, shared })
    }

    /// Devices through which the kernel drops routes, and whether only those of IPv4.
    fn flushed(&self, early: &BTreeSet<Place>) -> BTreeMap<&'a Device, OnlyV4> {
        let mut out: BTreeMap<&Device, OnlyV4> = BTreeMap::new();
        for device in self.observed.links.keys() {
            if self.doomed.contains(device) || self.downed.contains(device) {
                out.insert(device, OnlyV4(false));
                continue;
            }
            if !self.usable.contains(device) {
                continue;
            }
            let mut now =
                self.observed.addresses.iter().filter(|(d, n)| d == device && n.addr().is_ipv4()).peekable();
            let had_any = now.peek().is_some();
            let all_early = now.all(|place| early.contains(place));
            let keeps_any = self.wanted_addresses().any(|a| a.device == *device && a.net.addr().is_ipv4());
            if had_any && (all_early || !keeps_any) {
                out.insert(device, OnlyV4(true));
            }
        }
        out
    }

    fn routes(&self, flushed: &BTreeMap<&Device, OnlyV4>, first: &mut Vec<Step>, last: &mut Vec<Step>) {
        let possible = |hop: &&NextHop| hop.device().is_none_or(|d| self.usable.contains(d));
        let mut kept = BTreeSet::new();
        for (key, from) in &self.observed.routes {
            let dropped = from
                .device()
                .and_then(|d| flushed.get(d))
                .is_some_and(|only_v4| !only_v4.0 || key.to.addr().is_ipv4());
            match self.network.routes.get(key).filter(possible) {
                Some(to) if !dropped => {
                    kept.insert(key);
                    if from != to {
                        let (from, to) = (from.clone(), to.clone());
                        last.push(Step::ReplaceRoute { key: *key, from, to });
                    }
                }
                Some(_) | None => first.push(Step::DeleteRoute { key: *key, hop: from.clone() }),
            }
        }
        for (key, hop) in self.network.routes.iter().filter(|(key, hop)| !kept.contains(key) && possible(hop))
        {
            last.push(Step::AddRoute { key: *key, hop: hop.clone() });
        }
    }

    fn leave_masters(&self, steps: &mut Vec<Step>) {
        for device in &self.downed {
            steps.push(Step::SetUp { device: (*device).clone(), up: false });
        }
        for (device, master) in &self.leaving {
            let (device, from) = ((*device).clone(), Some((*master).clone()));
            steps.push(Step::SetMaster { device, from, to: None });
        }
    }

    fn delete_links(&self, steps: &mut Vec<Step>) {
        let mut order: Vec<(usize, &Device)> =
            self.doomed.iter().map(|d| (depth(self.observed, d), *d)).collect();
        order.sort_by(|a, b| b.cmp(a));
        for (_, device) in order {
            let Some(link) = self.observed.links.get(device) else { continue };
            // To take back the deletion of a virtual router's link is to have it down: the elector sees to the rest.
            if link.up && !link.kind.is_virtual_router() {
                steps.push(Step::SetUp { device: device.clone(), up: false });
            }
            let (device, kind) = (device.clone(), link.kind.clone());
            steps.push(Step::DeleteLink { device, kind, mtu: Some(link.mtu) });
        }
    }

    /// The devices of the plan that exist or will, the lower ones first.
    fn upwards(&self) -> Vec<&'a Device> {
        let mut order: Vec<_> =
            self.usable.iter().map(|d| (self.height.get(d).copied().unwrap_or(0), *d)).collect();
        order.sort();
        order.into_iter().map(|(_, device)| device).collect()
    }

    fn mtus(&self, steps: &mut Vec<Step>) {
        for device in self.upwards().into_iter().filter(|d| self.present(d)) {
            let wanted = self.network.links.get(device).and_then(|l| l.mtu);
            if let (Some(to), Some(link)) = (wanted, self.observed.links.get(device))
                && link.mtu != to
            {
                steps.push(Step::SetMtu { device: device.clone(), from: link.mtu, to });
            }
        }
    }

    fn create_links(&self, steps: &mut Vec<Step>) {
        for device in self.upwards().into_iter().filter(|d| self.created(d)) {
            if let Some(link) = self.network.links.get(device) {
                let (device, kind) = (device.clone(), link.kind.clone());
                steps.push(Step::CreateLink { device, kind, mtu: link.mtu });
            }
        }
    }

    fn node_sysctls(&self, steps: &mut Vec<Step>, select: impl Fn(&str) -> bool) {
        let of_node = |(key, s): &(&String, &Sysctl)| s.device.is_none() && select(key);
        for (key, sysctl) in self.network.sysctls.iter().filter(of_node) {
            self.set_sysctl(steps, key, sysctl, false);
        }
    }

    fn device_sysctls(&self, steps: &mut Vec<Step>) {
        for (key, sysctl) in &self.network.sysctls {
            if let Some(device) = sysctl.device.as_ref().filter(|d| self.usable.contains(d)) {
                self.set_sysctl(steps, key, sysctl, self.created(device));
            }
        }
    }

    fn set_sysctl(&self, steps: &mut Vec<Step>, key: &str, sysctl: &Sysctl, created: bool) {
        let now = self.observed.sysctls.get(key).filter(|_| !created);
        if created || now.is_some_and(|v| *v != sysctl.value) {
            let (key, to) = (key.to_owned(), sysctl.value.clone());
            steps.push(Step::SetSysctl { key, from: now.cloned(), to });
        }
    }

    fn join_masters(&self, steps: &mut Vec<Step>) {
        for (device, master) in &self.joining {
            let (device, to) = ((*device).clone(), Some((*master).clone()));
            steps.push(Step::SetMaster { device, from: None, to });
        }
    }

    fn switch_on(&self, steps: &mut Vec<Step>) {
        let elected = |d: &Device| self.network.links.get(d).is_some_and(|l| l.kind.is_virtual_router());
        for device in self.upwards().into_iter().filter(|d| !elected(d)) {
            let is_up = self.present(device)
                && self.observed.links.get(device).is_some_and(|l| l.up)
                && !self.downed.contains(device);
            if !is_up {
                steps.push(Step::SetUp { device: device.clone(), up: true });
            }
        }
    }

    fn addresses(&self, early: &BTreeSet<Place>, steps: &mut Vec<Step>) {
        for address in self.wanted_addresses() {
            let place = (address.device.clone(), address.net);
            if !self.observed.addresses.contains(&place) || early.contains(&place) {
                steps.push(Step::AddAddress(address.clone()));
            }
        }
        for place in self.addresses_now().filter(|place| !early.contains(place)) {
            let managed = self.usable.contains(&place.0) && !is_kernels_own(&place.1);
            if managed && self.wanted(place).is_none() {
                steps.push(self.remove(&place.0, place.1));
            }
        }
    }
}

/// Whether the routes of IPv4 alone are meant.
#[derive(Clone, Copy)]
struct OnlyV4(bool);

/// IPv6 link-local addresses come and go with the link.
fn is_kernels_own(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(v6) if v6.addr().is_unicast_link_local())
}

/// Devices of ours that the plan does not have, or has otherwise, and devices of ours on top of them.
fn doomed<'a>(network: &Network, observed: &'a Observed) -> BTreeSet<&'a Device> {
    let ours = || observed.links.iter().filter(|(_, l)| l.ours && l.kind != LinkKind::Physical);
    let unwanted = |device: &Device, kind: &LinkKind| {
        network.links.get(device).is_none_or(|l| l.kind != *kind && l.kind != LinkKind::Physical)
    };
    let mut out: BTreeSet<&Device> = ours().filter(|(d, l)| unwanted(d, &l.kind)).map(|(d, _)| d).collect();
    loop {
        let on_top = |kind: &LinkKind| kind.parent().is_some_and(|parent| out.contains(parent));
        let more: Vec<&Device> =
            ours().filter(|(d, l)| !out.contains(d) && on_top(&l.kind)).map(|(d, _)| d).collect();
        if more.is_empty() {
            return out;
        }
        out.extend(more);
    }
}

fn usable<'a>(network: &'a Network, observed: &Observed, doomed: &BTreeSet<&Device>) -> BTreeSet<&'a Device> {
    let present = |d: &Device| observed.links.get(d).filter(|_| !doomed.contains(d));
    let mut out: BTreeSet<&Device> = network.links.keys().collect();
    loop {
        let fails = |device: &Device| {
            network.links.get(device).is_none_or(|wanted| match (&wanted.kind, present(device)) {
                (LinkKind::Physical, found) => found.is_none(),
                (kind, Some(found)) => found.kind != *kind,
                (LinkKind::Vlan { parent, .. } | LinkKind::MacVlan { parent, .. }, None) => {
                    !out.contains(parent)
                }
                (LinkKind::Bond { .. } | LinkKind::Bridge { .. }, None) => false,
            })
        };
        let kept: BTreeSet<&Device> = out.iter().copied().filter(|d| !fails(d)).collect();
        if kept.len() == out.len() {
            return out;
        }
        out = kept;
    }
}

/// How high above the physical devices each device of the plan stands. A ring, which no valid document has,
/// ends after as many rounds as there are devices.
fn height(network: &Network) -> BTreeMap<&Device, usize> {
    let mut out: BTreeMap<&Device, usize> = network.links.keys().map(|d| (d, 0)).collect();
    for _ in 0..network.links.len() {
        let mut changed = false;
        for (device, link) in &network.links {
            let parent = link.kind.parent().and_then(|parent| out.get(parent).copied());
            let mine = out.get(device).copied().unwrap_or(0).max(parent.map_or(0, |h| h + 1));
            changed |= out.insert(device, mine) != Some(mine);
            if let Some(master) = &link.master
                && out.get(master).is_some_and(|h| *h <= mine)
            {
                out.entry(master).and_modify(|h| *h = mine + 1);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    out
}

/// How many devices lie on top of each other below `device`.
fn depth(observed: &Observed, device: &Device) -> usize {
    let mut depth = 0;
    let mut at = device;
    while let Some(parent) = observed.links.get(at).and_then(|l| l.kind.parent()) {
        depth += 1;
        at = parent;
        if depth > observed.links.len() {
            break;
        }
    }
    depth
}
