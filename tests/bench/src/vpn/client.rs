//! A client of our own, for loads that stock clients cannot make: a thousand of them, or one that is faster than the server.
//! Without clock or socket; the same one talks to our server and to the stock one.
//!
//! It wants certificates of nobody: what is measured is the servers, and the line is a cable between two namespaces.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rempart_kernel_tests::node::Failure;
use rempart_openvpn::data::epoch::PacketIdRange;
use rempart_openvpn::data::keys::{BLOCK, DataKeys, End};
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{self, PeerId};
use rempart_openvpn::packet::{Acks, Body, Header, KeyId, Opcode, SessionId};
use rempart_openvpn::reliable::{Message, Reliable};
use rempart_openvpn::wrap::{Mode, PacketId, STATIC_KEY, StaticKey, Wrapping};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::common::reign;

/// IV_PROTO: DATA_V2, asks for PUSH_REPLY, keys exported from TLS, says EXIT on the control channel.
const PEER_INFO: &str =
    "IV_VER=2.6.14\nIV_PLAT=linux\nIV_NCP=2\nIV_PROTO=142\nIV_CIPHERS=AES-256-GCM\nIV_MTU=1500\n";
/// The top byte of the first packet id says that the wrapped key can be sent again (study §2.2).
const EARLY_NEGOTIATION: u32 = 0x0f00_0000;
/// Bytes of TLS in a packet: the first one may carry a wrapped key beside them.
const PIECE: usize = 1000;
const FIRST_PIECE: usize = 600;
/// When the first packet, or the question for PUSH_REPLY, is repeated.
const AGAIN: Duration = Duration::from_secs(1);

/// What a profile holds.
pub struct Credentials {
    tls: Arc<ClientConfig>,
    wrapping: Wrapping,
    wrapped_key: Option<Vec<u8>>,
}

impl Credentials {
    /// From a profile with its parts inline, as ours are: tls-crypt-v2, or tls-crypt.
    pub fn of_profile(text: &str) -> Result<Self, Failure> {
        let part = |name: &str| -> Option<&str> {
            let (_, rest) = text.split_once(&format!("<{name}>\n"))?;
            Some(rest.split_once(&format!("</{name}>"))?.0)
        };
        let chain = CertificateDer::pem_slice_iter(part("cert").ok_or("a certificate")?.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(part("key").ok_or("a key")?.as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let anybody = Arc::new(Anybody(provider.signature_verification_algorithms.supported_schemes()));
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_client_auth_cert(chain, key)?;
        let (key, wrapped_key) = match (part("tls-crypt-v2"), part("tls-crypt")) {
            (Some(file), _) => {
                let bytes = base64(file)?;
                let (key, wrapped) = bytes.split_first_chunk::<STATIC_KEY>().ok_or("a short key")?;
                (StaticKey::new(key), Some(wrapped.to_vec()))
            }
            (None, Some(file)) => (StaticKey::parse(file)?, None),
            (None, None) => return Err("the profile has no key for the control channel".into()),
        };
        // A client sends with the half that the server receives with.
        let mut halves = *key.expose();
        halves.rotate_left(STATIC_KEY / 2);
        let wrapping = Wrapping { mode: Mode::Crypt, key: StaticKey::new(&halves) };
        Ok(Self { tls: Arc::new(tls), wrapping, wrapped_key })
    }
}

/// What stands between the lines of a PEM file.
fn base64(file: &str) -> Result<Vec<u8>, Failure> {
    let text: String = file.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut decode = Command::new("base64");
    let mut decode = decode.arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    decode.stdin.take().ok_or("a pipe")?.write_all(text.as_bytes())?;
    Ok(decode.wait_with_output()?.stdout)
}

/// The tunnel is up.
#[derive(Clone)]
pub struct Up {
    /// The first key of the data channel.
    pub keys: [u8; BLOCK],
    /// Our address inside.
    pub address: Ipv4Addr,
    /// What names our packets.
    pub peer: u32,
}

impl Up {
    /// What seals with these keys.
    pub fn sealer(&self) -> Result<Sealer, Failure> {
        let (keys, ids, peer) = self.key()?;
        Ok(Sealer::new(&keys, ids, peer)?)
    }

    /// The keys, packet ids for them, and the name of the session.
    pub fn key(&self) -> Result<(DataKeys, PacketIdRange, PeerId), Failure> {
        let mut keys = DataKeys::derived(data::keys::KeyId::of(0), &self.keys, End::Client);
        let (_, ids) = reign().make(&mut keys, None).ok_or("packet ids")?;
        Ok((keys, ids, PeerId::new(self.peer).ok_or("a peer id")?))
    }
}

/// A session at the client's side.
pub struct Client {
    credentials: Arc<Credentials>,
    session: SessionId,
    server: Option<SessionId>,
    reliable: Reliable,
    tls: ClientConnection,
    counter: u32,
    out: Vec<u8>,
    plain: Vec<u8>,
    said: String,
    told: bool,
    heard: bool,
    again: Instant,
    up: Option<Up>,
}

impl Client {
    /// Sends nothing yet.
    pub fn new(credentials: &Arc<Credentials>, now: Instant, session: [u8; 8]) -> Result<Self, Failure> {
        let name = ServerName::try_from("gateway")?;
        Ok(Self {
            credentials: credentials.clone(),
            session: SessionId(session),
            server: None,
            reliable: Reliable::new(1),
            tls: ClientConnection::new(credentials.tls.clone(), name)?,
            counter: EARLY_NEGOTIATION,
            out: Vec::new(),
            plain: Vec::new(),
            said: String::new(),
            told: false,
            heard: false,
            again: now,
            up: None,
        })
    }

    /// The tunnel, once it is up.
    pub fn up(&self) -> Option<&Up> {
        self.up.as_ref()
    }

    /// How far it has come, for a report of failures.
    pub fn stage(&self) -> &'static str {
        match (self.server.is_some(), self.tls.is_handshaking(), self.heard, self.up.is_some()) {
            (false, ..) => "unheard",
            (true, true, ..) => "in the handshake",
            (true, false, false, _) => "waits for the server's keys",
            (true, false, true, false) => "waits for PUSH_REPLY",
            (true, false, true, true) => "up",
        }
    }

    /// Says that it goes, where the server was told so of us.
    pub fn leave(&mut self) -> Result<(), Failure> {
        Ok(self.tls.writer().write_all(b"EXIT\0")?)
    }

    /// A packet of the control channel.
    pub fn handle(&mut self, now: Instant, packet: &[u8]) -> Result<(), Failure> {
        let Ok((header, _)) = Header::parse(packet) else { return Ok(()) };
        let Ok(opened) = self.credentials.wrapping.open(packet) else { return Ok(()) };
        let Ok(body) = Body::parse(header.opcode, &opened.body) else { return Ok(()) };
        if header.opcode == Opcode::HardResetServerV2 {
            self.server.get_or_insert(header.session);
            return Ok(());
        }
        if header.key_id != KeyId::FIRST || Some(header.session) != self.server {
            return Ok(());
        }
        self.reliable.handle_acks(now, &body.acks);
        if let Some(id) = body.message {
            let message = Message { opcode: header.opcode, payload: body.payload.to_vec() };
            self.reliable.handle_message(id, message);
        }
        while let Some(message) = self.reliable.receive() {
            let mut rest = &message.payload[..];
            while !rest.is_empty() {
                self.tls.read_tls(&mut rest)?;
                let length = self.tls.process_new_packets()?.plaintext_bytes_to_read();
                let begin = self.plain.len();
                self.plain.resize(begin + length, 0);
                self.tls.reader().read_exact(&mut self.plain[begin..])?;
            }
        }
        self.go_on(now)
    }

    fn go_on(&mut self, now: Instant) -> Result<(), Failure> {
        let text = |text: &str| [&(text.len() as u16 + 1).to_be_bytes()[..], text.as_bytes(), &[0]].concat();
        if !self.tls.is_handshaking() && !self.told {
            self.told = true;
            // Study §2.4: zeros, method 2, secrets that exported keys make idle, options, name and password, what we can.
            let head = [&[0, 0, 0, 0, 2][..], &[7; 112]].concat();
            let texts = [text("V4"), text(""), text(""), text(PEER_INFO)].concat();
            self.tls.writer().write_all(&[head, texts].concat())?;
        }
        if !self.heard && self.plain.len() >= 71 {
            // 4 zeros, method, 64 bytes, options, and three strings that are empty.
            let options = usize::from(u16::from_be_bytes([self.plain[69], self.plain[70]]));
            if self.plain.len() < 71 + options + 6 {
                return Ok(());
            }
            self.plain.drain(..71 + options + 6);
            self.heard = true;
            self.ask(now)?;
        }
        while let Some(end) = self.plain.iter().position(|byte| *byte == 0).filter(|_| self.heard) {
            let said: Vec<u8> = self.plain.drain(..=end).take(end).collect();
            let said = String::from_utf8(said)?;
            if said.starts_with("AUTH_FAILED") || said.starts_with("RESTART") || said.starts_with("HALT") {
                return Err(said.into());
            }
            if said.starts_with("PUSH_REPLY") {
                self.said.push_str(&said);
                self.said.push(',');
            }
        }
        if self.up.is_none() && !self.said.is_empty() {
            self.up = self.read_push()?;
        }
        Ok(())
    }

    fn ask(&mut self, now: Instant) -> Result<(), Failure> {
        self.again = now + AGAIN;
        Ok(self.tls.writer().write_all(b"PUSH_REQUEST\0")?)
    }

    fn read_push(&self) -> Result<Option<Up>, Failure> {
        let word = |name: &str| {
            let option = self.said.split(',').find_map(|option| option.strip_prefix(name))?;
            option.split_whitespace().next()
        };
        let (Some(address), Some(peer)) = (word("ifconfig "), word("peer-id ")) else { return Ok(None) };
        let mut keys = [0; BLOCK];
        self.tls.export_keying_material(&mut keys, b"EXPORTER-OpenVPN-datakeys", None)?;
        Ok(Some(Up { keys, address: address.parse()?, peer: peer.parse()? }))
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Result<Option<Vec<u8>>, Failure> {
        if self.server.is_none() {
            if self.again > now {
                return Ok(None);
            }
            self.again = now + AGAIN;
            let opcode = match self.credentials.wrapped_key {
                Some(_) => Opcode::HardResetClientV3,
                None => Opcode::HardResetClientV2,
            };
            let body = Body { acks: Acks::default(), peer: None, message: Some(0), payload: &[] };
            return Ok(Some(self.seal(opcode, &body)));
        }
        if self.heard && self.up.is_none() && self.again <= now {
            self.ask(now)?;
        }
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.out)?;
        }
        while self.reliable.can_send() && !self.out.is_empty() {
            let longest = if self.told { PIECE } else { FIRST_PIECE };
            let payload = self.out.drain(..self.out.len().min(longest)).collect();
            let _ = self.reliable.send(Message { opcode: Opcode::Control, payload });
        }
        let Some(outgoing) = self.reliable.poll_transmit(now) else { return Ok(None) };
        // The first packets acknowledge the server's message 0.
        let none = outgoing.acks.as_slice().is_empty();
        let acks = if none { std::iter::once(0).collect() } else { outgoing.acks };
        let body = Body { acks, peer: self.server, message: outgoing.message, payload: &outgoing.payload };
        let brings_key = self.credentials.wrapped_key.is_some() && outgoing.message == Some(1);
        let opcode = if brings_key { Opcode::ControlWkc } else { outgoing.opcode };
        Ok(Some(self.seal(opcode, &body)))
    }

    fn seal(&mut self, opcode: Opcode, body: &Body<'_>) -> Vec<u8> {
        self.counter += 1;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) as u32;
        let header = Header { opcode, key_id: KeyId::FIRST, session: self.session };
        let id = PacketId { time, counter: self.counter };
        let mut packet = self.credentials.wrapping.seal(id, header, &body.encode());
        if opcode.brings_key() {
            packet.extend(self.credentials.wrapped_key.iter().flatten());
        }
        packet
    }
}

/// Takes any certificate for the server's; that its owner has the key is looked at all the same, because it takes time.
#[derive(Debug)]
struct Anybody(Vec<SignatureScheme>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
