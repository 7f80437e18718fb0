//! The verbs. Those at the end are hidden: the harness runs them inside hosts.

mod foreground;

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::sys::signal::Signal;
use rempart_lab::demo::{self, Demo};
use rempart_lab::traffic::{States, crowd, dhcp, echo, flood, hold, ping, probe, replies, states, stream};
use rempart_lab::{Lab, Node, Record, Topology, Transport, obstacle, program};

use self::foreground::{Signals, Terminal, code_of, in_foreground};

/// The elector with its supervisor, and what `lab kill` calls the elector alone.
const ELECTOR: &str = "rempart-ha";
const WORKER: &str = "rempart-ha-worker";
/// A process outside of all routers, by its id, for what is run from the console of one.
const OUTSIDE: &str = "REMPART_LAB_OUTSIDE";
/// How often `lab traffic show` says how the streams fare.
const SHOW_PERIOD: Duration = Duration::from_secs(1);

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
    /// A download and an SSH session through the firewall that go on by themselves, with the longest pause of each.
    Traffic {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// What to do.
        verb: TrafficVerb,
        /// Which; both unless named.
        stream: Option<StreamName>,
    },
    /// An agent of the example's group outside: stock openvpn on cli-wan with a profile exported on the active router.
    Vpn {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// What to do.
        #[arg(default_value = "start")]
        verb: VpnVerb,
    },
    /// Pulls the cable of a host to a segment.
    Cut(CableArguments),
    /// Puts it back in.
    Mend(CableArguments),
    /// Kills a program on a host: SIGKILL.
    Kill {
        /// What the lab is called.
        #[arg(long, default_value = "lab")]
        name: String,
        /// The host.
        host: String,
        /// The program: rempartd, nginx; rempart-ha-worker, the elector, which its supervisor starts again at once; rempart-ha,
        /// the elector with its supervisor, which nothing starts again here before the router's power has failed and returned.
        program: String,
    },
    /// The power of a router fails: of the active one unless another is named.
    PowerOff(RouterArguments),
    /// The power of a router returns, and it starts: of each that is off unless one is named.
    PowerOn(RouterArguments),
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
    /// Runs a program and counts what it says.
    #[command(hide = true)]
    Count {
        name: String,
        file: PathBuf,
        #[arg(required = true, last = true)]
        words: Vec<OsString>,
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
struct RouterArguments {
    /// What the lab is called.
    #[arg(long, default_value = "lab")]
    name: String,
    /// The router.
    host: Option<String>,
}

/// What to do with the streams that a person watches.
#[derive(Clone, Copy, ValueEnum)]
enum TrafficVerb {
    /// Starts them, anew if they run.
    Start,
    /// Ends them.
    Stop,
    /// Says each second how they fare, until interrupted.
    Show,
}

/// What to do with the agent outside.
#[derive(Clone, Copy, ValueEnum)]
enum VpnVerb {
    /// Connects them, anew if they are connected.
    Start,
    /// Ends it.
    Stop,
}

/// One of them.
#[derive(Clone, Copy, ValueEnum)]
enum StreamName {
    /// The download.
    Download,
    /// The session.
    Ssh,
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
    step_outside()?;
    match verb {
        Verb::Up { name, document, detach } => up(&name, &document, detach),
        Verb::Exec { name, host, command } => exec(&name, &host, &command),
        Verb::Console { name, node, arguments } => {
            at_console(&Lab::attach(&name)?, node.as_deref(), &arguments, &Signals::take()?)
        }
        Verb::Down { name } => Lab::remove(&name).map(|()| ExitCode::SUCCESS),
        Verb::Status => {
            status();
            Ok(ExitCode::SUCCESS)
        }
        Verb::Ssh { name, command } => {
            let lab = Lab::attach(&name)?;
            find(&lab, "srv-ebrigade")?;
            let from = find(&lab, "srv-voip")?.host("srv-voip");
            let ssh = with(
                from.command("env"),
                lab.ssh_words().into_iter().chain(command.into_iter().map(Into::into)),
            );
            in_foreground(ssh, &Signals::take()?).map(code_of)
        }
        Verb::Download { name } => {
            let lab = Lab::attach(&name)?;
            let curl = with(find(&lab, "cli-lan")?.host("cli-lan").command("env"), lab.download_words());
            let mut curl = curl;
            // With its own figures, and no more than one machine can be all of a network for.
            curl.args(["-S", "--limit-rate", "2M", "-o", "/dev/null"]);
            in_foreground(curl, &Signals::take()?).map(code_of)
        }
        Verb::Traffic { name, verb, stream } => traffic(&Lab::attach(&name)?, verb, stream),
        Verb::Vpn { name, verb } => vpn(&Lab::attach(&name)?, verb),
        Verb::Cut(cable) => Lab::attach(&cable.name)?.cut(&cable.host, &cable.segment).map(done),
        Verb::Mend(cable) => Lab::attach(&cable.name)?.mend(&cable.host, &cable.segment).map(done),
        Verb::Kill { name, host, program } => {
            let lab = Lab::attach(&name)?;
            let count = match program.as_str() {
                WORKER => find(&lab, &host)?.signal(&host, ELECTOR, Some("--worker"), Signal::SIGKILL)?,
                program => find(&lab, &host)?.kill9(&host, program)?,
            };
            println!("{program} on {host}: {count} killed");
            Ok(ExitCode::SUCCESS)
        }
        Verb::PowerOff(RouterArguments { name, host }) => {
            let lab = Lab::attach(&name)?;
            let router = match host {
                Some(host) => find(&lab, &host)?.host(&host).name().to_owned(),
                None => active(&lab).context("no router of the lab is active")?,
            };
            lab.power_off(&router)?;
            println!("{router} is off");
            Ok(ExitCode::SUCCESS)
        }
        Verb::PowerOn(RouterArguments { name, host }) => power_on(&Lab::attach(&name)?, host),
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
        Verb::Count { name, file, words } => demo::count(&name, &file, &words).map(done),
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
    say(&format!("bringing up {name} …"));
    let lab = Lab::builder().name(name).topology(topology).up()?;
    signals.check()?;
    let nodes = routers.iter().map(|r| lab.start_node(r)).collect::<Result<Vec<_>>>()?;
    signals.check()?;
    let first = nodes.first().context("the document has no router")?;
    first.commit(document, "the example of the lab")?;
    signals.check()?;
    if let [first, second] = nodes.as_slice() {
        say(&format!("pairing {} and {} …", first.name(), second.name()));
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
        println!("A download and an SSH session to watch: lab traffic start, lab traffic show.");
        println!("An agent outside, by openvpn: lab vpn.");
        println!(
            "Faults: lab power-off, lab power-on, lab cut ROUTER lan, lab kill ROUTER rempart-ha-worker; lab help."
        );
        return Ok(ExitCode::SUCCESS);
    }
    let code = at_console(&lab, None, &[], &signals)?;
    say(&format!("removing {name} …"));
    Ok(code)
}

/// Says what is being done. A terminal that has been closed must not keep the lab from being removed.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "lab: {text}");
}

/// A person at the console of a router. When its power fails, and the console with it, they walk over to the other one,
/// unless they have asked for this one.
fn at_console(lab: &Lab, node: Option<&str>, arguments: &[String], signals: &Signals) -> Result<ExitCode> {
    let terminal = Terminal::remember();
    loop {
        let mut command = console(lab, node)?;
        command.args(arguments);
        let status = in_foreground(command, signals)?;
        terminal.restore();
        let failed = status.signal() == Some(Signal::SIGKILL as i32);
        if !failed || node.is_some() || signals.check().is_err() {
            return Ok(code_of(status));
        }
    }
}

fn power_on(lab: &Lab, host: Option<String>) -> Result<ExitCode> {
    let off: Vec<String> = match host {
        Some(host) => vec![find(lab, &host)?.host(&host).name().to_owned()],
        None => routers(lab).filter(|r| !lab.node(r).is_up()).map(ToOwned::to_owned).collect(),
    };
    if off.is_empty() {
        bail!("no router of the lab is off");
    }
    for router in off {
        lab.power_on(&router)?;
        let mut node = lab.node(&router);
        let booted = node.boot();
        node.detach();
        booted?;
        println!("{router} is on");
    }
    Ok(ExitCode::SUCCESS)
}

fn traffic(lab: &Lab, verb: TrafficVerb, stream: Option<StreamName>) -> Result<ExitCode> {
    let streams: Vec<Demo> = match stream {
        None => Demo::ALL.into(),
        Some(StreamName::Download) => vec![Demo::Download],
        Some(StreamName::Ssh) => vec![Demo::Ssh],
    };
    match verb {
        TrafficVerb::Start => streams.iter().try_for_each(|demo| lab.start_demo(*demo)).map(done),
        TrafficVerb::Stop => streams.iter().try_for_each(|demo| lab.stop_demo(*demo)).map(done),
        TrafficVerb::Show => {
            let signals = Signals::take()?;
            while signals.check().is_ok() {
                for demo in &streams {
                    match lab.demo(*demo) {
                        None => println!("{:8}  not started: lab traffic start", demo.name()),
                        Some(f) => println!(
                            "{:8}  {:>6.2} MB  longest pause {} ms{}",
                            demo.name(),
                            f.bytes as f64 / 1e6,
                            f.longest_pause_ms,
                            f.ended.map(|why| format!("  ENDED: {why}")).unwrap_or_default()
                        ),
                    }
                }
                thread::sleep(SHOW_PERIOD);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn vpn(lab: &Lab, verb: VpnVerb) -> Result<ExitCode> {
    match verb {
        VpnVerb::Stop => lab.stop_vpn(),
        VpnVerb::Start => {
            let router = active(lab).context("no router of the lab is active")?;
            let log = lab.start_vpn(&lab.node(&router))?;
            println!("cli-wan is connected to {router}; what openvpn says: {}", log.display());
            println!("Try: lab exec cli-wan curl http://192.168.20.11/; then lab power-off, and look again.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The console of a router: of the one that is asked for, of the active one, or of one that answers at all. It learns
/// what lab it is in, and with what program faults are made.
fn console(lab: &Lab, node: Option<&str>) -> Result<Command> {
    let router = match node {
        Some(node) => find(lab, node)?.host(node).name().to_owned(),
        None => {
            // Without a choice there is nothing to ask.
            let choice = if routers(lab).count() > 1 { active(lab) } else { None };
            let choice = choice.or_else(|| routers(lab).find(|r| lab.node(r).is_up()).map(ToOwned::to_owned));
            choice.context("the lab has no router that is up")?
        }
    };
    let mut console = lab.node(&router).rempart()?;
    console.env("REMPART_LAB", lab.name()).env("REMPART_LAB_PROGRAM", std::env::current_exe()?);
    console.env("REMPART_LAB_DIR", lab.run_dir()).env(OUTSIDE, std::process::id().to_string());
    Ok(console)
}

/// The router that is active.
fn active(lab: &Lab) -> Option<String> {
    let role = |router: &str| lab.node(router).ha_status().ok().map(|s| s.role);
    routers(lab).find(|r| role(r).is_some_and(|role| role == "active")).map(ToOwned::to_owned)
}

/// Whoever breaks a router from the console on that router stands outside of it: goes on as this program would where the
/// lab was brought up.
fn step_outside() -> Result<()> {
    let Some(outside) = std::env::var_os(OUTSIDE) else { return Ok(()) };
    let mut command = Command::new("nsenter");
    command.arg("-t").arg(outside).args(["-m", "-n", "--"]).arg(std::env::current_exe()?);
    Err(command.args(std::env::args_os().skip(1)).env_remove(OUTSIDE).exec()).context("nsenter")
}

fn with(mut command: Command, words: impl IntoIterator<Item = OsString>) -> Command {
    command.args(words);
    command
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

fn answer(value: &impl serde::Serialize) -> Result<ExitCode> {
    println!("{}", serde_json::to_string(value)?);
    Ok(ExitCode::SUCCESS)
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
