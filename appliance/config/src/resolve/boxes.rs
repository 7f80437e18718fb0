//! `node`, `[pair]` and `[system]`, and what differs between the nodes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::decode::ByNode;
use crate::draft::Document;
use crate::faults::{Faults, Span};
use crate::model::{Interface, InterfaceName, NodeName, PerNode, System};

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
    if interface.addresses.iter().any(Vec::is_empty) {
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
