use std::time::{Duration, Instant};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::join::Joining;
use super::machine::Event;
use super::message::{Grant, Inner, Introduction, Message};
use super::offer::Offering;
use super::*;

const CODE: [u8; 5] = [0x11, 0x22, 0x33, 0x44, 0x55];
const SECRET: [u8; 32] = [7; 32];

fn person(node: &str, key: u8) -> Person {
    Person { node: node.into(), product: "0.1.0".into(), key: vec![key; 120] }
}

fn offer(now: Instant) -> Offer {
    Offer::new(now, Code::new(CODE), person("rte01", 1), "rte02".into(), 0, Zeroizing::new(SECRET))
}

fn join(now: Instant, code: &Code) -> Join {
    Join::new(now, code, person("rte02", 2), &Seed::new([2; 32]))
}

/// The two machines with a connection between them.
struct Two {
    now: Instant,
    offer: Offer,
    join: Join,
    /// Messages under way, and whether they go to the joining side.
    cable: Vec<(bool, Vec<u8>)>,
    seen: Vec<Output>,
}

impl Two {
    fn new(code: &Code) -> Self {
        let now = Instant::now();
        let mut offer = offer(now);
        offer.opened(now, Seed::new([1; 32]));
        let mut two = Self { now, offer, join: join(now, code), cable: Vec::new(), seen: Vec::new() };
        two.drain();
        two
    }

    fn drain(&mut self) {
        while let Some(output) = self.join.poll_output() {
            match output {
                Output::Send(message) => self.cable.push((false, message)),
                other => self.seen.push(other),
            }
        }
        while let Some(output) = self.offer.poll_output() {
            match output {
                Output::Send(message) => self.cable.push((true, message)),
                other => self.seen.push(other),
            }
        }
    }

    /// Delivers up to `count` messages; disks work at once.
    fn run(&mut self, count: usize) {
        for _ in 0..count {
            if self.cable.is_empty() {
                return;
            }
            let (to_join, message) = self.cable.remove(0);
            if to_join {
                self.join.received(self.now, &message);
            } else {
                self.offer.received(self.now, &message);
            }
            self.drain();
            self.store();
        }
    }

    fn store(&mut self) {
        if matches!(self.join.state(), Joining::Storing(..)) {
            self.join.stored(self.now, true);
        }
        if matches!(self.offer.state(), Offering::Storing(..)) {
            self.offer.stored(self.now, true);
        }
        self.drain();
    }
}

fn failures(seen: &[Output]) -> Vec<String> {
    let failed = seen.iter().filter_map(|o| match o {
        Output::Failed(f) => Some(format!("{f:?}")),
        Output::Send(_) | Output::Close | Output::Wrong { .. } | Output::Store(_) | Output::Paired(..) => {
            None
        }
    });
    failed.collect()
}

/// The right code on both sides: both are paired with each other's key and one secret, and what one side seals the
/// other opens.
#[test]
fn the_right_code_pairs() {
    let mut two = Two::new(&Code::parse(&Code::new(CODE).show()).expect("a code"));
    two.run(100);
    let mut paired: Vec<_> = std::mem::take(&mut two.seen)
        .into_iter()
        .filter_map(|o| match o {
            Output::Paired(agreed, sealed) => Some((agreed, sealed)),
            Output::Send(_) | Output::Close | Output::Wrong { .. } | Output::Store(_) | Output::Failed(_) => {
                None
            }
        })
        .collect();
    let [(a, offering), (b, joining)] = &mut paired[..] else { panic!("both are paired: {:?}", two.seen) };
    assert_eq!((a.peer.clone(), b.peer.clone()), (person("rte02", 2), person("rte01", 1)));
    assert_eq!((a.place, b.place), (0, 1));
    assert_eq!((&a.secret[..], &b.secret[..]), (&SECRET[..], &SECRET[..]));
    let record = offering.seal(b"document").expect("seals");
    assert_eq!(&joining.open(record.clone()).expect("opens")[..], b"document");
    assert!(joining.open(record).is_err(), "a record is taken once");
}

/// Three wrong codes end an offer; before that the right one still pairs; the joining side is told each time.
#[test]
fn wrong_codes_are_counted() {
    let (right, wrong) = (Code::new(CODE), Code::new([0; 5]));
    let now = Instant::now();
    for before in 0..4_u64 {
        let mut offer = offer(now);
        let mut told = Vec::new();
        for attempt in 0..=before {
            let last = attempt == before;
            offer.opened(now, Seed::new([attempt as u8; 32]));
            let join = join(now, if last { &right } else { &wrong });
            let mut two = Two { now, offer, join, cable: Vec::new(), seen: Vec::new() };
            two.drain();
            two.run(100);
            told.push((failures(&two.seen), two.seen.iter().any(|o| matches!(o, Output::Paired(..)))));
            offer = two.offer;
        }
        let (last, earlier) = told.split_last().expect("one at least");
        for (number, (failed, paired)) in earlier.iter().enumerate() {
            assert!(!paired);
            let expected: &[&str] = if number == 2 { &["TooManyTries", "WrongCode"] } else { &["WrongCode"] };
            let mut failed = failed.clone();
            failed.sort();
            assert_eq!(failed, expected);
        }
        if before < 3 {
            assert!(last.1, "after {before} wrong codes the right one pairs");
        } else {
            assert_eq!((last.0.clone(), last.1), (vec!["Over".to_owned()], false));
        }
    }
}

/// A bit changed in any message: no pair, on neither side; a wrong proof costs a try and nothing else does.
#[test]
fn a_changed_message_pairs_nobody() {
    for position in 0..6 {
        for bit in [0, 9, 30, 40, 100] {
            let mut two = Two::new(&Code::new(CODE));
            two.run(position);
            if let Some((_, message)) = two.cable.first_mut() {
                let byte = (HEADER + bit / 8).min(message.len() - 1);
                message[byte] ^= 1 << (bit % 8);
            }
            two.run(100);
            let paired = two.seen.iter().filter(|o| matches!(o, Output::Paired(..))).count();
            // The very last message only tells the joining side that the other has stored.
            let most = usize::from(position == 5);
            assert!(paired <= most, "message {position}, bit {bit}: {:?}", two.seen);
        }
    }
}

/// The messages of one exchange, sent again to the next: refused, since both elements are fresh.
#[test]
fn a_replayed_exchange_is_refused() {
    let mut two = Two::new(&Code::new(CODE));
    let mut from_joining = Vec::new();
    while let Some((to_join, message)) = two.cable.first().cloned() {
        if !to_join {
            from_joining.push(message);
        }
        two.run(1);
    }
    let now = two.now;
    let mut offer = offer(now);
    offer.opened(now, Seed::new([9; 32]));
    let mut seen = Vec::new();
    for message in from_joining {
        offer.received(now, &message);
        while let Some(output) = offer.poll_output() {
            seen.push(output);
        }
    }
    assert!(matches!(offer.state(), Offering::Waiting), "{offer:?}");
    assert!(seen.iter().any(|o| matches!(o, Output::Wrong { left: 2 })), "{seen:?}");
}

/// An offer ends after five minutes; an exchange after twenty seconds, and the offer goes on.
#[test]
fn time_ends_offers_and_exchanges() {
    let now = Instant::now();
    let mut first = offer(now);
    assert_eq!(first.poll_timeout(), Some(now + OFFER));
    first.timeout(now + OFFER);
    assert!(matches!(first.poll_output(), Some(Output::Failed(Failure::Expired))));

    let mut second = offer(now);
    second.opened(now, Seed::new([1; 32]));
    assert_eq!(second.poll_timeout(), Some(now + EXCHANGE));
    second.timeout(now + EXCHANGE - Duration::from_millis(1));
    assert!(second.poll_output().is_none());
    second.timeout(now + EXCHANGE);
    assert!(matches!(second.state(), Offering::Waiting));

    let late = now + OFFER - Duration::from_secs(1);
    let mut third = offer(now);
    third.opened(late, Seed::new([1; 32]));
    assert_eq!(third.poll_timeout(), Some(now + OFFER));
    third.timeout(now + OFFER);
    assert!(matches!(third.state(), Offering::Over));
}

/// A box of another name is refused and says so; the offer is over, because its code has been used.
#[test]
fn the_name_must_be_that_of_the_document() {
    let now = Instant::now();
    let mut offer = offer(now);
    offer.opened(now, Seed::new([1; 32]));
    let join = Join::new(now, &Code::new(CODE), person("rte03", 3), &Seed::new([3; 32]));
    let mut two = Two { now, offer, join, cable: Vec::new(), seen: Vec::new() };
    two.drain();
    two.run(100);
    let failed = failures(&two.seen);
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed.iter().all(|f| f.starts_with("Name")), "{failed:?}");
}

/// What a person types is read in any case, with or without the hyphen, with the letters that look like digits.
#[test]
fn codes_are_read_as_people_type_them() {
    let code = Code::parse("01oO-iIlL").expect("a code");
    assert_eq!(&code.show()[..], "0100-1111");
    assert_eq!(&Code::parse(" 7k2m 9qxa ").expect("a code").show()[..], "7K2M-9QXA");
    assert_eq!(Code::parse("7K2M-9QX").err(), Some(InvalidCode::Length(7)));
    assert_eq!(Code::parse("7K2M-9QXAA").err(), Some(InvalidCode::Length(9)));
    assert_eq!(Code::parse("7K2M-9QXU").err(), Some(InvalidCode::Letter('U')));
    assert_eq!(Code::parse("7K2M-9QXé").err(), Some(InvalidCode::Letter('é')));
    assert_eq!(format!("{code:?}"), "Code(..)");
}

// ------------------------------------------------------------------------------------------------- every (state, event)

/// Events of the table. What is sealed is sealed under the right key.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Opened,
    Hello,
    BadElement,
    Proof,
    WrongProof,
    Introduction,
    InnerStored,
    InnerRefuse,
    BadSealed,
    Refuse,
    Version,
    Garbage,
    Closed,
    Stored,
    NotStored,
    Early,
    Late,
    Cancel,
}

const KINDS: [Kind; 18] = [
    Kind::Opened,
    Kind::Hello,
    Kind::BadElement,
    Kind::Proof,
    Kind::WrongProof,
    Kind::Introduction,
    Kind::InnerStored,
    Kind::InnerRefuse,
    Kind::BadSealed,
    Kind::Refuse,
    Kind::Version,
    Kind::Garbage,
    Kind::Closed,
    Kind::Stored,
    Kind::NotStored,
    Kind::Early,
    Kind::Late,
    Kind::Cancel,
];

/// Both sides of a confirmed exchange: first the offering side's keys.
fn keys() -> (exchange::Keys, exchange::Keys) {
    let code = Code::new(CODE);
    let a = exchange::Exchange::start(exchange::Side::Joining, &code, &Seed::new([2; 32]));
    let b = exchange::Exchange::start(exchange::Side::Offering, &code, &Seed::new([1; 32]));
    let (of_a, of_b) = (a.element, b.element);
    (b.finish(&of_a).expect("keys"), a.finish(&of_b).expect("keys"))
}

fn sealed() -> (Sealed, Sealed) {
    let (b, a) = keys();
    let (of_a, of_b) = (a.proof(), b.proof());
    (b.proves(&of_a).expect("proof"), a.proves(&of_b).expect("proof"))
}

fn event(kind: Kind, peer: &mut Sealed, proof: [u8; 32], grant: bool) -> Event {
    let side = if grant { exchange::Side::Offering } else { exchange::Side::Joining };
    let element = || exchange::Exchange::start(side, &Code::new(CODE), &Seed::new([5; 32])).element;
    let seal =
        |peer: &mut Sealed, inner: &Inner| Ok(Message::Sealed(peer.seal(&inner.encode()).expect("seals")));
    let Person { node, product, key } = if grant { person("rte01", 1) } else { person("rte02", 2) };
    let grant = grant.then(|| Grant { expected: "rte02".into(), place: 1, secret: Zeroizing::new(SECRET) });
    let message = match kind {
        Kind::Opened => return Event::Opened(Seed::new([8; 32])),
        Kind::Closed => return Event::Closed,
        Kind::Stored => return Event::Stored(true),
        Kind::NotStored => return Event::Stored(false),
        Kind::Early | Kind::Late => return Event::Timeout,
        Kind::Cancel => return Event::Cancel,
        Kind::Hello => Ok(Message::Hello(element())),
        Kind::BadElement => Ok(Message::Hello([0xff; 33])),
        Kind::Proof => Ok(Message::Confirm(proof)),
        Kind::WrongProof => Ok(Message::Confirm([0; 32])),
        Kind::Introduction => {
            seal(peer, &Inner::Introduction(Introduction { protocol: 1, product, node, key, grant }))
        }
        Kind::InnerStored => seal(peer, &Inner::Stored),
        Kind::InnerRefuse => seal(peer, &Inner::Refuse(Reason::Storage)),
        Kind::BadSealed => Ok(Message::Sealed(vec![0; 40])),
        Kind::Refuse => Ok(Message::Refuse(Reason::Over)),
        Kind::Version => Err(Malformed::Version(9)),
        Kind::Garbage => Err(Malformed::Shape),
    };
    Event::Received(message)
}

/// What came out, shortly.
fn short(outputs: impl Iterator<Item = Output>) -> String {
    let words = outputs.map(|o| match o {
        Output::Send(message) => match Message::decode(&message).expect("is ours") {
            Message::Hello(_) => "hello".to_owned(),
            Message::Confirm(_) => "confirm".into(),
            Message::Sealed(_) => "sealed".into(),
            Message::Refuse(reason) => format!("refuse({reason:?})"),
        },
        Output::Close => "close".into(),
        Output::Wrong { left } => format!("wrong({left})"),
        Output::Store(_) => "store".into(),
        Output::Paired(..) => "paired".into(),
        Output::Failed(failure) => match failure {
            Failure::Name { .. } => "failed(Name)".into(),
            other => format!("failed({other:?})"),
        },
    });
    words.collect::<Vec<_>>().join(" ")
}

const OFFERING: [&str; 7] = ["Waiting", "Opened", "Confirming", "Confirmed", "Granted", "Storing", "Over"];

fn offer_table() -> String {
    let mut table = String::new();
    for state in OFFERING {
        for kind in KINDS {
            let now = Instant::now();
            let mut offer = offer(now);
            let (own, mut peer) = sealed();
            let agreed =
                || Box::new(Agreed { peer: person("rte02", 2), place: 0, secret: Zeroizing::new(SECRET) });
            let (own_keys, peer_keys) = keys();
            let at = match state {
                "Waiting" => Offering::Waiting,
                "Opened" => Offering::Opened(Seed::new([1; 32])),
                "Confirming" => Offering::Confirming(own_keys),
                "Confirmed" => Offering::Confirmed(own),
                "Granted" => Offering::Granted(own, agreed()),
                "Storing" => Offering::Storing(own, agreed()),
                _ => Offering::Over,
            };
            offer.set_state(at, now + EXCHANGE);
            let when = if matches!(kind, Kind::Late) { now + OFFER } else { now };
            offer.handle(when, event(kind, &mut peer, peer_keys.proof(), false));
            let said = short(std::iter::from_fn(|| offer.poll_output()));
            let line = format!("{state} + {kind:?} = {:?}: {said}", offer.state());
            table.push_str(line.trim_end_matches([':', ' ']));
            table.push('\n');
        }
    }
    table
}

const JOINING: [&str; 6] = ["Greeting", "Confirming", "Introducing", "Storing", "Finishing", "Over"];

fn join_table() -> String {
    let mut table = String::new();
    for state in JOINING {
        for kind in KINDS {
            let now = Instant::now();
            let mut join = join(now, &Code::new(CODE));
            join.poll_output();
            let (mut peer, own) = sealed();
            let agreed =
                || Box::new(Agreed { peer: person("rte01", 1), place: 1, secret: Zeroizing::new(SECRET) });
            let (peer_keys, own_keys) = keys();
            let code = Code::new(CODE);
            match state {
                "Greeting" => join.set_state(Joining::Greeting(exchange::Exchange::start(
                    exchange::Side::Joining,
                    &code,
                    &Seed::new([2; 32]),
                ))),
                "Confirming" => join.set_state(Joining::Confirming(own_keys)),
                "Introducing" => join.set_state(Joining::Introducing(own)),
                "Storing" => join.set_state(Joining::Storing(own, agreed())),
                "Finishing" => join.set_state(Joining::Finishing(own, agreed())),
                _ => join.set_state(Joining::Over),
            }
            let when = if matches!(kind, Kind::Late) { now + EXCHANGE } else { now };
            join.handle(when, event(kind, &mut peer, peer_keys.proof(), true));
            let said = short(std::iter::from_fn(|| join.poll_output()));
            let line = format!("{state} + {kind:?} = {:?}: {said}", join.state());
            table.push_str(line.trim_end_matches([':', ' ']));
            table.push('\n');
        }
    }
    table
}

/// Every state of both machines meets every event; the outcome is the table that stands beside this file.
#[test]
fn every_state_meets_every_event() {
    for (name, table) in [("offer", offer_table()), ("join", join_table())] {
        let path = format!("{}/src/pairing/tests/{name}.table", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("REMPART_BLESS").is_some() {
            std::fs::write(&path, &table).expect("writes");
        }
        let expected = std::fs::read_to_string(&path).expect("the table is there");
        for (number, (is, should)) in table.lines().zip(expected.lines()).enumerate() {
            assert_eq!(is, should, "{name}.table, line {}", number + 1);
        }
        assert_eq!(table.lines().count(), expected.lines().count());
    }
}

// -------------------------------------------------------------------------------------------------------------- codec

fn inner() -> impl Strategy<Value = Inner> {
    let text = "[!-~]{1,32}";
    let grant = proptest::option::of(
        (text, 0..=1_u8, any::<[u8; 32]>()).prop_map(|(expected, place, secret)| Grant {
            expected,
            place,
            secret: Zeroizing::new(secret),
        }),
    );
    let introduction = (any::<u16>(), text, text, proptest::collection::vec(any::<u8>(), 1..=200), grant)
        .prop_map(|(protocol, product, node, key, grant)| {
            Inner::Introduction(Introduction { protocol, product, node, key, grant })
        });
    prop_oneof![introduction, Just(Inner::Stored), Just(Inner::Refuse(Reason::Name))]
}

proptest! {
    /// decode ∘ encode is the identity, and no shorter or longer text decodes to the same.
    #[test]
    fn messages_come_back(inner in inner(), cut in 0_usize..400) {
        let bytes = inner.encode();
        prop_assert_eq!(Inner::decode(&bytes), Ok(inner.clone()));
        if cut < bytes.len() {
            prop_assert_ne!(Inner::decode(&bytes[..cut]), Ok(inner.clone()));
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_ne!(Inner::decode(&longer), Ok(inner));
        let message = Message::Sealed(bytes.to_vec());
        let wire = message.encode();
        prop_assert_eq!(Message::decode(&wire), Ok(message));
        prop_assert!(cut >= wire.len() || Message::decode(&wire[..cut]).is_err());
    }

    /// Whatever comes, nothing panics, and what decodes encodes to the same bytes.
    #[test]
    fn noise_is_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(check(&bytes).is_err() || check(&bytes) == Ok(true));
        let _ = Inner::decode(&bytes);
        let now = Instant::now();
        let mut offer = offer(now);
        offer.opened(now, Seed::new([1; 32]));
        offer.received(now, &bytes);
        let mut join = join(now, &Code::new(CODE));
        join.received(now, &bytes);
    }
}
