//! A host of a standing lab: commands, servers and traffic inside its namespace.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Process, output_within, succeeded};
use crate::requirements::program;
use crate::traffic::{
    Crowd, FloodRequest, Held, Offer, Ping, ProbeRequest, Replies, States, Stream, Transport, crowd, dhcp,
    flood, hold, ping, probe, replies, states, stream,
};
use crate::{namespace, requirements, servers};

/// How long [`Host::run`] waits.
const RUN_TIMEOUT: Duration = Duration::from_secs(30);

/// SCHED_FIFO priority of what measures: below that of the product's elector, which is what is being measured.
const URGENCY: &str = "20";

/// A host of a standing lab. Cheap to clone; worth nothing once the lab is gone.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    router: bool,
    namespace: String,
    run_dir: PathBuf,
    /// How many processes were started, for the names of their logs.
    started: AtomicU32,
}

/// An answer to [`Host::http_get`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpReply {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Host {
    pub(crate) fn new(name: &str, router: bool, namespace: String, lab_run_dir: &Path) -> Result<Self> {
        let run_dir = lab_run_dir.join(name);
        std::fs::create_dir_all(&run_dir)?;
        Ok(Self(Arc::new(Inner {
            name: name.into(),
            router,
            namespace,
            run_dir,
            started: AtomicU32::new(0),
        })))
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it runs the product.
    pub fn is_router(&self) -> bool {
        self.0.router
    }

    /// Its namespace, as `ip netns list` shows it.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The folder for its configurations, sockets and logs.
    pub fn run_dir(&self) -> &Path {
        &self.0.run_dir
    }

    /// A command that will run inside the host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        namespace::command(&self.0.namespace, program)
    }

    /// Runs a program to its end, at most 30 seconds. A failing program is a value, not an error.
    pub fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Output> {
        let (program, arguments) = words.split_first().context("no program given")?;
        let mut command = self.command(program);
        command.args(arguments);
        output_within(command, RUN_TIMEOUT)
    }

    /// As [`run`](Self::run), for what must succeed; returns its standard output.
    pub fn must<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<String> {
        let what = words.iter().map(|w| w.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        let output = succeeded(self.run(words)?, &format!("{what} on {}", self.name()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs lines of `ip` commands: `address add 192.168.10.1/24 dev enp2s0`.
    pub fn ip(&self, lines: &str) -> Result<()> {
        namespace::batch(&self.0.namespace, lines)
    }

    /// Sets kernel parameters: `net.ipv4.ip_forward=1`.
    pub fn sysctl(&self, settings: &[&str]) -> Result<()> {
        namespace::sysctl(&self.0.namespace, settings)
    }

    /// Loads an nft script.
    pub fn nft(&self, script: &str) -> Result<()> {
        namespace::nft(&self.0.namespace, script)
    }

    /// Starts a command made by [`command`](Self::command) and lets it run; its output goes to a log in the run
    /// folder. It ends with the returned value, and at the latest with the lab.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::start(name, command, &self.log_for(name), false)
    }

    /// Fetches a page with curl; a certificate is not checked. Errors are curl's, among them the timeout.
    pub fn http_get(&self, url: &str, timeout: Duration) -> Result<HttpReply> {
        let seconds = format!("{:.3}", timeout.as_secs_f64());
        let mut curl = self.command("curl");
        curl.args(["-q", "-sS", "-g", "-k", "--noproxy", "*", "--max-time", &seconds]);
        curl.args(["-w", "\n%{http_code}", url]);
        let output = output_within(curl, timeout + Duration::from_secs(5))?;
        let text = succeeded(output, &format!("curl {url} on {}", self.name()))?.stdout;
        let text = String::from_utf8_lossy(&text);
        let Some((body, status)) = text.rsplit_once('\n') else { bail!("curl {url} said {text:?}") };
        Ok(HttpReply { status: status.parse()?, body: body.into() })
    }

    /// Starts a server at `address` that sends back what it gets, with the client's address as it sees it. Returns
    /// when it listens. `[::]:PORT` serves both families; over UDP it then answers from the address that the
    /// kernel picks, so on a host with several addresses give the one that is asked.
    pub fn echo(&self, transport: Transport, address: SocketAddr) -> Result<Process> {
        let name = format!("echo-{transport}-{}", address.port());
        let mut server = self.urgent_tool()?;
        server.args(["serve", transport.as_str(), &address.to_string()]);
        let mut server = self.spawn(&name, server)?;
        servers::wait_for_port(self, &mut server, transport, address.port())?;
        Ok(server)
    }

    /// A probe from this host to an [`echo`](Self::echo) server, or to any TCP server.
    pub fn probe(&self, transport: Transport, to: SocketAddr) -> ProbeRequest<'_> {
        probe::request(self, transport, to)
    }

    /// A flood of numbered UDP packets from this host to `to`, which is `receiver` or an address that the firewall
    /// publishes for it; `rate` packets a second.
    pub fn flood<'a>(&'a self, receiver: &'a Self, to: SocketAddr, rate: u32) -> FloodRequest<'a> {
        flood::request(self, receiver, to, rate)
    }

    /// Opens a TCP connection to an [`echo`](Self::echo) server and sends a line every `every`, until stopped.
    pub fn hold(&self, to: SocketAddr, every: Duration) -> Result<Held> {
        hold::start(self, to, every)
    }

    /// Opens `count` TCP connections to an [`echo`](Self::echo) server and sends a line on each every `every`.
    pub fn crowd(&self, to: SocketAddr, count: usize, every: Duration) -> Result<Crowd> {
        crowd::start(self, to, count, every)
    }

    /// A stream of numbered UDP packets that `server` sends to this host, `rate` a second, in answer to one packet to
    /// its address `to`. This host says nothing more.
    pub fn replies(&self, server: &Self, to: SocketAddr, rate: u32) -> Result<Replies> {
        replies::start(self, server, to, rate)
    }

    /// A TCP connection from this host to `to`, which is `server`, with a numbered block every millisecond in one direction.
    pub fn stream(&self, server: &Self, to: SocketAddr, direction: stream::Direction) -> Result<Stream> {
        stream::start(self, server, to, direction)
    }

    /// Asks `target` for an echo (ICMP) every `every`.
    pub fn ping(&self, target: std::net::IpAddr, every: Duration) -> Result<Ping> {
        ping::start(self, target, every)
    }

    /// Writes connections into the kernel's table of this host, as if they had been there for a while.
    pub fn add_states(&self, states: &States) -> Result<()> {
        states::add(self, states)
    }

    /// How many connections the kernel of this host tracks.
    pub fn tracked(&self) -> Result<u64> {
        let text = self.must(&["cat", "/proc/sys/net/netfilter/nf_conntrack_count"])?;
        text.trim().parse().with_context(|| format!("the number of connections: {text:?}"))
    }

    /// Asks for an address by DHCP on a device that is up, and returns what is offered without taking it.
    pub fn dhcp_discover(&self, device: &str, timeout: Duration) -> Result<Option<Offer>> {
        dhcp::discover(self, device, timeout)
    }

    /// The `lab` program inside this host.
    pub(crate) fn tool(&self) -> Result<Command> {
        Ok(self.command(program("lab")?))
    }

    /// The same before everything that is not of real-time priority, for what measures milliseconds.
    pub(crate) fn urgent_tool(&self) -> Result<Command> {
        let tool = program("lab")?;
        Ok(match requirements::may_be_urgent() {
            true => {
                let mut command = self.command("chrt");
                command.args(["--fifo", URGENCY]).arg(tool);
                command
            }
            false => self.command(tool),
        })
    }

    /// Starts a command whose standard input and output are kept.
    pub(crate) fn spawn_piped(&self, name: &str, command: Command) -> Result<Process> {
        Process::start(name, command, &self.log_for(name), true)
    }

    fn log_for(&self, name: &str) -> PathBuf {
        let number = self.0.started.fetch_add(1, Ordering::Relaxed);
        self.0.run_dir.join(format!("{number:02}-{name}.log"))
    }
}
