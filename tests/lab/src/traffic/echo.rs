//! A server that says whom it sees: to each line (TCP) or datagram (UDP) it answers `ADDRESS:PORT<tab>` and what
//! it got, so that a client behind address translation learns under which address it went.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

use super::Transport;

/// Connections served at once, each by a thread; one over it is closed at once.
const MAX_CONNECTIONS: usize = 4096;

/// Serves until killed.
pub fn serve(transport: Transport, address: SocketAddr) -> Result<()> {
    match transport {
        Transport::Tcp => serve_tcp(&TcpListener::bind(address)?),
        Transport::Udp => serve_udp(&UdpSocket::bind(address)?),
    }
}

/// An IPv4 client of a socket for both families, as IPv4 (RFC 4291 §2.5.5.2).
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn serve_tcp(listener: &TcpListener) -> Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, peer) = listener.accept()?;
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            eprintln!("more than {MAX_CONNECTIONS} connections: {peer} is turned away");
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let open = Arc::clone(&open);
        thread::spawn(move || {
            if let Err(error) = echo_lines(&stream, plain(peer)) {
                eprintln!("{peer}: {error}");
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn echo_lines(stream: &TcpStream, peer: SocketAddr) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let mut answer = format!("{peer}\t").into_bytes();
        answer.append(&mut line);
        (&mut &*stream).write_all(&answer)?;
    }
    Ok(())
}

fn serve_udp(socket: &UdpSocket) -> Result<()> {
    let mut datagram = [0; 65_536];
    loop {
        // An ICMP error about an earlier answer may come up here; it concerns nobody else.
        let Ok((len, peer)) = socket.recv_from(&mut datagram) else { continue };
        let mut answer = format!("{}\t", plain(peer)).into_bytes();
        answer.extend_from_slice(&datagram[..len]);
        if let Err(error) = socket.send_to(&answer, peer) {
            eprintln!("{peer}: {error}");
        }
    }
}
