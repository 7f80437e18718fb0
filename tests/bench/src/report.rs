//! The figures: a table for a person and JSON for a program.

use rempart_kernel_tests::node::Failure;
use serde::Serialize;

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    ours: f64,
    peer: Option<f64>,
    peer_name: Option<&'static str>,
    unit: &'static str,
    better: Better,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report(Vec<Figure>);

impl Report {
    /// Adds one.
    pub fn add(
        &mut self,
        name: &str,
        ours: f64,
        peer: Option<(f64, &'static str)>,
        unit: &'static str,
        better: Better,
    ) {
        let name = name.to_owned();
        let (peer, peer_name) = peer.unzip();
        self.0.push(Figure { name, ours, peer, peer_name, unit, better });
    }

    /// Our figure of this name, if it was measured.
    pub fn ours(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|f| f.name == name).map(|f| f.ours)
    }

    /// How many times the peer's our figure of this name is, if both were measured.
    pub fn ratio(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|f| f.name == name).and_then(|f| Some(f.ours / f.peer?))
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("{:<30} {:>12} {:>12} {:>8}  {:<14} peer", "name", "ours", "peer", "ratio", "unit");
        for f in &self.0 {
            let peer = f.peer.unwrap_or(f64::NAN);
            let ratio = if f.better == Better::Higher { f.ours / peer } else { peer / f.ours };
            println!(
                "{:<30} {:>12} {:>12} {:>7.2}x  {:<14} {}",
                f.name,
                number(f.ours),
                number(peer),
                ratio,
                f.unit,
                f.peer_name.unwrap_or("none")
            );
        }
        println!("ratio: how much better ours is");
    }

    /// As JSON.
    pub fn json(&self) -> Result<String, Failure> {
        Ok(serde_json::to_string_pretty(&self.0)?)
    }
}

fn number(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// Says whether a bar is met.
pub fn bar(what: &str, value: f64, relation: &str, wanted: f64, unit: &str) {
    let met = if relation == "<" { value < wanted } else { value >= wanted };
    println!(
        "bar {what}: {value:.3}{unit}, wanted {relation} {wanted}{unit}: {}",
        if met { "met" } else { "MISSED" }
    );
}
