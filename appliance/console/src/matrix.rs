//! Owns the flow matrix: zones by zones, and which flows stand in which cell.
//!
//! Pure. A cell says how much is let through, how many flows say so, and whether something about them is odd.

use std::collections::BTreeSet;

use rempart_bus::documents::{Diagnosis, FlowStatus, Status};

use crate::words::Tone;

/// How much of what may be asked from one zone to another is let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// Nothing: no flow allows anything.
    None,
    /// Some hosts or services.
    Some,
    /// Everything: a flow in force allows any service between the whole zones, and none before it refuses.
    All,
}

/// One pair of zones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    /// How much is let through.
    pub passage: Passage,
    /// The flows, by their position in the list.
    pub flows: Vec<usize>,
    /// Those of them that something is odd about.
    pub odd: Vec<usize>,
}

impl Cell {
    /// Glyph, count, and `!` where something is odd: `▒ 3!`.
    pub fn text(&self) -> String {
        let glyph = match self.passage {
            Passage::None => "·",
            Passage::Some => "▒",
            Passage::All => "█",
        };
        let mark = if self.odd.is_empty() { "" } else { "!" };
        match self.flows.len() {
            0 => glyph.to_owned(),
            n => format!("{glyph} {n}{mark}"),
        }
    }

    /// Its tone.
    pub fn tone(&self) -> Tone {
        match (self.passage, self.odd.is_empty()) {
            (_, false) => Tone::Warn,
            (Passage::None, true) => Tone::Dim,
            (Passage::Some, true) => Tone::Good,
            (Passage::All, true) => Tone::Accent,
        }
    }
}

/// What is odd about a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Oddity {
    /// The calendar has switched it off.
    Inactive,
    /// The check of the running document warns about it.
    Warning(Diagnosis),
}

/// The matrix.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Matrix {
    /// Rows and columns: the zones, those of the node first, in the order in which it names them.
    pub zones: Vec<String>,
    cells: Vec<Cell>,
}

impl Matrix {
    /// From the node's zones, its flows, and the warnings about the running document.
    pub fn new(status: &Status, flows: &[FlowStatus], warnings: &[Diagnosis]) -> Matrix {
        let mut zones: Vec<String> = status.zones.iter().map(|z| z.name.clone()).collect();
        let known: BTreeSet<String> = zones.iter().cloned().collect();
        let named: BTreeSet<&String> =
            flows.iter().flat_map(|f| f.from_zones.iter().chain(&f.to_zones)).collect();
        zones.extend(named.into_iter().filter(|z| !known.contains(*z)).cloned());
        let odd: Vec<bool> = (0..flows.len()).map(|i| !oddities(flows, i, warnings).is_empty()).collect();
        let pairs = zones.iter().flat_map(|from| zones.iter().map(move |to| (from, to)));
        let cells = pairs
            .map(|(from, to)| {
                let here = |f: &FlowStatus| f.from_zones.contains(from) && f.to_zones.contains(to);
                let inside: Vec<usize> = (0..flows.len()).filter(|i| here(&flows[*i])).collect();
                let odd = inside.iter().copied().filter(|i| odd[*i]).collect();
                Cell { passage: passage(flows, &inside, from, to), flows: inside, odd }
            })
            .collect();
        Matrix { zones, cells }
    }

    /// The cell of a row and a column, both of which exist.
    pub fn cell(&self, row: usize, column: usize) -> &Cell {
        &self.cells[row * self.zones.len() + column]
    }
}

fn passage(flows: &[FlowStatus], inside: &[usize], from: &str, to: &str) -> Passage {
    let mut passage = Passage::None;
    for f in inside.iter().map(|i| &flows[*i]).filter(|f| f.active) {
        let whole = f.services == "any" && covers(&f.from, from) && covers(&f.to, to);
        match (f.action.as_str(), whole) {
            // The first flow that matches decides: nothing after it counts.
            ("allow", true) if passage == Passage::None => return Passage::All,
            ("allow", _) => passage = Passage::Some,
            (_, true) => return passage,
            // Something is taken out of what follows.
            (_, false) => {
                let rest = inside.iter().map(|i| &flows[*i]).any(|f| f.active && f.action == "allow");
                return if rest { Passage::Some } else { Passage::None };
            }
        }
    }
    passage
}

/// Whether one side of a flow, as written, is the whole of a zone: `lan`, `any`, but not `lan:printers`.
fn covers(side: &str, zone: &str) -> bool {
    side.split(", ").any(|end| end == zone || (end == "any" && zone != "firewall"))
}

/// What is odd about the flow at `index`.
pub fn oddities(flows: &[FlowStatus], index: usize, warnings: &[Diagnosis]) -> Vec<Oddity> {
    let flow = &flows[index];
    // A flow reaches from its line to the next one's; in between stand its keys.
    let end = flows.iter().map(|f| f.line).filter(|l| *l > flow.line).min().unwrap_or(u32::MAX);
    let about = warnings.iter().filter(|w| (flow.line..end).contains(&w.line));
    let inactive = (!flow.active).then_some(Oddity::Inactive);
    inactive.into_iter().chain(about.cloned().map(Oddity::Warning)).collect()
}

/// The second pivot: services by pairs of zones. Who can reach LDAP?
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceMatrix {
    /// Rows: the services as the flows write them.
    pub services: Vec<String>,
    /// Columns: the pairs of zones that have a flow.
    pub pairs: Vec<(String, String)>,
    cells: Vec<Cell>,
}

impl ServiceMatrix {
    /// From the flows.
    pub fn new(flows: &[FlowStatus], warnings: &[Diagnosis]) -> ServiceMatrix {
        let written = |f: &FlowStatus| -> Vec<String> {
            f.services.split([',', ' ']).filter(|s| !s.is_empty()).map(str::to_owned).collect()
        };
        let services: BTreeSet<String> = flows.iter().flat_map(written).collect();
        let between = |f: &FlowStatus| -> Vec<(String, String)> {
            let to = &f.to_zones;
            f.from_zones.iter().flat_map(|a| to.iter().map(move |b| (a.clone(), b.clone()))).collect()
        };
        let pairs: BTreeSet<(String, String)> = flows.iter().flat_map(between).collect();
        let mut cells = Vec::new();
        for service in &services {
            for (from, to) in &pairs {
                let here = |f: &FlowStatus| {
                    f.from_zones.contains(from) && f.to_zones.contains(to) && written(f).contains(service)
                };
                let inside: Vec<usize> = (0..flows.len()).filter(|i| here(&flows[*i])).collect();
                let odd = |i: &usize| !oddities(flows, *i, warnings).is_empty();
                let odd = inside.iter().copied().filter(odd).collect();
                let allowed = inside.iter().any(|i| flows[*i].active && flows[*i].action == "allow");
                let passage = if allowed { Passage::Some } else { Passage::None };
                cells.push(Cell { passage, flows: inside, odd });
            }
        }
        ServiceMatrix { services: services.into_iter().collect(), pairs: pairs.into_iter().collect(), cells }
    }

    /// The cell of a row and a column, both of which exist.
    pub fn cell(&self, row: usize, column: usize) -> &Cell {
        &self.cells[row * self.pairs.len() + column]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn flow(action: &str, from: &str, to: &str, services: &str, line: u32) -> FlowStatus {
        FlowStatus {
            action: action.into(),
            from: from.into(),
            to: to.into(),
            services: services.into(),
            from_zones: vec![from.split(':').next().unwrap().into()],
            to_zones: vec![to.split(':').next().unwrap().into()],
            active: true,
            line,
            ..FlowStatus::default()
        }
    }

    fn passage_of(flows: &[FlowStatus]) -> Passage {
        let matrix = Matrix::new(&Status::default(), flows, &[]);
        assert_eq!(matrix.zones, ["dmz", "lan"]);
        matrix.cell(1, 0).passage
    }

    #[test]
    fn the_first_flow_that_matches_decides_about_all_or_some() {
        let all = flow("allow", "lan", "dmz", "any", 1);
        let some = flow("allow", "lan", "dmz:web", "https", 1);
        let none = flow("deny", "lan", "dmz", "any", 1);
        let but = flow("deny", "lan", "dmz:db", "any", 1);
        let off = FlowStatus { active: false, ..all.clone() };
        assert_eq!(passage_of(std::slice::from_ref(&all)), Passage::All);
        assert_eq!(passage_of(std::slice::from_ref(&some)), Passage::Some);
        assert_eq!(passage_of(&[none.clone(), all.clone()]), Passage::None);
        assert_eq!(passage_of(&[some, none]), Passage::Some);
        assert_eq!(passage_of(&[but, all]), Passage::Some);
        assert_eq!(passage_of(&[off]), Passage::None);
    }

    #[test]
    fn a_warning_marks_the_flow_whose_lines_it_speaks_of() {
        let flows = [flow("allow", "lan", "dmz", "web", 10), flow("allow", "dmz", "lan", "ssh", 20)];
        let warning = |line| Diagnosis {
            severity: "warning".into(),
            code: "shadowed-flow".into(),
            message: String::new(),
            line,
            column: 1,
            hint: None,
        };
        assert_eq!(oddities(&flows, 0, &[warning(12)]), [Oddity::Warning(warning(12))]);
        assert_eq!(oddities(&flows, 1, &[warning(12)]), []);
        assert_eq!(oddities(&flows, 0, &[warning(3)]), []);
        let matrix = Matrix::new(&Status::default(), &flows, &[warning(12)]);
        assert_eq!(matrix.cell(1, 0).text(), "▒ 1!");
        assert_eq!(matrix.cell(0, 0).text(), "·");
    }

    #[test]
    fn services_by_pairs_answers_who_reaches_what() {
        let flows = fixtures::flows();
        let m = ServiceMatrix::new(&flows, &[]);
        let row = m.services.iter().position(|s| s == "web").unwrap();
        let reach: Vec<_> = (0..m.pairs.len()).filter(|c| m.cell(row, *c).passage == Passage::Some).collect();
        assert!(reach.iter().any(|c| m.pairs[*c] == ("lan".to_owned(), "dmz".to_owned())));
    }
}
