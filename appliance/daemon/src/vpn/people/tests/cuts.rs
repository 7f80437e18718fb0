//! Whose sessions end: a change, and what must be cut for it.

use rempart_identity::authority::Reason;
use rempart_identity::demand::Policy;

use super::super::cuts::{Standing, cuts, of_vouched};
use super::super::policy;
use super::*;
use crate::vpn::seam::CutOff;

fn of(before: &Store, policies: [&Policy; 2], change: impl Fn(&mut Store), later_s: u64) -> Vec<CutOff> {
    let mut after = before.clone();
    change(&mut after);
    let moment = now().plus(Duration::from_secs(later_s));
    cuts(
        Standing { store: before, policy: policies[0], now: now() },
        Standing { store: &after, policy: policies[1], now: moment },
    )
}

fn groups(name: &str, groups: &[&str]) -> CutOff {
    CutOff::Groups(user(name), groups.iter().map(|group| (*group).to_owned()).collect())
}

#[test]
fn every_way_out_cuts() {
    let world = world();
    let (policy, _) = policy::policy(&plan());
    let fewer = Policy {
        groups: policy
            .groups
            .iter()
            .filter(|(name, _)| name.as_str() != "simple")
            .map(|(n, d)| (n.clone(), *d))
            .collect(),
        ..policy.clone()
    };
    let print = |place: usize| Fingerprint::of(&world.devices[place].1);
    let store = &world.store;
    let same = [&policy, &policy];
    let change = |command: Command| move |store: &mut Store| apply(store, command.clone());
    // Nothing has changed; a code was used; a device has another label.
    assert_eq!(of(store, same, |_| {}, 0), []);
    assert_eq!(of(store, same, change(Command::RenameDevice(world.devices[0].0, "x".to_owned())), 0), []);
    // Out.
    assert_eq!(
        of(store, same, change(Command::SetDisabled(user("bob"), true)), 0),
        [CutOff::User(user("bob"))]
    );
    let removed = of(store, same, change(Command::RemoveUser(user("alice"))), 0);
    assert_eq!(removed, [CutOff::User(user("alice")), CutOff::Certificate(print(0))]);
    let revoked =
        of(store, same, change(Command::RevokeDevice(world.devices[1].0, Reason::KeyCompromise)), 0);
    assert_eq!(revoked, [CutOff::Certificate(print(1))]);
    let renewed = Command::RenewDevice {
        device: world.devices[0].0,
        serial: rempart_identity::authority::Serial::new(&[9]).unwrap(),
        fingerprint: Fingerprint::new([9; 32]),
        until: now().plus(CLIENT_LIFE),
    };
    assert_eq!(of(store, same, change(renewed), 0), [CutOff::Certificate(print(0))]);
    // Other groups; groups that are none of the VPN's do not count.
    let set = |name: &str, groups: &[&str], source| Command::SetAccount(user(name), account(groups, source));
    assert_eq!(of(store, same, change(set("bob", &["simple", "mail"], Source::Local)), 0), []);
    assert_eq!(
        of(store, same, change(set("bob", &["simple", "agents"], Source::Local)), 0),
        [groups("bob", &["agents", "simple"])]
    );
    assert_eq!(of(store, same, change(set("bob", &[], Source::Local)), 0), [groups("bob", &[])]);
    // What the directory adds is not known here: all of them end.
    assert_eq!(
        of(store, same, change(set("dora", &["simple"], Source::Directory)), 0),
        [CutOff::User(user("dora"))]
    );
    assert_eq!(
        of(store, same, change(set("bob", &["simple"], Source::Directory)), 0),
        [CutOff::User(user("bob"))]
    );
    // The document has one group less.
    assert_eq!(of(store, [&policy, &fewer], |_| {}, 0), [groups("bob", &[])]);
    // A stranger is a stranger no longer.
    let added = of(store, same, change(Command::AddUser(user("olga"), Account::default())), 0);
    assert_eq!(added, [CutOff::User(user("olga"))]);
    // The calendar: nothing is written, and yet somebody is out.
    let expiring =
        Account { expires: Some(now().plus(Duration::from_secs(60))), ..account(&["simple"], Source::Local) };
    let mut store = store.clone();
    apply(&mut store, Command::SetAccount(user("bob"), expiring));
    assert_eq!(of(&store, same, |_| {}, 59), []);
    assert_eq!(of(&store, same, |_| {}, 60), [CutOff::User(user("bob"))]);
    let year = CLIENT_LIFE.as_secs();
    let ended = of(&store, same, |_| {}, year);
    assert!((0..3).all(|place| ended.contains(&CutOff::Certificate(print(place)))), "{ended:?}");
}

#[test]
fn strangers_lose_what_the_document_takes_away() {
    let (policy, _) = policy::policy(&plan());
    let none = Policy::default();
    let (olga, of_olga) = (user("olga"), ["simple".parse().unwrap()].into());
    let (paul, of_paul) = (user("paul"), ["mail".parse().unwrap()].into());
    let known = || [(&olga, &of_olga), (&paul, &of_paul)].into_iter();
    assert_eq!(of_vouched(known(), &policy, &policy), []);
    assert_eq!(of_vouched(known(), &policy, &none), [CutOff::User(user("olga"))]);
}

/// In: groups of the document. Out: what the directory is asked for; one group there may stand for several here.
#[test]
fn groups_of_the_directory() {
    use rempart_plan::vpn::{Controller, DirectoryPlan};
    let mut plan = plan();
    plan.groups[1].directory_groups =
        vec!["vpn AGENTS".to_owned(), "CN=All,DC=datatel,DC=example".to_owned()];
    plan.groups[2].directory_groups.clear();
    let of = DirectoryPlan {
        domain: "datatel.example".to_owned(),
        controllers: vec![
            Controller {
                name: "dc1.datatel.example".to_owned(),
                addresses: vec!["192.0.2.11".parse().unwrap(), "192.0.2.12".parse().unwrap()],
                port: 636,
            },
            Controller { name: "dc2".to_owned(), addresses: vec!["192.0.2.13".parse().unwrap()], port: 389 },
        ],
        authority: "ad-ca".to_owned(),
    };
    let config = policy::directory(&of, &plan.groups, vec![vec![1]]);
    assert_eq!(config.base, "DC=datatel,DC=example");
    let addresses: Vec<String> = config.controllers.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.11:636", "192.0.2.12:636", "192.0.2.13:389"]);
    use rempart_identity::ldap::Protection;
    assert_eq!(config.controllers[2].protection, Protection::StartTls);
    let names: Vec<(String, Vec<String>)> = config
        .groups
        .iter()
        .map(|(name, groups)| (name.clone(), groups.iter().map(ToString::to_string).collect()))
        .collect();
    let both = vec!["agents".to_owned(), "simple".to_owned()];
    assert_eq!(
        names,
        [
            ("CN=All,DC=datatel,DC=example".to_owned(), vec!["simple".to_owned()]),
            ("VPN agents".to_owned(), both)
        ]
    );
}

/// In: a group that demands a code alone. Out: it is left out and complained about; the others stand.
#[test]
fn half_a_proof_is_none() {
    let mut plan = plan();
    plan.groups[1] = group("simple", "code");
    let (policy, complaints) = policy::policy(&plan);
    assert_eq!(policy.groups.len(), 2);
    assert_eq!(complaints.len(), 1);
}
