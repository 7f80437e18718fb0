//! A DHCPv4 client (RFC 2131): the lease of one interface, as a stream.
//!
//! Why not one of the existing ones: mozim 0.3.4 passes over DHCPNAK while it requests, renews and rebinds, goes on
//! requesting an offer whose server has gone for as long as it may, and never looks for a device that came back
//! under another number; busybox's client is a program and a shell script more. This one is a machine without
//! clock or socket ([`machine`]), a codec ([`codec`]) and the driver below.
//!
//! It works past the ruleset and the routing table, on a packet socket: the ruleset needs no opening for it, and
//! nothing but answers to port 68 ever reaches it. It neither sets addresses nor routes.
//!
//! Task: one driver per client.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::net::if_::InterfaceFlags;
use rempart_config::model::Device;
use rempart_plan::Lease;
use tokio::sync::mpsc;

use crate::links::{Change, Monitor, monitor};
use crate::packet::PacketSocket;

pub mod codec;
pub mod machine;

use codec::Mac;
use machine::{Client, Event};

/// How many events wait for a slow listener.
const QUEUE: usize = 8;
/// The pause after the socket or the device has failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often a device that does not exist is looked for, besides when the kernel announces one.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// A frame of Ethernet, as far as it can carry an answer.
const FRAME: usize = 1600;

/// What the client sends of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The name of the node (option 12).
    pub host_name: Option<String>,
    /// The address of the last lease, if the program was restarted: it is asked for first.
    pub previous: Option<Ipv4Addr>,
}

/// The lease of an interface, as it changes. Dropping it ends the client; the lease is not given back, because a
/// restarted program will ask for it again.
#[derive(Debug)]
pub struct Dhcp {
    leases: mpsc::Receiver<Option<Lease>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Dhcp {
    /// Starts a client for `device` in the network namespace of this thread. The device may be missing or without
    /// link; the client waits for it. Needs a Tokio runtime, and CAP_NET_RAW.
    pub fn start(device: Device, options: Options) -> Self {
        let (sender, leases) = mpsc::channel(QUEUE);
        Self { leases, driver: tokio::spawn(drive(device, options, sender)) }
    }

    /// Waits for news: a lease that was granted or renewed, or `None` when it is over. Cancel-safe.
    pub async fn next(&mut self) -> Option<Lease> {
        match self.leases.recv().await {
            Some(news) => news,
            // The driver ends only with its receiver, so nothing will come any more.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Dhcp {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The device, as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Present {
    index: u32,
    mac: Mac,
    /// Administratively up.
    up: bool,
    /// Up, and with carrier.
    running: bool,
}

async fn drive(device: Device, options: Options, sender: mpsc::Sender<Option<Lease>>) {
    let mut client: Option<Client> = None;
    loop {
        match session(&device, &options, &mut client, &sender).await {
            Ok(Never) => return,
            Err(error) => tracing::debug!(%device, %error, "DHCP waits for its device"),
        }
        if sender.is_closed() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The listener has gone.
struct Never;

/// Runs on one socket until that or the device fails. The lease lives on in `client`.
async fn session(
    device: &Device,
    options: &Options,
    client: &mut Option<Client>,
    sender: &mpsc::Sender<Option<Lease>>,
) -> io::Result<Never> {
    let mut changes = monitor().map_err(io::Error::other)?;
    let mut present = wait_for(device, &mut changes, client, sender).await?;
    let socket = PacketSocket::open(present.index, &codec::FILTER)?;
    let client = match client {
        Some(known) if known.mac() == present.mac => known,
        // Another card: another client.
        other => {
            if other.as_ref().is_some_and(Client::has_lease) && sender.send(None).await.is_err() {
                return Ok(Never);
            }
            let random = RandomState::new().hash_one((device, present.mac, Instant::now()));
            let fresh =
                Client::new(Instant::now(), present.mac, options.host_name.clone(), options.previous, random);
            other.insert(fresh)
        }
    };
    // Whatever was before, the device has just come.
    client.handle_link(Instant::now(), false);
    client.handle_link(Instant::now(), present.running);
    let mut frame = vec![0; FRAME];
    loop {
        client.handle_timeout(Instant::now());
        while let Some(frame) = client.poll_transmit() {
            // A link that has just gone refuses; the machine asks again in time.
            if let Err(error) = socket.send(&frame).await {
                tracing::debug!(%device, %error, "DHCP question not sent");
            }
        }
        while let Some(event) = client.poll_event() {
            let news = match event {
                Event::Bound(lease) => {
                    tracing::info!(%device, address = %lease.address, "DHCP lease");
                    Some(lease)
                }
                Event::Lost => {
                    tracing::warn!(%device, "DHCP lease lost; the address is given up, asking for a new one");
                    None
                }
            };
            if sender.send(news).await.is_err() {
                return Ok(Never);
            }
        }
        tokio::select! {
            received = socket.receive(&mut frame) => {
                let len = received?;
                client.handle_frame(Instant::now(), frame.get(..len).unwrap_or(&[]));
            }
            change = changes.next() => {
                if !concerns(&change, device) {
                    continue;
                }
                match look(device)? {
                    Some(now) if (now.index, now.mac) == (present.index, present.mac) => {
                        present = now;
                        client.handle_link(Instant::now(), now.running);
                    }
                    Some(_) | None => {
                        client.handle_link(Instant::now(), false);
                        return Err(io::Error::new(io::ErrorKind::NotFound, "the device has gone or changed"));
                    }
                }
                if change.is_none() {
                    return Err(io::Error::other("watching the network has ended"));
                }
            }
            () = until(client.poll_timeout()) => {}
            () = sender.closed() => return Ok(Never),
        }
    }
}

/// Waits until the device exists and is up. Meanwhile a lease may come to its end.
async fn wait_for(
    device: &Device,
    changes: &mut Monitor,
    client: &mut Option<Client>,
    sender: &mpsc::Sender<Option<Lease>>,
) -> io::Result<Present> {
    loop {
        // A socket on a device that is down would fail at once.
        if let Some(present) = look(device)?.filter(|p| p.up) {
            return Ok(present);
        }
        if let Some(client) = client {
            client.handle_link(Instant::now(), false);
            client.handle_timeout(Instant::now());
            while let Some(event) = client.poll_event() {
                if event == Event::Lost && sender.send(None).await.is_err() {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
        tokio::select! {
            change = changes.next() => if change.is_none() {
                return Err(io::Error::other("watching the network has ended"));
            },
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = until(client.as_ref().and_then(Client::poll_timeout)) => {}
            () = sender.closed() => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn concerns(change: &Option<Change>, device: &Device) -> bool {
    match change {
        Some(Change::Link { device: d, .. } | Change::LinkGone { device: d }) => d == device,
        Some(Change::Missed) | None => true,
        Some(Change::Address | Change::Route) => false,
    }
}

/// The device as it is now; `None` when there is none, or it is no Ethernet device.
fn look(device: &Device) -> io::Result<Option<Present>> {
    for entry in nix::ifaddrs::getifaddrs()? {
        if entry.interface_name != device.as_str() {
            continue;
        }
        let link = entry.address.as_ref().and_then(|a| a.as_link_addr());
        if let Some(mac) = link.and_then(|l| l.addr()).filter(|m| *m != [0; 6])
            && let Some(index) = link.and_then(|l| u32::try_from(l.ifindex()).ok())
        {
            let up = entry.flags.contains(InterfaceFlags::IFF_UP);
            let running = up && entry.flags.contains(InterfaceFlags::IFF_RUNNING);
            return Ok(Some(Present { index, mac, up, running }));
        }
    }
    Ok(None)
}
