use proptest::prelude::*;

use super::*;
use crate::packet::{KeyId, Opcode, SessionId};

/// Made by `openvpn --genkey` of Debian's 2.6.14; used nowhere else.
const STATIC: &str = include_str!("../../tests/golden/keys/tls-crypt.key");
const SERVER: &str = include_str!("../../tests/golden/keys/tls-crypt-v2-server.key");
const CLIENT: &str = include_str!("../../tests/golden/keys/tls-crypt-v2-client.key");

const MODES: [Mode; 4] =
    [Mode::Crypt, Mode::Auth(Digest::Sha1), Mode::Auth(Digest::Sha256), Mode::Auth(Digest::Sha512)];

fn header(opcode: Opcode) -> Header {
    Header { opcode, key_id: KeyId::FIRST, session: SessionId([7; 8]) }
}

fn wrapping(mode: Mode) -> Wrapping {
    let mut bytes = [0; STATIC_KEY];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = place as u8 ^ 0x5a;
    }
    Wrapping { mode, key: StaticKey::new(&bytes) }
}

/// In: key files of the stock program. Out: its first bytes, and the same file again.
#[test]
fn stock_key_files_are_read_and_written() {
    let key = StaticKey::parse(STATIC).unwrap();
    assert_eq!(key.expose()[..4], [0xb3, 0x3f, 0x28, 0x7b]);
    assert!(STATIC.ends_with(key.to_file().as_str()), "only the comment is missing");
    assert_eq!(ServerKey::parse(SERVER).unwrap().to_file().as_str(), SERVER);
}

/// In: a client's key that the stock program wrapped. Out: it unwraps, with the time of its making.
#[test]
fn a_stock_client_key_unwraps() {
    let server = ServerKey::parse(SERVER).unwrap();
    let [begin, end] =
        ["-----BEGIN OpenVPN tls-crypt-v2 client key-----", "-----END OpenVPN tls-crypt-v2 client key-----"];
    let text: String = CLIENT.replace(begin, "").replace(end, "").split_whitespace().collect();
    let bytes = <base64ct::Base64 as base64ct::Encoding>::decode_vec(&text).unwrap();
    let (key, wkc) = split_wkc(&bytes).unwrap();
    let client = server.unwrap(wkc).unwrap();
    assert_eq!(client.key.expose()[..], *key);
    assert!(matches!(client.metadata, Metadata::Made(1_700_000_000..)), "{:?}", client.metadata);
    // Wrapping is deterministic, so ours is byte for byte theirs.
    assert_eq!(server.wrap(&client).unwrap(), wkc);
    assert_eq!(server.client_file(&client).unwrap().as_str(), CLIENT);
}

/// In: key files with faults. Out: the fault's name.
#[test]
fn broken_key_files_are_named() {
    let missing = StaticKey::parse("nothing").unwrap_err();
    assert!(matches!(missing, InvalidKey::Missing(_)), "{missing}");
    assert_eq!(StaticKey::parse(&STATIC.replace("b33f", "b3g")).unwrap_err(), InvalidKey::Character);
    let short = StaticKey::parse(&STATIC.replace("b33f287b76dfc0ba9080dd9af6ba837a", "")).unwrap_err();
    assert_eq!(short, InvalidKey::Length { found: 240, wanted: 256 });
    assert_eq!(ServerKey::parse(&SERVER.replace("IaDC", "ID")).unwrap_err(), InvalidKey::Character);
    assert_eq!(StaticKey::parse(&" ".repeat(20_000)).unwrap_err(), InvalidKey::TooLong);
}

/// In: wrapped keys that were changed in one byte, or wrapped under another server's key. Out: refused.
#[test]
fn a_wrapped_key_holds_in_every_byte() {
    let server = ServerKey::parse(SERVER).unwrap();
    let client =
        ClientKey { key: StaticKey::parse(STATIC).unwrap(), metadata: Metadata::User(b"laptop-7".to_vec()) };
    let wkc = server.wrap(&client).unwrap();
    assert_eq!(server.unwrap(&wkc).unwrap(), client);
    for place in 0..wkc.len() {
        let mut changed = wkc.clone();
        changed[place] ^= 1;
        assert!(server.unwrap(&changed).is_err(), "byte {place}");
    }
    assert_eq!(ServerKey::new(&[1; 128]).unwrap(&wkc), Err(UnwrapError::Forged));
    let long = ClientKey { metadata: Metadata::User(vec![0; MAX_METADATA + 1]), ..client.clone() };
    assert_eq!(server.wrap(&long), Err(WrapError::Metadata));
    let longest = ClientKey { metadata: Metadata::User(vec![0; MAX_METADATA]), ..client };
    assert_eq!(server.wrap(&longest).unwrap().len(), MAX_WKC);
}

/// In: a packet in each mode, changed in one bit anywhere. Out: only the unchanged one opens, and only at the other side.
#[test]
fn a_packet_holds_in_every_bit() {
    for mode in MODES {
        let wrapping = wrapping(mode);
        let id = PacketId { time: 5, counter: 1 };
        let packet = wrapping.seal_as(Side::Client, id, header(Opcode::Control), b"a body");
        let opened = wrapping.open(&packet).unwrap();
        assert_eq!((opened.id, &opened.body[..]), (id, &b"a body"[..]));
        for bit in 0..packet.len() * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(wrapping.open(&changed).is_err(), "{mode:?} bit {bit}");
        }
        assert_eq!(
            wrapping.open(&wrapping.seal(id, header(Opcode::Control), b"a body")),
            Err(OpenError::Forged)
        );
        for length in 0..packet.len() {
            assert!(wrapping.open(&packet[..length]).is_err());
        }
    }
}

/// In: the same packet twice, late packets, a later and an earlier time. Out: each is taken once, earlier times never.
#[test]
fn replays_are_refused() {
    let mut received = Received::default();
    let id = |time, counter| PacketId { time, counter };
    for (packet, taken) in [
        (id(10, 1), true),
        (id(10, 1), false),
        (id(10, 3), true),
        (id(10, 2), true),
        (id(10, 2), false),
        (id(10, 0), false),
        (id(10, 200), true),
        (id(10, 136), false),
        (id(10, 137), true),
        (id(9, 900), false),
        (id(11, 1), true),
        (id(10, 201), false),
        // The client's early negotiation counts from here (draft "CONTROL_HARD_RESET_CLIENT_V3").
        (id(11, 0x0f00_0001), true),
        (id(11, 0x0f00_0002), true),
        (id(11, u32::MAX), true),
    ] {
        assert_eq!(received.take(packet), taken, "{packet:?}");
    }
    let mut beyond = Received::beyond(id(10, 5));
    assert!(!beyond.take(id(10, 5)) && !beyond.take(id(10, 4)) && beyond.take(id(10, 6)));
}

/// In: clocks that stand, run back or end. Out: the time of a successor is later than its predecessor's.
#[test]
fn a_successor_sends_with_a_later_time() {
    for (clock, before) in [(100, 100), (50, 100), (200, 100)] {
        let mut sending = Sending::after(clock, before);
        assert!(sending.time() > before);
        assert_eq!(sending.next_id().map(|id| id.counter), Some(1));
    }
    assert_eq!(Sending::after(u64::MAX, u32::MAX).time(), u32::MAX);
    assert!(Sending::new(100).time() > 100, "the stateless answer may have carried the same second");
}

/// In: exported material. Out: its exclusive or with the key, and twice gives the key again.
#[test]
fn dynamic_keys_mix_both() {
    let key = StaticKey::parse(STATIC).unwrap();
    let mixed = key.mixed_with(&[0xff; STATIC_KEY]);
    assert_eq!(mixed.expose()[0], !key.expose()[0]);
    assert_eq!(mixed.mixed_with(&[0xff; STATIC_KEY]), key);
    assert_ne!(mixed, key);
}

/// In: keys. Out: nothing of them when they are printed.
#[test]
fn keys_are_not_printed() {
    assert_eq!(format!("{:?}", StaticKey::new(&[0x41; 256])), "StaticKey(..)");
    assert_eq!(format!("{:?}", ServerKey::new(&[0x41; 128])), "ServerKey(..)");
}

proptest! {
    /// In: any order of ids. Out: what a plain set would say, as long as it looks back 64.
    #[test]
    fn the_window_agrees_with_a_set(ids in prop::collection::vec(1u32..200, 0..200)) {
        let mut received = Received::default();
        let mut seen = std::collections::BTreeSet::new();
        for counter in ids {
            let old = seen.last().is_some_and(|newest: &u32| newest.saturating_sub(counter) >= 64);
            let expected = !old && seen.insert(counter);
            prop_assert_eq!(received.take(PacketId { time: 1, counter }), expected);
        }
    }

    /// In: noise. Out: no panic, and nothing opens.
    #[test]
    fn noise_never_opens(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        for mode in MODES {
            prop_assert!(wrapping(mode).open(&noise).is_err());
        }
        let server = ServerKey::new(&[3; 128]);
        if let Some((_, wkc)) = split_wkc(&noise) {
            prop_assert!(server.unwrap(wkc).is_err());
        }
        prop_assert!(server.unwrap(&noise).is_err());
    }
}
