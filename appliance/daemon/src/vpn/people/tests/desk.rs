//! Logins at the desk: each says what is shown, and what must come out.

use std::net::SocketAddr;

use rempart_identity::demand::{DirectoryAnswer, Language};
use rempart_identity::moment::Moment;
use rempart_identity::store::Command;
use rempart_openvpn::message::Refusal;

use super::super::desk::{Desk, Judged, Limits, Outcome, Step};
use super::super::policy;
use super::*;
use crate::vpn::seam::{LoginTicket, Verdict};

fn desk(world: &World) -> Desk {
    let mut desk = Desk::new(world.store.clone(), Language::English);
    let (policy, complaints) = policy::policy(&plan());
    assert!(complaints.is_empty());
    desk.policy = policy;
    let sessions = [("short".parse().unwrap(), Duration::from_secs(600))].into();
    desk.limits = Limits { rekey: Duration::from_secs(3600), sessions };
    desk
}

fn home() -> SocketAddr {
    "198.51.100.7:40000".parse().unwrap()
}

/// Everything that a step asks for until somebody is told; the directory knows dora and olga, and puts them into `simple`.
fn settle(desk: &mut Desk, turn: Turn, mut step: Step) -> Judged {
    loop {
        step = match step {
            Step::Tell(judged) => return *judged,
            Step::Keep(keep) => return keep.answer,
            Step::Hash(running, check) => {
                let right = check.run();
                desk.local(turn, running, right)
            }
            Step::Directory(running, name, password) => {
                let answer = if password.expose_str() == Some(PASSWORD) {
                    let groups = ["simple".parse().unwrap()].into();
                    DirectoryAnswer::Right { account: name.to_lowercase().parse().unwrap(), groups }
                } else {
                    DirectoryAnswer::Wrong("data 52e".to_owned())
                };
                desk.directory(turn, running, answer)
            }
            Step::Radius(..) => panic!("nobody is asked by RADIUS here"),
        }
    }
}

fn begin(desk: &mut Desk, turn: Turn, login: Login) -> Judged {
    let step = desk.begin(turn, LoginTicket(1), home(), login);
    settle(desk, turn, step)
}

fn accepted(judged: &Judged) -> bool {
    matches!(judged.verdict, Verdict::Accepted { .. })
}

/// In: what people show. Out: who comes in.
#[test]
fn who_comes_in() {
    let world = world();
    let [(_, alice), (_, sue), (_, dora)] = &world.devices[..] else { panic!("three devices") };
    let begin_at = Instant::now();
    // A minute later: the code that confirmed the application is used.
    let turn = at(60, begin_at);
    let fresh = code(turn.moment);
    let table = [
        ("all three", login("alice", with_code(PASSWORD, &fresh), Some(alice)), true),
        (
            "code after the password",
            login("alice", password(&format!("{PASSWORD}{fresh}")), Some(alice)),
            true,
        ),
        ("wrong code", login("alice", with_code(PASSWORD, "000000"), Some(alice)), false),
        ("no certificate", login("alice", with_code(PASSWORD, &fresh), None), false),
        ("somebody else's certificate", login("alice", with_code(PASSWORD, &fresh), Some(sue)), false),
        ("password alone", login("bob", password(PASSWORD), None), true),
        ("wrong password", login("bob", password("wrong"), None), false),
        ("nothing", login("bob", Credential::Submitted(Submitted::Nothing), None), false),
        ("certificate and password", login("sue", password(PASSWORD), Some(sue)), true),
        ("of the directory, in the store", login("dora", password(PASSWORD), Some(dora)), true),
        ("of the directory, a stranger", login("olga", password(PASSWORD), None), true),
        ("of the directory, wrong", login("olga", password("wrong"), None), false),
        ("nobody", login("mallory", password("wrong"), None), false),
    ];
    for (what, login, good) in table {
        let mut desk = desk(&world);
        let judged = begin(&mut desk, turn, login);
        assert_eq!(accepted(&judged), good, "{what}: {:?}", judged.note.outcome);
    }
}

/// In: no code. Out: a question; the answer on the same connection, or by coming again, lets in, once.
#[test]
fn a_missing_code_is_asked_for() {
    let world = world();
    let alice = &world.devices[0].1;
    let turn = at(60, Instant::now());
    let fresh = code(turn.moment);
    let ask = |desk: &mut Desk| {
        let judged = begin(desk, turn, login("alice", password(PASSWORD), Some(alice)));
        assert_eq!(judged.note.outcome, Outcome::Asked);
        let Verdict::Question { refusal, .. } = judged.verdict else { panic!("a question") };
        let Refusal::Challenge { state, user, .. } = *refusal else { panic!("a challenge") };
        assert_eq!(user, "alice");
        state
    };
    // Asked while it connects.
    let mut one = desk(&world);
    ask(&mut one);
    let step = one.answer(turn, LoginTicket(1), &fresh).unwrap();
    assert!(accepted(&settle(&mut one, turn, step)));
    assert!(one.answer(turn, LoginTicket(1), &fresh).is_none(), "there is no second answer");
    // Asked by a refusal; the server has forgotten the login meanwhile.
    let come = |desk: &mut Desk, state: &str, name: &str, later| {
        let answer = Submitted::Answer { state: state.to_owned(), answer: text(&fresh) };
        begin(desk, later, login(name, Credential::Submitted(answer), Some(alice)))
    };
    let mut two = desk(&world);
    let state = ask(&mut two);
    two.forget(LoginTicket(1));
    assert!(!accepted(&come(&mut two, &state, "bob", turn)), "the answer is somebody else's");
    let state = ask(&mut two);
    assert!(accepted(&come(&mut two, &state, "alice", turn)));
    assert!(!accepted(&come(&mut two, &state, "alice", turn)), "the same answer again");
    // Too late.
    let mut three = desk(&world);
    let state = ask(&mut three);
    let late = Turn { instant: turn.instant + Duration::from_secs(121), ..turn };
    assert!(!accepted(&come(&mut three, &state, "alice", late)));
}

/// In: one code, twice. Out: the second login fails, though nothing was written in between.
#[test]
fn a_code_is_good_once() {
    let world = world();
    let alice = &world.devices[0].1;
    let turn = at(60, Instant::now());
    let fresh = code(turn.moment);
    let mut desk = desk(&world);
    let both: Vec<Step> = (0..2)
        .map(|n| {
            desk.begin(turn, LoginTicket(n), home(), login("alice", with_code(PASSWORD, &fresh), Some(alice)))
        })
        .collect();
    let good: Vec<bool> = both.into_iter().map(|step| accepted(&settle(&mut desk, turn, step))).collect();
    assert_eq!(good, [true, false]);
}

/// In: wrong passwords. Out: three for nothing, then they cost time; what comes too early is not looked at; others are not slowed.
#[test]
fn wrong_tries_are_slowed() {
    let world = world();
    let start = Instant::now();
    let mut desk = desk(&world);
    for _ in 0..3 {
        let judged = begin(&mut desk, at(0, start), login("bob", password("wrong"), None));
        assert!(matches!(judged.note.outcome, Outcome::Refused(_)));
    }
    let judged = begin(&mut desk, at(0, start), login("bob", password(PASSWORD), None));
    assert!(matches!(judged.note.outcome, Outcome::Slowed(_)), "{:?}", judged.note.outcome);
    assert!(
        matches!(&judged.verdict, Verdict::Refused(refusal) if matches!(**refusal, Refusal::Temporary { .. }))
    );
    let spelled = begin(&mut desk, at(0, start), login("CORP\\BOB@corp.example", password(PASSWORD), None));
    assert!(matches!(spelled.note.outcome, Outcome::Slowed(_)), "another spelling is the same person");
    assert!(accepted(&begin(&mut desk, at(0, start), login("olga", password(PASSWORD), None))));
    assert!(accepted(&begin(&mut desk, at(2, start), login("bob", password(PASSWORD), None))));
}

/// In: more logins of one name at once than there are seats. Out: the others are told to come again, and no try is lost.
#[test]
fn few_are_judged_at_once() {
    let world = world();
    let turn = at(0, Instant::now());
    let mut desk = desk(&world);
    let steps: Vec<Step> = (0..5)
        .map(|n| desk.begin(turn, LoginTicket(n), home(), login("bob", password("wrong"), None)))
        .collect();
    let outcomes: Vec<Outcome> =
        steps.into_iter().map(|step| settle(&mut desk, turn, step).note.outcome).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Busy).count(), 3, "{outcomes:?}");
    assert!(accepted(&begin(&mut desk, turn, login("bob", password(PASSWORD), None))));
}

struct Carried {
    what: &'static str,
    name: &'static str,
    credential: Credential,
    device: Option<usize>,
    renewal: bool,
    at: u64,
    change: fn(&mut Desk),
    good: bool,
}

fn change(desk: &mut Desk, command: Command, moment: Moment) {
    desk.store = desk.store.apply(moment, "test", command).unwrap().0;
}

/// In: a token, after something has changed or time has gone by. Out: whether the login is carried on. Nobody is ever asked.
#[test]
fn tokens_are_looked_at_again() {
    let base = |what| Carried {
        what,
        name: "alice",
        credential: token("alice", 0, 0),
        device: Some(0),
        renewal: true,
        at: 3600,
        change: |_| {},
        good: true,
    };
    let (day, hour) = (86_400, 3600);
    let table = [
        base("an hour later"),
        Carried { good: false, device: None, ..base("without the certificate") },
        Carried { good: false, device: Some(1), ..base("with another's certificate") },
        Carried { at: day, ..base("after a day") },
        Carried { at: day + 1, good: false, ..base("after more than a day") },
        Carried { renewal: false, at: hour + 600, ..base("comes again after a short absence") },
        Carried { renewal: false, at: hour + 601, good: false, ..base("comes again after a long absence") },
        Carried {
            name: "sue",
            credential: token("sue", 0, 0),
            device: Some(1),
            at: 600,
            ..base("a group that ends sessions, in time")
        },
        Carried {
            name: "sue",
            credential: token("sue", 0, 0),
            device: Some(1),
            at: 601,
            good: false,
            ..base("a group that ends sessions, too late")
        },
        Carried {
            change: |desk| change(desk, Command::SetDisabled(user("alice"), true), now()),
            good: false,
            ..base("disabled")
        },
        Carried {
            change: |desk| change(desk, Command::RemoveUser(user("alice")), now()),
            good: false,
            ..base("removed")
        },
        Carried {
            change: |desk| {
                let reason = rempart_identity::authority::Reason::KeyCompromise;
                change(desk, Command::RevokeDevice(DeviceId::new([1; 8]), reason), now());
            },
            good: false,
            ..base("device revoked")
        },
        Carried {
            change: |desk| {
                let account = Account {
                    expires: Some(now().plus(Duration::from_secs(3600))),
                    ..account(&["agents"], Source::Local)
                };
                change(desk, Command::SetAccount(user("alice"), account), now());
            },
            good: false,
            ..base("expired a second ago")
        },
        Carried {
            change: |desk| {
                change(desk, Command::SetAccount(user("alice"), account(&["gone"], Source::Local)), now());
            },
            good: false,
            ..base("in no group any more")
        },
        Carried {
            change: |desk| {
                let hash = Hash::new(&Secret::from(PASSWORD), "x", &SystemRandom::new()).unwrap();
                let later = now().plus(Duration::from_secs(10));
                change(desk, Command::SetPassword(user("alice"), Some(hash)), later);
            },
            good: false,
            ..base("the password was changed")
        },
        Carried {
            change: |desk| desk.ask_again([user("alice")].into_iter(), now().plus(Duration::from_secs(10))),
            good: false,
            ..base("something else is demanded")
        },
        Carried {
            name: "olga",
            credential: token("olga", 0, 0),
            device: None,
            good: false,
            ..base("a stranger who is not remembered")
        },
        Carried { credential: token("alice", 7200, 7200), ..base("made by a node whose clock is ahead") },
    ];
    for carried in table {
        let world = world();
        let mut desk = desk(&world);
        (carried.change)(&mut desk);
        let certificate = carried.device.map(|place| &world.devices[place].1);
        let login =
            Login { renewal: carried.renewal, ..login(carried.name, carried.credential, certificate) };
        let step = desk.begin(at(carried.at, Instant::now()), LoginTicket(1), home(), login);
        let Step::Tell(judged) = step else { panic!("{}: somebody is asked", carried.what) };
        assert_eq!(accepted(&judged), carried.good, "{}: {:?}", carried.what, judged.note.outcome);
        if let Verdict::Accepted { carried_on, .. } = judged.verdict {
            assert_eq!(judged.note.outcome, Outcome::Renewed);
            assert!(carried_on.is_some(), "{}", carried.what);
        }
    }
}

/// In: a stranger of the directory, then their token. Out: carried on with the directory's groups, on the other node too once it
/// was told; not after somebody said that they are out.
#[test]
fn strangers_are_remembered() {
    let world = world();
    let turn = at(0, Instant::now());
    let mut here = desk(&world);
    let step = here.begin(turn, LoginTicket(1), home(), login("olga", password(PASSWORD), None));
    let Step::Directory(running, name, _) = step else { panic!("the directory is asked") };
    let answer = DirectoryAnswer::Right { account: user(&name), groups: ["simple".parse().unwrap()].into() };
    let Step::Keep(keep) = here.directory(turn, running, answer) else { panic!("kept first") };
    let (key, remembered) = keep.vouched.expect("the other node is told");
    let renewal = || Login { renewal: true, ..login("olga", token("olga", 0, 0), None) };
    let mut there = desk(&world);
    assert!(!accepted(&begin(&mut there, turn, renewal())));
    there.remember(key, remembered);
    for desk in [&mut here, &mut there] {
        let judged = begin(desk, turn, renewal());
        let Verdict::Accepted { admission, .. } = judged.verdict else { panic!("carried on") };
        assert_eq!(admission.groups, ["simple".parse().unwrap()].into());
    }
    assert_eq!(there.forget_people(&[user("olga")].into()), [key]);
    assert!(!accepted(&begin(&mut there, turn, renewal())));
}

/// In: an admission, and a change before it is told. Out: it does not stand where the change would have cut the session.
#[test]
fn an_admission_is_looked_at_once_more() {
    let world = world();
    let alice = &world.devices[0].1;
    let turn = at(60, Instant::now());
    let admit = |desk: &mut Desk| {
        let judged = begin(desk, turn, login("alice", with_code(PASSWORD, &code(turn.moment)), Some(alice)));
        let Verdict::Accepted { admission, .. } = judged.verdict else { panic!("accepted") };
        admission
    };
    type Change = fn(&mut Desk);
    let table: [(&str, Change, bool); 5] = [
        ("nothing", |_| {}, true),
        ("disabled", |desk| change(desk, Command::SetDisabled(user("alice"), true), now()), false),
        (
            "revoked",
            |desk| {
                let reason = rempart_identity::authority::Reason::KeyCompromise;
                change(desk, Command::RevokeDevice(DeviceId::new([1; 8]), reason), now());
            },
            false,
        ),
        (
            "other groups",
            |desk| {
                change(desk, Command::SetAccount(user("alice"), account(&["simple"], Source::Local)), now())
            },
            false,
        ),
        ("no such group", |desk| desk.policy.groups.retain(|name, _| name.as_str() != "agents"), false),
    ];
    for (what, change, good) in table {
        let mut desk = desk(&world);
        let admission = admit(&mut desk);
        change(&mut desk);
        assert_eq!(desk.still_admits(turn.moment, &admission), good, "{what}");
    }
}
