//! What interfaces are made of: devices, VLANs, bonds and bridges.

use std::collections::BTreeMap;

use super::boxes::Nodes;
use crate::decode::{At, ByNode, Many, Named};
use crate::draft::{Document, InterfaceDraft, VlanDraft};
use crate::faults::{Faults, Span};
use crate::model::{BondMode, Device, Interface, InterfaceKind, InterfaceName, MAX_DEVICE_BYTES, PerNode};
use crate::text::word::DeviceText;

/// VLANs on VLANs: two are in use (IEEE 802.1ad), the kernel stops at eight (`MAX_NEST_DEV`).
const MAX_VLAN_DEPTH: usize = 8;

/// Kind and device of each interface, in the order of the drafts.
pub(super) fn resolve(
    drafts: &Named<InterfaceDraft>,
    nodes: &Nodes,
    faults: &mut Faults,
) -> Vec<(InterfaceKind, PerNode<Device>)> {
    let index: BTreeMap<&str, usize> =
        drafts.iter().enumerate().map(|(at, (name, _))| (name.value.as_str(), at)).collect();
    let mut vlans = BTreeMap::new();
    let kinds: Vec<_> =
        drafts.iter().map(|(name, draft)| kind(name, draft, &index, &mut vlans, nodes, faults)).collect();
    let mut devices: Vec<Option<Vec<String>>> = drafts.iter().map(|(_, d)| given(d, nodes, faults)).collect();
    for at in 0..devices.len() {
        name_vlan(at, drafts, &index, &mut devices, nodes, faults);
    }
    check_uses(drafts, nodes, &kinds, &devices, faults);
    let unnamed = || vec![String::new(); nodes.names.len()];
    let devices = devices.into_iter().map(|d| d.unwrap_or_else(unnamed));
    let devices = devices.map(|d| PerNode::new(d.into_iter().map(Device::new).collect()));
    kinds.into_iter().zip(devices).collect()
}

/// A tunnel's device is its own: nothing else may have its name.
pub(super) fn reserve(
    (device, whose): (&str, &str),
    document: &Document,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    faults: &mut Faults,
) {
    for (name, draft) in document.interface.iter().flat_map(|i| i.iter()) {
        let Some(interface) = interfaces.get(name.value.as_str()) else { continue };
        let member = match &interface.kind {
            InterfaceKind::Physical | InterfaceKind::Vlan { .. } => false,
            InterfaceKind::Bond { members, .. } | InterfaceKind::Bridge { members, .. } => {
                members.iter().flatten().any(|d| d.as_str() == device)
            }
        };
        if member || interface.device.iter().any(|d| d.as_str() == device) {
            faults
                .error("duplicate-device", &draft.span, format!("`{device}` is the device of {whose}"))
                .hint("give the device another name");
        }
    }
}

fn kind<'d>(
    name: &At<String>,
    draft: &'d InterfaceDraft,
    index: &BTreeMap<&str, usize>,
    vlans: &mut BTreeMap<(&'d str, u32), &'d Span>,
    nodes: &Nodes,
    faults: &mut Faults,
) -> InterfaceKind {
    let forms = [
        draft.vlan.as_ref().map(|v| &v.span),
        draft.bond.as_ref().map(|b| &b.span),
        draft.bridge.as_ref().map(|b| &b.span),
    ];
    let mut forms = forms.into_iter().flatten();
    if let (Some(first), Some(second)) = (forms.next(), forms.next()) {
        faults
            .error("two-kinds", second, format!("interface `{}` is two things at once", name.value))
            .related(first, "this already says what it is")
            .hint("an interface is a VLAN, a bond, a bridge, or else a device as the kernel finds it");
    }
    let mut members = |value: &Option<ByNode<Many<DeviceText>>>| {
        let lists = value.as_ref().and_then(|v| nodes.each(v, "`members`", faults)).unwrap_or_default();
        let devices = |l: &&Many<DeviceText>| l.items.iter().map(|d| Device::new(&d.value.0)).collect();
        PerNode::new(lists.iter().map(devices).collect())
    };
    if let Some(vlan) = &draft.vlan {
        return self::vlan(name, &vlan.value, index, vlans, faults).unwrap_or(InterfaceKind::Physical);
    }
    if let Some(bond) = &draft.bond {
        let mode = bond.value.mode.as_ref().map_or(BondMode::ActiveBackup, |m| m.value);
        return InterfaceKind::Bond { members: members(&bond.value.members), mode };
    }
    if let Some(bridge) = &draft.bridge {
        let stp = bridge.value.stp.as_ref().is_some_and(|s| s.value);
        return InterfaceKind::Bridge { members: members(&bridge.value.members), stp };
    }
    InterfaceKind::Physical
}

fn vlan<'d>(
    name: &At<String>,
    draft: &'d VlanDraft,
    index: &BTreeMap<&str, usize>,
    vlans: &mut BTreeMap<(&'d str, u32), &'d Span>,
    faults: &mut Faults,
) -> Option<InterfaceKind> {
    let (parent, id) = (draft.parent.as_ref()?, draft.id.as_ref()?);
    let below = parent.value.0.as_str();
    if below == name.value {
        faults
            .error("vlan-parent", &parent.span, format!("interface `{below}` lies on itself"))
            .hint("`parent` is the interface that carries the tagged frames");
        return None;
    }
    if !index.contains_key(below) {
        faults
            .error("unknown-interface", &parent.span, format!("there is no interface `{below}`"))
            .suggest(below, index.keys().copied());
        return None;
    }
    if let Some(other) = vlans.insert((below, id.value.0), &id.span) {
        faults
            .error("duplicate-vlan", &id.span, format!("VLAN {} on `{below}` is there twice", id.value.0))
            .related(other, "here too");
    }
    let id = u16::try_from(id.value.0).ok()?;
    Some(InterfaceKind::Vlan { parent: InterfaceName::new(below), id })
}

/// The device that the document gives.
fn given(draft: &InterfaceDraft, nodes: &Nodes, faults: &mut Faults) -> Option<Vec<String>> {
    let value = draft.device.as_ref()?;
    let each = nodes.each(value, "`device`", faults)?;
    Some(each.into_iter().map(|d| d.value.0.clone()).collect())
}

/// Names a VLAN after its parent; reports what has no device. Parents are named first, from the bottom up.
fn name_vlan(
    at: usize,
    drafts: &Named<InterfaceDraft>,
    index: &BTreeMap<&str, usize>,
    devices: &mut [Option<Vec<String>>],
    nodes: &Nodes,
    faults: &mut Faults,
) {
    let mut chain = vec![at];
    loop {
        let here = chain[chain.len() - 1];
        let (name, draft) = &drafts.entries[here];
        let parent = draft.vlan.as_ref().and_then(|v| v.value.parent.as_ref());
        let Some(parent) = parent else { break };
        let Some(below) = index.get(parent.value.0.as_str()).copied() else { break };
        if below == here {
            break;
        }
        if chain.contains(&below) || chain.len() > MAX_VLAN_DEPTH {
            // Told once, by the interface that closes the circle from itself.
            if below == at || chain.len() > MAX_VLAN_DEPTH && !chain.contains(&below) {
                let names: Vec<_> = chain.iter().map(|i| drafts.entries[*i].0.value.as_str()).collect();
                faults
                    .error(
                        "vlan-parent",
                        &parent.span,
                        format!("interface `{}` is its own parent", name.value),
                    )
                    .label(format!("{} → {}", names.join(" → "), parent.value.0))
                    .hint("a VLAN lies on a device that is there without it");
            }
            return;
        }
        chain.push(below);
    }
    for here in chain.into_iter().rev().filter(|i| devices[*i].is_none()).collect::<Vec<_>>() {
        let (name, draft) = &drafts.entries[here];
        if draft.device.is_some() || draft.broken {
            continue;
        }
        let Some(vlan) = &draft.vlan else {
            // A VLAN above may have asked; the interface itself reports.
            if here == at {
                let hint = "the name that `ip link` shows: device = \"enp1s0\"";
                faults
                    .error("missing-key", &draft.span, format!("interface `{}` needs `device`", name.value))
                    .label("`device` is missing")
                    .hint(hint);
            }
            continue;
        };
        let parent = vlan.value.parent.as_ref().and_then(|p| index.get(p.value.0.as_str()));
        let parent = parent.and_then(|p| devices[*p].as_ref()).filter(|p| p.len() == nodes.names.len());
        let (Some(parent), Some(id)) = (parent, &vlan.value.id) else { continue };
        let named: Vec<String> = parent.iter().map(|p| format!("{p}.{}", id.value.0)).collect();
        if let Some(long) = named.iter().find(|n| n.len() > MAX_DEVICE_BYTES) {
            faults
                .error("bad-value", &vlan.span, format!("`{long}` is too long for a device name"))
                .hint("the kernel's device names have at most 15 bytes: give the VLAN a `device`");
        }
        devices[here] = Some(named);
    }
}

/// Each device has one use on a node. A member of a bond or bridge may be an interface of its own only to be
/// described (a VLAN that is bridged): it then has neither address nor zone.
fn check_uses(
    drafts: &Named<InterfaceDraft>,
    nodes: &Nodes,
    kinds: &[InterfaceKind],
    devices: &[Option<Vec<String>>],
    faults: &mut Faults,
) {
    for node in 0..nodes.names.len() {
        let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, (_, draft)) in drafts.iter().enumerate() {
            let Some(device) = devices[at].as_ref().and_then(|d| d.get(node)) else { continue };
            let Some(other) = owners.insert(device, at) else { continue };
            // The same fault on the second node is the same line of the document.
            let repeated = node > 0 && devices[at] == devices[other];
            if !repeated || !matches!(draft.device, Some(ByNode::Same(_)) | None) {
                faults
                    .error("duplicate-device", &device_span(draft, node), format!("`{device}` is used twice"))
                    .related(&device_span(&drafts.entries[other].1, node), "the same device")
                    .hint("each interface has a device of its own; addresses may be a list");
            }
        }
        let mut used: BTreeMap<&str, &Span> = BTreeMap::new();
        for (at, (_, draft)) in drafts.iter().enumerate() {
            let lists = match &kinds[at] {
                InterfaceKind::Bond { .. } => draft.bond.as_ref().and_then(|b| b.value.members.as_ref()),
                InterfaceKind::Bridge { .. } => draft.bridge.as_ref().and_then(|b| b.value.members.as_ref()),
                InterfaceKind::Physical | InterfaceKind::Vlan { .. } => None,
            };
            for member in members_of(lists, node, nodes) {
                let name = member.value.0.as_str();
                if let Some(other) = used.insert(name, &member.span) {
                    faults
                        .error("duplicate-device", &member.span, format!("`{name}` is a member twice"))
                        .related(other, "here already");
                }
                let owner = owners.get(name).map(|o| (*o, &drafts.entries[*o].1));
                if let Some((other, owner)) = owner
                    && (other == at
                        || owner.zone.is_some()
                        || owner.address.is_some()
                        || owner.r#virtual.is_some())
                {
                    faults
                        .error(
                            "duplicate-device",
                            &member.span,
                            format!("`{name}` is an interface of its own"),
                        )
                        .related(&device_span(owner, node), "used here")
                        .hint("address and zone belong to the bond or bridge, not to its members");
                }
            }
        }
    }
}

/// The members on a node; those given once for both nodes are looked at once.
fn members_of<'d>(
    lists: Option<&'d ByNode<Many<DeviceText>>>,
    node: usize,
    nodes: &Nodes,
) -> &'d [At<DeviceText>] {
    let list = match lists {
        Some(ByNode::Same(list)) if node == 0 => Some(list),
        Some(ByNode::Each(each, _)) => {
            each.iter().find(|(n, _)| n.value == nodes.names[node].as_str()).map(|(_, l)| l)
        }
        Some(ByNode::Same(_)) | None => None,
    };
    list.map_or(&[], |l| &l.items)
}

fn device_span(draft: &InterfaceDraft, node: usize) -> Span {
    match &draft.device {
        Some(ByNode::Same(device)) => device.span.clone(),
        Some(ByNode::Each(each, span)) => each.get(node).map_or(span.clone(), |(_, d)| d.span.clone()),
        None => draft.vlan.as_ref().map_or(draft.span.clone(), |v| v.span.clone()),
    }
}
