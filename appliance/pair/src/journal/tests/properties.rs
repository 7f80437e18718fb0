//! Whatever the line does and whoever dies: in the end both kernels hold the same.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::slots::{Slot, Slots};
use super::super::wire::{Message, Record, Report, Verdict};
use super::super::{Key, MAX_ENTRY, Urgency};
use super::model::{Kernel, Line, Pair, Random, SMALL_STEP, key};

const KEYS: u64 = 300;

pub fn kernel(random: &mut Random, entries: u64) -> Kernel {
    (0..entries).map(|_| (key(random.below(KEYS)), vec![random.below(3) as u8; 40])).collect()
}

/// A few seconds in which everything goes wrong.
pub fn storm(pair: &mut Pair, steps: u64) {
    for _ in 0..steps {
        match pair.random.below(1000) {
            0 => pair.restart_sender(),
            1 => pair.restart_receiver(),
            2 => pair.switch(),
            3 => pair.paused ^= true,
            4 => pair.deaf ^= true,
            5 => pair.line.cut ^= true,
            6 => pair.socket = [4, 50, 10_000][pair.random.below(3) as usize],
            7 => {
                let token = pair.random.next();
                let now = pair.now;
                pair.sender.flush(now, token);
            }
            // Somebody clears a part of the standby's table.
            8 => pair.standby.retain(|key, _| key[0] & 3 != 0),
            _ => {}
        }
        for _ in 0..pair.random.below(8) {
            let number = pair.random.below(KEYS);
            if pair.random.percent(30) {
                pair.remove(number);
            } else {
                let urgency = [Urgency::Now, Urgency::Soon, Urgency::Hold][pair.random.below(3) as usize];
                let bytes = vec![pair.random.below(6) as u8; 20 + pair.random.below(100) as usize];
                pair.put(number, &bytes, urgency);
            }
        }
        let time = Duration::from_micros(pair.random.below(2_000));
        pair.step(time);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// A storm on a bad line, then quiet on a good one: equal, and soon.
    #[test]
    fn both_kernels_end_equal(seed in any::<u64>(), loss in 0u64..40, double in 0u64..20, delay in 0u64..5_000) {
        let mut random = Random(seed);
        let mut pair = Pair::new(seed, kernel(&mut random, 200), kernel(&mut random, 100));
        pair.step = SMALL_STEP;
        pair.line = Line { loss_percent: loss, double_percent: double, delay_max_us: delay, cut: false };
        storm(&mut pair, 1_500);
        (pair.line, pair.paused, pair.deaf, pair.socket) = (Line::default(), false, false, 10_000);
        // Clearing a table behind the receiver's back is found by its own check, every ten minutes, and an audit
        // that comes too soon after another waits.
        let restart = pair.random.percent(50);
        if restart { pair.restart_receiver(); }
        let limit = Duration::from_secs(if restart { 10 } else { 620 });
        let settled = if restart { pair.settle(limit) } else { coarse(&mut pair, limit) };
        prop_assert!(settled.is_ok(), "seed {seed}: {}", settled.unwrap_err());
    }

    /// Without restarts and clearing, the repair takes less than a second and a half.
    #[test]
    fn loss_and_overruns_are_repaired_soon(seed in any::<u64>(), loss in 0u64..30) {
        let mut random = Random(seed);
        let mut pair = Pair::new(seed, kernel(&mut random, 200), Kernel::new());
        pair.step = SMALL_STEP;
        pair.line = Line { loss_percent: loss, double_percent: 5, delay_max_us: 1_000, cut: false };
        for _ in 0..1_500 {
            if pair.random.percent(1) {
                pair.socket = [4, 10_000][pair.random.below(2) as usize];
            }
            let number = pair.random.below(KEYS);
            if pair.random.percent(30) {
                pair.remove(number);
            } else {
                let bytes = vec![pair.random.below(6) as u8; 64];
                pair.put(number, &bytes, Urgency::Now);
            }
            let time = Duration::from_micros(pair.random.below(400));
            pair.step(time);
        }
        pair.line = Line::default();
        let settled = pair.settle(Duration::from_millis(1_500));
        prop_assert!(settled.is_ok(), "seed {seed}: {}", settled.unwrap_err());
    }

    /// Before a planned hand-over: when a flush is told complete, the other kernel holds what this one held when it was
    /// asked for, however bad the line is.
    #[test]
    fn a_complete_flush_is_complete(seed in any::<u64>(), loss in 0u64..40, double in 0u64..20, delay in 0u64..5_000) {
        let mut random = Random(seed);
        let mut pair = Pair::new(seed, kernel(&mut random, 100), Kernel::new());
        pair.step = SMALL_STEP;
        prop_assert!(pair.settle(Duration::from_secs(5)).is_ok(), "seed {seed}: no beginning");
        pair.line = Line { loss_percent: loss, double_percent: double, delay_max_us: delay, cut: false };
        for token in 0..10 {
            for _ in 0..pair.random.below(60) {
                let number = pair.random.below(KEYS);
                if pair.random.percent(30) {
                    pair.remove(number);
                } else {
                    let urgency = [Urgency::Now, Urgency::Soon, Urgency::Hold][pair.random.below(3) as usize];
                    let bytes = vec![pair.random.below(6) as u8; 60];
                    pair.put(number, &bytes, urgency);
                }
            }
            pair.run(Duration::from_millis(1));
            let now = pair.now;
            pair.sender.flush(now, token);
            for _ in 0..40_000 {
                pair.step(Duration::from_micros(500));
                if let Some((_, complete)) = pair.flushed.iter().find(|(told, _)| *told == token) {
                    prop_assert!(!complete || pair.standby == pair.active, "seed {seed}: flush {token}");
                    break;
                }
            }
            prop_assert!(pair.flushed.iter().any(|(told, _)| *told == token), "seed {seed}: never told");
        }
    }

    /// decode ∘ encode = id for records.
    #[test]
    fn records_survive_the_wire(
        entries in prop::collection::vec((any::<Key>(), 0u8..3, prop::collection::vec(any::<u8>(), 1..100)), 0..8),
        stream in 1u64.., sequence in 1u64..
    ) {
        let mut bytes = Vec::new();
        Message::Data(super::super::wire::Data::header(stream, sequence, true)).encode(&mut bytes);
        let record = |(key, kind, bytes): &'_ (Key, u8, Vec<u8>)| match kind {
            2 => (*key, false, true, bytes.clone()),
            kind => (*key, *kind == 1, false, bytes.clone()),
        };
        let wanted: Vec<_> = entries.iter().map(record).collect();
        for (key, replace, remove, content) in &wanted {
            match remove {
                true => Record::Remove { key, bytes: content }.encode(&mut bytes),
                false => Record::Put { key, replace: *replace, bytes: content }.encode(&mut bytes),
            }
        }
        let Some(Message::Data(data)) = Message::decode(&bytes) else { panic!("not read") };
        prop_assert_eq!((data.stream, data.sequence, data.urgent), (stream, sequence, true));
        let read: Vec<_> = data.records().map(|record| match record {
            Record::Put { key, replace, bytes } => (*key, replace, false, bytes.to_vec()),
            Record::Remove { key, bytes } => (*key, false, true, bytes.to_vec()),
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(read, wanted);
    }

    /// A report survives the wire, and says of each number whether it has come.
    #[test]
    fn reports_survive_the_wire(written in 0u64..1 << 40, received in prop::collection::vec(any::<u8>(), 0..128)) {
        let report = Report {
            incarnation: 1, invitation: 2, stream: 3, written, entries: 4, window: 5, ready: true, doubtful: true,
            verdict: Verdict::Equal { token: 6 }, asked: 7, received: &received,
        };
        let mut bytes = Vec::new();
        Message::Report(report.clone()).encode(&mut bytes);
        prop_assert_eq!(Message::decode(&bytes), Some(Message::Report(report.clone())));
        let bits: Vec<u64> = (0..received.len() * 8)
            .filter(|bit| received[bit / 8] >> (bit % 8) & 1 == 1).map(|bit| written + 1 + bit as u64).collect();
        prop_assert_eq!(report.highest(), bits.last().copied().unwrap_or(written));
        for sequence in written.saturating_sub(3)..written + 1_100 {
            prop_assert_eq!(report.has(sequence), sequence <= written || bits.contains(&sequence));
        }
    }

    /// Any bytes are read without harm, and what is read has sensible parts.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 1u8..5) {
        let mut bytes = bytes;
        for (place, value) in bytes.iter_mut().zip([kind, 2]) { *place = value; }
        if let Some(Message::Data(data)) = Message::decode(&bytes) {
            for record in data.records() {
                if let Record::Put { bytes, .. } = record { prop_assert!(bytes.len() <= MAX_ENTRY); }
            }
        }
    }
}

/// `REMPART_CASES` for more.
fn cases() -> u32 {
    std::env::var("REMPART_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48)
}

/// Like [`Pair::settle`] over minutes, in longer steps.
fn coarse(pair: &mut Pair, limit: Duration) -> Result<Duration, String> {
    if let Ok(time) = pair.settle(Duration::from_secs(3)) {
        return Ok(time);
    }
    let end = pair.now + limit;
    while pair.now < end {
        pair.step(Duration::from_millis(20));
    }
    pair.settle(Duration::from_secs(1))
}

proptest! {
    /// In: any insertions and removals of few keys, crowded into one shard. Out: what an ordinary map holds.
    #[test]
    fn slots_are_a_map(steps in prop::collection::vec((any::<bool>(), 0u64..200, 1u64..1 << 40), 0..2_000)) {
        let (mut slots, mut map) = (Slots::new(), HashMap::new());
        for (insert, number, value) in steps {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&number.to_le_bytes());
            let (old, expected) = match insert {
                true => (slots.insert(&key, Slot::new(value, 1)), map.insert(key, value)),
                false => (slots.remove(&key), map.remove(&key)),
            };
            prop_assert_eq!(old.map(Slot::fingerprint), expected);
            prop_assert_eq!(slots.len(), map.len());
        }
        for (key, value) in &map {
            prop_assert_eq!(slots.get(key).map(Slot::fingerprint), Some(*value));
        }
        slots.retain(|slot| slot.fingerprint() % 2 == 0);
        map.retain(|_, value| *value % 2 == 0);
        let held: HashMap<_, _> = slots.iter().map(|(key, slot)| (*key, slot.fingerprint())).collect();
        prop_assert_eq!(held, map);
    }
}
