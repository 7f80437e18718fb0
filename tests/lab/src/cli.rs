//! The verbs. Those at the end are hidden: the harness runs them inside hosts.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::SetArg;
use nix::unistd::Pid;
use rempart_lab::traffic::{States, crowd, dhcp, echo, flood, hold, ping, probe, replies, states, stream};
use rempart_lab::{Lab, Node, Record, Server, Topology, Transport, obstacle, program};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Where `lab ssh` and `lab download` go: the standard network's desk, and its server beyond the provider.
const DESK: &str = "192.168.20.11";
const BEYOND: &str = "198.51.100.1";

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
    /// Opens the console of a router, of the active one unless told otherwise.
    Console {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// The router.
        #[arg(long)]
        node: Option<String>,
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
    /// A shell on srv-ebrigade by SSH from srv-voip, through the firewall; or one command there.
    Ssh {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// The command; without one, a shell.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// A download from the Internet to cli-lan, through the firewall's address translation, with curl's own figures. Goes on until it
    /// is interrupted.
    Download {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
    },
    /// Pulls the cable of a host to a segment.
    Cut(CableArguments),
    /// Puts it back in.
    Mend(CableArguments),
    /// Kills every process of a program on a host: SIGKILL.
    Kill {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// The host.
        host: String,
        /// The program: rempartd, rempart-ha, nginx.
        program: String,
    },
    /// The power of a router fails.
    PowerOff(HostArguments),
    /// The power of a router returns, and it starts.
    PowerOn(HostArguments),
    /// A host stands still, its cables in.
    Freeze(HostArguments),
    /// A host that stood still goes on.
    Thaw(HostArguments),
    /// No frame passes directly between the two routers on a segment any more; each reaches all others there.
    Split {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// The segment: wan, lan, dmz, sync.
        segment: String,
    },
    /// Frames of a segment that match an nftables expression are dropped from now on.
    Filter {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// The segment.
        segment: String,
        /// The expression, of the bridge family: "meta l4proto 112", "udp dport 47800".
        expression: String,
    },
    /// Ends all splits and filters.
    Heal {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
    },
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
    /// Holds many TCP connections until its input ends, then reports.
    #[command(hide = true)]
    Crowd {
        to: SocketAddr,
        #[arg(long)]
        count: usize,
        #[arg(long, default_value_t = 20)]
        every_ms: u64,
    },
    /// Waits for a packet and answers it with numbered ones until its input ends.
    #[command(hide = true)]
    Push {
        address: SocketAddr,
        #[arg(long, default_value_t = 1000)]
        rate: u32,
    },
    /// Asks for such answers and receives them until its input ends, then reports.
    #[command(hide = true)]
    Pull { from: SocketAddr },
    /// Takes one TCP connection and sends or receives a stream.
    #[command(hide = true)]
    StreamServer {
        address: SocketAddr,
        #[arg(long)]
        send: bool,
    },
    /// Makes a TCP connection and sends or receives a stream.
    #[command(hide = true)]
    StreamClient {
        to: SocketAddr,
        #[arg(long)]
        send: bool,
    },
    /// Asks for echoes by ICMP until its input ends, then reports.
    #[command(hide = true)]
    Ping {
        target: IpAddr,
        #[arg(long, default_value_t = 1000)]
        every_us: u64,
    },
    /// Writes connections into the kernel's table.
    #[command(hide = true)]
    States {
        #[arg(long)]
        count: u32,
        #[arg(long, default_value_t = 0)]
        skip: u32,
        #[arg(long)]
        client: Ipv4Addr,
        #[arg(long)]
        translated: Ipv4Addr,
        #[arg(long, default_value_t = 0)]
        mark: u32,
    },
    /// Asks for an offer by DHCP.
    #[command(hide = true)]
    Dhcp {
        device: String,
        #[arg(long, default_value_t = 3000)]
        timeout_ms: u64,
    },
}

#[derive(Args)]
struct HostArguments {
    /// What the lab is called.
    #[arg(long, default_value = "lab")]
    name: String,
    /// The host; `lab status` lists them.
    host: String,
}

#[derive(Args)]
struct CableArguments {
    /// What the lab is called.
    #[arg(long, default_value = "lab")]
    name: String,
    /// The host.
    host: String,
    /// The segment: wan, lan, dmz, sync.
    segment: String,
}

/// Does what the command line says.
pub(crate) fn run() -> Result<ExitCode> {
    let verb = Arguments::parse().verb;
    let harmless = matches!(verb, Verb::Status);
    if !harmless && let Some(why) = obstacle() {
        bail!(why);
    }
    match verb {
        Verb::Up { name, document, detach } => up(&name, &document, detach),
        Verb::Exec { name, host, command } => exec(&name, &host, &command),
        Verb::Console { name, node, arguments } => {
            let lab = Lab::attach(&name)?;
            let mut console = console(&lab, node.as_deref())?;
            console.args(arguments);
            in_foreground(console, &Signals::take()?).map(code_of)
        }
        Verb::Down { name } => Lab::remove(&name).map(|()| ExitCode::SUCCESS),
        Verb::Status => {
            status();
            Ok(ExitCode::SUCCESS)
        }
        Verb::Ssh { name, command } => {
            let lab = Lab::attach(&name)?;
            let (from, server) = (find(&lab, "srv-voip")?.host("srv-voip"), find(&lab, "srv-ebrigade")?);
            let server = server.host("srv-ebrigade");
            let mut ssh = from.command("ssh");
            ssh.args([
                "-q",
                "-F",
                "none",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ]);
            ssh.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(server.run_dir().join(Server::SSH_KEY));
            ssh.arg(format!("root@{DESK}")).args(command);
            in_foreground(ssh, &Signals::take()?).map(code_of)
        }
        Verb::Download { name } => {
            let lab = Lab::attach(&name)?;
            let mut curl = find(&lab, "cli-lan")?.host("cli-lan").command("curl");
            // The same file again and again, over one connection.
            curl.args(["-q", "--noproxy", "*", "--limit-rate", "2M", "-o", "/dev/null"]);
            curl.arg(format!("http://{BEYOND}/big.bin?[1-10000]"));
            in_foreground(curl, &Signals::take()?).map(code_of)
        }
        Verb::Cut(cable) => Lab::attach(&cable.name)?.cut(&cable.host, &cable.segment).map(done),
        Verb::Mend(cable) => Lab::attach(&cable.name)?.mend(&cable.host, &cable.segment).map(done),
        Verb::Kill { name, host, program } => {
            let count = find(&Lab::attach(&name)?, &host)?.kill9(&host, &program)?;
            println!("{program} on {host}: {count} killed");
            Ok(ExitCode::SUCCESS)
        }
        Verb::PowerOff(host) => on_host(&host, Lab::power_off),
        Verb::PowerOn(host) => on_host(&host, |lab, router| {
            lab.power_on(router)?;
            let mut node = lab.node(router);
            let booted = node.boot();
            node.detach();
            booted
        }),
        Verb::Freeze(host) => on_host(&host, Lab::freeze),
        Verb::Thaw(host) => on_host(&host, Lab::thaw),
        Verb::Split { name, segment } => {
            let lab = Lab::attach(&name)?;
            let routers: Vec<_> = routers(&lab).collect();
            let [one, other] = routers.as_slice() else { bail!("the lab {name} has not two routers") };
            lab.split(&segment, one, other).map(done)
        }
        Verb::Filter { name, segment, expression } => {
            Lab::attach(&name)?.filter(&segment, &expression).map(done)
        }
        Verb::Heal { name } => Lab::attach(&name)?.heal().map(done),
        Verb::Serve { transport, address } => echo::serve(transport, address).map(done),
        Verb::Probe { transport, to, from, timeout_ms } => {
            answer(&probe::send(transport, to, from, Duration::from_millis(timeout_ms))?)
        }
        Verb::Flood { to, rate, count, size } => flood::send(to, rate, count, size).map(done),
        Verb::Sink { address } => flood::receive(address).map(done),
        Verb::Hold { to, every_ms } => hold::send(to, Duration::from_millis(every_ms)).map(done),
        Verb::Crowd { to, count, every_ms } => {
            crowd::send(to, count, Duration::from_millis(every_ms)).map(done)
        }
        Verb::Push { address, rate } => replies::serve(address, rate).map(done),
        Verb::Pull { from } => replies::receive(from).map(done),
        Verb::StreamServer { address, send } => stream::serve(address, send).map(done),
        Verb::StreamClient { to, send } => stream::connect(to, send).map(done),
        Verb::Ping { target, every_us } => ping::send(target, Duration::from_micros(every_us)).map(done),
        Verb::States { count, skip, client, translated, mark } => {
            states::write(States { count, skip, client, translated, mark }).map(done)
        }
        Verb::Dhcp { device, timeout_ms } => answer(&dhcp::send(&device, Duration::from_millis(timeout_ms))?),
    }
}

fn up(name: &str, document: &Path, detach: bool) -> Result<ExitCode> {
    let topology = Topology::of_document(document)?;
    let routers: Vec<_> = topology.routers().map(ToOwned::to_owned).collect();
    let signals = Signals::take()?;
    eprintln!("lab: bringing up {name} …");
    let lab = Lab::builder().name(name).topology(topology).up()?;
    signals.check()?;
    let nodes = routers.iter().map(|r| lab.start_node(r)).collect::<Result<Vec<_>>>()?;
    signals.check()?;
    let first = nodes.first().context("the document has no router")?;
    first.commit(document, "the example of the lab")?;
    signals.check()?;
    if let [first, second] = nodes.as_slice() {
        eprintln!("lab: pairing {} and {} …", first.name(), second.name());
        first.wait_for_role()?;
        lab.pair(first, second)?;
        signals.check()?;
    }
    if detach {
        let hosts: Vec<_> = lab.hosts().iter().map(|h| h.name().to_owned()).collect();
        nodes.into_iter().for_each(Node::detach);
        lab.leave_standing()?;
        println!("The lab {name} stands: {}.", hosts.join(", "));
        println!("Commands in it: lab exec HOST COMMAND; the console: lab console; its end: lab down.");
        println!("Faults: lab power-off ROUTER, lab cut ROUTER lan, lab kill ROUTER rempart-ha; lab help.");
        return Ok(ExitCode::SUCCESS);
    }
    let terminal = Terminal::remember();
    let mut status = in_foreground(console(&lab, None)?, &signals)?;
    // The power of the router in front of us has failed, and the console with it: we walk over to the other one.
    while status.signal() == Some(Signal::SIGKILL as i32) && signals.check().is_ok() {
        terminal.restore();
        status = in_foreground(console(&lab, None)?, &signals)?;
    }
    terminal.restore();
    eprintln!("lab: removing {name} …");
    Ok(code_of(status))
}

/// The console of a router: of the one that is asked for, of the active one, or of one that answers at all. It learns
/// what lab it is in, and with what program faults are made.
fn console(lab: &Lab, node: Option<&str>) -> Result<Command> {
    let router = match node {
        Some(node) => find(lab, node)?.host(node).name().to_owned(),
        None => {
            let routers: Vec<_> = routers(lab).map(ToOwned::to_owned).collect();
            let role = |router: &str| lab.node(router).ha_status().ok().map(|s| s.role);
            let active = || routers.iter().find(|r| role(r).is_some_and(|role| role == "active"));
            // Without a choice there is nothing to ask.
            let choice = if routers.len() > 1 { active() } else { None };
            let choice = choice.or_else(|| routers.iter().find(|r| lab.node(r).is_up()));
            choice.context("the lab has no router that is up")?.clone()
        }
    };
    let mut console = lab.node(&router).rempart()?;
    console.env("REMPART_LAB", lab.name()).env("REMPART_LAB_PROGRAM", std::env::current_exe()?);
    Ok(console)
}

/// What the terminal was set to, to have it so again after a console that could not.
struct Terminal(Option<nix::sys::termios::Termios>);

impl Terminal {
    fn remember() -> Self {
        Self(nix::sys::termios::tcgetattr(std::io::stdin()).ok())
    }

    fn restore(&self) {
        let Some(settings) = &self.0 else { return };
        let _ = nix::sys::termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, settings);
        if std::io::stdout().is_terminal() {
            // Back from the alternate screen, the cursor shown, no attributes, no reports of the mouse (xterm, ctlseqs).
            print!("\x1b[?1049l\x1b[?25h\x1b[0m\x1b[?1000l");
            let _ = std::io::stdout().flush();
        }
    }
}

fn exec(name: &str, host: &str, words: &[String]) -> Result<ExitCode> {
    let lab = Lab::attach(name)?;
    let host = find(&lab, host)?.host(host);
    // On a router, the product's own programs find their bus.
    let node = lab.node(host.name());
    let mut command = if host.is_router() { node.command(&words[0]) } else { host.command(&words[0]) };
    command.args(&words[1..]);
    if host.is_router()
        && let Some(folder) = program("rempart").ok().as_deref().and_then(Path::parent)
    {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all)?);
    }
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

fn routers(lab: &Lab) -> impl Iterator<Item = &str> {
    lab.hosts().iter().filter(|h| h.is_router()).map(|h| h.name())
}

/// The lab, if it has such a host.
fn find<'a>(lab: &'a Lab, host: &str) -> Result<&'a Lab> {
    match lab.find_host(host) {
        Some(_) => Ok(lab),
        None => {
            let names: Vec<_> = lab.hosts().iter().map(|h| h.name()).collect();
            bail!("no host {host:?}; there are {}", names.join(", "))
        }
    }
}

fn on_host(arguments: &HostArguments, what: impl Fn(&Lab, &str) -> Result<()>) -> Result<ExitCode> {
    let lab = Lab::attach(&arguments.name)?;
    find(&lab, &arguments.host)?;
    what(&lab, &arguments.host).map(done)
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
