//! The cases. Each says what goes in and what must come out.

use std::time::Duration;

use rempart_openvpn::cookie::Keys;
use rempart_openvpn::message::Notice;
use rempart_openvpn::packet::KeyId;
use rempart_openvpn::session::{Closed, Output, Seed, Session, Snapshot};
use rempart_openvpn::wrap::{ClientKey, Digest, Metadata, Mode, ServerKey, StaticKey, Wrapping};

use crate::client::{Authority, Client};
use crate::link::Link;
use crate::namespace::inside;
use crate::server::{PEER_ID, Policy, Server, now, random, settings};

const STATIC: &str = include_str!("../golden/keys/tls-crypt.key");
/// A client's key as the stock program makes it.
const CLIENT: &str = include_str!("../golden/keys/tls-crypt-v2-client.key");
const SERVER: &str = include_str!("../golden/keys/tls-crypt-v2-server.key");

/// How the control channel is wrapped: for the server, and as part of the profile.
struct Wrapped {
    keys: Keys,
    profile: String,
}

fn shared(mode: Mode) -> Wrapped {
    let key = StaticKey::parse(STATIC).unwrap();
    let profile = match mode {
        Mode::Crypt => format!("<tls-crypt>\n{STATIC}</tls-crypt>"),
        Mode::Auth(digest) => {
            let auth = match digest {
                Digest::Sha1 => "SHA1",
                Digest::Sha256 => "SHA256",
                Digest::Sha512 => "SHA512",
            };
            format!("auth {auth}\nkey-direction 1\n<tls-auth>\n{STATIC}</tls-auth>")
        }
    };
    Wrapped { keys: Keys { shared: Some(Wrapping { mode, key }), each: None }, profile }
}

fn v1() -> Wrapped {
    shared(Mode::Crypt)
}

/// With a key of our own making.
fn v2() -> Wrapped {
    let server = ServerKey::parse(SERVER).unwrap();
    let client = ClientKey { key: StaticKey::new(&random()), metadata: Metadata::User(b"laptop-7".to_vec()) };
    let file = server.client_file(&client).unwrap();
    Wrapped {
        profile: format!("<tls-crypt-v2>\n{}</tls-crypt-v2>", *file),
        keys: Keys { shared: None, each: Some(server) },
    }
}

/// With a key that the stock program has made.
fn stock_v2() -> Wrapped {
    let server = ServerKey::parse(SERVER).unwrap();
    Wrapped {
        profile: format!("<tls-crypt-v2>\n{CLIENT}</tls-crypt-v2>"),
        keys: Keys { shared: None, each: Some(server) },
    }
}

fn connected(server: &mut Server, client: &Client) {
    server
        .run_until(20, "the client is connected", |_| client.said("Initialization Sequence Completed") == 1);
    server.run_until(10, "a ping of the client opens", |server| server.pings.contains_key(&KeyId::FIRST));
}

fn key(id: u8) -> KeyId {
    KeyId::new(id).unwrap()
}

/// Connects, lets the server renew the key, then says good-bye.
fn whole_life(wrapped: Wrapped, extra: &str, change: impl FnOnce(&mut Server)) -> Server {
    let authority = Authority::new();
    let mut server = Server::new(settings(&authority), wrapped.keys.clone());
    change(&mut server);
    let mut client = Client::start(&authority, server.port(), &wrapped.profile, extra);
    connected(&mut server, &client);
    assert_eq!(server.logins, ["password"]);
    server.session().rekey(now());
    server.run_until(15, "a ping under the new key opens", |server| server.pings.contains_key(&key(1)));
    assert_eq!(server.logins, ["password", "token"], "the token is shown, nobody is asked");
    // Longer than `ping-restart 6`: the client opens our pings too.
    server.run_for(Duration::from_secs(8));
    client.assert_undisturbed();
    assert_eq!(server.sessions.len(), 1);
    if extra.is_empty() {
        server.record(if wrapped.keys.each.is_some() { "tls-crypt-v2" } else { "tls-crypt" });
    }
    client.interrupt();
    server.run_until(10, "the client has said that it goes", |server| server.closed == [Closed::Left]);
    server.run_until(10, "it has ended", |_| client.has_ended());
    server
}

/// In: tls-crypt, TLS 1.3. Out: a whole life; key ids above 0 come with the dynamic key.
#[test]
fn tls_crypt_and_tls_1_3() {
    inside("cases::tls_crypt_and_tls_1_3", || {
        whole_life(v1(), "", |_| {});
    });
}

/// In: tls-crypt, TLS 1.2. Out: the same.
#[test]
fn tls_crypt_and_tls_1_2() {
    inside("cases::tls_crypt_and_tls_1_2", || {
        whole_life(v1(), "tls-version-max 1.2", |_| {});
    });
}

/// In: tls-crypt-v2, TLS 1.3. Out: the same.
#[test]
fn tls_crypt_v2_and_tls_1_3() {
    inside("cases::tls_crypt_v2_and_tls_1_3", || {
        whole_life(stock_v2(), "", |_| {});
    });
}

/// In: tls-crypt-v2, TLS 1.2, and an MTU. Out: the same.
#[test]
fn tls_crypt_v2_and_tls_1_2() {
    inside("cases::tls_crypt_v2_and_tls_1_2", || {
        whole_life(v2(), "tls-version-max 1.2", |server| server.mtu = Some(1400));
    });
}

/// In: tls-auth of an old profile. Out: the same, without encryption of the control channel.
#[test]
fn tls_auth() {
    inside("cases::tls_auth", || {
        for digest in [Digest::Sha1, Digest::Sha256, Digest::Sha512] {
            let wrapped = shared(Mode::Auth(digest));
            let authority = Authority::new();
            let mut server = Server::new(settings(&authority), wrapped.keys);
            let client = Client::start(&authority, server.port(), &wrapped.profile, "");
            connected(&mut server, &client);
        }
    });
}

/// In: a server that exports no keys and offers no dynamic wrapping, as for 2.5. Out: the function of TLS 1.0 gives the
/// client's keys, for the first one and a renewal.
#[test]
fn keys_of_2_5() {
    inside("cases::keys_of_2_5", || {
        whole_life(v1(), "", |server| {
            let mut settings = (*server.settings).clone();
            (settings.exporter, settings.dynamic_wrapping) = (false, false);
            server.settings = settings.into();
        });
    });
}

/// In: TCP, where clients take each packet only in its place. Out: a whole life on a stream.
#[test]
fn a_tcp_connection() {
    inside("cases::a_tcp_connection", || {
        whole_life(v1(), "proto tcp-client", |server| server.link = Link::tcp());
        whole_life(stock_v2(), "proto tcp-client", |server| server.link = Link::tcp());
    });
}

/// In: a login that takes its time, without a question. Out: the client waits, and is connected then.
#[test]
fn a_slow_login() {
    inside("cases::a_slow_login", || {
        let wrapped = v1();
        let authority = Authority::new();
        let mut server = Server::new(settings(&authority), wrapped.keys);
        server.policy = Policy::Hold;
        let client = Client::start(&authority, server.port(), &wrapped.profile, "");
        server.run_until(10, "somebody is asked", |server| !server.logins.is_empty());
        server.session().pending(now(), KeyId::FIRST, 60, None).unwrap();
        server.run_for(Duration::from_secs(6));
        assert_eq!(client.said("AUTH_PENDING"), 1, "{}", client.log());
        server.policy = Policy::Accept;
        server.accept_held();
        connected(&mut server, &client);
        client.assert_undisturbed();
    });
}

/// In: a node that dies in the middle of a rekey, after the client has said everything. Out: the next one waits; the client
/// gives the key up after its hand-window and starts over in place, from the same address: it keeps its tunnel and its
/// peer-id, and nobody is asked.
#[test]
fn a_take_over_in_the_middle_of_a_rekey() {
    inside("cases::a_take_over_in_the_middle_of_a_rekey", || {
        let wrapped = v2();
        let authority = Authority::new();
        let mut server = Server::new(settings(&authority), wrapped.keys.clone());
        let client = Client::start(&authority, server.port(), &wrapped.profile, "hand-window 8");
        connected(&mut server, &client);
        server.policy = Policy::Hold;
        server.session().rekey(now());
        server.run_until(10, "the token is shown", |server| server.logins.len() == 2);
        let snapshot = server.session().snapshot().unwrap();
        assert_eq!(snapshot.in_flight, Some(key(1)));
        let (link, settings, sent) = (server.link, server.settings, server.sent);
        server = Server::on(link, settings, wrapped.keys);
        server.sent = (1 << 28) + sent;
        let mut session = Session::import(now(), server.settings.clone(), &snapshot, 3, Seed::new(&random()));
        session.rekey(now());
        server.sessions.insert((session.client(), session.client_session()), session);
        server.run_until(20, "the client starts over", |server| server.sessions.len() == 2);
        server.run_until(20, "it is connected again", |_| {
            client.said("Initialization Sequence Completed") == 2
        });
        server.run_until(10, "only the new session is left", |server| server.sessions.len() == 1);
        server.run_for(Duration::from_secs(8));
        assert_eq!(server.logins, ["token"]);
        for trouble in ["SIGUSR1", "AUTH_FAILED", "Restart pause", "Closing TUN"] {
            assert!(!client.log().contains(trouble), "{trouble}");
        }
    });
}

/// In: a client that renews its key every 5 s. Out: four keys later it is still undisturbed.
#[test]
fn the_client_renews() {
    inside("cases::the_client_renews", || {
        let wrapped = v2();
        let authority = Authority::new();
        let mut server = Server::new(settings(&authority), wrapped.keys);
        let client = Client::start(&authority, server.port(), &wrapped.profile, "reneg-sec 5");
        connected(&mut server, &client);
        server.run_until(40, "five keys", |server| server.logins.len() == 5);
        server.run_for(Duration::from_secs(3));
        assert!(server.logins[1..].iter().all(|shown| *shown == "token"), "{:?}", server.logins);
        client.assert_undisturbed();
        assert_eq!(server.sessions.len(), 1);
    });
}

/// In: a client that allows AES-128 only. Out: it is refused, and its log says what to do.
#[test]
fn aes_128_is_refused() {
    inside("cases::aes_128_is_refused", || {
        let wrapped = v1();
        let authority = Authority::new();
        let mut server = Server::new(settings(&authority), wrapped.keys);
        let mut client =
            Client::start(&authority, server.port(), &wrapped.profile, "data-ciphers AES-128-GCM");
        server.run_until(20, "the client has ended", |_| client.has_ended());
        assert_eq!(client.said("This server only speaks AES-256-GCM"), 1, "{}", client.log());
        server.run_until(10, "the session is over", |server| server.sessions.is_empty());
        assert!(matches!(server.closed[..], [Closed::Incompatible(_)]), "{:?}", server.closed);
        assert!(server.logins.is_empty());
    });
}

/// In: a login that the driver refuses. Out: the client shows the reason.
#[test]
fn a_refused_login_shows_its_reason() {
    inside("cases::a_refused_login_shows_its_reason", || {
        let wrapped = v2();
        let authority = Authority::new();
        let mut server = Server::new(settings(&authority), wrapped.keys);
        server.policy = Policy::Refuse;
        let mut client = Client::start(&authority, server.port(), &wrapped.profile, "");
        server.run_until(20, "the client has ended", |_| client.has_ended());
        assert!(client.log().contains("AUTH_FAILED,not today"), "{}", client.log());
        server.run_until(10, "the session is over", |server| server.closed == [Closed::Refused]);
    });
}

/// In: a client of another authority. Out: TLS fails, and the client is told by an alert.
#[test]
fn a_strange_certificate_fails_in_tls() {
    inside("cases::a_strange_certificate_fails_in_tls", || {
        let wrapped = v1();
        let (authority, other) = (Authority::new(), Authority::new());
        let mut server = Server::new(settings(&authority), wrapped.keys);
        // It believes our authority, but shows a certificate of the other.
        let stranger = authority.with_client_of(&other);
        let client = Client::start(&stranger, server.port(), &wrapped.profile, "");
        server.run_until(20, "the session is over", |server| !server.closed.is_empty());
        assert!(matches!(server.closed[..], [Closed::Tls(_), ..]), "{:?}", server.closed);
        server.run_until(10, "the client knows", |_| client.said("alert") > 0);
    });
}

/// In: the driver ends the session. Out: the client hears HALT and goes.
#[test]
fn halt_ends_the_client() {
    inside("cases::halt_ends_the_client", || {
        let wrapped = v1();
        let authority = Authority::new();
        let mut server = Server::new(settings(&authority), wrapped.keys);
        let mut client = Client::start(&authority, server.port(), &wrapped.profile, "");
        connected(&mut server, &client);
        server.session().disconnect(now(), &Notice::Halt("revoked".into()));
        server.run_until(10, "the client has ended", |_| client.has_ended());
        server.run_until(10, "the session is over", |server| server.closed == [Closed::Ended]);
        assert!(server.keys.is_empty());
    });
}

/// In: the session on a second node, made from the bytes of its snapshot, twice. Out: the same tunnel, fresh keys each time,
/// no prompt; the client notices nothing.
#[test]
fn a_take_over_is_not_noticed() {
    inside("cases::a_take_over_is_not_noticed", || take_over(v2(), "", true));
}

/// In: the same without dynamic keys, and with TLS 1.2. Out: the same.
#[test]
fn a_take_over_without_dynamic_keys() {
    inside("cases::a_take_over_without_dynamic_keys", || take_over(v1(), "tls-version-max 1.2", false));
}

fn take_over(wrapped: Wrapped, extra: &str, dynamic: bool) {
    let authority = Authority::new();
    let mut first = settings(&authority);
    first.dynamic_wrapping = dynamic;
    let mut server = Server::new(first, wrapped.keys.clone());
    let client = Client::start(&authority, server.port(), &wrapped.profile, extra);
    connected(&mut server, &client);
    for round in 1..=2u8 {
        let bytes = server.session().snapshot().unwrap().encode();
        let snapshot = Snapshot::decode(&bytes).unwrap();
        assert_eq!((snapshot.peer_id, &snapshot.identity.attached[..]), (PEER_ID, &b"agents"[..]));
        // The first node dies, with everything that it has.
        let (link, settings, sent) = (server.link, server.settings, server.sent);
        server = Server::on(link, settings, wrapped.keys.clone());
        server.sent = (u32::from(round) << 28) + (sent & 0xffff);
        let epoch = 2 + u64::from(round);
        let mut session =
            Session::import(now(), server.settings.clone(), &snapshot, epoch, Seed::new(&random()));
        session.rekey(now());
        server.sessions.insert((session.client(), session.client_session()), session);
        server.run_until(15, "a ping under the fresh key opens", |server| {
            server.pings.contains_key(&key(round))
        });
        assert_eq!(server.logins, ["token"]);
        assert_eq!(server.session().snapshot().unwrap().keys.last().unwrap().keys.made_in, epoch);
    }
    server.run_for(Duration::from_secs(8));
    client.assert_undisturbed();
    // And the client can still say something in the new TLS session.
    let mut client = client;
    client.interrupt();
    server.run_until(10, "the client has said that it goes", |server| server.closed == [Closed::Left]);
}

/// In: a session that was taken over, and nothing else. Out: a control message of the old TLS session is acknowledged,
/// though nobody can read it.
#[test]
fn messages_of_a_lost_tls_session_are_acknowledged() {
    inside("cases::messages_of_a_lost_tls_session_are_acknowledged", || {
        let wrapped = v2();
        let authority = Authority::new();
        let mut server = Server::new(settings(&authority), wrapped.keys.clone());
        let mut client = Client::start(&authority, server.port(), &wrapped.profile, "");
        connected(&mut server, &client);
        let snapshot = server.session().snapshot().unwrap();
        let mut session = Session::import(now(), server.settings.clone(), &snapshot, 4, Seed::new(&random()));
        assert!(matches!(session.poll_output(), Some(Output::Install(_))));
        server.sessions.clear();
        server.sessions.insert((session.client(), session.client_session()), session);
        client.interrupt();
        server.run_until(10, "the client has ended", |_| client.has_ended());
        assert!(server.closed.is_empty(), "nobody could read that it goes: {:?}", server.closed);
    });
}
