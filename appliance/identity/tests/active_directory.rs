//! Against a real domain controller: Samba, provisioned once, in a network namespace of this test.
//!
//! In: people who are right, wrong, disabled, expired, locked, or must change their password; groups within groups. Out: what the
//! login machine is to be told about each. Then controllers that are dead, silent, or not who they say.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use common::domain::{Domain, NEEDED, PASSWORD};
use common::{can_run, certified, in_a_namespace};
use rempart_identity::demand::DirectoryAnswer;
use rempart_identity::ldap::{Config, Controller, Directory, Protection};
use rempart_identity::secret::Secret;

fn controller(name: &str, address: &str, protection: Protection) -> Controller {
    Controller { name: name.to_owned(), address: address.parse::<SocketAddr>().unwrap(), protection }
}

fn config(authority: &[u8], controllers: &[Controller]) -> Config {
    let groups = [
        ("CN=VPN Agents,CN=Users,DC=corp,DC=example", "agents"),
        ("VPN Admins", "admins"),
        ("domain users", "everybody"),
    ];
    Config {
        controllers: controllers.to_vec(),
        authorities: vec![authority.to_vec()],
        domain: "corp.example".to_owned(),
        base: "DC=corp,DC=example".to_owned(),
        groups: groups.map(|(name, group)| (name.to_owned(), [group.parse().unwrap()].into())).into(),
        patience: Duration::from_secs(8),
    }
}

fn right(account: &str, groups: &[&str]) -> DirectoryAnswer {
    let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
    DirectoryAnswer::Right { account: account.parse().unwrap(), groups }
}

#[test]
fn a_real_domain_controller() {
    if can_run("Active Directory", &NEEDED) {
        in_a_namespace(run);
    }
}

fn run() {
    let directory = tempfile::tempdir().unwrap();
    let domain = Domain { path: directory.path() };
    domain.provision();
    let (authority, server) = certified(&["dc1.corp.example"]);
    let _samba = domain.serve(&server.certificate_pem(), &server.key_pem(), &authority.certificate_pem());
    let dc1 = controller("dc1.corp.example", "127.0.0.1:636", Protection::Ldaps);
    let asked = |controllers: &[Controller], name: &str, password: &str| {
        let directory = Directory::new(config(authority.certificate(), controllers)).unwrap();
        directory.ask(name, &Secret::from(password))
    };
    people(&|name, password| asked(std::slice::from_ref(&dc1), name, password));
    let start_tls = controller("dc1.corp.example", "127.0.0.1:389", Protection::StartTls);
    assert_eq!(asked(&[start_tls], "bob", PASSWORD), right("bob", &["everybody"]));
    fail_over(&dc1, &|controllers| asked(controllers, "bob", PASSWORD));

    // Another authority, and the right one with another name: the password is not sent.
    let (other, _) = certified(&["dc1.corp.example"]);
    let wrong = Directory::new(config(other.certificate(), std::slice::from_ref(&dc1))).unwrap();
    let unknown = |answer: &DirectoryAnswer, word: &str| matches!(answer, DirectoryAnswer::Unavailable(why) if why.contains(word));
    let answer = wrong.ask("bob", &Secret::from(PASSWORD));
    assert!(unknown(&answer, "TLS: invalid peer certificate"), "{answer:?}");
    let misnamed = controller("dc2.corp.example", "127.0.0.1:636", Protection::Ldaps);
    let answer = asked(&[misnamed], "bob", PASSWORD);
    assert!(unknown(&answer, "not valid for"), "{answer:?}");
}

fn people(ask: &dyn Fn(&str, &str) -> DirectoryAnswer) {
    // Every way to write the name; nested groups, and the primary group that stands in no list of members.
    for name in ["alice", "ALICE", "CORP\\alice", "alice@corp.example", "alice.martin@corp.example"] {
        assert_eq!(ask(name, PASSWORD), right("alice", &["agents", "everybody"]), "{name}");
    }
    assert_eq!(ask("bob", PASSWORD), right("bob", &["everybody"]));
    let wrong = |answer: DirectoryAnswer| assert!(matches!(answer, DirectoryAnswer::Wrong(_)), "{answer:?}");
    wrong(ask("bob", "wrong"));
    wrong(ask("bob", ""));
    wrong(ask("nobody", PASSWORD));
    wrong(ask("*", PASSWORD));
    wrong(ask("bob)(objectClass=*", PASSWORD));
    wrong(ask("dora", "wrong"));
    let account = |answer: DirectoryAnswer, word: &str| {
        assert!(matches!(&answer, DirectoryAnswer::Account(why) if why.contains(word)), "{answer:?}");
    };
    account(ask("dora", PASSWORD), "disabled");
    account(ask("eve", PASSWORD), "expired");
    let answer = ask("mia", PASSWORD);
    assert!(matches!(answer, DirectoryAnswer::MustChange(_)), "{answer:?}");
    for _ in 0..3 {
        wrong(ask("lou", "wrong"));
    }
    account(ask("lou", PASSWORD), "locked");
}

fn fail_over(alive: &Controller, ask: &dyn Fn(&[Controller]) -> DirectoryAnswer) {
    // Nobody listens on the first.
    let dead = controller("dc0.corp.example", "127.0.0.9:636", Protection::Ldaps);
    let start = Instant::now();
    assert_eq!(ask(&[dead.clone(), alive.clone()]), right("bob", &["everybody"]));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    // All dead: said so, with each one's reason.
    let answer = ask(&[dead.clone(), dead.clone()]);
    assert!(
        matches!(&answer, DirectoryAnswer::Unavailable(why) if why.matches("no connection").count() == 2),
        "{answer:?}"
    );
    // The first accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.8:636").unwrap();
    let mute = controller("dc0.corp.example", "127.0.0.8:636", Protection::Ldaps);
    let start = Instant::now();
    assert_eq!(ask(&[mute, alive.clone()]), right("bob", &["everybody"]));
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    drop(silent);
}
