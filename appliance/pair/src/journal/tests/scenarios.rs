//! One thing at a time: what happens, what it costs, what is counted.

use std::time::Duration;

use super::super::{HOLD, MAX_ENTRY, Notice, Phase, Urgency};
use super::model::{Kernel, Line, Pair, key};

const SECOND: Duration = Duration::from_secs(1);

fn kernel(entries: u64) -> Kernel {
    (0..entries).map(|number| (key(number), vec![1; 80])).collect()
}

/// Two equal kernels, compared.
fn live(entries: u64) -> Pair {
    let mut pair = Pair::new(1, kernel(entries), kernel(entries));
    pair.run(SECOND);
    let (sender, receiver) = pair.statuses();
    assert_eq!((sender.phase, receiver.phase), (Phase::Live, Phase::Live));
    assert_eq!((sender.position, sender.repairs), (0, 0), "equal kernels need nothing");
    pair
}

/// A receiver that holds nothing is given everything, once.
#[test]
fn a_bulk_copy() {
    let mut pair = Pair::new(1, kernel(5_000), Kernel::new());
    pair.settle(SECOND).unwrap();
    pair.run(SECOND);
    let (sender, receiver) = pair.statuses();
    assert_eq!((sender.phase, receiver.phase), (Phase::Live, Phase::Live));
    assert_eq!((sender.position, sender.repaired, sender.repairs), (5_000, 5_000, 1));
    assert!(pair.notices.contains(&Notice::Equal));
}

/// What the receiver has too much is removed, though nobody can say what it was.
#[test]
fn too_much_is_removed() {
    let mut standby = kernel(300);
    standby.extend((1_000..1_100).map(|number| (key(number), vec![2; 80])));
    let mut pair = Pair::new(1, kernel(300), standby);
    pair.settle(SECOND).unwrap();
    assert_eq!(pair.standby.len(), 300);
}

/// One entry differs among ten thousand: about as many are sent as its bucket holds.
#[test]
fn only_what_differs_is_sent() {
    let mut standby = kernel(10_000);
    standby.remove(&key(7));
    let mut pair = Pair::new(1, kernel(10_000), standby);
    pair.settle(2 * SECOND).unwrap();
    let (sender, _) = pair.statuses();
    assert!((1..20).contains(&sender.position), "{sender:?}");
    assert!(sender.bytes < 40_000, "the digests and a few entries: {sender:?}");
}

/// A program that is started anew costs a comparison, and nothing is sent again.
#[test]
fn a_restart_of_either_sends_nothing_again() {
    for restart in [Pair::restart_sender, Pair::restart_receiver] {
        let mut pair = live(1_000);
        restart(&mut pair);
        pair.put(5_000, b"meanwhile", Urgency::Now);
        pair.settle(SECOND).unwrap();
        pair.run(SECOND);
        let (sender, receiver) = pair.statuses();
        assert_eq!((sender.phase, receiver.phase), (Phase::Live, Phase::Live));
        assert!(sender.position <= 2, "{sender:?}");
    }
}

/// The roles change back and forth, in order: nothing is sent again, and neither side removes anything.
#[test]
fn a_planned_switch_sends_nothing_again() {
    let mut pair = live(1_000);
    for round in 0..6u64 {
        pair.put(2_000 + round, b"new", Urgency::Hold);
        let now = pair.now;
        pair.step(Duration::from_millis(1));
        pair.sender.flush(now, round);
        pair.run(Duration::from_millis(20));
        assert_eq!(pair.flushed.pop(), Some((round, true)));
        assert_eq!(pair.active, pair.standby);
        pair.switch();
        pair.run(4 * SECOND);
        let (sender, receiver) = pair.statuses();
        assert_eq!((sender.phase, receiver.phase), (Phase::Live, Phase::Live), "round {round}");
        assert_eq!((sender.position, sender.repairs), (0, 0), "round {round}");
        assert_eq!(pair.active, pair.standby);
    }
}

/// Five seconds without a cable: what changed meanwhile is sent as soon as it is back, without any comparison.
#[test]
fn a_short_cut_needs_no_repair() {
    let mut pair = live(500);
    pair.line.cut = true;
    for number in 0..2_000 {
        pair.put(10_000 + number, &[3; 80], Urgency::Now);
        pair.step(Duration::from_micros(2_500));
    }
    assert_eq!(pair.sender.status(pair.now).phase, Phase::Waiting);
    assert!(pair.sender.status(pair.now).lag_us > 4_000_000);
    pair.line.cut = false;
    let took = pair.settle(SECOND).unwrap();
    assert!(took < Duration::from_millis(300), "{took:?}");
    assert_eq!(pair.sender.status(pair.now).repairs, 0);
    assert!(pair.sender.status(pair.now).resent > 0);
}

/// More than the queue holds while the receiver is slow or away: counted, and found by an audit; each is sent once.
#[test]
fn a_full_queue_is_repaired() {
    let mut pair = live(100);
    pair.line.cut = true;
    for number in 0..60_000 {
        pair.put(100_000 + number, &[3; 80], Urgency::Now);
        if number % 64 == 0 {
            pair.step(Duration::from_micros(100));
        }
    }
    pair.line.cut = false;
    pair.settle(20 * SECOND).unwrap();
    let (sender, _) = pair.statuses();
    assert!(sender.deferred > 0 && sender.repaired > 0, "{sender:?}");
    assert_eq!((sender.repairs, sender.position), (0, 60_000), "{sender:?}");
}

/// A receiver that stays away is given up; then nothing is kept for it, and a comparison does the rest.
#[test]
fn a_receiver_that_stays_away_is_given_up() {
    let mut pair = live(100);
    pair.line.cut = true;
    pair.put(1_000, b"unheard", Urgency::Now);
    pair.run(40 * SECOND);
    let (sender, _) = pair.statuses();
    assert_eq!((sender.phase, sender.backlog), (Phase::Waiting, 0));
    assert!(pair.notices.contains(&Notice::Left));
    pair.line.cut = false;
    pair.settle(SECOND).unwrap();
}

/// The event socket overflows: the dump finds what was missed, and the other node is told only that.
#[test]
fn an_overrun_is_repaired_by_an_audit() {
    let mut pair = live(1_000);
    pair.socket = 8;
    for number in 0..100 {
        pair.put(5_000 + number, b"many at once", Urgency::Now);
        pair.remove(number);
    }
    pair.settle(SECOND).unwrap();
    let (sender, _) = pair.statuses();
    assert_eq!((sender.overruns, sender.repairs), (1, 0));
    assert_eq!(sender.repaired + 8, 200, "{sender:?}");
}

/// A receiver that does not write: nothing counts as flushed.
#[test]
fn a_flush_waits_for_the_other_kernel() {
    let mut pair = live(10);
    pair.paused = true;
    pair.put(100, b"new", Urgency::Hold);
    pair.step(Duration::from_millis(1));
    let now = pair.now;
    pair.sender.flush(now, 7);
    pair.run(Duration::from_millis(500));
    assert_eq!(pair.flushed, []);
    pair.paused = false;
    pair.run(Duration::from_millis(200));
    assert_eq!(pair.flushed, [(7, true)]);
    assert_eq!(pair.active, pair.standby);
}

/// Nobody at the other end: told at once. A second flush ends the first.
#[test]
fn a_flush_without_a_receiver_is_not_complete() {
    let mut pair = Pair::new(1, kernel(1), Kernel::new());
    pair.line.cut = true;
    pair.run(Duration::from_millis(100));
    let now = pair.now;
    pair.sender.flush(now, 1);
    pair.step(Duration::from_millis(1));
    assert_eq!(pair.flushed, [(1, false)]);

    let mut pair = live(1);
    pair.paused = true;
    let now = pair.now;
    pair.sender.flush(now, 2);
    pair.sender.flush(now, 3);
    pair.step(Duration::from_millis(1));
    pair.paused = false;
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.flushed, [(2, false), (3, true)]);
}

/// A scan: new, unanswered, gone before it was held for long.
#[test]
fn what_is_gone_soon_is_never_sent() {
    let mut pair = live(10);
    for number in 100..200 {
        pair.put(number, b"new", Urgency::Hold);
    }
    pair.run(HOLD / 2);
    (100..200).for_each(|number| pair.remove(number));
    pair.run(2 * HOLD);
    let (sender, _) = pair.statuses();
    assert_eq!((sender.position, sender.ephemeral), (0, 100));
}

/// Held, then answered: sent at once, and once.
#[test]
fn an_answer_ends_the_waiting() {
    let mut pair = live(10);
    pair.put(100, b"new", Urgency::Hold);
    pair.run(Duration::from_millis(10));
    assert!(!pair.standby.contains_key(&key(100)));
    pair.put(100, b"answered", Urgency::Now);
    pair.run(Duration::from_millis(2));
    assert_eq!(pair.standby.get(&key(100)).unwrap(), b"answered");
    pair.run(2 * HOLD);
    let (sender, _) = pair.statuses();
    assert_eq!((sender.position, sender.coalesced), (1, 1));
}

/// Held and nothing follows: it goes out when its time is over.
#[test]
fn what_is_held_is_sent_in_the_end() {
    let mut pair = live(10);
    pair.put(100, b"new", Urgency::Hold);
    pair.run(HOLD + Duration::from_millis(5));
    assert!(pair.standby.contains_key(&key(100)));
}

/// An entry that dies, and another one under the same key, before anything was sent: the receiver replaces.
#[test]
fn a_successor_under_the_same_key_replaces() {
    let mut pair = live(10);
    pair.remove(3);
    pair.put(3, b"another", Urgency::Soon);
    pair.settle(SECOND).unwrap();
    let (sender, _) = pair.statuses();
    assert_eq!(sender.position, 1, "{sender:?}");
}

/// An event that says nothing new costs nothing.
#[test]
fn what_is_unchanged_is_not_sent() {
    let mut pair = live(10);
    pair.put(3, &[1; 80], Urgency::Now);
    pair.run(SECOND);
    let (sender, _) = pair.statuses();
    assert_eq!((sender.position, sender.unchanged), (0, 1));
}

/// Longer than any entry: refused and counted.
#[test]
fn what_is_too_long_is_counted() {
    let mut pair = live(10);
    let now = pair.now;
    pair.sender.put(now, &key(100), &vec![0; MAX_ENTRY + 1], Urgency::Now);
    pair.sender.put(now, &key(101), &[0; MAX_ENTRY], Urgency::Now);
    pair.run(SECOND);
    assert_eq!(pair.sender.status(pair.now).oversized, 1);
    assert!(pair.standby.contains_key(&key(101)));
}

/// An entry that the kernel refuses counts as missing: the next comparison sends it again.
#[test]
fn a_refused_entry_is_tried_again() {
    let mut pair = live(10);
    pair.put(100, b"refused at first", Urgency::Now);
    pair.run(Duration::from_millis(5));
    pair.standby.remove(&key(100));
    pair.receiver.handle_refused(&key(100));
    pair.run(Duration::from_secs(62));
    assert!(pair.standby.contains_key(&key(100)));
    assert_eq!(pair.sender.status(pair.now).repairs, 1);
}

/// Somebody clears the standby's table behind our back: its own check finds that.
#[test]
fn a_cleared_standby_is_found() {
    let mut pair = live(50);
    pair.standby.clear();
    for _ in 0..62_000 {
        pair.step(Duration::from_millis(10));
    }
    assert_eq!(pair.active, pair.standby);
}

/// Everything that was ever on the line comes once more, to a receiver that has gone on and to one that is new.
#[test]
fn recordings_change_nothing() {
    let mut pair = live(50);
    pair.record = Some(Vec::new());
    for number in 0..30 {
        pair.put(100 + number, b"first", Urgency::Now);
        pair.run(Duration::from_millis(1));
    }
    pair.restart_sender();
    pair.run(SECOND);
    for number in 0..30 {
        pair.remove(100 + number);
    }
    pair.settle(SECOND).unwrap();
    let recording = pair.record.take().unwrap();
    assert!(recording.len() > 30);
    let before = (pair.standby.clone(), pair.sender.status(pair.now).streams);
    for round in 0..2 {
        for datagram in &recording {
            pair.replay(datagram);
        }
        pair.run(SECOND / 10);
        assert_eq!(pair.standby, before.0, "round {round}");
        assert_eq!(pair.active, pair.standby);
        if round == 0 {
            assert_eq!(pair.sender.status(pair.now).streams, before.1, "a stream was begun for a recording");
            pair.restart_receiver();
            pair.run(SECOND);
        }
    }
}

/// A line that loses a third of everything: slower, and complete.
#[test]
fn loss_is_made_up_for() {
    let mut pair = live(10);
    pair.line = Line { loss_percent: 33, double_percent: 10, delay_max_us: 3_000, cut: false };
    for number in 0..3_000 {
        pair.put(1_000 + number, &[5; 100], Urgency::Now);
        pair.step(Duration::from_micros(200));
    }
    pair.settle(5 * SECOND).unwrap();
    let (sender, receiver) = pair.statuses();
    assert!(sender.resent > 0 && receiver.resent > 0);
    assert_eq!(sender.repairs, 0);
}
