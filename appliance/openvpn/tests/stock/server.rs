//! A driver on one socket: as dull as a driver should be. It answers logins as the case says, and opens and seals the
//! client's pings to show that both sides have the same keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rempart_openvpn::Now;
use rempart_openvpn::cookie::{CookieKey, Keys, Outcome, Start};
use rempart_openvpn::key_exchange::DataKeys;
use rempart_openvpn::message::{Address4, PushOptions, Refusal, Submitted};
use rempart_openvpn::packet::{Class, Header, KeyId, SessionId, classify};
use rempart_openvpn::session::{
    Accept, Closed, Credential, Output, Place, Seed, Session, Settings, Timing, TlsPolicy, tls_config,
};
use rempart_openvpn::token::TokenKey;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;

use crate::client::{Authority, PASSWORD, USER};
use crate::link::Link;

/// The ping of the data channel (study §2.6).
const PING: [u8; 16] =
    [0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48];
pub const PEER_ID: u32 = 5;

/// What the driver says to a first login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    Accept,
    /// By a question at the client, whose answer must be this.
    Ask(&'static str),
    Refuse,
    /// It says nothing.
    Hold,
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

pub fn now() -> Now {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Now { instant: Instant::now(), unix_s }
}

pub fn settings(authority: &Authority) -> Settings {
    let mut roots = RootCertStore::empty();
    roots.add(authority.root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let (certificate, key) = &authority.server;
    let policy = TlsPolicy { chain: vec![certificate.clone()], key: key.clone_key(), clients };
    Settings {
        tls: tls_config(policy).unwrap(),
        token_key: TokenKey::new(&[3; 32]),
        timing: Timing::default(),
        dynamic_wrapping: true,
        exporter: true,
    }
}

pub struct Server {
    pub link: Link,
    pub settings: Arc<Settings>,
    pub sessions: BTreeMap<(SocketAddr, SessionId), Session>,
    pub policy: Policy,
    pub mtu: Option<u16>,
    /// What was shown, in order: "password", "token", "nothing".
    pub logins: Vec<&'static str>,
    pub closed: Vec<Closed>,
    /// The keys in use, of each session: one that starts over in place has a key 0 as the one before.
    pub keys: BTreeMap<(SessionId, KeyId), DataKeys>,
    /// Pings of the client that opened, by key.
    pub pings: BTreeMap<KeyId, usize>,
    /// Packets of the client, for the golden files.
    pub captured: Vec<Vec<u8>>,
    pub peer_info: BTreeMap<String, String>,
    /// The packet id of the last ping. A second node begins above everything that the first may have sent.
    pub sent: u32,
    replaced: bool,
    start: Start,
    echo: Option<(SocketAddr, SessionId, KeyId)>,
    next_ping: Instant,
}

impl Server {
    pub fn new(settings: Settings, keys: Keys) -> Self {
        Self::on(Link::udp(), Arc::new(settings), keys)
    }

    /// On a socket that there is already: the second node of a take-over.
    pub fn on(link: Link, settings: Arc<Settings>, keys: Keys) -> Self {
        let start = Start::new(now(), CookieKey::new(&[1; 32]), keys, random());
        Self {
            link,
            settings,
            sessions: BTreeMap::new(),
            policy: Policy::Accept,
            mtu: None,
            logins: Vec::new(),
            closed: Vec::new(),
            keys: BTreeMap::new(),
            pings: BTreeMap::new(),
            captured: Vec::new(),
            peer_info: BTreeMap::new(),
            replaced: false,
            start,
            sent: 0,
            echo: None,
            next_ping: Instant::now(),
        }
    }

    pub fn port(&self) -> u16 {
        self.link.port()
    }

    pub fn session(&mut self) -> &mut Session {
        assert_eq!(self.sessions.len(), 1, "{:?}", self.sessions);
        self.sessions.values_mut().next().unwrap()
    }

    /// Serves until something is true; panics when it is not by then.
    pub fn run_until(&mut self, seconds: u64, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !done(self) {
            assert!(
                Instant::now() < end,
                "after {seconds} s not yet: {what}; logins {:?}, closed {:?}",
                self.logins,
                self.closed
            );
            self.step();
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.run_until(time.as_secs() + 1, "time", |_| Instant::now() >= end);
    }

    /// The login that was held is good after all.
    pub fn accept_held(&mut self) {
        let accept = accept(self.mtu);
        self.session().accept(now(), KeyId::FIRST, accept).unwrap();
    }

    /// What the client has sent, for `tests/golden.rs`.
    pub fn record(&self, name: &str) {
        if std::env::var_os("REMPART_GOLDEN").is_none() {
            return;
        }
        let (client, _) = self.sessions.keys().next().unwrap();
        let hex =
            |packet: &Vec<u8>| packet.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
        let packets: String = self.captured.iter().map(hex).collect();
        let path = format!("{}/tests/golden/{name}.packets", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, format!("{} {client}\n{packets}", now().unix_s)).unwrap();
    }

    fn step(&mut self) {
        let timeouts = self.sessions.values().filter_map(|session| session.poll_timeout(now()));
        let wake = timeouts.chain([self.next_ping]).min().unwrap();
        let wait = wake
            .saturating_duration_since(Instant::now())
            .clamp(Duration::from_millis(1), Duration::from_millis(50));
        if let Some((from, packet)) = self.link.receive(wait) {
            self.receive(from, &packet);
        }
        if self.link.has_ended() {
            self.sessions.values_mut().for_each(Session::left);
        }
        self.sessions.values_mut().for_each(|session| session.handle_timeout(now()));
        self.drain();
        self.ping();
    }

    fn receive(&mut self, from: SocketAddr, packet: &[u8]) {
        match classify(packet) {
            Class::Control => self.receive_control(from, packet),
            Class::Data => self.receive_data(from, packet),
            Class::Unknown => {}
        }
    }

    fn receive_control(&mut self, from: SocketAddr, packet: &[u8]) {
        self.captured.push(packet.to_vec());
        let Ok((header, _)) = Header::parse(packet) else { return };
        let place = (from, header.session);
        if !self.sessions.contains_key(&place) {
            match self.start.handle(now(), from, packet) {
                Outcome::Nothing(why) => eprintln!("dropped: {why:?}"),
                Outcome::Reply(reply) => self.link.send(from, &reply),
                Outcome::Admit(admission) => {
                    let at = Place { peer_id: PEER_ID, tcp: self.link.is_tcp(), epoch: 2 };
                    let seed = Seed::new(&random());
                    let session = Session::new(now(), self.settings.clone(), &admission, at, seed).unwrap();
                    self.sessions.insert(place, session);
                }
            }
        }
        if let Some(session) = self.sessions.get_mut(&place)
            && let Err(why) = session.handle_datagram(now(), packet)
        {
            eprintln!("dropped: {why}");
        }
    }

    fn drain(&mut self) {
        let (mut over, mut accepted) = (Vec::new(), None);
        for (place, session) in &mut self.sessions {
            while let Some(output) = session.poll_output() {
                match output {
                    Output::Authenticate(login) => {
                        self.peer_info = login
                            .peer_info
                            .variables()
                            .map(|(name, value)| (name.to_owned(), value.to_owned()))
                            .collect();
                        assert!(!login.certificates.is_empty());
                        assert_eq!(login.user, USER);
                        let (shown, good) = match &login.credential {
                            Credential::Token(verified) => ("token", verified.user() == USER),
                            Credential::Submitted(Submitted::Password(password)) => {
                                ("password", **password == PASSWORD)
                            }
                            Credential::Submitted(_) => ("nothing", false),
                        };
                        self.logins.push(shown);
                        match self.policy {
                            Policy::Refuse => {
                                session.reject(now(), login.key_id, Refusal::Failed("not today".into()));
                            }
                            Policy::Hold => {}
                            Policy::Ask(_) if !login.renewal => {
                                session.pending(now(), login.key_id, 30, Some(("Code?", true))).unwrap();
                            }
                            Policy::Accept | Policy::Ask(_) => {
                                assert!(good);
                                session.accept(now(), login.key_id, accept(self.mtu)).unwrap();
                            }
                        }
                    }
                    Output::Answer { key_id, text } => {
                        assert_eq!(self.policy, Policy::Ask("123456"));
                        assert_eq!(text.as_str(), "123456");
                        session.accept(now(), key_id, accept(self.mtu)).unwrap();
                    }
                    Output::Commit { ticket } => session.committed(now(), ticket),
                    Output::Changed => {}
                    Output::Install(keys) => {
                        accepted = Some(*place);
                        self.keys.insert((place.1, keys.key_id), keys);
                    }
                    Output::Retire(key_id) => drop(self.keys.remove(&(place.1, key_id))),
                    Output::Cut => self.keys.retain(|(session, _), _| *session != place.1),
                    Output::Closed(why) => {
                        self.closed.push(why);
                        over.push(*place);
                    }
                }
            }
            while let Some(packet) = session.poll_transmit(now()) {
                self.link.send(place.0, &packet);
            }
        }
        // A client that started over in place is the same client: the session before is over once the new one is accepted.
        if let Some((from, session)) = accepted {
            self.replaced |= self.sessions.len() > 1;
            self.sessions.retain(|place, _| place.0 != from || place.1 == session);
            self.keys.retain(|(of, _), _| *of == session);
            let newest = self.keys.keys().next_back().map(|(_, key_id)| (from, session, *key_id));
            self.echo = self.echo.filter(|echo| echo.1 == session).or(newest);
        }
        over.into_iter().for_each(|place| drop(self.sessions.remove(&place)));
    }

    /// `op/key 1 │ peer-id 3 │ packet id 4 │ tag 16 │ ciphertext` (study §2.6).
    fn receive_data(&mut self, from: SocketAddr, packet: &[u8]) {
        assert_eq!(packet[1..4], PEER_ID.to_be_bytes()[1..]);
        let key_id = KeyId::of_first_byte(packet[0]);
        let candidates = self.keys.iter().filter(|((_, id), _)| *id == key_id);
        let opened =
            candidates.filter_map(|((session, _), keys)| Some((*session, open(keys, packet)?))).next();
        let Some((session, plain)) = opened else {
            // One that started over uses the key before until it has read its PUSH_REPLY (study §1.6).
            let known = self.keys.keys().any(|(_, id)| *id == key_id);
            assert!(!known || self.replaced, "the client has another key");
            return;
        };
        if plain == PING {
            *self.pings.entry(key_id).or_default() += 1;
        }
        self.echo = Some((from, session, key_id));
        if let Some(session) = self.sessions.get_mut(&(from, session)) {
            session.heard(now());
        }
    }

    /// A ping a second, on the key that the client last used.
    fn ping(&mut self) {
        let Some((to, session, key_id)) = self.echo.filter(|_| self.next_ping <= Instant::now()) else {
            return;
        };
        self.next_ping = Instant::now() + Duration::from_secs(1);
        let Some(keys) = self.keys.get(&(session, key_id)) else { return };
        self.sent += 1;
        let first = 9 << 3 | key_id.get();
        let head = [&[first], &PEER_ID.to_be_bytes()[1..], &self.sent.to_be_bytes()].concat();
        let nonce = [&head[4..8], &keys.seal.implicit_iv].concat();
        let mut bytes = PING;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &keys.seal.key).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&nonce).unwrap();
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&head[..]), &mut bytes).unwrap();
        self.link.send(to, &[&head[..], tag.as_ref(), &bytes].concat());
    }
}

fn open(keys: &DataKeys, packet: &[u8]) -> Option<Vec<u8>> {
    let nonce = [&packet[4..8], &keys.open.implicit_iv].concat();
    let mut bytes = [&packet[24..], &packet[8..24]].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &keys.open.key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(&nonce).unwrap();
    key.open_in_place(nonce, Aad::from(&packet[..8]), &mut bytes).ok().map(|plain| plain.to_vec())
}

fn accept(tun_mtu: Option<u16>) -> Accept {
    let address4 =
        Some(Address4 { address: [10, 99, 0, 2].into(), prefix: 24, gateway: [10, 99, 0, 1].into() });
    let options = PushOptions { address4, ping_s: 1, ping_restart_s: 6, tun_mtu, ..PushOptions::default() };
    Accept { options, attached: b"agents".to_vec(), carried_on: None }
}
