//! The ports between the nodes of a pair. None of them is registered with IANA for anything else.

/// Heartbeats, UDP.
pub const HEARTBEAT: u16 = 47_800;
/// The journal of connections, UDP.
pub const JOURNAL: u16 = 47_801;
/// The peer channel, QUIC.
pub const CHANNEL: u16 = 47_802;
/// Pairing: TCP, and UDP to find the other node.
pub const PAIRING: u16 = 47_803;
