//! What is asked of any bytes that the other node's program says about the shared map: by the fuzz target `shared`, and by the
//! ordinary tests with a few of them.

use std::time::{Duration, Instant};

use rempart_pair::shared::{Key, Limits, MESSAGE, Output, Shared, Start};
use zeroize::Zeroizing;

const LIMITS: Limits = Limits { kinds: &[(20 << 10, 4), (64 << 10, 1)], bytes: 80 << 10 };
/// Steps of one script, and what one call may give: a window and the whole of the map.
const STEPS: usize = 32;
const MOST: usize = 1024;
/// Where a message has what makes it one of this conversation, and how long that is: from, to, invitation.
const STREAM: std::ops::Range<usize> = 2..22;

/// A script for an owner and its follower that are in step. Each step is a byte that says what happens, a length of two bytes, and
/// so many bytes.
pub fn shared(data: &[u8]) {
    let mut pair = Pair::in_step();
    let mut rest = data;
    for _ in 0..STEPS {
        let Some(([what, high, low], after)) = rest.split_first_chunk::<3>() else { break };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (bytes, after) = after.split_at(length);
        rest = after;
        pair.step(*what, bytes);
        pair.bounded();
    }
    // Whatever was said, both go on with each other.
    pair.pass(Duration::from_secs(3));
    pair.talk();
    pair.bounded();
}

struct Pair {
    now: Instant,
    sides: [Shared; 2],
    /// The last message that each side has sent: what is made after it belongs to the conversation.
    last: [Vec<u8>; 2],
    tickets: u64,
}

fn machine(now: Instant, incarnation: u64) -> Shared {
    let store = [incarnation as u8; 16];
    Shared::new(now, Start { incarnation, store, highest: incarnation, limits: LIMITS, file: None })
}

impl Pair {
    fn in_step() -> Self {
        let now = Instant::now();
        let sides = [machine(now, 1), machine(now, 2)];
        let mut pair = Self { now, sides, last: [Vec::new(), Vec::new()], tickets: 0 };
        let [owner, follower] = &mut pair.sides;
        owner.handle_role(now, Some(1));
        owner.handle_link(now, false);
        owner.own(2);
        owner.handle_link(now, true);
        follower.handle_link(now, true);
        pair.talk();
        pair
    }

    fn step(&mut self, what: u8, bytes: &[u8]) {
        let (now, side) = (self.now, usize::from(what >> 7));
        match what & 7 {
            0 => self.sides[side].handle_message(now, bytes),
            // In the conversation that there is: what follows is of the fuzzer's making.
            1 => {
                let last = &self.last[1 - side];
                let stream = last.get(STREAM).unwrap_or_default();
                let kind = bytes.get(..2).unwrap_or_default();
                let message = [kind, stream, bytes.get(2..).unwrap_or_default()].concat();
                self.sides[side].handle_message(now, &message);
            }
            // What was said, with some of it changed.
            2 => {
                let mut message = self.last[1 - side].clone();
                for change in bytes.chunks_exact(3) {
                    let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
                    if let Some(byte) = message.get_mut(at) {
                        *byte ^= change[2];
                    }
                }
                self.sides[side].handle_message(now, &message);
            }
            3 => {
                let key = Key { kind: what >> 3 & 1, name: bytes.get(..4).unwrap_or(bytes).to_vec() };
                let value = Zeroizing::new(bytes.repeat(1 + usize::from(what >> 4 & 7) * 32));
                self.tickets += 1;
                let _ = self.sides[side].put(now, &key, value, self.tickets);
                self.talk();
            }
            4 => self.pass(Duration::from_millis(u64::from(what) * 10)),
            5 => {
                let role = bytes.first().map(|epoch| u64::from(*epoch));
                self.sides[side].handle_role(now, role);
                self.talk();
            }
            6 => {
                self.sides[side].handle_link(now, what & 8 == 0);
                self.talk();
            }
            _ => self.talk(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.sides.iter_mut().for_each(|side| side.handle_timeout(self.now));
    }

    /// Everything goes over, as far as there is an end to it.
    fn talk(&mut self) {
        for _ in 0..MOST {
            let mut busy = false;
            for side in 0..2 {
                while let Some(output) = self.sides[side].poll_output() {
                    if output == Output::Claim {
                        let epoch = self.sides.iter().map(Shared::highest).max().unwrap_or(0);
                        self.sides[side].own(epoch.saturating_add(1));
                    }
                }
                if let Some(message) = self.sides[side].poll_transmit(self.now) {
                    assert!(message.len() <= MESSAGE);
                    self.sides[1 - side].handle_message(self.now, &message);
                    self.last[side] = message.to_vec();
                    busy = true;
                }
            }
            if !busy {
                return;
            }
        }
    }

    /// No map is larger than it may be, whoever filled it.
    fn bounded(&self) {
        for side in &self.sides {
            let (mut bytes, mut counts) = (0, [0; 2]);
            for (key, value) in side.entries() {
                let (longest, _) = LIMITS.kinds[usize::from(key.kind)];
                assert!(value.len() <= longest);
                bytes += key.name.len() + value.len();
                counts[usize::from(key.kind)] += 1;
            }
            assert!(bytes <= LIMITS.bytes);
            assert!(counts.iter().zip(LIMITS.kinds).all(|(count, (_, most))| count <= most));
        }
    }
}
