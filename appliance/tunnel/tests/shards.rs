//! Two shards of one device, and clients in network namespaces of their own. Needs root, and a kernel that lets us steer packets.

// Not every test uses all of it.
#[allow(dead_code)]
mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::{Namespace, TunnelEnd, Wanted, key, tunnel_end};
use rempart_config::model::Device;
use rempart_openvpn::data::keys::End;
use rempart_openvpn::data::{DATA_V2, KeySerial, Path, PeerId};
use rempart_system::tunnel::{Queue, Socket, Steering};
use rempart_tunnel::{DataPath, Event, Half, Outlets, Setup, Shard};

const PATIENCE: Duration = Duration::from_secs(5);
const SHARDS: usize = 2;
const CLIENTS: u8 = 4;
/// Flows of each client, and rounds of a few datagrams in each.
const FLOWS: u16 = 8;
const ROUNDS: u32 = 25;
const BURST: u32 = 8;

struct Stage {
    server: Namespace,
    clients: Vec<Namespace>,
    _ends: Vec<TunnelEnd>,
    shards: Vec<(Shard, Receiver<Event>)>,
    steering: Steering,
}

fn peer(client: u8) -> PeerId {
    PeerId::new(4 + u32::from(client)).unwrap()
}

fn local() -> SocketAddr {
    "192.0.2.1:1194".parse().unwrap()
}

/// `None` where it cannot be tried.
fn stage() -> Option<Stage> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: this needs root, for network namespaces");
        return None;
    }
    let steering = match Steering::new(64) {
        Ok(steering) => steering,
        Err(error) => {
            eprintln!("SKIPPED: the kernel lets us steer no packets: {error}");
            return None;
        }
    };
    let server = Namespace::new();
    server.shell("ip address add 192.0.2.1/32 dev lo");
    let opened = server.run(|| {
        let open = |_| (Queue::open(&Device::new("tun0")).unwrap(), Socket::bind(local(), true).unwrap());
        (0..SHARDS).map(open).collect::<Vec<_>>()
    });
    // Before the kernel has anything to say.
    steering.attach(&opened[0].0).unwrap();
    server.set_up("tun0", &["10.8.0.1/24", "fd00::1/64"]);
    opened[0].1.spread(DATA_V2, SHARDS as u8).unwrap();
    let start = |(number, (queue, socket))| {
        let (outlets, events, _) = Outlets::new();
        (Shard::start(Setup { number, queue, sockets: vec![socket], capacity: 16 }, outlets).unwrap(), events)
    };
    let shards: Vec<_> = opened.into_iter().enumerate().map(start).collect();
    let mut stage = Stage { server, clients: Vec::new(), _ends: Vec::new(), shards, steering };
    (0..CLIENTS).for_each(|client| stage.add(client));
    Some(stage)
}

impl Stage {
    fn shard(client: u8) -> usize {
        usize::from(client) % SHARDS
    }

    fn add(&mut self, client: u8) {
        let place = Namespace::new();
        let [here, there] = [1, 2].map(|host| format!("198.51.{client}.{host}/24"));
        self.server.cable((&format!("wan{client}"), &[&here]), &place, ("eth", &[&there]));
        place.shell(&format!("ip route add 192.0.2.1 via 198.51.{client}.1"));
        let remote: SocketAddr = format!("198.51.{client}.2:40000").parse().unwrap();
        let inner = [format!("10.8.0.{}", 2 + client), format!("fd00::{}", 2 + client)];
        let addresses = [format!("{}/24", inner[0]), format!("{}/64", inner[1])];
        let wanted = Wanted {
            end: End::Client,
            device: ("tun0", &[&addresses[0], &addresses[1]]),
            local: remote,
            remote: local(),
            own: &["10.8.0.1/32", "fd00::1/128"],
        };
        self._ends.push(tunnel_end(&place, peer(client), wanted));
        let own: Vec<ipnet::IpNet> =
            inner.iter().map(|ip| ip.parse::<std::net::IpAddr>().unwrap().into()).collect();
        own.iter().for_each(|net| self.steering.insert(*net, Self::shard(client) as u32).unwrap());
        let (shard, _) = &mut self.shards[Self::shard(client)];
        let (sealer, opener) = key(0, 1, End::Server, peer(client));
        shard.add(peer(client), Path { local: 0, remote }, own, None).unwrap();
        shard.open_with(peer(client), KeySerial(1), opener).unwrap();
        shard.seal_with(peer(client), KeySerial(1), sealer).unwrap();
        self.clients.push(place);
    }

    /// Numbered datagrams of several flows from one namespace to another: all of them arrive, and those of a flow in their order.
    fn in_order(from: &Namespace, to: &Namespace, at: &str, any: &str) {
        let (at, any) = (at.to_owned(), any.to_owned());
        let to_at = at.clone();
        let receiver = to.run(move || UdpSocket::bind(to_at).unwrap());
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let senders =
            from.run(move || (0..FLOWS).map(|_| UdpSocket::bind(&any).unwrap()).collect::<Vec<UdpSocket>>());
        let mut next = std::collections::BTreeMap::new();
        for round in 0..ROUNDS {
            for sender in &senders {
                for number in round * BURST..(round + 1) * BURST {
                    sender.send_to(&number.to_be_bytes(), &at).unwrap();
                }
            }
            for _ in 0..u32::from(FLOWS) * BURST {
                let mut number = [0; 4];
                let (_, flow) = receiver.recv_from(&mut number).expect("none is lost");
                let expected = next.entry(flow).or_insert(0);
                assert_eq!(u32::from_be_bytes(number), *expected, "of {flow}");
                *expected += 1;
            }
        }
    }

    /// Packets of each session that a shard has received and sent.
    fn counted(&mut self, shard: usize) -> Vec<(PeerId, u64, u64)> {
        let (shard, events) = &mut self.shards[shard];
        shard.report().unwrap();
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        while sent.is_empty() || received.is_empty() {
            match events.recv_timeout(PATIENCE).expect("a report") {
                Event::Report(Half::Out(all)) => sent = all,
                Event::Report(Half::In(all, drops)) => {
                    assert_eq!((drops.unknown_peer, drops.forged, drops.replayed), (0, 0, 0), "{drops:?}");
                    received = all;
                }
                // Each client began to send on its key.
                Event::Switched { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let both = sent.iter().zip(&received);
        both.map(|((peer, sent), (_, received, _))| (*peer, received.packets, sent.packets)).collect()
    }
}

/// In: flows from either side, of both families, of four clients. Out: every packet at the shard of its client and at no other, none
/// lost, none before one of its flow; and a client whose network is not in the map is at the first shard.
#[test]
fn packets_of_a_client_are_its_shards() {
    let Some(mut stage) = stage() else { return };
    for client in 0..CLIENTS {
        let place = &stage.clients[usize::from(client)];
        // First from the server: no answer has shown the kernel the way.
        Stage::in_order(&stage.server, place, &format!("10.8.0.{}:7", 2 + client), "10.8.0.1:0");
        Stage::in_order(&stage.server, place, &format!("[fd00::{}]:7", 2 + client), "[fd00::1]:0");
        Stage::in_order(place, &stage.server, "10.8.0.1:7", &format!("10.8.0.{}:0", 2 + client));
        Stage::in_order(place, &stage.server, "[fd00::1]:7", &format!("[fd00::{}]:0", 2 + client));
    }
    let least = u64::from(2 * u32::from(FLOWS) * ROUNDS * BURST);
    for number in 0..SHARDS {
        let counted = stage.counted(number);
        let peers: Vec<u32> = counted.iter().map(|(peer, ..)| peer.get()).collect();
        assert_eq!(peers, [4 + number as u32, 6 + number as u32]);
        assert!(
            counted.iter().all(|(_, received, sent)| *received >= least && *sent >= least),
            "{counted:?}"
        );
        let stats = stage.shards[number].0.stats();
        // What the kernel says to everybody (RFC 4861 §4.1, RFC 3810) comes to the first one.
        assert!(number == 0 || stats.unroutable.load(Ordering::Relaxed) == 0, "shard {number}");
        assert_eq!(stats.unsent.load(Ordering::Relaxed), 0, "shard {number}");
    }
    // Client 1 belongs to shard 1, and the kernel is not told so any more.
    stage.steering.remove("10.8.0.3/32".parse().unwrap()).unwrap();
    stage.steering.remove("10.8.0.3/32".parse().unwrap()).unwrap();
    let lost = || stage.shards[0].0.stats().unroutable.load(Ordering::Relaxed);
    let (before, many) = (lost(), 50);
    let server = stage.server.run(|| UdpSocket::bind("10.8.0.1:0").unwrap());
    for _ in 0..many {
        server.send_to(b"lost", "10.8.0.3:7").unwrap();
    }
    let end = std::time::Instant::now() + PATIENCE;
    while lost() < before + many {
        assert!(std::time::Instant::now() < end, "they went elsewhere");
        std::thread::sleep(Duration::from_millis(5));
    }
}
