//! Both halves of sessions against each other: a client's sender and our receiver, and the other way round.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::data::LAME_DUCK;
use crate::data::epoch::{Epoch, EpochBook, Parity, Record, Reign, StoreId};
use crate::data::keys::{BLOCK, DataKeys, End};
use crate::data::outbound::{Filled, Outbound};
use crate::data::sealer::Sealer;
use crate::data::segment::cut::Cutter;
use crate::data::segment::row::{MAX_BATCH, MAX_SEGMENTS, Row};
use crate::data::segment::virtio::Header;

const PEER: PeerId = PeerId(7);

fn reign() -> Reign {
    let record = Record { store: StoreId::new([0; 16]), highest: Epoch::new(0) };
    let claim = EpochBook::new(Parity::Even, record).claim().unwrap();
    claim.persist(|_| Ok::<(), ()>(())).unwrap().take_over(&[]).0
}

fn at(port: u16) -> Path {
    Path { local: 0, remote: std::net::SocketAddr::from(([192, 0, 2, 1], port)) }
}

/// Key `number` with the key id `id`, for the end that sends and the end that opens.
fn key(id: u8, number: u8) -> (Sealer, Opener) {
    let block = [number; BLOCK];
    let id = KeyId::new(id).unwrap();
    let mut client = DataKeys::derived(id, &block, End::Client);
    let (_, ids) = reign().make(&mut client, None).unwrap();
    let server = DataKeys::derived(id, &block, End::Server);
    (Sealer::new(&client, ids, PEER).unwrap(), Opener::new(&server, 0))
}

/// A server with one session at port 1000 whose inner address is 10.8.0.2.
fn server() -> Inbound {
    let mut inbound = Inbound::new(2);
    inbound.add(PEER, at(1000), vec!["10.8.0.2/32".parse().unwrap()], Echo::default()).unwrap();
    inbound
}

fn packet(last: u8) -> Vec<u8> {
    let mut out = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 8, 0, last, 192, 0, 2, 9];
    out.extend([0; 8]);
    out
}

fn sealed(sealer: &mut Sealer, inner: &[u8]) -> Vec<u8> {
    let mut out = [&[0; OVERHEAD], inner].concat();
    sealer.seal(&mut out).unwrap();
    out
}

#[test]
fn a_datagram_is_opened_judged_and_counted() {
    let (now, mut inbound) = (Instant::now(), server());
    let (mut client, opener) = key(0, 1);
    inbound.session(PEER).unwrap().add_key(now, KeySerial(1), opener);
    let arrived = |content, switched| Ok(Arrived { peer: PEER, content, floated: false, switched });
    let good = sealed(&mut client, &packet(2));
    let mut opened = good.clone();
    let first = inbound.datagram(&at(1000), &mut opened);
    assert_eq!(first, arrived(Content::Packet(OVERHEAD..OVERHEAD + 28), Some(KeySerial(1))));
    assert_eq!(opened[OVERHEAD..], packet(2));
    let mut take = |inner: &[u8]| inbound.datagram(&at(1000), &mut sealed(&mut client, inner));
    assert_eq!(take(&packet(3)), arrived(Content::Spoofed, None));
    assert_eq!(take(&PING), arrived(Content::Ping, None));
    assert_eq!(take(&EXIT), arrived(Content::Exit, None));
    assert_eq!(take(&[]), arrived(Content::Spoofed, None));
    assert_eq!(inbound.datagram(&at(1000), &mut good.clone()), Err(Dropped::Replayed));
    for (change, why) in [
        (0, Dropped::UnknownKey),
        (3, Dropped::UnknownPeer),
        (6, Dropped::Forged),
        (10, Dropped::Forged),
        (30, Dropped::Forged),
    ] {
        let mut bad = sealed(&mut client, &packet(2));
        bad[change] ^= 1;
        assert_eq!(inbound.datagram(&at(1000), &mut bad), Err(why), "byte {change}");
    }
    assert_eq!(inbound.datagram(&at(1000), &mut [9 << 3, 0]), Err(Dropped::Short));
    let drops = Drops { short: 1, unknown_peer: 1, unknown_key: 1, replayed: 1, forged: 3, spoofed: 2 };
    assert_eq!(inbound.drops(), drops);
    let received = inbound.session(PEER).unwrap().received();
    assert_eq!(received, Received { packets: 5, bytes: 28 + 28 + 16 + 17 });
}

/// A new address is reported once, only after a seal that held, and again after it was confirmed and left.
#[test]
fn floating_is_reported_once_the_packet_is_authentic() {
    let (now, mut inbound) = (Instant::now(), server());
    let (mut client, opener) = key(0, 1);
    inbound.session(PEER).unwrap().add_key(now, KeySerial(1), opener);
    let mut forged = sealed(&mut client, &PING);
    forged[20] ^= 1;
    assert_eq!(inbound.datagram(&at(2000), &mut forged), Err(Dropped::Forged));
    let mut from = |port| inbound.datagram(&at(port), &mut sealed(&mut client, &PING)).unwrap().floated;
    assert_eq!([1000, 2000, 2000, 3000, 3000].map(&mut from), [false, true, false, true, false]);
    inbound.session(PEER).unwrap().move_to(at(3000));
    let mut from = |port| inbound.datagram(&at(port), &mut sealed(&mut client, &PING)).unwrap().floated;
    assert_eq!([3000, 1000, 3000].map(&mut from), [false, true, false]);
}

/// Two sessions' keys with the same id, the later one tried second: each packet opens with its own.
#[test]
fn several_keys_with_the_same_id_are_tried() {
    let (now, mut inbound) = (Instant::now(), server());
    let (mut old, opener) = key(0, 1);
    inbound.session(PEER).unwrap().add_key(now, KeySerial(1), opener);
    let (mut new, opener) = key(0, 2);
    inbound.session(PEER).unwrap().add_key(now, KeySerial(2), opener);
    let mut switched =
        |sealer: &mut Sealer| inbound.datagram(&at(1000), &mut sealed(sealer, &packet(2))).unwrap().switched;
    assert_eq!(switched(&mut old), Some(KeySerial(1)));
    assert_eq!(switched(&mut new), Some(KeySerial(2)));
    assert_eq!(switched(&mut new), None);
    assert_eq!(switched(&mut old), Some(KeySerial(1)));
    let (mut stranger, _) = key(0, 3);
    let foreign = inbound.datagram(&at(1000), &mut sealed(&mut stranger, &packet(2)));
    // Its packet id was used under both keys, or is not sealed with either.
    assert!(matches!(foreign, Err(Dropped::Forged | Dropped::Replayed)));
}

/// Opens with the old key for two minutes after a new one came, then no more; the newest stays.
#[test]
fn an_old_key_opens_for_two_minutes() {
    let (now, mut inbound) = (Instant::now(), server());
    let (mut old, opener) = key(1, 1);
    inbound.session(PEER).unwrap().add_key(now, KeySerial(1), opener);
    let (mut new, opener) = key(2, 2);
    let renewed = now + Duration::from_secs(3600);
    inbound.session(PEER).unwrap().add_key(renewed, KeySerial(2), opener);
    for (after, opens) in [(LAME_DUCK - Duration::from_millis(1), true), (LAME_DUCK, false)] {
        inbound.session(PEER).unwrap().expire(renewed + after);
        let taken = inbound.datagram(&at(1000), &mut sealed(&mut old, &PING));
        assert_eq!(taken.is_ok(), opens, "{after:?}");
        assert!(inbound.datagram(&at(1000), &mut sealed(&mut new, &PING)).is_ok());
    }
}

#[test]
fn a_fifth_key_takes_the_place_of_the_oldest() {
    let (now, mut inbound) = (Instant::now(), server());
    let mut clients = Vec::new();
    for n in 1..=5 {
        let (client, opener) = key(n, n);
        clients.push(client);
        inbound.session(PEER).unwrap().add_key(now, KeySerial(n.into()), opener);
    }
    let opens: Vec<bool> = clients
        .iter_mut()
        .map(|client| inbound.datagram(&at(1000), &mut sealed(client, &PING)).is_ok())
        .collect();
    assert_eq!(opens, [false, true, true, true, true]);
}

/// Sends on the first key until the client has sent on the second; keeps sending on it for as long as it is the echo.
#[test]
fn the_echo_decides_which_key_is_sent_on() {
    let now = Instant::now();
    let (mut outbound, echo) = (Outbound::new(1), Echo::default());
    outbound.add(PEER, at(1000), &["10.8.0.2/32".parse().unwrap()], echo.clone()).unwrap();
    let session = outbound.session(PEER).unwrap();
    let id = |session: &mut crate::data::outbound::Transmitter| {
        let mut out = [0; OVERHEAD + 16];
        session.ping(&mut out).map(|_| out[0] & 7)
    };
    assert_eq!(id(session), None);
    session.add_key(now, KeySerial(1), key(0, 1).0);
    assert_eq!(id(session), Some(0));
    session.add_key(now, KeySerial(2), key(1, 2).0);
    assert_eq!(id(session), Some(0));
    echo.set(KeySerial(2));
    assert_eq!(id(session), Some(1));
    echo.set(KeySerial(9));
    assert_eq!(id(session), Some(1));
    echo.set(KeySerial(1));
    assert_eq!(id(session), Some(0));
    session.expire(now + LAME_DUCK);
    assert_eq!(id(session), Some(0), "the client still sends on it");
    echo.set(KeySerial(2));
    assert_eq!(id(session), Some(1));
    session.expire(now + LAME_DUCK);
    echo.set(KeySerial(1));
    assert_eq!(id(session), Some(1));
    assert_eq!((session.sent().packets, session.sent().unsealed), (8, 1));
}

#[test]
fn an_inner_address_leads_to_its_session() {
    let mut outbound = Outbound::new(2);
    let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>();
    let (one, two) = (PeerId(1), PeerId(2));
    outbound.add(one, at(1), &nets(&["10.8.0.2/32", "10.99.0.0/16"]), Echo::default()).unwrap();
    outbound
        .add(two, at(2), &nets(&["10.8.0.3/32", "10.99.7.0/24", "fd00::3/128"]), Echo::default())
        .unwrap();
    assert_eq!(outbound.add(PeerId(3), at(3), &[], Echo::default()), Err(Full));
    let mut owner = |to: &str| {
        let mut packet = packet(9);
        match to.parse().unwrap() {
            std::net::IpAddr::V4(to) => packet[16..20].copy_from_slice(&to.octets()),
            std::net::IpAddr::V6(to) => {
                packet = vec![0x60; 40];
                packet[24..].copy_from_slice(&to.octets());
            }
        }
        outbound.owner(&packet).map(|(peer, _)| peer)
    };
    let found =
        ["10.8.0.2", "10.8.0.3", "10.99.1.1", "10.99.7.1", "fd00::3", "10.8.0.4", "fd00::2"].map(&mut owner);
    assert_eq!(found, [Some(one), Some(two), Some(one), Some(two), Some(two), None, None]);
    outbound.remove(two);
    let mut to = packet(9);
    to[16..20].copy_from_slice(&[10, 99, 7, 1]);
    assert_eq!(outbound.owner(&to).map(|(peer, _)| peer), Some(one));
}

proptest! {
    /// A super-packet through both halves: every datagram opens, in order, and the batches are as one call takes them.
    #[test]
    fn what_is_filled_opens_again(length in 1..65_000usize, size in 30..1500u16) {
        let now = Instant::now();
        let (sealer, opener) = key(0, 1);
        let mut outbound = Outbound::new(1);
        outbound.add(PEER, at(1000), &[], Echo::default()).unwrap();
        let session = outbound.session(PEER).unwrap();
        session.add_key(now, KeySerial(1), sealer);
        let mut inbound = server();
        inbound.session(PEER).unwrap().add_key(now, KeySerial(1), opener);
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 8, 0, 2, 192, 0, 2, 9];
        packet.extend([0, 80, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        packet.extend((0..length).map(|i| i as u8));
        let header = Header { flags: 1, gso_type: 1, hdr_len: 40, gso_size: size, csum_start: 20, csum_offset: 16 };
        let mut arena = vec![0; 1 << 16];
        let mut payload = Vec::new();
        let mut row = Row::default();
        let mut empty = |row: &mut Row<Path>, arena: &mut [u8]| {
            let Some((to, bytes, segment)) = std::mem::take(row).content() else { return };
            assert!(to == at(1000) && bytes <= MAX_BATCH && bytes.div_ceil(segment) <= MAX_SEGMENTS);
            for datagram in arena[..bytes].chunks_mut(segment) {
                match inbound.datagram(&at(1000), datagram).unwrap().content {
                    Content::Packet(place) => payload.extend_from_slice(&datagram[place][40..]),
                    other => panic!("{other:?}"),
                }
            }
        };
        // Twice, so that rows hold the end of one and the beginning of another.
        for _ in 0..2 {
            let mut cutter = Cutter::new(&header, &packet).unwrap();
            while session.fill(&mut cutter, &mut arena, &mut row) == Filled::Full {
                empty(&mut row, &mut arena);
            }
        }
        empty(&mut row, &mut arena);
        prop_assert_eq!(payload, [&packet[40..], &packet[40..]].concat());
    }

    /// Any bytes from the wire: no panic, and never believed.
    #[test]
    fn nonsense_from_the_wire_is_never_believed(mut bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let mut inbound = server();
        let now = Instant::now();
        inbound.session(PEER).unwrap().add_key(now, KeySerial(1), key(0, 1).1);
        inbound.session(PEER).unwrap().add_key(now, KeySerial(2), key(0, 2).1);
        for (place, byte) in bytes.iter_mut().zip([DATA_V2 << 3, 0, 0, 7]) {
            *place = byte;
        }
        prop_assert!(inbound.datagram(&at(1000), &mut bytes).is_err());
    }
}
