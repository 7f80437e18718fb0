mod explore;
mod model;

use proptest::prelude::*;

use super::*;
use crate::data::keys::{BLOCK, End, KeyId};

const OURS: StoreId = StoreId([1; 16]);
const THEIRS: StoreId = StoreId([2; 16]);

fn keys(number: u8) -> DataKeys {
    DataKeys::derived(KeyId::of(number), &[number; BLOCK], End::Server)
}

fn book(parity: Parity, highest: u64) -> EpochBook {
    EpochBook::new(parity, Record { store: OURS, highest: Epoch(highest) })
}

fn claimed(parity: Parity, highest: u64) -> Persisted<TakeOverEpoch> {
    book(parity, highest).claim().unwrap().persist(|_| Ok::<(), ()>(())).unwrap()
}

/// From what was heard, the smallest of one's own parity above it.
#[test]
fn an_epoch_is_the_smallest_of_its_parity_above_all_heard() {
    for (parity, highest, epoch) in [
        (Parity::Even, 0, 2),
        (Parity::Odd, 0, 1),
        (Parity::Even, 1, 2),
        (Parity::Odd, 1, 3),
        (Parity::Even, 6, 8),
        (Parity::Odd, 6, 7),
        (Parity::Even, u64::MAX - 2, u64::MAX - 1),
        (Parity::Odd, u64::MAX - 1, u64::MAX),
    ] {
        assert_eq!(claimed(parity, highest).epoch(), Epoch(epoch), "{parity:?} {highest}");
    }
    assert!(book(Parity::Even, u64::MAX - 1).claim().is_err());
    assert!(book(Parity::Odd, u64::MAX).claim().is_err());
}

/// A claim that was not written is not drawn again either.
#[test]
fn a_claim_that_fails_to_be_written_is_used_up() {
    let mut book = book(Parity::Odd, 4);
    assert_eq!(book.claim().unwrap().persist(|_| Err("disk full")).unwrap_err(), "disk full");
    let mut written = None;
    let persisted = book
        .claim()
        .unwrap()
        .persist(|r| {
            written = Some(*r);
            Ok::<(), ()>(())
        })
        .unwrap();
    assert_eq!(persisted.epoch(), Epoch(7));
    assert_eq!(written, Some(Record { store: OURS, highest: Epoch(7) }));
    book.hear(Epoch(6));
    assert_eq!(book.highest(), Epoch(7));
}

/// Every difference between the epochs of maker and taker: a range, or why not.
#[test]
fn the_range_follows_from_the_two_epochs() {
    for (made, highest, wanted) in [
        (9, 9, Ok(1)),
        (8, 9, Ok(2)),
        (1, 14, Ok(15 - 1)),
        (1, 15, Err(NoRange::TooOld { made: Epoch(1), now: Epoch(17) })),
        (3, 15, Ok(14)),
        (10, 9, Ok(0)),
        (12, 9, Err(NoRange::NotEarlier { made: Epoch(12), now: Epoch(11) })),
    ] {
        let parity = if made == 9 { Parity::Even } else { Parity::Odd };
        let persisted = claimed(parity, highest);
        let now = persisted.epoch().get();
        let origin = Origin { made: Epoch(made), stores: [Some(OURS); 2] };
        let (_, ranges) = persisted.take_over(&[Imported::new(origin, &keys(1))]);
        match (&ranges[0], wanted) {
            (Ok(range), Ok(_)) => {
                let number = now - made;
                assert_eq!(u64::from(range.next), number * u64::from(RANGE) + 1, "{made} {now}");
            }
            (Err(why), Err(wanted)) => assert_eq!(*why, wanted),
            (Err(why), Ok(_)) if now <= made => {
                assert_eq!(*why, NoRange::NotEarlier { made: Epoch(made), now: Epoch(now) });
            }
            (got, wanted) => panic!("{made} {now}: {got:?}, wanted {wanted:?}"),
        }
    }
}

#[test]
fn only_keys_that_were_made_for_this_store_get_a_range() {
    for (stores, ok) in [
        ([Some(OURS), Some(THEIRS)], true),
        ([Some(OURS), None], true),
        ([None, Some(OURS)], false),
        ([Some(THEIRS), Some(OURS)], false),
    ] {
        let origin = Origin { made: Epoch(3), stores };
        let (_, ranges) = claimed(Parity::Even, 3).take_over(&[Imported::new(origin, &keys(1))]);
        assert_eq!(ranges[0].is_ok(), ok, "{stores:?}");
    }
}

#[test]
fn the_same_key_twice_in_a_list_has_one_range() {
    let import = |n| Imported::new(Origin { made: Epoch(1), stores: [Some(OURS), Some(THEIRS)] }, &keys(n));
    let (_, ranges) = claimed(Parity::Even, 1).take_over(&[import(1), import(2), import(1)]);
    assert!(ranges[0].is_ok() && ranges[1].is_ok());
    assert_eq!(ranges[2].as_ref().unwrap_err(), &NoRange::Twice);
}

#[test]
fn only_a_fresh_key_gets_the_makers_range_and_only_once() {
    let (reign, _) = claimed(Parity::Even, 5).take_over(&[]);
    let mut made = keys(1);
    let (origin, mut range) = reign.make(&mut made, Some(THEIRS)).unwrap();
    assert_eq!(origin, Origin { made: Epoch(6), stores: [Some(OURS), Some(THEIRS)] });
    assert_eq!(range.take(), Ok(1));
    assert!(reign.make(&mut made, Some(THEIRS)).is_none());
    assert!(reign.make(&mut DataKeys::replicated(KeyId::of(0), &made.material()), None).is_none());
}

/// All ids of the first, the second and the last range: rising, within the bounds of the study, and then none.
#[test]
fn a_range_gives_each_of_its_ids_once_and_then_none() {
    for number in [0, 1, 15] {
        let mut range = PacketIdRange::new(keys(1).print(), number);
        let (first, last) = (number * RANGE + 1, number * RANGE + (RANGE - 1));
        let mut expected = first;
        while let Ok(id) = range.take() {
            assert_eq!(id, expected);
            assert_eq!(range.is_due(), id - first + 1 >= DUE);
            expected = id.wrapping_add(1);
        }
        assert_eq!(expected.wrapping_sub(1), last);
        assert_eq!(range.used(), RANGE - 1);
        assert_eq!(range.take(), Err(Exhausted));
    }
}

proptest! {
    /// A record comes back from the disk as it went there; with any byte changed or missing it does not.
    #[test]
    fn a_record_survives_and_a_damaged_one_is_noticed(
        store: [u8; 16], highest: u64, at in 0..Record::LEN, flip in 1..=u8::MAX,
    ) {
        let record = Record { store: StoreId(store), highest: Epoch(highest) };
        let mut bytes = record.encode();
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
        prop_assert_eq!(Record::decode(&bytes[..at]), Err(Damaged));
        bytes[at] ^= flip;
        prop_assert_eq!(Record::decode(&bytes), Err(Damaged));
    }
}
