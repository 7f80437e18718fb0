use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn secret(byte: u8) -> PairSecret {
    PairSecret::new([byte; 32].into())
}

fn session(number: u64) -> SessionId {
    let mut bytes = [0xee; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SessionId::new(bytes).unwrap()
}

fn heartbeats(own: NodeIndex, number: u64) -> Endpoint {
    Endpoint::new(secret(7), Kind::Heartbeat, own, session(number))
}

/// Two endpoints that do not know each other yet.
fn strangers() -> (Endpoint, Endpoint, Instant) {
    (heartbeats(NodeIndex::First, 1), heartbeats(NodeIndex::Second, 2), Instant::now())
}

fn sealed(by: &mut Endpoint, plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    by.seal(plaintext, &mut out).unwrap();
    out
}

/// Opens a copy, and gives what was in it.
fn open(at: &mut Endpoint, now: Instant, datagram: &[u8]) -> Result<Vec<u8>, Refused> {
    at.open(now, &mut datagram.to_vec()).map(|opened| opened.get().to_vec())
}

/// Two endpoints that believe each other.
fn acquainted() -> (Endpoint, Endpoint, Instant) {
    let (mut first, mut second, now) = strangers();
    introduce(&mut first, &mut second, now);
    (first, second, now)
}

/// In: the three datagrams of an introduction. Out: only the first is refused, as unproven.
fn introduce(first: &mut Endpoint, second: &mut Endpoint, now: Instant) {
    let hello = sealed(first, b"hello");
    assert_eq!(open(second, now, &hello), Err(Refused::Unproven));
    let answer = sealed(second, b"answer");
    assert_eq!(open(first, now, &answer), Ok(b"answer".to_vec()));
    let third = sealed(first, b"third");
    assert_eq!(open(second, now, &third), Ok(b"third".to_vec()));
}

/// In: a fixed secret, session and plaintext. Out: the bytes that another implementation (Python's `cryptography`,
/// HKDF and AESGCM by themselves) made of them: the wire does not change unnoticed.
#[test]
fn vector() {
    let bytes: [u8; 16] = std::array::from_fn(|place| place as u8 + 1);
    let secret = PairSecret::new(std::array::from_fn(|place| place as u8).into());
    let session = SessionId::new(bytes).unwrap();
    let mut endpoint = Endpoint::new(secret, Kind::Heartbeat, NodeIndex::Second, session);
    let datagram = sealed(&mut endpoint, b"rempart");
    let hex: String = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, VECTOR);
    assert_eq!(datagram.len(), 7 + OVERHEAD);
}

const VECTOR: &str = "527001010102030405060708090a0b0c0d0e0f1000000000000000014bd5c89d4511531e56a4d922f1c1967e4c3e9761358bd25753b1fe2762c663eb7d04f45632ede5ab7448fb89e0d9a1f5043933d022ef4f03bf492b18dbbde690dc0d522aa809e1";

/// In: datagrams both ways after the introduction. Out: what was sealed, numbered; the first one of a session says so.
#[test]
fn carries_what_was_sealed() {
    let (mut first, mut second, now) = strangers();
    assert_eq!(open(&mut second, now, &sealed(&mut first, b"a")), Err(Refused::Unproven));
    let mut datagram = sealed(&mut second, b"b");
    let opened = first.open(now, &mut datagram).unwrap();
    assert!(opened.is_first());
    assert_eq!((opened.session(), opened.counter()), (session(2), 1));
    let mut datagram = sealed(&mut second, b"");
    let opened = first.open(now, &mut datagram).unwrap();
    assert!(!opened.is_first());
    assert_eq!((opened.get().len(), opened.counter()), (0, 2));
    assert_eq!(first.peer_session(), Some(session(2)));
    assert_eq!(first.counters(), Counters { accepted: 2, sessions: 1, ..Counters::default() });
}

/// In: the same datagram twice; one overtaken by 63 others; one overtaken by 64. Out: replayed; taken; replayed.
#[test]
fn each_datagram_counts_once() {
    let (mut first, mut second, now) = acquainted();
    let twice = sealed(&mut first, b"x");
    assert!(open(&mut second, now, &twice).is_ok());
    assert!(matches!(open(&mut second, now, &twice), Err(Refused::Replayed { .. })));
    for (others, taken) in [(63, true), (64, false)] {
        let late = sealed(&mut first, b"late");
        for _ in 0..others {
            assert!(open(&mut second, now, &sealed(&mut first, b"")).is_ok());
        }
        assert_eq!(open(&mut second, now, &late).is_ok(), taken, "{others}");
    }
}

/// In: every datagram that a session ever sent, played back after the peer was started anew, and again after we were.
/// Out: all refused, none changes which session is in force.
#[test]
fn recordings_change_nothing() {
    let (mut old, mut here, now) = strangers();
    let mut tape = Vec::new();
    tape.push(sealed(&mut old, b"0"));
    assert!(open(&mut here, now, &tape[0]).is_err());
    open(&mut old, now, &sealed(&mut here, b"")).unwrap();
    for number in 1..20 {
        let datagram = sealed(&mut old, &[number]);
        tape.push(datagram.clone());
        // Some never arrived.
        if number % 3 != 0 {
            open(&mut here, now, &datagram).unwrap();
        }
        let _ = open(&mut old, now, &sealed(&mut here, b""));
    }
    let mut new = heartbeats(NodeIndex::First, 3);
    introduce(&mut new, &mut here, now);
    let replay = |here: &mut Endpoint, tape: &[Vec<u8>]| {
        for (number, datagram) in tape.iter().enumerate() {
            assert_eq!(open(here, now, datagram), Err(Refused::Unproven), "{number}");
        }
    };
    replay(&mut here, &tape);
    assert_eq!(here.peer_session(), Some(session(3)));
    // The one in force is still heard, and still hears us.
    assert!(open(&mut here, now, &sealed(&mut new, b"")).is_ok());
    assert!(open(&mut new, now, &sealed(&mut here, b"")).is_ok());

    let mut here = heartbeats(NodeIndex::Second, 4);
    replay(&mut here, &tape);
    assert_eq!(here.peer_session(), None);
}

/// In: a peer that is started anew again and again while recordings of its older sessions are played to us. Out: each
/// session is adopted within a few datagrams.
#[test]
fn recordings_do_not_keep_a_fresh_session_waiting() {
    let (_, mut here, mut now) = strangers();
    let mut tape = Vec::new();
    for number in 10..40 {
        let mut peer = heartbeats(NodeIndex::First, number);
        let mut rounds = 0;
        loop {
            let datagram = sealed(&mut peer, b"");
            let adopted = open(&mut here, now, &datagram).is_ok();
            tape.push(datagram);
            if adopted {
                break;
            }
            for recorded in tape.iter().rev().skip(1).take(3) {
                let _ = open(&mut here, now, recorded);
            }
            let _ = open(&mut peer, now, &sealed(&mut here, b""));
            rounds += 1;
            now += Duration::from_millis(10);
            assert!(rounds < 10, "session {number} waits");
        }
    }
}

/// In: a datagram with one bit changed, each bit in turn; cut off at each length. Out: refused.
#[test]
fn nothing_else_is_taken() {
    let (mut first, mut second, now) = acquainted();
    let datagram = sealed(&mut first, b"content");
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&mut second, now, &changed).is_err(), "bit {bit}");
    }
    for length_bytes in 0..datagram.len() {
        assert!(open(&mut second, now, &datagram[..length_bytes]).is_err(), "{length_bytes}");
    }
    assert!(open(&mut second, now, &datagram).is_ok());
}

/// In: our own datagram; one of the other kind; of another pair; of somebody with our own index. Out: refused, each
/// for its reason.
#[test]
fn strangers_are_told_apart() {
    let (mut first, mut second, now) = acquainted();
    let own = sealed(&mut second, b"");
    assert_eq!(open(&mut second, now, &own), Err(Refused::Reflected));
    let mut journal = Endpoint::new(secret(7), Kind::Journal, NodeIndex::First, session(5));
    assert_eq!(open(&mut second, now, &sealed(&mut journal, b"")), Err(Refused::Kind { found: 2 }));
    let mut disguised = sealed(&mut journal, b"");
    disguised[3] = 1;
    assert_eq!(open(&mut second, now, &disguised), Err(Refused::Forged));
    let mut foreign = Endpoint::new(secret(8), Kind::Heartbeat, NodeIndex::First, session(6));
    assert_eq!(open(&mut second, now, &sealed(&mut foreign, b"")), Err(Refused::Forged));
    let mut twin = heartbeats(NodeIndex::Second, 7);
    assert_eq!(open(&mut second, now, &sealed(&mut twin, b"")), Err(Refused::Forged));
    let mut later = sealed(&mut first, b"");
    later[2] = 2;
    assert_eq!(open(&mut second, now, &later), Err(Refused::Version { found: 2 }));
    assert_eq!(open(&mut second, now, b"hello"), Err(Refused::Short { length_bytes: 5 }));
}

/// In: a flood of unknown sessions, at one instant and for a second. Out: the burst and then four in a millisecond are
/// tried; the session in force is heard all the time; a fresh one is adopted in spite of it.
#[test]
fn strangers_cost_little() {
    let (mut first, mut second, now) = acquainted();
    let mut noise = sealed(&mut first, b"noise");
    let mut flood = |here: &mut Endpoint, now, count: u64, from: u64| {
        for number in from..from + count {
            noise[4..12].copy_from_slice(&number.to_be_bytes());
            assert!(here.open(now, &mut noise.clone()).is_err());
        }
    };
    flood(&mut second, now, 1_000, 1_000);
    // One was spent on the introduction.
    let tried = u64::from(UNKNOWN_BURST) - 1;
    assert_eq!(second.counters().forged, tried);
    assert_eq!(second.counters().crowded, 1_000 - tried);
    assert!(open(&mut second, now, &sealed(&mut first, b"")).is_ok());

    let mut fresh = heartbeats(NodeIndex::First, 9);
    let mut adopted = None;
    for ms in 1..=1_000_u64 {
        let now = now + Duration::from_millis(ms);
        // Somewhere in the middle of a hundred others.
        flood(&mut second, now, ms * 7 % 9, ms * 10_000);
        if ms % 10 == 0 {
            if open(&mut second, now, &sealed(&mut fresh, b"")).is_ok() {
                adopted = Some(ms);
                break;
            }
            let _ = open(&mut fresh, now, &sealed(&mut second, b""));
        }
        flood(&mut second, now, 100, ms * 10_000 + 5_000);
    }
    assert!(adopted.is_some_and(|ms| ms < 500), "{adopted:?}");
    assert!(second.counters().forged <= u64::from(UNKNOWN_BURST + UNKNOWN_PER_MS * 500));
}

/// In: 40 sessions of the peer that never prove themselves. Out: no more than four are remembered, and forgotten after
/// a second.
#[test]
fn what_is_remembered_is_bounded() {
    let (_, mut here, now) = strangers();
    for number in 100..140 {
        let now = now + Duration::from_millis(number);
        let mut peer = heartbeats(NodeIndex::First, number);
        assert_eq!(open(&mut here, now, &sealed(&mut peer, b"")), Err(Refused::Unproven));
        assert!(here.on_trial() <= CANDIDATES);
    }
    let later = now + Duration::from_secs(3);
    let mut peer = heartbeats(NodeIndex::First, 200);
    assert_eq!(open(&mut here, later, &sealed(&mut peer, b"")), Err(Refused::Unproven));
    assert_eq!(here.on_trial(), 1);
}

/// In: everything that can be printed. Out: no byte of the secret.
#[test]
fn secrets_are_not_shown() {
    let endpoint = heartbeats(NodeIndex::First, 1);
    let shown = format!("{endpoint:?} {:?}", secret(0xab));
    assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"), "{shown}");
}

/// In: the session of zeros, which stands for none. Out: there is no such session.
#[test]
fn zeros_are_no_session() {
    assert_eq!(SessionId::new([0; 16]), None);
    let (mut first, mut second, now) = acquainted();
    let mut datagram = sealed(&mut first, b"");
    datagram[4..20].fill(0);
    assert_eq!(open(&mut second, now, &datagram), Err(Refused::Magic));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// In: counters in any order. Out: the window says of each what a list of all of them says.
    #[test]
    fn window_is_a_list(
        size in 1..=Window::MAX,
        steps in proptest::collection::vec((0_u64..3000, any::<bool>()), 1..200),
    ) {
        let mut window = Window::new(size);
        let mut seen = std::collections::BTreeSet::new();
        let mut base = 1;
        for (offset, jump) in steps {
            let counter = if jump { base + offset } else { (base + 100).saturating_sub(offset) };
            let highest = seen.last().copied().unwrap_or(0);
            let fresh = counter > highest || highest - counter < size && !seen.contains(&counter);
            prop_assert_eq!(window.allows(counter), fresh && counter != 0, "{} of {}", counter, highest);
            if window.allows(counter) {
                window.note(counter);
                seen.insert(counter);
                base = base.max(counter);
            }
            prop_assert_eq!(window.highest(), seen.last().copied().unwrap_or(0));
        }
    }

    /// In: any bytes. Out: refused.
    #[test]
    fn noise(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_, mut here, now) = strangers();
        prop_assert!(here.open(now, &mut bytes).is_err());
    }
}

/// In: a datagram of each kind, then with each byte of its beginning changed. Out: its kind; nothing of ours.
#[test]
fn a_datagram_says_what_it_is() {
    for kind in [Kind::Heartbeat, Kind::Journal] {
        let mut endpoint = Endpoint::new(secret(7), kind, NodeIndex::First, session(1));
        let datagram = sealed(&mut endpoint, b"what");
        assert_eq!(Kind::of(&datagram), Some(kind));
        for place in 0..4 {
            let mut changed = datagram.clone();
            changed[place] ^= 0x40;
            assert_eq!(Kind::of(&changed), None, "byte {place}");
        }
    }
    assert_eq!(Kind::of(&[]), None);
    assert_eq!(Kind::of(&MAGIC), None);
}
