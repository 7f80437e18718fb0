//! A lab with two nodes that are one firewall.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rempart_bus::ha::HaStatus;
use rempart_lab::traffic::{Outage, Streams};
use rempart_lab::{Host, Lab, Node, Quiet, Topology, Watched, output_within, wait_until};
use serde::de::DeserializeOwned;

use crate::stage::said;
use crate::{Document, SOON};

/// The virtual address of [`pair`](crate::pair) in the LAN.
pub const VIRTUAL_LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 254);
/// The one outside.
pub const VIRTUAL_WAN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);

/// How long a verb may take.
const VERB: Duration = Duration::from_secs(120);
/// How long a move of the role may take to be seen on both nodes.
const ROLES: Duration = Duration::from_secs(2);
/// How long everything flows before a fault.
const BEFORE: Duration = Duration::from_millis(500);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A standing lab with two nodes.
#[derive(Debug)]
pub struct PairStage {
    // In the order in which they end.
    /// The nodes, the preferred one first.
    pub nodes: [Node; 2],
    /// The lab.
    pub lab: Lab,
}

impl PairStage {
    /// The standard network around the two nodes of a document: paired and in step. The first one is active, unless the machine was
    /// so busy that it had to give the role away.
    pub fn up(document: &Document) -> Self {
        let stage = Self::single(document);
        stage.lab.pair(&stage.nodes[0], &stage.nodes[1]).expect("a pair");
        stage
    }

    /// The same, where the first node is active and has the document, and the second knows nothing.
    pub fn single(document: &Document) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rempart-end-to-end-pair-{}-{number}.toml", std::process::id());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, document.text()).expect("a temporary file");
        let topology = Topology::of_document(&file);
        fs::remove_file(&file).expect("a temporary file");
        let lab = Lab::builder().topology(topology.expect("a topology")).up().expect("a lab");
        let nodes = ["rte01", "rte02"].map(|n| lab.start_node(n).expect("a node"));
        let stage = Self { nodes, lab };
        stage.commit(0, document);
        stage.wait_for_role(0, "active");
        stage
    }

    /// A host.
    pub fn host(&self, name: &str) -> &Host {
        self.lab.host(name)
    }

    /// The name of a node.
    pub fn name(&self, node: usize) -> &str {
        self.nodes[node].name()
    }

    /// `rempart commit` on a node.
    pub fn try_commit(&self, node: usize, document: &Document, words: &[&str]) -> Output {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = self.lab.run_dir().join(format!("{number}-pair.toml"));
        fs::write(&file, document.text()).expect("a file in the run folder");
        let mut command = self.nodes[node].rempart().expect("the console is built");
        command.arg("commit").arg(file).args(words);
        output_within(command, VERB).expect("a commit ends")
    }

    /// The same, which must succeed.
    pub fn commit(&self, node: usize, document: &Document) {
        let output = self.try_commit(node, document, &[]);
        assert!(output.status.success(), "commit on {}: {}", self.name(node), said(&output));
    }

    /// The JSON answer of a verb on a node.
    pub fn json<T: DeserializeOwned>(&self, node: usize, words: &[&str]) -> T {
        let text = self.nodes[node].must(&[words, &["--json"]].concat()).expect("an answer");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?}: {e}: {text}"))
    }

    /// The document that a node runs.
    pub fn running(&self, node: usize) -> String {
        let status: rempart_bus::documents::Status = self.json(node, &["status"]);
        let revision = status.revision.map(|r| r.number.to_string());
        revision.map(|r| self.nodes[node].must(&["show", &r]).expect("a document")).unwrap_or_default()
    }

    /// What the elector of a node says.
    pub fn status(&self, node: usize) -> HaStatus {
        self.nodes[node].ha_status().expect("the elector answers")
    }

    /// The node that is active. Panics unless it is exactly one, or soon will be: the two are asked one after the other, and the
    /// role may move in between.
    pub fn active(&self) -> usize {
        let mut roles = [String::new(), String::new()];
        let mut one = None;
        wait_until(ROLES, || {
            roles = [0, 1].map(|n| self.nodes[n].ha_status().map_or_else(|e| format!("{e:#}"), |s| s.role));
            one = match [0, 1].map(|n| roles[n] == "active") {
                [true, false] => Some(0),
                [false, true] => Some(1),
                [true, true] | [false, false] => None,
            };
            one.is_some()
        });
        one.unwrap_or_else(|| panic!("not one active node: {roles:?}"))
    }

    /// Waits until a node has a role.
    pub fn wait_for_role(&self, node: usize, role: &str) -> HaStatus {
        self.nodes[node].wait_for_ha(role, SOON, |s| s.role == role).expect("the role")
    }

    /// Waits until the two are in step.
    pub fn settle(&self) {
        self.lab.wait_for_sync(&self.nodes[0], &self.nodes[1]).expect("two nodes in step");
    }

    /// Has a power cut node start again, and waits until it is in step.
    pub fn power_on(&mut self, node: usize) {
        self.lab.power_on(self.nodes[node].name()).expect("power");
        self.nodes[node].boot().expect("a start");
        self.settle();
    }

    /// Does something while everything flows through the pair, and goes on for `after` of it; says what it cost, and who
    /// held the virtual address of the LAN meanwhile.
    pub fn during<T>(&mut self, after: Duration, fault: impl FnOnce(&mut Self) -> T) -> (Outage, Watched, T) {
        let _quiet = Quiet::begin().expect("quiet");
        let streams = Streams::start(&self.lab, VIRTUAL_LAN.into(), VIRTUAL_WAN.into()).expect("streams");
        let watch = self.lab.watch(VIRTUAL_LAN).expect("a watch");
        thread::sleep(BEFORE);
        let done = fault(self);
        thread::sleep(after);
        let watched = watch.stop();
        (streams.stop().expect("reports"), watched, done)
    }
}
