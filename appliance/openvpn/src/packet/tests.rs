use proptest::prelude::*;

use super::*;

/// In: each of the 256 first bytes. Out: exactly the seven control opcodes and DATA_V2 find a taker.
#[test]
fn every_first_byte_has_its_class() {
    for byte in 0..=u8::MAX {
        let expected = match byte >> 3 {
            3 | 4 | 5 | 7 | 8 | 10 | 11 => Class::Control,
            9 => Class::Data,
            _ => Class::Unknown,
        };
        assert_eq!(classify(&[byte]), expected, "{byte:#x}");
        if let Some(opcode) = Opcode::new(byte >> 3) {
            assert_eq!(opcode.get(), byte >> 3);
        }
    }
    assert_eq!(classify(&[]), Class::Unknown);
}

/// In: the order of key ids. Out: 0 comes once.
#[test]
fn key_ids_wrap_to_one() {
    let mut id = KeyId::FIRST;
    let ids: Vec<u8> = (0..10)
        .map(|_| {
            let this = id.get();
            id = id.next();
            this
        })
        .collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6, 7, 1, 2]);
    assert_eq!(KeyId::new(8), None);
}

/// In: the layout of the draft, by hand. Out: the fields.
#[test]
fn a_control_packet_by_hand() {
    let packet = [
        0x21, 1, 2, 3, 4, 5, 6, 7, 8, // CONTROL_V1, key 1, session id
        2, 0, 0, 0, 7, 0, 0, 0, 9, // two acknowledgements
        8, 7, 6, 5, 4, 3, 2, 1, // whose
        0, 0, 0, 3, 0x16, 0x03, // message 3, TLS
    ];
    let (header, rest) = Header::parse(&packet).unwrap();
    assert_eq!(header.opcode, Opcode::Control);
    assert_eq!(header.key_id.get(), 1);
    assert_eq!(header.session, SessionId([1, 2, 3, 4, 5, 6, 7, 8]));
    let body = Body::parse(header.opcode, rest).unwrap();
    assert_eq!(body.acks.as_slice(), [7, 9]);
    assert_eq!(body.peer, Some(SessionId([8, 7, 6, 5, 4, 3, 2, 1])));
    assert_eq!(body.message, Some(3));
    assert_eq!(body.payload, [0x16, 3]);
    assert_eq!([&header.encode()[..], &body.encode()].concat(), packet);
}

/// In: every way to cut a packet short, and one acknowledgement too many. Out: an error.
#[test]
fn short_packets_and_too_many_acks_are_refused() {
    let whole = Body {
        acks: [1, 2].into_iter().collect(),
        peer: Some(SessionId([1; 8])),
        message: Some(1),
        payload: &[],
    };
    let bytes = whole.encode();
    for length in 0..bytes.len() {
        assert_eq!(Body::parse(Opcode::Control, &bytes[..length]), Err(Malformed::Short), "{length}");
    }
    let mut many = vec![9];
    many.resize(64, 0);
    assert_eq!(Body::parse(Opcode::Ack, &many), Err(Malformed::Acks(9)));
    assert_eq!(Header::parse(&[0x20; MAX_PACKET + 1]), Err(Malformed::Long));
    assert_eq!(Header::parse(&[0x20; 8]), Err(Malformed::Short));
}

proptest! {
    /// In: any body. Out: the same after encoding and reading.
    #[test]
    fn bodies_survive_the_wire(
        ids in prop::collection::vec(any::<u32>(), 0..=8), peer: [u8; 8], message: Option<u32>,
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let acks: Acks = ids.iter().copied().collect();
        let peer = (!ids.is_empty()).then_some(SessionId(peer));
        let body = Body { acks, peer, message, payload: &payload };
        let opcode = if message.is_some() { Opcode::Control } else { Opcode::Ack };
        let bytes = body.encode();
        prop_assert_eq!(Body::parse(opcode, &bytes), Ok(body));
    }

    /// In: packets on a stream that is cut anywhere. Out: the same packets.
    #[test]
    fn a_stream_is_cut_where_it_was_joined(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8), cuts in prop::collection::vec(1usize..50, 1..20),
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            stream.extend(frame_length(packet).unwrap());
            stream.extend(packet);
        }
        let mut deframer = Deframer::default();
        let (mut out, mut rest, mut turn) = (Vec::new(), &stream[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (mut now, later) = rest.split_at((*turn.next().unwrap()).min(rest.len()));
            while let Some(packet) = deframer.next(&mut now).unwrap() {
                out.push(packet.to_vec());
            }
            rest = later;
        }
        prop_assert_eq!(out, packets);
    }
}

/// In: lengths that no packet has. Out: an error, before a byte of the body is stored.
#[test]
fn bad_lengths_end_a_stream() {
    for length in [0u16, 2049, u16::MAX] {
        let stream = [&length.to_be_bytes()[..], &[0; 100]].concat();
        assert_eq!(Deframer::default().next(&mut &stream[..]), Err(BadLength(length)));
    }
    assert_eq!(frame_length(&[]), None);
    assert_eq!(frame_length(&[0; MAX_PACKET + 1]), None);
}
