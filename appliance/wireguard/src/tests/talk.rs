//! Handshake, packets both ways, roaming, whose addresses are whose.

use super::*;

/// The first packet waits for the handshake, and arrives once, as it was.
#[test]
fn the_first_packet_waits_for_the_handshake_and_arrives() {
    let mut pair = Pair::new();
    let hello = packet("10.9.0.2", "10.9.0.1", 77);
    pair.send_up(&hello);
    assert_eq!(pair.at_server, [hello]);
    let kinds: Vec<u8> = pair.up.iter().map(|m| m[0]).collect();
    assert_eq!((kinds, pair.down.len()), (vec![1, 4, 4], 1), "initiation, empty message, packet; response");
    let answer = packet("10.9.0.1", "10.9.0.2", 1_377);
    pair.send_down(&answer);
    assert_eq!(pair.at_client, [answer]);
}

/// Packets of all lengths: the datagram is as long as the next multiple of 16 and the overhead, at most the MTU; what comes
/// out has the old length.
#[test]
fn packets_are_padded() {
    let mut pair = Pair::new();
    pair.greet();
    for length in [20, 21, 31, 32, 33, 1_400, 1_409, 1_420, 1_421, 3_000] {
        let sent = packet("10.9.0.2", "10.9.0.1", length);
        pair.send_up(&sent);
        let padded = length.next_multiple_of(16).min(length.max(1_420));
        assert_eq!(pair.up.last().unwrap().len(), padded + 32, "{length}");
        assert_eq!(pair.at_server.last().unwrap(), &sent);
    }
}

/// A header that says more than has come is no packet, and one that says less is cut.
#[test]
fn the_header_says_how_long_a_packet_is() {
    let mut pair = Pair::new();
    pair.greet();
    let mut long = packet("10.9.0.2", "10.9.0.1", 100);
    long[3] = 200;
    pair.send_up(&long);
    assert_eq!((pair.at_server.len(), pair.server.drops().refused), (1, 1));
    let mut short = packet("10.9.0.2", "10.9.0.1", 100);
    short[3] = 90;
    pair.send_up(&short);
    assert_eq!(pair.at_server[1], short[..90]);
}

#[test]
fn both_ip_versions_go_through() {
    let mut pair = Pair::new();
    let mut six = vec![0; 48];
    six[0] = 0x60;
    six[5] = 8;
    six[8..24].copy_from_slice(&"fd09::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
    six[24..40].copy_from_slice(&"fd09::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    pair.send_up(&six);
    assert_eq!(pair.at_server, [six]);
}

/// A packet under an address of another peer, or of nobody, does not come in; one for an address of nobody does not leave.
#[test]
fn a_peer_has_its_own_addresses_only() {
    let mut pair = Pair::new();
    pair.greet();
    for from in ["10.9.0.3", "10.8.0.1"] {
        pair.send_up(&packet(from, "10.9.0.1", 60));
    }
    assert_eq!((pair.at_server.len(), pair.server.drops().spoofed), (1, 2));
    pair.send_down(&packet("10.9.0.1", "10.8.0.1", 60));
    pair.send_down(&[0x45; 10]);
    pair.send_down(&[]);
    assert_eq!(pair.server.drops().unroutable, 3);
    assert_eq!(pair.server.peer_at("10.9.0.2".parse().unwrap()), Some("peer2"));
    assert_eq!(pair.server.peer_at("10.9.0.77".parse().unwrap()), Some("peer3"));
}

/// An authentic message from elsewhere moves the peer; the same one again, from a third place, does not.
#[test]
fn a_peer_is_where_it_last_sent_from() {
    let mut pair = Pair::new();
    pair.greet();
    while pair.server.poll_known().is_some() {}
    pair.client_at = address("203.0.113.9:7");
    pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
    let (key, known) = pair.server.poll_known().unwrap();
    assert_eq!((key, known.path.unwrap().remote), (secret(2).public(), pair.client_at));
    let replayed = pair.up.last().unwrap().clone();
    pair.arrive_at_server(&replayed, address("192.0.2.66:1"), &mut [0; BUFFER]);
    assert_eq!((pair.at_server.len(), pair.server.drops().refused), (2, 1));
    pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
    assert_eq!(pair.at_client.len(), 1);
    assert!(pair.server.poll_known().is_none());
}

/// A recorded initiation from elsewhere: where the peer is does not change, and its packets go on.
#[test]
fn a_replayed_initiation_moves_nobody() {
    let mut pair = Pair::new();
    pair.greet();
    let recorded = pair.up[0].clone();
    let mut out = [0; BUFFER];
    // To the node that answered it, and to one that has just taken over and cannot know it.
    pair.now += Duration::from_secs(1);
    pair.arrive_at_server(&recorded, address("192.0.2.66:1"), &mut out);
    assert!(pair.server.poll_transmit().is_none());
    let known: Vec<_> = std::iter::from_fn(|| pair.server.poll_known()).collect();
    pair.server = engine(pair.now, server_settings(), &known, 5);
    pair.arrive_at_server(&recorded, address("192.0.2.66:1"), &mut out);
    assert_eq!(pair.server.poll_transmit().unwrap().0.remote, address("192.0.2.66:1"));
    pair.server.handle_timeout(pair.now);
    pair.pump();
    pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
    assert_eq!(pair.at_client.len(), 1);
}

/// A key that both have beside their own: with another one nothing comes of it.
#[test]
fn a_preshared_key_must_be_the_same() {
    for (theirs, expected) in [(9, 1), (8, 0)] {
        let (mut server, mut client) = (server_settings(), client_settings());
        server.peers[0].preshared = Some(secret(9));
        client.peers[0].preshared = Some(secret(theirs));
        let mut pair = Pair::of(server, client);
        pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
        assert_eq!(pair.at_server.len(), expected);
    }
}

/// Other settings: who stays keeps the keys, who is new can come, who is gone is gone.
#[test]
fn peers_that_stay_keep_their_keys() {
    let mut pair = Pair::new();
    pair.greet();
    let mut changed = server_settings();
    changed.peers[1] = peer(4, &["10.9.0.4/32"], None);
    changed.peers.reverse();
    pair.server.configure(pair.now, changed, &HashMap::new()).unwrap();
    pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
    pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
    assert_eq!((pair.at_server.len(), pair.at_client.len(), Pair::initiations(&pair.up)), (2, 1, 1));
    assert_eq!(pair.server.poll_known().unwrap().0, secret(2).public());
    pair.server.configure(pair.now, settings(1, Vec::new()), &HashMap::new()).unwrap();
    pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
    assert_eq!(pair.at_server.len(), 2);
    assert!(pair.server.status(pair.now).is_empty());
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let now = Instant::now();
    let make = |settings| Engine::new(now, wall(), settings, &HashMap::new(), random(1)).map(|_| ());
    assert!(make(settings(1, vec![peer(1, &[], None)])).is_err(), "its own key");
    assert!(make(settings(1, vec![peer(2, &[], None), peer(2, &[], None)])).is_err(), "a key twice");
    let many = (0..=crate::MAX_PEERS).map(|_| peer(2, &[], None)).collect();
    assert_eq!(make(settings(1, many)), Err(crate::SettingsError::TooManyPeers(crate::MAX_PEERS + 1)));
    assert_eq!(format!("{:?}", secret(3)), "Secret(…)");
}

/// Keys of RFC 7748 §6.1, as `wg` writes them.
#[test]
fn a_key_is_read_as_wg_writes_it() {
    let alice = Secret::from_base64(b"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=").unwrap();
    assert_eq!(alice.public().0[..4], [0x85, 0x20, 0xf0, 0x09]);
    for wrong in [
        &b""[..],
        b"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCp=",
        b"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo",
    ] {
        assert!(Secret::from_base64(wrong).is_none());
    }
}

/// The sockets have other numbers than before: a peer is answered by the one that it came to.
#[test]
fn a_peer_keeps_its_socket() {
    let mut pair = Pair::new();
    pair.greet();
    let mut changed = server_settings();
    changed.sockets = vec![address("192.0.2.77:51820"), address("0.0.0.0:51820")];
    pair.server.configure(pair.now, changed.clone(), &HashMap::new()).unwrap();
    let mut out = [0; BUFFER];
    let sealed = |pair: &mut Pair, out: &mut [u8]| {
        pair.server.seal(pair.now, &packet("10.9.0.1", "10.9.0.2", 60), out).map(|sealed| sealed.to)
    };
    assert_eq!(sealed(&mut pair, &mut out), Some(Path { local: 1, remote: address(CLIENT) }));
    changed.sockets.pop();
    pair.server.configure(pair.now, changed.clone(), &HashMap::new()).unwrap();
    assert_eq!(sealed(&mut pair, &mut out), Some(Path { local: 0, remote: address(CLIENT) }));
    changed.sockets.pop();
    pair.server.configure(pair.now, changed, &HashMap::new()).unwrap();
    assert_eq!(sealed(&mut pair, &mut out), None);
}
