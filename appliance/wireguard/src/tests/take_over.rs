//! The other node carries on.

use super::*;

/// What the first node knew of its peers.
fn held(pair: &mut Pair) -> Vec<(PublicKey, Known)> {
    let mut held: HashMap<_, _> = HashMap::new();
    while let Some((key, known)) = pair.server.poll_known() {
        // It goes to the other node and back.
        held.insert(key, Known::decode(&known.encode()).unwrap());
    }
    held.into_iter().collect()
}

/// A node that takes over asks the peer at once; from then on packets go both ways, without a packet of the client.
#[test]
fn the_other_node_asks_at_once() {
    let mut pair = Pair::new();
    pair.greet();
    let known = held(&mut pair);
    pair.server = engine(pair.now, server_settings(), &known, 99);
    assert!(pair.server.poll_timeout() <= pair.now);
    pair.server.handle_timeout(pair.now);
    pair.pump();
    assert_eq!(Pair::initiations(&pair.down), 1);
    pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
    pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
    assert_eq!((pair.at_server.len(), pair.at_client.len()), (2, 1));
    assert_eq!(Pair::initiations(&pair.up), 1, "the client has asked once, at its beginning");
}

/// The clock of the first node was an hour ahead: its stamps are what the client has seen. The second node's must be newer
/// all the same, and with what the first one told they are; without, they are not.
#[test]
fn stamps_go_on_where_the_other_nodes_ended() {
    for told in [true, false] {
        let mut pair = Pair::new();
        let ahead = Known { stamp: wall() + Duration::from_secs(3_600), ..Known::default() };
        pair.server = engine(pair.now, server_settings(), &[(secret(2).public(), ahead)], 7);
        pair.greet();
        // The server asks too: only its initiations carry its clock.
        pair.pass(Duration::from_secs(200));
        pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
        assert_eq!((Pair::initiations(&pair.down), pair.at_client.len()), (1, 1));
        let mut known = held(&mut pair);
        assert!(known[0].1.stamp > wall() + Duration::from_secs(3_700), "{known:?}");
        if !told {
            known[0].1.stamp = Duration::ZERO;
        }
        pair.pass(Duration::from_secs(1));
        pair.server = engine(pair.now, server_settings(), &known, 8);
        pair.server.handle_timeout(pair.now);
        pair.pump();
        pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
        assert_eq!(pair.at_client.len(), if told { 2 } else { 1 });
    }
}

/// The first initiation is lost, because the neighbours do not know yet where the address is: it is repeated soon.
#[test]
fn a_lost_first_initiation_is_repeated_soon() {
    let mut pair = Pair::new();
    pair.greet();
    let known = held(&mut pair);
    pair.server = engine(pair.now, server_settings(), &known, 99);
    pair.server.handle_timeout(pair.now);
    assert_eq!(std::iter::from_fn(|| pair.server.poll_transmit()).count(), 1);
    pair.pass(Duration::from_millis(500));
    pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
    assert_eq!(pair.at_client.len(), 1);
    let before = Pair::initiations(&pair.down);
    pair.pass(Duration::from_secs(10));
    assert_eq!(Pair::initiations(&pair.down), before, "once it has answered it is left alone");
}

/// A thousand peers: all are asked, a few at a time, and each gets its own.
#[test]
fn a_thousand_peers_are_asked_a_few_at_a_time() {
    let now = Instant::now();
    let key = |number: u32| {
        let mut bytes = [5; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        PublicKey(bytes)
    };
    let path = |number: u32| Path {
        local: 0,
        remote: SocketAddr::new([10, 0, (number >> 8) as u8, number as u8].into(), 1),
    };
    let peers = (0..1_000).map(|n| PeerSettings { public_key: key(n), ..peer(2, &[], None) }).collect();
    let known: Vec<_> =
        (0..1_000).map(|n| (key(n), Known { path: Some(path(n)), ..Known::default() })).collect();
    let mut server = engine(now, settings(1, peers), &known, 3);
    let (mut rounds, mut asked) = (0, std::collections::BTreeSet::new());
    while server.poll_timeout() <= now {
        server.handle_timeout(now);
        let messages: Vec<_> = std::iter::from_fn(|| server.poll_transmit()).collect();
        assert!(messages.len() <= 64);
        asked.extend(messages.into_iter().map(|(to, _)| to.remote));
        rounds += 1;
        assert!(rounds < 100);
    }
    assert_eq!(asked.len(), 1_000);
}
