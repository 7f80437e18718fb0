//! Remote access: what it listens on is let in, and its users' packets only while they are connected.
//!
//! ```text
//! arrival          by the tunnel: its source must be in a live set       ──▶ vpn.in  ──▶ vpn.off
//! forward, output  into the tunnel: its destination must be in one       ──▶ vpn.out ──▶ vpn.off
//! input            to an address and port that is listened on            ──▶ vpn.listen: accepted
//! output           from one, by UDP: after a take-over it speaks first   ──▶ vpn.speak: accepted
//! ```
//!
//! The live sets stand before whatever lets established connections through, so that taking an address out cuts all
//! that it has at once, both ways. They are made here, empty; what is in them is `rempart-vpn`'s, and no change of the
//! policy touches it.
//!
//! The tunnel is one device, or two where the kernel carries sessions: each session's packets are routed to one of them, which
//! changes while it lasts, and for a while they come by both. To the policy they are one leg.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use rempart_config::model::Device;

use super::{any_device, device_set};
use crate::World;
use crate::nft::{Chain, Content, Map, Ruleset};
use crate::vpn::{LIVE4, LIVE6};
use crate::world::RemoteAccess;

const IN: &str = "vpn.in";
const OUT: &str = "vpn.out";
const OFF: &str = "vpn.off";
const LISTEN: &str = "vpn.listen";
const SPEAK: &str = "vpn.speak";
/// Counts what is let in, and out, for remote access itself.
const COUNTER: &str = "p.vpn";
/// Counts what nobody is connected for.
const GONE: &str = "p.session";

/// Writes the chains and the live sets. The rule of `arrival` comes first there, before what excepts packets from the
/// rest.
pub fn write(rs: &mut Ruleset, world: &World) {
    let Some(vpn) = &world.vpn else { return };
    for (set, kind) in [(LIVE4, "ipv4_addr"), (LIVE6, "ipv6_addr")] {
        // Intervals, because there may be networks behind a client.
        let map = Map { kind: kind.into(), options: "flags interval;".into(), content: Content::Dynamic };
        rs.maps.insert(set.into(), map);
    }
    for (name, side) in [(IN, "saddr"), (OUT, "daddr")] {
        let chain = rs.chains.entry(name.into()).or_default();
        if let (OUT, Some(device)) = (name, &world.legs[vpn.leg].beside) {
            clamp(chain, device);
        }
        chain.rule(format!("ip {side} @{LIVE4} return"));
        chain.rule(format!("ip6 {side} @{LIVE6} return"));
        if name == OUT {
            // What the kernel says by itself on every link (router solicitations, memberships) is no sign of anything.
            chain.rule("fib daddr type multicast drop");
        }
        chain.rule(format!("goto {OFF}"));
    }
    rs.counters.insert(GONE.into());
    rs.chains.entry(OFF.into()).or_default().rule(format!("counter name \"{GONE}\" drop"));
    let arrival = rs.chains.entry("arrival".into()).or_default();
    arrival.base = Some("type filter hook prerouting priority -300; policy accept;".into());
    arrival.rule(format!("iifname {} jump {IN}", any_device(&world.legs[vpn.leg])));
    if devices(world, vpn).is_none() {
        return;
    }
    rs.counters.insert(COUNTER.into());
    let listen = rs.chains.entry(LISTEN.into()).or_default();
    accept(listen, "daddr", "udp dport", &vpn.listening.udp);
    accept(listen, "daddr", "tcp dport", &vpn.listening.tcp);
    accept(rs.chains.entry(SPEAK.into()).or_default(), "saddr", "udp sport", &vpn.listening.udp);
}

/// What the kernel seals by itself is not to be cut on the way: no packet on the line longer than 1492 bytes, with the longest
/// headers. Where `rempart-vpn` seals, it does the same itself, and knows the line better.
fn clamp(chain: &mut Chain, device: &Device) {
    // 1492, less IPv6, UDP and 24 of the data channel; less IPv4 or IPv6, and TCP.
    for (family, size) in [("ipv4", 1420 - 40), ("ipv6", 1420 - 60)] {
        chain.rule(format!(
            "oifname \"{device}\" meta nfproto {family} tcp flags & (syn|rst) == syn tcp option maxseg size set {size}"
        ));
    }
}

fn accept(chain: &mut Chain, side: &str, port: &str, places: &[SocketAddr]) {
    for (word, v4) in [("ip", true), ("ip6", false)] {
        let of_family: BTreeSet<(IpAddr, u16)> =
            places.iter().filter(|p| p.is_ipv4() == v4).map(|p| (p.ip(), p.port())).collect();
        if !of_family.is_empty() {
            let list: Vec<String> = of_family.iter().map(|(a, p)| format!("{a} . {p}")).collect();
            let list = list.join(", ");
            chain.rule(format!("{word} {side} . {port} {{ {list} }} counter name \"{COUNTER}\" accept"));
        }
    }
}

/// The devices of the zones that it listens in; `None` where it listens nowhere.
fn devices(world: &World, vpn: &RemoteAccess) -> Option<String> {
    let listening = &vpn.listening;
    if listening.udp.is_empty() && listening.tcp.is_empty() {
        return None;
    }
    let legs = world.legs.iter().filter(|l| l.zone.as_ref().is_some_and(|z| listening.zones.contains(z)));
    device_set(legs.flat_map(|leg| leg.devices().map(Device::as_str)))
}

/// The rule that stops what goes into the tunnel to nobody, for the hooks that see such packets.
pub fn way_out(world: &World, hook: &str) -> Option<String> {
    let vpn = world.vpn.as_ref().filter(|_| hook != "input")?;
    Some(format!("oifname {} jump {OUT}", any_device(&world.legs[vpn.leg])))
}

/// The rule that lets in what is sent to where it listens.
pub fn listened_to(world: &World) -> Option<String> {
    let devices = devices(world, world.vpn.as_ref()?)?;
    Some(format!("iifname {devices} jump {LISTEN}"))
}

/// The rule that lets out what it says first.
pub fn spoken_by(world: &World) -> Option<String> {
    let vpn = world.vpn.as_ref().filter(|vpn| !vpn.listening.udp.is_empty())?;
    let devices = devices(world, vpn)?;
    Some(format!("oifname {devices} jump {SPEAK}"))
}
