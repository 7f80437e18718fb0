//! Opening data packets under one key.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Tag, UnboundKey};

use super::keys::{DataKeys, IMPLICIT_IV, KeyId};
use super::sealer::nonce;
use super::window::Window;
use super::{HEADER, OVERHEAD};

/// A receiving key, and which packets have come.
pub struct Opener {
    key: LessSafeKey,
    iv: [u8; IMPLICIT_IV],
    key_id: KeyId,
    window: Window,
}

/// Why a data packet was not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Shorter than an empty packet.
    #[error("too short for a data packet")]
    Short,
    /// It came before, or is too old to tell.
    #[error("packet id {0} came before")]
    Replayed(u32),
    /// Not sealed with this key.
    #[error("not sealed with this key")]
    Forged,
}

impl Opener {
    /// With `keys`. `highest` is the highest packet id that is known to have come under them: 0 for new keys.
    pub fn new(keys: &DataKeys, highest: u32) -> Self {
        let (key, iv) = keys.decrypt();
        // The array has the length of the key.
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes");
        let (key, key_id) = (LessSafeKey::new(key), keys.key_id());
        Self { key, iv, key_id, window: Window::above(highest) }
    }

    /// Which key of its session this is.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The highest packet id that has come.
    pub fn highest(&self) -> u32 {
        self.window.highest()
    }

    /// Whether the packet could be new, without looking at its seal.
    pub fn may_be_new(&self, datagram: &[u8]) -> bool {
        packet_id(datagram).is_some_and(|id| self.window.allows(id))
    }

    /// Opens in place and returns what was in it: the part of `datagram` after the first [`OVERHEAD`] bytes. After a
    /// failure the rest of `datagram` is destroyed.
    pub fn open<'d>(&mut self, datagram: &'d mut [u8]) -> Result<&'d mut [u8], Refused> {
        let id = packet_id(datagram).ok_or(Refused::Short)?;
        let (overhead, text) = datagram.split_first_chunk_mut::<OVERHEAD>().ok_or(Refused::Short)?;
        let (header, tag) = overhead.split_first_chunk::<HEADER>().ok_or(Refused::Short)?;
        if !self.window.allows(id) {
            return Err(Refused::Replayed(id));
        }
        let tag = Tag::try_from(tag).map_err(|_| Refused::Short)?;
        let nonce = nonce(id.to_be_bytes(), self.iv);
        let text = self
            .key
            .open_in_place_separate_tag(nonce, Aad::from(header), tag, text, 0..)
            .map_err(|_| Refused::Forged)?;
        self.window.note(id);
        Ok(text)
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key_id = self.key_id;
        f.debug_struct("Opener")
            .field("key_id", &key_id)
            .field("highest", &self.highest())
            .finish_non_exhaustive()
    }
}

fn packet_id(datagram: &[u8]) -> Option<u32> {
    let header = datagram.first_chunk::<HEADER>()?;
    Some(u32::from_be_bytes(*header.last_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::aead::NONCE_LEN;

    use super::*;
    use crate::data::epoch::{Epoch, EpochBook, PacketIdRange, Parity, Record, StoreId};
    use crate::data::keys::{BLOCK, End};
    use crate::data::sealer::Sealer;
    use crate::data::{PING, PeerId};

    fn range(keys: &mut DataKeys) -> PacketIdRange {
        let record = Record { store: StoreId::new([0; 16]), highest: Epoch::new(0) };
        let claim = EpochBook::new(Parity::Even, record).claim().unwrap();
        let (reign, _) = claim.persist(|_| Ok::<(), ()>(())).unwrap().take_over(&[]);
        reign.make(keys, None).unwrap().1
    }

    fn ends(block: &[u8; BLOCK]) -> (Sealer, Opener) {
        let id = KeyId::new(5).unwrap();
        let mut keys = DataKeys::derived(id, block, End::Server);
        let ids = range(&mut keys);
        let sealer = Sealer::new(&keys, ids, PeerId::new(0x01_02_03).unwrap()).unwrap();
        (sealer, Opener::new(&DataKeys::derived(id, block, End::Client), 0))
    }

    fn sealed(sealer: &mut Sealer, text: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; OVERHEAD];
        datagram.extend_from_slice(text);
        sealer.seal(&mut datagram).unwrap();
        datagram
    }

    /// The layout of the draft, rebuilt by hand: header, tag before the text, nonce of packet id and IV.
    #[test]
    fn a_packet_is_laid_out_as_the_draft_says() {
        let block: [u8; BLOCK] = std::array::from_fn(|i| i as u8);
        let (mut sealer, _) = ends(&block);
        let datagram = sealed(&mut sealer, &PING);
        assert_eq!(datagram[..8], [9 << 3 | 5, 1, 2, 3, 0, 0, 0, 1]);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &block[128..160]).unwrap());
        let mut nonce = [0; NONCE_LEN];
        nonce[3] = 1;
        nonce[4..].copy_from_slice(&block[192..200]);
        let nonce = ring::aead::Nonce::assume_unique_for_key(nonce);
        let mut text = PING;
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&datagram[..8]), &mut text).unwrap();
        assert_eq!(&datagram[8..24], tag.as_ref());
        assert_eq!(datagram[24..], text);
        assert_eq!(sealed(&mut sealer, &PING)[4..8], [0, 0, 0, 2]);
    }

    #[test]
    fn a_range_of_another_key_is_refused() {
        let id = KeyId::of(0);
        let mut one = DataKeys::derived(id, &[1; BLOCK], End::Server);
        let two = DataKeys::derived(id, &[2; BLOCK], End::Server);
        assert!(Sealer::new(&two, range(&mut one), PeerId::new(1).unwrap()).is_err());
    }

    proptest! {
        /// What is sealed opens once; with any bit changed, or cut anywhere, it does not open and is not noted.
        #[test]
        fn what_is_sealed_opens_once_and_nothing_else_does(
            block in proptest::array::uniform32(any::<u8>()),
            text in proptest::collection::vec(any::<u8>(), 0..1600),
            at: prop::sample::Index, bit in 0..8u8,
        ) {
            let block: [u8; BLOCK] = std::array::from_fn(|i| block[i % 32].wrapping_add((i / 32) as u8));
            let (mut sealer, mut opener) = ends(&block);
            let good = sealed(&mut sealer, &text);
            let mut bad = good.clone();
            bad[at.index(good.len())] ^= 1 << bit;
            prop_assert!(opener.open(&mut bad).is_err());
            let cut = at.index(good.len());
            prop_assert!(opener.open(&mut good.clone()[..cut]).is_err());
            prop_assert_eq!(opener.highest(), 0);
            let mut once = good.clone();
            prop_assert_eq!(opener.open(&mut once).unwrap(), text.as_slice());
            let mut twice = good;
            prop_assert_eq!(opener.open(&mut twice).unwrap_err(), Refused::Replayed(1));
        }
    }
}
