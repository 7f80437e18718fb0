//! Policy assertions: sentences of the document that must be true of its flows, proved over the whole packet
//! space and not by sampling.
//!
//! An assertion holds or fails whatever the time: a flow with a schedule or an expiry date counts as letting
//! through (for `never`) and as not letting through (for `always`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rempart_config::Model;
use rempart_config::model::{Action, Check, Expect};
use rempart_config::space::{Cell, Family, Interval, TooFragmented, subtract};

use crate::Facts;
use crate::expand::{Slice, product, service_axes, slices};

/// How an assertion fared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// It is true.
    Holds,
    /// It is not, as this packet shows.
    Fails(Counterexample),
    /// The question falls into too many pieces.
    Undecided(TooFragmented),
}

/// A packet that does what an assertion denies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counterexample {
    /// From this zone.
    pub from: String,
    /// To this zone.
    pub to: String,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port or ICMP type.
    pub port: u16,
    /// The flow that decides about it, by its index; `None` when no flow does.
    pub flow: Option<usize>,
}

/// Examines one assertion.
pub fn examine(model: &Model, facts: &Facts, check: &Check) -> Finding {
    let every_flow: Vec<Vec<Slice>> = model.flows.iter().map(|f| slices(model, facts, f)).collect();
    examine_with(model, facts, check, &every_flow)
}

/// Examines every assertion of the model, in the order of the document.
pub fn examine_all<'a>(model: &'a Model, facts: &Facts) -> Vec<(&'a Check, Finding)> {
    if model.checks.is_empty() {
        return Vec::new();
    }
    let every_flow: Vec<Vec<Slice>> = model.flows.iter().map(|f| slices(model, facts, f)).collect();
    model.checks.iter().map(|c| (c, examine_with(model, facts, c, &every_flow))).collect()
}

fn examine_with(model: &Model, facts: &Facts, check: &Check, every_flow: &[Vec<Slice>]) -> Finding {
    for asked in product(model, facts, &check.from, &check.to, &check.services) {
        let spared = service_axes(&check.except, asked.family).into_iter().map(|(protocol, port)| Cell {
            source: Interval::ALL,
            destination: Interval::ALL,
            protocol,
            port,
        });
        let finding = subtract(asked.cells.clone(), spared)
            .and_then(|region| search(model, check.expect, &asked, region, every_flow));
        match finding {
            Ok(None) => {}
            Ok(Some(counterexample)) => return Finding::Fails(counterexample),
            Err(too_fragmented) => return Finding::Undecided(too_fragmented),
        }
    }
    Finding::Holds
}

/// Walks the flows over what is asked; `rest` is the part that no flow has decided about yet.
fn search(
    model: &Model,
    expect: Expect,
    asked: &Slice,
    mut rest: Vec<Cell>,
    every_flow: &[Vec<Slice>],
) -> Result<Option<Counterexample>, TooFragmented> {
    for (index, flow) in model.flows.iter().enumerate() {
        let here = every_flow[index].iter();
        let here = here.filter(|s| s.from == asked.from && s.to == asked.to && s.family == asked.family);
        for slice in here {
            let allows = flow.action == Action::Allow;
            let contradicts = allows == (expect == Expect::Never);
            if contradicts {
                let both = rest.iter().flat_map(|a| slice.cells.iter().filter_map(|b| common(a, b)));
                if let Some(cell) = both.into_iter().next() {
                    return Ok(Some(counterexample(asked, &cell, Some(index))));
                }
            } else if flow.is_unconditional() && (allows || slice.lane == crate::classify::Lane::Any) {
                rest = subtract(rest, slice.cells.iter().copied())?;
            }
        }
    }
    let refused = expect == Expect::Always;
    Ok(rest.first().filter(|_| refused).map(|cell| counterexample(asked, cell, None)))
}

fn common(a: &Cell, b: &Cell) -> Option<Cell> {
    Some(Cell {
        source: a.source.intersect(&b.source)?,
        destination: a.destination.intersect(&b.destination)?,
        protocol: a.protocol.intersect(&b.protocol)?,
        port: a.port.intersect(&b.port)?,
    })
}

fn counterexample(asked: &Slice, cell: &Cell, flow: Option<usize>) -> Counterexample {
    let address = |n: u128| match asked.family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(n as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(n)),
    };
    // Of a box that holds every protocol, TCP reads best.
    let tcp = rempart_config::model::TCP;
    let protocol = if cell.protocol.contains(tcp) { tcp } else { cell.protocol.lo };
    Counterexample {
        from: asked.from.to_string(),
        to: asked.to.to_string(),
        source: address(cell.source.lo),
        destination: address(cell.destination.lo),
        protocol,
        port: cell.port.lo.max(u16::from(cell.port.hi > 0)),
        flow,
    }
}
