//! What sessions ask of whatever carries their packets.

use ipnet::IpNet;
use rempart_openvpn::data::fresh::FreshKey;
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{KeySerial, Path, PeerId};

use crate::shard::Gone;

/// Carries the packets of sessions. Commands keep their order.
pub trait DataPath {
    /// Adds a session whose inner addresses and networks are `own`, or replaces it. `echo` is the key on which the client last
    /// sent, of a session that comes from the other node.
    fn add(&mut self, peer: PeerId, path: Path, own: Vec<IpNet>, echo: Option<KeySerial>)
    -> Result<(), Gone>;
    /// Ends a session.
    fn remove(&mut self, peer: PeerId) -> Result<(), Gone>;
    /// A key of which nothing was used yet.
    fn fresh_key(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Result<(), Gone>;
    /// A key that stays with this program, as all of another process do. Without a sealer nothing is sent under it.
    fn kept_key(
        &mut self,
        peer: PeerId,
        serial: KeySerial,
        opener: Opener,
        sealer: Option<Sealer>,
    ) -> Result<(), Gone>;
    /// Drops a key before its time.
    fn remove_key(&mut self, peer: PeerId, serial: KeySerial) -> Result<(), Gone>;
    /// The session is there from now on.
    fn move_to(&mut self, peer: PeerId, path: Path) -> Result<(), Gone>;
    /// Sends a keep-alive packet.
    fn ping(&mut self, peer: PeerId) -> Result<(), Gone>;
    /// Asks for the counters of all sessions.
    fn report(&mut self) -> Result<(), Gone>;
}
