//! A node with a small policy, for tests that say packet by packet what must happen.

use std::net::IpAddr;

use rempart_config::model::{TCP, UDP};
use rempart_plan::eval::{Arrival, Packet};
use rempart_plan::nft::{Base, Ruleset};
use rempart_plan::{Facts, Ids};

use crate::node::{Failure, Node};
use crate::packet::{self, Kind, Seen};
use crate::policy::Policy;

/// The boxes of the policies here: `ext0` outside, `int0` and `dmz0` inside.
const FRAME: &str = r#"
version = 1
node = "fw"
[interface.wan]
device  = "ext0"
zone    = "wan"
address = "203.0.113.2/24"
gateway = "203.0.113.1"
[interface.lan]
device  = "int0"
zone    = "lan"
address = ["192.168.10.1/24", "fd00:10::1/64"]
[interface.dmz]
device  = "dmz0"
zone    = "dmz"
address = ["192.168.20.1/24", "fd00:20::1/64"]
"#;

/// A node and the policy that it has.
#[derive(Debug)]
pub struct Fixture {
    /// The policy.
    pub policy: Policy,
    /// The node.
    pub node: Node,
    number: u32,
}

impl Fixture {
    /// A node in this thread's namespace with these flows and settings.
    pub async fn new(rules: &str) -> Result<Self, Failure> {
        let policy = policy(rules, Ids::default())?;
        let node = Node::new(&policy.plan.world, &policy.plan.network).await?;
        node.apply(&policy.plan.ruleset.script()).await?;
        Ok(Self { policy, node, number: 0 })
    }

    /// Goes on to another policy, by the difference.
    pub async fn change(&mut self, rules: &str) -> Result<(), Failure> {
        let next = policy(rules, self.policy.ids.clone())?;
        self.replace(next).await
    }

    /// Goes on to `next`.
    pub async fn replace(&mut self, next: Policy) -> Result<(), Failure> {
        for script in next.plan.ruleset.scripts(Base::Ruleset(self.ruleset())).list {
            self.node.apply(&script).await?;
        }
        self.policy = next;
        Ok(())
    }

    /// What the kernel holds.
    pub fn ruleset(&self) -> &Ruleset {
        &self.policy.plan.ruleset
    }

    /// The position of a device's leg.
    pub fn leg(&self, device: &str) -> Option<usize> {
        self.policy.plan.world.legs.iter().position(|l| l.device.as_str() == device)
    }

    /// A UDP packet from one address and port to another, by a device.
    pub fn udp(&self, device: &str, from: (&str, u16), to: (&str, u16)) -> Result<Packet, Failure> {
        self.packet(UDP, device, from, to)
    }

    /// A TCP SYN from one address and port to another, by a device.
    pub fn syn(&self, device: &str, from: (&str, u16), to: (&str, u16)) -> Result<Packet, Failure> {
        self.packet(TCP, device, from, to)
    }

    fn packet(
        &self,
        protocol: u8,
        device: &str,
        from: (&str, u16),
        to: (&str, u16),
    ) -> Result<Packet, Failure> {
        let (source, destination): (IpAddr, IpAddr) = (from.0.parse()?, to.0.parse()?);
        let leg = self.leg(device).ok_or("no such device")?;
        Ok(Packet {
            arrival: Arrival::Leg(leg),
            source,
            destination,
            protocol,
            source_port: from.1,
            port: to.1,
        })
    }

    /// Sends packets and returns, for each, whether it came out again by another device.
    pub async fn pass(&mut self, packets: &[Packet]) -> Result<Vec<bool>, Failure> {
        let first = self.number + 1;
        self.number += packets.len() as u32;
        let bytes: Vec<Vec<u8>> = (first..).zip(packets).map(|(n, p)| packet::build(p, n)).collect();
        let sent = packets.iter().zip(&bytes).map(|(p, b)| (p.arrival, p.destination, b.as_slice()));
        let came = self.node.exchange(sent).await?;
        let out: Vec<Seen> = came
            .iter()
            .filter_map(|(_, bytes)| packet::read(bytes))
            .filter(|s| s.kind == Kind::Original)
            .collect();
        Ok((first..).take(packets.len()).map(|n| out.iter().any(|s| s.number == n)).collect())
    }

    /// How many of the packets came out again.
    pub async fn passed(&mut self, packets: &[Packet]) -> Result<usize, Failure> {
        Ok(self.pass(packets).await?.into_iter().filter(|p| *p).count())
    }

    /// The packets that a counter has counted.
    pub async fn counted(&self, counter: &str) -> Result<u64, Failure> {
        Ok(self.node.counters().await?.get(counter).map_or(0, |c| c.packets))
    }
}

/// The policy with these rules on the boxes of this module.
pub fn policy(rules: &str, ids: Ids) -> Result<Policy, Failure> {
    let text = format!("{FRAME}{rules}");
    let reading = rempart_config::read(&text);
    let Some(model) = reading.model else {
        return Err(rempart_config::render(&reading.diagnostics, "rules", &text, false).into());
    };
    Ok(Policy::new(text, model, Facts::default(), ids)?)
}
