//! The parts by themselves.

use std::time::{Duration, Instant};

use super::super::flight::Flight;
use super::super::queue::{MAX_PENDING, Marker, Next, Queue, Waiting};
use super::super::table::{Buckets, Found, Table, bucket};
use super::super::wire::{Message, Report, Verdict};
use super::super::{BUCKETS, HOLD, SOON, Urgency};
use super::model::key;

fn put(number: u64) -> Waiting {
    Waiting::Put { replace: false, fingerprint: number, bytes: vec![0; 10].into() }
}

fn drain(queue: &mut Queue) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(next) = queue.pop() {
        match next {
            Next::Change(_, Waiting::Put { fingerprint, .. }, ..) => all.push(fingerprint),
            Next::Change(_, Waiting::Remove { .. }, ..) => all.push(u64::MAX),
            Next::Marker(_) => all.push(0),
        }
    }
    all
}

/// (what waits with which urgency, what comes with which, how it stands 1 ms later).
#[test]
fn the_more_urgent_wins_and_the_later_content() {
    use Urgency::{Hold, Now, Soon};
    for (first, second, at_once) in [
        (Now, Now, true),
        (Now, Soon, true),
        (Now, Hold, true),
        (Soon, Now, true),
        (Soon, Soon, false),
        (Soon, Hold, false),
        (Hold, Now, true),
        (Hold, Soon, false),
        (Hold, Hold, false),
    ] {
        let (now, mut queue) = (Instant::now(), Queue::new());
        assert!(!queue.push(now, &key(1), put(1), first, 1).unwrap());
        assert!(queue.push(now, &key(1), put(2), second, 1).unwrap());
        queue.ripen(now + Duration::from_millis(1));
        let sent = drain(&mut queue);
        assert_eq!(sent, if at_once { vec![2] } else { vec![] }, "{first:?} then {second:?}");
        if !at_once {
            let sooner = if first == Soon || second == Soon { SOON } else { HOLD };
            queue.ripen(now + sooner - Duration::from_millis(1));
            assert_eq!(drain(&mut queue), [], "{first:?} then {second:?}");
            queue.ripen(now + sooner);
            assert_eq!(drain(&mut queue), [2], "{first:?} then {second:?}");
        }
        assert_eq!(queue.len(), 0);
        assert!(queue.due().is_none() || first != second, "nothing is left but stale places");
    }
}

#[test]
fn a_change_keeps_its_place_and_a_marker_its_own() {
    let (now, mut queue) = (Instant::now(), Queue::new());
    queue.push(now, &key(1), put(1), Urgency::Now, 1).unwrap();
    queue.mark(Marker::Flush);
    queue.push(now, &key(2), put(2), Urgency::Now, 1).unwrap();
    queue.push(now, &key(1), put(3), Urgency::Now, 1).unwrap();
    assert_eq!(drain(&mut queue), [3, 0, 2]);
    queue.push(now, &key(1), put(1), Urgency::Now, 1).unwrap();
    queue.mark(Marker::Open);
    queue.hasten(now, &key(1));
    assert_eq!(drain(&mut queue), [0, 1], "what belongs to a repair comes after its beginning");
}

#[test]
fn a_queue_is_bounded_and_its_stale_places_too() {
    let (now, mut queue) = (Instant::now(), Queue::new());
    for number in 0..MAX_PENDING as u64 {
        queue.push(now, &key(number), put(number), Urgency::Now, 1).unwrap();
    }
    assert!(queue.push(now, &key(u64::MAX), put(1), Urgency::Now, 1).is_err());
    assert!(queue.push(now, &key(5), put(1), Urgency::Now, 1).unwrap(), "what is there already may change");
    assert_eq!(queue.room(), 0);
    drain(&mut queue);
    for round in 0..5 * MAX_PENDING as u64 {
        queue.push(now, &key(1), put(round), Urgency::Hold, 1).unwrap();
        queue.cancel(&key(1)).unwrap();
    }
    assert!(queue.places() <= 2 * MAX_PENDING + 1, "{}", queue.places());
    assert!(queue.room() > 0);
}

/// Digests depend on what is in a table and on nothing else.
#[test]
fn digests_follow_the_content() {
    let (mut one, mut two) = (Table::new(), Table::new());
    for number in 0..500 {
        assert_eq!(one.insert(&key(number), number), Found::Nothing);
    }
    for number in (0..500).rev() {
        two.insert(&key(number), number + 1);
        two.begin_walk();
        assert_eq!(two.insert(&key(number), number), Found::Other);
        assert_eq!(two.insert(&key(number), number), Found::Same);
    }
    assert_eq!(one.summary(), two.summary());
    assert_eq!(one.digests(), two.digests());
    assert!(two.remove(&key(3)) && !two.remove(&key(3)));
    let differ: Vec<usize> = (0..BUCKETS).filter(|b| one.digests()[*b] != two.digests()[*b]).collect();
    assert_eq!(differ, [bucket(&key(3))]);
    assert!(one.doom(&key(3)) && !one.doom(&key(3)));
    assert_eq!(one.digests(), two.digests(), "what is doomed counts as gone");
    assert_eq!((one.len(), one.has_doomed()), (499, true));
    assert_eq!(one.insert(&key(3), 3), Found::Doomed);
    assert_eq!((one.len(), one.has_doomed()), (500, false));
    for number in 0..500 {
        one.remove(&key(number));
    }
    assert_eq!(one.digests(), Table::new().digests());
}

/// 600 walks, more than there are marks: what nobody touches is never taken for seen.
#[test]
fn marks_come_round_without_harm() {
    let mut table = Table::new();
    table.insert(&key(1), 1);
    table.insert(&key(2), 2);
    table.doom(&key(2));
    for _ in 0..600 {
        table.begin_walk();
        table.insert(&key(3), 3);
        let mut unseen = Vec::new();
        table.unseen(|key| unseen.push(*key));
        assert_eq!(unseen, [key(1)]);
        assert!(table.is_doomed(&key(2)));
    }
}

#[test]
fn buckets_survive_the_wire() {
    let mut buckets = Buckets::NONE;
    for bucket in [0, 1, 63, 64, 4_095, 9_999] {
        buckets.insert(bucket);
    }
    assert_eq!(buckets.count(), 5);
    assert_eq!(Buckets::from_bytes(&buckets.to_bytes()), buckets);
}

fn report(written: u64, received: &[u8]) -> Report<'_> {
    Report {
        incarnation: 1,
        invitation: 1,
        stream: 1,
        written,
        entries: 0,
        window: 1024,
        ready: true,
        doubtful: false,
        verdict: Verdict::None,
        asked: 0,
        received,
    }
}

fn flight(now: Instant, datagrams: u8) -> Flight {
    let mut flight = Flight::new();
    for number in 1..=datagrams {
        flight.push(now, vec![number], 2, now);
    }
    flight
}

/// What follows a gap says that the gap is a loss; one or two that follow do not.
#[test]
fn a_gap_is_sent_again_once() {
    let now = Instant::now();
    for (received, lost) in
        [(0b0_0010, vec![]), (0b0_0110, vec![]), (0b0_1110, vec![1]), (0b1_1100, vec![1, 2])]
    {
        let mut flight = flight(now, 5);
        flight.acknowledge(now, &report(0, &[received]));
        let mut again = Vec::new();
        while flight.has_lost() {
            again.extend_from_slice(flight.again().unwrap());
        }
        assert_eq!(again, lost, "{received:b}");
        flight.acknowledge(now, &report(0, &[received]));
        assert!(!flight.has_lost(), "only once");
    }
}

fn sent_again(flight: &mut Flight) -> Vec<u8> {
    let mut again = Vec::new();
    while flight.has_lost() {
        again.extend_from_slice(flight.again().unwrap());
    }
    again
}

/// Silence: nothing is sent again, each silence is twice as long as the one before; the answer to the last question says
/// what is lost, an answer to an earlier one does not.
#[test]
fn silence_is_a_question() {
    let start = Instant::now();
    let mut flight = flight(start, 5);
    let (mut now, mut waits, mut token) = (start, Vec::new(), 0);
    for _ in 0..6 {
        let at = flight.expires().unwrap();
        waits.push((at - now).as_millis());
        now = at;
        flight.expire(now);
        token = flight.ask();
        assert!(!flight.has_lost());
    }
    assert_eq!(waits, [20, 40, 80, 160, 160, 160]);
    flight.push(now, vec![6], 2, now);
    flight.acknowledge(now, &Report { asked: token - 1, ..report(1, &[]) });
    assert_eq!(sent_again(&mut flight), []);
    flight.acknowledge(now, &Report { asked: token, ..report(1, &[0b10]) });
    assert_eq!(sent_again(&mut flight), [2, 4, 5], "not what was sent after the question");
    flight.acknowledge(now, &Report { asked: token, ..report(1, &[0b10]) });
    assert_eq!(sent_again(&mut flight), [], "an answer counts once");
    flight.acknowledge(now, &report(6, &[]));
    assert!(flight.is_empty() && flight.expires().is_none());
    assert_eq!((flight.changes(), flight.first(), flight.next()), (0, 7, 7));
}

/// Patience follows the time that acknowledgements take.
#[test]
fn patience_follows_the_round_trip() {
    let start = Instant::now();
    for (round_trip, least, most) in [(1, 5, 5), (30, 30, 100), (500, 160, 160)] {
        let (mut flight, mut now) = (Flight::new(), start);
        for sequence in 1..=20 {
            flight.push(now, vec![1], 1, now);
            now += Duration::from_millis(round_trip);
            flight.acknowledge(now, &report(sequence, &[]));
        }
        flight.push(now, vec![1], 1, now);
        let patience = (flight.expires().unwrap() - now).as_millis();
        assert!((least..=most).contains(&patience), "{round_trip} ms: {patience} ms");
    }
}

/// Everything has come and waits to be written: nothing is sent again, whatever is asked.
#[test]
fn a_slow_kernel_is_not_a_loss() {
    let now = Instant::now();
    let mut flight = flight(now, 5);
    flight.acknowledge(now, &report(0, &[0b11111]));
    flight.expire(now + Duration::from_secs(1));
    let asked = flight.ask();
    flight.acknowledge(now, &Report { asked, ..report(0, &[0b11111]) });
    assert!(!flight.has_lost());
    assert_eq!(flight.changes(), 10);
}

/// An acknowledgement of what was never sent, or of the past, changes nothing.
#[test]
fn foolish_acknowledgements_do_no_harm() {
    let now = Instant::now();
    let mut flight = flight(now, 3);
    flight.acknowledge(now, &report(u64::MAX, &[0xff; 128]));
    assert!(flight.is_empty());
    assert_eq!(flight.next(), 4);
    let mut flight = self::flight(now, 3);
    flight.acknowledge(now, &report(2, &[]));
    flight.acknowledge(now, &report(0, &[0xff; 128]));
    assert_eq!(flight.first(), 3);
}

/// Whole messages, byte by byte: the wire does not change by accident.
#[test]
fn the_wire_is_as_written_down() {
    let mut bytes = Vec::new();
    Message::Ask { stream: 0x0102_0304_0506_0708, token: 9 }.encode(&mut bytes);
    assert_eq!(bytes, [1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9]);
    bytes.clear();
    Message::Offer { stream: 1, incarnation: 2, invitation: 3 }.encode(&mut bytes);
    assert_eq!(bytes, [2, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3]);
    assert_eq!(Message::decode(&bytes), Some(Message::Offer { stream: 1, incarnation: 2, invitation: 3 }));
    for length in 0..bytes.len() {
        assert_eq!(Message::decode(&bytes[..length]), None);
    }
    bytes.push(0);
    assert_eq!(Message::decode(&bytes), None);
}
