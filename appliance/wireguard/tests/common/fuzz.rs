//! What is asked of any bytes: by the fuzz target `wireguard`, and by the ordinary tests with a few of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rempart_wireguard::{Engine, Known, Path, PeerSettings, Random, Secret, Settings};

const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 51820);
const CLIENT: ([u8; 4], u16) = ([198, 51, 100, 2], 40000);
const BUFFER: usize = 4_096;

fn random(mut state: u64) -> Random {
    Box::new(move |bytes| {
        for byte in bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
    })
}

fn engine(now: Instant, own: u8, other: u8, allowed: &str, endpoint: Option<SocketAddr>) -> Engine {
    let peer = PeerSettings {
        name: "peer".into(),
        public_key: Secret::new([other; 32]).public(),
        preshared: None,
        allowed: vec![allowed.parse().expect("a network")],
        endpoint,
        keepalive: Some(Duration::from_secs(25)),
    };
    let sockets = vec!["0.0.0.0:51820".parse().expect("an address")];
    let settings = Settings { private_key: Secret::new([own; 32]), sockets, mtu: 1420, peers: vec![peer] };
    Engine::new(now, Duration::from_secs(1_800_000_000), settings, &HashMap::new(), random(own.into()))
        .expect("settings that make sense")
}

/// A box and a client whose conversation the bytes carry on: messages from strangers, recorded ones again and damaged, packets
/// of any content that the client seals, packets from inside, time. What comes in is what the client sealed under an address
/// of its own, at most as often; messages that wait are bounded.
pub fn conversation(data: &[u8]) {
    let mut talk = Talk::new();
    let mut rest = data;
    while let Some((&[what, length], after)) = rest.split_first_chunk::<2>() {
        let (bytes, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        talk.step(what, bytes);
    }
    if let Ok(known) = Known::decode(data) {
        assert_eq!(known.encode(), data);
    }
}

struct Talk {
    now: Instant,
    server: Engine,
    client: Engine,
    /// Messages of the client.
    recorded: Vec<Vec<u8>>,
    /// What the client sealed and has not arrived.
    sealed: Vec<Vec<u8>>,
    out: Vec<u8>,
}

impl Talk {
    fn new() -> Self {
        let now = Instant::now();
        let server = engine(now, 1, 2, "10.9.0.2/32", None);
        let client = engine(now, 2, 1, "0.0.0.0/0", Some(SERVER.into()));
        let (recorded, sealed) = Default::default();
        let mut talk = Self { now, server, client, recorded, sealed, out: vec![0; BUFFER] };
        talk.client.handle_timeout(now);
        talk.carry();
        talk
    }

    fn step(&mut self, what: u8, bytes: &[u8]) {
        match what % 6 {
            0 => self.arrive(bytes, ([203, 0, 113, what], 1).into()),
            1 => {
                let message = usize::from(what / 6) % self.recorded.len().max(1);
                let Some(mut message) = self.recorded.get(message).cloned() else { return };
                let damage = bytes.iter().skip(1).cycle().take(message.len());
                let from = usize::from(bytes.first().copied().unwrap_or(0));
                message.iter_mut().zip(damage).skip(from).for_each(|(byte, damage)| *byte ^= damage);
                self.arrive(&message, ([203, 0, 113, what], 2).into());
            }
            2 => {
                // A header that says more than there is takes the padding for the rest.
                let mut padded = bytes.to_vec();
                padded.resize(bytes.len().next_multiple_of(16), 0);
                self.sealed.push(padded);
                let mut out = vec![0; BUFFER];
                // What is no packet for the box is not routed there: the client's own engine leaves it.
                if let Some(sealed) = self.client.seal(self.now, bytes, &mut out) {
                    out.truncate(sealed.length);
                    self.recorded.push(out.clone());
                    self.arrive(&out, CLIENT.into());
                }
            }
            3 => {
                self.server.seal(self.now, bytes, &mut vec![0; BUFFER]);
            }
            4 => {
                self.now += Duration::from_millis(u64::from(what) * 20);
                self.client.handle_timeout(self.now);
                self.server.handle_timeout(self.now);
            }
            _ => self.carry(),
        }
    }

    fn arrive(&mut self, message: &[u8], remote: SocketAddr) {
        let from = Path { local: 0, remote };
        if let Some(length) = self.server.handle_datagram(self.now, from, message, &mut self.out) {
            let inner = &self.out[..length];
            assert_eq!(inner[12..16], [10, 9, 0, 2], "an address that is not the client's");
            let sent = self.sealed.iter().position(|sent| sent.starts_with(inner));
            self.sealed.swap_remove(sent.expect("a packet that nobody sent, or one that came twice"));
        }
    }

    /// Carries what waits both ways.
    fn carry(&mut self) {
        for _ in 0..64 {
            let Some((_, message)) = self.client.poll_transmit() else { break };
            self.recorded.push(message.to_vec());
            self.arrive(&message, CLIENT.into());
        }
        let mut waiting = 0;
        while let Some((_, message)) = self.server.poll_transmit() {
            waiting += 1;
            assert!(waiting <= 4_096, "messages that wait are bounded");
            let from = Path { local: 0, remote: SERVER.into() };
            self.client.handle_datagram(self.now, from, &message, &mut vec![0; BUFFER]);
        }
        while self.server.poll_known().is_some() || self.client.poll_known().is_some() {}
    }
}
