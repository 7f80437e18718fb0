//! Bytes of all kinds: nothing panics, nothing comes in.

use proptest::prelude::*;

use super::*;

/// Messages of every type, of the right lengths and of others, with random content.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![Just(148), Just(92), Just(64), Just(32), Just(48), 0usize..200];
    (0u8..6, length, any::<[u8; 32]>()).prop_map(|(kind, length, noise)| {
        let mut bytes: Vec<u8> = noise.iter().cycle().take(length).copied().collect();
        bytes.iter_mut().zip([kind, 0, 0, 0]).for_each(|(to, from)| *to = from);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn noise_does_nothing(messages in proptest::collection::vec(message(), 1..20)) {
        let mut pair = Pair::new();
        pair.greet();
        let mut out = [0; BUFFER];
        for message in messages {
            let from = Path { local: 0, remote: address("192.0.2.66:1") };
            let inside = pair.server.handle_datagram(pair.now, from, &message, &mut out);
            prop_assert_eq!(inside, None);
        }
        pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
        pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
        prop_assert_eq!((pair.at_server.len(), pair.at_client.len()), (2, 1));
    }

    /// One byte of a true conversation is another: that message comes to nothing.
    #[test]
    fn a_damaged_message_comes_to_nothing(which in 0usize..4, at: usize, flip in 1u8..) {
        let mut pair = Pair::new();
        pair.greet();
        pair.send_up(&packet("10.9.0.2", "10.9.0.1", 60));
        let mut message = pair.up[which % pair.up.len()].clone();
        let at = at % message.len();
        message[at] ^= flip;
        let before = pair.at_server.len();
        pair.arrive_at_server(&message, address("192.0.2.66:1"), &mut [0; BUFFER]);
        prop_assert_eq!(pair.at_server.len(), before);
        pair.send_down(&packet("10.9.0.1", "10.9.0.2", 60));
        prop_assert_eq!(pair.at_client.len(), 1);
    }

    #[test]
    fn known_goes_there_and_back(v6: bool, address: u128, port: u16, local: u8, path: bool, seconds in 0u64..1 << 40, nanos in 0u32..1_000_000_000, handshake in 0u64..1 << 40) {
        let ip = if v6 { std::net::IpAddr::V6(address.into()) } else { std::net::IpAddr::V4((address as u32).into()) };
        let path = path.then_some(Path { local, remote: SocketAddr::new(ip, port) });
        let known = Known { path, handshake: Duration::from_secs(handshake), stamp: Duration::new(seconds, nanos) };
        prop_assert_eq!(Known::decode(&known.encode()), Ok(known));
    }

    #[test]
    fn known_of_noise_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), versioned: bool) {
        let mut bytes = bytes;
        if let (true, Some(first)) = (versioned, bytes.first_mut()) {
            *first = 1;
        }
        if let Ok(known) = Known::decode(&bytes) {
            prop_assert_eq!(known.encode(), bytes);
        }
    }
}

/// A buffer that is too short for what comes is the caller's mistake, and no panic.
#[test]
fn a_short_buffer_is_no_panic() {
    let mut pair = Pair::new();
    pair.greet();
    for message in pair.up.clone() {
        pair.server.handle_datagram(pair.now, Path { local: 0, remote: address(CLIENT) }, &message, &mut []);
    }
    assert!(pair.client.seal(pair.now, &packet("10.9.0.2", "10.9.0.1", 60), &mut [0; 50]).is_none());
}
