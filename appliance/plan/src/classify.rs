//! The grouping law: an ordered list of boxes becomes a short list of maps.
//!
//! A map look-up cannot say which of two matching elements came first, so two boxes that share a packet may
//! not share a map (the kernel refuses overlapping elements anyway). Boxes that share no packet may, whatever
//! their order. Each box therefore goes into the first group behind every earlier box that it overlaps.
//! Random policies of sixty flows fall into about six groups; policies made of single hosts into one.

use std::collections::HashMap;

use rempart_config::space::{Cell, Interval};

/// Which connections a box is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// All of them.
    Any,
    /// Those whose destination was translated: published services.
    Translated,
}

/// A group: boxes that no packet can match two of.
#[derive(Clone, Debug)]
pub struct Group<L, T> {
    /// What its boxes have in common.
    pub lane: L,
    /// The boxes and what a match means.
    pub cells: Vec<(Cell, T)>,
}

/// Sorts boxes, given in the order of evaluation, into groups, each of one lane. Boxes of one flow must be
/// disjoint. Boxes that are `slow` to look up go as far back as they may, so that the others are found before them.
pub fn group<L: Copy + PartialEq, T>(
    cells: impl IntoIterator<Item = (L, Cell, T)>,
    slow: impl Fn(&Cell) -> bool,
) -> Vec<Group<L, T>> {
    let mut lanes: Vec<L> = Vec::new();
    let mut placed: Vec<(usize, Cell, T)> = Vec::new();
    let mut before = Index::default();
    for (lane, cell, outcome) in cells {
        let first_free = before.overlapping(&cell).max().map_or(0, |g| g + 1);
        let place = (first_free..lanes.len()).find(|g| lanes[*g] == lane).unwrap_or_else(|| {
            lanes.push(lane);
            lanes.len() - 1
        });
        before.insert(cell, place);
        placed.push((place, cell, outcome));
    }
    let mut behind = Index::default();
    for (place, cell, _) in placed.iter_mut().rev() {
        if slow(cell) {
            let end = behind.overlapping(cell).min().unwrap_or(lanes.len());
            *place = (*place..end).rev().find(|g| lanes[*g] == lanes[*place]).unwrap_or(*place);
        }
        behind.insert(*cell, *place);
    }
    let mut groups: Vec<Group<L, T>> =
        lanes.into_iter().map(|lane| Group { lane, cells: Vec::new() }).collect();
    for (place, cell, outcome) in placed {
        groups[place].cells.push((cell, outcome));
    }
    groups.retain(|g| !g.cells.is_empty());
    groups
}

/// The boxes placed so far, found by a single destination or source where they have one. Policies name
/// single hosts far more often than networks, which keeps the search from being quadratic.
#[derive(Default)]
struct Index {
    by_destination: HashMap<u128, Vec<(Cell, usize)>>,
    by_source: HashMap<u128, Vec<(Cell, usize)>>,
    wide: Vec<(Cell, usize)>,
}

impl Index {
    fn insert(&mut self, cell: Cell, group: usize) {
        let entry = (cell, group);
        if let Some(host) = single(&cell.destination) {
            self.by_destination.entry(host).or_default().push(entry);
        } else if let Some(host) = single(&cell.source) {
            self.by_source.entry(host).or_default().push(entry);
        } else {
            self.wide.push(entry);
        }
    }

    /// The groups of the boxes that share a packet with `cell`.
    fn overlapping<'a>(&'a self, cell: &'a Cell) -> impl Iterator<Item = usize> + 'a {
        let entries = near(&self.by_destination, single(&cell.destination));
        let entries = entries.chain(near(&self.by_source, single(&cell.source))).chain(&self.wide);
        entries.filter(|(placed, _)| placed.overlaps(cell)).map(|(_, group)| *group)
    }
}

/// The entries that may have `host`, or all of them.
fn near(
    index: &HashMap<u128, Vec<(Cell, usize)>>,
    host: Option<u128>,
) -> impl Iterator<Item = &(Cell, usize)> {
    let one = host.and_then(|host| index.get(&host)).into_iter();
    let every = host.is_none().then(|| index.values()).into_iter().flatten();
    one.chain(every).flatten()
}

fn single(interval: &Interval<u128>) -> Option<u128> {
    (interval.lo == interval.hi).then_some(interval.lo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval<T: rempart_config::space::Scalar + Arbitrary>() -> impl Strategy<Value = Interval<T>> {
        (any::<T>(), any::<T>()).prop_map(|(a, b)| Interval { lo: a.min(b), hi: a.max(b) })
    }

    fn small_cell() -> impl Strategy<Value = Cell> {
        (0u128..6, 0u128..3, 0u128..6, 0u128..3, 0u16..4, 0u16..3, interval::<u8>()).prop_map(
            |(s, sn, d, dn, p, pn, protocol)| Cell {
                source: Interval { lo: s, hi: s + sn },
                destination: Interval { lo: d, hi: d + dn },
                protocol,
                port: Interval { lo: p, hi: p + pn },
            },
        )
    }

    proptest! {
        /// Any ordered list of boxes: no group holds an overlap, and every packet's first match in the list
        /// is its first match in the groups.
        #[test]
        fn grouping_keeps_the_first_match(slow: bool, cells in prop::collection::vec((any::<bool>(), small_cell()), 0..40)) {
            let lane = |translated| if translated { Lane::Translated } else { Lane::Any };
            let list: Vec<_> = cells.iter().enumerate().map(|(n, (t, c))| (lane(*t), *c, n)).collect();
            let groups = group(list.clone(), |cell| slow && cell.port.lo % 2 == 0);
            for g in &groups {
                for (i, (a, _)) in g.cells.iter().enumerate() {
                    for (b, _) in &g.cells[i + 1..] {
                        prop_assert!(!a.overlaps(b));
                    }
                }
            }
            for translated in [false, true] {
                let counts = |l: Lane| l == Lane::Any || translated;
                for (s, d, p, proto) in itertools(&[8, 8, 6, 3]) {
                    let hit = |c: &Cell| c.source.contains(s) && c.destination.contains(d)
                        && c.port.contains(p as u16) && c.protocol.contains(proto as u8 * 100);
                    let by_list = list.iter().find(|(l, c, _)| counts(*l) && hit(c)).map(|x| x.2);
                    let by_groups = groups.iter().filter(|g| counts(g.lane))
                        .find_map(|g| g.cells.iter().find(|(c, _)| hit(c))).map(|x| x.1);
                    prop_assert_eq!(by_list, by_groups);
                }
            }
        }
    }

    fn itertools(n: &[u128; 4]) -> Vec<(u128, u128, u128, u128)> {
        let n = *n;
        (0..n[0])
            .flat_map(|a| {
                (0..n[1]).flat_map(move |b| (0..n[2]).flat_map(move |c| (0..n[3]).map(move |d| (a, b, c, d))))
            })
            .collect()
    }
}
