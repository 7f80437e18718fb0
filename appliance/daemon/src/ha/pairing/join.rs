//! The side on which the code is typed.

use std::collections::BTreeSet;
use std::net::{SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use rempart_daemon::tasks::until;
use rempart_pair::pairing::{Code, Join, Output, Seed};
use rempart_plan::ha::ports;
use rempart_system::linkwatch::LinkWatch;
use rempart_system::virtual_link::{Batch, VirtualLink, VirtualLinks};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::stream::Stream;
use super::transfer::Transfer;
use super::{ALL_NODES, ANSWER, DATAGRAM, QUESTION, discovery, person, random, store};
use crate::worker::Shared;

/// How long the other node is looked for. A link that has just been set up takes a second or two to find out that its
/// address is its own (RFC 4862 §5.4).
const SEARCH: Duration = Duration::from_secs(8);
/// How often it is asked for.
const ASK_EVERY: Duration = Duration::from_millis(400);
/// How long other answers are waited for once there is one.
const MORE: Duration = Duration::from_millis(300);
/// How long the connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Devices that are asked on, at most.
const MAX_DEVICES: usize = 64;

/// Finds the offering node and joins it. An error is for the person who typed the code.
pub async fn run(shared: &Shared, code: &Code, device: &str) -> Result<Transfer, String> {
    let device = Some(device).filter(|d| !d.is_empty());
    if let Some(device) = device {
        set_up(device)?;
    }
    let remote = find(device).await?;
    let seed = Seed::new(random().map_err(|error| error.to_string())?);
    let connected = timeout(CONNECT, TcpStream::connect(remote)).await;
    let tcp = connected
        .map_err(|_| "the other node does not take the connection".to_owned())?
        .map_err(|error| format!("the other node does not take the connection: {error}"))?;
    let mut stream = Stream::new(tcp);
    let own = person(&shared.peer.pairing.node, shared.keystore.identity());
    let mut machine = Join::new(Instant::now(), code, own, &seed);
    loop {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Send(message) => {
                    if stream.send(&message).await.is_err() {
                        machine.closed(Instant::now());
                    }
                }
                Output::Store(agreed) => {
                    let done = store(&shared.keystore, &agreed);
                    machine.stored(Instant::now(), done);
                }
                Output::Paired(_, sealed) => return Ok(Transfer::start(stream, sealed)),
                Output::Failed(failure) => {
                    stream.close().await;
                    return Err(failure.to_string());
                }
                // The end of the connection comes with the failure; wrong codes are counted on the other side.
                Output::Close | Output::Wrong { .. } => {}
            }
        }
        tokio::select! {
            message = stream.message() => match message {
                Ok(Some(message)) => machine.received(Instant::now(), &message),
                Ok(None) | Err(_) => machine.closed(Instant::now()),
            },
            () = until(machine.poll_timeout()) => machine.timeout(Instant::now()),
        }
    }
}

/// Sets the link up that a person has named. Links that nobody named are left as they are.
fn set_up(device: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the links cannot be read: {error}");
    let watch = LinkWatch::open().map_err(failed)?;
    let Some(link) = watch.named(device) else { return Err(format!("there is no device {device}")) };
    if link.up {
        return Ok(());
    }
    info!(device, "setting the link up");
    let link = VirtualLink { index: link.index, addresses: Vec::new() };
    let batch = Batch::up(&[link]).map_err(|error| error.to_string())?;
    let mut refused = None;
    let done =
        VirtualLinks::open().and_then(|mut links| links.perform(&batch, |_, errno| refused = Some(errno)));
    done.map_err(failed)?;
    refused.map_or(Ok(()), |errno| Err(format!("{device} cannot be set up: {errno}")))
}

/// The one node that offers, on the named device or on any that is up.
async fn find(device: Option<&str>) -> Result<SocketAddrV6, String> {
    let broken = |error: std::io::Error| format!("the other node cannot be looked for: {error}");
    let socket = discovery().map_err(broken)?;
    let token: [u8; 16] = random().map_err(|error| error.to_string())?;
    let question = [&QUESTION[..], &token].concat();
    let expected = [&ANSWER[..], &token].concat();
    let mut found = BTreeSet::new();
    let mut asked = 0;
    let mut end = Instant::now() + SEARCH;
    let mut next = Instant::now();
    while Instant::now() < end {
        if Instant::now() >= next {
            next = Instant::now() + ASK_EVERY;
            asked = 0;
            for index in devices(device).map_err(broken)? {
                let to = SocketAddrV6::new(ALL_NODES, ports::PAIRING, 0, index);
                // Fails while the link has no address yet.
                asked += usize::from(socket.send_to(&question, SocketAddr::V6(to)).await.is_ok());
            }
        }
        let mut datagram = [0; DATAGRAM + 1];
        tokio::select! {
            received = socket.recv_from(&mut datagram) => {
                if let Ok((length, SocketAddr::V6(from))) = received
                    && datagram[..length] == expected[..]
                    && from.ip().is_unicast_link_local()
                {
                    if found.is_empty() {
                        end = Instant::now() + MORE;
                    }
                    found.insert((from.scope_id(), *from.ip()));
                }
            }
            () = sleep(next.saturating_duration_since(Instant::now()).min(end.saturating_duration_since(Instant::now()))) => {}
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some((scope, ip)), None) => Ok(SocketAddrV6::new(ip, ports::PAIRING, 0, scope)),
        // The same node by two cables has two addresses: any of them will do, but nobody can tell it from two nodes.
        (Some(_), Some(_)) => {
            warn!("several nodes offer to pair");
            Err("several nodes offer to pair, or one by several cables: name the device of the cable to it"
                .into())
        }
        (None, _) if asked == 0 => Err(match device {
            Some(device) => format!("{device} has no IPv6 link-local address: is its cable plugged in?"),
            None => {
                "no device has an IPv6 link-local address: name the one of the cable to the other node".into()
            }
        }),
        (None, _) => {
            Err("no node offers to pair here: show a code on the other one first, and look at the cable"
                .into())
        }
    }
}

/// The links to ask on, by their numbers.
fn devices(named: Option<&str>) -> std::io::Result<Vec<u32>> {
    let watch = LinkWatch::open()?;
    let usable = |link: &&rempart_system::linkwatch::Link| match named {
        Some(name) => link.name == name,
        None => link.up && link.name != "lo",
    };
    Ok(watch.links().filter(usable).map(|link| link.index).take(MAX_DEVICES).collect())
}
