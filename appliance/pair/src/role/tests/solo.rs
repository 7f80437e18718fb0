//! One node, and a voice that speaks as its peer.

use std::time::{Duration, Instant};

use crate::NodeIndex;
use crate::heartbeat::{self, Heartbeat, Intention, Paths, ProductVersion};
use crate::keys::{Authenticated, Endpoint, Kind, PairSecret, SessionId};
use crate::role::{Config, FailBack, Health, Link, Node, Output, Role, Start};

pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) fn config(index: NodeIndex) -> Config {
    Config {
        index,
        interval: 10 * MS,
        paths: 2,
        monitors: 2,
        failback: FailBack::Stay,
        product: ProductVersion { major: 0, minor: 1, patch: 0 },
    }
}

pub(super) fn endpoint(own: NodeIndex, session: u8) -> Endpoint {
    let session = SessionId::new([session; 16]).unwrap();
    Endpoint::new(PairSecret::new([1; 32].into()), Kind::Heartbeat, own, session)
}

/// One node with a voice for its peer. What the node puts out is kept, heartbeats apart.
pub(super) struct Solo {
    pub(super) node: Node,
    pub(super) now: Instant,
    pub(super) outputs: Vec<Output>,
    pub(super) sent: Vec<(usize, Heartbeat)>,
    ears: Endpoint,
    voice: Endpoint,
    /// What the peer says next; the number of the round is filled in.
    pub(super) says: Heartbeat,
    /// What waits in the sockets until the node asks for it.
    pub(super) waiting: Vec<(usize, Authenticated<Heartbeat>)>,
}

impl Solo {
    pub(super) fn new(start: Start) -> Self {
        Self::with(config(NodeIndex::First), start)
    }

    pub(super) fn with(config: Config, start: Start) -> Self {
        let now = Instant::now();
        let own = config.index;
        let mut solo = Self {
            node: Node::new(now, config, start),
            now,
            outputs: Vec::new(),
            sent: Vec::new(),
            ears: endpoint(own, 1),
            voice: endpoint(own.other(), 2),
            says: said(own.other()),
            waiting: Vec::new(),
        };
        solo.introduce();
        solo.settle();
        solo
    }

    pub(super) fn paired() -> Self {
        Self::new(Start { paired: true, ..Start::default() })
    }

    fn introduce(&mut self) {
        let mut datagram = Vec::new();
        self.ears.seal(b"", &mut datagram).unwrap();
        let _ = self.voice.open(self.now, &mut datagram);
        self.voice.seal(b"", &mut datagram).unwrap();
        self.ears.open(self.now, &mut datagram).unwrap();
    }

    /// The peer's program is started anew.
    pub(super) fn restart_peer(&mut self, session: u8) {
        self.voice = endpoint(self.node.config.index.other(), session);
        self.says.beat = 0;
        self.introduce();
    }

    /// The next round of the peer.
    pub(super) fn round(&mut self) -> Authenticated<Heartbeat> {
        self.says.beat += 1;
        let mut datagram = Vec::new();
        self.voice.seal(&self.says.encode(), &mut datagram).unwrap();
        heartbeat::receive(&mut self.ears, self.now, &mut datagram).unwrap()
    }

    /// The peer speaks over path 0, having heard what the node sent last.
    pub(super) fn hear(&mut self) {
        self.says.heard = self.node.beat;
        let round = self.round();
        self.node.handle_heartbeat(self.now, 0, &round);
        self.settle();
    }

    pub(super) fn hear_as(&mut self, role: Role, epoch: u64, intention: Intention) {
        (self.says.role, self.says.epoch, self.says.intention) = (role, epoch, intention);
        self.hear();
    }

    /// Time passes; the node's timers are run when they are due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.node.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// The same, and the peer speaks every 10 ms.
    pub(super) fn pass_together(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass((10 * MS).min(end - self.now));
            self.hear();
        }
    }

    /// Does what the node wants.
    pub(super) fn settle(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Send { path, heartbeat } => self.sent.push((path, heartbeat)),
                Output::Drain => {
                    self.outputs.push(output);
                    for (path, round) in std::mem::take(&mut self.waiting) {
                        self.node.handle_heartbeat(self.now, path, &round);
                    }
                    self.node.handle_drained(self.now);
                }
                Output::Persist(record) => {
                    self.outputs.push(output);
                    self.node.handle_persisted(self.now, record.epoch);
                }
                Output::HoldElectors { .. }
                | Output::BecomeActive { .. }
                | Output::BecomeStandby { .. }
                | Output::Announce
                | Output::FlushJournal { .. }
                | Output::Notice(_)
                | Output::Finished => self.outputs.push(output),
            }
        }
    }

    /// What has come out since the last time.
    pub(super) fn take(&mut self) -> Vec<Output> {
        self.sent.clear();
        std::mem::take(&mut self.outputs)
    }

    pub(super) fn link(&mut self, link: Link, up: bool) {
        self.node.handle_link(self.now, link, up);
        self.settle();
    }

    /// A standby whose peer is active under epoch 5.
    pub(super) fn standby() -> Self {
        Self::standby_with(config(NodeIndex::First))
    }

    pub(super) fn standby_with(config: Config) -> Self {
        let mut solo = Self::with(config, Start { paired: true, ..Start::default() });
        solo.hear_as(Role::Active, 5, Intention::None);
        assert_eq!(solo.node.role(), Some(Role::Standby));
        solo.node.set_synced(solo.now, true);
        solo.take();
        solo
    }

    /// An active node, epoch 6, whose peer is a healthy standby.
    pub(super) fn active() -> Self {
        Self::active_with(config(NodeIndex::First))
    }

    pub(super) fn active_with(config: Config) -> Self {
        let mut solo = Self::standby_with(config);
        solo.pass(30 * MS);
        assert_eq!(solo.node.role(), Some(Role::Active));
        // Heard again: the first round shows that it hears us.
        solo.hear_as(Role::Standby, 5, Intention::None);
        solo.take();
        solo
    }
}

/// A healthy standby that hears us.
pub(super) fn said(index: NodeIndex) -> Heartbeat {
    Heartbeat {
        index,
        role: Role::Standby,
        intention: Intention::None,
        going: false,
        maintenance: false,
        synced: true,
        probe: false,
        interval_ms: 10,
        beat: 0,
        echo: None,
        heard: 0,
        hears: Paths::first(2),
        health: Health::default(),
        epoch: 0,
        highest: 0,
        revision: 0,
        lineage: [0; 8],
        position: 0,
        seconds_in_role: 0,
        product: ProductVersion::default(),
    }
}
