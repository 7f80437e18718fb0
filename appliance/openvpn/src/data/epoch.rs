//! Which packet ids a node may use under a key, so that no nonce is ever used twice (invariant I4).
//!
//! The nonce of a data packet is its packet id (32 bits) and an implicit IV that belongs to the key, so two packets of one
//! key must never have the same id. Two nodes may hold the key, each may die and come back at any instant, and they may be
//! active at the same time without knowing of each other. So nothing depends on what the other node is doing now:
//!
//! ```text
//!  take-over epoch: a number that one node has to itself (one draws even ones, the other odd ones), each larger than all
//!  that this node ever held or heard of, and on its disk before the first packet
//!
//!  packet ids of a key made under epoch M, for a node in epoch E:   n = E - M
//!     0 ──── range 0 ────┬──── range 1 ────┬── … ──┬──── range 15 ───┐ 2³²
//!     the maker           n = 1                     n = 15             n > 15: none
//! ```
//!
//! Two nodes never share an epoch, one node never draws one twice, so no two share a range of a key; ids rise for the
//! client, whose window wants that. In this module the rule is in the types:
//!
//! * [`Claim`] → [`Persisted`]: only a write that succeeded makes one, by [`Claim::persist`].
//! * [`Persisted`] → [`Preparation`] → [`Reign`]: a preparation gives each imported key its range, once, and remembers which
//!   have had it. With the reign that ends: what is imported later has none until the next epoch, for it may be a key that
//!   had its range in this one already. [`Persisted::take_over`] does both at once. Whoever prepares in vain has used up the
//!   epoch.
//! * [`Reign::make`] gives range 0 to a key that was derived in this process, once.
//! * A [`PacketIdRange`] cannot be copied and belongs to one key; `Sealer` refuses any other.
//!
//! **A disk that is replaced** forgets which epochs it drew, and what it drew while nobody listened nobody else knows
//! either: a number drawn afterwards may be one that was used. So each store has a [`StoreId`], drawn at random when it is
//! made, and a key's [`Origin`] names the stores that may send under it. A node with a new store sends on keys that were
//! made since it introduced itself, and on no others. (Study §1.4 has no such rule; the exploration in the tests finds a
//! repeated nonce without it.) For the same reason the record must never come from a backup.

use ring::digest::{SHA256, digest};
use std::collections::BTreeSet;

use super::keys::{DataKeys, KeyPrint};

/// Packet ids of one range, the unused first one included.
pub const RANGE: u32 = 1 << 28;
/// Ranges of a key.
pub const RANGES: u64 = 16;
/// When a key is due to be replaced: three quarters of a range, 2·10⁸ packets, half an hour at 100,000 a second. The
/// rest is for a client that takes its time.
pub const DUE: u32 = RANGE / 4 * 3;

/// Which epochs a node draws.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Parity {
    /// 2, 4, 6, …: the node that the document names first.
    Even,
    /// 1, 3, 5, …: the other one.
    Odd,
}

impl Parity {
    const fn bit(self) -> u64 {
        match self {
            Self::Even => 0,
            Self::Odd => 1,
        }
    }
}

/// The number of a take-over, as it travels and is stored. Holding one entitles to nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// From the wire or the disk. 0 is before any take-over.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The identity of what a node's epochs are stored on: random, drawn when the store is found empty or unreadable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StoreId([u8; 16]);

impl StoreId {
    /// From 16 bytes: random ones for a new store.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn get(self) -> [u8; 16] {
        self.0
    }
}

/// What a node keeps on its disk: no key, only how far its epochs have come.
///
/// ```text
///   magic and version 8 │ store 16 │ highest epoch 8 │ first bytes of SHA-256 of the 32 before 8
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Whose record it is.
    pub store: StoreId,
    /// No epoch up to this one may be drawn again.
    pub highest: Epoch,
}

/// A record cannot be read: the store is to be treated as a new one, with a new identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the record of take-over epochs is damaged; a new one has to be begun, and keys made before it are given up"
)]
pub struct Damaged;

impl Record {
    /// Bytes on the disk.
    pub const LEN: usize = 40;
    const MAGIC: [u8; 8] = *b"RmptEpo\x01";

    /// For the disk. To be written whole: to another file, synced, renamed, and the folder synced.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let highest = self.highest.0.to_be_bytes();
        let body = Self::MAGIC.iter().chain(&self.store.0).chain(&highest);
        out.iter_mut().zip(body).for_each(|(to, from)| *to = *from);
        let check = Self::check(&out);
        out.iter_mut().skip(Self::LEN - 8).zip(check).for_each(|(to, from)| *to = from);
        out
    }

    /// From the disk.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| Damaged)?;
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Damaged)?;
        let (store, rest) = rest.split_first_chunk::<16>().ok_or(Damaged)?;
        let (highest, check) = rest.split_first_chunk::<8>().ok_or(Damaged)?;
        if *magic != Self::MAGIC || *check != Self::check(bytes) {
            return Err(Damaged);
        }
        Ok(Self { store: StoreId(*store), highest: Epoch(u64::from_be_bytes(*highest)) })
    }

    fn check(bytes: &[u8; Self::LEN]) -> [u8; 8] {
        let (body, _) = bytes.split_at(Self::LEN - 8);
        let mut out = [0; 8];
        out.iter_mut().zip(digest(&SHA256, body).as_ref()).for_each(|(to, from)| *to = *from);
        out
    }
}

/// What a node knows of epochs: its own, and those it heard of.
#[derive(Debug)]
pub struct EpochBook {
    parity: Parity,
    store: StoreId,
    highest: Epoch,
}

/// There is no larger epoch: somebody who may speak for the peer sent nonsense.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no take-over epoch is left after {}; the record of both nodes has to be begun anew", .0.0)]
pub struct OutOfEpochs(Epoch);

impl EpochBook {
    /// With the record that was read, or with a new one: a random [`StoreId`] and epoch 0.
    pub fn new(parity: Parity, record: Record) -> Self {
        Self { parity, store: record.store, highest: record.highest }
    }

    /// Takes note of an epoch that the peer, authenticated, has or has heard of, or that stands in a key's [`Origin`].
    pub fn hear(&mut self, epoch: Epoch) {
        self.highest = self.highest.max(epoch);
    }

    /// The highest epoch that was ever held or heard of: to be told to the peer.
    pub fn highest(&self) -> Epoch {
        self.highest
    }

    /// This node's store: to be told to the peer.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Draws the epoch of a take-over: the smallest of this node's parity above all that it ever held or heard of.
    pub fn claim(&mut self) -> Result<Claim, OutOfEpochs> {
        let above = self.highest.0.checked_add(1).ok_or(OutOfEpochs(self.highest))?;
        let own = above.checked_add((above ^ self.parity.bit()) & 1).ok_or(OutOfEpochs(self.highest))?;
        self.highest = Epoch(own);
        let record = Record { store: self.store, highest: self.highest };
        Ok(Claim { parity: self.parity, record })
    }
}

/// An epoch that is drawn but not stored.
#[derive(Debug)]
pub struct Claim {
    parity: Parity,
    record: Record,
}

impl Claim {
    /// Has the epoch written down. `write` returns once the record is where a power cut cannot take it.
    pub fn persist<E>(
        self,
        write: impl FnOnce(&Record) -> Result<(), E>,
    ) -> Result<Persisted<TakeOverEpoch>, E> {
        write(&self.record)?;
        Ok(Persisted(TakeOverEpoch { parity: self.parity, record: self.record }))
    }
}

/// Something that has been written to stable storage.
#[derive(Debug)]
pub struct Persisted<T>(T);

/// An epoch that belongs to this node alone.
#[derive(Debug)]
pub struct TakeOverEpoch {
    parity: Parity,
    record: Record,
}

/// Where a key comes from. Travels with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The epoch of its maker.
    pub made: Epoch,
    /// The store of the node that draws even epochs, and of the other one, as the maker knew them.
    pub stores: [Option<StoreId>; 2],
}

impl Origin {
    fn store(&self, parity: Parity) -> Option<StoreId> {
        let [even, odd] = self.stores;
        match parity {
            Parity::Even => even,
            Parity::Odd => odd,
        }
    }
}

/// A key that this process did not make, as far as a take-over is concerned.
#[derive(Debug)]
pub struct Imported {
    origin: Origin,
    print: KeyPrint,
}

impl Imported {
    /// `keys`, which came with `origin`.
    pub fn new(origin: Origin, keys: &DataKeys) -> Self {
        Self { origin, print: keys.print() }
    }
}

/// Why a node may not send under an imported key. It still opens what comes, and the key is renewed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoRange {
    /// Made in this epoch or a later one: the records of one of the nodes are not what they were.
    #[error("the key is of epoch {}, which does not come before {}", .made.0, .now.0)]
    NotEarlier {
        /// The epoch of its maker.
        made: Epoch,
        /// Ours.
        now: Epoch,
    },
    /// There were more epochs since than a key has ranges.
    #[error("the key is of epoch {}, too long before {}", .made.0, .now.0)]
    TooOld {
        /// The epoch of its maker.
        made: Epoch,
        /// Ours.
        now: Epoch,
    },
    /// Its maker did not know our store.
    #[error("the key is older than the record of epochs on this disk")]
    OtherStore,
    /// It was in the list before.
    #[error("the key has its range already")]
    Twice,
}

impl Persisted<TakeOverEpoch> {
    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.0.record.highest
    }

    /// Takes over: every imported key gets the range of this epoch, in the order of the list, once and for all.
    pub fn take_over(self, imported: &[Imported]) -> (Reign, Vec<Result<PacketIdRange, NoRange>>) {
        let mut preparation = self.prepare();
        let ranges = preparation.import(imported);
        (preparation.begin(), ranges)
    }

    /// Begins to take over: a move of the role is announced.
    pub fn prepare(self) -> Preparation {
        let Self(TakeOverEpoch { parity, record: Record { store, highest: epoch } }) = self;
        Preparation { reign: Reign { parity, store, epoch }, known: BTreeSet::new() }
    }
}

/// A take-over that is being prepared: keys can be imported, and none be made.
#[derive(Debug)]
pub struct Preparation {
    reign: Reign,
    known: BTreeSet<KeyPrint>,
}

impl Preparation {
    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.reign.epoch
    }

    /// Every key gets the range of this epoch, in the order of the list, unless it was imported before.
    pub fn import(&mut self, imported: &[Imported]) -> Vec<Result<PacketIdRange, NoRange>> {
        let ranges = imported.iter().map(|key| match self.known.insert(key.print) {
            true => self.reign.range(key),
            false => Err(NoRange::Twice),
        });
        ranges.collect()
    }

    /// The take-over: nothing is imported any more, and keys can be made.
    pub fn begin(self) -> Reign {
        self.reign
    }
}

/// The right to make keys, from a take-over until it ends or the process does.
#[derive(Debug)]
pub struct Reign {
    parity: Parity,
    store: StoreId,
    epoch: Epoch,
}

impl Reign {
    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The maker's range of a key that this process has just derived, and the origin that travels with it. `peer` is the
    /// store that the other node last introduced itself with. `None` for a key that is not fresh.
    pub fn make(&self, keys: &mut DataKeys, peer: Option<StoreId>) -> Option<(Origin, PacketIdRange)> {
        let own = Some(self.store);
        let stores = match self.parity {
            Parity::Even => [own, peer],
            Parity::Odd => [peer, own],
        };
        let origin = Origin { made: self.epoch, stores };
        keys.take_fresh().then(|| (origin, PacketIdRange::new(keys.print(), 0)))
    }

    fn range(&self, key: &Imported) -> Result<PacketIdRange, NoRange> {
        let (made, now) = (key.origin.made, self.epoch);
        if key.origin.store(self.parity) != Some(self.store) {
            return Err(NoRange::OtherStore);
        }
        // The maker's own range is not for a key that came from elsewhere.
        let Some(distance @ 1..) = now.0.checked_sub(made.0) else {
            return Err(NoRange::NotEarlier { made, now });
        };
        match u32::try_from(distance) {
            Ok(number) if distance < RANGES => Ok(PacketIdRange::new(key.print, number)),
            Ok(_) | Err(_) => Err(NoRange::TooOld { made, now }),
        }
    }
}

/// The packet ids that this process may use under one key.
#[derive(Debug)]
pub struct PacketIdRange {
    print: KeyPrint,
    next: u32,
    left: u32,
}

/// All packet ids of a range are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no packet id is left under this key; it has to be renewed")]
pub struct Exhausted;

impl PacketIdRange {
    /// Range `number`, below [`RANGES`]: from `number`·2²⁸ + 1 to (`number` + 1)·2²⁸ - 1. The multiples of 2²⁸ are left
    /// out because 0 is no packet id.
    fn new(print: KeyPrint, number: u32) -> Self {
        Self { print, next: (number * RANGE) + 1, left: RANGE - 1 }
    }

    /// The next packet id.
    pub fn take(&mut self) -> Result<u32, Exhausted> {
        self.left = self.left.checked_sub(1).ok_or(Exhausted)?;
        let id = self.next;
        // The last id of the last range is the largest number there is.
        self.next = id.wrapping_add(1);
        Ok(id)
    }

    /// How many are used.
    pub fn used(&self) -> u32 {
        (RANGE - 1) - self.left
    }

    /// Whether so many are used that the key should be renewed.
    pub fn is_due(&self) -> bool {
        self.used() >= DUE
    }

    /// Whether it is the maker's range, and nothing of it is used.
    pub(super) fn is_whole_first(&self) -> bool {
        (self.next, self.left) == (1, RANGE - 1)
    }

    /// Which key they are for.
    pub fn print(&self) -> KeyPrint {
        self.print
    }
}

#[cfg(test)]
mod tests;
