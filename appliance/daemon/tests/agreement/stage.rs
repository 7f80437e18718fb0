//! A pair, and what is asked of it here.

use std::process::{Child, Command, Stdio};

use rempart_bus::documents::{CommitReport, Revision, Status};
use rempart_bus::ha::ConfigurationStatus;
use rempart_end_to_end::{Document, PairStage, SOON, pair};
use rempart_lab::wait_until;

/// Two nodes.
pub struct Two {
    pub stage: PairStage,
}

fn document(port: u16) -> Document {
    pair().flow("more", "lan", "dmz:server", &format!("allow = [\"tcp/{port}\"]"))
}

impl Two {
    /// Paired, and in step.
    pub fn up() -> Self {
        let two = Self::apart();
        two.stage.lab.pair(&two.stage.nodes[0], &two.stage.nodes[1]).expect("a pair");
        two.settle();
        two
    }

    /// Makes the commit on trial of a node one of an earlier start of the machine, which namespaces cannot do by themselves.
    pub fn as_if_booted(&self, node: usize) {
        let file = self.stage.nodes[node].state_dir().join("pending.json");
        let text = std::fs::read_to_string(&file).expect("a trial");
        let mut note: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        note["boot_id"] = "another".into();
        std::fs::write(file, note.to_string()).expect("a file");
    }

    /// The first one has the document, and the second nothing but its links.
    pub fn apart() -> Self {
        Self { stage: PairStage::single(&pair()) }
    }

    /// Commits a document in which a port tells which it is.
    pub fn commit(&self, node: usize, port: u16, words: &[&str]) -> CommitReport {
        let output = self.stage.try_commit(node, &document(port), &[words, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("a report")
    }

    /// The same, not waited for.
    pub fn begin_commit(&self, node: usize, port: u16) -> Child {
        let file = self.stage.lab.run_dir().join(format!("agreement-{port}.toml"));
        std::fs::write(&file, document(port).text()).expect("a file in the run folder");
        let mut command = self.stage.nodes[node].rempart().expect("the console is built");
        command.arg("commit").arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    }

    /// A verb that must succeed.
    pub fn verb(&self, node: usize, words: &[&str]) -> String {
        self.stage.nodes[node].must(words).expect("a verb")
    }

    /// Ends the control daemon and starts it again.
    pub fn restart(&mut self, node: usize) {
        self.stage.nodes[node].daemon().expect("a daemon").kill();
        self.stage.nodes[node].start_daemon().expect("a start");
    }

    /// Cuts every way between the two.
    pub fn part(&self) {
        for segment in ["sync", "wan", "lan", "dmz"] {
            self.stage.lab.split(segment, "rte01", "rte02").expect("a split");
        }
        assert!(wait_until(SOON, || (0..2).all(|n| !self.connected(n))));
    }

    /// Whether the control daemon of a node can ask the other one.
    pub fn connected(&self, node: usize) -> bool {
        let mut send = self.call(node, "org.rempart.Ha1");
        send.arg("org.rempart.Ha1.Link");
        let said = send.output().expect("dbus-send runs");
        String::from_utf8_lossy(&said.stdout).matches("true").count() == 2
    }

    /// A person has chosen.
    pub fn resolve(&self, node: usize, choice: &str) -> u32 {
        let done: serde_json::Value = self.stage.json(node, &["ha", "resolve", choice, "--yes"]);
        done["revision"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or_else(|| panic!("{done}"))
    }

    fn call(&self, node: usize, name: &str) -> Command {
        let node = &self.stage.nodes[node];
        let mut send = node.command("dbus-send");
        send.arg(format!("--bus={}", node.bus_address()))
            .arg("--print-reply=literal")
            .arg("--reply-timeout=100000");
        send.arg(format!("--dest={name}")).arg(format!("/{}", name.replace('.', "/")));
        send
    }

    /// What the control daemon says.
    pub fn status(&self, node: usize) -> Status {
        self.stage.json(node, &["status"])
    }

    /// The short names of what is amiss.
    pub fn faults(&self, node: usize) -> Vec<String> {
        self.status(node).faults.into_iter().map(|f| f.code).collect()
    }

    /// The revisions.
    pub fn history(&self, node: usize) -> Vec<Revision> {
        self.stage.json(node, &["history"])
    }

    /// Waits until both nodes list the same revisions, `count` of them, and returns them.
    pub fn same_history(&self, count: usize) -> Vec<Revision> {
        let mut both = [self.history(0), self.history(1)];
        let same = wait_until(SOON, || {
            both = [self.history(0), self.history(1)];
            both[0] == both[1] && both[0].len() == count
        });
        assert!(same, "{both:#?}");
        let [own, _] = both;
        own
    }

    /// The document that a node runs.
    pub fn text(&self, node: usize) -> String {
        self.stage.running(node)
    }

    /// Whether the document with this port is what the kernel of a node holds.
    pub fn in_force(&self, node: usize, port: u16) -> bool {
        let rules =
            self.stage.host(self.stage.name(node)).must(&["nft", "list", "ruleset"]).expect("a listing");
        rules.contains(&port.to_string())
    }

    /// Waits until both say that they have the same revision.
    pub fn settle(&self) {
        let configuration = |n: usize| -> Option<ConfigurationStatus> {
            self.stage.nodes[n].ha_status().ok().map(|s| s.configuration)
        };
        let same = || {
            let both = [configuration(0), configuration(1)];
            both.iter().all(|c| c.as_ref().is_some_and(|c| c.state == "same" && c.id == c.other_id))
        };
        assert!(wait_until(4 * SOON, same), "{:?}", [configuration(0), configuration(1)]);
    }
}
