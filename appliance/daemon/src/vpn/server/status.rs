//! What the server shows of itself: plain values, for the bus and the console.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The server at an instant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// It serves: this node is active, and there is a plan and a certificate.
    pub serving: bool,
    /// Who is on, in the order of [`SessionStatus::id`].
    pub sessions: Vec<SessionStatus>,
    /// The kernel is to carry sessions, and this is why it does not.
    pub offload_fault: Option<String>,
    /// Since the program was started.
    pub counters: Counters,
}

/// A session that is up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionStatus {
    /// Names it: the peer id.
    pub id: u32,
    /// Who.
    pub user: String,
    /// The device, where a certificate was shown.
    pub device: Option<String>,
    /// The group whose addresses and options it has.
    pub group: String,
    /// When it began, in seconds since 1970. A take-over changes nothing about it.
    pub since_unix_s: u64,
    /// Where the client is.
    pub from: SocketAddr,
    /// By TCP.
    pub tcp: bool,
    /// Its addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// Networks behind it.
    pub networks: Vec<IpNet>,
    /// Bytes from the client, as of the last count, some seconds ago.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// The cipher of the data channel: there is only one.
    pub cipher: &'static str,
    /// The client's program and version, as it says; empty after a take-over until it renews its key.
    pub client: String,
    /// When its key was last renewed, in seconds since 1970.
    pub renewed_unix_s: Option<u64>,
    /// It was carried on from the other node.
    pub carried_on: bool,
    /// The kernel carries it, in both directions.
    pub in_kernel: bool,
}

/// What has happened since the program was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Clients that came in.
    pub connected: u64,
    /// Logins that were refused.
    pub refused: u64,
    /// Logins whose verdict took so long that the client was told to wait.
    pub pending: u64,
    /// Sessions that ended.
    pub ended: u64,
    /// Keys that were renewed.
    pub renewed: u64,
    /// Clients that changed their address.
    pub moved: u64,
    /// Sessions that were taken over from the other node.
    pub carried_on: u64,
    /// Sessions of the other node that could not be carried on.
    pub lost: u64,
    /// Beginnings that were dropped: no form, no key of ours, too many.
    pub strays: u64,
    /// Packets of the control channel that their session did not take.
    pub dropped: u64,
}
