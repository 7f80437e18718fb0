//! Wrong tries cost time.
//!
//! Three counts, each with a delay that doubles:
//!
//! ```text
//!   one user from one prefix   3 free, then 1 s, 2 s, … 15 min      a guesser, a wrong stored password
//!   one prefix                10 free, then 1 s, 2 s, … 15 min      one password for many users
//!   one user from anywhere    10 free, then 1 s, 2 s, … 30 s        a guesser with many addresses
//! ```
//!
//! A try that comes too early is refused without a look at the password, and makes the wait no longer: so whoever floods cannot
//! shut anyone out for good. The third count, the only one that strangers can raise for somebody, stays at half a minute and does
//! not touch a client with the certificate of the user's own device, nor a prefix from which the user came in lately.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Counts in the table, about 1 MB. When it is full, the one that would be forgotten first goes.
const MAX_ENTRIES: usize = 8_192;
/// A count is forgotten so long after its last wrong try.
const MEMORY: Duration = Duration::from_secs(3600);
/// A prefix from which a user came in is remembered so long: a working week.
const TRUSTED: Duration = Duration::from_secs(7 * 86_400);
/// Prefixes that are remembered, over all users.
const MAX_TRUSTED: usize = 8_192;
/// Wrong tries without delay: one user from one prefix.
const FREE_PAIR: u32 = 3;
/// Wrong tries without delay otherwise: a brigade behind one address has a few on a Monday.
const FREE_WIDE: u32 = 10;
const LONGEST: Duration = Duration::from_secs(900);
const LONGEST_USER: Duration = Duration::from_secs(30);

/// The prefix of an address: what one customer of a provider has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Prefix(u64);

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits())),
            // The /64; it cannot be mistaken for an IPv4 address, whose upper half is empty, unless it lies in ::/32.
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Pair(String, Prefix),
    Prefix(Prefix),
    User(String),
}

impl Key {
    fn delay(&self, failures: u32) -> Duration {
        let (free, longest) = match self {
            Self::Pair(..) => (FREE_PAIR, LONGEST),
            Self::Prefix(_) => (FREE_WIDE, LONGEST),
            Self::User(_) => (FREE_WIDE, LONGEST_USER),
        };
        match failures.checked_sub(free) {
            None => Duration::ZERO,
            Some(over) => longest.min(Duration::from_secs(1_u64 << over.min(20))),
        }
    }
}

#[derive(Clone, Debug)]
struct Count {
    failures: u32,
    last: Instant,
}

/// Who tries.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The name as typed, in any case.
    pub user: &'a str,
    /// From where.
    pub address: IpAddr,
    /// Whether TLS let through a certificate of this user's own device.
    pub own_device: bool,
}

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    counts: BTreeMap<Key, Count>,
    trusted: BTreeMap<(String, Prefix), Instant>,
}

impl Throttle {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this try may go on; otherwise how long to wait.
    pub fn admit(&self, now: Instant, origin: Origin<'_>) -> Result<(), Duration> {
        let wait = self.keys(now, origin).map(|key| self.wait(now, &key)).max().unwrap_or_default();
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// A try was wrong.
    pub fn failed(&mut self, now: Instant, origin: Origin<'_>) {
        let (user, prefix) = subject(origin);
        for key in [Key::Pair(user.clone(), prefix), Key::Prefix(prefix), Key::User(user)] {
            self.make_room(now, &key);
            let count = self.counts.entry(key).or_insert(Count { failures: 0, last: now });
            let forgotten = now.saturating_duration_since(count.last) > MEMORY;
            count.failures = if forgotten { 1 } else { count.failures.saturating_add(1) };
            count.last = now;
        }
    }

    /// A try was right: the user's own count from there is wiped, and the prefix is trusted for a while. The count of the prefix
    /// stays: a guesser may have an account too.
    pub fn succeeded(&mut self, now: Instant, origin: Origin<'_>) {
        let (user, prefix) = subject(origin);
        self.counts.remove(&Key::Pair(user.clone(), prefix));
        self.trusted.retain(|_, since| now.saturating_duration_since(*since) < TRUSTED);
        if self.trusted.len() >= MAX_TRUSTED {
            let oldest = self.trusted.iter().min_by_key(|(_, since)| **since).map(|(key, _)| key.clone());
            oldest.map(|key| self.trusted.remove(&key));
        }
        self.trusted.insert((user, prefix), now);
    }

    /// How many counts there are.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether nobody has tried wrongly.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn keys(&self, now: Instant, origin: Origin<'_>) -> impl Iterator<Item = Key> + use<> {
        let (user, prefix) = subject(origin);
        let known = self.trusted.get(&(user.clone(), prefix));
        let trusted = known.is_some_and(|since| now.saturating_duration_since(*since) < TRUSTED);
        let by_user = (!trusted && !origin.own_device).then(|| Key::User(user.clone()));
        [Key::Pair(user, prefix), Key::Prefix(prefix)].into_iter().chain(by_user)
    }

    fn wait(&self, now: Instant, key: &Key) -> Duration {
        let Some(count) = self.counts.get(key) else { return Duration::ZERO };
        let since = now.saturating_duration_since(count.last);
        if since > MEMORY { Duration::ZERO } else { key.delay(count.failures).saturating_sub(since) }
    }

    fn make_room(&mut self, now: Instant, key: &Key) {
        if self.counts.len() < MAX_ENTRIES || self.counts.contains_key(key) {
            return;
        }
        self.counts.retain(|_, count| now.saturating_duration_since(count.last) <= MEMORY);
        if self.counts.len() >= MAX_ENTRIES {
            // The least of a threat: few failures, and long ago. A flood of new names pushes out its own.
            let least = self.counts.iter().min_by_key(|(_, count)| (count.failures, count.last));
            let least = least.map(|(key, _)| key.clone());
            least.map(|key| self.counts.remove(&key));
        }
    }
}

/// As counted: names of any case, and no longer than a name can be.
fn subject(origin: Origin<'_>) -> (String, Prefix) {
    (origin.user.chars().take(64).collect::<String>().to_lowercase(), Prefix::from(origin.address))
}
