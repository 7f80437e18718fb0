//! All that `rempart-vpn` is told of the document: its place in the pair, OpenVPN and WireGuard, each where it is asked for.

use rempart_config::Model;
use rempart_config::model::NodeIndex;
use serde::{Deserialize, Serialize};

use crate::vpn::VpnPlan;
use crate::wireguard::WireguardPlan;
use crate::{Facts, World};

/// What the document asks of remote access on one node, by OpenVPN, by WireGuard, or both.
///
/// One whose fields are others is not read at all: a program that took a plan for an empty one would listen nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemotePlan {
    /// The node's place in `pair.nodes`: the first one draws even take-over epochs.
    pub index: u8,
    /// Whether there is another node; a single box is always active.
    pub paired: bool,
    /// `[vpn]`, where it has a group.
    pub vpn: Option<VpnPlan>,
    /// `[wireguard]`, where it is switched on.
    pub wireguard: Option<WireguardPlan>,
}

impl RemotePlan {
    /// What `model` asks of `node`; `None` where nobody comes in from outside.
    pub fn of(model: &Model, node: NodeIndex, facts: &Facts, world: &World) -> Option<Self> {
        let (vpn, wireguard) = (VpnPlan::of(model, node, facts), WireguardPlan::of(model, world));
        if vpn.is_none() && wireguard.is_none() {
            return None;
        }
        let paired = other_node(model, node).is_some();
        // There are two at most.
        Some(Self { index: u8::from(node.get() > 0), paired, vpn, wireguard })
    }
}

/// The name of the other node, where what outside sees moves between the two.
pub(crate) fn other_node(model: &Model, node: NodeIndex) -> Option<String> {
    let shared = model.interfaces.values().any(|i| !i.routers.is_empty());
    let other = model.nodes.iter().find(|n| model.node(n.as_str()) != Some(node));
    other.filter(|_| shared).map(ToString::to_string)
}
