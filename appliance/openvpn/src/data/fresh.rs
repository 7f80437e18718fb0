//! A key of which nothing was used yet, before it is known who seals with it: this program, or the kernel.
//!
//! The kernel counts packet ids from 1 by itself, so it may have a key only if the whole first range is still there, and whoever
//! has given it a key may never seal under that key again (study §1.7). Both are in the type: a [`FreshKey`] is one key with
//! its untouched first range, and it goes by value to one of the two.

use super::PeerId;
use super::epoch::PacketIdRange;
use super::keys::{DataKeys, IMPLICIT_IV, KEY, KeyId};
use super::opener::Opener;
use super::sealer::{OtherKey, Sealer};

/// A key of which nothing was used yet.
#[derive(Debug)]
pub struct FreshKey {
    keys: DataKeys,
    ids: PacketIdRange,
    peer: PeerId,
}

/// What somebody else needs of a key. Shown by nothing.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// For what is sent: the key, and the implicit IV.
    pub encrypt: (&'a [u8; KEY], [u8; IMPLICIT_IV]),
    /// For what comes.
    pub decrypt: (&'a [u8; KEY], [u8; IMPLICIT_IV]),
}

/// What became of a key that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// It is in use there.
    Taken,
    /// It is certain that nothing was sealed with it, and that nothing will be.
    Refused,
    /// It may be in use there.
    Unknown,
}

impl FreshKey {
    /// `keys` of the session `peer`, with the packet ids of their maker. Refused if those are another key's, or not the whole
    /// first range.
    pub fn new(keys: DataKeys, ids: PacketIdRange, peer: PeerId) -> Result<Self, OtherKey> {
        let fits = ids.print() == keys.print() && ids.is_whole_first();
        fits.then_some(Self { keys, ids, peer }).ok_or(OtherKey)
    }

    /// Which key of its session this is.
    pub fn key_id(&self) -> KeyId {
        self.keys.key_id()
    }

    /// Stays with this program.
    pub fn keep(self) -> Result<(Opener, Sealer), OtherKey> {
        let opener = Opener::new(&self.keys, 0);
        Ok((opener, Sealer::new(&self.keys, self.ids, self.peer)?))
    }

    /// Goes to somebody who counts packet ids from 1 by himself. It comes back only if he has refused it for certain.
    pub fn offer(self, to: impl FnOnce(KeyId, Parts<'_>) -> Offered) -> (Offered, Option<Self>) {
        let parts = Parts { encrypt: self.keys.encrypt(), decrypt: self.keys.decrypt() };
        match to(self.keys.key_id(), parts) {
            Offered::Refused => (Offered::Refused, Some(self)),
            other => (other, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::epoch::{Epoch, EpochBook, Imported, Origin, Parity, Record, Reign, StoreId};
    use crate::data::keys::{BLOCK, End, MATERIAL};

    fn reign(imported: &[Imported]) -> (Reign, Vec<PacketIdRange>) {
        let record = Record { store: StoreId::new([0; 16]), highest: Epoch::new(0) };
        let claim = EpochBook::new(Parity::Even, record).claim().unwrap();
        let (reign, ranges) = claim.persist(|_| Ok::<(), ()>(())).unwrap().take_over(imported);
        (reign, ranges.into_iter().map(Result::unwrap).collect())
    }

    fn made() -> (DataKeys, PacketIdRange) {
        let mut keys = DataKeys::derived(KeyId::of(2), &[7; BLOCK], End::Server);
        let ids = reign(&[]).0.make(&mut keys, None).unwrap().1;
        (keys, ids)
    }

    fn peer() -> PeerId {
        PeerId::new(3).unwrap()
    }

    /// A key that was carried on has another range, one that was used a piece of it, another key's range is another key's: none
    /// of them can be offered to the kernel.
    #[test]
    fn only_an_untouched_key_of_this_process_can_be_given_away() {
        let (keys, ids) = made();
        assert!(FreshKey::new(keys, ids, peer()).is_ok());
        let (keys, mut ids) = made();
        ids.take().unwrap();
        assert!(FreshKey::new(keys, ids, peer()).is_err());
        let carried = DataKeys::replicated(KeyId::of(2), &[9; MATERIAL]);
        let origin = Origin { made: Epoch::new(1), stores: [Some(StoreId::new([0; 16])); 2] };
        let (_, mut ranges) = reign(&[Imported::new(origin, &carried)]);
        assert!(FreshKey::new(carried, ranges.remove(0), peer()).is_err());
        let (_, ids) = made();
        let other = DataKeys::derived(KeyId::of(2), &[8; BLOCK], End::Server);
        assert!(FreshKey::new(other, ids, peer()).is_err());
    }

    /// It comes back only from a certain refusal, and then seals from 1 on.
    #[test]
    fn what_may_be_in_use_elsewhere_does_not_come_back() {
        for (answer, back) in [(Offered::Taken, false), (Offered::Unknown, false), (Offered::Refused, true)] {
            let (keys, ids) = made();
            let expected = (*keys.encrypt().0, keys.decrypt().1);
            let fresh = FreshKey::new(keys, ids, peer()).unwrap();
            let mut seen = None;
            let (said, left) = fresh.offer(|id, parts| {
                seen = Some((id, *parts.encrypt.0, parts.decrypt.1));
                answer
            });
            assert_eq!(seen, Some((KeyId::of(2), expected.0, expected.1)));
            assert_eq!((said, left.is_some()), (answer, back));
            if let Some(fresh) = left {
                let mut datagram = [0; 40];
                fresh.keep().unwrap().1.seal(&mut datagram).unwrap();
                assert_eq!(datagram[..8], [9 << 3 | 2, 0, 0, 3, 0, 0, 0, 1]);
            }
        }
    }
}
