//! What of the VPN is in the kernel beside the data path: who is reachable (two sets of the ruleset), routes to networks behind
//! clients, the end of connections of those who were cut off, and the addresses of the device.
//!
//! A thread of its own, because `nft` takes milliseconds and a listing of connections more. What comes while it works is done
//! together. The sets may not be there yet: what could not be written is written again as a whole. So they are when the
//! control daemon says the plan again, which it does when it has made the table anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use rempart_config::model::Device;
use rempart_plan::vpn::{LIVE4, LIVE6, VpnPlan};
use rempart_system::conntrack::{Connection, Conntrack};
use rempart_system::links::Links;
use rempart_system::nft::Nft;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::vpn::server::gateways;

/// The sets of those who are reachable.
const SETS: [&str; 2] = [LIVE4, LIVE6];
/// After a failure: the ruleset may come any moment.
const RETRY: Duration = Duration::from_secs(1);
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

enum Command {
    Configure {
        device: Device,
        kernel: Option<Device>,
        mtu: u16,
        addresses: Vec<IpNet>,
    },
    Dismiss,
    /// To the kernel's device, or not.
    Lead(Vec<IpNet>, bool),
    Reachable(Vec<IpNet>),
    Unreachable {
        networks: Vec<IpNet>,
        forget: bool,
    },
    /// To be called when everything before it is done.
    Settle(Box<dyn FnOnce() + Send>),
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

    /// `kernel` is the device of those whom the kernel carries.
    pub fn configure(&self, device: Device, kernel: Option<Device>, plan: &VpnPlan) {
        self.send(Command::Configure { device, kernel, mtu: plan.mtu, addresses: gateways(plan) });
    }

    /// What is for these goes to the kernel's device from now on, or no more.
    pub fn lead(&self, networks: Vec<IpNet>, kernel: bool) {
        self.send(Command::Lead(networks, kernel));
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

    /// Calls `done` when everything before it is in force, or was tried.
    pub fn settle(&self, done: Box<dyn FnOnce() + Send>) {
        self.send(Command::Settle(done));
    }

    fn send(&self, command: Command) {
        // The thread ends after us.
        let _ = self.0.send(command);
    }
}

/// The devices of the tunnel.
struct Devices {
    tun: Device,
    kernel: Option<Device>,
    mtu: u16,
    /// Ours, of the TUN device.
    addresses: Vec<IpNet>,
}

struct Worker {
    nft: Nft,
    table: String,
    devices: Option<Devices>,
    reachable: BTreeSet<IpNet>,
    /// Whom the kernel carries.
    led: BTreeSet<IpNet>,
    /// What the sets hold.
    written: BTreeSet<IpNet>,
    /// What has a route of its own, and by which device.
    routed: BTreeMap<IpNet, Device>,
    /// The devices have their addresses.
    ready: bool,
    /// The sets are not what they should be.
    doubtful: bool,
    /// The last failure has been said.
    said: bool,
}

impl Worker {
    fn new(table: NftTable) -> Self {
        let nft = Nft::new(table.program, NFT_TIMEOUT);
        Self {
            nft,
            table: table.table,
            devices: None,
            reachable: BTreeSet::new(),
            led: BTreeSet::new(),
            written: BTreeSet::new(),
            routed: BTreeMap::new(),
            ready: false,
            doubtful: true,
            said: false,
        }
    }

    async fn run(mut self, mut inbox: UnboundedReceiver<Command>) {
        let links = match Links::new() {
            Ok(links) => links,
            Err(error) => return tracing::error!(%error, "the VPN's device and routes cannot be set"),
        };
        let mut next = Some(Instant::now() + RETRY);
        loop {
            // Of whom every connection has to end.
            let (mut forgotten, mut settled) = (BTreeSet::new(), Vec::new());
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.take(command, &mut forgotten, &mut settled),
                    None => return,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            while let Ok(command) = inbox.try_recv() {
                self.take(command, &mut forgotten, &mut settled);
            }
            self.write_sets().await;
            let mut whole = self.set_up(&links).await;
            whole &= self.write_routes(&links).await;
            settled.into_iter().for_each(|done| done());
            if !forgotten.is_empty() {
                forget(&forgotten).await;
            }
            next = (self.doubtful || !whole).then(|| Instant::now() + RETRY);
        }
    }

    fn take(
        &mut self,
        command: Command,
        forgotten: &mut BTreeSet<IpNet>,
        settled: &mut Vec<Box<dyn FnOnce() + Send>>,
    ) {
        match command {
            Command::Configure { device: tun, kernel, mtu, addresses } => {
                self.devices = Some(Devices { tun, kernel, mtu, addresses });
                self.ready = false;
                // It is said again when the table was made anew.
                self.doubtful = true;
            }
            Command::Dismiss => {
                self.devices = None;
                self.routed.clear();
                self.led.clear();
            }
            Command::Lead(networks, true) => self.led.extend(networks),
            Command::Lead(networks, false) => self.led.retain(|net| !networks.contains(net)),
            Command::Settle(done) => settled.push(done),
            Command::Reachable(networks) => self.reachable.extend(networks),
            Command::Unreachable { networks, forget } => {
                for network in networks {
                    self.reachable.remove(&network);
                    if forget {
                        forgotten.insert(network);
                    }
                }
            }
        }
    }

    /// The sets become what is reachable: by a difference where it is known what they hold, else as a whole.
    async fn write_sets(&mut self) {
        let wanted = disjoint(&self.reachable);
        let script = match self.doubtful {
            true => whole_script(&self.table, &wanted),
            false => difference_script(&self.table, &self.written, &wanted),
        };
        if script.is_empty() {
            return;
        }
        match self.nft.apply(&script).await {
            Ok(()) => {
                if std::mem::take(&mut self.said) {
                    tracing::info!("the ruleset lets the VPN's clients through again");
                }
                (self.doubtful, self.written) = (false, wanted);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.said, true) {
                    tracing::warn!(%error, "the ruleset has no sets of the VPN's clients yet; tried again every second");
                }
                self.doubtful = true;
            }
        }
    }

    async fn set_up(&mut self, links: &Links) -> bool {
        let Some(Devices { tun, kernel, mtu, addresses }) = self.devices.as_ref().filter(|_| !self.ready)
        else {
            return true;
        };
        let mtu = u32::from(*mtu);
        let done = async {
            // What is for the pools goes to the first; the other has routes alone.
            links.set_up_inner(tun, mtu, addresses).await?;
            match kernel {
                Some(kernel) => links.set_up_inner(kernel, mtu, &[]).await,
                None => Ok(()),
            }
        };
        let done = done.await;
        self.ready = done.map_err(|error| tracing::error!(%error, "the VPN's device is not ready")).is_ok();
        self.ready
    }

    /// Networks behind clients, addresses beside the pools and those whom the kernel carries have routes of their own.
    async fn write_routes(&mut self, links: &Links) -> bool {
        let Some(devices) = &self.devices else { return true };
        let wanted = routes(devices, &self.reachable, &self.led);
        let mut all = true;
        let gone: Vec<(IpNet, Device)> = (self.routed.iter().filter(|(net, _)| !wanted.contains_key(net)))
            .map(|(net, device)| (*net, device.clone()))
            .collect();
        let new = wanted.iter().filter(|(net, device)| self.routed.get(net) != Some(device));
        let new: Vec<(IpNet, Device)> = new.map(|(net, device)| (*net, device.clone())).collect();
        for ((net, device), there) in
            gone.into_iter().map(|gone| (gone, false)).chain(new.into_iter().map(|new| (new, true)))
        {
            // Another device takes the place of the one before, and nothing is without a way in between.
            match links.route_inner(&device, net, there).await {
                Ok(()) if there => drop(self.routed.insert(net, device)),
                Ok(()) => drop(self.routed.remove(&net)),
                Err(error) => {
                    tracing::warn!(%net, %error, "the way to a client, or to a network behind one, cannot be set");
                    all = false;
                }
            }
        }
        all
    }
}

/// What has a route of its own, and by which device.
fn routes(devices: &Devices, reachable: &BTreeSet<IpNet>, led: &BTreeSet<IpNet>) -> BTreeMap<IpNet, Device> {
    let device = |net: &IpNet| match &devices.kernel {
        Some(kernel) if led.contains(net) => Some(kernel.clone()),
        Some(_) | None => {
            let pooled = devices.addresses.iter().any(|pool| pool.contains(net));
            (!pooled).then(|| devices.tun.clone())
        }
    };
    reachable.iter().filter_map(|net| Some((*net, device(net)?))).collect()
}

/// Without what lies in another one: intervals of a set must not overlap.
fn disjoint(reachable: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    let networks: Vec<&IpNet> =
        reachable.iter().filter(|net| net.prefix_len() < net.max_prefix_len()).collect();
    let inside = |net: &IpNet| networks.iter().any(|other| **other != *net && other.contains(net));
    reachable.iter().filter(|net| !inside(net)).map(IpNet::trunc).collect()
}

/// Both sets emptied and filled in one transaction.
fn whole_script(table: &str, wanted: &BTreeSet<IpNet>) -> String {
    let flush: String = SETS.iter().map(|set| format!("flush set inet {table} {set}\n")).collect();
    flush + &elements("add", table, wanted.iter())
}

fn difference_script(table: &str, written: &BTreeSet<IpNet>, wanted: &BTreeSet<IpNet>) -> String {
    elements("delete", table, written.difference(wanted))
        + &elements("add", table, wanted.difference(written))
}

fn elements<'a>(verb: &str, table: &str, networks: impl Iterator<Item = &'a IpNet>) -> String {
    let (four, six): (Vec<&IpNet>, Vec<&IpNet>) = networks.partition(|net| net.addr().is_ipv4());
    let mut script = String::new();
    for (set, networks) in SETS.into_iter().zip([four, six]) {
        if !networks.is_empty() {
            let list = networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            script.push_str(&format!("{verb} element inet {table} {set} {{ {list} }}\n"));
        }
    }
    script
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

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(text: &str) -> BTreeSet<IpNet> {
        text.split_whitespace().map(|net| net.parse().unwrap()).collect()
    }

    /// Neighbours stay elements of their own, so that one who comes or goes does not touch another; what lies in a network
    /// behind a client is left out.
    #[test]
    fn scripts_touch_only_what_changes() {
        let one = nets("10.8.0.2/32 fd00::2/128");
        assert_eq!(whole_script("t", &nets("")), "flush set inet t vpn_live4\nflush set inet t vpn_live6\n");
        let whole = whole_script("t", &one);
        assert!(whole.ends_with(
            "add element inet t vpn_live4 { 10.8.0.2/32 }\nadd element inet t vpn_live6 { fd00::2/128 }\n"
        ));
        assert_eq!(difference_script("t", &one, &one), "");
        let two = disjoint(&nets("10.8.0.2/32 10.8.0.3/32 10.8.0.0/30 10.8.0.9/32"));
        assert_eq!(two, nets("10.8.0.0/30 10.8.0.9/32"));
        let script = difference_script("t", &nets("10.8.0.2/32 10.8.0.9/32"), &two);
        assert_eq!(
            script,
            "delete element inet t vpn_live4 { 10.8.0.2/32 }\nadd element inet t vpn_live4 { 10.8.0.0/30 }\n"
        );
    }

    /// In: an address of a pool, one beside it and a network behind a client; the kernel carries none of them, or the first two. Out:
    /// what is in a pool has no route but to the kernel, and nobody has one who is not reachable.
    #[test]
    fn routes_lead_to_who_carries() {
        let devices = |kernel: bool| Devices {
            tun: Device::new("vpn0"),
            kernel: kernel.then(|| Device::new("vpn0k")),
            mtu: 1500,
            addresses: vec!["10.8.0.1/24".parse().unwrap()],
        };
        let told = |kernel: bool, led: &str| -> Vec<String> {
            let reachable = nets("10.8.0.2/32 172.16.0.9/32 192.168.7.0/24");
            let routes = routes(&devices(kernel), &reachable, &nets(led));
            routes.iter().map(|(net, device)| format!("{net} {device}")).collect()
        };
        let by_program = ["172.16.0.9/32 vpn0", "192.168.7.0/24 vpn0"];
        assert_eq!(told(false, "10.8.0.2/32"), by_program);
        assert_eq!(told(true, ""), by_program);
        assert_eq!(
            told(true, "10.8.0.2/32 172.16.0.9/32 10.8.0.77/32"),
            ["10.8.0.2/32 vpn0k", "172.16.0.9/32 vpn0k", "192.168.7.0/24 vpn0"]
        );
    }
}
