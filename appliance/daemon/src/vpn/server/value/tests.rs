use rempart_openvpn::key_exchange::{DataKeys, DirectionKey};
use rempart_openvpn::packet::SessionId;
use rempart_openvpn::session::{Identity, SnapshotKey};
use rempart_openvpn::token::LoginId;
use rempart_openvpn::wrap::{Mode, PacketId, StaticKey, Wrapping};

use super::*;

fn key_id(id: u8) -> KeyId {
    KeyId::new(id).unwrap()
}

/// No two sessions have a key in common.
fn direction(peer: u32, number: u8) -> DirectionKey {
    let mut key = [number; 32];
    key[..4].copy_from_slice(&peer.to_be_bytes());
    DirectionKey { key, implicit_iv: [number; 8] }
}

/// A session with keys 0 and 1, made in epoch 2.
pub(crate) fn value(peer: u32) -> Value {
    let [a, b, c, d] = peer.to_be_bytes();
    let key = |id: u8| {
        let keys = DataKeys {
            key_id: key_id(id),
            made_in: 2,
            seal: direction(peer, id),
            open: direction(peer, id ^ 0x80),
        };
        SnapshotKey { keys, since_unix_s: 1_000 }
    };
    let wrapping = Wrapping { mode: Mode::Crypt, key: StaticKey::new(&[3; 256]) };
    let snapshot = Snapshot {
        client_session: SessionId([a, b, c, d, 1, 1, 1, 1]),
        server_session: SessionId([2; 8]),
        client: SocketAddr::from(([198, 51, 100, d], 40_000)),
        tcp: false,
        peer_id: peer,
        wrapping,
        dynamic: Some(StaticKey::new(&[4; 256])),
        time: 7,
        received: PacketId { time: 7, counter: 8 },
        received_dynamic: PacketId { time: 7, counter: 9 },
        next_key: key_id(2),
        in_flight: None,
        identity: Identity {
            certificate: Some([6; 32]),
            user: "alice".to_owned(),
            login: LoginId([1; 12]),
            issued_unix_s: 900,
            protocol_bits: 990,
            attached: Vec::new(),
        },
        keys: vec![key(0), key(1)],
    };
    let origin =
        Origin { made: Epoch::new(2), stores: [Some(StoreId::new([1; 16])), Some(StoreId::new([2; 16]))] };
    let grant = Grant {
        group: "agents".to_owned(),
        user: "alice".parse().unwrap(),
        groups: BTreeSet::from(["agents".parse().unwrap(), "admins".parse().unwrap()]),
        device: Some(DeviceId::new([9; 8])),
        inner: Inner { v4: Some([10, 8, c, d].into()), v6: Some("fd00:8::7".parse().unwrap()) },
        networks: vec!["10.99.0.0/24".parse().unwrap(), "fd99::/48".parse().unwrap()],
        since_unix_s: 900,
    };
    Value {
        snapshot,
        local: "192.0.2.1:1194".parse().unwrap(),
        grant,
        renewed_unix_s: Some(950),
        bytes_in: 1 << 40,
        bytes_out: 5,
        echo: Some(key_id(1)),
        keys: vec![
            KeyValue { id: key_id(0), origin, highest: 5 },
            KeyValue {
                id: key_id(1),
                origin: Origin { stores: [None, origin.stores[1]], ..origin },
                highest: 0,
            },
        ],
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    let mut plain = value(0x00ab_cdef);
    assert_eq!(Value::decode(&plain.encode()).unwrap(), plain);
    assert!(plain.encode().len() < MAX_VALUE);
    (plain.local, plain.echo, plain.renewed_unix_s) = ("[2001:db8::1]:443".parse().unwrap(), None, None);
    plain.grant.device = None;
    plain.grant.inner = Inner::default();
    (plain.grant.networks, plain.keys) = (Vec::new(), Vec::new());
    assert_eq!(Value::decode(&plain.encode()).unwrap(), plain);
}

/// Cut anywhere, or with one more byte, it is refused.
#[test]
fn a_piece_of_a_value_is_none() {
    let bytes = value(5).encode();
    for length in 0..bytes.len() {
        assert!(Value::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(Value::decode(&[&bytes[..], &[0]].concat()), Err(ValueError::Long));
    assert_eq!(Value::decode(&vec![1; MAX_VALUE + 1]), Err(ValueError::Long));
    assert_eq!(Value::decode(&[9]), Err(ValueError::Format(9)));
}

/// Random bytes, and values with some bytes changed: refused or read, and what is read stays what it is.
#[test]
fn nonsense_does_no_harm() {
    let good = value(5).encode();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for turn in 0..20_000_u32 {
        let mut bytes = good.to_vec();
        if turn % 4 == 0 {
            bytes = (0..next() % 300).map(|_| next() as u8).collect();
            bytes.insert(0, FORMAT);
        } else {
            for _ in 0..=next() % 3 {
                let place = next() as usize % bytes.len();
                bytes[place] = next() as u8;
            }
        }
        if let Ok(read) = Value::decode(&bytes) {
            assert!(Value::decode(&read.encode()) == Ok(read), "turn {turn}");
        }
    }
}
