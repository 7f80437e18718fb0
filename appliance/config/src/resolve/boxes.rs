//! `node`, `[pair]` and `[system]`, and what differs between the nodes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use ipnet::IpNet;

use super::virtuals::whole_seconds;
use crate::decode::{At, ByNode, Named};
use crate::draft::Document;
use crate::faults::{Faults, Span};
use crate::model::{Failback, Interface, InterfaceName, NodeName, PerNode, System, is_link_local};
use crate::text::word::FailbackWord;

/// The boxes.
pub(super) struct Nodes {
    /// Their names; one made up where the document names none, so that the rest can be checked.
    pub names: Vec<NodeName>,
    known: bool,
}

pub(super) fn nodes(document: &Document, faults: &mut Faults) -> Nodes {
    let unknown = Nodes { names: vec![NodeName::new("node")], known: false };
    match (&document.node, &document.pair) {
        (Some(node), Some(pair)) => {
            faults
                .error("one-or-two", &node.span, "the document has both `node` and [pair]")
                .label("one box")
                .related(&pair.span, "two boxes")
                .hint("keep `node` for a single box, [pair] for two");
            unknown
        }
        (Some(node), None) => Nodes { names: vec![NodeName::new(&node.value.0)], known: true },
        (None, Some(pair)) => {
            let Some(list) = &pair.nodes else { return unknown };
            let names: Vec<_> = list.items.iter().map(|n| NodeName::new(&n.value.0)).collect();
            match list.items.as_slice() {
                [a, b] if a.value.0 == b.value.0 => {
                    faults
                        .error("duplicate-name", &b.span, format!("both nodes are called `{}`", b.value.0))
                        .related(&a.span, "the first one");
                    unknown
                }
                [_, _] => Nodes { names, known: true },
                _ => {
                    let message = format!("a pair has two nodes, not {}", names.len());
                    faults
                        .error("one-or-two", &list.span, message)
                        .hint("a single box has `node = \"NAME\"`");
                    unknown
                }
            }
        }
        (None, None) => {
            if !document.broken {
                faults
                    .error("one-or-two", &document.span, "the document does not name its box")
                    .hint("write `node = \"fw\"` for one box, or [pair] with `nodes = [\"fw1\", \"fw2\"]`");
            }
            unknown
        }
    }
}

/// How long the preferred node of a pair has been well before it takes the role back: longer than a box that
/// restarts again and again stays up.
const FAILBACK_DELAY_S: u32 = 60;
/// Time between two heartbeats: a dead node is noticed after 25 ms, and a busy one does not look dead.
const HEARTBEAT_MS: u16 = 10;
/// The heartbeats that can be asked for: below, the scheduler of a busy box is slower; above, VRRP alone does as well.
const HEARTBEATS_MS: std::ops::RangeInclusive<u16> = 5..=1_000;

/// The settings of a pair that belong to no interface.
pub(super) struct Pair {
    pub failback: Failback,
    pub heartbeat_ms: u16,
}

pub(super) fn pair(document: &Document, faults: &mut Faults) -> Pair {
    let mut out = Pair { failback: Failback::Stay, heartbeat_ms: HEARTBEAT_MS };
    let Some(draft) = &document.pair else { return out };
    let delay = draft.failback_delay.as_ref();
    match (draft.failback.as_ref().map(|f| f.value), delay) {
        (Some(FailbackWord::Preferred), delay) => {
            let delay_s = delay.map_or(FAILBACK_DELAY_S, |d| whole_seconds(d, "`failback_delay`", faults));
            out.failback = Failback::Preferred { delay_s };
        }
        (Some(FailbackWord::Stay) | None, Some(delay)) => {
            faults
                .warning("no-effect", &delay.span, "there is nothing to delay: the role stays where it is")
                .hint("write failback = \"preferred\" to have it go back to the first node");
        }
        (Some(FailbackWord::Stay) | None, None) => {}
    }
    if let Some(heartbeat) = &draft.heartbeat {
        let given = u16::try_from(heartbeat.value.milliseconds).ok().filter(|ms| HEARTBEATS_MS.contains(ms));
        if given.is_none() {
            faults
                .error(
                    "out-of-range",
                    &heartbeat.span,
                    format!("heartbeats cannot be {} apart", heartbeat.value),
                )
                .hint(format!("{}ms to {}ms", HEARTBEATS_MS.start(), HEARTBEATS_MS.end()));
        }
        out.heartbeat_ms = given.unwrap_or(HEARTBEAT_MS);
    }
    out
}

/// Reports a pair whose nodes cannot hear each other, or only where everybody else is, too.
pub(super) fn check_paths(
    document: &Document,
    nodes: &Nodes,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    faults: &mut Faults,
) {
    let Some(pair) = document.pair.as_ref().filter(|_| nodes.known && nodes.names.len() == 2) else { return };
    if pair.sync.is_some() || pair.broken {
        return;
    }
    if interfaces.values().any(is_path) {
        faults
            .warning("no-sync", &pair.span, "the pair has no cable of its own between the boxes")
            .hint("heartbeats and connections go over the other networks, encrypted; a cable is faster and fails alone: sync = \"sync\"");
    } else {
        faults
            .error("no-path", &pair.span, "the boxes of the pair have no way to hear each other")
            .hint("give an interface a fixed address on each node, best one with a cable between the boxes: sync = \"sync\"");
    }
}

/// Whether the nodes can reach each other by an interface: networks of both nodes are the same, as was checked.
fn is_path(interface: &Interface) -> bool {
    let fixed = |nets: &Vec<IpNet>| nets.iter().any(|n| !is_link_local(n.addr()));
    interface.addresses.iter().all(fixed)
}

/// Reports interfaces of a pair whose address each node leases for itself: it cannot move.
pub(super) fn check_leases(
    document: &Document,
    nodes: &Nodes,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    faults: &mut Faults,
) {
    if nodes.names.len() != 2 {
        return;
    }
    let sync = document.pair.as_ref().and_then(|p| p.sync.as_ref());
    let is_sync = |name: &At<String>| sync.is_some_and(|s| s.value.0 == name.value);
    for (name, draft) in document.interface.iter().flat_map(Named::iter) {
        let leased =
            interfaces.get(name.value.as_str()).filter(|i| i.dhcp && i.zone.is_some() && !is_sync(name));
        if let (Some(_), Some(address)) = (leased.filter(|i| i.routers.is_empty()), &draft.address) {
            let span = match address {
                ByNode::Same(list) => &list.span,
                ByNode::Each(_, span) => span,
            };
            faults
                .warning("pair-leased", span, format!("each node has an address of its own on `{}`", name.value))
                .hint("connections through it end when the role moves: a pair needs fixed addresses and a `virtual` one there");
        }
    }
}

/// The sync interface: known, in no zone, with an address on each node.
pub(super) fn sync(
    document: &Document,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    faults: &mut Faults,
) -> Option<InterfaceName> {
    let name = document.pair.as_ref()?.sync.as_ref()?;
    let Some((known, interface)) = interfaces.get_key_value(name.value.0.as_str()) else {
        faults
            .error("unknown-interface", &name.span, format!("there is no interface `{}`", name.value.0))
            .suggest(&name.value.0, interfaces.keys().map(InterfaceName::as_str));
        return None;
    };
    if let Some(zone) = &interface.zone {
        faults.error("sync-in-zone", &name.span, format!("the sync interface is in zone `{zone}`")).hint(
            format!("the cable between the nodes is in no policy: remove `zone` from [interface.{known}]"),
        );
    }
    if !is_path(interface) {
        faults
            .error("sync-address", &name.span, "the sync interface has no fixed address on each node")
            .hint("for example address = { fw1 = \"169.254.77.1/30\", fw2 = \"169.254.77.2/30\" }");
    }
    Some(known.clone())
}

pub(super) fn system(document: &Document) -> System {
    let draft = document.system.as_ref();
    let timezone = draft.and_then(|s| s.timezone.as_ref()).map_or("UTC", |t| &t.value.0);
    let max = draft.and_then(|s| s.max_connections.as_ref());
    System { timezone: timezone.into(), max_connections: max.and_then(|m| NonZeroU32::new(m.value.0)) }
}

impl Nodes {
    /// One value for each node; `None` where one is missing, which is reported.
    pub fn each<'d, T>(&self, value: &'d ByNode<T>, what: &str, faults: &mut Faults) -> Option<Vec<&'d T>> {
        let (each, span) = match value {
            ByNode::Same(one) => return Some(self.names.iter().map(|_| one).collect()),
            ByNode::Each(each, span) => (each, span),
        };
        if !self.known {
            return each.first().map(|(_, one)| vec![one]);
        }
        for (name, _) in each {
            if !self.names.iter().any(|n| n.as_str() == name.value) {
                faults
                    .error("unknown-node", &name.span, format!("there is no node `{}`", name.value))
                    .suggest(&name.value, self.names.iter().map(NodeName::as_str));
            }
        }
        let find = |node: &NodeName| each.iter().find(|(n, _)| n.value == node.as_str()).map(|(_, v)| v);
        let found: Vec<Option<&T>> = self.names.iter().map(find).collect();
        for (node, value) in self.names.iter().zip(&found) {
            if value.is_none() {
                self.missing(node, what, span, faults);
            }
        }
        found.into_iter().collect()
    }

    fn missing(&self, node: &NodeName, what: &str, span: &Span, faults: &mut Faults) {
        faults
            .error("missing-node", span, format!("{what} is not given for node `{node}`"))
            .hint(format!("add `{node} = …`, or write one value for both"));
    }

    /// A value for each node, all the same.
    pub fn all<T: Clone>(&self, value: T) -> PerNode<T> {
        PerNode::new(vec![value; self.names.len()])
    }
}
