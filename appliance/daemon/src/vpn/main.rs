//! `rempart-vpn`: remote access, for clients that people already have.
//!
//! ```text
//! main ── bus: org.rempart.Vpn1
//!  ├─ vpn-server   sessions          ◀─▶ vpn-out, vpn-in (packets), vpn-streams (TCP), vpn-kernel (nft, routes)
//!  ├─ people       logins, devices, the authority
//!  ├─ wireguard    its tunnels, with threads of their own
//!  └─ replica      sessions and secrets on both nodes ◀─▶ rempart-ha
//! ```
//!
//! It needs neither the bus nor `rempartd` to do its work: what the document asked for last is on disk. Killed at any instant it
//! leaves clients that are answered by the other node, or by itself once it is started again.

mod assemble;
mod bus;

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rempart_daemon::{disk, logging, notify};
use rempart_plan::remote::RemotePlan;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use assemble::assemble;

/// How often it is looked whether the server's thread has ended.
const LOOK: Duration = Duration::from_millis(500);

/// Remote access of a Rempart node.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The name of this node in the document.
    #[arg(long)]
    node: String,
    /// Where revisions and state are kept; this program's own files are in its folder `vpn`.
    #[arg(long, default_value = "/var/lib/rempart")]
    state: PathBuf,
    /// On tmpfs, for this program alone: sessions, for when it is started again.
    #[arg(long, default_value = "/run/rempart-vpn")]
    run: PathBuf,
    /// Where `rempart-ha` listens; `ha/relay.sock` in the state, where nothing is said.
    #[arg(long)]
    relay: Option<PathBuf>,
    /// Between so many pairs of threads clients are shared out, if the kernel lets us steer packets; one for each two processors,
    /// where nothing is said.
    #[arg(long)]
    shards: Option<usize>,
}

/// What the document asked for last.
#[derive(Clone, Debug)]
struct PlanFile(PathBuf);

impl PlanFile {
    fn read(&self) -> Option<RemotePlan> {
        disk::read_json(&self.0).unwrap_or_else(|error| {
            warn!(path = %self.0.display(), %error, "what the document asked for last cannot be read; rempartd says it again");
            None
        })
    }

    fn write(&self, plan: Option<&RemotePlan>) {
        // At each start it is said again.
        if disk::read_json(&self.0).is_ok_and(|known: Option<RemotePlan>| known.as_ref() == plan) {
            return;
        }
        let done = match plan {
            Some(plan) => disk::write_json(&self.0, plan),
            None => disk::remove(&self.0),
        };
        if let Err(error) = done {
            error!(path = %self.0.display(), %error, "what the document asks for is not kept for the next start");
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    logging::start();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&arguments))
}

/// There is no server yet whose turns systemd could wait for, and without remote access in the document there never is one.
async fn live() -> Infallible {
    loop {
        notify::alive();
        tokio::time::sleep(notify::PERIOD).await;
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let file = PlanFile(arguments.state.join("vpn/plan.json"));
    let plan = match file.read() {
        Some(plan) => plan,
        // Which epochs this node draws stands in the plan: nothing can begin before there was one.
        None => tokio::select! {
            plan = bus::first_plan(&arguments.node) => plan,
            never = live() => match never {},
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        },
    };
    let (gate, parts) = assemble(arguments, &plan, file)?;
    let gate = match arguments.shards {
        Some(shards) => gate.with_shards(shards),
        None => gate,
    };
    let server = gate.spawn().context("the server cannot start")?;
    // Kept for the next start by the way.
    (parts.service.configure)(Some(plan), 0);
    let bus = tokio::spawn(bus::serve(parts.service.clone()));
    info!(node = arguments.node, "rempart-vpn is ready");
    while !server.is_finished() {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    // Clients are told nothing: the other node carries them on, or this one when it is started again.
    bus.abort();
    parts.server.stop();
    let ended = tokio::task::spawn_blocking(move || server.join()).await?;
    ended.map_err(|_| anyhow::anyhow!("the server's thread has panicked"))??;
    Ok(())
}
