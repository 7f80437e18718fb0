//! How many beginnings are answered: a bucket for all of them and one for each prefix, in a table of fixed size. Two
//! prefixes may share a bucket; which ones, nobody outside can tell.

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Instant;

use siphasher::sip::SipHasher13;

/// Buckets for prefixes, 12 bytes each: a flood from a few thousand networks fills them all, and then the common
/// bucket is what counts.
const BUCKETS: usize = 4096;
/// Answers per second for everybody: what one core can give beside its other work.
const ALL: f32 = 2000.0;
/// Answers per second for one prefix: a company behind one address that comes back at once.
const PREFIX: f32 = 100.0;
/// A bucket holds this many seconds of its rate.
const BURST_S: f32 = 2.0;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f32,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant, rate: f32) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f32();
        self.level = (self.level + passed * rate).min(rate * BURST_S);
        self.at = now;
        let enough = self.level >= 1.0;
        if enough {
            self.level -= 1.0;
        }
        enough
    }
}

#[derive(Debug)]
pub(super) struct Limit {
    seed: [u8; 16],
    all: Bucket,
    prefixes: Vec<Bucket>,
}

impl Limit {
    pub fn new(now: Instant, seed: [u8; 16]) -> Self {
        let full = |rate| Bucket { level: rate * BURST_S, at: now };
        Self { seed, all: full(ALL), prefixes: vec![full(PREFIX); BUCKETS] }
    }

    /// Only what has authenticated is asked; the prefix first, so that one network cannot drain what is for all.
    pub fn allow(&mut self, now: Instant, client: IpAddr) -> bool {
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        match client {
            IpAddr::V4(ip) => hasher.write(ip.octets().first_chunk::<3>().unwrap_or(&[0; 3])),
            IpAddr::V6(ip) => hasher.write(ip.octets().first_chunk::<7>().unwrap_or(&[0; 7])),
        }
        let place = usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or(0);
        let prefix = self.prefixes.get_mut(place);
        prefix.is_some_and(|bucket| bucket.take(now, PREFIX)) && self.all.take(now, ALL)
    }
}
