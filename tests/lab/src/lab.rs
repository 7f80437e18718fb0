//! A lab from its first namespace to its last.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail};

use crate::process::{Process, tail};
use crate::record::{self, Cable, HostRecord, Quiet, Record};
use crate::spec::HostSpec;
use crate::{Host, Node, Topology, faults, namespace, requirements, servers};

/// The namespace that the segments are in.
pub(crate) const SWITCH: &str = "switch";
/// Set to keep a lab standing when its test ends, to look at it.
const KEEP: &str = "REMPART_LAB_KEEP";
/// Lines of each log that are shown when a test panics.
const LOG_TAIL: usize = 30;

/// A host's addresses are usable at once (RFC 4862 §5.4 would take a second), nothing comes by advertisement, and
/// a host with several addresses takes answers from wherever they come. Set before its devices exist, which
/// take the defaults over when they are made.
const HOST_PARAMETERS: [&str; 6] = [
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.accept_ra=0",
    "net.ipv6.conf.default.accept_ra=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
];

/// A provider forwards, and tells nobody of shorter ways (ICMP redirect).
const FORWARDING_PARAMETERS: [&str; 4] = [
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
];

const BRIDGE_PARAMETERS: [&str; 3] = [
    "net.bridge.bridge-nf-call-iptables=0",
    "net.bridge.bridge-nf-call-ip6tables=0",
    "net.bridge.bridge-nf-call-arptables=0",
];

/// A standing lab. All of it goes when this is dropped: processes, namespaces, run folder.
#[derive(Debug)]
pub struct Lab {
    record: Record,
    hosts: Vec<Host>,
    servers: Vec<Process>,
    /// Whether dropping removes it.
    owned: bool,
}

/// What a lab is to be.
#[derive(Debug, Default)]
pub struct LabBuilder {
    name: Option<String>,
    document: Option<PathBuf>,
    hosts: Vec<HostSpec>,
}

impl LabBuilder {
    /// Gives it a name, by which the command `lab` finds it. Without one it is a test's, and whoever starts a
    /// lab next removes it if the test was killed.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds the hosts of a topology.
    pub fn topology(mut self, topology: Topology) -> Self {
        self.document = topology.document.or(self.document);
        self.hosts.extend(topology.hosts);
        self
    }

    /// Adds one host.
    pub fn host(mut self, host: HostSpec) -> Self {
        self.hosts.push(host);
        self
    }

    /// Brings it up: returns when every server answers on its port. What stood already goes again on an error.
    pub fn up(self) -> Result<Lab> {
        requirements::check()?;
        check_hosts(&self.hosts)?;
        record::remove_abandoned();
        let mut record = Record::claim(self.name.as_deref())?;
        record.document = self.document;
        let mut lab = Lab { record, hosts: Vec::new(), servers: Vec::new(), owned: true };
        let _disturbing = Quiet::disturb()?;
        lab.build(&self.hosts).with_context(|| format!("the lab {} could not be brought up", lab.name()))?;
        Ok(lab)
    }
}

impl Lab {
    /// A lab to be.
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }

    /// Enters a lab that another process brought up. Dropping the value leaves it standing.
    pub fn attach(name: &str) -> Result<Self> {
        requirements::check()?;
        let record = Record::find(name)?;
        let hosts = record
            .hosts
            .iter()
            .map(|h| Host::new(&h.name, h.router, record.namespace_of(&h.name), &record.run_dir()))
            .collect::<Result<_>>()?;
        Ok(Self { record, hosts, servers: Vec::new(), owned: false })
    }

    /// Removes a lab by name, whoever brought it up.
    pub fn remove(name: &str) -> Result<()> {
        requirements::check()?;
        record::remove_by_name(name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// What is written down about it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The folder with everything that it writes.
    pub fn run_dir(&self) -> PathBuf {
        self.record.run_dir()
    }

    /// A host. Panics with the names there are if there is none of this name.
    pub fn host(&self, name: &str) -> &Host {
        self.find_host(name).unwrap_or_else(|| {
            let names: Vec<_> = self.hosts.iter().map(Host::name).collect();
            panic!("no host {name:?} in the lab; it has {}", names.join(", "))
        })
    }

    /// A host, if there is one of this name.
    pub fn find_host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|h| h.name() == name)
    }

    /// The hosts, in the order of the topology.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Starts the product on a router: its bus, `rempartd` and `rempart-ha`. Returns when the control daemon is on the bus; the
    /// elector has nothing to do before there is a document.
    pub fn start_node(&self, name: &str) -> Result<Node> {
        let mut node = self.node(name);
        node.boot()?;
        Ok(node)
    }

    /// As [`start_node`](Self::start_node), with another program in the control daemon's place, and no elector.
    pub fn start_node_with(&self, name: &str, daemon: &Path) -> Result<Node> {
        let mut node = Node::new(self.host(name).clone(), Some(daemon));
        node.start_bus()?;
        node.start_daemon()?;
        Ok(node)
    }

    /// The product on a router as another process started it.
    pub fn node(&self, name: &str) -> Node {
        Node::new(self.host(name).clone(), None)
    }

    /// Pulls a cable: the device of the host loses its carrier.
    pub fn unplug(&self, host: &str, device: &str) -> Result<()> {
        self.set_port(host, device, "down")
    }

    /// Puts a cable back in.
    pub fn plug(&self, host: &str, device: &str) -> Result<()> {
        self.set_port(host, device, "up")
    }

    /// Leaves the lab standing after this process, for `lab down` to remove.
    pub fn leave_standing(mut self) -> Result<()> {
        self.record.owner = None;
        self.record.write()?;
        self.owned = false;
        self.servers.drain(..).for_each(Process::detach);
        Ok(())
    }

    fn build(&mut self, specs: &[HostSpec]) -> Result<()> {
        self.record.cables = cables(specs);
        for spec in specs {
            self.record.hosts.push(HostRecord { name: spec.name.clone(), router: spec.router });
        }
        self.record.write()?;
        self.make_switch()?;
        for spec in specs {
            let namespace = self.record.namespace_of(&spec.name);
            namespace::add(&namespace)?;
            if !spec.router {
                namespace::sysctl(&namespace, &HOST_PARAMETERS)?;
            }
            if spec.forwards {
                namespace::sysctl(&namespace, &FORWARDING_PARAMETERS)?;
            }
            self.hosts.push(Host::new(&spec.name, spec.router, namespace, &self.record.run_dir())?);
        }
        self.lay_cables()?;
        for (spec, host) in specs.iter().zip(&self.hosts) {
            set_up(spec, host).with_context(|| format!("host {}", spec.name))?;
        }
        let mut waiting = Vec::new();
        for (spec, host) in specs.iter().zip(&self.hosts) {
            for server in &spec.servers {
                let started = servers::start(server, host).with_context(|| format!("host {}", spec.name))?;
                waiting.push((host.clone(), started));
            }
        }
        for (host, mut started) in waiting {
            let ready = started.wait(&host);
            self.servers.push(started.process);
            ready.with_context(|| format!("host {}", host.name()))?;
        }
        Ok(())
    }

    /// The switch has no address and says nothing by itself.
    fn make_switch(&self) -> Result<()> {
        let switch = self.record.namespace_of(SWITCH);
        namespace::add(&switch)?;
        namespace::sysctl(
            &switch,
            &["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"],
        )?;
        // A switch does not look into packets. Where the kernel would, it does so for every namespace.
        if Path::new("/proc/sys/net/bridge").exists() {
            namespace::sysctl(&switch, &BRIDGE_PARAMETERS)?;
        }
        namespace::nft(&switch, faults::SWITCH_RULES)
    }

    fn lay_cables(&self) -> Result<()> {
        let mut lines = String::new();
        for (segment, bridge) in bridges(&self.record.cables) {
            writeln!(lines, "link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
            writeln!(lines, "link set {bridge} alias {segment} up")?;
        }
        lines += &self.cabling(&self.record.cables.iter().collect::<Vec<_>>())?;
        namespace::batch(&self.record.namespace_of(SWITCH), &lines)
    }

    /// The `ip` commands in the switch that lay cables.
    pub(crate) fn cabling(&self, cables: &[&Cable]) -> Result<String> {
        let mut lines = String::new();
        let bridges = bridges(&self.record.cables);
        for Cable { host, device, segment, port } in cables {
            let namespace = self.record.namespace_of(host);
            let mac = mac_of(port);
            writeln!(lines, "link add {port} type veth peer name {device} address {mac} netns {namespace}")?;
            writeln!(lines, "link set {port} master {} alias {host}:{device} up", bridges[segment.as_str()])?;
        }
        Ok(lines)
    }

    /// Tells the switch something of the port of a cable.
    pub(crate) fn set_port(&self, host: &str, device: &str, state: &str) -> Result<()> {
        let cable = self.record.cables.iter().find(|c| c.host == host && c.device == device);
        let Some(Cable { port, .. }) = cable else { bail!("no cable in {device} of {host}") };
        namespace::batch(&self.record.namespace_of(SWITCH), &format!("link set {port} {state}\n"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        if thread::panicking() {
            show_logs(&self.record.run_dir());
        }
        if env::var_os(KEEP).is_some() {
            eprintln!("{KEEP} is set: the lab {0} stands; `lab down --name {0}` removes it", self.name());
            self.record.owner = None;
            let _ = self.record.write();
            self.servers.drain(..).for_each(Process::detach);
            return;
        }
        // The servers are asked all at once through their namespaces; what is left here has ended by then.
        let removed = self.record.remove();
        self.servers.clear();
        if let Err(error) = removed {
            eprintln!("the lab {0} was not removed: {error:#}; `lab down --name {0}`", self.name());
        }
    }
}

fn check_hosts(hosts: &[HostSpec]) -> Result<()> {
    let fine = |name: &str| {
        let all = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        !name.is_empty() && name.len() <= 32 && all && name != SWITCH
    };
    for (i, host) in hosts.iter().enumerate() {
        if !fine(&host.name) {
            bail!("{:?} is no name for a host", host.name);
        }
        if hosts[..i].iter().any(|h| h.name == host.name) {
            bail!("two hosts are called {}", host.name);
        }
    }
    Ok(())
}

/// One cable for each leg; the ports are numbered, as a device's name holds only 15 bytes.
fn cables(specs: &[HostSpec]) -> Vec<Cable> {
    let legs = specs.iter().flat_map(|s| s.legs.iter().map(move |l| (s, l)));
    legs.enumerate()
        .map(|(i, (spec, leg))| Cable {
            host: spec.name.clone(),
            device: leg.device.clone(),
            segment: leg.segment.clone(),
            port: format!("port{i}"),
        })
        .collect()
}

/// The MAC of the device at the other end of a port, locally administered. A machine keeps its own when its power fails.
fn mac_of(port: &str) -> String {
    let number: u16 = port.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default();
    let [high, low] = number.to_be_bytes();
    format!("02:00:00:00:{high:02x}:{low:02x}")
}

/// The bridge of each segment.
fn bridges(cables: &[Cable]) -> BTreeMap<&str, String> {
    let mut bridges = BTreeMap::new();
    for cable in cables {
        let next = format!("segment{}", bridges.len());
        bridges.entry(cable.segment.as_str()).or_insert(next);
    }
    bridges
}

fn set_up(spec: &HostSpec, host: &Host) -> Result<()> {
    if let Some(nameserver) = spec.nameserver {
        namespace::set_resolver(host.namespace(), nameserver)?;
    }
    if spec.router {
        return Ok(());
    }
    let mut lines = String::new();
    for leg in &spec.legs {
        writeln!(lines, "link set {} up", leg.device)?;
        for address in &leg.addresses {
            writeln!(lines, "address add {address} dev {}{}", leg.device, nodad(address.addr()))?;
        }
    }
    for address in &spec.loopback {
        writeln!(lines, "address add {address} dev lo{}", nodad(*address))?;
    }
    for (to, via) in &spec.routes {
        // Written as 0.0.0.0/0 or ::/0, a default route names its family.
        writeln!(lines, "route add {to} via {via}")?;
    }
    host.ip(&lines)
}

fn nodad(address: std::net::IpAddr) -> &'static str {
    if address.is_ipv6() { " nodad" } else { "" }
}

/// The ends of all logs, so that a failed test says what its programs said.
fn show_logs(run_dir: &Path) {
    let Ok(hosts) = fs::read_dir(run_dir) else { return };
    let files = hosts.flatten().filter_map(|h| fs::read_dir(h.path()).ok()).flat_map(|d| d.flatten());
    let mut logs: Vec<_> =
        files.map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    for log in logs {
        let text = fs::read(&log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        if !text.is_empty() {
            eprintln!("── {}\n{}", log.display(), tail(&text, LOG_TAIL));
        }
    }
}
