//! The product on a router: its bus, its daemons, its console. What the daemons keep lives in the run folder and
//! survives them and a power cut, not the lab.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use rempart_bus::ha::{HaStatus, PairingOffer, PairingStatus};
use rempart_bus::{CONTROL_NAME as CONTROL, HA_NAME, Ha1Proxy, VPN_NAME};

use crate::process::{POLL, Process, output_within, succeeded, tail, wait_until};
use crate::{Host, dbus, requirements};

/// The programs: control daemon, elector, remote access.
const DAEMON: &str = "rempartd";
const ELECTOR: &str = "rempart-ha";
const VPN: &str = "rempart-vpn";
/// Whose commits the harness makes.
const AUTHOR: &str = "lab";
/// How long the daemon may take to serve: it applies its last revision first.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the bus may take to let go of the name of a program that is gone.
const NAME_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a verb of the console may take. A commit compiles, applies and reads back.
const VERB_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a question to the elector may take, and an order: a switch waits for the other node, joining for the exchange of
/// keys.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a node may take to find its role.
const ROLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The product on a router. Dropping it ends the daemons and the bus that it started.
#[derive(Debug)]
pub struct Node {
    // In the order in which they end.
    vpn: Option<Process>,
    elector: Option<Process>,
    daemon: Option<Process>,
    bus: Option<Process>,
    host: Host,
    /// The daemon's program, where it is not the workspace's.
    program: Option<PathBuf>,
}

impl Node {
    pub(crate) fn new(host: Host, program: Option<&Path>) -> Self {
        Self {
            vpn: None,
            elector: None,
            daemon: None,
            bus: None,
            host,
            program: program.map(Path::to_path_buf),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// The router.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where the daemon keeps its state.
    pub fn state_dir(&self) -> PathBuf {
        self.host.run_dir().join("state")
    }

    /// Whether the control daemon serves, whoever started it.
    pub fn is_up(&self) -> bool {
        self.socket().exists() && dbus::has_owner(&self.bus_address(), CONTROL)
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
        let mut commit = self.rempart()?;
        commit.arg("commit").arg(document.as_ref()).args(["-m", message]);
        // It is not the person at the keyboard who commits.
        commit.env("SUDO_USER", AUTHOR);
        succeeded(output_within(commit, VERB_TIMEOUT)?, "rempart commit")?;
        Ok(())
    }

    /// The daemon, where this value started it: to look at its log, stop it, kill it.
    pub fn daemon(&mut self) -> Option<&mut Process> {
        self.daemon.as_mut()
    }

    /// The elector, where this value started it.
    pub fn elector(&mut self) -> Option<&mut Process> {
        self.elector.as_mut()
    }

    /// Starts the daemon, again after it was killed, and waits until it serves.
    pub fn start_daemon(&mut self) -> Result<()> {
        if self.daemon.as_mut().is_some_and(Process::is_running) {
            bail!("the daemon of {} runs already", self.host.name());
        }
        let program = self.program.clone().map_or_else(|| requirements::program(DAEMON), Ok)?;
        let daemon = self.start_program(DAEMON, &program, CONTROL, &[])?;
        let address = self.bus_address();
        let daemon = self.daemon.insert(daemon);
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

    /// Starts the elector, again after it was killed. Does not wait for it: [`wait_for_role`](Self::wait_for_role) does.
    pub fn start_elector(&mut self) -> Result<()> {
        if self.elector.as_mut().is_some_and(Process::is_running) {
            bail!("the elector of {} runs already", self.host.name());
        }
        self.elector = Some(self.start_program(ELECTOR, &requirements::program(ELECTOR)?, HA_NAME, &[])?);
        Ok(())
    }

    /// Remote access, where this value started it.
    pub fn vpn(&mut self) -> Option<&mut Process> {
        self.vpn.as_mut()
    }

    /// Starts remote access, again after it was killed. It waits by itself for a document that asks for it.
    pub fn start_vpn(&mut self) -> Result<()> {
        if self.vpn.as_mut().is_some_and(Process::is_running) {
            bail!("remote access of {} runs already", self.host.name());
        }
        let run = self.memory();
        fs::create_dir_all(&run)?;
        let words = [OsStr::new("--run"), run.as_os_str()];
        self.vpn = Some(self.start_program(VPN, &requirements::program(VPN)?, VPN_NAME, &words)?);
        Ok(())
    }

    /// Starts everything, as the machine does when it is switched on: after [`Lab::power_on`](crate::Lab::power_on), or for
    /// the first time.
    pub fn boot(&mut self) -> Result<()> {
        // Dropped one after the other, each would wait for an end that has come already.
        for process in [&mut self.vpn, &mut self.elector, &mut self.daemon, &mut self.bus]
            .into_iter()
            .filter_map(Option::as_mut)
        {
            process.kill();
        }
        (self.vpn, self.elector, self.daemon, self.bus) = (None, None, None, None);
        // A bus that was killed leaves its socket.
        match fs::remove_file(self.socket()) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).context("the socket of the bus"),
            _ => {}
        }
        // What is kept in memory does not outlive the machine.
        match fs::remove_dir_all(self.memory()) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).context("what was kept in memory"),
            _ => {}
        }
        self.start_bus()?;
        self.start_daemon()?;
        self.start_elector()?;
        self.start_vpn()
    }

    /// What the elector says.
    pub fn ha_status(&self) -> Result<HaStatus> {
        let text = self.ask_elector(ASK_TIMEOUT, async |elector| elector.status().await)?;
        serde_json::from_str(&text).with_context(|| format!("the elector's status: {text}"))
    }

    /// Waits until the elector says what `condition` wants, and returns what it says then.
    pub fn wait_for_ha(
        &self,
        what: &str,
        timeout: Duration,
        mut condition: impl FnMut(&HaStatus) -> bool,
    ) -> Result<HaStatus> {
        let mut last = Err(anyhow::anyhow!("never asked"));
        wait_until(timeout, || {
            last = self.ha_status();
            last.as_ref().is_ok_and(&mut condition)
        });
        let name = self.name();
        match last {
            Ok(status) if condition(&status) => Ok(status),
            Ok(status) => bail!("{name}: not {what} after {timeout:?}: {status:#?}"),
            Err(error) => Err(error.context(format!("{name}: not {what} after {timeout:?}"))),
        }
    }

    /// Waits until this node is `active` or `standby`.
    pub fn wait_for_role(&self) -> Result<HaStatus> {
        self.wait_for_ha("active or standby", ROLE_TIMEOUT, |s| s.role == "active" || s.role == "standby")
    }

    /// Hands the role to the other node.
    pub fn switch(&self) -> Result<()> {
        self.ask_elector(ORDER_TIMEOUT, async |elector| elector.switch().await)
    }

    /// Takes this node out of service or back in.
    pub fn maintenance(&self, on: bool) -> Result<()> {
        self.ask_elector(ORDER_TIMEOUT, async |elector| elector.maintenance(on).await)
    }

    /// Offers to pair.
    pub fn pair_offer(&self) -> Result<PairingOffer> {
        let text = self.ask_elector(ORDER_TIMEOUT, async |elector| elector.pair_offer().await)?;
        serde_json::from_str(&text).with_context(|| format!("the offer: {text}"))
    }

    /// Takes up an offer with its code.
    pub fn pair_join(&self, code: &str, device: &str) -> Result<String> {
        self.ask_elector(ORDER_TIMEOUT, async |elector| elector.pair_join(code, device).await)
    }

    /// How the pairing stands.
    pub fn pairing(&self) -> Result<PairingStatus> {
        let text = self.ask_elector(ASK_TIMEOUT, async |elector| elector.pairing().await)?;
        serde_json::from_str(&text).with_context(|| format!("the pairing: {text}"))
    }

    /// Forgets the other node.
    pub fn unpair(&self) -> Result<()> {
        self.ask_elector(ORDER_TIMEOUT, async |elector| elector.unpair().await)
    }

    /// Asks the elector something over its bus.
    fn ask_elector<T>(
        &self,
        timeout: Duration,
        question: impl AsyncFnOnce(Ha1Proxy<'static>) -> Result<T, rempart_bus::Error>,
    ) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = runtime.block_on(async {
            let address = self.bus_address();
            let ask = async {
                let bus = zbus::connection::Builder::address(address.as_str()).build().await?;
                question(Ha1Proxy::new(&bus).await?).await
            };
            tokio::time::timeout(timeout, ask).await
        });
        let answer = asked.with_context(|| format!("the elector of {} does not answer", self.name()))?;
        answer.with_context(|| format!("the elector of {}", self.name()))
    }

    fn start_program(&self, name: &str, program: &Path, bus_name: &str, words: &[&OsStr]) -> Result<Process> {
        let address = self.bus_address();
        // The bus may take a moment to see that the one before is gone.
        if !wait_until(NAME_TIMEOUT, || !dbus::has_owner(&address, bus_name)) {
            bail!("another program than ours has the name {bus_name} on the bus of {}", self.host.name());
        }
        fs::create_dir_all(self.state_dir())?;
        let mut command = self.command(program);
        command.args(["--node", self.host.name(), "--state"]).arg(self.state_dir()).args(words);
        self.host.spawn(name, command)
    }

    /// Lets the daemons and the bus outlive this value.
    pub fn detach(mut self) {
        let parts = [self.vpn.take(), self.elector.take(), self.daemon.take(), self.bus.take()];
        parts.into_iter().flatten().for_each(Process::detach);
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

    /// In place of a tmpfs: it outlives programs, not the machine.
    fn memory(&self) -> PathBuf {
        self.host.run_dir().join("run-vpn")
    }
}
