//! What a session chooses: its half of the key exchange, the name of a login, how much earlier a key is renewed.

use std::time::Duration;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::key_exchange::Randoms;
use crate::token::LoginId;

/// Random bytes for what a session has to choose: 32 of them from the system's source, new for each session and each import.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// From the system's random source.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }
}

/// HMAC-SHA256 of a counter, under the seed.
pub(super) struct Random {
    seed: Seed,
    counter: u64,
}

impl Random {
    pub fn new(seed: Seed) -> Self {
        Self { seed, counter: 0 }
    }

    fn block(&mut self) -> Zeroizing<[u8; 32]> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.seed.0)
            .unwrap_or_else(|_| unreachable!("an HMAC takes any key"));
        mac.update(&self.counter.to_be_bytes());
        self.counter += 1;
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    pub fn randoms(&mut self) -> Randoms {
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(&self.block()[..]);
        bytes[32..].copy_from_slice(&self.block()[..]);
        Randoms::new(&bytes)
    }

    pub fn login(&mut self) -> LoginId {
        let mut login = [0; 12];
        login.copy_from_slice(&self.block()[..12]);
        LoginId(login)
    }

    /// Up to a tenth of a time.
    pub fn part_of(&mut self, time: Duration) -> Duration {
        let [first, ..] = *self.block();
        time / 10 * u32::from(first) / 256
    }
}
