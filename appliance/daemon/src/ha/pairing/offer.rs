//! The side that shows the code.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Instant;

use rempart_daemon::tasks::until;
use rempart_pair::pairing::{Failure, Offer, Output, Sealed, Seed};
use rempart_plan::ha::ports;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::stream::Stream;
use super::{ANSWER, DATAGRAM, QUESTION, State, discovery, random, store, transfer};
use crate::worker::Shared;

/// Connections that wait for the one before to end.
const BACKLOG: i32 = 4;

/// What listens while an offer lasts.
pub struct Sockets {
    listener: TcpListener,
    questions: UdpSocket,
}

impl Sockets {
    /// Opens both. The one before may be about to close.
    pub async fn open() -> io::Result<Self> {
        let mut attempts = 0;
        loop {
            match Self::try_open() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < 20 => {
                    attempts += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                result => return result,
            }
        }
    }

    fn try_open() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(true)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, ports::PAIRING, 0, 0);
        socket.bind(&any.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self { listener: TcpListener::from_std(socket.into())?, questions: discovery()? })
    }
}

enum Turn {
    Question(io::Result<(usize, SocketAddr)>),
    Connection(io::Result<(tokio::net::TcpStream, SocketAddr)>),
    Message(io::Result<Option<Vec<u8>>>),
    Time,
    Cancelled,
}

/// Runs an offer to its end.
pub async fn run(
    shared: Arc<Shared>,
    sockets: Sockets,
    mut machine: Offer,
    mut cancelled: watch::Receiver<bool>,
) {
    let mut connection: Option<Stream> = None;
    let mut datagram = [0; DATAGRAM + 1];
    let end = loop {
        if let Some(end) = drain(&shared, &mut machine, &mut connection).await {
            break end;
        }
        let busy = connection.is_some();
        let turn = tokio::select! {
            question = sockets.questions.recv_from(&mut datagram) => Turn::Question(question),
            accepted = sockets.listener.accept(), if !busy => Turn::Connection(accepted),
            message = next(&mut connection), if busy => Turn::Message(message),
            () = until(machine.poll_timeout()) => Turn::Time,
            // The sender is dropped when the program ends.
            _ = cancelled.changed() => Turn::Cancelled,
        };
        let now = Instant::now();
        match turn {
            Turn::Question(Ok((length, from))) => answer(&sockets.questions, &datagram[..length], from).await,
            Turn::Question(Err(error)) => debug!(%error, "pairing"),
            Turn::Connection(Ok((tcp, from))) if link_local(from) => match random() {
                Ok(seed) => {
                    connection = Some(Stream::new(tcp));
                    machine.opened(now, Seed::new(seed));
                }
                Err(error) => warn!(%error, "pairing"),
            },
            Turn::Connection(Ok((_, from))) => debug!(%from, "pairing is for the nearest cable only"),
            Turn::Connection(Err(error)) => debug!(%error, "pairing"),
            Turn::Message(Ok(Some(message))) => machine.received(now, &message),
            Turn::Message(Ok(None) | Err(_)) => {
                connection = None;
                machine.closed(now);
            }
            Turn::Time => machine.timeout(now),
            Turn::Cancelled => machine.cancel(now),
        }
    };
    drop(sockets);
    let pairing = &shared.peer.pairing;
    match end {
        Ok(sealed) => {
            pairing.show(State::Rest, None, None);
            if let Some(stream) = connection
                && let Err(error) = transfer::serve(stream, sealed, shared.peer.bus()).await
            {
                debug!(%error, "the connection of the pairing");
            }
        }
        // Whoever cancelled it shows what comes after it.
        Err(Failure::Cancelled) => {}
        Err(failure) => {
            warn!(%failure, "no pair");
            pairing.show(State::Failed, Some(failure.to_string()), None);
        }
    }
}

async fn next(connection: &mut Option<Stream>) -> io::Result<Option<Vec<u8>>> {
    match connection {
        Some(stream) => stream.message().await,
        None => std::future::pending().await,
    }
}

/// Does what the machine wants; gives its end.
async fn drain(
    shared: &Shared,
    machine: &mut Offer,
    connection: &mut Option<Stream>,
) -> Option<Result<Sealed, Failure>> {
    let mut end = None;
    while let Some(output) = machine.poll_output() {
        match output {
            Output::Send(message) => {
                if let Some(stream) = connection
                    && stream.send(&message).await.is_err()
                {
                    *connection = None;
                    machine.closed(Instant::now());
                }
            }
            Output::Close => {
                if let Some(stream) = connection.take() {
                    tokio::spawn(stream.close());
                }
            }
            Output::Wrong { left } => info!(left, "a wrong pairing code was tried"),
            Output::Store(agreed) => {
                let done = store(&shared.keystore, &agreed);
                machine.stored(Instant::now(), done);
            }
            Output::Paired(_, sealed) => end = Some(Ok(sealed)),
            Output::Failed(failure) => end = Some(Err(failure)),
        }
    }
    end
}

async fn answer(questions: &UdpSocket, question: &[u8], from: SocketAddr) {
    let Some(token) = question.strip_prefix(QUESTION).filter(|_| question.len() == DATAGRAM) else { return };
    if !link_local(from) {
        return;
    }
    if let Err(error) = questions.send_to(&[&ANSWER[..], token].concat(), from).await {
        debug!(%error, "pairing");
    }
}

/// Nobody beyond the cable can have such an address.
fn link_local(from: SocketAddr) -> bool {
    matches!(from, SocketAddr::V6(from) if from.ip().is_unicast_link_local())
}
