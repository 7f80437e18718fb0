//! What the nodes of a pair, and virtual routers, tell each other: let through before any flow is asked, and from
//! nowhere but where it can come from.
//!
//! ```text
//! arrival, departure   (before tracking)   heartbeats, journal, peer channel, pairing, adverts: not tracked
//! input, output        untracked ──▶ peer.input, peer.output: accepted from the other node, to it
//! ```
//!
//! Untracked, because connections between the nodes must not be judged, cut or replicated like those of the others.
//! Both ends use the ports of [`ports`]: what goes to another port is none of this.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::device_set;
use crate::World;
use crate::ha::{ADVERT, ADVERT_GROUP_V4, ADVERT_GROUP_V6, HaPlan, PathPlan, RouterPlan, ports};
use crate::nft::{Chain, Ruleset};

/// Heartbeats, journal and channel have neighbouring ports.
const DATAGRAMS: &str = "udp dport 47800-47802";
const _: () = assert!(ports::HEARTBEAT == 47_800 && ports::JOURNAL == 47_801 && ports::CHANNEL == 47_802);

/// The chain that takes what was not tracked on its way in, and out.
const INPUT: &str = "peer.input";
const OUTPUT: &str = "peer.output";
/// The chain that keeps adverts from being tracked.
const ADVERTS: &str = "peer.adverts";

/// Matches of one direction, without a verdict.
#[derive(Default)]
struct Matches(Vec<String>);

/// Writes the chains. The rules of `arrival` come before those that look for spoofed sources, which see them too.
pub fn write(rs: &mut Ruleset, world: &World) {
    let Some(ha) = &world.ha else { return };
    let inward = inward(ha);
    let outward = outward(ha);
    let (accepted, ignored) = adverts(ha, world);
    let notrack = |chain: &mut Chain, text: &String| {
        chain.rule(format!("{text} notrack"));
    };
    let arrival = rs.chains.entry("arrival".into()).or_default();
    arrival.base = Some("type filter hook prerouting priority -300; policy accept;".into());
    inward.0.iter().for_each(|text| notrack(arrival, text));
    if !ha.routers.is_empty() {
        // Every packet comes by here: many routers must not mean many rules.
        arrival.rule(format!("meta l4proto {ADVERT} jump {ADVERTS}"));
        let chain = rs.chains.entry(ADVERTS.into()).or_default();
        accepted.0.iter().chain(&ignored.0).for_each(|text| notrack(chain, text));
    }
    if !outward.0.is_empty() {
        let departure = rs.chains.entry("departure".into()).or_default();
        departure.base = Some("type filter hook output priority -300; policy accept;".into());
        outward.0.iter().for_each(|text| notrack(departure, text));
    }
    let input = rs.chains.entry(INPUT.into()).or_default();
    for text in inward.0.iter().chain(&accepted.0) {
        input.rule(format!("{text} accept"));
    }
    // The elector reads adverts off the wire. To those for the node alone, without a socket, the kernel would answer
    // that it does not know the protocol.
    for text in &ignored.0 {
        input.rule(format!("{text} drop"));
    }
    let output = rs.chains.entry(OUTPUT.into()).or_default();
    for text in &outward.0 {
        output.rule(format!("{text} accept"));
    }
}

/// The rule that leads to what [`write`] wrote, where it wrote something.
pub fn jump(world: &World, hook: &str) -> Option<String> {
    let chain = match hook {
        "input" => INPUT,
        "output" => OUTPUT,
        _ => return None,
    };
    world.ha.as_ref().map(|_| format!("ct state untracked jump {chain}"))
}

/// Matches of what is sent to virtual addresses that serve as next hops alone (RFC 9568 §6.4.3: with
/// `Accept_Mode` false nothing sent to them is accepted; neighbour discovery is, and comes before).
pub fn silent_addresses(world: &World) -> Vec<String> {
    let routers = world.ha.iter().flat_map(|ha| &ha.routers).filter(|r| !r.accept);
    let addresses: BTreeSet<IpAddr> = routers.flat_map(|r| r.addresses.iter().map(IpNet::addr)).collect();
    let mut out = Vec::new();
    for (word, v4) in [("ip", true), ("ip6", false)] {
        let list: Vec<String> =
            addresses.iter().filter(|a| a.is_ipv4() == v4).map(ToString::to_string).collect();
        if !list.is_empty() {
            out.push(format!("{word} daddr {{ {} }}", list.join(", ")));
        }
    }
    out
}

fn inward(ha: &HaPlan) -> Matches {
    let mut out = Matches::default();
    out.datagrams(&ha.paths, "iifname", |path| (path.remote, path.local));
    if let Some(devices) = pairing_devices(ha) {
        out.pairing(&format!("iifname {devices}"));
    }
    out
}

fn outward(ha: &HaPlan) -> Matches {
    let mut out = Matches::default();
    out.datagrams(&ha.paths, "oifname", |path| (path.local, path.remote));
    if let Some(devices) = pairing_devices(ha) {
        out.pairing(&format!("oifname {devices}"));
    }
    out
}

/// Where the nodes pair: over the cable between them, or where there is none over every way.
fn pairing_devices(ha: &HaPlan) -> Option<String> {
    let cable = ha.paths.iter().any(|p| p.sync);
    device_set(ha.paths.iter().filter(|p| p.sync == cable).map(|p| p.device.as_str()))
}

impl Matches {
    fn datagrams(&mut self, paths: &[PathPlan], device: &str, ends: impl Fn(&PathPlan) -> (IpAddr, IpAddr)) {
        for (word, v4) in [("ip", true), ("ip6", false)] {
            let of_family = paths.iter().filter(|p| p.local.is_ipv4() == v4);
            let elements: Vec<String> = of_family
                .map(|path| {
                    let (from, to) = ends(path);
                    format!("\"{}\" . {from} . {to}", path.device)
                })
                .collect();
            if !elements.is_empty() {
                self.0.push(format!(
                    "{DATAGRAMS} {device} . {word} saddr . {word} daddr {{ {} }}",
                    elements.join(", ")
                ));
            }
        }
    }

    /// Between link-local addresses, since a new node has no others. What answers may not begin anything.
    fn pairing(&mut self, device: &str) {
        let port = ports::PAIRING;
        self.0.push(format!("ip6 saddr fe80::/10 {device} meta l4proto {{ tcp, udp }} th dport {port}"));
        self.0.push(format!("ip6 saddr fe80::/10 {device} tcp sport {port} tcp flags & (syn | ack) != syn"));
    }
}

/// Adverts to everybody who listens, which are accepted, and those to this node alone, which are ignored.
fn adverts(ha: &HaPlan, world: &World) -> (Matches, Matches) {
    // Several routers on one interface share their matches.
    let (mut accepted, mut ignored) = (BTreeSet::new(), BTreeSet::new());
    for router in &ha.routers {
        let start = format!("meta l4proto {ADVERT} iifname \"{}\"", router.parent);
        for peer in &router.unicast {
            let word = if peer.is_ipv4() { "ip" } else { "ip6" };
            let text = match router.local {
                Some(local) => format!("{start} {word} saddr {peer} {word} daddr {local}"),
                None => format!("{start} {word} saddr {peer} fib daddr type local"),
            };
            ignored.insert(text);
        }
        if !router.unicast.is_empty() {
            continue;
        }
        match router.local {
            Some(local) => {
                if let Some(network) = network_of(world, router, local) {
                    accepted.insert(format!("{start} ip saddr {network} ip daddr {ADVERT_GROUP_V4}"));
                }
            }
            None => {
                accepted.insert(format!("{start} ip6 saddr fe80::/10 ip6 daddr {ADVERT_GROUP_V6}"));
            }
        }
    }
    (Matches(accepted.into_iter().collect()), Matches(ignored.into_iter().collect()))
}

/// The network of the node's own address on the interface of a router.
fn network_of(world: &World, router: &RouterPlan, local: IpAddr) -> Option<IpNet> {
    let leg = world.leg_of(&router.parent)?;
    world.legs[leg].addresses.iter().find(|net| net.addr() == local).map(IpNet::trunc)
}
