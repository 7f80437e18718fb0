//! The product on a router: its bus, its daemon, its console. What the daemon keeps lives in the run folder and
//! survives the daemon, not the lab.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Result, bail};

use crate::process::{POLL, Process, output_within, succeeded, tail, wait_until};
use crate::{Host, dbus, requirements};

/// The bus name that says that the control daemon serves.
const CONTROL: &str = "org.rempart.Control1";
/// How long the daemon may take to serve: it applies its last revision first.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the bus may take to let go of the name of a program that is gone.
const NAME_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a verb of the console may take. A commit compiles, applies and reads back.
const VERB_TIMEOUT: Duration = Duration::from_secs(120);

/// The product on a router. Dropping it ends the daemon and the bus that it started.
#[derive(Debug)]
pub struct Node {
    // In the order in which they end.
    daemon: Option<Process>,
    bus: Option<Process>,
    host: Host,
    /// The daemon's program, where it is not the workspace's.
    program: Option<PathBuf>,
}

impl Node {
    pub(crate) fn new(host: Host, program: Option<&Path>) -> Self {
        Self { daemon: None, bus: None, host, program: program.map(Path::to_path_buf) }
    }

    /// The router.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where the daemon keeps its state.
    pub fn state_dir(&self) -> PathBuf {
        self.host.run_dir().join("state")
    }

    /// The bus, as `DBUS_SYSTEM_BUS_ADDRESS` names it.
    pub fn bus_address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    /// A program of the product inside the router, with its bus.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.host.command(program);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus_address());
        command
    }

    /// The console: without arguments its screen, with arguments a verb.
    pub fn rempart(&self) -> Result<Command> {
        Ok(self.command(requirements::program("rempart")?))
    }

    /// Runs a verb of the console. A failing verb is a value, not an error.
    pub fn verb<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Output> {
        let mut command = self.rempart()?;
        command.args(words);
        output_within(command, VERB_TIMEOUT)
    }

    /// As [`verb`](Self::verb), for what must succeed; returns its standard output.
    pub fn must<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<String> {
        let what = words.iter().map(|w| w.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        let output = succeeded(self.verb(words)?, &format!("rempart {what}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Commits a document.
    pub fn commit(&self, document: impl AsRef<Path>, message: &str) -> Result<()> {
        self.must(&[OsStr::new("commit"), document.as_ref().as_os_str(), "-m".as_ref(), message.as_ref()])?;
        Ok(())
    }

    /// The daemon, where this value started it: to look at its log, stop it, kill it.
    pub fn daemon(&mut self) -> Option<&mut Process> {
        self.daemon.as_mut()
    }

    /// Starts the daemon, again after it was killed, and waits until it serves.
    pub fn start_daemon(&mut self) -> Result<()> {
        if self.daemon.as_mut().is_some_and(Process::is_running) {
            bail!("the daemon of {} runs already", self.host.name());
        }
        let address = self.bus_address();
        // The bus may take a moment to see that the one before is gone.
        if !wait_until(NAME_TIMEOUT, || !dbus::has_owner(&address, CONTROL)) {
            bail!("another program than ours has the name {CONTROL} on the bus of {}", self.host.name());
        }
        fs::create_dir_all(self.state_dir())?;
        let program = self.program.clone().map_or_else(|| requirements::program("rempartd"), Ok)?;
        let mut command = self.command(program);
        command.args(["--node", self.host.name(), "--state"]).arg(self.state_dir());
        let daemon = self.daemon.insert(self.host.spawn("rempartd", command)?);
        let end = Instant::now() + READY_TIMEOUT;
        while !dbus::has_owner(&address, CONTROL) {
            daemon.check_running()?;
            if Instant::now() >= end {
                let said = tail(&daemon.log(), 20);
                bail!("{CONTROL} is not on the bus after {READY_TIMEOUT:?}; the daemon said:\n{said}");
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Lets the daemon and the bus outlive this value.
    pub fn detach(mut self) {
        self.daemon.take().into_iter().chain(self.bus.take()).for_each(Process::detach);
    }

    pub(crate) fn start_bus(&mut self) -> Result<()> {
        let (socket, file) = (self.socket(), self.host.run_dir().join("bus.conf"));
        if socket.exists() {
            bail!("{} has a bus already", self.host.name());
        }
        dbus::configure(&file, &socket)?;
        let mut command = self.host.command("dbus-daemon");
        command.args(["--nofork", "--nopidfile"]).arg(format!("--config-file={}", file.display()));
        let bus = self.bus.insert(self.host.spawn("dbus-daemon", command)?);
        let end = Instant::now() + READY_TIMEOUT;
        while !socket.exists() {
            bus.check_running()?;
            if Instant::now() >= end {
                bail!("dbus-daemon does not listen on {}", socket.display());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.host.run_dir().join("bus")
    }
}
