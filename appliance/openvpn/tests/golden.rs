//! What Debian's openvpn 2.6.14 sent, recorded by `REMPART_GOLDEN=1` in `tests/stock`. A file has the time and the address
//! of the recording in its first line, then a packet of the client on each line.

use std::net::SocketAddr;
use std::time::Instant;

use rempart_openvpn::Now;
use rempart_openvpn::cookie::{Admission, CookieKey, Keys, Outcome, Start};
use rempart_openvpn::key_exchange::{ClientMessage, Derivation};
use rempart_openvpn::message::Submitted;
use rempart_openvpn::packet::{Body, Opcode};
use rempart_openvpn::wrap::{Metadata, Mode, ServerKey, StaticKey, Wrapping, split_wkc};

const STATIC: &str = include_str!("golden/keys/tls-crypt.key");
const SERVER: &str = include_str!("golden/keys/tls-crypt-v2-server.key");

struct Recording {
    now: Now,
    client: SocketAddr,
    packets: Vec<Vec<u8>>,
}

fn recording(text: &str) -> Recording {
    let mut lines = text.lines();
    let (unix_s, client) = lines.next().unwrap().split_once(' ').unwrap();
    let packets = lines.map(hex).collect();
    let now = Now { instant: Instant::now(), unix_s: unix_s.parse().unwrap() };
    Recording { now, client: client.parse().unwrap(), packets }
}

fn hex(line: &str) -> Vec<u8> {
    (0..line.len() / 2)
        .map(|place| u8::from_str_radix(&line[2 * place..2 * place + 2], 16).unwrap())
        .collect()
}

fn admitted(recording: &Recording, keys: Keys) -> Admission {
    let mut start = Start::new(recording.now, CookieKey::new(&[1; 32]), keys, [0; 16]);
    let first = start.handle(recording.now, recording.client, &recording.packets[0]);
    assert!(matches!(first, Outcome::Reply(_)), "{first:?}");
    assert_eq!(start.kept(), 0, "nothing is kept of a client of 2.6");
    let second = start.handle(recording.now, recording.client, &recording.packets[1]);
    let Outcome::Admit(admission) = second else { panic!("{second:?}") };
    *admission
}

/// Every packet of the first key opens, in the order of its numbers.
fn opens(recording: &Recording, admission: &Admission) {
    let mut expected = 0;
    for packet in &recording.packets {
        let key_id = packet[0] & 7;
        let inner = if matches!(packet[0] >> 3, 10 | 11) { split_wkc(packet).unwrap().0 } else { packet };
        // Those of later keys are under the dynamic key.
        if key_id != 0 {
            assert!(admission.wrapping.open(inner).is_err());
            continue;
        }
        let opened = admission.wrapping.open(inner).unwrap();
        let body = Body::parse(opened.header.opcode, &opened.body).unwrap();
        assert_eq!(body.encode(), opened.body);
        if let Some(message) = body.message {
            assert_eq!(message, expected, "{:?}", opened.header.opcode);
            expected += 1;
            let tls = matches!(opened.header.opcode, Opcode::Control | Opcode::ControlWkc);
            assert_eq!(tls, message > 0);
            // The first TLS record is a handshake: the ClientHello.
            assert!(message != 1 || body.payload.starts_with(&[0x16, 3, 1]), "{:?}", body.payload.get(..4));
        }
    }
    assert!(expected > 3);
}

/// In: a recorded life with tls-crypt. Out: admitted by the cookie that it brings, and every packet opens.
#[test]
fn tls_crypt() {
    let recording = recording(include_str!("golden/tls-crypt.packets"));
    let wrapping = Wrapping { mode: Mode::Crypt, key: StaticKey::parse(STATIC).unwrap() };
    let admission = admitted(&recording, Keys { shared: Some(wrapping), each: None });
    assert_eq!(recording.packets[0][0], 7 << 3);
    opens(&recording, &admission);
}

/// In: a recorded life with tls-crypt-v2. Out: the same, with the wrapped key in the first and the third packet.
#[test]
fn tls_crypt_v2() {
    let recording = recording(include_str!("golden/tls-crypt-v2.packets"));
    let admission =
        admitted(&recording, Keys { shared: None, each: Some(ServerKey::parse(SERVER).unwrap()) });
    assert!(matches!(admission.metadata, Some(Metadata::Made(_))));
    assert_eq!([recording.packets[0][0] >> 3, recording.packets[1][0] >> 3], [10, 11]);
    opens(&recording, &admission);
}

/// In: what the client said through TLS, from its key exchange on. Out: who it is and what it can do.
#[test]
fn the_first_message() {
    let plain = include_bytes!("golden/client-message.bin");
    let (message, length) = ClientMessage::parse(plain).unwrap().unwrap();
    assert_eq!((message.user.as_str(), length), ("alice", plain.len()));
    assert!(
        matches!(Submitted::parse(&message.password), Submitted::Password(password) if *password == "correct horse")
    );
    assert!(message.options.starts_with("V4,dev-type tun"), "{}", message.options);
    assert_eq!(message.peer_info.get("IV_VER"), Some("2.6.14"));
    let features = message.peer_info.features().unwrap();
    assert_eq!((features.bits, features.derivation, features.mtu), (990, Derivation::Exporter, Some(1600)));
    assert!(features.unasked_push && features.exit_message && features.dynamic_wrapping);
}
