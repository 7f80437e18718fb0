//! Connections as the study made them: established TCP through source translation, created through ctnetlink.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rempart_kernel_tests::node::Failure;
use rempart_system::conntrack::{Layer4, Status, Tcp, TcpState, Tuple};
use rempart_system::flowsync::{Expect, Flow, ProtocolState, Record, TimeoutRule, Writer, Zone};
use rempart_system::realtime;

/// Connections of one client address.
const PER_CLIENT: u32 = 50_000;
/// At more than so many in a second they are made in bunches, one each millisecond: no program sleeps for less.
const SINGLE_PER_SECOND: u32 = 2_500;
/// The generator stands for a network, whose packets wait for no program.
const NICE: i32 = -20;

/// How many connections, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// The number of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// In a second.
    pub rate: u32,
}

impl Traffic {
    /// Makes them in the namespace of this thread, which keeps the priority, and says how long that took.
    pub fn run(self) -> Result<Duration, Failure> {
        realtime::set_nice(NICE)?;
        let bunch = if self.rate > SINGLE_PER_SECOND { self.rate / 1_000 } else { 1 };
        let mut writer = Writer::open()?;
        let begin = Instant::now();
        for (number, start) in (self.first..self.first + self.count).step_by(bunch as usize).enumerate() {
            let due =
                begin + Duration::from_secs_f64(number as f64 * f64::from(bunch) / f64::from(self.rate));
            if let Some(wait) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(wait);
            }
            for n in start..(start + bunch).min(self.first + self.count) {
                writer.put(&Record::Flow(nth(n)), TimeoutRule::AsTold, Expect::New)?;
            }
            writer.flush()?;
        }
        match writer.take_refusals().first() {
            None => Ok(begin.elapsed()),
            Some(refusal) => Err(format!("the kernel refused {refusal:?}").into()),
        }
    }
}

fn nth(n: u32) -> Flow {
    let port = (n % PER_CLIENT) as u16 + 10_000;
    let host = (n / PER_CLIENT) as u8;
    let (client, server) = (Ipv4Addr::new(10, 0, 0, host + 1).into(), Ipv4Addr::new(192, 0, 2, 2).into());
    let translated = Ipv4Addr::new(192, 0, 2, 100 + host).into();
    let ports = |source, destination| Layer4::Ports { source, destination };
    Flow {
        protocol: 6,
        original: Tuple { source: client, destination: server, layer4: ports(port, 443) },
        reply: Tuple { source: server, destination: translated, layer4: ports(443, port) },
        zone: Zone::default(),
        status: Status(Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED),
        timeout_s: 43_200,
        state: ProtocolState::Tcp(Tcp {
            state: TcpState::Established,
            window_scale: [7, 9],
            flags: [0x03, 0x03],
        }),
        mark: 0x42,
        labels: [0; 16],
        helper: None,
        adjustments: None,
        synproxy: None,
        master: None,
    }
}
