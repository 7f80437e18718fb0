//! From the model to the ruleset.
//!
//! ```text
//! arrival  (prerouting, before tracking)   a source must be routed back the way it came
//! peer.*   (input, output: untracked)      what the nodes of a pair tell each other, see `peer`
//! vpn.*    (arrival; forward, output)      remote users only while they are connected, see `remote`
//! nat.in   (prerouting)                    published services, one-to-one
//! input    1. to the firewall   3. protection of the firewall: all else
//! output   2. from the firewall
//! forward  4. business flows    5. noise    6. final, logged refusal
//! nat.out  (postrouting)                   one-to-one, reflection, outbound
//! ```
//!
//! The numbers are the sections of ANSSI's note on filtering policies (DAT-NT-006). In `input`, `output` and
//! `forward` a new connection is sent by one verdict map to the chain of its zone pair; there each group of
//! flows (see [`crate::classify`]) is one look-up that writes the flow's number into the connection mark. What
//! follows reads the mark alone.

mod filter;
mod key;
mod nat;
mod peer;
mod protect;
mod remote;
mod tables;

pub use filter::mark;
pub use nat::{automatic, counterpart};
pub use protect::impossible_sources;

use rempart_config::Model;
use rempart_config::model::Device;

use crate::nft::Ruleset;
use crate::world::Leg;
use crate::{Facts, Ids, World};

/// Bit of the connection mark: a flow lets it through.
pub const MARK_ALLOW: u32 = 1 << 31;
/// Bit of the connection mark: a flow refuses it.
pub const MARK_DENY: u32 = 1 << 30;
/// Bit of the connection mark: the policy that is about to come into force forbids it. Every ruleset drops it,
/// in both directions; it is set just before the change and goes with the connection just after.
pub const MARK_DOOMED: u32 = 1 << 29;
/// Bit of the connection mark, beside that of the doomed: a person has ended it, so no policy pardons it.
pub const MARK_KILLED: u32 = 1 << 28;
/// The flow number in the connection mark.
pub const MARK_ID: u32 = crate::ids::MAX_ID;

/// The nflog group that the firewall logs to.
pub const LOG_GROUP: u16 = 1;

/// Most boxes in one policy. At about 200 bytes each in the kernel, this is what a small box has to spare.
pub const MAX_CELLS: usize = 1_000_000;

/// Why a model cannot be compiled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CompileError {
    /// The hosts and services of the flows multiply to more than the kernel should hold.
    #[error(
        "{label} (line {line}) makes the policy larger than {MAX_CELLS} combinations of host and service; \
         name networks instead of single hosts"
    )]
    TooLarge {
        /// What a person calls the flow.
        label: String,
        /// Its line in the document.
        line: u32,
    },
}

/// The ruleset for a model.
pub fn compile(model: &Model, world: &World, facts: &Facts, ids: &Ids) -> Result<Ruleset, CompileError> {
    let mut ruleset = Ruleset::default();
    remote::write(&mut ruleset, world);
    peer::write(&mut ruleset, world);
    protect::write(&mut ruleset, model, world, facts);
    filter::write(&mut ruleset, model, world, facts, ids)?;
    nat::write(&mut ruleset, model, world, facts);
    Ok(ruleset.sealed())
}

/// Every device by which packets arrive from the network of `leg`, quoted. A packet to a virtual MAC arrives by the
/// device of the virtual router; what leaves goes by the leg's own device, but for answers to link-local addresses.
fn quoted_devices(leg: &Leg) -> impl Iterator<Item = String> {
    leg.devices().map(|device| format!("\"{device}\""))
}

/// `"eth0"`, or `{ "eth0", "vr10-lan" }`
fn any_device(leg: &Leg) -> String {
    any_of(leg.devices())
}

/// `"eth0"`, or `{ "eth0", "eth1" }`
fn any_of<'a>(devices: impl Iterator<Item = &'a Device>) -> String {
    let quoted: Vec<String> = devices.map(|device| format!("\"{device}\"")).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        several => format!("{{ {} }}", several.join(", ")),
    }
}

/// `{ "eth0", "eth1" }`
fn device_set<'a>(devices: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let quoted: Vec<String> = devices.into_iter().map(|d| format!("\"{d}\"")).collect();
    (!quoted.is_empty()).then(|| format!("{{ {} }}", quoted.join(", ")))
}
