//! What is asked of any bytes: by the fuzz targets `openvpn_*`, and by the ordinary tests with a few of them.

use std::net::SocketAddr;
use std::time::Instant;

use rempart_openvpn::Now;
use rempart_openvpn::cookie::{CookieKey, Keys, MAX_KEPT, Outcome, Start};
use rempart_openvpn::key_exchange::{ClientMessage, MAX_PASSWORD, MAX_USER};
use rempart_openvpn::message::{Request, Submitted};
use rempart_openvpn::packet::{Body, Deframer, Header, MAX_PACKET, Opcode};
use rempart_openvpn::session::{MAX_KEYS, MAX_SNAPSHOT, Snapshot};
use rempart_openvpn::token::TokenKey;
use rempart_openvpn::wrap::{
    ClientKey, Digest, MAX_WKC, Metadata, Mode, PacketId, ServerKey, StaticKey, Wrapping, split_wkc,
};

/// A packet, and the same bytes as a stream: what is read can be written again, and is the same.
pub fn packet(data: &[u8]) {
    if let Ok((header, rest)) = Header::parse(data) {
        assert_eq!(header.encode()[..], data[..9]);
        for opcode in [header.opcode, Opcode::Ack, Opcode::Control] {
            if let Ok(body) = Body::parse(opcode, rest) {
                assert_eq!(body.encode(), rest);
            }
        }
    }
    let (mut deframer, mut rest) = (Deframer::default(), data);
    while let Ok(Some(packet)) = deframer.next(&mut rest) {
        assert!((1..=MAX_PACKET).contains(&packet.len()));
    }
}

fn server_key() -> ServerKey {
    ServerKey::new(&[9; 128])
}

fn wrapping(mode: Mode) -> Wrapping {
    Wrapping { mode, key: StaticKey::new(&[1; 256]) }
}

/// The first byte says what the rest is: 0 a packet from nowhere, 1 a wrapped key, 2 key files, 3 a body that a client with
/// a key wraps, which so comes behind the authentication.
pub fn wrap(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    match how % 4 {
        0 => nowhere(rest),
        1 => wrapped_key(rest),
        2 => key_files(&String::from_utf8_lossy(rest)),
        _ => authentic(rest),
    }
}

/// Without a key there is no answer, and nothing is kept.
fn nowhere(packet: &[u8]) {
    for mode in
        [Mode::Crypt, Mode::Auth(Digest::Sha1), Mode::Auth(Digest::Sha256), Mode::Auth(Digest::Sha512)]
    {
        assert!(wrapping(mode).open(packet).is_err());
    }
    let (now, client) = (now(), SocketAddr::from(([192, 0, 2, 7], 1194)));
    let keys = Keys { shared: Some(wrapping(Mode::Crypt)), each: Some(server_key()) };
    let mut start = Start::new(now, CookieKey::new(&[5; 32]), keys, [6; 16]);
    assert!(matches!(start.handle(now, client, packet), Outcome::Nothing(_)));
}

fn wrapped_key(bytes: &[u8]) {
    if let Some((packet, wkc)) = split_wkc(bytes) {
        assert_eq!([packet, wkc].concat(), bytes);
        assert!(wkc.len() <= MAX_WKC && server_key().unwrap(wkc).is_err());
    }
    let client = ClientKey { key: StaticKey::new(&[2; 256]), metadata: Metadata::User(bytes.to_vec()) };
    if let Ok(wkc) = server_key().wrap(&client) {
        assert_eq!(server_key().unwrap(&wkc), Ok(client));
    }
}

fn key_files(text: &str) {
    if let Ok(key) = StaticKey::parse(text) {
        assert_eq!(StaticKey::parse(&key.to_file()), Ok(key));
    }
    if let Ok(key) = ServerKey::parse(text) {
        assert!(ServerKey::parse(&key.to_file()).is_ok());
    }
}

/// An insider: he gets answers, but no table grows beyond its bound.
fn authentic(rest: &[u8]) {
    let Some((first, body)) = rest.split_first() else { return };
    // A key with equal halves: what one side wraps the other side can have wrapped.
    let (now, client) = (now(), SocketAddr::from(([192, 0, 2, 7], 1194)));
    let keys = Keys { shared: Some(wrapping(Mode::Crypt)), each: Some(server_key()) };
    let mut start = Start::new(now, CookieKey::new(&[5; 32]), keys, [6; 16]);
    let each = ClientKey { key: StaticKey::new(&[1; 256]), metadata: Metadata::Made(1) };
    let header = [&[*first][..], &[7; 8]].concat();
    let Ok((header, _)) = Header::parse(&header) else { return };
    for counter in 1..=2 {
        let mut packet = wrapping(Mode::Crypt).seal(PacketId { time: 1, counter }, header, body);
        if header.opcode.brings_key() {
            packet.extend(server_key().wrap(&each).unwrap_or_default());
        }
        let outcome = start.handle(now, client, &packet);
        assert!(!matches!(outcome, Outcome::Admit(_)), "a cookie was guessed");
    }
    assert!(start.kept() <= MAX_KEPT);
}

fn now() -> Now {
    Now { instant: Instant::now(), unix_s: 1_800_000_000 }
}

/// What comes through TLS: the key exchange, then text; and the field for the password.
pub fn message(data: &[u8]) {
    let prefixed = [&[0, 0, 0, 0, 2][..], data].concat();
    for bytes in [data, &prefixed] {
        if let Ok(Some((message, length))) = ClientMessage::parse(bytes) {
            assert!(
                length <= bytes.len()
                    && message.user.len() <= MAX_USER
                    && message.password.len() <= MAX_PASSWORD
            );
            let _ = message.peer_info.features();
        }
    }
    let _ = Request::parse(data);
    let text = String::from_utf8_lossy(data);
    if let Submitted::Token(token) = Submitted::parse(&text) {
        assert_eq!(TokenKey::new(&[1; 32]).verify(&token, "alice"), None);
    }
}

/// A snapshot that is taken has bounds, and is written again as it was.
pub fn snapshot(data: &[u8]) {
    if let Ok(snapshot) = Snapshot::decode(data) {
        assert!(data.len() <= MAX_SNAPSHOT && snapshot.keys.len() <= MAX_KEYS);
        assert_eq!(snapshot.encode()[..], *data);
    }
}
