//! The office with a disk, and two replicas: one that commits at once, one that joins two offices.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::{ExportRequest, TestRequest, UserChange, UserFields, UserRequest};
use rempart_identity::demand::Language;
use rempart_openvpn::data::epoch::{Epoch, EpochBook, Parity, Record, StoreId};
use rempart_openvpn::wrap::ServerKey;

use super::super::profile::device_of;
use super::super::{Office, Registry, Settings};
use super::*;
use crate::vpn::seam::{
    CutOff, FromPeople, FromReplica, Kind, LoginTicket, Material, People as _, Replica, ReplicaTicket, Tell,
    Verdict,
};

/// Hands everything to another registry, if there is one, and commits.
#[derive(Default)]
struct Wire {
    own: OnceLock<Weak<Registry>>,
    other: Mutex<Weak<Registry>>,
    tickets: AtomicU64,
}

impl Replica for Wire {
    fn put(&self, kind: Kind, key: &[u8], value: Zeroizing<Vec<u8>>) -> ReplicaTicket {
        if let Some(other) = self.other.lock().unwrap().upgrade() {
            other.handle(&FromReplica::Put(kind, key.to_vec(), value));
        }
        let ticket = ReplicaTicket(self.tickets.fetch_add(1, Ordering::SeqCst) + 1);
        if let Some(own) = self.own.get().and_then(Weak::upgrade) {
            own.handle(&FromReplica::Committed(ticket));
        }
        ticket
    }

    fn remove(&self, kind: Kind, key: &[u8]) {
        if let Some(other) = self.other.lock().unwrap().upgrade() {
            other.handle(&FromReplica::Removed(kind, key.to_vec()));
        }
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rempart-people-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Node {
    registry: Arc<Registry>,
    wire: Arc<Wire>,
    news: mpsc::Receiver<FromPeople>,
}

impl Node {
    fn open(folder: &Folder, name: &str) -> Self {
        let wire = Arc::new(Wire::default());
        let (tell, news) = mpsc::channel();
        let tell: Tell<FromPeople> = Arc::new(move |what| drop(tell.send(what)));
        let settings =
            Settings { state: folder.0.clone(), node: name.to_owned(), language: Language::English };
        let registry = Arc::new(Registry::open(settings, wire.clone(), tell).unwrap());
        wire.own.set(Arc::downgrade(&registry)).unwrap();
        Self { registry, wire, news }
    }

    fn office(&self) -> Arc<Office> {
        self.registry.office()
    }

    fn activate(&self) {
        let record = Record { store: StoreId::new([1; 16]), highest: Epoch::new(0) };
        let claim = EpochBook::new(Parity::Even, record).claim().unwrap();
        let reign = claim.persist(|_| Ok::<(), ()>(())).unwrap();
        let news = FromReplica::Active { reign: Box::new(reign), peer: None, sessions: Vec::new() };
        self.registry.handle(&news);
    }

    /// Active, with a plan and an authority.
    fn ready(&self) {
        self.activate();
        self.office().configure(Some(plan()), 1);
        self.office().make_authority("", "test").unwrap();
    }

    fn add(&self, name: &str, groups: &[&str]) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let fields = UserFields { groups: Some(groups), ..UserFields::default() };
        self.office().add_user(&UserRequest { name: name.to_owned(), fields }, "test").unwrap();
        self.office().set_password(name, &Secret::from(PASSWORD), "test").unwrap();
    }

    fn export(&self, name: &str) -> rempart_bus::vpn::Profile {
        let request = ExportRequest { user: Some(name.to_owned()), ..ExportRequest::default() };
        self.office().export(&request, "test").unwrap()
    }

    /// The next thing of this kind that the server is told.
    fn next<T>(&self, what: &str, pick: impl Fn(FromPeople) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let news = self.news.recv_timeout(left).unwrap_or_else(|_| panic!("no {what} within 20 s"));
            if let Some(found) = pick(news) {
                return found;
            }
        }
    }

    fn material(&self) -> Material {
        self.next("material", |news| match news {
            FromPeople::Material(material) => Some(*material),
            FromPeople::Verdict(..) | FromPeople::Cut(_) => None,
        })
    }

    fn cut(&self) -> CutOff {
        self.next("cut", |news| match news {
            FromPeople::Cut(cut) => Some(cut),
            FromPeople::Verdict(..) | FromPeople::Material(_) => None,
        })
    }

    fn verdict(&self) -> (LoginTicket, Verdict) {
        self.next("verdict", |news| match news {
            FromPeople::Verdict(ticket, verdict) => Some((ticket, verdict)),
            FromPeople::Cut(_) | FromPeople::Material(_) => None,
        })
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn code_of(error: &Error) -> Option<RefusalCode> {
    match error {
        Error::Refused(text) => RefusalCode::of(text),
        _ => None,
    }
}

/// In: people and profiles, then a restart. Out: the same people and keys; the files are for their owner alone; no key of a device
/// is in them.
#[test]
fn what_is_kept_is_there_again() {
    let folder = Folder::new("kept");
    let (users, profile, wrapping) = {
        let node = Node::open(&folder, "rte01");
        node.ready();
        node.add("alice", &["agents"]);
        let profile = node.export("alice");
        (node.office().users(), profile, node.material().wrapping)
    };
    for name in ["store", "keys"] {
        let mode = std::fs::metadata(folder.0.join("vpn").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let key = profile.text.split("<key>").nth(1).unwrap().lines().nth(2).unwrap();
    let store = std::fs::read_to_string(folder.0.join("vpn/store")).unwrap();
    assert!(!store.contains(key), "the device's key is kept");
    let node = Node::open(&folder, "rte01");
    node.activate();
    node.office().configure(Some(plan()), 1);
    assert_eq!(node.office().users(), users);
    assert_eq!(node.material().wrapping, wrapping, "the keys are the same");
}

/// In: a file that was cut short. Out: an error that says which and what to do, and the file as it was.
#[test]
fn a_damaged_store_is_left_alone() {
    let folder = Folder::new("damaged");
    {
        let node = Node::open(&folder, "rte01");
        node.ready();
        node.add("alice", &["agents"]);
    }
    for name in ["store", "keys"] {
        let file = folder.0.join("vpn").join(name);
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        let settings =
            Settings { state: folder.0.clone(), node: "rte01".to_owned(), language: Language::English };
        let opened = Registry::open(settings, Arc::new(Wire::default()), Arc::new(|_| ()));
        let text = opened.err().expect("refused").to_string();
        assert!(text.contains(name) && text.contains("move it away"), "{text}");
        assert_eq!(std::fs::read(&file).unwrap().len(), whole.len() / 2);
        std::fs::write(&file, whole).unwrap();
    }
}

/// In: a change on a node that is on standby. Out: refused, with the name of the node to ask.
#[test]
fn a_standby_node_changes_nothing() {
    let folder = Folder::new("standby");
    let node = Node::open(&folder, "rte01");
    node.office().configure(Some(plan()), 1);
    let fields = UserFields::default();
    let error =
        node.office().add_user(&UserRequest { name: "alice".to_owned(), fields }, "test").unwrap_err();
    assert_eq!(code_of(&error), Some(RefusalCode::VpnStandby));
    assert!(error.to_string().contains("rte02"), "{error}");
    assert!(!folder.0.join("vpn/store").exists());
}

/// In: changes on the active node of two. Out: the other has them, with secrets and used codes, and goes on with them.
#[test]
fn the_other_node_has_it_all() {
    let folders = [Folder::new("one"), Folder::new("two")];
    let (one, two) = (Node::open(&folders[0], "rte01"), Node::open(&folders[1], "rte02"));
    *one.wire.other.lock().unwrap() = Arc::downgrade(&two.registry);
    *two.wire.other.lock().unwrap() = Arc::downgrade(&one.registry);
    two.office().configure(Some(plan()), 1);
    one.ready();
    one.add("bob", &["simple"]);
    let profile = one.export("bob");
    until("the store is there", || two.office().users() == one.office().users());
    until("the devices too", || two.office().devices().iter().any(|device| device.id == profile.device));
    // The last one that it is given is the one that counts.
    let last = |node: &Node| {
        let mut last = None;
        while let Ok(news) = node.news.recv_timeout(Duration::from_millis(500)) {
            if let FromPeople::Material(material) = news {
                last = Some(material);
            }
        }
        last.expect("material")
    };
    let (here, there) = (last(&one), last(&two));
    assert_eq!((&*here.wrapping, &*here.token, &here.chain), (&*there.wrapping, &*there.token, &there.chain));
    // The other one takes over, and changes; the first one follows.
    one.registry.handle(&FromReplica::Standby);
    two.activate();
    two.office().remove_user("bob", "test").unwrap();
    until("the first follows", || one.office().users().is_empty());
    assert!(two.material().chain == here.chain, "the server's certificate stays");
    let cuts = [one.cut(), one.cut()];
    assert!(cuts.contains(&CutOff::User(user("bob"))), "{cuts:?}");
}

/// In: a login with everything; then its device is revoked. Out: accepted; cut at once; the same certificate is turned away by TLS
/// and before it.
#[test]
fn revocation_cuts_at_once() {
    let folder = Folder::new("revoke");
    let node = Node::open(&folder, "rte01");
    node.ready();
    node.add("sue", &["short"]);
    let profile = node.export("sue");
    let part = |name: &str| {
        let begin = profile.text.split_once(&format!("<{name}>\n")).unwrap().1;
        begin.split_once(&format!("</{name}>")).unwrap().0.to_owned()
    };
    let certificate =
        rempart_identity::authority::read(part("cert").as_bytes(), None).unwrap().certificates.remove(0);
    let certificate = CertificateDer::from(certificate);
    let first = login("sue", password(PASSWORD), Some(&certificate));
    node.registry.begin(LoginTicket(5), "198.51.100.7:1".parse().unwrap(), Box::new(first));
    let (ticket, verdict) = node.verdict();
    assert_eq!(ticket, LoginTicket(5));
    let Verdict::Accepted { admission, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(admission.device.unwrap().to_string(), profile.device);
    // What the wrapped key says.
    let wrapped = rempart_openvpn::wrap::ClientKey::clone(&{
        let server: [u8; 128] = node.wrapping().as_slice().try_into().unwrap();
        let text: String = part("tls-crypt-v2").lines().filter(|line| !line.starts_with('-')).collect();
        let bytes = base64(&text);
        ServerKey::new(&server).unwrap(&bytes[256..]).unwrap()
    });
    assert_eq!(device_of(&wrapped.metadata).unwrap().to_string(), profile.device);
    assert!(node.registry.may_begin(Some(&wrapped.metadata)));
    node.office().revoke(&profile.device, "key-compromise", "test").unwrap();
    assert_eq!(node.cut(), CutOff::Certificate(Fingerprint::of(&certificate)));
    assert!(!node.registry.may_begin(Some(&wrapped.metadata)));
    let verifier = node.material().clients;
    let time = rustls::pki_types::UnixTime::now();
    assert!(verifier.verify_client_cert(&certificate, &[], time).is_err());
    let again = login("sue", password(PASSWORD), Some(&certificate));
    node.registry.begin(LoginTicket(6), "198.51.100.7:1".parse().unwrap(), Box::new(again));
    assert!(matches!(node.verdict().1, Verdict::Refused(_)));
}

impl Node {
    fn wrapping(&self) -> Vec<u8> {
        let keys = std::fs::read(self.office().settings.state.join("vpn/keys")).unwrap();
        let keys: serde_json::Value = serde_json::from_slice(&keys).unwrap();
        base64(keys["wrapping"].as_str().unwrap())
    }
}

fn base64(text: &str) -> Vec<u8> {
    let secret: Secret = serde_json::from_value(text.into()).unwrap();
    secret.expose().to_vec()
}

/// In: a code. Out: on the disk before the verdict, so that a restart does not take it again.
#[test]
fn a_used_code_outlives_a_restart() {
    let folder = Folder::new("codes");
    let mut place = world();
    // The office's clock is the real one: what is certified here must be of today.
    let real = super::super::office::today();
    place.store = {
        let mut store = Store::default();
        let add = Command::AddUser(user("carl"), account(&["coded"], Source::Local));
        store = store.apply(real, "test", add).unwrap().0;
        let hash = Hash::new(&Secret::from(PASSWORD), "x", &SystemRandom::new()).unwrap();
        store = store.apply(real, "test", Command::SetPassword(user("carl"), Some(hash))).unwrap().0;
        store = store.apply(real, "test", Command::EnrolTotp(user("carl"), seed())).unwrap().0;
        // The code of the step before confirms, so that the present one is still good.
        let first = Code::parse(&code(real.minus(Duration::from_secs(30)))).unwrap();
        store.apply(real, "test", Command::ConfirmTotp(user("carl"), first)).unwrap().0
    };
    std::fs::create_dir_all(folder.0.join("vpn")).unwrap();
    std::fs::write(folder.0.join("vpn/store"), &*place.store.write()).unwrap();
    let coded = VpnPlan { groups: vec![group("coded", "password code")], ..plan() };
    let shown = code(real);
    let try_it = |node: &Node| {
        node.activate();
        node.office().configure(Some(coded.clone()), 1);
        let login = login("carl", with_code(PASSWORD, &shown), None);
        node.registry.begin(LoginTicket(1), "198.51.100.7:1".parse().unwrap(), Box::new(login));
        matches!(node.verdict().1, Verdict::Accepted { .. })
    };
    let revision = place.store.revision();
    {
        let node = Node::open(&folder, "rte01");
        assert!(try_it(&node));
        assert!(!try_it(&node));
        assert_eq!(node.office().status().store_revision, revision, "a login is no change of the store");
    }
    assert!(!try_it(&Node::open(&folder, "rte01")));
}

/// In: a test of a login. Out: each step in words, and the code stays good.
#[test]
fn a_login_can_be_tried() {
    let folder = Folder::new("try");
    let node = Node::open(&folder, "rte01");
    node.ready();
    node.add("sue", &["short"]);
    let profile = node.export("sue");
    let request = |password: &str, device: Option<&str>| TestRequest {
        user: "sue".to_owned(),
        password: password.to_owned(),
        code: None,
        device: device.map(str::to_owned),
    };
    let report = node.office().test_login(&request(PASSWORD, Some(&profile.device))).unwrap();
    assert!(report.accepted, "{report:?}");
    assert_eq!(report.groups, ["short"]);
    let without = node.office().test_login(&request(PASSWORD, None)).unwrap();
    assert!(!without.accepted);
    assert!(without.steps.iter().any(|step| step.contains("no certificate")), "{without:?}");
    let wrong = node.office().test_login(&request("wrong", Some(&profile.device))).unwrap();
    assert!(wrong.steps.iter().any(|step| step.contains("wrong password")), "{wrong:?}");
}

/// In: fields that are none, and other people's. Out: refused with a code, and nothing changes.
#[test]
fn refusals_have_codes() {
    let folder = Folder::new("refusals");
    let node = Node::open(&folder, "rte01");
    let office = node.office();
    node.activate();
    office.configure(Some(plan()), 1);
    node.add("bob", &["simple"]);
    let revision = office.status().store_revision;
    let set =
        |name: &str, fields: UserFields| office.set_user(&UserChange { name: name.to_owned(), fields }, "t");
    let none = UserFields::default;
    let table = [
        (office.add_user(&UserRequest { name: "bob".into(), fields: none() }, "t"), Some(RefusalCode::Taken)),
        (
            office.add_user(&UserRequest { name: "a b\n".into(), fields: none() }, "t"),
            Some(RefusalCode::BadField),
        ),
        (
            set("bob", UserFields { groups: Some(vec!["nosuch".into()]), ..none() }),
            Some(RefusalCode::BadField),
        ),
        (set("bob", UserFields { ipv4: Some("10.0.0.300".into()), ..none() }), Some(RefusalCode::BadField)),
        (set("bob", UserFields { expires: Some("soon".into()), ..none() }), Some(RefusalCode::BadField)),
        (set("nobody", none()), None),
        (office.set_password("bob", &Secret::from("short"), "t"), Some(RefusalCode::WeakPassword)),
        (office.confirm_code("bob", "12345", "t"), Some(RefusalCode::WrongCode)),
        (office.revoke("0011223344556677", "key-compromise", "t"), None),
        (
            office.export(&ExportRequest { user: Some("bob".into()), ..Default::default() }, "t").map(drop),
            Some(RefusalCode::NoAuthority),
        ),
        (office.import_authority(b"nothing", "", "t").map(drop), Some(RefusalCode::NotImported)),
    ];
    for (place, (result, code)) in table.into_iter().enumerate() {
        let error = result.expect_err("refused");
        assert_eq!(code_of(&error), code, "{place}: {error}");
        assert_eq!(matches!(error, Error::NotFound(_)), code.is_none(), "{place}: {error}");
    }
    assert_eq!(office.status().store_revision, revision);
    // What is left out stays; the empty text takes away.
    set("bob", UserFields { ipv4: Some("10.90.0.9".into()), expires: Some("2040-01-01".into()), ..none() })
        .unwrap();
    let bob = office.users().remove(0);
    assert_eq!(
        (bob.ipv4.as_deref(), bob.expires.as_deref()),
        (Some("10.90.0.9"), Some("2040-01-01T00:00:00Z"))
    );
    set("bob", UserFields { ipv4: Some(String::new()), full_name: Some("Bob".into()), ..none() }).unwrap();
    let bob = office.users().remove(0);
    assert_eq!((bob.ipv4, bob.full_name.as_str(), bob.groups.len()), (None, "Bob", 1));
    assert!(bob.expires.is_some());
}
