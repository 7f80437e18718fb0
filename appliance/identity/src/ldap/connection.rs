//! The socket: TCP, TLS over it, and no step longer than is left of the time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::conversation::{Conversation, Fault, Progress};
use crate::demand::DirectoryAnswer;

/// One read: more than a TLS record holds.
const PIECE: usize = 17 * 1024;

/// A socket that knows when its time is over. A server that sends a byte now and then does not hold us longer.
struct Timed {
    socket: TcpStream,
    end: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// The whole conversation with one controller.
pub(super) fn talk(
    mut conversation: Conversation,
    address: SocketAddr,
    name: ServerName<'static>,
    tls: &Arc<ClientConfig>,
    connect: Duration,
    end: Instant,
) -> Result<DirectoryAnswer, Fault> {
    if connect.is_zero() {
        return Err(Fault::Timeout);
    }
    let socket =
        TcpStream::connect_timeout(&address, connect).map_err(|error| Fault::Connect(error.to_string()))?;
    // Questions are small and each waits for its answer.
    socket.set_nodelay(true).map_err(broken)?;
    let mut plain = Timed { socket, end };
    match conversation.start() {
        Progress::StartTls => {}
        Progress::Send(bytes) => {
            plain.write_all(&bytes).map_err(broken)?;
            match exchange(&mut conversation, &mut plain)? {
                Progress::StartTls => {}
                Progress::Wait | Progress::Send(_) | Progress::Finished(_) => return Err(Fault::OutOfOrder),
            }
        }
        Progress::Wait | Progress::Finished(_) => return Err(Fault::OutOfOrder),
    }
    let client = ClientConnection::new(tls.clone(), name).map_err(|error| Fault::Tls(error.to_string()))?;
    let mut secure = StreamOwned::new(client, plain);
    while secure.conn.is_handshaking() {
        secure.conn.complete_io(&mut secure.sock).map_err(of_tls)?;
    }
    let mut step = conversation.secured();
    loop {
        match step {
            Progress::Send(bytes) => {
                secure.write_all(&bytes).and_then(|()| secure.flush()).map_err(of_tls)?
            }
            Progress::Finished(answer) => {
                // The answer stands, whether the goodbye arrives or not.
                let _ = secure.write_all(&conversation.goodbye());
                secure.conn.send_close_notify();
                let _ = secure.flush();
                return Ok(answer);
            }
            Progress::Wait | Progress::StartTls => return Err(Fault::OutOfOrder),
        }
        step = exchange(&mut conversation, &mut secure)?;
    }
}

/// Reads until the conversation knows what to do next.
fn exchange(conversation: &mut Conversation, stream: &mut impl Read) -> Result<Progress, Fault> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = stream.read(&mut piece).map_err(of_tls)?;
        let bytes = piece.get(..count).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| Fault::Broken("closed by the server".to_owned()))?;
        match conversation.handle(bytes)? {
            Progress::Wait => {}
            step => return Ok(step),
        }
    }
}

fn broken(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Fault::Timeout,
        _ => Fault::Broken(error.to_string()),
    }
}

/// rustls wraps its own errors into those of a stream.
fn of_tls(error: io::Error) -> Fault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => Fault::Tls(inner.to_string()),
        None => broken(error),
    }
}
