//! People whose passwords are elsewhere: a real domain controller and a real RADIUS server, asked as the plan says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use rempart_daemon::vpn::seam::{LoginTicket, People as _, Verdict};
use rempart_openvpn::key_exchange::PeerInfo;
use rempart_openvpn::message::{Refusal, Submitted};
use rempart_openvpn::packet::KeyId;
use rempart_openvpn::session::{Credential, Login};
use rempart_plan::vpn::{Controller, DirectoryPlan, RadiusPlan, Strangers, VpnPlan};
use zeroize::Zeroizing;

use crate::servers::{can_run, certified, domain, freeradius, in_a_namespace};
use crate::{Node, group, plan};

fn here() -> SocketAddr {
    "127.0.0.1:1194".parse().unwrap()
}

fn login(name: &str, submitted: Submitted) -> Box<Login> {
    let peer_info = PeerInfo::parse("IV_PROTO=990\nIV_CIPHERS=AES-256-GCM\n");
    let features = peer_info.features().unwrap();
    Box::new(Login {
        key_id: KeyId::FIRST,
        renewal: false,
        user: name.to_owned(),
        credential: Credential::Submitted(submitted),
        certificates: Vec::new(),
        peer_info,
        features,
    })
}

/// The groups of whoever comes in; the refusal of whoever does not.
fn ask(node: &Node, name: &str, submitted: Submitted) -> Result<String, Verdict> {
    static TICKETS: AtomicU64 = AtomicU64::new(1);
    let ticket = LoginTicket(TICKETS.fetch_add(1, Ordering::Relaxed));
    node.registry.begin(ticket, "198.51.100.7:40000".parse().unwrap(), login(name, submitted));
    match node.verdict() {
        (told, Verdict::Accepted { admission, .. }) => {
            assert_eq!(told, ticket);
            let groups: Vec<String> = admission.groups.iter().map(ToString::to_string).collect();
            Ok(format!("{}: {}", admission.user, groups.join(" ")))
        }
        (_, other) => Err(other),
    }
}

fn password(text: &str) -> Submitted {
    Submitted::Password(Zeroizing::new(text.to_owned()))
}

/// In: people of Active Directory who are not in the store. Out: in by the groups that the document maps, nested ones too; told no
/// more than "no" otherwise; and "later" when no controller answers.
#[test]
fn active_directory_as_the_plan_says() {
    if can_run("Active Directory", &domain::NEEDED) {
        in_a_namespace(directory);
    }
}

fn directory() {
    let (samba, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let domain = domain::Domain { path: samba.path() };
    domain.provision();
    let (authority, server) = certified(&["dc1.corp.example"]);
    let served = domain.serve(&server.certificate_pem(), &server.key_pem(), &authority.certificate_pem());
    std::fs::create_dir_all(state.path().join("secrets")).unwrap();
    std::fs::write(state.path().join("secrets/ad-ca"), authority.certificate_pem()).unwrap();
    let node = Node::open(state.path());
    let groups = vec![
        group("agents", "password", &["VPN Agents"]),
        group("officers", "password", &["cn=vpn agents,cn=users,dc=corp,dc=example"]),
        group("chiefs", "password", &["VPN Admins"]),
    ];
    let controller = |name: &str, address: [u8; 4]| Controller {
        name: name.to_owned(),
        addresses: vec![address.into()],
        port: 636,
    };
    let plan = VpnPlan {
        strangers: Some(Strangers::Directory),
        directory: Some(DirectoryPlan {
            domain: "corp.example".to_owned(),
            // Nobody listens on the first.
            controllers: vec![
                controller("dc0.corp.example", [127, 0, 0, 9]),
                controller("dc1.corp.example", [127, 0, 0, 1]),
            ],
            authority: "ad-ca".to_owned(),
        }),
        ..plan(here(), groups)
    };
    node.registry.office().configure(Some(plan), 1);
    assert_eq!(node.registry.office().status().warnings.len(), 1, "no authority yet, and nothing else");
    assert_eq!(ask(&node, "alice", password(domain::PASSWORD)).unwrap(), "alice: agents officers");
    assert_eq!(ask(&node, "CORP\\Alice", password(domain::PASSWORD)).unwrap(), "alice: agents officers");
    let failed = |verdict: Verdict| match verdict {
        Verdict::Refused(refusal) => matches!(*refusal, Refusal::Failed(_)),
        Verdict::Accepted { .. } | Verdict::Question { .. } => false,
    };
    for (name, given) in [("bob", domain::PASSWORD), ("dora", domain::PASSWORD), ("alice", "wrong")] {
        assert!(failed(ask(&node, name, password(given)).unwrap_err()), "{name}");
    }
    drop(served);
    let Err(Verdict::Refused(refusal)) = ask(&node, "alice", password(domain::PASSWORD)) else {
        panic!("refused")
    };
    assert!(matches!(*refusal, Refusal::Temporary { .. }), "{refusal:?}");
}

/// In: people of RADIUS. Out: in by the groups that it names, or by the plan's; a question of the server reaches the person, and
/// the answer it.
#[test]
fn radius_as_the_plan_says() {
    if can_run("RADIUS", &["/usr/sbin/freeradius"]) {
        in_a_namespace(radius);
    }
}

fn radius() {
    let (files, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _server = freeradius::serve(files.path());
    std::fs::create_dir_all(state.path().join("secrets")).unwrap();
    std::fs::write(state.path().join("secrets/nps"), format!("{}\n", freeradius::SECRET)).unwrap();
    let node = Node::open(state.path());
    let groups = ["vpn-agents", "vpn-admins", "others"].map(|name| group(name, "password", &[]));
    let plan = VpnPlan {
        strangers: Some(Strangers::Radius),
        radius: Some(RadiusPlan {
            servers: vec!["127.0.0.1:1812".parse().unwrap()],
            secret: "nps".to_owned(),
            source: Some([127, 0, 0, 5].into()),
            group: Some("others".to_owned()),
        }),
        ..plan(here(), groups.into())
    };
    node.registry.office().configure(Some(plan), 1);
    assert_eq!(ask(&node, "alice", password(freeradius::PASSWORD)).unwrap(), "alice: vpn-admins vpn-agents");
    assert!(ask(&node, "alice", password("wrong")).is_err());
    let Err(Verdict::Question { text, refusal }) = ask(&node, "carol", password("first factor")) else {
        panic!("a question")
    };
    assert_eq!(text, "Code?");
    let Refusal::Challenge { state, user, .. } = *refusal else { panic!("a challenge") };
    assert_eq!(user, "carol");
    let answer = Submitted::Answer { state, answer: Zeroizing::new("424242".to_owned()) };
    assert_eq!(ask(&node, "carol", answer).unwrap(), "carol: others");
}
