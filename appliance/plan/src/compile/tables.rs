//! Groups of boxes as maps and the chains that look them up.

use std::collections::BTreeMap;

use rempart_config::model::{ICMP, ICMP6, PORT_PROTOCOLS};
use rempart_config::space::{Cell, Family, Interval};

use super::key::{Field, Key};
use crate::classify::{Lane, group};
use crate::nft::{Chain, Content, Map, Origin, Ruleset};

/// The three kinds of key: which header fields tell services apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Protocol and destination port.
    Ports,
    /// ICMP message type.
    Icmp,
    /// Protocol alone.
    Other,
}

impl Class {
    const ALL: [Class; 3] = [Class::Ports, Class::Icmp, Class::Other];

    fn suffix(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Ports, Family::V4) => "4p",
            (Self::Icmp, Family::V4) => "4i",
            (Self::Other, Family::V4) => "4o",
            (Self::Ports, Family::V6) => "6p",
            (Self::Icmp, Family::V6) => "6i",
            (Self::Other, Family::V6) => "6o",
        }
    }

    /// The fields that packets of this class are told apart by.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::Ports => &[Field::Destination, Field::Port, Field::Source, Field::Protocol],
            Self::Icmp => &[Field::Destination, Field::IcmpType, Field::Source],
            Self::Other => &[Field::Destination, Field::Source, Field::Protocol],
        }
    }

    /// The part of a box that packets of this class can match, in the class's coordinates.
    fn project(self, family: Family, cell: &Cell) -> Option<Cell> {
        let icmp = if family == Family::V4 { ICMP } else { ICMP6 };
        let single = (cell.protocol.lo == cell.protocol.hi).then_some(cell.protocol.lo);
        match self {
            Self::Ports => single.is_none_or(|p| PORT_PROTOCOLS.contains(&p)).then_some(*cell),
            Self::Icmp => {
                let types = cell.port.intersect(&Interval { lo: 0, hi: u8::MAX.into() })?;
                let whole = Cell { protocol: Interval::one(icmp), port: types, ..*cell };
                cell.protocol.contains(icmp).then_some(whole)
            }
            Self::Other => single
                .is_none_or(|p| p != icmp && !PORT_PROTOCOLS.contains(&p))
                .then_some(Cell { port: Interval::ALL, ..*cell }),
        }
    }

    /// How a box can be looked up.
    fn shape(self, family: Family, cell: &Cell) -> Shape {
        let every = if family == Family::V4 { u128::from(u32::MAX) } else { u128::MAX };
        let one = |i: &Interval<u128>| i.lo == i.hi;
        let service = match self {
            Self::Ports => cell.protocol.lo == cell.protocol.hi && cell.port.lo == cell.port.hi,
            Self::Icmp => cell.port.lo == cell.port.hi,
            Self::Other => cell.protocol.lo == cell.protocol.hi,
        };
        if !service || !one(&cell.destination) {
            Shape::Range
        } else if cell.source.lo == 0 && cell.source.hi >= every {
            Shape::Anyone
        } else if one(&cell.source) {
            Shape::Exact
        } else {
            Shape::Range
        }
    }
}

/// How the boxes of a map are looked up. Most flows let a whole zone, or one host, reach one port of one host: a
/// hash finds these in the same time however many there are, where the kernel's interval maps grow slower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Shape {
    /// Any source, one destination, one service: a hash without the source.
    Anyone,
    /// One value in each field: a hash.
    Exact,
    /// The rest: an interval map.
    Range,
}

impl Shape {
    fn suffix(self) -> &'static str {
        match self {
            Self::Anyone => ".any",
            Self::Exact => ".one",
            Self::Range => "",
        }
    }

    /// The key of a map of this shape that holds `cells`.
    fn key<T>(self, class: Class, family: Family, cells: &[(Cell, T)]) -> Key {
        let fields = class.fields();
        match self {
            Self::Anyone => Key::of_hash(family, fields.iter().copied().filter(|f| *f != Field::Source)),
            Self::Exact => Key::of_hash(family, fields.iter().copied()),
            Self::Range => Key::of_intervals(family, fields, cells.iter().map(|(cell, _)| cell)),
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Anyone | Self::Exact => "",
            Self::Range => "flags interval;",
        }
    }
}

/// Fewest boxes that are worth a look-up of their own.
const MIN_HASHED: usize = 16;

/// Divides a group by shape. No packet matches two of its boxes, so the order of the parts does not matter.
fn divide<T>(class: Class, family: Family, cells: Vec<(Cell, T)>) -> BTreeMap<Shape, Vec<(Cell, T)>> {
    let mut parts: BTreeMap<Shape, Vec<(Cell, T)>> = BTreeMap::new();
    for (cell, outcome) in cells {
        parts.entry(class.shape(family, &cell)).or_default().push((cell, outcome));
    }
    for shape in [Shape::Anyone, Shape::Exact] {
        let lonely = parts.len() > 1 && parts.get(&shape).is_some_and(|p| p.len() < MIN_HASHED);
        if let Some(few) = lonely.then(|| parts.remove(&shape)).flatten() {
            parts.entry(Shape::Range).or_default().extend(few);
        }
    }
    parts
}

/// What a match in the tables of a pair does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Writes the connection mark and goes to chain `verdict`.
    Mark,
    /// Is a verdict itself.
    Verdict,
}

/// One line of an ordered list: a box, what a match means (a mark or a verdict), and whose it is.
pub type Line = (Lane, Cell, (String, Origin));

/// Writes chain `name`, which looks a packet up in the tables made of `lines`; what matches nothing does
/// `miss`.
pub fn write(rs: &mut Ruleset, name: &str, lines: &BTreeMap<Family, Vec<Line>>, usage: Use, miss: &str) {
    // At most six rules, and no maps without a name: their elements are gone for a packet that is under way while
    // the policy is replaced (`nft_map_deactivate`), and it would be refused.
    let mut dispatch = Chain::default();
    for (family, lines) in lines {
        for class in Class::ALL {
            let part = lines.iter().filter_map(|(lane, cell, outcome)| {
                class.project(*family, cell).map(|cell| (*lane, cell, outcome.clone()))
            });
            let groups = group(part);
            if groups.is_empty() {
                continue;
            }
            let chain_name = format!("{name}.{}", class.suffix(*family));
            let nfproto = if *family == Family::V4 { "ipv4" } else { "ipv6" };
            dispatch.rule(match class {
                Class::Ports => {
                    let protocols = PORT_PROTOCOLS.map(|p| p.to_string()).join(", ");
                    format!("meta nfproto {nfproto} meta l4proto {{ {protocols} }} goto {chain_name}")
                }
                Class::Icmp => {
                    let protocol = if *family == Family::V4 { ICMP } else { ICMP6 };
                    format!("meta nfproto {nfproto} meta l4proto {protocol} goto {chain_name}")
                }
                Class::Other => format!("meta nfproto {nfproto} goto {chain_name}"),
            });
            let mut chain = Chain::default();
            for (n, g) in groups.into_iter().enumerate() {
                let lane = match g.lane {
                    Lane::Any => "",
                    Lane::Translated => "ct status dnat ",
                };
                for (shape, cells) in divide(class, *family, g.cells) {
                    let map_name = format!("{chain_name}.{n}{}", shape.suffix());
                    let key = shape.key(class, *family, &cells);
                    let packet = key.expressions();
                    match usage {
                        Use::Mark => {
                            chain.rule(format!("{lane}ct mark set {packet} map @{map_name}"));
                            chain.rule("ct mark & 0xc0000000 != 0 goto verdict");
                        }
                        Use::Verdict => {
                            chain.rule(format!("{lane}{packet} vmap @{map_name}"));
                        }
                    }
                    let value = if usage == Use::Mark { "mark" } else { "verdict" };
                    let elements =
                        cells.into_iter().map(|(cell, outcome)| (key.element(&cell), outcome)).collect();
                    let map = Map {
                        kind: format!("{} : {value}", key.kind()),
                        options: shape.options().into(),
                        content: Content::Elements(elements),
                    };
                    rs.maps.insert(map_name, map);
                }
            }
            chain.rule(miss);
            rs.chains.insert(chain_name, chain);
        }
    }
    dispatch.rule(miss);
    rs.chains.insert(name.to_owned(), dispatch);
}
