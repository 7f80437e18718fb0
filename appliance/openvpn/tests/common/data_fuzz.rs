//! What is asked of any bytes in the data channel and between it and the device: by the fuzz target `openvpn_data`, and by the
//! ordinary tests with a few of them.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use rempart_openvpn::data::epoch::{Epoch, EpochBook, Parity, Record, Reign, StoreId};
use rempart_openvpn::data::inbound::{Content, Inbound};
use rempart_openvpn::data::keys::{BLOCK, DataKeys, End, KeyId};
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::outbound::{Filled, Outbound};
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::segment::cut::Cutter;
use rempart_openvpn::data::segment::join::Joiner;
use rempart_openvpn::data::segment::row::{MAX_BATCH, MAX_SEGMENTS, Row};
use rempart_openvpn::data::segment::virtio;
use rempart_openvpn::data::{Echo, KeySerial, OVERHEAD, Path, PeerId};

/// Packets of one script, and bytes that a reader of the device has room for.
const MOST: usize = 64;
const ROOM: usize = 1 << 16;

/// The first byte says what the rest is: 0 a datagram from nowhere, 1 packets that a client seals, which are judged and joined,
/// others what the kernel gives at the device, to be cut and sealed.
pub fn data(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    match how % 3 {
        0 => nowhere(rest),
        1 => inward(how / 3 % 2 == 0, rest),
        _ => outward(rest),
    }
}

fn reign() -> Reign {
    let record = Record { store: StoreId::new([0; 16]), highest: Epoch::new(0) };
    let claim = EpochBook::new(Parity::Even, record).claim().expect("an epoch");
    claim.persist(|_| Ok::<(), ()>(())).expect("written").take_over(&[]).0
}

fn peer() -> PeerId {
    PeerId::new(7).expect("a peer id")
}

fn at(port: u16) -> Path {
    Path { local: 0, remote: SocketAddr::from(([192, 0, 2, 1], port)) }
}

/// The same key for the end that seals and the end that opens.
fn key(seals: End) -> (Sealer, Opener) {
    let opens = if seals == End::Client { End::Server } else { End::Client };
    let mut keys = DataKeys::derived(KeyId::of(0), &[3; BLOCK], seals);
    let (_, ids) = reign().make(&mut keys, None).expect("it is fresh");
    let sealer = Sealer::new(&keys, ids, peer()).expect("its own range");
    (sealer, Opener::new(&DataKeys::derived(KeyId::of(0), &[3; BLOCK], opens), 0))
}

fn server(opener: Opener) -> Inbound {
    let mut inbound = Inbound::new(2);
    let own = ["10.8.0.2/32", "fd00:8::2/128", "10.9.0.0/24"];
    let own = own.into_iter().map(|net| net.parse().expect("a network")).collect();
    inbound.add(peer(), at(1000), own, Echo::default()).expect("room");
    let session = inbound.session(peer()).expect("it is there");
    session.add_key(Instant::now(), KeySerial(1), opener);
    inbound
}

/// Without the key nothing is authentic, and nothing moves.
fn nowhere(bytes: &[u8]) {
    let mut inbound = server(key(End::Client).1);
    let mut datagram = bytes.to_vec();
    let named = [&[0x48, 0, 0, 7][..], bytes].concat();
    assert!(inbound.datagram(&at(2000), &mut datagram).is_err());
    assert!(inbound.datagram(&at(2000), &mut named.clone()).is_err());
    assert_eq!(inbound.session(peer()).expect("it is there").received().packets, 0);
}

/// An insider: what passes is his own, and what is joined comes apart again into as many packets.
fn inward(udp: bool, mut rest: &[u8]) {
    let (mut sealer, opener) = key(End::Client);
    let mut inbound = server(opener);
    let mut arena = Vec::new();
    let mut places = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>().filter(|_| places.len() < MOST) {
        let length = usize::from(u16::from_be_bytes(*length) & 0x7ff).min(after.len());
        let (inner, after) = after.split_at(length);
        rest = after;
        let mut datagram = [&[0; OVERHEAD], inner].concat();
        if sealer.seal(&mut datagram).is_err() {
            return;
        }
        let arrived = inbound.datagram(&at(1000), &mut datagram).expect("it is authentic and new");
        if let Content::Packet(inner) = arrived.content {
            let begin = arena.len();
            arena.extend_from_slice(&datagram[inner]);
            places.push(begin..arena.len());
        }
    }
    let (mut joiner, mut came) = (Joiner::new(udp), 0);
    let mut sink = |head: &[u8], parts: &[Range<usize>]| came += taken_apart(head, &arena, parts);
    for place in &places {
        joiner.offer(&arena, place.clone(), &mut sink);
    }
    joiner.flush(&mut sink);
    assert_eq!(came, places.len());
}

/// How many packets the kernel would make of what was written.
fn taken_apart(head: &[u8], arena: &[u8], parts: &[Range<usize>]) -> usize {
    let bytes = parts.iter().fold(head.to_vec(), |mut all, part| {
        all.extend_from_slice(&arena[part.clone()]);
        all
    });
    assert!(bytes.len() <= virtio::LEN + ROOM, "a packet has 64 KiB at most");
    let (header, packet) = virtio::Header::split(&bytes).expect("a header");
    let Ok(mut cutter) = Cutter::new(&header, packet) else {
        assert_eq!(header.gso_type, virtio::GSO_NONE, "what was joined can be cut");
        return 1;
    };
    let mut count = 0;
    let mut out = vec![0; ROOM];
    while let Some(length) = cutter.next_len() {
        cutter.write(&mut out[..length]);
        count += 1;
        assert!(count <= ROOM);
    }
    count
}

/// Whatever the device gives: rows keep to what one system call takes, and what was sealed can be opened.
fn outward(bytes: &[u8]) {
    let Some((header, packet)) = virtio::Header::split(bytes) else { return };
    let (sealer, mut opener) = key(End::Server);
    let mut outbound = Outbound::new(2);
    let own = ["10.8.0.2/32", "fd00:8::2/128", "10.9.0.0/24"].map(|net| net.parse().expect("a network"));
    outbound.add(peer(), at(1000), &own, Echo::default()).expect("room");
    let session = outbound.session(peer()).expect("it is there");
    session.add_key(Instant::now(), KeySerial(1), sealer);
    let Some((_, session)) = outbound.owner(packet) else { return };
    let Ok(mut cutter) = Cutter::new(&header, packet) else { return };
    let (mut arena, mut row) = (vec![0; ROOM], Row::default());
    loop {
        let filled = session.fill(&mut cutter, &mut arena, &mut row);
        if let Some((_, bytes, segment)) = std::mem::take(&mut row).content() {
            assert!(bytes <= MAX_BATCH && bytes.div_ceil(segment) <= MAX_SEGMENTS);
            for datagram in arena[..bytes].chunks_mut(segment) {
                assert!(opener.open(datagram).is_ok());
            }
        }
        if filled == Filled::Done {
            return;
        }
    }
}
