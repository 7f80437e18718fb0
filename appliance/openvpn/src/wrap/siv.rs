//! Authenticated encryption that stands a repeated nonce: the tag over everything is the IV of the cipher (draft "Control
//! channel packet encryption"). Equal packets give equal bytes, and that is all that shows.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The length of a tag, in bytes.
pub(super) const TAG: usize = 32;

/// A pair of keys in use.
pub(super) struct Siv<'a> {
    pub cipher: &'a [u8; 32],
    pub hmac: &'a [u8; 32],
}

impl Siv<'_> {
    /// The tag and the encrypted bytes.
    pub fn seal(&self, clear: &[&[u8]], plain: &[u8]) -> ([u8; TAG], Vec<u8>) {
        let tag = self.tag(clear, plain).finalize().into_bytes().into();
        let mut cipher = plain.to_vec();
        self.apply(&tag, &mut cipher);
        (tag, cipher)
    }

    /// The plain bytes, if the tag is theirs.
    pub fn open(&self, clear: &[&[u8]], tag: &[u8; TAG], cipher: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Zeroizing::new(cipher.to_vec());
        self.apply(tag, &mut plain);
        self.tag(clear, &plain).verify_slice(tag).ok()?;
        Some(std::mem::take(&mut *plain))
    }

    fn tag(&self, clear: &[&[u8]], plain: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(self.hmac)
            .unwrap_or_else(|_| unreachable!("an HMAC takes any key"));
        for part in clear {
            mac.update(part);
        }
        mac.update(plain);
        mac
    }

    fn apply(&self, tag: &[u8; TAG], bytes: &mut [u8]) {
        let [iv, _] = halves(tag);
        Ctr128BE::<Aes256>::new(self.cipher.into(), iv.into()).apply_keystream(bytes);
    }
}

fn halves(tag: &[u8; TAG]) -> [&[u8; 16]; 2] {
    let (first, rest) = tag.split_first_chunk::<16>().unwrap_or_else(|| unreachable!("a tag has 32 bytes"));
    let second = rest.first_chunk::<16>().unwrap_or_else(|| unreachable!("a tag has 32 bytes"));
    [first, second]
}
