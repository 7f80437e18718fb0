use proptest::prelude::*;

use super::*;
use crate::netlink::messages;

const FAMILY: u16 = 30;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Type, flags and payload of a message, and that its length is right.
fn sent(message: Message) -> (u16, u16, Vec<u8>) {
    let bytes = message.finish(7);
    let raw = messages(&bytes).next().unwrap();
    assert_eq!((raw.sequence, raw.space()), (7, bytes.len()));
    (raw.kind, raw.flags, raw.payload.to_vec())
}

/// Every byte of the message that adds a peer: IPv4 outside, both families inside.
#[test]
fn a_peer_is_laid_out_as_the_kernel_reads_it() {
    let peer = NewPeer {
        id: 0x01_02_03,
        remote: "192.0.2.2:40000".parse().unwrap(),
        local: "192.0.2.1".parse().unwrap(),
        inner4: Some("10.8.0.2".parse().unwrap()),
        inner6: Some("fd00::2".parse().unwrap()),
        keepalive: Keepalive { interval_s: 10, timeout_s: 0 },
    };
    let (kind, flags, payload) = sent(add_peer(FAMILY, 9, &peer, 5));
    assert_eq!((kind, flags), (FAMILY, 5));
    let expected = hex("01010000  0800 0100 09000000  5800 0280
                          0800 0100 03020100
                          0800 0600 05000000
                          0800 0200 c0000202
                          0600 0500 9c40 0000
                          0800 0a00 c0000201
                          0800 0800 0a080002
                          1400 0900 fd000000000000000000000000000002
                          0800 0d00 0a000000
                          0800 0e00 00000000");
    assert_eq!(payload, expected);
}

/// The family's place of each number, both directions, and that a key does not outgrow the message's first buffer: it would
/// leave a copy behind.
#[test]
fn a_key_is_laid_out_as_the_kernel_reads_it() {
    let (seal, open) = ([0xaa; 32], [0xbb; 32]);
    let key = Key {
        id: 5,
        encrypt: Direction { key: &seal, nonce_tail: &[1; 8] },
        decrypt: Direction { key: &open, nonce_tail: &[2; 8] },
    };
    let message = put_key(FAMILY, 9, 3, Slot::Secondary, &key);
    let (_, _, payload) = sent(message.clone());
    let direction = |kind: u8, key: u8, tail: u8| {
        let head = [0x34, 0, kind, 0x80, 0x24, 0, 1, 0].to_vec();
        [head, vec![key; 32], vec![0x0c, 0, 2, 0], vec![tail; 8]].concat()
    };
    let head = hex("06010000 0800 0100 09000000 8c00 0380
                    0800 0100 03000000 0800 0200 01000000 0800 0300 05000000 0800 0400 01000000");
    assert_eq!(payload, [head, direction(5, 0xaa, 1), direction(6, 0xbb, 2)].concat());
    assert!(message.finish(1).len() <= 256);
}

#[test]
fn the_small_requests_are_laid_out_as_the_kernel_reads_them() {
    let about = |command: &str, nest: &str| hex(&format!("{command}010000 08000100 09000000 {nest}"));
    let peer = "0c00 0280 0800 0100 03000000";
    let slot = "1400 0380 0800 0100 03000000 0800 0200 00000000";
    for (message, expected) in [
        (get_peer(FAMILY, 9, 3), about("03", peer)),
        (delete_peer(FAMILY, 9, 3), about("04", peer)),
        (get_key(FAMILY, 9, 3, Slot::Primary), about("07", slot)),
        (swap_keys(FAMILY, 9, 3), about("08", "0c00 0380 0800 0100 03000000")),
        (delete_key(FAMILY, 9, 3, Slot::Primary), about("0a", slot)),
        (list_peers(FAMILY, 9), about("03", "")),
    ] {
        assert_eq!(sent(message).2, expected);
    }
    let to: SocketAddr = "[fe80::7%4]:1194".parse().unwrap();
    let (_, _, payload) = sent(move_peer(FAMILY, 9, 3, to, "fe80::1".parse().unwrap()));
    let scope = [8, 0, 4, 0, 4, 0, 0, 0];
    assert!(payload.windows(8).any(|part| part == scope), "{payload:02x?}");
}

fn answer(command: u8, nest: u16, fill: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::with_header(FAMILY, 0, &[command, VERSION, 0, 0]);
    message.attr(OVPN_A_IFINDEX, &9u32.to_ne_bytes());
    let nest = message.open(nest);
    fill(&mut message);
    message.close(nest);
    sent(message).2
}

/// Counters come in four or eight bytes, as they fit.
#[test]
fn a_peer_is_read_with_both_lengths_of_counters() {
    let payload = answer(OVPN_CMD_PEER_GET, OVPN_A_PEER, |message| {
        message.attr(OVPN_A_PEER_ID, &3u32.to_ne_bytes());
        message.attr(OVPN_A_PEER_VPN_IPV4, &[10, 8, 0, 2]);
        put_place(message, "[2001:db8::2]:5".parse().unwrap(), "2001:db8::1".parse().unwrap());
        message.attr(OVPN_A_PEER_LINK_TX_PACKETS, &(1u64 << 40).to_ne_bytes());
        message.attr(OVPN_A_PEER_LINK_RX_BYTES, &77u32.to_ne_bytes());
        message.attr(OVPN_A_PEER_VPN_RX_PACKETS, &6u32.to_ne_bytes());
    });
    let peer = peer_of(&payload).unwrap();
    assert_eq!((peer.id, peer.inner4, peer.inner6), (3, Some([10, 8, 0, 2].into()), None));
    assert_eq!(peer.remote, Some("[2001:db8::2]:5".parse().unwrap()));
    assert_eq!(peer.local, Some("2001:db8::1".parse().unwrap()));
    assert_eq!(peer.outer.sent, Traffic { packets: 1 << 40, bytes: 0 });
    assert_eq!((peer.outer.received.bytes, peer.inner.received.packets), (77, 6));
    assert_eq!(notice_of(&payload), None);
}

#[test]
fn notices_are_read() {
    let deleted = answer(OVPN_CMD_PEER_DEL_NTF, OVPN_A_PEER, |message| {
        message.attr(OVPN_A_PEER_DEL_REASON, &2u32.to_ne_bytes()).attr(OVPN_A_PEER_ID, &3u32.to_ne_bytes());
    });
    let moved = answer(OVPN_CMD_PEER_FLOAT_NTF, OVPN_A_PEER, |message| {
        message.attr(OVPN_A_PEER_ID, &3u32.to_ne_bytes()).attr(OVPN_A_PEER_REMOTE_IPV4, &[192, 0, 2, 9]);
        message.attr(OVPN_A_PEER_REMOTE_PORT, &[0x9c, 0x40]);
    });
    let worn = answer(OVPN_CMD_KEY_SWAP_NTF, OVPN_A_KEYCONF, |message| {
        message.attr(OVPN_A_KEYCONF_PEER_ID, &3u32.to_ne_bytes());
        message.attr(OVPN_A_KEYCONF_KEY_ID, &5u16.to_ne_bytes());
    });
    for (payload, what) in [
        (deleted, Happened::Deleted(Reason::Expired)),
        (moved, Happened::Moved("192.0.2.9:40000".parse().unwrap())),
        (worn, Happened::WornOut { key: 5 }),
    ] {
        assert_eq!(notice_of(&payload), Some(Notice { device: 9, peer: 3, what }));
    }
}

#[test]
fn the_family_and_its_group_are_read() {
    let mut message = Message::with_header(GENL_ID_CTRL, 0, &[1, 2, 0, 0]);
    message.attr(CTRL_ATTR_FAMILY_NAME, b"ovpn\0").attr(CTRL_ATTR_FAMILY_ID, &30u16.to_ne_bytes());
    let groups = message.open(CTRL_ATTR_MCAST_GROUPS);
    for (name, id) in [(&b"others\0"[..], 6u32), (b"peers\0", 8)] {
        let one = message.open(1);
        message.attr(CTRL_ATTR_MCAST_GRP_ID, &id.to_ne_bytes()).attr(CTRL_ATTR_MCAST_GRP_NAME, name);
        message.close(one);
    }
    message.close(groups);
    assert_eq!(family_of(&sent(message).2), Some(Family { id: 30, group: 8 }));
    assert_eq!(family_of(&[1, 2, 0, 0]), None);
}

proptest! {
    /// Whatever bytes arrive, reading them ends and never panics.
    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = (peer_of(&bytes), notice_of(&bytes), family_of(&bytes), key_of(&bytes));
    }
}
