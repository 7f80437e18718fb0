//! The keys of one key exchange, as the control channel hands them over.

use ring::digest::{SHA256, digest};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of an AES-256 key.
pub const KEY: usize = 32;
/// Bytes of the implicit part of a nonce.
pub const IMPLICIT_IV: usize = 8;
/// Bytes that the key exchange makes: for each direction 64 for the cipher and 64 for the HMAC.
pub const BLOCK: usize = 256;
/// Bytes of the two keys and implicit IVs that are used, as the other node gets them.
pub const MATERIAL: usize = 2 * (KEY + IMPLICIT_IV);

/// Which key of a session a packet was sealed with: the low three bits of its first byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(u8);

impl KeyId {
    /// From 0 to 7; `None` for anything else.
    pub const fn new(id: u8) -> Option<Self> {
        if id < 8 { Some(Self(id)) } else { None }
    }

    /// The low three bits of a packet's first byte.
    pub const fn of(first: u8) -> Self {
        Self(first & 7)
    }

    /// 0 to 7.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Which end of the tunnel we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The one that listens.
    Server,
    /// The one that connects: the peer in tests and measurements.
    Client,
}

/// One direction.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Direction {
    key: [u8; KEY],
    iv: [u8; IMPLICIT_IV],
}

impl Direction {
    /// Half `half` of a key block. The draft's "Data channel key": the cipher key is the first bytes of the half's cipher
    /// part, the implicit IV the first bytes of its HMAC part.
    fn of_block(block: &[u8; BLOCK], half: usize) -> Self {
        let mut out = Self { key: [0; KEY], iv: [0; IMPLICIT_IV] };
        let from = |at: usize| block.iter().skip(half * (BLOCK / 2) + at);
        out.key.iter_mut().zip(from(0)).for_each(|(to, from)| *to = *from);
        out.iv.iter_mut().zip(from(64)).for_each(|(to, from)| *to = *from);
        out
    }

    fn of_material(material: &[u8; MATERIAL], half: usize) -> Self {
        let mut out = Self { key: [0; KEY], iv: [0; IMPLICIT_IV] };
        let places = out.key.iter_mut().chain(&mut out.iv);
        places.zip(material.iter().skip(half * (KEY + IMPLICIT_IV))).for_each(|(to, from)| *to = *from);
        out
    }
}

/// The AES-256-GCM keys of both directions. They are wiped when this is dropped and appear in no `Debug`.
pub struct DataKeys {
    key_id: KeyId,
    encrypt: Direction,
    decrypt: Direction,
    /// Made by a key exchange of this process, and not yet given its first range of packet ids.
    fresh: bool,
}

impl DataKeys {
    /// The keys of a key exchange that has just ended in this process. `block` is what the exporter or the PRF gave.
    pub fn derived(key_id: KeyId, block: &[u8; BLOCK], end: End) -> Self {
        // Study §2.1: the server sends with the second half.
        let (send, receive) = match end {
            End::Server => (1, 0),
            End::Client => (0, 1),
        };
        Self {
            key_id,
            encrypt: Direction::of_block(block, send),
            decrypt: Direction::of_block(block, receive),
            fresh: true,
        }
    }

    /// Keys that another process made: the other node, or this one before it was started again. Only a take-over gives
    /// such keys packet ids.
    pub fn replicated(key_id: KeyId, material: &[u8; MATERIAL]) -> Self {
        Self {
            key_id,
            encrypt: Direction::of_material(material, 0),
            decrypt: Direction::of_material(material, 1),
            fresh: false,
        }
    }

    /// What [`Self::replicated`] takes, for the encrypted channel to the other node and for nothing else.
    pub fn material(&self) -> Zeroizing<[u8; MATERIAL]> {
        let mut out = Zeroizing::new([0; MATERIAL]);
        let parts = [&self.encrypt.key[..], &self.encrypt.iv, &self.decrypt.key, &self.decrypt.iv];
        out.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        out
    }

    /// Which key of its session this is.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// What tells this sending key from all others.
    pub fn print(&self) -> KeyPrint {
        let mut input = Zeroizing::new([0; KEY + IMPLICIT_IV]);
        let parts = self.encrypt.key.iter().chain(&self.encrypt.iv);
        input.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        let mut print = [0; 32];
        print.iter_mut().zip(digest(&SHA256, input.as_slice()).as_ref()).for_each(|(to, from)| *to = *from);
        KeyPrint(print)
    }

    /// Whether the range of the maker was not given out yet; afterwards it is.
    pub(super) fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    pub(super) fn encrypt(&self) -> (&[u8; KEY], [u8; IMPLICIT_IV]) {
        (&self.encrypt.key, self.encrypt.iv)
    }

    pub(super) fn decrypt(&self) -> (&[u8; KEY], [u8; IMPLICIT_IV]) {
        (&self.decrypt.key, self.decrypt.iv)
    }
}

impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKeys").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A digest of a sending key and its implicit IV: the same for the same nonces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrint([u8; 32]);

impl std::fmt::Debug for KeyPrint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPrint(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of 0, 1, 2, …: each byte is its place.
    fn counting() -> [u8; BLOCK] {
        std::array::from_fn(|i| i as u8)
    }

    #[test]
    fn the_server_sends_with_the_second_half_and_the_client_with_the_first() {
        let id = KeyId::new(3).unwrap();
        let server = DataKeys::derived(id, &counting(), End::Server);
        let client = DataKeys::derived(id, &counting(), End::Client);
        let (key, iv) = server.encrypt();
        assert_eq!((key[0], key[31], iv[0], iv[7]), (128, 159, 192, 199));
        let (key, iv) = server.decrypt();
        assert_eq!((key[0], key[31], iv[0], iv[7]), (0, 31, 64, 71));
        assert_eq!(server.encrypt(), client.decrypt());
        assert_eq!(server.decrypt(), client.encrypt());
    }

    #[test]
    fn what_the_other_node_gets_makes_the_same_keys_but_not_fresh_ones() {
        let mut made = DataKeys::derived(KeyId::new(7).unwrap(), &counting(), End::Server);
        let mut copy = DataKeys::replicated(made.key_id(), &made.material());
        assert_eq!((copy.encrypt(), copy.decrypt()), (made.encrypt(), made.decrypt()));
        assert_eq!(copy.print(), made.print());
        assert!(made.take_fresh() && !made.take_fresh() && !copy.take_fresh());
    }

    #[test]
    fn nothing_secret_is_shown() {
        let made = DataKeys::derived(KeyId::of(0xff), &counting(), End::Server);
        assert_eq!(format!("{made:?} {:?}", made.print()), "DataKeys { key_id: KeyId(7), .. } KeyPrint(..)");
        assert_eq!(KeyId::new(8), None);
    }
}
