//! The machine against every kind of account, answer and demand; the throttle in virtual time.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ring::rand::SystemRandom;

use super::login::Line;
use super::*;
use crate::authority::{CLIENT_LIFE, ClientIdentity, Reason as Revocation, Serial};
use crate::moment::Moment;
use crate::password::Hash;
use crate::secret::Secret;
use crate::store::{Account, Command, Fingerprint, Store};
use crate::totp::{Code, Seed};

const PASSWORD: &str = "correct horse battery";

fn now() -> Moment {
    Moment::new(1_800_000_000)
}

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn group(text: &str) -> GroupName {
    text.parse().unwrap()
}

/// A seed and the code that it shows at `now`.
fn seed() -> (Seed, String) {
    let seed: Seed = serde_json::from_str("\"MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=\"").unwrap();
    let code = seed.shows(now());
    (seed, code)
}

/// The certificate of the device with this number.
fn certificate(number: u8) -> ClientIdentity {
    ClientIdentity {
        serial: Serial::new(&[number]).unwrap(),
        fingerprint: [number; 32],
        issuer: Vec::new(),
        device: Some(DeviceId::new([number; 8])),
        user: None,
    }
}

/// alice: certificate + password + code. bob: password. carol: certificate. dave: of the directory, without application.
/// erin: of RADIUS. frank: disabled. gina: in no group. henry: both demands. ivan: of the directory, with application.
fn store() -> Store {
    static STORE: LazyLock<Store> = LazyLock::new(make_store);
    STORE.clone()
}

fn make_store() -> Store {
    let people = [
        ("alice", Source::Local, "full"),
        ("bob", Source::Local, "simple"),
        ("carol", Source::Local, "machine"),
        ("dave", Source::Directory, ""),
        ("erin", Source::Radius, "simple"),
        ("frank", Source::Local, "simple"),
        ("gina", Source::Local, "others"),
        ("henry", Source::Local, "simple full"),
        ("ivan", Source::Directory, "coded"),
    ];
    let hash = Hash::new(&PASSWORD.into(), "", &SystemRandom::new()).unwrap();
    let mut store = Store::default();
    let mut apply =
        |command| store = store.apply(now().minus(Duration::from_secs(120)), "test", command).unwrap().0;
    for (number, (user, source, groups)) in people.into_iter().enumerate() {
        let groups = groups.split_whitespace().map(group).collect();
        apply(Command::AddUser(name(user), Account { source, groups, ..Account::default() }));
        if source == Source::Local && user != "carol" {
            apply(Command::SetPassword(name(user), Some(hash.clone())));
        }
        let number = number as u8 + 1;
        apply(Command::AddDevice {
            device: DeviceId::new([number; 8]),
            user: name(user),
            label: "portable".to_owned(),
            serial: Serial::new(&[number]).unwrap(),
            fingerprint: Fingerprint::new([number; 32]),
            until: now().plus(CLIENT_LIFE),
        });
    }
    apply(Command::SetDisabled(name("frank"), true));
    let earlier = now().minus(Duration::from_secs(120));
    let (seed, _) = seed();
    let first = Code::parse(&seed.shows(earlier)).unwrap();
    for user in ["alice", "henry", "ivan"] {
        apply(Command::EnrolTotp(name(user), seed.clone()));
        apply(Command::ConfirmTotp(name(user), first.clone()));
    }
    store
}

fn policy() -> Policy {
    let demand = |certificate, password, code| Demand::new(certificate, password, code).unwrap();
    let groups = [
        ("full", Demand::all()),
        ("simple", demand(false, true, false)),
        ("machine", demand(true, false, false)),
        ("coded", demand(false, true, true)),
        ("ad", demand(true, true, false)),
    ];
    let groups = groups.map(|(name, demand)| (group(name), demand)).into();
    Policy { groups, strangers: None }
}

fn field(text: &str) -> Answer {
    Answer::Field(Secret::from(text))
}

fn start(user: &str, device: Option<u8>, answer: Answer) -> (Login, Next) {
    start_with(&policy(), user, device, answer, true)
}

fn start_with(
    policy: &Policy,
    user: &str,
    device: Option<u8>,
    answer: Answer,
    can_be_asked: bool,
) -> (Login, Next) {
    let attempt = Attempt { name: user, certificate: device.map(certificate), answer, can_be_asked };
    Login::start(now(), &store(), policy, attempt)
}

/// Runs local checks until something else comes.
fn local((mut login, next): (Login, Next)) -> (Login, Next) {
    match next {
        Next::CheckLocal(check) => {
            let next = login.handle_local(now(), check.run());
            (login, next)
        }
        other => (login, other),
    }
}

fn accepted(next: Next) -> Admission {
    match next {
        Next::Accepted(admission) => *admission,
        other => panic!("{other:?}"),
    }
}

fn refused(next: Next) -> Reason {
    match next {
        Next::Refused { log, .. } => log,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_form_of_password_and_code() {
    let (_, code) = seed();
    let appended = format!("{PASSWORD}{code}");
    let split = |code: &str| Answer::Split { password: PASSWORD.into(), code: Secret::from(code) };
    for answer in [field(&appended), split(&code)] {
        let admission = accepted(local(start("alice", Some(1), answer)).1);
        assert_eq!(admission.code_used, Some(Step::at(now())));
        assert_eq!((admission.user, admission.device), (name("alice"), Some(DeviceId::new([1; 8]))));
    }
    // Password alone: the code is asked for, and answered.
    let (mut login, next) = local(start("ALICE", Some(1), field(PASSWORD)));
    assert_eq!(next, Next::Challenge(None));
    let admission = accepted(login.handle_answer(now(), &Secret::from(code.as_str()), Some(&certificate(1))));
    assert_eq!(admission.groups, [group("full")].into());
    // A client that cannot be asked is told what to do.
    let (_, next) = local(start_with(&policy(), "alice", Some(1), field(PASSWORD), false));
    assert_eq!(next, Next::Refused { log: Reason::CannotAsk, user: Told::AppendCode });
    // Wrong ones.
    for answer in [field(&format!("{PASSWORD}000000")), split("000000"), split("")] {
        let (mut login, next) = local(start("alice", Some(1), answer));
        let next = if next == Next::Challenge(None) {
            login.handle_answer(now(), &Secret::from("000000"), Some(&certificate(1)))
        } else {
            next
        };
        assert_eq!(refused(next), Reason::WrongCode);
    }
    let wrong = local(start("alice", Some(1), field(&format!("wrong{code}")))).1;
    assert_eq!(refused(wrong), Reason::WrongPassword("local".to_owned()));
    // The answer must come on the same certificate, and once.
    let (mut login, _) = local(start("alice", Some(1), field(PASSWORD)));
    let stolen = login.handle_answer(now(), &Secret::from(code.as_str()), Some(&certificate(2)));
    assert_eq!(refused(stolen), Reason::OtherCertificate);
    let again = login.handle_answer(now(), &Secret::from(code.as_str()), Some(&certificate(1)));
    assert_eq!(refused(again), Reason::OutOfOrder);
}

#[test]
fn each_group_gets_what_it_demands() {
    let (_, code) = seed();
    // Password only.
    let admission = accepted(local(start("bob", None, field(PASSWORD))).1);
    assert_eq!((admission.device, admission.code_used), (None, None));
    // Digits after a password are no code for whom none is demanded.
    let next = local(start("bob", None, field(&format!("{PASSWORD}{code}")))).1;
    assert_eq!(refused(next), Reason::WrongPassword("local".to_owned()));
    // Certificate only, with and without a name, and never without the certificate.
    assert_eq!(accepted(start("carol", Some(3), field("")).1).user, name("carol"));
    assert_eq!(accepted(start("", Some(3), field("")).1).user, name("carol"));
    assert_eq!(refused(local(start("carol", None, field(""))).1), Reason::NoCertificate);
    // In two groups the demands add up.
    assert_eq!(refused(local(start("henry", None, field(PASSWORD))).1), Reason::NoCertificate);
    assert_eq!(local(start("henry", Some(8), field(PASSWORD))).1, Next::Challenge(None));
    assert_eq!(
        accepted(local(start("henry", Some(8), field(&format!("{PASSWORD}{code}")))).1).groups.len(),
        2
    );
    assert_eq!(Demand::new(false, false, true), Err(TooLittle));
}

#[test]
fn who_may_not_sees_what_a_wrong_password_shows() {
    // In: unknown, disabled, in no group, another's or an unknown or a revoked device, no name. Out: first the same work as
    // for anybody, then the same words.
    let cases = [
        ("nobody", None, Reason::Unknown),
        ("frank", Some(6), Reason::ShutOut),
        ("gina", Some(7), Reason::NoGroup),
        ("bob", Some(1), Reason::OthersDevice(DeviceId::new([1; 8]))),
        ("bob", Some(99), Reason::UnknownDevice),
        ("", None, Reason::NoName),
        ("a b", None, Reason::BadName),
    ];
    let wrong = local(start("bob", None, field("wrong password"))).1;
    let Next::Refused { user: told, .. } = wrong else { panic!() };
    for (user, device, reason) in cases {
        let (mut login, next) = start(user, device, field(PASSWORD));
        let Next::CheckLocal(check) = next else { panic!("{user}: {next:?}") };
        assert_eq!(check.run(), None, "{user}");
        // Even if it were right.
        let next = login.handle_local(now(), Some(0));
        assert_eq!(next, Next::Refused { log: reason, user: told });
    }
    let revoke = Command::RevokeDevice(DeviceId::new([1; 8]), Revocation::KeyCompromise);
    let (store, _) = store().apply(now(), "test", revoke).unwrap();
    let attempt = Attempt {
        name: "alice",
        certificate: Some(certificate(1)),
        answer: field(PASSWORD),
        can_be_asked: true,
    };
    let next = local(Login::start(now(), &store, &policy(), attempt)).1;
    assert_eq!(refused(next), Reason::RevokedDevice(DeviceId::new([1; 8])));
    // The number of hashes depends on what was typed alone.
    let (_, code) = seed();
    for typed in [PASSWORD.to_owned(), format!("{PASSWORD}{code}")] {
        let work = |user| match start(user, None, field(&typed)).1 {
            Next::CheckLocal(check) => format!("{check:?}").matches("Secret(").count(),
            other => panic!("{other:?}"),
        };
        assert!(["nobody", "frank", "gina", "alice"].iter().all(|user| work(user) == work("bob")));
    }
}

#[test]
fn the_directory_decides_and_its_groups_count() {
    let (mut login, next) = start("CORP\\dave", Some(4), field(PASSWORD));
    assert_eq!(next, Next::AskDirectory { name: "CORP\\dave".to_owned(), password: PASSWORD.into() });
    let right = |account: &str, groups: &[&str]| DirectoryAnswer::Right {
        account: name(account),
        groups: groups.iter().map(|text| group(text)).collect(),
    };
    let admission = accepted(login.handle_directory(now(), right("dave", &["ad", "unrelated"])));
    assert_eq!(admission.groups, [group("ad")].into());
    let ask = |device| start("dave", device, field(PASSWORD)).0;
    assert_eq!(refused(ask(Some(4)).handle_directory(now(), right("dave", &["unrelated"]))), Reason::NoGroup);
    assert_eq!(refused(ask(None).handle_directory(now(), right("dave", &["ad"]))), Reason::NoCertificate);
    assert_eq!(refused(ask(Some(4)).handle_directory(now(), right("alice", &["ad"]))), Reason::BadName);
    assert_eq!(refused(ask(Some(4)).handle_directory(now(), right("dave", &["coded"]))), Reason::NotEnrolled);
    let down = ask(Some(4)).handle_directory(now(), DirectoryAnswer::Unavailable("timeout".into()));
    assert_eq!(down, Next::Refused { log: Reason::Unavailable("timeout".into()), user: Told::Later });
    let must = ask(Some(4)).handle_directory(now(), DirectoryAnswer::MustChange("773".into()));
    assert!(matches!(must, Next::Refused { user: Told::ChangePassword, .. }));
    // The empty password that a directory takes for an anonymous bind never leaves.
    assert_eq!(refused(start("dave", Some(4), field("")).1), Reason::NoPassword);
    let (_, code) = seed();
    assert_eq!(refused(start("ivan", None, field(&code)).1), Reason::NoPassword, "a code alone");
    // With an application the digits are split off before the directory sees the rest.
    let (mut login, next) = start("ivan@corp.example", None, field(&format!("{PASSWORD}{code}")));
    assert_eq!(next, Next::AskDirectory { name: "ivan@corp.example".to_owned(), password: PASSWORD.into() });
    assert_eq!(accepted(login.handle_directory(now(), right("ivan", &[]))).code_used, Some(Step::at(now())));
    // Disabled here is disabled, without asking there.
    let (store, _) = store().apply(now(), "test", Command::SetDisabled(name("dave"), true)).unwrap();
    let attempt = Attempt { name: "dave", certificate: None, answer: field(PASSWORD), can_be_asked: true };
    assert!(matches!(Login::start(now(), &store, &policy(), attempt).1, Next::CheckLocal(_)));
}

#[test]
fn strangers_go_to_the_directory_only_if_the_document_says_so() {
    let policy = Policy { strangers: Some(Source::Directory), ..policy() };
    let (mut login, next) = start_with(&policy, "zoé", None, field(PASSWORD), true);
    assert!(matches!(next, Next::AskDirectory { .. }));
    let groups = [group("simple")].into();
    let admission =
        accepted(login.handle_directory(now(), DirectoryAnswer::Right { account: name("zoé"), groups }));
    assert_eq!(admission.user, name("zoé"));
    // A stranger cannot use another's device under a name that the directory then knows.
    let (mut login, _) = start_with(&policy, "zoé", Some(2), field(PASSWORD), true);
    let groups = [group("simple")].into();
    let next = login.handle_directory(now(), DirectoryAnswer::Right { account: name("zoé"), groups });
    assert_eq!(refused(next), Reason::OthersDevice(DeviceId::new([2; 8])));
    // Nor does a local account go there under a longer name.
    let (_, next) = start_with(&policy, "alice@corp.example", None, field(PASSWORD), true);
    assert!(matches!(next, Next::AskDirectory { name, .. } if name == "alice@corp.example"));
}

#[test]
fn radius_may_ask_questions() {
    let (mut login, next) = start("erin", None, field(PASSWORD));
    assert!(matches!(next, Next::AskRadius { state: None, .. }));
    let ask = RadiusAnswer::Challenge { text: "PIN?".to_owned(), state: vec![1, 2] };
    assert_eq!(login.handle_radius(now(), ask.clone()), Next::Challenge(Some("PIN?".to_owned())));
    let next = login.handle_answer(now(), &Secret::from("1234"), None);
    let expected =
        Next::AskRadius { name: "erin".to_owned(), password: "1234".into(), state: Some(vec![1, 2]) };
    assert_eq!(next, expected);
    assert_eq!(
        accepted(login.clone().handle_radius(now(), RadiusAnswer::Accept([].into()))).user,
        name("erin")
    );
    // It does not ask without end.
    let mut rounds = 0;
    let end = loop {
        match login.handle_radius(now(), ask.clone()) {
            Next::Challenge(_) => {
                rounds += 1;
                login.handle_answer(now(), &Secret::from("1234"), None);
            }
            other => break other,
        }
    };
    assert!(matches!(refused(end), Reason::WrongPassword(_)));
    assert_eq!(rounds, 4);
}

#[test]
fn answers_out_of_order_end_the_login() {
    let right = || DirectoryAnswer::Right { account: name("bob"), groups: [].into() };
    let answers: [fn(&mut Login) -> Next; 4] = [
        |login| login.handle_local(now(), Some(0)),
        |login| login.handle_radius(now(), RadiusAnswer::Accept([].into())),
        |login| login.handle_answer(now(), &Secret::from("123456"), None),
        |login| {
            login.handle_directory(now(), DirectoryAnswer::Right { account: name("dave"), groups: [].into() })
        },
    ];
    let (mut done, _) = local(start("bob", None, field(PASSWORD)));
    for answer in answers {
        assert_eq!(refused(answer(&mut done)), Reason::OutOfOrder);
    }
    let (mut waiting, _) = start("bob", None, field(PASSWORD));
    assert_eq!(refused(waiting.handle_directory(now(), right())), Reason::OutOfOrder);
    // A place that was no candidate.
    let (mut login, _) = start("bob", None, field(PASSWORD));
    assert!(matches!(refused(login.handle_local(now(), Some(7))), Reason::WrongPassword(_)));
}

#[test]
fn the_trace_tells_each_step_and_no_secret() {
    let (_, code) = seed();
    let (login, _) = local(start("alice", Some(1), field(&format!("{PASSWORD}{code}"))));
    let lines: Vec<String> = login.trace().iter().map(Line::to_string).collect();
    let expected = [
        "certificate: device 0101010101010101 (portable) of alice",
        "user alice: in the store, password kept here",
        "groups full: certificate + password + code",
        "password: right",
        "code: right",
        "accepted as alice",
    ];
    assert_eq!(lines, expected);
    let shown = format!("{login:?}");
    assert!(!shown.contains(PASSWORD) && !shown.contains(&code), "{shown}");
    for told in [Told::Wrong, Told::ChangePassword, Told::Enrol, Told::AppendCode, Told::Later] {
        // The reason goes into a control message of 1024 bytes at most, and commas separate fields there.
        assert!(
            [Language::English, Language::French].iter().all(|language| told.text(*language).len() < 200)
        );
    }
}

fn origin(user: &str, last: u8) -> Origin<'_> {
    Origin { user, address: IpAddr::from([198, 51, 100, last]), own_device: false }
}

#[test]
fn wrong_tries_wait_longer_and_longer() {
    // In: one guesser with endless patience. Out: the tries that it gets in a day.
    let mut throttle = Throttle::new();
    let start = Instant::now();
    let (mut at, mut tries) = (start, 0);
    while at < start + Duration::from_secs(86_400) {
        match throttle.admit(at, origin("alice", 1)) {
            Ok(()) => {
                throttle.failed(at, origin("alice", 1));
                tries += 1;
            }
            Err(wait) => at += wait,
        }
    }
    assert!((90..120).contains(&tries), "{tries}");
    // Its waiting does no harm to others, nor does a try that came too early.
    assert_eq!(throttle.admit(at, origin("bob", 2)), Ok(()));
    let wait = throttle.admit(at, origin("alice", 1));
    assert_eq!(throttle.admit(at, origin("alice", 1)), wait);
    throttle.succeeded(at, origin("alice", 1));
    assert!(throttle.admit(at + Duration::from_secs(900), origin("alice", 1)).is_ok());
}

#[test]
fn nobody_is_shut_out_by_strangers() {
    // In: a thousand addresses that guess alice's password all day. Out: she herself waits half a minute at most from a new
    // place, and not at all from where she was lately or with her own device.
    let mut throttle = Throttle::new();
    let start = Instant::now();
    throttle.succeeded(start, origin("alice", 200));
    for second in 0..5_000_u32 {
        let address = IpAddr::from([203, 0, (second % 1000 / 250) as u8, (second % 250) as u8]);
        let at = start + Duration::from_secs(u64::from(second));
        throttle.failed(at, Origin { user: "alice", address, own_device: false });
    }
    let at = start + Duration::from_secs(5_000);
    let wait = throttle.admit(at, origin("alice", 201)).unwrap_err();
    assert!(wait <= Duration::from_secs(30), "{wait:?}");
    assert_eq!(throttle.admit(at + wait, origin("alice", 201)), Ok(()));
    assert_eq!(throttle.admit(at, origin("Alice", 200)), Ok(()));
    assert_eq!(throttle.admit(at, Origin { own_device: true, ..origin("alice", 201) }), Ok(()));
}

#[test]
fn a_prefix_that_tries_many_names_waits() {
    let mut throttle = Throttle::new();
    let at = Instant::now();
    for number in 0..15 {
        throttle.failed(at, origin(&format!("user{number}"), 1));
    }
    assert!(throttle.admit(at, origin("somebody", 1)).is_err());
    let v6 = |text: &str| Origin { address: text.parse().unwrap(), ..origin("alice", 0) };
    for _ in 0..5 {
        throttle.failed(at, v6("2001:db8::1"));
    }
    assert!(throttle.admit(at, v6("2001:db8::2")).is_err(), "one customer has a whole /64");
    assert!(throttle.admit(at, v6("2001:db8:0:1::1")).is_ok());
    for _ in 0..5 {
        throttle.failed(at, origin("bob", 9));
    }
    let mapped = Origin { address: "::ffff:198.51.100.9".parse().unwrap(), ..origin("bob", 0) };
    assert!(throttle.admit(at, mapped).is_err());
}

#[test]
fn the_table_is_bounded_and_forgets() {
    let mut throttle = Throttle::new();
    let start = Instant::now();
    for _ in 0..20 {
        throttle.failed(start, origin("alice", 1));
    }
    for number in 0..4_000_u32 {
        let user = format!("user{number}");
        let [_, a, b, c] = number.to_be_bytes();
        let address = IpAddr::from([10, a, b, c]);
        throttle.failed(
            start + Duration::from_millis(u64::from(number)),
            Origin { user: &user, address, own_device: false },
        );
    }
    assert!(throttle.len() <= 8_192);
    assert!(
        throttle.admit(start + Duration::from_secs(20), origin("alice", 1)).is_err(),
        "a flood hides nobody"
    );
    assert!(throttle.admit(start + Duration::from_secs(3_700), origin("alice", 1)).is_ok());
}
