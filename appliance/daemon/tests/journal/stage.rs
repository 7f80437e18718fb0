//! Two nodes: a namespace each, a cable between them, a journal in each.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rempart_daemon::ha::journal::{Command, Config, Handle, Journal, Report, Snapshot, Surroundings, Way};
use rempart_pair::NodeIndex;
use rempart_pair::journal::Phase;
use rempart_pair::keys::PairSecret;
use rempart_system::conntrack::TcpState;
use rempart_system::flowsync::{Expect, Flow, Identity, Record, Table, TimeoutRule, Writer};

use crate::common::{Neighbour, sh};
use crate::samples::{dump, flow, ports, tcp_state, v4};

/// Addresses of the cable.
pub const CABLE: [Ipv4Addr; 2] = [Ipv4Addr::new(169, 254, 77, 1), Ipv4Addr::new(169, 254, 77, 2)];
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Node {
    pub place: Neighbour,
    index: usize,
    journal: Option<Journal>,
    pub reports: Receiver<Report>,
    sender: Sender<Report>,
    /// What it shares with the other one.
    pub secret: [u8; 32],
    /// The kernel's queue of events, if not the usual one.
    pub event_bytes: Option<usize>,
}

impl Node {
    fn new(index: usize) -> Self {
        let (sender, reports) = channel();
        Self {
            place: Neighbour::new(),
            index,
            journal: None,
            reports,
            sender,
            secret: [7; 32],
            event_bytes: None,
        }
    }

    /// Starts its journal, which forgets nothing that the kernel holds.
    pub fn start(&mut self, active: bool) {
        self.journal = None;
        let sender = self.sender.clone();
        let config = Config {
            secret: PairSecret::new(self.secret.into()),
            index: NodeIndex::new(self.index as u8).unwrap(),
            surroundings: self.surroundings(),
            report: Box::new(move |report| drop(sender.send(report))),
        };
        let start = || match self.event_bytes {
            None => Journal::start(config),
            Some(bytes) => Journal::start_with(config, bytes),
        };
        self.journal = Some(self.place.enter(start).unwrap());
        self.tell(Command::Role { active });
    }

    /// Connections of this address are its own from now on.
    pub fn withdraw(&self, address: IpAddr) {
        let mut surroundings = self.surroundings();
        surroundings.own.push(address);
        self.tell(Command::Surroundings(surroundings));
    }

    fn surroundings(&self) -> Surroundings {
        let way = Way {
            device: "sync".to_owned(),
            local: CABLE[self.index].into(),
            remote: CABLE[1 - self.index].into(),
        };
        Surroundings { paths: vec![way], own: CABLE.map(IpAddr::from).to_vec() }
    }

    /// Ends its journal, as if it had been killed: nobody is told.
    pub fn kill(&mut self) {
        self.journal = None;
    }

    pub fn handle(&self) -> Handle {
        self.journal.as_ref().unwrap().handle()
    }

    pub fn tell(&self, command: Command) {
        assert!(self.handle().tell(command));
    }

    pub fn snapshot(&self) -> Snapshot {
        self.handle().snapshot()
    }

    pub fn journal_is_live(&self) -> bool {
        self.snapshot().status.phase == Phase::Live
    }

    /// Changes sent so far.
    pub fn journal_position(&self) -> u64 {
        self.snapshot().status.position
    }

    /// Puts records into its kernel.
    pub fn create(&self, records: &[Record]) {
        self.place.enter(|| {
            let mut writer = Writer::open().unwrap();
            for record in records {
                writer.put(record, TimeoutRule::AsTold, Expect::New).unwrap();
            }
            writer.flush().unwrap();
            assert_eq!(writer.take_refusals(), []);
        });
    }

    /// Changes records of its kernel.
    pub fn update(&self, records: &[Record]) {
        self.place.enter(|| {
            let mut writer = Writer::open().unwrap();
            for record in records {
                writer.put(record, TimeoutRule::AsTold, Expect::Known).unwrap();
            }
            writer.flush().unwrap();
            assert_eq!(writer.take_refusals(), []);
        });
    }

    pub fn remove(&self, identities: &[Identity]) {
        self.place.enter(|| {
            let mut writer = Writer::open().unwrap();
            identities.iter().for_each(|identity| writer.remove(identity).unwrap());
            writer.flush().unwrap();
        });
    }

    /// What its kernel holds, without what differs between two kernels by nature; in a fixed order.
    pub fn holds(&self) -> Vec<Vec<u8>> {
        let mut all = self.records().iter().map(encoded).collect::<Vec<_>>();
        all.sort();
        all
    }

    pub fn records(&self) -> Vec<Record> {
        let mut all = self.place.enter(everything);
        all.retain(|record| match record {
            Record::Flow(flow) => !flow.addresses().iter().any(|a| CABLE.map(IpAddr::from).contains(a)),
            Record::Expectation(_) => true,
        });
        all
    }

    pub fn find(&self, wanted: &Identity) -> Option<Record> {
        self.records().into_iter().find(|record| record.identity() == *wanted)
    }
}

/// A record without its timeout.
pub fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes[1..5].fill(0);
    bytes
}

/// What the kernel of this namespace holds.
pub fn everything() -> Vec<Record> {
    [Table::Flows, Table::Expectations].map(dump).concat()
}

/// Two nodes whose journals run, the first one active.
pub fn pair() -> [Node; 2] {
    let mut nodes = cabled();
    nodes[0].start(true);
    nodes[1].start(false);
    nodes
}

/// Two nodes without journals.
pub fn cabled() -> [Node; 2] {
    let nodes = [0, 1].map(Node::new);
    let [one, two] = nodes.each_ref().map(|node| node.place.pid());
    sh(&format!("ip link add sync netns {one} type veth peer name sync netns {two}"));
    for (node, address) in nodes.iter().zip(CABLE) {
        node.place.sh(&format!("ip address add {address}/30 dev sync; ip link set sync up"));
        // Without a rule that asks for it the kernel tracks nothing; labels have room once a rule sets one.
        node.place.sh(
            "printf \"table inet t {\\n chain c {\\n type filter hook output priority 0\\n ct state new oifname none ct label set 1\\n }\\n}\\n\" | nft -f -",
        );
    }
    nodes
}

/// Waits until `done`; says what was waited for if that never comes.
pub fn wait(what: &str, done: impl Fn() -> bool) -> Duration {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    begin.elapsed()
}

/// Waits until both kernels hold the same.
pub fn wait_equal(nodes: &[Node; 2]) {
    let begin = Instant::now();
    loop {
        let [a, b] = nodes.each_ref().map(Node::holds);
        if a == b {
            return;
        }
        if begin.elapsed() > PATIENCE {
            let missing: Vec<_> =
                nodes[0].records().into_iter().filter(|r| !b.contains(&encoded(r))).collect();
            let extra: Vec<_> = nodes[1].records().into_iter().filter(|r| !a.contains(&encoded(r))).collect();
            panic!("missing {missing:#?}\nextra {extra:#?}\n{:#?}", nodes.each_ref().map(Node::snapshot));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn wait_live(nodes: &[Node; 2]) {
    let live = || nodes.iter().all(|node| node.snapshot().status.phase == Phase::Live);
    wait("both journals live", live);
}

/// The `n`th of many established TCP connections through source NAT.
pub fn nth(n: u32) -> Flow {
    let (port, host) = ((n % 50_000) as u16 + 10_000, (n / 50_000) as u8);
    let client = Ipv4Addr::new(10, 0, 0, host + 1).into();
    let mut flow = flow(6, client, v4(2), ports(port, 443), ports(443, port));
    flow.state = tcp_state(TcpState::Established);
    flow.reply.destination = v4(100 + host);
    flow
}
