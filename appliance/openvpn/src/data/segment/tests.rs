use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::cut::Cutter;
use super::join::Joiner;
use super::virtio::{self, Header};
use super::*;

/// RFC 1071 as it is written: 16 bits at a time.
fn naive(pieces: &[&[u8]]) -> u16 {
    let all: Vec<u8> = pieces.concat();
    let mut sum = 0u32;
    for pair in all.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Where the transport header begins, and its protocol.
fn transport(packet: &[u8]) -> (usize, u8) {
    match packet[0] >> 4 {
        4 => (usize::from(packet[0] & 15) * 4, packet[9]),
        _ => (40, packet[6]),
    }
}

/// The checksums and lengths of a packet, worked out anew.
fn assert_sound(packet: &[u8]) {
    let (start, protocol) = transport(packet);
    let part = &packet[start..];
    let addresses = if packet[0] >> 4 == 4 { &packet[12..20] } else { &packet[8..40] };
    if packet[0] >> 4 == 4 {
        assert_eq!(naive(&[&packet[..start]]), 0, "checksum of the IP header");
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    } else {
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), part.len());
    }
    let length = (part.len() as u32).to_be_bytes();
    assert_eq!(naive(&[addresses, &[0, protocol], &length, part]), 0, "checksum of protocol {protocol}");
    if protocol == udp::PROTOCOL {
        assert_eq!(usize::from(u16::from_be_bytes([part[4], part[5]])), part.len());
        assert_ne!(part[6..8], [0, 0]);
    }
}

/// A packet by its parts, complete but for the checksums.
#[derive(Clone, Debug)]
struct Made {
    v6: bool,
    udp: bool,
    flow: u8,
    id: u16,
    sequence: u32,
    flags: u8,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Made {
    fn headers(&self) -> usize {
        let ip = if self.v6 { 40 } else { 20 };
        ip + if self.udp { 8 } else { 20 + self.options.len() }
    }

    fn bytes(&self) -> Vec<u8> {
        let (headers, protocol) = (self.headers(), if self.udp { udp::PROTOCOL } else { tcp::PROTOCOL });
        let length = headers + self.payload.len();
        let mut out = if self.v6 {
            let mut ip = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            put(&mut ip, 4, ((length - 40) as u16).to_be_bytes());
            ip.extend([0xfd; 16].into_iter().chain([self.flow; 16]));
            ip
        } else {
            let mut ip =
                vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 8, 0, 2, 10, 8, 0, self.flow];
            put(&mut ip, 2, (length as u16).to_be_bytes());
            put(&mut ip, 4, self.id.to_be_bytes());
            let sum = naive(&[&ip]).to_be_bytes();
            put(&mut ip, 10, sum);
            ip
        };
        out.extend([0x30, 0x39, 0x01, 0xbb]);
        if self.udp {
            out.extend(((8 + self.payload.len()) as u16).to_be_bytes());
            out.extend([0, 0]);
        } else {
            out.extend(self.sequence.to_be_bytes());
            out.extend([
                0,
                0,
                0,
                7,
                ((20 + self.options.len()) / 4 * 16) as u8,
                self.flags,
                1,
                0,
                0,
                0,
                0,
                0,
            ]);
            out.extend(&self.options);
        }
        out.extend(&self.payload);
        out
    }

    fn csum(&self) -> (usize, usize) {
        (self.headers() - if self.udp { 8 } else { 20 + self.options.len() }, if self.udp { 6 } else { 16 })
    }

    /// As the kernel hands it over: to be cut into packets of `size` bytes, its checksum begun.
    fn handed_over(&self, size: u16) -> (Header, Vec<u8>) {
        let mut bytes = self.bytes();
        let (start, offset) = self.csum();
        let length = ((bytes.len() - start) as u32).to_be_bytes();
        let addresses = if self.v6 { bytes[8..40].to_vec() } else { bytes[12..20].to_vec() };
        let protocol = if self.udp { udp::PROTOCOL } else { tcp::PROTOCOL };
        let begun = !naive(&[&addresses, &[0, protocol], &length]);
        put(&mut bytes, start + offset, begun.to_be_bytes());
        let gso_type = match (size, self.udp, self.v6) {
            (0, _, _) => virtio::GSO_NONE,
            (_, true, _) => virtio::GSO_UDP_L4,
            (_, false, false) => virtio::GSO_TCPV4,
            (_, false, true) => virtio::GSO_TCPV6,
        };
        let header = Header {
            flags: virtio::NEEDS_CSUM,
            gso_type,
            hdr_len: self.headers() as u16,
            gso_size: size,
            csum_start: start as u16,
            csum_offset: offset as u16,
        };
        (header, bytes)
    }

    /// As it is on a line.
    fn complete(&self) -> Vec<u8> {
        let (header, bytes) = self.handed_over(0);
        cut(&header, &bytes).remove(0)
    }
}

fn cut(header: &Header, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut cutter = Cutter::new(header, packet).unwrap();
    let mut out = Vec::new();
    while let Some(length) = cutter.next_len() {
        let mut piece = vec![0; length];
        cutter.write(&mut piece);
        out.push(piece);
    }
    out
}

/// What a joiner makes of packets: as the device would be given it.
fn join(packets: &[Vec<u8>]) -> Vec<(Header, Vec<u8>)> {
    let mut arena = Vec::new();
    let places: Vec<Range<usize>> = packets
        .iter()
        .map(|packet| {
            arena.extend_from_slice(packet);
            arena.len() - packet.len()..arena.len()
        })
        .collect();
    let mut written = Vec::new();
    let mut sink = |head: &[u8], parts: &[Range<usize>]| {
        let mut bytes = head.to_vec();
        parts.iter().for_each(|part| bytes.extend_from_slice(&arena[part.clone()]));
        let (header, packet) = Header::split(&bytes).unwrap();
        written.push((header, packet.to_vec()));
    };
    let mut joiner = Joiner::new(true);
    places.into_iter().for_each(|place| joiner.offer(&arena, place, &mut sink));
    joiner.flush(&mut sink);
    written
}

prop_compose! {
    fn made()(
        v6: bool, udp: bool, flow in 1..=3u8, id: u16, sequence: u32, options in 0..=10usize, psh: bool, cwr: bool,
        payload in proptest::collection::vec(any::<u8>(), 1..9000),
    ) -> Made {
        let flags = tcp::ACK | (u8::from(psh) * tcp::PSH) | (u8::from(cwr) * tcp::CWR);
        Made { v6, udp, flow, id, sequence, flags, options: vec![1; options * 4], payload }
    }
}

proptest! {
    /// A super-packet of any size: sound packets, numbered on, with all of the payload.
    #[test]
    fn a_super_packet_is_cut_into_sound_packets(made in made(), size in 1..1460u16) {
        let (header, bytes) = made.handed_over(size);
        let pieces = cut(&header, &bytes);
        let headers = made.headers();
        prop_assert_eq!(pieces.len(), made.payload.len().div_ceil(usize::from(size)));
        let mut payload = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            assert_sound(piece);
            if !made.v6 {
                prop_assert_eq!(get16(piece, 4), Some(made.id.wrapping_add(n as u16)));
            }
            if !made.udp {
                let start = transport(piece).0;
                let sequence = made.sequence.wrapping_add(payload.len() as u32);
                prop_assert_eq!(get32(piece, start + 4), Some(sequence));
                let last = n + 1 == pieces.len();
                let off = if last { 0 } else { tcp::PSH } | if n == 0 { 0 } else { tcp::CWR };
                prop_assert_eq!(piece[start + 13], made.flags & !off);
            }
            payload.extend_from_slice(&piece[headers..]);
        }
        prop_assert_eq!(payload, made.payload);
    }

    /// A packet whose checksum is only begun leaves complete; one that needs nothing leaves as it came.
    #[test]
    fn a_single_packet_leaves_complete(made in made()) {
        let whole = made.complete();
        assert_sound(&whole);
        prop_assert_eq!(cut(&Header::default(), &whole), vec![whole]);
    }

    /// Cut and joined again: the very same super-packet, as far as one goes.
    #[test]
    fn joining_undoes_cutting(made in made(), size in 500..1460u16) {
        let made = Made { flags: made.flags & !tcp::CWR, ..made };
        let (header, bytes) = made.handed_over(size);
        let pieces = cut(&header, &bytes);
        let joined = join(&pieces);
        prop_assert_eq!(joined.len(), 1);
        if pieces.len() > 1 {
            prop_assert_eq!(&joined[0], &(header, bytes));
        }
        prop_assert_eq!(cut(&joined[0].0, &joined[0].1), pieces);
    }

    /// Packets of several connections, mixed, some missing, some not to be joined: what comes out, cut as the kernel would,
    /// is for each connection the same packets in the same order.
    #[test]
    fn joining_changes_no_packet_and_no_order(
        kinds in proptest::collection::vec((0..4u8, 0..40u8, 1..=3u8), 1..120),
    ) {
        let mut sequences: BTreeMap<u8, (u32, u16)> = BTreeMap::new();
        let mut packets = Vec::new();
        for (flow, kind, size) in kinds {
            let (sequence, id) = sequences.entry(flow).or_insert((u32::MAX - 1000, u16::MAX - 5));
            // One or another length, rarely; otherwise the usual one.
            let length = match kind { 0..=3 => 10 * usize::from(size), 4 => 0, _ => 100 };
            let flags = match kind { 5 => tcp::SYN, 6 => tcp::FIN | tcp::ACK, 7 => tcp::ACK | tcp::PSH, _ => tcp::ACK };
            let made = Made {
                v6: flow == 3, udp: kind == 8, flow, id: *id, sequence: *sequence, flags,
                options: vec![1; if kind == 9 { 4 } else { 0 }], payload: vec![flow; length],
            };
            let mut packet = made.complete();
            if kind == 10 {
                // A wrong checksum stays wrong.
                let last = packet.len() - 1;
                packet[last] ^= 1;
            }
            if kind == 11 && flow != 3 {
                // A fragment.
                packet[6] = 0x20;
                put(&mut packet, 10, [0, 0]);
                let sum = naive(&[&packet[..20]]).to_be_bytes();
                put(&mut packet, 10, sum);
            }
            *id = id.wrapping_add(if kind == 12 { 2 } else { 1 });
            *sequence = sequence.wrapping_add(length as u32 + u32::from(kind == 13));
            packets.push(packet);
        }
        let out: Vec<Vec<u8>> = join(&packets).iter().flat_map(|(header, packet)| cut(header, packet)).collect();
        let by_flow = |all: &[Vec<u8>]| {
            let mut flows: BTreeMap<(Vec<u8>, u8), Vec<Vec<u8>>> = BTreeMap::new();
            for packet in all {
                let key = (address_bytes(packet).unwrap().0.to_vec(), transport(packet).1);
                flows.entry(key).or_default().push(packet.clone());
            }
            flows
        };
        prop_assert_eq!(by_flow(&out), by_flow(&packets));
    }

    /// Nonsense from the kernel and from clients: no panic, and nothing longer than announced.
    #[test]
    fn nonsense_is_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), version in prop_oneof![Just(0x45u8), Just(0x60u8), any::<u8>()],
        flags in 0..2u8, kind in prop_oneof![Just(0u8), Just(1), Just(4), Just(5), any::<u8>()],
        size in 0..100u16, start in 0..100u16, offset in 0..30u16,
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        let header =
            Header { flags, gso_type: kind, hdr_len: 0, gso_size: size, csum_start: start, csum_offset: offset };
        if let Ok(mut cutter) = Cutter::new(&header, &bytes) {
            let mut out = vec![0; bytes.len()];
            let mut count = 0;
            while let Some(length) = cutter.next_len() {
                prop_assert!(length <= bytes.len());
                cutter.write(&mut out[..length]);
                count += 1;
                prop_assert!(count <= bytes.len() + 1);
            }
        }
        join(&[bytes.clone(), bytes]);
    }
}

/// 100 segments of 700 bytes: two super-packets of no more than 64 KiB, and no more than 64 pieces each.
#[test]
fn a_super_packet_is_not_larger_than_the_kernel_takes() {
    let mut made = Made {
        v6: false,
        udp: false,
        flow: 1,
        id: 0,
        sequence: 0,
        flags: tcp::ACK,
        options: vec![],
        payload: vec![7; 1400],
    };
    let mut packets = Vec::new();
    for _ in 0..100 {
        packets.push(made.complete());
        made.sequence += 1400;
        made.id += 1;
    }
    let joined = join(&packets);
    assert_eq!(
        joined.iter().map(|(_, p)| p.len()).collect::<Vec<_>>(),
        [46 * 1400 + 40, 46 * 1400 + 40, 8 * 1400 + 40]
    );
    let out: Vec<Vec<u8>> = joined.iter().flat_map(|(header, packet)| cut(header, packet)).collect();
    assert_eq!(out, packets);
}
