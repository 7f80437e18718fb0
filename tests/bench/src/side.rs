//! One side of a comparison: a node in a namespace of its own, in a thread of its own, that does what it is told.
//!
//! A packet is handed to the kernel by writing it into a TUN device; the kernel takes it through all of its path
//! in that call, and what it forwards ends in the full queue of another TUN device. So no second program competes
//! for the processors, and the time of the calls is the time of the path.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rempart_config::model::Device;
use rempart_kernel_tests::node::{Failure, in_namespace};
use rempart_kernel_tests::packet;
use rempart_kernel_tests::policy::Policy;
use rempart_plan::eval::Packet;
use rempart_plan::net::{Step, diff};
use rempart_system::conntrack::Conntrack;
use rempart_system::links::Links;
use rempart_system::nft::Nft;
use rempart_system::tun::Tun;

use crate::policy::{Line, connection};

/// Packets of each connection in the forwarding measurement: the first one, an answer, and the rest.
const PACKETS: usize = 10;
const NFT_TIMEOUT: Duration = Duration::from_secs(300);

/// What a side can be told to do.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Packets a second of this many connections of ten packets each.
    Forward(usize),
    /// New connections a second, of this many.
    Connect(usize),
}

/// A side at work. Dropping it ends it.
#[derive(Debug)]
pub struct Side {
    orders: Sender<Order>,
    answers: Receiver<Result<f64, String>>,
}

impl Side {
    /// Sets up the network of `policy` and applies `script`.
    pub fn new(name: &str, policy: Policy, lines: Vec<Line>, script: String) -> Result<Self, Failure> {
        let (orders, inbox) = channel();
        let (outbox, answers) = channel();
        // By name, so that a profiler can tell them apart.
        std::thread::Builder::new().name(name.into()).spawn(move || {
            in_namespace(move || async move {
                let text = |e: Failure| e.to_string();
                let mut worker = match Worker::new(&policy, lines, &script).await {
                    Ok(worker) => worker,
                    Err(error) => return drop(outbox.send(Err(error.to_string()))),
                };
                let _ = outbox.send(Ok(0.0));
                while let Ok(order) = inbox.recv() {
                    let done = worker.obey(order).await.map_err(text);
                    if outbox.send(done).is_err() {
                        return;
                    }
                }
            })
        })?;
        answers.recv()??;
        Ok(Self { orders, answers })
    }

    /// Does it and says how fast.
    pub fn run(&self, order: Order) -> Result<f64, Failure> {
        self.orders.send(order)?;
        Ok(self.answers.recv()??)
    }
}

struct Worker {
    devices: BTreeMap<String, Tun>,
    conntrack: Conntrack,
    lines: Vec<Line>,
    /// Numbers connections, so that none is like one before.
    next: usize,
    // Keeps the namespace's netlink connection.
    _links: Links,
}

impl Worker {
    async fn new(policy: &Policy, lines: Vec<Line>, script: &str) -> Result<Self, Failure> {
        let links = Links::new()?;
        links.apply(&Step::SetUp { device: Device::new("lo"), up: true }).await?;
        let mut devices = BTreeMap::new();
        for leg in &policy.plan.world.legs {
            devices.insert(leg.device.as_str().to_owned(), Tun::create(&leg.device)?);
        }
        let network = &policy.plan.network;
        for step in diff(network, &links.observe(network).await?) {
            links.apply(&step).await?;
        }
        Nft::new("nft", NFT_TIMEOUT).apply(script).await?;
        Ok(Self { devices, conntrack: Conntrack::new()?, lines, next: 0, _links: links })
    }

    async fn obey(&mut self, order: Order) -> Result<f64, Failure> {
        let count = match order {
            Order::Forward(count) | Order::Connect(count) => count,
        };
        let answered = matches!(order, Order::Forward(_));
        let mut packets: Vec<(&str, Vec<u8>)> = Vec::with_capacity(count * PACKETS);
        for n in 0..count {
            // Spread over all lines, the last ones included.
            let mut at = n * self.lines.len() / count;
            let (by, back, first) = loop {
                match connection(&self.lines[at], self.next) {
                    Some(connection) => break connection,
                    None => at = (at + 1) % self.lines.len(),
                }
            };
            self.next += 1;
            let bytes = packet::build(&first, 1);
            if answered {
                let answer = Packet {
                    source: first.destination,
                    destination: first.source,
                    source_port: first.port,
                    port: first.source_port,
                    ..first
                };
                packets.push((by, bytes.clone()));
                packets.push((back, packet::build(&answer, 1)));
                packets.extend(std::iter::repeat_n((by, bytes), PACKETS - 2));
            } else {
                packets.push((by, bytes));
            }
        }
        let begin = Instant::now();
        for (device, bytes) in &packets {
            if let Some(tun) = self.devices.get(*device) {
                tun.send(bytes).await?;
            }
        }
        let took = begin.elapsed();
        let tracked = self.conntrack.list().await?;
        // Only what is let through is tracked.
        if tracked.len() != count {
            return Err(format!("{} of {count} connections were let through", tracked.len()).into());
        }
        self.conntrack.delete_all(&tracked).await?;
        Ok(packets.len() as f64 / took.as_secs_f64())
    }
}
