//! What of the VPN is in the kernel beside the data path: who is reachable (two sets of the ruleset), routes to networks behind
//! clients, the end of connections of those who were cut off, and the addresses of the device.
//!
//! A thread of its own, because `nft` takes milliseconds and a listing of connections more. What comes while it works is done
//! together. The sets may not be there yet, or be emptied by a new ruleset: what could not be written, and from time to
//! time everything, is written again as a whole.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rempart_config::model::Device;
use rempart_plan::vpn::VpnPlan;
use rempart_system::conntrack::{Connection, Conntrack};
use rempart_system::links::Links;
use rempart_system::nft::Nft;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::vpn::server::gateways;

/// The sets of those who are reachable.
const SETS: [&str; 2] = ["vpn_live4", "vpn_live6"];
/// After a failure: the ruleset may come any moment.
const RETRY: Duration = Duration::from_secs(1);
/// Between two times that everything is written: a ruleset that was made anew has empty sets.
const AGAIN: Duration = Duration::from_secs(10);
/// How long `nft` may take.
const NFT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the sets are.
#[derive(Clone, Debug)]
pub struct NftTable {
    /// The program.
    pub program: String,
    /// The table of family `inet`.
    pub table: String,
}

impl Default for NftTable {
    fn default() -> Self {
        Self { program: "nft".to_owned(), table: "rempart".to_owned() }
    }
}

#[derive(Debug)]
enum Command {
    Configure { device: Device, mtu: u16, addresses: Vec<IpNet> },
    Dismiss,
    Reachable(Vec<IpNet>),
    Unreachable { networks: Vec<IpNet>, forget: bool },
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Kernel(UnboundedSender<Command>);

impl Kernel {
    /// Starts the thread, in the network namespace of this one.
    pub fn start(table: NftTable) -> io::Result<Self> {
        let (commands, inbox) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || runtime.block_on(Worker::new(table).run(inbox));
        std::thread::Builder::new().name("vpn-kernel".to_owned()).spawn(work)?;
        Ok(Self(commands))
    }

    pub fn configure(&self, device: Device, plan: &VpnPlan) {
        self.send(Command::Configure { device, mtu: plan.mtu, addresses: gateways(plan) });
    }

    /// There is no device any more.
    pub fn dismiss(&self) {
        self.send(Command::Dismiss);
    }

    pub fn reachable(&self, networks: Vec<IpNet>) {
        self.send(Command::Reachable(networks));
    }

    pub fn unreachable(&self, networks: Vec<IpNet>, forget: bool) {
        self.send(Command::Unreachable { networks, forget });
    }

    fn send(&self, command: Command) {
        // The thread ends after us.
        let _ = self.0.send(command);
    }
}

/// What has to be done, gathered.
#[derive(Debug, Default)]
struct Work {
    added: BTreeSet<IpNet>,
    removed: BTreeSet<IpNet>,
    forgotten: BTreeSet<IpNet>,
    device: bool,
}

struct Worker {
    nft: Nft,
    table: String,
    device: Option<(Device, u16, Vec<IpNet>)>,
    reachable: BTreeSet<IpNet>,
    routed: BTreeSet<IpNet>,
    /// The sets are not what they should be.
    doubtful: bool,
    /// The last failure has been said.
    said: bool,
}

impl Worker {
    fn new(table: NftTable) -> Self {
        let nft = Nft::new(table.program, NFT_TIMEOUT);
        let (reachable, routed) = (BTreeSet::new(), BTreeSet::new());
        Self { nft, table: table.table, device: None, reachable, routed, doubtful: true, said: false }
    }

    async fn run(mut self, mut inbox: UnboundedReceiver<Command>) {
        let links = match Links::new() {
            Ok(links) => links,
            Err(error) => return tracing::error!(%error, "the VPN's device and routes cannot be set"),
        };
        let mut next = Instant::now() + RETRY;
        loop {
            let mut work = Work::default();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.take(&mut work, command),
                    None => return,
                },
                () = sleep_until(next) => self.doubtful = true,
            }
            while let Ok(command) = inbox.try_recv() {
                self.take(&mut work, command);
            }
            self.write_sets(&work).await;
            let mut whole = self.set_up(&links, &work).await;
            whole &= self.write_routes(&links).await;
            if !work.forgotten.is_empty() {
                forget(&work.forgotten).await;
            }
            next = Instant::now() + if self.doubtful || !whole { RETRY } else { AGAIN };
        }
    }

    fn take(&mut self, work: &mut Work, command: Command) {
        match command {
            Command::Configure { device, mtu, addresses } => {
                self.device = Some((device, mtu, addresses));
                work.device = true;
                // It is said again when the table was made anew.
                self.doubtful = true;
            }
            Command::Dismiss => {
                self.device = None;
                self.routed.clear();
            }
            Command::Reachable(networks) => {
                for network in networks {
                    self.reachable.insert(network);
                    work.removed.remove(&network);
                    work.added.insert(network);
                }
            }
            Command::Unreachable { networks, forget } => {
                for network in networks {
                    self.reachable.remove(&network);
                    work.added.remove(&network);
                    work.removed.insert(network);
                    if forget {
                        work.forgotten.insert(network);
                    }
                }
            }
        }
    }

    /// The sets become what is reachable: by a difference where that is enough, else as a whole.
    async fn write_sets(&mut self, work: &Work) {
        // A network may hold the address of another client; then the intervals are cut together.
        let whole = self.doubtful || self.reachable.iter().chain(&work.removed).any(is_network);
        let script = match whole {
            true => whole_script(&self.table, &self.reachable),
            false => difference_script(&self.table, work),
        };
        if script.is_empty() {
            return;
        }
        match self.nft.apply(&script).await {
            Ok(()) => {
                if std::mem::take(&mut self.said) {
                    tracing::info!("the ruleset lets the VPN's clients through again");
                }
                self.doubtful = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.said, true) {
                    tracing::warn!(%error, "the ruleset has no sets of the VPN's clients yet; tried again every second");
                }
                self.doubtful = true;
            }
        }
    }

    async fn set_up(&mut self, links: &Links, work: &Work) -> bool {
        let Some((device, mtu, addresses)) = self.device.as_ref().filter(|_| work.device || self.doubtful)
        else {
            return true;
        };
        let done = links.set_up_inner(device, (*mtu).into(), addresses).await;
        done.map_err(|error| tracing::error!(%error, "the VPN's device is not ready")).is_ok()
    }

    /// Networks behind clients, and addresses beside the pools, are led into the device.
    async fn write_routes(&mut self, links: &Links) -> bool {
        let Some((device, _, addresses)) = &self.device else { return true };
        let pooled = |net: &IpNet| addresses.iter().any(|pool| pool.contains(net));
        let wanted: BTreeSet<IpNet> = self.reachable.iter().filter(|net| !pooled(net)).copied().collect();
        let changes: Vec<(IpNet, bool)> = (self.routed.difference(&wanted).map(|net| (*net, false)))
            .chain(wanted.difference(&self.routed).map(|net| (*net, true)))
            .collect();
        let mut all = true;
        for (net, there) in changes {
            match links.route_inner(device, net, there).await {
                Ok(()) if there => drop(self.routed.insert(net)),
                Ok(()) => drop(self.routed.remove(&net)),
                Err(error) => {
                    tracing::warn!(%net, %error, "a network behind a client is not reachable");
                    all = false;
                }
            }
        }
        all
    }
}

fn is_network(net: &IpNet) -> bool {
    net.prefix_len() < net.max_prefix_len()
}

/// Both sets emptied and filled in one transaction: nobody falls out in between.
fn whole_script(table: &str, reachable: &BTreeSet<IpNet>) -> String {
    let four: Vec<Ipv4Net> = reachable.iter().filter_map(v4).collect();
    let six: Vec<Ipv6Net> = reachable.iter().filter_map(v6).collect();
    let [four, six] = [elements(&Ipv4Net::aggregate(&four)), elements(&Ipv6Net::aggregate(&six))];
    let mut script = String::new();
    for (set, elements) in SETS.into_iter().zip([four, six]) {
        script.push_str(&format!("flush set inet {table} {set}\n"));
        if !elements.is_empty() {
            script.push_str(&format!("add element inet {table} {set} {{ {elements} }}\n"));
        }
    }
    script
}

fn difference_script(table: &str, work: &Work) -> String {
    let mut script = String::new();
    for (verb, networks) in [("delete", &work.removed), ("add", &work.added)] {
        let four: Vec<Ipv4Net> = networks.iter().filter_map(v4).collect();
        let six: Vec<Ipv6Net> = networks.iter().filter_map(v6).collect();
        for (set, elements) in SETS.into_iter().zip([elements(&four), elements(&six)]) {
            if !elements.is_empty() {
                script.push_str(&format!("{verb} element inet {table} {set} {{ {elements} }}\n"));
            }
        }
    }
    script
}

fn v4(net: &IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net.trunc()),
        IpNet::V6(_) => None,
    }
}

fn v6(net: &IpNet) -> Option<Ipv6Net> {
    match net {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Some(net.trunc()),
    }
}

fn elements<N: std::fmt::Display>(networks: &[N]) -> String {
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Connections to and from these networks end.
async fn forget(networks: &BTreeSet<IpNet>) {
    let touches = |ip: IpAddr| networks.iter().any(|net| net.contains(&ip));
    let theirs = |connection: &Connection| {
        let tuples = [&connection.original, &connection.reply];
        tuples.into_iter().any(|tuple| touches(tuple.source) || touches(tuple.destination))
    };
    let done = async {
        let mut conntrack = Conntrack::new()?;
        let listed = conntrack.list().await?;
        conntrack.delete_all(listed.iter().filter(|connection| theirs(connection))).await
    };
    match done.await {
        Ok(count) => tracing::debug!(count, "connections of clients that are gone were ended"),
        Err(error) => {
            tracing::warn!(%error, "connections of clients that are gone may go on until they time out")
        }
    }
}
