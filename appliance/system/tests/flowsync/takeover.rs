//! Real packets: what was written into another router's kernel is translated and goes on there.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use rempart_system::conntrack::{Status, TcpState};
use rempart_system::flowsync::{ProtocolState, Record};

use crate::common::{Neighbour, in_namespace};
use crate::pair::{Pair, say};

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// A TCP connection that goes on through the second router, in both directions, `server_first` or not. Which status bits
/// of translation its entry must have.
fn tcp_goes_on(listen: &str, to: &str, seen_as: &str, bits: u32, server_first: bool) {
    let mut pair = Pair::new();
    let (mut client, mut server) = pair.connect(at(listen), at(to));
    say(&mut client, &mut server, b"before");
    say(&mut server, &mut client, b"before");
    assert_eq!(server.peer_addr().expect("a peer").ip().to_string(), seen_as);
    pair.replicate();
    let held = pair.second.enter(crate::samples::flows);
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(held[0].status.0 & (Status::SOURCE_NAT | Status::DESTINATION_NAT), bits, "{held:?}");
    assert!(matches!(held[0].state, ProtocolState::Tcp(tcp) if tcp.state == TcpState::Established));
    assert!(held[0].timeout_s > 3000);
    pair.take_over();
    // Far more than a window without its scale would allow.
    let much = vec![0x5a; 2 << 20];
    for _ in 0..2 {
        if server_first {
            say(&mut server, &mut client, &much);
            say(&mut client, &mut server, &much);
        } else {
            say(&mut client, &mut server, &much);
            say(&mut server, &mut client, &much);
        }
    }
    drop(client);
    drop(server);
    pair.assert_all_valid();
}

/// Study §3.2, point 2: with the translated reply tuple written as it is, the packets would pass untranslated.
#[test]
fn tcp_through_source_nat() {
    in_namespace(|| async {
        tcp_goes_on("192.0.2.2:7000", "192.0.2.2:7000", "192.0.2.1", Status::SOURCE_NAT, false);
    });
}

#[test]
fn tcp_through_source_nat_the_server_speaks_first() {
    in_namespace(|| async {
        tcp_goes_on("192.0.2.2:7000", "192.0.2.2:7000", "192.0.2.1", Status::SOURCE_NAT, true);
    });
}

#[test]
fn tcp_to_a_published_port() {
    in_namespace(|| async {
        let both = Status::SOURCE_NAT | Status::DESTINATION_NAT;
        tcp_goes_on("192.0.2.2:7000", "203.0.113.1:8080", "192.0.2.1", both, true);
    });
}

#[test]
fn tcp_without_translation() {
    in_namespace(|| async { tcp_goes_on("192.0.2.2:9000", "192.0.2.2:9000", "10.0.0.2", 0, true) });
}

#[test]
fn tcp_over_ipv6_through_source_nat() {
    in_namespace(|| async {
        tcp_goes_on("[fd00:2::2]:7000", "[fd00:2::2]:7000", "fd00:2::1", Status::SOURCE_NAT, false);
    });
}

/// A server that pushes datagrams to a silent client: only the entry can bring them back.
#[test]
fn udp_from_the_server_only() {
    in_namespace(|| async {
        let mut pair = Pair::new();
        let client = pair.udp(&pair.client, at("10.0.0.2:5000"));
        let server = pair.udp(&pair.server, at("192.0.2.2:6000"));
        client.send_to(b"hello", at("192.0.2.2:6000")).expect("sent");
        let (text, peer) = receive(&server);
        assert_eq!((text.as_str(), peer.ip().to_string().as_str()), ("hello", "192.0.2.1"));
        server.send_to(b"one", peer).expect("sent");
        assert_eq!(receive(&client).0, "one");
        pair.replicate();
        pair.take_over();
        for word in ["two", "three"] {
            server.send_to(word.as_bytes(), peer).expect("sent");
            assert_eq!(receive(&client), (word.to_owned(), at("192.0.2.2:6000")));
        }
        client.send_to(b"bye", at("192.0.2.2:6000")).expect("sent");
        assert_eq!(receive(&server), ("bye".to_owned(), peer));
        pair.assert_all_valid();
    });
}

/// The kernel keeps the timeout of GRE in the entry, where ctnetlink cannot write it: without our remedy the first packet
/// after the move ends the connection.
#[test]
fn gre_from_the_server_only() {
    in_namespace(|| async { without_ports_goes_on(47) });
}

#[test]
fn esp_from_the_server_only() {
    in_namespace(|| async { without_ports_goes_on(50) });
}

/// The server speaks and speaks after the move, with pauses in between: a timeout of nothing shows itself at the second
/// packet only.
fn without_ports_goes_on(protocol: u8) {
    let mut pair = Pair::new();
    let listen = |at: &Neighbour| {
        let path = std::env::temp_dir().join(format!("flowsync-{}-{protocol}", at.pid()));
        let file = format!("CREATE:{}", path.display());
        let running = at.start("socat", &["-u", &format!("IP4-RECV:{protocol}"), &file]);
        wait_until("socat listens", || path.exists());
        (running, path)
    };
    let ((_c, at_client), (_s, at_server)) = (listen(&pair.client), listen(&pair.server));
    let speak = |from: &Neighbour, to: &str, word: &str| {
        // A GRE header, version 0; for ESP the number of an association.
        from.sh(&format!("printf \"\\\\0\\\\0\\\\10\\\\0{word}\" | socat -u - IP4-SENDTO:{to}:{protocol}"));
    };
    let hears = |path: &Path, word: &str| {
        wait_until(word, || String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).contains(word));
    };
    speak(&pair.client, "192.0.2.2", "hello");
    hears(&at_server, "hello");
    speak(&pair.server, "192.0.2.1", "before");
    hears(&at_client, "before");
    pair.replicate();
    pair.take_over();
    for word in ["the-first", "the-second", "the-third"] {
        speak(&pair.server, "192.0.2.1", word);
        hears(&at_client, word);
        std::thread::sleep(Duration::from_millis(100));
    }
    speak(&pair.client, "192.0.2.2", "goodbye");
    hears(&at_server, "goodbye");
    pair.assert_all_valid();
    for path in [at_client, at_server] {
        let _ = std::fs::remove_file(path);
    }
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A connection that is closed at the first router is gone at the second; one that ends there is gone by itself.
#[test]
fn what_ends_is_removed() {
    in_namespace(|| async {
        let mut pair = Pair::new();
        let (mut client, mut server) = pair.connect(at("192.0.2.2:7000"), at("192.0.2.2:7000"));
        say(&mut client, &mut server, b"x");
        pair.replicate();
        assert_eq!(pair.second.enter(crate::samples::flows).len(), 1);
        pair.first.sh("conntrack -F");
        pair.replicate();
        assert_eq!(pair.second.enter(crate::samples::flows), []);
        assert!(matches!(pair.put.first(), Some(Record::Flow(flow)) if pair.gone == [flow.identity()]));
    });
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 64];
    let (len, from) = socket.recv_from(&mut buffer).expect("a datagram");
    (String::from_utf8_lossy(&buffer[..len]).into_owned(), from)
}
