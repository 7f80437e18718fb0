//! What is asked of any bytes at the heartbeat port: by the fuzz target `heartbeat`, and by the ordinary tests with a
//! few of them.

use std::time::{Duration, Instant};

use rempart_pair::NodeIndex;
use rempart_pair::heartbeat::{self, Heartbeat, ProductVersion};
use rempart_pair::keys::{Endpoint, Kind, PairSecret, SessionId};
use rempart_pair::role::{Config, FailBack, MAX_OUTPUTS, Node, Output, Start};

/// Datagrams are at most so long here.
const LONGEST: usize = 300;

/// The first byte says how the rest reaches the node: 0 as it is; 1 as the content of an authentic datagram, so that
/// the fuzzer gets past the seal; 2 as such a content after a heartbeat with its numbers mended; others as a script of
/// such datagrams with time between them.
pub fn heartbeat(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let mut pair = Pair::new();
    match how % 4 {
        0 => pair.raw(rest),
        1 => pair.sealed(rest),
        2 => pair.mended(rest),
        _ => {
            for step in rest.chunks(heartbeat::LENGTH + 2) {
                let Some((wait, content)) = step.split_first() else { return };
                pair.pass(Duration::from_millis(u64::from(*wait) / 4));
                pair.mended(content);
            }
        }
    }
    pair.pass(Duration::from_millis(400));
}

struct Pair {
    now: Instant,
    node: Node,
    here: Endpoint,
    there: Endpoint,
    datagram: Vec<u8>,
    beat: u64,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let endpoint = |own: NodeIndex, byte| {
            let session = SessionId::new([byte; 16]).expect("not zeros");
            Endpoint::new(PairSecret::new([5; 32].into()), Kind::Heartbeat, own, session)
        };
        let config = Config {
            index: NodeIndex::First,
            interval: Duration::from_millis(10),
            paths: 2,
            monitors: 1,
            failback: FailBack::Preferred { delay: Duration::from_millis(20) },
            product: ProductVersion::default(),
        };
        let mut pair = Self {
            now,
            node: Node::new(now, config, Start { paired: true, ..Start::default() }),
            here: endpoint(NodeIndex::First, 1),
            there: endpoint(NodeIndex::Second, 2),
            datagram: Vec::new(),
            beat: 0,
        };
        pair.here.seal(b"", &mut pair.datagram).expect("counter");
        let _ = pair.there.open(now, &mut pair.datagram);
        pair.there.seal(b"", &mut pair.datagram).expect("counter");
        pair.here.open(now, &mut pair.datagram).expect("proven");
        pair
    }

    fn raw(&mut self, bytes: &[u8]) {
        let before = self.here.peer_session();
        let mut bytes = bytes[..bytes.len().min(LONGEST)].to_vec();
        let received = heartbeat::receive(&mut self.here, self.now, &mut bytes);
        assert!(received.is_err(), "nobody can guess a seal");
        assert_eq!(self.here.peer_session(), before);
        if let Err(refusal) = received {
            self.node.handle_refused(self.now, 0, &refusal);
        }
        self.act();
    }

    fn sealed(&mut self, content: &[u8]) {
        let content = &content[..content.len().min(LONGEST)];
        self.there.seal(content, &mut self.datagram).expect("counter");
        match heartbeat::receive(&mut self.here, self.now, &mut self.datagram) {
            Ok(heard) => {
                let again = Heartbeat::decode(&heard.get().encode());
                assert_eq!(again.as_ref(), Ok(heard.get()));
                self.node.handle_heartbeat(self.now, usize::from(content.len() > 50), &heard);
            }
            Err(refusal) => self.node.handle_refused(self.now, 0, &refusal),
        }
        self.act();
    }

    /// What would only stop the fuzzer is made right: versions, index, numbers of rounds.
    fn mended(&mut self, content: &[u8]) {
        let mut bytes = [0; heartbeat::LENGTH];
        let length = content.len().min(bytes.len());
        bytes[..length].copy_from_slice(&content[..length]);
        self.beat += 1;
        bytes[..3].copy_from_slice(&[heartbeat::LAYOUT, heartbeat::MINOR, 1]);
        bytes[3] %= 3;
        bytes[4] %= 6;
        bytes[5] = if matches!(bytes[4], 1 | 3) { bytes[5] % 6 + 1 } else { 0 };
        bytes[6] %= 16;
        bytes[7] = 0;
        bytes[8..16].copy_from_slice(&self.beat.to_be_bytes());
        if matches!(bytes[4], 0 | 4 | 5) {
            bytes[48..56].fill(0);
        }
        self.sealed(&bytes);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        // A node sends 100 times in a second and asks a little more often.
        for _ in 0..2_000 {
            let Some(due) = self.node.poll_timeout().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.act();
        }
        self.now = end;
    }

    fn act(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.node.poll_output() {
            outputs += 1;
            assert!(outputs < 4 * MAX_OUTPUTS, "the node does not come to an end");
            match output {
                Output::Drain => self.node.handle_drained(self.now),
                Output::Persist(record) => self.node.handle_persisted(self.now, record.epoch),
                Output::FlushJournal { token } => self.node.handle_flushed(self.now, token),
                Output::Send { heartbeat, .. } => assert!(Heartbeat::decode(&heartbeat.encode()).is_ok()),
                Output::HoldElectors { .. }
                | Output::BecomeActive { .. }
                | Output::BecomeStandby { .. }
                | Output::Announce
                | Output::Notice(_)
                | Output::Finished => {}
            }
        }
    }
}
