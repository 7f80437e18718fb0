//! Commands against the document: what each does, what it refuses, and that a refusal changes nothing.

use std::collections::BTreeSet;

use proptest::prelude::*;
use ring::rand::SystemRandom;

use super::document::Fingerprint;
use super::*;
use crate::authority::{Authority, CLIENT_LIFE, DAY, Reason, Serial};
use crate::moment::Moment;
use crate::names::{DeviceId, UserName};
use crate::password::Hash;
use crate::totp::{Code, Seed, Step};

fn now() -> Moment {
    Moment::new(1_800_000_000)
}

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn done(store: &Store, command: Command) -> Store {
    let (next, event) = store.apply(now(), "admin", command).unwrap();
    assert_eq!((event.revision, event.by.as_str()), (store.revision() + 1, "admin"));
    let again = Store::read(&next.write()).unwrap();
    assert_eq!(again, next, "what is written is read");
    next
}

fn refused(store: &Store, command: Command) -> Refusal {
    store.apply(now(), "admin", command).unwrap_err()
}

fn with_alice() -> Store {
    let groups = ["agents".parse().unwrap()].into();
    done(&Store::default(), Command::AddUser(name("alice"), Account { groups, ..Account::default() }))
}

fn device(number: u8) -> DeviceId {
    DeviceId::new([number; 8])
}

fn add(id: DeviceId, user: &str, serial: &Serial, certificate: &[u8]) -> Command {
    Command::AddDevice {
        device: id,
        user: name(user),
        label: "portable".to_owned(),
        serial: serial.clone(),
        fingerprint: Fingerprint::of(certificate),
        until: now().plus(CLIENT_LIFE),
    }
}

#[test]
fn people_come_and_go() {
    let store = with_alice();
    assert_eq!(
        refused(&store, Command::AddUser(name("Alice"), Account::default())),
        Refusal::Exists("alice".into())
    );
    assert_eq!(refused(&store, Command::RemoveUser(name("bob"))), Refusal::Unknown("user bob".into()));
    let store = done(&store, Command::SetDisabled(name("alice"), true));
    assert!(store.users()[&name("alice")].is_shut_out(now()));
    let store = done(&store, Command::SetDisabled(name("alice"), false));
    let account = Account { expires: Some(now().plus(DAY)), ..Account::default() };
    let store = done(&store, Command::SetAccount(name("alice"), account));
    let alice = &store.users()[&name("alice")];
    assert!(!alice.is_shut_out(now()) && alice.is_shut_out(now().plus(DAY)));
    assert!(done(&store, Command::RemoveUser(name("alice"))).users().is_empty());
}

#[test]
fn addresses_and_networks_belong_to_one_person() {
    let store = with_alice();
    let fixed = Account {
        ipv4: Some([10, 8, 0, 7].into()),
        networks: ["192.168.77.0/24".parse().unwrap()].into(),
        ..Account::default()
    };
    let store = done(&store, Command::SetAccount(name("alice"), fixed.clone()));
    // Again for the same person is fine.
    let store = done(&store, Command::SetAccount(name("alice"), fixed.clone()));
    let error = refused(&store, Command::AddUser(name("bob"), fixed));
    assert_eq!(error, Refusal::Address { address: [10, 8, 0, 7].into(), owner: name("alice") });
    let wider = Account { networks: ["192.168.0.0/16".parse().unwrap()].into(), ..Account::default() };
    assert!(matches!(refused(&store, Command::AddUser(name("bob"), wider)), Refusal::Network { .. }));
    assert!(!store.users().contains_key(&name("bob")));
}

#[test]
fn a_source_elsewhere_keeps_no_password_here() {
    let store = with_alice();
    let hash = Hash::new(&"correct horse battery".into(), "alice", &SystemRandom::new()).unwrap();
    let store = done(&store, Command::SetPassword(name("alice"), Some(hash.clone())));
    assert_eq!(store.users()[&name("alice")].password_set, Some(now()));
    let elsewhere = Account { source: Source::Directory, ..Account::default() };
    let store = done(&store, Command::SetAccount(name("alice"), elsewhere));
    assert!(store.users()[&name("alice")].password.is_none());
    assert_eq!(
        refused(&store, Command::SetPassword(name("alice"), Some(hash))),
        Refusal::NotLocal(name("alice"))
    );
}

#[test]
fn a_code_counts_once_and_after_its_confirmation() {
    let store = with_alice();
    let seed = Seed::new(&SystemRandom::new()).unwrap();
    let store = done(&store, Command::EnrolTotp(name("alice"), seed.clone()));
    assert!(store.users()[&name("alice")].confirmed_totp().is_none());
    assert!(matches!(refused(&store, Command::UseTotp(name("alice"), Step::at(now()))), Refusal::Unknown(_)));
    let right = Code::parse(&seed.shows(now())).unwrap();
    let store = done(&store, Command::ConfirmTotp(name("alice"), right.clone()));
    assert_eq!(
        refused(&store, Command::ConfirmTotp(name("alice"), right)),
        Refusal::WrongCode,
        "used for the first"
    );
    assert_eq!(refused(&store, Command::UseTotp(name("alice"), Step::at(now()))), Refusal::UsedCode);
    let later = Step::at(now().plus(std::time::Duration::from_secs(30)));
    let store = done(&store, Command::UseTotp(name("alice"), later));
    assert_eq!(refused(&store, Command::UseTotp(name("alice"), later)), Refusal::UsedCode);
}

#[test]
fn a_revoked_device_is_on_the_list_at_once() {
    // In: a device with a certificate of ours, renewed, then revoked, then its owner removed. Out: each old certificate is on
    // the authority's list, and only those.
    let mut authority = Authority::create("Rempart", now(), &SystemRandom::new()).unwrap();
    let issue = |authority: &mut Authority, id| {
        authority.issue_client(&name("alice"), id, CLIENT_LIFE, now(), &SystemRandom::new()).unwrap()
    };
    let certificates: Vec<_> = (0..3).map(|_| issue(&mut authority, device(1))).collect();
    let store = done(&with_alice(), Command::AddAuthority(Box::new(authority.clone())));
    assert!(matches!(refused(&store, Command::AddAuthority(Box::new(authority))), Refusal::Exists(_)));
    let store = done(&store, add(device(1), "alice", &certificates[0].serial, &certificates[0].certificate));
    let twice = add(device(2), "alice", &certificates[0].serial, &certificates[0].certificate);
    assert_eq!(refused(&store, twice), Refusal::SameCertificate(device(1)));
    let revoked = |store: &Store| {
        let issued = store.issuing().unwrap().issued();
        certificates.iter().map(|one| issued[&one.serial].revoked.map(|why| why.reason)).collect::<Vec<_>>()
    };
    let renew = Command::RenewDevice {
        device: device(1),
        serial: certificates[1].serial.clone(),
        fingerprint: Fingerprint::of(&certificates[1].certificate),
        until: now().plus(CLIENT_LIFE),
    };
    let store = done(&store, renew);
    assert_eq!(revoked(&store), [Some(Reason::Superseded), None, None]);
    let store = done(&store, add(device(2), "alice", &certificates[2].serial, &certificates[2].certificate));
    let number = store.issuing().unwrap().list_number();
    let store = done(&store, Command::RevokeDevice(device(1), Reason::KeyCompromise));
    assert_eq!(store.issuing().unwrap().list_number(), number + 1);
    assert_eq!(revoked(&store), [Some(Reason::Superseded), Some(Reason::KeyCompromise), None]);
    assert_eq!(
        refused(&store, Command::RevokeDevice(device(1), Reason::Unspecified)),
        Refusal::Revoked(device(1))
    );
    let store = done(&store, Command::RemoveUser(name("alice")));
    assert_eq!(revoked(&store)[2], Some(Reason::PrivilegeWithdrawn));
    assert!(store.devices().is_empty());
}

#[test]
fn the_limits_hold() {
    let serial = |number: u8| Serial::new(&[1, number]).unwrap();
    let mut store = with_alice();
    for number in 0..MAX_DEVICES_EACH as u8 {
        store = done(&store, add(device(number), "alice", &serial(number), &[number]));
    }
    assert!(matches!(refused(&store, add(device(99), "alice", &serial(99), &[99])), Refusal::Full(_)));
    for label in ["", "a\nb", &"x".repeat(65)] {
        assert_eq!(refused(&store, Command::RenameDevice(device(0), label.to_owned())), Refusal::Label);
    }
    let groups: BTreeSet<_> = (0..33).map(|number| format!("g{number}").parse().unwrap()).collect();
    let many = Account { groups, ..Account::default() };
    assert!(matches!(refused(&store, Command::SetAccount(name("alice"), many)), Refusal::Full(_)));
}

#[test]
fn foreign_and_damaged_documents_are_refused_whole() {
    let good = String::from_utf8(with_alice().write().to_vec()).unwrap();
    assert!(matches!(
        Store::read(good.replace("\"version\":1", "\"version\":2").as_bytes()),
        Err(NotRead::Version(2))
    ));
    assert!(matches!(Store::read(good.replace("\"users\"", "\"people\"").as_bytes()), Err(NotRead::Form(_))));
    assert!(Store::read(good.replace("alice", "../alice").as_bytes()).is_err());
    let orphan = done(&with_alice(), add(device(1), "alice", &Serial::new(&[1]).unwrap(), &[1]));
    let orphan = String::from_utf8(orphan.write().to_vec()).unwrap();
    let orphan = orphan.replace("\"user\":\"alice\"", "\"user\":\"bob\"");
    assert!(matches!(Store::read(orphan.as_bytes()), Err(NotRead::Inconsistent(_))));
    assert!(matches!(Store::read(&vec![b' '; MAX_DOCUMENT + 1]), Err(NotRead::Large)));
}

#[test]
fn no_secret_is_shown() {
    let seed = Seed::new(&SystemRandom::new()).unwrap();
    let hash = Hash::new(&"correct horse battery".into(), "alice", &SystemRandom::new()).unwrap();
    let authority = Authority::create("Rempart", now(), &SystemRandom::new()).unwrap();
    let store = done(&with_alice(), Command::EnrolTotp(name("alice"), seed));
    let store = done(&store, Command::SetPassword(name("alice"), Some(hash)));
    let store = done(&store, Command::AddAuthority(Box::new(authority)));
    let shown = format!("{store:?}");
    assert!(!shown.contains("$argon2id$") && shown.contains("Hash(argon2id…)"));
    // The seed, the authority's key and its list are all dots.
    assert_eq!(shown.matches("Secret(…)").count(), 4, "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_order_of_commands_leaves_a_document_that_reads(steps in proptest::collection::vec((0..8_u8, 0..3_u8, 0..3_u8), 1..40)) {
        let mut store = Store::default();
        for (what, who, which) in steps {
            let user = name(["alice", "bob", "carol"][usize::from(who)]);
            let account = Account { ipv4: (which > 0).then(|| [10, 8, 0, which].into()), ..Account::default() };
            let serial = Serial::new(&[1, which]).unwrap();
            let command = match what {
                0 | 1 => Command::AddUser(user, account),
                2 => Command::SetAccount(user, account),
                3 => Command::RemoveUser(user),
                4 | 5 => add(device(which), user.as_str(), &serial, &[which]),
                6 => Command::RevokeDevice(device(which), Reason::Unspecified),
                _ => Command::SetDisabled(user, which == 0),
            };
            let before = store.clone();
            match store.apply(now(), "admin", command) {
                Ok((next, _)) => store = next,
                Err(_) => prop_assert_eq!(&before, &store),
            }
            prop_assert_eq!(&Store::read(&store.write()).unwrap(), &store);
        }
    }
}
