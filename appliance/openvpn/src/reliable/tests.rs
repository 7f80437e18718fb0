use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

fn message(number: u32) -> Message {
    Message { opcode: Opcode::Control, payload: number.to_be_bytes().to_vec() }
}

fn acks(ids: &[u32]) -> Acks {
    ids.iter().copied().collect()
}

/// In: more messages than the window. Out: four leave, then one for each that is acknowledged.
#[test]
fn the_window_holds_four() {
    let now = Instant::now();
    let mut side = Reliable::new(0);
    for number in 0..SEND_WINDOW as u32 {
        side.send(message(number)).unwrap();
    }
    assert_eq!(side.send(message(9)), Err(message(9)));
    let ids: Vec<_> =
        std::iter::from_fn(|| side.poll_transmit(now)).map(|out| out.message.unwrap()).collect();
    assert_eq!(ids, [0, 1, 2, 3]);
    side.handle_acks(now, &acks(&[2]));
    side.send(message(4)).unwrap();
    assert_eq!(side.poll_transmit(now).unwrap().message, Some(4));
    assert_eq!(side.poll_transmit(now), None);
}

/// In: no acknowledgement. Out: the message again after 1, 2, 4, 8, 16, 16 s.
#[test]
fn timeouts_double() {
    let start = Instant::now();
    let mut side = Reliable::new(0);
    side.send(message(0)).unwrap();
    let (mut now, mut waits) = (start, Vec::new());
    for _ in 0..7 {
        assert_eq!(side.poll_transmit(now).unwrap().message, Some(0));
        let next = side.poll_timeout(now).unwrap();
        waits.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
}

/// In: message 0 lost, 1 to 3 acknowledged. Out: message 0 again at once.
#[test]
fn three_later_acks_send_again_at_once() {
    let now = Instant::now();
    let mut side = Reliable::new(0);
    for number in 0..4 {
        side.send(message(number)).unwrap();
        side.poll_transmit(now).unwrap();
    }
    side.handle_acks(now, &acks(&[1, 2]));
    assert_eq!(side.poll_transmit(now), None);
    side.handle_acks(now, &acks(&[3]));
    assert_eq!(side.poll_transmit(now).unwrap().message, Some(0));
    assert_eq!(side.poll_transmit(now), None);
    assert_eq!(side.poll_timeout(now), Some(now + FIRST_TIMEOUT));
}

/// In: messages out of order, twice, from the past and from too far ahead. Out: order, an acknowledgement for each that
/// can be used, none for the last.
#[test]
fn order_is_restored() {
    let now = Instant::now();
    let mut side = Reliable::new(1);
    for id in [3, 1, 3, 0, 13, 12] {
        side.handle_message(id, message(id));
    }
    assert_eq!(side.receive(), Some(message(1)));
    assert_eq!(side.receive(), None);
    let first = side.poll_transmit(now).unwrap();
    assert_eq!((first.opcode, first.acks.as_slice()), (Opcode::Ack, &[3, 1, 0, 12][..]));
    side.handle_message(2, message(2));
    assert_eq!([side.receive(), side.receive(), side.receive()], [Some(message(2)), Some(message(3)), None]);
    // What was acknowledged lately goes along again.
    let second = side.poll_transmit(now).unwrap();
    assert_eq!(second.acks.as_slice().first(), Some(&2));
    assert_eq!(second.acks.as_slice().len(), 5);
    assert_eq!(side.poll_transmit(now), None);
}

/// In: a flood of replays. Out: a bounded number of acknowledgements waits.
#[test]
fn replays_do_not_pile_up() {
    let mut side = Reliable::new(1_000_000);
    for id in 0..100_000 {
        side.handle_message(id, message(id));
    }
    assert!(side.owed.len() <= 20);
    assert!(side.ahead.is_empty());
}

/// A line that loses, doubles, delays and reorders, by a seed.
struct Line {
    random: u64,
    loss_percent: u64,
    under_way: BinaryHeap<std::cmp::Reverse<(u64, u64, usize)>>,
    packets: Vec<(usize, Outgoing)>,
}

impl Line {
    fn random(&mut self) -> u64 {
        // xorshift64*: Vigna 2016.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    fn carry(&mut self, at_ms: u64, to: usize, packet: Outgoing) {
        let copies = match self.random() % 100 {
            roll if roll < self.loss_percent => 0,
            roll if roll > 89 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let arrives = at_ms + 1 + self.random() % 300;
            self.packets.push((to, packet.clone()));
            let order = self.random();
            self.under_way.push(std::cmp::Reverse((arrives, order, self.packets.len() - 1)));
        }
    }
}

/// Both sides send `count` messages each. Everything must arrive once and in order.
fn simulate(seed: u64, loss_percent: u64, count: u32) {
    let start = Instant::now();
    let mut sides = [Reliable::new(0), Reliable::new(0)];
    let (mut queued, mut received) = ([0u32; 2], [0u32; 2]);
    let mut line = Line { random: seed | 1, loss_percent, under_way: BinaryHeap::new(), packets: Vec::new() };
    let mut at_ms = 0;
    loop {
        let now = start + Duration::from_millis(at_ms);
        for side in 0..2 {
            while queued[side] < count && sides[side].can_send() {
                sides[side].send(message(queued[side])).unwrap();
                queued[side] += 1;
            }
            while let Some(packet) = sides[side].poll_transmit(now) {
                assert!(packet.acks.as_slice().len() <= if packet.message.is_some() { 4 } else { 8 });
                line.carry(at_ms, 1 - side, packet);
            }
            assert!(
                sides[side].under_way.len() <= SEND_WINDOW
                    && sides[side].ahead.len() <= RECEIVE_WINDOW as usize
            );
        }
        if received == [count; 2] && sides.iter().all(Reliable::is_idle) {
            return;
        }
        let timers = sides.iter().filter_map(|side| side.poll_timeout(now)).min();
        let timer_ms = timers.map(|at| (at - start).as_millis() as u64);
        let arrival_ms = line.under_way.peek().map(|first| first.0.0);
        at_ms = [timer_ms, arrival_ms]
            .into_iter()
            .flatten()
            .min()
            .expect("something must be under way")
            .max(at_ms + 1);
        assert!(at_ms < 3_600_000, "seed {seed}, loss {loss_percent}: no end within an hour, {received:?}");
        while let Some(std::cmp::Reverse((arrives, _, index))) = line.under_way.peek().copied() {
            if arrives > at_ms {
                break;
            }
            line.under_way.pop();
            let (to, packet) = line.packets[index].clone();
            let now = start + Duration::from_millis(at_ms);
            sides[to].handle_acks(now, &packet.acks);
            if let Some(id) = packet.message {
                sides[to].handle_message(id, Message { opcode: packet.opcode, payload: packet.payload });
            }
            while let Some(got) = sides[to].receive() {
                assert_eq!(got, message(received[to]), "seed {seed}, loss {loss_percent}");
                received[to] += 1;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// In: a line that loses up to 60 %, doubles and reorders. Out: everything once, in order, both ways.
    #[test]
    fn everything_arrives_in_order(seed: u64, loss in 0u64..60, count in 0u32..60) {
        simulate(seed, loss, count);
    }

    /// In: any numbers from a peer that follows no rule. Out: no panic, no growth.
    #[test]
    fn any_peer_is_bounded(ids in prop::collection::vec((any::<u32>(), 0u32..40, any::<bool>()), 0..200)) {
        let now = Instant::now();
        let mut side = Reliable::new(0);
        for (wild, near, take) in ids {
            let _ = side.send(message(near));
            side.handle_message(if take { wild } else { near }, message(0));
            side.handle_acks(now, &acks(&[wild, near]));
            while side.receive().is_some() {}
            side.poll_transmit(now);
            prop_assert!(side.owed.len() <= 20 && side.ahead.len() <= 12 && side.recent.len() <= 8);
        }
    }
}
