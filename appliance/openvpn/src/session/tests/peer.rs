//! A client for tests in virtual time, in the style of 2.x or of OpenVPN 3, on a line that loses by a seed. The real ones are
//! in `tests/stock`; this one can do what they cannot be made to do, and in no time.

use std::io::{Read, Write};
use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use super::*;
use crate::key_exchange::DirectionKey;
use crate::packet::Acks;
use crate::reliable::Reliable;
use crate::token::TokenKey;
use crate::wrap::{Mode, PacketId, STATIC_KEY, StaticKey};

pub const PEER_INFO: &str = "IV_VER=test\nIV_PROTO=990\nIV_CIPHERS=AES-256-GCM\nIV_SSO=crtext\n";

/// Server's side, two clients' certificates: made once, since that takes a while.
struct Certificates {
    server: Arc<ServerConfig>,
    clients: [Arc<ClientConfig>; 2],
}

fn certificates() -> &'static Certificates {
    static MADE: OnceLock<Certificates> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        let leaf = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
            (certificate, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
        };
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().unwrap();
        let (certificate, key) = leaf();
        let server = tls_config(TlsPolicy { chain: vec![certificate], key, clients }).unwrap();
        let client = |_| {
            let (certificate, key) = leaf();
            let config = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_client_auth_cert(vec![certificate], key)
                .unwrap();
            Arc::new(config)
        };
        Certificates { server, clients: [0, 1].map(client) }
    })
}

pub fn settings() -> Settings {
    Settings {
        tls: certificates().server.clone(),
        token_key: TokenKey::new(&[3; 32]),
        timing: Timing::default(),
        dynamic_wrapping: true,
        exporter: true,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Answers a soft reset with a soft reset.
    Two,
    /// Answers it with its ClientHello, which is message 0 (study §1.1).
    Three,
}

fn base_key() -> StaticKey {
    let mut bytes = [1; STATIC_KEY];
    bytes[..128].fill(2);
    StaticKey::new(&bytes)
}

/// The other side uses the halves the other way round.
fn theirs(key: &StaticKey) -> Wrapping {
    let mut bytes = *key.expose();
    bytes.rotate_left(STATIC_KEY / 2);
    Wrapping { mode: Mode::Crypt, key: StaticKey::new(&bytes) }
}

pub const CLIENT: SessionId = SessionId([0xc1; 8]);
pub const SERVER: SessionId = SessionId([0x5e; 8]);

pub fn admission() -> Admission {
    Admission {
        client: "192.0.2.7:1194".parse().unwrap(),
        client_session: CLIENT,
        server_session: SERVER,
        wrapping: Wrapping { mode: Mode::Crypt, key: base_key() },
        metadata: None,
    }
}

/// One key of the client.
pub struct Context {
    pub id: KeyId,
    pub keys: Option<Zeroizing<[u8; 256]>>,
    tls: ClientConnection,
    reliable: Reliable,
    out: Vec<u8>,
    plain: Vec<u8>,
    told: bool,
    heard: bool,
}

pub struct Peer {
    pub style: Style,
    pub user: String,
    pub password: String,
    pub peer_info: String,
    pub certificate: usize,
    /// What the server said, without PUSH_REPLY's token.
    pub said: Vec<String>,
    pub contexts: Vec<Context>,
    /// Answers no soft reset.
    pub deaf: bool,
    base: Wrapping,
    dynamic: Option<Wrapping>,
    counter: u32,
    newest: u32,
}

impl Peer {
    pub fn new(style: Style) -> Self {
        let mut peer = Self {
            style,
            user: "alice".to_owned(),
            password: "secret".to_owned(),
            peer_info: PEER_INFO.to_owned(),
            certificate: 0,
            said: Vec::new(),
            contexts: Vec::new(),
            deaf: false,
            base: theirs(&base_key()),
            dynamic: None,
            counter: 0,
            newest: 0,
        };
        peer.begin(KeyId::FIRST, 1);
        peer
    }

    fn begin(&mut self, id: KeyId, first: u32) -> &mut Context {
        let config = certificates().clients[self.certificate].clone();
        let tls = ClientConnection::new(config, ServerName::try_from("gateway").unwrap()).unwrap();
        let reliable = Reliable::new(first);
        let context = Context {
            id,
            keys: None,
            tls,
            reliable,
            out: Vec::new(),
            plain: Vec::new(),
            told: false,
            heard: false,
        };
        self.contexts.push(context);
        self.contexts.last_mut().unwrap()
    }

    /// Begins a soft reset of its own.
    pub fn soft_reset(&mut self, id: KeyId) {
        let reset = Message { opcode: Opcode::SoftReset, payload: Vec::new() };
        self.begin(id, 0).reliable.send(reset).unwrap();
    }

    pub fn say(&mut self, text: &str) {
        let context = self.contexts.last_mut().unwrap();
        context.tls.writer().write_all(&[text.as_bytes(), &[0]].concat()).unwrap();
    }

    fn wrapping(&self, id: KeyId) -> &Wrapping {
        self.dynamic.as_ref().filter(|_| id != KeyId::FIRST).unwrap_or(&self.base)
    }

    pub fn receive(&mut self, now: Now, packet: &[u8]) {
        let (header, _) = Header::parse(packet).unwrap();
        let opened = self.wrapping(header.key_id).open(packet).unwrap();
        // As all clients do: an earlier time is a replay.
        if opened.id.time < self.newest {
            return;
        }
        self.newest = opened.id.time;
        let body = Body::parse(header.opcode, &opened.body).unwrap();
        assert!(packet.len() <= 1250);
        let known = self.contexts.iter().any(|context| context.id == header.key_id);
        if header.opcode == Opcode::SoftReset && !known {
            if self.deaf {
                return;
            }
            match self.style {
                Style::Two => self.soft_reset(header.key_id),
                Style::Three => drop(self.begin(header.key_id, 0)),
            }
        }
        let Some(context) = self.contexts.iter_mut().find(|context| context.id == header.key_id) else {
            return;
        };
        context.reliable.handle_acks(now.instant, &body.acks);
        if let Some(id) = body.message {
            context
                .reliable
                .handle_message(id, Message { opcode: header.opcode, payload: body.payload.to_vec() });
        }
        while let Some(message) = context.reliable.receive() {
            let mut rest = &message.payload[..];
            while !rest.is_empty() {
                context.tls.read_tls(&mut rest).unwrap();
                let length = context.tls.process_new_packets().unwrap().plaintext_bytes_to_read();
                let start = context.plain.len();
                context.plain.resize(start + length, 0);
                context.tls.reader().read_exact(&mut context.plain[start..]).unwrap();
            }
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        let text = |text: &str| [&(text.len() as u16 + 1).to_be_bytes()[..], text.as_bytes(), &[0]].concat();
        for context in &mut self.contexts {
            if !context.tls.is_handshaking() && !context.told {
                context.told = true;
                let head = [&[0, 0, 0, 0, 2][..], &[7; 112]].concat();
                let texts =
                    [text("V4"), text(&self.user), text(&self.password), text(&self.peer_info)].concat();
                context.tls.writer().write_all(&[head, texts].concat()).unwrap();
            }
            if !context.heard && context.plain.len() >= 71 {
                let length = 71 + usize::from(u16::from_be_bytes([context.plain[69], context.plain[70]])) + 6;
                assert_eq!(context.plain[..5], [0, 0, 0, 0, 2]);
                context.plain.drain(..length);
                context.heard = true;
                let mut keys = Zeroizing::new([0; 256]);
                context
                    .tls
                    .export_keying_material(&mut keys[..], b"EXPORTER-OpenVPN-datakeys", None)
                    .unwrap();
                context.keys = Some(keys);
            }
            while let Some(end) = context.plain.iter().position(|byte| *byte == 0).filter(|_| context.heard) {
                let said: Vec<u8> = context.plain.drain(..=end).take(end).collect();
                let said = String::from_utf8(said).unwrap();
                if said.contains("dyn-tls-crypt") {
                    let mut mixed = [0; 256];
                    let label = b"EXPORTER-OpenVPN-dynamic-tls-crypt";
                    context.tls.export_keying_material(&mut mixed, label, None).unwrap();
                    self.dynamic = Some(theirs(&base_key().mixed_with(&mixed)));
                }
                if let Some((_, token)) = said.split_once("auth-token ") {
                    self.password = token.split(',').next().unwrap().to_owned();
                }
                self.said.push(said);
            }
        }
    }

    pub fn poll_transmit(&mut self, now: Now) -> Option<Vec<u8>> {
        let mut found = None;
        for context in &mut self.contexts {
            while context.tls.wants_write() {
                context.tls.write_tls(&mut context.out).unwrap();
            }
            while context.reliable.can_send() && !context.out.is_empty() {
                let payload = context.out.drain(..context.out.len().min(1000)).collect();
                context.reliable.send(Message { opcode: Opcode::Control, payload }).unwrap();
            }
            if let Some(outgoing) = context.reliable.poll_transmit(now.instant) {
                found = Some((context.id, outgoing));
                break;
            }
        }
        let (key_id, outgoing) = found?;
        // The first packets of a session acknowledge the server's message 0.
        let first = outgoing.acks.as_slice().is_empty() && key_id == KeyId::FIRST;
        let acks = if first { std::iter::once(0).collect::<Acks>() } else { outgoing.acks };
        let body = Body { acks, peer: Some(SERVER), message: outgoing.message, payload: &outgoing.payload };
        let header = Header { opcode: outgoing.opcode, key_id, session: CLIENT };
        self.counter += 1;
        let id = PacketId { time: 1, counter: self.counter };
        Some(self.wrapping(key_id).seal(id, header, &body.encode()))
    }

    pub fn poll_timeout(&self, now: Now) -> Option<Instant> {
        self.contexts.iter().filter_map(|context| context.reliable.poll_timeout(now.instant)).min()
    }

    pub fn keys(&self, id: KeyId) -> Option<[DirectionKey; 2]> {
        let block = self.contexts.iter().find(|context| context.id == id)?.keys.as_ref()?;
        let half = |at: usize| DirectionKey {
            key: block[at..at + 32].try_into().unwrap(),
            implicit_iv: block[at + 64..at + 72].try_into().unwrap(),
        };
        // The client sends with the first half.
        Some([half(0), half(128)])
    }
}

const BEGAN_UNIX_S: u64 = 1_800_000_000;

/// Client, line and session in virtual time, with a driver that does what the test says.
pub struct Stage {
    pub now: Now,
    pub peer: Peer,
    pub session: Session,
    pub outputs: Vec<Output>,
    pub loss_percent: u64,
    /// Answers logins and commits as they come.
    pub willing: bool,
    pub logins: Vec<Login>,
    began: Instant,
    random: u64,
    /// Arrival, to the server, packet.
    line: Vec<(Instant, bool, Vec<u8>)>,
}

impl Stage {
    pub fn new(peer: Peer, settings: Settings, seed: u64) -> Self {
        let now = Now { instant: Instant::now(), unix_s: BEGAN_UNIX_S };
        let place = Place { peer_id: 5, tcp: false, epoch: 2 };
        let session =
            Session::new(now, Arc::new(settings), &admission(), place, Seed::new(&[9; 32])).unwrap();
        Self {
            now,
            began: now.instant,
            peer,
            session,
            outputs: Vec::new(),
            loss_percent: 0,
            willing: true,
            logins: Vec::new(),
            random: seed | 1,
            line: Vec::new(),
        }
    }

    fn random(&mut self) -> u64 {
        // xorshift64*: Vigna 2016.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    fn carry(&mut self, to_server: bool, packet: Vec<u8>) {
        let copies = match self.random() % 100 {
            roll if roll < self.loss_percent => 0,
            roll if self.loss_percent > 0 && roll > 90 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let jitter = if self.loss_percent > 0 { self.random() % 200 } else { 0 };
            self.line.push((
                self.now.instant + Duration::from_millis(10 + jitter),
                to_server,
                packet.clone(),
            ));
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Authenticate(login) if self.willing => {
                    self.session.accept(self.now, login.key_id, accept()).unwrap();
                    self.logins.push(*login);
                }
                Output::Commit { ticket } if self.willing => self.session.committed(self.now, ticket),
                Output::Changed => {}
                other => self.outputs.push(other),
            }
        }
    }

    /// Everything that happens now, and then on to the next thing, but not beyond `end`. False: nothing will happen any more.
    fn step(&mut self, end: Instant) -> bool {
        self.drain();
        let now = self.now;
        while let Some(packet) = self.session.poll_transmit(now) {
            self.carry(false, packet);
        }
        while let Some(packet) = self.peer.poll_transmit(now) {
            self.carry(true, packet);
        }
        let arrival = self.line.iter().map(|(at, ..)| *at).min();
        let next = [arrival, self.session.poll_timeout(now), self.peer.poll_timeout(now)]
            .into_iter()
            .flatten()
            .min();
        let Some(next) = next else { return false };
        let next = next.max(now.instant + Duration::from_millis(1)).min(end);
        self.pass(next.saturating_duration_since(now.instant));
        self.drain();
        true
    }

    /// Time passes, and what has arrived by then is handed over.
    pub fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_s = BEGAN_UNIX_S + self.now.instant.duration_since(self.began).as_secs();
        let now = self.now;
        let (arrived, later): (Vec<_>, Vec<_>) = self.line.drain(..).partition(|(at, ..)| *at <= now.instant);
        self.line = later;
        for (_, to_server, packet) in arrived {
            match to_server {
                true => drop(self.session.handle_datagram(now, &packet)),
                false => self.peer.receive(now, &packet),
            }
        }
        self.session.handle_timeout(now);
    }

    /// Until something is true; panics when nothing happens any more, or after ten minutes of virtual time.
    pub fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now.instant + Duration::from_secs(600);
        while !done(self) {
            let goes_on = self.step(end) && self.now.instant < end;
            assert!(goes_on || done(self), "never: {what}; {:?} {:?}", self.peer.said, self.outputs);
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.now.instant < end && self.step(end) {}
    }

    pub fn closed(&self) -> Option<&Closed> {
        self.outputs.iter().find_map(|output| match output {
            Output::Closed(why) => Some(why),
            _ => None,
        })
    }

    pub fn installed(&self) -> Vec<&DataKeys> {
        fn keys(output: &Output) -> Option<&DataKeys> {
            match output {
                Output::Install(keys) => Some(keys),
                _ => None,
            }
        }
        self.outputs.iter().filter_map(keys).collect()
    }

    /// Client and server have the same keys under this id.
    pub fn agree(&self, id: KeyId) -> bool {
        let server = self.installed().into_iter().rfind(|keys| keys.key_id == id);
        let Some((server, [sends, receives])) = server.zip(self.peer.keys(id)) else { return false };
        assert!(server.open == sends && server.seal == receives, "the keys differ");
        true
    }

    pub fn connect(&mut self) {
        self.run_until("PUSH_REPLY", |stage| {
            stage.peer.said.iter().any(|said| said.starts_with("PUSH_REPLY,"))
        });
        assert!(self.agree(KeyId::FIRST));
    }
}

pub fn accept() -> Accept {
    let options = crate::message::PushOptions { ping_s: 10, ..Default::default() };
    Accept { options, attached: b"agents".to_vec(), carried_on: None }
}
