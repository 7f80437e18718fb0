//! Heads in, and out what they say, or that they are none.

use proptest::prelude::*;
use ring::rand::SystemRandom;

use super::*;

fn key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate(&SystemRandom::new()).expect("a key")).expect("a key")
}

fn description() -> Description {
    let content = |bytes, fill| Content { bytes, sha256: [fill; 32] };
    Description {
        version: Version::new("0.2.0-rc1").expect("a version"),
        made_unix_s: 1_790_000_000,
        grammar: 2,
        root_hash: [9; 32],
        parts: [content(80 << 20, 1), content(700_000, 2), content(20 << 20, 3), content(425, 4)],
    }
}

#[test]
fn a_signed_head_is_read_as_it_was_made() {
    // A description in, signed by two keys; either alone verifies it, a third does not.
    let (first, second, other) = (key(), key(), key());
    let public = [&first, &second, &other].map(SigningKey::public);
    let head = Draft(description()).sign(&[first, second]).expect("a good draft");
    let read = Head::read(&head).expect("a head").expect("whole");
    assert_eq!((read.length(), read.claims()), (head.len(), &description()));
    for key in &public[..2] {
        let manifest = read.clone().verify(&[*key]).expect("signed");
        assert_eq!((manifest.description(), manifest.head()), (&description(), &head[..]));
    }
    assert_eq!(read.clone().verify(&public[2..]), Err(HeadError::Stranger));
    assert_eq!(read.verify(&[]), Err(HeadError::Stranger));
    assert!(head.len() <= HEAD_BYTES_MAX);
}

#[test]
fn a_head_is_waited_for_and_then_read_whatever_follows() {
    let signer = key();
    let mut head = Draft(description()).sign(&[signer]).expect("a good draft");
    for cut in 0..head.len() {
        assert_eq!(Head::read(&head[..cut]), Ok(None), "{cut}");
    }
    let whole = Head::read(&head).expect("a head");
    head.extend(b"parts");
    assert_eq!(Head::read(&head).expect("a head"), whole);
}

#[test]
fn every_bit_of_a_head_counts() {
    // One bit of manifest or signature changed: no manifest comes out of it.
    let signer = key();
    let public = signer.public();
    let head = Draft(description()).sign(&[signer]).expect("a good draft");
    for bit in 0..head.len() * 8 {
        let mut bent = head.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let verified = Head::read(&bent).and_then(|read| match read {
            Some(read) => read.verify(&[public]).map(|_| ()),
            // Another number of signatures: more is waited for, and there is none.
            None => Err(HeadError::Malformed("length")),
        });
        assert!(verified.is_err(), "bit {bit}: {verified:?}");
    }
}

#[test]
fn what_no_slot_can_hold_is_refused_unsigned() {
    let mut long = description();
    long.parts[2].bytes = Part::Kernel.bytes_max() + 1;
    assert_eq!(Draft(long).sign(&[key()]), Err(HeadError::TooLong(Part::Kernel)));
    let mut empty = description();
    empty.parts[3].bytes = 0;
    assert_eq!(Draft(empty).sign(&[key()]), Err(HeadError::Malformed("an empty part")));
    assert_eq!(Draft(description()).sign(&[]), Err(HeadError::Malformed("number of signatures")));
    assert_eq!(Head::read(b"PK\x03\x04"), Err(HeadError::Foreign));
    let mut arm = Draft(description()).sign(&[key()]).expect("a good draft");
    arm[29..33].copy_from_slice(b"arm ");
    assert_eq!(Head::read(&arm), Err(HeadError::Processor));
}

#[test]
fn keys_are_written_as_digits() {
    let public = key().public();
    assert_eq!(PublicKey::parse(&format!("{}\n", public.text())), Some(public));
    for wrong in ["", "00", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
        assert_eq!(PublicKey::parse(wrong), None, "{wrong}");
    }
    // A key that openssl made (RFC 8410 §10.3), without its public half.
    let der = [
        &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20][..],
        &[
            0xd4, 0xee, 0x72, 0xdb, 0xf9, 0x13, 0x58, 0x4a, 0xd5, 0xb6, 0xd8, 0xf1, 0xf7, 0x69, 0xf8, 0xad,
            0x3a, 0xfe, 0x7c, 0x28, 0xcb, 0xf1, 0xd4, 0xfb, 0xe0, 0x97, 0xa8, 0x8f, 0x44, 0x75, 0x58, 0x42,
        ],
    ]
    .concat();
    let public = SigningKey::from_pkcs8(&der).expect("a key").public();
    assert_eq!(public.text(), "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
}

proptest! {
    /// Noise, and noise behind the right beginning: an answer, and no panic.
    #[test]
    fn noise_is_no_update(noise in proptest::collection::vec(any::<u8>(), 0..600), honest in any::<bool>()) {
        let bytes = if honest { [MAGIC, &noise[..]].concat() } else { noise };
        if let Ok(Some(head)) = Head::read(&bytes) {
            prop_assert!(head.length() <= HEAD_BYTES_MAX);
            prop_assert!(head.verify(&[]).is_err());
        }
    }

    /// Whatever can be described comes back as it was.
    #[test]
    fn encoding_loses_nothing(made in any::<u64>(), grammar in any::<u32>(), hash in any::<[u8; 32]>(), length in 1u64..16384) {
        let mut wanted = description();
        wanted.made_unix_s = made;
        wanted.grammar = grammar;
        wanted.root_hash = hash;
        wanted.parts[3] = Content { bytes: length, sha256: hash };
        let head = Draft(wanted.clone()).sign(&[key()]).expect("a good draft");
        let read = Head::read(&head).expect("a head").expect("whole");
        prop_assert_eq!(read.claims(), &wanted);
    }
}
