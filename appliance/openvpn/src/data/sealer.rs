//! Sealing data packets under one key.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::epoch::{Exhausted, PacketIdRange};
use super::keys::{DataKeys, IMPLICIT_IV};
use super::{DATA_V2, HEADER, OVERHEAD, PeerId, TAG};

/// A sending key with its packet ids.
pub struct Sealer {
    key: LessSafeKey,
    iv: [u8; IMPLICIT_IV],
    ids: PacketIdRange,
    head: [u8; 4],
}

/// The range of packet ids is another key's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the range of packet ids is not this key's")]
pub struct OtherKey;

/// Why nothing was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotSealed {
    /// No packet id is left.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The buffer has no room for the header, or is larger than the cipher takes.
    #[error("{0} bytes are no data packet")]
    Length(usize),
}

impl Sealer {
    /// With `keys`, for the session `peer`, and with the packet ids that were given for these keys.
    pub fn new(keys: &DataKeys, ids: PacketIdRange, peer: PeerId) -> Result<Self, OtherKey> {
        if ids.print() != keys.print() {
            return Err(OtherKey);
        }
        let (key, iv) = keys.encrypt();
        // The only fault is a key of another length.
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| OtherKey)?;
        let [_, a, b, c] = peer.get().to_be_bytes();
        let head = [DATA_V2 << 3 | keys.key_id().get(), a, b, c];
        Ok(Self { key: LessSafeKey::new(key), iv, ids, head })
    }

    /// Seals in place: `datagram` is [`OVERHEAD`] bytes for us and then what is to be sealed.
    pub fn seal(&mut self, datagram: &mut [u8]) -> Result<(), NotSealed> {
        let length = datagram.len();
        let Some((overhead, text)) = datagram.split_first_chunk_mut::<OVERHEAD>() else {
            return Err(NotSealed::Length(length));
        };
        let id = self.ids.take()?.to_be_bytes();
        let mut header = [0; HEADER];
        header.iter_mut().zip(self.head.iter().chain(&id)).for_each(|(to, from)| *to = *from);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(id, self.iv), Aad::from(header), text)
            .map_err(|_| NotSealed::Length(length))?;
        let places = overhead.iter_mut();
        places.zip(header.iter().chain(tag.as_ref())).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    /// Whether the key should be renewed: three quarters of its packet ids are used.
    pub fn is_due(&self) -> bool {
        self.ids.is_due()
    }

    /// How many packets were sealed.
    pub fn sealed(&self) -> u32 {
        self.ids.used()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("sealed", &self.sealed()).finish_non_exhaustive()
    }
}

/// The nonce of packet `id`.
pub(super) fn nonce(id: [u8; 4], iv: [u8; IMPLICIT_IV]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce.iter_mut().zip(id.iter().chain(&iv)).for_each(|(to, from)| *to = *from);
    Nonce::assume_unique_for_key(nonce)
}

const _: () = assert!(TAG == 16 && NONCE_LEN == 4 + IMPLICIT_IV);
