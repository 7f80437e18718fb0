//! The connection table, over ctnetlink: list, create, mark, delete. The program `conntrack` is not needed.
//!
//! Bytes are understood in [`codec`] and nowhere else; this file has the socket and the retries. The crate
//! `netlink-packet-netfilter` is not used: it leaves id, zone, helper, NAT and timestamps unread.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use rempart_config::space::Family;
use serde::{Deserialize, Serialize};

use crate::netlink::{NetlinkError, Socket};

pub mod codec;

/// How often an interrupted listing is begun again.
const MAX_ATTEMPTS: u32 = 5;
/// Most connections of one listing: what 2 GiB of memory hold in the kernel.
pub const MAX_LISTED: usize = 8 << 20;
/// The kernel's queue for answers, in bytes. A listing waits for its reader and needs little.
const RECEIVE_BYTES: usize = 1 << 20;

/// Why the connection table could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}; the daemon needs CAP_NET_ADMIN")]
    Open(#[source] io::Error),
    /// The kernel refused.
    #[error("cannot {verb} the connection table: {source}")]
    Refused {
        /// `list`, `count`, `create in`, `mark in`, `delete from`.
        verb: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The table changed under each attempt, or messages were lost.
    #[error(
        "the connection table could not be read whole in {MAX_ATTEMPTS} attempts; try again when it is quieter"
    )]
    Incomplete,
    /// More connections than can be held.
    #[error("the connection table holds more than {MAX_LISTED} connections")]
    TooMany,
}

/// A tracked connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connection {
    /// The kernel's number for it: different for two connections that follow each other with the same tuples.
    pub id: u32,
    /// The IP version.
    pub family: Family,
    /// IANA protocol number.
    pub protocol: u8,
    /// As the first packet was before translation.
    pub original: Tuple,
    /// As the answers arrive.
    pub reply: Tuple,
    /// What the kernel knows about it.
    pub status: Status,
    /// The mark.
    pub mark: u32,
    /// The zone (`nft ct zone`), 0 as a rule.
    pub zone: u16,
    /// Seconds until it is forgotten.
    pub timeout_s: u32,
    /// For TCP.
    pub tcp: Option<Tcp>,
    /// Packets and bytes from the opener, when accounting is on.
    pub sent: Option<Traffic>,
    /// Packets and bytes to the opener, when accounting is on.
    pub received: Option<Traffic>,
    /// When it was opened, in nanoseconds since 1970, when the kernel keeps that.
    pub started_ns: Option<u64>,
    /// The helper that follows it.
    pub helper: Option<String>,
}

/// One direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// What the protocol adds.
    pub layer4: Layer4,
}

/// What tells apart connections of one protocol between the same addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer4 {
    /// TCP, UDP, SCTP, DCCP, UDP-Lite; for GRE the call ids.
    Ports {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP and ICMPv6.
    Icmp {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
        /// Identifier of an echo.
        id: u16,
    },
    /// Nothing.
    Other,
}

/// Packets and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes, with the IP header.
    pub bytes: u64,
}

/// What the kernel knows about a TCP connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tcp {
    /// The state.
    pub state: TcpState,
    /// Window scale of the opener and of the answerer.
    pub window_scale: [u8; 2],
    /// `IP_CT_TCP_FLAG_*` of the opener and of the answerer.
    pub flags: [u8; 2],
}

/// States of a TCP connection (`linux/netfilter/nf_conntrack_tcp.h`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum TcpState {
    None,
    SynSent,
    SynReceived,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    /// Simultaneous open.
    SynSent2,
    Other(u8),
}

/// Status bits of a connection (`linux/netfilter/nf_conntrack_common.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Status(pub u32);

impl Status {
    /// A helper announced it: it belongs to another connection.
    pub const EXPECTED: u32 = 1;
    /// Packets have been seen in both directions.
    pub const SEEN_REPLY: u32 = 1 << 1;
    /// It is not dropped early when the table is full.
    pub const ASSURED: u32 = 1 << 2;
    /// It is in the table.
    pub const CONFIRMED: u32 = 1 << 3;
    /// Its source is translated.
    pub const SOURCE_NAT: u32 = 1 << 4;
    /// Its destination is translated.
    pub const DESTINATION_NAT: u32 = 1 << 5;
    /// It goes past the ruleset by a flowtable.
    pub const OFFLOAD: u32 = 1 << 14;

    /// Whether any of `bits` is set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// How full the table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Connections now.
    pub count: u32,
    /// Most connections that the kernel takes.
    pub max: u32,
}

/// The hand on the connection table of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    /// A listing was begun and not read to its end, by an error or because its future was dropped: the socket is
    /// not used again.
    dirty: bool,
}

impl Conntrack {
    /// Opens a socket in the network namespace of this thread.
    pub fn new() -> Result<Self, ConntrackError> {
        Ok(Self { socket: open()?, dirty: false })
    }

    /// Every connection, IPv4 and IPv6. The table goes on changing meanwhile: what was there from beginning to
    /// end is in the list.
    pub async fn list(&mut self) -> Result<Vec<Connection>, ConntrackError> {
        for attempt in 1..=MAX_ATTEMPTS {
            let mut list = Vec::new();
            let mut unread = 0u32;
            let done = self
                .clean()?
                .dump(codec::list(), |raw| match codec::decode(raw.payload) {
                    // One too many, to know.
                    Some(connection) if list.len() <= MAX_LISTED => list.push(connection),
                    Some(_) => {}
                    None => unread += 1,
                })
                .await;
            self.dirty = !matches!(done, Ok(()));
            if unread > 0 {
                tracing::debug!(unread, "entries of the connection table that could not be read");
            }
            match done {
                Ok(()) if list.len() > MAX_LISTED => return Err(ConntrackError::TooMany),
                Ok(()) => return Ok(list),
                Err(NetlinkError::Incomplete) => {
                    tracing::debug!(attempt, "the connection table changed under the listing");
                }
                Err(error) => return Err(refused("list", error)),
            }
        }
        Err(ConntrackError::Incomplete)
    }

    /// The socket, for a listing.
    fn clean(&mut self) -> Result<&mut Socket, ConntrackError> {
        self.settle()?;
        self.dirty = true;
        Ok(&mut self.socket)
    }

    /// The socket, for a request.
    fn settle(&mut self) -> Result<&mut Socket, ConntrackError> {
        if self.dirty {
            self.socket = open()?;
            self.dirty = false;
        }
        Ok(&mut self.socket)
    }

    /// How full the table is.
    pub async fn usage(&mut self) -> Result<Usage, ConntrackError> {
        let mut usage = Usage::default();
        let done = self.settle()?.dump(codec::usage(), |raw| usage = codec::decode_usage(raw.payload)).await;
        done.map_err(|e| refused("count", e))?;
        Ok(usage)
    }

    /// How many connections there are.
    pub async fn count(&mut self) -> Result<u32, ConntrackError> {
        Ok(self.usage().await?.count)
    }

    /// The most connections that the kernel takes.
    pub async fn max(&mut self) -> Result<u32, ConntrackError> {
        Ok(self.usage().await?.max)
    }

    /// Puts connections into the table, with their translation. Those that are there already are left as they
    /// are; the number of new ones is returned, and for those that the kernel refused, where they stand in
    /// `connections` and why, at most [`MAX_REFUSALS`].
    pub async fn create(&mut self, connections: &[Connection]) -> Result<Created, ConntrackError> {
        let mut out = Created::default();
        let mut existing = 0;
        let mut refusals = 0;
        let messages = connections.iter().map(codec::create);
        let done = self
            .settle()?
            .request_all(messages, |position, errno| match errno {
                Errno::EEXIST => existing += 1,
                errno => {
                    refusals += 1;
                    if out.refused.len() < MAX_REFUSALS {
                        out.refused.push((position, io::Error::from(errno).to_string()));
                    }
                }
            })
            .await;
        done.map_err(|e| refused("create in", e))?;
        out.created = connections.len() - existing - refusals;
        out.existing = existing;
        Ok(out)
    }

    /// Sets the bits in `mask` of the connection's mark to those of `value`. False when it is gone.
    pub async fn set_mark(
        &mut self,
        connection: &Connection,
        value: u32,
        mask: u32,
    ) -> Result<bool, ConntrackError> {
        found("mark in", self.settle()?.request(codec::set_mark(connection, value, mask)).await)
    }

    /// Forgets a connection; false when it is gone already. A later one with the same addresses is left alone,
    /// because the kernel compares the id.
    pub async fn delete(&mut self, connection: &Connection) -> Result<bool, ConntrackError> {
        found("delete from", self.settle()?.request(codec::delete(connection)).await)
    }

    /// Forgets many connections and returns how many were still there.
    pub async fn delete_all<'a>(
        &mut self,
        connections: impl IntoIterator<Item = &'a Connection>,
    ) -> Result<usize, ConntrackError> {
        let mut asked = 0;
        let mut failed = 0;
        let mut reason = None;
        let messages = connections.into_iter().map(codec::delete).inspect(|_| asked += 1);
        let done = self
            .settle()?
            .request_all(messages, |_, errno| {
                failed += 1;
                if errno != Errno::ENOENT {
                    reason = Some(errno);
                }
            })
            .await;
        done.map_err(|e| refused("delete from", e))?;
        match reason {
            Some(errno) => Err(refused("delete from", NetlinkError::Refused(errno))),
            None => Ok(asked - failed),
        }
    }
}

/// Most refusals of [`Conntrack::create`] that are told apart.
pub const MAX_REFUSALS: usize = 64;

/// What came of [`Conntrack::create`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Created {
    /// How many are new.
    pub created: usize,
    /// How many were there already.
    pub existing: usize,
    /// Where the refused ones stand, and why.
    pub refused: Vec<(usize, String)>,
}

fn open() -> Result<Socket, ConntrackError> {
    Socket::open(SockProtocol::NetlinkNetFilter, 0, RECEIVE_BYTES).map_err(ConntrackError::Open)
}

fn found(verb: &'static str, done: Result<(), NetlinkError>) -> Result<bool, ConntrackError> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.is(Errno::ENOENT) => Ok(false),
        Err(error) => Err(refused(verb, error)),
    }
}

fn refused(verb: &'static str, error: NetlinkError) -> ConntrackError {
    match error {
        NetlinkError::Incomplete => ConntrackError::Incomplete,
        NetlinkError::Refused(errno) => ConntrackError::Refused { verb, source: errno.into() },
        NetlinkError::Io(source) => ConntrackError::Refused { verb, source },
    }
}
