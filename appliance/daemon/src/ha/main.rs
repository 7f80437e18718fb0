//! `rempart-ha`, the elector of a pair: virtual addresses, the role, and the replication of connections.
//!
//! ```text
//! rempart-ha (supervisor) ── starts, and starts again ──▶ rempart-ha --worker
//!                                                           ├─ main: the bus, the peer channel, pairing, the VPN's relay
//!                                                           ├─ elector: heartbeats, adverts, links, the role
//!                                                           ├─ recorder: the epoch on disk
//!                                                           └─ journal: connections
//! ```
//!
//! It needs neither the bus nor `rempartd` to do its work: what the document asked for last is on disk. Killed at any
//! instant it leaves the kernel as it is, which goes on forwarding; started again it reads what the kernel holds and goes on.

mod channel;
mod elector;
mod files;
mod keystore;
mod pairing;
mod peer;
mod relay;
mod secrets;
mod service;
mod status;
mod supervisor;
mod worker;

use std::path::PathBuf;

use clap::Parser;
use rempart_daemon::ha::journal;
use rempart_daemon::{disk, logging};

/// The elector of a Rempart node.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The name of this node in the document.
    #[arg(long)]
    node: String,
    /// Where revisions and state are kept; the elector's own files are in its folder `ha`.
    #[arg(long, default_value = "/var/lib/rempart")]
    state: PathBuf,
    /// The socket that `rempart-vpn` connects to; `ha/relay.sock` in the state, where nothing is said.
    #[arg(long)]
    relay: Option<PathBuf>,
    /// Does the work for the supervisor with this process id.
    #[arg(long, hide = true)]
    worker: Option<u32>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    logging::start();
    let relay = arguments.relay.unwrap_or_else(|| arguments.state.join("ha/relay.sock"));
    match arguments.worker {
        None => supervisor::run(&arguments.node, &arguments.state, &relay),
        Some(parent) => {
            supervisor::name_worker();
            worker::run(&arguments.node, &arguments.state, &relay, parent)
        }
    }
}
