//! The packet space against the naive: sets of bytes as `BTreeSet`, boxes as lists of points.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rempart_config::space::{Cell, Interval, Set, subtract};

fn intervals() -> impl Strategy<Value = Vec<Interval<u8>>> {
    // Ends of the range are likely, because that is where `next` and `prev` have nothing to give.
    let end = prop_oneof![Just(0u8), Just(255u8), any::<u8>(), 100..110u8];
    prop::collection::vec((end.clone(), end).prop_map(|(a, b)| Interval { lo: a.min(b), hi: a.max(b) }), 0..6)
}

fn naive(intervals: &[Interval<u8>]) -> BTreeSet<u8> {
    intervals.iter().flat_map(|i| i.lo..=i.hi).collect()
}

fn set(intervals: &[Interval<u8>]) -> Set<u8> {
    intervals.iter().copied().collect()
}

fn members(set: &Set<u8>) -> BTreeSet<u8> {
    (0..=255).filter(|v| set.contains(*v)).collect()
}

/// Coordinates from a small range, so that boxes meet often and their points can be listed.
fn cell() -> impl Strategy<Value = Cell> {
    let pair = || (0..6u8, 0..6u8).prop_map(|(a, b)| (a.min(b), a.max(b)));
    (pair(), pair(), pair(), pair()).prop_map(|(s, d, p, t)| Cell {
        source: Interval { lo: s.0.into(), hi: s.1.into() },
        destination: Interval { lo: d.0.into(), hi: d.1.into() },
        protocol: Interval { lo: p.0, hi: p.1 },
        port: Interval { lo: t.0.into(), hi: t.1.into() },
    })
}

type Point = (u128, u128, u8, u16);

fn points(cell: &Cell) -> Vec<Point> {
    let mut out = Vec::new();
    for s in cell.source.lo..=cell.source.hi {
        for d in cell.destination.lo..=cell.destination.hi {
            for p in cell.protocol.lo..=cell.protocol.hi {
                out.extend((cell.port.lo..=cell.port.hi).map(|t| (s, d, p, t)));
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Two random sets: every operation must agree with the naive one, and stay normalised.
    #[test]
    fn sets_agree_with_naive_sets(a in intervals(), b in intervals()) {
        let (x, y) = (naive(&a), naive(&b));
        let (p, q) = (set(&a), set(&b));
        prop_assert_eq!(members(&p), x.clone());
        prop_assert_eq!(members(&p.union(&q)), &x | &y);
        prop_assert_eq!(members(&p.intersect(&q)), &x & &y);
        prop_assert_eq!(members(&p.subtract(&q)), &x - &y);
        prop_assert_eq!(members(&p.complement()), &(0..=255).collect::<BTreeSet<u8>>() - &x);
        prop_assert_eq!(p.covers(&q), x.is_superset(&y));
        prop_assert_eq!(p.overlaps(&q), !x.is_disjoint(&y));
        prop_assert_eq!(p.is_empty(), x.is_empty());
        prop_assert_eq!(p.is_all(), x.len() == 256);
        prop_assert_eq!(p.single(), if x.len() == 1 { x.first().copied() } else { None });
        for made in [p.union(&q), p.intersect(&q), p.subtract(&q), p.complement()] {
            // Equality of sets must be equality of values: rebuilding from the members changes nothing.
            let again: Set<u8> = members(&made).into_iter().map(Interval::one).collect();
            prop_assert_eq!(made, again);
        }
    }

    /// Two random boxes: the pieces of the difference must be disjoint and hold exactly what is left.
    #[test]
    fn the_difference_of_two_boxes_is_right(a in cell(), b in cell()) {
        let mut pieces = Vec::new();
        a.subtract_into(&b, &mut pieces);
        prop_assert!(pieces.len() <= 8);
        let listed: Vec<Point> = pieces.iter().flat_map(points).collect();
        let distinct: BTreeSet<Point> = listed.iter().copied().collect();
        prop_assert_eq!(listed.len(), distinct.len(), "pieces overlap");
        let taken: BTreeSet<Point> = points(&b).into_iter().collect();
        let left: BTreeSet<Point> = points(&a).into_iter().filter(|p| !taken.contains(p)).collect();
        prop_assert_eq!(distinct, left);
        prop_assert_eq!(a.overlaps(&b), points(&a).iter().any(|p| taken.contains(p)));
        prop_assert_eq!(a.covers(&b), taken.is_subset(&points(&a).into_iter().collect()));
    }

    /// A random region without random covers: exactly the uncovered points must remain.
    #[test]
    fn subtraction_leaves_what_no_cover_holds(region in cell(), covers in prop::collection::vec(cell(), 0..6)) {
        let rest = subtract(vec![region], covers.iter().copied()).expect("few boxes");
        let rest: BTreeSet<Point> = rest.iter().flat_map(points).collect();
        let taken: BTreeSet<Point> = covers.iter().flat_map(points).collect();
        let left: BTreeSet<Point> = points(&region).into_iter().filter(|p| !taken.contains(p)).collect();
        prop_assert_eq!(rest, left);
    }
}
