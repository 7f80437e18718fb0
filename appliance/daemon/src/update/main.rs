//! `rempart-update`: brings new versions into the other slot, and looks whether they are good.
//!
//! ```text
//!  rempart ──org.rempart.Update1──▶ serve ─┬─ job      a thread: source ─▶ verify ─▶ slot, EFI system partition
//!                                          ├─ pair     both nodes, one after the other; its plan lies on disk
//!  the other node ──rempart-ha────▶        ├─ partner  gives its own version away, piece by piece
//!                                          └─ disks    from a stick onto a disk, where the box was started from one
//!
//!  systemd ──at each start─────────▶ health   only on trial: as good as before ─▶ blessed; not so ─▶ the version of before
//! ```
//!
//! Two processes, because the second decides about the first as well. Neither trusts what it writes before its signature is
//! verified, and neither touches the slot that runs. The rest are tools of the build: `sign`, `public`, `new-key`.

mod disks;
mod health;
mod https;
mod job;
mod look;
mod own;
mod pair;
mod partner;
mod records;
mod service;
mod source;
mod tool;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use rempart_bus::{UPDATE_NAME, UPDATE_PATH};
use rempart_daemon::{caller, disk, logging, tasks};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// How long the question may take whether the running version is on trial; who cannot say by then says no. systemd starts the box
/// again where there is no answer in `TimeoutStartSec` of rempart-health.service, which is longer: that must never happen to a
/// version that has proved itself, however slow the disk is.
const ON_TRIAL_MAX: Duration = Duration::from_secs(240);

/// Updates of a Rempart node.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serves the console and the other node.
    Serve(Place),
    /// Decides about the running version; ends at once where that is not on trial.
    Health(Place),
    /// Exit code 0 if the running version is on trial.
    OnTrial(Place),
    /// Signs an update file.
    Sign(tool::Sign),
    /// Prints the public half of a key.
    Public {
        /// PKCS #8, DER or PEM.
        key: PathBuf,
    },
    /// Makes a new key.
    NewKey {
        /// Where it goes; it must not be there.
        key: PathBuf,
    },
}

/// What this box is, and where its things lie.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// What is kept of trials and of the update of a pair.
    #[arg(long, default_value = "/var/lib/rempart-update")]
    state: PathBuf,
    /// The EFI system partition.
    #[arg(long, default_value = "/efi")]
    esp: PathBuf,
    /// The public keys, one to a file.
    #[arg(long, default_value = "/usr/lib/rempart/update-keys")]
    keys: PathBuf,
    /// The authorities that vouch for servers of updates.
    #[arg(long, default_value = "/usr/lib/rempart/update-ca.pem")]
    ca: PathBuf,
    /// Where sticks are mounted.
    #[arg(long, default_value = "/run/media/rempart")]
    stick: PathBuf,
    /// Names the stick that the box was started from, where nothing is kept.
    #[arg(long, default_value = "/run/rempart/live")]
    live: PathBuf,
    /// The disk; else that of the root file system.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// Says which version runs.
    #[arg(long, default_value = "/etc/os-release")]
    os_release: PathBuf,
    /// Says which root file system runs.
    #[arg(long, default_value = "/proc/cmdline")]
    cmdline: PathBuf,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().verb {
        Verb::Serve(place) => {
            logging::start();
            runtime()?.block_on(serve(place))
        }
        Verb::Health(place) => {
            logging::start();
            let runtime = runtime()?;
            let stays = runtime.block_on(health::decide(&place))?;
            // systemd restarts the box, also where the bus is not there to be asked.
            if stays { Ok(()) } else { std::process::exit(1) }
        }
        Verb::OnTrial(place) => {
            std::thread::spawn(|| {
                std::thread::sleep(ON_TRIAL_MAX);
                std::process::exit(1)
            });
            let on_trial = own::Own::read(&place)?.is_on_trial()?;
            std::process::exit(if on_trial { 0 } else { 1 })
        }
        Verb::Sign(sign) => tool::sign(&sign),
        Verb::Public { key } => tool::public(&key),
        Verb::NewKey { key } => tool::new_key(&key),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn serve(place: Place) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let office = service::Office::open(place).context("this box has no slots to write updates into")?;
    let bus = zbus::connection::Builder::system()
        .serve_at(UPDATE_PATH, service::Service::new(office.clone()))
        .name(UPDATE_NAME)
        .build()
        .await
        .context("cannot serve org.rempart.Update1")?;
    office.connect(&bus);
    info!(version = %office.own().running.version, "rempart-update is ready");
    let _pair = tasks::Task::spawn(pair::run(office.clone()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // A job that is writing is at no instant something that must be finished.
    Ok(())
}
