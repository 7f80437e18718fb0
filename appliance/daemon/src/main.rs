//! `rempartd`, the control daemon: holds the document, plans, applies, and answers the console.
//!
//! ```text
//! bus calls ──▶ service ──Command──▶ control loop ──▶ engine ──▶ kernel
//!                                     ▲   ▲   ▲
//!               gather (leases, names, lists)  │   signals, link changes, the second hand
//!               log (nflog) ◀── read by pages ─┘
//! ```
//!
//! One task, the control loop, owns all state; the others bring it messages. Ending the daemon leaves the
//! kernel as it is; started again, it reads what the kernel holds and goes on.

mod administrator;
mod audit;
mod commit;
mod control;
mod engine;
mod gather;
mod judge;
mod log;
mod numbers;
mod peer;
mod remote;
mod report;
mod service;
mod setup;
mod ssh;
mod store;
mod tune;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rempart_bus::{CONTROL_NAME, CONTROL_PATH};
use rempart_daemon::{disk, logging};
use rempart_system::conntrack::Conntrack;
use rempart_system::links::Links;
use rempart_system::nft::Nft;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use control::Control;
use engine::Engine;
use store::Store;

/// How long nft may take: a policy of a million boxes on a slow box.
const NFT_TIMEOUT: Duration = Duration::from_secs(120);
/// How many calls may wait for the control loop.
const CALLS: usize = 32;

/// The control daemon of a Rempart node.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The name of this node in the document.
    #[arg(long)]
    node: String,
    /// Where revisions and state are kept.
    #[arg(long, default_value = "/var/lib/rempart")]
    state: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    logging::start();

    let store = Store::open(&arguments.state)?;
    let nft = Nft::new("nft", NFT_TIMEOUT).locked_by(arguments.state.join("nft.lock"));
    let engine = Engine::new(Links::new()?, nft, Conntrack::new()?);
    let (sender, calls) = mpsc::channel(CALLS);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let control = Control::start(arguments.node.clone(), store, engine).await?;
    let bus = zbus::connection::Builder::system()
        .serve_at(CONTROL_PATH, service::Service::new(sender, &arguments.state))
        .name(CONTROL_NAME)
        .build()
        .await
        .context("cannot serve org.rempart.Control1: is another rempartd running on this bus?")?;
    info!(node = arguments.node, state = %arguments.state.display(), "rempartd is ready");
    tokio::select! {
        () = control.run(calls, bus.clone()) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    info!("rempartd ends; the policy stays in force");
    Ok(())
}
