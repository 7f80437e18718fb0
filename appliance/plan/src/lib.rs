//! The plan: what the kernel of one node should hold, decided from the model alone.
//!
//! Pure: knows no clock, socket, file or thread. `rempart-system` acts on what is decided here.

pub mod assert;
pub mod classify;
pub mod compile;
pub mod eval;
pub mod expand;
pub mod explain;
pub mod facts;
pub mod ha;
pub mod ids;
pub mod net;
pub mod nft;
pub mod print;
pub mod remote;
pub mod tuning;
pub mod vpn;
pub mod wireguard;
pub mod world;

use rempart_config::Model;
use rempart_config::model::NodeIndex;

pub use facts::{Facts, Lease};
pub use ids::Ids;
pub use world::World;

/// Which of the two a node is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Carries the virtual addresses and forwards.
    Active,
    /// Waits.
    Standby,
}

/// What the kernel of one node should hold.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which of the two the node is.
    pub role: Role,
    /// Links, addresses, routes, settings: the same in both roles.
    pub network: net::Network,
    /// Our nftables table.
    pub ruleset: nft::Ruleset,
    /// The network as the policy sees it.
    pub world: World,
    /// What remote access is told, where the document has any.
    pub remote: Option<remote::RemotePlan>,
}

impl Plan {
    /// Plans `model` for a node. The role changes nothing but whether the virtual addresses count as the node's own
    /// where packets are judged; what the kernel is given is the same, so that a take-over needs none of it.
    pub fn of(
        model: &Model,
        node: NodeIndex,
        role: Role,
        facts: &Facts,
        ids: &Ids,
    ) -> Result<Self, compile::CompileError> {
        let world = World::new(model, node, role, facts);
        let ruleset = compile::compile(model, &world, facts, ids)?;
        let remote = remote::RemotePlan::of(model, node, facts, &world);
        Ok(Self { role, network: net::Network::of(model, node, facts), ruleset, world, remote })
    }
}
