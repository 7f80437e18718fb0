//! What is asked of any bytes on the connection of a pairing, and of anybody in the middle of it: by the fuzz target
//! `pairing`, and by the ordinary tests with a few of them.

use std::time::{Duration, Instant};

use rempart_pair::pairing::{Code, Join, MAX_TRIES, Offer, Output, Person, Seed, check, check_inner};
use zeroize::Zeroizing;

const SECRET: [u8; 32] = [0x5a; 32];

/// The first byte says what the rest is: 0 a message, 1 the inside of a sealed one, 2 messages for both machines, each after
/// its length; others what somebody in the middle does to an honest exchange, two bytes for each message.
pub fn pairing(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    match how % 4 {
        0 => assert_ne!(check(rest), Ok(false)),
        1 => assert_ne!(check_inner(rest), Ok(false)),
        2 => strangers(rest),
        _ => middle(rest),
    }
}

fn person(node: &str) -> Person {
    Person { node: node.into(), product: "0.1.0".into(), key: node.as_bytes().repeat(20) }
}

fn offer(now: Instant) -> Offer {
    Offer::new(now, Code::new([1; 5]), person("rte01"), "rte02".into(), 0, Zeroizing::new(SECRET))
}

fn join(now: Instant) -> Join {
    Join::new(now, &Code::new([1; 5]), person("rte02"), &Seed::new([2; 32]))
}

/// Whoever sends this does not know the code: nobody is paired, and no secret is handed to the disk.
fn strangers(mut rest: &[u8]) {
    let now = Instant::now();
    let (mut offer, mut join) = (offer(now), join(now));
    offer.opened(now, Seed::new([1; 32]));
    let mut wrong = 0;
    while let Some((length, more)) = rest.split_first() {
        let (message, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        offer.received(now, message);
        join.received(now, message);
        while let Some(output) = offer.poll_output() {
            match output {
                Output::Paired(..) | Output::Store(_) => panic!("paired with a stranger"),
                Output::Wrong { .. } => wrong += 1,
                Output::Close => offer.opened(now, Seed::new([3; 32])),
                Output::Send(_) | Output::Failed(_) => {}
            }
        }
        while let Some(output) = join.poll_output() {
            assert!(!matches!(output, Output::Paired(..) | Output::Store(_)), "paired with a stranger");
        }
    }
    assert!(wrong < MAX_TRIES);
}

/// Somebody between the two drops, changes, doubles and delays: whoever is paired in the end is paired with the right one and
/// has the right secret.
fn middle(script: &[u8]) {
    let mut now = Instant::now();
    let (mut offer, mut join) = (offer(now), join(now));
    offer.opened(now, Seed::new([1; 32]));
    let mut cable = Vec::new();
    let mut script = script.chunks_exact(2);
    for _ in 0..64 {
        while let Some(output) = offer.poll_output() {
            match output {
                Output::Send(message) => cable.push((true, message)),
                Output::Store(agreed) => {
                    assert_eq!(
                        (agreed.peer.clone(), agreed.place, &agreed.secret[..]),
                        (person("rte02"), 0, &SECRET[..])
                    );
                    offer.stored(now, true);
                }
                Output::Paired(agreed, _) => assert_eq!(&agreed.secret[..], SECRET),
                Output::Close | Output::Wrong { .. } | Output::Failed(_) => {}
            }
        }
        while let Some(output) = join.poll_output() {
            match output {
                Output::Send(message) => cable.push((false, message)),
                Output::Store(agreed) => {
                    assert_eq!(
                        (agreed.peer.clone(), agreed.place, &agreed.secret[..]),
                        (person("rte01"), 1, &SECRET[..])
                    );
                    join.stored(now, true);
                }
                Output::Paired(agreed, _) => assert_eq!(&agreed.secret[..], SECRET),
                Output::Close | Output::Wrong { .. } | Output::Failed(_) => {}
            }
        }
        if cable.is_empty() {
            return;
        }
        let [what, how] = script.next().map_or([0, 0], |s| [s[0], s[1]]);
        let (to_join, mut message) = cable.remove(0);
        match what % 8 {
            1 => continue,
            2 => {
                let place = usize::from(how) % message.len();
                message[place] ^= 1 << (what >> 5);
            }
            3 => message.truncate(usize::from(how)),
            4 => message.push(how),
            5 => cable.push((to_join, message.clone())),
            6 => cable.push((!to_join, message.clone())),
            7 => now += Duration::from_secs(u64::from(how)),
            _ => {}
        }
        if to_join {
            join.received(now, &message);
        } else {
            offer.received(now, &message);
        }
        offer.timeout(now);
        join.timeout(now);
    }
}
