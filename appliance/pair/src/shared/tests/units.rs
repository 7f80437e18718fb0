use std::time::{Duration, Instant};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::super::sender::{Sender, Source};
use super::super::wire::{Ack, Data, Hello, Message, Record, Stream, Writer};
use super::super::*;

const LIMITS: Limits = Limits { kinds: &[(64 << 10, 4), (32 << 20, 1)], bytes: 33 << 20 };

fn machine(now: Instant, incarnation: u64) -> Shared {
    let store = [incarnation as u8; 16];
    Shared::new(now, Start { incarnation, store, highest: incarnation, limits: LIMITS, file: None })
}

fn key(kind: u8, name: &[u8]) -> Key {
    Key { kind, name: name.to_vec() }
}

fn value(len: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new((0..len).map(|n| n as u8).collect())
}

/// Everything goes over at once, until nobody has anything to say.
fn talk(now: Instant, a: &mut Shared, b: &mut Shared) {
    loop {
        let mut busy = false;
        while let Some(bytes) = a.poll_transmit(now) {
            b.handle_message(now, &bytes);
            busy = true;
        }
        while let Some(bytes) = b.poll_transmit(now) {
            a.handle_message(now, &bytes);
            busy = true;
        }
        if !busy {
            return;
        }
    }
}

fn outputs(machine: &mut Shared) -> Vec<Output> {
    std::iter::from_fn(|| machine.poll_output()).collect()
}

fn committed(machine: &mut Shared) -> Vec<(u64, How)> {
    let found = outputs(machine).into_iter().filter_map(|output| match output {
        Output::Committed { ticket, how } => Some((ticket, how)),
        Output::Changed(..)
        | Output::Claim
        | Output::PeerStore(_)
        | Output::Prepare { .. }
        | Output::Ready { .. } => None,
    });
    found.collect()
}

/// An owner and a follower in step.
fn pair(now: Instant) -> (Shared, Shared) {
    let (mut owner, mut follower) = (machine(now, 1), machine(now, 2));
    owner.handle_role(now, Some(1));
    assert_eq!(outputs(&mut owner), [], "nobody has said whether there is another one");
    owner.handle_link(now, false);
    assert_eq!(outputs(&mut owner), [Output::Claim]);
    owner.own(2);
    owner.handle_link(now, true);
    follower.handle_link(now, true);
    talk(now, &mut owner, &mut follower);
    assert_eq!([owner.status().state, follower.status().state], [State::InStep; 2]);
    outputs(&mut owner);
    outputs(&mut follower);
    (owner, follower)
}

/// In: a change without another node, with one, and with one that is silent. Out: at once, when it is there, and after a second; then at
/// once, until it speaks again.
#[test]
fn a_change_is_committed_when_it_is_there_or_nobody_is() {
    let start = Instant::now();
    let mut alone = machine(start, 1);
    alone.handle_link(start, false);
    alone.handle_role(start, Some(0));
    assert_eq!(outputs(&mut alone), [Output::Claim]);
    alone.own(2);
    alone.put(start, &key(0, b"a"), value(10), 1).unwrap();
    assert_eq!(committed(&mut alone), [(1, How::Alone)]);

    let (mut owner, mut follower) = pair(start);
    owner.put(start, &key(0, b"a"), value(10), 1).unwrap();
    owner.put(start, &key(0, b"b"), value(10), 2).unwrap();
    assert_eq!(committed(&mut owner), []);
    talk(start, &mut owner, &mut follower);
    assert_eq!(committed(&mut owner), [(2, How::Both)], "stands for both");
    assert_eq!(follower.get(&key(0, b"b")).map(|v| v.len()), Some(10));
    assert_eq!(follower.highest(), 2, "the owner's epoch");

    owner.put(start, &key(0, b"a"), value(11), 3).unwrap();
    while owner.poll_transmit(start).is_some() {}
    assert!(owner.poll_timeout().is_some_and(|at| at <= start + LATE));
    owner.handle_timeout(start + LATE - Duration::from_millis(1));
    assert_eq!(committed(&mut owner), []);
    owner.handle_timeout(start + LATE);
    assert_eq!(committed(&mut owner), [(3, How::Late)]);
    assert_eq!(owner.status().state, State::Silent);
    owner.put(start + LATE, &key(0, b"a"), value(12), 4).unwrap();
    assert_eq!(committed(&mut owner), [(4, How::Alone)]);
    talk(start + LATE * 2, &mut owner, &mut follower);
    owner.handle_timeout(start + LATE * 2);
    talk(start + LATE * 2, &mut owner, &mut follower);
    assert_eq!(owner.status().state, State::InStep);
    assert_eq!(follower.get(&key(0, b"a")).map(|v| v.len()), Some(12));
}

/// In: a value of 32 MiB, and small ones while it is under way. Out: they do not wait for it, and its ticket comes with its last part.
#[test]
fn a_large_value_keeps_nobody_waiting() {
    let now = Instant::now();
    let (mut owner, mut follower) = pair(now);
    owner.put(now, &key(1, b"people"), value(32 << 20), 1).unwrap();
    let mut wire = 0;
    let mut first = None;
    loop {
        let mut busy = false;
        while let Some(bytes) = owner.poll_transmit(now) {
            (busy, wire) = (true, wire + 1);
            follower.handle_message(now, &bytes);
        }
        assert!(owner.status().under_way <= WINDOW * MESSAGE);
        if wire == WINDOW {
            owner.put(now, &key(0, b"a"), value(1200), 2).unwrap();
        }
        while let Some(bytes) = follower.poll_transmit(now) {
            busy = true;
            owner.handle_message(now, &bytes);
        }
        for (ticket, how) in committed(&mut owner) {
            assert_eq!(how, How::Both);
            first.get_or_insert(ticket);
            if ticket == 2 {
                assert!(follower.get(&key(0, b"a")).is_some() && follower.get(&key(1, b"people")).is_none());
            }
        }
        if !busy {
            break;
        }
    }
    assert_eq!(first, Some(2));
    assert!(follower.get(&key(1, b"people")).is_some_and(|v| **v == value(32 << 20)));
    assert!(outputs(&mut follower).iter().any(|o| matches!(o, Output::Changed(k, Some(_)) if k.kind == 1)));
}

/// In: an owner that another one has succeeded, and that goes on sending. Out: nothing of it counts, and what it has goes.
#[test]
fn an_old_owner_is_not_heard() {
    let now = Instant::now();
    let (mut old, mut new) = pair(now);
    old.put(now, &key(0, b"a"), value(1), 1).unwrap();
    talk(now, &mut old, &mut new);
    old.put(now, &key(0, b"a"), value(2), 2).unwrap();
    let late: Vec<_> = std::iter::from_fn(|| old.poll_transmit(now)).collect();
    new.handle_role(now, Some(2));
    assert!(outputs(&mut new).contains(&Output::Claim), "what it has is whole: nothing is waited for");
    new.own(3);
    for bytes in &late {
        new.handle_message(now, bytes);
    }
    assert_eq!(new.get(&key(0, b"a")).map(|v| v.len()), Some(1));
    old.handle_role(now, None);
    for bytes in &late {
        new.handle_message(now, bytes);
    }
    talk(now, &mut old, &mut new);
    assert_eq!(old.get(&key(0, b"a")).map(|v| v.len()), Some(1), "it has the new one's map");
    assert_eq!(old.highest(), 3);
}

/// In: the owner's program is started again, with nothing. Out: it owns nothing before the follower has given everything back.
#[test]
fn a_killed_owner_gets_its_map_back() {
    let now = Instant::now();
    let (mut owner, mut follower) = pair(now);
    owner.put(now, &key(0, b"a"), value(1), 1).unwrap();
    owner.put(now, &key(1, b"people"), value(300 << 10), 2).unwrap();
    talk(now, &mut owner, &mut follower);
    outputs(&mut follower);
    follower.handle_link(now, false);
    let mut again = machine(now, 3);
    again.handle_link(now, true);
    again.handle_role(now, Some(1));
    assert_eq!(outputs(&mut again), [], "it asks first");
    follower.handle_link(now, true);
    talk(now, &mut again, &mut follower);
    let said = outputs(&mut again);
    assert_eq!(said.last(), Some(&Output::Claim));
    assert_eq!(again.entries().count(), 2);
    assert!(again.highest() >= 2);
    again.own(4);
    talk(now, &mut again, &mut follower);
    assert_eq!([again.status().state, follower.status().state], [State::InStep; 2]);
    let news = outputs(&mut follower);
    assert!(news.iter().all(|o| !matches!(o, Output::Changed(..))), "what is the same is no news: {news:?}");
}

/// In: a move with a copy that is not whole, with changes under way, and again; then one with nobody there. Out: the other node
/// is asked to prepare itself once for each, with a whole copy; the owner is ready when it has everything and says so.
#[test]
fn a_move_waits_for_everything() {
    let now = Instant::now();
    let (mut owner, mut follower) = pair(now);
    owner.put(now, &key(0, b"a"), value(1), 1).unwrap();
    owner.hand_over(7);
    let ready = |m: &mut Shared| {
        outputs(m).into_iter().filter(|o| matches!(o, Output::Ready { .. })).collect::<Vec<_>>()
    };
    assert_eq!(ready(&mut owner), []);
    talk(now, &mut owner, &mut follower);
    assert!(follower.get(&key(0, b"a")).is_some());
    assert!(outputs(&mut follower).contains(&Output::Prepare { number: 1 }));
    assert_eq!(ready(&mut owner), [], "it has everything and has not said that it is prepared");
    owner.put(now, &key(0, b"b"), value(1), 2).unwrap();
    follower.prepared(2);
    talk(now, &mut owner, &mut follower);
    assert_eq!(ready(&mut owner), [], "for another one");
    follower.prepared(1);
    talk(now, &mut owner, &mut follower);
    assert_eq!(ready(&mut owner), [Output::Ready { token: 7, prepared: true }]);
    // It came to nothing, and is tried again.
    outputs(&mut follower);
    owner.put(now, &key(0, b"c"), value(1), 3).unwrap();
    owner.hand_over(8);
    let hello = owner.poll_transmit(now).unwrap();
    follower.handle_message(now, &hello);
    assert!(follower.get(&key(0, b"c")).is_none());
    assert_eq!(outputs(&mut follower), [Output::Prepare { number: 2 }]);
    follower.prepared(2);
    while let Some(bytes) = follower.poll_transmit(now) {
        owner.handle_message(now, &bytes);
    }
    assert_eq!(ready(&mut owner), [], "prepared, and without the last change");
    talk(now, &mut owner, &mut follower);
    assert_eq!(ready(&mut owner), [Output::Ready { token: 8, prepared: true }]);
    assert_eq!(outputs(&mut follower).iter().filter(|o| matches!(o, Output::Prepare { .. })).count(), 0);
    // Whoever waits is not to wait for one who is gone.
    owner.hand_over(9);
    assert_eq!(ready(&mut owner), []);
    owner.handle_link(now, false);
    assert_eq!(ready(&mut owner), [Output::Ready { token: 9, prepared: false }]);
    owner.hand_over(10);
    assert_eq!(ready(&mut owner), [Output::Ready { token: 10, prepared: false }]);
    follower.hand_over(11);
    assert_eq!(ready(&mut follower), [Output::Ready { token: 11, prepared: false }], "it owns nothing");
}

/// In: names, values and numbers beyond what is allowed. Out: refused, counted, and nobody waits for ever.
#[test]
fn limits_hold() {
    let now = Instant::now();
    let (mut owner, mut follower) = pair(now);
    for (ticket, (key, len, wanted)) in [
        (key(9, b"a"), 1, Err(Refused::Name)),
        (key(0, &[0; MAX_NAME + 1]), 1, Err(Refused::Name)),
        (key(0, b"a"), (64 << 10) + 1, Err(Refused::Long)),
        (key(0, b"a"), 64 << 10, Ok(())),
        (key(0, b"b"), 1, Ok(())),
        (key(0, b"c"), 1, Ok(())),
        (key(0, b"d"), 1, Ok(())),
        (key(0, b"e"), 1, Err(Refused::Full)),
        (key(0, b"d"), 2, Ok(())),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(owner.put(now, &key, value(len), ticket as u64), wanted, "{ticket}");
    }
    talk(now, &mut owner, &mut follower);
    assert_eq!(committed(&mut owner).iter().map(|(ticket, _)| *ticket).max(), Some(8));
    assert_eq!((owner.status().refused, follower.status().refused), (4, 0));

    // What a peer announces is no reason to make room, and what is too much is not taken.
    let stream = Stream { from: 1, to: 2, invitation: 1 };
    let mut writer = Writer::new(&stream, 1, 0);
    writer.begin(&Held { complete: true, ..Held::default() });
    writer.part(false, &key(1, b"x"), u32::MAX as usize, 0, b"much");
    for name in 0..9u8 {
        writer.put(false, &key(0, &[name]), b"v");
    }
    let mut follower = machine(now, 2);
    follower.handle_link(now, true);
    let hello = Hello {
        from: 1,
        serial: 1,
        knows: 2,
        store: [1; 16],
        highest: 0,
        role: Role::Owner,
        invitation: 0,
        moving: 0,
        prepared: 0,
        held: None,
    };
    follower.handle_message(now, &hello.encode());
    follower.handle_message(now, &writer.finish(0));
    let status = follower.status();
    assert_eq!((status.entries, status.refused), (4, 6), "{status:?}");
}

/// In: every record, in one message. Out: itself.
#[test]
fn records_are_read_as_they_were_written() {
    let stream = Stream { from: 1, to: 2, invitation: 3 };
    let held = Held { fence: Fence { role: 4, term: 5, owner: 6 }, position: 7, complete: true };
    let mut writer = Writer::new(&stream, 8, 9);
    writer.begin(&held);
    writer.put(true, &key(1, b"name"), b"value");
    writer.remove(&key(0, b""));
    writer.part(false, &key(1, b"x"), 100, 50, b"part");
    writer.end();
    let bytes = writer.finish(10);
    let Some(Message::Data(data)) = Message::decode(&bytes) else { panic!("no Data") };
    assert_eq!((data.stream, data.number, data.highest, data.position), (stream, 8, 9, 10));
    let records: Vec<_> = data.records().collect();
    let wanted = [
        Record::Begin(held),
        Record::Put { old: true, key: key(1, b"name"), bytes: b"value" },
        Record::Remove(key(0, b"")),
        Record::Part { old: false, key: key(1, b"x"), total: 100, offset: 50, bytes: b"part" },
        Record::End,
    ];
    assert_eq!(records, wanted);
    for cut in 0..bytes.len() {
        if let Some(Message::Data(Data { number, .. })) = Message::decode(&bytes[..cut]) {
            assert_eq!(number, 8, "cut between two records");
        }
    }
    let ack = Ack { stream, number: 11, gap: true };
    assert_eq!(Message::decode(&ack.encode()), Some(Message::Ack(ack)));
}

/// In: the longest name and value there are, in a lane that is full. Out: no message is too long, and nothing is left out.
#[test]
fn messages_are_never_too_long() {
    const WIDE: Limits = Limits { kinds: &[(SMALL, 100)], bytes: 8 << 20 };
    let now = Instant::now();
    let mut map = super::super::map::Map::new(WIDE);
    let stream = Stream { from: 1, to: 2, invitation: 1 };
    let mut sender = Sender::new(stream, Held::default(), std::iter::empty());
    for n in 0..100u8 {
        let key = key(0, &[n; MAX_NAME]);
        map.put(&key, Arc::new(value(SMALL)), 0).unwrap();
        sender.touch(&key, u64::from(n) + 1, SMALL);
    }
    let source = Source { map: &map, position: 100, highest: 0, tag: None };
    let mut seen = std::collections::BTreeSet::new();
    let mut number = 0;
    while let Some(bytes) = sender.poll(now, &source) {
        assert!(bytes.len() <= MESSAGE && bytes.capacity() == MESSAGE);
        let Some(Message::Data(data)) = Message::decode(&bytes) else { panic!("no Data") };
        seen.extend(data.records().filter_map(|r| match r {
            Record::Put { key, .. } => Some(key),
            Record::Begin(_) | Record::Remove(_) | Record::Part { .. } | Record::End => None,
        }));
        number += 1;
        sender.handle_ack(now, number, false);
    }
    assert_eq!(seen.len(), 100);
    assert!(sender.is_copied());
}

proptest! {
    /// Whatever comes is read or refused, and a machine takes it without harm.
    #[test]
    fn nothing_that_comes_does_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 1u8..4) {
        if let [first, second, ..] = bytes.as_mut_slice() {
            (*first, *second) = (kind, 2);
        }
        let now = Instant::now();
        let (mut owner, mut follower) = pair(now);
        owner.handle_message(now, &bytes);
        follower.handle_message(now, &bytes);
        // With the right addresses, too.
        if let Some(place) = bytes.get_mut(2..22) {
            let follower_stream = [1u64.to_be_bytes().as_slice(), &2u64.to_be_bytes(), &1u32.to_be_bytes()].concat();
            place.copy_from_slice(&follower_stream);
        }
        follower.handle_message(now, &bytes);
        prop_assert!(follower.status().bytes <= LIMITS.bytes);
    }

    /// A hello is read as it was written.
    #[test]
    fn a_hello_survives(from: u64, serial: u64, knows: u64, store: [u8; 16], highest: u64, role in 0u8..3, invitation: u32, moving: u64, prepared: u64,
        held in proptest::option::of(any::<(u64, u64, u64, u64, bool)>())) {
        let held = held.map(|(role, term, owner, position, complete)| {
            Held { fence: Fence { role, term, owner }, position, complete }
        });
        let role = Role::from_code(role).unwrap();
        let hello = Hello { from, serial, knows, store, highest, role, invitation, moving, prepared, held };
        let bytes = hello.encode();
        prop_assert_eq!(Message::decode(&bytes), Some(Message::Hello(hello)));
    }
}
