//! The verbs. Those at the end are hidden: the harness runs them inside hosts.

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rempart_lab::traffic::{dhcp, echo, flood, hold, probe};
use rempart_lab::{Lab, Node, Record, Topology, Transport, obstacle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The lab: the network of an example in namespaces on one machine.
#[derive(Parser)]
#[command(name = "lab", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Brings a lab up, commits the document and opens the console; all of it goes when the console ends.
    Up {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// The document that the router runs.
        #[arg(long, default_value = "examples/datatel.toml")]
        document: PathBuf,
        /// Leaves the lab standing, without a console, until `lab down`.
        #[arg(long)]
        detach: bool,
    },
    /// Runs a command inside a host.
    Exec {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// The host; `lab status` lists them.
        host: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Opens the console of the router.
    Console {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// What to pass to `rempart`: a verb, or nothing for the screen.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Removes a lab, also one whose owner was killed.
    Down {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
    },
    /// Lists the standing labs and their hosts.
    Status,
    /// Serves echoes.
    #[command(hide = true)]
    Serve { transport: Transport, address: SocketAddr },
    /// Probes an address.
    #[command(hide = true)]
    Probe {
        transport: Transport,
        to: SocketAddr,
        #[arg(long)]
        from: Option<IpAddr>,
        #[arg(long, default_value_t = 1000)]
        timeout_ms: u64,
    },
    /// Sends numbered UDP packets until its input ends.
    #[command(hide = true)]
    Flood {
        to: SocketAddr,
        /// Packets a second.
        #[arg(long, default_value_t = 1000)]
        rate: u32,
        #[arg(long, default_value_t = flood::MAX_PACKETS)]
        count: u64,
        /// Bytes of UDP payload.
        #[arg(long, default_value_t = 64)]
        size: usize,
    },
    /// Receives a flood until its input ends, then reports.
    #[command(hide = true)]
    Sink { address: SocketAddr },
    /// Holds a TCP connection until its input ends, then reports.
    #[command(hide = true)]
    Hold {
        to: SocketAddr,
        #[arg(long, default_value_t = 20)]
        every_ms: u64,
    },
    /// Asks for an offer by DHCP.
    #[command(hide = true)]
    Dhcp {
        device: String,
        #[arg(long, default_value_t = 3000)]
        timeout_ms: u64,
    },
}

/// Does what the command line says.
pub(crate) fn run() -> Result<ExitCode> {
    let verb = Arguments::parse().verb;
    if matches!(verb, Verb::Up { .. } | Verb::Exec { .. } | Verb::Console { .. } | Verb::Down { .. })
        && let Some(why) = obstacle()
    {
        bail!(why);
    }
    match verb {
        Verb::Up { name, document, detach } => up(&name, &document, detach),
        Verb::Exec { name, host, command } => exec(&name, &host, &command),
        Verb::Console { name, arguments } => {
            let lab = Lab::attach(&name)?;
            let mut console = router(&lab)?.rempart()?;
            console.args(arguments);
            in_foreground(console, &Signals::take()?).map(code_of)
        }
        Verb::Down { name } => Lab::remove(&name).map(|()| ExitCode::SUCCESS),
        Verb::Status => {
            status();
            Ok(ExitCode::SUCCESS)
        }
        Verb::Serve { transport, address } => echo::serve(transport, address).map(done),
        Verb::Probe { transport, to, from, timeout_ms } => {
            answer(&probe::send(transport, to, from, Duration::from_millis(timeout_ms))?)
        }
        Verb::Flood { to, rate, count, size } => flood::send(to, rate, count, size).map(done),
        Verb::Sink { address } => flood::receive(address).map(done),
        Verb::Hold { to, every_ms } => hold::send(to, Duration::from_millis(every_ms)).map(done),
        Verb::Dhcp { device, timeout_ms } => answer(&dhcp::send(&device, Duration::from_millis(timeout_ms))?),
    }
}

fn up(name: &str, document: &Path, detach: bool) -> Result<ExitCode> {
    let topology = Topology::of_document(document)?;
    let router = topology.routers().next().context("the document has no router")?.to_owned();
    let signals = Signals::take()?;
    eprintln!("lab: bringing up {name} …");
    let lab = Lab::builder().name(name).topology(topology.only_router(&router)).up()?;
    signals.check()?;
    let node = lab.start_node(&router)?;
    signals.check()?;
    node.commit(document, "the example of the lab")?;
    signals.check()?;
    if detach {
        let hosts: Vec<_> = lab.hosts().iter().map(|h| h.name().to_owned()).collect();
        node.detach();
        lab.leave_standing()?;
        println!("The lab {name} stands: {}.", hosts.join(", "));
        println!("Commands in it: lab exec HOST COMMAND; the console: lab console; its end: lab down.");
        return Ok(ExitCode::SUCCESS);
    }
    let status = in_foreground(node.rempart()?, &signals)?;
    eprintln!("lab: removing {name} …");
    Ok(code_of(status))
}

fn exec(name: &str, host: &str, words: &[String]) -> Result<ExitCode> {
    let lab = Lab::attach(name)?;
    let Some(host) = lab.find_host(host) else {
        let names: Vec<_> = lab.hosts().iter().map(|h| h.name()).collect();
        bail!("no host {host:?}; there are {}", names.join(", "));
    };
    // On a router, the product's own programs find their bus.
    let node = lab.node(host.name());
    let mut command = if host.is_router() { node.command(&words[0]) } else { host.command(&words[0]) };
    command.args(&words[1..]);
    in_foreground(command, &Signals::take()?).map(code_of)
}

fn status() {
    let labs = Record::all();
    if labs.is_empty() {
        println!("no lab is up");
    }
    for lab in labs {
        let state = match lab.owner {
            None => "standing until `lab down`".to_owned(),
            Some(owner) if owner.is_alive() => format!("held by process {}", owner.pid),
            Some(owner) => format!("abandoned by process {}: `lab down --name {}`", owner.pid, lab.name),
        };
        println!("{}: {state}; {}", lab.name, lab.run_dir().display());
        for host in &lab.hosts {
            let segments: Vec<_> =
                lab.cables.iter().filter(|c| c.host == host.name).map(|c| c.segment.as_str()).collect();
            let kind = if host.router { "router" } else { "host" };
            println!(
                "  {:14} {kind:7} {:24} {}",
                host.name,
                lab.namespace_of(&host.name),
                segments.join(" ")
            );
        }
    }
}

fn router(lab: &Lab) -> Result<Node> {
    let router = lab.hosts().iter().find(|h| h.is_router()).context("the lab has no router")?;
    Ok(lab.node(router.name()))
}

/// The signals that ask us to end. They are noted, so that they do not end us before the lab is removed.
struct Signals {
    /// SIGINT. From a keyboard it reaches the program in the foreground by itself, which may well live on.
    interrupt: Arc<AtomicBool>,
    /// SIGTERM or SIGHUP.
    end: Arc<AtomicBool>,
}

impl Signals {
    fn take() -> Result<Self> {
        let signals = Self { interrupt: Arc::default(), end: Arc::default() };
        signal_hook::flag::register(SIGINT, Arc::clone(&signals.interrupt))?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&signals.end))?;
        signal_hook::flag::register(SIGHUP, Arc::clone(&signals.end))?;
        Ok(signals)
    }

    fn check(&self) -> Result<()> {
        if self.interrupt.load(Ordering::Relaxed) || self.end.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    fn end_foreground(&self) -> bool {
        let from_keyboard = std::io::stdin().is_terminal();
        self.end.load(Ordering::Relaxed) || (self.interrupt.load(Ordering::Relaxed) && !from_keyboard)
    }
}

/// Runs a command on our terminal to its end, or to ours: then it is asked to end, and after two seconds made to.
fn in_foreground(mut command: Command, signals: &Signals) -> Result<ExitStatus> {
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match asked {
            None if signals.end_foreground() => {
                kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
                asked = Some(Instant::now());
            }
            Some(at) if at.elapsed() > Duration::from_secs(2) => child.kill()?,
            _ => {}
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn code_of(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    // 128 + signal, as shells say it.
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn answer(value: &impl serde::Serialize) -> Result<ExitCode> {
    println!("{}", serde_json::to_string(value)?);
    Ok(ExitCode::SUCCESS)
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
