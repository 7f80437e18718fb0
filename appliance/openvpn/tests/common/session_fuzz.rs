//! What is asked of any bytes that a client with a key says to a session: by the fuzz target `openvpn_session`, and by the
//! ordinary tests with a few of them.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rempart_openvpn::Now;
use rempart_openvpn::cookie::Admission;
use rempart_openvpn::message::{PushOptions, Refusal};
use rempart_openvpn::packet::{Acks, Body, Header, KeyId, Opcode, SessionId};
use rempart_openvpn::session::{
    Accept, Output, Place, Seed, Session, Settings, Snapshot, Timing, TlsPolicy, tls_config,
};
use rempart_openvpn::token::TokenKey;
use rempart_openvpn::wrap::{Mode, PacketId, StaticKey, Wrapping};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const CLIENT: SessionId = SessionId([0xc1; 8]);
const SERVER: SessionId = SessionId([0x5e; 8]);
/// Steps of one script.
const STEPS: usize = 48;
/// Packets and outputs that one step may give: four windows.
const MOST: usize = 256;
/// The longest packet that a session sends.
const LONGEST: usize = 1250;

/// A script for a session whose client holds its wrapping key. The first byte says whether TLS is up before it begins; each
/// step is a byte that says what happens, a length, and so many bytes.
pub fn session(data: &[u8]) {
    let Some((how, mut rest)) = data.split_first() else { return };
    let mut stage = Stage::new();
    if how & 1 == 1 {
        stage.shake_hands();
    }
    for _ in 0..STEPS {
        let Some(([what, length], after)) = rest.split_first_chunk::<2>() else { break };
        let (bytes, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        stage.step(*what, bytes);
    }
    if let Some(snapshot) = stage.session.snapshot() {
        assert_eq!(Snapshot::decode(&snapshot.encode()).as_ref(), Ok(&snapshot));
    }
}

/// Both sides' certificates, made once.
struct Certificates {
    settings: Arc<Settings>,
    client: Arc<ClientConfig>,
}

fn certificates() -> &'static Certificates {
    static MADE: OnceLock<Certificates> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("signed").der().clone();
        let issuer = Issuer::new(params, key);
        let leaf = || {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec!["gateway".to_owned()]).expect("a name");
            let certificate = params.signed_by(&key, &issuer).expect("signed").der().clone();
            (certificate, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
        };
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a root");
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let clients = clients.build().expect("a verifier");
        let (certificate, key) = leaf();
        let tls = tls_config(TlsPolicy { chain: vec![certificate], key, clients }).expect("a policy");
        let (certificate, key) = leaf();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .expect("a certificate");
        let token_key = TokenKey::new(&[3; 32]);
        let settings =
            Settings { tls, token_key, timing: Timing::default(), dynamic_wrapping: false, exporter: true };
        Certificates { settings: Arc::new(settings), client: Arc::new(client) }
    })
}

/// A key with equal halves: what one side wraps the other side can have wrapped.
fn wrapping() -> Wrapping {
    Wrapping { mode: Mode::Crypt, key: StaticKey::new(&[1; 256]) }
}

struct Stage {
    now: Now,
    session: Session,
    tls: ClientConnection,
    /// Of our packets, and of our messages under key 0.
    counter: u32,
    message: u32,
    /// What the session has sent and we have not acknowledged.
    acks: Vec<u32>,
    willing: bool,
}

impl Stage {
    fn new() -> Self {
        let now = Now { instant: Instant::now(), unix_s: 1_800_000_000 };
        let admission = Admission {
            client: SocketAddr::from(([192, 0, 2, 7], 1194)),
            client_session: CLIENT,
            server_session: SERVER,
            wrapping: wrapping(),
            metadata: None,
        };
        let place = Place { peer_id: 5, tcp: false, epoch: 2 };
        let made = certificates();
        let session = Session::new(now, made.settings.clone(), &admission, place, Seed::new(&[9; 32]));
        let name = ServerName::try_from("gateway").expect("a name");
        let tls = ClientConnection::new(made.client.clone(), name).expect("a client");
        let session = session.expect("a session");
        Self { now, session, tls, counter: 0, message: 1, acks: vec![0], willing: true }
    }

    /// What happens, by the first byte of a step.
    fn step(&mut self, what: u8, bytes: &[u8]) {
        match what % 8 {
            0 => drop(self.session.handle_datagram(self.now, bytes)),
            1 => {
                // A body of any form, under any key.
                if let Some((first, body)) = bytes.split_first() {
                    self.packet(*first, body);
                }
            }
            2 => self.control(KeyId::FIRST, bytes),
            3 => {
                // Refused before the handshake is over, and when it has said goodbye.
                let _ = self.tls.writer().write_all(bytes);
                self.talk();
            }
            4 => self.pass(Duration::from_millis(u64::from(what) * 40)),
            5 => self.pass(Duration::from_secs(u64::from(what) * 8)),
            6 => self.willing = !self.willing,
            _ => self.command(what / 8),
        }
        self.drain();
    }

    fn command(&mut self, which: u8) {
        let now = self.now;
        match which % 5 {
            0 => self.session.rekey(now),
            1 => self.session.heard(now),
            2 => self.session.floated(SocketAddr::from(([192, 0, 2, 8], 1194))),
            3 => self.session.reject(now, KeyId::FIRST, Refusal::Failed("no".to_owned())),
            _ => self.session.left(),
        }
    }

    fn packet(&mut self, first: u8, body: &[u8]) {
        let Ok((header, _)) = Header::parse(&[&[first][..], &CLIENT.0].concat()) else { return };
        self.counter += 1;
        let packet = wrapping().seal(PacketId { time: 1, counter: self.counter }, header, body);
        let _ = self.session.handle_datagram(self.now, &packet);
    }

    /// The next message in order, with whatever is in it.
    fn control(&mut self, key_id: KeyId, payload: &[u8]) {
        let acks: Acks = self.acks.drain(..self.acks.len().min(4)).collect();
        let peer = (!acks.as_slice().is_empty()).then_some(SERVER);
        let body = Body { acks, peer, message: Some(self.message), payload };
        self.message += 1;
        self.packet(Opcode::Control.get() << 3 | key_id.get(), &body.encode());
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_s += time.as_secs();
        self.session.handle_timeout(self.now);
    }

    /// TLS of ours goes over, and the answers come back.
    fn talk(&mut self) {
        let mut out = Vec::new();
        while self.tls.wants_write() && self.tls.write_tls(&mut out).is_ok() {}
        for piece in out.chunks(1000) {
            self.control(KeyId::FIRST, piece);
        }
        self.drain();
    }

    fn shake_hands(&mut self) {
        for _ in 0..8 {
            self.talk();
            if !self.tls.is_handshaking() {
                return self.talk();
            }
        }
    }

    /// Everything that the session wants and sends, which is not without end.
    fn drain(&mut self) {
        for turn in 0.. {
            assert!(turn < MOST, "a session wants more and more");
            let Some(output) = self.session.poll_output() else { break };
            let now = self.now;
            match output {
                Output::Authenticate(login) if self.willing => {
                    let options = PushOptions { ping_s: 10, ..PushOptions::default() };
                    let accept = Accept { options, attached: Vec::new(), carried_on: None };
                    let _ = self.session.accept(now, login.key_id, accept);
                }
                Output::Commit { ticket } if self.willing => self.session.committed(now, ticket),
                Output::Authenticate(_)
                | Output::Commit { .. }
                | Output::Answer { .. }
                | Output::Changed
                | Output::Install(_)
                | Output::Retire(_)
                | Output::Cut
                | Output::Closed(_) => {}
            }
        }
        for turn in 0.. {
            assert!(turn < MOST, "a session sends without end");
            let Some(packet) = self.session.poll_transmit(self.now) else { break };
            assert!(packet.len() <= LONGEST, "{} bytes", packet.len());
            self.hear(&packet);
        }
    }

    /// What came from the session: acknowledged next time, and handed to TLS if it is in order, which it is.
    fn hear(&mut self, packet: &[u8]) {
        let (header, _) = Header::parse(packet).expect("a header");
        let opened = wrapping().open(packet).expect("it is wrapped");
        let body = Body::parse(header.opcode, &opened.body).expect("a body");
        let Some(id) = body.message.filter(|_| header.key_id == KeyId::FIRST) else { return };
        if !self.acks.contains(&id) && self.acks.len() < MOST {
            self.acks.push(id);
        }
        let mut rest = body.payload;
        while !rest.is_empty() && self.tls.read_tls(&mut rest).is_ok() {
            // A repetition is nonsense to TLS, and then it says nothing any more.
            let Ok(state) = self.tls.process_new_packets() else { return };
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            let _ = self.tls.reader().read_exact(&mut plain);
        }
    }
}
