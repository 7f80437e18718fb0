//! What a packet is looked up by: header fields, and the order they stand in.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use rempart_config::space::{Cell, Family, Interval};

/// A field of a key. Where nothing else decides, keys name them in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Field {
    /// Destination address, after destination NAT.
    Destination,
    /// Destination port.
    Port,
    /// ICMP message type.
    IcmpType,
    /// Source address.
    Source,
    /// IP protocol number.
    Protocol,
}

impl Field {
    /// The expression that is looked up, and nft's type of it.
    fn names(self, family: Family) -> (&'static str, &'static str) {
        match (self, family) {
            (Self::Destination, Family::V4) => ("ip daddr", "ipv4_addr"),
            (Self::Destination, Family::V6) => ("ip6 daddr", "ipv6_addr"),
            (Self::Port, Family::V4 | Family::V6) => ("th dport", "inet_service"),
            (Self::IcmpType, Family::V4) => ("icmp type", "icmp_type"),
            (Self::IcmpType, Family::V6) => ("icmpv6 type", "icmpv6_type"),
            (Self::Source, Family::V4) => ("ip saddr", "ipv4_addr"),
            (Self::Source, Family::V6) => ("ip6 saddr", "ipv6_addr"),
            (Self::Protocol, Family::V4 | Family::V6) => ("meta l4proto", "inet_proto"),
        }
    }

    /// The side of a box along this field.
    fn side(self, cell: &Cell) -> Interval<u128> {
        match self {
            Self::Destination => cell.destination,
            Self::Source => cell.source,
            Self::Port | Self::IcmpType => Interval { lo: cell.port.lo.into(), hi: cell.port.hi.into() },
            Self::Protocol => Interval { lo: cell.protocol.lo.into(), hi: cell.protocol.hi.into() },
        }
    }

    /// nft's spelling of that side.
    fn value(self, family: Family, cell: &Cell) -> String {
        let side = self.side(cell);
        match self {
            Self::Destination | Self::Source => addresses(&side, family),
            Self::Port | Self::IcmpType | Self::Protocol => number(&side),
        }
    }
}

/// The key of one map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    family: Family,
    fields: Vec<Field>,
}

impl Key {
    /// The key of a hash, which reads all fields at once.
    pub fn of_hash(family: Family, fields: impl IntoIterator<Item = Field>) -> Self {
        Self { family, fields: fields.into_iter().collect() }
    }

    /// The key of an interval map of `cells`. The kernel narrows such a map down field by field, at a cost for each
    /// element that is still left (`nft_set_pipapo.c`), so the field with the most values comes first.
    pub fn of_intervals<'a>(
        family: Family,
        fields: &[Field],
        cells: impl Iterator<Item = &'a Cell> + Clone,
    ) -> Self {
        let mut fields = fields.to_vec();
        fields.sort_by_cached_key(|f| {
            let values: HashSet<_> = cells.clone().map(|cell| f.side(cell)).collect();
            (std::cmp::Reverse(values.len()), *f)
        });
        Self { family, fields }
    }

    /// The expressions that are looked up.
    pub fn expressions(&self) -> String {
        self.join(|f| f.names(self.family).0.into())
    }

    /// nft's type of them.
    pub fn kind(&self) -> String {
        self.join(|f| f.names(self.family).1.into())
    }

    /// The key of a box.
    pub fn element(&self, cell: &Cell) -> String {
        self.join(|f| f.value(self.family, cell))
    }

    fn join(&self, part: impl Fn(&Field) -> String) -> String {
        self.fields.iter().map(part).collect::<Vec<_>>().join(" . ")
    }
}

/// nft's spelling of an interval of addresses.
fn addresses(interval: &Interval<u128>, family: Family) -> String {
    match family {
        // The reader makes IPv4 intervals from 32-bit ones; only "every address" is wider.
        Family::V4 => {
            let (lo, hi) = (interval.lo as u32, interval.hi.min(u32::MAX.into()) as u32);
            match (lo, hi) {
                (0, u32::MAX) => "0.0.0.0/0".into(),
                _ if lo == hi => Ipv4Addr::from(lo).to_string(),
                _ => format!("{}-{}", Ipv4Addr::from(lo), Ipv4Addr::from(hi)),
            }
        }
        Family::V6 => match (interval.lo, interval.hi) {
            (0, u128::MAX) => "::/0".into(),
            (lo, hi) if lo == hi => Ipv6Addr::from(lo).to_string(),
            (lo, hi) => format!("{}-{}", Ipv6Addr::from(lo), Ipv6Addr::from(hi)),
        },
    }
}

fn number(interval: &Interval<u128>) -> String {
    if interval.lo == interval.hi {
        interval.lo.to_string()
    } else {
        format!("{}-{}", interval.lo, interval.hi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [Field; 4] = [Field::Destination, Field::Port, Field::Source, Field::Protocol];

    fn cell(source: u128, destination: u128, port: u16) -> Cell {
        Cell {
            source: Interval::one(source),
            destination: Interval::one(destination),
            protocol: Interval::one(6),
            port: Interval::one(port),
        }
    }

    fn key(cells: &[Cell]) -> Key {
        Key::of_intervals(Family::V4, &PORTS, cells.iter())
    }

    /// Boxes that differ in their sources most, then in their ports; both lead, and elements follow the same order.
    #[test]
    fn what_tells_boxes_apart_comes_first() {
        let cells = [cell(1, 9, 80), cell(2, 9, 80), cell(3, 9, 443)];
        let key = key(&cells);
        assert_eq!(key.expressions(), "ip saddr . th dport . ip daddr . meta l4proto");
        assert_eq!(key.kind(), "ipv4_addr . inet_service . ipv4_addr . inet_proto");
        assert_eq!(key.element(&cells[2]), "0.0.0.3 . 443 . 0.0.0.9 . 6");
    }

    /// Boxes that no field tells apart better than another; the order is the declared one, whatever theirs.
    #[test]
    fn ties_keep_the_order() {
        let mut cells = vec![cell(1, 7, 80), cell(2, 8, 443)];
        let there = key(&cells);
        assert_eq!(there.expressions(), "ip daddr . th dport . ip saddr . meta l4proto");
        cells.reverse();
        assert_eq!(key(&cells), there);
    }
}
