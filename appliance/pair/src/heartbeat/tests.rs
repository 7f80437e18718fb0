use proptest::prelude::*;

use super::*;

fn intentions() -> impl Strategy<Value = Intention> {
    let purposes = || {
        prop_oneof![
            Just(Purpose::Command),
            Just(Purpose::Maintenance),
            Just(Purpose::Shutdown),
            Just(Purpose::FailBack),
            Just(Purpose::Unwell),
            Just(Purpose::Election),
        ]
    };
    prop_oneof![
        Just(Intention::None),
        (any::<u64>(), purposes()).prop_map(|(epoch, purpose)| Intention::Offer { epoch, purpose }),
        any::<u64>().prop_map(|epoch| Intention::Ready { epoch }),
        (any::<u64>(), purposes()).prop_map(|(epoch, purpose)| Intention::Grant { epoch, purpose }),
        Just(Intention::WantFailBack),
        Just(Intention::WantCommand),
    ]
}

prop_compose! {
    fn heartbeats()(
        who in (any::<bool>(), 0..3_u8),
        intention in intentions(),
        flags in any::<[bool; 4]>(),
        numbers in (1..=u16::MAX, 1..=u64::MAX, any::<u64>(), any::<u16>()),
        echo in proptest::option::of((1..=u64::MAX, any::<u32>())),
        health in (any::<u16>(), any::<u32>(), any::<u32>(), any::<u16>()),
        epochs in (any::<u64>(), any::<u64>()),
        rest in (any::<u32>(), any::<[u8; 8]>(), any::<u64>(), any::<u32>(), any::<[u16; 3]>()),
    ) -> Heartbeat {
        let [going, maintenance, synced, probe] = flags;
        let (illness, links_down, gateways_silent, daemons_down) = health;
        let (revision, lineage, position, seconds_in_role, [major, minor, patch]) = rest;
        Heartbeat {
            index: if who.0 { NodeIndex::First } else { NodeIndex::Second },
            role: [Role::Starting, Role::Standby, Role::Active][usize::from(who.1)],
            intention, going, maintenance, synced, probe,
            interval_ms: numbers.0,
            beat: numbers.1,
            heard: numbers.2,
            hears: Paths(numbers.3),
            echo: echo.map(|(beat, held_us)| Echo { beat, held_us }),
            health: Health { illness, links_down, gateways_silent, daemons_down },
            epoch: epochs.0,
            highest: epochs.1,
            revision, lineage, position, seconds_in_role,
            product: ProductVersion { major, minor, patch },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// In: any heartbeat. Out: itself, after encoding and decoding.
    #[test]
    fn there_and_back(heartbeat in heartbeats()) {
        prop_assert_eq!(Heartbeat::decode(&heartbeat.encode()), Ok(heartbeat));
    }

    /// In: any heartbeat with any byte but the minor version changed. Out: an error, or a heartbeat that is written as just those bytes:
    /// there is one way to write each.
    #[test]
    fn back_and_there(heartbeat in heartbeats(), place in 0..LENGTH, byte in any::<u8>()) {
        let mut bytes = heartbeat.encode();
        bytes[place] = byte;
        bytes[1] = MINOR;
        if let Ok(decoded) = Heartbeat::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    /// In: any bytes, of any length. Out: no panic; nothing but the exact length is taken from our own minor version.
    #[test]
    fn noise(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Heartbeat::decode(&bytes);
        if let Some([layout, minor]) = bytes.first_chunk_mut() {
            (*layout, *minor) = (LAYOUT, MINOR);
        }
        prop_assert!(bytes.len() == LENGTH || Heartbeat::decode(&bytes).is_err());
    }

    /// In: a heartbeat of a later minor version: more bytes, flags that we do not know. Out: what we know of it. Cut
    /// off within what we know, or far too long: an error.
    #[test]
    fn later_versions(heartbeat in heartbeats(), more in proptest::collection::vec(any::<u8>(), 0..50)) {
        let mut bytes = heartbeat.encode().to_vec();
        bytes[1] = MINOR + 1;
        bytes[6] |= 0xf0;
        bytes.extend(&more);
        prop_assert_eq!(Heartbeat::decode(&bytes), Ok(heartbeat));
        prop_assert!(Heartbeat::decode(&bytes[..LENGTH - 1]).is_err());
        bytes.resize(MAX_LENGTH + 1, 0);
        prop_assert!(Heartbeat::decode(&bytes).is_err());
    }
}

fn example() -> Heartbeat {
    Heartbeat {
        index: NodeIndex::Second,
        role: Role::Active,
        intention: Intention::Grant { epoch: 0x0102, purpose: Purpose::FailBack },
        going: false,
        maintenance: false,
        synced: true,
        probe: false,
        interval_ms: 10,
        beat: 0x1122_3344_5566_7788,
        echo: Some(Echo { beat: 9, held_us: 250 }),
        heard: 10,
        hears: Paths::first(3),
        health: Health { illness: 16, links_down: 1, gateways_silent: 2, daemons_down: 0 },
        epoch: 3,
        highest: 4,
        revision: 5,
        lineage: *b"lineage.",
        position: 6,
        seconds_in_role: 7,
        product: ProductVersion { major: 1, minor: 2, patch: 3 },
    }
}

/// In: one heartbeat. Out: the bytes of the drawing at the head of the module, so that two releases keep understanding
/// each other.
#[test]
fn vector() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = [
        "01000102030404",
        "00",
        "1122334455667788",
        "0000000000000009",
        "000000fa",
        "0007",
        "0010",
        "0000000000000003",
        "0000000000000004",
        "0000000000000102",
        "00000001",
        "00000002",
        "0000",
        "000a",
        "00000005",
        "6c696e656167652e",
        "0000000000000006",
        "00000007",
        "000100020003",
        "000000000000000a",
    ];
    assert_eq!(hex(&example().encode()), expected.concat());
}

/// In: a field that holds what means nothing, each in turn. Out: the error names it.
#[test]
fn senseless_values() {
    let cases: [(usize, &[u8], &str); 10] = [
        (2, &[2], "node index"),
        (3, &[3], "role"),
        (4, &[6], "intention"),
        (5, &[0], "purpose"),
        (5, &[7], "purpose"),
        (6, &[16], "flags"),
        (7, &[1], "byte 7"),
        (8, &[0; 8], "beat"),
        (16, &[0; 8], "time of no echo"),
        (66, &[0; 2], "interval"),
    ];
    for (place, bytes, name) in cases {
        let mut encoded = example().encode();
        encoded[place..place + bytes.len()].copy_from_slice(bytes);
        match Heartbeat::decode(&encoded) {
            Err(DecodeError::Value { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    let mut encoded = example().encode();
    encoded[0] = 2;
    assert_eq!(Heartbeat::decode(&encoded), Err(DecodeError::Layout { found: 2 }));
    assert_eq!(Heartbeat::decode(&encoded[..5]), Err(DecodeError::Length { length_bytes: 5 }));
}

/// In: sets of paths. Out: what they contain; what is beyond the last one is left out.
#[test]
fn sets_of_paths() {
    let some = Paths::EMPTY.with(0).with(5).with(15).with(16);
    assert_eq!(some.iter().collect::<Vec<_>>(), [0, 5, 15]);
    assert!(some.contains(5) && !some.contains(4) && !some.contains(16) && !some.is_empty());
    assert_eq!(Paths::first(99).iter().count(), MAX_PATHS);
}
