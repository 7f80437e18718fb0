//! One node with what surrounds it: the keys, the kernel, the disk, the scheduler. The driver of the product in small.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rempart_pair::NodeIndex;
use rempart_pair::heartbeat::{self, ProductVersion};
use rempart_pair::keys::{Endpoint, PairSecret, SessionId};
use rempart_pair::role::{Config, Link, Node, Output, Record, Start};

use crate::network::{Datagram, Port};
use crate::random::Random;
use crate::schedule::Schedule;
use crate::{Bug, Micros};

/// What a frozen process has in its sockets, at most.
const INBOX: usize = 512;

/// Whether the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// It does.
    Running,
    /// It sleeps; what arrives waits in its sockets, or is lost if the whole machine sleeps.
    Frozen {
        /// The whole machine.
        machine: bool,
    },
    /// It has ended.
    Dead,
}

/// A node and its surroundings.
pub struct Site {
    /// 0 or 1.
    pub index: usize,
    /// The machine, while there is a program.
    pub node: Option<Node>,
    endpoint: Option<Endpoint>,
    /// How it is.
    pub life: Life,
    /// Since when it has been running without a pause.
    pub running_since: Micros,
    /// Each start has a number, so that what belongs to an earlier one is told apart.
    pub boot: u64,
    /// The kernel has the virtual links up.
    pub kernel_active: bool,
    /// Since when.
    pub active_since: Micros,
    /// Since when it has all connections of the active node.
    pub synced_since: Option<Micros>,
    /// On disk.
    pub disk: Record,
    /// Carriers of the interfaces that count for health.
    pub monitors: Vec<bool>,
    /// What came while the process slept.
    pub inbox: VecDeque<Datagram>,
    /// The program has ended by itself.
    pub finished: bool,
}

/// What a driver step wants of the world.
#[derive(Debug)]
pub enum Wish {
    /// Send this.
    Send(Datagram),
    /// Write this, then tell.
    Persist(Record),
    /// Flush, then tell.
    Flush(u64),
    /// The role was moved or resumed; or something to be shown.
    Role(Output),
}

/// The clock of all nodes: they never compare theirs, so one will do.
pub fn instant(base: Instant, at: Micros) -> Instant {
    base + Duration::from_micros(at)
}

impl Site {
    /// A machine that is switched off.
    pub fn new(index: usize, schedule: &Schedule) -> Self {
        Self {
            index,
            node: None,
            endpoint: None,
            life: Life::Dead,
            running_since: 0,
            synced_since: None,
            boot: 0,
            kernel_active: false,
            active_since: 0,
            disk: Record::default(),
            monitors: vec![true; schedule.monitors],
            inbox: VecDeque::new(),
            finished: false,
        }
    }

    /// The program starts.
    pub fn start(
        &mut self,
        now: Instant,
        at: Micros,
        random: &mut Random,
        schedule: &Schedule,
        carriers: &[bool],
    ) {
        let own = if self.index == 0 { NodeIndex::First } else { NodeIndex::Second };
        let mut session = [0; 16];
        session[..8].copy_from_slice(&random.number().to_be_bytes());
        session[8..].copy_from_slice(&random.number().to_be_bytes());
        let secret = PairSecret::new([9; 32].into());
        self.endpoint = SessionId::new(session)
            .map(|session| Endpoint::new(secret, rempart_pair::keys::Kind::Heartbeat, own, session));
        let config = Config {
            index: own,
            interval: Duration::from_millis(10),
            paths: schedule.paths,
            monitors: schedule.monitors,
            failback: schedule.failback,
            product: ProductVersion::default(),
        };
        let start = Start { record: self.disk, paired: true, active: self.kernel_active };
        let mut node = Node::new(now, config, start);
        for (path, up) in carriers.iter().enumerate() {
            node.handle_link(now, Link::Path(path), *up);
        }
        for (monitor, up) in self.monitors.iter().enumerate() {
            node.handle_link(now, Link::Monitor(monitor), *up);
        }
        self.node = Some(node);
        self.life = Life::Running;
        self.running_since = at;
        self.synced_since = None;
        self.boot += 1;
        self.finished = false;
        self.inbox.clear();
    }

    /// The program ends without a word; with it the machine, or the kernel goes on forwarding.
    pub fn kill(&mut self, machine: bool) {
        self.node = None;
        self.endpoint = None;
        self.life = Life::Dead;
        self.inbox.clear();
        if machine {
            self.kernel_active = false;
        }
    }

    /// A datagram reaches the machine.
    pub fn receive(&mut self, now: Instant, datagram: Datagram) -> bool {
        match self.life {
            Life::Running => {
                self.take(now, datagram);
                true
            }
            Life::Frozen { machine: false } if self.inbox.len() < INBOX => {
                self.inbox.push_back(datagram);
                false
            }
            Life::Frozen { .. } | Life::Dead => false,
        }
    }

    fn take(&mut self, now: Instant, mut datagram: Datagram) {
        let (Some(node), Some(endpoint)) = (&mut self.node, &mut self.endpoint) else { return };
        match datagram.port {
            Port::Heartbeat => match heartbeat::receive(endpoint, now, &mut datagram.bytes) {
                Ok(heard) => node.handle_heartbeat(now, datagram.path, &heard),
                Err(refusal) => node.handle_refused(now, datagram.path, &refusal),
            },
        }
    }

    /// Reads what waits in the sockets.
    pub fn read_inbox(&mut self, now: Instant) {
        while let Some(datagram) = self.inbox.pop_front() {
            self.take(now, datagram);
        }
    }

    /// Does what the machine wants, in its order.
    pub fn drain(&mut self, now: Instant, at: Micros, bug: Bug, wishes: &mut Vec<Wish>) {
        while let Some(node) = &mut self.node {
            let Some(output) = node.poll_output() else { break };
            match output {
                Output::Send { path, heartbeat } => {
                    if bug == Bug::MuteActive && self.kernel_active {
                        continue;
                    }
                    let mut bytes = Vec::with_capacity(heartbeat::LENGTH + rempart_pair::keys::OVERHEAD);
                    if let Some(endpoint) = &mut self.endpoint
                        && endpoint.seal(&heartbeat.encode(), &mut bytes).is_ok()
                    {
                        let to = 1 - self.index;
                        wishes.push(Wish::Send(Datagram { to, path, port: Port::Heartbeat, bytes }));
                    }
                }
                Output::Drain => {
                    self.read_inbox(now);
                    if let Some(node) = &mut self.node {
                        node.handle_drained(now);
                    }
                }
                Output::BecomeActive { .. } => {
                    if !self.kernel_active {
                        self.kernel_active = true;
                        self.active_since = at;
                    }
                    wishes.push(Wish::Role(output));
                }
                Output::BecomeStandby { .. } => {
                    self.kernel_active = false;
                    wishes.push(Wish::Role(output));
                }
                Output::FlushJournal { token } => wishes.push(Wish::Flush(token)),
                Output::Persist(record) => wishes.push(Wish::Persist(record)),
                Output::Finished => self.finished = true,
                Output::HoldElectors { .. } | Output::Announce | Output::Notice(_) => {
                    wishes.push(Wish::Role(output));
                }
            }
        }
    }

    /// Whether the node has a carrier anywhere.
    pub fn has_link(&self, carriers: &[bool]) -> bool {
        carriers.iter().chain(&self.monitors).any(|up| *up)
    }

    /// Whether the node could be active.
    pub fn may_serve(&self, carriers: &[bool]) -> bool {
        let maintained = self.node.as_ref().is_none_or(|node| node.is_in_maintenance());
        self.has_link(carriers) && !maintained && !self.finished
    }

    /// Whether it has been running all the time since `from`.
    pub fn ran_since(&self, from: Micros) -> bool {
        self.life == Life::Running && self.running_since <= from
    }
}
