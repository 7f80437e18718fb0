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
/// address, which it mostly is.
#[derive(Default)]
struct Bucket {
    destinations: BTreeMap<u128, Vec<u32>>,
    sources: BTreeMap<u128, Vec<u32>>,
    wide: Vec<u32>,
}

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
        let list = match (single(&block.cell.destination), single(&block.cell.source)) {
            (Some(address), _) => bucket.destinations.entry(address).or_default(),
            (None, Some(address)) => bucket.sources.entry(address).or_default(),
            (None, None) => &mut bucket.wide,
        };
        list.push(number);
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
            let (destination, source) = (&block.cell.destination, &block.cell.source);
            let at = bucket.destinations.range(destination.lo..=destination.hi);
            let by_source = bucket.sources.range(source.lo..=source.hi);
            for list in at.chain(by_source).map(|(_, list)| list).chain([&bucket.wide]) {
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
