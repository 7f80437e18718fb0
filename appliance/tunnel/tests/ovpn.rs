//! Sessions that the kernel carries, against a client that is our own data path. Needs root, and a kernel with the driver;
//! `make test-ovpn` runs it on the image's kernel, where `REMPART_OVPN` says that skipping is failing.

// Not every test uses all of it.
#[allow(dead_code)]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use common::{Namespace, TunnelEnd, Wanted, fresh_key, key, tunnel_end};
use ipnet::IpNet;
use rempart_config::model::Device;
use rempart_openvpn::data::keys::End;
use rempart_openvpn::data::{KeySerial, Path, PeerId};
use rempart_system::ovpn::{Ovpn, Slot};
use rempart_system::tunnel::{Queue, Socket};
use rempart_tunnel::kernel::{KernelDevice, Offload, Told, Twin};
use rempart_tunnel::{DataPath, Event, Half, Outlets, Setup, Shard};

const PATIENCE: Duration = Duration::from_secs(20);
/// Short, where the product waits 65 s.
const SWITCH: Duration = Duration::from_millis(1500);
const LOCAL: &str = "192.0.2.1:1194";
const CLIENT: &str = "192.0.2.2:40000";

fn peer() -> PeerId {
    PeerId::new(3).unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn own() -> Vec<IpNet> {
    ["10.8.0.2/32", "fd00::2/128"].map(|net| net.parse().unwrap()).to_vec()
}

/// A gateway whose kernel carries what it can, and a client, each in a namespace.
struct Stage {
    gateway: Namespace,
    client: Namespace,
    offload: Offload<Shard>,
    /// Asks the kernel beside the product.
    witness: Ovpn,
    device: u32,
    events: Receiver<Event>,
    end: TunnelEnd,
    told: Vec<Event>,
}

impl Stage {
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: this needs root, for network namespaces");
            return None;
        }
        let (gateway, client) = (Namespace::new(), Namespace::new());
        let Some(witness) = gateway.run(|| Ovpn::open().expect("generic netlink")) else {
            assert!(std::env::var_os("REMPART_OVPN").is_none(), "the kernel has no driver for OpenVPN");
            eprintln!("SKIPPED: the kernel has no driver for OpenVPN (Linux 6.16)");
            return None;
        };
        gateway.cable(("wan", &["192.0.2.1/24"]), &client, ("eth", &["192.0.2.2/24", "192.0.2.3/24"]));
        let (outlets, events, _control) = Outlets::new();
        let (mut offload, twin, device) = gateway.run(move || {
            let queue = Queue::open(&Device::new("vpn0")).expect("a TUN device");
            let setup = Setup { number: 0, queue, sockets: Vec::new(), capacity: 16 };
            let mut shard = Shard::start(setup, outlets).expect("threads");
            let first = Arc::new(Socket::bind(at(LOCAL), true).expect("a socket"));
            shard.set_sockets(vec![first.clone()]).expect("it runs");
            let twin = Twin::of(at(LOCAL), first).expect("a second socket");
            let kernel = KernelDevice::make(&Device::new("vpn0k")).expect("a device");
            let offload = Offload::new(kernel, shard, SWITCH);
            let device = nix::net::if_::if_nametoindex("vpn0k").expect("a device");
            (offload, twin, device)
        });
        offload.set_twins(vec![Some(twin)]);
        gateway.set_up("vpn0", &["10.8.0.1/24", "fd00::1/64"]);
        gateway.set_up("vpn0k", &[]);
        // As the image's kernel settings have it for a device that has no zone of its own.
        gateway.shell("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.vpn0k.rp_filter=0");
        let wanted = Wanted {
            end: End::Client,
            device: ("tun0", &["10.8.0.2/24", "fd00::2/64"]),
            local: at(CLIENT),
            remote: at(LOCAL),
            own: &["10.8.0.1/32", "fd00::1/128"],
        };
        let end = tunnel_end(&client, peer(), wanted);
        Some(Self { gateway, client, offload, witness, device, events, end, told: Vec::new() })
    }

    /// A session of which nothing is known but its place.
    fn add(&mut self) {
        let path = Path { local: 0, remote: at(CLIENT) };
        self.offload.add(peer(), path, own(), None).unwrap();
    }

    /// What a driver does: routes, and what is told.
    fn turn(&mut self) {
        self.offload.tick(Instant::now());
        while let Some(told) = self.offload.poll_told() {
            match told {
                Told::Event(event) => self.told.push(event),
                Told::Lead { networks, kernel } => {
                    for net in networks {
                        let verb = if kernel { "replace" } else { "del" };
                        self.gateway.shell(&format!("ip route {verb} {net} dev vpn0k"));
                    }
                }
                Told::Trouble(error) => panic!("{error}"),
            }
        }
    }

    /// Until something has come true, with a report each turn.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.offload.report().unwrap();
            self.turn();
            if done(self) {
                return;
            }
            assert!(Instant::now() < end, "not yet: {what}; {:?}", self.told);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ping(&self) {
        for to in ["10.8.0.1", "fd00::1"] {
            self.client.shell(&format!("ping -n -q -c 3 -i 0.05 -W 5 -s 1000 {to}"));
        }
    }

    /// `bytes` bytes by TCP from the client and back: super-packets, which the line carries as they are.
    fn echo(&self, to: &str, bytes: usize) {
        let to = at(to);
        let listener = self.gateway.run(move || TcpListener::bind(to).unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, mut got) = (listener.accept().unwrap().0, vec![0; bytes]);
            stream.read_exact(&mut got).unwrap();
            stream.write_all(&got).unwrap();
        });
        let mut stream = self.client.run(move || TcpStream::connect_timeout(&to, PATIENCE).unwrap());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent: Vec<u8> = (0..bytes).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
        stream.write_all(&sent).unwrap();
        let mut got = vec![0; bytes];
        stream.read_exact(&mut got).unwrap();
        server.join().unwrap();
        assert!(got == sent, "what comes back is what was sent");
    }

    fn keys(&mut self) -> [Option<u8>; 2] {
        let (device, id) = (self.device, peer().get());
        [Slot::Primary, Slot::Secondary].map(|slot| self.witness.key(device, id, slot).unwrap())
    }

    /// Packets that the kernel has received and sent for the session.
    fn counted(&mut self) -> (u64, u64) {
        let found = self.witness.peer(self.device, peer().get()).unwrap();
        (found.outer.received.packets, found.outer.sent.packets)
    }

    /// The next counters of one half, with the kernel's.
    fn reported(&mut self) -> (u64, u64, Option<u32>) {
        while self.events.try_recv().is_ok() {}
        self.offload.report().unwrap();
        let (mut sent, mut received) = (None, None);
        while sent.is_none() || received.is_none() {
            let mut event = self.events.recv_timeout(PATIENCE).expect("a report");
            self.offload.amend(&mut event);
            match event {
                Event::Report(Half::Out(list)) => sent = Some(list[0].1.packets),
                Event::Report(Half::In(list, _)) => {
                    received = Some((list[0].1.packets, list[0].2.last().map(|(_, id)| *id)));
                }
                _ => {}
            }
        }
        let (received, highest) = received.unwrap();
        (sent.unwrap(), received, highest)
    }

    /// The client has this key from now on, and sends under it.
    fn client_key(&self, id: u8, number: u8) {
        let (sealer, opener) = key(id, number, End::Client, peer());
        self.end.shard.open_with(peer(), KeySerial(number.into()), opener).unwrap();
        self.end.shard.seal_with(peer(), KeySerial(number.into()), sealer).unwrap();
    }
}

/// A client that is new: the kernel has it from its first key on. Both families go through, and the counts are told.
#[test]
fn the_kernel_carries_a_new_session() {
    let Some(mut stage) = Stage::new() else { return };
    stage.add();
    stage.offload.fresh_key(peer(), KeySerial(1), fresh_key(0, 1, peer())).unwrap();
    stage.turn();
    stage.ping();
    assert_eq!(stage.keys(), [Some(0), None]);
    let (received, sent) = stage.counted();
    assert!(received >= 6 && sent >= 6, "{received} {sent}");
    stage.until("the client was heard", |stage| {
        stage.told.iter().any(|event| matches!(event, Event::Switched { serial: KeySerial(1), .. }))
    });
    stage.echo("10.8.0.1:5001", 1_000_000);
    stage.echo("[fd00::1]:5001", 1_000_000);
    let (sent, received, highest) = stage.reported();
    assert!(sent >= 6 && received >= 6, "{sent} {received}");
    assert!(highest.is_some_and(|id| (6..=u32::try_from(received).unwrap()).contains(&id)), "{highest:?}");
    // It is gone at once, and so are its packets.
    stage.offload.remove(peer()).unwrap();
    stage.turn();
    assert!(stage.witness.peer(stage.device, peer().get()).unwrap_err().is_absence());
    let gone = stage.client.shell("ping -n -q -c 2 -i 0.05 -W 1 10.8.0.1 || true");
    assert!(gone.contains("100% packet loss"), "{gone}");
}

/// Renewal: both keys open at once, the newer one is sent under after its time, and nothing is lost on the way.
#[test]
fn keys_are_renewed_in_the_kernel() {
    let Some(mut stage) = Stage::new() else { return };
    stage.add();
    stage.offload.fresh_key(peer(), KeySerial(1), fresh_key(0, 1, peer())).unwrap();
    stage.turn();
    stage.ping();
    stage.offload.fresh_key(peer(), KeySerial(2), fresh_key(1, 2, peer())).unwrap();
    assert_eq!(stage.keys(), [Some(0), Some(1)]);
    stage.client_key(1, 2);
    // The client's data path follows ours: it goes on under the old key, and changes when we do.
    stage.ping();
    stage.until("the newer key is in use", |stage| stage.keys() == [Some(1), Some(0)]);
    stage.ping();
    assert!(stage.told.iter().any(|event| matches!(event, Event::Switched { serial: KeySerial(2), .. })));
    // What the kernel sent under the second key began with packet id 1: the client's window was empty, and it took them.
    let (_, _, before) = stage.reported();
    stage.ping();
    let (_, _, after) = stage.reported();
    assert!(after >= before.map(|id| id + 6), "{before:?} {after:?}");
    // The key before is given up, and a third one comes.
    stage.offload.remove_key(peer(), KeySerial(1)).unwrap();
    assert_eq!(stage.keys(), [Some(1), None]);
    stage.offload.fresh_key(peer(), KeySerial(3), fresh_key(2, 3, peer())).unwrap();
    assert_eq!(stage.keys(), [Some(1), Some(2)]);
    stage.ping();
}

/// A session that was taken over: its old key stays with us, the kernel never sees it. Its next key is the kernel's; what comes
/// under it is opened there, and what is for the client follows when the client has spoken and its time is over.
#[test]
fn a_session_that_was_taken_over_comes_to_the_kernel_with_its_next_key() {
    let Some(mut stage) = Stage::new() else { return };
    stage.add();
    let (sealer, opener) = key(0, 1, End::Server, peer());
    stage.offload.kept_key(peer(), KeySerial(1), opener, Some(sealer)).unwrap();
    stage.turn();
    stage.ping();
    assert!(stage.witness.peers(stage.device).unwrap().is_empty());
    stage.offload.fresh_key(peer(), KeySerial(2), fresh_key(1, 2, peer())).unwrap();
    stage.turn();
    assert_eq!(stage.keys(), [Some(1), None]);
    assert_eq!(stage.gateway.shell("ip route show dev vpn0k"), "");
    stage.ping();
    assert_eq!(stage.counted(), (0, 0), "the old key is not the kernel's");
    // The client changes: packets under the new key come to the kernel, answers still go out under the old one.
    let (sealer, opener) = key(1, 2, End::Client, peer());
    stage.end.shard.remove_key(peer(), KeySerial(1)).unwrap();
    stage.end.shard.seal_with(peer(), KeySerial(2), sealer).unwrap();
    stage.end.shard.open_with(peer(), KeySerial(2), opener).unwrap();
    let (_, opener) = key(0, 1, End::Client, peer());
    stage.end.shard.open_with(peer(), KeySerial(3), opener).unwrap();
    stage.client.shell("ping -n -q -c 1 -W 1 10.8.0.1 || true");
    assert!(stage.counted().0 > 0, "the new key is the kernel's");
    stage.until("what is for the client goes to the kernel", |stage| {
        !stage.gateway.shell("ip route show dev vpn0k").is_empty()
    });
    stage.ping();
    assert!(stage.counted().1 > 0);
}

/// A client that is elsewhere is answered there, and that is told; a network behind a client, and a key of the same number, stay
/// with us.
#[test]
fn moves_are_told_and_what_the_kernel_cannot_carry_is_not_given() {
    let Some(mut stage) = Stage::new() else { return };
    stage.add();
    stage.offload.fresh_key(peer(), KeySerial(1), fresh_key(0, 1, peer())).unwrap();
    stage.turn();
    stage.ping();
    let socket = stage.client.run(|| Arc::new(Socket::bind(at("192.0.2.3:40001"), false).expect("a socket")));
    stage.end.shard.set_sockets(vec![socket]).unwrap();
    stage.ping();
    stage.until("the move is told", |stage| {
        let there = Path { local: 0, remote: at("192.0.2.3:40001") };
        stage.told.iter().any(|event| matches!(event, Event::Moved { path, .. } if *path == there))
    });
    stage.offload.move_to(peer(), Path { local: 0, remote: at("192.0.2.3:40001") }).unwrap();
    stage.ping();
    // The same number again: a client that began anew in place. The one before is forgotten.
    stage.offload.fresh_key(peer(), KeySerial(2), fresh_key(0, 2, peer())).unwrap();
    stage.turn();
    assert_eq!((stage.keys(), stage.counted()), ([Some(0), None], (0, 0)));
    let other = PeerId::new(4).unwrap();
    let networks = vec!["10.8.0.9/32".parse().unwrap(), "192.168.9.0/24".parse().unwrap()];
    stage.offload.add(other, Path { local: 0, remote: at("192.0.2.9:5") }, networks, None).unwrap();
    stage.offload.fresh_key(other, KeySerial(5), fresh_key(0, 5, other)).unwrap();
    assert!(stage.witness.peer(stage.device, 4).unwrap_err().is_absence());
}
