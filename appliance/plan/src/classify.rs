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
/// disjoint.
pub fn group<L: Copy + PartialEq, T>(cells: impl IntoIterator<Item = (L, Cell, T)>) -> Vec<Group<L, T>> {
    let mut groups: Vec<Group<L, T>> = Vec::new();
    let mut index = Index::default();
    for (lane, cell, outcome) in cells {
        let first_free = index.last_overlapping(&cell).map_or(0, |g| g + 1);
        let place = (first_free..groups.len()).find(|g| groups[*g].lane == lane).unwrap_or_else(|| {
            groups.push(Group { lane, cells: Vec::new() });
            groups.len() - 1
        });
        groups[place].cells.push((cell, outcome));
        index.insert(cell, place);
    }
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

    fn last_overlapping(&self, cell: &Cell) -> Option<usize> {
        let near = last_in(&self.wide, cell);
        let near = near.max(last_in_index(&self.by_destination, single(&cell.destination), cell));
        near.max(last_in_index(&self.by_source, single(&cell.source), cell))
    }
}

fn last_in_index(
    index: &HashMap<u128, Vec<(Cell, usize)>>,
    host: Option<u128>,
    cell: &Cell,
) -> Option<usize> {
    match host {
        Some(host) => index.get(&host).and_then(|entries| last_in(entries, cell)),
        None => index.values().filter_map(|entries| last_in(entries, cell)).max(),
    }
}

fn last_in(entries: &[(Cell, usize)], cell: &Cell) -> Option<usize> {
    entries.iter().filter(|(placed, _)| placed.overlaps(cell)).map(|(_, group)| *group).max()
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
        fn grouping_keeps_the_first_match(cells in prop::collection::vec((any::<bool>(), small_cell()), 0..40)) {
            let lane = |translated| if translated { Lane::Translated } else { Lane::Any };
            let list: Vec<_> = cells.iter().enumerate().map(|(n, (t, c))| (lane(*t), *c, n)).collect();
            let groups = group(list.clone());
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
