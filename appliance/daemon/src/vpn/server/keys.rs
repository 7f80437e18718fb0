//! The keys of the data channel: from what the control channel derives to what opens and seals.

use rempart_openvpn::data::epoch::{Imported, NoRange, Origin, PacketIdRange, Reign, StoreId};
use rempart_openvpn::data::fresh::FreshKey;
use rempart_openvpn::data::keys::{BLOCK, DataKeys, End, IMPLICIT_IV, KEY, MATERIAL};
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{KeySerial, PeerId, keys};
use rempart_openvpn::key_exchange;
use rempart_openvpn::packet::KeyId;
use zeroize::Zeroizing;

use super::Data;

/// What the server remembers of a key that is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// As the control channel counts.
    pub id: KeyId,
    /// As the data path counts.
    pub serial: KeySerial,
    /// Its maker.
    pub origin: Origin,
    /// The highest packet id that came under it, as of the last report.
    pub highest: u32,
}

/// A key of this process on its way to the data path.
#[derive(Debug)]
pub struct Ready {
    /// What is remembered of it.
    pub held: Held,
    /// The key, of which nothing was used yet.
    pub key: FreshKey,
}

impl Ready {
    /// For the data path. A client that takes its leave in a data packet is heard only where that is opened, so its keys stay with
    /// this program.
    pub fn data(self, peer: PeerId, says_exit: bool) -> Option<Data> {
        let Self { held: Held { serial, .. }, key } = self;
        if says_exit {
            return Some(Data::FreshKey { peer, serial, key: Box::new(key) });
        }
        // It has its range by its making.
        let (opener, sealer) = key.keep().ok()?;
        Some(Data::KeptKey { peer, serial, opener: Box::new(opener), sealer: Some(Box::new(sealer)) })
    }
}

/// Counts keys, so that no two of the program have one number, and later ones have larger ones.
#[derive(Debug, Default)]
pub struct Serials(u32);

impl Serials {
    /// The next.
    pub fn draw(&mut self) -> KeySerial {
        // 2³² keys are a hundred years of a thousand clients.
        self.0 = self.0.saturating_add(1);
        KeySerial(self.0)
    }
}

/// A key that was derived in this process and in this reign, to be called once for each: its first packet ids are taken
/// here. `None` for a key of another reign.
pub fn fresh(
    reign: &Reign,
    other: Option<StoreId>,
    derived: &key_exchange::DataKeys,
    serial: KeySerial,
    peer: PeerId,
) -> Option<Ready> {
    if derived.made_in != reign.epoch().get() {
        return None;
    }
    let mut block = Zeroizing::new([0; BLOCK]);
    // The draft's "OpenVPN Key", as the server sees it: what it opens with first.
    for (half, direction) in block.chunks_mut(BLOCK / 2).zip([&derived.open, &derived.seal]) {
        half.iter_mut().zip(direction.key).for_each(|(to, from)| *to = from);
        half.iter_mut().skip(64).zip(direction.implicit_iv).for_each(|(to, from)| *to = from);
    }
    let mut keys = DataKeys::derived(data_id(derived.key_id), &block, End::Server);
    let (origin, range) = reign.make(&mut keys, other)?;
    let held = Held { id: derived.key_id, serial, origin, highest: 0 };
    // It has the first range, whole: nobody has used any of it.
    FreshKey::new(keys, range, peer).ok().map(|key| Ready { held, key })
}

/// A key that another process made, as the data path knows it.
pub fn foreign(derived: &key_exchange::DataKeys) -> DataKeys {
    let mut material = Zeroizing::new([0; MATERIAL]);
    for (part, direction) in material.chunks_mut(KEY + IMPLICIT_IV).zip([&derived.seal, &derived.open]) {
        let bytes = direction.key.iter().chain(&direction.implicit_iv);
        part.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }
    DataKeys::replicated(data_id(derived.key_id), &material)
}

/// For the list that a take-over gives ranges to.
pub fn imported(origin: Origin, keys: &DataKeys) -> Imported {
    Imported::new(origin, keys)
}

/// A key that was carried on: it opens, and seals with the range that it got, if any.
pub fn carried(
    held: Held,
    keys: &DataKeys,
    range: Result<PacketIdRange, NoRange>,
    peer: PeerId,
) -> (Opener, Result<Option<Sealer>, NoRange>) {
    (Opener::new(keys, held.highest), range.map(|range| Sealer::new(keys, range, peer).ok()))
}

/// Both count to seven.
fn data_id(id: KeyId) -> keys::KeyId {
    keys::KeyId::of(id.get())
}

#[cfg(test)]
mod tests {
    use rempart_openvpn::data::epoch::{Epoch, EpochBook, Parity, Record};
    use rempart_openvpn::key_exchange::DirectionKey;

    use super::*;

    /// In: a key of this reign, of a client that says EXIT on the control channel and of one that does not. Out: the first one's
    /// comes to the data path unused, the other's opens and seals there; one of another reign comes to nothing.
    #[test]
    fn only_clients_that_say_exit_have_keys_to_give_away() {
        let record = Record { store: StoreId::new([0; 16]), highest: Epoch::new(0) };
        let claim = EpochBook::new(Parity::Even, record).claim().unwrap();
        let reign = claim.persist(|_| Ok::<(), ()>(())).unwrap().take_over(&[]).0;
        let peer = PeerId::new(3).unwrap();
        let made = |made_in| {
            let direction = |n| DirectionKey { key: [n; 32], implicit_iv: [n; 8] };
            let key_id = KeyId::new(0).unwrap();
            let derived = key_exchange::DataKeys { key_id, made_in, open: direction(1), seal: direction(2) };
            fresh(&reign, None, &derived, KeySerial(7), peer)
        };
        let ready = || made(reign.epoch().get()).unwrap();
        assert!(matches!(ready().data(peer, true), Some(Data::FreshKey { serial: KeySerial(7), .. })));
        match ready().data(peer, false) {
            Some(Data::KeptKey { sealer: Some(mut sealer), .. }) => {
                let mut datagram = [0; 40];
                sealer.seal(&mut datagram).unwrap();
                assert_eq!(datagram[..8], [9 << 3, 0, 0, 3, 0, 0, 0, 1]);
            }
            other => panic!("{other:?}"),
        }
        assert!(made(reign.epoch().get() + 2).is_none());
    }
}
