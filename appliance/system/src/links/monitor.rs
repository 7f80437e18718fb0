//! News of links, addresses and routes. What changed is said only as far as someone must look again: the truth is
//! always read anew with [`super::Links::observe`].

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::SockProtocol;
use rempart_config::model::Device;
use tokio::sync::mpsc;

use super::{LinksError, name_of};
use crate::netlink::{NetlinkError, Socket};

/// Multicast groups of rtnetlink (`linux/rtnetlink.h`), as bits.
const GROUPS: u32 = 1 << 0 // RTNLGRP_LINK
    | 1 << 4 // RTNLGRP_IPV4_IFADDR
    | 1 << 6 // RTNLGRP_IPV4_ROUTE
    | 1 << 8 // RTNLGRP_IPV6_IFADDR
    | 1 << 10; // RTNLGRP_IPV6_ROUTE
/// How many changes wait for a slow listener; more wait in the kernel, and when that is full too, one
/// [`Change::Missed`] stands for what was lost.
const QUEUE: usize = 64;
/// The kernel's queue, in bytes: some thousand changes.
const RECEIVE_BYTES: usize = 1 << 20;

/// Something about the network changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A device appeared or changed.
    Link {
        /// Which.
        device: Device,
        /// Administratively up.
        up: bool,
        /// The cable is plugged and the other side answers.
        carrier: bool,
    },
    /// A device went away.
    LinkGone {
        /// Which.
        device: Device,
    },
    /// An address came or went.
    Address,
    /// A route came or went.
    Route,
    /// Changes came faster than they were read: look at everything again.
    Missed,
}

/// A stream of changes. Dropping it ends its task.
#[derive(Debug)]
pub struct Monitor {
    changes: mpsc::Receiver<Change>,
    reader: tokio::task::JoinHandle<()>,
}

impl Monitor {
    /// The next change; `None` after the socket has failed, which is logged.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Watches the network namespace of this thread from now on.
pub fn monitor() -> Result<Monitor, LinksError> {
    let socket = Socket::open(SockProtocol::NetlinkRoute, GROUPS, RECEIVE_BYTES).map_err(LinksError::Open)?;
    let (sender, changes) = mpsc::channel(QUEUE);
    Ok(Monitor { changes, reader: tokio::spawn(read(socket, sender)) })
}

async fn read(mut socket: Socket, sender: mpsc::Sender<Change>) {
    loop {
        let changes = match socket.receive().await {
            Ok(bytes) => changes(bytes),
            Err(NetlinkError::Incomplete) => vec![Change::Missed],
            Err(error) => {
                tracing::error!(%error, "watching the network has ended");
                return;
            }
        };
        for change in changes {
            if sender.send(change).await.is_err() {
                return;
            }
        }
    }
}

fn changes(bytes: &[u8]) -> Vec<Change> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else {
            // What cannot be read may have mattered.
            out.push(Change::Missed);
            return out;
        };
        let len = usize::try_from(message.header.length).unwrap_or(usize::MAX).max(1);
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        out.extend(change(&message.payload));
    }
    out.dedup();
    out
}

fn change(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<Change> {
    let NetlinkPayload::InnerMessage(message) = payload else { return None };
    match message {
        RouteNetlinkMessage::NewLink(link) => Some(Change::Link {
            device: name_of(link)?,
            up: has(link, LinkFlags::Up),
            carrier: has(link, LinkFlags::LowerUp),
        }),
        // A device that leaves a bridge is announced as deleted, in the family of bridges.
        RouteNetlinkMessage::DelLink(link) if link.header.interface_family == AddressFamily::Bridge => {
            Some(Change::Link {
                device: name_of(link)?,
                up: has(link, LinkFlags::Up),
                carrier: has(link, LinkFlags::LowerUp),
            })
        }
        RouteNetlinkMessage::DelLink(link) => Some(Change::LinkGone { device: name_of(link)? }),
        RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => Some(Change::Address),
        RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => Some(Change::Route),
        _ => None,
    }
}

fn has(link: &LinkMessage, flag: LinkFlags) -> bool {
    link.header.flags.contains(flag)
}
