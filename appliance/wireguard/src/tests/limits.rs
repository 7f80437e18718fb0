//! What ends keys and packets: time, counts, room.

use super::*;
use crate::engine::Limits;

/// Traffic for ten minutes: the client that began renews the keys each two minutes, and no packet is lost.
#[test]
fn keys_are_renewed_under_traffic() {
    let mut pair = Pair::new();
    pair.greet();
    for _ in 0..1_200 {
        pair.pass(Duration::from_millis(500));
        pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
        pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
    }
    assert_eq!((pair.at_server.len(), pair.at_client.len()), (1_201, 1_200));
    let renewals = Pair::initiations(&pair.up);
    assert!((5..=6).contains(&renewals), "{renewals} initiations in 600 s");
    assert_eq!(Pair::initiations(&pair.down), 0);
    let [status, _] = &pair.server.status(pair.now)[..] else { panic!() };
    assert!(status.handshake.unwrap() <= Duration::from_secs(121), "{:?}", status.handshake);
    assert_eq!((status.received, status.sent), (1_200 * 60 + 100, 1_200 * 60));
}

/// Nothing for three minutes: the keys are gone on both sides, and the next packet makes new ones.
#[test]
fn keys_die_of_age() {
    let mut pair = Pair::new();
    pair.greet();
    let old = {
        let mut out = vec![0; BUFFER];
        let sealed = pair.client.seal(pair.now, &packet("10.9.0.2", "10.9.0.1", 60), &mut out).unwrap();
        out[..sealed.length].to_vec()
    };
    pair.pass(Duration::from_millis(180_500));
    pair.arrive_at_server(&old, pair.client_at, &mut [0; BUFFER]);
    assert_eq!(pair.at_server.len(), 1, "a message under a key that is older than 180 s");
    pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
    assert_eq!((pair.at_client.len(), Pair::initiations(&pair.down)), (1, 1));
}

/// So many messages under one key: then another key, and none beyond the last one.
#[test]
fn keys_die_of_messages() {
    let mut pair = Pair::new();
    pair.greet();
    pair.client.set_limits(Limits { rekey: 50, reject: 60 });
    pair.pass(Duration::from_secs(6));
    for count in 0..200 {
        pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
        assert_eq!(pair.at_server.len(), count + 2);
        pair.pass(Duration::from_millis(200));
    }
    let renewals = Pair::initiations(&pair.up);
    assert!((4..=5).contains(&renewals), "{renewals}");

    // Nobody answers.
    let before = pair.at_server.len();
    let mut out = vec![0; BUFFER];
    let sealed = (0..100)
        .filter(|_| pair.client.seal(pair.now, &packet("10.9.0.2", "10.9.0.1", 60), &mut out).is_some());
    assert!(sealed.count() <= 60);
    assert_eq!(pair.at_server.len(), before);
    assert!(pair.client.drops().unsealed >= 40);
}

/// A counter beyond the last one is refused before anything is done with it, authentic or not.
#[test]
fn a_counter_beyond_the_last_one_is_refused() {
    let mut pair = Pair::new();
    pair.greet();
    let mut message = pair.up.last().unwrap().clone();
    for counter in [u64::MAX, u64::MAX - (1 << 13)] {
        message[8..16].copy_from_slice(&counter.to_le_bytes());
        pair.arrive_at_server(&message, address(CLIENT), &mut [0; BUFFER]);
    }
    assert_eq!(pair.server.drops().refused, 2);
    pair.server.set_limits(Limits { rekey: 0, reject: 3 });
    for _ in 0..4 {
        pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
    }
    // Counters 0 and 1 were the first two; 2 is the last that counts.
    assert_eq!(pair.at_server.len(), 2);
}

/// Packets for a peer that never answers: the newest few wait, initiations keep their distance, and in the end all is
/// given up.
#[test]
fn packets_wait_within_bounds() {
    let mut client = engine(Instant::now(), client_settings(), &[], 1);
    let mut now = Instant::now();
    let (mut sent, mut out) = (0, vec![0; BUFFER]);
    for _ in 0..1_000 {
        assert!(client.seal(now, &packet("10.9.0.2", "10.9.0.1", 1_400), &mut out).is_none());
        now += Duration::from_millis(100);
        client.handle_timeout(now);
        sent += std::iter::from_fn(|| client.poll_transmit()).count();
    }
    assert!((15..=21).contains(&sent), "{sent} initiations in 100 s");
    assert!(client.drops().unsealed >= 900, "{:?}", client.drops());
    // A peer whose whereabouts nobody knows cannot be asked.
    let mut server = engine(now, server_settings(), &[], 1);
    assert!(server.seal(now, &packet("10.9.0.1", "10.9.0.2", 1_400), &mut out).is_none());
    assert!(server.poll_transmit().is_none());
    assert_eq!(server.drops().unsealed, 1);
}

/// An empty message when nothing went or came for so long, and none when something did.
#[test]
fn a_translator_on_the_way_does_not_forget() {
    let mut client = client_settings();
    client.peers[0].keepalive = Some(Duration::from_secs(25));
    let mut pair = Pair::of(server_settings(), client);
    // It begins by itself.
    pair.pass(Duration::from_secs(1));
    assert_eq!(Pair::initiations(&pair.up), 1);
    let before = pair.up.len();
    pair.pass(Duration::from_secs(110));
    assert_eq!(pair.up.len() - before, 4);
    for _ in 0..30 {
        pair.pass(Duration::from_secs(1));
        pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
    }
    let empty = pair.up.iter().skip(before + 4).filter(|m| m[0] == 4 && m.len() == 32).count();
    // WireGuard §6.5: what is only received is answered after 10 s.
    assert!((2..=4).contains(&empty), "{empty}");
}

/// Idle for hours, then a packet from either side.
#[test]
fn a_tunnel_wakes_after_hours() {
    let mut pair = Pair::new();
    pair.greet();
    for _ in 0..2 {
        pair.pass(Duration::from_secs(2 * 3_600));
        let before = (pair.at_server.len(), pair.at_client.len());
        pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
        pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
        assert_eq!((pair.at_server.len(), pair.at_client.len()), (before.0 + 1, before.1 + 1));
    }
    assert!(pair.up.len() + pair.down.len() < 60, "nothing goes to and fro meanwhile");
}
