//! What is asked of any bytes in the journal's datagrams: by the fuzz target `journal`, and by the ordinary tests with a
//! few of them.

use std::time::{Duration, Instant};

use rempart_pair::journal::wire::{Data, FORMAT, Message, Report, WINDOW};
use rempart_pair::journal::{
    Change, Fingerprint, MAX_ENTRY, MAX_PLAINTEXT, Output, Receiver, ReceiverConfig, Sender, SenderConfig,
    Urgency,
};

/// Datagrams that one call may answer with: a window, and requests.
const MOST: usize = WINDOW + 8;

/// The first byte says what the rest is: 0 a datagram as it is, for both sides; 1 records, for a receiver in the stream that
/// it takes; 2 reports, for the sender of that stream; others a script of such datagrams with time between them.
pub fn journal(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let mut pair = Pair::joined();
    match how % 4 {
        0 => {
            round_trip(rest);
            pair.reach_receiver(rest);
            pair.reach_sender(rest);
        }
        1 => pair.records(rest),
        2 => pair.report(rest),
        _ => {
            for step in rest.chunks(120) {
                let Some((wait, content)) = step.split_first() else { break };
                pair.pass(Duration::from_millis(u64::from(*wait)));
                match wait % 2 {
                    0 => pair.records(content),
                    _ => pair.report(content),
                }
            }
        }
    }
    pair.pass(Duration::from_secs(2));
}

/// What is read is written again in the same bytes.
fn round_trip(bytes: &[u8]) {
    let Some(message) = Message::decode(bytes) else { return };
    let mut again = Vec::new();
    message.encode(&mut again);
    if let Message::Data(data) = &message {
        let length = data.records().map(|record| record.wire_length()).sum::<usize>();
        data.records().for_each(|record| record.encode(&mut again));
        assert_eq!(again.len(), HEADER + length);
    }
    assert_eq!(again, bytes);
}

/// What a Data message has before its records.
const HEADER: usize = 19;

struct Pair {
    now: Instant,
    sender: Sender,
    receiver: Receiver,
    stream: u64,
    sequence: u64,
}

impl Pair {
    /// Both have an entry, and a stream goes on.
    fn joined() -> Self {
        let now = Instant::now();
        let fingerprint = Fingerprint::new(|bytes| {
            bytes.iter().fold(7_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b)))
        });
        let sender = Sender::new(now, SenderConfig { incarnation: 1, fingerprint: fingerprint.clone() });
        let receiver = Receiver::new(now, ReceiverConfig { incarnation: 2, fingerprint });
        let mut pair = Self { now, sender, receiver, stream: 0, sequence: 0 };
        for _ in 0..4 {
            pair.exchange();
        }
        pair.sender.put(now, &[9; 16], b"an entry", Urgency::Now);
        pair.exchange();
        assert!(pair.stream != 0 && pair.sequence != 0, "nobody has joined");
        pair
    }

    fn exchange(&mut self) {
        self.drain();
        let mut there = Vec::new();
        while let Some(datagram) = self.sender.poll_transmit(self.now) {
            if let Some(Message::Data(Data { stream, sequence, .. })) = Message::decode(datagram) {
                (self.stream, self.sequence) = (stream, sequence);
            }
            there.push(datagram.to_vec());
        }
        there.iter().for_each(|datagram| self.reach_receiver(datagram));
        let mut back = Vec::new();
        while let Some(datagram) = self.receiver.poll_transmit(self.now) {
            back.push(datagram.to_vec());
        }
        back.iter().for_each(|datagram| self.reach_sender(datagram));
    }

    fn reach_receiver(&mut self, datagram: &[u8]) {
        self.receiver.handle_datagram(self.now, datagram, &mut |change| match change {
            Change::Put { bytes, .. } => assert!(bytes.len() <= MAX_ENTRY),
            Change::Remove { identity, .. } => assert!(identity.len() <= MAX_ENTRY),
        });
        self.receiver.handle_written();
        self.drain();
    }

    fn reach_sender(&mut self, datagram: &[u8]) {
        self.sender.handle_datagram(self.now, datagram);
        self.drain();
    }

    fn records(&mut self, records: &[u8]) {
        let mut datagram = vec![3, FORMAT];
        datagram.extend_from_slice(&self.stream.to_be_bytes());
        datagram.extend_from_slice(&(self.sequence + 1).to_be_bytes());
        datagram.push(0);
        datagram.extend_from_slice(records);
        if Message::decode(&datagram).is_some() {
            self.sequence += 1;
        }
        round_trip(&datagram);
        self.reach_receiver(&datagram);
    }

    fn report(&mut self, bytes: &[u8]) {
        let mut datagram = vec![4, FORMAT];
        datagram.extend_from_slice(bytes);
        round_trip(&datagram);
        if let Some(Message::Report(report)) = Message::decode(&datagram) {
            let report = Report { stream: self.stream, ..report };
            let mut mended = Vec::new();
            Message::Report(report).encode(&mut mended);
            self.reach_sender(&mended);
        }
    }

    fn pass(&mut self, time: Duration) {
        for _ in 0..4 {
            self.now += time / 4;
            self.sender.handle_timeout(self.now);
            self.receiver.handle_timeout(self.now);
            self.drain();
        }
    }

    /// Does what both want, as their drivers do. Each call ends, and what leaves fits the line.
    fn drain(&mut self) {
        while let Some(output) = self.sender.poll_output() {
            if output == Output::Dump {
                self.sender.dumped(self.now, &[9; 16], b"an entry");
                self.sender.dump_ended(self.now, true);
            }
        }
        while let Some(output) = self.receiver.poll_output() {
            match output {
                Output::Load => self.receiver.load_ended(self.now, true),
                Output::Sweep => self.receiver.sweep_ended(true),
                Output::Dump | Output::Flushed { .. } | Output::Notice(_) => {}
            }
        }
        if self.stream != 0 {
            let mut sent = 0;
            while let Some(datagram) = self.sender.poll_transmit(self.now) {
                assert!(datagram.len() <= MAX_PLAINTEXT);
                sent += 1;
                assert!(sent < MOST, "the sender does not end");
            }
            while let Some(datagram) = self.receiver.poll_transmit(self.now) {
                assert!(datagram.len() <= MAX_PLAINTEXT);
                sent += 1;
                assert!(sent < 2 * MOST, "the receiver does not end");
            }
        }
    }
}
