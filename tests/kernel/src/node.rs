//! A node of its own: a fresh network namespace whose legs are TUN devices under the names of the document, set
//! up by the same code as a real one. The devices of virtual routers are TUN devices, too, up and with the virtual
//! addresses as on an active node: a packet arrives by one of them or by the leg's own, as its sender's idea of the
//! next MAC address would have it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rempart_config::model::Device;
use rempart_config::space::Family;
use rempart_plan::eval::Arrival;
use rempart_plan::ha::RouterPlan;
use rempart_plan::net::{Address, Network, Step, diff};
use rempart_plan::nft::{Script, TABLE};
use rempart_plan::world::World;
use rempart_system::conntrack::{Connection, Conntrack};
use rempart_system::links::Links;
use rempart_system::nft::{Counter, Nft, NftError};
use rempart_system::sysctl;
use rempart_system::tun::Tun;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::mpsc;

use crate::packet;

/// Largest packet that is read: the MTU of a TUN device.
const MTU: usize = 1500;
/// Most packets under way at once: a TUN device queues 500, and one packet may be answered by another.
pub const BATCH: usize = 128;
/// How long nothing must come out before a batch is over. The kernel handles a packet while it is handed over, so
/// this only waits for our own readers.
const QUIET: Duration = Duration::from_micros(300);
const QUIET_TURNS: u32 = 2;
const NFT_TIMEOUT: Duration = Duration::from_secs(60);

/// Whatever may go wrong in the harness itself.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs `work` in a network namespace of its own, with a runtime; `None` when that takes more than the user may.
pub fn in_namespace<T, F>(work: impl FnOnce() -> F + Send + 'static) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: this needs root, for network namespaces and nftables in them");
        return None;
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work())
    });
    match thread.join() {
        Ok(out) => Some(out),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The node.
#[derive(Debug)]
pub struct Node {
    legs: Vec<Leg>,
    links: Links,
    nft: Nft,
    conntrack: Conntrack,
    raw4: Socket,
    raw6: Socket,
    seen: mpsc::UnboundedReceiver<(usize, Vec<u8>)>,
    readers: Vec<tokio::task::JoinHandle<()>>,
}

/// The devices of a leg.
#[derive(Debug)]
struct Leg {
    own: Arc<Tun>,
    /// Those of virtual routers, and whether IPv6 is switched off there; and one beside it.
    others: Vec<(Arc<Tun>, bool)>,
    /// The node's own addresses: nobody sends to them by a virtual MAC.
    addresses: BTreeSet<IpAddr>,
}

impl Leg {
    /// The device that a packet arrives by: always the same one for the same addresses and ports.
    fn device(&self, bytes: &[u8]) -> &Tun {
        let v6 = bytes.first().is_some_and(|b| b >> 4 == 6);
        if packet::destination(bytes).is_some_and(|to| self.addresses.contains(&to)) {
            return &self.own;
        }
        let fit: Vec<&Tun> =
            self.others.iter().filter(|(_, v4_only)| !(v6 && *v4_only)).map(|(tun, _)| &**tun).collect();
        let told_apart = if v6 { 8..44 } else { 12..24 };
        let sum: usize = bytes.get(told_apart).unwrap_or_default().iter().map(|b| usize::from(*b)).sum();
        match sum % (fit.len() + 1) {
            0 => &self.own,
            n => fit[n - 1],
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.readers.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Node {
    /// Makes the devices of `world` in this thread's namespace and sets up `network` on them.
    pub async fn new(world: &World, network: &Network) -> Result<Self, Failure> {
        let (sender, seen) = mpsc::unbounded_channel();
        let mut legs: Vec<Leg> = Vec::new();
        let mut readers = Vec::new();
        let mut open = |device: &Device, index: usize| -> Result<Arc<Tun>, Failure> {
            let tun = Arc::new(Tun::create(device)?);
            let (reader, sender) = (Arc::clone(&tun), sender.clone());
            readers.push(tokio::spawn(async move {
                let mut buffer = [0; MTU];
                while let Ok(length) = reader.receive(&mut buffer).await {
                    if sender.send((index, buffer[..length].to_vec())).is_err() {
                        return;
                    }
                }
            }));
            Ok(tun)
        };
        for (index, leg) in world.legs.iter().enumerate() {
            let addresses = network.addresses.iter().filter(|a| a.device == leg.device).map(|a| a.net.addr());
            let (own, addresses) = (open(&leg.device, index)?, addresses.collect());
            let beside = leg.beside.iter().map(|device| Ok((open(device, index)?, false)));
            legs.push(Leg { own, others: beside.collect::<Result<_, Failure>>()?, addresses });
        }
        for router in routers(world) {
            let Some(leg) = world.leg_of(&router.parent) else { continue };
            // Nothing leaves by it: what does is a leg that no packet is expected on.
            let tun = open(&Device::new(&router.device), usize::MAX)?;
            legs[leg].others.push((tun, router.id().family == Family::V4));
        }
        let links = Links::new()?;
        links.apply(&Step::SetUp { device: Device::new("lo"), up: true }).await?;
        // The kernel answers refused packets at a rate of its own, which would hide some of the answers. For IPv6
        // the mask is a list of message types that cannot be empty: one that nobody has.
        for (key, value) in [
            ("net/ipv4/icmp_ratelimit", "0"),
            ("net/ipv4/icmp_ratemask", "0"),
            ("net/ipv6/icmp/ratelimit", "0"),
            ("net/ipv6/icmp/ratemask", "255"),
        ] {
            sysctl::write(key, value)?;
        }
        let node = Self {
            legs,
            links,
            nft: Nft::new("nft", NFT_TIMEOUT),
            conntrack: Conntrack::new()?,
            raw4: Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?,
            raw6: Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(RAW)))?,
            seen,
            readers,
        };
        node.set_network(network).await?;
        node.take_virtual_addresses(world).await?;
        node.set_up_tunnels(world, network).await?;
        Ok(node)
    }

    /// What the VPN's program does for the devices of its own that have addresses.
    async fn set_up_tunnels(&self, world: &World, network: &Network) -> Result<(), Failure> {
        let own = |leg: &&rempart_plan::world::Leg| !network.links.contains_key(&leg.device);
        for leg in world.legs.iter().filter(own).filter(|leg| !leg.addresses.is_empty()) {
            self.links.set_up_inner(&leg.device, 1420, &leg.addresses).await?;
            let behind = leg.zone.iter().flat_map(|zone| world.networks_behind(zone));
            for net in behind.filter(|net| !leg.addresses.iter().any(|own| own.contains(net))) {
                self.links.route_inner(&leg.device, net, true).await?;
            }
            let Some(beside) = &leg.beside else { continue };
            self.links.set_up_inner(beside, 1420, &[]).await?;
            // Half of each network leaves by it, and any of it arrives by it.
            for net in &leg.addresses {
                let halves = net.trunc().subnets(net.prefix_len() + 1);
                for half in halves.into_iter().flat_map(|mut halves| halves.nth(1)) {
                    self.links.route_inner(beside, half, true).await?;
                }
            }
        }
        Ok(())
    }

    /// What the elector does on an active node. The settings are those of the plan, which leaves TUN devices alone.
    async fn take_virtual_addresses(&self, world: &World) -> Result<(), Failure> {
        for router in routers(world) {
            let device = Device::new(&router.device);
            for (key, value) in [("ipv4/conf/DEV/rp_filter", "0"), ("ipv6/conf/DEV/addr_gen_mode", "1")] {
                sysctl::write(&format!("net/{}", key.replace("DEV", device.as_str())), value)?;
            }
            self.links.apply(&Step::SetUp { device: device.clone(), up: true }).await?;
            for net in router.addresses.iter().chain(&router.unadvertised) {
                let address = Address { device: device.clone(), net: *net, shared: true };
                self.links.apply(&Step::AddAddress(address)).await?;
            }
        }
        Ok(())
    }

    /// Makes the namespace's network what `network` says.
    pub async fn set_network(&self, network: &Network) -> Result<(), Failure> {
        let observed = self.links.observe(network).await?;
        for step in diff(network, &observed) {
            self.links.apply(&step).await?;
        }
        Ok(())
    }

    /// Applies a transaction.
    pub async fn apply(&self, script: &Script) -> Result<(), NftError> {
        self.nft.apply(&script.text).await
    }

    /// The runner of `nft` in this namespace.
    pub fn nft(&self) -> &Nft {
        &self.nft
    }

    /// The hand on the connection table of this namespace.
    pub fn conntrack(&mut self) -> &mut Conntrack {
        &mut self.conntrack
    }

    /// The named counters of our table.
    pub async fn counters(&self) -> Result<BTreeMap<String, Counter>, NftError> {
        self.nft.counters(TABLE).await
    }

    /// Sends packets one after the other and returns what came out, and by which leg, until nothing more does.
    pub async fn exchange<'a>(
        &mut self,
        packets: impl IntoIterator<Item = (Arrival, IpAddr, &'a [u8])>,
    ) -> Result<Vec<(usize, Vec<u8>)>, Failure> {
        for (arrival, destination, bytes) in packets {
            match arrival {
                Arrival::Leg(leg) => self.legs[leg].device(bytes).send(bytes).await?,
                Arrival::Local => {
                    let to = SockAddr::from(SocketAddr::new(destination, 0));
                    let socket = if Family::of(destination) == Family::V4 { &self.raw4 } else { &self.raw6 };
                    // The policy's refusal comes back as an error, and so does a missing route.
                    let _ = socket.send_to(bytes, &to);
                }
            }
        }
        let mut out = Vec::new();
        let mut quiet = 0;
        while quiet < QUIET_TURNS {
            tokio::time::sleep(QUIET).await;
            let before = out.len();
            while let Ok(one) = self.seen.try_recv() {
                out.push(one);
            }
            quiet = if out.len() == before { quiet + 1 } else { 0 };
        }
        Ok(out)
    }

    /// The tracked connections, which are forgotten then.
    pub async fn take_connections(&mut self) -> Result<Vec<Connection>, Failure> {
        let all = self.conntrack.list().await?;
        self.conntrack.delete_all(&all).await?;
        Ok(all)
    }
}

fn routers(world: &World) -> impl Iterator<Item = &RouterPlan> {
    world.ha.iter().flat_map(|ha| &ha.routers)
}

/// `IPPROTO_RAW`: whoever sends writes the IP header.
const RAW: i32 = 255;
