//! Flows that never match, because earlier ones take all of their packets first.
//!
//! Each flow becomes boxes of the packet space: its zones, addresses, protocols and ports. A flow is covered
//! when nothing is left of its boxes without those of earlier flows. Only what always holds can cover: flows
//! without schedule, expiry or limit, and endpoints with fixed addresses. What a name or a group may stand for
//! is taken as everything, so that a covered flow is covered whatever the name resolves to.
//!
//! Published flows match translated packets alone. An unpublished flow takes those too, because it sees the
//! packet after translation; a published one never takes what was not translated. IPv6 is not translated.

mod index;
mod region;

use std::collections::{BTreeMap, BTreeSet};

use crate::faults::{Faults, Span};
use crate::limits::{MAX_CELLS, MAX_STEPS, MAX_STEPS_PER_FLOW};
use crate::model::{Action, Flow, Name, VpnGroup, Zone, ZoneName};
use index::Index;
use region::{Block, Shape};

/// A box of an earlier flow.
struct Cover {
    block: Block,
    /// Its position in the list of flows.
    flow: usize,
    /// Which translation it wants, if any.
    publication: Option<usize>,
}

/// Reports flows that cannot match.
pub(crate) fn check(
    flows: &[Flow],
    spans: &[Span],
    zones: &BTreeMap<ZoneName, Zone>,
    groups: &BTreeMap<Name, VpnGroup>,
    faults: &mut Faults,
) {
    let shape = Shape::new(zones, groups);
    let publications = publications(flows);
    let mut index = Index::default();
    let mut left = MAX_STEPS;
    for (at, (flow, span)) in flows.iter().zip(spans).enumerate() {
        let mut steps = MAX_STEPS_PER_FLOW.min(left);
        let allowed = steps;
        let region = shape.subject(flow, usize::try_from(steps).unwrap_or(usize::MAX));
        steps -= region.as_ref().map_or(0, |r| r.len() as u64);
        let verdict = judge(&region, publications[at], &index, &mut steps);
        left -= allowed - steps;
        match verdict {
            Verdict::Free => {}
            Verdict::Undecided => {
                faults
                    .warning(
                        "undecided-flow",
                        span,
                        "whether earlier flows take all of its packets was not decided",
                    )
                    .hint(
                        "there are too many combinations of addresses and ports; fewer and larger ones help",
                    );
            }
            Verdict::Covered(by) => report(at, &by, flows, spans, &publications, faults),
        }
        for block in shape.cover(flow, MAX_CELLS - index.len()) {
            index.insert(Cover { block, flow: at, publication: publications[at].filter(|_| block.is_v4()) });
        }
    }
}

enum Verdict {
    /// Something is left for the flow.
    Free,
    /// Nothing is left; these take it.
    Covered(BTreeSet<usize>),
    Undecided,
}

/// Which flows share their translation: outside address, port and target.
fn publications(flows: &[Flow]) -> Vec<Option<usize>> {
    let mut known = BTreeMap::new();
    let mut number = |flow: &Flow| {
        let publish = flow.publish.as_ref()?;
        let next = known.len();
        Some(*known.entry((publish.address, publish.port, publish.target)).or_insert(next))
    };
    flows.iter().map(&mut number).collect()
}

/// Whether every block of a flow is covered. Stops at the first packet that is left.
fn judge(region: &Option<Vec<Block>>, publication: Option<usize>, index: &Index, steps: &mut u64) -> Verdict {
    let Some(region) = region else { return Verdict::Undecided };
    let mut by = BTreeSet::new();
    for block in region {
        let translated = publication.filter(|_| block.is_v4());
        let takes = |c: &Cover| c.publication.is_none() || c.publication == translated;
        let Some(candidates) = index.overlapping(block, takes, steps) else { return Verdict::Undecided };
        match covered(block, &candidates, &mut by, steps) {
            Some(true) => {}
            Some(false) => return Verdict::Free,
            None => return Verdict::Undecided,
        }
    }
    // A flow without any block was reported for that.
    if by.is_empty() { Verdict::Free } else { Verdict::Covered(by) }
}

/// Whether `candidates`, which are in the order of the document, cover a block together; those that take a
/// part of it are noted. `None` when it would take too long.
///
/// Depth first, one piece at a time: an uncovered flow is done as soon as one piece of it survives.
fn covered(block: &Block, candidates: &[&Cover], by: &mut BTreeSet<usize>, steps: &mut u64) -> Option<bool> {
    // Most flows are free at a corner already, which spares them the subtraction.
    if block.corners().any(|corner| !candidates.iter().any(|c| c.block.covers(&corner))) {
        return Some(false);
    }
    let mut pieces = vec![(*block, 0)];
    let mut parts = Vec::new();
    while let Some((piece, from)) = pieces.pop() {
        let mut met = None;
        for (at, candidate) in candidates.iter().enumerate().skip(from) {
            *steps = steps.checked_sub(1)?;
            if candidate.block.overlaps(&piece) {
                met = Some((at, candidate));
                break;
            }
        }
        let Some((at, cover)) = met else { return Some(false) };
        by.insert(cover.flow);
        parts.clear();
        piece.subtract_into(&cover.block, &mut parts);
        pieces.extend(parts.iter().map(|part| (*part, at + 1)));
    }
    Some(true)
}

fn report(
    at: usize,
    by: &BTreeSet<usize>,
    flows: &[Flow],
    spans: &[Span],
    publications: &[Option<usize>],
    faults: &mut Faults,
) {
    /// As many as a person reads.
    const MAX_NAMED: usize = 3;
    let (flow, span) = (&flows[at], &spans[at]);
    let first: Vec<usize> = by.iter().copied().take(MAX_NAMED).collect();
    let mut names = first.iter().map(|i| flows[*i].label.as_str()).collect::<Vec<_>>().join(", ");
    if by.len() > MAX_NAMED {
        names = format!("{names} and {} more", by.len() - MAX_NAMED);
    }
    let other = by.iter().any(|i| flows[*i].action != flow.action);
    let mut fault = if other {
        faults
            .error("shadowed-flow", span, format!("this flow never matches: covered by {names}"))
            .label("never reached")
            .hint("the first flow that matches decides: move this one up, or narrow the other")
    } else if by.iter().all(|i| publications[*i] == publications[at]) {
        faults
            .warning("redundant-flow", span, format!("this flow changes nothing: covered by {names}"))
            .label("already decided")
            .hint("remove it, or move it up if its log, limits or owner matter")
    } else {
        // The translation still happens; only the permission was given before.
        return;
    };
    for i in first {
        fault = fault.related(&spans[i], format!("{} with {}", word(flows[i].action), flows[i].service_text));
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Allow => "allows",
        Action::Deny => "denies",
        Action::Reject => "rejects",
        Action::Drop => "drops",
    }
}
