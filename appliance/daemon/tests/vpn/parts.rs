//! Small stand-ins for what stands beside the server: people who are always the same, and a map that two servers share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rempart_daemon::vpn::seam::{
    FromPeople, FromReplica, Kind, LoginTicket, Material, People, Replica, ReplicaTicket, Tell, Verdict,
};
use rempart_daemon::vpn::server::value::Value;
use rempart_identity::demand::Admission;
use rempart_identity::names::DeviceId;
use rempart_openvpn::data::epoch::{Epoch, EpochBook, Parity, Record, StoreId};
use rempart_openvpn::key_exchange::DataKeys;
use rempart_openvpn::message::{Refusal, Submitted};
use rempart_openvpn::session::{Credential, Login};
use rempart_openvpn::wrap::{ClientKey, Metadata, ServerKey, StaticKey};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use zeroize::Zeroizing;

pub const PASSWORD: &str = "correct horse";
pub const CODE: &str = "123456";
const WRAPPING: [u8; 128] = [5; 128];
const SHARED: [u8; 256] = [6; 256];

/// An authority, a certificate for the gateway, and certificates for people.
pub struct Authority {
    root: CertificateDer<'static>,
    pub root_pem: String,
    chain: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = named("Test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let (chain, key) = leaf(&issuer, "gateway", ExtendedKeyUsagePurpose::ServerAuth);
        Self {
            root: root.der().clone(),
            root_pem: root.pem(),
            chain: chain.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            issuer,
        }
    }

    /// The inline parts of a profile for a person's device.
    pub fn device(&self, name: &str) -> String {
        let server = ServerKey::new(&WRAPPING);
        let client =
            ClientKey { key: StaticKey::new(&random()), metadata: Metadata::User(name.as_bytes().to_vec()) };
        let file = server.client_file(&client).unwrap();
        format!("{}<tls-crypt-v2>\n{}</tls-crypt-v2>\n", self.certificate(name), *file)
    }

    /// The same with the key that all clients of an older set-up share.
    pub fn device_of_old(&self, name: &str) -> String {
        let file = StaticKey::new(&SHARED).to_file();
        format!("{}<tls-crypt>\n{}</tls-crypt>\n", self.certificate(name), *file)
    }

    fn certificate(&self, name: &str) -> String {
        let (certificate, key) = leaf(&self.issuer, name, ExtendedKeyUsagePurpose::ClientAuth);
        let (root, certificate, key) = (&self.root_pem, certificate.pem(), key.serialize_pem());
        format!("<ca>\n{root}</ca>\n<cert>\n{certificate}</cert>\n<key>\n{key}</key>\n")
    }

    pub fn material(&self) -> Box<Material> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        Box::new(Material {
            chain: vec![self.chain.clone()],
            key: PrivateKeyDer::Pkcs8(self.key.clone_key()),
            clients,
            wrapping: Zeroizing::new(WRAPPING.to_vec()),
            shared: Some(Zeroizing::new(SHARED.to_vec())),
            token: Zeroizing::new(vec![7; 32]),
        })
    }
}

fn leaf(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    (params.signed_by(&key, issuer).unwrap(), key)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).unwrap();
    bytes
}

/// What the people of a test know.
#[derive(Default)]
pub struct Crowd {
    /// Nobody of this name comes in.
    pub barred: BTreeSet<String>,
    /// A code is asked for.
    pub ask: bool,
    /// What lies behind everybody's client.
    pub networks: BTreeSet<IpNet>,
    /// How long a verdict takes.
    pub slow: Option<std::time::Duration>,
    /// Of whom, and what was shown.
    pub logins: Vec<(String, &'static str)>,
    asked: BTreeMap<u64, Admission>,
}

/// Everybody with the password comes in, as a member of `agents`.
pub struct Fixed {
    pub crowd: Arc<Mutex<Crowd>>,
    pub tell: Tell<FromPeople>,
}

impl Fixed {
    fn say(&self, ticket: LoginTicket, verdict: Verdict) {
        (self.tell)(FromPeople::Verdict(ticket, verdict));
    }

    fn say_after(&self, slow: Option<std::time::Duration>, ticket: LoginTicket, verdict: Verdict) {
        let Some(slow) = slow else { return self.say(ticket, verdict) };
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            std::thread::sleep(slow);
            tell(FromPeople::Verdict(ticket, verdict));
        });
    }

    fn refuse(&self, ticket: LoginTicket, text: &str) {
        self.say(ticket, Verdict::Refused(Box::new(Refusal::Failed(text.to_owned()))));
    }
}

impl People for Fixed {
    fn begin(&self, ticket: LoginTicket, _from: SocketAddr, login: Box<Login>) {
        let mut crowd = self.crowd.lock().unwrap();
        let (shown, good) = match &login.credential {
            Credential::Token(verified) => ("token", verified.user() == login.user),
            Credential::Submitted(Submitted::Password(password)) => ("password", **password == PASSWORD),
            Credential::Submitted(Submitted::WithCode { password, code }) => {
                ("password and code", **password == PASSWORD && **code == CODE)
            }
            Credential::Submitted(_) => ("nothing", false),
        };
        crowd.logins.push((login.user.clone(), shown));
        if !good || crowd.barred.contains(&login.user) {
            return self.refuse(ticket, "Wrong user name, password or code, or access not allowed.");
        }
        // A device is its certificate.
        let print = ring::digest::digest(&ring::digest::SHA256, login.certificates.first().unwrap());
        let device = DeviceId::new(*print.as_ref().first_chunk().unwrap());
        let mut admission = admission(&login.user, Some(device));
        admission.networks = crowd.networks.clone();
        let first = matches!(login.credential, Credential::Submitted(Submitted::Password(_)));
        if crowd.ask && first {
            crowd.asked.insert(ticket.0, admission);
            let refusal = Box::new(Refusal::Failed("no questions?".to_owned()));
            return self.say(ticket, Verdict::Question { text: "Code?".to_owned(), refusal });
        }
        let carried_on = match &login.credential {
            Credential::Token(verified) => Some(verified.claims()),
            Credential::Submitted(_) => None,
        };
        self.say_after(crowd.slow, ticket, Verdict::Accepted { admission: Box::new(admission), carried_on });
    }

    fn answer(&self, ticket: LoginTicket, text: Zeroizing<String>) {
        let asked = self.crowd.lock().unwrap().asked.remove(&ticket.0);
        match asked {
            Some(admission) if *text == CODE => {
                self.say(ticket, Verdict::Accepted { admission: Box::new(admission), carried_on: None });
            }
            Some(_) | None => self.refuse(ticket, "wrong code"),
        }
    }

    fn forget(&self, ticket: LoginTicket) {
        self.crowd.lock().unwrap().asked.remove(&ticket.0);
    }
}

pub fn admission(user: &str, device: Option<DeviceId>) -> Admission {
    Admission {
        user: user.parse().unwrap(),
        device,
        groups: BTreeSet::from(["agents".parse().unwrap()]),
        ipv4: None,
        ipv6: None,
        networks: BTreeSet::new(),
        code_used: None,
        rehash: false,
    }
}

/// What both nodes hold, and the epochs of both, on a disk that does not exist.
pub struct Pair {
    inner: Mutex<Inner>,
}

struct Inner {
    sessions: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
    tells: [Option<Tell<FromReplica>>; 2],
    books: [EpochBook; 2],
    tickets: u64,
    /// Every sending key that ever was, of which session.
    made: Vec<Made>,
}

/// A sending key.
#[derive(Clone, PartialEq, Eq)]
pub struct Made {
    pub peer: u32,
    pub key_id: u8,
    pub key: [u8; 32],
    pub iv: [u8; 8],
}

impl Pair {
    pub fn new() -> Arc<Self> {
        let books = [book(0), book(1)];
        let inner =
            Inner { sessions: BTreeMap::new(), tells: [None, None], books, tickets: 0, made: Vec::new() };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    pub fn half(self: &Arc<Self>, node: usize, tell: Tell<FromReplica>) -> Arc<dyn Replica> {
        self.inner.lock().unwrap().tells[node] = Some(tell.clone());
        Arc::new(Half { pair: self.clone(), tell })
    }

    /// A node is active from now on, the other one is told that it is not.
    pub fn activate(&self, node: usize) {
        if let Some(other) = &self.inner.lock().unwrap().tells[1 - node] {
            other(FromReplica::Standby);
        }
        self.activate_too(node);
    }

    /// A node is active from now on, and the other one, if it is, does not know.
    pub fn activate_too(&self, node: usize) {
        let mut inner = self.inner.lock().unwrap();
        let known = inner.books.iter().map(EpochBook::highest).max().unwrap();
        let book = &mut inner.books[node];
        book.hear(known);
        let reign = Box::new(book.claim().unwrap().persist(|_| Ok::<(), ()>(())).unwrap());
        let peer = Some(inner.books[1 - node].store());
        let sessions = inner.sessions.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        inner.tells[node].as_ref().unwrap()(FromReplica::Active { reign, peer, sessions });
    }

    /// The impossible: a node's record of its epochs is as it was at first, and its store has not changed.
    pub fn forget_epochs(&self, node: usize) {
        self.inner.lock().unwrap().books[node] = book(node);
    }

    pub fn held(&self) -> usize {
        self.inner.lock().unwrap().sessions.len()
    }

    pub fn made(&self) -> Vec<Made> {
        self.inner.lock().unwrap().made.clone()
    }

    pub fn put_session(&self, key: Vec<u8>, value: Zeroizing<Vec<u8>>) {
        self.inner.lock().unwrap().sessions.insert(key, value);
    }

    pub fn sessions(&self) -> Vec<(Vec<u8>, Zeroizing<Vec<u8>>)> {
        let inner = self.inner.lock().unwrap();
        inner.sessions.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// The record of epochs of a node that was never active.
fn book(node: usize) -> EpochBook {
    let (parity, store) = [(Parity::Even, 1), (Parity::Odd, 2)][node];
    EpochBook::new(parity, Record { store: StoreId::new([store; 16]), highest: Epoch::new(0) })
}

struct Half {
    pair: Arc<Pair>,
    tell: Tell<FromReplica>,
}

impl Replica for Half {
    fn put(&self, kind: Kind, key: &[u8], value: Zeroizing<Vec<u8>>) -> ReplicaTicket {
        assert_eq!(kind, Kind::Session);
        let mut inner = self.pair.inner.lock().unwrap();
        let Value { snapshot, .. } = Value::decode(&value).unwrap();
        for DataKeys { key_id, seal, .. } in snapshot.keys.iter().map(|key| &key.keys) {
            let (key, iv) = (seal.key, seal.implicit_iv);
            let made = Made { peer: snapshot.peer_id, key_id: key_id.get(), key, iv };
            if !inner.made.contains(&made) {
                inner.made.push(made);
            }
        }
        inner.sessions.insert(key.to_vec(), value);
        inner.tickets += 1;
        let ticket = ReplicaTicket(inner.tickets);
        (self.tell)(FromReplica::Committed(ticket));
        ticket
    }

    fn remove(&self, kind: Kind, key: &[u8]) {
        assert_eq!(kind, Kind::Session);
        self.pair.inner.lock().unwrap().sessions.remove(key);
    }
}
