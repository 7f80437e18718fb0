//! The supervisor: a small process that does nothing but keep the worker running.
//!
//! It holds no socket and parses nothing that comes from a network, so nothing that kills the worker kills it. A worker
//! that dies is started again at once; the kernel forwards meanwhile, and the new worker finds the virtual links up. One
//! that dies again and again must not keep the addresses from the other node: then the links go down.
//!
//! **The lifeline.** A process is dead for its parent (SIGCHLD) only once all its files are closed, and closing a packet
//! socket waits until no processor can still be using it: tens of milliseconds, in which the other node would take over.
//! So the worker holds one end of a pipe by the highest number among its files, which the kernel closes first.

use std::collections::VecDeque;
use std::io;
use std::iter;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rempart_daemon::notify;
use rempart_system::linkwatch::LinkWatch;
use rempart_system::realtime;
use rempart_system::virtual_link::{Batch, VirtualLink, VirtualLinks};
use tracing::{error, info, warn};

use crate::elector;
use crate::files::Files;

/// So many deaths ...
const DEATHS: usize = 5;
/// ... in so short a time are no accident.
const WINDOW: Duration = Duration::from_secs(10);
/// The first pause after that; each further one is twice as long, ...
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// ... up to this.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// What the worker says while its elector turns. Only the main process of a unit may tell systemd.
pub const LIFE: Signal = Signal::SIGUSR1;
/// How long the worker may take to hand over: the machine of the node gives up after 2.5 s.
const LEAVING: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, then has the worker hand over.
pub fn run(node: &str, state: &Path, relay: &Path) -> anyhow::Result<()> {
    let files = Files::open(state).with_context(|| format!("cannot use {}", state.display()))?;
    // A worker inherits this, so that it is back in a moment however busy the machine is.
    if let Err(error) = realtime::run_first(elector::PRIORITY - 1) {
        warn!(%error, "no real-time priority: take-overs may come late on a busy machine");
    }
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD, LIFE] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut deaths = Deaths::default();
    let mut worker = start(node, state, relay).context("cannot start the worker")?;
    loop {
        match watch(&signals, &mut worker)? {
            Ended::Asked => {
                leave(&signals, &mut worker);
                links_down(&files);
                return Ok(());
            }
            Ended::Died => match deaths.count(Instant::now()) {
                // First of all: each millisecond brings the other node nearer to thinking us dead.
                None => {
                    let next = start(node, state, relay).context("cannot start the worker")?;
                    let status = reap(std::mem::replace(&mut worker, next))?;
                    error!(%status, "the elector has died; it has been started again");
                }
                Some(pause) => {
                    let status = reap(worker)?;
                    links_down(&files);
                    let pause_s = pause.as_secs();
                    error!(%status, pause_s, "the elector dies again and again; the virtual addresses are given up");
                    if wait_until(&signals, None, pause)? {
                        return Ok(());
                    }
                    worker = start(node, state, relay).context("cannot start the worker")?;
                }
            },
        }
    }
}

enum Ended {
    Asked,
    Died,
}

fn start(node: &str, state: &Path, relay: &Path) -> io::Result<Child> {
    // The program that is running, even if another has been installed in its place.
    Command::new("/proc/self/exe")
        .arg0("rempart-ha")
        .args(["--node", node, "--worker", &std::process::id().to_string(), "--state"])
        .arg(state)
        .arg("--relay")
        .arg(relay)
        .stdin(Stdio::piped())
        .spawn()
}

/// Gives the worker, which is one, the program's name: started by way of `/proc/self/exe` it would be called `exe` (proc(5),
/// `/proc/pid/comm`).
pub fn name_worker() {
    if let Err(error) = std::fs::write("/proc/self/comm", "rempart-ha") {
        warn!(%error, "the worker has no name in lists of processes");
    }
}

/// Waits until the worker dies or we are asked to end.
fn watch(signals: &SignalFd, worker: &mut Child) -> anyhow::Result<Ended> {
    loop {
        let mut ready = Vec::new();
        let lifeline = worker.stdin.as_ref().map(|pipe| pipe.as_fd());
        realtime::wait(iter::once(signals.as_fd()).chain(lifeline), None, &mut ready)?;
        if ready.get(1) == Some(&true) || worker.try_wait()?.is_some() {
            return Ok(Ended::Died);
        }
        if was_asked(signals)? {
            return Ok(Ended::Asked);
        }
    }
}

/// Waits until a dying worker is gone.
fn reap(mut worker: Child) -> io::Result<ExitStatus> {
    // Whatever has let go of the lifeline is to be gone. One that is dead already takes no harm.
    worker.kill()?;
    worker.wait()
}

/// The worker hands over and ends, or is ended.
fn leave(signals: &SignalFd, worker: &mut Child) {
    info!("handing over");
    if let Ok(id) = i32::try_from(worker.id()) {
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
    // What we are asked meanwhile changes nothing.
    if !matches!(wait_until(signals, Some(worker), LEAVING), Ok(true)) {
        error!("the elector does not end; it is killed");
        let _ = worker.kill();
        let _ = worker.wait();
    }
}

/// Waits until we are asked to end, or with `worker` until it has ended; `patience` at most. Gives whether it was so.
fn wait_until(
    signals: &SignalFd,
    mut worker: Option<&mut Child>,
    patience: Duration,
) -> anyhow::Result<bool> {
    let end = Instant::now() + patience;
    loop {
        let asked = was_asked(signals)?;
        let done = match &mut worker {
            Some(worker) => worker.try_wait()?.is_some(),
            None => asked,
        };
        let left = end.saturating_duration_since(Instant::now());
        if done || left.is_zero() {
            return Ok(done);
        }
        realtime::wait([signals.as_fd()], Some(left), &mut Vec::new())?;
    }
}

/// Takes in the signals that have come, passes on that the worker lives; `true` if one of them asks us to end.
fn was_asked(signals: &SignalFd) -> io::Result<bool> {
    let mut asked = false;
    while let Some(signal) = signals.read_signal()? {
        match i32::try_from(signal.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
            Some(LIFE) => notify::alive(),
            Some(Signal::SIGCHLD) => {}
            Some(_) | None => asked = true,
        }
    }
    Ok(asked)
}

/// Takes the virtual addresses from this node, whoever had brought them up.
fn links_down(files: &Files) {
    let down = || -> anyhow::Result<()> {
        let Some(plan) = files.plan()?.and_then(|stored| stored.plan) else { return Ok(()) };
        let watch = LinkWatch::open()?;
        let carried = |index: u32| watch.links().find(|link| link.index == index).map(|link| &link.addresses);
        let links: Vec<_> = plan
            .routers
            .iter()
            .filter_map(|router| watch.named(&router.device))
            .map(|link| VirtualLink {
                index: link.index,
                addresses: carried(link.index).into_iter().flatten().copied().collect(),
            })
            .collect();
        let refused = |act, error| warn!(?act, %error, "a virtual link cannot be taken down");
        Ok(VirtualLinks::open()?.perform(&Batch::down(&links)?, refused)?)
    };
    if let Err(error) = down() {
        error!(error = format!("{error:#}"), "the virtual links cannot be taken down");
    }
}

/// When the worker died.
#[derive(Default)]
struct Deaths {
    times: VecDeque<Instant>,
    pauses: u32,
}

impl Deaths {
    /// Counts a death; gives how long to wait, if it is one too many.
    fn count(&mut self, now: Instant) -> Option<Duration> {
        // After a quiet time everything is forgotten.
        if self.times.back().is_some_and(|last| now.saturating_duration_since(*last) > WINDOW + MAX_PAUSE) {
            self.pauses = 0;
        }
        self.times.push_back(now);
        while self.times.len() > DEATHS {
            self.times.pop_front();
        }
        let often = self.times.len() == DEATHS
            && self.times.front().is_some_and(|first| now.saturating_duration_since(*first) < WINDOW);
        if !often && self.pauses == 0 {
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(8)).min(MAX_PAUSE);
        self.pauses += 1;
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: a death a second. Out: four are forgiven; from the fifth on the pauses double up to half a minute.
    #[test]
    fn deaths_in_short_order_are_not_forgiven() {
        let (start, mut deaths) = (Instant::now(), Deaths::default());
        let mut at = |second| deaths.count(start + Duration::from_secs(second)).map(|pause| pause.as_secs());
        let pauses: Vec<_> = (0..12).map(&mut at).collect();
        let some = |seconds: [u64; 8]| seconds.map(Some);
        assert_eq!(pauses[..4], [None; 4]);
        assert_eq!(pauses[4..], some([1, 2, 4, 8, 16, 30, 30, 30]));
        assert_eq!(at(1000), None);
    }

    /// In: a death every three seconds. Out: never a pause.
    #[test]
    fn rare_deaths_are_forgiven() {
        let (start, mut deaths) = (Instant::now(), Deaths::default());
        for n in 0..20 {
            assert_eq!(deaths.count(start + Duration::from_secs(3 * n)), None);
        }
    }
}
