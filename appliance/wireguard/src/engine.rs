//! The engine of one interface: its peers, their packets, and the handshakes of all.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::gate::{Admission, Gate};
use crate::peer::{MAX_WAITING, Peer};
use crate::routes::{Routes, addresses};
use crate::settings::{PeerStatus, Settings, SettingsError};
use crate::tunnel::{DATA, Due, HANDSHAKE, Identity, Kind, Opened, Tunnel, counter_of, kind};
use crate::{Known, MAX_PACKET, OVERHEAD, PADDING, Path, PublicKey};

/// Where randomness comes from: fills the slice.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// How often the timers of the tunnels are looked at. Their shortest time is 5 s.
const TICK: Duration = Duration::from_millis(200);
/// Handshakes that are begun between two looks at what has come, after a take-over: 10 ms of work.
const AT_ONCE: usize = 64;
/// Messages that wait to be sent: a tick's for every peer, and some.
const MAX_OUTBOX: usize = 4_096;
/// Bytes of packets that wait for handshakes, of all peers.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// How many messages one key may seal (WireGuard §6.1). boringtun counts them and bounds nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// `Rekey-After-Messages`.
    pub rekey: u64,
    /// `Reject-After-Messages`.
    pub reject: u64,
}

impl Limits {
    pub const PAPER: Self = Self { rekey: 1 << 60, reject: u64::MAX - (1 << 13) };
}

/// A sealed packet: where it goes, and how many bytes of the buffer it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Where it goes.
    pub to: Path,
    /// How long it is.
    pub length: usize,
}

/// What was dropped, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Drops {
    /// Datagrams that are no messages of the protocol, or of a peer that is not there.
    pub stray: u64,
    /// Messages that were not authentic, or came twice.
    pub refused: u64,
    /// Handshakes beyond what is looked at.
    pub flood: u64,
    /// Initiations that were answered with a cookie.
    pub cookies: u64,
    /// Packets from a peer under an address that is not its own.
    pub spoofed: u64,
    /// Packets from inside for nobody, or too long.
    pub unroutable: u64,
    /// Packets from inside for which no keys came, or no room was.
    pub unsealed: u64,
}

/// The tunnels of one interface, while this node carries them.
pub struct Engine {
    settings: Settings,
    identity: Identity,
    gate: Gate,
    peers: Vec<Peer>,
    by_key: HashMap<PublicKey, usize>,
    by_index: HashMap<u32, usize>,
    routes: Routes,
    /// Messages that wait to be sent.
    outbox: VecDeque<(Path, Box<[u8]>)>,
    /// Peers of whom the other node does not hold what it should.
    changed: BTreeSet<usize>,
    /// Peers that are to be asked for a handshake.
    asked: VecDeque<usize>,
    waiting_bytes: usize,
    ticked: Instant,
    /// The time of day when the engine began.
    wall: (Instant, Duration),
    random: Random,
    limits: Limits,
    drops: Drops,
}

impl Engine {
    /// An engine without any keys yet. `wall` is the time since 1970; `known` is what is held of the peers. Those whose
    /// whereabouts are known are asked for a handshake at once.
    pub fn new(
        now: Instant,
        wall: Duration,
        settings: Settings,
        known: &HashMap<PublicKey, Known>,
        mut random: Random,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let identity = Identity::new(settings.private_key.clone());
        let mut engine = Self {
            gate: Gate::new(now, &identity.public(), &mut random),
            identity,
            peers: Vec::new(),
            by_key: HashMap::new(),
            by_index: HashMap::new(),
            routes: Routes::default(),
            outbox: VecDeque::new(),
            changed: BTreeSet::new(),
            asked: VecDeque::new(),
            waiting_bytes: 0,
            ticked: now,
            wall: (now, wall),
            random,
            limits: Limits::PAPER,
            drops: Drops::default(),
            settings,
        };
        engine.fill(now, known);
        Ok(engine)
    }

    /// Takes other settings. Peers that stay as they were keep their keys; a new private key is a new engine.
    pub fn configure(
        &mut self,
        now: Instant,
        settings: Settings,
        known: &HashMap<PublicKey, Known>,
    ) -> Result<(), SettingsError> {
        settings.check()?;
        if settings.private_key.public() != self.identity.public() {
            self.identity = Identity::new(settings.private_key.clone());
            self.gate = Gate::new(now, &self.identity.public(), &mut self.random);
            self.peers.clear();
        }
        // The numbers of sockets may have changed; who has none any more is asked by another one.
        for peer in &mut self.peers {
            peer.path = peer.path.and_then(|path| {
                let before = self.settings.sockets.get(usize::from(path.local))?;
                let now = settings.sockets.iter().position(|socket| socket == before);
                match now.and_then(|local| u8::try_from(local).ok()) {
                    Some(local) => Some(Path { local, ..path }),
                    None => settings.path_to(path.remote),
                }
            });
        }
        self.outbox.clear();
        self.settings = settings;
        self.fill(now, known);
        Ok(())
    }

    /// Makes the peers what the settings say.
    fn fill(&mut self, now: Instant, known: &HashMap<PublicKey, Known>) {
        let mut before: HashMap<PublicKey, Peer> =
            self.peers.drain(..).map(|peer| (peer.settings.public_key, peer)).collect();
        let wall = self.wall_at(now);
        self.asked.clear();
        self.changed.clear();
        let mut taken: BTreeSet<u32> = before.values().map(|peer| peer.index).collect();
        for settings in self.settings.peers.clone() {
            let configured = settings.endpoint.and_then(|to| self.settings.path_to(to));
            let reachable = |path: &Path| {
                let socket = self.settings.sockets.get(usize::from(path.local));
                socket.is_some_and(|socket| socket.is_ipv4() == path.remote.is_ipv4())
            };
            let key = settings.public_key;
            let peer = match before.remove(&key) {
                Some(mut peer) if is_same_secret(&peer, &settings) => {
                    peer.path = peer.path.filter(reachable).or(configured);
                    peer.settings = settings;
                    // Whether the other node has the last of it is known by the old numbers only.
                    self.changed.insert(self.peers.len());
                    peer
                }
                old => {
                    // The clock of the stamps goes on also where the keys begin anew.
                    let held = old.map(|peer| peer.known()).or_else(|| known.get(&key).copied());
                    let held = held.unwrap_or_default();
                    let index = unused_index(&mut self.random, &mut taken);
                    let lead = held.lead(wall);
                    let preshared = settings.preshared.as_ref();
                    let tunnel = Tunnel::new(now, wall, lead, &self.identity, &key, preshared, index);
                    let path = held.path.filter(reachable);
                    let ask = path.is_some() || (configured.is_some() && settings.keepalive.is_some());
                    let mut peer = Peer::new(now, settings, index, tunnel, path.or(configured), &held);
                    if ask {
                        peer.begin_take_over(now);
                        self.asked.push_back(self.peers.len());
                    }
                    peer
                }
            };
            self.peers.push(peer);
        }
        let places = || self.peers.iter().enumerate();
        self.by_key = places().map(|(at, peer)| (peer.settings.public_key, at)).collect();
        self.by_index = places().map(|(at, peer)| (peer.index, at)).collect();
        self.routes = Routes::of(places().map(|(at, peer)| (at, peer.settings.allowed.as_slice())));
        self.waiting_bytes = places().flat_map(|(_, peer)| &peer.waiting).map(|packet| packet.len()).sum();
    }

    /// Seals a packet from inside. `None` means that it waits for a handshake, or was dropped.
    pub fn seal(&mut self, now: Instant, packet: &[u8], out: &mut [u8]) -> Option<Sealed> {
        let owner = addresses(packet).and_then(|(_, to)| self.routes.owner(to));
        let Some(at) = owner.filter(|_| packet.len() <= MAX_PACKET) else {
            self.drops.unroutable += 1;
            return None;
        };
        let peer = self.peers.get_mut(at)?;
        if peer.tunnel.age(now).is_none() {
            self.wait(now, at, packet);
            return None;
        }
        let sealed = self.seal_for(now, at, packet, out);
        if sealed.is_none() {
            self.drops.unsealed += 1;
        }
        sealed
    }

    /// Seals a packet, or an empty message, for a peer with whom there are keys.
    fn seal_for(&mut self, now: Instant, at: usize, packet: &[u8], out: &mut [u8]) -> Option<Sealed> {
        let limits = self.limits;
        let peer = self.peers.get_mut(at)?;
        let to = peer.path?;
        let length = seal_padded(&mut peer.tunnel, now, packet, self.settings.mtu, out)?;
        let counter = out.get(..length).and_then(counter_of)?;
        if counter >= limits.rekey {
            self.initiate(now, at, false);
        }
        // WireGuard §6.2: nothing is sent under such a counter.
        if counter >= limits.reject {
            return None;
        }
        let peer = self.peers.get_mut(at)?;
        peer.sent += packet.len() as u64;
        peer.seen = now;
        Some(Sealed { to, length })
    }

    /// Keeps a packet until there are keys, and asks for them.
    fn wait(&mut self, now: Instant, at: usize, packet: &[u8]) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let room = self.waiting_bytes + packet.len() <= MAX_WAITING_BYTES;
        // Without any whereabouts nothing can be asked.
        if peer.path.is_none() || !room {
            self.drops.unsealed += 1;
            return;
        }
        if peer.waiting.len() >= MAX_WAITING
            && let Some(oldest) = peer.waiting.pop_front()
        {
            self.waiting_bytes -= oldest.len();
            self.drops.unsealed += 1;
        }
        peer.waiting.push_back(packet.into());
        self.waiting_bytes += packet.len();
        self.initiate(now, at, false);
    }

    /// Begins a handshake with a peer whose whereabouts are known: at most one in `Rekey-Timeout`, or `anew` in any case.
    fn initiate(&mut self, now: Instant, at: usize, anew: bool) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let Some(to) = peer.path.filter(|_| anew || peer.may_initiate(now)) else { return };
        let mut out = [0; HANDSHAKE];
        if let Some(length) = peer.tunnel.initiate(now, anew, &mut out) {
            peer.has_initiated(now);
            self.changed.insert(at);
            self.post(to, out.get(..length).unwrap_or_default());
        }
    }

    fn post(&mut self, to: Path, message: &[u8]) {
        if self.outbox.len() < MAX_OUTBOX {
            self.outbox.push_back((to, message.into()));
        }
    }

    /// Handles a datagram. A packet that was in it is at the beginning of `out`, which is as long as the datagram and 148
    /// bytes at least; its length is returned.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: Path,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        match kind(datagram) {
            Some(Kind::Data { index, counter }) => self.data(now, from, index, counter, datagram, out),
            Some(Kind::Initiation) => {
                self.initiation(now, from, datagram, out);
                None
            }
            Some(Kind::Response(index)) => {
                self.response(now, from, index, datagram, out);
                None
            }
            Some(Kind::Cookie(index)) => {
                if let Some(peer) = self.owner_of(index).and_then(|at| self.peers.get_mut(at))
                    && peer.tunnel.open(now, datagram, out) == Opened::Refused
                {
                    self.drops.refused += 1;
                }
                None
            }
            None => {
                self.drops.stray += 1;
                None
            }
        }
    }

    /// The peer that an index of ours is about.
    fn owner_of(&mut self, index: u32) -> Option<usize> {
        let owner = self.by_index.get(&(index >> 8)).copied();
        if owner.is_none() {
            self.drops.stray += 1;
        }
        owner
    }

    fn data(
        &mut self,
        now: Instant,
        from: Path,
        index: u32,
        counter: u64,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let at = self.owner_of(index)?;
        let peer = self.peers.get_mut(at)?;
        // WireGuard §6.2. boringtun would also add to it without a look.
        let opened = match counter < self.limits.reject {
            true => peer.tunnel.open(now, datagram, out),
            false => Opened::Refused,
        };
        let length = match opened {
            Opened::Refused => {
                self.drops.refused += 1;
                return None;
            }
            Opened::Nothing | Opened::Answer(_) => 0,
            Opened::Packet(length) => length,
        };
        peer.is_heard(now);
        // WireGuard §2.1: whoever sends what is authentic is where it came from.
        if peer.path != Some(from) {
            peer.path = Some(from);
            self.changed.insert(at);
        }
        self.confirm(now, at);
        if length == 0 {
            return None;
        }
        let source = out.get(..length).and_then(addresses).map(|(source, _)| source);
        if source.and_then(|source| self.routes.owner(source)) != Some(at) {
            self.drops.spoofed += 1;
            return None;
        }
        if let Some(peer) = self.peers.get_mut(at) {
            peer.received += length as u64;
        }
        Some(length)
    }

    /// Something came under a key. Where the peer has begun the handshake, only this shows that it has the key too, and only
    /// now may be sent under it (WireGuard §5.1): what waited goes.
    fn confirm(&mut self, now: Instant, at: usize) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let Some(age) = peer.tunnel.age(now) else { return };
        let agreed = wall_at(self.wall, now).saturating_sub(age);
        // The tunnels look at the clock from time to time only.
        if agreed.saturating_sub(peer.handshake) > Duration::from_secs(1) || peer.handshake > agreed + TICK {
            peer.is_established(agreed);
            self.changed.insert(at);
        }
        self.send_waiting(now, at);
    }

    fn send_waiting(&mut self, now: Instant, at: usize) {
        while let Some(packet) = self.peers.get_mut(at).and_then(|peer| peer.waiting.pop_front()) {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(packet.len());
            let mut out = vec![0; (packet.len() + PADDING + OVERHEAD).max(HANDSHAKE)];
            match self.seal_for(now, at, &packet, &mut out) {
                Some(Sealed { to, length }) => self.post(to, out.get(..length).unwrap_or_default()),
                None => self.drops.unsealed += 1,
            }
        }
    }

    fn initiation(&mut self, now: Instant, from: Path, datagram: &[u8], out: &mut [u8]) {
        match self.gate.judge(now, from.remote, datagram, &mut self.random) {
            Admission::Pass => {}
            Admission::Refused => {
                self.drops.refused += 1;
                return;
            }
            Admission::TooMany => {
                self.drops.flood += 1;
                return;
            }
            Admission::Cookie(reply) => {
                self.drops.cookies += 1;
                return self.post(from, &reply);
            }
        }
        let claimed = self.identity.claimed(datagram).and_then(|key| self.by_key.get(&key).copied());
        let Some(peer) = claimed.and_then(|at| self.peers.get_mut(at)) else {
            self.drops.stray += 1;
            return;
        };
        if !peer.may_answer(now) {
            self.drops.flood += 1;
            return;
        }
        // An initiation may be a recording that this node, new in its role, cannot know. So it is answered where it came
        // from, and the peer stays where it was until something comes under the new key.
        match peer.tunnel.open(now, datagram, out) {
            Opened::Answer(length) => {
                peer.has_answered(now);
                self.post(from, out.get(..length).unwrap_or_default());
            }
            Opened::Refused | Opened::Nothing | Opened::Packet(_) => self.drops.refused += 1,
        }
    }

    fn response(&mut self, now: Instant, from: Path, index: u32, datagram: &[u8], out: &mut [u8]) {
        let wall = self.wall_at(now);
        let Some(at) = self.owner_of(index) else { return };
        let Some(peer) = self.peers.get_mut(at) else { return };
        if !peer.take_response() {
            self.drops.flood += 1;
            return;
        }
        match peer.tunnel.open(now, datagram, out) {
            // The first message under the new key, an empty one: the peer may send under it from then on.
            Opened::Answer(length) => {
                peer.path = Some(from);
                peer.is_heard(now);
                peer.is_established(wall);
                peer.tunnel.empty_queue(now);
                self.changed.insert(at);
                self.post(from, out.get(..length).unwrap_or_default());
                self.send_waiting(now, at);
            }
            Opened::Refused | Opened::Nothing | Opened::Packet(_) => self.drops.refused += 1,
        }
    }

    /// Does what is due by [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..AT_ONCE {
            let Some(at) = self.asked.pop_front() else { break };
            self.initiate(now, at, true);
        }
        if now.saturating_duration_since(self.ticked) < TICK {
            return;
        }
        self.ticked = now;
        for at in 0..self.peers.len() {
            self.tick(now, at);
        }
    }

    fn tick(&mut self, now: Instant, at: usize) {
        let mut out = [0; HANDSHAKE];
        let Some(peer) = self.peers.get_mut(at) else { return };
        match peer.tunnel.due(now, &mut out) {
            Due::Nothing => {}
            Due::GivenUp => {
                let dropped: usize = peer.waiting.drain(..).map(|packet| packet.len()).sum();
                self.waiting_bytes = self.waiting_bytes.saturating_sub(dropped);
            }
            Due::Message(length) => self.send_due(now, at, out.get(..length).unwrap_or_default()),
        }
        let Some(peer) = self.peers.get_mut(at) else { return };
        if peer.is_awaited(now) {
            self.initiate(now, at, true);
        } else if peer.is_silent(now) {
            peer.seen = now;
            match peer.tunnel.age(now) {
                Some(_) => {
                    if let Some(Sealed { to, length }) = self.seal_for(now, at, &[], &mut out) {
                        self.post(to, out.get(..length).unwrap_or_default());
                    }
                }
                None => self.initiate(now, at, false),
            }
        }
    }

    /// Sends what a tunnel's timers have made.
    fn send_due(&mut self, now: Instant, at: usize, message: &[u8]) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        if message.first() != Some(&DATA) {
            peer.has_initiated(now);
            self.changed.insert(at);
        }
        let allowed = counter_of(message).is_none_or(|counter| counter < self.limits.reject);
        if let Some(to) = peer.path.filter(|_| allowed) {
            peer.seen = now;
            self.post(to, message);
        }
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Instant {
        if self.asked.is_empty() { self.ticked + TICK } else { self.ticked }
    }

    /// The next message to be sent.
    pub fn poll_transmit(&mut self) -> Option<(Path, Box<[u8]>)> {
        self.outbox.pop_front()
    }

    /// The next peer of whom the other node has to hold something else.
    pub fn poll_known(&mut self) -> Option<(PublicKey, Known)> {
        let peer = self.changed.pop_first().and_then(|at| self.peers.get(at))?;
        Some((peer.settings.public_key, peer.known()))
    }

    /// How the peers are.
    pub fn status(&mut self, now: Instant) -> Vec<PeerStatus> {
        let wall = self.wall_at(now);
        let one = |peer: &Peer| PeerStatus {
            name: peer.settings.name.clone(),
            public_key: peer.settings.public_key,
            endpoint: peer.path.map(|path| path.remote),
            handshake: (peer.handshake > Duration::ZERO).then(|| wall.saturating_sub(peer.handshake)),
            received: peer.received,
            sent: peer.sent,
        };
        self.peers.iter().map(one).collect()
    }

    /// What was dropped.
    pub fn drops(&self) -> Drops {
        self.drops
    }

    /// The peer that an address inside belongs to.
    pub fn peer_at(&self, address: IpAddr) -> Option<&str> {
        let at = self.routes.owner(address)?;
        self.peers.get(at).map(|peer| peer.settings.name.as_str())
    }

    #[cfg(test)]
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn wall_at(&self, now: Instant) -> Duration {
        wall_at(self.wall, now)
    }
}

fn wall_at((since, wall): (Instant, Duration), now: Instant) -> Duration {
    wall + now.saturating_duration_since(since)
}

fn is_same_secret(peer: &Peer, settings: &crate::PeerSettings) -> bool {
    peer.settings.preshared == settings.preshared
}

/// 24 bits that no other peer has, and nobody guesses.
fn unused_index(random: &mut Random, taken: &mut BTreeSet<u32>) -> u32 {
    loop {
        // There are some thousand peers at most, and sixteen million indices.
        let mut bytes = [0; 4];
        random(&mut bytes);
        let index = u32::from_be_bytes(bytes) >> 8;
        if taken.insert(index) {
            return index;
        }
    }
}

/// Seals a packet with zeros behind it, up to the next multiple of 16, but not beyond the MTU (WireGuard §5.4.6): its length
/// is in its header. boringtun does not pad.
fn seal_padded(tunnel: &mut Tunnel, now: Instant, packet: &[u8], mtu: u16, out: &mut [u8]) -> Option<usize> {
    let most = usize::from(mtu).max(packet.len());
    let length = packet.len().next_multiple_of(PADDING).min(most);
    if length == packet.len() {
        return tunnel.seal(now, packet, out);
    }
    let mut padded = [0; 2048];
    match padded.get_mut(..length) {
        Some(place) => {
            place.iter_mut().zip(packet).for_each(|(to, from)| *to = *from);
            tunnel.seal(now, place, out)
        }
        None => {
            let mut long = packet.to_vec();
            long.resize(length, 0);
            tunnel.seal(now, &long, out)
        }
    }
}
