//! What the fuzz target `ovpn` does, and what replays its corpus.

use rempart_system::ovpn::{family_of, notice_of, peer_of};

/// Reads a message of the family, in each way that one can be read. Whether it was any.
pub fn ovpn(data: &[u8]) -> bool {
    let peer = peer_of(data);
    let notice = notice_of(data);
    // A command is one thing.
    assert!(peer.is_none() || notice.is_none());
    peer.is_some() || notice.is_some() || family_of(data).is_some()
}
