//! What sessions ask of whatever carries their packets.

use ipnet::IpNet;
use rempart_openvpn::data::fresh::FreshKey;
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{KeySerial, Path, PeerId};

use crate::shard::{Gone, Shard};

/// Carries the packets of sessions. Commands keep their order.
pub trait DataPath {
    /// Adds a session whose inner addresses and networks are `own`, or replaces it. `echo` is the key on which the client last
    /// sent, of a session that comes from the other node.
    fn add(&mut self, peer: PeerId, path: Path, own: Vec<IpNet>, echo: Option<KeySerial>)
    -> Result<(), Gone>;
    /// Ends a session.
    fn remove(&mut self, peer: PeerId) -> Result<(), Gone>;
    /// A key of this process.
    fn fresh_key(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Result<(), Gone>;
    /// A key of another process. Without a sealer nothing is sent under it.
    fn carried_key(
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

impl DataPath for Shard {
    fn add(
        &mut self,
        peer: PeerId,
        path: Path,
        own: Vec<IpNet>,
        echo: Option<KeySerial>,
    ) -> Result<(), Gone> {
        Self::add(self, peer, path, own, echo)
    }

    fn remove(&mut self, peer: PeerId) -> Result<(), Gone> {
        Self::remove(self, peer)
    }

    fn fresh_key(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Result<(), Gone> {
        match key.keep() {
            Ok((opener, sealer)) => self.carried_key(peer, serial, opener, Some(sealer)),
            // A fresh key has a range of its own by its making; without one it is of no use.
            Err(_) => Ok(()),
        }
    }

    fn carried_key(
        &mut self,
        peer: PeerId,
        serial: KeySerial,
        opener: Opener,
        sealer: Option<Sealer>,
    ) -> Result<(), Gone> {
        self.open_with(peer, serial, opener)?;
        sealer.map_or(Ok(()), |sealer| self.seal_with(peer, serial, sealer))
    }

    fn remove_key(&mut self, peer: PeerId, serial: KeySerial) -> Result<(), Gone> {
        Self::remove_key(self, peer, serial)
    }

    fn move_to(&mut self, peer: PeerId, path: Path) -> Result<(), Gone> {
        Self::move_to(self, peer, path)
    }

    fn ping(&mut self, peer: PeerId) -> Result<(), Gone> {
        Self::ping(self, peer)
    }

    fn report(&mut self) -> Result<(), Gone> {
        Self::report(self)
    }
}
