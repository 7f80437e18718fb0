//! Properties of the codecs, without a kernel.

use std::net::IpAddr;

use proptest::prelude::*;

use super::message::{self, Parts, Said, Scope};
use super::*;
use crate::conntrack::codec::invert;
use crate::conntrack::{Layer4, Status, Tcp, TcpState, Tuple};
use crate::netlink::{NFGEN, NLM_F_CREATE, Raw, attributes, messages};

fn layer4() -> impl Strategy<Value = Layer4> {
    prop_oneof![
        any::<(u16, u16)>().prop_map(|(source, destination)| Layer4::Ports { source, destination }),
        any::<(u8, u8, u16)>().prop_map(|(kind, code, id)| Layer4::Icmp { kind, code, id }),
        Just(Layer4::Other),
    ]
}

fn tuple(v6: bool) -> BoxedStrategy<Tuple> {
    let address = move |bytes: [u8; 16]| match bytes {
        bytes if v6 => IpAddr::from(bytes),
        [a, b, c, d, ..] => IpAddr::from([a, b, c, d]),
    };
    (any::<[[u8; 16]; 2]>(), layer4())
        .prop_map(move |([source, destination], layer4)| Tuple {
            source: address(source),
            destination: address(destination),
            layer4,
        })
        .boxed()
}

fn zone() -> impl Strategy<Value = Zone> {
    let scope = prop_oneof![Just(ZoneScope::Both), Just(ZoneScope::Original), Just(ZoneScope::Reply)];
    prop_oneof![Just(Zone::default()), (1u16.., scope).prop_map(|(id, scope)| Zone { id, scope }),]
}

fn name() -> impl Strategy<Value = Name> {
    "[!-~]{1,23}".prop_map(|text| Name::new(text.as_bytes()).expect("a name"))
}

fn state() -> impl Strategy<Value = ProtocolState> {
    prop_oneof![
        Just(ProtocolState::None),
        any::<(u8, [u8; 2], [u8; 2])>().prop_map(|(state, window_scale, flags)| {
            ProtocolState::Tcp(Tcp { state: TcpState::from_number(state), window_scale, flags })
        }),
        any::<(u8, [u32; 2])>().prop_map(|(state, tags)| ProtocolState::Sctp(Sctp { state, tags })),
    ]
}

fn adjustment() -> impl Strategy<Value = SequenceAdjustment> {
    any::<[u32; 3]>().prop_map(|[position, before, after]| SequenceAdjustment { position, before, after })
}

/// On the heap, as its tree of values is too large for the stack of a test.
fn flow() -> BoxedStrategy<Flow> {
    use proptest::option::of;
    any::<bool>()
        .prop_flat_map(|v6| {
            let tuples = (tuple(v6), of(tuple(v6)), of((any::<u8>(), tuple(v6))));
            let numbers = any::<(u8, u32, u32, [bool; 3])>();
            let parts = (of(any::<[u8; 16]>()), of(name()), of([adjustment(), adjustment()]));
            let synproxy = of(any::<[u32; 3]>());
            (tuples, zone(), numbers, state(), parts, synproxy).prop_map(
                |(
                    (original, reply, master),
                    zone,
                    (protocol, timeout_s, mark, bits),
                    state,
                    parts,
                    synproxy,
                )| {
                    let status = [Status::SEEN_REPLY, Status::ASSURED, Status::CONFIRMED];
                    let status =
                        status.into_iter().zip(bits).filter(|(_, set)| *set).map(|(bit, _)| bit).sum();
                    let (labels, helper, adjustments) = parts;
                    Flow {
                        protocol,
                        original,
                        reply: reply.unwrap_or(invert(&original)),
                        zone,
                        status: Status(status),
                        timeout_s,
                        state,
                        mark,
                        labels: labels.unwrap_or_default(),
                        helper,
                        adjustments,
                        synproxy: synproxy
                            .map(|[sequence, timestamp, offset]| Synproxy { sequence, timestamp, offset })
                            .filter(|s| *s != Synproxy::default()),
                        master,
                    }
                },
            )
        })
        .boxed()
}

fn expectation() -> BoxedStrategy<Expectation> {
    use proptest::option::of;
    any::<bool>()
        .prop_flat_map(|v6| {
            let tuples = (tuple(v6), tuple(v6), (any::<u8>(), tuple(v6)), of(any::<(u32, u8)>()), tuple(v6));
            (tuples, zone(), any::<(u8, u32, u32, u32)>(), of(name()), of(name())).prop_map(
                |(
                    (tuple, mask, master, nat, saved),
                    zone,
                    (protocol, timeout_s, flags, class),
                    helper,
                    function,
                )| {
                    Expectation {
                        protocol,
                        tuple,
                        mask,
                        master,
                        zone,
                        timeout_s,
                        flags,
                        class,
                        helper,
                        function,
                        nat: nat.map(|(direction, protocol)| (direction, protocol, saved)),
                    }
                },
            )
        })
        .boxed()
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![flow().prop_map(Record::Flow), expectation().prop_map(Record::Expectation)]
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

const HASH: HashKey = HashKey([9; 16]);

proptest! {
    /// A record in; its bytes, read again, are the same record, and nothing shorter or longer is one.
    #[test]
    fn decode_is_the_inverse_of_encode(record in record()) {
        let bytes = encoded(&record);
        prop_assert!(bytes.len() <= MAX_ENCODED);
        prop_assert_eq!(Record::decode(&bytes), Some(record));
        for len in 0..bytes.len() {
            prop_assert_eq!(Record::decode(&bytes[..len]), None);
        }
        prop_assert_eq!(Record::decode(&[&bytes[..], &[0]].concat()), None);
    }

    /// Damaged bytes in; whatever is still read has exactly one form.
    #[test]
    fn there_is_one_form_only(record in record(), place in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = encoded(&record);
        let place = place.index(bytes.len());
        bytes[place] = value;
        if let Some(other) = Record::decode(&bytes) {
            prop_assert_eq!(encoded(&other), bytes);
        }
    }

    /// An identity in; the same out.
    #[test]
    fn identities_travel(record in record()) {
        let mut bytes = Vec::new();
        record.identity().encode(&mut bytes);
        prop_assert!(bytes.len() <= 80);
        prop_assert_eq!(Identity::decode(&bytes), Some(record.identity()));
        bytes.push(0);
        prop_assert_eq!(Identity::decode(&bytes), None);
    }

    /// Another timeout: the same fingerprint. Another mark: another.
    #[test]
    fn the_fingerprint_leaves_out_the_timeout(flow in flow(), timeout_s: u32) {
        let print = |flow: Flow| fingerprint(&encoded(&Record::Flow(flow)), &HASH);
        prop_assert_eq!(print(flow), print(Flow { timeout_s, ..flow }));
        prop_assert_ne!(print(flow), print(Flow { mark: flow.mark ^ 1, ..flow }));
    }

    /// Two records have one key if and only if they have one identity.
    #[test]
    fn keys_are_identities(a in record(), b in record()) {
        prop_assert_eq!(a.key(&HASH) == b.key(&HASH), a.identity() == b.identity());
        prop_assert_ne!(a.key(&HASH), a.key(&HashKey([8; 16])));
        let other = match (a, b) {
            (Record::Flow(a), Record::Flow(b)) => {
                Record::Flow(Flow { protocol: a.protocol, original: a.original, zone: a.zone, ..b })
            }
            (Record::Expectation(a), _) => Record::Expectation(Expectation { flags: !a.flags, ..a }),
            (Record::Flow(_), Record::Expectation(_)) => a,
        };
        prop_assert_eq!(a.key(&HASH), other.key(&HASH));
    }

    /// A connection in; what is asked of the kernel, read as if the kernel said it, is the connection without its
    /// translation, and the translation stands beside it.
    #[test]
    fn what_is_asked_is_what_is_meant(flow in flow()) {
        const CTA_NAT_SRC: u16 = 6;
        let bytes = message::create(Vec::new(), &flow, flow.timeout_s, Parts::ALL, 7);
        let raw = messages(&bytes).next().expect("a message");
        prop_assert_eq!(raw.sequence, 7);
        let Some(Said::Put { record: Record::Flow(read), new: true, .. }) = message::read(&raw) else {
            return Err(TestCaseError::fail("not read"));
        };
        let plain = invert(&flow.original);
        let nat = attributes(&raw.payload[NFGEN..]).any(|(kind, _)| kind == CTA_NAT_SRC);
        prop_assert_eq!(nat, plain != flow.reply);
        let mut wanted = Flow { reply: plain, status: Status(flow.status.0 | Status::CONFIRMED), ..flow };
        if flow.protocol == 47 {
            (wanted.status, wanted.timeout_s) = (read.status, read.timeout_s);
        }
        if let ProtocolState::Tcp(tcp) = &mut wanted.state {
            *tcp = message::canonical(*tcp);
        }
        prop_assert_eq!(read, wanted);
    }

    /// An expectation in; what is asked of the kernel, read as if the kernel said it, is the same.
    #[test]
    fn what_is_asked_to_be_expected(mut expectation in expectation()) {
        expectation.zone.scope = ZoneScope::Both;
        expectation.flags &= !4;
        let bytes = message::create_expectation(Vec::new(), &expectation, expectation.timeout_s, 7);
        let raw = messages(&bytes).next().expect("a message");
        let Some(Said::Put { record: Record::Expectation(read), .. }) = message::read(&raw) else {
            return Err(TestCaseError::fail("not read"));
        };
        prop_assert_eq!(read, expectation);
    }

    /// Whatever bytes the kernel sends, or messages of ours that were damaged, reading them never panics.
    #[test]
    fn hostile_messages(
        flow in flow(),
        expectation in expectation(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let scope = Scope { expected: true, labels: true };
        let mut bytes = message::create(noise.clone(), &flow, 1, Parts::ALL, 1);
        bytes = message::update(bytes, &flow, 1, scope, 2);
        bytes = message::create_expectation(bytes, &expectation, 1, 3);
        bytes = message::delete(bytes, &flow.identity(), 4);
        bytes.drain(..noise.len());
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        for raw in messages(&bytes) {
            let _ = message::read(&raw);
        }
        for kind in [0x0100, 0x0102, 0x0200, 0x0202] {
            for family in [2, 10] {
                let payload = [&[family, 0, 0, 0], &noise[..]].concat();
                let _ = message::read(&Raw { kind, flags: NLM_F_CREATE, sequence: 1, payload: &payload });
            }
        }
    }

    /// Whatever bytes the peer sends, reading them never panics.
    #[test]
    fn hostile_records(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0usize..4) {
        if let Some(first) = bytes.first_mut() {
            *first = [0x11, 0x12, 0x21, 0x22][kind];
        }
        let _ = (Record::decode(&bytes), Identity::decode(&bytes), fingerprint(&bytes, &HASH));
    }
}

/// Vectors: both nodes must agree on them, whatever version each runs. A change here is a new version of the encoding.
#[test]
fn the_encoding_is_stable() {
    let flow = Flow {
        protocol: 6,
        original: Tuple {
            source: [10, 0, 0, 2].into(),
            destination: [192, 0, 2, 2].into(),
            layer4: Layer4::Ports { source: 0x1234, destination: 443 },
        },
        reply: Tuple {
            source: [192, 0, 2, 2].into(),
            destination: [192, 0, 2, 1].into(),
            layer4: Layer4::Ports { source: 443, destination: 0x1234 },
        },
        zone: Zone::default(),
        status: Status(0x1ff),
        timeout_s: 0x0001_0203,
        state: ProtocolState::Tcp(Tcp {
            state: TcpState::Established,
            window_scale: [7, 9],
            flags: [0x23, 0x03],
        }),
        mark: 0x8000_0042,
        labels: [0; 16],
        helper: Name::new(b"ftp"),
        adjustments: None,
        synproxy: None,
        master: None,
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let record = Record::Flow(flow);
    assert_eq!(
        hex(&encoded(&record)),
        "1100010203\
         02be06\
         010a000002c00002021234\
         01bb\
         01c0000202c000020101bb\
         1234\
         0307092303\
         80000042\
         03667470"
            .replace(' ', "")
    );
    assert_eq!(hex(&record.key(&HASH)), "429bc927c8214362517f59c540c748bc");
    assert_eq!(fingerprint(&encoded(&record), &HASH), 10_591_811_192_598_058_100);
}

/// A record is small enough for arrays of them, and a longest one for a datagram of the journal.
#[test]
fn sizes() {
    assert!(size_of::<Record>() <= 360, "{}", size_of::<Record>());
    let address = IpAddr::from([0xff; 16]);
    let layer4 = Layer4::Ports { source: 1, destination: 2 };
    let tuple = Tuple { source: address, destination: address, layer4 };
    let longest = Flow {
        reply: tuple,
        zone: Zone { id: 1, scope: ZoneScope::Both },
        mark: 1,
        labels: [1; 16],
        helper: Name::new(&[b'x'; Name::MAX]),
        adjustments: Some([SequenceAdjustment::default(); 2]),
        synproxy: Some(Synproxy { sequence: 1, timestamp: 1, offset: 1 }),
        master: Some((6, tuple)),
        original: Tuple { layer4: Layer4::Ports { source: 3, destination: 4 }, ..tuple },
        ..flow_in(ProtocolState::Sctp(Sctp { state: 1, tags: [1; 2] }))
    };
    assert_eq!(encoded(&Record::Flow(longest)).len(), 212);
}

/// What a filter, a timer and the urgency of a change are decided by.
#[test]
fn closing_states() {
    let closing: Vec<u8> = (0..12)
        .filter(|state| {
            let state = TcpState::from_number(*state);
            let tcp = ProtocolState::Tcp(Tcp { state, window_scale: [0; 2], flags: [0; 2] });
            flow_in(tcp).is_closing()
        })
        .collect();
    assert_eq!(closing, [4, 5, 6, 7, 8]);
    let closing: Vec<u8> = (0..12)
        .filter(|s| flow_in(ProtocolState::Sctp(Sctp { state: *s, tags: [0; 2] })).is_closing())
        .collect();
    assert_eq!(closing, [5, 6, 7]);
    assert!(!flow_in(ProtocolState::None).is_closing());
}

fn flow_in(state: ProtocolState) -> Flow {
    let tuple = Tuple { source: [1; 4].into(), destination: [2; 4].into(), layer4: Layer4::Other };
    Flow {
        protocol: 6,
        original: tuple,
        reply: invert(&tuple),
        zone: Zone::default(),
        status: Status(0),
        timeout_s: 0,
        state,
        mark: 0,
        labels: [0; 16],
        helper: None,
        adjustments: None,
        synproxy: None,
        master: None,
    }
}
