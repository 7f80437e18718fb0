//! A lab with one node that runs the product.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rempart_bus::documents::{
    CommitReport, Connection, Explanation, FlowStatus, LogEntry, LogPage, Revision, Status,
};
use rempart_lab::traffic::Reach;
use rempart_lab::{Host, Lab, Node, Topology, Transport, output_within, wait_until};
use serde::de::DeserializeOwned;

use crate::{Document, SOON};

/// How long a verb may take.
const VERB: Duration = Duration::from_secs(120);
/// How long a page may take to come.
const PAGE: Duration = Duration::from_secs(3);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A standing lab, and its node.
#[derive(Debug)]
pub struct Stage {
    // In the order in which they end.
    /// The node.
    pub node: Node,
    /// The lab.
    pub lab: Lab,
}

/// What the kernel holds of ours, as text: rules without their counters, addresses, routes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// `nft -s list ruleset`, its chains, sets and maps sorted by name: the kernel has them in the order in which they came.
    pub ruleset: String,
    /// `ip address`, sorted.
    pub addresses: String,
    /// `ip route` of both families, sorted.
    pub routes: String,
}

impl Snapshot {
    /// The lines that are in only one of the two: `-` in this one, `+` in the other.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let pairs = [
            (&self.ruleset, &other.ruleset),
            (&self.addresses, &other.addresses),
            (&self.routes, &other.routes),
        ];
        let only = |sign: char, a: &str, b: &str| -> Vec<String> {
            let known: Vec<&str> = b.lines().collect();
            a.lines().filter(|l| !known.contains(l)).map(|l| format!("{sign}{l}")).collect()
        };
        pairs.iter().flat_map(|(a, b)| [only('-', a, b), only('+', b, a)].concat()).collect()
    }
}

impl Stage {
    /// The standard network around the document's first node, which has committed it.
    pub fn up(document: &Document) -> Self {
        let stage = Self::bare(document);
        stage.commit(document);
        stage
    }

    /// The same, with nothing committed yet.
    pub fn bare(document: &Document) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file =
            std::env::temp_dir().join(format!("rempart-end-to-end-{}-{number}.toml", std::process::id()));
        fs::write(&file, document.text()).expect("a temporary file");
        let topology = Topology::of_document(&file);
        fs::remove_file(&file).expect("a temporary file");
        let topology = topology.expect("a topology");
        let router = topology.routers().next().expect("a router").to_owned();
        let lab = Lab::builder().topology(topology.only_router(&router)).up().expect("a lab");
        let node = lab.start_node(&router).expect("a node");
        Self { node, lab }
    }

    /// A host.
    pub fn host(&self, name: &str) -> &Host {
        self.lab.host(name)
    }

    /// Runs `rempart commit` with a document and further words, in a SSH session if one is given.
    pub fn try_commit(&self, document: &Document, words: &[&str], session: Option<&str>) -> Output {
        let file = self.file("committed.toml", document.text());
        let mut command = self.node.rempart().expect("the console is built");
        command.arg("commit").arg(file).args(words);
        if let Some(session) = session {
            command.env("SSH_CONNECTION", session);
        }
        output_within(command, VERB).expect("a commit ends")
    }

    /// Commits a document, which must succeed.
    pub fn commit(&self, document: &Document) -> CommitReport {
        self.commit_with(document, &[])
    }

    /// Commits a document with further words, which must succeed.
    pub fn commit_with(&self, document: &Document, words: &[&str]) -> CommitReport {
        let output = self.try_commit(document, &[words, &["--json"]].concat(), None);
        assert!(output.status.success(), "commit: {}", said(&output));
        // The addresses of the active node come with the role, which a node alone has a moment after its first commit.
        if document.has_virtual_routers() {
            let active = self.node.wait_for_ha("active", SOON, |s| s.role == "active");
            active.expect("the role");
        }
        serde_json::from_slice(&output.stdout).expect("a report")
    }

    /// Commits a document, which must be refused; returns what was said.
    pub fn refused(&self, document: &Document, words: &[&str]) -> String {
        let output = self.try_commit(document, words, None);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        said(&output)
    }

    /// The JSON answer of a verb.
    pub fn json<T: DeserializeOwned>(&self, words: &[&str]) -> T {
        let text = self.node.must(&[words, &["--json"]].concat()).expect("an answer");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?}: {e}: {text}"))
    }

    /// `rempart status`.
    pub fn status(&self) -> Status {
        self.json(&["status"])
    }

    /// The codes and messages of what is amiss.
    pub fn faults(&self) -> Vec<String> {
        self.status().faults.iter().map(|f| format!("{}: {}", f.code, f.message)).collect()
    }

    /// The number of the revision in force.
    pub fn revision(&self) -> u32 {
        self.status().revision.expect("a revision").number
    }

    /// `rempart history`.
    pub fn history(&self) -> Vec<Revision> {
        self.json(&["history"])
    }

    /// The flow with this label.
    pub fn flow(&self, label: &str) -> FlowStatus {
        let flows: Vec<FlowStatus> = self.json(&["flows"]);
        flows.into_iter().find(|f| f.label == label).unwrap_or_else(|| panic!("no flow {label}"))
    }

    /// The tracked connections to a port, as the sender asked for it.
    pub fn connections_to(&self, port: u16) -> Vec<Connection> {
        let all: Vec<Connection> = self.json(&["connections"]);
        all.into_iter().filter(|c| c.destination_port == port).collect()
    }

    /// The firewall log.
    pub fn log(&self) -> Vec<LogEntry> {
        self.json::<LogPage>(&["log"]).entries
    }

    /// Waits for a log entry and returns it.
    pub fn logged(&self, what: &str, condition: impl Fn(&LogEntry) -> bool) -> LogEntry {
        let mut found = None;
        wait_until(SOON, || {
            found = self.log().into_iter().rev().find(|e| condition(e));
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("not logged: {what}; the log: {:#?}", self.log()))
    }

    /// `rempart explain`.
    pub fn explain(&self, from: Option<&str>, source: &str, destination: &str, service: &str) -> Explanation {
        let from = from.map(|f| ["--from", f]);
        let from = from.as_ref().map_or(&[][..], |f| f.as_slice());
        self.json(&[&["explain", "--src", source, "--dst", destination, service], from].concat())
    }

    /// The address that the wan has by DHCP; waits for it.
    pub fn wan(&self) -> IpAddr {
        let mut found = None;
        let known = wait_until(SOON, || {
            let status = self.status();
            let wan = status.interfaces.iter().find(|i| i.name == "wan").expect("a wan");
            found = wan.addresses.iter().find_map(|a| a.split('/').next()?.parse().ok());
            found.is_some()
        });
        assert!(known, "no lease: {:?}", self.faults());
        found.expect("an address")
    }

    /// A probe by TCP.
    pub fn tcp(&self, from: &str, to: &str) -> Reach {
        self.probe(Transport::Tcp, from, to)
    }

    /// A probe by UDP.
    pub fn udp(&self, from: &str, to: &str) -> Reach {
        self.probe(Transport::Udp, from, to)
    }

    fn probe(&self, transport: Transport, from: &str, to: &str) -> Reach {
        self.host(from).probe(transport, address(to)).run().expect("a probe")
    }

    /// The page that a host gets, or `None`.
    pub fn page(&self, from: &str, url: &str) -> Option<String> {
        self.host(from).http_get(url, PAGE).ok().map(|p| p.body.trim().to_owned())
    }

    /// What the kernel holds of ours.
    pub fn snapshot(&self) -> Snapshot {
        let router = self.node.host();
        let text = |words: &[&str]| router.must(words).expect("a listing");
        let addresses = text(&["ip", "-o", "address"]);
        // The seconds that an address has left differ by themselves, and so does its probation in IPv6.
        let addresses = addresses.lines().map(|l| l.split(" valid_lft ").next().unwrap_or(l));
        let addresses = addresses.map(|l| l.trim_end_matches(['\\', ' ']).replace(" tentative", ""));
        let mut addresses: Vec<_> = addresses.collect();
        addresses.sort_unstable();
        let routes = text(&["ip", "-4", "route"]) + &text(&["ip", "-6", "route"]);
        let mut routes: Vec<_> = routes.lines().map(str::trim_end).collect();
        routes.sort_unstable();
        Snapshot {
            ruleset: sorted_objects(&text(&["nft", "-s", "list", "ruleset"])),
            addresses: addresses.join("\n"),
            routes: routes.join("\n"),
        }
    }

    /// Waits until the lease, if there is to be one, is in force and nothing changes any more, and returns what is then.
    pub fn settled(&self) -> Snapshot {
        if self.status().interfaces.iter().any(|i| i.dhcp) {
            self.wan();
        }
        let mut before = self.snapshot();
        let quiet = wait_until(SOON, || {
            thread::sleep(Duration::from_millis(700));
            let now = self.snapshot();
            std::mem::replace(&mut before, now.clone()) == now
        });
        assert!(quiet, "the network does not come to rest");
        before
    }

    /// Fails with the difference unless the kernel holds what it held then.
    pub fn assert_unchanged(&self, since: &Snapshot, what: &str) {
        let difference = since.difference(&self.snapshot());
        assert!(difference.is_empty() && self.snapshot() == *since, "{what}: {difference:#?}");
    }

    /// Writes a file into the lab's run folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.lab.run_dir().join(format!("{number}-{name}"));
        fs::write(&path, text).expect("a file in the run folder");
        path
    }

    /// A file of the daemon's state.
    pub fn state(&self, name: &str) -> PathBuf {
        self.node.state_dir().join(name)
    }

    /// Ends the daemon by SIGTERM and waits.
    pub fn stop(&mut self) {
        self.node.daemon().expect("a daemon").terminate();
    }

    /// Starts it again.
    pub fn start(&mut self) {
        self.node.start_daemon().expect("the daemon starts");
    }
}

/// What a command wrote.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn sorted_objects(listing: &str) -> String {
    let objects = listing.split("\n\n").map(|o| o.trim_start_matches("table inet rempart {\n"));
    let mut objects: Vec<_> =
        objects.map(|o| o.trim_matches(|c: char| c == '}' || c.is_whitespace())).collect();
    objects.sort_unstable();
    objects.join("\n\n")
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}
