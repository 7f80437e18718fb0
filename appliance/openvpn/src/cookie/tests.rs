use super::*;
use crate::packet::KeyId;
use crate::wrap::STATIC_KEY;

fn now() -> Now {
    Now { instant: Instant::now(), unix_s: 1_800_000_000 }
}

fn later(now: Now, seconds: u64) -> Now {
    Now { instant: now.instant + Duration::from_secs(seconds), unix_s: now.unix_s + seconds }
}

fn client() -> SocketAddr {
    "192.0.2.7:1194".parse().unwrap()
}

/// Client and server use the halves of a key the other way round: the client's key is the server's with halves swapped.
fn swapped(key: &StaticKey) -> Wrapping {
    let mut bytes = *key.expose();
    bytes.rotate_left(STATIC_KEY / 2);
    crypt(&StaticKey::new(&bytes))
}

fn shared_key() -> StaticKey {
    let mut bytes = [1; STATIC_KEY];
    bytes[..128].fill(2);
    StaticKey::new(&bytes)
}

fn server_key() -> ServerKey {
    ServerKey::new(&[9; 128])
}

fn client_key() -> ClientKey {
    let mut bytes = [3; STATIC_KEY];
    bytes[..128].fill(4);
    ClientKey { key: StaticKey::new(&bytes), metadata: Metadata::User(b"laptop-7".to_vec()) }
}

fn start(now: Now) -> Start {
    let keys = Keys { shared: Some(crypt(&shared_key())), each: Some(server_key()) };
    Start::new(now, CookieKey::new(&[5; 32]), keys, [6; 16])
}

const SID: SessionId = SessionId([0xc1; 8]);

fn packet(key: &StaticKey, opcode: Opcode, counter: u32, body: &Body<'_>) -> Vec<u8> {
    let header = Header { opcode, key_id: KeyId::FIRST, session: SID };
    let mut packet = swapped(key).seal(PacketId { time: 1, counter }, header, &body.encode());
    if opcode.brings_key() {
        packet.extend(server_key().wrap(&client_key()).unwrap());
    }
    packet
}

fn first() -> Body<'static> {
    Body { acks: Acks::default(), peer: None, message: Some(0), payload: &[] }
}

fn third(peer: SessionId, message: Option<u32>) -> Body<'static> {
    Body { acks: [0].into_iter().collect(), peer: Some(peer), message, payload: &[] }
}

fn reply(outcome: Outcome, key: &StaticKey) -> (SessionId, Vec<u8>) {
    let Outcome::Reply(bytes) = outcome else { panic!("{outcome:?}") };
    let opened = swapped(key).open(&bytes).unwrap();
    assert_eq!(opened.header.opcode, Opcode::HardResetServerV2);
    let body = Body::parse(opened.header.opcode, &opened.body).unwrap();
    assert_eq!((body.acks.as_slice(), body.peer, body.message), (&[0][..], Some(SID), Some(0)));
    (opened.header.session, body.payload.to_vec())
}

/// In: the three packets with tls-crypt. Out: an answer without state, then an admission.
#[test]
fn three_packets_admit() {
    let now = now();
    let mut start = start(now);
    let key = shared_key();
    let reset = packet(&key, Opcode::HardResetClientV2, 1, &first());
    let (ours, payload) = reply(start.handle(now, client(), &reset), &key);
    assert!(payload.is_empty());
    for (opcode, message) in [(Opcode::Control, Some(1)), (Opcode::Ack, None)] {
        let packet = packet(&key, opcode, 2, &third(ours, message));
        let Outcome::Admit(admission) = start.handle(now, client(), &packet) else { panic!("not admitted") };
        assert_eq!((admission.client_session, admission.server_session), (SID, ours));
        assert_eq!(admission.metadata, None);
        let elsewhere = "192.0.2.7:1195".parse().unwrap();
        assert!(matches!(start.handle(now, elsewhere, &packet), Outcome::Nothing(Dropped::Cookie)));
    }
    assert!(start.kept.is_empty());
    let far = packet(&key, Opcode::Control, 3, &third(ours, Some(2)));
    assert!(matches!(start.handle(now, client(), &far), Outcome::Nothing(Dropped::Stray)));
}

/// In: tls-crypt-v2 of 2.6. Out: it is told to repeat its key, nothing is stored, and its metadata arrive.
#[test]
fn a_client_that_repeats_its_key_costs_nothing() {
    let now = now();
    let mut start = start(now);
    let key = client_key().key;
    let reset = packet(&key, Opcode::HardResetClientV3, 0x0f00_0001, &first());
    let (ours, payload) = reply(start.handle(now, client(), &reset), &key);
    assert_eq!(payload, RESEND_WKC);
    assert!(start.kept.is_empty());
    let packet = packet(&key, Opcode::ControlWkc, 0x0f00_0002, &third(ours, Some(1)));
    let Outcome::Admit(admission) = start.handle(now, client(), &packet) else { panic!("not admitted") };
    assert_eq!(admission.metadata, Some(Metadata::User(b"laptop-7".to_vec())));
}

/// In: tls-crypt-v2 of 2.5. Out: its key is kept for a minute, for few clients at a time.
#[test]
fn an_older_client_is_remembered_for_a_while() {
    let now = now();
    let mut start = start(now);
    let key = client_key().key;
    let reset = packet(&key, Opcode::HardResetClientV3, 1, &first());
    let (ours, payload) = reply(start.handle(now, client(), &reset), &key);
    assert!(payload.is_empty());
    let go_on = packet(&key, Opcode::Control, 2, &third(ours, Some(1)));
    assert!(matches!(start.handle(later(now, 61), client(), &go_on), Outcome::Nothing(Dropped::Forged)));
    assert!(matches!(start.handle(now, client(), &go_on), Outcome::Admit(_)));
    assert!(start.kept.is_empty());
    let mut refused = 0;
    for port in 0..MAX_KEPT + 10 {
        // One prefix each, so that the rate limit is not what refuses.
        let from = SocketAddr::new([10, (port / 256) as u8, (port % 256) as u8, 1].into(), 1);
        refused += usize::from(matches!(start.handle(now, from, &reset), Outcome::Nothing(Dropped::Limited)));
    }
    assert_eq!((start.kept.len(), refused), (MAX_KEPT, 10));
}

/// In: a cookie that gets older, and one of a node whose clock is ahead. Out: two slots, and one ahead.
#[test]
fn cookies_age() {
    let key = CookieKey::new(&[5; 32]);
    let made = 1_800_000_000 / SLOT_S;
    let cookie = key.cookie(made, client(), SID);
    for (seconds, fresh) in [(-31i64, false), (-30, true), (0, true), (60, true), (89, true), (90, false)] {
        let unix_s = 1_800_000_000u64.checked_add_signed(seconds).unwrap();
        assert_eq!(key.check(unix_s, client(), SID, cookie), fresh, "{seconds}");
    }
    assert!(!CookieKey::new(&[4; 32]).check(1_800_000_000, client(), SID, cookie));
    assert!(!key.check(1_800_000_000, client(), SessionId([0; 8]), cookie));
}

/// In: what no key made, and what belongs elsewhere. Out: the reason for dropping it, and never an answer.
#[test]
fn strangers_get_no_answer() {
    let now = now();
    let mut start = start(now);
    let forged = packet(&StaticKey::new(&[8; STATIC_KEY]), Opcode::HardResetClientV2, 1, &first());
    let stray = packet(&shared_key(), Opcode::SoftReset, 1, &first());
    let acknowledging = packet(&shared_key(), Opcode::HardResetClientV2, 1, &third(SID, Some(0)));
    for (bytes, expected) in [
        (&forged[..], Dropped::Forged),
        (&stray, Dropped::Stray),
        (&acknowledging, Dropped::Malformed),
        (&[0x38; 20], Dropped::Malformed),
        (&[], Dropped::Malformed),
    ] {
        let outcome = start.handle(now, client(), bytes);
        assert!(matches!(outcome, Outcome::Nothing(why) if why == expected), "{outcome:?}");
    }
    let mut closed = Start::new(now, CookieKey::new(&[5; 32]), Keys::default(), [6; 16]);
    let reset = packet(&shared_key(), Opcode::HardResetClientV2, 1, &first());
    assert!(matches!(closed.handle(now, client(), &reset), Outcome::Nothing(Dropped::Forged)));
}

/// In: a thousand authentic beginnings from one network in one moment. Out: its bucket, and others are still answered.
#[test]
fn one_network_cannot_take_all_answers() {
    let now = now();
    let mut start = start(now);
    let reset = packet(&shared_key(), Opcode::HardResetClientV2, 1, &first());
    let answered =
        |start: &mut Start, now, from| matches!(start.handle(now, from, &reset), Outcome::Reply(_));
    let count = (0..1000)
        .filter(|port| answered(&mut start, now, SocketAddr::new([192, 0, 2, 1].into(), *port)))
        .count();
    assert_eq!(count, 200);
    assert!(answered(&mut start, now, "[2001:db8::1]:5".parse().unwrap()));
    assert!(answered(&mut start, later(now, 1), client()));
}
