//! Engines that talk to each other, without a wire and in made-up time.

mod flood;
mod hostile;
mod limits;
mod take_over;
mod talk;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use crate::{Engine, Known, Path, PeerSettings, PublicKey, Random, Secret, Settings};

pub(super) const BUFFER: usize = 4_096;

/// Always the same, and never twice the same.
pub(super) fn random(seed: u64) -> Random {
    let mut state = seed.wrapping_mul(2) + 1;
    Box::new(move |bytes| {
        for byte in bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
    })
}

pub(super) fn secret(number: u8) -> Secret {
    Secret::new([number; 32])
}

pub(super) fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn peer(number: u8, allowed: &[&str], endpoint: Option<&str>) -> PeerSettings {
    PeerSettings {
        name: format!("peer{number}"),
        public_key: secret(number).public(),
        preshared: None,
        allowed: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        endpoint: endpoint.map(address),
        keepalive: None,
    }
}

pub(super) fn settings(number: u8, peers: Vec<PeerSettings>) -> Settings {
    let sockets = vec![address("0.0.0.0:51820"), address("[::]:51820")];
    Settings { private_key: secret(number), sockets, mtu: 1420, peers }
}

/// The box: key 1, 10.9.0.1, at 192.0.2.1.
pub(super) const SERVER: &str = "192.0.2.1:51820";
/// The client: key 2, 10.9.0.2, at 198.51.100.2.
pub(super) const CLIENT: &str = "198.51.100.2:40000";

pub(super) fn server_settings() -> Settings {
    settings(1, vec![peer(2, &["10.9.0.2/32", "fd09::2/128"], None), peer(3, &["10.9.0.0/24"], None)])
}

pub(super) fn client_settings() -> Settings {
    settings(2, vec![peer(1, &["0.0.0.0/0", "::/0"], Some(SERVER))])
}

/// An IPv4 packet of `length` bytes.
pub(super) fn packet(from: &str, to: &str, length: usize) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let mut bytes = vec![7; length];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    bytes[12..16].copy_from_slice(&octets(from));
    bytes[16..20].copy_from_slice(&octets(to));
    bytes
}

pub(super) struct Pair {
    pub now: Instant,
    pub server: Engine,
    pub client: Engine,
    pub client_at: SocketAddr,
    /// Datagrams that went, from the client and to it.
    pub up: Vec<Vec<u8>>,
    pub down: Vec<Vec<u8>>,
    /// What arrived inside.
    pub at_server: Vec<Vec<u8>>,
    pub at_client: Vec<Vec<u8>>,
}

pub(super) fn engine(now: Instant, settings: Settings, known: &[(PublicKey, Known)], seed: u64) -> Engine {
    let known: HashMap<_, _> = known.iter().copied().collect();
    Engine::new(now, wall(), settings, &known, random(seed)).unwrap()
}

impl Pair {
    pub fn new() -> Self {
        Self::of(server_settings(), client_settings())
    }

    pub fn of(server: Settings, client: Settings) -> Self {
        let now = Instant::now();
        let (server, client) = (engine(now, server, &[], 11), engine(now, client, &[], 22));
        let (up, down, at_server, at_client) = Default::default();
        Self { now, server, client, client_at: address(CLIENT), up, down, at_server, at_client }
    }

    /// Carries what waits until nothing does.
    pub fn pump(&mut self) {
        let mut out = vec![0; BUFFER];
        loop {
            let mut quiet = true;
            while let Some((to, message)) = self.client.poll_transmit() {
                quiet = false;
                assert_eq!(to.remote, address(SERVER));
                self.arrive_at_server(&message, self.client_at, &mut out);
            }
            while let Some((to, message)) = self.server.poll_transmit() {
                quiet = false;
                if to.remote == self.client_at {
                    self.arrive_at_client(&message, &mut out);
                }
            }
            if quiet {
                return;
            }
        }
    }

    pub fn arrive_at_server(&mut self, message: &[u8], from: SocketAddr, out: &mut [u8]) {
        self.up.push(message.to_vec());
        let from = Path { local: 0, remote: from };
        if let Some(length) = self.server.handle_datagram(self.now, from, message, out) {
            self.at_server.push(out[..length].to_vec());
        }
    }

    pub fn arrive_at_client(&mut self, message: &[u8], out: &mut [u8]) {
        self.down.push(message.to_vec());
        let from = Path { local: 0, remote: address(SERVER) };
        if let Some(length) = self.client.handle_datagram(self.now, from, message, out) {
            self.at_client.push(out[..length].to_vec());
        }
    }

    /// The client sends a packet to the other end.
    pub fn send_up(&mut self, packet: &[u8]) {
        let (mut out, mut inner) = (vec![0; BUFFER], vec![0; BUFFER]);
        if let Some(sealed) = self.client.seal(self.now, packet, &mut out) {
            self.arrive_at_server(&out[..sealed.length], self.client_at, &mut inner);
        }
        self.pump();
    }

    pub fn send_down(&mut self, packet: &[u8]) {
        let (mut out, mut inner) = (vec![0; BUFFER], vec![0; BUFFER]);
        if let Some(sealed) = self.server.seal(self.now, packet, &mut out)
            && sealed.to.remote == self.client_at
        {
            self.arrive_at_client(&out[..sealed.length], &mut inner);
        }
        self.pump();
    }

    /// Time goes on, in steps of 100 ms.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(100);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
            self.pump();
        }
    }

    pub fn greet(&mut self) {
        self.send_up(&packet("10.9.0.2", "10.9.0.1", 100));
        assert_eq!(self.at_server.len(), 1);
    }

    pub fn initiations(messages: &[Vec<u8>]) -> usize {
        messages.iter().filter(|m| m[0] == 1).count()
    }
}
