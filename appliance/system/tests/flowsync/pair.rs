//! Two routers between a client and a server. Both routers have the same addresses and MAC addresses, and only one of them
//! is plugged in, so that nothing but the connection table decides whether a connection goes on.
//!
//! ```text
//! client 10.0.0.2, fd00:1::2 ── lan ──┬─ .1  first  .1 ─┬── wan ── server 192.0.2.2, fd00:2::2
//!                                     └─ .1  second .1 ─┘
//! ```

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rempart_system::flowsync::{
    Event, Events, Expect, HashKey, Identity, Key, Read, Record, TimeoutRule, Writer,
};

use crate::common::{Neighbour, sh};

const HASH: HashKey = HashKey([7; 16]);
/// TCP's first retransmission after the move is due within 0.2 s; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Pair {
    pub client: Neighbour,
    pub server: Neighbour,
    pub first: Neighbour,
    pub second: Neighbour,
    events: Events,
    pub writer: Writer,
    known: Vec<Key>,
    /// What travelled, in order.
    pub put: Vec<Record>,
    pub gone: Vec<Identity>,
}

impl Pair {
    /// `first` accepts new connections from the client, `second` none at all: what it forwards it knows.
    pub fn new() -> Self {
        sh(
            "ip link add lan type bridge; ip link add wan type bridge; ip link set lan up; ip link set wan up",
        );
        let [client, server, first, second] = std::array::from_fn(|_| Neighbour::new());
        let cable = |bridge: &str, ours: &str, there: &Neighbour, device: &str| {
            let pid = there.pid();
            sh(&format!(
                "ip link add {ours} type veth peer name {device} netns {pid}; ip link set {ours} up"
            ));
            if ours != "l2" && ours != "w2" {
                sh(&format!("ip link set {ours} master {bridge}"));
            }
        };
        cable("lan", "c", &client, "eth0");
        cable("wan", "s", &server, "eth0");
        client.sh(
            "ip addr add 10.0.0.2/24 dev eth0; ip addr add fd00:1::2/64 dev eth0 nodad; ip link set eth0 up
            ip route add default via 10.0.0.1; ip route add default via fd00:1::1",
        );
        server.sh(
            "ip addr add 192.0.2.2/24 dev eth0; ip addr add fd00:2::2/64 dev eth0 nodad; ip link set eth0 up
            ip route add default via 192.0.2.1; ip route add default via fd00:2::1",
        );
        for (number, router, fresh) in [(1, &first, "ct state new accept"), (2, &second, "")] {
            cable("lan", &format!("l{number}"), router, "lan");
            cable("wan", &format!("w{number}"), router, "wan");
            router.sh("ip link set lan address 02:00:00:00:00:01; ip link set wan address 02:00:00:00:00:02
                ip addr add 10.0.0.1/24 dev lan; ip addr add fd00:1::1/64 dev lan nodad; ip link set lan up
                ip addr add 192.0.2.1/24 dev wan; ip addr add fd00:2::1/64 dev wan nodad; ip link set wan up
                echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
            let rules = RULES.replace("FRESH", fresh);
            let path = std::env::temp_dir().join(format!("flowsync-{}-{number}.nft", router.pid()));
            std::fs::write(&path, rules).expect("written");
            router.sh(&format!("nft -f {}", path.display()));
            let _ = std::fs::remove_file(&path);
            // Nothing is picked up in the middle.
            router.sh("echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose");
        }
        let events = first.enter(|| Events::open(8 << 20)).expect("events");
        let writer = second.enter(Writer::open).expect("a writer");
        Self { client, server, first, second, events, writer, known: vec![], put: vec![], gone: vec![] }
    }

    /// Takes what happened at the first router over to the second, through the bytes of the wire.
    pub fn replicate(&mut self) {
        let mut told = Vec::new();
        let mut visit = |event: Event<'_>| match event {
            Event::Put(record, _) => told.push(Ok(*record)),
            Event::Gone(identity) => told.push(Err(identity)),
            Event::Overrun => panic!("an overrun"),
        };
        while self.events.read_batch(&mut visit).expect("read") == Read::More {}
        if let Some(due) = self.events.due() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.events.look_again(&mut visit).expect("read");
        }
        for event in told {
            let mut bytes = Vec::new();
            match event {
                Ok(record) => {
                    self.put.push(record);
                    record.encode(&mut bytes);
                    let record = Record::decode(&bytes).expect("decoded");
                    let key = record.key(&HASH);
                    let expect = if self.known.contains(&key) { Expect::Known } else { Expect::New };
                    self.known.push(key);
                    self.writer.put(&record, TimeoutRule::AtLeast(3600), expect).expect("queued");
                }
                Err(identity) => {
                    self.gone.push(identity);
                    identity.encode(&mut bytes);
                    let identity = Identity::decode(&bytes).expect("decoded");
                    let key = identity.key(&HASH);
                    self.known.retain(|known| *known != key);
                    self.writer.remove(&identity).expect("queued");
                }
            }
        }
        self.writer.flush().expect("flushed");
        assert_eq!(self.writer.take_refusals(), []);
    }

    /// Pulls the cables of the first router and plugs in those of the second.
    pub fn take_over(&self) {
        sh(
            "ip link set l1 nomaster; ip link set w1 nomaster; ip link set l2 master lan; ip link set w2 master wan",
        );
    }

    /// No packet at the second router was invalid to its connection tracking.
    pub fn assert_all_valid(&self) {
        let counters = self.second.sh("nft list counter inet router invalid");
        assert!(counters.contains("packets 0 "), "{counters}");
    }

    /// A connection from the client, and the server's end of it.
    pub fn connect(&self, listen: SocketAddr, to: SocketAddr) -> (TcpStream, TcpStream) {
        let listener = self.server.enter(|| TcpListener::bind(listen)).expect("a listener");
        let client = self.client.enter(|| TcpStream::connect(to)).expect("a connection");
        let (server, _) = listener.accept().expect("accepted");
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            stream.set_write_timeout(Some(PATIENCE)).expect("set");
            stream.set_nodelay(true).expect("set");
        }
        (client, server)
    }

    /// A UDP socket of the client or of the server.
    pub fn udp(&self, at: &Neighbour, address: SocketAddr) -> UdpSocket {
        let socket = at.enter(|| UdpSocket::bind(address)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket
    }
}

/// What goes in at one end comes out at the other.
pub fn say(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(bytes).expect("written"));
        to.read_exact(&mut read).expect("read");
    });
    assert!(read == bytes);
}

const RULES: &str = r#"
table inet router {
  counter invalid { }
  ct helper ftp { type "ftp" protocol tcp; }
  chain prerouting {
    type filter hook prerouting priority filter;
    tcp dport 21 ct helper set "ftp"
  }
  chain input {
    type filter hook input priority filter; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid counter name invalid drop
    ct state established,related accept
    FRESH
  }
  chain dstnat {
    type nat hook prerouting priority dstnat;
    meta nfproto ipv4 tcp dport 8080 dnat ip to 192.0.2.2:7000
  }
  chain srcnat {
    type nat hook postrouting priority srcnat;
    oifname wan tcp dport 9000 accept
    oifname wan meta nfproto ipv4 snat ip to 192.0.2.1
    oifname wan meta nfproto ipv6 snat ip6 to fd00:2::1
  }
}
"#;
