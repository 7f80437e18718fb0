use proptest::prelude::*;

use super::*;
use crate::key_exchange::{Features, PeerInfo};

fn features(text: &str) -> Features {
    PeerInfo::parse(text).features().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    let (nul, text) = bytes.split_last().unwrap();
    assert_eq!(*nul, 0);
    assert!(!text.contains(&0));
    std::str::from_utf8(text).unwrap()
}

/// In: what clients say. Out: what it is.
#[test]
fn requests_are_told_apart() {
    for (message, expected) in [
        (&b"PUSH_REQUEST"[..], Request::Push),
        (b"EXIT", Request::Exit),
        (b"CR_RESPONSE,MTIzNDU2", Request::Response(Zeroizing::new("123456".into()))),
        (b"CR_RESPONSE,!", Request::Other),
        (b"CR_RESPONSE", Request::Other),
        (b"EXIT,now", Request::Other),
        (b"INFO,x", Request::Other),
        (b"\xff", Request::Other),
        (b"", Request::Other),
    ] {
        assert_eq!(Request::parse(message), expected, "{message:?}");
    }
}

/// In: each thing that the server says. Out: its text as stock clients know it.
#[test]
fn notices_have_the_words_that_clients_know() {
    let refused = Notice::Refused;
    for (notice, expected) in [
        (refused(Refusal::Failed(String::new())), "AUTH_FAILED"),
        (refused(Refusal::Failed("no,\nnever".into())), "AUTH_FAILED,no, never"),
        (refused(Refusal::Session("log in again".into())), "AUTH_FAILED,SESSION:log in again"),
        (
            refused(Refusal::Temporary {
                backoff_s: 42,
                advance: Advance::No,
                text: "No free address".into(),
            }),
            "AUTH_FAILED,TEMP[backoff 42,advance no]:No free address",
        ),
        (
            refused(Refusal::Challenge {
                state: "s1".into(),
                user: "alice".into(),
                question: "Code?".into(),
                echo: true,
            }),
            "AUTH_FAILED,CRV1:R,E:s1:YWxpY2U=:Code?",
        ),
        (Notice::Pending { timeout_s: Some(60) }, "AUTH_PENDING,timeout 60"),
        (Notice::Pending { timeout_s: None }, "AUTH_PENDING"),
        (Notice::Question { text: "Code?".into(), echo: false }, "INFO_PRE,CR_TEXT:R:Code?"),
        (Notice::Restart { same_server: true, text: "moved".into() }, "RESTART,[N]moved"),
        (Notice::Halt("revoked".into()), "HALT,revoked"),
        (Notice::Info("hello".into()), "INFO,hello"),
    ] {
        assert_eq!(text(&notice.encode()), expected);
    }
    let long = Notice::Halt("é".repeat(2000)).encode();
    assert!(long.len() <= MAX_MESSAGE);
    text(&long);
}

/// In: the field for the password. Out: which form it has; broken forms are passwords.
#[test]
fn password_forms() {
    let secret = |text: &str| Zeroizing::new(text.to_owned());
    for (field, expected) in [
        ("", Submitted::Nothing),
        ("hunter2", Submitted::Password(secret("hunter2"))),
        (
            "SCRV1:aHVudGVyMg==:MTIzNDU2",
            Submitted::WithCode { password: secret("hunter2"), code: secret("123456") },
        ),
        ("SCRV1:!:MTIzNDU2", Submitted::Password(secret("SCRV1:!:MTIzNDU2"))),
        ("SCRV1:", Submitted::Password(secret("SCRV1:"))),
        ("CRV1::s1::123456", Submitted::Answer { state: "s1".into(), answer: secret("123456") }),
        ("CRV1::s1", Submitted::Password(secret("CRV1::s1"))),
        ("SESS_ID_AT_AAAA", Submitted::Token(secret("SESS_ID_AT_AAAA"))),
    ] {
        assert_eq!(Submitted::parse(field), expected, "{field}");
        assert!(field.is_empty() || !format!("{expected:?}").contains(field));
    }
}

fn full() -> PushOptions {
    PushOptions {
        address4: Some(Address4 { address: [10, 8, 0, 2].into(), prefix: 24, gateway: [10, 8, 0, 1].into() }),
        address6: Some(Address6 {
            address: "fd00::2".parse().unwrap(),
            prefix: 64,
            gateway: "fd00::1".parse().unwrap(),
        }),
        routes4: vec![Route4([192, 168, 10, 0].into(), 24)],
        routes6: vec![Route6("fd01::".parse().unwrap(), 48)],
        redirect: Redirect::Everything,
        dns4: vec![[192, 168, 10, 11].into()],
        dns6: vec!["fd01::11".parse().unwrap()],
        domain: Some(Domain::new("ad.example.org").unwrap()),
        search: vec![Domain::new("example.org").unwrap()],
        block_outside_dns: true,
        ping_s: 10,
        ping_restart_s: 60,
        tun_mtu: Some(1500),
        inactive_s: Some(3600),
        session_timeout_s: Some(36_000),
    }
}

/// In: everything, for clients of three kinds. Out: the text.
#[test]
fn options_become_text() {
    let new = features("IV_PROTO=990\nIV_CIPHERS=AES-256-GCM\nIV_MTU=1400");
    let grant =
        Grant { peer_id: 5, features: new, dynamic_wrapping: true, tcp: false, token: Some("SESS_ID_AT_x") };
    let messages = full().messages(&grant).unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(
        text(&messages[0]),
        "PUSH_REPLY,topology subnet,ifconfig 10.8.0.2 255.255.255.0,route-gateway 10.8.0.1,ifconfig-ipv6 fd00::2/64 fd00::1,\
         redirect-gateway def1 ipv6,route 192.168.10.0 255.255.255.0,route-ipv6 fd01::/48,dhcp-option DNS 192.168.10.11,\
         dhcp-option DNS6 fd01::11,dhcp-option DOMAIN ad.example.org,dhcp-option DOMAIN-SEARCH example.org,block-outside-dns,\
         ping 10,ping-restart 60,inactive 3600,session-timeout 36000,peer-id 5,cipher AES-256-GCM,\
         protocol-flags cc-exit tls-ekm dyn-tls-crypt,explicit-exit-notify 1,auth-token SESS_ID_AT_x,tun-mtu 1400"
    );
    let half = features("IV_PROTO=14\nIV_CIPHERS=AES-256-GCM");
    let grant = Grant { peer_id: 0, features: half, dynamic_wrapping: false, tcp: false, token: None };
    let without_6 = PushOptions { address6: None, redirect: Redirect::Everything, ..PushOptions::default() };
    assert_eq!(
        text(&without_6.messages(&grant).unwrap()[0]),
        "PUSH_REPLY,topology subnet,redirect-gateway def1,block-ipv6,peer-id 0,cipher AES-256-GCM,key-derivation tls-ekm,\
         explicit-exit-notify 1"
    );
    let old = features("IV_PROTO=6\nIV_NCP=2");
    let grant = Grant { features: old, tcp: true, ..grant };
    let messages = PushOptions { tun_mtu: Some(1400), ..PushOptions::default() }.messages(&grant).unwrap();
    assert_eq!(
        text(&messages[0]),
        "PUSH_REPLY,topology subnet,peer-id 0,cipher AES-256-GCM",
        "2.5 knows neither exported keys nor another MTU, and TCP no good-bye"
    );
}

/// In: what would break the client or the message. Out: refused before it is sent.
#[test]
fn what_cannot_be_pushed_is_refused() {
    for name in ["", ".", "a..b", "a b", "a,b", "é", "a\n", &"a".repeat(64), &"a.".repeat(127)] {
        assert!(Domain::new(name).is_err(), "{name:?}");
    }
    assert!(Domain::new("_msdcs.ad-1.example").is_ok());
    let many = PushOptions { routes4: vec![Route4([10, 0, 0, 0].into(), 8); 201], ..PushOptions::default() };
    assert!(matches!(many.check(), Err(PushError::TooMany { what: "IPv4 routes", .. })));
    let wrong = PushOptions { routes4: vec![Route4([10, 0, 0, 0].into(), 33)], ..PushOptions::default() };
    assert_eq!(wrong.check(), Err(PushError::Prefix(33)));
}

proptest! {
    /// In: any number of routes. Out: messages of at most 1024 bytes that hold each option once, in order, with the marks.
    #[test]
    fn long_replies_are_continued(count in 0usize..=MAX_ROUTES) {
        let routes4 = (0..count).map(|n| Route4([10, (n / 256) as u8, (n % 256) as u8, 0].into(), 24)).collect();
        let options = PushOptions { routes4, ..PushOptions::default() };
        let features = features("IV_PROTO=990\nIV_CIPHERS=AES-256-GCM");
        let grant = Grant { peer_id: 1, features, dynamic_wrapping: false, tcp: false, token: None };
        let messages = options.messages(&grant).unwrap();
        let mut routes = 0;
        for (place, message) in messages.iter().enumerate() {
            prop_assert!(message.len() <= MAX_MESSAGE);
            let text = text(message);
            prop_assert!(text.starts_with("PUSH_REPLY,"));
            for option in text.split(',').filter(|option| option.starts_with("route 10.")) {
                prop_assert_eq!(option, format!("route 10.{}.{}.0 255.255.255.0", routes / 256, routes % 256));
                routes += 1;
            }
            let expected = match place {
                _ if messages.len() == 1 => None,
                _ if place + 1 == messages.len() => Some("push-continuation 1"),
                _ => Some("push-continuation 2"),
            };
            prop_assert_eq!(text.split(',').find(|option| option.starts_with("push-c")), expected);
            prop_assert!(expected.is_none_or(|mark| text.ends_with(mark)));
        }
        prop_assert_eq!(routes, count);
    }

    /// In: noise. Out: no panic.
    #[test]
    fn noise_is_survived(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        Request::parse(&noise);
        Submitted::parse(&String::from_utf8_lossy(&noise));
    }
}
