//! The data path between two network namespaces, with the kernel's own ping and TCP through it, and with a client made by
//! hand that sends what no client should. Needs root.

// Not every test uses all of it.
#[allow(dead_code)]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::{Namespace, TunnelEnd, Wanted, key, tunnel_end};
use rempart_openvpn::data::inbound::Drops;
use rempart_openvpn::data::keys::End;
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::segment::checksum::Sum;
use rempart_openvpn::data::{EXIT, KeySerial, OVERHEAD, PING, Path, PeerId};
use rempart_tunnel::{DataPath, Event, Half};

const PATIENCE: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(200);

fn peer() -> PeerId {
    PeerId::new(3).unwrap()
}

fn root() -> bool {
    let is = nix::unistd::geteuid().is_root();
    if !is {
        eprintln!("SKIPPED: this needs root, for network namespaces");
    }
    is
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Two namespaces, a cable, and our data path at both ends.
struct Pair {
    server: Namespace,
    client: Namespace,
    _ends: [TunnelEnd; 2],
}

impl Pair {
    /// `outer` are the addresses of the cable's ends.
    fn new(outer: [&str; 2]) -> Self {
        let (server, client) = (Namespace::new(), Namespace::new());
        let [a, b] = outer.map(|net| net.parse::<ipnet::IpNet>().unwrap().addr());
        server.cable(("wan", &[outer[0]]), &client, ("eth", &[outer[1]]));
        let (local, remote) = (SocketAddr::new(a, 1194), SocketAddr::new(b, 40000));
        let one = Wanted {
            end: End::Server,
            device: ("tun0", &["10.8.0.1/24", "fd00::1/64"]),
            local,
            remote,
            own: &["10.8.0.2/32", "fd00::2/128"],
        };
        let other = Wanted {
            end: End::Client,
            device: ("tun0", &["10.8.0.2/24", "fd00::2/64"]),
            local: remote,
            remote: local,
            own: &["10.8.0.1/32", "fd00::1/128"],
        };
        let ends = [tunnel_end(&server, peer(), one), tunnel_end(&client, peer(), other)];
        Self { server, client, _ends: ends }
    }

    /// `bytes` bytes by TCP to `to` in the server, all of them as they were sent.
    fn transfer(&self, to: &str, bytes: usize) {
        let to = at(to);
        let listener = self.server.run(move || TcpListener::bind(to).unwrap());
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
            got
        });
        let mut stream = self.client.run(move || TcpStream::connect_timeout(&to, PATIENCE).unwrap());
        let sent: Vec<u8> = (0..bytes).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
        stream.write_all(&sent).unwrap();
        drop(stream);
        assert!(reader.join().unwrap() == sent, "what arrives is what was sent");
    }
}

/// Every size of packet, both families inside, over both families outside, and TCP that has to be cut and joined.
#[test]
fn packets_of_all_sizes_go_through() {
    if !root() {
        return;
    }
    for outer in [["192.0.2.1/24", "192.0.2.2/24"], ["2001:db8::1/64", "2001:db8::2/64"]] {
        let pair = Pair::new(outer);
        for to in ["10.8.0.1", "fd00::1"] {
            // The last one is larger than the tunnel's MTU, and goes in fragments.
            for size in [0, 1, 1000, 1400, 1452, 3000] {
                pair.client.shell(&format!("ping -n -q -c 2 -i 0.01 -W 2 -s {size} {to}"));
            }
        }
        pair.transfer("10.8.0.1:5001", 20_000_000);
        pair.transfer("[fd00::1]:5001", 20_000_000);
    }
}

/// A cable that reorders, loses and doubles: TCP gets all of its bytes all the same.
#[test]
fn a_bad_line_costs_time_and_nothing_else() {
    if !root() {
        return;
    }
    let pair = Pair::new(["192.0.2.1/24", "192.0.2.2/24"]);
    let bad = "netem delay 2ms 1ms reorder 20% loss 0.5% duplicate 5%";
    let line = format!("tc qdisc add dev eth root {bad} 2>&1 || echo without");
    if pair.client.shell(&line).contains("without") {
        eprintln!("SKIPPED: no netem in this kernel");
        return;
    }
    pair.transfer("10.8.0.1:5001", 2_000_000);
}

/// Our data path in one namespace, and in the other a client by hand at 192.0.2.2.
struct ByHand {
    server: Namespace,
    client: Namespace,
    end: TunnelEnd,
    socket: UdpSocket,
    sealer: Sealer,
    opener: Opener,
    /// Where packets for 10.8.0.1 port 7 arrive.
    inside: UdpSocket,
}

impl ByHand {
    fn new() -> Self {
        let (server, client) = (Namespace::new(), Namespace::new());
        server.cable(("wan", &["192.0.2.1/24"]), &client, ("eth", &["192.0.2.2/24"]));
        let wanted = Wanted {
            end: End::Server,
            device: ("tun0", &["10.8.0.1/24"]),
            local: at("192.0.2.1:1194"),
            remote: at("192.0.2.2:40000"),
            own: &["10.8.0.2/32"],
        };
        let end = tunnel_end(&server, peer(), wanted);
        let socket = Self::socket(&client, 40000);
        let inside = server.run(|| UdpSocket::bind("10.8.0.1:7").unwrap());
        inside.set_read_timeout(Some(QUIET)).unwrap();
        let (sealer, opener) = key(0, 1, End::Client, peer());
        Self { server, client, end, socket, sealer, opener, inside }
    }

    fn socket(client: &Namespace, port: u16) -> UdpSocket {
        let socket = client.run(move || UdpSocket::bind(("192.0.2.2", port)).unwrap());
        socket.connect("192.0.2.1:1194").unwrap();
        socket.set_read_timeout(Some(QUIET)).unwrap();
        socket
    }

    fn sealed(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut datagram = [&[0; OVERHEAD], inner].concat();
        self.sealer.seal(&mut datagram).unwrap();
        datagram
    }

    /// What has arrived inside, until nothing comes any more.
    fn arrived(&self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2000];
        let mut next = || self.inside.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec());
        std::iter::from_fn(&mut next).collect()
    }

    fn drops(&mut self) -> Drops {
        self.end.shard.report().unwrap();
        loop {
            match self.end.events.recv_timeout(PATIENCE).unwrap() {
                Event::Report(Half::In(_, drops)) => return drops,
                Event::Report(Half::Out(_)) | Event::Last(_) | Event::Switched { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Has the server send the client something inside; the key id of the packet that comes to `socket`.
    fn answer_at(&mut self, socket: &UdpSocket) -> Option<u8> {
        self.inside.send_to(b"answer", "10.8.0.2:9").unwrap();
        let mut buffer = [0; 2000];
        let length = socket.recv(&mut buffer).ok()?;
        Some(buffer[..length][0] & 7)
    }
}

/// An inner datagram from 10.8.0.`from` port 9 to 10.8.0.1 port 7.
fn inner(from: u8, payload: &[u8]) -> Vec<u8> {
    let length = (28 + payload.len()) as u16;
    let mut out = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 8, 0, from, 10, 8, 0, 1, 0, 9, 0, 7];
    out[2..4].copy_from_slice(&length.to_be_bytes());
    let sum = Sum::default().bytes(&out[..20]).complete();
    out[10..12].copy_from_slice(&sum);
    out.extend((length - 20).to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    let sum = Sum::default().pseudo(&out[12..20], 17, out.len() - 20).bytes(&out[20..]).complete();
    out[26..28].copy_from_slice(&sum);
    out
}

fn event(events: &Receiver<Event>) -> Event {
    events.recv_timeout(PATIENCE).expect("an event")
}

#[test]
fn only_what_is_new_authentic_and_the_clients_own_arrives() {
    if !root() {
        return;
    }
    let mut by_hand = ByHand::new();
    // In any order, each once; also a packet of one byte and one that fills the MTU.
    let payloads = [vec![1], vec![2; 100], vec![3; 1472], vec![4; 1]];
    let sealed: Vec<Vec<u8>> = payloads.iter().map(|payload| by_hand.sealed(&inner(2, payload))).collect();
    for n in [3, 0, 2, 1, 0, 3] {
        by_hand.socket.send(&sealed[n]).unwrap();
    }
    let mut wanted: Vec<Vec<u8>> = [3, 0, 2, 1].map(|n: usize| payloads[n].clone()).into();
    wanted.sort();
    let mut arrived = by_hand.arrived();
    arrived.sort();
    assert_eq!(arrived, wanted);
    // A source that is another's, a packet that was changed on its way, one of nobody.
    let spoofed = by_hand.sealed(&inner(3, b"spoofed"));
    let mut changed = by_hand.sealed(&inner(2, b"changed"));
    changed[40] ^= 1;
    let mut nobody = by_hand.sealed(&inner(2, b"nobody"));
    nobody[3] = 4;
    let nonsense = vec![9 << 3; 3];
    for datagram in [spoofed, changed, nobody, nonsense] {
        by_hand.socket.send(&datagram).unwrap();
    }
    let last = by_hand.sealed(&inner(2, b"last"));
    by_hand.socket.send(&last).unwrap();
    assert_eq!(by_hand.arrived(), [b"last"]);
    let drops = Drops { short: 1, unknown_peer: 1, unknown_key: 0, replayed: 2, forged: 1, spoofed: 1 };
    assert_eq!(by_hand.drops(), drops);
    assert_eq!(by_hand.end.shard.stats().unwritten.load(Ordering::Relaxed), 0);
    assert!(by_hand.end.shard.is_alive());
}

/// From another port: reported once it is authentic, answered there once that is said, and taken in from anywhere.
#[test]
fn a_client_that_moves_is_followed_when_it_is_said() {
    if !root() {
        return;
    }
    let mut by_hand = ByHand::new();
    let (old, new) = (by_hand.socket.try_clone().unwrap(), ByHand::socket(&by_hand.client, 40001));
    let first = by_hand.sealed(&inner(2, b"here"));
    old.send(&first).unwrap();
    assert!(matches!(event(&by_hand.end.events), Event::Switched { serial: KeySerial(1), .. }));
    assert_eq!(by_hand.answer_at(&old), Some(0));
    new.send(&first).unwrap();
    let mut forged = by_hand.sealed(&PING);
    forged[30] ^= 1;
    new.send(&forged).unwrap();
    assert!(by_hand.end.events.recv_timeout(QUIET).is_err(), "neither a replay nor a forgery moves anybody");
    let there = by_hand.sealed(&inner(2, b"there"));
    new.send(&there).unwrap();
    let Event::Moved { peer, path } = event(&by_hand.end.events) else { panic!("it has moved") };
    assert_eq!(path, Path { local: 0, remote: at("192.0.2.2:40001") });
    assert_eq!(by_hand.arrived(), [&b"here"[..], b"there"]);
    assert_eq!(by_hand.answer_at(&new), None);
    assert_eq!(by_hand.answer_at(&old), Some(0));
    let mut waiting = [0; 100];
    let _ = old.recv(&mut waiting);
    by_hand.end.shard.move_to(peer, path).unwrap();
    std::thread::sleep(QUIET);
    assert_eq!(by_hand.answer_at(&new), Some(0));
}

/// A second key: opened from the start, sent on once the client has sent on it; after removal of the session, nothing.
#[test]
fn keys_change_with_the_client_and_end_with_the_session() {
    if !root() {
        return;
    }
    let mut by_hand = ByHand::new();
    let socket = by_hand.socket.try_clone().unwrap();
    let (sealer, opener) = key(1, 2, End::Server, peer());
    by_hand.end.shard.open_with(peer(), KeySerial(2), opener).unwrap();
    by_hand.end.shard.seal_with(peer(), KeySerial(2), sealer).unwrap();
    std::thread::sleep(QUIET);
    assert_eq!(by_hand.answer_at(&socket), Some(0));
    (by_hand.sealer, by_hand.opener) = key(1, 2, End::Client, peer());
    let ping = by_hand.sealed(&PING);
    socket.send(&ping).unwrap();
    assert!(matches!(event(&by_hand.end.events), Event::Switched { serial: KeySerial(2), .. }));
    assert_eq!(by_hand.answer_at(&socket), Some(1));
    // A keep-alive of ours opens with the client's key.
    by_hand.end.shard.ping(peer()).unwrap();
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(by_hand.opener.open(&mut buffer[..length]).unwrap(), PING);
    let exit = by_hand.sealed(&EXIT);
    socket.send(&exit).unwrap();
    assert!(matches!(event(&by_hand.end.events), Event::Left { .. }));
    by_hand.end.shard.remove(peer()).unwrap();
    std::thread::sleep(QUIET);
    assert_eq!(by_hand.answer_at(&socket), None);
    let late = by_hand.sealed(&inner(2, b"late"));
    socket.send(&late).unwrap();
    assert!(by_hand.arrived().is_empty());
    assert_eq!(by_hand.drops().unknown_peer, 1);
}

/// Packets of the control channel pass in both directions.
#[test]
fn the_control_channel_has_its_packets() {
    if !root() {
        return;
    }
    let by_hand = ByHand::new();
    let hello = [&[7 << 3][..], &[5; 60]].concat();
    by_hand.socket.send(&hello).unwrap();
    by_hand.socket.send(&vec![7 << 3; 5000]).unwrap();
    let incoming = by_hand.end.control.recv_timeout(PATIENCE).unwrap();
    assert_eq!(*incoming.packet, *hello);
    assert_eq!(incoming.path, Path { local: 0, remote: at("192.0.2.2:40000") });
    assert!(by_hand.end.control.recv_timeout(QUIET).is_err());
    assert_eq!(by_hand.end.shard.stats().control_dropped.load(Ordering::Relaxed), 1);
    by_hand.end.shard.send_control(incoming.path, b"welcome").unwrap();
    let mut buffer = [0; 100];
    let length = by_hand.socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"welcome");
    drop(by_hand.server);
}
