//! The machine without a network: what it does with sessions of another node, with plans and with people.

use std::sync::Mutex;

use rempart_openvpn::data::epoch::{Epoch, EpochBook, Parity, Persisted, Record, StoreId};
use rempart_openvpn::packet::KeyId;
use rempart_openvpn::session::Login;
use rempart_plan::vpn::{CertificatePlan, GroupPlan};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use zeroize::Zeroizing;

use super::value::tests::value;
use super::*;
use crate::vpn::seam::{CutOff, Kind, Sessions, Whom};

pub fn plan() -> VpnPlan {
    let group = GroupPlan {
        name: "agents".to_owned(),
        pool4: Some("10.8.0.0/16".parse().unwrap()),
        pool6: None,
        certificate: true,
        password: true,
        code: true,
        full_tunnel: true,
        routes: Vec::new(),
        dns: vec!["10.20.0.9".parse().unwrap()],
        domain: None,
        search: Vec::new(),
        max_sessions: None,
        sessions_each: 1,
        session_limit_s: None,
        directory_groups: Vec::new(),
    };
    VpnPlan {
        node: "rte01".to_owned(),
        index: 0,
        peer: None,
        device: "vpn0".to_owned(),
        kernel_device: None,
        udp: vec!["192.0.2.9:1194".parse().unwrap(), "192.0.2.1:1194".parse().unwrap()],
        tcp: vec!["192.0.2.1:443".parse().unwrap()],
        remotes: Vec::new(),
        mtu: 1500,
        max_sessions: 10,
        rekey_s: 3600,
        idle_s: 120,
        tls12: true,
        groups: vec![group],
        strangers: None,
        directory: None,
        radius: None,
        certificates: CertificatePlan { organisation: String::new(), device_days: 365, warn_days: 30 },
    }
}

struct Nobody;

impl People for Nobody {
    fn begin(&self, _: LoginTicket, _: SocketAddr, _: Box<Login>) {}
    fn answer(&self, _: LoginTicket, _: Zeroizing<String>) {}
    fn forget(&self, _: LoginTicket) {}
}

/// What was put and taken away.
#[derive(Default)]
struct Noted(Mutex<Vec<(bool, u32)>>, Mutex<Vec<u64>>);

impl Noted {
    fn note(&self, there: bool, key: &[u8]) {
        self.0.lock().unwrap().push((there, u32::from_be_bytes(key.try_into().unwrap())));
    }

    fn take(&self) -> Vec<(bool, u32)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Replica for Noted {
    fn put(&self, _: Kind, key: &[u8], value: Zeroizing<Vec<u8>>) -> ReplicaTicket {
        assert!(value::Value::decode(&value).is_ok());
        self.note(true, key);
        ReplicaTicket(0)
    }

    fn remove(&self, _: Kind, key: &[u8]) {
        self.note(false, key);
    }

    fn prepared(&self, number: u64) {
        self.1.lock().unwrap().push(number);
    }
}

fn material() -> Box<Material> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    Box::new(Material {
        chain: vec![certificate.der().clone()],
        key: rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        clients,
        wrapping: Zeroizing::new(vec![1; 128]),
        shared: None,
        token: Zeroizing::new(vec![2; 32]),
    })
}

struct Bed {
    machine: Machine,
    replica: Arc<Noted>,
    book: EpochBook,
    now: Now,
}

impl Bed {
    fn new() -> Self {
        let replica = Arc::new(Noted::default());
        let mut counter = 0_u8;
        let random = move || {
            counter = counter.wrapping_add(1);
            [counter; 32]
        };
        let machine = Machine::new(Surroundings {
            people: Arc::new(Nobody),
            replica: replica.clone(),
            random: Box::new(random),
        });
        // The other node's keys know this store as the odd one.
        let record = Record { store: StoreId::new([2; 16]), highest: Epoch::new(2) };
        let now = Now { instant: Instant::now(), unix_s: 2_000 };
        Self { machine, replica, book: EpochBook::new(Parity::Odd, record), now }
    }

    fn ready() -> Self {
        let mut bed = Self::new();
        bed.machine.handle_people(bed.now, FromPeople::Material(material()));
        bed.machine.configure(bed.now, plan());
        bed
    }

    fn draw(&mut self) -> Box<Persisted<TakeOverEpoch>> {
        Box::new(self.book.claim().unwrap().persist(|_| Ok::<(), ()>(())).unwrap())
    }

    fn make_ready(&mut self, number: u64, sessions: &[value::Value]) {
        let (reign, sessions) = (self.draw(), held(sessions));
        self.machine.handle_replica(self.now, FromReplica::MakeReady { number, reign, sessions });
    }

    fn take_up(&mut self, sessions: &[value::Value]) {
        self.machine.handle_replica(self.now, FromReplica::TakeUp { peer: None, sessions: held(sessions) });
    }

    fn activate(&mut self, sessions: &[value::Value]) {
        let (reign, sessions) = (self.draw(), held(sessions));
        self.machine.handle_replica(self.now, FromReplica::Active { reign, peer: None, sessions });
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.machine.poll_action()).collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_s += time.as_secs();
        self.machine.handle_timeout(self.now);
    }
}

fn held(sessions: &[value::Value]) -> Sessions {
    let key = |value: &value::Value| value.snapshot.peer_id.to_be_bytes().to_vec();
    sessions.iter().map(|value| (key(value), value.encode())).collect()
}

fn sessions(count: u32) -> Vec<value::Value> {
    (1..=count)
        .map(|peer| {
            let mut value = value(peer);
            value.grant.inner.v6 = None;
            value.grant.networks.clear();
            value.grant.device = None;
            value.grant.user = format!("user{peer}").parse().unwrap();
            value
        })
        .collect()
}

fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Send(..) => "send".to_owned(),
        Action::Data(Data::Add { peer, path, echo, .. }) => {
            format!("add {} at {} echo {}", peer.get(), path.local, echo.is_some())
        }
        Action::Data(Data::Remove(peer)) => format!("remove {}", peer.get()),
        Action::Data(Data::FreshKey { peer, .. }) => format!("fresh key {}", peer.get()),
        Action::Data(Data::KeptKey { peer, sealer, .. }) => {
            format!("key {} seals {}", peer.get(), sealer.is_some())
        }
        Action::Data(Data::RemoveKey(peer, _)) => format!("remove key {}", peer.get()),
        Action::Data(Data::Move(peer, path)) => format!("move {} to {}", peer.get(), path.local),
        Action::Data(Data::Ping(peer)) => format!("ping {}", peer.get()),
        Action::Data(Data::Report) => "report".to_owned(),
        Action::Reachable(networks) => format!("reachable {}", networks.len()),
        Action::Unreachable { networks, forget } => format!("unreachable {} forget {forget}", networks.len()),
        Action::Trust(_) => "trust".to_owned(),
        Action::HangUp(_) => "hang up".to_owned(),
        Action::HangUpAll => "hang up all".to_owned(),
        Action::Settle(number) => format!("settle {number}"),
    };
    actions.iter().map(word).collect()
}

/// In: two sessions of the other node. Out: what is reachable first, then each with its keys, and a ping. The key whose
/// maker did not know our store opens only.
#[test]
fn sessions_are_carried_on_with_traffic_first() {
    let mut bed = Bed::ready();
    let mut two = sessions(2);
    two[1].keys[1].origin.stores = [None, None];
    bed.activate(&two);
    let expected = [
        "reachable 2",
        "add 1 at 1 echo true",
        "key 1 seals true",
        "key 1 seals true",
        "add 2 at 1 echo true",
        "key 2 seals true",
        "key 2 seals false",
        "ping 1",
        "ping 2",
    ];
    assert_eq!(words(&bed.actions()), expected);
    let status = bed.machine.status();
    assert_eq!((status.sessions.len(), status.counters.carried_on, status.counters.lost), (2, 2, 0));
    assert_eq!(status.sessions[0].bytes_in, 1 << 40);
    assert_eq!(bed.replica.take(), []);
    // The one that cannot be sent to gets its new key first; then the other.
    bed.pass(Duration::from_secs(1));
    let renewed = |actions: Vec<Action>| -> Vec<SocketAddr> {
        let paths = actions.into_iter().filter_map(|action| match action {
            Action::Send(path, _) => Some(path.remote),
            _ => None,
        });
        paths.collect()
    };
    assert_eq!(renewed(bed.actions()), [two[1].snapshot.client]);
    bed.pass(Duration::from_millis(20));
    assert_eq!(renewed(bed.actions()), [two[0].snapshot.client]);
}

/// In: active before there is a certificate and a plan. Out: nothing, until there is both.
#[test]
fn nobody_is_served_before_everything_is_there() {
    let mut bed = Bed::new();
    bed.activate(&sessions(1));
    assert!(bed.actions().is_empty() && !bed.machine.serves());
    bed.machine.configure(bed.now, plan());
    assert!(bed.actions().is_empty() && !bed.machine.serves());
    bed.machine.handle_people(bed.now, FromPeople::Material(material()));
    assert_eq!(words(&bed.actions())[0], "reachable 1");
    assert!(bed.machine.serves());
}

/// In: the other node heard of after the role, before this one can serve; later the same one again, then another in its place. Out:
/// it is known from the first key on; with another one every session gets a new key, which names it.
#[test]
fn the_other_node_is_known_from_the_first_key_on() {
    let mut bed = Bed::new();
    bed.activate(&sessions(2));
    let [first, second] = [1, 3].map(|byte| Some(StoreId::new([byte; 16])));
    bed.machine.handle_replica(bed.now, FromReplica::Peer(first));
    bed.machine.handle_people(bed.now, FromPeople::Material(material()));
    bed.machine.configure(bed.now, plan());
    assert!(bed.machine.reign.is_some() && bed.machine.other == first);
    // The renewals after a take-over, one at a time.
    (0..3).for_each(|_| bed.pass(Duration::from_secs(2)));
    assert!(bed.machine.renewals.next().is_none());
    bed.machine.handle_replica(bed.now, FromReplica::Peer(first));
    assert!(bed.machine.renewals.next().is_none());
    bed.machine.handle_replica(bed.now, FromReplica::Peer(second));
    assert_eq!(bed.machine.renewals.waiting(), 2);
}

/// What cannot be carried on is taken away on both nodes, and does not keep the others.
#[test]
fn what_cannot_be_carried_on_is_dropped() {
    let mut bed = Bed::ready();
    let mut five = sessions(5);
    five[0].snapshot.tcp = true;
    five[1].grant.group = "others".to_owned();
    five[2].grant.inner = five[3].grant.inner;
    bed.activate(&five);
    let status = bed.machine.status();
    let peers: Vec<u32> = status.sessions.iter().map(|session| session.id).collect();
    assert_eq!(peers, [3, 5], "the fourth has the third one's address");
    assert_eq!(bed.replica.take(), [(false, 1), (false, 2), (false, 4)]);
    assert_eq!(status.counters.lost, 3);
}

/// Standby: after a moment everything leaves the data path, nothing is taken from the other node, and active again works.
#[test]
fn a_standby_sends_nothing_and_removes_nothing() {
    let mut bed = Bed::ready();
    bed.activate(&sessions(2));
    bed.actions();
    bed.machine.handle_replica(bed.now, FromReplica::Standby);
    assert_eq!(words(&bed.actions()), ["hang up all"], "what is under way goes on");
    assert!(bed.machine.status().sessions.is_empty() && !bed.machine.serves());
    bed.pass(Duration::from_millis(249));
    assert!(bed.actions().is_empty());
    bed.pass(Duration::from_millis(1));
    let gone = ["remove 1", "remove 2", "unreachable 2 forget false"];
    assert_eq!(words(&bed.actions()), gone);
    assert_eq!(bed.machine.poll_timeout(), None);
    assert_eq!(bed.replica.take(), []);
    bed.activate(&sessions(2));
    assert_eq!(bed.machine.status().sessions.len(), 2);
}

/// What still passes on a standby is stopped by whatever may concern it: somebody cut off, another plan, none, the next role.
#[test]
fn nothing_lingers_that_must_not() {
    type Stop = fn(&mut Bed);
    let stops: [Stop; 4] = [
        |bed| bed.machine.handle_people(bed.now, FromPeople::Cut(CutOff::User("nobody".parse().unwrap()))),
        |bed| bed.machine.dismiss(bed.now),
        |bed| bed.activate(&[]),
        |bed| bed.make_ready(1, &[]),
    ];
    for stop in stops {
        let mut bed = Bed::ready();
        bed.activate(&sessions(1));
        bed.machine.handle_replica(bed.now, FromReplica::Standby);
        bed.actions();
        stop(&mut bed);
        let said = words(&bed.actions());
        assert_eq!(said[..2], ["remove 1", "unreachable 1 forget false"], "{said:?}");
    }
}

/// In: a planned move; until it comes, one session gets a new key, another one ends and a third one begins. Out: everything is in the
/// data path before, and said to be; when the role comes only the difference, and nothing is sent.
#[test]
fn a_planned_move_is_made_ready() {
    let mut bed = Bed::ready();
    let mut three = sessions(3);
    let whole = three[0].clone();
    three[0].snapshot.keys.truncate(1);
    three[0].keys.truncate(1);
    bed.make_ready(7, &three[..2]);
    let ready = [
        "reachable 2",
        "add 1 at 1 echo false",
        "key 1 seals true",
        "add 2 at 1 echo true",
        "key 2 seals true",
        "key 2 seals true",
        "settle 7",
    ];
    assert_eq!(words(&bed.actions()), ready);
    assert!(!bed.machine.serves() && bed.machine.status().sessions.is_empty());
    assert!(bed.replica.1.lock().unwrap().is_empty());
    bed.machine.handle_settled(7);
    assert_eq!(*bed.replica.1.lock().unwrap(), [7]);
    bed.take_up(&[whole.clone(), three[2].clone()]);
    let difference = [
        "remove 2",
        "unreachable 1 forget false",
        "key 1 seals true",
        "reachable 1",
        "add 3 at 1 echo true",
        "key 3 seals true",
        "key 3 seals true",
    ];
    assert_eq!(words(&bed.actions()), difference);
    let peers: Vec<u32> = bed.machine.status().sessions.iter().map(|session| session.id).collect();
    assert_eq!((peers, bed.machine.serves()), (vec![1, 3], true));
    assert_eq!(bed.replica.take(), []);
    // What is put from now on has both keys of the first one.
    bed.machine.handle_replica(bed.now, FromReplica::Standby);
    bed.make_ready(8, &[whole]);
    assert_eq!(words(&bed.actions()).iter().filter(|word| *word == "key 1 seals true").count(), 2);
}

/// In: moves of which nothing comes: given up; overtaken by another epoch; the plan changed in between. Out: nothing is left; carried on
/// in the other epoch; laid anew, mute until the keys are renewed, which is at once.
#[test]
fn what_was_made_ready_in_vain_goes() {
    let gone = ["remove 1", "unreachable 1 forget false"];
    let mut bed = Bed::ready();
    bed.make_ready(1, &sessions(1));
    bed.actions();
    bed.machine.handle_replica(bed.now, FromReplica::GiveUp);
    assert_eq!(words(&bed.actions()), gone);
    assert_eq!(bed.machine.poll_timeout(), None);
    bed.make_ready(2, &sessions(1));
    bed.actions();
    bed.activate(&sessions(1));
    let said = words(&bed.actions());
    assert_eq!(said[..2], gone);
    assert_eq!(said.iter().filter(|word| *word == "key 1 seals true").count(), 2, "{said:?}");

    let mut bed = Bed::ready();
    bed.make_ready(3, &sessions(1));
    bed.actions();
    let mut other = plan();
    other.udp.reverse();
    bed.machine.configure(bed.now, other);
    assert_eq!(words(&bed.actions()), gone);
    bed.take_up(&sessions(1));
    let said = words(&bed.actions());
    assert_eq!(said.iter().filter(|word| *word == "key 1 seals false").count(), 2, "{said:?}");
    bed.pass(Duration::ZERO);
    assert_eq!(words(&bed.actions()), ["send"]);
}

/// In: sessions whose keys change ids between the two. Out: a key is known by what it is, not by its number.
#[test]
fn a_key_is_known_by_what_it_is() {
    let mut bed = Bed::ready();
    let before = sessions(1);
    bed.make_ready(1, &before);
    bed.actions();
    let mut after = before.clone();
    let third = KeyId::new(2).unwrap();
    after[0].snapshot.keys.remove(0);
    after[0].keys.remove(0);
    let mut key = after[0].snapshot.keys[0].clone();
    key.keys.key_id = third;
    key.keys.seal.key = [77; 32];
    after[0].snapshot.keys.push(key);
    let mut known = after[0].keys[0];
    known.id = third;
    after[0].keys.push(known);
    bed.take_up(&after);
    assert_eq!(words(&bed.actions()), ["key 1 seals true", "remove key 1"]);
}

/// A node that is told twice in a row that it is active begins again from what is held.
#[test]
fn active_twice_begins_anew() {
    let mut bed = Bed::ready();
    bed.activate(&sessions(2));
    bed.actions();
    bed.activate(&sessions(1));
    assert_eq!(bed.machine.status().sessions.len(), 1);
    assert_eq!(words(&bed.actions())[..3], ["hang up all", "remove 1", "remove 2"]);
}

/// Every way to end sessions, and whom it meets. (user, certificate, groups, device are the same in all but the name.)
#[test]
fn the_right_ones_are_cut_off() {
    let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let user = |number: u32| format!("user{number}").parse().unwrap();
    let cuts = [
        (CutOff::User(user(2)), 1),
        (CutOff::User(user(9)), 0),
        (CutOff::Certificate(rempart_identity::store::Fingerprint::new([6; 32])), 3),
        (CutOff::Certificate(rempart_identity::store::Fingerprint::new([7; 32])), 0),
        (CutOff::Groups(user(1), groups(&["admins", "agents"])), 0),
        (CutOff::Groups(user(1), groups(&["agents"])), 1),
    ];
    for (cut, ended) in cuts {
        let mut bed = Bed::ready();
        bed.activate(&sessions(3));
        bed.actions();
        bed.machine.handle_people(bed.now, FromPeople::Cut(cut.clone()));
        let said = words(&bed.actions());
        let removed = said.iter().filter(|word| word.starts_with("remove")).count();
        assert_eq!(removed, ended, "{cut:?}: {said:?}");
        assert_eq!(bed.replica.take().len(), ended);
        assert_eq!(bed.machine.status().sessions.len(), 3 - ended);
    }
    let whom = [(Whom::Everybody, 3), (Whom::Session(2), 1), (Whom::Session(7), 0), (Whom::User(user(3)), 1)];
    for (whom, ended) in whom {
        let mut bed = Bed::ready();
        bed.activate(&sessions(3));
        assert_eq!(bed.machine.disconnect(bed.now, &whom), ended, "{whom:?}");
    }
}

/// Another plan: sockets have other numbers, an address that is gone ends its sessions, so does a pool, and a group.
#[test]
fn a_plan_moves_and_ends_only_what_it_must() {
    let with = |change: fn(&mut VpnPlan)| {
        let mut bed = Bed::ready();
        bed.activate(&sessions(1));
        bed.actions();
        let mut plan = plan();
        change(&mut plan);
        bed.machine.configure(bed.now, plan);
        words(&bed.actions())
    };
    assert!(with(|plan| plan.rekey_s = 100).is_empty());
    assert_eq!(with(|plan| plan.udp.reverse()), ["move 1 to 0"]);
    let ended = ["remove 1", "unreachable 1 forget true"];
    assert_eq!(with(|plan| plan.udp.truncate(1)), ended);
    assert_eq!(with(|plan| plan.groups[0].pool4 = Some("10.9.0.0/16".parse().unwrap())), ended);
    assert_eq!(with(|plan| plan.groups.clear()), ended);
    assert!(with(|plan| plan.groups[0].pool4 = Some("10.0.0.0/8".parse().unwrap())).is_empty());
}

/// A client that moves: followed, told to the other node at once, but not to where somebody else is.
#[test]
fn a_move_is_followed_but_not_onto_others() {
    let mut bed = Bed::ready();
    let mut two = sessions(2);
    two[1].snapshot.identity.user = "bob".to_owned();
    bed.activate(&two);
    bed.actions();
    let peer = PeerId::new(1).unwrap();
    let place = |remote| Path { local: 1, remote };
    let taken = Event::Moved { peer, path: place(two[1].snapshot.client) };
    bed.machine.handle_event(bed.now, taken);
    assert!(bed.actions().is_empty());
    let free = place("203.0.113.5:5".parse().unwrap());
    bed.machine.handle_event(bed.now, Event::Moved { peer, path: free });
    assert_eq!(words(&bed.actions()), ["move 1 to 1"]);
    assert_eq!(bed.replica.take(), [(true, 1)]);
    assert_eq!(bed.machine.status().sessions[0].from, free.remote);
}

/// Quiet sessions are pinged, heard ones stay, silent ones end; what is counted goes to the other node.
#[test]
fn reports_ping_keep_and_end() {
    use rempart_openvpn::data::inbound::{Drops, Received};
    use rempart_openvpn::data::outbound::Sent;
    use rempart_tunnel::Half;
    let mut bed = Bed::ready();
    bed.activate(&sessions(2));
    bed.actions();
    let peers = [1, 2].map(|peer| PeerId::new(peer).unwrap());
    for turn in 1..=30_u64 {
        bed.pass(Duration::from_secs(5));
        assert!(words(&bed.actions()).contains(&"report".to_owned()) || turn > 24);
        let sent = peers.map(|peer| (peer, Sent { packets: turn / 2, bytes: turn, unsealed: 0 }));
        bed.machine.handle_event(bed.now, Event::Report(Half::Out(sent.to_vec())));
        let pings = words(&bed.actions()).iter().filter(|word| word.starts_with("ping")).count();
        let up = bed.machine.status().sessions.len();
        assert_eq!(pings, if turn % 2 == 1 { up } else { 0 }, "in turn {turn}");
        // Only the first one is heard.
        let received = Received { packets: turn, bytes: turn * 10 };
        let half = Half::In(vec![(peers[0], received, Vec::new())], Drops::default());
        bed.machine.handle_event(bed.now, Event::Report(half));
    }
    let status = bed.machine.status();
    assert_eq!(status.sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [1]);
    assert_eq!(status.sessions[0].bytes_in, (1 << 40) + 300);
    assert!(bed.replica.take().contains(&(true, 1)));
}

/// Packets of nobody come to nothing, whatever is in them; on a stream they end it.
#[test]
fn nonsense_makes_no_session() {
    let mut bed = Bed::ready();
    bed.activate(&[]);
    bed.actions();
    let remote: SocketAddr = "203.0.113.5:5".parse().unwrap();
    for length in 0..80 {
        for first in 0..=u8::MAX {
            let packet = vec![first; length];
            bed.machine.handle_control(bed.now, Path { local: 0, remote }, &packet);
        }
    }
    assert!(bed.actions().is_empty());
    bed.machine.handle_control(bed.now, Path { local: rempart_tunnel::STREAM, remote }, &[0; 40]);
    assert_eq!(words(&bed.actions()), ["hang up"]);
    assert_eq!(bed.machine.status().counters.strays, 80 * 256 + 1);
}
