//! What a flow matches, as boxes.

use std::collections::BTreeMap;

use crate::limits::MAX_FLOW_CELLS;
use crate::model::{Endpoint, Flow, HostSet, Name, VpnGroup, Zone, ZoneName};
use crate::space::{AddressSet, Cell, Family, Interval};

/// A box of one family with its zones. Zones are numbered with the firewall last, so that "every zone but the
/// firewall" is one interval and a flow from any to any stays one box.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub family: Family,
    pub from: Interval<u16>,
    pub to: Interval<u16>,
    pub cell: Cell,
}

impl Block {
    pub fn is_v4(&self) -> bool {
        self.family == Family::V4
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.family == other.family
            && self.to.overlaps(&other.to)
            && self.from.overlaps(&other.from)
            && self.cell.overlaps(&other.cell)
    }

    pub fn covers(&self, other: &Self) -> bool {
        self.family == other.family
            && self.to.covers(&other.to)
            && self.from.covers(&other.from)
            && self.cell.covers(&other.cell)
    }

    /// `self` without `other`, as disjoint blocks. They must overlap.
    pub fn subtract_into(&self, other: &Self, out: &mut Vec<Block>) {
        let mut rest = *self;
        out.extend(outside(&self.from, &other.from).into_iter().flatten().map(|from| Block { from, ..rest }));
        rest.from = self.from.intersect(&other.from).unwrap_or(self.from);
        out.extend(outside(&self.to, &other.to).into_iter().flatten().map(|to| Block { to, ..rest }));
        rest.to = self.to.intersect(&other.to).unwrap_or(self.to);
        let mut cells = Vec::new();
        rest.cell.subtract_into(&other.cell, &mut cells);
        out.extend(cells.into_iter().map(|cell| Block { cell, ..rest }));
    }

    /// Blocks of one packet each, at the corners.
    pub fn corners(&self) -> impl Iterator<Item = Block> {
        (0..16u8).map(move |bits| {
            fn end<T: Copy>(interval: Interval<T>, high: bool) -> Interval<T> {
                let value = if high { interval.hi } else { interval.lo };
                Interval { lo: value, hi: value }
            }
            let bit = |n: u8| bits & (1 << n) != 0;
            Block {
                family: self.family,
                from: end(self.from, bit(0)),
                to: end(self.to, bit(1)),
                cell: Cell {
                    source: end(self.cell.source, bit(0)),
                    destination: end(self.cell.destination, bit(1)),
                    protocol: end(self.cell.protocol, bit(2)),
                    port: end(self.cell.port, bit(3)),
                },
            }
        })
    }
}

/// What of `a` lies below and above `b`.
fn outside(a: &Interval<u16>, b: &Interval<u16>) -> [Option<Interval<u16>>; 2] {
    let below = b.lo.checked_sub(1).and_then(|hi| Interval::new(a.lo, hi.min(a.hi)));
    let above = b.hi.checked_add(1).and_then(|lo| Interval::new(lo.max(a.lo), a.hi));
    [below, above]
}

/// How zones and groups become numbers.
pub(super) struct Shape<'a> {
    numbers: BTreeMap<&'a ZoneName, u16>,
    groups: &'a BTreeMap<Name, VpnGroup>,
}

impl<'a> Shape<'a> {
    pub fn new(zones: &'a BTreeMap<ZoneName, Zone>, groups: &'a BTreeMap<Name, VpnGroup>) -> Self {
        let (firewall, others): (Vec<_>, Vec<_>) = zones.keys().partition(|z| z.is_firewall());
        Self { numbers: others.into_iter().chain(firewall).zip(0..).collect(), groups }
    }

    /// All that the flow could match; `None` when it falls into more than `room` blocks.
    pub fn subject(&self, flow: &Flow, room: usize) -> Option<Vec<Block>> {
        let all = |hosts: &HostSet| match (hosts.is_fixed(), hosts.negated) {
            (true, false) => Some(hosts.fixed.clone()),
            (_, true) => Some(hosts.fixed.complement()),
            (false, false) if hosts.names.is_empty() => {
                let pools: Vec<_> = hosts
                    .vpn_groups
                    .iter()
                    .filter_map(|g| self.groups.get(g))
                    .map(VpnGroup::addresses)
                    .collect();
                Some(AddressSet::union_of(pools.iter().chain([&hosts.fixed])))
            }
            (false, false) => Some(AddressSet::all()),
        };
        self.blocks(flow, all, room)
    }

    /// What the flow takes in any case; nothing when that is more than `room` blocks.
    pub fn cover(&self, flow: &Flow, room: usize) -> Vec<Block> {
        if !flow.is_unconditional() {
            return Vec::new();
        }
        let least = |hosts: &HostSet| match (hosts.is_fixed(), hosts.negated) {
            (true, true) => Some(hosts.fixed.complement()),
            (_, false) => Some(hosts.fixed.clone()),
            (false, true) => None,
        };
        self.blocks(flow, least, room).unwrap_or_default()
    }

    fn blocks(
        &self,
        flow: &Flow,
        set: impl Fn(&HostSet) -> Option<AddressSet>,
        room: usize,
    ) -> Option<Vec<Block>> {
        let side = |list: &[Endpoint]| -> Vec<_> {
            list.iter().filter_map(|e| Some((self.zone(e)?, set(&e.hosts)?))).collect()
        };
        let (from, to) = (side(&flow.from), side(&flow.to));
        let mut out = Vec::new();
        for family in Family::BOTH {
            let services: Vec<_> = flow.services.iter().flat_map(|s| s.axes(family)).collect();
            let wide = |(zone, set): &(Interval<u16>, AddressSet)| (*zone, set.wide(family));
            let (from, to): (Vec<_>, Vec<_>) =
                (from.iter().map(wide).collect(), to.iter().map(wide).collect());
            let count = |side: &[(Interval<u16>, Vec<_>)]| side.iter().map(|(_, s)| s.len()).sum::<usize>();
            let blocks = count(&from).saturating_mul(count(&to)).saturating_mul(services.len());
            if out.len().saturating_add(blocks) > room.min(MAX_FLOW_CELLS) {
                return None;
            }
            for (from, sources) in &from {
                for (to, destinations) in &to {
                    for source in sources {
                        for destination in destinations {
                            out.extend(services.iter().map(|(protocol, port)| Block {
                                family,
                                from: *from,
                                to: *to,
                                cell: Cell {
                                    source: *source,
                                    destination: *destination,
                                    protocol: *protocol,
                                    port: *port,
                                },
                            }));
                        }
                    }
                }
            }
        }
        Some(out)
    }

    /// The zones of an endpoint; nothing where there is none, as for `any` on a box without zones.
    fn zone(&self, endpoint: &Endpoint) -> Option<Interval<u16>> {
        match &endpoint.zone {
            Some(zone) => self.numbers.get(zone).map(|n| Interval::one(*n)),
            None => {
                // The firewall is always there and numbered last.
                let last = u16::try_from(self.numbers.len()).ok()?.checked_sub(2)?;
                Interval::new(0, last)
            }
        }
    }
}
