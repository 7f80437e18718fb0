mod peer;

use proptest::prelude::*;

use super::*;
use crate::key_exchange::DirectionKey;
use crate::message::{Advance, PushOptions, Refusal};
use crate::token::{Claims, LoginId, TokenKey};
use crate::wrap::{Mode, OpenError, PacketId, StaticKey};
use peer::{PEER_INFO, Peer, SERVER, Stage, Style, accept, settings};

const STYLES: [Style; 2] = [Style::Two, Style::Three];

fn stage(style: Style) -> Stage {
    Stage::new(Peer::new(style), settings(), 1)
}

fn key(id: u8) -> KeyId {
    KeyId::new(id).unwrap()
}

/// In: a login that nobody answers, then an accepted one that is not replicated yet. Out: the client hears of no tunnel
/// before the other node has it.
#[test]
fn nothing_leaves_before_it_is_replicated() {
    let mut stage = stage(Style::Two);
    stage.willing = false;
    stage.run_for(Duration::from_secs(5));
    assert!(matches!(stage.outputs[..], [Output::Authenticate(_)]), "{:?}", stage.outputs);
    assert!(stage.session.snapshot().is_none());
    stage.session.accept(stage.now, KeyId::FIRST, accept()).unwrap();
    stage.run_for(Duration::from_secs(5));
    let [_, Output::Commit { ticket }] = stage.outputs[..] else { panic!("{:?}", stage.outputs) };
    assert_eq!(stage.session.snapshot().unwrap().keys.len(), 1);
    assert!(stage.peer.said.is_empty() && !stage.session.is_up());
    stage.session.committed(stage.now, ticket + 1);
    assert!(!stage.session.is_up(), "that was no ticket of ours");
    stage.session.committed(stage.now, ticket);
    stage.connect();
    assert!(
        stage.peer.said[0].contains("protocol-flags cc-exit tls-ekm dyn-tls-crypt"),
        "{:?}",
        stage.peer.said
    );
    assert!(matches!(stage.session.accept(stage.now, KeyId::FIRST, accept()), Err(AcceptError::NotAsked)));
    stage.session.committed(stage.now, ticket);
    stage.run_for(Duration::from_secs(30));
    assert_eq!(stage.installed().len(), 1);
    assert_eq!(stage.peer.said.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// In: a line that loses up to a third, doubles and reorders. Out: connected, renewed by either side, same keys.
    #[test]
    fn a_bad_line_is_stood(seed: u64, loss in 0u64..33, three: bool, client_renews: bool) {
        let peer = Peer::new(if three { Style::Three } else { Style::Two });
        let mut stage = Stage::new(peer, settings(), seed);
        stage.session.settings = patient();
        stage.loss_percent = loss;
        stage.connect();
        match client_renews {
            true => stage.peer.soft_reset(key(1)),
            false => stage.session.rekey(stage.now),
        }
        stage.run_until("a fresh key", |stage| stage.agree(key(1)));
        stage.run_until("a fresh token", |stage| stage.peer.said.len() == 2);
        prop_assert_eq!(stage.closed(), None);
    }
}

/// A hand-window that the worst line of the property is sure to fit in.
fn patient() -> Arc<Settings> {
    let mut settings = settings();
    settings.timing.hand_window = Duration::from_secs(600);
    settings.timing.idle = Duration::from_secs(600);
    Arc::new(settings)
}

/// In: renewals by the server, more than there are ids, with clients of both styles, with and without dynamic wrapping. Out:
/// the ids go 1 to 7 and 1 again; the token is shown each time; at most three keys are in use.
#[test]
fn the_server_renews_again_and_again() {
    for (style, dynamic) in STYLES.into_iter().flat_map(|style| [(style, true), (style, false)]) {
        let mut settings = settings();
        settings.dynamic_wrapping = dynamic;
        let mut stage = Stage::new(Peer::new(style), settings, 1);
        stage.connect();
        let mut id = KeyId::FIRST;
        for _ in 0..9 {
            id = id.next();
            stage.peer.contexts.retain(|context| context.id != id);
            stage.session.rekey(stage.now);
            let before = stage.installed().len();
            stage.run_until("a fresh key", |stage| stage.installed().len() > before && stage.agree(id));
            assert!(stage.session.snapshot().unwrap().keys.len() <= 3);
            stage.run_for(Duration::from_secs(1));
        }
        assert_eq!(id, key(2));
        assert!(
            stage.logins[1..]
                .iter()
                .all(|login| matches!(login.credential, Credential::Token(_)) && login.renewal)
        );
        assert_eq!(stage.closed(), None);
    }
}

/// In: the hourly renewal. Out: within the last tenth before its time, and the old key goes three minutes later.
#[test]
fn keys_are_renewed_by_time() {
    let mut settings = settings();
    settings.timing.idle = Duration::from_secs(86_400);
    let mut stage = Stage::new(Peer::new(Style::Two), settings, 1);
    stage.connect();
    let start = stage.now.instant;
    stage.run_for(Duration::from_secs(3500));
    assert!(stage.agree(key(1)));
    assert!(stage.now.instant - start <= Duration::from_secs(3501));
    assert_eq!(stage.installed().len(), 2);
    stage.run_for(Duration::from_secs(600));
    let retired =
        stage.outputs.iter().any(|output| matches!(output, Output::Retire(id) if *id == KeyId::FIRST));
    assert!(retired, "{:?}", stage.outputs);
}

/// In: both sides begin at once, with the same id. Out: one new key.
#[test]
fn both_sides_may_begin_at_once() {
    let mut stage = stage(Style::Two);
    stage.connect();
    stage.session.rekey(stage.now);
    stage.peer.soft_reset(key(1));
    stage.run_until("a fresh key", |stage| stage.agree(key(1)));
    stage.run_for(Duration::from_secs(20));
    assert_eq!(stage.installed().len(), 2);
    assert_eq!(stage.closed(), None);
}

/// In: a client that answers no soft reset. Out: the same id is offered again, and in the end the session is over.
#[test]
fn a_client_that_will_not_renew_is_let_go() {
    let mut settings = settings();
    settings.timing.idle = Duration::from_secs(86_400);
    let mut stage = Stage::new(Peer::new(Style::Two), settings, 1);
    stage.connect();
    stage.peer.deaf = true;
    stage.run_for(Duration::from_secs(3800));
    assert_eq!(stage.session.next_key, key(1), "the client has not used it up");
    stage.run_for(Duration::from_secs(400));
    assert_eq!(stage.closed(), Some(&Closed::KeyTooOld));
    assert!(stage.peer.said.last().unwrap().starts_with("RESTART,[N]"), "{:?}", stage.peer.said);
}

/// In: renewals by somebody else: another certificate, another user, a token of another login, a forged token, a password
/// after a token. Out: refused with the word that makes a client ask its person; the tunnel is cut at once. A password is
/// for the driver to judge.
#[test]
fn a_renewal_is_by_the_same_client() {
    let key_of_tokens = TokenKey::new(&[3; 32]);
    let other_login = Claims { login: LoginId([0; 12]), issued_unix_s: 1, renewed_unix_s: 1 };
    let of_other_login = key_of_tokens.make(other_login, "alice");
    let forged = TokenKey::new(&[4; 32]).make(other_login, "alice");
    type Change<'a> = &'a dyn Fn(&mut Peer);
    let cases: [(&str, Change<'_>); 4] = [
        ("certificate", &|peer| peer.certificate = 1),
        ("user", &|peer| peer.user = "bob".to_owned()),
        ("another login", &|peer| peer.password = of_other_login.to_string()),
        ("not known", &|peer| peer.password = forged.to_string()),
    ];
    for (expected, change) in cases {
        let mut stage = stage(Style::Two);
        stage.connect();
        change(&mut stage.peer);
        stage.session.rekey(stage.now);
        stage.run_until("the end", |stage| stage.closed().is_some());
        let said = stage.peer.said.last().unwrap();
        assert!(said.starts_with("AUTH_FAILED,SESSION:") && said.contains(expected), "{said}");
        assert!(matches!(
            stage.outputs[stage.outputs.len() - 2..],
            [Output::Cut, Output::Closed(Closed::Refused)]
        ));
        assert_eq!(stage.installed().len(), 1);
    }
    let mut stage = stage(Style::Two);
    stage.connect();
    stage.peer.password = "secret".to_owned();
    stage.session.rekey(stage.now);
    stage.run_until("a fresh key", |stage| stage.agree(key(1)));
    assert!(matches!(stage.logins[1].credential, Credential::Submitted(_)));
}

/// In: OpenVPN 3 shows its token without a user name. Out: it is the known user.
#[test]
fn a_token_may_come_without_a_name() {
    let mut stage = stage(Style::Three);
    stage.connect();
    stage.peer.user.clear();
    stage.session.rekey(stage.now);
    stage.run_until("a fresh key", |stage| stage.agree(key(1)));
    assert_eq!(stage.logins[1].user, "alice");
}

/// In: refusals of all kinds. Out: what the client hears, with and without the word for a temporary one; the session ends
/// as soon as it was heard.
#[test]
fn refusals_arrive() {
    let temporary = Refusal::Temporary { backoff_s: 5, advance: Advance::No, text: "full".to_owned() };
    for (refusal, peer_info, expected) in [
        (Refusal::Failed("no".to_owned()), PEER_INFO.to_owned(), "AUTH_FAILED,no"),
        (temporary.clone(), PEER_INFO.to_owned(), "AUTH_FAILED,TEMP[backoff 5,advance no]:full"),
        (temporary, PEER_INFO.replace("990", "14"), "AUTH_FAILED,full"),
    ] {
        let mut peer = Peer::new(Style::Two);
        peer.peer_info = peer_info;
        let mut stage = Stage::new(peer, settings(), 1);
        stage.willing = false;
        stage.run_for(Duration::from_secs(2));
        let began = stage.now.instant;
        stage.session.reject(stage.now, KeyId::FIRST, refusal);
        stage.run_until("the end", |stage| stage.closed().is_some());
        assert_eq!(stage.peer.said, [expected]);
        assert_eq!(stage.closed(), Some(&Closed::Refused));
        assert!(stage.now.instant - began < Duration::from_secs(1));
        assert!(stage.session.handle_datagram(stage.now, &[]).is_err());
        assert_eq!(stage.session.poll_timeout(stage.now), None);
    }
}

/// In: a question at the client. Out: one answer reaches the driver, no second one; a client that knows no questions says so.
#[test]
fn a_question_is_answered_once() {
    let mut stage = stage(Style::Two);
    stage.willing = false;
    stage.run_for(Duration::from_secs(2));
    stage.session.pending(stage.now, KeyId::FIRST, 120, Some(("Code?", true))).unwrap();
    stage.run_until("the question", |stage| stage.peer.said.len() == 2);
    assert_eq!(stage.peer.said, ["AUTH_PENDING,timeout 120", "INFO_PRE,CR_TEXT:R,E:Code?"]);
    // A hand-window of 60 s is over, but a person is slow.
    stage.run_for(Duration::from_secs(80));
    stage.peer.say("CR_RESPONSE,MTIzNDU2");
    stage.peer.say("CR_RESPONSE,MTIzNDU2");
    stage.run_for(Duration::from_secs(2));
    let [Output::Authenticate(_), Output::Answer { text, .. }] = &stage.outputs[..] else {
        panic!("{:?}", stage.outputs)
    };
    assert_eq!(text.as_str(), "123456");
    stage.willing = true;
    stage.session.accept(stage.now, KeyId::FIRST, accept()).unwrap();
    stage.connect();
    let asked = stage.session.pending(stage.now, KeyId::FIRST, 1, None);
    assert_eq!(asked, Err(PendingError::NotAsked));

    let mut peer = Peer::new(Style::Two);
    peer.peer_info = PEER_INFO.replace("crtext", "webauth");
    let mut stage = Stage::new(peer, settings(), 1);
    stage.willing = false;
    stage.run_for(Duration::from_secs(2));
    let asked = stage.session.pending(stage.now, KeyId::FIRST, 120, Some(("Code?", true)));
    assert_eq!(asked, Err(PendingError::NoQuestions));
}

/// In: a client that stops in its handshake, one that is never accepted, one that falls silent. Out: each session ends by
/// its own time.
#[test]
fn silence_ends_a_session() {
    let mut stage = stage(Style::Two);
    stage.loss_percent = 100;
    let began = stage.now.instant;
    stage.run_until("the end", |stage| stage.closed().is_some());
    assert_eq!(stage.closed(), Some(&Closed::HandshakeTimeout));
    assert!((60..62).contains(&(stage.now.instant - began).as_secs()));

    let mut undecided = self::stage(Style::Two);
    undecided.willing = false;
    undecided.run_until("the end", |stage| stage.closed().is_some());
    assert_eq!(undecided.closed(), Some(&Closed::HandshakeTimeout));

    // Accepted, but the other node never said that it knows.
    let mut alone = self::stage(Style::Two);
    alone.willing = false;
    alone.run_for(Duration::from_secs(2));
    alone.session.accept(alone.now, KeyId::FIRST, accept()).unwrap();
    alone.run_until("the end", |stage| stage.closed().is_some());
    assert_eq!(alone.closed(), Some(&Closed::HandshakeTimeout));

    let mut silent = self::stage(Style::Two);
    silent.connect();
    silent.run_for(Duration::from_secs(100));
    silent.session.heard(silent.now);
    let heard = silent.now.instant;
    silent.run_until("the end", |stage| stage.closed().is_some());
    assert_eq!(silent.closed(), Some(&Closed::Idle));
    assert!((120..122).contains(&(silent.now.instant - heard).as_secs()));
}

/// In: EXIT, and a driver that disconnects. Out: the keys are cut first; the client is told.
#[test]
fn good_byes() {
    let mut stage = stage(Style::Two);
    stage.connect();
    stage.peer.say("EXIT");
    stage.run_until("the end", |stage| stage.closed().is_some());
    assert_eq!(stage.closed(), Some(&Closed::Left));

    let mut ended = self::stage(Style::Two);
    ended.connect();
    ended.session.disconnect(ended.now, &Notice::Halt("revoked".to_owned()));
    assert!(matches!(ended.session.poll_output(), Some(Output::Changed | Output::Cut)));
    assert!(ended.session.snapshot().is_none(), "no key is left to replicate");
    ended.run_until("the end", |stage| stage.closed().is_some());
    assert_eq!(ended.peer.said.last().map(String::as_str), Some("HALT,revoked"));
    ended.session.committed(ended.now, 1);
    assert!(!ended.session.is_up());
}

/// In: a session that was replicated, on a second node that knows nothing else. Out: a soft reset with a fresh key under
/// the next id, made in the second node's epoch; the client shows its token.
#[test]
fn a_session_is_carried_on() {
    for (style, dynamic) in STYLES.into_iter().flat_map(|style| [(style, true), (style, false)]) {
        let mut settings = settings();
        settings.dynamic_wrapping = dynamic;
        let mut stage = Stage::new(Peer::new(style), settings.clone(), 1);
        stage.connect();
        for round in 1..=3 {
            let bytes = stage.session.snapshot().unwrap().encode();
            assert!(bytes.len() <= MAX_SNAPSHOT);
            let snapshot = Snapshot::decode(&bytes).unwrap();
            assert_eq!(snapshot, stage.session.snapshot().unwrap());
            let settings = Arc::new(settings.clone());
            stage.session =
                Session::import(stage.now, settings, &snapshot, 2 + round, Seed::new(&[round as u8; 32]));
            stage.outputs.clear();
            stage.session.rekey(stage.now);
            stage.run_until("a fresh key", |stage| stage.agree(key(round as u8)));
            let newest = stage.installed().last().map(|keys| keys.made_in);
            assert_eq!(newest, Some(2 + round));
            assert_eq!(stage.session.identity().unwrap().attached, b"agents");
            stage.run_for(Duration::from_secs(3));
        }
        assert!(stage.logins[1..].iter().all(|login| matches!(login.credential, Credential::Token(_))));
    }
}

/// In: the first node dies in the middle of a rekey. Out: the second one waits, and disturbs nothing; then it takes the id
/// after the one that the client has used up.
#[test]
fn a_rekey_under_way_is_waited_for() {
    let mut stage = stage(Style::Two);
    stage.connect();
    stage.willing = false;
    stage.session.rekey(stage.now);
    stage.run_until("the question", |stage| matches!(stage.outputs.last(), Some(Output::Authenticate(_))));
    let snapshot = stage.session.snapshot().unwrap();
    assert_eq!((snapshot.in_flight, snapshot.next_key), (Some(key(1)), key(2)));
    let mut settings = settings();
    settings.timing.idle = Duration::from_secs(600);
    stage.session = Session::import(stage.now, Arc::new(settings), &snapshot, 3, Seed::new(&[1; 32]));
    (stage.willing, stage.outputs) = (true, Vec::new());
    stage.session.rekey(stage.now);
    stage.run_for(Duration::from_secs(80));
    assert_eq!(stage.installed().len(), 1, "only the key that it has brought");
    // The client has given up by now, and its next id is 2.
    stage.peer.contexts.retain(|context| context.id == KeyId::FIRST);
    stage.run_until("a fresh key", |stage| stage.agree(key(2)));

    // And a client that begins by itself is not kept waiting, whatever id it takes.
    let mut session = Session::import(stage.now, patient(), &snapshot, 3, Seed::new(&[1; 32]));
    assert_eq!(session.client_resets(stage.now, KeyId::FIRST), Err(Dropped::NoKey));
    assert_eq!(session.client_resets(stage.now, key(3)), Ok(()));
    assert_eq!(session.in_flight, None);
}

/// In: a message in the TLS session that was lost. Out: its acknowledgement and nothing else, for few at a time.
#[test]
fn lost_messages_are_acknowledged() {
    let mut stage = stage(Style::Three);
    stage.connect();
    stage.run_for(Duration::from_secs(5));
    let snapshot = stage.session.snapshot().unwrap();
    stage.session = Session::import(stage.now, patient(), &snapshot, 3, Seed::new(&[1; 32]));
    stage.peer.say("EXIT");
    let packet = stage.peer.poll_transmit(stage.now).unwrap();
    stage.session.handle_datagram(stage.now, &packet).unwrap();
    assert!(stage.session.poll_transmit(stage.now).is_some());
    assert_eq!(stage.session.poll_transmit(stage.now), None);
    assert!(matches!(
        stage.session.handle_datagram(stage.now, &packet),
        Err(Dropped::Wrapping(OpenError::Replayed))
    ));
    for message in 0..100 {
        stage.session.acknowledge_lost(KeyId::FIRST, Some(message)).unwrap();
    }
    assert_eq!(stage.session.lost_acks.len(), MAX_LOST_ACKS);
    assert_eq!(stage.session.acknowledge_lost(key(4), Some(1)), Err(Dropped::NoKey));
}

/// In: packets that belong elsewhere. Out: dropped, with the reason; nothing changes.
#[test]
fn strange_packets_are_dropped() {
    let mut stage = stage(Style::Two);
    let mut packet = stage.peer.poll_transmit(stage.now).unwrap();
    assert_eq!(stage.session.handle_datagram(stage.now, &[]), Err(Dropped::Malformed(Malformed::Short)));
    let mut other = packet.clone();
    other[1] ^= 1;
    assert_eq!(stage.session.handle_datagram(stage.now, &other), Err(Dropped::Other));
    *packet.last_mut().unwrap() ^= 1;
    assert_eq!(stage.session.handle_datagram(stage.now, &packet), Err(Dropped::Wrapping(OpenError::Forged)));
    // A soft reset before there is anything to renew.
    stage.peer.contexts.clear();
    stage.peer.soft_reset(key(1));
    let reset = stage.peer.poll_transmit(stage.now).unwrap();
    assert_eq!(stage.session.handle_datagram(stage.now, &reset), Err(Dropped::NoKey));
    assert_eq!(stage.session.states.len(), 1);
    assert_ne!(stage.session.server_session, CLIENT_SESSION);
    assert_eq!(stage.session.server_session, SERVER);
}

const CLIENT_SESSION: SessionId = peer::CLIENT;

/// In: options that cannot be pushed, an attachment that is too long. Out: the driver is told, and may try again.
#[test]
fn what_cannot_be_accepted_is_said() {
    let mut stage = stage(Style::Two);
    stage.willing = false;
    stage.run_for(Duration::from_secs(2));
    let attached = vec![0; MAX_ATTACHED + 1];
    let error = stage.session.accept(stage.now, KeyId::FIRST, Accept { attached, ..accept() });
    assert!(matches!(error, Err(AcceptError::Attached(_))));
    let routes4 = vec![crate::message::Route4([10, 0, 0, 0].into(), 40)];
    let options = PushOptions { routes4, ..PushOptions::default() };
    let error = stage.session.accept(stage.now, KeyId::FIRST, Accept { options, ..accept() });
    assert!(matches!(error, Err(AcceptError::Push(_))));
    stage.session.accept(stage.now, KeyId::FIRST, accept()).unwrap();
}

fn snapshot() -> Snapshot {
    let direction = |byte| DirectionKey { key: [byte; 32], implicit_iv: [byte; 8] };
    let keys = DataKeys { key_id: key(3), made_in: 2, seal: direction(1), open: direction(2) };
    Snapshot {
        client_session: SessionId([1; 8]),
        server_session: SessionId([2; 8]),
        client: "[2001:db8::7]:4321".parse().unwrap(),
        tcp: true,
        peer_id: 0x00ff_fffe,
        wrapping: Wrapping { mode: Mode::Crypt, key: StaticKey::new(&[3; 256]) },
        dynamic: Some(StaticKey::new(&[4; 256])),
        time: 7,
        received: PacketId { time: 8, counter: 9 },
        received_dynamic: PacketId { time: 10, counter: 11 },
        next_key: key(4),
        in_flight: Some(key(4)),
        identity: Identity {
            certificate: Some([5; 32]),
            user: "élise".to_owned(),
            login: LoginId([6; 12]),
            issued_unix_s: 12,
            protocol_bits: 990,
            attached: vec![7; 100],
        },
        keys: vec![SnapshotKey { keys, since_unix_s: 13 }],
    }
}

/// In: a snapshot, cut anywhere, or with one byte more. Out: an error; whole it comes back, and its keys are never printed.
#[test]
fn snapshots_come_back_whole() {
    for whole in [
        snapshot(),
        Snapshot {
            dynamic: None,
            in_flight: None,
            tcp: false,
            client: "192.0.2.1:1".parse().unwrap(),
            ..snapshot()
        },
    ] {
        let bytes = whole.encode();
        assert_eq!(Snapshot::decode(&bytes).unwrap(), whole);
        for length in 0..bytes.len() {
            assert!(Snapshot::decode(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Snapshot::decode(&longer), Err(SnapshotError::Long));
        let printed = format!("{whole:?}");
        assert!(printed.contains("StaticKey(..)") && printed.contains("DirectionKey(..)"), "{printed}");
    }
    let twice = Snapshot { keys: vec![snapshot().keys[0].clone(), snapshot().keys[0].clone()], ..snapshot() };
    assert_eq!(Snapshot::decode(&twice.encode()), Err(SnapshotError::Field("key id")));
    let none = Snapshot { keys: Vec::new(), ..snapshot() };
    assert_eq!(Snapshot::decode(&none.encode()), Err(SnapshotError::Field("number of keys")));
    let large = Snapshot { peer_id: 0x0100_0000, ..snapshot() };
    assert_eq!(Snapshot::decode(&large.encode()), Err(SnapshotError::Field("peer-id")));
    assert_eq!(Snapshot::decode(&[9, 0]), Err(SnapshotError::Format(9)));
}

proptest! {
    /// In: a snapshot with a changed byte, or noise. Out: no panic, and what is taken can be written again.
    #[test]
    fn changed_snapshots_are_survived(place in 0usize..1200, with: u8, noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut bytes = snapshot().encode();
        if let Some(byte) = bytes.get_mut(place) {
            *byte = with;
        }
        if let Ok(taken) = Snapshot::decode(&bytes) {
            prop_assert_eq!(taken.encode(), bytes);
        }
        let _ = Snapshot::decode(&noise);
    }
}
