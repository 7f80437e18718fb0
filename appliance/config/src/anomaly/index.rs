//! Blocks by where they are, so that a flow is compared with those that it can meet, not with all.

use std::collections::BTreeMap;

use super::Cover;
use super::region::Block;
use crate::space::{Family, Interval};

/// A zone number, or `None` for several zones.
type Place = (Family, Option<u16>, Option<u16>);

/// The boxes of the flows so far.
#[derive(Default)]
pub(super) struct Index {
    covers: Vec<Cover>,
    places: BTreeMap<Place, Bucket>,
}

/// Boxes of one zone pair. Each is in one list: by its destination or else its source when that is one
/// address, which it mostly is, and there by its port.
#[derive(Default)]
struct Bucket {
    destinations: Lists,
    sources: Lists,
    wide: Lists,
}

/// Lists by address, and by port where it is one port.
#[derive(Default)]
struct Lists(BTreeMap<(u128, Option<u16>), Vec<u32>>);

impl Lists {
    fn insert(&mut self, address: u128, port: &Interval<u16>, number: u32) {
        self.0.entry((address, single(port))).or_default().push(number);
    }

    /// The lists that may hold what overlaps.
    fn near(&self, address: &Interval<u128>, port: &Interval<u16>) -> impl Iterator<Item = &Vec<u32>> {
        let (several, one) = match single(address) {
            // `None` sorts before every port.
            Some(a) => (Some((a, None)..=(a, None)), (a, Some(port.lo))..=(a, Some(port.hi))),
            None => (None, (address.lo, None)..=(address.hi, Some(u16::MAX))),
        };
        let several = several.into_iter().flat_map(|range| self.0.range(range));
        several.chain(self.0.range(one)).map(|(_, list)| list)
    }
}

/// The address that stands for all in [`Bucket::wide`].
const WIDE: Interval<u128> = Interval { lo: 0, hi: 0 };

impl Index {
    pub fn len(&self) -> usize {
        self.covers.len()
    }

    pub fn insert(&mut self, cover: Cover) {
        // The elements of a document are bounded far below this.
        let Ok(number) = u32::try_from(self.covers.len()) else { return };
        let block = &cover.block;
        let place = (block.family, single(&block.from), single(&block.to));
        let bucket = self.places.entry(place).or_default();
        let port = &block.cell.port;
        match (single(&block.cell.destination), single(&block.cell.source)) {
            (Some(address), _) => bucket.destinations.insert(address, port, number),
            (None, Some(address)) => bucket.sources.insert(address, port, number),
            (None, None) => bucket.wide.insert(WIDE.lo, port, number),
        }
        self.covers.push(cover);
    }

    /// What overlaps `block`, in the order of the document. `None` when the steps are used up.
    pub fn overlapping(
        &self,
        block: &Block,
        takes: impl Fn(&Cover) -> bool,
        steps: &mut u64,
    ) -> Option<Vec<&Cover>> {
        let mut found = Vec::new();
        let mut look = |bucket: &Bucket| -> Option<()> {
            let port = &block.cell.port;
            let by_destination = bucket.destinations.near(&block.cell.destination, port);
            let by_source = bucket.sources.near(&block.cell.source, port);
            for list in by_destination.chain(by_source).chain(bucket.wide.near(&WIDE, port)) {
                for number in list {
                    *steps = steps.checked_sub(1)?;
                    let cover = &self.covers[*number as usize];
                    if cover.block.overlaps(block) && takes(cover) {
                        found.push(*number);
                    }
                }
            }
            Some(())
        };
        match (single(&block.from), single(&block.to)) {
            (from @ Some(_), to @ Some(_)) => {
                for place in [(from, to), (from, None), (None, to), (None, None)] {
                    if let Some(bucket) = self.places.get(&(block.family, place.0, place.1)) {
                        look(bucket)?;
                    }
                }
            }
            _ => self.places.values().try_for_each(&mut look)?,
        }
        found.sort_unstable();
        Some(found.into_iter().map(|n| &self.covers[n as usize]).collect())
    }
}

fn single<T: Copy + PartialEq>(interval: &Interval<T>) -> Option<T> {
    (interval.lo == interval.hi).then_some(interval.lo)
}
