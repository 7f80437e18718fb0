//! Connections that a helper follows: FTP, whose data connections are announced in the control connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rempart_system::flowsync::{Name, Record};

use crate::common::{Neighbour, in_namespace};
use crate::pair::Pair;

/// The client's end of a session in active mode: it names a port, the server connects to it.
struct Session {
    control: TcpStream,
    replies: BufReader<TcpStream>,
}

impl Session {
    fn line(&mut self, text: &str) {
        self.control.write_all(format!("{text}\r\n").as_bytes()).expect("written");
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.replies.read_line(&mut line).expect("read");
        line.trim_end().to_owned()
    }
}

fn session(stream: TcpStream) -> Session {
    let replies = BufReader::new(stream.try_clone().expect("cloned"));
    Session { control: stream, replies }
}

/// Announces a port of the client and gives the address that the server reads.
fn announce(client: &mut Session, server: &mut Session, port: u16) -> SocketAddr {
    client.line(&format!("PORT 10,0,0,2,{},{}", port / 256, port % 256));
    let line = server.reply();
    let numbers = line.strip_prefix("PORT ").unwrap_or_else(|| panic!("{line:?}"));
    let n: Vec<u8> = numbers.split(',').map(|n| n.parse().expect("a number")).collect();
    server.line("200 PORT command successful.");
    assert_eq!(client.reply(), "200 PORT command successful.");
    SocketAddr::from(([n[0], n[1], n[2], n[3]], u16::from_be_bytes([n[4], n[5]])))
}

/// The server connects to `to`, from its data port, and the client's listener takes it.
fn data(server: &Neighbour, listener: &TcpListener, to: SocketAddr) -> (TcpStream, TcpStream) {
    let there = server.enter(|| TcpStream::connect_timeout(&to, std::time::Duration::from_secs(5)));
    let there = there.unwrap_or_else(|e| panic!("the data connection to {to}: {e}"));
    let (here, _) = listener.accept().expect("accepted");
    (here, there)
}

/// A data connection that was announced before the take-over and comes after it; one that is announced after it; one that
/// is under way; and the control connection, whose numbers the helper had shifted.
#[test]
fn ftp_goes_on() {
    in_namespace(|| async {
        let mut pair = Pair::new();
        let address: SocketAddr = "192.0.2.2:21".parse().expect("an address");
        let (client, server) = pair.connect(address, address);
        let (mut client, mut server) = (session(client), session(server));
        // The helper reads a direction from its second line on.
        client.line("USER me");
        assert_eq!(server.reply(), "USER me");
        server.line("220 ready");
        assert_eq!(client.reply(), "220 ready");
        let listener =
            |port| pair.client.enter(|| TcpListener::bind(("10.0.0.2", port)).expect("a listener"));
        let (under_way, later, last) = (listener(3001), listener(3002), listener(3003));
        let first = announce(&mut client, &mut server, 3001);
        // The address became longer, so every later sequence number is shifted.
        assert_eq!(first.ip().to_string(), "192.0.2.1");
        let (mut here, mut there) = data(&pair.server, &under_way, first);
        there.write_all(b"before ").expect("written");
        let second = announce(&mut client, &mut server, 3002);
        pair.replicate();

        let held = pair.second.enter(crate::samples::flows);
        assert!(held.iter().any(|f| f.helper == Name::new(b"ftp") && f.adjustments.is_some()), "{held:?}");
        assert!(held.iter().any(|f| f.master.is_some()), "{held:?}");
        assert!(pair.put.iter().any(|r| matches!(r, Record::Expectation(_))));
        let expected =
            pair.second.enter(|| crate::samples::dump(rempart_system::flowsync::Table::Expectations));
        assert_eq!(expected.len(), 1, "{expected:?}");
        pair.take_over();

        there.write_all(b"after").expect("written");
        drop(there);
        let mut text = String::new();
        here.read_to_string(&mut text).expect("read");
        assert_eq!(text, "before after");
        let (mut here, mut there) = data(&pair.server, &later, second);
        there.write_all(b"expected").expect("written");
        drop(there);
        text.clear();
        here.read_to_string(&mut text).expect("read");
        assert_eq!(text, "expected");
        client.line("NOOP");
        assert_eq!(server.reply(), "NOOP");
        let third = announce(&mut client, &mut server, 3003);
        assert_eq!(third.ip().to_string(), "192.0.2.1");
        let _ = data(&pair.server, &last, third);
        pair.assert_all_valid();
    });
}
