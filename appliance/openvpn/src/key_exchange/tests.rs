use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16 + 1).to_be_bytes()[..], text.as_bytes(), &[0]].concat()
}

fn client_message(user: &str, password: &str, peer_info: &str) -> Vec<u8> {
    let pre_master: Vec<u8> = (0..48).collect();
    let head = [&[0, 0, 0, 0, 2][..], &pre_master, &[0x11; 32], &[0x22; 32]].concat();
    [head, text("V4,dev-type tun"), text(user), text(password), text(peer_info)].concat()
}

const PEER_2_6: &str = "IV_VER=2.6.14\nIV_PLAT=linux\nIV_TCPNL=1\nIV_MTU=1600\nIV_NCP=2\nIV_CIPHERS=AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305\nIV_PROTO=990\nIV_LZO_STUB=1\nIV_COMP_STUB=1\nIV_COMP_STUBv2=1\n";

/// In: the test vector of TLS 1.0's function, checked with OpenSSL's `kdf TLS1-PRF`. Out: its 104 bytes.
#[test]
fn the_function_of_tls_1_0() {
    let mut out = [0; 104];
    prf::prf(&[0xab; 48], &[b"PRF Test", b"vector", &[0xcd; 64]], &mut out);
    let expected = hex(
        "D3D4D1E349B5D515044666D51DE32BAB258CB521B6B053463E354832FD976754443BCF9A296519BC289ABCBC1187E4EBD31E602353776C408AAFB74CBC85EFF69255F9788FAA184CBB957A9819D84A5D7EB006EB459D3AE8DE9810454B8B2D8F1AFBC655A8C9A013",
    );
    assert_eq!(out[..], expected[..]);
}

/// In: both messages and session ids. Out: keys that OpenSSL's `kdf` gives when it is called twice by hand.
#[test]
fn keys_of_2_5() {
    let bytes = client_message("", "", "");
    let (client, length) = ClientMessage::parse(&bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    let mut ours = [0x33; 64];
    ours[32..].fill(0x44);
    let material = Material {
        client: &client,
        server: &Randoms::new(&ours),
        client_session: SessionId([0xc1; 8]),
        server_session: SessionId([0x5e; 8]),
    };
    let keys = split(&prf::key_block(&material), KeyId::FIRST, 7);
    assert_eq!(keys.open.key[..], hex("f0058d4ef9ede962383fbed574cc802a952bd101e50db7719a648504f914849a"));
    assert_eq!(keys.open.implicit_iv[..], hex("d5ca5eb41cfbf678"));
    assert_eq!(keys.seal.key[..], hex("7a2e9790e07d5aec793b9f4c7b3bc2835d0cd272f11c2cecc5b2fe2753524f97"));
    assert_eq!(keys.seal.implicit_iv[..], hex("efd78757f39b4c5d"));
    assert_eq!(keys.made_in, 7);
}

/// In: a client's message, cut anywhere. Out: nothing until it is whole; what follows it is left.
#[test]
fn a_message_is_read_when_it_is_whole() {
    let mut bytes = client_message("alice", "secret", PEER_2_6);
    let whole = bytes.len();
    for length in 0..whole {
        assert!(ClientMessage::parse(&bytes[..length]).unwrap().is_none(), "{length}");
    }
    bytes.extend(b"PUSH_REQUEST\0");
    let (message, length) = ClientMessage::parse(&bytes).unwrap().unwrap();
    assert_eq!(length, whole);
    assert_eq!((message.user.as_str(), message.password.as_str()), ("alice", "secret"));
    assert!(!format!("{message:?}").contains("secret"));
    let features = message.peer_info.features().unwrap();
    assert_eq!(features.derivation, Derivation::Exporter);
    assert!(
        features.unasked_push
            && features.pending_keywords
            && features.exit_message
            && features.dynamic_wrapping
    );
    assert!(features.temporary_failure && !features.dns_option && !features.text_challenge);
    assert_eq!((features.bits, features.mtu), (990, Some(1600)));
}

/// In: messages that break a rule. Out: which one.
#[test]
fn broken_messages_are_refused() {
    assert_eq!(ClientMessage::parse(&[0, 0, 0, 0, 1]).unwrap_err(), Invalid::Method);
    assert_eq!(ClientMessage::parse(b"PUSH_REQUEST\0").unwrap_err(), Invalid::Method);
    let error = |bytes: &[u8]| ClientMessage::parse(bytes).unwrap_err();
    assert_eq!(error(&client_message(&"a".repeat(MAX_USER + 1), "", "")), Invalid::Text("user name"));
    assert_eq!(error(&client_message("", &"a".repeat(MAX_PASSWORD + 1), "")), Invalid::Text("password"));
    assert_eq!(error(&client_message("a\0b", "", "")), Invalid::Text("user name"));
    let mut open = client_message("alice", "", "");
    let end = open.windows(6).position(|window| window == b"alice\0").unwrap() + 5;
    open[end] = b'!';
    assert_eq!(error(&open), Invalid::Text("user name"));
    open[end] = 0;
    open[end - 1] = 0xff;
    assert_eq!(error(&open), Invalid::Text("user name"));
}

/// In: what clients of several kinds offer. Out: served or not, and how their keys are made.
#[test]
fn only_aes_256_gcm_is_served() {
    let features = |text: &str| PeerInfo::parse(text).features();
    assert_eq!(features("IV_PROTO=990\nIV_CIPHERS=AES-128-GCM:CHACHA20-POLY1305"), Err(Incompatible::Cipher));
    assert_eq!(features("IV_PROTO=990"), Err(Incompatible::Cipher));
    assert_eq!(features("IV_PROTO=990\nIV_NCP=1"), Err(Incompatible::Cipher));
    assert_eq!(features("IV_CIPHERS=AES-256-GCM"), Err(Incompatible::Data));
    assert_eq!(features("IV_PROTO=1\nIV_CIPHERS=AES-256-GCM"), Err(Incompatible::Data));
    // 2.5.1 announces 6.
    let old = features("IV_PROTO=6\nIV_NCP=2").unwrap();
    assert_eq!((old.derivation, old.unasked_push, old.exit_message), (Derivation::Prf, true, false));
    assert_eq!(features("IV_PROTO=6\nIV_CIPHERS=aes-256-gcm").unwrap().derivation, Derivation::Prf);
    assert!(features("IV_PROTO=8094\nIV_CIPHERS=AES-256-GCM\nIV_SSO=webauth,crtext").unwrap().text_challenge);
    assert!(Incompatible::Cipher.to_string().contains("AES-256-GCM"));
}

/// In: names and values that would disturb a console, too many of them, too long ones. Out: they are not kept.
#[test]
fn peer_info_is_bounded_and_printable() {
    let info = PeerInfo::parse("A=1\nB=\x1b[2J\n=x\nnothing\nC=é\nD=2\r\n");
    assert_eq!(info.variables().collect::<Vec<_>>(), [("A", "1"), ("D", "2")]);
    let many: String = (0..1000).map(|n| format!("V{n}={n}\n")).collect();
    assert_eq!(PeerInfo::parse(&many).variables().count(), MAX_VARIABLES);
    assert_eq!(PeerInfo::parse(&format!("A={}", "x".repeat(600))).variables().count(), 0);
}

/// In: the server's message. Out: read as a client reads it, with three empty strings at the end.
#[test]
fn the_server_answers_in_the_same_form() {
    let message = server_message(&Randoms::new(&[9; 64]), false);
    assert_eq!(message[..5], [0, 0, 0, 0, 2]);
    let length = usize::from(u16::from_be_bytes([message[69], message[70]]));
    let options = std::str::from_utf8(&message[71..71 + length]).unwrap();
    assert!(options.starts_with("V4,") && options.ends_with("tls-server\0"), "{options}");
    assert_eq!(message[71 + length..], [0; 6]);
    assert!(server_message(&Randoms::new(&[9; 64]), true).windows(11).any(|window| window == b"TCPv4_SERVE"));
}

proptest! {
    /// In: noise. Out: no panic.
    #[test]
    fn noise_is_survived(noise in prop::collection::vec(any::<u8>(), 0..300), start: bool) {
        let bytes = if start { [&[0, 0, 0, 0, 2][..], &noise].concat() } else { noise.clone() };
        let _ = ClientMessage::parse(&bytes);
        let _ = PeerInfo::parse(&String::from_utf8_lossy(&noise)).features();
    }
}
