//! Clients that come by TCP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::stage::{Stage, can, plan};

/// Over both families outside: ping, a large one, and a download.
#[test]
fn a_client_works_by_tcp() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    for remote in ["remote 192.0.2.1 443 tcp4-client", "remote 2001:db8::1 443 tcp6-client"] {
        let client = stage.client("alice", remote);
        client.up();
        assert!(stage.nodes[0].session().tcp);
        stage.ping("10.8.0.1", "-s 1400");
        stage.ping("fd00:8::1", "");
        stage.download(20_000_000);
        assert_eq!(stage.pair.held(), 0, "a TCP connection cannot be carried on by anybody");
        client.assert_undisturbed();
        drop(client);
        stage.wait("the session is over", |stage| stage.nodes[0].status().sessions.is_empty());
    }
}

/// Who shows no key of ours is hung up on: at once after nonsense, soon after silence. Many at once are not let in.
#[test]
fn strangers_do_not_stay() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    let connect = || stage.client.enter(|| TcpStream::connect("192.0.2.1:443").unwrap());
    let ended_within = |mut stream: TcpStream, most: Duration| {
        let begin = Instant::now();
        stream.set_read_timeout(Some(most)).unwrap();
        let read = stream.read(&mut [0; 10]);
        assert!(
            matches!(read, Ok(0)) || read.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
        );
        begin.elapsed()
    };
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0],
        &[0, 20, 0x38, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let mut stream = connect();
        stream.write_all(nonsense).unwrap();
        assert!(ended_within(stream, Duration::from_secs(3)) < Duration::from_secs(1), "{nonsense:?}");
    }
    let silent = connect();
    let many: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
    std::thread::sleep(Duration::from_millis(300));
    let refused = many.into_iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        let mut byte = [0];
        !(&*stream).read(&mut byte).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    });
    assert!(refused.count() >= 36, "64 of one address at most");
    assert!(ended_within(silent, Duration::from_secs(15)) > Duration::from_secs(5));
}
