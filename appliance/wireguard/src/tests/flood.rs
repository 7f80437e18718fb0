//! Floods of handshakes: who is answered, and who gets a cookie.

use super::*;
use crate::gate::{COOKIES, LOAD, MAX_PLACES, MOST};
use crate::tunnel::{Identity, Tunnel};

/// Somebody who knows the server's public key.
fn stranger(now: Instant, number: u8) -> Tunnel {
    Tunnel::new(now, wall(), Duration::ZERO, &Identity::new(secret(number)), &secret(1).public(), None, 7)
}

fn initiation(tunnel: &mut Tunnel, now: Instant) -> Vec<u8> {
    let mut out = [0; 148];
    let length = tunnel.initiate(now, true, &mut out).unwrap();
    out[..length].to_vec()
}

fn path(place: u32, port: u16) -> Path {
    Path { local: 0, remote: SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 + place).into(), port) }
}

/// Initiations of a stranger in one second: the first are looked at and thrown away, the others get cookies that are no
/// longer than the question. The tunnel of a peer goes on, and one that was not there can come: with its cookie.
#[test]
fn under_load_who_shows_where_he_is_gets_in() {
    let mut pair = Pair::new();
    pair.greet();
    let (now, mut out) = (pair.now, [0; BUFFER]);
    let mut stranger = stranger(now, 66);
    let flood = initiation(&mut stranger, now);
    for place in 0..20_000 {
        assert!(pair.server.handle_datagram(now, path(place, 1), &flood, &mut out).is_none());
    }
    let replies: Vec<_> = std::iter::from_fn(|| pair.server.poll_transmit()).collect();
    let drops = pair.server.drops();
    assert!(replies.iter().all(|(_, reply)| reply.len() == 64 && reply[0] == 3));
    assert!(replies.len() <= 4_096 && !replies.is_empty());
    // The greeting was the first of that second.
    assert_eq!((drops.stray, drops.cookies), (u64::from(LOAD) - 1, u64::from(COOKIES)));

    pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
    assert_eq!(pair.at_server.len(), 2);

    // A second later there are cookies again.
    pair.now += Duration::from_secs(1);
    for place in 0..=LOAD {
        pair.server.handle_datagram(pair.now, path(place, 1), &flood, &mut out);
    }
    while pair.server.poll_transmit().is_some() {}
    // The client begins anew. Its first try gets a cookie, the next one, 5 s later, has it.
    pair.client = engine(pair.now, client_settings(), &[], 77);
    pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
    assert_eq!((pair.at_server.len(), pair.down.last().unwrap()[0]), (2, 3));
    for _ in 0..80 {
        pair.now += Duration::from_millis(100);
        let now = pair.now;
        // 300 in each second, so that load does not end.
        for place in 0..30 {
            pair.server.handle_datagram(now, path(place, 1), &flood, &mut out);
        }
        while pair.server.poll_transmit().is_some() {}
        pair.client.handle_timeout(pair.now);
        pair.pump();
    }
    assert_eq!(pair.at_server.len(), 3);
}

/// A cookie holds for the address and the port that it was sent to, and for two minutes.
#[test]
fn a_cookie_holds_for_one_place_and_time() {
    let mut pair = Pair::new();
    let (mut now, mut out) = (pair.now, [0; BUFFER]);
    let mut noise = stranger(now, 66);
    let mut load = |server: &mut Engine, now| {
        let flood = initiation(&mut noise, now);
        for place in 0..=LOAD {
            server.handle_datagram(now, path(place, 9), &flood, &mut [0; BUFFER]);
        }
        while server.poll_transmit().is_some() {}
    };
    let mut client = stranger(now, 2);
    load(&mut pair.server, now);
    let home = path(1 << 16, 1000);
    let message = initiation(&mut client, now);
    pair.server.handle_datagram(now, home, &message, &mut out);
    let (_, reply) = pair.server.poll_transmit().unwrap();
    client.open(now, &reply, &mut out);
    let elsewhere = [path((1 << 16) + 1, 1000), path(1 << 16, 1001)];
    for (from, kind) in elsewhere.iter().map(|from| (*from, 3)).chain([(home, 2)]) {
        now += Duration::from_millis(30);
        let message = initiation(&mut client, now);
        pair.server.handle_datagram(now, from, &message, &mut out);
        assert_eq!(pair.server.poll_transmit().unwrap().1[0], kind, "{from:?}");
    }
    now += Duration::from_secs(121);
    load(&mut pair.server, now);
    let message = initiation(&mut client, now);
    pair.server.handle_datagram(now, home, &message, &mut out);
    assert_eq!(pair.server.poll_transmit().unwrap().1[0], 3);
}

/// One with a cookie of his own is bounded all the same.
#[test]
fn a_place_has_twenty_a_second() {
    let mut pair = Pair::new();
    let (mut now, mut out) = (pair.now, [0; BUFFER]);
    let mut stranger = stranger(now, 66);
    let home = path(5, 5);
    let mut looked_at = Vec::new();
    for _ in 0..4 {
        let before = pair.server.drops().stray;
        for _ in 0..600 {
            now += Duration::from_micros(1_666);
            let message = initiation(&mut stranger, now);
            pair.server.handle_datagram(now, home, &message, &mut out);
            if let Some((_, reply)) = pair.server.poll_transmit() {
                stranger.open(now, &reply, &mut out);
            }
        }
        looked_at.push(pair.server.drops().stray - before);
    }
    assert!(looked_at[1..].iter().all(|count| (19..=25).contains(count)), "{looked_at:?}");
}

/// Many places with cookies: beyond a bound none is looked at, and the table of places does not grow.
#[test]
fn many_places_are_bounded_too() {
    use crate::gate::{Admission, Gate};
    let now = Instant::now();
    let mut random = random(1);
    let mut gate = Gate::new(now, &secret(1).public(), &mut random);
    let mut passed = 0;
    for place in 0..3 * MAX_PLACES as u32 {
        let from = path(place, 1).remote;
        // One that gets a new cookie each time.
        let mut tunnel = stranger(now, 66);
        let first = initiation(&mut tunnel, now);
        match gate.judge(now, from, &first, &mut random) {
            Admission::Cookie(reply) => {
                tunnel.open(now, &reply, &mut [0; BUFFER]);
                let second = initiation(&mut tunnel, now);
                match gate.judge(now, from, &second, &mut random) {
                    Admission::Pass => passed += 1,
                    Admission::TooMany => {}
                    other => panic!("{other:?}"),
                }
            }
            Admission::Pass => passed += 1,
            Admission::TooMany | Admission::Refused => {}
        }
    }
    assert_eq!(passed, MOST);
    assert!(gate.places() <= MAX_PLACES);
}

/// A damaged initiation, and one for another key, get no answer at all.
#[test]
fn who_does_not_know_the_key_gets_nothing() {
    let mut pair = Pair::new();
    let now = pair.now;
    let mut lost =
        Tunnel::new(now, wall(), Duration::ZERO, &Identity::new(secret(2)), &secret(5).public(), None, 7);
    let wrong = initiation(&mut lost, now);
    let mut damaged = initiation(&mut stranger(now, 2), now);
    damaged[40] ^= 1;
    for message in [wrong, damaged] {
        pair.server.handle_datagram(now, path(1, 1), &message, &mut [0; BUFFER]);
    }
    assert!(pair.server.poll_transmit().is_none());
    assert_eq!(pair.server.drops().refused, 2);
}

/// A peer that asks a thousand times a second is answered fifty times at most.
#[test]
fn a_peer_is_answered_fifty_times_a_second() {
    let mut pair = Pair::new();
    let mut client = stranger(pair.now, 2);
    let mut answers = 0;
    for _ in 0..150 {
        pair.now += Duration::from_millis(1);
        let message = initiation(&mut client, pair.now);
        pair.server.handle_datagram(pair.now, path(1, 1), &message, &mut [0; BUFFER]);
        answers += usize::from(pair.server.poll_transmit().is_some_and(|(_, m)| m[0] == 2));
    }
    assert_eq!(answers, 8);
}

/// Made-up responses to an initiation of ours: only a few are looked at.
#[test]
fn made_up_responses_cost_little() {
    let mut pair = Pair::new();
    let mut out = [0; BUFFER];
    pair.client.seal(pair.now, &packet("10.9.0.2", "10.9.0.1", 60), &mut out);
    let (_, ours) = pair.client.poll_transmit().unwrap();
    let mut forged = vec![0; 92];
    forged[0] = 2;
    forged[8..12].copy_from_slice(&ours[4..8]);
    for _ in 0..100 {
        pair.client.handle_datagram(pair.now, path(1, 1), &forged, &mut out);
    }
    let drops = pair.client.drops();
    assert_eq!((drops.refused, drops.flood), (8, 92));
}
