//! Network namespaces with a cable between them, and ends of a tunnel in them with keys that no key exchange made.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

use ipnet::IpNet;
use nix::sched::{CloneFlags, unshare};
use rempart_config::model::Device;
use rempart_openvpn::data::epoch::{Epoch, EpochBook, Parity, Record, Reign, StoreId};
use rempart_openvpn::data::fresh::FreshKey;
use rempart_openvpn::data::keys::{BLOCK, DataKeys, End, KeyId};
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{KeySerial, Path, PeerId};
use rempart_system::tunnel::{Queue, Socket};
use rempart_tunnel::{DataPath, Event, Incoming, Outlets, Setup, Shard};

type Work = Box<dyn FnOnce() + Send>;

/// A network namespace and a thread in it. It goes when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    work: Sender<Work>,
    path: String,
}

impl Namespace {
    /// A new one, with nothing but `lo`, up. Needs root.
    pub fn new() -> Self {
        let ((work, inbox), (path, told)) = (channel::<Work>(), channel());
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            let (process, thread) = (std::process::id(), nix::unistd::gettid());
            let _ = path.send(format!("/proc/{process}/task/{thread}/ns/net"));
            inbox.into_iter().for_each(|work| work());
        });
        let namespace = Self { work, path: told.recv().expect("a thread") };
        namespace.shell("ip link set lo up");
        namespace
    }

    /// Does `work` in it and waits.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, answer) = channel();
        let work = move || drop(sender.send(work()));
        self.work.send(Box::new(work)).expect("a thread");
        answer.recv().expect("the work panicked")
    }

    /// Runs a command line in it, which must succeed, and returns what it prints.
    pub fn shell(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || {
            let output = Command::new("sh").args(["-c", &line]).output().expect("sh");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{line}: {said}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// Lays a cable: `own` here and `theirs` in `other`, both up and with these addresses.
    pub fn cable(&self, own: (&str, &[&str]), other: &Self, theirs: (&str, &[&str])) {
        let (here, there) = (own.0, theirs.0);
        self.shell(&format!("ip link add {here} type veth peer name {there} netns {}", other.path));
        for (namespace, (device, addresses)) in [(self, own), (other, theirs)] {
            namespace.set_up(device, addresses);
        }
    }

    /// Gives a device its addresses and switches it on.
    pub fn set_up(&self, device: &str, addresses: &[&str]) {
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            self.shell(&format!("ip address add {address} dev {device} {nodad}"));
        }
        self.shell(&format!("ip link set {device} up"));
    }
}

/// The right to make keys, from a disk that does not exist: each key is used by one process only.
pub fn reign() -> Reign {
    let record = Record { store: StoreId::new([1; 16]), highest: Epoch::new(0) };
    let claim = EpochBook::new(Parity::Even, record).claim().expect("an epoch");
    claim.persist(|_| Ok::<(), ()>(())).expect("written").take_over(&[]).0
}

/// Key `number` with the key id `id`, as one end has it.
pub fn key(id: u8, number: u8, end: End, peer: PeerId) -> (Sealer, Opener) {
    let mut keys = DataKeys::derived(KeyId::of(id), &[number; BLOCK], end);
    let (_, ids) = reign().make(&mut keys, None).expect("it is fresh");
    let opener = Opener::new(&keys, 0);
    (Sealer::new(&keys, ids, peer).expect("its own range"), opener)
}

/// The same as the server has it before it is used.
pub fn fresh_key(id: u8, number: u8, peer: PeerId) -> FreshKey {
    let mut keys = DataKeys::derived(KeyId::of(id), &[number; BLOCK], End::Server);
    let (_, ids) = reign().make(&mut keys, None).expect("it is fresh");
    FreshKey::new(keys, ids, peer).expect("its own range")
}

/// An end of a tunnel.
#[derive(Debug)]
pub struct TunnelEnd {
    /// The data path.
    pub shard: Shard,
    /// What it tells.
    pub events: Receiver<Event>,
    /// Packets of the control channel.
    pub control: Receiver<Incoming>,
}

/// What one end is.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Which end.
    pub end: End,
    /// The TUN device, its MTU 1500, and its addresses.
    pub device: (&'a str, &'a [&'a str]),
    /// Where it listens.
    pub local: SocketAddr,
    /// Where the other end is.
    pub remote: SocketAddr,
    /// The sources that it believes the other end.
    pub own: &'a [&'a str],
}

/// Sets one end up with one session and one key.
pub fn tunnel_end(namespace: &Namespace, peer: PeerId, wanted: Wanted<'_>) -> TunnelEnd {
    let Wanted { end, device, local, remote, own } = wanted;
    let name = Device::new(device.0);
    let (queue, socket) = namespace.run(move || {
        (Queue::open(&name).expect("a TUN device"), Socket::bind(local, false).expect("a socket"))
    });
    namespace.set_up(device.0, device.1);
    let (outlets, events, control) = Outlets::new();
    let setup = Setup { number: 0, queue, sockets: vec![socket], capacity: 16 };
    let mut shard = Shard::start(setup, outlets).expect("threads");
    let own: Vec<IpNet> = own.iter().map(|net| net.parse().expect("a network")).collect();
    shard.add(peer, Path { local: 0, remote }, own, None).expect("it runs");
    let (sealer, opener) = key(0, 1, end, peer);
    shard.open_with(peer, KeySerial(1), opener).expect("it runs");
    shard.seal_with(peer, KeySerial(1), sealer).expect("it runs");
    TunnelEnd { shard, events, control }
}
